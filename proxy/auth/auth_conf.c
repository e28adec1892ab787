/* auth_conf.c - the field tables of `auth:`. */
#include "auth/auth_conf.h"

#include <string.h>

#include "auth/allow.h"
#include "auth/jwk.h"
#include "auth/jwt.h"
#include "base/clock.h"
#include "http/head.h"
#include "http/scan.h"

const char *const auth_names[] = { "jwt", "api_key", "none", NULL };

static struct place place_of(const struct node *map, const char *key)
{
	const struct node *n = node_get(map, key);

	return n == NULL ? node_place(map) : n->at;
}

static bool is_token(const char *s)
{
	if (*s == '\0')
		return false;
	for (; *s != '\0'; s++)
		if (!char_is(*s, CH_TOKEN))
			return false;
	return true;
}

/*---------------------------------------------------------------- where it stands */

/* Framing and routing have a meaning of their own for these. */
static bool is_taken(struct slice name)
{
	enum field_id id = field_lookup(name);

	return (field_flags[id] & FIELD_HOP) || id == F_HOST || id == F_CONTENT_LENGTH ||
	       id == F_TRANSFER_ENCODING || id == F_EXPECT || id == F_TRAILER;
}

static bool check_from(struct conf_load *l, const struct node *n, struct credential_conf *from)
{
	if (!is_token(from->header) || is_taken(slice_str(from->header))) {
		diag_error(l->diags, place_of(n, "header"), "E015",
			   "`header`: `%s` is no field that credentials can stand in",
			   from->header);
		return false;
	}
	if (from->scheme != NULL && !is_token(from->scheme)) {
		diag_error(l->diags, place_of(n, "scheme"), "E015",
			   "`scheme`: `%s` is no scheme, such as bearer", from->scheme);
		return false;
	}
	if (from->scheme == NULL && strcasecmp(from->header, "authorization") == 0)
		from->scheme = "bearer"; /* that field always has one (RFC 9110 section 11.6.2) */
	return true;
}

/*---------------------------------------------------------------- jwt */

static const struct field require_fields[] = {
	{ .key = "values",
	  .type = C_LIST,
	  .flags = C_REQUIRED | C_ONE,
	  .offset = offsetof(struct require_conf, values),
	  .item = C_STRING,
	  .max = 1024,
	  .doc =
	      "One of these the claim must be; or, if it is a list, have among its items. `scope` "
	      "is a list "
	      "with spaces between." },
	{ .key = NULL },
};

static const struct schema require_schema = {
	.name = "required claim",
	.size = sizeof(struct require_conf),
	.fields = require_fields,
	.scalar = "values",
};

static bool check_jwt(struct conf_load *l, const struct node *n, void *conf)
{
	struct jwt_conf *c = conf;

	if (strstr(c->jwks, "://") != NULL) {
		diag_error(l->diags, c->jwks_at, "E015", "`jwks` is a file: nothing is fetched")
		    ->help = "mount the issuer's key set, and `--watch` it";
		return false;
	}
	if (c->audience.n == 0)
		diag_warning(l->diags, c->at, "W114",
			     "without `audience`, a token that was meant for another service is as "
			     "good as one for this")
		    ->help = "the `aud` of your tokens: a name, or a list of them";
	return check_from(l, n, &c->from);
}

