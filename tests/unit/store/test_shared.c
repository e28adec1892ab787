/* The shared limits of a process: calls on the one side, a carrier on the other. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "store/shared.h"

static struct shared_limits *shared;
static _Atomic unsigned wakes, settlings; /* any thread says so */
static uint64_t now;

struct asked {
	struct shared_ask ask;
	int answer;
};

static void on_wake(void *owner)
{
	(void)owner;
	wakes++;
}

static void on_settled(void *owner)
{
	(void)owner;
	settlings++;
}

static int setup(void **state)
{
	struct shared_options o = { .space = "shop",
				    .salt = SLICE("salt"),
				    .sidecar = "side1",
				    .now_ns = 1000 * CLOCK_S,
				    .random = 3,
				    .wake = on_wake,
				    .settled = on_settled };

	(void)state;
	now = o.now_ns;
	wakes = settlings = 0;
	shared = shared_new(&o);
	assert_non_null(shared);
	shared_up(shared, now);
	return 0;
}

static struct shared_rule rule_of(uint64_t count, uint64_t burst)
{
	return (struct shared_rule){ .kind = SHARED_BUCKET,
				     .overshoot_ppm = 50000,
				     .parked_max = 4,
				     .count = count,
				     .period_us = 1000000,
				     .burst = burst };
}

static struct shared_policy *policy_of(const char *name, struct shared_rule r, uint32_t max_keys)
{
	const char *why;
	struct shared_policy *p = shared_policy_get(shared, name, &r, max_keys, &why);

	if (p == NULL)
		fail_msg("%s", why);
	return p;
}

static void on_settle(struct lease_ask *a, enum lease_answer answer)
{
	struct asked *asked = (struct asked *)(void *)a;

	shared_settled(&asked->ask, answer);
	asked->answer = (int)answer;
}

static enum lease_answer admit(struct asked *a, struct shared_policy *p, uint64_t key)
{
	struct slice part = SLICE("10.1.2.3");
	struct shared_want want = {
		.policy = p, .key = key, .part = &part, .n_parts = 1, .cost = 1
	};

	*a = (struct asked){ .ask.ask.settle = on_settle, .answer = -1 };
	return shared_admit(shared, now, &want, 1, &a->ask);
}

static bool look(struct shared_policy *p, uint64_t key, struct shared_view *view)
{
	struct shared_want want = { .policy = p, .key = key, .cost = 1 };

	return shared_look(shared, now, &want, 1, view);
}

static void answer(struct shared_key *k, uint64_t granted)
{
	struct sync_reply r = { .granted = granted, .left = 7, .reset_us = 300000 };

	assert_non_null(k);
	shared_reply(shared, now, k, &r);
}

static void test_rules_that_cannot_be_shared(void **state)
{
	struct shared_rule r = rule_of(0, 1);
	const char *why;

	(void)state;
	assert_null(shared_policy_get(shared, "p", &r, 10, &why));
	assert_non_null(why);
	r = rule_of(1, UINT64_C(1) << 52);
	assert_null(shared_policy_get(shared, "p", &r, 10, &why));
	r.kind = SHARED_SLIDING;
	r.period_us = UINT64_C(1) << 48;
	assert_null(shared_policy_get(shared, "p", &r, 10, &why));
	shared_free(shared);
}

static void test_the_carrier_is_woken_once(void **state)
{
	struct shared_policy *p = policy_of("p", rule_of(100, 100), 10);
	struct script_call call;
	struct shared_key *k;
	struct asked a, b;

	(void)state;
	assert_int_equal(admit(&a, p, 1), LEASE_ADMIT);
	assert_int_equal(admit(&b, p, 2), LEASE_ADMIT);
	assert_int_equal(wakes, 1);
	k = shared_next(shared, now, &call);
	assert_ptr_equal(call.script, &script_bucket);
	answer(k, 5);
	answer(shared_next(shared, now, &call), 5);
	assert_null(shared_next(shared, now, &call));
	assert_int_equal(wakes, 1);
	assert_int_equal(settlings, 0);
	for (unsigned i = 0; i < 6; i++) /* what is held, and on credit */
		assert_int_equal(admit(&a, p, 1), LEASE_ADMIT);
	assert_int_equal(wakes, 2);
	answer(shared_next(shared, now, &call), 0);
	shared_policy_put(shared, p);
	shared_free(shared);
}

