/* shared.h - all limits of a process that are shared through Redis: policies, keys and their leases, for all threads.
 *
 * Laws
 *  H1  One for a process, behind one lock, under which nobody ever waits: a decision is some hundred ns, that of a
 *      new key some us (its name is a digest).  A limit that changes, a policy that ends and a Redis that is back are
 *      told to all keys of theirs at once: some ms where there are 100,000.
 *  H2  Whoever carries syncs (one thread) is woken when there is something to carry and it was not told yet.
 *  H3  A call that waits is answered by the carrier's thread, or one that waits for a permit by any, through
 *      `settle`, under the lock; `settled` is called afterwards, without it.  A call that leaves, or is late, is told
 *      whether it was answered already.
 *  H4  Keys are bounded.  A key that has to be told something is not forgotten; where all have, a new key is
 *      decided by `on_error` alone.
 *  H5  Policies are found again by name and by the way they count: a reload that changes a limit keeps what was
 *      spent.  What the limit is changes when shared_policy_enforce says so: a reload that fails has changed nothing.
 *  H6  What a call took can be given back after its key was forgotten: then it is lost, and comes back by itself. */
#ifndef STORE_SHARED_H
#define STORE_SHARED_H

#include "store/lease.h"
#include "store/permits.h"

enum shared_kind { SHARED_BUCKET, SHARED_SLIDING, SHARED_FIXED, SHARED_BUDGET, SHARED_PERMITS };

struct shared_rule {
	enum shared_kind kind;
	enum lease_on_error on_error;
	bool strict;
	uint32_t overshoot_ppm;
	uint32_t parked_max;
	uint32_t peers; /* at least so many share it; 0: as many as there are */
	/* Windows: the limit, and the window.  Permits: how many, and how long they are held without news. */
	uint64_t count, period_us;
	uint64_t burst;    /* of a bucket */
	int64_t offset_us; /* of a budget's windows */
	/* Of permits: calls of a key that wait for one, and who is next. */
	uint32_t queue_size;
	bool newest_first;
};

struct shared_options {
	const char *space; /* lives as long */
	struct slice salt;
	char sidecar[SIDECAR_NAME_MAX + 1]; /* letters and digits, drawn anew by each process */
	uint32_t peers;                     /* at least */
	uint64_t now_ns, random;
	void (*wake)(void *owner);    /* any thread: there is something to carry */
	void (*settled)(void *owner); /* any thread: calls were answered */
	void *owner;
};

struct shared_limits;
struct shared_key;
struct shared_policy;

struct shared_limits *shared_new(const struct shared_options *); /* NULL: out of memory */
void shared_free(struct shared_limits *); /* after every put; nothing is under way */

/*---------------------------------------------------------- control thread */

/* NULL, or what is wrong with it: a sentence, as shared_policy_get says it. */
const char *shared_rule_check(const struct shared_rule *);
/* Finds or makes; the rule of one that is found stays as it is.  NULL: *why says what is wrong with the rule, or is
 * NULL: memory is out. */
struct shared_policy *shared_policy_get(struct shared_limits *, const char *name,
					const struct shared_rule *, uint32_t max_keys,
					const char **why);
/* From here the rule is this, with which the policy was got. */
void shared_policy_enforce(struct shared_limits *, struct shared_policy *,
			   const struct shared_rule *);
/* No call waits that asks it, or has a permit of it. */
void shared_policy_put(struct shared_limits *, struct shared_policy *);

/*-------------------------------------------------------------- any thread */

/* What a call asks of one policy. */
struct shared_want {
	struct shared_policy *policy;
	uint64_t key;             /* fingerprint within this process */
	const struct slice *part; /* what it was made of: looked at when the key is new */
	unsigned n_parts;
	uint64_t cost;
};

struct shared_view {
	unsigned want;     /* which of them is nearest to refusing, or refuses for the longest */
	uint64_t left;     /* as far as is known */
	uint64_t reset_ns; /* until all of it is there again */
	uint64_t
	    retry_ns; /* it would be refused now, for so long; 0: it would not, as far as is known */
};

/* One call; its memory lasts until it is answered, and is not moved. */
struct shared_ask {
	struct lease_ask ask;    /* first; settle and at_once are the caller's to set */
	bool unavailable;        /* DENY: not that there is none left, but that nobody can tell */
	struct shared_view view; /* when it is answered: as it is then */
	struct lease_part part[LEASE_PARTS_MAX];
	struct {
		struct shared_policy *policy;
		uint64_t key;
	} of[LEASE_PARTS_MAX];
	uint8_t want[LEASE_PARTS_MAX]; /* which of the wants each part is */
};

