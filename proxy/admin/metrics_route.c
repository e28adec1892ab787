/* metrics_route.c - metric families of calls, by route. */
#include "admin/metrics_internal.h"

#include <stdio.h>
#include <string.h>

#include "core/grpc.h"
#include "filters/stats.h"

/*---------------------------------------------------------------- routes */

/* The route of the policy in force that these statistics belong to; NULL: none, or one of an older
 * policy. */
static const struct route *route_of(const struct render *r, const struct route_stats *stats)
{
	const struct policy *p = r->view->policy;

	for (uint32_t i = 0; i < p->n_routes; i++)
		if (p->route[i].stats == stats)
			return &p->route[i];
	return NULL;
}

struct route_visit {
	struct render *render;
	const struct route_stats *stats;
	const struct route *route;
};

static struct route_visit visit_begin(void *arg, const struct route_stats *stats)
{
	struct render *r = arg;

	return (struct route_visit){ .render = r, .stats = stats, .route = route_of(r, stats) };
}

static bool route_takes(const struct route *route, struct slice method)
{
	const struct conf_list *methods = &route->conf->match.methods;
	const char *const *item = methods->item;

	for (uint32_t i = 0; i < methods->n; i++)
		if (slice_is(method, item[i]))
			return true;
	return methods->n == 0 && (slice_is(method, "GET") || slice_is(method, "POST"));
}

static const unsigned known_codes[] = { 200, 404 };

/* Shown even when it has not occurred. */
static bool request_is_known(const struct route_visit *v, enum method_id method, unsigned status)
{
	if (v->route == NULL)
		return v->stats == v->render->view->policy->no_route && method == METHOD_GET &&
		       status == 404;
	return status == 200 && method != METHOD_OTHER &&
	       route_takes(v->route, method_names[method]);
}

static void request_sample(const struct route_visit *v, enum method_id method, unsigned status,
			   uint64_t n)
{
	char code[8] = "_OTHER";
	struct render *r = v->render;

	if (status < STATUS_OTHER)
		snprintf(code, sizeof(code), "%u", status);
	metric_label(r, "route", route_stats_name(v->stats));
	metric_label(r, "method", method_names[method].p);
	metric_label(r, "code", code);
	metric_sample(r, n);
}

static void visit_request(void *arg, enum method_id method, unsigned status, uint64_t n)
{
	const struct route_visit *v = arg;

	if (!request_is_known(v, method, status))
		request_sample(v, method, status, n);
}

static void known_request(const struct route_visit *v, enum method_id method, unsigned status)
{
	if (request_is_known(v, method, status))
		request_sample(v, method, status, route_stats_request(v->stats, method, status));
}

static void visit_requests(void *arg, const struct route_stats *stats)
{
	struct route_visit v = visit_begin(arg, stats);

	for (unsigned m = 0; m < METHOD_COUNT; m++)
		for (size_t i = 0; i < COUNT_OF(known_codes); i++)
			known_request(&v, (enum method_id)m, known_codes[i]);
	route_stats_requests(stats, visit_request, &v);
}

static void requests_total(struct render *r)
{
	stats_each_route(r->view->stats, visit_requests, r);
}

/* Of routes that have had calls of gRPC. */
static void visit_grpc(void *arg, const struct route_stats *stats)
{
	uint64_t n[GRPC_CODES + 1], sum = 0;

	for (unsigned code = 0; code <= GRPC_CODES; code++)
		sum += n[code] = route_stats_grpc(stats, code);
	for (unsigned code = 0; code <= GRPC_CODES && sum > 0; code++) {
		char text[12] = "_OTHER";

		if (code < GRPC_CODES)
			snprintf(text, sizeof(text), "%u", code);
		metric_label(arg, "route", route_stats_name(stats));
		metric_label(arg, "grpc_status", text);
		metric_sample(arg, n[code]);
	}
}

static void grpc_requests_total(struct render *r)
{
	stats_each_route(r->view->stats, visit_grpc, r);
}

