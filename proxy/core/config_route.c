/* config_route.c - the field tables of routes: which calls, where they go, and what of them is
 * changed on the way; what they are answered is config_answer.c's. */
#include <string.h>

#include "base/clock.h"
#include "core/config.h"
#include "core/config_internal.h"

#define KIB  UINT64_C(1024)
#define MIB  (1024 * KIB)
#define HOUR (3600 * CLOCK_S)
#define MS   CLOCK_MS

/*---------------------------------------------------------------- which calls */

static bool check_match(struct conf_load *l, const struct node *n, void *conf)
{
	const struct match_conf *match = conf;
	const char *const *method = match->methods.item;
	bool ok = true;

	for (uint32_t i = 0; i < match->methods.n; i++) {
		char upper[32];
		size_t k = 0;

		for (; method[i][k] >= 'a' && method[i][k] <= 'z' && k < sizeof(upper) - 1; k++)
			upper[k] = (char)(method[i][k] & ~0x20);
		upper[k] = '\0';
		if (k == 0 || method[i][k] != '\0')
			continue;
		/* methods are case-sensitive (RFC 9110 section 9.1): this one would match nothing
		 */
		diag_error(l->diags, node_item(node_get(n, "methods"), i)->at, "E015",
			   "`methods`: `%s` in lower case is no method anyone sends", method[i])
		    ->suggestion = arena_strdup(l->diags->arena, upper);
		ok = false;
	}
	return ok;
}

static const struct field when_fields[] = {
	{ .key = "values",
	  .type = C_LIST,
	  .flags = C_REQUIRED | C_ONE,
	  .offset = offsetof(struct when_conf, values),
	  .at = offsetof(struct when_conf, at),
	  .item = C_STRING,
	  .max = 4096,
	  .doc =
	      "Any of these: a text, `*` (it is there), an empty text (it is not), `~ REGEX`; of "
	      "client.ip addresses and networks." },
	{ .key = NULL },
};

static bool check_when(struct conf_load *l, const struct node *n, void *conf)
{
	struct when_conf *when = conf;

	(void)n;
	if (conf_names_credentials(slice_str(when->name.name)))
		conf_hide_texts(l, &when->values);
	return true;
}

const struct schema when_schema = {
	.name = "condition",
	.size = sizeof(struct when_conf),
	.fields = when_fields,
	.check = check_when,
	.scalar = "values",
};

static const char *const from_names[] = { [FROM_ANY] = "any",
					  [FROM_CLIENT] = "client",
					  [FROM_ROUTE] = "route",
					  [FROM_NAME] = "name",
					  NULL };

static const struct field match_fields[] = {
	{ .key = "hosts",
	  .type = C_LIST,
	  .offset = offsetof(struct match_conf, hosts),
	  .at = offsetof(struct match_conf, hosts_at),
	  .item = C_STRING,
	  .min = 1,
	  .max = 255,
	  .doc = "Any of these hosts, whatever the port; `*.example.com` and `example.*` take one "
		 "or more "
		 "labels where the star is, `~ REGEX` is a regular expression." },
	{ .key = "path",
	  .type = C_STRING,
	  .offset = offsetof(struct match_conf, path),
	  .at = offsetof(struct match_conf, path_at),
	  .min = 1,
	  .max = 4096,
	  .doc =
	      "`/x` is this path, `/x/*` what is below it, `/x*` all that begin so, `/*` any; `~ "
	      "REGEX` "
	      "those in which the regular expression is found (`~* REGEX`: in whatever case). The "
	      "query "
	      "takes no part. Dots that climb for some readers alone (`..%2F`, `..;`) are 400." },
	{ .key = "methods",
	  .type = C_LIST,
	  .offset = offsetof(struct match_conf, methods),
	  .item = C_STRING,
	  .min = 1,
	  .max = 32,
	  .doc = "Any of these methods." },
	{ .key = "when",
	  .type = C_NAMED,
	  .offset = offsetof(struct match_conf, when),
	  .sub = &when_schema,
	  .doc = "What else of the call must be so, by name: `client.ip`, `header.NAME`, "
		 "`query.NAME`, "
		 "`cookie.NAME`, `scheme`, `server.port`, `server.address` and what else texts can "
		 "say of a "
		 "call before it has a route." },
	{ .key = "from",
	  .type = C_ENUM,
	  .offset = offsetof(struct match_conf, from),
	  .dflt = "any",
	  .names = from_names,
	  .doc = "Who sends the call: the `client`, another `route` (by `reroute`, or a page for "
		 "errors), or one "
		 "that says this one's `name`." },
	{ .key = NULL },
};

