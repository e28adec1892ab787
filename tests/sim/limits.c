/* limits.c - what every decision of the one limit must be.  The law is in limits.h. */
#include "limits.h"

#include "base/buf.h"
#include "filters/cells.h"
#include "filters/table.h"
#include "sim.h"

#define GRAIN_NS     UINT64_C(1000000)
#define TOLERANCE_NS 10000 /* what units rounded up over many reloads come to */

static struct sim *bound;
static uint16_t opened_tag; /* of the limit in the latest policy */
static uint8_t entry_of_tag[RULES_MAX];

/*-------------------------------------------------------------------- rules */

static unsigned long long number(struct sim *sim, uint64_t low, uint64_t high)
{
	return dice_between(&sim->dice, low, high);
}

static void draw_entry(struct sim *sim, struct rule *r, unsigned i)
{
	uint64_t longer = i == 0 ? 1 : number(sim, 2, 5);

	uint64_t most = dice_chance(&sim->dice, 700) ? 4 : 20;

	r->entry[i].count = number(sim, 1, most);
	r->entry[i].period_ns = 100 * CLOCK_MS * number(sim, 1, 20);
	if (i > 0)
		r->entry[i].period_ns = r->entry[0].period_ns * longer;
	r->entry[i].burst = number(sim, 1, most);
}

void limits_draw(struct sim *sim, struct rule *r)
{
	*r = (struct rule){ .algorithm = (unsigned)dice_below(&sim->dice, 3), .n = 1, .cost = 1 };
	if (sim->weather.calm) {
		r->entry[0].count = r->entry[0].burst = 100000;
		r->entry[0].period_ns = CLOCK_S;
		return;
	}
	r->n = dice_chance(&sim->dice, 300) ? 2 : 1;
	for (unsigned i = 0; i < r->n; i++)
		draw_entry(sim, r, i);
	if (r->n > 1 || r->algorithm != TOKEN_BUCKET || dice_chance(&sim->dice, 500))
		return;
	r->wait_ns = 100 * CLOCK_MS * number(sim, 1, 50);
	r->queue = number(sim, 0, 10);
	r->cost = r->entry[0].burst > 2 ? number(sim, 1, 2) : 1;
}

static void put_list(const struct rule *r, struct buf *b, bool bursts)
{
	buf_puts(b, bursts ? ", burst: [" : "rate: [");
	for (unsigned i = 0; i < r->n; i++) {
		buf_puts(b, i == 0 ? "" : ", ");
		if (bursts)
			buf_printf(b, "%llu", (unsigned long long)r->entry[i].burst);
		else
			buf_printf(b, "%llu/%llums", (unsigned long long)r->entry[i].count,
				   (unsigned long long)(r->entry[i].period_ns / CLOCK_MS));
	}
	buf_puts(b, "]");
}

void limits_put(const struct rule *r, struct buf *b)
{
	static const char *const names[] = { "token-bucket", "sliding-window", "fixed-window" };

	buf_puts(b, "policies:\n  per-key: { ");
	put_list(r, b, false);
	if (r->algorithm == TOKEN_BUCKET)
		put_list(r, b, true);
	buf_printf(b, ", algorithm: %s, cost: %llu, key: header.x-sim-key", names[r->algorithm],
		   (unsigned long long)r->cost);
	if (r->wait_ns > 0)
		buf_printf(b, ", wait: %llums", (unsigned long long)(r->wait_ns / CLOCK_MS));
	if (r->queue > 0)
		buf_printf(b, ", queue: %llu", (unsigned long long)r->queue);
	buf_puts(b, " }\n");
}

uint64_t limits_per_s(const struct rule *r)
{
	return r->entry[0].count * CLOCK_S / r->entry[0].period_ns + 1;
}

/* Any time has a part of one window more than it has whole ones. */
uint64_t limits_at_once(const struct rule *r)
{
	return r->algorithm == TOKEN_BUCKET ? r->entry[0].burst : 2 * r->entry[0].count;
}

/* Which of its rules decides for a bucket: a policy may have fewer of them than the one before. */
static unsigned entry_in(const struct rule *r, const struct limit_bucket *k)
{
	return k->entry < r->n ? k->entry : 0;
}

/*------------------------------------------------------------------ buckets */

static long double token_ns(const struct rule *r, unsigned e)
{
	return (long double)r->entry[e].period_ns / (long double)r->entry[e].count;
}

