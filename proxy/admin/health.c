/* health.c - a table of checks and what they add up to. */
#include "admin/health.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "core/redis_set.h"
#include "filters/breaker.h"

static const char *const names[] = {
	[HEALTHY] = "healthy", [DEGRADED] = "degraded", [UNHEALTHY] = "unhealthy"
};

struct report {
	const struct process_view *view;
	struct buf *out;
	enum health worst;
	unsigned checks;
	uint64_t begun_ns;
};

static void check_begin(struct report *r)
{
	r->begun_ns = clock_mono_ns();
}

/* `took_ns`: of a check that was made elsewhere. */
static void check_show(struct report *r, const char *name, enum health health, uint64_t failures,
		       const char *message, uint64_t took_ns)
{
	struct buf *b = r->out;

	buf_puts(b, r->checks++ == 0 ? "{\"name\":" : ",{\"name\":");
	buf_json_string(b, slice_str(name));
	buf_printf(b, ",\"status\":\"%s\",\"message\":", names[health]);
	buf_json_string(b, slice_str(message));
	buf_puts(b, ",\"consecutive_failures\":");
	buf_u64(b, failures);
	buf_puts(b, ",\"duration\":");
	stat_print_seconds(b, took_ns);
	buf_putc(b, '}');
	if (health > r->worst)
		r->worst = health;
}

static void check_end(struct report *r, const char *name, enum health health, uint64_t failures,
		      const char *message)
{
	check_show(r, name, health, failures, message, clock_mono_ns() - r->begun_ns);
}

static void check_config(struct report *r)
{
	const struct reload_status *reload = r->view->reload;
	bool ok = atomic_load(&reload->last_ok);

	check_begin(r);
	check_end(r, "config", ok ? HEALTHY : DEGRADED,
		  ok ? 0 : atomic_load(&reload->failed_in_a_row),
		  ok ? "the configuration in force is the last one given"
		     : "the last reload failed: the configuration before it is in force");
}

static void check_listeners(struct report *r)
{
	check_begin(r);
	if (r->view->draining)
		check_end(r, "listeners", DEGRADED, 0, "draining");
	else
		check_end(r, "listeners", r->view->ready ? HEALTHY : UNHEALTHY, !r->view->ready,
			  r->view->ready ? "open" : "not yet open");
}

/* What the last check of an endpoint found. */
static void put_finding(struct buf *b, const struct endpoint *e)
{
	const struct endpoint_health *h = &e->health;
	unsigned last = atomic_load_explicit(&h->last, memory_order_relaxed);
	unsigned status = atomic_load_explicit(&h->status, memory_order_relaxed);

	buf_printf(b, "%s", endpoint_state(e));
	if (atomic_load(&h->passed) == 0 && atomic_load(&h->failed) == 0)
		buf_puts(b, ": not yet checked");
	else if (status != 0 && last <= CHECK_STATUS)
		buf_printf(b, ": status %u", status);
	else
		buf_printf(b, ": %s", check_result_texts[last]);
}

/* One that is asked how it is. */
static void check_endpoint(struct report *r, const struct endpoint *e)
{
	const struct endpoint_health *h = &e->health;
	struct buf name = { 0 }, message = { 0 };

	buf_printf(&name, "upstream.%s.%s", e->cluster, e->text);
	put_finding(&message, e);
	r->out->oom |= name.oom || message.oom;
	if (!r->out->oom)
		check_show(r, name.p, endpoint_is_up(e) ? HEALTHY : DEGRADED,
			   atomic_load_explicit(&h->failed, memory_order_relaxed), message.p,
			   atomic_load_explicit(&h->took_ns, memory_order_relaxed));
	buf_fini(&name);
	buf_fini(&message);
}

static enum health health_of(uint32_t up, uint32_t n)
{
	if (up == n)
		return HEALTHY;
	return up > 0 ? DEGRADED : UNHEALTHY;
}

/* An upstream none of whose endpoints is up is lost, be it that its calls are still tried. */
static bool check_upstream(struct report *r, const struct cluster *c)
{
	struct buf name = { 0 }, message = { 0 };
	enum health worst = r->worst;
	uint32_t up = 0;

	check_begin(r);
	for (uint32_t i = 0; i < c->n; i++)
		up += endpoint_is_up(c->member[i].endpoint);
	buf_printf(&name, "upstream.%s", c->name);
	buf_printf(&message, "%u of %u endpoints are up", up, c->n);
	r->out->oom |= name.oom || message.oom;
	if (!r->out->oom)
		check_end(r, name.p, health_of(up, c->n), up < c->n, message.p);
	buf_fini(&name);
	buf_fini(&message);
	/* one upstream of several does not make the whole unhealthy */
	r->worst = up == c->n ? worst : worst > DEGRADED ? worst : DEGRADED;
	for (uint32_t i = 0; i < c->n; i++)
		if (atomic_load(&c->member[i].endpoint->health.checked))
			check_endpoint(r, c->member[i].endpoint);
	return up > 0;
}

