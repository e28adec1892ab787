/* explain_repeat.c - one call after the other, on virtual time, through the chain itself.
 *
 *            arrival
 *               |
 *           ADMITTING --pass--> TRYING --answer--> over
 *               |                 |  ^
 *             deny              again|
 *               |                 v  |
 *              over             BACKOFF
 *
 * What an exchange does with its chain, without the exchange's sockets: endpoints are taken in
 * turn, and the upstream's answer comes when and how it was said.  At one moment what ends goes
 * before what begins: a slot that is given back can be taken. */
#include "core/hash_key.h"
#include "core/explain.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/timer.h"
#include "core/exchange.h"
#include "core/values.h"
#include "filters/wait.h"

struct run {
	const struct explain *e;
	struct env *env;
	struct explain_repeat *ask;
	struct timers timers;
	struct wakes wakes;
	struct list calls; /* under way */
	struct list over;  /* to be freed when nothing of them is on the stack */
	struct arena_pool pool;
	uint64_t begin_ns, begin_wall_ns;
	uint64_t arrived, live;
	uint32_t turn; /* of the endpoints */
	bool woken, oom;
};

enum state { ADMITTING, TRYING, BACKOFF };

struct one {
	struct run *run;
	enum state state;
	struct timer timer;
	struct call call;
	struct arena arena;
	uint64_t number; /* from 0 */
	uint64_t waits_since_ns, waited_ns;
	struct cluster *cluster;
	struct cluster_member *member;
	struct member_set tried;
	struct attempt attempt;
	struct list link;
};

static uint64_t now_of(const struct run *r)
{
	return r->env->now_ns;
}

static void set_now(struct run *r, uint64_t now_ns)
{
	if (now_ns <= r->env->now_ns)
		return;
	r->env->now_ns = now_ns;
	r->env->wall_ns = r->begin_wall_ns + (now_ns - r->begin_ns);
}

/*---------------------------------------------------------------- the end of one */

static void sum_up(struct explain_repeat *ask, const struct one *o,
		   const struct explain_result *res)
{
	ask->tries += o->call.out.attempts;
	ask->delayed += o->waited_ns > 0;
	ask->sum_wait_ns += o->waited_ns;
	if (o->waited_ns > ask->longest_wait_ns)
		ask->longest_wait_ns = o->waited_ns;
	if (res->why == reason_ok || res->why == reason_responded) {
		ask->admitted++;
		return;
	}
	if (!(res->why->flags & R_SHED) && o->call.out.attempts > 0) {
		ask->admitted++;
		ask->failed++;
		return;
	}
	ask->refused++;
	if (ask->first_refusal == 0 || o->number + 1 < ask->first_refusal)
		ask->first_refusal = o->number + 1;
}

static const struct filter *denier_of(const struct one *o)
{
	const struct chain *ch = &o->run->e->route->chain;

	if (!o->call.out.denied)
		return NULL;
	if (o->call.denier < ch->n)
		return ch->filter[o->call.denier];
	for (uint8_t i = 0; i < ch->n; i++)
		if (o->call.out.limit.policy == ch->filter[i]->name)
			return ch->filter[i];
	return NULL;
}

static void respond(struct one *o, uint16_t status)
{
	struct head h;

	head_init(&h, &o->arena);
	h.status = status;
	chain_respond(&o->call, &h);
}

static uint16_t status_of(const struct one *o, const struct reason *why)
{
	const struct run *r = o->run;

	if (why == reason_responded)
		return r->e->answer->status;
	if (why == reason_ok)
		return r->ask->status;
	if (o->call.out.status != 0)
		return explain_status(r->e, o->call.out.status);
	return explain_status(r->e, reply_status(r->e->route, r->e->call.path, why));
}