static const struct schema match_schema = {
	.name = "match",
	.size = sizeof(struct match_conf),
	.fields = match_fields,
	.check = check_match,
};

static const struct field use_fields[] = {
	{ .key = "policy",
	  .type = C_STRING,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct use_conf, name),
	  .at = offsetof(struct use_conf, at),
	  .min = 1,
	  .doc = "The name of a policy." },
	{ .key = NULL },
};

static const struct schema use_schema = {
	.name = "use",
	.size = sizeof(struct use_conf),
	.fields = use_fields,
	.scalar = "policy",
};

static const struct field timeout_fields[] = {
	{ .key = "total",
	  .type = C_DURATION,
	  .offset = offsetof(struct timeout_conf, total_ns),
	  .max = 7 * 24 * HOUR,
	  .doc = "From the request head to the last byte of the answer; 504 when nothing was sent "
		 "yet. "
		 "Not given: no bound, as streams need." },
	{ .key = "idle",
	  .type = C_DURATION,
	  .offset = offsetof(struct timeout_conf, idle_ns),
	  .dflt = "60s",
	  .min = MS,
	  .max = 7 * 24 * HOUR,
	  .doc = "How long nothing may come either way, in an answer that has begun as well: a "
		 "stream of "
		 "gRPC, a WebSocket or an event stream that is silent for longer by design wants "
		 "more. "
		 "PINGs of HTTP/2 are none of the call's and do not count." },
	{ .key = "first_byte",
	  .type = C_DURATION,
	  .offset = offsetof(struct timeout_conf, first_byte_ns),
	  .max = 7 * 24 * HOUR,
	  .doc = "From the sent request to the head of the answer; beyond it 504. Not given: as "
		 "`idle`." },
	{ .key = NULL },
};

static const struct schema timeout_schema = {
	.name = "timeout",
	.size = sizeof(struct timeout_conf),
	.fields = timeout_fields,
	.scalar = "total",
};

/*------------------------------------------------------------------ rewrite */

