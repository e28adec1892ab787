/* filter.h - what a filter is, and the whole of what it may do.
 *
 * A filter answers questions with values.  It never touches a socket, never
 * sees a body byte, never sends a reply, and never calls the chain from
 * inside a hook.
 *
 *   request circle    admit -> ... -> respond -> done        once per call
 *   attempt circle    attempt -> attempted                   once per try
 *
 * Laws (checked by tests/unit/filters/test_chain.c):
 *
 *  F1  admit and attempt run in configured order; attempted, respond and
 *      done run in reverse.
 *  F2  A filter that let the call in gets done exactly once, however the
 *      call ends: answered, denied further down, aborted by the client.
 *  F3  A filter that let an attempt go gets attempted exactly once for it.
 *  F4  After V_PENDING exactly one wait_settle follows.  When it returns
 *      false the call is gone and no done will come.
 *  F5  A filter and its conf are immutable and shared by all workers.  State
 *      that changes lives in a table (shared, keyed) or in mem (this call).
 *  F6  wait_settle is never called from inside a hook.
 *  F7  A slot (concurrency) is always given back.  A token (rate) is given
 *      back only if out.denied: a later filter said no.  A client that goes
 *      away pays, or an h2 client that resets its streams is admitted free.
 *  F8  peek takes nothing: it says what admit would say now.
 *
 * Every answer of admit and attempt is counted once, by the chain, and so is
 * shadow mode applied: no filter knows of either. */
#ifndef FILTERS_FILTER_H
#define FILTERS_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/reason.h"
#include "conf/schema.h"
#include "http/head.h"

struct chain;
struct table_registry; /* filters/table.h */

/*------------------------------------------------------------------ calls */

/* What a worker lends to filters: the clocks, and whose thread this is. */
struct env {
	uint64_t now_ns;  /* monotonic, cached per loop turn  */
	uint64_t wall_ns; /* Unix epoch, cached per loop turn */
	unsigned worker;
};

/* What the policy that spoke last has to say of itself: for the access log and the reply. */
struct limit_info {
	const char *policy; /* NULL: no limit decided anything */
	uint64_t key_hash;
	uint64_t limit;     /* burst, or the window's count */
	uint64_t remaining; /* calls that would pass now    */
	uint64_t reset_ms;  /* until it is at rest again    */
};

struct outcome {
	const struct reason *why;
	uint16_t status;
	uint8_t attempts;
	bool denied;             /* some filter said no */
	struct limit_info limit; /* of the policy that denied; else of the one nearest to denying */
};

/* One try of one endpoint.  A retry is a new struct attempt, never a reset. */
struct attempt {
	uint32_t endpoint;        /* stable id across reloads            */
	uint8_t number;           /* 1, 2, ...                           */
	uint32_t held;            /* chain-private                       */
	const struct reason *why; /* NULL while running           */
	uint16_t status;
};

/* One client request as filters see it.  The exchange embeds this. */
struct call {
	const struct env *env;
	const struct chain *chain;
	const struct head *req; /* read-only to filters                        */
	struct arena *arena;    /* the call's; lives until after done          */
	void *mem;              /* chain->mem_size zeroed bytes                */
	struct ip client;       /* after client_ip.trust; all zero: unix socket */
	const char *route;      /* name                                        */
	const char *upstream;   /* name                                        */
	struct slice path;      /* normal form, for matching                   */
	struct outcome out;

	/* chain-private */
	uint8_t at;     /* next filter to ask                  */
	uint8_t denier; /* index of the denier, or CHAIN_MAX   */
	bool in_hook;
	bool over;
	uint32_t held; /* bit i: filter i is owed a done      */
	struct wait *wait;

	/* X-RateLimit-* in the answer are ours, and of a policy with this much left. */
	bool limit_shown;
	uint64_t limit_shown_remaining;
};

/*--------------------------------------------------------------- verdicts */

enum verdict_kind {
	V_PASS = 0, /* go on                               */
	V_DENY,     /* stop: answer with why               */
	V_DELAY,    /* yes, but not before ms from now     */
	V_PENDING,  /* a wait_settle will say (admit only) */
	V_SKIP,     /* not this filter's business: go on, it is owed nothing */
};

struct verdict {
	enum verdict_kind kind;
	uint64_t ms; /* V_DELAY: the wait.  V_DENY: until it would pass (Retry-After), rounded up */
	const struct reason *why; /* V_DENY */
};

struct again { /* what attempted thinks of one more   */
	bool yes;
	uint64_t ms;
};

static inline struct verdict verdict_pass(void)
{
	return (struct verdict){ .kind = V_PASS };
}

