/* config_route.c - the field tables of routes: which calls, where they go or what they are
 * answered, and what of them is changed on the way. */
#include <string.h>

#include "base/clock.h"
#include "core/config.h"

#define KIB  UINT64_C(1024)
#define MIB  (1024 * KIB)
#define HOUR (3600 * CLOCK_S)
#define MS   CLOCK_MS

/*---------------------------------------------------------------- which calls */

static bool check_match(struct conf_load *l, const struct node *n, void *conf)
{
	const struct match_conf *match = conf;
	const char *const *method = match->methods.item;
	bool ok = true;

	for (uint32_t i = 0; i < match->methods.n; i++) {
		char upper[32];
		size_t k = 0;

		for (; method[i][k] >= 'a' && method[i][k] <= 'z' && k < sizeof(upper) - 1; k++)
			upper[k] = (char)(method[i][k] & ~0x20);
		upper[k] = '\0';
		if (k == 0 || method[i][k] != '\0')
			continue;
		/* methods are case-sensitive (RFC 9110 section 9.1): this one would match nothing
		 */
		diag_error(l->diags, node_item(node_get(n, "methods"), i)->at, "E015",
			   "`methods`: `%s` in lower case is no method anyone sends", method[i])
		    ->suggestion = arena_strdup(l->diags->arena, upper);
		ok = false;
	}
	return ok;
}

static const struct field when_fields[] = {
	{ .key = "values",
	  .type = C_LIST,
	  .flags = C_REQUIRED | C_ONE,
	  .offset = offsetof(struct when_conf, values),
	  .at = offsetof(struct when_conf, at),
	  .item = C_STRING,
	  .max = 4096,
	  .doc =
	      "Any of these: a text, `*` (it is there), an empty text (it is not), `~ REGEX`; of "
	      "client.ip addresses and networks." },
	{ .key = NULL },
};

const struct schema when_schema = {
	.name = "condition",
	.size = sizeof(struct when_conf),
	.fields = when_fields,
	.scalar = "values",
};

static const char *const from_names[] = { [FROM_ANY] = "any",
					  [FROM_CLIENT] = "client",
					  [FROM_ROUTE] = "route",
					  [FROM_NAME] = "name",
					  NULL };

static const struct field match_fields[] = {
	{ .key = "hosts",
	  .type = C_LIST,
	  .offset = offsetof(struct match_conf, hosts),
	  .at = offsetof(struct match_conf, hosts_at),
	  .item = C_STRING,
	  .min = 1,
	  .max = 255,
	  .doc = "Any of these hosts, whatever the port; `*.example.com` and `example.*` take one "
		 "or more "
		 "labels where the star is, `~ REGEX` is a regular expression." },
	{ .key = "path",
	  .type = C_STRING,
	  .offset = offsetof(struct match_conf, path),
	  .at = offsetof(struct match_conf, path_at),
	  .min = 1,
	  .max = 4096,
	  .doc =
	      "`/x` is this path, `/x/*` what is below it, `/x*` all that begin so, `/*` any; `~ "
	      "REGEX` "
	      "those in which the regular expression is found (`~* REGEX`: in whatever case). The "
	      "query "
	      "takes no part. Dots that climb for some readers alone (`..%2F`, `..;`) are 400." },
	{ .key = "methods",
	  .type = C_LIST,
	  .offset = offsetof(struct match_conf, methods),
	  .item = C_STRING,
	  .min = 1,
	  .max = 32,
	  .doc = "Any of these methods." },
	{ .key = "when",
	  .type = C_NAMED,
	  .offset = offsetof(struct match_conf, when),
	  .sub = &when_schema,
	  .doc = "What else of the call must be so, by name: `client.ip`, `header.NAME`, "
		 "`query.NAME`, "
		 "`cookie.NAME`, `scheme`, `server.port`, `server.address` and what else texts can "
		 "say of a "
		 "call before it has a route." },
	{ .key = "from",
	  .type = C_ENUM,
	  .offset = offsetof(struct match_conf, from),
	  .dflt = "any",
	  .names = from_names,
	  .doc = "Who sends the call: the `client`, another `route` (by `reroute`, or a page for "
		 "errors), or one "
		 "that says this one's `name`." },
	{ .key = NULL },
};

static const struct schema match_schema = {
	.name = "match",
	.size = sizeof(struct match_conf),
	.fields = match_fields,
	.check = check_match,
};

static const struct field use_fields[] = {
	{ .key = "policy",
	  .type = C_STRING,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct use_conf, name),
	  .at = offsetof(struct use_conf, at),
	  .min = 1,
	  .doc = "The name of a policy." },
	{ .key = NULL },
};

static const struct schema use_schema = {
	.name = "use",
	.size = sizeof(struct use_conf),
	.fields = use_fields,
	.scalar = "policy",
};

static const struct field timeout_fields[] = {
	{ .key = "total",
	  .type = C_DURATION,
	  .offset = offsetof(struct timeout_conf, total_ns),
	  .max = 7 * 24 * HOUR,
	  .doc = "From the request head to the last byte of the answer; 504 when nothing was sent "
		 "yet. "
		 "Not given: no bound, as streams need." },
	{ .key = "idle",
	  .type = C_DURATION,
	  .offset = offsetof(struct timeout_conf, idle_ns),
	  .dflt = "60s",
	  .min = MS,
	  .max = 7 * 24 * HOUR,
	  .doc = "How long nothing may come either way, in an answer that has begun as well: a "
		 "stream of "
		 "gRPC, a WebSocket or an event stream that is silent for longer by design wants "
		 "more. "
		 "PINGs of HTTP/2 are none of the call's and do not count." },
	{ .key = "first_byte",
	  .type = C_DURATION,
	  .offset = offsetof(struct timeout_conf, first_byte_ns),
	  .max = 7 * 24 * HOUR,
	  .doc = "From the sent request to the head of the answer; beyond it 504. Not given: as "
		 "`idle`." },
	{ .key = NULL },
};

