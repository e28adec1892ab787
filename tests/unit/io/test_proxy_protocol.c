/* The PROXY protocol: what is malformed, what is incomplete at every byte, what comes out. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "io/proxy_protocol.h"

#define SIGNATURE "\r\n\r\n\0\r\nQUIT\n"
#define LIT(s)    slice_of((s), sizeof(s) - 1)

/* Parsed from a block of exactly that size, so that a sanitizer sees a read too far. */
static int parse(struct slice in, struct proxy_info *out)
{
	char *copy = malloc(in.n == 0 ? 1 : in.n);
	int used;

	assert_non_null(copy);
	if (in.n > 0)
		memcpy(copy, in.p, in.n);
	used = proxy_protocol_parse(slice_of(copy, in.n), out);
	free(copy);
	return used;
}

/* Whole when `header` bytes are there and never before; what follows is left alone. */
static void expect(struct slice in, size_t header, bool local, const char *from, const char *to)
{
	char text[ADDR_TEXT_MAX];
	struct proxy_info info;

	for (size_t n = 0; n < header; n++)
		assert_int_equal(parse(slice_of(in.p, n), &info), 0);
	for (size_t n = header; n <= in.n; n++)
		assert_int_equal(parse(slice_of(in.p, n), &info), (int)header);
	assert_int_equal(info.has_source, !local);
	if (local)
		return;
	addr_format(&info.source, text);
	assert_string_equal(text, from);
	addr_format(&info.destination, text);
	assert_string_equal(text, to);
}

/* Never whole at any length, and malformed at the full one. */
static void expect_bad(struct slice in)
{
	struct proxy_info info;

	for (size_t n = 0; n < in.n; n++)
		assert_true(parse(slice_of(in.p, n), &info) <= 0);
	assert_int_equal(parse(in, &info), -1);
}

static void test_neither_version(void **state)
{
	(void)state;
	expect_bad(LIT("GET / HTTP/1.1\r\n"));
	expect_bad(LIT("PROXX"));
	expect_bad(LIT("proxy TCP4 1.2.3.4 1.2.3.4 1 2\r\n"));
	expect_bad(LIT("\r\n\r\n\0\r\nQUIP"));
	expect_bad(LIT("\0"));
	expect_bad(LIT("\x16\x03\x01"));
}

static void test_v1_malformed(void **state)
{
	static const char *const lines[] = {
		"PROXY\r\n",
		"PROXY \r\n",
		"PROXY TCP4\r\n",
		"PROXY  TCP4 1.2.3.4 5.6.7.8 1 2\r\n",
		"PROXY TCP4  1.2.3.4 5.6.7.8 1 2\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 3\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1 2 \r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1 65536\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 -1 2\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 01 2\r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\n\r\n",
		"PROXY TCP4 1.2.3 5.6.7.8 1 2\r\n",
		"PROXY TCP4 01.2.3.4 5.6.7.8 1 2\r\n",
		"PROXY TCP4 ::1 ::2 1 2\r\n",
		"PROXY TCP4 ::ffff:1.2.3.4 5.6.7.8 1 2\r\n",
		"PROXY TCP6 1.2.3.4 5.6.7.8 1 2\r\n",
		"PROXY TCP6 [::1] [::2] 1 2\r\n",
		"PROXY TCP5 ::1 ::2 1 2\r\n",
		"PROXY UNKNOW\r\n",
		"PROXY UNKNOWN2 \r\n",
		"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\r\n",
	};

	(void)state;
	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++)
		expect_bad(slice_of(lines[i], strlen(lines[i])));
	expect_bad(LIT("PROXY TCP4 1.2.3.4\0 5.6.7.8 1 2\r\n"));
}

static void test_v1_without_end(void **state)
{
	char line[PROXY_V1_MAX_BYTES + 8];
	struct proxy_info info;

	(void)state;
	memset(line, 'x', sizeof(line));
	memcpy(line, "PROXY UNKNOWN ", 14);
	assert_int_equal(parse(slice_of(line, PROXY_V1_MAX_BYTES - 1), &info), 0);
	expect_bad(slice_of(line, PROXY_V1_MAX_BYTES));
	expect_bad(slice_of(line, sizeof(line)));
	memcpy(line + PROXY_V1_MAX_BYTES - 1, "\r\n", 2); /* one byte too long */
	expect_bad(slice_of(line, PROXY_V1_MAX_BYTES + 1));
	memcpy(line + PROXY_V1_MAX_BYTES - 2, "\r\n", 2);
	expect(slice_of(line, PROXY_V1_MAX_BYTES), PROXY_V1_MAX_BYTES, true, NULL, NULL);
}

static void expect_line(const char *line, bool local, const char *from, const char *to)
{
	char in[PROXY_V1_MAX_BYTES + 32];
	size_t n = strlen(line);

	memcpy(in, line, n);
	memcpy(in + n, "GET / HTTP/1.1\r\n", 16);
	expect(slice_of(in, n + 16), n, local, from, to);
}

static void test_v1(void **state)
{
	(void)state;
	expect_line("PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n", false, "192.168.0.1:56324",
		    "192.168.0.11:443");
	expect_line("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", false,
		    "255.255.255.255:65535", "255.255.255.255:65535");
	expect_line("PROXY TCP6 2001:db8::1 ::1 0 65535\r\n", false, "[2001:db8::1]:0",
		    "[::1]:65535");
	/* 104 bytes: the longest that names addresses */
	expect_line("PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe "
		    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
		    false, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe]:65535",
		    "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535");
}

