/* filter.h - what a filter is, and the whole of what it may do.
 *
 * A filter answers questions with values.  It never touches a socket, never
 * sees a body byte, never sends a reply, and never calls the chain from
 * inside a hook.
 *
 *   request circle    admit -> ... -> respond -> done        once per call
 *   attempt circle    attempt -> attempted [-> again]        once per try
 *
 * Laws (checked by tests/unit/filters/test_chain.c):
 *
 *  F1  admit and attempt run in configured order; attempted, respond and
 *      done run in reverse.
 *  F2  A filter that let the call in gets done exactly once, however the
 *      call ends: answered, denied further down, aborted by the client.
 *  F3  A filter that let an attempt go gets attempted exactly once for it.
 *      again is a question, asked of an attempt that failed after attempted,
 *      of one that was answered before (its answer is held back meanwhile),
 *      and once of one that is still unanswered at its hedge_ns: then a yes
 *      is for another beside it.  Two at most are under way at once.
 *  F4  After V_PENDING either one wait_settle follows, or one leave: the call
 *      is gone, and no done will come, or its time for waiting is over, and
 *      the verdict that wait_begin was given stands; or, when that time is
 *      over, one decide says what the verdict is.
 *  F5  A filter and its conf are immutable and shared by all workers.  State
 *      that changes lives in a table (shared, keyed) or in mem (this call).
 *  F6  wait_settle is never called from inside a hook.
 *  F7  A slot (concurrency) is always given back.  A token (rate) is given
 *      back only if out.denied: a later filter said no.  A client that goes
 *      away pays, or an h2 client that resets its streams is admitted free.
 *  F8  peek takes nothing: it says what admit would say now.
 *  F9  Nobody waits in vain: when a filter has a call wait, one behind it whose
 *      refusal outlasts the wait is asked at once.
 *  F10 Who calls is proven (call.prove) behind the limits by address at the
 *      front, which pay for it: they bound how often a stranger has it done.
 *      All other limits count calls of those who have proven it.
 *  F11 Filters side by side that are `together` are asked at once, and hold a
 *      call all of them or none: also of those that are only tried out, the
 *      ones before one that would refuse get done then, and the ones behind it
 *      are not asked.  The longest of their delays is the call's.  None waits.
 *
 * Every answer of admit and attempt is counted once, by the chain (but for an
 * attempt that is not a filter's business), and so is shadow mode applied: no
 * filter knows of either. */
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
struct filter;
struct identity;
struct wakes;          /* filters/wait.h */
struct table_registry; /* filters/table.h */

/*--------------------------------------------------------------- verdicts */

enum verdict_kind {
	V_PASS = 0, /* go on                               */
	V_DENY,     /* stop: answer with why               */
	V_DELAY,    /* yes, but not before ms from now     */
	V_PENDING,  /* a wait_settle will say, or the end of ms from now (admit only) */
	V_SKIP,     /* not this filter's business: go on, it is owed nothing */
};

struct verdict {
	enum verdict_kind kind;
	uint64_t ms; /* V_DELAY: the wait.  V_DENY: until it would pass (Retry-After), rounded up.
			V_PENDING: the longest wait */
	const struct reason *why; /* V_DENY */
	uint64_t ns;              /* V_DELAY: the wait; ms is it, rounded up */
	bool trial; /* V_DENY, V_DELAY: for this call, as if the policy said `shadow: true` */
};

/* Why there is one more try, or why there is none although the policy speaks of such failures:
 * labels of weir_retries_total and weir_retries_suppressed_total. */
enum again_label {
	AGAIN_NONE, /* nothing that is tried again: not counted */
	AGAIN_CONNECT,
	AGAIN_RESET,
	AGAIN_TIMEOUT,
	AGAIN_STATUS,
	AGAIN_HEDGE,   /* beside one that takes long */
	AGAIN_NO_MORE, /* all tries that the policy allows have been made */
	AGAIN_NO_BUDGET,
	AGAIN_NO_METHOD,   /* twice may do harm */
	AGAIN_NO_BODY,     /* it is not kept */
	AGAIN_NO_TIME,     /* the call's deadline is nearer */
	AGAIN_RETRY_AFTER, /* the upstream wants to be left alone for longer */
	AGAIN_NO_HEDGE,    /* beside one that takes long: too many were lately */
	AGAIN_REFUSED,     /* another policy would let none go */
	AGAIN_LABELS
};

