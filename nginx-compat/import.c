/* import.c - all of it in order: read, check, choose, translate, and try what was made.
 *
 * The result is loaded once before it is shown: what it would be warned about and is meant so (a burst below a second of the
 * rate, a key that clients choose) is accepted by name; an error in it is ours, and there is no result then. */
#include "nginx-compat/import.h"

#include <stdlib.h>
#include <string.h>

#include "core/config.h"
#include "nginx-compat/internal.h"
#include "nginx-compat/read.h"
#include "nginx-compat/table.h"

static const char *const class_names[] = {
	[NO_VERDICT] = "",           [EXACT] = "exact", [ADAPTED] = "adapted",
	[NOT_NEEDED] = "not needed", [LOST] = "lost",   [UNKNOWN] = "unknown",
	[CLOSES] = "lost",
};

const char *import_class(enum fate v)
{
	return class_names[v];
}

/*--------------------------------------------------------------------- YAML */

static void put_section(struct buf *out, const char *name, const struct buf *lines)
{
	if (lines->n == 0)
		return;
	buf_printf(out, "\n%s:\n", name);
	buf_put(out, lines->p, lines->n);
}

static void put_yaml(struct import *im, const char *accept, struct buf *out)
{
	buf_printf(out, "# Made of %s by `weir import-nginx`: each line says which one it was.\n",
		   text_file(im, im->tree->name));
	buf_put(out, im->top.p, im->top.n);
	if (*accept != '\0')
		buf_printf(out, "accept: [%s] # they are meant: nginx did it so\n", accept);
	put_section(out, "values", &im->values);
	put_section(out, "upstreams", &im->upstreams);
	put_section(out, "policies", &im->policies);
	put_section(out, "routes", &im->routes);
	errors_write_default(out);
}

/* Warnings that a faithful translation may bring. */
static const char *const meant[] = { "W103", "W104" };

static bool has_code(const struct diags *diags, const char *code)
{
	for (const struct diag *d = diags->first; d != NULL; d = d->next)
		if (strcmp(d->code, code) == 0)
			return true;
	return false;
}

static const char *list_meant(struct import *im, const struct diags *diags)
{
	struct buf b = { 0 };

	for (size_t i = 0; i < sizeof(meant) / sizeof(meant[0]); i++)
		if (has_code(diags, meant[i]))
			buf_printf(&b, "%s%s", b.n > 0 ? ", " : "", meant[i]);
	if (im->unverified)
		buf_printf(&b, "%sW111", b.n > 0 ? ", " : "");
	return b.n == 0 ? "" : text_buf(im, &b);
}

/* False: it would not be loaded, and why. */
static bool try_yaml(struct import *im, const struct buf *yaml, const char **accept)
{
	struct arena arena, findings;
	struct diags diags;
	bool ok;

	arena_init(&arena, NULL);
	arena_init(&findings, NULL);
	diags_init(&diags, &findings);
	ok = config_load_text("weir.yaml", slice_of(yaml->p, yaml->n), &arena, &diags) != NULL;
	for (const struct diag *d = diags.first; !ok && d != NULL; d = d->next)
		if (d->severity == DIAG_ERROR)
			tree_wrong(im->tree, NULL, 0,
				   "it cannot be said in Weir's terms: %s (line %u of the result)",
				   d->message, d->at.line);
	if (!ok)
		tree_wrong(im->tree, NULL, 0, "it cannot be said in Weir's terms");
	*accept = list_meant(im, &diags);
	arena_fini(&findings);
	arena_fini(&arena);
	return ok;
}

static void make_yaml(struct import *im, struct import_result *result)
{
	struct buf draft = { 0 }, yaml = { 0 };
	struct buf upstreams = im->upstreams;
	const char *accept = "";

	put_yaml(im, "", &draft);
	if (draft.oom || im->top.oom || upstreams.oom || im->values.oom || im->policies.oom ||
	    im->routes.oom)
		tree_no_memory(im->tree);
	else if (try_yaml(im, &draft, &accept))
		put_yaml(im, accept, &yaml);
	if (yaml.n > 0 && !yaml.oom)
		result->yaml = arena_copy(im->arena, slice_of(yaml.p, yaml.n));
	buf_fini(&draft);
	buf_fini(&yaml);
}

/*-------------------------------------------------------------------- counts */

static void count_list(const struct directive *parent, struct import_result *r)
{
	DIRECTIVE_EACH (d, parent) {
		if (d->line > 0)
			r->count[d->verdict == CLOSES ? LOST : d->verdict]++;
		count_list(d, r);
	}
}

/*--------------------------------------------------------------------- whole */

