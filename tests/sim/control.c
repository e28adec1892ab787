/* control.c - what the control thread does, without a thread: policies, reloads, drain and end.
 *
 * As core/control.c: load -> prepare -> one order for each worker.  The workers take them when the
 * dice say so; until then two policies are in force. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/check.h"
#include "sim.h"

/*---------------------------------------------------------------- the file */

static unsigned long long number(struct sim *sim, uint64_t low, uint64_t high)
{
	return dice_between(&sim->dice, low, high);
}

/* Each number is drawn in a statement of its own: the order of arguments is the compiler's. */
static void put_time(struct sim *sim, struct buf *b, const char *key, uint64_t low_ms,
		     uint64_t high_ms, uint64_t calm_ms)
{
	uint64_t drawn = dice_between(&sim->dice, low_ms, high_ms);

	buf_printf(b, "%s: %llums", key, (unsigned long long)(sim->weather.calm ? calm_ms : drawn));
}

/* Bounds of connections that are HTTP/2: small ones, that are met. */
static void put_http2(struct sim *sim, struct buf *b)
{
	struct dice *d = &sim->speech_dice;
	uint64_t streams = dice_chance(d, 500) ? 100 : dice_between(d, 1, 6);
	uint64_t window = dice_between(d, 1, 64), all = dice_between(d, 64, 300);
	uint64_t resets = dice_chance(d, 700) ? 400 : dice_between(d, 1, 10);

	buf_printf(b, ", http2: { streams: %llu, stream_window: %lluKiB",
		   (unsigned long long)streams, (unsigned long long)window);
	buf_printf(b, ", connection_window: %lluKiB", (unsigned long long)all);
	if (!sim->weather.calm)
		buf_printf(b, ", resets: %llu", (unsigned long long)resets);
	buf_puts(b, " }");
}

static void put_limits(struct sim *sim, struct buf *b)
{
	const char *http2 = sim->client_speech != SPEAKS_1 ? "true" : "false";

	buf_printf(b,
		   "version: 1\nlisten:\n  - { addr: 127.0.0.1:80, http2: %s }\n"
		   "  - { addr: 127.0.0.1:81, proxy_protocol: true, http2: %s }\n"
		   "log: { access: none }\nlimits: { ",
		   http2, http2);
	put_time(sim, b, "header_timeout", 50, 10000, 60000);
	put_time(sim, b, ", idle_timeout", 50, 60000, 60000);
	put_time(sim, b, ", write_timeout", 500, 20000, 60000);
	buf_printf(b, ", header_bytes: 16KiB");
	if (sim->client_speech != SPEAKS_1 || sim->upstream_speech != SPEAKS_1)
		put_http2(sim, b);
	buf_puts(b, " }\n");
}

static void put_upstream_tail(struct sim *sim, struct buf *b)
{
	static const char *const lb[] = { "round-robin", "least-requests", "p2c-ewma",
					  "ring-hash\n    hash: header.x-sim-key\n    spill: 50%" };
	bool calm = sim->weather.calm, is_2 = sim_draw_2(sim, sim->upstream_speech);

	buf_printf(b, "    lb: %s\n", lb[dice_below(&sim->dice, 4)]);
	checks_put(sim, b);
	buf_printf(b, "    connect_timeout: %llums\n", calm ? 60000 : number(sim, 10, 3000));
	buf_printf(b, "    keepalive: %llu\n", number(sim, 0, 4));
	buf_printf(b, "    keepalive_timeout: %llums\n", number(sim, 10, 60000));
	if (!calm && dice_chance(&sim->dice, 100))
		buf_printf(b, "    max_connections: %llu\n", number(sim, 1, 3));
	if (is_2)
		buf_puts(b, "    http2: true\n");
}

