/* budget.h - how many retries a number of calls allows.
 *
 * A share of the calls of the last ten seconds, and `per_s` retries a second besides, saved up for
 * at most ten seconds (the rule of Finagle's RetryBudget: a share of the requests within a
 * time-to-live, and a minimum for clients with few of them).
 *
 * Laws
 *  B1  Calls are counted by each worker for itself; only a retry looks at all of them, under a
 * lock. B2  What a retry took from the share stays taken for ten seconds, so no call is ever
 * credited twice: over any time, retries <= share x calls + per_s x time + ten seconds' worth of
 * it. B3  Time stands in the arguments. */
#ifndef FILTERS_BUDGET_H
#define FILTERS_BUDGET_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "filters/gcra.h"

enum { BUDGET_SECONDS = 10, BUDGET_WORKERS = 64 };

/* Counts of the last seconds: slot s % 10 holds second (40 bits) and count (24 bits). */
struct budget_window {
	_Atomic uint64_t slot[BUDGET_SECONDS];
} __attribute__((aligned(64)));

struct budget {
	pthread_mutex_t lock; /* of what follows */
	struct budget_window taken;
	gcra_time reserve;
	struct budget_window calls[BUDGET_WORKERS]; /* each written by its worker */
};

struct budget_rule {
	uint32_t share_ppm; /* of the calls */
	bool has_reserve;
	struct gcra_rule reserve;
};

/* per_s 0: nothing beside the share. */
void budget_rule_init(struct budget_rule *, uint32_t share_ppm, uint32_t per_s);

bool budget_init(struct budget *);
void budget_fini(struct budget *);

/* Worker w: a call has come. */
void budget_call(struct budget *, unsigned w, uint64_t now_ns);
/* True: one more retry is taken. */
bool budget_take(struct budget *, const struct budget_rule *, uint64_t now_ns);
/* A retry that somebody else has made: it counts, allowed or not. */
void budget_charge(struct budget *, uint64_t now_ns);

#endif
