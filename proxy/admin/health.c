/* health.c - a table of checks and what they add up to. */
#include "admin/health.h"

#include "base/clock.h"

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

static void check_end(struct report *r, const char *name, enum health health, uint64_t failures,
		      const char *message)
{
	struct buf *b = r->out;

	buf_puts(b, r->checks++ == 0 ? "{\"name\":" : ",{\"name\":");
	buf_json_string(b, slice_str(name));
	buf_printf(b, ",\"status\":\"%s\",\"message\":", names[health]);
	buf_json_string(b, slice_str(message));
	buf_puts(b, ",\"consecutive_failures\":");
	buf_u64(b, failures);
	buf_puts(b, ",\"duration\":");
	stat_print_seconds(b, clock_mono_ns() - r->begun_ns);
	buf_putc(b, '}');
	if (health > r->worst)
		r->worst = health;
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

/* An upstream none of whose endpoints has an address answers nothing. */
static bool check_upstream(struct report *r, const struct cluster *c)
{
	struct buf name = { 0 }, message = { 0 };
	enum health health = HEALTHY;
	uint32_t up = 0;

	check_begin(r);
	for (uint32_t i = 0; i < c->n; i++)
		up += endpoint_addr_count(c->member[i].endpoint) > 0;
	if (up < c->n)
		health = DEGRADED;
	buf_printf(&name, "upstream.%s", c->name);
	buf_printf(&message, "%u of %u endpoints have an address", up, c->n);
	r->out->oom |= name.oom || message.oom;
	if (!r->out->oom)
		check_end(r, name.p, health, health != HEALTHY, message.p);
	buf_fini(&name);
	buf_fini(&message);
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

enum health health_render(const struct process_view *view, struct buf *out)
{
	struct buf checks = { 0 };
	struct report r = { .view = view, .out = &checks };

	check_config(&r);
	check_listeners(&r);
	check_upstreams(&r);
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
