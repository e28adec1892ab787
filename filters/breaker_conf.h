/* breaker_conf.h - which failures a breaker counts, between breaker_conf.c and breaker.c. */
#ifndef FILTERS_BREAKER_CONF_H
#define FILTERS_BREAKER_CONF_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/schema.h"

/* Of tries without a whole answer: what the reason's row says of them. */
enum failure_class {
	FAILURE_CONNECT = 1 << 0, /* nothing was sent */
	FAILURE_RESET = 1 << 1,   /* it broke, or makes no sense */
	FAILURE_TIMEOUT = 1 << 2, /* the status is 504 */
};

enum { FAILURE_STATUS_FIRST = 400, FAILURE_STATUS_LAST = 599 };

struct failure_set {
	uint8_t classes; /* enum failure_class */
	bool status[FAILURE_STATUS_LAST - FAILURE_STATUS_FIRST + 1];
};

/* `failures`: of const char *, as the schema has them; none: the usual ones. */
void failure_set_init(struct failure_set *, const struct conf_list *failures);

static inline bool failure_set_has(const struct failure_set *f, unsigned status)
{
	return status >= FAILURE_STATUS_FIRST && status <= FAILURE_STATUS_LAST &&
	       f->status[status - FAILURE_STATUS_FIRST];
}

#endif
