/* Which route a request takes: what may not be configured, what does not match, what does. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/log.h"
#include "core/route.h"

enum { ROUTES = 8, ITEMS = 4 };

struct fixture {
	struct arena arena;
	struct diags diags;
	struct policy policy;
	struct route route[ROUTES];
	struct route_conf conf[ROUTES];
	const struct template_values *values;
	const char *hosts[ROUTES][ITEMS], *methods[ROUTES][ITEMS];
};

static struct fixture *fixture_new(void)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	arena_init(&f->arena, NULL);
	diags_init(&f->diags, &f->arena);
	f->policy.route = f->route;
	return f;
}

static void fixture_free(struct fixture *f)
{
	arena_fini(&f->arena);
	free(f);
}

/* "a b c" into a list; NULL: none. */
static struct conf_list words(struct fixture *f, const char **item, const char *text)
{
	struct conf_list list = { .item = item };
	char *save = NULL;

	if (text == NULL)
		return list;
	for (char *w = strtok_r(arena_strdup(&f->arena, text), " ", &save); w != NULL;
	     w = strtok_r(NULL, " ", &save))
		item[list.n++] = w;
	return list;
}

/* Adds a route called a, b, c, ...; false when it is refused. */
static bool add(struct fixture *f, const char *hosts, const char *path, const char *methods)
{
	uint32_t i = f->policy.n_routes++;

	f->conf[i].match.hosts = words(f, f->hosts[i], hosts);
	f->conf[i].match.path = path;
	f->conf[i].match.methods = words(f, f->methods[i], methods);
	f->route[i].conf = &f->conf[i];
	f->route[i].name = (const char *[]){ "a", "b", "c", "d", "e", "f", "g", "h" }[i];
	return route_prepare(&f->route[i], &f->arena, &f->diags);
}

/* The name of the route that is taken, "-" for none. */
static const char *take(struct fixture *f, const char *method, const char *authority,
			const char *path)
{
	struct head head = { .method = slice_str(method),
			     .method_id = (uint8_t)method_lookup(slice_str(method)),
			     .authority = slice_str(authority) };
	bool too_hard;
	const struct route *r =
	    route_match(&f->policy, &head, slice_str(path), f->values, &too_hard);

	return too_hard ? "too hard" : r == NULL ? "-" : r->name;
}

static void expect_refused(const char *hosts, const char *path, const char *says)
{
	struct fixture *f = fixture_new();

	assert_false(add(f, hosts, path, NULL));
	assert_int_equal(f->diags.errors, 1);
	if (strstr(f->diags.first->message, says) == NULL)
		fail_msg("expected \"%s\", got \"%s\"", says, f->diags.first->message);
	fixture_free(f);
}

static void test_refused(void **state)
{
	(void)state;
	expect_refused(NULL, "x", "begins with /");
	expect_refused(NULL, "", "begins with /");
	expect_refused(NULL, "*", "begins with /");
	expect_refused(NULL, "/*/x", "star can only stand at the end");
	expect_refused(NULL, "/x/*/*", "star can only stand at the end");
	expect_refused(NULL, "/x?y", "query takes no part");
	expect_refused(NULL, "/../x", "climbs above the root");
	expect_refused(NULL, "/%zz", "malformed escape");
	expect_refused("a:80", NULL, "a host has no port");
	expect_refused("[::1]:80", NULL, "a host has no port");
	expect_refused(NULL, "/x**", "star can only stand at the end");
	expect_refused(NULL, "~", "behind the tilde");
	expect_refused(NULL, "~* ", "behind the tilde");
	expect_refused(NULL, "~ ^/(a", "missing closing parenthesis, at character 5");
	expect_refused(NULL, "~ a{2,1}", "numbers out of order");
	expect_refused(NULL, "~ \\C", "\\C");
	expect_refused("~(a", NULL, "missing closing parenthesis");
	expect_refused("*", NULL, "`*.` and a name");
	expect_refused("*.", NULL, "`*.` and a name");
	expect_refused("*.a.*", NULL, "`*.` and a name");
	expect_refused(".*", NULL, "`*.` and a name");
	expect_refused("a*", NULL, "`*.` and a name");
	expect_refused("*a.com", NULL, "`*.` and a name");
	expect_refused("http://a", NULL, "`*.` and a name");
}

