/* The laws of filter.h, each with filters that do what they are told and write down what was asked
 * of them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "filters/filter.h"
#include "filters/stats.h"

/*---------------------------------------------------------------- puppets */

static char journal[1024]; /* "admit1 admit2 done2 ..." */

static void note(const char *what, const struct filter *f)
{
	size_t n = strlen(journal);

	snprintf(journal + n, sizeof(journal) - n, "%s%s%s", n > 0 ? " " : "", what, f->name);
}

/* What a puppet answers, and what it remembers of a call. */
struct strings {
	struct verdict admit, peek, attempt;
	struct again again;
	struct limit_info limit, attempt_limit;
	struct wait *wait; /* V_PENDING */
};

struct memory {
	unsigned admitted;
};

static struct verdict last_verdict; /* given to resume */
static unsigned resumed;

static void on_resume(struct call *call, struct verdict v)
{
	(void)call;
	last_verdict = v;
	resumed++;
}

static unsigned left;

static void on_leave(struct wait *w)
{
	assert_null(w->call);
	left++;
}

static struct verdict puppet_admit(const struct filter *f, struct call *call, void *mem)
{
	const struct strings *s = f->conf;
	struct memory *m = mem;

	note("admit", f);
	assert_int_equal(m->admitted++, 0);
	call->out.limit = s->limit;
	if (s->admit.kind == V_PENDING)
		wait_begin(s->wait, call, on_leave, verdict_deny(reason_rate_limited, 8));
	return s->admit;
}

static struct verdict puppet_peek(const struct filter *f, const struct call *call)
{
	(void)call;
	note("peek", f);
	return ((const struct strings *)f->conf)->peek;
}

static struct verdict puppet_attempt(const struct filter *f, struct call *call, void *mem,
				     struct attempt *a)
{
	const struct strings *s = f->conf;

	(void)mem, (void)a;
	note("attempt", f);
	if (s->attempt_limit.policy != NULL)
		call->out.limit = s->attempt_limit;
	return s->attempt;
}

static void puppet_attempted(const struct filter *f, struct call *call, void *mem,
			     const struct attempt *a)
{
	(void)call, (void)mem, (void)a;
	note("attempted", f);
}

static struct again puppet_again(const struct filter *f, struct call *call, void *mem,
				 const struct attempt *a)
{
	(void)call, (void)mem, (void)a;
	note("again", f);
	return ((const struct strings *)f->conf)->again;
}

static void puppet_respond(const struct filter *f, struct call *call, void *mem, struct head *h)
{
	(void)call, (void)mem, (void)h;
	note("respond", f);
}

static void puppet_done(const struct filter *f, struct call *call, void *mem)
{
	(void)call;
	note("done", f);
	assert_int_equal(((struct memory *)mem)->admitted, f->ops->admit != NULL);
}

static const struct filter_ops full_ops = {
	.name = "full",
	.mem_size = sizeof(struct memory),
	.admit = puppet_admit,
	.peek = puppet_peek,
	.attempt = puppet_attempt,
	.attempted = puppet_attempted,
	.again = puppet_again,
	.respond = puppet_respond,
	.done = puppet_done,
};

static const struct filter_ops watcher_ops = {
	.name = "watcher",
	.attempted = puppet_attempted,
};

static const struct filter_ops bare_ops = { .name = "bare", .mem_size = 3 };

enum { PUPPETS = 3 };

struct stage {
	struct strings strings[PUPPETS];
	struct filter filter[PUPPETS];
	struct filter_stats stats[PUPPETS];
	struct chain chain;
	struct env env;
	struct call call;
	max_align_t mem[16];
};

static struct stage stage;

static int setup(void **state)
{
	static const char *const names[PUPPETS] = { "1", "2", "3" };

	(void)state;
	memset(&stage, 0, sizeof(stage));
	for (int i = 0; i < PUPPETS; i++) {
		stage.filter[i] = (struct filter){ .ops = &full_ops,
						   .name = names[i],
						   .conf = &stage.strings[i],
						   .stats = &stage.stats[i] };
		stage.chain.filter[i] = &stage.filter[i];
	}
	stage.chain.n = PUPPETS;
	journal[0] = '\0';
	resumed = left = 0;
	return 0;
}