static const struct field jwt_fields[] = {
	{ .key = "jwks",
	  .type = C_STRING,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct jwt_conf, jwks),
	  .at = offsetof(struct jwt_conf, jwks_at),
	  .min = 1,
	  .max = 4095,
	  .doc = "The file with the keys that tokens are signed by (a JSON Web Key Set, at most 64 "
		 "keys and 256 KiB). Read again with every reload, and when it changes with "
		 "`--watch`." },
	{ .key = "issuer",
	  .type = C_LIST,
	  .flags = C_ONE,
	  .offset = offsetof(struct jwt_conf, issuer),
	  .item = C_STRING,
	  .min = 1,
	  .max = 1024,
	  .doc = "Whose tokens are accepted: the claim `iss`. Not given: of any issuer who has one "
		 "of the keys." },
	{ .key = "audience",
	  .type = C_LIST,
	  .flags = C_ONE,
	  .offset = offsetof(struct jwt_conf, audience),
	  .at = offsetof(struct jwt_conf, audience_at),
	  .item = C_STRING,
	  .min = 1,
	  .max = 1024,
	  .doc = "Whom they are to be for: one of these must be in the claim `aud`." },
	{ .key = "algorithms",
	  .type = C_LIST,
	  .offset = offsetof(struct jwt_conf, algorithms),
	  .item = C_STRING,
	  .names = jws_alg_names,
	  .doc = "By which algorithms they may be signed. Not given: by those that the keys are "
		 "for." },
	{ .key = "leeway",
	  .type = C_DURATION,
	  .offset = offsetof(struct jwt_conf, leeway_ns),
	  .dflt = "30s",
	  .max = 3600 * CLOCK_S,
	  .doc = "How far the clocks of issuers may be from ours: for `exp`, `nbf` and `iat`. A "
		 "token without `exp` is refused." },
	{ .key = "require",
	  .type = C_NAMED,
	  .offset = offsetof(struct jwt_conf, require),
	  .sub = &require_schema,
	  .doc = "Claims, by name, and what they must be; else 403." },
	{ .key = "header",
	  .type = C_STRING,
	  .offset = offsetof(struct jwt_conf, from.header),
	  .dflt = "authorization",
	  .min = 1,
	  .max = 256,
	  .doc = "The field that the token stands in." },
	{ .key = "scheme",
	  .type = C_STRING,
	  .offset = offsetof(struct jwt_conf, from.scheme),
	  .min = 1,
	  .max = 64,
	  .doc = "The word before it. Not given: bearer in `authorization`, none elsewhere." },
	{ .key = "max_bytes",
	  .type = C_BYTES,
	  .offset = offsetof(struct jwt_conf, max_bytes),
	  .dflt = "8KiB",
	  .min = 256,
	  .max = 65536,
	  .doc = "The longest token that is looked at." },
	{ .key = "cache",
	  .type = C_U32,
	  .offset = offsetof(struct jwt_conf, cache),
	  .dflt = "1024",
	  .max = 1000000,
	  .doc = "How many verified tokens each worker remembers, until they expire or the "
		 "configuration is read again. 0: every call's is verified anew." },
	{ .key = NULL },
};

static const struct schema jwt_schema = {
	.name = "jwt section",
	.size = sizeof(struct jwt_conf),
	.fields = jwt_fields,
	.at = offsetof(struct jwt_conf, at),
	.check = check_jwt,
};

/*---------------------------------------------------------------- api_key */

static bool check_api_key(struct conf_load *l, const struct node *n, void *conf)
{
	struct api_key_conf *c = conf;
	const char *const *item = c->allow.item;
	bool ok = check_from(l, n, &c->from);

	if (c->allow.n == 0)
		diag_warning(l->diags, c->at, "W104",
			     "without `allow`, any client can make up a key: a new key is a new "
			     "caller");
	for (uint32_t i = 0; i < c->allow.n; i++) {
		const struct node *list = node_get(n, "allow");

		if (allow_parse(slice_str(item[i]), NULL) || strchr(item[i], '/') != NULL)
			continue;
		diag_error(
		    l->diags, node_item(list, i)->at, "E015",
		    "`allow`: it is the SHA-256 of a key, in 64 hex digits, or the path of a "
		    "file, with a `/` in it")
		    ->help = "printf %s KEY | sha256sum";
		ok = false;
	}
	return ok;
}

static const struct field api_key_fields[] = {
	{ .key = "header",
	  .type = C_STRING,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct api_key_conf, from.header),
	  .min = 1,
	  .max = 256,
	  .doc = "The field that the key stands in." },
	{ .key = "scheme",
	  .type = C_STRING,
	  .offset = offsetof(struct api_key_conf, from.scheme),
	  .min = 1,
	  .max = 64,
	  .doc = "The word before it. Not given: bearer in `authorization`, none elsewhere." },
	{ .key = "allow",
	  .type = C_LIST,
	  .offset = offsetof(struct api_key_conf, allow),
	  .at = offsetof(struct api_key_conf, allow_at),
	  .item = C_STRING,
	  .min = 1,
	  .max = 4095,
	  .doc = "The keys that are known, at most 100,000: the SHA-256 of each in hex, `sha256:` "
		 "before it or not; or files with one a line, read again with every reload. Not "
		 "given: any key." },
	{ .key = NULL },
};

static const struct schema api_key_schema = {
	.name = "api_key section",
	.size = sizeof(struct api_key_conf),
	.fields = api_key_fields,
	.at = offsetof(struct api_key_conf, at),
	.scalar = "header",
	.check = check_api_key,
};

/*---------------------------------------------------------------- headers */

static bool find_source(struct header_conf *c)
{
	static const struct slice claim = SLICE("jwt.");
	struct slice from = slice_str(c->from);

	if (slice_starts(from, claim) && from.n > claim.n) {
		c->source = HEADER_CLAIM;
		c->claim = slice_of(from.p + claim.n, from.n - claim.n);
		return true;
	}
	c->source = slice_is(from, "tls.san") ? HEADER_TLS_SAN : HEADER_API_KEY_HASH;
	return c->source == HEADER_TLS_SAN || slice_is(from, "api_key.hash");
}