static void end(struct one *o, const struct reason *why, uint64_t retry_after_ms)
{
	struct run *r = o->run;
	struct explain_result *res = &r->ask->result[o->number];

	timer_clear(&o->timer);
	*res = (struct explain_result){
		.why = why,
		.denier = denier_of(o),
		.status = status_of(o, why),
		.wait_ms = (uint32_t)(o->waited_ns / CLOCK_MS),
		.retry_after_ms = why->flags & R_SHED && retry_after_ms == 0 ? 1 : retry_after_ms,
	};
	o->call.out.why = why;
	o->call.out.status = res->status;
	chain_leave(&o->call);
	respond(o, res->status);
	chain_done(&o->call);
	sum_up(r->ask, o, res);
	list_remove(&o->link);
	list_push_back(&r->over, &o->link);
	r->live--;
}

static void bury(struct run *r)
{
	struct list *n;

	while ((n = list_pop_front(&r->over)) != NULL) {
		struct one *o = LIST_ENTRY(n, struct one, link);

		timer_fini(&r->timers, &o->timer);
		arena_fini(&o->arena);
		free(o);
	}
}

/*---------------------------------------------------------------- time */

static void sleep_until(struct one *o, uint64_t at_ns)
{
	uint64_t deadline = o->call.deadline_ns;

	if (deadline != 0 && deadline < at_ns)
		at_ns = deadline;
	if (!timer_set(&o->run->timers, &o->timer, at_ns))
		o->run->oom = true;
}

static void begin_waiting(struct one *o, uint64_t ns)
{
	o->waits_since_ns = now_of(o->run);
	sleep_until(o, now_of(o->run) + ns);
}

static void end_waiting(struct one *o)
{
	if (o->waits_since_ns != 0)
		o->waited_ns += now_of(o->run) - o->waits_since_ns;
	o->waits_since_ns = 0;
}

/*---------------------------------------------------------------- tries */

static void try(struct one *o);

static void close_try(struct one *o, const struct reason *why)
{
	o->attempt.why = why;
	chain_attempted(&o->call, &o->attempt);
}

static void go_again(struct one *o, uint64_t ms)
{
	if (ms == 0) {
		try(o);
		return;
	}
	o->state = BACKOFF;
	sleep_until(o, now_of(o->run) + ms * CLOCK_MS);
}

static bool retries(const struct one *o)
{
	return chain_retries(&o->run->e->route->chain);
}

static void on_answer(struct one *o)
{
	struct again again = { .yes = false };

	o->attempt.status = o->run->ask->status;
	o->attempt.head_ns = now_of(o->run);
	if (o->attempt.status >= 400 && retries(o))
		again = chain_again(&o->call, &o->attempt);
	close_try(o, reason_ok);
	if (again.yes)
		go_again(o, again.ms);
	else
		end(o, reason_ok, 0);
}

static void on_late_try(struct one *o, const struct reason *why)
{
	struct again again = { .yes = false };

	close_try(o, why);
	if (why != reason_total_timeout && retries(o))
		again = chain_again(&o->call, &o->attempt);
	if (again.yes)
		go_again(o, again.ms);
	else
		end(o, why, 0);
}

/* One that no policy shuts; else, in *shut, the one that is shut for the shortest time. */
static struct cluster_member *choose_among(struct one *o, bool backup, struct cluster_member **shut,
					   uint64_t *shortest)
{
	struct cluster *cl = o->cluster;

	for (uint32_t i = 0; i < cl->n; i++) {
		uint32_t at = (uint32_t)((o->run->turn + i) % cl->n);
		struct cluster_member *m = &cl->member[at];
		uint64_t ns;

		if (m->backup != backup || member_set_has(&o->tried, at))
			continue;
		ns = chain_shut(&o->call, m->endpoint->id);
		if (ns == 0)
			return m;
		if (ns < *shortest) {
			*shortest = ns;
			*shut = m;
		}
	}
	return NULL;
}

/* One after the other: how the balancer weighs them says nothing of limits. */
static struct cluster_member *choose(struct one *o)
{
	struct cluster_member *shut = NULL, *m;
	uint64_t shortest = UINT64_MAX;

	m = choose_among(o, false, &shut, &shortest);
	if (m == NULL)
		m = choose_among(o, true, &shut, &shortest);
	o->run->turn++;
	return m != NULL ? m : shut;
}

