/* Two at random: what shares come of it, with upstreams that take and have time (virtual, of
 * course). */
#include "members.h"

#include "base/clock.h"

enum { UNDER_WAY_MAX = 4096 };

#define MS CLOCK_MS

/* How one endpoint behaves. */
struct conduct {
	uint64_t takes_ns;
	unsigned fails_percent;
	uint64_t fails_after_ns;
};

struct under_way {
	struct cluster_member *member;
	uint64_t begun_ns, end_ns;
	bool fails;
};

struct play {
	struct fixture *f;
	const struct conduct *conduct;
	uint64_t now_ns, random;
	struct under_way call[UNDER_WAY_MAX];
	unsigned n, share[8], total;
};

static uint64_t random_below(struct play *p, uint64_t n)
{
	uint64_t x = p->random += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	return (x ^ (x >> 31)) % n;
}

static void end_calls(struct play *p)
{
	for (unsigned i = 0; i < p->n;) {
		struct under_way *c = &p->call[i];

		if (c->end_ns > p->now_ns) {
			i++;
			continue;
		}
		cluster_heard(&p->f->cluster, 0, c->member, c->end_ns, c->end_ns - c->begun_ns,
			      c->fails ? HEARD_FAILURE : HEARD_ANSWER);
		endpoint_end(c->member->endpoint, 0, ENDPOINT_OK);
		*c = p->call[--p->n];
	}
}

static void begin_call(struct play *p)
{
	struct pick pick = { .now_ns = p->now_ns };
	struct cluster_member *m = cluster_pick(&p->f->cluster, 0, &pick);
	const struct conduct *how = &p->conduct[m - p->f->member];
	bool fails = random_below(p, 100) < how->fails_percent;
	uint64_t takes = fails ? how->fails_after_ns : how->takes_ns;

	assert_true(p->n < UNDER_WAY_MAX);
	takes += random_below(p, takes / 5 + 1); /* no two answers are alike */
	p->call[p->n++] = (struct under_way){
		.member = m, .begun_ns = p->now_ns, .end_ns = p->now_ns + takes, .fails = fails
	};
	endpoint_begin(m->endpoint, 0);
	p->share[m - p->f->member]++;
	p->total++;
}

/* A call every `gap` on average, for so long; counts anew. */
static void play(struct play *p, uint64_t gap_ns, uint64_t for_ns)
{
	uint64_t until_ns = p->now_ns + for_ns;

	memset(p->share, 0, sizeof(p->share));
	p->total = 0;
	while (p->now_ns < until_ns) {
		p->now_ns += 1 + random_below(p, 2 * gap_ns);
		end_calls(p);
		begin_call(p);
	}
}

static struct play *play_new(uint32_t n, const uint32_t *weight, const struct conduct *conduct)
{
	struct play *p = calloc(1, sizeof(*p));

	assert_non_null(p);
	p->f = fixture_new(LB_P2C_EWMA, n, weight);
	p->conduct = conduct;
	p->now_ns = 1000 * CLOCK_S;
	return p;
}

static void play_free(struct play *p)
{
	fixture_free(p->f);
	free(p);
}

static unsigned percent(const struct play *p, unsigned i)
{
	return p->share[i] * 100 / p->total;
}

static void test_equals_share(void **state)
{
	static const struct conduct equal[] = {
		{ 20 * MS }, { 20 * MS }, { 20 * MS }, { 20 * MS }
	};
	struct play *p = play_new(4, NULL, equal);

	(void)state;
	for (uint64_t gap = 100 * CLOCK_MS / 1000; gap <= 100 * MS; gap *= 10) {
		play(p, gap, 20000 * gap);
		for (unsigned i = 0; i < 4; i++)
			assert_in_range(percent(p, i), 20, 30);
	}
	play_free(p);
}

static void test_the_faster_gets_more(void **state)
{
	static const struct conduct mixed[] = { { 10 * MS }, { 100 * MS } };
	struct play *p = play_new(2, NULL, mixed);

	(void)state;
	play(p, 20 * MS, 60 * CLOCK_S); /* little to do */
	assert_in_range(percent(p, 0), 90, 100);
	play(p, MS / 5, 20 * CLOCK_S); /* fifty at a time do not make it slower: it keeps them */
	assert_in_range(percent(p, 0), 90, 99);
	play_free(p);
}

static void test_weights_are_heeded(void **state)
{
	static const struct conduct equal[] = { { 50 * MS }, { 50 * MS } };
	static const uint32_t weight[] = { 3, 1 };
	struct play *p = play_new(2, weight, equal);

	(void)state;
	play(p, CLOCK_S, 4000 * CLOCK_S); /* one at a time */
	assert_in_range(percent(p, 0), 66, 84);
	play(p, 10 * MS, 60 * CLOCK_S);
	assert_in_range(percent(p, 0), 66, 84);
	play(p, MS / 2, 20 * CLOCK_S); /* a hundred at a time */
	assert_in_range(percent(p, 0), 70, 80);
	play_free(p);
}

