/* timer.c - a binary heap of lazy deadlines. */
#include "base/timer.h"

#include <stdlib.h>

#include "base/check.h"

void timers_init(struct timers *ts)
{
	*ts = (struct timers){ 0 };
}

void timers_fini(struct timers *ts)
{
	for (size_t i = 1; i <= ts->n; i++)
		ts->heap[i]->index = 0;
	free(ts->heap);
	*ts = (struct timers){ 0 };
}

static void place(struct timers *ts, size_t i, struct timer *t)
{
	ts->heap[i] = t;
	t->index = i;
}

static void sift_up(struct timers *ts, size_t i, struct timer *t)
{
	for (; i > 1 && ts->heap[i / 2]->place_ns > t->place_ns; i /= 2)
		place(ts, i, ts->heap[i / 2]);
	place(ts, i, t);
}

static void sift_down(struct timers *ts, size_t i, struct timer *t)
{
	for (size_t child; (child = 2 * i) <= ts->n; i = child) {
		if (child < ts->n && ts->heap[child + 1]->place_ns < ts->heap[child]->place_ns)
			child++;
		if (ts->heap[child]->place_ns >= t->place_ns)
			break;
		place(ts, i, ts->heap[child]);
	}
	place(ts, i, t);
}

static void heap_remove(struct timers *ts, struct timer *t)
{
	size_t i = t->index;
	struct timer *last = ts->heap[ts->n--];

	t->index = 0;
	if (last == t)
		return;
	if (i > 1 && ts->heap[i / 2]->place_ns > last->place_ns)
		sift_up(ts, i, last);
	else
		sift_down(ts, i, last);
}

static bool heap_grow(struct timers *ts)
{
	size_t cap = ts->cap == 0 ? 64 : ts->cap * 2;
	struct timer **heap;

	if (ts->n + 1 < ts->cap)
		return true;
	heap = realloc(ts->heap, cap * sizeof(*heap));
	if (heap == NULL)
		return false;
	ts->heap = heap;
	ts->cap = cap;
	return true;
}

void timer_init(struct timer *t, void (*on_timer)(struct timer *))
{
	*t = (struct timer){ .on_timer = on_timer };
}

bool timer_set(struct timers *ts, struct timer *t, uint64_t deadline_ns)
{
	CHECK(deadline_ns != 0);
	if (t->index != 0 && t->place_ns <= deadline_ns) {
		t->deadline_ns = deadline_ns;
		return true;
	}
	if (t->index == 0) {
		if (!heap_grow(ts))
			return false;
		t->index = ++ts->n;
	}
	t->deadline_ns = t->place_ns = deadline_ns;
	sift_up(ts, t->index, t);
	return true;
}

void timer_fini(struct timers *ts, struct timer *t)
{
	if (t->index != 0)
		heap_remove(ts, t);
	t->deadline_ns = 0;
}

uint64_t timers_next(const struct timers *ts)
{
	return ts->n == 0 ? 0 : ts->heap[1]->place_ns;
}

uint64_t timers_run(struct timers *ts, uint64_t now_ns)
{
	while (ts->n > 0 && ts->heap[1]->place_ns <= now_ns) {
		struct timer *t = ts->heap[1];

		if (t->deadline_ns > now_ns) { /* it had moved: find its place now */
			t->place_ns = t->deadline_ns;
			sift_down(ts, 1, t);
			continue;
		}
		heap_remove(ts, t);
		if (t->deadline_ns != 0) {
			t->deadline_ns = 0;
			t->on_timer(t);
		}
	}
	return timers_next(ts);
}
