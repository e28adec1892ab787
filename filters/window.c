/* window.c - fixed and sliding window arithmetic in whole calls.  The laws are in window.h. */
#include "filters/window.h"

#include <stddef.h>

__extension__ typedef unsigned __int128 wide;

/* Until then the numbers of windows have to fit: the year 2262. */
#define UNIX_END_NS (UINT64_C(1) << 63)

/* A state, taken apart. */
struct counts {
	uint64_t window, before, now;
};

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

/* 128-bit division costs ten times as much, and nearly every dividend is short. */
static uint64_t scale_down(uint64_t a, uint64_t b, uint64_t by)
{
	wide product = (wide)a * b;

	return product <= UINT64_MAX ? (uint64_t)product / by : (uint64_t)(product / by);
}

static uint64_t scale_up(uint64_t a, uint64_t b, uint64_t by)
{
	wide product = (wide)a * b;

	if (product == 0)
		return 0;
	product--;
	return (product <= UINT64_MAX ? (uint64_t)product / by : (uint64_t)(product / by)) + 1;
}

/*------------------------------------------------------------------- rules */

static unsigned bits_of(uint64_t n)
{
	return n == 0 ? 0 : 64 - (unsigned)__builtin_clzll(n);
}

/* A count may be up to twice the limit: what two cells of one key hold together. */
const char *window_rule_init(struct window_rule *r, uint64_t limit, uint64_t period_ns,
			     bool sliding)
{
	unsigned number_bits = bits_of(UNIX_END_NS / period_ns);
	unsigned count_bits = bits_of(2 * min(limit, UINT32_MAX));

	*r = (struct window_rule){ .period_ns = period_ns,
				   .limit = (uint32_t)limit,
				   .count_bits = (uint8_t)count_bits,
				   .sliding = sliding };
	if (limit > UINT32_MAX || number_bits + 2 * count_bits > QUOTA_STATE_BITS)
		return "the rate is too large for windows that short: choose a longer time, or the "
		       "token bucket";
	return NULL;
}

bool window_rule_eq(const struct window_rule *a, const struct window_rule *b)
{
	return a->period_ns == b->period_ns && a->limit == b->limit && a->sliding == b->sliding;
}

/*------------------------------------------------------------------ states */

static struct counts unpack(quota_state state, const struct window_rule *r)
{
	quota_state mask = ((quota_state)1 << r->count_bits) - 1;

	return (struct counts){ .window = (uint64_t)(state >> 2 * r->count_bits),
				.before = (uint64_t)(state >> r->count_bits & mask),
				.now = (uint64_t)(state & mask) };
}

static quota_state pack(struct counts c, const struct window_rule *r)
{
	if (c.before == 0 && c.now == 0)
		return 0;
	return (quota_state)c.window << 2 * r->count_bits | (quota_state)c.before << r->count_bits |
	       c.now;
}

/* As it is in a window that is not before its own. */
static struct counts move_to(struct counts c, uint64_t window)
{
	if (c.window < window)
		c = (struct counts){ .window = window,
				     .before = c.window + 1 == window ? c.now : 0 };
	return c;
}

static struct counts counts_at(quota_state state, const struct window_rule *r, uint64_t unix_ns)
{
	return move_to(unpack(state, r), unix_ns / r->period_ns);
}

/* Of its window; W4: not before its start. */
static uint64_t elapsed_ns(struct counts c, const struct window_rule *r, uint64_t unix_ns)
{
	uint64_t start = c.window * r->period_ns;

	return unix_ns > start ? unix_ns - start : 0;
}

/* What the window before still counts for, rounded up. */
static uint64_t carried(struct counts c, const struct window_rule *r, uint64_t unix_ns)
{
	if (!r->sliding || c.before == 0)
		return 0;
	return scale_up(c.before, r->period_ns - elapsed_ns(c, r, unix_ns), r->period_ns);
}

/* Of a window, until no more than `room` of what was taken before it counts. */
static uint64_t opens_after_ns(uint64_t before, uint64_t room, const struct window_rule *r)
{
	if (!r->sliding || before <= room)
		return 0;
	return r->period_ns - scale_down(room, r->period_ns, before);
}

