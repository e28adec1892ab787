/* The retry budget, against a list of all that has happened. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"
#include "filters/budget.h"

static uint64_t seed;

static uint64_t random_below(uint64_t n)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (seed >> 33) % n;
}

static struct budget *budget_new(void)
{
	struct budget *b = aligned_alloc(64, sizeof(*b));

	assert_non_null(b);
	assert_true(budget_init(b));
	return b;
}

static void budget_delete(struct budget *b)
{
	budget_fini(b);
	free(b);
}

static unsigned take_all(struct budget *b, const struct budget_rule *r, uint64_t now_ns)
{
	unsigned n = 0;

	while (n < 100000 && budget_take(b, r, now_ns))
		n++;
	return n;
}

static void test_from_rest_ten_seconds_of_the_reserve(void **state)
{
	struct budget *b = budget_new();
	struct budget_rule r;

	(void)state;
	budget_rule_init(&r, 200000, 3);
	assert_int_equal(take_all(b, &r, CLOCK_S), 30);
	assert_int_equal(take_all(b, &r, 2 * CLOCK_S), 3);
	assert_int_equal(take_all(b, &r, 1000 * CLOCK_S), 30);
	budget_delete(b);
}

static void test_a_share_of_the_calls_of_all_workers(void **state)
{
	struct budget *b = budget_new();
	struct budget_rule r;

	(void)state;
	budget_rule_init(&r, 200000, 3);
	for (unsigned i = 0; i < 1000; i++)
		budget_call(b, i % BUDGET_WORKERS, CLOCK_S + i * CLOCK_MS);
	assert_int_equal(take_all(b, &r, 2 * CLOCK_S), 230);
	assert_int_equal(take_all(b, &r, 2 * CLOCK_S), 0);
	budget_delete(b);
}

static void test_calls_are_forgotten(void **state)
{
	struct budget *b = budget_new();
	struct budget_rule r;

	(void)state;
	budget_rule_init(&r, 1000000, 3);
	for (unsigned i = 0; i < 1000; i++)
		budget_call(b, 0, CLOCK_S);
	assert_int_equal(take_all(b, &r, 11 * CLOCK_S), 30);
	budget_delete(b);
}

static void test_clients_retries_are_charged(void **state)
{
	struct budget *b = budget_new();
	struct budget_rule r;

	(void)state;
	budget_rule_init(&r, 100000, 3);
	for (unsigned i = 0; i < 1000; i++)
		budget_call(b, 0, CLOCK_S);
	for (unsigned i = 0; i < 150; i++)
		budget_charge(b, CLOCK_S);
	assert_int_equal(take_all(b, &r, CLOCK_S), 30); /* the share is overdrawn */
	budget_delete(b);
}

/* B2 over random hours: no stretch of time sees more than its share. */
static void test_never_more_than_allowed(void **state)
{
	(void)state;
	for (seed = 1; seed <= 50; seed += 7) {
		struct budget *b = budget_new();
		uint64_t now_ns = CLOCK_S, calls = 0, retries = 0, share = random_below(1000000);
		struct budget_rule r;

		budget_rule_init(&r, (uint32_t)share, 3);
		for (unsigned i = 0; i < 100000; i++) {
			now_ns +=
			    random_below(random_below(100) == 0 ? 30 * CLOCK_S : 40 * CLOCK_MS);
			if (random_below(2) == 0) {
				budget_call(b, (unsigned)random_below(3), now_ns);
				calls++;
			} else {
				retries += budget_take(b, &r, now_ns);
			}
			assert_true(retries <=
				    calls * share / 1000000 + 30 + 3 * (now_ns / CLOCK_S));
		}
		assert_true(retries > calls * share / 2000000);
		budget_delete(b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_from_rest_ten_seconds_of_the_reserve),
		cmocka_unit_test(test_a_share_of_the_calls_of_all_workers),
		cmocka_unit_test(test_calls_are_forgotten),
		cmocka_unit_test(test_clients_retries_are_charged),
		cmocka_unit_test(test_never_more_than_allowed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
