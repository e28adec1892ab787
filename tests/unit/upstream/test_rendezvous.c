/* Which endpoint a key belongs to: laws R1 to R4. */
#include "members.h"

#include "base/clock.h"

enum { KEYS = 100000 };

static uint32_t owner_of(const uint32_t *weight, uint32_t n, uint64_t key, uint64_t without)
{
	uint32_t best = UINT32_MAX;
	double best_time = 0;

	for (uint32_t i = 0; i < n; i++) {
		double time;

		if (without >> i & 1)
			continue;
		time = rendezvous_time(member_seed(i), key, weight[i]);
		if (best == UINT32_MAX || time < best_time) {
			best = i;
			best_time = time;
		}
	}
	return best;
}

static void expect_shares(const uint32_t *weight, uint32_t n, uint64_t without)
{
	uint32_t keys[16] = { 0 };
	double total = 0;

	for (uint32_t i = 0; i < n; i++)
		total += without >> i & 1 ? 0 : weight[i];
	for (uint64_t key = 0; key < KEYS; key++)
		keys[owner_of(weight, n, key, without)]++;
	for (uint32_t i = 0; i < n; i++) {
		double want = without >> i & 1 ? 0 : KEYS * weight[i] / total;

		/* five standard deviations */
		if ((keys[i] - want) * (keys[i] - want) > 25 * want)
			fail_msg("member %u of %u has %u keys, its share is %.0f", i, n, keys[i],
				 want);
	}
}

static void test_shares(void **state)
{
	static const uint32_t equal[] = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, five[] = { 1, 2, 5 },
			      thousand[] = { 1000, 1, 999 };

	(void)state;
	expect_shares(equal, 10, 0);
	expect_shares(five, 3, 0);
	expect_shares(five, 3, 1);
	expect_shares(thousand, 3, 0);
}

static void test_only_keys_of_who_leaves_move(void **state)
{
	static const uint32_t weight[] = { 1, 2, 5, 1 };

	(void)state;
	for (uint64_t key = 0; key < KEYS / 4; key++) {
		uint32_t before = owner_of(weight, 4, key, 0), after = owner_of(weight, 4, key, 4);

		assert_true(before == 2 ? after != 2 : after == before);
	}
	expect_shares(weight, 4, 4); /* and they go to the others by weight */
}

static void test_keys_move_to_who_grows_only(void **state)
{
	static const uint32_t small[] = { 3, 1, 3 }, grown[] = { 3, 2, 3 };

	(void)state;
	for (uint64_t key = 0; key < KEYS / 4; key++) {
		uint32_t before = owner_of(small, 3, key, 0), after = owner_of(grown, 3, key, 0);

		assert_true(after == before || after == 1);
	}
}

/* What all replicas and all later versions choose: these must not change. */
static void test_the_same_everywhere(void **state)
{
	static const uint32_t weight[] = { 1, 1, 1, 1, 1, 1, 1, 1 };
	char got[33] = "";

	(void)state;
	for (uint64_t key = 0; key < 32; key++)
		got[key] = (char)('a' + owner_of(weight, 8, key * key * UINT64_C(0x12345678), 0));
	assert_string_equal(got, "gddaehbdecbdddedhcabbghbefgceech");
}

static void test_times_are_positive(void **state)
{
	(void)state;
	for (uint64_t key = 0; key < KEYS; key++) {
		double time = rendezvous_time(key, key * 77, 1);

		assert_true(time > 0 && time < 64);
	}
}

/*---------------------------------------------------------------- in a cluster */

static struct cluster_member *pick(struct fixture *f, uint64_t hash, uint64_t tried)
{
	struct pick p = { .tried.bits[0] = tried, .hash = hash, .hashed = true };

	return cluster_pick(&f->cluster, 0, &p);
}

static void test_a_key_stays_where_it_is(void **state)
{
	struct fixture *f = fixture_new(LB_RING_HASH, 5, NULL);

	(void)state;
	for (uint64_t key = 0; key < 100; key++) {
		struct cluster_member *m = pick(f, key, 0);

		for (int i = 0; i < 5; i++)
			assert_ptr_equal(pick(f, key, 0), m);
	}
	fixture_free(f);
}

static void test_the_next_when_it_is_down_or_tried(void **state)
{
	struct fixture *f = fixture_new(LB_RING_HASH, 5, NULL);

	(void)state;
	for (uint64_t key = 0; key < 100; key++) {
		struct cluster_member *m = pick(f, key, 0), *next;

		next = pick(f, key, UINT64_C(1) << (m - f->member));
		assert_ptr_not_equal(next, m);
		m->endpoint->health.down = true;
		assert_ptr_equal(pick(f, key, 0), next);
		m->endpoint->health.down = false;
		assert_ptr_equal(pick(f, key, 0), m);
	}
	fixture_free(f);
}

static void test_calls_without_the_key_go_anywhere(void **state)
{
	static const uint32_t weight[] = { 3, 1 };
	struct fixture *f = fixture_new(LB_RING_HASH, 2, weight);
	unsigned calls[2] = { 0, 0 };

	(void)state;
	for (int i = 0; i < 4000; i++) {
		struct pick p = { .hashed = false };

		calls[cluster_pick(&f->cluster, 0, &p) - f->member]++;
	}
	assert_in_range(calls[0], 2850, 3150);
	fixture_free(f);
}

/* All calls have one key: no endpoint carries more than its share and a quarter of it, rounded up.
 */
static void test_spill(void **state)
{
	struct fixture *f = fixture_new(LB_RING_HASH, 4, NULL);

	(void)state;
	f->conf.spill_ppm = 250000;
	for (uint32_t n = 1; n <= 100; n++) {
		struct cluster_member *m = pick(f, 42, 0);

		endpoint_begin(m->endpoint, 0);
		for (uint32_t i = 0; i < 4; i++)
			assert_true(endpoint_active(&f->endpoint[i]) <= (n * 5 + 15) / 16);
	}
	assert_int_equal(endpoint_active(pick(f, 42, 0)->endpoint) > 0, 1);
	fixture_free(f);
}

static void test_slow_start_moves_keys_to_the_new_one_only(void **state)
{
	struct fixture *f = fixture_new(LB_RING_HASH, 3, NULL);
	unsigned keys[3] = { 0, 0, 0 };

	(void)state;
	f->conf.slow_start_ns = 30 * CLOCK_S;
	f->endpoint[1].health.warm_from_ns = 100 * CLOCK_S;
	for (uint64_t s = 100; s <= 130; s += 10, keys[0] = keys[1] = keys[2] = 0) {
		for (uint64_t key = 0; key < 3000; key++) {
			struct pick p = { .hash = key, .hashed = true, .now_ns = s * CLOCK_S };

			keys[cluster_pick(&f->cluster, 0, &p) - f->member]++;
		}
		if (s == 100)
			assert_in_range(keys[1], 100, 190); /* a tenth of a share: 1 in 21 */
		if (s == 130)
			assert_in_range(keys[1], 900, 1100);
	}
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_shares),
		cmocka_unit_test(test_only_keys_of_who_leaves_move),
		cmocka_unit_test(test_keys_move_to_who_grows_only),
		cmocka_unit_test(test_the_same_everywhere),
		cmocka_unit_test(test_times_are_positive),
		cmocka_unit_test(test_a_key_stays_where_it_is),
		cmocka_unit_test(test_the_next_when_it_is_down_or_tried),
		cmocka_unit_test(test_calls_without_the_key_go_anywhere),
		cmocka_unit_test(test_spill),
		cmocka_unit_test(test_slow_start_moves_keys_to_the_new_one_only),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
