/* h2_stream.c - the streams of an HTTP/2 connection: their bodies both ways, and their ends.
 *
 *   in    DATA -> the owner, or `held` while it is paused; its window opens again with what is taken
 *   out   body -> DATA as far as both windows go, the rest is copied to `waiting`
 *
 * A tunnel's stream is over when both sides have ended it.  A request's stream is over when the
 * answer is written; what is left of the request then is not wanted (h2_unread.c).  An answer's is
 * over when all of it was told. */
#include <stdlib.h>

#include "base/check.h"
#include "base/reason.h"
#include "http/h2_internal.h"

/*---------------------------------------- the table of them */

static struct h2_stream **bucket_of(struct h2 *h, uint32_t id)
{
	return &h->s->bucket[(id >> 1) % H2_BUCKETS];
}

static void link_stream(struct h2_stream *st)
{
	struct h2_stream **at = bucket_of(st->h2, st->id);

	st->next = *at;
	*at = st;
}

static void unlink_stream(struct h2_stream *st)
{
	struct h2_stream **at = bucket_of(st->h2, st->id);

	while (*at != st)
		at = &(*at)->next;
	*at = st->next;
}

/* Until its peer has acknowledged our settings it may go by those of old. */
static uint32_t first_window(const struct h2_session *s)
{
	uint32_t window = s->stream_window;

	return s->acknowledged || window > H2_WINDOW ? window : H2_WINDOW;
}

struct h2_stream *h2_stream_new(struct h2 *h, uint32_t id, const struct stream_ops *ops)
{
	struct h2_session *s = h->s;
	struct h2_stream *st = calloc(1, sizeof(*st));

	if (st == NULL)
		return NULL;
	st->stream.ops = ops;
	st->h2 = h;
	st->id = id;
	st->in_window = first_window(s);
	st->out_window = s->peer_window;
	list_init(&st->todo);
	list_init(&st->blocked);
	list_init(&st->unflushed);
	link_stream(st);
	s->n_streams++;
	h->codec.phase = CODEC_BUSY;
	h->codec.turned = true;
	return st;
}

void h2_stream_number(struct h2_stream *st, uint32_t id)
{
	unlink_stream(st);
	st->id = id;
	link_stream(st);
}

struct h2_stream *h2_stream_find(struct h2 *h, uint32_t id)
{
	struct h2_stream *st = *bucket_of(h, id);

	while (st != NULL && st->id != id)
		st = st->next;
	return id == 0 ? NULL : st;
}

/*---------------------------------------- input: credit */

static uint32_t half(uint32_t window)
{
	return window / 2 > 0 ? window / 2 : 1;
}

/* The connection's window opens with what has come, taken or not, so that one paused stream does
 * not stop the others; but not beyond what a client may have held in all.  Upstream, the streams
 * are of many clients: what each may have held is bounded, and none stops another's. */
static void credit_connection(struct h2 *h, uint32_t n)
{
	struct h2_session *s = h->s;
	uint32_t window = s->conn_window;

	s->in_credit += n;
	if (s->in_credit < half(window > H2_WINDOW ? window : H2_WINDOW) ||
	    (s->held > window && !s->is_client))
		return;
	h2_put_window(h, 0, s->in_credit);
	s->in_window += s->in_credit;
	s->in_credit = 0;
}

/* In front of what is held: codec_io.free_later wants it. */
enum { HELD_HEAD = sizeof(void *) };

static size_t held_bytes(const struct h2_stream *st)
{
	return st->held.n > 0 ? st->held.n - HELD_HEAD : 0;
}

static void drop_held(struct h2_stream *st)
{
	struct h2 *h = st->h2;
	size_t n = held_bytes(st);

	h->s->held -= n;
	if (n > 0 && !h2_is_over(h))
		credit_connection(h, 0); /* nothing else may come that would open it */
	buf_fini(&st->held);
	st->held = (struct buf){ .p = NULL };
	st->held_trailers = NULL;
}

/* It belongs to no connection any more. */
static void leave(struct h2_stream *st)
{
	unlink_stream(st);
	drop_held(st);
	buf_fini(&st->waiting);
	list_remove(&st->todo);
	list_remove(&st->blocked);
	list_remove(&st->unflushed);
	st->h2->s->n_streams--;
}

