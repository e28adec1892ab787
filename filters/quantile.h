/* quantile.h - a quantile of a stream of times, in one number.  Pure: no clock, no I/O, no state
 * but its own.
 *
 * Stochastic approximation (Robbins and Monro 1951; for quantiles Tierney 1983, and in the small
 * "Frugal Streaming" of Ma, Muthukrishnan and Sandler 2013), in steps that are shares of the value:
 * up by step * p when a time is above it, down by step * (1 - p) when not.  It stands still where a
 * share p of the times is not above it.
 *
 * The steps are larger at first.  Later the value moves within some ten percent of the true one,
 * and when all times change it follows: upwards within tens of them, downwards to the half within
 * 14 / (1 - p). */
#ifndef FILTERS_QUANTILE_H
#define FILTERS_QUANTILE_H

#include <stdbool.h>
#include <stdint.h>

struct quantile { /* zeroed: has seen nothing */
	double ns;
	uint32_t seen; /* up to QUANTILE_ENOUGH */
};

enum { QUANTILE_ENOUGH = 100 };

/* share_ppm: p, in parts per million, above 0 and below a million. */
void quantile_add(struct quantile *, uint32_t share_ppm, uint64_t ns);
/* 0: too few were seen to say. */
uint64_t quantile_ns(const struct quantile *);

#endif