/* To applications, to HTTP, or because Weir says something else in it. */
static bool has_meaning(struct slice name)
{
	return is_taken(name) || (field_flags[field_lookup(name)] & FIELD_PROTECTED);
}

static const char *make_alike(struct conf_load *l, const char *name)
{
	char *alike = arena_strdup(l->arena, name);

	if (alike == NULL)
		diags_out_of_memory(l->diags);
	for (char *p = alike; p != NULL && *p != '\0'; p++)
		*p = *p == '_' ? '-' : *p;
	return alike;
}

static bool check_header(struct conf_load *l, const struct node *n, void *conf)
{
	struct header_conf *c = conf;

	if (!is_token(c->name.name) || has_meaning(slice_str(c->name.name))) {
		diag_error(l->diags, n->key_at, "E015",
			   "the field `%s` cannot tell who calls: it is no name of one, or means "
			   "something already",
			   c->name.name)
		    ->help = "a name of your own, such as x-user";
		return false;
	}
	c->alike = make_alike(l, c->name.name);
	if (c->alike == NULL)
		return false;
	if (find_source(c))
		return true;
	diag_error(l->diags, n->at, "E015", "`%s` is nothing that is verified", c->from)->help =
	    "a field is set to one of: jwt.CLAIM api_key.hash tls.san";
	return false;
}

static const struct field header_fields[] = {
	{ .key = "from",
	  .type = C_STRING,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct header_conf, from),
	  .min = 1,
	  .max = 1024,
	  .doc = "jwt.CLAIM, api_key.hash (the SHA-256 of the key in hex) or tls.san." },
	{ .key = NULL },
};

static const struct schema header_schema = {
	.name = "identity header",
	.size = sizeof(struct header_conf),
	.fields = header_fields,
	.scalar = "from",
	.check = check_header,
};

static bool has_source(struct conf_load *l, const struct auth_conf *c, const struct header_conf *h)
{
	bool jwt = h->source == HEADER_CLAIM && c->jwt.jwks == NULL;

	if (!jwt && (h->source != HEADER_API_KEY_HASH || c->api_key.from.header != NULL))
		return true;
	diag_error(l->diags, h->name.at, "E019", "`%s` needs `%s` beside it", h->from,
		   jwt ? "auth.jwt" : "auth.api_key");
	return false;
}

static bool is_alone(struct conf_load *l, const struct auth_conf *c, const struct header_conf *h)
{
	const char *const shown[] = { c->jwt.jwks == NULL ? NULL : c->jwt.from.header,
				      c->api_key.from.header };

	for (unsigned i = 0; i < 2; i++) {
		if (shown[i] == NULL || strcasecmp(shown[i], h->name.name) != 0)
			continue;
		diag_error(l->diags, h->name.at, "E019",
			   "`%s` is where credentials come in: they would be taken out",
			   h->name.name)
		    ->help = "another name for what the upstream is told";
		return false;
	}
	for (const struct header_conf *o = c->headers.item; o < h; o++) {
		if (strcasecmp(o->alike, h->alike) != 0)
			continue;
		diag_error(l->diags, h->name.at, "E019",
			   "`%s` and `%s` are one field: case and `_` for `-` make no difference",
			   h->name.name, o->name.name);
		return false;
	}
	return true;
}

static bool check_auth(struct conf_load *l, const struct node *n, void *conf)
{
	const struct auth_conf *c = conf;
	bool ok = true;

	(void)n;
	for (uint32_t i = 0; i < c->headers.n; i++) {
		const struct header_conf *h = (const struct header_conf *)c->headers.item + i;

		ok = has_source(l, c, h) && is_alone(l, c, h) && ok;
	}
	return ok;
}

static const struct field auth_fields[] = {
	{ .key = "jwt",
	  .type = C_MAP,
	  .offset = offsetof(struct auth_conf, jwt),
	  .sub = &jwt_schema,
	  .doc = "JSON Web Tokens: RS256, PS256, ES256, EdDSA (Ed25519) and HS256." },
	{ .key = "api_key",
	  .type = C_MAP,
	  .offset = offsetof(struct auth_conf, api_key),
	  .sub = &api_key_schema,
	  .doc = "Keys that are shown as they are." },
	{ .key = "headers",
	  .type = C_NAMED,
	  .offset = offsetof(struct auth_conf, headers),
	  .sub = &header_schema,
	  .doc = "Fields that tell the upstream who calls, by name. Only what was verified is in "
		 "them: what clients send under these names goes no further, on any route. A value "
		 "that is not printable ASCII is left out. No route can `set` them." },
	{ .key = NULL },
};

const struct schema auth_schema = {
	.name = "auth section",
	.size = sizeof(struct auth_conf),
	.fields = auth_fields,
	.check = check_auth,
};
