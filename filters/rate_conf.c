/* rate_conf.c - what a rate policy may say, and what of it goes together. */
#include <inttypes.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "conf/value.h"
#include "conf/yaml_text.h"
#include "filters/cells.h"
#include "filters/rate_internal.h"

enum { FIELD_NAME_MAX = 256 };

static const char *const algorithm_names[] = {
	[TOKEN_BUCKET] = "token-bucket",
	[SLIDING_WINDOW] = "sliding-window",
	[FIXED_WINDOW] = "fixed-window",
	[LEAKY_BUCKET] = "leaky-bucket",
	NULL,
};

static const char *const charge_names[] = {
	[CHARGE_CALL] = "call",
	[CHARGE_ATTEMPT] = "attempt",
	[CHARGE_ARRIVAL] = "arrival",
	NULL,
};

/*------------------------------------------------------------------- rules */

static bool rate_has_bucket(const struct rate_conf *c)
{
	return c->algorithm == TOKEN_BUCKET || c->algorithm == LEAKY_BUCKET;
}

static const struct rate *rate_at(const struct conf_list *rates, uint32_t i)
{
	return (const struct rate *)rates->item + i;
}

/* Of a list, each holds all of its own time: 10/s and 300/m are ten at once, and three hundred
 * within a minute. */
static uint64_t default_burst(const struct conf_list *rates, uint32_t i, uint32_t cost)
{
	const struct rate *r = rate_at(rates, i);
	uint64_t n = (uint64_t)((gcra_time)r->count * CLOCK_S / r->period_ns);

	if (rates->n > 1 && r->count > n)
		n = r->count;
	if (n < cost)
		n = cost;
	return n == 0 ? 1 : n > UINT32_MAX ? UINT32_MAX : n;
}

static uint64_t burst_of(const struct rate_conf *c, const struct conf_list *rates,
			 const struct conf_list *bursts, uint32_t i)
{
	return i < bursts->n ? ((const uint32_t *)bursts->item)[i]
			     : default_burst(rates, i, c->cost.n);
}

/* NULL, or why there cannot be such a rule. */
static const char *make_rule(const struct rate_conf *c, const struct conf_list *rates,
			     const struct conf_list *bursts, uint32_t i, struct quota_rule *out)
{
	const struct rate *r = rate_at(rates, i);
	const char *wrong;

	*out = (struct quota_rule){ .algorithm = (uint8_t)c->algorithm, .pooled = c->pool != NULL };
	if (!rate_has_bucket(c))
		return window_rule_init(&out->window, r->count, r->period_ns,
					c->algorithm == SLIDING_WINDOW);
	wrong = gcra_rule_init(&out->bucket, r->count, r->period_ns, burst_of(c, rates, bursts, i));
	if (wrong == NULL && c->wait_ns > 0)
		wrong = gcra_rule_shape(&out->bucket, c->wait_ns, c->queue);
	return wrong;
}

void rate_rules(const struct rate_conf *c, const struct conf_list *rates,
		const struct conf_list *bursts, struct quota_rule *rules, uint8_t *n)
{
	uint64_t period[ENTRIES_MAX];

	*n = 0;
	if (rate_at(rates, 0)->unlimited)
		return;
	CHECK(rates->n <= ENTRIES_MAX);
	for (uint32_t i = 0; i < rates->n; i++) {
		struct quota_rule rule;
		uint32_t at = (*n)++;

		CHECK(make_rule(c, rates, bursts, i, &rule) == NULL);
		for (; at > 0 && period[at - 1] > rate_at(rates, i)->period_ns; at--) {
			period[at] = period[at - 1];
			rules[at] = rules[at - 1];
		}
		period[at] = rate_at(rates, i)->period_ns;
		rules[at] = rule;
	}
}

/*------------------------------------------------------------------ checks */

/* A policy, or an override of it, and where it stands. */
struct checking {
	struct conf_load *load;
	const struct node *map;
	const struct rate_conf *conf;
	const struct conf_list *rate, *burst;
};

static struct place place_of(const struct node *map, const char *key)
{
	const struct node *n = node_get(map, key);

	return n == NULL ? map->at : n->at;
}

