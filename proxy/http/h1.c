/* h1.c - the HTTP/1 codec, both roles.
 *
 * What comes in and what goes out are two small machines that know of each other only at a
 * message's end:
 *
 *   in   server  HEAD -> LENGTH | CHUNKED -> DONE -> (stream gone) -> HEAD
 *                DISCARD: the rest of a short body that nobody wants; DEAF: whatever comes is
 * dropped client  IDLE -> (open) HEAD -> LENGTH | CHUNKED | CLOSE -> DONE -> (gone) IDLE both HEAD
 * -> 101 -> TUNNEL -> DONE out  both    HEAD -> BODY -> DONE
 *
 *  H1  Events are raised from feed, eof, drained and fail only; a state is set before the event
 * that tells of it, and nothing of the stream is believed after it. H2  gone is the last thing done
 * at an entry: the owner may open the next stream inside it. H3  Whatever can not be answered in
 * full is cut, never ended as if it were whole. */
#include "http/h1.h"

#include "base/check.h"
#include "base/reason.h"

enum in_state {
	IN_IDLE,
	IN_HEAD,
	IN_LENGTH,
	IN_CHUNKED,
	IN_CLOSE,
	IN_TUNNEL,
	IN_DONE,
	IN_DISCARD,
	IN_DEAF,
	IN_STATES
};

enum out_state { OUT_HEAD, OUT_BODY, OUT_DONE };

enum {
	LEADING_LINES = 4,         /* empty lines before a request line */
	INTERIM_HEADS = 8,         /* 1xx heads before an answer: each stays in the call's arena */
	DISCARD_BYTES = 64 * 1024, /* of an unwanted body, rather than a new connection */
	SMALL_CHUNK_BYTES = 512,   /* copied behind its size line: fewer pieces to write */
};

static struct h1 *h1_of(struct codec *c)
{
	return (struct h1 *)c;
}

static struct h1 *h1_of_stream(struct stream *s)
{
	return (struct h1 *)((char *)s - offsetof(struct h1, stream));
}

/*---------------------------------------------------------------- events */

static void raise_body(struct h1 *h, struct slice data, bool end)
{
	struct stream *s = &h->stream;

	if (s->on != NULL && s->on->body != NULL)
		s->on->body(s->owner, data, end);
}

/* The stream's end; `phase` is set first, for the owner may use the codec again at once. */
static void raise_gone(struct h1 *h, uint8_t phase, const struct reason *why)
{
	const struct stream_events *on = h->stream.on;
	void *owner = h->stream.owner;
	bool was_open = h->open;

	h->open = false;
	h->stream.on = NULL;
	h->stream.owner = NULL;
	h->codec.phase = phase;
	if (was_open && on != NULL && on->gone != NULL)
		on->gone(owner, why);
}

/* No more of this connection. */
static void stop(struct h1 *h)
{
	h->broken = true;
	h->codec.cut = h->codec.cut || (h->open && h->out_state == OUT_BODY);
	h->in_state = IN_DEAF;
}

static void break_stream(struct h1 *h, const struct reason *why)
{
	stop(h);
	raise_gone(h, CODEC_CLOSED, why);
}

/*---------------------------------------------------------------- ends of messages */

static void open_stream(struct h1 *h, const struct stream_ops *ops)
{
	h->stream = (struct stream){ .ops = ops };
	h->out_state = OUT_HEAD;
	h->out_body = BODY_NONE;
	h->owed = 0;
	h->doom = NULL;
	h->open = true;
	h->full = false;
	h->upgrade = false;
	h->expecting = false;
	h->leading = 0;
	h->seen = 0;
}

/* The last answer of this connection is written: whether the peer may still be sending decides how
 * to close. */
static uint8_t closing_phase(const struct h1 *h)
{
	bool quiet = h->eof || (h->in_state == IN_DONE && !h->held && !h->last);

	return quiet ? CODEC_CLOSED : CODEC_LINGER;
}

static void server_finish(struct h1 *h)
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
		if (h->held || h->eof)
			h->codec.io->kick(h->codec.conn);
	}
	raise_gone(h, phase, NULL);
}