static const struct schema timeout_schema = {
	.name = "timeout",
	.size = sizeof(struct timeout_conf),
	.fields = timeout_fields,
	.scalar = "total",
};

/* NULL, or why such a field is nobody's to set. */
static const char *field_wrong(struct slice name)
{
	enum field_id id = field_lookup(name);

	for (size_t i = 0; i < name.n; i++)
		if ((unsigned char)name.p[i] <= ' ' || (unsigned char)name.p[i] >= 0x7F ||
		    strchr("\"(),/:;<=>?@[\\]{}", name.p[i]) != NULL)
			return "is no name of a header field";
	if ((field_flags[id] & FIELD_HOP) || id == F_HOST || id == F_CONTENT_LENGTH ||
	    id == F_TRANSFER_ENCODING || id == F_EXPECT || id == F_TRAILER)
		return "cannot be set: framing and routing depend on it";
	return name.n == 0 ? "is no name of a header field" : NULL;
}

static bool holds_control(const char *text)
{
	for (const char *c = text; *c != '\0'; c++)
		if (((unsigned char)*c < ' ' && *c != '\t') || *c == 0x7F)
			return true;
	return false;
}

/* Of a mapping, the value of this key, or of its short form. */
static bool is_secret(const struct node *n, const char *key)
{
	const struct node *value = n->kind == NODE_MAP ? node_get(n, key) : n;

	return value != NULL && value->secret;
}

static bool check_set(struct conf_load *l, const struct node *n, void *conf)
{
	struct set_conf *set = conf;
	const char *wrong = field_wrong(slice_str(set->name.name));

	set->literal = is_secret(n, "value");
	if (wrong != NULL) {
		diag_error(l->diags, n->key_at, "E015", "the field `%s` %s", set->name.name, wrong);
		return false;
	}
	if (holds_control(set->value)) {
		diag_error(l->diags, n->at, "E015", "the value of `%s` holds a control character",
			   set->name.name);
		return false;
	}
	return true;
}

static const struct field set_fields[] = {
	{ .key = "value",
	  .type = C_STRING,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct set_conf, value),
	  .at = offsetof(struct set_conf, at),
	  .max = 16 * KIB,
	  .doc = "What the field is set to; empty: it is taken out." },
	{ .key = NULL },
};

static const struct schema set_schema = {
	.name = "field to set",
	.size = sizeof(struct set_conf),
	.fields = set_fields,
	.scalar = "value",
	.check = check_set,
};

/*----------------------------------------------------------------- answers */

static bool check_replace(struct conf_load *l, const struct node *n, void *conf)
{
	struct replace_conf *r = conf;
	const char *wrong = field_wrong(slice_str(r->name.name));

	r->with.literal = is_secret(n, "with");
	if (wrong != NULL)
		diag_error(l->diags, n->key_at, "E015", "the field `%s` %s", r->name.name, wrong);
	else if (holds_control(r->with.text))
		diag_error(l->diags, r->with.at, "E015", "`with` holds a control character");
	else
		return true;
	return false;
}

static const struct field replace_fields[] = {
	{ .key = "pattern",
	  .type = C_STRING,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct replace_conf, pattern),
	  .at = offsetof(struct replace_conf, pattern_at),
	  .min = 1,
	  .max = 4096,
	  .doc = "A regular expression, as in `match.path`." },
	{ .key = "with",
	  .type = C_STRING,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct replace_conf, with.text),
	  .at = offsetof(struct replace_conf, with.at),
	  .max = 16 * KIB,
	  .doc =
	      "What takes the place of that which it has found; `{match.1}` is its first group." },
	{ .key = NULL },
};

static const struct schema replace_schema = {
	.name = "replacement",
	.size = sizeof(struct replace_conf),
	.fields = replace_fields,
	.check = check_replace,
};

static bool check_edit(struct conf_load *l, const struct node *n, void *conf)
{
	const struct edit_conf *edit = conf;
	const struct node *list = node_get(n, "remove");
	const char *const *name = edit->remove.item;
	bool ok = true;

	for (uint32_t i = 0; i < edit->remove.n; i++) {
		const char *wrong = field_wrong(slice_str(name[i]));

		if (wrong == NULL)
			continue;
		diag_error(l->diags, list->kind == NODE_LIST ? node_item(list, i)->at : list->at,
			   "E015", "the field `%s` %s", name[i], wrong);
		ok = false;
	}
	if (edit->set.n + edit->add.n + edit->replace.n + edit->remove.n == 0) {
		diag_error(l->diags, n->at, "E013",
			   "an edit of answers needs `set`, `add`, `replace` or `remove`");
		ok = false;
	}
	return ok;
}

static const char *const edit_when_names[] = {
	[EDIT_ALL] = "all", [EDIT_SUCCESS] = "success", NULL
};

