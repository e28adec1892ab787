/* fuzz_codec.c - a proxy made of codecs and nothing else, over input that is cut at random.
 *
 *   input -> front (server) -> back (client) -> app (server) -> back -> front -> user (client)
 *
 * What the front accepts and the back writes must be the same request to the app; what the app
 * answers must be the same answer to the user.  The first four bytes are the seed of every cut and
 * choice; where the last of them is large, the front takes lines that end with LF alone. */
#include "../unit/http/rig.h"
#include "base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What is written anew may be a little longer than it came: canonical spaces, Host. */
static const struct codec_limits wider = { .head_bytes = 16384,
					   .target_bytes = 4096,
					   .headers = 140 };

static const struct codec_limits loose = {
	.head_bytes = 4096, .target_bytes = 1024, .headers = 100, .bare_lf = true
};

static uint32_t seed;

static uint32_t draw(uint32_t below)
{
	seed ^= seed << 13;
	seed ^= seed >> 17;
	seed ^= seed << 5;
	return seed % below;
}

/* One message, as an owner collects it. */
struct message {
	struct head *head;
	struct head *trailers;
	struct buf body;
	bool whole, gone, refused, bad;
	const struct reason *why;
};

static struct message *message_of(struct rig *r)
{
	return r->user;
}

static void on_head(struct rig *r, struct head *h, bool end)
{
	message_of(r)->head = h;
	message_of(r)->whole = end;
}

static void on_body(struct rig *r, struct slice s, bool end)
{
	struct message *m = message_of(r);

	CHECK(!m->whole && !m->gone);
	buf_put(&m->body, s.p, s.n);
	m->whole = end;
	if (!end && draw(4) == 0)
		r->stream->ops->pause(r->stream, true);
}

static void on_trailers(struct rig *r, struct head *h)
{
	CHECK(!message_of(r)->whole);
	message_of(r)->trailers = h;
	message_of(r)->whole = true;
}

static void on_bad_request(struct rig *r, struct head *h, const struct reason *why)
{
	(void)h;
	message_of(r)->refused = true;
	message_of(r)->why = why;
}

static void on_bad(struct rig *r, const struct reason *why)
{
	message_of(r)->bad = true;
	message_of(r)->why = why;
}

static void on_gone(struct rig *r, const struct reason *why)
{
	CHECK(!message_of(r)->gone);
	message_of(r)->gone = true;
	message_of(r)->why = why;
}

static void listen_to(struct rig *r, struct message *m)
{
	r->user = m;
	r->on_request = r->on_head = on_head;
	r->on_body = on_body;
	r->on_trailers = on_trailers;
	r->on_bad_request = on_bad_request;
	r->on_bad = on_bad;
	r->on_gone = on_gone;
}

static void message_reset(struct message *m)
{
	buf_fini(&m->body);
	*m = (struct message){ .head = NULL };
}

/* Offers in[*used..] in pieces, and again whatever was left, until nothing moves or `stop` says so.
 */
static void feed_pieces(struct rig *r, struct slice in, size_t *used, bool (*stop)(struct rig *))
{
	size_t have = *used;

	while (!stop(r)) {
		size_t before = *used;

		if (r->stream != NULL && r->stream->paused && message_of(r)->head != NULL)
			r->stream->ops->pause(r->stream, false);
		if (have < in.n)
			have += 1 + draw((uint32_t)(in.n - have));
		*used += rig_feed(r, slice_of(in.p + *used, have - *used));
		if (have == in.n && *used == before && (r->stream == NULL || !r->stream->paused))
			return;
	}
}

static bool is_request_over(struct rig *r)
{
	struct message *m = message_of(r);

	return m->whole || m->gone || m->refused || m->bad || r->h1.codec.phase >= CODEC_CLOSED;
}

static bool is_answer_over(struct rig *r)
{
	return message_of(r)->gone;
}

/*---------------------------------------- sending */

