/* h2.c - the HTTP/2 connection: what comes in, frame by frame; settings, pings, goodbyes, floods.
 *
 *   preface -> SETTINGS -> frames ... -> GOAWAY (ours) -> no stream left -> over
 *
 * A frame other than DATA is taken once it is whole, a head once all of its frames are: until then
 * they stay with the connection, which keeps what it could not feed.  DATA is taken as it comes.
 *
 *  H2-1  Events are raised from feed, eof, drained and fail only; inside one, any op on any stream
 *        may be called.  So nothing of a stream, nor of a list of them, is believed after an event:
 *        it is looked for again, by its id.
 *  H2-2  gone is raised once a stream is out of every list and freed.
 *  H2-3  What the peer can make us keep is bounded: bodies by windows, heads by codec_limits and
 *        H2_FLOOD_HEAD_FRAMES, streams by number; what it can make us do, by the floods.
 *  H2-4  A head that is encoded is put at once, and one that comes is decoded, wanted or not: the
 *        tables of both sides would part otherwise. */
#include <stdlib.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/reason.h"
#include "http/h2_internal.h"

const struct slice h2_preface = SLICE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");

const char *const h2_flood_tokens[H2_FLOODS] = {
#define FLOOD(id, token, bound) [H2_FLOOD_##id] = #token,
#include "http/h2_flood.def"
#undef FLOOD
};

const struct h2_limits h2_default_limits = {
	.streams = 100,
	.stream_window = 64 * 1024,
	.conn_window = 1024 * 1024,
	.flood = {
#define FLOOD(id, token, bound) [H2_FLOOD_##id] = (bound),
#include "http/h2_flood.def"
#undef FLOOD
	},
};

/* The shutdown's question: whoever answers it has heard that no more streams are to be opened. */
static const struct slice last_call = SLICE("lastcall");

/*---------------------------------------- the connection as a whole */

void h2_kick(struct h2 *h)
{
	h->codec.io->kick(h->codec.conn);
}

/* A client may still be sending; what an upstream has to say is of no use any more. */
static uint8_t over_phase(const struct h2 *h)
{
	return h->s->eof || h->s->is_client ? CODEC_CLOSED : CODEC_LINGER;
}

void h2_break(struct h2 *h, enum h2_code code, const struct reason *why)
{
	if (h2_is_over(h))
		return;
	h2_hello(h);
	h2_put_goaway(h, h->s->in_id, code);
	h->codec.phase = over_phase(h);
	h2_streams_break(h, why);
}

const struct reason *h2_fault_reason(const struct h2 *h)
{
	return h->s->is_client ? reason_upstream_malformed : reason_client_fault;
}

void h2_fault(struct h2 *h, enum h2_code code)
{
	h2_break(h, code, h2_fault_reason(h));
}

bool h2_floods(struct h2 *h, enum h2_flood kind)
{
	struct h2_session *s = h->s;
	uint64_t now_ns = h->codec.io->now_ns(h->codec.conn);

	if (now_ns - s->flood_ns >= H2_FLOOD_SECONDS * CLOCK_S) {
		s->flood_ns = now_ns;
		memset(s->flood, 0, sizeof(s->flood));
	}
	if (++s->flood[kind] <= s->limits->flood[kind])
		return false;
	if (h2_is_over(h))
		return true;
	if (h->codec.events != NULL && h->codec.events->flood != NULL)
		h->codec.events->flood(h->codec.user, kind);
	h2_break(h, H2_ENHANCE_YOUR_CALM,
		 s->is_client ? reason_upstream_malformed : reason_client_flood);
	return true;
}

/* With no stream left, a connection that takes no more is over once the peer knows which was the
 * last. */
void h2_set_phase(struct h2 *h)
{
	struct h2_session *s = h->s;

	if (h2_is_over(h))
		return;
	if (s->n_streams > 0)
		h->codec.phase = CODEC_BUSY;
	else if (s->eof || s->final || (s->is_client && (s->last || s->refused)))
		h->codec.phase = over_phase(h);
	else
		h->codec.phase = s->in_part || s->last || s->n_unread > 0 ? CODEC_HEAD : CODEC_IDLE;
}

