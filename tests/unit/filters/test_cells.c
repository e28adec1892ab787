/* The array of limiter state: what a key may take never depends on how many others there are,
 * except that it may be less; and it is never more, whatever threads do. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"
#include "filters/cells.h"

#define S UINT64_C(1000000000)

static const struct hash_key hash_key = { 1, 2 };

static uint64_t key_of(uint64_t n)
{
	return hash_siphash(&hash_key, &n, sizeof(n));
}

struct fixture {
	struct cell_rule rule[4]; /* 0 to 2 are current */
	struct cell_rules rules;
	struct cells *cells;
};

static void fixture_init(struct fixture *f, uint32_t keys)
{
	memset(f, 0, sizeof(*f));
	assert_null(gcra_rule_init(&f->rule[0].rule.bucket, 7, 60 * S, 10));
	assert_null(gcra_rule_init(&f->rule[1].rule.bucket, 1, S, 20));
	assert_null(gcra_rule_init(&f->rule[2].rule.bucket, 999983, 3600 * S, 3));
	assert_null(gcra_rule_init(&f->rule[3].rule.bucket, 1, 3600 * S, 10));
	for (int i = 0; i < 4; i++)
		atomic_init(&f->rules.rule[i], &f->rule[i]);
	f->cells = cells_new(keys);
	assert_non_null(f->cells);
}

static void fixture_fini(struct fixture *f)
{
	cells_free(f->cells);
}

static bool take(struct fixture *f, uint16_t tag, uint64_t n, uint64_t now)
{
	struct quota_view view;

	return cells_take(f->cells, &f->rules, &tag, key_of(n), now, 1, &view);
}

static uint64_t left(struct fixture *f, uint16_t rule, uint64_t n, uint64_t now)
{
	struct quota_view view;

	cells_peek(f->cells, &f->rules, rule, key_of(n), now, 0, &view);
	return view.remaining;
}

static uint64_t live(const struct cells *c, const struct cell_rules *rules, uint64_t now)
{
	uint64_t n[ENTRIES_MAX] = { 0 };

	cells_live(c, rules, now, n);
	return n[0];
}

/*-------------------------------------------------------------------- laws */

static void test_keys_do_not_touch_each_other(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, 4000);
	for (uint64_t n = 0; n < 100; n++)
		for (int i = 0; i < 10; i++)
			assert_true(take(&f, 0, n, S));
	for (uint64_t n = 0; n < 100; n++)
		assert_false(take(&f, 0, n, S));
	assert_int_equal(cells_evictions(f.cells), 0);
	assert_int_equal(live(f.cells, &f.rules, S), 100);
	assert_int_equal(live(f.cells, &f.rules, 1000 * S), 0);
	fixture_fini(&f);
}

static void test_what_has_run_out_makes_room(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, 4);
	for (uint64_t n = 0; n < 1000; n++)
		assert_true(take(&f, 1, n, n * S));
	assert_int_equal(cells_evictions(f.cells), 0);
	fixture_fini(&f);
}

static void test_a_key_begins_anew_and_no_other(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, 4);
	for (int i = 0; i < 10; i++)
		assert_true(take(&f, 0, 1, S) && take(&f, 0, 2, S));
	cells_reset(f.cells, &f.rules, 0, key_of(1), S);
	assert_int_equal(left(&f, 0, 1, S), 10);
	assert_int_equal(left(&f, 0, 2, S), 0);
	cells_reset(f.cells, &f.rules, 0, key_of(3), S); /* that never came */
	assert_int_equal(left(&f, 0, 3, S), 10);
	assert_true(take(&f, 0, 1, S));
	assert_int_equal(left(&f, 0, 1, S), 9);
	fixture_fini(&f);
}

/* The floor of its set is not its own. */
static void test_who_was_evicted_begins_anew_too(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, 4);
	for (uint64_t n = 0; n < 6; n++)
		for (int i = 0; i < 10; i++)
			take(&f, 0, n, S);
	assert_true(cells_evictions(f.cells) > 0);
	for (uint64_t n = 0; n < 6; n++) {
		assert_int_equal(left(&f, 0, n, S), 0);
		cells_reset(f.cells, &f.rules, 0, key_of(n), S);
		assert_int_equal(left(&f, 0, n, S), 10);
	}
	fixture_fini(&f);
}

