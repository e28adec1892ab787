/* rate.c - the filter behind `rate`.
 *
 * admit takes from the key's quota; done gives it back if a later filter denied the call (F7).  The
 * arithmetic is in quota.c, the state in table.c, the key in scope.c, the configuration in
 * rate_conf.c.  A policy has one set of rules, and one more for every override; all of them share
 * one table.
 *
 * Of several rules that a key meets together each has a cell of its own.  They are asked in turn,
 * the shortest time first; when one refuses, those before it get back what they gave: another call
 * may be refused for that in between, but none is let in that should not be.
 *
 * A delayed call (`wait`) has its token when it is let in; that it goes on later is all there is to
 * the queue.  A client that goes away while its call is delayed gets the token back if nobody came
 * behind it: those behind were told when to go on, so the turn of one before them passes unused.  A
 * client that could give back any place could save up those of others and use them all at once. */

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "filters/limit_fields.h"
#include "filters/rate_internal.h"
#include "filters/stats.h"

enum { WHOLE = 1000000, COST_DIGITS = 9 };

/* What a field may say: more is more than any limit allows. */
#define COST_MAX UINT64_C(999999999)

/*---------------------------------------------------------- open and close */

static void override_init(struct override *o, const struct rate_conf *c,
			  const struct override_conf *conf)
{
	struct slice match = slice_str(conf->match);

	scope_match_init(&o->match, &c->key, conf->match);
	o->text = hash_siphash(hash_boot_key(), match.p, match.n) | 1;
	rate_rules(c, &conf->rate, &conf->burst, o->rules.rule, &o->rules.n);
}

static void limiter_free(struct limiter *l)
{
	if (l->sharing != NULL)
		rate_shared_close(l);
	table_put(l->registry, &l->use);
	free(l);
}

/* All of them, the policy's own first; returns how many.  `back`: their tags come from the table.
 */
static uint32_t exchange_rules(struct limiter *l, struct table_rule *out, bool back)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i <= l->n_overrides; i++) {
		struct rules *r = rules_at(l, i);

		for (uint8_t entry = 0; entry < r->n; entry++, n++) {
			if (back)
				r->tag[entry] = out[n].tag;
			else
				out[n] =
				    (struct table_rule){ .match =
							     i == 0 ? 0 : l->override[i - 1].text,
							 .entry = entry,
							 .rule = r->rule[entry] };
		}
	}
	return n;
}

static bool open_rules(struct limiter *l)
{
	struct table_rule *rules = calloc((1 + l->n_overrides) * ENTRIES_MAX, sizeof(*rules));
	uint32_t n;
	bool ok;

	if (rules == NULL)
		return false;
	n = exchange_rules(l, rules, false);
	ok = n == 0 || table_rules_get(&l->use, rules, n);
	if (ok)
		exchange_rules(l, rules, true);
	free(rules);
	return ok;
}

/* Each rule of a key takes a cell. */
static uint32_t cells_wanted(struct limiter *l, const struct rate_conf *c)
{
	uint64_t keys = c->key.n == 0 ? 1 : c->max_keys;
	uint8_t most = 1;

	for (uint32_t i = 0; i <= l->n_overrides; i++)
		most = rules_at(l, i)->n > most ? rules_at(l, i)->n : most;
	return (uint32_t)(keys * most);
}

static struct limiter *limiter_new(const struct filter *f, struct table_registry *registry)
{
	const struct rate_conf *c = f->conf;
	struct table_id id = { .policy = c->pool != NULL ? c->pool : f->name,
			       .kind = c->pool != NULL ? "rates" : f->ops->name,
			       .key = c->key.text == NULL ? "" : c->key.text,
			       .store = store_names[c->sharing.store] };
	const struct override_conf *o = c->overrides.item;
	struct limiter *l = calloc(1, sizeof(*l) + c->overrides.n * sizeof(l->override[0]));

