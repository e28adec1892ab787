/* atomic_pair.h - two adjacent 64-bit words that are swapped together.
 *
 * The compiler's 16-byte atomics go through libatomic, which this project does not need otherwise.
 * On x86-64 the instruction is written out (cmpxchg16b: every CPU since 2006); elsewhere the __sync
 * builtin has it inline.
 *
 * A read is three loads: when the high word is the same before and after, the low word was beside
 * it, for a pair whose high word never comes back to what it was within the time of a load. */
#ifndef FILTERS_ATOMIC_PAIR_H
#define FILTERS_ATOMIC_PAIR_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct pair {
	uint64_t lo, hi;
};

struct atomic_pair {
	_Atomic uint64_t lo, hi;
} __attribute__((aligned(16)));

static inline struct pair pair_load(const struct atomic_pair *p)
{
	struct pair v;

	v.hi = atomic_load_explicit(&p->hi, memory_order_acquire);
	for (;;) {
		uint64_t again;

		v.lo = atomic_load_explicit(&p->lo, memory_order_acquire);
		again = atomic_load_explicit(&p->hi, memory_order_acquire);
		if (again == v.hi)
			return v;
		v.hi = again;
	}
}

static inline bool pair_same(const struct atomic_pair *p, struct pair seen)
{
	struct pair now = pair_load(p);

	return now.hi == seen.hi && now.lo == seen.lo;
}

/* Sequentially consistent. */
static inline bool pair_swap(struct atomic_pair *p, struct pair from, struct pair to)
{
#ifdef __x86_64__
	bool ok;

	__asm__ __volatile__("lock cmpxchg16b %1"
			     : "=@ccz"(ok), "+m"(*p), "+a"(from.lo), "+d"(from.hi)
			     : "b"(to.lo), "c"(to.hi)
			     : "memory");
	return ok;
#else
	unsigned __int128 a = (unsigned __int128)from.hi << 64 | from.lo;
	unsigned __int128 b = (unsigned __int128)to.hi << 64 | to.lo;

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "struct pair has its low word first"
#endif
	return __sync_bool_compare_and_swap((unsigned __int128 *)(void *)p, a, b);
#endif
}

#endif
