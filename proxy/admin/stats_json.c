/* stats_json.c - one function a section. */
#include "admin/stats_json.h"

#include "admin/process.h"
#include "base/log.h"
#include "core/redis_set.h"
#include "filters/stats.h"

/* Where commas go. */
struct json {
	struct buf *out;
	const struct process_view *view;
	bool more;             /* something stands before the next member */
	struct stat_sum calls; /* how long they took, of all routes */
};

static void open_with(struct json *j, char bracket)
{
	buf_putc(j->out, bracket);
	j->more = false;
}

static void close_with(struct json *j, char bracket)
{
	buf_putc(j->out, bracket);
	j->more = true;
}

static void item(struct json *j)
{
	if (j->more)
		buf_putc(j->out, ',');
	j->more = true;
}

static void key(struct json *j, const char *name)
{
	item(j);
	buf_json_string(j->out, slice_str(name));
	buf_putc(j->out, ':');
}

static void number(struct json *j, const char *name, uint64_t v)
{
	key(j, name);
	buf_u64(j->out, v);
}

static void text(struct json *j, const char *name, const char *value)
{
	key(j, name);
	buf_json_string(j->out, slice_str(value));
}

static void boolean(struct json *j, const char *name, bool v)
{
	key(j, name);
	buf_puts(j->out, v ? "true" : "false");
}

static void seconds(struct json *j, const char *name, uint64_t ns)
{
	key(j, name);
	stat_print_seconds(j->out, ns);
}

static void quantiles(struct json *j, const char *name, const struct stat_sum *sum)
{
	static const struct {
		const char *name;
		uint32_t ppm;
	} rows[] = { { "p50", 500000 }, { "p90", 900000 }, { "p99", 990000 }, { "p999", 999000 } };

	key(j, name);
	open_with(j, '{');
	number(j, "count", sum->n);
	seconds(j, "sum", sum->sum_ns);
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		seconds(j, rows[i].name, stat_sum_quantile(sum, rows[i].ppm));
	close_with(j, '}');
}

/* Pairs of a cell's upper border and what is in it, of those that are not empty: two readings give
 * the quantiles of what came between.  The border of the last cell is null. */
static void histogram(struct json *j, const char *name, const struct stat_sum *sum)
{
	key(j, name);
	open_with(j, '[');
	for (unsigned i = 0; i < STAT_CELLS; i++) {
		if (sum->cell[i] == 0)
			continue;
		item(j);
		buf_putc(j->out, '[');
		if (i == STAT_CELLS - 1)
			buf_puts(j->out, "null");
		else
			stat_print_seconds(j->out, stat_cell_limit(i));
		buf_printf(j->out, ",%llu]", (unsigned long long)sum->cell[i]);
	}
	close_with(j, ']');
}

static void histograms(struct json *j)
{
	struct stat_sum overhead;

	stats_overhead(j->view->stats, &overhead);
	key(j, "histograms");
	open_with(j, '{');
	histogram(j, "duration", &j->calls);
	histogram(j, "overhead", &overhead);
	close_with(j, '}');
}

static void process(struct json *j)
{
	struct process_usage u;

	process_read(&u);
	key(j, "process");
	open_with(j, '{');
	seconds(j, "cpu", u.cpu_ns);
	number(j, "resident_bytes", u.resident_bytes);
	number(j, "virtual_bytes", u.virtual_bytes);
	number(j, "open_fds", u.open_fds);
	number(j, "max_fds", u.max_fds);
	close_with(j, '}');
}

static void memory(struct json *j)
{
	const struct memory_state *m = j->view->memory;

	key(j, "memory");
	open_with(j, '{');
	number(j, "limit_bytes", atomic_load(&m->limit_bytes));
	number(j, "used_bytes", atomic_load(&m->used_bytes));
	boolean(j, "refusing", atomic_load(&m->refusing));
	number(j, "shortages", atomic_load(&m->times));
	close_with(j, '}');
}

