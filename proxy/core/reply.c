/* reply.c - answers that Weir makes itself: refusals and failures, in the dialect the client
 * speaks.
 *
 * RFC 9457 problem details; the error objects of the OpenAI, Anthropic and Gemini APIs, whose SDKs
 * read them; the trailers of gRPC, whatever the route's dialect is: no client of it reads bodies.
 */
#include "base/put.h"
#include "base/reason.h"
#include "core/action.h"
#include "core/authenticate.h"
#include "core/exchange.h"
#include "core/file_answer.h"
#include "core/grpc.h"
#include "core/serve.h"

enum {
	FAR_AWAY_MS = 60 * 1000,  /* the SDKs do not wait longer */
	NEVER_SAYS_MS = 86400000, /* what is said to one whose call can never pass: many timers take
				     no more than 24 days */
	ANTHROPIC_OVERLOADED = 529 /* a status of that API alone */
};

struct reply {
	struct exchange *x;
	const struct reason *why;
	enum dialect dialect;
	uint16_t status;
	uint64_t retry_after_ms;    /* 0: says nothing of coming back */
	bool never;                 /* coming back is of no use */
	const char *policy;         /* NULL: none refused */
	const char *detail;         /* beside the reason's own words; "": no more */
	const struct respond *page; /* NULL: it has the words that it has */
};

struct dialect_row {
	struct slice end;
	enum dialect dialect;
};

/* dialect: auto.  How paths end: an SDK's base URL may have any path in front (/api/v1, /openai,
 * /openai/deployments/NAME). */
static const struct dialect_row dialect_paths[] = {
	{ SLICE("/chat/completions"), DIALECT_OPENAI },
	{ SLICE("/v1/completions"), DIALECT_OPENAI },
	{ SLICE("/v1/responses"), DIALECT_OPENAI },
	{ SLICE("/v1/embeddings"), DIALECT_OPENAI },
	{ SLICE("/v1/messages"), DIALECT_ANTHROPIC },
	{ SLICE("/v1/messages/count_tokens"), DIALECT_ANTHROPIC },
	{ SLICE("/v1/messages/batches"), DIALECT_ANTHROPIC },
	{ SLICE("/v1/complete"), DIALECT_ANTHROPIC },
	{ SLICE(":generateContent"), DIALECT_GEMINI },
	{ SLICE(":streamGenerateContent"), DIALECT_GEMINI },
	{ SLICE(":countTokens"), DIALECT_GEMINI },
	{ SLICE(":embedContent"), DIALECT_GEMINI },
	{ SLICE(":batchEmbedContents"), DIALECT_GEMINI },
};

static bool ends_with(struct slice s, struct slice end)
{
	return s.n >= end.n && slice_eq(slice_of(s.p + s.n - end.n, end.n), end);
}

static enum dialect dialect_of(const struct route *route, struct slice path)
{
	if (route == NULL)
		return DIALECT_PROBLEM;
	if (route->conf->dialect != DIALECT_AUTO)
		return (enum dialect)route->conf->dialect;
	for (size_t i = 0; i < sizeof(dialect_paths) / sizeof(dialect_paths[0]); i++)
		if (ends_with(path, dialect_paths[i].end))
			return dialect_paths[i].dialect;
	return DIALECT_PROBLEM;
}

static const char never_text[] = "the call asks for more than the limit ever allows";

/* What lies between is ours and needs no escapes. */
static void put_string(struct buf *b, const char *before, const char *s, const char *behind)
{
	buf_puts(b, before);
	buf_puts(b, s);
	buf_puts(b, behind);
}

static void put_number(struct buf *b, const char *before, uint64_t v)
{
	buf_puts(b, before);
	buf_u64(b, v);
}

/* With three decimals. */
static void put_seconds(struct buf *b, const char *before, uint64_t ms, const char *behind)
{
	char text[4] = ".";

	put_decimals(text + 1, ms % 1000, 3);
	put_number(b, before, ms / 1000);
	buf_put(b, text, sizeof(text));
	buf_puts(b, behind);
}

