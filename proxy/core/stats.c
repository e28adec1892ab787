/* stats.c - per-worker blocks of counters, found by name.
 *
 * A route is one allocation: a header, then a block for each worker on cache lines of its own.
 * Names of policies and upstreams come from policies that a reload frees, so tables keyed by them
 * own copies, made by the worker when a name first occurs and published by a release store; the
 * reader loads them with acquire. */
#include "core/stats.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/list.h"
#include "core/grpc.h"
#include "upstream/upstream.h"

enum {
	CODE_SLOTS = 64,
	REJECTION_SLOTS = 32,
	UPSTREAM_SLOTS = 64,
	PROBES = 8, /* a longer search is not worth a call's time: _OTHER */
	LINE = 64,
};

#define STATS_MAGIC 0x57535431u
#define NAMED_MAGIC 0x57534e31u

struct code_slot {
	_Atomic uint32_t key; /* 1 + method * 1000 + status; 0: free */
	struct stat_counter n;
};

struct rejection_slot {
	const char *_Atomic policy; /* own copy; NULL: free */
	uint16_t reason;
	struct stat_counter n;
};

struct route_worker {
	struct stat_counter counter[ROUTE_COUNTERS];
	struct stat_counter codes_other, rejections_other;
	struct stat_counter again[AGAIN_LABELS];
	struct stat_counter grpc[GRPC_CODES + 1];
	struct stat_hist duration;
	struct stat_hist start;
	struct code_slot code[CODE_SLOTS];
	struct rejection_slot rejection[REJECTION_SLOTS];
} __attribute__((aligned(LINE)));

/* What routes and listeners have in common. */
struct named {
	uint32_t magic;
	unsigned refs;
	struct stats *stats;
	char *name;
	struct list link;
	void *blocks; /* one a worker */
	void *memory; /* what holds them, before alignment */
};

struct route_stats {
	struct named named;
};

struct listener_stats {
	struct named named;
};

struct listener_worker {
	struct stat_counter active, total, pauses;
	struct stat_counter refused[REASON_COUNT];
	struct stat_counter flooded[H2_FLOODS];
	struct stat_counter handshaking, handshakes[HANDSHAKE_ENDS];
} __attribute__((aligned(LINE)));

struct upstream_slot {
	const char *_Atomic name; /* own copy; NULL: free */
	struct stat_hist *attempts;
};

struct stats_worker {
	struct stat_hist overhead, lag;
	struct stat_counter auth[AUTH_METHODS][AUTH_OUTCOMES], auth_cached[2];
	struct upstream_slot upstream[UPSTREAM_SLOTS + 1]; /* the last is _OTHER */
} __attribute__((aligned(LINE)));

struct stats {
	uint32_t magic;
	unsigned workers;
	pthread_mutex_t lock; /* the lists, between control and readers */
	struct list routes, listeners;
	struct stats_worker *worker;
	void *memory;
};

/* Zeroed blocks on cache lines; calloc leaves fresh pages untouched, where aligned_alloc and memset
 * would not. */
static void *blocks_new(size_t n, size_t size, void **memory)
{
	*memory = calloc(1, n * size + LINE - 1);
	if (*memory == NULL)
		return NULL;
	return (void *)(((uintptr_t)*memory + LINE - 1) & ~(uintptr_t)(LINE - 1));
}

/* FNV-1a: names come from the operator, nobody else chooses them. */
static uint32_t hash_name(const char *s)
{
	uint32_t h = 2166136261u;

	for (; *s != '\0'; s++)
		h = (h ^ (unsigned char)*s) * 16777619u;
	return h;
}

/*---------------------------------------------------------------- life */

struct stats *stats_new(unsigned workers)
{
	struct stats *s = calloc(1, sizeof(*s));

	CHECK(workers >= 1 && workers <= WORKERS_MAX);
	if (s == NULL)
		return NULL;
	s->worker = blocks_new(workers, sizeof(*s->worker), &s->memory);
	if (s->worker == NULL) {
		free(s);
		return NULL;
	}
	s->magic = STATS_MAGIC;
	s->workers = workers;
	pthread_mutex_init(&s->lock, NULL);
	list_init(&s->routes);
	list_init(&s->listeners);
	return s;
}

static void free_copy(const char *_Atomic *name)
{
	free((void *)(uintptr_t)atomic_load_explicit(name, memory_order_acquire));
}

static void named_free(struct named *n)
{
	list_remove(&n->link);
	n->magic = 0;
	free(n->memory);
	free(n->name);
	free(n);
}