static const struct field edit_fields[] = {
	{ .key = "set",
	  .type = C_NAMED,
	  .offset = offsetof(struct edit_conf, set),
	  .sub = &set_schema,
	  .doc = "Fields that the answer is to have, in place of what it has under their names." },
	{ .key = "add",
	  .type = C_NAMED,
	  .offset = offsetof(struct edit_conf, add),
	  .sub = &set_schema,
	  .doc = "Fields that are added beside what the answer has under their names." },
	{ .key = "remove",
	  .type = C_LIST,
	  .offset = offsetof(struct edit_conf, remove),
	  .at = offsetof(struct edit_conf, remove_at),
	  .item = C_STRING,
	  .min = 1,
	  .max = 256,
	  .doc = "Fields that are taken out, before others are set or added." },
	{ .key = "replace",
	  .type = C_NAMED,
	  .offset = offsetof(struct edit_conf, replace),
	  .sub = &replace_schema,
	  .doc = "Fields, by name, of whose values a part becomes another: in every one of the "
		 "name, the "
		 "first part in which the regular expression is found. Behind `remove`, before "
		 "`set`." },
	{ .key = "when",
	  .type = C_ENUM,
	  .offset = offsetof(struct edit_conf, when),
	  .dflt = "all",
	  .names = edit_when_names,
	  .doc = "Which answers: `all`, Weir's own refusals among them, or those of `success` "
		 "(200, 201, "
		 "204, 206, 301, 302, 303, 304, 307, 308)." },
	{ .key = NULL },
};

const struct schema edit_schema = {
	.name = "edit of answers",
	.size = sizeof(struct edit_conf),
	.fields = edit_fields,
	.check = check_edit,
};

static bool is_redirect(uint32_t status)
{
	return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* NULL, or what of an answer from files does not go with the rest of it. */
static const char *files_wrong(const struct respond_conf *r)
{
	bool bodiless = r->status == 204 || r->status == 205 || r->status == 304;

	if (r->file != NULL && r->files != NULL)
		return "`file` is one file, `files` what is below a folder: give one of them";
	if (r->body.text != NULL)
		return "the body is that of the file: `body` goes without";
	if (r->file != NULL && r->location.text != NULL)
		return "`location` is of no use beside a file";
	if (r->files != NULL && r->status != 0)
		return "`status` goes with one `file`; `files` have their own";
	if (r->files == NULL && (r->index.n > 0 || r->try.n > 0 || r->otherwise != NULL))
		return "`index`, `try` and `otherwise` go with `files`";
	if (bodiless || is_redirect(r->status))
		return "an answer of this status has no file";
	return NULL;
}

/* "next", "404", "/index.html" */
static const char *otherwise_wrong(const char *s)
{
	if (s == NULL || strcmp(s, "next") == 0 || (s[0] == '/' && strstr(s, "/../") == NULL))
		return NULL;
	return strlen(s) == 3 && s[0] >= '4' && s[0] <= '5' && s[1] >= '0' && s[1] <= '9' &&
		       s[2] >= '0' && s[2] <= '9'
		   ? NULL
		   : "`otherwise` is `next`, a status of 400 to 599, or the path of a file";
}

/* NULL, or which of the names and paths cannot be. */
static const char *file_names_wrong(const struct respond_conf *r)
{
	const char *const *index = r->index.item, *const *try = r->try.item;

	for (uint32_t i = 0; i < r->index.n; i++)
		if ((index[i][0] != '/' && strchr(index[i], '/') != NULL) ||
		    strstr(index[i], "..") != NULL)
			return "`index` is the name of a file, or a path that begins with /";
	for (uint32_t i = 0; i < r->try.n; i++)
		if (try[i][0] != '/' && try[i][0] != '{')
			return "`try`: a path begins with /";
	return otherwise_wrong(r->otherwise);
}

/* NULL, or what of an answer does not go with the rest of it. */
static const char *respond_wrong(const struct respond_conf *r)
{
	bool bodiless = r->status == 204 || r->status == 205 || r->status == 304;
	bool file = r->file != NULL || r->files != NULL;

	if (r->close)
		return r->status != 0 || r->body.text != NULL || r->location.text != NULL ||
			       r->headers.n > 0 || file
			   ? "`close` goes with nothing else: there is no answer"
			   : NULL;
	if (file)
		return files_wrong(r);
	if (r->index.n > 0 || r->try.n > 0 || r->otherwise != NULL)
		return "`index`, `try` and `otherwise` go with `files`";
	if (r->status == 0)
		return "an answer needs a `status`, a `file`, `files`, or `close: true`";
	if (bodiless && r->body.text != NULL)
		return "an answer of this status has no body";
	if (r->content_type != NULL && r->body.text == NULL)
		return "`content_type` without a `body` says nothing";
	if (is_redirect(r->status) != (r->location.text != NULL) && r->status != 201)
		return r->location.text != NULL
			   ? "`location` goes with 201, 301, 302, 303, 307 and 308"
			   : "a redirect needs a `location`";
	return NULL;
}

static bool check_texts(struct conf_load *l, const struct node *n, const struct respond_conf *r)
{
	if (r->location.text != NULL && holds_control(r->location.text))
		diag_error(l->diags, r->location.at, "E015",
			   "`location` holds a control character");
	else if (r->content_type != NULL && holds_control(r->content_type))
		diag_error(l->diags, node_place(n), "E015",
			   "`content_type` holds a control character");
	else
		return true;
	return false;
}

static bool check_respond(struct conf_load *l, const struct node *n, void *conf)
{
	struct respond_conf *r = conf;
	const char *wrong = respond_wrong(r);

	if (wrong == NULL)
		wrong = file_names_wrong(r);
	r->present = true;
	r->body.literal = is_secret(n, "body");
	r->location.literal = is_secret(n, "location");
	if (wrong != NULL)
		diag_error(l->diags, node_place(n), "E019", "%s", wrong);
	return wrong == NULL && check_texts(l, n, r);
}

static const char *const since_names[] = { "exact", "before", "off", NULL };

static const char *const links_names[] = {
	[LINKS_BELOW] = "below", [LINKS_ANYWHERE] = "anywhere", NULL
};

static bool check_type(struct conf_load *l, const struct node *n, void *conf)
{
	const struct type_conf *t = conf;

	if (!holds_control(t->type) && strlen(t->name.name) <= 32 &&
	    strpbrk(t->name.name, "./") == NULL)
		return true;
	diag_error(l->diags, n->at, "E015",
		   "`types`: `%s` is no ending of names (without its dot), or its type holds a "
		   "control character",
		   t->name.name);
	return false;
}

static const struct field type_fields[] = {
	{ .key = "type",
	  .type = C_STRING,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct type_conf, type),
	  .min = 3,
	  .max = 256,
	  .doc = "A media type." },
	{ .key = NULL },
};