/* A 503 in a millisecond, beside answers in fifty. */
static void test_a_fast_failure_does_not_win(void **state)
{
	static const struct conduct mixed[] = { { 50 * MS }, { 50 * MS }, { 50 * MS, 100, MS } };
	struct play *p = play_new(3, NULL, mixed);

	(void)state;
	play(p, 20 * MS, 60 * CLOCK_S);
	assert_in_range(percent(p, 2), 0, 6);
	play(p, MS, 60 * CLOCK_S); /* fifty at a time: its emptiness is no merit */
	assert_in_range(percent(p, 2), 0, 3);
	play_free(p);
}

/* From the first call on, when nothing is known of the others: they take five seconds to answer. */
static void test_a_fast_failure_does_not_win_at_the_start(void **state)
{
	static const struct conduct mixed[] = { { 5 * CLOCK_S }, { 0, 100, MS } };
	struct play *p = play_new(2, NULL, mixed);

	(void)state;
	play(p, 50 * MS, 5 * CLOCK_S);
	assert_in_range(percent(p, 1), 0, 50);
	play(p, 50 * MS, 60 * CLOCK_S);
	assert_in_range(percent(p, 1), 0, 10);
	play_free(p);
}

static void test_who_half_fails_gets_less(void **state)
{
	static const struct conduct mixed[] = { { 50 * MS }, { 50 * MS, 50, MS } };
	struct play *p = play_new(2, NULL, mixed);

	(void)state;
	play(p, 5 * MS, 60 * CLOCK_S);
	assert_in_range(percent(p, 1), 0, 30);
	play_free(p);
}

static void test_who_recovers_is_found(void **state)
{
	static const struct conduct bad[] = { { 50 * MS }, { 50 * MS, 100, MS } };
	static const struct conduct good[] = { { 50 * MS }, { 50 * MS } };
	struct play *p = play_new(2, NULL, bad);

	(void)state;
	play(p, 10 * MS, 60 * CLOCK_S);
	assert_in_range(percent(p, 1), 0, 10);
	p->conduct = good;
	play(p, 10 * MS, 60 * CLOCK_S);
	play(p, 10 * MS, 60 * CLOCK_S);
	assert_in_range(percent(p, 1), 40, 60);
	play_free(p);
}

static void test_one_that_hangs_is_left_alone(void **state)
{
	static const struct conduct equal[] = { { 50 * MS }, { 50 * MS } };
	struct play *p = play_new(2, NULL, equal);

	(void)state;
	play(p, 10 * MS, 30 * CLOCK_S);
	end_calls(p);
	/* its clients gave up after ten seconds without a word */
	cluster_heard(&p->f->cluster, 0, &p->f->member[1], p->now_ns, 10 * CLOCK_S, HEARD_NOTHING);
	play(p, 10 * MS, 5 * CLOCK_S);
	assert_in_range(percent(p, 1), 0, 5);
	play_free(p);
}

static void test_slow_start(void **state)
{
	static const struct conduct equal[] = { { 50 * MS }, { 50 * MS } };
	struct play *p = play_new(2, NULL, equal);

	(void)state;
	p->f->conf.slow_start_ns = 30 * CLOCK_S;
	p->f->endpoint[1].health.warm_from_ns = p->now_ns;
	play(p, 5 * MS, 3 * CLOCK_S);
	assert_in_range(percent(p, 1), 2, 20);
	play(p, 5 * MS, 24 * CLOCK_S);
	assert_in_range(percent(p, 1), 25, 45);
	play(p, 5 * MS, 10 * CLOCK_S);
	play(p, 5 * MS, 30 * CLOCK_S);
	assert_in_range(percent(p, 1), 44, 56);
	play_free(p);
}

static void test_tried_and_down_are_skipped(void **state)
{
	struct fixture *f = fixture_new(LB_P2C_EWMA, 3, NULL);
	struct pick all = { .tried.bits[0] = 7 }, two = { .tried.bits[0] = 5 },
		    one = { .tried.bits[0] = 1 };

	(void)state;
	assert_null(cluster_pick(&f->cluster, 0, &all));
	assert_ptr_equal(cluster_pick(&f->cluster, 0, &two), &f->member[1]);
	f->endpoint[1].health.down = true;
	for (int i = 0; i < 20; i++)
		assert_ptr_equal(cluster_pick(&f->cluster, 0, &one), &f->member[2]);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tried_and_down_are_skipped),
		cmocka_unit_test(test_equals_share),
		cmocka_unit_test(test_the_faster_gets_more),
		cmocka_unit_test(test_weights_are_heeded),
		cmocka_unit_test(test_a_fast_failure_does_not_win),
		cmocka_unit_test(test_a_fast_failure_does_not_win_at_the_start),
		cmocka_unit_test(test_who_half_fails_gets_less),
		cmocka_unit_test(test_who_recovers_is_found),
		cmocka_unit_test(test_one_that_hangs_is_left_alone),
		cmocka_unit_test(test_slow_start),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
