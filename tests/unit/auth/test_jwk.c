/* Key sets: what is no key, what is passed over, and what is told of it. */
#include "forge.h"

#define P256 "\"kty\":\"EC\",\"crv\":\"P-256\","
#define X    "\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
#define Y    "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\""
#define OCT  "\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T\""

static struct arena arena;
static struct diags diags;
static struct jwks set;

static int setup(void **state)
{
	(void)state;
	arena_init(&arena, NULL);
	diags_init(&diags, &arena);
	set = (struct jwks){ .n = 0 };
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	jwks_fini(&set);
	arena_fini(&arena);
	return 0;
}

static bool reads(const char *text)
{
	jwks_fini(&set);
	diags_init(&diags, &arena);
	set = (struct jwks){ .n = 0 };
	return jwks_read(&set, slice_str(text), "jwks.json", (struct place){ 0 }, &arena, &diags);
}

static bool says(const char *code, const char *words)
{
	for (const struct diag *d = diags.first; d != NULL; d = d->next)
		if (strcmp(d->code, code) == 0 && strstr(d->message, words) != NULL)
			return true;
	return false;
}

static void is_bad(const char *text, const char *words)
{
	if (reads(text) || !says("E043", words) || set.n != 0)
		fail_msg("%s: %s", text, diags.first == NULL ? "-" : diags.first->message);
}

/* One key of that kind and a good one; the former is passed over. */
static void is_passed_over(const char *members, const char *words)
{
	if (!reads(arena_printf(&arena, "{\"keys\":[{%s},{%s}]}", members, OCT)) || set.n != 1 ||
	    !says("W112", words))
		fail_msg("%s: %s", members, diags.first == NULL ? "-" : diags.first->message);
}

static void key_is_bad(const char *members, const char *words)
{
	is_bad(arena_printf(&arena, "{\"keys\":[{%s},{%s}]}", OCT, members), words);
}

static void test_no_set(void **state)
{
	(void)state;
	is_bad("", "is not JSON");
	is_bad("jwks", ":1:1: it is not JSON");
	is_bad("{\"keys\":[]", ":1:11: it is not JSON");
	is_bad("{\n \"keys\": [\n  { \"kty\": oct } ]}", ":3:12: it is not JSON");
	is_bad("{\"keys\":[]}\nx", ":2:1: it is not JSON");
	is_bad("{\"keys\":[],\"keys\":[]}", "a name comes twice");
	is_bad("{\"keys\":[\"\xff\"]}", "is not UTF-8");
	is_bad("[]", "it is no key set");
	is_bad("{}", "it is no key set");
	is_bad("{\"keys\":{}}", "it is no key set");
	is_bad("{" OCT "}", "it is no key set");
	is_bad("{\"keys\":[]}", "there is no key in it");
	is_bad("{\"keys\":[7]}", "key 1 is no object");
	is_bad("{\"keys\":[{\"kty\":\"XX\"}]}", "there is no key in it");
}

static void test_weak_and_broken(void **state)
{
	(void)state;
	key_is_bad("\"kty\":\"oct\",\"k\":\"c2hvcnQ\"", "key 2 has no `k` of 32");
	key_is_bad("\"kty\":\"oct\"", "has no `k`");
	key_is_bad(P256 X "\"y\":\"AAAA\"", "of 32 bytes");
	key_is_bad(P256 X "\"y\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\"",
		   "is no point of P-256");
	key_is_bad(P256 "\"x\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\","
			"\"y\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"",
		   "is no point of P-256");
	key_is_bad(P256 X "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0=\"", "of 32 bytes");
	key_is_bad("\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"AAAA\"", "of 32 bytes");
	key_is_bad("\"kty\":\"RSA\",\"e\":\"AQAB\"", "has no `n` and `e`");
	key_is_bad("\"kty\":\"RSA\",\"n\":\"sXchDaQebHnPiGvyDOAT4saGEUetSyo9MKLOoWFsueri\",\"e\":"
		   "\"AQAB\"",
		   "RSA key");
	key_is_bad("\"kty\":\"oct\",\"kid\":7", "has a `kid` that is no string");
}

static void test_small_rsa(void **state)
{
	EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)1024);

	(void)state;
	key_is_bad(forge_jwk(&arena, key, JWS_RS256), "of less than 2048 bits");
	EVP_PKEY_free(key);
}

static void test_passed_over(void **state)
{
	(void)state;
	is_passed_over("\"kty\":\"XX\",\"kid\":\"x\"", "key 1 (kid `x`)");
	is_passed_over(OCT ",\"use\":\"enc\"", "not for verifying");
	is_passed_over(OCT ",\"key_ops\":[\"sign\"]", "not for verifying");
	is_passed_over(OCT ",\"key_ops\":\"verify\"", "not for verifying");
	is_passed_over(OCT ",\"alg\":\"HS512\"", "`alg` is not known");
	is_passed_over(OCT ",\"alg\":\"RS256\"", "not one of its kind");
	is_passed_over("\"kty\":\"EC\",\"crv\":\"P-521\"", "P-256 is known");
	is_passed_over("\"kty\":\"EC\",\"crv\":\"secp256k1\"", "P-256 is known");
	is_passed_over("\"kty\":\"OKP\",\"crv\":\"X25519\"", "Ed25519 is known");
}

static void test_kids(void **state)
{
	(void)state;
	is_bad("{\"keys\":[{" OCT ",\"kid\":\"a\"},{" OCT ",\"kid\":\"a\"}]}",
	       "key 2 (kid `a`) has the `kid` of one before it");
	/* RFC 7517 section 4.5: of different kinds they may share it */
	assert_true(reads("{\"keys\":[{" OCT ",\"kid\":\"a\"},{" P256 X Y ",\"kid\":\"a\"},{" OCT
			  "},{" OCT "}]}"));
	assert_int_equal(set.n, 4);
}

static void test_what_keys_are_for(void **state)
{
	(void)state;
	assert_true(
	    reads("{\"keys\":[{" OCT ",\"key_ops\":[\"sign\",\"verify\"],\"use\":\"sig\"},"
		  "{" P256 X Y ",\"alg\":\"ES256\"},{\"kty\":\"OKP\",\"alg\":\"Ed25519\","
		  "\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}]}"));
	assert_int_equal(set.key[0].algs, 1u << JWS_HS256);
	assert_int_equal(set.key[1].algs, 1u << JWS_ES256);
	assert_int_equal(set.key[2].algs, 1u << JWS_EDDSA);
	assert_int_equal(diags.warnings, 0);
}

static void test_private_halves(void **state)
{
	(void)state;
	assert_true(reads("{\"keys\":[{" P256 X Y ",\"d\":\"AAAA\",\"kid\":\"p\"}]}"));
	assert_true(says("W113", "key 1 (kid `p`) holds its private half"));
	assert_true(reads("{\"keys\":[{" OCT "}]}"));
	assert_int_equal(diags.warnings, 0);
}

static void test_too_many(void **state)
{
	struct buf b = { .p = NULL };

	(void)state;
	buf_puts(&b, "{\"keys\":[");
	for (int i = 0; i <= JWKS_KEYS_MAX; i++)
		buf_puts(&b, i > 0 ? ",{" OCT "}" : "{" OCT "}");
	buf_puts(&b, "]}");
	is_bad(b.p, "key 65 is one too many");
	buf_fini(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(test_no_set),         T(test_weak_and_broken),
		T(test_small_rsa),      T(test_passed_over),
		T(test_kids),           T(test_what_keys_are_for),
		T(test_private_halves), T(test_too_many),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