static void set_path(const struct checking *k, struct diag *d, const char *key)
{
	d->path = arena_printf(k->load->arena, "%s.%s", k->load->path, key);
}

static bool wrong_at(const struct checking *k, const char *key, const char *code, const char *text)
{
	set_path(k, diag_error(k->load->diags, place_of(k->map, key), code, "%s", text), key);
	return false;
}

static void warn_at(const struct checking *k, const char *key, const char *code, const char *text)
{
	set_path(k, diag_warning(k->load->diags, place_of(k->map, key), code, "%s", text), key);
}

static bool check_list(const struct checking *k)
{
	if (k->rate->n > ENTRIES_MAX)
		return wrong_at(k, "rate", "E016", "a list of rates has at most 4");
	for (uint32_t i = 0; k->rate->n > 1 && i < k->rate->n; i++) {
		if (rate_at(k->rate, i)->unlimited)
			return wrong_at(k, "rate", "E019", "`unlimited` stands alone");
		for (uint32_t j = 0; j < i; j++)
			if (rate_at(k->rate, i)->period_ns == rate_at(k->rate, j)->period_ns)
				return wrong_at(k, "rate", "E019",
						"two rates of a list have the same time: the lower "
						"one is all there is to it");
	}
	return true;
}

static bool check_burst(const struct checking *k)
{
	if (k->burst->n == 0)
		return true;
	if (!rate_has_bucket(k->conf))
		return wrong_at(k, "burst", "E019",
				"a window has no `burst`: its count may come at once");
	if (k->burst->n != k->rate->n)
		return wrong_at(k, "burst", "E019",
				"there are as many bursts as rates, in the same order, or none");
	if (rate_at(k->rate, 0)->unlimited)
		warn_at(k, "burst", "W107", "a burst means nothing without a limit on the rate");
	return true;
}

static bool check_cost(const struct checking *k, const struct quota_rule *rule)
{
	if (k->conf->cost.n <= quota_size(rule))
		return true;
	diag_error(k->load->diags, place_of(k->map, "rate"), "E019",
		   "a cost of %" PRIu32 " never passes: there are %" PRIu64 " at most",
		   k->conf->cost.n, quota_size(rule));
	return false;
}

static void warn_of_burst(const struct checking *k, uint32_t i)
{
	const struct rate *r = rate_at(k->rate, i);
	uint64_t second = (uint64_t)((gcra_time)r->count * CLOCK_S / r->period_ns);
	uint64_t burst = burst_of(k->conf, k->rate, k->burst, i);
	struct diag *d;

	if (burst >= second || k->conf->wait_ns > 0)
		return;
	d = diag_warning(k->load->diags, place_of(k->map, "burst"), "W103",
			 "a burst of %" PRIu64 " is below one second of the rate (%" PRIu64
			 "): calls that come together are refused although the rate would allow "
			 "them",
			 burst, second);
	set_path(k, d, "burst");
}

static bool check_rules(const struct checking *k)
{
	for (uint32_t i = 0; i < k->rate->n; i++) {
		struct quota_rule rule;
		const char *wrong;

		if (rate_at(k->rate, i)->unlimited)
			return true;
		wrong = make_rule(k->conf, k->rate, k->burst, i, &rule);
		if (wrong == NULL && k->conf->sharing.store == STORE_REDIS)
			wrong = rate_shared_check(&rule);
		if (wrong != NULL)
			return wrong_at(k, "rate", "E016", wrong);
		if (!check_cost(k, &rule))
			return false;
		if (rate_has_bucket(k->conf))
			warn_of_burst(k, i);
	}
	return true;
}

/* Delays are of one bucket's order. */
static bool check_shape(const struct checking *k)
{
	const char *key = k->conf->wait_ns > 0 ? "wait" : "queue";

	if (k->conf->wait_ns == 0 && k->conf->queue == 0)
		return true;
	if (k->conf->wait_ns == 0)
		return wrong_at(k, "queue", "E019", "a `queue` needs a `wait`: how long at most");
	if (!rate_has_bucket(k->conf))
		return wrong_at(k, key, "E019", "only the token-bucket can delay calls");
	if (k->rate->n > 1)
		return wrong_at(
		    k, "rate", "E019",
		    "calls are delayed by one rate: a second one is a policy of its own");
	return true;
}

