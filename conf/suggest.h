/* suggest.h - "did you mean": the candidate nearest to a word. */
#ifndef CONF_SUGGEST_H
#define CONF_SUGGEST_H

#include <stddef.h>

#include "base/slice.h"

enum { SUGGEST_WORD_MAX = 64 };

/* Offer every candidate, then read `best`: NULL when none is near enough to be meant. */
struct suggest {
	struct slice word;
	size_t distance; /* of best */
	const char *best;
};

void suggest_begin(struct suggest *, struct slice word);
void suggest_offer(struct suggest *, const char *candidate); /* borrowed */
/* Of a NULL-terminated list. */
const char *suggest_among(struct slice word, const char *const *candidates);

/* Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours, letters' case aside.
 * SIZE_MAX when one of them is longer than SUGGEST_WORD_MAX. */
size_t suggest_distance(struct slice, struct slice);

#endif
