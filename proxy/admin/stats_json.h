/* stats_json.h - /stats.json: the numbers of /metrics for people and dashboards, with quantiles. */
#ifndef ADMIN_STATS_JSON_H
#define ADMIN_STATS_JSON_H

#include "core/service.h"

void stats_json_render(const struct process_view *, struct buf *);

#endif
