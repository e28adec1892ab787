/* Permits, law by law; and many sidecars against one server, where the sum of what is held is never above the cap. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "store/permits.h"

enum { CALLS = 32 };

static struct lease_world common;
static struct permits_world world;
static struct permits_rule rule;
static struct permits permits;
static struct permits_ask call[CALLS];
static int answer[CALLS];
static struct permits_sync sync;

static int setup(void **state)
{
	(void)state;
	rule = (struct permits_rule){ .cap = 16, .hold_ns = 3 * CLOCK_S, .parked_max = 8 };
	lease_world_init(&common, 1000 * CLOCK_S, 3);
	permits_world_init(&world, &common);
	permits_init(&permits, &world, &rule);
	return 0;
}

static void settled(struct permits_ask *a, enum lease_answer got)
{
	answer[a - call] = (int)got;
}

static enum lease_answer acquire(unsigned i)
{
	call[i] = (struct permits_ask){ .permits = &permits, .settle = settled };
	answer[i] = -1;
	return permits_acquire(&call[i]);
}

static void reply(uint64_t granted)
{
	struct sync_reply r = { .granted = granted };

	permits_reply(&permits, &r);
}

static void pass(uint64_t ns)
{
	common.now_ns += ns;
}

static void test_calls_wait_for_their_permit(void **state)
{
	(void)state;
	assert_int_equal(acquire(0), LEASE_PARK);
	assert_ptr_equal(permits_next(&world, &sync), &permits);
	assert_int_equal(sync.need, 0);
	assert_int_equal(sync.want, 1);
	assert_int_equal(acquire(1), LEASE_PARK);
	reply(1);
	assert_int_equal(answer[0], LEASE_ADMIT);
	assert_int_equal(answer[1], -1);
	assert_ptr_equal(permits_next(&world, &sync), &permits);
	assert_int_equal(sync.need, 1);
	assert_int_equal(sync.want, 3); /* one spare: an eighth, rounded up */
	reply(2);
	assert_int_equal(answer[1], LEASE_ADMIT);
	assert_int_equal(acquire(2), LEASE_DENY); /* there was none to spare: it is known */
	assert_in_range(call[2].retry_ns, 1, 50 * CLOCK_MS);
	pass(50 * CLOCK_MS);
	assert_int_equal(acquire(2), LEASE_PARK);
	permits_next(&world, &sync);
	reply(2);
	assert_int_equal(answer[2], LEASE_DENY);
}

static void test_spare_permits_are_used_and_given_back(void **state)
{
	(void)state;
	acquire(0);
	permits_next(&world, &sync);
	reply(4);
	assert_int_equal(acquire(1), LEASE_ADMIT);
	assert_int_equal(acquire(2), LEASE_ADMIT);
	permits_release(&permits);
	permits_release(&permits);
	assert_ptr_equal(permits_next(&world, &sync), &permits);
	assert_int_equal(sync.need, 1);
	assert_int_equal(sync.want, 2);
	reply(2);
	permits_release(&permits);
	assert_ptr_equal(permits_next(&world, &sync), &permits);
	assert_int_equal(sync.want, 0);
	reply(0);
	assert_null(permits_next(&world, &sync));
	permits_fini(&permits);
}

static void test_small_caps_have_no_spare(void **state)
{
	(void)state;
	common.peers = 5;
	acquire(0);
	permits_next(&world, &sync);
	reply(1);
	acquire(1);
	permits_next(&world, &sync);
	assert_int_equal(sync.want, 2);
	reply(2);
}

static void test_holdings_are_told_anew(void **state)
{
	(void)state;
	acquire(0);
	permits_next(&world, &sync);
	reply(2);
	pass(999 * CLOCK_MS);
	permits_renew(&world);
	assert_null(permits_next(&world, &sync));
	pass(2 * CLOCK_MS);
	permits_renew(&world);
	assert_non_null(permits_next(&world, &sync));
	permits_lost(&permits);
	permits_renew(&world);
	assert_non_null(permits_next(&world, &sync));
	assert_int_equal(sync.need, 1);
	reply(2);
}

static void test_without_redis(void **state)
{
	(void)state;
	common.peers = 4;
	acquire(0);
	permits_next(&world, &sync);
	reply(2);
	lease_down(&common);
	assert_int_equal(acquire(1), LEASE_ADMIT); /* held */
	assert_int_equal(acquire(2),
			 LEASE_DENY); /* others may have the rest, until what is held ends */
	pass(3 * CLOCK_S);
	assert_int_equal(acquire(2), LEASE_ADMIT); /* 16 by 4 */
	assert_int_equal(acquire(3), LEASE_ADMIT);
	assert_int_equal(acquire(4), LEASE_DENY);
	rule.on_error = LEASE_ALLOW;
	assert_int_equal(acquire(4), LEASE_ADMIT);
	rule.on_error = LEASE_REFUSE;
	assert_int_equal(acquire(5), LEASE_DENY);
	lease_up(&common);
	permits_renew(&world);
	assert_non_null(permits_next(&world, &sync));
	assert_int_equal(sync.need, 5); /* what is under way is said as it is */
	reply(5);
}