static void test_waiting_leaving_and_being_late(void **state)
{
	struct shared_rule r = rule_of(10, 10);
	struct shared_policy *p;
	struct asked a[4];
	struct script_call call;
	struct shared_key *k;
	enum lease_answer answered;

	(void)state;
	r.strict = true;
	p = policy_of("p", r, 10);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(admit(&a[i], p, 1), LEASE_PARK);
	assert_true(shared_leave(shared, &a[0].ask));
	assert_true(shared_late(shared, now, &a[1].ask, &answered));
	assert_int_equal(answered, LEASE_ADMIT);
	k = shared_next(shared, now, &call);
	answer(k, 2);
	assert_int_equal(settlings, 1);
	assert_int_equal(a[0].answer, -1);
	assert_int_equal(a[1].answer, -1);
	assert_int_equal(a[2].answer, LEASE_ADMIT);
	assert_int_equal(a[3].answer, LEASE_ADMIT);
	assert_false(shared_leave(shared, &a[2].ask));
	assert_false(shared_late(shared, now, &a[3].ask, &answered));
	shared_return(shared, now, &a[2].ask); /* it had gone */
	answer(shared_next(shared, now, &call), 0);
	assert_null(shared_next(shared, now, &call));
	shared_policy_put(shared, p);
	shared_free(shared);
}

/* What one limit grants is kept for a call that waits for the other as well, and goes back when that is gone. */
static void test_two_limits(void **state)
{
	struct shared_rule r = rule_of(10, 10);
	struct shared_policy *p, *q;
	struct script_call call;
	struct slice part = SLICE("k");
	struct asked a = { .ask.ask.settle = on_settle, .answer = -1 }, b = a;
	struct shared_want want[2];
	struct shared_key *k[2];

	(void)state;
	r.strict = true;
	p = policy_of("p", r, 10);
	q = policy_of("q", r, 10);
	for (unsigned i = 0; i < 2; i++)
		want[i] = (struct shared_want){
			.policy = i == 0 ? p : q, .key = 1, .part = &part, .n_parts = 1, .cost = 1
		};
	assert_int_equal(shared_admit(shared, now, want, 2, &a.ask), LEASE_PARK);
	k[0] = shared_next(shared, now, &call);
	k[1] = shared_next(shared, now, &call);
	answer(k[0], 1);
	assert_int_equal(a.answer, -1);
	assert_null(shared_next(shared, now, &call));
	answer(k[1], 1);
	assert_int_equal(a.answer, LEASE_ADMIT);
	assert_null(shared_next(shared, now, &call));
	assert_int_equal(shared_admit(shared, now, want, 2, &b.ask), LEASE_PARK);
	k[0] = shared_next(shared, now, &call);
	k[1] = shared_next(shared, now, &call);
	answer(k[0], 1);
	assert_true(shared_leave(shared, &b.ask));
	assert_ptr_equal(shared_next(shared, now, &call), k[0]); /* gives back */
	answer(k[0], 0);
	answer(k[1], 0);
	/* what is told is of the limit with the least left, or of the one that refused */
	now += CLOCK_S;
	assert_int_equal(shared_admit(shared, now, want, 2, &b.ask), LEASE_PARK);
	k[0] = shared_next(shared, now, &call);
	k[1] = shared_next(shared, now, &call);
	shared_reply(shared, now, k[0],
		     &(struct sync_reply){ .granted = 1, .left = 5, .reset_us = 400000 });
	shared_reply(shared, now, k[1],
		     &(struct sync_reply){ .granted = 1, .left = 4, .reset_us = 500000 });
	assert_int_equal(b.answer, LEASE_ADMIT);
	assert_int_equal(b.ask.view.want, 1);
	assert_int_equal(b.ask.view.left, 5);
	assert_int_equal(b.ask.view.reset_ns, 500 * CLOCK_MS);
	b.answer = -1;
	assert_int_equal(shared_admit(shared, now, want, 2, &b.ask), LEASE_PARK);
	k[0] = shared_next(shared, now, &call);
	k[1] = shared_next(shared, now, &call);
	shared_reply(shared, now, k[0],
		     &(struct sync_reply){ .left = 6, .retry_us = 200000, .reset_us = 400000 });
	assert_int_equal(b.answer, LEASE_DENY);
	assert_int_equal(b.ask.view.want, 0);
	assert_int_equal(b.ask.view.left, 6);
	assert_in_range(b.ask.view.retry_ns, 200 * CLOCK_MS, 250 * CLOCK_MS);
	answer(k[1], 0);
	assert_null(shared_next(shared, now, &call));
	shared_policy_put(shared, p);
	shared_policy_put(shared, q);
	shared_free(shared);
}