static void test_all_findings(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	assert_false(add(f, "a:80 b *c", "x", NULL));
	assert_int_equal(f->diags.errors, 3);
	fixture_free(f);
}

static void test_no_routes(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	assert_string_equal(take(f, "GET", "a", "/"), "-");
	fixture_free(f);
}

static void test_path_without_normal_form(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	assert_true(add(f, NULL, NULL, NULL));
	assert_string_equal(take(f, "GET", "a", NULL), "-");
	assert_string_equal(take(f, "GET", "a", "/"), "a");
	fixture_free(f);
}

static void test_dots_that_others_see(void **state)
{
	static const char *const bad[] = {
		"/open/..%2fx",   "/open/..%5Cx", "/open/..\\x",   "/open/%2e%2e%2Fx",
		"/open%2f..%2fx", "/open%2F..",   "/open/..;/x",   "/open/..;a=b",
		"/open\\..",      "/a%5c..;x",    "/a../b%2F../c", "/..%2F",
	};
	static const char *const good[] = {
		"/open/..x", "/a..b", "/a../b",         "/...", "/a%2Fb",
		"/a/...%2F", "/x;..", "/a%252F..%252F", "/*",   "/a/../b",
	};
	struct arena arena;

	(void)state;
	arena_init(&arena, NULL);
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		struct head h = { .path = slice_str(bad[i]) };

		if (route_path(&h, SLASHES_KEEP, &arena).p != NULL)
			fail_msg("%s is taken", bad[i]);
	}
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		struct head h = { .path = slice_str(good[i]) };

		if (route_path(&h, SLASHES_KEEP, &arena).p == NULL)
			fail_msg("%s is refused", good[i]);
	}
	arena_fini(&arena);
}

static void test_paths(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	assert_true(add(f, NULL, "/x", NULL));
	assert_true(add(f, NULL, "/x/*", NULL));
	assert_true(
	    add(f, NULL, "/a%2db//c/./d", NULL)); /* brought into the form requests come in */
	assert_true(add(f, NULL, "/y/*", NULL));
	assert_string_equal(take(f, "GET", "h", "/x"), "a");
	assert_string_equal(take(f, "GET", "h", "/x/"), "b");
	assert_string_equal(take(f, "GET", "h", "/x/y/z"), "b");
	assert_string_equal(take(f, "GET", "h", "/xy"), "-");
	assert_string_equal(take(f, "GET", "h", "/X"), "-");
	assert_string_equal(take(f, "GET", "h", "/"), "-");
	assert_string_equal(take(f, "GET", "h", "/a-b/c/d"), "c");
	assert_string_equal(take(f, "GET", "h", "/y"), "-"); /* not below it */
	assert_string_equal(take(f, "GET", "h", "/y/"), "d");
	assert_true(add(f, NULL, "/*", NULL));
	assert_string_equal(take(f, "GET", "h", "/y"), "e");
	assert_string_equal(take(f, "OPTIONS", "h", "*"), "e");
	fixture_free(f);
}

static void test_prefixes_of_names(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	assert_true(add(f, NULL, "/x*", NULL));
	assert_string_equal(take(f, "GET", "h", "/x"), "a");
	assert_string_equal(take(f, "GET", "h", "/xy"), "a");
	assert_string_equal(take(f, "GET", "h", "/x/y"), "a");
	assert_string_equal(take(f, "GET", "h", "/y/x"), "-");
	fixture_free(f);
}

