/* cells.c - the set-associative array of limiter state.  Layout and laws are in cells.h. */
#include "filters/cells.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "base/check.h"
#include "filters/atomic_pair.h"

enum {
	STATE_HI_BITS = GCRA_TIME_BITS - 64, /* 20 */
	RULE_BITS = 8,
	PRINT_BITS = 64 - STATE_HI_BITS - RULE_BITS, /* 36 */
	FLOOR_GRAIN_NS = 16,                         /* 56 bits of it are 36 years */
	FLOOR_TIME_BITS = 56,
	STRIPES = 16,
	SAMPLE_SETS = 4096,
	NONE = -1,
};

struct set {
	struct atomic_pair cell[CELLS_PER_SET];
} __attribute__((aligned(64)));

/* Counters that many threads add to: apart, so that they seldom meet. */
struct stripe {
	_Atomic uint64_t n;
} __attribute__((aligned(64)));

struct cells {
	uint32_t magic, sets;
	size_t bytes; /* of the mapping: sets, then floors */
	struct set *set;
	_Atomic uint64_t *floor; /* one a set: rule (8) | time at which its debt is over (56) */
	struct cells *_Atomic previous;
	struct stripe evictions[STRIPES];
};

#define FLOOR_TIME_MASK ((UINT64_C(1) << FLOOR_TIME_BITS) - 1)

enum { CELLS_MAGIC = 0x43454c4c };

static const struct pair empty;

/* A key's place, as one thread saw it. */
struct view {
	struct set *set;
	uint32_t index;   /* of the set */
	int found;        /* cell, or NONE */
	uint64_t print;   /* of the key, never 0 */
	struct pair cell; /* the one found */
};

/*------------------------------------------------------------------ memory */

struct cells *cells_new(uint32_t keys)
{
	uint32_t sets = keys / CELLS_PER_SET + (keys % CELLS_PER_SET != 0);
	struct cells *c = NULL;
	void *map;

	CHECK(sets > 0);
	if (posix_memalign((void **)&c, 64, sizeof(*c)) != 0)
		return NULL;
	*c = (struct cells){ .magic = CELLS_MAGIC, .sets = sets };
	c->bytes = sets * (sizeof(struct set) + sizeof(uint64_t));
	map = mmap(NULL, c->bytes, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED) {
		free(c);
		return NULL;
	}
	c->set = map;
	c->floor = (void *)(c->set + sets);
	return c;
}

void cells_free(struct cells *c)
{
	if (c == NULL)
		return;
	CHECK_MAGIC(c, CELLS_MAGIC);
	c->magic = 0;
	munmap(c->set, c->bytes);
	free(c);
}

/*----------------------------------------------------------------- packing */

static struct pair pack(uint64_t print, uint8_t rule, gcra_time state)
{
	return (struct pair){
		.hi = print << (64 - PRINT_BITS) | (uint64_t)rule << STATE_HI_BITS |
		      (uint64_t)(state >> 64),
		.lo = (uint64_t)state,
	};
}

static uint64_t print_of(struct pair p)
{
	return p.hi >> (64 - PRINT_BITS);
}

static uint8_t tag_of(struct pair p)
{
	return (uint8_t)(p.hi >> STATE_HI_BITS);
}

static gcra_time state_of(struct pair p)
{
	return (gcra_time)(p.hi & ((UINT64_C(1) << STATE_HI_BITS) - 1)) << 64 | p.lo;
}

static const struct gcra_rule *rule_at(const struct cell_rules *rules, uint8_t tag)
{
	return atomic_load_explicit(&rules->rule[tag], memory_order_acquire);
}

/* In units of rule `as`. */
static gcra_time debt_as(struct pair p, const struct cell_rules *rules, uint8_t as, uint64_t now_ns)
{
	const struct gcra_rule *to = rule_at(rules, as), *from;
	gcra_time debt;

	if (tag_of(p) == as)
		return gcra_debt(state_of(p), to, now_ns);
	if (print_of(p) == 0)
		return 0;
	from = rule_at(rules, tag_of(p));
	debt = gcra_debt(state_of(p), from, now_ns);
	return debt == 0 ? 0 : gcra_rescale(debt, from, to);
}

