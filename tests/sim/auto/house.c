/* house.c - the workers, their policy, the clock, and the turning: what is ready now is delivered
 * until nothing is, then time moves to whatever is next. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "auto.h"
#include "base/check.h"
#include "base/hash.h"
#include "base/log.h"
#include "io/pair.h"
#include "sim.h"

#define START_NS (1000 * CLOCK_S)
#define TICK_NS  (100 * CLOCK_MS)

static struct house *running;

/*---------------------------------------------------------------- in place of the system's */

uint64_t __wrap_clock_mono_ns(void);
uint64_t __wrap_clock_wall_ns(void);
const struct hash_key *__wrap_hash_boot_key(void);
void __wrap_log_at(enum log_level, const char *fmt, ...);

uint64_t __wrap_clock_mono_ns(void)
{
	return running != NULL ? running->now_ns : 1;
}

uint64_t __wrap_clock_wall_ns(void)
{
	return UINT64_C(1767225600) * CLOCK_S + __wrap_clock_mono_ns();
}

const struct hash_key *__wrap_hash_boot_key(void)
{
	static const struct hash_key key = { .k0 = 1, .k1 = 2 };

	return &key;
}

void __wrap_log_at(enum log_level level, const char *fmt, ...)
{
	(void)level, (void)fmt;
}

void *sim_alloc(size_t n)
{
	void *p = calloc(1, n);

	CHECK(p != NULL);
	return p;
}

void sim_fail(const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "sim_auto: at %.3f s: ",
		running != NULL ? (double)(running->now_ns - START_NS) / 1e9 : 0);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	_exit(1);
}

/*---------------------------------------------------------------- the policy */

static const char file[] = "version: 1\n"
			   "listen: 127.0.0.1:80\n"
			   "log: { access: none }\n"
			   "limits: { idle_timeout: 24h }\n"
			   "upstreams:\n"
			   "  app: { endpoints: \"10.9.0.1:8000\", keepalive: 10000 }\n"
			   "policies:\n"
			   "  gate: { concurrency: auto, max: %u }\n"
			   "routes:\n"
			   "  - { match: { path: /* }, to: app, use: [gate] }\n";

static struct policy *policy_load(struct house *h, const char *path)
{
	struct arena arena, diag_arena;
	struct diags diags;
	struct config *config;
	struct policy *p = NULL;
	struct buf out = { 0 };

	arena_init(&arena, NULL);
	arena_init(&diag_arena, NULL);
	diags_init(&diags, &diag_arena);
	config = config_load(path, &arena, &diags);
	if (config != NULL && diags.errors == 0)
		p = policy_open("sim", config, arena, &h->registries, &diags);
	if (p == NULL) {
		diags_print(&diags, DIAG_HUMAN, "sim", "", false, &out);
		sim_fail("the policy is refused: %.*s", (int)out.n, out.p);
	}
	arena_fini(&diag_arena);
	return p;
}

/* As a file that config_load can open. */
static struct policy *make_policy(struct house *h, unsigned max_limit)
{
	char path[64];
	int fd = memfd_create("sim", MFD_CLOEXEC);
	struct policy *p;