/* `escape`: as the place wants it. */
static void put_words(struct buf *b, const struct reply *r,
		      void (*escape)(struct buf *, struct slice))
{
	escape(b, slice_str(r->why->text));
	if (r->policy != NULL) {
		buf_puts(b, " (policy ");
		escape(b, slice_str(r->policy));
		buf_puts(b, ")");
	}
	if (r->detail[0] != '\0')
		put_string(b, ": ", r->detail, "");
	if (r->never)
		put_string(b, "; ", never_text, "");
	else if (r->retry_after_ms > 0)
		put_seconds(b, "; retry after ", r->retry_after_ms, " s");
}

static void put_message(struct buf *b, const struct reply *r)
{
	buf_puts(b, "\"message\":\"");
	put_words(b, r, buf_json);
	buf_puts(b, "\"");
}

/* The type URIs of draft-ietf-httpapi-ratelimit-headers. */
static void problem_body(struct buf *b, const struct reply *r)
{
	const char *type =
	    r->status == 429 ? "https://iana.org/assignments/http-problem-types#quota-exceeded"
	    : r->why->flags & R_SHED
		? "https://iana.org/assignments/http-problem-types#temporary-reduced-capacity"
		: "about:blank";

	put_string(b, "{\"type\":\"", type, "\",\"title\":\"");
	buf_json(b, slice_str(r->why->text));
	put_number(b, "\",\"status\":", r->status);
	put_string(b, ",\"reason\":\"", r->why->token, "\"");
	if (r->never || r->detail[0] != '\0')
		put_string(b, ",\"detail\":\"", r->never ? never_text : r->detail, "\"");
	if (r->policy != NULL) {
		buf_puts(b, ",\"violated-policies\":[");
		buf_json_string(b, slice_str(r->policy));
		buf_puts(b, "]");
	}
	if (r->retry_after_ms > 0)
		put_number(b, ",\"retry-after-ms\":", r->retry_after_ms);
	buf_puts(b, "}\n");
}

static const char *openai_type(uint16_t status)
{
	return status == 429   ? "rate_limit_error"
	       : status >= 500 ? "server_error"
			       : "invalid_request_error";
}

static const char *openai_code(const struct reply *r)
{
	return r->status == 429   ? "rate_limit_exceeded"
	       : r->status == 401 ? "invalid_api_key"
	       : r->status == 503 ? "service_unavailable"
				  : r->why->token;
}

static void openai_body(struct buf *b, const struct reply *r)
{
	buf_puts(b, "{\"error\":{");
	put_message(b, r);
	put_string(b, ",\"type\":\"", openai_type(r->status), "\"");
	put_string(b, ",\"param\":null,\"code\":\"", openai_code(r), "\"}}\n");
}

static const char *anthropic_type(uint16_t status)
{
	static const struct {
		uint16_t status;
		const char *type;
	} rows[] = {
		{ 400, "invalid_request_error" },
		{ 401, "authentication_error" },
		{ 403, "permission_error" },
		{ 404, "not_found_error" },
		{ 413, "request_too_large" },
		{ 429, "rate_limit_error" },
		{ 503, "overloaded_error" },
		{ 504, "timeout_error" },
		{ ANTHROPIC_OVERLOADED, "overloaded_error" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].status == status)
			return rows[i].type;
	return status >= 500 ? "api_error" : "invalid_request_error";
}

static void anthropic_body(struct buf *b, const struct reply *r)
{
	put_string(b, "{\"type\":\"error\",\"error\":{\"type\":\"", anthropic_type(r->status),
		   "\",");
	put_message(b, r);
	buf_puts(b, "}}\n");
}

