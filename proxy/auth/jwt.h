/* jwt.h - whether a token is one of ours (RFC 7519, 8725): its form, its signature, its time, whom
 * it is of and for.
 *
 *  J1  The signature is checked before a claim is read.
 *  J2  What a key is good for, the key says; the token only chooses among the keys.
 *  J3  Where the RFCs leave a choice, the stricter: one spelling of base64url, no member twice, no
 *      extension that must be understood, and an end: a token that says none would be good for
 *      ever, whoever has found it. */
#ifndef AUTH_JWT_H
#define AUTH_JWT_H

#include "auth/jwk.h"
#include "filters/identity.h"

enum auth_outcome {
#define O(name, reason, of, text) AUTH_##name,
#include "auth/outcome.def"
#undef O
	AUTH_OUTCOMES
};

enum {
	JWT_HEADER_MAX = 4096, /* characters */
	JWT_HEADER_COMMAS =
	    32,             /* in it: who is not yet known is not worth looking for twins long */
	JWT_TRIES_MAX = 16, /* keys that a token without `kid` is tried with */
	JWT_CLAIMS_MAX = 65536, /* bytes, as kept */
};

/* A verified token: its claims, flat.  One allocation; counted by one worker. */
struct token {
	unsigned refs;
	bool granted;      /* `require` is met */
	uint64_t until_ns; /* Unix time from which it is expired, leeway and all */
	size_t bytes;      /* of the whole */
	uint32_t n;
	struct claim claim[];
};

struct jwt_conf; /* auth_conf.h */

struct jwt_rules {
	const struct jwt_conf *conf;
	unsigned algs; /* of those, what the configuration leaves */
	struct jwks keys;
};

/* AUTH_ok and AUTH_denied come with a token, which is the caller's: token_put. */
enum auth_outcome jwt_check(const struct jwt_rules *, struct slice text, uint64_t wall_ns,
			    struct arena *scratch, struct token **);
void token_put(struct token *);

#endif
