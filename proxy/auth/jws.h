/* jws.h - whether a key made a signature (RFC 7515 section 5.2). */
#ifndef AUTH_JWS_H
#define AUTH_JWS_H

#include "auth/jwk.h"

enum { JWS_SIGNATURE_MAX = JWK_RSA_BITS_MAX / 8 };

/* `alg` is one of the key's.  False: it did not, the signature has the wrong form, or memory is
 * out. */
bool jws_verify(const struct jwk *, enum jws_alg, struct slice input, struct slice signature);

#endif
