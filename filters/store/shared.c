/* shared.c - the laws are in shared.h. */
#include "store/shared.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"

enum { SLOTS_LEAST = 64, TRIES_TO_EVICT = 16, NAME_MAX_BYTES = 255 };

#define PEERS_FALL_NS         (60 * CLOCK_S)
#define PERMITS_HOLD_LEAST_US UINT64_C(3000000)

struct shared_key {
	struct shared_policy *policy;
	struct shared_key *next; /* of the same slot */
	struct list age;         /* policy.ages, the latest first */
	uint64_t id;
	uint64_t asked; /* the last call that asked for it */
	union {
		struct lease lease;
		struct permits permits; /* of SHARED_PERMITS */
	};
	struct key_name name;
};

struct shared_policy {
	struct list link;
	char name[NAME_MAX_BYTES + 1];
	unsigned uses;
	struct shared_rule rule;
	struct bucket_share share; /* of a bucket */
	struct lease_rule lease;
	struct permits_rule permits;
	struct permits_sum sum;
	struct key_maker maker;
	struct shared_key **slot;
	uint32_t n_slots, n_keys, max_keys;
	struct list ages;
	uint64_t fallbacks, evictions;
};

struct shared_limits {
	pthread_mutex_t lock;
	struct shared_options o;
	struct lease_world world;
	struct permits_world permits;
	struct list policies;
	uint64_t keys;
	uint64_t calls;
	bool told;               /* the carrier was woken, and has not looked yet */
	bool paced;              /* it comes again by itself */
	bool answered;           /* calls were, under the present lock */
	uint64_t fewer_since_ns; /* peers; 0: they are not */
};

/*---------------------------------------------------------------- the lock */

/* Threads read their clocks at different times: ours never goes back. */
static void enter(struct shared_limits *s, uint64_t now_ns)
{
	pthread_mutex_lock(&s->lock);
	if (now_ns > s->world.now_ns)
		s->world.now_ns = now_ns;
}

static void leave(struct shared_limits *s)
{
	bool some = !list_empty(&s->world.kicked) || !list_empty(&s->permits.kicked);
	bool paced = s->permits.n_waiting == 0 || s->paced;
	bool wake = ((some && !s->world.down) || !paced) && !s->told;
	bool settled = s->permits.settled;

	s->told = s->told || wake;
	s->permits.settled = false;
	pthread_mutex_unlock(&s->lock);
	if (wake)
		s->o.wake(s->o.owner);
	if (settled)
		s->o.settled(s->o.owner);
}

/* The carrier looks by itself. */
static void leave_as_carrier(struct shared_limits *s)
{
	bool answered = s->answered || s->permits.settled;

	s->answered = s->permits.settled = false;
	pthread_mutex_unlock(&s->lock);
	if (answered)
		s->o.settled(s->o.owner);
}

/*----------------------------------------------------------------- policies */

static const char *check_rule(struct shared_policy *p, const struct shared_rule *r)
{
	uint64_t tokens = r->kind == SHARED_BUCKET ? r->burst : r->count;

	if (r->count == 0 || r->period_us == 0 || tokens == 0)
		return "a limit of nothing cannot be shared";
	if (tokens > (uint64_t)SCRIPT_NUMBER_MAX / 4)
		return "the limit is too large to be shared";
	if (r->kind == SHARED_PERMITS && r->period_us < PERMITS_HOLD_LEAST_US)
		return "permits are held for 3 s at least";
	if (r->kind == SHARED_BUCKET)
		return bucket_share_init(&p->share, r->count, r->period_us, r->burst);
	/* share() of window.lua */
	return r->kind != SHARED_BUDGET && r->period_us >= UINT64_C(1) << 47
		   ? "the window is too long to be shared"
		   : NULL;
}

const char *shared_rule_check(const struct shared_rule *r)
{
	struct shared_policy checked = { .uses = 0 };

	return check_rule(&checked, r);
}

