/* table.c - tables by identity, their rules and their sizes.  The laws are in table.h. */
#include "filters/table.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "filters/cells.h"
#include "filters/stats.h"
#include "filters/table_internal.h"

enum {
	TABLE_MAGIC = 0x5441424c,
	REGISTRY_MAGIC = 0x54524547,
	ARRAYS_MAX = 4, /* one array and those it follows */
};

/* Precision of the clock that the control thread borrows from the takes. */
#define SEEN_GRAIN_NS UINT64_C(1000000)

struct table {
	uint32_t magic;
	uint32_t max_keys; /* that the present array was made for */
	struct cells *_Atomic cells;
	_Atomic uint64_t seen_ns;        /* about the latest time of any take */
	_Atomic uint64_t evicted_before; /* in arrays that are gone */
	struct cell_rules rules;
	uint32_t rule_refs[RULES_MAX];
	char *id;            /* struct table_id as one text */
	struct list link;    /* registry.tables */
	struct list uses;    /* struct table_use.link */
	struct list garbage; /* struct garbage.link */
};

/* What workers may still read: goes when every use up to `serial` is over. */
struct garbage {
	struct list link;
	uint64_t serial;
	struct cells *cells;
	struct gcra_rule *rule;
};

struct stats_entry {
	struct filter_stats stats; /* first */
	char *policy;
	unsigned refs;
	struct list link;
};

/*---------------------------------------------------------------- registry */

struct table_registry *table_registry_new(void)
{
	struct table_registry *r = calloc(1, sizeof(*r));

	if (r == NULL)
		return NULL;
	r->magic = REGISTRY_MAGIC;
	list_init(&r->tables);
	list_init(&r->stats);
	list_init(&r->states);
	return r;
}

void table_registry_free(struct table_registry *r)
{
	if (r == NULL)
		return;
	CHECK_MAGIC(r, REGISTRY_MAGIC);
	CHECK(list_empty(&r->tables) && list_empty(&r->stats) && list_empty(&r->states));
	r->magic = 0;
	free(r);
}

/*----------------------------------------------------------------- garbage */

static void garbage_free(struct garbage *g)
{
	list_remove(&g->link);
	cells_free(g->cells);
	free(g->rule);
	free(g);
}

static void garbage_collect(struct table *t)
{
	uint64_t oldest = UINT64_MAX;

	LIST_EACH (n, &t->uses) {
		struct table_use *use = LIST_ENTRY(n, struct table_use, link);

		oldest = use->serial < oldest ? use->serial : oldest;
	}
	LIST_EACH (n, &t->garbage) {
		struct garbage *g = LIST_ENTRY(n, struct garbage, link);

		if (g->serial < oldest)
			garbage_free(g);
	}
}

static struct garbage *garbage_new(void)
{
	struct garbage *g = calloc(1, sizeof(*g));

	if (g != NULL)
		list_init(&g->link);
	return g;
}

static void garbage_add(const struct table_registry *r, struct table *t, struct garbage *g)
{
	g->serial = r->serial;
	list_push_back(&t->garbage, &g->link);
}

/*-------------------------------------------------------------------- size */

static struct cells *cells_of(const struct table *t)
{
	return atomic_load_explicit(&t->cells, memory_order_acquire);
}

static unsigned count_arrays(const struct table *t)
{
	unsigned n = 0;

	for (const struct cells *c = cells_of(t); c != NULL; c = cells_previous(c))
		n++;
	return n;
}

/* Lets go of the oldest array that is followed, if all its debts are over. */
static bool drop_oldest(const struct table_registry *r, struct table *t)
{
	struct cells *before = NULL, *oldest = cells_of(t);
	struct garbage *g;

	while (cells_previous(oldest) != NULL) {
		before = oldest;
		oldest = cells_previous(oldest);
	}
	if (before == NULL || cells_full_at_ns(oldest, &t->rules) > atomic_load(&t->seen_ns))
		return false;
	g = garbage_new();
	if (g == NULL)
		return false;
	cells_follow(before, NULL);
	atomic_fetch_add(&t->evicted_before, cells_evictions(oldest));
	g->cells = oldest;
	garbage_add(r, t, g);
	return true;
}

/* False when memory is out.  With too many arrays to follow already, the size stays until the next
 * time. */
static bool resize(const struct table_registry *r, struct table *t, uint32_t max_keys)
{
	struct cells *c;

	while (drop_oldest(r, t))
		;
	if (max_keys == t->max_keys || count_arrays(t) == ARRAYS_MAX)
		return true;
	c = cells_new(max_keys);
	if (c == NULL)
		return false;
	cells_follow(c, cells_of(t));
	atomic_store_explicit(&t->cells, c, memory_order_release);
	t->max_keys = max_keys;
	return true;
}

