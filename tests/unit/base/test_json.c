/* The JSON of the admin listener: what is none, and what it says. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/json.h"

static const struct json *read_text(const char *text, size_t n, struct arena *arena,
				    const char **wrong)
{
	/* of its own size, so that a byte too many is seen */
	char *copy = malloc(n + (n == 0));
	const struct json *v;

	memcpy(copy, text, n);
	*wrong = NULL;
	v = json_read(slice_of(copy, n), arena, wrong);
	assert_true((v == NULL) == (*wrong != NULL));
	if (v == NULL || v->kind != JSON_WORD)
		free(copy);
	return v;
}

static void test_what_is_no_json(void **state)
{
	static const char *const bad[] = {
		"",
		" ",
		"{",
		"}",
		"[",
		"[1",
		"[1,]",
		"[,1]",
		"{\"a\"}",
		"{\"a\":}",
		"{\"a\":1,}",
		"{a:1}",
		"{'a':1}",
		"{\"a\":1 \"b\":2}",
		"{\"a\":1}x",
		"1 2",
		"\"",
		"\"a",
		"\"\\\"",
		"\"\\q\"",
		"\"\\u12\"",
		"\"\\u0000\"",
		"\"\\ud800\"",
		"\"\\ud800\\u0041\"",
		"\"\\udc00\"",
		"\"\x01\"",
		"\"a\nb\"",
		"tru",
		"True",
		"nul",
		"01",
		"-",
		"+1",
		"1.",
		".5",
		"1e",
		"1e+",
		"--1",
		"0x1",
		"{\"a\":1,\"a\":2}",
		"[[[[[[[[[]]]]]]]]]",
		"NaN",
		"&a 1",
		"a: b",
		"# x\n1",
		"\"\\",
		"\"\\u",
	};
	struct arena arena;
	const char *wrong;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		arena_init(&arena, NULL);
		if (read_text(bad[i], strlen(bad[i]), &arena, &wrong) != NULL)
			fail_msg("taken for JSON: %s", bad[i]);
		arena_fini(&arena);
	}
}

static void test_bounds(void **state)
{
	size_t n = 2 * (JSON_VALUES_MAX + 1);
	char *text = malloc(n + 1);
	struct arena arena;
	const char *wrong;

	(void)state;
	arena_init(&arena, NULL);
	for (size_t i = 0; i < n; i += 2)
		memcpy(text + i, "1,", 2);
	text[0] = '[';
	text[1] = '1';
	text[n - 1] = ']';
	assert_null(json_read(slice_of(text, n), &arena, &wrong));
	arena_fini(&arena);
	free(text);
}

static void test_words(void **state)
{
	static const char *const good[] = { "true", "false", "null", "0",    "-0",
					    "12",   "1.5",   "1e9",  "1E-9", "-3.25e+2" };
	struct arena arena;
	const char *wrong;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		const struct json *v;

		arena_init(&arena, NULL);
		v = json_read(slice_str(good[i]), &arena, &wrong);
		assert_non_null(v);
		assert_int_equal(v->kind, JSON_WORD);
		assert_true(slice_is(v->text, good[i]));
		arena_fini(&arena);
	}
}

static void test_strings(void **state)
{
	static const char *const rows[][2] = {
		{ "\"\"", "" },
		{ " \"a b\" ", "a b" },
		{ "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"", "\"\\/\b\f\n\r\t" },
		{ "\"\\u0041\\u00e9\\u20ac\\ud83d\\ude00\"",
		  "A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80" },
		{ "\"${file:/etc/passwd}\"", "${file:/etc/passwd}" },
	};
	struct arena arena;
	const char *wrong;

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const struct json *v;

		arena_init(&arena, NULL);
		v = read_text(rows[i][0], strlen(rows[i][0]), &arena, &wrong);
		assert_non_null(v);
		assert_true(slice_is(v->text, rows[i][1]));
		arena_fini(&arena);
	}
}

static void test_members(void **state)
{
	static const char text[] = " { \"a\" : [ \"x\", [ ], { } ] , \"b\":{\"c\":\"d\"} } ";
	struct arena arena;
	const char *wrong;
	const struct json *v;

	(void)state;
	arena_init(&arena, NULL);
	v = read_text(text, strlen(text), &arena, &wrong);
	assert_non_null(v);
	assert_int_equal(v->kind, JSON_OBJECT);
	assert_true(slice_is(json_get(v, "a")->first->text, "x"));
	assert_int_equal(json_get(v, "a")->first->next->kind, JSON_LIST);
	assert_int_equal(json_get(v, "a")->first->next->next->kind, JSON_OBJECT);
	assert_true(slice_is(json_get(json_get(v, "b"), "c")->text, "d"));
	assert_null(json_get(v, "c"));
	arena_fini(&arena);
}

/* Every prefix of something valid is no JSON, and is read within its bounds. */
static void test_prefixes(void **state)
{
	static const char text[] = "{\"a\":[\"\\ud83d\\ude00\\n\",{\"b\":\"c\"}],\"d\":\"e\"}";
	struct arena arena;
	const char *wrong;

	(void)state;
	for (size_t n = 0; n + 1 < sizeof(text); n++) {
		arena_init(&arena, NULL);
		assert_null(read_text(text, n, &arena, &wrong));
		arena_fini(&arena);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_no_json), cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_words),           cmocka_unit_test(test_strings),
		cmocka_unit_test(test_members),         cmocka_unit_test(test_prefixes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
