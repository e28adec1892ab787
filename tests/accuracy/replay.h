/* replay.h - the admitted calls of all replicas, held against one exact limit.
 *
 * When a call was let in is not known, only that it was between two times: it was sent after the one and seen upstream
 * at the other.  What is counted is certain: over any stretch of time, the calls that were sent and seen within it.
 * So a process that was not scheduled for a while cannot look like one that let in too much.  Where both times are
 * given as the same, calls count where they were seen. */
#ifndef ACCURACY_REPLAY_H
#define ACCURACY_REPLAY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stretch {
	uint64_t from_ns, to_ns;
};

/* Time is CLOCK_MONOTONIC; a bucket: `count` tokens come in `period_ns`; a window: its limit, and its length. */
struct limit {
	enum { BUCKET, SLIDING, FIXED } kind;
	uint64_t count, period_ns, burst;
	uint64_t ahead_ns; /* of CLOCK_REALTIME, on whose multiples windows stand */
};

/* By how many calls the limit was passed at most; below 0: so many more would have found room.  Sorts them. */
double replay_excess(const struct limit *, struct stretch *, size_t n);

/* How many of these arrivals, in order, the limit would have let in. */
size_t replay_exact(const struct limit *, const uint64_t *at_ns, size_t n);

#endif