static const enum reason_index route_reasons[] = { REASON_no_endpoint,  REASON_body_too_large,
						   REASON_body_timeout, REASON_bad_chunk,
						   REASON_draining,     REASON_memory_short };
static const enum reason_index no_route_reasons[] = {
	REASON_no_route,       REASON_bad_request,     REASON_bad_host,     REASON_bad_framing,
	REASON_bad_field,      REASON_bad_version,     REASON_bad_coding,   REASON_connect_refused,
	REASON_head_too_large, REASON_target_too_long, REASON_head_timeout, REASON_draining,
};

/* Whether this is among the reasons that its kind has. */
static bool may_refuse(const struct filter *f, const struct reason *why)
{
	for (size_t i = 0; i < COUNT_OF(f->ops->refusals); i++)
		if (f->ops->refusals[i] != REASON_ok && f->ops->refusals[i] == why->index)
			return true;
	return false;
}

static bool reason_in(const enum reason_index *list, size_t n, const struct reason *why)
{
	for (size_t i = 0; i < n; i++)
		if (list[i] == why->index)
			return true;
	return false;
}

/* As request_is_known. */
static bool rejection_is_known(const struct route_visit *v, const char *policy,
			       const struct reason *why)
{
	if (why == NULL)
		return false;
	if (policy[0] == '\0' && v->route != NULL)
		return reason_in(route_reasons, COUNT_OF(route_reasons), why);
	if (policy[0] == '\0')
		return v->stats == v->render->view->policy->no_route &&
		       reason_in(no_route_reasons, COUNT_OF(no_route_reasons), why);
	for (unsigned i = 0; v->route != NULL && i < v->route->chain.n; i++)
		if (strcmp(v->route->chain.filter[i]->name, policy) == 0)
			return may_refuse(v->route->chain.filter[i], why);
	return false;
}

static void rejection_sample(const struct route_visit *v, const char *policy,
			     const struct reason *why, uint64_t n)
{
	metric_label(v->render, "route", route_stats_name(v->stats));
	metric_label(v->render, "policy", policy);
	metric_label(v->render, "reason", why == NULL ? "_OTHER" : why->token);
	metric_sample(v->render, n);
}

static void visit_rejection(void *arg, const char *policy, const struct reason *why, uint64_t n)
{
	const struct route_visit *v = arg;

	if (!rejection_is_known(v, policy, why))
		rejection_sample(v, policy, why, n);
}

/* A chain may hold a policy only once, so no series comes twice. */
static void known_rejections(const struct route_visit *v, const char *policy)
{
	for (unsigned i = 0; i < REASON_COUNT; i++)
		if (rejection_is_known(v, policy, &reason_table[i]))
			rejection_sample(v, policy, &reason_table[i],
					 route_stats_rejection(v->stats, policy, &reason_table[i]));
}

static bool named_before(const struct chain *chain, unsigned at)
{
	for (unsigned i = 0; i < at; i++)
		if (strcmp(chain->filter[i]->name, chain->filter[at]->name) == 0)
			return true;
	return false;
}

static void visit_rejections(void *arg, const struct route_stats *stats)
{
	struct route_visit v = visit_begin(arg, stats);

	known_rejections(&v, "");
	for (unsigned i = 0; v.route != NULL && i < v.route->chain.n; i++)
		if (!named_before(&v.route->chain, i))
			known_rejections(&v, v.route->chain.filter[i]->name);
	route_stats_rejections(stats, visit_rejection, &v);
}

static void rejections_total(struct render *r)
{
	stats_each_route(r->view->stats, visit_rejections, r);
}

/* Of routes whose policies try again. */
static void each_again(void *arg, const struct route_stats *stats, enum again_label first,
		       enum again_label last)
{
	struct route_visit v = visit_begin(arg, stats);

	if (v.route == NULL || !chain_retries(&v.route->chain))
		return;
	for (enum again_label a = first; a <= last; a++) {
		metric_label(arg, "route", route_stats_name(stats));
		metric_label(arg, "reason", again_names[a]);
		metric_sample(arg, route_stats_again(stats, a));
	}
}

