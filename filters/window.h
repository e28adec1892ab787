/* window.h - counting in windows: fixed ones, and the approximation of a sliding one by two.
 *
 * Windows are aligned to the Unix epoch in UTC: window n of a period P is [n P, (n + 1) P).  A
 * state is the number of the latest window in which something was taken, what was taken in it, and
 * what was taken in the one before.
 *
 *   fixed    what was taken in this window counts
 *   sliding  and of what was taken in the one before, the share of it that the last P still covers:
 *            `before x (P - elapsed) / P`, as if that had come evenly
 *            (Cloudflare, "How we built rate limiting capable of scaling to millions of domains",
 *            2017)
 *
 * Pure: no clock, no I/O, no memory.
 *
 * Laws
 *
 *  W1  Exact in whole ns and whole calls: the sliding estimate is never rounded, but compared as a
 * fraction.
 *
 *  W2  The error of the sliding window is that of its one assumption.  An estimate differs from
 * what the last P really held by less than what the window before held.  So over any P at most
 * twice the limit passes, and that only where all of the window before came in its last moment; a
 * fixed window lets twice the limit pass within a moment, and gives no more than the limit to each
 * window.  Of calls that come at random the number let in over a day differs from that of an exact
 * log of calls by less than 3 % at 7/s, 1.5 % at 100/s and 0.2 % from 600/m on (test_accuracy.c).
 *
 *  W3  A refusal takes nothing, and after exactly the wait that it tells, the cost passes if nobody
 * took anything meanwhile: for a sliding window in the midst of a window, not at its end.
 *
 *  W4  A state of the next window (another thread's turn, or a clock that was set back) is not
 * given up: until that window is over, it is the one that counts. */
#ifndef FILTERS_WINDOW_H
#define FILTERS_WINDOW_H

#include <stdbool.h>
#include <stdint.h>

#include "filters/quota_view.h"

struct window_rule {
	uint64_t period_ns;
	uint32_t limit;
	uint8_t count_bits; /* of each of the two counts of a state; the rest is the number */
	bool sliding;
};

/* limit and period_ns are 1 or more.  NULL, or why these numbers cannot be: a sentence. */
const char *window_rule_init(struct window_rule *, uint64_t limit, uint64_t period_ns,
			     bool sliding);
bool window_rule_eq(const struct window_rule *, const struct window_rule *);

/* Unix time.  True: the cost is taken.  *view is filled either way. */
bool window_take(quota_state *, const struct window_rule *, uint64_t unix_ns, uint64_t cost,
		 struct quota_view *view);
/* To the window that was charged, while it still counts. */
void window_give(quota_state *, const struct window_rule *, uint64_t window, uint64_t cost);

/* The number of its window. */
uint64_t window_latest(quota_state, const struct window_rule *);
/* When nothing of it counts any more. */
uint64_t window_full_at_ns(quota_state, const struct window_rule *);
/* Of two states, one that allows no more than either. */
quota_state window_worse(quota_state, quota_state, const struct window_rule *);
/* One that has taken what both have. */
quota_state window_sum(quota_state, quota_state, const struct window_rule *);

/* How much of the limit is used then, in calls, rounded up. */
uint64_t window_used(quota_state, const struct window_rule *, uint64_t unix_ns);
/* The state in which so much is used, all of it in the present window. */
quota_state window_state(uint64_t used, const struct window_rule *, uint64_t unix_ns);
/* The same share of another limit, each window for itself, rounded up; kind and period are the
 * same. */
quota_state window_rescale(quota_state, const struct window_rule *from,
			   const struct window_rule *to);

#endif