const struct schema type_schema = {
	.name = "media type",
	.size = sizeof(struct type_conf),
	.fields = type_fields,
	.scalar = "type",
	.check = check_type,
};

static const struct field respond_fields[] = {
	{ .key = "status",
	  .type = C_U32,
	  .offset = offsetof(struct respond_conf, status),
	  .min = 200,
	  .max = 599,
	  .doc = "Of the answer." },
	{ .key = "body",
	  .type = C_STRING,
	  .offset = offsetof(struct respond_conf, body.text),
	  .at = offsetof(struct respond_conf, body.at),
	  .max = 64 * KIB,
	  .doc = "Text, with `{client.ip}` and the like replaced; in JSON and HTML such values are "
		 "escaped. `${file:PATH}` is the text of a file, as it is." },
	{ .key = "content_type",
	  .type = C_STRING,
	  .offset = offsetof(struct respond_conf, content_type),
	  .min = 3,
	  .max = 256,
	  .doc = "Of the body; `text/plain; charset=utf-8` when it is not given." },
	{ .key = "location",
	  .type = C_STRING,
	  .offset = offsetof(struct respond_conf, location.text),
	  .at = offsetof(struct respond_conf, location.at),
	  .min = 1,
	  .max = 8 * KIB,
	  .doc =
	      "Where a redirect leads: `https://{host}{uri}`. Of `files`: what stands before the "
	      "path that "
	      "leads to a folder." },
	{ .key = "headers",
	  .type = C_NAMED,
	  .offset = offsetof(struct respond_conf, headers),
	  .sub = &set_schema,
	  .doc = "More fields of the answer, by name." },
	{ .key = "tell",
	  .type = C_STRING,
	  .offset = offsetof(struct respond_conf, tell),
	  .min = 1,
	  .max = 256,
	  .doc = "What `log.events` say, at level error, of calls that are answered so." },
	{ .key = "close",
	  .type = C_BOOL,
	  .offset = offsetof(struct respond_conf, close),
	  .dflt = "false",
	  .doc = "Whether nothing is answered: the connection is closed, or the stream of HTTP/2 "
		 "reset." },
	{ .key = "file",
	  .type = C_STRING,
	  .offset = offsetof(struct respond_conf, file),
	  .at = offsetof(struct respond_conf, files_at),
	  .min = 1,
	  .max = 4000,
	  .doc = "A file that is the body, read anew for each call; without a `status` it is "
		 "answered as "
		 "those of `files` are. `content_type` is its type, else the ending of its name "
		 "tells." },
	{ .key = "files",
	  .type = C_STRING,
	  .offset = offsetof(struct respond_conf, files),
	  .at = offsetof(struct respond_conf, files_at),
	  .min = 1,
	  .max = 4000,
	  .doc =
	      "A folder: the call's path, or what `rewrite` makes of it, is that of a file below "
	      "it. GET "
	      "and HEAD alone (405); ranges, If-None-Match, If-Modified-Since (by the very date) "
	      "and the "
	      "like are heeded; a folder without its slash is 301, without an index 403. Disks are "
	      "read "
	      "where the call is served: no place for slow ones. `content_type` is the type of "
	      "what "
	      "`types` "
	      "do not name, application/octet-stream when it is not given." },
	{ .key = "index",
	  .type = C_LIST,
	  .flags = C_ONE,
	  .offset = offsetof(struct respond_conf, index),
	  .item = C_STRING,
	  .min = 1,
	  .max = 255,
	  .doc = "The names of files that answer for their folder, the first that is there; "
		 "index.html when "
		 "nothing is given. One that begins with a slash is a path below `files`." },
	{ .key = "try",
	  .type = C_LIST,
	  .flags = C_ONE,
	  .offset = offsetof(struct respond_conf, try),
	  .at = offsetof(struct respond_conf, try_at),
	  .item = C_STRING,
	  .min = 1,
	  .max = 4096,
	  .doc = "Paths below the folder, of which the first counts that is there: `{path}.html`; "
		 "one that "
		 "ends with a slash is a folder. Not given: the path itself." },
	{ .key = "otherwise",
	  .type = C_STRING,
	  .offset = offsetof(struct respond_conf, otherwise),
	  .min = 1,
	  .max = 4096,
	  .doc =
	      "Where there is no such file: a status, 404 when nothing is given; the path of "
	      "another file "
	      "(`/index.html`); or `next`: the route takes none but the calls for which there is "
	      "a file, the "
	      "others are for the routes behind it." },
	{ .key = "types",
	  .type = C_NAMED,
	  .offset = offsetof(struct respond_conf, types),
	  .sub = &type_schema,
	  .doc = "Media types by the ending of names: `html: text/html`. Not given: the `types` of "
		 "the whole "
		 "configuration." },
	{ .key = "links",
	  .type = C_ENUM,
	  .offset = offsetof(struct respond_conf, links),
	  .dflt = "below",
	  .names = links_names,
	  .doc = "Where symbolic links may lead: `below` (within the folder; 403 beyond it) or "
		 "`anywhere`." },
	{ .key = "if_modified_since",
	  .type = C_ENUM,
	  .offset = offsetof(struct respond_conf, since),
	  .dflt = "exact",
	  .names = since_names,
	  .doc = "Which date in If-Modified-Since finds a file unchanged: `exact` (its own), "
		 "`before` (that, or a later one) or `off` (none)." },
	{ .key = NULL },
};

