/* concurrency_shared.c - caps on calls under way that all replicas share (`store: redis`).
 *
 * A call takes a permit (store/permits.h) where a local one takes a slot.  Calls wait as those of rate_shared.c do, and
 * its drawing holds here: for the answer of Redis at most `store_wait`, or with a queue for a permit at most its `wait`.
 * A permit that was granted to a call that has gone meanwhile is given back.
 *
 * The cap of the policy and that of each override are shared policies of their own, under the policy's name and a
 * digest of what makes it another one.  What is unlimited is not counted. */
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "filters/concurrency_internal.h"
#include "filters/stats.h"
#include "filters/wait.h"

/* As long as replicas are counted that say nothing more: who crashed is then neither counted nor holds any. */
#define HOLD_US UINT64_C(5000000)

/* What a call asks for, and has; in its arena. */
struct permit {
	struct woken woken; /* first */
	struct shared_permit permit;
	struct shared_limits *limits;
	const struct filter *filter;
	struct call *call;
	struct holder *holder;
	struct wakes *wakes;
	struct scoped scoped;
	uint64_t since_ns;
	enum lease_answer answer; /* of one that waited */
};

/*---------------------------------------------------------- open and close */

static struct shared_rule rule_of(const struct filter *f, const struct limiter *l, uint32_t cap)
{
	const struct concurrency_conf *c = f->conf;
	struct shared_rule r = { .kind = SHARED_PERMITS,
				 .count = cap,
				 .period_us = HOLD_US,
				 .queue_size = c->queue.size,
				 .newest_first = c->queue.order == QUEUE_LIFO };

	sharing_fill(&c->sharing, l->sharing, f->shadow, &r);
	return r;
}

static bool open_one(const struct filter *f, const struct limiter *l, const char *match,
		     uint32_t cap, struct shared_policy **out, const char **why)
{
	const struct concurrency_conf *c = f->conf;
	struct shared_rule rule = rule_of(f, l, cap);
	char name[SHARING_NAME_MAX];

	if (cap == SLOTS_UNLIMITED)
		return true;
	sharing_name(f->name, c->key.text, match, 0, name);
	*out = shared_policy_get(l->sharing->limits, name, &rule, c->key.n == 0 ? 1 : c->max_keys,
				 why);
	return *out != NULL;
}

bool concurrency_shared_open(const struct filter *f, struct limiter *l, struct diags *diags,
			     struct place at)
{
	const struct concurrency_conf *c = f->conf;
	const struct concurrency_override *o = c->overrides.item;
	const char *why = NULL;
	bool ok = open_one(f, l, "", l->rule.cap, &l->shared, &why);

	for (uint32_t i = 0; ok && i < l->n_overrides; i++)
		ok = open_one(f, l, o[i].match, l->override[i].cap, &l->override[i].shared, &why);
	if (!ok)
		diag_error(diags, at, why == NULL ? "E099" : "E016",
			   "policy `%s` cannot be shared: %s", f->name,
			   why == NULL ? "out of memory" : why);
	return ok;
}

void concurrency_shared_close(struct limiter *l)
{
	if (l->shared != NULL)
		shared_policy_put(l->sharing->limits, l->shared);
	for (uint32_t i = 0; i < l->n_overrides; i++)
		if (l->override[i].shared != NULL)
			shared_policy_put(l->sharing->limits, l->override[i].shared);
}

static void enforce_one(const struct filter *f, const struct limiter *l, uint32_t cap,
			struct shared_policy *p)
{
	struct shared_rule rule = rule_of(f, l, cap);

	if (p != NULL)
		shared_policy_enforce(l->sharing->limits, p, &rule);
}

void concurrency_shared_enforce(const struct filter *f)
{
	const struct limiter *l = f->state;

	enforce_one(f, l, l->rule.cap, l->shared);
	for (uint32_t i = 0; i < l->n_overrides; i++)
		enforce_one(f, l, l->override[i].cap, l->override[i].shared);
}

/*--------------------------------------------------------------------- views */

static void fill_limit(const struct filter *f, const struct scoped *s, uint64_t left,
		       uint64_t retry_ms, struct limit_info *out)
{
	*out = (struct limit_info){ .policy = f->name,
				    .key_hash = s->key,
				    .limit = s->cap,
				    .remaining = left,
				    .reset_ms = retry_ms };
}

