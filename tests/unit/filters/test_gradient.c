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
	double mean;          /* of it, over the calls since */
	uint64_t calls;
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
	w->mean += (limit - w->mean) / (double)++w->calls;
}

static void run(struct world *w, uint64_t ns)
{
	uint64_t end = w->now_ns + ns;

	w->least = UINT32_MAX;
	w->most = 0;
	w->mean = 0;
	w->calls = 0;
	while (w->now_ns < end)
		one_call(w);
	if (getenv("SHOW") != NULL)
		fprintf(stderr, "%7.1f s: capacity %.0f, limit %u (%u to %u, mean %.1f)\n",
			(double)w->now_ns / 1e9, w->capacity, gradient_limit(&w->g, &w->rule),
			w->least, w->most, w->mean);
}

static void check_between(double v, double low, double high, int line)
{
	if (v < low || v > high)
		fail_msg("line %d: %g is not in %g to %g", line, v, low, high);
}

#define assert_between(v, low, high) \
	check_between((double)(v), (double)(low), (double)(high), __LINE__)

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
		assert_true(w.least >= 0.7 * capacities[i]); /* during a look */
		assert_between(w.mean, capacities[i], 1.6 * capacities[i] + 10);
		assert_true(w.most <= 1.6 * capacities[i] + 10);
	}
}

static void test_step_down_and_up_again(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 100, 20 * MS, 1e9);
	run(&w, 60 * S);
	w.capacity = 25; /* three of four machines are gone */
	run(&w, 15 * S);
	assert_true(limit_of(&w) < 60);
	run(&w, 60 * S);
	run(&w, 60 * S);
	assert_between(w.mean, 25, 50);
	w.capacity = 100;
	run(&w, 60 * S);
	run(&w, 60 * S);
	assert_between(w.mean, 100, 170);
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
		assert_between(w.mean, 0.75 * w.capacity, 1.6 * w.capacity + 10);
	}
	run(&w, 10 * S);
	assert_between(w.mean, 20, 42);
}

static void test_a_noisy_upstream(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 50, 20 * MS, 1e9);
	w.noise = 1;
	run(&w, 60 * S);
	run(&w, 120 * S);
	assert_true(w.least >= 30);
	assert_between(w.mean, 50, 100);
	assert_true(w.most <= 120);
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
	assert_true(w.g.unloaded_ns < 2.2 * 20 * (double)MS);
	w.capacity = 50;
	w.demand = 1e9;
	run(&w, 30 * S);
	run(&w, 30 * S);
	assert_true(w.most < 90);
}

/* However long it lasts, what is overrun does not become the usual. */
static void test_overload_is_not_got_used_to(void **state)
{
	static const double noises[] = { 0, 1 };

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct world w;

		world_init(&w, 20, 20 * MS, 1e9);
		w.noise = noises[i];
		run(&w, 60 * S);
		run(&w, 3600 * S);
		assert_between(w.mean, 30, 45);
		assert_true(w.most <= 60);
	}
}

/* From the first call on it answers late: what is learned then is unlearned. */
static void test_overload_from_the_start(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 5, 20 * MS, 1e9);
	run(&w, 60 * S);
	run(&w, 600 * S);
	assert_between(w.mean, 5, 16);
	assert_true(w.most <= 20);
}

/* Five times as slow from now on, with room for all: no reason to hold back for long. */
static void test_slower_for_good(void **state)
{
	static const double demands[] = { 60, 1e9 };

	(void)state;
	for (int i = 0; i < 2; i++) {
		struct world w;

		world_init(&w, 1e6, 20 * MS, demands[i]);
		run(&w, 120 * S);
		w.service_ns *= 5;
		w.demand *= 5;
		run(&w, 30 * S);
		run(&w, 30 * S);
		assert_between(w.g.unloaded_ns, 70 * MS, 105 * MS);
		assert_true(w.least >= 300);
	}
}

/* Its own floor is above what it can do: it keeps to the floor's neighbourhood. */
static void test_a_floor_that_is_too_high(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 20, 20 * MS, 1e9);
	w.rule.min = 50;
	run(&w, 60 * S);
	run(&w, 1200 * S);
	assert_true(w.most <= 1.5 * 50 + 10);
}

/* While answers come as they usually do, nothing is held back to measure. */
static void test_no_look_without_need(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 1e6, 20 * MS, 1e9);
	w.rule.max = 100;
	w.noise = 1;
	run(&w, 60 * S);
	run(&w, 1200 * S);
	assert_int_equal(w.least, 100);
}

/* A look takes the calls that began within it, and ends. */
static void test_what_a_look_is(void **state)
{
	static const struct gradient_rule rule = { .min = 4, .max = 1000 };
	struct gradient g = { .limit = 40,
			      .unloaded_ns = 20.0 * MS,
			      .windows = 10,
			      .look_limit = 17,
			      .look_ns = 3 * S };
	uint64_t now = S;

	(void)state;
	assert_int_equal(gradient_limit(&g, &rule), 17);
	for (int i = 0; i < 100; i++)
		assert_false(gradient_sample(&g, &rule, now += 20 * MS, 100 * MS, 18));
	for (int i = 0; i < 10; i++)
		assert_false(gradient_sample(&g, &rule, now += 20 * MS, 40 * MS, 17));
	assert_true(gradient_sample(&g, &rule, now += 20 * MS, 40 * MS, 1));
	assert_int_equal(gradient_limit(&g, &rule), 40);
	assert_between(g.unloaded_ns, 30 * MS, 31 * MS);
}

