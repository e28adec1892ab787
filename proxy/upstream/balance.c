/* balance.c - which endpoint a call goes to.
 *
 *  B1  Each worker chooses by what it knows itself: its own turn, its own calls under way, how it
 *      was answered.  Nothing is shared but the health of endpoints.
 *  B2  Among equals the smooth weighted round-robin decides (nginx's: each candidate gains its
 *      weight, the richest is chosen and pays the sum of the weights), so that the calls of a
 *      heavy one are spread out.
 *  B3  Round-robin: all candidates are equals.  Least requests: those with the fewest calls under
 *      way for their weight.
 *  B4  p2c-ewma: two candidates are drawn by weight, and the one with less load is chosen.  Load is
 *      peak-EWMA latency (ewma.h) times one more than the calls under way for the weight.  Two
 *      loads that differ by less than a quarter are equal, and the first drawn is chosen: so
 *      weights are heeded where nothing else speaks, at low load too.  (Mitzenmacher, "The Power of
 *      Two Choices in Randomized Load Balancing", 2001; Finagle's and linkerd's P2C.)
 *  B5  ring-hash: the candidate that the call's key belongs to (rendezvous.h), or, with a bound,
 * the first in the key's order that carries no more than its share and `spill` of it (Mirrokni,
 *      Thorup and Zadimoghaddam, "Consistent Hashing with Bounded Loads", 2018).
 *  B6  Slow start: the weight of an endpoint that has just joined or become healthy grows from a
 *      tenth to the whole.
 *  B8  Ejection: a member that has failed eject_after times, each within eject_for of the one before
 *      it or of its last trial, is passed over for eject_for; then one call is its trial, and the
 *      others go on passing it over until that has ended.  Each failure takes a part of its weight
 *      away, and each turn gives one back.  A cluster's only member is never ejected.  (The rules of
 *      max_fails and fail_timeout of nginx.)
 *  B7  Candidates are the members that are up (endpoint_is_up) and not yet tried; backups only when
 *      no other is.  When no member at all is up, those count that are down by their checks only:
 *      the last candidate is never ejected. */
#include "upstream/balance.h"

#include <stdint.h>

#include "base/clock.h"
#include "upstream/key_points.h"
#include "upstream/rendezvous.h"

enum {
	CACHE_LINE = 64,
	UNIT = 1024, /* of weights, so that a tenth of 1 is something */
	SLOW_SHARE = 10,
};

#define EQUAL_LOADS 1.25

/* Of one member, B8. */
struct ejection {
	uint32_t failures;
	uint64_t failed_ns, trial_ns; /* the last of each */
	uint64_t less;                /* weight that failures have taken, in UNITs */
};

struct cluster_worker {
	int64_t *credit; /* one a member */
	struct ejection *ejection; /* the same; NULL: none is ever ejected */
	uint64_t random;
	double usual_ns; /* how long an answer takes, of whatever member; 0: none has come */
} __attribute__((aligned(64)));

/* One choice: who chooses among whom. */
struct choice {
	struct cluster *c;
	struct cluster_worker *own;
	unsigned w;
	const struct pick *pick;
	bool backup, all_down;
};

static bool open_bounds(struct cluster *c, struct arena *arena)
{
	struct ejection *ejection = NULL;

	for (uint32_t i = 0; i < c->n; i++) {
		const struct cluster_member *m = &c->member[i];

		c->bounded |= m->down || m->max_calls != 0;
		if (m->eject_after == 0 || c->n == 1 || ejection != NULL)
			continue;
		c->bounded = true;
		ejection = arena_zalloc(arena, WORKERS_MAX * c->n * sizeof(*ejection));
		if (ejection == NULL)
			return false;
	}
	for (size_t w = 0; w < WORKERS_MAX && ejection != NULL; w++)
		c->worker[w].ejection = ejection + w * c->n;
	return true;
}