/* google.rpc.Code, as the mapping of HTTP statuses in google/rpc/code.proto has it. */
static const char *gemini_status(uint16_t status)
{
	static const struct {
		uint16_t status;
		const char *name;
	} rows[] = {
		{ 401, "UNAUTHENTICATED" },   { 403, "PERMISSION_DENIED" },  { 404, "NOT_FOUND" },
		{ 408, "DEADLINE_EXCEEDED" }, { 429, "RESOURCE_EXHAUSTED" }, { 500, "INTERNAL" },
		{ 501, "UNIMPLEMENTED" },     { 502, "UNAVAILABLE" },        { 503, "UNAVAILABLE" },
		{ 504, "DEADLINE_EXCEEDED" },
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].status == status)
			return rows[i].name;
	return status >= 500 ? "INTERNAL" : "INVALID_ARGUMENT";
}

/* RetryInfo of google/rpc/error_details.proto; a Duration in the JSON form of protobuf. */
static void gemini_body(struct buf *b, const struct reply *r)
{
	put_number(b, "{\"error\":{\"code\":", r->status);
	buf_puts(b, ",");
	put_message(b, r);
	put_string(b, ",\"status\":\"", gemini_status(r->status), "\"");
	if (r->retry_after_ms > 0)
		put_seconds(b,
			    ",\"details\":[{\"@type\":\"type.googleapis.com/google.rpc.RetryInfo\","
			    "\"retryDelay\":\"",
			    r->retry_after_ms, "s\"}]");
	buf_puts(b, "}}\n");
}

static const struct {
	void (*body)(struct buf *, const struct reply *);
	struct slice content_type;
} dialects[] = {
	[DIALECT_OPENAI] = { openai_body, SLICE("application/json") },
	[DIALECT_ANTHROPIC] = { anthropic_body, SLICE("application/json") },
	[DIALECT_GEMINI] = { gemini_body, SLICE("application/json") },
	[DIALECT_PROBLEM] = { problem_body, SLICE("application/problem+json") },
};

static bool is_hopeless(const struct reply *r)
{
	return r->never || r->x->budget_spent || r->retry_after_ms > FAR_AWAY_MS ||
	       (r->why->flags & R_AUTH);
}

static bool add_retry_fields(struct head *h, const struct reply *r)
{
	static const struct slice no = SLICE("false");
	uint64_t s = (r->retry_after_ms + 999) / 1000;

	if (is_hopeless(r) && !head_add(h, F_X_SHOULD_RETRY, no))
		return false;
	if (r->retry_after_ms == 0)
		return true;
	return head_add_u64(h, F_RETRY_AFTER, s == 0 ? 1 : s) &&
	       head_add_u64(h, F_RETRY_AFTER_MS, r->retry_after_ms);
}

/* RFC 9110 section 11.6.1. */
static bool add_challenge(struct head *h, struct exchange *x)
{
	static const struct slice name = SLICE("WWW-Authenticate");
	struct slice challenge = authenticate_challenge(x);

	return challenge.n == 0 || head_add_name(h, name, challenge);
}

static bool add_allow(struct head *h, const struct reason *why)
{
	static const struct slice allow = SLICE("Allow"), files = SLICE("GET, HEAD"),
				  all = SLICE("GET, HEAD, POST, PUT, DELETE, OPTIONS, PATCH");

	return head_add_name(h, allow, why == reason_method_refused ? files : all);
}

static bool make_head(struct head *h, const struct reply *r, struct slice type, size_t body_bytes)
{
	struct exchange *x = r->x;

	head_init(h, &x->arena);
	h->status = r->status;
	h->body = BODY_LENGTH;
	h->length = body_bytes;
	h->keep_alive = !(r->why->flags & R_CLOSE);
	if (!head_add(h, F_DATE, worker_date(x->worker)) ||
	    (type.n > 0 && r->status != 204 && !head_add(h, F_CONTENT_TYPE, type)) ||
	    !add_retry_fields(h, r))
		return false;
	if ((r->why->flags & R_AUTH) && !add_challenge(h, x))
		return false;
	if ((r->status == 405 || r->status == 204) && !add_allow(h, r->why))
		return false;
	return x->record.request_id.n == 0 || head_add(h, F_X_REQUEST_ID, x->record.request_id);
}

