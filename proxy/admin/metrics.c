/* metrics.c - one table of metric families; a row's function prints its samples.
 *
 * Laws: M1 a series that can be known is there from the start, as 0.  M2 no label holds anything
 * that a client chose: methods and codes come from bounded tables, names from the configuration. M3
 * a family's samples stand together, behind its HELP and TYPE. */
#include "admin/metrics.h"

#include <stdio.h>
#include <string.h>

#include "admin/process.h"
#include "base/clock.h"
#include "base/log.h"
#include "core/grpc.h"
#include "core/redis_set.h"
#include "filters/stats.h"

#ifndef WEIR_REVISION
#define WEIR_REVISION "unknown"
#endif

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

/* What is being printed. */
struct render {
	struct buf *out;
	const struct process_view *view;
	const struct family *family;
	struct buf labels; /* of the next sample: a="b",c="d" */
	struct process_usage process;
};

struct family {
	const char *name, *type, *help;
	void (*samples)(struct render *);
};

/*---------------------------------------------------------------- samples */

static void label(struct render *r, const char *key, const char *value)
{
	struct buf *b = &r->labels;

	if (b->n > 0)
		buf_putc(b, ',');
	buf_puts(b, key);
	buf_puts(b, "=\"");
	for (; *value != '\0'; value++) {
		if (*value == '\\' || *value == '"')
			buf_putc(b, '\\');
		if (*value == '\n')
			buf_puts(b, "\\n");
		else
			buf_putc(b, *value);
	}
	buf_putc(b, '"');
}

/* The name and the labels gathered so far. */
static void sample_name(struct render *r)
{
	buf_puts(r->out, r->family->name);
	if (r->labels.n > 0) {
		buf_putc(r->out, '{');
		buf_put(r->out, r->labels.p, r->labels.n);
		buf_putc(r->out, '}');
	}
	buf_putc(r->out, ' ');
	r->labels.n = 0;
}

static void sample(struct render *r, uint64_t v)
{
	sample_name(r);
	buf_u64(r->out, v);
	buf_putc(r->out, '\n');
}

static void sample_seconds(struct render *r, uint64_t ns)
{
	sample_name(r);
	stat_print_seconds(r->out, ns);
	buf_putc(r->out, '\n');
}

static void sample_hist(struct render *r, const uint64_t *bounds, const struct stat_sum *sum)
{
	stat_print_hist(r->out, r->family->name, r->labels.n > 0 ? r->labels.p : "", bounds, sum);
	r->labels.n = 0;
}

/*---------------------------------------------------------------- the process */

static void build_info(struct render *r)
{
	label(r, "version", WEIR_VERSION);
	label(r, "revision", WEIR_REVISION);
	label(r, "compiler", __VERSION__);
	label(r, "openssl", tls_library());
	sample(r, 1);
}

static void config_info(struct render *r)
{
	label(r, "sha256", r->view->policy->hash);
	sample(r, 1);
}

static void config_last_reload(struct render *r)
{
	sample(r, atomic_load(&r->view->reload->last_ok));
}

static void config_last_success(struct render *r)
{
	sample_seconds(r, atomic_load(&r->view->reload->last_ok_wall_ns) / CLOCK_MS * CLOCK_MS);
}

static void config_reloads(struct render *r)
{
	label(r, "result", "success");
	sample(r, atomic_load(&r->view->reload->ok_count));
	label(r, "result", "failure");
	sample(r, atomic_load(&r->view->reload->failed_count));
}

static void config_generations(struct render *r)
{
	sample(r, r->view->policies);
}

static void draining(struct render *r)
{
	sample(r, r->view->draining);
}

static void workers(struct render *r)
{
	sample(r, r->view->workers);
}

static void overhead(struct render *r)
{
	struct stat_sum sum;

	stats_overhead(r->view->stats, &sum);
	sample_hist(r, stat_bounds_inner, &sum);
}

static void loop_lag(struct render *r)
{
	struct stat_sum sum;

	stats_lag(r->view->stats, &sum);
	sample_hist(r, stat_bounds_inner, &sum);
}

