/* breakers.h - /breakers: what the circuit breakers are at, and orders to them. */
#ifndef ADMIN_BREAKERS_H
#define ADMIN_BREAKERS_H

#include "core/service.h"

/* GET /breakers: {"breakers":[{"policy":...,"upstream":...,"endpoint":...,"state":"open",
 * "forced":false,"left":12.5,"since":3.1,"calls":40,"failures":21,"slow":0,"in_a_row":4}]}; left: seconds that it stays so
 * at least, 0 when nobody knows; since: seconds that it is so, null when it was never anything else; calls, failures, slow:
 * of the window of a breaker that goes by shares. */
void breakers_show(const struct process_view *, const struct service_request *,
		   struct service_reply *);
/* GET /breakers/POLICY[/UPSTREAM[/ENDPOINT]]: those alone. */
void breaker_show(const struct process_view *, const struct service_request *,
		  struct service_reply *);
/* PUT /breakers/POLICY/UPSTREAM[/ENDPOINT] {"state":"open|closed|auto","for":"10m"}; answers with
 * those it was for, as GET does. */
void breakers_change(const struct process_view *, const struct service_request *,
		     struct service_reply *);

#endif
