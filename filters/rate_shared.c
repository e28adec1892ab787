/* rate_shared.c - rates that all replicas count together (`store: redis`).
 *
 * Most calls are decided at once, from what this replica was granted before.  A call that has to wait for an answer
 * waits as one in a queue does, at most `store_wait`:
 *
 *   admit --> PASS, DENY
 *     +-----> PENDING --settle (the carrier's thread)--> a wake of its worker --> PASS, DENY
 *                +----its time is over: decide-----------> as without Redis
 *                +----the call is gone: leave
 *
 * Where the last two find that it was answered already, the answer is on its way among the wakes: it is taken back
 * from there, and what it took is used, or given back.
 *
 * Each rule is a shared policy of its own, under the policy's name and a digest of what makes it another one. */
#include <stdlib.h>

#include "base/check.h"
#include "base/number.h"
#include "filters/rate_internal.h"
#include "filters/stats.h"
#include "filters/wait.h"

#define BUDGET_LEAST_NS \
	(3600 * CLOCK_S) /* fixed windows from here on: what is lost would be missed */

/* What a call asks; in its arena. */
struct debt {
	struct woken woken;    /* first */
	struct shared_ask ask; /* its lease_ask is first */
	struct shared_limits *limits;
	const struct filter *filter;
	struct call *call;
	struct taken *taken;
	struct wakes *wakes;
	enum lease_answer answer; /* of one that waited */
};

/*---------------------------------------------------------- open and close */

/* NULL, or why not. */
static const char *fill_rule(const struct quota_rule *q, struct shared_rule *r)
{
	uint64_t period_ns = quota_period_ns(q), scale = 1;

	r->count = quota_size(q);
	if (q->algorithm == TOKEN_BUCKET) {
		period_ns = q->bucket.period;
		scale = 1000 / number_common_divisor(period_ns, 1000);
		r->kind = SHARED_BUCKET;
		r->count = q->bucket.count * scale;
		r->burst = q->bucket.burst;
	} else if (q->algorithm == SLIDING_WINDOW) {
		r->kind = SHARED_SLIDING;
	} else {
		r->kind = period_ns < BUDGET_LEAST_NS ? SHARED_FIXED : SHARED_BUDGET;
	}
	if (period_ns * scale % 1000 != 0)
		return "a window that is shared takes whole microseconds";
	r->period_us = period_ns * scale / 1000;
	return NULL;
}

const char *rate_shared_check(const struct quota_rule *q)
{
	struct shared_rule r = { .kind = SHARED_BUCKET };
	const char *why = fill_rule(q, &r);

	return why != NULL ? why : shared_rule_check(&r);
}

static bool rule_of(const struct filter *f, const struct limiter *l, const struct quota_rule *q,
		    struct shared_rule *r, const char **why)
{
	const struct rate_conf *c = f->conf;

	*r = (struct shared_rule){ .kind = SHARED_BUCKET };
	sharing_fill(&c->sharing, l->sharing, f->shadow, r);
	*why = fill_rule(q, r);
	return *why == NULL;
}

static bool open_rule(const struct filter *f, struct limiter *l, uint32_t override, uint8_t entry,
		      const char **why)
{
	const struct rate_conf *c = f->conf;
	const struct override_conf *o = c->overrides.item;
	struct rules *r = rules_at(l, override);
	struct shared_rule rule;
	char name[SHARING_NAME_MAX];

	if (!rule_of(f, l, &r->rule[entry], &rule, why))
		return false;
	sharing_name(f->name, c->key.text, override == 0 ? "" : o[override - 1].match,
		     r->n > 1 ? quota_period_ns(&r->rule[entry]) : 0, name);
	r->shared[entry] = shared_policy_get(l->sharing->limits, name, &rule,
					     c->key.n == 0 ? 1 : c->max_keys, why);
	return r->shared[entry] != NULL;
}

