/* ring.h - bytes on their way from one thread to another: one producer, one consumer, no lock.
 *
 * What goes in goes in whole or not at all.  A ring that is to become larger or smaller is followed by
 * another: the producer goes on there, the consumer once this one is empty. */
#ifndef CORE_RING_H
#define CORE_RING_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/slice.h"

struct ring {
	char *bytes;
	size_t size; /* a power of two */
	struct ring *_Atomic next;
	_Atomic size_t head __attribute__((aligned(64))); /* produced, ever rising */
	_Atomic size_t tail __attribute__((aligned(64))); /* consumed */
};

/* The size is a power of two; NULL when memory is out. */
struct ring *ring_new(size_t size);
void ring_free(struct ring *); /* NULL is fine */

/* The least power of two from `least`, a power of two, up to `most` that holds `wanted`. */
static inline size_t ring_size(uint64_t wanted, size_t least, size_t most)
{
	size_t size = least;

	while (size < wanted && size < most)
		size *= 2;
	return size;
}

/* Either side. */
static inline size_t ring_used(const struct ring *r)
{
	return atomic_load_explicit(&r->head, memory_order_acquire) -
	       atomic_load_explicit(&r->tail, memory_order_acquire);
}

static inline void ring_copy(struct ring *r, size_t head, struct slice s)
{
	size_t at = head & (r->size - 1), first = r->size - at;

	if (first > s.n)
		first = s.n;
	memcpy(r->bytes + at, s.p, first);
	memcpy(r->bytes, s.p + first, s.n - first);
}

/* The producer: all of it, or nothing. */
static inline bool ring_append_parts(struct ring *r, const struct slice *part, unsigned parts)
{
	size_t head = atomic_load_explicit(&r->head, memory_order_relaxed);
	size_t tail = atomic_load_explicit(&r->tail, memory_order_acquire);
	size_t n = 0;

	for (unsigned i = 0; i < parts; i++)
		n += part[i].n;
	if (n > r->size - (head - tail))
		return false;
	for (unsigned i = 0; i < parts; i++) {
		ring_copy(r, head, part[i]);
		head += part[i].n;
	}
	atomic_store_explicit(&r->head, head, memory_order_release);
	return true;
}

static inline bool ring_append(struct ring *r, const char *line, size_t n)
{
	struct slice whole = slice_of(line, n);

	return ring_append_parts(r, &whole, 1);
}

#endif
