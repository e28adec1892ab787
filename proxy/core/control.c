/* control.c - the process.
 *
 * One thread that may block: it reads the configuration, binds, resolves, starts workers, and then
 * waits for signals, for the watched file and for what workers send back.
 *
 *   RUNNING --TERM--> DELAY --shutdown.delay--> DRAINING --last call, or drain is over--> exit 0
 *     | ^               |                          |
 *     +-+ HUP: reload   +-------- second TERM -----+--> exit 1 at once
 *
 * With `term_at_once`, QUIT goes to DRAINING without a delay, and TERM and INT end it at once, exit 0.
 *
 * A reload: load -> prepare -> commit.  Everything that can fail comes before commit, and is undone
 * if it does. */
#include "core/control.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/event.h"
#include "base/log.h"
#include "core/listen_set.h"
#include "core/notify.h"
#include "core/redis_set.h"
#include "core/tracing.h"
#include "core/tls_set.h"
#include "core/watch.h"
#include "core/worker.h"

enum { DRAIN_LOOK_MS = 20, CUT_GRACE_MS = 200, SPAN_TEXT_MAX = 32 };

/* A worker that turns takes its messages: this one says that it did. */
struct pulse {
	struct message message;
	_Atomic bool sent;
};

enum phase { RUNNING, DELAY, DRAINING, ENDED };

struct control {
	const struct control_options *options;
	struct shared shared;
	struct registries registries;
	struct mailbox mailbox;
	struct worker *worker[WORKERS_MAX];
	unsigned workers;
	struct listen_set listeners;
	struct policy *policy; /* in force */
	uint64_t generations;
	struct watch watch;
	int signals;
	enum phase phase;
	uint64_t phase_end_ns;
	char pid_file[4096];
	struct notify notify;
	struct memory_watch memory;
	struct pulse pulse[WORKERS_MAX];
	uint64_t pulse_ns; /* when workers are asked for the next one; 0: never */
};

/*---------------------------------------------------------------- configuration */

/* What a load brings: memory that is the policy's if all goes well. */
struct loading {
	struct arena arena, diag_arena;
	struct diags diags;
	struct config *config;
};

static void print_findings(struct control *c, struct loading *l, const char *consequence)
{
	const char *path =
	    c->options->config_path != NULL ? c->options->config_path : "command line";
	struct buf out = { 0 };

	if (c->options->source != NULL) {
		c->options->source->report(c->options->source->arg, &l->diags);
		return;
	}
	if (l->diags.errors == 0 && l->diags.warnings == 0)
		return;
	diags_print(&l->diags, DIAG_HUMAN, path, consequence,
		    isatty(STDERR_FILENO) && getenv("NO_COLOR") == NULL, &out);
	(void)!write(STDERR_FILENO, out.p, out.n);
	buf_fini(&out);
}

struct files {
	const char *path[WATCH_FILES];
	unsigned n;
};

static void add_file(void *arg, const char *path)
{
	struct files *f = arg;

	for (unsigned i = 0; i < f->n; i++)
		if (strcmp(f->path[i], path) == 0)
			return;
	if (f->n < WATCH_FILES)
		f->path[f->n++] = path;
	else
		log_warn("%s is not watched, as are those behind it: at most %u files are", path,
			 (unsigned)WATCH_FILES);
}

/* Whether or not it can be used: what is wrong with it may be a file that is yet to be repaired. */
static void follow_files(struct control *c, const struct config *config)
{
	struct files files = { .n = 0 };

	if (!c->options->watch)
		return;
	tls_set_files(config, add_file, &files);
	auth_files(&config->auth, add_file, &files);
	watch_follow(&c->watch, files.path, files.n);
}

static struct config *load_config(const struct control_options *o, struct loading *l)
{
	if (o->source != NULL)
		return o->source->load(o->source->arg, &l->arena, &l->diags);
	if (o->config_path != NULL)
		return config_load(o->config_path, &l->arena, &l->diags);
	return config_from_flags(o->listen, o->to, o->rate, o->burst, &l->arena, &l->diags);
}

