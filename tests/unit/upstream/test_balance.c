/* The choice of an endpoint: fair turns, least requests, backups, and what was tried. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/clock.h"
#include "members.h"
#include "upstream/resolve.h"

static struct cluster_member *choose(struct fixture *f, unsigned w, uint64_t tried)
{
	return cluster_pick(&f->cluster, w, &(struct pick){ .tried.bits[0] = tried });
}

/* 'a' for the first member, '-' for none. */
static char pick(struct fixture *f, unsigned w, uint64_t tried)
{
	struct cluster_member *m = choose(f, w, tried);

	return m == NULL ? '-' : (char)('a' + (m - f->member));
}

static void expect_turns(struct fixture *f, uint64_t tried, const char *turns)
{
	char got[128] = "";

	for (size_t i = 0; turns[i] != '\0'; i++)
		got[i] = pick(f, 0, tried);
	assert_string_equal(got, turns);
}

static void test_none_left(void **state)
{
	struct fixture *f = fixture_new(LB_ROUND_ROBIN, 3, NULL);

	(void)state;
	assert_int_equal(pick(f, 0, 7), '-');
	assert_int_equal(pick(f, 0, UINT64_MAX), '-');
	f->conf.lb = LB_LEAST_REQUESTS;
	assert_int_equal(pick(f, 0, 7), '-');
	f->cluster.n = 1;
	assert_int_equal(pick(f, 0, 1), '-');
	assert_int_equal(pick(f, 0, 0), 'a');
	f->cluster.n = 0;
	assert_int_equal(pick(f, 0, 0), '-');
	fixture_free(f);
}

static void test_tried_are_skipped(void **state)
{
	struct fixture *f = fixture_new(LB_ROUND_ROBIN, 3, NULL);

	(void)state;
	expect_turns(f, 2, "acacac");
	expect_turns(f, 3, "ccc");
	fixture_free(f);
}

static void test_beyond_63_is_never_skipped(void **state)
{
	struct fixture *f = fixture_new(LB_ROUND_ROBIN, 66, NULL);

	(void)state;
	for (int i = 0; i < 4; i++)
		assert_true(choose(f, 0, UINT64_MAX) >= &f->member[64]);
	fixture_free(f);
}

static void test_turns(void **state)
{
	struct fixture *f = fixture_new(LB_ROUND_ROBIN, 3, NULL);

	(void)state;
	expect_turns(f, 0, "abcabcabc");
	fixture_free(f);
}

/* The sequence of nginx's own commit message: {5, 1, 1}. */
static void test_smooth_weights(void **state)
{
	static const uint32_t weight[] = { 5, 1, 1 };
	struct fixture *f = fixture_new(LB_ROUND_ROBIN, 3, weight);

	(void)state;
	expect_turns(f, 0, "aabacaaaabacaa");
	fixture_free(f);
}

static void test_workers_have_turns_of_their_own(void **state)
{
	struct fixture *f = fixture_new(LB_ROUND_ROBIN, 2, NULL);

	(void)state;
	assert_int_equal(pick(f, 0, 0), 'a');
	assert_int_equal(pick(f, 1, 0), 'a');
	assert_int_equal(pick(f, WORKERS_MAX - 1, 0), 'a');
	assert_int_equal(pick(f, 0, 0), 'b');
	fixture_free(f);
}

static void test_backups(void **state)
{
	struct fixture *f = fixture_new(LB_ROUND_ROBIN, 4, NULL);

	(void)state;
	f->member[0].backup = f->member[3].backup = true;
	expect_turns(f, 0, "bcbc");
	expect_turns(f, 2, "ccc");
	expect_turns(f, 6, "adad");
	expect_turns(f, 7, "ddd");
	expect_turns(f, 15, "---");
	f->cluster.n = 1; /* alone, a backup is as good as any */
	expect_turns(f, 0, "aa");
	fixture_free(f);
}

static void test_unresolved_are_skipped(void **state)
{
	struct fixture *f = fixture_new(LB_ROUND_ROBIN, 3, NULL);
	struct endpoint_addrs *addrs = endpoint_addrs_new(80);
	struct ip ip = { { [15] = 1 } };

	(void)state;
	assert_non_null(addrs);
	f->endpoint[0].host = "app";
	f->endpoint[0].addrs = addrs;
	f->member[2].backup = true;
	expect_turns(f, 0, "bbb");
	expect_turns(f, 2, "ccc");
	endpoint_addrs_publish(addrs, &ip, 1);
	expect_turns(f, 0, "abab");
	endpoint_addrs_free(addrs);
	fixture_free(f);
}