bool balance_open(struct cluster *c, struct arena *arena)
{
	size_t bytes = (c->n * sizeof(int64_t) + CACHE_LINE - 1) & ~(size_t)(CACHE_LINE - 1);
	size_t each = bytes + sizeof(*c->worker);
	char *credit = arena_zalloc(arena, WORKERS_MAX * each + CACHE_LINE);

	if (credit == NULL)
		return false;
	for (uint32_t i = 0; i < c->n; i++)
		if (c->member[i].weight > c->heaviest)
			c->heaviest = c->member[i].weight;
	credit += (CACHE_LINE - (uintptr_t)credit % CACHE_LINE) % CACHE_LINE;
	c->worker = (struct cluster_worker *)(void *)credit;
	credit += WORKERS_MAX * sizeof(*c->worker);
	for (size_t w = 0; w < WORKERS_MAX; w++) {
		c->worker[w].credit = (int64_t *)(void *)(credit + w * bytes);
		c->worker[w].random = w;
	}
	return open_bounds(c, arena) && (c->conf->lb != LB_KETAMA_HASH || ketama_open(c, arena));
}

/*---------------------------------------------------------------- candidates */

static bool may_serve(const struct endpoint *e)
{
	return atomic_load_explicit(&e->health.order, memory_order_relaxed) == ENDPOINT_UP &&
	       (e->addrs == NULL || endpoint_addr_count(e) > 0);
}

static bool none_is_up(const struct cluster *c)
{
	for (uint32_t i = 0; i < c->n; i++)
		if (endpoint_is_up(c->member[i].endpoint))
			return false;
	return true;
}

static uint64_t active(const struct cluster_member *m, unsigned w)
{
	return atomic_load_explicit(&m->endpoint->worker[w].active, memory_order_relaxed);
}

static bool is_ejected(const struct choice *ch, uint32_t i)
{
	const struct cluster_member *m = &ch->c->member[i];
	const struct ejection *e = &ch->own->ejection[i];

	return m->eject_after != 0 && e->failures >= m->eject_after &&
	       ch->pick->now_ns - e->trial_ns <= m->eject_for_ns;
}

static bool is_bound(const struct choice *ch, uint32_t i)
{
	const struct cluster_member *m = &ch->c->member[i];

	return m->down || (m->max_calls != 0 && active(m, ch->w) >= m->max_calls) ||
	       (ch->own->ejection != NULL && is_ejected(ch, i));
}

static bool usable(const struct choice *ch, uint32_t i)
{
	const struct cluster_member *m = &ch->c->member[i];

	if (m->backup != ch->backup || member_set_has(&ch->pick->tried, i) ||
	    (ch->c->bounded && is_bound(ch, i)))
		return false;
	return ch->all_down ? may_serve(m->endpoint) : endpoint_is_up(m->endpoint);
}

/* Of `full`, B6. */
static uint64_t warm_part(const struct cluster *c, const struct cluster_member *m, uint64_t now_ns,
			  uint64_t full)
{
	uint64_t slow_ns = c->conf->slow_start_ns, from, age;

	if (slow_ns == 0)
		return full;
	from = atomic_load_explicit(&m->endpoint->health.warm_from_ns, memory_order_relaxed);
	age = now_ns > from ? now_ns - from : 0;
	if (from == 0 || age >= slow_ns)
		return full;
	if (age < slow_ns / SLOW_SHARE)
		return full / SLOW_SHARE;
	return full * (age / CLOCK_MS) / (slow_ns / CLOCK_MS + 1) + 1;
}

/* In UNITs. */
static uint64_t weight_of(const struct choice *ch, const struct cluster_member *m)
{
	return warm_part(ch->c, m, ch->pick->now_ns, (uint64_t)cluster_member_weight(m) * UNIT);
}

unsigned cluster_member_warmth(const struct cluster *c, const struct cluster_member *m,
			       uint64_t now_ns)
{
	return (unsigned)warm_part(c, m, now_ns, 100);
}

