/* breakers.c - /breakers: GET lists, PUT forces one open or closed, or lets it go on by itself. */
#include "admin/breakers.h"

#include <stdio.h>
#include <string.h>

#include "admin/order.h"
#include "admin/page.h"
#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/stat.h"
#include "conf/schema.h"
#include "filters/breaker.h"

/*---------------------------------------------------------------- to show */

struct listing {
	struct buf *out;
	uint64_t now_ns;
	const struct filter *filter;
	const struct breaker_order *of; /* NULL: all */
	unsigned n;
};

static bool is_of(const struct breaker_order *o, const struct breaker_view *v)
{
	return o == NULL || o->upstream.p == NULL ||
	       (slice_is(o->upstream, v->upstream) &&
		(o->endpoint.p == NULL ||
		 (v->endpoint != NULL && slice_is(o->endpoint, v->endpoint))));
}

static void list_one(void *ctx, const struct breaker_view *v)
{
	struct listing *l = ctx;
	struct buf *b = l->out;

	if (!is_of(l->of, v))
		return;
	buf_puts(b, l->n++ == 0 ? "{\"policy\":" : ",{\"policy\":");
	buf_json_string(b, slice_str(l->filter->name));
	buf_puts(b, ",\"upstream\":");
	buf_json_string(b, slice_str(v->upstream));
	buf_puts(b, ",\"endpoint\":");
	if (v->endpoint == NULL)
		buf_puts(b, "null");
	else
		buf_json_string(b, slice_str(v->endpoint));
	buf_printf(b, ",\"state\":\"%s\",\"forced\":%s,\"left\":", v->state,
		   v->forced ? "true" : "false");
	stat_print_seconds(b, v->left_ns);
	buf_puts(b, ",\"since\":");
	if (v->since_ns == 0)
		buf_puts(b, "null");
	else
		stat_print_seconds(b, l->now_ns > v->since_ns ? l->now_ns - v->since_ns : 0);
	buf_printf(b, ",\"calls\":%u,\"failures\":%u,\"slow\":%u,\"in_a_row\":%u}", v->window.calls,
		   v->window.failures, v->window.slow, v->in_a_row);
}

/* `only` NULL: of all policies. */
static void list(const struct process_view *view, const struct filter *only,
		 const struct breaker_order *of, struct service_reply *reply)
{
	struct listing l = { .out = &reply->body, .now_ns = view->now_ns, .of = of };

	reply->status = 200;
	reply->content_type = "application/json";
	buf_puts(l.out, "{\"breakers\":[");
	for (uint32_t i = 0; i < view->policy->n_filters; i++) {
		l.filter = view->policy->filter[i];
		if (l.filter->ops == &breaker_ops && (only == NULL || only == l.filter))
			breaker_each(l.filter, view->now_ns, list_one, &l);
	}
	buf_puts(l.out, "]}\n");
}

void breakers_show(const struct process_view *view, const struct service_request *req,
		   struct service_reply *reply)
{
	(void)req;
	list(view, NULL, NULL, reply);
}

/*---------------------------------------------------------------- to change */

struct order_conf {
	int state;
	uint64_t for_ns;
};

static const char *const state_names[] = { "auto", "open", "closed", NULL };
static const enum breaker_mode state_modes[] = { BREAKER_CLOSED, BREAKER_FORCED_OPEN,
						 BREAKER_FORCED_CLOSED };

static const struct field order_fields[] = {
	{ .key = "state",
	  .type = C_ENUM,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct order_conf, state),
	  .names = state_names,
	  .doc = "What it is to be." },
	{ .key = "for",
	  .type = C_DURATION,
	  .offset = offsetof(struct order_conf, for_ns),
	  .min = CLOCK_S,
	  .max = 30 * 24 * 3600 * CLOCK_S,
	  .doc = "For how long; until the next order when not given." },
	{ .key = NULL },
};

static const struct schema order_schema = {
	.name = "breaker order",
	.size = sizeof(struct order_conf),
	.fields = order_fields,
	.scalar = "state", /* "open" */
};

static bool parse_order(const struct service_request *req, struct arena *arena,
			struct breaker_order *o, struct service_reply *reply)
{
	struct order_conf conf = { 0 };