static void log_lines_dropped(struct render *r)
{
	sample(r, r->view->access_lines_dropped + log_dropped());
}

static void process_cpu(struct render *r)
{
	sample_seconds(r, r->process.cpu_ns);
}

static void process_resident(struct render *r)
{
	sample(r, r->process.resident_bytes);
}

static void process_virtual(struct render *r)
{
	sample(r, r->process.virtual_bytes);
}

static void process_open_fds(struct render *r)
{
	sample(r, r->process.open_fds);
}

static void process_max_fds(struct render *r)
{
	sample(r, r->process.max_fds);
}

static void process_start(struct render *r)
{
	sample_seconds(r, r->view->start_wall_ns / CLOCK_MS * CLOCK_MS);
}

/*---------------------------------------------------------------- listeners */

static void visit_active(void *arg, const struct listener_stats *l)
{
	label(arg, "listener", listener_stats_name(l));
	sample(arg, listener_stats_active(l));
}

static void connections_active(struct render *r)
{
	stats_each_listener(r->view->stats, visit_active, r);
}

static void visit_total(void *arg, const struct listener_stats *l)
{
	label(arg, "listener", listener_stats_name(l));
	sample(arg, listener_stats_total(l));
}

static void connections_total(struct render *r)
{
	stats_each_listener(r->view->stats, visit_total, r);
}

static void visit_refused(void *arg, const struct listener_stats *l)
{
	for (unsigned i = 0; i < REASON_COUNT; i++) {
		uint64_t n = listener_stats_refused(l, &reason_table[i]);

		if (n == 0 && i != REASON_overload && i != REASON_handshakes_full &&
		    i != REASON_out_of_memory)
			continue;
		label(arg, "listener", listener_stats_name(l));
		label(arg, "reason", reason_table[i].token);
		sample(arg, n);
	}
}

static void connections_refused(struct render *r)
{
	stats_each_listener(r->view->stats, visit_refused, r);
}

static void visit_floods(void *arg, const struct listener_stats *l)
{
	for (unsigned i = 0; i < H2_FLOODS; i++) {
		label(arg, "listener", listener_stats_name(l));
		label(arg, "kind", h2_flood_tokens[i]);
		sample(arg, listener_stats_flooded(l, (enum h2_flood)i));
	}
}

static void http2_floods(struct render *r)
{
	stats_each_listener(r->view->stats, visit_floods, r);
}

static void visit_handshaking(void *arg, const struct listener_stats *l)
{
	label(arg, "listener", listener_stats_name(l));
	sample(arg, listener_stats_handshaking(l));
}

static void tls_handshaking(struct render *r)
{
	stats_each_listener(r->view->stats, visit_handshaking, r);
}

static void visit_handshakes(void *arg, const struct listener_stats *l)
{
	for (enum handshake_end end = 0; end < HANDSHAKE_ENDS; end++) {
		label(arg, "listener", listener_stats_name(l));
		label(arg, "result", handshake_end_names[end]);
		sample(arg, listener_stats_handshakes(l, end));
	}
}

static void tls_handshakes(struct render *r)
{
	stats_each_listener(r->view->stats, visit_handshakes, r);
}

/* Only what is configured is there to be seen. */
static bool has_method(const struct render *r, enum auth_method m)
{
	const struct auth_conf *conf = &r->view->policy->config->auth;

	return m == AUTH_JWT ? conf->jwt.jwks != NULL : conf->api_key.from.header != NULL;
}

static void auth_total(struct render *r)
{
	for (enum auth_method m = 0; m < AUTH_METHODS; m++) {
		for (unsigned i = 0; has_method(r, m) && i < AUTH_OUTCOMES; i++) {
			if (!(auth_outcomes[i].of & 1u << m))
				continue;
			label(r, "method", auth_method_names[m]);
			label(r, "result", auth_outcomes[i].name);
			sample(r, stats_auth_read(r->view->stats, m, (enum auth_outcome)i));
		}
	}
}

