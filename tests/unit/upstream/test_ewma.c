/* Latencies and failures of an endpoint: laws E1 to E3. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"
#include "upstream/ewma.h"

#define MS    CLOCK_MS
#define USUAL (100.0 * (double)MS)

static void expect_near(double got, double want, double share)
{
	double off = got > want ? got - want : want - got;

	if (off > want * share)
		fail_msg("%g is not %g", got, want);
}

/* e^-x, from its series for small x and squaring. */
static double exact_decay(double x)
{
	double y = x / 4096, e = 1 - y + y * y / 2 - y * y * y / 6;

	for (int i = 0; i < 12; i++)
		e *= e;
	return e;
}

static void test_decay(void **state)
{
	(void)state;
	assert_true(ewma_decay(0) == 1);
	for (uint64_t ns = 1; ns < 300 * CLOCK_S; ns += ns / 16 + 1)
		expect_near(ewma_decay(ns), exact_decay((double)ns / (double)EWMA_TAU_NS), 0.006);
	assert_true(ewma_decay(UINT64_MAX) == 0);
	for (uint64_t ns = 0; ns < 100 * CLOCK_S; ns += 10 * MS)
		assert_true(ewma_decay(ns + 10 * MS) < ewma_decay(ns));
}

static void test_unknown_is_usual(void **state)
{
	struct ewma e = { 0 };

	(void)state;
	assert_true(ewma_cost(&e, 5, USUAL) == USUAL);
}

static void test_a_peak_counts_at_once(void **state)
{
	struct ewma e = { 0 };

	(void)state;
	ewma_add(&e, CLOCK_S, 10 * MS, false, USUAL);
	expect_near(ewma_cost(&e, CLOCK_S, USUAL), 10.0 * (double)MS, 0.01);
	ewma_add(&e, CLOCK_S, 900 * MS, false, USUAL);
	expect_near(ewma_cost(&e, CLOCK_S, USUAL), 900.0 * (double)MS, 0.01);
}

static void test_what_is_lower_takes_time(void **state)
{
	struct ewma e = { 0 };

	(void)state;
	ewma_add(&e, CLOCK_S, 1000 * MS, false, USUAL);
	ewma_add(&e, 11 * CLOCK_S, 100 * MS, false, USUAL);
	expect_near(ewma_cost(&e, 11 * CLOCK_S, USUAL), (1000 * 0.368 + 100 * 0.632) * (double)MS,
		    0.01);
}

static void test_silence_makes_it_worth_a_try(void **state)
{
	struct ewma e = { 0 };

	(void)state;
	ewma_add(&e, CLOCK_S, 1000 * MS, true, USUAL);
	assert_true(ewma_cost(&e, CLOCK_S, USUAL) > 10 * USUAL);
	expect_near(ewma_cost(&e, 61 * CLOCK_S, USUAL), USUAL, 0.05);
}

static void test_one_more_failure_brings_back_all(void **state)
{
	struct ewma e = { 0 };
	double then;

	(void)state;
	for (int i = 0; i < 30; i++)
		ewma_add(&e, CLOCK_S, MS, true, USUAL);
	then = ewma_cost(&e, CLOCK_S, USUAL);
	assert_true(ewma_cost(&e, 31 * CLOCK_S, USUAL) < 1.2 * USUAL);
	ewma_add(&e, 31 * CLOCK_S, MS, true, USUAL);
	assert_true(ewma_cost(&e, 31 * CLOCK_S, USUAL) >= then);
}

static void test_a_fast_failure_is_not_fast(void **state)
{
	struct ewma good = { 0 }, bad = { 0 };

	(void)state;
	ewma_add(&good, CLOCK_S, 120 * MS, false, USUAL);
	ewma_add(&bad, CLOCK_S, 1, true, USUAL);
	assert_true(ewma_cost(&bad, CLOCK_S, USUAL) > ewma_cost(&good, CLOCK_S, USUAL));
	for (int i = 0; i < 100; i++)
		ewma_add(&bad, CLOCK_S, 1, true, USUAL);
	expect_near(ewma_cost(&bad, CLOCK_S, USUAL), 10000 * USUAL, 0.01);
}

static void test_the_failing_share_is_learnt(void **state)
{
	struct ewma e = { 0 };

	(void)state;
	for (int i = 0; i < 400; i++)
		ewma_add(&e, CLOCK_S + (uint64_t)i, 100 * MS, i % 4 == 0, USUAL);
	assert_true(e.failing > 0.15 && e.failing < 0.35);
}

static void test_giving_up_tells_at_least(void **state)
{
	struct ewma e = { 0 };

	(void)state;
	ewma_add(&e, CLOCK_S, 100 * MS, false, USUAL);
	ewma_at_least(&e, CLOCK_S, 10 * MS);
	expect_near(ewma_cost(&e, CLOCK_S, USUAL), 100.0 * (double)MS, 0.01);
	ewma_at_least(&e, CLOCK_S, 5000 * MS);
	expect_near(ewma_cost(&e, CLOCK_S, USUAL), 5000.0 * (double)MS, 0.01);
	assert_true(e.failing == 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_decay),
		cmocka_unit_test(test_unknown_is_usual),
		cmocka_unit_test(test_a_peak_counts_at_once),
		cmocka_unit_test(test_what_is_lower_takes_time),
		cmocka_unit_test(test_silence_makes_it_worth_a_try),
		cmocka_unit_test(test_one_more_failure_brings_back_all),
		cmocka_unit_test(test_a_fast_failure_is_not_fast),
		cmocka_unit_test(test_the_failing_share_is_learnt),
		cmocka_unit_test(test_giving_up_tells_at_least),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
