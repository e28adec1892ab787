/* suggest_value.c - notations of other programs, read generously. */
#include "conf/suggest_value.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/addr.h"
#include "conf/value.h"

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static void skip(struct slice *s, size_t n)
{
	s->p += n;
	s->n -= n;
}

static void skip_spaces(struct slice *s)
{
	while (s->n > 0 && s->p[0] == ' ')
		skip(s, 1);
}

static struct slice take_number(struct slice *s)
{
	size_t n = 0;

	while (n < s->n && (is_digit(s->p[n]) || (n > 0 && s->p[n] == '.')))
		n++;
	skip(s, n);
	return slice_of(s->p - n, n);
}

/* With the spaces around it. */
static struct slice take_word(struct slice *s)
{
	struct slice word;
	size_t n = 0;

	skip_spaces(s);
	while (n < s->n && is_letter(s->p[n]))
		n++;
	word = slice_of(s->p, n);
	skip(s, n);
	skip_spaces(s);
	return word;
}

struct spelling {
	const char *unit;
	const char *others[7]; /* NULL-terminated */
};

static const struct spelling times[] = {
	{ "d", { "d", "day", "days" } },
	{ "h", { "h", "hr", "hrs", "hour", "hours" } },
	{ "m", { "m", "min", "mins", "minute", "minutes" } },
	{ "s", { "s", "sec", "secs", "second", "seconds" } },
	{ "ms", { "ms", "msec", "msecs", "millis", "millisecond", "milliseconds" } },
	{ "us", { "us", "usec", "usecs", "micros", "microsecond", "microseconds" } },
	{ "ns", { "ns", "nsec", "nsecs", "nanos", "nanosecond", "nanoseconds" } },
	{ NULL },
};

/* A million is MiB, as other programs mean it. */
static const struct spelling sizes[] = {
	{ "B", { "b", "byte", "bytes" } },     { "KiB", { "k", "kb", "ki", "kib" } },
	{ "MiB", { "m", "mb", "mi", "mib" } }, { "GiB", { "g", "gb", "gi", "gib" } },
	{ "TiB", { "t", "tb", "ti", "tib" } }, { NULL },
};

static const struct spelling calls[] = {
	{ "calls", { "r", "req", "reqs", "request", "requests", "call", "calls" } },
	{ NULL },
};

static bool is_spelling(const struct spelling *s, struct slice word)
{
	for (size_t i = 0; i < sizeof(s->others) / sizeof(s->others[0]); i++)
		if (s->others[i] != NULL && slice_ieq(word, slice_str(s->others[i])))
			return true;
	return false;
}

static const char *find_unit(const struct spelling *units, struct slice word)
{
	for (; units->unit != NULL; units++)
		if (is_spelling(units, word))
			return units->unit;
	return NULL;
}

/* Appends "10s"; false when the room or the notation ends. */
static bool append(char out[SUGGEST_VALUE_MAX], struct slice number, const char *unit)
{
	size_t n = strlen(out);
	int put;

	if (number.n == 0 || unit == NULL)
		return false;
	put = snprintf(out + n, SUGGEST_VALUE_MAX - n, "%.*s%s", SLICE_FMT(number), unit);
	return put > 0 && (size_t)put < SUGGEST_VALUE_MAX - n;
}

/* A number on its own is meant in `bare`. */
static bool put_duration(struct slice s, const char *bare, char out[SUGGEST_VALUE_MAX])
{
	out[0] = '\0';
	do {
		struct slice number = take_number(&s), word = take_word(&s);
		bool alone = word.n == 0 && s.n == 0 && out[0] == '\0';

		if (!append(out, number, alone ? bare : find_unit(times, word)))
			return false;
	} while (s.n > 0);
	return true;
}

bool suggest_value_duration(struct slice s, char out[SUGGEST_VALUE_MAX])
{
	uint64_t ns;

	return put_duration(s, "s", out) && value_duration(slice_str(out), &ns) == NULL;
}

bool suggest_value_bytes(struct slice s, char out[SUGGEST_VALUE_MAX])
{
	struct slice number = take_number(&s), word = take_word(&s);
	uint64_t bytes;

	out[0] = '\0';
	return s.n == 0 && append(out, number, find_unit(sizes, word)) &&
	       value_bytes(slice_str(out), &bytes) == NULL;
}

/* Takes "/s", " per second", "ps", "/10 sec"; the period as Weir writes it. */
static bool take_period(struct slice s, char out[SUGGEST_VALUE_MAX])
{
	static const struct slice per = SLICE("per");
	const char *unit;

	if (s.n > 0 && s.p[0] == '/')
		skip(&s, 1);
	else if (slice_starts(s, per))
		skip(&s, per.n);
	else if (s.n > 1 && s.p[0] == 'p')
		skip(&s, 1);
	else
		return s.n == 0 && snprintf(out, SUGGEST_VALUE_MAX, "s") > 0;
	skip_spaces(&s);
	unit = find_unit(times, s);
	if (unit != NULL)
		return snprintf(out, SUGGEST_VALUE_MAX, "%s", unit) > 0;
	return put_duration(s, "s", out);
}

