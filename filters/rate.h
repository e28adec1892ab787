/* rate.h - policies with `rate`: so many calls per time and key, whichever way they are counted. */
#ifndef FILTERS_RATE_H
#define FILTERS_RATE_H

#include "filters/filter.h"
#include "filters/quota.h"
#include "filters/scope.h"
#include "filters/sharing.h"

/* What a call takes: a number, or what the field of this name says. */
struct cost_spec {
	uint32_t n;        /* 0: the field's, or 1 where neither was given */
	const char *field; /* name; NULL: n */
};

enum charge {
	CHARGE_CALL,
	CHARGE_ATTEMPT,
	CHARGE_ARRIVAL, /* filter.together */
};

struct override_conf {
	const char *match;      /* a network where the key has client.ip, else the key's value */
	struct conf_list rate;  /* of struct rate */
	struct conf_list burst; /* of uint32_t */
};

struct rate_conf {
	struct policy_conf policy; /* first */
	struct conf_list rate;     /* of struct rate */
	struct conf_list burst;    /* of uint32_t */
	int algorithm;             /* enum algorithm */
	struct key_spec key;
	int missing;                /* enum missing */
	struct conf_list overrides; /* of struct override_conf; the first match wins */
	struct cost_spec cost;
	int charge;        /* enum charge */
	const char *pool;  /* what policies count in together; NULL: each by itself */
	uint64_t wait_ns;  /* 0: refused at once */
	uint32_t queue;    /* 0: as long as the wait */
	uint32_t enforced; /* parts per million of the keys, for the others it is a trial; 0: not
			      given */
	uint32_t max_keys;
	struct sharing_conf sharing;
	bool headers; /* RateLimit fields on admitted calls too */
};

/* The rules of a rate or of a list of them, the shortest time first; *n 0: unlimited.  Of
 * configurations that were checked. */
void rate_rules(const struct rate_conf *, const struct conf_list *rates,
		const struct conf_list *bursts, struct quota_rule *, uint8_t *n);

extern const struct schema rate_schema;
extern const struct filter_ops rate_ops;

#endif
