/* span_json.c - see span_json.h. */
#include "core/span_json.h"

#include <unistd.h>

#include "base/clock.h"
#include "base/put.h"
#include "core/grpc.h"

enum {
	KIND_SERVER = 2,
	KIND_CLIENT = 3,
	STATUS_UNSET = 0,
	STATUS_ERROR = 2,
	PATH_MAX = 1024,
	TEXT_MAX = 256,
	/* opentelemetry/proto/trace/v1/trace.proto, SpanFlags */
	FLAG_KNOWS_REMOTE = 1 << 8,
	FLAG_IS_REMOTE = 1 << 9,
};

const struct slice span_json_tail = SLICE("]}]}]}");

#define PUT(b, text) buf_put(b, text, sizeof(text) - 1)

/*---------------------------------------------------------------- attributes */

static void json_cut(struct buf *b, struct slice s, size_t max)
{
	buf_json(b, slice_of(s.p, s.n < max ? s.n : max));
}

/* What stands before a value, with a comma that the first has no use for. */
static void open_value(struct buf *b, const char *p, size_t n)
{
	bool first = b->n > 0 && b->p[b->n - 1] == '[';

	buf_put(b, p + first, n - first);
}

static void close_text(struct buf *b, struct slice s, size_t max)
{
	json_cut(b, s, max);
	PUT(b, "\"}}");
}

static void close_number(struct buf *b, uint64_t v)
{
	buf_u64(b, v);
	PUT(b, "\"}}");
}

static void close_seconds(struct buf *b, uint64_t ns)
{
	char text[PUT_U64_MAX + 8], *at = put_u64(text, ns / CLOCK_S);

	*at++ = '.';
	at = put_decimals(at, ns % CLOCK_S / 1000, 6);
	buf_put(b, text, (size_t)(at - text));
	PUT(b, "}}");
}

/* Keys are put together by the compiler: there are some twenty in each span. */
#define OPEN(b, key, type, rest)                                                  \
	open_value(b, ",{\"key\":\"" key "\",\"value\":{\"" type "Value\":" rest, \
		   sizeof(",{\"key\":\"" key "\",\"value\":{\"" type "Value\":" rest) - 1)
#define TEXT_UP_TO(b, key, s, max)            \
	do {                                  \
		OPEN(b, key, "string", "\""); \
		close_text(b, s, max);        \
	} while (0)
#define TEXT(b, key, s) TEXT_UP_TO(b, key, s, TEXT_MAX)
#define NUMBER(b, key, v)                  \
	do {                               \
		OPEN(b, key, "int", "\""); \
		close_number(b, v);        \
	} while (0)
#define SECONDS(b, key, ns)                 \
	do {                                \
		OPEN(b, key, "double", ""); \
		close_seconds(b, ns);       \
	} while (0)
#define YES(b, key) OPEN(b, key, "bool", "true}}")

/* "host:port" "[::1]:80"; without a port, or with an odd one, the host alone. */
static void host_and_port(struct buf *b, struct slice authority)
{
	const char *colon = authority.n > 0 ? memrchr(authority.p, ':', authority.n) : NULL;
	struct slice port = { NULL, 0 };
	uint64_t v = 0;

	if (colon != NULL &&
	    memchr(colon, ']', (size_t)(authority.p + authority.n - colon)) == NULL) {
		port = slice_of(colon + 1, (size_t)(authority.p + authority.n - colon) - 1);
		authority.n -= port.n + 1;
	}
	if (authority.n >= 2 && authority.p[0] == '[' && authority.p[authority.n - 1] == ']')
		authority = slice_of(authority.p + 1, authority.n - 2);
	TEXT(b, "server.address", authority);
	for (size_t i = 0; i < port.n && port.n <= 5; i++)
		v = port.p[i] >= '0' && port.p[i] <= '9' ? v * 10 + (uint64_t)(port.p[i] - '0')
							 : UINT32_MAX;
	if (v > 0 && v <= UINT16_MAX)
		NUMBER(b, "server.port", v);
}

/*---------------------------------------------------------------- what all spans have */