static struct lease_rule lease_rule_of(const struct shared_rule *r)
{
	return (struct lease_rule){ .kind = r->kind == SHARED_BUCKET   ? LEASE_BUCKET
					    : r->kind == SHARED_BUDGET ? LEASE_BUDGET
								       : LEASE_WINDOW,
				    .on_error = r->on_error,
				    .strict = r->strict,
				    .slides = r->kind == SHARED_SLIDING,
				    .overshoot_ppm = r->overshoot_ppm,
				    .parked_max = r->parked_max,
				    .peers = r->peers,
				    .burst = r->kind == SHARED_BUCKET ? r->burst : r->count,
				    .count = r->count,
				    .period_ns = r->period_us * 1000 };
}

/* It counts anew with every window. */
static bool has_windows(const struct shared_rule *r)
{
	return r->kind != SHARED_BUCKET && r->kind != SHARED_PERMITS;
}

/* The way of counting is part of the names; how much is not. */
static void make_names(struct shared_limits *s, struct shared_policy *p)
{
	static const char letters[] = { 't', 'w', 'f', 'b', 'c' };
	char how[64];
	int n = snprintf(how, sizeof(how), "%c", letters[p->rule.kind]);

	if (has_windows(&p->rule))
		n = snprintf(how, sizeof(how), "%c %llu %lld", letters[p->rule.kind],
			     (unsigned long long)p->rule.period_us, (long long)p->rule.offset_us);
	key_maker_init(&p->maker, s->o.space, s->o.salt, slice_str(p->name),
		       slice_of(how, (size_t)n), letters[p->rule.kind]);
}

/* A limit that came to count otherwise is another one. */
static struct shared_policy *find_policy(struct shared_limits *s, const char *name,
					 const struct shared_rule *r)
{
	LIST_EACH (n, &s->policies) {
		struct shared_policy *p = LIST_ENTRY(n, struct shared_policy, link);

		if (strcmp(p->name, name) == 0 && p->rule.kind == r->kind &&
		    (!has_windows(r) ||
		     (p->rule.period_us == r->period_us && p->rule.offset_us == r->offset_us)))
			return p;
	}
	return NULL;
}

static void move_keys(struct shared_policy *p, struct shared_key **slot, uint32_t n_slots)
{
	LIST_EACH (n, &p->ages) {
		struct shared_key *k = LIST_ENTRY(n, struct shared_key, age);

		k->next = slot[k->id & (n_slots - 1)];
		slot[k->id & (n_slots - 1)] = k;
	}
	free(p->slot);
	p->slot = slot;
	p->n_slots = n_slots;
}

/* As many keys as the largest of those who use it asks for. */
static bool make_slots(struct shared_policy *p, uint32_t max_keys)
{
	struct shared_key **slot;
	uint32_t n = SLOTS_LEAST;

	while (n < max_keys && n < UINT32_C(1) << 24)
		n *= 2;
	if (n > p->n_slots) {
		slot = calloc(n, sizeof(struct shared_key *));
		if (slot == NULL)
			return false;
		move_keys(p, slot, n);
	}
	p->max_keys = max_keys > p->max_keys ? max_keys : p->max_keys;
	return true;
}

static struct shared_policy *make_policy(const char *name, uint32_t max_keys)
{
	struct shared_policy *p = calloc(1, sizeof(*p));

	if (p == NULL)
		return NULL;
	list_init(&p->ages);
	if (!make_slots(p, max_keys)) {
		free(p);
		return NULL;
	}
	snprintf(p->name, sizeof(p->name), "%s", name);
	return p;
}

/* Leases point at the policy's rule: they see the new one. */
static void set_rule(struct shared_policy *p, const struct shared_policy *from,
		     const struct shared_rule *r)
{
	p->rule = *r;
	p->share = from->share;
	p->lease = lease_rule_of(r);
	p->permits = (struct permits_rule){ .cap = r->count,
					    .hold_ns = r->period_us * 1000,
					    .on_error = r->on_error,
					    .parked_max = r->parked_max,
					    .peers = r->peers,
					    .queue_size = r->queue_size,
					    .newest_first = r->newest_first };
}

