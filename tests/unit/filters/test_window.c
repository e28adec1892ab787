/* Window arithmetic: against vectors, against the definition in whole numbers, and its laws. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "filters/window.h"

#define S   UINT64_C(1000000000)
#define DAY (86400 * S)

__extension__ typedef unsigned __int128 wide;

static struct window_rule rule_of(uint64_t limit, uint64_t period_ns, bool sliding)
{
	struct window_rule r;

	assert_null(window_rule_init(&r, limit, period_ns, sliding));
	return r;
}

/*----------------------------------------------------------------- vectors */

struct replay {
	struct window_rule rule;
	quota_state state;
	uint64_t window; /* charged last */
	unsigned decisions;
};

static bool replay_rule(struct replay *r, const char *line)
{
	uint64_t limit, period;
	char kind[8];

	if (sscanf(line, "rule %7s %" SCNu64 " %" SCNu64, kind, &limit, &period) != 3)
		return false;
	r->rule = rule_of(limit, period, strcmp(kind, "sliding") == 0);
	r->state = 0;
	return true;
}

static void replay_decision(struct replay *r, const char *line, unsigned number)
{
	uint64_t now, cost, remaining;
	char verdict[8], wait[24];
	struct quota_view view;
	bool ok;

	if (sscanf(line, "%" SCNu64 " %" SCNu64 " -> %7s %23s %" SCNu64, &now, &cost, verdict, wait,
		   &remaining) != 5)
		fail_msg("line %u is no vector: %s", number, line);
	ok = window_take(&r->state, &r->rule, now, cost, &view);
	if (ok != (strcmp(verdict, "allow") == 0) || view.remaining != remaining ||
	    view.wait_ns != (strcmp(wait, "never") == 0 ? QUOTA_NEVER : strtoull(wait, NULL, 10)))
		fail_msg("line %u: %s %" PRIu64 " %" PRIu64 ", expected %s", number,
			 ok ? "allow" : "deny", view.wait_ns, view.remaining, line);
	r->window = view.window;
	r->decisions++;
}

static void test_vectors(void **state)
{
	FILE *f = fopen(TESTS_DIR "/vectors/window.txt", "r");
	struct replay r = { .state = 0 };
	char line[256];
	uint64_t cost;

	(void)state;
	assert_non_null(f);
	for (unsigned number = 1; fgets(line, sizeof(line), f) != NULL; number++) {
		if (line[0] == '#' || line[0] == '\n' || replay_rule(&r, line))
			continue;
		if (sscanf(line, "give %" SCNu64, &cost) == 1)
			window_give(&r.state, &r.rule, r.window, cost);
		else
			replay_decision(&r, line, number);
	}
	fclose(f);
	assert_in_range(r.decisions, 80, 1000);
}

/*--------------------------------------------------------------- reference */

/* The definition: what was taken in each window, all of them kept. */
enum { WINDOWS = 4096 };

struct reference {
	uint64_t limit, period, first; /* number of taken[0] */
	bool sliding;
	uint64_t taken[WINDOWS];
};

/* In 1/period calls. */
static wide reference_used(const struct reference *r, uint64_t now)
{
	uint64_t n = now / r->period - r->first, elapsed = now % r->period;
	wide used = (wide)r->taken[n] * r->period;

	assert_in_range(n, 1, WINDOWS - 1);
	return used + (r->sliding ? (wide)r->taken[n - 1] * (r->period - elapsed) : 0);
}

static bool reference_allows(const struct reference *r, uint64_t now, uint64_t cost)
{
	return reference_used(r, now) + (wide)cost * r->period <= (wide)r->limit * r->period;
}

static uint64_t random_state = 88172645463325252;

static uint64_t random_below(uint64_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % n;
}

static void compare_run(const struct window_rule *rule, unsigned decisions)
{
	static struct reference ref;
	uint64_t now = (1 + random_below(50 * 365 * DAY / rule->period_ns)) * rule->period_ns;
	quota_state state = 0;
	struct quota_view view;

	ref = (struct reference){ .limit = rule->limit,
				  .period = rule->period_ns,
				  .first = now / rule->period_ns - 1,
				  .sliding = rule->sliding };
	for (unsigned i = 0; i < decisions; i++) {
		uint64_t cost = random_below(4) == 0 ? 1 + random_below(rule->limit) : 1;
		bool ok;

		now += random_below(1 + rule->period_ns / (1 + random_below(2 * rule->limit)));
		ok = window_take(&state, rule, now, cost, &view);
		if (ok != reference_allows(&ref, now, cost))
			fail_msg("%u/%" PRIu64 " ns: decision %u differs", rule->limit,
				 rule->period_ns, i);
		if (ok)
			ref.taken[now / rule->period_ns - ref.first] += cost;
		if (!ok && (!reference_allows(&ref, now + view.wait_ns, cost) ||
			    reference_allows(&ref, now + view.wait_ns - 1, cost)))
			fail_msg("%u/%" PRIu64 " ns: wait %" PRIu64 " differs", rule->limit,
				 rule->period_ns, view.wait_ns);
		if (!ok && random_below(2) == 0)
			now += view.wait_ns - random_below(2);
	}
}