static const char *folder_of(struct arena *arena, const char *name)
{
	const char *slash = strrchr(name, '/'), *folder;

	if (slash == NULL)
		return "";
	folder = arena_printf(arena, "%.*s", (int)(slash + 1 - name), name);
	return folder == NULL ? "" : folder;
}

static bool find_http(struct import *im)
{
	DIRECTIVE_EACH (d, &im->tree->root) {
		if (!directive_is(d, "http"))
			continue;
		if (im->http != NULL)
			return tree_wrong(im->tree, d->file, d->end_line,
					  "\"http\" directive is duplicate");
		im->http = d;
	}
	if (im->http == NULL)
		return false;
	im->fragment = im->http->line == 0;
	judge(im, im->http, EXACT, NULL);
	return true;
}

static void judge_frame(struct import *im)
{
	struct directive *events = block_own(&im->tree->root, "events");

	if (events != NULL)
		judge(im, events, NOT_NEEDED, NULL);
}

static void judge_includes(struct import *im, struct directive *parent)
{
	DIRECTIVE_EACH (d, parent) {
		if (directive_is(d, "include"))
			judge(im, d, EXACT, NULL);
		judge_includes(im, d);
	}
}

static void translate(struct import *im, struct import_result *result)
{
	judge_frame(im);
	judge_includes(im, &im->tree->root);
	if (find_http(im)) {
		sites_read(im);
		sites_each(im, routes_write);
		top_write(im);
		static_types(im);
	}
	sets_judge(im, &im->tree->root);
	judge_rest(im);
	result->routes = im->n_routes;
	if (im->tree->wrong == NULL && (im->n_routes > 0 || im->serve))
		make_yaml(im, result);
}

static void fini(struct import *im)
{
	buf_fini(&im->top);
	buf_fini(&im->values);
	buf_fini(&im->upstreams);
	buf_fini(&im->policies);
	buf_fini(&im->routes);
	buf_fini(&im->logs);
	buf_fini(&im->events);
}

/* As if it were the last line of the block, which has none of the name. */
static void add_line(struct tree *t, struct directive *block, const char *name, const char *word)
{
	struct directive *d;

	if (word == NULL || block == NULL || block_own(block, name) != NULL)
		return;
	d = tree_add(t, block, 2);
	if (d == NULL)
		return;
	d->file = t->name;
	d->word[0] = slice_str(name);
	d->word[1] = slice_str(word);
	d->rule = table_find(name);
}

static void add_logs(struct import *im)
{
	if (im->start == NULL)
		return;
	add_line(im->tree, &im->tree->root, "error_log", im->start->error_log);
	add_line(im->tree, block_own(&im->tree->root, "http"), "access_log", im->start->access_log);
}

static void finish(struct import *im, const char *version, struct import_result *result)
{
	static const struct import_above above = { .made_by_set = set_phrase,
						   .choices = set_choices,
						   .made_by_lookup = lookup_name,
						   .named_route = route_named };
	struct tree *t = im->tree;

	im->above = &above;
	result->tree = t;
	im->folder = folder_of(im->arena, t->name);
	if ((im->serve ? table_check_whole(t, version) : table_check(t, version)) &&
	    valid_check(t, &t->root)) {
		add_logs(im);
		translate(im, result);
		if (im->serve && t->wrong == NULL)
			(void)known_check(t);
	}
	count_list(&t->root, result);
	result->wrong = t->wrong;
	if (t->wrong != NULL)
		result->yaml = slice_of(NULL, 0);
	fini(im);
}

static struct tree *tree_new(struct arena *arena, struct import_result *result)
{
	struct tree *t = arena_zalloc(arena, sizeof(*t));

	*result = (struct import_result){ .wrong = "out of memory" };
	if (t != NULL)
		tree_init(t, arena);
	return t;
}

void import_file(struct arena *arena, const char *path, const char *version,
		 struct import_result *result)
{
	struct tree *t = tree_new(arena, result);

	if (t == NULL)
		return;
	read_file(t, path);
	finish(&(struct import){ .arena = arena, .tree = t }, version, result);
}

void import_serve(struct arena *arena, const char *path, const struct import_start *start,
		  struct import_result *result)
{
	struct import im = {
		.arena = arena, .prefix = start->prefix, .serve = true, .start = start
	};

	im.tree = tree_new(arena, result);
	if (im.tree == NULL)
		return;
	read_main(im.tree, path, start->directives);
	finish(&im, NGINX_VERSION, result);
}

void import_text(struct arena *arena, const char *name, struct slice text, const char *version,
		 struct import_result *result)
{
	struct tree *t = tree_new(arena, result);

	if (t == NULL)
		return;
	read_text(t, name, NULL, text);
	finish(&(struct import){ .arena = arena, .tree = t }, version, result);
}
