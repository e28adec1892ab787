/* wire2.c - HTTP/2 as a peer speaks it. */
#include "wire2.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "sim.h"

enum { FRAME_HEAD = 9, PREFACE_BYTES = 24, TEXT_MAX = 128 * 1024 };

static void must(const struct wire2 *w, int64_t result, const char *what)
{
	if (result < 0)
		sim_fail("%s: %s: %s", w->who, what, nghttp2_strerror((int)result));
}

static struct wire2_stream *stream_of(nghttp2_session *session, int32_t id)
{
	return nghttp2_session_get_stream_user_data(session, id);
}

/*---------------------------------------------------------------- heads that come */

static void put_line(struct wire2_stream *s, const char *name, const uint8_t *value, size_t n)
{
	buf_printf(&s->text, "%s: ", name);
	buf_put(&s->text, (const char *)value, n);
	buf_puts(&s->text, "\r\n");
	if (s->text.oom || s->text.n > TEXT_MAX)
		sim_fail("%s: a head without end", s->wire->who);
}

static void copy(char *to, size_t size, const uint8_t *p, size_t n)
{
	snprintf(to, size, "%.*s", (int)n, (const char *)p);
}

static void take_pseudo(struct wire2_stream *s, const char *name, const uint8_t *p, size_t n)
{
	struct wire_head *h = &s->head;

	if (strcmp(name, ":status") == 0)
		h->status = (unsigned)atoi((const char *)p);
	else if (strcmp(name, ":method") == 0)
		copy(h->method, sizeof(h->method), p, n);
	else if (strcmp(name, ":path") == 0)
		copy(h->target, sizeof(h->target), p, n);
	else if (strcmp(name, ":authority") == 0)
		put_line(s, "Host", p, n);
	else if (strcmp(name, ":protocol") == 0)
		put_line(s, "Protocol", p, n);
}

static int on_header(nghttp2_session *session, const nghttp2_frame *f, const uint8_t *name,
		     size_t name_n, const uint8_t *value, size_t n, uint8_t flags, void *user)
{
	struct wire2_stream *s = stream_of(session, f->hd.stream_id);

	(void)name_n, (void)flags, (void)user;
	if (s == NULL)
		return 0;
	if (name[0] == ':')
		take_pseudo(s, (const char *)name, value, n);
	else
		put_line(s, (const char *)name, value, n);
	return 0;
}

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *f, void *user)
{
	struct wire2 *w = user;
	struct wire2_stream *s = stream_of(session, f->hd.stream_id);

	if (s == NULL && !w->is_client) {
		s = w->on->open(w);
		s->id = f->hd.stream_id;
		nghttp2_session_set_stream_user_data(session, s->id, s);
	}
	if (s == NULL)
		return 0;
	s->head = (struct wire_head){ .is_2 = true };
	s->text.n = 0;
	buf_puts(&s->text, "HTTP/2\r\n");
	return 0;
}

static void end_text(struct wire2_stream *s)
{
	buf_put(&s->text, "\r\n\0", 3);
	s->head.text = s->text.p;
}

static void take_head(struct wire2_stream *s, bool end)
{
	struct wire_head *h = &s->head;

	end_text(s);
	h->length = wire_field_number(h, "content-length");
	h->has_length = h->length != UINT64_MAX;
	if (!h->has_length)
		h->length = 0;
	h->chunked = !h->has_length && !end;
	s->headed = !s->wire->is_client || h->status >= 200;
	s->wire->on->head(s, h, end);
}

/*---------------------------------------------------------------- frames that come */

static void trace_frame(struct wire2 *w, const char *way, const nghttp2_frame *f)
{
	static const char *const names[] = { "DATA",       "HEADERS",  "PRIORITY",
					     "RST_STREAM", "SETTINGS", "PUSH_PROMISE",
					     "PING",       "GOAWAY",   "WINDOW_UPDATE" };
	const nghttp2_frame_hd *hd = &f->hd;

	sim_trace(w->sim, "%s %u %s %s, stream %d, %zu bytes, flags %x", w->who,
		  ((const struct actor *)w->owner)->number, way,
		  hd->type < sizeof(names) / sizeof(names[0]) ? names[hd->type] : "?",
		  hd->stream_id, hd->length, hd->flags);
}

static void take_end(struct wire2_stream *s, bool trailers)
{
	s->in_over = true;
	s->wire->on->end(s, trailers ? &s->head : NULL);
}

