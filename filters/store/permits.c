/* permits.c - the laws are in permits.h. */
#include "store/permits.h"

#include "base/check.h"
#include "base/clock.h"

#define PACE_NS (50 * CLOCK_MS) /* between questions, when all permits are taken */

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t now_of(const struct permits *p)
{
	return p->world->common->now_ns;
}

static void kick(struct permits *p)
{
	if (!p->in_flight && list_empty(&p->kick_link))
		list_push_back(&p->world->kicked, &p->kick_link);
}

/* P3. */
static uint64_t spare(const struct permits *p)
{
	return min((p->in_use + 7) / 8, p->rule->cap / p->world->common->peers / 4);
}

static uint64_t wanted(const struct permits *p)
{
	return p->in_use + p->n_parked + spare(p);
}

static bool is_held(const struct permits *p)
{
	return p->held > 0 && now_of(p) < p->held_until_ns;
}

static uint64_t even_share(const struct permits *p)
{
	uint64_t share = p->rule->cap / p->world->common->peers;

	return share > 0 ? share : 1;
}

/* P4. */
static bool may_without(const struct permits *p)
{
	if (p->rule->on_error == LEASE_LOCAL)
		return p->in_use < even_share(p);
	return p->rule->on_error == LEASE_ALLOW;
}

static enum lease_answer admit(struct permits *p)
{
	p->in_use++;
	if (p->held < wanted(p) && now_of(p) >= p->deny_until_ns)
		kick(p);
	return LEASE_ADMIT;
}

static enum lease_answer deny(struct permits_ask *a, uint64_t retry_ns)
{
	a->retry_ns = retry_ns;
	return LEASE_DENY;
}

static enum lease_answer decide_without(struct permits_ask *a)
{
	struct permits *p = a->permits;

	return may_without(p) ? admit(p) : deny(a, PACE_NS);
}

static void park(struct permits_ask *a)
{
	a->parked = true;
	list_push_back(&a->permits->parked, &a->link);
	a->permits->n_parked++;
}

void permits_leave(struct permits_ask *a)
{
	if (!a->parked)
		return;
	a->parked = false;
	list_remove(&a->link);
	a->permits->n_parked--;
}

enum lease_answer permits_acquire(struct permits_ask *a)
{
	struct permits *p = a->permits;
	uint64_t now = now_of(p);

	a->parked = false;
	list_init(&a->link);
	if (is_held(p) && p->in_use < p->held && p->n_parked == 0)
		return admit(p);
	if (p->world->common->down)
		return is_held(p) ? deny(a, PACE_NS) : decide_without(a);
	if (now < p->deny_until_ns)
		return deny(a, p->deny_until_ns - now);
	kick(p);
	if (p->n_parked >= p->rule->parked_max)
		return deny(a, PACE_NS);
	park(a);
	return LEASE_PARK;
}

enum lease_answer permits_late(struct permits_ask *a)
{
	struct permits *p = a->permits;

	permits_leave(a);
	if (is_held(p))
		return p->in_use < p->held ? admit(p) : deny(a, PACE_NS);
	return decide_without(a);
}

void permits_release(struct permits *p)
{
	CHECK(p->in_use > 0);
	p->in_use--;
	if (p->held > wanted(p) + spare(p))
		kick(p);
}

/*-------------------------------------------------------------------- syncs */

struct permits *permits_next(struct permits_world *w, struct permits_sync *out)
{
	struct list *n = list_pop_front(&w->kicked);
	struct permits *p;

	if (n == NULL)
		return NULL;
	p = LIST_ENTRY(n, struct permits, kick_link);
	p->in_flight = true;
	p->sent_at_ns = now_of(p);
	p->sent_want = wanted(p);
	p->held = min(p->held, p->sent_want); /* what goes back is not used meanwhile */
	*out = (struct permits_sync){ .need = p->in_use, .want = p->sent_want };
	return p;
}

static void serve(struct permits *p)
{
	LIST_EACH (n, &p->parked) {
		struct permits_ask *a = LIST_ENTRY(n, struct permits_ask, link);
		enum lease_answer answer;

		if (p->in_use >= p->held && now_of(p) >= p->deny_until_ns)
			break; /* came while the sync was under way: the next is for it */
		permits_leave(a);
		answer = p->in_use < p->held ? admit(p) : deny(a, p->deny_until_ns - now_of(p));
		a->settle(a, answer);
	}
}

static void note_held(struct permits *p)
{
	list_remove(&p->held_link);
	if (p->held > 0)
		list_push_back(&p->world->held, &p->held_link);
}

/* The time that they are held counts from when it was asked: the server's ends later. */
void permits_reply(struct permits *p, const struct sync_reply *r)
{
	CHECK(p->in_flight);
	p->in_flight = false;
	p->held = r->granted;
	p->others = r->reset_us;
	p->held_until_ns = p->sent_at_ns + p->rule->hold_ns;
	p->renew_at_ns = p->sent_at_ns + p->rule->hold_ns / 3;
	note_held(p);
	if (r->granted < p->sent_want)
		p->deny_until_ns = now_of(p) + PACE_NS;
	serve(p);
	if (p->n_parked > 0 || p->held > wanted(p) + spare(p))
		kick(p);
}

static void settle_without(struct permits *p)
{
	LIST_EACH (n, &p->parked) {
		struct permits_ask *a = LIST_ENTRY(n, struct permits_ask, link);

		a->settle(a, permits_late(a));
	}
}

void permits_lost(struct permits *p)
{
	CHECK(p->in_flight);
	p->in_flight = false;
	p->renew_at_ns = now_of(p);
	settle_without(p);
}

void permits_renew(struct permits_world *w)
{
	LIST_EACH (n, &w->held) {
		struct permits *p = LIST_ENTRY(n, struct permits, held_link);

		if (now_of(p) >= p->renew_at_ns)
			kick(p);
	}
}

/*------------------------------------------------------------------- making */

void permits_world_init(struct permits_world *w, struct lease_world *common)
{
	w->common = common;
	list_init(&w->kicked);
	list_init(&w->held);
}

void permits_init(struct permits *p, struct permits_world *w, const struct permits_rule *r)
{
	*p = (struct permits){ .world = w, .rule = r };
	list_init(&p->parked);
	list_init(&p->kick_link);
	list_init(&p->held_link);
}

void permits_fini(struct permits *p)
{
	CHECK(!p->in_flight && p->n_parked == 0 && p->in_use == 0);
	list_remove(&p->kick_link);
	list_remove(&p->held_link);
}

bool permits_are_idle(const struct permits *p)
{
	return !p->in_flight && p->n_parked == 0 && p->in_use == 0 && p->held == 0;
}
