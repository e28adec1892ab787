/* permits.c - the laws are in permits.h. */
#include "store/permits.h"

#include "base/check.h"
#include "base/clock.h"

enum { CALL_WEIGHT = 8 /* of the mean time that calls take: one eighth each */ };

#define PACE_NS (50 * CLOCK_MS) /* between questions, when all permits are taken */
#define PACE_KEY_NS \
	(100 * 1000) /* and for each key with calls that wait: together 10,000/s at most */
#define FRESH_NS CLOCK_S
/* It takes others up to PACE_NS to come for what was given back: not after every short call. */
#define YIELD_NS       (10 * PACE_NS)
#define RETRY_LEAST_NS CLOCK_S
#define RETRY_MOST_NS  (3600 * CLOCK_S)

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t now_of(const struct permits *p)
{
	return p->world->common->now_ns;
}

static uint64_t since(uint64_t then_ns, uint64_t now_ns)
{
	return now_ns > then_ns ? now_ns - then_ns : 0;
}

static bool is_down(const struct permits *p)
{
	return p->world->common->down;
}

static uint64_t peers_of(const struct permits *p)
{
	return max(p->world->common->peers, p->rule->peers);
}

static void kick(struct permits *p)
{
	if (!p->in_flight && list_empty(&p->kick_link))
		list_push_back(&p->world->kicked, &p->kick_link);
}

/* P3; none while others wait. */
static uint64_t spare(const struct permits *p)
{
	if (p->yield_at_ns != 0)
		return 0;
	return min((p->in_use + 7) / 8, p->rule->cap / peers_of(p) / 4);
}

static uint64_t wanted(const struct permits *p)
{
	return p->in_use + p->n_parked + spare(p);
}

static void kick_if_too_many(struct permits *p)
{
	if (p->held > wanted(p) + spare(p))
		kick(p);
}

static bool is_held(const struct permits *p)
{
	return p->held > 0 && now_of(p) < p->held_until_ns;
}

static bool has_one(const struct permits *p)
{
	return is_held(p) && p->in_use < p->held;
}

/* Not all replicas at once; and fewer questions of each key where there are many. */
static void pause_asking(struct permits *p)
{
	struct lease_world *w = p->world->common;
	uint64_t pace = PACE_NS + (uint64_t)p->world->n_waiting * PACE_KEY_NS;

	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	p->deny_until_ns = w->now_ns + pace + w->random % (pace / 4);
}

/*------------------------------------------------------------ without Redis */

static uint64_t even_share(const struct permits *p)
{
	return max(p->rule->cap / peers_of(p), 1);
}

/* Since when there is no news in time; 0: there is. */
static uint64_t gone_since(const struct permits *p)
{
	uint64_t late = p->late_since_ns, down = p->world->common->down_since_ns;

	if (!is_down(p))
		return late;
	return late != 0 ? min(late, down) : down;
}

/* P4: how many may be under way. */
static uint64_t allowed_without(const struct permits *p)
{
	uint64_t held = is_held(p) ? p->held : 0, gone = gone_since(p);

	if (p->rule->on_error != LEASE_LOCAL)
		return p->rule->on_error == LEASE_ALLOW ? UINT64_MAX : held;
	if (peers_of(p) == 1 || (gone != 0 && since(gone, now_of(p)) >= p->rule->hold_ns))
		return max(held, even_share(p));
	if (p->replied_at_ns != 0 && since(p->replied_at_ns, gone) <= FRESH_NS)
		held += p->left / peers_of(p);
	return held;
}

static bool may_without(const struct permits *p)
{
	return p->in_use < allowed_without(p);
}

/*------------------------------------------------------------------- answers */

/* As slots.c has it: permits come free one after the other, as fast as there are many. */
static uint64_t retry_of(const struct permits *p)
{
	uint64_t now = now_of(p), call = p->call_ns, ns;

	if (p->in_use > 0) {
		int64_t age = (int64_t)(now * p->in_use - p->started_sum_ns) / (int64_t)p->in_use;

		call = age > 0 ? max(call, (uint64_t)age) : call;
	}
	ns = min(call, RETRY_MOST_NS) * (1 + p->n_queued) / p->rule->cap;
	return min(max(ns, RETRY_LEAST_NS), RETRY_MOST_NS);
}

static void note_in_use(struct permits *p)
{
	list_remove(&p->held_link);
	if (p->held > 0 || p->in_use > 0)
		list_push_back(&p->world->held, &p->held_link);
}

static enum lease_answer admit(struct permits_ask *a)
{
	struct permits *p = a->permits;

