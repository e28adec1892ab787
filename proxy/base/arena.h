/* arena.h - memory that is given back all at once.
 *
 * Blocks come from a pool (per worker, recycled) or, with pool == NULL, from
 * malloc.  Requests larger than a block get a block of their own.  Memory is
 * aligned to 8 bytes.  Single-threaded. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdarg.h>
#include <stddef.h>

#include "base/slice.h"

enum { ARENA_BLOCK_BYTES = 4096 };

struct arena_block;

/* Free list of standard blocks; keeps at most `max` of them. */
struct arena_pool {
	struct arena_block *free;
	size_t count, max;
	size_t held; /* bytes that its arenas and it have from malloc */
};

struct arena {
	struct arena_pool *pool; /* may be NULL */
	struct arena_block *blocks;
	char *at, *end;
	size_t bytes; /* held, for bounds and metrics */
};

void arena_pool_init(struct arena_pool *, size_t max_blocks);
void arena_pool_fini(struct arena_pool *);

void arena_init(struct arena *, struct arena_pool *pool);
void arena_fini(struct arena *); /* gives all blocks back; the arena is empty and usable again */

/* NULL when memory is out. */
void *arena_alloc(struct arena *, size_t n);
void *arena_zalloc(struct arena *, size_t n);
/* A copy with a NUL behind it; p is NULL when memory is out. */
struct slice arena_copy(struct arena *, struct slice);
char *arena_strdup(struct arena *, const char *);
/* printf into the arena; NULL when memory is out. */
char *arena_printf(struct arena *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
char *arena_vprintf(struct arena *, const char *fmt, va_list) __attribute__((format(printf, 2, 0)));

#endif