static struct call *begin(void)
{
	chain_layout(&stage.chain);
	assert_true(stage.chain.mem_size <= sizeof(stage.mem));
	memset(stage.mem, 0xff, sizeof(stage.mem));
	stage.env.worker = 1;
	stage.call.env = &stage.env;
	stage.call.resume = on_resume;
	chain_begin(&stage.chain, &stage.call, stage.mem);
	return &stage.call;
}

static void assert_journal(const char *expected)
{
	assert_string_equal(journal, expected);
	journal[0] = '\0';
}

static void assert_decisions(int i, uint64_t allow, uint64_t deny, uint64_t shadow, uint64_t skip)
{
	assert_int_equal(filter_stats_read(&stage.stats[i], DECISION_ALLOW), allow);
	assert_int_equal(filter_stats_read(&stage.stats[i], DECISION_DENY), deny);
	assert_int_equal(filter_stats_read(&stage.stats[i], DECISION_SHADOW_DENY), shadow);
	assert_int_equal(filter_stats_read(&stage.stats[i], DECISION_SKIP), skip);
}

/*-------------------------------------------------------------- F1: order */

static void test_f1_there_and_back(void **state)
{
	struct call *c = begin();
	struct attempt a = { .number = 1 };

	(void)state;
	assert_int_equal(chain_admit(c).kind, V_PASS);
	assert_int_equal(chain_attempt(c, &a).kind, V_PASS);
	assert_journal("admit1 admit2 admit3 attempt1 attempt2 attempt3");
	a.why = reason_ok;
	chain_attempted(c, &a);
	chain_respond(c, NULL);
	chain_done(c);
	assert_journal(
	    "attempted3 attempted2 attempted1 respond3 respond2 respond1 done3 done2 done1");
}

static void test_an_empty_chain_lets_everything_pass(void **state)
{
	struct attempt a = { .number = 1 };
	struct call *c;

	(void)state;
	stage.chain.n = 0;
	c = begin();
	assert_int_equal(chain_admit(c).kind, V_PASS);
	assert_int_equal(chain_attempt(c, &a).kind, V_PASS);
	a.why = reason_ok;
	chain_attempted(c, &a);
	assert_false(chain_again(c, &a).yes);
	chain_respond(c, NULL);
	chain_done(c);
	assert_journal("");
}

static void test_a_filter_without_hooks(void **state)
{
	struct call *c;

	(void)state;
	stage.filter[1].ops = &bare_ops;
	c = begin();
	assert_int_equal(stage.chain.mem_off[2] % sizeof(max_align_t), 0);
	assert_int_equal(chain_admit(c).kind, V_PASS);
	chain_done(c);
	assert_journal("admit1 admit3 done3 done1");
	assert_decisions(1, 0, 0, 0, 0);
}

/*-------------------------------------------------------- F2: done, once */

static void test_f2_denied_further_down(void **state)
{
	struct call *c;

	(void)state;
	stage.strings[1].admit = verdict_deny(reason_rate_limited, 5);
	c = begin();
	assert_int_equal(chain_admit(c).kind, V_DENY);
	assert_true(c->out.denied);
	assert_ptr_equal(c->out.why, reason_rate_limited);
	chain_respond(c, NULL);
	chain_done(c);
	assert_journal("admit1 admit2 peek3 respond2 respond1 done1");
}

static void test_f2_the_client_goes_before_anything(void **state)
{
	(void)state;
	chain_done(begin());
	assert_journal("");
}

static void test_f2_the_client_goes_during_a_delay(void **state)
{
	struct call *c;

	(void)state;
	stage.strings[1].admit = verdict_delay(100);
	c = begin();
	assert_int_equal(chain_admit(c).kind, V_DELAY);
	chain_done(c);
	assert_journal("admit1 admit2 peek3 done2 done1");
}

