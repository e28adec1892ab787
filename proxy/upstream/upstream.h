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
#include "io/conn.h"
#include "upstream/ewma.h"
#include "upstream/health.h"

enum { WORKERS_MAX = 64, CLUSTER_ENDPOINTS_MAX = 256, ENDPOINT_WEIGHT_MAX = 1000 };

enum lb_kind {
	LB_ROUND_ROBIN,
	LB_LEAST_REQUESTS,
	LB_P2C_EWMA,
	LB_RING_HASH,
	LB_CRC32_HASH, /* these three as memcached's clients and nginx choose: key_points.h */
	LB_KETAMA_HASH,
	LB_ADDRESS_HASH,
	LB_RANDOM,
};

/*---------------------------------------------------------------- configuration */

/* What endpoints are spoken to in. */
enum http_choice {
	HTTP_1,
	HTTP_2,    /* nothing else: without TLS by prior knowledge */
	HTTP_AUTO, /* as ALPN says; without TLS HTTP/1 */
};

struct endpoint_conf {
	const char *addr; /* "host:port" "127.0.0.1:80" "[::1]:80" "unix:/path" "http://host:port" "https://host:port" */
	uint32_t weight;  /* 1..1000, default 1 */
	bool backup;      /* only when no other endpoint can be used */
	bool down;        /* takes no calls; its place in choices by key stays */
	uint32_t max_calls;    /* under way, of each worker; 0: no bound */
	uint32_t eject_after;  /* failures; 0: never */
	uint64_t eject_for_ns; /* within which they count, and for which it is passed over then */
	const char *hash_as;   /* ketama-hash: what its place is made of; NULL: of the address */
	struct place at;
};

/* A part of the key that ring-hash chooses by; what keys there are is not known here. */
struct hash_conf {
	const char *key;
	struct place at;
};

struct cluster_conf {
	struct conf_name name;
	struct conf_list endpoints; /* of struct endpoint_conf */
	int lb;                     /* enum lb_kind */
	struct conf_list hash;      /* of struct hash_conf: for ring-hash; for crc32-hash and
				       ketama-hash one text */
	struct place hash_at;
	uint32_t spill_ppm;         /* ring-hash: so much above its share an endpoint may carry; 0: no bound */
	uint64_t slow_start_ns;     /* 0: none */
	struct health_conf health;
	struct tls_client_conf tls; /* for endpoints behind https:// */
	struct place tls_at;
	uint64_t connect_timeout_ns;
	uint32_t keepalive; /* idle connections kept per endpoint and worker */
	uint64_t keepalive_timeout_ns;
	uint32_t max_connections; /* per endpoint and worker; 0: no bound */
	int http2;                /* enum http_choice */
	bool http_1_0;            /* calls go out as HTTP/1.0 */
	uint32_t unavailable;     /* status while no endpoint takes a call; 0: as the reason says */
	uint64_t resolve_ns;      /* how often names are looked up again */
	const char *source; /* the address that calls come from; NULL: as the system chooses */
	struct place source_at;
	struct addr source_addr; /* the same */
};

extern const struct schema cluster_schema; /* scalar form: one endpoint's address */

/*---------------------------------------------------------------- endpoints */

/* What is added up of its tries when they are over, besides how they ended. */
enum endpoint_count {
	ENDPOINT_BYTES_OUT,    /* sent to it, heads and framing included */
	ENDPOINT_BYTES_IN,     /* heard of it, the same; of HTTP/2's answers the bodies only */
	ENDPOINT_UNREACHED,    /* failed before a byte was sent */
	ENDPOINT_RETRIES,      /* made after one that failed, here or elsewhere */
	ENDPOINT_REDISPATCHES, /* those of them whose last one was elsewhere */
	ENDPOINT_COUNTS
};

/* What one worker keeps of an endpoint: written by that worker alone (relaxed), read by anyone. */
struct endpoint_worker {
	struct list idle; /* of struct conn, most recent first; of the worker's own eyes only */
	struct list shared; /* of struct shared (pool.c): connections of HTTP/2; the same eyes */
	uint32_t turn; /* of endpoint_addr */
	bool plain;    /* with HTTP_AUTO: the last one to be made speaks HTTP/1 */
	uint32_t streams; /* at once of one connection, as the endpoint said last; 0: it has not */
	_Atomic uint32_t idle_count;
	_Atomic uint32_t connections; /* open, idle ones included */
	_Atomic uint32_t active;      /* calls under way */
	_Atomic uint32_t active_most; /* at any time */
	_Atomic uint32_t waiting;     /* those that have no connection yet */
	_Atomic uint64_t attempts_ok, attempts_failed, attempts_aborted;
	_Atomic uint64_t counts[ENDPOINT_COUNTS];
	struct ewma latency; /* of the worker's own eyes only */
	struct tls_resume resume; /* the same */
} __attribute__((aligned(64)));

