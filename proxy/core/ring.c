/* ring.c - where rings come from. */
#include "core/ring.h"

#include <stdlib.h>

struct ring *ring_new(size_t size)
{
	struct ring *r = aligned_alloc(64, sizeof(*r));

	if (r == NULL)
		return NULL;
	memset(r, 0, sizeof(*r));
	r->size = size;
	r->bytes = malloc(size);
	if (r->bytes != NULL)
		return r;
	free(r);
	return NULL;
}

void ring_free(struct ring *r)
{
	if (r != NULL)
		free(r->bytes);
	free(r);
}
