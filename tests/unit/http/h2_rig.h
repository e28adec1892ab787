/* h2_rig.h - an HTTP/2 codec between two buffers.
 *
 * What comes in is written as a script, one frame a line, tokens apart by one space ('^' stands for
 * a space in a token):
 *
 *   preface                                 the 24 bytes and empty SETTINGS
 *   headers 1 [end] [open] [prio] [pad=3] :method=GET ...      open: without END_HEADERS
 *   cont 1 [open] name=value ...            CONTINUATION
 *   data 1 [end] [pad=3] text | xs 1 70000 [end] | rst 1 8 | settings 4=100 3=7 | settings-ack
 *   ping 12345678 | pong 12345678 | goaway 5 0 | window 1 100 | priority 1 | frame TYPE FLAGS ID
 * HEX | bytes HEX
 *
 * What is told is logged (calls count from 1), and what goes out is read back as the same kind of
 * lines. */
#ifndef TESTS_HTTP_H2_RIG_H
#define TESTS_HTTP_H2_RIG_H

#include <ctype.h>
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/check.h"
#include "base/reason.h"
#include "http/h2.h"

enum { RIG_CALLS = 4096 };

struct h2_rig;

struct call2 {
	struct h2_rig *rig;
	struct stream *stream; /* NULL once it is gone */
	struct head *head;
	struct arena arena;
	unsigned number;
	size_t bytes; /* of the body that came */
	unsigned rooms;
	bool in_body;
};

struct h2_rig {
	struct h2 h2;
	struct arena scratch;
	struct buf log, out, text;
	struct call2 *calls;
	unsigned n_calls;
	size_t kicks, undrained;
	bool stuck; /* what is put is not written */
	uint64_t now_ns;
	void *freed[64];
	unsigned n_freed;
	bool silent, answers, quiet_bodies;
	nghttp2_hd_inflater *inflater; /* of what goes out */
	/* What the owner does beside logging. */
	void (*on_request)(struct call2 *, struct head *, bool end);
	void (*on_body)(struct call2 *, struct slice, bool end);
};

static const struct codec_limits h2_rig_limits = {
	.head_bytes = 4096, .target_bytes = 1024, .headers = 100, .h2 = &h2_default_limits
};

/*---------------------------------------- what is told */

static inline void log_text(struct buf *b, struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c < 0x20 || c >= 0x7f)
			buf_printf(b, "\\x%02x", c);
		else
			buf_putc(b, (char)c);
	}
}

static inline void log_fields(struct buf *b, const struct head *h)
{
	for (unsigned i = 0; i < h->n; i++) {
		if (h->fields[i].id == F_REMOVED)
			continue;
		buf_puts(b, " ");
		log_text(b, h->fields[i].name);
		buf_puts(b, "=");
		log_text(b, h->fields[i].value);
	}
}

static inline void log_head(struct buf *b, const struct head *h, bool end)
{
	static const char *const kinds[] = { "none", "length", "chunked", "close", "tunnel" };

	if (h->status != 0)
		buf_printf(b, "%u", h->status);
	else
		log_text(b, h->method);
	if (h->status == 0) {
		buf_puts(b, " ");
		log_text(b, h->path);
		if (h->query.p != NULL) {
			buf_puts(b, "?");
			log_text(b, h->query);
		}
		buf_puts(b, " @");
		log_text(b, h->authority);
	}
	buf_printf(b, " %s", kinds[h->body]);
	if (h->body == BODY_LENGTH)
		buf_printf(b, ":%llu", (unsigned long long)h->length);
	buf_printf(b, "%s%s", h->expect_continue ? " expect" : "", end ? " end" : "");
	CHECK(h->minor == 1 && h->keep_alive && h->upgrade == (head_find(h, F_UPGRADE) != NULL));
	log_fields(b, h);
	buf_puts(b, "\n");
}

/* Body bytes that come in several pieces are logged as one. */
static inline void log_line(struct call2 *c, const char *what)
{
	struct h2_rig *r = c->rig;

	for (unsigned i = 1; i <= r->n_calls; i++) {
		if (r->calls[i].in_body && (i != c->number || *what != '\0'))
			buf_puts(&r->log, "\n");
		if (i != c->number || *what != '\0')
			r->calls[i].in_body = false;
	}
	if (*what != '\0')
		buf_printf(&r->log, "%s %u ", what, c->number);
}

