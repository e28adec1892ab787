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
static struct permits_sum sum;
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
	sum = (struct permits_sum){ .in_use = 0 };
	permits_init(&permits, &world, &rule, &sum);
	return 0;
}

static void settled(struct permits_ask *a, enum lease_answer got)
{
	answer[a - call] = (int)got;
}

static enum lease_answer acquire_as(unsigned i, struct permits_ask as)
{
	call[i] = as;
	call[i].permits = &permits;
	call[i].settle = settled;
	answer[i] = -1;
	return permits_acquire(&call[i]);
}

static enum lease_answer acquire(unsigned i)
{
	return acquire_as(i, (struct permits_ask){ .patient = false });
}

/* With a place in the queue. */
static enum lease_answer line_up(unsigned i, uint8_t urgency)
{
	return acquire_as(i, (struct permits_ask){ .patient = true, .urgency = urgency });
}

static void reply_of(uint64_t granted, uint64_t left, uint64_t yields)
{
	struct sync_reply r = { .granted = granted, .left = left, .yields = yields };

	permits_reply(&permits, &r);
}

static void reply(uint64_t granted)
{
	reply_of(granted, 0, 0);
}

/* Says what it has to, and is answered. */
static void sync_and_reply(uint64_t granted)
{
	assert_ptr_equal(permits_next(&world, &sync), &permits);
	reply(granted);
}

static void sync_and_reply_of(uint64_t granted, uint64_t left)
{
	assert_ptr_equal(permits_next(&world, &sync), &permits);
	reply_of(granted, left, 0);
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
	assert_int_equal(call[2].retry_ns, CLOCK_S);
	pass(70 * CLOCK_MS);
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
	permits_release(&call[0]);
	permits_release(&call[1]);
	assert_ptr_equal(permits_next(&world, &sync), &permits);
	assert_int_equal(sync.need, 2); /* what it holds on to is held whatever comes */
	assert_int_equal(sync.want, 2);
	reply(2);
	permits_release(&call[2]);
	assert_ptr_equal(permits_next(&world, &sync), &permits);
	assert_int_equal(sync.want, 0);
	reply(0);
	assert_null(permits_next(&world, &sync));
	permits_fini(&permits);
}

/* Two here and two elsewhere, of four that become two: who ends makes no room. */
static void test_a_lower_cap_waits_for_room(void **state)
{
	(void)state;
	rule.cap = 4;
	acquire(0);
	sync_and_reply(1);
	assert_int_equal(acquire(1), LEASE_PARK);
	permits_next(&world, &sync); /* of the old cap */
	permits_change_cap(&permits, 2);
	rule.cap = 2;
	reply(2);
	assert_int_equal(answer[1], LEASE_DENY); /* that was of the old cap */
	pass(70 * CLOCK_MS);
	assert_int_equal(acquire(1), LEASE_PARK);
	sync_and_reply(2);
	assert_int_equal(answer[1], LEASE_ADMIT);
	permits_change_cap(&permits, 1);
	rule.cap = 1;
	permits_release(&call[0]);
	assert_int_equal(acquire(2), LEASE_PARK);
	permits_next(&world, &sync);
	assert_int_equal(sync.need, 1);
	assert_int_equal(sync.want, 2);
	reply(1);
	assert_int_equal(answer[2], LEASE_DENY);
	permits_release(&call[1]);
	sync_and_reply_of(0, 1);
	assert_int_equal(acquire(2), LEASE_PARK);
	sync_and_reply(1);
	assert_int_equal(answer[2], LEASE_ADMIT);
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
	assert_int_equal(sync.need, 2);
	reply(2);
}

/*------------------------------------------------------------ without Redis */

/* Who holds some goes on with them, and with its part of what was free just before. */
static void test_what_is_held_is_used(void **state)
{
	(void)state;
	common.peers = 4;
	acquire(0);
	permits_next(&world, &sync);
	reply_of(2, 8, 0);
	pass(500 * CLOCK_MS);
	lease_down(&common);
	for (unsigned i = 1; i < 4; i++) /* 2 held, 8 free by 4 */
		assert_int_equal(acquire(i), LEASE_ADMIT);
	assert_int_equal(acquire(4), LEASE_DENY);
	assert_false(call[4].unavailable);
	assert_int_equal(sum.fallbacks, 3);
	pass(3 * CLOCK_S); /* nobody holds any more: 16 by 4 */
	assert_int_equal(acquire(4), LEASE_DENY);
	permits_release(&call[0]);
	assert_int_equal(acquire(4), LEASE_ADMIT);
}

