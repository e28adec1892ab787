/* pair.h - two transports joined in memory, for tests and simulations.
 *
 * What one end writes the other reads, through a bounded queue each way.  Nothing moves by itself:
 * whoever turns the pair asks whether an end is ready for what it wants, and calls it.
 *
 *  P1  Neither end is ever called from inside an op: only pair_deliver calls on_ready.
 *  P2  An end may be read until the queue towards it is empty; then comes the end of the stream, if
 * the other end has sent it, or the reset.
 *  P3  As with TCP: who closes with bytes unread resets, and who writes to a closed end gets a
 * reset. */
#ifndef IO_PAIR_H
#define IO_PAIR_H

#include <stdbool.h>
#include <stddef.h>

#include "io/loop.h"
#include "io/transport.h"

struct pair;

/* What a turner may set on an end at any time. */
struct pair_knobs {
	size_t recv_max, send_max; /* bytes by one call, 0: no bound but the queue's */
	size_t capacity;           /* of the queue towards this end, at most PAIR_CAPACITY_MAX */
	bool reset_drops;          /* a reset overtakes bytes that this end has not read yet */
};

enum { PAIR_CAPACITY_MAX = 64 * 1024 };

/* Two ends, 0 and 1, connected.  The loops are entered by pair_deliver; NULL: none is.  The memory
 * goes when both ends are closed.  NULL when memory is out. */
struct pair *pair_new(struct loop *of_0, struct loop *of_1);
/* The same, not connected yet: end 0 has asked, end 1 has not answered. */
struct pair *pair_new_connecting(struct loop *of_0, struct loop *of_1);
void pair_accept(struct pair *);
void pair_refuse(struct pair *); /* end 1 is closed by it */

struct transport *pair_end(struct pair *, unsigned side);
struct pair_knobs *pair_knobs(struct pair *, unsigned side);

/* Which of the things that this end wants can be done now, of enum transport_want. */
unsigned pair_ready(const struct pair *, unsigned side);
/* One entry into the loop of this end with what it is ready for; the loop's turn goes on, if one
 * is under way.  The pair may be gone afterwards. */
void pair_deliver(struct pair *, unsigned side);
/* The same although nothing is there to be read: a wake-up that came to nothing.  Does nothing to
 * an end that does not want to read. */
void pair_deliver_spurious(struct pair *, unsigned side);

/* For the turner's list of all pairs; leaves it by itself when the pair goes. */
struct list *pair_link(struct pair *);
struct pair *pair_of_link(struct list *);

bool pair_is_open(const struct pair *, unsigned side);
bool pair_was_reset(const struct pair *, unsigned side); /* what this end will meet, or has met */
size_t pair_unread(const struct pair *, unsigned side);  /* bytes waiting for this end */

#endif
