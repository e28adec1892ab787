/* permits.h - a sidecar's part of a number of calls that may be under way at all replicas together.
 *
 * Laws
 *
 *  P1  What a sidecar holds it has been granted, and no other has it, for `hold_ns` from when it asked.  It tells what
 *      it holds and needs, not what changes: a sync that was lost is told again by the next.
 *  P2  A call under way keeps its permit whatever happens; a call is let in while fewer are under way than are held.
 *  P3  Spare permits are few: an eighth of those in use, no more than a quarter of an even share.  A cap below four
 *      times the number of replicas has none: each call asks.
 *  P4  Holdings are told anew at a third of their time.  Who cannot for all of it has lost them: then, and where
 *      nothing is held while Redis is gone, it goes on with an even share of the cap, or as `on_error` says.
 *
 * So the cap is exact while Redis answers; when it goes, those who hold nothing begin at once with their share: for one
 * `hold_ns` there may be up to twice the cap.  Pure, as lease.h is. */
#ifndef STORE_PERMITS_H
#define STORE_PERMITS_H

#include "store/lease.h"

struct permits_rule {
	uint64_t cap; /* 1 or more */
	uint64_t hold_ns;
	enum lease_on_error on_error;
	uint32_t parked_max;
};

/* Those of a process; the time, peers and whether Redis is there stand in the world of its leases. */
struct permits_world {
	struct lease_world *common;
	struct list kicked; /* with something to tell */
	struct list held;   /* who holds something */
};

struct permits {
	struct permits_world *world;
	const struct permits_rule *rule;
	uint64_t in_use, held;
	uint64_t held_until_ns, renew_at_ns, deny_until_ns;
	bool in_flight;
	uint64_t sent_at_ns, sent_want;
	struct list parked; /* of struct permits_ask */
	uint32_t n_parked;
	uint64_t others; /* what the others hold, as far as is known */
	struct list kick_link, held_link;
};

/* One call; its memory is the caller's. */
struct permits_ask {
	struct permits *permits;
	/* A parked one is answered: once, from inside a permits_ function; it must not call one. */
	void (*settle)(struct permits_ask *, enum lease_answer);
	uint64_t retry_ns; /* LEASE_DENY: when to ask again */

	/* private */
	struct list link;
	bool parked;
};

void permits_world_init(struct permits_world *, struct lease_world *);
void permits_init(struct permits *, struct permits_world *, const struct permits_rule *);
void permits_fini(struct permits *); /* nothing is parked or under way, of calls or syncs */
/* Nobody needs it: its memory may go. */
bool permits_are_idle(const struct permits *);

/* ADMIT: permits_release must follow.  PARK: settle will be called. */
enum lease_answer permits_acquire(struct permits_ask *);
void permits_leave(struct permits_ask *);
/* Its time for waiting is over: ADMIT or DENY. */
enum lease_answer permits_late(struct permits_ask *);
void permits_release(struct permits *);

struct permits_sync {
	uint64_t need, want;
};

/* The next with something to tell; NULL: none.  permits_reply or permits_lost must follow for it. */
struct permits *permits_next(struct permits_world *, struct permits_sync *);
void permits_reply(struct permits *, const struct sync_reply *);
/* Refused, or nobody knows: it comes to the same. */
void permits_lost(struct permits *);
/* Now and then: holdings that have to be told anew are, by permits_next.  Also when Redis is back. */
void permits_renew(struct permits_world *);

#endif
