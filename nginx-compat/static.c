/* static.c - locations that serve files: root, alias, index, try_files, types.
 *
 * nginx goes to another location in the midst of it: to that of the index it has found, and to what stands last in try_files.
 * Which one that is, is found out here; where it is not one of files below the same folder, it cannot be said. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/pattern.h"
#include "nginx-compat/internal.h"

struct serving {
	struct import *im;
	const struct site *site;
	const struct spot *all; /* of the server, in order */
	uint32_t n;
	const struct spot *spot;
	struct elsewhere *elsewhere;
	struct buf index, tries;
	const char *folder, *rewrite, *file;
};

/*------------------------------------------------------------------- whether */

/* They answer in place of files. */
static const char *const handlers[] = { "stub_status", "empty_gif", "random_index" };

bool static_serves(struct import *im, const struct directive *block)
{
	if (im->prefix == NULL && block_find(block, "root") == NULL &&
	    block_own(block, "alias") == NULL)
		return false;
	for (size_t i = 0; i < sizeof(handlers) / sizeof(handlers[0]); i++) {
		const struct directive *d = block_own(block, handlers[i]);

		if (d != NULL && strcmp(directive_word(d, 1), "off") != 0)
			return false;
	}
	DIRECTIVE_EACH (d, block)
		if (d->rule == NULL && directive_is(block, "location"))
			return false;
	return true;
}

/* alias is nested locations' as well, where they have no root. */
static struct directive *place_of(const struct directive *block, bool *alias)
{
	*alias = false;
	for (; block != NULL; block = block->parent) {
		struct directive *d = block_own(block, "alias");

		*alias = d != NULL;
		if (d == NULL)
			d = block_own(block, "root");
		if (d != NULL)
			return d;
	}
	return NULL;
}

/*--------------------------------------------------------------------- types */

struct type {
	const char *extension, *type;
};

enum { TYPES_MAX = 2048 };

static void add_type(struct type *types, uint32_t *n, const char *extension, const char *type)
{
	for (uint32_t i = 0; i < *n; i++)
		if (strcasecmp(types[i].extension, extension) == 0) {
			types[i].type = type;
			return;
		}
	if (*n < TYPES_MAX)
		types[(*n)++] = (struct type){ extension, type };
}

static bool can_be_said(struct slice extension)
{
	return extension.n > 0 && extension.n <= 32 &&
	       memchr(extension.p, '.', extension.n) == NULL &&
	       memchr(extension.p, '/', extension.n) == NULL;
}

static uint32_t read_types(struct import *im, const struct directive *block, struct type *types)
{
	uint32_t n = 0;

	for (struct directive *d = block_find(block, "types"); d != NULL; d = block_next(d)) {
		judge(im, d, EXACT, NULL);
		DIRECTIVE_EACH (line, d) {
			judge(im, line, EXACT, NULL);
			for (uint32_t i = 1; i < line->n; i++)
				if (can_be_said(line->word[i]))
					add_type(types, &n, line->word[i].p, line->word[0].p);
		}
	}
	if (block_find(block, "types") != NULL)
		return n;
	add_type(types, &n, "html", "text/html");
	add_type(types, &n, "gif", "image/gif");
	add_type(types, &n, "jpg", "image/jpeg");
	return n;
}

static const char *types_text(struct import *im, const struct directive *block)
{
	struct type *types = arena_alloc(im->arena, TYPES_MAX * sizeof(*types));
	struct buf b = { 0 };
	uint32_t n = types == NULL ? 0 : read_types(im, block, types);

	if (n == 0) /* an entry that changes nothing: without any the built-in ones would hold */
		return text_printf(im, "{ html: %s }",
				   text_yaml(im, block_word(block, "default_type", "text/plain")));
	for (uint32_t i = 0; i < n; i++)
		buf_printf(&b, "%s %s: %s", i == 0 ? "{" : ",", text_yaml(im, types[i].extension),
			   text_yaml(im, types[i].type));
	buf_puts(&b, " }");
	return text_buf(im, &b);
}

void static_types(struct import *im)
{
	const struct directive *d = im->http == NULL ? NULL : block_own(im->http, "types");

	if (!im->serves_files)
		return;
	buf_printf(&im->top, "types: %s", types_text(im, im->http));
	text_end(im, &im->top, d);
}