extern const char *const again_names[AGAIN_LABELS];

struct again { /* one more try? */
	bool yes;
	uint64_t ms; /* not before */
	bool elsewhere; /* only at an endpoint that has not been tried */
	enum again_label label;
};

/* V_DENY with this many ms or more: such a call never passes, however long it waits. */
#define VERDICT_NEVER_MS (UINT64_C(3650) * 24 * 3600 * 1000)

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
	return (struct verdict){ .kind = ms ? V_DELAY : V_PASS, .ms = ms, .ns = ms * 1000000 };
}

static inline struct verdict verdict_delay_ns(uint64_t ns)
{
	return (struct verdict){ .kind = ns ? V_DELAY : V_PASS,
				 .ms = ns / 1000000 + (ns % 1000000 != 0),
				 .ns = ns };
}

static inline struct verdict verdict_skip(void)
{
	return (struct verdict){ .kind = V_SKIP };
}

static inline struct verdict verdict_pending(uint64_t ms)
{
	return (struct verdict){ .kind = V_PENDING, .ms = ms };
}

/*------------------------------------------------------------------ calls */

/* What a worker lends to filters: the clocks, and whose thread this is. */
struct env {
	uint64_t now_ns;  /* monotonic, cached per loop turn  */
	uint64_t wall_ns; /* Unix epoch, cached per loop turn */
	unsigned worker;
	struct wakes *wakes; /* of all workers, by index: where waits that others settle go */
};

/* What the policy that spoke last has to say of itself: for the access log and the reply. */
struct limit_info {
	const char *policy; /* NULL: no limit decided anything */
	uint64_t key_hash;
	uint64_t limit;     /* burst, or the window's count */
	uint64_t remaining; /* calls that would pass now    */
	uint64_t reset_ms;  /* until it is at rest again    */
};

/* What the limits of a kind said of a call, all together: the word that weighs most. */
enum limit_family { FAMILY_NONE, FAMILY_RATE, FAMILY_CONCURRENCY, LIMIT_FAMILIES };
enum limit_word {
	LIMIT_UNASKED,
	LIMIT_PASSED,
	LIMIT_DELAYED_TRIAL,
	LIMIT_DELAYED,
	LIMIT_REJECTED_TRIAL,
	LIMIT_REJECTED
};

struct outcome {
	uint8_t limited[LIMIT_FAMILIES]; /* enum limit_word */
	uint64_t excess; /* of the rate that spoke last, when it delayed or denied */
	const struct reason *why;
	uint16_t
	    status; /* of the answer; before there is one, what the denier wants it to be, or 0 */
	uint8_t attempts;
	bool denied;             /* some filter said no */
	struct limit_info limit; /* of the policy that denied; else of the one nearest to denying */
	struct limit_info shadow; /* of the first that would have denied, were it no trial */
};

enum { NO_ENDPOINT = 0 }; /* the id that none has */

/* One try of one endpoint.  A retry is a new struct attempt, never a reset. */
struct attempt {
	uint32_t endpoint;        /* stable id across reloads */
	uint8_t number;           /* 1, 2, ... */
	uint32_t held;            /* chain-private */
	const struct reason *why; /* NULL while running; reason_ok: an answer came whole */
	uint16_t status;          /* of its answer, as it is judged; 0: none came */
	bool excused; /* we are shutting down: its failure says nothing of the endpoint */
	bool asked;   /* all of the request was sent: what it waits for since is the answer */
	uint64_t retry_after_ms; /* what its answer asks for, from 400 up; 0: nothing */
	uint64_t start_ns;       /* env->now_ns when it began */
	/* Since when its answer is due: all of the request was there to be sent; 0: not yet. */
	uint64_t asked_ns;
	uint64_t held_ns; /* how long the answer has waited for its reader */
	uint64_t head_ns; /* when its answer's head came; 0: none came */
	/* attempt may set it: by then a head has come, or, when some of the request has still to
	 * come from the client, as much later as that takes; 0: whenever */
	uint64_t deadline_ns;
	/* attempt may set it, for a call without a body: if no head has come by then, again is
	 * asked; 0: never */
	uint64_t hedge_ns;
	bool beside; /* another try of the call is under way: nothing has to speak against this */
	bool last;   /* no other may follow: no endpoint would be let take it */
};

