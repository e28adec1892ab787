/* Tokens and key sets for the tests: made, and made wrong. */
#ifndef FORGE_H
#define FORGE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <openssl/bn.h>
#include <openssl/core_names.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>
#include <stdio.h>
#include <string.h>

#include "auth/auth.h"
#include "auth/jws.h"
#include "base/arena.h"

#define NOW_S  1800000000
#define NOW_NS (UINT64_C(1800000000) * 1000000000)

static const char secret_text[] = "a secret of thirty-two bytes, at least";

static inline const char *b64(struct arena *a, const void *bytes, size_t n)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	const uint8_t *p = bytes;
	char *out = arena_zalloc(a, n * 4 / 3 + 4), *at = out;
	uint32_t bits = 0;
	unsigned have = 0;

	for (size_t i = 0; i < n; i++) {
		bits = bits << 8 | p[i];
		for (have += 8; have >= 6; have -= 6)
			*at++ = digits[bits >> (have - 6) & 63];
	}
	if (have > 0)
		*at++ = digits[bits << (6 - have) & 63];
	return out;
}

static inline const char *b64_text(struct arena *a, const char *text)
{
	return b64(a, text, strlen(text));
}

/* One of each algorithm; NULL for HS256. */
static inline EVP_PKEY *forge_key(enum jws_alg alg)
{
	switch (alg) {
	case JWS_RS256:
	case JWS_PS256:
		return EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048);
	case JWS_ES256:
		return EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256");
	case JWS_EDDSA:
		return EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
	default:
		return NULL;
	}
}

static inline const char *number_of(struct arena *a, EVP_PKEY *key, const char *name, int n)
{
	uint8_t bytes[1024];
	BIGNUM *v = NULL;

	assert_int_equal(EVP_PKEY_get_bn_param(key, name, &v), 1);
	n = n == 0 ? BN_num_bytes(v) : n;
	assert_int_equal(BN_bn2binpad(v, bytes, n), n);
	BN_free(v);
	return b64(a, bytes, (size_t)n);
}

/* The members of its kind, without braces. */
static inline const char *forge_jwk(struct arena *a, EVP_PKEY *key, enum jws_alg alg)
{
	uint8_t raw[32];
	size_t n = sizeof(raw);

	switch (alg) {
	case JWS_RS256:
	case JWS_PS256:
		return arena_printf(a, "\"kty\":\"RSA\",\"n\":\"%s\",\"e\":\"%s\"",
				    number_of(a, key, OSSL_PKEY_PARAM_RSA_N, 0),
				    number_of(a, key, OSSL_PKEY_PARAM_RSA_E, 0));
	case JWS_ES256:
		return arena_printf(a, "\"kty\":\"EC\",\"crv\":\"P-256\",\"x\":\"%s\",\"y\":\"%s\"",
				    number_of(a, key, OSSL_PKEY_PARAM_EC_PUB_X, 32),
				    number_of(a, key, OSSL_PKEY_PARAM_EC_PUB_Y, 32));
	case JWS_EDDSA:
		assert_int_equal(EVP_PKEY_get_raw_public_key(key, raw, &n), 1);
		return arena_printf(a, "\"kty\":\"OKP\",\"crv\":\"Ed25519\",\"x\":\"%s\"",
				    b64(a, raw, n));
	default:
		return arena_printf(a, "\"kty\":\"oct\",\"k\":\"%s\"", b64_text(a, secret_text));
	}
}

static inline size_t sign_hs256(const char *input, const char *secret, uint8_t *out)
{
	unsigned n = 0;

	HMAC(EVP_sha256(), secret, (int)strlen(secret), (const uint8_t *)input, strlen(input), out,
	     &n);
	return n;
}

static inline size_t sign_with(EVP_PKEY *key, enum jws_alg alg, const char *input, uint8_t *out)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pctx;
	size_t n = 1024;

	assert_int_equal(
	    EVP_DigestSignInit(ctx, &pctx, alg == JWS_EDDSA ? NULL : EVP_sha256(), NULL, key), 1);
	if (alg == JWS_PS256) {
		EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING);
		EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, 32);
	}
	assert_int_equal(EVP_DigestSign(ctx, out, &n, (const uint8_t *)input, strlen(input)), 1);
	EVP_MD_CTX_free(ctx);
	return n;
}

static inline size_t raw_es256(uint8_t *sig, size_t n)
{
	const uint8_t *p = sig;
	ECDSA_SIG *s = d2i_ECDSA_SIG(NULL, &p, (long)n);

	BN_bn2binpad(ECDSA_SIG_get0_r(s), sig, 32);
	BN_bn2binpad(ECDSA_SIG_get0_s(s), sig + 32, 32);
	ECDSA_SIG_free(s);
	return 64;
}

/* key NULL: HS256 with secret_text. */
static inline const char *forge(struct arena *a, EVP_PKEY *key, enum jws_alg alg,
				const char *header, const char *claims)
{
	const char *input = arena_printf(a, "%s.%s", b64_text(a, header), b64_text(a, claims));
	uint8_t sig[1024];
	size_t n =
	    key == NULL ? sign_hs256(input, secret_text, sig) : sign_with(key, alg, input, sig);

	if (alg == JWS_ES256 && key != NULL)
		n = raw_es256(sig, n);
	return arena_printf(a, "%s.%s", input, b64(a, sig, n));
}

/* What is believed, for a test. */
struct judge {
	struct arena arena;
	struct diags diags;
	struct jwt_conf conf;
	struct jwt_rules rules;
	struct token *token; /* of the last that was good */
};

static inline void judge_init(struct judge *j, const char *keys)
{
	*j = (struct judge){ .conf = { .leeway_ns = UINT64_C(30000000000), .max_bytes = 8192 } };
	arena_init(&j->arena, NULL);
	diags_init(&j->diags, &j->arena);
	j->rules.conf = &j->conf;
	j->rules.algs = (1u << JWS_ALGS) - 1;
	if (keys == NULL)
		keys = arena_printf(&j->arena, "{\"keys\":[{%s}]}",
				    forge_jwk(&j->arena, NULL, JWS_HS256));
	if (!jwks_read(&j->rules.keys, slice_str(keys), "jwks.json", (struct place){ 0 }, &j->arena,
		       &j->diags))
		fail_msg("%s", j->diags.first->message);
}

static inline void judge_fini(struct judge *j)
{
	token_put(j->token);
	jwks_fini(&j->rules.keys);
	arena_fini(&j->arena);
}

static inline enum auth_outcome judge(struct judge *j, const char *text)
{
	token_put(j->token);
	j->token = NULL;
	return jwt_check(&j->rules, slice_str(text), NOW_NS, &j->arena, &j->token);
}

static inline void assert_outcome(enum auth_outcome got, enum auth_outcome want, const char *what)
{
	if (got != want)
		fail_msg("%s, not %s: %s", auth_outcomes[got].name, auth_outcomes[want].name, what);
}

#endif
