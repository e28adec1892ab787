/* h1_write.c - heads and chunks as text: canonical, one space, CRLF, nothing folded. */
#include "base/check.h"
#include "base/put.h"
#include "http/h1.h"

enum {
	FRAMING_BYTES = 128, /* start line's fixed parts, framing and Connection, empty line */
};

static inline char *put_field(char *out, struct slice name, struct slice value)
{
	out = put_slice(out, name);
	*out++ = ':';
	*out++ = ' ';
	out = put_slice(out, value);
	*out++ = '\r';
	*out++ = '\n';
	return out;
}

/* What the codec says itself, or no longer says. */
static const bool is_framing[FIELD_COUNT] = {
	[F_REMOVED] = true,        [F_CONNECTION] = true, [F_KEEP_ALIVE] = true,
	[F_CONTENT_LENGTH] = true, [F_UPGRADE] = true,    [F_TRANSFER_ENCODING] = true,
};

static char *put_fields(char *out, const struct head *h, uint8_t but)
{
	for (unsigned i = 0; i < h->n; i++) {
		const struct header *f = &h->fields[i];

		if (!is_framing[f->id] && f->id != but)
			out = put_field(out, f->name, f->value);
	}
	return out;
}

static const struct slice connection_lines[] = {
	[H1_SAYS_NOTHING] = SLICE(""),
	[H1_CLOSE] = SLICE("Connection: close\r\n"),
	[H1_KEEP_ALIVE] = SLICE("Connection: keep-alive\r\n"),
	[H1_UPGRADE] = SLICE("Connection: upgrade\r\n"),
	[H1_UPGRADE_CLOSE] = SLICE("Connection: upgrade, close\r\n"),
};

static char *put_upgrade(char *out, const struct head *h)
{
	for (unsigned i = 0; i < h->n; i++)
		if (h->fields[i].id == F_UPGRADE)
			out = put_field(out, field_names[F_UPGRADE], h->fields[i].value);
	return out;
}

static char *put_framing(char *out, const struct head *h, const struct h1_framing *f)
{
	if (f->body == BODY_LENGTH) {
		out = PUT_LIT(out, "Content-Length: ");
		out = put_u64(out, f->length);
		out = PUT_LIT(out, "\r\n");
	} else if (f->body == BODY_CHUNKED) {
		out = PUT_LIT(out, "Transfer-Encoding: chunked\r\n");
	}
	out = put_slice(out, connection_lines[f->connection]);
	if (f->connection >= H1_UPGRADE)
		out = put_upgrade(out, h);
	return PUT_LIT(out, "\r\n");
}

size_t h1_head_bound(const struct head *h)
{
	size_t n =
	    FRAMING_BYTES + h->method.n + h->path.n + h->query.n + h->authority.n + h->phrase.n;

	for (unsigned i = 0; i < h->n; i++)
		n += h->fields[i].name.n + h->fields[i].value.n + 4;
	return n;
}

size_t h1_write_request(char *out, const struct head *h, const struct h1_framing *f)
{
	char *p = put_slice(out, h->method);

	*p++ = ' ';
	p = put_slice(p, h->path);
	if (h->query.p != NULL) {
		*p++ = '?';
		p = put_slice(p, h->query);
	}
	if (h->as_10 && f->body != BODY_CHUNKED && f->connection < H1_UPGRADE)
		p = PUT_LIT(p, " HTTP/1.0\r\n");
	else
		p = PUT_LIT(p, " HTTP/1.1\r\n");
	p = put_field(p, field_names[F_HOST], h->authority);
	p = put_fields(p, h, F_HOST);
	return (size_t)(put_framing(p, h, f) - out);
}

size_t h1_write_response(char *out, const struct head *h, const struct h1_framing *f)
{
	char *p = PUT_LIT(out, "HTTP/1.1 ");

	CHECK(h->status >= 100 && h->status <= 999);
	p = put_u64(p, h->status);
	*p++ = ' ';
	p = put_slice(p, h->phrase.p != NULL ? h->phrase : status_phrase(h->status));
	p = PUT_LIT(p, "\r\n");
	p = put_fields(p, h, F_REMOVED);
	return (size_t)(put_framing(p, h, f) - out);
}

size_t h1_write_trailers(char *out, const struct head *h)
{
	char *p = put_fields(out, h, F_REMOVED);

	return (size_t)(PUT_LIT(p, "\r\n") - out);
}

size_t h1_write_chunk_head(char *out, uint64_t n)
{
	static const char hex[] = "0123456789abcdef";
	unsigned digits = n == 0 ? 1 : (67 - (unsigned)__builtin_clzll(n)) / 4;

	for (unsigned i = digits; i > 0; i--) {
		out[i - 1] = hex[n & 15];
		n >>= 4;
	}
	out[digits] = '\r';
	out[digits + 1] = '\n';
	return digits + 2;
}