	p->in_use++;
	p->sum->in_use++;
	a->started_ns = now_of(p);
	p->started_sum_ns += a->started_ns;
	note_in_use(p);
	if (p->held < p->in_use || (p->held < wanted(p) && now_of(p) >= p->deny_until_ns))
		kick(p);
	return LEASE_ADMIT;
}

static enum lease_answer deny(struct permits_ask *a)
{
	a->retry_ns = retry_of(a->permits);
	return LEASE_DENY;
}

static enum lease_answer deny_without(struct permits_ask *a)
{
	a->permits->sum->fallbacks++;
	a->unavailable = a->permits->rule->on_error == LEASE_REFUSE;
	return deny(a);
}

static enum lease_answer admit_without(struct permits_ask *a)
{
	a->permits->sum->fallbacks += !has_one(a->permits);
	return admit(a);
}

/*--------------------------------------------------------------------- lines */

static struct permits_ask *ask_of(struct list *n)
{
	return LIST_ENTRY(n, struct permits_ask, link);
}

/* Behind whom it comes: found from the end where most of its kind are placed. */
static struct list *place_of(const struct permits_ask *a)
{
	struct list *head = &a->permits->parked, *at;

	if (a->permits->rule->newest_first) {
		for (at = head; at->next != head && ask_of(at->next)->urgency < a->urgency;)
			at = at->next;
		return at;
	}
	for (at = head->prev; at != head && ask_of(at)->urgency > a->urgency;)
		at = at->prev;
	return at;
}

static void park(struct permits_ask *a)
{
	struct permits *p = a->permits;

	a->parked = true;
	list_push_front(place_of(a), &a->link);
	if (p->n_parked++ > 0)
		return;
	list_push_back(&p->world->waiting, &p->wait_link);
	p->world->n_waiting++;
}

static void unpark(struct permits_ask *a)
{
	struct permits *p = a->permits;

	a->parked = false;
	list_remove(&a->link);
	p->n_queued -= a->queued;
	p->sum->queued -= a->queued;
	if (--p->n_parked > 0)
		return;
	list_remove(&p->wait_link);
	p->world->n_waiting--;
}

static void enqueue(struct permits_ask *a)
{
	if (a->queued)
		return;
	a->queued = true;
	a->permits->n_queued++;
	a->permits->sum->queued++;
}

static void settle(struct permits_ask *a, enum lease_answer answer)
{
	a->permits->world->settled = true;
	a->settle(a, answer);
}

/* While there are some, who is next has one. */
static void serve(struct permits *p)
{
	while (p->n_parked > 0 && has_one(p)) {
		struct permits_ask *a = ask_of(p->parked.next);

		unpark(a);
		settle(a, admit(a));
	}
}

/* There are none: those stay who wait for one and find a place, by their order. */
static void turn_away(struct permits *p, enum lease_answer (*refuse)(struct permits_ask *))
{
	uint32_t n = 0;

	if (p->n_queued == p->n_parked && p->n_queued <= p->rule->queue_size)
		return;
	LIST_EACH (at, &p->parked) {
		struct permits_ask *a = ask_of(at);

		if (a->patient && n < p->rule->queue_size) {
			enqueue(a);
			n++;
			continue;
		}
		unpark(a);
		settle(a, refuse(a));
	}
}

/* There are none for it now. */
static enum lease_answer line_up(struct permits_ask *a)
{
	struct permits *p = a->permits;
	struct permits_ask *last;

	if (!a->patient || p->rule->queue_size == 0)
		return deny(a);
	park(a);
	enqueue(a);
	if (p->n_queued <= p->rule->queue_size)
		return LEASE_PARK;
	last = ask_of(p->parked.prev);
	unpark(last);
	if (last == a)
		return deny(a);
	settle(last, deny(last));
	return LEASE_PARK;
}

/* Nobody answers: of those who wait, who may go goes. */
static void serve_without(struct permits *p)
{
	while (p->n_parked > 0 && may_without(p)) {
		struct permits_ask *a = ask_of(p->parked.next);

		unpark(a);
		settle(a, admit_without(a));
	}
}

static void settle_without(struct permits *p)
{
	serve_without(p);
	if (is_down(p) && p->rule->on_error == LEASE_REFUSE)
		LIST_EACH (at, &p->parked) {
			struct permits_ask *a = ask_of(at);

			unpark(a);
			settle(a, deny_without(a));
		}
	turn_away(p, deny_without);
}

/*--------------------------------------------------------------------- calls */