static void put_upstreams(struct sim *sim, struct buf *b, bool fresh)
{
	buf_printf(b, "upstreams:\n  app:\n    endpoints:\n");
	buf_printf(b, "      - { addr: \"%s\", weight: %llu }\n", sim->site[0].text,
		   number(sim, 1, 3));
	if (dice_chance(&sim->dice, 800))
		buf_printf(b, "      - \"%s\"\n", sim->site[1].text);
	buf_printf(b, "      - { addr: \"%s\", backup: true }\n", sim->site[2].text);
	put_upstream_tail(sim, b);
	buf_printf(b, "  other:\n    endpoints: \"%s\"\n", sim->site[3].text);
	put_upstream_tail(sim, b);
	if (!fresh)
		return;
	buf_printf(b, "  fresh:\n    endpoints: \"%s\"\n", sim->site[4].text);
	put_upstream_tail(sim, b);
}

/* What every breaker has; the numbers are small, so that they open and close often. */
static void put_breaker(struct sim *sim, struct buf *b, const char *name, const char *per)
{
	static const char *const failures[] = { "", ", failures: [5xx]",
						", failures: [connect, 503]" };
	bool share = dice_chance(&sim->dice, 500), slow = dice_chance(&sim->dice, 300);
	uint64_t open_ms = 100 + dice_spread(&sim->dice, 2000);

	if (sim->weather.calm) {
		buf_printf(b, "  %s: { breaker: 5, failures: connect }\n", name);
		return;
	}
	buf_printf(b, "  %s: { breaker: %llu%s, per: %s, open_for: %llums", name,
		   share ? number(sim, 1, 60) : number(sim, 1, 3), share ? "%" : "", per,
		   (unsigned long long)open_ms);
	buf_printf(b, ", max_open: %llums", number(sim, open_ms, 20000));
	buf_printf(b, ", probes: %llu", number(sim, 1, 3));
	if (share || slow) {
		buf_printf(b, ", window: %llums", number(sim, 100, 5000));
		buf_printf(b, ", min_requests: %llu", number(sim, 1, 5));
	}
	if (slow)
		buf_printf(b, ", slow: { over: %llums", number(sim, 1, 3000));
	if (slow)
		buf_printf(b, ", first_byte: %llums }", number(sim, 1, 3000));
	buf_printf(b, "%s }\n", failures[dice_below(&sim->dice, 3)]);
}

static void put_breakers(struct sim *sim, struct buf *b)
{
	bool upstream = dice_chance(&sim->dice, 300);

	put_breaker(sim, b, "guard-other", "endpoint");
	put_breaker(sim, b, "guard-app", upstream ? "upstream" : "endpoint");
}

/* The route of most calls tries again: what comes of it is in check_retries. */
static void put_retry(struct sim *sim, struct buf *b)
{
	static const char *const when[] = { "connect", "[connect, reset]", "[503, timeout]",
					    "[connect, reset, timeout, 5xx]" };
	uint64_t base_ms = 1 + dice_spread(&sim->dice, 200);
	uint64_t which = dice_below(&sim->dice, 4);
	unsigned long long body_kib, retries = number(sim, 1, 3);

	buf_printf(b, "  again: { retry: %llu, when: %s", retries, when[which]);
	body_kib = number(sim, 1, 100);
	buf_printf(b, ", budget: %llu%%, body: %lluKiB", number(sim, 0, SIM_RETRY_PERCENT),
		   body_kib);
	buf_printf(b, ", backoff: { base: %llums, max: %llums }", (unsigned long long)base_ms,
		   number(sim, base_ms, 5000));
	if (!sim->weather.calm && dice_chance(&sim->dice, 300))
		buf_printf(b, ", per_try: %llums", number(sim, 1, 5000));
	if (dice_chance(&sim->dice, 700)) {
		uint64_t after_ms = 1 + dice_spread(&sim->dice, 1000);

		buf_printf(b, ", hedge: { after: %llums", (unsigned long long)after_ms);
		buf_printf(b, ", budget: %llu%% }", number(sim, 0, SIM_RETRY_PERCENT));
	}
	buf_puts(b, " }\n");
}

static void put_route(struct sim *sim, struct buf *b, const char *name, const char *to,
		      const char *more)
{
	buf_printf(b, "  - name: %s\n    match: { path: /%s/* }\n    to: %s\n    timeout: { ", name,
		   name, to);
	put_time(sim, b, "total", 200, 60000, 300000);
	put_time(sim, b, ", idle", 100, 10000, 60000);
	put_time(sim, b, ", first_byte", 100, 10000, 60000);
	buf_puts(b, " }\n");
	buf_puts(b, more);
}

