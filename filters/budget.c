/* budget.c - retries in proportion to calls. */
#include "filters/budget.h"

#include "base/check.h"
#include "base/clock.h"

#define COUNT_BITS 24
#define COUNT_MASK ((UINT64_C(1) << COUNT_BITS) - 1)
#define WHOLE      1000000

void budget_rule_init(struct budget_rule *r, uint32_t share_ppm, uint32_t per_s)
{
	*r = (struct budget_rule){ .share_ppm = share_ppm, .has_reserve = per_s > 0 };
	CHECK(per_s == 0 || gcra_rule_init(&r->reserve, per_s, CLOCK_S,
					   (uint64_t)per_s * BUDGET_SECONDS) == NULL);
}

bool budget_init(struct budget *b)
{
	*b = (struct budget){ .reserve = 0 };
	return pthread_mutex_init(&b->lock, NULL) == 0;
}

void budget_fini(struct budget *b)
{
	pthread_mutex_destroy(&b->lock);
}

/* One writer at a time. */
static void window_add(struct budget_window *w, uint64_t second)
{
	_Atomic uint64_t *slot = &w->slot[second % BUDGET_SECONDS];
	uint64_t was = atomic_load_explicit(slot, memory_order_relaxed);

	if (was >> COUNT_BITS != second)
		was = second << COUNT_BITS;
	if ((was & COUNT_MASK) < COUNT_MASK)
		atomic_store_explicit(slot, was + 1, memory_order_relaxed);
}

/* Of the last ten seconds, the present one among them. */
static uint64_t window_sum(const struct budget_window *w, uint64_t second)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < BUDGET_SECONDS; i++) {
		uint64_t slot = atomic_load_explicit(&w->slot[i], memory_order_relaxed);

		if ((slot >> COUNT_BITS) + BUDGET_SECONDS > second)
			sum += slot & COUNT_MASK;
	}
	return sum;
}

void budget_call(struct budget *b, unsigned w, uint64_t now_ns)
{
	window_add(&b->calls[w], now_ns / CLOCK_S);
}

static bool share_allows(const struct budget *b, const struct budget_rule *r, uint64_t second)
{
	uint64_t calls = 0;

	for (unsigned w = 0; w < BUDGET_WORKERS; w++)
		calls += window_sum(&b->calls[w], second);
	return (window_sum(&b->taken, second) + 1) * WHOLE <= calls * r->share_ppm;
}

bool budget_take(struct budget *b, const struct budget_rule *r, uint64_t now_ns)
{
	uint64_t second = now_ns / CLOCK_S;
	struct quota_view view;
	bool ok;

	pthread_mutex_lock(&b->lock);
	ok = share_allows(b, r, second);
	if (ok)
		window_add(&b->taken, second);
	else if (r->has_reserve)
		ok = gcra_take(&b->reserve, &r->reserve, now_ns, 1, &view);
	pthread_mutex_unlock(&b->lock);
	return ok;
}

void budget_charge(struct budget *b, uint64_t now_ns)
{
	pthread_mutex_lock(&b->lock);
	window_add(&b->taken, now_ns / CLOCK_S);
	pthread_mutex_unlock(&b->lock);
}