static struct route_worker *route_block(const struct route_stats *r, unsigned w)
{
	return (struct route_worker *)r->named.blocks + w;
}

static struct listener_worker *listener_block(const struct listener_stats *l, unsigned w)
{
	return (struct listener_worker *)l->named.blocks + w;
}

static void route_free(struct route_stats *r)
{
	for (unsigned w = 0; w < r->named.stats->workers; w++)
		for (unsigned i = 0; i < REJECTION_SLOTS; i++)
			free_copy(&route_block(r, w)->rejection[i].policy);
	named_free(&r->named);
}

static void worker_fini(struct stats_worker *w)
{
	for (unsigned i = 0; i <= UPSTREAM_SLOTS; i++) {
		free_copy(&w->upstream[i].name);
		free(w->upstream[i].attempts);
	}
}

void stats_free(struct stats *s)
{
	if (s == NULL)
		return;
	CHECK_MAGIC(s, STATS_MAGIC);
	LIST_EACH (n, &s->routes) {
		route_free(LIST_ENTRY(n, struct route_stats, named.link));
	}
	LIST_EACH (n, &s->listeners) {
		named_free(LIST_ENTRY(n, struct named, link));
	}
	for (unsigned w = 0; w < s->workers; w++)
		worker_fini(&s->worker[w]);
	pthread_mutex_destroy(&s->lock);
	s->magic = 0;
	free(s->memory);
	free(s);
}

static struct named *named_find(struct list *list, const char *name)
{
	LIST_EACH (n, list) {
		struct named *named = LIST_ENTRY(n, struct named, link);

		if (strcmp(named->name, name) == 0)
			return named;
	}
	return NULL;
}

static struct named *named_new(struct stats *s, struct list *list, const char *name, size_t block)
{
	struct named *n = calloc(1, sizeof(*n));

	if (n == NULL)
		return NULL;
	n->name = strdup(name);
	n->blocks = blocks_new(s->workers, block, &n->memory);
	if (n->name == NULL || n->blocks == NULL) {
		free(n->memory);
		free(n->name);
		free(n);
		return NULL;
	}
	n->magic = NAMED_MAGIC;
	n->stats = s;
	list_push_back(list, &n->link);
	return n;
}

static struct named *named_get(struct stats *s, struct list *list, const char *name, size_t block)
{
	struct named *n;

	CHECK_MAGIC(s, STATS_MAGIC);
	pthread_mutex_lock(&s->lock);
	n = named_find(list, name);
	if (n == NULL)
		n = named_new(s, list, name, block);
	if (n != NULL)
		n->refs++;
	pthread_mutex_unlock(&s->lock);
	return n;
}

struct route_stats *stats_route_get(struct stats *s, const char *name)
{
	return (struct route_stats *)named_get(s, &s->routes, name, sizeof(struct route_worker));
}

void stats_route_put(struct stats *s, struct route_stats *r)
{
	if (r == NULL)
		return;
	CHECK_MAGIC(&r->named, NAMED_MAGIC);
	pthread_mutex_lock(&s->lock);
	if (--r->named.refs == 0)
		route_free(r);
	pthread_mutex_unlock(&s->lock);
}

struct listener_stats *stats_listener_get(struct stats *s, const char *addr_text)
{
	return (struct listener_stats *)named_get(s, &s->listeners, addr_text,
						  sizeof(struct listener_worker));
}

void stats_listener_put(struct stats *s, struct listener_stats *l)
{
	if (l == NULL)
		return;
	CHECK_MAGIC(&l->named, NAMED_MAGIC);
	pthread_mutex_lock(&s->lock);
	if (--l->named.refs == 0)
		named_free(&l->named);
	pthread_mutex_unlock(&s->lock);
}

/*---------------------------------------------------------------- worker side */

static uint32_t code_key(unsigned method, unsigned status)
{
	return 1 + (uint32_t)method * 1000 + status;
}

/* The slot of a key, or the free one where it belongs; NULL: neither within reach. */
static const struct code_slot *code_find(const struct route_worker *b, uint32_t key)
{
	unsigned at = (key * 2654435769u) >> 26;

	for (unsigned i = 0; i < PROBES; i++, at = (at + 1) % CODE_SLOTS) {
		uint32_t there = atomic_load_explicit(&b->code[at].key, memory_order_relaxed);

		if (there == key || there == 0)
			return &b->code[at];
	}
	return NULL;
}

