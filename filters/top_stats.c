/* top_stats.c - the sketches of a policy's workers, and what they say together. */
#include <stdlib.h>

#include "filters/stats.h"
#include "filters/top.h"

void filter_stats_refused(struct filter_stats *stats, unsigned worker, uint64_t now_ns,
			  uint64_t key)
{
	struct filter_stats_cell *cell;
	uint32_t keys;
	struct top *top;

	if (stats == NULL || stats->top_keys == NULL)
		return;
	cell = &stats->worker[worker];
	top = atomic_load_explicit(&cell->top, memory_order_relaxed);
	if (top == NULL) {
		keys = atomic_load_explicit(stats->top_keys, memory_order_relaxed);
		top = keys == 0 ? NULL : top_new(keys);
		atomic_store_explicit(&cell->top, top, memory_order_release);
	}
	if (top != NULL)
		top_count(top, now_ns, key);
}

void filter_stats_forget_top(struct filter_stats *stats)
{
	for (unsigned w = 0; w < FILTER_WORKERS_MAX; w++)
		top_free(atomic_load(&stats->worker[w].top));
}

uint32_t filter_stats_top_used(const struct filter_stats *stats)
{
	uint32_t keys = 0;

	for (unsigned w = 0; w < FILTER_WORKERS_MAX; w++) {
		const struct top *top =
		    atomic_load_explicit(&stats->worker[w].top, memory_order_acquire);

		keys += top == NULL ? 0 : top_used(top);
	}
	return keys;
}

/* Twice as many as a worker remembers, of each: so that none is lost before all were added up. */
static uint32_t room_of(const struct filter_stats *stats)
{
	uint32_t keys = 0;

	for (unsigned w = 0; w < FILTER_WORKERS_MAX; w++) {
		const struct top *top =
		    atomic_load_explicit(&stats->worker[w].top, memory_order_acquire);

		keys += top == NULL ? 0 : top_room(top);
	}
	return keys;
}

uint32_t filter_stats_top(const struct filter_stats *stats, uint64_t now_ns, struct top_key *out,
			  uint32_t max, uint64_t *since_ns)
{
	uint32_t room = stats == NULL ? 0 : room_of(stats), n = 0;
	struct top_key *all = room == 0 ? NULL : calloc(room, sizeof(*all));

	*since_ns = now_ns;
	for (unsigned w = 0; all != NULL && w < FILTER_WORKERS_MAX; w++) {
		const struct top *top =
		    atomic_load_explicit(&stats->worker[w].top, memory_order_acquire);

		if (top != NULL)
			top_add(top, now_ns, all, &n, room, since_ns);
	}
	if (n > 0)
		top_sort(all, n);
	n = n < max ? n : max;
	for (uint32_t i = 0; i < n; i++)
		out[i] = all[i];
	free(all);
	return n;
}