static const struct schema respond_schema = {
	.name = "answer",
	.size = sizeof(struct respond_conf),
	.fields = respond_fields,
	.at = offsetof(struct respond_conf, at),
	.optional = true,
	.scalar = "status",
	.check = check_respond,
};

/*------------------------------------------------------------------- errors */

static const char *target_wrong(const char *text, bool path)
{
	if (path && text[0] != '/' && text[0] != '{')
		return "a path begins with /";
	for (const char *c = text; *c != '\0'; c++)
		if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7F || *c == '#' ||
		    (path && *c == '?'))
			return path ? "a path holds visible ASCII but `?` and `#`"
				    : "a query holds visible ASCII but `#`";
	return NULL;
}

static bool check_target(struct conf_load *l, const char *key, const char *text, struct place at,
			 bool path)
{
	const char *wrong = text == NULL ? NULL : target_wrong(text, path);

	if (wrong != NULL)
		diag_error(l->diags, at, "E015", "`%s`: %s", key, wrong);
	return wrong == NULL;
}

/* "404" or "5xx" */
static bool is_error_status(const char *s)
{
	bool whole = s[0] != '\0' && s[1] == 'x' && s[2] == 'x';
	bool one = s[0] != '\0' && s[1] >= '0' && s[1] <= '9' && s[2] >= '0' && s[2] <= '9';

	return (whole || one) && s[0] >= '3' && s[0] <= '5';
}

static bool check_statuses(struct conf_load *l, const struct node *list,
			   const struct conf_list *statuses)
{
	const char *const *status = statuses->item;
	bool ok = true;

	for (uint32_t i = 0; i < statuses->n; i++) {
		if (is_error_status(status[i]))
			continue;
		diag_error(l->diags, list->kind == NODE_LIST ? node_item(list, i)->at : list->at,
			   "E015", "`when`: a status is 300 to 599, or 3xx, 4xx, 5xx");
		ok = false;
	}
	return ok;
}

static const char *page_wrong(const struct page_conf *p)
{
	const struct respond_conf *r = &p->respond;
	struct respond_conf as = *r;

	if (p->route != NULL || p->path.text != NULL)
		return r->body.text != NULL || r->location.text != NULL || r->file != NULL || r->headers.n > 0
			   ? "`route` and `path` say who answers: only a `status` goes with them"
			   : NULL;
	if (r->status == 0 && r->body.text == NULL && r->file == NULL && r->headers.n == 0)
		return "a page needs a `status`, a `body`, a `file`, `headers`, a `path` or a `route`";
	if (r->status == 0)
		as.status = 500;
	return respond_wrong(&as);
}

static bool check_page(struct conf_load *l, const struct node *n, void *conf)
{
	struct page_conf *page = conf;
	const char *wrong = page_wrong(page);

	page->respond.present = true;
	page->respond.body.literal = is_secret(n, "body");
	page->respond.location.literal = is_secret(n, "location");
	page->path.literal = is_secret(n, "path");
	if (wrong != NULL)
		diag_error(l->diags, node_place(n), "E019", "%s", wrong);
	return check_statuses(l, node_get(n, "when"), &page->when) && wrong == NULL &&
	       check_target(l, "path", page->path.text, page->path.at, true) &&
	       check_texts(l, n, &page->respond);
}

static const char *const page_of_names[] = {
	[PAGE_ALL] = "all", [PAGE_UPSTREAM] = "upstream", [PAGE_WEIR] = "weir", NULL
};

static const struct field page_fields[] = {
	{ .key = "when",
	  .type = C_LIST,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct page_conf, when),
	  .item = C_STRING,
	  .min = 3,
	  .max = 3,
	  .doc = "Statuses: 300 to 599, or 3xx, 4xx, 5xx." },
	{ .key = "from",
	  .type = C_ENUM,
	  .offset = offsetof(struct page_conf, from),
	  .dflt = "all",
	  .names = page_of_names,
	  .doc = "Whose: the `upstream`'s answers, those of `weir` (limits, no endpoint, "
		 "time-outs), or "
		 "`all`. Of an upstream's, only WWW-Authenticate and when to come back are kept." },
	{ .key = "status",
	  .type = C_U32,
	  .offset = offsetof(struct page_conf, respond.status),
	  .min = 200,
	  .max = 599,
	  .doc = "In place of the error's own; that stays when it is not given." },
	{ .key = "body",
	  .type = C_STRING,
	  .offset = offsetof(struct page_conf, respond.body.text),
	  .at = offsetof(struct page_conf, respond.body.at),
	  .max = 64 * KIB,
	  .doc = "As in `respond`; not given: none." },
	{ .key = "file",
	  .type = C_STRING,
	  .offset = offsetof(struct page_conf, respond.file),
	  .at = offsetof(struct page_conf, respond.files_at),
	  .min = 1,
	  .max = 4000,
	  .doc = "A file that is the body, read anew for each call; while it cannot be read, the "
		 "error is "
		 "answered as it is." },
	{ .key = "content_type",
	  .type = C_STRING,
	  .offset = offsetof(struct page_conf, respond.content_type),
	  .min = 3,
	  .max = 256,
	  .doc = "Of the body; `text/plain; charset=utf-8` when it is not given." },
	{ .key = "location",
	  .type = C_STRING,
	  .offset = offsetof(struct page_conf, respond.location.text),
	  .at = offsetof(struct page_conf, respond.location.at),
	  .min = 1,
	  .max = 8 * KIB,
	  .doc = "Where a redirect leads." },
	{ .key = "headers",
	  .type = C_NAMED,
	  .offset = offsetof(struct page_conf, respond.headers),
	  .sub = &set_schema,
	  .doc = "More fields, by name." },
	{ .key = "path",
	  .type = C_STRING,
	  .offset = offsetof(struct page_conf, path.text),
	  .at = offsetof(struct page_conf, path.at),
	  .min = 1,
	  .max = 4096,
	  .doc = "What is answered is what GET (or HEAD) of this path is answered by the routes, "
		 "with its status "
		 "unless `status` is given. Policies are not asked again." },
	{ .key = "route",
	  .type = C_STRING,
	  .offset = offsetof(struct page_conf, route),
	  .at = offsetof(struct page_conf, route_at),
	  .min = 1,
	  .max = 64,
	  .doc = "The same, of the route of this name; without a `path` the call goes there as it "
		 "came: another "
		 "upstream for calls that failed. One whose body is too long to be sent again "
		 "keeps its error." },
	{ .key = NULL },
};

