/* jws.c - RFC 7518 section 3 and RFC 8037 section 3.1, by OpenSSL.
 *
 * No library for tokens is used: of those in Debian 12, libjwt 1.10 reads no key sets and lets the
 * token say the algorithm, and cjose 0.6 knows no EdDSA. */
#include "auth/jws.h"

#include <openssl/crypto.h>
#include <openssl/ec.h>
#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rsa.h>

enum { HALF_BYTES = 32, HASH_BYTES = 32, ED25519_SIGNATURE_BYTES = 64 };

static const unsigned char *octets(struct slice s)
{
	return (const unsigned char *)s.p;
}

static bool set_pss(EVP_PKEY_CTX *pctx)
{
	return EVP_PKEY_CTX_set_rsa_padding(pctx, RSA_PKCS1_PSS_PADDING) > 0 &&
	       EVP_PKEY_CTX_set_rsa_pss_saltlen(pctx, HASH_BYTES) > 0 &&
	       EVP_PKEY_CTX_set_rsa_mgf1_md(pctx, EVP_sha256()) > 0;
}

static bool verify_by(const struct jwk *key, const EVP_MD *md, bool pss, struct slice input,
		      struct slice signature)
{
	EVP_MD_CTX *ctx = EVP_MD_CTX_new();
	EVP_PKEY_CTX *pctx = NULL;
	bool ok =
	    ctx != NULL && EVP_DigestVerifyInit(ctx, &pctx, md, NULL, key->pkey) > 0 &&
	    (!pss || set_pss(pctx)) &&
	    EVP_DigestVerify(ctx, octets(signature), signature.n, octets(input), input.n) == 1;

	EVP_MD_CTX_free(ctx);
	return ok;
}

static bool verify_rs256(const struct jwk *key, struct slice input, struct slice signature)
{
	return verify_by(key, EVP_sha256(), false, input, signature);
}

static bool verify_ps256(const struct jwk *key, struct slice input, struct slice signature)
{
	return verify_by(key, EVP_sha256(), true, input, signature);
}

/* r and s side by side here (RFC 7518 section 3.4), in DER there. */
static bool verify_es256(const struct jwk *key, struct slice input, struct slice signature)
{
	ECDSA_SIG *sig = signature.n == 2 * HALF_BYTES ? ECDSA_SIG_new() : NULL;
	BIGNUM *r, *s;
	unsigned char *der = NULL;
	int n = -1;
	bool ok;

	if (sig == NULL)
		return false;
	r = BN_bin2bn(octets(signature), HALF_BYTES, NULL);
	s = BN_bin2bn(octets(signature) + HALF_BYTES, HALF_BYTES, NULL);
	if (r != NULL && s != NULL && ECDSA_SIG_set0(sig, r, s)) {
		n = i2d_ECDSA_SIG(sig, &der);
	} else {
		BN_free(r);
		BN_free(s);
	}
	ok = n > 0 &&
	     verify_by(key, EVP_sha256(), false, input, slice_of((const char *)der, (size_t)n));
	OPENSSL_free(der);
	ECDSA_SIG_free(sig);
	return ok;
}

static bool verify_eddsa(const struct jwk *key, struct slice input, struct slice signature)
{
	return signature.n == ED25519_SIGNATURE_BYTES &&
	       verify_by(key, NULL, false, input, signature);
}

static bool verify_hs256(const struct jwk *key, struct slice input, struct slice signature)
{
	unsigned char mac[HASH_BYTES];
	unsigned n = 0;

	if (HMAC(EVP_sha256(), key->secret, (int)key->secret_n, octets(input), input.n, mac, &n) ==
	    NULL)
		return false;
	return signature.n == n && CRYPTO_memcmp(mac, signature.p, n) == 0;
}

bool jws_verify(const struct jwk *key, enum jws_alg alg, struct slice input, struct slice signature)
{
	static bool (*const verify[JWS_ALGS])(const struct jwk *, struct slice, struct slice) = {
		[JWS_RS256] = verify_rs256, [JWS_PS256] = verify_ps256, [JWS_ES256] = verify_es256,
		[JWS_EDDSA] = verify_eddsa, [JWS_HS256] = verify_hs256,
	};

	return (key->algs & 1u << alg) && verify[alg](key, input, signature);
}