/* In an array of another size, that others are followed from. */
static void test_a_key_begins_anew_where_arrays_follow(void **state)
{
	struct fixture f;
	struct cells *old;

	(void)state;
	fixture_init(&f, 4);
	for (int i = 0; i < 10; i++)
		take(&f, 0, 1, S);
	old = f.cells;
	f.cells = cells_new(400);
	cells_follow(f.cells, old);
	assert_int_equal(left(&f, 0, 1, S), 0);
	cells_reset(f.cells, &f.rules, 0, key_of(1), S);
	assert_int_equal(left(&f, 0, 1, S), 10);
	cells_free(old);
	fixture_fini(&f);
}

static void test_a_refusal_writes_nothing(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, 4);
	for (uint64_t n = 0; n < 4; n++)
		for (int i = 0; i < 10; i++)
			assert_true(take(&f, 0, n, 0));
	for (uint64_t n = 0; n < 4; n++)
		assert_false(take(&f, 0, n, S));
	assert_int_equal(cells_evictions(f.cells), 0);
	for (uint64_t n = 0; n < 4; n++)
		assert_true(take(&f, 0, n, 60 * S / 7 + 1));
	fixture_fini(&f);
}

static void test_who_was_evicted_comes_back_as_poor(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, 4);
	for (int i = 0; i < 10; i++)
		assert_true(take(&f, 0, 0, 0));
	for (uint64_t n = 1; n < 2000; n++)
		while (take(&f, 0, n, 0))
			;
	assert_false(take(&f, 0, 0, 0));
	assert_int_equal(left(&f, 0, 0, 0), 0);
	fixture_fini(&f);
}

/* Rule 2 counts 10 a minute, in windows. */
static void use_windows(struct fixture *f, bool sliding)
{
	f->rule[2].rule.algorithm = sliding ? SLIDING_WINDOW : FIXED_WINDOW;
	assert_null(window_rule_init(&f->rule[2].rule.window, 10, 60 * S, sliding));
}

static void test_windows_that_were_evicted_come_back_as_poor(void **state)
{
	(void)state;
	for (int sliding = 0; sliding < 2; sliding++) {
		struct fixture f;

		fixture_init(&f, 4);
		use_windows(&f, sliding);
		for (int i = 0; i < 10; i++)
			assert_true(take(&f, 2, 0, 30 * S));
		for (uint64_t n = 1; n < 2000; n++)
			while (take(&f, 2, n, 30 * S))
				;
		assert_true(cells_evictions(f.cells) > 0);
		for (uint64_t n = 0; n < 2000; n++)
			assert_int_equal(left(&f, 2, n, 59 * S), 0);
		assert_int_equal(left(&f, 2, 0, 60 * S), sliding ? 0 : 10);
		assert_int_equal(left(&f, 2, 0, 90 * S), sliding ? 5 : 10);
		assert_int_equal(left(&f, 2, 0, 120 * S), 10);
		assert_int_equal(live(f.cells, &f.rules, 59 * S), 4);
		assert_int_equal(live(f.cells, &f.rules, 120 * S), 0);
		fixture_fini(&f);
	}
}

static void test_undo(void **state)
{
	struct quota_view first, second, view;
	struct fixture f;
	uint16_t tag = 0;

	(void)state;
	fixture_init(&f, 100);
	assert_true(cells_take(f.cells, &f.rules, &tag, key_of(1), S, 1, &first));
	assert_true(cells_take(f.cells, &f.rules, &tag, key_of(1), S, 2, &second));
	assert_false(cells_undo(f.cells, &f.rules, 0, key_of(1), first.state, 1));
	assert_false(cells_undo(f.cells, &f.rules, 1, key_of(1), second.state, 2));
	assert_false(cells_undo(f.cells, &f.rules, 0, key_of(2), second.state, 2));
	assert_true(cells_undo(f.cells, &f.rules, 0, key_of(1), second.state, 2));
	assert_true(cells_undo(f.cells, &f.rules, 0, key_of(1), first.state, 1));
	assert_true(cells_peek(f.cells, &f.rules, 0, key_of(1), S, 10, &view));
	fixture_fini(&f);
}