struct shared_policy *shared_policy_get(struct shared_limits *s, const char *name,
					const struct shared_rule *r, uint32_t max_keys,
					const char **why)
{
	struct shared_policy checked = { .uses = 0 }, *p;

	CHECK(strlen(name) <= NAME_MAX_BYTES && max_keys > 0);
	*why = check_rule(&checked, r);
	if (*why != NULL)
		return NULL;
	pthread_mutex_lock(&s->lock);
	p = find_policy(s, name, r);
	if (p != NULL && !make_slots(p, max_keys)) {
		pthread_mutex_unlock(&s->lock);
		return NULL;
	}
	if (p == NULL)
		p = make_policy(name, max_keys);
	if (p != NULL && p->uses++ == 0) {
		set_rule(p, &checked, r);
		make_names(s, p);
		list_push_back(&s->policies, &p->link);
	}
	pthread_mutex_unlock(&s->lock);
	return p;
}

/* Refusals were of another limit. */
static void change_keys(struct shared_policy *p, const struct shared_rule *r)
{
	struct lease_rule to = lease_rule_of(r);

	LIST_EACH (n, &p->ages) {
		struct shared_key *k = LIST_ENTRY(n, struct shared_key, age);

		if (p->rule.kind == SHARED_PERMITS)
			permits_change_cap(&k->permits, r->count);
		else
			lease_change_rule(&k->lease, &to);
	}
}

void shared_policy_enforce(struct shared_limits *s, struct shared_policy *p,
			   const struct shared_rule *r)
{
	struct shared_policy checked = { .uses = 0 };

	CHECK(check_rule(&checked, r) == NULL);
	pthread_mutex_lock(&s->lock);
	if (p->rule.count != r->count || p->rule.burst != r->burst ||
	    p->rule.period_us != r->period_us)
		change_keys(p, r);
	set_rule(p, &checked, r);
	leave(s);
}

/*--------------------------------------------------------------------- keys */

static bool has_permits(const struct shared_key *k)
{
	return k->policy->rule.kind == SHARED_PERMITS;
}

static bool is_idle(const struct shared_key *k)
{
	return has_permits(k) ? permits_are_idle(&k->permits) : lease_is_idle(&k->lease);
}

static bool is_under_way(const struct shared_key *k)
{
	return has_permits(k) ? k->permits.in_flight : k->lease.in_flight;
}

static struct shared_key **slot_of_key(const struct shared_policy *p, uint64_t id)
{
	return &p->slot[id & (p->n_slots - 1)];
}

static struct shared_key *find_key(const struct shared_policy *p, uint64_t id)
{
	struct shared_key *k = *slot_of_key(p, id);

	while (k != NULL && k->id != id)
		k = k->next;
	return k;
}

static void drop_key(struct shared_limits *s, struct shared_key *k)
{
	struct shared_policy *p = k->policy;
	struct shared_key **at = slot_of_key(p, k->id);

	while (*at != k)
		at = &(*at)->next;
	*at = k->next;
	list_remove(&k->age);
	if (has_permits(k))
		permits_fini(&k->permits);
	else
		lease_fini(&k->lease);
	p->n_keys--;
	s->keys--;
	free(k);
}

/* The oldest that has nothing to tell. */
static bool make_room(struct shared_limits *s, struct shared_policy *p)
{
	struct list *n = p->ages.prev;

	for (unsigned i = 0; i < TRIES_TO_EVICT && n != &p->ages; i++) {
		struct shared_key *k = LIST_ENTRY(n, struct shared_key, age);

		n = n->prev;
		if (!is_idle(k) || k->asked == s->calls)
			continue;
		drop_key(s, k);
		p->evictions++;
		return true;
	}
	return false;
}

static struct shared_key *make_key(struct shared_limits *s, const struct shared_want *w)
{
	struct shared_policy *p = w->policy;
	struct shared_key *k, **at = slot_of_key(p, w->key);

	if (p->n_keys >= p->max_keys && !make_room(s, p))
		return NULL;
	k = calloc(1, sizeof(*k));
	if (k == NULL)
		return NULL;
	k->policy = p;
	k->id = w->key;
	if (has_permits(k))
		permits_init(&k->permits, &s->permits, &p->permits, &p->sum);
	else
		lease_init(&k->lease, &s->world, &p->lease);
	key_name_make(&p->maker, w->part, w->n_parts, &k->name);
	k->next = *at;
	*at = k;
	list_push_front(&p->ages, &k->age);
	p->n_keys++;
	s->keys++;
	return k;
}

static struct shared_key *key_of(struct shared_limits *s, const struct shared_want *w)
{
	struct shared_key *k = find_key(w->policy, w->key);

