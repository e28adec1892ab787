/* buf.c - growable text. */
#include "base/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/put.h"

void buf_fini(struct buf *b)
{
	if (b->arena == NULL)
		free(b->p);
	*b = (struct buf){ 0 };
}

static char *resize(struct buf *b, size_t cap)
{
	char *p;

	if (b->arena == NULL)
		return realloc(b->p, cap);
	p = arena_alloc(b->arena, cap);
	if (p != NULL && b->n > 0)
		memcpy(p, b->p, b->n + 1);
	return p;
}

bool buf_reserve(struct buf *b, size_t more)
{
	size_t cap = b->cap < 256 ? 256 : b->cap;
	char *p;

	if (b->oom)
		return false;
	if (b->cap - b->n > more)
		return true;
	while (cap - b->n <= more)
		cap *= 2;
	p = resize(b, cap);
	if (p == NULL) {
		b->oom = true;
		return false;
	}
	b->p = p;
	b->cap = cap;
	return true;
}

void buf_put(struct buf *b, const void *p, size_t n)
{
	if (n == 0 || !buf_reserve(b, n))
		return;
	memcpy(b->p + b->n, p, n);
	b->n += n;
	b->p[b->n] = '\0';
}

void buf_puts(struct buf *b, const char *s)
{
	buf_put(b, s, strlen(s));
}

void buf_putc(struct buf *b, char c)
{
	buf_put(b, &c, 1);
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n < 0 || !buf_reserve(b, (size_t)n))
		return;
	va_start(ap, fmt);
	vsnprintf(b->p + b->n, b->cap - b->n, fmt, ap);
	va_end(ap);
	b->n += (size_t)n;
}

void buf_u64(struct buf *b, uint64_t v)
{
	if (!buf_reserve(b, PUT_U64_MAX))
		return;
	b->n = (size_t)(put_u64(b->p + b->n, v) - b->p);
	b->p[b->n] = '\0';
}

/* Length of the well-formed UTF-8 sequence at p (RFC 3629 section 4), 0: none. */
static size_t utf8_len(const unsigned char *p, size_t n)
{
	static const struct {
		unsigned char lo, hi, second_lo, second_hi, len;
	} row[] = {
		{ 0xC2, 0xDF, 0x80, 0xBF, 2 }, { 0xE0, 0xE0, 0xA0, 0xBF, 3 },
		{ 0xE1, 0xEC, 0x80, 0xBF, 3 }, { 0xED, 0xED, 0x80, 0x9F, 3 },
		{ 0xEE, 0xEF, 0x80, 0xBF, 3 }, { 0xF0, 0xF0, 0x90, 0xBF, 4 },
		{ 0xF1, 0xF3, 0x80, 0xBF, 4 }, { 0xF4, 0xF4, 0x80, 0x8F, 4 },
	};

	if (p[0] < 0x80)
		return 1;
	for (size_t i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		if (p[0] < row[i].lo || p[0] > row[i].hi)
			continue;
		if (n < row[i].len || p[1] < row[i].second_lo || p[1] > row[i].second_hi)
			return 0;
		for (size_t k = 2; k < row[i].len; k++)
			if ((p[k] & 0xC0) != 0x80)
				return 0;
		return row[i].len;
	}
	return 0;
}

static void json_escape(struct buf *b, unsigned char c)
{
	static const char *const named[128] = {
		['"'] = "\\\"", ['\\'] = "\\\\", ['\n'] = "\\n", ['\r'] = "\\r", ['\t'] = "\\t",
	};

	if (named[c] != NULL)
		buf_puts(b, named[c]);
	else
		buf_printf(b, "\\u%04x", c);
}

void buf_json(struct buf *b, struct slice s)
{
	const unsigned char *p = (const unsigned char *)s.p;
	size_t from = 0, i = 0;

	while (i < s.n) {
		size_t len = utf8_len(p + i, s.n - i);

		if (len > 0 && p[i] >= 0x20 && p[i] != '"' && p[i] != '\\' && p[i] != 0x7F) {
			i += len;
			continue;
		}
		buf_put(b, p + from, i - from);
		if (len == 0)
			buf_puts(b, "\xEF\xBF\xBD");
		else
			json_escape(b, p[i]);
		from = ++i;
	}
	buf_put(b, p + from, i - from);
}

void buf_json_string(struct buf *b, struct slice s)
{
	buf_putc(b, '"');
	buf_json(b, s);
	buf_putc(b, '"');
}