static void test_patterns(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	assert_true(add(f, NULL, "~ ^/users/[0-9]+$", NULL));
	assert_true(add(f, NULL, "~* \\.(png|jpe?g)$", "GET"));
	assert_true(add(f, "~^(a|b)\\.x$", NULL, NULL));
	assert_true(add(f, NULL, "~ x", "POST"));
	assert_string_equal(take(f, "GET", "h", "/users/12"), "a");
	assert_string_equal(take(f, "GET", "h", "/users/12/"), "-");
	assert_string_equal(take(f, "GET", "h", "/Users/12"), "-");
	assert_string_equal(take(f, "GET", "h", "/a/b.PNG"), "b");
	assert_string_equal(take(f, "POST", "h", "/a/b.PNG"), "-");
	assert_string_equal(take(f, "GET", "A.x:80", "/"), "c");
	assert_string_equal(take(f, "GET", "aa.x", "/"), "-");
	assert_string_equal(take(f, "GET", "", "/"), "-");
	assert_string_equal(take(f, "POST", "h", "/y"), "-");
	assert_string_equal(take(f, "POST", "h", "/yx"), "d");
	fixture_free(f);
}

/* Behind a pattern that cannot tell, no route takes the call: this one might have kept it out. */
static void test_a_hard_path_takes_no_route(void **state)
{
	struct fixture *f = fixture_new();
	char path[4002] = "/";

	(void)state;
	memset(path + 1, 'a', sizeof(path) - 2);
	assert_true(add(f, NULL, "/b", NULL));
	assert_true(add(f, NULL, "~ (a+)+$", "PUT"));
	assert_true(add(f, NULL, "~ ^/(a+)+[bc]$", NULL));
	assert_true(add(f, NULL, NULL, NULL));
	assert_string_equal(take(f, "GET", "h", path), "too hard");
	assert_string_equal(take(f, "GET", "h", "/b"), "a");
	assert_string_equal(take(f, "GET", "h", "/aaab"), "c");
	assert_string_equal(take(f, "GET", "h", "/aaa"), "d");
	fixture_free(f);
}

static void test_first_wins(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	assert_true(add(f, NULL, "/x/*", NULL));
	assert_true(add(f, NULL, "/x/y", NULL));
	assert_string_equal(take(f, "GET", "h", "/x/y"), "a");
	fixture_free(f);
}

static void test_hosts(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	assert_true(add(f, "api.Example.com other.org", NULL, NULL));
	assert_true(add(f, "*.example.com", NULL, NULL));
	assert_true(add(f, "[::1]", NULL, NULL));
	assert_true(add(f, "10.0.0.1", NULL, NULL));
	assert_string_equal(take(f, "GET", "api.example.com", "/"), "a");
	assert_string_equal(take(f, "GET", "API.EXAMPLE.COM", "/"), "a");
	assert_string_equal(take(f, "GET", "api.example.com:8080", "/"), "a");
	assert_string_equal(take(f, "GET", "api.example.com.", "/"), "a");
	assert_string_equal(take(f, "GET", "api.example.com.:80", "/"), "a");
	assert_string_equal(take(f, "GET", "other.org", "/"), "a");
	assert_string_equal(take(f, "GET", "www.example.com", "/"), "b");
	assert_string_equal(take(f, "GET", "a.b.example.com:1", "/"), "b");
	assert_string_equal(take(f, "GET", "example.com", "/"), "-");
	assert_string_equal(take(f, "GET", ".example.com", "/"), "-");
	assert_string_equal(take(f, "GET", "badexample.com", "/"), "-");
	assert_string_equal(take(f, "GET", "api.example.com.evil", "/"), "-");
	assert_string_equal(take(f, "GET", "[::1]:80", "/"), "c");
	assert_string_equal(take(f, "GET", "[::1]", "/"), "c");
	assert_string_equal(take(f, "GET", "[::2]", "/"), "-");
	assert_string_equal(take(f, "GET", "10.0.0.1:80", "/"), "d");
	assert_string_equal(take(f, "GET", "", "/"), "-"); /* HTTP/1.0 without Host */
	assert_string_equal(take(f, "GET", ":80", "/"), "-");
	assert_true(add(f, NULL, NULL, NULL));
	assert_string_equal(take(f, "GET", "", "/"), "e");
	fixture_free(f);
}

