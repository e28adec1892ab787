/* One sidecar's leases, law by law. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "store/lease.h"

enum { CALLS = 64 };

struct rig {
	struct lease_world world;
	struct lease_rule rule, rule2;
	struct lease lease, lease2;
	struct lease_part part[CALLS][2];
	struct lease_ask call[CALLS];
	int answer[CALLS]; /* enum lease_answer, or -1 */
	struct sync sync;
};

static struct rig rig;

static void settled(struct lease_ask *a, enum lease_answer answer)
{
	rig.answer[a - rig.call] = (int)answer;
}

static int setup(void **state)
{
	(void)state;
	rig = (struct rig){ .rule = { .burst = 100,
				      .count = 100,
				      .period_ns = CLOCK_S,
				      .overshoot_ppm = 50000,
				      .parked_max = 8 } };
	rig.rule2 = rig.rule;
	lease_world_init(&rig.world, 1000 * CLOCK_S, 7);
	lease_init(&rig.lease, &rig.world, &rig.rule);
	lease_init(&rig.lease2, &rig.world, &rig.rule2);
	return 0;
}

static void pass(uint64_t ns)
{
	rig.world.now_ns += ns;
}

static void prepare(unsigned i, unsigned n, uint64_t cost)
{
	rig.part[i][0] = (struct lease_part){ .lease = &rig.lease, .cost = cost };
	rig.part[i][1] = (struct lease_part){ .lease = &rig.lease2, .cost = cost };
	rig.call[i] = (struct lease_ask){ .n = n, .part = rig.part[i], .settle = settled };
	rig.answer[i] = -1;
}

static enum lease_answer admit(unsigned i, uint64_t cost)
{
	prepare(i, 1, cost);
	return lease_admit(&rig.world, &rig.call[i]);
}

static enum lease_answer admit_at_once(unsigned i, uint64_t cost)
{
	prepare(i, 1, cost);
	rig.call[i].at_once = true;
	return lease_admit(&rig.world, &rig.call[i]);
}

static enum lease_answer admit_both(unsigned i, uint64_t cost)
{
	prepare(i, 2, cost);
	return lease_admit(&rig.world, &rig.call[i]);
}

static struct lease *next(void)
{
	return lease_next(&rig.world, &rig.sync);
}

static void answer(struct lease *l, uint64_t granted, uint64_t left, uint64_t retry_us)
{
	struct sync_reply r = { .granted = granted, .left = left, .retry_us = retry_us };

	lease_reply(l, &r);
}

static void be_strict(void)
{
	rig.rule.strict = rig.rule2.strict = true;
}

/*-------------------------------------------------------------------- shares */

static void test_shares(void **state)
{
	struct lease_rule r = {
		.burst = 100, .count = 100, .period_ns = CLOCK_S, .overshoot_ppm = 50000
	};
	struct lease_caps c = lease_caps_of(&r, 1);

	(void)state;
	assert_int_equal(c.hold + c.credit, 10); /* 5 % of 100 + 100 */
	assert_int_equal(c.credit, 2);
	c = lease_caps_of(&r, 10);
	assert_int_equal(c.hold, 0);
	assert_int_equal(c.credit, 1);
	c = lease_caps_of(&r, 11); /* less than a token: strict by itself */
	assert_int_equal(c.hold + c.credit, 0);
	r.kind = LEASE_WINDOW;
	c = lease_caps_of(&r, 1);
	assert_int_equal(c.hold + c.credit, 5);
	r.strict = true;
	assert_int_equal(lease_caps_of(&r, 1).credit, 0);
}

/*------------------------------------------------------------------- waiting */

static void test_strict_calls_wait_for_their_answer(void **state)
{
	(void)state;
	be_strict();
	assert_int_equal(admit(0, 1), LEASE_PARK);
	assert_ptr_equal(next(), &rig.lease);
	assert_int_equal(rig.sync.owed, 0);
	assert_int_equal(rig.sync.want, 1);
	assert_int_equal(admit(1, 1), LEASE_PARK);
	assert_int_equal(admit(2, 1), LEASE_PARK);
	assert_null(next()); /* one is under way */
	answer(&rig.lease, 1, 50, 0);
	assert_int_equal(rig.answer[0], LEASE_ADMIT);
	assert_int_equal(rig.answer[1], -1);
	assert_ptr_equal(next(), &rig.lease);
	assert_int_equal(rig.sync.want, 2);
	assert_int_equal(rig.sync.owed, 0);
	answer(&rig.lease, 1, 0, 7000);
	assert_int_equal(rig.answer[1], LEASE_ADMIT);
	assert_int_equal(rig.answer[2], LEASE_DENY);
	assert_in_range(rig.call[2].retry_ns, 50 * CLOCK_MS, 60 * CLOCK_MS);
	assert_null(next());
}