/* What others hold may be all of it: it begins when that has ended. */
static void test_who_holds_nothing_begins_late(void **state)
{
	(void)state;
	common.peers = 4;
	lease_down(&common);
	assert_int_equal(acquire(0), LEASE_DENY);
	assert_int_equal(acquire_as(1, (struct permits_ask){ .trial = true }), LEASE_DENY);
	pass(3 * CLOCK_S - 1);
	assert_int_equal(acquire(0), LEASE_DENY);
	pass(1);
	for (unsigned i = 0; i < 4; i++)
		assert_int_equal(acquire(i), LEASE_ADMIT);
	assert_int_equal(acquire(4), LEASE_DENY);
	common.peers = 40; /* more than there are permits: one each */
	for (unsigned i = 0; i < 4; i++)
		permits_release(&call[i]);
	assert_int_equal(acquire(0), LEASE_ADMIT);
	assert_int_equal(acquire(1), LEASE_DENY);
}

static void test_who_is_alone_has_all_of_it(void **state)
{
	(void)state;
	lease_down(&common);
	for (unsigned i = 0; i < 16; i++)
		assert_int_equal(acquire(i), LEASE_ADMIT);
	assert_int_equal(acquire(16), LEASE_DENY);
	rule.peers = 2;
	for (unsigned i = 0; i < 9; i++)
		permits_release(&call[i]);
	assert_int_equal(acquire(0), LEASE_DENY); /* the file says that there are others */
}

static void test_allow_and_deny(void **state)
{
	(void)state;
	common.peers = 4;
	acquire(0);
	sync_and_reply(2);
	lease_down(&common);
	rule.on_error = LEASE_REFUSE;
	assert_int_equal(acquire(1), LEASE_ADMIT);
	assert_int_equal(acquire(2), LEASE_DENY);
	assert_true(call[2].unavailable);
	permits_release(&call[1]);
	pass(3 * CLOCK_S);
	assert_int_equal(acquire(1), LEASE_DENY); /* held for no longer */
	assert_true(call[1].unavailable);
	rule.on_error = LEASE_ALLOW;
	for (unsigned i = 1; i < 20; i++)
		assert_int_equal(acquire(i), LEASE_ADMIT);
	assert_int_equal(sum.fallbacks, 21);
}

/* Also by who holds none: Redis may have forgotten all. */
static void test_what_is_under_way_is_told_when_it_is_back(void **state)
{
	(void)state;
	rule.on_error = LEASE_ALLOW;
	lease_down(&common);
	acquire(0);
	acquire(1);
	lease_up(&common);
	permits_up(&world);
	permits_next(&world, &sync);
	assert_int_equal(sync.need, 2);
	reply(2);
	assert_null(permits_next(&world, &sync));
	lease_down(&common);
	lease_up(&common);
	permits_up(&world);
	assert_non_null(permits_next(&world, &sync));
	assert_int_equal(sync.need, 2);
	reply(2);
}

static void test_a_sync_that_fails_keeps_nobody_waiting(void **state)
{
	(void)state;
	common.peers = 4;
	acquire(0);
	permits_next(&world, &sync);
	reply_of(1, 15, 0);
	for (unsigned i = 1; i < 6; i++)
		assert_int_equal(acquire(i), LEASE_PARK);
	permits_next(&world, &sync);
	permits_leave(&call[5]);
	permits_lost(&permits);
	for (unsigned i = 1; i < 4; i++)
		assert_int_equal(answer[i], LEASE_ADMIT); /* 15 were free, by 4 */
	assert_int_equal(answer[4], LEASE_DENY);
	assert_int_equal(answer[5], -1);
	assert_int_equal(permits.n_parked, 0);
	assert_true(world.settled);
}

/* Answers that always come too late are as none. */
static void test_late_answers(void **state)
{
	(void)state;
	common.peers = 4;
	for (unsigned ms = 0; ms < 3000; ms += 100) {
		assert_int_equal(acquire(0), LEASE_PARK);
		assert_int_equal(permits_late(&call[0]), LEASE_DENY);
		pass(100 * CLOCK_MS);
	}
	assert_int_equal(acquire(0), LEASE_PARK);
	assert_int_equal(permits_late(&call[0]), LEASE_ADMIT);
	assert_int_equal(acquire(1), LEASE_PARK);
	sync_and_reply(2); /* in time */
	assert_int_equal(answer[1], LEASE_ADMIT);
	assert_int_equal(permits.late_since_ns, 0);
}

