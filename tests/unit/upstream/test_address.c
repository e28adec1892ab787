/* Endpoint addresses: what is refused and why, and the canonical form of the rest. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "upstream/address.h"

static void expect_wrong(const char *text, const char *says)
{
	struct endpoint_address a;
	const char *wrong = endpoint_address_parse(slice_str(text), &a);

	if (wrong == NULL || strstr(wrong, says) == NULL)
		fail_msg("`%s`: expected \"%s\", got \"%s\"", text, says, wrong);
}

static void test_refused(void **state)
{
	(void)state;
	expect_wrong("", "needs an address");
	expect_wrong("http://", "needs an address");
	expect_wrong("https://unix:/run/app.sock", "no https:// to a unix socket");
	expect_wrong("https://", "needs an address");
	expect_wrong("https://a/x", "no path");
	expect_wrong("h2c://a:80", "host:port, http://host:port, https://host:port or unix:/path");
	expect_wrong("http://http://a:80", "host:port, http://host:port, https://host:port or unix:/path");
	expect_wrong("http://a:80/v1", "no path");
	expect_wrong("http://a:80/", "no path");
	expect_wrong("a", "needs a port");
	expect_wrong("127.0.0.1", "needs a port");
	expect_wrong("[::1]", "needs a port");
	expect_wrong("3000", "needs a port");
	expect_wrong("::1", "IPv6 address stands in brackets");
	expect_wrong("::1:80", "IPv6 address stands in brackets");
	expect_wrong("[::1:80", "IPv6");
	expect_wrong("[::1]x:80", "not an IPv6 address");
	expect_wrong("[a]:80", "not an IPv6 address");
	expect_wrong("[fe80::1%eth0]:80", "not an IPv6 address");
	expect_wrong(":80", "needs a host");
	expect_wrong("*:80", "needs a host");
	expect_wrong("a:", "port");
	expect_wrong("a:0", "1 to 65535");
	expect_wrong("a:65536", "1 to 65535");
	expect_wrong("a:80x", "port");
	expect_wrong("a:-1", "port");
	expect_wrong("a:000080", "port");
	expect_wrong("300.1.1.1:80", "not an IPv4 address");
	expect_wrong("127.1:80", "not an IPv4 address");
	expect_wrong("127.0.0.1.:80", "not an IPv4 address");
	expect_wrong(".:80", "not a host name");
	expect_wrong("a..b:80", "not a host name");
	expect_wrong(".a:80", "not a host name");
	expect_wrong("a..:80", "not a host name");
	expect_wrong("-a:80", "not a host name");
	expect_wrong("a-:80", "not a host name");
	expect_wrong("a b:80", "not a host name");
	expect_wrong("user@a:80", "not a host name");
	expect_wrong("\xc3\xa4:80", "not a host name");
	expect_wrong("unix:", "absolute path");
	expect_wrong("unix:run/app.sock", "absolute path");
	expect_wrong("unix:@app", "absolute path");
}

static void test_too_long(void **state)
{
	char text[512];

	(void)state;
	memset(text, 'a', sizeof(text));
	strcpy(text + 64, ":80");
	expect_wrong(text, "not a host name"); /* a label of 64 */
	for (size_t i = 63; i < 254; i += 64)
		text[i] = '.';
	memset(text + 64, 'a', 63);
	strcpy(text + 254, ":80");
	expect_wrong(text, "longer than 253");
	memcpy(text, "unix:/", 6);
	strcpy(text + 113, "");
	expect_wrong(text, "at most 107 bytes");
}

static void expect_fixed(const char *text, const char *canonical)
{
	struct endpoint_address a;
	char shown[ADDR_TEXT_MAX];

	assert_null(endpoint_address_parse(slice_str(text), &a));
	assert_false(a.named);
	assert_string_equal(a.text, canonical);
	addr_format(&a.fixed, shown);
	assert_string_equal(shown, canonical);
}

static void expect_named(const char *text, const char *canonical, const char *host, uint16_t port)
{
	struct endpoint_address a;

	assert_null(endpoint_address_parse(slice_str(text), &a));
	assert_true(a.named);
	assert_string_equal(a.text, canonical);
	assert_string_equal(a.host, host);
	assert_int_equal(a.port, port);
}

static void expect_secure(const char *text, const char *canonical, const char *name)
{
	struct endpoint_address a;

	assert_null(endpoint_address_parse(slice_str(text), &a));
	assert_true(a.tls);
	assert_string_equal(a.text, canonical);
	assert_string_equal(a.text + a.authority, canonical + 8);
	assert_string_equal(a.name, name);
}

static void test_secure(void **state)
{
	(void)state;
	expect_secure("https://App.example", "https://app.example:443", "app.example");
	expect_secure("HTTPS://app.example.:8443", "https://app.example.:8443", "app.example");
	expect_secure("https://127.0.0.1:1", "https://127.0.0.1:1", "127.0.0.1");
	expect_secure("https://[::1]", "https://[::1]:443", "::1");
}

static void test_fixed(void **state)
{
	(void)state;
	expect_fixed("127.0.0.1:3000", "127.0.0.1:3000");
	expect_fixed("http://127.0.0.1:3000", "127.0.0.1:3000");
	expect_fixed("http://127.0.0.1", "127.0.0.1:80");
	expect_fixed("[::1]:80", "[::1]:80");
	expect_fixed("http://[::1]", "[::1]:80");
	expect_fixed("[2001:DB8:0::1]:65535", "[2001:db8::1]:65535");
	expect_fixed("[::ffff:10.0.0.1]:80", "10.0.0.1:80");
	expect_fixed("unix:/run/app.sock", "unix:/run/app.sock");
	expect_fixed("http://unix:/run/app.sock", "unix:/run/app.sock");
}

static void test_longest_path(void **state)
{
	char text[5 + 107 + 1] = "unix:/";

	(void)state;
	memset(text + 6, 'a', 106);
	expect_fixed(text, text);
}

static void test_named(void **state)
{
	(void)state;
	expect_named("localhost:3000", "localhost:3000", "localhost", 3000);
	expect_named("App.Internal:80", "app.internal:80", "app.internal", 80);
	expect_named("app.internal.:80", "app.internal.:80", "app.internal.", 80);
	expect_named("http://app", "app:80", "app", 80);
	expect_named("HTTP://app:8080", "app:8080", "app", 8080);
	expect_named("_http._tcp.app:1", "_http._tcp.app:1", "_http._tcp.app", 1);
	expect_named("3com.com:80", "3com.com:80", "3com.com", 80);
	expect_named("unix.example:80", "unix.example:80", "unix.example", 80);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused), cmocka_unit_test(test_too_long),
		cmocka_unit_test(test_fixed),
		cmocka_unit_test(test_secure),   cmocka_unit_test(test_longest_path),
		cmocka_unit_test(test_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
