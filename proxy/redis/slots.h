/* slots.h - which node of a cluster has which key.
 *
 * Source: the Redis Cluster Specification, "Key distribution model" and "Hash tags". */
#ifndef REDIS_SLOTS_H
#define REDIS_SLOTS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "redis/url.h"
#include "store/refusal.h"
#include "store/resp.h"

/* CRC16 (XMODEM) of the key, or of what stands between its first { and the } behind it. */
uint16_t slot_of(struct slice key);

/* Some slots in a row and their master. */
struct slot_range {
	uint16_t first, last;
	struct slice host; /* "": that of who said it */
	uint16_t port;
};

/* Reads an answer to CLUSTER SLOTS, in ranges.  False: it is none; ranges before were visited. */
bool slots_read(const struct resp *, void (*visit)(void *arg, const struct slot_range *),
		void *arg);

#endif
