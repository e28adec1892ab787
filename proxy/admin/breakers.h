/* breakers.h - /breakers: what the circuit breakers are at, and orders to them. */
#ifndef ADMIN_BREAKERS_H
#define ADMIN_BREAKERS_H

#include "core/service.h"

/* GET /breakers: {"breakers":[{"policy":...,"upstream":...,"endpoint":...,"state":"open",
 * "forced":false,"left":12.5}]}; left: seconds that it stays so at least, 0 when nobody knows. */
void breakers_show(const struct process_view *, const struct service_request *,
		   struct service_reply *);
/* PUT /breakers/POLICY/UPSTREAM[/ENDPOINT] {"state":"open|closed|auto","for":"10m"}; answers with
 * those it was for, as GET does. */
void breakers_change(const struct process_view *, const struct service_request *,
		     struct service_reply *);

#endif