static void config(struct json *j)
{
	const struct reload_status *r = j->view->reload;

	key(j, "config");
	open_with(j, '{');
	text(j, "sha256", j->view->policy->hash);
	number(j, "generation", j->view->policy->generation);
	number(j, "alive", j->view->policies);
	boolean(j, "last_reload_ok", atomic_load(&r->last_ok));
	seconds(j, "last_reload_time", atomic_load(&r->last_ok_wall_ns));
	number(j, "reloads_ok", atomic_load(&r->ok_count));
	number(j, "reloads_failed", atomic_load(&r->failed_count));
	close_with(j, '}');
}

/* What callers may do: who shows this has to know before it offers anything. */
static void admin(struct json *j)
{
	const struct admin_conf *a = &j->view->policy->config->admin;

	key(j, "admin");
	open_with(j, '{');
	boolean(j, "token", a->token != NULL && a->token[0] != '\0');
	number(j, "streams", a->streams);
	close_with(j, '}');
}

static void visit_listener(void *arg, const struct listener_stats *l)
{
	struct json *j = arg;
	uint64_t refused = 0;

	for (unsigned i = 0; i < REASON_COUNT; i++)
		refused += listener_stats_refused(l, &reason_table[i]);
	item(j);
	open_with(j, '{');
	text(j, "listener", listener_stats_name(l));
	number(j, "active", listener_stats_active(l));
	number(j, "total", listener_stats_total(l));
	number(j, "refused", refused);
	close_with(j, '}');
}

static void visit_code(void *arg, enum method_id method, unsigned status, uint64_t n)
{
	struct json *j = arg;

	item(j);
	open_with(j, '{');
	text(j, "method", method_names[method].p);
	number(j, "code", status == STATUS_OTHER ? 0 : status);
	number(j, "count", n);
	close_with(j, '}');
}

static void visit_rejection(void *arg, const char *policy, const struct reason *why, uint64_t n)
{
	struct json *j = arg;

	item(j);
	open_with(j, '{');
	text(j, "policy", policy);
	text(j, "reason", why == NULL ? "_OTHER" : why->token);
	number(j, "count", n);
	close_with(j, '}');
}

static void add_calls(struct json *j, const struct stat_sum *sum)
{
	for (unsigned i = 0; i < STAT_CELLS; i++)
		j->calls.cell[i] += sum->cell[i];
}

static void visit_route(void *arg, const struct route_stats *r)
{
	struct json *j = arg;
	struct stat_sum sum = { 0 };

	item(j);
	open_with(j, '{');
	text(j, "route", route_stats_name(r));
	number(j, "in_flight", route_stats_read(r, ROUTE_IN_FLIGHT));
	number(j, "request_bytes", route_stats_read(r, ROUTE_BYTES_IN));
	number(j, "response_bytes", route_stats_read(r, ROUTE_BYTES_OUT));
	number(j, "client_aborts", route_stats_read(r, ROUTE_ABORTS));
	route_stats_duration(r, &sum);
	add_calls(j, &sum);
	quantiles(j, "duration", &sum);
	route_stats_start(r, &sum);
	quantiles(j, "response_start", &sum);
	key(j, "requests");
	open_with(j, '[');
	route_stats_requests(r, visit_code, j);
	close_with(j, ']');
	key(j, "rejections");
	open_with(j, '[');
	route_stats_rejections(r, visit_rejection, j);
	close_with(j, ']');
	close_with(j, '}');
}

static void shown(void *ctx, const struct filter_sample *s)
{
	static const char *const name[FILTER_METRICS] = {
		[SHOW_KEYS] = "keys",
		[SHOW_KEY_EVICTIONS] = "evictions",
		[SHOW_QUEUE_LENGTH] = "queued",
		[SHOW_CONCURRENCY] = "in_use",
		[SHOW_CONCURRENCY_LIMIT] = "limit",
	};

	/* what has labels of its own stands with its breaker, not here */
	if (name[s->metric] != NULL && s->state == NULL && s->upstream == NULL)
		number(ctx, name[s->metric], s->value);
}