static void put_file(struct sim *sim, struct buf *b, const struct rule *rule,
		     const struct crowd_rule *crowd)
{
	bool fresh = dice_chance(&sim->dice, 500);

	put_limits(sim, b);
	put_upstreams(sim, b, fresh);
	limits_put(rule, b);
	crowd_put(crowd, b);
	put_breakers(sim, b);
	put_retry(sim, b);
	buf_puts(b,
		 "response: [{ set: { x-path: \"{method} {path}\" }, replace: { x-path: { pattern: "
		 "\"~ ^G(.)T\", with: \"{match.1}\" } } }]\n");
	buf_puts(b, "routes:\n");
	buf_puts(b, "  - { match: { path: \"~ /never$\", when: { header.x-never: \"*\" } }, "
		    "respond: 404 }\n");
	put_route(sim, b, "limited", "app", "    use: [per-key]\n");
	put_route(sim, b, "small", "other", "    max_body: 1KiB\n    use: [guard-other]\n");
	put_route(sim, b, "tunnel", "other", "    upgrade: true\n    use: [guard-other]\n");
	put_route(sim, b, "held", "other", crowd_use(crowd));
	if (fresh)
		put_route(sim, b, "fresh", "fresh", "");
	put_route(sim, b, "app", "app",
		  "    use: [again, guard-app]\n    set: { x-asked: \"{uri}\" }\n"
		  "    rewrite: { pattern: \"~ ^/never\", path: /other }\n");
}

/* As a file that config_load can open. */
static int open_file(const struct buf *text, char path[64])
{
	int fd = memfd_create("sim", MFD_CLOEXEC);

	if (fd < 0 || write(fd, text->p, text->n) != (ssize_t)text->n)
		sim_fail("no memory file");
	snprintf(path, 64, "/proc/self/fd/%d", fd);
	return fd;
}

/*---------------------------------------------------------------- policies */

static void show_findings(struct sim *sim, const struct diags *diags)
{
	struct buf out = { 0 };

	if (!sim->trace || (diags->errors == 0 && diags->warnings == 0))
		return;
	diags_print(diags, DIAG_HUMAN, "sim", "", false, &out);
	sim_trace(sim, "%.*s", (int)out.n, out.p);
	buf_fini(&out);
}

static struct policy *open_policy(struct sim *sim, const struct buf *text, bool faults)
{
	struct arena arena, diag_arena;
	struct diags diags;
	struct config *config;
	struct policy *p = NULL;
	char path[64];
	int fd = open_file(text, path);

	arena_init(&arena, NULL);
	arena_init(&diag_arena, NULL);
	if (faults)
		fault_arm(sim);
	diags_init(&diags, &diag_arena);
	config = config_load(path, &arena, &diags);
	if (config != NULL && diags.errors == 0)
		p = policy_open("sim", config, arena, &sim->registries, &diags);
	else
		arena_fini(&arena);
	fault_disarm();
	if (p == NULL && diags.errors == 0)
		sim_fail("a policy could not be opened, and nobody says why");
	show_findings(sim, &diags);
	arena_fini(&diag_arena);
	close(fd);
	return p;
}

static void on_released(void *reader, struct message *m)
{
	struct sim *sim = reader;
	struct policy_use *use = LIST_ENTRY(m, struct policy_use, released);
	struct policy *p = use->policy;

	free(use);
	if (--p->holders > 0)
		return;
	sim_trace(sim, "policy %llu is freed", (unsigned long long)p->generation);
	policy_close(p, &sim->registries);
	atomic_fetch_sub(&sim->shared.policies, 1);
}

/*---------------------------------------------------------------- listeners */

static struct worker_listener *listener_make(struct sim *sim, unsigned s, unsigned w)
{
	struct worker_listener *wl = sim_alloc(sizeof(*wl));

	wl->worker = sim->worker[w];
	wl->slot = &sim->slot[s];
	wl->stats = wl->slot->stats;
	wl->http2 = sim->client_speech != SPEAKS_1; /* it may be called before the worker follows */
	list_push_back(&sim->worker[w]->listeners, &wl->link);
	return wl;
}