static bool add_text(struct head *h, const char *name, const struct buf *value)
{
	return !value->oom && head_add_name(h, slice_str(name), slice_of(value->p, value->n));
}

/* Proposal A6 of gRPC. */
static bool add_pushback(struct head *h, const struct reply *r)
{
	struct buf b = { .arena = h->arena };

	if (is_hopeless(r))
		buf_puts(&b, "-1");
	else if (r->retry_after_ms > 0)
		buf_u64(&b, r->retry_after_ms);
	else
		return true;
	return add_text(h, "grpc-retry-pushback-ms", &b);
}

/* The head is all there is. */
static bool make_grpc_head(struct head *h, const struct reply *r)
{
	static const struct slice type = SLICE("application/grpc");
	struct exchange *x = r->x;
	bool limited =
	    x->call.out.denied && (r->why->flags & R_SHED) && !(r->why->flags & R_UNSENT);
	enum grpc_code code = grpc_refusal(r->status, limited);
	struct buf status = { .arena = &x->arena }, message = { .arena = &x->arena };

	if (!make_head(h, r, type, 0))
		return false;
	h->status = x->record.status = 200;
	h->body = BODY_NONE;
	x->record.grpc_said = true;
	x->record.grpc_code = (uint8_t)code;
	buf_u64(&status, code);
	put_words(&message, r, grpc_put_message);
	return add_text(h, "grpc-status", &status) && add_text(h, "grpc-message", &message) &&
	       add_pushback(h, r);
}

/* Where streams share a connection, one that is refused is no matter to the others. */
static bool ends_connection(const struct conn *c, const struct reason *why)
{
	return (why->flags & R_CLOSE) && (!c->codec.multiplexed || why == reason_draining);
}

/* `ok`: the head is made.  False: the call is over. */
static bool send_reply_head(struct reply *r, struct head *h, bool ok, bool end)
{
	struct exchange *x = r->x;

	if (ok && x->admitted)
		chain_respond(&x->call, h);
	ok = ok && exchange_edit_answer(x, h);
	if (ends_connection(x->conn, r->why))
		conn_last(x->conn);
	ok = ok && x->client->ops->head(x->client, h, end);
	if (!ok) {
		exchange_reset(x, reason_out_of_memory);
		exchange_end(x, reason_out_of_memory);
		return false;
	}
	x->resp = h;
	x->head_bytes = x->client->out_bytes;
	return true;
}

static void send_reply(struct reply *);

/* `ok`: head and body are made. */
static void send_made(struct reply *r, struct head *h, struct slice body, bool ok)
{
	struct exchange *x = r->x;
	bool end = ok && h->body == BODY_NONE;

	if (ok)
		x->record.status = x->call.out.status = h->status;
	if (!send_reply_head(r, h, ok, end) || end)
		return;
	x->down.bytes = body.n;
	x->client->ops->body(x->client, body, true);
}

/* A page whose body is a file's.  False: it cannot be had, and nothing was sent. */
static bool send_file_page(struct reply *r, const struct template_values *values, struct head *h)
{
	struct exchange *x = r->x;
	struct file_answer answer;
	uint16_t status;

	if (file_answer_make(r->page, x->route, values, h, &answer, &status) != NULL ||
	    (answer.fd >= 0 && !serve_begin(x, &answer)))
		return false;
	x->record.status = x->call.out.status = h->status;
	if (send_reply_head(r, h, true, x->serving == NULL) && x->serving != NULL)
		serve_body(x);
	return true;
}

/* A page has the fields that a reply has, and its own status and body. */
static void send_page(struct reply *r, struct head *h)
{
	static const struct slice none = SLICE("");
	struct template_values values;
	struct slice body = none;
	bool ok = h != NULL && make_head(h, r, none, 0);

	exchange_values(r->x, &values);
	if (ok && r->page->files != NULL) {
		if (send_file_page(r, &values, h))
			return;
		r->page = NULL;
		send_reply(r);
		return;
	}
	ok = ok && action_respond(r->page, &values, h, &body);
	send_made(r, h, body, ok);
}

