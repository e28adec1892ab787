/* How many calls each algorithm lets in over a day of random arrivals, beside an exact reference:
 * nothing may differ, but for the sliding window, which is an approximation; printed in parts per
 * million. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "filters/quota.h"

#define S   UINT64_C(1000000000)
#define DAY (86400 * S)

__extension__ typedef unsigned __int128 wide;

static uint64_t random_state = 88172645463325252;

static uint64_t random_bits(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

/* Of 0 < u < 1: ln u = ln m - k ln 2, and ln m = 2 artanh((m - 1) / (m + 1)). */
static double minus_ln(double u)
{
	double k = 0, x, sum = 0, power;

	for (; u < 1; u *= 2)
		k++;
	x = power = (u - 1) / (u + 1);
	for (int i = 1; i < 40; i += 2, power *= x * x)
		sum += power / i;
	return k * 0.69314718055994530942 - 2 * sum;
}

/* Between two calls that come independently of each other. */
static uint64_t random_gap(double mean_ns)
{
	return (uint64_t)(minus_ln(((double)(random_bits() >> 11) + 0.5) / 9007199254740992.0) *
			  mean_ns);
}

/*-------------------------------------------------------------- references */

/* The last calls let in, and when, as far back as a period. */
struct calls {
	uint64_t *at;
	size_t first, n, room;
};

static void calls_add(struct calls *c, uint64_t now)
{
	c->at[(c->first + c->n++) % c->room] = now;
}

static size_t calls_since(struct calls *c, uint64_t from)
{
	while (c->n > 0 && c->at[c->first] < from) {
		c->first = (c->first + 1) % c->room;
		c->n--;
	}
	return c->n;
}

/* level: of tokens, times the period; it fills upwards, as the definition has it. */
struct reference {
	uint64_t count, period, burst, last;
	wide level;
	struct calls calls;
	uint64_t window, in_window;
};

typedef bool allow(struct reference *, uint64_t now);

static bool allow_bucket(struct reference *r, uint64_t now)
{
	wide full = (wide)r->burst * r->period;

	r->level += (wide)(now - r->last) * r->count;
	r->level = r->level > full ? full : r->level;
	r->last = now;
	if (r->level < r->period)
		return false;
	r->level -= r->period;
	return true;
}

static bool allow_fixed(struct reference *r, uint64_t now)
{
	if (now / r->period != r->window)
		r->in_window = 0;
	r->window = now / r->period;
	return r->in_window < r->count ? r->in_window++, true : false;
}

/* A log of all calls of the last period. */
static bool allow_sliding(struct reference *r, uint64_t now)
{
	if (calls_since(&r->calls, now - r->period + 1) >= r->count)
		return false;
	calls_add(&r->calls, now);
	return true;
}

/*-------------------------------------------------------------------- days */

struct day {
	const char *what;
	enum algorithm algorithm;
	uint64_t count, period, burst;
	double load; /* of the rate */
	bool in_rushes;
	double most_ppm;
};

static struct quota_rule rule_of(const struct day *d)
{
	struct quota_rule r = { .algorithm = (uint8_t)d->algorithm };

	if (d->algorithm == TOKEN_BUCKET)
		assert_null(gcra_rule_init(&r.bucket, d->count, d->period, d->burst));
	else
		assert_null(window_rule_init(&r.window, d->count, d->period,
					     d->algorithm == SLIDING_WINDOW));
	return r;
}

/* Half of the time nothing comes, and then twice as much. */
static uint64_t next_call(const struct day *d, uint64_t now)
{
	double mean = (double)d->period / (double)d->count / d->load;

	if (!d->in_rushes)
		return now + random_gap(mean);
	now += random_gap(mean / 2);
	return now / (3 * d->period) % 2 == 0 ? now : now + 3 * d->period;
}

