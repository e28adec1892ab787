/* traceparent: what is one, what is none (W3C Trace Context, sections 3.2.2 and 4), and which are recorded. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "core/trace.h"

#define ID     "0af7651916cd43dd8448eb211c80319c"
#define PARENT "b7ad6b7169203331"

static const char *const bad[] = {
	"",
	"00",
	"00-" ID "-" PARENT,
	"00-" ID "-" PARENT "-0",
	"00-" ID "-" PARENT "-01-",
	"00-" ID "-" PARENT "-011",
	"00-" ID "-" PARENT "-01-more",
	"ff-" ID "-" PARENT "-01",
	"FF-" ID "-" PARENT "-01",
	".0-" ID "-" PARENT "-01",
	"0-" ID "-" PARENT "-01",
	"00-00000000000000000000000000000000-" PARENT "-01",
	"00-" ID "-0000000000000000-01",
	"00-0AF7651916CD43DD8448EB211C80319C-" PARENT "-01",
	"00-" ID "-B7AD6B7169203331-01",
	"00-.af7651916cd43dd8448eb211c80319c-" PARENT "-01",
	"00-" ID "_" PARENT "-01",
	"00_" ID "-" PARENT "-01",
	"00-" ID "-" PARENT "_01",
	"00-" ID "-" PARENT "-0G",
	"01-" ID "-" PARENT "-01.what",
	" 00-" ID "-" PARENT "-01",
};

static void test_bad(void **state)
{
	struct traceparent t;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (traceparent_parse(slice_str(bad[i]), &t))
			fail_msg("taken: %s", bad[i]);
}

static const struct {
	const char *text;
	uint8_t flags;
} good[] = {
	{ "00-" ID "-" PARENT "-00", 0 },   { "00-" ID "-" PARENT "-01", 1 },
	{ "00-" ID "-" PARENT "-ff", 255 }, { "00-" ID "-" PARENT "-0a", 10 },
	{ "01-" ID "-" PARENT "-01", 1 },   { "cc-" ID "-" PARENT "-01-what-comes", 1 },
	{ "fe-" ID "-" PARENT "-02-", 2 },
};

static void test_good(void **state)
{
	struct traceparent t;

	(void)state;
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		if (!traceparent_parse(slice_str(good[i].text), &t))
			fail_msg("not taken: %s", good[i].text);
		assert_true(slice_is(t.trace_id, ID));
		assert_true(slice_is(t.parent_id, PARENT));
		assert_int_equal(t.flags, good[i].flags);
	}
}

static void test_written(void **state)
{
	char text[TRACEPARENT_BYTES];

	(void)state;
	traceparent_write(text, ID, UINT64_C(0x00000000000000ab), 3);
	assert_memory_equal(text, "00-" ID "-00000000000000ab-03", sizeof(text));
}

/* By the last 56 bits: what one who records a tenth has recorded, one who records a half has, too. */
static void test_chosen(void **state)
{
	const uint64_t top = UINT64_C(0x00ffffffffffffff), half = UINT64_C(1) << 55;

	(void)state;
	assert_false(traceparent_is_chosen(0, top));
	assert_true(traceparent_is_chosen(1000000, 0));
	assert_true(traceparent_is_chosen(500000, half));
	assert_false(traceparent_is_chosen(500000, half / 2));
	assert_true(traceparent_is_chosen(1, top));
	assert_false(traceparent_is_chosen(1, top - top / 100000));
	assert_false(
	    traceparent_is_chosen(999999, UINT64_C(0xff) << 56)); /* the rest takes no part */
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad),
		cmocka_unit_test(test_good),
		cmocka_unit_test(test_written),
		cmocka_unit_test(test_chosen),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
