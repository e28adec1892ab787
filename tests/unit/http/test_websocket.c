/* The keys of WebSocket's handshake. */
#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "http/websocket.h"

/* RFC 6455 section 1.3. */
static void the_example_of_the_rfc(void **state)
{
	char out[WEBSOCKET_ACCEPT_BYTES], key[WEBSOCKET_KEY_BYTES];

	(void)state;
	websocket_key((const uint8_t *)"the sample nonce", key);
	assert_memory_equal(key, "dGhlIHNhbXBsZSBub25jZQ==", sizeof(key));
	websocket_accept(slice_of(key, sizeof(key)), out);
	assert_memory_equal(out, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", sizeof(out));
}

static void keys_that_are_none(void **state)
{
	static const char *const bad[] = { "", "dGhlIHNhbXBsZSBub25jZQ=",
					   "dGhlIHNhbXBsZSBub25jZQ===", "dGhlIHNhbXBsZSBub25jZQAA",
					   "dGhlIHNhbXBsZSBub25j*Q==" };

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_false(websocket_key_is_valid(slice_str(bad[i])));
	assert_true(websocket_key_is_valid(slice_str("dGhlIHNhbXBsZSBub25jZQ==")));
	assert_true(websocket_key_is_valid(slice_str("+/AAAAAAAAAAAAAAAAAAAA==")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_example_of_the_rfc),
		cmocka_unit_test(keys_that_are_none),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