void h2_stream_free(struct h2_stream *st)
{
	leave(st);
	free(st);
}

static struct h2_stream *any_stream(struct h2 *h)
{
	for (unsigned i = 0; i < H2_BUCKETS; i++)
		if (h->s->bucket[i] != NULL)
			return h->s->bucket[i];
	return NULL;
}

void h2_streams_free(struct h2 *h)
{
	struct h2_stream *st;

	while ((st = any_stream(h)) != NULL)
		h2_stream_free(st);
}

void h2_todo(struct h2_stream *st)
{
	if (list_empty(&st->todo))
		list_push_back(&st->h2->s->todo, &st->todo);
	h2_kick(st->h2);
}

/*---------------------------------------- ends */

void h2_stream_gone(struct h2_stream *st, const struct reason *why)
{
	const struct stream_events *on = st->stream.on;
	void *owner = st->stream.owner;
	struct h2 *h = st->h2;

	leave(st);
	h2_set_phase(h);
	if (on != NULL && on->gone != NULL)
		on->gone(owner, why); /* who looks at its counts once more */
	free(st);
}

static void cut(struct h2_stream *st, enum h2_code code)
{
	struct h2_session *s = st->h2->s;

	if (st->id == 0)
		return;
	h2_put_rst(st->h2, st->id, code);
	if (!st->in_ended && st->id > s->cut_id)
		s->cut_id = st->id;
}

/* Whoever makes us reset streams gets by no cheaper than one who resets them. */
void h2_stream_break(struct h2_stream *st, enum h2_code code, const struct reason *why)
{
	struct h2 *h = st->h2;

	cut(st, code);
	h2_stream_gone(st, why);
	if (!h->s->is_client)
		h2_floods(h, H2_FLOOD_RESETS);
}

void h2_streams_break(struct h2 *h, const struct reason *why)
{
	struct h2_stream *st;

	while ((st = any_stream(h)) != NULL)
		h2_stream_gone(st, why);
}

/* The peer sends no more: what can still end well. */
static bool may_end(const struct h2_stream *st)
{
	if (st->h2->s->is_client)
		return st->in_ended;
	return st->in_ended && list_empty(&st->blocked);
}

static struct h2_stream *lost_stream(struct h2 *h)
{
	for (unsigned i = 0; i < H2_BUCKETS; i++)
		for (struct h2_stream *st = h->s->bucket[i]; st != NULL; st = st->next)
			if (!may_end(st))
				return st;
	return NULL;
}

void h2_streams_hang_up(struct h2 *h, const struct reason *why)
{
	struct h2_stream *st;

	while ((st = lost_stream(h)) != NULL)
		h2_stream_gone(st, why);
}

void h2_stream_bad(struct h2_stream *st, const struct reason *why)
{
	const struct stream_events *on = st->stream.on;

	if (st->h2->s->is_client) {
		h2_stream_break(st, H2_PROTOCOL_ERROR, reason_upstream_malformed);
		return;
	}
	if (st->out != H2_OUT_HEAD || on == NULL || on->bad == NULL) {
		h2_stream_break(st, H2_PROTOCOL_ERROR, why);
		return;
	}
	st->in_broken = true;
	st->code = H2_PROTOCOL_ERROR;
	drop_held(st);
	on->bad(st->stream.owner, why);
}

/* An answer was told whole; what is left of its request, nobody reads. */
static void finish_client(struct h2_stream *st)
{
	if (st->out != H2_OUT_DONE)
		cut(st, H2_CANCEL);
	h2_stream_gone(st, NULL);
}

void h2_try_finish(struct h2_stream *st)
{
	if (st->tunnel && (!st->in_told || st->out != H2_OUT_DONE))
		return;
	if (st->h2->s->is_client) {
		if (st->in_told)
			finish_client(st);
	} else if (st->out == H2_OUT_DONE && st->unwritten == 0) {
		h2_stream_gone(st, NULL);
	}
}