/* What an operator says of an endpoint. */
enum endpoint_order {
	ENDPOINT_UP,    /* as its checks say */
	ENDPOINT_DRAIN, /* no new calls; those under way end in peace, checks go on */
	ENDPOINT_DOWN,  /* the same, its connections are not kept, and checks rest */
	ENDPOINT_ORDERS
};

extern const char *const endpoint_order_names[ENDPOINT_ORDERS];

/* Of its active checks: written by the checker alone (but `order`, and `warm_from_ns` when it joins), read by anyone,
 * relaxed. */
struct endpoint_health {
	_Atomic bool down;    /* by its checks */
	_Atomic bool checked; /* there are checks */
	_Atomic uint8_t order;   /* enum endpoint_order */
	_Atomic uint32_t weight; /* as ordered; 0: as configured */
	_Atomic uint8_t last;    /* enum check_result, of the last check */
	_Atomic uint16_t status; /* that it was answered with; 0: none */
	_Atomic uint32_t passed, failed; /* in a row */
	_Atomic uint64_t took_ns;        /* the last check */
	_Atomic uint64_t warm_from_ns;   /* joined, or became healthy, then; 0: was there from the start */
	_Atomic uint64_t results[CHECK_RESULTS];
	_Atomic uint64_t changed_ns; /* when `down` changed last, monotonic; 0: it never did */
	_Atomic uint64_t down_ns;    /* how long it was down, but for this time */
	_Atomic uint32_t downs;      /* how often it went down */
};

struct endpoint {
	uint32_t magic;
	uint32_t id;         /* stable across reloads, from 1 */
	const char *cluster; /* name */
	const char *text;    /* address in canonical form: "host:port" "[::1]:80" "unix:/path" "https://host:port" */
	const char *authority; /* the same without https:// */
	const char *peer;      /* the host, to be asked for and verified by TLS; NULL: plain */
	const char *host;    /* for names: what is looked up; NULL: numeric or unix */
	struct addr fixed;   /* numeric or unix: the address itself */
	struct endpoint_addrs *addrs; /* names: what they stand for now, resolve.h */
	unsigned refs;                /* control thread only, as is link */
	struct list link;
	bool in_force;                /* control thread: a member of the policy that is followed */
	struct check *check;          /* checker.h; NULL: never had any */
	struct endpoint_health health;
	struct endpoint_worker worker[WORKERS_MAX];
};

/* An address to connect to; with several, a different one each time (*turn is the caller's counter: after a failed
 * connect the next call gives the next address).  False: the name was never resolved.  Any thread, no lock; safe
 * against a refresh at the same moment. */
bool endpoint_addr(const struct endpoint *, uint32_t *turn, struct addr *out);
/* How many addresses there are now: 1 for numeric and unix ones, 0 for a name that was never resolved. */
unsigned endpoint_addr_count(const struct endpoint *);

/* Whether calls should go to it: it has an address, its checks pass and no operator says no.  Any thread. */
bool endpoint_is_up(const struct endpoint *);
/* What a connection to it is to speak. */
enum conn_protocol endpoint_protocol(const struct endpoint *, enum http_choice);
/* The same in a word, and why not: "up" "unhealthy" "drain" "down" "unresolved". */
const char *endpoint_state(const struct endpoint *);
/* Any thread; until it is told otherwise, or the endpoint is gone from the configuration. */
void endpoint_force(struct endpoint *, enum endpoint_order);
/* The same of its weight, in place of the configured one: 1 to ENDPOINT_WEIGHT_MAX; 0: that again. */
void endpoint_force_weight(struct endpoint *, uint32_t weight);

enum endpoint_result { ENDPOINT_OK, ENDPOINT_FAILED, ENDPOINT_ABORTED, ENDPOINT_RESULTS };

/* Worker w. */
void endpoint_begin(struct endpoint *, unsigned w); /* a call goes to it */
void endpoint_end(struct endpoint *, unsigned w, enum endpoint_result);
/* Between these two: n more of it; and whether the call waits for a connection, 1 or -1. */
void endpoint_add(struct endpoint *, unsigned w, enum endpoint_count, uint64_t n);
void endpoint_wait(struct endpoint *, unsigned w, int step);

/* Sums over the workers, any thread. */
uint32_t endpoint_connections(const struct endpoint *); /* open, idle ones included */
uint32_t endpoint_idle(const struct endpoint *);
uint32_t endpoint_active(const struct endpoint *);
uint32_t endpoint_active_most(const struct endpoint *); /* at once: no more than that */
uint32_t endpoint_waiting(const struct endpoint *);
uint64_t endpoint_attempts(const struct endpoint *, enum endpoint_result);
uint64_t endpoint_counted(const struct endpoint *, enum endpoint_count);

