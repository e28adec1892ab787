/* sim.c - the turning: what could happen now, and which of it does. */
#include "sim.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "core/exchange.h"
#include "io/conn.h"

enum {
	CANDIDATES_MAX = 512,
	STEPS_MAX = 2000000,
	SAME_TIME_MAX = 500000,       /* steps without time moving: something spins */
	CONN_IN_MAX = 128 * 1024,     /* C3 of conn.h: its bound and one read */
	CONN_OUT_MAX = 64 * 1024 * 5, /* high water, and what one feed brings at most */
};

#define START_NS (1000 * CLOCK_S)
/* Every time-out of the policies is shorter. */
#define LONG_NS (3600 * CLOCK_S)

enum happening { NOTHING, DELIVER, SPURIOUS, ACTOR_TIME, TIMERS, MAIL, CONTROL_MAIL, CHECKS, PLAN };

struct candidate {
	enum happening kind;
	unsigned side;
	void *of;
};

struct candidates {
	unsigned n;
	struct candidate c[CANDIDATES_MAX];
	uint64_t next_ns; /* when there will be more; 0: never */
};

static struct sim *running;

void sim_fail(const char *fmt, ...)
{
	struct sim *sim = running;
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "sim: seed %llu failed at %.6f s: ",
		(unsigned long long)(sim != NULL ? sim->seed : 0),
		sim != NULL ? (double)(sim->now_ns - START_NS) / 1e9 : 0);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	sim_tell();
	_exit(1);
}

