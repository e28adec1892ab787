/* value.c - times and sizes as nginx writes them (ngx_parse_time, ngx_parse_size). */
#include <inttypes.h>
#include <string.h>

#include "base/clock.h"
#include "conf/value.h"
#include "nginx-compat/internal.h"

enum { DIGITS_MAX = 15 };

static bool take_number(struct slice *s, uint64_t *out)
{
	size_t n = 0;

	*out = 0;
	while (n < s->n && n < DIGITS_MAX && s->p[n] >= '0' && s->p[n] <= '9')
		*out = *out * 10 + (uint64_t)(s->p[n++] - '0');
	*s = slice_of(s->p + n, s->n - n);
	return n > 0;
}

bool value_number(struct slice s, uint64_t max, uint64_t *out)
{
	return take_number(&s, out) && s.n == 0 && *out <= max;
}

struct unit {
	const char *name;
	uint64_t ns;
};

#define DAY (UINT64_C(86400) * CLOCK_S)

/* From the longest to the shortest: each may come once, in this order. */
static const struct unit units[] = {
	{ "y", 365 * DAY },
	{ "M", 30 * DAY },
	{ "w", 7 * DAY },
	{ "d", DAY },
	{ "h", 3600 * (uint64_t)CLOCK_S },
	{ "ms", CLOCK_S / 1000 },
	{ "m", 60 * (uint64_t)CLOCK_S },
	{ "s", CLOCK_S },
	{ "", CLOCK_S },
};

static uint64_t take_unit(struct slice *s)
{
	for (size_t i = 0; i < sizeof(units) / sizeof(units[0]); i++) {
		struct slice name = slice_str(units[i].name);

		if (slice_starts(*s, name)) {
			*s = slice_of(s->p + name.n, s->n - name.n);
			return units[i].ns;
		}
	}
	return 0;
}

bool value_time(struct slice s, uint64_t *ns)
{
	uint64_t last = UINT64_MAX;

	*ns = 0;
	do {
		uint64_t n, unit;

		if (!take_number(&s, &n))
			return false;
		unit = take_unit(&s);
		if (unit >= last || n > 100 * 365 * DAY / unit)
			return false;
		*ns += n * unit;
		last = unit;
		while (s.n > 0 && s.p[0] == ' ')
			s = slice_of(s.p + 1, s.n - 1);
	} while (s.n > 0);
	return true;
}

bool value_size(struct slice s, uint64_t *bytes)
{
	static const char letters[] = "kmg";
	uint64_t n;
	unsigned shift = 0;

	if (!take_number(&s, &n))
		return false;
	for (unsigned i = 0; i < 3; i++)
		if (s.n == 1 && (s.p[0] | 0x20) == letters[i])
			shift = 10 * (i + 1);
	if (s.n != (shift > 0) || n > UINT64_MAX >> (shift + 4))
		return false;
	*bytes = n << shift;
	return true;
}

static bool of_scope(struct import *im, const struct directive *block, const char *name,
		     bool (*parse)(struct slice, uint64_t *), uint64_t *out)
{
	const struct directive *d = block_find(block, name);

	if (d == NULL || d->n < 2)
		return false;
	if (parse(d->word[1], out))
		return true;
	return tree_wrong(im->tree, d->file, d->end_line, "\"%s\" directive invalid value", name);
}

bool block_time(struct import *im, const struct directive *block, const char *name, uint64_t *ns)
{
	return of_scope(im, block, name, value_time, ns);
}

bool block_size(struct import *im, const struct directive *block, const char *name, uint64_t *bytes)
{
	return of_scope(im, block, name, value_size, bytes);
}

uint64_t time_within(struct import *im, struct directive *d, uint64_t ns, uint64_t most_ns)
{
	if (ns == 0 && d != NULL)
		judge(im, d, ADAPTED, "1ms is the least");
	if (ns > most_ns && d != NULL)
		judge(im, d, ADAPTED, "%s is the most", time_text(im, most_ns));
	return ns == 0 ? CLOCK_S / 1000 : ns > most_ns ? most_ns : ns;
}

const char *time_text(struct import *im, uint64_t ns)
{
	char text[32];

	value_print_duration(ns, text);
	return text_printf(im, "%s", text);
}

const char *size_text(struct import *im, uint64_t bytes)
{
	char text[32];

	value_print_bytes(bytes, text);
	return text_printf(im, "%s", text);
}