	if (k == NULL) {
		k = make_key(s, w);
	} else {
		list_remove(&k->age);
		list_push_front(&w->policy->ages, &k->age);
	}
	if (k != NULL)
		k->asked = s->calls;
	return k;
}

void shared_policy_put(struct shared_limits *s, struct shared_policy *p)
{
	bool last;

	pthread_mutex_lock(&s->lock);
	last = --p->uses == 0;
	if (last) {
		list_remove(&p->link);
		LIST_EACH (n, &p->ages) {
			struct shared_key *k = LIST_ENTRY(n, struct shared_key, age);

			if (!is_under_way(k)) /* else what is under way comes back to it */
				drop_key(s, k);
		}
		last = p->n_keys == 0;
	}
	pthread_mutex_unlock(&s->lock);
	if (last) {
		free(p->slot);
		free(p);
	}
}

/*-------------------------------------------------------------------- calls */

/* H4. */
static enum lease_answer without_key(const struct shared_want *w, unsigned i, struct shared_ask *a)
{
	w[i].policy->fallbacks++;
	if (w[i].policy->lease.on_error == LEASE_ALLOW)
		return LEASE_ADMIT;
	a->ask.n = 0;
	a->unavailable = true;
	a->view = (struct shared_view){ .want = i, .retry_ns = CLOCK_S };
	return LEASE_DENY;
}

/* False: *answer is decided. */
static bool find_parts(struct shared_limits *s, const struct shared_want *w, unsigned n,
		       struct shared_ask *a, enum lease_answer *answer)
{
	a->ask.n = 0;
	a->ask.part = a->part;
	a->view = (struct shared_view){ .left = w[0].policy->lease.burst };
	for (unsigned i = 0; i < n; i++) {
		struct shared_key *k;

		CHECK(w[i].policy->rule.kind != SHARED_PERMITS);
		k = key_of(s, &w[i]);
		if (k != NULL) {
			a->want[a->ask.n] = (uint8_t)i;
			a->of[a->ask.n].policy = w[i].policy;
			a->of[a->ask.n].key = w[i].key;
			a->part[a->ask.n++] =
			    (struct lease_part){ .lease = &k->lease, .cost = w[i].cost };
			continue;
		}
		*answer = without_key(w, i, a);
		if (*answer == LEASE_DENY)
			return false;
	}
	return a->ask.n > 0;
}

/* Of each limit that decided by itself; of a refusal, the one that refused. */
static void count_fallbacks(struct shared_ask *a, enum lease_answer answer)
{
	for (unsigned i = 0; i < a->ask.n && answer != LEASE_PARK; i++) {
		bool denies = answer == LEASE_DENY && i == a->ask.denier;

		if (a->part[i].source != FROM_LOCAL || (answer == LEASE_DENY && !denies))
			continue;
		a->of[i].policy->fallbacks++;
		a->unavailable |= denies && a->of[i].policy->rule.on_error == LEASE_REFUSE;
	}
}

/* Of a refusal, the one that refused; else the one with the least left. */
static void fill_view(struct shared_ask *a, enum lease_answer answer)
{
	struct shared_view v = { .retry_ns = answer == LEASE_DENY ? a->ask.retry_ns : 0 };

	for (unsigned i = 0; i < a->ask.n; i++) {
		if (answer == LEASE_DENY && i != a->ask.denier)
			continue;
		lease_look(a->part[i].lease, &v.left, &v.reset_ns);
		v.want = a->want[i];
		if (i == 0 || answer == LEASE_DENY || v.left < a->view.left)
			a->view = v;
	}
}

void shared_settled(struct shared_ask *a, enum lease_answer answer)
{
	count_fallbacks(a, answer);
	if (answer != LEASE_PARK)
		fill_view(a, answer);
}

enum lease_answer shared_admit(struct shared_limits *s, uint64_t now_ns,
			       const struct shared_want *w, unsigned n, struct shared_ask *a)
{
	enum lease_answer answer = LEASE_ADMIT;

	CHECK(n >= 1 && n <= LEASE_PARTS_MAX);
	enter(s, now_ns);
	s->calls++;
	a->unavailable = false;
	if (find_parts(s, w, n, a, &answer)) {
		answer = lease_admit(&s->world, &a->ask);
		shared_settled(a, answer);
	}
	leave(s);
	return answer;
}

