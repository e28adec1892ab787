/* balance.c - which endpoint a call goes to.
 *
 *  B1  Each worker chooses by what it knows itself: its own turn, its own calls under way.
 *      Nothing is shared.
 *  B2  Among equals the smooth weighted round-robin decides (nginx's: each candidate gains its
 *      weight, the richest is chosen and pays the sum of the weights), so that the calls of a
 *      heavy one are spread out.
 *  B3  Round-robin: all candidates are equals.  Least requests: those with the fewest calls under
 *      way for their weight.
 *  B4  Backups are candidates only when no other member is.  A name without an address is no
 *      candidate. */
#include "upstream/balance.h"

#include <stdint.h>

enum { CACHE_LINE = 64, TRIED_MAX = 64 };

struct cluster_worker {
	int64_t *credit; /* one a member */
};

bool balance_open(struct cluster *c, struct arena *arena)
{
	size_t bytes = (c->n * sizeof(int64_t) + CACHE_LINE - 1) & ~(size_t)(CACHE_LINE - 1);
	char *credit = arena_zalloc(arena, WORKERS_MAX * bytes + CACHE_LINE);

	c->worker = arena_alloc(arena, WORKERS_MAX * sizeof(*c->worker));
	if (credit == NULL || c->worker == NULL)
		return false;
	credit += (CACHE_LINE - (uintptr_t)credit % CACHE_LINE) % CACHE_LINE;
	for (size_t w = 0; w < WORKERS_MAX; w++)
		c->worker[w].credit = (int64_t *)(void *)(credit + w * bytes);
	return true;
}

static bool usable(const struct cluster *c, uint32_t i, uint64_t tried, bool backup)
{
	const struct cluster_member *m = &c->member[i];

	if (m->backup != backup || (i < TRIED_MAX && (tried >> i & 1) != 0))
		return false;
	return m->endpoint->host == NULL || endpoint_addr_count(m->endpoint) > 0;
}

static uint64_t active(const struct cluster_member *m, unsigned w)
{
	return atomic_load_explicit(&m->endpoint->worker[w].active, memory_order_relaxed);
}

/* Whether a has fewer calls under way for its weight than b. */
static bool less_busy(const struct cluster_member *a, const struct cluster_member *b, unsigned w)
{
	return active(a, w) * b->weight < active(b, w) * a->weight;
}

static struct cluster_member *least_busy(struct cluster *c, unsigned w, uint64_t tried, bool backup)
{
	struct cluster_member *least = NULL;

	for (uint32_t i = 0; i < c->n; i++) {
		struct cluster_member *m = &c->member[i];

		if (usable(c, i, tried, backup) && (least == NULL || less_busy(m, least, w)))
			least = m;
	}
	return least;
}

/* Smooth weighted round-robin over the usable members that are no busier than `least` (NULL: over
 * all). */
static struct cluster_member *take_turn(struct cluster *c, unsigned w, uint64_t tried, bool backup,
					const struct cluster_member *least)
{
	int64_t *credit = c->worker[w].credit, total = 0;
	uint32_t best = UINT32_MAX;

	for (uint32_t i = 0; i < c->n; i++) {
		const struct cluster_member *m = &c->member[i];

		if (!usable(c, i, tried, backup) || (least != NULL && less_busy(least, m, w)))
			continue;
		credit[i] += m->weight;
		total += m->weight;
		if (best == UINT32_MAX || credit[i] > credit[best])
			best = i;
	}
	if (best == UINT32_MAX)
		return NULL;
	credit[best] -= total;
	return &c->member[best];
}

static struct cluster_member *pick_of(struct cluster *c, unsigned w, uint64_t tried, bool backup)
{
	const struct cluster_member *least = NULL;

	if (c->conf->lb == LB_LEAST_REQUESTS) {
		least = least_busy(c, w, tried, backup);
		if (least == NULL)
			return NULL;
	}
	return take_turn(c, w, tried, backup, least);
}

struct cluster_member *cluster_pick(struct cluster *c, unsigned w, uint64_t tried)
{
	struct cluster_member *m;

	if (c->n == 1)
		return usable(c, 0, tried, c->member[0].backup) ? &c->member[0] : NULL;
	m = pick_of(c, w, tried, false);
	return m != NULL ? m : pick_of(c, w, tried, true);
}