	if (l == NULL)
		return NULL;
	l->registry = registry;
	if (c->sharing.store == STORE_REDIS && table_registry_sharing(registry)->limits != NULL)
		l->sharing = table_registry_sharing(registry);
	l->windows = c->algorithm == SLIDING_WINDOW || c->algorithm == FIXED_WINDOW;
	l->n_overrides = c->overrides.n;
	rate_rules(c, &c->rate, &c->burst, l->rules.rule, &l->rules.n);
	for (uint32_t i = 0; i < c->overrides.n; i++)
		override_init(&l->override[i], c, &o[i]);
	if (!table_get(registry, &id, l->sharing != NULL ? 1 : cells_wanted(l, c), &l->use)) {
		free(l);
		return NULL;
	}
	if (c->pool != NULL)
		l->use.lane = hash_siphash(hash_boot_key(), f->name, strlen(f->name)) | 1;
	return l;
}

static bool out_of_memory(const struct filter *f, struct diags *diags, struct place at)
{
	diag_error(diags, at, "E099", "out of memory for the table of policy `%s`", f->name);
	return false;
}

static bool rate_open(struct filter *f, struct table_registry *registry, struct diags *diags,
		      struct place at)
{
	const struct rate_conf *c = f->conf;
	struct limiter *l;

	f->together = c->charge == CHARGE_ARRIVAL;
	f->pool = c->pool;
	f->by_address = c->wait_ns == 0 && key_has_client_ip(&c->key) && key_identity(&c->key) == 0;
	if (c->wait_ns > 0 && !filter_stats_open_waits(f->stats))
		return out_of_memory(f, diags, at);
	l = limiter_new(f, registry);
	if (l == NULL)
		return out_of_memory(f, diags, at);
	if (l->sharing != NULL && !rate_shared_open(f, l, diags, at)) {
		limiter_free(l);
		return false;
	}
	if (l->sharing == NULL && !open_rules(l)) {
		diag_error(diags, at, "E016",
			   "policy `%s` and those of earlier configurations with calls still under "
			   "way have too many "
			   "different rates",
			   f->name);
		limiter_free(l);
		return false;
	}
	f->state = l;
	return true;
}

static void rate_in_force(const struct filter *f, const struct env *env)
{
	const struct limiter *l = f->state;

	(void)env;
	if (l->sharing != NULL)
		rate_shared_enforce(f);
}

static void rate_close(struct filter *f)
{
	limiter_free(f->state);
	f->state = NULL;
}

/*------------------------------------------------------------- whom it asks */

static uint64_t cost_of(const struct cost_spec *spec, const struct head *req)
{
	const struct header *h;
	uint64_t n = 0;

	if (spec->field == NULL)
		return spec->n > 0 ? spec->n : 1;
	h = head_find_name(req, slice_str(spec->field));
	for (size_t i = 0; h != NULL && i < h->value.n; i++) {
		if (h->value.p[i] < '0' || h->value.p[i] > '9')
			return 1;
		n = n > COST_MAX / 10 ? COST_MAX : n * 10 + (uint64_t)(h->value.p[i] - '0');
	}
	return n == 0 ? 1 : n;
}

static const struct rules *choose_rules(const struct limiter *l, const struct call *call,
					uint64_t key)
{
	for (uint32_t i = 0; i < l->n_overrides; i++)
		if (scope_matches(&l->override[i].match, &call->client, key))
			return &l->override[i].rules;
	return &l->rules;
}

/* Whether the limit is real for this key.  By a hash that is the same everywhere and always: no
 * restart and no other replica changes sides. */
static bool is_enforced(const struct rate_conf *c, const struct call *call)
{
	uint64_t hash = 0; /* of those without the key */

	if (c->enforced == 0)
		return true;
	(void)key_fingerprint_everywhere(&c->key, call, &hash);
	return (hash >> 32) * WHOLE >> 32 < c->enforced;
}

