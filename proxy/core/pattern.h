/* pattern.h - regular expressions over paths and hosts (PCRE2), within bounds.
 *
 * A text of the configuration is one when it begins with a tilde:
 *
 *	~ ^/users/[0-9]+$	upper and lower case differ
 *	~* \.(png|jpe?g)$	they do not
 *
 * It holds wherever it is found: ^ and $ tie it to the ends.  What a pattern asks of a text is
 * bounded, whatever the pattern: PATTERN_STEPS and PATTERN_HEAP_KIB, then the answer is "too hard",
 * which is neither yes nor no, and a call of which a route cannot tell is refused.  Compiled when
 * the configuration is read; matching allocates nothing but each thread's scratch, once.  No code is
 * generated: a process that may not make memory executable serves as any other. */
#ifndef CORE_PATTERN_H
#define CORE_PATTERN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/slice.h"

struct pattern;

enum {
	PATTERN_MAX = 4096,      /* bytes of a pattern */
	PATTERN_STEPS = 50000,   /* of one match: some milliseconds */
	PATTERN_HEAP_KIB = 1024, /* the same */
	PATTERN_GROUPS = 32      /* that can be referred to, with the whole match: 0 to 31 */
};

enum pattern_answer { PATTERN_NO, PATTERN_YES, PATTERN_TOO_HARD };

/* What a match has found; slices of the text.  p == NULL: the group took no part. */
struct pattern_found {
	uint32_t n;
	struct slice group[PATTERN_GROUPS];
};

/* Whether a text of the configuration is a pattern. */
static inline bool pattern_is(const char *text)
{
	return text[0] == '~';
}

/* From "~ ..." or "~* ...", into the arena.  `caseless`: even if it says nothing of it.  NULL:
 * *wrong says why, in the arena, or is NULL when memory is out. */
struct pattern *pattern_compile(const char *text, bool caseless, struct arena *,
				const char **wrong);
/* `found` may be NULL. */
enum pattern_answer pattern_match(const struct pattern *, struct slice text,
				  struct pattern_found *found);
/* The version of the library that is linked. */
const char *pattern_library(void);
/* How many groups it has beside the whole. */
uint32_t pattern_groups(const struct pattern *);
/* The number of a group by its name; 0: there is none. */
uint32_t pattern_group(const struct pattern *, struct slice name);

#endif