/* 0: empty. */
static uint64_t full_at_ns(struct pair p, const struct cell_rules *rules)
{
	return print_of(p) == 0 ? 0 : gcra_full_at_ns(state_of(p), rule_at(rules, tag_of(p)));
}

/*-------------------------------------------------------------------- sets */

static struct view look(const struct cells *c, uint64_t key)
{
	uint64_t print = key & ((UINT64_C(1) << PRINT_BITS) - 1);
	struct view v = { .index = (uint32_t)((key >> 32) * c->sets >> 32), .found = NONE };

	v.print = print == 0 ? 1 : print;
	v.set = &c->set[v.index];
	for (int i = 0; i < CELLS_PER_SET; i++) {
		uint64_t hi = atomic_load_explicit(&v.set->cell[i].hi, memory_order_acquire);

		if (hi >> (64 - PRINT_BITS) != v.print)
			continue;
		v.cell = pair_load(&v.set->cell[i]);
		if (print_of(v.cell) != v.print)
			continue;
		v.found = i;
		break;
	}
	return v;
}

/* The cell that is free of debt first, or any that is so now; NONE: the key came in meanwhile. */
static int least(const struct view *v, const struct cell_rules *rules, uint64_t now_ns,
		 struct pair *cell, uint64_t *full_ns)
{
	int best = NONE;

	for (int i = 0; i < CELLS_PER_SET; i++) {
		struct pair p = pair_load(&v->set->cell[i]);
		uint64_t at;

		if (print_of(p) == v->print)
			return NONE;
		if (best != NONE && *full_ns <= now_ns)
			continue;
		at = full_at_ns(p, rules);
		if (best != NONE && at >= *full_ns)
			continue;
		best = i;
		*cell = p;
		*full_ns = at;
	}
	return best;
}

/* Someone put the same key into another cell of the set. */
static bool has_twin(const struct view *v, int mine)
{
	for (int i = 0; i < CELLS_PER_SET; i++)
		if (i != mine && print_of(pair_load(&v->set->cell[i])) == v->print)
			return true;
	return false;
}

static void floor_raise(struct cells *c, uint32_t index, uint8_t rule, uint64_t full_ns)
{
	uint64_t at = (full_ns + FLOOR_GRAIN_NS - 1) / FLOOR_GRAIN_NS & FLOOR_TIME_MASK;
	uint64_t old = atomic_load(&c->floor[index]);

	while ((old & FLOOR_TIME_MASK) < at) {
		if (atomic_compare_exchange_weak(&c->floor[index], &old,
						 (uint64_t)rule << FLOOR_TIME_BITS | at))
			return;
	}
}

static gcra_time floor_debt(const struct cells *c, uint32_t index, const struct cell_rules *rules,
			    uint8_t as, uint64_t now_ns)
{
	uint64_t word = atomic_load(&c->floor[index]);
	uint64_t full_ns = (word & FLOOR_TIME_MASK) * FLOOR_GRAIN_NS;
	uint8_t tag = (uint8_t)(word >> FLOOR_TIME_BITS);
	const struct gcra_rule *from;

	if (full_ns <= now_ns)
		return 0;
	from = rule_at(rules, tag);
	return gcra_rescale(gcra_debt((gcra_time)full_ns * from->count, from, now_ns), from,
			    rule_at(rules, as));
}

/* What this array alone knows of a key. */
static gcra_time debt_in(const struct cells *c, const struct view *v,
			 const struct cell_rules *rules, uint8_t as, uint64_t now_ns)
{
	if (v->found != NONE)
		return debt_as(v->cell, rules, as, now_ns);
	return floor_debt(c, v->index, rules, as, now_ns);
}

static gcra_time key_debt(const struct cells *c, const struct view *v,
			  const struct cell_rules *rules, uint8_t as, uint64_t key, uint64_t now_ns)
{
	gcra_time debt = debt_in(c, v, rules, as, now_ns);

	if (v->found != NONE)
		return debt;
	while ((c = atomic_load_explicit(&c->previous, memory_order_acquire)) != NULL) {
		struct view old = look(c, key);
		gcra_time before = debt_in(c, &old, rules, as, now_ns);

		debt = before > debt ? before : debt;
		if (old.found != NONE)
			break;
	}
	return debt;
}