static bool load(struct control *c, struct loading *l)
{
	arena_init(&l->arena, NULL);
	arena_init(&l->diag_arena, NULL);
	diags_init(&l->diags, &l->diag_arena);
	l->config = load_config(c->options, l);
	if (l->config != NULL)
		follow_files(c, l->config);
	return l->config != NULL && l->diags.errors == 0;
}

static void unload(struct loading *l, bool keep_config)
{
	if (!keep_config)
		arena_fini(&l->arena);
	arena_fini(&l->diag_arena);
}

static const char *config_name(const struct control *c)
{
	return c->options->config_path != NULL ? c->options->config_path : "command line";
}

static struct policy *prepare(struct control *c, struct loading *l)
{
	struct policy *p =
	    policy_open(config_name(c), l->config, l->arena, &c->registries, &l->diags);

	l->arena = (struct arena){ 0 }; /* the policy's now, or gone */
	if (p == NULL)
		return NULL;
	if (listen_set_prepare(&c->listeners, l->config, &l->diags))
		return p;
	policy_close(p, &c->registries);
	return NULL;
}

/*---------------------------------------------------------------- orders */

static void ack_init(struct worker_ack *ack, unsigned n)
{
	pthread_mutex_init(&ack->lock, NULL);
	pthread_cond_init(&ack->done, NULL);
	ack->left = n;
}

static void ack_wait(struct worker_ack *ack)
{
	pthread_mutex_lock(&ack->lock);
	while (ack->left > 0)
		pthread_cond_wait(&ack->done, &ack->lock);
	pthread_mutex_unlock(&ack->lock);
	pthread_cond_destroy(&ack->done);
	pthread_mutex_destroy(&ack->lock);
}

/* The last worker has let go of a policy: nobody reads it any more. */
static void on_released(void *control, struct message *m)
{
	struct control *c = control;
	struct policy_use *use = LIST_ENTRY(m, struct policy_use, released);
	struct policy *p = use->policy;

	free(use);
	CHECK(p->holders > 0);
	if (--p->holders > 0)
		return;
	log_debug("policy %llu is freed", (unsigned long long)p->generation);
	policy_close(p, &c->registries);
	atomic_fetch_sub(&c->shared.policies, 1);
}

static void order_free(struct worker_order *o)
{
	if (o == NULL)
		return;
	free(o->use);
	free(o->open);
	free(o->close);
	free(o);
}

static struct worker_order *commit_order(struct control *c, unsigned w, struct policy *p,
					 struct worker_ack *ack)
{
	struct worker_order *o = calloc(1, sizeof(*o));

	if (o == NULL)
		return NULL;
	o->message.run = worker_order_run;
	o->kind = ORDER_COMMIT;
	o->ack = ack;
	o->use = calloc(1, sizeof(*o->use));
	if (o->use == NULL || !listen_set_orders(&c->listeners, w, o)) {
		order_free(o);
		return NULL;
	}
	o->use->policy = p;
	o->use->released.run = on_released;
	return o;
}

/* Where memory is out, the room that there was goes on. */
static void follow_admin(struct control *c, const struct config *config)
{
	const struct admin_conf *a = &config->admin;

	if (a->present && a->events != events_room() && !events_open(a->events))
		log_warn("out of memory: no other number of events is kept than before");
	table_registry_set_top(c->registries.tables, a->present ? a->top_keys : 0);
}

/* Cannot fail once every order is made. */
static bool commit(struct control *c, struct policy *p)
{
	struct worker_order *order[WORKERS_MAX] = { NULL };
	struct worker_ack ack;
	bool ok = true;

	for (unsigned w = 0; w < c->workers; w++) {
		order[w] = commit_order(c, w, p, &ack);
		ok = ok && order[w] != NULL;
	}
	if (!ok) {
		for (unsigned w = 0; w < c->workers; w++)
			order_free(order[w]);
		listen_set_abandon(&c->listeners);
		return false;
	}
	p->generation = ++c->generations;
	p->holders = c->workers;
	c->policy = p;
	follow_admin(c, p->config);
	upstreams_follow(c->registries.upstreams, p->cluster, p->n_clusters);
	atomic_fetch_add(&c->shared.policies, 1);
	if (!atomic_load(&c->shared.orders.level_forced))
		log_set_level((enum log_level)p->config->log.level);
	ack_init(&ack, c->workers);
	for (unsigned w = 0; w < c->workers; w++)
		mailbox_post(&c->worker[w]->mailbox, &order[w]->message);
	ack_wait(&ack);
	listen_set_commit(&c->listeners);
	return true;
}