static void credit_stream(struct h2_stream *st, uint32_t n)
{
	st->in_credit += n;
	if (st->in_ended || st->in_broken || st->in_credit < half(st->h2->s->stream_window))
		return;
	h2_put_window(st->h2, st->id, st->in_credit);
	st->in_window += st->in_credit;
	st->in_credit = 0;
}

/*---------------------------------------- input: bodies */

static void raise_body(struct h2_stream *st, struct slice data, bool end)
{
	const struct stream_events *on = st->stream.on;
	struct h2 *h = st->h2;
	uint32_t id = st->id;

	st->in_told = end;
	if (on != NULL && on->body != NULL)
		on->body(st->stream.owner, data, end);
	st = end ? h2_stream_find(h, id) : NULL;
	if (st != NULL)
		h2_try_finish(st);
}

/* A trailer section whose fields are all such as must not trail is none. */
static bool any_left(const struct head *head)
{
	for (unsigned i = 0; head != NULL && i < head->n; i++)
		if (head->fields[i].id != F_REMOVED)
			return true;
	return false;
}

static void tell_end(struct h2_stream *st)
{
	const struct stream_events *on = st->stream.on;
	struct head *trailers = st->held_trailers;
	struct h2 *h = st->h2;
	uint32_t id = st->id;

	st->held_trailers = NULL;
	if (!any_left(trailers) || on == NULL || on->trailers == NULL) {
		raise_body(st, slice_of(NULL, 0), true);
		return;
	}
	st->in_told = true;
	on->trailers(st->stream.owner, trailers);
	st = h2_stream_find(h, id);
	if (st != NULL)
		h2_try_finish(st);
}

static bool has_held(const struct h2_stream *st)
{
	return st->held.n > 0 || (st->in_ended && !st->in_told);
}

static void hold(struct h2_stream *st, struct slice data)
{
	static const char head[HELD_HEAD];
	size_t before = held_bytes(st);

	if (st->held.n == 0)
		buf_put(&st->held, head, HELD_HEAD);
	buf_put(&st->held, data.p, data.n);
	st->h2->s->held += held_bytes(st) - before;
	if (st->held.oom)
		st->doom = reason_out_of_memory;
	if (st->doom != NULL || !st->stream.paused)
		h2_todo(st);
}

/* `st` is in_ended already if this is the end. */
static void take_body(struct h2_stream *st, struct slice data)
{
	if (st->stream.paused || st->held.n > 0) {
		hold(st, data);
		return;
	}
	credit_stream(st, (uint32_t)data.n);
	raise_body(st, data, st->in_ended);
}

void h2_in_end(struct h2_stream *st, struct head *trailers)
{
	st->in_ended = true;
	st->held_trailers = trailers;
	if (!st->stream.paused && st->held.n == 0)
		tell_end(st);
}

/* What was held while the owner was paused. */
static void release(struct h2_stream *st)
{
	struct h2 *h = st->h2;
	uint32_t id = st->id;

	if (st->held.n > 0) {
		struct slice body = slice_of(st->held.p + HELD_HEAD, held_bytes(st));

		h->s->held -= body.n;
		h->codec.io->free_later(h->codec.conn, st->held.p);
		st->held = (struct buf){ .p = NULL };
		credit_stream(st, (uint32_t)body.n);
		credit_connection(h, 0);
		raise_body(st, body, st->in_ended && st->held_trailers == NULL);
		st = h2_stream_find(h, id);
	}
	if (st != NULL && !st->stream.paused && st->in_ended && !st->in_told)
		tell_end(st);
}

/* A frame on a stream that is no more: of one that we ended, it may be late (RFC 9113 section
 * 5.1). */
static bool is_late(const struct h2 *h, uint32_t id)
{
	return id <= h->s->cut_id;
}

bool h2_closed_fault(struct h2 *h, uint32_t id)
{
	if (is_late(h, id))
		return false;
	h2_fault(h, H2_STREAM_CLOSED);
	return true;
}

