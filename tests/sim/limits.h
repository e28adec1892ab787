/* limits.h - the law of limits and reloads, once more: every decision of the table is compared.
 *
 * A bucket is the time at which it is full again, as a number with a fraction; a reload leaves the
 * share of a bucket that is used as it is.  The program's linker leads table_take and
 * table_rules_get through here. */
#ifndef SIM_LIMITS_H
#define SIM_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

struct sim;

struct rule {
	uint64_t rate_per_s, burst;
};

struct limits {
	struct rule rule;    /* in force */
	struct rule pending; /* committed, and no take has come yet, if its tag is another */
	uint64_t opened_ns;  /* the pending one */
	uint64_t seen_ns;    /* the last take, to the ms, as a table remembers it */
	uint16_t tag, pending_tag;
	bool uncertain; /* to the ms, when a rule came into force */
	unsigned n;
	struct {
		uint64_t key;
		long double full_ns;
	} bucket[8];
	uint64_t decisions, refusals;
};

/* A policy with this rule is committed, opened just now. */
void limits_commit(struct sim *, const struct rule *);
/* A reload has failed. */
void limits_failed(struct sim *);

#endif
