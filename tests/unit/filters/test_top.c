/* The keys that are refused most. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "filters/top.h"

enum { MAX = 64 };

static uint32_t read_all(const struct top *t, uint64_t now_ns, struct top_key *out)
{
	uint64_t since = UINT64_MAX;
	uint32_t n = 0;

	top_add(t, now_ns, out, &n, MAX, &since);
	top_sort(out, n);
	return n;
}

static void test_empty(void **state)
{
	struct top *t = top_new(4);
	struct top_key out[MAX];

	(void)state;
	assert_int_equal(read_all(t, 1, out), 0);
	top_free(t);
}

static void test_the_heavy_ones_stay_in_a_flood_of_others(void **state)
{
	struct top *t = top_new(8);
	struct top_key out[MAX];

	(void)state;
	for (uint64_t i = 0; i < 10000; i++) {
		top_count(t, 1, 1000 + i); /* each once */
		top_count(t, 1, 7);
		if (i % 2 == 0)
			top_count(t, 1, 9);
	}
	assert_int_equal(read_all(t, 2, out), 8);
	assert_int_equal(out[0].key, 7);
	assert_true(out[0].n >= 10000 && out[0].n - out[0].error <= 10000);
	assert_int_equal(out[1].key, 9);
	assert_true(out[1].n >= 5000 && out[1].n - out[1].error <= 5000);
	top_free(t);
}

static void test_windows(void **state)
{
	struct top *t = top_new(4);
	struct top_key out[MAX];

	(void)state;
	top_count(t, 1, 7);
	top_count(t, TOP_WINDOW_NS + 1, 7);
	assert_int_equal(read_all(t, TOP_WINDOW_NS + 2, out), 1);
	assert_int_equal(out[0].n, 2);
	top_count(t, 2 * TOP_WINDOW_NS + 1, 9);
	assert_int_equal(read_all(t, 2 * TOP_WINDOW_NS + 2, out), 2);
	assert_int_equal(out[0].n, 1);
	assert_int_equal(read_all(t, 9 * TOP_WINDOW_NS, out), 0);
	top_count(t, 9 * TOP_WINDOW_NS, 5);
	assert_int_equal(read_all(t, 9 * TOP_WINDOW_NS, out), 1);
	assert_int_equal(out[0].key, 5);
	top_free(t);
}

static void test_readers_are_bounded(void **state)
{
	struct top_key out[2];
	struct top *t = top_new(4);
	uint64_t since = UINT64_MAX;
	uint32_t n = 0;

	(void)state;
	for (uint64_t i = 1; i < 5; i++)
		top_count(t, 50, i);
	top_add(t, 60, out, &n, 2, &since);
	assert_int_equal(n, 2);
	assert_int_equal(since, 50);
	top_free(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_empty),
		cmocka_unit_test(test_the_heavy_ones_stay_in_a_flood_of_others),
		cmocka_unit_test(test_windows),
		cmocka_unit_test(test_readers_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