static void on_no_endpoint(struct one *o, const struct reason *why, uint64_t ms)
{
	struct cluster *fallback = o->run->e->route->fallback;

	if (fallback == NULL || o->cluster == fallback) {
		end(o, why, ms);
		return;
	}
	o->cluster = fallback;
	o->call.upstream = fallback->name;
	if (why == reason_breaker_open)
		chain_undeny(&o->call);
	o->tried = (struct member_set){ 0 };
	try(o);
}

static struct verdict begin_try(struct one *o)
{
	struct verdict v;

	member_set_add(&o->tried, (uint32_t)(o->member - o->cluster->member));
	o->attempt = (struct attempt){ .endpoint = o->member->endpoint->id,
				       .number = ++o->call.out.attempts,
				       .asked = true,
				       .start_ns = now_of(o->run),
				       .asked_ns = now_of(o->run) };
	v = chain_attempt(&o->call, &o->attempt);
	if (v.kind == V_DENY) {
		chain_attempted(&o->call, &o->attempt);
		o->call.out.attempts--;
	}
	return v;
}

static void try(struct one *o)
{
	struct verdict v;
	uint64_t at_ns;

	o->member = choose(o);
	if (o->member == NULL && !member_set_is_empty(&o->tried)) {
		o->tried = (struct member_set){ 0 };
		o->member = choose(o);
	}
	if (o->member == NULL) {
		on_no_endpoint(o, reason_no_endpoint, CLOCK_S / CLOCK_MS);
		return;
	}
	v = begin_try(o);
	if (v.kind == V_DENY) {
		on_no_endpoint(o, v.why, v.ms);
		return;
	}
	o->state = TRYING;
	at_ns = now_of(o->run) + o->run->ask->takes_ns;
	if (o->run->ask->takes_ns == 0)
		on_answer(o);
	else if (o->attempt.deadline_ns != 0 && o->attempt.deadline_ns < at_ns)
		sleep_until(o, o->attempt.deadline_ns);
	else
		sleep_until(o, at_ns);
}

/*---------------------------------------------------------------- admission */

static void admit(struct one *o);

static void on_chain(struct one *o, struct verdict v)
{
	switch (v.kind) {
	case V_DENY:
		end(o, v.why, v.ms);
		return;
	case V_DELAY:
	case V_PENDING:
		begin_waiting(o, v.kind == V_DELAY ? v.ns : v.ms * CLOCK_MS);
		return;
	default:
		break;
	}
	if (o->run->e->answer != NULL)
		end(o, reason_responded, 0);
	else
		try(o);
}

static void on_verdict(struct one *o, struct verdict v)
{
	if (v.kind == V_PASS)
		admit(o);
	else
		on_chain(o, v);
}

static void admit(struct one *o)
{
	end_waiting(o);
	on_chain(o, chain_admit(&o->call));
}

static void on_resume(struct call *call, struct verdict v)
{
	struct one *o = LIST_ENTRY(call, struct one, call);

	end_waiting(o);
	on_verdict(o, v);
}

static void on_try_timer(struct one *o)
{
	uint64_t now = now_of(o->run);

	if (o->attempt.start_ns + o->run->ask->takes_ns <= now)
		on_answer(o);
	else if (o->call.deadline_ns != 0 && o->call.deadline_ns <= now)
		on_late_try(o, reason_total_timeout);
	else
		on_late_try(o, reason_try_timeout);
}

static void on_timer(struct timer *t)
{
	struct one *o = LIST_ENTRY(t, struct one, timer);

	if (o->state == TRYING) {
		on_try_timer(o);
	} else if (o->call.deadline_ns != 0 && o->call.deadline_ns <= now_of(o->run)) {
		end_waiting(o);
		end(o, reason_total_timeout, 0);
	} else if (o->state == BACKOFF) {
		try(o);
	} else if (o->call.wait != NULL) {
		end_waiting(o);
		on_verdict(o, chain_late(&o->call));
	} else {
		admit(o);
	}
}

