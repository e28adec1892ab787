/* Keys: what counts as the same, what does not, and what is missing. */
#include "policies.h"

#include "filters/identity.h"
#include "filters/key.h"

/* Parses one specification; the arena is the caller's. */
static struct key_spec spec_of(struct arena *arena, const char *yaml)
{
	struct diags diags;
	struct conf_load load = { .arena = arena, .diags = &diags, .path = "policies.a" };
	struct key_spec spec;
	struct node *node;

	diags_init(&diags, arena);
	node = node_read_text("key.yaml", slice_str(yaml), arena, &diags);
	assert_non_null(node);
	assert_true(key_custom.parse(&load, node_get(node, "key"), &spec));
	assert_int_equal(diags.errors, 0);
	return spec;
}

/* What a visit looks like, as text: "client host path method header value". */
struct look {
	const char *client, *authority, *query, *header, *value;
};

static bool print_of(const char *yaml, struct look look, uint64_t *out)
{
	struct visit v;
	struct key_spec spec;
	bool ok;

	visit_init(&v, look.client, 1);
	if (look.authority != NULL)
		v.req.authority = slice_str(look.authority);
	v.req.query = slice_str(look.query);
	if (look.header != NULL)
		visit_header(&v, look.header, look.value);
	spec = spec_of(&v.arena, yaml);
	ok = key_fingerprint(&spec, &v.call, out);
	arena_fini(&v.arena);
	return ok;
}

static void assert_missing(const char *yaml, struct look look)
{
	uint64_t print;

	assert_false(print_of(yaml, look, &print));
}

static bool same(const char *yaml, struct look a, struct look b)
{
	uint64_t x, y;

	assert_true(print_of(yaml, a, &x));
	assert_true(print_of(yaml, b, &y));
	return x == y;
}

static void test_what_is_missing(void **state)
{
	(void)state;
	assert_missing("key: client.ip", (struct look){ .client = NULL }); /* a unix socket */
	assert_missing("key: header.x-a", (struct look){ .header = "x-b", .value = "1" });
	assert_missing("key: header.x-a", (struct look){ .header = "x-a", .value = "" });
	assert_missing("key: query.k", (struct look){ .query = NULL });
	assert_missing("key: query.k", (struct look){ .query = "kk=1&j=k" });
	assert_missing("key: query.k", (struct look){ .query = "k" });
	assert_missing("key: query.k", (struct look){ .query = "k=" });
	assert_missing("key: cookie.k", (struct look){ .header = "Cookie", .value = "kk=1; j=k" });
	assert_missing("key: cookie.k", (struct look){ .header = "Cookie", .value = ";;=;k;k=" });
	assert_missing("key: host", (struct look){ .authority = "" });
	assert_missing("key: tls.san", (struct look){ .client = "10.0.0.1" });
	assert_missing("key: [path, header.x-a]", (struct look){ .client = "10.0.0.1" });
}

static void test_missing_is_like_no_value(void **state)
{
	struct arena arena;
	struct key_spec spec;
	uint64_t missing = key_fingerprint_missing(), none;

	(void)state;
	arena_init(&arena, NULL);
	spec = spec_of(&arena, "key: header.x");
	assert_true(missing != key_fingerprint_value(&spec, slice_str("")));
	assert_true(missing != key_fingerprint_value(&spec, slice_str("\xff\xff\xff\xff")));
	memset(&spec, 0, sizeof(spec));
	assert_true(key_fingerprint(&spec, NULL, &none));
	assert_true(none != missing);
	arena_fini(&arena);
}

static void test_client_ip(void **state)
{
	struct look a = { .client = "10.1.2.3" }, b = { .client = "10.1.2.4" },
		    c = { .client = "10.1.3.3" };
	struct look d = { .client = "2001:db8:1:2::1" }, e = { .client = "2001:db8:1:2:ffff::9" };
	struct look f = { .client = "2001:db8:1:3::1" };

	(void)state;
	assert_true(same("key: client.ip", a, a));
	assert_false(same("key: client.ip", a, b));
	assert_true(same("key: client.ip", d, e));
	assert_false(same("key: client.ip", d, f));
	assert_true(same("key: client.ip/24/48", a, b));
	assert_false(same("key: client.ip/24/48", a, c));
	assert_true(same("key: client.ip/24/48", d, f));
	assert_false(same("key: client.ip/32/128", d, e));
	assert_true(same("key: client.ip/0/0", a, c));
	assert_false(same("key: client.ip/0/1", a, d));
}

static void test_header(void **state)
{
	struct look a = { .header = "x-tenant", .value = "a" },
		    b = { .header = "X-Tenant", .value = "a" };
	struct look c = { .header = "x-tenant", .value = "A" };
	struct look d = { .header = "Authorization", .value = "Bearer x" };

	(void)state;
	assert_true(same("key: header.X-TENANT", a, b));
	assert_false(same("key: header.x-tenant", a, c));
	assert_true(same("key: header.authorization", d, d)); /* a name that heads know by number */
}

