/* upstreams.h - /upstreams: what endpoints are at, and orders to them. */
#ifndef ADMIN_UPSTREAMS_H
#define ADMIN_UPSTREAMS_H

#include "core/service.h"

/* GET /upstreams: {"endpoints":[{"upstream":...,"endpoint":...,"state":"up","weight":1,"backup":false}]}; the states are
 * those of endpoint_state. */
void upstreams_show(const struct process_view *, const struct service_request *,
		    struct service_reply *);
/* GET /upstreams/UPSTREAM[/ENDPOINT]: those alone. */
void upstream_show(const struct process_view *, const struct service_request *,
		   struct service_reply *);
/* PUT /upstreams/UPSTREAM/ENDPOINT {"state":"up|drain|down","weight":3}, or one of both; weight 0: as
 * configured; answers with that one, as GET does.
 * It stands until the next order, across reloads, as long as the endpoint is in the configuration.
 */
void upstreams_change(const struct process_view *, const struct service_request *,
		      struct service_reply *);

#endif
