/* breaker.h - the filter behind `breaker`: an upstream that fails is left alone for a while.
 *
 * What it counts are tries, not calls.  Each endpoint has a breaker of its own, or the upstream has
 * one; the state machine is in breaker_state.h. */
#ifndef FILTERS_BREAKER_H
#define FILTERS_BREAKER_H

#include "filters/breaker_state.h"
#include "filters/filter.h"

enum breaker_per { PER_ENDPOINT, PER_UPSTREAM };

/* One of the two is 0. */
struct breaker_limit {
	uint32_t consecutive, share_ppm;
};

struct slow_conf {
	uint64_t over_ns, first_byte_ns; /* 0: not looked at */
	uint32_t share_ppm;
};

struct breaker_conf {
	struct policy_conf policy; /* first */
	struct breaker_limit limit;
	uint64_t window_ns;
	uint32_t min_requests;
	struct conf_list
	    failures; /* of const char *, from the table in breaker.c; none: its default */
	struct slow_conf slow;
	uint64_t open_for_ns, max_open_ns;
	uint32_t probes;
	int per; /* enum breaker_per */
};

extern const struct schema breaker_schema;
extern const struct filter_ops breaker_ops;

/*---- any thread, of a filter whose ops are breaker_ops */

struct breaker_view {
	const char *upstream, *endpoint; /* endpoint NULL: of the whole upstream */
	const char *state;               /* "closed" "open" "half_open" */
	bool forced;
	uint64_t left_ns; /* of being open or forced; 0: until something happens */
	uint32_t probes_out;
	uint64_t since_ns;          /* when it became that; 0: it was never anything else */
	struct breaker_slot window; /* of a share: what it is the share of */
	uint32_t in_a_row;          /* failures, of tries that count one by one */
};

void breaker_each(const struct filter *, uint64_t now_ns,
		  void (*visit)(void *, const struct breaker_view *), void *);

/* What an operator wants of a breaker. */
struct breaker_order {
	struct slice upstream, endpoint; /* endpoint p NULL: all of the upstream */
	enum breaker_mode mode; /* FORCED_OPEN, FORCED_CLOSED, or CLOSED: the end of both */
	uint64_t for_ns;        /* 0: until the next order */
};

/* How many breakers it was for. */
unsigned breaker_obey(const struct filter *, uint64_t now_ns, const struct breaker_order *);

#endif
