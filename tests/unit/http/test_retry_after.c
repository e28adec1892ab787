/* When an answer asks its client to come back. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/clock.h"
#include "http/retry_after.h"

enum { ABSENT = -1 };

/* 2026-11-21 06:00:00.500 UTC */
#define WALL_NS (UINT64_C(1795240800) * CLOCK_S + CLOCK_S / 2)

struct row {
	const char *seconds, *ms; /* NULL: no such field */
	int64_t want;
};

static const struct row rows[] = {
	{ NULL, NULL, ABSENT },
	{ "0", NULL, 0 },
	{ "7", NULL, 7000 },
	{ "1.5", NULL, 1500 },
	{ "0.0001", NULL, 1 },
	{ "", NULL, ABSENT },
	{ "-1", NULL, ABSENT },
	{ "soon", NULL, ABSENT },
	{ "5 s", NULL, ABSENT },
	{ "99999999999999999999999999", NULL, INT64_C(31536000000) },
	{ "Sat, 21 Nov 2026 06:00:10 GMT", NULL, 9500 },
	{ "Saturday, 21-Nov-26 06:00:10 GMT", NULL, 9500 },
	{ "Sat Nov 21 06:00:10 2026", NULL, 9500 },
	{ "Sat, 21 Nov 2026 05:00:00 GMT", NULL, 0 },
	{ "Sat, 21 Nov 2026 06:00:10 CET", NULL, ABSENT },
	{ "Sat, 21 Nov 2026 06:00:10 GMT and much more that is no date", NULL, ABSENT },
	{ NULL, "250", 250 },
	{ NULL, "250.2", 251 },
	{ "9", "250", 250 },
	{ "9", "x", 9000 },
};

static void test_rows(void **state)
{
	struct arena_pool pool;
	struct arena arena;

	(void)state;
	arena_pool_init(&pool, 4);
	arena_init(&arena, &pool);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		static const struct slice name = SLICE("Retry-After-Ms");
		uint64_t ms = 77;
		struct head h;

		head_init(&h, &arena);
		if (rows[i].seconds != NULL)
			assert_true(head_add(&h, F_RETRY_AFTER, slice_str(rows[i].seconds)));
		if (rows[i].ms != NULL)
			assert_true(head_add_name(&h, name, slice_str(rows[i].ms)));
		if (rows[i].want == ABSENT) {
			assert_false(retry_after_ms(&h, WALL_NS, &ms));
			continue;
		}
		assert_true(retry_after_ms(&h, WALL_NS, &ms));
		assert_int_equal(ms, rows[i].want);
	}
	arena_fini(&arena);
	arena_pool_fini(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_rows) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
