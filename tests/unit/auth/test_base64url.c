/* base64url: one spelling of everything. */
#include "forge.h"

#include "auth/base64url.h"

static bool decodes(const char *text, const char *to)
{
	uint8_t out[64];
	size_t n = base64url_bytes(strlen(text));

	return base64url_decode(slice_str(text), out) && n == strlen(to) && memcmp(out, to, n) == 0;
}

static void test_bad(void **state)
{
	static const char *const bad[] = { "A",
					   "AAAAA",
					   "Zg==",
					   "Zm8=",
					   "Zh",
					   "Zm9",
					   "Zm+v",
					   "Zm/v",
					   "Zm9v ",
					   " Zm9v",
					   "Zm9v\n",
					   "Zg.",
					   "\xc3\xa9\xc3\xa9" };
	uint8_t out[64];

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (base64url_decode(slice_str(bad[i]), out))
			fail_msg("%s", bad[i]);
	assert_false(base64url_decode(slice_of("Zm9\0", 4), out));
}

static void test_good(void **state)
{
	(void)state;
	assert_true(decodes("", ""));
	assert_true(decodes("Zg", "f"));
	assert_true(decodes("Zm8", "fo"));
	assert_true(decodes("Zm9v", "foo"));
	assert_true(decodes("Zm9vYmFy", "foobar"));
	assert_true(decodes("-_-_", "\xfb\xff\xbf"));
}

static void test_lengths(void **state)
{
	(void)state;
	assert_int_equal(base64url_bytes(0), 0);
	assert_int_equal(base64url_bytes(2), 1);
	assert_int_equal(base64url_bytes(3), 2);
	assert_int_equal(base64url_bytes(4), 3);
	assert_int_equal(base64url_bytes(86), 64);
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_bad), cmocka_unit_test(test_good),
					    cmocka_unit_test(test_lengths) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
