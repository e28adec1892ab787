/* Buffers that grow, and JSON that nothing breaks. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/buf.h"

static void check_json(const char *in, size_t n, const char *out)
{
	struct buf b = { 0 };

	buf_json_string(&b, slice_of(in, n));
	assert_string_equal(b.p, out);
	buf_fini(&b);
}

static void test_after_a_failure_nothing_happens(void **state)
{
	struct buf b = { .oom = true };

	(void)state;
	buf_puts(&b, "x");
	buf_printf(&b, "%d", 1);
	buf_u64(&b, 1);
	assert_false(buf_reserve(&b, 1));
	assert_int_equal(b.n, 0);
	assert_null(b.p);
	buf_fini(&b);
}

static void test_ill_formed_utf8(void **state)
{
	(void)state;
#define FFFD "\xEF\xBF\xBD"
	check_json("\x80", 1, "\"" FFFD "\"");
	check_json("\xC0\xAF", 2, "\"" FFFD FFFD "\""); /* overlong */
	check_json("\xE0\x80\xAF", 3, "\"" FFFD FFFD FFFD "\"");
	check_json("\xED\xA0\x80", 3, "\"" FFFD FFFD FFFD "\""); /* surrogate */
	check_json("\xF4\x90\x80\x80", 4, "\"" FFFD FFFD FFFD FFFD "\"");
	check_json("\xF5", 1, "\"" FFFD "\"");
	check_json("\xE2\x82", 2, "\"" FFFD FFFD "\""); /* cut short */
	check_json("\xC3(", 2, "\"" FFFD "(\"");
}

static void test_escapes(void **state)
{
	(void)state;
	check_json("", 0, "\"\"");
	check_json("a\"b\\c/d", 7, "\"a\\\"b\\\\c/d\"");
	check_json("\n\r\t\0\x1F\x7F", 6, "\"\\n\\r\\t\\u0000\\u001f\\u007f\"");
	check_json("\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80", 9,
		   "\"\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80\"");
}

static void test_growth(void **state)
{
	struct buf b = { 0 };

	(void)state;
	for (int i = 0; i < 100000; i++)
		buf_putc(&b, (char)('a' + i % 26));
	assert_int_equal(b.n, 100000);
	assert_int_equal(strlen(b.p), 100000);
	for (size_t i = 0; i < b.n; i++)
		assert_int_equal(b.p[i], 'a' + (int)(i % 26));
	buf_fini(&b);
	assert_null(b.p);
}

/* In an arena: what it had to leave behind goes with the arena. */
static void test_growth_in_an_arena(void **state)
{
	struct arena arena;
	struct buf b = { .arena = &arena };
	const char *text;

	(void)state;
	arena_init(&arena, NULL);
	for (int i = 0; i < 10000; i++)
		buf_putc(&b, (char)('a' + i % 26));
	buf_u64(&b, 42);
	text = b.p;
	buf_fini(&b);
	assert_null(b.p);
	assert_int_equal(strlen(text), 10002);
	for (int i = 0; i < 10000; i++)
		assert_int_equal(text[i], 'a' + i % 26);
	assert_string_equal(text + 10000, "42");
	arena_fini(&arena);
}

static void test_a_large_append_at_once(void **state)
{
	static char big[70000];
	struct buf b = { 0 };

	(void)state;
	memset(big, 'x', sizeof(big));
	buf_put(&b, big, sizeof(big));
	buf_put(&b, NULL, 0);
	assert_int_equal(b.n, sizeof(big));
	buf_printf(&b, "%.*s", (int)sizeof(big), big);
	assert_int_equal(b.n, 2 * sizeof(big));
	buf_fini(&b);
}

static void test_numbers(void **state)
{
	struct buf b = { 0 };

	(void)state;
	buf_u64(&b, 0);
	buf_putc(&b, ' ');
	buf_u64(&b, UINT64_MAX);
	assert_string_equal(b.p, "0 18446744073709551615");
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_after_a_failure_nothing_happens),
		cmocka_unit_test(test_ill_formed_utf8),
		cmocka_unit_test(test_escapes),
		cmocka_unit_test(test_growth),
		cmocka_unit_test(test_growth_in_an_arena),
		cmocka_unit_test(test_a_large_append_at_once),
		cmocka_unit_test(test_numbers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