/* What a DATA frame says of its stream; false: the stream is over, and the payload dropped. */
static bool data_fits(struct h2_stream *st, const struct h2_frame *f, uint32_t payload)
{
	const struct reason *why = h2_fault_reason(st->h2);
	bool end = f->flags & H2_END_STREAM;

	if (st->in_broken)
		return false;
	if (st->in_ended) {
		h2_stream_break(st, H2_STREAM_CLOSED, why);
		return false;
	}
	if (st->h2->s->is_client && !st->heard) {
		h2_stream_break(st, H2_PROTOCOL_ERROR, why);
		return false;
	}
	if (f->length > st->in_window) {
		h2_stream_break(st, H2_FLOW_CONTROL_ERROR, why);
		return false;
	}
	st->in_window -= f->length;
	if (st->in_sized && (payload > st->in_left || (end && payload < st->in_left))) {
		h2_stream_bad(st, reason_bad_framing);
		return false;
	}
	st->in_left -= st->in_sized ? payload : 0;
	return true;
}

size_t h2_take_data_frame(struct h2 *h, const struct h2_frame *f, struct slice in)
{
	struct h2_session *s = h->s;
	uint32_t before = f->flags & H2_PADDED ? 1 : 0, pad = 0;
	struct h2_stream *st = h2_stream_find(h, f->id);
	bool unread;

	if (in.n < H2_FRAME_HEAD + before && f->length >= before)
		return 0;
	if (before > 0 && f->length > 0)
		pad = (uint8_t)in.p[H2_FRAME_HEAD];
	if (h2_is_idle(h, f->id) || before + pad > f->length) {
		h2_fault(h, H2_PROTOCOL_ERROR);
		return in.n;
	}
	if (f->length > s->in_window) {
		h2_fault(h, H2_FLOW_CONTROL_ERROR);
		return in.n;
	}
	if (st != NULL && h2_is_closed(st))
		st = NULL;
	s->in_window -= f->length;
	s->data = *f;
	s->data_left = f->length - before - pad;
	s->data_pad = pad;
	credit_connection(h, f->length);
	unread = s->n_unread > 0 && h2_unread_data(h, f);
	if ((s->data_left == 0 && !(f->flags & H2_END_STREAM) && h2_floods(h, H2_FLOOD_EMPTY)) ||
	    (st == NULL && !unread && h2_closed_fault(h, f->id)))
		return in.n;
	if (unread)
		return H2_FRAME_HEAD + before;
	if (st != NULL && data_fits(st, f, s->data_left)) {
		credit_stream(st, before + pad);
		if (s->data_left == 0 && (f->flags & H2_END_STREAM))
			h2_in_end(st, NULL);
	}
	return H2_FRAME_HEAD + before;
}

size_t h2_take_data(struct h2 *h, struct slice in)
{
	struct h2_session *s = h->s;
	struct h2_stream *st;
	size_t n;

	if (s->data_left == 0) {
		n = in.n < s->data_pad ? in.n : s->data_pad;
		s->data_pad -= (uint32_t)n;
		return n;
	}
	n = in.n < s->data_left ? in.n : s->data_left;
	s->data_left -= (uint32_t)n;
	st = h2_stream_find(h, s->data.id);
	if (st == NULL || st->in_broken) {
		if (s->data_left == 0 && (s->data.flags & H2_END_STREAM))
			h2_unread_end(h, s->data.id);
		return n;
	}
	st->in_ended = s->data_left == 0 && (s->data.flags & H2_END_STREAM);
	take_body(st, slice_of(in.p, n));
	return n;
}

void h2_run_todo(struct h2 *h)
{
	struct list *n;

	while ((n = list_pop_front(&h->s->todo)) != NULL) {
		struct h2_stream *st = LIST_ENTRY(n, struct h2_stream, todo);

		if (st->doom != NULL)
			h2_stream_break(st, h->s->is_client ? H2_CANCEL : H2_INTERNAL_ERROR,
					st->doom);
		else if (!st->stream.paused && !st->in_broken && has_held(st))
			release(st);
	}
}

/*---------------------------------------- output */

static void count_queued(struct h2_stream *st)
{
	st->stream.queued = st->waiting.n - st->waiting_at + st->unwritten;
	st->full = st->full || st->stream.queued > STREAM_HIGH_WATER;
}

void h2_stream_puts(struct h2_stream *st, size_t n)
{
	st->unwritten += n;
	st->stream.out_bytes += n;
	st->mark = st->h2->s->put;
	if (list_empty(&st->unflushed))
		list_push_back(&st->h2->s->unflushed, &st->unflushed);
	count_queued(st);
}