static void count_code(struct route_worker *b, unsigned method, unsigned status)
{
	uint32_t key = code_key(method, status);
	struct code_slot *slot =
	    status < STATUS_OTHER ? (struct code_slot *)code_find(b, key) : NULL;

	if (slot == NULL) {
		stat_add(&b->codes_other, 1);
		return;
	}
	stat_add(&slot->n, 1);
	atomic_store_explicit(&slot->key, key, memory_order_relaxed);
}

/* As code_find. */
void stats_again(struct route_stats *r, unsigned w, enum again_label label)
{
	if (label != AGAIN_NONE)
		stat_add(&route_block(r, w)->again[label], 1);
}

static const struct rejection_slot *rejection_find(const struct route_worker *b, const char *policy,
						   unsigned reason)
{
	unsigned at = (hash_name(policy) + reason) % REJECTION_SLOTS;

	for (unsigned i = 0; i < PROBES; i++, at = (at + 1) % REJECTION_SLOTS) {
		const struct rejection_slot *slot = &b->rejection[at];
		const char *there = atomic_load_explicit(&slot->policy, memory_order_acquire);

		if (there == NULL || (slot->reason == reason && strcmp(there, policy) == 0))
			return slot;
	}
	return NULL;
}

static void count_rejection(struct route_worker *b, const char *policy, const struct reason *why)
{
	struct rejection_slot *slot =
	    (struct rejection_slot *)rejection_find(b, policy, why->index);

	if (slot != NULL && atomic_load_explicit(&slot->policy, memory_order_relaxed) == NULL) {
		const char *copy = strdup(policy);

		slot->reason = why->index;
		atomic_store_explicit(&slot->policy, copy, memory_order_release);
		if (copy == NULL)
			slot = NULL;
	}
	stat_add(slot != NULL ? &slot->n : &b->rejections_other, 1);
}

bool call_record_is_refusal(const struct call_record *r)
{
	unsigned flags = r->why->flags;

	if (r->denied || r->why == reason_dropped)
		return true;
	return (flags & R_LOCAL) && !(flags & R_FAILURE) &&
	       ((flags & (R_SHED | R_CLOSE)) || r->why->status < 500);
}

void stats_call_begin(struct route_stats *r, unsigned w)
{
	stat_add(&route_block(r, w)->counter[ROUTE_IN_FLIGHT], 1);
}

static uint64_t between(uint64_t from, uint64_t to)
{
	return to > from ? to - from : 0;
}

void stats_call_end(struct route_stats *rs, unsigned w, const struct call_record *r)
{
	struct route_worker *b = route_block(rs, w);

	stat_sub(&b->counter[ROUTE_IN_FLIGHT], 1);
	stat_add(&b->counter[ROUTE_BYTES_IN], r->bytes_in);
	stat_add(&b->counter[ROUTE_BYTES_OUT], r->bytes_out);
	stat_hist_add(&b->duration, between(r->start_ns, r->end_ns));
	if (r->head_sent_ns != 0)
		stat_hist_add(&b->start, between(r->start_ns, r->head_sent_ns));
	count_code(b, r->req == NULL ? METHOD_OTHER : r->req->method_id, r->status);
	if (r->grpc)
		stat_add(&b->grpc[r->grpc_said && r->grpc_code < GRPC_CODES ? r->grpc_code
									    : GRPC_CODES],
			 1);
	if (r->overhead_ns != UINT64_MAX)
		stat_hist_add(&rs->named.stats->worker[w].overhead, r->overhead_ns);
	if (r->why == reason_client_abort)
		stat_add(&b->counter[ROUTE_ABORTS], 1);
	if (call_record_is_refusal(r))
		count_rejection(b, r->denied && r->limit.policy != NULL ? r->limit.policy : "",
				r->why);
}

void stats_conn_open(struct listener_stats *l, unsigned w)
{
	stat_add(&listener_block(l, w)->active, 1);
	stat_add(&listener_block(l, w)->total, 1);
}

void stats_conn_close(struct listener_stats *l, unsigned w)
{
	stat_sub(&listener_block(l, w)->active, 1);
}

void stats_conn_refused(struct listener_stats *l, unsigned w, const struct reason *why)
{
	stat_add(&listener_block(l, w)->refused[why->index], 1);
}

void stats_accept_paused(struct listener_stats *l, unsigned w)
{
	stat_add(&listener_block(l, w)->pauses, 1);
}

void stats_conn_flooded(struct listener_stats *l, unsigned w, enum h2_flood kind)
{
	stat_add(&listener_block(l, w)->flooded[kind], 1);
}

