/* Collectors: where they are, and what they say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/collector.h"

static void test_bad_places(void **state)
{
	static const char *const bad[] = {
		"",
		"localhost:4318",
		"http://",
		"http:///x",
		"ftp://h/",
		"http://h:0/x",
		"http://h:70000",
		"http://u:p@h/",
		"http://unix:/x",
		"http://h/a b",
		"http://h/a#b",
		"https://*:1/",
		"http://[::1",
		"http://h\xff/",
	};
	struct collector_place place;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (collector_place_parse(slice_str(bad[i]), &place) == NULL)
			fail_msg("taken: %s", bad[i]);
}

static void test_places(void **state)
{
	static const struct {
		const char *url, *authority, *path;
		bool tls;
	} good[] = {
		{ "http://127.0.0.1:4318/v1/traces", "127.0.0.1:4318", "/v1/traces", false },
		{ "http://otel:4318", "otel:4318", "/v1/traces", false },
		{ "http://otel:4318/", "otel:4318", "/v1/traces", false },
		{ "https://api.example.com/otlp?key=1", "api.example.com:443", "/otlp?key=1",
		  true },
		{ "http://[::1]:9/x", "[::1]:9", "/x", false },
	};
	struct collector_place place;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		assert_null(collector_place_parse(slice_str(good[i].url), &place));
		assert_string_equal(place.address.text + place.address.authority,
				    good[i].authority);
		assert_string_equal(place.path, good[i].path);
		assert_int_equal(place.address.tls, good[i].tls);
	}
}

static void expect_answer(const char *body, uint64_t rejected, const char *why)
{
	struct collector_answer a = { .status = 200 };

	collector_read(slice_str(body), &a);
	assert_int_equal(a.rejected, rejected);
	assert_string_equal(a.why, why);
}

static void test_answers(void **state)
{
	(void)state;
	expect_answer("", 0, "");
	expect_answer("{", 0, "");
	expect_answer("[]", 0, "");
	expect_answer("{}", 0, "");
	expect_answer("{\"partialSuccess\":{}}", 0, "");
	expect_answer("{\"partialSuccess\":[1]}", 0, "");
	expect_answer("{\"partialSuccess\":{\"rejectedSpans\":\"-1\"}}", 0, "");
	expect_answer("{\"partialSuccess\":{\"rejectedSpans\":{}}}", 0, "");
	expect_answer("{\"partialSuccess\":{\"rejectedSpans\":\"3\"}}", 3, "it rejects spans");
	expect_answer("{\"partialSuccess\":{\"rejectedSpans\":3,\"errorMessage\":\"no\\nmore\"}}",
		      3, "it says: no more");
	expect_answer("{\"partialSuccess\":{\"errorMessage\":\"a warning\"}}", 0,
		      "it says: a warning");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_places),
		cmocka_unit_test(test_places),
		cmocka_unit_test(test_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