static uint64_t ms_up(uint64_t ns)
{
	return ns / CLOCK_MS + (ns % CLOCK_MS != 0);
}

struct verdict concurrency_shared_look(const struct filter *f, const struct call *call,
				       const struct scoped *s, struct limit_info *out)
{
	const struct concurrency_conf *c = f->conf;
	const struct limiter *l = f->state;
	struct shared_want want = { .policy = s->shared, .key = s->key };
	uint64_t left, retry_ns;

	shared_permits_look(l->sharing->limits, call->env->now_ns, &want,
			    c->queue.size > 0 && !f->shadow, &left, &retry_ns);
	fill_limit(f, s, left, ms_up(retry_ns), out);
	return retry_ns == 0 ? verdict_pass() : concurrency_refusal(f, ms_up(retry_ns));
}

/* The holder says what has become of it. */
static struct verdict conclude(struct permit *p, enum lease_answer answer)
{
	struct holder *h = p->holder;

	h->permit = answer == LEASE_ADMIT ? p : NULL;
	h->refused = answer != LEASE_ADMIT && !p->permit.ask.unavailable;
	h->cap = p->scoped.cap;
	h->retry_ms = ms_up(p->permit.ask.retry_ns);
	if (answer == LEASE_ADMIT)
		return verdict_pass();
	if (p->permit.ask.unavailable)
		return verdict_deny(reason_store_unavailable, h->retry_ms);
	return concurrency_refusal(p->filter, h->retry_ms);
}

static void tell_limit(const struct permit *p, struct limit_info *out)
{
	struct limit_info now;

	(void)concurrency_shared_look(p->filter, p->call, &p->scoped, &now);
	if (p->holder->permit == NULL) {
		now.remaining = 0;
		now.reset_ms = p->holder->retry_ms;
	}
	*out = now;
}

/*--------------------------------------------------------------------- waits */

static void count_wait(const struct permit *p)
{
	const struct env *env = p->call->env;

	if (p->permit.ask.queued)
		filter_stats_wait(p->filter->stats, env->worker,
				  env->now_ns > p->since_ns ? env->now_ns - p->since_ns : 0);
}

/* Any thread, under the lock of all. */
static void on_settle(struct permits_ask *a, enum lease_answer answer)
{
	struct permit *p = LIST_ENTRY(a, struct permit, permit.ask);

	p->answer = answer;
	wakes_put(p->wakes, &p->woken, verdict_pass());
}

static struct verdict conclude_waited(struct permit *p, enum lease_answer answer)
{
	struct limit_info *limit = &p->call->out.limit;
	struct verdict v = conclude(p, answer);

	count_wait(p);
	if (v.kind == V_DENY || limit->policy == p->filter->name)
		tell_limit(p, limit);
	return v;
}

static void on_woken(struct woken *k)
{
	struct permit *p = (struct permit *)(void *)k;

	k->verdict = conclude_waited(p, p->answer);
}

/* Its owner has forgotten the call by now: it is the filter's own. */
static void on_leave(struct wait *w)
{
	struct permit *p = (struct permit *)(void *)w;
	bool waited = shared_permit_leave(p->limits, &p->permit);

	count_wait(p);
	if (waited)
		return;
	wakes_take_back(p->wakes, &p->woken);
	if (p->answer == LEASE_ADMIT)
		shared_release(p->limits, p->call->env->now_ns, &p->permit);
}

static struct verdict on_late(struct wait *w)
{
	struct permit *p = (struct permit *)(void *)w;
	enum lease_answer answer;

	if (shared_permit_late(p->limits, p->call->env->now_ns, &p->permit, &answer))
		return conclude_waited(p, answer);
	wakes_take_back(p->wakes, &p->woken);
	return conclude_waited(p, p->answer);
}

/*--------------------------------------------------------------------- takes */

