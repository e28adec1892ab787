/* Tokens: what is not believed, and what is. */
#include "forge.h"

#define HEADER "{\"alg\":\"HS256\"}"

static struct judge j;

static int setup(void **state)
{
	(void)state;
	judge_init(&j, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	judge_fini(&j);
	return 0;
}

static const char *hs256(const char *header, const char *claims)
{
	return forge(&j.arena, NULL, JWS_HS256, header, claims);
}

static void claims_are(const char *claims, enum auth_outcome want)
{
	assert_outcome(judge(&j, hs256(HEADER, claims)), want, claims);
}

static void header_is(const char *header, enum auth_outcome want)
{
	assert_outcome(judge(&j, hs256(header, "{\"exp\":1800000100}")), want, header);
}

/*---------------------------------------------------------------- form */

static void test_no_token(void **state)
{
	static const char *const bad[] = {
		"",          ".",           "..",          "...",   "a",
		"a.b",       "a.b.",        ".b.c",        "a..c",  "a.b.c.d",
		"a.b.c.d.e", "e30.e30.e30", "eyJ.eyJ.eyJ", "=.=.=", "a b.c.d"
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_outcome(judge(&j, bad[i]), AUTH_malformed, bad[i]);
}

/* Every byte of a good token matters: no other text is the same token. */
static void test_every_bit(void **state)
{
	const char *good = hs256(HEADER, "{\"exp\":1800000100,\"sub\":\"a\"}");
	char *bent = arena_strdup(&j.arena, good);

	(void)state;
	assert_int_equal(judge(&j, good), AUTH_ok);
	for (size_t i = 0; good[i] != '\0'; i++) {
		for (int bit = 0; bit < 8; bit++) {
			bent[i] = (char)(good[i] ^ 1 << bit);
			if (bent[i] != '\0' && judge(&j, bent) == AUTH_ok)
				fail_msg("%zu %d: %s", i, bit, bent);
		}
		bent[i] = good[i];
	}
}

static void test_cut_short(void **state)
{
	const char *good = hs256(HEADER, "{\"exp\":1800000100}");

	(void)state;
	for (size_t n = 0; n < strlen(good); n++) {
		struct slice part = slice_of(good, n);

		assert_int_not_equal(jwt_check(&j.rules, part, NOW_NS, &j.arena, &j.token),
				     AUTH_ok);
	}
	assert_int_not_equal(judge(&j, arena_printf(&j.arena, "%sA", good)), AUTH_ok);
	assert_int_not_equal(judge(&j, arena_printf(&j.arena, "%s=", good)), AUTH_ok);
	assert_int_not_equal(judge(&j, arena_printf(&j.arena, "%s.", good)), AUTH_ok);
}

static void test_headers(void **state)
{
	(void)state;
	header_is("{\"alg\":\"none\"}", AUTH_unsupported);
	header_is("{\"alg\":\"None\"}", AUTH_unsupported);
	header_is("{\"alg\":\"\"}", AUTH_unsupported);
	header_is("{\"alg\":\"hs256\"}", AUTH_unsupported);
	header_is("{\"alg\":\"HS512\"}", AUTH_unsupported);
	header_is("{\"alg\":[\"HS256\"]}", AUTH_malformed);
	header_is("{\"alg\":null}", AUTH_malformed);
	header_is("{\"alg\":\"HS256\",\"alg\":\"none\"}", AUTH_malformed);
	header_is("{\"typ\":\"JWT\"}", AUTH_malformed);
	header_is("[]", AUTH_malformed);
	header_is("\"HS256\"", AUTH_malformed);
	header_is("{\"alg\":\"HS256\"} ", AUTH_ok);
	header_is("{\"alg\":\"HS256\"}x", AUTH_malformed);
	header_is("{\"alg\":\"HS256\",\"kid\":7}", AUTH_malformed);
	header_is("{\"alg\":\"HS256\",\"x\":\"\xff\"}", AUTH_malformed);
	header_is("{\"alg\":\"HS256\",\"x\":\"\\u0000\"}", AUTH_malformed);
	header_is("{\"alg\":\"HS256\",\"x\":[[[[[[[[[[1]]]]]]]]]]}", AUTH_malformed);
	header_is("{\"alg\":\"HS256\",\"crit\":[\"exp\"],\"exp\":1}", AUTH_unsupported);
	header_is("{\"alg\":\"HS256\",\"crit\":[]}", AUTH_unsupported);
	header_is("{\"alg\":\"HS256\",\"b64\":false,\"crit\":[\"b64\"]}", AUTH_unsupported);
	header_is("{\"alg\":\"HS256\",\"b64\":false}", AUTH_unsupported);
	header_is("{\"alg\":\"HS256\",\"b64\":\"true\"}", AUTH_unsupported);
	header_is("{\"alg\":\"HS256\",\"b64\":true}", AUTH_ok);
	header_is("{\"alg\":\"HS256\",\"typ\":\"at+jwt\",\"jku\":\"https://evil.test\"}", AUTH_ok);
}

static void test_a_long_header(void **state)
{
	char *long_one = arena_zalloc(&j.arena, JWT_HEADER_MAX + 64);

	(void)state;
	strcpy(long_one, "{\"alg\":\"HS256\",\"x\":\"");
	memset(long_one + strlen(long_one), 'a', JWT_HEADER_MAX);
	strcat(long_one, "\"}");
	header_is(long_one, AUTH_malformed);
}

static void test_many_members(void **state)
{
	struct buf b = { .p = NULL };

	(void)state;
	buf_puts(&b, "{\"alg\":\"HS256\"");
	for (int i = 0; i < JWT_HEADER_COMMAS; i++)
		buf_printf(&b, ",\"%d\":1", i);
	buf_puts(&b, "}");
	header_is(b.p, AUTH_ok);
	b.p[b.n - 1] = ',';
	buf_puts(&b, "\"x\":1}");
	header_is(b.p, AUTH_malformed);
	buf_fini(&b);
}

/*---------------------------------------------------------------- keys */

static void test_kids(void **state)
{
	static const char *const strangers[] = { "two", "../one", "ONE",       "one ",    "on",
						 "",    "*",      "/dev/null", "' or 1=1" };
	struct judge k;

	(void)state;
	judge_init(&k, arena_printf(&j.arena, "{\"keys\":[{%s,\"kid\":\"one\"}]}",
				    forge_jwk(&j.arena, NULL, JWS_HS256)));
	for (size_t i = 0; i < sizeof(strangers) / sizeof(strangers[0]); i++)
		assert_outcome(
		    judge(&k, hs256(arena_printf(&j.arena, "{\"alg\":\"HS256\",\"kid\":\"%s\"}",
						 strangers[i]),
				    "{\"exp\":1800000100}")),
		    AUTH_unknown_key, strangers[i]);
	assert_int_equal(
	    judge(&k, hs256("{\"alg\":\"HS256\",\"kid\":\"one\"}", "{\"exp\":1800000100}")),
	    AUTH_ok);
	assert_int_equal(judge(&k, hs256(HEADER, "{\"exp\":1800000100}")), AUTH_ok);
	judge_fini(&k);
	header_is("{\"alg\":\"HS256\",\"kid\":\"one\"}", AUTH_unknown_key); /* ours has none */
}

static void test_confused_algorithms(void **state)
{
	EVP_PKEY *rsa = forge_key(JWS_RS256);
	const char *jwk = forge_jwk(&j.arena, rsa, JWS_RS256), *input, *token;
	uint8_t mac[64];
	struct judge k;

	(void)state;
	judge_init(&k, arena_printf(&j.arena, "{\"keys\":[{%s,\"alg\":\"RS256\"}]}", jwk));
	input = arena_printf(&j.arena, "%s.%s", b64_text(&j.arena, HEADER),
			     b64_text(&j.arena, "{\"exp\":1800000100}"));
	token =
	    arena_printf(&j.arena, "%s.%s", input, b64(&j.arena, mac, sign_hs256(input, jwk, mac)));
	assert_int_equal(judge(&k, token), AUTH_unknown_key);
	/* signed by that very key, in a way that it is not for */
	token = forge(&j.arena, rsa, JWS_PS256, "{\"alg\":\"PS256\"}", "{\"exp\":1800000100}");
	assert_int_equal(judge(&k, token), AUTH_unknown_key);
	token = forge(&j.arena, rsa, JWS_PS256, "{\"alg\":\"RS256\"}", "{\"exp\":1800000100}");
	assert_int_equal(judge(&k, token), AUTH_bad_signature);
	judge_fini(&k);
	EVP_PKEY_free(rsa);
}

static void test_narrowed_algorithms(void **state)
{
	(void)state;
	j.rules.algs = 1u << JWS_RS256;
	header_is(HEADER, AUTH_unsupported);
	j.rules.algs = 1u << JWS_HS256;
	header_is(HEADER, AUTH_ok);
}

static void test_each_algorithm(void **state)
{
	(void)state;
	for (unsigned alg = 0; alg < JWS_ALGS; alg++) {
		EVP_PKEY *key = forge_key(alg), *other = forge_key(alg);
		const char *header = arena_printf(&j.arena, "{\"alg\":\"%s\"}", jws_alg_names[alg]);
		const char *claims = "{\"exp\":1800000100}";
		struct judge k;

		judge_init(
		    &k, arena_printf(&j.arena, "{\"keys\":[{%s}]}", forge_jwk(&j.arena, key, alg)));
		assert_outcome(judge(&k, forge(&j.arena, key, alg, header, claims)), AUTH_ok,
			       header);
		if (other != NULL)
			assert_outcome(judge(&k, forge(&j.arena, other, alg, header, claims)),
				       AUTH_bad_signature, header);
		judge_fini(&k);
		EVP_PKEY_free(key);
		EVP_PKEY_free(other);
	}
}

static void test_rotation_without_kid(void **state)
{
	EVP_PKEY *old = forge_key(JWS_ES256), *next = forge_key(JWS_ES256);
	struct judge k;

	(void)state;
	judge_init(&k, arena_printf(&j.arena, "{\"keys\":[{%s,\"kid\":\"a\"},{%s,\"kid\":\"b\"}]}",
				    forge_jwk(&j.arena, old, JWS_ES256),
				    forge_jwk(&j.arena, next, JWS_ES256)));
	assert_int_equal(judge(&k, forge(&j.arena, next, JWS_ES256, "{\"alg\":\"ES256\"}",
					 "{\"exp\":1800000100}")),
			 AUTH_ok);
	assert_int_equal(
	    judge(&k, forge(&j.arena, next, JWS_ES256, "{\"alg\":\"ES256\",\"kid\":\"a\"}",
			    "{\"exp\":1800000100}")),
	    AUTH_bad_signature);
	judge_fini(&k);
	EVP_PKEY_free(old);
	EVP_PKEY_free(next);
}

/* DER, one byte less or more, zeros: 64 bytes side by side are the only form. */
static void test_forms_of_es256(void **state)
{
	EVP_PKEY *key = forge_key(JWS_ES256);
	const char *input =
	    arena_printf(&j.arena, "%s.%s", b64_text(&j.arena, "{\"alg\":\"ES256\"}"),
			 b64_text(&j.arena, "{\"exp\":1800000100}"));
	uint8_t sig[256] = { 0 };
	size_t n = sign_with(key, JWS_ES256, input, sig);
	struct judge k;

	(void)state;
	judge_init(
	    &k, arena_printf(&j.arena, "{\"keys\":[{%s}]}", forge_jwk(&j.arena, key, JWS_ES256)));
	assert_int_equal(judge(&k, arena_printf(&j.arena, "%s.%s", input, b64(&j.arena, sig, n))),
			 AUTH_bad_signature);
	n = raw_es256(sig, n);
	for (size_t m = 1; m < 70; m++)
		assert_int_equal(
		    judge(&k, arena_printf(&j.arena, "%s.%s", input, b64(&j.arena, sig, m))),
		    m == n ? AUTH_ok : AUTH_bad_signature);
	memset(sig, 0, sizeof(sig));
	assert_int_equal(judge(&k, arena_printf(&j.arena, "%s.%s", input, b64(&j.arena, sig, 64))),
			 AUTH_bad_signature);
	judge_fini(&k);
	EVP_PKEY_free(key);
}

/*---------------------------------------------------------------- claims */

static void test_times(void **state)
{
	(void)state;
	claims_are("{}", AUTH_no_expiry);
	claims_are("{\"exp\":null}", AUTH_bad_claims);
	claims_are("{\"exp\":\"1800000100\"}", AUTH_bad_claims);
	claims_are("{\"exp\":-1}", AUTH_bad_claims);
	claims_are("{\"exp\":true}", AUTH_bad_claims);
	claims_are("{\"exp\":[1800000100]}", AUTH_bad_claims);
	claims_are("{\"exp\":1e400}", AUTH_bad_claims);
	claims_are("{\"exp\":99999999999999999999}", AUTH_bad_claims);
	claims_are("{\"exp\":18446744073709551615}", AUTH_bad_claims);
	claims_are("{\"exp\":1800000100000}", AUTH_bad_claims); /* milliseconds */
	claims_are("{\"exp\":0.00000000000000000000000000000000000000000000000000001}",
		   AUTH_bad_claims);
	claims_are("{\"exp\":1800000100,\"exp\":1}", AUTH_bad_claims);
	claims_are("{\"exp\":0}", AUTH_expired);
	claims_are("{\"exp\":1799999969}", AUTH_expired);
	claims_are("{\"exp\":1799999970}", AUTH_expired); /* leeway and all, it is now */
	claims_are("{\"exp\":1799999971}", AUTH_ok);
	claims_are("{\"exp\":1800000100.75}", AUTH_ok);
	claims_are("{\"exp\":1.9e9}", AUTH_ok);
	claims_are("{\"exp\":1800000100,\"nbf\":1800000031}", AUTH_not_yet_valid);
	claims_are("{\"exp\":1800000100,\"nbf\":1800000030}", AUTH_ok);
	claims_are("{\"exp\":1800000100,\"nbf\":\"x\"}", AUTH_bad_claims);
	claims_are("{\"exp\":1800000100,\"iat\":1800000031}", AUTH_not_yet_valid);
	claims_are("{\"exp\":1800000100,\"iat\":1700000000}", AUTH_ok);
	claims_are("{\"exp\":1800000100,\"iat\":{}}", AUTH_bad_claims);
}

static void test_what_is_no_claims(void **state)
{
	(void)state;
	claims_are("", AUTH_malformed);
	claims_are("x", AUTH_bad_claims);
	claims_are("[]", AUTH_bad_claims);
	claims_are("null", AUTH_bad_claims);
	claims_are("{\"exp\":1800000100,\"sub\":\"\xc3\"}", AUTH_bad_claims);
	claims_are("{\"exp\":1800000100,\"sub\":\"\xed\xa0\x80\"}", AUTH_bad_claims);
	claims_are("{\"exp\":1800000100,\"sub\":\"\\ud800\"}", AUTH_bad_claims);
	claims_are("{\"exp\":1800000100,\"sub\":\"\\u0000\"}", AUTH_bad_claims);
	claims_are("{\"exp\":1800000100,\"a\":[[[[[[[[[[[[]]]]]]]]]]]]}", AUTH_bad_claims);
	claims_are("{\"exp\":1800000100,\"a\":{\"b\":1,\"b\":2}}", AUTH_bad_claims);
	claims_are("{\"exp\":1800000100,\"\\u0065xp\":1}", AUTH_bad_claims);
}

static void test_issuers_and_audiences(void **state)
{
	const char *ours[] = { "us", "also us" };

	(void)state;
	claims_are("{\"exp\":1800000100,\"iss\":7}", AUTH_bad_claims);
	claims_are("{\"exp\":1800000100,\"aud\":7}", AUTH_bad_claims);
	claims_are("{\"exp\":1800000100,\"aud\":[\"x\",7]}", AUTH_bad_claims);
	j.conf.issuer = j.conf.audience = (struct conf_list){ .n = 2, .item = ours };
	claims_are("{\"exp\":1800000100}", AUTH_wrong_issuer);
	claims_are("{\"exp\":1800000100,\"iss\":\"us \"}", AUTH_wrong_issuer);
	claims_are("{\"exp\":1800000100,\"iss\":\"us\"}", AUTH_wrong_audience);
	claims_are("{\"exp\":1800000100,\"iss\":\"us\",\"aud\":[]}", AUTH_wrong_audience);
	claims_are("{\"exp\":1800000100,\"iss\":\"us\",\"aud\":\"US\"}", AUTH_wrong_audience);
	claims_are("{\"exp\":1800000100,\"iss\":\"us\",\"aud\":\"also us\"}", AUTH_ok);
	claims_are("{\"exp\":1800000100,\"iss\":\"us\",\"aud\":[\"x\",\"us\"]}", AUTH_ok);
}

static void test_required(void **state)
{
	const char *scopes[] = { "read", "write" }, *seven[] = { "7" };
	struct require_conf require[] = {
		{ .name = { .name = "scope" }, .values = { .n = 2, .item = scopes } },
		{ .name = { .name = "org.id" }, .values = { .n = 1, .item = seven } },
	};

	(void)state;
	j.conf.require = (struct conf_list){ .n = 1, .item = require };
	claims_are("{\"exp\":1800000100}", AUTH_denied);
	claims_are("{\"exp\":1800000100,\"scope\":\"reading\"}", AUTH_denied);
	claims_are("{\"exp\":1800000100,\"scope\":null}", AUTH_denied);
	claims_are("{\"exp\":1800000100,\"scope\":{\"read\":1}}", AUTH_denied);
	claims_are("{\"exp\":1800000100,\"scope\":\"open read\"}", AUTH_ok);
	claims_are("{\"exp\":1800000100,\"scope\":[\"x\",\"write\"]}", AUTH_ok);
	j.conf.require.n = 2;
	claims_are("{\"exp\":1800000100,\"scope\":\"read\",\"org\":{\"id\":8}}", AUTH_denied);
	claims_are("{\"exp\":1800000100,\"scope\":\"read\",\"org\":\"id\"}", AUTH_denied);
	claims_are("{\"exp\":1800000100,\"scope\":\"read\",\"org\":{\"id\":7}}", AUTH_ok);
	claims_are("{\"exp\":1800000100,\"scope\":\"read\",\"org.id\":\"7\"}", AUTH_ok);
}

static void assert_claim(const char *path, const char *value)
{
	struct identity who = { .n = j.token->n, .claim = j.token->claim };
	struct slice got = { .n = 0 };

	if (identity_claim(&who, slice_str(path), &got) != (value != NULL) ||
	    (value != NULL && !slice_is(got, value)))
		fail_msg("%s is %.*s", path, SLICE_FMT(got));
}

static void test_claims_are_kept(void **state)
{
	(void)state;
	claims_are(
	    "{\"a\":{\"b\":{\"c\":1.50},\"d\":true},\"a.d\":\"top\",\"exp\":1800000100,\"s\":\"x\","
	    "\"e\":\"\",\"l\":[1],\"n\":null,\"\":\"nameless\"}",
	    AUTH_ok);
	assert_claim("a.b.c", "1.50");
	assert_claim("a.d", "top"); /* the shallower one */
	assert_claim("s", "x");
	assert_claim("exp", "1800000100");
	assert_claim("", "nameless");
	assert_claim("e", NULL);
	assert_claim("l", NULL);
	assert_claim("n", NULL);
	assert_claim("a", NULL);
	assert_claim("a.b", NULL);
	assert_claim("b.c", NULL);
	assert_true(j.token->until_ns == UINT64_C(1800000130) * 1000000000);
}

static void test_too_much_to_keep(void **state)
{
	struct buf b = { .p = NULL };
	char *name = arena_zalloc(&j.arena, 4001);

	(void)state;
	memset(name, 'n', 4000);
	buf_printf(&b, "{\"exp\":1800000100,\"%s\":{", name);
	for (int i = 0; i < 40; i++)
		buf_printf(&b, "%s\"%d\":1", i > 0 ? "," : "", i);
	buf_puts(&b, "}}");
	claims_are(b.p, AUTH_bad_claims);
	buf_fini(&b);
}

/*---------------------------------------------------------------- vectors of the RFCs */

#define CLAIMS_7515                                                                                \
	"eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0" \
	"cnVlfQ"

/* RFC 7515 appendix A.1, A.2, A.3, A.5 and RFC 8037 appendix A.4. */
static const struct vector {
	const char *jwk, *token;
	enum auth_outcome outcome;
} vectors[] = {
	{ "{\"kty\":\"oct\",\"k\":\"AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-"
	  "1qS0gZH75aKtMN3Yj0iPS4hcgUu"
	  "TwjAzZr1Z9CAow\"}",
	  "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9." CLAIMS_7515
	  ".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
	  AUTH_ok },
	{ "{\"kty\":\"RSA\",\"n\":\"ofgWCuLjybRlzo0tZWJjNiuSfb4p4fAkd_"
	  "wWJcyQoTbji9k0l8W26mPddxHmfHQp-Vaw-4qP"
	  "CJrcS2mJPMEzP1Pt0Bm4d4QlL-yRT-SFd2lZS-pCgNMsD1W_YpRPEwOWvG6b32690r2jZ47soMZo9wGzjb_"
	  "7OMg0LOL-"
	  "bSf63kpaSHSXndS5z5rexMdbBYUsLA9e-KXBdQOS-"
	  "UTo7WTBEMa2R2CapHg665xsmtdVMTBQY4uDZlxvb3qCo5ZwKh9k"
	  "G4LT6_I5IhlJH7aGhyxXFvUK-DWNmoudF8NAco9_"
	  "h9iaGNj8q2ethFkMLs91kzk2PAcDTW9gb54h4FRWyuXpoQ\","
	  "\"e\":\"AQAB\"}",
	  "eyJhbGciOiJSUzI1NiJ9." CLAIMS_7515
	  ".cC4hiUPoj9Eetdgtv3hF80EGrhuB__dzERat0XF9g2VtQgr9PJbu3XOiZj5RZmh7AAuHIm4Bh-0Qc_lF5YKt_"
	  "O8W2Fp5"
	  "jujGbds9uJdbF9CUAr7t1dnZcAcQjbKBYNX4BAynRFdiuB--f_"
	  "nZLgrnbyTyWzO75vRK5h6xBArLIARNPvkSjtQBMHlb"
	  "1L07Qe7K0GarZRmB_eSN9383LcOLn6_dO--xi12jzDwusC-"
	  "eOkHWEsqtFZESc6BfI7noOPqvhJ1phCnvWh6IeYI2w9QO"
	  "YEUipUTI8np6LbgGY9Fs98rqVt5AXLIhWkWywlVmtVrBp0igcN_IoypGlUPQGe77Rw",
	  AUTH_ok },
	{ "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
	  "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}",
	  "eyJhbGciOiJFUzI1NiJ9." CLAIMS_7515
	  ".DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q",
	  AUTH_ok },
	{ "{\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU\","
	  "\"y\":\"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0\"}",
	  "eyJhbGciOiJub25lIn0." CLAIMS_7515 ".", AUTH_malformed },
	/* what is signed there is no JSON: the signature is good, the claims are none */
	{ "{\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"11qYAYKxCrfVS_"
	  "7TyWQHOg7hcvPapiMlrwIaaPcHURo\"}",
	  "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0JzlnLWG1PPOt7-"
	  "09PGcvMg3AI"
	  "bQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg",
	  AUTH_bad_claims },
};

static void test_vectors(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		const struct vector *v = &vectors[i];
		struct judge k;

		judge_init(&k, arena_printf(&j.arena, "{\"keys\":[%s]}", v->jwk));
		assert_outcome(jwt_check(&k.rules, slice_str(v->token),
					 UINT64_C(1300819379) * 1000000000, &k.arena, &k.token),
			       v->outcome, v->token);
		judge_fini(&k);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
		T(test_no_token),
		T(test_every_bit),
		T(test_cut_short),
		T(test_headers),
		T(test_a_long_header),
		T(test_many_members),
		T(test_kids),
		T(test_confused_algorithms),
		T(test_narrowed_algorithms),
		T(test_each_algorithm),
		T(test_rotation_without_kid),
		T(test_forms_of_es256),
		T(test_times),
		T(test_what_is_no_claims),
		T(test_issuers_and_audiences),
		T(test_required),
		T(test_claims_are_kept),
		T(test_too_much_to_keep),
		T(test_vectors),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
