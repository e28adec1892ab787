/* breaker.c - the filter behind `breaker`.  What a breaker does is in breaker_state.c; here is what
 * counts as a failure, who shares a breaker, and what is told of it.
 *
 * A breaker belongs to {policy, upstream, endpoint} and lives as long as some policy may send calls
 * there; all workers share it.  While it is closed, whether a call may go is one load of `gate`;
 * all else is done under its lock, for some tens of ns.
 *
 *  R1  The rule in force is that of the newest policy that has used the breaker.
 *  R2  gate is written under the lock, at its end. */
#include "filters/breaker.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "filters/breaker_conf.h"
#include "filters/state.h"

enum {
	STATUS_SWITCHING = 101,
	STATES = 3,      /* that are told of: closed, open, half_open */
	CHANGES_MAX = 3, /* of one visit */
	INDEX_MIN = 8,
};

/*------------------------------------------------------------------ shared */

/* gate: the generation, above these. */
enum gate_flag {
	GATE_LOCKED = 1 << 0, /* not simply closed: ask under the lock */
	GATE_COUNTS = 1 << 1, /* successes count, too */
	GATE_SHIFT = 2,
};

struct breaker {
	_Atomic uint64_t gate;
	pthread_mutex_t lock; /* of the four below */
	struct breaker_state state;
	struct breaker_rule rule;
	_Atomic uint64_t serial; /* of the rule's policy; 0: there was none yet */
	uint64_t serials;        /* given so far; this and those below are the control thread's */
	unsigned refs;
	struct list link; /* breaker_group.breakers */
	char endpoint[];  /* "": the upstream */
};

/* What all breakers of a policy and an upstream share: found again across reloads (state.h). */
struct breaker_group {
	struct list breakers;
	_Atomic uint64_t transitions[STATES];
};

/* One policy's hold on a breaker. */
struct watch {
	struct breaker *breaker;
	struct breaker_group *group;
	const char *policy, *upstream, *endpoint; /* endpoint NULL: all of them */
	const struct breaker_rule *rule;
	uint64_t serial;
	struct list link; /* guard.watches */
};

struct index_entry {
	uint32_t id; /* of an endpoint; 0: none */
	struct watch *watch;
};

/* filter->state; does not change once calls come. */
struct guard {
	struct table_registry *registry;
	struct breaker_rule rule;
	uint64_t over_ns, first_byte_ns;
	struct failure_set failures;
	struct list watches;
	struct index_entry *index;       /* by id, open addressing */
	uint32_t index_size, index_used; /* size: a power of two */
};

/* Of one call.  Two tries at most are under way at once, and their numbers follow each other. */
struct
try {
	const struct watch *watch; /* NULL: none */
	struct breaker_ticket ticket;
	uint64_t start_ns;
};

struct tries {
	struct try try[2];
};

static const enum breaker_mode shown_mode[BREAKER_MODES] = {
	[BREAKER_CLOSED] = BREAKER_CLOSED,        [BREAKER_OPEN] = BREAKER_OPEN,
	[BREAKER_HALF_OPEN] = BREAKER_HALF_OPEN,  [BREAKER_FORCED_OPEN] = BREAKER_OPEN,
	[BREAKER_FORCED_CLOSED] = BREAKER_CLOSED,
};
static const char *const state_names[STATES] = {
	[BREAKER_CLOSED] = "closed", [BREAKER_OPEN] = "open", [BREAKER_HALF_OPEN] = "half_open"
};
static const char *const mode_names[BREAKER_MODES] = {
	[BREAKER_CLOSED] = "closed",
	[BREAKER_OPEN] = "open",
	[BREAKER_HALF_OPEN] = "half_open",
	[BREAKER_FORCED_OPEN] = "forced open",
	[BREAKER_FORCED_CLOSED] = "forced closed",
};

static uint64_t serial_of(const struct breaker *b)
{
	return atomic_load_explicit(&b->serial, memory_order_relaxed);
}

static uint64_t gate_of(const struct breaker *b)
{
	const struct breaker_rule *r = &b->rule;
	uint64_t gate = (uint64_t)b->state.generation << GATE_SHIFT;

	if (b->state.mode != BREAKER_CLOSED)
		gate |= GATE_LOCKED;
	if (serial_of(b) == 0 || b->state.consecutive > 0 || r->share_ppm != 0 || r->slow_ppm != 0)
		gate |= GATE_COUNTS;
	return gate;
}

