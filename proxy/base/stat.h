/* stat.h - counters and histograms that one thread writes and any thread reads.
 *
 * Laws: S1 a cell has one writer.  S2 adding is a relaxed load and a relaxed
 * store: no lock, no read-modify-write.  S3 counters never fall; a reader may
 * see one cell newer than another, never a torn one.
 *
 * A histogram is log-linear over nanoseconds.  Each decade from 1 us to 1000 s
 * has 22 cells: 5 from 1 to 2, 12 from 2 to 5, 5 from 5 to 10.  The middle of a cell is
 * within 9.1 % of every value in it, and the bounds people know (1, 1.2, 2,
 * 2.5, 3, 5, 6 times a power of ten) are cell borders, so that Prometheus
 * buckets are exact.  Cells take their upper border in, as `le` does. */
#ifndef BASE_STAT_H
#define BASE_STAT_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

/*---------------------------------------------------------------- counters */

struct stat_counter {
	_Atomic uint64_t v;
};

static inline void stat_add(struct stat_counter *c, uint64_t n)
{
	uint64_t v = atomic_load_explicit(&c->v, memory_order_relaxed);

	atomic_store_explicit(&c->v, v + n, memory_order_relaxed);
}

/* For gauges. */
static inline void stat_sub(struct stat_counter *c, uint64_t n)
{
	stat_add(c, UINT64_C(0) - n);
}

static inline uint64_t stat_read(const struct stat_counter *c)
{
	return atomic_load_explicit(&c->v, memory_order_relaxed);
}

/*---------------------------------------------------------------- histograms */

enum {
	STAT_DECADES = 9,
	STAT_DECADE_CELLS = 22,
	STAT_CELLS = 1 + STAT_DECADES * STAT_DECADE_CELLS + 1, /* up to 1 us; above 1000 s */
};

struct stat_hist {
	struct stat_counter sum_ns;
	struct stat_counter cell[STAT_CELLS];
};

/* What a reader makes of several of them. */
struct stat_sum {
	uint64_t n, sum_ns;
	uint64_t cell[STAT_CELLS];
};

void stat_hist_add(struct stat_hist *, uint64_t ns);

/* The cell a value falls into, and a cell's upper border (included); UINT64_MAX for the last. */
unsigned stat_cell(uint64_t ns);
uint64_t stat_cell_limit(unsigned cell);

/* Adds one worker's histogram; *sum starts zeroed. */
void stat_sum_add(struct stat_sum *, const struct stat_hist *);
/* How many values were at most `ns`, which must be a cell border. */
uint64_t stat_sum_at_most(const struct stat_sum *, uint64_t ns);
/* The value below which `ppm` millionths of all values lie, to the cell's middle; 0 when there are
 * none. */
uint64_t stat_sum_quantile(const struct stat_sum *, uint32_t ppm);

/*---------------------------------------------------------------- Prometheus */

/* Upper bounds in ns, ending with 0.  All are cell borders. */
extern const uint64_t stat_bounds_call[];  /* 1 ms .. 300 s */
extern const uint64_t stat_bounds_inner[]; /* 5 us .. 1 s: what Weir itself takes */

/* "0.0025" from 2500000: seconds in decimal, no exponent, no trailing zeros, exact. */
void stat_print_seconds(struct buf *, uint64_t ns);
/* name_bucket, name_sum and name_count lines.  `labels` is `route="app"` or "". */
void stat_print_hist(struct buf *, const char *name, const char *labels, const uint64_t *bounds,
		     const struct stat_sum *);

#endif
