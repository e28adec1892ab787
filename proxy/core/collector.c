/* collector.c - one POST; see collector.h.
 *
 *   IDLE --post--> CONNECTING --> WAITING --> (answer whole, broken, or late) --> IDLE, done
 *
 * What comes of it is told by the timer's hand, so that nobody's codec is on the stack. */
#include "core/collector.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/json.h"
#include "base/number.h"
#include "base/reason.h"
#include "http/retry_after.h"
#include "io/conn.h"

enum { ANSWER_BYTES_MAX = 16 * 1024, SAID_MAX = 100 };

static const struct codec_limits limits = { .head_bytes = 32 * 1024,
					    .target_bytes = 4096,
					    .headers = 200 };

struct collector {
	struct loop *loop;
	void (*done)(void *owner, const struct collector_answer *);
	void *owner;
	struct collector_request request; /* addr, place: not after the connect */
	struct timer timer;               /* too late; or, when `over`, at once */
	struct conn *conn;
	struct stream *stream;
	struct arena arena;
	struct buf body;
	struct collector_answer answer;
	bool busy, over;
};

/*---------------------------------------------------------------- its address */

const char *collector_place_parse(struct slice s, struct collector_place *out)
{
	static const struct slice dflt = SLICE("/v1/traces"), http = SLICE("http://"),
				  https = SLICE("https://");
	size_t scheme = slice_starts(s, http) ? http.n : slice_starts(s, https) ? https.n : 0;
	const char *slash, *wrong;
	struct slice path = dflt;

	if (scheme == 0)
		return "a collector is http://HOST:PORT/PATH or https://HOST:PORT/PATH";
	slash = memchr(s.p + scheme, '/', s.n - scheme);
	if (slash != NULL) {
		if (s.p + s.n - slash > 1)
			path = slice_of(slash, (size_t)(s.p + s.n - slash));
		s.n = (size_t)(slash - s.p);
	}
	if (memchr(s.p, '@', s.n) != NULL)
		return "who asks stands in `headers` (authorization), not in the URL";
	wrong = endpoint_address_parse(s, &out->address);
	if (wrong != NULL)
		return wrong;
	if (out->address.name[0] == '\0')
		return "a collector has a host and a port";
	if (path.n > COLLECTOR_PATH_MAX)
		return "the path has at most 512 bytes";
	for (size_t i = 0; i < path.n; i++)
		if (path.p[i] <= ' ' || path.p[i] >= 0x7F || path.p[i] == '#')
			return "the path holds what no path of a URL may";
	memcpy(out->path, path.p, path.n);
	out->path[path.n] = '\0';
	return NULL;
}

/*---------------------------------------------------------------- what it says */

/* Its words go into the log, and are anybody's. */
static void say(struct collector_answer *a, const char *what, struct slice said)
{
	int n = snprintf(a->why, sizeof(a->why), "%s%s%.*s", what, said.n > 0 ? ": " : "",
			 (int)(said.n < SAID_MAX ? said.n : SAID_MAX), said.n > 0 ? said.p : "");

	(void)n;
	for (char *p = a->why; *p != '\0'; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7F)
			*p = ' ';
}

static uint64_t number_of(const struct json *v)
{
	uint64_t n = 0;

	if (v == NULL || (v->kind != JSON_STRING && v->kind != JSON_WORD) || v->text.n > 18)
		return 0;
	for (size_t i = 0; i < v->text.n; i++) {
		if (v->text.p[i] < '0' || v->text.p[i] > '9')
			return 0;
		n = n * 10 + (uint64_t)(v->text.p[i] - '0');
	}
	return n;
}

void collector_read(struct slice body, struct collector_answer *a)
{
	const struct json *all, *partial, *message;
	const char *wrong = NULL;
	struct arena arena;

	arena_init(&arena, NULL);
	all = body.n == 0 ? NULL : json_read(body, &arena, &wrong);
	partial = all != NULL && all->kind == JSON_OBJECT ? json_get(all, "partialSuccess") : NULL;
	if (partial != NULL && partial->kind == JSON_OBJECT) {
		message = json_get(partial, "errorMessage");
		a->rejected = number_of(json_get(partial, "rejectedSpans"));
		if (message != NULL && message->kind == JSON_STRING && message->text.n > 0)
			say(a, "it says", message->text);
		else if (a->rejected > 0)
			say(a, "it rejects spans", slice_of(NULL, 0));
	}
	arena_fini(&arena);
}

/* Those that are worth another try (OTLP/HTTP, "Retryable Response Codes"). */
static enum collector_verdict verdict_of(uint16_t status)
{
	if (status >= 200 && status < 300)
		return COLLECTOR_TOOK;
	return status == 429 || status == 502 || status == 503 || status == 504 ? COLLECTOR_LATER
										: COLLECTOR_NEVER;
}

/*---------------------------------------------------------------- the end of it */

static void hang_up(struct collector *c)
{
	struct stream *s = c->stream;
	struct conn *conn = c->conn;

	c->stream = NULL;
	c->conn = NULL;
	if (s != NULL)
		s->ops->reset(s, reason_client_abort);
	if (conn != NULL)
		conn_drop(conn);
}

/* From here the timer says so. */
static void finish(struct collector *c)
{
	c->over = true;
	if (!timer_set(&c->loop->timers, &c->timer, c->loop->now_ns))
		CHECK(c->timer.index != 0); /* it has had its place since the post */
}

static void fail(struct collector *c, const char *what)
{
	if (c->over)
		return;
	if (c->answer.status == 0) {
		c->answer.verdict = COLLECTOR_LATER;
		say(&c->answer, what, slice_of(NULL, 0));
	}
	finish(c);
}

