/* Any text as a configuration of nginx: what comes out of the reader holds together. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "nginx-compat/import.h"
#include "nginx-compat/read.h"
#include "nginx-compat/table.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static uint32_t walk(const struct directive *parent, unsigned depth)
{
	uint32_t n = 0;

	CHECK(depth <= TREE_DEPTH_MAX + 4); /* and what a fragment is wrapped into */
	DIRECTIVE_EACH (d, parent) {
		CHECK(d->parent == parent && d->n > 0 && d->n <= TREE_ARGS_MAX);
		for (uint32_t i = 0; i < d->n; i++)
			CHECK(d->word[i].p != NULL && d->word[i].p[d->word[i].n] == '\0');
		CHECK(d->end_line >= d->line);
		n += 1 + walk(d, depth + 1);
	}
	return n;
}

/* All the way: what comes out is a configuration, or nothing. */
static void import(struct slice text)
{
	struct import_result result;
	struct buf report = { 0 };
	struct arena arena;

	arena_init(&arena, NULL);
	import_text(&arena, "fuzz", text, NULL, &result);
	CHECK(result.wrong == NULL || result.yaml.p == NULL);
	import_report_text(&result, &report);
	import_report_json(&result, &report);
	buf_fini(&report);
	arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = malloc(size + 1);
	struct arena arena;
	struct tree tree;
	bool read;

	memcpy(copy, data, size);
	copy[size] = '\0';
	arena_init(&arena, NULL);
	tree_init(&tree, &arena);
	read = read_text(&tree, "fuzz", NULL, slice_of(copy, size));
	CHECK(read == (tree.wrong == NULL));
	if (!table_check(&tree, NULL))
		CHECK(tree.wrong != NULL);
	CHECK(walk(&tree.root, 0) <= TREE_DIRECTIVES_MAX + 4);
	arena_fini(&arena);
	import(slice_of(copy, size));
	free(copy);
	return 0;
}