/* What failures have left of it; a turn gives one of the weight back. */
static int64_t take_weight(const struct choice *ch, uint32_t i)
{
	uint64_t weight = weight_of(ch, &ch->c->member[i]), less;

	if (ch->own->ejection == NULL)
		return (int64_t)weight;
	less = ch->own->ejection[i].less;
	if (less > 0)
		ch->own->ejection[i].less = less > UNIT ? less - UNIT : 0;
	return (int64_t)(weight > less ? weight - less : 0);
}

/*---------------------------------------------------------------- in turn, least requests */

/* Whether a has fewer calls under way for its weight than b.  With slow start the next one is
 * counted, too: else who has none would always be first, however small its weight. */
static bool less_busy(const struct choice *ch, const struct cluster_member *a,
		      const struct cluster_member *b)
{
	unsigned next = ch->c->conf->slow_start_ns != 0;

	return (active(a, ch->w) + next) * weight_of(ch, b) <
	       (active(b, ch->w) + next) * weight_of(ch, a);
}

static struct cluster_member *least_busy(const struct choice *ch)
{
	struct cluster_member *least = NULL;

	for (uint32_t i = 0; i < ch->c->n; i++) {
		struct cluster_member *m = &ch->c->member[i];

		if (usable(ch, i) && (least == NULL || less_busy(ch, m, least)))
			least = m;
	}
	return least;
}

/* Smooth weighted round-robin over the usable members that are no busier than `least` (NULL: over
 * all). */
static struct cluster_member *take_turn(const struct choice *ch, const struct cluster_member *least)
{
	int64_t *credit = ch->own->credit, total = 0;
	uint32_t best = UINT32_MAX;

	for (uint32_t i = 0; i < ch->c->n; i++) {
		const struct cluster_member *m = &ch->c->member[i];
		int64_t weight;

		if (!usable(ch, i) || (least != NULL && less_busy(ch, least, m)))
			continue;
		weight = take_weight(ch, i);
		credit[i] += weight;
		total += weight;
		if (best == UINT32_MAX || credit[i] > credit[best])
			best = i;
	}
	if (best == UINT32_MAX)
		return NULL;
	credit[best] -= total;
	return &ch->c->member[best];
}

static struct cluster_member *pick_in_turn(const struct choice *ch)
{
	return take_turn(ch, NULL);
}

static struct cluster_member *pick_least(const struct choice *ch)
{
	const struct cluster_member *least = least_busy(ch);

	return least == NULL ? NULL : take_turn(ch, least);
}

/*---------------------------------------------------------------- two at random */

/* splitmix64: a balancer's dice need to be fair, not secret. */
static uint64_t random_next(struct cluster_worker *own)
{
	uint64_t x = own->random += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return x ^ (x >> 31);
}

/* One of the usable members by weight, but not `but`; NULL: there is none. */
static struct cluster_member *draw(const struct choice *ch, const struct cluster_member *but)
{
	uint64_t total = 0, at;

	for (uint32_t i = 0; i < ch->c->n; i++)
		if (&ch->c->member[i] != but && usable(ch, i))
			total += weight_of(ch, &ch->c->member[i]);
	if (total == 0)
		return NULL;
	at = random_next(ch->own) % total;
	for (uint32_t i = 0; i < ch->c->n; i++) {
		struct cluster_member *m = &ch->c->member[i];
		uint64_t weight;

		if (m == but || !usable(ch, i))
			continue;
		weight = weight_of(ch, m);
		if (at < weight)
			return m;
		at -= weight;
	}
	return NULL; /* the checker was faster than we: somebody has just gone down */
}

static double usual(const struct cluster_worker *own)
{
	return own->usual_ns > 0 ? own->usual_ns : (double)EWMA_GUESS_NS;
}

static double load_of(const struct choice *ch, const struct cluster_member *m)
{
	double cost =
	    ewma_cost(&m->endpoint->worker[ch->w].latency, ch->pick->now_ns, usual(ch->own));

	return cost * (1 + (double)active(m, ch->w) * (double)ch->c->heaviest * UNIT /
			       (double)weight_of(ch, m));
}

