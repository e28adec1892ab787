/* Many sidecars and one Redis under virtual time: delays, losses, outages.  Every admitted call is put to one exact
 * bucket as well; how deep that goes into debt is the excess, which L1 bounds. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "store/lease.h"

#define STEP_NS    (20 * UINT64_C(1000))
#define WAIT_NS    (10 * CLOCK_MS)
#define TIMEOUT_NS (20 * CLOCK_MS)
#define JITTER_NS  UINT64_C(300000)

enum { SIDECARS_MAX = 16, CALLS_MAX = 64, LOSSES_UNTIL_DOWN = 3 };

struct scenario {
	unsigned sidecars, peers;
	uint64_t rate, burst; /* of the limit */
	double load;          /* offered, in parts of the rate */
	bool skewed;          /* the first has half of it */
	double seconds;
	bool strict, budget;
	enum lease_on_error on_error;
	double lost_requests, lost_replies, refused; /* shares */
	double outage_from, outage_to;               /* s */
	double delete_at;
	uint64_t delay_ns; /* one way, at least; 0: 200 us */
};

struct result {
	uint64_t offered, admitted, waited, late, syncs, lost_unseen;
	uint64_t excess;        /* tokens, rounded up */
	uint64_t kappa;         /* of all sidecars */
	uint64_t before, after; /* admitted up to the outage's end, and after it */
	uint64_t outage;        /* during it */
	uint64_t used, ledgers; /* budgets */
};

/*------------------------------------------------------------------- Redis */

/* The bucket script, in ns; the budget script, of one window. */
struct server {
	uint64_t token_ns, burst, full_at;
	uint64_t used, generation;
	uint64_t seq[SIDECARS_MAX], grant[SIDECARS_MAX];
};

static uint64_t grant_of(uint64_t free, const struct sync *s)
{
	if (s->want == 0 || free < s->least)
		return 0;
	return s->want < free ? s->want : free;
}

static struct sync_reply serve_bucket(struct server *v, uint64_t now, const struct sync *s)
{
	int64_t debt = v->full_at > now ? (int64_t)(v->full_at - now) : 0;
	struct sync_reply r = { .granted = 0 };
	uint64_t taken;
	int64_t full = (int64_t)(v->burst * v->token_ns);

	debt += s->owed * (int64_t)v->token_ns;
	if (debt < 0)
		debt = 0;
	taken = ((uint64_t)debt + v->token_ns - 1) / v->token_ns;
	r.granted = grant_of(taken < v->burst ? v->burst - taken : 0, s);
	debt += (int64_t)(r.granted * v->token_ns);
	v->full_at = now + (uint64_t)debt;
	if (r.granted < s->want) {
		int64_t wait =
		    debt + (int64_t)((r.granted > 0 ? 1 : s->least) * v->token_ns) - full;

		r.retry_us = wait > 0 ? (uint64_t)wait / 1000 + 1 : 0;
	}
	r.left = debt < full ? (uint64_t)(full - debt) / v->token_ns : 0;
	r.reset_us = (uint64_t)debt / 1000;
	return r;
}

static struct sync_reply serve_budget(struct server *v, unsigned who, uint64_t seq, uint64_t own,
				      const struct budget_count *count, const struct sync *s)
{
	struct sync_reply r = { .count = { .known = true, .window = 1 } };

	snprintf(r.count.name, sizeof(r.count.name), "%" PRIu64, v->generation);
	if (v->seq[who] == seq) {
		r.granted = v->grant[who];
	} else {
		if (count->known && strcmp(count->name, r.count.name) != 0)
			v->used += own;
		v->used = (uint64_t)((int64_t)v->used + s->owed);
		r.granted = grant_of(v->used < v->burst ? v->burst - v->used : 0, s);
		v->used += r.granted;
		v->seq[who] = seq;
		v->grant[who] = r.granted;
	}
	r.left = v->used < v->burst ? v->burst - v->used : 0;
	r.retry_us = r.granted < s->want ? 3600 * UINT64_C(1000000) : 0;
	return r;
}

static void lose_data(struct server *v)
{
	v->full_at = 0;
	v->used = 0;
	v->generation++;
	memset(v->seq, 0, sizeof(v->seq));
}