/* For drain, cut and stop: without memory there is nothing better than to go at once. */
static void order_all(struct control *c, enum order_kind kind, bool wait)
{
	struct worker_ack ack;

	ack_init(&ack, c->workers);
	for (unsigned w = 0; w < c->workers; w++) {
		struct worker_order *o = calloc(1, sizeof(*o));

		CHECK(o != NULL);
		o->message.run = worker_order_run;
		o->kind = kind;
		o->ack = wait ? &ack : NULL;
		mailbox_post(&c->worker[w]->mailbox, &o->message);
	}
	if (wait)
		ack_wait(&ack);
}

/*---------------------------------------------------------------- the service manager */

static void on_pulse(void *worker, struct message *m)
{
	(void)worker;
	atomic_store(&LIST_ENTRY(m, struct pulse, message)->sent, false);
}

/* Alive is a process whose every worker has turned since it was last said to be. */
static void look_alive(struct control *c, uint64_t now)
{
	bool all = true;

	if (c->pulse_ns == 0 || now < c->pulse_ns)
		return;
	c->pulse_ns = now + c->notify.watchdog_ns / 4;
	for (unsigned w = 0; w < c->workers; w++)
		all = all && !atomic_load(&c->pulse[w].sent);
	if (!all)
		return;
	notify_send(&c->notify, "WATCHDOG=1");
	for (unsigned w = 0; w < c->workers; w++) {
		c->pulse[w].message.run = on_pulse;
		atomic_store(&c->pulse[w].sent, true);
		mailbox_post(&c->worker[w]->mailbox, &c->pulse[w].message);
	}
}

static void announce_ready(struct control *c)
{
	const struct policy *p = c->policy;

	notify_send(&c->notify,
		    "READY=1\nSTATUS=%sServing %u routes, %u policies, configuration %.12s",
		    atomic_load(&c->shared.reload.last_ok) ? "" : "The last reload failed. ",
		    p->n_routes, p->n_filters, p->hash);
}

static void announce_reload(struct control *c)
{
	notify_send(&c->notify, "RELOADING=1\nMONOTONIC_USEC=%llu\nSTATUS=Reloading",
		    (unsigned long long)(clock_mono_ns() / 1000));
}

/* Half a minute beyond what calls are given: the manager kills a process that takes longer. */
static void announce_end(struct control *c, const struct shutdown_conf *s)
{
	notify_send(
	    &c->notify,
	    "STOPPING=1\nEXTEND_TIMEOUT_USEC=%llu\nSTATUS=Draining: %u connections are open",
	    (unsigned long long)((s->delay_ns + s->drain_ns) / 1000 + 30 * 1000000),
	    atomic_load(&c->shared.connections));
}

/*---------------------------------------------------------------- reload */

/* Where a top-level key stands in the new file; the file as a whole, if it is not there. */
static struct place place_of_key(const struct control *c, const struct loading *l,
				 const struct field *f)
{
	struct place at = { 0 };

	if (f->at != 0)
		memcpy(&at, (const char *)l->config + f->at, sizeof(at));
	return at.file != NULL ? at : (struct place){ .file = config_name(c) };
}

static bool restart_needed(struct control *c, struct loading *l)
{
	bool needed = false;

	for (const struct field *f = config_schema.fields; f->key != NULL; f++) {
		struct buf changes = { 0 };
		unsigned restart = 0;

		schema_diff_field(&config_schema, f, c->policy->config, l->config, &changes,
				  &restart);
		buf_fini(&changes);
		if (restart > 0)
			diag_error(&l->diags, place_of_key(c, l, f), "E041",
				   "a changed `%s` needs a restart", f->key);
		needed = needed || restart > 0;
	}
	return needed;
}

