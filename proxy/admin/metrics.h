/* metrics.h - /metrics: the Prometheus text format, version 0.0.4. */
#ifndef ADMIN_METRICS_H
#define ADMIN_METRICS_H

#include "core/service.h"

void metrics_render(const struct process_view *, struct buf *);

#endif
