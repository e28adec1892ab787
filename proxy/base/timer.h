/* timer.h - lazy deadlines in a binary heap.
 *
 * A deadline is a number.  Moving it later costs a store: the heap keeps the
 * old place, and the timer finds its new one when the old one comes up.  Only
 * moving it before its place in the heap touches the heap.  Time is passed in,
 * so that a simulation can own it.  Our own because libevent's timers live on
 * its clock and cost 128 bytes each.
 *
 * Laws: T1 on_timer is called at or after the deadline, never before, once per
 * timer_set.  T2 timer_clear costs a store.  T3 timer_fini must come before the
 * memory goes. */
#ifndef BASE_TIMER_H
#define BASE_TIMER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct timer {
	uint64_t deadline_ns; /* 0: none */
	uint64_t place_ns;    /* its key in the heap */
	size_t index;         /* 1-based place in the heap; 0: not in it */
	void (*on_timer)(struct timer *);
};

struct timers {
	struct timer **heap; /* 1-based */
	size_t n, cap;
};

void timers_init(struct timers *);
void timers_fini(struct timers *);
/* Calls every timer that is due; returns the next time to come back, 0: none. */
uint64_t timers_run(struct timers *, uint64_t now_ns);
/* When to come back, without running anything; 0: none.  May be early (lazy). */
uint64_t timers_next(const struct timers *);

void timer_init(struct timer *, void (*on_timer)(struct timer *));
/* False when memory is out and the deadline could not be kept. */
bool timer_set(struct timers *, struct timer *, uint64_t deadline_ns);
static inline void timer_clear(struct timer *t)
{
	t->deadline_ns = 0;
}
void timer_fini(struct timers *, struct timer *);

#endif
