/* test_head.c - names, the field vector, hop-by-hop fields, paths in normal form. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "http/head.h"

static struct arena arena;
static struct head head;

static int begin(void **state)
{
	(void)state;
	arena_init(&arena, NULL);
	head_init(&head, &arena);
	return 0;
}

static int end(void **state)
{
	(void)state;
	arena_fini(&arena);
	return 0;
}

static void add(const char *name, const char *value)
{
	assert_true(head_add_name(&head, slice_str(name), slice_str(value)));
}

/* The names that are left, each behind a space. */
static const char *names(void)
{
	static char text[1024];

	text[0] = '\0';
	for (unsigned i = 0; i < head.n; i++) {
		if (head.fields[i].id == F_REMOVED)
			continue;
		snprintf(text + strlen(text), sizeof(text) - strlen(text), " %.*s",
			 SLICE_FMT(head.fields[i].name));
	}
	return text;
}

/*---------------------------------------- names */

static void every_field_name_is_found_in_any_case(void **state)
{
	(void)state;
	for (unsigned id = F_REMOVED + 1; id < FIELD_COUNT; id++) {
		char upper[64] = "", lower[64] = "", longer[64];
		struct slice name = field_names[id];

		assert_in_range(name.n, 1, sizeof(upper) - 2);
		for (size_t i = 0; i < name.n; i++) {
			upper[i] = (char)(name.p[i] >= 'a' && name.p[i] <= 'z' ? name.p[i] - 32
									       : name.p[i]);
			lower[i] = (char)(name.p[i] >= 'A' && name.p[i] <= 'Z' ? name.p[i] + 32
									       : name.p[i]);
		}
		snprintf(longer, sizeof(longer), "%s-", lower);
		assert_int_equal(field_lookup(name), id);
		assert_int_equal(field_lookup(slice_str(upper)), id);
		assert_int_equal(field_lookup(slice_str(lower)), id);
		assert_int_equal(field_lookup(slice_str(longer)), F_OTHER);
		assert_int_equal(field_lookup(slice_of(name.p, name.n - 1)), F_OTHER);
	}
}

static void near_names_are_not_found(void **state)
{
	static const char *const others[] = { "",
					      "x",
					      "Hos",
					      "Host\r",
					      "\x08ost",
					      "Content\rLength",
					      "Content_Length",
					      "Content-Length ",
					      "Kontent-Length",
					      "\xc8ost",
					      "Transfer-Encodinh" };

	(void)state;
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_int_equal(field_lookup(slice_str(others[i])), F_OTHER);
}

static void methods_are_case_sensitive(void **state)
{
	(void)state;
	for (unsigned id = METHOD_OTHER + 1; id < METHOD_COUNT; id++)
		assert_int_equal(method_lookup(method_names[id]), id);
	assert_int_equal(method_lookup(slice_str("get")), METHOD_OTHER);
	assert_int_equal(method_lookup(slice_str("GETS")), METHOD_OTHER);
	assert_int_equal(method_lookup(slice_str("")), METHOD_OTHER);
	assert_int_equal(method_lookup(slice_str("_OTHER")), METHOD_OTHER);
	assert_true(slice_is(method_names[METHOD_OTHER], "_OTHER"));
	assert_int_equal(method_flags[METHOD_GET], METHOD_SAFE | METHOD_IDEMPOTENT);
	assert_int_equal(method_flags[METHOD_POST], 0);
}

static void statuses_have_phrases(void **state)
{
	(void)state;
	assert_true(slice_is(status_phrase(200), "OK"));
	assert_true(slice_is(status_phrase(429), "Too Many Requests"));
	assert_true(slice_is(status_phrase(100), "Continue"));
	assert_true(slice_is(status_phrase(529), "Overloaded"));
	assert_int_equal(status_phrase(299).n, 0);
	for (uint16_t status = 0; status < 1000; status++)
		assert_non_null(status_phrase(status).p);
}

/*---------------------------------------- fields */

static void fields_are_found_set_and_removed(void **state)
{
	(void)state;
	add("Accept", "a");
	add("host", "h");
	add("X-One", "1");
	add("x-one", "2");
	assert_true(slice_is(head_find(&head, F_HOST)->value, "h"));
	assert_null(head_find(&head, F_COOKIE));
	assert_true(slice_is(head_find_name(&head, slice_str("x-ONE"))->value, "1"));
	assert_true(slice_is(head_find_name(&head, slice_str("HOST"))->value, "h"));
	assert_null(head_find_name(&head, slice_str("x-two")));
	head_remove_name(&head, slice_str("X-ONE"));
	assert_string_equal(names(), " Accept host");
	assert_true(head_set(&head, F_HOST, slice_str("b")));
	assert_string_equal(names(), " Accept Host");
	assert_true(head_set_name(&head, slice_str("accept"), slice_str("b")));
	assert_true(head_set_name(&head, slice_str("HOST"), slice_str("c")));
	assert_string_equal(names(), " accept HOST");
	assert_int_equal(head_find(&head, F_HOST)->id, F_HOST);
}

