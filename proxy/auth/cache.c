/* cache.c - sets of four. */
#include "auth/cache.h"

#include <stdlib.h>

enum { WAYS = 4 };

struct entry {
	uint8_t digest[CACHE_DIGEST_BYTES];
	struct token *token; /* NULL: free */
	uint64_t used;       /* the cache's clock when it was asked for last */
};

struct token_cache {
	uint64_t clock;
	uint32_t sets; /* a power of two */
	struct entry entry[];
};

struct token_cache *token_cache_new(uint32_t tokens)
{
	struct token_cache *c;
	uint32_t sets = 1;

	if (tokens == 0)
		return NULL;
	while (sets * WAYS < tokens)
		sets *= 2;
	c = calloc(1, sizeof(*c) + (size_t)sets * WAYS * sizeof(struct entry));
	if (c != NULL)
		c->sets = sets;
	return c;
}

void token_cache_free(struct token_cache *c)
{
	for (uint32_t i = 0; c != NULL && i < c->sets * WAYS; i++)
		token_put(c->entry[i].token);
	free(c);
}

/* A digest is as good as random wherever one looks. */
static struct entry *set_of(struct token_cache *c, const uint8_t *digest)
{
	uint32_t at;

	memcpy(&at, digest, sizeof(at));
	return &c->entry[(size_t)(at & (c->sets - 1)) * WAYS];
}

static void clear(struct entry *e)
{
	token_put(e->token);
	e->token = NULL;
}

struct token *token_cache_get(struct token_cache *c, const uint8_t digest[CACHE_DIGEST_BYTES],
			      uint64_t wall_ns)
{
	struct entry *e = c == NULL ? NULL : set_of(c, digest);

	for (unsigned i = 0; e != NULL && i < WAYS; i++, e++) {
		if (e->token == NULL || memcmp(e->digest, digest, CACHE_DIGEST_BYTES) != 0)
			continue;
		if (wall_ns >= e->token->until_ns) {
			clear(e);
			return NULL;
		}
		e->used = ++c->clock;
		e->token->refs++;
		return e->token;
	}
	return NULL;
}

void token_cache_add(struct token_cache *c, const uint8_t digest[CACHE_DIGEST_BYTES],
		     struct token *token)
{
	struct entry *e = c == NULL || token->bytes > CACHE_TOKEN_MAX ? NULL : set_of(c, digest);
	struct entry *oldest = e;

	if (e == NULL)
		return;
	for (unsigned i = 0; i < WAYS; i++, e++) {
		uint64_t used = e->token == NULL ? 0 : e->used;

		if (used < (oldest->token == NULL ? 0 : oldest->used))
			oldest = e;
	}
	clear(oldest);
	memcpy(oldest->digest, digest, CACHE_DIGEST_BYTES);
	oldest->token = token;
	oldest->used = ++c->clock;
	token->refs++;
}
