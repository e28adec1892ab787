/* The JSON of requests, tokens and key sets: any bytes, and what comes out holds together. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned walk(const struct json *v, unsigned depth)
{
	unsigned n = 1;

	CHECK(depth <= JSON_DEPTH_MAX);
	if (v->kind == JSON_STRING || v->kind == JSON_WORD)
		CHECK(v->first == NULL &&
		      (v->text.n == 0 || memchr(v->text.p, 0, v->text.n) == NULL));
	for (const struct json *m = v->first; m != NULL; m = m->next) {
		n += walk(m, depth + 1);
		CHECK((v->kind == JSON_OBJECT) == (m->key.p != NULL));
		CHECK(v->kind != JSON_OBJECT || json_get(v, m->key.p) == m);
	}
	return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = malloc(size + (size == 0)); /* of its size: a byte too many is seen */
	const char *wrong = NULL;
	const struct json *v;
	struct arena arena;

	memcpy(copy, data, size);
	arena_init(&arena, NULL);
	v = json_read(slice_of(copy, size), &arena, &wrong);
	CHECK((v == NULL) == (wrong != NULL));
	if (v != NULL)
		CHECK(walk(v, 1) <= JSON_VALUES_MAX);
	arena_fini(&arena);
	free(copy);
	return 0;
}