/* It only tries what would be: on what is held, or by the last answer free. */
static enum lease_answer try_out(struct permits_ask *a)
{
	struct permits *p = a->permits;

	if (is_down(p))
		return may_without(p) ? admit_without(a) : deny_without(a);
	if (since(p->replied_at_ns, now_of(p)) >= PACE_NS)
		kick(p);
	if (has_one(p))
		return admit(a);
	if (p->left == 0)
		return deny(a);
	p->left--;
	return admit(a);
}

/* Redis is gone; who may wait does, for one to come free here. */
static enum lease_answer acquire_without(struct permits_ask *a)
{
	struct permits *p = a->permits;

	if (p->n_parked == 0 && may_without(p))
		return admit_without(a);
	return p->rule->on_error == LEASE_REFUSE || !a->patient ? deny_without(a) : line_up(a);
}

enum lease_answer permits_acquire(struct permits_ask *a)
{
	struct permits *p = a->permits;

	a->parked = a->queued = a->unavailable = false;
	list_init(&a->link);
	if (a->trial)
		return try_out(a);
	if (p->n_parked == 0 && has_one(p))
		return admit(a);
	if (is_down(p))
		return acquire_without(a);
	if (p->n_queued > 0 || now_of(p) < p->deny_until_ns)
		return line_up(a);
	if (p->n_parked >= p->rule->parked_max)
		return deny(a);
	kick(p);
	park(a);
	return LEASE_PARK;
}

/* Others would be made to yield to nobody. */
static void stop_waiting(struct permits *p)
{
	if (p->n_parked == 0 && p->told_of_waits)
		kick(p);
}

void permits_leave(struct permits_ask *a)
{
	if (!a->parked)
		return;
	unpark(a);
	stop_waiting(a->permits);
}

static void note_late(struct permits *p, uint64_t since_ns)
{
	if (p->late_since_ns == 0 || since(p->late_at_ns, now_of(p)) >= p->rule->hold_ns)
		p->late_since_ns = since_ns;
	p->late_at_ns = now_of(p);
}

enum lease_answer permits_late(struct permits_ask *a)
{
	struct permits *p = a->permits;
	bool full = a->queued && !is_down(p) && p->late_since_ns == 0; /* Redis said so */

	unpark(a);
	stop_waiting(p);
	if (full)
		return has_one(p) ? admit(a) : deny(a);
	note_late(p, now_of(p));
	return may_without(p) ? admit_without(a) : deny_without(a);
}

/* P6. */
static void yield_unused(struct permits *p)
{
	uint64_t n = p->held > p->in_use ? min(p->yields, p->held - p->in_use) : 0;

	p->yields -= n;
	p->held -= n;
	if (n > 0)
		kick(p);
}

/* P7. */
static void keep_none_spare(struct permits *p)
{
	if (!p->is_over || p->held <= p->in_use)
		return;
	p->held = p->in_use;
	kick(p);
}

static void note_end(struct permits *p, const struct permits_ask *a)
{
	uint64_t took = since(a->started_ns, now_of(p));

	CHECK(p->in_use > 0);
	p->in_use--;
	p->sum->in_use--;
	p->started_sum_ns -= a->started_ns;
	p->call_ns =
	    p->call_ns == 0 ? took : p->call_ns - p->call_ns / CALL_WEIGHT + took / CALL_WEIGHT;
	keep_none_spare(p);
	note_in_use(p);
}

void permits_release(struct permits_ask *a)
{
	struct permits *p = a->permits;

	note_end(p, a);
	if (p->yields > 0 && !is_down(p) && now_of(p) >= p->yield_at_ns)
		yield_unused(p);
	else if (p->n_parked == 0)
		p->deny_until_ns = 0; /* there is hope again */
	serve(p);
	if (is_down(p))
		serve_without(p);
	kick_if_too_many(p);
}

uint64_t permits_left(const struct permits *p)
{
	uint64_t most = is_down(p) ? allowed_without(p) : (is_held(p) ? p->held : 0) + p->left;

	most = min(most, p->rule->cap);
	return most > p->in_use ? most - p->in_use : 0;
}

bool permits_would_refuse(const struct permits *p, bool patient, uint64_t *retry_ns)
{
	bool waits = patient && p->n_queued < p->rule->queue_size;

	*retry_ns = retry_of(p);
	if (has_one(p) && p->n_parked == 0)
		return false;
	if (is_down(p))
		return !may_without(p) && (!waits || p->rule->on_error == LEASE_REFUSE);
	return (p->n_queued > 0 || now_of(p) < p->deny_until_ns) && !waits;
}

/*-------------------------------------------------------------------- syncs */

