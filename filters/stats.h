/* stats.h - how often a policy decided what.
 *
 * One cell per worker, which that worker alone writes; a reader sums them.  Counters belong to the
 * policy's name and outlive reloads (filters/table.h keeps them), so that they never fall. */
#ifndef FILTERS_STATS_H
#define FILTERS_STATS_H

#include "base/check.h"
#include "base/stat.h"
#include "filters/filter.h"

enum { FILTER_WORKERS_MAX = 64 };

struct filter_stats_cell {
	struct stat_counter n[DECISION_COUNT];
	struct top *_Atomic top; /* who is refused; NULL: nobody was yet, or memory is out */
} __attribute__((aligned(64)));

struct filter_stats {
	struct filter_stats_cell worker[FILTER_WORKERS_MAX];
	struct stat_hist *_Atomic waits; /* one for each worker; NULL: the policy has no queue */
	const _Atomic uint32_t *top_keys; /* how many of them a worker may remember */
};

/* Worker `worker` only.  stats may be NULL: not counted. */
static inline void filter_stats_count(struct filter_stats *stats, unsigned worker, enum decision d)
{
	CHECK(worker < FILTER_WORKERS_MAX);
	if (stats != NULL)
		stat_add(&stats->worker[worker].n[d], 1);
}

/* Worker `worker` only: this key was refused. */
void filter_stats_refused(struct filter_stats *, unsigned worker, uint64_t now_ns, uint64_t key);
/* Any thread: the keys that were refused most, at most `max` (1 or more) of them, the first first, by all workers
 * since *since_ns; how many.  0 when memory is out, too. */
struct top_key;
/* How many they remember, in both windows. */
uint32_t filter_stats_top_used(const struct filter_stats *);
void filter_stats_forget_top(struct filter_stats *); /* nobody counts any more */
uint32_t filter_stats_top(const struct filter_stats *, uint64_t now_ns, struct top_key *out,
			  uint32_t max, uint64_t *since_ns);

/* Any thread. */
static inline uint64_t filter_stats_read(const struct filter_stats *stats, enum decision d)
{
	uint64_t sum = 0;

	for (unsigned w = 0; stats != NULL && w < FILTER_WORKERS_MAX; w++)
		sum += stat_read(&stats->worker[w].n[d]);
	return sum;
}

/* How long calls wait in the policy's queue.  Control thread, before the policy is in force; false:
 * out of memory. */
bool filter_stats_open_waits(struct filter_stats *);

/* Worker `worker` only, after filter_stats_open_waits; a wait has ended, whichever way. */
static inline void filter_stats_wait(struct filter_stats *stats, unsigned worker, uint64_t ns)
{
	struct stat_hist *waits = atomic_load_explicit(&stats->waits, memory_order_acquire);

	CHECK(worker < FILTER_WORKERS_MAX && waits != NULL);
	stat_hist_add(&waits[worker], ns);
}

/* Any thread.  False: the policy has no queue.  *sum starts zeroed. */
bool filter_stats_waits(const struct filter_stats *, struct stat_sum *sum);

/* "allow" "deny" "shadow_deny" "skip": the metric label. */
extern const char *const decision_names[DECISION_COUNT];

#endif