static void client_finish(struct h1 *h, bool extra)
{
	bool reusable = h->keep_alive && h->out_state == OUT_DONE && h->stream.queued == 0 &&
			!extra && !h->last && !h->broken && !h->eof;

	h->in_state = reusable ? IN_IDLE : IN_DEAF;
	raise_gone(h, reusable ? CODEC_IDLE : CODEC_CLOSED, NULL);
}

/* Ends the stream if both directions are over and all is written.  A client's answer need not wait
 * for that. */
static void try_finish(struct h1 *h)
{
	bool in_over =
	    h->in_state == IN_DONE || h->in_state == IN_DISCARD || h->in_state == IN_DEAF;

	if (!h->open || h->out_state != OUT_DONE || h->stream.queued > 0 || !in_over)
		return;
	if (h->out_body == BODY_TUNNEL)
		raise_gone(h, CODEC_CLOSED, NULL);
	else if (!h->is_client)
		server_finish(h);
}

/*---------------------------------------------------------------- input: bodies */

/* The body can not be understood: a client's answer is over, a request may still be answered. */
static size_t bad_body(struct h1 *h, const struct reason *why, size_t n)
{
	const struct stream_events *on = h->stream.on;

	if (h->is_client) {
		break_stream(h, h1_response_fault(why));
		return n;
	}
	if (h->out_state != OUT_HEAD || on == NULL || on->bad == NULL) {
		break_stream(h, why);
		return n;
	}
	stop(h);
	on->bad(h->stream.owner, why);
	return n;
}

static bool is_paused(struct h1 *h)
{
	h->held = h->held || h->stream.paused;
	return h->stream.paused;
}

static size_t take_length(struct h1 *h, struct slice in)
{
	size_t n = in.n < h->left ? in.n : (size_t)h->left;

	if (is_paused(h))
		return 0;
	h->expecting = false;
	h->left -= n;
	if (h->left == 0)
		h->in_state = IN_DONE;
	raise_body(h, slice_of(in.p, n), h->left == 0);
	return n;
}

/* A trailer section whose fields are all such as must not trail is none. */
static bool any_left(const struct head *head)
{
	for (unsigned i = 0; i < head->n; i++)
		if (head->fields[i].id != F_REMOVED)
			return true;
	return false;
}

static const struct reason *take_trailers(struct h1 *h, struct slice text)
{
	struct head *head = arena_alloc(h->arena, sizeof(*head));
	struct slice copy = arena_copy(h->arena, text);
	const struct reason *why;
	struct stream *s = &h->stream;

	if (head == NULL || copy.p == NULL)
		return reason_out_of_memory;
	head_init(head, h->arena);
	why = h1_parse_trailers(copy, h->codec.limits, head);
	if (why != NULL)
		return why;
	h->in_state = IN_DONE;
	if (any_left(head) && s->on != NULL && s->on->trailers != NULL)
		s->on->trailers(s->owner, head);
	else
		raise_body(h, slice_of(NULL, 0), true);
	return NULL;
}

static size_t take_chunked(struct h1 *h, struct slice in)
{
	struct slice rest = in, data;
	const struct reason *why = NULL;

	if (is_paused(h))
		return 0;
	h->expecting = false;
	switch (chunked_step(&h->chunked, &rest, &data, h->codec.limits)) {
	case CHUNKED_DATA:
		raise_body(h, data, false);
		break;
	case CHUNKED_END:
		h->in_state = IN_DONE;
		raise_body(h, slice_of(NULL, 0), true);
		break;
	case CHUNKED_TRAILERS:
		why = take_trailers(h, data);
		break;
	case CHUNKED_BAD:
		why = reason_bad_chunk;
		break;
	case CHUNKED_MORE:
		break;
	}
	return why != NULL ? bad_body(h, why, in.n) : in.n - rest.n;
}

/* Until the peer closes: the body of an old server's answer, and tunnels. */
static size_t take_all(struct h1 *h, struct slice in)
{
	if (is_paused(h))
		return 0;
	raise_body(h, in, false);
	return in.n;
}

static size_t take_none(struct h1 *h, struct slice in)
{
	(void)in;
	h->held = true;
	return 0;
}