static void test_a_delay_goes_on(void **state)
{
	struct call *c;
	struct verdict v;

	(void)state;
	stage.strings[1].admit = verdict_delay(100);
	c = begin();
	v = chain_admit(c);
	assert_int_equal(v.kind, V_DELAY);
	assert_int_equal(v.ms, 100);
	assert_int_equal(chain_admit(c).kind, V_PASS);
	chain_done(c);
	assert_journal("admit1 admit2 peek3 admit3 done3 done2 done1");
}

static void test_a_skip_is_owed_nothing(void **state)
{
	struct call *c;

	(void)state;
	stage.strings[1].admit = verdict_skip();
	c = begin();
	assert_int_equal(chain_admit(c).kind, V_PASS);
	chain_respond(c, NULL);
	chain_done(c);
	assert_journal("admit1 admit2 admit3 respond3 respond1 done3 done1");
	assert_decisions(1, 0, 0, 0, 1);
}

/*-------------------------------------------------- F3: attempted, once */

static void test_f3_denied_attempts(void **state)
{
	struct attempt a = { .number = 1 };
	struct call *c;

	(void)state;
	stage.strings[1].attempt = verdict_deny(reason_no_endpoint, 9);
	c = begin();
	chain_admit(c);
	journal[0] = '\0';
	assert_int_equal(chain_attempt(c, &a).kind, V_DENY);
	assert_ptr_equal(a.why, reason_no_endpoint);
	assert_true(c->out.denied); /* nothing was tried: tokens go back */
	chain_attempted(c, &a);
	assert_journal("attempt1 attempt2 attempted1");
	chain_done(c);
}

static void test_f3_a_second_attempt_that_is_denied(void **state)
{
	struct attempt first = { .number = 1 }, second = { .number = 2 };
	struct call *c = begin();

	(void)state;
	chain_admit(c);
	chain_attempt(c, &first);
	first.why = reason_connect_failed;
	chain_attempted(c, &first);
	stage.strings[1].again = (struct again){ true, 30 };
	stage.strings[0].again = (struct again){ true, 10 };
	journal[0] = '\0';
	assert_int_equal(chain_again(c, &first).ms, 30);
	assert_journal("again3 again2");
	stage.strings[1].attempt = verdict_deny(reason_no_endpoint, 9);
	assert_int_equal(chain_attempt(c, &second).kind, V_DENY);
	assert_false(c->out.denied); /* the call had its try, and pays for it */
	chain_attempted(c, &second);
	chain_done(c);
}

/* Who denies an attempt is named; unless the call goes on to somewhere else. */
static void test_f3_denied_here_and_let_go_there(void **state)
{
	struct attempt here = { .number = 1 }, there = { .number = 1 };
	struct call *c;

	(void)state;
	stage.strings[0].limit = (struct limit_info){ .policy = "rate", .remaining = 7 };
	stage.strings[1].attempt = verdict_deny(reason_breaker_open, 9);
	stage.strings[1].attempt_limit = (struct limit_info){ .policy = "breaker" };
	c = begin();
	chain_admit(c);
	assert_int_equal(chain_attempt(c, &here).kind, V_DENY);
	chain_attempted(c, &here);
	assert_true(c->out.denied);
	assert_string_equal(c->out.limit.policy, "breaker");
	chain_undeny(c);
	assert_false(c->out.denied);
	assert_string_equal(c->out.limit.policy, "rate");
	stage.strings[1].attempt = verdict_pass();
	assert_int_equal(chain_attempt(c, &there).kind, V_PASS);
	assert_string_equal(c->out.limit.policy, "rate");
	there.why = reason_ok;
	chain_attempted(c, &there);
	chain_done(c);
	assert_false(c->out.denied);
}

/* A trial that would deny an attempt is not named. */
static void test_f3_a_trial_leaves_the_limit(void **state)
{
	struct attempt a = { .number = 1 };
	struct call *c;

	(void)state;
	stage.filter[1].shadow = true;
	stage.strings[1].attempt = verdict_deny(reason_breaker_open, 9);
	stage.strings[1].attempt_limit = (struct limit_info){ .policy = "breaker" };
	c = begin();
	chain_admit(c);
	assert_int_equal(chain_attempt(c, &a).kind, V_PASS);
	assert_null(c->out.limit.policy);
	a.why = reason_ok;
	chain_attempted(c, &a);
	chain_done(c);
}