static inline void rig2_answer(struct call2 *c, uint16_t status, const char *text)
{
	struct head h;

	head_init(&h, &c->arena);
	h.status = status;
	h.body = BODY_LENGTH;
	h.length = strlen(text);
	CHECK(c->stream->ops->head(c->stream, &h, false));
	c->stream->ops->body(c->stream, slice_str(text), true);
}

static inline void rig2_on_head(void *owner, struct head *h, bool end)
{
	struct call2 *c = owner;

	c->head = h;
	log_line(c, "head");
	log_head(&c->rig->log, h, end);
}

static inline void rig2_on_body(void *owner, struct slice s, bool end)
{
	struct call2 *c = owner;
	struct h2_rig *r = c->rig;
	bool more = c->in_body;

	c->bytes += s.n;
	if (!r->quiet_bodies) {
		if (!more)
			log_line(c, "body");
		c->in_body = !end;
		log_text(&r->log, s);
		if (end)
			buf_puts(&r->log, more || s.n > 0 ? " end\n" : "end\n");
	}
	if (r->on_body != NULL)
		r->on_body(c, s, end);
	if (end && r->answers && c->stream != NULL)
		rig2_answer(c, 200, "ok");
}

static inline void rig2_on_trailers(void *owner, struct head *h)
{
	struct call2 *c = owner;

	log_line(c, "trailers");
	log_fields(&c->rig->log, h);
	buf_puts(&c->rig->log, "\n");
	if (c->rig->answers)
		rig2_answer(c, 200, "ok");
}

static inline void rig2_on_room(void *owner)
{
	struct call2 *c = owner;

	c->rooms++;
}

static inline void rig2_on_bad(void *owner, const struct reason *why)
{
	struct call2 *c = owner;

	log_line(c, "bad");
	buf_printf(&c->rig->log, "%s\n", why->token);
	if (c->rig->answers)
		rig2_answer(c, why->status, "no");
}

static inline void rig2_on_gone(void *owner, const struct reason *why)
{
	struct call2 *c = owner;

	CHECK(c->stream != NULL);
	c->stream = NULL;
	log_line(c, "gone");
	buf_printf(&c->rig->log, "%s\n", why == NULL ? "-" : why->token);
}

static const struct stream_events rig2_stream_events = {
	.head = rig2_on_head,
	.body = rig2_on_body,
	.trailers = rig2_on_trailers,
	.room = rig2_on_room,
	.bad = rig2_on_bad,
	.gone = rig2_on_gone,
};

static inline struct call2 *rig2_call(struct h2_rig *r)
{
	struct call2 *c = &r->calls[++r->n_calls];

	CHECK(r->n_calls < RIG_CALLS);
	*c = (struct call2){ .rig = r, .number = r->n_calls };
	arena_init(&c->arena, NULL);
	return c;
}

static inline struct arena *rig2_arena(void *user, struct stream *s)
{
	(void)s;
	return &rig2_call(user)->arena;
}

static inline struct call2 *rig2_attach(struct h2_rig *r, struct stream *s)
{
	struct call2 *c = &r->calls[r->n_calls];

	c->stream = s;
	s->on = &rig2_stream_events;
	s->owner = c;
	return c;
}

static inline void rig2_request(void *user, struct stream *s, struct head *h, bool end)
{
	struct h2_rig *r = user;
	struct call2 *c = rig2_attach(r, s);

	c->head = h;
	CHECK(s->paused == (!end || h->upgrade));
	log_line(c, "request");
	log_head(&r->log, h, end);
	if (r->on_request != NULL)
		r->on_request(c, h, end);
	if (r->answers && end && c->stream != NULL)
		rig2_answer(c, 200, "ok");
	else if (r->answers && c->stream != NULL)
		s->ops->pause(s, false);
}