static void test_the_queue_is_bounded(void **state)
{
	(void)state;
	be_strict();
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(admit(i, 1), LEASE_PARK);
	/* beyond it each decides as without Redis: of a bucket with one token, at first */
	assert_int_equal(admit(8, 1), LEASE_ADMIT);
	assert_int_equal(admit(9, 1), LEASE_DENY);
	assert_int_equal(rig.call[9].retry_ns, 10 * CLOCK_MS);
	pass(10 * CLOCK_MS);
	assert_int_equal(lease_late(&rig.world, &rig.call[0]), LEASE_ADMIT);
	assert_int_equal(lease_late(&rig.world, &rig.call[1]), LEASE_DENY);
	lease_leave(&rig.call[2]);
	assert_int_equal(rig.lease.n_parked, 5);
	assert_int_equal(rig.lease.parked_cost, 5);
	for (unsigned i = 3; i < 8; i++)
		lease_leave(&rig.call[i]);
	lease_fini(&rig.lease);
}

/* What the gone had asked for is given back. */
static void test_calls_that_go_away_leave_their_tokens(void **state)
{
	(void)state;
	be_strict();
	admit(0, 3);
	assert_ptr_equal(next(), &rig.lease);
	lease_leave(&rig.call[0]);
	answer(&rig.lease, 3, 50, 0);
	assert_int_equal(rig.lease.balance, 0);
	assert_ptr_equal(next(), &rig.lease);
	assert_int_equal(rig.sync.owed, -3);
	assert_int_equal(rig.sync.want, 0);
	answer(&rig.lease, 0, 53, 0);
	assert_null(next());
	assert_true(lease_is_idle(&rig.lease));
}

static void test_a_large_call_is_not_overtaken(void **state)
{
	(void)state;
	assert_int_equal(admit(0, 90), LEASE_PARK);
	assert_int_equal(admit(1, 1), LEASE_PARK); /* there would be credit for it */
	assert_ptr_equal(next(), &rig.lease);
	assert_int_equal(rig.sync.least, 90);
	answer(&rig.lease, 0, 40, 500000);
	assert_int_equal(rig.answer[0], LEASE_DENY);
	assert_true(rig.call[0].retry_ns >= 500 * CLOCK_MS);
	assert_int_equal(rig.answer[1], -1); /* it wants less than was refused */
	assert_ptr_equal(next(), &rig.lease);
	assert_int_equal(rig.sync.least, 1);
	answer(&rig.lease, rig.sync.want, 39, 0);
	assert_int_equal(rig.answer[1], LEASE_ADMIT);
	/* more than there ever is does not even ask */
	assert_int_equal(admit(2, 101), LEASE_DENY);
	assert_true(rig.call[2].retry_ns == SYNC_NEVER);
}

/*------------------------------------------------------------ tokens, credit */

static void test_credit_is_bounded_and_charged(void **state)
{
	(void)state;
	assert_int_equal(admit(0, 1), LEASE_ADMIT);
	assert_int_equal(admit(1, 1), LEASE_ADMIT);
	assert_int_equal(admit(2, 1), LEASE_PARK); /* credit is 2 */
	assert_ptr_equal(next(), &rig.lease);
	assert_int_equal(rig.sync.owed, 2);
	assert_in_range(rig.sync.want, 2, 9);
	answer(&rig.lease, rig.sync.want, 80, 0);
	assert_int_equal(rig.answer[2], LEASE_ADMIT);
	assert_int_equal(rig.lease.balance, (int64_t)rig.sync.want - 1);
	assert_int_equal(admit(3, 1), LEASE_ADMIT);
}

static void test_no_credit_after_a_refusal(void **state)
{
	(void)state;
	admit(0, 1);
	assert_ptr_equal(next(), &rig.lease);
	answer(&rig.lease, 0, 0, 100000);
	assert_int_equal(admit(1, 1), LEASE_DENY); /* not asked for: it is known */
	assert_in_range(rig.call[1].retry_ns, 100 * CLOCK_MS, 120 * CLOCK_MS);
	assert_null(next());
	pass(120 * CLOCK_MS);
	assert_int_equal(admit(2, 1), LEASE_PARK);
	assert_ptr_equal(next(), &rig.lease);
	answer(&rig.lease, rig.sync.want, 0, 0);
	assert_int_equal(rig.answer[2], LEASE_ADMIT);
	rig.lease.balance = 0;
	assert_int_equal(admit(3, 1), LEASE_ADMIT);
}

/* A share of one token is all credit: nothing is asked for ahead, and so nothing is ever refused. */
static void test_no_credit_where_nothing_is_left(void **state)
{
	(void)state;
	rig.rule.burst = 20;
	rig.rule.count = 10;
	rig.rule.period_ns = 3600 * CLOCK_S;
	for (unsigned i = 0; i < 20; i++, pass(CLOCK_S)) {
		assert_int_equal(admit(i, 1), LEASE_ADMIT);
		assert_ptr_equal(next(), &rig.lease);
		assert_int_equal(rig.sync.owed, 1);
		assert_int_equal(rig.sync.want, 0);
		answer(&rig.lease, 0, 19 - i, 0);
	}
	assert_int_equal(admit(20, 1), LEASE_PARK);
	assert_ptr_equal(next(), &rig.lease);
	answer(&rig.lease, 0, 0, 340 * 1000000);
	assert_int_equal(rig.answer[20], LEASE_DENY);
	assert_int_equal(admit(21, 1), LEASE_DENY);
}

