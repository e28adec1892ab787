/* Token bucket arithmetic: against vectors, and against the definition in exact fractions. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "filters/gcra.h"

#define S   UINT64_C(1000000000)
#define DAY (86400 * S)

static struct gcra_rule rule_of(uint64_t count, uint64_t period_ns, uint64_t burst)
{
	struct gcra_rule r;

	assert_null(gcra_rule_init(&r, count, period_ns, burst));
	return r;
}

/*----------------------------------------------------------------- vectors */

struct replay {
	struct gcra_rule rule;
	gcra_time state;
	uint64_t now;
	unsigned decisions;
};

static void replay_rule(struct replay *r, const char *line)
{
	uint64_t count, period, burst;
	char keep[8] = "";
	struct gcra_rule rule;

	assert_in_range(sscanf(line, "rule %" SCNu64 " %" SCNu64 " %" SCNu64 " %7s", &count,
			       &period, &burst, keep),
			3, 4);
	rule = rule_of(count, period, burst);
	if (strcmp(keep, "keep") == 0)
		r->state =
		    gcra_state(gcra_rescale(gcra_debt(r->state, &r->rule, r->now), &r->rule, &rule),
			       &rule, r->now);
	else
		r->state = 0;
	r->rule = rule;
}

static void replay_decision(struct replay *r, const char *line, unsigned number)
{
	uint64_t cost, remaining;
	char verdict[8], wait[24];
	struct quota_view view;
	int n = sscanf(line, "%" SCNu64 " %" SCNu64 " -> %7s %23s %" SCNu64, &r->now, &cost,
		       verdict, wait, &remaining);
	bool ok;

	if (n < 4)
		fail_msg("line %u is no vector: %s", number, line);
	ok = gcra_take(&r->state, &r->rule, r->now, cost, &view);
	if (ok != (strcmp(verdict, "deny") != 0) ||
	    (ok && (view.delay_ns > 0) != (strcmp(verdict, "delay") == 0)) ||
	    (ok ? view.delay_ns : view.wait_ns) !=
		(strcmp(wait, "never") == 0 ? QUOTA_NEVER : strtoull(wait, NULL, 10)) ||
	    (n == 5 && view.remaining != remaining))
		fail_msg("line %u: %s %" PRIu64 " %" PRIu64 ", expected %s", number,
			 ok ? "allow" : "deny", ok ? view.delay_ns : view.wait_ns, view.remaining,
			 line);
	r->decisions++;
}

static bool replay_shape(struct replay *r, const char *line)
{
	uint64_t wait_ns;
	uint32_t queue;

	if (sscanf(line, "shape %" SCNu64 " %" SCNu32, &wait_ns, &queue) != 2)
		return false;
	assert_null(gcra_rule_shape(&r->rule, wait_ns, queue));
	return true;
}

static void test_vectors(void **state)
{
	FILE *f = fopen(TESTS_DIR "/vectors/gcra.txt", "r");
	struct replay r = { .state = 0 };
	char line[256];
	uint64_t cost;

	(void)state;
	assert_non_null(f);
	for (unsigned number = 1; fgets(line, sizeof(line), f) != NULL; number++) {
		if (line[0] == '#' || line[0] == '\n')
			continue;
		if (strncmp(line, "rule ", 5) == 0)
			replay_rule(&r, line);
		else if (sscanf(line, "give %" SCNu64, &cost) == 1)
			gcra_give(&r.state, &r.rule, cost);
		else if (!replay_shape(&r, line))
			replay_decision(&r, line, number);
	}
	fclose(f);
	assert_in_range(r.decisions, 60, 1000);
}

/*--------------------------------------------------------------- reference */

/* The definition itself: tokens come continuously, count every period, up to burst.  A level is a
 * fraction over the period: level / period tokens.  Numbers are kept in 256 bits, so that nothing
 * can overflow or be rounded. */
struct big {
	uint32_t d[8]; /* least significant first */
};

static struct big big_of(uint64_t v)
{
	return (struct big){ .d = { (uint32_t)v, (uint32_t)(v >> 32) } };
}

static struct big big_mul(struct big a, uint64_t by)
{
	uint32_t half[2] = { (uint32_t)by, (uint32_t)(by >> 32) };
	struct big out = { .d = { 0 } };

	for (int h = 0; h < 2; h++) {
		uint64_t carry = 0;

		for (int i = 0; i + h < 8; i++) {
			carry += (uint64_t)a.d[i] * half[h] + out.d[i + h];
			out.d[i + h] = (uint32_t)carry;
			carry >>= 32;
		}
	}
	return out;
}

static struct big big_add(struct big a, struct big b)
{
	uint64_t carry = 0;

	for (int i = 0; i < 8; i++) {
		carry += (uint64_t)a.d[i] + b.d[i];
		a.d[i] = (uint32_t)carry;
		carry >>= 32;
	}
	return a;
}

static int big_compare(struct big a, struct big b)
{
	for (int i = 8; i-- > 0;)
		if (a.d[i] != b.d[i])
			return a.d[i] < b.d[i] ? -1 : 1;
	return 0;
}