/* As those are that everybody knows; one in lower case is a mistake. */
static bool is_method(const char *s)
{
	return s[strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_")] == '\0' && strcmp(s, "CONNECT") != 0;
}

static const char *rewrite_wrong(const struct rewrite_conf *r)
{
	if (r->prefix != NULL && (r->path.text != NULL || r->pattern != NULL))
		return "`prefix` replaces a part of the path, `path` all of it: give one of them";
	if (r->pattern != NULL && r->path.text == NULL)
		return "`pattern` says when the path becomes another: `path` is missing";
	if (r->prefix == NULL && r->path.text == NULL && r->query.text == NULL && r->method == NULL)
		return "a rewrite needs `prefix`, `path`, `query` or `method`";
	if (r->method != NULL && !is_method(r->method))
		return "`method` is a word in capitals, and not CONNECT";
	return NULL;
}

static bool check_rewrite(struct conf_load *l, const struct node *n, void *conf)
{
	struct rewrite_conf *r = conf;
	const char *wrong = rewrite_wrong(r);

	r->present = true;
	r->path.literal = text_is_secret(n, "path");
	r->query.literal = text_is_secret(n, "query");
	if (wrong != NULL)
		diag_error(l->diags, node_place(n), "E019", "%s", wrong);
	return wrong == NULL && text_check_target(l, "prefix", r->prefix, r->prefix_at, true) &&
	       text_check_target(l, "path", r->path.text, r->path.at, true) &&
	       text_check_target(l, "query", r->query.text, r->query.at, false);
}

static const struct field rewrite_fields[] = {
	{ .key = "prefix",
	  .type = C_STRING,
	  .offset = offsetof(struct rewrite_conf, prefix),
	  .at = offsetof(struct rewrite_conf, prefix_at),
	  .min = 1,
	  .max = 4096,
	  .doc =
	      "In place of what stands before the star of `match.path`: with `/api/*` and `prefix: "
	      "/v1/`, /api/x becomes /v1/x, with `prefix: /` it becomes /x." },
	{ .key = "path",
	  .type = C_STRING,
	  .offset = offsetof(struct rewrite_conf, path.text),
	  .at = offsetof(struct rewrite_conf, path.at),
	  .min = 1,
	  .max = 4096,
	  .doc = "In place of the whole path; `{path}`, `{match.1}` and the like are replaced." },
	{ .key = "pattern",
	  .type = C_STRING,
	  .offset = offsetof(struct rewrite_conf, pattern),
	  .at = offsetof(struct rewrite_conf, pattern_at),
	  .min = 1,
	  .max = 4096,
	  .doc = "A regular expression, as in `match.path`: only where it is found in the path, "
		 "path and "
		 "query become others, and `{match.1}` is its first group." },
	{ .key = "query",
	  .type = C_STRING,
	  .offset = offsetof(struct rewrite_conf, query.text),
	  .at = offsetof(struct rewrite_conf, query.at),
	  .max = 4096,
	  .doc =
	      "In place of the query, without its `?`; empty: none. Not given: it stays. An `&` at "
	      "either end is left out, so that `a=1&{query}` does for calls without a query, "
	      "too." },
	{ .key = "method",
	  .type = C_STRING,
	  .offset = offsetof(struct rewrite_conf, method),
	  .min = 1,
	  .max = 32,
	  .doc = "In place of the method. What is tried again, and what limits and logs see, goes "
		 "by the "
		 "client's." },
	{ .key = NULL },
};

static const struct schema rewrite_schema = {
	.name = "rewrite",
	.size = sizeof(struct rewrite_conf),
	.fields = rewrite_fields,
	.at = offsetof(struct rewrite_conf, at),
	.optional = true,
	.check = check_rewrite,
};

static bool check_reroute(struct conf_load *l, const struct node *n, void *conf)
{
	struct reroute_conf *r = conf;

	r->present = true;
	r->path.literal = text_is_secret(n, "path");
	r->query.literal = text_is_secret(n, "query");
	return text_check_target(l, "path", r->path.text, r->path.at, true) &&
	       text_check_target(l, "query", r->query.text, r->query.at, false);
}

static const struct field reroute_fields[] = {
	{ .key = "path",
	  .type = C_STRING,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct reroute_conf, path.text),
	  .at = offsetof(struct reroute_conf, path.at),
	  .min = 1,
	  .max = 4096,
	  .doc = "In place of the path; `{path}`, `{match.1}` and the like are replaced." },
	{ .key = "query",
	  .type = C_STRING,
	  .offset = offsetof(struct reroute_conf, query.text),
	  .at = offsetof(struct reroute_conf, query.at),
	  .max = 4096,
	  .doc = "In place of the query, as in `rewrite`. Not given: it stays." },
	{ .key = NULL },
};

static const struct schema reroute_schema = {
	.name = "reroute",
	.size = sizeof(struct reroute_conf),
	.fields = reroute_fields,
	.at = offsetof(struct reroute_conf, at),
	.optional = true,
	.scalar = "path",
	.check = check_reroute,
};

static const char *const dialect_names[] = {
	[DIALECT_AUTO] = "auto",           [DIALECT_OPENAI] = "openai",
	[DIALECT_ANTHROPIC] = "anthropic", [DIALECT_GEMINI] = "gemini",
	[DIALECT_PROBLEM] = "problem",     NULL
};

