/* cells.c - the set-associative array of limiter state.  Layout and laws are in cells.h. */
#include "filters/cells.h"

#include <stdlib.h>
#include <sys/mman.h>

#include "base/check.h"
#include "filters/atomic_pair.h"

enum {
	STATE_HI_BITS = QUOTA_STATE_BITS - 64, /* 20 */
	RULE_BITS = 10,
	PRINT_BITS = 64 - STATE_HI_BITS - RULE_BITS, /* 34 */
	STRIPES = 16,
	BLOCK_SETS = 64, /* a page of them */
	FLOOR_PRINT = 1,
	NONE = -1,
};

_Static_assert(RULES_MAX == 1 << RULE_BITS, "a tag does not fit its cell");

struct set {
	struct atomic_pair cell[CELLS_PER_SET];
} __attribute__((aligned(64)));

/* Counters that many threads add to: apart, so that they seldom meet. */
struct stripe {
	_Atomic uint64_t n;
} __attribute__((aligned(64)));

struct cells {
	uint32_t magic, sets, blocks;
	size_t bytes; /* of the mapping: sets, floors, touched */
	struct set *set;
	struct atomic_pair *floor; /* one a set: as a cell, of nobody */
	_Atomic uint8_t *touched;  /* one a block: whether a key was ever there */
	struct cells *_Atomic previous;
	struct stripe evictions[STRIPES];
};

enum { CELLS_MAGIC = 0x43454c4c };

static const struct pair empty;

