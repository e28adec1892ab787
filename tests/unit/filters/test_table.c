/* Tables by identity: what reloads keep, what they change, and threads in the middle of them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "filters/stats.h"
#include "filters/table.h"

#define S UINT64_C(1000000000)

static const struct hash_key hash_key = { 1, 2 };

static uint64_t key_of(uint64_t n)
{
	return hash_siphash(&hash_key, &n, sizeof(n));
}

static const struct table_id id_a = { "a", "rate", "client.ip", "local" };

/* One policy that uses a table under one rule. */
struct user {
	struct table_registry *registry;
	struct table_use use;
	uint8_t tag;
};

static void user_close(struct user *u)
{
	table_rule_put(u->use.table, u->tag);
	table_put(u->registry, &u->use);
}

static bool take(const struct user *u, uint64_t n, uint64_t now)
{
	struct gcra_view view;

	return table_take(u->use.table, u->tag, key_of(n), now, 1, &view);
}

static uint64_t left(const struct user *u, uint64_t n, uint64_t now)
{
	struct gcra_view view;

	table_peek(u->use.table, u->tag, key_of(n), now, 0, &view);
	return view.remaining;
}

/* The use is linked where it lies, so it is opened in place. */
static void user_init(struct user *u, struct table_registry *r, uint32_t max_keys, uint64_t count,
		      uint64_t burst)
{
	struct gcra_rule rule;

	u->registry = r;
	assert_null(gcra_rule_init(&rule, count, 3600 * S, burst));
	assert_true(table_get(r, &id_a, max_keys, &u->use));
	assert_true(table_rule_get(u->use.table, &rule, &u->tag));
}

/*---------------------------------------------------------------- identity */

static void test_identity(void **state)
{
	static const struct table_id others[] = {
		{ "b", "rate", "client.ip", "local" },    { "a", "tokens", "client.ip", "local" },
		{ "a", "rate", "host", "local" },         { "a", "rate", "client.ip", "redis" },
		{ "a 4:rate", "", "client.ip", "local" },
	};
	struct table_registry *r = table_registry_new();
	struct table_use a, again, other;

	(void)state;
	assert_true(table_get(r, &id_a, 100, &a));
	assert_true(table_get(r, &id_a, 100, &again));
	assert_ptr_equal(a.table, again.table);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		assert_true(table_get(r, &others[i], 100, &other));
		assert_ptr_not_equal(a.table, other.table);
		table_put(r, &other);
	}
	table_put(r, &a);
	table_put(r, &again);
	table_registry_free(r);
}

static void test_nobody_uses_it_any_more(void **state)
{
	struct table_registry *r = table_registry_new();
	struct user u;

	(void)state;
	user_init(&u, r, 100, 1, 1);
	assert_true(take(&u, 1, S));
	user_close(&u);
	user_init(&u, r, 100, 1, 1);
	assert_true(take(&u, 1, S));
	user_close(&u);
	table_registry_free(r);
}

static void test_stats_by_name(void **state)
{
	struct table_registry *r = table_registry_new();
	struct filter_stats *a = table_stats_get(r, "a"), *b = table_stats_get(r, "b");

	(void)state;
	assert_ptr_not_equal(a, b);
	filter_stats_count(a, 0, DECISION_ALLOW);
	filter_stats_count(a, 63, DECISION_ALLOW);
	assert_ptr_equal(table_stats_get(r, "a"), a);
	table_stats_put(r, a);
	assert_int_equal(filter_stats_read(a, DECISION_ALLOW), 2);
	assert_int_equal(filter_stats_read(b, DECISION_ALLOW), 0);
	table_stats_put(r, a);
	table_stats_put(r, b);
	table_registry_free(r);
}

/*------------------------------------------------------------------- rules */

static void test_rules_are_shared_and_bounded(void **state)
{
	struct table_registry *r = table_registry_new();
	struct gcra_rule rule;
	struct user u;
	uint8_t tag[256];

	(void)state;
	user_init(&u, r, 100, 1, 1);
	for (unsigned i = 1; i < 256; i++) {
		assert_null(gcra_rule_init(&rule, 1, S, i));
		assert_true(table_rule_get(u.use.table, &rule, &tag[i]));
		assert_true(table_rule_get(u.use.table, &rule, &tag[0]));
		assert_int_equal(tag[0], tag[i]);
		table_rule_put(u.use.table, tag[0]);
	}
	assert_null(gcra_rule_init(&rule, 1, S, 1000));
	assert_false(table_rule_get(u.use.table, &rule, &tag[0]));
	table_rule_put(u.use.table, tag[77]);
	assert_true(table_rule_get(u.use.table, &rule, &tag[0]));
	assert_int_equal(tag[0], tag[77]);
	for (unsigned i = 0; i < 256; i++)
		if (i != 77)
			table_rule_put(u.use.table, tag[i]);
	user_close(&u);
	table_registry_free(r);
}

/* A key that was last seen hundreds of rules ago is neither refilled nor locked out. */
static void test_a_rule_that_is_long_gone(void **state)
{
	struct table_registry *r = table_registry_new();
	struct user old, new;

	(void)state;
	user_init(&old, r, 100, 1, 2);
	assert_true(take(&old, 1, S));
	assert_true(take(&old, 1, S));
	for (unsigned i = 0; i < 600; i++) {
		user_init(&new, r, 100, 2 + i, 2);
		user_close(&old);
		memset(&old, 0, sizeof(old));
		user_init(&old, r, 100, 2 + i, 2);
		user_close(&new);
	}
	assert_false(take(&old, 1, S));
	assert_int_equal(left(&old, 1, 2 * 3600 * S + S), 2);
	user_close(&old);
	table_registry_free(r);
}