/* What one large call was refused, small ones are not; and larger ones are told how long it takes for them. */
static void test_a_refusal_is_of_its_cost(void **state)
{
	struct sync_reply r = { .left = 10, .retry_us = 500000, .reset_us = 900000 };

	(void)state;
	be_strict();
	assert_int_equal(admit(0, 60), LEASE_PARK);
	next();
	lease_reply(&rig.lease, &r);
	assert_int_equal(rig.answer[0], LEASE_DENY);
	assert_int_equal(admit(1, 60), LEASE_DENY);
	assert_in_range(rig.call[1].retry_ns, 500 * CLOCK_MS, 600 * CLOCK_MS);
	assert_int_equal(admit(2, 70), LEASE_DENY); /* 100/s */
	assert_in_range(rig.call[2].retry_ns, 600 * CLOCK_MS, 700 * CLOCK_MS);
	assert_int_equal(admit(3, 100), LEASE_DENY);
	assert_int_equal(rig.call[3].retry_ns, 900 * CLOCK_MS); /* all is there */
	assert_int_equal(admit(4, 10), LEASE_PARK);
	next();
	assert_int_equal(rig.sync.least, 10);
	answer(&rig.lease, 10, 0, 0);
	assert_int_equal(rig.answer[4], LEASE_ADMIT);
	assert_int_equal(admit(5, 60), LEASE_DENY); /* as before */
	assert_int_equal(admit(6, 1), LEASE_PARK);
	next();
	answer(&rig.lease, 0, 0, 10000);
	assert_int_equal(admit(7, 1), LEASE_DENY);
	assert_null(next());
}

/* They are charged, and nobody else is decided without Redis because of them. */
static void test_calls_that_cannot_wait(void **state)
{
	struct sync_reply r = { .left = 12, .reset_us = 880000 };

	(void)state;
	be_strict();
	rig.rule.on_error = LEASE_REFUSE;
	rig.world.peers = 4;
	assert_int_equal(admit_at_once(0, 1), LEASE_ADMIT); /* nobody knows better */
	assert_int_equal(admit_at_once(1, 25),
			 LEASE_DENY); /* more than a share, before that is charged */
	assert_int_equal(rig.call[1].retry_ns, CLOCK_MS);
	assert_int_equal(admit(2, 1), LEASE_PARK);
	assert_ptr_equal(next(), &rig.lease);
	assert_int_equal(rig.sync.owed, 1);
	assert_int_equal(rig.sync.want, 1);
	r.granted = 1;
	lease_reply(&rig.lease, &r);
	assert_int_equal(rig.answer[2], LEASE_ADMIT);
	for (unsigned i = 3; i < 6; i++)
		assert_int_equal(admit_at_once(i, 1), LEASE_ADMIT); /* 12 by 4 */
	assert_int_equal(admit_at_once(6, 1), LEASE_DENY);
	assert_ptr_equal(next(), &rig.lease);
	assert_int_equal(rig.sync.owed, 3);
	answer(&rig.lease, 0, 0, 0);
	assert_false(rig.lease.is_local);
	rig.rule.kind = LEASE_WINDOW;
	rig.lease.full_at_ns = rig.world.now_ns + CLOCK_S;
	assert_int_equal(admit_at_once(7, 1), LEASE_DENY);
	assert_null(next());
	pass(100 * CLOCK_MS);
	assert_int_equal(admit_at_once(8, 1), LEASE_DENY);
	assert_ptr_equal(next(), &rig.lease);
	assert_int_equal(rig.sync.owed, 0);
	answer(&rig.lease, 0, 10, 0);
	assert_int_equal(admit_at_once(9, 1), LEASE_ADMIT);
}

static void test_held_tokens_end(void **state)
{
	(void)state;
	admit(0, 1);
	next();
	answer(&rig.lease, 8, 80, 0);
	pass(CLOCK_S + 1);
	admit(1, 1); /* on credit again */
	assert_int_equal(rig.lease.balance, -1);
	assert_ptr_equal(next(), &rig.lease);
	assert_int_equal(rig.sync.owed, 1 - 8); /* and they go back */
	answer(&rig.lease, rig.sync.want, 80, 0);

	rig.rule.kind = LEASE_WINDOW; /* of which there may be another by now */
	rig.lease.balance = 5;
	pass(CLOCK_S + 1);
	admit(2, 1);
	next();
	assert_int_equal(rig.sync.owed, 1);
}

static void test_what_a_call_did_not_use_is_returned(void **state)
{
	(void)state;
	admit(0, 1);
	next();
	answer(&rig.lease, 8, 80, 0);
	assert_int_equal(rig.lease.balance, 8);
	admit(1, 1);
	lease_return(&rig.part[1][0]);
	assert_int_equal(rig.lease.balance, 8);
	lease_return(&rig.part[0][0]); /* one more than may be held */
	assert_int_equal(rig.lease.balance, 8);
	assert_int_equal(rig.lease.surplus, 1);
}

