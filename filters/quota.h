/* quota.h - how much of something a key may have, whichever way it is counted.
 *
 * A rule and a state of 84 bits; the arithmetic of each kind is in a file of its own (gcra.c,
 * window.c), and here is the one place that tells them apart.  Pure: no I/O, no memory.
 *
 * Time is monotonic: the only clock that does not jump.  Windows stand on the Unix epoch, so a rule
 * of windows adds what the wall clock is ahead by.  When that is set forward, windows end earlier;
 * when it is set back, the window at hand lasts until it ends by the new time, at most twice as
 * long as otherwise, and nothing is refilled. */
#ifndef FILTERS_QUOTA_H
#define FILTERS_QUOTA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "filters/gcra.h"
#include "filters/window.h"

enum algorithm { TOKEN_BUCKET, SLIDING_WINDOW, FIXED_WINDOW, LEAKY_BUCKET };

struct quota_rule {
	union {
		struct gcra_rule bucket;
		struct window_rule window;
	};
	uint8_t algorithm; /* enum algorithm */
	/* Buckets: one that other rules take from, too.  Between two such of the same rate what is
	 * owed stays what it is, however large the bursts are. */
	bool pooled;
};

/* What the wall clock is ahead of the monotonic one; and what it would be, had it never been set
 * back but forward only. */
struct quota_epoch {
	_Atomic uint64_t now_ns, high_ns;
	_Atomic uint64_t changed_ns; /* when that was seen, in monotonic ns; 0: never */
};

bool quota_rule_eq(const struct quota_rule *, const struct quota_rule *);
/* The most that can be had at once, and the time in which it comes back. */
uint64_t quota_size(const struct quota_rule *);
uint64_t quota_period_ns(const struct quota_rule *);

/* Any thread: the wall clock as it stood within the last second.  Differences that two readings of
 * the clocks make are none, and neither is what another thread has yet to see. */
void quota_epoch_set(struct quota_epoch *, uint64_t now_ns, uint64_t wall_ns);

/* The time by which a rule's windows are numbered.  After the wall clock was set back it goes on
 * from where it was, less than a window earlier, to where the windows' ends are right again. */
uint64_t quota_unix_ns(const struct window_rule *, const struct quota_epoch *, uint64_t now_ns);

/* True: the cost is taken.  *view is filled either way. */
static inline bool quota_take(quota_state *state, const struct quota_rule *r,
			      const struct quota_epoch *epoch, uint64_t now_ns, uint64_t cost,
			      struct quota_view *view)
{
	if (r->algorithm == TOKEN_BUCKET)
		return gcra_take(state, &r->bucket, now_ns, cost, view);
	if (r->algorithm == LEAKY_BUCKET)
		return gcra_take_stepwise(state, &r->bucket, now_ns, cost, view);
	return window_take(state, &r->window, quota_unix_ns(&r->window, epoch, now_ns), cost, view);
}

/* How many calls, in thousandths, a key was above its rate when a call of cost 1 was delayed or denied, this one included
 * and its first left out; 0 where windows are counted. */
uint64_t quota_excess(const struct quota_rule *, const struct quota_view *, bool denied);

/* What was taken under rule `taken` (in that window) goes back to a state of rule r. */
quota_state quota_give(quota_state, const struct quota_rule *r, const struct quota_rule *taken,
		       uint64_t window, uint64_t cost);

/* When the key is at rest again, in monotonic ns. */
uint64_t quota_full_at_ns(quota_state, const struct quota_rule *, const struct quota_epoch *);
/* Of two states of a rule, one that allows no more than either. */
quota_state quota_worse(quota_state, quota_state, const struct quota_rule *);
/* One that has taken what both have: at most twice what a key may have. */
quota_state quota_sum(quota_state, quota_state, const struct quota_rule *, uint64_t now_ns);
/* The same share of what may be had, under another rule, at that time; rounded up, and to whole
 * calls where one of the two counts in windows. */
quota_state quota_convert(quota_state, const struct quota_rule *from, const struct quota_rule *to,
			  const struct quota_epoch *, uint64_t now_ns);

#endif