static bool check_rates(const struct checking *k)
{
	return check_list(k) && check_burst(k) && check_shape(k) && check_rules(k);
}

static bool check_overrides(const struct checking *k)
{
	const struct override_conf *o = k->conf->overrides.item;
	const struct node *list = node_get(k->map, "overrides");
	const struct node *n = list != NULL && list->kind == NODE_LIST ? list->first : list;
	const char *outer = k->load->path;
	bool ok = true;

	for (uint32_t i = 0; i < k->conf->overrides.n && n != NULL; i++, n = n->next) {
		struct checking one = { .load = k->load,
					.map = n,
					.conf = k->conf,
					.rate = &o[i].rate,
					.burst = &o[i].burst };

		k->load->path = arena_printf(k->load->arena, "%s.overrides[%" PRIu32 "]", outer, i);
		ok &= check_rates(&one);
	}
	k->load->path = outer;
	return ok;
}

/* A turn in a queue that all replicas have together cannot be told by one of them. */
static bool check_shared(const struct checking *k)
{
	static const char *const here[] = { "algorithm", "charge", "pool" };
	const struct rate_conf *c = k->conf;
	bool given[] = { c->algorithm == LEAKY_BUCKET, c->charge == CHARGE_ARRIVAL,
			 c->pool != NULL };

	if (c->sharing.store != STORE_REDIS)
		return true;
	for (size_t i = 0; i < sizeof(here) / sizeof(here[0]); i++)
		if (given[i])
			return wrong_at(
			    k, here[i], "E019",
			    "a leaky-bucket, `charge: arrival` and a `pool` are for limits that "
			    "are counted here, without `store: redis`");
	if (c->wait_ns == 0)
		return true;
	return wrong_at(k, "wait", "E019",
			"calls cannot be delayed (`wait`) by a rate with `store: redis`: a shared "
			"rate refuses");
}

static bool check_pool(const struct checking *k)
{
	if (k->conf->pool == NULL || (rate_has_bucket(k->conf) && k->rate->n == 1))
		return true;
	return wrong_at(k, "pool", "E019",
			"policies of a pool share buckets: each has one rate, and no window");
}

/* Says itself for whom it is a trial. */
static bool check_enforce(const struct checking *k, struct rate_conf *c)
{
	if (c->enforced == 0)
		return true;
	if (c->key.n == 0)
		return wrong_at(k, "enforce", "E019",
				"without a `key` there is nothing to enforce it for a share of");
	c->policy.shadow = false;
	return true;
}

static bool rate_check(struct conf_load *load, const struct node *map, void *conf)
{
	struct rate_conf *c = conf;
	struct checking k = {
		.load = load, .map = map, .conf = c, .rate = &c->rate, .burst = &c->burst
	};
	bool ok = check_rates(&k);

	ok &= scope_check_missing(load, map, &c->key, &c->missing);
	scope_warn(load, map, &c->key, c->missing);
	ok &=
	    scope_check_overrides(load, map, &c->key, &c->overrides, sizeof(struct override_conf));
	ok &= !ok || check_overrides(&k);
	ok &= sharing_check(load, map, &c->sharing) && check_shared(&k);
	return check_pool(&k) && check_enforce(&k, c) && ok;
}

/*-------------------------------------------------------------------- cost */

static bool is_field_name(struct slice s)
{
	static const char chars[] = "!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyz"
				    "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] == '\0' || strchr(chars, s.p[i]) == NULL)
			return false;
	return s.n > 0 && s.n < FIELD_NAME_MAX;
}

static const struct slice header = SLICE("header.");

static bool parse_field(struct conf_load *load, struct slice name, struct cost_spec *cost)
{
	if (name.n <= header.n || memcmp(name.p, header.p, header.n) != 0)
		return false;
	name = slice_of(name.p + header.n, name.n - header.n);
	if (!is_field_name(name))
		return false;
	cost->field = conf_strdup(load, name);
	return cost->field != NULL;
}

