/* The `redis:` section. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "redis/conf.h"

static struct arena arena;
static struct diags diags;
static struct redis_conf conf;

static const struct field file_fields[] = {
	{ .key = "redis", .type = C_MAP, .offset = 0, .sub = &redis_schema },
	{ .key = NULL },
};

static const struct schema file_schema = {
	.name = "file",
	.size = sizeof(struct redis_conf),
	.fields = file_fields,
};

static bool load(const char *yaml)
{
	struct conf_load l = { .arena = &arena, .diags = &diags, .path = "" };
	struct node *root;

	arena_fini(&arena);
	arena_init(&arena, NULL);
	diags_init(&diags, &arena);
	root = node_read_text("weir.yaml", slice_str(yaml), &arena, &diags);
	assert_non_null(root);
	return schema_load(&l, &file_schema, root, &conf) && diags.errors == 0;
}

static void test_bad_ones(void **state)
{
	static const char *const bad[] = {
		"redis: {}",
		"redis: http://a",
		"redis: { url: redis://a, sentinel: { master: m, addresses: b } }",
		"redis: [redis://a, unix:/b]",
		"redis: { url: [redis://a, unix:/b] }",
		"redis: { url: [redis://a, rediss://b] }",
		"redis: { url: [\"redis://:x@a\", \"redis://:y@b\"] }",
		"redis: { url: [redis://a/1, redis://b] }",
		"redis: { url: redis://a, namespace: \"a:b\" }",
		"redis: { url: redis://a, salt: short }",
		"redis: { url: redis://a, timeout: 0ms }",
		"redis: { url: redis://a, on_error: maybe }",
		"redis: { sentinel: { master: m } }",
		"redis: { sentinel: { master: m, addresses: [\"a:0\"] } }",
		"redis: { cluster: true, sentinel: { master: m, addresses: [a] } }",
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		if (load(bad[i]))
			fail_msg("taken: %s", bad[i]);
}

static void test_defaults(void **state)
{
	struct redis_options o = { .n_places = 0 };

	(void)state;
	assert_true(load("redis: \"redis://side:pw@cache:6380/3\""));
	assert_int_equal(conf.timeout_ns, 20 * CLOCK_MS);
	assert_int_equal(conf.on_error, LEASE_LOCAL);
	assert_int_equal(conf.overshoot_ppm, 50000);
	assert_string_equal(conf.space, "weir");
	assert_true(slice_is(redis_conf_salt(&conf), "pw"));
	redis_conf_options(&conf, NULL, &o);
	assert_int_equal(o.n_places, 1);
	assert_string_equal(o.place[0].host, "cache");
	assert_string_equal(o.greeting.user, "side");
	assert_int_equal(o.greeting.database, 3);
	assert_false(o.cluster);
	assert_null(o.master);
}

static void test_clusters_and_sentinels(void **state)
{
	struct redis_options o = { .n_places = 0 };

	(void)state;
	assert_true(load("redis: { url: [rediss://a, \"rediss://b:7000\"], password: pw, "
			 "tls: { ca: /ca.pem } }"));
	assert_true(conf.cluster && conf.use_tls);
	assert_string_equal(conf.tls.ca, "/ca.pem");
	assert_true(load("redis: { url: redis://a, cluster: true }"));
	assert_true(conf.cluster);
	assert_true(load("redis: { sentinel: { master: main, addresses: [a, \"[::1]:5000\"], "
			 "password: sp }, password: rp, salt: sixteen-letters! }"));
	redis_conf_options(&conf, NULL, &o);
	assert_string_equal(o.master, "main");
	assert_int_equal(o.place[0].port, 26379);
	assert_string_equal(o.place[1].host, "::1");
	assert_string_equal(o.greeting.password, "rp");
	assert_string_equal(o.sentinel_greeting.password, "sp");
	assert_true(slice_is(redis_conf_salt(&conf), "sixteen-letters!"));
}

/* A dump shows no password. */
static void test_secrets(void **state)
{
	struct buf b = { .p = NULL };

	(void)state;
	assert_true(load("redis: { url: \"redis://u:hidden1@a\", salt: hidden2hidden }"));
	schema_dump_yaml(&file_schema, &conf, &b);
	assert_null(strstr(b.p, "hidden"));
	assert_non_null(strstr(b.p, "redacted"));
	buf_fini(&b);
	arena_fini(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bad_ones),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_clusters_and_sentinels),
		cmocka_unit_test(test_secrets),
	};

	arena_init(&arena, NULL);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