static long double depth_ns(const struct rule *r, unsigned e)
{
	return token_ns(r, e) * (long double)r->entry[e].burst;
}

/* What may be owed besides. */
static long double owed_ns(const struct rule *r, unsigned e)
{
	long double places = token_ns(r, e) * (long double)r->queue;
	long double wait = (long double)r->wait_ns;

	return r->queue > 0 && places < wait ? places : wait;
}

/* Until full, at that time; at most a whole bucket, and what may be owed. */
static long double debt_ns(long double full_ns, const struct rule *r, unsigned e, uint64_t now_ns)
{
	long double debt = full_ns - (long double)now_ns;
	long double most = depth_ns(r, e) + owed_ns(r, e);

	return debt < 0 ? 0 : debt > most ? most : debt;
}

static long double bucket_wait(const struct limit_bucket *k, const struct rule *r, unsigned e,
			       uint64_t now_ns)
{
	long double now = (long double)now_ns;
	long double start = k->full_ns > now ? k->full_ns : now;

	return start + (long double)r->cost * token_ns(r, e) - depth_ns(r, e) - now;
}

/*------------------------------------------------------------------ windows */

static uint64_t unix_ns(const struct limits *l, uint64_t period_ns, uint64_t now_ns)
{
	uint64_t windows = (l->high_ns - l->ahead_ns) / period_ns;

	return now_ns + l->ahead_ns + windows * period_ns;
}

static void move_to(struct limit_bucket *k, uint64_t window)
{
	if (k->window >= window)
		return;
	k->before = k->window + 1 == window ? k->now : 0;
	k->now = 0;
	k->window = window;
}

/* What counts of the window before, at that time, which is of the bucket's window or before it. */
static long double carried(const struct limit_bucket *k, const struct rule *r, unsigned e,
			   uint64_t wall)
{
	uint64_t period = r->entry[e].period_ns, start = k->window * period;
	uint64_t elapsed = wall > start ? wall - start : 0;

	if (r->algorithm != SLIDING_WINDOW)
		return 0;
	return (long double)k->before * (long double)(period - elapsed) / (long double)period;
}

static bool window_allows(const struct limits *l, struct limit_bucket k, const struct rule *r,
			  unsigned e, uint64_t now_ns)
{
	uint64_t wall = unix_ns(l, r->entry[e].period_ns, now_ns);

	move_to(&k, wall / r->entry[e].period_ns);
	return (long double)(k.now + r->cost) + carried(&k, r, e, wall) <=
	       (long double)r->entry[e].count;
}

/* Whole calls, rounded up. */
static uint64_t window_used_at(const struct limits *l, struct limit_bucket k, const struct rule *r,
			       unsigned e, uint64_t now_ns)
{
	uint64_t wall = unix_ns(l, r->entry[e].period_ns, now_ns), used;
	long double part;

	move_to(&k, wall / r->entry[e].period_ns);
	part = carried(&k, r, e, wall);
	used = k.now + (uint64_t)part + ((long double)(uint64_t)part < part);
	return used < r->entry[e].count ? used : r->entry[e].count;
}

/*------------------------------------------------------------------ reloads */

static uint64_t part_of(uint64_t used, uint64_t of, uint64_t other)
{
	used = used < of ? used : of;
	return (used * other + of - 1) / of;
}

static void use_window(struct limits *l, struct limit_bucket *k, const struct rule *r, unsigned e,
		       uint64_t used, uint64_t now_ns)
{
	uint64_t period = r->entry[e].period_ns;

	k->window = unix_ns(l, period, now_ns) / period;
	k->before = 0;
	k->now = used;
}

static void change_bucket(struct limits *l, struct limit_bucket *k, const struct rule *to,
			  unsigned e, unsigned f, uint64_t at_ns)
{
	const struct rule *from = &l->rule;
	long double debt = debt_ns(k->full_ns, from, e, at_ns), depth = depth_ns(from, e);
	long double share = debt < depth ? debt / depth : 1, used, whole;

	if (to->algorithm == TOKEN_BUCKET) {
		k->full_ns = (long double)at_ns + share * depth_ns(to, f);
		if (debt > depth)
			k->full_ns += debt - depth;
		return;
	}
	used = share * (long double)to->entry[f].count;
	whole = (long double)(uint64_t)(used + 0.5L);
	if (debt > 0 && share < 1 && used - whole < 1e-4L && whole - used < 1e-4L)
		l->uncertain = true; /* whether it is a whole call, or a little more */
	use_window(l, k, to, f, (uint64_t)used + ((long double)(uint64_t)used < used), at_ns);
}