static const struct field route_fields[] = {
	{ .key = "name",
	  .type = C_STRING,
	  .offset = offsetof(struct route_conf, name),
	  .min = 1,
	  .max = 64,
	  .doc = "For metrics and logs, unique; made of host and path when it is not given." },
	{ .key = "match",
	  .type = C_MAP,
	  .offset = offsetof(struct route_conf, match),
	  .sub = &match_schema,
	  .doc = "Which calls take this route; all that is given must hold. Nothing given: every "
		 "call." },
	{ .key = "to",
	  .type = C_STRING,
	  .offset = offsetof(struct route_conf, to),
	  .at = offsetof(struct route_conf, to_at),
	  .min = 1,
	  .doc = "The name of an upstream. A route has this, or `respond`." },
	{ .key = "respond",
	  .type = C_MAP,
	  .offset = offsetof(struct route_conf, respond),
	  .sub = &respond_schema,
	  .doc = "An answer, in place of an upstream; its policies are asked all the same. A "
		 "number is "
		 "its status." },
	{ .key = "reroute",
	  .type = C_MAP,
	  .offset = offsetof(struct route_conf, reroute),
	  .sub = &reroute_schema,
	  .doc = "The call goes on as if it had asked for another path: the routes are asked "
		 "again, from the "
		 "first, at most ten times. Policies are those of the route where it ends; logs "
		 "and `{uri}` have "
		 "what the client asked for." },
	{ .key = "fallback",
	  .type = C_STRING,
	  .offset = offsetof(struct route_conf, fallback),
	  .at = offsetof(struct route_conf, fallback_at),
	  .min = 1,
	  .doc =
	      "The upstream to go to when a breaker shuts the first one or it has no endpoint." },
	{ .key = "use",
	  .type = C_LIST,
	  .offset = offsetof(struct route_conf, use),
	  .sub = &use_schema,
	  .doc = "Policies, by name, asked in this order. Without any the route is not limited. "
		 "Rates by "
		 "client.ip that stand first are asked before it is verified who calls, and bad "
		 "credentials pay for it." },
	{ .key = "auth",
	  .type = C_LIST,
	  .flags = C_ONE,
	  .offset = offsetof(struct route_conf, auth),
	  .at = offsetof(struct route_conf, auth_at),
	  .item = C_STRING,
	  .names = auth_names,
	  .doc =
	      "Who may call: with a verified `jwt`, with an `api_key`, with either of a list; or "
	      "`none`: nothing is looked at. Not given: what the keys of the policies need. "
	      "Preflights "
	      "of browsers (CORS) bring no credentials: let OPTIONS in by a route before it." },
	{ .key = "timeout",
	  .type = C_MAP,
	  .offset = offsetof(struct route_conf, timeout),
	  .sub = &timeout_schema,
	  .doc = "How long things may take." },
	{ .key = "await_body",
	  .type = C_BYTES,
	  .offset = offsetof(struct route_conf, await_body),
	  .dflt = "0",
	  .max = 64 * MIB,
	  .doc =
	      "A request's body of up to so many bytes is awaited, in memory, before an upstream "
	      "is asked, so that a slow sender occupies none; where its length was not known it "
	      "is then. Longer ones, gRPC and WebSockets are passed on as they come. 0: all are." },
	{ .key = "max_body",
	  .type = C_BYTES,
	  .offset = offsetof(struct route_conf, max_body),
	  .dflt = "32MiB",
	  .max = 1024 * 1024 * MIB,
	  .doc = "A request body; beyond it 413. Bodies stream, so it may be generous." },
	{ .key = "set",
	  .type = C_NAMED,
	  .offset = offsetof(struct route_conf, set),
	  .sub = &set_schema,
	  .doc = "Header fields of the request that goes upstream, by name; an empty value takes a "
		 "field "
		 "out. Texts of routes say something of the call: `{client.ip}`, `{header.NAME}`, "
		 "`{query.NAME}`, `{cookie.NAME}`, `{host}` (without a port), `{authority}` (as it "
		 "came), "
		 "`{method}`, `{scheme}`, `{uri}` (path and query, as they came), `{path}` (in "
		 "normal form), "
		 "`{query}`, `{route}`, `{upstream}`, `{value.NAME}`, `{server.address}`, "
		 "`{server.port}`, "
		 "`{tls.san}`, "
		 "`{request_id}`; of a match by regular expression `{match.1}` and `{match.NAME}`, "
		 "of one "
		 "that ends with a star `{match.rest}`. What the call lacks is empty; `{{` in "
		 "front of a "
		 "name is a brace." },
	{ .key = "rewrite",
	  .type = C_MAP,
	  .offset = offsetof(struct route_conf, rewrite),
	  .sub = &rewrite_schema,
	  .doc = "Another path for the upstream. Not given: the client's, as it came. What is made "
		 "here "
		 "begins with the path in normal form; logs and limits have the client's." },
	{ .key = "host",
	  .type = C_STRING,
	  .offset = offsetof(struct route_conf, host.text),
	  .at = offsetof(struct route_conf, host.at),
	  .min = 1,
	  .max = 255,
	  .doc = "The Host that goes upstream: `client` (what the client says; the same as nothing "
		 "given), `upstream` (the address of the endpoint, as the upstream names it), or a "
		 "text, in "
		 "which `{host}` and the like are replaced." },
	{ .key = "body",
	  .type = C_STRING,
	  .offset = offsetof(struct route_conf, body.text),
	  .at = offsetof(struct route_conf, body.at),
	  .max = 64 * KIB,
	  .doc =
	      "A text that goes upstream in place of the request's body, which is read and "
	      "dropped; "
	      "empty: nothing goes. `{client.ip}` and the like are replaced. Calls that change the "
	      "protocol, and those of gRPC, keep theirs." },
	{ .key = "client_fields",
	  .type = C_BOOL,
	  .offset = offsetof(struct route_conf, client_fields),
	  .dflt = "true",
	  .doc = "Whether the fields of the request's head go upstream. `false`: none but Host and "
		 "those that `set` names; `forwarded` and `auth.headers` add none either." },
	{ .key = "response",
	  .type = C_LIST,
	  .offset = offsetof(struct route_conf, response),
	  .sub = &edit_schema,
	  .doc = EDIT_DOC "Not given: the `response` of the whole configuration." },
	{ .key = "errors",
	  .type = C_LIST,
	  .offset = offsetof(struct route_conf, errors),
	  .sub = &page_schema,
	  .doc = PAGE_DOC
	  "Behind them come the `errors` of the whole configuration. Answers of the route "
	  "itself that have a body are no errors, and gRPC is told in its own way." },
	{ .key = "log",
	  .type = C_LIST,
	  .flags = C_ONE,
	  .offset = offsetof(struct route_conf, log),
	  .at = offsetof(struct route_conf, log_at),
	  .item = C_STRING,
	  .min = 1,
	  .max = 256,
	  .doc = "Logs that tell of its calls, by name: those of `log.text` and `log.events`, "
		 "`access` (the one of `log.access`), or `none`. Not given: `log.use`." },
	{ .key = "log_level",
	  .type = C_MAP,
	  .offset = offsetof(struct route_conf, log_level),
	  .sub = &log_level_schema,
	  .doc = "At what level `log.events` tell of refusals by limits." },
	{ .key = "dialect",
	  .type = C_ENUM,
	  .offset = offsetof(struct route_conf, dialect),
	  .dflt = "auto",
	  .names = dialect_names,
	  .doc = "The form of the bodies of Weir's own answers; auto goes by the path. Clients of "
		 "gRPC "
		 "are told in gRPC's own way whatever it says." },
	{ .key = "forwarded",
	  .type = C_BOOL,
	  .offset = offsetof(struct route_conf, forwarded),
	  .dflt = "true",
	  .doc = "Whether the upstream is told who calls (X-Forwarded-*, Forwarded, X-Real-IP, "
		 "X-Request-Id, traceparent) and both sides by whom (Via). `false`: such fields go "
		 "on as they came, whoever sent them, and none is added but by `set`: an upstream "
		 "that believes them believes any client." },
	{ .key = "upgrade",
	  .type = C_BOOL,
	  .offset = offsetof(struct route_conf, upgrade),
	  .dflt = "false",
	  .doc =
	      "Whether a connection may change its protocol (WebSocket, over HTTP/2 as well) and "
	      "is tunnelled then." },
	{ .key = NULL },
};