void sim_trace(struct sim *sim, const char *fmt, ...)
{
	va_list ap;

	if (!sim->trace)
		return;
	printf("%12.6f  ", (double)(sim->now_ns - START_NS) / 1e9);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

void *sim_alloc(size_t n)
{
	void *p = fault_calloc(n);

	if (p == NULL)
		sim_fail("the simulation itself is out of memory");
	return p;
}

/*---------------------------------------------------------------- actors */

void actor_init(struct actor *a, struct sim *sim, struct pair *pair, void (*step)(void *, unsigned),
		void (*on_time)(struct actor *))
{
	a->sim = sim;
	a->pair = pair;
	a->transport = pair_end(pair, 1);
	a->transport->owner = a;
	a->transport->on_ready = step;
	a->number = ++sim->actor_numbers;
	a->on_time = on_time;
	list_push_back(&sim->actors, &a->link);
}

void actor_replace(struct actor *a, struct actor *former, void (*step)(void *, unsigned),
		   void (*on_time)(struct actor *))
{
	a->sim = former->sim;
	a->pair = former->pair;
	a->transport = former->transport;
	a->transport->owner = a;
	a->transport->on_ready = step;
	a->number = former->number;
	a->on_time = on_time;
	list_remove(&former->link);
	list_push_back(&a->sim->actors, &a->link);
}

void actor_close(struct actor *a, bool reset)
{
	struct transport *t = a->transport;

	a->transport = NULL;
	list_remove(&a->link);
	t->ops->close(t, reset);
}

void actor_want(struct actor *a, bool read, bool write)
{
	a->transport->ops->want(a->transport, (read ? WANT_READ : 0) | (write ? WANT_WRITE : 0));
}

ssize_t actor_recv(struct actor *a, char *p, size_t n)
{
	return a->transport->ops->recv(a->transport, p, n);
}

bool actor_send(struct actor *a, const struct buf *b, size_t *at, size_t to, size_t most)
{
	struct iovec v = { .iov_base = b->p + *at, .iov_len = to - *at };
	ssize_t n;

	if (v.iov_len == 0)
		return true;
	if (most != 0) {
		most = 1 + dice_spread(&a->sim->dice, most - 1);
		v.iov_len = v.iov_len > most ? most : v.iov_len;
	}
	n = a->transport->ops->writev(a->transport, &v, 1);
	if (n > 0)
		*at += (size_t)n;
	return n != TRANSPORT_BROKEN;
}

/*---------------------------------------------------------------- what could happen */

static void offer(struct candidates *cs, enum happening kind, void *of, unsigned side)
{
	if (cs->n == CANDIDATES_MAX)
		sim_fail("too much at once");
	cs->c[cs->n++] = (struct candidate){ .kind = kind, .of = of, .side = side };
}

/* At `at_ns`, or now if that has passed. */
static void offer_at(struct sim *sim, struct candidates *cs, uint64_t at_ns, enum happening kind,
		     void *of, unsigned side)
{
	if (at_ns == 0)
		return;
	if (at_ns <= sim->now_ns)
		offer(cs, kind, of, side);
	else if (cs->next_ns == 0 || at_ns < cs->next_ns)
		cs->next_ns = at_ns;
}

static void look_at_pairs(struct sim *sim, struct candidates *cs)
{
	LIST_EACH (n, &sim->pairs) {
		struct pair *p = pair_of_link(n);

		if (pair_ready(p, 0) != 0)
			offer(cs, DELIVER, p, 0);
		if (pair_ready(p, 1) != 0) {
			struct actor *a = pair_end(p, 1)->owner;

			offer_at(sim, cs, a->wake_ns == 0 ? 1 : a->wake_ns, DELIVER, p, 1);
		}
	}
}

static void look_at_actors(struct sim *sim, struct candidates *cs)
{
	LIST_EACH (n, &sim->actors) {
		struct actor *a = LIST_ENTRY(n, struct actor, link);

		offer_at(sim, cs, a->at_ns, ACTOR_TIME, a, 0);
	}
}

static void look_at_workers(struct sim *sim, struct candidates *cs)
{
	for (unsigned i = 0; i < sim->workers; i++) {
		struct worker *w = sim->worker[i];

		offer_at(sim, cs, timers_next(&w->loop.timers), TIMERS, w, 0);
		if (!list_empty(&w->mailbox.queue))
			offer(cs, MAIL, w, 0);
	}
	if (!list_empty(&sim->control.queue))
		offer(cs, CONTROL_MAIL, NULL, 0);
	offer_at(sim, cs, timers_next(&sim->checks.timers), CHECKS, NULL, 0);
	if (sim->checks_ordered)
		offer(cs, CHECKS, NULL, 1);
}

static void plan_client(struct sim *sim)
{
	uint64_t gap_ns =
	    sim->weather.flood || sim->weather.flaps > 0 ? 200 * CLOCK_MS : 2 * CLOCK_S;

	sim->clients_left--;
	sim->next_client_ns =
	    sim->clients_left == 0 ? 0 : sim->now_ns + 1 + dice_spread(&sim->dice, gap_ns);
	client_start(sim);
}

static void plan_reload(struct sim *sim)
{
	sim->next_reload_ns =
	    sim->reloads < 12 ? sim->now_ns + 1 + dice_spread(&sim->dice, 3 * CLOCK_S) : 0;
	if (sim->commits_open == 0 && !sim->drained)
		control_reload(sim);
}

static void plan_jump(struct sim *sim)
{
	uint64_t far = dice_spread(&sim->dice, 100 * CLOCK_S);

	sim->next_jump_ns = sim->now_ns + far + CLOCK_S + dice_spread(&sim->dice, 20 * CLOCK_S);
	sim->now_ns += far;
	sim->wall_jump_ns += (int64_t)dice_spread(&sim->dice, 1000 * CLOCK_S);
	sim->wall_jump_ns -= (int64_t)dice_spread(&sim->dice, 1000 * CLOCK_S);
	sim_trace(sim, "the clock jumps by %.6f s", (double)far / 1e9);
}

static void plan_drain(struct sim *sim)
{
	sim->drain_ns = 0;
	control_order(sim, ORDER_DRAIN);
}

static void plan_cut(struct sim *sim)
{
	sim->cut_ns = 0;
	control_order(sim, ORDER_CUT);
}

typedef void plan(struct sim *);

static const struct {
	size_t at;
	plan *run;
} plans[] = {
	{ offsetof(struct sim, next_client_ns), plan_client },
	{ offsetof(struct sim, next_reload_ns), plan_reload },
	{ offsetof(struct sim, next_jump_ns), plan_jump },
	{ offsetof(struct sim, drain_ns), plan_drain },
	{ offsetof(struct sim, cut_ns), plan_cut },
};

static uint64_t plan_time(struct sim *sim, unsigned i)
{
	return *(uint64_t *)(void *)((char *)sim + plans[i].at);
}

static void look_at_plans(struct sim *sim, struct candidates *cs)
{
	for (unsigned i = 0; i < sizeof(plans) / sizeof(plans[0]); i++)
		offer_at(sim, cs, plan_time(sim, i), PLAN, NULL, i);
}

/*---------------------------------------------------------------- and what does */

static void enter_worker(struct sim *sim, struct worker *w, struct candidate *c)
{
	fault_arm(sim);
	loop_enter(&w->loop);
	if (c->kind == TIMERS)
		loop_run_timers(&w->loop);
	else
		mailbox_drain(&w->mailbox, w);
	loop_settle(&w->loop);
	fault_disarm();
}

static void deliver(struct sim *sim, struct candidate *c)
{
	if (c->side == 0)
		fault_arm(sim);
	if (c->kind == SPURIOUS)
		pair_deliver_spurious(c->of, c->side);
	else
		pair_deliver(c->of, c->side);
	fault_disarm();
}

static void happen(struct sim *sim, struct candidate *c)
{
	struct actor *a = c->of;

	switch (c->kind) {
	case DELIVER:
	case SPURIOUS:
		deliver(sim, c);
		return;
	case ACTOR_TIME:
		a->at_ns = 0;
		a->on_time(a);
		return;
	case TIMERS:
	case MAIL:
		enter_worker(sim, c->of, c);
		return;
	case CONTROL_MAIL:
		mailbox_drain(&sim->control, sim);
		return;
	case CHECKS:
		checks_turn(sim, c->side);
		return;
	case PLAN:
		plans[c->side].run(sim);
		return;
	default:
		return;
	}
}

/* True: it had something to write, and things are not what they were. */
static bool end_turn(struct sim *sim, struct loop *loop)
{
	bool holds = !list_empty(&loop->held);

	fault_arm(sim);
	loop_end_turn(loop);
	fault_disarm();
	loop->in_turn = false;
	return holds;
}

/* Turns of a loop are of several entries now and then, with one reading of the clock. */
static bool end_turns(struct sim *sim, bool all)
{
	bool changed = false;

	for (unsigned i = 0; i < sim->workers; i++)
		if (all || dice_chance(&sim->dice, 500))
			changed = end_turn(sim, &sim->worker[i]->loop) || changed;
	if (all || dice_chance(&sim->dice, 500))
		sim->checks.in_turn = false;
	return changed;
}

static void check_conns(struct worker *w)
{
	LIST_EACH (n, &w->loop.conns) {
		struct conn *c = LIST_ENTRY(n, struct conn, link);
		size_t calls = c->codec.multiplexed ? 1 + h2_streams(&c->h2) : 1;
		size_t most = calls * CONN_OUT_MAX;

		if (c->in_n > CONN_IN_MAX)
			sim_fail("a connection keeps %u bytes unparsed", c->in_n);
		if (c->out_n - c->out_at > most)
			sim_fail("a connection keeps %zu bytes unsent", c->out_n - c->out_at);
	}
}

static void check_workers(struct sim *sim)
{
	crowd_check(sim);
	for (unsigned i = 0; i < sim->workers; i++) {
		struct loop *l = &sim->worker[i]->loop;

		if (!list_empty(&l->dirty) || !list_empty(&l->gathers) || !list_empty(&l->dead) ||
		    l->settling)
			sim_fail("worker %u has left something unsettled", i);
		if (sim->steps % 8 == 0)
			check_conns(sim->worker[i]);
	}
}

static _Noreturn void fail_spinning(struct sim *sim, const struct candidates *cs)
{
	for (unsigned i = 0; i < cs->n; i++) {
		const struct candidate *c = &cs->c[i];

		sim_trace(sim, "spinning: happening %d, side %u, ready %x", c->kind, c->side,
			  c->kind == DELIVER ? pair_ready(c->of, c->side) : 0);
	}
	sim_fail("no end: %llu steps", (unsigned long long)sim->steps);
}

bool sim_is_holding(const struct sim *sim)
{
	for (unsigned i = 0; i < sim->workers; i++)
		if (!list_empty(&sim->worker[i]->loop.held))
			return true;
	return false;
}

/* One happening, or the passing of time until there is one.  False: nothing is ahead before
 * until_ns. */
static bool step(struct sim *sim, uint64_t until_ns)
{
	struct candidates cs = { .n = 0 };
	uint64_t before = sim->now_ns;

	look_at_pairs(sim, &cs);
	look_at_actors(sim, &cs);
	look_at_workers(sim, &cs);
	look_at_plans(sim, &cs);
	if (cs.n == 0 && sim_is_holding(sim)) {
		end_turns(sim, true);
		return true;
	}
	if (cs.n == 0) {
		if (cs.next_ns == 0 || cs.next_ns > until_ns)
			return false;
		sim->now_ns = cs.next_ns;
		end_turns(sim, true);
		sim->same_time_steps = 0;
		return true;
	}
	if (end_turns(sim, false))
		return true;
	if (dice_chance(&sim->dice, 20) && !list_empty(&sim->pairs)) {
		cs.c[0] =
		    (struct candidate){ .kind = SPURIOUS, .of = pair_of_link(sim->pairs.next) };
		cs.n = 1;
	}
	happen(sim, &cs.c[dice_below(&sim->dice, cs.n)]);
	check_workers(sim);
	checks_compare(sim);
	if (++sim->steps > STEPS_MAX || ++sim->same_time_steps > SAME_TIME_MAX)
		fail_spinning(sim, &cs);
	if (sim->now_ns > before + CLOCK_MS)
		sim->same_time_steps = 0;
	return true;
}

/*---------------------------------------------------------------- a run */

static void draw_weather(struct sim *sim)
{
	static const unsigned levels[] = { 0, 20, 100, 400 };
	struct weather *w = &sim->weather;
	struct dice *d = &sim->dice;

	*w = (struct weather){ .calm = dice_chance(d, 200) };
	w->flood = dice_chance(d, 50);
	if (w->calm)
		return;
	w->client_fault = levels[dice_below(d, 4)];
	w->malformed = levels[dice_below(d, 3)];
	w->connect_fault = levels[dice_below(d, 4)];
	w->serve_fault = levels[dice_below(d, 4)];
	w->slow = levels[dice_below(d, 4)];
	w->flaps = dice_chance(d, 300) ? 500 : 0;
	w->no_memory = dice_chance(d, 150) ? (unsigned)dice_between(d, 1, 30) : 0;
	w->jumps = dice_chance(d, 150);
	w->drain_early = dice_chance(d, 200);
	w->stops = dice_chance(d, 100);
}

static void draw_plans(struct sim *sim)
{
	struct dice *d = &sim->dice;

	sim->clients_left = (unsigned)dice_between(d, 1,
						   sim->weather.flood       ? 60
						   : sim->weather.flaps > 0 ? 40
									    : 12);
	sim->next_client_ns = sim->now_ns + 1;
	if (dice_chance(d, 500))
		sim->next_reload_ns = sim->now_ns + dice_spread(d, 5 * CLOCK_S) + 1;
	if (sim->weather.jumps)
		sim->next_jump_ns = sim->now_ns + dice_spread(d, 10 * CLOCK_S) + 1;
	if (sim->weather.drain_early) {
		sim->drain_ns = sim->now_ns + dice_spread(d, 10 * CLOCK_S) + 1;
		if (dice_chance(d, 500))
			sim->cut_ns = sim->drain_ns + dice_spread(d, 10 * CLOCK_S) + 1;
	}
	if (sim->weather.stops)
		sim->stop_ns = sim->now_ns + dice_spread(d, 20 * CLOCK_S) + 1;
}

static void end_of_plans(struct sim *sim)
{
	sim->next_reload_ns = sim->next_jump_ns = 0;
	checks_follow(sim, NULL, 0);
}

static void check_pool(const struct worker *w)
{
	const struct arena_pool *p = &w->loop.pool;

	if (p->count > p->max)
		sim_fail("worker %u keeps %zu arena blocks", w->index, p->count);
}

static void check_worker_rest(struct worker *w)
{
	if (!list_empty(&w->exchanges) || w->n_exchanges != 0)
		sim_fail("worker %u still has %u exchanges", w->index, w->n_exchanges);
	if (!list_empty(&w->loop.conns)) {
		struct conn *c = LIST_ENTRY(w->loop.conns.next, struct conn, link);

		sim_fail("worker %u still has a connection (%s, codec phase %u)", w->index,
			 c->times != NULL ? "client" : "upstream", c->codec.phase);
	}
	if (w->use->calls != 0 || w->uses.next != &w->use->link || w->uses.prev != &w->use->link)
		sim_fail("worker %u still holds on to policies", w->index);
	check_pool(w);
}

static void check_in_flight(void *arg, const struct route_stats *r)
{
	(void)arg;
	if (route_stats_read(r, ROUTE_IN_FLIGHT) != 0)
		sim_fail("route %s has %llu calls in flight", route_stats_name(r),
			 (unsigned long long)route_stats_read(r, ROUTE_IN_FLIGHT));
}

static void check_listener(void *arg, const struct listener_stats *l)
{
	(void)arg;
	if (listener_stats_active(l) != 0)
		sim_fail("listener %s has connections", listener_stats_name(l));
}

static void check_endpoints(const struct policy *p)
{
	for (uint32_t i = 0; i < p->n_clusters; i++) {
		for (uint32_t k = 0; k < p->cluster[i]->n; k++) {
			const struct endpoint *e = p->cluster[i]->member[k].endpoint;

			if (endpoint_active(e) != 0 || endpoint_connections(e) != 0 ||
			    endpoint_idle(e) != 0)
				sim_fail("endpoint %s: %u calls, %u connections, %u idle", e->text,
					 endpoint_active(e), endpoint_connections(e),
					 endpoint_idle(e));
		}
	}
}

static void add_calls(void *calls, enum method_id method, unsigned status, uint64_t n)
{
	(void)method, (void)status;
	*(uint64_t *)calls += n;
}

/* Law B2 of the retry budget, over all the reloads of a run. */
static void check_retries(void *arg, const struct route_stats *r)
{
	struct sim *sim = arg;
	uint64_t calls = 0, retries = 0;

	route_stats_requests(r, add_calls, &calls);
	for (enum again_label a = AGAIN_CONNECT; a <= AGAIN_STATUS; a++)
		retries += route_stats_again(r, a);
	if (retries > calls * SIM_RETRY_PERCENT / 100 + 30 + 3 * (sim->now_ns / CLOCK_S + 1))
		sim_fail("route %s: %llu retries of %llu calls", route_stats_name(r),
			 (unsigned long long)retries, (unsigned long long)calls);
	sim->ledger.retries += retries;
	retries = route_stats_again(r, AGAIN_HEDGE);
	if (retries > calls * SIM_RETRY_PERCENT / 100)
		sim_fail("route %s: %llu tries beside others, of %llu calls", route_stats_name(r),
			 (unsigned long long)retries, (unsigned long long)calls);
	sim->ledger.hedges += retries;
}

/* All is over: nothing may be held any more. */
static void check_rest(struct sim *sim)
{
	for (unsigned i = 0; i < sim->workers; i++)
		check_worker_rest(sim->worker[i]);
	crowd_check_rest(sim);
	check_endpoints(sim->policy);
	checks_check_rest(sim);
	breakers_check_rest(sim);
	stats_each_route(sim->shared.stats, check_in_flight, NULL);
	stats_each_route(sim->shared.stats, check_retries, sim);
	stats_each_listener(sim->shared.stats, check_listener, NULL);
	if (sim->shared.connections != 0)
		sim_fail("%u client connections are still counted", sim->shared.connections);
	if (sim->shared.policies != 1)
		sim_fail("%u policies are alive", sim->shared.policies);
}

/* The workers are gone: everybody outside hears of it. */
static void check_outside(struct sim *sim)
{
	uint64_t until_ns = sim->now_ns + LONG_NS;

	sim->workers = 0;
	sim->clients_left = 0;
	sim->next_client_ns = sim->next_reload_ns = sim->next_jump_ns = 0;
	sim->drain_ns = sim->cut_ns = 0;
	while (step(sim, until_ns))
		;
	if (!list_empty(&sim->pairs) || !list_empty(&sim->actors))
		sim_fail("there are still connections outside");
}

static void print_summary(struct sim *sim)
{
	struct ledger *l = &sim->ledger;

	sim_trace(sim,
		  "%llu steps, %u requests: %u answered by upstreams (%u cut, %u tunnels), %u by "
		  "Weir (%u refused), %u unanswered, %llu retries, %llu hedges; %u reloads, %u "
		  "failed",
		  (unsigned long long)sim->steps, l->requests, l->upstream_answers, l->cut_answers,
		  l->tunnels, l->own_answers, l->refusals, l->unanswered,
		  (unsigned long long)l->retries, (unsigned long long)l->hedges, sim->reloads,
		  sim->reloads_failed);
}

/* Each side of the four pairs in a fair share of runs, and both of them at once in some. */
static void draw_speech(struct sim *sim, const struct sim_wish *wish)
{
	static const enum speech speeches[] = { SPEAKS_1, SPEAKS_1, SPEAKS_2, SPEAKS_2,
						SPEAKS_BOTH };
	struct dice *d = &sim->speech_dice;

	sim->client_speech = speeches[dice_below(d, 5)];
	sim->upstream_speech = speeches[dice_below(d, 5)];
	sim->holds = dice_chance(d, 700);
	if (wish->client != SPEECHES)
		sim->client_speech = wish->client;
	if (wish->upstream != SPEECHES)
		sim->upstream_speech = wish->upstream;
}

bool sim_draw_2(struct sim *sim, enum speech speech)
{
	return speech == SPEAKS_2 || (speech == SPEAKS_BOTH && dice_chance(&sim->speech_dice, 500));
}

void sim_run(struct sim *sim, uint64_t seed, const struct sim_wish *wish)
{
	*sim = (struct sim){ .seed = seed, .trace = wish->trace, .now_ns = START_NS };
	running = sim;
	sim->dice.s = seed * UINT64_C(0x2545f4914f6cdd1d) + 1;
	sim->speech_dice.s = seed * UINT64_C(0x2545f4914f6cdd1d) + 2;
	draw_speech(sim, wish);
	list_init(&sim->pairs);
	list_init(&sim->actors);
	fault_bind(sim);
	ledger_init(&sim->ledger);
	draw_weather(sim);
	sites_init(sim);
	control_start(sim);
	draw_plans(sim);
	while (sim->clients > 0 || sim->clients_left > 0) {
		if (!step(sim, UINT64_MAX))
			sim_fail("%u clients wait for what never comes", sim->clients);
		if (sim->stop_ns != 0 && sim->now_ns >= sim->stop_ns)
			break;
	}
	end_of_plans(sim);
	if (sim->stop_ns == 0) {
		while (step(sim, sim->now_ns + LONG_NS))
			;
		check_rest(sim);
	}
	control_stop(sim);
	check_outside(sim);
	print_summary(sim);
	ledger_fini(&sim->ledger);
	fault_bind(NULL);
	running = NULL;
}