/* A thousand calls a second: tokens are asked for before they are needed. */
static void test_a_warm_key_never_waits(void **state)
{
	unsigned syncs = 0, waited = 0;
	uint64_t due = 0;
	struct lease *l = NULL;

	(void)state;
	rig.rule.burst = rig.rule.count = 4000;
	for (unsigned i = 0; i < 5000; i++) {
		pass(CLOCK_MS);
		if (l != NULL && rig.world.now_ns >= due) {
			answer(l, rig.sync.want, 1000, 0);
			l = NULL;
		}
		waited += admit(i % CALLS, 1) != LEASE_ADMIT;
		if (l == NULL && (l = next()) != NULL) {
			syncs++;
			due = rig.world.now_ns + CLOCK_MS;
		}
	}
	assert_int_equal(waited, 0);
	assert_in_range(syncs, 50, 250); /* 0.05 a call */
}

/* Some are held still, and no more came: who asks for more ahead waits as who was refused does. */
static void test_what_was_refused_ahead_is_not_asked_for_at_once(void **state)
{
	(void)state;
	rig.rule.burst = rig.rule.count = 1000;
	for (unsigned i = 0; i < 10; i++)
		assert_int_equal(admit(i, 1), LEASE_ADMIT);
	assert_ptr_equal(next(), &rig.lease);
	answer(&rig.lease, 12, 0, 20000);
	pass(70 * CLOCK_MS);
	for (unsigned i = 10; i < 21; i++)
		assert_int_equal(admit(i, 1), LEASE_ADMIT);
	assert_ptr_equal(next(), &rig.lease);
	answer(&rig.lease, 0, 0, 20000);
	assert_true(rig.lease.balance > 0);
	assert_null(next());
	assert_int_equal(admit(21, 1), LEASE_ADMIT);
	assert_null(next());
}

/*------------------------------------------------------------ several limits */

static void test_all_or_none(void **state)
{
	(void)state;
	rig.rule2.strict = true;
	assert_int_equal(admit_both(0, 1), LEASE_PARK);
	assert_int_equal(rig.lease.balance, 0);
	assert_int_equal(rig.lease.n_parked, 1);
	assert_int_equal(rig.lease2.n_parked, 1);
	assert_ptr_equal(next(), &rig.lease);
	answer(&rig.lease, rig.sync.want, 50, 0);
	assert_int_equal(rig.answer[0], -1);
	assert_ptr_equal(next(), &rig.lease2);
	answer(&rig.lease2, 1, 50, 0);
	assert_int_equal(rig.answer[0], LEASE_ADMIT);
	assert_int_equal(rig.lease.n_parked + rig.lease2.n_parked, 0);

	/* one refuses: what the other had granted goes back */
	be_strict();
	rig.rule.caps_peers = rig.rule2.caps_peers = 0;
	rig.lease.balance = 0;
	assert_int_equal(admit_both(1, 1), LEASE_PARK);
	assert_ptr_equal(next(), &rig.lease);
	answer(&rig.lease, 1, 49, 0);
	assert_ptr_equal(next(), &rig.lease2);
	answer(&rig.lease2, 0, 0, 200000);
	assert_int_equal(rig.answer[1], LEASE_DENY);
	assert_int_equal(rig.call[1].denier, 1);
	lease_leave(&rig.call[1]);
	assert_int_equal(rig.lease.n_parked + rig.lease2.n_parked, 0);
}

/*--------------------------------------------------------------- lost, down */

static void test_a_lost_sync_is_never_repeated(void **state)
{
	(void)state;
	admit(0, 2);
	assert_ptr_equal(next(), &rig.lease);
	assert_int_equal(rig.sync.owed, 2);
	lease_lost(&rig.lease);
	assert_int_equal(rig.lease.balance, 0);
	assert_int_equal(admit(1, 1), LEASE_PARK); /* no new credit for it */
	assert_ptr_equal(next(), &rig.lease);
	assert_int_equal(rig.sync.owed, 0);
	answer(&rig.lease, 0, 0, 1);
}

static void test_a_refused_sync_is(void **state)
{
	(void)state;
	admit(0, 2);
	next();
	lease_refused(&rig.lease);
	assert_int_equal(rig.lease.balance, -2);
	assert_int_equal(admit(1, 1), LEASE_ADMIT); /* as without Redis */
	assert_ptr_equal(next(), &rig.lease);
	assert_int_equal(rig.sync.owed, 2 + 1);
}

static void budget(void)
{
	rig.rule.kind = LEASE_BUDGET;
	rig.rule.burst = 1000;
	rig.rule.period_ns = 86400 * CLOCK_S;
	rig.rule.count = 1000;
	rig.rule.strict = true;
}

static void answer_budget(uint64_t granted, int64_t window)
{
	struct sync_reply r = { .granted = granted,
				.left = 600,
				.count = { .known = true, .window = window, .name = "a:1" } };

	lease_reply(&rig.lease, &r);
}

