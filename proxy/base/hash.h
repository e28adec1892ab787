/* hash.h - SipHash-2-4 (Aumasson and Bernstein, 2012): a keyed hash that a
 * client who does not know the key cannot make collide. */
#ifndef BASE_HASH_H
#define BASE_HASH_H

#include <stddef.h>
#include <stdint.h>

struct hash_key {
	uint64_t k0, k1;
};

uint64_t hash_siphash(const struct hash_key *, const void *p, size_t n);
/* The key of this process, drawn once from the kernel's random numbers. */
const struct hash_key *hash_boot_key(void);

#endif
