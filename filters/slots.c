/* slots.c - gates in sharded tables, and their lines.  The laws are in slots.h. */
#include "filters/slots.h"

#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "filters/stats.h"

enum {
	SHARDS_MAX = 64,
	KEYS_PER_SHARD = 64, /* at least, so that chance spreads keys evenly enough */
	HOLD_WEIGHT = 8,     /* of the mean time for which slots are held: one eighth each */
};

#define WAIT_LEAST_MS UINT64_C(1000)
#define WAIT_MOST_MS  UINT64_C(3600000)

/* Those who wait at one gate; only while there are some. */
struct line {
	struct list urgency[SLOTS_URGENCIES]; /* of struct waiter, in order of arrival */
	uint32_t n;
	struct gate *gate;
	struct list link; /* shard.lines */
};

struct gate {
	uint64_t key;
	uint64_t started_sum_ns; /* when those under way began, added up (and around) */
	uint32_t in_use, cap;
	struct line *line; /* NULL: nobody waits */
	struct shard *shard;
	struct gate *next; /* in its bucket, or among the free ones */
};

/* Memory for gates: handed out one after the other, so that what is never needed is never touched.
 */
struct block {
	struct block *next;
	uint32_t n, used;
	struct gate gate[];
};

struct shard {
	pthread_mutex_t lock;
	struct slots_rule rule;
	uint32_t keys, max_keys, capacity, buckets; /* the last a power of two */
	struct gate **bucket;
	struct gate *free;
	struct block *blocks;
	struct list lines;
	uint64_t in_use, waiting;
	uint64_t hold_ns; /* how long slots are held, on average */
} __attribute__((aligned(64)));

struct slots {
	uint64_t serials; /* control's */
	_Atomic uint64_t in_force;
	unsigned shards;
	struct shard *shard;
	struct gate sole; /* of a policy without a key */
	struct gradient gradient;
};

/*---------------------------------------------------------- open and close */

static bool shard_init(struct shard *sh)
{
	pthread_mutexattr_t attr;

	*sh = (struct shard){ .buckets = 1 };
	sh->bucket = calloc(1, sizeof(struct gate *));
	list_init(&sh->lines);
	/* held for so short that sleeping would be the longer wait */
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&sh->lock, &attr);
	pthread_mutexattr_destroy(&attr);
	return sh->bucket != NULL;
}

static void shard_fini(struct shard *sh)
{
	struct block *next;

	CHECK(sh->in_use == 0 && sh->waiting == 0 && list_empty(&sh->lines));
	for (struct block *b = sh->blocks; b != NULL; b = next) {
		next = b->next;
		free(b);
	}
	free(sh->bucket);
	pthread_mutex_destroy(&sh->lock);
}

static void slots_destroy(void *object)
{
	struct slots *s = object;

	for (unsigned i = 0; i < s->shards; i++)
		shard_fini(&s->shard[i]);
	free(s->shard);
	free(s);
}

static bool add_shards(struct slots *s, unsigned n)
{
	bool ok = true;

	if (posix_memalign((void **)&s->shard, 64, n * sizeof(struct shard)) != 0) {
		s->shard = NULL;
		return false;
	}
	for (s->shards = 0; s->shards < n; s->shards++)
		ok = shard_init(&s->shard[s->shards]) && ok;
	s->sole.shard = s->shard;
	return ok;
}

static void *slots_make(void)
{
	return calloc(1, sizeof(struct slots));
}

static const struct state_kind slots_kind = { .make = slots_make, .destroy = slots_destroy };

/* A power of two, from the first policy on the same: holders know their shard. */
static unsigned shards_for(uint32_t keys)
{
	unsigned n = 1;

	while (n < SHARDS_MAX && keys / (2 * n) >= KEYS_PER_SHARD)
		n *= 2;
	return n;
}

/* With one shard the bound is exact; among several, chance puts more keys into some. */
static uint32_t keys_per_shard(const struct slots *s, uint32_t keys)
{
	uint32_t share = (keys + s->shards - 1) / s->shards;

	return s->shards == 1 ? share : share + share / 4 + 16;
}

static struct gate **bucket_of(const struct shard *sh, uint64_t key)
{
	return &sh->bucket[(uint32_t)key & (sh->buckets - 1)];
}