/* Nobody is asked to wait who cannot; and one who looks changes nothing. */
static void test_at_once(void **state)
{
	struct shared_rule r = rule_of(10, 10);
	struct shared_policy_gauge g;
	struct shared_view view;
	struct shared_policy *p;
	struct script_call call;
	struct slice part = SLICE("k");
	struct asked a = { .ask.ask.settle = on_settle, .answer = -1 };
	struct shared_want want;

	(void)state;
	r.strict = true;
	p = policy_of("p", r, 10);
	want =
	    (struct shared_want){ .policy = p, .key = 1, .part = &part, .n_parts = 1, .cost = 1 };
	assert_false(look(p, 1, &view));
	assert_int_equal(view.left, 10);
	assert_int_equal(view.retry_ns, 0);
	a.ask.ask.at_once = true;
	assert_int_equal(shared_admit(shared, now, &want, 1, &a.ask), LEASE_ADMIT);
	assert_int_equal(a.answer, -1);
	answer(shared_next(shared, now, &call), 0);
	want.cost = 9; /* there are 7 */
	assert_int_equal(shared_admit(shared, now, &want, 1, &a.ask), LEASE_DENY);
	assert_int_equal(a.ask.ask.retry_ns, 200 * CLOCK_MS);
	assert_null(shared_next(shared, now, &call));
	shared_policy_gauge(shared, p, &g);
	assert_int_equal(g.fallbacks, 0); /* Redis is there */
	for (unsigned i = 0; i < 3; i++)
		assert_true(look(p, 1, &view));
	want.cost = 11;
	shared_look(shared, now, &want, 1, &view);
	assert_true(view.retry_ns == SYNC_NEVER);
	assert_true(look(p, 1, &view));
	assert_int_equal(view.retry_ns, 0);
	shared_down(shared, now);
	for (unsigned i = 0; i < 3; i++)
		assert_true(look(p, 1, &view));
	shared_policy_put(shared, p);
	shared_free(shared);
}

/* H4. */
static void test_keys_are_bounded(void **state)
{
	struct shared_policy *p = policy_of("p", rule_of(100, 100), 2);
	struct asked a, gone;
	struct script_call call;
	struct shared_gauge g;
	struct shared_view view;

	(void)state;
	assert_int_equal(admit(&gone, p, 1), LEASE_ADMIT);
	assert_int_equal(admit(&a, p, 2), LEASE_ADMIT);
	assert_int_equal(admit(&a, p, 3), LEASE_DENY); /* both owe */
	assert_int_equal(a.ask.view.retry_ns, CLOCK_S);
	answer(shared_next(shared, now, &call), 3);
	assert_int_equal(admit(&a, p, 3), LEASE_ADMIT); /* in place of 1 */
	assert_false(look(p, 1, &view));
	shared_return(shared, now, &gone.ask); /* H6 */
	assert_true(admit(&a, p, 2) == LEASE_ADMIT);
	shared_gauge(shared, &g);
	assert_int_equal(g.keys, 2);
	answer(shared_next(shared, now, &call), 4);
	assert_true(look(p, 2, &view));
	assert_int_equal(view.reset_ns, 300 * CLOCK_MS);
	answer(shared_next(shared, now, &call), 0);
	while (shared_next(shared, now, &call) != NULL)
		fail();
	shared_policy_put(shared, p);
	shared_free(shared);
}

