/* h2_out.c - frames out.  What is written by hand is reserved and put at once; bodies are borrowed.
 */
#include "base/check.h"
#include "base/reason.h"
#include "http/h2_internal.h"

void h2_put(struct h2 *h, struct slice s)
{
	h->codec.io->put(h->codec.conn, s);
	h->s->put += s.n;
}

/* NULL: memory is out, and without this frame the connection makes no sense. */
static char *reserve(struct h2 *h, size_t n)
{
	char *p = h->codec.io->reserve(h->codec.conn, n);

	if (p == NULL) {
		h->s->doom = reason_out_of_memory;
		h2_kick(h);
	}
	return p;
}

void h2_put_frame(struct h2 *h, enum h2_type type, uint8_t flags, uint32_t id, struct slice payload)
{
	struct h2_frame f = {
		.length = (uint32_t)payload.n, .id = id, .type = (uint8_t)type, .flags = flags
	};
	char *p = reserve(h, H2_FRAME_HEAD + payload.n);

	if (p == NULL)
		return;
	h2_frame_write(p, &f);
	if (payload.n > 0)
		memcpy(p + H2_FRAME_HEAD, payload.p, payload.n);
	h2_put(h, slice_of(p, H2_FRAME_HEAD + payload.n));
}

void h2_put_rst(struct h2 *h, uint32_t id, enum h2_code code)
{
	char text[4];

	h2_set32(text, code);
	h2_put_frame(h, H2_RST_STREAM, 0, id, slice_of(text, sizeof(text)));
}

void h2_put_goaway(struct h2 *h, uint32_t last_id, enum h2_code code)
{
	char text[8];

	h2_set32(text, last_id);
	h2_set32(text + 4, code);
	h2_put_frame(h, H2_GOAWAY, 0, 0, slice_of(text, sizeof(text)));
}

void h2_put_window(struct h2 *h, uint32_t id, uint32_t more)
{
	char text[4];

	h2_set32(text, more);
	h2_put_frame(h, H2_WINDOW_UPDATE, 0, id, slice_of(text, sizeof(text)));
}

/*---------------------------------------- settings */

static size_t put_setting(char *p, enum h2_setting id, uint32_t value)
{
	p[0] = 0;
	p[1] = (char)id;
	h2_set32(p + 2, value);
	return 6;
}

static void put_settings(struct h2 *h)
{
	const struct h2_session *s = h->s;
	char text[5 * 6];
	size_t n = 0;

	if (s->is_client)
		n += put_setting(text + n, H2_ENABLE_PUSH, 0);
	else
		n += put_setting(text + n, H2_MAX_CONCURRENT_STREAMS, s->streams);
	if (s->tunnels)
		n += put_setting(text + n, H2_ENABLE_CONNECT_PROTOCOL, 1);
	n += put_setting(text + n, H2_INITIAL_WINDOW_SIZE, s->stream_window);
	n += put_setting(text + n, H2_MAX_HEADER_LIST_SIZE, h->codec.limits->head_bytes);
	h2_put_frame(h, H2_SETTINGS, 0, 0, slice_of(text, n));
}

void h2_hello(struct h2 *h)
{
	struct h2_session *s = h->s;

	if (s->greeted)
		return;
	s->greeted = true;
	s->tunnels = !s->is_client && s->limits->tunnels;
	if (s->is_client)
		h2_put(h, h2_preface);
	put_settings(h);
	if (s->conn_window > H2_WINDOW) {
		h2_put_window(h, 0, s->conn_window - H2_WINDOW);
		s->in_window = s->conn_window;
	}
}

/*---------------------------------------- heads and bodies */

/* Heads behind the first frame's bytes: makes room for a frame head before each piece. */
static size_t spread(char *p, size_t n, uint32_t id, uint8_t flags, size_t most)
{
	size_t frames = n == 0 ? 1 : (n + most - 1) / most;

	for (size_t i = frames; i-- > 0;) {
		size_t at = i * most, len = n - at < most ? n - at : most;
		char *to = p + at + i * H2_FRAME_HEAD;
		struct h2_frame f = { .length = (uint32_t)len, .id = id };

		f.type = i == 0 ? H2_HEADERS : H2_CONTINUATION;
		f.flags = (uint8_t)((i == 0 ? flags : 0) | (i + 1 == frames ? H2_END_HEADERS : 0));
		memmove(to + H2_FRAME_HEAD, p + H2_FRAME_HEAD + at, len);
		h2_frame_write(to, &f);
	}
	return n + frames * H2_FRAME_HEAD;
}

bool h2_put_head(struct h2_stream *st, const struct h2_nva *v, bool end)
{
	struct h2 *h = st->h2;
	struct h2_session *s = h->s;
	size_t bound = nghttp2_hd_deflate_bound(s->deflater, v->nv, v->n);
	size_t most = s->peer_frame_bytes, frames = bound / most + 1;
	char *p = reserve(h, bound + frames * H2_FRAME_HEAD);
	ssize_t n;

	if (p == NULL)
		return false;
	n = nghttp2_hd_deflate_hd(s->deflater, (uint8_t *)p + H2_FRAME_HEAD, bound, v->nv, v->n);
	if (n < 0) {
		s->doom = reason_out_of_memory;
		h2_kick(h);
		return false;
	}
	bound = spread(p, (size_t)n, st->id, end ? H2_END_STREAM : 0, most);
	h2_put(h, slice_of(p, bound));
	h2_stream_puts(st, bound);
	return true;
}

void h2_write_data_head(char *p, struct h2_stream *st, size_t n, bool end)
{
	struct h2_session *s = st->h2->s;
	struct h2_frame f = { .length = (uint32_t)n, .id = st->id, .type = H2_DATA };

	f.flags = end ? H2_END_STREAM : 0;
	h2_frame_write(p, &f);
	st->out_window -= (int64_t)n;
	s->out_window -= (int64_t)n;
	if (s->explained < UINT16_MAX)
		s->explained += H2_EXPLAINED;
}

void h2_put_data(struct h2_stream *st, struct slice data, bool end)
{
	char *p = reserve(st->h2, H2_FRAME_HEAD);

	if (p == NULL)
		return;
	h2_write_data_head(p, st, data.n, end);
	h2_put(st->h2, slice_of(p, H2_FRAME_HEAD));
	if (data.n > 0)
		h2_put(st->h2, data);
	h2_stream_puts(st, H2_FRAME_HEAD + data.n);
}