static void change_window(struct limits *l, struct limit_bucket *k, const struct rule *to,
			  unsigned e, unsigned f, uint64_t at_ns)
{
	const struct rule *from = &l->rule;
	uint64_t limit = from->entry[e].count, used = window_used_at(l, *k, from, e, at_ns);

	if (to->algorithm == TOKEN_BUCKET) {
		k->full_ns =
		    (long double)at_ns + (long double)used / (long double)limit * depth_ns(to, f);
	} else if (to->algorithm == from->algorithm &&
		   to->entry[f].period_ns == from->entry[e].period_ns) {
		k->before = part_of(k->before, limit, to->entry[f].count);
		k->now = part_of(k->now, limit, to->entry[f].count);
	} else {
		use_window(l, k, to, f, part_of(used, limit, to->entry[f].count), at_ns);
	}
}

static void trace_bucket(const struct limits *l, const struct limit_bucket *k, unsigned e)
{
	const struct rule *r = &l->rule;

	sim_trace(bound,
		  "  key %llx: algorithm %u, %llu in %llu ms: full at %.9Lf, %llu and %llu of "
		  "window %llu",
		  (unsigned long long)k->key, r->algorithm, (unsigned long long)r->entry[e].count,
		  (unsigned long long)(r->entry[e].period_ns / CLOCK_MS), k->full_ns / 1e9L,
		  (unsigned long long)k->before, (unsigned long long)k->now,
		  (unsigned long long)k->window);
}

/* The last take under the old rule, or the reload, whichever came later. */
static void come_into_force(struct limits *l, uint64_t now_ns)
{
	uint64_t at_ns = l->seen_ns + GRAIN_NS < now_ns ? l->seen_ns + GRAIN_NS : now_ns;

	if (l->tag == l->pending_tag)
		return;
	if (l->seen_ns <= l->opened_ns)
		at_ns = l->opened_ns;
	if (at_ns == l->since_ns && l->rule.algorithm != TOKEN_BUCKET)
		l->uncertain = true; /* it was in force for no time, and may have rounded or not */
	l->since_ns = at_ns;
	for (unsigned i = 0; i < l->n; i++) {
		struct limit_bucket *k = &l->bucket[i];
		unsigned e = entry_in(&l->rule, k), f = entry_in(&l->pending, k);

		if (e != k->entry &&
		    f == k->entry) /* which rule it had in between is nobody's law */
			l->uncertain = true;
		if (l->rule.algorithm == TOKEN_BUCKET)
			change_bucket(l, k, &l->pending, e, f, at_ns);
		else
			change_window(l, k, &l->pending, e, f, at_ns);
	}
	l->changed_over = l->changed_over || l->rule.algorithm != TOKEN_BUCKET ||
			  l->pending.algorithm != TOKEN_BUCKET;
	l->rule = l->pending;
	l->tag = l->pending_tag;
	sim_trace(bound, "limit %u is in force since %.6f", l->tag, (double)at_ns / 1e9);
	for (unsigned i = 0; i < l->n; i++)
		trace_bucket(l, &l->bucket[i], entry_in(&l->rule, &l->bucket[i]));
}

void limits_commit(struct sim *sim, const struct rule *rule)
{
	struct limits *l = &sim->limits;

	bound = sim;
	if (l->rule.n == 0) {
		l->rule = l->pending = *rule;
		l->tag = l->pending_tag = opened_tag;
		l->ahead_ns = l->high_ns = clock_wall_ns() - clock_mono_ns();
		l->ahead_since_ns = clock_mono_ns();
	}
	if (opened_tag == l->pending_tag) /* no change */
		return;
	if (rule->algorithm != TOKEN_BUCKET || l->pending.algorithm != TOKEN_BUCKET)
		sim->ledger.allowed += (double)limits_at_once(rule); /* a share of more, or less */
	/* who waits has been let in by the rule that goes */
	sim->ledger.allowed += (double)(owed_ns(&l->pending, 0) / token_ns(&l->pending, 0));
	come_into_force(l, sim->now_ns);
	l->pending = *rule;
	l->pending_tag = opened_tag;
	l->opened_ns = sim->now_ns;
}

/* It may have got as far as to end the rule before the pending one, with the ms not over. */
void limits_failed(struct sim *sim)
{
	struct limits *l = &sim->limits;

	if (l->tag != l->pending_tag && l->seen_ns > l->opened_ns &&
	    l->seen_ns + GRAIN_NS > sim->now_ns)
		l->uncertain = true;
}

