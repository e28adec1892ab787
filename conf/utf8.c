/* utf8.c - decoding, strict. */
#include "conf/utf8.h"

struct lead {
	uint8_t mask, value;
	uint8_t length;
	uint32_t least; /* a smaller one would be overlong */
};

static const struct lead leads[] = {
	{ 0x80, 0x00, 1, 0x0 },
	{ 0xE0, 0xC0, 2, 0x80 },
	{ 0xF0, 0xE0, 3, 0x800 },
	{ 0xF8, 0xF0, 4, 0x10000 },
};

static const struct lead *lead_find(uint8_t byte)
{
	for (size_t i = 0; i < sizeof(leads) / sizeof(leads[0]); i++)
		if ((byte & leads[i].mask) == leads[i].value)
			return &leads[i];
	return NULL;
}

size_t utf8_decode(const char *p, size_t n, uint32_t *character)
{
	const struct lead *lead = n == 0 ? NULL : lead_find((uint8_t)p[0]);
	uint32_t c;

	if (lead == NULL || lead->length > n)
		return 0;
	c = (uint8_t)p[0] & (uint8_t)~lead->mask;
	for (size_t i = 1; i < lead->length; i++) {
		if (((uint8_t)p[i] & 0xC0) != 0x80)
			return 0;
		c = c << 6 | ((uint8_t)p[i] & 0x3F);
	}
	if (c < lead->least || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
		return 0;
	*character = c;
	return lead->length;
}

bool utf8_is_valid(const char *p, size_t n)
{
	uint32_t c;
	size_t len;

	for (; n > 0; p += len, n -= len)
		if ((len = utf8_decode(p, n, &c)) == 0)
			return false;
	return true;
}

bool utf8_is_printable(uint32_t c)
{
	if (c < 0x20)
		return c == '\t' || c == '\n' || c == '\r';
	return c < 0x7F || c == 0x85 || (c >= 0xA0 && c <= 0xD7FF) ||
	       (c >= 0xE000 && c <= 0xFFFD && c != 0xFEFF) || (c >= 0x10000 && c <= 0x10FFFF);
}