/* "0.5", "s" -> "30/m": the shortest period in which it is a whole number. */
static bool put_rate(struct slice number, const char *period, char out[SUGGEST_VALUE_MAX])
{
	static const struct {
		const char *unit;
		uint64_t ns;
	} periods[] = { { "s", UINT64_C(1000000000) },
			{ "m", UINT64_C(60000000000) },
			{ "h", UINT64_C(3600000000000) },
			{ "d", UINT64_C(86400000000000) } };
	char text[SUGGEST_VALUE_MAX] = "";
	uint64_t share, ns;

	if (memchr(number.p, '.', number.n) == NULL)
		return snprintf(out, SUGGEST_VALUE_MAX, "%.*s/%s", SLICE_FMT(number), period) <
		       SUGGEST_VALUE_MAX;
	/* the number of billionths of a call, as the number of ns in so many seconds */
	if (!append(text, number, "s") || value_duration(slice_str(text), &share) != NULL)
		return false;
	snprintf(text, sizeof(text), "%s%.32s", is_digit(period[0]) ? "" : "1", period);
	if (value_duration(slice_str(text), &ns) != NULL || ns == 0)
		return false;
	for (size_t i = 0; i < sizeof(periods) / sizeof(periods[0]); i++) {
		unsigned __int128 n = (unsigned __int128)share * periods[i].ns,
				  one = (unsigned __int128)ns * UINT64_C(1000000000);

		if (n % one == 0 && n / one > 0 && n / one <= UINT64_MAX)
			return snprintf(out, SUGGEST_VALUE_MAX, "%" PRIu64 "/%s",
					(uint64_t)(n / one), periods[i].unit) < SUGGEST_VALUE_MAX;
	}
	return false;
}

bool suggest_value_rate(struct slice s, char out[SUGGEST_VALUE_MAX])
{
	struct slice number = take_number(&s), rest, word;
	char period[SUGGEST_VALUE_MAX];
	struct rate rate;

	skip_spaces(&s);
	rest = s;
	word = take_word(&rest);
	if (is_spelling(&calls[0], word))
		s = rest;
	else if (word.n > 1 && rest.n == 0 && word.p[0] == 'r' && word.p[1] == 'p')
		skip(&s, 1); /* rps, rpm */
	if (number.n == 0 || !take_period(s, period))
		return false;
	return put_rate(number, period, out) && value_rate(slice_str(out), &rate) == NULL;
}

/* "1_000" "+5" "007" "10k" */
bool suggest_value_u32(struct slice s, char out[SUGGEST_VALUE_MAX])
{
	size_t n = 0;
	uint32_t v;

	if (s.n > 1 && s.p[0] == '+')
		skip(&s, 1);
	while (s.n > 1 && s.p[0] == '0' && is_digit(s.p[1]))
		skip(&s, 1);
	for (; s.n > 0 && (is_digit(s.p[0]) || s.p[0] == '_') && n < 16; skip(&s, 1))
		if (s.p[0] != '_')
			out[n++] = s.p[0];
	out[n] = '\0';
	if (n > 0 && s.n == 1 && (s.p[0] | 0x20) == 'k')
		strcpy(out + n, "000");
	else if (n > 0 && s.n == 1 && (s.p[0] | 0x20) == 'm')
		strcpy(out + n, "000000");
	else if (s.n != 0)
		return false;
	return value_u32(slice_str(out), &v) == NULL;
}

static bool is_address(const char *text)
{
	struct addr a;

	return addr_parse(slice_str(text), &a) &&
	       (a.u.sa.sa_family == AF_UNIX || addr_port(&a) != 0);
}

/* "localhost:80" "8080" "/run/x.sock" "http://127.0.0.1:80/" "::1:80" */
bool suggest_value_addr(struct slice s, char out[SUGGEST_VALUE_MAX])
{
	static const struct slice scheme = SLICE("http://"), localhost = SLICE("localhost:");
	const char *colon;

	if (slice_starts(s, scheme))
		skip(&s, scheme.n);
	if (s.n > 1 && s.p[s.n - 1] == '/')
		s.n--;
	colon = s.n == 0 ? NULL : memrchr(s.p, ':', s.n);
	if (s.n == 0 || s.n > SUGGEST_VALUE_MAX - 16)
		return false;
	if (s.p[0] == '/' && s.n > 1)
		snprintf(out, SUGGEST_VALUE_MAX, "unix:%.*s", SLICE_FMT(s));
	else if (slice_starts(s, localhost))
		snprintf(out, SUGGEST_VALUE_MAX, "127.0.0.1:%.*s", (int)(s.n - localhost.n),
			 s.p + localhost.n);
	else if (colon == NULL)
		snprintf(out, SUGGEST_VALUE_MAX, ":%.*s", SLICE_FMT(s));
	else if (s.p[0] != '[' && memchr(s.p, ':', (size_t)(colon - s.p)) != NULL)
		snprintf(out, SUGGEST_VALUE_MAX, "[%.*s]%.*s", (int)(colon - s.p), s.p,
			 (int)(s.n - (size_t)(colon - s.p)), colon);
	else
		snprintf(out, SUGGEST_VALUE_MAX, "%.*s", SLICE_FMT(s));
	return is_address(out);
}
