/* put.h - text that is written at a place with room for it: on the data path, where printf would
 * cost more than all the rest of a call.
 *
 * Each takes where to write and returns where it has ended.  Nothing checks for room. */
#ifndef BASE_PUT_H
#define BASE_PUT_H

#include <endian.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/slice.h"

enum { PUT_U64_MAX = 20 };

/* For an n that the compiler knows, or one that is often large. */
static inline char *put_text(char *at, const void *p, size_t n)
{
	if (n > 0)
		memcpy(at, p, n);
	return at + n;
}

#define PUT_LIT(at, text) put_text(at, text, sizeof(text) - 1)

/* Most names and values are short, and a call of memcpy for each would be most of the work. */
static inline char *put_slice(char *at, struct slice s)
{
	if (s.n > 32) {
		memcpy(at, s.p, s.n);
	} else if (s.n >= 16) {
		memcpy(at, s.p, 16);
		memcpy(at + s.n - 16, s.p + s.n - 16, 16);
	} else if (s.n >= 8) {
		memcpy(at, s.p, 8);
		memcpy(at + s.n - 8, s.p + s.n - 8, 8);
	} else if (s.n >= 4) {
		memcpy(at, s.p, 4);
		memcpy(at + s.n - 4, s.p + s.n - 4, 4);
	} else {
		for (size_t i = 0; i < s.n; i++)
			at[i] = s.p[i];
	}
	return at + s.n;
}

/* The last `digits` decimals, leading zeros kept. */
static inline char *put_decimals(char *at, uint64_t v, unsigned digits)
{
	for (unsigned i = digits; i-- > 0; v /= 10)
		at[i] = (char)('0' + v % 10);
	return at + digits;
}

/* At most PUT_U64_MAX bytes. */
static inline char *put_u64(char *at, uint64_t v)
{
	unsigned digits = 1;

	for (uint64_t rest = v; rest >= 10; rest /= 10)
		digits++;
	return put_decimals(at, v, digits);
}

#define PUT_ONES UINT64_C(0x0101010101010101)

/* Eight hex digits at once: nibbles are spread to bytes, then 'a'..'f' are told from '0'..'9' by
 * the carry of + 6. */
static inline char *put_hex32(char *at, uint32_t v)
{
	uint64_t x = v;

	x = (x << 16 | x) & UINT64_C(0x0000ffff0000ffff);
	x = (x << 8 | x) & UINT64_C(0x00ff00ff00ff00ff);
	x = (x << 4 | x) & UINT64_C(0x0f0f0f0f0f0f0f0f);
	x += PUT_ONES * '0' + ((x + PUT_ONES * 6) >> 4 & PUT_ONES) * ('a' - '0' - 10);
	x = htobe64(x);
	memcpy(at, &x, sizeof(x));
	return at + sizeof(x);
}

/* 16 hex digits. */
static inline char *put_hex64(char *at, uint64_t v)
{
	return put_hex32(put_hex32(at, (uint32_t)(v >> 32)), (uint32_t)v);
}

#endif