static size_t take_discard(struct h1 *h, struct slice in)
{
	size_t n = in.n < h->left ? in.n : (size_t)h->left;

	h->left -= n;
	if (h->left > 0)
		return n;
	h->in_state = h->open ? IN_DONE : IN_HEAD;
	if (!h->open)
		h->codec.phase = CODEC_IDLE;
	return n;
}

static size_t take_deaf(struct h1 *h, struct slice in)
{
	(void)h;
	return in.n;
}

/* Bytes on a connection where nothing was asked. */
static size_t take_idle(struct h1 *h, struct slice in)
{
	stop(h);
	h->codec.phase = CODEC_CLOSED;
	return in.n;
}

static uint8_t in_state_of(uint8_t body)
{
	static const uint8_t states[] = {
		[BODY_NONE] = IN_DONE,   [BODY_LENGTH] = IN_LENGTH, [BODY_CHUNKED] = IN_CHUNKED,
		[BODY_CLOSE] = IN_CLOSE, [BODY_TUNNEL] = IN_TUNNEL,
	};

	return states[body];
}

static void expect_body(struct h1 *h, const struct head *head, bool end)
{
	h->in_state = end ? IN_DONE : in_state_of(head->body);
	h->left = head->length;
	if (h->in_state == IN_CHUNKED)
		chunked_init(&h->chunked);
}

/*---------------------------------------------------------------- input: request heads */

static const struct stream_ops server_stream_ops;
static const struct stream_ops client_stream_ops;

/* A place for the head and its text, `*copy`. */
static struct head *head_new(struct arena *a, struct slice text, struct slice *copy)
{
	struct head *head = arena_alloc(a, sizeof(*head));

	*copy = arena_copy(a, text);
	if (head == NULL || copy->p == NULL)
		return NULL;
	head_init(head, a);
	return head;
}

static void server_open(struct h1 *h)
{
	open_stream(h, &server_stream_ops);
	h->keep_alive = true;
	h->method_id = METHOD_OTHER;
	h->minor = 1;
	h->codec.phase = CODEC_BUSY;
	h->arena = h->codec.events->arena(h->codec.user, &h->stream);
}

/* No arena, nobody to tell. */
static void server_give_up(struct h1 *h)
{
	h->open = false;
	stop(h);
	h->codec.phase = CODEC_CLOSED;
}

static void server_refuse(struct h1 *h, struct head *head, const struct reason *why)
{
	stop(h);
	h->keep_alive = false;
	if (head != NULL)
		h->method_id = head->method_id;
	h->codec.events->bad_request(h->codec.user, &h->stream, head, why);
}

/* `text` is no whole head, but its request line may tell who asked for what. */
static void server_refuse_part(struct h1 *h, struct slice text, const struct reason *why)
{
	const char *lf = text.n == 0 ? NULL : memchr(text.p, '\n', text.n);
	struct slice line = slice_of(text.p, lf == NULL ? 0 : (size_t)(lf + 1 - text.p));
	struct slice copy;
	struct head *head;
	char *whole;

	server_open(h);
	if (h->arena == NULL) {
		server_give_up(h);
		return;
	}
	head = head_new(h->arena, line, &copy);
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
	if (h->arena == NULL) {
		server_give_up(h);
		return;
	}
	head = head_new(h->arena, text, &copy);
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
	expect_body(h, head, end);
	h->codec.events->request(h->codec.user, &h->stream, head, end);
}

/* An empty line before the request line (RFC 9112 section 2.2). */
static size_t skip_leading_line(struct h1 *h, struct slice in)
{
	if (in.n < 2)
		return 0;
	if (++h->leading > LEADING_LINES) {
		server_refuse_part(h, slice_of(NULL, 0), reason_bad_request);
		return in.n;
	}
	return 2;
}

static size_t server_take_head(struct h1 *h, struct slice in)
{
	const struct reason *why = NULL;
	int64_t n;

	if (h->seen == 0 && in.p[0] == '\r' && (in.n < 2 || in.p[1] == '\n'))
		return skip_leading_line(h, in);
	n = h1_head_end(in, &h->seen, h->codec.limits, &why);
	if (n < 0) {
		server_refuse_part(h, slice_of(in.p, h->seen), why);
		return in.n;
	}
	if (n == 0)
		h->codec.phase = CODEC_HEAD;
	else
		server_take_request(h, slice_of(in.p, (size_t)n));
	return (size_t)n;
}

