/* crowd.h - the route whose calls hold slots (policies `gate` and `seat`), and what must hold of
 * them.
 *
 *  Q7  No more of its calls are at upstreams at once than the gate lets in.
 *  Q8  While a call waits, no slot is free.  In the end nothing is held and nobody waits. */
#ifndef SIM_CROWD_H
#define SIM_CROWD_H

#include "base/buf.h"
#include "dice.h"

struct sim;

/* What the policy being opened, or in force, says. */
struct crowd_rule {
	unsigned gate, seat; /* of all, and of each key */
	unsigned queue, queue_ms;
	bool newest, seats;
};

struct crowd {
	struct crowd_rule rule; /* of the last commit */
	unsigned most;          /* that could be under way: rules before may still show */
	unsigned waited;        /* the longest queue seen */
};

void crowd_draw(struct sim *, struct crowd_rule *);
/* Its lines of `policies`, and what its route uses. */
void crowd_put(const struct crowd_rule *, struct buf *);
const char *crowd_use(const struct crowd_rule *);
void crowd_commit(struct sim *, const struct crowd_rule *);
/* Between steps; all is settled. */
void crowd_check(struct sim *);
/* A call has come to an upstream. */
void crowd_arrival(struct sim *);
void crowd_check_rest(struct sim *);

#endif