static void test_least_requests(void **state)
{
	struct fixture *f = fixture_new(LB_LEAST_REQUESTS, 3, NULL);

	(void)state;
	endpoint_begin(&f->endpoint[0], 0);
	endpoint_begin(&f->endpoint[0], 0);
	endpoint_begin(&f->endpoint[1], 0);
	expect_turns(f, 0, "ccc");
	assert_int_equal(pick(f, 0, 4), 'b');
	endpoint_begin(&f->endpoint[2], 0);
	expect_turns(f, 0, "bcbc"); /* equals take turns */
	endpoint_end(&f->endpoint[0], 0, ENDPOINT_OK);
	endpoint_end(&f->endpoint[0], 0, ENDPOINT_OK);
	expect_turns(f, 0, "aaa");
	assert_int_equal(pick(f, 1, 0), 'a'); /* another worker has none of these calls */
	fixture_free(f);
}

static void test_least_requests_by_weight(void **state)
{
	static const uint32_t weight[] = { 3, 1 };
	struct fixture *f = fixture_new(LB_LEAST_REQUESTS, 2, weight);
	unsigned calls[2] = { 0, 0 };

	(void)state;
	for (int i = 0; i < 400; i++) {
		struct cluster_member *m = choose(f, 0, 0);

		endpoint_begin(m->endpoint, 0);
		calls[m - f->member]++;
	}
	assert_int_equal(calls[0], 300);
	assert_int_equal(calls[1], 100);
	fixture_free(f);
}

static void test_idle_equals_share_by_weight(void **state)
{
	static const uint32_t weight[] = { 3, 1 };
	struct fixture *f = fixture_new(LB_LEAST_REQUESTS, 2, weight);

	(void)state;
	expect_turns(f, 0, "aabaaaba");
	fixture_free(f);
}

/* Whatever was tried in between, nobody's share drifts: credits stay within the sum of the weights.
 */
static void test_shares_after_failures(void **state)
{
	static const uint32_t weight[] = { 2, 1, 1 };
	struct fixture *f = fixture_new(LB_ROUND_ROBIN, 3, weight);
	unsigned calls[3] = { 0, 0, 0 };

	(void)state;
	for (unsigned i = 0; i < 1000; i++)
		pick(f, 0, 1u << (i % 3));
	for (int i = 0; i < 400; i++)
		calls[choose(f, 0, 0) - f->member]++;
	assert_in_range(calls[0], 195, 205);
	assert_in_range(calls[1], 95, 105);
	fixture_free(f);
}

/*---------------------------------------------------------------- health */

static void test_unhealthy_are_skipped(void **state)
{
	struct fixture *f = fixture_new(LB_ROUND_ROBIN, 3, NULL);
	struct member_set two = { { 5 } };

	(void)state;
	f->endpoint[1].health.down = true;
	expect_turns(f, 0, "acacac");
	assert_int_equal(pick(f, 0, 5), '-'); /* what is down is no reserve of who is up */
	assert_false(cluster_has_untried(&f->cluster, &two));
	f->endpoint[1].health.down = false;
	assert_true(cluster_has_untried(&f->cluster, &two));
	fixture_free(f);
}

static void test_all_unhealthy_are_all_used(void **state)
{
	static const int kinds[] = { LB_ROUND_ROBIN, LB_LEAST_REQUESTS, LB_P2C_EWMA, LB_RING_HASH };

	(void)state;
	for (size_t k = 0; k < 4; k++) {
		struct fixture *f = fixture_new(kinds[k], 3, NULL);
		unsigned seen = 0;

		f->member[2].backup = true;
		for (int i = 0; i < 3; i++)
			f->endpoint[i].health.down = true;
		for (int i = 0; i < 60; i++)
			seen |= 1U << (pick(f, 0, 0) - 'a');
		assert_int_equal(seen, 3);
		assert_int_equal(pick(f, 0, 3), 'c');
		assert_int_equal(pick(f, 0, 7), '-');
		f->endpoint[0].health.down = false;
		assert_int_equal(pick(f, 0, 0), 'a');
		assert_int_equal(pick(f, 0, 1), '-');
		fixture_free(f);
	}
}

static void test_a_healthy_backup_is_better_than_unhealthy_others(void **state)
{
	struct fixture *f = fixture_new(LB_ROUND_ROBIN, 3, NULL);

	(void)state;
	f->member[2].backup = true;
	f->endpoint[0].health.down = f->endpoint[1].health.down = true;
	expect_turns(f, 0, "ccc");
	fixture_free(f);
}

static void test_the_last_one_is_never_ejected(void **state)
{
	struct fixture *f = fixture_new(LB_ROUND_ROBIN, 1, NULL);

	(void)state;
	f->endpoint[0].health.down = true;
	expect_turns(f, 0, "aa");
	fixture_free(f);
}