static void test_f3_watchers_hear_of_every_attempt(void **state)
{
	struct attempt a = { .number = 1 };
	struct call *c;

	(void)state;
	stage.filter[2].ops = &watcher_ops;
	stage.strings[1].attempt = verdict_deny(reason_no_endpoint, 9);
	c = begin();
	chain_admit(c);
	journal[0] = '\0';
	chain_attempt(c, &a);
	chain_attempted(c, &a);
	assert_journal("attempt1 attempt2 attempted3 attempted1");
	chain_done(c);
}

/*----------------------------------------------------- F4, F6: waiting */

static struct call *begin_waiting(struct wait *w)
{
	struct call *c;

	stage.strings[1].admit = verdict_pending(8);
	stage.strings[1].wait = w;
	c = begin();
	assert_int_equal(chain_admit(c).kind, V_PENDING);
	return c;
}

static void test_f4_a_wait_that_passes(void **state)
{
	struct wait w;
	struct call *c = begin_waiting(&w);

	(void)state;
	wait_settle(&w, verdict_pass());
	assert_int_equal(resumed, 1);
	assert_int_equal(last_verdict.kind, V_PASS);
	assert_int_equal(chain_admit(c).kind, V_PASS);
	chain_done(c);
	assert_journal("admit1 admit2 peek3 admit3 done3 done2 done1");
	assert_decisions(1, 1, 0, 0, 0);
	assert_int_equal(left, 0);
}

static void test_f4_a_wait_that_denies(void **state)
{
	struct wait w;
	struct call *c = begin_waiting(&w);

	(void)state;
	stage.strings[2].peek = verdict_deny(reason_rate_limited, 700);
	wait_settle(&w, verdict_deny(reason_rate_limited, 7));
	assert_int_equal(last_verdict.kind, V_DENY);
	assert_int_equal(last_verdict.ms, 700);
	assert_true(c->out.denied);
	chain_respond(c, NULL);
	chain_done(c);
	assert_journal("admit1 admit2 peek3 peek3 respond2 respond1 done1");
	assert_decisions(1, 0, 1, 0, 0);
}

static void test_f4_a_wait_whose_call_is_gone(void **state)
{
	struct wait w;

	(void)state;
	chain_done(begin_waiting(&w));
	assert_int_equal(left, 1);
	assert_null(w.call);
	assert_int_equal(resumed, 0);
	assert_journal("admit1 admit2 peek3 done1");
	assert_decisions(1, 0, 0, 0, 0); /* it has decided nothing */
}

static void test_f4_a_wait_that_lasts_too_long(void **state)
{
	struct wait w;
	struct call *c = begin_waiting(&w);
	struct verdict v = chain_late(c);

	(void)state;
	assert_int_equal(left, 1);
	assert_int_equal(v.kind, V_DENY);
	assert_int_equal(v.ms, 8);
	assert_true(c->out.denied);
	chain_done(c);
	assert_int_equal(left, 1);
	assert_journal("admit1 admit2 peek3 peek3 done1");
	assert_decisions(1, 0, 1, 0, 0);
}

static struct verdict decide_yes(struct wait *w)
{
	assert_null(w->call);
	return verdict_pass();
}

static void test_f4_a_wait_that_is_decided_when_its_time_is_over(void **state)
{
	struct wait w;
	struct call *c = begin_waiting(&w);

	(void)state;
	w.decide = decide_yes;
	assert_int_equal(chain_late(c).kind, V_PASS);
	assert_int_equal(left, 0);
	assert_null(c->wait);
	chain_done(c);
	assert_int_equal(left, 0);
	assert_decisions(1, 1, 0, 0, 0);
}