static void test_a_sync_that_fails_keeps_nobody_waiting(void **state)
{
	(void)state;
	common.peers = 4;
	for (unsigned i = 0; i < 6; i++)
		assert_int_equal(acquire(i), LEASE_PARK);
	permits_next(&world, &sync);
	permits_leave(&call[5]);
	permits_lost(&permits);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(answer[i], LEASE_ADMIT); /* an even share */
	assert_int_equal(answer[4], LEASE_DENY);
	assert_int_equal(answer[5], -1);
	assert_int_equal(permits.n_parked, 0);
}

static void test_the_queue_is_bounded(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(acquire(i), LEASE_PARK);
	assert_int_equal(acquire(8), LEASE_DENY);
	assert_int_equal(permits_late(&call[0]), LEASE_ADMIT); /* no answer came: an even share */
	permits_next(&world, &sync);
	assert_int_equal(sync.need, 1);
	reply(16);
	assert_int_equal(permits.in_use, 8);
}

/*----------------------------------------------------------------- many of them */

enum { SIDECARS = 6, STEPS = 200000 };

struct sidecar {
	struct lease_world common;
	struct permits_world world;
	struct permits permits;
	struct permits_ask ask[CALLS];
	bool waits[CALLS];
	struct permits_sync sync;
	bool under_way, executed;
	uint64_t at_ns, held, held_until_ns; /* held: as the server has it */
	struct sync_reply reply;
};

static struct sidecar sidecars[SIDECARS];
static uint64_t random_state = 99;

static uint64_t dice(uint64_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % n;
}

static void note_settled(struct permits_ask *a, enum lease_answer got)
{
	struct sidecar *s = LIST_ENTRY(a->permits, struct sidecar, permits);

	(void)got; /* in_use says it */
	s->waits[a - s->ask] = false;
}

/* permits.lua. */
static void execute(struct sidecar *s, uint64_t now)
{
	uint64_t others = 0, want, room;

	for (unsigned i = 0; i < SIDECARS; i++)
		if (&sidecars[i] != s && sidecars[i].held_until_ns > now)
			others += sidecars[i].held;
	room = rule.cap > others ? rule.cap - others : 0;
	want = s->sync.want < room ? s->sync.want : room;
	s->held = want > s->sync.need ? want : s->sync.need;
	s->held_until_ns = now + rule.hold_ns;
	s->reply = (struct sync_reply){ .granted = s->held, .left = room };
}

static void turn(struct sidecar *s, uint64_t now)
{
	unsigned i = (unsigned)dice(CALLS);

	s->common.now_ns = now;
	if (s->under_way && now >= s->at_ns) {
		if (!s->executed) {
			s->executed = true;
			execute(s, now);
			s->at_ns = now + dice(CLOCK_MS);
		} else {
			s->under_way = false;
			if (dice(50) == 0) /* the answer is lost */
				permits_lost(&s->permits);
			else
				permits_reply(&s->permits, &s->reply);
		}
	}
	if (dice(3) == 0 && !s->waits[i]) {
		s->ask[i] = (struct permits_ask){ .permits = &s->permits, .settle = note_settled };
		s->waits[i] = permits_acquire(&s->ask[i]) == LEASE_PARK;
	} else if (dice(2) == 0 && s->permits.in_use > 0) {
		permits_release(&s->permits);
	}
	permits_renew(&s->world);
	if (!s->under_way && permits_next(&s->world, &s->sync) != NULL) {
		s->under_way = true;
		s->executed = false;
		s->at_ns = now + dice(CLOCK_MS);
	}
}

/* on_error deny: nothing is let in that was not granted. */
static void test_the_sum_is_never_above_the_cap(void **state)
{
	uint64_t now = 1000 * CLOCK_S, most = 0, all = 0;

	(void)state;
	rule = (struct permits_rule){
		.cap = 40, .hold_ns = 100 * CLOCK_MS, .parked_max = 8, .on_error = LEASE_REFUSE
	};
	for (unsigned i = 0; i < SIDECARS; i++) {
		struct sidecar *s = &sidecars[i];

		*s = (struct sidecar){ .under_way = false };
		lease_world_init(&s->common, now, i + 1);
		s->common.peers = SIDECARS;
		permits_world_init(&s->world, &s->common);
		permits_init(&s->permits, &s->world, &rule);
	}
	for (unsigned step = 0; step < STEPS; step++) {
		uint64_t in_use = 0;

		now += dice(200000);
		for (unsigned i = 0; i < SIDECARS; i++) {
			turn(&sidecars[i], now);
			in_use += sidecars[i].permits.in_use;
		}
		most = in_use > most ? in_use : most;
		all += in_use;
	}
	print_message("at most %llu of 40 in use, %.1f on average\n", (unsigned long long)most,
		      (double)all / STEPS);
	assert_true(most <= rule.cap);
	assert_true(most >= rule.cap - 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_calls_wait_for_their_permit, setup),
		cmocka_unit_test_setup(test_spare_permits_are_used_and_given_back, setup),
		cmocka_unit_test_setup(test_small_caps_have_no_spare, setup),
		cmocka_unit_test_setup(test_holdings_are_told_anew, setup),
		cmocka_unit_test_setup(test_without_redis, setup),
		cmocka_unit_test_setup(test_a_sync_that_fails_keeps_nobody_waiting, setup),
		cmocka_unit_test_setup(test_the_queue_is_bounded, setup),
		cmocka_unit_test(test_the_sum_is_never_above_the_cap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