static void a_copied_value_outlives_its_source(void **state)
{
	char value[] = "abc";

	(void)state;
	assert_true(head_add_copy(&head, F_SERVER, slice_str(value)));
	value[0] = 'x';
	assert_true(slice_is(head_find(&head, F_SERVER)->value, "abc"));
}

static void the_vector_grows(void **state)
{
	(void)state;
	for (int i = 0; i < UINT16_MAX; i++)
		assert_true(head_add(&head, F_SERVER, slice_str("x")));
	assert_int_equal(head.n, UINT16_MAX);
	assert_false(head_add(&head, F_SERVER, slice_str("x")));
	assert_int_equal(head.n, UINT16_MAX);
}

/*---------------------------------------- hop-by-hop */

static void hop_by_hop_fields_go(void **state)
{
	(void)state;
	add("Connection", "close, X-Gone ,, x-also,keep-alive");
	add("Keep-Alive", "timeout=1");
	add("Proxy-Connection", "x");
	add("TE", "trailers");
	add("Upgrade", "websocket");
	add("Proxy-Authorization", "x");
	add("Proxy-Authenticate", "x");
	add("X-Gone", "1");
	add("X-ALSO", "1");
	add("X-Stays", "1");
	add("X-Gone", "2");
	head_strip_hop_by_hop(&head, false);
	assert_string_equal(names(), " X-Stays");
}

static void what_framing_and_routing_need_stays(void **state)
{
	(void)state;
	add("Connection",
	    "Host, Content-Length, Transfer-Encoding, Authorization, Cookie, x-api-key, "
	    "X-Forwarded-For, Forwarded, Content-Type, Date, User-Agent");
	add("Connection", "Cache-Control, Via, traceparent");
	add("Host", "a");
	add("Content-Length", "1");
	add("Transfer-Encoding", "chunked");
	add("Authorization", "x");
	add("Cookie", "x");
	add("x-api-key", "x");
	add("X-Forwarded-For", "x");
	add("Forwarded", "x");
	add("Content-Type", "x");
	add("Cache-Control", "x");
	add("Via", "x");
	add("traceparent", "x");
	add("Date", "x");
	add("User-Agent", "x");
	head_strip_hop_by_hop(&head, false);
	assert_string_equal(
	    names(), " Host Content-Length Transfer-Encoding Authorization Cookie x-api-key"
		     " X-Forwarded-For Forwarded Content-Type Cache-Control Via traceparent");
}

static void upgrade_stays_when_asked(void **state)
{
	(void)state;
	add("Connection", "Upgrade, x");
	add("Upgrade", "websocket");
	add("x", "1");
	head_strip_hop_by_hop(&head, true);
	assert_string_equal(names(), " Upgrade");
}

static void lists_skip_what_is_empty(void **state)
{
	struct slice rest = slice_str(" ,a , \t,b,,c\t,");

	(void)state;
	assert_true(slice_is(list_next(&rest), "a"));
	assert_true(slice_is(list_next(&rest), "b"));
	assert_true(slice_is(list_next(&rest), "c"));
	assert_int_equal(list_next(&rest).n, 0);
	assert_int_equal(list_next(&rest).n, 0);
}

/*---------------------------------------- paths */

