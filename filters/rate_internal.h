/* rate_internal.h - what rate.c, which counts here, and rate_shared.c, which counts with all replicas, have in
 * common. */
#ifndef FILTERS_RATE_INTERNAL_H
#define FILTERS_RATE_INTERNAL_H

#include "filters/cells.h"
#include "filters/rate.h"
#include "filters/sharing.h"
#include "filters/table.h"

/* The rules of those who share them; none: unlimited. */
struct rules {
	uint8_t n;
	uint16_t tag[ENTRIES_MAX]; /* in the table */
	struct quota_rule rule[ENTRIES_MAX];
	struct shared_policy *shared[ENTRIES_MAX]; /* in place of it */
};

struct override {
	struct scope_match match;
	uint64_t text; /* of what is matched: what is the same override after a reload */
	struct rules rules;
};

/* filter->state */
struct limiter {
	struct table_registry *registry;
	const struct sharing *sharing; /* NULL: counted here */
	struct table_use use;
	bool windows;
	_Atomic uint64_t delayed; /* calls, now */
	struct rules rules;
	uint32_t n_overrides;
	struct override override[];
};

struct debt; /* rate_shared.c */

/* What was taken at once. */
struct payment {
	uint8_t n;
	uint16_t tag[ENTRIES_MAX];
	uint64_t window[ENTRIES_MAX];
	quota_state state; /* of the last, as it was left */
	struct debt *debt; /* of what is shared; NULL: nothing was taken */
};

/* Of one call. */
struct taken {
	const struct rules *rules;
	uint64_t key, cost;
	bool took, denied, trial;
	struct payment call, attempt;
	uint64_t turn_ns;                 /* of a delayed call; 0: it is not delayed any more */
	const struct quota_rule *nearest; /* of the rules, the one that is told */
	struct quota_view view;           /* of that one */
};

static inline struct rules *rules_at(struct limiter *l, uint32_t i)
{
	return i == 0 ? &l->rules : &l->override[i - 1].rules;
}

/* rate.c: refused until t->view.wait_ns is over; and what there is to tell. */
struct verdict rate_refusal(const struct quota_view *);
void rate_fill_limit(const struct filter *, const struct taken *, struct limit_info *);

/* NULL, or why such a rule cannot be shared: a sentence. */
const char *rate_shared_check(const struct quota_rule *);
/* False after a finding. */
bool rate_shared_open(const struct filter *, struct limiter *, struct diags *, struct place at);
void rate_shared_close(struct limiter *);
void rate_shared_enforce(const struct filter *);
/* PASS, DENY, or PENDING if the call may wait; took, denied and the view are in *t, now or when it has waited. */
struct verdict rate_shared_take(const struct filter *, struct call *, struct taken *,
				struct payment *, bool may_wait);
void rate_shared_give(const struct limiter *, const struct call *, struct payment *);
/* What would be told of a call of this cost; t->view.wait_ns as peek has it. */
void rate_shared_look(const struct limiter *, const struct call *, struct taken *, uint64_t cost);
void rate_shared_show(const struct filter *, filter_emit *emit, void *ctx);

#endif
