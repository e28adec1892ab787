/* crossplane.c - the JSON that crossplane makes of a configuration:
 *
 *   {"config": [{"file": NAME, "parsed": [{"directive": NAME, "line": N, "args": [...], "block": [...],
 *                                          "includes": [INDEX, ...]}]}]} */
#include <stdlib.h>

#include "base/json.h"
#include "base/number.h"
#include "nginx-compat/read_internal.h"

enum { VALUES_MAX = 8 * TREE_DIRECTIVES_MAX, DEPTH_MAX = 6 + 2 * TREE_DEPTH_MAX };

struct plane {
	struct tree *tree;
	const struct json *config; /* the list of files */
	const char *file;
	unsigned includes, depth;
};

bool crossplane_is(struct slice text)
{
	size_t at = 0;

	while (at < text.n && (text.p[at] == ' ' || text.p[at] == '\n' || text.p[at] == '\r' ||
			       text.p[at] == '\t'))
		at++;
	return at < text.n && text.p[at] == '{';
}

static bool wrong(struct plane *p, const char *why)
{
	return tree_wrong(p->tree, NULL, 0, "%s: %s", p->tree->name, why);
}

static const struct json *member(const struct json *v, const char *key, enum json_kind kind)
{
	const struct json *m = v != NULL && v->kind == JSON_OBJECT ? json_get(v, key) : NULL;

	return m != NULL && m->kind == kind ? m : NULL;
}

/* The words of a directive with these arguments (none: NULL) and its name; 0: they are not all texts, or too many. */
static uint32_t count_words(const struct json *args)
{
	uint32_t n = 1;

	for (const struct json *a = args == NULL ? NULL : args->first; a != NULL; a = a->next)
		if (a->kind != JSON_STRING || ++n > TREE_ARGS_MAX)
			return 0;
	return n;
}

static const struct json *item(const struct json *list, const struct json *index)
{
	const struct json *v = list->first;
	unsigned n;

	if (index->kind != JSON_WORD || !number_parse(index->text, 99999, &n))
		return NULL;
	while (v != NULL && n-- > 0)
		v = v->next;
	return v;
}

static bool fill_words(struct plane *p, struct directive *d, const struct json *name,
		       const struct json *args)
{
	uint32_t n = 1;

	d->word[0] = name->text;
	for (const struct json *a = args == NULL ? NULL : args->first; a != NULL; a = a->next)
		d->word[n++] = a->text;
	for (uint32_t i = 0; i < d->n; i++) {
		d->word[i] = arena_copy(p->tree->arena, d->word[i]);
		if (d->word[i].p == NULL)
			return tree_no_memory(p->tree);
	}
	return true;
}

static bool read_list(struct plane *, const struct json *list, struct directive *parent);

static bool read_included(struct plane *p, const struct json *indexes, struct directive *parent)
{
	const char *outer = p->file;
	bool ok = true;

	if (p->includes == TREE_INCLUDE_DEPTH)
		return wrong(p, "a file is included by what it includes, or too deeply");
	p->includes++;
	for (const struct json *i = indexes->first; ok && i != NULL; i = i->next) {
		const struct json *config = item(p->config, i);
		const struct json *name = member(config, "file", JSON_STRING);
		const struct json *parsed = member(config, "parsed", JSON_LIST);

		if (name == NULL || parsed == NULL)
			return wrong(p, "an include has no file");
		p->file = name->text.p;
		ok = read_list(p, parsed, parent);
	}
	p->includes--;
	p->file = outer;
	return ok;
}

static bool read_directive(struct plane *p, const struct json *v, struct directive *parent)
{
	const struct json *name = member(v, "directive", JSON_STRING);
	const struct json *args = member(v, "args", JSON_LIST),
			  *block = member(v, "block", JSON_LIST);
	const struct json *line = member(v, "line", JSON_WORD),
			  *file = member(v, "file", JSON_STRING),
			  *includes = member(v, "includes", JSON_LIST);
	uint32_t words = count_words(args);
	struct directive *d;
	bool ok = true;

	if (name == NULL)
		return wrong(p, "a directive has no name");
	if (slice_is(name->text, "#"))
		return true;
	if (words == 0)
		return wrong(p, "a directive has too many words, or an argument that is no string");
	d = tree_add(p->tree, parent, words);
	if (d == NULL || !fill_words(p, d, name, args))
		return false;
	d->file = file != NULL ? file->text.p : p->file;
	d->line = line != NULL ? (uint32_t)strtoul(line->text.p, NULL, 10) : 0;
	d->end_line = d->line;
	d->block = block != NULL;
	if (p->depth == TREE_DEPTH_MAX)
		return wrong(p, "blocks are nested too deeply");
	p->depth++;
	if (block != NULL)
		ok = read_list(p, block, d);
	p->depth--;
	return ok && (includes == NULL || read_included(p, includes, parent));
}

static bool read_list(struct plane *p, const struct json *list, struct directive *parent)
{
	for (const struct json *v = list->first; v != NULL; v = v->next)
		if (!read_directive(p, v, parent))
			return false;
	return true;
}

bool crossplane_read(struct tree *t, struct slice text)
{
	const char *why = NULL;
	const struct json *v = json_read_within(text, DEPTH_MAX, VALUES_MAX, t->arena, &why);
	const struct json *config = member(v, "config", JSON_LIST), *file, *parsed;
	struct plane p = { .tree = t, .config = config };

	if (v == NULL)
		return wrong(&p, why);
	file = config == NULL ? NULL : member(config->first, "file", JSON_STRING);
	parsed = config == NULL ? NULL : member(config->first, "parsed", JSON_LIST);
	if (file == NULL || parsed == NULL)
		return wrong(
		    &p, "it is not the JSON of crossplane: config[0].file and .parsed are missing");
	t->name = p.file = file->text.p;
	t->files = 1;
	return read_list(&p, parsed, &t->root);
}
