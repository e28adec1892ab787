/* auth_conf.h - `auth:`, as typed structs. */
#ifndef AUTH_AUTH_CONF_H
#define AUTH_AUTH_CONF_H

#include "conf/schema.h"

/* A claim that must have one of these values. */
struct require_conf {
	struct conf_name name;
	struct conf_list values; /* of const char * */
};

/* Where a credential stands in a request. */
struct credential_conf {
	const char *header; /* field name */
	const char *scheme; /* in front of it, in any case; NULL: none */
};

struct jwt_conf {
	const char *jwks; /* a file; NULL: there is no auth.jwt */
	struct place jwks_at, audience_at, at;
	struct credential_conf from;
	struct conf_list issuer, audience; /* of const char *; none: any */
	struct conf_list algorithms;       /* of const char *; none: all */
	struct conf_list require;          /* of struct require_conf */
	uint64_t leeway_ns, max_bytes;
	uint32_t cache; /* tokens, for each worker */
};

struct api_key_conf {
	struct credential_conf from; /* header NULL: there is no auth.api_key */
	struct conf_list allow;      /* of const char *: hashes and files; none: any key */
	struct place at, allow_at;
};

enum header_source { HEADER_CLAIM, HEADER_API_KEY_HASH, HEADER_TLS_SAN };

/* A field that only Weir sets. */
struct header_conf {
	struct conf_name name;
	const char
	    *alike; /* its name with `-` for each `_`: many applications take one for the other */
	const char *from;
	enum header_source source;
	struct slice claim;
};

struct auth_conf {
	struct jwt_conf jwt;
	struct api_key_conf api_key;
	struct conf_list headers; /* of struct header_conf */
};

extern const struct schema auth_schema;

/* "jwt" "api_key" "none", NULL-terminated: what a route may demand. */
extern const char *const auth_names[];

#endif
