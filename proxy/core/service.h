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

struct redis_set; /* core/redis_set.h */

/* What the process shows of itself. */
struct process_view {
	const struct policy *policy; /* the one in force; valid during handle */
	struct stats *stats;
	unsigned workers;
	const struct reload_status *reload;
	bool ready;     /* policies are in and listeners open */
	bool draining;
	uint64_t start_wall_ns, now_wall_ns, now_ns;
	uint32_t policies; /* alive: 1, and those whose last calls have not ended */
	uint64_t access_lines_dropped;
	const struct redis_set *redis; /* NULL: none is configured */
};

struct service_request {
	const struct head *head;
	struct slice path, query;
	struct slice body; /* whole, at most 64 KiB */
	bool loopback;     /* the peer is on this machine */
};

struct service_reply { /* zeroed before handle */
	uint16_t status;
	const char *content_type;
	struct buf body;
	const char *etag;   /* or NULL */
	const char *allow;  /* for 405 */
	const char *www_authenticate; /* for 401 */
};

struct service {
	const char *name; /* "probes" "admin" */
	void (*handle)(const struct process_view *, const struct service_request *, struct service_reply *);
};

#endif