static void test_random_rules_equal_the_definition(void **state)
{
	static const uint64_t periods[] = { 10, 1000, S, 10 * S, 60 * S, 3600 * S, DAY, 999999937 };
	struct window_rule rule;

	(void)state;
	for (int i = 0; i < 3000; i++) {
		uint64_t limit = 1 + random_below(UINT64_C(1) << random_below(24));
		uint64_t period = periods[random_below(sizeof(periods) / sizeof(periods[0]))];

		if (window_rule_init(&rule, limit, period, random_below(2)) == NULL)
			compare_run(&rule, 200);
	}
}

/*-------------------------------------------------------------------- laws */

static void test_rules_that_cannot_be(void **state)
{
	struct window_rule r;

	(void)state;
	assert_non_null(window_rule_init(&r, UINT64_C(1) << 33, DAY, true));
	assert_non_null(window_rule_init(&r, 1000000, 1000, true));
	assert_null(window_rule_init(&r, 1000000000, DAY, true));
	assert_null(window_rule_init(&r, UINT32_MAX, 7 * DAY, false));
	assert_null(window_rule_init(&r, 10000000, S, true));
	assert_null(window_rule_init(&r, 100, 1, true));
}

/* Twice the limit, in the last window that there is. */
static void test_states_fit(void **state)
{
	struct window_rule r = rule_of(10000000, S, true);
	uint64_t now = (UINT64_C(1) << 63) - 1;
	quota_state s = window_state(10000000, &r, now);
	struct quota_view view;

	(void)state;
	s = window_sum(s, s, &r);
	assert_true(s >> QUOTA_STATE_BITS == 0);
	assert_false(window_take(&s, &r, now, 1, &view));
	assert_int_equal(window_used(s, &r, now), 10000000);
	assert_int_equal(view.wait_ns, S - now % S + S / 2 + 50);
}

/* Whoever comes back from a worse state is no richer than from either of the two. */
static void test_worse_allows_no_more(void **state)
{
	(void)state;
	for (int i = 0; i < 20000; i++) {
		struct window_rule r =
		    rule_of(1 + random_below(20), 1 + random_below(100), random_below(2));
		quota_state s[3] = { 0, 0 };
		struct quota_view view, worse;
		uint64_t now = 1000000;

		for (int take = 0; take < 20; take++) {
			now += random_below(r.period_ns);
			window_take(&s[random_below(2)], &r, now, 1 + random_below(5), &view);
		}
		s[2] = window_worse(s[0], s[1], &r);
		now += random_below(2 * r.period_ns);
		window_take(&s[2], &r, now, 0, &worse);
		for (int k = 0; k < 2; k++) {
			window_take(&s[k], &r, now, 0, &view);
			assert_true(worse.remaining <= view.remaining);
		}
	}
}

/* W2: over any period at most twice the limit, whatever comes. */
static void test_never_more_than_twice_the_limit(void **state)
{
	enum { LIMIT = 20, TAKES = 200000 };
	static uint64_t at[TAKES];
	struct window_rule r = rule_of(LIMIT, S, true);
	quota_state s = 0;
	struct quota_view view;
	uint64_t now = 1000 * S;
	unsigned n = 0, first = 0, most = 0;

	(void)state;
	for (int i = 0; i < TAKES; i++) {
		/* pauses and rushes, of which some end with a window */
		now += random_below(50) == 0 ? random_below(2 * S) : random_below(S / 2000);
		if (random_below(500) == 0)
			now += S - now % S - 1;
		if (!window_take(&s, &r, now, 1, &view))
			continue;
		at[n++] = now;
		while (at[first] + S <= now)
			first++;
		most = n - first > most ? n - first : most;
	}
	assert_in_range(most, LIMIT + 1, 2 * LIMIT);
}

static void test_a_give_for_a_window_that_is_over(void **state)
{
	struct window_rule r = rule_of(2, S, true);
	quota_state s = 0;
	struct quota_view first, view;

	(void)state;
	assert_true(window_take(&s, &r, 5 * S, 2, &first));
	assert_true(window_take(&s, &r, 6 * S + S / 2, 1, &view));
	window_give(&s, &r, first.window, 1);
	assert_true(window_take(&s, &r, 6 * S + S / 2, 0, &view));
	assert_int_equal(view.remaining, 0); /* half of one, and one */
	assert_true(window_take(&s, &r, 7 * S, 1, &view));
	window_give(&s, &r, first.window, 1); /* long forgotten */
	assert_false(window_take(&s, &r, 7 * S, 1, &view));
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules_that_cannot_be),
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_random_rules_equal_the_definition),
		cmocka_unit_test(test_states_fit),
		cmocka_unit_test(test_worse_allows_no_more),
		cmocka_unit_test(test_never_more_than_twice_the_limit),
		cmocka_unit_test(test_a_give_for_a_window_that_is_over),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
