/* read.c - files and includes.
 *
 * An include is read where it stands, with the block it stands in as the parent: a file may open no block that it does not
 * close, as with nginx.  Relative names are seen from the folder of the main file.  What includes itself ends at
 * TREE_INCLUDE_DEPTH. */
#include <fnmatch.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>

#include "conf/file.h"
#include "nginx-compat/read_internal.h"
#include "nginx-compat/words.h"

/*----------------------------------------------------------------- includes */

/* Where an include stands. */
struct including {
	struct reader *reader;
	const struct directive *at;
	struct directive *parent;
};

static bool wrong_include(const struct including *i, const char *fmt, const char *name,
			  const char *why)
{
	return tree_wrong(i->reader->tree, i->at->file, i->at->end_line, fmt, name, why);
}

static bool include_text(const struct including *i, const char *name, struct slice text)
{
	bool ok;

	if (i->reader->tree->files >= TREE_FILES_MAX)
		return wrong_include(i, "\"%s\": more than 1000 files are included%s", name, "");
	i->reader->includes++;
	ok = read_into(i->reader, name, text, i->parent);
	i->reader->includes--;
	return ok;
}

/* "2: No such file or directory", as nginx has it. */
static const char *read_why(struct tree *t, const char *why)
{
	for (int i = 1; i < 134; i++)
		if (strcmp(strerror(i), why) == 0) {
			why = arena_printf(t->arena, "%d: %s", i, why);
			break;
		}
	return why == NULL ? "" : why;
}

static bool include_file(const struct including *i, const char *path)
{
	struct arena *arena = i->reader->tree->arena;
	const char *why = NULL, *name = arena_strdup(arena, path);
	struct slice text = { 0 };

	if (name == NULL)
		return tree_no_memory(i->reader->tree);
	if (!file_read(name, FILE_ANY, TREE_FILE_BYTES, arena, &text, NULL, &why))
		return why == NULL ? tree_no_memory(i->reader->tree)
				   : wrong_include(i, "open() \"%s\" failed (%s)", name,
						   read_why(i->reader->tree, why));
	return include_text(i, name, text);
}

static bool include_dumped(const struct including *i, const char *pattern, bool is_glob)
{
	const struct dump *dump = i->reader->dump;

	if (!is_glob) {
		const struct dump_file *f = dump_find(dump, pattern);

		return f != NULL ? include_text(i, f->name, f->text)
				 : wrong_include(i, "open() \"%s\" failed (%s)", pattern,
						 "it is not in the output of nginx -T");
	}
	for (uint32_t n = 0; n < dump->n; n++)
		if (fnmatch(pattern, dump->file[n].name, FNM_PATHNAME | FNM_PERIOD) == 0 &&
		    !include_text(i, dump->file[n].name, dump->file[n].text))
			return false;
	return true;
}

static bool include_glob(const struct including *i, const char *pattern)
{
	glob_t found = { 0 };
	int status = glob(pattern, 0, NULL, &found);
	bool ok = status == 0 || status == GLOB_NOMATCH;

	if (!ok)
		wrong_include(i, "glob() \"%s\" failed%s", pattern, "");
	for (size_t n = 0; ok && n < found.gl_pathc; n++)
		ok = include_file(i, found.gl_pathv[n]);
	globfree(&found);
	return ok;
}

static bool include(struct reader *r, const struct directive *d, struct directive *parent)
{
	const struct including i = { .reader = r, .at = d, .parent = parent };
	const char *name = d->word[1].p, *path = name;
	bool is_glob = strpbrk(name, "*?[") != NULL;

	if (r->prefix == NULL)
		return true;
	if (r->includes >= TREE_INCLUDE_DEPTH)
		return wrong_include(&i, "\"%s\" is included by what it includes, or too deeply%s",
				     name, "");
	if (name[0] != '/')
		path = arena_printf(r->tree->arena, "%s%s", r->prefix, name);
	if (path == NULL)
		return tree_no_memory(r->tree);
	if (r->dump != NULL)
		return include_dumped(&i, path, is_glob);
	return is_glob ? include_glob(&i, path) : include_file(&i, path);
}

/*------------------------------------------------------------------- blocks */

static struct directive *keep(struct words *w, struct directive *parent)
{
	struct directive *d = tree_add(w->tree, parent, w->n);

	if (d == NULL)
		return NULL;
	memcpy(d->word, w->word, w->n * sizeof(w->word[0]));
	d->file = w->file;
	d->line = w->first_line;
	d->end_line = w->line;
	return d;
}

static bool is_lua(struct slice name)
{
	static const struct slice tail = SLICE("_by_lua_block");

	return name.n > tail.n && memcmp(name.p + name.n - tail.n, tail.p, tail.n) == 0;
}

static bool read_block(struct reader *, struct words *, struct directive *parent, bool braces);