static void rehash(struct shard *sh, struct gate **bucket, uint32_t buckets)
{
	struct gate **old = sh->bucket;
	uint32_t n = sh->buckets;

	sh->bucket = bucket;
	sh->buckets = buckets;
	for (uint32_t i = 0; i < n; i++) {
		struct gate *next;

		for (struct gate *g = old[i]; g != NULL; g = next) {
			struct gate **to = bucket_of(sh, g->key);

			next = g->next;
			g->next = *to;
			*to = g;
		}
	}
	free(old);
}

/* Room for so many gates, beside those that are there. */
static bool shard_reserve(struct shard *sh, uint32_t keys)
{
	uint32_t more = keys > sh->capacity ? keys - sh->capacity : 0, buckets = sh->buckets;
	struct gate **bucket;
	struct block *b;

	if (more == 0)
		return true;
	while (buckets < keys)
		buckets *= 2;
	bucket = calloc(buckets, sizeof(struct gate *));
	b = malloc(sizeof(*b) + more * sizeof(b->gate[0]));
	if (bucket == NULL || b == NULL) {
		free(bucket);
		free(b);
		return false;
	}
	b->n = more;
	b->used = 0;
	pthread_mutex_lock(&sh->lock);
	rehash(sh, bucket, buckets);
	b->next = sh->blocks;
	sh->blocks = b;
	sh->capacity = keys;
	pthread_mutex_unlock(&sh->lock);
	return true;
}

static bool reserve(struct slots *s, uint32_t keys)
{
	if (s->shards == 0 && !add_shards(s, shards_for(keys)))
		return false;
	for (unsigned i = 0; keys > 0 && i < s->shards; i++)
		if (!shard_reserve(&s->shard[i], keys_per_shard(s, keys)))
			return false;
	return true;
}

struct slots *slots_open(struct table_registry *registry, const struct table_id *id,
			 struct slots_rule *rule)
{
	struct slots *s = state_get(registry, id, &slots_kind);

	if (s == NULL)
		return NULL;
	if (!reserve(s, rule->keys)) {
		state_put(registry, s);
		return NULL;
	}
	rule->serial = ++s->serials;
	return s;
}

void slots_close(struct table_registry *registry, struct slots *s)
{
	state_put(registry, s);
}

/*-------------------------------------------------------------------- gates */

static struct shard *shard_of(const struct slots *s, uint64_t key)
{
	return &s->shard[(key >> 32) & (s->shards - 1)];
}

static struct gate *gate_find(struct slots *s, struct shard *sh, uint64_t key)
{
	struct gate *g;

	if (sh->capacity == 0)
		return &s->sole;
	for (g = *bucket_of(sh, key); g != NULL && g->key != key; g = g->next)
		;
	return g;
}

static struct gate *gate_room(struct shard *sh)
{
	struct gate *g = sh->free;
	struct block *b = sh->blocks;

	if (g != NULL) {
		sh->free = g->next;
		return g;
	}
	while (b != NULL && b->used == b->n)
		b = b->next;
	return b == NULL ? NULL : &b->gate[b->used++];
}

/* NULL: no room for one more key (L2). */
static struct gate *gate_make(struct shard *sh, uint64_t key)
{
	struct gate *g = sh->keys < sh->max_keys ? gate_room(sh) : NULL, **at;

	if (g == NULL)
		return NULL;
	at = bucket_of(sh, key);
	*g = (struct gate){ .key = key, .shard = sh, .next = *at };
	*at = g;
	sh->keys++;
	return g;
}

/* A key that neither holds nor waits takes nothing. */
static void gate_drop_if_idle(struct slots *s, struct gate *g)
{
	struct shard *sh = g->shard;
	struct gate **at;

	if (g == &s->sole || g->in_use > 0 || g->line != NULL)
		return;
	for (at = bucket_of(sh, g->key); *at != g; at = &(*at)->next)
		;
	*at = g->next;
	g->next = sh->free;
	sh->free = g;
	sh->keys--;
}

static uint32_t gate_cap(struct slots *s, const struct gate *g)
{
	const struct slots_rule *r = &g->shard->rule;

	return r->adapts ? gradient_limit(&s->gradient, &r->gradient) : g->cap;
}