static int on_frame_recv(nghttp2_session *session, const nghttp2_frame *f, void *user)
{
	struct wire2 *w = user;
	struct wire2_stream *s = stream_of(session, f->hd.stream_id);
	bool end = f->hd.flags & NGHTTP2_FLAG_END_STREAM, trailers = s != NULL && s->headed;

	trace_frame(w, "hears", f);
	if (f->hd.type == NGHTTP2_GOAWAY) {
		sim_trace(w->sim, "%s: GOAWAY %u, last %d", w->who, f->goaway.error_code,
			  f->goaway.last_stream_id);
		w->going = true;
	}
	if (s == NULL || (f->hd.type != NGHTTP2_HEADERS && f->hd.type != NGHTTP2_DATA))
		return 0;
	if (f->hd.type == NGHTTP2_DATA)
		trailers = false;
	else if (trailers)
		end_text(s);
	else
		take_head(s, end);
	if (end)
		take_end(s, trailers);
	return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
		   void *user)
{
	struct wire2 *w = user;
	struct wire2_stream *s = stream_of(session, id);

	(void)flags;
	must(w, nghttp2_session_consume_connection(session, n), "consume");
	if (s == NULL)
		return 0;
	s->unread += n;
	w->on->body(s, (const char *)p, n);
	return 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *user)
{
	struct wire2 *w = user;
	struct wire2_stream *s = stream_of(session, id);

	if (s == NULL)
		return 0;
	s->closed = true;
	w->on->closed(s, code);
	return 0;
}

/*---------------------------------------------------------------- what Weir must not send */

static int on_invalid(nghttp2_session *session, const nghttp2_frame *f, int code, void *user)
{
	struct wire2 *w = user;

	(void)session;
	if (code == NGHTTP2_ERR_REFUSED_STREAM && !w->is_client)
		return 0; /* more at once than it said, which Weir has not yet heard */
	sim_fail("%s: Weir sends a frame of type %u on stream %d that it may not: %s (%s)", w->who,
		 f->hd.type, f->hd.stream_id, nghttp2_strerror(code), w->fault);
}

static int on_error(nghttp2_session *session, int code, const char *text, size_t n, void *user)
{
	struct wire2 *w = user;

	(void)session, (void)code;
	copy(w->fault, sizeof(w->fault), (const uint8_t *)text, n);
	return 0;
}

/* What the library sends of its own accord says what it thinks of Weir's frames. */
static int on_frame_send(nghttp2_session *session, const nghttp2_frame *f, void *user)
{
	struct wire2 *w = user;
	struct wire2_stream *s = stream_of(session, f->hd.stream_id);

	trace_frame(w, "says", f);
	if (f->hd.type == NGHTTP2_GOAWAY && f->goaway.error_code != NGHTTP2_NO_ERROR && !w->spoilt)
		sim_fail("%s: Weir is told GOAWAY %u: %.*s", w->who, f->goaway.error_code,
			 (int)f->goaway.opaque_data_len, (const char *)f->goaway.opaque_data);
	/* without memory it may not have learnt that it answers to HEAD */
	if (f->hd.type == NGHTTP2_RST_STREAM && s != NULL && !s->we_reset &&
	    w->sim->weather.no_memory == 0)
		sim_fail("%s: Weir is told RST_STREAM %u on stream %d: %s", w->who,
			 f->rst_stream.error_code, f->hd.stream_id, w->fault);
	return 0;
}

/*---------------------------------------------------------------- what goes out */

static ssize_t most_data(nghttp2_session *session, uint8_t type, int32_t id, int32_t window,
			 int32_t stream_window, uint32_t frame, void *user)
{
	struct wire2 *w = user;
	uint64_t most = 1 + dice_spread(&w->sim->dice, w->frame_most - 1);

	(void)session, (void)type, (void)id, (void)window, (void)stream_window;
	return (ssize_t)(most < frame ? most : frame);
}

static ssize_t padded(nghttp2_session *session, const nghttp2_frame *f, size_t most, void *user)
{
	struct wire2 *w = user;
	size_t n = f->hd.length;

	(void)session;
	if (w->pads == 0 || most <= n || !dice_chance(&w->sim->dice, w->pads))
		return (ssize_t)n;
	return (ssize_t)(n + dice_below(&w->sim->dice, most - n + 1));
}

static void submit_trailer(struct wire2_stream *s)
{
	static struct fields f;

	fields_init(&f);
	fields_add_number(&f, "x-sim-trailer", s->trailer);
	if (s->bad_trailer)
		fields_add(&f, ":path", "/");
	must(s->wire, nghttp2_submit_trailer(s->wire->session, s->id, f.nv, f.n), "trailer");
}