static struct breaker *breaker_new(struct breaker_group *g, const char *endpoint)
{
	size_t n = strlen(endpoint) + 1;
	struct breaker *b = calloc(1, sizeof(*b) + n);

	if (b == NULL)
		return NULL;
	if (pthread_mutex_init(&b->lock, NULL) != 0) {
		free(b);
		return NULL;
	}
	memcpy(b->endpoint, endpoint, n);
	breaker_state_init(&b->state);
	atomic_init(&b->gate, gate_of(b));
	list_push_back(&g->breakers, &b->link);
	return b;
}

static struct breaker *breaker_get(struct breaker_group *g, const char *endpoint)
{
	struct breaker *b = NULL;

	LIST_EACH (n, &g->breakers) {
		struct breaker *one = LIST_ENTRY(n, struct breaker, link);

		if (strcmp(one->endpoint, endpoint) == 0)
			b = one;
	}
	if (b == NULL)
		b = breaker_new(g, endpoint);
	if (b != NULL)
		b->refs++;
	return b;
}

static void breaker_put(struct breaker *b)
{
	if (--b->refs > 0)
		return;
	list_remove(&b->link);
	pthread_mutex_destroy(&b->lock);
	free(b);
}

static void *make_group(void)
{
	struct breaker_group *g = calloc(1, sizeof(*g));

	if (g != NULL)
		list_init(&g->breakers);
	return g;
}

static void destroy_group(void *object)
{
	struct breaker_group *g = object;

	CHECK(list_empty(&g->breakers));
	free(g);
}

static const struct state_kind group_kind = { .make = make_group, .destroy = destroy_group };

/*------------------------------------------------------------------ visits */

/* A stay under a breaker's lock, and what has changed in it. */
struct visit {
	const struct watch *watch;
	struct breaker *breaker;
	uint64_t now_ns;
	unsigned n;
	struct breaker_change change[CHANGES_MAX];
};

static struct breaker_change *next_change(struct visit *v)
{
	CHECK(v->n < CHANGES_MAX);
	return &v->change[v->n];
}

static void visit_begin(struct visit *v, const struct watch *w, uint64_t now_ns)
{
	struct breaker *b = w->breaker;

	v->watch = w;
	v->breaker = b;
	v->now_ns = now_ns;
	v->n = 0;
	pthread_mutex_lock(&b->lock);
	v->n += breaker_pass_time(&b->state, now_ns, next_change(v));
	if (w->serial <= serial_of(b))
		return;
	b->rule = *w->rule;
	atomic_store_explicit(&b->serial, w->serial, memory_order_relaxed);
	v->n += breaker_adopt(&b->state, &b->rule, now_ns, next_change(v));
}

static void cause_text(const struct breaker_change *c, char out[80])
{
	static const char *const text[BREAKER_CAUSES] = {
		[BREAKER_BY_PROBE] = "a probe failed or was slow",
		[BREAKER_BY_PROBES] = "its probes were answered",
		[BREAKER_BY_TIME] = "its time is over",
		[BREAKER_BY_ORDER] = "by order",
		[BREAKER_BY_ORDERS_END] = "the order's time is over",
	};

	if (c->cause == BREAKER_BY_ROW)
		snprintf(out, 80, "%u failures in a row", c->failures);
	else if (c->cause == BREAKER_BY_SHARE)
		snprintf(out, 80, "%u of %u tries failed", c->failures, c->calls);
	else if (c->cause == BREAKER_BY_SLOW)
		snprintf(out, 80, "%u of %u tries were slow", c->slow, c->calls);
	else
		snprintf(out, 80, "%s", text[c->cause]);
}

static void tell(const struct watch *w, const struct breaker_change *c)
{
	const char *endpoint = w->endpoint == NULL ? "" : w->endpoint;
	char why[80], length[40] = "";

	cause_text(c, why);
	if (c->for_ns != 0)
		snprintf(length, sizeof(length), " for %.3f s", (double)c->for_ns / CLOCK_S);
	if (shown_mode[c->to] == BREAKER_OPEN)
		log_warn("breaker %s: upstream %s%s%s: %s -> %s%s: %s", w->policy, w->upstream,
			 w->endpoint == NULL ? "" : ", endpoint ", endpoint, mode_names[c->from],
			 mode_names[c->to], length, why);
	else
		log_info("breaker %s: upstream %s%s%s: %s -> %s%s: %s", w->policy, w->upstream,
			 w->endpoint == NULL ? "" : ", endpoint ", endpoint, mode_names[c->from],
			 mode_names[c->to], length, why);
}

