/* node_file.c - files, and how several become one tree.
 *
 * Includes are read after the file that names them, in sorted order; mappings of the top level are
 * joined entry by entry, lists end to end, and what is given in two files is an error that names
 * both places. */
#include <glob.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/node_internal.h"

enum { INCLUDE_DEPTH_MAX = 8 };

/* A file of this load, so that none is read twice. */
struct included {
	struct included *next;
	struct file_id id;
	const char *name;
};

/*------------------------------------------------------------------- paths */

const char *path_beside(const char *file, struct slice path, struct arena *arena)
{
	const char *slash = strrchr(file, '/');

	if (slash == NULL || (path.n > 0 && path.p[0] == '/'))
		return arena_copy(arena, path).p;
	return arena_printf(arena, "%.*s/%.*s", (int)(slash - file), file, SLICE_FMT(path));
}

/*---------------------------------------------------------------- includes */

static struct node *read_tree(struct reader *, const char *path, struct place from, unsigned depth);

static struct node *find_child(struct node *map, struct slice key)
{
	struct node *n = map->first;

	while (n != NULL && !slice_eq(n->key, key))
		n = n->next;
	return n;
}

static void append_children(struct node *to, struct node *from)
{
	struct node **tail = &to->first;

	while (*tail != NULL)
		tail = &(*tail)->next;
	*tail = from->first;
	from->first = NULL;
}

/* Joins one top-level key of an included file; `key` belongs to nobody yet. */
static void join_key(struct reader *r, struct node *root, struct node *key)
{
	struct node *mine = find_child(root, key->key);
	struct node one = { .first = key };

	if (mine == NULL) {
		append_children(root, &one);
	} else if (mine->kind == key->kind && (mine->kind == NODE_MAP || mine->kind == NODE_LIST)) {
		append_children(mine, key);
	} else {
		diag_error(r->diags, key->key_at, "E008",
			   "`%.*s` is given twice, the first time at %s:%u:%u", SLICE_FMT(key->key),
			   mine->key_at.file, mine->key_at.line, mine->key_at.column);
	}
}

static void join(struct reader *r, struct node *root, struct node *other)
{
	struct node *next;

	for (struct node *key = other->first; key != NULL; key = next) {
		next = key->next;
		key->next = NULL;
		join_key(r, root, key);
	}
}

static void include_file(struct reader *r, struct node *root, const char *path, struct place from,
			 unsigned depth)
{
	struct node *other = read_tree(r, path, from, depth);

	if (other != NULL)
		join(r, root, other);
	else
		r->incomplete = true;
}

/* A folder may be empty; one that does not exist is mostly misspelt. */
static void doubt_folder(struct reader *r, const char *pattern, struct place at)
{
	const char *slash = strrchr(pattern, '/');
	struct slice folder = slice_of(pattern, slash == NULL ? 0 : (size_t)(slash - pattern));
	const char *path = arena_copy(r->nodes, folder).p;

	if (path == NULL)
		diags_out_of_memory(r->diags);
	else if (folder.n > 0 && strpbrk(path, "*?[") == NULL && access(path, F_OK) != 0)
		diag_warning(r->diags, at, "W107", "nothing is included: there is no folder `%s`",
			     path);
}

static void include_pattern(struct reader *r, struct node *root, const struct node *item,
			    unsigned depth)
{
	const char *pattern = path_beside(item->at.file, item->text, r->nodes);
	glob_t found = { 0 };
	int rc = pattern == NULL ? GLOB_NOSPACE : glob(pattern, 0, NULL, &found);

	if (rc == GLOB_NOSPACE)
		diags_out_of_memory(r->diags);
	else if (rc == GLOB_NOMATCH && strpbrk(pattern, "*?[") == NULL)
		diag_error(r->diags, item->at, "E010", "there is no file `%s`", pattern);
	else if (rc != 0 && rc != GLOB_NOMATCH)
		diag_error(r->diags, item->at, "E010", "cannot look for `%s`", pattern);
	else if (rc == GLOB_NOMATCH)
		doubt_folder(r, pattern, item->at);
	if (rc != 0 && rc != GLOB_NOMATCH)
		r->incomplete = true;
	for (size_t i = 0; rc == 0 && i < found.gl_pathc; i++)
		include_file(r, root, found.gl_pathv[i], item->at, depth);
	globfree(&found);
}

static void include_item(struct reader *r, struct node *root, const struct node *item,
			 unsigned depth)
{
	if (item->kind != NODE_SCALAR || item->text.n == 0)
		diag_error(r->diags, item->at, "E010",
			   "`include` takes the paths of files, such as policies.d/*.yaml");
	else
		include_pattern(r, root, item, depth);
}

