/* lease.h - a sidecar's part of a limit that is shared through Redis: tokens held, tokens spent ahead, and when to ask.
 *
 * Most calls are decided here, at once: from tokens that were granted before they were needed, or on a bounded
 * credit.  What is to be told to Redis goes into one sync, of which one is under way at most.
 *
 *      TOKENS --spent--> CREDIT --used up--> calls are PARKED --reply--> served, or
 *        ^                  |                                            DENYING until tokens come back
 *        +----- reply ------+          no news, or none in time: LOCAL, until a reply
 *
 * Laws
 *
 *  L1  Held are at most `hold` tokens, for `hold_ns`; spent and not charged are at most `credit`.  Both together are
 *      the share of this sidecar in the overshoot; where that is less than a token both are 0 (strict): calls wait
 *      for the answer that is theirs.  Over any time T, N sidecars admit at most
 *      B + r T + the sum of their (hold + credit); more only by L4 and where Redis forgets.
 *
 *  L2  A call that asks several limits takes from all of them or from none.
 *
 *  L3  Who was answered with nothing, or that nothing is left, has no credit until it is granted something.
 *
 *  L4  A sync whose outcome is not known is never sent again (of a budget: again under the same number, which counts
 *      once).  Its charge is given up, at most `credit` each time: charging twice would be worse, as who is slow
 *      would pay for it.  Its grant comes back by itself.
 *
 *  L5  Without Redis a limit goes on as `on_error` says.  Local: a bucket of 1/M of the rate and of the burst.  It
 *      begins with 1/M of what was left by an answer of the last second: all of them together hold no more than the
 *      one did.  By an older answer, or none, it begins with one token, or with 1/M of what can be left at most where
 *      that is less: so a key that this sidecar never heard of has a call at once, and all of them together may let
 *      in N tokens more than the bucket had, once.  (Empty, they would let in none too many, and at 5/h by 4 a new
 *      client none at all for three quarters of an hour.)  Where the share is less than a call wants (a burst of 1 by
 *      4), the call has to find all of it and goes into debt for the rest: the rate holds, and of what comes at once
 *      all of them together let in N such calls.  A budget: 1/M of what was left when last heard of, and nothing more
 *      until its window is over, then 1/M of the next; of one never heard of, as above.
 *
 *  L6  After that, what was spent is charged, but no more than the local bucket lacks (what has come back here has
 *      come back there): neither refilled nor charged twice, whether Redis kept its data or not.
 *
 *  L7  Calls that wait are served in the order they came, and are bounded in number.
 *
 *  L8  A call that cannot wait (a retry that pays, one that is only tried out) is decided by what the last answer left,
 *      where another would wait, and charged with the next sync.  Of such calls one for each sidecar may be uncharged,
 *      or several within 1/M of what was left.
 *
 * Pure: no clock, no I/O, no thread, no memory of its own.  Tokens and ns are whole numbers. */
#ifndef STORE_LEASE_H
#define STORE_LEASE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "store/script.h"

__extension__ typedef unsigned __int128 lease_units;
__extension__ typedef __int128 lease_level;

enum lease_kind { LEASE_BUCKET, LEASE_WINDOW, LEASE_BUDGET };
enum lease_on_error { LEASE_LOCAL, LEASE_ALLOW, LEASE_REFUSE };

/* What a sidecar may hold and owe of one limit. */
struct lease_caps {
	uint64_t hold, credit;
};

struct lease_rule {
	enum lease_kind kind;
	enum lease_on_error on_error;
	bool strict;
	bool slides; /* a window of which what was taken in the one before counts as well */
	uint32_t overshoot_ppm; /* of burst + a second's worth, or of a window's limit */
	uint32_t parked_max;
	uint32_t peers;            /* at least so many share it, whatever the world's says */
	uint64_t burst;            /* tokens; or a window's limit */
	uint64_t count, period_ns; /* that come in a time; or a window's limit, and a window */

	/* private */
	struct lease_caps caps;
	uint32_t caps_peers;
};

/* All leases of a process, and what they have in common. */
struct lease_world {
	uint64_t now_ns;
	uint64_t rtt_ns; /* of a sync, smoothed */
	uint32_t peers;  /* M, 1 or more */
	bool down;
	uint64_t down_since_ns;
	uint64_t random;
	uint64_t seq;       /* of settlements: none is ever used twice */
	struct list kicked; /* leases with something to tell */
	struct list local;  /* leases that have decided by themselves */
	uint64_t n_local;
};