/* Without Redis a key is kept as long as something is to be charged, and no longer. */
static void test_keys_without_redis(void **state)
{
	struct shared_policy *p = policy_of("p", rule_of(100, 100), 2);
	struct shared_policy_gauge g;
	struct asked a;

	(void)state;
	shared_down(shared, now);
	assert_int_equal(admit(&a, p, 1), LEASE_ADMIT);
	assert_int_equal(admit(&a, p, 2), LEASE_ADMIT);
	assert_int_equal(admit(&a, p, 2), LEASE_DENY);
	assert_int_equal(admit(&a, p, 3), LEASE_DENY); /* there is no room: both owe */
	assert_true(a.ask.unavailable);
	now += CLOCK_S;
	for (uint64_t key = 3; key < 50; key++, now += CLOCK_S)
		assert_int_equal(admit(&a, p, key), LEASE_ADMIT);
	shared_policy_gauge(shared, p, &g);
	assert_int_equal(g.keys, 2);
	assert_int_equal(g.evictions, 47);
	shared_policy_put(shared, p);
	shared_free(shared);
}

/* H5. */
static void test_reloads(void **state)
{
	struct shared_policy *p = policy_of("p", rule_of(100, 100), 10), *q;
	struct shared_rule r = rule_of(100, 100);
	struct script_call call;
	struct shared_view view;
	struct asked a;

	(void)state;
	admit(&a, p, 1);
	answer(shared_next(shared, now, &call), 3);
	q = policy_of("p", rule_of(5, 5), 10); /* another limit */
	assert_ptr_equal(p, q);
	assert_true(look(q, 1, &view));
	assert_true(view.left > 5); /* until the other is in force */
	r = rule_of(5, 5);
	shared_policy_enforce(shared, q, &r);
	shared_policy_put(shared, p);
	assert_true(look(q, 1, &view));
	assert_true(view.left <= 5);
	r = rule_of(100, 100);
	r.kind = SHARED_SLIDING; /* another way of counting */
	p = policy_of("p", r, 10);
	assert_ptr_not_equal(p, q);
	assert_false(look(p, 1, &view));
	shared_policy_put(shared, p);
	shared_policy_put(shared, q);
	shared_free(shared);
}

static void test_a_policy_goes_while_a_sync_is_under_way(void **state)
{
	struct shared_policy *p = policy_of("p", rule_of(100, 100), 10);
	struct shared_key *k;
	struct script_call call;
	struct asked a;

	(void)state;
	admit(&a, p, 1);
	admit(&a, p, 2);
	k = shared_next(shared, now, &call);
	shared_policy_put(shared, p);
	assert_null(shared_next(shared, now, &call));
	shared_lost(shared, now, k);
	shared_free(shared);
}

static void test_peers(void **state)
{
	struct shared_gauge g;

	(void)state;
	shared_set_peers(shared, now, 4);
	shared_gauge(shared, &g);
	assert_int_equal(g.peers, 4);
	shared_set_peers(shared, now + CLOCK_S, 2);
	shared_set_peers(shared, now + 60 * CLOCK_S, 2);
	shared_gauge(shared, &g);
	assert_int_equal(g.peers, 4);
	shared_set_peers(shared, now + 62 * CLOCK_S, 2);
	shared_gauge(shared, &g);
	assert_int_equal(g.peers, 2);
	shared_set_peers(shared, now + 63 * CLOCK_S, 5);
	shared_peers_left(shared, now + 64 * CLOCK_S, 1);
	shared_set_peers(shared, now + 64 * CLOCK_S, 3);
	shared_gauge(shared, &g);
	assert_int_equal(g.peers, 4); /* one of two has said so */
	shared_peers_left(shared, now + 65 * CLOCK_S, 1000);
	shared_set_peers(shared, now + 65 * CLOCK_S, 2);
	shared_gauge(shared, &g);
	assert_int_equal(g.peers, 2);
	shared_set_peers(shared, now + 66 * CLOCK_S, 0);
	shared_gauge(shared, &g);
	assert_int_equal(g.peers, 2);
	shared_free(shared);
}