static void count_eviction(struct cells *c, uint32_t index)
{
	atomic_fetch_add_explicit(&c->evictions[index % STRIPES].n, 1, memory_order_relaxed);
}

/* Up to twice a bucket: what twins have let pass together may be more than one of them may hold. */
static gcra_time together(gcra_time a, gcra_time b, const struct gcra_rule *r)
{
	return a + b < 2 * r->depth ? a + b : 2 * r->depth;
}

/* Adds a debt, under the rule of the cell, to a key's cell; false: it is not there any more. */
static bool owe(struct atomic_pair *cell, uint64_t print, struct pair debtor,
		const struct cell_rules *rules, uint64_t now_ns)
{
	for (;;) {
		struct pair p = pair_load(cell);
		const struct gcra_rule *r = rule_at(rules, tag_of(p));
		gcra_time debt;

		if (print_of(p) != print)
			return false;
		debt = together(debt_as(p, rules, tag_of(p), now_ns),
				debt_as(debtor, rules, tag_of(p), now_ns), r);
		if (pair_swap(cell, p, pack(print, tag_of(p), gcra_state(debt, r, now_ns))))
			return true;
	}
}

/* The key's second cell goes, and its debt goes to the first. */
static void fold_twins(struct cells *c, const struct view *seen, const struct cell_rules *rules,
		       uint64_t now_ns)
{
	for (int j = CELLS_PER_SET; j-- > 1;) {
		struct pair twin = pair_load(&seen->set->cell[j]);
		int first = 0;

		if (print_of(twin) != seen->print)
			continue;
		while (first < j && print_of(pair_load(&seen->set->cell[first])) != seen->print)
			first++;
		if (first == j || !pair_swap(&seen->set->cell[j], twin, empty))
			continue;
		if (!owe(&seen->set->cell[first], seen->print, twin, rules, now_ns))
			floor_raise(c, seen->index, tag_of(twin), full_at_ns(twin, rules));
	}
}

/* Puts a new key into the set.  False: somebody was faster, look again. */
static bool claim(struct cells *c, const struct view *v, const struct cell_rules *rules,
		  struct pair to, uint64_t now_ns)
{
	struct pair from;
	uint64_t full_ns;
	int i = least(v, rules, now_ns, &from, &full_ns);

	if (i == NONE)
		return false;
	if (full_ns > now_ns)
		floor_raise(c, v->index, tag_of(from), full_ns);
	if (!pair_swap(&v->set->cell[i], from, to))
		return false;
	if (full_ns > now_ns)
		count_eviction(c, v->index);
	if (!has_twin(v, i))
		return true;
	if (pair_swap(&v->set->cell[i], to, empty))
		return false;
	fold_twins(c, v, rules, now_ns); /* others have taken from mine since */
	return true;
}

/*--------------------------------------------------------------- decisions */

bool cells_take(struct cells *c, const struct cell_rules *rules, uint8_t rule, uint64_t key,
		uint64_t now_ns, uint64_t cost, struct gcra_view *view)
{
	const struct gcra_rule *r = rule_at(rules, rule);

	for (;;) {
		struct view v = look(c, key);
		gcra_time state = gcra_state(key_debt(c, &v, rules, rule, key, now_ns), r, now_ns);
		struct pair to;

		if (!gcra_take(&state, r, now_ns, cost, view)) {
			if (v.found == NONE || pair_same(&v.set->cell[v.found], v.cell))
				return false;
			continue;
		}
		to = pack(v.print, rule, state);
		if (v.found == NONE ? claim(c, &v, rules, to, now_ns)
				    : pair_swap(&v.set->cell[v.found], v.cell, to))
			return true;
	}
}

bool cells_peek(const struct cells *c, const struct cell_rules *rules, uint8_t rule, uint64_t key,
		uint64_t now_ns, uint64_t cost, struct gcra_view *view)
{
	const struct gcra_rule *r = rule_at(rules, rule);
	struct view v = look(c, key);
	gcra_time state = gcra_state(key_debt(c, &v, rules, rule, key, now_ns), r, now_ns);

	return gcra_take(&state, r, now_ns, cost, view);
}