const struct schema page_schema = {
	.name = "page for errors",
	.size = sizeof(struct page_conf),
	.fields = page_fields,
	.check = check_page,
};

/*------------------------------------------------------------------ rewrite */

/* As those are that everybody knows; one in lower case is a mistake. */
static bool is_method(const char *s)
{
	return s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_")] == '\0' && strcmp(s, "CONNECT") != 0;
}

static const char *rewrite_wrong(const struct rewrite_conf *r)
{
	if (r->prefix != NULL && (r->path.text != NULL || r->pattern != NULL))
		return "`prefix` replaces a part of the path, `path` all of it: give one of them";
	if (r->pattern != NULL && r->path.text == NULL)
		return "`pattern` says when the path becomes another: `path` is missing";
	if (r->prefix == NULL && r->path.text == NULL && r->query.text == NULL && r->method == NULL)
		return "a rewrite needs `prefix`, `path`, `query` or `method`";
	if (r->method != NULL && !is_method(r->method))
		return "`method` is a word in capitals, and not CONNECT";
	return NULL;
}

static bool check_rewrite(struct conf_load *l, const struct node *n, void *conf)
{
	struct rewrite_conf *r = conf;
	const char *wrong = rewrite_wrong(r);

	r->present = true;
	r->path.literal = is_secret(n, "path");
	r->query.literal = is_secret(n, "query");
	if (wrong != NULL)
		diag_error(l->diags, node_place(n), "E019", "%s", wrong);
	return wrong == NULL && check_target(l, "prefix", r->prefix, r->prefix_at, true) &&
	       check_target(l, "path", r->path.text, r->path.at, true) &&
	       check_target(l, "query", r->query.text, r->query.at, false);
}

static const struct field rewrite_fields[] = {
	{ .key = "prefix",
	  .type = C_STRING,
	  .offset = offsetof(struct rewrite_conf, prefix),
	  .at = offsetof(struct rewrite_conf, prefix_at),
	  .min = 1,
	  .max = 4096,
	  .doc =
	      "In place of what stands before the star of `match.path`: with `/api/*` and `prefix: "
	      "/v1/`, /api/x becomes /v1/x, with `prefix: /` it becomes /x." },
	{ .key = "path",
	  .type = C_STRING,
	  .offset = offsetof(struct rewrite_conf, path.text),
	  .at = offsetof(struct rewrite_conf, path.at),
	  .min = 1,
	  .max = 4096,
	  .doc = "In place of the whole path; `{path}`, `{match.1}` and the like are replaced." },
	{ .key = "pattern",
	  .type = C_STRING,
	  .offset = offsetof(struct rewrite_conf, pattern),
	  .at = offsetof(struct rewrite_conf, pattern_at),
	  .min = 1,
	  .max = 4096,
	  .doc = "A regular expression, as in `match.path`: only where it is found in the path, "
		 "path and "
		 "query become others, and `{match.1}` is its first group." },
	{ .key = "query",
	  .type = C_STRING,
	  .offset = offsetof(struct rewrite_conf, query.text),
	  .at = offsetof(struct rewrite_conf, query.at),
	  .max = 4096,
	  .doc =
	      "In place of the query, without its `?`; empty: none. Not given: it stays. An `&` at "
	      "either end is left out, so that `a=1&{query}` does for calls without a query, "
	      "too." },
	{ .key = "method",
	  .type = C_STRING,
	  .offset = offsetof(struct rewrite_conf, method),
	  .min = 1,
	  .max = 32,
	  .doc = "In place of the method. What is tried again, and what limits and logs see, goes by the "
		 "client's." },
	{ .key = NULL },
};

static const struct schema rewrite_schema = {
	.name = "rewrite",
	.size = sizeof(struct rewrite_conf),
	.fields = rewrite_fields,
	.at = offsetof(struct rewrite_conf, at),
	.optional = true,
	.check = check_rewrite,
};

static bool check_reroute(struct conf_load *l, const struct node *n, void *conf)
{
	struct reroute_conf *r = conf;

	r->present = true;
	r->path.literal = is_secret(n, "path");
	r->query.literal = is_secret(n, "query");
	return check_target(l, "path", r->path.text, r->path.at, true) &&
	       check_target(l, "query", r->query.text, r->query.at, false);
}