static struct node *take_include(struct node *root)
{
	for (struct node **at = &root->first; *at != NULL; at = &(*at)->next) {
		struct node *n = *at;

		if (slice_is(n->key, "include")) {
			*at = n->next;
			return n;
		}
	}
	return NULL;
}

static void include_all(struct reader *r, struct node *root, unsigned depth)
{
	struct node *include = take_include(root);

	if (include == NULL)
		return;
	if (r->text_only || depth >= INCLUDE_DEPTH_MAX) {
		diag_error(r->diags, include->key_at, "E010",
			   r->text_only ? "`include` works in files only"
					: "files include files more than %d deep",
			   INCLUDE_DEPTH_MAX);
		return;
	}
	if (include->kind != NODE_LIST) {
		include_item(r, root, include, depth + 1);
		return;
	}
	for (const struct node *item = include->first; item != NULL; item = item->next)
		include_item(r, root, item, depth + 1);
}

/* False after a finding: the file is part of this load already. */
static bool remember_file(struct reader *r, struct file_id id, const char *name, struct place from)
{
	struct included *f;

	for (f = r->included; f != NULL; f = f->next) {
		if (f->id.dev == id.dev && f->id.ino == id.ino) {
			diag_error(r->diags, from, "E010", "`%s` is included twice", name);
			return false;
		}
	}
	if (++r->files > NODE_FILES_MAX) {
		diag_error(r->diags, from, "E010", "more than %d files", NODE_FILES_MAX);
		return false;
	}
	f = arena_alloc(r->nodes, sizeof(*f));
	if (f == NULL) {
		diags_out_of_memory(r->diags);
		return false;
	}
	*f = (struct included){ .next = r->included, .id = id, .name = name };
	r->included = f;
	return true;
}

/* The text of a file, known to diags from now on. */
static bool load_text(struct reader *r, const char *name, struct place from, struct slice *text)
{
	struct place here = from.file == NULL ? (struct place){ .file = name } : from;
	struct file_id id;
	const char *why;

	/* the diags' arena: the lines are shown when the nodes may be gone */
	if (!file_read(name, FILE_ANY, NODE_FILE_BYTES, r->diags->arena, text, &id, &why)) {
		if (why == NULL)
			diags_out_of_memory(r->diags);
		else
			diag_error(r->diags, here, "E001", "cannot read `%s`: %s", name, why);
		return false;
	}
	if (!remember_file(r, id, name, from))
		return false;
	diags_add_source(r->diags, name, *text, from);
	return true;
}

static struct node *read_tree(struct reader *r, const char *path, struct place from, unsigned depth)
{
	const char *name = arena_strdup(r->names, path);
	struct node *root;
	struct slice text;

	if (name == NULL) {
		diags_out_of_memory(r->diags);
		return NULL;
	}
	if (!load_text(r, name, from, &text))
		return NULL;
	root = document_read(r, name, text);
	if (root == NULL)
		return NULL;
	if (root->kind != NODE_MAP) {
		diag_error(r->diags, root->at, "E014",
			   "a configuration is a mapping of keys to values, not %s",
			   node_kind_name(root->kind));
		return NULL;
	}
	include_all(r, root, depth);
	return root;
}

/*------------------------------------------------------------------- doors */

/* What several files have put together. */
static void check_joined(struct reader *r, const struct node *root)
{
	if (r->files < 2)
		return;
	for (const struct node *n = root->first; n != NULL; n = n->next)
		if (n->kind == NODE_MAP)
			map_check_unique(r, n);
}

struct node *node_read_file_into(const char *path, struct arena *nodes, struct arena *names,
				 struct diags *diags)
{
	struct reader r = { .nodes = nodes, .names = names, .diags = diags };
	struct node *root = read_tree(&r, path, (struct place){ 0 }, 0);

	if (root == NULL || r.incomplete || diags->oom)
		return NULL;
	check_joined(&r, root);
	return root;
}

struct node *node_read_file(const char *path, struct arena *arena, struct diags *diags)
{
	return node_read_file_into(path, arena, arena, diags);
}

static struct node *read_text(struct reader *r, const char *name, struct slice text)
{
	struct node *root;

	diags_add_source(r->diags, name, text, (struct place){ 0 });
	root = document_read(r, name, text);
	if (root != NULL && root->kind == NODE_MAP && !r->unbounded)
		include_all(r, root, 0);
	return r->diags->oom ? NULL : root;
}

struct node *node_read_text(const char *name, struct slice text, struct arena *arena,
			    struct diags *diags)
{
	struct reader r = { .nodes = arena, .names = arena, .diags = diags, .text_only = true };

	return read_text(&r, name, text);
}

struct node *node_read_own(struct slice text, struct arena *arena, struct diags *diags)
{
	struct reader r = { .nodes = arena, .names = arena, .diags = diags, .unbounded = true };

	return read_text(&r, "own text", text);
}