static void test_v1_unknown(void **state)
{
	(void)state;
	expect_line("PROXY UNKNOWN\r\n", true, NULL, NULL);
	expect_line("PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff "
		    "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n",
		    true, NULL, NULL);
}

/*---------------------------------------------------------------- version 2 */

static struct slice v2(char *out, unsigned command, unsigned family, size_t length,
		       const char *body, size_t body_n)
{
	memcpy(out, SIGNATURE, 12);
	out[12] = (char)command;
	out[13] = (char)family;
	out[14] = (char)(length >> 8);
	out[15] = (char)(length & 255);
	if (body_n > 0)
		memcpy(out + 16, body, body_n);
	return slice_of(out, 16 + body_n);
}

static const char v4_body[] = "\xc0\x00\x02\x01\xc6\x33\x64\x02\x12\x34\x00\x50";

static void test_v2_malformed(void **state)
{
	char in[PROXY_PROTOCOL_MAX_BYTES + 64] = { 0 };

	(void)state;
	expect_bad(v2(in, 0x11, 0x11, 12, v4_body, 12)); /* version 1 */
	expect_bad(v2(in, 0x31, 0x11, 12, v4_body, 12));
	expect_bad(v2(in, 0x22, 0x11, 12, v4_body, 12)); /* no such command */
	expect_bad(v2(in, 0x21, 0x11, 11, v4_body, 11)); /* too short for its family */
	expect_bad(v2(in, 0x21, 0x21, 12, v4_body, 12));
	expect_bad(v2(in, 0x21, 0x31, 12, v4_body, 12));
	expect_bad(v2(in, 0x21, 0x41, 12, v4_body, 12)); /* no such family */
	expect_bad(v2(in, 0x21, 0x13, 12, v4_body, 12)); /* no such protocol */
	expect_bad(v2(in, 0x21, 0x11, PROXY_PROTOCOL_MAX_BYTES - 15, NULL, 0));
	expect_bad(v2(in, 0x20, 0x00, 65535, NULL, 0));
}

static void test_v2_v4(void **state)
{
	char in[256], body[64];

	(void)state;
	memcpy(body, v4_body, 12);
	memcpy(body + 12, "\x04\x00\x05hello", 8); /* a NOOP TLV */
	memcpy(body + 20, "GET /", 5);
	expect(v2(in, 0x21, 0x11, 12, body, 12), 28, false, "192.0.2.1:4660", "198.51.100.2:80");
	expect(v2(in, 0x21, 0x11, 20, body, 25), 36, false, "192.0.2.1:4660", "198.51.100.2:80");
}

static void test_v2_v6(void **state)
{
	char in[256], body[36] = { 0x20, 0x01, 0x0d, (char)0xb8, [15] = 1, [31] = 1 };

	(void)state;
	memcpy(body + 32, "\x00\x01\x1f\x90", 4);
	expect(v2(in, 0x21, 0x21, 36, body, 36), 52, false, "[2001:db8::1]:1", "[::1]:8080");
	memcpy(body, "\0\0\0\0\0\0\0\0\0\0\xff\xff\x0a\0\0\x01", 16); /* mapped: an IPv4 client */
	expect(v2(in, 0x21, 0x21, 36, body, 36), 52, false, "10.0.0.1:1", "[::1]:8080");
}

static void test_v2_unix(void **state)
{
	char in[256], body[216] = "/run/client.sock";

	(void)state;
	memset(body + 108, 'x', 108); /* without a NUL: cut, not run over */
	expect(v2(in, 0x21, 0x31, 216, body, 216), 232, false, "unix:/run/client.sock",
	       "unix:"
	       "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
	       "xxxxxxxx"
	       "xxxxxxxxxxxxxxxx");
}

static void test_v2_names_nobody(void **state)
{
	char in[256];

	(void)state;
	expect(v2(in, 0x20, 0x00, 0, NULL, 0), 16, true, NULL, NULL);
	expect(v2(in, 0x20, 0x11, 12, v4_body, 12), 28, true, NULL, NULL);
	expect(v2(in, 0x20, 0xff, 3, "abc", 3), 19, true, NULL,
	       NULL); /* LOCAL: the rest is ignored */
	expect(v2(in, 0x21, 0x00, 0, NULL, 0), 16, true, NULL, NULL);
	expect(v2(in, 0x21, 0x12, 12, v4_body, 12), 28, true, NULL, NULL); /* a datagram */
}

static void test_v2_longest(void **state)
{
	static char in[PROXY_PROTOCOL_MAX_BYTES + 1];
	struct proxy_info info;

	(void)state;
	v2(in, 0x21, 0x11, PROXY_PROTOCOL_MAX_BYTES - 16, v4_body, 12);
	assert_int_equal(parse(slice_of(in, sizeof(in) - 2), &info), 0);
	assert_int_equal(parse(slice_of(in, sizeof(in)), &info), PROXY_PROTOCOL_MAX_BYTES);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_neither_version), cmocka_unit_test(test_v1_malformed),
		cmocka_unit_test(test_v1_without_end),  cmocka_unit_test(test_v1),
		cmocka_unit_test(test_v1_unknown),      cmocka_unit_test(test_v2_malformed),
		cmocka_unit_test(test_v2_v4),           cmocka_unit_test(test_v2_v6),
		cmocka_unit_test(test_v2_unix),         cmocka_unit_test(test_v2_names_nobody),
		cmocka_unit_test(test_v2_longest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
