/* gradient.h - how many calls may be under way, learned from how long they take.  Pure: no clock,
 * no I/O, no state but its own.
 *
 *     gradient  = max(0.5, min(1, tolerance * unloaded / latency))
 *     new limit = limit * gradient + headroom
 *     limit     = limit * (1 - smoothing) + new limit * smoothing,   between min and max
 *
 * `latency` is the mean of one window (200 ms or 10 calls, whichever is longer), in which no call
 * counts for more than three times `unloaded`: more would not lower the limit further.  Tolerance
 * 1.5, smoothing 0.2, headroom max(4, sqrt(limit)).  A window without as many calls under way as
 * half the limit does not move it: what is not used cannot be judged.  At rest under overload the
 * limit is 1.5 times what the upstream serves at once, and the headroom.
 *
 * `unloaded` is how long a call takes that waits for no other.  What is measured while the limit is
 * in use may be a queue, and teaches nothing, or overload would become the usual.  It comes from
 * the first ten windows, whatever they are; from windows that use less than half the limit, slowly
 * (300 s); from anything twice as fast, soon; and from looks.
 *
 * A look follows five windows in a row that were too slow and used all of the limit.  The limit is
 * then three quarters of what is served at once (by Little's law: limit * unloaded / latency) until
 * the calls from before are gone and one window of calls that began under it has ended.  Had they
 * been waiting for each other, they do so no more, and the old value is confirmed; had the upstream
 * become slower, they are as slow as before, and that is the new one.  When confirmed, the next
 * look comes no sooner than in 5 s or 50 `unloaded`.  One that has not ended after 10 `unloaded`
 * and half a second is given up, and the next comes twice as late: where answers are long streams,
 * calls from before it keep their places.  So there is none but where the limit is being
 * lowered and calls are turned away for it already: while answers come at their usual pace, nothing
 * is held back to measure.  Overrun, looks cost one to five hundredths of what could be
 * served (tests/sim/auto).
 *
 * Sources: the formula is Gradient2Limit of Netflix's concurrency-limits
 * (github.com/Netflix/concurrency-limits, limit/Gradient2Limit.java), its windows
 * WindowedLimit.java (there 1 s).  That has no `unloaded` but a long average of everything, which
 * under lasting overload rises with the queue, and the limit with both, without end.  An unloaded
 * latency that is measured under a lowered limit is what GradientLimit.java there, Envoy's gradient
 * controller (adaptive_concurrency: minRTT) and BBR have; how far and how often is after BBR's
 * ProbeRTT (draft-cardwell-iccrg-bbr-congestion-control-02, section 4.3.4: half of bandwidth *
 * min_rtt, 200 ms, and not at all where the load has been low of its own).  Those look by the
 * clock; this one only when in doubt.
 *
 * What it cannot know: whether what it saw in its first windows, or below half the limit, was a
 * queue already; the next look tells.  An upstream that has become slower passes for overrun until
 * a look has told: some calls are refused for some seconds.  One whose calls slow each other down
 * bit by bit, without a knee, has no unloaded latency: the limit is where they take 1.5 times as
 * long as with half as many.  A `min` above what the upstream serves at once is taken for unloaded;
 * so are calls that are not held back, those of others or with `shadow: true`. */
#ifndef FILTERS_GRADIENT_H
#define FILTERS_GRADIENT_H

#include <stdbool.h>
#include <stdint.h>

struct gradient_rule {
	uint32_t min, max; /* 1 <= min <= max */
};

struct gradient { /* zeroed: knows nothing yet */
	double limit;
	double unloaded_ns;
	uint32_t windows;   /* that it comes from, up to those of the beginning */
	uint32_t held_back; /* windows in a row */
	double look_limit;  /* 0: no look is under way */
	uint64_t look_ns;   /* the look's calls count from here; between looks: none before */
	uint32_t in_vain;   /* looks in a row that came to nothing */
	/* the window under way */
	uint64_t since_ns, sum_ns;
	uint32_t samples, most_in_use;
};

/* How many may be under way.  A changed rule holds from here. */
uint32_t gradient_limit(struct gradient *, const struct gradient_rule *);
/* Before the limit is asked for: a look that takes too long is given up. */
void gradient_pass_time(struct gradient *, uint64_t now_ns);
/* One call took latency_ns, and when it began there were in_use with it.  True: the limit may have
 * moved. */
bool gradient_sample(struct gradient *, const struct gradient_rule *, uint64_t now_ns,
		     uint64_t latency_ns, uint32_t in_use);

#endif