static inline void rig2_bad_request(void *user, struct stream *s, struct head *h,
				    const struct reason *why)
{
	struct h2_rig *r = user;
	struct call2 *c = rig2_attach(r, s);

	(void)h;
	log_line(c, "refused");
	buf_printf(&r->log, "%s\n", why->token);
	rig2_answer(c, why->status == 0 ? 500 : why->status, "no");
}

static inline void rig2_flood(void *user, unsigned kind)
{
	struct h2_rig *r = user;

	buf_printf(&r->log, "flood %s\n", h2_flood_tokens[kind]);
}

static const struct codec_events rig2_events = {
	.arena = rig2_arena,
	.request = rig2_request,
	.bad_request = rig2_bad_request,
	.flood = rig2_flood,
};

/*---------------------------------------- the connection */

static inline char *rig2_reserve(void *conn, size_t n)
{
	return arena_alloc(&((struct h2_rig *)conn)->scratch, n);
}

static inline void rig2_put(void *conn, struct slice s)
{
	struct h2_rig *r = conn;

	buf_put(&r->out, s.p, s.n);
	r->undrained += s.n;
}

static inline void rig2_kick(void *conn)
{
	((struct h2_rig *)conn)->kicks++;
}

static inline void rig2_free_later(void *conn, void *p)
{
	struct h2_rig *r = conn;

	CHECK(r->n_freed < 64);
	memset(p, 0xee, sizeof(void *));
	r->freed[r->n_freed++] = p;
}

static inline uint64_t rig2_now(void *conn)
{
	return ((struct h2_rig *)conn)->now_ns;
}

static const struct codec_io rig2_io = { .reserve = rig2_reserve,
					 .put = rig2_put,
					 .kick = rig2_kick,
					 .free_later = rig2_free_later,
					 .now_ns = rig2_now };

static inline void rig2_init_within(struct h2_rig *r, bool client,
				    const struct codec_limits *limits)
{
	*r = (struct h2_rig){ .answers = !client, .now_ns = UINT64_C(100000000000) };
	arena_init(&r->scratch, NULL);
	r->calls = calloc(RIG_CALLS, sizeof(*r->calls));
	CHECK(r->calls != NULL && nghttp2_hd_inflate_new(&r->inflater) == 0);
	if (client)
		CHECK(h2_client_init(&r->h2, &rig2_io, r, limits, false));
	else
		CHECK(h2_server_init(&r->h2, &rig2_io, r, &rig2_events, r, limits));
}

static inline void rig2_init(struct h2_rig *r, bool client)
{
	rig2_init_within(r, client, &h2_rig_limits);
}

static inline void rig2_free(struct h2_rig *r)
{
	for (unsigned i = 0; i < r->n_freed; i++)
		free(r->freed[i]);
	r->n_freed = 0;
}

static inline void rig2_fini(struct h2_rig *r)
{
	r->h2.codec.ops->fini(&r->h2.codec);
	rig2_free(r);
	for (unsigned i = 1; i <= r->n_calls; i++)
		arena_fini(&r->calls[i].arena);
	free(r->calls);
	arena_fini(&r->scratch);
	buf_fini(&r->log);
	buf_fini(&r->out);
	buf_fini(&r->text);
	nghttp2_hd_inflate_del(r->inflater);
}

static inline void rig2_drain(struct h2_rig *r)
{
	while (r->undrained > 0 && !r->stuck) {
		r->undrained = 0;
		r->h2.codec.ops->drained(&r->h2.codec, 0);
	}
	rig2_free(r);
}

/* Feeds as a connection does.  Returns what the codec is done with. */
static inline size_t rig2_feed(struct h2_rig *r, struct slice in)
{
	struct codec *c = &r->h2.codec;
	size_t used = 0;

	do {
		char *copy = malloc(in.n - used + 1);

		if (in.n > used)
			memcpy(copy, in.p + used, in.n - used);
		r->kicks = 0;
		if (c->phase < CODEC_CLOSED)
			used += c->ops->feed(c, slice_of(copy, in.n - used));
		else
			used = in.n;
		rig2_drain(r);
		free(copy);
	} while (r->kicks > 0);
	return used;
}

/*---------------------------------------- frames in */

