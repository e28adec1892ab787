/* value.c - scalars, parsed and printed in whole numbers: no floating point, so nothing is rounded.
 */
#include "conf/value.h"

#include <inttypes.h>
#include <stdio.h>

struct unit {
	struct slice name;
	uint64_t size;
};

/* From the largest down: printing takes them in this order, and so must "1h30m". */
static const struct unit duration_units[] = {
	{ SLICE("d"), UINT64_C(86400000000000) },
	{ SLICE("h"), UINT64_C(3600000000000) },
	{ SLICE("m"), UINT64_C(60000000000) },
	{ SLICE("s"), UINT64_C(1000000000) },
	{ SLICE("ms"), UINT64_C(1000000) },
	{ SLICE("us"), UINT64_C(1000) },
	{ SLICE("ns"), UINT64_C(1) },
};

enum { DURATION_UNITS = sizeof(duration_units) / sizeof(duration_units[0]) };

static const struct unit byte_units[] = {
	{ SLICE("TiB"), UINT64_C(1) << 40 }, { SLICE("GiB"), UINT64_C(1) << 30 },
	{ SLICE("MiB"), UINT64_C(1) << 20 }, { SLICE("KiB"), UINT64_C(1) << 10 },
	{ SLICE("B"), UINT64_C(1) },
};

enum { BYTE_UNITS = sizeof(byte_units) / sizeof(byte_units[0]) };

const char value_too_large[] = "the number is too large";

static const char negative[] = "the number cannot be negative";

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* Takes digits off the front of *s; false when they overflow. */
static bool take_digits(struct slice *s, uint64_t *out, unsigned *digits)
{
	*out = 0;
	for (*digits = 0; s->n > 0 && is_digit(s->p[0]); ++*digits, s->p++, s->n--)
		if (__builtin_mul_overflow(*out, 10, out) ||
		    __builtin_add_overflow(*out, (uint64_t)(s->p[0] - '0'), out))
			return false;
	return true;
}

/* A decimal number as whole + part / scale. */
struct decimal {
	uint64_t whole, part, scale;
};

static const char *take_decimal(struct slice *s, struct decimal *d)
{
	unsigned digits;

	*d = (struct decimal){ .scale = 1 };
	if (!take_digits(s, &d->whole, &digits))
		return value_too_large;
	if (digits == 0)
		return s->n > 0 && s->p[0] == '-' ? negative : "a number is missing";
	if (s->n == 0 || s->p[0] != '.')
		return NULL;
	s->p++;
	s->n--;
	if (!take_digits(s, &d->part, &digits) || digits > 9)
		return "more than nine digits after the point";
	if (digits == 0)
		return "digits are missing after the point";
	while (digits-- > 0)
		d->scale *= 10;
	return NULL;
}

/* number x unit, exactly. */
static const char *multiply(const struct decimal *d, uint64_t unit, uint64_t *out)
{
	unsigned __int128 part = (unsigned __int128)d->part * unit;

	if (part % d->scale != 0)
		return "the number is finer than its unit can be split";
	if (__builtin_mul_overflow(d->whole, unit, out) ||
	    __builtin_add_overflow(*out, (uint64_t)(part / d->scale), out))
		return value_too_large;
	return NULL;
}

static struct slice take_letters(struct slice *s)
{
	size_t n = 0;

	while (n < s->n && is_letter(s->p[n]))
		n++;
	s->p += n;
	s->n -= n;
	return slice_of(s->p - n, n);
}

/* The index of the unit, or -1. */
static int find_unit(const struct unit *units, int n, struct slice name)
{
	for (int i = 0; i < n; i++)
		if (slice_eq(units[i].name, name))
			return i;
	return -1;
}

const char *value_duration(struct slice s, uint64_t *ns)
{
	int last = -1;

	*ns = 0;
	if (s.n == 0)
		return "a duration is missing, such as 250ms, 2s or 1h30m";
	while (s.n > 0) {
		struct decimal number;
		struct slice name;
		uint64_t one;
		const char *wrong = take_decimal(&s, &number);
		int unit;

		if (wrong != NULL)
			return wrong;
		name = take_letters(&s);
		if (name.n == 0)
			return s.n == 0 ? "a duration needs a unit: ms, s, m, h or d"
					: "that is no duration, such as 250ms, 2s or 1h30m";
		unit = find_unit(duration_units, DURATION_UNITS, name);
		if (unit < 0)
			return "the units of a duration are ns, us, ms, s, m, h and d";
		if (unit <= last)
			return "the units of a duration must go from the largest down, as in 1h30m";
		last = unit;
		wrong = multiply(&number, duration_units[unit].size, &one);
		if (wrong != NULL)
			return wrong;
		if (__builtin_add_overflow(*ns, one, ns))
			return value_too_large;
	}
	return NULL;
}

static const char *rate_period(struct slice s, uint64_t *ns)
{
	int unit = find_unit(duration_units, DURATION_UNITS, s);

	if (unit >= 0) {
		*ns = duration_units[unit].size;
		return NULL;
	}
	if (s.n == 0 || !is_digit(s.p[0]))
		return "behind the `/` of a rate stands s, m, h, d or a duration such as 10s";
	return value_duration(s, ns);
}

