/* h1_server.c - the codec's server role: requests in, answers out. */
#include <stdlib.h>

#include "base/check.h"
#include "base/reason.h"
#include "http/h1_internal.h"

static const struct stream_ops server_stream_ops;

/*---------------------------------------- ends */

/* The last answer of this connection is written: whether the peer may still be sending decides how
 * to close. */
static uint8_t closing_phase(const struct h1 *h)
{
	bool quiet = h->eof || (h->in_state == IN_DONE && !h->held && !h->last);

	return quiet ? CODEC_CLOSED : CODEC_LINGER;
}

void h1_server_finish(struct h1 *h)
{
	uint8_t phase;

	if (!h->keep_alive || h->last || h->broken) {
		phase = closing_phase(h);
		h->in_state = IN_DEAF;
	} else {
		phase = h->in_state == IN_DISCARD ? CODEC_HEAD : CODEC_IDLE;
		h->in_state = h->in_state == IN_DISCARD ? IN_DISCARD : IN_HEAD;
		h->seen = 0;
		h->leading = 0;
		h->behind = h->held;
		if (h->held || h->eof)
			h->codec.io->kick(h->codec.conn);
	}
	h1_raise_gone(h, phase, NULL);
}

/* Nothing of the answer is there, and who asked is taken to be gone. */
static bool is_left(const struct h1 *h)
{
	return h->codec.limits->no_half_close && h->out_state == OUT_HEAD;
}

void h1_server_eof(struct h1 *h)
{
	if (!h->open)
		h->codec.phase = h->codec.phase < CODEC_CLOSED ? CODEC_CLOSED : h->codec.phase;
	else if (h->in_state == IN_LENGTH || h->in_state == IN_CHUNKED || is_left(h))
		h1_break_stream(h, reason_client_abort);
	else
		h->keep_alive = false; /* the answer may still be read: a half-close is no abort */
}

/* The rest of this request is not wanted: may it be read and dropped, for the connection's sake? */
static bool may_discard(const struct h1 *h)
{
	return h->in_state == IN_LENGTH && h->left <= DISCARD_BYTES && !h->expecting;
}

static bool request_is_unread(const struct h1 *h)
{
	return h->in_state == IN_LENGTH || h->in_state == IN_CHUNKED;
}

void h1_server_out_done(struct h1 *h)
{
	if (request_is_unread(h)) {
		bool discard = may_discard(h) && h->keep_alive;

		h->keep_alive = discard;
		h->in_state = discard ? IN_DISCARD : IN_DEAF;
		h1_kick(h);
	}
	if (h->stream.queued == 0)
		h1_kick(h);
}

/*---------------------------------------- request heads */

static void server_open(struct h1 *h)
{
	h1_open_stream(h, &server_stream_ops);
	h->keep_alive = true;
	h->method_id = METHOD_OTHER;
	h->minor = 1;
	h->codec.phase = CODEC_BUSY;
	h->codec.turned = true;
	h->arena = h->codec.events->arena(h->codec.user, &h->stream);
}

/* No arena, nobody to tell. */
static void server_give_up(struct h1 *h)
{
	h->open = false;
	h1_stop(h);
	h->codec.phase = CODEC_CLOSED;
}

static void server_refuse(struct h1 *h, struct head *head, const struct reason *why)
{
	h1_stop(h);
	h->keep_alive = false;
	if (head != NULL)
		h->method_id = head->method_id;
	h->codec.events->bad_request(h->codec.user, &h->stream, head, why);
}

/* `text` is no whole head, but its request line may tell who asked for what. */
void h1_server_refuse_part(struct h1 *h, struct slice text, const struct reason *why)
{
	const char *lf = text.n == 0 ? NULL : memchr(text.p, '\n', text.n);
	struct slice line = slice_of(text.p, lf == NULL ? 0 : (size_t)(lf + 1 - text.p));
	struct slice copy;
	struct head *head;
	char *whole;

	server_open(h);
	h->stream.in_bytes = text.n;
	if (h->arena == NULL) {
		server_give_up(h);
		return;
	}
	head = h1_head_new(h->arena, line, &copy);
	whole = head == NULL ? NULL : arena_printf(h->arena, "%.*s\r\n", SLICE_FMT(copy));
	if (whole != NULL &&
	    line.n > 0) /* its verdict says that Host is missing, or worse: no matter */
		(void)h1_parse_request(slice_str(whole), h->codec.limits, head);
	server_refuse(h, head, why);
}

static void server_take_request(struct h1 *h, struct slice text)
{
	const struct reason *why;
	struct slice copy;
	struct head *head;
	bool end;

	server_open(h);
	h->stream.in_bytes = text.n;
	h->stream.pipelined = h->behind;
	h->behind = false;
	if (h->arena == NULL) {
		server_give_up(h);
		return;
	}
	head = h1_head_new(h->arena, text, &copy);
	why = head == NULL ? reason_out_of_memory : h1_parse_request(copy, h->codec.limits, head);
	if (why != NULL) {
		server_refuse(h, head, why);
		return;
	}
	end = head->body == BODY_NONE || (head->body == BODY_LENGTH && head->length == 0);
	h->method_id = head->method_id;
	h->minor = head->minor;
	h->keep_alive = head->keep_alive;
	h->upgrade = head->upgrade;
	h->expecting = head->expect_continue && !end;
	h->stream.paused = !end;
	h1_expect_body(h, head, end);
	h->codec.events->request(h->codec.user, &h->stream, head, end);
}

