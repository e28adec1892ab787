/* quota.c - one row for each way of counting. */
#include "filters/quota.h"

/* What two readings of the clocks may differ by, and a thread that slept between them. */
#define EPOCH_GRAIN_NS UINT64_C(20000000)
/* By then every thread has read the wall clock anew. */
#define EPOCH_SETTLE_NS UINT64_C(2000000000)

static bool is_bucket(const struct quota_rule *r)
{
	return r->algorithm == TOKEN_BUCKET || r->algorithm == LEAKY_BUCKET;
}

/* States of one are states of the other. */
static bool is_one_pool(const struct quota_rule *a, const struct quota_rule *b)
{
	return a->pooled && b->pooled && a->algorithm == b->algorithm &&
	       a->bucket.count == b->bucket.count && a->bucket.period == b->bucket.period;
}

bool quota_rule_eq(const struct quota_rule *a, const struct quota_rule *b)
{
	if (a->algorithm != b->algorithm || a->pooled != b->pooled)
		return false;
	return is_bucket(a) ? gcra_rule_eq(&a->bucket, &b->bucket)
			    : window_rule_eq(&a->window, &b->window);
}

uint64_t quota_size(const struct quota_rule *r)
{
	return is_bucket(r) ? r->bucket.burst : r->window.limit;
}

uint64_t quota_period_ns(const struct quota_rule *r)
{
	return is_bucket(r) ? gcra_full_at_ns(r->bucket.depth, &r->bucket) : r->window.period_ns;
}

/*------------------------------------------------------------------- clock */

void quota_epoch_set(struct quota_epoch *e, uint64_t now_ns, uint64_t wall_ns)
{
	uint64_t ahead = wall_ns > now_ns ? wall_ns - now_ns : 0;
	uint64_t was = atomic_load_explicit(&e->now_ns, memory_order_acquire), changed_ns;

	if (ahead < was + EPOCH_GRAIN_NS && was < ahead + EPOCH_GRAIN_NS)
		return;
	changed_ns = atomic_load(&e->changed_ns);
	if (changed_ns != 0 && now_ns < changed_ns + EPOCH_SETTLE_NS)
		return;
	atomic_store(&e->changed_ns, now_ns);
	if (atomic_compare_exchange_strong(&e->now_ns, &was, ahead) && ahead > was)
		atomic_fetch_add(&e->high_ns, ahead - was);
}

uint64_t quota_unix_ns(const struct window_rule *r, const struct quota_epoch *e, uint64_t now_ns)
{
	uint64_t ahead = atomic_load_explicit(&e->now_ns, memory_order_relaxed);
	uint64_t high = atomic_load_explicit(&e->high_ns, memory_order_relaxed);

	if (ahead < high) /* it was set back before */
		ahead += (high - ahead) / r->period_ns * r->period_ns;
	return now_ns + ahead;
}

static uint64_t mono_ns(uint64_t unix_ns, const struct window_rule *r, const struct quota_epoch *e)
{
	uint64_t ahead = quota_unix_ns(r, e, 0);

	return unix_ns > ahead ? unix_ns - ahead : 0;
}

/*------------------------------------------------------------------ states */

uint64_t quota_full_at_ns(quota_state state, const struct quota_rule *r,
			  const struct quota_epoch *e)
{
	if (is_bucket(r))
		return gcra_full_at_ns(state, &r->bucket);
	return mono_ns(window_full_at_ns(state, &r->window), &r->window, e);
}

quota_state quota_worse(quota_state a, quota_state b, const struct quota_rule *r)
{
	if (is_bucket(r))
		return a > b ? a : b;
	return window_worse(a, b, &r->window);
}

quota_state quota_sum(quota_state a, quota_state b, const struct quota_rule *r, uint64_t now_ns)
{
	gcra_time debt;

	if (!is_bucket(r))
		return window_sum(a, b, &r->window);
	debt = gcra_debt(a, &r->bucket, now_ns) + gcra_debt(b, &r->bucket, now_ns);
	return gcra_state(debt, &r->bucket, now_ns);
}