static void test_give(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, 100);
	for (int i = 0; i < 10; i++)
		assert_true(take(&f, 0, 1, S));
	cells_give(f.cells, &f.rules, 0, key_of(1), 0, 3);
	cells_give(f.cells, &f.rules, 0, key_of(2), 0, 3); /* not there */
	assert_int_equal(left(&f, 0, 1, S), 3);
	assert_int_equal(left(&f, 0, 2, S), 10);
	assert_int_equal(left(&f, 1, 1, S), 6);
	assert_true(take(&f, 1, 1, S));                    /* 5 of 20 left */
	cells_give(f.cells, &f.rules, 0, key_of(1), 0, 2); /* taken under the rule of ten */
	assert_int_equal(left(&f, 1, 1, S), 9);
	fixture_fini(&f);
}

static void test_another_rule_keeps_the_share(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, 100);
	for (int i = 0; i < 6; i++)
		assert_true(take(&f, 0, 1, S));
	assert_int_equal(left(&f, 1, 1, S), 8);
	assert_int_equal(left(&f, 2, 1, S), 1);
	assert_int_equal(left(&f, 0, 1, S), 4); /* peeking changed nothing */
	for (int i = 0; i < 8; i++)
		assert_true(take(&f, 1, 1, S));
	for (uint16_t rule = 0; rule < 3; rule++)
		assert_false(take(&f, rule, 1, S));
	fixture_fini(&f);
}

static void test_a_floor_keeps_the_share_too(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, 4);
	for (uint64_t n = 0; n < 5; n++) /* the last one evicts */
		for (int i = 0; i < 5 && take(&f, 0, n, 0); i++)
			;
	assert_int_equal(cells_evictions(f.cells), 1);
	assert_int_equal(left(&f, 0, 99, 0), 5);
	assert_int_equal(left(&f, 1, 99, 0), 10);
	fixture_fini(&f);
}

/* Rule `from` is over at that time, and `to` in its place. */
static void change(struct fixture *f, uint16_t from, uint16_t to, uint64_t at)
{
	atomic_store(&f->rule[to].start_ns, at);
	atomic_store(&f->rule[from].next, to);
	atomic_store(&f->rule[from].end_ns, at);
	atomic_store(&f->rule[from].phase, RULE_OVER);
}

/* Five of ten left at the change: at 7/min idle keys would be full a minute later. */
static void test_a_rule_that_is_over_fills_nobody(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, 4);
	for (uint64_t n = 0; n < 5; n++) /* the last one evicts */
		for (int i = 0; i < 5 && take(&f, 0, n, S); i++)
			;
	change(&f, 0, 3, S);
	for (uint64_t n = 0; n < 6; n++)
		assert_in_range(left(&f, 3, n, 3000 * S), 4, 5);
	assert_int_equal(live(f.cells, &f.rules, 3000 * S), 4);
	cells_settle(f.cells, &f.rules);
	atomic_store(&f.rules.rule[0], NULL);
	for (uint64_t n = 0; n < 6; n++)
		assert_in_range(left(&f, 3, n, 3000 * S), 4, 5);
	fixture_fini(&f);
}

/* The floor of a slow rule is no floor of an hour under the fast one, and no more is it none. */
static void test_floors_change_over(void **state)
{
	struct fixture f;

	(void)state;
	fixture_init(&f, 4);
	for (uint64_t n = 0; n < 5; n++)
		for (int i = 0; i < 10 && take(&f, 3, n, S); i++)
			;
	change(&f, 3, 1, S);
	assert_int_equal(left(&f, 1, 99, S), 0);
	assert_int_equal(left(&f, 1, 99, 3 * S), 2);
	for (uint64_t n = 100; n < 108; n++) /* more evictions raise it */
		while (take(&f, 1, n, 10 * S))
			;
	assert_int_equal(left(&f, 1, 99, 10 * S), 0);
	fixture_fini(&f);
}

