/* probes.c - what a kubelet and a Prometheus ask.
 *
 * Readiness never depends on an upstream or a store: a sidecar that has no one to talk to still has
 * answers to give, and restarting or cutting it off mends nothing.
 *
 * /live and /ready cost next to nothing and are always answered; /metrics has a budget, as anybody in the network may ask. */
#include "admin/admin.h"
#include "admin/metrics.h"
#include "admin/page.h"

static void show_live(const struct process_view *view, const struct service_request *req,
		      struct service_reply *reply)
{
	(void)view;
	(void)req;
	page_text(reply, 200, "live");
}

static void show_ready(const struct process_view *view, const struct service_request *req,
		       struct service_reply *reply)
{
	(void)req;
	if (view->draining)
		page_text(reply, 503, "draining");
	else if (!view->ready)
		page_text(reply, 503, "starting");
	else
		page_text(reply, 200, "ready");
}

static void show_metrics(const struct process_view *view, const struct service_request *req,
			 struct service_reply *reply)
{
	(void)req;
	if (!page_afford(&view->budgets->scrapes, view->now_ns,
			 view->policy->config->probes.scrapes, reply))
		return;
	reply->status = 200;
	reply->content_type = "text/plain; version=0.0.4; charset=utf-8";
	metrics_render(view, &reply->body);
}

static void handle(const struct process_view *view, const struct service_request *req,
		   struct service_reply *reply)
{
	static const struct page pages[] = {
		{ .path = "/live", .show = show_live },
		{ .path = "/ready", .show = show_ready },
		{ .path = "/metrics", .show = show_metrics },
		{ .path = NULL },
	};

	page_show(pages, view, req, reply);
}

const struct service probes_service = { .name = "probes", .handle = handle };
