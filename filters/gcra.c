/* gcra.c - token bucket arithmetic in whole units.  The laws are in gcra.h. */
#include "filters/gcra.h"

#include <stddef.h>

#include "base/clock.h"
#include "base/number.h"

/* A bucket fills within 2^57 ns: then every wait, and every time up to 18 years of uptime, fits its
 * place. */
enum { FILL_BITS = 57 };

_Static_assert(FILL_BITS + 24 + 1 < QUOTA_STATE_BITS && GCRA_COUNT_MAX <= 1 << 24,
	       "a state has no room for the debt");
_Static_assert(sizeof(struct gcra_rule) == 48, "a rule has grown");

static gcra_time min(gcra_time a, gcra_time b)
{
	return a < b ? a : b;
}

/* 128-bit division costs ten times as much, and nearly every dividend is short; most rates have a
 * count of 1. */
static gcra_time div_floor(gcra_time a, uint64_t b)
{
	if (b == 1)
		return a;
	if (a <= UINT64_MAX)
		return (uint64_t)a / b;
	return a / b;
}

static gcra_time div_ceil(gcra_time a, uint64_t b)
{
	return a == 0 ? 0 : div_floor(a - 1, b) + 1;
}

const char *gcra_rule_init(struct gcra_rule *r, uint64_t count, uint64_t period_ns, uint64_t burst)
{
	uint64_t divisor = number_common_divisor(count, period_ns);

	*r = (struct gcra_rule){ .period = period_ns / divisor };
	count /= divisor;
	if (count > GCRA_COUNT_MAX)
		return "the rate is too fine: choose one with a count of at most 16777216, or a "
		       "rounder one";
	if (burst > UINT32_MAX || (gcra_time)burst * r->period > (gcra_time)count << FILL_BITS)
		return "the burst is too large for the rate: it would take years to fill";
	r->count = (uint32_t)count;
	r->burst = (uint32_t)burst;
	r->depth = r->reach = (gcra_time)r->period * burst;
	return NULL;
}

const char *gcra_rule_shape(struct gcra_rule *r, uint64_t wait_ns, uint32_t queue)
{
	gcra_time owed = (gcra_time)wait_ns * r->count;

	if (queue > 0)
		owed = min(owed, (gcra_time)r->period * queue);
	if (r->depth + owed > (gcra_time)r->count << FILL_BITS)
		return "the wait and the burst are too long for the rate";
	r->reach = r->depth + owed;
	return NULL;
}

bool gcra_rule_eq(const struct gcra_rule *a, const struct gcra_rule *b)
{
	return a->count == b->count && a->period == b->period && a->burst == b->burst &&
	       a->reach == b->reach;
}

gcra_time gcra_debt(gcra_time state, const struct gcra_rule *r, uint64_t now_ns)
{
	gcra_time now = (gcra_time)now_ns * r->count;

	return state <= now ? 0 : min(state - now, r->reach);
}

gcra_time gcra_state(gcra_time debt, const struct gcra_rule *r, uint64_t now_ns)
{
	return debt == 0 ? 0 : (gcra_time)now_ns * r->count + debt;
}

/* Not of the debt, which is never more than the reach: a state may be (a clock that went back, two
 * cells of one key), and until it is not, nothing passes. */
static uint64_t wait_for(gcra_time state, const struct gcra_rule *r, uint64_t now_ns, uint64_t cost)
{
	if (cost > r->burst)
		return QUOTA_NEVER;
	state += (gcra_time)r->period * cost - r->reach;
	return (uint64_t)div_ceil(state - (gcra_time)now_ns * r->count, r->count);
}

bool gcra_take(gcra_time *state, const struct gcra_rule *r, uint64_t now_ns, uint64_t cost,
	       struct quota_view *view)
{
	gcra_time debt = gcra_debt(*state, r, now_ns);
	gcra_time price = (gcra_time)r->period * cost;
	bool ok = cost <= r->burst && debt + price <= r->reach;

	if (ok && cost > 0) {
		debt += price;
		*state = gcra_state(debt, r, now_ns);
	}
	view->remaining = debt >= r->depth ? 0 : (uint64_t)div_floor(r->depth - debt, r->period);
	view->wait_ns = ok ? 0 : wait_for(*state, r, now_ns, cost);
	view->delay_ns = ok && debt > r->depth ? (uint64_t)div_ceil(debt - r->depth, r->count) : 0;
	view->full_ns = (uint64_t)(div_ceil(debt, r->count));
	view->window = 0;
	return ok;
}

/* Of a rate that is whole tokens a second all debts are thousandths at whole milliseconds, though a
 * thousandth may be no whole number of units. */
static gcra_time round_debt(gcra_time state, const struct gcra_rule *r, uint64_t now_ns)
{
	gcra_time debt = gcra_debt(state, r, now_ns);
	uint64_t grain = r->period / 1000;

	if (r->period % 1000 != 0 || debt == 0 || debt == r->reach)
		return state;
	return gcra_state(div_ceil(debt, grain) * grain, r, now_ns);
}

bool gcra_take_stepwise(gcra_time *state, const struct gcra_rule *r, uint64_t now_ns, uint64_t cost,
			struct quota_view *view)
{
	gcra_time rounded;

	now_ns -= now_ns % CLOCK_MS;
	rounded = round_debt(*state, r, now_ns);
	if (!gcra_take(&rounded, r, now_ns, cost, view))
		return false;
	*state = rounded;
	view->delay_ns -= view->delay_ns % CLOCK_MS;
	return true;
}

void gcra_give(gcra_time *state, const struct gcra_rule *r, uint64_t cost)
{
	gcra_time price = (gcra_time)r->period * cost;

	*state = *state > price ? *state - price : 0;
}

/* The same time as before. */
static gcra_time rescale_owed(gcra_time owed, const struct gcra_rule *from,
			      const struct gcra_rule *to)
{
	return owed == 0 ? 0 : div_ceil(owed * to->count, from->count);
}

/* Where the product of both depths passes 128 bits, whole tokens and the rest are scaled apart,
 * which rounds up twice. */
gcra_time gcra_rescale(gcra_time debt, const struct gcra_rule *from, const struct gcra_rule *to)
{
	gcra_time tokens, rest;

	if (debt >= from->depth)
		return to->depth + rescale_owed(min(debt, from->reach) - from->depth, from, to);
	if (debt <= ~(gcra_time)0 / to->depth)
		return debt == 0 ? 0 : (debt * to->depth - 1) / from->depth + 1;
	tokens = div_floor(debt, from->period);
	rest = div_ceil((debt - tokens * from->period) * to->period, from->period);
	return min(to->depth, div_ceil(tokens * to->burst * to->period, from->burst) +
				  div_ceil(rest * to->burst, from->burst));
}

uint64_t gcra_full_at_ns(gcra_time state, const struct gcra_rule *r)
{
	return (uint64_t)div_ceil(state, r->count);
}
