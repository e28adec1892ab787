/* Whose call it is: what must not be believed first, then what may. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "core/client_ip.h"

enum { TRUST_MAX = 4, FIELDS_MAX = 8 };

struct fixture {
	struct client_ip_conf conf;
	struct cidr trust[TRUST_MAX];
	struct addr peer;
	struct head head;
	struct header field[FIELDS_MAX];
};

static struct fixture given(const char *header, const char *trust, const char *peer)
{
	struct fixture f = { .conf = { .header = header } };
	struct slice rest = slice_str(trust);

	while (rest.n > 0)
		assert_true(cidr_parse(slice_cut(&rest, ' '), &f.trust[f.conf.trust.n++]));
	assert_true(addr_parse(slice_str(peer), &f.peer));
	return f;
}

/* The client, told by up to two fields. */
static void expect(struct fixture f, const char *first, const char *second, const char *client)
{
	struct slice name = slice_str(f.conf.header != NULL ? f.conf.header : "x-forwarded-for");
	enum field_id id = field_lookup(name);
	const char *values[] = { first, second };
	char text[IP_TEXT_MAX];
	struct ip ip;

	f.conf.trust.item = f.trust;
	f.head.fields = f.field;
	for (int i = 0; i < 2; i++)
		if (values[i] != NULL)
			f.field[f.head.n++] = (struct header){ .name = name,
							       .id = (uint8_t)id,
							       .value = slice_str(values[i]) };
	ip = client_ip_find(&f.conf, &f.peer, &f.head);
	ip_format(&ip, text);
	assert_string_equal(text, client);
}

static void test_nobody_is_trusted(void **state)
{
	struct fixture f = given("x-forwarded-for", "", "10.0.0.1:5");

	(void)state;
	expect(f, NULL, NULL, "10.0.0.1");
	expect(f, "1.2.3.4", NULL, "10.0.0.1");
	assert_false(client_ip_trusted(&f.conf, &f.peer));
	assert_true(addr_parse(slice_str("unix:/x"), &f.peer));
	assert_false(client_ip_trusted(&f.conf, &f.peer));
	expect(f, "1.2.3.4", NULL, "::");
}

static void test_another_field_and_only_the_nearest(void **state)
{
	struct fixture f = given("X-Client-Address", "10.0.0.0/8", "10.0.0.1:5");

	(void)state;
	expect(f, "1.2.3.4", NULL, "1.2.3.4");
	expect(f, "1.2.3.4, 10.0.0.9", NULL, "1.2.3.4");
	f.conf.nearest = true;
	expect(f, "1.2.3.4, 10.0.0.9", NULL, "10.0.0.9");
	expect(f, "1.2.3.4", "10.0.0.9", "10.0.0.9");
	f.conf.header = "x-forwarded-for";
	expect(f, "1.2.3.4, 10.0.0.9", NULL, "10.0.0.9");
}

static void test_peer_is_not_trusted(void **state)
{
	struct fixture f = given("x-forwarded-for", "10.0.0.0/8", "11.0.0.1:5");

	(void)state;
	expect(f, "1.2.3.4", NULL, "11.0.0.1");
}

static void test_nothing_that_parses(void **state)
{
	struct fixture f = given("x-forwarded-for", "10.0.0.0/8", "10.0.0.1:5");

	(void)state;
	expect(f, NULL, NULL, "10.0.0.1");
	expect(f, "", NULL, "10.0.0.1");
	expect(f, " , ,", NULL, "10.0.0.1");
	expect(f, "unknown", NULL, "10.0.0.1");
	expect(f, "1.2.3.4.5", NULL, "10.0.0.1");
	expect(f, "[1.2.3.4]", NULL, "10.0.0.1");
	expect(f, "[::1", NULL, "10.0.0.1");
	expect(f, "\"1.2.3.4\"", NULL, "10.0.0.1");
}

/* Nobody who is trusted vouches for what stands left of it. */
static void test_stops_at_what_is_no_address(void **state)
{
	struct fixture f = given("x-forwarded-for", "10.0.0.0/8", "10.0.0.1:5");

	(void)state;
	expect(f, "1.2.3.4, unknown", NULL, "10.0.0.1");
	expect(f, "1.2.3.4, unknown, 10.0.0.9", NULL, "10.0.0.9");
}

static void test_last_that_is_not_trusted(void **state)
{
	struct fixture f = given("x-forwarded-for", "10.0.0.0/8 fd00::/8", "10.0.0.1:5");

	(void)state;
	expect(f, "1.2.3.4", NULL, "1.2.3.4");
	expect(f, "6.6.6.6, 1.2.3.4", NULL, "1.2.3.4");
	expect(f, "6.6.6.6,1.2.3.4 , 10.9.9.9,10.0.0.7", NULL, "1.2.3.4");
	expect(f, "unknown, 1.2.3.4, fd00::1", NULL, "1.2.3.4");
	expect(f, "2001:db8::1", NULL, "2001:db8::1");
	expect(f, "::ffff:1.2.3.4", NULL, "1.2.3.4");
	expect(f, "6.6.6.6, 10.0.0.3, ::ffff:10.0.0.4", NULL, "6.6.6.6");
}

