/* gradient.h - how many calls may be under way, learned from how long they take.  Pure: no clock,
 * no I/O, no state but its own.
 *
 * Source: Gradient2Limit of Netflix's concurrency-limits
 * (github.com/Netflix/concurrency-limits, limit/Gradient2Limit.java and limit/WindowedLimit.java):
 *
 *     gradient  = max(0.5, min(1, tolerance * usual / latency))
 *     new limit = limit * gradient + headroom
 *     limit     = limit * (1 - smoothing) + new limit * smoothing,   between min and max
 *
 * where `latency` is the mean of one window and `usual` an exponential average over many; tolerance
 * 1.5, smoothing 0.2, headroom max(4, sqrt(limit)).  A window without as many calls under way as
 * half the limit does not move it: what is not used cannot be judged.  When things become twice as
 * fast as usual, `usual` follows within some twenty windows.  Nothing is ever refused to find out.
 *
 * Where it differs from the source: a window is 200 ms or 10 calls, whichever is longer (there 1 s
 * with 10 calls, or none), so that the limit follows a burst sooner; and a window of less than a
 * second counts for less in `usual`, so that this learns no faster.
 *
 * What it cannot know: whether an upstream that stays slow for many minutes has become slow or is
 * being overrun.  It takes the new latency for the usual one in the end; `max` is the bound. */
#ifndef FILTERS_GRADIENT_H
#define FILTERS_GRADIENT_H

#include <stdbool.h>
#include <stdint.h>

struct gradient_rule {
	uint32_t min, max; /* 1 <= min <= max */
};

struct gradient { /* zeroed: knows nothing yet */
	double limit;
	double usual_ns;
	uint32_t windows; /* that usual_ns comes from, as far as that matters */
	/* the window under way */
	uint64_t since_ns, sum_ns;
	uint32_t samples, most_in_use;
};

/* How many may be under way.  A changed rule holds from here. */
uint32_t gradient_limit(struct gradient *, const struct gradient_rule *);
/* One call took latency_ns, and when it began there were in_use with it.  True: the limit may have
 * moved. */
bool gradient_sample(struct gradient *, const struct gradient_rule *, uint64_t now_ns,
		     uint64_t latency_ns, uint32_t in_use);

#endif