/* PASS: *t says which rules of which key; else the verdict. */
static struct verdict find_rules(const struct filter *f, const struct call *call, struct taken *t)
{
	const struct rate_conf *c = f->conf;
	const struct limiter *l = f->state;
	struct verdict v = scope_find(&c->key, c->missing, call, &t->key);

	if (v.kind != V_PASS)
		return v;
	t->rules = choose_rules(l, call, t->key);
	t->cost = cost_of(&c->cost, call->req);
	if (l->windows)
		table_set_wall(l->use.table, call->env->now_ns, call->env->wall_ns);
	return v;
}

/* Of the key, under its rules one after the other. */
static uint64_t cell_key(uint64_t key, uint8_t entry)
{
	return key + entry * UINT64_C(0x9e3779b97f4a7c15);
}

/*------------------------------------------------------------------- takes */

static void give_back(const struct limiter *l, const struct taken *t, const struct payment *charge)
{
	for (uint8_t i = 0; i < charge->n; i++)
		table_give(l->use.table, charge->tag[i], cell_key(t->key, i), charge->window[i],
			   t->cost);
}

static void pay_back(const struct limiter *l, const struct call *call, const struct taken *t,
		     struct payment *charge)
{
	if (l->sharing != NULL)
		rate_shared_give(l, call, charge);
	else
		give_back(l, t, charge);
}

static void tell(struct taken *t, uint8_t entry, const struct quota_view *view)
{
	t->nearest = &t->rules->rule[entry];
	t->view = *view;
}

/* From `entry` on: what the longest of their waits is, and who delays. */
static void look_on(const struct limiter *l, struct taken *t, uint8_t entry, uint64_t now_ns)
{
	struct quota_view view;

	for (; entry < t->rules->n; entry++) {
		table_peek(l->use.table, t->rules->tag[entry], cell_key(t->key, entry), now_ns,
			   t->cost, &view);
		if (view.wait_ns > t->view.wait_ns || view.delay_ns > 0)
			tell(t, entry, &view);
	}
}

/* All or none.  t->view is of the rule that refuses for the longest, or of the one nearest to it.
 */
static bool take(const struct limiter *l, struct taken *t, struct payment *charge, uint64_t now_ns)
{
	struct quota_view view;

	charge->n = 0;
	for (uint8_t i = 0; i < t->rules->n; i++) {
		charge->tag[i] = t->rules->tag[i];
		if (!table_take(l->use.table, &charge->tag[i], cell_key(t->key, i), now_ns, t->cost,
				&view)) {
			give_back(l, t, charge);
			tell(t, i, &view);
			look_on(l, t, (uint8_t)(i + 1), now_ns);
			return false;
		}
		charge->window[i] = view.window;
		charge->state = view.state;
		charge->n++;
		if (i == 0 || view.remaining < t->view.remaining)
			tell(t, i, &view);
	}
	return true;
}

/* Nothing comes back if somebody came behind. */
static bool undo(const struct limiter *l, const struct taken *t, const struct payment *charge)
{
	CHECK(charge->n == 1);
	return table_undo(l->use.table, charge->tag[0], t->key, charge->state, t->cost);
}

/*--------------------------------------------------------------- decisions */

static uint64_t ms_up(uint64_t ns)
{
	return ns / CLOCK_MS + (ns % CLOCK_MS != 0);
}

static uint64_t s_up(uint64_t ns)
{
	return ns / CLOCK_S + (ns % CLOCK_S != 0);
}

struct verdict rate_refusal(const struct quota_view *view)
{
	return verdict_deny(reason_rate_limited,
			    view->wait_ns == QUOTA_NEVER ? VERDICT_NEVER_MS : ms_up(view->wait_ns));
}

void rate_fill_limit(const struct filter *f, const struct taken *t, struct limit_info *limit)
{
	*limit = (struct limit_info){
		.policy = f->name,
		.key_hash = t->key,
		.limit = quota_size(t->nearest),
		.remaining = t->view.remaining,
		.reset_ms = ms_up(t->view.full_ns),
	};
}

