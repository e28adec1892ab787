/* rendezvous.c - weighted rendezvous hashing. */
#include "upstream/rendezvous.h"

#include "base/hash.h"

uint64_t rendezvous_seed(struct slice text)
{
	/* no secret: all replicas are to choose alike */
	static const struct hash_key key = { .k0 = UINT64_C(0x77656972),
					     .k1 = UINT64_C(0x72696e67) };

	return hash_siphash(&key, text.p, text.n);
}

/* The finaliser of splitmix64 (Steele, Lea and Flood, 2014). */
static uint64_t mix(uint64_t x)
{
	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* -ln(x / 2^64) for x > 0, to seven digits: the exponent, and the series of artanh for what is left
 * of it in [1/2, 1). */
static double minus_log(uint64_t x)
{
	int zeros = __builtin_clzll(x);
	double m = (double)(x << zeros) * 0x1p-64, z = (m - 1) / (m + 1), z2 = z * z;
	double ln =
	    2 * z * (1 + z2 * (1 / 3. + z2 * (1 / 5. + z2 * (1 / 7. + z2 * (1 / 9. + z2 / 11)))));

	return zeros * 0.6931471805599453 - ln;
}

double rendezvous_time(uint64_t seed, uint64_t key, double weight)
{
	uint64_t x = mix(seed + mix(key + UINT64_C(0x9e3779b97f4a7c15)));

	return (minus_log(x | 1) + 0x1p-64) / weight;
}
