/* Tables by identity: what reloads keep, what they change, and threads in the middle of them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
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

/* A reload comes at the time of the last take, unless a test says otherwise. */
static uint64_t now_ns;

static uint64_t test_clock(void)
{
	return now_ns;
}

static struct table_registry *registry_new(void)
{
	struct table_registry *r = table_registry_new();

	assert_non_null(r);
	now_ns = 0;
	table_registry_set_clock(r, test_clock);
	return r;
}

/* One policy that uses a table under one rule. */
struct user {
	struct table_registry *registry;
	struct table_use use;
	struct table_rule rule;
};

static void user_close(struct user *u)
{
	table_put(u->registry, &u->use);
}

static bool take_of(const struct user *u, uint64_t n, uint64_t now, uint64_t cost,
		    struct quota_view *view)
{
	uint16_t tag = u->rule.tag;

	now_ns = now;
	return table_take(u->use.table, &tag, key_of(n), now, cost, view);
}

static bool take(const struct user *u, uint64_t n, uint64_t now)
{
	struct quota_view view;

	return take_of(u, n, now, 1, &view);
}

static uint64_t left(const struct user *u, uint64_t n, uint64_t now)
{
	struct quota_view view;

	table_peek(u->use.table, u->rule.tag, key_of(n), now, 0, &view);
	return view.remaining;
}

/* The use is linked where it lies, so it is opened in place. */
static void user_open_rule(struct user *u, struct table_registry *r, uint32_t max_keys,
			   struct quota_rule rule)
{
	*u = (struct user){ .registry = r, .rule.rule = rule };
	assert_true(table_get(r, &id_a, max_keys, &u->use));
	assert_true(table_rules_get(&u->use, &u->rule, 1));
}

static void user_open(struct user *u, struct table_registry *r, uint32_t max_keys, uint64_t count,
		      uint64_t period_ns, uint64_t burst)
{
	struct quota_rule rule = { .algorithm = TOKEN_BUCKET };

	assert_null(gcra_rule_init(&rule.bucket, count, period_ns, burst));
	user_open_rule(u, r, max_keys, rule);
}

static void user_init(struct user *u, struct table_registry *r, uint32_t max_keys, uint64_t count,
		      uint64_t burst)
{
	user_open(u, r, max_keys, count, 3600 * S, burst);
}

/*---------------------------------------------------------------- identity */

