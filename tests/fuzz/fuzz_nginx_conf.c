/* Any text as a configuration of nginx: what comes out of the reader holds together. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "nginx-compat/import.h"
#include "nginx-compat/tree.h"

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
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = malloc(size + 1); /* of its own, so that a step past its end is seen */
	struct import_result result;
	struct buf report = { 0 };
	struct arena arena;

	memcpy(copy, data, size);
	copy[size] = '\0';
	arena_init(&arena, NULL);
	import_text(&arena, "fuzz", slice_of(copy, size), NULL, &result);
	CHECK(result.wrong == NULL || result.yaml.p == NULL);
	CHECK(walk(&result.tree->root, 0) <= TREE_DIRECTIVES_MAX + 4);
	import_report_text(&result, &report);
	import_report_json(&result, &report);
	buf_fini(&report);
	arena_fini(&arena);
	free(copy);
	return 0;
}