/* What goes back is not used meanwhile: it holds on to what it says that it needs. */
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
	p->held = is_held(p) ? min(p->held, p->sent_want) : 0;
	p->sent_need = max(p->in_use, p->held);
	p->sent_cap = p->rule->cap;
	*out = (struct permits_sync){ .need = p->sent_need,
				      .want = p->sent_want,
				      .waits = min(p->n_parked, p->rule->queue_size) };
	p->told_of_waits = out->waits > 0;
	return p;
}

/* The time that they are held counts from when it was asked: the server's ends later. */
static void note_reply(struct permits *p, const struct sync_reply *r)
{
	p->in_flight = false;
	p->held = r->granted;
	if (p->sent_cap == p->rule->cap && (r->granted > p->sent_need || r->left > 0))
		p->is_over = false;
	keep_none_spare(p);
	p->left = r->left;
	p->yields = r->yields;
	if (r->yields == 0)
		p->yield_at_ns = 0;
	else if (p->yield_at_ns == 0)
		p->yield_at_ns = now_of(p) + YIELD_NS;
	p->held_until_ns = p->sent_at_ns + p->rule->hold_ns;
	p->renew_at_ns = p->sent_at_ns + p->rule->hold_ns / 3;
	p->replied_at_ns = now_of(p);
	p->told_of_waits = p->told_of_waits && r->granted < p->sent_want;
	if (p->n_parked > 0)
		p->late_since_ns = 0;
	note_in_use(p);
}

void permits_reply(struct permits *p, const struct sync_reply *r)
{
	CHECK(p->in_flight);
	note_reply(p, r);
	if (r->granted < p->sent_want)
		pause_asking(p);
	serve(p);
	yield_unused(p);
	if (now_of(p) < p->deny_until_ns)
		turn_away(p, deny);
	else if (p->n_parked > 0) /* came while the sync was under way: the next is for it */
		kick(p);
	stop_waiting(p);
	kick_if_too_many(p);
}

void permits_lost(struct permits *p)
{
	CHECK(p->in_flight);
	p->in_flight = false;
	p->renew_at_ns = now_of(p);
	if (p->n_parked == 0) {
		p->told_of_waits =
		    false; /* who is told of them in vain forgets it with the holding */
		return;
	}
	note_late(p, p->sent_at_ns);
	pause_asking(p);
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

void permits_down(struct permits_world *w)
{
	LIST_EACH (n, &w->waiting) {
		struct permits *p = LIST_ENTRY(n, struct permits, wait_link);

		if (!p->in_flight)
			settle_without(p);
	}
}

/* It may have forgotten all. */
void permits_up(struct permits_world *w)
{
	LIST_EACH (n, &w->held)
		kick(LIST_ENTRY(n, struct permits, held_link));
	LIST_EACH (n, &w->waiting)
		kick(LIST_ENTRY(n, struct permits, wait_link));
}

bool permits_pace(struct permits_world *w)
{
	LIST_EACH (n, &w->waiting) {
		struct permits *p = LIST_ENTRY(n, struct permits, wait_link);

		if (w->common->down)
			serve_without(p);
		else if (w->common->now_ns >= p->deny_until_ns)
			kick(p);
	}
	return w->n_waiting > 0;
}

/*------------------------------------------------------------------- making */

void permits_world_init(struct permits_world *w, struct lease_world *common)
{
	*w = (struct permits_world){ .common = common };
	list_init(&w->kicked);
	list_init(&w->held);
	list_init(&w->waiting);
}

void permits_init(struct permits *p, struct permits_world *w, const struct permits_rule *r,
		  struct permits_sum *sum)
{
	*p = (struct permits){ .world = w, .rule = r, .sum = sum, .left = r->cap };
	list_init(&p->parked);
	list_init(&p->kick_link);
	list_init(&p->held_link);
	list_init(&p->wait_link);
}

void permits_fini(struct permits *p)
{
	CHECK(!p->in_flight && p->n_parked == 0 && p->in_use == 0);
	list_remove(&p->kick_link);
	list_remove(&p->held_link);
}

bool permits_are_idle(const struct permits *p)
{
	return !p->in_flight && p->n_parked == 0 && p->in_use == 0 && p->held == 0 &&
	       !p->told_of_waits;
}

void permits_change_cap(struct permits *p, uint64_t cap)
{
	if (cap < p->rule->cap) {
		p->is_over = true;
		p->left = 0;
		keep_none_spare(p);
	}
	p->deny_until_ns = 0;
	if (p->n_parked > 0 || p->held > 0)
		kick(p);
}
