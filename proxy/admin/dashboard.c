/* dashboard.c - sends the page for people. */
#include "admin/dashboard.h"

void dashboard_show(const struct process_view *view, const struct service_request *req,
		    struct service_reply *reply)
{
	(void)view;
	(void)req;
	reply->status = 200;
	reply->content_type = "text/html; charset=utf-8";
	reply->content_security_policy = dashboard_policy;
	buf_put(&reply->body, dashboard_page, dashboard_page_bytes);
}
