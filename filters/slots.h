/* slots.h - how many calls of one key are under way, and who waits for one of them to end.
 *
 * The state behind a concurrency policy, found again across reloads (state.h).  A call takes a slot
 * and gives it back; with a queue, one that finds none free waits.  Of each key that holds or
 * waits, and of no other, there is a gate; a policy without a key has one gate for good.
 *
 *  L1  A gate with calls waiting has no free slot: one that comes free goes on to the next at once,
 * on whichever worker that one waits.
 *  L2  Gates with holders are never evicted.  When there is no room for one more key, its call is
 * refused.
 *  L3  A call that waits is in one of three places, and leaves each of them whole: in its line; let
 * in or turned away, and not yet told (among its worker's wakes); told.
 *  L4  The rule of the policy that came into force last holds.  It comes into force by
 * slots_enforce, or by the first call under it.  The last calls of an older policy go by the cap
 * that their key was last given, where it has a gate. L5  A lock covers a few dozen instructions
 * and no call of the system.  Taking, giving and leaving need no memory of the heap but for the
 * line of a key that had none; where that is out, a call is refused.
 *
 * Who is served next: by urgency, 0 first; within it the oldest, or with newest_first the newest.
 * A full queue turns away whoever would be served last, which may be the call that comes. */
#ifndef FILTERS_SLOTS_H
#define FILTERS_SLOTS_H

#include "filters/gradient.h"
#include "filters/state.h"
#include "filters/wait.h"

enum { SLOTS_URGENCIES = 8 };

#define SLOTS_UNLIMITED UINT32_MAX

struct gate;  /* one key's slots */
struct shard; /* gates under one lock */
struct slots; /* of one policy */

/* What a policy says of them. */
struct slots_rule {
	uint64_t serial; /* slots_open gives it */
	uint32_t cap;    /* of each key, where nothing else is said */
	bool adapts;     /* the cap is learned (only without a key) */
	struct gradient_rule gradient;
	uint32_t queue_size; /* of each key; 0: none waits */
	bool newest_first;
	uint32_t keys; /* at once, at most; 0: the policy has no key */
};

/* A call's hold; in its mem.  Zeroed: none. */
struct slot {
	struct gate *gate;
	uint64_t started_ns;
	uint32_t in_use; /* with it, when it began */
};

struct slots_ask {
	const struct env *env;
	uint64_t serial; /* of the call's policy */
	uint64_t key;
	uint32_t cap; /* of this key, by the call's policy */
	bool pooled;  /* others have the same slots and another cap; no queue, nothing is learned */
};

/* How it stands with a key. */
struct slots_view {
	uint32_t cap, in_use, waiting;
	/* until a slot may be free for one more call, from how long those under way and the last
	 * ones took; 1 s to 1 h */
	uint64_t wait_ms;
	bool queue; /* there is one, and a place in it */
};

/* A call that waits; in its arena. */
struct waiter {
	struct woken woken; /* first */
	struct list link;
	struct gate *gate; /* while it is queued */
	struct shard *shard;
	struct slot *slot; /* the call's; filled when it is let in */
	uint64_t since_ns;
	struct ip client; /* for the override that its key falls under */
	uint8_t urgency;
	uint8_t worker;
	bool queued; /* in its line */
};

enum slots_answer { SLOTS_TAKEN, SLOTS_QUEUED, SLOTS_REFUSED };

/*---------------------------------------------------------- control thread */

/* NULL: out of memory.  Fills in the serial of the rule. */
struct slots *slots_open(struct table_registry *, const struct table_id *, struct slots_rule *);
void slots_close(struct table_registry *, struct slots *);

/*-------------------------------------------------------------- any worker */

bool slots_is_in_force(const struct slots *, uint64_t serial);
/* The rule holds from here; a raised cap lets in who waits.  cap_of: of a key with calls waiting,
 * one of which is from `client`. */
void slots_enforce(struct slots *, const struct slots_rule *, const struct env *,
		   uint32_t (*cap_of)(void *ctx, uint64_t key, const struct ip *client), void *ctx);

/* True: *slot is held.  *view is filled in either way. */
bool slots_take(struct slots *, const struct slots_ask *, struct slot *, struct slots_view *view);
/* Takes after all, or waits.  The waiter's slot, client, urgency, worker and woken's wait are
 * filled in; `late` of that is what it is told when another takes its place. */
enum slots_answer slots_wait(struct slots *, const struct slots_ask *, struct waiter *);
/* Of one that has not been told. */
void slots_leave(struct slots *, const struct env *, struct waiter *);
void slots_give(struct slots *, const struct env *, struct slot *);
/* What slots_take would find. */
bool slots_peek(struct slots *, const struct slots_ask *, struct slots_view *view);
/* How long the upstream took for a call that holds this slot (adapts). */
void slots_sample(struct slots *, const struct env *, const struct slot *, uint64_t latency_ns);

/*-------------------------------------------------------------- any thread */

struct slots_sum {
	uint64_t in_use, waiting, keys, cap;
};

void slots_sum(struct slots *, struct slots_sum *);

#endif