static void auth_cache(struct render *r)
{
	for (int hit = 1; has_method(r, AUTH_JWT) && hit >= 0; hit--) {
		label(r, "result", hit ? "hit" : "miss");
		sample(r, stats_auth_cached_read(r->view->stats, hit));
	}
}

static void certificate(struct render *r, const char *key, const char *owner,
			struct tls_certificate c)
{
	label(r, key, owner);
	label(r, "certificate", c.path);
	sample(r, c.not_after_s > 0 ? (uint64_t)c.not_after_s : 0);
}

/* A file that is named twice is one series. */
static bool was_shown(const struct tls_server *tls, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (strcmp(tls_server_certificate(tls, i).path,
			   tls_server_certificate(tls, n).path) == 0)
			return true;
	return false;
}

static void listener_certificates(struct render *r, const struct listen_conf *conf,
				  const struct tls_server *tls)
{
	char text[ADDR_TEXT_MAX];

	addr_format(&conf->addr, text);
	for (uint32_t i = 0; tls != NULL && i < tls_server_certificates(tls); i++)
		if (!was_shown(tls, i))
			certificate(r, "listener", text, tls_server_certificate(tls, i));
}

static void tls_expiry(struct render *r)
{
	const struct policy *p = r->view->policy;
	struct tls_certificate c;

	for (uint32_t i = 0; i < p->config->listen.n; i++)
		listener_certificates(r, (const struct listen_conf *)p->config->listen.item + i,
				      p->tls[i]);
	for (uint32_t i = 0; i < p->n_clusters; i++)
		if (p->cluster[i]->tls != NULL && tls_client_certificate(p->cluster[i]->tls, &c))
			certificate(r, "upstream", p->cluster[i]->name, c);
}

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
	label(r, "route", route_stats_name(v->stats));
	label(r, "method", method_names[method].p);
	label(r, "code", code);
	sample(r, n);
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
		label(arg, "route", route_stats_name(stats));
		label(arg, "grpc_status", text);
		sample(arg, n[code]);
	}
}

static void grpc_requests_total(struct render *r)
{
	stats_each_route(r->view->stats, visit_grpc, r);
}

static const enum reason_index route_reasons[] = { REASON_no_endpoint, REASON_body_too_large,
						   REASON_body_timeout, REASON_bad_chunk,
						   REASON_draining };
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
	label(v->render, "route", route_stats_name(v->stats));
	label(v->render, "policy", policy);
	label(v->render, "reason", why == NULL ? "_OTHER" : why->token);
	sample(v->render, n);
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
		label(arg, "route", route_stats_name(stats));
		label(arg, "reason", again_names[a]);
		sample(arg, route_stats_again(stats, a));
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
	label(arg, "route", route_stats_name(stats));
	sample(arg, route_stats_read(stats, which));
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
	label(arg, "route", route_stats_name(stats));
	sample_hist(arg, stat_bounds_call, &sum);
}

static void request_duration(struct render *r)
{
	stats_each_route(r->view->stats, visit_duration, r);
}

static void visit_start(void *arg, const struct route_stats *stats)
{
	struct stat_sum sum;

	route_stats_start(stats, &sum);
	label(arg, "route", route_stats_name(stats));
	sample_hist(arg, stat_bounds_call, &sum);
}

static void response_start(struct render *r)
{
	stats_each_route(r->view->stats, visit_start, r);
}

/*---------------------------------------------------------------- policies */

static void limit_decisions(struct render *r)
{
	const struct policy *p = r->view->policy;

	for (uint32_t i = 0; i < p->n_filters; i++) {
		for (unsigned d = 0; d < DECISION_COUNT; d++) {
			label(r, "policy", p->filter[i]->name);
			label(r, "decision", decision_names[d]);
			sample(r, filter_stats_read(p->filter[i]->stats, (enum decision)d));
		}
	}
}

struct shown {
	struct render *r;
	const struct filter *filter;
	enum filter_metric metric;
	const char *state_label;
};

