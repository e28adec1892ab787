/* cells.h - limiter state of many keys in a flat array of fixed size, without locks.
 *
 * A set is one cache line of four cells; a key's hash says which set.  A cell is 16 bytes:
 *
 *     hi: fingerprint (34) | rule (10) | state, upper 20 bits       lo: state, lower 64 bits
 *
 * Both words change together in one 16-byte compare-and-swap, so taking, claiming, evicting and
 * rescaling are each one step.  C11's own atomics of that size call into a library; atomic_pair.h
 * has the instruction.
 *
 * Laws
 *
 *  C1  A cell whose debt has run out is as good as an empty one.  Nothing is ever cleaned up.
 *
 *  C2  In a full set the cell that is free of debt first gives way; before it does, its debt
 * becomes the set's floor, a cell of nobody.  A key without a cell starts with the debt of the
 * floor: who was evicted comes back no richer than it left.
 *
 *  C3  A refusal writes nothing, but for the new form of a state that another rule wrote.
 *
 *  C4  The rule of a state is named by its cell.  A rule is pending, then current, then over; no
 * rule comes into force twice, whatever its numbers.  A state lives by its rule until that is over;
 * at that moment, not when somebody next asks, its debt becomes the same share of the bucket of the
 * rule that takes its place, and lives by that one from then on.  So a key's bucket is a function
 * of its takes and of the times of the reloads: being refused, idle or evicted changes nothing, and
 * nobody ever has more than one bucket of the rule in force.  A state goes from rule to rule as
 * often as they changed, and by `next` where the key was not seen; the last step is to the rule by
 * which it is asked for.  Of two rules that are both current (an override and the rest) a key that
 * meets both changes over at the time of the take.
 *
 *  C5  A take under a rule that is over is a take under the one that is in its place: the last
 * calls of an old policy spend what the new one gives.
 *
 *  C6  Time stands in the arguments.
 *
 * Two threads that meet a new key may put it into two cells of its set, if a third thread changes
 * the set between: who sees it after the swap takes its own cell back and starts again, or, if
 * others have taken from that already, folds the two into one. */
#ifndef FILTERS_CELLS_H
#define FILTERS_CELLS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "filters/quota.h"

enum {
	CELLS_PER_SET = 4,
	RULES_MAX = 1024,
	ENTRIES_MAX = 4, /* rules that one key meets together, each with a cell of its own */
};

enum rule_phase {
	RULE_CURRENT,
	RULE_PENDING, /* no cell names it yet */
	RULE_OVER,
};

#define RULE_NEVER UINT64_MAX

/* One rule for as long as it is in force.  What a take needs is in its first cache line. */
struct cell_rule {
	struct quota_rule rule;
	_Atomic uint32_t phase; /* enum rule_phase */
	_Atomic uint32_t next;  /* tag of what takes its place; means nothing before it is over */
	_Atomic uint64_t start_ns; /* RULE_NEVER while it is pending */
	_Atomic uint64_t end_ns;   /* once it is over */
	uint8_t entry;             /* which of a key's rules it is */
} __attribute__((aligned(64)));

/* The rules that cells name, by tag.  Published with release; what a slot points to stays until no
 * thread can hold it, and a slot that was filled is never empty again. */
struct cell_rules {
	struct quota_epoch epoch;
	struct cell_rule *_Atomic rule[RULES_MAX];
};

struct cells;

/* For at least `keys` keys (1 or more).  Memory is the kernel's until it is touched.  NULL when it
 * is out. */
struct cells *cells_new(uint32_t keys);
void cells_free(struct cells *);

/* Any thread.  `key` is a hash that clients cannot steer; the rule of *tag is current or over.
 * *tag becomes the rule that decided (C5): what cells_give wants to know, with the window charged.
 */
bool cells_take(struct cells *, const struct cell_rules *, uint16_t *tag, uint64_t key,
		uint64_t now_ns, uint64_t cost, struct quota_view *);
/* What cells_take would say, without taking. */
bool cells_peek(const struct cells *, const struct cell_rules *, uint16_t tag, uint64_t key,
		uint64_t now_ns, uint64_t cost, struct quota_view *);
/* A key that was evicted in between gets nothing back. */
void cells_give(struct cells *, const struct cell_rules *, uint16_t tag, uint64_t key,
		uint64_t window, uint64_t cost);
/* The same, only if nothing was taken since the take that left this state (view.state). */
bool cells_undo(struct cells *, const struct cell_rules *, uint16_t tag, uint64_t key, quota_state,
		uint64_t cost);

/* The key has all that it may have, as if it had never come; what is under way counts again. */
void cells_reset(struct cells *, const struct cell_rules *, uint16_t tag, uint64_t key,
		 uint64_t now_ns);

/* One thread (control), while others use both: keys that are unknown to the array are looked for in
 * `previous` (and in what that follows, and so on), and their debt comes over when they next take;
 * so an array of another size is filled without being copied, and no key is in two of them.  NULL:
 * nothing left there that matters.  A take under way in `previous` when the new array is published
 * may stay behind. */
void cells_follow(struct cells *, struct cells *previous);
struct cells *cells_previous(const struct cells *);
/* When the last debt in it is over: until then it has to be followed. */
uint64_t cells_full_at_ns(const struct cells *, const struct cell_rules *);
/* One thread (control): gives every state that an ended rule wrote the form that it would get when
 * asked for.  No cell and no floor names a rule after this that was over before, but for those of
 * takes that were under way. */
void cells_settle(struct cells *, const struct cell_rules *);

/* Any thread.  Adds the keys in debt at now_ns that have their cell here, by entry.  Exact as long
 * as no more than CELLS_COUNTED cells lie where keys ever were; of larger arrays every so manieth
 * page is counted: scrapes ask, and calls wait meanwhile. */
enum { CELLS_COUNTED = 256 << 10 };
void cells_live(const struct cells *, const struct cell_rules *, uint64_t now_ns,
		uint64_t live[static ENTRIES_MAX]);
uint64_t cells_evictions(const struct cells *); /* of keys in debt */
uint64_t cells_capacity(const struct cells *);  /* cells */

#endif
