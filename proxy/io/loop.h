/* loop.h - what turns: one event base, one clock, one set of timers, and the scratch memory that
 * all connections of a thread share.
 *
 * Laws:
 *  L1  Bytes read stand in loop->in, and bytes to write in loop->out, until loop_settle; then both
 *      are free again.
 *  L2  Every entry from outside (a ready socket, a timer, a message) ends with loop_settle, which
 *      writes what was put, feeds what was kicked and closes what is over, until nothing is left
 *      to do.  What it held back for the turn's other entries is written when the turn is over.
 *  L3  Nothing is freed inside an entry: what ended is freed by loop_settle (struct deferred).
 *  L4  The clock is read once a turn, at its first entry. */
#ifndef IO_LOOP_H
#define IO_LOOP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/arena.h"
#include "base/list.h"
#include "base/timer.h"

struct event;
struct event_base;
struct gather;
struct tls_tickets;
struct transport;

enum {
	LOOP_READ_BYTES = 64 * 1024, /* at most, by one recv              */
	LOOP_HEAD_BYTES = 1 << 20,   /* the largest head that limits allow */
	/* These are address space: what no head ever fills is never touched. */
	LOOP_IN_BYTES =
	    LOOP_HEAD_BYTES + 2 * LOOP_READ_BYTES,     /* what was left over before it, too */
	LOOP_OUT_BYTES = LOOP_HEAD_BYTES + 128 * 1024, /* what is added to a head, too      */
	LOOP_OUT_TURN_BYTES = 128 * 1024,              /* used before it is written         */
	LOOP_POOL_BLOCKS = 128,                        /* arena blocks kept for reuse        */
};

/* Something to be done when the present entry is over. */
struct deferred {
	struct list link;
	void (*run)(struct deferred *);
};

struct loop {
	struct event_base *base; /* NULL: a simulation turns it */
	uint64_t now_ns, wall_ns;
	uint64_t (*read_clock)(struct loop *); /* monotonic, ns */
	struct transport *(*connect)(struct loop *, const struct addr *);
	const struct addr
	    *source; /* where what connects now comes from; NULL: as the system chooses */
	bool in_turn, settling;
	bool holds; /* there will be a loop_end_turn */
	struct timers timers;
	struct event *tick;
	uint64_t tick_at;
	struct arena_pool pool;
	char *in, *out;
	size_t out_used, out_last; /* out_last: where the latest reservation begins */
	struct gather *free_gathers;
	unsigned n_free_gathers;
	struct list gathers; /* those with something to write */
	struct list held;    /* those that wait for the end of the turn */
	struct list dirty;   /* connections with something to settle */
	struct list conns;   /* all connections */
	struct list dead;    /* of struct deferred */
	void *retired;   /* memory to be freed when the entry is over, each begins with the next */
	uint64_t lag_ns; /* how long the last turn took */
	bool stop;
	int connect_bound; /* descriptors from this number on are not for what connects; 0: all are */
	int connect_error; /* of the last connect that failed at once, as the system calls it; 0: it did not */
	bool connect_want; /* that one: for what this machine is out of (tcp_is_want) */
	struct tls_tickets *tickets; /* of TLS sessions; NULL: none are given */
	void *data;                  /* the worker's */
};

/* `real`: with an event base and the system's clock.  False when memory or descriptors are out. */
bool loop_init(struct loop *, bool real);
void loop_fini(struct loop *);

/* Turns until loop->stop; `after_turn` is called behind each turn. */
void loop_run(struct loop *, void (*after_turn)(struct loop *));

/* At the start of each entry: makes now_ns true for this turn. */
void loop_enter(struct loop *);
/* At the end of each entry (L2). */
void loop_settle(struct loop *);
/* When all that is ready has had its entry: writes what was held. */
void loop_end_turn(struct loop *);
/* Runs the timers that are due; for simulations, which have no tick. */
void loop_run_timers(struct loop *);

void loop_defer(struct loop *, struct deferred *, void (*run)(struct deferred *));
/* free, when the present entry is over and all that was put is written or copied.  The memory's
 * first sizeof(void *) bytes are the loop's from here. */
void loop_free_later(struct loop *, void *);
/* n bytes of loop->out; NULL when n is more than there ever is. */
char *loop_reserve(struct loop *, size_t n);
/* Whether `end` lies in the latest reservation: what stands behind it there is unused. */
bool loop_is_last(const struct loop *, const char *end);
/* loop->out is used up to `end`, which lies behind that. */
void loop_use(struct loop *, const char *end);

#endif
