/* slice.h - borrowed bytes: a pointer and a length, no owner, no NUL. */
#ifndef BASE_SLICE_H
#define BASE_SLICE_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>
#include <strings.h>

struct slice {
	const char *p;
	size_t n;
};

/* A slice of a string literal; usable in static initialisers. */
#define SLICE(lit)                                                                                 \
	{                                                                                          \
		.p = (lit), .n = sizeof(lit) - 1                                                   \
	}
#define SLICE_FMT(s) (int)(s).n, (s).p /* for "%.*s" */

static inline struct slice slice_of(const char *p, size_t n)
{
	return (struct slice){ .p = p, .n = n };
}

static inline struct slice slice_str(const char *s)
{
	return (struct slice){ .p = s, .n = s == NULL ? 0 : strlen(s) };
}

static inline bool slice_eq(struct slice a, struct slice b)
{
	return a.n == b.n && (a.n == 0 || memcmp(a.p, b.p, a.n) == 0);
}

/* ASCII case-insensitive. */
static inline bool slice_ieq(struct slice a, struct slice b)
{
	return a.n == b.n && (a.n == 0 || strncasecmp(a.p, b.p, a.n) == 0);
}

static inline bool slice_is(struct slice a, const char *s)
{
	return slice_eq(a, slice_str(s));
}

static inline bool slice_starts(struct slice a, struct slice prefix)
{
	return a.n >= prefix.n && (prefix.n == 0 || memcmp(a.p, prefix.p, prefix.n) == 0);
}

/* Without leading and trailing spaces and tabs. */
static inline struct slice slice_trim(struct slice s)
{
	while (s.n > 0 && (s.p[0] == ' ' || s.p[0] == '\t'))
		s.p++, s.n--;
	while (s.n > 0 && (s.p[s.n - 1] == ' ' || s.p[s.n - 1] == '\t'))
		s.n--;
	return s;
}

/* Cuts off what stands before the first `c`, skips `c`, and returns what was
 * cut; without a `c` returns everything and leaves *rest empty (p == NULL). */
static inline struct slice slice_cut(struct slice *rest, char c)
{
	struct slice s = *rest;
	const char *at = s.n > 0 ? memchr(s.p, c, s.n) : NULL;

	if (at == NULL) {
		*rest = (struct slice){ .p = NULL, .n = 0 };
		return s;
	}
	*rest = slice_of(at + 1, s.n - (size_t)(at - s.p) - 1);
	return slice_of(s.p, (size_t)(at - s.p));
}

#endif
