/* fuzz_yaml.c - any text as a configuration: findings or a whole configuration, whose dump loads
 * again to the same. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "core/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The dump when it loads. */
static bool load(struct slice text, struct buf *dump, struct buf *said)
{
	struct arena arena;
	struct diags diags;
	struct config *c;
	const struct node *n;
	bool ok;

	arena_init(&arena, NULL);
	diags_init(&diags, &arena);
	n = node_read_text("fuzz.yaml", text, &arena, &diags);
	c = arena_zalloc(&arena, sizeof(*c));
	CHECK(c != NULL);
	if (n != NULL) {
		struct conf_load l = { .arena = &arena, .diags = &diags };

		schema_load(&l, &config_schema, n, c);
		config_check(c, diags.errors == 0, &arena, &diags);
	}
	CHECK(n != NULL || diags.errors > 0);
	ok = n != NULL && diags.errors == 0;
	for (enum diag_format f = DIAG_HUMAN; f <= DIAG_GITHUB; f++)
		diags_print(&diags, f, "fuzz.yaml", "x", false, said);
	if (ok)
		schema_dump_yaml(&config_schema, c, dump);
	if (ok)
		schema_dump_json(&config_schema, c, said);
	CHECK(!ok || !said->oom);
	arena_fini(&arena);
	return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct buf once = { 0 }, twice = { 0 }, said = { 0 };
	static const char file[] = "${file:";

	/* whatever lies on this machine is no part of the input */
	if (size > 0 && memmem(data, size, file, sizeof(file) - 1) != NULL)
		return 0;
	if (load(slice_of((const char *)data, size), &once, &said)) {
		CHECK(load(slice_of(once.p, once.n), &twice, &said));
		CHECK(slice_eq(slice_of(once.p, once.n), slice_of(twice.p, twice.n)));
	}
	buf_fini(&once);
	buf_fini(&twice);
	buf_fini(&said);
	return 0;
}