/* A method that nobody knows has another name as a span (semantic conventions for HTTP spans). */
static struct slice method_of(const struct head *req)
{
	static const struct slice http = SLICE("HTTP");

	return req == NULL || req->method_id == METHOD_OTHER ? http : method_names[req->method_id];
}

static void begin(struct buf *b, const struct call_trace *t, uint64_t span_id, unsigned kind,
		  unsigned flags)
{
	char id[SPAN_ID_BYTES];

	put_hex64(id, span_id);
	PUT(b, "{\"traceId\":\"");
	buf_put(b, t->text + TRACE_ID_AT, TRACE_ID_BYTES);
	PUT(b, "\",\"spanId\":\"");
	buf_put(b, id, sizeof(id));
	if (t->state.n > 0 && t->state.n <= TRACESTATE_BYTES) {
		PUT(b, "\",\"traceState\":\"");
		buf_json(b, t->state);
	}
	PUT(b, "\",\"flags\":");
	buf_u64(b, (unsigned)t->flags | flags);
	PUT(b, ",\"kind\":");
	buf_u64(b, kind);
}

static void parent(struct buf *b, struct slice id)
{
	PUT(b, ",\"parentSpanId\":\"");
	buf_put(b, id.p, id.n);
	buf_putc(b, '"');
}

static void times(struct buf *b, const struct call_record *r, uint64_t start_ns, uint64_t end_ns)
{
	uint64_t wall_ns = r->start_wall_ns + (start_ns - r->start_ns);

	if (end_ns < start_ns)
		end_ns = start_ns;
	PUT(b, ",\"startTimeUnixNano\":\"");
	buf_u64(b, wall_ns);
	PUT(b, "\",\"endTimeUnixNano\":\"");
	buf_u64(b, wall_ns + (end_ns - start_ns));
	PUT(b, "\",\"attributes\":[");
}

/* A call that was refused on purpose has not failed, whatever it would be answered with. */
static bool has_failed(const struct reason *why)
{
	return why != NULL &&
	       ((why->flags & R_FAILURE) || (why->status >= 500 && !(why->flags & R_SHED)));
}

/* What makes it an error: a status, or the reason of one that has none, or none that is bad. */
static void end(struct buf *b, bool bad, unsigned status, const struct reason *why)
{
	bool failed = has_failed(why);
	char text[PUT_U64_MAX];

	if (bad) {
		TEXT(b, "error.type", slice_of(text, (size_t)(put_u64(text, status) - text)));
	} else if (failed) {
		TEXT(b, "error.type", slice_str(why->token));
	}
	PUT(b, "],\"status\":{\"code\":");
	buf_u64(b, bad || failed ? STATUS_ERROR : STATUS_UNSET);
	if (failed) {
		PUT(b, ",\"message\":\"");
		json_cut(b, slice_str(why->token), TEXT_MAX);
		buf_putc(b, '"');
	}
	PUT(b, "}}");
}

static void protocol(struct buf *b, const struct head *req)
{
	static const struct slice http2 = SLICE("2"), http11 = SLICE("1.1"), http10 = SLICE("1.0");

	TEXT(b, "network.protocol.version", req->h2 ? http2 : req->minor > 0 ? http11 : http10);
}

static void method(struct buf *b, const struct head *req)
{
	TEXT(b, "http.request.method", method_names[req->method_id]);
	if (req->method_id == METHOD_OTHER && req->method.n > 0)
		TEXT(b, "http.request.method_original", req->method);
}

/*---------------------------------------------------------------- the call */

static void name_call(struct buf *b, const struct call_record *r)
{
	struct slice m = method_of(r->req);

	PUT(b, ",\"name\":\"");
	buf_put(b, m.p, m.n);
	if (r->route_name != NULL) {
		buf_putc(b, ' ');
		json_cut(b, slice_str(r->route_name), TEXT_MAX);
	}
	buf_putc(b, '"');
}