/* Whether the turn comes after the call's own time: it would wait for nothing.  Then it is refused
 * until its turn would be early enough. */
static bool is_too_late(const struct call *call, struct taken *t)
{
	uint64_t now_ns = call->env->now_ns;

	if (t->view.delay_ns == 0 || call->deadline_ns == 0 ||
	    now_ns + t->view.delay_ns < call->deadline_ns)
		return false;
	t->view.wait_ns = t->view.delay_ns + 1;
	if (call->deadline_ns > now_ns)
		t->view.wait_ns -= call->deadline_ns - now_ns;
	return true;
}

static struct verdict delay(const struct filter *f, const struct call *call, struct taken *t)
{
	struct limiter *l = f->state;
	uint64_t ns = t->view.delay_ns;

	if (is_too_late(call, t)) {
		undo(l, t, &t->call);
		t->took = false;
		t->denied = true;
		return rate_refusal(&t->view);
	}
	if (!f->shadow && !t->trial) {
		t->turn_ns = call->env->now_ns + ns;
		atomic_fetch_add_explicit(&l->delayed, 1, memory_order_relaxed);
		filter_stats_wait(f->stats, call->env->worker, ns);
	}
	return verdict_delay_ns(ns);
}

/* A trial waits for nothing. */
static struct verdict admit_shared(const struct filter *f, struct call *call, struct taken *t)
{
	bool real = is_enforced(f->conf, call);
	struct verdict v = rate_shared_take(f, call, t, &t->call, real && !f->shadow);

	t->trial = v.kind == V_DENY && !real;
	v.trial = t->trial;
	rate_fill_limit(f, t, &call->out.limit);
	return v;
}

static struct verdict rate_admit(const struct filter *f, struct call *call, void *mem)
{
	struct taken *t = mem;
	struct verdict v = find_rules(f, call, t);

	if (v.kind != V_PASS || t->rules->n == 0) {
		call->out.limit.policy = v.kind == V_DENY ? f->name : NULL;
		return v;
	}
	if (((const struct limiter *)f->state)->sharing != NULL)
		return admit_shared(f, call, t);
	t->took = take(f->state, t, &t->call, call->env->now_ns);
	t->denied = !t->took;
	t->trial = (t->denied || t->view.delay_ns > 0) && !is_enforced(f->conf, call);
	if (t->denied || t->view.delay_ns > 0)
		call->out.excess = quota_excess(t->nearest, &t->view, t->denied);
	if (t->denied)
		v = rate_refusal(&t->view);
	else if (t->view.delay_ns > 0)
		v = delay(f, call, t);
	rate_fill_limit(f, t, &call->out.limit);
	v.trial = t->trial;
	return v;
}

/* t->view is of the rule nearest to refusing. */
static void look_at_all(const struct limiter *l, struct taken *t, uint64_t now_ns, uint64_t cost)
{
	struct quota_view view;

	for (uint8_t i = 0; i < t->rules->n; i++) {
		table_peek(l->use.table, t->rules->tag[i], cell_key(t->key, i), now_ns, cost,
			   &view);
		if (i == 0 || view.remaining < t->view.remaining)
			tell(t, i, &view);
	}
}

static bool rate_look(const struct filter *f, const struct call *call, struct limit_info *out)
{
	struct taken t = { .took = false };

	if (find_rules(f, call, &t).kind != V_PASS || t.rules->n == 0)
		return false;
	if (((const struct limiter *)f->state)->sharing != NULL)
		rate_shared_look(f->state, call, &t, 0);
	else
		look_at_all(f->state, &t, call->env->now_ns, 0);
	rate_fill_limit(f, &t, out);
	return true;
}

/*------------------------------------------------------------ for operators */

static const struct key_spec *rate_key(const struct filter *f)
{
	const struct rate_conf *c = f->conf;

	return &c->key;
}

