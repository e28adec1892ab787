/* lease.c - the laws are in lease.h. */
#include "store/lease.h"

#include "base/check.h"
#include "base/clock.h"

#define HOLD_NS        CLOCK_S
#define RATE_WINDOW_NS (100 * CLOCK_MS)
#define PACE_NS        (50 * CLOCK_MS)
#define FRESH_NS       (50 * CLOCK_MS) /* who asked within it will ask again */

enum {
	RATE_MAX = 1000000000, /* tokens a second: beyond, arrivals are not told apart */
	RATE_SCALE = 1000,     /* of lease.rate */
	JITTER_SHARE = 5,      /* a fifth */
	COST_MAX = 1 << 30,    /* of one part */
};

static uint64_t min(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t max(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t round_up(lease_units a, lease_units by)
{
	lease_units n = (a + by - 1) / by;

	return n > UINT64_MAX ? UINT64_MAX : (uint64_t)n;
}

/* xorshift64: who comes back when is no secret. */
static uint64_t random_below(struct lease_world *w, uint64_t n)
{
	w->random ^= w->random << 13;
	w->random ^= w->random >> 7;
	w->random ^= w->random << 17;
	return n == 0 ? 0 : w->random % n;
}

/*-------------------------------------------------------------------- rules */

/* A quarter is credit, at least one: a first call never waits. */
struct lease_caps lease_caps_of(const struct lease_rule *r, uint32_t peers)
{
	lease_units size = r->burst;
	uint64_t share;

	if (r->kind == LEASE_BUCKET)
		size += (lease_units)r->count * CLOCK_S / r->period_ns;
	share = (uint64_t)(size * r->overshoot_ppm / 1000000 / peers);
	if (r->strict || share == 0)
		return (struct lease_caps){ .hold = 0 };
	share = min(share, COST_MAX);
	return (struct lease_caps){ .credit = max(share / 4, 1),
				    .hold = share - max(share / 4, 1) };
}

static uint32_t peers_of(const struct lease *l)
{
	return l->world->peers > l->rule->peers ? l->world->peers : l->rule->peers;
}

static const struct lease_caps *caps_of(struct lease *l)
{
	struct lease_rule *r = l->rule;

	if (r->caps_peers != peers_of(l)) {
		r->caps = lease_caps_of(r, peers_of(l));
		r->caps_peers = peers_of(l);
	}
	return &r->caps;
}

/* A window's tokens are not kept far into the next one. */
static uint64_t hold_ns(const struct lease_rule *r)
{
	return r->kind == LEASE_BUCKET ? HOLD_NS : min(HOLD_NS, r->period_ns / 4);
}

/* Nobody asks more often for what is not there: as long as no bucket fills up meanwhile. */
static uint64_t pace_ns(const struct lease_rule *r)
{
	lease_units fills = (lease_units)r->burst * r->period_ns / r->count / 4;

	return fills < PACE_NS ? (uint64_t)fills : PACE_NS;
}

/*------------------------------------------------------------------ arrivals */

/* Exponential smoothing with weights of whole ns. */
static void count_arrival(struct lease *l, uint64_t cost)
{
	uint64_t now = l->world->now_ns, passed = now - l->rate_at_ns;
	lease_units arrived = (lease_units)cost * CLOCK_S * RATE_SCALE;
	lease_units kept = (lease_units)l->rate * RATE_WINDOW_NS;

	l->rate = (uint64_t)min((uint64_t)((kept + arrived) / (RATE_WINDOW_NS + passed)),
				(uint64_t)RATE_MAX * RATE_SCALE);
	l->rate_at_ns = now;
	l->asked_at_ns = now;
}

/* Tokens that are expected to be asked for in that time, rounded up. */
static uint64_t expected(const struct lease *l, uint64_t ns)
{
	uint64_t idle = l->world->now_ns - l->rate_at_ns;
	lease_units rate = (lease_units)l->rate * RATE_WINDOW_NS / (RATE_WINDOW_NS + idle);

	return round_up(rate * ns, (lease_units)CLOCK_S * RATE_SCALE);
}

/* Tokens that are there at most, by the last answer: the others may have taken of them since. */
static uint64_t left_at(const struct lease *l, uint64_t at_ns)
{
	uint64_t missing;

	if (l->full_at_ns <= at_ns)
		return l->rule->burst;
	if (l->rule->kind != LEASE_BUCKET)
		return l->left;
	missing =
	    round_up((lease_units)(l->full_at_ns - at_ns) * l->rule->count, l->rule->period_ns);
	return missing < l->rule->burst ? l->rule->burst - missing : 0;
}

/*----------------------------------------------------------- without Redis */

/* One token; the local bucket gains `count` units a ns. */
static lease_level local_token(const struct lease *l)
{
	return (lease_level)l->rule->period_ns * l->local_peers;
}

/* A budget of which is known what was left has that, and gets nothing until its end. */
static bool is_counted_out(const struct lease *l)
{
	return l->rule->kind == LEASE_BUDGET && l->is_known;
}

static lease_level local_full(const struct lease *l)
{
	return (lease_level)(is_counted_out(l) ? l->left : l->rule->burst) * l->rule->period_ns;
}

/* The window of a budget is over, and another has begun: of the one before nothing is to be told any more. */
static void local_next_window(struct lease *l)
{
	uint64_t now = l->world->now_ns, period_ns = l->rule->period_ns;

	if (!is_counted_out(l) || l->full_at_ns <= l->replied_at_ns || now < l->full_at_ns)
		return;
	l->full_at_ns += ((now - l->full_at_ns) / period_ns + 1) * period_ns;
	l->left = l->rule->burst;
	l->local_level = local_full(l);
	l->local_spent = 0;
	l->own = 0;
	l->count.known = false;
}

static void local_advance(struct lease *l)
{
	uint64_t now = l->world->now_ns;

	local_next_window(l);
	if (!is_counted_out(l))
		l->local_level += (lease_level)l->rule->count * (now - l->local_at_ns);
	if (l->local_level > local_full(l))
		l->local_level = local_full(l);
	l->local_at_ns = now;
}

/* Without an answer of late: one token, so that who is new need not wait for as long as one takes to come, but no more
 * than a share of what can be there by the last answer. */
static lease_level local_guess(const struct lease *l, uint64_t at_ns)
{
	uint64_t most = l->is_known ? left_at(l, at_ns) : l->rule->burst;
	lease_level share = (lease_level)most * l->rule->period_ns;

	return share < local_token(l) ? share : local_token(l);
}

/* What a share of the bucket holds to begin with.  What has come in since the answer, the others may have taken.  And
 * where this has been so a moment ago (a server that is slow all the time), no more than was in the share then, and has
 * come since. */
static lease_level local_start(const struct lease *l, uint64_t at_ns)
{
	bool fresh =
	    l->is_known && at_ns >= l->replied_at_ns && at_ns - l->replied_at_ns <= HOLD_NS;
	lease_level start = (lease_level)l->left * l->rule->period_ns, carried = l->local_level;

	if (is_counted_out(l))
		return local_full(l);
	if (!fresh)
		start = local_guess(l, at_ns);
	if (l->local_at_ns == 0)
		return start;
	if (at_ns > l->local_at_ns)
		carried += (lease_level)l->rule->count * (at_ns - l->local_at_ns);
	return start < carried ? start : carried;
}

static void local_begin(struct lease *l, uint64_t since_ns)
{
	if (l->is_local)
		return;
	since_ns = min(since_ns, l->world->now_ns);
	l->is_local = true;
	l->local_peers = peers_of(l);
	l->local_level = local_start(l, since_ns);
	l->local_at_ns = since_ns;
	l->local_spent = 0;
	list_push_back(&l->world->local, &l->local_link);
	l->world->n_local++;
	local_advance(l);
}

static void local_end(struct lease *l)
{
	l->is_local = false;
	list_remove(&l->local_link);
	l->world->n_local--;
}

/* L6. */
static uint64_t local_charge(struct lease *l)
{
	lease_level lacks;

	if (!l->is_local)
		return 0;
	if (l->rule->kind == LEASE_BUDGET)
		return l->local_spent;
	local_advance(l);
	lacks = local_full(l) - l->local_level;
	return min(l->local_spent, round_up((lease_units)lacks, (lease_units)local_token(l)));
}

/* What has to be there for such a call.  A share may be less than what it wants, or than one token: then all of it has
 * to be, and the rest is owed. */
static lease_level local_price(const struct lease *l, uint64_t cost)
{
	lease_level price = (lease_level)cost * local_token(l);

	return is_counted_out(l) || price < local_full(l) ? price : local_full(l);
}

static bool local_has(const struct lease *l, uint64_t cost)
{
	return l->rule->on_error == LEASE_ALLOW ||
	       (l->rule->on_error == LEASE_LOCAL && l->local_level >= local_price(l, cost));
}

/* Where all are let in, they leave no more than an empty bucket. */
static void local_take(struct lease *l, uint64_t cost)
{
	lease_level price = (lease_level)cost * local_token(l);
	lease_level floor = l->rule->on_error == LEASE_ALLOW ? 0 : l->local_level - price;

	l->local_level = l->local_level - price > floor ? l->local_level - price : floor;
	l->local_spent += cost;
}

/* Where it says nothing better, a second: by then Redis may be back. */
static uint64_t local_retry_ns(const struct lease *l, uint64_t cost)
{
	if (l->rule->on_error != LEASE_LOCAL || is_counted_out(l))
		return CLOCK_S;
	return round_up((lease_units)(local_price(l, cost) - l->local_level), l->rule->count);
}

/*---------------------------------------------------------------- one limit */

/* What was held too long goes back; of a window, which may be another one by now, it is lost. */
static void lapse(struct lease *l)
{
	if (l->balance <= 0 || l->world->now_ns <= l->held_until_ns)
		return;
	if (l->rule->kind != LEASE_WINDOW)
		l->surplus += (uint64_t)l->balance;
	l->balance = 0;
}

static void kick(struct lease *l)
{
	if (!l->in_flight && list_empty(&l->kick_link))
		list_push_back(&l->world->kicked, &l->kick_link);
}

enum judgement { MAY, MAY_NOT, MUST_WAIT };

/* Of the last refusal: who wants less than was refused then is asked for. */
static bool is_denied(const struct lease *l, uint64_t cost)
{
	return l->world->now_ns < l->deny_until_ns && cost >= l->deny_cost;
}

/* More than was refused takes longer: as long as the rest takes to come, at most until all is there. */
static uint64_t denied_ns(const struct lease *l, uint64_t cost)
{
	const struct lease_rule *r = l->rule;
	lease_units rest = (lease_units)(cost - l->deny_cost) * r->period_ns / r->count;
	uint64_t full_ns = max(l->full_at_ns, l->deny_until_ns);
	lease_units at = l->deny_until_ns + rest;

	return (at < full_ns ? (uint64_t)at : full_ns) - l->world->now_ns;
}

static enum judgement judge_locally(struct lease_part *p, uint64_t *retry_ns)
{
	struct lease *l = p->lease;

	local_advance(l);
	p->source = FROM_LOCAL;
	if (local_has(l, p->cost))
		return MAY;
	*retry_ns = local_retry_ns(l, p->cost);
	return MAY_NOT;
}

static bool on_credit(struct lease *l, uint64_t cost)
{
	return l->has_credit && l->balance - (int64_t)cost >= -(int64_t)caps_of(l)->credit;
}

/* `parked`: the call is one of those that wait already. */
static enum judgement judge(struct lease_part *p, bool parked, uint64_t *retry_ns)
{
	struct lease *l = p->lease;
	struct lease_world *w = l->world;

	lapse(l);
	p->source = FROM_BALANCE;
	*retry_ns = 0;
	if (p->cost > l->rule->burst) {
		*retry_ns = SYNC_NEVER;
		return MAY_NOT;
	}
	if (l->balance >= (int64_t)p->cost && (parked || l->n_parked == 0))
		return MAY;
	if (w->down)
		local_begin(l, w->down_since_ns);
	if (l->is_local)
		return judge_locally(p, retry_ns);
	if (is_denied(l, p->cost)) {
		*retry_ns = denied_ns(l, p->cost);
		return MAY_NOT;
	}
	return on_credit(l, p->cost) && l->n_parked == 0 ? MAY : MUST_WAIT;
}

/* L8.  Who is refused by an answer of a while ago has Redis asked for a newer one. */
static enum judgement judge_at_once(struct lease *l, uint64_t cost, uint64_t *retry_ns)
{
	uint64_t debt = l->balance < 0 ? (uint64_t)-l->balance : 0;
	uint64_t left = l->is_known ? left_at(l, l->world->now_ns) : l->rule->burst;
	bool first = debt == 0 && cost <= left;

	if (first || (lease_units)(debt + cost) * peers_of(l) <= left)
		return MAY;
	l->is_curious = l->world->now_ns - l->replied_at_ns > PACE_NS;
	*retry_ns = cost <= left
			? max(l->world->rtt_ns, CLOCK_MS)
			: round_up((lease_units)(cost - left) * l->rule->period_ns, l->rule->count);
	return MAY_NOT;
}

static void take(struct lease_part *p)
{
	if (p->source == FROM_LOCAL)
		local_take(p->lease, p->cost);
	else
		p->lease->balance -= (int64_t)p->cost;
}

/* Whether tokens run low while they are being asked for. */
static bool runs_low(struct lease *l)
{
	struct lease_world *w = l->world;
	uint64_t soon = w->rtt_ns + w->rtt_ns / 2 + 2 * CLOCK_MS;

	return caps_of(l)->hold > 0 && w->now_ns - l->asked_at_ns <= FRESH_NS &&
	       w->now_ns >= l->deny_until_ns && l->balance <= (int64_t)expected(l, soon);
}

static bool has_news(struct lease *l)
{
	return l->n_parked > 0 || l->balance < 0 || l->surplus > 0 || l->unsettled || l->is_local ||
	       l->is_curious || runs_low(l);
}

static void kick_if_news(struct lease *l)
{
	if (!l->world->down && has_news(l))
		kick(l);
}

/*-------------------------------------------------------------------- calls */

static void park(struct lease_ask *a)
{
	a->parked = true;
	for (unsigned i = 0; i < a->n; i++) {
		struct lease *l = a->part[i].lease;

		list_push_back(&l->parked, &a->part[i].link);
		l->n_parked++;
		l->parked_cost += a->part[i].cost;
	}
}

/* What is beyond the hold was asked for by calls that went away, or were refused elsewhere; calls that wait for another
 * limit besides still need it. */
static void give_back_surplus(struct lease *l)
{
	int64_t keep = (int64_t)max(caps_of(l)->hold, l->parked_cost);

	if (l->balance <= keep)
		return;
	l->surplus += (uint64_t)(l->balance - keep);
	l->balance = keep;
	kick(l);
}

void lease_leave(struct lease_ask *a)
{
	if (!a->parked)
		return;
	a->parked = false;
	for (unsigned i = 0; i < a->n; i++) {
		struct lease *l = a->part[i].lease;

		list_remove(&a->part[i].link);
		l->n_parked--;
		l->parked_cost -= a->part[i].cost;
		give_back_surplus(l);
	}
}

static bool has_place(const struct lease_ask *a)
{
	for (unsigned i = 0; i < a->n; i++)
		if (a->part[i].lease->n_parked >= a->part[i].lease->rule->parked_max)
			return false;
	return true;
}

/* Of all that refuse, the longest wait counts. */
static enum lease_answer judge_all(struct lease_ask *a)
{
	enum lease_answer answer = LEASE_ADMIT;

	a->retry_ns = 0;
	for (unsigned i = 0; i < a->n; i++) {
		uint64_t retry_ns;
		enum judgement j = judge(&a->part[i], a->parked, &retry_ns);

		if (j == MUST_WAIT && a->at_once)
			j = judge_at_once(a->part[i].lease, a->part[i].cost, &retry_ns);
		if (j == MAY_NOT && (answer != LEASE_DENY || retry_ns > a->retry_ns)) {
			answer = LEASE_DENY;
			a->denier = i;
			a->retry_ns = retry_ns;
		} else if (j == MUST_WAIT && answer == LEASE_ADMIT) {
			answer = LEASE_PARK;
		}
	}
	return answer;
}

/* Parked or not: nobody is before it. */
static enum lease_answer judge_first(struct lease_ask *a)
{
	bool was_parked = a->parked;
	enum lease_answer answer;

	a->parked = true;
	answer = judge_all(a);
	a->parked = was_parked;
	return answer;
}

static void take_all(struct lease_ask *a)
{
	for (unsigned i = 0; i < a->n; i++)
		take(&a->part[i]);
}

static void kick_all(struct lease_ask *a)
{
	for (unsigned i = 0; i < a->n; i++)
		kick_if_news(a->part[i].lease);
}

enum lease_answer lease_admit(struct lease_world *w, struct lease_ask *a)
{
	enum lease_answer answer;

	CHECK(a->n >= 1 && a->n <= LEASE_PARTS_MAX);
	a->parked = false;
	for (unsigned i = 0; i < a->n; i++) {
		CHECK(a->part[i].lease->world == w);
		a->part[i].ask = a;
		list_init(&a->part[i].link);
		count_arrival(a->part[i].lease, min(a->part[i].cost, COST_MAX));
	}
	answer = judge_all(a);
	if (answer == LEASE_PARK && !has_place(a))
		return lease_late(w, a);
	if (answer == LEASE_ADMIT)
		take_all(a);
	else if (answer == LEASE_PARK)
		park(a);
	kick_all(a);
	return answer;
}

/* Only the limits that had no answer decide by themselves. */
enum lease_answer lease_late(struct lease_world *w, struct lease_ask *a)
{
	enum lease_answer answer;

	for (unsigned i = 0; i < a->n; i++) {
		uint64_t retry_ns;

		if (judge(&a->part[i], true, &retry_ns) == MUST_WAIT)
			local_begin(a->part[i].lease, w->now_ns);
	}
	answer = judge_first(a);
	CHECK(answer != LEASE_PARK);
	if (answer == LEASE_ADMIT)
		take_all(a);
	lease_leave(a);
	kick_all(a);
	return answer;
}

void lease_return(struct lease_part *p)
{
	struct lease *l = p->lease;

	if (p->source == FROM_LOCAL && l->is_local) {
		uint64_t untold = min(l->local_spent, p->cost);

		l->local_spent -= untold;
		l->surplus += p->cost - untold;
		l->local_level += (lease_level)p->cost * local_token(l);
		local_advance(l);
		kick_if_news(l);
		return;
	}
	l->balance += (int64_t)p->cost; /* it is, or will be, charged */
	give_back_surplus(l);
}

/* On a copy: judging begins what is local. */
bool lease_would_refuse(const struct lease *l, uint64_t cost, uint64_t *retry_ns)
{
	struct lease copy = *l;
	struct lease_part part = { .lease = &copy, .cost = cost };

	copy.is_local = l->is_local || l->world->down;
	if (copy.is_local && !l->is_local) {
		copy.local_peers = peers_of(l);
		copy.local_level = local_start(l, min(l->world->down_since_ns, l->world->now_ns));
		copy.local_at_ns = min(l->world->down_since_ns, l->world->now_ns);
	}
	return judge(&part, false, retry_ns) == MAY_NOT;
}

static uint64_t local_look(const struct lease *l)
{
	struct lease copy = *l;

	local_advance(&copy);
	return copy.local_level < 0 ? 0 : (uint64_t)(copy.local_level / local_token(l));
}

void lease_look(const struct lease *l, uint64_t *left, uint64_t *reset_ns)
{
	uint64_t now = l->world->now_ns;
	int64_t n;

	*reset_ns = l->full_at_ns > now ? l->full_at_ns - now : 0;
	if (l->is_local) {
		*left = local_look(l);
		return;
	}
	n = (int64_t)(l->is_known ? left_at(l, now) : l->rule->burst) + l->balance;
	*left = n < 0 ? 0 : min((uint64_t)n, l->rule->burst);
}

static bool waits_here(struct lease_part *p)
{
	uint64_t retry_ns;

	return judge(p, true, &retry_ns) == MUST_WAIT;
}

/* In order; who lacks something elsewhere waits on without holding up others. */
static void serve(struct lease *l)
{
	LIST_EACH (n, &l->parked) {
		struct lease_part *p = LIST_ENTRY(n, struct lease_part, link);
		struct lease_ask *a = p->ask;
		enum lease_answer answer = judge_all(a);

		if (answer == LEASE_PARK) {
			if (waits_here(p))
				break;
			continue;
		}
		if (answer == LEASE_ADMIT)
			take_all(a);
		lease_leave(a);
		kick_all(a);
		a->settle(a, answer);
	}
}

/*-------------------------------------------------------------------- syncs */

static void ask_for(struct lease *l, struct sync *s)
{
	struct lease_world *w = l->world;
	uint64_t held = l->balance > 0 ? (uint64_t)l->balance : 0, target = 0, need;
	struct lease_part *first;

	if (w->now_ns - l->asked_at_ns <= FRESH_NS && w->now_ns >= l->deny_until_ns)
		target = min(caps_of(l)->hold, expected(l, 3 * w->rtt_ns + 50 * CLOCK_MS));
	need = l->parked_cost + target;
	if (need <= held)
		return;
	s->want = need - held;
	s->least = 1;
	if (l->n_parked > 0) {
		first = LIST_ENTRY(l->parked.next, struct lease_part, link);
		s->least = first->cost > held ? first->cost - held : 1;
	}
	s->want = max(s->want, s->least);
}

/* What is owed and what goes back need not be told, as far as they are the same. */
static void offset(struct lease *l)
{
	uint64_t both = l->balance < 0 ? min((uint64_t)-l->balance, l->surplus) : 0;

	l->balance += (int64_t)both;
	l->surplus -= both;
}

/* Of a window that is over, nothing goes back: it would be the next one's. */
static void forget_what_is_over(struct lease *l)
{
	if (l->rule->kind == LEASE_WINDOW && l->world->now_ns >= l->window_ends_ns)
		l->surplus = 0;
}

static void compose(struct lease *l)
{
	lapse(l);
	forget_what_is_over(l);
	offset(l);
	l->sent_debt = l->balance < 0 ? (uint64_t)-l->balance : 0;
	l->sent_back = l->surplus;
	l->sent_local = local_charge(l);
	l->sent = (struct sync){ .owed = (int64_t)(l->sent_debt + l->sent_local) -
					 (int64_t)l->sent_back };
	l->surplus = 0;
	l->local_spent = l->is_local ? 0 : l->local_spent;
	ask_for(l, &l->sent);
	if (l->rule->kind != LEASE_BUDGET)
		return;
	l->seq = ++l->world->seq;
	l->sent_count = l->count;
	l->sent_own = l->own;
}

static bool is_empty(const struct sync *s)
{
	return s->owed == 0 && s->want == 0;
}

struct lease *lease_next(struct lease_world *w, struct sync *out)
{
	struct list *n;

	while ((n = list_pop_front(&w->kicked)) != NULL) {
		struct lease *l = LIST_ENTRY(n, struct lease, kick_link);

		if (!l->unsettled)
			compose(l);
		if (is_empty(&l->sent) && !l->is_local && !l->unsettled && !l->is_curious)
			continue;
		l->is_curious = false;
		l->in_flight = true;
		*out = l->sent;
		return l;
	}
	return NULL;
}

static void note_budget(struct lease *l, const struct sync_reply *r)
{
	int64_t own = (int64_t)l->own + l->sent.owed;

	if (l->sent_count.known && l->sent_count.window != r->count.window) {
		own = 0;
		if (l->balance > 0)
			l->balance = 0;
	}
	own += (int64_t)r->granted;
	l->own = own > 0 ? (uint64_t)own : 0;
	l->count = r->count;
}

static void note_refusal(struct lease *l, const struct sync_reply *r)
{
	struct lease_world *w = l->world;
	uint64_t wait = min(r->retry_us, UINT64_MAX / 2000) * 1000;

	wait = max(wait, pace_ns(l->rule));
	l->deny_until_ns = w->now_ns + wait + random_below(w, min(wait, CLOCK_S) / JITTER_SHARE);
	l->deny_cost =
	    r->granted > 0 ? 1 : l->sent.least + (l->balance > 0 ? (uint64_t)l->balance : 0);
}

/* Calls that were let in meanwhile are charged next, as others. */
static void leave_local(struct lease *l)
{
	if (!l->is_local)
		return;
	l->balance -= (int64_t)local_charge(l);
	local_end(l);
}

void lease_reply(struct lease *l, const struct sync_reply *r)
{
	struct lease_world *w = l->world;

	CHECK(l->in_flight);
	l->in_flight = l->unsettled = false;
	lapse(l);
	if (l->rule->kind == LEASE_BUDGET)
		note_budget(l, r);
	l->balance += (int64_t)(l->sent_debt + r->granted);
	l->is_known = true;
	leave_local(l);
	l->left = r->left;
	l->replied_at_ns = w->now_ns;
	l->full_at_ns = w->now_ns + min(r->reset_us, UINT64_MAX / 2000) * 1000;
	l->window_ends_ns = l->full_at_ns - min(l->full_at_ns, w->rtt_ns);
	if (l->rule->slides)
		l->window_ends_ns -= min(l->window_ends_ns, l->rule->period_ns);
	if (r->granted > 0) {
		l->held_until_ns = w->now_ns + hold_ns(l->rule);
		l->has_credit = true;
	} else if (l->sent.want > 0 || r->left == 0) {
		l->has_credit = false;
	}
	if (r->granted < l->sent.want)
		note_refusal(l, r);
	serve(l);
	give_back_surplus(l);
	kick_if_news(l);
}

void lease_refused(struct lease *l)
{
	CHECK(l->in_flight);
	l->in_flight = false;
	if (!l->unsettled) { /* else it may have been, the time before */
		l->surplus += l->sent_back;
		if (l->is_local)
			l->local_spent += l->sent_local;
	}
	local_begin(l, l->world->now_ns); /* who waits need not: there is no answer now */
	serve(l);
}

/* L4: of a rate the charge is given up, and so is what was given back. */
void lease_lost(struct lease *l)
{
	CHECK(l->in_flight);
	l->in_flight = false;
	if (l->rule->kind == LEASE_BUDGET) {
		l->unsettled = true;
	} else {
		l->balance += (int64_t)l->sent_debt;
		l->has_credit = false;
		if (l->is_local)
			l->local_spent += l->sent_local;
	}
	if (has_news(l))
		kick(l);
}

/*------------------------------------------------------------- down and up */

void lease_down(struct lease_world *w)
{
	if (w->down)
		return;
	w->down = true;
	w->down_since_ns = w->now_ns;
}

void lease_up(struct lease_world *w)
{
	w->down = false;
	LIST_EACH (n, &w->local)
		kick(LIST_ENTRY(n, struct lease, local_link));
}

/*------------------------------------------------------------------- making */

void lease_world_init(struct lease_world *w, uint64_t now_ns, uint64_t random)
{
	*w = (struct lease_world){
		.now_ns = now_ns, .rtt_ns = CLOCK_MS, .peers = 1, .random = random == 0 ? 1 : random
	};
	list_init(&w->kicked);
	list_init(&w->local);
}

void lease_init(struct lease *l, struct lease_world *w, struct lease_rule *r)
{
	*l = (struct lease){ .world = w, .rule = r, .has_credit = true, .rate_at_ns = w->now_ns };
	list_init(&l->parked);
	list_init(&l->kick_link);
	list_init(&l->local_link);
}

void lease_fini(struct lease *l)
{
	CHECK(!l->in_flight && l->n_parked == 0);
	list_remove(&l->kick_link);
	if (l->is_local)
		local_end(l);
}

/* Nothing was spent that has not come back; who is forgotten comes back richer by a token at most. */
static bool is_local_idle(const struct lease *l)
{
	struct lease copy = *l;

	if (l->local_spent == 0 && l->rule->on_error != LEASE_LOCAL)
		return true;
	return !is_counted_out(l) && local_charge(&copy) == 0 &&
	       copy.local_level >= local_price(&copy, 1);
}

bool lease_is_idle(const struct lease *l)
{
	return !l->in_flight && !l->unsettled && l->n_parked == 0 && l->balance >= 0 &&
	       (!l->is_local || is_local_idle(l));
}

/* Their product has room: no sizes of rules come near the square of this. */
static lease_level scale(lease_level v, lease_level from, lease_level to)
{
	const lease_level most = (lease_level)1 << 62;
	lease_level by = 1;

	for (; from >= most; from /= 2)
		v /= 2;
	for (; to >= most; to /= 2)
		by *= 2;
	return v * to / from * by;
}

void lease_change_rule(struct lease *l, const struct lease_rule *to)
{
	const struct lease_rule *from = l->rule;

	l->deny_until_ns = 0;
	if (is_counted_out(l))
		return;
	if (l->is_local)
		local_advance(l);
	l->local_level = scale(l->local_level, (lease_level)from->burst * from->period_ns,
			       (lease_level)to->burst * to->period_ns);
}
