/* fuzz_range.c - Range, If-Range and preconditions, as clients write them.
 *
 * Whatever they hold: parts lie within the representation, and are together no more than it. */
#include "base/arena.h"
#include "base/check.h"
#include "http/range.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void parse(struct slice value, uint64_t size)
{
	struct ranges r;
	enum range_answer answer = range_parse(value, size, &r);
	uint64_t sum = 0;

	CHECK(answer != RANGE_PART || (r.n > 0 && r.n <= RANGES_MAX));
	for (uint32_t i = 0; answer == RANGE_PART && i < r.n; i++) {
		CHECK(r.item[i].n > 0 && r.item[i].n <= size && r.item[i].at <= size - r.item[i].n);
		sum += r.item[i].n;
	}
	CHECK(sum <= size);
}

static void ask(struct slice value)
{
	static const char *const fields[] = { "If-Match", "If-None-Match", "If-Modified-Since",
					      "If-Unmodified-Since", "If-Range" };
	static const struct validator thing = { .etag = SLICE("\"a\""), .size = 10 };
	static const struct slice name = SLICE("Range"), range = SLICE("bytes=1-2");

	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		struct ranges ranges;
		struct arena arena;
		struct head h;

		arena_init(&arena, NULL);
		head_init(&h, &arena);
		CHECK(head_add_name(&h, name, range));
		CHECK(head_add_name(&h, slice_str(fields[i]), value));
		(void)precondition_status(&h, &thing);
		(void)range_of(&h, &thing, &ranges);
		arena_fini(&arena);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice value = slice_of((const char *)data, size);

	parse(value, 0);
	parse(value, 1000);
	parse(value, INT64_MAX);
	ask(value);
	return 0;
}
