/* limit_fields.h - what an answer tells of a limit: RateLimit and its older kin.
 *
 * Source: draft-ietf-httpapi-ratelimit-headers-10 (2025-09-23), structured fields of RFC 8941, and
 * the X-RateLimit-* fields in common use.  RateLimit and RateLimit-Policy are lists: each policy is
 * a member, in the order of the chain. X-RateLimit-* have room for one policy: the one with the
 * least left.  What the upstream says of itself stays. */
#ifndef FILTERS_LIMIT_FIELDS_H
#define FILTERS_LIMIT_FIELDS_H

#include "filters/filter.h"

struct limit_view {
	const char *policy;
	uint64_t quota, window_s; /* burst, and the time in which it fills */
	const char *unit;         /* what the quota counts, where that is not calls in a window */
	uint64_t remaining;
	uint64_t reset_s; /* admitted: until it is full again; refused: until a call would pass */
};

/* Called in respond, so last policy first.  Out of memory leaves fields out. */
void limit_fields_add(struct call *, struct head *, const struct limit_view *);

#endif