static void test_identity(void **state)
{
	static const struct table_id others[] = {
		{ "b", "rate", "client.ip", "local" },    { "a", "tokens", "client.ip", "local" },
		{ "a", "rate", "host", "local" },         { "a", "rate", "client.ip", "redis" },
		{ "a 4:rate", "", "client.ip", "local" },
	};
	struct table_registry *r = registry_new();
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
	struct table_registry *r = registry_new();
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
	struct table_registry *r = registry_new();
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

static void rules_init(struct table_rule *rules, uint32_t n, uint64_t first)
{
	for (uint32_t i = 0; i < n; i++) {
		rules[i] = (struct table_rule){ .match = i };
		assert_null(gcra_rule_init(&rules[i].rule.bucket, 1, S, first + i));
	}
}

static void test_rules_are_shared_and_bounded(void **state)
{
	struct table_registry *r = registry_new();
	struct table_rule rules[300];
	struct table_use use[8], last;
	unsigned held = 0;

	(void)state;
	for (unsigned i = 0; i < 8; i++)
		assert_true(table_get(r, &id_a, 100, &use[i]));
	rules_init(rules, 300, 1);
	assert_false(table_rules_get(&use[0], rules, 257));
	for (unsigned i = 256; i < 300; i++)
		rules[i].rule = rules[i - 256].rule;
	assert_true(table_rules_get(&use[0], rules, 300));
	assert_int_equal(rules[299].tag, rules[43].tag);
	for (held = 1; held < 8; held++) {
		rules_init(rules, 256, held * 1000);
		if (!table_rules_get(&use[held], rules, 256))
			break;
	}
	assert_int_equal(held, 4);
	table_put(r, &use[1]);
	assert_true(table_get(r, &id_a, 100, &last));
	assert_true(table_rules_get(&last, rules, 256));
	table_put(r, &last);
	for (unsigned i = 0; i < 8; i++)
		if (i != 1)
			table_put(r, &use[i]);
	table_registry_free(r);
}

/* A key that was last seen hundreds of rules ago is neither refilled nor locked out. */
static void test_a_rule_that_is_long_gone(void **state)
{
	struct table_registry *r = registry_new();
	struct user old, new;

	(void)state;
	user_init(&old, r, 100, 1, 2);
	assert_true(take(&old, 1, S));
	assert_true(take(&old, 1, S));
	for (unsigned i = 0; i < 600; i++) {
		user_init(&new, r, 100, 2 + i, 2);
		user_close(&old);
		user_init(&old, r, 100, 2 + i, 2);
		user_close(&new);
	}
	assert_false(take(&old, 1, S));
	assert_int_equal(left(&old, 1, S + 3600 * S), 2);
	user_close(&old);
	table_registry_free(r);
}

/*----------------------------------------------------------------- reloads */

struct replay {
	struct table_registry *registry;
	struct user user[2];
	unsigned at, decisions; /* user[at] is open, if any */
};

static void replay_end(struct replay *r)
{
	if (r->registry == NULL)
		return;
	user_close(&r->user[r->at]);
	table_registry_free(r->registry);
	r->registry = NULL;
}

static struct quota_rule rule_of_line(const char *text)
{
	struct quota_rule r = { .algorithm = TOKEN_BUCKET };
	uint64_t count, period, burst;
	char kind[8];

	if (sscanf(text, "%7[a-z] %" SCNu64 " %" SCNu64, kind, &count, &period) == 3) {
		r.algorithm = strcmp(kind, "fixed") == 0 ? FIXED_WINDOW : SLIDING_WINDOW;
		assert_null(
		    window_rule_init(&r.window, count, period, r.algorithm == SLIDING_WINDOW));
		return r;
	}
	assert_int_equal(sscanf(text, "%" SCNu64 " %" SCNu64 " %" SCNu64, &count, &period, &burst),
			 3);
	assert_null(gcra_rule_init(&r.bucket, count, period, burst));
	return r;
}

static bool replay_policy(struct replay *r, const char *line)
{
	int at = 0;

	if (strncmp(line, "open ", 5) == 0) {
		replay_end(r);
		r->registry = registry_new();
		user_open_rule(&r->user[r->at], r->registry, 100, rule_of_line(line + 5));
		return true;
	}
	if (sscanf(line, "reload %" SCNu64 " %n", &now_ns, &at) != 1)
		return false;
	user_open_rule(&r->user[!r->at], r->registry, 100, rule_of_line(line + at));
	user_close(&r->user[r->at]);
	r->at = !r->at;
	return true;
}

static void replay_decision(struct replay *r, const char *line, unsigned number)
{
	uint64_t now, cost, wait, remaining;
	struct quota_view view;
	char verdict[8];
	int n = sscanf(line, "%" SCNu64 " %" SCNu64 " -> %7s %" SCNu64 " %" SCNu64, &now, &cost,
		       verdict, &wait, &remaining);
	bool ok;

	if (n < 4)
		fail_msg("line %u is no vector: %s", number, line);
	ok = take_of(&r->user[r->at], 1, now, cost, &view);
	if (ok != (strcmp(verdict, "allow") == 0) || view.wait_ns != wait ||
	    (n == 5 && view.remaining != remaining))
		fail_msg("line %u: %s %" PRIu64 " %" PRIu64 ", expected %s", number,
			 ok ? "allow" : "deny", view.wait_ns, view.remaining, line);
	r->decisions++;
}

static void test_vectors(void **state)
{
	FILE *f = fopen(TESTS_DIR "/vectors/reload.txt", "r");
	struct replay r = { .at = 0 };
	char line[256];

	(void)state;
	assert_non_null(f);
	for (unsigned number = 1; fgets(line, sizeof(line), f) != NULL; number++)
		if (line[0] != '#' && line[0] != '\n' && !replay_policy(&r, line))
			replay_decision(&r, line, number);
	fclose(f);
	replay_end(&r);
	assert_in_range(r.decisions, 40, 1000);
}

/* One reload a second, of rate and size, to 3/h and 1/h in turns; a bucket of 3 that was emptied at
 * first has 5/9 of a token after 1000 of them, at a third of the rate: asked or not makes no
 * difference but of rounding. */
static void reload_often(unsigned ask_every)
{
	struct table_registry *r = registry_new();
	struct quota_view view;
	struct user u[2];

	user_init(&u[0], r, 1000, 3, 3);
	assert_true(take_of(&u[0], 1, 0, 3, &view));
	for (unsigned i = 1; i <= 1000; i++) {
		now_ns = i * S;
		user_init(&u[i % 2], r, 1000 + i / 300 * 100, i % 2 == 0 ? 3 : 1, 3);
		user_close(&u[(i + 1) % 2]);
		if (i % ask_every == 0)
			assert_false(take(&u[i % 2], 1, now_ns));
	}
	assert_false(take_of(&u[0], 1, 1000 * S, 1, &view));
	assert_in_range(view.wait_ns, 1600 * S / 3, 1600 * S / 3 + 4000);
	assert_false(take(&u[0], 1, 1000 * S + view.wait_ns - 1));
	assert_true(take(&u[0], 1, 1000 * S + view.wait_ns));
	user_close(&u[0]);
	table_registry_free(r);
}

static void test_a_thousand_reloads(void **state)
{
	(void)state;
	reload_often(1);
	reload_often(7);
	reload_often(100);
	reload_often(100000);
}

/* What was opened and closed again was never in force. */
static void test_a_reload_that_fails(void **state)
{
	struct table_registry *r = registry_new();
	struct user u, failed;
	struct quota_view view;

	(void)state;
	user_init(&u, r, 100, 1, 1);
	assert_true(take(&u, 1, S));
	for (unsigned i = 0; i < 3000; i++) {
		user_init(&failed, r, 100, 1000 + i, 1000);
		user_close(&failed);
	}
	assert_false(take_of(&u, 1, 2 * S, 1, &view));
	assert_int_equal(view.wait_ns, 3599 * S);
	user_close(&u);
	table_registry_free(r);
}

/* It counts from its opening until its first take as in force only when nobody takes under the old
 * one meanwhile. */
static void test_a_policy_that_is_slow_to_come(void **state)
{
	struct table_registry *r = registry_new();
	struct quota_view view;
	struct user old, new;

	(void)state;
	user_open(&old, r, 100, 1, 100 * S, 10);
	assert_true(take_of(&old, 1, S, 10, &view));
	user_open(&new, r, 100, 10, 100 * S, 10);
	assert_false(take(&old, 1, 51 * S)); /* half a token is there */
	assert_false(take_of(&new, 1, 51 * S, 1, &view));
	assert_in_range(view.wait_ns, 5 * S, 5 * S + 1000);
	assert_true(take_of(&old, 1, 56 * S + 1000, 1, &view)); /* the last calls of the old one */
	assert_false(take_of(&old, 1, 56 * S + 1000, 1, &view));
	assert_in_range(view.wait_ns, 9 * S, 10 * S);
	user_close(&old);
	user_close(&new);
	table_registry_free(r);
}

/* Two policies a table of which nobody asks. */
static void test_reloads_without_a_take(void **state)
{
	struct table_registry *r = registry_new();
	struct quota_view view;
	struct user u[4];

	(void)state;
	user_open(&u[0], r, 100, 1, 3600 * S, 2);
	assert_true(take_of(&u[0], 1, S, 2, &view));
	user_open(&u[1], r, 100, 1, S, 2); /* fills one */
	user_close(&u[0]);
	now_ns = 2 * S;
	user_open(&u[2], r, 100, 1, 3600 * S, 2);
	user_close(&u[1]);
	assert_true(take_of(&u[2], 1, 1000 * S, 1, &view));
	assert_false(take_of(&u[2], 1, 1000 * S, 1, &view));
	assert_int_equal(view.wait_ns, 2602 * S);
	user_close(&u[2]);
	table_registry_free(r);
}

/* A rule of its own for some keys comes, changes and goes: idle keys change over in time. */
static void test_rules_of_some_keys(void **state)
{
	struct table_registry *r = registry_new();
	struct table_use use[3];
	struct table_rule first[1], second[2], third[2];
	struct quota_view view;

	(void)state;
	rules_init(first, 1, 10); /* 1/s */
	rules_init(second, 2, 10);
	rules_init(third, 2, 10);
	assert_null(gcra_rule_init(&second[1].rule.bucket, 1, 3600 * S, 10));
	assert_null(gcra_rule_init(&third[1].rule.bucket, 1, 60 * S, 10));
	for (int i = 0; i < 3; i++)
		assert_true(table_get(r, &id_a, 100, &use[i]));
	assert_true(table_rules_get(&use[0], first, 1));
	assert_true(table_take(use[0].table, &first[0].tag, key_of(1), S, 10, &view));
	assert_true(table_take(use[0].table, &first[0].tag, key_of(2), S, 10, &view));
	now_ns = S;
	assert_true(table_rules_get(&use[1], second, 2));
	assert_false(table_take(use[1].table, &second[1].tag, key_of(1), 11 * S, 1, &view));
	assert_int_equal(view.wait_ns, 3590 * S);
	now_ns = 361 * S; /* a tenth of a token later */
	assert_true(table_rules_get(&use[2], third, 2));
	assert_false(table_take(use[2].table, &third[1].tag, key_of(1), 361 * S, 1, &view));
	assert_in_range(view.wait_ns, 54 * S, 54 * S + 1000);
	assert_true(table_take(use[2].table, &third[0].tag, key_of(2), 361 * S, 10, &view));
	for (int i = 0; i < 3; i++)
		table_put(r, &use[i]);
	table_registry_free(r);
}

/*------------------------------------------------------------------- sizes */

static void test_sizes_change_and_keys_stay(void **state)
{
	static const uint32_t sizes[] = {
		1000, 5000, 200, 200000, 1, 3000, 4000, 500, 600, 700, 800
	};
	struct table_registry *r = registry_new();
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

static void test_what_was_taken_before_a_change_of_size_comes_back(void **state)
{
	struct table_registry *r = registry_new();
	struct user old, new;

	(void)state;
	user_init(&old, r, 1000, 1, 2);
	assert_true(take(&old, 1, S));
	assert_true(take(&old, 1, S));
	user_init(&new, r, 2000, 1, 2);
	table_give(new.use.table, old.rule.tag, key_of(1), 0, 1);
	assert_int_equal(left(&new, 1, S), 1);
	user_close(&old);
	user_close(&new);
	table_registry_free(r);
}

/* When the debts of the old array are over, it goes, and the size changes freely. */
static void test_thousand_sizes(void **state)
{
	struct table_registry *r = registry_new();
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

static uint64_t keys_of(const struct user *u, uint64_t now)
{
	uint64_t keys, evictions;

	now_ns = now;
	table_gauge(u->use.table, &keys, &evictions);
	return keys;
}

static void test_gauge_is_exact(void **state)
{
	struct table_registry *r = registry_new();
	struct user u, larger;

	(void)state;
	user_init(&u, r, 1000000, 1, 1);
	assert_int_equal(keys_of(&u, S), 0);
	for (uint64_t n = 1; n <= 1000; n++) {
		assert_true(take(&u, n, S));
		if (n % 100 == 1)
			assert_int_equal(keys_of(&u, S), n);
	}
	assert_true(take(&u, 2000, 2 * S));
	assert_int_equal(keys_of(&u, 2 * S), 1001);
	user_init(&larger, r, 2000000, 1, 1); /* keys come over when they take, and are one */
	user_close(&u);
	assert_int_equal(keys_of(&larger, 2 * S), 1001);
	assert_false(take(&larger, 2000, 3 * S));
	assert_true(take(&larger, 1, 3601 * S));
	assert_int_equal(keys_of(&larger, 3601 * S), 2);
	assert_int_equal(keys_of(&larger, 3602 * S), 1); /* nobody asks, but time goes on */
	assert_int_equal(keys_of(&larger, 7201 * S), 0);
	user_close(&larger);
	table_registry_free(r);
}

static void test_gauge_and_evictions(void **state)
{
	struct table_registry *r = registry_new();
	uint64_t keys, evictions, passed = 0;
	struct user u;

	(void)state;
	user_init(&u, r, 1000000, 1, 1);
	for (uint64_t n = 0; n < 500000; n++)
		passed += take(&u, n, S);
	assert_in_range(passed, 450000, 500000); /* a floor may refuse a new key */
	table_gauge(u.use.table, &keys, &evictions);
	passed -= evictions;
	assert_in_range(keys, passed - passed / 100, passed + passed / 100); /* not all are counted */
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
		for (int i = 0; i < 50; i++) {
			struct quota_view view;
			uint16_t tag = u->rule.tag;

			w->passed += table_take(u->use.table, &tag, key_of(1), S, 1, &view);
		}
	}
	return NULL;
}

/* The same share whatever the rule; the size changes too.  At most one take per thread and change
 * of size is lost. */
static void test_threads_while_reloading(void **state)
{
	struct table_registry *r = registry_new();
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
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_a_thousand_reloads),
		cmocka_unit_test(test_a_reload_that_fails),
		cmocka_unit_test(test_a_policy_that_is_slow_to_come),
		cmocka_unit_test(test_reloads_without_a_take),
		cmocka_unit_test(test_rules_of_some_keys),
		cmocka_unit_test(test_sizes_change_and_keys_stay),
		cmocka_unit_test(test_what_was_taken_before_a_change_of_size_comes_back),
		cmocka_unit_test(test_thousand_sizes),
		cmocka_unit_test(test_gauge_is_exact),
		cmocka_unit_test(test_gauge_and_evictions),
		cmocka_unit_test(test_threads_while_reloading),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
