/* reroute.c - calls that a route sends on to another; see reroute.h. */
#include "core/reroute.h"

#include "core/route.h"
#include "core/target.h"

struct head *reroute_copy(const struct head *from, struct arena *arena)
{
	struct head *h = arena_alloc(arena, sizeof(*h));
	struct header *fields = arena_alloc(arena, ((size_t)from->n + 1) * sizeof(*fields));

	if (h == NULL || fields == NULL)
		return NULL;
	*h = *from;
	h->arena = arena;
	h->rerouted = true;
	h->fields = fields;
	h->cap = (uint16_t)(from->n + (from->n < UINT16_MAX));
	for (uint16_t i = 0; i < from->n; i++)
		fields[i] = from->fields[i];
	return h;
}

static bool set_path(struct head *h, const struct template *path, const struct template_values *v)
{
	if (!template_fill(path, v, TEMPLATE_PATH, &h->path))
		return false;
	h->path = route_normal(h->path, h->arena);
	return h->path.p != NULL;
}

struct head *reroute_head(const struct reroute *r, const struct template_values *v)
{
	struct head *h = reroute_copy(v->call->req, v->call->arena);

	if (h == NULL || !set_path(h, &r->path, v))
		return NULL;
	if (!r->has_query)
		return h;
	if (!template_fill(&r->query, v, TEMPLATE_URI, &h->query))
		return NULL;
	h->query = target_trim_query(h->query);
	return h;
}

/* Nothing of the request but who asks, and what he takes. */
static void forget_body(struct head *h)
{
	static const struct slice get = SLICE("GET");
	static const char *const asked[] = {
		"Range",         "If-Range",          "If-Match",
		"If-None-Match", "If-Modified-Since", "If-Unmodified-Since"
	};

	if (h->method_id != METHOD_HEAD) {
		h->method_id = METHOD_GET;
		h->method = get;
	}
	h->body = BODY_NONE;
	h->length = 0;
	h->expect_continue = h->upgrade = false;
	for (size_t i = 0; i < sizeof(asked) / sizeof(asked[0]); i++)
		head_remove_name(h, slice_str(asked[i]));
	head_remove(h, F_CONTENT_LENGTH);
	head_remove(h, F_TRANSFER_ENCODING);
	head_remove(h, F_EXPECT);
	head_remove(h, F_UPGRADE);
}

struct head *reroute_error(const struct error_page *page, const struct head *came,
			   const struct template_values *v)
{
	struct head *h = reroute_copy(came, v->call->arena);

	if (h == NULL || !page->has_path)
		return h;
	h->query = slice_of(NULL, 0);
	forget_body(h);
	return set_path(h, &page->path, v) ? h : NULL;
}