static void test_f4_a_waiting_call_that_is_answered_otherwise(void **state)
{
	struct wait w;
	struct call *c = begin_waiting(&w);

	(void)state;
	chain_leave(c);
	assert_int_equal(left, 1);
	assert_null(c->wait);
	assert_false(c->out.denied);
	chain_leave(c); /* no wait, nothing to leave */
	chain_done(c);
	assert_int_equal(left, 1);
	assert_journal("admit1 admit2 peek3 done1");
	assert_decisions(1, 0, 0, 0, 0);
}

static void test_f4_a_wait_in_shadow(void **state)
{
	struct wait w;
	struct call *c;

	(void)state;
	stage.filter[1].shadow = true;
	stage.strings[1].admit = verdict_pending(8);
	stage.strings[1].wait = &w;
	c = begin();
	assert_int_equal(chain_admit(c).kind, V_PASS);
	assert_int_equal(left, 1);
	assert_false(c->out.denied);
	chain_done(c);
	assert_journal("admit1 admit2 admit3 done3 done1");
	assert_decisions(1, 0, 0, 1, 0);
}

/* wait_settle from inside a hook ends the process, so it cannot be tried here; that a hook is seen
 * as one can. */
static struct call *inside;

static struct verdict looking_admit(const struct filter *f, struct call *call, void *mem)
{
	(void)f, (void)mem;
	assert_true(call->in_hook);
	inside = call;
	return verdict_pass();
}

static void test_f6_hooks_are_seen_as_such(void **state)
{
	static const struct filter_ops looking = { .name = "looking", .admit = looking_admit };
	struct call *c;

	(void)state;
	stage.filter[0].ops = &looking;
	c = begin();
	chain_admit(c);
	assert_ptr_equal(inside, c);
	assert_false(c->in_hook);
	chain_done(c);
}

/*------------------------------------------------------------- F5: memory */

static void test_f5_memory_is_zeroed_for_every_call(void **state)
{
	(void)state;
	for (int i = 0; i < 2; i++) {
		struct call *c = begin(); /* puppet_admit finds its memory zeroed */

		assert_int_equal(chain_admit(c).kind, V_PASS);
		chain_done(c);
	}
}

/*------------------------------------------------------- F10: who calls */

static const struct reason *proof;

static const struct reason *puppet_prove(struct call *call)
{
	(void)call;
	note("prove", &stage.filter[0]);
	return proof;
}

static struct call *begin_proving(const struct reason *why)
{
	proof = why;
	stage.filter[0].by_address = true;
	stage.filter[2].by_address = true; /* not at the front */
	stage.call.prove = puppet_prove;
	return begin();
}

static void test_f10_proven_behind_the_limits_by_address(void **state)
{
	struct call *c = begin_proving(NULL);

	(void)state;
	assert_int_equal(chain_admit(c).kind, V_PASS);
	assert_journal("admit1 prove1 admit2 admit3");
	chain_done(c);
}

static void test_f10_those_at_the_front_are_paid(void **state)
{
	struct call *c = begin_proving(reason_missing_key);

	(void)state;
	assert_ptr_equal(chain_admit(c).why, reason_missing_key);
	assert_false(c->out.denied);
	chain_done(c);
	assert_journal("admit1 prove1 done1");
}

static void test_f10_nobody_is_asked_who_is_refused_before(void **state)
{
	struct call *c = begin_proving(reason_missing_key);

	(void)state;
	stage.strings[0].admit = verdict_deny(reason_rate_limited, 10);
	stage.strings[1].peek = verdict_deny(reason_rate_limited, 1000); /* of whom? */
	assert_int_equal(chain_admit(c).ms, 10);
	chain_done(c);
	assert_journal("admit1");
}

static void test_f10_a_chain_without_filters_asks_too(void **state)
{
	struct call *c;

	(void)state;
	stage.chain.n = 0;
	c = begin_proving(reason_missing_key);
	assert_int_equal(chain_admit(c).kind, V_DENY);
	chain_done(c);
}

/*-------------------------------------------------- F7: who pays, shadows */

static void test_f7_denied_is_known_in_done_only_if_so(void **state)
{
	struct call *c = begin();

	(void)state;
	chain_admit(c);
	assert_false(c->out.denied); /* a client that goes away now pays */
	chain_done(c);
	stage.strings[2].admit = verdict_deny(reason_missing_key, 0);
	c = begin();
	chain_admit(c);
	assert_true(c->out.denied);
	chain_done(c);
}

