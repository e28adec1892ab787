/* breakers.c - what must hold of circuit breakers, whatever the upstreams did. */
#include <string.h>

#include "filters/breaker.h"
#include "sim.h"

/* Of one policy and upstream. */
struct tally {
	struct sim *sim;
	const char *policy, *upstream; /* NULL: any */
	uint64_t opened, half_opened, closed, now_open, now_closed, breakers;
};

static void on_sample(void *ctx, const struct filter_sample *s)
{
	struct tally *t = ctx;

	if (t->upstream != NULL && strcmp(s->upstream, t->upstream) != 0)
		return;
	if (s->metric == SHOW_BREAKER_TRANSITIONS) {
		t->opened += strcmp(s->state, "open") == 0 ? s->value : 0;
		t->half_opened += strcmp(s->state, "half_open") == 0 ? s->value : 0;
		t->closed += strcmp(s->state, "closed") == 0 ? s->value : 0;
	} else if (s->metric == SHOW_BREAKER_STATE) {
		t->now_open += strcmp(s->state, "open") == 0 ? s->value : 0;
		t->now_closed += strcmp(s->state, "closed") == 0 ? s->value : 0;
		t->breakers += s->value;
	}
}

static void count(struct sim *sim, struct tally *t)
{
	for (uint32_t i = 0; i < sim->policy->n_filters; i++) {
		const struct filter *f = sim->policy->filter[i];

		if (f->ops == &breaker_ops &&
		    (t->policy == NULL || strcmp(f->name, t->policy) == 0))
			f->ops->show(f, on_sample, t);
	}
}

static void check_places(void *ctx, const struct breaker_view *v)
{
	(void)ctx;
	if (v->probes_out > 0)
		sim_fail("the breaker of %s %s has %u probes out, and nothing is under way",
			 v->upstream, v->endpoint == NULL ? "" : v->endpoint, v->probes_out);
}

void breakers_drained(struct sim *sim)
{
	struct tally all = { .sim = sim };

	count(sim, &all);
	sim->opened_until_drain = all.opened;
}

void breakers_check_rest(struct sim *sim)
{
	struct tally all = { .sim = sim };
	struct tally other = { .sim = sim, .policy = "guard-other", .upstream = "other" };

	for (uint32_t i = 0; i < sim->policy->n_filters; i++)
		if (sim->policy->filter[i]->ops == &breaker_ops)
			breaker_each(sim->policy->filter[i], sim->now_ns, check_places, NULL);
	count(sim, &all);
	count(sim, &other);
	if (sim->drained && all.opened != sim->opened_until_drain)
		sim_fail("a breaker opened while shutting down");
	/* this one breaker was there from start to end: each state is left for the next */
	if (other.breakers != 1 || other.opened != other.half_opened + other.now_open ||
	    other.half_opened < other.closed)
		sim_fail("other opened %llu, half-opened %llu, closed %llu times; %llu are open",
			 (unsigned long long)other.opened, (unsigned long long)other.half_opened,
			 (unsigned long long)other.closed, (unsigned long long)other.now_open);
	sim_trace(sim, "breakers: %llu opened, %llu half-opened, %llu closed",
		  (unsigned long long)all.opened, (unsigned long long)all.half_opened,
		  (unsigned long long)all.closed);
}