static void slots_init(struct sim *sim)
{
	for (unsigned s = 0; s < SIM_SLOTS; s++) {
		struct listen_slot *slot = &sim->slot[s];

		snprintf(slot->text, sizeof(slot->text), "127.0.0.1:%u", 80 + s);
		CHECK(addr_parse(slice_str(slot->text), &slot->addr));
		slot->proxy_protocol = s == 1;
		slot->stats = stats_listener_get(sim->shared.stats, slot->text);
		for (unsigned w = 0; w < sim->workers; w++)
			sim->wl[s][w] = listener_make(sim, s, w);
	}
}

/* A listener goes and another comes in its place. */
static void swap_listener(struct sim *sim, struct worker_order *o, unsigned w)
{
	unsigned s = (unsigned)dice_below(&sim->dice, SIM_SLOTS);

	/* its connections end with their next answer, whatever is behind */
	if (sim->weather.calm || !dice_chance(&sim->dice, 300) || sim->wl[s][w] == NULL)
		return;
	sim_trace(sim, "worker %u: listener %u is replaced", w, s);
	o->close = sim_alloc(2 * sizeof(*o->close));
	o->close[0] = sim->wl[s][w];
	sim->wl[s][w] = listener_make(sim, s, w);
}

/*---------------------------------------------------------------- orders */

/* A worker has followed. */
static void on_acknowledged(void *reader, struct message *m)
{
	struct sim *sim = reader;

	free(m);
	if (--sim->commits_open > 0)
		return;
	ledger_limits_in_force(sim);
	sim_trace(sim, "policy %llu is in force", (unsigned long long)sim->generations);
}

/* Runs the order and tells control, through its mailbox. */
static void follow_order(void *worker, struct message *m)
{
	struct worker *w = worker;
	struct message *told = sim_alloc(sizeof(*told));

	told->run = on_acknowledged;
	worker_order_run(worker, m);
	mailbox_post(w->shared->control, told);
}

static void commit(struct sim *sim, struct policy *p, const struct rule *rule,
		   const struct crowd_rule *crowd)
{
	p->generation = ++sim->generations;
	p->holders = sim->workers;
	sim->policy = p;
	atomic_fetch_add(&sim->shared.policies, 1);
	checks_follow(sim, p->cluster, p->n_clusters);
	ledger_limits(sim, limits_per_s(rule), limits_at_once(rule));
	limits_commit(sim, rule);
	crowd_commit(sim, crowd);
	sim->commits_open = sim->workers;
	for (unsigned w = 0; w < sim->workers; w++) {
		struct worker_order *o = sim_alloc(sizeof(*o));

		o->message.run = follow_order;
		o->kind = ORDER_COMMIT;
		o->use = sim_alloc(sizeof(*o->use));
		o->use->policy = p;
		o->use->released.run = on_released;
		swap_listener(sim, o, w);
		mailbox_post(&sim->worker[w]->mailbox, &o->message);
	}
}

void control_reload(struct sim *sim)
{
	struct buf text = { 0 };
	struct crowd_rule crowd;
	struct rule rule;
	struct policy *p;
	bool bad = dice_chance(&sim->dice, 100);

	limits_draw(sim, &rule);
	crowd_draw(sim, &crowd);
	put_file(sim, &text, &rule, &crowd);
	if (bad)
		buf_puts(&text, "nonsense: true\n");
	sim->reloads++;
	p = open_policy(sim, &text, true);
	if (bad && p != NULL)
		sim_fail("a bad file was loaded");
	sim_trace(sim, "reload: %s", p != NULL ? "commit" : "failed");
	if (p != NULL) {
		commit(sim, p, &rule, &crowd);
	} else {
		sim->reloads_failed++;
		limits_failed(sim);
	}
	buf_fini(&text);
}

