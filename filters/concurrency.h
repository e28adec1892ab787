/* concurrency.h - policies with `concurrency`: so many calls under way at once, of each key or of
 * all; others wait in a queue, or are refused. */
#ifndef FILTERS_CONCURRENCY_H
#define FILTERS_CONCURRENCY_H

#include "filters/filter.h"
#include "filters/key.h"
#include "filters/sharing.h"

/* How many: a number, or one of the two words. */
struct cap_conf {
	enum cap_kind { CAP_NUMBER, CAP_UNLIMITED, CAP_AUTO } kind;
	uint32_t number;
};

struct concurrency_override {
	const char *match; /* a network where the key has client.ip, else the key's value */
	struct cap_conf cap;
};

enum queue_order { QUEUE_FIFO, QUEUE_LIFO };

struct queue_conf {
	uint32_t size; /* of each key; 0: none waits */
	uint64_t wait_ns;
	int order; /* enum queue_order */
	struct key_spec priority;
};

struct concurrency_conf {
	struct policy_conf policy; /* first */
	struct cap_conf cap;
	uint32_t min, max; /* of auto; 0: not given */
	struct key_spec key;
	int missing;                /* enum missing */
	struct conf_list overrides; /* of struct concurrency_override; the first match wins */
	uint32_t max_keys;
	const char *pool; /* what policies count in together; NULL: each by itself */
	struct queue_conf queue;
	struct sharing_conf sharing;
};

/* The urgency of RFC 9218 section 4.1: 0 (first) to 7, from `u=1, i` or a bare digit; 3 when it
 * says nothing that is one. */
uint8_t concurrency_urgency(struct slice);

extern const struct schema concurrency_schema;
extern const struct filter_ops concurrency_ops;

#endif