static void doom(struct h2_stream *st, const struct reason *why)
{
	st->doom = why;
	h2_todo(st);
}

void h2_out_done(struct h2_stream *st)
{
	st->out = H2_OUT_DONE;
	if (st->h2->s->is_client || st->tunnel)
		return;
	drop_held(st);
	if (st->code != H2_NO_ERROR || (!st->in_ended && !h2_unread_keep(st)))
		cut(st, (enum h2_code)st->code);
	st->in_broken = true;
}

/* How much of n the windows and one frame let out. */
static size_t let_out(const struct h2_stream *st, size_t n)
{
	const struct h2_session *s = st->h2->s;
	int64_t window = st->out_window < s->out_window ? st->out_window : s->out_window;

	if (window <= 0)
		return 0;
	n = n < s->peer_frame_bytes ? n : s->peer_frame_bytes;
	return n < (uint64_t)window ? n : (size_t)window;
}

static void put_trailers(struct h2_stream *st, const struct head *trailers)
{
	struct h2_nva v;

	if (!h2_nva_begin(&v, trailers) || !h2_nva_add_fields(&v, trailers)) {
		doom(st, reason_out_of_memory);
		return;
	}
	if (v.n == 0)
		h2_put_data(st, slice_of(NULL, 0), true);
	else if (!h2_put_head(st, &v, true))
		return;
	h2_out_done(st);
}

/* One frame of what waits; false: nothing can go. */
static bool send_waiting(struct h2_stream *st)
{
	struct h2 *h = st->h2;
	size_t left = st->waiting.n - st->waiting_at, n = let_out(st, left);
	bool end = st->out == H2_OUT_ENDING && st->waiting_trailers == NULL && n == left;
	char *p;

	if (n == 0)
		return false;
	p = h->codec.io->reserve(h->codec.conn, H2_FRAME_HEAD + n);
	if (p == NULL) {
		doom(st, reason_out_of_memory);
		return false;
	}
	h2_write_data_head(p, st, n, end);
	memcpy(p + H2_FRAME_HEAD, st->waiting.p + st->waiting_at, n);
	st->waiting_at += n;
	h2_put(h, slice_of(p, H2_FRAME_HEAD + n));
	h2_stream_puts(st, H2_FRAME_HEAD + n);
	if (n < left)
		return true;
	buf_fini(&st->waiting);
	st->waiting = (struct buf){ .p = NULL };
	st->waiting_at = 0;
	count_queued(st);
	if (end)
		h2_out_done(st);
	else if (st->out == H2_OUT_ENDING)
		put_trailers(st, st->waiting_trailers);
	return true;
}

static void list_splice(struct list *from, struct list *to)
{
	struct list *n;

	while ((n = list_pop_front(from)) != NULL)
		list_push_back(to, n);
}

/* In turn, a frame each. */
void h2_flush_blocked(struct h2 *h)
{
	struct h2_session *s = h->s;
	struct list still, *n;

	list_init(&still);
	while (s->out_window > 0 && (n = list_pop_front(&s->blocked)) != NULL) {
		struct h2_stream *st = LIST_ENTRY(n, struct h2_stream, blocked);

		if (!send_waiting(st))
			list_push_back(&still, n);
		else if (st->waiting.n > 0)
			list_push_back(&s->blocked, n);
	}
	list_splice(&still, &s->blocked);
}

static void wait_for_window(struct h2_stream *st, struct slice data)
{
	if (st->waiting_at > st->waiting.n / 2) {
		st->waiting.n -= st->waiting_at;
		memmove(st->waiting.p, st->waiting.p + st->waiting_at, st->waiting.n);
		st->waiting_at = 0;
	}
	buf_put(&st->waiting, data.p, data.n);
	if (st->waiting.oom)
		doom(st, reason_out_of_memory);
	else if (st->h2->s->eof)
		doom(st, st->h2->s->is_client ? reason_upstream_reset : reason_client_abort);
	if (list_empty(&st->blocked))
		list_push_back(&st->h2->s->blocked, &st->blocked);
	count_queued(st);
}