/*------------------------------------------------------------------ decisions */

static struct limit_bucket *bucket_of(struct limits *l, uint64_t key, unsigned entry)
{
	for (unsigned i = 0; i < l->n; i++)
		if (l->bucket[i].key == key)
			return &l->bucket[i];
	if (l->n == sizeof(l->bucket) / sizeof(l->bucket[0]))
		sim_fail("more keys than clients know");
	l->bucket[l->n] = (struct limit_bucket){ .key = key, .entry = entry };
	return &l->bucket[l->n++];
}

static bool is_near(long double a, long double b)
{
	return a - b <= TOLERANCE_NS && b - a <= TOLERANCE_NS;
}

static void check_bucket(struct limits *l, struct limit_bucket *k, unsigned e, uint64_t now_ns,
			 bool passed, const struct quota_view *view)
{
	long double wait = bucket_wait(k, &l->rule, e, now_ns);
	long double most = owed_ns(&l->rule, e);

	if (passed && wait > most + TOLERANCE_NS)
		sim_fail("a call passed that had to wait %.0Lf ns", wait);
	if (passed && !is_near((long double)view->delay_ns, wait > 0 ? wait : 0))
		sim_fail("a call was delayed by %llu ns, not %.0Lf",
			 (unsigned long long)view->delay_ns, wait);
	if (!passed && !is_near((long double)view->wait_ns, wait - most))
		sim_fail("a call was told to wait %llu ns, not %.0Lf",
			 (unsigned long long)view->wait_ns, wait - most);
}

static void check_window(struct limits *l, struct limit_bucket *k, unsigned e, uint64_t now_ns,
			 bool passed, const struct quota_view *view)
{
	if (passed != window_allows(l, *k, &l->rule, e, now_ns))
		sim_fail("a call %s a window with %llu of %llu",
			 passed ? "passed" : "was refused by", (unsigned long long)k->now,
			 (unsigned long long)l->rule.entry[e].count);
	if (!passed && (!window_allows(l, *k, &l->rule, e, now_ns + view->wait_ns) ||
			window_allows(l, *k, &l->rule, e, now_ns + view->wait_ns - 1)))
		sim_fail("a call was told to wait %llu ns for a window",
			 (unsigned long long)view->wait_ns);
}

static void pay(struct limits *l, struct limit_bucket *k, unsigned e, uint64_t now_ns)
{
	uint64_t period = l->rule.entry[e].period_ns;

	if (l->rule.algorithm == TOKEN_BUCKET) {
		if (k->full_ns < (long double)now_ns)
			k->full_ns = (long double)now_ns;
		k->full_ns += (long double)l->rule.cost * token_ns(&l->rule, e);
		return;
	}
	move_to(k, unix_ns(l, period, now_ns) / period);
	k->now += l->rule.cost;
}

static uint64_t size_of(const struct rule *r, unsigned e)
{
	return r->algorithm == TOKEN_BUCKET ? r->entry[e].burst : r->entry[e].count;
}

static void check(struct limits *l, uint64_t key, unsigned entry, uint64_t now_ns, bool passed,
		  const struct quota_view *view)
{
	struct limit_bucket *k = bucket_of(l, key, entry);
	unsigned e = entry_in(&l->rule, k);

	l->decisions++;
	l->refusals += !passed;
	l->delays += passed && view->delay_ns > 0;
	l->unchecked += l->uncertain;
	if ((view->wait_ns == QUOTA_NEVER) != (l->rule.cost > size_of(&l->rule, e)))
		sim_fail("what a call costs passes, or does not, and it is told otherwise");
	if (view->wait_ns == QUOTA_NEVER)
		return;
	if (!l->uncertain && l->rule.algorithm == TOKEN_BUCKET)
		check_bucket(l, k, e, now_ns, passed, view);
	else if (!l->uncertain)
		check_window(l, k, e, now_ns, passed, view);
	if (passed)
		pay(l, k, e, now_ns);
}

static void see(struct limits *l, uint64_t now_ns)
{
	if (now_ns > l->seen_ns + GRAIN_NS)
		l->seen_ns = now_ns;
}

bool __real_table_take(struct table *, uint16_t *tag, uint64_t key, uint64_t now_ns, uint64_t cost,
		       struct quota_view *);
