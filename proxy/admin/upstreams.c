/* upstreams.c - /upstreams: GET lists, PUT takes an endpoint out of service or back. */
#include "admin/upstreams.h"

#include <string.h>

#include "admin/order.h"
#include "admin/page.h"
#include "base/arena.h"
#include "base/log.h"

/*---------------------------------------------------------------- to show */

/* What stands behind /upstreams/; p NULL: anything does. */
struct asked {
	struct slice upstream, endpoint;
};

static bool is_asked(const struct asked *a, const struct endpoint *e)
{
	return (a->upstream.p == NULL || slice_is(a->upstream, e->cluster)) &&
	       (a->endpoint.p == NULL || slice_is(a->endpoint, e->text));
}

/* Returns of how many. */
static unsigned list(const struct process_view *view, const struct asked *asked,
		     struct service_reply *reply)
{
	const struct policy *p = view->policy;
	struct buf *b = &reply->body;
	unsigned n = 0;

	reply->status = 200;
	reply->content_type = "application/json";
	buf_puts(b, "{\"endpoints\":[");
	for (uint32_t i = 0; i < p->n_clusters; i++) {
		for (uint32_t k = 0; k < p->cluster[i]->n; k++) {
			const struct cluster_member *m = &p->cluster[i]->member[k];
			const struct endpoint *e = m->endpoint;

			if (!is_asked(asked, e))
				continue;
			buf_puts(b, n++ == 0 ? "{\"upstream\":" : ",{\"upstream\":");
			buf_json_string(b, slice_str(e->cluster));
			buf_puts(b, ",\"endpoint\":");
			buf_json_string(b, slice_str(e->text));
			buf_printf(b, ",\"state\":\"%s\",\"weight\":%u,\"backup\":%s}",
				   endpoint_state(e), cluster_member_weight(m),
				   m->backup ? "true" : "false");
		}
	}
	buf_puts(b, "]}\n");
	return n;
}

void upstreams_show(const struct process_view *view, const struct service_request *req,
		    struct service_reply *reply)
{
	const struct asked all = { .upstream = { .p = NULL } };

	(void)req;
	list(view, &all, reply);
}

/* An endpoint may have slashes in it, be they escaped or not. */
static bool parse_path(struct slice path, struct arena *arena, struct asked *a)
{
	struct slice rest =
	    slice_of(path.p + strlen("/upstreams/"), path.n - strlen("/upstreams/"));
	bool one;

	a->upstream = page_decode(slice_cut(&rest, '/'), arena);
	one = rest.p != NULL;
	a->endpoint = one ? page_decode(rest, arena) : rest;
	return a->upstream.p != NULL && (!one || a->endpoint.p != NULL);
}

static const char nobody[] = "no such upstream or endpoint";

void upstream_show(const struct process_view *view, const struct service_request *req,
		   struct service_reply *reply)
{
	struct arena arena;
	struct asked a;

	arena_init(&arena, NULL);
	if (!parse_path(req->path, &arena, &a) || list(view, &a, reply) == 0) {
		reply->body.n = 0;
		page_text(reply, 404, nobody);
	}
	arena_fini(&arena);
}

/*---------------------------------------------------------------- to change */

static struct endpoint *find(const struct policy *p, const struct asked *a)
{
	for (uint32_t i = 0; i < p->n_clusters; i++)
		for (uint32_t k = 0; k < p->cluster[i]->n; k++) {
			struct endpoint *e = p->cluster[i]->member[k].endpoint;

			if (is_asked(a, e))
				return e;
		}
	return NULL;
}

struct order_conf {
	int state; /* enum endpoint_order */
	uint32_t weight;
	struct place state_at, weight_at; /* file NULL: not given */
};

static const char *const state_names[] = { "up", "drain", "down", NULL };

static const struct field order_fields[] = {
	{ .key = "state",
	  .type = C_ENUM,
	  .offset = offsetof(struct order_conf, state),
	  .at = offsetof(struct order_conf, state_at),
	  .names = state_names,
	  .dflt = "up",
	  .doc = "What it is to be." },
	{ .key = "weight",
	  .type = C_U32,
	  .offset = offsetof(struct order_conf, weight),
	  .at = offsetof(struct order_conf, weight_at),
	  .min = 0,
	  .max = ENDPOINT_WEIGHT_MAX,
	  .doc = "In place of the configured one; 0: that again." },
	{ .key = NULL },
};

static const struct schema order_schema = {
	.name = "upstream order",
	.size = sizeof(struct order_conf),
	.fields = order_fields,
	.scalar = "state", /* "drain" */
};

static const char order_shape[] =
    "the body is to be {\"state\":\"up|drain|down\",\"weight\":1}, or one of both";

static void obey(struct endpoint *e, const struct order_conf *o, const char *who)
{
	if (o->state_at.line != 0) {
		endpoint_force(e, (enum endpoint_order)o->state);
		log_info("upstream %s: %s is told: %s, by order of %s", e->cluster, e->text,
			 state_names[o->state], who);
	}
	if (o->weight_at.line != 0) {
		endpoint_force_weight(e, o->weight);
		log_info("upstream %s: %s is told: weight %u%s, by order of %s", e->cluster,
			 e->text, o->weight, o->weight == 0 ? " (as configured)" : "", who);
	}
}

static void change(const struct process_view *view, const struct service_request *req,
		   struct arena *arena, struct service_reply *reply)
{
	struct asked a;
	struct endpoint *e = parse_path(req->path, arena, &a) && a.endpoint.p != NULL
				 ? find(view->policy, &a)
				 : NULL;
	struct order_conf o = { 0 };

	if (e == NULL) {
		page_text(reply, 404, nobody);
	} else if (!order_read(req, &order_schema, order_shape, arena, &o, reply)) {
		return;
	} else if (o.state_at.line == 0 && o.weight_at.line == 0) {
		page_text(reply, 400, order_shape);
	} else {
		obey(e, &o, req->who);
		list(view, &a, reply);
	}
}

void upstreams_change(const struct process_view *view, const struct service_request *req,
		      struct service_reply *reply)
{
	struct arena arena;

	arena_init(&arena, NULL);
	change(view, req, &arena, reply);
	arena_fini(&arena);
}
