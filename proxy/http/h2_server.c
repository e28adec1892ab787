/* h2_server.c - the codec's server role: requests in, answers out. */
#include "base/check.h"
#include "base/reason.h"
#include "http/h2_internal.h"

/*---------------------------------------- request heads */

/* Decoded for the sake of the table alone. */
static void skip_head(struct h2 *h, const struct h2_block *block)
{
	struct h2_reading r = { .kind = H2_REQUEST };

	if (!h2_block_read(h, block, &r))
		h2_fault(h, H2_COMPRESSION_ERROR);
}

/* Of the 64 newest it is known whether they were opened or passed over (section 5.1.1). */
static bool was_opened(const struct h2_session *s, uint32_t id)
{
	uint32_t back = (s->in_id - id) / 2;

	return back >= 64 || (s->opened >> back & 1);
}

static void mark_opened(struct h2_session *s, uint32_t id)
{
	uint32_t ahead = (id + 1) / 2 - (s->in_id + 1) / 2;

	s->opened = (ahead < 64 ? s->opened << ahead : 0) | 1;
	s->in_id = id;
}

static void take_old(struct h2 *h, const struct h2_block *block)
{
	uint32_t id = block->frame.id;

	if (!was_opened(h->s, id))
		h2_fault(h, H2_PROTOCOL_ERROR);
	else if ((h2_unread_end(h, id) || !h2_closed_fault(h, id)) &&
		 !h2_floods(h, H2_FLOOD_OTHERS))
		skip_head(h, block);
}

/* It was never looked at: the client may send it again, safely. */
static void refuse(struct h2 *h, const struct h2_block *block, bool tell)
{
	h->s->cut_id = block->frame.id;
	skip_head(h, block);
	if (!tell || h2_is_over(h))
		return;
	h2_put_rst(h, block->frame.id, H2_REFUSED_STREAM);
	h2_floods(h, H2_FLOOD_OTHERS);
}

static bool is_fault_of_protocol(const struct reason *why)
{
	return why->status == 400 || why == reason_connect_refused;
}

static void open_request(struct h2 *h, const struct h2_block *block, struct h2_stream *st)
{
	const struct codec_events *events = h->codec.events;
	struct head *head = arena_alloc(st->arena, sizeof(*head));
	struct h2_reading r = { .kind = H2_REQUEST, .head = head };
	const struct reason *why = reason_out_of_memory;
	bool end = block->frame.flags & H2_END_STREAM, intact;

	if (head != NULL)
		head_init(head, st->arena);
	intact = h2_block_read(h, block, &r);
	if (head != NULL)
		why = intact ? h2_finish_request(&r, end) : reason_bad_field;
	if (why == NULL && block->own_parent)
		why = reason_bad_request;
	st->in_ended = st->in_told = end;
	if (head != NULL)
		st->method_id = head->method_id;
	if (why != NULL) {
		st->in_broken = true;
		st->code = is_fault_of_protocol(why) ? H2_PROTOCOL_ERROR : H2_NO_ERROR;
		events->bad_request(h->codec.user, &st->stream, head, why);
	} else {
		st->in_sized = head->body == BODY_LENGTH;
		st->in_left = head->length;
		st->tunnel = head->upgrade;
		st->in_told = end && !st->tunnel;
		st->stream.paused = !st->in_told;
		events->request(h->codec.user, &st->stream, head, end || st->tunnel);
	}
	if (!intact)
		h2_fault(h, H2_COMPRESSION_ERROR);
}

static void take_new(struct h2 *h, const struct h2_block *block)
{
	struct h2_session *s = h->s;
	struct h2_stream *st;

	mark_opened(s, block->frame.id);
	h2_unread_make_room(h);
	if (s->final || s->n_streams >= s->streams) {
		refuse(h, block, !s->final);
		return;
	}
	st = h2_server_stream_new(h, block->frame.id);
	if (st != NULL)
		st->arena = h->codec.events->arena(h->codec.user, &st->stream);
	if (st != NULL && st->arena != NULL) {
		open_request(h, block, st);
		return;
	}
	if (st != NULL)
		h2_stream_free(st);
	refuse(h, block, true);
}

