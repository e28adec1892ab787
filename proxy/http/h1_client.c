/* h1_client.c - the codec's client role: requests out, answers in. */
#include <stdlib.h>

#include "base/check.h"
#include "base/reason.h"
#include "http/h1_internal.h"

/*---------------------------------------- ends */

void h1_client_finish(struct h1 *h, bool extra)
{
	bool reusable = h->keep_alive && h->out_state == OUT_DONE && h->stream.queued == 0 &&
			!extra && !h->last && !h->broken && !h->eof;

	h->in_state = reusable ? IN_IDLE : IN_DEAF;
	h1_raise_gone(h, reusable ? CODEC_IDLE : CODEC_CLOSED, NULL);
}

void h1_client_eof(struct h1 *h)
{
	bool answered = h->in_state != IN_HEAD || h->seen > 0 || h->leading > 0;

	if (h->open)
		h1_break_stream(h, answered ? reason_upstream_truncated : reason_upstream_reset);
	else
		h->codec.phase = CODEC_CLOSED;
}

/*---------------------------------------- answers' heads */

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
	struct head *head = h1_head_new(h->arena, text, &copy);
	bool end = false;

	why = head == NULL ? reason_out_of_memory
			   : h1_parse_response(copy, h->codec.limits, h->method_id, head);
	if (why == NULL)
		why = answer_fault(h, head);
	if (why != NULL) {
		h1_break_stream(h, why);
		return;
	}
	h->seen = 0;
	if (head->status >= 200 || head->status == 101) {
		end = head->status != 101 && !answer_has_body(h, head);
		h->keep_alive = head->keep_alive && head->status != 101;
		h->minor = head->minor;
		h->codec.phase = CODEC_BUSY;
		h1_expect_body(h, head, end);
	}
	if (head->status == 101)
		h->out_body = BODY_TUNNEL, h->out_state = OUT_BODY;
	if (s->on != NULL && s->on->head != NULL)
		s->on->head(s->owner, head, end);
}

static void client_take_loose(struct h1 *h, struct slice text)
{
	if (!h1_loose_text(&text)) {
		h1_break_stream(h, reason_out_of_memory);
		return;
	}
	client_take_answer(h, text);
	free((char *)text.p);
}

size_t h1_client_take_head(struct h1 *h, struct slice in)
{
	const struct reason *why = NULL;
	int64_t n;

	if (h->out_state == OUT_HEAD) { /* it speaks before it was asked: as good as closed */
		h1_break_stream(h, reason_upstream_reset);
		return in.n;
	}
	n = h1_loose_head_end(in, &h->seen, h->codec.limits, &why);
	if (n < 0) {
		h1_break_stream(h, h1_response_fault(why));
		return in.n;
	}
	if (n > 0)
		h->stream.in_bytes += (uint64_t)n;
	if (n > 0 && h->seen < (size_t)n)
		client_take_loose(h, slice_of(in.p, (size_t)n));
	else if (n > 0)
		client_take_answer(h, slice_of(in.p, (size_t)n));
	return (size_t)n;
}

/*---------------------------------------- requests */

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
	f.connection = head->upgrade ? H1_UPGRADE : h->last ? H1_CLOSE : H1_SAYS_NOTHING;
	if (!h1_out_head(h, head, &f))
		return false;
	h->method_id = head->method_id;
	h->upgrade = head->upgrade;
	h1_out_begin(h, f.body, f.body == BODY_LENGTH ? f.length : 0, end);
	return true;
}

static const struct stream_ops client_stream_ops = {
	.head = client_head,
	.body = h1_stream_body,
	.trailers = h1_stream_trailers,
	.pause = h1_stream_pause,
	.reset = h1_stream_reset,
};

/*---------------------------------------- life */

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
	h1_open_stream(h, &client_stream_ops);
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