/* Calls from before it may be streams that last for minutes: nobody is kept out for so long. */
static void test_a_look_has_an_end(void **state)
{
	static const struct gradient_rule rule = { .min = 4, .max = 1000 };
	struct gradient g = { .limit = 40,
			      .unloaded_ns = 20.0 * MS,
			      .windows = 10,
			      .look_limit = 17,
			      .look_ns = 2 * S };
	uint64_t pause_ns = 5 * S;

	(void)state;
	gradient_pass_time(&g, 2 * S + 699 * MS);
	assert_int_equal(gradient_limit(&g, &rule), 17);
	for (unsigned i = 0; i < 3; i++) {
		uint64_t now = g.look_ns + 700 * MS;

		gradient_pass_time(&g, now);
		assert_int_equal(gradient_limit(&g, &rule), 40);
		assert_int_equal(g.look_ns, now + pause_ns); /* and none soon, in vain again */
		pause_ns *= 2;
		g.look_limit = 17;
	}
}

/* One call every 30 ms that finds all of the limit in use; a window is ten. */
static void feed(struct gradient *g, uint64_t *now, unsigned windows, uint64_t latency_ns)
{
	static const struct gradient_rule rule = { .min = 4, .max = 1000 };

	for (unsigned i = 0; i < windows * 10; i++) {
		*now += 30 * MS;
		gradient_sample(g, &rule, *now, latency_ns, gradient_limit(g, &rule));
	}
}

/* How long until a look begins, or ends. */
static uint64_t feed_until(struct gradient *g, uint64_t *now, bool looking, uint64_t latency_ns)
{
	static const struct gradient_rule rule = { .min = 4, .max = 1000 };
	uint64_t since = *now;

	while ((g->look_limit > 0) != looking && *now < since + 100 * S) {
		*now += 30 * MS;
		gradient_sample(g, &rule, *now, latency_ns, gradient_limit(g, &rule));
	}
	return *now - since;
}

static void test_when_a_look_comes(void **state)
{
	struct gradient g = { .limit = 0 };
	uint64_t now = S;

	(void)state;
	feed(&g, &now, 10, 100 * MS);
	feed(&g, &now, 4, 200 * MS);
	feed(&g, &now, 1, 100 * MS);
	assert_int_equal(feed_until(&g, &now, true, 200 * MS), 1500 * MS);
	assert_between(g.look_limit, 0.7 * g.limit / 2, 0.8 * g.limit / 2);
	/* the old latency is confirmed: none for 5 s */
	assert_between(feed_until(&g, &now, false, 100 * MS), 480 * MS, 540 * MS);
	assert_between(g.unloaded_ns, 99 * MS, 101 * MS);
	assert_between(feed_until(&g, &now, true, 200 * MS), 5000 * MS, 5300 * MS);
	/* another latency altogether: one more as soon as there is doubt */
	feed_until(&g, &now, false, 1000 * MS);
	assert_between(feed_until(&g, &now, true, 1000 * MS), 1200 * MS, 1500 * MS);
}

/* Answers within one turn of the loop take no time at all, and then some do. */
static void test_no_time_at_all(void **state)
{
	struct gradient g = { .limit = 0 };
	uint64_t now = S;

	(void)state;
	feed(&g, &now, 100, 0);
	assert_true(g.limit > 50);
	feed(&g, &now, 100, 50 * MS);
	assert_between(g.unloaded_ns, 20 * MS, 50 * MS);
}

/* One call in ten takes a hundred times as long: it counts for three. */
static void test_outliers_are_clipped(void **state)
{
	struct gradient g = { .limit = 0 };
	uint64_t now = S;
	double limit;

	(void)state;
	feed(&g, &now, 10, 100 * MS);
	limit = g.limit;
	for (unsigned i = 0; i < 500; i++) {
		now += 30 * MS;
		gradient_sample(&g, &(struct gradient_rule){ 4, 1000 }, now,
				(i % 10 == 0 ? 10000 : 100) * MS, (uint32_t)g.limit);
	}
	assert_true(g.limit > limit);
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
		cmocka_unit_test(test_overload_is_not_got_used_to),
		cmocka_unit_test(test_overload_from_the_start),
		cmocka_unit_test(test_slower_for_good),
		cmocka_unit_test(test_a_floor_that_is_too_high),
		cmocka_unit_test(test_no_look_without_need),
		cmocka_unit_test(test_what_a_look_is),
		cmocka_unit_test(test_a_look_has_an_end),
		cmocka_unit_test(test_when_a_look_comes),
		cmocka_unit_test(test_no_time_at_all),
		cmocka_unit_test(test_outliers_are_clipped),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