	if (!order_read(req, &order_schema,
			"the body is to be {\"state\":\"open|closed|auto\",\"for\":\"10m\"}", arena,
			&conf, reply))
		return false;
	o->mode = state_modes[conf.state];
	o->for_ns = o->mode == BREAKER_CLOSED ? 0 : conf.for_ns;
	return true;
}

/* What stands behind /breakers/: a policy, and unless all are meant an upstream, and one of its endpoints. */
static const struct filter *parse_path(const struct process_view *view, struct slice path,
				       struct arena *arena, struct breaker_order *o)
{
	struct slice rest = slice_of(path.p + strlen("/breakers/"), path.n - strlen("/breakers/"));
	struct slice name = page_decode(slice_cut(&rest, '/'), arena);

	bool one = rest.p != NULL;

	o->upstream = one ? page_decode(slice_cut(&rest, '/'), arena) : rest;
	o->endpoint = rest.p == NULL ? rest : page_decode(rest, arena);
	if (name.p == NULL || (one && o->upstream.p == NULL) ||
	    (rest.p != NULL && o->endpoint.p == NULL))
		return NULL;
	for (uint32_t i = 0; i < view->policy->n_filters; i++) {
		const struct filter *f = view->policy->filter[i];

		if (f->ops == &breaker_ops && slice_is(name, f->name))
			return f;
	}
	return NULL;
}

static const char no_policy[] = "no breaker policy of that name";
static const char no_breaker[] = "that policy guards no such upstream or endpoint";

static void count_one(void *ctx, const struct breaker_view *v)
{
	struct listing *l = ctx;

	l->n += is_of(l->of, v);
}

static void show(const struct process_view *view, const struct filter *f,
		 const struct breaker_order *of, struct service_reply *reply)
{
	struct listing l = { .of = of };

	if (f != NULL)
		breaker_each(f, view->now_ns, count_one, &l);
	if (f == NULL || (l.n == 0 && of->upstream.p != NULL))
		page_text(reply, 404, f == NULL ? no_policy : no_breaker);
	else
		list(view, f, of, reply);
}

void breaker_show(const struct process_view *view, const struct service_request *req,
		  struct service_reply *reply)
{
	struct breaker_order o = { .for_ns = 0 };
	struct arena arena;

	arena_init(&arena, NULL);
	show(view, parse_path(view, req->path, &arena, &o), &o, reply);
	arena_fini(&arena);
}

static void tell(const struct filter *f, const struct breaker_order *o, const char *who)
{
	static const char *const told[] = { [BREAKER_CLOSED] = "auto",
					    [BREAKER_FORCED_OPEN] = "open",
					    [BREAKER_FORCED_CLOSED] = "closed" };
	char span[48] = "";

	if (o->for_ns != 0)
		snprintf(span, sizeof(span), " for %llu s",
			 (unsigned long long)(o->for_ns / CLOCK_S));
	log_info("breaker %s: upstream %.*s%s%.*s is told: %s%s, by order of %s", f->name,
		 SLICE_FMT(o->upstream), o->endpoint.p == NULL ? "" : ", endpoint ",
		 SLICE_FMT(o->endpoint), told[o->mode], span, who);
}

static void change(const struct process_view *view, const struct service_request *req,
		   struct arena *arena, struct service_reply *reply)
{
	struct breaker_order o = { .for_ns = 0 };
	const struct filter *f = parse_path(view, req->path, arena, &o);

	if (f == NULL)
		page_text(reply, 404, no_policy);
	else if (o.upstream.p == NULL)
		page_text(reply, 404, "which breaker: /breakers/POLICY/UPSTREAM[/ENDPOINT]");
	else if (!parse_order(req, arena, &o, reply))
		return;
	else if (breaker_obey(f, view->now_ns, &o) == 0)
		page_text(reply, 404, no_breaker);
	else {
		tell(f, &o, req->who);
		list(view, f, &o, reply);
	}
}

void breakers_change(const struct process_view *view, const struct service_request *req,
		     struct service_reply *reply)
{
	struct arena arena;

	arena_init(&arena, NULL);
	change(view, req, &arena, reply);
	arena_fini(&arena);
}