static const struct field reroute_fields[] = {
	{ .key = "path",
	  .type = C_STRING,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct reroute_conf, path.text),
	  .at = offsetof(struct reroute_conf, path.at),
	  .min = 1,
	  .max = 4096,
	  .doc = "In place of the path; `{path}`, `{match.1}` and the like are replaced." },
	{ .key = "query",
	  .type = C_STRING,
	  .offset = offsetof(struct reroute_conf, query.text),
	  .at = offsetof(struct reroute_conf, query.at),
	  .max = 4096,
	  .doc = "In place of the query, as in `rewrite`. Not given: it stays." },
	{ .key = NULL },
};

static const struct schema reroute_schema = {
	.name = "reroute",
	.size = sizeof(struct reroute_conf),
	.fields = reroute_fields,
	.at = offsetof(struct reroute_conf, at),
	.optional = true,
	.scalar = "path",
	.check = check_reroute,
};

static const char *const dialect_names[] = {
	[DIALECT_AUTO] = "auto",           [DIALECT_OPENAI] = "openai",
	[DIALECT_ANTHROPIC] = "anthropic", [DIALECT_GEMINI] = "gemini",
	[DIALECT_PROBLEM] = "problem",     NULL
};

static const struct field route_fields[] = {
	{ .key = "name",
	  .type = C_STRING,
	  .offset = offsetof(struct route_conf, name),
	  .min = 1,
	  .max = 64,
	  .doc = "For metrics and logs, unique; made of host and path when it is not given." },
	{ .key = "match",
	  .type = C_MAP,
	  .offset = offsetof(struct route_conf, match),
	  .sub = &match_schema,
	  .doc = "Which calls take this route; all that is given must hold. Nothing given: every "
		 "call." },
	{ .key = "to",
	  .type = C_STRING,
	  .offset = offsetof(struct route_conf, to),
	  .at = offsetof(struct route_conf, to_at),
	  .min = 1,
	  .doc = "The name of an upstream. A route has this, or `respond`." },
	{ .key = "respond",
	  .type = C_MAP,
	  .offset = offsetof(struct route_conf, respond),
	  .sub = &respond_schema,
	  .doc = "An answer, in place of an upstream; its policies are asked all the same. A "
		 "number is "
		 "its status." },
	{ .key = "reroute",
	  .type = C_MAP,
	  .offset = offsetof(struct route_conf, reroute),
	  .sub = &reroute_schema,
	  .doc = "The call goes on as if it had asked for another path: the routes are asked "
		 "again, from the "
		 "first, at most ten times. Policies are those of the route where it ends; logs "
		 "and `{uri}` have "
		 "what the client asked for." },
	{ .key = "fallback",
	  .type = C_STRING,
	  .offset = offsetof(struct route_conf, fallback),
	  .at = offsetof(struct route_conf, fallback_at),
	  .min = 1,
	  .doc =
	      "The upstream to go to when a breaker shuts the first one or it has no endpoint." },
	{ .key = "use",
	  .type = C_LIST,
	  .offset = offsetof(struct route_conf, use),
	  .sub = &use_schema,
	  .doc = "Policies, by name, asked in this order. Without any the route is not limited. "
		 "Rates by "
		 "client.ip that stand first are asked before it is verified who calls, and bad "
		 "credentials pay for it." },
	{ .key = "auth",
	  .type = C_LIST,
	  .flags = C_ONE,
	  .offset = offsetof(struct route_conf, auth),
	  .at = offsetof(struct route_conf, auth_at),
	  .item = C_STRING,
	  .names = auth_names,
	  .doc =
	      "Who may call: with a verified `jwt`, with an `api_key`, with either of a list; or "
	      "`none`: nothing is looked at. Not given: what the keys of the policies need. "
	      "Preflights "
	      "of browsers (CORS) bring no credentials: let OPTIONS in by a route before it." },
	{ .key = "timeout",
	  .type = C_MAP,
	  .offset = offsetof(struct route_conf, timeout),
	  .sub = &timeout_schema,
	  .doc = "How long things may take." },
	{ .key = "await_body",
	  .type = C_BYTES,
	  .offset = offsetof(struct route_conf, await_body),
	  .dflt = "0",
	  .max = 64 * MIB,
	  .doc = "A request's body of up to so many bytes is awaited, in memory, before an upstream "
		 "is asked, so that a slow sender occupies none; where its length was not known it "
		 "is then. Longer ones, gRPC and WebSockets are passed on as they come. 0: all are." },
	{ .key = "max_body",
	  .type = C_BYTES,
	  .offset = offsetof(struct route_conf, max_body),
	  .dflt = "32MiB",
	  .max = 1024 * 1024 * MIB,
	  .doc = "A request body; beyond it 413. Bodies stream, so it may be generous." },
	{ .key = "set",
	  .type = C_NAMED,
	  .offset = offsetof(struct route_conf, set),
	  .sub = &set_schema,
	  .doc = "Header fields of the request that goes upstream, by name; an empty value takes a "
		 "field "
		 "out. Texts of routes say something of the call: `{client.ip}`, `{header.NAME}`, "
		 "`{query.NAME}`, `{cookie.NAME}`, `{host}` (without a port), `{authority}` (as it "
		 "came), "
		 "`{method}`, `{scheme}`, `{uri}` (path and query, as they came), `{path}` (in "
		 "normal form), "
		 "`{query}`, `{route}`, `{upstream}`, `{value.NAME}`, `{server.address}`, "
		 "`{server.port}`, "
		 "`{tls.san}`, "
		 "`{request_id}`; of a match by regular expression `{match.1}` and `{match.NAME}`, "
		 "of one "
		 "that ends with a star `{match.rest}`. What the call lacks is empty; `{{` in "
		 "front of a "
		 "name is a brace." },
	{ .key = "rewrite",
	  .type = C_MAP,
	  .offset = offsetof(struct route_conf, rewrite),
	  .sub = &rewrite_schema,
	  .doc = "Another path for the upstream. Not given: the client's, as it came. What is made "
		 "here "
		 "begins with the path in normal form; logs and limits have the client's." },
	{ .key = "host",
	  .type = C_STRING,
	  .offset = offsetof(struct route_conf, host.text),
	  .at = offsetof(struct route_conf, host.at),
	  .min = 1,
	  .max = 255,
	  .doc = "The Host that goes upstream: `client` (what the client says; the same as nothing "
		 "given), `upstream` (the address of the endpoint, as the upstream names it), or a "
		 "text, in "
		 "which `{host}` and the like are replaced." },
	{ .key = "body",
	  .type = C_STRING,
	  .offset = offsetof(struct route_conf, body.text),
	  .at = offsetof(struct route_conf, body.at),
	  .max = 64 * KIB,
	  .doc = "A text that goes upstream in place of the request's body, which is read and dropped; "
		 "empty: nothing goes. `{client.ip}` and the like are replaced. Calls that change the "
		 "protocol, and those of gRPC, keep theirs." },
	{ .key = "client_fields",
	  .type = C_BOOL,
	  .offset = offsetof(struct route_conf, client_fields),
	  .dflt = "true",
	  .doc = "Whether the fields of the request's head go upstream. `false`: none but Host and "
		 "those that `set` names; `forwarded` and `auth.headers` add none either." },
	{ .key = "response",
	  .type = C_LIST,
	  .offset = offsetof(struct route_conf, response),
	  .sub = &edit_schema,
	  .doc = EDIT_DOC "Not given: the `response` of the whole configuration." },
	{ .key = "errors",
	  .type = C_LIST,
	  .offset = offsetof(struct route_conf, errors),
	  .sub = &page_schema,
	  .doc = PAGE_DOC
	  "Behind them come the `errors` of the whole configuration. Answers of the route "
	  "itself that have a body are no errors, and gRPC is told in its own way." },
	{ .key = "log",
	  .type = C_LIST,
	  .flags = C_ONE,
	  .offset = offsetof(struct route_conf, log),
	  .at = offsetof(struct route_conf, log_at),
	  .item = C_STRING,
	  .min = 1,
	  .max = 256,
	  .doc = "Logs that tell of its calls, by name: those of `log.text` and `log.events`, "
		 "`access` (the one of `log.access`), or `none`. Not given: `log.use`." },
	{ .key = "log_level",
	  .type = C_MAP,
	  .offset = offsetof(struct route_conf, log_level),
	  .sub = &log_level_schema,
	  .doc = "At what level `log.events` tell of refusals by limits." },
	{ .key = "dialect",
	  .type = C_ENUM,
	  .offset = offsetof(struct route_conf, dialect),
	  .dflt = "auto",
	  .names = dialect_names,
	  .doc = "The form of the bodies of Weir's own answers; auto goes by the path. Clients of "
		 "gRPC "
		 "are told in gRPC's own way whatever it says." },
	{ .key = "forwarded",
	  .type = C_BOOL,
	  .offset = offsetof(struct route_conf, forwarded),
	  .dflt = "true",
	  .doc = "Whether the upstream is told who calls (X-Forwarded-*, Forwarded, X-Real-IP, "
		 "X-Request-Id, traceparent) and both sides by whom (Via). `false`: such fields go "
		 "on as they came, whoever sent them, and none is added but by `set`: an upstream "
		 "that believes them believes any client." },
	{ .key = "upgrade",
	  .type = C_BOOL,
	  .offset = offsetof(struct route_conf, upgrade),
	  .dflt = "false",
	  .doc =
	      "Whether a connection may change its protocol (WebSocket, over HTTP/2 as well) and "
	      "is tunnelled then." },
	{ .key = NULL },
};

