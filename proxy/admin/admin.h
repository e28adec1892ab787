/* admin.h - what Weir tells of itself: the probes listener (open to the network) and the admin
 * listener (loopback). */
#ifndef ADMIN_ADMIN_H
#define ADMIN_ADMIN_H

#include "core/service.h"

/* /live /ready /metrics, and nothing else. */
extern const struct service probes_service;
/* What it is at (/health /stats.json /config /limits /breakers /upstreams /events) and orders to it (/reload /drain
 * /log-level, and to what the others show), behind a Host check and, when configured, a token. */
extern const struct service admin_service;

#endif
