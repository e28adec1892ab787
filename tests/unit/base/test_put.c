/* Text written by hand: the same as printf's, and no byte more. */
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/put.h"

enum { ROOM = 128, UNTOUCHED = '#' };

/* What was put at `out` up to `end` is `text`, and nothing lies behind it. */
static void check(const char *out, const char *end, const char *text, size_t n)
{
	assert_int_equal(end - out, n);
	assert_memory_equal(out, text, n);
	for (size_t i = n; i < ROOM; i++)
		assert_int_equal(out[i], UNTOUCHED);
}

static void check_u64(uint64_t v)
{
	char out[ROOM], text[32];
	int n = snprintf(text, sizeof(text), "%" PRIu64, v);

	memset(out, UNTOUCHED, sizeof(out));
	check(out, put_u64(out, v), text, (size_t)n);
	assert_true(n <= PUT_U64_MAX);
}

static void test_numbers(void **state)
{
	uint64_t power = 1;

	(void)state;
	check_u64(0);
	check_u64(UINT64_MAX);
	for (int i = 0; i < 20; i++, power *= 10) {
		check_u64(power - 1);
		check_u64(power);
		check_u64(power + 1);
	}
	for (uint64_t v = 0; v < 2000; v++)
		check_u64(v * v * v * 7919);
}

static void check_decimals(uint64_t v, unsigned digits, const char *text)
{
	char out[ROOM];

	memset(out, UNTOUCHED, sizeof(out));
	check(out, put_decimals(out, v, digits), text, digits);
}

static void test_decimals(void **state)
{
	(void)state;
	check_decimals(0, 3, "000");
	check_decimals(7, 3, "007");
	check_decimals(999, 3, "999");
	check_decimals(1234, 3, "234");
	check_decimals(5, 0, "");
}

/* Of every length: short ones go in pieces that overlap. */
static void test_slices(void **state)
{
	char text[80];

	(void)state;
	for (size_t i = 0; i < sizeof(text); i++)
		text[i] = (char)(' ' + i);
	for (size_t n = 0; n <= sizeof(text); n++) {
		char *exact = malloc(n + 1), out[ROOM]; /* a sanitizer sees one byte too many */

		assert_non_null(exact);
		memcpy(exact + 1, text, n);
		memset(out, UNTOUCHED, sizeof(out));
		check(out, put_slice(out, slice_of(exact + 1, n)), text, n);
		memset(out, UNTOUCHED, sizeof(out));
		check(out, put_text(out, exact + 1, n), text, n);
		free(exact);
	}
}

static void test_literals(void **state)
{
	char out[ROOM], *at;

	(void)state;
	memset(out, UNTOUCHED, sizeof(out));
	at = PUT_LIT(out, "r=");
	at = put_u64(at, 12);
	at = PUT_LIT(at, "");
	at = put_slice(at, slice_of(NULL, 0));
	at = PUT_LIT(at, ";t=");
	check(out, put_u64(at, 0), "r=12;t=0", 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_decimals),
		cmocka_unit_test(test_slices),
		cmocka_unit_test(test_literals),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
