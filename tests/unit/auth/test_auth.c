/* Credentials of a call: where they stand, which kind they are, what is demanded, and what the
 * client and the upstream are told. */
#include "forge.h"

#include <stdlib.h>
#include <unistd.h>

#define SHA256_OF_ONE "7692c3ad3540bb803c020b3aee66cd8887123234ea0c6e7143c0add73ff431ed"

enum { JWT = IDENTITY_JWT, KEY = IDENTITY_API_KEY };

struct stand {
	struct arena arena;
	struct diags diags;
	struct auth_conf conf;
	struct auth *auth;
	struct auth_worker *worker;
	struct head head;
	struct auth_result result;
	char path[64];
};

static struct stand s;

static const char *allowed[] = { "sha256:" SHA256_OF_ONE };

static int setup(void **state)
{
	const char *keys;
	int fd;

	(void)state;
	s = (struct stand){ .path = "/tmp/weir-jwks-XXXXXX" };
	arena_init(&s.arena, NULL);
	diags_init(&s.diags, &s.arena);
	head_init(&s.head, &s.arena);
	keys = arena_printf(&s.arena, "{\"keys\":[{%s}]}", forge_jwk(&s.arena, NULL, JWS_HS256));
	fd = mkstemp(s.path);
	assert_int_equal(write(fd, keys, strlen(keys)), (ssize_t)strlen(keys));
	close(fd);
	s.conf.jwt = (struct jwt_conf){ .jwks = s.path,
					.from = { "authorization", "bearer" },
					.max_bytes = 8192,
					.cache = 16 };
	s.conf.api_key = (struct api_key_conf){ .from = { "x-api-key", NULL },
						.allow = { .n = 1, .item = allowed } };
	return 0;
}

static void open_it(void)
{
	bool ok;

	s.auth = auth_open(&s.conf, &s.arena, &s.diags, &ok);
	if (!ok)
		fail_msg("%s", s.diags.first->message);
	s.worker = auth_worker_new(s.auth);
	assert_non_null(s.worker);
}

static int teardown(void **state)
{
	(void)state;
	auth_release(&s.result);
	auth_worker_free(s.worker);
	auth_close(s.auth);
	unlink(s.path);
	arena_fini(&s.arena);
	return 0;
}

static void send(const char *name, const char *value)
{
	assert_true(head_add_name(&s.head, slice_str(name), slice_str(value)));
	s.head.fields[s.head.n - 1].id = (uint8_t)field_lookup(slice_str(name));
}

static const struct reason *check(struct auth_rule rule)
{
	if (s.worker == NULL)
		open_it();
	auth_release(&s.result);
	s.result = (struct auth_result){ .why = NULL };
	auth_check(s.worker, &rule, &s.head, NOW_NS, &s.arena, &s.result);
	head_init(&s.head, &s.arena);
	return s.result.why;
}

static const char *good(void)
{
	return forge(
	    &s.arena, NULL, JWS_HS256, "{\"alg\":\"HS256\"}",
	    "{\"exp\":1800000100,\"sub\":\"alice\",\"bad\":\"a\\r\\nb\",\"u\":\"\\u00e9\"}");
}

static void send_bearer(const char *token)
{
	send("Authorization", arena_printf(&s.arena, "bEARER  %s ", token));
}

/* What a route wants. */
static const struct auth_rule wants_jwt = { .looks = JWT, .binds = JWT, .all = JWT },
			      wants_key = { .looks = KEY, .binds = KEY, .any = KEY },
			      wants_either = { .looks = JWT | KEY,
					       .binds = JWT | KEY,
					       .any = JWT | KEY },
			      looks = { .looks = JWT | KEY, .binds = JWT | KEY },
			      tries = { .looks = JWT };

static void test_nothing_sent(void **state)
{
	(void)state;
	assert_ptr_equal(check(wants_jwt), reason_unauthenticated);
	assert_ptr_equal(check(wants_key), reason_unauthenticated);
	assert_ptr_equal(check(wants_either), reason_unauthenticated);
	assert_null(check(looks));
	assert_int_equal(s.result.outcome[AUTH_JWT], AUTH_missing);
}

static void test_another_scheme_is_nothing(void **state)
{
	static const char *const values[] = { "Basic YTpi", "Bearer", "Bearer ",  "Bearerx y",
					      "",           "x",      "Bearer\tx" };

	(void)state;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		send("Authorization", values[i]);
		assert_ptr_equal(check(wants_jwt), reason_unauthenticated);
	}
}