/* Under another rule the same share of the bucket goes back. */
static gcra_time given(struct pair p, const struct cell_rules *rules, uint8_t rule, uint64_t cost)
{
	const struct gcra_rule *r = rule_at(rules, rule), *now = rule_at(rules, tag_of(p));
	gcra_time state = state_of(p), back;

	if (tag_of(p) == rule) {
		gcra_give(&state, r, cost);
		return state;
	}
	back = gcra_rescale((gcra_time)r->period * cost, r, now);
	return state > back ? state - back : 0;
}

void cells_give(struct cells *c, const struct cell_rules *rules, uint8_t rule, uint64_t key,
		uint64_t cost)
{
	for (;;) {
		struct view v = look(c, key);
		struct pair from;

		if (v.found == NONE)
			return;
		from = v.cell;
		if (pair_swap(&v.set->cell[v.found], from,
			      pack(v.print, tag_of(from), given(from, rules, rule, cost))))
			return;
	}
}

/*------------------------------------------------------------------ moving */

void cells_follow(struct cells *c, struct cells *previous)
{
	atomic_store_explicit(&c->previous, previous, memory_order_release);
}

struct cells *cells_previous(const struct cells *c)
{
	return atomic_load_explicit(&c->previous, memory_order_acquire);
}

/* A set that was never written reads as zeros, but reading touches its page: the owner asks seldom.
 */
uint64_t cells_full_at_ns(const struct cells *c, const struct cell_rules *rules)
{
	uint64_t latest = 0;

	for (uint32_t s = 0; s < c->sets; s++) {
		uint64_t floor = atomic_load(&c->floor[s]) & FLOOR_TIME_MASK;

		latest = floor * FLOOR_GRAIN_NS > latest ? floor * FLOOR_GRAIN_NS : latest;
		for (int i = 0; i < CELLS_PER_SET; i++) {
			uint64_t at = full_at_ns(pair_load(&c->set[s].cell[i]), rules);

			latest = at > latest ? at : latest;
		}
	}
	return latest;
}

static void retag_cell(struct atomic_pair *cell, const struct cell_rules *rules, uint8_t from,
		       uint8_t to)
{
	struct pair p;

	do {
		p = pair_load(cell);
		if (print_of(p) == 0 || tag_of(p) != from)
			return;
	} while (!pair_swap(
	    cell, p,
	    pack(print_of(p), to, (gcra_time)full_at_ns(p, rules) * rule_at(rules, to)->count)));
}

void cells_retag(struct cells *c, const struct cell_rules *rules, uint8_t from, uint8_t to)
{
	for (uint32_t s = 0; s < c->sets; s++) {
		uint64_t floor = atomic_load(&c->floor[s]);

		for (int i = 0; i < CELLS_PER_SET; i++)
			retag_cell(&c->set[s].cell[i], rules, from, to);
		while (floor >> FLOOR_TIME_BITS == from && floor != 0 &&
		       !atomic_compare_exchange_weak(&c->floor[s], &floor,
						     (uint64_t)to << FLOOR_TIME_BITS |
							 (floor & FLOOR_TIME_MASK)))
			;
	}
}

/*----------------------------------------------------------------- reading */

static unsigned live_in_set(const struct set *set, const struct cell_rules *rules, uint64_t now_ns)
{
	unsigned n = 0;

	for (int i = 0; i < CELLS_PER_SET; i++)
		n += full_at_ns(pair_load(&set->cell[i]), rules) > now_ns;
	return n;
}

uint64_t cells_live(const struct cells *c, const struct cell_rules *rules, uint64_t now_ns)
{
	uint32_t sample = c->sets < SAMPLE_SETS ? c->sets : SAMPLE_SETS;
	uint64_t n = 0;

	for (uint32_t i = 0; i < sample; i++)
		n += live_in_set(&c->set[(uint64_t)i * c->sets / sample], rules, now_ns);
	return n * c->sets / sample;
}

uint64_t cells_evictions(const struct cells *c)
{
	uint64_t n = 0;

	for (int i = 0; i < STRIPES; i++)
		n += atomic_load_explicit(&c->evictions[i].n, memory_order_relaxed);
	return n;
}

uint64_t cells_capacity(const struct cells *c)
{
	return (uint64_t)c->sets * CELLS_PER_SET;
}