static void count_reload(struct control *c, bool ok)
{
	struct reload_status *r = &c->shared.reload;

	atomic_store(&r->failed_in_a_row, ok ? 0 : atomic_load(&r->failed_in_a_row) + 1);
	atomic_store(&r->last_ok, ok);
	if (ok)
		atomic_store(&r->last_ok_wall_ns, clock_wall_ns());
	/* last: who waits for the count looks at the others then */
	atomic_fetch_add(ok ? &r->ok_count : &r->failed_count, 1);
}

/* As `weir diff` says them, a line each. */
static void find_changes(const struct policy *old, const struct config *new_, struct buf *changes)
{
	unsigned restart = 0;
	unsigned n = schema_diff(&config_schema, old->config, new_, changes, &restart);
	struct slice rest = slice_of(changes->p, changes->n);

	for (unsigned i = 0; i < n && rest.n > 0 && i < 20; i++) {
		struct slice line = slice_cut(&rest, '\n');

		log_info("reload: %.*s", SLICE_FMT(line));
	}
}

static bool reload_to(struct control *c, struct loading *l, struct buf *changes)
{
	struct tracing_target *target = NULL;
	struct memory_watch memory;
	struct policy *p;

	if (restart_needed(c, l))
		return false;
	find_changes(c->policy, l->config, changes);
	p = prepare(c, l);
	if (p == NULL)
		return false;
	if (!memory_open(&memory, &p->config->memory, &l->diags) ||
	    !tracing_prepare(c->shared.tracing, &p->config->tracing, &l->diags, &target) ||
	    !access_log_reconfigure(c->shared.log, &p->config->log, &l->diags) || !commit(c, p)) {
		memory_close(&memory);
		tracing_abandon(target);
		listen_set_abandon(&c->listeners);
		policy_close(p, &c->registries);
		return false;
	}
	tracing_commit(c->shared.tracing, target);
	memory_replace(&c->memory, &memory);
	memory_look(&c->memory, &c->shared.memory, clock_mono_ns());
	return true;
}

/* What POST /reload is answered with. */
static void tell_reload(struct control *c, const struct loading *l, bool ok,
			const struct buf *changes, struct control_task *task)
{
	struct slice rest = slice_of(changes->p, changes->n);
	struct buf *b = &task->body;

	task->status = ok ? 200 : 422;
	buf_printf(b, "{\"reloaded\":%s,\"generation\":%llu,\"sha256\":\"%s\",\"changes\":[",
		   ok ? "true" : "false", (unsigned long long)c->policy->generation,
		   c->policy->hash);
	for (bool first = true; ok && rest.n > 0; first = false) {
		buf_puts(b, first ? "" : ",");
		buf_json_string(b, slice_cut(&rest, '\n'));
	}
	buf_puts(b, "],\"diagnostics\":");
	diags_print(&l->diags, DIAG_JSON, config_name(c), "", false, b);
	buf_puts(b, "}\n");
}

/* The first error, where it is: who follows the events sees no standard error. */
static void log_reload_failed(const char *trigger, const struct diags *diags)
{
	const struct diag *d = diags->first;

	while (d != NULL && d->severity != DIAG_ERROR)
		d = d->next;
	if (d == NULL || d->at.file == NULL)
		log_error("reload (%s): failed, %u errors; the running configuration stays",
			  trigger, diags->errors);
	else
		log_error("reload (%s): failed, %u errors; the running configuration stays: "
			  "%s:%u:%u: %s: %s",
			  trigger, diags->errors, d->at.file, d->at.line, d->at.column, d->code,
			  d->message);
}

