/* table.c - tables by identity, their rules and their sizes.  The laws are in table.h. */
#include "filters/table.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "filters/cells.h"
#include "filters/stats.h"
#include "filters/table_internal.h"

enum {
	TABLE_MAGIC = 0x5441424c,
	REGISTRY_MAGIC = 0x54524547,
	ARRAYS_MAX = 4,   /* one array and those it follows */
	CHANGES_MAX = 32, /* of rules, until no state is older: how far one has to be followed */
};

/* Precision of seen_ns. */
#define SEEN_GRAIN_NS UINT64_C(1000000)

struct generation {
	struct list link;          /* table.generations, the oldest first */
	struct generation *before; /* is over when this one comes into force */
	uint64_t opened_ns, lane;
	_Atomic uint64_t start_ns; /* RULE_NEVER: not in force yet */
	uint32_t refs;             /* uses */
	uint32_t n;
	struct cell_rule **cell; /* n, of rule[i].tag: a slot may be another's by the time */
	struct table_rule rule[];
};

struct table {
	uint32_t magic;
	uint32_t max_keys; /* that the present array was made for */
	struct cells *_Atomic cells;
	_Atomic uint64_t seen_ns;        /* about the latest time of any take */
	_Atomic uint64_t evicted_before; /* in arrays that are gone */
	struct cell_rules rules;
	struct generation *owner[RULES_MAX]; /* NULL: a slot that no cell names */
	uint64_t (*clock)(void);
	unsigned changes;        /* of rules, since all cells were settled */
	char *id;                /* struct table_id as one text */
	struct list link;        /* registry.tables */
	struct list uses;        /* struct table_use.link */
	struct list generations; /* one at least, as soon as there are rules */
	struct list garbage;     /* struct garbage.link */
};

