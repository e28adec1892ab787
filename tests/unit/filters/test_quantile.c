/* Quantiles of streams: of known distributions, and after they have changed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "filters/quantile.h"

static uint64_t state_of_dice = 1;

/* xorshift64* (Vigna 2016), in (0, 1]. */
static double dice(void)
{
	state_of_dice ^= state_of_dice >> 12;
	state_of_dice ^= state_of_dice << 25;
	state_of_dice ^= state_of_dice >> 27;
	return ((double)(state_of_dice * UINT64_C(2685821657736338717) >> 11) + 1) /
	       9007199254740992.0;
}

static uint64_t even(void)
{
	return (uint64_t)(dice() * 60 * CLOCK_MS);
}

/* Pareto's, with a tail as heavy as it can be: the mean is infinite. */
static uint64_t heavy(void)
{
	return (uint64_t)(10 * CLOCK_MS / dice());
}

/* One in ten is slow. */
static uint64_t two_kinds(void)
{
	return (uint64_t)((dice() < 0.1 ? 500 : 10) * (0.5 + dice()) * CLOCK_MS);
}

static uint64_t constant(void)
{
	return 10 * CLOCK_MS;
}

/* The share of `n` times that were above it, each before it was added. */
static double share_above(struct quantile *q, uint32_t ppm, uint64_t (*draw)(void), int n)
{
	int above = 0;

	for (int i = 0; i < n; i++) {
		uint64_t ns = draw();

		above += ns > quantile_ns(q);
		quantile_add(q, ppm, ns);
	}
	return (double)above / n;
}

static void assert_near(double got, double want)
{
	if (got < want * 0.8 || got > want * 1.2)
		fail_msg("%.4f is not near %.4f", got, want);
}

static void test_of_known_distributions(void **state)
{
	static uint64_t (*const draws[])(void) = { even, heavy, two_kinds };
	static const uint32_t ppm[] = { 500000, 900000, 950000, 990000 };

	(void)state;
	for (unsigned d = 0; d < 3; d++)
		for (unsigned i = 0; i < 4; i++) {
			struct quantile q = { 0 };

			(void)share_above(&q, ppm[i], draws[d], 1000);
			assert_near(share_above(&q, ppm[i], draws[d], 100000), 1 - ppm[i] / 1e6);
		}
}

static void test_says_nothing_of_few(void **state)
{
	struct quantile q = { 0 };

	(void)state;
	for (int i = 0; i < QUANTILE_ENOUGH; i++) {
		assert_int_equal(quantile_ns(&q), 0);
		quantile_add(&q, 950000, heavy());
	}
	assert_in_range(quantile_ns(&q), 60 * CLOCK_MS, 600 * CLOCK_MS); /* the true one: 200 */
}

static void test_stays_with_what_is_constant(void **state)
{
	struct quantile q = { 0 };

	(void)state;
	assert_true(share_above(&q, 950000, constant, 10000) < 0.08);
	assert_in_range(quantile_ns(&q), 9 * CLOCK_MS, 11 * CLOCK_MS);
}

/* All times are twice, then half as long. */
static void test_follows(void **state)
{
	struct quantile q = { 0 };
	uint64_t before;
	int n;

	(void)state;
	(void)share_above(&q, 950000, heavy, 20000);
	before = quantile_ns(&q);
	for (n = 0; quantile_ns(&q) < before * 18 / 10; n++)
		quantile_add(&q, 950000, 2 * heavy());
	assert_in_range(n, 5, 600);
	for (n = 0; quantile_ns(&q) > before * 11 / 10; n++)
		quantile_add(&q, 950000, heavy());
	assert_in_range(n, 50, 1500);
}

static void test_zeros_do_not_stick(void **state)
{
	struct quantile q = { 0 };

	(void)state;
	for (int i = 0; i < 1000; i++)
		quantile_add(&q, 950000, 0);
	(void)share_above(&q, 950000, constant, 2000);
	assert_in_range(quantile_ns(&q), 9 * CLOCK_MS, 11 * CLOCK_MS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_of_known_distributions),
		cmocka_unit_test(test_says_nothing_of_few),
		cmocka_unit_test(test_stays_with_what_is_constant),
		cmocka_unit_test(test_follows),
		cmocka_unit_test(test_zeros_do_not_stick),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