/* What explain_find has found: the call is the same each time. */
static bool on_value(const struct call *call, struct slice name, struct slice *out)
{
	const struct one *o = LIST_ENTRY((struct call *)(uintptr_t)call, struct one, call);
	struct template_values values = o->run->e->values;

	values.call = call;
	return values_read(o->run->e->policy->values, &values, name, out);
}

static const struct reason *on_prove(struct call *c)
{
	return LIST_ENTRY(c, struct one, call)->run->e->auth.why;
}

static bool arrive(struct run *r)
{
	const struct route *route = r->e->route;
	struct one *o = calloc(1, sizeof(*o));
	void *mem;

	if (o == NULL)
		return false;
	arena_init(&o->arena, &r->pool);
	mem = arena_alloc(&o->arena, route->chain.mem_size + 1);
	if (mem == NULL) {
		arena_fini(&o->arena);
		free(o);
		return false;
	}
	timer_init(&o->timer, on_timer);
	o->run = r;
	o->number = r->arrived++;
	o->cluster = route->cluster;
	o->call = r->e->call;
	o->call.env = r->env;
	o->call.arena = &o->arena;
	o->call.resume = on_resume;
	o->call.value = on_value;
	o->call.prove = route->auth.looks != 0 ? on_prove : NULL;
	if (route->conf->timeout.total_ns != 0)
		o->call.deadline_ns = now_of(r) + route->conf->timeout.total_ns;
	chain_begin(&route->chain, &o->call, mem);
	list_push_back(&r->calls, &o->link);
	r->live++;
	admit(o);
	return true;
}

/*---------------------------------------------------------------- the run */

static void on_tell(struct wakes *w, bool own)
{
	struct run *r = w->owner;

	(void)own;
	r->woken = true;
}

/* What a loop does between its events. */
static void settle(struct run *r)
{
	while (r->woken) {
		r->woken = false;
		wakes_run(&r->wakes);
	}
	bury(r);
}

/* Moves on to the next thing that happens.  False: nothing will. */
static bool step(struct run *r)
{
	uint64_t arrival = r->begin_ns + r->arrived * r->ask->interval_ns;
	uint64_t due = timers_next(&r->timers);
	bool more = r->arrived < r->ask->n;

	if (due != 0 && (!more || due <= arrival)) {
		set_now(r, due);
		timers_run(&r->timers, now_of(r));
	} else if (more) {
		set_now(r, arrival);
		r->oom = !arrive(r) || r->oom;
	} else {
		return false;
	}
	settle(r);
	return true;
}

static void give_up(struct run *r)
{
	LIST_EACH (n, &r->calls) {
		struct one *o = LIST_ENTRY(n, struct one, link);

		if (o->state == TRYING)
			close_try(o, reason_client_abort);
		end(o, reason_client_abort, 0);
	}
	settle(r);
}

static const char *run(struct run *r)
{
	while (r->live <= EXPLAIN_LIVE_MAX && !r->oom && step(r))
		;
	r->ask->end_ns = now_of(r) - r->begin_ns;
	if (r->live == 0 && !r->oom)
		return NULL;
	give_up(r);
	return r->oom ? "out of memory" : "too many calls are under way at once";
}

const char *explain_repeat(const struct explain *e, struct env *env, struct explain_repeat *ask)
{
	struct run r = { .e = e,
			 .env = env,
			 .ask = ask,
			 .begin_ns = env->now_ns,
			 .begin_wall_ns = env->wall_ns };
	const char *wrong;

	CHECK(e->route != NULL && ask->n > 0 && ask->n <= EXPLAIN_REPEAT_MAX);
	ask->result = arena_zalloc(e->arena, ask->n * sizeof(*ask->result));
	if (ask->result == NULL)
		return "out of memory";
	timers_init(&r.timers);
	list_init(&r.calls);
	list_init(&r.over);
	arena_pool_init(&r.pool, 64);
	wakes_init(&r.wakes, on_tell, &r);
	env->wakes = &r.wakes;
	env->worker = 0;
	wrong = run(&r);
	env->wakes = NULL;
	wakes_fini(&r.wakes);
	timers_fini(&r.timers);
	arena_pool_fini(&r.pool);
	return wrong;
}
