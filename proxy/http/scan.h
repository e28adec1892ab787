/* scan.h - the characters of HTTP, and the search for the odd ones, eight bytes at a time. */
#ifndef HTTP_SCAN_H
#define HTTP_SCAN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum char_flag {
	CH_TOKEN = 1 << 0,  /* RFC 9110 section 5.6.2, tchar */
	CH_TARGET = 1 << 1, /* visible ASCII but '#': what a request target may hold */
	CH_HEX = 1 << 2,
	CH_UNRESERVED = 1 << 3, /* RFC 3986 section 2.3 */
	CH_HOST = 1 << 4,       /* RFC 3986 section 3.2.2, reg-name but for its escapes */
	CH_DIGIT = 1 << 5,
	CH_SEGMENT = 1 << 6, /* RFC 3986 section 3.3: with CH_HOST, pchar but for its escapes */
};

extern const uint8_t char_flags[256];

static inline bool char_is(char c, unsigned flags)
{
	return (char_flags[(uint8_t)c] & flags) != 0;
}

static inline uint8_t char_lower(char c)
{
	uint8_t u = (uint8_t)c;

	return (uint8_t)(u - 'A') < 26 ? u | 0x20 : u;
}

/* 0..15; `c` must be CH_HEX. */
static inline unsigned char_hex(char c)
{
	return char_is(c, CH_DIGIT) ? (unsigned)(c - '0') : (unsigned)(char_lower(c) - 'a' + 10);
}

#define SCAN_ONES UINT64_C(0x0101010101010101)
#define SCAN_TOPS UINT64_C(0x8080808080808080)

static inline uint64_t scan_load(const char *p)
{
	uint64_t w;

	memcpy(&w, p, sizeof(w));
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	w = __builtin_bswap64(w);
#endif
	return w;
}

/* Marks bytes below `floor` (at most 0x80) by their top bit; exact for the first of them, which is
 * the one wanted: the subtraction borrows upwards only. */
static inline uint64_t scan_below(uint64_t w, uint8_t floor)
{
	return (w - SCAN_ONES * floor) & ~w & SCAN_TOPS;
}

/* Where the first byte below 0x0e stands (CR, LF and NUL are), or n. */
static inline size_t scan_line(const char *p, size_t n)
{
	size_t i = 0;

	for (; n - i >= 8; i += 8) {
		uint64_t hit = scan_below(scan_load(p + i), 0x0e);

		if (hit != 0)
			return i + (size_t)__builtin_ctzll(hit) / 8;
	}
	while (i < n && (uint8_t)p[i] >= 0x0e)
		i++;
	return i;
}

/* Where the first control character (below 0x20, or DEL) stands, or n. */
static inline size_t scan_control(const char *p, size_t n)
{
	size_t i = 0;

	for (; n - i >= 8; i += 8) {
		uint64_t w = scan_load(p + i);
		uint64_t hit = scan_below(w, 0x20) | scan_below(w ^ (SCAN_ONES * 0x7f), 1);

		if (hit != 0)
			return i + (size_t)__builtin_ctzll(hit) / 8;
	}
	while (i < n && (uint8_t)p[i] >= 0x20 && (uint8_t)p[i] != 0x7f)
		i++;
	return i;
}

#endif
