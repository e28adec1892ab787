/* Time as text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/clock.h"

static void check(uint64_t ns, const char *text)
{
	char out[25];

	clock_format(ns, out);
	assert_string_equal(out, text);
}

static void test_format(void **state)
{
	(void)state;
	check(0, "1970-01-01T00:00:00.000Z");
	check(UINT64_C(951782399999999999), "2000-02-28T23:59:59.999Z");
	check(UINT64_C(951782400000000000), "2000-02-29T00:00:00.000Z");
	check(UINT64_C(1769903999123456789), "2026-01-31T23:59:59.123Z");
}

static void test_monotonic(void **state)
{
	uint64_t last = clock_mono_ns();

	(void)state;
	for (int i = 0; i < 1000; i++) {
		uint64_t now = clock_mono_ns();

		assert_true(now >= last);
		last = now;
	}
	assert_true(clock_wall_ns() > UINT64_C(1600000000) * CLOCK_S);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_format),
		cmocka_unit_test(test_monotonic),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