/* Section 8.1: they end the request. */
static void take_trailers(struct h2 *h, const struct h2_block *block, struct h2_stream *st)
{
	struct head *head = arena_alloc(st->arena, sizeof(*head));
	struct h2_reading r = { .kind = H2_TRAILERS, .head = st->in_broken ? NULL : head };

	if (head != NULL)
		head_init(head, st->arena);
	if (!h2_block_read(h, block, &r)) {
		h2_fault(h, H2_COMPRESSION_ERROR);
		return;
	}
	if (st->in_broken) {
		h2_unread_end(h, st->id);
		return;
	}
	if (st->in_ended)
		h2_stream_break(st, H2_STREAM_CLOSED, reason_client_fault);
	else if (st->tunnel) /* section 8.5 */
		h2_stream_break(st, H2_PROTOCOL_ERROR, reason_client_fault);
	else if (head == NULL)
		h2_stream_bad(st, reason_out_of_memory);
	else if (!(block->frame.flags & H2_END_STREAM) || (st->in_sized && st->in_left > 0))
		h2_stream_bad(st, reason_bad_framing);
	else if (r.why != NULL)
		h2_stream_bad(st, r.why);
	else
		h2_in_end(st, head);
}

void h2_server_take_head(struct h2 *h, const struct h2_block *block)
{
	uint32_t id = block->frame.id;
	struct h2_stream *st = h2_stream_find(h, id);

	if ((id & 1) == 0)
		h2_fault(h, H2_PROTOCOL_ERROR);
	else if (st != NULL && !h2_is_closed(st))
		take_trailers(h, block, st);
	else if (id <= h->s->in_id)
		take_old(h, block);
	else
		take_new(h, block);
}

/*---------------------------------------- answers */

static bool is_bodiless(const struct h2_stream *st, const struct head *head)
{
	return st->method_id == METHOD_HEAD || head->status == 204 || head->status == 304;
}

static bool put_answer(struct h2_stream *st, const struct head *head, uint16_t status, bool sized,
		       bool end)
{
	struct h2_nva v;

	if (!h2_nva_begin(&v, head))
		return false;
	h2_nva_add_number(&v, ":status", status);
	if (!h2_nva_add_fields(&v, head))
		return false;
	if (sized)
		h2_nva_add_number(&v, "content-length", head->length);
	return h2_put_head(st, &v, end);
}

/* RFC 8441 section 5; without it there is no 101 (section 8.6). */
static bool server_switch(struct h2_stream *st, const struct head *head)
{
	if (!st->tunnel || !put_answer(st, head, 200, false, false))
		return false;
	st->out = H2_OUT_BODY;
	return true;
}

static bool server_head(struct stream *s, const struct head *head, bool end)
{
	struct h2_stream *st = h2_stream_of(s);
	bool silent = is_bodiless(st, head);

	CHECK(st->out == H2_OUT_HEAD && head->status >= 100);
	if (head->status == 101)
		return server_switch(st, head);
	if (head->status < 200)
		return put_answer(st, head, head->status, false, false);
	if (!put_answer(st, head, head->status, head->body == BODY_LENGTH && head->status != 204,
			end || silent))
		return false;
	st->tunnel = false;
	st->refused = head->status >= 300;
	st->out = H2_OUT_BODY;
	st->out_sized = head->body == BODY_LENGTH && !silent;
	st->owed = head->length;
	if (end || silent)
		h2_out_done(st);
	return true;
}

static const struct stream_ops server_stream_ops = {
	.head = server_head,
	.body = h2_op_body,
	.trailers = h2_op_trailers,
	.pause = h2_op_pause,
	.reset = h2_op_reset,
};

struct h2_stream *h2_server_stream_new(struct h2 *h, uint32_t id)
{
	return h2_stream_new(h, id, &server_stream_ops);
}

/*---------------------------------------- life */

bool h2_server_init(struct h2 *h, const struct codec_io *io, void *conn,
		    const struct codec_events *events, void *user,
		    const struct codec_limits *limits)
{
	if (!h2_init(h, io, conn, limits))
		return false;
	h->codec.events = events;
	h->codec.user = user;
	return true;
}
