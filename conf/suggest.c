/* suggest.c - edit distance over short words. */
#include "conf/suggest.h"

#include <ctype.h>
#include <stdint.h>

static size_t least(size_t a, size_t b)
{
	return a < b ? a : b;
}

static int greater(int a, int b)
{
	return a > b ? a : b;
}

/* Letters' case aside; what is in it, as bits. */
static uint64_t fold(char *to, struct slice s)
{
	uint64_t all = 0;

	for (size_t i = 0; i < s.n; i++) {
		to[i] = (char)tolower((unsigned char)s.p[i]);
		all |= UINT64_C(1) << (to[i] & 63);
	}
	return all;
}

/* Each letter that only one of them has costs one. */
static size_t distance_least(uint64_t a, uint64_t b)
{
	return (size_t)greater(__builtin_popcountll(a & ~b), __builtin_popcountll(b & ~a));
}

/* SIZE_MAX: it is above `limit`, or a word is too long.  Three rows are enough: a swap looks back
 * two; so where two in a row are all above, all that follow are. */
static size_t distance_within(struct slice x, struct slice y, size_t limit)
{
	size_t row[3][SUGGEST_WORD_MAX + 1], was_best = 0;
	char a[SUGGEST_WORD_MAX], b[SUGGEST_WORD_MAX];

	if (x.n > SUGGEST_WORD_MAX || y.n > SUGGEST_WORD_MAX ||
	    (x.n > y.n ? x.n - y.n : y.n - x.n) > limit)
		return SIZE_MAX;
	if (distance_least(fold(a, x), fold(b, y)) > limit)
		return SIZE_MAX;
	for (size_t j = 0; j <= y.n; j++)
		row[0][j] = j;
	for (size_t i = 1; i <= x.n; i++) {
		size_t *now = row[i % 3];
		const size_t *last = row[(i + 2) % 3], *before = row[(i + 1) % 3];
		size_t best = now[0] = i;

		for (size_t j = 1; j <= y.n; j++) {
			size_t cost = a[i - 1] == b[j - 1] ? 0 : 1;

			now[j] = least(least(last[j] + 1, now[j - 1] + 1), last[j - 1] + cost);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				now[j] = least(now[j], before[j - 2] + 1);
			best = least(best, now[j]);
		}
		if (best > limit && was_best > limit)
			return SIZE_MAX;
		was_best = best;
	}
	return row[x.n % 3][y.n] <= limit ? row[x.n % 3][y.n] : SIZE_MAX;
}

size_t suggest_distance(struct slice a, struct slice b)
{
	return distance_within(a, b, 2 * SUGGEST_WORD_MAX);
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
	size_t longest = s->word.n > c.n ? s->word.n : c.n;
	size_t distance;

	if (longest > SUGGEST_WORD_MAX)
		return;
	distance = distance_within(s->word, c, longest / 3);
	if (distance == SIZE_MAX && is_beginning(s->word, c))
		distance = longest / 3;
	if (distance < s->distance) {
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