static struct big big_sub(struct big a, struct big b)
{
	int64_t carry = 0;

	assert_true(big_compare(a, b) >= 0);
	for (int i = 0; i < 8; i++) {
		carry += (int64_t)a.d[i] - b.d[i];
		a.d[i] = (uint32_t)carry;
		carry >>= 32;
	}
	return a;
}

struct reference {
	uint64_t count, period, burst, at;
	struct big level; /* of tokens, times period */
};

static struct reference reference_of(uint64_t count, uint64_t period, uint64_t burst)
{
	return (struct reference){ count, period, burst, 0, big_mul(big_of(burst), period) };
}

static void reference_advance(struct reference *r, uint64_t now)
{
	struct big full = big_mul(big_of(r->burst), r->period);

	r->level = big_add(r->level, big_mul(big_of(now - r->at), r->count));
	if (big_compare(r->level, full) > 0)
		r->level = full;
	r->at = now;
}

static bool reference_take(struct reference *r, uint64_t now, uint64_t cost)
{
	struct big price = big_mul(big_of(cost), r->period);

	reference_advance(r, now);
	if (big_compare(r->level, price) < 0)
		return false;
	r->level = big_sub(r->level, price);
	return true;
}

/* Whether `wait` is the first whole ns after which the cost passes. */
static bool reference_wait_is(const struct reference *r, uint64_t cost, uint64_t wait)
{
	struct big price = big_mul(big_of(cost), r->period);
	struct big then = big_add(r->level, big_mul(big_of(wait), r->count));
	struct big before = big_add(r->level, big_mul(big_of(wait - 1), r->count));

	return big_compare(then, price) >= 0 && big_compare(before, price) < 0;
}

static uint64_t random_state = 88172645463325252;

static uint64_t random_below(uint64_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % n;
}

static void compare_run(uint64_t count, uint64_t period, uint64_t burst, unsigned decisions)
{
	struct gcra_rule rule = rule_of(count, period, burst);
	struct reference ref = reference_of(count, period, burst);
	uint64_t now = random_below(365 * DAY), interval = period / count + 1;
	gcra_time state = 0;
	struct quota_view view;

	for (unsigned i = 0; i < decisions; i++) {
		uint64_t cost = random_below(8) == 0 ? 1 + random_below(burst + 2) : 1;
		bool ok;

		now += random_below(16) == 0 ? random_below(interval * (burst + 1))
					     : random_below(interval + 1);
		ok = gcra_take(&state, &rule, now, cost, &view);
		if (ok != reference_take(&ref, now, cost))
			fail_msg("%" PRIu64 "/%" PRIu64 " burst %" PRIu64 ": decision %u differs",
				 count, period, burst, i);
		if (!ok && cost <= burst && !reference_wait_is(&ref, cost, view.wait_ns))
			fail_msg("%" PRIu64 "/%" PRIu64 " burst %" PRIu64 ": wait %" PRIu64
				 " differs",
				 count, period, burst, view.wait_ns);
		assert_int_equal(!ok && cost > burst, view.wait_ns == QUOTA_NEVER);
		/* Come back exactly when told to, or one too early. */
		if (!ok && cost <= burst && random_below(2) == 0)
			now += view.wait_ns - random_below(2);
	}
}

static void test_random_rules_equal_the_definition(void **state)
{
	static const uint64_t periods[] = { 1,        1000, S,       10 * S,    60 * S,
					    3600 * S, DAY,  7 * DAY, 999999937, 365 * DAY };

	(void)state;
	for (int i = 0; i < 3000; i++) {
		uint64_t count = 1 + random_below(UINT64_C(1) << random_below(24));
		uint64_t burst = 1 + random_below(UINT64_C(1) << random_below(20));

		uint64_t period = periods[random_below(sizeof(periods) / sizeof(periods[0]))];
		struct gcra_rule rule;

		if (gcra_rule_init(&rule, count, period, burst) == NULL)
			compare_run(count, period, burst, 200);
	}
}

/* A client that asks every ms (and some ns) for a day, and comes back on the dot. */
static void compare_day(uint64_t count, uint64_t period, uint64_t burst, uint64_t step)
{
	struct gcra_rule rule = rule_of(count, period, burst);
	struct reference ref = reference_of(count, period, burst);
	uint64_t n = 0, expected = 0;
	gcra_time state = 0;
	struct quota_view view;

	for (uint64_t now = 0; now <= DAY; now += step) {
		n += gcra_take(&state, &rule, now, 1, &view);
		expected += reference_take(&ref, now, 1);
	}
	assert_int_equal(n, expected);
}

static void test_a_day_equals_the_definition(void **state)
{
	(void)state;
	compare_day(7, S, 1, 11000003);
	compare_day(7, S, 100, 100000001);
	compare_day(1000000, DAY, 10, 43200000);
	compare_day(999983, DAY, 7, 43199999);
	compare_day(13, 3 * S, 1, 25000000);
}

