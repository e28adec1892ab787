/* sharing.h - what a policy says of being shared by all replicas: `store` and the keys that go with it. */
#ifndef FILTERS_SHARING_H
#define FILTERS_SHARING_H

#include "base/clock.h"
#include "conf/schema.h"
#include "store/shared.h"

struct filter_stats;

enum store_kind { STORE_LOCAL, STORE_REDIS };
enum share_kind { SHARE_LEASE, SHARE_STRICT };

/* Zero where nothing is given. */
struct sharing_conf {
	int store;    /* enum store_kind; first */
	int share;    /* enum share_kind */
	int on_error; /* 0: as the section says; else enum lease_on_error + 1 */
	uint32_t overshoot_ppm, peers;
	uint64_t wait_ns;
	struct place at;
};

extern const char *const store_names[], *const share_names[], *const sharing_on_error_names[];

#define SHARING_AT(conf_struct, member) offsetof(conf_struct, sharing.member)
/* Of whatever is shared, */
#define SHARING_STORE_FIELD(conf_struct)                                                           \
	{                                                                                          \
		.key = "store", .type = C_ENUM, .offset = SHARING_AT(conf_struct, store),          \
		.at = SHARING_AT(conf_struct, at), .names = store_names,                           \
		.doc = "Where it is counted: local, by each replica for itself (when not given); " \
		       "or redis, by all together, see `redis`."                                   \
	}
/* of what is granted ahead, */
#define SHARING_LEASE_FIELDS(conf_struct)                                                       \
	{ .key = "share",                                                                       \
	  .type = C_ENUM,                                                                       \
	  .offset = SHARING_AT(conf_struct, share),                                             \
	  .names = share_names,                                                                 \
	  .doc = "lease: each replica is granted some ahead, so that calls need not wait for "  \
		 "Redis, and all together may pass the limit by `overshoot` (when not "         \
		 "given). strict: exact; calls wait for an answer of their own." },             \
	{                                                                                       \
		.key = "overshoot", .type = C_SHARE,                                            \
		.offset = SHARING_AT(conf_struct, overshoot_ppm), .min = 1, .max = 1000000,     \
		.doc = "By how much all replicas together may pass the limit; as `redis` says " \
		       "when not given."                                                        \
	}
/* and of how Redis is asked. */
#define SHARING_ASK_FIELDS(conf_struct)                                                           \
	{ .key = "peers",                                                                         \
	  .type = C_U32,                                                                          \
	  .offset = SHARING_AT(conf_struct, peers),                                               \
	  .min = 1,                                                                               \
	  .max = 65535,                                                                           \
	  .doc = "At least so many replicas share it; as `redis` says when not given." },         \
	    { .key = "store_wait",                                                                \
	      .type = C_DURATION,                                                                 \
	      .offset = SHARING_AT(conf_struct, wait_ns),                                         \
	      .min = CLOCK_MS,                                                                    \
	      .max = CLOCK_S,                                                                     \
	      .doc = "How long a call may wait for Redis before it is decided by `on_error`; at " \
		     "most the timeout of `redis`, half of it when not given." },                 \
	{                                                                                         \
		.key = "on_error", .type = C_ENUM, .offset = SHARING_AT(conf_struct, on_error),   \
		.names = sharing_on_error_names,                                                  \
		.doc = "What it does without Redis: each replica its part by itself (local), "    \
		       "all calls are let in (allow), or none (deny); as `redis` says when not "  \
		       "given."                                                                   \
	}

/* False, after findings: keys that mean nothing without `store: redis`. */
bool sharing_check(struct conf_load *, const struct node *map, const struct sharing_conf *);
/* Of a policy of any kind; NULL: its kind cannot be shared. */
const struct sharing_conf *sharing_of(const struct schema *, const void *conf);

/* What all policies of a process share by; said to the table registry. */
struct sharing {
	struct shared_limits *limits; /* NULL: there are none, all is local */
	enum lease_on_error on_error;
	uint32_t overshoot_ppm;
	uint64_t timeout_ns;
};

/* What the policy says fills in a rule. */
void sharing_fill(const struct sharing_conf *, const struct sharing *, bool shadow,
		  struct shared_rule *);
enum { SHARING_NAME_MAX = 160 };

/* A shared policy's name: what is the same in all replicas, and after each reload that keeps it.  `key`: its text, or
 * NULL; match: of an override, else ""; period_ns: where there are several rates, else 0. */
void sharing_name(const char *policy, const char *key, const char *match, uint64_t period_ns,
		  char out[SHARING_NAME_MAX]);
uint64_t sharing_wait_ms(const struct sharing_conf *, const struct sharing *);

#endif
