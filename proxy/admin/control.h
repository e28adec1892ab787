/* control.h - orders to the process: /reload, /drain, /log-level; and /events. */
#ifndef ADMIN_CONTROL_H
#define ADMIN_CONTROL_H

#include "core/service.h"

/* POST /reload: 200 {"reloaded":true,"generation":2,"sha256":...,"changes":[...],"diagnostics":[]};
 * 422 with reloaded false and what is wrong, the running configuration stays; 409: there is no
 * file. */
service_page reload_order;
/* GET /drain {"draining":true,"by":"order|shutdown|nobody","left":12.5}; POST {"for":"10m"} or
 * nothing: not ready, and no connection is kept; DELETE: all as before. */
service_page drain_show;
service_page drain_begin;
service_page drain_end;
/* GET /log-level {"level":"debug","configured":"info","left":0}; PUT
 * {"level":"debug|info|warn|error|auto","for":"10m"}. */
service_page level_show;
service_page level_change;
/* GET /events: server-sent events, those that are kept and then those to come;
 * ?follow=false: those that are kept, as a JSON object; ?since=N: from that number on; after
 * that of Last-Event-ID, and where it is beyond the last (Weir was restarted) from the oldest on. */
service_page events_show;

#endif
