/* registry.h - the kinds of filter there are, and how a policy of the configuration becomes one of
 * them. */
#ifndef FILTERS_REGISTRY_H
#define FILTERS_REGISTRY_H

#include "conf/schema.h"
#include "filters/filter.h"

struct table_registry;

/* Of one policy: the key in it that names a kind decides (`rate` makes a token bucket).  C_NAMED
 * lists of it hold struct conf_variant. */
extern const struct schema policy_schema;

/* The kind that a schema belongs to; NULL: none. */
const struct filter_ops *registry_find(const struct schema *);

/* Control thread.  The filter points into the policy's configuration, which must outlive it.  NULL
 * after a finding. */
struct filter *filter_open(const struct conf_variant *, struct table_registry *, struct diags *);
void filter_close(struct filter *, struct table_registry *); /* NULL is fine */

#endif
