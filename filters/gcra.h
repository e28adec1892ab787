/* gcra.h - the generic cell rate algorithm: a token bucket whose whole state is one time.
 *
 * Source: ITU-T I.371 annex A (virtual scheduling form).  Pure: no clock, no I/O, no memory.
 *
 * Laws
 *  G1  A bucket of `burst` tokens gets `count` tokens every `period` ns.  The state is the time at
 * which it is full again; a time that has passed (0 above all) is a full bucket. G2  Nothing is
 * ever rounded.  One ns is `count` units and one token is `period` units, count and period having
 * no common divisor; so 7/s and 1000000/d are as exact after a year as in the first second. G3  A
 * refusal takes nothing. G4  gcra_give after gcra_take of the same cost leaves what was there, or a
 * full bucket if that was full. */
#ifndef FILTERS_GCRA_H
#define FILTERS_GCRA_H

#include <stdbool.h>
#include <stdint.h>

__extension__ typedef unsigned __int128 gcra_time; /* units */

enum {
	GCRA_TIME_BITS = 84,      /* of a state: 18 years of ns, times GCRA_COUNT_MAX */
	GCRA_COUNT_MAX = 1 << 24, /* after reduction */
};
#define GCRA_NEVER UINT64_MAX

struct gcra_rule {
	uint64_t count, period; /* no common divisor */
	uint64_t burst;         /* tokens */
	gcra_time depth;        /* burst, in units */
};

/* What there is to say of a bucket after a decision. */
struct gcra_view {
	uint64_t remaining; /* whole tokens */
	uint64_t wait_ns;   /* until the refused cost would pass; 0: it passed; GCRA_NEVER: over the
			       burst */
	uint64_t full_ns;   /* until it is full, rounded up */
};

/* count, period_ns and burst are 1 or more.  NULL, or why these numbers cannot be: a sentence. */
const char *gcra_rule_init(struct gcra_rule *, uint64_t count, uint64_t period_ns, uint64_t burst);
bool gcra_rule_eq(const struct gcra_rule *, const struct gcra_rule *);

/* Units until full, at most rule->depth. */
gcra_time gcra_debt(gcra_time state, const struct gcra_rule *, uint64_t now_ns);
/* The state that has this debt. */
gcra_time gcra_state(gcra_time debt, const struct gcra_rule *, uint64_t now_ns);

/* True: the cost is taken.  *view is filled either way. */
bool gcra_take(gcra_time *state, const struct gcra_rule *, uint64_t now_ns, uint64_t cost,
	       struct gcra_view *view);
void gcra_give(gcra_time *state, const struct gcra_rule *, uint64_t cost);

/* A debt under one rule as the same share of the bucket under another (4 of 10 left becomes 8 of
 * 20), rounded up. */
gcra_time gcra_rescale(gcra_time debt, const struct gcra_rule *from, const struct gcra_rule *to);
/* When a bucket is full, in ns, rounded up. */
uint64_t gcra_full_at_ns(gcra_time state, const struct gcra_rule *);

#endif