/*---------------------------------------------------------------- clusters */

struct cluster_member {
	struct endpoint *endpoint;
	uint32_t weight;
	bool backup, down;
	uint32_t max_calls, eject_after; /* 0: no bound, never */
	uint64_t eject_for_ns;
	uint64_t seed; /* ring-hash: rendezvous_seed */
};

/* The one that counts now, ordered or configured. */
static inline uint32_t cluster_member_weight(const struct cluster_member *m)
{
	uint32_t ordered = atomic_load_explicit(&m->endpoint->health.weight, memory_order_relaxed);

	return ordered != 0 ? ordered : m->weight;
}

struct key_spec;
struct template;
struct ketama_point;

struct cluster {
	const struct cluster_conf *conf;
	const char *name;
	const struct key_spec *hash; /* conf->hash, for who knows what keys are */
	const struct template *hash_text; /* the same, for who knows what texts are */
	struct check_rule *rule;     /* conf->health, for the checker; NULL: no checks */
	struct tls_client *tls;      /* conf->tls; NULL: all endpoints are plain */
	uint32_t n;
	uint32_t heaviest; /* of the members' weights */
	bool bounded;      /* some member is down, has max_calls or is ejected */
	struct ketama_point *point; /* ketama-hash: in order */
	uint32_t n_points;
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
/* What its endpoints behind https:// need, NULL when there are none; the caller's.  False after error findings. */
bool cluster_open_tls(const struct cluster_conf *, int64_t now_s, struct tls_client **, struct diags *);
/* The last worker has let go.  An endpoint that no cluster uses any more is freed when its last connection is closed:
 * whoever closes connections counts `connections` down after all else, and with release order. */
void cluster_close(struct upstream_registry *, struct cluster *);

/* The clusters of the policy that takes effect: from here on its endpoints are checked as it says, and no others.
 * Control thread; cannot fail. */
void upstreams_follow(struct upstream_registry *, struct cluster *const *, uint32_t n);
/* For simulations: checks are made on this loop, which its owner turns, in place of a thread of their own.  Before the
 * first cluster is opened.  upstreams_check is an entry into that loop: it begins and ends checks as
 * upstreams_follow said. */
struct loop;
void upstreams_check_on(struct upstream_registry *, struct loop *, uint64_t seed);
void upstreams_check(struct upstream_registry *);

/* How much of its weight counts while it starts slowly, in percent: 10 to 100. */
unsigned cluster_member_warmth(const struct cluster *, const struct cluster_member *,
			       uint64_t now_ns);

/* Some members of a cluster, by their index. */
struct member_set {
	uint64_t bits[CLUSTER_ENDPOINTS_MAX / 64];
};

static inline bool member_set_has(const struct member_set *s, uint32_t i)
{
	return s->bits[i / 64] >> i % 64 & 1;
}

static inline void member_set_add(struct member_set *s, uint32_t i)
{
	s->bits[i / 64] |= UINT64_C(1) << i % 64;
}

static inline bool member_set_is_empty(const struct member_set *s)
{
	uint64_t any = 0;

	for (unsigned i = 0; i < CLUSTER_ENDPOINTS_MAX / 64; i++)
		any |= s->bits[i];
	return any == 0;
}

/* What a choice goes by. */
struct pick {
	struct member_set tried; /* none of these */
	uint64_t now_ns; /* for slow start and latencies */
	uint64_t hash;   /* ring-hash: of the call's key */
	bool hashed;     /* ... which it has */
	struct slice key; /* crc32-hash, ketama-hash: the text; empty: any will do */
	struct ip client; /* address-hash; all zero: none */
};

/* Chooses an endpoint for worker w; backups only when no other is left.  Those that are down by their checks are
 * chosen only when all are (a cluster never ejects its last candidate), those without an address or that an operator
 * took out never.  NULL: none left.  Does not count the call: endpoint_begin does. */
struct cluster_member *cluster_pick(struct cluster *, unsigned w, const struct pick *);
/* Whether cluster_pick would find one. */
bool cluster_has_untried(const struct cluster *, const struct member_set *tried);

/* How worker w was answered: for balancers that go by it. */
enum cluster_heard {
	HEARD_ANSWER,  /* a head has come, after took_ns */
	HEARD_FAILURE, /* the try failed, or the answer was one (429, 5xx) */
	HEARD_NOTHING, /* nothing in took_ns, then we gave up */
};

/* A try of worker w has ended: what a member with eject_after is judged by.  True: it is passed over from here. */
bool cluster_tried(struct cluster *, unsigned w, struct cluster_member *, uint64_t now_ns,
		   bool failed);
void cluster_heard(struct cluster *, unsigned w, struct cluster_member *, uint64_t now_ns, uint64_t took_ns,
		   enum cluster_heard);

#endif