static uint32_t wanted_keys(const struct table *t)
{
	uint32_t most = 0;

	LIST_EACH (n, &t->uses) {
		const struct table_use *use = LIST_ENTRY(n, struct table_use, link);

		most = use->max_keys > most ? use->max_keys : most;
	}
	return most;
}

/*---------------------------------------------------------------- identity */

/* The lengths go first, so that no two identities make one text. */
static char *id_text(const struct table_id *id)
{
	const char *part[] = { id->policy, id->kind, id->key, id->store };
	struct buf b = { .p = NULL };

	for (size_t i = 0; i < sizeof(part) / sizeof(part[0]); i++)
		buf_printf(&b, "%zu:%s ", strlen(part[i]), part[i]);
	if (!b.oom)
		return b.p;
	buf_fini(&b);
	return NULL;
}

static struct table *find(const struct table_registry *r, const char *id)
{
	LIST_EACH (n, &r->tables) {
		struct table *t = LIST_ENTRY(n, struct table, link);

		if (strcmp(t->id, id) == 0)
			return t;
	}
	return NULL;
}

/* Takes over `id`, except when it returns NULL. */
static struct table *table_new(struct table_registry *r, char *id, uint32_t max_keys)
{
	struct table *t = calloc(1, sizeof(*t));
	struct cells *c = cells_new(max_keys);

	if (t == NULL || c == NULL) {
		cells_free(c);
		free(t);
		return NULL;
	}
	t->magic = TABLE_MAGIC;
	t->max_keys = max_keys;
	t->id = id;
	atomic_init(&t->cells, c);
	list_init(&t->uses);
	list_init(&t->garbage);
	list_push_back(&r->tables, &t->link);
	return t;
}

static void table_free(struct table *t)
{
	struct cells *c = cells_of(t), *previous;

	LIST_EACH (n, &t->garbage)
		garbage_free(LIST_ENTRY(n, struct garbage, link));
	for (; c != NULL; c = previous) {
		previous = cells_previous(c);
		cells_free(c);
	}
	for (int i = 0; i < RULES_MAX; i++)
		free(atomic_load(&t->rules.rule[i]));
	list_remove(&t->link);
	free(t->id);
	t->magic = 0;
	free(t);
}

/* The table of this identity, large enough; NULL when memory is out. */
static struct table *find_or_make(struct table_registry *r, char *id, uint32_t max_keys)
{
	struct table *t = find(r, id);

	if (t == NULL) {
		t = table_new(r, id, max_keys);
		if (t == NULL)
			free(id);
		return t;
	}
	free(id);
	if (!resize(r, t, max_keys > t->max_keys ? max_keys : t->max_keys))
		return NULL;
	return t;
}

bool table_get(struct table_registry *r, const struct table_id *id, uint32_t max_keys,
	       struct table_use *use)
{
	char *text;
	struct table *t;

	CHECK_MAGIC(r, REGISTRY_MAGIC);
	CHECK(max_keys > 0);
	text = id_text(id);
	t = text == NULL ? NULL : find_or_make(r, text, max_keys);
	if (t == NULL)
		return false;
	*use = (struct table_use){ .table = t, .serial = ++r->serial, .max_keys = max_keys };
	list_init(&use->link);
	list_push_back(&t->uses, &use->link);
	return true;
}

void table_put(struct table_registry *r, struct table_use *use)
{
	struct table *t = use->table;

	CHECK_MAGIC(r, REGISTRY_MAGIC);
	CHECK_MAGIC(t, TABLE_MAGIC);
	list_remove(&use->link);
	use->table = NULL;
	if (list_empty(&t->uses)) {
		table_free(t);
		return;
	}
	garbage_collect(t);
	(void)resize(r, t, wanted_keys(t)); /* too large a table is no reason to fail */
}

/*------------------------------------------------------------------- rules */

static struct gcra_rule *rule_in(const struct table *t, unsigned tag)
{
	return atomic_load_explicit(&t->rules.rule[tag], memory_order_acquire);
}

/* Slots in the order of preference: the same rule, a new slot, one that no policy uses.  RULES_MAX:
 * none. */
static unsigned choose_slot(const struct table *t, const struct gcra_rule *rule)
{
	unsigned empty = RULES_MAX, idle = RULES_MAX;

	for (unsigned i = RULES_MAX; i-- > 0;) {
		const struct gcra_rule *r = rule_in(t, i);

		if (r != NULL && gcra_rule_eq(r, rule))
			return i;
		if (r == NULL)
			empty = i;
		else if (t->rule_refs[i] == 0)
			idle = i;
	}
	return empty != RULES_MAX ? empty : idle;
}

