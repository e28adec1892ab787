/* The replay beside counting every stretch of time by hand. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "replay.h"

enum { MS = 1000000, CALLS = 60, ROUNDS = 200 };

static uint64_t random_state = 99;

static uint64_t draw(uint64_t below)
{
	random_state = random_state * UINT64_C(6364136223846793005) + 1442695040888963407u;
	return (random_state >> 33) % below;
}

static size_t within(const struct stretch *s, uint64_t from, uint64_t to)
{
	size_t n = 0;

	for (unsigned i = 0; i < CALLS; i++)
		n += s[i].from_ns >= from && s[i].to_ns <= to;
	return n;
}

static double by_hand(const struct limit *l, const struct stretch *s)
{
	double most = -1e9;

	for (unsigned a = 0; a < CALLS; a++)
		for (unsigned b = 0; b < CALLS; b++) {
			uint64_t from = s[a].from_ns, to = s[b].to_ns;
			double over;

			if (to < from)
				continue;
			over = (double)within(s, from, to) - (double)l->burst -
			       (double)(to - from) * (double)l->count / (double)l->period_ns;
			most = over > most ? over : most;
		}
	return most;
}

static void test_buckets(void **state)
{
	const struct limit l = {
		.kind = BUCKET, .count = 100, .period_ns = 1000 * MS, .burst = 10
	};

	(void)state;
	for (unsigned round = 0; round < ROUNDS; round++) {
		struct stretch s[CALLS];
		double got, wanted;

		for (unsigned i = 0; i < CALLS; i++) {
			s[i].from_ns = (5000 + draw(400)) * (uint64_t)MS;
			s[i].to_ns = s[i].from_ns + draw(round % 2 == 0 ? 1 : 50) * MS;
		}
		wanted = by_hand(&l, s);
		got = replay_excess(&l, s, CALLS);
		assert_true(got > wanted - 0.001 && got < wanted + 0.001);
	}
}

static void test_what_is_not_certain_counts_nowhere(void **state)
{
	const struct limit l = { .kind = BUCKET, .count = 1, .period_ns = 1000 * MS, .burst = 1 };
	struct stretch s[] = { { 0, 3000 * (uint64_t)MS }, { 1000 * MS, 3000 * (uint64_t)MS } };

	(void)state;
	assert_true(replay_excess(&l, s, 2) <= 0); /* two seconds apart, perhaps */
	s[0].from_ns = s[1].from_ns = 3000 * (uint64_t)MS;
	assert_true(replay_excess(&l, s, 2) > 0.999);
}

static void test_windows(void **state)
{
	struct limit l = {
		.kind = FIXED, .count = 2, .period_ns = 1000 * MS, .ahead_ns = 500 * MS
	};
	struct stretch s[] = { { 400 * MS, 400 * MS },
			       { 450 * MS, 450 * MS },
			       { 499 * MS, 499 * MS },
			       { 490 * MS, 510 * MS },
			       { 600 * MS, 600 * MS } };

	(void)state;
	assert_int_equal((int)replay_excess(&l, s, 5), 1);
	l.kind = SLIDING; /* of the three before, 90 % */
	assert_true(replay_excess(&l, s, 5) > 1.699 && replay_excess(&l, s, 5) < 1.701);
}

static void test_exact(void **state)
{
	struct limit l = { .kind = BUCKET, .count = 10, .period_ns = 1000 * MS, .burst = 2 };
	const uint64_t at[] = { 0, 0, 0, 100 * MS, 150 * MS, 300 * MS };

	(void)state;
	assert_int_equal(replay_exact(&l, at, 6), 4);
	l = (struct limit){ .kind = FIXED, .count = 3, .period_ns = 200 * MS };
	assert_int_equal(replay_exact(&l, at, 6), 4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_buckets),
		cmocka_unit_test(test_what_is_not_certain_counts_nowhere),
		cmocka_unit_test(test_windows),
		cmocka_unit_test(test_exact),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
