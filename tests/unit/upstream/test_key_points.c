/* Members that are down, full or ejected, and choices by key as other proxies make them. */
#include "base/clock.h"
#include "members.h"
#include "upstream/key_points.h"

static char pick(struct fixture *f, uint64_t now_ns, const char *key)
{
	struct pick p = { .now_ns = now_ns, .key = slice_str(key) };
	struct cluster_member *m = cluster_pick(&f->cluster, 0, &p);

	return m == NULL ? '-' : (char)('a' + (m - f->member));
}

static void tell(struct fixture *f, unsigned i, uint64_t now_ns, bool failed)
{
	cluster_tried(&f->cluster, 0, &f->member[i], now_ns, failed);
}

static struct fixture *ejecting(uint32_t n, uint32_t after)
{
	struct fixture *f = fixture_new(LB_ROUND_ROBIN, n, NULL);

	for (uint32_t i = 0; i < n; i++) {
		f->member[i].eject_after = after;
		f->member[i].eject_for_ns = 10 * CLOCK_S;
	}
	assert_true(balance_open(&f->cluster, &f->arena));
	return f;
}

static void test_down_and_full(void **state)
{
	struct fixture *f = fixture_new(LB_ROUND_ROBIN, 3, NULL);

	(void)state;
	f->member[0].down = true;
	f->member[1].max_calls = 1;
	assert_true(balance_open(&f->cluster, &f->arena));
	atomic_store(&f->endpoint[1].worker[0].active, 1);
	assert_int_equal(pick(f, 1, ""), 'c');
	assert_int_equal(pick(f, 1, ""), 'c');
	f->member[2].down = true;
	assert_int_equal(pick(f, 1, ""), '-');
	atomic_store(&f->endpoint[1].worker[0].active, 0);
	assert_int_equal(pick(f, 1, ""), 'b');
	f->cluster.n = 1;
	assert_int_equal(pick(f, 1, ""), '-');
	fixture_free(f);
}

static void test_ejected_for_so_long(void **state)
{
	struct fixture *f = ejecting(2, 2);
	uint64_t t = 100 * CLOCK_S;

	(void)state;
	tell(f, 0, t, true);
	tell(f, 1, t, false);
	assert_int_equal(pick(f, t, ""), 'a');
	assert_int_equal(pick(f, t, ""), 'b');
	tell(f, 0, t + 9 * CLOCK_S, true);
	for (int i = 0; i < 4; i++)
		assert_int_equal(pick(f, t + 19 * CLOCK_S, ""), 'b');
	t += 19 * CLOCK_S + 1;
	assert_int_equal(pick(f, t, ""), 'a'); /* the trial */
	assert_int_equal(pick(f, t, ""), 'b');
	assert_int_equal(pick(f, t, ""), 'b'); /* it has not ended */
	tell(f, 0, t, false);
	assert_int_not_equal(pick(f, t, ""), pick(f, t, ""));
	fixture_free(f);
}

static void test_all_are_ejected(void **state)
{
	struct fixture *f = ejecting(2, 1);

	(void)state;
	tell(f, 0, 100 * CLOCK_S, true);
	tell(f, 1, 101 * CLOCK_S, true);
	assert_int_equal(pick(f, 105 * CLOCK_S, ""), '-');
	assert_int_equal(pick(f, 111 * CLOCK_S, ""), 'a');
	fixture_free(f);
	f = ejecting(1, 1);
	tell(f, 0, 100 * CLOCK_S, true);
	assert_int_equal(pick(f, 100 * CLOCK_S, ""), 'a');
	fixture_free(f);
}

static void test_known_sums(void **state)
{
	static const struct slice digits = SLICE("123456789");
	struct ip ip = { .b = { [10] = 0xff, [11] = 0xff, [12] = 127, [15] = 1 } }, same = ip;

	(void)state;
	assert_int_equal(crc32_of(digits), 0xcbf43926);
	assert_int_equal(crc32_of(slice_of("", 0)), 0);
	assert_int_equal(crc32_key(digits, 0), 0xcbf43926 >> 16 & 0x7fff);
	assert_int_equal(crc32_key(slice_str("23456789"), 1), 0xcbf43926 >> 16 & 0x7fff);
	same.b[15] = 99;
	assert_int_equal(address_key(&ip, 89), address_key(&same, 89));
	assert_int_equal(address_key(&ip, 89),
			 ((89u * 113 + 127) % 6271 * 113 % 6271) * 113 % 6271);
}

static void test_by_crc32(void **state)
{
	static const uint32_t weight[] = { 1, 2, 1 };
	struct fixture *f = fixture_new(LB_CRC32_HASH, 3, weight);
	uint32_t at = crc32_key(slice_str("k"), 0) % 4;
	char mine = (char)(at == 0 ? 'a' : at < 3 ? 'b' : 'c');

	(void)state;
	assert_int_equal(pick(f, 1, "k"), mine);
	assert_int_equal(pick(f, 1, "k"), mine);
	f->member[mine - 'a'].down = true;
	assert_true(balance_open(&f->cluster, &f->arena));
	assert_int_not_equal(pick(f, 1, "k"), mine);
	fixture_free(f);
}

static void test_ketama_moves_little(void **state)
{
	struct fixture *f = fixture_new(LB_ROUND_ROBIN, 3, NULL);
	static const struct endpoint_conf conf[] = { { .hash_as = "127.0.0.1:1" },
						     { .hash_as = "127.0.0.1:2" },
						     { .hash_as = "unix:/run/x" } };
	char before[100], text[16];

	(void)state;
	f->conf.lb = LB_KETAMA_HASH;
	f->conf.endpoints.item = (void *)(uintptr_t)conf;
	assert_true(balance_open(&f->cluster, &f->arena));
	assert_in_range(f->cluster.n_points, 470, 480);
	for (int i = 0; i < 100; i++) {
		snprintf(text, sizeof(text), "key%d", i);
		before[i] = pick(f, 1, text);
	}
	f->member[1].down = true;
	assert_true(balance_open(&f->cluster, &f->arena));
	for (int i = 0; i < 100; i++) {
		snprintf(text, sizeof(text), "key%d", i);
		if (before[i] != 'b')
			assert_int_equal(pick(f, 1, text), before[i]);
		else
			assert_int_not_equal(pick(f, 1, text), 'b');
	}
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_down_and_full),   cmocka_unit_test(test_ejected_for_so_long),
		cmocka_unit_test(test_all_are_ejected), cmocka_unit_test(test_known_sums),
		cmocka_unit_test(test_by_crc32),        cmocka_unit_test(test_ketama_moves_little),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