static void test_hosts_that_begin(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	assert_true(add(f, "Mail.*", NULL, NULL));
	assert_string_equal(take(f, "GET", "mail.x", "/"), "a");
	assert_string_equal(take(f, "GET", "mail.example.com:80", "/"), "a");
	assert_string_equal(take(f, "GET", "mail", "/"), "-");
	assert_string_equal(take(f, "GET", "mail.", "/"), "-");
	assert_string_equal(take(f, "GET", "email.x", "/"), "-");
	fixture_free(f);
}

static void test_long_host(void **state)
{
	struct fixture *f = fixture_new();
	char host[5000];

	(void)state;
	assert_true(add(f, "*.b", NULL, NULL));
	memset(host, 'a', sizeof(host));
	strcpy(host + 253, ".b");
	assert_string_equal(take(f, "GET", host, "/"), "a");
	host[253] = 'a';
	strcpy(host + sizeof(host) - 3, ".b");
	host[255] = 'a';
	assert_string_equal(take(f, "GET", host, "/"), "-");
	fixture_free(f);
}

static void test_methods(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	assert_true(add(f, NULL, NULL, "GET HEAD"));
	assert_true(add(f, NULL, NULL, "POST PURGE"));
	assert_string_equal(take(f, "GET", "h", "/"), "a");
	assert_string_equal(take(f, "HEAD", "h", "/"), "a");
	assert_string_equal(take(f, "POST", "h", "/"), "b");
	assert_string_equal(take(f, "PURGE", "h", "/"), "b");
	assert_string_equal(take(f, "PURG", "h", "/"), "-");
	assert_string_equal(take(f, "get", "h", "/"), "-");
	assert_string_equal(take(f, "DELETE", "h", "/"), "-");
	fixture_free(f);
}

static void test_all_must_hold(void **state)
{
	struct fixture *f = fixture_new();

	(void)state;
	assert_true(add(f, "a.com", "/x/*", "POST"));
	assert_string_equal(take(f, "POST", "a.com", "/x/1"), "a");
	assert_string_equal(take(f, "GET", "a.com", "/x/1"), "-");
	assert_string_equal(take(f, "POST", "b.com", "/x/1"), "-");
	assert_string_equal(take(f, "POST", "a.com", "/y/1"), "-");
	fixture_free(f);
}

static struct when_conf when(const char *name, const char **value)
{
	return (struct when_conf){ .name = { .name = name }, .values = { 1, value } };
}

static void test_conditions(void **state)
{
	static const struct template_match no_match;
	const char *one = "1", *net = "10.0.0.0/8";
	struct when_conf c[] = { when("query.v", &one), when("client.ip", &net) };
	struct fixture *f = fixture_new();
	struct head req = { .query = slice_str("v=1") };
	struct call call = { .req = &req, .arena = &f->arena };
	struct template_values values = { .call = &call, .match = &no_match };

	(void)state;
	f->values = &values;
	f->conf[0].match.when = (struct conf_list){ 2, c };
	assert_true(add(f, NULL, "/x/*", NULL));
	assert_true(add(f, NULL, NULL, NULL));
	assert_string_equal(take(f, "GET", "h", "/x/y"), "b"); /* from a unix socket */
	assert_true(ip_parse(slice_str("10.1.2.3"), &call.client));
	assert_string_equal(take(f, "GET", "h", "/x/y"), "a");
	assert_string_equal(take(f, "GET", "h", "/y"), "b");
	req.query = slice_str("v=2");
	assert_string_equal(take(f, "GET", "h", "/x/y"), "b");
	fixture_free(f);
}

static void test_conditions_hide_only_the_same(void **state)
{
	const char *one = "1", *two = "2";
	struct when_conf a = when("query.v", &one), b = when("query.v", &two);
	struct fixture *f = fixture_new();

	(void)state;
	f->conf[0].match.when = f->conf[3].match.when = (struct conf_list){ 1, &a };
	f->conf[1].match.when = (struct conf_list){ 1, &b };
	for (int i = 0; i < 4; i++)
		assert_true(add(f, NULL, NULL, NULL));
	assert_false(route_hides(&f->route[0], &f->route[1]));
	assert_false(route_hides(&f->route[0], &f->route[2]));
	assert_true(route_hides(&f->route[0], &f->route[3]));
	assert_true(route_hides(&f->route[2], &f->route[3]));
	fixture_free(f);
}