static bool find_key(const struct filter *f, const struct filter_key *k, struct taken *t)
{
	const struct limiter *l = f->state;
	const struct call stand_in = { .env = k->env, .client = k->client };

	*t = (struct taken){ .key = k->key };
	t->rules = choose_rules(l, &stand_in, k->key);
	if (l->windows)
		table_set_wall(l->use.table, k->env->now_ns, k->env->wall_ns);
	return t->rules->n > 0;
}

static bool rate_is_shared(const struct filter *f)
{
	return ((const struct limiter *)f->state)->sharing != NULL;
}

static bool rate_look_key(const struct filter *f, const struct filter_key *k,
			  struct limit_info *out)
{
	const struct call stand_in = { .env = k->env, .client = k->client };
	struct taken t;

	if (!find_key(f, k, &t))
		return false;
	if (rate_is_shared(f))
		rate_shared_look(f->state, &stand_in, &t, 0);
	else
		look_at_all(f->state, &t, k->env->now_ns, 0);
	rate_fill_limit(f, &t, out);
	return true;
}

static bool rate_reset_key(const struct filter *f, const struct filter_key *k)
{
	const struct limiter *l = f->state;
	struct taken t;

	if (rate_is_shared(f) || !find_key(f, k, &t))
		return false;
	for (uint8_t i = 0; i < t.rules->n; i++)
		table_reset(l->use.table, t.rules->tag[i], cell_key(k->key, i), k->env->now_ns);
	return true;
}

static struct verdict rate_peek(const struct filter *f, const struct call *call)
{
	struct taken t = { .took = false };
	struct verdict v = find_rules(f, call, &t);

	if (v.kind != V_PASS)
		return v;
	if (((const struct limiter *)f->state)->sharing != NULL && t.rules->n > 0)
		rate_shared_look(f->state, call, &t, t.cost);
	else
		look_on(f->state, &t, 0, call->env->now_ns);
	if (t.view.wait_ns > 0 || is_too_late(call, &t))
		v = rate_refusal(&t.view);
	else
		v = verdict_delay_ns(t.view.delay_ns);
	v.trial = v.kind != V_PASS && !is_enforced(f->conf, call);
	return v;
}

/*---------------------------------------------------------------- attempts */

/* Its turn has come. */
static void end_delay(struct limiter *l, struct taken *t)
{
	if (t->turn_ns == 0)
		return;
	t->turn_ns = 0;
	atomic_fetch_sub_explicit(&l->delayed, 1, memory_order_relaxed);
}

/* A try cannot be delayed: it pays at once or not at all. */
static struct verdict take_try(const struct filter *f, struct call *call, struct taken *t)
{
	const struct limiter *l = f->state;
	uint64_t now_ns = call->env->now_ns;

	if (l->sharing != NULL)
		return rate_shared_take(f, call, t, &t->attempt, false);
	if (!take(l, t, &t->attempt, now_ns))
		return rate_refusal(&t->view);
	if (t->view.delay_ns == 0)
		return verdict_pass();
	undo(l, t, &t->attempt);
	t->view.wait_ns = t->view.delay_ns;
	return rate_refusal(&t->view);
}

static struct verdict rate_attempt(const struct filter *f, struct call *call, void *mem,
				   struct attempt *a)
{
	const struct rate_conf *c = f->conf;
	struct taken *t = mem;
	struct verdict v;

	end_delay(f->state, t);
	t->attempt.n = 0;
	t->attempt.debt = NULL;
	if (c->charge != CHARGE_ATTEMPT || a->number <= 1 || call->repeat || !t->took)
		return verdict_skip();
	v = take_try(f, call, t);
	if (v.kind == V_PASS) {
		t->took = true;
		t->denied = false;
		return v;
	}
	t->took = true; /* by the call, as before */
	t->attempt.n = 0;
	t->attempt.debt = NULL;
	v.trial = !is_enforced(f->conf, call);
	t->denied = !v.trial && !a->beside;
	rate_fill_limit(f, t, &call->out.limit);
	return v;
}

