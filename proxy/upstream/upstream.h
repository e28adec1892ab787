/* upstream.h - where calls go: clusters of endpoints, by what choice, over which addresses.
 *
 * A cluster is part of a policy: immutable, freed with it.  An endpoint is state: found again across reloads by
 * identity {cluster name, address text}, counted by the clusters that use it; its counters go on. */
#ifndef UPSTREAM_UPSTREAM_H
#define UPSTREAM_UPSTREAM_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/list.h"
#include "conf/schema.h"

enum { WORKERS_MAX = 64 };

enum lb_kind { LB_ROUND_ROBIN, LB_LEAST_REQUESTS };

/*---------------------------------------------------------------- configuration */

struct endpoint_conf {
	const char *addr; /* "host:port" "127.0.0.1:80" "[::1]:80" "unix:/path" "http://host:port" */
	uint32_t weight;  /* 1..1000, default 1 */
	bool backup;      /* only when no other endpoint can be used */
	struct place at;
};

struct cluster_conf {
	struct conf_name name;
	struct conf_list endpoints; /* of struct endpoint_conf */
	int lb;                     /* enum lb_kind */
	uint64_t connect_timeout_ns;
	uint32_t keepalive; /* idle connections kept per endpoint and worker */
	uint64_t keepalive_timeout_ns;
	uint32_t max_connections; /* per endpoint and worker; 0: no bound */
	uint64_t resolve_ns;      /* how often names are looked up again */
};

extern const struct schema cluster_schema; /* scalar form: one endpoint's address */

/*---------------------------------------------------------------- endpoints */

/* What one worker keeps of an endpoint: written by that worker alone (relaxed), read by anyone. */
struct endpoint_worker {
	struct list idle; /* of struct conn, most recent first; of the worker's own eyes only */
	uint32_t turn; /* of endpoint_addr */
	_Atomic uint32_t idle_count;
	_Atomic uint32_t connections; /* open, idle ones included */
	_Atomic uint32_t active;      /* calls under way */
	_Atomic uint64_t attempts_ok, attempts_failed, attempts_aborted;
} __attribute__((aligned(64)));

struct endpoint {
	uint32_t magic;
	uint32_t id;         /* stable across reloads, from 1 */
	const char *cluster; /* name */
	const char *text;    /* address in canonical form: "host:port" "[::1]:80" "unix:/path" */
	const char *host;    /* for names: what is looked up; NULL: numeric or unix */
	struct addr fixed;   /* numeric or unix: the address itself */
	struct endpoint_addrs *addrs; /* names: what they stand for now, resolve.h */
	unsigned refs;                /* control thread only, as is link */
	struct list link;
	struct endpoint_worker worker[WORKERS_MAX];
};

/* An address to connect to; with several, a different one each time (*turn is the caller's counter: after a failed
 * connect the next call gives the next address).  False: the name was never resolved.  Any thread, no lock; safe
 * against a refresh at the same moment. */
bool endpoint_addr(const struct endpoint *, uint32_t *turn, struct addr *out);
/* How many addresses there are now: 1 for numeric and unix ones, 0 for a name that was never resolved. */
unsigned endpoint_addr_count(const struct endpoint *);

enum endpoint_result { ENDPOINT_OK, ENDPOINT_FAILED, ENDPOINT_ABORTED, ENDPOINT_RESULTS };

/* Worker w. */
void endpoint_begin(struct endpoint *, unsigned w); /* a call goes to it */
void endpoint_end(struct endpoint *, unsigned w, enum endpoint_result);

/* Sums over the workers, any thread. */
uint32_t endpoint_connections(const struct endpoint *); /* open, idle ones included */
uint32_t endpoint_idle(const struct endpoint *);
uint32_t endpoint_active(const struct endpoint *);
uint64_t endpoint_attempts(const struct endpoint *, enum endpoint_result);

/*---------------------------------------------------------------- clusters */

struct cluster_member {
	struct endpoint *endpoint;
	uint32_t weight;
	bool backup;
};

struct cluster {
	const struct cluster_conf *conf;
	const char *name;
	uint32_t n;
	struct cluster_member *member;
	struct cluster_worker *worker; /* WORKERS_MAX, balancer state */
};

struct upstream_registry; /* endpoints by identity; the resolver thread; control thread only */

struct upstream_registry *upstream_registry_new(void);
void upstream_registry_free(struct upstream_registry *);
/* The same with another way to look up names, for tests (resolve.h). */
struct resolver_lookup;
struct upstream_registry *upstream_registry_new_with(const struct resolver_lookup *);
/* Adopts or makes endpoints; resolves names (blocking, bounded by `timeout_ns`; a name that does not resolve is a
 * warning, not an error: it is tried again in the background).  NULL after an error finding. */
struct cluster *cluster_open(struct upstream_registry *, const struct cluster_conf *, struct arena *,
			     uint64_t timeout_ns, struct diags *);
/* The last worker has let go.  An endpoint that no cluster uses any more is freed when its last connection is closed:
 * whoever closes connections counts `connections` down after all else, and with release order. */
void cluster_close(struct upstream_registry *, struct cluster *);

/* Chooses an endpoint for worker w, skipping those whose bit is set in `tried` (members beyond 63 are never skipped)
 * and those whose name was never resolved; backups only when no other is left.  NULL: none left.  Does not count
 * the call: endpoint_begin does. */
struct cluster_member *cluster_pick(struct cluster *, unsigned w, uint64_t tried);

#endif