/* A malformed head may hold none of these. */
static void request(struct buf *b, const struct call_record *r, const struct call_trace *t)
{
	const struct header *agent;

	if (r->req == NULL || r->req->method.n == 0)
		return;
	method(b, r->req);
	if (t->scheme.n > 0)
		TEXT(b, "url.scheme", t->scheme);
	if (r->req->path.n > 0) {
		TEXT_UP_TO(b, "url.path", r->req->path, PATH_MAX);
		protocol(b, r->req);
	}
	if (r->req->authority.n > 0)
		host_and_port(b, r->req->authority);
	agent = r->req->n == 0 ? NULL : head_find(r->req, F_USER_AGENT);
	if (agent != NULL)
		TEXT(b, "user_agent.original", agent->value);
}

static void client(struct buf *b, const struct call_record *r)
{
	static const struct ip none;
	static const struct slice local = SLICE("unix");
	char address[IP_TEXT_MAX];

	if (r->client_is_unix && memcmp(&r->client, &none, sizeof(none)) == 0) {
		TEXT(b, "client.address", local);
		return;
	}
	ip_format(&r->client, address);
	TEXT(b, "client.address", slice_str(address));
	if (r->client_port != 0)
		NUMBER(b, "client.port", r->client_port);
}

static void policy(struct buf *b, const struct call_record *r)
{
	char hash[SPAN_ID_BYTES];

	TEXT(b, "weir.reason", slice_str(r->why->token));
	if (r->limit.policy != NULL) {
		put_hex64(hash, r->limit.key_hash);
		TEXT(b, "weir.policy", slice_str(r->limit.policy));
		TEXT(b, "weir.key.hash", slice_of(hash, sizeof(hash)));
		NUMBER(b, "weir.limit", r->limit.limit);
		NUMBER(b, "weir.remaining", r->limit.remaining);
	}
	if (r->shadow.policy != NULL)
		TEXT(b, "weir.shadow.policy", slice_str(r->shadow.policy));
	if (r->denied)
		YES(b, "weir.denied");
	if (r->queued_ns > 0)
		SECONDS(b, "weir.queue.duration", r->queued_ns);
	if (r->backoff_ns > 0)
		SECONDS(b, "weir.backoff.duration", r->backoff_ns);
	if (r->retry_after_ms > 0)
		SECONDS(b, "weir.retry_after", r->retry_after_ms * CLOCK_MS);
	NUMBER(b, "weir.attempts", r->attempts);
	if (r->request_id.n > 0)
		TEXT(b, "weir.request.id", r->request_id);
}

void span_json_call(struct buf *b, const struct call_trace *t, const struct call_record *r)
{
	bool remote = t->parent_id.n > 0;
	bool grpc = r->grpc_said && grpc_judge(200, r->grpc_code) >= 500;

	begin(b, t, t->span_id, KIND_SERVER,
	      FLAG_KNOWS_REMOTE | (remote ? (unsigned)FLAG_IS_REMOTE : 0));
	if (remote)
		parent(b, t->parent_id);
	name_call(b, r);
	times(b, r, r->start_ns, r->end_ns);
	request(b, r, t);
	if (r->route_name != NULL)
		TEXT(b, "http.route", slice_str(r->route_name));
	if (r->status != 0)
		NUMBER(b, "http.response.status_code", r->status);
	client(b, r);
	NUMBER(b, "http.request.body.size", r->bytes_in);
	NUMBER(b, "http.response.body.size", r->bytes_out);
	if (r->grpc_said)
		NUMBER(b, "rpc.grpc.status_code", r->grpc_code);
	policy(b, r);
	end(b, grpc || r->status >= 500, grpc ? r->grpc_code : r->status, r->why);
}

/*---------------------------------------------------------------- a try */

static const struct slice kind_names[] = {
	[TRACE_FIRST] = SLICE("first"),       [TRACE_RETRY] = SLICE("retry"),
	[TRACE_REPEAT] = SLICE("repeat"),     [TRACE_HEDGE] = SLICE("hedge"),
	[TRACE_FALLBACK] = SLICE("fallback"),
};