static void test_all_are_trusted(void **state)
{
	struct fixture f = given("x-forwarded-for", "10.0.0.0/8", "10.0.0.1:5");

	(void)state;
	expect(f, "10.0.0.3, 10.0.0.2", NULL, "10.0.0.3");
}

static void test_several_fields_are_one_list(void **state)
{
	struct fixture f = given("x-forwarded-for", "10.0.0.0/8", "10.0.0.1:5");

	(void)state;
	expect(f, "6.6.6.6", "1.2.3.4", "1.2.3.4");
	expect(f, "6.6.6.6, 1.2.3.4", "10.0.0.2", "1.2.3.4");
	expect(f, "1.2.3.4", "unknown", "10.0.0.1");
}

static void test_ports(void **state)
{
	struct fixture f = given("x-forwarded-for", "10.0.0.0/8", "10.0.0.1:5");

	(void)state;
	expect(f, "1.2.3.4:567", NULL, "1.2.3.4");
	expect(f, "[2001:db8::1]:567", NULL, "2001:db8::1");
	expect(f, "[2001:db8::1]", NULL, "2001:db8::1");
}

static void test_unix_peer(void **state)
{
	struct fixture f = given("x-forwarded-for", "10.0.0.0/8", "unix:/run/weir.sock");

	(void)state;
	assert_true(client_ip_trusted(&f.conf, &f.peer));
	expect(f, NULL, NULL, "::");
	expect(f, "1.2.3.4, 10.0.0.2", NULL, "1.2.3.4");
}

static void test_long_list(void **state)
{
	struct fixture f = given("x-forwarded-for", "10.0.0.0/8", "10.0.0.1:5");
	char list[16384] = "1.2.3.4";

	(void)state;
	for (size_t at = 7; at + 16 < sizeof(list); at += 10)
		memcpy(list + at, ",10.0.0.77", 11);
	expect(f, list, NULL, "10.0.0.77");
}

/*---------------------------------------------------------------- RFC 7239 */

static void test_forwarded_not_believed(void **state)
{
	struct fixture f = given("forwarded", "10.0.0.0/8", "10.0.0.1:5");

	(void)state;
	expect(f, "1.2.3.4", NULL, "10.0.0.1");
	expect(f, "proto=http;host=a", NULL, "10.0.0.1");
	expect(f, "for=unknown", NULL, "10.0.0.1");
	expect(f, "for=_hidden", NULL, "10.0.0.1");
	expect(f, "for=\"1.2.3.4", NULL, "10.0.0.1");
	expect(f, "for=6.6.6.6, for=unknown", NULL, "10.0.0.1");
}

/* A Host that a forwarder quotes must not be read as an element of its own. */
static void test_forwarded_quotes(void **state)
{
	struct fixture f = given("forwarded", "10.0.0.0/8", "10.0.0.1:5");

	(void)state;
	expect(f, "for=1.2.3.4;host=\"x,for=6.6.6.6;a=\"", NULL, "1.2.3.4");
	expect(f, "host=\"x,for=6.6.6.6;a=\";for=1.2.3.4", NULL, "1.2.3.4");
	expect(f, "host=\"x;for=6.6.6.6;a=\";for=1.2.3.4", NULL, "1.2.3.4");
	expect(f, "host=\"x\\\",for=6.6.6.6;a=\\\"\";for=1.2.3.4", NULL, "1.2.3.4");
	expect(f, "host=\"x\\\\\";for=1.2.3.4", NULL, "1.2.3.4");
	expect(f, "for=6.6.6.6;host=\"x\\\\\", for=1.2.3.4", NULL, "1.2.3.4");
}

static void test_forwarded(void **state)
{
	struct fixture f = given("forwarded", "10.0.0.0/8", "10.0.0.1:5");

	(void)state;
	expect(f, "for=1.2.3.4", NULL, "1.2.3.4");
	expect(f, "For=1.2.3.4;proto=https", NULL, "1.2.3.4");
	expect(f, "proto=https ; FOR=\"1.2.3.4:80\"", NULL, "1.2.3.4");
	expect(f, "for=\"[2001:db8::1]:4711\"", NULL, "2001:db8::1");
	expect(f, "for=6.6.6.6, for=1.2.3.4;by=10.0.0.2, for=10.0.0.2", NULL, "1.2.3.4");
	expect(f, "for=6.6.6.6", "for=1.2.3.4", "1.2.3.4");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody_is_trusted),
		cmocka_unit_test(test_another_field_and_only_the_nearest),
		cmocka_unit_test(test_peer_is_not_trusted),
		cmocka_unit_test(test_nothing_that_parses),
		cmocka_unit_test(test_stops_at_what_is_no_address),
		cmocka_unit_test(test_last_that_is_not_trusted),
		cmocka_unit_test(test_all_are_trusted),
		cmocka_unit_test(test_several_fields_are_one_list),
		cmocka_unit_test(test_ports),
		cmocka_unit_test(test_unix_peer),
		cmocka_unit_test(test_long_list),
		cmocka_unit_test(test_forwarded_not_believed),
		cmocka_unit_test(test_forwarded_quotes),
		cmocka_unit_test(test_forwarded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