/* What it would say to a retry; a first try, or one that no policy asked for, pays nothing. */
static uint64_t rate_shut(const struct filter *f, const struct call *call, uint32_t endpoint)
{
	const struct rate_conf *c = f->conf;
	struct verdict v;

	(void)endpoint;
	if (c->charge != CHARGE_ATTEMPT || call->out.attempts == 0 || call->repeat)
		return 0;
	v = rate_peek(f, call);
	return v.kind == V_PASS || v.kind == V_SKIP || v.trial ? 0 : v.ms * CLOCK_MS;
}

/* A try that another filter denied, or for which there was no place, was none. */
static void rate_attempted(const struct filter *f, struct call *call, void *mem,
			   const struct attempt *a)
{
	struct taken *t = mem;

	if (a->why->flags & R_SHED)
		pay_back(f->state, call, t, &t->attempt);
	t->attempt.n = 0;
	t->attempt.debt = NULL;
}

/*------------------------------------------------------------- the way back */

/* A trial that refuses nothing tells clients nothing. */
static void rate_respond(const struct filter *f, struct call *call, void *mem, struct head *h)
{
	const struct rate_conf *c = f->conf;
	const struct taken *t = mem;
	/* what done will give back */
	bool comes_back =
	    call->out.denied && t->took && (!f->together || chain_denied_together(call));
	bool never = t->denied && t->view.wait_ns == QUOTA_NEVER;

	if (f->shadow || t->trial || call->out.why == reason_store_unavailable ||
	    !(t->denied || (t->took && c->headers)))
		return;
	limit_fields_add(
	    call, h,
	    &(struct limit_view){
		.policy = f->name,
		.quota = quota_size(t->nearest),
		.window_s = s_up(quota_period_ns(t->nearest)),
		.remaining = t->view.remaining + (comes_back ? t->cost : 0),
		.reset_s = s_up(t->denied && !never ? t->view.wait_ns : t->view.full_ns),
	    });
}

static void rate_done(const struct filter *f, struct call *call, void *mem)
{
	struct limiter *l = f->state;
	struct taken *t = mem;
	bool left = t->turn_ns > call->env->now_ns; /* while it was delayed */

	end_delay(l, t);
	if (call->out.denied && t->took && (!f->together || chain_denied_together(call)))
		pay_back(l, call, t, &t->call);
	else if (left && !f->together)
		undo(l, t, &t->call);
}

static void rate_show(const struct filter *f, filter_emit *emit, void *ctx)
{
	const struct rate_conf *c = f->conf;
	const struct limiter *l = f->state;
	struct filter_sample keys = { .metric = SHOW_KEYS };
	struct filter_sample evictions = { .metric = SHOW_KEY_EVICTIONS };
	struct filter_sample delayed = { .metric = SHOW_QUEUE_LENGTH };

	if (l->sharing != NULL) {
		rate_shared_show(f, emit, ctx);
		return;
	}
	table_gauge(l->use.table, &keys.value, &evictions.value);
	emit(ctx, &keys);
	emit(ctx, &evictions);
	delayed.value = atomic_load_explicit(&l->delayed, memory_order_relaxed);
	if (c->wait_ns > 0)
		emit(ctx, &delayed);
}

const struct filter_ops rate_ops = {
	.name = "rate",
	.family = FAMILY_RATE,
	.schema = &rate_schema,
	.mem_size = sizeof(struct taken),
	.refusals = { REASON_rate_limited, REASON_missing_key, REASON_store_unavailable },
	.open = rate_open,
	.close = rate_close,
	.in_force = rate_in_force,
	.admit = rate_admit,
	.peek = rate_peek,
	.look = rate_look,
	.key = rate_key,
	.look_key = rate_look_key,
	.reset_key = rate_reset_key,
	.is_shared = rate_is_shared,
	.attempt = rate_attempt,
	.attempted = rate_attempted,
	.shut = rate_shut,
	.respond = rate_respond,
	.done = rate_done,
	.show = rate_show,
};
