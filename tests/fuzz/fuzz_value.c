/* fuzz_value.c - durations, rates, sizes and shares: what is accepted prints to something that
 * means the same. */
#include <stdint.h>
#include <string.h>

#include "base/addr.h"
#include "base/check.h"
#include "conf/suggest.h"
#include "conf/suggest_value.h"
#include "conf/utf8.h"
#include "conf/value.h"
#include "conf/yaml_text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_duration(struct slice s)
{
	char text[32];
	uint64_t ns, again;

	if (value_duration(s, &ns) != NULL)
		return;
	value_print_duration(ns, text);
	CHECK(value_duration(slice_str(text), &again) == NULL && again == ns);
}

static void try_rate(struct slice s)
{
	char text[VALUE_RATE_MAX];
	struct rate r, again;

	if (value_rate(s, &r) != NULL)
		return;
	CHECK(r.unlimited || (r.count > 0 && r.period_ns >= r.count));
	value_print_rate(&r, text);
	CHECK(value_rate(slice_str(text), &again) == NULL);
	CHECK(again.unlimited == r.unlimited && again.count == r.count &&
	      again.period_ns == r.period_ns);
}

static void try_bytes(struct slice s)
{
	char text[32];
	uint64_t bytes, again;

	if (value_bytes(s, &bytes) != NULL)
		return;
	value_print_bytes(bytes, text);
	CHECK(value_bytes(slice_str(text), &again) == NULL && again == bytes);
}

static void try_share(struct slice s)
{
	char text[16];
	uint32_t ppm, again;

	if (value_share(s, &ppm) != NULL)
		return;
	CHECK(ppm <= 1000000);
	value_print_share(ppm, text);
	CHECK(value_share(slice_str(text), &again) == NULL && again == ppm);
}

static void try_string(struct slice s)
{
	struct buf out = { 0 };
	uint32_t c;

	yaml_put_string(&out, s);
	for (size_t at = 0, n; at < out.n; at += n) {
		n = utf8_decode(out.p + at, out.n - at, &c);
		CHECK(n > 0 && utf8_is_printable(c) && c != '\n');
	}
	buf_fini(&out);
	suggest_distance(s, slice_str("header_timeout"));
}

/* Whatever is suggested can be read. */
static void try_suggestions(struct slice s)
{
	char text[SUGGEST_VALUE_MAX];
	struct rate rate;
	struct addr addr;
	uint64_t v;
	uint32_t n;

	CHECK(!suggest_value_duration(s, text) || value_duration(slice_str(text), &v) == NULL);
	CHECK(!suggest_value_rate(s, text) || value_rate(slice_str(text), &rate) == NULL);
	CHECK(!suggest_value_bytes(s, text) || value_bytes(slice_str(text), &v) == NULL);
	CHECK(!suggest_value_u32(s, text) || value_u32(slice_str(text), &n) == NULL);
	CHECK(!suggest_value_addr(s, text) || addr_parse(slice_str(text), &addr));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice s = slice_of((const char *)data, size);
	uint32_t n;
	bool b;

	try_duration(s);
	try_rate(s);
	try_bytes(s);
	try_share(s);
	try_string(s);
	try_suggestions(s);
	(void)value_u32(s, &n);
	(void)value_bool(s, &b);
	return 0;
}
