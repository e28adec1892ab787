/* limits.h - the law of limits and reloads, once more: every decision of the table is compared.
 *
 * A bucket is the time at which it is full again, as a number with a fraction; a window is two
 * counts.  A reload leaves the share that is used as it is.  The program's linker leads the table's
 * functions through here. */
#ifndef SIM_LIMITS_H
#define SIM_LIMITS_H

#include <stdbool.h>
#include <stdint.h>

struct buf;
struct sim;

enum { LIMIT_ENTRIES = 2 };

/* What the one rate policy says. */
struct rule {
	unsigned algorithm; /* enum algorithm */
	unsigned n;
	struct {
		uint64_t count, period_ns, burst;
	} entry[LIMIT_ENTRIES];
	uint64_t wait_ns, queue, cost;
};

/* Of one key and one of its rules. */
struct limit_bucket {
	uint64_t key;
	unsigned entry;
	long double full_ns;
	uint64_t window, before, now;
};

struct limits {
	struct rule rule;    /* in force */
	struct rule pending; /* committed, and no take has come yet, if its tag is another */
	uint64_t since_ns;   /* it is in force */
	uint64_t opened_ns;  /* the pending one */
	uint64_t seen_ns;    /* the last take, to the ms, as a table remembers it */
	uint64_t ahead_ns, high_ns, ahead_since_ns; /* the wall clock */
	uint16_t tag, pending_tag;                  /* of the first entry */
	bool uncertain; /* when a rule came into force, or by which time windows changed over */
	bool changed_over;
	unsigned n;
	struct limit_bucket bucket[16];
	uint64_t decisions, refusals, delays, undone, unchecked;
};

void limits_draw(struct sim *, struct rule *);
void limits_put(const struct rule *, struct buf *); /* the policy, as YAML */
/* No more than these pass. */
uint64_t limits_per_s(const struct rule *);
uint64_t limits_at_once(const struct rule *);
/* A policy with this rule is committed, opened just now. */
void limits_commit(struct sim *, const struct rule *);
/* A reload has failed. */
void limits_failed(struct sim *);

#endif
