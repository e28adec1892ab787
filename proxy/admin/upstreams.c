/* upstreams.c - /upstreams: GET lists, PUT takes an endpoint out of service or back. */
#include "admin/upstreams.h"

#include <string.h>

#include "admin/page.h"
#include "base/arena.h"
#include "base/json.h"
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
			const struct endpoint *e = p->cluster[i]->member[k].endpoint;

			if (only != NULL && e != only)
				continue;
			buf_puts(b, n++ == 0 ? "{\"upstream\":" : ",{\"upstream\":");
			buf_json_string(b, slice_str(e->cluster));
			buf_puts(b, ",\"endpoint\":");
			buf_json_string(b, slice_str(e->text));
			buf_printf(b, ",\"state\":\"%s\"}", endpoint_state(e));
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

/* {"state":"up|drain|down"}, or that word alone; nothing else. */
static bool parse_order(struct slice body, struct arena *arena, enum endpoint_order *order)
{
	const char *wrong;
	const struct json *root = json_read(body, arena, &wrong);
	const struct json *state = root;

	if (root != NULL && root->kind == JSON_OBJECT) {
		state = root->first;
		if (state == NULL || state->next != NULL || !slice_is(state->key, "state"))
			return false;
	}
	if (state == NULL || state->kind != JSON_STRING)
		return false;
	for (int i = 0; i < ENDPOINT_ORDERS; i++) {
		*order = (enum endpoint_order)i;
		if (slice_is(state->text, endpoint_order_names[i]))
			return true;
	}
	return false;
}

static void change(const struct process_view *view, const struct service_request *req,
		   struct arena *arena, struct service_reply *reply)
{
	struct endpoint *e = parse_path(view->policy, req->path, arena);
	enum endpoint_order order;

	if (e == NULL) {
		page_text(reply, 404, "no such upstream or endpoint");
	} else if (!parse_order(req->body, arena, &order)) {
		page_text(reply, 400, "the body is to be {\"state\":\"up|drain|down\"}");
	} else {
		endpoint_force(e, order);
		log_info("upstream %s: %s is told: %s", e->cluster, e->text,
			 endpoint_order_names[order]);
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