/*---------------------------------------------------------------- sidecars */

enum wire { IDLE, TO_SERVER, TO_SIDECAR, LOST };

struct waiting {
	struct lease_ask ask;
	struct lease_part part;
	bool used;
	uint64_t until_ns;
	struct sidecar *sidecar;
};

struct sidecar {
	struct sim *sim;
	unsigned number;
	struct lease_world world;
	struct lease_rule rule;
	struct lease lease;
	double load; /* calls a step */
	enum wire wire;
	uint64_t wire_at, probe_at, sent_at;
	bool executed;
	struct sync sync;
	struct sync_reply reply;
	unsigned losses;
	struct waiting call[CALLS_MAX];
};

struct sim {
	const struct scenario *s;
	struct result r;
	struct server server;
	struct sidecar sidecar[SIDECARS_MAX];
	uint64_t now, start, random;
	uint64_t exact_full_at, deepest_ns;
	bool deleted;
};

static double dice(struct sim *m)
{
	m->random ^= m->random << 13;
	m->random ^= m->random >> 7;
	m->random ^= m->random << 17;
	return (double)(m->random >> 11) / 9007199254740992.0;
}

static double seconds(const struct sim *m)
{
	return (double)(m->now - m->start) / 1e9;
}

static bool is_out(const struct sim *m)
{
	return seconds(m) >= m->s->outage_from && seconds(m) < m->s->outage_to;
}

/* The exact bucket: its debt may go beyond its size, which is the excess. */
static void count_admitted(struct sim *m)
{
	uint64_t token = m->server.token_ns, full = m->s->burst * token;

	if (m->exact_full_at < m->now)
		m->exact_full_at = m->now;
	m->exact_full_at += token;
	if (m->exact_full_at - m->now > full && m->exact_full_at - m->now - full > m->deepest_ns)
		m->deepest_ns = m->exact_full_at - m->now - full;
	m->r.admitted++;
	m->r.outage += is_out(m);
	if (seconds(m) < m->s->outage_to)
		m->r.before++;
	else
		m->r.after++;
}

static void settled(struct lease_ask *a, enum lease_answer answer)
{
	struct waiting *w = (struct waiting *)(void *)a;

	w->used = false;
	if (answer == LEASE_ADMIT)
		count_admitted(w->sidecar->sim);
}

static void arrive(struct sidecar *c)
{
	struct waiting *w = NULL;
	enum lease_answer answer;

	for (unsigned i = 0; i < CALLS_MAX && w == NULL; i++)
		w = c->call[i].used ? NULL : &c->call[i];
	c->sim->r.offered++;
	if (w == NULL)
		return;
	*w = (struct waiting){ .part = { .lease = &c->lease, .cost = 1 },
			       .sidecar = c,
			       .until_ns = c->sim->now + WAIT_NS };
	w->ask = (struct lease_ask){ .n = 1, .part = &w->part, .settle = settled };
	answer = lease_admit(&c->world, &w->ask);
	w->used = answer == LEASE_PARK;
	c->sim->r.waited += w->used;
	if (answer == LEASE_ADMIT)
		count_admitted(c->sim);
}

static void give_up_waiting(struct sidecar *c)
{
	if (c->lease.n_parked == 0)
		return;
	for (unsigned i = 0; i < CALLS_MAX; i++) {
		struct waiting *w = &c->call[i];

		if (!w->used || w->until_ns > c->sim->now)
			continue;
		w->used = false;
		c->sim->r.late++;
		if (lease_late(&c->world, &w->ask) == LEASE_ADMIT)
			count_admitted(c->sim);
	}
}

static uint64_t delay(struct sim *m)
{
	uint64_t least = m->s->delay_ns != 0 ? m->s->delay_ns : 200000;

	return least + (uint64_t)(dice(m) * (double)JITTER_NS);
}

static void lost(struct sidecar *c)
{
	c->wire = IDLE;
	c->sim->r.lost_unseen += !c->executed;
	lease_lost(&c->lease);
	if (++c->losses >= LOSSES_UNTIL_DOWN)
		lease_down(&c->world);
	c->probe_at = c->sim->now + 100 * CLOCK_MS + (uint64_t)(dice(c->sim) * 1e8);
}

