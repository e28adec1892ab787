/* stats.h - what is counted, by whom, and how it is read.
 *
 * Laws: K1 every cell belongs to one worker, which alone writes it (relaxed load and store, no
 * lock, no read-modify-write); readers sum over workers.  K2 identities (routes by name, listeners
 * by address text) outlive reloads, so that counters never fall.  K3 every table is bounded; what
 * does not fit is counted as _OTHER. */
#ifndef CORE_STATS_H
#define CORE_STATS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "auth/auth.h"
#include "base/addr.h"
#include "base/reason.h"
#include "base/stat.h"
#include "filters/filter.h"
#include "http/h2.h"
#include "http/head.h"

struct stats;          /* all of them */
struct route_stats;    /* of one route, all workers */
struct listener_stats; /* of one listener, all workers */

/* Everything known of a call at its end: metrics and the access log are made of this and nothing
 * else. */
struct call_record {
	struct route_stats *route;
	const char *route_name;  /* NULL: none matched */
	const struct head *req;  /* method and target may be empty (malformed head) */
	const struct head *resp; /* what was sent, NULL: nothing */
	uint16_t status;         /* sent to the client; 0: nothing was sent */
	bool grpc;               /* a call of gRPC */
	bool grpc_said;          /* and a grpc-status: */
	uint8_t grpc_code;
	const struct reason *why;
	struct ip client;
	uint16_t client_port; /* 0: others told of the client, and not that */
	bool client_is_unix;
	uint64_t start_wall_ns;
	uint64_t start_ns, end_ns; /* monotonic: head complete; last byte written */
	uint64_t head_sent_ns;     /* response head given to the client; 0: never */
	uint64_t queued_ns;        /* spent waiting in filters */
	uint64_t backoff_ns;       /* spent waiting before retries */
	uint64_t upstream_ns; /* from the first byte sent upstream to the last received; 0: none */
	uint64_t overhead_ns; /* spent in Weir itself: duration less waiting for upstream, client
				 and filters; UINT64_MAX: not known */
	uint64_t bytes_in, bytes_out; /* bodies */
	uint8_t attempts;
	const char *upstream;    /* cluster, NULL: none asked */
	const char *endpoint;    /* address text of the last attempt, NULL: none */
	bool denied;             /* by a filter */
	struct limit_info limit; /* limit.policy NULL: none */
	uint64_t retry_after_ms; /* 0: none was sent */
	struct slice request_id, trace_id;
	/* Of a trial that would have refused. */
	struct limit_info shadow;
};

/* NULL when memory is out.  1..64 workers. */
struct stats *stats_new(unsigned workers);
void stats_free(struct stats *);

/* Control thread: by name, counted; NULL when memory is out.  The last put forgets what was
 * counted. */
struct route_stats *stats_route_get(struct stats *, const char *name);
void stats_route_put(struct stats *, struct route_stats *);
struct listener_stats *stats_listener_get(struct stats *, const char *addr_text);
void stats_listener_put(struct stats *, struct listener_stats *);

/* Worker w. */
void stats_call_begin(struct route_stats *, unsigned w); /* in-flight gauge */
void stats_call_end(struct route_stats *, unsigned w,
		    const struct call_record *); /* all the rest, and the gauge back */
/* Another try, or why there is none. */
void stats_again(struct route_stats *, unsigned w, enum again_label);
void stats_conn_open(struct listener_stats *, unsigned w);
void stats_conn_close(struct listener_stats *, unsigned w);
void stats_conn_refused(struct listener_stats *, unsigned w, const struct reason *);
/* No descriptor is left for those who come. */
void stats_accept_paused(struct listener_stats *, unsigned w);
void stats_conn_flooded(struct listener_stats *, unsigned w, enum h2_flood);

/* How a client's TLS handshake ended. */
enum handshake_end {
	HANDSHAKE_FULL,
	HANDSHAKE_RESUMED, /* of an earlier session */
	HANDSHAKE_FAILED,
	HANDSHAKE_TIMEOUT,
	HANDSHAKE_ENDS
};