static void policies(struct json *j)
{
	const struct policy *p = j->view->policy;

	key(j, "policies");
	open_with(j, '[');
	for (uint32_t i = 0; i < p->n_filters; i++) {
		const struct filter *f = p->filter[i];

		item(j);
		open_with(j, '{');
		text(j, "policy", f->name);
		text(j, "kind", f->ops->name);
		boolean(j, "shadow", f->shadow);
		for (unsigned d = 0; d < DECISION_COUNT; d++)
			number(j, decision_names[d], filter_stats_read(f->stats, (enum decision)d));
		if (f->ops->show != NULL)
			f->ops->show(f, shown, j);
		close_with(j, '}');
	}
	close_with(j, ']');
}

/* What the configuration in force makes of routes; their counters outlive it. */
static void chains(struct json *j)
{
	const struct policy *p = j->view->policy;

	key(j, "chains");
	open_with(j, '[');
	for (uint32_t i = 0; i < p->n_routes; i++) {
		const struct route *r = &p->route[i];

		item(j);
		open_with(j, '{');
		text(j, "route", r->name);
		if (r->cluster != NULL)
			text(j, "to", r->cluster->name);
		key(j, "policies");
		open_with(j, '[');
		for (unsigned k = 0; k < r->chain.n; k++) {
			item(j);
			buf_json_string(j->out, slice_str(r->chain.filter[k]->name));
		}
		close_with(j, ']');
		close_with(j, '}');
	}
	close_with(j, ']');
}

/* `since` null: as it is, it was from the start. */
static void health_changes(struct json *j, const struct endpoint_health *h)
{
	uint64_t now = j->view->now_ns;
	uint64_t changed = atomic_load_explicit(&h->changed_ns, memory_order_relaxed);
	uint64_t down_ns = atomic_load_explicit(&h->down_ns, memory_order_relaxed);
	uint64_t for_ns = now > changed ? now - changed : 0;
	bool down = atomic_load_explicit(&h->down, memory_order_relaxed);

	if (changed == 0) {
		key(j, "since");
		buf_puts(j->out, "null");
	} else {
		seconds(j, "since", for_ns);
	}
	number(j, "downs", atomic_load_explicit(&h->downs, memory_order_relaxed));
	seconds(j, "down_time", down_ns + (down && changed != 0 ? for_ns : 0));
}

static void health_check(struct json *j, const struct endpoint_health *h)
{
	uint64_t checks = 0;

	key(j, "check");
	open_with(j, '{');
	for (unsigned i = 0; i < CHECK_RESULTS; i++)
		checks += atomic_load_explicit(&h->results[i], memory_order_relaxed);
	number(j, "checks", checks);
	number(j, "passed_in_a_row", atomic_load_explicit(&h->passed, memory_order_relaxed));
	number(j, "failed_in_a_row", atomic_load_explicit(&h->failed, memory_order_relaxed));
	seconds(j, "duration", atomic_load_explicit(&h->took_ns, memory_order_relaxed));
	health_changes(j, h);
	if (checks > 0)
		text(j, "last", check_result_names[atomic_load(&h->last)]);
	close_with(j, '}');
}

/* What HAProxy's page counts of a server; bytes as its client would see them. */
static void endpoint_tries(struct json *j, const struct endpoint *e)
{
	number(j, "ok", endpoint_attempts(e, ENDPOINT_OK));
	number(j, "failed", endpoint_attempts(e, ENDPOINT_FAILED));
	number(j, "unreached", endpoint_counted(e, ENDPOINT_UNREACHED));
	number(j, "aborted", endpoint_attempts(e, ENDPOINT_ABORTED));
	number(j, "retries", endpoint_counted(e, ENDPOINT_RETRIES));
	number(j, "redispatches", endpoint_counted(e, ENDPOINT_REDISPATCHES));
	number(j, "request_bytes", endpoint_counted(e, ENDPOINT_BYTES_OUT));
	number(j, "response_bytes", endpoint_counted(e, ENDPOINT_BYTES_IN));
}

