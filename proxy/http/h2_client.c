/* h2_client.c - the codec's client role: requests out, answers in. */
#include "base/check.h"
#include "base/reason.h"
#include "http/h2_internal.h"
#include "http/websocket.h"

/*---------------------------------------- ends */

/* What the upstream's RST_STREAM means to the try that it ends. */
const struct reason *h2_client_reason(const struct h2_stream *st, uint32_t code)
{
	if (st->heard)
		return reason_upstream_truncated;
	return code == H2_REFUSED_STREAM ? reason_upstream_refused : reason_upstream_reset;
}

static struct h2_stream *above(struct h2 *h, uint32_t last_id)
{
	for (unsigned i = 0; i < H2_BUCKETS; i++)
		for (struct h2_stream *st = h->s->bucket[i]; st != NULL; st = st->next)
			if ((st->id > last_id || st->asked != NULL) && !st->heard)
				return st;
	return NULL;
}

/* Section 6.8: whatever lies above was not looked at. */
void h2_client_goaway(struct h2 *h, uint32_t last_id)
{
	struct h2_stream *st;

	while ((st = above(h, last_id)) != NULL)
		h2_stream_gone(st, reason_upstream_refused);
	h2_set_phase(h);
}

/*---------------------------------------- answers */

static void take_interim(struct h2_stream *st, struct head *head)
{
	const struct stream_events *on = st->stream.on;

	if (++st->leading > H2_INTERIM_HEADS)
		h2_stream_break(st, H2_PROTOCOL_ERROR, reason_upstream_malformed);
	else if (on != NULL && on->head != NULL)
		on->head(st->stream.owner, head, false);
}

/* The tunnel is there: told as HTTP/1 would say it. */
static void take_switch(struct h2_stream *st, struct head *head, bool end)
{
	const struct stream_events *on = st->stream.on;
	struct h2 *h = st->h2;
	uint32_t id = st->id;

	st->heard = true;
	head->status = 101;
	head->upgrade = true;
	head->body = BODY_TUNNEL;
	head_remove(head, F_CONTENT_LENGTH); /* RFC 9110 section 9.3.6 */
	if (!head_add(head, F_UPGRADE, websocket_name))
		h2_stream_break(st, H2_CANCEL, reason_out_of_memory);
	else if (on != NULL && on->head != NULL)
		on->head(st->stream.owner, head, false);
	st = end ? h2_stream_find(h, id) : NULL;
	if (st != NULL)
		h2_in_end(st, NULL);
}

static void take_answer(struct h2_stream *st, struct head *head, bool end)
{
	const struct stream_events *on = st->stream.on;
	struct h2 *h = st->h2;
	uint32_t id = st->id;

	st->tunnel = false;
	st->heard = true;
	st->in_ended = st->in_told = end;
	st->in_sized = head->body == BODY_LENGTH || head->body == BODY_NONE;
	st->in_left = st->method_id == METHOD_HEAD || head->status == 304 ? 0 : head->length;
	if (on != NULL && on->head != NULL)
		on->head(st->stream.owner, head, end);
	st = end ? h2_stream_find(h, id) : NULL;
	if (st != NULL)
		h2_try_finish(st);
}

static void take_response(struct h2_stream *st, struct h2_reading *r, bool end)
{
	const struct reason *why = r->head == NULL
				       ? reason_out_of_memory
				       : h2_finish_response(r, (enum method_id)st->method_id, end);

	if (why != NULL)
		h2_stream_break(st, H2_PROTOCOL_ERROR, why);
	else if (r->head->status < 200)
		take_interim(st, r->head);
	else if (st->tunnel && r->head->status < 300)
		take_switch(st, r->head, end);
	else
		take_answer(st, r->head, end);
}

static void take_trailers(struct h2_stream *st, struct h2_reading *r, bool end)
{
	if (st->in_ended)
		h2_stream_break(st, H2_STREAM_CLOSED, reason_upstream_malformed);
	else if (r->head == NULL || r->why != NULL || !end || st->tunnel ||
		 (st->in_sized && st->in_left > 0))
		h2_stream_break(st, H2_PROTOCOL_ERROR, reason_upstream_malformed);
	else
		h2_in_end(st, r->head);
}

void h2_client_take_head(struct h2 *h, const struct h2_block *block)
{
	struct h2_stream *st = h2_stream_find(h, block->frame.id);
	struct h2_reading r = { .kind = st != NULL && st->heard ? H2_TRAILERS : H2_RESPONSE };
	bool end = block->frame.flags & H2_END_STREAM;

	if (h2_is_idle(h, block->frame.id)) {
		h2_fault(h, H2_PROTOCOL_ERROR);
		return;
	}
	if (st == NULL && h2_closed_fault(h, block->frame.id))
		return;
	if (st != NULL)
		r.head = arena_alloc(st->arena, sizeof(*r.head));
	if (r.head != NULL)
		head_init(r.head, st->arena);
	if (!h2_block_read(h, block, &r))
		h2_fault(h, H2_COMPRESSION_ERROR);
	else if (st != NULL && r.kind == H2_TRAILERS)
		take_trailers(st, &r, end);
	else if (st != NULL)
		take_response(st, &r, end);
}

/*---------------------------------------- requests */

/* The path and the query are one again. */
static struct slice target_of(const struct head *head)
{
	char *p;