static void test_a_take_under_a_rule_that_is_over(void **state)
{
	struct quota_view view;
	struct fixture f;
	uint16_t tag = 0;

	(void)state;
	fixture_init(&f, 100);
	change(&f, 0, 1, S);
	assert_true(cells_take(f.cells, &f.rules, &tag, key_of(1), 2 * S, 1, &view));
	assert_int_equal(tag, 1);
	assert_int_equal(view.remaining, 19);
	cells_give(f.cells, &f.rules, tag, key_of(1), 0, 1);
	assert_int_equal(left(&f, 1, 1, 2 * S), 20);
	fixture_fini(&f);
}

/*----------------------------------------------------------- other sizes */

static void test_a_follower_knows_the_keys(void **state)
{
	static const uint32_t sizes[] = { 1000, 40000, 40, 4000 };
	struct fixture f;
	struct cells *c[5];

	(void)state;
	fixture_init(&f, 4000);
	c[0] = f.cells;
	for (uint64_t n = 0; n < 100; n++)
		for (uint64_t i = 0; i <= n % 10; i++)
			assert_true(take(&f, 0, n, S));
	for (int i = 0; i < 4; i++) {
		c[i + 1] = cells_new(sizes[i]);
		assert_non_null(c[i + 1]);
		cells_follow(c[i + 1], c[i]);
		f.cells = c[i + 1];
	}
	for (uint64_t n = 0; n < 100; n++)
		assert_int_equal(left(&f, 0, n, S), 9 - n % 10);
	for (uint64_t n = 0; n < 100; n++)
		assert_int_equal(take(&f, 0, n, S), n % 10 != 9);
	for (uint64_t n = 0; n < 100; n++)
		assert_int_equal(left(&f, 0, n, S), n % 10 == 9 ? 0 : 8 - n % 10);
	assert_true(cells_full_at_ns(c[0], &f.rules) > 80 * S);
	assert_true(cells_full_at_ns(c[0], &f.rules) < 90 * S);
	assert_int_equal(cells_full_at_ns(c[1], &f.rules), 0);
	assert_int_equal(live(c[0], &f.rules, S), 10); /* those that were only refused */
	for (int i = 1; i < 4; i++)
		assert_int_equal(live(c[i], &f.rules, S), 0);
	assert_int_equal(live(c[4], &f.rules, S), 90);
	for (int i = 0; i < 5; i++)
		cells_free(c[i]);
}

/*------------------------------------------------------------------- model */

enum { MODEL_KEYS = 64 };

static uint64_t random_state = 88172645463325252;

static uint64_t random_below(uint64_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % n;
}

/* A state for every key, never evicted: the array may be stricter, never kinder. */
static void compare_with_an_endless_table(struct fixture *f, uint16_t rule)
{
	const struct quota_rule *r = &f->rule[rule].rule;
	quota_state model[MODEL_KEYS] = { 0 };
	uint64_t now = 365 * 86400 * S;
	unsigned stricter = 0;

	for (int i = 0; i < 400000; i++) {
		uint64_t n = random_below(MODEL_KEYS), cost = 1 + random_below(3);
		struct quota_view seen, told;
		quota_state before = model[n];
		uint16_t tag = rule;
		bool ok, model_ok;

		now += random_below(4) == 0 ? random_below(2 * S) : 0;
		ok = cells_take(f->cells, &f->rules, &tag, key_of(n), now, cost, &seen);
		model_ok = quota_take(&model[n], r, &f->rules.epoch, now, cost, &told);
		stricter += model_ok && !ok;
		if (!ok) {
			model[n] = before;
			continue;
		}
		assert_true(model_ok && seen.remaining <= told.remaining);
		if (random_below(8) == 0) {
			model[n] = quota_give(model[n], r, r, told.window, cost);
			cells_give(f->cells, &f->rules, rule, key_of(n), seen.window, cost);
		}
	}
	assert_true(cells_evictions(f->cells) > 1000);
	assert_true(stricter > 0);
}

