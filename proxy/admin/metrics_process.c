/* metrics_process.c - metric families of the process, its listeners, their TLS and who is proven. */
#include "admin/metrics_internal.h"

#include <string.h>

#include "base/clock.h"
#include "base/event.h"
#include "base/log.h"
#include "core/tracing.h"

#ifndef WEIR_REVISION
#define WEIR_REVISION "unknown"
#endif

/*---------------------------------------------------------------- the process */

static void build_info(struct render *r)
{
	metric_label(r, "version", WEIR_VERSION);
	metric_label(r, "revision", WEIR_REVISION);
	metric_label(r, "compiler", __VERSION__);
	metric_label(r, "openssl", tls_library());
	metric_sample(r, 1);
}

static void config_info(struct render *r)
{
	metric_label(r, "sha256", r->view->policy->hash);
	metric_sample(r, 1);
}

static void config_last_reload(struct render *r)
{
	metric_sample(r, atomic_load(&r->view->reload->last_ok));
}

static void config_last_success(struct render *r)
{
	metric_seconds(r, atomic_load(&r->view->reload->last_ok_wall_ns) / CLOCK_MS * CLOCK_MS);
}

static void config_reloads(struct render *r)
{
	metric_label(r, "result", "success");
	metric_sample(r, atomic_load(&r->view->reload->ok_count));
	metric_label(r, "result", "failure");
	metric_sample(r, atomic_load(&r->view->reload->failed_count));
}

static void config_generations(struct render *r)
{
	metric_sample(r, r->view->policies);
}

static void draining(struct render *r)
{
	metric_sample(r, r->view->draining);
}

static void workers(struct render *r)
{
	metric_sample(r, r->view->workers);
}

static void overhead(struct render *r)
{
	struct stat_sum sum;

	stats_overhead(r->view->stats, &sum);
	metric_hist(r, stat_bounds_inner, &sum);
}

static void loop_lag(struct render *r)
{
	struct stat_sum sum;

	stats_lag(r->view->stats, &sum);
	metric_hist(r, stat_bounds_inner, &sum);
}

static void log_lines_dropped(struct render *r)
{
	metric_sample(r, r->view->access_lines_dropped + log_dropped());
}

static void otlp_spans(struct render *r)
{
	for (int i = 0; i < SPAN_RESULTS; i++) {
		metric_label(r, "result", span_result_names[i]);
		metric_sample(r, r->view->tracing == NULL
				     ? 0
				     : tracing_count(r->view->tracing, (enum span_result)i));
	}
}

static void memory_limit(struct render *r)
{
	metric_sample(r, atomic_load(&r->view->memory->limit_bytes));
}

static void memory_used(struct render *r)
{
	metric_sample(r, atomic_load(&r->view->memory->used_bytes));
}

static void memory_refusing(struct render *r)
{
	metric_sample(r, atomic_load(&r->view->memory->refusing));
}

static void memory_times(struct render *r)
{
	metric_sample(r, atomic_load(&r->view->memory->times));
}

static void process_cpu(struct render *r)
{
	metric_seconds(r, r->process.cpu_ns);
}

static void process_resident(struct render *r)
{
	metric_sample(r, r->process.resident_bytes);
}

static void process_virtual(struct render *r)
{
	metric_sample(r, r->process.virtual_bytes);
}

static void process_open_fds(struct render *r)
{
	metric_sample(r, r->process.open_fds);
}

static void process_max_fds(struct render *r)
{
	metric_sample(r, r->process.max_fds);
}

static void process_start(struct render *r)
{
	metric_seconds(r, r->view->start_wall_ns / CLOCK_MS * CLOCK_MS);
}

/*---------------------------------------------------------------- listeners */

static void visit_active(void *arg, const struct listener_stats *l)
{
	metric_label(arg, "listener", listener_stats_name(l));
	metric_sample(arg, listener_stats_active(l));
}

static void connections_active(struct render *r)
{
	stats_each_listener(r->view->stats, visit_active, r);
}

static void visit_total(void *arg, const struct listener_stats *l)
{
	metric_label(arg, "listener", listener_stats_name(l));
	metric_sample(arg, listener_stats_total(l));
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
		    i != REASON_memory_short && i != REASON_out_of_memory)
			continue;
		metric_label(arg, "listener", listener_stats_name(l));
		metric_label(arg, "reason", reason_table[i].token);
		metric_sample(arg, n);
	}
}

static void connections_refused(struct render *r)
{
	stats_each_listener(r->view->stats, visit_refused, r);
}

static void visit_pauses(void *arg, const struct listener_stats *l)
{
	metric_label(arg, "listener", listener_stats_name(l));
	metric_sample(arg, listener_stats_pauses(l));
}

static void accept_pauses(struct render *r)
{
	stats_each_listener(r->view->stats, visit_pauses, r);
}

static void visit_floods(void *arg, const struct listener_stats *l)
{
	for (unsigned i = 0; i < H2_FLOODS; i++) {
		metric_label(arg, "listener", listener_stats_name(l));
		metric_label(arg, "kind", h2_flood_tokens[i]);
		metric_sample(arg, listener_stats_flooded(l, (enum h2_flood)i));
	}
}

static void http2_floods(struct render *r)
{
	stats_each_listener(r->view->stats, visit_floods, r);
}

static void visit_handshaking(void *arg, const struct listener_stats *l)
{
	metric_label(arg, "listener", listener_stats_name(l));
	metric_sample(arg, listener_stats_handshaking(l));
}

static void tls_handshaking(struct render *r)
{
	stats_each_listener(r->view->stats, visit_handshaking, r);
}