/* PARK: settle comes, unless the call leaves or is late; it says shared_settled. */
enum lease_answer shared_admit(struct shared_limits *, uint64_t now_ns, const struct shared_want *,
			       unsigned n, struct shared_ask *);
/* In settle, under the lock: as when shared_admit answers. */
void shared_settled(struct shared_ask *, enum lease_answer);
/* False: it was answered already. */
bool shared_leave(struct shared_limits *, struct shared_ask *);
bool shared_late(struct shared_limits *, uint64_t now_ns, struct shared_ask *, enum lease_answer *);
/* What it took is not used: of an admitted one. */
void shared_return(struct shared_limits *, uint64_t now_ns, struct shared_ask *);

/* One call that asks for a permit; as above, and until it is released. */
struct shared_permit {
	struct permits_ask
	    ask;      /* first; settle, patient, trial and urgency are the caller's to set */
	bool at_once; /* the caller's: it does not wait, PARK is no answer */
	struct shared_key *key; /* NULL: there was no room for one, and it goes on without */
};

/* Of a policy of SHARED_PERMITS; the cost means nothing.  ADMIT: shared_release follows. */
enum lease_answer shared_acquire(struct shared_limits *, uint64_t now_ns,
				 const struct shared_want *, struct shared_permit *);
bool shared_permit_leave(struct shared_limits *, struct shared_permit *);
bool shared_permit_late(struct shared_limits *, uint64_t now_ns, struct shared_permit *,
			enum lease_answer *);
/* How many more calls of this key would be let in, as far as is known; and for how long this one would be refused
 * now, 0: it would not.  Takes nothing, and makes no key. */
void shared_permits_look(struct shared_limits *, uint64_t now_ns, const struct shared_want *,
			 bool patient, uint64_t *left, uint64_t *retry_ns);
void shared_release(struct shared_limits *, uint64_t now_ns, struct shared_permit *);

/* Of what some wants ask for; takes nothing, and makes no key.  False: nothing is known of any. */
bool shared_look(struct shared_limits *, uint64_t now_ns, const struct shared_want *, unsigned n,
		 struct shared_view *);

struct shared_policy_gauge {
	uint64_t keys, evictions;
	uint64_t fallbacks;      /* decisions without Redis */
	uint64_t in_use, queued; /* of permits */
};

void shared_policy_gauge(struct shared_limits *, const struct shared_policy *,
			 struct shared_policy_gauge *);

/* For metrics. */
struct shared_gauge {
	uint64_t keys, local_keys; /* local: decided without Redis now */
	uint32_t peers;
	bool down;
};

void shared_gauge(struct shared_limits *, struct shared_gauge *);

/*----------------------------------------------------- the carrier's thread */

/* The next sync to carry, as a call; NULL: none.  One of the three below follows; after any of these there may be
 * more to carry. */
struct shared_key *shared_next(struct shared_limits *, uint64_t now_ns, struct script_call *);
void shared_reply(struct shared_limits *, uint64_t now_ns, struct shared_key *,
		  const struct sync_reply *);
void shared_refused(struct shared_limits *, uint64_t now_ns, struct shared_key *);
void shared_lost(struct shared_limits *, uint64_t now_ns, struct shared_key *);
void shared_down(struct shared_limits *, uint64_t now_ns);
void shared_up(struct shared_limits *, uint64_t now_ns);
void shared_set_rtt(struct shared_limits *, uint64_t rtt_ns);
/* Once a second or more often: permits that are held are told anew. */
void shared_tick(struct shared_limits *, uint64_t now_ns);
/* After shared_next said NULL: calls that wait for a permit ask again when it is time to.  True: come again with
 * shared_next in SHARED_PACE_NS or sooner, whatever else there is. */
#define SHARED_PACE_NS UINT64_C(10000000)
bool shared_pace(struct shared_limits *, uint64_t now_ns);
/* So many sidecars were counted: more counts at once, fewer when it has been so for a minute. */
void shared_set_peers(struct shared_limits *, uint64_t now_ns, uint32_t n);
/* So many more have said that they leave: they do not count from now on. */
void shared_peers_left(struct shared_limits *, uint64_t now_ns, uint64_t n);
/* The call that tells that this sidecar is there, and asks how many are. */
void shared_peers_call(const struct shared_limits *, uint64_t hold_us, struct script_call *);

#endif