static void visit_end(struct visit *v)
{
	struct breaker *b = v->breaker;

	atomic_store_explicit(&b->gate, gate_of(b), memory_order_release);
	pthread_mutex_unlock(&b->lock);
	for (unsigned i = 0; i < v->n; i++) {
		const struct breaker_change *c = &v->change[i];

		if (shown_mode[c->from] != shown_mode[c->to])
			atomic_fetch_add(&v->watch->group->transitions[shown_mode[c->to]], 1);
		tell(v->watch, c);
	}
}

/*---------------------------------------------------------- open and close */

static bool breaker_open(struct filter *f, struct table_registry *registry, struct diags *diags,
			 struct place at)
{
	const struct breaker_conf *c = f->conf;
	struct guard *g = calloc(1, sizeof(*g));

	if (g == NULL) {
		diag_error(diags, at, "E099", "out of memory for the policy `%s`", f->name);
		return false;
	}
	g->registry = registry;
	g->rule = (struct breaker_rule){
		.consecutive = c->limit.consecutive,
		.share_ppm = c->limit.share_ppm,
		.slow_ppm = c->slow.share_ppm,
		.min_requests = c->min_requests,
		.probes = c->probes,
		.window_ns = c->window_ns,
		.open_for_ns = c->open_for_ns,
		.max_open_ns = c->max_open_ns,
	};
	g->over_ns = c->slow.over_ns;
	g->first_byte_ns = c->slow.first_byte_ns;
	failure_set_init(&g->failures, &c->failures);
	list_init(&g->watches);
	f->state = g;
	return true;
}

static void watch_free(struct guard *g, struct watch *w)
{
	list_remove(&w->link);
	if (w->breaker != NULL)
		breaker_put(w->breaker);
	state_put(g->registry, w->group);
	free(w);
}

static void breaker_close(struct filter *f)
{
	struct guard *g = f->state;

	LIST_EACH (n, &g->watches)
		watch_free(g, LIST_ENTRY(n, struct watch, link));
	free(g->index);
	free(g);
	f->state = NULL;
}

/*------------------------------------------------------------------- index */

static uint32_t place_in(const struct index_entry *index, uint32_t size, uint32_t id)
{
	uint32_t i = id * UINT32_C(2654435769) & (size - 1);

	while (index[i].id != 0 && index[i].id != id)
		i = (i + 1) & (size - 1);
	return i;
}

/* At most half of it is used. */
static bool index_grow(struct guard *g)
{
	uint32_t size = g->index_size == 0 ? INDEX_MIN : g->index_size * 2;
	struct index_entry *index;

	if (g->index_used * 2 < g->index_size)
		return true;
	index = calloc(size, sizeof(*index));
	if (index == NULL)
		return false;
	for (uint32_t i = 0; i < g->index_size; i++)
		if (g->index[i].id != 0)
			index[place_in(index, size, g->index[i].id)] = g->index[i];
	free(g->index);
	g->index = index;
	g->index_size = size;
	return true;
}

static const struct watch *find(const struct guard *g, uint32_t id)
{
	return g->index_size == 0 ? NULL : g->index[place_in(g->index, g->index_size, id)].watch;
}

static struct watch *watch_find(struct guard *g, const char *upstream, const char *endpoint)
{
	LIST_EACH (n, &g->watches) {
		struct watch *w = LIST_ENTRY(n, struct watch, link);

		if (strcmp(w->upstream, upstream) == 0 &&
		    strcmp(w->breaker->endpoint, endpoint) == 0)
			return w;
	}
	return NULL;
}

static struct watch *watch_new(struct filter *f, const char *upstream, const char *endpoint)
{
	struct guard *g = f->state;
	struct table_id id = {
		.policy = f->name, .kind = f->ops->name, .key = upstream, .store = "local"
	};
	struct watch *w = calloc(1, sizeof(*w));