static void say_final(struct h2 *h)
{
	struct h2_session *s = h->s;

	if (s->final)
		return;
	s->final = true;
	h2_put_goaway(h, s->in_id, H2_NO_ERROR);
}

/* Section 6.8: first that there will be an end, and when the answer shows that the peer knows,
 * which stream was the last.  No call on its way is lost. */
static void h2_last(struct codec *c)
{
	struct h2 *h = h2_of(c);
	struct h2_session *s = h->s;

	if (s->last || h2_is_over(h))
		return;
	s->last = true;
	if (!s->is_client) {
		h2_hello(h);
		h2_put_goaway(h, H2_LAST_ID, H2_NO_ERROR);
		h2_put_frame(h, H2_PING, 0, 0, last_call);
		c->turned = true; /* the answer has its own time to come */
	}
	h2_set_phase(h);
}

/*---------------------------------------- frames that change the connection */

/* The DATA that went out has called for this frame, or may have. */
static bool is_explained(struct h2 *h)
{
	if (h->s->explained == 0)
		return false;
	h->s->explained--;
	return true;
}

static void take_settings_ack(struct h2 *h, const struct h2_frame *f)
{
	h->s->acknowledged = true;
	if (f->length != 0)
		h2_fault(h, H2_FRAME_SIZE_ERROR);
}

/* Section 6.9.2: the window of every stream moves with it, and may become negative. */
static bool set_peer_window(struct h2 *h, uint32_t window)
{
	struct h2_session *s = h->s;
	int64_t more = (int64_t)window - s->peer_window;

	for (unsigned i = 0; i < H2_BUCKETS; i++)
		for (struct h2_stream *st = s->bucket[i]; st != NULL; st = st->next) {
			st->out_window += more;
			if (st->out_window > H2_WINDOW_MAX)
				return false;
		}
	s->peer_window = window;
	return true;
}

/* Section 6.5.2. */
static enum h2_code take_setting(struct h2 *h, unsigned id, uint32_t value)
{
	struct h2_session *s = h->s;

	switch (id) {
	case H2_HEADER_TABLE_SIZE:
		value = value < H2_HPACK_TABLE ? value : H2_HPACK_TABLE;
		return nghttp2_hd_deflate_change_table_size(s->deflater, value) == 0
			   ? H2_NO_ERROR
			   : H2_INTERNAL_ERROR;
	case H2_ENABLE_PUSH:
		return value > (s->is_client ? 0 : 1) ? H2_PROTOCOL_ERROR : H2_NO_ERROR;
	case H2_MAX_CONCURRENT_STREAMS:
		s->peer_streams = value < H2_PEER_STREAMS ? value : H2_PEER_STREAMS;
		return H2_NO_ERROR;
	case H2_INITIAL_WINDOW_SIZE:
		return value <= H2_WINDOW_MAX && set_peer_window(h, value) ? H2_NO_ERROR
									   : H2_FLOW_CONTROL_ERROR;
	case H2_MAX_FRAME_SIZE:
		if (value < H2_FRAME_BYTES || value > 0xffffff)
			return H2_PROTOCOL_ERROR;
		return H2_NO_ERROR;      /* larger frames than the least are of no use to us */
	case H2_ENABLE_CONNECT_PROTOCOL: /* RFC 8441 section 3: and never taken back */
		if (value > 1 || (s->is_client && value < s->tunnels))
			return H2_PROTOCOL_ERROR;
		s->tunnels = s->is_client ? value : s->tunnels;
		return H2_NO_ERROR;
	default:
		return H2_NO_ERROR;
	}
}

