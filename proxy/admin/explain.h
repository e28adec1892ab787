/* explain.h - POST /explain: what the policy in force would make of a request now, taking nothing.
 */
#ifndef ADMIN_EXPLAIN_H
#define ADMIN_EXPLAIN_H

#include "core/service.h"

/* Body: {"path":"/x?y", "method":"POST", "host":"h", "client":"10.0.0.9",
 * "headers":{"name":"value"}}; only the path is needed, and a header's value may be a list of
 * values. */
void explain_show(const struct process_view *, const struct service_request *,
		  struct service_reply *);

#endif