struct lease {
	struct lease_world *world;
	struct lease_rule *rule;
	int64_t balance;  /* above 0: held; below: spent and not charged */
	uint64_t surplus; /* charged and not wanted: given back with the next sync */
	uint64_t held_until_ns;
	uint64_t deny_until_ns, deny_cost; /* who wants as much, or more, is refused till then */
	bool has_credit;
	bool is_curious; /* what is left is asked for, even if there is nothing to tell */

	/* arrivals: tokens in 1000 s, smoothed over RATE_WINDOW_NS */
	uint64_t rate, rate_at_ns, asked_at_ns;

	/* the sync under way, or of a budget the one to be repeated */
	bool in_flight, unsettled;
	struct sync sent;
	uint64_t sent_debt, sent_back, sent_local;
	struct budget_count sent_count; /* what is owed belongs to, of a budget */
	uint64_t sent_own;

	/* calls that wait */
	struct list parked; /* of struct lease_part */
	uint32_t n_parked;
	uint64_t parked_cost;

	/* without Redis */
	bool is_local;
	uint32_t local_peers;
	uint64_t local_at_ns, local_spent;
	lease_level local_level; /* below 0: owed by a call that wanted more than the share is */

	/* what the last reply said */
	bool is_known;
	uint64_t left, full_at_ns, replied_at_ns;
	uint64_t window_ends_ns; /* of a window: what was taken in it is given back till then */

	/* budgets */
	uint64_t seq, own;
	struct budget_count count;

	struct list kick_link, local_link;
};

enum lease_answer {
	LEASE_ADMIT,
	LEASE_DENY,
	LEASE_PARK,
};

enum lease_source { FROM_BALANCE, FROM_LOCAL };

/* One limit that a call asks. */
struct lease_part {
	struct lease *lease;
	uint64_t cost;

	/* private */
	struct lease_ask *ask;
	struct list link;
	enum lease_source source;
};

enum { LEASE_PARTS_MAX = 8 };

/* One call; its memory is the caller's, and lasts while it is parked. */
struct lease_ask {
	unsigned n;
	struct lease_part *part;
	/* A parked one is answered: once, from inside a lease_ function.  It must not call one. */
	void (*settle)(struct lease_ask *, enum lease_answer);
	bool at_once; /* the caller's: it does not wait, PARK is no answer */
	/* LEASE_DENY: which part has the longest wait, and how long; SYNC_NEVER: for ever */
	unsigned denier;
	uint64_t retry_ns;
	bool parked;
};

/*------------------------------------------------------------------- leases */

void lease_world_init(struct lease_world *, uint64_t now_ns, uint64_t random);
void lease_init(struct lease *, struct lease_world *, struct lease_rule *);
/* Nothing is parked or under way. */
void lease_fini(struct lease *);
/* Nobody has to be told anything: its memory may go.  Tokens that it holds are lost, and come back by themselves. */
bool lease_is_idle(const struct lease *);

/* Its rule is about to become this one: the filled share of what is counted here stays, as in Redis (bucket.lua). */
void lease_change_rule(struct lease *, const struct lease_rule *to);

/* What each of `peers` sidecars may hold and owe; both 0: strict. */
struct lease_caps lease_caps_of(const struct lease_rule *, uint32_t peers);

/*-------------------------------------------------------------------- calls */

/* Members above "private" and settle are set.  ADMIT: all is taken.  DENY: nothing is.  PARK: settle will be
 * called. */
enum lease_answer lease_admit(struct lease_world *, struct lease_ask *);
/* The call waits no more: it is gone. */
void lease_leave(struct lease_ask *);
/* Its time for waiting is over: ADMIT or DENY, as without Redis. */
enum lease_answer lease_late(struct lease_world *, struct lease_ask *);
/* What an admitted call took is not used after all. */
void lease_return(struct lease_part *);
/* Whether a call of this cost would be refused now, as far as is known here, and for how long; nothing changes. */
bool lease_would_refuse(const struct lease *, uint64_t cost, uint64_t *retry_ns);
/* Tokens that are left now, and how long until all of them are, as far as is known here. */
void lease_look(const struct lease *, uint64_t *left, uint64_t *reset_ns);

/*-------------------------------------------------------------------- syncs */

/* The next lease with something to tell, and what; NULL: none.  One of lease_reply, lease_refused and lease_lost
 * must follow for it. */
struct lease *lease_next(struct lease_world *, struct sync *);
void lease_reply(struct lease *, const struct sync_reply *);
/* It was not carried out. */
void lease_refused(struct lease *);
/* Nobody knows whether it was. */
void lease_lost(struct lease *);

/* Redis is gone: do not call lease_next; who waits is answered when its time is over. */
void lease_down(struct lease_world *);
/* It is back, or some of it: what was spent without it is told. */
void lease_up(struct lease_world *);

#endif
