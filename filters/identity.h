/* identity.h - who makes a call, once that was verified: what the keys `jwt.CLAIM` and `api_key`
 * read.
 *
 * Filled in before the first filter is asked (auth/auth.h), and by nothing that the client says
 * unproven. */
#ifndef FILTERS_IDENTITY_H
#define FILTERS_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

/* What proves it; a set of them is a bit mask. */
enum identity_kind { IDENTITY_JWT = 1 << 0, IDENTITY_API_KEY = 1 << 1 };

/* A claim whose value is a string, a number, true or false.  Of nested ones, the path has the names
 * on the way, dots between them. */
struct claim {
	struct slice path, value;
};

struct identity {             /* zeroed: nobody */
	struct slice api_key; /* its SHA-256, as 64 hex digits; n == 0: none */
	uint32_t n;
	const struct claim *claim; /* those of the token itself come before nested ones */
};

/* who NULL: nobody.  False: there is no such claim, or it is empty, a list, an object or null. */
bool identity_claim(const struct identity *who, struct slice path, struct slice *value);

#endif