/*------------------------------------------------------------------- permits */

struct permit {
	struct shared_permit permit;
	int answer;
};

static void on_permit(struct permits_ask *a, enum lease_answer answered)
{
	((struct permit *)(void *)a)->answer = (int)answered;
}

static enum lease_answer acquire(struct permit *a, struct shared_policy *p, uint64_t key)
{
	struct slice part = SLICE("model");
	struct shared_want want = { .policy = p, .key = key, .part = &part, .n_parts = 1 };

	*a = (struct permit){ .permit.ask.settle = on_permit, .answer = -1 };
	return shared_acquire(shared, now, &want, &a->permit);
}

static void grant(struct shared_key *k, uint64_t granted)
{
	struct sync_reply r = { .granted = granted };

	assert_non_null(k);
	shared_reply(shared, now, k, &r);
}

static void test_permits(void **state)
{
	struct shared_rule r = {
		.kind = SHARED_PERMITS, .count = 8, .period_us = 3000000, .parked_max = 4
	};
	struct shared_policy *p = policy_of("p", r, 2);
	struct permit a[4];
	struct script_call call;
	struct shared_key *k;
	enum lease_answer answered;
	const char *why;

	(void)state;
	assert_int_equal(acquire(&a[0], p, 1), LEASE_PARK);
	assert_int_equal(acquire(&a[1], p, 1), LEASE_PARK);
	assert_int_equal(acquire(&a[2], p, 1), LEASE_PARK);
	assert_true(shared_permit_leave(shared, &a[2].permit));
	k = shared_next(shared, now, &call);
	assert_ptr_equal(call.script, &script_permits);
	grant(k, 2);
	assert_int_equal(settlings, 1);
	assert_int_equal(a[0].answer, LEASE_ADMIT);
	assert_int_equal(a[1].answer, LEASE_ADMIT);
	assert_false(shared_permit_late(shared, now, &a[1].permit, &answered));
	/* holders keep their key */
	assert_int_equal(acquire(&a[2], p, 2), LEASE_PARK);
	while ((k = shared_next(shared, now, &call)) != NULL)
		grant(k, 2);
	assert_int_equal(acquire(&a[3], p, 3), LEASE_DENY);
	/* a reload changes how many, and for how long, not who has them */
	r.count = 4;
	r.period_us = 5000000;
	assert_ptr_equal(policy_of("p", r, 2), p);
	shared_policy_put(shared, p);
	now += CLOCK_S;
	shared_tick(shared, now);
	grant(shared_next(shared, now, &call), 2);
	grant(shared_next(shared, now, &call), 1);
	for (unsigned i = 0; i < 3; i++)
		shared_release(shared, now, &a[i].permit);
	while ((k = shared_next(shared, now, &call)) != NULL)
		grant(k, 0);
	assert_int_equal(acquire(&a[3], p, 3), LEASE_PARK); /* there is room again */
	assert_true(shared_permit_late(shared, now, &a[3].permit, &answered));
	assert_int_equal(answered, LEASE_ADMIT);
	shared_release(shared, now, &a[3].permit);
	shared_policy_put(shared, p);
	r.period_us = 1000000;
	assert_null(shared_policy_get(shared, "p", &r, 2, &why));
	shared_free(shared);
}

/*------------------------------------------------------------------- threads */

enum { THREADS = 2, ROUNDS = 20000 };

static struct shared_policy *common;
static _Atomic unsigned granted, admitted, running;
static pthread_t thread[THREADS];

static void on_settle_anywhere(struct lease_ask *a, enum lease_answer answered)
{
	atomic_store((_Atomic int *)(void *)&((struct asked *)(void *)a)->answer, (int)answered);
}

