/* permits.h - a sidecar's part of a number of calls that may be under way at all replicas together.
 *
 *      acquire --held and unused----------------------> ADMIT --release--> the next that waits, or given back
 *        +-----known to be full--> QUEUED, or DENY        ^
 *        +-----else: PARKED --reply--granted--------------+
 *                       |       +----none--> QUEUED, or DENY; asked again every 50 ms
 *                       +--no reply, or no Redis--> ADMIT, QUEUED or DENY as P4 says
 *
 * Laws
 *
 *  P1  What a sidecar holds it has been granted, and no other has it, for `hold_ns` from when it asked.  It tells what
 *      it holds and needs, not what changes: a sync that was lost is told again by the next.
 *  P2  A call under way keeps its permit whatever happens; a call is let in while fewer are under way than are held.
 *  P3  Spare permits are few: an eighth of those in use, no more than a quarter of an even share.  A cap below four
 *      times the number of replicas has none, nor has who knows of others that wait: each call asks.
 *  P4  Holdings are told anew at a third of their time; who cannot for all of it has lost them.  Without Redis
 *      `deny` goes on with what is held, `allow` without end, and `local` with what is held and an even part of what
 *      was free by an answer of the last second; with an even share of the cap, one at least, when hold_ns has passed
 *      since Redis was gone: what others held has ended.  Who is alone has all of it at once.
 *  P5  Of calls that wait, the most urgent is next, then the first, or with newest_first the last.  A full queue
 *      turns away who would be served last.
 *  P6  Replicas with calls that wait get an even share: who holds more gives back what comes free, when others have
 *      waited for half a second.  Of a cap below their number they take turns.
 *  P7  When the cap is lowered, what comes free here is not used again, until an answer says that there is room.
 *
 * So the cap is exact while Redis answers and keeps its data.  Without it all together stay within the cap, but for
 * what was granted in the last second before, calls that outlast the time of their permits, and a cap below the
 * number of replicas.  Where Redis lost its data, who is told first may be granted what others have not told yet:
 * twice the cap at most, until those calls end.
 *
 * Pure, as lease.h is. */
#ifndef STORE_PERMITS_H
#define STORE_PERMITS_H

#include "store/lease.h"

struct permits_rule {
	uint64_t cap; /* 1 or more */
	uint64_t hold_ns;
	enum lease_on_error on_error;
	uint32_t parked_max; /* that wait for an answer */
	uint32_t peers;      /* at least so many share it, whatever the world's says */
	uint32_t queue_size; /* that wait for a permit; 0: none does */
	bool newest_first;
};

/* Of all keys of a policy. */
struct permits_sum {
	uint64_t in_use, queued;
	uint64_t fallbacks; /* decisions without Redis */
};

/* Those of a process; the time, peers and whether Redis is there stand in the world of its leases. */
struct permits_world {
	struct lease_world *common;
	struct list kicked;  /* with something to tell */
	struct list held;    /* who holds something, or has calls under way */
	struct list waiting; /* with calls that wait */
	uint32_t n_waiting;
	bool settled; /* calls that waited were answered: the caller's to clear */
};

struct permits {
	struct permits_world *world;
	const struct permits_rule *rule;
	struct permits_sum *sum;
	uint64_t in_use, held;
	uint64_t left;                /* that nobody held when last heard of */
	uint64_t yields, yield_at_ns; /* P6: to be given back as calls end, from then on */
	uint64_t held_until_ns, renew_at_ns, deny_until_ns, replied_at_ns;
	/* since when, and when last, calls had to be decided without an answer; since 0: they are answered in time */
	uint64_t late_since_ns, late_at_ns;
	bool in_flight;
	uint64_t sent_at_ns, sent_need, sent_want, sent_cap;
	bool told_of_waits;
	bool is_over; /* P7: more may be under way than the cap that there is now */
	struct list parked;          /* of struct permits_ask, who is next first */
	uint32_t n_parked, n_queued; /* the latter are among them */
	uint64_t started_sum_ns;     /* when those under way began, added up (and around) */
	uint64_t call_ns;            /* how long they take, smoothed; 0: none has ended */
	struct list kick_link, held_link, wait_link;
};

/* One call; its memory is the caller's. */
struct permits_ask {
	struct permits *permits;
	/* A parked one is answered: once, from inside a permits_ function; it must not call one. */
	void (*settle)(struct permits_ask *, enum lease_answer);
	bool patient;      /* it waits in the queue */
	bool trial;        /* never parked: decided by what is known */
	uint8_t urgency;   /* 0: first */
	uint64_t retry_ns; /* LEASE_DENY: when to ask again */
	bool unavailable;  /* LEASE_DENY: not that there is none left, but that nobody can tell */

	/* private */
	struct list link;
	bool parked, queued;
	uint64_t started_ns;
};

void permits_world_init(struct permits_world *, struct lease_world *);
void permits_init(struct permits *, struct permits_world *, const struct permits_rule *,
		  struct permits_sum *);
void permits_fini(struct permits *); /* nothing is parked or under way, of calls or syncs */
/* Nobody needs it: its memory may go. */
bool permits_are_idle(const struct permits *);
/* The cap will be this: who waits asks anew. */
void permits_change_cap(struct permits *, uint64_t cap);

/* ADMIT: permits_release must follow.  PARK: settle will be called, or has been. */
enum lease_answer permits_acquire(struct permits_ask *);
void permits_leave(struct permits_ask *);
/* Its time for waiting is over: ADMIT or DENY. */
enum lease_answer permits_late(struct permits_ask *);
void permits_release(struct permits_ask *);

/* How many more would be let in, as far as is known here. */
uint64_t permits_left(const struct permits *);
/* Whether a call would be refused now, and for how long; nothing changes. */
bool permits_would_refuse(const struct permits *, bool patient, uint64_t *retry_ns);

struct permits_sync {
	uint64_t need, want, waits;
};

/* The next with something to tell; NULL: none.  permits_reply or permits_lost must follow for it. */
struct permits *permits_next(struct permits_world *, struct permits_sync *);
void permits_reply(struct permits *, const struct sync_reply *);
/* Refused, or nobody knows: it comes to the same. */
void permits_lost(struct permits *);
/* Now and then: holdings that have to be told anew are, by permits_next. */
void permits_renew(struct permits_world *);
/* Redis is gone: who waits for it is answered.  The common world was told before, as below. */
void permits_down(struct permits_world *);
void permits_up(struct permits_world *);
/* Who waits asks again, where it is time to.  True: call it again, in about 10 ms. */
bool permits_pace(struct permits_world *);

#endif