/* `task` NULL: nobody waits for the answer. */
static void reload(struct control *c, const char *trigger, struct control_task *task)
{
	struct buf changes = { 0 };
	struct loading l;
	bool ok;

	if (c->options->config_path == NULL) {
		log_warn("reload: there is no file: the configuration came from the command line");
		if (task != NULL)
			task->status = 409;
		return;
	}
	announce_reload(c);
	ok = load(c, &l) && reload_to(c, &l, &changes);
	print_findings(c, &l, ok ? "loaded" : "not loaded, the running configuration stays");
	if (ok)
		log_info("reload (%s): policy %llu, %.12s", trigger,
			 (unsigned long long)c->policy->generation, c->policy->hash);
	else
		log_reload_failed(trigger, &l.diags);
	count_reload(c, ok);
	if (task != NULL)
		tell_reload(c, &l, ok, &changes, task);
	buf_fini(&changes);
	unload(&l, false);
	announce_ready(c);
}

/*---------------------------------------------------------------- orders by hand */

static uint64_t until(uint64_t for_ns)
{
	return for_ns == 0 ? 0 : clock_mono_ns() + for_ns;
}

/* " for 600 s"; "" until the next order. */
static const char *span(uint64_t for_ns, char out[static SPAN_TEXT_MAX])
{
	out[0] = '\0';
	if (for_ns != 0)
		snprintf(out, SPAN_TEXT_MAX, " for %llu s", (unsigned long long)(for_ns / CLOCK_S));
	return out;
}

/* `who` NULL: its time is over. */
static void drain(struct control *c, bool yes, uint64_t for_ns, const char *who)
{
	struct hand_orders *o = &c->shared.orders;
	char text[SPAN_TEXT_MAX];

	atomic_store(&o->drain_until_ns, yes ? until(for_ns) : 0);
	if (atomic_exchange(&o->drained, yes) == yes && !yes)
		return;
	log_warn("drain: %s%s, %s%s", yes ? "not ready, connections are not kept" : "over",
		 span(for_ns, text), who == NULL ? "its time has come" : "by order of ",
		 who == NULL ? "" : who);
}

static void force_level(struct control *c, int level, uint64_t for_ns, const char *who)
{
	char text[SPAN_TEXT_MAX];

	struct hand_orders *o = &c->shared.orders;

	atomic_store(&o->level_until_ns, level < 0 ? 0 : until(for_ns));
	atomic_store(&o->level_forced, level >= 0);
	if (level < 0)
		level = c->policy->config->log.level;
	log_set_level((enum log_level)level);
	log_info("log level: %s%s%s, %s%s", log_level_name((enum log_level)level),
		 atomic_load(&o->level_forced) ? "" : " (as configured)", span(for_ns, text),
		 who == NULL ? "the order's time has come" : "by order of ",
		 who == NULL ? "" : who);
}

/* Orders whose time is over; when the next one's is: 0: never. */
static uint64_t end_orders(struct control *c, uint64_t now)
{
	struct hand_orders *o = &c->shared.orders;
	uint64_t drain_ns = atomic_load(&o->drain_until_ns);
	uint64_t level_ns = atomic_load(&o->level_until_ns);

	if (drain_ns != 0 && drain_ns <= now) {
		drain(c, false, 0, NULL);
		drain_ns = 0;
	}
	if (level_ns != 0 && level_ns <= now) {
		force_level(c, -1, 0, NULL);
		level_ns = 0;
	}
	return drain_ns == 0 || (level_ns != 0 && level_ns < drain_ns) ? level_ns : drain_ns;
}

static void reload_by_order(struct control *c, struct control_task *t)
{
	char trigger[SERVICE_WHO_MAX + 16];

	snprintf(trigger, sizeof(trigger), "by order of %s", t->who);
	reload(c, trigger, t);
}

static void run_task(struct control *c, struct control_task *t)
{
	t->status = 200;
	if (c->phase != RUNNING)
		t->status = 409;
	else if (t->kind == TASK_RELOAD)
		reload_by_order(c, t);
	else if (t->kind == TASK_LOG_LEVEL)
		force_level(c, t->level, t->for_ns, t->who);
	else
		drain(c, t->kind == TASK_DRAIN, t->for_ns, t->who);
	if (t->status == 409)
		buf_printf(&t->body, "{\"error\":\"%s\"}\n",
			   c->phase != RUNNING ? "weir is shutting down"
					       : "the configuration came from the command line");
}