static inline struct verdict verdict_deny(const struct reason *why, uint64_t ms)
{
	return (struct verdict){ .kind = V_DENY, .ms = ms, .why = why };
}

static inline struct verdict verdict_delay(uint64_t ms)
{
	return (struct verdict){ .kind = ms ? V_DELAY : V_PASS, .ms = ms };
}

static inline struct verdict verdict_skip(void)
{
	return (struct verdict){ .kind = V_SKIP };
}

static inline struct verdict verdict_pending(void)
{
	return (struct verdict){ .kind = V_PENDING };
}

/*---------------------------------------------------------------- filters */

struct filter;

/* How often a filter decided what; per worker, written by that worker alone (relaxed), summed by
 * the reader. */
enum decision {
	DECISION_ALLOW,
	DECISION_DENY,
	DECISION_SHADOW_DENY,
	DECISION_SKIP,
	DECISION_COUNT
};

struct filter_ops {
	const char *name;            /* the key that makes a policy one of these: "rate" */
	const struct schema *schema; /* option table: parse, check, dump, doc            */
	size_t mem_size;             /* per-call bytes, zeroed                           */

	/* Control thread.  open may fail (with a finding at `at`); close may not. */
	bool (*open)(struct filter *, struct table_registry *, struct diags *, struct place at);
	void (*close)(struct filter *);

	/* Worker thread.  Any of these may be NULL.  admit may fill call->out.limit; the chain
	 * keeps the one that matters.  respond sees the head that goes to the client: of filters
	 * that let the call in, and of the one that denied it. */
	struct verdict (*admit)(const struct filter *, struct call *, void *mem);
	struct verdict (*peek)(const struct filter *, const struct call *);
	struct verdict (*attempt)(const struct filter *, struct call *, void *mem,
				  struct attempt *);
	struct again (*attempted)(const struct filter *, struct call *, void *mem,
				  const struct attempt *);
	void (*respond)(const struct filter *, struct call *, void *mem, struct head *);
	void (*done)(const struct filter *, struct call *, void *mem);

	/* Any thread: what the table holds (weir_limit_keys, weir_limit_key_evictions_total); may
	 * be NULL. */
	void (*gauge)(const struct filter *, uint64_t *keys, uint64_t *evictions);
};

/* First member of every filter's configuration; its field rows are POLICY_FIELDS. */
struct policy_conf {
	bool shadow;
};

#define POLICY_FIELDS(conf_struct)                                                                 \
	{                                                                                          \
		.key = "shadow", .type = C_BOOL, .offset = offsetof(conf_struct, policy.shadow),   \
		.dflt = "false", .doc = "Count and log what would be refused, but refuse nothing." \
	}

/* Counters of one policy, by name, kept across reloads by the registry. */
struct filter_stats;

struct filter {
	const struct filter_ops *ops;
	const char *name; /* from the configuration file         */
	const void *conf;
	void *state; /* shared table, adopted across reloads */
	struct filter_stats *stats;
	bool shadow; /* count denials and delays, apply none */
};

/*------------------------------------------------------------------ chain */

enum { CHAIN_MAX = 32 };

struct chain {
	uint8_t n;
	const struct filter *filter[CHAIN_MAX];
	uint16_t mem_off[CHAIN_MAX];
	size_t mem_size;
};

/* Where each filter's mem lies, after n and filter[] are set. */
void chain_layout(struct chain *);
/* The caller has set the members of *call above "chain-private" (out excepted); mem is
 * chain->mem_size bytes. */
void chain_begin(const struct chain *, struct call *, void *mem);
/* Start, and go on after a wait.  PASS, DENY (ms: the longest wait of all that would deny now),
 * DELAY or PENDING. */
struct verdict chain_admit(struct call *);
/* PASS or DENY.  Either way the attempt is closed with one chain_attempted.  A first attempt that
 * is denied makes the call a denied one (F7). */
struct verdict chain_attempt(struct call *, struct attempt *);
struct again chain_attempted(struct call *, struct attempt *); /* a->why is set */
void chain_respond(struct call *, struct head *);
void chain_done(struct call *); /* once, after whatever chain_admit said */

/*------------------------------------------------------------------ waits */

/* The one way to wait for something that is not a timer.  Owned by the
 * asynchronous operation; the call only points back at it, and clears that
 * pointer when it dies first.  No generation counters, no refcounts. */
struct wait {
	struct call *call; /* NULL: the call is gone              */
	void (*resume)(struct call *, struct verdict);
};

void wait_begin(struct wait *, struct call *, void (*resume)(struct call *, struct verdict));
bool wait_settle(struct wait *, struct verdict);

#endif