const char *const handshake_end_names[HANDSHAKE_ENDS] = {
	[HANDSHAKE_FULL] = "full",
	[HANDSHAKE_RESUMED] = "resumed",
	[HANDSHAKE_FAILED] = "failed",
	[HANDSHAKE_TIMEOUT] = "timeout",
};

void stats_handshake_begin(struct listener_stats *l, unsigned w)
{
	stat_add(&listener_block(l, w)->handshaking, 1);
}

void stats_handshake_end(struct listener_stats *l, unsigned w, enum handshake_end end)
{
	stat_sub(&listener_block(l, w)->handshaking, 1);
	stat_add(&listener_block(l, w)->handshakes[end], 1);
}

void stats_loop_lag(struct stats *s, unsigned w, uint64_t ns)
{
	stat_hist_add(&s->worker[w].lag, ns);
}

void stats_auth(struct stats *s, unsigned w, enum auth_method m, enum auth_outcome outcome)
{
	stat_add(&s->worker[w].auth[m][outcome], 1);
}

void stats_auth_cached(struct stats *s, unsigned w, bool hit)
{
	stat_add(&s->worker[w].auth_cached[hit], 1);
}

/* As code_find. */
static const struct upstream_slot *upstream_find(const struct stats_worker *b, const char *name)
{
	unsigned at = hash_name(name) % UPSTREAM_SLOTS;

	for (unsigned i = 0; i < PROBES; i++, at = (at + 1) % UPSTREAM_SLOTS) {
		const struct upstream_slot *slot = &b->upstream[at];
		const char *there = atomic_load_explicit(&slot->name, memory_order_acquire);

		if (there == NULL || strcmp(there, name) == 0)
			return slot;
	}
	return NULL;
}

static bool upstream_fill(struct upstream_slot *slot, const char *name)
{
	const char *copy = strdup(name);

	slot->attempts = calloc(1, sizeof(*slot->attempts));
	if (copy == NULL || slot->attempts == NULL) {
		free((void *)(uintptr_t)copy);
		free(slot->attempts);
		slot->attempts = NULL;
		return false;
	}
	atomic_store_explicit(&slot->name, copy, memory_order_release);
	return true;
}

void stats_attempt(struct stats *s, unsigned w, const char *upstream, uint64_t ns)
{
	struct stats_worker *b = &s->worker[w];
	struct upstream_slot *slot = (struct upstream_slot *)upstream_find(b, upstream);

	if (slot == NULL) {
		slot = &b->upstream[UPSTREAM_SLOTS];
		upstream = "_OTHER";
	}
	if (slot->attempts != NULL || upstream_fill(slot, upstream))
		stat_hist_add(slot->attempts, ns);
}

/*---------------------------------------------------------------- reading */

void stats_overhead(const struct stats *s, struct stat_sum *sum)
{
	*sum = (struct stat_sum){ 0 };
	for (unsigned w = 0; w < s->workers; w++)
		stat_sum_add(sum, &s->worker[w].overhead);
}

void stats_lag(const struct stats *s, struct stat_sum *sum)
{
	*sum = (struct stat_sum){ 0 };
	for (unsigned w = 0; w < s->workers; w++)
		stat_sum_add(sum, &s->worker[w].lag);
}

uint64_t stats_auth_read(const struct stats *s, enum auth_method m, enum auth_outcome outcome)
{
	uint64_t n = 0;

	for (unsigned w = 0; w < s->workers; w++)
		n += stat_read(&s->worker[w].auth[m][outcome]);
	return n;
}

uint64_t stats_auth_cached_read(const struct stats *s, bool hit)
{
	uint64_t n = 0;

	for (unsigned w = 0; w < s->workers; w++)
		n += stat_read(&s->worker[w].auth_cached[hit]);
	return n;
}

void stats_each_route(struct stats *s, void (*visit)(void *, const struct route_stats *), void *arg)
{
	pthread_mutex_lock(&s->lock);
	LIST_EACH (n, &s->routes) {
		visit(arg, LIST_ENTRY(n, struct route_stats, named.link));
	}
	pthread_mutex_unlock(&s->lock);
}

void stats_each_listener(struct stats *s, void (*visit)(void *, const struct listener_stats *),
			 void *arg)
{
	pthread_mutex_lock(&s->lock);
	LIST_EACH (n, &s->listeners) {
		visit(arg, LIST_ENTRY(n, struct listener_stats, named.link));
	}
	pthread_mutex_unlock(&s->lock);
}