/* What is for an upstream only. */
static bool check_answered(struct conf_load *l, const struct route_conf *r)
{
	const struct {
		const char *key;
		bool given;
		struct place at;
	} rows[] = {
		{ "fallback", r->fallback != NULL, r->fallback_at },
		{ "rewrite", r->rewrite.present && r->respond.files == NULL, r->rewrite.at },
		{ "host", r->host.text != NULL, r->host.at },
		{ "body", r->body.text != NULL, r->body.at },
		{ "use", r->use.n > 0 && r->reroute.present, r->reroute.at },
	};
	bool ok = true;

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		if (!rows[i].given)
			continue;
		diag_error(l->diags, rows[i].at, "E019",
			   "`%s` is of no use: this route answers by itself", rows[i].key);
		ok = false;
	}
	return ok;
}

static bool check_route(struct conf_load *l, const struct node *n, void *conf)
{
	struct route_conf *r = conf;
	bool answers = r->respond.present || r->reroute.present;

	r->host.literal = text_is_secret(n, "host");
	r->body.literal = text_is_secret(n, "body");
	if (r->to == NULL && !answers) {
		diag_error(l->diags, node_place(n), "E013",
			   "a route needs `to`, `respond` or `reroute`")
		    ->help = "to: The name of an upstream; respond: an answer in its place";
		return false;
	}
	if ((r->to != NULL && answers) || (r->respond.present && r->reroute.present)) {
		diag_error(
		    l->diags, r->respond.present ? r->respond.at : r->reroute.at, "E019",
		    "a route goes `to` an upstream, or has an answer in its place, not both");
		return false;
	}
	return !answers || check_answered(l, r);
}

const struct schema route_schema = {
	.name = "route",
	.size = sizeof(struct route_conf),
	.fields = route_fields,
	.at = offsetof(struct route_conf, at),
	.check = check_route,
};
