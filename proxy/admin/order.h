/* order.h - the bodies of requests that change something: JSON, read by a field table. */
#ifndef ADMIN_ORDER_H
#define ADMIN_ORDER_H

#include "conf/schema.h"
#include "core/service.h"

enum { ORDER_BYTES_MAX = 1024 };

/* Fills `out`, of that schema; text lies in the arena.  False: the reply says what is wrong (400, 413), with `shape`
 * where there is nothing better to say.  An empty body is an empty object;
 * a string alone is the field that the schema's `scalar` names. */
bool order_read(const struct service_request *, const struct schema *, const char *shape,
		struct arena *, void *out, struct service_reply *);

#endif