static void send_body(struct h2_stream *st, struct slice data, bool end)
{
	while (st->waiting.n == 0 && data.n > 0) {
		size_t n = let_out(st, data.n);

		if (n == 0)
			break;
		h2_put_data(st, slice_of(data.p, n), end && n == data.n);
		data = slice_of(data.p + n, data.n - n);
		if (data.n == 0 && end)
			h2_out_done(st);
	}
	if (data.n > 0)
		wait_for_window(st, data);
}

/* A body with a length that ends before it has that must not look complete. */
static bool is_short(struct h2_stream *st, size_t n, bool end)
{
	if (!st->out_sized)
		return false;
	CHECK(n <= st->owed);
	st->owed -= n;
	if (!end || st->owed == 0)
		return false;
	doom(st, st->h2->s->is_client ? reason_client_abort : reason_upstream_truncated);
	return true;
}

void h2_op_body(struct stream *s, struct slice data, bool end)
{
	struct h2_stream *st = h2_stream_of(s);

	CHECK(st->out != H2_OUT_HEAD);
	if (st->out != H2_OUT_BODY || st->doom != NULL || is_short(st, data.n, end))
		return;
	if (end)
		st->out = H2_OUT_ENDING;
	if (data.n > 0)
		send_body(st, data, end);
	else if (end && st->waiting.n == 0) {
		h2_put_data(st, data, true);
		h2_out_done(st);
	}
}

void h2_op_trailers(struct stream *s, const struct head *trailers)
{
	struct h2_stream *st = h2_stream_of(s);

	CHECK(st->out != H2_OUT_HEAD);
	if (st->out != H2_OUT_BODY || st->doom != NULL || is_short(st, 0, true))
		return;
	st->out = H2_OUT_ENDING;
	if (st->waiting.n == 0)
		put_trailers(st, trailers);
	else if ((st->waiting_trailers = h2_head_copy(trailers, st->arena)) == NULL)
		doom(st, reason_out_of_memory);
}

void h2_op_pause(struct stream *s, bool paused)
{
	struct h2_stream *st = h2_stream_of(s);

	if (s->paused == paused)
		return;
	s->paused = paused;
	if (!paused && has_held(st))
		h2_todo(st);
}

/* What a client is told of an answer that is cut. */
static enum h2_code code_of(const struct reason *why)
{
	if (why->status == 400)
		return H2_PROTOCOL_ERROR;
	return why->flags & R_FAILURE ? H2_INTERNAL_ERROR : H2_CANCEL;
}

void h2_op_reset(struct stream *s, const struct reason *why)
{
	struct h2_stream *st = h2_stream_of(s);
	struct h2 *h = st->h2;

	if (st->id != 0 && (st->out != H2_OUT_DONE || (h->s->is_client && !st->in_ended)) &&
	    !h2_is_over(h))
		cut(st, h->s->is_client ? H2_CANCEL : code_of(why));
	h2_stream_free(st);
	h2_set_phase(h);
	h2_kick(h);
}

/*---------------------------------------- output: what was written */

/* `left` of all that was put is still to go. */
static void on_flushed(struct h2_stream *st, size_t left)
{
	struct h2_session *s = st->h2->s;

	if (st->mark + left <= s->put) {
		st->unwritten = 0;
	} else {
		st->unwritten = st->unwritten < left ? st->unwritten : left;
		list_push_back(&s->unflushed, &st->unflushed);
	}
	count_queued(st);
	if (!st->full || st->stream.queued >= STREAM_LOW_WATER) {
		h2_try_finish(st);
		return;
	}
	st->full = false;
	if (st->out == H2_OUT_BODY && st->stream.on != NULL && st->stream.on->room != NULL)
		st->stream.on->room(st->stream.owner);
	else
		h2_try_finish(st);
}

void h2_drained(struct codec *c, size_t left)
{
	struct h2 *h = h2_of(c);
	struct list some, *n;

	h->s->backlog = left;
	list_init(&some);
	list_splice(&h->s->unflushed, &some);
	while ((n = list_pop_front(&some)) != NULL)
		on_flushed(LIST_ENTRY(n, struct h2_stream, unflushed), left);
	h2_set_phase(h);
}
