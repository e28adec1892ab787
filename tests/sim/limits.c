/* limits.c - what every decision of the one limit must be.  The law is in limits.h. */
#include "limits.h"

#include "filters/table.h"
#include "sim.h"

#define GRAIN_NS     UINT64_C(1000000)
#define TOLERANCE_NS 10000 /* what units rounded up over many reloads come to */

static struct sim *bound;
static uint16_t opened_tag; /* of the limit in the latest policy */

static long double token_ns(const struct rule *r)
{
	return 1e9L / (long double)r->rate_per_s;
}

static long double depth_ns(const struct rule *r)
{
	return token_ns(r) * (long double)r->burst;
}

/* Until full, at that time; at most a whole bucket. */
static long double debt_ns(long double full_ns, const struct rule *r, uint64_t now_ns)
{
	long double debt = full_ns - (long double)now_ns;

	return debt < 0 ? 0 : debt > depth_ns(r) ? depth_ns(r) : debt;
}

/* The last take under the old rule, or the reload, whichever came later. */
static void come_into_force(struct limits *l, uint64_t now_ns)
{
	uint64_t at_ns = l->seen_ns + GRAIN_NS < now_ns ? l->seen_ns + GRAIN_NS : now_ns;

	if (l->tag == l->pending_tag)
		return;
	if (l->seen_ns <= l->opened_ns)
		at_ns = l->opened_ns;
	for (unsigned i = 0; i < l->n; i++)
		l->bucket[i].full_ns =
		    (long double)at_ns + debt_ns(l->bucket[i].full_ns, &l->rule, at_ns) /
					     depth_ns(&l->rule) * depth_ns(&l->pending);
	l->rule = l->pending;
	l->tag = l->pending_tag;
}

void limits_commit(struct sim *sim, const struct rule *rule)
{
	struct limits *l = &sim->limits;

	bound = sim;
	if (l->rule.burst == 0) {
		l->rule = *rule;
		l->tag = l->pending_tag = opened_tag;
	}
	if (opened_tag == l->pending_tag) /* no change */
		return;
	come_into_force(l, sim->now_ns);
	l->pending = *rule;
	l->pending_tag = opened_tag;
	l->opened_ns = sim->now_ns;
}

/* It may have got as far as to end the rule before the pending one, with the ms not over. */
void limits_failed(struct sim *sim)
{
	struct limits *l = &sim->limits;

	if (l->tag != l->pending_tag && l->seen_ns > l->opened_ns &&
	    l->seen_ns + GRAIN_NS > sim->now_ns)
		l->uncertain = true;
}

static long double *bucket_of(struct limits *l, uint64_t key)
{
	for (unsigned i = 0; i < l->n; i++)
		if (l->bucket[i].key == key)
			return &l->bucket[i].full_ns;
	if (l->n == sizeof(l->bucket) / sizeof(l->bucket[0]))
		sim_fail("more keys than clients know");
	l->bucket[l->n].key = key;
	l->bucket[l->n].full_ns = 0;
	return &l->bucket[l->n++].full_ns;
}

static void check(struct sim *sim, uint64_t key, uint64_t now_ns, bool passed,
		  const struct quota_view *view)
{
	struct limits *l = &sim->limits;
	long double *full_ns = bucket_of(l, key);
	long double start = *full_ns > (long double)now_ns ? *full_ns : (long double)now_ns;
	long double wait = start + token_ns(&l->rule) - depth_ns(&l->rule) - (long double)now_ns;
	long double told = (long double)view->wait_ns;

	l->decisions++;
	l->refusals += !passed;
	if (!l->uncertain && passed && wait > TOLERANCE_NS)
		sim_fail("a call passed that had to wait %.0Lf ns", wait);
	if (!l->uncertain && !passed && (told - wait > TOLERANCE_NS || wait - told > TOLERANCE_NS))
		sim_fail("a call was told to wait %.0Lf ns, not %.0Lf", told, wait);
	if (passed)
		*full_ns = start + token_ns(&l->rule);
}

static void see(struct limits *l, uint64_t now_ns)
{
	if (now_ns > l->seen_ns + GRAIN_NS)
		l->seen_ns = now_ns;
}

bool __real_table_take(struct table *, uint16_t *tag, uint64_t key, uint64_t now_ns, uint64_t cost,
		       struct quota_view *);
bool __wrap_table_take(struct table *, uint16_t *tag, uint64_t key, uint64_t now_ns, uint64_t cost,
		       struct quota_view *);

bool __wrap_table_take(struct table *t, uint16_t *tag, uint64_t key, uint64_t now_ns, uint64_t cost,
		       struct quota_view *view)
{
	struct limits *l = &bound->limits;
	uint16_t asked = *tag;
	bool passed = __real_table_take(t, tag, key, now_ns, cost, view);

	if (asked == l->pending_tag)
		come_into_force(l, now_ns);
	see(l, now_ns);
	sim_trace(bound, "limit %u of %llu/s burst %llu: key %llx at %.6f: %s, wait %llu ns", asked,
		  (unsigned long long)l->rule.rate_per_s, (unsigned long long)l->rule.burst,
		  (unsigned long long)key, (double)now_ns / 1e9, passed ? "passed" : "refused",
		  (unsigned long long)view->wait_ns);
	check(bound, key, now_ns, passed, view);
	return passed;
}

bool __real_table_rules_get(struct table_use *, struct table_rule *, uint32_t n);
bool __wrap_table_rules_get(struct table_use *, struct table_rule *, uint32_t n);

bool __wrap_table_rules_get(struct table_use *use, struct table_rule *rules, uint32_t n)
{
	if (!__real_table_rules_get(use, rules, n))
		return false;
	opened_tag = rules[0].tag;
	return true;
}
