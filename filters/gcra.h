/* gcra.h - the generic cell rate algorithm: a token bucket whose whole state is one time.
 *
 * Source: ITU-T I.371 annex A (virtual scheduling form).  Pure: no clock, no I/O, no memory.
 *
 * Laws
 *
 *  G1  A bucket of `burst` tokens gets `count` tokens every `period` ns.  The state is the time at
 * which it is full again; a time that has passed (0 above all) is a full bucket.
 *
 *  G2  Nothing is ever rounded.  One ns is `count` units and one token is `period` units, count and
 * period having no common divisor; so 7/s and 1000000/d are as exact after a year as in the first
 * second.
 *
 *  G3  A refusal takes nothing.
 *
 *  G4  gcra_give after gcra_take of the same cost leaves what was there, or a full bucket if that
 * was full.
 *
 *  G5  A shaped bucket may owe tokens: who takes one that is not there yet waits until it is.  A
 * token owed is a place in the queue (a call of cost 3 has three), and what is owed is taken in the
 * order of the takes: the state is the end of the queue, and nobody needs to keep the queue itself.
 */
#ifndef FILTERS_GCRA_H
#define FILTERS_GCRA_H

#include <stdbool.h>
#include <stdint.h>

#include "filters/quota_view.h"

typedef quota_state gcra_time; /* units */

enum { GCRA_COUNT_MAX = 1 << 24 }; /* after reduction; 18 years of ns times that make a state */

struct gcra_rule {
	gcra_time depth; /* burst, in units */
	gcra_time reach; /* and what may be owed besides */
	uint64_t period;
	uint32_t count; /* no common divisor with period */
	uint32_t burst; /* tokens */
};

/* count, period_ns and burst are 1 or more.  NULL, or why these numbers cannot be: a sentence. */
const char *gcra_rule_init(struct gcra_rule *, uint64_t count, uint64_t period_ns, uint64_t burst);
/* Whose token comes within wait_ns may wait for it, unless `queue` tokens are owed already; 0: as
 * many as come in that time.  NULL, or why not. */
const char *gcra_rule_shape(struct gcra_rule *, uint64_t wait_ns, uint32_t queue);
bool gcra_rule_eq(const struct gcra_rule *, const struct gcra_rule *);

/* Units until full, at most rule->reach. */
gcra_time gcra_debt(gcra_time state, const struct gcra_rule *, uint64_t now_ns);
/* The state that has this debt. */
gcra_time gcra_state(gcra_time debt, const struct gcra_rule *, uint64_t now_ns);

/* True: the cost is taken.  *view is filled either way. */
bool gcra_take(gcra_time *state, const struct gcra_rule *, uint64_t now_ns, uint64_t cost,
	       struct quota_view *view);
/* The same in steps: time is whole milliseconds, what is owed is rounded up to thousandths of a token
 * (where the rate has them), and a delay down to milliseconds. */
bool gcra_take_stepwise(gcra_time *state, const struct gcra_rule *, uint64_t now_ns, uint64_t cost,
			struct quota_view *view);
void gcra_give(gcra_time *state, const struct gcra_rule *, uint64_t cost);

/* A debt under one rule as the same share of the bucket under another (4 of 10 left becomes 8 of
 * 20), rounded up.  What is owed beyond the bucket is waited for by calls that were told how long:
 * it takes as long as before. */
gcra_time gcra_rescale(gcra_time debt, const struct gcra_rule *from, const struct gcra_rule *to);
/* When a bucket is full, in ns, rounded up. */
uint64_t gcra_full_at_ns(gcra_time state, const struct gcra_rule *);

#endif
