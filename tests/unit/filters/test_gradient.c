/* The learned limit against upstreams that are made up: so many calls at once at full pace, beyond
 * that each waits for the others.  Virtual time, seeded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "filters/gradient.h"

#define S  UINT64_C(1000000000)
#define MS UINT64_C(1000000)

static uint64_t seed;

/* 0 to 1 */
static double draw(void)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (double)(seed >> 11) / 9007199254740992.0;
}

/* An upstream and its callers. */
struct world {
	struct gradient g;
	struct gradient_rule rule;
	uint64_t now_ns;
	double capacity;      /* calls that it serves at once */
	double service_ns;    /* of each */
	double demand;        /* calls that would be under way if all were let in */
	double noise;         /* 0: none; 1: from half to twice, and one in a hundred ten times */
	uint32_t least, most; /* of the limit, since last looked at */
};

static void world_init(struct world *w, double capacity, uint64_t service_ns, double demand)
{
	*w = (struct world){ .rule = { .min = 4, .max = 1000 },
			     .now_ns = S,
			     .capacity = capacity,
			     .service_ns = (double)service_ns,
			     .demand = demand,
			     .least = UINT32_MAX };
	seed = 1;
}

static double noisy(const struct world *w)
{
	double n = 1;

	if (w->noise > 0)
		n = draw() < 0.01 ? 10 : draw() < 0.5 ? 0.5 + draw() / 2 : 1 + draw();
	return n;
}

/* One call ends.  By Little's law one does every latency / in_use. */
static void one_call(struct world *w)
{
	uint32_t limit = gradient_limit(&w->g, &w->rule);
	double in_use = w->demand < limit ? w->demand : limit, pace = 1;

	if (in_use > w->capacity)
		pace = in_use / w->capacity;
	w->now_ns += (uint64_t)(w->service_ns * pace / in_use) + 1;
	gradient_sample(&w->g, &w->rule, w->now_ns, (uint64_t)(w->service_ns * pace * noisy(w)),
			(uint32_t)in_use);
	limit = gradient_limit(&w->g, &w->rule);
	w->least = limit < w->least ? limit : w->least;
	w->most = limit > w->most ? limit : w->most;
}

static void run(struct world *w, uint64_t ns)
{
	uint64_t end = w->now_ns + ns;

	w->least = UINT32_MAX;
	w->most = 0;
	while (w->now_ns < end)
		one_call(w);
	if (getenv("SHOW") != NULL)
		fprintf(stderr, "%7.1f s: capacity %.0f, limit %u (%u to %u)\n",
			(double)w->now_ns / 1e9, w->capacity, gradient_limit(&w->g, &w->rule),
			w->least, w->most);
}

static uint32_t limit_of(struct world *w)
{
	return gradient_limit(&w->g, &w->rule);
}

/*------------------------------------------------------------------- bounds */

static void test_where_it_begins(void **state)
{
	static const struct {
		struct gradient_rule rule;
		uint32_t limit;
	} rows[] = { { { 4, 256 }, 20 }, { { 1, 10 }, 10 }, { { 50, 60 }, 50 }, { { 7, 7 }, 7 } };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct gradient g = { .limit = 0 };

		assert_int_equal(gradient_limit(&g, &rows[i].rule), rows[i].limit);
	}
}

static void test_a_changed_rule_holds_at_once(void **state)
{
	struct gradient g = { .limit = 0 };

	(void)state;
	gradient_limit(&g, &(struct gradient_rule){ 4, 256 });
	assert_int_equal(gradient_limit(&g, &(struct gradient_rule){ 40, 256 }), 40);
	assert_int_equal(gradient_limit(&g, &(struct gradient_rule){ 4, 30 }), 30);
	assert_int_equal(gradient_limit(&g, &(struct gradient_rule){ 4, 256 }), 30);
}

static void test_never_out_of_bounds(void **state)
{
	static const struct gradient_rule rule = { .min = 3, .max = 50 };
	struct gradient g = { .limit = 0 };
	uint64_t now = S;

	(void)state;
	seed = 7;
	for (int i = 0; i < 1000000; i++) {
		uint64_t latency = (uint64_t)(draw() * draw() * draw() * 1e12);
		uint32_t limit;

		now += (uint64_t)(draw() * 100 * MS);
		gradient_sample(&g, &rule, now - (uint64_t)(draw() * 10 * MS),
				draw() < 0.1 ? 0 : latency, (uint32_t)(draw() * 60));
		limit = gradient_limit(&g, &rule);
		assert_in_range(limit, rule.min, rule.max);
	}
}

