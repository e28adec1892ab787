/* table.h - keyed limiter state with an identity, found again by the policies of every reload.
 *
 * A table is state; a filter is the rule that reads it.  The registry belongs to the control
 * thread; takes come from any thread.
 *
 * Laws
 *
 *  T1  A table lives as long as some policy uses it.  A reload opens the new policy before it
 * closes the old one, so what stays in the file keeps its state.
 *
 *  T2  The rules of a policy come into force together, at its first take, and those before them are
 * over then; opening alone changes nothing that a policy in force could notice.  The time of that
 * is when the policy was opened, or the last take before its first, whichever is later: nobody took
 * anything between, so a table that nobody asks changes over at the reload.  What that means for a
 * key's state is law C4 of cells.h.  A policy with the rules of the one in force changes nothing.
 *
 *  T5  Rules of different lanes (table_use.lane) are in force side by side.  Those of a lane that no
 * policy uses any more go when others change.
 *
 *  T3  A table is as large as the largest max_keys of the policies that use it: it grows when one
 * is opened and shrinks when one is closed.  Keys come over as they are asked for.
 *
 *  T4  Memory that a worker may still read is given back when every policy that was open then has
 * been closed. */
#ifndef FILTERS_TABLE_H
#define FILTERS_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "filters/quota.h"

struct filter_stats;
struct sharing; /* filters/sharing.h */
struct table;
struct table_registry;

/* What makes two tables the same. */
struct table_id {
	const char *policy; /* name */
	const char *kind;   /* of filter */
	const char *key;    /* specification, canonical */
	const char *store;  /* "local" */
};

struct generation; /* rules that come into force together */

/* One policy's hold on a table. */
struct table_use {
	struct table *table;
	struct generation *generation; /* NULL: no rules */
	uint64_t serial;
	uint32_t max_keys;
	/* Which of the policies that share the table: the rules of one come into force without a
	 * word to the others'.  Set before table_rules_get; 0: it is not shared. */
	uint64_t lane;
	struct list link;
};

/* A rule, and for which keys: where a policy that comes after has a rule for the same keys and
 * entry, that one takes its place; else its rule for all others of that entry, else its first. */
struct table_rule {
	uint64_t match; /* 0: all others */
	struct quota_rule rule;
	uint8_t entry; /* which of the rules that such a key meets, below ENTRIES_MAX */
	uint16_t tag;  /* names it in takes */
};

enum { TABLE_RULES_MAX = 256 }; /* different ones of one policy */

/*---------------------------------------------------------- control thread */

struct table_registry *table_registry_new(void);   /* NULL: out of memory */
void table_registry_free(struct table_registry *); /* after every put */
/* The clock of the takes, in place of clock_mono_ns; and in place of clock_wall_ns, until
 * table_set_wall. */
void table_registry_set_clock(struct table_registry *, uint64_t (*now_ns)(void));
/* Where policies with `store: redis` count: before any is opened, copied.  Without it they count here. */
void table_registry_share(struct table_registry *, const struct sharing *);
const struct sharing *table_registry_sharing(const struct table_registry *);

/* How many of the keys that are refused most each policy and worker remembers (filters/top.h); may
 * change at any time, and counts from their next window. */
void table_registry_set_top(struct table_registry *, uint32_t keys);

/* Finds or makes.  The strings are copied; max_keys is 1 or more.  False when memory is out: *use
 * is untouched. */
bool table_get(struct table_registry *, const struct table_id *, uint32_t max_keys,
	       struct table_use *use);
void table_put(struct table_registry *, struct table_use *);

/* Makes the rules of a policy known, once for a use, and fills in their tags, which hold until
 * table_put.  False: memory is out, or they and those of the policies open are too many. */
bool table_rules_get(struct table_use *, struct table_rule *, uint32_t n);

/* Decision counters of a policy, by name; kept while some policy of that name is open.  NULL: out
 * of memory. */
struct filter_stats *table_stats_get(struct table_registry *, const char *policy);
void table_stats_put(struct table_registry *, struct filter_stats *);

/*-------------------------------------------------------------- any thread */

/* The wall clock as it stands, before takes under rules of windows. */
void table_set_wall(struct table *, uint64_t now_ns, uint64_t wall_ns);
/* True: taken.  *view is filled either way.  `key`: key.h; each entry of one asks with another.
 * *tag becomes the one for table_give: after a reload the last calls of the old policy are decided
 * by the new rule. */
bool table_take(struct table *, uint16_t *tag, uint64_t key, uint64_t now_ns, uint64_t cost,
		struct quota_view *view);
bool table_peek(struct table *, uint16_t tag, uint64_t key, uint64_t now_ns, uint64_t cost,
		struct quota_view *view);
void table_give(struct table *, uint16_t tag, uint64_t key, uint64_t window, uint64_t cost);
/* Only if nothing was taken since: the state is view.state of that take. */
bool table_undo(struct table *, uint16_t tag, uint64_t key, quota_state, uint64_t cost);
/* The key begins anew. */
void table_reset(struct table *, uint16_t tag, uint64_t key, uint64_t now_ns);
/* Control thread.  Keys that are in debt now (cells_live says how exact), and how many in debt had
 * to give way so far. */
void table_gauge(const struct table *, uint64_t *keys, uint64_t *evictions);

#endif
