/* top.c - the sketch. */
#include "filters/top.h"

#include <stdlib.h>

struct counter {
	_Atomic uint64_t key, n, error;
};

struct window {
	_Atomic uint32_t used;
	_Atomic uint64_t start_ns; /* 0: never */
};

struct top {
	uint32_t keys;
	_Atomic uint32_t present; /* 0 or 1 */
	struct window window[2];
	struct counter counter[]; /* of window 0, then of window 1 */
};

static uint64_t get(const _Atomic uint64_t *n)
{
	return atomic_load_explicit(n, memory_order_relaxed);
}

static void set(_Atomic uint64_t *n, uint64_t v)
{
	atomic_store_explicit(n, v, memory_order_relaxed);
}

struct top *top_new(uint32_t keys)
{
	struct top *t = calloc(1, sizeof(*t) + 2 * keys * sizeof(t->counter[0]));

	if (t != NULL)
		t->keys = keys;
	return t;
}

void top_free(struct top *t)
{
	free(t);
}

static void turn(struct top *t, uint64_t now_ns)
{
	uint32_t w = atomic_load(&t->present);
	uint64_t start_ns = get(&t->window[w].start_ns);

	if (start_ns != 0 && now_ns - start_ns < TOP_WINDOW_NS)
		return;
	if (start_ns != 0 && now_ns - start_ns >= 2 * TOP_WINDOW_NS)
		atomic_store(&t->window[w].used, 0); /* nothing came for a whole window */
	w = start_ns == 0 ? w : 1 - w;
	atomic_store(&t->window[w].used, 0);
	set(&t->window[w].start_ns, now_ns);
	atomic_store(&t->present, w);
}

void top_count(struct top *t, uint64_t now_ns, uint64_t key)
{
	struct counter *c, *least;
	uint32_t w, used;

	turn(t, now_ns);
	w = atomic_load_explicit(&t->present, memory_order_relaxed);
	used = atomic_load_explicit(&t->window[w].used, memory_order_relaxed);
	c = least = t->counter + w * t->keys;
	for (uint32_t i = 0; i < used; i++, c++) {
		if (get(&c->key) == key) {
			set(&c->n, get(&c->n) + 1);
			return;
		}
		if (get(&c->n) < get(&least->n))
			least = c;
	}
	if (used < t->keys) {
		set(&c->key, key);
		set(&c->n, 1);
		set(&c->error, 0);
		atomic_store_explicit(&t->window[w].used, used + 1, memory_order_release);
		return;
	}
	set(&least->error, get(&least->n));
	set(&least->key, key);
	set(&least->n, get(&least->n) + 1);
}

static void add(struct top_key *out, uint32_t *n, uint32_t max, const struct counter *c)
{
	struct top_key *o = out;

	while (o < out + *n && o->key != get(&c->key))
		o++;
	if (o == out + *n) {
		if (*n == max)
			return;
		++*n;
		*o = (struct top_key){ .key = get(&c->key) };
	}
	o->n += get(&c->n);
	o->error += get(&c->error);
}

void top_add(const struct top *t, uint64_t now_ns, struct top_key *out, uint32_t *n, uint32_t max,
	     uint64_t *since_ns)
{
	for (uint32_t w = 0; w < 2; w++) {
		uint64_t start_ns = get(&t->window[w].start_ns);
		uint32_t used = atomic_load_explicit(&t->window[w].used, memory_order_acquire);

		if (used == 0 || now_ns - start_ns >= 2 * TOP_WINDOW_NS)
			continue;
		*since_ns = start_ns < *since_ns ? start_ns : *since_ns;
		for (uint32_t i = 0; i < used; i++)
			add(out, n, max, &t->counter[w * t->keys + i]);
	}
}

uint32_t top_used(const struct top *t)
{
	return atomic_load(&t->window[0].used) + atomic_load(&t->window[1].used);
}

uint32_t top_room(const struct top *t)
{
	return 2 * t->keys;
}

static int compare(const void *a, const void *b)
{
	const struct top_key *x = a, *y = b;

	return x->n != y->n ? (x->n < y->n ? 1 : -1) : (x->key > y->key) - (x->key < y->key);
}

void top_sort(struct top_key *keys, uint32_t n)
{
	qsort(keys, n, sizeof(keys[0]), compare);
}