	if (w == NULL)
		return NULL;
	list_push_back(&g->watches, &w->link);
	w->group = state_get(g->registry, &id, &group_kind);
	w->breaker = w->group == NULL ? NULL : breaker_get(w->group, endpoint);
	if (w->breaker == NULL) {
		watch_free(g, w);
		return NULL;
	}
	w->policy = f->name;
	w->upstream = upstream;
	w->endpoint = endpoint[0] == '\0' ? NULL : endpoint;
	w->rule = &g->rule;
	w->serial = ++w->breaker->serials;
	return w;
}

static bool breaker_target(struct filter *f, const struct filter_target *t)
{
	const struct breaker_conf *c = f->conf;
	struct guard *g = f->state;
	const char *endpoint = c->per == PER_ENDPOINT ? t->endpoint : "";
	struct index_entry *e;
	struct watch *w;

	CHECK(t->id != 0);
	if (!index_grow(g))
		return false;
	e = &g->index[place_in(g->index, g->index_size, t->id)];
	if (e->id != 0)
		return true;
	w = watch_find(g, t->upstream, endpoint);
	if (w == NULL)
		w = watch_new(f, t->upstream, endpoint);
	if (w == NULL)
		return false;
	*e = (struct index_entry){ .id = t->id, .watch = w };
	g->index_used++;
	return true;
}

/*--------------------------------------------------------------- decisions */

static uint64_t ms_up(uint64_t ns)
{
	return ns / CLOCK_MS + (ns % CLOCK_MS != 0);
}

static struct try *try_of(void *mem, const struct attempt *a)
{
	return &((struct tries *)mem)->try[a->number & 1];
}

/* 0: let go. */
static uint64_t take(const struct watch *w, uint64_t now_ns, bool beside,
		     struct breaker_ticket *ticket)
{
	uint64_t gate = atomic_load_explicit(&w->breaker->gate, memory_order_acquire), wait_ns;
	struct visit v;

	if (!(gate & GATE_LOCKED)) {
		*ticket = (struct breaker_ticket){ .generation = (uint32_t)(gate >> GATE_SHIFT),
						   .kind = BREAKER_CALL };
		return 0;
	}
	visit_begin(&v, w, now_ns);
	/* a probe is not for calls that are on their way already */
	if (beside && shown_mode[v.breaker->state.mode] != BREAKER_CLOSED)
		wait_ns = CLOCK_MS;
	else
		wait_ns = breaker_take(&v.breaker->state, &v.breaker->rule, now_ns, ticket);
	visit_end(&v);
	return wait_ns;
}

static struct verdict breaker_attempt(const struct filter *f, struct call *call, void *mem,
				      struct attempt *a)
{
	const struct watch *w = find(f->state, a->endpoint);
	struct try *t = try_of(mem, a);
	uint64_t wait_ns;

	if (w == NULL)
		return verdict_skip();
	wait_ns = take(w, call->env->now_ns, a->beside, &t->ticket);
	if (wait_ns > 0) {
		call->out.limit =
		    (struct limit_info){ .policy = f->name, .reset_ms = ms_up(wait_ns) };
		return verdict_deny(reason_breaker_open, ms_up(wait_ns));
	}
	t->watch = w;
	t->start_ns = a->start_ns;
	return verdict_pass();
}

static uint64_t breaker_shut_for(const struct filter *f, const struct call *call, uint32_t endpoint)
{
	const struct watch *w = find(f->state, endpoint);
	uint64_t now_ns = call->env->now_ns, ns;
	struct breaker *b;

	if (w == NULL)
		return 0;
	b = w->breaker;
	if (!(atomic_load_explicit(&b->gate, memory_order_acquire) & GATE_LOCKED))
		return 0;
	pthread_mutex_lock(&b->lock);
	ns = breaker_shut(&b->state, &b->rule, now_ns);
	pthread_mutex_unlock(&b->lock);
	return ns;
}

/* Of a try that broke, by the row of why. */
static uint8_t classes_of(const struct attempt *a)
{
	const struct reason *why = a->why;
	/* the call's time is up: the upstream's doing when it had all of the request, and all the
	 * time there was */
	bool late = why == reason_total_timeout && a->asked && a->head_ns == 0 && a->number == 1;
	uint8_t classes = 0;

	if (why == reason_upstream_stale || !(late || (why->flags & R_FAILURE)))
		return 0;
	if (why->flags & R_UNSENT)
		classes |= FAILURE_CONNECT;
	if (why->status == 504)
		classes |= FAILURE_TIMEOUT;
	return classes == 0 ? FAILURE_RESET : classes;
}