/* Without the query, as in all that Weir tells of calls. */
static void url(struct buf *b, const struct trace_try *y)
{
	if (y->tls)
		OPEN(b, "url.full", "string", "\"https://");
	else
		OPEN(b, "url.full", "string", "\"http://");
	json_cut(b, slice_str(y->authority), TEXT_MAX);
	close_text(b, y->path, PATH_MAX);
}

void span_json_try(struct buf *b, const struct call_trace *t, const struct trace_try *y,
		   const struct call_record *r)
{
	char id[SPAN_ID_BYTES];
	struct slice m = method_lookup(y->method) == METHOD_OTHER ? method_of(NULL) : y->method;

	put_hex64(id, t->span_id);
	begin(b, t, y->span_id, KIND_CLIENT, FLAG_KNOWS_REMOTE);
	parent(b, slice_of(id, sizeof(id)));
	PUT(b, ",\"name\":\"");
	buf_put(b, m.p, m.n);
	buf_putc(b, '"');
	times(b, r, y->start_ns, y->end_ns);
	TEXT(b, "http.request.method", method_names[method_lookup(y->method)]);
	if (method_lookup(y->method) == METHOD_OTHER)
		TEXT(b, "http.request.method_original", y->method);
	if (y->local)
		TEXT(b, "server.address", slice_str(y->authority));
	else
		host_and_port(b, slice_str(y->authority));
	if (!y->local)
		url(b, y);
	if (y->status != 0)
		NUMBER(b, "http.response.status_code", y->status);
	if (y->number > 1)
		NUMBER(b, "http.request.resend_count", y->number - 1u);
	TEXT(b, "weir.upstream", slice_str(y->upstream));
	TEXT(b, "weir.attempt", kind_names[y->kind]);
	if (y->reused)
		YES(b, "weir.connection.reused");
	if (y->why != NULL)
		TEXT(b, "weir.reason", slice_str(y->why->token));
	end(b, y->status >= 400, y->status, y->why);
}

/*---------------------------------------------------------------- the envelope */

static bool is_given(const struct tracing_conf *conf, const char *name)
{
	const struct pair_conf *p = conf->attributes.item;

	for (uint32_t i = 0; i < conf->attributes.n; i++)
		if (strcmp(p[i].name.name, name) == 0)
			return true;
	return false;
}

static void attribute(struct buf *b, const struct pair_conf *p)
{
	PUT(b, ",{\"key\":");
	buf_json_string(b, slice_str(p->name.name));
	PUT(b, ",\"value\":{\"stringValue\":");
	buf_json_string(b, slice_str(p->value));
	PUT(b, "}}");
}

void span_json_head(struct buf *b, const struct tracing_conf *conf)
{
	static const struct slice sdk = SLICE("weir"), language = SLICE("c");
	const struct pair_conf *p = conf->attributes.item;
	char host[256] = "";

	(void)gethostname(host, sizeof(host) - 1);
	PUT(b, "{\"resourceSpans\":[{\"resource\":{\"attributes\":[");
	TEXT(b, "service.name", slice_str(conf->service));
	if (!is_given(conf, "telemetry.sdk.name"))
		TEXT(b, "telemetry.sdk.name", sdk);
	if (!is_given(conf, "telemetry.sdk.language"))
		TEXT(b, "telemetry.sdk.language", language);
	if (!is_given(conf, "telemetry.sdk.version"))
		TEXT(b, "telemetry.sdk.version", slice_str(WEIR_VERSION));
	if (!is_given(conf, "service.version"))
		TEXT(b, "service.version", slice_str(WEIR_VERSION));
	if (!is_given(conf, "host.name"))
		TEXT(b, "host.name", slice_str(host));
	for (uint32_t i = 0; i < conf->attributes.n; i++)
		if (strcmp(p[i].name.name, "service.name") != 0)
			attribute(b, &p[i]);
	buf_puts(b, "],\"droppedAttributesCount\":0},\"scopeSpans\":[{\"scope\":{\"name\":\"weir\","
		    "\"version\":\"" WEIR_VERSION "\"},\"spans\":[");
}