static void send_reply(struct reply *r)
{
	struct exchange *x = r->x;
	struct buf b = { .arena = &x->arena };
	struct head *h = arena_alloc(&x->arena, sizeof(*h));
	struct slice body;
	bool ok;

	if (r->page != NULL) {
		send_page(r, h);
		return;
	}
	dialects[r->dialect].body(&b, r);
	body = b.oom ? slice_of(NULL, 0) : slice_of(b.p, b.n);
	ok = h != NULL && body.p != NULL &&
	     make_head(h, r, dialects[r->dialect].content_type, body.n);
	if (!send_reply_head(r, h, ok, false))
		return;
	x->down.bytes = body.n;
	x->client->ops->body(x->client, body, true);
}

static void send_grpc_reply(struct reply *r)
{
	struct head *h = arena_alloc(&r->x->arena, sizeof(*h));

	(void)send_reply_head(r, h, h != NULL && make_grpc_head(h, r), true);
}

uint16_t reply_status(const struct route *route, struct slice path, const struct reason *why)
{
	if (why == reason_breaker_open && dialect_of(route, path) == DIALECT_ANTHROPIC)
		return ANTHROPIC_OVERLOADED;
	return why->status;
}

void reply_send(struct exchange *x, const struct reason *why, uint64_t retry_after_ms)
{
	struct reply r = {
		.x = x,
		.why = why,
		.dialect = dialect_of(x->route, x->call.path),
		.status = reply_status(x->route, x->call.path, why),
		.retry_after_ms = why->flags & R_SHED && retry_after_ms == 0 ? 1 : retry_after_ms,
		.never = retry_after_ms >= VERDICT_NEVER_MS,
		.policy = x->call.out.denied ? x->call.out.limit.policy : NULL,
		.detail = why->flags & R_AUTH ? authenticate_text(x) : "",
	};

	if (r.never)
		r.retry_after_ms = NEVER_SAYS_MS;
	if (x->call.out.status != 0)
		r.status = x->call.out.status;
	if (exchange_pages(x) != NULL && !x->grpc)
		r.page = action_page(exchange_pages(x), r.status, PAGE_WEIR);
	x->record.status = r.status;
	x->record.retry_after_ms = r.retry_after_ms;
	x->record.head_sent_ns = x->worker->loop.now_ns;
	if (x->grpc)
		send_grpc_reply(&r);
	else
		send_reply(&r);
}

/*---------------------------------------------------------------- the route's own answer */

/* The head of an answer that is no reply; of this status, unless it has its own.  `under`: what the answer is but for its
 * page; NULL: nothing. */
static bool make_own_head(struct exchange *x, const struct respond *respond,
			  const struct respond *under, uint16_t status, struct head *h,
			  struct slice *body)
{
	struct template_values values;

	if (h == NULL)
		return false;
	head_init(h, &x->arena);
	h->keep_alive = true;
	h->status = status;
	exchange_values(x, &values);
	return head_add(h, F_DATE, worker_date(x->worker)) &&
	       (under == NULL || action_respond(under, &values, h, body)) &&
	       action_respond(respond, &values, h, body);
}

/* An error that a route answers without a word to it is told as others are; NULL: it has no page. */
static const struct respond *page_of_respond(struct exchange *x, const struct respond *r)
{
	const struct error_pages *pages = exchange_pages(x);

	return pages == NULL || r->has_body ? NULL : action_page(pages, r->status, PAGE_WEIR);
}

/* No client of gRPC reads anything but its status. */
static void respond_in_grpc(struct exchange *x, uint16_t status)
{
	struct reply r = { .x = x, .why = reason_responded, .status = status, .detail = "" };

	send_grpc_reply(&r);
}

void reply_file(struct exchange *x, struct head *h)
{
	struct reply r = { .x = x, .why = reason_responded };
	bool end = x->serving == NULL;
	bool ok = x->record.request_id.n == 0 || head_add(h, F_X_REQUEST_ID, x->record.request_id);

	if (h->status < 300) /* a redirect leads on, whatever it is in place of */
		exchange_set_status(x, h);
	x->record.status = x->call.out.status = h->status;
	x->record.head_sent_ns = x->worker->loop.now_ns;
	if (send_reply_head(&r, h, ok, end) && !end)
		serve_body(x);
}