/* Of a path, as nginx has it. */
static const char *type_of(struct import *im, const struct directive *block, const char *uri)
{
	struct type *types = arena_alloc(im->arena, TYPES_MAX * sizeof(*types));
	const char *dot = strrchr(uri, '.'), *slash = strrchr(uri, '/');
	uint32_t n = types == NULL ? 0 : read_types(im, block, types);

	for (uint32_t i = 0; i < n && dot != NULL && (slash == NULL || dot > slash); i++)
		if (strcasecmp(types[i].extension, dot + 1) == 0)
			return types[i].type;
	return block_word(block, "default_type", "text/plain");
}

/*-------------------------------------------------------------------- places */

static const char *absolute(struct import *im, const char *path)
{
	if (im->prefix != NULL)
		return text_prefixed(im, path);
	if (*path == '/')
		return path;
	return text_printf(im, "%s%s", im->prefix != NULL ? im->prefix : im->folder, path);
}

/* "/srv/{host}/www" as a folder and what is below it, before the path. */
static const char *split_place(struct serving *s, const char *word, bool alias)
{
	struct import *im = s->im;
	const char *text = variable_phrase(im, s->site, s->spot->at, word, alias), *brace;
	const char *cut;

	if (text == NULL)
		return text_printf(im, "`%s` is not known to Weir", word);
	text = absolute(im, text);
	brace = strchr(text, '{');
	cut = brace;
	while (cut != NULL && cut > text && *cut != '/')
		cut--;
	s->folder = cut == NULL   ? text
		    : cut == text ? "/"
				  : text_printf(im, "%.*s", (int)(cut - text), text);
	s->rewrite = cut;
	return NULL;
}

/* A path of a rewrite holds no more than a URI can. */
static bool is_plain(const char *text)
{
	for (; *text != '\0'; text++)
		if ((unsigned char)*text <= ' ' || (unsigned char)*text >= 0x7F ||
		    strchr("\"#%<>?\\^`|", *text) != NULL)
			return false;
	return true;
}

static const char *put_root(struct serving *s)
{
	if (s->rewrite != NULL)
		s->rewrite =
		    text_printf(s->im, "path: %s",
				text_yaml(s->im, text_printf(s->im, "%s{path}", s->rewrite)));
	return NULL;
}

/* Where the path of a prefix goes: in its place stands what is behind the folder's last slash. */
static const char *put_alias_below(struct serving *s, const char *text)
{
	const char *slash = strrchr(text, '/');
	struct slice path = s->spot->path;
	bool ends = slash[1] == '\0';

	if (!ends && path.p[path.n - 1] == '/')
		return "its location ends with a slash, and it does not";
	if (!is_plain(slash))
		return "its last part holds what no path of a URI does";
	s->folder = slash == text ? "/" : text_printf(s->im, "%.*s", (int)(slash - text), text);
	s->rewrite = text_printf(s->im, "prefix: %s", text_yaml(s->im, slash));
	return NULL;
}

static const char *put_alias(struct serving *s)
{
	const char *text = s->folder;

	if (s->spot->kind == SPOT_REGEX && s->rewrite != NULL && is_plain(s->rewrite)) {
		s->rewrite = text_printf(s->im, "path: %s", text_yaml(s->im, s->rewrite));
		return NULL;
	}
	if (s->rewrite != NULL)
		return "an alias with variables";
	if (s->spot->kind == SPOT_PREFIX)
		return put_alias_below(s, text);
	if (text[strlen(text) - 1] == '/')
		return "a folder for one path";
	s->file = text;
	return NULL;
}

static const char *find_place(struct serving *s)
{
	bool alias;
	struct directive *d = place_of(s->spot->at, &alias);
	const char *why;

	if (d == NULL) /* where nginx looks if nobody says where */
		return s->im->prefix != NULL ? split_place(s, "html", false)
					     : "its folder is not known";
	if (alias && d->parent != s->spot->at)
		return "the alias of the location around it";
	why = split_place(s, d->word[1].p, alias);
	if (why == NULL)
		why = alias ? put_alias(s) : put_root(s);
	judge(s->im, d, why == NULL ? EXACT : LOST, why == NULL ? NULL : "%s", why);
	return why;
}

/*----------------------------------------------------------- other locations */