static void begin_threads(void *(*run)(void *))
{
	atomic_store(&running, THREADS);
	for (unsigned i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, run, NULL), 0);
}

static void end_threads(void)
{
	for (unsigned i = 0; i < THREADS; i++)
		pthread_join(thread[i], NULL);
}

static void *ask_all_the_time(void *arg)
{
	struct slice part = SLICE("k");
	struct shared_want want = {
		.policy = common, .key = 1, .part = &part, .n_parts = 1, .cost = 1
	};

	(void)arg;
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct asked a = { .ask.ask.settle = on_settle_anywhere, .answer = -1 };
		enum lease_answer got = shared_admit(shared, now, &want, 1, &a.ask);

		if (got == LEASE_PARK && !shared_leave(shared, &a.ask))
			got = (enum lease_answer)atomic_load((_Atomic int *)(void *)&a.answer);
		if (got == LEASE_ADMIT)
			atomic_fetch_add(&admitted, 1);
	}
	atomic_fetch_sub(&running, 1);
	return NULL;
}

/* What is granted is what is admitted, held, owed or given back. */
static void test_many_threads(void **state)
{
	struct shared_rule r = rule_of(1000000, 1000000);
	struct script_call call;
	struct shared_key *k;

	(void)state;
	common = policy_of("p", r, 10);
	begin_threads(ask_all_the_time);
	while (atomic_load(&running) > 0) {
		k = shared_next(shared, now, &call);
		if (k != NULL) {
			struct sync_reply reply = { .granted = 50, .left = 1000 };

			atomic_fetch_add(&granted, 50);
			shared_reply(shared, now, k, &reply);
		}
	}
	end_threads();
	assert_true(atomic_load(&admitted) > 0);
	while ((k = shared_next(shared, now, &call)) != NULL)
		answer(k, 0);
	shared_policy_put(shared, common);
	shared_free(shared);
}

static void *take_permits(void *arg)
{
	struct slice part = SLICE("k");
	struct shared_want want = { .policy = common, .key = 1, .part = &part, .n_parts = 1 };

	(void)arg;
	for (unsigned i = 0; i < ROUNDS; i++) {
		struct shared_permit a = { .at_once = true };

		if (shared_acquire(shared, now, &want, &a) == LEASE_ADMIT)
			shared_release(shared, now, &a);
	}
	atomic_fetch_sub(&running, 1);
	return NULL;
}

/* A worker takes up another cap while others still go by the one before. */
static void test_many_threads_and_another_cap(void **state)
{
	struct shared_rule r = { .kind = SHARED_PERMITS, .count = 8, .period_us = 3000000 };
	struct script_call call;
	struct shared_key *k;

	(void)state;
	common = policy_of("p", r, 10);
	begin_threads(take_permits);
	while (atomic_load(&running) > 0) {
		r.count = r.count == 8 ? 9 : 8;
		shared_policy_enforce(shared, common, &r);
		k = shared_next(shared, now, &call);
		if (k != NULL)
			grant(k, 2);
	}
	end_threads();
	while ((k = shared_next(shared, now, &call)) != NULL)
		grant(k, 0);
	shared_policy_put(shared, common);
	shared_free(shared);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_rules_that_cannot_be_shared, setup),
		cmocka_unit_test_setup(test_the_carrier_is_woken_once, setup),
		cmocka_unit_test_setup(test_waiting_leaving_and_being_late, setup),
		cmocka_unit_test_setup(test_two_limits, setup),
		cmocka_unit_test_setup(test_at_once, setup),
		cmocka_unit_test_setup(test_keys_are_bounded, setup),
		cmocka_unit_test_setup(test_keys_without_redis, setup),
		cmocka_unit_test_setup(test_reloads, setup),
		cmocka_unit_test_setup(test_a_policy_goes_while_a_sync_is_under_way, setup),
		cmocka_unit_test_setup(test_peers, setup),
		cmocka_unit_test_setup(test_permits, setup),
		cmocka_unit_test_setup(test_many_threads, setup),
		cmocka_unit_test_setup(test_many_threads_and_another_cap, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
