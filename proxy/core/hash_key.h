/* hash_key.h - `hash:` of an upstream: which values of a call its endpoint is chosen by.
 *
 * What keys there are is known to the filters, where calls go to the upstreams; neither sees the
 * other, so it is core that puts the two together. */
#ifndef CORE_HASH_KEY_H
#define CORE_HASH_KEY_H

#include <stdbool.h>
#include <stdint.h>

#include "filters/filter.h"
#include "upstream/upstream.h"

/* Findings about conf->hash. */
bool hash_key_check(const struct cluster_conf *, struct arena *, struct diags *);
/* Fills cluster->hash from what was checked; false: out of memory, and there is a finding. */
bool hash_key_open(struct cluster *, struct arena *, struct diags *);
/* False: the cluster chooses by something else, or the call lacks the key. */
bool hash_key_of(const struct cluster *, const struct call *, uint64_t *hash);

#endif
