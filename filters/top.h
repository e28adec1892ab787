/* top.h - which keys a policy refuses most, lately, in little memory.
 *
 * Metwally, Agrawal, El Abbadi: "Efficient computation of frequent and top-k elements in data
 * streams" (2005), the Space-Saving sketch: of n counters, a key that has none takes over the
 * smallest, with its count as the error that it may have at most.  A key that makes up more than
 * 1/n of the refusals has one.  Counts are of two windows, the present one and the one before it,
 * so what is shown was so in the last five to ten minutes.
 *
 *  P1  One worker writes; anybody reads, and may see a change half made: it is for eyes only.
 *  P2  Memory is taken at the worker's first refusal; where it is out, nothing is counted. */
#ifndef FILTERS_TOP_H
#define FILTERS_TOP_H

#include <stdatomic.h>
#include <stdint.h>

#define TOP_WINDOW_NS (UINT64_C(300) * 1000000000)

struct top; /* of one policy and worker */

struct top_key {
	uint64_t key, n, error; /* refused n times; up to `error` of them may have been others */
};

/* NULL: out of memory. */
struct top *top_new(uint32_t keys);
void top_free(struct top *);
/* Its worker: one more refusal. */
void top_count(struct top *, uint64_t now_ns, uint64_t key);
/* Any thread: adds what is there to out[0..*n), by key, as long as there is room for `max`; *since_ns becomes the
 * earlier of it and of the begin of what is counted. */
void top_add(const struct top *, uint64_t now_ns, struct top_key *out, uint32_t *n, uint32_t max,
	     uint64_t *since_ns);
/* How many keys it remembers. */
uint32_t top_used(const struct top *);
/* How many keys top_add may add. */
uint32_t top_room(const struct top *);
/* Most refused first. */
void top_sort(struct top_key *, uint32_t n);

#endif
