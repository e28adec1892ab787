/* rig.h - a codec between two buffers: what it writes, and a log of what it tells.
 *
 * Body bytes that come in several pieces are logged as one, so that logs do not depend on how the
 * input was cut. */
#ifndef TESTS_HTTP_RIG_H
#define TESTS_HTTP_RIG_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/buf.h"
#include "base/reason.h"
#include "http/h1.h"

struct rig {
	struct h1 h1;
	struct arena arena;
	struct arena scratch; /* what reserve gave */
	struct buf log, out;
	size_t kicks;
	size_t undrained;
	bool in_body; /* the log ends within a body */
	bool reserve_fails, arena_fails;
	struct stream *stream;
	struct head *head; /* the last one told of */
	/* What the owner does beside logging; may be NULL. */
	void (*on_request)(struct rig *, struct head *, bool end);
	void (*on_bad_request)(struct rig *, struct head *, const struct reason *);
	void (*on_head)(struct rig *, struct head *, bool end);
	void (*on_body)(struct rig *, struct slice, bool end);
	void (*on_trailers)(struct rig *, struct head *);
	void (*on_bad)(struct rig *, const struct reason *);
	void (*on_room)(struct rig *);
	void (*on_gone)(struct rig *, const struct reason *);
	void *user;
};

static const struct codec_limits rig_limits = { .head_bytes = 4096,
						.target_bytes = 1024,
						.headers = 100 };

static inline void rig_escape(struct buf *b, struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned char c = (unsigned char)s.p[i];

		if (c == '\r')
			buf_puts(b, "\\r");
		else if (c == '\n')
			buf_puts(b, "\\n");
		else if (c < 0x20 || c >= 0x7f)
			buf_printf(b, "\\x%02x", c);
		else
			buf_putc(b, (char)c);
	}
}

static inline void rig_line(struct rig *r, const char *what)
{
	if (r->in_body)
		buf_puts(&r->log, "\n");
	r->in_body = false;
	buf_puts(&r->log, what);
}

static inline void rig_log_fields(struct rig *r, const struct head *h)
{
	for (unsigned i = 0; i < h->n; i++) {
		if (h->fields[i].id == F_REMOVED)
			continue;
		buf_puts(&r->log, " ");
		rig_escape(&r->log, h->fields[i].name);
		buf_puts(&r->log, "=");
		rig_escape(&r->log, h->fields[i].value);
	}
}

static inline void rig_log_head(struct rig *r, const struct head *h, bool end)
{
	if (h->status != 0) {
		buf_printf(&r->log, "%u ", h->status);
		rig_escape(&r->log, h->phrase);
	} else {
		rig_escape(&r->log, h->method);
		buf_puts(&r->log, " ");
		rig_escape(&r->log, h->path);
		if (h->query.p != NULL) {
			buf_puts(&r->log, "?");
			rig_escape(&r->log, h->query);
		}
		buf_puts(&r->log, " @");
		rig_escape(&r->log, h->authority);
	}
	buf_printf(&r->log, " 1.%u body=%u:%llu%s%s%s%s", h->minor, h->body,
		   (unsigned long long)h->length, h->keep_alive ? " keep" : "",
		   h->upgrade ? " upgrade" : "", h->expect_continue ? " expect" : "",
		   end ? " end" : "");
	rig_log_fields(r, h);
	buf_puts(&r->log, "\n");
}

static inline void rig_on_head(void *owner, struct head *h, bool end)
{
	struct rig *r = owner;

	rig_line(r, "head ");
	rig_log_head(r, h, end);
	r->head = h;
	if (r->on_head != NULL)
		r->on_head(r, h, end);
}

static inline void rig_on_body(void *owner, struct slice s, bool end)
{
	struct rig *r = owner;

	if (!r->in_body)
		buf_puts(&r->log, "body ");
	r->in_body = true;
	rig_escape(&r->log, s);
	if (end) {
		r->in_body = false;
		buf_puts(&r->log, " end\n");
	}
	if (r->on_body != NULL)
		r->on_body(r, s, end);
}

static inline void rig_on_trailers(void *owner, struct head *h)
{
	struct rig *r = owner;

	rig_line(r, "trailers");
	rig_log_fields(r, h);
	buf_puts(&r->log, "\n");
	if (r->on_trailers != NULL)
		r->on_trailers(r, h);
}

static inline void rig_on_room(void *owner)
{
	struct rig *r = owner;

	rig_line(r, "room\n");
	if (r->on_room != NULL)
		r->on_room(r);
}

static inline void rig_log_why(struct rig *r, const char *what, const struct reason *why)
{
	rig_line(r, what);
	buf_printf(&r->log, " %s\n", why == NULL ? "-" : why->token);
}

static inline void rig_on_bad(void *owner, const struct reason *why)
{
	struct rig *r = owner;

	rig_log_why(r, "bad", why);
	if (r->on_bad != NULL)
		r->on_bad(r, why);
}

