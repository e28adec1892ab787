/* balance.h - what a cluster's balancer keeps; the choice itself is cluster_pick. */
#ifndef UPSTREAM_BALANCE_H
#define UPSTREAM_BALANCE_H

#include <stdbool.h>

#include "upstream/upstream.h"

/* Makes cluster->worker for the members that are there; all of it is the arena's.  False: out of
 * memory. */
bool balance_open(struct cluster *, struct arena *);

#endif