static void visit_retries(void *arg, const struct route_stats *stats)
{
	each_again(arg, stats, AGAIN_CONNECT, AGAIN_HEDGE);
}

static void retries(struct render *r)
{
	stats_each_route(r->view->stats, visit_retries, r);
}

static void visit_suppressed(void *arg, const struct route_stats *stats)
{
	each_again(arg, stats, AGAIN_NO_MORE, AGAIN_REFUSED);
}

static void retries_suppressed(struct render *r)
{
	stats_each_route(r->view->stats, visit_suppressed, r);
}

static void route_counter(void *arg, const struct route_stats *stats, enum route_counter which)
{
	metric_label(arg, "route", route_stats_name(stats));
	metric_sample(arg, route_stats_read(stats, which));
}

static void visit_in_flight(void *arg, const struct route_stats *stats)
{
	route_counter(arg, stats, ROUTE_IN_FLIGHT);
}

static void requests_in_flight(struct render *r)
{
	stats_each_route(r->view->stats, visit_in_flight, r);
}

static void visit_bytes_in(void *arg, const struct route_stats *stats)
{
	route_counter(arg, stats, ROUTE_BYTES_IN);
}

static void request_bytes(struct render *r)
{
	stats_each_route(r->view->stats, visit_bytes_in, r);
}

static void visit_bytes_out(void *arg, const struct route_stats *stats)
{
	route_counter(arg, stats, ROUTE_BYTES_OUT);
}

static void response_bytes(struct render *r)
{
	stats_each_route(r->view->stats, visit_bytes_out, r);
}

static void visit_aborts(void *arg, const struct route_stats *stats)
{
	route_counter(arg, stats, ROUTE_ABORTS);
}

static void client_aborts(struct render *r)
{
	stats_each_route(r->view->stats, visit_aborts, r);
}

static void visit_duration(void *arg, const struct route_stats *stats)
{
	struct stat_sum sum;

	route_stats_duration(stats, &sum);
	metric_label(arg, "route", route_stats_name(stats));
	metric_hist(arg, stat_bounds_call, &sum);
}

static void request_duration(struct render *r)
{
	stats_each_route(r->view->stats, visit_duration, r);
}

static void visit_start(void *arg, const struct route_stats *stats)
{
	struct stat_sum sum;

	route_stats_start(stats, &sum);
	metric_label(arg, "route", route_stats_name(stats));
	metric_hist(arg, stat_bounds_call, &sum);
}

static void response_start(struct render *r)
{
	stats_each_route(r->view->stats, visit_start, r);
}

/*---------------------------------------------------------------- families */

const struct family metrics_route[] = {
	COUNTER("weir_requests_total", requests_total,
		"Calls that ended; code 0: nothing was sent to the client."),
	COUNTER("weir_grpc_requests_total", grpc_requests_total,
		"Calls of gRPC that ended, by their grpc-status; _OTHER: none was sent."),
	GAUGE("weir_requests_in_flight", requests_in_flight, "Calls under way."),
	HISTOGRAM("weir_request_duration_seconds", request_duration,
		  "From a whole request head to the last byte of the answer."),
	HISTOGRAM("weir_response_start_seconds", response_start,
		  "From a whole request head to the answer's head."),
	COUNTER("weir_request_bytes_total", request_bytes, "Bytes of request bodies."),
	COUNTER("weir_response_bytes_total", response_bytes, "Bytes of response bodies."),
	COUNTER("weir_rejections_total", rejections_total,
		"Calls refused, by the policy that did (empty: Weir itself)."),
	COUNTER("weir_client_aborts_total", client_aborts, "Calls whose client went away."),
	COUNTER("weir_retries_total", retries, "Calls tried once more, by what had failed."),
	COUNTER("weir_retries_suppressed_total", retries_suppressed,
		"Failures that were not tried again, by what forbade it."),
	{ .name = NULL },
};
