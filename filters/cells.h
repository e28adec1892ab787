/* cells.h - limiter state of many keys in a flat array of fixed size, without locks.
 *
 * A set is one cache line of four cells; a key's hash says which set.  A cell is 16 bytes:
 *
 *     hi: fingerprint (36) | rule (8) | state, upper 20 bits        lo: state, lower 64 bits
 *
 * Both words change together in one 16-byte compare-and-swap, so taking, claiming, evicting and
 * rescaling are each one step.  C11's own atomics of that size call into a library; atomic_pair.h
 * has the instruction.
 *
 * Laws
 *  C1  A cell whose debt has run out is as good as an empty one.  Nothing is ever cleaned up.
 *  C2  In a full set the cell that is free of debt first gives way; before it does, its debt
 * becomes the set's floor.  A key without a cell starts with the debt of the floor: who was evicted
 * comes back no richer than it left. C3  A refusal writes nothing. C4  The rule of a state is named
 * by its cell.  A take under another rule turns it into the same share of the new bucket, in the
 * same step that takes.  So a reload changes no cell, old and new policy may use the array at once,
 * and a policy that is loaded but never comes into force has touched nothing. C5  Time stands in
 * the arguments.
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

#include "filters/gcra.h"

enum { CELLS_PER_SET = 4, RULES_MAX = 256 };

/* The rules that cells name.  Published with release; what a slot points to stays until no thread
 * can hold it. */
struct cell_rules {
	struct gcra_rule *_Atomic rule[RULES_MAX];
};

struct cells;

/* For at least `keys` keys (1 or more).  Memory is the kernel's until it is touched.  NULL when it
 * is out. */
struct cells *cells_new(uint32_t keys);
void cells_free(struct cells *);

/* Any thread.  `key` is a hash that clients cannot steer; `rule` is in the rules already. */
bool cells_take(struct cells *, const struct cell_rules *, uint8_t rule, uint64_t key,
		uint64_t now_ns, uint64_t cost, struct gcra_view *);
/* What cells_take would say, without taking. */
bool cells_peek(const struct cells *, const struct cell_rules *, uint8_t rule, uint64_t key,
		uint64_t now_ns, uint64_t cost, struct gcra_view *);
/* A key that was evicted in between gets nothing back. */
void cells_give(struct cells *, const struct cell_rules *, uint8_t rule, uint64_t key,
		uint64_t cost);

/* One thread (control), while others use both: keys that are unknown to the array are looked for in
 * `previous` (and in what that follows, and so on), and their debt comes over when they next take;
 * so an array of another size is filled without being copied.  NULL: nothing left there that
 * matters.  A take under way in `previous` when the new array is published may stay behind. */
void cells_follow(struct cells *, struct cells *previous);
struct cells *cells_previous(const struct cells *);
/* When the last debt in it is over: until then it has to be followed. */
uint64_t cells_full_at_ns(const struct cells *, const struct cell_rules *);
/* One thread (control), while no policy uses rule `from`: its cells go over to `to`; the time at
 * which they are full stays. */
void cells_retag(struct cells *, const struct cell_rules *, uint8_t from, uint8_t to);

/* Any thread.  Keys in debt at now_ns: an estimate from a sample of the sets. */
uint64_t cells_live(const struct cells *, const struct cell_rules *, uint64_t now_ns);
uint64_t cells_evictions(const struct cells *); /* of keys in debt */
uint64_t cells_capacity(const struct cells *);  /* cells */

#endif