bool __wrap_table_take(struct table *, uint16_t *tag, uint64_t key, uint64_t now_ns, uint64_t cost,
		       struct quota_view *);

bool __wrap_table_take(struct table *t, uint16_t *tag, uint64_t key, uint64_t now_ns, uint64_t cost,
		       struct quota_view *view)
{
	struct limits *l = &bound->limits;
	uint16_t asked = *tag;
	unsigned entry = entry_of_tag[asked];
	bool passed = __real_table_take(t, tag, key, now_ns, cost, view);

	if (asked == l->pending_tag)
		come_into_force(l, now_ns);
	see(l, now_ns);
	l->rule.cost = cost; /* of the call's own policy */
	sim_trace(bound, "limit %u[%u]: key %llx at %.6f: %s, wait %llu ns, delay %llu ns", asked,
		  entry, (unsigned long long)key, (double)now_ns / 1e9,
		  passed ? "passed" : "refused", (unsigned long long)view->wait_ns,
		  (unsigned long long)view->delay_ns);
	check(l, key, entry, now_ns, passed, view);
	return passed;
}

static void take_back(struct limits *l, uint64_t key, uint64_t window, uint64_t cost)
{
	struct limit_bucket *k = bucket_of(l, key, 0);
	unsigned e = entry_in(&l->rule, k);

	l->undone++;
	if (l->rule.algorithm == TOKEN_BUCKET)
		k->full_ns -= (long double)cost * token_ns(&l->rule, e);
	else if (window == k->window)
		k->now -= k->now < cost ? k->now : cost;
}

void __real_table_give(struct table *, uint16_t tag, uint64_t key, uint64_t window, uint64_t cost);
void __wrap_table_give(struct table *, uint16_t tag, uint64_t key, uint64_t window, uint64_t cost);

/* Within the call that has just taken it. */
void __wrap_table_give(struct table *t, uint16_t tag, uint64_t key, uint64_t window, uint64_t cost)
{
	__real_table_give(t, tag, key, window, cost);
	take_back(&bound->limits, key, window, cost);
}

bool __real_table_undo(struct table *, uint16_t tag, uint64_t key, quota_state, uint64_t cost);
bool __wrap_table_undo(struct table *, uint16_t tag, uint64_t key, quota_state, uint64_t cost);

bool __wrap_table_undo(struct table *t, uint16_t tag, uint64_t key, quota_state state,
		       uint64_t cost)
{
	bool undone = __real_table_undo(t, tag, key, state, cost);

	if (undone && tag != bound->limits.tag) /* nobody has asked since that was over */
		bound->limits.uncertain = true;
	else if (undone)
		take_back(&bound->limits, key, 0, cost);
	return undone;
}

void __real_table_set_wall(struct table *, uint64_t now_ns, uint64_t wall_ns);
void __wrap_table_set_wall(struct table *, uint64_t now_ns, uint64_t wall_ns);

/* Seen once in two seconds, and where it is more than the clocks tremble. */
void __wrap_table_set_wall(struct table *t, uint64_t now_ns, uint64_t wall_ns)
{
	struct limits *l = &bound->limits;
	uint64_t ahead_ns = wall_ns - now_ns;
	uint64_t step = ahead_ns > l->ahead_ns ? ahead_ns - l->ahead_ns : l->ahead_ns - ahead_ns;

	__real_table_set_wall(t, now_ns, wall_ns);
	if (step < 20 * CLOCK_MS || now_ns < l->ahead_since_ns + 2 * CLOCK_S)
		return;
	sim_trace(bound, "windows: the wall clock was set by %.3f s",
		  ((double)ahead_ns - (double)l->ahead_ns) / 1e9);
	if (ahead_ns > l->ahead_ns)
		l->high_ns += step;
	l->ahead_ns = ahead_ns;
	l->ahead_since_ns = now_ns;
	l->uncertain = l->uncertain || l->changed_over;
	bound->ledger.allowed += 40; /* perhaps a window more */
}

bool __real_table_rules_get(struct table_use *, struct table_rule *, uint32_t n);
bool __wrap_table_rules_get(struct table_use *, struct table_rule *, uint32_t n);

bool __wrap_table_rules_get(struct table_use *use, struct table_rule *rules, uint32_t n)
{
	if (!__real_table_rules_get(use, rules, n))
		return false;
	opened_tag = rules[0].tag;
	for (uint32_t i = 0; i < n; i++)
		entry_of_tag[rules[i].tag] = rules[i].entry;
	return true;
}