/*---------------------------------------------------------------- input: answers' heads */

static bool answer_has_body(const struct h1 *h, const struct head *head)
{
	return head->body != BODY_NONE && (head->body != BODY_LENGTH || head->length > 0) &&
	       h->method_id != METHOD_HEAD && head->status != 304;
}

/* What an answer's head may not say at this point. */
static const struct reason *answer_fault(struct h1 *h, const struct head *head)
{
	if (head->status >= 200)
		return NULL;
	if (head->status == 101)
		return h->upgrade && head->upgrade ? NULL : reason_upstream_malformed;
	return ++h->leading > INTERIM_HEADS ? reason_upstream_malformed : NULL;
}

static void client_take_answer(struct h1 *h, struct slice text)
{
	struct stream *s = &h->stream;
	const struct reason *why;
	struct slice copy;
	struct head *head = head_new(h->arena, text, &copy);
	bool end = false;

	why = head == NULL ? reason_out_of_memory
			   : h1_parse_response(copy, h->codec.limits, h->method_id, head);
	if (why == NULL)
		why = answer_fault(h, head);
	if (why != NULL) {
		break_stream(h, why);
		return;
	}
	h->seen = 0;
	if (head->status >= 200 || head->status == 101) {
		end = head->status != 101 && !answer_has_body(h, head);
		h->keep_alive = head->keep_alive && head->status != 101;
		h->minor = head->minor;
		h->codec.phase = CODEC_BUSY;
		expect_body(h, head, end);
	}
	if (head->status == 101)
		h->out_body = BODY_TUNNEL, h->out_state = OUT_BODY;
	if (s->on != NULL && s->on->head != NULL)
		s->on->head(s->owner, head, end);
}

static size_t client_take_head(struct h1 *h, struct slice in)
{
	const struct reason *why = NULL;
	int64_t n;

	if (h->out_state == OUT_HEAD) { /* it speaks before it was asked: as good as closed */
		break_stream(h, reason_upstream_reset);
		return in.n;
	}
	n = h1_head_end(in, &h->seen, h->codec.limits, &why);
	if (n < 0) {
		break_stream(h, h1_response_fault(why));
		return in.n;
	}
	if (n > 0)
		client_take_answer(h, slice_of(in.p, (size_t)n));
	return (size_t)n;
}

static size_t take_head(struct h1 *h, struct slice in)
{
	return h->is_client ? client_take_head(h, in) : server_take_head(h, in);
}

/*---------------------------------------------------------------- input: the entries */

static size_t (*const takers[IN_STATES])(struct h1 *, struct slice) = {
	[IN_IDLE] = take_idle,       [IN_HEAD] = take_head,       [IN_LENGTH] = take_length,
	[IN_CHUNKED] = take_chunked, [IN_CLOSE] = take_all,       [IN_TUNNEL] = take_all,
	[IN_DONE] = take_none,       [IN_DISCARD] = take_discard, [IN_DEAF] = take_deaf,
};

/* The end of the input means the end of a body that is delimited by it. */
static void end_by_eof(struct h1 *h)
{
	bool tunnel = h->in_state == IN_TUNNEL;

	if (h->stream.paused)
		return;
	h->in_state = IN_DONE;
	raise_body(h, slice_of(NULL, 0), true);
	if (!h->open || h->in_state != IN_DONE)
		return;
	if (tunnel)
		try_finish(h);
	else
		client_finish(h, false);
}

static void server_eof(struct h1 *h)
{
	if (!h->open)
		h->codec.phase = h->codec.phase < CODEC_CLOSED ? CODEC_CLOSED : h->codec.phase;
	else if (h->in_state == IN_LENGTH || h->in_state == IN_CHUNKED)
		break_stream(h, reason_client_abort);
	else
		h->keep_alive = false; /* the answer may still be read: a half-close is no abort */
}

static void client_eof(struct h1 *h)
{
	bool answered = h->in_state != IN_HEAD || h->seen > 0 || h->leading > 0;

	if (h->open)
		break_stream(h, answered ? reason_upstream_truncated : reason_upstream_reset);
	else
		h->codec.phase = CODEC_CLOSED;
}