static void test_shadow(void **state)
{
	struct attempt a = { .number = 1 };
	struct call *c;

	(void)state;
	stage.filter[0].shadow = stage.filter[1].shadow = true;
	stage.strings[0].admit = verdict_deny(reason_rate_limited, 5);
	stage.strings[1].admit = verdict_delay(5);
	stage.strings[1].attempt = verdict_deny(reason_no_endpoint, 5);
	stage.strings[1].again = (struct again){ true, 5 };
	c = begin();
	assert_int_equal(chain_admit(c).kind, V_PASS);
	assert_int_equal(chain_attempt(c, &a).kind, V_PASS);
	assert_null(a.why);
	a.why = reason_ok;
	chain_attempted(c, &a);
	assert_false(chain_again(c, &a).yes);
	chain_respond(c, NULL);
	chain_done(c);
	assert_false(c->out.denied);
	assert_journal("admit1 admit2 admit3 attempt1 attempt2 attempt3 attempted3 attempted1 "
		       "again3 respond3 respond2 done3 done2");
	assert_decisions(0, 1, 0, 1, 0); /* its attempt was allowed */
	assert_decisions(1, 1, 0, 1, 0);
	assert_decisions(2, 2, 0, 0, 0);
}

/*---------------------------------------------------------------- F8: peek */

static void test_f8_the_longest_wait(void **state)
{
	struct call *c;
	struct verdict v;

	(void)state;
	stage.strings[0].admit = verdict_deny(reason_rate_limited, 500);
	stage.strings[1].peek = verdict_deny(reason_rate_limited, 900);
	stage.strings[2].peek = verdict_deny(reason_rate_limited, 700);
	c = begin();
	v = chain_admit(c);
	assert_int_equal(v.ms, 900);
	assert_ptr_equal(v.why, reason_rate_limited);
	assert_int_equal(c->denier, 0);
	chain_respond(c, NULL);
	chain_done(c);
	assert_journal("admit1 peek2 peek3 respond1");
	assert_decisions(1, 0, 0, 0, 0); /* peeking is no decision */
}

static void test_f8_shadows_and_other_refusals_do_not_lengthen_it(void **state)
{
	(void)state;
	stage.strings[0].admit = verdict_deny(reason_rate_limited, 500);
	stage.filter[1].shadow = true;
	stage.strings[1].peek = verdict_deny(reason_rate_limited, 900);
	stage.strings[2].peek = verdict_deny(reason_missing_key, 700);
	assert_int_equal(chain_admit(begin()).ms, 500);
	chain_done(&stage.call);
	assert_journal("admit1 peek3");
}

static void test_f8_a_refusal_for_good_has_no_wait(void **state)
{
	(void)state;
	stage.strings[0].admit = verdict_deny(reason_missing_key, 0);
	stage.strings[1].peek = verdict_deny(reason_rate_limited, 900);
	assert_int_equal(chain_admit(begin()).ms, 0);
	chain_done(&stage.call);
	assert_journal("admit1");
}

/*------------------------------------------------------ waits that are in vain */

/* The call would wait by the second filter, and the third will refuse it whatever it waits for. */
static struct call *begin_doomed(struct verdict wait, struct verdict doom)
{
	stage.strings[1].admit = wait;
	stage.strings[2].peek = stage.strings[2].admit = doom;
	return begin();
}

static void test_nobody_is_delayed_in_vain(void **state)
{
	struct call *c = begin_doomed(verdict_delay(100), verdict_deny(reason_rate_limited, 101));
	struct verdict v = chain_admit(c);

	(void)state;
	assert_int_equal(v.kind, V_DENY);
	assert_int_equal(v.ms, 101);
	assert_int_equal(c->denier, 2);
	assert_true(c->out.denied);
	chain_respond(c, NULL);
	chain_done(c);
	assert_journal("admit1 admit2 peek3 admit3 respond3 respond2 respond1 done2 done1");
	assert_decisions(2, 0, 1, 0, 0);
}

