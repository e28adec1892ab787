/* token_bucket.c - the filter behind `rate`.
 *
 * admit takes one token of the key's bucket; done gives it back if a later filter denied the call
 * (F7).  The arithmetic is in gcra.c, the state in table.c, the key in key.c.  A policy has one
 * bucket size and rate, and one more of each for every override; all of them share one table. */
#include "filters/token_bucket.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "filters/limit_fields.h"
#include "filters/table.h"

enum { COST = 1 };

/* A rule and what to know of it at once. */
struct bucket {
	struct gcra_rule rule;
	uint64_t window_s; /* in which it fills */
	bool unlimited;
	uint16_t tag; /* of the rule in the table */
};

struct override {
	struct scope_match match;
	uint64_t text; /* of what is matched: what is the same override after a reload */
	struct bucket bucket;
};

/* filter->state */
struct limiter {
	struct table_registry *registry;
	struct table_use use;
	struct bucket bucket;
	uint32_t n_overrides;
	struct override override[];
};

/* Of one call. */
struct taken {
	const struct bucket *bucket;
	uint64_t key;
	uint16_t tag; /* that was charged */
	bool took, denied;
	struct gcra_view view;
};

/*----------------------------------------------------------- configuration */

static uint32_t default_burst(const struct rate *r)
{
	uint64_t n = (uint64_t)((gcra_time)r->count * CLOCK_S / r->period_ns);

	return n == 0 ? 1 : n > UINT32_MAX ? UINT32_MAX : (uint32_t)n;
}

static struct place place_of(const struct node *map, const char *key)
{
	const struct node *n = node_get(map, key);

	return n == NULL ? map->at : n->at;
}

static const char *path_of(struct conf_load *load, const char *key)
{
	return arena_printf(load->arena, "%s.%s", load->path, key);
}

/* Fills in the burst and looks whether the two make a rule. */
static bool check_bucket(struct conf_load *load, const struct node *map, const struct rate *rate,
			 uint32_t *burst)
{
	uint32_t second = rate->unlimited ? 0 : default_burst(rate);
	struct gcra_rule rule;
	const char *wrong;
	struct diag *d;

	if (rate->unlimited) {
		if (*burst == 0)
			return true;
		d = diag_warning(load->diags, place_of(map, "burst"), "W107",
				 "a burst means nothing without a limit on the rate");
		d->path = path_of(load, "burst");
		return true;
	}
	if (*burst == 0)
		*burst = second;
	wrong = gcra_rule_init(&rule, rate->count, rate->period_ns, *burst);
	if (wrong != NULL) {
		diag_error(load->diags, place_of(map, "rate"), "E016", "%s", wrong)->path =
		    path_of(load, "rate");
		return false;
	}
	if (*burst < second) {
		d = diag_warning(load->diags, place_of(map, "burst"), "W103",
				 "a burst of %u is below one second of the rate (%u): calls that "
				 "come together are refused "
				 "although the rate would allow them",
				 *burst, second);
		d->path = path_of(load, "burst");
	}
	return true;
}

static bool override_check(struct conf_load *load, const struct node *map, void *conf)
{
	struct override_conf *o = conf;

	return check_bucket(load, map, &o->rate, &o->burst);
}

static bool token_bucket_check(struct conf_load *load, const struct node *map, void *conf)
{
	struct token_bucket_conf *c = conf;
	bool ok = check_bucket(load, map, &c->rate, &c->burst);

	scope_warn(load, map, &c->key, c->missing);
	return scope_check_overrides(load, map, &c->key, &c->overrides,
				     sizeof(struct override_conf)) &&
	       ok;
}

#define AT(member) offsetof(struct override_conf, member)
static const struct field override_fields[] = {
	{ .key = "match",
	  .type = C_STRING,
	  .flags = C_REQUIRED,
	  .offset = AT(match),
	  .doc = "A network or address, if the key has client.ip; else a value of the key." },
	{ .key = "rate",
	  .type = C_RATE,
	  .flags = C_REQUIRED,
	  .offset = AT(rate),
	  .doc = "The rate for these keys; unlimited lifts the limit." },
	{ .key = "burst",
	  .type = C_U32,
	  .offset = AT(burst),
	  .min = 1,
	  .doc = "Their bucket size; one second's worth of the rate, at least 1, when not given." },
	{ .key = NULL },
};
#undef AT

static const struct schema override_schema = {
	.name = "rate override",
	.size = sizeof(struct override_conf),
	.fields = override_fields,
	.check = override_check,
};