/* Nothing more will come, and nothing is held back. */
static void settle_eof(struct h1 *h)
{
	if (h->open && (h->in_state == IN_TUNNEL || h->in_state == IN_CLOSE))
		end_by_eof(h);
	else if (h->open && h->in_state == IN_DONE && h->out_body == BODY_TUNNEL)
		return; /* one half is over, the other goes on */
	else if (h->is_client)
		client_eof(h);
	else
		server_eof(h);
}

/* An op that could not do its work has left a note. */
static bool is_doomed(struct h1 *h)
{
	if (!h->open || h->doom == NULL)
		return false;
	break_stream(h, h->doom);
	return true;
}

static size_t h1_feed(struct codec *c, struct slice in)
{
	struct h1 *h = h1_of(c);
	size_t used = 0;

	if (is_doomed(h))
		return in.n;
	h->held = false;
	try_finish(h);
	while (used < in.n && h->doom == NULL) {
		size_t n = takers[h->in_state](h, slice_of(in.p + used, in.n - used));

		if (n == 0)
			break;
		used += n;
		if (h->is_client && h->open && h->in_state == IN_DONE && h->out_body != BODY_TUNNEL)
			client_finish(h, used < in.n);
	}
	if (h->eof && !h->held && h->doom == NULL)
		settle_eof(h);
	return used;
}

static void h1_eof(struct codec *c)
{
	struct h1 *h = h1_of(c);

	h->eof = true;
	if (!is_doomed(h) && !h->held)
		settle_eof(h);
}

static void h1_drained(struct codec *c, size_t left)
{
	struct h1 *h = h1_of(c);
	struct stream *s = &h->stream;

	if (!h->open || is_doomed(h))
		return;
	s->queued = left;
	if (h->full && left < STREAM_LOW_WATER) {
		h->full = false;
		if (h->out_state != OUT_DONE && s->on != NULL && s->on->room != NULL)
			s->on->room(s->owner);
	}
	try_finish(h);
}

static void h1_fail(struct codec *c, const struct reason *why)
{
	struct h1 *h = h1_of(c);

	if (!h->is_client && !h->open && c->phase == CODEC_HEAD && why == reason_head_timeout)
		server_refuse_part(h, slice_of(NULL, 0), why);
	else
		break_stream(h, why);
}

static void h1_last(struct codec *c)
{
	h1_of(c)->last = true;
}

static bool h1_wants_read(const struct codec *c)
{
	const struct h1 *h = (const struct h1 *)c;
	bool body = h->in_state >= IN_LENGTH && h->in_state <= IN_TUNNEL;

	return !h->broken && !(h->open && body && h->stream.paused);
}

static void h1_fini(struct codec *c)
{
	struct h1 *h = h1_of(c);

	h->open = false;
	h->stream.on = NULL;
	h->stream.owner = NULL;
}

static const struct codec_ops h1_ops = {
	.feed = h1_feed,
	.eof = h1_eof,
	.drained = h1_drained,
	.fail = h1_fail,
	.last = h1_last,
	.wants_read = h1_wants_read,
	.fini = h1_fini,
};

/*---------------------------------------------------------------- output */

static void kick(struct h1 *h)
{
	h->codec.io->kick(h->codec.conn);
}

static void out(struct h1 *h, struct slice s)
{
	if (s.n == 0)
		return;
	h->codec.io->put(h->codec.conn, s);
	h->stream.queued += s.n;
	h->full = h->full || h->stream.queued > STREAM_HIGH_WATER;
}