static void test_those_who_are_parked_are_bounded(void **state)
{
	(void)state;
	for (unsigned i = 0; i < 8; i++)
		assert_int_equal(acquire(i), LEASE_PARK);
	assert_int_equal(acquire(8), LEASE_DENY);
	sync_and_reply(16);
	assert_int_equal(permits.in_use, 8);
	assert_int_equal(sum.in_use, 8);
}

/*----------------------------------------------------------------- the queue */

/* One call under way, which has all there is, and a queue. */
static void fill(uint32_t queue_size)
{
	rule.cap = 1;
	rule.queue_size = queue_size;
	acquire(0);
	sync_and_reply(1);
	assert_int_equal(answer[0], LEASE_ADMIT);
	assert_null(permits_next(&world, &sync));
}

static void test_a_full_house_has_calls_line_up(void **state)
{
	(void)state;
	fill(2);
	assert_int_equal(line_up(1, 3), LEASE_PARK);
	sync_and_reply(1); /* there is none for it */
	assert_int_equal(answer[1], -1);
	assert_int_equal(sum.queued, 1);
	assert_int_equal(line_up(2, 3), LEASE_PARK);
	assert_int_equal(line_up(3, 3), LEASE_DENY);
	assert_int_equal(acquire(4), LEASE_DENY); /* it would not wait */
	assert_null(permits_next(&world, &sync));
	assert_true(permits_pace(&world));
	assert_null(permits_next(&world, &sync));
	pass(70 * CLOCK_MS);
	assert_true(permits_pace(&world));
	assert_non_null(permits_next(&world, &sync)); /* asked again */
	assert_int_equal(sync.need, 1);
	assert_int_equal(sync.want, 3);
	assert_int_equal(sync.waits, 2);
	reply(1);
	world.settled = false;
	permits_release(&call[0]); /* the permit goes on */
	assert_true(world.settled);
	assert_int_equal(answer[1], LEASE_ADMIT);
	assert_int_equal(answer[2], -1);
	assert_int_equal(permits_late(&call[2]), LEASE_DENY);
	assert_false(call[2].unavailable);
	assert_int_equal(sum.fallbacks, 0);
	assert_false(permits_pace(&world));
	sync_and_reply(1); /* that nobody waits any more */
	assert_int_equal(sync.waits, 0);
	permits_release(&call[1]);
	sync_and_reply(0);
	assert_true(permits_are_idle(&permits));
	permits_fini(&permits);
}

static void test_what_others_give_back_is_served(void **state)
{
	(void)state;
	fill(4);
	line_up(1, 3);
	sync_and_reply(1);
	pass(70 * CLOCK_MS);
	permits_pace(&world);
	rule.cap = 4;
	sync_and_reply(2);
	assert_int_equal(answer[1], LEASE_ADMIT);
	assert_int_equal(sum.queued, 0);
}

static void test_the_urgent_first_and_the_last_gives_way(void **state)
{
	(void)state;
	fill(2);
	line_up(1, 7);
	sync_and_reply(1);
	line_up(2, 3);
	assert_int_equal(line_up(3, 0), LEASE_PARK);
	assert_int_equal(answer[1], LEASE_DENY); /* gives way */
	permits_release(&call[0]);
	assert_int_equal(answer[3], LEASE_ADMIT);
	permits_release(&call[3]);
	assert_int_equal(answer[2], LEASE_ADMIT);
}

static void test_newest_first(void **state)
{
	(void)state;
	rule.newest_first = true;
	fill(2);
	line_up(1, 3);
	sync_and_reply(1);
	line_up(2, 3);
	assert_int_equal(line_up(3, 3), LEASE_PARK);
	assert_int_equal(answer[1], LEASE_DENY);
	permits_release(&call[0]);
	assert_int_equal(answer[3], LEASE_ADMIT);
}

static void test_what_is_for_others_is_given_back(void **state)
{
	(void)state;
	rule.cap = 2;
	rule.queue_size = 4;
	acquire(0);
	acquire(1);
	sync_and_reply(2);
	line_up(2, 3);
	permits_next(&world, &sync);
	reply_of(2, 0, 1);
	permits_release(&call[0]);
	assert_int_equal(answer[2], LEASE_ADMIT); /* not after every short call */
	line_up(3, 3);
	permits.deny_until_ns = 0;
	permits_pace(&world);
	permits_next(&world, &sync);
	pass(500 * CLOCK_MS);
	reply_of(2, 0, 1);
	permits_release(&call[1]);
	assert_int_equal(answer[3], -1);
	permits_next(&world, &sync);
	assert_int_equal(sync.need, 1);
	assert_int_equal(sync.want, 2);
	assert_int_equal(sync.waits, 1);
	reply(1);
	permits_release(&call[2]); /* the other is its own */
	assert_int_equal(answer[3], LEASE_ADMIT);
}