static void take_settings(struct h2 *h, const struct h2_frame *f, const char *p)
{
	if (f->flags & H2_ACK) {
		take_settings_ack(h, f);
		return;
	}
	if (f->length % 6 != 0) {
		h2_fault(h, H2_FRAME_SIZE_ERROR);
		return;
	}
	if (h2_floods(h, H2_FLOOD_SETTINGS))
		return;
	if (!h->s->peer_greeted)
		h->s->peer_streams = h->s->limits->streams; /* unless it says otherwise */
	for (uint32_t i = 0; i < f->length; i += 6) {
		unsigned id = (unsigned)((uint8_t)p[i] << 8 | (uint8_t)p[i + 1]);
		enum h2_code code = take_setting(h, id, h2_get32(p + i + 2));

		if (code != H2_NO_ERROR) {
			h2_fault(h, code);
			return;
		}
	}
	h->s->peer_greeted = true;
	h2_put_frame(h, H2_SETTINGS, H2_ACK, 0, slice_of(NULL, 0));
	h2_flush_blocked(h);
	if (h->s->is_client)
		h2_client_settled(h);
}

static void take_ping(struct h2 *h, const struct h2_frame *f, const char *p)
{
	struct slice text = slice_of(p, 8);

	if (f->flags & H2_ACK) {
		if (h->s->last && slice_eq(text, last_call))
			say_final(h);
		return;
	}
	if (is_explained(h) || !h2_floods(h, H2_FLOOD_PINGS))
		h2_put_frame(h, H2_PING, H2_ACK, 0, text);
}

static void take_goaway(struct h2 *h, const struct h2_frame *f, const char *p)
{
	(void)f;
	if (!h->s->is_client)
		return; /* it will take no push: none is made */
	h->s->refused = true;
	h2_client_goaway(h, h2_get32(p) & H2_LAST_ID);
}

static void widen_connection(struct h2 *h, uint32_t more)
{
	h->s->out_window += more;
	if (more == 0)
		h2_fault(h, H2_PROTOCOL_ERROR);
	else if (h->s->out_window > H2_WINDOW_MAX)
		h2_fault(h, H2_FLOW_CONTROL_ERROR);
	else
		h2_flush_blocked(h);
}

static void widen_stream(struct h2 *h, struct h2_stream *st, uint32_t more)
{
	const struct reason *why = h2_fault_reason(h);

	st->out_window += more;
	if (more == 0)
		h2_stream_break(st, H2_PROTOCOL_ERROR, why);
	else if (st->out_window > H2_WINDOW_MAX)
		h2_stream_break(st, H2_FLOW_CONTROL_ERROR, why);
	else
		h2_flush_blocked(h);
}

bool h2_is_idle(const struct h2 *h, uint32_t id)
{
	bool ours = (id & 1) == (h->s->is_client ? 1 : 0);

	return ours ? id >= h->s->next_id : id > h->s->in_id;
}

static void take_window_update(struct h2 *h, const struct h2_frame *f, const char *p)
{
	uint32_t more = h2_get32(p) & H2_LAST_ID;
	struct h2_stream *st = h2_stream_find(h, f->id);

	if (!is_explained(h) && h2_floods(h, H2_FLOOD_UPDATES))
		return;
	if (f->id == 0)
		widen_connection(h, more);
	else if (h2_is_idle(h, f->id))
		h2_fault(h, H2_PROTOCOL_ERROR);
	else if (st != NULL)
		widen_stream(h, st, more);
}

static uint32_t depends_on(const char *priority)
{
	return h2_get32(priority) & H2_LAST_ID;
}

static void take_rst(struct h2 *h, const struct h2_frame *f, const char *p)
{
	struct h2_stream *st = h2_stream_find(h, f->id);

	if (h2_is_idle(h, f->id)) {
		h2_fault(h, H2_PROTOCOL_ERROR);
		return;
	}
	if (st == NULL || (!h->s->is_client && st->out == H2_OUT_DONE && !st->tunnel)) {
		h2_unread_end(h, f->id);
		h2_floods(h, H2_FLOOD_OTHERS); /* too late: the answer is on its way */
		return;
	}
	if (!h->s->is_client && h2_floods(h, H2_FLOOD_RESETS))
		return;
	h2_stream_gone(st,
		       h->s->is_client ? h2_client_reason(st, h2_get32(p)) : reason_client_abort);
}

