/* traceparent.c - see traceparent.h. */
#include "core/traceparent.h"

#include "base/put.h"

#define ID_END_BITS 56

static const char digits[] = "0123456789abcdef";

static bool is_hex(const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!((p[i] >= '0' && p[i] <= '9') || (p[i] >= 'a' && p[i] <= 'f')))
			return false;
	return true;
}

static bool is_id(const char *p, size_t n)
{
	static const char zeros[] = "00000000000000000000000000000000";

	return is_hex(p, n) && memcmp(p, zeros, n) != 0;
}

static unsigned hex(char c)
{
	return (unsigned)(c <= '9' ? c - '0' : c - 'a' + 10);
}

/* Version 00 is 55 bytes; a later one may go on behind a dash (section 3.2.2); ff is none. */
bool traceparent_parse(struct slice s, struct traceparent *out)
{
	const char *p = s.p;

	if (s.n < TRACEPARENT_BYTES || !is_hex(p, 2) || memcmp(p, "ff", 2) == 0)
		return false;
	if (s.n > TRACEPARENT_BYTES && (memcmp(p, "00", 2) == 0 || p[TRACEPARENT_BYTES] != '-'))
		return false;
	if (p[2] != '-' || !is_id(p + TRACE_ID_AT, TRACE_ID_BYTES) || p[PARENT_ID_AT - 1] != '-' ||
	    !is_id(p + PARENT_ID_AT, SPAN_ID_BYTES) || p[TRACE_FLAGS_AT - 1] != '-' ||
	    !is_hex(p + TRACE_FLAGS_AT, 2))
		return false;
	*out = (struct traceparent){
		.trace_id = slice_of(p + TRACE_ID_AT, TRACE_ID_BYTES),
		.parent_id = slice_of(p + PARENT_ID_AT, SPAN_ID_BYTES),
		.flags = (uint8_t)(hex(p[TRACE_FLAGS_AT]) * 16 + hex(p[TRACE_FLAGS_AT + 1])),
	};
	return true;
}

void traceparent_write(char out[TRACEPARENT_BYTES], const char trace_id[TRACE_ID_BYTES],
		       uint64_t span_id, uint8_t flags)
{
	char *at = PUT_LIT(out, "00-");

	at = PUT_LIT(put_text(at, trace_id, TRACE_ID_BYTES), "-");
	at = PUT_LIT(put_hex64(at, span_id), "-");
	*at++ = digits[flags >> 4];
	*at = digits[flags & 15];
}

bool traceparent_is_chosen(uint32_t ratio_ppm, uint64_t id_end)
{
	const uint64_t all = 1000000, step = (UINT64_C(1) << ID_END_BITS) / all;

	return ratio_ppm > 0 &&
	       (id_end & ((UINT64_C(1) << ID_END_BITS) - 1)) >= (all - ratio_ppm) * step;
}