bool shared_leave(struct shared_limits *s, struct shared_ask *a)
{
	bool was_parked;

	pthread_mutex_lock(&s->lock);
	was_parked = a->ask.parked;
	lease_leave(&a->ask);
	leave(s);
	return was_parked;
}

bool shared_late(struct shared_limits *s, uint64_t now_ns, struct shared_ask *a,
		 enum lease_answer *answer)
{
	bool was_parked;

	enter(s, now_ns);
	was_parked = a->ask.parked;
	if (was_parked) {
		*answer = lease_late(&s->world, &a->ask);
		shared_settled(a, *answer);
	}
	leave(s);
	return was_parked;
}

/* H6: the key may have been forgotten, or forgotten and made anew. */
void shared_return(struct shared_limits *s, uint64_t now_ns, struct shared_ask *a)
{
	enter(s, now_ns);
	for (unsigned i = 0; i < a->ask.n; i++) {
		struct shared_key *k = find_key(a->of[i].policy, a->of[i].key);

		if (k == NULL)
			continue;
		a->part[i].lease = &k->lease;
		lease_return(&a->part[i]);
	}
	leave(s);
}

/*------------------------------------------------------------------ permits */

enum lease_answer shared_acquire(struct shared_limits *s, uint64_t now_ns,
				 const struct shared_want *w, struct shared_permit *a)
{
	enum lease_answer answer;

	enter(s, now_ns);
	CHECK(w->policy->rule.kind == SHARED_PERMITS);
	s->calls++;
	a->key = key_of(s, w);
	a->ask.parked = false;
	if (a->key != NULL) {
		a->ask.permits = &a->key->permits;
		answer = permits_acquire(&a->ask);
		if (answer == LEASE_PARK && a->at_once)
			answer = permits_late(&a->ask);
	} else {
		w->policy->fallbacks++; /* H4 */
		answer = w->policy->permits.on_error == LEASE_ALLOW ? LEASE_ADMIT : LEASE_DENY;
		a->ask.retry_ns = CLOCK_S;
		a->ask.unavailable = answer == LEASE_DENY;
	}
	leave(s);
	return answer;
}

bool shared_permit_leave(struct shared_limits *s, struct shared_permit *a)
{
	bool was_parked;

	pthread_mutex_lock(&s->lock);
	was_parked = a->ask.parked;
	permits_leave(&a->ask);
	leave(s);
	return was_parked;
}

bool shared_permit_late(struct shared_limits *s, uint64_t now_ns, struct shared_permit *a,
			enum lease_answer *answer)
{
	bool was_parked;

	enter(s, now_ns);
	was_parked = a->ask.parked;
	if (was_parked)
		*answer = permits_late(&a->ask);
	leave(s);
	return was_parked;
}

void shared_release(struct shared_limits *s, uint64_t now_ns, struct shared_permit *a)
{
	if (a->key == NULL)
		return;
	enter(s, now_ns);
	permits_release(&a->ask);
	leave(s);
}

void shared_permits_look(struct shared_limits *s, uint64_t now_ns, const struct shared_want *w,
			 bool patient, uint64_t *left, uint64_t *retry_ns)
{
	struct permits none;
	const struct shared_key *k;
	const struct permits *p;

	enter(s, now_ns);
	k = find_key(w->policy, w->key);
	permits_init(&none, &s->permits, &w->policy->permits, &w->policy->sum);
	p = k == NULL ? &none : &k->permits;
	*left = permits_left(p);
	if (!permits_would_refuse(p, patient, retry_ns))
		*retry_ns = 0;
	leave(s);
}

/*--------------------------------------------------------------------- views */

static bool look_at_one(const struct shared_want *w, struct shared_view *v)
{
	const struct shared_key *k = find_key(w->policy, w->key);

	*v = (struct shared_view){ .left = w->policy->lease.burst };
	if (k == NULL || has_permits(k)) {
		v->retry_ns = w->cost > v->left ? SYNC_NEVER : 0;
		return false;
	}
	lease_look(&k->lease, &v->left, &v->reset_ns);
	if (!lease_would_refuse(&k->lease, w->cost, &v->retry_ns))
		v->retry_ns = 0;
	return true;
}