static void endpoint(struct json *j, const struct cluster *c, const struct cluster_member *m)
{
	const struct endpoint *e = m->endpoint;

	item(j);
	open_with(j, '{');
	text(j, "endpoint", e->text);
	number(j, "weight", cluster_member_weight(m));
	boolean(j, "backup", m->backup);
	boolean(j, "off", m->down);
	text(j, "state", endpoint_state(e));
	if (atomic_load_explicit(&e->health.checked, memory_order_relaxed))
		health_check(j, &e->health);
	number(j, "addresses", endpoint_addr_count(e));
	number(j, "connections", endpoint_connections(e));
	number(j, "idle", endpoint_idle(e));
	number(j, "active", endpoint_active(e));
	number(j, "active_most", endpoint_active_most(e));
	number(j, "max_active", (uint64_t)m->max_calls * j->view->workers);
	number(j, "waiting", endpoint_waiting(e));
	number(j, "warmth", cluster_member_warmth(c, m, j->view->now_ns));
	endpoint_tries(j, e);
	close_with(j, '}');
}

/* One that stands twice in its cluster is counted once. */
static bool endpoint_before(const struct cluster *c, uint32_t at)
{
	for (uint32_t i = 0; i < at; i++)
		if (c->member[i].endpoint == c->member[at].endpoint)
			return true;
	return false;
}

static void upstreams(struct json *j)
{
	const struct policy *p = j->view->policy;

	key(j, "upstreams");
	open_with(j, '[');
	for (uint32_t i = 0; i < p->n_clusters; i++) {
		item(j);
		open_with(j, '{');
		text(j, "upstream", p->cluster[i]->name);
		key(j, "endpoints");
		open_with(j, '[');
		for (uint32_t k = 0; k < p->cluster[i]->n; k++)
			if (!endpoint_before(p->cluster[i], k))
				endpoint(j, p->cluster[i], &p->cluster[i]->member[k]);
		close_with(j, ']');
		close_with(j, '}');
	}
	close_with(j, ']');
}

static void redis(struct json *j)
{
	const struct redis_stats *s;
	struct stat_sum took = { 0 };
	struct shared_gauge g;

	if (j->view->redis == NULL)
		return;
	redis_set_gauge(j->view->redis, &g);
	key(j, "redis");
	open_with(j, '{');
	boolean(j, "up", !g.down);
	number(j, "peers", g.peers);
	number(j, "keys", g.keys);
	number(j, "keys_without_it", g.local_keys);
	s = redis_set_stats(j->view->redis);
	for (unsigned i = 0; s != NULL && i < REDIS_RESULTS; i++)
		number(j, redis_result_names[i], stat_read(&s->results[i]));
	if (s != NULL)
		stat_sum_add(&took, &s->took);
	quantiles(j, "took", &took);
	close_with(j, '}');
}

static void inner(struct json *j)
{
	struct stat_sum sum;

	stats_overhead(j->view->stats, &sum);
	quantiles(j, "overhead", &sum);
	stats_lag(j->view->stats, &sum);
	quantiles(j, "loop_lag", &sum);
	number(j, "log_lines_dropped", j->view->access_lines_dropped + log_dropped());
}

void stats_json_render(const struct process_view *view, struct buf *out)
{
	struct json j = { .out = out, .view = view };

	open_with(&j, '{');
	text(&j, "version", WEIR_VERSION);
	boolean(&j, "ready", view->ready);
	boolean(&j, "draining", view->draining);
	boolean(&j, "drained_by_order", atomic_load(&view->orders->drained));
	number(&j, "workers", view->workers);
	seconds(&j, "start_time", view->start_wall_ns);
	seconds(&j, "now", view->now_wall_ns);
	config(&j);
	admin(&j);
	process(&j);
	memory(&j);
	inner(&j);
	key(&j, "listeners");
	open_with(&j, '[');
	stats_each_listener(view->stats, visit_listener, &j);
	close_with(&j, ']');
	key(&j, "routes");
	open_with(&j, '[');
	stats_each_route(view->stats, visit_route, &j);
	close_with(&j, ']');
	histograms(&j);
	chains(&j);
	policies(&j);
	upstreams(&j);
	redis(&j);
	close_with(&j, '}');
	buf_putc(out, '\n');
}