static enum breaker_result result_of(const struct guard *g, const struct attempt *a)
{
	uint8_t classes = classes_of(a);

	if (a->excused || (a->why != reason_ok && classes == 0))
		return BREAKER_NEITHER;
	if ((classes & g->failures.classes) || failure_set_has(&g->failures, a->status))
		return BREAKER_FAILURE;
	return a->why == reason_ok ? BREAKER_SUCCESS : BREAKER_NEITHER;
}

/* How long a body takes that comes or is taken slowly is the client's affair, and a tunnel lasts as
 * long as both sides like. */
static bool is_slow(const struct guard *g, const struct attempt *a, uint64_t now_ns)
{
	uint64_t first_ns = (a->head_ns != 0 ? a->head_ns : now_ns);

	if (a->asked_ns == 0) /* as slow as the client is */
		return false;
	return (g->first_byte_ns != 0 && first_ns > a->asked_ns + g->first_byte_ns) ||
	       (g->over_ns != 0 && a->status != STATUS_SWITCHING &&
		now_ns > a->asked_ns + a->held_ns + g->over_ns);
}

static void report(const struct watch *w, uint64_t now_ns, struct breaker_ticket ticket,
		   struct breaker_report *r)
{
	uint64_t gate = atomic_load_explicit(&w->breaker->gate, memory_order_acquire);
	struct visit v;

	if (gate == (uint64_t)ticket.generation << GATE_SHIFT && r->result != BREAKER_FAILURE &&
	    serial_of(w->breaker) >= w->serial)
		return; /* closed, nothing that a success would undo, and no newer rule (R1) */
	/* Fibonacci hashing of the time; the key keeps processes apart */
	r->chance = (uint32_t)((now_ns + hash_boot_key()->k0 + ticket.generation) *
				   UINT64_C(0x9e3779b97f4a7c15) >>
			       32);
	visit_begin(&v, w, now_ns);
	v.n +=
	    breaker_report(&v.breaker->state, &v.breaker->rule, now_ns, ticket, r, next_change(&v));
	visit_end(&v);
}

static void breaker_attempted(const struct filter *f, struct call *call, void *mem,
			      const struct attempt *a)
{
	const struct guard *g = f->state;
	struct try *t = try_of(mem, a);
	uint64_t now_ns = call->env->now_ns;
	struct breaker_report r = { .result = result_of(g, a) };

	CHECK(t->watch != NULL);
	r.slow = r.result != BREAKER_NEITHER && is_slow(g, a, now_ns);
	if (r.result == BREAKER_FAILURE)
		r.retry_after_ns = a->retry_after_ms * CLOCK_MS;
	report(t->watch, now_ns, t->ticket, &r);
	t->watch = NULL;
}

/* A probe whose answer is streamed for minutes has said enough when it begins. */
static void breaker_respond(const struct filter *f, struct call *call, void *mem, struct head *h)
{
	const struct guard *g = f->state;
	struct tries *tries = mem;
	struct try *t = &tries->try[tries->try[0].watch == NULL];
	uint64_t now_ns = call->env->now_ns, ns = now_ns - t->start_ns;
	struct visit v;

	if (t->watch == NULL || t->ticket.kind != BREAKER_PROBE ||
	    failure_set_has(&g->failures, call_judges(call, h)) || (g->over_ns != 0 && ns > g->over_ns) ||
	    (g->first_byte_ns != 0 && ns > g->first_byte_ns))
		return;
	visit_begin(&v, t->watch, now_ns);
	v.n += breaker_answered(&v.breaker->state, &v.breaker->rule, now_ns, &t->ticket,
				next_change(&v));
	visit_end(&v);
}

/*----------------------------------------------------------------- to look */

static bool is_forced(enum breaker_mode mode)
{
	return mode == BREAKER_FORCED_OPEN || mode == BREAKER_FORCED_CLOSED;
}

/* What it is at that time, even if nobody has asked it since it is. */
static struct breaker_view look(const struct watch *w, uint64_t now_ns)
{
	struct breaker *b = w->breaker;
	struct breaker_view v = { .upstream = w->upstream, .endpoint = w->endpoint };
	enum breaker_mode mode;
	uint64_t until_ns;

