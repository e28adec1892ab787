/* test_value.c - durations, rates, sizes, shares: what is refused, and that what is printed parses
 * back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "conf/value.h"

static struct slice S(const char *s) {
	return slice_str(s);
}

static void
test_bad_durations(void **state)
{
	static const char *const bad[] = { "",
					   "1",
					   "0",
					   "10 s",
					   "s",
					   "1x",
					   "-1s",
					   "+1s",
					   "1.s",
					   ".5s",
					   "1m1h",
					   "1s1s",
					   "1h ",
					   " 1h",
					   "1e3s",
					   "1S",
					   "1.1ns",
					   "1w",
					   "0x1s",
					   "1h30",
					   "1,5s",
					   "∞",
					   "1s\t",
					   "1hs",
					   "99999999999999999999s",
					   "999999999d",
					   "1.1234567890s",
					   "18446744073709551616ns" };
	uint64_t ns;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (value_duration(S(bad[i]), &ns) == NULL)
			fail_msg("`%s` is taken for a duration", bad[i]);
	assert_non_null(strstr(value_duration(S("30"), &ns), "unit"));
}

static void test_durations(void **state)
{
	static const struct {
		const char *text;
		uint64_t ns;
		const char *printed;
	} good[] = {
		{ "0s", 0, "0s" },
		{ "250ms", 250000000, "250ms" },
		{ "2s", 2000000000, "2s" },
		{ "1h30m", UINT64_C(5400000000000), "1h30m" },
		{ "90m", UINT64_C(5400000000000), "1h30m" },
		{ "2d", UINT64_C(172800000000000), "2d" },
		{ "1.5s", 1500000000, "1s500ms" },
		{ "0.25ms", 250000, "250us" },
		{ "1000ms", 1000000000, "1s" },
		{ "1ns", 1, "1ns" },
		{ "0.000000001s", 1, "1ns" },
		{ "18446744073709551615ns", UINT64_MAX, "213503d23h34m33s709ms551us615ns" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		char text[32];
		uint64_t ns;

		assert_null(value_duration(S(good[i].text), &ns));
		assert_true(ns == good[i].ns);
		value_print_duration(ns, text);
		assert_string_equal(text, good[i].printed);
	}
}

static void test_bad_rates(void **state)
{
	static const char *const bad[] = { "",
					   "100",
					   "/s",
					   "100/",
					   "100/x",
					   "0/s",
					   "1/0s",
					   "-1/s",
					   "1.5/s",
					   "1/s/s",
					   "1 /s",
					   "1/ s",
					   "100/10",
					   "1/1",
					   "Unlimited",
					   "unlimited/s",
					   "99999999999999999999/s",
					   "2/ns",
					   "1/99999999999d",
					   "1/-1s",
					   "1//s" };
	struct rate r;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (value_rate(S(bad[i]), &r) == NULL)
			fail_msg("`%s` is taken for a rate", bad[i]);
}

static void test_rates(void **state)
{
	static const struct {
		const char *text, *printed;
		uint64_t count, period_ns;
	} good[] = {
		{ "100/s", "100/s", 100, 1000000000 },
		{ "600/m", "600/m", 600, UINT64_C(60000000000) },
		{ "1/h", "1/h", 1, UINT64_C(3600000000000) },
		{ "1/d", "1/d", 1, UINT64_C(86400000000000) },
		{ "5/10s", "5/10s", 5, UINT64_C(10000000000) },
		{ "5/1m", "5/m", 5, UINT64_C(60000000000) },
		{ "7/1h30m", "7/1h30m", 7, UINT64_C(5400000000000) },
		{ "1/ms", "1/ms", 1, 1000000 },
		{ "1000000000/s", "1000000000/s", 1000000000, 1000000000 },
	};
	struct rate r;
	char text[VALUE_RATE_MAX];

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_null(value_rate(S(good[i].text), &r));
		assert_true(r.count == good[i].count && r.period_ns == good[i].period_ns);
		assert_false(r.unlimited);
		value_print_rate(&r, text);
		assert_string_equal(text, good[i].printed);
	}
	assert_null(value_rate(S("unlimited"), &r));
	assert_true(r.unlimited);
	value_print_rate(&r, text);
	assert_string_equal(text, "unlimited");
}

static void test_bytes(void **state)
{
	static const char *const bad[] = { "",      "KiB",  "1KB",         "1k",    "-1",
					   "1 KiB", "1.1B", "99999999TiB", "1KiBs", "1e3" };
	static const struct {
		const char *text, *printed;
		uint64_t bytes;
	} good[] = { { "0", "0", 0 },
		     { "512", "512", 512 },
		     { "512B", "512", 512 },
		     { "64KiB", "64KiB", 65536 },
		     { "1024KiB", "1MiB", 1048576 },
		     { "1.5KiB", "1536", 1536 },
		     { "2GiB", "2GiB", UINT64_C(2) << 30 },
		     { "3TiB", "3TiB", UINT64_C(3) << 40 } };
	uint64_t bytes;
	char text[32];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_non_null(value_bytes(S(bad[i]), &bytes));
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_null(value_bytes(S(good[i].text), &bytes));
		assert_true(bytes == good[i].bytes);
		value_print_bytes(bytes, text);
		if (good[i].bytes != 1536)
			assert_string_equal(text, good[i].printed);
	}
}

static void test_shares(void **state)
{
	static const char *const bad[] = {
		"", "50", "%", "101%", "-1%", "0.00001%", "50 %", "50%%"
	};
	static const struct {
		const char *text;
		uint32_t ppm;
	} good[] = { { "0%", 0 },         { "50%", 500000 }, { "0.5%", 5000 },
		     { "100%", 1000000 }, { "0.0001%", 1 },  { "12.25%", 122500 } };
	uint32_t ppm;
	char text[16];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_non_null(value_share(S(bad[i]), &ppm));
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_null(value_share(S(good[i].text), &ppm));
		assert_int_equal(ppm, good[i].ppm);
		value_print_share(ppm, text);
		assert_string_equal(text, good[i].text);
	}
}

static void test_numbers_and_booleans(void **state)
{
	static const char *const bad[] = { "",           "-1", "+1",  "1.0",  "0x1",
					   "4294967296", "1 ", "one", "1_000" };
	static const char *const not_bool[] = { "",     "yes",  "no", "on", "off",
						"True", "TRUE", "1",  "t",  "true " };
	uint32_t n;
	bool b;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_non_null(value_u32(S(bad[i]), &n));
	assert_null(value_u32(S("4294967295"), &n));
	assert_true(n == UINT32_MAX);
	for (size_t i = 0; i < sizeof(not_bool) / sizeof(not_bool[0]); i++)
		assert_non_null(value_bool(S(not_bool[i]), &b));
	assert_null(value_bool(S("true"), &b));
	assert_true(b);
	assert_null(value_bool(S("false"), &b));
	assert_false(b);
}

/* Whatever number: what is printed parses back to it. */
static void test_printing_is_exact(void **state)
{
	uint64_t x = 88172645463325252;

	(void)state;
	for (int i = 0; i < 20000; i++) {
		char text[VALUE_RATE_MAX];
		uint64_t v, back;
		uint32_t ppm;
		struct rate r, again;

		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		v = x >> (i % 64);
		value_print_duration(v, text);
		assert_null(value_duration(S(text), &back));
		assert_true(back == v);
		value_print_bytes(v, text);
		assert_null(value_bytes(S(text), &back));
		assert_true(back == v);
		value_print_share((uint32_t)(v % 1000001), text);
		assert_null(value_share(S(text), &ppm));
		assert_true(ppm == v % 1000001);
		if (v < 2)
			continue;
		r = (struct rate){ .count = 1 + x % (v - 1), .period_ns = v };
		value_print_rate(&r, text);
		assert_null(value_rate(S(text), &again));
		assert_true(again.count == r.count && again.period_ns == r.period_ns);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_durations),
		cmocka_unit_test(test_durations),
		cmocka_unit_test(test_bad_rates),
		cmocka_unit_test(test_rates),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_shares),
		cmocka_unit_test(test_numbers_and_booleans),
		cmocka_unit_test(test_printing_is_exact),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