/* Section 5.3.2: of no meaning any more; but RFC 7540 section 5.3.1 forbade one thing, and there are
 * those who look for that. */
static void take_priority(struct h2 *h, const struct h2_frame *f, const char *p)
{
	struct h2_stream *st = h2_stream_find(h, f->id);

	if (h2_floods(h, H2_FLOOD_OTHERS))
		return;
	if (st != NULL && depends_on(p) == f->id)
		h2_stream_break(st, H2_PROTOCOL_ERROR, h2_fault_reason(h));
}

/* A promise that was forbidden, or a CONTINUATION of nothing. */
static void take_fault(struct h2 *h, const struct h2_frame *f, const char *p)
{
	(void)f, (void)p;
	h2_fault(h, H2_PROTOCOL_ERROR);
}

/*---------------------------------------- heads: several frames as one */

/* Section 6.2: padding and priority stand around the fragment.  False: they do not fit. */
static bool fragment_of(struct h2_block *block, const char *p)
{
	const struct h2_frame *f = &block->frame;
	bool has_priority = f->flags & H2_HAS_PRIORITY;
	uint32_t before = 0, pad = 0;

	if (f->flags & H2_PADDED) {
		if (f->length == 0)
			return false;
		pad = (uint8_t)p[0];
		before = 1;
	}
	if (before + (has_priority ? 5 : 0) + pad > f->length)
		return false;
	block->own_parent = has_priority && depends_on(p + before) == f->id;
	before += has_priority ? 5 : 0;
	block->first = slice_of(p + before, f->length - before - pad);
	return true;
}

/* More of a head than may be, and it does not end. */
static bool is_endless(const struct h2 *h, size_t bytes, unsigned frames)
{
	/* with one more frame it must fit what is kept */
	size_t most = h->codec.limits->head_bytes + H2_HEAD_MORE - 2 * H2_FRAME_BYTES;

	return frames > h->s->limits->flood[H2_FLOOD_HEAD_FRAMES] + bytes / H2_FRAME_BYTES ||
	       bytes >= most;
}

/* Where the last frame of the block that begins the input ends; 0: not yet, or the connection is
 * broken. */
static size_t block_end(struct h2 *h, struct slice in)
{
	struct h2_frame f = h2_frame_read(in.p);
	uint32_t id = f.id;
	size_t at = H2_FRAME_HEAD + f.length;
	unsigned frames = 0;

	while (!(f.flags & H2_END_HEADERS)) {
		if (is_endless(h, at, frames)) {
			h->s->flood[H2_FLOOD_HEAD_FRAMES] = UINT32_MAX - 1;
			h2_floods(h, H2_FLOOD_HEAD_FRAMES);
			return 0;
		}
		if (in.n < at + H2_FRAME_HEAD)
			return 0;
		f = h2_frame_read(in.p + at);
		if (f.type != H2_CONTINUATION || f.id != id || f.length > H2_FRAME_BYTES) {
			h2_fault(h, f.length > H2_FRAME_BYTES ? H2_FRAME_SIZE_ERROR
							      : H2_PROTOCOL_ERROR);
			return 0;
		}
		at += H2_FRAME_HEAD + f.length;
		frames++;
	}
	return in.n < at ? 0 : at;
}

static size_t take_headers(struct h2 *h, const struct h2_frame *f, struct slice in)
{
	struct h2_block block = { .frame = *f };
	size_t end = block_end(h, in), first = H2_FRAME_HEAD + f->length;

	if (end == 0)
		return 0;
	if (!fragment_of(&block, in.p + H2_FRAME_HEAD)) {
		h2_fault(h, H2_PROTOCOL_ERROR);
		return end;
	}
	block.rest = slice_of(in.p + first, end - first);
	if (h->s->is_client)
		h2_client_take_head(h, &block);
	else
		h2_server_take_head(h, &block);
	return end;
}