static void execute(struct sidecar *c)
{
	struct sim *m = c->sim;

	if (is_out(m) || dice(m) < m->s->lost_requests) {
		c->wire = LOST;
		c->wire_at = c->sent_at + TIMEOUT_NS;
		return;
	}
	c->executed = true;
	m->r.syncs++;
	if (m->s->budget)
		c->reply = serve_budget(&m->server, c->number, c->lease.seq, c->lease.sent_own,
					&c->lease.sent_count, &c->sync);
	else
		c->reply = serve_bucket(&m->server, m->now, &c->sync);
	c->wire = dice(m) < m->s->lost_replies ? LOST : TO_SIDECAR;
	c->wire_at = c->wire == LOST ? c->sent_at + TIMEOUT_NS : m->now + delay(m);
}

static void receive(struct sidecar *c)
{
	uint64_t rtt = c->sim->now - c->sent_at;

	c->wire = IDLE;
	c->losses = 0;
	c->world.rtt_ns = (c->world.rtt_ns * 7 + rtt) / 8;
	lease_up(&c->world);
	lease_reply(&c->lease, &c->reply);
}

static void send_next(struct sidecar *c)
{
	if (c->wire != IDLE || c->world.down || lease_next(&c->world, &c->sync) == NULL)
		return;
	if (dice(c->sim) < c->sim->s->refused) {
		lease_refused(&c->lease);
		return;
	}
	c->wire = TO_SERVER;
	c->executed = false;
	c->sent_at = c->sim->now;
	c->wire_at = c->sim->now + delay(c->sim);
}

/* A ping in place of calls: the server is back. */
static void probe(struct sidecar *c)
{
	if (!c->world.down || c->sim->now < c->probe_at)
		return;
	c->probe_at = c->sim->now + 100 * CLOCK_MS + (uint64_t)(dice(c->sim) * 1e8);
	if (!is_out(c->sim)) {
		c->losses = 0;
		lease_up(&c->world);
	}
}

static void turn(struct sidecar *c)
{
	struct sim *m = c->sim;

	c->world.now_ns = m->now;
	if (c->wire != IDLE && m->now >= c->wire_at) {
		if (c->wire == TO_SERVER)
			execute(c);
		else if (c->wire == TO_SIDECAR)
			receive(c);
		else
			lost(c);
	}
	probe(c);
	for (double p = c->load; p > 0; p -= 1)
		if (dice(m) < p)
			arrive(c);
	give_up_waiting(c);
	send_next(c);
}

/*-------------------------------------------------------------------- runs */

static void begin(struct sim *m, const struct scenario *s, uint64_t seed)
{
	*m = (struct sim){ .s = s, .start = CLOCK_S, .now = CLOCK_S, .random = seed * 77777 + 1 };
	m->server = (struct server){ .token_ns = CLOCK_S / s->rate, .burst = s->burst };
	for (unsigned i = 0; i < s->sidecars; i++) {
		struct sidecar *c = &m->sidecar[i];
		double share = 1.0 / s->sidecars;

		if (s->skewed)
			share = i == 0 ? 0.5 : 0.5 / (s->sidecars - 1);
		c->sim = m;
		c->number = i;
		c->load = s->load * (double)s->rate * share * (double)STEP_NS / 1e9;
		c->rule = (struct lease_rule){ .kind = s->budget ? LEASE_BUDGET : LEASE_BUCKET,
					       .on_error = s->on_error,
					       .strict = s->strict,
					       .overshoot_ppm = 50000,
					       .parked_max = CALLS_MAX,
					       .burst = s->burst,
					       .count = s->rate,
					       .period_ns = CLOCK_S };
		if (s->budget)
			c->rule.period_ns = 86400 * CLOCK_S;
		lease_world_init(&c->world, m->now, seed + i);
		c->world.peers = s->peers != 0 ? s->peers : s->sidecars;
		lease_init(&c->lease, &c->world, &c->rule);
		m->r.kappa += lease_caps_of(&c->rule, c->world.peers).hold +
			      lease_caps_of(&c->rule, c->world.peers).credit;
	}
}