/* One client request as filters see it.  The exchange embeds this. */
struct call {
	const struct env *env;
	const struct chain *chain;
	const struct head *req; /* read-only to filters                        */
	struct arena *arena;    /* the call's; lives until after done          */
	void *mem;              /* chain->mem_size zeroed bytes                */
	struct slice tls_san;   /* of the client's certificate, verified; empty: none */
	const struct identity *who; /* verified (filters/identity.h); NULL: nobody */
	struct ip client;       /* after client_ip.trust; all zero: unix socket */
	const char *route;      /* name                                        */
	const char *upstream;   /* name                                        */
	struct slice path;      /* normal form, for matching                   */
	uint64_t deadline_ns;   /* of the whole call (env->now_ns); 0: none    */
	/* admit may raise it: how much of the request's body to keep for another try */
	uint64_t keep_body;
	/* No policy asked for the next try, or for the present one: nothing of the call had reached
	 * an endpoint, or it may be sent twice, and the connection it went over was dead. */
	bool repeat;
	bool resendable;     /* all of the request that was sent so far can be sent once more */
	uint64_t body_bytes; /* of the request's body, that were sent */
	/* Hears of delays and refusals, and of what would have been one; may be NULL.  `excess`: calls above the rate, in
	 * thousandths, this one included. */
	void (*tell)(struct call *, const struct filter *, struct verdict, uint64_t excess);
	/* Where the call goes on after V_PENDING: PASS (chain_admit goes on), DENY or DELAY. */
	void (*resume)(struct call *, struct verdict);
	/* Says who calls: asked once, behind the filters at the front that are by_address, so that
	 * they bound how often one client can have it asked.  Not NULL: the call is refused for
	 * that, and pays them as if it had been let in.  May be NULL: nobody has to know. */
	const struct reason *(*prove)(struct call *);
	/* A value of the configuration's own, by its name, in the arena.  False: it is empty.  May be
	 * NULL: there are none. */
	bool (*value)(const struct call *, struct slice name, struct slice *out);
	struct outcome out;
	/* Of the answer that is passed on: by what status its success is judged, where that is not
	 * its own (gRPC says it in a field); else 0. */
	uint16_t judged;

	/* chain-private */
	uint8_t at;     /* next filter to ask                  */
	uint8_t denier; /* index of the denier, or CHAIN_MAX   */
	bool in_hook;
	bool over;
	uint32_t held; /* bit i: filter i is owed a done      */
	bool hurry; /* for filters to see: V_PENDING is no answer now */
	struct wait *wait;
	struct limit_info limit_before; /* an attempt was denied */

	/* X-RateLimit-* in the answer are ours, and of a policy with this much left. */
	bool limit_shown;
	uint64_t limit_shown_remaining;
};

