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
		     { "\xc2", "\xc2" } };

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_controls_are_not_printed),
		cmocka_unit_test(test_no_rows_no_head),
		cmocka_unit_test(test_columns),
		cmocka_unit_test(test_frames_are_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