/* Traffic ends; what is under way comes to its end. */
static void settle_all(struct sim *m)
{
	for (unsigned i = 0; i < m->s->sidecars; i++)
		m->sidecar[i].load = 0;
	for (unsigned n = 0; n < 100000; n++, m->now += STEP_NS)
		for (unsigned i = 0; i < m->s->sidecars; i++)
			turn(&m->sidecar[i]);
	for (unsigned i = 0; i < m->s->sidecars; i++) {
		struct lease *l = &m->sidecar[i].lease;

		m->r.ledgers += l->own - (l->balance < 0 ? (uint64_t)l->balance : 0);
		lease_fini(l);
	}
}

static struct result run(const struct scenario *s, uint64_t seed)
{
	static struct sim m;

	begin(&m, s, seed);
	while (seconds(&m) < s->seconds) {
		m.now += STEP_NS;
		if (s->delete_at > 0 && !m.deleted && seconds(&m) >= s->delete_at) {
			lose_data(&m.server);
			m.deleted = true;
		}
		for (unsigned i = 0; i < s->sidecars; i++)
			turn(&m.sidecar[i]);
	}
	m.r.used = m.server.used;
	settle_all(&m);
	m.r.used = m.server.used;
	m.r.excess = (m.deepest_ns + m.server.token_ns - 1) / m.server.token_ns;
	return m.r;
}

static void show(const char *name, const struct scenario *s, const struct result *r)
{
	double bound = (double)s->burst + (double)s->rate * s->seconds;

	print_message("%-28s N %2u  offered %4.1fx  admitted %6.2f %%  excess %4" PRIu64
		      " of %4" PRIu64 "  ops/call %5.3f  waited %6.3f %%\n",
		      name, s->sidecars, s->load, 100 * (double)r->admitted / bound, r->excess,
		      r->kappa, (double)r->syncs / (double)r->admitted,
		      100 * (double)r->waited / (double)r->offered);
}

static void check_bound(const struct scenario *s, const struct result *r, uint64_t more)
{
	assert_true(r->excess <= r->kappa + more);
	assert_true((double)r->admitted <=
		    (double)(s->burst + r->kappa + more) + (double)s->rate * s->seconds);
}

/*---------------------------------------------------------------- scenarios */

static const unsigned counts[] = { 1, 4, 16 };

static void test_bound_and_use_in_the_steady_state(void **state)
{
	static const double loads[] = { 0.5, 0.9, 1.1, 2, 10 };

	(void)state;
	for (unsigned n = 0; n < 3; n++)
		for (unsigned i = 0; i < 5; i++) {
			struct scenario s = { .sidecars = counts[n],
					      .rate = 4000,
					      .burst = 4000,
					      .load = loads[i],
					      .seconds = 6,
					      .skewed = n == 1 };
			struct result r = run(&s, 1 + i);
			double most = (double)s.burst + (double)s.rate * s.seconds;

			show("lease", &s, &r);
			check_bound(&s, &r, 0);
			if (s.load >= 2)
				assert_true((double)r.admitted >= 0.99 * most);
			else if (s.load < 1)
				assert_true(r.admitted >= r.offered * 99 / 100);
		}
}

static void test_few_operations_and_no_waits_where_there_is_room(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 3; n++) {
		struct scenario s = { .sidecars = counts[n],
				      .rate = counts[n] * UINT64_C(2000),
				      .burst = counts[n] * UINT64_C(2000),
				      .load = 0.5,
				      .seconds = 4 };
		struct result r = run(&s, 9);

		show("1000/s each", &s, &r);
		assert_true((double)r.syncs <= 0.1 * (double)r.admitted);
		assert_true(r.waited * 1000 <= r.offered);
	}
}

