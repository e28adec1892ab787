/* stats.h - what is counted, by whom, and how it is read.
 *
 * Every cell belongs to one worker, which alone writes it (relaxed load and store, no lock, no read-modify-write); readers sum over
 * workers.  Identities (routes by name, listeners by address text) outlive reloads, so that counters never fall. */
#ifndef CORE_STATS_H
#define CORE_STATS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/reason.h"
#include "base/stat.h"
#include "filters/filter.h"
#include "http/head.h"

struct stats;          /* all of them */
struct route_stats;    /* of one route, all workers */
struct listener_stats; /* of one listener, all workers */

/* Everything known of a call at its end: metrics and the access log are made of this and nothing else. */
struct call_record {
	struct route_stats *route;
	const char *route_name;       /* NULL: none matched */
	const struct head *req;       /* method and target may be empty (malformed head) */
	const struct head *resp;      /* what was sent, NULL: nothing */
	uint16_t status;              /* sent to the client; 0: nothing was sent */
	const struct reason *why;
	struct ip client;
	uint16_t client_port;         /* of the peer */
	bool client_is_unix;
	uint64_t start_wall_ns;
	uint64_t start_ns, end_ns;    /* monotonic: head complete; last byte written */
	uint64_t head_sent_ns;        /* response head given to the client; 0: never */
	uint64_t queued_ns;           /* spent waiting in filters */
	uint64_t upstream_ns;         /* from the first byte sent upstream to the last received; 0: none */
	uint64_t overhead_ns;         /* spent in Weir itself: duration less waiting for upstream, client and filters; UINT64_MAX: not known */
	uint64_t bytes_in, bytes_out; /* bodies */
	uint8_t attempts;
	const char *upstream;         /* cluster, NULL: none asked */
	const char *endpoint;         /* address text of the last attempt, NULL: none */
	bool denied;                  /* by a filter */
	struct limit_info limit;      /* limit.policy NULL: none */
	uint64_t retry_after_ms;      /* 0: none was sent */
	struct slice request_id, trace_id;
};

struct stats *stats_new(unsigned workers);
void stats_free(struct stats *);

/* Control thread: by name, counted. */
struct route_stats *stats_route_get(struct stats *, const char *name);
void stats_route_put(struct stats *, struct route_stats *);
struct listener_stats *stats_listener_get(struct stats *, const char *addr_text);
void stats_listener_put(struct stats *, struct listener_stats *);

/* Worker w. */
void stats_call_begin(struct route_stats *, unsigned w); /* in-flight gauge */
void stats_call_end(struct route_stats *, unsigned w, const struct call_record *); /* all the rest, and the gauge back */
void stats_conn_open(struct listener_stats *, unsigned w);
void stats_conn_close(struct listener_stats *, unsigned w);
void stats_conn_refused(struct listener_stats *, unsigned w, const struct reason *);
/* How late a loop turn came, or how long its callbacks took. */
void stats_loop_lag(struct stats *, unsigned w, uint64_t ns);
/* Attempt duration of one upstream. */
void stats_attempt(struct stats *, unsigned w, const char *upstream, uint64_t ns);

#endif