static void send_body(struct stream *s, const struct message *m)
{
	size_t at = 0;

	while (at < m->body.n) {
		size_t n = 1 + draw((uint32_t)(m->body.n - at));

		s->ops->body(s, slice_of(m->body.p + at, n), false);
		at += n;
	}
	if (m->trailers != NULL)
		s->ops->trailers(s, m->trailers);
	else
		s->ops->body(s, slice_of(NULL, 0), true);
}

/*---------------------------------------- comparing */

static bool is_compared(const struct header *f)
{
	return f->id != F_REMOVED && f->id != F_HOST && f->id != F_CONTENT_LENGTH &&
	       f->id != F_TRANSFER_ENCODING && f->id != F_CONNECTION && f->id != F_KEEP_ALIVE;
}

static void fields_text(struct buf *b, const struct head *h, bool upgrade)
{
	for (unsigned i = 0; h != NULL && i < h->n; i++) {
		const struct header *f = &h->fields[i];

		if (!is_compared(f) || f->id == F_UPGRADE)
			continue;
		buf_put(b, f->name.p, f->name.n);
		buf_puts(b, ": ");
		buf_put(b, f->value.p, f->value.n);
		buf_puts(b, "\n");
	}
	if (h != NULL && upgrade)
		buf_puts(b, "upgrade\n");
}

static void message_text(struct buf *b, const struct message *m)
{
	const struct head *h = m->head;

	buf_put(b, h->method.p, h->method.n);
	buf_printf(b, " %u ", h->status);
	buf_put(b, h->path.p, h->path.n);
	buf_puts(b, h->query.p != NULL ? "?" : " ");
	buf_put(b, h->query.p, h->query.n);
	buf_puts(b, " ");
	buf_put(b, h->authority.p, h->authority.n);
	buf_puts(b, "\n");
	fields_text(b, h, h->upgrade);
	buf_put(b, m->body.p, m->body.n);
	buf_puts(b, "\n");
	fields_text(b, m->trailers, false);
}

static void check_same(const struct message *a, const struct message *b)
{
	struct buf ta = { .p = NULL }, tb = { .p = NULL };

	message_text(&ta, a);
	message_text(&tb, b);
	CHECK(ta.n == tb.n && memcmp(ta.p, tb.p, ta.n) == 0);
	buf_fini(&ta);
	buf_fini(&tb);
}

/*---------------------------------------- the way up and down */

static void make_answer(struct head *h, struct message *m, struct arena *a)
{
	static const uint16_t statuses[] = { 200, 200, 200, 204, 304, 404, 503 };
	static const uint8_t bodies[] = { BODY_LENGTH, BODY_CHUNKED, BODY_CHUNKED, BODY_NONE };
	size_t n = draw(4) == 0 ? 0 : draw(2000);

	head_init(h, a);
	h->status = statuses[draw(7)];
	h->phrase = status_phrase(h->status);
	h->body = bodies[draw(4)];
	h->length = n;
	CHECK(head_add(h, F_CONTENT_TYPE, slice_str("text/plain")));
	m->head = h;
	for (size_t i = 0; i < n; i++)
		buf_putc(&m->body, (char)draw(256));
}

/* What the receiver of an answer must see of it. */
static void trim_answer(struct message *m, const struct head *request)
{
	if (m->head->body == BODY_NONE || request->method_id == METHOD_HEAD ||
	    m->head->status == 204 || m->head->status == 304)
		m->body.n = 0;
}

static void answer(struct rig *r, const struct message *m)
{
	bool end = m->head->body == BODY_NONE;

	CHECK(r->stream->ops->head(r->stream, m->head, end));
	if (!end)
		send_body(r->stream, m);
	rig_drain(r);
}

/* The answer that `out` holds, as one who asked for `request` reads it. */
static void check_answer(const struct buf *out, const struct head *request,
			 const struct message *want)
{
	struct message got = { .head = NULL };
	struct rig user;
	struct head ask = *request;
	size_t used = 0;

	rig_init_client(&user);
	user.h1.codec.limits = &wider;
	listen_to(&user, &got);
	rig_open(&user);
	ask.body = BODY_NONE;
	CHECK(user.stream->ops->head(user.stream, &ask, true));
	rig_drain(&user);
	feed_pieces(&user, slice_of(out->p, out->n), &used, is_answer_over);
	if (!got.gone)
		rig_eof(&user);
	CHECK(got.gone && got.why == NULL && got.whole);
	CHECK(used == out->n);
	check_same(want, &got);
	message_reset(&got);
	rig_fini(&user);
}