/*------------------------------------------------------------------- sizes */

static void test_sizes_change_and_keys_stay(void **state)
{
	static const uint32_t sizes[] = {
		1000, 5000, 200, 200000, 1, 3000, 4000, 500, 600, 700, 800
	};
	struct table_registry *r = table_registry_new();
	struct user u[2];
	uint64_t keys, evictions;

	(void)state;
	user_init(&u[0], r, 4000, 1, 10);
	for (uint64_t n = 0; n < 50; n++)
		for (uint64_t i = 0; i <= n % 10; i++)
			assert_true(take(&u[0], n, S));
	for (unsigned i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		user_init(&u[(i + 1) % 2], r, sizes[i], 1, 10);
		user_close(&u[i % 2]);
		for (uint64_t n = 0; n < 50; n++)
			assert_int_equal(left(&u[(i + 1) % 2], n, S), 9 - n % 10);
	}
	table_gauge(u[1].use.table, &keys, &evictions);
	assert_int_equal(evictions, 0);
	user_close(&u[1]);
	table_registry_free(r);
}

/* When the debts of the old array are over, it goes, and the size changes freely. */
static void test_thousand_sizes(void **state)
{
	struct table_registry *r = table_registry_new();
	struct user u[2];

	(void)state;
	user_init(&u[0], r, 4000, 1, 1);
	for (uint64_t i = 0; i < 1000; i++) {
		uint64_t now = i * 1800 * S;

		take(&u[i % 2], 1, now);
		take(&u[i % 2], 1000 + i, now);
		user_init(&u[(i + 1) % 2], r, (uint32_t)(1000 + i % 13 * 100), 1, 1);
		user_close(&u[i % 2]);
		assert_false(take(&u[(i + 1) % 2], 1, now));
		assert_false(take(&u[(i + 1) % 2], 1000 + i, now + 1799 * S));
	}
	user_close(&u[0]);
	table_registry_free(r);
}

static void test_gauge(void **state)
{
	struct table_registry *r = table_registry_new();
	uint64_t keys, evictions;
	struct user u;

	(void)state;
	user_init(&u, r, 1000000, 1, 1);
	table_gauge(u.use.table, &keys, &evictions);
	assert_int_equal(keys, 0);
	for (uint64_t n = 0; n < 500000; n++)
		take(&u, n, S);
	table_gauge(u.use.table, &keys, &evictions);
	assert_in_range(keys, 440000, 500000); /* an estimate, less what was evicted */
	assert_in_range(keys + evictions, 480000, 520000);
	user_close(&u);
	table_registry_free(r);
}

/*----------------------------------------------------------------- threads */

enum { THREADS = 3, RELOADS = 300, BURST = 10000000 };

/* What a worker sees of a reload: the pointer to its policy changes, and it says so. */
struct worker {
	pthread_t thread;
	struct user *_Atomic given;
	struct user *_Atomic seen;
	_Atomic bool stop;
	uint64_t passed;
};

static void *worker_run(void *arg)
{
	struct worker *w = arg;

	while (!atomic_load(&w->stop)) {
		struct user *u = atomic_load(&w->given);

		atomic_store(&w->seen, u);
		for (int i = 0; i < 50; i++)
			w->passed += take(u, 1, S);
	}
	return NULL;
}

/* The same share whatever the rule; the size changes too.  At most one take per thread and change
 * of size is lost. */
static void test_threads_while_reloading(void **state)
{
	struct table_registry *r = table_registry_new();
	struct worker w[THREADS];
	struct user u[2];
	uint64_t passed = 0;

	(void)state;
	memset(w, 0, sizeof(w));
	user_init(&u[0], r, 1000, 10000, BURST);
	for (int t = 0; t < THREADS; t++) {
		atomic_init(&w[t].given, &u[0]);
		assert_int_equal(pthread_create(&w[t].thread, NULL, worker_run, &w[t]), 0);
	}
	for (int i = 1; i <= RELOADS; i++) {
		user_init(&u[i % 2], r, (uint32_t)(1000 + i % 5 * 100), (uint64_t)(10000 + i % 3),
			  BURST);
		for (int t = 0; t < THREADS; t++)
			atomic_store(&w[t].given, &u[i % 2]);
		for (int t = 0; t < THREADS; t++)
			while (atomic_load(&w[t].seen) != &u[i % 2])
				sched_yield();
		user_close(&u[(i + 1) % 2]);
	}
	for (int t = 0; t < THREADS; t++)
		atomic_store(&w[t].stop, true);
	for (int t = 0; t < THREADS; t++) {
		pthread_join(w[t].thread, NULL);
		passed += w[t].passed;
	}
	while (take(&u[RELOADS % 2], 1, S))
		passed++;
	assert_in_range(passed, BURST - RELOADS, BURST + THREADS * RELOADS);
	user_close(&u[RELOADS % 2]);
	table_registry_free(r);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_nobody_uses_it_any_more),
		cmocka_unit_test(test_stats_by_name),
		cmocka_unit_test(test_rules_are_shared_and_bounded),
		cmocka_unit_test(test_a_rule_that_is_long_gone),
		cmocka_unit_test(test_sizes_change_and_keys_stay),
		cmocka_unit_test(test_thousand_sizes),
		cmocka_unit_test(test_gauge),
		cmocka_unit_test(test_threads_while_reloading),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