static void test_a_queue_without_redis(void **state)
{
	(void)state;
	common.peers = 2;
	fill(4);
	line_up(1, 3);
	sync_and_reply(1);
	lease_down(&common);
	permits_down(&world);
	assert_int_equal(answer[1], -1);
	permits.yields = 1; /* nobody could come for it */
	permits_release(&call[0]);
	assert_int_equal(answer[1], LEASE_ADMIT);
	assert_int_equal(line_up(2, 3), LEASE_PARK);
	assert_int_equal(permits_late(&call[2]), LEASE_DENY);
	line_up(3, 3);
	rule.on_error = LEASE_REFUSE;
	permits_down(&world);
	assert_int_equal(answer[3], LEASE_DENY);
	assert_true(call[3].unavailable);
	rule.on_error = LEASE_LOCAL;
	line_up(4, 3);
	permits_release(&call[1]);
	assert_int_equal(answer[4], LEASE_ADMIT);
}

static void test_who_lines_up_without_redis_is_let_in_by_time(void **state)
{
	(void)state;
	common.peers = 4;
	rule.queue_size = 8;
	lease_down(&common);
	assert_int_equal(line_up(0, 3), LEASE_PARK);
	assert_true(permits_pace(&world));
	pass(3 * CLOCK_S);
	assert_false(permits_pace(&world));
	assert_int_equal(answer[0], LEASE_ADMIT);
}

static void test_a_lost_sync_keeps_the_queue(void **state)
{
	(void)state;
	rule.on_error = LEASE_REFUSE;
	fill(4);
	line_up(1, 3);
	permits_next(&world, &sync);
	permits_lost(&permits);
	assert_int_equal(answer[1], -1);
	pass(70 * CLOCK_MS);
	permits_pace(&world);
	sync_and_reply(1);
	assert_int_equal(permits_late(&call[1]), LEASE_DENY);
	assert_false(call[1].unavailable); /* Redis said that there was none */
}

/*--------------------------------------------------------------------- views */

static void test_what_is_seen(void **state)
{
	uint64_t retry_ns;

	(void)state;
	assert_int_equal(permits_left(&permits), 16);
	assert_false(permits_would_refuse(&permits, false, &retry_ns));
	fill(1);
	assert_int_equal(permits_left(&permits), 0);
	assert_false(permits_would_refuse(&permits, false, &retry_ns)); /* nobody knows yet */
	acquire(1);
	sync_and_reply(1);
	assert_int_equal(answer[1], LEASE_DENY);
	assert_true(permits_would_refuse(&permits, false, &retry_ns));
	assert_int_equal(retry_ns, CLOCK_S);
	assert_false(permits_would_refuse(&permits, true, &retry_ns));
	pass(90 * CLOCK_S);
	acquire(1);
	sync_and_reply(1);
	assert_true(permits_would_refuse(&permits, false, &retry_ns));
	assert_int_equal(retry_ns, 90 * CLOCK_S); /* as long as the one under way takes */
	assert_int_equal(call[1].retry_ns, 90 * CLOCK_S);
}

static void test_a_trial_takes_what_is_free(void **state)
{
	const struct permits_ask trial = { .trial = true };

	(void)state;
	rule.cap = 2;
	permits.left = 2;
	assert_int_equal(acquire_as(0, trial), LEASE_ADMIT);
	assert_int_equal(acquire_as(1, trial), LEASE_ADMIT);
	assert_int_equal(acquire_as(2, trial), LEASE_DENY);
	permits_next(&world, &sync);
	assert_int_equal(sync.need, 2);
	reply(2);
	permits_release(&call[0]);
	permits_release(&call[1]);
	permits_next(&world, &sync);
	assert_int_equal(sync.want, 0);
	reply_of(0, 1, 0);
	assert_int_equal(acquire_as(0, trial), LEASE_ADMIT);
	assert_int_equal(acquire_as(1, trial), LEASE_DENY);
}

/*----------------------------------------------------------------- many of them */

