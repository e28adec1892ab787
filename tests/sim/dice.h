/* dice.h - chance, from a seed: the same seed, the same throws (splitmix64). */
#ifndef SIM_DICE_H
#define SIM_DICE_H

#include <stdbool.h>
#include <stdint.h>

struct dice {
	uint64_t s;
};

static inline uint64_t dice_next(struct dice *d)
{
	uint64_t z = d->s += UINT64_C(0x9e3779b97f4a7c15);

	z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
	return z ^ (z >> 31);
}

/* 0 to n - 1; n is 1 or more. */
static inline uint64_t dice_below(struct dice *d, uint64_t n)
{
	return dice_next(d) % n;
}

/* Both included. */
static inline uint64_t dice_between(struct dice *d, uint64_t low, uint64_t high)
{
	return low + dice_below(d, high - low + 1);
}

static inline bool dice_chance(struct dice *d, unsigned per_mille)
{
	return dice_below(d, 1000) < per_mille;
}

/* 0 to `high`, small numbers as likely as large ones. */
static inline uint64_t dice_spread(struct dice *d, uint64_t high)
{
	unsigned bits = 0;
	uint64_t n;

	while (bits < 63 && high >> bits != 0)
		bits++;
	bits = (unsigned)dice_below(d, bits + 1);
	n = dice_next(d) & ((UINT64_C(1) << bits) - 1);
	return n > high ? high : n;
}

#endif