static ssize_t read_body(nghttp2_session *session, int32_t id, uint8_t *p, size_t n,
			 uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct wire2_stream *s = source->ptr;
	uint64_t to = s->stop_at < s->body_n ? s->stop_at : s->body_n;

	(void)session, (void)id, (void)user;
	if (s->body_at >= to && s->stop_at <= s->body_n)
		return NGHTTP2_ERR_DEFERRED;
	n = n < to - s->body_at ? n : (size_t)(to - s->body_at);
	ledger_body((char *)p, s->number, s->body_at, n);
	s->body_at += n;
	if (s->body_at < s->body_n || s->stop_at <= s->body_n)
		return (ssize_t)n;
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	if (s->trailer != 0) {
		*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
		submit_trailer(s);
	}
	return (ssize_t)n;
}

/* Where the ends of streams are in what was made: frames from `at` of `out` on, whole ones. */
static void find_ends(struct wire2 *w, size_t at)
{
	int32_t ending = 0;

	while (at + FRAME_HEAD <= w->out.n) {
		const uint8_t *p = (const uint8_t *)w->out.p + at;
		size_t n = (size_t)p[0] << 16 | (size_t)p[1] << 8 | p[2];
		int32_t id = (p[5] & 0x7f) << 24 | p[6] << 16 | p[7] << 8 | p[8];
		/* what pads the last frame may be missing: all that counts is there */
		size_t pad =
		    p[3] == NGHTTP2_DATA && (p[4] & NGHTTP2_FLAG_PADDED) ? p[FRAME_HEAD] : 0;
		struct wire2_stream *s;

		at += FRAME_HEAD + n;
		if (p[3] <= NGHTTP2_HEADERS)
			ending = p[4] & NGHTTP2_FLAG_END_STREAM ? id : 0;
		if (ending != id || (p[3] != NGHTTP2_DATA && !(p[4] & NGHTTP2_FLAG_END_HEADERS)) ||
		    (p[3] > NGHTTP2_HEADERS && p[3] != NGHTTP2_CONTINUATION))
			continue;
		LIST_EACH (l, &w->streams) {
			s = LIST_ENTRY(l, struct wire2_stream, link);
			if (s->id == id)
				s->end_at = w->made - (w->out.n - at) - pad;
		}
	}
	if (at != w->out.n)
		sim_fail("%s: the simulation makes half a frame", w->who);
}

static void fill(struct wire2 *w, size_t most)
{
	const uint8_t *p;
	ssize_t n;

	while (w->out.n < most && (n = nghttp2_session_mem_send(w->session, &p)) != 0) {
		size_t at = w->out.n;

		must(w, n, "send");
		buf_put(&w->out, (const char *)p, (size_t)n);
		w->made += (size_t)n;
		if (w->out.oom)
			sim_fail("the simulation itself is out of memory");
		if (w->is_client && !w->greeted)
			at += PREFACE_BYTES;
		w->greeted = true;
		find_ends(w, at);
	}
}

void wire2_fill(struct wire2 *w)
{
	size_t most = 1 + dice_spread(&w->sim->dice, 100000);

	if (w->sent < w->out.n)
		return;
	w->out.n = w->sent = 0;
	fill(w, most);
}

void wire2_fill_all(struct wire2 *w)
{
	fill(w, SIZE_MAX);
}

uint64_t wire2_sent(const struct wire2 *w)
{
	return w->made - (w->out.n - w->sent);
}

void wire2_told(struct wire2 *w)
{
	uint64_t sent = wire2_sent(w);

	LIST_EACH (l, &w->streams) {
		struct wire2_stream *s = LIST_ENTRY(l, struct wire2_stream, link);

		if (s->said || s->end_at == 0 || s->end_at > sent)
			continue;
		s->said = true;
		w->on->said(s);
	}
}

void wire2_begin(struct wire2 *w, const char *text)
{
	buf_puts(&w->out, text);
	w->made += strlen(text);
}

void wire2_spoil(struct wire2 *w, const void *p, size_t n)
{
	w->spoilt = true;
	buf_put(&w->out, p, n);
	w->made += n;
}

/*---------------------------------------------------------------- what one may do */

void wire2_feed(struct wire2 *w, const char *p, size_t n)
{
	must(w, nghttp2_session_mem_recv(w->session, (const uint8_t *)p, n), w->fault);
}

void wire2_credit(struct wire2_stream *s)
{
	if (s->unread > 0 && !s->closed)
		must(s->wire,
		     nghttp2_session_consume_stream(s->wire->session, s->id, (size_t)s->unread),
		     "consume");
	s->unread = 0;
}

void wire2_settings(struct wire2 *w, const nghttp2_settings_entry *entry, size_t n)
{
	must(w, nghttp2_submit_settings(w->session, NGHTTP2_FLAG_NONE, entry, n), "settings");
}

void wire2_reset(struct wire2_stream *s, uint32_t code)
{
	s->we_reset = true;
	must(s->wire, nghttp2_submit_rst_stream(s->wire->session, NGHTTP2_FLAG_NONE, s->id, code),
	     "reset");
}

