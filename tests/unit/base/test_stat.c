/* Counters, cells and what Prometheus sees of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/stat.h"

static uint64_t seed = 42;

static uint64_t next_random(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static uint64_t lower_limit(unsigned cell)
{
	return cell == 0 ? 0 : stat_cell_limit(cell - 1);
}

static void test_counter(void **state)
{
	struct stat_counter c = { 0 };

	(void)state;
	stat_add(&c, 5);
	stat_add(&c, 2);
	stat_sub(&c, 3);
	assert_int_equal(stat_read(&c), 4);
}

static void test_limits_rise(void **state)
{
	(void)state;
	for (unsigned i = 1; i < STAT_CELLS; i++)
		assert_true(stat_cell_limit(i) > stat_cell_limit(i - 1));
	assert_int_equal(stat_cell_limit(STAT_CELLS - 2), UINT64_C(1000000000000));
	assert_true(sizeof(struct stat_hist) < 2048);
}

static void test_borders_belong_below(void **state)
{
	(void)state;
	assert_int_equal(stat_cell(0), 0);
	assert_int_equal(stat_cell(UINT64_MAX), STAT_CELLS - 1);
	for (unsigned i = 0; i < STAT_CELLS - 1; i++) {
		assert_int_equal(stat_cell(stat_cell_limit(i)), i);
		assert_int_equal(stat_cell(stat_cell_limit(i) + 1), i + 1);
		assert_int_equal(stat_cell(stat_cell_limit(i) - 1), i);
	}
}

static void test_random_values_lie_in_their_cell(void **state)
{
	(void)state;
	for (int i = 0; i < 1000000; i++) {
		uint64_t v = next_random() >> (next_random() % 64);
		unsigned cell = stat_cell(v);

		assert_true(v <= stat_cell_limit(cell));
		assert_true(v > lower_limit(cell) || v == 0);
	}
}

static void test_relative_error(void **state)
{
	(void)state;
	for (unsigned i = 1; i < STAT_CELLS - 1; i++) {
		double low = (double)lower_limit(i), high = (double)stat_cell_limit(i);

		assert_true((high - low) / (high + low) < 0.0911);
	}
}

static void check_bounds(const uint64_t *bounds)
{
	for (; *bounds != 0; bounds++)
		assert_int_equal(stat_cell_limit(stat_cell(*bounds)), *bounds);
}

static void test_bounds_are_borders(void **state)
{
	(void)state;
	check_bounds(stat_bounds_call);
	check_bounds(stat_bounds_inner);
}

static void test_sum_over_workers(void **state)
{
	static struct stat_hist h[3];
	struct stat_sum sum = { 0 };
	uint64_t below = 0, total = 0;

	(void)state;
	for (int i = 0; i < 3000; i++) {
		uint64_t v = next_random() % UINT64_C(20000000);

		stat_hist_add(&h[i % 3], v);
		below += v <= 5000000;
		total += v;
	}
	for (int i = 0; i < 3; i++)
		stat_sum_add(&sum, &h[i]);
	assert_int_equal(sum.n, 3000);
	assert_int_equal(sum.sum_ns, total);
	assert_int_equal(stat_sum_at_most(&sum, 5000000), below);
}

static void test_quantile(void **state)
{
	static struct stat_hist h;
	struct stat_sum sum = { 0 };

	(void)state;
	assert_int_equal(stat_sum_quantile(&sum, 500000), 0);
	for (uint64_t i = 1; i <= 1000; i++)
		stat_hist_add(&h, i * 1000000);
	stat_sum_add(&sum, &h);
	assert_true(stat_sum_quantile(&sum, 500000) > UINT64_C(450000000));
	assert_true(stat_sum_quantile(&sum, 500000) < UINT64_C(550000000));
	assert_true(stat_sum_quantile(&sum, 0) < UINT64_C(1200000));
	assert_true(stat_sum_quantile(&sum, 1000000) > UINT64_C(900000000));
	stat_hist_add(&h, UINT64_MAX / 2);
	sum = (struct stat_sum){ 0 };
	stat_sum_add(&sum, &h);
	assert_int_equal(stat_sum_quantile(&sum, 1000000), UINT64_C(1000000000000));
}

static void check_seconds(uint64_t ns, const char *text)
{
	struct buf b = { 0 };

	stat_print_seconds(&b, ns);
	assert_string_equal(b.p, text);
	buf_fini(&b);
}

static void test_seconds(void **state)
{
	(void)state;
	check_seconds(0, "0");
	check_seconds(1, "0.000000001");
	check_seconds(2500000, "0.0025");
	check_seconds(UINT64_C(300000000000), "300");
	check_seconds(UINT64_MAX, "18446744073.709551615");
}

static void test_prometheus(void **state)
{
	static const uint64_t bounds[] = { 1000000, 300000000000, 0 };
	static struct stat_hist h;
	struct stat_sum sum = { 0 };
	struct buf b = { 0 };

	(void)state;
	stat_hist_add(&h, 1000000);
	stat_hist_add(&h, 1000001);
	stat_hist_add(&h, UINT64_C(300000000001));
	stat_sum_add(&sum, &h);
	stat_print_hist(&b, "x_seconds", "", bounds, &sum);
	assert_string_equal(b.p, "x_seconds_bucket{le=\"0.001\"} 1\n"
				 "x_seconds_bucket{le=\"300\"} 2\n"
				 "x_seconds_bucket{le=\"+Inf\"} 3\n"
				 "x_seconds_sum 300.002000002\n"
				 "x_seconds_count 3\n");
	b.n = 0;
	stat_print_hist(&b, "x", "route=\"a\"", bounds + 2, &sum);
	assert_string_equal(b.p, "x_bucket{route=\"a\",le=\"+Inf\"} 3\n"
				 "x_sum{route=\"a\"} 300.002000002\n"
				 "x_count{route=\"a\"} 3\n");
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_counter),
		cmocka_unit_test(test_limits_rise),
		cmocka_unit_test(test_borders_belong_below),
		cmocka_unit_test(test_random_values_lie_in_their_cell),
		cmocka_unit_test(test_relative_error),
		cmocka_unit_test(test_bounds_are_borders),
		cmocka_unit_test(test_sum_over_workers),
		cmocka_unit_test(test_quantile),
		cmocka_unit_test(test_seconds),
		cmocka_unit_test(test_prometheus),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