static void show_sample(void *ctx, const struct filter_sample *s)
{
	const struct shown *shown = ctx;
	struct render *r = shown->r;

	if (s->metric != shown->metric)
		return;
	label(r, "policy", shown->filter->name);
	if (s->upstream != NULL)
		label(r, "upstream", s->upstream);
	if (s->endpoint != NULL)
		label(r, "endpoint", s->endpoint);
	if (s->state != NULL)
		label(r, shown->state_label, s->state);
	sample(r, s->value);
}

/* One metric of each policy that has it; `state_label`: what its states are called. */
static void each_shown(struct render *r, enum filter_metric metric, const char *state_label)
{
	const struct policy *p = r->view->policy;
	struct shown shown = { .r = r, .metric = metric, .state_label = state_label };

	for (uint32_t i = 0; i < p->n_filters; i++) {
		shown.filter = p->filter[i];
		if (shown.filter->ops->show != NULL)
			shown.filter->ops->show(shown.filter, show_sample, &shown);
	}
}

static void limit_keys(struct render *r)
{
	each_shown(r, SHOW_KEYS, NULL);
}

static void limit_evictions(struct render *r)
{
	each_shown(r, SHOW_KEY_EVICTIONS, NULL);
}

static void queue_length(struct render *r)
{
	each_shown(r, SHOW_QUEUE_LENGTH, NULL);
}

static void concurrency_in_use(struct render *r)
{
	each_shown(r, SHOW_CONCURRENCY, NULL);
}

static void concurrency_limit(struct render *r)
{
	each_shown(r, SHOW_CONCURRENCY_LIMIT, NULL);
}

static void queue_wait(struct render *r)
{
	const struct policy *p = r->view->policy;

	for (uint32_t i = 0; i < p->n_filters; i++) {
		struct stat_sum sum = { 0 };

		if (!filter_stats_waits(p->filter[i]->stats, &sum))
			continue;
		label(r, "policy", p->filter[i]->name);
		sample_hist(r, stat_bounds_call, &sum);
	}
}

static void breaker_state(struct render *r)
{
	each_shown(r, SHOW_BREAKER_STATE, "state");
}

static void breaker_transitions(struct render *r)
{
	each_shown(r, SHOW_BREAKER_TRANSITIONS, "to");
}

static void breaker_forced(struct render *r)
{
	each_shown(r, SHOW_BREAKER_FORCED, NULL);
}

/*---------------------------------------------------------------- redis */

static void redis_up(struct render *r)
{
	struct shared_gauge g;

	if (r->view->redis == NULL)
		return;
	redis_set_gauge(r->view->redis, &g);
	sample(r, !g.down);
}

static void redis_peers(struct render *r)
{
	struct shared_gauge g;

	if (r->view->redis == NULL)
		return;
	redis_set_gauge(r->view->redis, &g);
	sample(r, g.peers);
}

static void redis_operations(struct render *r)
{
	const struct redis_stats *s = r->view->redis == NULL ? NULL
							      : redis_set_stats(r->view->redis);

	for (unsigned i = 0; s != NULL && i < REDIS_RESULTS; i++) {
		label(r, "result", redis_result_names[i]);
		sample(r, stat_read(&s->results[i]));
	}
}

static void redis_duration(struct render *r)
{
	const struct redis_stats *s = r->view->redis == NULL ? NULL
							      : redis_set_stats(r->view->redis);
	struct stat_sum sum = { 0 };

	if (s == NULL)
		return;
	stat_sum_add(&sum, &s->took);
	sample_hist(r, stat_bounds_inner, &sum);
}

static void redis_fallbacks(struct render *r)
{
	each_shown(r, SHOW_FALLBACKS, "mode");
}

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
	label(r, "upstream", e->cluster);
	label(r, "endpoint", e->text);
}