static void test_strict_is_exact(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 3; n++) {
		struct scenario s = { .sidecars = counts[n],
				      .rate = 2000,
				      .burst = 400,
				      .load = 2,
				      .seconds = 5,
				      .strict = true };
		struct result r = run(&s, 5);

		show("strict", &s, &r);
		assert_int_equal(r.kappa, 0);
		/* calls go on when the answer is there, tokens were taken before: those whose
		 * answers were slow meet those whose answers were fast */
		assert_true(r.excess <= s.rate * JITTER_NS / CLOCK_S + 1);
		assert_true(r.admitted <= s.burst + s.rate * 5);
		assert_true((double)r.admitted >= 0.97 * (400.0 + 2000 * 5));
	}
}

/* κ below one by itself; slow limits. */
static void test_small_limits(void **state)
{
	struct scenario s = { .sidecars = 4, .rate = 5, .burst = 10, .load = 3, .seconds = 60 };
	struct result r = run(&s, 3);

	(void)state;
	show("5/s", &s, &r);
	assert_int_equal(r.kappa, 0);
	assert_int_equal(r.excess, 0);
	assert_true(r.admitted >= 300);
}

/* κ of one: all of it is credit. */
static void test_a_share_of_one_token(void **state)
{
	struct scenario s = { .sidecars = 2, .rate = 20, .burst = 20, .load = 3, .seconds = 60 };
	struct result r = run(&s, 3);

	(void)state;
	show("20/s", &s, &r);
	assert_int_equal(r.kappa, 2);
	check_bound(&s, &r, 0);
	assert_true(r.admitted >= 1200);
}

static void test_a_slow_server(void **state)
{
	struct scenario s = { .sidecars = 4,
			      .rate = 4000,
			      .burst = 4000,
			      .load = 0.9,
			      .seconds = 6,
			      .delay_ns = 4 * CLOCK_MS };
	struct result r = run(&s, 3);

	(void)state;
	show("8 ms round trip", &s, &r);
	check_bound(&s, &r, 0);
	assert_true(r.waited * 50 <= r.offered);
}

/* A server that takes longer than calls wait: they are decided by the share of each, and told afterwards. */
static void test_strict_on_a_server_slower_than_calls_wait(void **state)
{
	struct scenario s = { .sidecars = 4,
			      .rate = 2000,
			      .burst = 400,
			      .load = 2,
			      .seconds = 6,
			      .strict = true,
			      .delay_ns = 25 * CLOCK_MS };

	(void)state;
	for (unsigned seed = 1; seed <= 5; seed++) {
		struct result r = run(&s, seed);

		if (seed == 1)
			show("strict, 50 ms round trip", &s, &r);
		assert_true(r.excess <= s.burst / 10);
		assert_true((double)r.admitted >= 0.9 * (400.0 + 2000 * 6));
	}
	s.load = 0.5;
	for (unsigned seed = 1; seed <= 5; seed++) {
		struct result r = run(&s, seed);

		if (seed == 1)
			show("the same with room", &s, &r);
		assert_int_equal(r.excess, 0);
		assert_true(r.admitted >= r.offered * 95 / 100);
	}
}

/* L4: each charge that never arrived is one credit; nothing else may show. */
static void test_losses_cost_a_credit_each(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 5; seed++) {
		struct scenario s = { .sidecars = 4,
				      .rate = 4000,
				      .burst = 4000,
				      .load = 2,
				      .seconds = 5,
				      .lost_requests = 0.02,
				      .lost_replies = 0.02 };
		struct result r = run(&s, seed);
		uint64_t credit = r.kappa / 4 / s.sidecars;

		if (seed == 1)
			show("2 % lost each way", &s, &r);
		check_bound(&s, &r, r.lost_unseen * credit);
		assert_true((double)r.admitted >= 0.95 * (4000.0 + 4000 * 5));
	}
}

