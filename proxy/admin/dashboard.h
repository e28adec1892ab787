/* dashboard.h - the page for people, made of the files in the folder of that name (page.cmake). */
#ifndef ADMIN_DASHBOARD_H
#define ADMIN_DASHBOARD_H

#include "core/service.h"

extern const unsigned char dashboard_page[];
extern const size_t dashboard_page_bytes;
/* Lets nothing but that page's own script and style run, named by their hashes. */
extern const char dashboard_policy[];

void dashboard_show(const struct process_view *, const struct service_request *,
		    struct service_reply *);

#endif