bool rate_shared_open(const struct filter *f, struct limiter *l, struct diags *diags,
		      struct place at)
{
	for (uint32_t i = 0; i <= l->n_overrides; i++) {
		for (uint8_t entry = 0; entry < rules_at(l, i)->n; entry++) {
			const char *why = NULL;

			if (open_rule(f, l, i, entry, &why))
				continue;
			diag_error(diags, at, why == NULL ? "E099" : "E016",
				   "policy `%s` cannot be shared: %s", f->name,
				   why == NULL ? "out of memory" : why);
			return false;
		}
	}
	return true;
}

void rate_shared_close(struct limiter *l)
{
	for (uint32_t i = 0; i <= l->n_overrides; i++) {
		struct rules *r = rules_at(l, i);

		for (uint8_t entry = 0; entry < r->n; entry++)
			if (r->shared[entry] != NULL)
				shared_policy_put(l->sharing->limits, r->shared[entry]);
	}
}

void rate_shared_enforce(const struct filter *f)
{
	struct limiter *l = f->state;

	for (uint32_t i = 0; i <= l->n_overrides; i++) {
		const struct rules *r = rules_at(l, i);

		for (uint8_t entry = 0; entry < r->n; entry++) {
			struct shared_rule rule;
			const char *why;

			CHECK(rule_of(f, l, &r->rule[entry], &rule, &why)); /* as in open */
			shared_policy_enforce(l->sharing->limits, r->shared[entry], &rule);
		}
	}
}

/*--------------------------------------------------------------------- views */

static unsigned make_wants(const struct taken *t, uint64_t cost, const struct key_values *values,
			   struct shared_want *want)
{
	for (uint8_t i = 0; i < t->rules->n; i++)
		want[i] = (struct shared_want){ .policy = t->rules->shared[i],
						.key = t->key,
						.part = values == NULL ? NULL : values->part,
						.n_parts = values == NULL ? 0 : values->n,
						.cost = cost };
	return t->rules->n;
}

static void tell(struct taken *t, const struct shared_view *v)
{
	t->nearest = &t->rules->rule[v->want];
	t->view = (struct quota_view){ .remaining = v->left,
				       .full_ns = v->reset_ns,
				       .wait_ns = v->retry_ns };
}

void rate_shared_look(const struct limiter *l, const struct call *call, struct taken *t,
		      uint64_t cost)
{
	struct shared_want want[ENTRIES_MAX];
	struct shared_view v = { .want = 0 };
	unsigned n = make_wants(t, cost, NULL, want);

	shared_look(l->sharing->limits, call->env->now_ns, want, n, &v);
	tell(t, &v);
}

/* *t says what has become of it. */
static struct verdict conclude(struct debt *d, enum lease_answer answer)
{
	struct taken *t = d->taken;

	tell(t, &d->ask.view);
	t->took = answer == LEASE_ADMIT;
	t->denied = !t->took;
	if (t->took)
		return verdict_pass();
	if (d->ask.unavailable)
		return verdict_deny(reason_store_unavailable, t->view.wait_ns / CLOCK_MS);
	return rate_refusal(&t->view);
}

/*--------------------------------------------------------------------- waits */

/* The carrier's thread, under its lock. */
static void on_settle(struct lease_ask *a, enum lease_answer answer)
{
	struct debt *d = LIST_ENTRY(a, struct debt, ask.ask);

	d->answer = answer;
	shared_settled(&d->ask, answer);
	wakes_put(d->wakes, &d->woken, verdict_pass());
}

static struct verdict conclude_settled(struct debt *d, struct call *call)
{
	struct verdict v = conclude(d, d->answer);

	if (v.kind == V_DENY || call->out.limit.policy == d->filter->name)
		rate_fill_limit(d->filter, d->taken, &call->out.limit);
	d->taken->call.debt = d;
	return v;
}

static void on_woken(struct woken *k)
{
	struct debt *d = (struct debt *)(void *)k;

	k->verdict = conclude_settled(d, k->wait.call);
}

/* Its owner has forgotten the call by now: it is the filter's own. */
static void on_leave(struct wait *w)
{
	struct debt *d = (struct debt *)(void *)w;

	if (shared_leave(d->limits, &d->ask))
		return;
	wakes_take_back(d->wakes, &d->woken);
	if (d->answer == LEASE_ADMIT)
		shared_return(d->limits, 0, &d->ask);
}

