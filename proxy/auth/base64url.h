/* base64url.h - base64url without padding (RFC 4648 section 5, RFC 7515 section 2), strictly: one
 * spelling for every value, so that a token has no second form. */
#ifndef AUTH_BASE64URL_H
#define AUTH_BASE64URL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

/* How many bytes so many characters stand for. */
static inline size_t base64url_bytes(size_t characters)
{
	return characters / 4 * 3 + (characters % 4 * 3) / 4;
}

/* out has base64url_bytes(text.n) of room.  False: a character of another alphabet, padding, an
 * impossible length, or bits left over that are not zero. */
bool base64url_decode(struct slice text, uint8_t *out);

#endif