static bool cost_parse(struct conf_load *load, const struct node *node, void *dst)
{
	struct cost_spec *cost = dst;
	struct diag *d;

	*cost = (struct cost_spec){ .n = 0 };
	if (node->kind != NODE_SCALAR) {
		diag_error(load->diags, node->at, "E014",
			   "`cost` is a number or the name of a header, not %s",
			   node_kind_name(node->kind));
		return false;
	}
	if (parse_field(load, node->text, cost) ||
	    (value_u32(node->text, &cost->n) == NULL && cost->n > 0))
		return true;
	d = diag_error(
	    load->diags, node->at, "E015",
	    "`cost`: a cost is a whole number, at least 1, or a header that says it, such "
	    "as header.x-cost");
	if (is_field_name(node->text) && strchr("0123456789-", node->text.p[0]) == NULL)
		d->suggestion = arena_printf(load->arena, "header.%.*s", SLICE_FMT(node->text));
	return false;
}

static void cost_dump(const void *src, struct buf *out)
{
	const struct cost_spec *cost = src;
	struct buf b = { .p = NULL };

	if (cost->n > 0)
		buf_u64(out, cost->n);
	if (cost->field == NULL)
		return;
	buf_printf(&b, "header.%s", cost->field);
	yaml_put_string(out, slice_of(b.p, b.n));
	out->oom |= b.oom;
	buf_fini(&b);
}

static const struct custom_ops cost_custom = {
	.parse = cost_parse,
	.dump = cost_dump,
	.json_schema = "{\"oneOf\":[{\"type\":\"integer\",\"minimum\":1},{\"type\":\"string\","
		       "\"pattern\":\"^([0-9]+|header[.].+)$|[$][{]\"}]}",
	.what = "a whole number, or a header such as header.x-cost",
};

/*------------------------------------------------------------------- fields */

#define AT(member) offsetof(struct override_conf, member)
static const struct field override_fields[] = {
	{ .key = "match",
	  .type = C_STRING,
	  .flags = C_REQUIRED,
	  .offset = AT(match),
	  .doc = "A network or address, if the key has client.ip; else a value of the key." },
	{ .key = "rate",
	  .type = C_LIST,
	  .item = C_RATE,
	  .flags = C_REQUIRED | C_ONE,
	  .offset = AT(rate),
	  .doc = "The rate for these keys, or several; unlimited lifts the limit." },
	{ .key = "burst",
	  .type = C_LIST,
	  .item = C_U32,
	  .flags = C_ONE,
	  .offset = AT(burst),
	  .min = 1,
	  .doc = "Their bucket size, one for each rate; as for the policy when not given." },
	{ .key = NULL },
};
#undef AT

static const struct schema override_schema = {
	.name = "rate override",
	.size = sizeof(struct override_conf),
	.fields = override_fields,
};