/* Whatever the latencies say. */
static void test_what_is_not_used_does_not_move(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 1000, 20 * MS, 9); /* of 20: less than half */
	w.noise = 1;
	for (int i = 0; i < 20; i++) {
		w.service_ns = (1 + 100 * draw()) * (double)MS;
		run(&w, 60 * S);
		assert_int_equal(w.least, 20);
		assert_int_equal(w.most, 20);
	}
}

/*-------------------------------------------------------------- convergence */

static void test_grows_while_it_costs_nothing(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 100000, 20 * MS, 1e9);
	run(&w, 15 * S);
	assert_true(limit_of(&w) > 100);
	run(&w, 60 * S);
	assert_int_equal(limit_of(&w), 1000);
}

static void test_finds_the_capacity(void **state)
{
	static const double capacities[] = { 25, 50, 100, 200, 400 };

	(void)state;
	for (int i = 0; i < 5; i++) {
		struct world w;

		world_init(&w, capacities[i], 20 * MS, 1e9);
		run(&w, 60 * S);
		run(&w, 60 * S);
		assert_true(w.least >= capacities[i]);
		assert_true(w.most <= 2.2 * capacities[i] + 10);
	}
}

static void test_step_down_and_up_again(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 100, 20 * MS, 1e9);
	run(&w, 60 * S);
	w.capacity = 25; /* three of four machines are gone */
	run(&w, 5 * S);
	assert_true(limit_of(&w) < 60);
	run(&w, 60 * S);
	assert_in_range(limit_of(&w), 25, 70);
	w.capacity = 100;
	run(&w, 60 * S);
	assert_in_range(limit_of(&w), 100, 260);
}

static void test_ramp(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 100, 20 * MS, 1e9);
	run(&w, 60 * S);
	for (int i = 0; i < 80; i++) {
		w.capacity--;
		run(&w, 1 * S);
		assert_true(limit_of(&w) <= 2.5 * w.capacity + 25);
	}
	run(&w, 10 * S);
	assert_in_range(limit_of(&w), 20, 75);
}

static void test_a_noisy_upstream(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 50, 20 * MS, 1e9);
	w.noise = 1;
	run(&w, 60 * S);
	run(&w, 120 * S);
	assert_true(w.least >= 40);
	assert_true(w.most <= 150);
}

/* An answer in ten takes a hundred times as long, always: that is how it is, and no reason to hold
 * back. */
static void test_a_long_tail_is_no_overload(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 100000, 200 * MS, 300);
	w.rule.max = 300;
	w.noise = 1;
	run(&w, 60 * S);
	run(&w, 120 * S);
	assert_true(w.least >= 200);
}

/* Ten calls a window at least, however long that takes. */
static void test_few_slow_calls(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 8, 10 * S, 1e9);
	w.rule = (struct gradient_rule){ .min = 1, .max = 100 };
	run(&w, 600 * S);
	assert_in_range(limit_of(&w), 8, 50);
}

/* Twice as fast as usual: the usual follows soon, and does not count the old trouble against what
 * comes. */
static void test_after_long_trouble(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 20, 20 * MS, 200);
	run(&w, 1200 * S);
	w.capacity = 1000;
	run(&w, 60 * S);
	assert_true(w.g.usual_ns < 2.2 * 20 * (double)MS);
	w.capacity = 50;
	w.demand = 1e9;
	run(&w, 30 * S);
	assert_true(limit_of(&w) < 250);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_where_it_begins),
		cmocka_unit_test(test_a_changed_rule_holds_at_once),
		cmocka_unit_test(test_never_out_of_bounds),
		cmocka_unit_test(test_what_is_not_used_does_not_move),
		cmocka_unit_test(test_grows_while_it_costs_nothing),
		cmocka_unit_test(test_finds_the_capacity),
		cmocka_unit_test(test_step_down_and_up_again),
		cmocka_unit_test(test_ramp),
		cmocka_unit_test(test_a_noisy_upstream),
		cmocka_unit_test(test_a_long_tail_is_no_overload),
		cmocka_unit_test(test_few_slow_calls),
		cmocka_unit_test(test_after_long_trouble),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