static void test_query(void **state)
{
	struct look a = { .query = "j=2&k=a+b&k=c" }, b = { .query = "k=a%20b" },
		    c = { .query = "%6B=a%20b&x" };
	struct look d = { .query = "k=a%2520b" }, e = { .query = "k=%zz" },
		    f = { .query = "k=%25zz" };

	(void)state;
	assert_true(same("key: query.k", a, b));
	assert_true(same("key: query.k", a, c));
	assert_false(same("key: query.k", a, d));
	assert_true(same("key: query.k", e, f));
}

static void test_cookie(void **state)
{
	struct look a = { .header = "Cookie", .value = "sid=1; other=2" },
		    b = { .header = "cookie", .value = "x=y;sid=1" };
	struct look c = { .header = "Cookie", .value = "sid=2" };

	(void)state;
	assert_true(same("key: cookie.sid", a, b));
	assert_false(same("key: cookie.sid", a, c));
}

static void test_host(void **state)
{
	struct look a = { .authority = "Example.COM:8080" }, b = { .authority = "example.com" };
	struct look c = { .authority = "example.com." }, d = { .authority = "[2001:DB8::1]:443" };
	struct look e = { .authority = "[2001:db8::1]" }, f = { .authority = "example.org" };

	(void)state;
	assert_true(same("key: host", a, b));
	assert_true(same("key: host", a, c));
	assert_true(same("key: host", d, e));
	assert_false(same("key: host", a, f));
}

static uint64_t two_headers(const char *a, const char *b)
{
	struct visit v;
	struct key_spec spec;
	uint64_t print;

	visit_init(&v, "10.0.0.1", 1);
	visit_header(&v, "x-a", a);
	visit_header(&v, "x-b", b);
	spec = spec_of(&v.arena, "key: [header.x-a, header.x-b]");
	assert_true(key_fingerprint(&spec, &v.call, &print));
	arena_fini(&v.arena);
	return print;
}

static void test_compound_keys_do_not_run_together(void **state)
{
	char x[100], y[101];

	(void)state;
	assert_true(two_headers("ab", "c") == two_headers("ab", "c"));
	assert_true(two_headers("ab", "c") != two_headers("a", "bc"));
	assert_true(two_headers("a", "b") != two_headers("b", "a"));
	memset(x, 'x', sizeof(x));
	memset(y, 'x', sizeof(y));
	x[99] = y[100] = '\0';
	assert_true(two_headers(x, y) != two_headers(y, x)); /* values that go in as hashes */
}

static void test_long_values_count_whole(void **state)
{
	char *x = malloc(8001), *y = malloc(8001);

	(void)state;
	memset(x, 'x', 8000);
	x[0] = 'k', x[1] = '=', x[8000] = '\0';
	memcpy(y, x, 8001);
	y[7999] = 'y';
	assert_false(
	    same("key: query.k", (struct look){ .query = x }, (struct look){ .query = y }));
	assert_false(same("key: header.x", (struct look){ .header = "x", .value = x },
			  (struct look){ .header = "x", .value = y }));
	assert_false(
	    same("key: host", (struct look){ .authority = x }, (struct look){ .authority = y }));
	free(x);
	free(y);
}

static void test_eight_long_parts(void **state)
{
	char value[4000];
	struct look a = { .header = "x", .value = value };

	(void)state;
	memset(value, 'v', sizeof(value));
	value[sizeof(value) - 1] = '\0';
	assert_true(same(
	    "key: [header.x, header.x, header.x, header.x, header.x, header.x, header.x, header.x]",
	    a, a));
}

static void test_other_sources(void **state)
{
	struct visit v;
	struct key_spec spec;
	uint64_t a, b;

	(void)state;
	visit_init(&v, "10.0.0.1", 1);
	spec = spec_of(&v.arena, "key: [path, method, route, upstream, const.x]");
	assert_true(key_fingerprint(&spec, &v.call, &a));
	v.call.path = slice_str("/other");
	assert_true(key_fingerprint(&spec, &v.call, &b));
	assert_true(a != b);
	v.call.path = slice_str("/");
	v.req.method = slice_str("POST");
	assert_true(key_fingerprint(&spec, &v.call, &b));
	assert_true(a != b);
	v.req.method = slice_str("GET");
	v.call.route = "other";
	assert_true(key_fingerprint(&spec, &v.call, &b));
	assert_true(a != b);
	v.call.route = NULL;
	assert_false(key_fingerprint(&spec, &v.call, &b));
	v.call.route = "app";
	assert_true(key_fingerprint(&spec, &v.call, &b));
	assert_true(a == b);
	arena_fini(&v.arena);
}

static void assert_text(const char *yaml, const char *text, const char *dumped)
{
	struct arena arena;
	struct key_spec spec;
	struct buf b = { .p = NULL };

	arena_init(&arena, NULL);
	spec = spec_of(&arena, yaml);
	assert_string_equal(spec.text, text);
	key_custom.dump(&spec, &b);
	assert_string_equal(b.p, dumped);
	buf_fini(&b);
	arena_fini(&arena);
}