static void test_a_lost_settlement_is_sent_again_as_it_was(void **state)
{
	uint64_t seq;

	(void)state;
	budget();
	assert_int_equal(admit(0, 10), LEASE_PARK);
	assert_ptr_equal(next(), &rig.lease);
	seq = rig.lease.seq;
	lease_lost(&rig.lease);
	assert_int_equal(admit(1, 10), LEASE_PARK);
	assert_ptr_equal(next(), &rig.lease);
	assert_int_equal(rig.lease.seq, seq);
	lease_refused(&rig.lease); /* this time: of the time before nobody knows */
	lease_up(&rig.world);
	assert_ptr_equal(next(), &rig.lease);
	assert_int_equal(rig.lease.seq, seq);
	assert_int_equal(rig.sync.want, 10);
	answer_budget(10, 5);
	assert_int_equal(rig.answer[0], LEASE_DENY); /* nobody waited for it any more */
	assert_int_equal(rig.lease.own, 10);
	assert_int_equal(admit(2, 10), LEASE_PARK);
	assert_ptr_equal(next(), &rig.lease);
	assert_int_equal(rig.lease.seq, seq + 1);
	answer_budget(10, 6); /* a new window: what it was charged there is over */
	assert_int_equal(rig.lease.own, 10);
}

static void test_local_starts_with_one_token_and_is_a_share(void **state)
{
	(void)state;
	rig.world.peers = 4;
	lease_down(&rig.world);
	assert_int_equal(admit(0, 1), LEASE_ADMIT);
	assert_int_equal(admit(0, 1), LEASE_DENY);
	assert_int_equal(rig.call[0].retry_ns, 40 * CLOCK_MS); /* 100/s by 4 */
	pass(40 * CLOCK_MS);
	assert_int_equal(admit(1, 1), LEASE_ADMIT);
	assert_int_equal(admit(2, 1), LEASE_DENY);
	pass(60 * CLOCK_S);
	assert_int_equal(admit(3, 25), LEASE_ADMIT); /* 100 by 4 */
	assert_int_equal(admit(4, 1), LEASE_DENY);
	assert_null(next());
}

/* What was left a moment ago is shared out; what was left long ago may be gone. */
static void test_local_starts_with_what_is_known(void **state)
{
	(void)state;
	be_strict();
	rig.world.peers = 4;
	admit(0, 1);
	next();
	answer(&rig.lease, 1, 80, 0);
	pass(100 * CLOCK_MS);
	lease_down(&rig.world);
	assert_int_equal(admit(1, 20), LEASE_ADMIT); /* 80 by 4 */
	assert_int_equal(admit(2, 1), LEASE_DENY);

	setup(NULL);
	be_strict();
	admit(0, 1);
	next();
	answer(&rig.lease, 1, 80, 0);
	pass(2 * CLOCK_S);
	lease_down(&rig.world);
	assert_int_equal(admit(1, 1), LEASE_ADMIT);
	assert_int_equal(admit(2, 1), LEASE_DENY);
}

/* Of a bucket that cannot be full again, no share is: nobody is let in for what is not there. */
static void test_local_starts_with_no_more_than_can_be_there(void **state)
{
	struct sync_reply r = { .left = 0, .retry_us = 720000000, .reset_us = 3600000000 };

	(void)state;
	be_strict();
	rig.rule.burst = rig.rule.count = 5;
	rig.rule.period_ns = 3600 * CLOCK_S;
	rig.world.peers = 2;
	admit(0, 1);
	next();
	lease_reply(&rig.lease, &r);
	pass(700 * CLOCK_S);
	lease_down(&rig.world);
	assert_int_equal(admit(1, 1), LEASE_DENY); /* none by then */
	setup(NULL);
	be_strict();
	rig.rule.burst = rig.rule.count = 5;
	rig.rule.period_ns = 3600 * CLOCK_S;
	rig.world.peers = 2;
	admit(0, 1);
	next();
	lease_reply(&rig.lease, &r);
	pass(1500 * CLOCK_S);
	lease_down(&rig.world);
	assert_int_equal(admit(1, 1), LEASE_ADMIT); /* two, by two */
	assert_int_equal(admit(2, 1), LEASE_DENY);
	assert_in_range(rig.call[2].retry_ns, 1439 * CLOCK_S, 1440 * CLOCK_S);
}

/* 10/s and a burst of 1, by 4: one call in 400 ms each. */
static void test_a_local_share_of_less_than_a_call(void **state)
{
	unsigned passed = 0;

	(void)state;
	be_strict();
	rig.rule.burst = 1;
	rig.rule.count = 10;
	rig.world.peers = 4;
	lease_down(&rig.world);
	for (unsigned i = 0; i < 1000; i++, pass(10 * CLOCK_MS))
		passed += admit(0, 1) == LEASE_ADMIT;
	assert_int_equal(passed, 25);
	assert_int_equal(admit(0, 1), LEASE_ADMIT);
	assert_int_equal(admit(0, 1), LEASE_DENY);
	assert_in_range(rig.call[0].retry_ns, 1, 400 * CLOCK_MS);
	pass(rig.call[0].retry_ns);
	assert_int_equal(admit(0, 1), LEASE_ADMIT);
	lease_up(&rig.world);
	next();
	assert_int_equal(rig.sync.owed, 1);
}

