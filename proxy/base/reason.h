/* reason.h - one row of reason.def; compared by address. */
#ifndef BASE_REASON_H
#define BASE_REASON_H

#include <stddef.h>
#include <stdint.h>

enum reason_flag {
	R_LOCAL = 1 << 0,   /* we made this answer                          */
	R_UNSENT = 1 << 1,  /* no byte reached the upstream                 */
	R_FAILURE = 1 << 2, /* counts against the endpoint                  */
	R_CLOSE = 1 << 3,   /* the client connection ends with it           */
	R_SHED = 1 << 4,    /* says when to come back                       */
	R_AUTH = 1 << 5,    /* says what would be believed of who calls     */
};

struct reason {
	const char *token;
	const char *text;
	uint16_t status; /* 0: the upstream's own, or nothing can be told */
	uint16_t flags;
	uint16_t index; /* place in the table, for counters indexed by reason */
};

enum reason_index {
#define R(name, status, flags, text) REASON_##name,
#include "base/reason.def"
#undef R
	REASON_COUNT
};

extern const struct reason reason_table[REASON_COUNT];

#define R(name, status, flags, text) extern const struct reason *const reason_##name;
#include "base/reason.def"
#undef R

#endif