/* The status by which the success of an answer with this head is judged. */
static inline uint16_t call_judges(const struct call *call, const struct head *answer)
{
	return call->judged != 0 ? call->judged : answer->status;
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

/* What a filter may show of itself; a metric each (admin/metrics_policy.c). */
enum filter_metric {
	SHOW_KEYS,                /* weir_limit_keys */
	SHOW_KEY_EVICTIONS,       /* weir_limit_key_evictions_total */
	SHOW_QUEUE_LENGTH,        /* weir_queue_length */
	SHOW_CONCURRENCY,         /* weir_concurrency_in_use */
	SHOW_CONCURRENCY_LIMIT,   /* weir_concurrency_limit */
	SHOW_BREAKER_STATE,       /* weir_breaker_state: 1 for the state it is in, else 0 */
	SHOW_BREAKER_TRANSITIONS, /* weir_breaker_transitions_total */
	SHOW_BREAKER_FORCED,      /* weir_breaker_forced */
	SHOW_FALLBACKS,           /* weir_redis_fallback_decisions_total, by mode */
	FILTER_METRICS
};

struct filter_sample {
	enum filter_metric metric;
	const char *upstream, *endpoint; /* NULL: without that label */
	const char *state;               /* a state's name, where the metric has one; else NULL */
	uint64_t value;
};

typedef void filter_emit(void *ctx, const struct filter_sample *);

/* An endpoint that calls of a route with this policy may go to. */
struct filter_target {
	const char *upstream, *endpoint; /* names; they outlive the filter */
	uint32_t id;                     /* as in struct attempt */
};

struct key_spec;

/* A key that an operator asks for. */
struct filter_key {
	const struct env *env;
	uint64_t key;
	struct ip client; /* for overrides that go by address; all zero: not known */
};

struct filter_ops {
	const char *name;            /* the key that makes a policy one of these: "rate" */
	uint8_t family;              /* enum limit_family */
	const struct schema *schema; /* option table: parse, check, dump, doc            */
	size_t mem_size;             /* per-call bytes, zeroed                           */
	uint8_t refusals[4]; /* enum reason_index: why it may refuse, known to metrics before it
				does; REASON_ok: no more */

	/* Control thread.  open may fail (with a finding at `at`); close may not. */
	bool (*open)(struct filter *, struct table_registry *, struct diags *, struct place at);
	void (*close)(struct filter *);
	/* Control thread, after open, for each such endpoint; one may come several times.  False:
	 * memory is out. */
	bool (*target)(struct filter *, const struct filter_target *);

	/* Worker thread.  Any of these may be NULL.  admit may fill call->out.limit; the chain
	 * keeps the one that matters.  respond sees the head that goes to the client: of filters
	 * that let the call in, and of the one that denied it. */
	struct verdict (*admit)(const struct filter *, struct call *, void *mem);
	struct verdict (*peek)(const struct filter *, const struct call *);
	/* What there is to say of the call's key now; false: nothing.  It takes nothing either. */
	bool (*look)(const struct filter *, const struct call *, struct limit_info *);
	struct verdict (*attempt)(const struct filter *, struct call *, void *mem,
				  struct attempt *);
	void (*attempted)(const struct filter *, struct call *, void *mem, const struct attempt *);
	/* May the call be tried once more, after this attempt, or (no why, no status) beside it?
	 * Asked until a filter says yes; a->why is NULL when an answer has come: its status is at
	 * hand, and it is dropped for a yes. */
	struct again (*again)(const struct filter *, struct call *, void *mem,
			      const struct attempt *);
	/* How long, in ns, attempt would deny a try of this endpoint (its id) now; 0: it would let
	 * it go.  Such endpoints are passed over while there are others. */
	uint64_t (*shut)(const struct filter *, const struct call *, uint32_t endpoint);
	void (*respond)(const struct filter *, struct call *, void *mem, struct head *);
	void (*done)(const struct filter *, struct call *, void *mem);

	/* For operators, from the loop of a worker; may be NULL, as may what limits answer that are
	 * counted elsewhere (false).  Keys are as key.h hashes them; 0: of a policy without. */
	const struct key_spec *(*key)(const struct filter *);
	bool (*look_key)(const struct filter *, const struct filter_key *, struct limit_info *);
	bool (*reset_key)(const struct filter *, const struct filter_key *);
	/* Whether all replicas count its keys together: then nobody begins one anew alone. */
	bool (*is_shared)(const struct filter *);

	/* From the loop of each worker, when it begins to follow the filter's policy; may be NULL.
	 */
	void (*in_force)(const struct filter *, const struct env *);

	/* Any thread: what there is to see of it now; may be NULL. */
	void (*show)(const struct filter *, filter_emit *emit, void *ctx);
};

/* First member of every filter's configuration; its field rows are POLICY_FIELDS. */
struct policy_conf {
	bool shadow;
	uint32_t status; /* of its refusals; 0: as the reason's row says */
};

#define POLICY_FIELDS(conf_struct)                                                                 \
	{                                                                                          \
		.key = "shadow", .type = C_BOOL, .offset = offsetof(conf_struct, policy.shadow),   \
		.dflt = "false", .doc = "Count and log what would be refused, but refuse nothing." \
	}

/* For policies that refuse calls: beside POLICY_FIELDS. */
#define POLICY_STATUS_FIELD(conf_struct)                                                        \
	{                                                                                       \
		.key = "status", .type = C_U32, .offset = offsetof(conf_struct, policy.status), \
		.min = 400, .max = 599,                                                         \
		.doc = "The status of a refusal, in place of the usual one."                    \
	}

/* Counters of one policy, by name, kept across reloads by the registry. */
struct filter_stats;

struct filter {
	const struct filter_ops *ops;
	const char *name; /* from the configuration file         */
	const void *conf;
	void *state; /* shared table, adopted across reloads */
	struct filter_stats *stats;
	bool shadow;     /* count denials and delays, apply none */
	bool by_address; /* answers at once, of the client's address: before it is known who calls */
	const char *pool; /* shared with others of this name; NULL: with none */
	/* F11 */
	bool together;
	uint16_t status; /* of its refusals; 0: as the reason's row says */
};

/*------------------------------------------------------------------ chain */

enum { CHAIN_MAX = 32 };

struct chain {
	uint8_t n;
	const struct filter *filter[CHAIN_MAX];
	uint16_t mem_off[CHAIN_MAX];
	size_t mem_size;
	uint8_t prove_at; /* the first that is not by_address, or n */
};

/* Where each filter's mem lies, and when it must be known who calls, after n and filter[] are set. */
void chain_layout(struct chain *);
/* The caller has set the members of *call above "chain-private" (out excepted); mem is
 * chain->mem_size bytes. */
void chain_begin(const struct chain *, struct call *, void *mem);
/* Start, and go on after a wait.  PASS, DENY (ms: the longest wait of all that would deny now),
 * DELAY or PENDING. */
struct verdict chain_admit(struct call *);
/* Of a filter that is `together`, in done: one of its own kind refused the call. */
bool chain_denied_together(const struct call *);
/* PASS or DENY.  Either way the attempt is closed with one chain_attempted.  A first attempt that
 * is denied makes the call a denied one (F7). */
struct verdict chain_attempt(struct call *, struct attempt *);
/* After an attempt was denied and closed: the call goes on, to somewhere else. */
void chain_undeny(struct call *);
void chain_attempted(struct call *, struct attempt *); /* a->why is set */
struct again chain_again(struct call *, const struct attempt *);
uint64_t chain_shut(const struct call *, uint32_t endpoint);
/* Whether a filter of it decides about further tries. */
bool chain_retries(const struct chain *);
void chain_respond(struct call *, struct head *);
void chain_done(struct call *); /* once, after whatever chain_admit said */

/*------------------------------------------------------------------ waits */

/* The one way to wait for something that is not a timer.  Owned by the
 * asynchronous operation (a place in a queue); the call only points at it, and
 * says leave when it stops waiting.  All of it on the call's own thread; what
 * other threads decide comes through wakes (filters/wait.h). */
struct wait {
	struct call *call;
	void (*leave)(struct wait *); /* the operation forgets and frees it */
	struct verdict late;          /* when its time is over, */
	/* or what says so, and forgets and frees it; NULL: late */
	struct verdict (*decide)(struct wait *);
};

/* In admit, which then returns verdict_pending. */
void wait_begin(struct wait *, struct call *, void (*leave)(struct wait *), struct verdict late);
/* The same, but when its time is over it is asked what then. */
void wait_begin_deciding(struct wait *, struct call *, void (*leave)(struct wait *),
			 struct verdict (*decide)(struct wait *));
/* In the same admit: there is nothing to wait for after all. */
void wait_cancel(struct wait *);
/* From the loop: the wait is the operation's again (to free), and the call goes on by its resume.
 */
void wait_settle(struct wait *, struct verdict);
/* Its time is over: what the call does now, as chain_admit says it. */
struct verdict chain_late(struct call *);
/* The call is answered without it: it waits no more, if it did. */
void chain_leave(struct call *);

#endif
