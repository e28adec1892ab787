/* config_answer.c - the field tables of answers: fields that are set, what becomes of an upstream's
 * answer, what is answered in its place, and pages for errors. */
#include <string.h>
#include <strings.h>

#include "core/config.h"
#include "core/config_internal.h"

#define KIB UINT64_C(1024)

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

bool text_is_secret(const struct node *n, const char *key)
{
	const struct node *value = n->kind == NODE_MAP ? node_get(n, key) : n;

	return value != NULL && value->secret;
}

/* Whether it is more than what calls bring: "Bearer {header.x-key}" is not. */
static bool is_own_text(const char *value)
{
	static const char *const schemes[] = { "Bearer ", "Basic " };

	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
		if (strncasecmp(value, schemes[i], strlen(schemes[i])) == 0)
			value += strlen(schemes[i]);
	while (*value == '{' && value[1] != '{' && strchr(value, '}') != NULL)
		value = strchr(value, '}') + 1;
	return *value != '\0';
}

static bool check_set(struct conf_load *l, const struct node *n, void *conf)
{
	struct set_conf *set = conf;
	const char *wrong = field_wrong(slice_str(set->name.name));

	set->literal = text_is_secret(n, "value");
	if (conf_names_credentials(slice_str(set->name.name)) && is_own_text(set->value))
		conf_hide(l, &set->value);
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

const struct schema set_schema = {
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

	r->with.literal = text_is_secret(n, "with");
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
	r->body.literal = text_is_secret(n, "body");
	r->location.literal = text_is_secret(n, "location");
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

const struct schema respond_schema = {
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

bool text_check_target(struct conf_load *l, const char *key, const char *text, struct place at,
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
		return r->body.text != NULL || r->location.text != NULL || r->file != NULL ||
			       r->headers.n > 0
			   ? "`route` and `path` say who answers: only a `status` goes with them"
			   : NULL;
	if (r->status == 0 && r->body.text == NULL && r->file == NULL && r->headers.n == 0)
		return "a page needs a `status`, a `body`, a `file`, `headers`, a `path` or a "
		       "`route`";
	if (r->status == 0)
		as.status = 500;
	return respond_wrong(&as);
}

static bool check_page(struct conf_load *l, const struct node *n, void *conf)
{
	struct page_conf *page = conf;
	const char *wrong = page_wrong(page);

	page->respond.present = true;
	page->respond.body.literal = text_is_secret(n, "body");
	page->respond.location.literal = text_is_secret(n, "location");
	page->path.literal = text_is_secret(n, "path");
	if (wrong != NULL)
		diag_error(l->diags, node_place(n), "E019", "%s", wrong);
	return check_statuses(l, node_get(n, "when"), &page->when) && wrong == NULL &&
	       text_check_target(l, "path", page->path.text, page->path.at, true) &&
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
