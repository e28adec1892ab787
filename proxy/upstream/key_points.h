/* key_points.h - which endpoint a key belongs to, as others choose: arithmetic only.
 *
 * For those who come from another proxy, or whose caches were filled through one, and want the same
 * keys to go to the same endpoints.
 *
 *  P1  crc32-hash: what Cache::Memcached does, and nginx for `hash KEY`.
 *  P2  ketama-hash: what Cache::Memcached::Fast does, and nginx for `hash KEY consistent`: 160
 *      points for each unit of weight on a ring of 32 bits.
 *  P3  address-hash: what nginx does for `ip_hash`: clients of the same /24 of IPv4, or of the same
 *      address of IPv6, go together. */
#ifndef UPSTREAM_KEY_POINTS_H
#define UPSTREAM_KEY_POINTS_H

#include <stdbool.h>

#include "upstream/upstream.h"

struct ketama_point {
	uint32_t hash, member;
};

/* CRC-32 of ISO 3309, as zlib has it. */
uint32_t crc32_of(struct slice);
/* P1: what the n-th try adds. */
uint32_t crc32_key(struct slice key, uint32_t n);
/* P3: the next one after `hash`. */
uint32_t address_key(const struct ip *, uint32_t hash);
/* P2: makes the points.  False: out of memory. */
bool ketama_open(struct cluster *, struct arena *);
/* The index of the first point at or behind the key; it may be n_points. */
uint32_t ketama_find(const struct cluster *, struct slice key);

#endif