static void test_bad_ones_refuse(void **state)
{
	(void)state;
	send_bearer("a.b.c");
	assert_ptr_equal(check(looks), reason_invalid_token);
	assert_string_equal(auth_text(&s.result), "the credentials are malformed or too long");
	send_bearer("a.b.c");
	assert_null(check(tries));
	assert_int_equal(s.result.who.n, 0);
	send("X-Api-Key", "two");
	assert_ptr_equal(check(looks), reason_invalid_token);
	assert_int_equal(s.result.who.api_key.n, 0);
}

static void test_one_bad_one_good(void **state)
{
	(void)state;
	send_bearer(good());
	send("X-Api-Key", "two");
	assert_ptr_equal(check(wants_either), reason_invalid_token);
	assert_int_equal(s.result.who.n, 0);
}

static void test_repeated(void **state)
{
	(void)state;
	send_bearer(good());
	send_bearer(good());
	assert_ptr_equal(check(wants_jwt), reason_invalid_token);
	send("Authorization", "Basic YTpi");
	send_bearer(good());
	assert_ptr_equal(check(wants_jwt), reason_invalid_token);
}

static void test_too_long(void **state)
{
	char *text = arena_zalloc(&s.arena, 9000);

	(void)state;
	memset(text, 'a', 8999);
	send_bearer(text);
	assert_ptr_equal(check(wants_jwt), reason_invalid_token);
	assert_int_equal(s.result.outcome[AUTH_JWT], AUTH_malformed);
}

static void test_good_ones(void **state)
{
	struct slice value;

	(void)state;
	send_bearer(good());
	assert_null(check(wants_jwt));
	assert_int_equal(s.result.cached, AUTH_MISS);
	assert_true(identity_claim(&s.result.who, slice_str("sub"), &value));
	assert_true(slice_is(value, "alice"));
	send_bearer(good());
	assert_null(check(wants_either));
	assert_int_equal(s.result.cached, AUTH_HIT);
	send("X-Api-Key", "one");
	assert_null(check(wants_key));
	assert_true(slice_is(s.result.who.api_key, SHA256_OF_ONE));
}

static void test_without_a_cache(void **state)
{
	(void)state;
	s.conf.jwt.cache = 0;
	for (int i = 0; i < 2; i++) {
		send_bearer(good());
		assert_null(check(wants_jwt));
		assert_int_equal(s.result.cached, AUTH_NOT_CACHED);
	}
}

/* Both in the same field: what looks like a token is one, and no key, be it that any key will do.
 */
static void test_shared_field(void **state)
{
	(void)state;
	s.conf.api_key = (struct api_key_conf){ .from = s.conf.jwt.from };
	send_bearer("sk-1");
	assert_null(check(wants_either));
	assert_int_equal(s.result.who.api_key.n, 64);
	send_bearer("eyJh.b.c");
	assert_ptr_equal(check(wants_either), reason_invalid_token);
	send_bearer(good());
	assert_null(check(wants_either));
	assert_true(s.result.who.n > 0 && s.result.who.api_key.n == 64);
	send_bearer("sk-1");
	assert_ptr_equal(
	    check((struct auth_rule){ .looks = JWT | KEY, .binds = JWT | KEY, .any = JWT }),
	    reason_unauthenticated);
}

static void test_shared_field_and_known_keys(void **state)
{
	(void)state;
	s.conf.api_key.from = s.conf.jwt.from;
	send_bearer(good());
	assert_null(check(wants_either));
	assert_true(s.result.who.n > 0 && s.result.who.api_key.n == 0);
	send_bearer("one");
	assert_null(check(wants_either));
	assert_true(s.result.who.n == 0 && s.result.who.api_key.n == 64);
	send_bearer("two");
	assert_ptr_equal(check(wants_either), reason_invalid_token);
}

static void assert_challenge(struct auth_rule rule, const char *want)
{
	struct slice got = auth_challenge(s.auth, &rule, &s.result, &s.arena);

	if (!slice_is(got, want))
		fail_msg("%.*s", SLICE_FMT(got));
}

static void test_challenges(void **state)
{
	(void)state;
	check(wants_either);
	assert_challenge(wants_jwt, "Bearer realm=\"weir\"");
	assert_challenge(wants_either, "Bearer realm=\"weir\", ApiKey realm=\"weir\"");
	send("X-Api-Key", "two");
	check(wants_key);
	assert_challenge(wants_key, "ApiKey realm=\"weir\", error=\"invalid_token\", "
				    "error_description=\"the key is not known\"");
}

static void test_challenge_of_a_shared_field(void **state)
{
	(void)state;
	s.conf.api_key.from = s.conf.jwt.from;
	check(wants_either);
	assert_challenge(wants_either, "Bearer realm=\"weir\"");
	send_bearer("two");
	check(wants_either);
	assert_challenge(wants_either, "Bearer realm=\"weir\", error=\"invalid_token\", "
				       "error_description=\"the key is not known\"");
}