static struct cluster_member *pick_of_two(const struct choice *ch)
{
	struct cluster_member *first = draw(ch, NULL);
	struct cluster_member *second = first == NULL ? NULL : draw(ch, first);

	if (second == NULL)
		return first;
	return load_of(ch, second) * EQUAL_LOADS < load_of(ch, first) ? second : first;
}

void cluster_heard(struct cluster *c, unsigned w, struct cluster_member *m, uint64_t now_ns,
		   uint64_t took_ns, enum cluster_heard heard)
{
	struct cluster_worker *own = &c->worker[w];
	struct ewma *latency = &m->endpoint->worker[w].latency;

	if (c->conf->lb != LB_P2C_EWMA)
		return;
	if (heard == HEARD_NOTHING) {
		ewma_at_least(latency, now_ns, took_ns);
		return;
	}
	ewma_add(latency, now_ns, took_ns, heard == HEARD_FAILURE, usual(own));
	if (heard == HEARD_ANSWER)
		own->usual_ns = own->usual_ns == 0
				    ? (double)took_ns
				    : own->usual_ns + ((double)took_ns - own->usual_ns) / 16;
}

/*---------------------------------------------------------------- by key */

/* What one member may carry beside its share: rounded up, or nobody could take the last call. */
static bool has_room(const struct choice *ch, const struct cluster_member *m, uint64_t calls,
		     uint64_t weights)
{
	double bound = 1 + ch->c->conf->spill_ppm / 1e6;
	double share = (double)(calls + 1) * (double)weight_of(ch, m) / (double)weights;

	return (double)active(m, ch->w) < bound * share;
}

static struct cluster_member *pick_by_key(const struct choice *ch)
{
	uint64_t key = ch->pick->hashed ? ch->pick->hash : random_next(ch->own);
	struct cluster_member *best = NULL, *roomy = NULL;
	double best_time = 0, roomy_time = 0;
	uint64_t calls = 0, weights = 0;

	for (uint32_t i = 0; ch->c->conf->spill_ppm != 0 && i < ch->c->n; i++) {
		if (!usable(ch, i))
			continue;
		calls += active(&ch->c->member[i], ch->w);
		weights += weight_of(ch, &ch->c->member[i]);
	}
	for (uint32_t i = 0; i < ch->c->n; i++) {
		struct cluster_member *m = &ch->c->member[i];
		double time;

		if (!usable(ch, i))
			continue;
		time = rendezvous_time(m->seed, key, (double)weight_of(ch, m));
		if (best == NULL || time < best_time) {
			best = m;
			best_time = time;
		}
		if (weights != 0 && has_room(ch, m, calls, weights) &&
		    (roomy == NULL || time < roomy_time)) {
			roomy = m;
			roomy_time = time;
		}
	}
	return roomy != NULL ? roomy : best;
}

/* As memcached's clients do it: the key names one of the members, in use or not, and when that
 * cannot be had another hash does; after so many, any in turn. */
enum { HASH_TRIES = 20, ADDRESS_START = 89 };

static struct cluster_member *member_at(const struct choice *ch, uint32_t hash)
{
	uint32_t total = 0;
	uint64_t at;

	for (uint32_t i = 0; i < ch->c->n; i++)
		total += ch->c->member[i].backup ? 0 : ch->c->member[i].weight;
	at = total == 0 ? 0 : hash % total;
	for (uint32_t i = 0; i < ch->c->n; i++) {
		struct cluster_member *m = &ch->c->member[i];

		if (m->backup)
			continue;
		if (at < m->weight)
			return usable(ch, i) ? m : NULL;
		at -= m->weight;
	}
	return NULL;
}

static struct cluster_member *pick_by_crc32(const struct choice *ch)
{
	uint32_t hash = 0;

	for (uint32_t i = 0; !ch->backup && ch->pick->key.n > 0 && i <= HASH_TRIES; i++) {
		struct cluster_member *m;

		hash += crc32_key(ch->pick->key, i);
		m = member_at(ch, hash);
		if (m != NULL)
			return m;
	}
	return take_turn(ch, NULL);
}

