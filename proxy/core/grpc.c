/* grpc.c - see grpc.h. */
#include "core/grpc.h"

#include "base/buf.h"
#include "base/clock.h"
#include "http/scan.h"

static const struct slice timeout_name = SLICE("grpc-timeout"), status_name = SLICE("grpc-status"),
			  pushback_name = SLICE("grpc-retry-pushback-ms");

bool grpc_is_call(const struct head *h)
{
	static const struct slice type = SLICE("application/grpc");
	const struct header *f;

	if (!h->h2 || h->method_id != METHOD_POST)
		return false;
	f = head_find(h, F_CONTENT_TYPE);
	if (f == NULL || f->value.n < type.n || !slice_ieq(slice_of(f->value.p, type.n), type))
		return false;
	/* application/grpc-web is another protocol */
	return f->value.n == type.n || f->value.p[type.n] == '+' || f->value.p[type.n] == ';';
}

/*---------------------------------------- deadlines */

enum { DIGITS_MAX = 8, TIMEOUT_BYTES = DIGITS_MAX + 1 };

/* In descending order. */
static const struct {
	uint64_t ns;
	char name;
} units[] = {
	{ 3600 * CLOCK_S, 'H' }, { 60 * CLOCK_S, 'M' }, { CLOCK_S, 'S' },
	{ CLOCK_MS, 'm' },       { 1000, 'u' },         { 1, 'n' },
};

enum { UNITS = sizeof(units) / sizeof(units[0]) };

static bool parse_timeout(struct slice s, uint64_t *ns)
{
	uint64_t n = 0;

	if (s.n < 2 || s.n > TIMEOUT_BYTES)
		return false;
	for (size_t i = 0; i + 1 < s.n; i++) {
		if (!char_is(s.p[i], CH_DIGIT))
			return false;
		n = n * 10 + (uint64_t)(s.p[i] - '0');
	}
	for (unsigned i = 0; i < UNITS; i++) {
		if (units[i].name != s.p[s.n - 1])
			continue;
		/* half of all time there is: no sum with it overflows */
		*ns = n > UINT64_MAX / 2 / units[i].ns ? UINT64_MAX : n * units[i].ns;
		return true;
	}
	return false;
}

bool grpc_timeout(const struct head *h, uint64_t *ns)
{
	const struct header *f = head_find_name(h, timeout_name);

	*ns = UINT64_MAX;
	return f == NULL || parse_timeout(f->value, ns);
}

bool grpc_set_timeout(struct head *h, uint64_t ns)
{
	const uint64_t most = 99999999;
	char *text = arena_alloc(h->arena, TIMEOUT_BYTES), *end = text + TIMEOUT_BYTES, *p = end;
	unsigned i = UNITS - 1;
	uint64_t n;

	if (text == NULL)
		return false;
	while (i > 0 && ns / units[i].ns > most)
		i--;
	n = ns / units[i].ns;
	n = n < most ? n : most;
	*--p = units[i].name;
	do {
		*--p = (char)('0' + n % 10);
		n /= 10;
	} while (n > 0);
	return head_set_name(h, timeout_name, slice_of(p, (size_t)(end - p)));
}

/*---------------------------------------- answers */

uint8_t grpc_code(const struct head *h)
{
	const struct header *f = head_find_name(h, status_name);
	unsigned code = 0;

	if (f == NULL)
		return GRPC_NONE;
	if (f->value.n == 0 || f->value.n > 2)
		return GRPC_UNKNOWN;
	for (size_t i = 0; i < f->value.n; i++) {
		if (!char_is(f->value.p[i], CH_DIGIT))
			return GRPC_UNKNOWN;
		code = code * 10 + (unsigned)(f->value.p[i] - '0');
	}
	return code < GRPC_CODES ? (uint8_t)code : GRPC_UNKNOWN;
}

uint16_t grpc_judge(uint16_t status, uint8_t code)
{
	static const uint16_t as[GRPC_CODES] = {
		[GRPC_UNKNOWN] = 500,
		[GRPC_DEADLINE_EXCEEDED] = 504,
		[GRPC_RESOURCE_EXHAUSTED] = 429,
		[GRPC_INTERNAL] = 500,
		[GRPC_UNAVAILABLE] = 503,
		[GRPC_DATA_LOSS] = 500,
	};

	return code < GRPC_CODES && as[code] != 0 ? as[code] : status;
}

enum grpc_pushback grpc_pushback(const struct head *h, uint64_t *ms)
{
	const struct header *f = head_find_name(h, pushback_name);

	if (f == NULL)
		return PUSHBACK_NONE;
	*ms = 0;
	if (f->value.n == 0 || f->value.n > 9)
		return PUSHBACK_NEVER;
	for (size_t i = 0; i < f->value.n; i++) {
		if (!char_is(f->value.p[i], CH_DIGIT))
			return PUSHBACK_NEVER;
		*ms = *ms * 10 + (uint64_t)(f->value.p[i] - '0');
	}
	return PUSHBACK_MS;
}

/*---------------------------------------- refusals */

/* http-grpc-status-mapping.md of grpc/grpc, but for what Weir knows better. */
enum grpc_code grpc_refusal(uint16_t status, bool limited)
{
	static const struct {
		uint16_t status;
		uint8_t code;
	} rows[] = {
		{ 400, GRPC_INTERNAL },           { 401, GRPC_UNAUTHENTICATED },
		{ 403, GRPC_PERMISSION_DENIED },  { 404, GRPC_UNIMPLEMENTED },
		{ 405, GRPC_UNIMPLEMENTED },      { 408, GRPC_DEADLINE_EXCEEDED },
		{ 413, GRPC_RESOURCE_EXHAUSTED }, { 414, GRPC_RESOURCE_EXHAUSTED },
		{ 429, GRPC_RESOURCE_EXHAUSTED }, { 431, GRPC_RESOURCE_EXHAUSTED },
		{ 500, GRPC_INTERNAL },           { 501, GRPC_UNIMPLEMENTED },
		{ 502, GRPC_UNAVAILABLE },        { 503, GRPC_UNAVAILABLE },
		{ 504, GRPC_DEADLINE_EXCEEDED },  { 505, GRPC_INTERNAL },
	};

	if (limited)
		return GRPC_RESOURCE_EXHAUSTED;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		if (rows[i].status == status)
			return (enum grpc_code)rows[i].code;
	return GRPC_UNKNOWN;
}

void grpc_put_message(struct buf *b, struct slice s)
{
	static const char hex[] = "0123456789ABCDEF";

	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = (uint8_t)s.p[i];
		char text[3] = { '%', hex[c >> 4], hex[c & 15] };

		if (c >= 0x20 && c <= 0x7e && c != '%')
			buf_put(b, s.p + i, 1);
		else
			buf_put(b, text, 3);
	}
}
