/* retry_after.c - Retry-After and retry-after-ms, as numbers. */
#include "http/retry_after.h"

#include "base/clock.h"
#include "http/date.h"

#define YEAR_MS (UINT64_C(365) * 24 * 3600 * 1000)

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* A decimal number times `unit`, rounded up, at most a year.  False: it is none. */
static bool decimal(struct slice s, uint64_t unit, uint64_t *out)
{
	size_t i = 0;
	uint64_t n = 0, scale = unit;
	bool rest = false;

	for (; i < s.n && is_digit(s.p[i]); i++)
		n = n > YEAR_MS ? n : n * 10 + (uint64_t)(s.p[i] - '0');
	if (i == 0)
		return false;
	n = n > YEAR_MS / unit ? YEAR_MS : n * unit;
	if (i < s.n && s.p[i] == '.') {
		for (i++; i < s.n && is_digit(s.p[i]); i++) {
			uint64_t digit = (uint64_t)(s.p[i] - '0');

			scale /= 10;
			n += scale * digit;
			rest = rest || (scale == 0 && digit != 0);
		}
	}
	*out = n + rest < YEAR_MS ? n + rest : YEAR_MS;
	return i == s.n;
}

static bool date(struct slice s, uint64_t wall_ns, uint64_t *ms)
{
	uint64_t now = wall_ns / CLOCK_MS;
	int64_t t;

	if (!date_parse(s, &t))
		return false;
	*ms = (uint64_t)t * 1000 > now ? (uint64_t)t * 1000 - now : 0;
	*ms = *ms < YEAR_MS ? *ms : YEAR_MS;
	return true;
}

bool retry_after_ms(const struct head *h, uint64_t wall_ns, uint64_t *ms)
{
	const struct header *exact = head_find(h, F_RETRY_AFTER_MS);
	const struct header *f = head_find(h, F_RETRY_AFTER);

	if (exact != NULL && decimal(exact->value, 1, ms))
		return true;
	if (f == NULL)
		return false;
	return decimal(f->value, 1000, ms) || date(f->value, wall_ns, ms);
}