/* What a client needs to come back, or to be let in. */
static bool keep_fields(struct head *h, const struct head *from)
{
	static const struct slice challenge = SLICE("WWW-Authenticate");
	static const uint8_t kept[] = { F_RETRY_AFTER, F_RETRY_AFTER_MS, F_X_SHOULD_RETRY };

	for (uint16_t i = 0; i < from->n; i++) {
		const struct header *f = &from->fields[i];
		bool keep = f->id == F_OTHER && slice_ieq(f->name, challenge);

		for (size_t k = 0; k < sizeof(kept); k++)
			keep = keep || f->id == kept[k];
		if (keep && !(f->id == F_OTHER ? head_add_name(h, f->name, f->value)
					       : head_add(h, (enum field_id)f->id, f->value)))
			return false;
	}
	return true;
}

/* The upstream's answer is gone: where there is no file either, what is left is the status. */
static void send_page_of_file(struct exchange *x, const struct respond *page, struct head *h,
			      const struct head *answer)
{
	struct reply r = { .x = x, .why = reason_ok };
	struct respond empty = *page;
	struct template_values values;
	struct file_answer file;
	struct slice body;
	uint16_t status;
	bool ok = make_own_head(x, &empty, NULL, answer->status, h, &body) && keep_fields(h, answer);

	empty.n = 0;
	exchange_values(x, &values);
	if (ok && (file_answer_make(&empty, x->route, &values, h, &file, &status) != NULL ||
		   (file.fd >= 0 && !serve_begin(x, &file))))
		h->length = 0;
	x->record.head_sent_ns = x->worker->loop.now_ns;
	x->record.status = x->call.out.status = ok ? h->status : 503;
	if (!send_reply_head(&r, h, ok, ok && x->serving == NULL) || x->serving == NULL)
		return;
	serve_body(x);
}

void reply_respond(struct exchange *x, const struct respond *respond)
{
	struct reply r = { .x = x, .why = reason_responded };
	const struct respond *page = page_of_respond(x, respond);
	bool replaced = page != NULL && page->status != 0;
	struct head *h = arena_alloc(&x->arena, sizeof(*h));
	struct slice body = SLICE("");
	bool ok;

	x->record.status = respond->status;
	x->record.head_sent_ns = x->worker->loop.now_ns;
	if (x->grpc && respond->status >= 300) {
		respond_in_grpc(x, respond->status);
		return;
	}
	if (page != NULL && page->files != NULL) {
		send_page_of_file(x, page, h, &(struct head){ .status = respond->status });
		return;
	}
	ok = make_own_head(x, page != NULL ? page : respond,
			   page != NULL && !replaced ? respond : NULL, respond->status, h, &body);
	if (ok && (respond->has_body || respond->status < 300))
		exchange_set_status(x, h);
	ok = ok &&
	     (x->record.request_id.n == 0 || head_add(h, F_X_REQUEST_ID, x->record.request_id));
	send_made(&r, h, body, ok);
}

void reply_page(struct exchange *x, const struct respond *page, const struct head *answer)
{
	static const struct slice no = SLICE("false");
	struct reply r = { .x = x, .why = reason_ok };
	struct head *h = arena_alloc(&x->arena, sizeof(*h));
	struct slice body = SLICE("");
	bool ok;

	if (page->files != NULL) {
		send_page_of_file(x, page, h, answer);
		return;
	}
	ok = make_own_head(x, page, NULL, answer->status, h, &body) && keep_fields(h, answer);

	if (ok && x->budget_spent && head_find(h, F_X_SHOULD_RETRY) == NULL)
		ok = head_add(h, F_X_SHOULD_RETRY, no);
	x->record.head_sent_ns = x->worker->loop.now_ns;
	send_made(&r, h, body, ok);
}