void control_order(struct sim *sim, enum order_kind kind)
{
	sim_trace(sim, "order %d to all workers", kind);
	for (unsigned w = 0; w < sim->workers; w++) {
		struct worker_order *o = sim_alloc(sizeof(*o));

		o->message.run = worker_order_run;
		o->kind = kind;
		mailbox_post(&sim->worker[w]->mailbox, &o->message);
	}
	if (!sim->drained)
		breakers_drained(sim);
	atomic_store(&sim->shared.draining, true);
	sim->drained = true;
	memset(sim->wl, 0, sizeof(sim->wl));
}

/*---------------------------------------------------------------- start and end */

/* Reading the clock takes time. */
static uint64_t read_clock(struct loop *loop)
{
	struct sim *sim = LIST_ENTRY(((struct worker *)loop->data)->shared, struct sim, shared);

	sim->now_ns += dice_spread(&sim->dice, 20000);
	return sim->now_ns;
}

static void start_worker(struct sim *sim, unsigned i)
{
	struct worker *w = worker_new(i, &sim->shared, false);

	CHECK(w != NULL);
	w->loop.read_clock = read_clock;
	w->loop.connect = server_connect;
	w->loop.holds = sim->holds;
	forward_worker_seed(&w->forward, sim->seed + i);
	sim->worker[i] = w;
}

static void start_shared(struct sim *sim)
{
	struct arena arena;
	struct diags diags;

	arena_init(&arena, NULL);
	diags_init(&diags, &arena);
	sim->log_conf = (struct log_conf){ .access = ACCESS_NONE,
					   .buffer_bytes = 64 * 1024,
					   .refusals_per_second = 100 };
	sim->shared.workers = sim->workers;
	sim->shared.control = &sim->control;
	sim->registries.stats = sim->shared.stats = stats_new(sim->workers);
	sim->registries.tables = table_registry_new();
	sim->registries.upstreams = upstream_registry_new();
	checks_start(sim);
	sim->shared.log = access_log_open(&sim->log_conf, sim->workers, &diags);
	CHECK(sim->shared.log != NULL && mailbox_init(&sim->control));
	arena_fini(&arena);
}

void control_start(struct sim *sim)
{
	struct buf text = { 0 };
	struct crowd_rule crowd;
	struct rule rule;
	struct policy *p;

	sim->workers = (unsigned)dice_between(&sim->dice, 1, SIM_WORKERS);
	start_shared(sim);
	for (unsigned w = 0; w < sim->workers; w++)
		start_worker(sim, w);
	slots_init(sim);
	limits_draw(sim, &rule);
	crowd_draw(sim, &crowd);
	put_file(sim, &text, &rule, &crowd);
	p = open_policy(sim, &text, false);
	if (p == NULL)
		sim_fail("the policy is refused: %.*s", (int)text.n, text.p);
	buf_fini(&text);
	commit(sim, p, &rule, &crowd);
	for (unsigned w = 0; w < sim->workers; w++) {
		loop_enter(&sim->worker[w]->loop);
		mailbox_drain(&sim->worker[w]->mailbox, sim->worker[w]);
		loop_settle(&sim->worker[w]->loop);
	}
	mailbox_drain(&sim->control, sim);
}

static void stop_worker(struct worker *w)
{
	struct policy_use *use;

	loop_enter(&w->loop);
	mailbox_drain(&w->mailbox, w);
	loop_settle(&w->loop);
	use = w->use; /* a commit may just have come before the stop */
	w->use = NULL;
	worker_let_go(w, use);
	worker_free(w);
}

void control_stop(struct sim *sim)
{
	control_order(sim, ORDER_STOP);
	for (unsigned w = 0; w < sim->workers; w++)
		stop_worker(sim->worker[w]);
	mailbox_drain(&sim->control, sim);
	if (sim->shared.policies != 0)
		sim_fail("%u policies are alive after the end", sim->shared.policies);
	access_log_close(sim->shared.log);
	for (unsigned s = 0; s < SIM_SLOTS; s++)
		stats_listener_put(sim->shared.stats, sim->slot[s].stats);
	sim->policy = NULL;
	upstream_registry_free(sim->registries.upstreams);
	checks_stop(sim);
	table_registry_free(sim->registries.tables);
	stats_free(sim->shared.stats);
	mailbox_fini(&sim->control);
}