/* What is for an upstream only. */
static bool check_answered(struct conf_load *l, const struct route_conf *r)
{
	const struct {
		const char *key;
		bool given;
		struct place at;
	} rows[] = {
		{ "fallback", r->fallback != NULL, r->fallback_at },
		{ "rewrite", r->rewrite.present && r->respond.files == NULL, r->rewrite.at },
		{ "host", r->host.text != NULL, r->host.at },
		{ "body", r->body.text != NULL, r->body.at },
		{ "use", r->use.n > 0 && r->reroute.present, r->reroute.at },
	};
	bool ok = true;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (!rows[i].given)
			continue;
		diag_error(l->diags, rows[i].at, "E019",
			   "`%s` is of no use: this route answers by itself", rows[i].key);
		ok = false;
	}
	return ok;
}

static bool check_route(struct conf_load *l, const struct node *n, void *conf)
{
	struct route_conf *r = conf;
	bool answers = r->respond.present || r->reroute.present;

	r->host.literal = is_secret(n, "host");
	r->body.literal = is_secret(n, "body");
	if (r->to == NULL && !answers) {
		diag_error(l->diags, node_place(n), "E013",
			   "a route needs `to`, `respond` or `reroute`")
		    ->help = "to: The name of an upstream; respond: an answer in its place";
		return false;
	}
	if ((r->to != NULL && answers) || (r->respond.present && r->reroute.present)) {
		diag_error(
		    l->diags, r->respond.present ? r->respond.at : r->reroute.at, "E019",
		    "a route goes `to` an upstream, or has an answer in its place, not both");
		return false;
	}
	return !answers || check_answered(l, r);
}

const struct schema route_schema = {
	.name = "route",
	.size = sizeof(struct route_conf),
	.fields = route_fields,
	.at = offsetof(struct route_conf, at),
	.check = check_route,
};
