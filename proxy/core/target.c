/* target.c - see target.h. */
#include "core/target.h"

#include <string.h>

#include "base/reason.h"
#include "core/action.h"
#include "core/route.h"
#include "http/scan.h"

bool target_is_authority(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!char_is(s.p[i], CH_HOST) && strchr("[]:", s.p[i]) == NULL)
			return false;
	return s.n > 0;
}

struct slice target_trim_query(struct slice query)
{
	while (query.n > 0 && query.p[query.n - 1] == '&')
		query.n--;
	while (query.n > 0 && query.p[0] == '&')
		query = slice_of(query.p + 1, query.n - 1);
	if (query.n == 0)
		query.p = NULL;
	return query;
}

static bool join(struct slice a, struct slice b, struct arena *arena, struct slice *out)
{
	char *p = arena_alloc(arena, a.n + b.n + 1);

	if (p == NULL)
		return false;
	memcpy(p, a.p, a.n);
	memcpy(p + a.n, b.p, b.n);
	*out = slice_of(p, a.n + b.n);
	return true;
}

static bool replace_prefix(const struct rewrite *w, const struct template_values *v,
			   struct slice *path)
{
	struct slice all = v->call->path;
	size_t at = v->match->rest_at < all.n ? v->match->rest_at : all.n;

	return join(w->prefix, slice_of(all.p + at, all.n - at), v->call->arena, path);
}

static bool is_dots(struct slice segment)
{
	return segment.n > 0 && segment.n <= 2 && segment.p[segment.n - 1] == '.' &&
	       segment.p[0] == '.';
}

/* A value that leads up would leave the place that the text gives it. */
static bool leads_up(struct slice path)
{
	while (path.n > 0)
		if (is_dots(slice_cut(&path, '/')))
			return true;
	return false;
}

static const struct reason *make_path(const struct rewrite *w, const struct template_values *v,
				      struct target *t)
{
	struct slice path;

	if (w->prefix.p != NULL ? !replace_prefix(w, v, &path)
				: !template_fill(&w->path, v, TEMPLATE_PATH, &path))
		return reason_out_of_memory;
	if (w->prefix.p == NULL && w->path.n > 0 && leads_up(path))
		return reason_bad_request;
	t->path = route_normal(path, v->call->arena);
	return t->path.p == NULL ? reason_bad_request : NULL;
}

static const struct reason *make_query(const struct rewrite *w, const struct template_values *v,
				       struct target *t)
{
	if (!template_fill(&w->query, v, TEMPLATE_URI, &t->query))
		return reason_out_of_memory;
	t->query = target_trim_query(t->query);
	return NULL;
}

static const struct reason *make_uri(const struct rewrite *w, const struct template_values *v,
				     struct target *t)
{
	const struct reason *why = NULL;
	struct template_values own = *v;

	own.match = &w->match;
	if (slice_is(v->call->req->path, "*")) /* OPTIONS of the whole server has no path */
		return NULL;
	if (w->pattern != NULL) {
		enum pattern_answer found = pattern_match(w->pattern, v->call->path, NULL);

		if (found != PATTERN_YES)
			return found == PATTERN_NO ? NULL : reason_path_too_hard;
	}
	if (w->prefix.p != NULL || w->has_path)
		why = make_path(w, &own, t);
	if (why == NULL && w->has_query)
		why = make_query(w, &own, t);
	return why;
}

/* What changes the protocol is asked for as it came. */
static bool make_body(const struct rewrite *w, const struct template_values *v, struct target *t)
{
	const struct head *req = v->call->req;

	if (req->upgrade)
		t->method = req->method;
	if (!w->has_body || req->upgrade)
		return true;
	if (!template_fill(&w->body, v, TEMPLATE_TEXT, &t->body))
		return false;
	if (t->body.p == NULL)
		t->body = slice_of("", 0);
	return true;
}

const struct reason *target_make(const struct route *r, const struct template_values *v,
				 struct target *t)
{
	const struct rewrite *w = r->rewrite;
	const struct head *req = v->call->req;
	const struct reason *why;

	*t = (struct target){ .path = req->path,
			      .query = req->query,
			      .authority = req->authority,
			      .method = w->method.p != NULL ? w->method : req->method };
	why = make_uri(w, v, t);
	if (why == NULL && !make_body(w, v, t))
		why = reason_out_of_memory;
	if (why != NULL || w->host_from != HOST_OF_TEXT)
		return why;
	if (!template_fill(&w->host, v, TEMPLATE_TEXT, &t->authority))
		return reason_out_of_memory;
	return target_is_authority(t->authority) ? NULL : reason_bad_request;
}
