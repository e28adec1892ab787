/* metrics_upstream.c - metric families of endpoints. */
#include "admin/metrics_internal.h"

#include <string.h>

/*---------------------------------------------------------------- upstreams */

/* An endpoint that stands twice in its cluster is one endpoint. */
static bool member_before(const struct cluster *c, uint32_t at)
{
	for (uint32_t i = 0; i < at; i++)
		if (c->member[i].endpoint == c->member[at].endpoint)
			return true;
	return false;
}

static void each_endpoint(struct render *r, void (*visit)(struct render *, const struct endpoint *))
{
	const struct policy *p = r->view->policy;

	for (uint32_t i = 0; i < p->n_clusters; i++)
		for (uint32_t k = 0; k < p->cluster[i]->n; k++)
			if (!member_before(p->cluster[i], k))
				visit(r, p->cluster[i]->member[k].endpoint);
}

static void endpoint_labels(struct render *r, const struct endpoint *e)
{
	metric_label(r, "upstream", e->cluster);
	metric_label(r, "endpoint", e->text);
}

static void visit_attempts(struct render *r, const struct endpoint *e)
{
	static const char *const names[ENDPOINT_RESULTS] = {
		[ENDPOINT_OK] = "ok", [ENDPOINT_FAILED] = "failed", [ENDPOINT_ABORTED] = "aborted"
	};

	for (unsigned i = 0; i < ENDPOINT_RESULTS; i++) {
		endpoint_labels(r, e);
		metric_label(r, "result", names[i]);
		metric_sample(r, endpoint_attempts(e, (enum endpoint_result)i));
	}
}

static void upstream_attempts(struct render *r)
{
	each_endpoint(r, visit_attempts);
}

static void visit_connections(struct render *r, const struct endpoint *e)
{
	uint32_t all = endpoint_connections(e), idle = endpoint_idle(e);

	endpoint_labels(r, e);
	metric_label(r, "state", "active");
	metric_sample(r, all > idle ? all - idle : 0); /* read at different moments */
	endpoint_labels(r, e);
	metric_label(r, "state", "idle");
	metric_sample(r, idle);
}

static void upstream_connections(struct render *r)
{
	each_endpoint(r, visit_connections);
}

static void visit_up(struct render *r, const struct endpoint *e)
{
	endpoint_labels(r, e);
	metric_sample(r, endpoint_is_up(e));
}

static void upstream_up(struct render *r)
{
	each_endpoint(r, visit_up);
}

static void visit_checks(struct render *r, const struct endpoint *e)
{
	const struct endpoint_health *h = &e->health;

	if (!atomic_load_explicit(&h->checked, memory_order_relaxed))
		return;
	for (unsigned i = 0; i < CHECK_RESULTS; i++) {
		endpoint_labels(r, e);
		metric_label(r, "result", check_result_names[i]);
		metric_sample(r, atomic_load_explicit(&h->results[i], memory_order_relaxed));
	}
}

static void upstream_checks(struct render *r)
{
	each_endpoint(r, visit_checks);
}

static void visit_upstream(void *arg, const char *upstream, const struct stat_sum *sum)
{
	metric_label(arg, "upstream", upstream);
	metric_hist(arg, stat_bounds_call, sum);
}

struct upstream_search {
	const char *name;
	bool found;
};

static void visit_search(void *arg, const char *upstream, const struct stat_sum *sum)
{
	struct upstream_search *s = arg;

	(void)sum;
	s->found |= strcmp(upstream, s->name) == 0;
}

static void upstream_duration(struct render *r)
{
	const struct policy *p = r->view->policy;

	stats_each_upstream(r->view->stats, visit_upstream, r);
	for (uint32_t i = 0; i < p->n_clusters; i++) {
		struct upstream_search s = { .name = p->cluster[i]->name };
		struct stat_sum none = { 0 };

		stats_each_upstream(r->view->stats, visit_search, &s);
		if (!s.found)
			visit_upstream(r, s.name, &none);
	}
}

/*---------------------------------------------------------------- families */

const struct family metrics_upstream[] = {
	COUNTER("weir_upstream_attempts_total", upstream_attempts,
		"Calls handed to an endpoint, by how they ended."),
	HISTOGRAM("weir_upstream_attempt_duration_seconds", upstream_duration,
		  "How long an endpoint had a call."),
	GAUGE("weir_upstream_connections", upstream_connections,
	      "Open connections to an endpoint."),
	GAUGE(
	    "weir_upstream_endpoint_up", upstream_up,
	    "1 when an endpoint is sent calls: it has an address, its checks pass, and nobody took "
	    "it out."),
	COUNTER("weir_upstream_health_checks_total", upstream_checks,
		"Checks of an endpoint, by how they ended."),
	{ .name = NULL },
};
