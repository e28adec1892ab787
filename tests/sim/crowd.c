/* crowd.c - calls that hold slots. */
#include "crowd.h"

#include <string.h>

#include "sim.h"

/*---------------------------------------------------------------- the file */

void crowd_draw(struct sim *sim, struct crowd_rule *r)
{
	struct dice *d = &sim->dice;
	bool queue = dice_chance(d, 700);

	r->gate = (unsigned)dice_between(d, 1, 4);
	r->seat = (unsigned)dice_between(d, 1, 3);
	r->queue = (unsigned)dice_between(d, 1, 6);
	r->queue_ms = (unsigned)dice_between(d, 10, 3000);
	r->newest = dice_chance(d, 300);
	r->seats = dice_chance(d, 400);
	if (!queue)
		r->queue = 0;
	if (sim->weather.calm) { /* everybody is served in the end */
		r->queue = 1000;
		r->queue_ms = 3000000;
	}
}

static void put_queue(const struct crowd_rule *r, struct buf *b)
{
	if (r->queue > 0)
		buf_printf(
		    b, ", queue: { size: %u, wait: %ums, order: %s, priority: header.priority }",
		    r->queue, r->queue_ms, r->newest ? "lifo" : "fifo");
	buf_puts(b, " }\n");
}

void crowd_put(const struct crowd_rule *r, struct buf *b)
{
	buf_printf(b, "  gate: { concurrency: %u", r->gate);
	put_queue(r, b);
	if (!r->seats)
		return;
	buf_printf(b, "  seat: { concurrency: %u, key: header.x-sim-key", r->seat);
	put_queue(r, b);
}

const char *crowd_use(const struct crowd_rule *r)
{
	return r->seats ? "    use: [seat, gate]\n" : "    use: [gate]\n";
}

/*---------------------------------------------------------------- the laws */

struct seen {
	uint64_t v[FILTER_METRICS];
};

static void on_sample(void *ctx, const struct filter_sample *s)
{
	((struct seen *)ctx)->v[s->metric] = s->value;
}

static struct seen look(const struct filter *f)
{
	struct seen s = { { 0 } };

	if (f->ops->show != NULL)
		f->ops->show(f, on_sample, &s);
	return s;
}

static const struct filter *find(const struct sim *sim, const char *name)
{
	const struct policy *p = sim->policy;

	for (uint32_t i = 0; i < p->n_filters; i++)
		if (strcmp(p->filter[i]->name, name) == 0)
			return p->filter[i];
	return NULL;
}

void crowd_commit(struct sim *sim, const struct crowd_rule *r)
{
	struct crowd *c = &sim->crowd;

	c->rule = *r;
	c->most = r->gate > c->most ? r->gate : c->most;
}

static void check_gate(struct sim *sim, const struct filter *gate)
{
	struct crowd *c = &sim->crowd;
	struct seen s = look(gate);
	uint64_t in_use = s.v[SHOW_CONCURRENCY], waiting = s.v[SHOW_QUEUE_LENGTH];

	if (in_use > c->most)
		sim_fail("the gate has let in %llu, of %u", (unsigned long long)in_use, c->most);
	if (waiting > 0 && sim->commits_open == 0 && in_use < c->rule.gate)
		sim_fail("%llu calls wait, with %llu of %u under way", (unsigned long long)waiting,
			 (unsigned long long)in_use, c->rule.gate);
	if (waiting > c->waited)
		c->waited = (unsigned)waiting;
	/* nobody is left whom an older rule let in */
	if (in_use <= c->rule.gate && sim->commits_open == 0)
		c->most = c->rule.gate;
}

void crowd_check(struct sim *sim)
{
	const struct filter *gate = sim->workers == 0 ? NULL : find(sim, "gate");

	if (gate != NULL)
		check_gate(sim, gate);
}

/* What a worker has put off to the end of its turn, nobody outside knows. */
void crowd_arrival(struct sim *sim)
{
	unsigned there = 0;

	LIST_EACH (n, &sim->actors) {
		const struct actor *a = LIST_ENTRY(n, struct actor, link);

		there += a->held != NULL ? a->held(a) : 0;
	}
	if (there > sim->crowd.most && !sim_is_holding(sim))
		sim_fail("%u calls that hold a slot are at upstreams, of %u", there,
			 sim->crowd.most);
}

void crowd_check_rest(struct sim *sim)
{
	for (uint32_t i = 0; i < sim->policy->n_filters; i++) {
		const struct filter *f = sim->policy->filter[i];
		struct seen s = look(f);

		if (s.v[SHOW_CONCURRENCY] != 0 || s.v[SHOW_QUEUE_LENGTH] != 0)
			sim_fail("policy %s: %llu held, %llu wait", f->name,
				 (unsigned long long)s.v[SHOW_CONCURRENCY],
				 (unsigned long long)s.v[SHOW_QUEUE_LENGTH]);
		if (strcmp(f->name, "seat") == 0 && s.v[SHOW_KEYS] != 0)
			sim_fail("policy %s keeps %llu keys", f->name,
				 (unsigned long long)s.v[SHOW_KEYS]);
	}
}