static const struct {
	const char *path, *normal; /* NULL: refused */
} paths[] = {
	/* failures */
	{ "", NULL },
	{ "*", NULL },
	{ "a", NULL },
	{ "/..", NULL },
	{ "/../a", NULL },
	{ "/a/../..", NULL },
	{ "/a/../../b", NULL },
	{ "/%2e%2e/a", NULL },
	{ "/a/%2E%2e/..", NULL },
	{ "/%", NULL },
	{ "/%4", NULL },
	{ "/%4g", NULL },
	{ "/%g4", NULL },
	{ "/a%00b", NULL },
	{ "/a/%", NULL },
	{ "//..", NULL },
	/* as they are */
	{ "/", "/" },
	{ "/a", "/a" },
	{ "/a/", "/a/" },
	{ "/a.b/c..d/e...", "/a.b/c..d/e..." },
	{ "/a;b=c,d:@!$&'()*+", "/a;b=c,d:@!$&'()*+" },
	{ "/a\\b", "/a%5Cb" },
	{ "/a[b]\"<>^`{|}", "/a%5Bb%5D%22%3C%3E%5E%60%7B%7C%7D" },
	{ "/a b\xc3\xa9", "/a%20b%C3%A9" },
	{ "/a%21%24%26%27%28%29%2a%2B%2C%3b%3D%3A%40", "/a!$&'()*+,;=:@" },
	{ "/a%20%5b%22%7B%7f", "/a%20%5B%22%7B%7F" },
	/* made normal */
	{ "//", "/" },
	{ "///a//b///", "/a/b/" },
	{ "/.", "/" },
	{ "/./", "/" },
	{ "/./a/./b/.", "/a/b/" },
	{ "/a/..", "/" },
	{ "/a/../", "/" },
	{ "/a/b/..", "/a/" },
	{ "/a/b/../", "/a/" },
	{ "/a/b/../c", "/a/c" },
	{ "/a/b/../../c", "/c" },
	{ "/a//../b", "/b" },
	{ "/.../..a/.b", "/.../..a/.b" },
	{ "/%61%7E%2D%5f", "/a~-_" },
	{ "/%2fa%2F", "/%2Fa%2F" },
	{ "/%c3%a9", "/%C3%A9" },
	{ "/%25%32%65", "/%252e" },
	{ "/a/%2e/b/%2E%2E/c", "/a/c" },
	{ "/a/.%2e/b", "/b" },
	{ "/%3f%23", "/%3F%23" },
	{ "/v1/%63hat", "/v1/chat" },
};

static void paths_are_made_normal(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct slice got = head_normal_path(slice_str(paths[i].path), &arena);

		if (paths[i].normal == NULL ? got.p != NULL
					    : got.p == NULL || !slice_is(got, paths[i].normal))
			fail_msg("%s -> %.*s, not %s", paths[i].path, SLICE_FMT(got),
				 paths[i].normal);
	}
}

static void escaped_slashes_have_their_rule(void **state)
{
	static const struct {
		const char *path, *kept, *rejected, *decoded;
	} rows[] = {
		{ "/a%2Fb", "/a%2Fb", NULL, "/a/b" },
		{ "/a%2fb%28", "/a%2Fb(", NULL, "/a/b(" },
		{ "/a%5cb", "/a%5Cb", NULL, "/a%5Cb" },
		{ "/a%2F..%2F..%2Fb", "/a%2F..%2F..%2Fb", NULL, NULL },
		{ "/a%2F%2F.%2fb/%2e%2e", "/a%2F%2F.%2Fb/..", NULL, "/a/" },
		{ "/a%252Fb", "/a%252Fb", "/a%252Fb", "/a%252Fb" },
		{ "/a/b", "/a/b", "/a/b", "/a/b" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		const char *want[] = { rows[i].kept, rows[i].rejected, rows[i].decoded };

		for (unsigned rule = SLASHES_REJECT; rule <= SLASHES_DECODE; rule++) {
			struct slice got = head_normal_path_by(slice_str(rows[i].path),
							       (enum slash_rule)rule, &arena);

			if (want[rule] == NULL)
				assert_null(got.p);
			else
				assert_true(slice_is(got, want[rule]));
		}
	}
}

static void a_normal_path_stays_as_it_is(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++) {
		struct slice once = head_normal_path(slice_str(paths[i].path), &arena);

		if (once.p != NULL)
			assert_true(slice_eq(head_normal_path(once, &arena), once));
	}
}

static void test_odd_names(void **state)
{
	static const char *const names[] = { "X-A", "x_b", "X.C", "Content-Type", "!" };
	static const unsigned left[] = { 2, 3 }; /* without and with underscores */

	(void)state;
	for (unsigned u = 0; u < 2; u++) {
		struct head h;
		unsigned n = 0;

		head_init(&h, &arena);
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			assert_true(head_add_name(&h, slice_str(names[i]), slice_str("v")));
		head_remove_odd(&h, u == 1);
		for (unsigned i = 0; i < h.n; i++)
			n += h.fields[i].id != F_REMOVED;
		assert_int_equal(n, left[u]);
	}
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, begin, end)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_odd_names, begin, end),
		TEST(every_field_name_is_found_in_any_case),
		TEST(near_names_are_not_found),
		TEST(methods_are_case_sensitive),
		TEST(statuses_have_phrases),
		TEST(fields_are_found_set_and_removed),
		TEST(a_copied_value_outlives_its_source),
		TEST(the_vector_grows),
		TEST(hop_by_hop_fields_go),
		TEST(what_framing_and_routing_need_stays),
		TEST(upgrade_stays_when_asked),
		TEST(lists_skip_what_is_empty),
		TEST(paths_are_made_normal),
		TEST(escaped_slashes_have_their_rule),
		TEST(a_normal_path_stays_as_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