/* Sends `request` to an app and brings its answer back; both must arrive as they were sent. */
static void pass_on(const struct message *request, struct message *answered, struct head *h,
		    struct arena *arena)
{
	struct message seen = { .head = NULL }, made = { .head = NULL };
	struct rig back, app;
	size_t used = 0;

	rig_init_client(&back);
	rig_init_server(&app);
	back.h1.codec.limits = app.h1.codec.limits = &wider;
	listen_to(&back, answered);
	listen_to(&app, &seen);
	rig_open(&back);
	CHECK(back.stream->ops->head(back.stream, request->head, request->head->body == BODY_NONE));
	if (request->head->body != BODY_NONE)
		send_body(back.stream, request);
	rig_drain(&back);
	feed_pieces(&app, slice_of(back.out.p, back.out.n), &used, is_request_over);
	CHECK(seen.whole && !seen.refused && !seen.bad && !seen.gone && used == back.out.n);
	check_same(request, &seen);

	make_answer(h, &made, arena);
	answer(&app, &made);
	CHECK(seen.gone && seen.why == NULL);
	used = 0;
	feed_pieces(&back, slice_of(app.out.p, app.out.n), &used, is_answer_over);
	CHECK(answered->gone && answered->why == NULL && used == app.out.n);
	CHECK(h1_reusable(&back.h1));
	trim_answer(&made, request->head);
	check_same(&made, answered);
	answered->head = h; /* what came is the same, but lies in the arena of `back` */
	message_reset(&seen);
	buf_fini(&made.body);
	rig_fini(&back);
	rig_fini(&app);
}

static void serve(struct rig *front, struct message *m)
{
	struct message answered = { .head = NULL };
	struct head h;

	head_strip_hop_by_hop(m->head, m->head->upgrade);
	if (m->head->authority.n > 0) /* else HTTP/1.0 without Host: no strict app would take it */
		pass_on(m, &answered, &h, &front->arena);
	else
		make_answer(&h, &answered, &front->arena);
	front->out.n = 0;
	answer(front, &answered);
	rig_feed(front, slice_of(NULL, 0));
	CHECK(m->gone && m->why == NULL);
	trim_answer(&answered, m->head);
	check_answer(&front->out, m->head, &answered);
	message_reset(&answered);
}

/* Says no, as the owner of a broken request does. */
static void refuse(struct rig *front, struct message *m)
{
	struct message no = { .head = NULL };
	struct head h;

	CHECK(m->why != NULL && m->why->status >= 400);
	head_init(&h, &front->arena);
	h.status = m->why->status;
	h.body = BODY_LENGTH;
	h.length = strlen(m->why->token);
	no.head = &h;
	buf_puts(&no.body, m->why->token);
	answer(front, &no);
	CHECK(m->gone && m->why == NULL && front->h1.codec.phase >= CODEC_CLOSED);
	message_reset(&no);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct message m = { .head = NULL };
	struct slice in;
	struct rig front;
	size_t used = 0;

	if (size < 4)
		return 0;
	memcpy(&seed, data, 4);
	seed |= 1;
	in = slice_of((const char *)data + 4, size - 4);
	rig_init_server(&front);
	if (data[3] & 0x80)
		front.h1.codec.limits = &loose;
	listen_to(&front, &m);
	for (;;) {
		feed_pieces(&front, in, &used, is_request_over);
		if (m.refused || m.bad)
			refuse(&front, &m);
		else if (m.whole && !m.gone)
			serve(&front, &m);
		else
			break;
		if (front.h1.codec.phase >= CODEC_CLOSED)
			break;
		message_reset(&m);
	}
	rig_eof(&front);
	CHECK(front.h1.codec.phase >= CODEC_CLOSED && front.stream == NULL);
	message_reset(&m);
	rig_fini(&front);
	return 0;
}
