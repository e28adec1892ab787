/* h1_loose.c - heads whose lines end with LF alone (RFC 9112 section 2.2), where that is allowed.
 *
 * The strict reader goes first; only what it stumbles over comes here, and goes on as if every line had ended with CRLF.  A CR
 * that ends no line, and NUL, stay what they are: refused. */
#include <stdlib.h>
#include <string.h>

#include "base/reason.h"
#include "http/h1_internal.h"

/* Where the section ends; 0: not yet; -1: it is refused. */
static int64_t loose_end(struct slice in, size_t max)
{
	size_t n = in.n < max ? in.n : max;

	for (size_t i = 0; i < n; i++) {
		char c = in.p[i];

		if (c == '\0' || (c == '\r' && i + 1 < n && in.p[i + 1] != '\n'))
			return -1;
		if (c != '\n')
			continue;
		if (i + 1 < n && in.p[i + 1] == '\n')
			return (int64_t)i + 2;
		if (i + 2 < n && in.p[i + 1] == '\r' && in.p[i + 2] == '\n')
			return (int64_t)i + 3;
	}
	return 0;
}

int64_t h1_loose_head_end(struct slice in, size_t *seen, const struct codec_limits *limits,
			  const struct reason **why)
{
	int64_t n = h1_head_end(in, seen, limits, why);

	if (n >= 0 || !limits->bare_lf || *why != reason_bad_request || in.p[*seen] != '\n')
		return n;
	n = loose_end(in, limits->head_bytes);
	if (n == 0 && in.n >= limits->head_bytes) {
		*why = reason_head_too_large;
		return -1;
	}
	return n;
}

bool h1_loose_text(struct slice *head)
{
	char *text = malloc(2 * head->n);
	size_t n = 0;

	if (text == NULL)
		return false;
	for (size_t i = 0; i < head->n; i++) {
		if (head->p[i] == '\n' && (i == 0 || head->p[i - 1] != '\r'))
			text[n++] = '\r';
		text[n++] = head->p[i];
	}
	*head = slice_of(text, n);
	return true;
}
