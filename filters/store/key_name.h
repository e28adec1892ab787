/* key_name.h - under which names shared limits stand in Redis.
 *
 *   rl:{NAMESPACE:POLICY:ID}:KIND
 *
 * POLICY says which policy counts and in what way (not how much: a changed limit acts on the same
 * state at once).  ID is an HMAC-SHA256 (RFC 2104) of what the key is made of, so that nobody who
 * reads the names learns an address or an API key, or could try one without the salt.  The braces
 * keep all that ever belongs to one key in one slot of a cluster. */
#ifndef STORE_KEY_NAME_H
#define STORE_KEY_NAME_H

#include <stdint.h>

#include "base/slice.h"

enum {
	KEY_NAMESPACE_MAX = 32,
	KEY_NAME_PARTS_MAX = 8, /* of a compound key */
	KEY_POLICY_BYTES = 8,
	KEY_ID_BYTES = 22, /* 132 bits */
	KEY_NAME_MAX = KEY_NAMESPACE_MAX + KEY_POLICY_BYTES + KEY_ID_BYTES + 12,
	KEY_SALT_BYTES = 64, /* of an HMAC's block */
};

struct key_name {
	uint8_t n;
	char text[KEY_NAME_MAX];
};

/* What a policy's names have in common; made once. */
struct key_maker {
	const char *space; /* letters, digits, - and _ alone */
	uint8_t salt[KEY_SALT_BYTES];
	char policy[KEY_POLICY_BYTES];
	char kind; /* t w b c */
};

/* `how`: algorithm and window, as text.  `space` stays the caller's. */
void key_maker_init(struct key_maker *, const char *space, struct slice salt, struct slice policy,
		    struct slice how, char kind);
/* Of one or more parts; all the bytes of each count. */
void key_name_make(const struct key_maker *, const struct slice *part, unsigned n,
		   struct key_name *);

/* The one key of a namespace where its sidecars are counted. */
void key_name_peers(const char *space, struct key_name *);

/* RFC 2104, of a message of at most 512 bytes; the key as a block. */
void hmac_sha256(const uint8_t block[KEY_SALT_BYTES], const void *p, size_t n, uint8_t out[32]);
/* A key of any length as a block of an HMAC. */
void hmac_block(struct slice key, uint8_t block[KEY_SALT_BYTES]);

#endif