/* From rest, asking without end: burst at once, then exactly the rate. */
static void test_a_day_admits_burst_and_rate(void **state)
{
	static const struct {
		uint64_t count, period, burst;
	} rules[] = {
		{ 7, S, 7 }, { 3, S, 1 }, { 1000000, DAY, 5 }, { 999983, DAY, 1 }, { 11, 7 * S, 40 }
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]); i++) {
		struct gcra_rule rule = rule_of(rules[i].count, rules[i].period, rules[i].burst);
		gcra_time bucket = 0, expected = (gcra_time)DAY * rules[i].count / rules[i].period +
						 rules[i].burst;
		uint64_t n = 0, now = 0, start = 123456789;
		struct quota_view view;

		while (now <= DAY) {
			if (gcra_take(&bucket, &rule, start + now, 1, &view))
				n++;
			else
				now += view.wait_ns;
		}
		/* Waits are rounded up, so the last token may fall behind the end by less than it
		 * took them. */
		assert_in_range(n, (uint64_t)expected - (rules[i].count * n / rules[i].period + 1),
				(uint64_t)expected);
	}
}

/*-------------------------------------------------------------------- laws */

static void test_rules_that_cannot_be(void **state)
{
	struct gcra_rule r;

	(void)state;
	assert_non_null(gcra_rule_init(&r, 999999937, S, 1));
	assert_non_null(gcra_rule_init(&r, 1, 365 * DAY, UINT32_MAX));
	assert_non_null(gcra_rule_init(&r, 1, S, UINT64_C(1) << 33));
	assert_null(gcra_rule_init(&r, 1000000000, S, UINT32_MAX)); /* 1 per ns */
	assert_int_equal(r.count, 1);
	assert_null(gcra_rule_init(&r, GCRA_COUNT_MAX - 1, S, 1));
}

static void test_state_fits_its_bits(void **state)
{
	struct gcra_rule r = rule_of(GCRA_COUNT_MAX - 1, 365 * DAY, 70000000);
	uint64_t now = 18 * 365 * DAY;

	(void)state;
	assert_true(gcra_state(r.depth, &r, now) >> QUOTA_STATE_BITS == 0);
}

static void test_rescale(void **state)
{
	struct gcra_rule a = rule_of(7, S, 10), b = rule_of(11, 3 * S, 20);

	(void)state;
	assert_true(gcra_rescale(0, &a, &b) == 0);
	assert_true(gcra_rescale(a.depth, &a, &b) == b.depth);
	assert_true(gcra_rescale(a.depth + 5, &a, &b) == b.depth);
	assert_true(gcra_rescale(a.period * 6, &a, &b) == b.period * 12);
	assert_true(gcra_rescale(1, &a, &b) >= 1);
}

static struct gcra_rule random_rule(void)
{
	struct gcra_rule r;

	while (gcra_rule_init(&r, 1 + random_below(5000), 1 + random_below(DAY),
			      1 + random_below(100000)) != NULL)
		;
	return r;
}

/* There and back again is never richer, and no poorer than rounding makes it. */
static void test_rescale_is_never_richer(void **state)
{
	(void)state;
	for (int i = 0; i < 20000; i++) {
		struct gcra_rule a = random_rule(), b = random_rule();
		gcra_time debt = ((gcra_time)random_below(UINT64_MAX) * random_below(UINT64_MAX)) %
				 (a.depth + 1);
		gcra_time there = gcra_rescale(debt, &a, &b), back = gcra_rescale(there, &b, &a);
		/* One unit of b, and what two divisions round up, in units of a. */
		gcra_time slack =
		    (a.depth / b.depth + 1) * (b.burst / a.burst + 3) + a.burst / b.burst + 3;

		assert_true(there <= b.depth && back >= debt);
		assert_true(back - debt <= slack);
	}
}

/* Calls that come at random, of whom each goes on when it was told: in the order in which they
 * came, no more than the bucket at once, and as far apart as the rate says. */
static void test_shaped_calls_are_in_order_and_apart(void **state)
{
	struct gcra_rule r = rule_of(7, S, 1);
	uint64_t now = 12345, last = 0, delayed = 0;
	gcra_time bucket = 0;
	struct quota_view view;

	(void)state;
	assert_null(gcra_rule_shape(&r, 3 * S, 0));
	for (int i = 0; i < 100000; i++) {
		now += random_below(2 * S / 7);
		if (!gcra_take(&bucket, &r, now, 1, &view))
			continue;
		delayed += view.delay_ns > 0;
		assert_true(view.delay_ns <= 3 * S);
		if (last != 0)
			assert_true(now + view.delay_ns >= last + S / 7);
		last = now + view.delay_ns;
	}
	assert_true(delayed > 1000);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rules_that_cannot_be),
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_random_rules_equal_the_definition),
		cmocka_unit_test(test_a_day_equals_the_definition),
		cmocka_unit_test(test_a_day_admits_burst_and_rate),
		cmocka_unit_test(test_state_fits_its_bits),
		cmocka_unit_test(test_rescale),
		cmocka_unit_test(test_rescale_is_never_richer),
		cmocka_unit_test(test_shaped_calls_are_in_order_and_apart),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