static void test_never_richer_than_an_endless_table(void **state)
{
	(void)state;
	for (int kind = 0; kind < 3; kind++) {
		struct fixture f;

		fixture_init(&f, 16);
		if (kind > 0)
			use_windows(&f, kind == 1);
		compare_with_an_endless_table(&f, kind == 0 ? 0 : 2);
		fixture_fini(&f);
	}
}

/* Sanitizers keep books of every page and are ten times as slow. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { SPRAY_KEYS = 1000000, SPRAY_SLACK_BYTES = 64 << 20 };
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
enum { SPRAY_KEYS = 1000000, SPRAY_SLACK_BYTES = 64 << 20 };
#else
enum { SPRAY_KEYS = 10000000, SPRAY_SLACK_BYTES = 1 << 20 };
#endif
#else
enum { SPRAY_KEYS = 10000000, SPRAY_SLACK_BYTES = 1 << 20 };
#endif

static uint64_t resident_bytes(void)
{
	FILE *file = fopen("/proc/self/statm", "r");
	unsigned long size, pages;

	assert_non_null(file);
	assert_int_equal(fscanf(file, "%lu %lu", &size, &pages), 2);
	fclose(file);
	return pages * 4096;
}

static void test_ten_million_keys(void **state)
{
	struct fixture f;
	uint64_t before, after;

	(void)state;
	fixture_init(&f, 100000);
	for (int i = 0; i < 10; i++)
		assert_true(take(&f, 0, 0, S));
	for (uint64_t n = 1; n <= 200000; n++)
		take(&f, 0, n, S);
	before = resident_bytes();
	for (uint64_t n = 1; n <= SPRAY_KEYS; n++)
		take(&f, 0, n, S);
	after = resident_bytes();
	assert_true(after < before + SPRAY_SLACK_BYTES);
	assert_false(take(&f, 0, 0, S));
	assert_int_equal(cells_capacity(f.cells), 100000);
	assert_true(cells_evictions(f.cells) > 100000);
	assert_in_range(live(f.cells, &f.rules, S), 99000, 100000);
	fixture_fini(&f);
}

/*----------------------------------------------------------------- threads */

enum { THREADS = 4, TAKES = 100000, HOT_KEYS = 48 };

struct hammer {
	struct fixture *f;
	uint64_t seed, now;
	unsigned keys;
	unsigned passed[HOT_KEYS];
	pthread_t thread;
};

static void *hammer_run(void *arg)
{
	struct hammer *h = arg;
	uint64_t n = h->seed;

	for (int i = 0; i < TAKES; i++) {
		n = n * 6364136223846793005 + 1442695040888963407;
		h->passed[(n >> 33) % h->keys] += take(h->f, 1, (n >> 33) % h->keys, h->now);
	}
	return NULL;
}

static void hammer(struct fixture *f, unsigned keys, uint64_t now, unsigned passed[HOT_KEYS])
{
	struct hammer h[THREADS];

	memset(passed, 0, HOT_KEYS * sizeof(passed[0]));
	for (unsigned t = 0; t < THREADS; t++) {
		h[t] = (struct hammer){ .f = f, .seed = t + 1, .now = now, .keys = keys };
		assert_int_equal(pthread_create(&h[t].thread, NULL, hammer_run, &h[t]), 0);
	}
	for (unsigned t = 0; t < THREADS; t++) {
		pthread_join(h[t].thread, NULL);
		for (unsigned k = 0; k < keys; k++)
			passed[k] += h[t].passed[k];
	}
}

