/* Addresses and networks: what parses, what does not, and back to text. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/addr.h"

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

static struct ip ip_of(const char *text)
{
	struct ip ip;

	if (!ip_parse(slice_str(text), &ip))
		fail_msg("not an address: %s", text);
	return ip;
}

static struct addr addr_of(const char *text)
{
	struct addr a;

	if (!addr_parse(slice_str(text), &a))
		fail_msg("not an address: %s", text);
	return a;
}

static void test_not_an_address(void **state)
{
	static const char *const bad[] = {
		"",
		":",
		"80",
		"localhost:80",
		"127.0.0.1",
		"127.0.0.1:",
		"127.0.0.1:65536",
		"127.0.0.1:x",
		"127.0.0.1:-1",
		"127.0.0.1: 80",
		"::1:80",
		"[::1]",
		"[::1]80",
		"[127.0.0.1]:80",
		"[::1:80",
		"1.2.3:80",
		"01.2.3.4:80",
		"256.0.0.1:80",
		"[fe80::1%eth0]:80",
		"unix:",
		"127.0.0.1:000080",
		"[]:80",
		"*",
	};
	struct addr a;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		if (addr_parse(slice_str(bad[i]), &a))
			fail_msg("parsed: %s", bad[i]);
	assert_false(addr_parse(slice_of("127.0.0.1\0:80", 13), &a));
}

static void test_a_unix_path_that_is_too_long(void **state)
{
	char text[256] = "unix:/";
	struct addr a;

	(void)state;
	memset(text + 6, 'x', 107 - 1);
	assert_true(addr_parse(slice_of(text, 5 + 107), &a));
	text[5 + 107] = 'x';
	assert_false(addr_parse(slice_of(text, 5 + 108), &a));
}

static void test_there_and_back(void **state)
{
	static const char *const rows[][2] = {
		{ "127.0.0.1:80", "127.0.0.1:80" },
		{ "[::1]:8443", "[::1]:8443" },
		{ ":8080", "[::]:8080" },
		{ "*:0", "[::]:0" },
		{ "0.0.0.0:65535", "0.0.0.0:65535" },
		{ "[2001:DB8::0]:1", "[2001:db8::]:1" },
		{ "[::ffff:1.2.3.4]:80", "1.2.3.4:80" },
		{ "unix:/run/x.sock", "unix:/run/x.sock" },
	};

	(void)state;
	for (size_t i = 0; i < COUNT_OF(rows); i++) {
		struct addr a = addr_of(rows[i][0]), b;
		char text[ADDR_TEXT_MAX];

		addr_format(&a, text);
		assert_string_equal(text, rows[i][1]);
		b = addr_of(text);
		assert_true(addr_eq(&a, &b));
	}
}

static void test_equality(void **state)
{
	static const char *const all[] = { "127.0.0.1:80", "127.0.0.1:81", "127.0.0.2:80",
					   "[::1]:80",     "unix:/a",      "unix:/b" };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(all); i++) {
		for (size_t k = 0; k < COUNT_OF(all); k++) {
			struct addr a = addr_of(all[i]), b = addr_of(all[k]);

			assert_int_equal(addr_eq(&a, &b), i == k);
		}
	}
}

static void test_loopback(void **state)
{
	static const char *const yes[] = { "127.0.0.1:1", "127.9.9.9:1", "[::1]:1", "unix:/x" };
	static const char *const no[] = { "126.255.255.255:1", "0.0.0.0:1", ":1", "[::2]:1",
					  "10.0.0.1:1" };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(yes); i++) {
		struct addr a = addr_of(yes[i]);

		assert_true(addr_is_loopback(&a));
	}
	for (size_t i = 0; i < COUNT_OF(no); i++) {
		struct addr a = addr_of(no[i]);

		assert_false(addr_is_loopback(&a));
	}
}

static void test_parts(void **state)
{
	struct addr v4 = addr_of("10.1.2.3:99"), local = addr_of("unix:/x");
	struct ip ip = ip_of("10.1.2.3"), got = addr_ip(&v4), zero = { { 0 } };

	(void)state;
	assert_memory_equal(&ip, &got, sizeof(ip));
	assert_int_equal(addr_port(&v4), 99);
	got = addr_ip(&local);
	assert_memory_equal(&zero, &got, sizeof(zero));
	assert_int_equal(addr_port(&local), 0);
}

static void test_made_from_parts(void **state)
{
	static const char *const all[] = { "10.1.2.3:99", "[2001:db8::1]:1" };

	(void)state;
	for (size_t i = 0; i < COUNT_OF(all); i++) {
		struct addr want = addr_of(all[i]), made;
		struct ip ip = addr_ip(&want);

		addr_make(&made, &ip, addr_port(&want));
		assert_true(addr_eq(&made, &want));
		assert_int_equal(made.len, want.len);
	}
}

static void test_ip_text(void **state)
{
	static const char *const bad[] = {
		"",     "1.2.3",     "1.2.3.4.5", "::g",        "[::1",
		"::1]", "[1.2.3.4]", "1.2.3.4 ",  "fe80::1%lo", "12345::"
	};
	struct ip ip = ip_of("[2001:db8::1]");
	char text[IP_TEXT_MAX];

	(void)state;
	ip_format(&ip, text);
	assert_string_equal(text, "2001:db8::1");
	ip = ip_of("::ffff:192.0.2.1");
	assert_true(ip_is_v4(&ip));
	ip_format(&ip, text);
	assert_string_equal(text, "192.0.2.1");
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		if (ip_parse(slice_str(bad[i]), &ip))
			fail_msg("parsed: %s", bad[i]);
	assert_false(ip_parse(slice_of("1.2.3.4\0", 8), &ip));
}

static void test_mask(void **state)
{
	struct ip all, m;

	(void)state;
	memset(&all, 0xFF, sizeof(all));
	for (unsigned bits = 0; bits <= 128; bits++) {
		unsigned set = 0;

		m = ip_mask(&all, bits);
		for (unsigned i = 0; i < 128; i++) {
			bool on = m.b[i / 8] & (0x80 >> i % 8);

			assert_int_equal(on, i < bits);
			set += on;
		}
		assert_int_equal(set, bits);
	}
}

static bool in(const char *net, const char *address)
{
	struct ip ip = ip_of(address);
	struct cidr c;

	if (!cidr_parse(slice_str(net), &c))
		fail_msg("not a network: %s", net);
	return cidr_match(&c, &ip);
}

static void test_networks(void **state)
{
	static const char *const bad[] = {
		"",       "/8",           "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/x",
		"::/129", "10.0.0.0/8/8", "10/8",      "host/8",      "10.0.0.0/-1"
	};
	struct cidr c;

	(void)state;
	for (size_t i = 0; i < COUNT_OF(bad); i++)
		if (cidr_parse(slice_str(bad[i]), &c))
			fail_msg("parsed: %s", bad[i]);
	assert_true(in("10.0.0.0/8", "10.255.0.1"));
	assert_false(in("10.0.0.0/8", "11.0.0.1"));
	assert_true(in("10.20.30.40/8", "10.1.1.1")); /* host bits do not matter */
	assert_true(in("10.0.0.1", "10.0.0.1"));
	assert_false(in("10.0.0.1", "10.0.0.2"));
	assert_true(in("0.0.0.0/0", "1.2.3.4"));
	assert_false(in("0.0.0.0/0", "2001:db8::1"));
	assert_true(in("::/0", "1.2.3.4")); /* v4 is part of v6 as it is held */
	assert_true(in("2001:db8::/33", "2001:db8:7fff::1"));
	assert_false(in("2001:db8::/33", "2001:db8:8000::1"));
	assert_true(in("::1", "::1"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_not_an_address),
		cmocka_unit_test(test_a_unix_path_that_is_too_long),
		cmocka_unit_test(test_there_and_back),
		cmocka_unit_test(test_equality),
		cmocka_unit_test(test_loopback),
		cmocka_unit_test(test_parts),
		cmocka_unit_test(test_made_from_parts),
		cmocka_unit_test(test_ip_text),
		cmocka_unit_test(test_mask),
		cmocka_unit_test(test_networks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
