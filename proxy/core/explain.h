/* explain.h - what the policy makes of one request, and why.
 *
 *   explain_find    which route takes it (and why those before it do not), what each of the route's
 *                   policies says to it now, who it is believed to come from, where it goes
 *   explain_repeat  many such requests in a row, on virtual time, through the chain itself
 *
 * Laws
 *  E1  explain_find takes nothing (filter.h, F8): not a token, not a slot, not a place in a queue.
 *  E2  explain_repeat is for policies that serve nobody: it takes and gives as calls do.
 *  E3  No clock and no sockets: time is env's. */
#ifndef CORE_EXPLAIN_H
#define CORE_EXPLAIN_H

#include "base/buf.h"
#include "core/policy.h"
#include "core/route.h"
#include "core/target.h"
#include "filters/filter.h"

struct explain_field {
	struct slice name, value;
};

enum { EXPLAIN_FIELDS_MAX = 100 };

struct explain_request {
	struct slice method; /* empty: GET */
	struct slice target; /* "/path?query" */
	struct slice host;   /* empty: localhost, unless a field says it */
	struct slice client; /* the address it comes from; empty: 127.0.0.1 */
	uint64_t wall_ns;    /* when tokens are looked at; 0: by env */
	uint32_t n;
	struct explain_field field[EXPLAIN_FIELDS_MAX];
};

struct explain_route {
	const struct route *route;
	enum route_part why_not; /* ROUTE_TAKES: this is the one */
};

/* One policy of the route, asked by itself. */
struct explain_policy {
	const struct filter *filter;
	struct verdict verdict;
	bool asked;      /* no policy before it refuses */
	const char *key; /* "client.ip = 10.0.0.9", escaped; NULL: it counts all calls together */
	uint64_t key_hash;
	bool knows; /* limit is filled in */
	struct limit_info limit;
	uint32_t open, shut; /* endpoints, by a policy that shuts them */
};

struct explain_endpoint {
	const struct cluster_member *member;
	uint64_t shut_ms; /* by the policies; 0: open */
};

struct explain_cluster {
	const struct cluster *cluster; /* NULL: none */
	struct explain_endpoint *endpoint;
	uint32_t open;
	uint64_t shut_ms; /* with none open: the shortest */
};

struct explain {
	const struct policy *policy;
	struct arena *arena;
	struct head *head;
	struct ip peer, client; /* which it comes from, for whom it is */
	struct call call;       /* as the chain gets it, begun; valid with a route */
	struct template_values values;
	struct auth_result auth; /* what became of its credentials */
	uint32_t n_routes;      /* that were looked at */
	struct explain_route *routes;
	const struct route *route; /* NULL: none takes it */
	uint32_t n_policies; /* with bad credentials: of those that are asked before them */
	struct explain_policy *policies;
	struct explain_cluster to, fallback; /* none: the route answers by itself */
	struct head *answer;                 /* then: its head; status 0: it closes */
	struct target target;                /* else what goes upstream, where `redirected` */
	bool redirected;

	/* What becomes of it. */
	const struct reason *why;    /* NULL: it goes on */
	uint16_t status;             /* of our answer */
	const struct filter *denier; /* NULL: no policy refuses it */
	uint64_t delay_ms;           /* before it goes on */
	uint64_t retry_after_ms;     /* of a refusal */
	bool falls_back;
};

/* What a worker does when it begins to follow a policy; for policies that none follows. */
void explain_follow(const struct policy *, const struct env *);
/* What a reply of this status is sent as: there may be a page for it. */
uint16_t explain_status(const struct explain *, uint16_t status);
/* NULL; or what is wrong with the request as asked for: a sentence.  All memory is the arena's. */
const char *explain_find(const struct policy *, const struct env *, const struct explain_request *,
			 struct arena *, struct explain *);

/*---------------------------------------------------------------- many in a row */

struct explain_repeat {
	uint64_t n, interval_ns;
	uint16_t status;   /* what the upstream answers */
	uint64_t takes_ns; /* how long that takes */

	/* filled in */
	struct explain_result *result; /* n of them; the arena's */
	uint64_t admitted, refused, delayed, failed, tries;
	uint64_t first_refusal; /* its number, from 1; 0: none */
	uint64_t longest_wait_ns, sum_wait_ns;
	uint64_t end_ns; /* since the first began, until the last was over */
};

/* What became of one call. */
struct explain_result {
	const struct reason *why; /* reason_ok: the upstream's answer came */
	const struct filter *denier;
	uint16_t status;
	uint32_t wait_ms;
	uint64_t retry_after_ms;
};

enum { EXPLAIN_REPEAT_MAX = 1000000, EXPLAIN_LIVE_MAX = 100000 };

/* The filters' decisions are in their statistics.  env is moved on.  NULL, or what went wrong. */
const char *explain_repeat(const struct explain *, struct env *, struct explain_repeat *);

/*---------------------------------------------------------------- told */

/* For people; repeat may be NULL. */
void explain_text(const struct explain *, const struct explain_repeat *, struct buf *);
/* `values`: with the values of keys, not their hashes alone. */
void explain_json(const struct explain *, const struct explain_repeat *, bool values, struct buf *);

#endif
