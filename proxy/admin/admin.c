/* admin.c - the door of the admin listener, and its pages.
 *
 * A browser on this machine can be made to send requests here by any web page, under a name that
 * its author points at 127.0.0.1 (DNS rebinding).  So the Host must be something no one else can
 * own: an IP literal or localhost. */
#include "admin/admin.h"

#include <stdio.h>

#include "admin/breakers.h"
#include "admin/control.h"
#include "admin/dashboard.h"
#include "admin/explain.h"
#include "admin/health.h"
#include "admin/limits.h"
#include "admin/page.h"
#include "admin/stats_json.h"
#include "admin/upstreams.h"
#include "base/addr.h"
#include "base/clock.h"
#include "base/log.h"

/* Who guesses is not to fill the log. */
#define DENIALS_TOLD_NS (10 * CLOCK_S)

/*---------------------------------------------------------------- the door */

/* Without the port. */
static struct slice host_of(struct slice authority)
{
	const char *colon = authority.n == 0 ? NULL : memrchr(authority.p, ':', authority.n);

	if (colon == NULL || authority.p[authority.n - 1] == ']')
		return authority;
	return slice_of(authority.p, (size_t)(colon - authority.p));
}

static bool host_is_ours(struct slice authority)
{
	struct slice host = host_of(authority), localhost = SLICE("localhost");
	struct ip ip;

	if (host.n == 0 || slice_ieq(host, localhost))
		return host.n != 0;
	if (host.p[0] != '[' && memchr(host.p, ':', host.n) != NULL)
		return false; /* IPv6 without brackets: no authority (RFC 3986 section 3.2.2) */
	return ip_parse(host, &ip);
}

/* Takes as long for a near miss as for a far one. */
static bool same_secret(struct slice given, struct slice secret)
{
	unsigned char differs = given.n != secret.n;

	for (size_t i = 0; i < given.n; i++)
		differs |= (unsigned char)(given.p[i] ^ secret.p[secret.n == 0 ? 0 : i % secret.n]);
	return differs == 0;
}

/* RFC 6750 section 2.1; the scheme in any case (RFC 9110 section 11.1). */
static bool has_token(const struct head *req, const char *token)
{
	const struct header *h = head_find(req, F_AUTHORIZATION);
	struct slice scheme, rest, bearer = SLICE("bearer");

	if (h == NULL)
		return false;
	rest = slice_trim(h->value);
	scheme = slice_cut(&rest, ' ');
	return slice_ieq(scheme, bearer) && rest.p != NULL &&
	       same_secret(slice_trim(rest), slice_str(token));
}

/* A token that is shown and wrong is refused all the same: its owner is to know. */
static bool may_anybody(const struct process_view *view, const struct head *req)
{
	return view->policy->config->admin.anonymous == ANONYMOUS_READ &&
	       (req->method_id == METHOD_GET || req->method_id == METHOD_HEAD) &&
	       head_find(req, F_AUTHORIZATION) == NULL;
}

/* The same for everybody, and it says nothing of this process: it asks for the token itself. */
static bool is_dashboard(const struct service_request *req)
{
	return slice_is(req->path, "/") &&
	       (req->head->method_id == METHOD_GET || req->head->method_id == METHOD_HEAD);
}

static void count_denial(const struct process_view *view, const struct service_request *req,
			 enum service_denial why)
{
	struct service_denials *d = view->denials;

	atomic_fetch_add_explicit(&d->n[why], 1, memory_order_relaxed);
	/* browsers without a token ask every few seconds */
	if (why == DENIED_NO_TOKEN ||
	    (d->told_ns != 0 && view->now_ns - d->told_ns < DENIALS_TOLD_NS))
		return;
	d->told_ns = view->now_ns;
	log_warn("admin: a %s, from %s; weir_admin_denied_total counts all of them",
		 why == DENIED_WRONG_TOKEN ? "wrong token" : "foreign Host", req->who);
}

static bool may_enter(const struct process_view *view, const struct service_request *req,
		      struct service_reply *reply)
{
	const char *token = view->policy->config->admin.token;

	if (!host_is_ours(req->head->authority)) {
		count_denial(view, req, DENIED_FOREIGN_HOST);
		page_text(reply, 421, "the Host must be an IP address or localhost");
		return false;
	}
	if (is_dashboard(req))
		return true;
	if (token != NULL && token[0] != '\0' && !has_token(req->head, token) &&
	    !may_anybody(view, req->head)) {
		bool shown = head_find(req->head, F_AUTHORIZATION) != NULL;

		count_denial(view, req, shown ? DENIED_WRONG_TOKEN : DENIED_NO_TOKEN);
		/* RFC 6750 section 3 */
		reply->www_authenticate = shown ? "Bearer realm=\"weir\", error=\"invalid_token\""
						: "Bearer realm=\"weir\"";
		page_text(reply, 401, "the admin token is needed: Authorization: Bearer ...");
		return false;
	}
	return true;
}

/*---------------------------------------------------------------- pages */

static void show_health(const struct process_view *view, const struct service_request *req,
			struct service_reply *reply)
{
	(void)req;
	reply->content_type = "application/json";
	reply->status = health_render(view, &reply->body) == UNHEALTHY ? 503 : 200;
}

static void show_stats(const struct process_view *view, const struct service_request *req,
		       struct service_reply *reply)
{
	(void)req;
	reply->status = 200;
	reply->content_type = "application/json";
	stats_json_render(view, &reply->body);
}

