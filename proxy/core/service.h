/* service.h - answers that Weir gives itself: the probes and admin listeners.
 *
 * A service is a function from a request to a reply.  It runs on worker 0, must not block, and sees no socket. */
#ifndef CORE_SERVICE_H
#define CORE_SERVICE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "core/policy.h"
#include "http/head.h"

/* The last reload, for /metrics and /health. */
struct reload_status {
	_Atomic uint64_t ok_count, failed_count;
	_Atomic uint64_t failed_in_a_row; /* since the last that took effect */
	_Atomic bool last_ok;
	_Atomic uint64_t last_ok_wall_ns;
};

/* What an operator has ordered, until the next order or its time is over. */
struct hand_orders {
	_Atomic bool drained; /* told to be passed over: not ready, no connection is kept */
	_Atomic uint64_t drain_until_ns; /* monotonic; 0: until the next order */
	_Atomic bool level_forced;       /* the log's level is not the configuration's */
	_Atomic uint64_t level_until_ns;
	_Atomic bool reloading; /* a reload was ordered, and has not ended */
};

/* How often pages are asked for: what they cost is taken from the calls of worker 0. */
struct service_budget {
	uint64_t paid_until_ns; /* worker 0 only */
	_Atomic uint64_t refused;
};

struct service_budgets {
	struct service_budget admin, scrapes;
};

enum service_denial { DENIED_NO_TOKEN, DENIED_WRONG_TOKEN, DENIED_FOREIGN_HOST, SERVICE_DENIALS };

/* Whom the admin listener let in to nothing. */
struct service_denials {
	_Atomic uint64_t n[SERVICE_DENIALS];
	uint64_t told_ns; /* worker 0 only: when the log last heard of one; monotonic, 0: never */
};

enum { SERVICE_WHO_MAX = 192 };

enum control_task_kind { TASK_RELOAD, TASK_DRAIN, TASK_UNDRAIN, TASK_LOG_LEVEL };

/* What a service wants the control thread to do, which writes the answer. */
struct control_task {
	enum control_task_kind kind;
	int level;       /* TASK_LOG_LEVEL: enum log_level; -1: the configuration's */
	uint64_t for_ns; /* TASK_DRAIN, TASK_LOG_LEVEL; 0: until the next order */
	char who[SERVICE_WHO_MAX];
	/* written by control: */
	uint16_t status;
	struct buf body; /* JSON */
};

struct redis_set; /* core/redis_set.h */
struct tracing;   /* core/tracing.h */

/* What the process shows of itself. */
struct process_view {
	const struct policy *policy; /* the one in force; valid during handle */
	struct stats *stats;
	unsigned workers;
	const struct reload_status *reload;
	bool ready;     /* policies are in and listeners open */
	bool draining;  /* shutting down, or told to be passed over */
	const struct hand_orders *orders;
	struct service_budgets *budgets;
	struct service_denials *denials;
	uint32_t streams; /* of events, open */
	uint64_t events_missed; /* by those who follow them */
	uint64_t start_wall_ns, now_wall_ns, now_ns;
	uint32_t policies; /* alive: 1, and those whose last calls have not ended */
	uint64_t access_lines_dropped;
	const struct redis_set *redis; /* NULL: none is configured */
	const struct tracing *tracing; /* NULL: none */
	const struct memory_state *memory;
};

struct service_request {
	const struct head *head;
	const char *who; /* asks, for logs: "127.0.0.1:40312", "uid 1000 (process 4711)" */
	struct slice path, query;
	struct slice body; /* whole, at most 64 KiB */
	bool loopback;     /* the peer is on this machine */
};

struct service_reply;

/* What answers a request. */
typedef void service_page(const struct process_view *, const struct service_request *,
			  struct service_reply *);

struct service_reply { /* zeroed before handle */
	uint16_t status;
	const char *content_type;
	struct buf body;
	const char *etag;   /* or NULL */
	const char *allow;  /* for 405 */
	const char *www_authenticate; /* for 401 */
	const char *content_security_policy; /* or NULL */
	unsigned retry_after_s;              /* 0: nothing is said of it */
	/* Instead of all that: the answer is what control makes of this, or what `then` shows when
	 * it was done. */
	bool has_task;
	struct control_task task;
	service_page *then;
	/* Behind the body come events, from this number on, as long as the client stays. */
	bool streams;
	uint64_t stream_from;
};

struct service {
	const char *name; /* "probes" "admin" */
	service_page *handle;
	/* Asked before a body is waited for; a status in the reply refuses it unread.  NULL: nobody is. */
	service_page *door;
};

#endif