static struct verdict on_late(struct wait *w)
{
	struct debt *d = (struct debt *)(void *)w;
	struct call *call = d->call;

	if (!shared_late(d->limits, call->env->now_ns, &d->ask, &d->answer))
		wakes_take_back(d->wakes, &d->woken);
	return conclude_settled(d, call);
}

/*--------------------------------------------------------------------- takes */

static struct debt *debt_new(const struct filter *f, struct call *call, struct taken *t)
{
	const struct limiter *l = f->state;
	struct debt *d = arena_alloc(call->arena, sizeof(*d));

	if (d == NULL)
		return NULL;
	d->woken.on_settle = on_woken;
	list_init(&d->woken.link);
	d->ask.ask.settle = on_settle;
	d->limits = l->sharing->limits;
	d->filter = f;
	d->call = call;
	d->taken = t;
	d->wakes = call->env->wakes == NULL ? NULL : &call->env->wakes[call->env->worker];
	return d;
}

struct verdict rate_shared_take(const struct filter *f, struct call *call, struct taken *t,
				struct payment *charge, bool may_wait)
{
	const struct rate_conf *c = f->conf;
	const struct limiter *l = f->state;
	struct debt *d = debt_new(f, call, t);
	struct shared_want want[ENTRIES_MAX];
	struct key_values values;
	enum lease_answer answer;
	unsigned n;

	charge->debt = d;
	if (d == NULL) {
		t->denied = true;
		t->nearest = &t->rules->rule[0];
		t->view = (struct quota_view){ .wait_ns = CLOCK_S };
		return rate_refusal(&t->view);
	}
	key_values(&c->key, call, &values);
	n = make_wants(t, t->cost, &values, want);
	d->ask.ask.at_once = !may_wait || call->hurry || d->wakes == NULL;
	if (!d->ask.ask.at_once) /* before it can be answered */
		wait_begin_deciding(&d->woken.wait, call, on_leave, on_late);
	answer = shared_admit(d->limits, call->env->now_ns, want, n, &d->ask);
	if (answer == LEASE_PARK) {
		t->nearest = &t->rules->rule[0];
		return verdict_pending(sharing_wait_ms(&c->sharing, l->sharing));
	}
	if (!d->ask.ask.at_once)
		wait_cancel(&d->woken.wait);
	return conclude(d, answer);
}

void rate_shared_give(const struct limiter *l, const struct call *call, struct payment *charge)
{
	if (charge->debt != NULL)
		shared_return(l->sharing->limits, call->env->now_ns, &charge->debt->ask);
	charge->debt = NULL;
}

/*-------------------------------------------------------------------- metrics */

static const char *mode_of(const struct rate_conf *c, const struct sharing *s)
{
	struct shared_rule r = { .count = 0 };

	sharing_fill(&c->sharing, s, false, &r);
	return sharing_on_error_names[r.on_error + 1];
}

void rate_shared_show(const struct filter *f, filter_emit *emit, void *ctx)
{
	struct limiter *l = f->state;
	struct filter_sample keys = { .metric = SHOW_KEYS };
	struct filter_sample evictions = { .metric = SHOW_KEY_EVICTIONS };
	struct filter_sample fallbacks = { .metric = SHOW_FALLBACKS,
					   .state = mode_of(f->conf, l->sharing) };

	for (uint32_t i = 0; i <= l->n_overrides; i++) {
		const struct rules *r = rules_at(l, i);

		for (uint8_t entry = 0; entry < r->n; entry++) {
			struct shared_policy_gauge g;

			shared_policy_gauge(l->sharing->limits, r->shared[entry], &g);
			keys.value += g.keys;
			evictions.value += g.evictions;
			fallbacks.value += g.fallbacks;
		}
	}
	emit(ctx, &keys);
	emit(ctx, &evictions);
	emit(ctx, &fallbacks);
}