#define AT(member) offsetof(struct token_bucket_conf, member)
static const struct field token_bucket_fields[] = {
	{ .key = "rate",
	  .type = C_RATE,
	  .flags = C_REQUIRED,
	  .offset = AT(rate),
	  .doc = "How many calls per key: 100/s, 600/m, 5/10s, or unlimited." },
	{ .key = "burst",
	  .type = C_U32,
	  .offset = AT(burst),
	  .min = 1,
	  .doc = "The size of the bucket: that many at once from rest; one second's worth of the "
		 "rate, at least 1, "
		 "when not given." },
	{ .key = "key",
	  .type = C_CUSTOM,
	  .offset = AT(key),
	  .custom = &key_custom,
	  .doc = "What has a bucket of its own: client.ip[/v4/v6] header.NAME query.NAME "
		 "cookie.NAME host path method "
		 "route upstream const.x, or a list of them; without one, all calls share one "
		 "bucket." },
	{ .key = "missing",
	  .type = C_ENUM,
	  .offset = AT(missing),
	  .dflt = "share",
	  .names = missing_names,
	  .doc =
	      "Calls that lack the key share one bucket, skip the policy, or are denied (403)." },
	{ .key = "overrides",
	  .type = C_LIST,
	  .offset = AT(overrides),
	  .sub = &override_schema,
	  .doc = "Other rates for some keys; the first match wins." },
	{ .key = "max_keys",
	  .type = C_U32,
	  .offset = AT(max_keys),
	  .dflt = "100000",
	  .min = 1,
	  .max = 100000000,
	  .doc = "How many keys are told apart at once; 16 bytes each, and an eighth of that." },
	{ .key = "headers",
	  .type = C_BOOL,
	  .offset = AT(headers),
	  .dflt = "false",
	  .doc = "RateLimit fields on admitted calls too; refusals always have them." },
	POLICY_FIELDS(struct token_bucket_conf),
	{ .key = NULL },
};
#undef AT

const struct schema token_bucket_schema = {
	.name = "rate policy",
	.size = sizeof(struct token_bucket_conf),
	.fields = token_bucket_fields,
	.check = token_bucket_check,
};

/*---------------------------------------------------------- open and close */

static void bucket_init(struct bucket *b, const struct rate *rate, uint32_t burst)
{
	b->unlimited = rate->unlimited;
	if (b->unlimited)
		return;
	CHECK(gcra_rule_init(&b->rule, rate->count, rate->period_ns, burst) == NULL);
	b->window_s =
	    (uint64_t)((gcra_full_at_ns(b->rule.depth, &b->rule) + CLOCK_S - 1) / CLOCK_S);
}

static void override_init(struct override *o, const struct override_conf *conf,
			  const struct key_spec *key)
{
	struct slice match = slice_str(conf->match);

	scope_match_init(&o->match, key, conf->match);
	o->text = hash_siphash(hash_boot_key(), match.p, match.n) | 1;
	bucket_init(&o->bucket, &conf->rate, conf->burst);
}

static void limiter_free(struct limiter *l)
{
	table_put(l->registry, &l->use);
	free(l);
}

static struct bucket *bucket_at(struct limiter *l, uint32_t i)
{
	return i == 0 ? &l->bucket : &l->override[i - 1].bucket;
}

/* The rules of what is limited, the policy's own first. */
static bool open_rules(struct limiter *l)
{
	struct table_rule *rules = calloc(1 + l->n_overrides, sizeof(*rules));
	uint32_t n = 0;
	bool ok;

	if (rules == NULL)
		return false;
	for (uint32_t i = 0; i <= l->n_overrides; i++)
		if (!bucket_at(l, i)->unlimited)
			rules[n++] =
			    (struct table_rule){ .match = i == 0 ? 0 : l->override[i - 1].text,
						 .rule = bucket_at(l, i)->rule };
	ok = n == 0 || table_rules_get(&l->use, rules, n);
	n = 0;
	for (uint32_t i = 0; ok && i <= l->n_overrides; i++)
		if (!bucket_at(l, i)->unlimited)
			bucket_at(l, i)->tag = rules[n++].tag;
	free(rules);
	return ok;
}

static struct limiter *limiter_new(const struct filter *f, struct table_registry *registry)
{
	const struct token_bucket_conf *c = f->conf;
	struct table_id id = { .policy = f->name,
			       .kind = f->ops->name,
			       .key = c->key.text == NULL ? "" : c->key.text,
			       .store = "local" };
	const struct override_conf *o = c->overrides.item;
	struct limiter *l = calloc(1, sizeof(*l) + c->overrides.n * sizeof(l->override[0]));

	if (l == NULL)
		return NULL;
	l->registry = registry;
	l->n_overrides = c->overrides.n;
	bucket_init(&l->bucket, &c->rate, c->burst);
	for (uint32_t i = 0; i < c->overrides.n; i++)
		override_init(&l->override[i], &o[i], &c->key);
	if (table_get(registry, &id, c->key.n == 0 ? 1 : c->max_keys, &l->use))
		return l;
	free(l);
	return NULL;
}