static void test_an_outage_neither_refills_nor_charges_twice(void **state)
{
	static const struct {
		const char *name;
		uint64_t rate, burst;
		double to, delete_at, least;
	} row[] = {
		{ "1.5 s outage", 2000, 400, 3.5, 0, 0.95 },
		{ "1.5 s outage, data lost", 2000, 400, 3.5, 3, 0.95 },
		{ "0.5 s outage, deep bucket", 2000, 20000, 2.5, 0, 0.95 },
		{ "5 s outage, deep bucket", 2000, 20000, 7, 0, 0.95 },
	};

	(void)state;
	for (unsigned i = 0; i < 4; i++)
		for (unsigned seed = 1; seed <= 10; seed++) {
			struct scenario s = { .sidecars = 8,
					      .rate = row[i].rate,
					      .burst = row[i].burst,
					      .load = 2,
					      .seconds = 15,
					      .outage_from = 2,
					      .outage_to = row[i].to,
					      .delete_at = row[i].delete_at };
			struct result r = run(&s, seed);

			if (seed == 1)
				show(row[i].name, &s, &r);
			/* L4: charges that were under way as it went */
			check_bound(&s, &r, r.lost_unseen * (r.kappa / 4 / s.sidecars));
			assert_true((double)r.after >= row[i].least * 2000 * (15 - row[i].to));
		}
}

/* A key that nobody has heard of when Redis goes: L5's N tokens, and from there the rate; and where each one's share is
 * less than a token. */
static void test_an_outage_from_the_start(void **state)
{
	static const uint64_t bursts[] = { 2000, 4 };

	(void)state;
	for (unsigned i = 0; i < 2; i++)
		for (unsigned seed = 1; seed <= 10; seed++) {
			struct scenario s = { .sidecars = 8,
					      .rate = 100,
					      .burst = bursts[i],
					      .load = 2,
					      .seconds = 10,
					      .outage_to = 5 };
			struct result r = run(&s, seed);

			if (seed == 1)
				show(i == 0 ? "never heard of" : "the same, burst 4", &s, &r);
			check_bound(&s, &r, s.sidecars);
			/* a share below one fills up only from call to call */
			assert_true(r.outage >= (i == 0 ? 480 : 300));
			assert_true(r.outage <= 500 + s.sidecars + r.kappa);
			assert_true(r.after >= 480);
		}
}

static void test_deny_and_allow_in_an_outage(void **state)
{
	struct scenario s = { .sidecars = 8,
			      .rate = 2000,
			      .burst = 400,
			      .load = 2,
			      .seconds = 6,
			      .outage_from = 2,
			      .outage_to = 4,
			      .on_error = LEASE_REFUSE };
	struct result r = run(&s, 1);

	(void)state;
	show("deny", &s, &r);
	assert_true(r.outage <= r.kappa + 100);
	s.on_error = LEASE_ALLOW;
	r = run(&s, 1);
	show("allow", &s, &r);
	assert_true(r.outage >= 2000 * 2);
}

/* Settlements are lost, repeated, and the data goes: what is used is the sum of what each was charged. */
static void test_budgets_are_exact_through_it_all(void **state)
{
	(void)state;
	for (unsigned seed = 1; seed <= 5; seed++) {
		struct scenario s = { .sidecars = 4,
				      .rate = 1000,
				      .burst = 800,
				      .load = 3,
				      .seconds = 6,
				      .budget = true,
				      .strict = true,
				      .refused = 0.1,
				      .lost_requests = 0.1,
				      .lost_replies = 0.2,
				      .on_error = LEASE_REFUSE,
				      .delete_at = seed > 3 ? 1 : 0 };
		struct result r = run(&s, seed);

		if (seed == 1 || seed == 4)
			show(seed > 3 ? "budget, data lost" : "budget, 30 % lost", &s, &r);
		assert_true(r.admitted <= s.burst);
		assert_true(r.admitted >= s.burst * 95 / 100);
		assert_int_equal(r.used, r.ledgers);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bound_and_use_in_the_steady_state),
		cmocka_unit_test(test_few_operations_and_no_waits_where_there_is_room),
		cmocka_unit_test(test_strict_is_exact),
		cmocka_unit_test(test_small_limits),
		cmocka_unit_test(test_a_share_of_one_token),
		cmocka_unit_test(test_a_slow_server),
		cmocka_unit_test(test_strict_on_a_server_slower_than_calls_wait),
		cmocka_unit_test(test_losses_cost_a_credit_each),
		cmocka_unit_test(test_an_outage_neither_refills_nor_charges_twice),
		cmocka_unit_test(test_an_outage_from_the_start),
		cmocka_unit_test(test_deny_and_allow_in_an_outage),
		cmocka_unit_test(test_budgets_are_exact_through_it_all),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
