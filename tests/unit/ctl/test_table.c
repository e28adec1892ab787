/* Columns, and what terminals get to see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "ctl/table.h"
#include "ctl/term.h"

static const char *text(struct buf *b)
{
	buf_putc(b, '\0');
	assert_false(b->oom);
	return b->p;
}

static void test_controls_are_not_printed(void **state)
{
	static const struct {
		const char *in, *out;
	} rows[] = { { "\033[2Jx\r\n", "?[2Jx??" },
		     { "\xc2\x9b"
		       "2J",
		       "?2J" },
		     { "\x7f\x01", "??" },
		     { "gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f" },
		     { "\xc2\xa7", "\xc2\xa7" },
		     { "\xc2", "?" },
		     { "a\x9b"
		       "2J\xff",
		       "a?2J?" }, /* an 8-bit terminal's CSI */
		     { "\xe2\x80\xae"
		       "gpj.exe",
		       "?gpj.exe" }, /* read from right to left */
		     { "\xe2\x80\xa8\xef\xbb\xbf", "??" },
		     { "\xe2\x82\xac \xf0\x9f\x98\x80", "\xe2\x82\xac \xf0\x9f\x98\x80" } };

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct buf b = { 0 };

		put_plain(&b, slice_str(rows[i].in));
		assert_string_equal(text(&b), rows[i].out);
		buf_fini(&b);
	}
}

static void test_no_rows_no_head(void **state)
{
	struct buf b = { 0 };
	struct table t;

	(void)state;
	table_begin(&t, "A >B", false);
	table_end(&t, &b);
	assert_string_equal(text(&b), "");
	buf_fini(&b);
}

static void test_columns(void **state)
{
	struct buf b = { 0 };
	struct table t;

	(void)state;
	table_begin(&t, "NAME >N LAST", false);
	table_cell(&t, slice_str("a\xc3\xbc"
				 "b"));
	table_printf(&t, "%d", 5);
	table_cell(&t, slice_str("x"));
	table_cell(&t, slice_str("longer"));
	table_printf(&t, "%d", 1234);
	table_cell(&t, slice_str("y"));
	table_end(&t, &b);
	assert_string_equal(text(&b), "NAME       N  LAST\n"
				      "a\xc3\xbc"
				      "b        5  x\n"
				      "longer  1234  y\n");
	buf_fini(&b);
}

static void test_frames_are_cut(void **state)
{
	struct buf b = { 0 };

	(void)state;
	term_frame(2, 4,
		   slice_str("\033[1mabcdef\033[0m\n\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbcx\nthird\n"),
		   &b);
	assert_string_equal(text(&b), "\033[H\033[1mabcd\033[0m\033[K\r\n"
				      "\xc3\xbc\xc3\xbc\xc3\xbc\xc3\xbc\033[0m\033[K\033[J");
	buf_fini(&b);
}

/* Some take two columns, some none. */
static void test_wide_characters(void **state)
{
	struct buf b = { 0 };

	(void)state;
	assert_int_equal(width_of(slice_str("\xe6\xbc\xa2\xe5\xad\x97x")), 5);
	assert_int_equal(width_of(slice_str("\xf0\x9f\x98\x80")), 2);
	assert_int_equal(width_of(slice_str("e\xcc\x81")), 1);
	assert_int_equal(width_of(slice_str("\xff\xfe")), 2);
	term_frame(2, 3, slice_str("\xe6\xbc\xa2\xe5\xad\x97\nabcd\n"), &b);
	assert_string_equal(text(&b), "\033[H\xe6\xbc\xa2\033[0m\033[K\r\n"
				      "abc\033[0m\033[K\033[J");
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_controls_are_not_printed),
		cmocka_unit_test(test_no_rows_no_head),
		cmocka_unit_test(test_columns),
		cmocka_unit_test(test_frames_are_cut),
		cmocka_unit_test(test_wide_characters),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