static void check_upstreams(struct report *r)
{
	const struct policy *p = r->view->policy;
	uint32_t usable = 0;

	for (uint32_t i = 0; i < p->n_clusters; i++)
		usable += check_upstream(r, p->cluster[i]);
	if (usable == 0 && p->n_clusters > 0)
		r->worst = UNHEALTHY;
}

/* What is shut of one policy's breakers. */
struct breaker_count {
	struct buf *message;
	uint32_t all, shut, forced;
};

static void count_breaker(void *ctx, const struct breaker_view *v)
{
	struct breaker_count *n = ctx;
	bool shut = strcmp(v->state, "closed") != 0;

	n->all++;
	n->forced += v->forced;
	n->shut += shut;
	if (!shut || n->shut > 1)
		return;
	buf_printf(n->message, "%s%s%s is %s%s", v->upstream, v->endpoint == NULL ? "" : " ",
		   v->endpoint == NULL ? "" : v->endpoint, v->forced ? "forced " : "",
		   strcmp(v->state, "open") == 0 ? "open" : "half open");
	if (v->left_ns > 0)
		buf_printf(n->message, " for %llu s more",
			   (unsigned long long)((v->left_ns + CLOCK_S - 1) / CLOCK_S));
}

/* One that is forced closed guards nothing: that is worth a look, too. */
static void check_breaker(struct report *r, const struct filter *f)
{
	struct buf name = { 0 }, message = { 0 };
	struct breaker_count n = { .message = &message };

	check_begin(r);
	buf_printf(&name, "breaker.%s", f->name);
	breaker_each(f, r->view->now_ns, count_breaker, &n);
	if (n.shut > 1)
		buf_printf(&message, ", and %u more of %u", n.shut - 1, n.all);
	else if (n.shut == 0 && n.forced > 0)
		buf_printf(&message, "%u of %u forced closed", n.forced, n.all);
	else if (n.shut == 0)
		buf_puts(&message, "closed");
	r->out->oom |= name.oom || message.oom;
	if (!r->out->oom)
		check_end(r, name.p, n.shut + n.forced > 0 ? DEGRADED : HEALTHY, n.shut, message.p);
	buf_fini(&name);
	buf_fini(&message);
}

static void check_breakers(struct report *r)
{
	const struct policy *p = r->view->policy;

	for (uint32_t i = 0; i < p->n_filters; i++)
		if (p->filter[i]->ops == &breaker_ops)
			check_breaker(r, p->filter[i]);
}

/* Limits go on without it; but all replicas together no longer hold to them exactly. */
static void check_redis(struct report *r)
{
	struct buf message = { 0 };
	struct shared_gauge g;

	if (r->view->redis == NULL)
		return;
	check_begin(r);
	redis_set_gauge(r->view->redis, &g);
	if (g.down)
		buf_puts(&message, "gone: shared limits go on without it");
	else
		buf_printf(&message, "answers; %u share limits", g.peers);
	if (g.local_keys > 0)
		buf_printf(&message, "; %llu of %llu keys are decided without it",
			   (unsigned long long)g.local_keys, (unsigned long long)g.keys);
	r->out->oom |= message.oom;
	if (!r->out->oom)
		check_end(r, "redis", g.down || g.local_keys > 0 ? DEGRADED : HEALTHY, g.down,
			  message.p);
	buf_fini(&message);
}

/* Only where there is a limit. */
static void check_memory(struct report *r)
{
	const struct memory_state *m = r->view->memory;
	uint64_t limit = atomic_load(&m->limit_bytes), used = atomic_load(&m->used_bytes);
	bool refusing = atomic_load(&m->refusing);
	char message[96];

	if (limit == 0)
		return;
	check_begin(r);
	snprintf(message, sizeof(message), "%llu of %llu MiB are used%s",
		 (unsigned long long)(used >> 20), (unsigned long long)(limit >> 20),
		 refusing ? ": new calls are refused" : "");
	check_end(r, "memory", refusing ? DEGRADED : HEALTHY, refusing, message);
}

enum health health_render(const struct process_view *view, struct buf *out)
{
	struct buf checks = { 0 };
	struct report r = { .view = view, .out = &checks };

	check_config(&r);
	check_listeners(&r);
	check_memory(&r);
	check_upstreams(&r);
	check_breakers(&r);
	check_redis(&r);
	buf_printf(out, "{\"status\":\"%s\",\"version\":\"%s\",\"uptime\":", names[r.worst],
		   WEIR_VERSION);
	stat_print_seconds(out, view->now_wall_ns > view->start_wall_ns
				    ? view->now_wall_ns - view->start_wall_ns
				    : 0);
	buf_puts(out, ",\"checks\":[");
	buf_put(out, checks.p, checks.n);
	buf_puts(out, "]}\n");
	out->oom |= checks.oom;
	buf_fini(&checks);
	return r.worst;
}