/* Who calls, as it was verified. */
static bool print_of_who(const char *yaml, const struct identity *who, uint64_t *out)
{
	struct visit v;
	struct key_spec spec;
	bool ok;

	visit_init(&v, "10.0.0.1", 1);
	v.call.who = who;
	spec = spec_of(&v.arena, yaml);
	ok = key_fingerprint(&spec, &v.call, out);
	arena_fini(&v.arena);
	return ok;
}

static void test_identity(void **state)
{
	static const struct claim claims[] = {
		{ SLICE("sub"), SLICE("alice") },
		{ SLICE("empty"), SLICE("") },
		{ SLICE("org.id"), SLICE("7") },
	};
	static const struct identity token = { .n = 3, .claim = claims }, nobody = { .n = 0 };
	static const struct identity key = { .api_key = SLICE("abc") };
	uint64_t a, b;

	(void)state;
	assert_false(print_of_who("key: jwt.sub", NULL, &a));
	assert_false(print_of_who("key: jwt.sub", &nobody, &a));
	assert_false(print_of_who("key: jwt.sub", &key, &a));
	assert_false(print_of_who("key: jwt.su", &token, &a));
	assert_false(print_of_who("key: jwt.empty", &token, &a));
	assert_false(print_of_who("key: jwt.org", &token, &a));
	assert_false(print_of_who("key: api_key", &token, &a));
	assert_false(print_of_who("key: [jwt.sub, api_key]", &token, &a));
	assert_true(print_of_who("key: jwt.sub", &token, &a));
	assert_true(print_of_who("key: jwt.org.id", &token, &b));
	assert_true(a != b);
	assert_true(print_of_who("key: api_key", &key, &a));
}

/* An override names a key by its hash, as the list of known ones may have it. */
static void test_hash_of_a_key(void **state)
{
	struct key_spec spec;
	struct arena arena;

	(void)state;
	arena_init(&arena, NULL);
	spec = spec_of(&arena, "key: api_key");
	assert_true(key_fingerprint_value(&spec, slice_str("sha256:ABC")) ==
		    key_fingerprint_value(&spec, slice_str("abc")));
	assert_int_equal(key_identity(&spec), IDENTITY_API_KEY);
	spec = spec_of(&arena, "key: [host, jwt.a]");
	assert_int_equal(key_identity(&spec), IDENTITY_JWT);
	spec = spec_of(&arena, "key: [host, tls.san]");
	assert_int_equal(key_identity(&spec), 0);
	arena_fini(&arena);
}

/* As operators write them, they are those of the calls. */
static void test_keys_written_by_hand(void **state)
{
	struct look look = { .client = "10.1.2.3", .header = "x-a", .value = "ann" };
	struct slice good[] = { slice_str("10.1.2.9"), slice_str("ann") };
	struct slice bad[] = { slice_str("10.1.2"), slice_str("ann") };
	const char *yaml = "key: [client.ip/24/48, const.x, header.x-a]";
	struct arena arena;
	struct key_spec spec;
	struct ip client = { .b = { 0 } };
	uint64_t want, got = 0;

	(void)state;
	arena_init(&arena, NULL);
	spec = spec_of(&arena, yaml);
	assert_true(print_of(yaml, look, &want));
	assert_false(key_fingerprint_text(&spec, bad, 2, &client, &got));
	assert_false(key_fingerprint_text(&spec, good, 1, &client, &got));
	assert_false(key_fingerprint_text(&spec, good, 0, &client, &got));
	assert_true(key_fingerprint_text(&spec, good, 2, &client, &got));
	assert_true(got == want);
	assert_true(ip_is_v4(&client));
	memset(&spec, 0, sizeof(spec));
	assert_false(key_fingerprint_text(&spec, good, 1, &client, &got));
	assert_true(key_fingerprint_text(&spec, good, 0, &client, &got));
	arena_fini(&arena);
}

/* The text is the table's identity: the same key written otherwise keeps its table. */
static void test_canonical_text(void **state)
{
	(void)state;
	assert_text("key: client.ip/32/64", "client.ip", "\"client.ip\"");
	assert_text("key: client.ip/24/48", "client.ip/24/48", "\"client.ip/24/48\"");
	assert_text("key: [header.X-Tenant]", "header.x-tenant", "\"header.x-tenant\"");
	assert_text("key: [host, query.K]", "host,query.K", "[\"host\", \"query.K\"]");
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_is_missing),
		cmocka_unit_test(test_missing_is_like_no_value),
		cmocka_unit_test(test_client_ip),
		cmocka_unit_test(test_header),
		cmocka_unit_test(test_query),
		cmocka_unit_test(test_cookie),
		cmocka_unit_test(test_host),
		cmocka_unit_test(test_compound_keys_do_not_run_together),
		cmocka_unit_test(test_long_values_count_whole),
		cmocka_unit_test(test_eight_long_parts),
		cmocka_unit_test(test_other_sources),
		cmocka_unit_test(test_identity),
		cmocka_unit_test(test_hash_of_a_key),
		cmocka_unit_test(test_keys_written_by_hand),
		cmocka_unit_test(test_canonical_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
