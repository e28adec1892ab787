/* state.h - objects with an identity, found again by the policies of every reload: what breakers,
 * queues and budgets keep, one object a policy (tables hold what is kept by key, table.h).
 *
 * The control thread finds and lets go of them; how workers share one is its own affair. */
#ifndef FILTERS_STATE_H
#define FILTERS_STATE_H

#include "filters/table.h"

struct state_kind {
	void *(*make)(void); /* NULL: out of memory */
	void (*destroy)(void *object);
};

/* Finds or makes the object of this identity.  NULL: out of memory. */
void *state_get(struct table_registry *, const struct table_id *, const struct state_kind *);
void state_put(struct table_registry *, void *object);

#endif
