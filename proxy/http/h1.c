/* h1.c - the HTTP/1 codec: what both roles share.
 *
 * What comes in and what goes out are two small machines that know of each other only at a
 * message's end:
 *
 *   in   server  HEAD -> LENGTH | CHUNKED -> DONE -> (stream gone) -> HEAD
 *                DISCARD: the rest of a short body that nobody wants
 *                DEAF: whatever comes is dropped, for the connection is about to end
 *        client  IDLE -> (open) HEAD -> LENGTH | CHUNKED | CLOSE -> DONE -> (gone) IDLE
 *        both    HEAD -> 101 -> TUNNEL -> DONE
 *   out  both    HEAD -> BODY -> DONE
 *
 *  H1  Events are raised from feed, eof, drained and fail only.
 *  H2  A state is set before the event that tells of it, and nothing of the stream is believed
 *      after the event.
 *  H3  gone is the last thing done with a stream: inside it the owner may open the next one.
 *  H4  What cannot be sent in full is cut, never ended as if it were whole. */
#include "base/check.h"
#include "base/reason.h"
#include "http/h1_internal.h"

static struct h1 *h1_of(struct codec *c)
{
	return (struct h1 *)c;
}

/*---------------------------------------- events */

static void raise_body(struct h1 *h, struct slice data, bool end)
{
	struct stream *s = &h->stream;

	if (s->on != NULL && s->on->body != NULL)
		s->on->body(s->owner, data, end);
}

/* The stream's end; `phase` is set first, for the owner may use the codec again at once. */
void h1_raise_gone(struct h1 *h, uint8_t phase, const struct reason *why)
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
void h1_stop(struct h1 *h)
{
	h->broken = true;
	/* who was asked for a tunnel may believe it is open: its end must not look like one in
	 * order */
	h->codec.cut =
	    h->codec.cut || (h->open && (h->out_state == OUT_BODY || (h->is_client && h->upgrade)));
	h->in_state = IN_DEAF;
}

void h1_break_stream(struct h1 *h, const struct reason *why)
{
	h1_stop(h);
	h1_raise_gone(h, CODEC_CLOSED, why);
}

void h1_open_stream(struct h1 *h, const struct stream_ops *ops)
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

/* Ends the stream if both directions are over and all is written.  A client's answer need not wait
 * for that. */
static void try_finish(struct h1 *h)
{
	bool in_over =
	    h->in_state == IN_DONE || h->in_state == IN_DISCARD || h->in_state == IN_DEAF;

	if (!h->open || h->out_state != OUT_DONE || h->stream.queued > 0 || !in_over)
		return;
	if (h->out_body == BODY_TUNNEL)
		h1_raise_gone(h, CODEC_CLOSED, NULL);
	else if (!h->is_client)
		h1_server_finish(h);
}

/*---------------------------------------- input: bodies */