static void visit_handshakes(void *arg, const struct listener_stats *l)
{
	for (enum handshake_end end = 0; end < HANDSHAKE_ENDS; end++) {
		metric_label(arg, "listener", listener_stats_name(l));
		metric_label(arg, "result", handshake_end_names[end]);
		metric_sample(arg, listener_stats_handshakes(l, end));
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
			metric_label(r, "method", auth_method_names[m]);
			metric_label(r, "result", auth_outcomes[i].name);
			metric_sample(r, stats_auth_read(r->view->stats, m, (enum auth_outcome)i));
		}
	}
}

static void auth_cache(struct render *r)
{
	for (int hit = 1; has_method(r, AUTH_JWT) && hit >= 0; hit--) {
		metric_label(r, "result", hit ? "hit" : "miss");
		metric_sample(r, stats_auth_cached_read(r->view->stats, hit));
	}
}

static void certificate(struct render *r, const char *key, const char *owner,
			struct tls_certificate c)
{
	metric_label(r, key, owner);
	metric_label(r, "certificate", c.path);
	metric_sample(r, c.not_after_s > 0 ? (uint64_t)c.not_after_s : 0);
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

static void events(struct render *r)
{
	for (enum log_level l = LOG_INFO; l <= LOG_ERROR; l++) {
		metric_label(r, "level", log_level_name(l));
		metric_sample(r, events_count(l));
	}
}

static void event_room(struct render *r)
{
	metric_sample(r, events_room());
}

static void pages_refused(struct render *r)
{
	metric_label(r, "listener", "admin");
	metric_sample(r, atomic_load(&r->view->budgets->admin.refused));
	metric_label(r, "listener", "probes");
	metric_sample(r, atomic_load(&r->view->budgets->scrapes.refused));
}

static void denied(struct render *r)
{
	static const char *const why[SERVICE_DENIALS] = {
		[DENIED_NO_TOKEN] = "no_token",
		[DENIED_WRONG_TOKEN] = "wrong_token",
		[DENIED_FOREIGN_HOST] = "foreign_host",
	};

	for (unsigned i = 0; i < SERVICE_DENIALS; i++) {
		metric_label(r, "reason", why[i]);
		metric_sample(r, atomic_load(&r->view->denials->n[i]));
	}
}

static void event_streams(struct render *r)
{
	metric_sample(r, r->view->streams);
}

static void events_missed(struct render *r)
{
	metric_sample(r, r->view->events_missed);
}

/*---------------------------------------------------------------- families */

const struct family metrics_process[] = {
	GAUGE("weir_build_info", build_info, "What this Weir was built from; always 1."),
	GAUGE("weir_config_info", config_info, "Hash of the configuration in force; always 1."),
	GAUGE("weir_config_last_reload_successful", config_last_reload,
	      "Whether the last reload took effect."),
	GAUGE("weir_config_last_reload_success_timestamp_seconds", config_last_success,
	      "When a configuration last took effect."),
	COUNTER("weir_config_reloads_total", config_reloads, "Reloads, by how they ended."),
	GAUGE("weir_config_generations", config_generations,
	      "Configurations alive: the one in force, and older ones that calls still run under."),
	GAUGE("weir_draining", draining, "1 while shutting down, or told to be passed over."),
	COUNTER("weir_admin_requests_refused_total", pages_refused,
		"Requests beyond `admin.requests` and `probes.scrapes`."),
	COUNTER("weir_admin_denied_total", denied,
		"Requests that the admin listener let in to nothing, by what was wrong with them."),
	COUNTER("weir_events_total", events, "What an operator should know, see `/events`."),
	GAUGE("weir_events_room", event_room, "How many of them are kept, see `admin.events`."),
	GAUGE("weir_event_streams", event_streams,
	      "Callers that follow `/events`, see `admin.streams`."),
	COUNTER(
	    "weir_events_missed_total", events_missed,
	    "Events that callers who follow them did not read in time, each caller for itself."),
	GAUGE("weir_workers", workers, "Event loops."),
	GAUGE("weir_connections_active", connections_active, "Open client connections."),
	COUNTER("weir_connections_total", connections_total, "Client connections accepted."),
	COUNTER("weir_connections_refused_total", connections_refused,
		"Client connections turned away."),
	COUNTER("weir_accept_pauses_total", accept_pauses,
		"How often no descriptor was left for clients: those who came then have waited."),
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
	HISTOGRAM("weir_overhead_seconds", overhead,
		  "What Weir itself adds to a call: its duration less all waiting for others."),
	COUNTER("weir_log_lines_dropped_total", log_lines_dropped,
		"Log lines that their target was too slow for."),
	COUNTER("weir_otlp_spans_total", otlp_spans,
		"Spans of calls that are traced, by what became of them."),
	HISTOGRAM("weir_loop_lag_seconds", loop_lag,
		  "How long an event loop was busy in one turn."),
	GAUGE("weir_memory_limit_bytes", memory_limit,
	      "What the cgroup may use before the kernel kills; 0: no limit."),
	GAUGE("weir_memory_used_bytes", memory_used,
	      "What it uses of that, without pages of files; 0 where there is no limit."),
	GAUGE("weir_memory_refusing", memory_refusing,
	      "1 while new calls are refused for it, see `memory.refuse_above`."),
	COUNTER("weir_memory_shortages_total", memory_times,
		"How often calls have begun to be refused for it."),
	COUNTER("process_cpu_seconds_total", process_cpu, "User and system CPU time."),
	GAUGE("process_resident_memory_bytes", process_resident, "Resident memory."),
	GAUGE("process_virtual_memory_bytes", process_virtual, "Virtual memory."),
	GAUGE("process_open_fds", process_open_fds, "Open file descriptors."),
	GAUGE("process_max_fds", process_max_fds, "File descriptors there may be."),
	GAUGE("process_start_time_seconds", process_start, "Start, since the Unix epoch."),
	{ .name = NULL },
};