void wire2_go_on(struct wire2_stream *s, uint64_t stop_at)
{
	s->stop_at = stop_at;
	if (s->id != 0 && !s->closed) /* it says so when nothing was put off */
		(void)nghttp2_session_resume_data(s->wire->session, s->id);
}

void wire2_ask(struct wire2 *w, struct wire2_stream *s, const struct fields *f, bool end)
{
	nghttp2_data_provider body = { .source.ptr = s, .read_callback = read_body };

	s->id = nghttp2_submit_request(w->session, NULL, f->nv, f->n, end ? NULL : &body, s);
	must(w, s->id, "request");
}

void wire2_answer(struct wire2_stream *s, const struct fields *f, bool end)
{
	nghttp2_data_provider body = { .source.ptr = s, .read_callback = read_body };

	must(s->wire,
	     nghttp2_submit_response(s->wire->session, s->id, f->nv, f->n, end ? NULL : &body),
	     "response");
}

void wire2_interim(struct wire2_stream *s, unsigned status)
{
	static struct fields f;

	fields_init(&f);
	fields_add_number(&f, ":status", status);
	fields_add(&f, "x-sim-interim", "1");
	must(s->wire,
	     nghttp2_submit_headers(s->wire->session, NGHTTP2_FLAG_NONE, s->id, NULL, f.nv, f.n,
				    NULL),
	     "interim");
}

/*---------------------------------------------------------------- heads that go */

void fields_init(struct fields *f)
{
	f->n = f->used = 0;
}

/* Names are literals: the library is to send them as they are. */
void fields_add_n(struct fields *f, const char *name, const void *value, size_t n)
{
	nghttp2_nv *nv = &f->nv[f->n++];

	if (f->n == FIELDS_MAX || f->used + n > FIELDS_TEXT)
		sim_fail("a head of the simulation is too large");
	memcpy(f->text + f->used, value, n);
	*nv = (nghttp2_nv){ .name = (uint8_t *)(uintptr_t)name,
			    .value = (uint8_t *)f->text + f->used,
			    .namelen = strlen(name),
			    .valuelen = n,
			    .flags = NGHTTP2_NV_FLAG_NO_COPY_NAME };
	f->used += n;
}

void fields_add(struct fields *f, const char *name, const char *value)
{
	fields_add_n(f, name, value, strlen(value));
}

void fields_add_number(struct fields *f, const char *name, uint64_t number)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)number);
	fields_add(f, name, text);
}

/*---------------------------------------------------------------- life */

static nghttp2_session_callbacks *callbacks_new(void)
{
	nghttp2_session_callbacks *c;

	if (nghttp2_session_callbacks_new(&c) != 0)
		sim_fail("the simulation itself is out of memory");
	nghttp2_session_callbacks_set_on_begin_headers_callback(c, on_begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(c, on_header);
	nghttp2_session_callbacks_set_on_frame_recv_callback(c, on_frame_recv);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, on_data);
	nghttp2_session_callbacks_set_on_stream_close_callback(c, on_close);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(c, on_invalid);
	nghttp2_session_callbacks_set_error_callback2(c, on_error);
	nghttp2_session_callbacks_set_on_frame_send_callback(c, on_frame_send);
	nghttp2_session_callbacks_set_data_source_read_length_callback(c, most_data);
	nghttp2_session_callbacks_set_select_padding_callback(c, padded);
	return c;
}

void wire2_init(struct wire2 *w, struct sim *sim, bool is_client, const char *who,
		const struct wire2_events *on, void *owner)
{
	nghttp2_session_callbacks *c = callbacks_new();
	nghttp2_option *o;
	int result;

	*w = (struct wire2){ .on = on, .owner = owner, .who = who, .sim = sim };
	w->is_client = is_client;
	w->frame_most = 16384;
	list_init(&w->streams);
	must(w, nghttp2_option_new(&o), "options");
	nghttp2_option_set_no_auto_window_update(o, 1);
	result = is_client ? nghttp2_session_client_new2(&w->session, c, w, o)
			   : nghttp2_session_server_new2(&w->session, c, w, o);
	must(w, result, "session");
	nghttp2_option_del(o);
	nghttp2_session_callbacks_del(c);
}

void wire2_fini(struct wire2 *w)
{
	nghttp2_session_del(w->session);
	buf_fini(&w->out);
}

void wire2_stream_init(struct wire2 *w, struct wire2_stream *s)
{
	*s = (struct wire2_stream){ .wire = w, .stop_at = UINT64_MAX };
	list_push_back(&w->streams, &s->link);
}

void wire2_stream_fini(struct wire2_stream *s)
{
	list_remove(&s->link);
	buf_fini(&s->text);
}