/* W3.  Not before the end of this window, if that is full by itself. */
static uint64_t opens_at_ns(struct counts c, const struct window_rule *r, uint64_t cost)
{
	if (c.now + cost <= r->limit)
		return c.window * r->period_ns +
		       opens_after_ns(c.before, r->limit - c.now - cost, r);
	return (c.window + 1) * r->period_ns + opens_after_ns(c.now, r->limit - cost, r);
}

static uint64_t full_at(struct counts c, const struct window_rule *r)
{
	if (c.now > 0)
		return (c.window + (r->sliding ? 2 : 1)) * r->period_ns;
	return r->sliding && c.before > 0 ? (c.window + 1) * r->period_ns : 0;
}

/*--------------------------------------------------------------- decisions */

bool window_take(quota_state *state, const struct window_rule *r, uint64_t unix_ns, uint64_t cost,
		 struct quota_view *view)
{
	struct counts c = counts_at(*state, r, unix_ns);
	uint64_t used = c.now + carried(c, r, unix_ns), at;
	uint64_t left = used < r->limit ? r->limit - used : 0;
	bool ok = cost <= left;

	if (ok && cost > 0) {
		c.now += cost;
		left -= cost;
		*state = pack(c, r);
	}
	view->remaining = left;
	view->wait_ns = ok ? 0 : QUOTA_NEVER;
	if (!ok && cost <= r->limit)
		view->wait_ns = opens_at_ns(c, r, cost) - unix_ns;
	at = full_at(c, r);
	view->full_ns = at > unix_ns ? at - unix_ns : 0;
	view->delay_ns = 0;
	view->window = c.window;
	return ok;
}

void window_give(quota_state *state, const struct window_rule *r, uint64_t window, uint64_t cost)
{
	struct counts c = unpack(*state, r);

	if (window == c.window)
		c.now -= min(c.now, cost);
	else if (window + 1 == c.window)
		c.before -= min(c.before, cost);
	*state = pack(c, r);
}

uint64_t window_latest(quota_state state, const struct window_rule *r)
{
	return unpack(state, r).window;
}

uint64_t window_full_at_ns(quota_state state, const struct window_rule *r)
{
	return full_at(unpack(state, r), r);
}

/*------------------------------------------------------------ put together */

/* Both as they are in the later one's window. */
static void align(struct counts *a, struct counts *b)
{
	uint64_t window = max(a->window, b->window);

	*a = move_to(*a, window);
	*b = move_to(*b, window);
}

quota_state window_worse(quota_state a, quota_state b, const struct window_rule *r)
{
	struct counts x = unpack(a, r), y = unpack(b, r);

	align(&x, &y);
	x.before = max(x.before, y.before);
	x.now = max(x.now, y.now);
	return pack(x, r);
}

quota_state window_sum(quota_state a, quota_state b, const struct window_rule *r)
{
	struct counts x = unpack(a, r), y = unpack(b, r);

	align(&x, &y);
	x.before = min(x.before + y.before, 2 * (uint64_t)r->limit);
	x.now = min(x.now + y.now, 2 * (uint64_t)r->limit);
	return pack(x, r);
}

uint64_t window_used(quota_state state, const struct window_rule *r, uint64_t unix_ns)
{
	struct counts c = counts_at(state, r, unix_ns);

	return min(c.now + carried(c, r, unix_ns), r->limit);
}

quota_state window_state(uint64_t used, const struct window_rule *r, uint64_t unix_ns)
{
	return pack((struct counts){ .window = unix_ns / r->period_ns, .now = min(used, r->limit) },
		    r);
}

quota_state window_rescale(quota_state state, const struct window_rule *from,
			   const struct window_rule *to)
{
	struct counts c = unpack(state, from);

	c.before = scale_up(min(c.before, from->limit), to->limit, from->limit);
	c.now = scale_up(min(c.now, from->limit), to->limit, from->limit);
	return pack(c, to);
}