static void gate_begin(struct gate *g, struct slot *slot, uint64_t now_ns)
{
	g->in_use++;
	g->started_sum_ns += now_ns;
	g->shard->in_use++;
	*slot = (struct slot){ .gate = g, .started_ns = now_ns, .in_use = g->in_use };
}

/* Workers' clocks differ by a turn of their loops. */
static uint64_t since(uint64_t then_ns, uint64_t now_ns)
{
	return now_ns > then_ns ? now_ns - then_ns : 0;
}

static void gate_end(struct gate *g, const struct slot *slot, uint64_t now_ns)
{
	struct shard *sh = g->shard;
	uint64_t held = since(slot->started_ns, now_ns);

	CHECK(g->in_use > 0 && sh->in_use > 0);
	g->in_use--;
	g->started_sum_ns -= slot->started_ns;
	sh->in_use--;
	if (sh->hold_ns == 0)
		sh->hold_ns = held;
	else
		sh->hold_ns += held / HOLD_WEIGHT - sh->hold_ns / HOLD_WEIGHT;
}

/* Slots come free one after the other, as fast as there are many; each is held as long as others
 * were, or those that are held now have been already. */
static uint64_t wait_ms(const struct gate *g, uint32_t cap, uint64_t now_ns)
{
	uint64_t ahead = 1 + (g->line == NULL ? 0 : g->line->n), hold = g->shard->hold_ns, ms;

	if (g->in_use > 0) {
		int64_t age = (int64_t)(now_ns * g->in_use - g->started_sum_ns) / g->in_use;

		hold = age > 0 && (uint64_t)age > hold ? (uint64_t)age : hold;
	}
	ms = (hold / CLOCK_MS + 1) * ahead / (cap > 0 ? cap : 1);
	return ms < WAIT_LEAST_MS ? WAIT_LEAST_MS : ms > WAIT_MOST_MS ? WAIT_MOST_MS : ms;
}

/*-------------------------------------------------------------------- lines */

static struct waiter *waiter_of(struct list *n)
{
	return LIST_ENTRY(n, struct waiter, link);
}

static struct line *line_make(struct gate *g)
{
	struct line *l = malloc(sizeof(*l));

	if (l == NULL)
		return NULL;
	l->n = 0;
	l->gate = g;
	for (int u = 0; u < SLOTS_URGENCIES; u++)
		list_init(&l->urgency[u]);
	list_push_back(&g->shard->lines, &l->link);
	g->line = l;
	return l;
}

static void line_add(struct line *l, struct waiter *w)
{
	CHECK(w->urgency < SLOTS_URGENCIES);
	list_push_back(&l->urgency[w->urgency], &w->link);
	l->n++;
	l->gate->shard->waiting++;
	w->gate = l->gate;
	w->queued = true;
}

static void line_remove(struct waiter *w)
{
	struct line *l = w->gate->line;

	list_remove(&w->link);
	w->queued = false;
	w->gate->shard->waiting--;
	if (--l->n > 0)
		return;
	list_remove(&l->link);
	l->gate->line = NULL;
	free(l);
}

static struct waiter *line_first(const struct line *l)
{
	bool newest = l->gate->shard->rule.newest_first;

	for (int u = 0; u < SLOTS_URGENCIES; u++)
		if (!list_empty(&l->urgency[u]))
			return waiter_of(newest ? l->urgency[u].prev : l->urgency[u].next);
	check_failed(__FILE__, __LINE__, "a line is not empty");
}

static struct waiter *line_last(const struct line *l)
{
	bool newest = l->gate->shard->rule.newest_first;

	for (int u = SLOTS_URGENCIES; u-- > 0;)
		if (!list_empty(&l->urgency[u]))
			return waiter_of(newest ? l->urgency[u].next : l->urgency[u].prev);
	check_failed(__FILE__, __LINE__, "a line is not empty");
}

/* Whether a call that comes now would be served before that one. */
static bool comes_before(const struct slots_rule *r, uint8_t urgency, const struct waiter *w)
{
	return urgency < w->urgency || (urgency == w->urgency && r->newest_first);
}

/* Once put it is its worker's, which may be done with the call at once. */
static uint64_t post(const struct env *env, struct waiter *w, struct verdict v)
{
	uint8_t worker = w->worker;

	wakes_put(&env->wakes[worker], &w->woken, v);
	return UINT64_C(1) << worker;
}