static void test_threads_on_one_key_admit_exactly_the_bound(void **state)
{
	struct fixture f;
	unsigned passed[HOT_KEYS];

	(void)state;
	fixture_init(&f, 100);
	assert_null(gcra_rule_init(&f.rule[1].rule.bucket, 1, S, 50000));
	hammer(&f, 1, S, passed);
	assert_int_equal(passed[0], 50000);
	hammer(&f, 1, 1001 * S, passed);
	assert_int_equal(passed[0], 1000);
	fixture_fini(&f);
}

static void *hammer_windows(void *arg)
{
	struct hammer *h = arg;

	for (uint64_t i = 0; i < TAKES; i++)
		h->passed[0] += take(h->f, 2, 1, h->now + i / (TAKES / 4) * 60 * S);
	return NULL;
}

/* Four windows, of which each thread goes through all at its own pace. */
static void test_threads_in_different_windows(void **state)
{
	(void)state;
	for (int sliding = 0; sliding < 2; sliding++) {
		struct hammer h[THREADS];
		struct fixture f;
		unsigned passed = 0;

		fixture_init(&f, 100);
		use_windows(&f, sliding);
		for (unsigned t = 0; t < THREADS; t++) {
			h[t] = (struct hammer){ .f = &f, .now = 6000 * S };
			assert_int_equal(pthread_create(&h[t].thread, NULL, hammer_windows, &h[t]),
					 0);
		}
		for (unsigned t = 0; t < THREADS; t++) {
			pthread_join(h[t].thread, NULL);
			passed += h[t].passed[0];
		}
		assert_in_range(passed, sliding ? 20 : 40, sliding ? 30 : 40);
		fixture_fini(&f);
	}
}

static void test_threads_on_many_keys(void **state)
{
	struct fixture f;
	unsigned passed[HOT_KEYS];

	(void)state;
	fixture_init(&f, 4000);
	for (int round = 0; round < 20; round++) {
		hammer(&f, HOT_KEYS, 1000 * S * (uint64_t)(round + 1), passed);
		for (unsigned k = 0; k < HOT_KEYS; k++)
			assert_int_equal(passed[k], 20);
	}
	fixture_fini(&f);
}

/* Evictions all the time: fewer may pass, never more. */
static void test_threads_that_evict_each_other(void **state)
{
	struct fixture f;
	unsigned passed[HOT_KEYS];

	(void)state;
	fixture_init(&f, 8);
	for (int round = 0; round < 20; round++) {
		hammer(&f, HOT_KEYS, 1000 * S * (uint64_t)(round + 1), passed);
		for (unsigned k = 0; k < HOT_KEYS; k++)
			assert_true(passed[k] <= 20);
	}
	assert_true(cells_evictions(f.cells) > 0);
	fixture_fini(&f);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_keys_do_not_touch_each_other),
		cmocka_unit_test(test_what_has_run_out_makes_room),
		cmocka_unit_test(test_a_key_begins_anew_and_no_other),
		cmocka_unit_test(test_who_was_evicted_begins_anew_too),
		cmocka_unit_test(test_a_key_begins_anew_where_arrays_follow),
		cmocka_unit_test(test_a_refusal_writes_nothing),
		cmocka_unit_test(test_who_was_evicted_comes_back_as_poor),
		cmocka_unit_test(test_windows_that_were_evicted_come_back_as_poor),
		cmocka_unit_test(test_undo),
		cmocka_unit_test(test_give),
		cmocka_unit_test(test_another_rule_keeps_the_share),
		cmocka_unit_test(test_a_floor_keeps_the_share_too),
		cmocka_unit_test(test_a_rule_that_is_over_fills_nobody),
		cmocka_unit_test(test_floors_change_over),
		cmocka_unit_test(test_a_take_under_a_rule_that_is_over),
		cmocka_unit_test(test_a_follower_knows_the_keys),
		cmocka_unit_test(test_never_richer_than_an_endless_table),
		cmocka_unit_test(test_ten_million_keys),
		cmocka_unit_test(test_threads_on_one_key_admit_exactly_the_bound),
		cmocka_unit_test(test_threads_in_different_windows),
		cmocka_unit_test(test_threads_on_many_keys),
		cmocka_unit_test(test_threads_that_evict_each_other),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
