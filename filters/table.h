/* table.h - keyed limiter state with an identity, found again by the policies of every reload.
 *
 * A table is state; a filter is the rule that reads it.  The registry belongs to the control
 * thread; takes come from any thread.
 *
 * Laws
 *  T1  A table lives as long as some policy uses it.  A reload opens the new policy before it
 * closes the old one, so what stays in the file keeps its state. T2  Opening changes nothing that a
 * policy in force could notice: rules are added, and each key's state is rescaled by the first take
 * under the new one (cells.h, C4). T3  A table is as large as the largest max_keys of the policies
 * that use it: it grows when one is opened and shrinks when one is closed.  Keys come over as they
 * are asked for. T4  Memory that a worker may still read is given back when every policy that was
 * open then has been closed. */
#ifndef FILTERS_TABLE_H
#define FILTERS_TABLE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"
#include "filters/gcra.h"

struct filter_stats;
struct table;
struct table_registry;

/* What makes two tables the same. */
struct table_id {
	const char *policy; /* name */
	const char *kind;   /* of filter */
	const char *key;    /* specification, canonical */
	const char *store;  /* "local" */
};

/* One policy's hold on a table. */
struct table_use {
	struct table *table;
	uint64_t serial;
	uint32_t max_keys;
	struct list link;
};

/*---------------------------------------------------------- control thread */

struct table_registry *table_registry_new(void);   /* NULL: out of memory */
void table_registry_free(struct table_registry *); /* after every put */

/* Finds or makes.  The strings are copied; max_keys is 1 or more.  False when memory is out: *use
 * is untouched. */
bool table_get(struct table_registry *, const struct table_id *, uint32_t max_keys,
	       struct table_use *use);
void table_put(struct table_registry *, struct table_use *);

/* Makes a rule known; *tag names it in takes until table_rule_put.  False: memory is out, or open
 * policies use RULES_MAX different rules on this table. */
bool table_rule_get(struct table *, const struct gcra_rule *, uint8_t *tag);
void table_rule_put(struct table *, uint8_t tag);

/* Decision counters of a policy, by name; kept while some policy of that name is open.  NULL: out
 * of memory. */
struct filter_stats *table_stats_get(struct table_registry *, const char *policy);
void table_stats_put(struct table_registry *, struct filter_stats *);

/*-------------------------------------------------------------- any thread */

/* True: taken.  *view is filled either way.  `key`: key.h. */
bool table_take(struct table *, uint8_t tag, uint64_t key, uint64_t now_ns, uint64_t cost,
		struct gcra_view *view);
bool table_peek(const struct table *, uint8_t tag, uint64_t key, uint64_t now_ns, uint64_t cost,
		struct gcra_view *view);
void table_give(struct table *, uint8_t tag, uint64_t key, uint64_t cost);
/* Keys that are in debt (an estimate), and how many in debt had to give way so far. */
void table_gauge(const struct table *, uint64_t *keys, uint64_t *evictions);

#endif
