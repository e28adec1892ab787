/* retry.h - the filter behind `retry`: whether a try that failed, or was answered badly, is
 * followed by one more.
 *
 * It takes four yeses: the failure is one that the policy names; a second time does no harm
 * (nothing was sent, or the method allows it) and the whole request is at hand; neither the
 * upstream's Retry-After nor the call's deadline forbids the wait; the budget has one left.
 * Where the client says how long it waits (the LLM SDKs and Envoy do), no retry begins after that.
 *
 * And with `hedge`, whether a first try that takes long gets another beside it (Dean and Barroso,
 * "The Tail at Scale", CACM 2013): of calls that have no body and may be sent twice, one more each,
 * within a budget of its own.  The percentile after which is learned by each worker from its own
 * calls of the policy, by how long they wait for an answer's head. */
#ifndef FILTERS_RETRY_H
#define FILTERS_RETRY_H

#include "filters/filter.h"

struct backoff_conf {
	uint64_t base_ns, max_ns;
};

/* When another try goes beside the first: after a percentile, or a time. */
struct hedge_after {
	uint32_t percent; /* 0: not given */
	uint64_t ns;      /* 0: not given */
};

struct hedge_conf {
	struct hedge_after after; /* neither: never */
	uint32_t budget_ppm;
};

struct retry_conf {
	struct policy_conf policy;
	uint32_t retries;         /* more tries, after the first */
	struct conf_list when;    /* of const char *, from the table in retry.c */
	struct conf_list methods; /* of const char *; none: the idempotent ones */
	struct backoff_conf backoff;
	uint32_t budget_ppm;
	uint64_t per_try_ns; /* until a try's head has come; 0: no bound */
	uint64_t within_ns;  /* of the call's start; 0: no bound */
	bool elsewhere;      /* each endpoint once */
	bool heed;           /* Retry-After of an upstream */
	uint64_t body;       /* bytes of a request's body that are kept */
	struct hedge_conf hedge;
};

extern const struct schema retry_schema;
extern const struct filter_ops retry_ops;

#endif