bool shared_look(struct shared_limits *s, uint64_t now_ns, const struct shared_want *w, unsigned n,
		 struct shared_view *out)
{
	bool known = false;

	enter(s, now_ns);
	for (unsigned i = 0; i < n; i++) {
		struct shared_view v;

		known = look_at_one(&w[i], &v) || known;
		v.want = i;
		if (i == 0 || v.retry_ns > out->retry_ns ||
		    (v.retry_ns == out->retry_ns && v.left < out->left))
			*out = v;
	}
	leave(s);
	return known;
}

void shared_policy_gauge(struct shared_limits *s, const struct shared_policy *p,
			 struct shared_policy_gauge *g)
{
	pthread_mutex_lock(&s->lock);
	*g = (struct shared_policy_gauge){ .keys = p->n_keys,
					   .evictions = p->evictions,
					   .fallbacks = p->fallbacks + p->sum.fallbacks,
					   .in_use = p->sum.in_use,
					   .queued = p->sum.queued };
	pthread_mutex_unlock(&s->lock);
}

void shared_gauge(struct shared_limits *s, struct shared_gauge *g)
{
	pthread_mutex_lock(&s->lock);
	*g = (struct shared_gauge){ .keys = s->keys,
				    .local_keys = s->world.n_local,
				    .peers = s->world.peers,
				    .down = s->world.down };
	pthread_mutex_unlock(&s->lock);
}

/*-------------------------------------------------------------- the carrier */

static void compose_budget(const struct shared_limits *s, const struct shared_key *k,
			   const struct sync *sync, struct script_call *out)
{
	const struct shared_rule *r = &k->policy->rule;
	struct budget_settle settle = { .length_us = r->period_us,
					.offset_us = r->offset_us,
					.limit = r->count,
					.sidecar = s->o.sidecar,
					.seq = k->lease.seq,
					.sync = *sync,
					.count = k->lease.sent_count,
					.own = k->lease.sent_own };

	script_call_budget(out, &k->name, &settle);
}

static void compose(const struct shared_limits *s, const struct shared_key *k,
		    const struct sync *sync, struct script_call *out)
{
	const struct shared_policy *p = k->policy;

	if (p->rule.kind == SHARED_BUCKET)
		script_call_bucket(out, &k->name, &p->share, sync);
	else if (p->rule.kind == SHARED_BUDGET)
		compose_budget(s, k, sync, out);
	else
		script_call_window(out, &k->name, p->rule.period_us, p->rule.kind == SHARED_SLIDING,
				   p->rule.count, sync);
}

static struct shared_key *next_lease(struct shared_limits *s, struct script_call *out)
{
	struct sync sync;
	struct lease *l = lease_next(&s->world, &sync);
	struct shared_key *k;

	if (l == NULL)
		return NULL;
	k = LIST_ENTRY(l, struct shared_key, lease);
	compose(s, k, &sync, out);
	return k;
}

static struct shared_key *next_permits(struct shared_limits *s, struct script_call *out)
{
	struct permits_sync sync;
	struct permits *p = permits_next(&s->permits, &sync);
	struct shared_key *k;

	if (p == NULL)
		return NULL;
	k = LIST_ENTRY(p, struct shared_key, permits);
	script_call_permits(out, &k->name, k->policy->rule.count, s->o.sidecar, sync.need,
			    sync.want, k->policy->rule.period_us, sync.waits);
	return k;
}

struct shared_key *shared_next(struct shared_limits *s, uint64_t now_ns, struct script_call *out)
{
	struct shared_key *k = NULL;

	enter(s, now_ns);
	if (!s->world.down)
		k = next_lease(s, out);
	if (k == NULL && !s->world.down)
		k = next_permits(s, out);
	if (k == NULL)
		s->told = false;
	pthread_mutex_unlock(&s->lock);
	return k;
}

/* Its policy is gone, and this was the last that was under way. */
static void drop_orphan(struct shared_limits *s, struct shared_key *k)
{
	struct shared_policy *p = k->policy;

	if (p->uses > 0)
		return;
	drop_key(s, k);
	if (p->n_keys > 0)
		return;
	free(p->slot);
	free(p);
}

/* Permits say themselves whom they answered. */
static bool some_wait(const struct shared_key *k)
{
	return !has_permits(k) && k->lease.n_parked > 0;
}