/* The body can not be understood: a client's answer is over, a request may still be answered. */
static size_t bad_body(struct h1 *h, const struct reason *why, size_t n)
{
	const struct stream_events *on = h->stream.on;

	if (h->is_client) {
		h1_break_stream(h, h1_response_fault(why));
		return n;
	}
	if (h->out_state != OUT_HEAD || on == NULL || on->bad == NULL) {
		h1_break_stream(h, why);
		return n;
	}
	h1_stop(h);
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
	h->stream.in_bytes += n;
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
	enum chunked_event event;

	if (is_paused(h))
		return 0;
	h->expecting = false;
	event = chunked_step(&h->chunked, &rest, &data, h->codec.limits);
	h->stream.in_bytes += in.n - rest.n;
	switch (event) {
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
	h->stream.in_bytes += in.n;
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
	if (h->open)
		h->stream.in_bytes += n;
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
	h1_stop(h);
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

void h1_expect_body(struct h1 *h, const struct head *head, bool end)
{
	h->in_state = end ? IN_DONE : in_state_of(head->body);
	h->left = head->length;
	if (h->in_state == IN_CHUNKED)
		chunked_init(&h->chunked);
}

/* A place for the head and its text, `*copy`. */
struct head *h1_head_new(struct arena *a, struct slice text, struct slice *copy)
{
	struct head *head = arena_alloc(a, sizeof(*head));

	*copy = arena_copy(a, text);
	if (head == NULL || copy->p == NULL)
		return NULL;
	head_init(head, a);
	return head;
}

static size_t take_head(struct h1 *h, struct slice in)
{
	return h->is_client ? h1_client_take_head(h, in) : h1_server_take_head(h, in);
}

/*---------------------------------------- input: the entries */

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
		h1_client_finish(h, false);
}

/* Nothing more will come, and nothing is held back. */
static void settle_eof(struct h1 *h)
{
	if (h->open && (h->in_state == IN_TUNNEL || h->in_state == IN_CLOSE))
		end_by_eof(h);
	else if (h->open && h->in_state == IN_DONE && h->out_body == BODY_TUNNEL)
		return; /* one half is over, the other goes on */
	else if (h->is_client)
		h1_client_eof(h);
	else
		h1_server_eof(h);
}

/* An op that could not do its work has left a note. */
static bool is_doomed(struct h1 *h)
{
	if (!h->open || h->doom == NULL)
		return false;
	h1_break_stream(h, h->doom);
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
			h1_client_finish(h, used < in.n);
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

	/* what is left of a body that was answered already is no head */
	if (!h->is_client && h->in_state == IN_HEAD && c->phase == CODEC_HEAD &&
	    why == reason_head_timeout)
		h1_server_refuse_part(h, slice_of(NULL, 0), why);
	else
		h1_break_stream(h, why);
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

/*---------------------------------------- output */

void h1_kick(struct h1 *h)
{
	h->codec.io->kick(h->codec.conn);
}

static void out(struct h1 *h, struct slice s)
{
	if (s.n == 0)
		return;
	h->codec.io->put(h->codec.conn, s);
	h->stream.queued += s.n;
	h->stream.out_bytes += s.n;
	h->full = h->full || h->stream.queued > STREAM_HIGH_WATER;
}

/* Ops raise nothing: the owner hears of it when the connection comes back. */
static void doom(struct h1 *h, const struct reason *why)
{
	h->doom = why;
	h1_kick(h);
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
		h1_kick(h);
	} else if (!h->is_client) {
		h1_server_out_done(h);
	}
}

/* Trailers, where they may be, stand before the end. */
static void out_chunk(struct h1 *h, struct slice data)
{
	static const struct slice crlf = SLICE("\r\n");
	char *p;

	if (data.n == 0)
		return;
	p = h->codec.io->reserve(h->codec.conn, H1_CHUNK_HEAD_BOUND);
	if (p == NULL) {
		doom(h, reason_out_of_memory);
		return;
	}
	out(h, slice_of(p, h1_write_chunk_head(p, data.n)));
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

void h1_stream_body(struct stream *s, struct slice data, bool end)
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

void h1_stream_trailers(struct stream *s, const struct head *trailers)
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

void h1_stream_pause(struct stream *s, bool paused)
{
	struct h1 *h = h1_of_stream(s);

	CHECK(h->open);
	if (s->paused == paused)
		return;
	s->paused = paused;
	if (!paused)
		h1_kick(h);
}

/* An answer that says how long it is: what came of it may be of use, and what is missing shows. */
static bool is_seen_short(const struct h1 *h, const struct reason *why)
{
	return !h->is_client && why == reason_upstream_truncated && h->out_state == OUT_BODY &&
	       (h->out_body == BODY_CHUNKED || h->out_body == BODY_LENGTH);
}

void h1_stream_reset(struct stream *s, const struct reason *why)
{
	struct h1 *h = h1_of_stream(s);
	bool unused = h->is_client && h->out_state == OUT_HEAD && h->in_state == IN_HEAD && !h->eof;
	bool cut = h->codec.cut, shows = is_seen_short(h, why);

	CHECK(h->open);
	if (unused) {
		h->in_state = IN_IDLE;
		h->codec.phase = CODEC_IDLE;
	} else {
		h1_stop(h);
		h->codec.cut = shows ? cut : h->codec.cut;
		h->codec.phase = CODEC_CLOSED;
		h1_kick(h);
	}
	h->open = false;
	s->on = NULL;
	s->owner = NULL;
}

bool h1_out_head(struct h1 *h, const struct head *head, const struct h1_framing *f)
{
	char *p = h->codec.io->reserve(h->codec.conn, h1_head_bound(head));
	size_t n;

	if (p == NULL)
		return false;
	n = h->is_client ? h1_write_request(p, head, f) : h1_write_response(p, head, f);
	out(h, slice_of(p, n));
	return true;
}

void h1_out_begin(struct h1 *h, uint8_t body, uint64_t length, bool end)
{
	h->out_state = OUT_BODY;
	h->out_body = body;
	h->owed = length;
	if (end)
		out_done(h);
}

/*---------------------------------------- life */

void h1_init(struct h1 *h, const struct codec_io *io, void *conn, const struct codec_limits *limits)
{
	*h = (struct h1){
		.codec = { .ops = &h1_ops, .io = io, .conn = conn, .limits = limits },
		.minor = 1,
	};
}