/* L1: the workers to tell of it. */
static uint64_t let_in(struct slots *s, const struct env *env, struct gate *g)
{
	uint64_t workers = 0;

	while (g->line != NULL && g->in_use < gate_cap(s, g)) {
		struct waiter *w = line_first(g->line);

		line_remove(w);
		gate_begin(g, w->slot, env->now_ns);
		workers |= post(env, w, verdict_pass());
	}
	return workers;
}

/*--------------------------------------------------------------- the rule in force */

bool slots_is_in_force(const struct slots *s, uint64_t serial)
{
	return atomic_load_explicit(&s->in_force, memory_order_relaxed) >= serial;
}

static uint64_t enforce_in(struct slots *s, struct shard *sh, const struct slots_rule *rule,
			   const struct env *env,
			   uint32_t (*cap_of)(void *, uint64_t, const struct ip *), void *ctx)
{
	uint64_t workers = 0;

	if (rule->serial <= sh->rule.serial)
		return 0;
	sh->rule = *rule;
	sh->max_keys = rule->keys == 0 ? 0 : keys_per_shard(s, rule->keys);
	if (sh == s->sole.shard)
		s->sole.cap = rule->cap;
	LIST_EACH (n, &sh->lines) {
		struct gate *g = LIST_ENTRY(n, struct line, link)->gate;

		g->cap = cap_of(ctx, g->key, &line_first(g->line)->client);
		workers |= let_in(s, env, g);
	}
	return workers;
}

void slots_enforce(struct slots *s, const struct slots_rule *rule, const struct env *env,
		   uint32_t (*cap_of)(void *ctx, uint64_t key, const struct ip *client), void *ctx)
{
	uint64_t workers = 0, seen = atomic_load(&s->in_force);

	for (unsigned i = 0; i < s->shards; i++) {
		struct shard *sh = &s->shard[i];

		pthread_mutex_lock(&sh->lock);
		workers |= enforce_in(s, sh, rule, env, cap_of, ctx);
		pthread_mutex_unlock(&sh->lock);
	}
	while (seen < rule->serial &&
	       !atomic_compare_exchange_weak(&s->in_force, &seen, rule->serial))
		;
	wakes_tell(env, workers);
}

/*-------------------------------------------------------------------- calls */

static void look(struct slots *s, const struct gate *g, const struct slots_ask *ask,
		 struct slots_view *view)
{
	const struct slots_rule *r = &g->shard->rule;

	if (r->adapts)
		gradient_pass_time(&s->gradient, ask->env->now_ns);
	*view = (struct slots_view){
		.cap = ask->pooled ? ask->cap : gate_cap(s, g),
		.in_use = g->in_use,
		.waiting = g->line == NULL ? 0 : g->line->n,
	};
	view->queue = view->waiting < r->queue_size || (r->queue_size > 0 && r->newest_first);
	if (view->in_use >= view->cap)
		view->wait_ms = wait_ms(g, view->cap, ask->env->now_ns);
}

/* The gate of this call, made if need be; NULL: no room. */
static struct gate *gate_for(struct slots *s, struct shard *sh, const struct slots_ask *ask)
{
	struct gate *g = gate_find(s, sh, ask->key);
	bool fresh = g == NULL;

	if (fresh)
		g = gate_make(sh, ask->key);
	if (g != NULL && (fresh || ask->serial == sh->rule.serial))
		g->cap = ask->cap;
	return g;
}

static const struct slots_view no_room = { .wait_ms = WAIT_LEAST_MS };

bool slots_take(struct slots *s, const struct slots_ask *ask, struct slot *slot,
		struct slots_view *view)
{
	struct shard *sh = shard_of(s, ask->key);
	bool took = false;
	struct gate *g;

	*view = no_room;
	pthread_mutex_lock(&sh->lock);
	g = gate_for(s, sh, ask);
	if (g != NULL) {
		look(s, g, ask, view);
		took = view->in_use < view->cap;
	}
	if (took) {
		gate_begin(g, slot, ask->env->now_ns);
		view->in_use++;
	}
	pthread_mutex_unlock(&sh->lock);
	return took;
}