	pthread_mutex_lock(&b->lock);
	mode = b->state.mode;
	until_ns = b->state.until_ns;
	v.probes_out = b->state.probes_out;
	v.since_ns = b->state.changed_ns;
	v.in_a_row = b->state.consecutive;
	v.window = breaker_window(&b->state, now_ns);
	pthread_mutex_unlock(&b->lock);
	if (until_ns > now_ns) {
		v.left_ns = until_ns - now_ns;
	} else if (until_ns != 0) {
		mode = mode == BREAKER_FORCED_CLOSED ? BREAKER_CLOSED : BREAKER_HALF_OPEN;
		v.since_ns = until_ns;
	}
	v.forced = is_forced(mode);
	v.state = state_names[shown_mode[mode]];
	return v;
}

static bool is_first_of_group(const struct guard *g, const struct watch *w)
{
	LIST_EACH (n, &g->watches) {
		const struct watch *one = LIST_ENTRY(n, struct watch, link);

		if (one->group == w->group)
			return one == w;
	}
	return false;
}

static bool group_is_forced(const struct guard *g, const struct breaker_group *group)
{
	LIST_EACH (n, &g->watches) {
		const struct watch *w = LIST_ENTRY(n, struct watch, link);

		if (w->group == group && look(w, 0).forced)
			return true;
	}
	return false;
}

static void show_group(const struct guard *g, const struct watch *w, filter_emit *emit, void *ctx)
{
	struct filter_sample s = { .metric = SHOW_BREAKER_FORCED,
				   .upstream = w->upstream,
				   .value = group_is_forced(g, w->group) };

	emit(ctx, &s);
	s.metric = SHOW_BREAKER_TRANSITIONS;
	for (unsigned i = 0; i < STATES; i++) {
		s.state = state_names[i];
		s.value = atomic_load_explicit(&w->group->transitions[i], memory_order_relaxed);
		emit(ctx, &s);
	}
}

static void breaker_show(const struct filter *f, filter_emit *emit, void *ctx)
{
	const struct guard *g = f->state;

	LIST_EACH (n, &g->watches) {
		const struct watch *w = LIST_ENTRY(n, struct watch, link);
		struct breaker_view v = look(w, 0);
		struct filter_sample s = { .metric = SHOW_BREAKER_STATE,
					   .upstream = w->upstream,
					   .endpoint = w->endpoint };

		for (unsigned i = 0; i < STATES; i++) {
			s.state = state_names[i];
			s.value = v.state == state_names[i];
			emit(ctx, &s);
		}
		if (is_first_of_group(g, w))
			show_group(g, w, emit, ctx);
	}
}

void breaker_each(const struct filter *f, uint64_t now_ns,
		  void (*visit)(void *, const struct breaker_view *), void *ctx)
{
	const struct guard *g = f->state;

	LIST_EACH (n, &g->watches) {
		struct breaker_view v = look(LIST_ENTRY(n, struct watch, link), now_ns);

		visit(ctx, &v);
	}
}

unsigned breaker_obey(const struct filter *f, uint64_t now_ns, const struct breaker_order *o)
{
	const struct guard *g = f->state;
	uint64_t until_ns = o->for_ns == 0 ? 0 : now_ns + o->for_ns;
	unsigned n_obeyed = 0;

	LIST_EACH (n, &g->watches) {
		const struct watch *w = LIST_ENTRY(n, struct watch, link);
		struct visit v;

		if (!slice_is(o->upstream, w->upstream) ||
		    (o->endpoint.p != NULL &&
		     (w->endpoint == NULL || !slice_is(o->endpoint, w->endpoint))))
			continue;
		visit_begin(&v, w, now_ns);
		v.n += breaker_force(&v.breaker->state, now_ns, o->mode, until_ns, next_change(&v));
		visit_end(&v);
		n_obeyed++;
	}
	return n_obeyed;
}

const struct filter_ops breaker_ops = {
	.name = "breaker",
	.schema = &breaker_schema,
	.mem_size = sizeof(struct tries),
	.refusals = { REASON_breaker_open },
	.open = breaker_open,
	.close = breaker_close,
	.target = breaker_target,
	.attempt = breaker_attempt,
	.attempted = breaker_attempted,
	.shut = breaker_shut_for,
	.respond = breaker_respond,
	.show = breaker_show,
};