	CHECK(fd >= 0 && dprintf(fd, file, max_limit) > 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	p = policy_load(h, path);
	close(fd);
	p->generation = 1;
	p->holders = AUTO_WORKERS;
	atomic_fetch_add(&h->shared.policies, 1);
	return p;
}

static void on_released(void *reader, struct message *m)
{
	struct house *h = reader;

	free(LIST_ENTRY(m, struct policy_use, released));
	if (--h->policy->holders == 0)
		policy_close(h->policy, &h->registries);
}

static void show_limit(void *ctx, const struct filter_sample *s)
{
	if (s->metric == SHOW_CONCURRENCY_LIMIT)
		*(unsigned *)ctx = (unsigned)s->value;
}

unsigned house_limit(const struct house *h)
{
	const struct filter *f = h->policy->filter[0];
	unsigned limit = 0;

	f->ops->show(f, show_limit, &limit);
	return limit;
}

/*---------------------------------------------------------------- start and end */

struct house *house_of(const struct loop *loop)
{
	return LIST_ENTRY(((struct worker *)loop->data)->shared, struct house, shared);
}

static uint64_t read_clock(struct loop *loop)
{
	return house_of(loop)->now_ns;
}

static void start_shared(struct house *h)
{
	struct arena arena;
	struct diags diags;

	arena_init(&arena, NULL);
	diags_init(&diags, &arena);
	h->log_conf = (struct log_conf){ .access = ACCESS_NONE, .buffer_bytes = 64 * 1024 };
	h->shared.workers = AUTO_WORKERS;
	h->shared.control = &h->control;
	h->registries.stats = h->shared.stats = stats_new(AUTO_WORKERS);
	h->registries.tables = table_registry_new();
	h->registries.upstreams = upstream_registry_new();
	h->shared.log = access_log_open(&h->log_conf, AUTO_WORKERS, &diags);
	CHECK(h->shared.log != NULL && mailbox_init(&h->control));
	arena_fini(&arena);
}

static void start_worker(struct house *h, unsigned i)
{
	struct worker *w = worker_new(i, &h->shared, false);

	CHECK(w != NULL);
	w->loop.read_clock = read_clock;
	w->loop.connect = upstream_connect;
	forward_worker_seed(&w->forward, i + 1);
	h->worker[i] = w;
	h->wl[i] = sim_alloc(sizeof(*h->wl[i]));
	h->wl[i]->worker = w;
	h->wl[i]->slot = &h->slot;
	h->wl[i]->stats = h->slot.stats;
	list_push_back(&w->listeners, &h->wl[i]->link);
}

static void order(struct worker *w, enum order_kind kind, struct policy *p)
{
	struct worker_order *o = sim_alloc(sizeof(*o));

	o->message.run = worker_order_run;
	o->kind = kind;
	if (p != NULL) {
		o->use = sim_alloc(sizeof(*o->use));
		o->use->policy = p;
		o->use->released.run = on_released;
	}
	loop_enter(&w->loop);
	mailbox_post(&w->mailbox, &o->message);
	mailbox_drain(&w->mailbox, w);
	loop_settle(&w->loop);
}

void house_open(struct house *h, uint64_t seed, unsigned max_limit)
{
	*h = (struct house){ .now_ns = START_NS, .next_call_ns = START_NS, .dice.s = seed };
	running = h;
	list_init(&h->pairs);
	list_init(&h->idle);
	list_init(&h->serving);
	list_init(&h->waiting);
	start_shared(h);
	snprintf(h->slot.text, sizeof(h->slot.text), "127.0.0.1:80");
	CHECK(addr_parse(slice_str(h->slot.text), &h->slot.addr));
	h->slot.stats = stats_listener_get(h->shared.stats, h->slot.text);
	for (unsigned i = 0; i < AUTO_WORKERS; i++)
		start_worker(h, i);
	h->policy = make_policy(h, max_limit);
	for (unsigned i = 0; i < AUTO_WORKERS; i++)
		order(h->worker[i], ORDER_COMMIT, h->policy);
}

static void stop_worker(struct worker *w)
{
	struct policy_use *use = w->use;

	order(w, ORDER_STOP, NULL);
	w->use = NULL;
	worker_let_go(w, use);
	worker_free(w);
}

static void deliver_all(struct house *);

void house_close(struct house *h)
{
	h->next_call_ns = UINT64_MAX;
	while (h->busy > 0)
		house_run(h, h->now_ns + CLOCK_S);
	traffic_close(h);
	deliver_all(h);
	for (unsigned i = 0; i < AUTO_WORKERS; i++)
		stop_worker(h->worker[i]);
	deliver_all(h);
	CHECK(list_empty(&h->pairs) && h->connections == 0);
	mailbox_drain(&h->control, h);
	access_log_close(h->shared.log);
	stats_listener_put(h->shared.stats, h->slot.stats);
	upstream_registry_free(h->registries.upstreams);
	table_registry_free(h->registries.tables);
	stats_free(h->shared.stats);
	mailbox_fini(&h->control);
	running = NULL;
}

/*---------------------------------------------------------------- the turning */

static bool deliver_some(struct house *h)
{
	bool any = false;

	LIST_EACH (n, &h->pairs) {
		struct pair *p = pair_of_link(n);
		/* the pair may be gone after the first */
		unsigned side = pair_ready(p, 0) != 0 ? 0 : 1;

		if (pair_ready(p, side) == 0)
			continue;
		pair_deliver(p, side);
		any = true;
	}
	return any;
}

static bool run_mail(struct house *h)
{
	bool any = false;

	for (unsigned i = 0; i < AUTO_WORKERS; i++) {
		struct worker *w = h->worker[i];

		if (list_empty(&w->mailbox.queue))
			continue;
		loop_enter(&w->loop);
		mailbox_drain(&w->mailbox, w);
		loop_settle(&w->loop);
		any = true;
	}
	return any;
}

static void deliver_all(struct house *h)
{
	while (deliver_some(h))
		;
}

static uint64_t next_time(const struct house *h, uint64_t until_ns)
{
	uint64_t next = traffic_next(h);

	for (unsigned i = 0; i < AUTO_WORKERS; i++) {
		uint64_t t = timers_next(&h->worker[i]->loop.timers);

		next = t != 0 && t < next ? t : next;
	}
	return next < until_ns ? next : until_ns;
}

static void run_timers(struct house *h)
{
	for (unsigned i = 0; i < AUTO_WORKERS; i++) {
		struct loop *l = &h->worker[i]->loop;
		uint64_t t = timers_next(&l->timers);

		l->in_turn = false;
		if (t == 0 || t > h->now_ns)
			continue;
		loop_enter(l);
		loop_run_timers(l);
		loop_settle(l);
	}
}

static void run_until(struct house *h, uint64_t until_ns)
{
	while (h->now_ns < until_ns) {
		uint64_t next = next_time(h, until_ns);

		h->now_ns = next > h->now_ns ? next : h->now_ns;
		run_timers(h);
		traffic_run(h);
		while (deliver_some(h) || run_mail(h))
			;
	}
}

/* What the upstream could serve of what is offered, and where the limit is. */
static void look(struct house *h, uint64_t ns)
{
	struct seen *s = &h->seen;
	double most_per_s = h->capacity / h->service_ns * 1e9;
	unsigned limit = house_limit(h);

	s->possible +=
	    (h->offered_per_s < most_per_s ? h->offered_per_s : most_per_s) * (double)ns / 1e9;
	s->limit_sum += limit;
	s->limit_least = s->limit_n == 0 || limit < s->limit_least ? limit : s->limit_least;
	s->limit_most = limit > s->limit_most ? limit : s->limit_most;
	s->limit_n++;
}

void house_run(struct house *h, uint64_t until_ns)
{
	while (h->now_ns < until_ns) {
		uint64_t left = until_ns - h->now_ns, tick = left < TICK_NS ? left : TICK_NS;

		run_until(h, h->now_ns + tick);
		look(h, tick);
	}
}