static void test_an_operator_is_obeyed(void **state)
{
	struct fixture *f = fixture_new(LB_ROUND_ROBIN, 2, NULL);

	(void)state;
	endpoint_force(&f->endpoint[0], ENDPOINT_DRAIN);
	expect_turns(f, 0, "bbb");
	assert_string_equal(endpoint_state(&f->endpoint[0]), "drain");
	endpoint_force(&f->endpoint[1], ENDPOINT_DOWN);
	assert_int_equal(pick(f, 0, 0), '-');
	assert_string_equal(endpoint_state(&f->endpoint[1]), "down");
	assert_false(endpoint_is_up(&f->endpoint[1]));
	f->cluster.n = 1;
	assert_int_equal(pick(f, 0, 0), '-');
	endpoint_force(&f->endpoint[0], ENDPOINT_UP);
	assert_int_equal(pick(f, 0, 0), 'a');
	f->endpoint[0].health.down = true; /* up is what its checks say, not more */
	assert_string_equal(endpoint_state(&f->endpoint[0]), "unhealthy");
	fixture_free(f);
}

/*---------------------------------------------------------------- slow start */

static unsigned share_of_b(struct fixture *f, uint64_t now_ns)
{
	unsigned n = 0;

	for (int i = 0; i < 1000; i++)
		n += cluster_pick(&f->cluster, 0, &(struct pick){ .now_ns = now_ns }) ==
		     &f->member[1];
	return n;
}

static void test_slow_start(void **state)
{
	struct fixture *f = fixture_new(LB_ROUND_ROBIN, 2, NULL);
	uint64_t from = 100 * CLOCK_S;

	(void)state;
	f->conf.slow_start_ns = 30 * CLOCK_S;
	assert_in_range(share_of_b(f, from), 500, 500); /* it was there from the start */
	f->endpoint[1].health.warm_from_ns = from;
	assert_in_range(share_of_b(f, from), 85, 95); /* a tenth: 1 of 11 */
	assert_in_range(share_of_b(f, from - CLOCK_S), 85, 95);
	assert_in_range(share_of_b(f, from + 15 * CLOCK_S), 325, 340); /* half: 1 of 3 */
	assert_int_equal(cluster_member_warmth(&f->cluster, &f->member[0], from), 100);
	assert_int_equal(cluster_member_warmth(&f->cluster, &f->member[1], from), 10);
	assert_in_range(cluster_member_warmth(&f->cluster, &f->member[1], from + 15 * CLOCK_S), 49,
			51);
	assert_in_range(share_of_b(f, from + 30 * CLOCK_S), 495, 505);
	f->conf.slow_start_ns = 0;
	assert_in_range(share_of_b(f, from), 495, 505);
	fixture_free(f);
}

/* Having nothing under way is no reason to get everything. */
static void test_slow_start_of_least_requests(void **state)
{
	struct fixture *f = fixture_new(LB_LEAST_REQUESTS, 2, NULL);

	(void)state;
	f->conf.slow_start_ns = 30 * CLOCK_S;
	f->endpoint[1].health.warm_from_ns = 100 * CLOCK_S;
	for (int i = 0; i < 110; i++)
		endpoint_begin(
		    cluster_pick(&f->cluster, 0, &(struct pick){ .now_ns = 100 * CLOCK_S })
			->endpoint,
		    0);
	assert_in_range(endpoint_active(&f->endpoint[1]), 8, 11);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_none_left),
		cmocka_unit_test(test_tried_are_skipped),
		cmocka_unit_test(test_beyond_63_is_never_skipped),
		cmocka_unit_test(test_turns),
		cmocka_unit_test(test_smooth_weights),
		cmocka_unit_test(test_workers_have_turns_of_their_own),
		cmocka_unit_test(test_backups),
		cmocka_unit_test(test_unresolved_are_skipped),
		cmocka_unit_test(test_least_requests),
		cmocka_unit_test(test_least_requests_by_weight),
		cmocka_unit_test(test_idle_equals_share_by_weight),
		cmocka_unit_test(test_shares_after_failures),
		cmocka_unit_test(test_unhealthy_are_skipped),
		cmocka_unit_test(test_all_unhealthy_are_all_used),
		cmocka_unit_test(test_a_healthy_backup_is_better_than_unhealthy_others),
		cmocka_unit_test(test_the_last_one_is_never_ejected),
		cmocka_unit_test(test_an_operator_is_obeyed),
		cmocka_unit_test(test_slow_start),
		cmocka_unit_test(test_slow_start_of_least_requests),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