static bool regex_takes(const struct serving *s, const struct spot *spot, const char *path)
{
	struct arena arena;
	const struct pattern *p;
	const char *wrong;
	bool takes;

	arena_init(&arena, NULL);
	p = pattern_compile(
	    arena_printf(&arena, "%s %.*s", spot->caseless ? "~*" : "~", SLICE_FMT(spot->path)),
	    false, &arena, &wrong);
	takes = p == NULL || pattern_match(p, slice_str(path), NULL) != PATTERN_NO;
	arena_fini(&arena);
	(void)s;
	return takes;
}

/* The location of a path; NULL: none. */
static const struct spot *spot_of(const struct serving *s, const char *path)
{
	struct slice text = slice_str(path);

	for (uint32_t i = 0; i < s->n; i++) {
		const struct spot *spot = &s->all[i];

		if (spot->kind == SPOT_EXACT    ? slice_eq(spot->path, text)
		    : spot->kind == SPOT_PREFIX ? slice_starts(text, spot->path)
						: regex_takes(s, spot, path))
			return spot;
	}
	return NULL;
}

/* Files below the same folder, under the same conditions. */
static bool is_alike(const struct serving *s, const struct spot *other)
{
	bool alias, other_alias;
	const struct directive *a = place_of(s->spot->at, &alias), *b;

	b = place_of(other->at, &other_alias);
	return (a == NULL) == (b == NULL) && !alias && !other_alias &&
	       (a == NULL || slice_eq(a->word[1], b->word[1])) && static_serves(s->im, other->at) &&
	       closed_by(s->im, other->at) == NULL && closed_return(s->im, other->at) == NULL &&
	       block_own(other->at, "proxy_pass") == NULL &&
	       block_own(other->at, "try_files") == NULL &&
	       closed_access(s->spot->at) == closed_access(other->at) &&
	       block_find(s->spot->at, "limit_req") == block_find(other->at, "limit_req") &&
	       block_find(s->spot->at, "limit_conn") == block_find(other->at, "limit_conn");
}

static bool has_own(const struct directive *block)
{
	return block_own(block, "add_header") != NULL || block_own(block, "expires") != NULL ||
	       block_own(block, "types") != NULL || block_own(block, "default_type") != NULL;
}

/*--------------------------------------------------------------------- index */

/* Below the location any folder may ask for it. */
static const struct spot *index_elsewhere(const struct serving *s, const char *name)
{
	struct slice file = slice_str(name);
	const char *path =
	    s->spot->kind == SPOT_REGEX
		? text_printf(s->im, "/%s", name)
		: text_printf(s->im, "%.*s%s%s", SLICE_FMT(s->spot->path),
			      s->spot->path.p[s->spot->path.n - 1] == '/' ? "" : "/", name);
	const struct spot *found = s->spot->kind == SPOT_REGEX ? NULL : spot_of(s, path);

	for (uint32_t i = 0; i < s->n && (found == NULL || found == s->spot); i++) {
		const struct spot *o = &s->all[i];
		bool ends = o->path.n > file.n && o->path.p[o->path.n - file.n - 1] == '/' &&
			    memcmp(o->path.p + o->path.n - file.n, file.p, file.n) == 0;

		if (o != s->spot &&
		    (o->kind == SPOT_EXACT ? ends && (s->spot->kind == SPOT_REGEX ||
						      slice_starts(o->path, s->spot->path))
					   : o->kind == SPOT_REGEX && regex_takes(s, o, path)))
			found = o;
	}
	return found == s->spot ? NULL : found;
}

/* "/x.html": nginx goes there, whether it is there or not. */
static const struct spot *index_of_path(const struct serving *s, const char *name)
{
	const struct spot *other = s->rewrite != NULL || s->file != NULL ? NULL : spot_of(s, name);

	return other == s->spot || (other != NULL && is_alike(s, other)) ? other : NULL;
}

static void put_index(struct serving *s, struct directive *d, const char *word)
{
	const char *name = variable_phrase(s->im, s->site, s->spot->at, word, false);
	const struct spot *other;

	if (name == NULL || strpbrk(name, "{}") != NULL || name[strlen(name) - 1] == '/' ||
	    (*name == '/' && index_of_path(s, name) == NULL) ||
	    (*name != '/' && strchr(name, '/') != NULL)) {
		judge(s->im, d, LOST, "`%s` is no name of a file here", word);
		return;
	}
	other = *name == '/' ? NULL : index_elsewhere(s, name);
	if (other != NULL && !is_alike(s, other)) {
		judge(s->im, d, LOST, "`%s` is for another location", name);
		return;
	}
	if (other != NULL && has_own(other->at))
		judge(s->im, d, ADAPTED, "`%s` is served as this location says, not its own", name);
	buf_printf(&s->index, "%s%s", s->index.n > 0 ? ", " : "", text_yaml(s->im, name));
}

