/* replay.c - what is counted is said in replay.h.
 *
 * Bucket: over all beginnings a and ends b, the most of (calls within a..b) - rate (b - a) - burst.  Calls are taken by
 * their ends; a tree over the beginnings holds rate a + (calls from a on), whose most is looked up at each end. */
#include "replay.h"

#include "wire.h"

#include <stdlib.h>
#include <string.h>

enum { PARTS = 1000000 }; /* of a token */

#define NONE (INT64_MIN / 2)

static int by_end(const void *a, const void *b)
{
	const struct stretch *x = a, *y = b;

	return x->to_ns < y->to_ns ? -1 : x->to_ns > y->to_ns;
}

static int by_time(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return x < y ? -1 : x > y;
}

static int64_t parts_of(const struct limit *l, uint64_t ns)
{
	return (int64_t)((unsigned __int128)ns * l->count * PARTS / l->period_ns);
}

/*------------------------------------------------------------------ a bucket */

/* `most` of a node is that of its two below, and what was added to all of them. */
struct tree {
	size_t leaves;
	int64_t *most, *added;
};

static void *zeroed(size_t n, size_t size)
{
	void *p = calloc(n, size);

	if (p == NULL)
		die("out of memory");
	return p;
}

static void mend(const struct tree *t, size_t node)
{
	int64_t a = t->most[2 * node], b = t->most[2 * node + 1];

	t->most[node] = (a > b ? a : b) + t->added[node];
}

/* To the first n leaves of those below the node. */
static void add_first(const struct tree *t, size_t node, size_t width, size_t n, int64_t value)
{
	if (n == 0)
		return;
	if (n >= width) {
		t->most[node] += value;
		t->added[node] += value;
		return;
	}
	add_first(t, 2 * node, width / 2, n, value);
	add_first(t, 2 * node + 1, width / 2, n > width / 2 ? n - width / 2 : 0, value);
	mend(t, node);
}

static void add_to(const struct tree *t, size_t leaf, int64_t value)
{
	size_t node = t->leaves + leaf;

	t->most[node] += value;
	while ((node /= 2) > 0)
		mend(t, node);
}

static void tree_init(struct tree *t, size_t n)
{
	for (t->leaves = 1; t->leaves < n; t->leaves *= 2)
		;
	t->most = zeroed(2 * t->leaves, sizeof(int64_t));
	t->added = zeroed(2 * t->leaves, sizeof(int64_t));
	for (size_t i = 0; i < 2 * t->leaves; i++)
		t->most[i] = NONE;
}

static size_t place_of(const uint64_t *sorted, size_t n, uint64_t at)
{
	const uint64_t *found = bsearch(&at, sorted, n, sizeof(*sorted), by_time);

	while (found > sorted && found[-1] == at)
		found--;
	return (size_t)(found - sorted);
}

static double bucket_excess(const struct limit *l, const struct stretch *s, size_t n)
{
	uint64_t *from = zeroed(n, sizeof(*from)), start;
	bool *begun = zeroed(n, sizeof(*begun));
	int64_t most = NONE;
	struct tree t;

	for (size_t i = 0; i < n; i++)
		from[i] = s[i].from_ns;
	qsort(from, n, sizeof(*from), by_time);
	start = from[0];
	tree_init(&t, n);
	for (size_t i = 0; i < n; i++) {
		size_t at = place_of(from, n, s[i].from_ns);
		int64_t over;

		if (!begun[at])
			add_to(&t, at, parts_of(l, s[i].from_ns - start) - NONE);
		begun[at] = true;
		add_first(&t, 1, t.leaves, at + 1, PARTS);
		over = t.most[1] - parts_of(l, s[i].to_ns - start);
		most = over > most ? over : most;
	}
	free(from);
	free(begun);
	free(t.most);
	free(t.added);
	return (double)most / PARTS - (double)l->burst;
}

/*------------------------------------------------------------------- windows */

static uint64_t window_of(const struct limit *l, uint64_t ns)
{
	return (ns + l->ahead_ns) / l->period_ns;
}

struct counts {
	uint64_t window, now, before;
};

static void go_to(struct counts *c, uint64_t window)
{
	if (window == c->window)
		return;
	c->before = window == c->window + 1 ? c->now : 0;
	c->now = 0;
	c->window = window;
}

static double used(const struct limit *l, const struct counts *c, uint64_t ns)
{
	double passed = (double)((ns + l->ahead_ns) % l->period_ns) / (double)l->period_ns;

	return (double)c->now + (l->kind == SLIDING ? (double)c->before * (1 - passed) : 0);
}

/* A call of which it is not certain in which window it was let in counts in none. */
static double window_excess(const struct limit *l, const struct stretch *s, size_t n)
{
	struct counts c = { .window = 0 };
	double most = 0;

	for (size_t i = 0; i < n; i++) {
		uint64_t window = window_of(l, s[i].to_ns);
		double all;

		if (window_of(l, s[i].from_ns) != window)
			continue;
		go_to(&c, window);
		c.now++;
		all = used(l, &c, s[i].to_ns);
		most = all > most ? all : most;
	}
	return most - (double)l->count;
}

/*-------------------------------------------------------------------- public */

double replay_excess(const struct limit *l, struct stretch *s, size_t n)
{
	if (n == 0)
		return -(double)(l->kind == BUCKET ? l->burst : l->count);
	qsort(s, n, sizeof(*s), by_end);
	return l->kind == BUCKET ? bucket_excess(l, s, n) : window_excess(l, s, n);
}

static size_t bucket_exact(const struct limit *l, const uint64_t *at, size_t n)
{
	int64_t full = (int64_t)l->burst * PARTS, level = full;
	uint64_t last = n > 0 ? at[0] : 0;
	size_t admitted = 0;

	for (size_t i = 0; i < n; i++) {
		level += parts_of(l, at[i] - last);
		level = level > full ? full : level;
		last = at[i];
		if (level < PARTS)
			continue;
		level -= PARTS;
		admitted++;
	}
	return admitted;
}

size_t replay_exact(const struct limit *l, const uint64_t *at, size_t n)
{
	struct counts c = { .window = 0 };
	size_t admitted = 0;

	if (l->kind == BUCKET)
		return bucket_exact(l, at, n);
	for (size_t i = 0; i < n; i++) {
		go_to(&c, window_of(l, at[i]));
		if (used(l, &c, at[i]) + 1 > (double)l->count)
			continue;
		c.now++;
		admitted++;
	}
	return admitted;
}
