/* node_map.c - keys of a mapping: each once, and what `<<` brings in. */
#include "base/hash.h"
#include "conf/node_internal.h"

/* Keys already seen: open addressing, at most half full. */
struct key_set {
	const struct node **slot;
	size_t mask;
};

static size_t count_children(const struct node *map)
{
	size_t n = 0;

	for (const struct node *c = map->first; c != NULL; c = c->next)
		n++;
	return n;
}

static bool key_set_init(struct key_set *set, struct reader *r, size_t keys)
{
	size_t slots = 8;

	while (slots < keys * 2)
		slots *= 2;
	set->mask = slots - 1;
	set->slot = arena_zalloc(r->nodes, slots * sizeof(struct node *));
	if (set->slot == NULL)
		diags_out_of_memory(r->diags);
	return set->slot != NULL;
}

/* The node that has this key already; or NULL, and then `n` is in the set. */
static const struct node *key_set_add(struct key_set *set, const struct node *n)
{
	size_t i = hash_siphash(hash_boot_key(), n->key.p, n->key.n) & set->mask;

	for (; set->slot[i] != NULL; i = (i + 1) & set->mask)
		if (slice_eq(set->slot[i]->key, n->key))
			return set->slot[i];
	set->slot[i] = n;
	return NULL;
}

bool map_check_unique(struct reader *r, const struct node *map)
{
	struct key_set set;
	bool ok = true;

	if (!key_set_init(&set, r, count_children(map)))
		return false;
	for (const struct node *n = map->first; n != NULL; n = n->next) {
		const struct node *twin = key_set_add(&set, n);

		if (twin == NULL)
			continue;
		diag_error(r->diags, n->key_at, "E008",
			   "`%.*s` is given twice, the first time at %s:%u:%u", SLICE_FMT(n->key),
			   twin->key_at.file, twin->key_at.line, twin->key_at.column);
		ok = false;
	}
	return ok;
}

/* Moves those children of `from` that the set has not yet behind *tail. */
static struct node **adopt(struct key_set *set, const struct node *from, struct node **tail)
{
	struct node *next;

	for (struct node *n = from->first; n != NULL; n = next) {
		next = n->next;
		if (key_set_add(set, n) != NULL)
			continue;
		n->next = NULL;
		*tail = n;
		tail = &n->next;
	}
	return tail;
}

/* False after a finding: only mappings can be merged. */
static bool check_merge(struct reader *r, const struct node *merge)
{
	const struct node *bad = NULL;

	if (merge->kind == NODE_LIST) {
		for (const struct node *n = merge->first; n != NULL && bad == NULL; n = n->next)
			bad = n->kind == NODE_MAP ? NULL : n;
	} else if (merge->kind != NODE_MAP) {
		bad = merge;
	}
	if (bad != NULL)
		diag_error(r->diags, merge->key_at, "E007",
			   "`<<` takes a mapping or a list of mappings, not %s",
			   node_kind_name(bad->kind));
	return bad == NULL;
}

static size_t count_merged(const struct node *merge)
{
	size_t n = 0;

	if (merge->kind == NODE_MAP)
		return count_children(merge);
	for (const struct node *m = merge->first; m != NULL; m = m->next)
		n += count_children(m);
	return n;
}

/* Unlinks the `<<` key, NULL when there is none. */
static struct node *take_merge(struct node *map)
{
	for (struct node **at = &map->first; *at != NULL; at = &(*at)->next) {
		struct node *n = *at;

		if (slice_is(n->key, "<<")) {
			*at = n->next;
			n->next = NULL;
			return n;
		}
	}
	return NULL;
}

bool map_merge(struct reader *r, struct node *map)
{
	struct node *merge = take_merge(map), **tail = &map->first;
	struct key_set set;

	if (merge == NULL)
		return true;
	if (!check_merge(r, merge))
		return true; /* a finding was made; reading goes on */
	if (!key_set_init(&set, r, count_children(map) + count_merged(merge)))
		return false;
	for (struct node *n = map->first; n != NULL; n = n->next) {
		key_set_add(&set, n);
		tail = &n->next;
	}
	if (merge->kind == NODE_MAP)
		adopt(&set, merge, tail);
	else
		for (const struct node *m = merge->first; m != NULL; m = m->next)
			tail = adopt(&set, m, tail);
	return true;
}