static inline void rig_on_gone(void *owner, const struct reason *why)
{
	struct rig *r = owner;

	rig_log_why(r, "gone", why);
	r->stream = NULL;
	if (r->on_gone != NULL)
		r->on_gone(r, why);
}

static const struct stream_events rig_stream_events = {
	.head = rig_on_head,
	.body = rig_on_body,
	.trailers = rig_on_trailers,
	.room = rig_on_room,
	.bad = rig_on_bad,
	.gone = rig_on_gone,
};

static inline struct arena *rig_arena(void *user, struct stream *s)
{
	struct rig *r = user;

	(void)s;
	return r->arena_fails ? NULL : &r->arena;
}

static inline void rig_attach(struct rig *r, struct stream *s)
{
	s->on = &rig_stream_events;
	s->owner = r;
	r->stream = s;
}

static inline void rig_request(void *user, struct stream *s, struct head *h, bool end)
{
	struct rig *r = user;

	rig_attach(r, s);
	rig_line(r, "request ");
	rig_log_head(r, h, end);
	r->head = h;
	if (r->on_request != NULL)
		r->on_request(r, h, end);
}

static inline void rig_bad_request(void *user, struct stream *s, struct head *h,
				   const struct reason *why)
{
	struct rig *r = user;

	rig_attach(r, s);
	rig_line(r, "refused ");
	buf_printf(&r->log, "%s ", why->token);
	if (h != NULL) {
		rig_escape(&r->log, h->method);
		buf_puts(&r->log, " ");
		rig_escape(&r->log, h->target);
	}
	buf_puts(&r->log, "\n");
	r->head = h;
	if (r->on_bad_request != NULL)
		r->on_bad_request(r, h, why);
}

static const struct codec_events rig_events = {
	.arena = rig_arena,
	.request = rig_request,
	.bad_request = rig_bad_request,
};

static inline char *rig_reserve(void *conn, size_t n)
{
	struct rig *r = conn;

	return r->reserve_fails ? NULL : arena_alloc(&r->scratch, n);
}

static inline void rig_put(void *conn, struct slice s)
{
	struct rig *r = conn;

	buf_put(&r->out, s.p, s.n);
	r->undrained += s.n;
}

static inline void rig_kick(void *conn)
{
	((struct rig *)conn)->kicks++;
}

static const struct codec_io rig_io = { .reserve = rig_reserve, .put = rig_put, .kick = rig_kick };

static inline void rig_init(struct rig *r)
{
	*r = (struct rig){ .kicks = 0 };
	arena_init(&r->arena, NULL);
	arena_init(&r->scratch, NULL);
}

static inline void rig_init_server(struct rig *r)
{
	rig_init(r);
	h1_server_init(&r->h1, &rig_io, r, &rig_events, r, &rig_limits);
}

static inline void rig_init_client(struct rig *r)
{
	rig_init(r);
	h1_client_init(&r->h1, &rig_io, r, &rig_limits);
}

static inline struct stream *rig_open(struct rig *r)
{
	rig_attach(r, h1_client_open(&r->h1, &r->arena));
	return r->stream;
}

static inline void rig_fini(struct rig *r)
{
	r->h1.codec.ops->fini(&r->h1.codec);
	arena_fini(&r->arena);
	arena_fini(&r->scratch);
	buf_fini(&r->log);
	buf_fini(&r->out);
}

static inline void rig_drain(struct rig *r)
{
	while (r->undrained > 0) {
		r->undrained = 0;
		r->h1.codec.ops->drained(&r->h1.codec, 0);
	}
}

/* Feeds as a connection does: again while kicked, writes in between.  Returns what the codec is
 * done with. */
static inline size_t rig_feed(struct rig *r, struct slice in)
{
	struct codec *c = &r->h1.codec;
	size_t used = 0;

	do {
		/* memory of exactly this size, so that a sanitizer sees reads beyond it */
		char *copy = malloc(in.n - used + 1);

		if (in.n > used)
			memcpy(copy, in.p + used, in.n - used);
		r->kicks = 0;
		if (c->phase < CODEC_CLOSED)
			used += c->ops->feed(c, slice_of(copy, in.n - used));
		else
			used = in.n;
		rig_drain(r);
		free(copy);
	} while (r->kicks > 0);
	return used;
}

static inline void rig_eof(struct rig *r)
{
	r->h1.codec.ops->eof(&r->h1.codec);
	rig_drain(r);
}

static inline void rig_fail(struct rig *r, const struct reason *why)
{
	(r->h1.codec.ops->fail)(&r->h1.codec, why); /* cmocka has a macro of this name */
}

static inline const char *rig_text(struct rig *r, struct buf *b)
{
	if (b == &r->log)
		rig_line(r, "");
	buf_putc(b, '\0');
	b->n--;
	return b->p;
}

/* Everything told so far, and forgets it. */
static inline const char *rig_log(struct rig *r)
{
	const char *s = rig_text(r, &r->log);

	r->log.n = 0;
	return s;
}

static inline const char *rig_out(struct rig *r)
{
	const char *s = rig_text(r, &r->out);

	r->out.n = 0;
	return s;
}

#endif