enum { SIDECARS = 6, STEPS = 200000 };

struct sidecar {
	struct lease_world common;
	struct permits_world world;
	struct permits_sum sum;
	struct permits permits;
	struct permits_ask ask[CALLS];
	bool waits[CALLS], has[CALLS];
	uint64_t waits_told;
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

	s->waits[a - s->ask] = false;
	s->has[a - s->ask] = got == LEASE_ADMIT;
}

/* permits.lua. */
static void execute(struct sidecar *s, uint64_t now)
{
	uint64_t others = 0, n = 1, share, lack = 0, room, left, before = s->held;

	for (unsigned i = 0; i < SIDECARS; i++)
		if (&sidecars[i] != s && sidecars[i].held_until_ns > now) {
			others += sidecars[i].held;
			n++;
		}
	share = rule.cap / n;
	for (unsigned i = 0; i < SIDECARS; i++) {
		const struct sidecar *o = &sidecars[i];
		uint64_t even = share > 0 ? share : 1;

		if (o == s || o->held_until_ns <= now || o->held >= even)
			continue;
		lack += o->waits_told < even - o->held ? o->waits_told : even - o->held;
	}
	room = rule.cap > others ? rule.cap - others : 0;
	if (room > share && lack > 0 && (share > 0 || before > 0))
		room = room - share > lack ? room - lack : share;
	s->held = s->sync.want < room ? s->sync.want : room;
	s->held = s->held > s->sync.need ? s->held : s->sync.need;
	s->waits_told = s->sync.want > s->held ? s->sync.want - s->held : 0;
	s->waits_told = s->waits_told < s->sync.waits ? s->waits_told : s->sync.waits;
	s->held_until_ns = s->held + s->waits_told > 0 ? now + rule.hold_ns : 0;
	left = rule.cap > others + s->held ? rule.cap - others - s->held : 0;
	lack = lack > left ? lack - left : 0;
	s->reply = (struct sync_reply){ .granted = s->held, .left = left };
	if (s->held > share)
		s->reply.yields = lack < s->held - share ? lack : s->held - share;
}

static void carry(struct sidecar *s, uint64_t now)
{
	if (!s->under_way) {
		if (permits_next(&s->world, &s->sync) == NULL)
			return;
		s->under_way = true;
		s->executed = false;
		s->at_ns = now + dice(CLOCK_MS);
	} else if (now >= s->at_ns && !s->executed) {
		s->executed = true;
		execute(s, now);
		s->at_ns = now + dice(CLOCK_MS);
	} else if (now >= s->at_ns) {
		s->under_way = false;
		if (dice(50) == 0) /* the answer is lost */
			permits_lost(&s->permits);
		else
			permits_reply(&s->permits, &s->reply);
	}
}

static void call_or_end(struct sidecar *s, unsigned i, unsigned ends_in)
{
	if (s->has[i] && dice(ends_in) == 0) {
		s->has[i] = false;
		permits_release(&s->ask[i]);
	} else if (s->waits[i] && dice(500) == 0) {
		s->waits[i] = false;
		permits_leave(&s->ask[i]);
	} else if (!s->has[i] && !s->waits[i] && dice(3) == 0) {
		enum lease_answer now;

		s->ask[i] = (struct permits_ask){ .permits = &s->permits,
						  .settle = note_settled,
						  .patient = rule.queue_size > 0,
						  .urgency = (uint8_t)dice(8) };
		s->waits[i] = true; /* it may be settled before it is answered */
		now = permits_acquire(&s->ask[i]);
		if (now != LEASE_PARK) {
			s->waits[i] = false;
			s->has[i] = now == LEASE_ADMIT;
		}
	}
}

static void turn(struct sidecar *s, uint64_t now, unsigned ends_in)
{
	s->common.now_ns = now;
	carry(s, now);
	call_or_end(s, (unsigned)dice(CALLS), ends_in);
	permits_renew(&s->world);
	(void)permits_pace(&s->world);
}

/* on_error deny: nothing is let in that was not granted. */
static void make_sidecars(uint64_t now, uint64_t cap, uint32_t queue_size)
{
	rule = (struct permits_rule){ .cap = cap,
				      .hold_ns = 100 * CLOCK_MS,
				      .parked_max = 8,
				      .queue_size = queue_size,
				      .on_error = LEASE_REFUSE };
	for (unsigned i = 0; i < SIDECARS; i++) {
		struct sidecar *s = &sidecars[i];

		*s = (struct sidecar){ .under_way = false };
		lease_world_init(&s->common, now, i + 1);
		s->common.peers = SIDECARS;
		permits_world_init(&s->world, &s->common);
		permits_init(&s->permits, &s->world, &rule, &s->sum);
	}
}

