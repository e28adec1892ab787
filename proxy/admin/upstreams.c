/* upstreams.c - /upstreams: GET lists, PUT takes an endpoint out of service or back. */
#include "admin/upstreams.h"

#include <string.h>

#include "admin/order.h"
#include "admin/page.h"
#include "base/arena.h"
#include "base/log.h"

/*---------------------------------------------------------------- to show */

/* `only` NULL: all. */
static void list(const struct process_view *view, const struct endpoint *only,
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

			if (only != NULL && e != only)
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
}

void upstreams_show(const struct process_view *view, const struct service_request *req,
		    struct service_reply *reply)
{
	(void)req;
	list(view, NULL, reply);
}

/*---------------------------------------------------------------- to change */

static struct endpoint *find(const struct policy *p, struct slice upstream, struct slice text)
{
	for (uint32_t i = 0; i < p->n_clusters; i++)
		for (uint32_t k = 0; k < p->cluster[i]->n; k++) {
			struct endpoint *e = p->cluster[i]->member[k].endpoint;

			if (slice_is(upstream, e->cluster) && slice_is(text, e->text))
				return e;
		}
	return NULL;
}

/* What stands behind /upstreams/: an endpoint may have slashes in it, be they escaped or not. */
static struct endpoint *parse_path(const struct policy *p, struct slice path, struct arena *arena)
{
	struct slice rest =
	    slice_of(path.p + strlen("/upstreams/"), path.n - strlen("/upstreams/"));
	struct slice upstream = page_decode(slice_cut(&rest, '/'), arena), endpoint;

	if (upstream.p == NULL || rest.p == NULL)
		return NULL;
	endpoint = page_decode(rest, arena);
	return endpoint.p == NULL ? NULL : find(p, upstream, endpoint);
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

static void obey(struct endpoint *e, const struct order_conf *o)
{
	if (o->state_at.line != 0) {
		endpoint_force(e, (enum endpoint_order)o->state);
		log_info("upstream %s: %s is told: %s", e->cluster, e->text, state_names[o->state]);
	}
	if (o->weight_at.line != 0) {
		endpoint_force_weight(e, o->weight);
		log_info("upstream %s: %s is told: weight %u%s", e->cluster, e->text, o->weight,
			 o->weight == 0 ? " (as configured)" : "");
	}
}

static void change(const struct process_view *view, const struct service_request *req,
		   struct arena *arena, struct service_reply *reply)
{
	struct endpoint *e = parse_path(view->policy, req->path, arena);
	struct order_conf o = { 0 };

	if (e == NULL) {
		page_text(reply, 404, "no such upstream or endpoint");
	} else if (!order_read(req, &order_schema, order_shape, arena, &o, reply)) {
		return;
	} else if (o.state_at.line == 0 && o.weight_at.line == 0) {
		page_text(reply, 400, order_shape);
	} else {
		obey(e, &o);
		list(view, e, reply);
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
