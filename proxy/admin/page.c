/* page.c - from a path and a method to a page. */
#include "admin/page.h"

#include <stdio.h>
#include <string.h>

#include "base/arena.h"
#include "base/clock.h"

void page_text(struct service_reply *reply, unsigned status, const char *text)
{
	reply->status = (uint16_t)status;
	reply->content_type = "text/plain; charset=utf-8";
	buf_puts(&reply->body, text);
	buf_putc(&reply->body, '\n');
}

bool page_afford(struct service_budget *b, uint64_t now_ns, uint32_t per_second,
		 struct service_reply *reply)
{
	uint64_t cost_ns = CLOCK_S / per_second;

	b->paid_until_ns = b->paid_until_ns > now_ns ? b->paid_until_ns : now_ns;
	if (b->paid_until_ns - now_ns + cost_ns <= CLOCK_S) {
		b->paid_until_ns += cost_ns;
		return true;
	}
	atomic_fetch_add_explicit(&b->refused, 1, memory_order_relaxed);
	reply->retry_after_s = 1;
	page_text(reply, 429, "too many requests: calls come first");
	return false;
}

static int hex(char c)
{
	return c >= '0' && c <= '9'   ? c - '0'
	       : c >= 'a' && c <= 'f' ? c - 'a' + 10
	       : c >= 'A' && c <= 'F' ? c - 'A' + 10
				      : -1;
}

struct slice page_decode(struct slice s, struct arena *arena)
{
	static const struct slice none = { .p = NULL };
	char *out = arena_alloc(arena, s.n + 1);
	size_t n = 0;

	for (size_t i = 0; out != NULL && i < s.n; i++) {
		char c = s.p[i];

		if (c == '%') {
			int high = i + 2 < s.n ? hex(s.p[i + 1]) : -1;
			int low = i + 2 < s.n ? hex(s.p[i + 2]) : -1;

			if (high < 0 || low < 0)
				return none;
			c = (char)(high * 16 + low);
			i += 2;
		}
		out[n++] = c;
	}
	return slice_of(out, n);
}

struct slice page_query(const struct service_request *req, const char *name)
{
	struct slice rest = req->query;

	while (rest.p != NULL && rest.n > 0) {
		struct slice value = slice_cut(&rest, '&');
		struct slice key = slice_cut(&value, '=');

		if (slice_is(key, name))
			return value.p != NULL ? value : slice_of("", 0);
	}
	return slice_of(NULL, 0);
}

/*---------------------------------------------------------------- choosing */

static bool path_is(const struct page *page, struct slice path)
{
	struct slice want = slice_str(page->path);
	struct slice tail = slice_str(page->tail == NULL ? "" : page->tail);

	if (want.n == 1 || want.p[want.n - 1] != '/')
		return slice_eq(path, want);
	return slice_starts(path, want) && path.n >= want.n + tail.n &&
	       memcmp(path.p + path.n - tail.n, tail.p, tail.n) == 0;
}

static bool method_is(const struct page *page, enum method_id method)
{
	if (page->method == METHOD_OTHER)
		return method == METHOD_GET || method == METHOD_HEAD;
	return page->method == method;
}

/* The methods that one path has; NULL: it is no page.  The reply is sent by the thread that asked
 * for it, before it asks again. */
static const char *allow_of(const struct page *pages, struct slice path)
{
	static _Thread_local char allow[64];
	size_t n = 0;

	for (; pages->path != NULL; pages++) {
		const char *name =
		    pages->method == METHOD_OTHER ? "GET, HEAD" : method_names[pages->method].p;

		if (path_is(pages, path) && n + strlen(name) + 3 < sizeof(allow))
			n += (size_t)sprintf(allow + n, "%s%s", n > 0 ? ", " : "", name);
	}
	return n > 0 ? allow : NULL;
}

/*---------------------------------------------------------------- changing */

static bool is_origin(struct slice value, struct slice authority)
{
	struct slice scheme = SLICE("http://");

	return slice_starts(value, scheme) &&
	       slice_ieq(slice_of(value.p + scheme.n, value.n - scheme.n), authority);
}

bool page_origin_is_ours(const struct head *req)
{
	struct slice name = SLICE("origin");

	for (uint32_t i = 0; i < req->n; i++)
		if (slice_ieq(req->fields[i].name, name) &&
		    !is_origin(req->fields[i].value, req->authority))
			return false;
	return true;
}

/* All that it is said to be. */
static bool is_json(const struct head *req)
{
	struct slice json = SLICE("application/json");
	bool said = false;

	for (uint32_t i = 0; i < req->n; i++) {
		struct slice rest = req->fields[i].value;

		if (req->fields[i].id != F_CONTENT_TYPE)
			continue;
		if (!slice_ieq(slice_trim(slice_cut(&rest, ';')), json))
			return false;
		said = true;
	}
	return said;
}

/* No form sends one, and no script of another origin may. */
static bool is_bare_delete(const struct service_request *req)
{
	return req->head->method_id == METHOD_DELETE && req->body.n == 0;
}

static bool may_change(const struct service_request *req, struct service_reply *reply)
{
	if (!page_origin_is_ours(req->head)) {
		page_text(reply, 403, "a page of another origin may change nothing here");
		return false;
	}
	if (!is_json(req->head) && !is_bare_delete(req)) {
		page_text(reply, 415, "the body must be application/json, and say so");
		return false;
	}
	return true;
}

void page_show(const struct page *pages, const struct process_view *view,
	       const struct service_request *req, struct service_reply *reply)
{
	for (const struct page *p = pages; p->path != NULL; p++) {
		if (!path_is(p, req->path) || !method_is(p, req->head->method_id))
			continue;
		if (p->method == METHOD_OTHER || may_change(req, reply))
			p->show(view, req, reply);
		return;
	}
	reply->allow = allow_of(pages, req->path);
	if (reply->allow == NULL)
		page_text(reply, 404, "no such page");
	else
		page_text(reply, 405, "this page does not take that method");
}
