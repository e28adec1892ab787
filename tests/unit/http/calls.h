/* calls.h - what the codec's tests say to it: requests, answers, and an owner that answers
 * everything. */
#ifndef TESTS_HTTP_CALLS_H
#define TESTS_HTTP_CALLS_H

#include "rig.h"

#define HOST "Host: a\r\n"
#define GET  "GET / HTTP/1.1\r\n" HOST "\r\n"

/*---------------------------------------- a server that answers everything */

static inline void reply_with(struct rig *r, uint16_t status, const char *text)
{
	struct head h;

	head_init(&h, &r->arena);
	h.status = status;
	h.body = BODY_LENGTH;
	h.length = strlen(text);
	assert_true(r->stream->ops->head(r->stream, &h, false));
	r->stream->ops->body(r->stream, slice_str(text), true);
}

static inline void answer_request(struct rig *r, struct head *h, bool end)
{
	(void)h;
	if (end)
		reply_with(r, 200, "ok");
	else
		r->stream->ops->pause(r->stream, false);
}

static inline void answer_body(struct rig *r, struct slice s, bool end)
{
	(void)s;
	if (end)
		reply_with(r, 200, "ok");
}

static inline void answer_trailers(struct rig *r, struct head *h)
{
	(void)h;
	reply_with(r, 200, "ok");
}

static inline void answer_bad_request(struct rig *r, struct head *h, const struct reason *why)
{
	(void)h;
	reply_with(r, why->status, why->token);
}

static inline void answer_bad(struct rig *r, const struct reason *why)
{
	reply_with(r, why->status, why->token);
}

static inline void init_answering(struct rig *r)
{
	rig_init_server(r);
	r->on_request = answer_request;
	r->on_body = answer_body;
	r->on_trailers = answer_trailers;
	r->on_bad_request = answer_bad_request;
	r->on_bad = answer_bad;
}

/*---------------------------------------- a client that has asked */

static inline void send_request(struct rig *r, const char *method, const char *upgrade)
{
	static const struct slice path = SLICE("/p"), query = SLICE("q=1"), host = SLICE("up:80");
	struct stream *s = rig_open(r);
	struct head h;

	head_init(&h, &r->arena);
	h.method = slice_str(method);
	h.method_id = (uint8_t)method_lookup(h.method);
	h.path = path;
	h.query = query;
	h.authority = host;
	if (upgrade != NULL) {
		h.upgrade = true;
		head_add(&h, F_UPGRADE, slice_str(upgrade));
	}
	assert_true(s->ops->head(s, &h, true));
	rig_drain(r);
}

static inline void init_client_get(struct rig *r)
{
	rig_init_client(r);
	send_request(r, "GET", NULL);
}

static inline void init_client_head(struct rig *r)
{
	rig_init_client(r);
	send_request(r, "HEAD", NULL);
}

static inline void init_client_upgrade(struct rig *r)
{
	rig_init_client(r);
	send_request(r, "GET", "websocket");
}

#define ASKED      "GET /p?q=1 HTTP/1.1\r\nHost: up:80\r\n\r\n"
#define ASKED_HEAD "HEAD /p?q=1 HTTP/1.1\r\nHost: up:80\r\n\r\n"
#define ASKED_UPGRADE \
	"GET /p?q=1 HTTP/1.1\r\nHost: up:80\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"

/*---------------------------------------- ops */

static inline void begin_get(struct rig *r, const char *request)
{
	rig_init_server(r);
	rig_feed(r, slice_str(request));
	rig_log(r);
}

static inline void head_of(struct rig *r, uint16_t status, uint8_t body, uint64_t length, bool end)
{
	struct head h;

	head_init(&h, &r->arena);
	h.status = status;
	h.body = body;
	h.length = length;
	h.upgrade = status == 101;
	if (status == 101)
		assert_true(head_add(&h, F_UPGRADE, slice_str("websocket")));
	assert_true(r->stream->ops->head(r->stream, &h, end));
}

static inline void body_of(struct rig *r, const char *text, bool end)
{
	r->stream->ops->body(r->stream, slice_str(text), end);
}

static inline void pause_of(struct rig *r, bool paused)
{
	r->stream->ops->pause(r->stream, paused);
}

#endif
