/* jwk.h - a set of keys that tokens may be signed by (RFC 7517, 7518 section 6, 8037 section 2).
 *
 * A key says by what algorithms it verifies, not the token: its `alg`, or what its kind allows.
 * Immutable once read; all workers verify with it. */
#ifndef AUTH_JWK_H
#define AUTH_JWK_H

#include <stdint.h>

#include "conf/diag.h"

enum jws_alg { JWS_RS256, JWS_PS256, JWS_ES256, JWS_EDDSA, JWS_HS256, JWS_ALGS };

/* "RS256" ..., NULL-terminated, by enum jws_alg. */
extern const char *const jws_alg_names[JWS_ALGS + 1];

enum {
	JWKS_BYTES_MAX = 256 * 1024,
	JWKS_KEYS_MAX = 64,
	JWK_RSA_BITS_MIN = 2048, /* RFC 7518 section 3.3 */
	JWK_RSA_BITS_MAX = 8192, /* the time to verify grows with it */
	JWK_SECRET_MIN = 32,     /* RFC 7518 section 3.2: no shorter than the hash */
	JWK_SECRET_MAX = 1024,
};

struct evp_pkey_st;

struct jwk {
	struct slice kid;         /* p == NULL: it has none */
	unsigned algs;            /* bit i: enum jws_alg i */
	struct evp_pkey_st *pkey; /* NULL: a secret */
	uint8_t *secret;
	size_t secret_n;
};

struct jwks {
	uint32_t n;
	struct jwk key[JWKS_KEYS_MAX];
};

/* Fills a zeroed set with the keys of a text; `name` and `at` are for the findings.  False: one of
 * them is an error; what is there is freed all the same. */
bool jwks_read(struct jwks *, struct slice text, const char *name, struct place at, struct arena *,
	       struct diags *);
void jwks_fini(struct jwks *);

#endif
