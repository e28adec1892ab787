/* Slices: empty ones are everywhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/slice.h"

static const struct slice nothing = { 0 };

static void test_nothing(void **state)
{
	struct slice rest = nothing;

	(void)state;
	assert_true(slice_eq(nothing, nothing));
	assert_true(slice_eq(nothing, slice_str("")));
	assert_true(slice_ieq(nothing, slice_str(NULL)));
	assert_true(slice_is(nothing, ""));
	assert_true(slice_starts(nothing, nothing));
	assert_false(slice_starts(nothing, slice_str("a")));
	assert_int_equal(slice_trim(nothing).n, 0);
	assert_int_equal(slice_cut(&rest, ',').n, 0);
	assert_null(rest.p);
}

static void test_comparison(void **state)
{
	struct slice lit = SLICE("Weir");

	(void)state;
	assert_true(slice_is(lit, "Weir"));
	assert_false(slice_is(lit, "weir"));
	assert_true(slice_ieq(lit, slice_str("wEIR")));
	assert_false(slice_ieq(lit, slice_str("wEI")));
	assert_true(slice_starts(lit, slice_str("We")));
	assert_true(slice_starts(lit, nothing));
	assert_false(slice_starts(slice_str("We"), lit));
	assert_false(slice_eq(slice_of("a\0b", 3), slice_of("a\0c", 3)));
}

static void test_trim(void **state)
{
	(void)state;
	assert_true(slice_is(slice_trim(slice_str(" \t a b\t ")), "a b"));
	assert_int_equal(slice_trim(slice_str(" \t ")).n, 0);
	assert_true(slice_is(slice_trim(slice_str("\na\n")), "\na\n")); /* only blanks and tabs */
}

static void test_cut(void **state)
{
	struct slice rest = slice_str("a,,b,");

	(void)state;
	assert_true(slice_is(slice_cut(&rest, ','), "a"));
	assert_true(slice_is(slice_cut(&rest, ','), ""));
	assert_true(slice_is(slice_cut(&rest, ','), "b"));
	assert_non_null(rest.p); /* a last, empty piece is left */
	assert_true(slice_is(slice_cut(&rest, ','), ""));
	assert_null(rest.p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nothing),
		cmocka_unit_test(test_comparison),
		cmocka_unit_test(test_trim),
		cmocka_unit_test(test_cut),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
