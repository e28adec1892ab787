/* cache.h - tokens that were verified lately, by the SHA-256 of their text: one worker's.
 *
 * A table of sets of four; the entry that was not asked for the longest gives way.  An entry ends
 * with its token, and the whole with the policy that it was made for: other keys, other rules. */
#ifndef AUTH_CACHE_H
#define AUTH_CACHE_H

#include "auth/jwt.h"

enum { CACHE_DIGEST_BYTES = 32, CACHE_TOKEN_MAX = 16 * 1024 /* larger ones are not kept */ };

struct token_cache; /* NULL is one that holds nothing */

/* For about so many; NULL when memory is out, or for 0. */
struct token_cache *token_cache_new(uint32_t tokens);
void token_cache_free(struct token_cache *);
/* NULL, or a token to put back. */
struct token *token_cache_get(struct token_cache *, const uint8_t digest[CACHE_DIGEST_BYTES],
			      uint64_t wall_ns);
void token_cache_add(struct token_cache *, const uint8_t digest[CACHE_DIGEST_BYTES],
		     struct token *);

#endif