/* What worker w has of this upstream, _OTHER included; NULL: nothing. */
static const struct stat_hist *upstream_hist(const struct stats *s, unsigned w, const char *name)
{
	const struct upstream_slot *other = &s->worker[w].upstream[UPSTREAM_SLOTS];
	const struct upstream_slot *slot =
	    strcmp(name, "_OTHER") == 0 ? other : upstream_find(&s->worker[w], name);

	const char *there =
	    slot == NULL ? NULL : atomic_load_explicit(&slot->name, memory_order_acquire);

	/* one that was free a moment ago may be another's by now */
	return there == NULL || strcmp(there, name) != 0 ? NULL : slot->attempts;
}

static bool upstream_seen_before(const struct stats *s, unsigned w, const char *name)
{
	for (unsigned i = 0; i < w; i++)
		if (upstream_hist(s, i, name) != NULL)
			return true;
	return false;
}

void stats_each_upstream(const struct stats *s,
			 void (*visit)(void *, const char *, const struct stat_sum *), void *arg)
{
	for (unsigned w = 0; w < s->workers; w++) {
		for (unsigned i = 0; i <= UPSTREAM_SLOTS; i++) {
			const char *name = atomic_load_explicit(&s->worker[w].upstream[i].name,
								memory_order_acquire);
			struct stat_sum sum = { 0 };

			if (name == NULL || upstream_seen_before(s, w, name))
				continue;
			for (unsigned k = w; k < s->workers; k++)
				if (upstream_hist(s, k, name) != NULL)
					stat_sum_add(&sum, upstream_hist(s, k, name));
			visit(arg, name, &sum);
		}
	}
}

const char *route_stats_name(const struct route_stats *r)
{
	return r->named.name;
}

uint64_t route_stats_read(const struct route_stats *r, enum route_counter which)
{
	uint64_t n = 0;

	for (unsigned w = 0; w < r->named.stats->workers; w++)
		n += stat_read(&route_block(r, w)->counter[which]);
	return n;
}

void route_stats_duration(const struct route_stats *r, struct stat_sum *sum)
{
	*sum = (struct stat_sum){ 0 };
	for (unsigned w = 0; w < r->named.stats->workers; w++)
		stat_sum_add(sum, &route_block(r, w)->duration);
}

void route_stats_start(const struct route_stats *r, struct stat_sum *sum)
{
	*sum = (struct stat_sum){ 0 };
	for (unsigned w = 0; w < r->named.stats->workers; w++)
		stat_sum_add(sum, &route_block(r, w)->start);
}

/* UINT64_MAX: the worker has no such slot. */
static uint64_t code_read(const struct route_worker *b, uint32_t key)
{
	const struct code_slot *slot = code_find(b, key);

	if (slot == NULL || atomic_load_explicit(&slot->key, memory_order_relaxed) != key)
		return UINT64_MAX;
	return stat_read(&slot->n);
}

/* Sums a key over the workers from w on; false when an earlier one has it and it was visited there.
 */
static bool code_sum(const struct route_stats *r, unsigned w, uint32_t key, uint64_t *sum)
{
	*sum = 0;
	for (unsigned i = 0; i < r->named.stats->workers; i++) {
		uint64_t n = code_read(route_block(r, i), key);

		if (n == UINT64_MAX)
			continue;
		if (i < w)
			return false;
		*sum += n;
	}
	return true;
}

void route_stats_requests(const struct route_stats *r,
			  void (*visit)(void *, enum method_id, unsigned, uint64_t), void *arg)
{
	uint64_t other = 0, n;

	for (unsigned w = 0; w < r->named.stats->workers; w++) {
		const struct route_worker *b = route_block(r, w);

		other += stat_read(&b->codes_other);
		for (unsigned i = 0; i < CODE_SLOTS; i++) {
			uint32_t key = atomic_load_explicit(&b->code[i].key, memory_order_relaxed);

			if (key != 0 && code_sum(r, w, key, &n))
				visit(arg, (enum method_id)((key - 1) / 1000), (key - 1) % 1000, n);
		}
	}
	if (other > 0)
		visit(arg, METHOD_OTHER, STATUS_OTHER, other);
}

static uint64_t rejection_read(const struct route_worker *b, const char *policy, unsigned reason)
{
	const struct rejection_slot *slot = rejection_find(b, policy, reason);
	const char *there =
	    slot == NULL ? NULL : atomic_load_explicit(&slot->policy, memory_order_acquire);

	/* one that was free a moment ago may be another's by now */
	if (there == NULL || slot->reason != reason || strcmp(there, policy) != 0)
		return UINT64_MAX;
	return stat_read(&slot->n);
}