static void test_a_call_larger_than_the_local_share(void **state)
{
	(void)state;
	rig.world.peers = 4;
	lease_down(&rig.world);
	pass(CLOCK_S);
	assert_int_equal(admit(0, 90), LEASE_ADMIT); /* of 25 */
	assert_int_equal(admit(1, 1), LEASE_DENY);
	assert_int_equal(rig.call[1].retry_ns, 66 * 40 * CLOCK_MS);
	assert_int_equal(admit(2, 90), LEASE_DENY);
	assert_int_equal(rig.call[2].retry_ns, 90 * 40 * CLOCK_MS);
	lease_up(&rig.world);
	next();
	assert_int_equal(rig.sync.owed, 90);
}

/* As buckets in Redis: the filled share stays, and what was spent without it. */
static void test_another_rule_without_redis(void **state)
{
	struct lease_rule slow = rig.rule;

	(void)state;
	slow.burst = 10;
	slow.count = 10;
	slow.period_ns = 3600 * CLOCK_S;
	lease_down(&rig.world);
	pass(CLOCK_S);
	assert_int_equal(admit(0, 50), LEASE_ADMIT);
	lease_change_rule(&rig.lease, &slow);
	rig.rule = slow;
	assert_int_equal(admit(1, 5), LEASE_ADMIT);
	assert_int_equal(admit(2, 1), LEASE_DENY);
	assert_int_equal(rig.call[2].retry_ns, 360 * CLOCK_S);
	lease_change_rule(&rig.lease, &rig.rule2);
	rig.rule = rig.rule2;
	assert_int_equal(admit(3, 1), LEASE_DENY);
	assert_int_equal(rig.call[3].retry_ns, 10 * CLOCK_MS);
	/* the longest windows */
	rig.rule.kind = slow.kind = LEASE_WINDOW;
	rig.rule.burst = rig.rule.count = UINT64_C(1) << 51;
	rig.rule.period_ns = (UINT64_C(1) << 47) * 1000;
	rig.lease.local_level = (lease_level)rig.rule.burst * rig.rule.period_ns / 2;
	lease_change_rule(&rig.lease, &slow);
	assert_true(rig.lease.local_level == (lease_level)5 * 3600 * CLOCK_S);
	rig.rule = slow;
	slow.burst = UINT64_C(1) << 51;
	slow.period_ns = (UINT64_C(1) << 47) * 1000;
	lease_change_rule(&rig.lease, &slow);
	assert_true(rig.lease.local_level == (lease_level)slow.burst * slow.period_ns / 2);
}

static void test_allow_and_deny(void **state)
{
	(void)state;
	lease_down(&rig.world);
	rig.rule.on_error = LEASE_ALLOW;
	for (unsigned i = 0; i < CALLS; i++)
		assert_int_equal(admit(i, 50), LEASE_ADMIT);
	rig.rule.on_error = LEASE_REFUSE;
	pass(CLOCK_S);
	assert_int_equal(admit(0, 1), LEASE_DENY);
	assert_int_equal(rig.call[0].retry_ns, CLOCK_S);
}

/* As much goes back as is owed: there is nothing to tell, and nothing is owed any more. */
static void test_what_goes_back_pays(void **state)
{
	(void)state;
	admit(0, 1);
	next();
	answer(&rig.lease, 8, 80, 0);
	admit(1, 1);
	admit(2, 1);
	pass(CLOCK_S + 1);
	assert_int_equal(rig.lease.balance, 6);
	admit(3, 2); /* on credit: what was held lapses */
	lease_return(&rig.part[1][0]);
	rig.lease.surplus = 1;
	assert_int_equal(rig.lease.balance, -1);
	lease_next(&rig.world, &rig.sync);
	assert_int_equal(rig.lease.balance, 0);
	assert_int_equal(rig.lease.surplus, 0);
	rig.lease.in_flight = false;
}

/* Each of its window: what was taken in one that is over is not given back to the next. */
static void test_what_goes_back_to_a_window(void **state)
{
	struct sync_reply r = { .granted = 1, .left = 80, .reset_us = 500000 };

	(void)state;
	be_strict();
	rig.rule.kind = LEASE_WINDOW;
	for (unsigned slides = 0; slides < 2; slides++) {
		rig.rule.slides = slides != 0;
		r.reset_us = slides != 0 ? 1500000 : 500000; /* the window ends in 500 ms */
		for (unsigned i = 0; i < 2; i++) {
			admit(i, 1);
			next();
			lease_reply(&rig.lease, &r);
			assert_int_equal(rig.answer[i], LEASE_ADMIT);
		}
		pass(490 * CLOCK_MS);
		lease_return(&rig.part[0][0]);
		assert_ptr_equal(next(), &rig.lease);
		assert_int_equal(rig.sync.owed, -1);
		r.granted = 0;
		r.reset_us -= 490000;
		lease_reply(&rig.lease, &r);
		r.granted = 1;
		pass(10 * CLOCK_MS);
		lease_return(&rig.part[1][0]);
		assert_null(next());
	}
}