/* *workers: to tell of the one that had to give way. */
static enum slots_answer line_up(const struct slots_ask *ask, struct gate *g, struct waiter *w,
				 uint64_t *workers)
{
	const struct slots_rule *r = &g->shard->rule;
	struct line *l = g->line;

	if (r->queue_size == 0)
		return SLOTS_REFUSED;
	if (l != NULL && l->n >= r->queue_size) {
		struct waiter *last = line_last(l);

		if (!comes_before(r, w->urgency, last))
			return SLOTS_REFUSED;
		/* before the line could be empty, and gone */
		line_add(l, w);
		line_remove(last);
		*workers = post(ask->env, last, last->woken.wait.late);
		return SLOTS_QUEUED;
	}
	if (l == NULL)
		l = line_make(g);
	if (l == NULL)
		return SLOTS_REFUSED;
	line_add(l, w);
	return SLOTS_QUEUED;
}

enum slots_answer slots_wait(struct slots *s, const struct slots_ask *ask, struct waiter *w)
{
	struct shard *sh = shard_of(s, ask->key);
	enum slots_answer answer = SLOTS_REFUSED;
	uint64_t workers = 0;
	struct gate *g;

	w->since_ns = ask->env->now_ns;
	w->shard = sh;
	pthread_mutex_lock(&sh->lock);
	g = gate_for(s, sh, ask);
	if (g != NULL && g->in_use < gate_cap(s, g)) {
		gate_begin(g, w->slot, ask->env->now_ns);
		answer = SLOTS_TAKEN;
	} else if (g != NULL) {
		answer = line_up(ask, g, w, &workers);
	}
	pthread_mutex_unlock(&sh->lock);
	wakes_tell(ask->env, workers);
	return answer;
}

void slots_leave(struct slots *s, const struct env *env, struct waiter *w)
{
	struct shard *sh = w->shard; /* its gate may be another key's by now */
	bool queued;

	pthread_mutex_lock(&sh->lock);
	queued = w->queued;
	if (queued)
		line_remove(w); /* others hold the slots: the gate stays */
	pthread_mutex_unlock(&sh->lock);
	if (queued)
		return;
	wakes_take_back(&env->wakes[w->worker], &w->woken);
	if (w->slot->gate != NULL)
		slots_give(s, env, w->slot);
}

void slots_give(struct slots *s, const struct env *env, struct slot *slot)
{
	struct gate *g = slot->gate;
	struct shard *sh = g->shard;
	uint64_t workers;

	pthread_mutex_lock(&sh->lock);
	gate_end(g, slot, env->now_ns);
	workers = let_in(s, env, g);
	gate_drop_if_idle(s, g);
	pthread_mutex_unlock(&sh->lock);
	slot->gate = NULL;
	if (workers != 0)
		wakes_tell(env, workers);
}

bool slots_peek(struct slots *s, const struct slots_ask *ask, struct slots_view *view)
{
	struct shard *sh = shard_of(s, ask->key);
	struct gate *g, none = { .shard = sh, .cap = ask->cap };

	pthread_mutex_lock(&sh->lock);
	g = gate_find(s, sh, ask->key);
	look(s, g == NULL ? &none : g, ask, view);
	pthread_mutex_unlock(&sh->lock);
	return view->in_use < view->cap;
}

void slots_sample(struct slots *s, const struct env *env, const struct slot *slot,
		  uint64_t latency_ns)
{
	struct gate *g = slot->gate;
	struct shard *sh = g->shard;
	uint64_t workers = 0;

	pthread_mutex_lock(&sh->lock);
	if (sh->rule.adapts && gradient_sample(&s->gradient, &sh->rule.gradient, env->now_ns,
					       latency_ns, slot->in_use))
		workers = let_in(s, env, g);
	pthread_mutex_unlock(&sh->lock);
	if (workers != 0)
		wakes_tell(env, workers);
}

void slots_sum(struct slots *s, struct slots_sum *sum)
{
	*sum = (struct slots_sum){ .in_use = 0 };
	for (unsigned i = 0; i < s->shards; i++) {
		struct shard *sh = &s->shard[i];

		pthread_mutex_lock(&sh->lock);
		sum->in_use += sh->in_use;
		sum->waiting += sh->waiting;
		sum->keys += sh->keys;
		if (sh->rule.adapts)
			sum->cap = gradient_limit(&s->gradient, &sh->rule.gradient);
		pthread_mutex_unlock(&sh->lock);
	}
}