static void test_nobody_queues_in_vain(void **state)
{
	struct wait w;
	struct call *c = begin_doomed(verdict_pending(8), verdict_deny(reason_missing_key, 0));

	(void)state;
	stage.strings[1].wait = &w;
	assert_ptr_equal(chain_admit(c).why, reason_missing_key);
	assert_int_equal(left, 1);
	assert_int_equal(resumed, 0);
	chain_done(c);
	assert_journal("admit1 admit2 peek3 admit3 done1");
	assert_decisions(1, 0, 0, 0, 0);
}

static void test_what_may_pass_by_then_is_waited_for(void **state)
{
	static const struct {
		enum reason_index why;
		uint64_t ms;
		bool shadow, trial;
	} rows[] = {
		{ REASON_rate_limited, 100, false, false },
		{ REASON_concurrency_full, 1000, false, false },
		{ REASON_rate_limited, 1000, true, false },
		{ REASON_rate_limited, 1000, false, true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct verdict doom = verdict_deny(&reason_table[rows[i].why], rows[i].ms);

		doom.trial = rows[i].trial;
		setup(NULL);
		stage.filter[2].shadow = rows[i].shadow;
		assert_int_equal(chain_admit(begin_doomed(verdict_delay(100), doom)).kind, V_DELAY);
		chain_done(&stage.call);
	}
}

/* It was given something back between the look and the question. */
static void test_one_that_says_yes_after_all_is_asked_once(void **state)
{
	struct call *c = begin_doomed(verdict_delay(100), verdict_deny(reason_rate_limited, 101));

	(void)state;
	stage.strings[2].admit = verdict_pass();
	assert_int_equal(chain_admit(c).kind, V_DELAY);
	assert_int_equal(chain_admit(c).kind, V_PASS);
	chain_done(c);
	assert_journal("admit1 admit2 peek3 admit3 done3 done2 done1");
	assert_decisions(2, 1, 0, 0, 0);
	setup(NULL);
	c = begin_doomed(verdict_delay(100), verdict_deny(reason_rate_limited, 101));
	stage.strings[2].admit = verdict_pass();
	assert_int_equal(chain_admit(c).kind, V_DELAY);
	chain_done(c); /* the client does not wait: all the same it is given back */
	assert_journal("admit1 admit2 peek3 admit3 done3 done2 done1");
}

/*------------------------------------------------------------- which limit */

static void test_the_limit_told_is_the_nearest(void **state)
{
	(void)state;
	stage.strings[0].limit = (struct limit_info){ .policy = "1", .remaining = 5 };
	stage.strings[1].limit = (struct limit_info){ .policy = "2", .remaining = 3 };
	stage.strings[2].limit = (struct limit_info){ .policy = "3", .remaining = 3 };
	chain_admit(begin());
	assert_string_equal(stage.call.out.limit.policy, "2");
	chain_done(&stage.call);
}

static void test_the_limit_told_is_the_deniers(void **state)
{
	(void)state;
	stage.strings[0].limit = (struct limit_info){ .policy = "1", .remaining = 0 };
	stage.strings[1].limit = (struct limit_info){ .policy = "2", .remaining = 1 };
	stage.strings[1].admit = verdict_deny(reason_rate_limited, 5);
	chain_admit(begin());
	assert_string_equal(stage.call.out.limit.policy, "2");
	chain_done(&stage.call);
}

static void test_the_limit_told_is_the_one_that_lets_wait(void **state)
{
	struct wait w;

	(void)state;
	stage.strings[0].limit = (struct limit_info){ .policy = "1", .remaining = 0 };
	stage.strings[1].limit = (struct limit_info){ .policy = "2", .remaining = 0 };
	begin_waiting(&w);
	assert_string_equal(stage.call.out.limit.policy, "2");
	assert_int_equal(chain_late(&stage.call).kind, V_DENY);
	assert_string_equal(stage.call.out.limit.policy, "2");
	chain_done(&stage.call);
}

static void test_the_limit_told_is_none_that_is_tried_out(void **state)
{
	(void)state;
	stage.filter[1].shadow = true;
	stage.strings[0].limit = (struct limit_info){ .policy = "1", .remaining = 7 };
	stage.strings[1].limit = (struct limit_info){ .policy = "2", .remaining = 0 };
	stage.strings[1].admit = verdict_deny(reason_rate_limited, 5);
	chain_admit(begin());
	assert_string_equal(stage.call.out.limit.policy, "1");
	assert_int_equal(stage.call.out.limit.remaining, 7);
	chain_done(&stage.call);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_f2_denied_further_down, setup),
		cmocka_unit_test_setup(test_f2_the_client_goes_before_anything, setup),
		cmocka_unit_test_setup(test_f2_the_client_goes_during_a_delay, setup),
		cmocka_unit_test_setup(test_f3_denied_attempts, setup),
		cmocka_unit_test_setup(test_f3_a_second_attempt_that_is_denied, setup),
		cmocka_unit_test_setup(test_f3_denied_here_and_let_go_there, setup),
		cmocka_unit_test_setup(test_f3_a_trial_leaves_the_limit, setup),
		cmocka_unit_test_setup(test_f3_watchers_hear_of_every_attempt, setup),
		cmocka_unit_test_setup(test_f4_a_wait_that_denies, setup),
		cmocka_unit_test_setup(test_f4_a_wait_whose_call_is_gone, setup),
		cmocka_unit_test_setup(test_f4_a_wait_that_lasts_too_long, setup),
		cmocka_unit_test_setup(test_f4_a_wait_that_is_decided_when_its_time_is_over, setup),
		cmocka_unit_test_setup(test_f4_a_waiting_call_that_is_answered_otherwise, setup),
		cmocka_unit_test_setup(test_f4_a_wait_in_shadow, setup),
		cmocka_unit_test_setup(test_f4_a_wait_that_passes, setup),
		cmocka_unit_test_setup(test_f1_there_and_back, setup),
		cmocka_unit_test_setup(test_an_empty_chain_lets_everything_pass, setup),
		cmocka_unit_test_setup(test_a_filter_without_hooks, setup),
		cmocka_unit_test_setup(test_a_delay_goes_on, setup),
		cmocka_unit_test_setup(test_a_skip_is_owed_nothing, setup),
		cmocka_unit_test_setup(test_f5_memory_is_zeroed_for_every_call, setup),
		cmocka_unit_test_setup(test_f6_hooks_are_seen_as_such, setup),
		cmocka_unit_test_setup(test_f10_proven_behind_the_limits_by_address, setup),
		cmocka_unit_test_setup(test_f10_those_at_the_front_are_paid, setup),
		cmocka_unit_test_setup(test_f10_nobody_is_asked_who_is_refused_before, setup),
		cmocka_unit_test_setup(test_f10_a_chain_without_filters_asks_too, setup),
		cmocka_unit_test_setup(test_f7_denied_is_known_in_done_only_if_so, setup),
		cmocka_unit_test_setup(test_shadow, setup),
		cmocka_unit_test_setup(test_f8_the_longest_wait, setup),
		cmocka_unit_test_setup(test_f8_shadows_and_other_refusals_do_not_lengthen_it,
				       setup),
		cmocka_unit_test_setup(test_f8_a_refusal_for_good_has_no_wait, setup),
		cmocka_unit_test_setup(test_nobody_is_delayed_in_vain, setup),
		cmocka_unit_test_setup(test_nobody_queues_in_vain, setup),
		cmocka_unit_test_setup(test_what_may_pass_by_then_is_waited_for, setup),
		cmocka_unit_test_setup(test_one_that_says_yes_after_all_is_asked_once, setup),
		cmocka_unit_test_setup(test_the_limit_told_is_the_nearest, setup),
		cmocka_unit_test_setup(test_the_limit_told_is_the_deniers, setup),
		cmocka_unit_test_setup(test_the_limit_told_is_the_one_that_lets_wait, setup),
		cmocka_unit_test_setup(test_the_limit_told_is_none_that_is_tried_out, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