static inline void put_frame(struct buf *b, unsigned type, unsigned flags, uint32_t id,
			     const void *p, size_t n)
{
	unsigned char h[9] = { (unsigned char)(n >> 16),  (unsigned char)(n >> 8),
			       (unsigned char)n,          (unsigned char)type,
			       (unsigned char)flags,      (unsigned char)(id >> 24),
			       (unsigned char)(id >> 16), (unsigned char)(id >> 8),
			       (unsigned char)id };

	buf_put(b, h, 9);
	buf_put(b, p, n);
}

static inline void put_u32(struct buf *b, uint32_t v)
{
	char p[4] = { (char)(v >> 24), (char)(v >> 16), (char)(v >> 8), (char)v };

	buf_put(b, p, 4);
}

static inline void put_hpack_int(struct buf *b, unsigned first, unsigned bits, size_t v)
{
	size_t most = (1u << bits) - 1;

	if (v < most) {
		buf_putc(b, (char)(first | v));
		return;
	}
	buf_putc(b, (char)(first | most));
	for (v -= most; v >= 128; v >>= 7)
		buf_putc(b, (char)((v & 127) | 128));
	buf_putc(b, (char)v);
}

static inline void put_string(struct buf *b, struct slice s)
{
	put_hpack_int(b, 0, 7, s.n);
	for (size_t i = 0; i < s.n; i++)
		buf_putc(b, s.p[i] == '^' ? ' ' : s.p[i]);
}

/* RFC 7541 section 6.2.2, a literal without indexing. */
static inline void put_literal(struct buf *b, struct slice name, struct slice value)
{
	buf_putc(b, 0);
	put_string(b, name);
	put_string(b, value);
}

static inline void put_field_token(struct buf *b, struct slice token)
{
	const char *eq = memchr(token.p + 1, '=', token.n - 1);

	CHECK(eq != NULL);
	put_literal(b, slice_of(token.p, (size_t)(eq - token.p)),
		    slice_of(eq + 1, (size_t)(token.p + token.n - eq - 1)));
}

static inline void put_hex(struct buf *b, struct slice hex)
{
	for (size_t i = 0; i + 1 < hex.n; i += 2) {
		char two[3] = { hex.p[i], hex.p[i + 1], 0 };

		buf_putc(b, (char)strtoul(two, NULL, 16));
	}
}

static inline uint32_t number_of(struct slice s)
{
	return (uint32_t)strtoull(s.p == NULL ? "0" : s.p, NULL, 0);
}

static const struct slice pad_word = SLICE("pad="), frag_end = SLICE("end");

static inline void script_payload(struct buf *b, unsigned type, struct slice rest)
{
	uint32_t id = number_of(slice_cut(&rest, ' ')), pad = 0;
	unsigned flags = type == 0 ? 0 : 4;
	bool padded = false, prio = false;
	struct buf body = { .p = NULL }, all = { .p = NULL };

	while (rest.n > 0) {
		struct slice t = slice_cut(&rest, ' ');

		if (slice_eq(t, frag_end))
			flags |= 1;
		else if (slice_is(t, "open"))
			flags &= ~4u;
		else if (slice_is(t, "prio"))
			prio = true;
		else if (slice_starts(t, pad_word))
			padded = true, pad = number_of(slice_of(t.p + 4, t.n - 4));
		else if (type == 0)
			buf_put(&body, t.p, t.n);
		else
			put_field_token(&body, t);
	}
	if (padded)
		buf_putc(&all, (char)pad);
	if (prio)
		buf_put(&all, "\0\0\0\0\x10", 5);
	buf_put(&all, body.p, body.n);
	for (uint32_t i = 0; i < pad; i++)
		buf_putc(&all, 0);
	put_frame(b, type, flags | (padded ? 8 : 0) | (prio ? 0x20 : 0), id, all.p, all.n);
	buf_fini(&body);
	buf_fini(&all);
}

static inline void script_xs(struct buf *b, struct slice rest)
{
	uint32_t id = number_of(slice_cut(&rest, ' ')), n = number_of(slice_cut(&rest, ' '));
	char *x = malloc(16384);

	memset(x, 'x', 16384);
	do {
		uint32_t some = n < 16384 ? n : 16384;

		n -= some;
		put_frame(b, 0, n == 0 && rest.n > 0, id, x, some);
	} while (n > 0);
	free(x);
}