/*---------------------------------------------------------------- hiding */

struct match {
	const char *hosts, *path, *methods;
};

static bool hides(struct match a, struct match b)
{
	struct fixture *f = fixture_new();
	bool yes;

	assert_true(add(f, a.hosts, a.path, a.methods));
	assert_true(add(f, b.hosts, b.path, b.methods));
	yes = route_hides(&f->route[0], &f->route[1]);
	fixture_free(f);
	return yes;
}

#define M(...) ((struct match){ __VA_ARGS__ })

static void test_does_not_hide(void **state)
{
	(void)state;
	assert_false(hides(M(NULL, "/x"), M(NULL, "/x/*")));
	assert_false(hides(M(NULL, "/x/*"), M(NULL, "/x")));
	assert_false(hides(M(NULL, "/x/*"), M(NULL, "/*")));
	assert_false(hides(M("a.com"), M(NULL)));
	assert_false(hides(M("a.com"), M("a.com b.com")));
	assert_false(hides(M("*.a.com"), M("a.com")));
	assert_false(hides(M("x.a.com"), M("*.a.com")));
	assert_false(hides(M("*.b.a.com"), M("*.a.com")));
	assert_false(hides(M("a.*"), M("*.a")));
	assert_false(hides(M("a.*"), M("a")));
	assert_false(hides(M("~."), M("a")));
	assert_false(hides(M("*.a"), M("~^b\\.a$")));
	assert_false(hides(M(NULL, "~ /"), M(NULL, "/x")));
	assert_false(hides(M(NULL, "/x*"), M(NULL, "~ ^/x")));
	assert_false(hides(M(NULL, "~ x"), M(NULL, "~* x")));
	assert_false(hides(M(NULL, NULL, "GET"), M(NULL)));
	assert_false(hides(M(NULL, NULL, "GET"), M(NULL, NULL, "GET PURGE")));
}

static void test_hides(void **state)
{
	(void)state;
	assert_true(hides(M(NULL), M("a.com", "/x", "GET")));
	assert_true(hides(M(NULL, "/*"), M(NULL, "/x")));
	assert_true(hides(M(NULL, "/x/*"), M(NULL, "/x/y")));
	assert_true(hides(M(NULL, "/x/*"), M(NULL, "/x/y/*")));
	assert_true(hides(M("A.com b.com"), M("a.com")));
	assert_true(hides(M("*.a.com"), M("x.a.com *.a.com *.y.a.com")));
	assert_true(hides(M("a.*"), M("a.com a.b.*")));
	assert_true(hides(M("~^a"), M("~^a")));
	assert_true(hides(M(NULL, "/*"), M(NULL, "~ x")));
	assert_true(hides(M(NULL, "~ x"), M(NULL, "~ x")));
	assert_true(hides(M(NULL, "/x*"), M(NULL, "/x/*")));
	assert_true(hides(M(NULL, NULL, "GET PURGE POST"), M(NULL, NULL, "PURGE GET")));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_all_findings),
		cmocka_unit_test(test_no_routes),
		cmocka_unit_test(test_path_without_normal_form),
		cmocka_unit_test(test_dots_that_others_see),
		cmocka_unit_test(test_paths),
		cmocka_unit_test(test_prefixes_of_names),
		cmocka_unit_test(test_patterns),
		cmocka_unit_test(test_a_hard_path_takes_no_route),
		cmocka_unit_test(test_first_wins),
		cmocka_unit_test(test_hosts),
		cmocka_unit_test(test_hosts_that_begin),
		cmocka_unit_test(test_long_host),
		cmocka_unit_test(test_methods),
		cmocka_unit_test(test_all_must_hold),
		cmocka_unit_test(test_conditions),
		cmocka_unit_test(test_conditions_hide_only_the_same),
		cmocka_unit_test(test_does_not_hide),
		cmocka_unit_test(test_hides),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