/* No description may hold what would end its string. */
static void test_texts(void **state)
{
	(void)state;
	for (unsigned i = 0; i < AUTH_OUTCOMES; i++)
		assert_null(strpbrk(auth_outcomes[i].text, "\"\\\r\n"));
}

/*---------------------------------------------------------------- the upstream */

static struct header_conf headers[] = {
	{ .name = { "x_user" }, .alike = "x-user", .source = HEADER_CLAIM, .claim = SLICE("sub") },
	{ .name = { "x-bad" }, .alike = "x-bad", .source = HEADER_CLAIM, .claim = SLICE("bad") },
	{ .name = { "x-u" }, .alike = "x-u", .source = HEADER_CLAIM, .claim = SLICE("u") },
	{ .name = { "x-none" }, .alike = "x-none", .source = HEADER_CLAIM, .claim = SLICE("none") },
	{ .name = { "x-cert" }, .alike = "x-cert", .source = HEADER_TLS_SAN },
	{ .name = { "x-key" }, .alike = "x-key", .source = HEADER_API_KEY_HASH },
};

static bool sends(const char *name, const char *value)
{
	const struct header *h = head_find_name(&s.head, slice_str(name));

	return value == NULL ? h == NULL : h != NULL && slice_is(h->value, value);
}

static void test_headers(void **state)
{
	static const struct slice san = SLICE("spiffe://a/b");

	(void)state;
	s.conf.headers = (struct conf_list){ .n = 6, .item = headers };
	send_bearer(good());
	assert_null(check(wants_jwt));
	send("X-User", "eve");
	send("x_user", "eve");
	send("X-User", "mallory");
	send("X-Key", "eve");
	send("X-Users", "others");
	auth_strip(&s.conf, &s.head);
	assert_true(sends("x-user", NULL) && sends("x_user", NULL) && sends("x-key", NULL));
	assert_true(sends("x-users", "others"));
	assert_true(auth_set(&s.conf, &s.result.who, san, &s.head));
	assert_true(sends("x_user", "alice") && sends("x-cert", "spiffe://a/b"));
	assert_true(sends("x-bad", NULL) && sends("x-u", NULL) && sends("x-none", NULL));
	assert_true(sends("x-key", NULL));
}

static void test_nobody(void **state)
{
	static const struct slice none = { .n = 0 };

	(void)state;
	s.conf.headers = (struct conf_list){ .n = 6, .item = headers };
	assert_true(auth_set(&s.conf, NULL, none, &s.head));
	assert_int_equal(s.head.n, 0);
}

static void test_detached(void **state)
{
	struct slice value;

	(void)state;
	send_bearer(good());
	assert_null(check(wants_jwt));
	assert_true(auth_detach(&s.result, &s.arena));
	assert_null(s.result.token);
	assert_true(identity_claim(&s.result.who, slice_str("sub"), &value));
	assert_true(slice_is(value, "alice"));
}

/*---------------------------------------------------------------- files */

static void fails(const char *code, const char *words)
{
	bool ok = true;

	assert_null(auth_open(&s.conf, &s.arena, &s.diags, &ok));
	assert_false(ok);
	assert_string_equal(s.diags.first->code, code);
	if (strstr(s.diags.first->message, words) == NULL)
		fail_msg("%s", s.diags.first->message);
}

static void test_no_such_file(void **state)
{
	(void)state;
	s.conf.jwt.jwks = "/nowhere/jwks.json";
	fails("E018", "No such file");
}

static void test_a_folder(void **state)
{
	(void)state;
	s.conf.jwt.jwks = "/";
	fails("E018", "it is a folder");
}

static void test_no_key_of_an_algorithm(void **state)
{
	static const char *names[] = { "RS256" };

	(void)state;
	s.conf.jwt.algorithms = (struct conf_list){ .n = 1, .item = names };
	fails("E043", "no key in it is for any of the `algorithms`");
}

static void test_bad_list_of_keys(void **state)
{
	const char *files[] = { s.path };

	(void)state;
	s.conf.api_key.allow = (struct conf_list){ .n = 1, .item = files };
	fails("E015", ":1: a line is the SHA-256 of a key");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(test_nothing_sent),
		T(test_another_scheme_is_nothing),
		T(test_bad_ones_refuse),
		T(test_one_bad_one_good),
		T(test_repeated),
		T(test_too_long),
		T(test_good_ones),
		T(test_without_a_cache),
		T(test_shared_field),
		T(test_shared_field_and_known_keys),
		T(test_challenges),
		T(test_challenge_of_a_shared_field),
		T(test_texts),
		T(test_headers),
		T(test_nobody),
		T(test_detached),
		T(test_no_such_file),
		T(test_a_folder),
		T(test_no_key_of_an_algorithm),
		T(test_bad_list_of_keys),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