void control_task_run(void *control, struct message *m)
{
	struct control *c = control;
	struct task_message *t = LIST_ENTRY(m, struct task_message, message);

	if (c->phase == ENDED) { /* its worker is gone */
		buf_fini(&t->task.body);
		free(t);
		return;
	}
	run_task(c, &t->task);
	if (t->task.kind == TASK_RELOAD)
		atomic_store(&c->shared.orders.reloading, false);
	m->run = t->done;
	mailbox_post(t->back, m);
}

/*---------------------------------------------------------------- the end */

static void begin_shutdown(struct control *c, uint64_t now)
{
	const struct shutdown_conf *s = &c->policy->config->shutdown;

	if (c->phase != RUNNING) {
		log_warn("told a second time: stopping at once");
		listen_set_unlink(&c->listeners);
		_exit(1);
	}
	log_info("shutting down: accepting for %.1f s more, then up to %.1f s for calls to end",
		 (double)s->delay_ns / 1e9, (double)s->drain_ns / 1e9);
	announce_end(c, s);
	atomic_store(&c->shared.draining, true);
	c->phase = DELAY;
	c->phase_end_ns = now + s->delay_ns;
}

/* Calls under way may end; or not, and then all is over with the next look. */
static void begin_end(struct control *c, bool at_once, uint64_t now)
{
	if (c->phase == RUNNING) {
		log_info("shutting down: %s", at_once ? "at once" : "when the calls under way end");
		atomic_store(&c->shared.draining, true);
		order_all(c, ORDER_DRAIN, true);
		c->phase_end_ns = now + c->policy->config->shutdown.drain_ns;
	}
	c->phase = DRAINING;
	if (at_once)
		c->phase_end_ns = now;
}

static void log_state(struct control *c)
{
	log_info("state: policy %llu (%s), %u policies alive, %u client connections, phase %d",
		 (unsigned long long)c->policy->generation, c->policy->hash,
		 atomic_load(&c->shared.policies), atomic_load(&c->shared.connections), c->phase);
}

static void on_signal(struct control *c, uint64_t now)
{
	struct signalfd_siginfo si;

	while (read(c->signals, &si, sizeof(si)) == (ssize_t)sizeof(si)) {
		switch (si.ssi_signo) {
		case SIGHUP:
			if (c->phase == RUNNING)
				reload(c, "SIGHUP", NULL);
			break;
		case SIGUSR1:
			if (c->options->source != NULL)
				c->options->source->reopen(c->options->source->arg);
			access_log_reopen(c->shared.log);
			log_files_reopen(c->registries.logs);
			break;
		case SIGUSR2:
			log_state(c);
			break;
		default:
			if (c->options->term_at_once)
				begin_end(c, si.ssi_signo != SIGQUIT, now);
			else
				begin_shutdown(c, now);
		}
	}
}

/* Goes from phase to phase; false: all is over. */
static bool advance(struct control *c, uint64_t now)
{
	if (c->phase == DELAY && now >= c->phase_end_ns) {
		c->phase = DRAINING;
		c->phase_end_ns = now + c->policy->config->shutdown.drain_ns;
		order_all(c, ORDER_DRAIN, true);
	}
	if (c->phase != DRAINING)
		return true;
	if (atomic_load(&c->shared.connections) == 0) {
		log_info("drained");
		return false;
	}
	if (now < c->phase_end_ns)
		return true;
	log_warn("cutting %u connections that did not end in time",
		 atomic_load(&c->shared.connections));
	order_all(c, ORDER_CUT, true);
	return false;
}

/* 0: never. */
static uint64_t sooner(uint64_t a, uint64_t b)
{
	return a == 0 || (b != 0 && b < a) ? b : a;
}

static int poll_ms(struct control *c, uint64_t now)
{
	uint64_t at = end_orders(c, now);

	if (c->phase == DRAINING)
		return DRAIN_LOOK_MS;
	if (c->phase == DELAY)
		at = c->phase_end_ns;
	else if (c->options->watch && c->watch.look_ns != 0 && (at == 0 || c->watch.look_ns < at))
		at = c->watch.look_ns;
	at = sooner(at, c->pulse_ns);
	at = sooner(at, c->memory.look_ns);
	if (at == 0)
		return -1;
	return at <= now ? 0 : (int)((at - now) / CLOCK_MS) + 1;
}

