/* concurrency_internal.h - what concurrency.c, which counts here, and concurrency_shared.c, which counts with all
 * replicas, have in common. */
#ifndef FILTERS_CONCURRENCY_INTERNAL_H
#define FILTERS_CONCURRENCY_INTERNAL_H

#include "filters/concurrency.h"
#include "filters/scope.h"
#include "filters/slots.h"
#include "filters/table.h"

struct override {
	struct scope_match match;
	uint32_t cap;
	struct shared_policy *shared; /* NULL: counted here, or unlimited */
};

/* filter->state */
struct limiter {
	struct table_registry *registry;
	const struct sharing *sharing; /* NULL: counted here */
	struct slots *slots;           /* NULL: it is not */
	struct slots_rule rule;
	struct shared_policy *shared; /* in place of slots; NULL: unlimited */
	uint32_t n_overrides;
	struct override override[];
};

struct permit; /* concurrency_shared.c */

/* Of one call. */
struct holder {
	struct slot slot;
	struct permit *permit; /* in place of the slot; NULL: it has none */
	bool refused;
	uint64_t retry_ms; /* refused: what it was told */
	uint32_t cap;
};

/* What a call asks for. */
struct scoped {
	uint64_t key;
	uint32_t cap; /* of this key, by the call's policy */
	struct shared_policy *shared;
};

/* concurrency.c */
struct verdict concurrency_refusal(const struct filter *, uint64_t ms);
uint8_t concurrency_urgency_of(const struct filter *, const struct call *);

/* False after a finding. */
bool concurrency_shared_open(const struct filter *, struct limiter *, struct diags *,
			     struct place at);
void concurrency_shared_close(struct limiter *);
void concurrency_shared_enforce(const struct filter *);
/* PASS: *holder has a permit.  DENY, or PENDING: one of both follows. */
struct verdict concurrency_shared_take(const struct filter *, struct call *, struct holder *,
				       const struct scoped *);
void concurrency_shared_give(const struct call *, struct holder *);
/* PASS, or the refusal that a call would meet now; and what there is to tell. */
struct verdict concurrency_shared_look(const struct filter *, const struct call *,
				       const struct scoped *, struct limit_info *);
void concurrency_shared_show(const struct filter *, filter_emit *emit, void *ctx);

#endif
