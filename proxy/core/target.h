/* target.h - what goes upstream: path, query, host, method and body, as `rewrite`, `host` and `body` of
 * a route make them of the client's, once. */
#ifndef CORE_TARGET_H
#define CORE_TARGET_H

#include "core/policy.h"
#include "core/template.h"

struct target {
	struct slice path, query;  /* query.p NULL: none */
	struct slice authority;    /* HOST_OF_TEXT; else as it came */
	struct slice method, body; /* body.p NULL: as it comes */
};

/* NULL, or why the call cannot go on: what comes of it is no path, or no host. */
const struct reason *target_make(const struct route *, const struct template_values *,
				 struct target *);
/* A query without an `&` at its ends, as "id=1&{query}" of a call without one has it; p NULL: nothing
 * is left. */
struct slice target_trim_query(struct slice);
bool target_is_authority(struct slice);

#endif