/* As code_sum. */
static bool rejection_sum(const struct route_stats *r, unsigned w, const char *policy,
			  unsigned reason, uint64_t *sum)
{
	*sum = 0;
	for (unsigned i = 0; i < r->named.stats->workers; i++) {
		uint64_t n = rejection_read(route_block(r, i), policy, reason);

		if (n == UINT64_MAX)
			continue;
		if (i < w)
			return false;
		*sum += n;
	}
	return true;
}

void route_stats_rejections(const struct route_stats *r,
			    void (*visit)(void *, const char *, const struct reason *, uint64_t),
			    void *arg)
{
	uint64_t other = 0, n;

	for (unsigned w = 0; w < r->named.stats->workers; w++) {
		const struct route_worker *b = route_block(r, w);

		other += stat_read(&b->rejections_other);
		for (unsigned i = 0; i < REJECTION_SLOTS; i++) {
			const struct rejection_slot *slot = &b->rejection[i];
			const char *policy =
			    atomic_load_explicit(&slot->policy, memory_order_acquire);

			if (policy != NULL && rejection_sum(r, w, policy, slot->reason, &n))
				visit(arg, policy, &reason_table[slot->reason], n);
		}
	}
	if (other > 0)
		visit(arg, "_OTHER", NULL, other);
}

uint64_t route_stats_again(const struct route_stats *r, enum again_label label)
{
	uint64_t sum = 0;

	for (unsigned w = 0; w < r->named.stats->workers; w++)
		sum += stat_read(&route_block(r, w)->again[label]);
	return sum;
}

uint64_t route_stats_grpc(const struct route_stats *r, unsigned code)
{
	uint64_t sum = 0;

	CHECK(code <= GRPC_CODES);
	for (unsigned w = 0; w < r->named.stats->workers; w++)
		sum += stat_read(&route_block(r, w)->grpc[code]);
	return sum;
}

uint64_t route_stats_request(const struct route_stats *r, enum method_id method, unsigned status)
{
	uint64_t n;

	return code_sum(r, 0, code_key(method, status), &n) ? n : 0;
}

uint64_t route_stats_rejection(const struct route_stats *r, const char *policy,
			       const struct reason *why)
{
	uint64_t n;

	return rejection_sum(r, 0, policy, why->index, &n) ? n : 0;
}

const char *listener_stats_name(const struct listener_stats *l)
{
	return l->named.name;
}

uint64_t listener_stats_active(const struct listener_stats *l)
{
	uint64_t n = 0;

	for (unsigned w = 0; w < l->named.stats->workers; w++)
		n += stat_read(&listener_block(l, w)->active);
	return n;
}

uint64_t listener_stats_total(const struct listener_stats *l)
{
	uint64_t n = 0;

	for (unsigned w = 0; w < l->named.stats->workers; w++)
		n += stat_read(&listener_block(l, w)->total);
	return n;
}

uint64_t listener_stats_pauses(const struct listener_stats *l)
{
	uint64_t n = 0;

	for (unsigned w = 0; w < l->named.stats->workers; w++)
		n += stat_read(&listener_block(l, w)->pauses);
	return n;
}

uint64_t listener_stats_refused(const struct listener_stats *l, const struct reason *why)
{
	uint64_t n = 0;

	for (unsigned w = 0; w < l->named.stats->workers; w++)
		n += stat_read(&listener_block(l, w)->refused[why->index]);
	return n;
}

uint64_t listener_stats_flooded(const struct listener_stats *l, enum h2_flood kind)
{
	uint64_t n = 0;

	for (unsigned w = 0; w < l->named.stats->workers; w++)
		n += stat_read(&listener_block(l, w)->flooded[kind]);
	return n;
}

uint64_t listener_stats_handshaking(const struct listener_stats *l)
{
	uint64_t n = 0;

	for (unsigned w = 0; w < l->named.stats->workers; w++)
		n += stat_read(&listener_block(l, w)->handshaking);
	return n;
}

uint64_t listener_stats_handshakes(const struct listener_stats *l, enum handshake_end end)
{
	uint64_t n = 0;

	for (unsigned w = 0; w < l->named.stats->workers; w++)
		n += stat_read(&listener_block(l, w)->handshakes[end]);
	return n;
}