static void visit_attempts(struct render *r, const struct endpoint *e)
{
	static const char *const names[ENDPOINT_RESULTS] = {
		[ENDPOINT_OK] = "ok", [ENDPOINT_FAILED] = "failed", [ENDPOINT_ABORTED] = "aborted"
	};

	for (unsigned i = 0; i < ENDPOINT_RESULTS; i++) {
		endpoint_labels(r, e);
		label(r, "result", names[i]);
		sample(r, endpoint_attempts(e, (enum endpoint_result)i));
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
	label(r, "state", "active");
	sample(r, all > idle ? all - idle : 0); /* read at different moments */
	endpoint_labels(r, e);
	label(r, "state", "idle");
	sample(r, idle);
}

static void upstream_connections(struct render *r)
{
	each_endpoint(r, visit_connections);
}

static void visit_up(struct render *r, const struct endpoint *e)
{
	endpoint_labels(r, e);
	sample(r, endpoint_is_up(e));
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
		label(r, "result", check_result_names[i]);
		sample(r, atomic_load_explicit(&h->results[i], memory_order_relaxed));
	}
}

static void upstream_checks(struct render *r)
{
	each_endpoint(r, visit_checks);
}

static void visit_upstream(void *arg, const char *upstream, const struct stat_sum *sum)
{
	label(arg, "upstream", upstream);
	sample_hist(arg, stat_bounds_call, sum);
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

/*---------------------------------------------------------------- all of them */

#define COUNTER(name_, samples_, help_)                                                    \
	{                                                                                  \
		.name = (name_), .type = "counter", .samples = (samples_), .help = (help_) \
	}
#define GAUGE(name_, samples_, help_)                                                    \
	{                                                                                \
		.name = (name_), .type = "gauge", .samples = (samples_), .help = (help_) \
	}
#define HISTOGRAM(name_, samples_, help_)                                                    \
	{                                                                                    \
		.name = (name_), .type = "histogram", .samples = (samples_), .help = (help_) \
	}

static const struct family families[] = {
	GAUGE("weir_build_info", build_info, "What this Weir was built from; always 1."),
	GAUGE("weir_config_info", config_info, "Hash of the configuration in force; always 1."),
	GAUGE("weir_config_last_reload_successful", config_last_reload,
	      "Whether the last reload took effect."),
	GAUGE("weir_config_last_reload_success_timestamp_seconds", config_last_success,
	      "When a configuration last took effect."),
	COUNTER("weir_config_reloads_total", config_reloads, "Reloads, by how they ended."),
	GAUGE("weir_config_generations", config_generations,
	      "Configurations alive: the one in force, and older ones that calls still run under."),
	GAUGE("weir_draining", draining, "1 while shutting down."),
	GAUGE("weir_workers", workers, "Event loops."),
	GAUGE("weir_connections_active", connections_active, "Open client connections."),
	COUNTER("weir_connections_total", connections_total, "Client connections accepted."),
	COUNTER("weir_connections_refused_total", connections_refused,
		"Client connections turned away."),
	COUNTER("weir_http2_floods_total", http2_floods,
		"Client connections ended for too many frames of one kind."),
	GAUGE("weir_tls_handshakes_in_progress", tls_handshaking,
	      "TLS handshakes of clients under way, see `limits.handshakes`."),
	COUNTER("weir_tls_handshakes_total", tls_handshakes,
		"TLS handshakes of clients that ended."),
	GAUGE("weir_tls_certificate_expiry_timestamp_seconds", tls_expiry,
	      "When the certificate, or the first to go of those behind it, expires."),
	COUNTER("weir_auth_total", auth_total,
		"Calls of routes that look at such credentials, by what became of these."),
	COUNTER("weir_auth_cache_total", auth_cache,
		"Tokens, by whether they were known from an earlier call."),
	COUNTER("weir_requests_total", requests_total,
		"Calls that ended; code 0: nothing was sent to the client."),
	COUNTER("weir_grpc_requests_total", grpc_requests_total,
		"Calls of gRPC that ended, by their grpc-status; _OTHER: none was sent."),
	GAUGE("weir_requests_in_flight", requests_in_flight, "Calls under way."),
	HISTOGRAM("weir_request_duration_seconds", request_duration,
		  "From a whole request head to the last byte of the answer."),
	HISTOGRAM("weir_response_start_seconds", response_start,
		  "From a whole request head to the answer's head."),
	HISTOGRAM("weir_overhead_seconds", overhead,
		  "What Weir itself adds to a call: its duration less all waiting for others."),
	COUNTER("weir_request_bytes_total", request_bytes, "Bytes of request bodies."),
	COUNTER("weir_response_bytes_total", response_bytes, "Bytes of response bodies."),
	COUNTER("weir_rejections_total", rejections_total,
		"Calls refused, by the policy that did (empty: Weir itself)."),
	COUNTER("weir_client_aborts_total", client_aborts, "Calls whose client went away."),
	COUNTER("weir_limit_decisions_total", limit_decisions, "What policies decided."),
	GAUGE("weir_limit_keys", limit_keys, "Keys that a policy keeps state of."),
	COUNTER("weir_limit_key_evictions_total", limit_evictions,
		"Keys that gave way to others in a full table."),
	GAUGE("weir_queue_length", queue_length, "Calls that wait in a policy's queue."),
	HISTOGRAM("weir_queue_wait_seconds", queue_wait,
		  "How long calls waited in a policy's queue, let in or not; those that need not "
		  "wait are not counted."),
	GAUGE("weir_concurrency_in_use", concurrency_in_use,
	      "Calls that a policy lets be under way."),
	GAUGE("weir_concurrency_limit", concurrency_limit,
	      "How many may be under way (of one key, where there is one)."),
	GAUGE("weir_breaker_state", breaker_state, "1 for the state that a breaker is in."),
	COUNTER("weir_breaker_transitions_total", breaker_transitions,
		"Changes of a breaker's state, by the new one."),
	GAUGE("weir_breaker_forced", breaker_forced, "1 while a breaker is forced open or closed."),
	COUNTER("weir_retries_total", retries, "Calls tried once more, by what had failed."),
	COUNTER("weir_retries_suppressed_total", retries_suppressed,
		"Failures that were not tried again, by what forbade it."),
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
	GAUGE("weir_redis_up", redis_up, "1 while Redis answers."),
	GAUGE("weir_redis_peers", redis_peers, "Replicas that share limits, as far as is known."),
	COUNTER("weir_redis_operations_total", redis_operations,
		"Calls of Redis, by what became of them."),
	HISTOGRAM("weir_redis_operation_duration_seconds", redis_duration,
		  "How long Redis took to answer."),
	COUNTER("weir_redis_fallback_decisions_total", redis_fallbacks,
		"Calls that were decided without Redis, by how."),
	COUNTER("weir_log_lines_dropped_total", log_lines_dropped,
		"Log lines that their target was too slow for."),
	HISTOGRAM("weir_loop_lag_seconds", loop_lag,
		  "How long an event loop was busy in one turn."),
	COUNTER("process_cpu_seconds_total", process_cpu, "User and system CPU time."),
	GAUGE("process_resident_memory_bytes", process_resident, "Resident memory."),
	GAUGE("process_virtual_memory_bytes", process_virtual, "Virtual memory."),
	GAUGE("process_open_fds", process_open_fds, "Open file descriptors."),
	GAUGE("process_max_fds", process_max_fds, "File descriptors there may be."),
	GAUGE("process_start_time_seconds", process_start, "Start, since the Unix epoch."),
};

void metrics_render(const struct process_view *view, struct buf *out)
{
	struct render r = { .out = out, .view = view };

	process_read(&r.process);
	for (size_t i = 0; i < COUNT_OF(families); i++) {
		r.family = &families[i];
		buf_printf(out, "# HELP %s %s\n# TYPE %s %s\n", r.family->name, r.family->help,
			   r.family->name, r.family->type);
		r.family->samples(&r);
	}
	out->oom |= r.labels.oom;
	buf_fini(&r.labels);
}