static inline void script_settings(struct buf *b, struct slice rest)
{
	struct buf body = { .p = NULL };

	while (rest.n > 0) {
		struct slice t = slice_cut(&rest, ' ');
		uint32_t id = number_of(slice_cut(&t, '='));

		buf_putc(&body, (char)(id >> 8));
		buf_putc(&body, (char)id);
		put_u32(&body, number_of(t));
	}
	put_frame(b, 4, 0, 0, body.p, body.n);
	buf_fini(&body);
}

/* Frames whose payload is one or two numbers. */
static inline void script_numbers(struct buf *b, unsigned type, bool on_stream, struct slice rest)
{
	uint32_t id = on_stream ? number_of(slice_cut(&rest, ' ')) : 0;
	struct buf body = { .p = NULL };

	while (rest.n > 0)
		put_u32(&body, number_of(slice_cut(&rest, ' ')));
	put_frame(b, type, 0, id, body.p, body.n);
	buf_fini(&body);
}

static inline void script_frame(struct buf *b, struct slice rest)
{
	uint32_t type = number_of(slice_cut(&rest, ' ')), flags = number_of(slice_cut(&rest, ' ')),
		 id = number_of(slice_cut(&rest, ' '));
	struct buf body = { .p = NULL };

	put_hex(&body, rest);
	put_frame(b, type, flags, id, body.p, body.n);
	buf_fini(&body);
}

static inline void script_line(struct buf *b, struct slice line)
{
	struct slice word = slice_cut(&line, ' ');

	if (slice_is(word, "preface")) {
		buf_put(b, h2_preface.p, h2_preface.n);
		put_frame(b, 4, 0, 0, NULL, 0);
	} else if (slice_is(word, "headers")) {
		script_payload(b, 1, line);
	} else if (slice_is(word, "cont")) {
		script_payload(b, 9, line);
	} else if (slice_is(word, "data")) {
		script_payload(b, 0, line);
	} else if (slice_is(word, "xs")) {
		script_xs(b, line);
	} else if (slice_is(word, "settings")) {
		script_settings(b, line);
	} else if (slice_is(word, "settings-ack")) {
		put_frame(b, 4, 1, 0, NULL, 0);
	} else if (slice_is(word, "ping")) {
		put_frame(b, 6, 0, 0, line.p, line.n);
	} else if (slice_is(word, "pong")) {
		put_frame(b, 6, 1, 0, line.p, line.n);
	} else if (slice_is(word, "rst")) {
		script_numbers(b, 3, true, line);
	} else if (slice_is(word, "window")) {
		script_numbers(b, 8, true, line);
	} else if (slice_is(word, "goaway")) {
		script_numbers(b, 7, false, line);
	} else if (slice_is(word, "priority")) {
		put_frame(b, 2, 0, number_of(line), "\0\0\0\0\x10", 5);
	} else if (slice_is(word, "frame")) {
		script_frame(b, line);
	} else if (slice_is(word, "bytes")) {
		put_hex(b, line);
	} else {
		fprintf(stderr, "no such line: %.*s\n", SLICE_FMT(word));
		abort();
	}
}

static inline void script(struct buf *b, const char *text)
{
	struct slice rest = slice_str(text);

	while (rest.n > 0) {
		struct slice line = slice_cut(&rest, '\n');

		if (line.n > 0)
			script_line(b, line);
	}
}

static inline void rig2_say(struct h2_rig *r, const char *text)
{
	struct buf in = { .p = NULL };

	script(&in, text);
	rig2_feed(r, slice_of(in.p, in.n));
	buf_fini(&in);
}

/*---------------------------------------- frames out */

static const char *const type_words[] = { "data", "headers", "priority", "rst",    "settings",
					  "push", "ping",    "goaway",   "window", "cont" };