extern const char *const handshake_end_names[HANDSHAKE_ENDS]; /* labels */

void stats_handshake_begin(struct listener_stats *, unsigned w); /* the gauge of those under way */
void stats_handshake_end(struct listener_stats *, unsigned w, enum handshake_end);
/* How late a loop turn came, or how long its callbacks took. */
void stats_loop_lag(struct stats *, unsigned w, uint64_t ns);
/* What became of a credential; and whether its token was known already. */
void stats_auth(struct stats *, unsigned w, enum auth_method, enum auth_outcome);
void stats_auth_cached(struct stats *, unsigned w, bool hit);
/* Attempt duration of one upstream. */
void stats_attempt(struct stats *, unsigned w, const char *upstream, uint64_t ns);

/*---------------------------------------------------------------- reading: any thread */

/* A call that Weir refused of its own will: denied by a filter, dropped by its route, or by a row of
 * reason.def that is Weir's own and neither the upstream's fault nor a time-out. */
bool call_record_is_refusal(const struct call_record *);

void stats_overhead(const struct stats *, struct stat_sum *);
void stats_lag(const struct stats *, struct stat_sum *);
uint64_t stats_auth_read(const struct stats *, enum auth_method, enum auth_outcome);
uint64_t stats_auth_cached_read(const struct stats *, bool hit);

/* Visits come under a lock that only stats_*_get and _put also take. */
void stats_each_route(struct stats *, void (*visit)(void *arg, const struct route_stats *),
		      void *arg);
void stats_each_listener(struct stats *, void (*visit)(void *arg, const struct listener_stats *),
			 void *arg);
/* Attempt durations; `upstream` is "_OTHER" for those that found no place. */
void stats_each_upstream(const struct stats *,
			 void (*visit)(void *arg, const char *upstream, const struct stat_sum *),
			 void *arg);

enum route_counter {
	ROUTE_IN_FLIGHT,
	ROUTE_BYTES_IN,
	ROUTE_BYTES_OUT,
	ROUTE_ABORTS,
	ROUTE_COUNTERS
};

const char *route_stats_name(const struct route_stats *);
uint64_t route_stats_read(const struct route_stats *, enum route_counter);
void route_stats_duration(const struct route_stats *, struct stat_sum *);
void route_stats_start(const struct route_stats *, struct stat_sum *);

enum { STATUS_OTHER = 1000 }; /* where the table was full; goes with METHOD_OTHER */

/* Each {method, status} that occurred, once; status 0: nothing was sent. */
void route_stats_requests(const struct route_stats *,
			  void (*visit)(void *arg, enum method_id, unsigned status, uint64_t n),
			  void *arg);
/* Each {policy, reason} that occurred, once; policy "": no filter refused.  "_OTHER", NULL: the
 * table was full. */
void route_stats_rejections(const struct route_stats *,
			    void (*visit)(void *arg, const char *policy, const struct reason *,
					  uint64_t n),
			    void *arg);

uint64_t route_stats_again(const struct route_stats *, enum again_label);
/* Calls of gRPC by what their answers said; GRPC_CODES: nothing. */
uint64_t route_stats_grpc(const struct route_stats *, unsigned code);

/* One of them; 0 when it has not occurred. */
uint64_t route_stats_request(const struct route_stats *, enum method_id, unsigned status);
uint64_t route_stats_rejection(const struct route_stats *, const char *policy,
			       const struct reason *);

const char *listener_stats_name(const struct listener_stats *);
uint64_t listener_stats_active(const struct listener_stats *);
uint64_t listener_stats_total(const struct listener_stats *);
uint64_t listener_stats_pauses(const struct listener_stats *);
uint64_t listener_stats_refused(const struct listener_stats *, const struct reason *);
uint64_t listener_stats_flooded(const struct listener_stats *, enum h2_flood);
uint64_t listener_stats_handshaking(const struct listener_stats *);
uint64_t listener_stats_handshakes(const struct listener_stats *, enum handshake_end);

#endif