static bool token_bucket_open(struct filter *f, struct table_registry *registry,
			      struct diags *diags, struct place at)
{
	struct limiter *l = limiter_new(f, registry);

	if (l == NULL) {
		diag_error(diags, at, "E099", "out of memory for the table of policy `%s`",
			   f->name);
		return false;
	}
	if (!open_rules(l)) {
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

static void token_bucket_close(struct filter *f)
{
	limiter_free(f->state);
	f->state = NULL;
}

/*--------------------------------------------------------------- decisions */

static const struct bucket *choose_bucket(const struct limiter *l, const struct call *call,
					  uint64_t key)
{
	for (uint32_t i = 0; i < l->n_overrides; i++)
		if (scope_matches(&l->override[i].match, &call->client, key))
			return &l->override[i].bucket;
	return &l->bucket;
}

/* PASS: *t says which bucket of which key; else the verdict. */
static struct verdict find_bucket(const struct filter *f, const struct call *call, struct taken *t)
{
	const struct token_bucket_conf *c = f->conf;
	const struct limiter *l = f->state;
	struct verdict v = scope_find(&c->key, c->missing, call, &t->key);

	if (v.kind != V_PASS)
		return v;
	t->bucket = choose_bucket(l, call, t->key);
	return v;
}

static uint64_t ms_up(uint64_t ns)
{
	return ns / CLOCK_MS + (ns % CLOCK_MS != 0);
}

static struct verdict verdict_of(bool took, const struct gcra_view *view)
{
	return took ? verdict_pass() : verdict_deny(reason_rate_limited, ms_up(view->wait_ns));
}

static struct verdict token_bucket_admit(const struct filter *f, struct call *call, void *mem)
{
	const struct limiter *l = f->state;
	struct taken *t = mem;
	struct verdict v = find_bucket(f, call, t);

	if (v.kind != V_PASS || t->bucket->unlimited) {
		call->out.limit.policy = v.kind == V_DENY ? f->name : NULL;
		return v;
	}
	t->tag = t->bucket->tag;
	t->took = table_take(l->use.table, &t->tag, t->key, call->env->now_ns, COST, &t->view);
	t->denied = !t->took;
	call->out.limit = (struct limit_info){
		.policy = f->name,
		.key_hash = t->key,
		.limit = t->bucket->rule.burst,
		.remaining = t->view.remaining,
		.reset_ms = ms_up(t->view.full_ns),
	};
	return verdict_of(t->took, &t->view);
}

static struct verdict token_bucket_peek(const struct filter *f, const struct call *call)
{
	const struct limiter *l = f->state;
	struct taken t;
	struct verdict v = find_bucket(f, call, &t);

	if (v.kind != V_PASS || t.bucket->unlimited)
		return v;
	return verdict_of(
	    table_peek(l->use.table, t.bucket->tag, t.key, call->env->now_ns, COST, &t.view),
	    &t.view);
}

static uint64_t s_up(uint64_t ns)
{
	return ns / CLOCK_S + (ns % CLOCK_S != 0);
}

/* A trial that refuses nothing tells clients nothing. */
static void token_bucket_respond(const struct filter *f, struct call *call, void *mem,
				 struct head *h)
{
	const struct token_bucket_conf *c = f->conf;
	const struct taken *t = mem;
	bool comes_back = call->out.denied && t->took; /* what done will give back */

	if (f->shadow || !(t->denied || (t->took && c->headers)))
		return;
	limit_fields_add(call, h,
			 &(struct limit_view){
			     .policy = f->name,
			     .quota = t->bucket->rule.burst,
			     .window_s = t->bucket->window_s,
			     .remaining = t->view.remaining + (comes_back ? COST : 0),
			     .reset_s = s_up(t->denied ? t->view.wait_ns : t->view.full_ns),
			 });
}

static void token_bucket_done(const struct filter *f, struct call *call, void *mem)
{
	const struct limiter *l = f->state;
	const struct taken *t = mem;

	if (call->out.denied && t->took)
		table_give(l->use.table, t->tag, t->key, COST);
}

static void token_bucket_show(const struct filter *f, filter_emit *emit, void *ctx)
{
	const struct limiter *l = f->state;
	struct filter_sample keys = { .metric = SHOW_KEYS };
	struct filter_sample evictions = { .metric = SHOW_KEY_EVICTIONS };

	table_gauge(l->use.table, &keys.value, &evictions.value);
	emit(ctx, &keys);
	emit(ctx, &evictions);
}

const struct filter_ops token_bucket_ops = {
	.name = "rate",
	.schema = &token_bucket_schema,
	.mem_size = sizeof(struct taken),
	.open = token_bucket_open,
	.close = token_bucket_close,
	.admit = token_bucket_admit,
	.peek = token_bucket_peek,
	.respond = token_bucket_respond,
	.done = token_bucket_done,
	.show = token_bucket_show,
};