static void run(const struct day *d)
{
	static allow *const references[] = { [TOKEN_BUCKET] = allow_bucket,
					     [SLIDING_WINDOW] = allow_sliding,
					     [FIXED_WINDOW] = allow_fixed };
	struct quota_epoch epoch = { 0 };
	struct quota_rule rule = rule_of(d);
	uint64_t start = 20000 * DAY, arrived = 0, admitted = 0, expected = 0, differ = 0;
	struct reference ref = { .count = d->count,
				 .period = d->period,
				 .burst = d->burst,
				 .last = start,
				 .level = (wide)d->burst * d->period };
	quota_state state = 0;
	double ppm;

	ref.calls.room = d->count + 1;
	ref.calls.at = calloc(ref.calls.room, sizeof(uint64_t));
	for (uint64_t now = next_call(d, start); now < start + DAY; now = next_call(d, now)) {
		struct quota_view view;
		bool ok = quota_take(&state, &rule, &epoch,
				     now - (d->algorithm == TOKEN_BUCKET ? start : 0), 1, &view);
		bool ref_ok = references[d->algorithm](&ref, now);

		arrived++;
		admitted += ok;
		expected += ref_ok;
		differ += ok != ref_ok;
	}
	free(ref.calls.at);
	ppm = 1e6 * ((double)admitted - (double)expected) / (double)expected;
	print_message("%-46s %8" PRIu64 " calls, %8" PRIu64 " let in, exactly %8" PRIu64
		      ": %+9.1f ppm; %.1f ppm of the decisions differ\n",
		      d->what, arrived, admitted, expected, ppm,
		      1e6 * (double)differ / (double)arrived);
	assert_true(ppm <= d->most_ppm && ppm >= -d->most_ppm);
	if (d->most_ppm == 0)
		assert_int_equal(differ, 0);
}

static void test_a_day(void **state)
{
	static const struct day days[] = {
		{ "token bucket 7/s, burst 14, load 1", TOKEN_BUCKET, 7, S, 14, 1, false, 0 },
		{ "token bucket 7/s, burst 14, load 2", TOKEN_BUCKET, 7, S, 14, 2, false, 0 },
		{ "token bucket 10000/h, burst 3, rushes", TOKEN_BUCKET, 10000, 3600 * S, 3, 1,
		  true, 0 },
		{ "token bucket 999983/d, burst 12, load 1.1", TOKEN_BUCKET, 999983, DAY, 12, 1.1,
		  false, 0 },
		{ "fixed window 7/s, load 1", FIXED_WINDOW, 7, S, 0, 1, false, 0 },
		{ "fixed window 600/m, load 1.1", FIXED_WINDOW, 600, 60 * S, 0, 1.1, false, 0 },
		{ "fixed window 10000/h, rushes", FIXED_WINDOW, 10000, 3600 * S, 0, 1, true, 0 },
		{ "fixed window 100000/d, load 2", FIXED_WINDOW, 100000, DAY, 0, 2, false, 0 },
		{ "sliding window 7/s, load 0.5", SLIDING_WINDOW, 7, S, 0, 0.5, false, 30000 },
		{ "sliding window 7/s, load 1", SLIDING_WINDOW, 7, S, 0, 1, false, 30000 },
		{ "sliding window 100/s, load 1", SLIDING_WINDOW, 100, S, 0, 1, false, 15000 },
		{ "sliding window 600/m, load 0.9", SLIDING_WINDOW, 600, 60 * S, 0, 0.9, false,
		  2000 },
		{ "sliding window 600/m, load 2", SLIDING_WINDOW, 600, 60 * S, 0, 2, false, 2000 },
		{ "sliding window 10000/h, load 1.1", SLIDING_WINDOW, 10000, 3600 * S, 0, 1.1,
		  false, 2000 },
		{ "sliding window 600/m, rushes", SLIDING_WINDOW, 600, 60 * S, 0, 1, true, 2000 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(days) / sizeof(days[0]); i++)
		run(&days[i]);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_a_day),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
