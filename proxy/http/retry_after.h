/* retry_after.h - when an answer asks its client to come back. */
#ifndef HTTP_RETRY_AFTER_H
#define HTTP_RETRY_AFTER_H

#include <stdbool.h>
#include <stdint.h>

#include "http/head.h"

/* Retry-After (RFC 9110 section 10.2.3: seconds or a date), unless retry-after-ms (milliseconds, a
 * decimal fraction allowed; what LLM services send) says it closer.  Rounded up; at most a year;
 * 0 for a date that has passed.  False: neither is there, or it makes no sense. */
bool retry_after_ms(const struct head *, uint64_t wall_ns, uint64_t *ms);

#endif