/* Whether it was told meanwhile or not. */
static void test_what_was_taken_without_redis_is_returned(void **state)
{
	(void)state;
	lease_down(&rig.world);
	pass(CLOCK_S);
	admit(0, 5);
	admit(1, 3);
	lease_return(&rig.part[1][0]);
	assert_int_equal(rig.lease.local_spent, 5);
	lease_up(&rig.world);
	next();
	assert_int_equal(rig.sync.owed, 5);
	lease_return(&rig.part[0][0]); /* that is under way */
	answer(&rig.lease, 0, 50, 0);
	next();
	assert_int_equal(rig.sync.owed, -5);
}

/* Held tokens were paid for. */
static void test_held_tokens_outlive_redis(void **state)
{
	(void)state;
	rig.rule.on_error = LEASE_REFUSE;
	admit(0, 1);
	next();
	answer(&rig.lease, 5, 80, 0);
	lease_down(&rig.world);
	for (unsigned i = 0; i < 5; i++)
		assert_int_equal(admit(i, 1), LEASE_ADMIT);
	assert_int_equal(admit(5, 1), LEASE_DENY);
}

/* Short and long, against what a bucket that was asked all the time would hold. */
static void test_recovery_charges_what_was_spent(void **state)
{
	(void)state;
	rig.world.peers = 1;
	lease_down(&rig.world);
	pass(500 * CLOCK_MS);
	assert_int_equal(admit(0, 30), LEASE_ADMIT);
	lease_up(&rig.world);
	assert_ptr_equal(next(), &rig.lease);
	assert_int_equal(rig.sync.owed, 30);
	admit(1, 5); /* while it is under way */
	answer(&rig.lease, rig.sync.want, 10, 0);
	assert_false(rig.lease.is_local);
	assert_int_equal(rig.lease.balance, -5 + (int64_t)rig.sync.want);

	setup(NULL);
	lease_down(&rig.world);
	for (unsigned i = 0; i < 100; i++) {
		pass(CLOCK_S);
		assert_int_equal(admit(0, 90), LEASE_ADMIT);
	}
	lease_up(&rig.world);
	next();
	assert_int_equal(rig.sync.owed, 90); /* not 9000: the rest has come back there, too */
	lease_lost(&rig.lease);
	pass(CLOCK_MS);
	next();
	assert_in_range(rig.sync.owed, 85, 90);
}

/* Of one that was never heard of nobody knows what is left: its calls come as evenly as the limit has them. */
static void test_a_budget_never_heard_of(void **state)
{
	(void)state;
	budget();
	rig.world.peers = 2;
	lease_down(&rig.world);
	assert_int_equal(admit(0, 1), LEASE_ADMIT);
	assert_int_equal(admit(1, 1), LEASE_DENY);
	assert_in_range(rig.call[1].retry_ns, 172 * CLOCK_S, 173 * CLOCK_S);
	pass(4320 * CLOCK_S); /* a twentieth of the day */
	assert_int_equal(admit(2, 25), LEASE_ADMIT);
	assert_int_equal(admit(3, 1), LEASE_DENY);
	lease_up(&rig.world);
	assert_ptr_equal(next(), &rig.lease);
	assert_int_equal(rig.sync.owed, 26);
}

static void test_budgets_without_redis(void **state)
{
	(void)state;
	budget();
	rig.rule.on_error = LEASE_LOCAL;
	rig.world.peers = 3;
	admit(0, 10);
	next();
	answer_budget(10, 5);
	lease_down(&rig.world);
	assert_int_equal(admit(1, 200), LEASE_ADMIT); /* 600 by 3 */
	pass(3600 * CLOCK_S);
	assert_int_equal(admit(2, 1), LEASE_DENY);
	lease_up(&rig.world);
	assert_ptr_equal(next(), &rig.lease);
	assert_int_equal(rig.sync.owed, 200);
}

/* The day ends while Redis is gone: the next has its budget, and what was spent in it is charged to it. */
static void test_a_budget_goes_on_into_its_next_window(void **state)
{
	struct sync_reply r = { .granted = 10,
				.left = 0,
				.reset_us = UINT64_C(3600) * 1000000,
				.count = { .known = true, .window = 5, .name = "a:1" } };

	(void)state;
	budget();
	rig.world.peers = 4;
	admit(0, 10);
	next();
	lease_reply(&rig.lease, &r);
	lease_down(&rig.world);
	assert_int_equal(admit(1, 1), LEASE_DENY);
	pass(3599 * CLOCK_S);
	assert_int_equal(admit(1, 1), LEASE_DENY);
	pass(CLOCK_S);
	assert_int_equal(admit(2, 250), LEASE_ADMIT); /* 1000 by 4 */
	assert_int_equal(admit(3, 1), LEASE_DENY);
	pass(86399 * CLOCK_S);
	assert_int_equal(admit(3, 1), LEASE_DENY);
	pass(2 * 86400 * CLOCK_S + CLOCK_S);
	assert_int_equal(admit(4, 7), LEASE_ADMIT);
	lease_up(&rig.world);
	next();
	assert_int_equal(rig.sync.owed, 7);
	assert_false(rig.lease.sent_count.known);
	r.granted = 0;
	r.count.window = 9;
	r.left = 993;
	lease_reply(&rig.lease, &r);
	assert_int_equal(rig.lease.own, 7);
	assert_int_equal(rig.lease.balance, 0);
}