static inline uint32_t u32_at(const char *p)
{
	const unsigned char *u = (const unsigned char *)p;

	return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

static inline void read_fields(struct h2_rig *r, const char *p, size_t n, bool last)
{
	for (;;) {
		nghttp2_nv nv;
		int flags = 0;
		ssize_t used =
		    nghttp2_hd_inflate_hd2(r->inflater, &nv, &flags, (const uint8_t *)p, n, last);

		CHECK(used >= 0);
		p += used;
		n -= (size_t)used;
		if (flags & NGHTTP2_HD_INFLATE_EMIT) {
			buf_puts(&r->text, " ");
			log_text(&r->text, slice_of((char *)nv.name, nv.namelen));
			buf_puts(&r->text, "=");
			log_text(&r->text, slice_of((char *)nv.value, nv.valuelen));
		}
		if (flags & NGHTTP2_HD_INFLATE_FINAL) {
			nghttp2_hd_inflate_end_headers(r->inflater);
			return;
		}
		if (n == 0 && !(flags & NGHTTP2_HD_INFLATE_EMIT))
			return;
	}
}

static inline void read_frame(struct h2_rig *r, const char *p, uint32_t length)
{
	unsigned type = (unsigned char)p[3], flags = (unsigned char)p[4];
	uint32_t id = u32_at(p + 5);
	struct buf *b = &r->text;
	const char *body = p + 9;

	CHECK(type < 10);
	buf_puts(b, type_words[type]);
	if (id != 0)
		buf_printf(b, " %u", id);
	if ((type <= 1) && (flags & 1))
		buf_puts(b, " end");
	if ((type == 4 || type == 6) && (flags & 1))
		buf_puts(b, " ack");
	if ((type == 1 || type == 9) && !(flags & 4))
		buf_puts(b, " open");
	if (type == 0 && length > 100) {
		buf_printf(b, " %u bytes", length);
	} else if (type == 0 && length > 0) {
		buf_puts(b, " ");
		log_text(b, slice_of(body, length));
	} else if (type == 1 || type == 9) {
		read_fields(r, body, length, flags & 4);
	} else if (type == 4) {
		for (uint32_t i = 0; i < length; i += 6)
			buf_printf(b, " %u=%u", (unsigned char)body[i + 1], u32_at(body + i + 2));
	} else if (type == 6) {
		buf_puts(b, " ");
		log_text(b, slice_of(body, 8));
	} else if (type != 0) {
		for (uint32_t i = 0; i < length; i += 4)
			buf_printf(b, " %u", u32_at(body + i));
	}
	buf_puts(b, "\n");
}

static inline void trace_text(struct buf *b, const char *p, size_t n)
{
	b->n = 0;
	buf_put(b, p, n);
}

/* What went out since, without the greeting's SETTINGS unless it is all there is. */
static inline const char *rig2_out(struct h2_rig *r)
{
	size_t at = 0;

	r->text.n = 0;
	if (r->out.n >= h2_preface.n && memcmp(r->out.p, h2_preface.p, h2_preface.n) == 0) {
		buf_puts(&r->text, "preface\n");
		at = h2_preface.n;
	}
	while (at < r->out.n) {
		uint32_t length = u32_at(r->out.p + at) >> 8;

		CHECK(at + 9 + length <= r->out.n);
		read_frame(r, r->out.p + at, length);
		at += 9 + length;
	}
	r->out.n = 0;
	buf_putc(&r->text, '\0');
	return r->text.p;
}

static inline const char *rig2_log(struct h2_rig *r)
{
	for (unsigned i = 1; i <= r->n_calls; i++) {
		if (r->calls[i].in_body)
			buf_puts(&r->log, "\n");
		r->calls[i].in_body = false;
	}
	buf_putc(&r->log, '\0');
	r->log.n = 0;
	return r->log.p;
}

/* A server past the greetings. */
static inline void rig2_server_within(struct h2_rig *r, const struct codec_limits *limits)
{
	rig2_init_within(r, false, limits);
	rig2_say(r, "preface\nsettings-ack");
	rig2_out(r);
	rig2_log(r);
}

static inline void rig2_server(struct h2_rig *r)
{
	rig2_server_within(r, &h2_rig_limits);
}

#define GET2        ":method=GET :scheme=http :path=/ :authority=a"
#define POST2       ":method=POST :scheme=http :path=/ :authority=a"
#define SAID_OK(id) "headers " #id " :status=200 content-length=2\ndata " #id " end ok\n"

#endif