/* Weak comparison (RFC 9110 section 13.1.2). */
static bool etag_matches(const struct head *req, struct slice etag)
{
	struct slice name = SLICE("if-none-match"), weak = SLICE("W/");
	const struct header *h = head_find_name(req, name);
	struct slice rest = h == NULL ? slice_of(NULL, 0) : h->value;

	while (rest.p != NULL) {
		struct slice one = slice_trim(slice_cut(&rest, ','));

		if (slice_is(one, "*"))
			return true;
		if (slice_starts(one, weak))
			one = slice_of(one.p + weak.n, one.n - weak.n);
		if (slice_eq(one, etag))
			return true;
	}
	return false;
}

/* The reply is sent by the thread that asked for it, before it asks again. */
static const char *etag_of(const struct policy *p, bool json)
{
	static _Thread_local char etag[sizeof(p->hash) + 8];

	snprintf(etag, sizeof(etag), "\"%s%s\"", p->hash, json ? "-json" : "");
	return etag;
}

static void show_config(const struct process_view *view, const struct service_request *req,
			struct service_reply *reply)
{
	struct slice format = page_query(req, "format");
	bool json = format.p != NULL && slice_is(format, "json");

	if (format.p != NULL && !json && !slice_is(format, "yaml")) {
		page_text(reply, 400, "`format` is yaml or json");
		return;
	}
	reply->etag = etag_of(view->policy, json);
	if (etag_matches(req->head, slice_str(reply->etag))) {
		reply->status = 304;
		return;
	}
	reply->status = 200;
	reply->content_type = json ? "application/json" : "application/yaml";
	(json ? schema_dump_json : schema_dump_yaml)(&config_schema, view->policy->config,
						     &reply->body);
}

/*---------------------------------------------------------------- refusals */

/* Only who says so by name: "*" is said by browsers and curl, before which people sit. */
static bool wants_json(const struct head *req)
{
	struct slice accept = SLICE("accept"), json = SLICE("application/json");
	const struct header *h = head_find_name(req, accept);
	struct slice rest = h == NULL ? slice_of(NULL, 0) : h->value;

	while (rest.p != NULL) {
		struct slice one = slice_cut(&rest, ',');

		if (slice_ieq(slice_trim(slice_cut(&one, ';')), json))
			return true;
	}
	return false;
}

/* The sentence of a refusal as {"error":"..."}. */
static void say_in_json(struct service_reply *reply)
{
	struct buf said = reply->body;
	struct slice text = slice_of(said.n > 0 ? said.p : "", said.n);

	while (text.n > 0 && text.p[text.n - 1] == '\n')
		text.n--;
	reply->content_type = "application/json";
	reply->body = (struct buf){ .oom = said.oom };
	buf_puts(&reply->body, "{\"error\":");
	buf_json_string(&reply->body, text);
	buf_puts(&reply->body, "}\n");
	buf_fini(&said);
}

static void answer(const struct process_view *view, const struct service_request *req,
		   struct service_reply *reply)
{
	static const struct page pages[] = {
		{ .path = "/", .show = dashboard_show },
		{ .path = "/health", .show = show_health },
		{ .path = "/stats.json", .show = show_stats },
		{ .path = "/config", .show = show_config },
		{ .path = "/limits", .show = limits_show },
		{ .path = "/limits/", .show = limit_show },
		{ .path = "/limits/",
		  .tail = "/key",
		  .method = METHOD_DELETE,
		  .show = limit_reset },
		{ .path = "/breakers", .show = breakers_show },
		{ .path = "/breakers/", .show = breaker_show },
		{ .path = "/breakers/", .method = METHOD_PUT, .show = breakers_change },
		{ .path = "/upstreams", .show = upstreams_show },
		{ .path = "/upstreams/", .show = upstream_show },
		{ .path = "/upstreams/", .method = METHOD_PUT, .show = upstreams_change },
		{ .path = "/reload", .method = METHOD_POST, .show = reload_order },
		{ .path = "/drain", .show = drain_show },
		{ .path = "/drain", .method = METHOD_POST, .show = drain_begin },
		{ .path = "/drain", .method = METHOD_DELETE, .show = drain_end },
		{ .path = "/log-level", .show = level_show },
		{ .path = "/log-level", .method = METHOD_PUT, .show = level_change },
		{ .path = "/events", .show = events_show },
		{ .path = "/explain", .method = METHOD_POST, .show = explain_show },
		{ .path = NULL },
	};

	if (may_enter(view, req, reply) && page_afford(&view->budgets->admin, view->now_ns,
						       view->policy->config->admin.requests, reply))
		page_show(pages, view, req, reply);
}

static void say_as_wanted(const struct service_request *req, struct service_reply *reply)
{
	struct slice text = SLICE("text/plain");

	if (reply->status >= 400 && slice_starts(slice_str(reply->content_type), text) &&
	    wants_json(req->head))
		say_in_json(reply);
}

static void handle(const struct process_view *view, const struct service_request *req,
		   struct service_reply *reply)
{
	answer(view, req, reply);
	say_as_wanted(req, reply);
}

static void guard(const struct process_view *view, const struct service_request *req,
		  struct service_reply *reply)
{
	if (!may_enter(view, req, reply))
		say_as_wanted(req, reply);
}

const struct service admin_service = { .name = "admin", .handle = handle, .door = guard };