/* The same where the last settlement before it was lost: it is told once more, and of its own window. */
static void test_a_budget_with_a_settlement_from_before(void **state)
{
	struct sync_reply r = { .granted = 10,
				.left = 100,
				.reset_us = UINT64_C(3600) * 1000000,
				.count = { .known = true, .window = 5, .name = "a:1" } };

	(void)state;
	budget();
	admit(0, 10);
	next();
	lease_reply(&rig.lease, &r);
	admit(1, 5);
	next();
	lease_lost(&rig.lease);
	lease_down(&rig.world);
	assert_int_equal(lease_late(&rig.world, &rig.call[1]), LEASE_ADMIT);
	pass(3601 * CLOCK_S);
	assert_int_equal(admit(2, 30), LEASE_ADMIT);
	lease_up(&rig.world);
	next();
	assert_int_equal(rig.sync.owed, 0);
	assert_int_equal(rig.sync.want, 5);
	assert_int_equal(rig.lease.sent_count.window, 5);
	r.granted = 5;
	r.count.window = 6;
	lease_reply(&rig.lease, &r);
	assert_int_equal(rig.lease.own, 5);
	assert_ptr_equal(next(), &rig.lease);
	assert_int_equal(rig.sync.owed, 30 - 5);
}

/* The server answers, but cannot: nobody waits for it, and it is not asked by each call. */
static void test_refused_calls_do_not_wait(void **state)
{
	(void)state;
	be_strict();
	rig.rule.on_error = LEASE_ALLOW;
	assert_int_equal(admit(0, 1), LEASE_PARK);
	next();
	lease_refused(&rig.lease);
	assert_int_equal(rig.answer[0], LEASE_ADMIT);
	assert_int_equal(rig.lease.n_parked, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_shares, setup),
		cmocka_unit_test_setup(test_strict_calls_wait_for_their_answer, setup),
		cmocka_unit_test_setup(test_the_queue_is_bounded, setup),
		cmocka_unit_test_setup(test_calls_that_go_away_leave_their_tokens, setup),
		cmocka_unit_test_setup(test_a_large_call_is_not_overtaken, setup),
		cmocka_unit_test_setup(test_credit_is_bounded_and_charged, setup),
		cmocka_unit_test_setup(test_no_credit_after_a_refusal, setup),
		cmocka_unit_test_setup(test_no_credit_where_nothing_is_left, setup),
		cmocka_unit_test_setup(test_a_refusal_is_of_its_cost, setup),
		cmocka_unit_test_setup(test_calls_that_cannot_wait, setup),
		cmocka_unit_test_setup(test_held_tokens_end, setup),
		cmocka_unit_test_setup(test_what_a_call_did_not_use_is_returned, setup),
		cmocka_unit_test_setup(test_a_warm_key_never_waits, setup),
		cmocka_unit_test_setup(test_what_was_refused_ahead_is_not_asked_for_at_once, setup),
		cmocka_unit_test_setup(test_all_or_none, setup),
		cmocka_unit_test_setup(test_a_lost_sync_is_never_repeated, setup),
		cmocka_unit_test_setup(test_a_refused_sync_is, setup),
		cmocka_unit_test_setup(test_a_lost_settlement_is_sent_again_as_it_was, setup),
		cmocka_unit_test_setup(test_local_starts_with_one_token_and_is_a_share, setup),
		cmocka_unit_test_setup(test_local_starts_with_what_is_known, setup),
		cmocka_unit_test_setup(test_local_starts_with_no_more_than_can_be_there, setup),
		cmocka_unit_test_setup(test_a_local_share_of_less_than_a_call, setup),
		cmocka_unit_test_setup(test_a_call_larger_than_the_local_share, setup),
		cmocka_unit_test_setup(test_another_rule_without_redis, setup),
		cmocka_unit_test_setup(test_allow_and_deny, setup),
		cmocka_unit_test_setup(test_what_goes_back_pays, setup),
		cmocka_unit_test_setup(test_what_goes_back_to_a_window, setup),
		cmocka_unit_test_setup(test_a_budget_goes_on_into_its_next_window, setup),
		cmocka_unit_test_setup(test_a_budget_with_a_settlement_from_before, setup),
		cmocka_unit_test_setup(test_what_was_taken_without_redis_is_returned, setup),
		cmocka_unit_test_setup(test_held_tokens_outlive_redis, setup),
		cmocka_unit_test_setup(test_recovery_charges_what_was_spent, setup),
		cmocka_unit_test_setup(test_a_budget_never_heard_of, setup),
		cmocka_unit_test_setup(test_budgets_without_redis, setup),
		cmocka_unit_test_setup(test_refused_calls_do_not_wait, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