/* Ops raise nothing: the owner hears of it when the connection comes back. */
static void doom(struct h1 *h, const struct reason *why)
{
	h->doom = why;
	kick(h);
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

static void server_out_done(struct h1 *h)
{
	if (request_is_unread(h)) {
		bool discard = may_discard(h) && h->keep_alive;

		h->keep_alive = discard;
		h->in_state = discard ? IN_DISCARD : IN_DEAF;
		kick(h);
	}
	if (h->stream.queued == 0)
		kick(h);
}

static void out_done(struct h1 *h)
{
	if (h->out_body == BODY_LENGTH && h->owed > 0) {
		doom(h, h->is_client ? reason_client_abort : reason_upstream_truncated);
		return;
	}
	h->out_state = OUT_DONE;
	if (h->out_body == BODY_TUNNEL) {
		h->codec.shut = true;
		kick(h);
	} else if (!h->is_client) {
		server_out_done(h);
	}
}

/* Trailers, where they may be, stand before the end. */
static void out_chunk(struct h1 *h, struct slice data)
{
	static const struct slice crlf = SLICE("\r\n");
	bool small = data.n <= SMALL_CHUNK_BYTES;
	char *p;
	size_t n;

	if (data.n == 0)
		return;
	p = h->codec.io->reserve(h->codec.conn, H1_CHUNK_HEAD_BOUND + (small ? data.n + 2 : 0));
	if (p == NULL) {
		doom(h, reason_out_of_memory);
		return;
	}
	n = h1_write_chunk_head(p, data.n);
	if (small) {
		memcpy(p + n, data.p, data.n);
		memcpy(p + n + data.n, crlf.p, crlf.n);
		out(h, slice_of(p, n + data.n + crlf.n));
		return;
	}
	out(h, slice_of(p, n));
	out(h, data);
	out(h, crlf);
}

static void out_length(struct h1 *h, struct slice data)
{
	CHECK(data.n <= h->owed);
	h->owed -= data.n;
	out(h, data);
}

static void out_none(struct h1 *h, struct slice data)
{
	(void)h;
	(void)data;
}

static void (*const body_writers[])(struct h1 *, struct slice) = {
	[BODY_NONE] = out_none, [BODY_LENGTH] = out_length, [BODY_CHUNKED] = out_chunk,
	[BODY_CLOSE] = out,     [BODY_TUNNEL] = out,
};

static void stream_body(struct stream *s, struct slice data, bool end)
{
	static const struct slice last_chunk = SLICE("0\r\n\r\n");
	struct h1 *h = h1_of_stream(s);

	CHECK(h->open && h->out_state != OUT_HEAD);
	if (h->out_state == OUT_DONE || h->doom != NULL)
		return;
	body_writers[h->out_body](h, data);
	if (!end || h->doom != NULL)
		return;
	if (h->out_body == BODY_CHUNKED)
		out(h, last_chunk);
	out_done(h);
}

static void stream_trailers(struct stream *s, const struct head *trailers)
{
	struct h1 *h = h1_of_stream(s);
	char *p;

	CHECK(h->open && h->out_state != OUT_HEAD);
	if (h->out_state == OUT_DONE || h->doom != NULL)
		return;
	if (h->out_body == BODY_CHUNKED) {
		p = h->codec.io->reserve(h->codec.conn, 3 + h1_head_bound(trailers));
		if (p == NULL) {
			doom(h, reason_out_of_memory);
			return;
		}
		memcpy(p, "0\r\n", 3);
		out(h, slice_of(p, 3 + h1_write_trailers(p + 3, trailers)));
	}
	out_done(h);
}

static void stream_pause(struct stream *s, bool paused)
{
	struct h1 *h = h1_of_stream(s);

	CHECK(h->open);
	if (s->paused == paused)
		return;
	s->paused = paused;
	if (!paused)
		kick(h);
}

static void stream_reset(struct stream *s, const struct reason *why)
{
	struct h1 *h = h1_of_stream(s);
	bool unused = h->is_client && h->out_state == OUT_HEAD && h->in_state == IN_HEAD && !h->eof;

	(void)why;
	CHECK(h->open);
	if (unused) {
		h->in_state = IN_IDLE;
		h->codec.phase = CODEC_IDLE;
	} else {
		stop(h);
		h->codec.phase = CODEC_CLOSED;
		kick(h);
	}
	h->open = false;
	s->on = NULL;
	s->owner = NULL;
}

/* `write` is one of h1_write.c's. */
static bool out_head(struct h1 *h, const struct head *head, const struct h1_framing *f)
{
	char *p = h->codec.io->reserve(h->codec.conn, h1_head_bound(head));
	size_t n;

	if (p == NULL)
		return false;
	n = h->is_client ? h1_write_request(p, head, f) : h1_write_response(p, head, f);
	out(h, slice_of(p, n));
	return true;
}

static void out_begin(struct h1 *h, uint8_t body, uint64_t length, bool end)
{
	h->out_state = OUT_BODY;
	h->out_body = body;
	h->owed = length;
	if (end)
		out_done(h);
}

/*---------------------------------------------------------------- output: answers */

/* 1xx, which a 1.0 client would not understand (RFC 9110 section 15.2). */
static bool server_interim(struct h1 *h, const struct head *head)
{
	static const struct h1_framing none = { .body = BODY_NONE };

	if (h->minor == 0)
		return true;
	if (head->status == 100)
		h->expecting = false;
	return out_head(h, head, &none);
}

static bool server_switch(struct h1 *h, const struct head *head)
{
	static const struct h1_framing upgrade = { .connection = H1_UPGRADE };

	if (!h->upgrade || h->in_state != IN_DONE || !out_head(h, head, &upgrade))
		return false;
	h->keep_alive = false;
	h->in_state = IN_TUNNEL;
	out_begin(h, BODY_TUNNEL, 0, false);
	kick(h);
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
	if (!out_head(h, head, &f))
		return false;
	out_begin(h, body, body == BODY_LENGTH ? f.length : 0, end);
	return true;
}

static const struct stream_ops server_stream_ops = {
	.head = server_head,
	.body = stream_body,
	.trailers = stream_trailers,
	.pause = stream_pause,
	.reset = stream_reset,
};

/*---------------------------------------------------------------- output: requests */

/* RFC 9110 section 8.6: where a method's content means something, none is said to be none. */
static bool says_no_content(const struct head *head)
{
	return head->body == BODY_NONE &&
	       (head->method_id == METHOD_POST || head->method_id == METHOD_PUT ||
		head->method_id == METHOD_PATCH);
}

static bool client_head(struct stream *s, const struct head *head, bool end)
{
	struct h1 *h = h1_of_stream(s);
	struct h1_framing f = { .body = head->body, .length = head->length };

	CHECK(h->open && h->out_state == OUT_HEAD);
	if (says_no_content(head) || (end && head->body == BODY_CHUNKED))
		f = (struct h1_framing){ .body = BODY_LENGTH };
	f.connection = head->upgrade ? H1_UPGRADE : H1_SAYS_NOTHING;
	if (!out_head(h, head, &f))
		return false;
	h->method_id = head->method_id;
	h->upgrade = head->upgrade;
	out_begin(h, f.body, f.body == BODY_LENGTH ? f.length : 0, end);
	return true;
}

static const struct stream_ops client_stream_ops = {
	.head = client_head,
	.body = stream_body,
	.trailers = stream_trailers,
	.pause = stream_pause,
	.reset = stream_reset,
};

/*---------------------------------------------------------------- life */

static void h1_init(struct h1 *h, const struct codec_io *io, void *conn,
		    const struct codec_limits *limits)
{
	*h = (struct h1){
		.codec = { .ops = &h1_ops, .io = io, .conn = conn, .limits = limits },
		.minor = 1,
	};
}

void h1_server_init(struct h1 *h, const struct codec_io *io, void *conn,
		    const struct codec_events *events, void *user,
		    const struct codec_limits *limits)
{
	h1_init(h, io, conn, limits);
	h->codec.events = events;
	h->codec.user = user;
	h->in_state = IN_HEAD;
}

void h1_client_init(struct h1 *h, const struct codec_io *io, void *conn,
		    const struct codec_limits *limits)
{
	h1_init(h, io, conn, limits);
	h->is_client = true;
	h->in_state = IN_IDLE;
}

struct stream *h1_client_open(struct h1 *h, struct arena *arena)
{
	CHECK(h->is_client && !h->open && h->codec.phase == CODEC_IDLE);
	open_stream(h, &client_stream_ops);
	h->arena = arena;
	h->keep_alive = true;
	h->in_state = IN_HEAD;
	h->codec.phase = CODEC_HEAD;
	return &h->stream;
}

bool h1_reusable(const struct h1 *h)
{
	return h->is_client && !h->open && !h->broken && h->codec.phase == CODEC_IDLE;
}