/* A key's place, as one thread saw it. */
struct view {
	struct set *set;
	uint32_t index;   /* of the set */
	int found;        /* cell, or NONE */
	uint64_t print;   /* of the key, never 0 */
	struct pair cell; /* the one found */
	struct pair floor; /* none was: of the set, as it was after all cells had been looked at */
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
	*c = (struct cells){ .magic = CELLS_MAGIC,
			     .sets = sets,
			     .blocks = sets / BLOCK_SETS + (sets % BLOCK_SETS != 0) };
	c->bytes = sets * (sizeof(struct set) + sizeof(struct atomic_pair)) + c->blocks;
	map = mmap(NULL, c->bytes, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (map == MAP_FAILED) {
		free(c);
		return NULL;
	}
	c->set = map;
	c->floor = (void *)(c->set + sets);
	c->touched = (void *)(c->floor + sets);
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

static struct pair pack(uint64_t print, uint16_t rule, quota_state state)
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

static bool is_same(struct pair a, struct pair b)
{
	return a.lo == b.lo && a.hi == b.hi;
}

static uint16_t tag_of(struct pair p)
{
	return (uint16_t)(p.hi >> STATE_HI_BITS & (RULES_MAX - 1));
}

static quota_state state_of(struct pair p)
{
	return (quota_state)(p.hi & ((UINT64_C(1) << STATE_HI_BITS) - 1)) << 64 | p.lo;
}

/*------------------------------------------------------------------- rules */

static const struct cell_rule *rule_at(const struct cell_rules *rules, uint16_t tag)
{
	return atomic_load_explicit(&rules->rule[tag], memory_order_acquire);
}

static bool is_over(const struct cell_rule *r)
{
	return atomic_load_explicit(&r->phase, memory_order_acquire) == RULE_OVER;
}

static uint16_t next_of(const struct cell_rule *r)
{
	return (uint16_t)atomic_load_explicit(&r->next, memory_order_acquire);
}

/* The rule that is in the place of this one now. */
static uint16_t present(const struct cell_rules *rules, uint16_t tag)
{
	const struct cell_rule *r = rule_at(rules, tag);

	while (is_over(r)) {
		tag = next_of(r);
		r = rule_at(rules, tag);
	}
	return tag;
}

/* The same share, at that time. */
static quota_state change_over(quota_state state, const struct cell_rules *rules,
			       const struct cell_rule *from, const struct cell_rule *to,
			       uint64_t at_ns)
{
	return quota_convert(state, &from->rule, &to->rule, &rules->epoch, at_ns);
}

/* C4: the state under rule `as`, which is not over. */
static quota_state state_as(struct pair p, const struct cell_rules *rules, uint16_t as,
			    uint64_t now_ns)
{
	const struct cell_rule *to = rule_at(rules, as), *from;
	quota_state state = state_of(p);
	uint16_t tag = tag_of(p);

	while (tag != as && state != 0) {
		uint64_t end_ns;

		from = rule_at(rules, tag);
		if (!is_over(from))
			return change_over(state, rules, from, to, now_ns);
		end_ns = atomic_load_explicit(&from->end_ns, memory_order_relaxed);
		tag = atomic_load_explicit(&to->start_ns, memory_order_relaxed) <= end_ns
			  ? as
			  : next_of(from);
		state = change_over(state, rules, from, rule_at(rules, tag), end_ns);
	}
	return state;
}

static struct pair settle_cell(struct pair p, const struct cell_rules *rules)
{
	uint16_t to = present(rules, tag_of(p));

	return pack(print_of(p), to, state_as(p, rules, to, 0));
}

/* As it is without anybody asking for it: under the rule in the place of its own. */
static inline struct pair settled(struct pair p, const struct cell_rules *rules)
{
	bool as_it_is = print_of(p) == 0 || !is_over(rule_at(rules, tag_of(p)));

	return as_it_is ? p : settle_cell(p, rules);
}

/* 0: empty.  Of a settled one. */
static uint64_t full_at_ns(struct pair p, const struct cell_rules *rules)
{
	return print_of(p) == 0
		   ? 0
		   : quota_full_at_ns(state_of(p), &rule_at(rules, tag_of(p))->rule, &rules->epoch);
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
	if (v.found == NONE)
		v.floor = pair_load(&c->floor[v.index]);
	return v;
}

/* The cell that is free of debt first, or any that is so now; NONE: the key came in meanwhile. */
static int least(const struct view *v, const struct cell_rules *rules, uint64_t now_ns,
		 struct pair *cell, uint64_t *full_ns)
{
	int best = NONE;

	*full_ns = 0;
	for (int i = 0; i < CELLS_PER_SET; i++) {
		struct pair p = pair_load(&v->set->cell[i]);
		uint64_t at;

		if (print_of(p) == v->print)
			return NONE;
		if (best != NONE && *full_ns <= now_ns)
			continue;
		at = full_at_ns(settled(p, rules), rules);
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

/* What neither of two debtors would be richer by; of different rules, the one that lasts longer. */
static struct pair worse_of(struct pair a, struct pair b, const struct cell_rules *rules)
{
	uint16_t tag = tag_of(a);

	if (print_of(b) == 0)
		return a;
	if (tag == tag_of(b))
		return pack(FLOOR_PRINT, tag,
			    quota_worse(state_of(a), state_of(b), &rule_at(rules, tag)->rule));
	return full_at_ns(a, rules) > full_at_ns(b, rules) ? a : b;
}

/* From *floor to what the cell, or one like it, owes; *floor becomes what it is then.  False: it has
 * changed meanwhile. */
static bool floor_raise_from(struct atomic_pair *at, const struct cell_rules *rules,
			     struct pair debtor, struct pair *floor)
{
	struct pair now = settled(*floor, rules), to;

	debtor = settled(debtor, rules);
	to = worse_of(pack(FLOOR_PRINT, tag_of(debtor), state_of(debtor)), now, rules);
	if (is_same(to, now))
		return pair_same(at, *floor);
	if (!pair_swap(at, *floor, to))
		return false;
	*floor = to;
	return true;
}

static void floor_raise(struct cells *c, uint32_t index, const struct cell_rules *rules,
			struct pair debtor)
{
	struct pair seen;

	do
		seen = pair_load(&c->floor[index]);
	while (!floor_raise_from(&c->floor[index], rules, debtor, &seen));
}

/* What this array alone knows of a key. */
static quota_state state_in(const struct view *v, const struct cell_rules *rules, uint16_t as,
			    uint64_t now_ns)
{
	if (v->found != NONE)
		return state_as(v->cell, rules, as, now_ns);
	return print_of(v->floor) == 0 ? 0 : state_as(v->floor, rules, as, now_ns);
}

static quota_state key_state(const struct cells *c, const struct view *v,
			     const struct cell_rules *rules, uint16_t as, uint64_t key,
			     uint64_t now_ns)
{
	quota_state state = state_in(v, rules, as, now_ns);
	bool found = v->found != NONE;

	while (!found && (c = cells_previous(c)) != NULL) {
		struct view old = look(c, key);

		state = quota_worse(state, state_in(&old, rules, as, now_ns),
				    &rule_at(rules, as)->rule);
		found = old.found != NONE;
	}
	return state;
}

/* The key has its cell in an array that follows these. */
static void leave(struct cells *c, uint64_t key)
{
	for (; c != NULL; c = cells_previous(c)) {
		struct view v = look(c, key);

		if (v.found == NONE)
			continue;
		(void)pair_swap(&v.set->cell[v.found], v.cell, empty);
		return;
	}
}

static void count_eviction(struct cells *c, uint32_t index)
{
	atomic_fetch_add_explicit(&c->evictions[index % STRIPES].n, 1, memory_order_relaxed);
}

/* Adds a debt, under the rule of the cell, to a key's cell; false: it is not there any more. */
static bool owe(struct atomic_pair *cell, uint64_t print, struct pair debtor,
		const struct cell_rules *rules, uint64_t now_ns)
{
	for (;;) {
		struct pair p = pair_load(cell);
		quota_state state;
		uint16_t tag;

		if (print_of(p) != print)
			return false;
		tag = present(rules, tag_of(p));
		state =
		    quota_sum(state_as(p, rules, tag, now_ns), state_as(debtor, rules, tag, now_ns),
			      &rule_at(rules, tag)->rule, now_ns);
		if (pair_swap(cell, p, pack(print, tag, state)))
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
			floor_raise(c, seen->index, rules, twin);
	}
}

/* Read nearly always, so that a block costs one line's change. */
static void touch(struct cells *c, uint32_t index)
{
	_Atomic uint8_t *touched = &c->touched[index / BLOCK_SETS];

	if (atomic_load_explicit(touched, memory_order_relaxed) == 0)
		atomic_store_explicit(touched, 1, memory_order_relaxed);
}

/* Puts a new key into the set.  False: somebody was faster, look again: also where the floor has risen
 * since, for the key may have come, spent and been evicted meanwhile. */
static bool claim(struct cells *c, const struct view *v, const struct cell_rules *rules,
		  struct pair to, uint64_t now_ns)
{
	struct pair from, floor = v->floor;
	uint64_t full_ns;
	int i = least(v, rules, now_ns, &from, &full_ns);

	if (i == NONE)
		return false;
	if (full_ns > now_ns && !floor_raise_from(&c->floor[v->index], rules, from, &floor))
		return false;
	touch(c, v->index);
	if (!pair_swap(&v->set->cell[i], from, to))
		return false;
	if (full_ns > now_ns)
		count_eviction(c, v->index);
	if (!has_twin(v, i) && pair_same(&c->floor[v->index], floor))
		return true;
	if (pair_swap(&v->set->cell[i], to, empty))
		return false;
	fold_twins(c, v, rules, now_ns); /* others have taken from mine since */
	return true;
}

/*--------------------------------------------------------------- decisions */

/* Writes what a take has made of a key.  False: the array is another meanwhile, look again. */
static bool put(struct cells *c, const struct view *v, const struct cell_rules *rules, uint64_t key,
		struct pair to, uint64_t now_ns)
{
	struct cells *before;

	if (v->found != NONE)
		return pair_swap(&v->set->cell[v->found], v->cell, to);
	if (!claim(c, v, rules, to, now_ns))
		return false;
	before = cells_previous(c);
	if (before != NULL)
		leave(before, key);
	return true;
}

bool cells_take(struct cells *c, const struct cell_rules *rules, uint16_t *tag, uint64_t key,
		uint64_t now_ns, uint64_t cost, struct quota_view *view)
{
	uint16_t as = *tag = present(rules, *tag);
	const struct quota_rule *r = &rule_at(rules, as)->rule;

	for (;;) {
		struct view v = look(c, key);
		bool mine = v.found != NONE && tag_of(v.cell) == as;
		quota_state state =
		    mine ? state_of(v.cell) : key_state(c, &v, rules, as, key, now_ns);
		bool ok = quota_take(&state, r, &rules->epoch, now_ns, cost, view);

		view->state = state;
		if (ok || (v.found != NONE && !mine)) {
			if (put(c, &v, rules, key, pack(v.print, as, state), now_ns))
				return ok;
		} else if (v.found == NONE || pair_same(&v.set->cell[v.found], v.cell)) {
			return false;
		}
	}
}

bool cells_peek(const struct cells *c, const struct cell_rules *rules, uint16_t tag, uint64_t key,
		uint64_t now_ns, uint64_t cost, struct quota_view *view)
{
	uint16_t as = present(rules, tag);
	struct view v = look(c, key);
	quota_state state = key_state(c, &v, rules, as, key, now_ns);

	return quota_take(&state, &rule_at(rules, as)->rule, &rules->epoch, now_ns, cost, view);
}

/* Under another rule the same share goes back. */
static struct pair given(struct pair p, const struct cell_rules *rules, uint16_t tag,
			 uint64_t window, uint64_t cost)
{
	return pack(print_of(p), tag_of(p),
		    quota_give(state_of(p), &rule_at(rules, tag_of(p))->rule,
			       &rule_at(rules, tag)->rule, window, cost));
}

void cells_give(struct cells *c, const struct cell_rules *rules, uint16_t tag, uint64_t key,
		uint64_t window, uint64_t cost)
{
	while (c != NULL) {
		struct view v = look(c, key);

		if (v.found == NONE)
			c = cells_previous(c);
		else if (pair_swap(&v.set->cell[v.found], v.cell,
				   given(v.cell, rules, tag, window, cost)))
			return;
	}
}

bool cells_undo(struct cells *c, const struct cell_rules *rules, uint16_t tag, uint64_t key,
		quota_state state, uint64_t cost)
{
	struct view v = look(c, key);

	return v.found != NONE && tag_of(v.cell) == tag && state_of(v.cell) == state &&
	       pair_swap(&v.set->cell[v.found], v.cell, given(v.cell, rules, tag, 0, cost));
}

/* A cell without debt, not an empty one: the floor of the set is not its own (C2). */
void cells_reset(struct cells *c, const struct cell_rules *rules, uint16_t tag, uint64_t key,
		 uint64_t now_ns)
{
	uint16_t as = present(rules, tag);
	struct view v;

	do
		v = look(c, key);
	while (!put(c, &v, rules, key, pack(v.print, as, 0), now_ns));
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

/* The next block at or after this one in which a key ever was; false: there is none.  The others
 * read as zeros, but reading would cost their pages. */
static bool next_touched(const struct cells *c, uint32_t *block)
{
	while (*block < c->blocks &&
	       atomic_load_explicit(&c->touched[*block], memory_order_relaxed) == 0)
		++*block;
	return *block < c->blocks;
}

static uint32_t block_end(const struct cells *c, uint32_t block)
{
	uint64_t end = (uint64_t)(block + 1) * BLOCK_SETS;

	return end < c->sets ? (uint32_t)end : c->sets;
}

static uint64_t set_full_at_ns(const struct cells *c, const struct cell_rules *rules, uint32_t set)
{
	uint64_t latest = full_at_ns(settled(pair_load(&c->floor[set]), rules), rules);

	for (int i = 0; i < CELLS_PER_SET; i++) {
		uint64_t at = full_at_ns(settled(pair_load(&c->set[set].cell[i]), rules), rules);

		latest = at > latest ? at : latest;
	}
	return latest;
}

uint64_t cells_full_at_ns(const struct cells *c, const struct cell_rules *rules)
{
	uint64_t latest = 0;

	for (uint32_t block = 0; next_touched(c, &block); block++) {
		for (uint32_t s = block * BLOCK_SETS; s < block_end(c, block); s++) {
			uint64_t at = set_full_at_ns(c, rules, s);

			latest = at > latest ? at : latest;
		}
	}
	return latest;
}

static void settle_pair(struct atomic_pair *at, const struct cell_rules *rules)
{
	struct pair from, to;

	do {
		from = pair_load(at);
		to = settled(from, rules);
	} while (to.hi != from.hi && !pair_swap(at, from, to));
}

static void settle_set(struct cells *c, const struct cell_rules *rules, uint32_t set)
{
	for (int i = 0; i < CELLS_PER_SET; i++)
		settle_pair(&c->set[set].cell[i], rules);
	settle_pair(&c->floor[set], rules);
}

void cells_settle(struct cells *c, const struct cell_rules *rules)
{
	for (uint32_t block = 0; next_touched(c, &block); block++)
		for (uint32_t s = block * BLOCK_SETS; s < block_end(c, block); s++)
			settle_set(c, rules, s);
}

/*----------------------------------------------------------------- reading */

static void add_live(struct pair p, const struct cell_rules *rules, uint64_t now_ns,
		     uint64_t live[static ENTRIES_MAX])
{
	if (print_of(p) == 0)
		return;
	p = settled(p, rules);
	live[rule_at(rules, tag_of(p))->entry] += full_at_ns(p, rules) > now_ns;
}

static void live_in_block(const struct cells *c, const struct cell_rules *rules, uint32_t block,
			  uint64_t now_ns, uint64_t live[static ENTRIES_MAX])
{
	for (uint32_t s = block * BLOCK_SETS; s < block_end(c, block); s++)
		for (int i = 0; i < CELLS_PER_SET; i++)
			add_live(pair_load(&c->set[s].cell[i]), rules, now_ns, live);
}

void cells_live(const struct cells *c, const struct cell_rules *rules, uint64_t now_ns,
		uint64_t live[static ENTRIES_MAX])
{
	uint64_t here[ENTRIES_MAX] = { 0 };
	uint32_t every, touched = 0, seen = 0, counted = 0;

	for (uint32_t block = 0; next_touched(c, &block); block++)
		touched++;
	every = touched / (CELLS_COUNTED / CELLS_PER_SET / BLOCK_SETS + 1) + 1;
	for (uint32_t block = 0; next_touched(c, &block); block++) {
		if (seen++ % every != 0)
			continue;
		live_in_block(c, rules, block, now_ns, here);
		counted++;
	}
	for (int i = 0; i < ENTRIES_MAX; i++)
		live[i] += every == 1 ? here[i] : here[i] * touched / counted;
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
