/* suggest.c - edit distance over short words. */
#include "conf/suggest.h"

#include <ctype.h>
#include <stdint.h>

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static int lower(char c)
{
	return tolower((unsigned char)c);
}

/* Three rows are enough: a swap looks back two. */
size_t suggest_distance(struct slice a, struct slice b)
{
	size_t row[3][SUGGEST_WORD_MAX + 1];

	if (a.n > SUGGEST_WORD_MAX || b.n > SUGGEST_WORD_MAX)
		return SIZE_MAX;
	for (size_t j = 0; j <= b.n; j++)
		row[0][j] = j;
	for (size_t i = 1; i <= a.n; i++) {
		size_t *now = row[i % 3];
		const size_t *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];

		now[0] = i;
		for (size_t j = 1; j <= b.n; j++) {
			size_t cost = lower(a.p[i - 1]) == lower(b.p[j - 1]) ? 0 : 1;

			now[j] = least(least(last[j] + 1, now[j - 1] + 1), last[j - 1] + cost);
			if (i > 1 && j > 1 && lower(a.p[i - 1]) == lower(b.p[j - 2]) &&
			    lower(a.p[i - 2]) == lower(b.p[j - 1]))
				now[j] = least(now[j], before[j - 2] + 1);
		}
	}
	return row[a.n % 3][b.n];
}

void suggest_begin(struct suggest *s, struct slice word)
{
	*s = (struct suggest){ .word = word, .distance = SIZE_MAX };
}

/* `warning` for warn, `timeouts` for timeout, `max` for max_body: as near as anything may be that
 * is still offered. */
static bool is_beginning(struct slice a, struct slice b)
{
	struct slice shorter = a.n < b.n ? a : b;

	return shorter.n >= 3 && slice_ieq(slice_of(a.p, shorter.n), slice_of(b.p, shorter.n));
}

/* One slip for three letters: `brust` is burst, `x` is nothing. */
void suggest_offer(struct suggest *s, const char *candidate)
{
	struct slice c = slice_str(candidate);
	size_t distance = suggest_distance(s->word, c);
	size_t longest = s->word.n > c.n ? s->word.n : c.n;

	if (distance != SIZE_MAX && distance > longest / 3 && is_beginning(s->word, c))
		distance = longest / 3;
	if (distance < s->distance && distance <= longest / 3) {
		s->distance = distance;
		s->best = candidate;
	}
}

const char *suggest_among(struct slice word, const char *const *candidates)
{
	struct suggest s;

	suggest_begin(&s, word);
	for (; *candidates != NULL; candidates++)
		suggest_offer(&s, *candidates);
	return s.best;
}