/* The most that were under way at once; least: the part of all that the poorest had. */
static uint64_t run(uint64_t cap, uint32_t queue_size, unsigned ends_in, double *mean,
		    double *least)
{
	uint64_t now = 1000 * CLOCK_S, most = 0, all = 0, of[SIDECARS] = { 0 };

	make_sidecars(now, cap, queue_size);
	for (unsigned step = 0; step < STEPS; step++) {
		uint64_t in_use = 0;

		now += dice(200000);
		for (unsigned i = 0; i < SIDECARS; i++) {
			turn(&sidecars[i], now, ends_in);
			in_use += sidecars[i].permits.in_use;
			of[i] += sidecars[i].permits.in_use;
		}
		most = in_use > most ? in_use : most;
		all += in_use;
	}
	*mean = (double)all / STEPS;
	*least = 1;
	for (unsigned i = 0; i < SIDECARS; i++)
		*least =
		    (double)of[i] / (double)all < *least ? (double)of[i] / (double)all : *least;
	print_message(
	    "queue %u: at most %llu of %llu in use, %.1f on average; the least had %.3f of it\n",
	    queue_size, (unsigned long long)most, (unsigned long long)cap, *mean, *least);
	return most;
}

static void test_the_sum_is_never_above_the_cap(void **state)
{
	double mean, least;
	uint64_t most = run(40, 0, 2, &mean, &least);

	(void)state;
	assert_in_range(most, 38, 40);
}

static void test_with_queues_too_and_nobody_starves(void **state)
{
	double mean, least;
	uint64_t most = run(40, 8, 50, &mean, &least);

	(void)state;
	assert_in_range(most, 38, 40);
	assert_true(mean > 34);
	assert_true(least > 0.12); /* a sixth would be even */
}

static void test_turns_where_there_is_not_one_for_each(void **state)
{
	double mean, least;
	uint64_t most = run(2, 8, 500, &mean, &least);

	(void)state;
	assert_int_equal(most, 2);
	assert_true(mean > 0.8);
	assert_true(least > 0.01); /* by chance; but each has its turns */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_calls_wait_for_their_permit, setup),
		cmocka_unit_test_setup(test_spare_permits_are_used_and_given_back, setup),
		cmocka_unit_test_setup(test_a_lower_cap_waits_for_room, setup),
		cmocka_unit_test_setup(test_small_caps_have_no_spare, setup),
		cmocka_unit_test_setup(test_holdings_are_told_anew, setup),
		cmocka_unit_test_setup(test_what_is_held_is_used, setup),
		cmocka_unit_test_setup(test_who_holds_nothing_begins_late, setup),
		cmocka_unit_test_setup(test_who_is_alone_has_all_of_it, setup),
		cmocka_unit_test_setup(test_allow_and_deny, setup),
		cmocka_unit_test_setup(test_what_is_under_way_is_told_when_it_is_back, setup),
		cmocka_unit_test_setup(test_a_sync_that_fails_keeps_nobody_waiting, setup),
		cmocka_unit_test_setup(test_late_answers, setup),
		cmocka_unit_test_setup(test_those_who_are_parked_are_bounded, setup),
		cmocka_unit_test_setup(test_a_full_house_has_calls_line_up, setup),
		cmocka_unit_test_setup(test_what_others_give_back_is_served, setup),
		cmocka_unit_test_setup(test_the_urgent_first_and_the_last_gives_way, setup),
		cmocka_unit_test_setup(test_newest_first, setup),
		cmocka_unit_test_setup(test_what_is_for_others_is_given_back, setup),
		cmocka_unit_test_setup(test_a_queue_without_redis, setup),
		cmocka_unit_test_setup(test_who_lines_up_without_redis_is_let_in_by_time, setup),
		cmocka_unit_test_setup(test_a_lost_sync_keeps_the_queue, setup),
		cmocka_unit_test_setup(test_what_is_seen, setup),
		cmocka_unit_test_setup(test_a_trial_takes_what_is_free, setup),
		cmocka_unit_test(test_the_sum_is_never_above_the_cap),
		cmocka_unit_test(test_with_queues_too_and_nobody_starves),
		cmocka_unit_test(test_turns_where_there_is_not_one_for_each),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