static struct cluster_member *pick_by_address(const struct choice *ch)
{
	uint32_t hash = ADDRESS_START;

	for (uint32_t i = 0; !ch->backup && i <= HASH_TRIES; i++) {
		struct cluster_member *m;

		hash = address_key(&ch->pick->client, hash);
		m = member_at(ch, hash);
		if (m != NULL)
			return m;
	}
	return take_turn(ch, NULL);
}

static struct cluster_member *pick_by_ketama(const struct choice *ch)
{
	uint32_t at = ketama_find(ch->c, ch->pick->key);

	for (uint32_t i = 0; !ch->backup && ch->pick->key.n > 0 && i <= HASH_TRIES; i++) {
		uint32_t m = ch->c->point[(at + i) % ch->c->n_points].member;

		if (usable(ch, m))
			return &ch->c->member[m];
	}
	return take_turn(ch, NULL);
}

static struct cluster_member *pick_at_random(const struct choice *ch)
{
	return draw(ch, NULL);
}

/*---------------------------------------------------------------- the choice */

static struct cluster_member *(*const picks[])(const struct choice *) = {
	[LB_ROUND_ROBIN] = pick_in_turn,     [LB_LEAST_REQUESTS] = pick_least,
	[LB_P2C_EWMA] = pick_of_two,         [LB_RING_HASH] = pick_by_key,
	[LB_CRC32_HASH] = pick_by_crc32,     [LB_KETAMA_HASH] = pick_by_ketama,
	[LB_ADDRESS_HASH] = pick_by_address, [LB_RANDOM] = pick_at_random,
};

/* B8: whose time is over is tried by this call. */
static struct cluster_member *chosen(const struct choice *ch, struct cluster_member *m)
{
	struct ejection *e;

	if (ch->own->ejection == NULL || m == NULL)
		return m;
	e = &ch->own->ejection[m - ch->c->member];
	if (ch->pick->now_ns - e->trial_ns > m->eject_for_ns)
		e->trial_ns = ch->pick->now_ns;
	return m;
}

bool cluster_tried(struct cluster *c, unsigned w, struct cluster_member *m, uint64_t now_ns,
		   bool failed)
{
	struct ejection *e = c->worker[w].ejection;

	if (e == NULL || m->eject_after == 0)
		return false;
	e += m - c->member;
	if (!failed) {
		if (e->failed_ns < e->trial_ns)
			e->failures = 0;
		return false;
	}
	e->failures += e->failures < UINT32_MAX;
	e->failed_ns = e->trial_ns = now_ns;
	e->less += (uint64_t)(m->weight / m->eject_after) * UNIT;
	if (e->less > (uint64_t)m->weight * UNIT)
		e->less = (uint64_t)m->weight * UNIT;
	return e->failures >= m->eject_after;
}

struct cluster_member *cluster_pick(struct cluster *c, unsigned w, const struct pick *pick)
{
	struct choice ch = { .c = c, .own = &c->worker[w], .w = w, .pick = pick };
	struct cluster_member *m;

	if (c->n == 1)
		return may_serve(c->member[0].endpoint) && !member_set_has(&pick->tried, 0) &&
			       !(c->bounded && is_bound(&ch, 0))
			   ? &c->member[0]
			   : NULL;
	ch.all_down = none_is_up(c);
	m = picks[c->conf->lb](&ch);
	if (m != NULL)
		return chosen(&ch, m);
	ch.backup = true;
	return chosen(&ch, picks[c->conf->lb](&ch));
}

bool cluster_has_untried(const struct cluster *c, const struct member_set *tried)
{
	bool all_down = none_is_up(c);

	for (uint32_t i = 0; i < c->n; i++)
		if (!member_set_has(tried, i) && !c->member[i].down &&
		    (all_down ? may_serve(c->member[i].endpoint)
			      : endpoint_is_up(c->member[i].endpoint)))
			return true;
	return false;
}