static void turn(struct control *c)
{
	struct pollfd p[3] = {
		{ .fd = c->signals, .events = POLLIN },
		{ .fd = c->mailbox.fd, .events = POLLIN },
		{ .fd = c->options->watch ? c->watch.fd : -1, .events = POLLIN },
	};
	uint64_t now = clock_mono_ns();

	if (poll(p, 3, poll_ms(c, now)) < 0 && errno != EINTR)
		log_error("poll: %s", strerror(errno));
	now = clock_mono_ns();
	look_alive(c, now);
	if (c->memory.look_ns != 0 && now >= c->memory.look_ns)
		memory_look(&c->memory, &c->shared.memory, now);
	mailbox_drain(&c->mailbox, c);
	if (p[0].revents)
		on_signal(c, now);
	if (p[2].revents)
		watch_on_event(&c->watch, now);
	if (c->options->watch && c->phase == RUNNING && now >= c->watch.look_ns &&
	    watch_look(&c->watch, now))
		reload(c, "the file changed", NULL);
}

/*---------------------------------------------------------------- the start */

static int block_signals(void)
{
	sigset_t set;

	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN); /* a log as large as files may become is one that takes no more */
	sigemptyset(&set);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGQUIT);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

static void raise_descriptor_limit(void)
{
	struct rlimit r;

	if (getrlimit(RLIMIT_NOFILE, &r) == 0 && r.rlim_cur < r.rlim_max) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

static unsigned worker_count(const struct config *config)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint32_t n = config->workers != 0 ? config->workers : cpus > 0 ? (uint32_t)cpus : 1;

	return n > WORKERS_MAX ? WORKERS_MAX : n;
}

static bool make_workers(struct control *c)
{
	for (unsigned w = 0; w < c->workers; w++) {
		c->worker[w] = worker_new(w, &c->shared, true);
		if (c->worker[w] == NULL || !worker_start(c->worker[w])) {
			log_error("cannot start worker %u", w);
			return false;
		}
	}
	events_on_add(worker_tell_event, c->worker[0]);
	explicit_bzero(c->shared.ticket_secret, sizeof(c->shared.ticket_secret));
	return true;
}

static void write_pid_file(struct control *c, const struct config *config)
{
	FILE *f;

	if (config->pid_file == NULL)
		return;
	f = fopen(config->pid_file, "we");
	if (f == NULL) {
		log_warn("pid file %s: %s", config->pid_file, strerror(errno));
		return;
	}
	fprintf(f, "%d\n", (int)getpid());
	fclose(f);
	snprintf(c->pid_file, sizeof(c->pid_file), "%s", config->pid_file);
}

static bool init_shared(struct control *c, struct loading *l)
{
	c->workers = worker_count(l->config);
	c->shared.workers = c->workers;
	c->shared.start_wall_ns = clock_wall_ns();
	c->shared.ticket_start_ns = clock_mono_ns();
	tls_tickets_secret(c->shared.ticket_secret);
	c->shared.control = &c->mailbox;
	c->registries.stats = c->shared.stats = stats_new(c->workers);
	c->registries.tables = table_registry_new();
	c->registries.upstreams = upstream_registry_new();
	c->shared.log = access_log_open(&l->config->log, c->workers, &l->diags);
	c->registries.logs = c->shared.logs =
	    log_files_new(c->workers, l->config->log.buffer_bytes);
	c->shared.tracing = tracing_open(c->workers);
	return c->shared.stats != NULL && c->shared.tracing != NULL &&
	       c->registries.tables != NULL && c->registries.upstreams != NULL &&
	       c->shared.log != NULL && c->registries.logs != NULL && mailbox_init(&c->mailbox);
}