#define AT(member) offsetof(struct rate_conf, member)
static const struct field rate_fields[] = {
	{ .key = "rate",
	  .type = C_LIST,
	  .item = C_RATE,
	  .flags = C_REQUIRED | C_ONE,
	  .offset = AT(rate),
	  .doc = "How many calls per key: 100/s, 600/m, 5/10s, or unlimited. Of a list, such as "
		 "[10/s, 300/m], a call needs them all, and one that is refused has taken none." },
	{ .key = "burst",
	  .type = C_LIST,
	  .item = C_U32,
	  .flags = C_ONE,
	  .offset = AT(burst),
	  .min = 1,
	  .doc =
	      "The size of the bucket: that many at once from rest. When not given, one second's "
	      "worth of the rate, at least 1 and at least the cost; of several rates each the "
	      "whole of its time, as 300 of 300/m. With several rates, a list of as many." },
	{ .key = "algorithm",
	  .type = C_ENUM,
	  .offset = AT(algorithm),
	  .dflt = "token-bucket",
	  .names = algorithm_names,
	  .doc =
	      "How calls are counted. token-bucket: evenly, with a burst. fixed-window: from one "
	      "multiple of the time to the next, as of the Unix epoch in UTC. sliding-window: in "
	      "the last such time, if what came in the window before came evenly; at most twice "
	      "the rate passes in any such time. leaky-bucket: the token-bucket in steps, of whole "
	      "milliseconds and thousandths of a call, as nginx counts." },
	{ .key = "key",
	  .type = C_CUSTOM,
	  .offset = AT(key),
	  .custom = &key_custom,
	  .doc = "What has a bucket of its own: client.ip[/v4/v6] header.NAME query.NAME "
		 "cookie.NAME jwt.CLAIM api_key tls.san host path method "
		 "route upstream value.NAME const.x, or a list of them; without one, all calls "
		 "share one "
		 "bucket." },
	{ .key = "missing",
	  .type = C_ENUM,
	  .offset = AT(missing),
	  .dflt = "share",
	  .names = missing_names,
	  .doc =
	      "Calls that lack the key share one bucket, skip the policy, or are denied (403). "
	      "challenge: a call that proves nothing is answered with 401 first; it is the default "
	      "where the key has jwt.CLAIM or api_key in it." },
	{ .key = "overrides",
	  .type = C_LIST,
	  .offset = AT(overrides),
	  .sub = &override_schema,
	  .doc = "Other rates for some keys; the first match wins." },
	{ .key = "cost",
	  .type = C_CUSTOM,
	  .offset = AT(cost),
	  .custom = &cost_custom,
	  .doc = "What a call takes of the rate; 1 when not given. A header that is absent, or no "
		 "whole number from 1 on, costs 1; a call that costs more than there ever is does "
		 "not pass." },
	{ .key = "charge",
	  .type = C_ENUM,
	  .offset = AT(charge),
	  .dflt = "call",
	  .names = charge_names,
	  .doc = "call: a call pays once, and gets it back if another policy refuses it. attempt: "
		 "every try after its first pays again, and is not made if it cannot. arrival: a "
		 "call pays when it comes; policies of that kind that stand side by side are asked "
		 "together, all of them are paid or none, and the longest of their waits is all "
		 "that a call waits. What it meets later, even a refusal, gives nothing back." },
	{ .key = "pool",
	  .type = C_STRING,
	  .offset = AT(pool),
	  .min = 1,
	  .max = 64,
	  .doc = "A name: policies with the same `pool` and `key` take from the same buckets, each "
		 "up to its own `burst` and `wait`; their rates are the same. Not given: the "
		 "policy has buckets of its own." },
	{ .key = "wait",
	  .type = C_DURATION,
	  .offset = AT(wait_ns),
	  .min = CLOCK_MS,
	  .max = 3600 * CLOCK_S,
	  .doc = "Calls beyond the rate are delayed, in their order, instead of refused, if they "
		 "have to wait no longer than this; refused at once when not given." },
	{ .key = "queue",
	  .type = C_U32,
	  .offset = AT(queue),
	  .min = 1,
	  .doc = "How many may be delayed at once per key, counted in what they cost; as many as "
		 "the wait allows when not given." },
	{ .key = "enforce",
	  .type = C_SHARE,
	  .offset = AT(enforced),
	  .min = 1,
	  .max = 1000000,
	  .doc = "The share of the keys for whom the limit is real, whatever shadow says; for the "
		 "others it is a trial. A key is always on the same side, and stays when the share "
		 "grows." },
	{ .key = "max_keys",
	  .type = C_U32,
	  .offset = AT(max_keys),
	  .dflt = "100000",
	  .min = 1,
	  .max = 100000000,
	  .doc = "How many keys are told apart at once; 16 bytes each for each rate, and a quarter "
		 "of that. With `store: redis` up to 500 bytes each." },
	{ .key = "headers",
	  .type = C_BOOL,
	  .offset = AT(headers),
	  .dflt = "false",
	  .doc = "RateLimit fields on admitted calls too; refusals always have them." },
	SHARING_STORE_FIELD(struct rate_conf),
	SHARING_LEASE_FIELDS(struct rate_conf),
	SHARING_ASK_FIELDS(struct rate_conf),
	POLICY_STATUS_FIELD(struct rate_conf),
	POLICY_FIELDS(struct rate_conf),
	{ .key = NULL },
};
#undef AT

const struct schema rate_schema = {
	.name = "rate policy",
	.size = sizeof(struct rate_conf),
	.fields = rate_fields,
	.check = rate_check,
};