void shared_reply(struct shared_limits *s, uint64_t now_ns, struct shared_key *k,
		  const struct sync_reply *r)
{
	enter(s, now_ns);
	s->answered = some_wait(k);
	if (has_permits(k))
		permits_reply(&k->permits, r);
	else
		lease_reply(&k->lease, r);
	drop_orphan(s, k);
	leave_as_carrier(s);
}

void shared_refused(struct shared_limits *s, uint64_t now_ns, struct shared_key *k)
{
	enter(s, now_ns);
	s->answered = some_wait(k);
	if (has_permits(k))
		permits_lost(&k->permits);
	else
		lease_refused(&k->lease);
	drop_orphan(s, k);
	leave_as_carrier(s);
}

void shared_lost(struct shared_limits *s, uint64_t now_ns, struct shared_key *k)
{
	enter(s, now_ns);
	if (has_permits(k))
		permits_lost(&k->permits);
	else
		lease_lost(&k->lease);
	drop_orphan(s, k);
	leave_as_carrier(s);
}

void shared_down(struct shared_limits *s, uint64_t now_ns)
{
	enter(s, now_ns);
	lease_down(&s->world);
	permits_down(&s->permits);
	leave_as_carrier(s);
}

void shared_up(struct shared_limits *s, uint64_t now_ns)
{
	enter(s, now_ns);
	lease_up(&s->world);
	permits_up(&s->permits);
	leave_as_carrier(s);
}

void shared_set_rtt(struct shared_limits *s, uint64_t rtt_ns)
{
	pthread_mutex_lock(&s->lock);
	s->world.rtt_ns = rtt_ns;
	pthread_mutex_unlock(&s->lock);
}

void shared_tick(struct shared_limits *s, uint64_t now_ns)
{
	enter(s, now_ns);
	permits_renew(&s->permits);
	leave_as_carrier(s);
}

bool shared_pace(struct shared_limits *s, uint64_t now_ns)
{
	bool paced;

	enter(s, now_ns);
	s->paced = permits_pace(&s->permits);
	paced = s->paced;
	leave_as_carrier(s);
	return paced;
}

void shared_set_peers(struct shared_limits *s, uint64_t now_ns, uint32_t n)
{
	struct lease_world *w = &s->world;

	enter(s, now_ns);
	n = n > s->o.peers ? n : s->o.peers;
	if (n >= w->peers)
		s->fewer_since_ns = 0;
	else if (s->fewer_since_ns == 0)
		s->fewer_since_ns = w->now_ns;
	if (n > w->peers || (n < w->peers && w->now_ns - s->fewer_since_ns >= PEERS_FALL_NS)) {
		w->peers = n;
		s->fewer_since_ns = 0;
	}
	leave_as_carrier(s);
}

void shared_peers_left(struct shared_limits *s, uint64_t now_ns, uint64_t n)
{
	struct lease_world *w = &s->world;
	uint32_t most, least = s->o.peers;

	enter(s, now_ns);
	most = w->peers > least ? w->peers - least : 0;
	w->peers -= n < most ? (uint32_t)n : most;
	leave_as_carrier(s);
}

void shared_peers_call(const struct shared_limits *s, uint64_t hold_us, struct script_call *out)
{
	struct key_name name;

	key_name_peers(s->o.space, &name);
	script_call_peers(out, &name, s->o.sidecar, hold_us);
}

/*------------------------------------------------------------------- making */

struct shared_limits *shared_new(const struct shared_options *o)
{
	struct shared_limits *s = calloc(1, sizeof(*s));

	if (s == NULL)
		return NULL;
	s->o = *o;
	s->o.peers = o->peers > 0 ? o->peers : 1;
	pthread_mutex_init(&s->lock, NULL);
	list_init(&s->policies);
	lease_world_init(&s->world, o->now_ns, o->random);
	s->world.peers = s->o.peers;
	permits_world_init(&s->permits, &s->world);
	lease_down(&s->world); /* until it is reached */
	return s;
}

void shared_free(struct shared_limits *s)
{
	if (s == NULL)
		return;
	CHECK(list_empty(&s->policies) && s->keys == 0);
	pthread_mutex_destroy(&s->lock);
	free(s);
}
