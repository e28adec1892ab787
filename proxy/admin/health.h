/* health.h - /health: how Weir is, as JSON. */
#ifndef ADMIN_HEALTH_H
#define ADMIN_HEALTH_H

#include "core/service.h"

enum health { HEALTHY, DEGRADED, UNHEALTHY };

/* {"status":"healthy","version":...,"checks":[{"name":...,"status":...,"message":...}]}.  Degraded:
 * calls are answered, but somebody should look. */
enum health health_render(const struct process_view *, struct buf *);

#endif