/* What workers may still read: goes when every use up to `serial` is over. */
struct garbage {
	struct list link;
	uint64_t serial;
	struct cells *cells;
	struct cell_rule *rule;
	struct generation *generation;
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
	r->clock = clock_mono_ns;
	r->wall = clock_wall_ns;
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

void table_registry_set_clock(struct table_registry *r, uint64_t (*now_ns)(void))
{
	CHECK_MAGIC(r, REGISTRY_MAGIC);
	r->clock = r->wall = now_ns;
}

void table_registry_share(struct table_registry *r, const struct sharing *s)
{
	CHECK_MAGIC(r, REGISTRY_MAGIC);
	r->sharing = *s;
}

void table_registry_set_top(struct table_registry *r, uint32_t keys)
{
	CHECK_MAGIC(r, REGISTRY_MAGIC);
	atomic_store_explicit(&r->top_keys, keys, memory_order_relaxed);
}

const struct sharing *table_registry_sharing(const struct table_registry *r)
{
	CHECK_MAGIC(r, REGISTRY_MAGIC);
	return &r->sharing;
}

/*----------------------------------------------------------------- garbage */

static void garbage_free(struct garbage *g)
{
	list_remove(&g->link);
	cells_free(g->cells);
	free(g->rule);
	free(g->generation);
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

static void garbage_add(struct table *t, struct garbage *g)
{
	g->serial = LIST_ENTRY(t->uses.prev, struct table_use, link)->serial;
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
static bool drop_oldest(struct table *t)
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
	garbage_add(t, g);
	return true;
}

/* False when memory is out.  With too many arrays to follow already, the size stays until the next
 * time. */
static bool resize(struct table *t, uint32_t max_keys)
{
	struct cells *c;

	while (drop_oldest(t))
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
	t->clock = r->clock;
	quota_epoch_set(&t->rules.epoch, r->clock(), r->wall());
	atomic_init(&t->cells, c);
	list_init(&t->uses);
	list_init(&t->generations);
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
	LIST_EACH (n, &t->generations)
		free(LIST_ENTRY(n, struct generation, link));
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
	if (!resize(t, max_keys > t->max_keys ? max_keys : t->max_keys))
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

/*------------------------------------------------------------------- rules */

static struct cell_rule *rule_in(const struct table *t, unsigned tag)
{
	return atomic_load_explicit(&t->rules.rule[tag], memory_order_acquire);
}

static bool is_pending(const struct generation *g)
{
	return atomic_load(&g->start_ns) == RULE_NEVER;
}

/* Of a lane. */
static struct generation *newest(const struct table *t, uint64_t lane)
{
	struct generation *last = NULL;

	LIST_EACH (n, &t->generations) {
		struct generation *g = LIST_ENTRY(n, struct generation, link);

		if (g->lane == lane)
			last = g;
	}
	return last;
}

static void end_rule(struct cell_rule *r, uint64_t at_ns)
{
	atomic_store_explicit(&r->end_ns, at_ns, memory_order_relaxed);
	atomic_store_explicit(&r->phase, RULE_OVER, memory_order_release);
}

/* Not when it is over already: a thread that helps may come late. */
static void start_rule(struct cell_rule *r, uint64_t at_ns)
{
	uint32_t pending = RULE_PENDING;

	atomic_store_explicit(&r->start_ns, at_ns, memory_order_relaxed);
	atomic_compare_exchange_strong(&r->phase, &pending, RULE_CURRENT);
}

/* T2, to the precision of seen_ns. */
static uint64_t time_of_change(const struct table *t, const struct generation *g, uint64_t now_ns)
{
	uint64_t last_ns = atomic_load(&t->seen_ns);

	if (last_ns <= g->opened_ns)
		return g->opened_ns;
	last_ns += SEEN_GRAIN_NS;
	return last_ns < now_ns ? last_ns : now_ns;
}

/* Threads that get here together all do it, with the time of the first. */
static void come_into_force(struct table *t, struct generation *g, uint64_t now_ns)
{
	uint64_t at_ns = time_of_change(t, g, now_ns), first = RULE_NEVER;

	if (!atomic_compare_exchange_strong(&g->start_ns, &first, at_ns))
		at_ns = first;
	for (uint32_t i = 0; g->before != NULL && i < g->before->n; i++)
		end_rule(g->before->cell[i], at_ns);
	for (uint32_t i = 0; i < g->n; i++)
		start_rule(g->cell[i], at_ns);
}

/* The rule of this generation in the place of another's. */
static uint16_t heir(const struct generation *g, const struct table_rule *of)
{
	uint16_t tag = g->rule[0].tag;

	for (uint32_t i = g->n; i-- > 0;)
		if (g->rule[i].match == 0 && g->rule[i].entry == of->entry)
			tag = g->rule[i].tag;
	for (uint32_t i = 0; i < g->n; i++)
		if (g->rule[i].match == of->match && g->rule[i].entry == of->entry)
			return g->rule[i].tag;
	return tag;
}

/* Backwards: where rules share a tag, its first place decides. */
static void name_heirs(const struct generation *of, const struct generation *g)
{
	for (uint32_t i = of->n; i-- > 0;)
		atomic_store(&of->cell[i]->next, heir(g, &of->rule[i]));
}

static void free_slots(struct table *t, const struct generation *g)
{
	for (unsigned i = 0; i < RULES_MAX; i++)
		if (t->owner[i] == g)
			t->owner[i] = NULL;
}

/* That is over and in no use.  Whoever met a cell of it a moment ago still reads it. */
static void generation_retire(struct table *t, struct generation *g)
{
	struct garbage *garbage = garbage_new();

	if (garbage == NULL)
		return;
	free_slots(t, g);
	list_remove(&g->link);
	garbage->generation = g;
	garbage_add(t, garbage);
}

/* Of a lane that another policy would have to come back to.  NULL: there is no other lane. */
static const struct generation *heir_of_lane(const struct table *t, const struct generation *g)
{
	const struct generation *of = NULL;

	LIST_EACH (n, &t->generations) {
		const struct generation *other = LIST_ENTRY(n, struct generation, link);

		if (other->lane != g->lane && other->refs > 0 && !is_pending(other))
			of = other;
	}
	return of;
}

/* What was in force there goes on as what is in force here. */
static void join_lanes(struct table *t, struct generation *last, const struct generation *to)
{
	uint64_t lane = last->lane, now_ns = t->clock();

	name_heirs(last, to);
	for (uint32_t i = 0; i < last->n; i++)
		end_rule(last->cell[i], now_ns);
	LIST_EACH (n, &t->generations) {
		struct generation *g = LIST_ENTRY(n, struct generation, link);

		if (g->lane != lane)
			continue;
		g->lane = to->lane;
		list_remove(&g->link);
		list_push_front(&t->generations, &g->link); /* none of them is the newest there */
	}
}

/* Of one lane without policies; false: there is no such. */
static bool end_lane(struct table *t)
{
	LIST_EACH (n, &t->generations) {
		struct generation *g = LIST_ENTRY(n, struct generation, link);
		const struct generation *to;

		if (g->refs > 0 || is_pending(g) || g != newest(t, g->lane))
			continue;
		to = heir_of_lane(t, g);
		if (to == NULL)
			continue;
		join_lanes(t, g, to);
		return true;
	}
	return false;
}

static bool is_before_pending(const struct table *t, const struct generation *g)
{
	const struct generation *last = newest(t, g->lane);

	CHECK(last != NULL);
	return last != g && is_pending(last) && last->before == g;
}

/* No cell names a rule that is over after this: those of closed policies can go. */
static void settle(struct table *t)
{
	while (end_lane(t))
		;
	for (struct cells *c = cells_of(t); c != NULL; c = cells_previous(c))
		cells_settle(c, &t->rules);
	LIST_EACH (n, &t->generations) {
		struct generation *g = LIST_ENTRY(n, struct generation, link);
		const struct generation *last = newest(t, g->lane);

		if (is_before_pending(t, g))
			continue;
		if (g != last && g->refs == 0)
			generation_retire(t, g);
		else if (g != last)
			name_heirs(g, last);
	}
	t->changes = 0;
}

/* A policy that was opened and never asked. */
static void generation_put(struct table *t, struct generation *g)
{
	CHECK(g->refs > 0);
	if (--g->refs > 0 || !is_pending(g))
		return;
	free_slots(t, g);
	list_remove(&g->link);
	free(g);
}

/* The rule that was there may be read by those who met a cell of it a moment ago. */
static bool fill_slot(struct table *t, uint16_t slot, const struct table_rule *rule)
{
	struct cell_rule *r = aligned_alloc(64, sizeof(*r)), *old = rule_in(t, slot);
	struct garbage *g = old == NULL ? NULL : garbage_new();

	if (r == NULL || (old != NULL && g == NULL)) {
		free(r);
		free(g);
		return false;
	}
	*r = (struct cell_rule){ .rule = rule->rule,
				 .phase = RULE_PENDING,
				 .start_ns = RULE_NEVER,
				 .entry = rule->entry };
	atomic_store_explicit(&t->rules.rule[slot], r, memory_order_release);
	if (g != NULL) {
		g->rule = old;
		garbage_add(t, g);
	}
	return true;
}

/* Rule i: as one before it, or in the first slot from *slot on that is free. */
static bool give_tag(struct table *t, struct generation *g, uint32_t i, uint32_t *slot)
{
	struct table_rule *r = &g->rule[i];

	for (uint32_t j = 0; j < i; j++) {
		if (g->rule[j].entry != r->entry || !quota_rule_eq(&g->rule[j].rule, &r->rule))
			continue;
		r->tag = g->rule[j].tag;
		return true;
	}
	while (*slot < RULES_MAX && t->owner[*slot] != NULL)
		++*slot;
	if (*slot == RULES_MAX || !fill_slot(t, (uint16_t)*slot, r))
		return false;
	t->owner[*slot] = g;
	r->tag = (uint16_t)*slot;
	return true;
}

static unsigned count_slots(const struct table *t, const struct generation *of)
{
	unsigned n = 0;

	for (unsigned i = 0; i < RULES_MAX; i++)
		n += t->owner[i] == of;
	return n;
}

static bool give_tags(struct table *t, struct generation *g)
{
	uint32_t slot = 0;

	for (uint32_t i = 0; i < g->n; i++) {
		if (!give_tag(t, g, i, &slot))
			return false;
		g->cell[i] = rule_in(t, g->rule[i].tag);
	}
	return count_slots(t, g) <= TABLE_RULES_MAX;
}

static struct generation *generation_new(struct table *t, uint64_t lane,
					 const struct table_rule *rules, uint32_t n)
{
	struct generation *g =
	    calloc(1, sizeof(*g) + n * (sizeof(g->rule[0]) + sizeof(g->cell[0])));

	if (g == NULL)
		return NULL;
	g->cell = (void *)(g->rule + n);
	g->lane = lane;
	g->before = newest(t, lane);
	g->opened_ns = t->clock();
	atomic_init(&g->start_ns, RULE_NEVER);
	g->n = n;
	memcpy(g->rule, rules, n * sizeof(rules[0]));
	list_init(&g->link);
	if (!give_tags(t, g)) {
		free_slots(t, g);
		free(g);
		return NULL;
	}
	if (g->before != NULL)
		name_heirs(g->before, g);
	list_push_back(&t->generations, &g->link);
	t->changes++;
	return g;
}

static bool same_rules(const struct generation *g, const struct table_rule *rules, uint32_t n)
{
	if (g->n != n)
		return false;
	for (uint32_t i = 0; i < n; i++)
		if (g->rule[i].match != rules[i].match || g->rule[i].entry != rules[i].entry ||
		    !quota_rule_eq(&g->rule[i].rule, &rules[i].rule))
			return false;
	return true;
}

/* The newest but for this one is in force, whether it was asked or not: a reload that failed has
 * closed what it opened. */
static struct generation *find_or_add(struct table *t, uint64_t lane,
				      const struct table_rule *rules, uint32_t n)
{
	struct generation *g = newest(t, lane);

	if (g != NULL && same_rules(g, rules, n))
		return g;
	if (g != NULL && is_pending(g))
		come_into_force(t, g, t->clock());
	if (t->changes >= CHANGES_MAX || count_slots(t, NULL) < n)
		settle(t);
	return generation_new(t, lane, rules, n);
}

bool table_rules_get(struct table_use *use, struct table_rule *rules, uint32_t n)
{
	struct generation *g;

	CHECK_MAGIC(use->table, TABLE_MAGIC);
	CHECK(n > 0 && use->generation == NULL);
	g = find_or_add(use->table, use->lane, rules, n);
	if (g == NULL)
		return false;
	g->refs++;
	use->generation = g;
	memcpy(rules, g->rule, n * sizeof(rules[0]));
	return true;
}

void table_put(struct table_registry *r, struct table_use *use)
{
	struct table *t = use->table;

	CHECK_MAGIC(r, REGISTRY_MAGIC);
	CHECK_MAGIC(t, TABLE_MAGIC);
	list_remove(&use->link);
	if (use->generation != NULL)
		generation_put(t, use->generation);
	*use = (struct table_use){ .table = NULL };
	if (list_empty(&t->uses)) {
		table_free(t);
		return;
	}
	garbage_collect(t);
	(void)resize(t, wanted_keys(t)); /* too large a table is no reason to fail */
}

/*-------------------------------------------------------------------- stats */

static struct stats_entry *stats_new(struct table_registry *r, const char *policy)
{
	struct stats_entry *e = NULL;

	if (posix_memalign((void **)&e, 64, sizeof(*e)) != 0)
		return NULL;
	memset(e, 0, sizeof(*e));
	e->stats.top_keys = &r->top_keys;
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
	free(atomic_load(&stats->waits));
	filter_stats_forget_top(stats);
	free(e->policy);
	free(e);
}

bool filter_stats_open_waits(struct filter_stats *stats)
{
	struct stat_hist *waits = atomic_load(&stats->waits);

	if (waits != NULL)
		return true;
	waits = calloc(FILTER_WORKERS_MAX, sizeof(*waits)); /* the kernel's until touched */
	atomic_store_explicit(&stats->waits, waits, memory_order_release);
	return waits != NULL;
}

bool filter_stats_waits(const struct filter_stats *stats, struct stat_sum *sum)
{
	const struct stat_hist *waits = atomic_load_explicit(&stats->waits, memory_order_acquire);

	for (unsigned w = 0; waits != NULL && w < FILTER_WORKERS_MAX; w++)
		stat_sum_add(sum, &waits[w]);
	return waits != NULL;
}

/*--------------------------------------------------------------- decisions */

/* Written seldom, so that reading it costs nothing. */
static void see(struct table *t, uint64_t now_ns)
{
	if (now_ns > atomic_load_explicit(&t->seen_ns, memory_order_relaxed) + SEEN_GRAIN_NS)
		atomic_store_explicit(&t->seen_ns, now_ns, memory_order_relaxed);
}

/* All of it that a policy in force costs: one look at a line that the decision needs anyway. */
static void before_take(struct table *t, uint16_t tag, uint64_t now_ns)
{
	if (atomic_load_explicit(&rule_in(t, tag)->phase, memory_order_acquire) == RULE_PENDING)
		come_into_force(t, t->owner[tag], now_ns);
}

void table_set_wall(struct table *t, uint64_t now_ns, uint64_t wall_ns)
{
	quota_epoch_set(&t->rules.epoch, now_ns, wall_ns);
}

bool table_take(struct table *t, uint16_t *tag, uint64_t key, uint64_t now_ns, uint64_t cost,
		struct quota_view *view)
{
	before_take(t, *tag, now_ns);
	see(t, now_ns);
	return cells_take(cells_of(t), &t->rules, tag, key, now_ns, cost, view);
}

bool table_peek(struct table *t, uint16_t tag, uint64_t key, uint64_t now_ns, uint64_t cost,
		struct quota_view *view)
{
	before_take(t, tag, now_ns);
	return cells_peek(cells_of(t), &t->rules, tag, key, now_ns, cost, view);
}

void table_give(struct table *t, uint16_t tag, uint64_t key, uint64_t window, uint64_t cost)
{
	cells_give(cells_of(t), &t->rules, tag, key, window, cost);
}

bool table_undo(struct table *t, uint16_t tag, uint64_t key, quota_state state, uint64_t cost)
{
	return cells_undo(cells_of(t), &t->rules, tag, key, state, cost);
}

void table_reset(struct table *t, uint16_t tag, uint64_t key, uint64_t now_ns)
{
	before_take(t, tag, now_ns);
	cells_reset(cells_of(t), &t->rules, tag, key, now_ns);
}

void table_gauge(const struct table *t, uint64_t *keys, uint64_t *evictions)
{
	uint64_t now_ns = t->clock(), live[ENTRIES_MAX] = { 0 };

	*keys = 0;
	*evictions = atomic_load_explicit(&t->evicted_before, memory_order_relaxed);
	for (const struct cells *c = cells_of(t); c != NULL; c = cells_previous(c)) {
		cells_live(c, &t->rules, now_ns, live);
		*evictions += cells_evictions(c);
	}
	for (int i = 0; i < ENTRIES_MAX; i++) /* the longest memory has all keys */
		*keys = live[i] > *keys ? live[i] : *keys;
}