/* No cell names the slot after this. */
static void empty_slot(struct table *t, unsigned slot)
{
	unsigned to = (slot + 1) % RULES_MAX;

	for (unsigned i = 0; i < RULES_MAX; i++)
		if (t->rule_refs[i] > 0)
			to = i;
	for (struct cells *c = cells_of(t); c != NULL; c = cells_previous(c))
		cells_retag(c, &t->rules, (uint8_t)slot, (uint8_t)to);
}

/* The rule that was there is read by those who met a cell of it a moment ago. */
static bool fill_slot(struct table *t, unsigned slot, const struct gcra_rule *rule)
{
	struct gcra_rule *copy = malloc(sizeof(*copy)), *old = rule_in(t, slot);
	struct garbage *g = old == NULL ? NULL : garbage_new();

	if (copy == NULL || (old != NULL && g == NULL)) {
		free(copy);
		free(g);
		return false;
	}
	*copy = *rule;
	if (old != NULL) {
		struct table_use *last = LIST_ENTRY(t->uses.prev, struct table_use, link);

		empty_slot(t, slot);
		g->rule = old;
		g->serial = last->serial;
		list_push_back(&t->garbage, &g->link);
	}
	atomic_store_explicit(&t->rules.rule[slot], copy, memory_order_release);
	return true;
}

bool table_rule_get(struct table *t, const struct gcra_rule *rule, uint8_t *tag)
{
	unsigned slot;

	CHECK_MAGIC(t, TABLE_MAGIC);
	slot = choose_slot(t, rule);
	if (slot == RULES_MAX)
		return false;
	if ((rule_in(t, slot) == NULL || !gcra_rule_eq(rule_in(t, slot), rule)) &&
	    !fill_slot(t, slot, rule))
		return false;
	t->rule_refs[slot]++;
	*tag = (uint8_t)slot;
	return true;
}

void table_rule_put(struct table *t, uint8_t tag)
{
	CHECK_MAGIC(t, TABLE_MAGIC);
	CHECK(t->rule_refs[tag] > 0);
	t->rule_refs[tag]--;
}

/*-------------------------------------------------------------------- stats */

static struct stats_entry *stats_new(struct table_registry *r, const char *policy)
{
	struct stats_entry *e = NULL;

	if (posix_memalign((void **)&e, 64, sizeof(*e)) != 0)
		return NULL;
	memset(e, 0, sizeof(*e));
	e->policy = strdup(policy);
	if (e->policy == NULL) {
		free(e);
		return NULL;
	}
	list_push_back(&r->stats, &e->link);
	return e;
}

struct filter_stats *table_stats_get(struct table_registry *r, const char *policy)
{
	struct stats_entry *found = NULL;

	CHECK_MAGIC(r, REGISTRY_MAGIC);
	LIST_EACH (n, &r->stats) {
		struct stats_entry *e = LIST_ENTRY(n, struct stats_entry, link);

		if (strcmp(e->policy, policy) == 0)
			found = e;
	}
	if (found == NULL)
		found = stats_new(r, policy);
	if (found == NULL)
		return NULL;
	found->refs++;
	return &found->stats;
}

void table_stats_put(struct table_registry *r, struct filter_stats *stats)
{
	struct stats_entry *e = (struct stats_entry *)stats;

	CHECK_MAGIC(r, REGISTRY_MAGIC);
	if (e == NULL || --e->refs > 0)
		return;
	list_remove(&e->link);
	free(e->policy);
	free(e);
}

/*--------------------------------------------------------------- decisions */

/* Written seldom, so that reading it costs nothing. */
static void see(struct table *t, uint64_t now_ns)
{
	if (now_ns > atomic_load_explicit(&t->seen_ns, memory_order_relaxed) + SEEN_GRAIN_NS)
		atomic_store_explicit(&t->seen_ns, now_ns, memory_order_relaxed);
}

bool table_take(struct table *t, uint8_t tag, uint64_t key, uint64_t now_ns, uint64_t cost,
		struct gcra_view *view)
{
	see(t, now_ns);
	return cells_take(cells_of(t), &t->rules, tag, key, now_ns, cost, view);
}

bool table_peek(const struct table *t, uint8_t tag, uint64_t key, uint64_t now_ns, uint64_t cost,
		struct gcra_view *view)
{
	return cells_peek(cells_of(t), &t->rules, tag, key, now_ns, cost, view);
}

void table_give(struct table *t, uint8_t tag, uint64_t key, uint64_t cost)
{
	cells_give(cells_of(t), &t->rules, tag, key, cost);
}

void table_gauge(const struct table *t, uint64_t *keys, uint64_t *evictions)
{
	const struct cells *c = cells_of(t);

	*keys = cells_live(c, &t->rules, atomic_load_explicit(&t->seen_ns, memory_order_relaxed));
	*evictions = atomic_load_explicit(&t->evicted_before, memory_order_relaxed);
	for (; c != NULL; c = cells_previous(c))
		*evictions += cells_evictions(c);
}