static struct permit *permit_new(const struct filter *f, struct call *call, struct holder *h,
				 const struct scoped *s)
{
	const struct concurrency_conf *c = f->conf;
	const struct limiter *l = f->state;
	const struct env *env = call->env;
	struct permit *p = arena_zalloc(call->arena, sizeof(*p));

	if (p == NULL)
		return NULL;
	list_init(&p->woken.link);
	p->woken.on_settle = on_woken;
	p->permit.ask.settle = on_settle;
	p->permit.ask.trial = f->shadow;
	p->permit.at_once = f->shadow || call->hurry || env->wakes == NULL;
	p->permit.ask.patient = !p->permit.at_once && c->queue.size > 0;
	p->limits = l->sharing->limits;
	p->filter = f;
	p->call = call;
	p->holder = h;
	p->wakes = env->wakes == NULL ? NULL : &env->wakes[env->worker];
	p->scoped = *s;
	p->since_ns = env->now_ns;
	if (p->permit.ask.patient)
		p->permit.ask.urgency = concurrency_urgency_of(f, call);
	return p;
}

static struct verdict ask(struct permit *p)
{
	const struct concurrency_conf *c = p->filter->conf;
	const struct limiter *l = p->filter->state;
	struct key_values values;
	struct shared_want want = { .policy = p->scoped.shared, .key = p->scoped.key };
	enum lease_answer answer;

	key_values(&c->key, p->call, &values);
	want.part = values.part;
	want.n_parts = values.n;
	if (!p->permit.at_once) /* before it can be answered */
		wait_begin_deciding(&p->woken.wait, p->call, on_leave, on_late);
	answer = shared_acquire(p->limits, p->call->env->now_ns, &want, &p->permit);
	if (answer == LEASE_PARK)
		return verdict_pending(p->permit.ask.patient
					   ? ms_up(c->queue.wait_ns)
					   : sharing_wait_ms(&c->sharing, l->sharing));
	if (!p->permit.at_once)
		wait_cancel(&p->woken.wait);
	return conclude(p, answer);
}

struct verdict concurrency_shared_take(const struct filter *f, struct call *call, struct holder *h,
				       const struct scoped *s)
{
	struct permit *p = permit_new(f, call, h, s);
	struct verdict v;

	if (p == NULL) {
		h->retry_ms = 1000;
		return concurrency_refusal(f, h->retry_ms);
	}
	v = ask(p);
	tell_limit(p, &call->out.limit);
	return v;
}

void concurrency_shared_give(const struct call *call, struct holder *h)
{
	struct permit *p = h->permit;

	h->permit = NULL;
	if (p != NULL)
		shared_release(p->limits, call->env->now_ns, &p->permit);
}

/*-------------------------------------------------------------------- metrics */

static void add(struct shared_policy_gauge *sum, const struct limiter *l,
		const struct shared_policy *p)
{
	struct shared_policy_gauge g;

	if (p == NULL)
		return;
	shared_policy_gauge(l->sharing->limits, p, &g);
	sum->keys += g.keys;
	sum->evictions += g.evictions;
	sum->fallbacks += g.fallbacks;
	sum->in_use += g.in_use;
	sum->queued += g.queued;
}

static const char *mode_of(const struct filter *f, const struct limiter *l)
{
	return sharing_on_error_names[rule_of(f, l, 1).on_error + 1];
}

void concurrency_shared_show(const struct filter *f, filter_emit *emit, void *ctx)
{
	const struct limiter *l = f->state;
	struct shared_policy_gauge sum = { .keys = 0 };

	add(&sum, l, l->shared);
	for (uint32_t i = 0; i < l->n_overrides; i++)
		add(&sum, l, l->override[i].shared);
	emit(ctx, &(struct filter_sample){ .metric = SHOW_CONCURRENCY, .value = sum.in_use });
	emit(ctx, &(struct filter_sample){ .metric = SHOW_QUEUE_LENGTH, .value = sum.queued });
	if (l->rule.cap != SLOTS_UNLIMITED)
		emit(ctx, &(struct filter_sample){ .metric = SHOW_CONCURRENCY_LIMIT,
						   .value = l->rule.cap });
	if (l->rule.keys > 0) {
		emit(ctx, &(struct filter_sample){ .metric = SHOW_KEYS, .value = sum.keys });
		emit(ctx, &(struct filter_sample){ .metric = SHOW_KEY_EVICTIONS,
						   .value = sum.evictions });
	}
	emit(ctx, &(struct filter_sample){
		      .metric = SHOW_FALLBACKS, .state = mode_of(f, l), .value = sum.fallbacks });
}