	if (head->query.p == NULL)
		return head->path;
	if (head->query.p == head->path.p + head->path.n + 1 && head->query.p[-1] == '?')
		return slice_of(head->path.p, head->path.n + 1 + head->query.n);
	p = arena_alloc(head->arena, head->path.n + 1 + head->query.n);
	if (p == NULL)
		return slice_of(NULL, 0);
	memcpy(p, head->path.p, head->path.n);
	p[head->path.n] = '?';
	memcpy(p + head->path.n + 1, head->query.p, head->query.n);
	return slice_of(p, head->path.n + 1 + head->query.n);
}

static bool fill_request(struct h2_nva *v, const struct h2 *h, const struct head *head)
{
	static const struct slice plain = SLICE("http"), secure = SLICE("https"),
				  trailers = SLICE("trailers"), connect = SLICE("CONNECT");
	struct slice target = target_of(head);

	if (target.p == NULL || !h2_nva_begin(v, head))
		return false;
	h2_nva_add(v, ":method", head->upgrade ? connect : head->method);
	if (head->upgrade)
		h2_nva_add(v, ":protocol", websocket_name);
	h2_nva_add(v, ":scheme", h->s->secure ? secure : plain);
	h2_nva_add(v, ":authority", head->authority);
	h2_nva_add(v, ":path", target);
	if (!h2_nva_add_fields(v, head))
		return false;
	if (head->body == BODY_LENGTH && !head->upgrade)
		h2_nva_add_number(v, "content-length", head->length);
	h2_nva_add(v, "te", trailers); /* section 8.2.2: we take them, whoever asked */
	return true;
}

static bool send_request(struct h2_stream *st, const struct head *head, bool end)
{
	struct h2 *h = st->h2;
	struct h2_nva v;

	if (h2_is_over(h) || !fill_request(&v, h, head))
		return false;
	h2_hello(h);
	h2_stream_number(st, h->s->next_id);
	h->s->next_id += 2;
	st->out_window = h->s->peer_window;
	st->method_id = head->method_id;
	if (!h2_put_head(st, &v, end))
		return false;
	st->out = H2_OUT_BODY;
	st->out_sized = head->body == BODY_LENGTH;
	st->owed = head->length;
	if (end)
		h2_out_done(st);
	return true;
}

/* RFC 8441 section 3: the peer must have said that it takes extended CONNECT. */
static void send_tunnel(struct h2_stream *st, const struct head *head)
{
	if (!st->h2->s->tunnels || !head_lists(head, F_UPGRADE, websocket_name))
		st->doom = reason_upstream_no_upgrade;
	else if (!send_request(st, head, false))
		st->doom = reason_out_of_memory;
	if (st->doom != NULL)
		h2_todo(st);
}

static struct h2_stream *asking(struct h2 *h)
{
	struct h2_stream *st = h->s->bucket[0]; /* of those that have no number yet */

	while (st != NULL && st->asked == NULL)
		st = st->next;
	return st;
}

static uint32_t count_sent(const struct h2 *h)
{
	uint32_t n = 0;

	for (unsigned i = 0; i < H2_BUCKETS; i++)
		for (const struct h2_stream *st = h->s->bucket[i]; st != NULL; st = st->next)
			n += st->id != 0;
	return n;
}

/* The same settings may say that there is no room for them. */
void h2_client_settled(struct h2 *h)
{
	struct h2_stream *st;

	while ((st = asking(h)) != NULL) {
		const struct head *head = st->asked;

		st->asked = NULL;
		if (count_sent(h) < h->s->peer_streams) {
			send_tunnel(st, head);
			continue;
		}
		st->doom = reason_upstream_refused;
		h2_todo(st);
	}
}

static bool client_head(struct stream *s, const struct head *head, bool end)
{
	struct h2_stream *st = h2_stream_of(s);
	struct h2 *h = st->h2;

	CHECK(st->out == H2_OUT_HEAD && st->id == 0);
	if (!head->upgrade)
		return send_request(st, head, end);
	st->tunnel = true;
	h2_hello(h);
	if (h->s->peer_greeted)
		send_tunnel(st, head);
	else
		st->asked = head;
	return true;
}

static const struct stream_ops client_stream_ops = {
	.head = client_head,
	.body = h2_op_body,
	.trailers = h2_op_trailers,
	.pause = h2_op_pause,
	.reset = h2_op_reset,
};

/*---------------------------------------- life */

bool h2_client_init(struct h2 *h, const struct codec_io *io, void *conn,
		    const struct codec_limits *limits, bool secure)
{
	if (!h2_init(h, io, conn, limits))
		return false;
	h->s->is_client = true;
	h->s->secure = secure;
	return true;
}

struct stream *h2_client_open(struct h2 *h, struct arena *arena)
{
	struct h2_stream *st = h2_stream_new(h, 0, &client_stream_ops);

	CHECK(h->s->is_client && !h2_is_over(h));
	if (st == NULL)
		return NULL;
	st->arena = arena;
	return &st->stream;
}

uint32_t h2_client_room(const struct h2 *h)
{
	const struct h2_session *s = h->s;

	if (h2_is_over(h) || s->last || s->refused || s->eof || s->doom != NULL ||
	    s->next_id > H2_LAST_ID - 2 * s->peer_streams)
		return 0;
	return s->n_streams < s->peer_streams ? s->peer_streams - s->n_streams : 0;
}

uint32_t h2_client_bound(const struct h2 *h)
{
	return h->s->peer_greeted ? h->s->peer_streams : 0;
}

void h2_client_presume(struct h2 *h, uint32_t streams)
{
	if (!h->s->peer_greeted)
		h->s->peer_streams = streams;
}