static bool open_block(struct reader *r, struct words *w, struct directive *d)
{
	struct slice program;
	bool ok;

	d->block = true;
	if (is_lua(d->word[0]))
		return words_skip_lua(w, &program);
	if (r->depth == TREE_DEPTH_MAX)
		return tree_wrong(r->tree, d->file, d->end_line, "blocks are nested too deeply");
	r->depth++;
	ok = read_block(r, w, d, true);
	r->depth--;
	return ok;
}

static bool ends_well(struct words *w, enum words_end end, bool braces)
{
	if (end == WORDS_WRONG)
		return false;
	if (end == WORDS_CLOSE && !braces)
		return tree_wrong(w->tree, w->file, w->line, "unexpected \"}\"");
	if (end == WORDS_FILE_END && braces)
		return tree_wrong(w->tree, w->file, w->line,
				  "unexpected end of file, expecting \"}\"");
	return true;
}

/* `braces`: up to the `}` of a block, else to the end of the file. */
static bool read_block(struct reader *r, struct words *w, struct directive *parent, bool braces)
{
	for (;;) {
		enum words_end end = words_next(w);
		struct directive *d;

		if (end != WORDS_LINE && end != WORDS_OPEN)
			return ends_well(w, end, braces);
		d = keep(w, parent);
		if (d == NULL || (end == WORDS_OPEN && !open_block(r, w, d)))
			return false;
		if (end == WORDS_LINE && d->n == 2 && directive_is(d, "include") &&
		    !include(r, d, parent))
			return false;
	}
}

static bool remember_file(struct tree *t, const char *name, struct slice text)
{
	struct tree_file *f = arena_zalloc(t->arena, sizeof(*f));

	if (f == NULL)
		return tree_no_memory(t);
	*f = (struct tree_file){ .name = name, .text = text };
	*t->last_file = f;
	t->last_file = &f->next;
	return true;
}

bool read_into(struct reader *r, const char *name, struct slice text, struct directive *parent)
{
	struct words *w = malloc(sizeof(*w));
	bool ok;

	if (w == NULL)
		return tree_no_memory(r->tree);
	r->tree->files++;
	if (!remember_file(r->tree, name, text)) {
		free(w);
		return false;
	}
	words_init(w, r->tree, name, text);
	ok = read_block(r, w, parent, false);
	free(w);
	return ok;
}

/*-------------------------------------------------------------------- whole */

static bool read_dumped(struct reader *r, struct slice text)
{
	struct tree *t = r->tree;
	struct dump *dump = arena_zalloc(t->arena, sizeof(*dump));
	const char *slash;

	if (dump == NULL)
		return tree_no_memory(t);
	dump->arena = t->arena;
	if (!dump_split(dump, text))
		return read_into(r, t->name, text, &t->root);
	r->dump = dump;
	t->name = dump->file[0].name;
	slash = strrchr(t->name, '/');
	r->prefix = slash == NULL
			? ""
			: arena_printf(t->arena, "%.*s", (int)(slash + 1 - t->name), t->name);
	return r->prefix != NULL ? read_into(r, t->name, dump->file[0].text, &t->root)
				 : tree_no_memory(t);
}

bool read_text(struct tree *t, const char *name, const char *prefix, struct slice text)
{
	struct reader r = { .tree = t, .prefix = prefix };

	t->name = name;
	if (crossplane_is(text))
		return crossplane_read(t, text);
	return read_dumped(&r, text) && t->wrong == NULL;
}

/* NULL: memory is out. */
static const char *folder_of(struct tree *t, const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == NULL ? "" : arena_printf(t->arena, "%.*s", (int)(slash + 1 - path), path);
}

bool read_main(struct tree *t, const char *path, const char *directives)
{
	struct reader r = { .tree = t, .prefix = folder_of(t, path) };
	struct slice text = { 0 };
	const char *why = NULL;

	t->name = path;
	if (r.prefix == NULL)
		return tree_no_memory(t);
	if (directives != NULL &&
	    !read_into(&r, tree_command_line, slice_str(directives), &t->root))
		return false;
	if (!file_read(path, FILE_ANY, TREE_FILE_BYTES, t->arena, &text, NULL, &why))
		return why == NULL ? tree_no_memory(t)
				   : tree_wrong(t, NULL, 0, "open() \"%s\" failed (%s)", path,
						read_why(t, why));
	return read_into(&r, path, text, &t->root);
}

bool read_file(struct tree *t, const char *path)
{
	bool is_stdin = strcmp(path, "-") == 0;
	const char *slash = is_stdin ? NULL : strrchr(path, '/'), *why = NULL, *prefix = "";
	struct slice text = { 0 };

	if (!file_read(is_stdin ? "/dev/stdin" : path, FILE_ANY, TREE_FILE_BYTES, t->arena, &text,
		       NULL, &why))
		return why == NULL ? tree_no_memory(t)
				   : tree_wrong(t, NULL, 0, "open() \"%s\" failed (%s)", path, why);
	if (slash != NULL)
		prefix = arena_printf(t->arena, "%.*s", (int)(slash + 1 - path), path);
	if (prefix == NULL)
		return tree_no_memory(t);
	return read_text(t, is_stdin ? "stdin" : path, prefix, text);
}