static void judge(struct collector *c)
{
	struct collector_answer *a = &c->answer;
	char text[32];

	a->verdict = verdict_of(a->status);
	if (a->verdict == COLLECTOR_TOOK) {
		collector_read(slice_of(c->body.p, c->body.n), a);
		return;
	}
	snprintf(text, sizeof(text), "it answers %u", a->status);
	say(a, text, slice_of(NULL, 0));
}

static void on_timer(struct timer *t)
{
	struct collector *c = LIST_ENTRY(t, struct collector, timer);
	bool late = !c->over;

	hang_up(c);
	c->busy = false;
	c->over = true;
	if (c->answer.status != 0)
		judge(c);
	else if (late)
		say(&c->answer, "it does not answer in time", slice_of(NULL, 0));
	arena_fini(&c->arena);
	buf_fini(&c->body);
	c->done(c->owner, &c->answer);
}

/*---------------------------------------------------------------- the answer */

static void on_head(void *owner, struct head *h, bool end)
{
	struct collector *c = owner;

	(void)end;
	if (h->status < 200)
		return;
	c->answer.status = h->status;
	if (h->status >= 400)
		(void)retry_after_ms(h, c->loop->wall_ns, &c->answer.retry_after_ms);
}

static void on_body(void *owner, struct slice s, bool end)
{
	struct collector *c = owner;

	(void)end;
	if (c->body.n + s.n <= ANSWER_BYTES_MAX)
		buf_put(&c->body, s.p, s.n);
	else
		finish(c); /* it goes on and on */
}

static void on_gone(void *owner, const struct reason *why)
{
	struct collector *c = owner;

	c->stream = NULL;
	if (why != NULL)
		fail(c, "it closes the connection");
	else if (!c->over)
		finish(c);
}

static const struct stream_events answer_events = { .head = on_head,
						    .body = on_body,
						    .gone = on_gone };

/*---------------------------------------------------------------- the request */

static bool add_headers(const struct collector *c, struct head *h)
{
	const struct pair_conf *p = c->request.headers->item;

	for (uint32_t i = 0; i < c->request.headers->n; i++)
		if (!head_set_name(h, slice_str(p[i].name.name), slice_str(p[i].value)))
			return false;
	return true;
}

static uint64_t body_bytes(const struct collector *c)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < c->request.parts; i++)
		n += c->request.body[i].n;
	return n;
}

static bool make_head(struct collector *c, struct head *h)
{
	static const struct slice post = SLICE("POST"), agent = SLICE("weir/" WEIR_VERSION),
				  json = SLICE("application/json");
	static const struct slice agent_name = SLICE("user-agent"), type = SLICE("content-type");
	const struct collector_place *place = c->request.place;
	struct slice path = slice_str(place->path), query = path;

	head_init(h, &c->arena);
	h->method = post;
	h->method_id = (uint8_t)method_lookup(post);
	h->target = path;
	h->path = slice_cut(&query, '?');
	h->query = query;
	h->authority = slice_str(place->address.text + place->address.authority);
	h->minor = 1;
	h->body = BODY_LENGTH;
	h->length = body_bytes(c);
	return head_add_name(h, agent_name, agent) && head_add_name(h, type, json) &&
	       add_headers(c, h);
}

static void on_connected(struct conn *conn)
{
	struct collector *c = conn->owner;
	struct head h;

	c->stream = conn_open(conn, &c->arena);
	if (c->stream == NULL) {
		fail(c, "memory is out");
		return;
	}
	conn_last(conn);
	c->stream->on = &answer_events;
	c->stream->owner = c;
	if (!make_head(c, &h) || !c->stream->ops->head(c->stream, &h, false)) {
		fail(c, "memory is out");
		return;
	}
	for (unsigned i = 0; i < c->request.parts; i++)
		c->stream->ops->body(c->stream, c->request.body[i], i + 1 == c->request.parts);
}

static void on_closed(struct conn *conn, const struct reason *why)
{
	struct collector *c = conn->owner;

	c->conn = NULL;
	fail(c, why == reason_tls_failed ? "TLS with it fails" : "it cannot be connected to");
}

static void on_conn_timeout(struct conn *conn)
{
	(void)conn; /* ours is the timer */
}

static const struct conn_events conn_events = { .connected = on_connected,
						.timeout = on_conn_timeout,
						.closed = on_closed };

void collector_post(struct collector *c, const struct collector_request *r)
{
	const struct tls_target tls = { .client = r->tls, .name = r->place->address.name };

	CHECK(!c->busy);
	c->busy = true;
	c->over = false;
	c->request = *r;
	c->answer = (struct collector_answer){ .verdict = COLLECTOR_LATER };
	c->body = (struct buf){ 0 };
	arena_init(&c->arena, &c->loop->pool);
	CHECK(timer_set(&c->loop->timers, &c->timer, c->loop->now_ns + r->timeout_ns));
	c->conn = conn_connect(c->loop, r->addr, &tls, CONN_HTTP1, &conn_events, c, &limits);
	if (c->conn == NULL)
		fail(c, "it cannot be connected to");
}

void collector_cancel(struct collector *c)
{
	if (!c->busy)
		return;
	hang_up(c);
	timer_clear(&c->timer);
	c->busy = false;
	arena_fini(&c->arena);
	buf_fini(&c->body);
}

struct collector *collector_new(struct loop *loop,
				void (*done)(void *, const struct collector_answer *), void *owner)
{
	struct collector *c = calloc(1, sizeof(*c));

	if (c == NULL)
		return NULL;
	c->loop = loop;
	c->done = done;
	c->owner = owner;
	timer_init(&c->timer, on_timer);
	return c;
}

void collector_free(struct collector *c)
{
	if (c == NULL)
		return;
	collector_cancel(c);
	timer_fini(&c->loop->timers, &c->timer);
	free(c);
}