const char *value_rate(struct slice s, struct rate *out)
{
	struct slice rest = s, count = slice_cut(&rest, '/');
	unsigned digits;
	const char *wrong;

	*out = (struct rate){ 0 };
	if (slice_is(s, "unlimited")) {
		out->unlimited = true;
		return NULL;
	}
	if (s.n > 0 && s.p[0] == '-')
		return negative;
	if (rest.p == NULL)
		return "a rate is a number per time, such as 100/s, 600/m or 5/10s";
	if (!take_digits(&count, &out->count, &digits))
		return value_too_large;
	if (digits == 0 || count.n != 0)
		return "a rate begins with a whole number, as in 100/s";
	wrong = rate_period(rest, &out->period_ns);
	if (wrong != NULL)
		return wrong;
	if (out->count == 0)
		return "a rate of 0 would let nothing through; the least is 1";
	if (out->period_ns == 0)
		return "the time of a rate cannot be 0";
	if (out->count > out->period_ns)
		return "a rate cannot be above one per nanosecond";
	return NULL;
}

const char *value_bytes(struct slice s, uint64_t *bytes)
{
	struct decimal number;
	const char *wrong = take_decimal(&s, &number);
	int unit;

	*bytes = 0;
	if (wrong != NULL)
		return wrong;
	unit = s.n == 0 ? BYTE_UNITS - 1 : find_unit(byte_units, BYTE_UNITS, s);
	if (unit < 0)
		return "the units of a size are B, KiB, MiB, GiB and TiB";
	return multiply(&number, byte_units[unit].size, bytes);
}

const char *value_share(struct slice s, uint32_t *ppm)
{
	struct decimal number;
	const char *wrong = take_decimal(&s, &number);
	uint64_t v;

	*ppm = 0;
	if (wrong != NULL)
		return wrong;
	if (!slice_is(s, "%"))
		return "a share is a percentage, such as 50%";
	wrong = multiply(&number, 10000, &v);
	if (wrong != NULL)
		return wrong;
	if (v > 1000000)
		return "a share is at most 100%";
	*ppm = (uint32_t)v;
	return NULL;
}

const char *value_u32(struct slice s, uint32_t *out)
{
	unsigned digits;
	uint64_t v;

	*out = 0;
	if (s.n > 0 && s.p[0] == '-')
		return negative;
	if (s.n > 1 && s.p[0] == '0' && is_digit(s.p[1]))
		return "a number does not begin with 0, which some take for octal";
	if (!take_digits(&s, &v, &digits) || v > UINT32_MAX)
		return value_too_large;
	if (digits == 0 || s.n != 0)
		return "that is no whole number";
	*out = (uint32_t)v;
	return NULL;
}

const char *value_bool(struct slice s, bool *out)
{
	*out = slice_is(s, "true");
	return *out || slice_is(s, "false") ? NULL : "only true and false are booleans";
}

/*---------------------------------------------------------------- printing */

void value_print_duration(uint64_t ns, char out[32])
{
	size_t n = 0;

	if (ns == 0) {
		snprintf(out, 32, "0s");
		return;
	}
	/* the longest, "213503d23h34m33s709ms551us615ns", is 31 characters */
	for (int i = 0; i < DURATION_UNITS; i++) {
		uint64_t count = ns / duration_units[i].size;

		ns %= duration_units[i].size;
		if (count != 0)
			n += (size_t)snprintf(out + n, 32 - n, "%" PRIu64 "%s", count,
					      duration_units[i].name.p);
	}
}

void value_print_rate(const struct rate *r, char out[VALUE_RATE_MAX])
{
	char period[32];

	if (r->unlimited) {
		snprintf(out, VALUE_RATE_MAX, "unlimited");
		return;
	}
	for (int i = 0; i < DURATION_UNITS; i++) {
		if (r->period_ns == duration_units[i].size) {
			snprintf(out, VALUE_RATE_MAX, "%" PRIu64 "/%s", r->count,
				 duration_units[i].name.p);
			return;
		}
	}
	value_print_duration(r->period_ns, period);
	snprintf(out, VALUE_RATE_MAX, "%" PRIu64 "/%s", r->count, period);
}

void value_print_bytes(uint64_t bytes, char out[32])
{
	for (int i = 0; bytes != 0 && i < BYTE_UNITS - 1; i++) {
		if (bytes % byte_units[i].size == 0) {
			snprintf(out, 32, "%" PRIu64 "%s", bytes / byte_units[i].size,
				 byte_units[i].name.p);
			return;
		}
	}
	snprintf(out, 32, "%" PRIu64, bytes);
}

void value_print_share(uint32_t ppm, char out[16])
{
	unsigned part = ppm % 10000, digits = 4;

	if (part == 0) {
		snprintf(out, 16, "%u%%", ppm / 10000);
		return;
	}
	for (; part % 10 == 0; digits--)
		part /= 10;
	snprintf(out, 16, "%u.%0*u%%", ppm / 10000, (int)digits, part);
}