/* One of lines that the strict reader would not have: `n` bytes. */
static void server_take_loose(struct h1 *h, struct slice text)
{
	if (!h1_loose_text(&text)) {
		h1_server_refuse_part(h, slice_of(NULL, 0), reason_out_of_memory);
		return;
	}
	server_take_request(h, text);
	free((char *)text.p);
}

/* An empty line before the request line (RFC 9112 section 2.2). */
static size_t skip_leading_line(struct h1 *h, struct slice in, size_t size)
{
	if (in.n < size)
		return 0;
	if (++h->leading > LEADING_LINES) {
		h1_server_refuse_part(h, slice_of(NULL, 0), reason_bad_request);
		return in.n;
	}
	return size;
}

size_t h1_server_take_head(struct h1 *h, struct slice in)
{
	const struct reason *why = NULL;
	int64_t n;

	if (h->seen == 0 && in.p[0] == '\n' && h->codec.limits->bare_lf)
		return skip_leading_line(h, in, 1);
	if (h->seen == 0 && in.p[0] == '\r' && (in.n < 2 || in.p[1] == '\n'))
		return skip_leading_line(h, in, 2);
	n = h1_loose_head_end(in, &h->seen, h->codec.limits, &why);
	if (n < 0) {
		h1_server_refuse_part(h, slice_of(in.p, h->seen), why);
		return in.n;
	}
	if (n == 0)
		h->codec.phase = CODEC_HEAD;
	else if (h->seen < (size_t)n)
		server_take_loose(h, slice_of(in.p, (size_t)n));
	else
		server_take_request(h, slice_of(in.p, (size_t)n));
	return (size_t)n;
}

/*---------------------------------------- answers */

/* 1xx, which a 1.0 client would not understand (RFC 9110 section 15.2). */
static bool server_interim(struct h1 *h, const struct head *head)
{
	static const struct h1_framing none = { .body = BODY_NONE };

	if (h->minor == 0)
		return true;
	if (head->status == 100)
		h->expecting = false;
	return h1_out_head(h, head, &none);
}

static bool server_switch(struct h1 *h, const struct head *head)
{
	static const struct h1_framing upgrade = { .connection = H1_UPGRADE };

	if (!h->upgrade || h->in_state != IN_DONE || !h1_out_head(h, head, &upgrade))
		return false;
	h->keep_alive = false;
	h->in_state = IN_TUNNEL;
	h1_out_begin(h, BODY_TUNNEL, 0, false);
	h1_kick(h);
	return true;
}

static bool is_bodiless(const struct h1 *h, const struct head *head)
{
	return h->method_id == METHOD_HEAD || head->status == 204 || head->status == 304;
}

/* How the body goes out, and what the head says of it (RFC 9112 section 6). */
static uint8_t server_framing(const struct h1 *h, const struct head *head, bool end,
			      struct h1_framing *f)
{
	if (is_bodiless(h, head)) {
		bool told = head->body == BODY_LENGTH && head->status != 204;

		*f = (struct h1_framing){ .body = told ? BODY_LENGTH : BODY_NONE,
					  .length = head->length };
		return BODY_NONE;
	}
	if (head->body == BODY_LENGTH)
		*f = (struct h1_framing){ .body = BODY_LENGTH, .length = head->length };
	else if (head->body == BODY_NONE || end)
		*f = (struct h1_framing){ .body = BODY_LENGTH };
	else
		*f = (struct h1_framing){ .body = h->minor > 0 ? BODY_CHUNKED : BODY_CLOSE };
	return f->body;
}

/* Whether this connection takes another request after the answer whose body goes out as `body`. */
static bool server_keeps(const struct h1 *h, uint8_t body)
{
	return h->keep_alive && !h->last && !h->broken && body != BODY_CLOSE &&
	       (!request_is_unread(h) || may_discard(h));
}

static enum h1_connection server_connection(const struct h1 *h, const struct head *head)
{
	if (head->upgrade && h->minor > 0)
		return h->keep_alive ? H1_UPGRADE : H1_UPGRADE_CLOSE;
	if (!h->keep_alive)
		return H1_CLOSE;
	return h->minor > 0 ? H1_SAYS_NOTHING : H1_KEEP_ALIVE;
}

static bool server_head(struct stream *s, const struct head *head, bool end)
{
	struct h1 *h = h1_of_stream(s);
	struct h1_framing f;
	uint8_t body;

	CHECK(h->open && h->out_state == OUT_HEAD && head->status >= 100);
	if (head->status == 101)
		return server_switch(h, head);
	if (head->status < 200)
		return server_interim(h, head);
	body = server_framing(h, head, end, &f);
	h->keep_alive = server_keeps(h, body);
	f.connection = (uint8_t)server_connection(h, head);
	if (!h1_out_head(h, head, &f))
		return false;
	h1_out_begin(h, body, body == BODY_LENGTH ? f.length : 0, end);
	return true;
}

static const struct stream_ops server_stream_ops = {
	.head = server_head,
	.body = h1_stream_body,
	.trailers = h1_stream_trailers,
	.pause = h1_stream_pause,
	.reset = h1_stream_reset,
};

/*---------------------------------------- life */

void h1_server_init(struct h1 *h, const struct codec_io *io, void *conn,
		    const struct codec_events *events, void *user,
		    const struct codec_limits *limits)
{
	h1_init(h, io, conn, limits);
	h->codec.events = events;
	h->codec.user = user;
	h->in_state = IN_HEAD;
}