/*---------------------------------------- frames */

enum where { ANYWHERE, ON_CONNECTION, ON_STREAM };

struct frame_rule {
	void (*take)(struct h2 *, const struct h2_frame *, const char *payload);
	uint8_t where;
	bool exact;    /* the payload has `bytes`, not more */
	uint8_t bytes; /* at least */
};

static const struct frame_rule frame_rules[H2_TYPES] = {
	[H2_DATA] = { NULL, ON_STREAM },
	[H2_HEADERS] = { NULL, ON_STREAM },
	[H2_PRIORITY] = { take_priority, ON_STREAM, true, 5 },
	[H2_RST_STREAM] = { take_rst, ON_STREAM, true, 4 },
	[H2_SETTINGS] = { take_settings, ON_CONNECTION },
	[H2_PUSH_PROMISE] = { take_fault, ANYWHERE },
	[H2_PING] = { take_ping, ON_CONNECTION, true, 8 },
	[H2_GOAWAY] = { take_goaway, ON_CONNECTION, false, 8 },
	[H2_WINDOW_UPDATE] = { take_window_update, ANYWHERE, true, 4 },
	[H2_CONTINUATION] = { take_fault, ANYWHERE },
};

/* What the head of a frame alone says against it. */
static enum h2_code frame_fault(const struct h2 *h, const struct h2_frame *f)
{
	const struct frame_rule *rule;

	if (f->length > H2_FRAME_BYTES)
		return H2_FRAME_SIZE_ERROR;
	if (!h->s->peer_greeted && (f->type != H2_SETTINGS || (f->flags & H2_ACK)))
		return H2_PROTOCOL_ERROR; /* section 3.4 */
	if (f->type >= H2_TYPES)
		return H2_NO_ERROR;
	rule = &frame_rules[f->type];
	if (rule->where != ANYWHERE && (f->id == 0) != (rule->where == ON_CONNECTION))
		return H2_PROTOCOL_ERROR;
	if (f->length < rule->bytes || (rule->exact && f->length != rule->bytes))
		return H2_FRAME_SIZE_ERROR;
	return H2_NO_ERROR;
}

/* One frame, of which the head has come; 0: more must come. */
static size_t take_frame(struct h2 *h, struct slice in)
{
	struct h2_frame f = h2_frame_read(in.p);
	enum h2_code code = frame_fault(h, &f);

	if (code != H2_NO_ERROR) {
		h2_fault(h, code);
		return in.n;
	}
	if (f.type == H2_DATA)
		return h2_take_data_frame(h, &f, in);
	if (f.type == H2_HEADERS)
		return take_headers(h, &f, in);
	if (in.n < H2_FRAME_HEAD + f.length)
		return 0;
	if (f.type < H2_TYPES)
		frame_rules[f.type].take(h, &f, in.p + H2_FRAME_HEAD);
	else
		h2_floods(h, H2_FLOOD_OTHERS);
	h->s->peer_greeted = true;
	return H2_FRAME_HEAD + f.length;
}

static size_t take_preface(struct h2 *h, struct slice in)
{
	struct h2_session *s = h->s;
	size_t n = h2_preface.n - s->preface;

	n = n < in.n ? n : in.n;
	if (memcmp(h2_preface.p + s->preface, in.p, n) != 0) {
		h2_fault(h, H2_PROTOCOL_ERROR);
		return in.n;
	}
	s->preface = (uint8_t)(s->preface + n);
	if (s->preface == h2_preface.n) {
		h2_hello(h);
		h->codec.turned = true; /* idleness begins: the first call has all of its time */
	}
	return n;
}

static size_t take(struct h2 *h, struct slice in)
{
	struct h2_session *s = h->s;

	if (!s->is_client && s->preface < h2_preface.n)
		return take_preface(h, in);
	if (s->data_left > 0 || s->data_pad > 0)
		return h2_take_data(h, in);
	return in.n < H2_FRAME_HEAD ? 0 : take_frame(h, in);
}