static void find_index(struct serving *s)
{
	static struct directive nobody;
	struct directive *d = block_find(s->spot->at, "index");
	struct slice path = s->spot->path;

	if (s->spot->kind == SPOT_EXACT && path.p[path.n - 1] != '/')
		return;
	if (d == NULL)
		put_index(s, &nobody, "index.html");
	for (; d != NULL; d = block_next(d)) {
		for (uint32_t i = 1; i < d->n; i++)
			put_index(s, d, d->word[i].p);
		judge(s->im, d, EXACT, NULL);
	}
	if (s->index.n == 0) /* which is never a file */
		buf_puts(&s->index, "\".\"");
}

/*----------------------------------------------------------------- try_files */

static const char *read_status(struct serving *s, const char *text)
{
	uint64_t status;

	if (!value_number(slice_str(text), 599, &status) || status < 400)
		return "only statuses of errors can be answered there";
	s->elsewhere->otherwise = text_printf(s->im, "%s", text);
	return NULL;
}

/* "/x", "/x?$args"; false: it is something else. */
static bool read_path(struct serving *s, const char *text)
{
	static const char *const queries[] = { "", "?$args", "?$query_string", "$is_args$args",
					       "$is_args$query_string" };
	size_t n = strcspn(text, "?$");

	s->elsewhere->path = text_printf(s->im, "%.*s", (int)n, text);
	s->elsewhere->query = text[n] != '\0';
	for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++)
		if (*text == '/' && strcmp(text + n, queries[i]) == 0)
			return is_plain(s->elsewhere->path);
	return false;
}

static const char *read_other(struct serving *s, const struct spot *other)
{
	if (closed_access(s->spot->at) != NULL)
		return "it leads to another location, and there are rules of access";
	s->elsewhere->spot = other;
	s->elsewhere->otherwise = "next";
	return NULL;
}

static const char *read_last(struct serving *s, const char *text)
{
	const struct spot *other;

	if (*text == '=')
		return read_status(s, text + 1);
	if (*text == '@') {
		s->elsewhere->named = location_named(s->site, text);
		s->elsewhere->otherwise = "next";
		return s->elsewhere->named == NULL ? "there is no such location" : NULL;
	}
	if (!read_path(s, text))
		return "where it leads is not known beforehand";
	other = spot_of(s, s->elsewhere->path);
	if (other == NULL)
		return "where it leads is not known beforehand";
	if (s->rewrite != NULL || (other != s->spot && (!is_alike(s, other) || has_own(other->at))))
		return read_other(s, other);
	s->elsewhere->otherwise = s->elsewhere->path;
	return NULL;
}

/* A `$uri` alone, and no more: what nginx does without any try_files is not the same for folders. */
static const char *read_try(struct serving *s, struct directive *d, uint32_t i)
{
	const char *text = variable_phrase(s->im, s->site, s->spot->at, d->word[i].p, false);

	if (text == NULL || (*text != '/' && strncmp(text, "{path}", 6) != 0) || !is_plain(text))
		return text_printf(s->im, "`%s` is not known to Weir", d->word[i].p);
	buf_printf(&s->tries, "%s%s", s->tries.n > 0 ? ", " : "", text_yaml(s->im, text));
	return NULL;
}

static const char *find_tries(struct serving *s)
{
	struct directive *d = block_own(s->spot->at, "try_files");
	const char *why = NULL;

	if (d == NULL)
		return NULL;
	if (s->file != NULL || s->spot->kind == SPOT_REGEX)
		why = s->rewrite != NULL || s->file != NULL ? "it stands beside an alias" : NULL;
	for (uint32_t i = 1; why == NULL && i < d->n - 1; i++)
		why = read_try(s, d, i);
	if (why == NULL)
		why = read_last(s, d->word[d->n - 1].p);
	judge(s->im, d, why == NULL ? EXACT : LOST, why == NULL ? NULL : "%s", why);
	return why;
}

/*------------------------------------------------------------------- writing */