/* Workers wake up for its answers, and listeners open after it. */
static bool open_redis(struct control *c, struct loading *l)
{
	struct sharing sharing;

	if (l->config->redis.n_places == 0)
		return true;
	c->shared.redis =
	    redis_set_open(&l->config->redis, c->shared.wakes, c->workers, &l->diags);
	if (c->shared.redis == NULL)
		return false;
	redis_set_sharing(c->shared.redis, &sharing);
	table_registry_share(c->registries.tables, &sharing);
	return true;
}

static bool tell_ready(struct control *c)
{
	const struct control_source *s = c->options->source;

	if (s == NULL || s->ready(s->arg))
		return true;
	listen_set_unlink(&c->listeners);
	return false;
}

static bool start(struct control *c, const struct control_services *services)
{
	struct loading l;
	struct tracing_target *target = NULL;
	struct policy *p = NULL;
	bool ok = load(c, &l) && init_shared(c, &l) && open_redis(c, &l);

	if (ok) {
		follow_admin(c, l.config);
		listen_set_init(&c->listeners, c->workers, c->shared.stats, services);
		p = prepare(c, &l);
		ok = p != NULL && memory_open(&c->memory, &p->config->memory, &l.diags) &&
		     tracing_prepare(c->shared.tracing, &p->config->tracing, &l.diags, &target);
	}
	print_findings(c, &l, ok ? "loaded" : "not started");
	ok = ok && make_workers(c) &&
	     (c->shared.redis == NULL || redis_set_start(c->shared.redis)) && commit(c, p);
	if (ok) {
		tracing_commit(c->shared.tracing, target);
		memory_look(&c->memory, &c->shared.memory, clock_mono_ns());
		count_reload(c, true);
		atomic_store(&c->shared.reload.ok_count, 0); /* the first load is no reload */
		write_pid_file(c, p->config);
		atomic_store(&c->shared.ready, true);
		ok = tell_ready(c);
		log_info(
		    "weir %s is ready: %u routes, %u policies, %u workers, configuration %.12s",
		    WEIR_VERSION, p->n_routes, p->n_filters, c->workers, p->hash);
		inherited_warn_unused(&c->listeners.inherited);
		announce_ready(c);
		if (c->notify.watchdog_ns != 0)
			c->pulse_ns = clock_mono_ns() + c->notify.watchdog_ns / 4;
	}
	unload(&l, p != NULL);
	return ok;
}

static void stop(struct control *c)
{
	events_on_add(NULL, NULL);
	order_all(c, ORDER_STOP, false);
	c->phase = ENDED;
	for (unsigned w = 0; w < c->workers; w++)
		pthread_join(c->worker[w]->thread, NULL);
	access_log_finish(c->shared.log);
	log_files_finish(c->registries.logs);
	redis_set_stop(c->shared.redis);
	listen_set_unlink(&c->listeners);
	for (unsigned w = 0; w < c->workers; w++) {
		struct policy_use *use = c->worker[w]->use;

		c->worker[w]->use = NULL;
		worker_let_go(c->worker[w], use);
		worker_free(c->worker[w]);
	}
	mailbox_drain(&c->mailbox, c); /* the policies come back */
	redis_set_close(c->shared.redis);
	tracing_close(c->shared.tracing);
	access_log_close(c->shared.log);
	log_files_free(c->registries.logs);
	listen_set_fini(&c->listeners);
	upstream_registry_free(c->registries.upstreams);
	table_registry_free(c->registries.tables);
	stats_free(c->shared.stats);
	mailbox_fini(&c->mailbox);
	memory_close(&c->memory);
	if (c->options->watch)
		watch_fini(&c->watch);
	events_close();
	if (c->pid_file[0] != '\0')
		unlink(c->pid_file);
}

int control_run(const struct control_options *options, const struct control_services *services)
{
	static struct control control; /* the process has one */
	struct control *c = &control;

	c->options = options;
	c->signals = block_signals();
	raise_descriptor_limit();
	notify_init(&c->notify);
	if (options->watch) /* before the file is read: no change is missed */
		watch_init(&c->watch, options->config_path, clock_mono_ns());
	if (c->signals < 0 || !start(c, services))
		return 1;
	while (advance(c, clock_mono_ns()))
		turn(c);
	stop(c);
	return 0;
}
