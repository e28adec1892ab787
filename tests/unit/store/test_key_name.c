/* Names of keys: HMAC by its published vectors, and what may not show. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "store/key_name.h"

static void check_hmac(struct slice key, struct slice message, const char *hex)
{
	uint8_t block[KEY_SALT_BYTES], out[32];
	char text[65];

	hmac_block(key, block);
	hmac_sha256(block, message.p, message.n, out);
	for (unsigned i = 0; i < 32; i++)
		snprintf(text + 2 * i, 3, "%02x", out[i]);
	assert_string_equal(text, hex);
}

/* RFC 4231 sections 4.2, 4.3, 4.4 and 4.7. */
static void test_rfc_4231(void **state)
{
	char key[131], message[50];

	(void)state;
	memset(key, 0x0b, 20);
	check_hmac(slice_of(key, 20), slice_str("Hi There"),
		   "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7");
	check_hmac(slice_str("Jefe"), slice_str("what do ya want for nothing?"),
		   "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
	memset(key, 0xaa, sizeof(key));
	memset(message, 0xdd, sizeof(message));
	check_hmac(slice_of(key, 20), slice_of(message, sizeof(message)),
		   "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe");
	check_hmac(slice_of(key, 131),
		   slice_str("Test Using Larger Than Block-Size Key - Hash Key First"),
		   "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54");
}

static struct key_name name_of(const char *salt, const char *policy, const char *how, const char *a,
			       const char *b)
{
	struct slice part[2] = { slice_str(a), slice_str(b == NULL ? "" : b) };
	struct key_maker k;
	struct key_name name;

	key_maker_init(&k, "shop", slice_str(salt), slice_str(policy), slice_str(how), 't');
	key_name_make(&k, part, b == NULL ? 1 : 2, &name);
	return name;
}

static bool same(struct key_name a, struct key_name b)
{
	return a.n == b.n && memcmp(a.text, b.text, a.n) == 0;
}

static void test_all_of_it_counts(void **state)
{
	struct key_name name = name_of("s", "p", "bucket", "ab", "c");

	(void)state;
	assert_true(same(name, name_of("s", "p", "bucket", "ab", "c")));
	assert_false(same(name, name_of("t", "p", "bucket", "ab", "c")));
	assert_false(same(name, name_of("s", "q", "bucket", "ab", "c")));
	assert_false(same(name, name_of("s", "p", "sliding 60", "ab", "c")));
	assert_false(same(name, name_of("s", "p", "bucket", "a", "bc")));
	assert_false(same(name, name_of("s", "p", "bucket", "abc", NULL)));
	assert_false(
	    same(name_of("s", "pb", "ucket", "a", NULL), name_of("s", "p", "bucket", "a", NULL)));
}

static void test_form(void **state)
{
	struct key_name name = name_of("salt", "per-client", "bucket", "10.1.2.3", NULL);

	(void)state;
	assert_int_equal(name.n, strlen("rl:{shop:12345678:1234567890123456789012}:t"));
	assert_memory_equal(name.text, "rl:{shop:", 9);
	assert_memory_equal(name.text + name.n - 3, "}:t", 3);
	assert_null(memmem(name.text, name.n, "10.1.2.3", 8));
	for (unsigned i = 9; i < name.n - 3u; i++)
		assert_true(i == 17 ? name.text[i] == ':' : strchr("{}:", name.text[i]) == NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rfc_4231),
		cmocka_unit_test(test_all_of_it_counts),
		cmocka_unit_test(test_form),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