/*---------------------------------------- the entries */

/* An op that could not do its work has left a note. */
static bool is_doomed(struct h2 *h)
{
	if (h->s->doom != NULL)
		h2_break(h, H2_INTERNAL_ERROR, h->s->doom);
	return h2_is_over(h);
}

static size_t h2_feed(struct codec *c, struct slice in)
{
	struct h2 *h = h2_of(c);
	size_t used = 0;

	h2_unread_expire(h);
	h2_run_todo(h);
	while (used < in.n && !is_doomed(h)) {
		size_t n = take(h, slice_of(in.p + used, in.n - used));

		if (n == 0)
			break;
		used += n;
	}
	h->s->in_part = used < in.n;
	h2_run_todo(h);
	is_doomed(h);
	h2_set_phase(h);
	return h2_is_over(h) ? in.n : used;
}

/* Of a request that has come whole the answer may still be read; but where a window is in the way,
 * nobody will move it. */
static void h2_eof(struct codec *c)
{
	struct h2 *h = h2_of(c);
	struct h2_session *s = h->s;

	s->eof = true;
	s->n_unread = 0; /* nothing more comes of them */
	h2_streams_hang_up(h, s->is_client ? reason_upstream_reset : reason_client_abort);
	h2_set_phase(h);
}

static void h2_fail(struct codec *c, const struct reason *why)
{
	struct h2 *h = h2_of(c);

	if (h2_is_over(h)) {
		h2_streams_break(h, why);
	} else if (why == reason_head_timeout && !h->s->last && h2_unread_stop(h)) {
		c->turned = true; /* it was not a head that was waited for, or not for so long */
		h2_set_phase(h);
	} else {
		h2_break(h, H2_NO_ERROR, why);
	}
}

static bool h2_wants_read(const struct codec *c)
{
	/* a paused stream does not stop the others: its window does */
	return ((const struct h2 *)c)->s->backlog <= H2_BACKLOG;
}

static void h2_fini(struct codec *c)
{
	struct h2 *h = h2_of(c);

	h2_streams_free(h);
	nghttp2_hd_deflate_del(h->s->deflater);
	nghttp2_hd_inflate_del(h->s->inflater);
	free(h->s->unread);
	free(h->s);
	h->s = NULL;
}

static const struct codec_ops h2_ops = {
	.feed = h2_feed,
	.eof = h2_eof,
	.drained = h2_drained,
	.fail = h2_fail,
	.last = h2_last,
	.wants_read = h2_wants_read,
	.fini = h2_fini,
};

/*---------------------------------------- life */

bool h2_init(struct h2 *h, const struct codec_io *io, void *conn, const struct codec_limits *limits)
{
	struct h2_session *s = calloc(1, sizeof(*s));

	*h = (struct h2){
		.codec = { .ops = &h2_ops,
			   .io = io,
			   .conn = conn,
			   .limits = limits,
			   .multiplexed = true },
		.s = s,
	};
	if (s == NULL)
		return false;
	if (nghttp2_hd_deflate_new(&s->deflater, H2_HPACK_TABLE) != 0 ||
	    nghttp2_hd_inflate_new(&s->inflater) != 0) {
		if (s->deflater != NULL)
			nghttp2_hd_deflate_del(s->deflater);
		free(s);
		return false;
	}
	s->limits = limits->h2;
	s->stream_window = limits->h2->stream_window;
	s->conn_window = limits->h2->conn_window;
	s->streams = limits->h2->streams;
	list_init(&s->todo);
	list_init(&s->blocked);
	list_init(&s->unflushed);
	s->out_window = s->in_window = s->peer_window = H2_WINDOW;
	s->peer_frame_bytes = H2_FRAME_BYTES;
	s->peer_streams = s->streams; /* until it says otherwise */
	s->next_id = 1;
	return true;
}

uint32_t h2_streams(const struct h2 *h)
{
	return h->s->n_streams;
}