static void judge_settings(struct import *im, const struct directive *block)
{
	struct directive *type = block_find(block, "default_type");
	struct directive *links = block_find(block, "disable_symlinks");
	struct directive *etag = block_find(block, "etag");

	if (type != NULL)
		judge(im, type, EXACT, NULL);
	if (links != NULL && strcmp(links->word[1].p, "off") != 0)
		judge(im, links, ADAPTED, "links may lead anywhere below the folder");
	if (etag != NULL && strcmp(etag->word[1].p, "off") == 0)
		judge(im, etag, ADAPTED, "files have an ETag");
}

static void put_key(struct import *im, struct buf *b, const char *key, const char *text)
{
	if (text != NULL && *text != '\0')
		buf_printf(b, ", %s: %s", key, text_yaml(im, text));
}

static void put_files(struct serving *s, struct buf *b)
{
	struct import *im = s->im;
	const struct directive *block = s->spot->at;
	bool links = strcmp(block_word(block, "disable_symlinks", "off"), "off") == 0;
	const char *since = block_word(block, "if_modified_since", "exact");
	const struct directive *types = block_find(block, "types");

	buf_printf(b, "    respond: { files: %s", text_yaml(im, s->folder));
	if (s->index.n > 0)
		buf_printf(b, ", index: [%s]", text_buf(im, &s->index));
	if (s->tries.n > 0)
		buf_printf(b, ", try: [%s]", text_buf(im, &s->tries));
	put_key(im, b, "otherwise", s->elsewhere->otherwise);
	put_key(im, b, "content_type", block_word(block, "default_type", "text/plain"));
	put_key(im, b, "location", redirect_origin(im, s->site, block));
	if (types != NULL && types->parent != im->http)
		buf_printf(b, ", types: %s", types_text(im, block));
	put_key(im, b, "if_modified_since", strcmp(since, "exact") == 0 ? NULL : since);
	buf_printf(b, "%s }", links ? ", links: anywhere" : "");
}

static void put_file(struct serving *s, struct buf *b)
{
	struct import *im = s->im;
	const char *uri = text_printf(im, "%.*s", SLICE_FMT(s->spot->path));

	buf_printf(b, "    respond: { file: %s, content_type: %s }", text_yaml(im, s->file),
		   text_yaml(im, type_of(im, s->spot->at, uri)));
}

static const char *write(struct serving *s, struct buf *out)
{
	bool alias;
	const struct directive *place = place_of(s->spot->at, &alias);
	const char *why = find_place(s);

	if (why == NULL)
		why = find_tries(s);
	if (why != NULL)
		return why;
	if (s->file != NULL) {
		put_file(s, out);
	} else {
		find_index(s);
		put_files(s, out);
	}
	text_end(s->im, out, place);
	if (s->rewrite != NULL)
		buf_printf(out, "    rewrite: { %s }\n", s->rewrite);
	judge_settings(s->im, s->spot->at);
	s->im->serves_files = true;
	return NULL;
}

const char *static_write(struct import *im, const struct site *site, const struct spot *all,
			 uint32_t n, const struct spot *spot, struct elsewhere *elsewhere,
			 struct buf *out)
{
	struct serving s = {
		.im = im, .site = site, .all = all, .n = n, .spot = spot, .elsewhere = elsewhere
	};
	const char *why;

	*elsewhere = (struct elsewhere){ 0 };
	why = write(&s, out);
	buf_fini(&s.index);
	buf_fini(&s.tries);
	return why;
}

/*---------------------------------------------------------------------- pages */

const char *static_page(struct import *im, const struct site *site, const char *uri)
{
	struct elsewhere nowhere;
	struct serving s = { .im = im, .site = site, .elsewhere = &nowhere };
	const struct spot *spot;

	if (*uri != '/' || strpbrk(uri, "$?") != NULL || uri[strlen(uri) - 1] == '/')
		return NULL;
	s.all = locations_read(im, site, &s.n);
	spot = s.all == NULL ? NULL : spot_of(&s, uri);
	if (spot == NULL || !static_serves(im, spot->at) || closed_return(im, spot->at) != NULL ||
	    block_own(spot->at, "proxy_pass") != NULL || block_own(spot->at, "try_files") != NULL)
		return NULL;
	s.spot = spot;
	if (find_place(&s) != NULL || (s.file == NULL && s.rewrite != NULL))
		return NULL;
	if (s.file == NULL)
		s.file = text_printf(im, "%s%s", s.folder, uri);
	judge_settings(im, spot->at);
	return text_printf(im, "file: %s, content_type: %s", text_yaml(im, s.file),
			   text_yaml(im, type_of(im, spot->at, uri)));
}