/*----------------------------------------------------------- between rules */

/* Each at most a whole bucket. */
static quota_state bucket_to_window(quota_state state, const struct gcra_rule *from,
				    const struct window_rule *to, uint64_t now_ns, uint64_t unix_ns)
{
	gcra_time debt = gcra_debt(state, from, now_ns);

	if (debt >= from->depth)
		return window_state(to->limit, to, unix_ns);
	return window_state((uint64_t)((debt * to->limit + from->depth - 1) / from->depth), to,
			    unix_ns);
}

static quota_state window_to_bucket(uint64_t used, uint64_t limit, const struct gcra_rule *to,
				    uint64_t now_ns)
{
	return gcra_state((used * (gcra_time)to->depth + limit - 1) / limit, to, now_ns);
}

static bool is_alike(const struct window_rule *a, const struct window_rule *b)
{
	return a->period_ns == b->period_ns && a->sliding == b->sliding;
}

static quota_state window_to_window(quota_state state, const struct window_rule *from,
				    const struct window_rule *to, const struct quota_epoch *e,
				    uint64_t now_ns)
{
	uint64_t used;

	if (is_alike(from, to))
		return window_rescale(state, from, to);
	used = window_used(state, from, quota_unix_ns(from, e, now_ns));
	return window_state((used * to->limit + from->limit - 1) / from->limit, to,
			    quota_unix_ns(to, e, now_ns));
}

quota_state quota_convert(quota_state state, const struct quota_rule *from,
			  const struct quota_rule *to, const struct quota_epoch *e, uint64_t now_ns)
{
	gcra_time debt;

	if (state == 0)
		return 0;
	if (is_one_pool(from, to))
		return state;
	if (!is_bucket(from) && !is_bucket(to))
		return window_to_window(state, &from->window, &to->window, e, now_ns);
	if (!is_bucket(from))
		return window_to_bucket(
		    window_used(state, &from->window, quota_unix_ns(&from->window, e, now_ns)),
		    from->window.limit, &to->bucket, now_ns);
	if (!is_bucket(to))
		return bucket_to_window(state, &from->bucket, &to->window, now_ns,
					quota_unix_ns(&to->window, e, now_ns));
	debt = gcra_debt(state, &from->bucket, now_ns);
	return debt == 0 ? 0
			 : gcra_state(gcra_rescale(debt, &from->bucket, &to->bucket), &to->bucket,
				      now_ns);
}

/* Of the same share of another rule. */
static quota_state give_share(quota_state state, const struct quota_rule *r,
			      const struct quota_rule *taken, uint64_t cost)
{
	uint64_t latest;
	gcra_time back;

	if (is_bucket(r)) {
		back = cost * (gcra_time)r->bucket.depth / quota_size(taken);
		if (is_bucket(taken))
			back = gcra_rescale((gcra_time)taken->bucket.period * cost, &taken->bucket,
					    &r->bucket);
		return state > back ? state - back : 0;
	}
	latest = window_latest(state, &r->window);
	window_give(&state, &r->window, latest, cost * r->window.limit / quota_size(taken));
	return state;
}

quota_state quota_give(quota_state state, const struct quota_rule *r,
		       const struct quota_rule *taken, uint64_t window, uint64_t cost)
{
	if (r != taken && !is_one_pool(r, taken))
		return give_share(state, r, taken, cost);
	if (is_bucket(r))
		gcra_give(&state, &r->bucket, cost);
	else
		window_give(&state, &r->window, window, cost);
	return state;
}

uint64_t quota_excess(const struct quota_rule *r, const struct quota_view *view, bool denied)
{
	const struct gcra_rule *b = &r->bucket;
	gcra_time debt, wait = (gcra_time)(denied ? view->wait_ns : view->delay_ns) * b->count;

	if (!is_bucket(r) || view->wait_ns == QUOTA_NEVER)
		return 0;
	debt = denied ? b->reach + wait : b->depth + wait; /* with this one */
	if (debt < b->period)
		return 0;
	return (uint64_t)((debt - b->period) * 1000 / b->period);
}
