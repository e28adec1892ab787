/* arena.c - bump allocation in 4 KiB blocks. */
#include "base/arena.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

struct arena_block {
	struct arena_block *next;
	size_t size; /* whole, with this header */
};

void arena_pool_init(struct arena_pool *p, size_t max_blocks)
{
	*p = (struct arena_pool){ .max = max_blocks };
}

void arena_pool_fini(struct arena_pool *p)
{
	while (p->free != NULL) {
		struct arena_block *b = p->free;

		p->free = b->next;
		p->held -= b->size;
		free(b);
	}
	p->count = 0;
}

void arena_init(struct arena *a, struct arena_pool *pool)
{
	*a = (struct arena){ .pool = pool };
}

static struct arena_block *block_get(struct arena *a, size_t size)
{
	struct arena_pool *p = a->pool;
	struct arena_block *b;

	if (p != NULL && size == ARENA_BLOCK_BYTES && p->free != NULL) {
		b = p->free;
		p->free = b->next;
		p->count--;
	} else {
		b = malloc(size);
		if (b == NULL)
			return NULL;
		if (p != NULL)
			p->held += size;
	}
	b->size = size;
	return b;
}

static void block_put(struct arena *a, struct arena_block *b)
{
	struct arena_pool *p = a->pool;

	if (p == NULL || b->size != ARENA_BLOCK_BYTES || p->count >= p->max) {
		if (p != NULL)
			p->held -= b->size;
		free(b);
		return;
	}
	b->next = p->free;
	p->free = b;
	p->count++;
}

void arena_fini(struct arena *a)
{
	while (a->blocks != NULL) {
		struct arena_block *b = a->blocks;

		a->blocks = b->next;
		block_put(a, b);
	}
	a->at = a->end = NULL;
	a->bytes = 0;
}

/* A request too large for a standard block goes behind the current one, so
 * that what is left of the current block stays in use. */
static void *arena_alloc_slow(struct arena *a, size_t n)
{
	bool large = n > ARENA_BLOCK_BYTES - sizeof(struct arena_block);
	struct arena_block *b;

	if (n > SIZE_MAX / 2)
		return NULL;
	b = block_get(a, large ? n + sizeof(*b) : ARENA_BLOCK_BYTES);
	if (b == NULL)
		return NULL;
	a->bytes += b->size;
	if (large && a->blocks != NULL) {
		b->next = a->blocks->next;
		a->blocks->next = b;
		return b + 1;
	}
	b->next = a->blocks;
	a->blocks = b;
	a->at = (char *)(b + 1) + n;
	a->end = (char *)b + b->size;
	return b + 1;
}

void *arena_alloc(struct arena *a, size_t n)
{
	size_t need = (n + 7) & ~(size_t)7;

	if (need >= n && (size_t)(a->end - a->at) >= need && a->at != NULL) {
		void *p = a->at;

		a->at += need;
		return p;
	}
	return need < n ? NULL : arena_alloc_slow(a, need);
}

void *arena_zalloc(struct arena *a, size_t n)
{
	void *p = arena_alloc(a, n);

	if (p != NULL)
		memset(p, 0, n);
	return p;
}

struct slice arena_copy(struct arena *a, struct slice s)
{
	char *p = arena_alloc(a, s.n + 1);

	if (p == NULL)
		return slice_of(NULL, 0);
	if (s.n > 0)
		memcpy(p, s.p, s.n);
	p[s.n] = '\0';
	return slice_of(p, s.n);
}

char *arena_strdup(struct arena *a, const char *s)
{
	struct slice copy = arena_copy(a, slice_str(s));

	return (char *)(uintptr_t)copy.p;
}

char *arena_vprintf(struct arena *a, const char *fmt, va_list ap)
{
	va_list again;
	char *p = NULL;
	int n;

	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	if (n >= 0)
		p = arena_alloc(a, (size_t)n + 1);
	if (p != NULL)
		vsnprintf(p, (size_t)n + 1, fmt, again);
	va_end(again);
	return p;
}

char *arena_printf(struct arena *a, const char *fmt, ...)
{
	va_list ap;
	char *p;

	va_start(ap, fmt);
	p = arena_vprintf(a, fmt, ap);
	va_end(ap);
	return p;
}
