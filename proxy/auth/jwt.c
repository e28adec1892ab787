/* jwt.c - three parts, two dots (RFC 7515 section 7.1).
 *
 * Before the signature is known to be good, only the header is read: short, and for `alg` and
 * `kid`.  What `jku`, `x5u`, `jwk` and `x5c` say of keys is not looked at: keys come from the
 * configuration alone (RFC 8725 section 3.10). */
#include "auth/jwt.h"

#include <stdlib.h>

#include "auth/auth_conf.h"
#include "auth/base64url.h"
#include "auth/jws.h"
#include "base/clock.h"
#include "base/json.h"
#include "conf/utf8.h"

/* The year 2500: beyond it, a time is a mistake, and in nanoseconds no 64-bit number. */
#define TIME_MAX_S 16725225600.0

struct parts {
	struct slice input; /* what is signed: header, dot, claims */
	struct slice header, claims, signature;
};

/*---------------------------------------------------------------- form */

static bool cut_parts(struct slice text, struct parts *p)
{
	struct slice rest = text;

	p->header = slice_cut(&rest, '.');
	p->claims = slice_cut(&rest, '.');
	p->signature = rest;
	if (p->header.n == 0 || p->claims.n == 0 || p->signature.n == 0)
		return false;
	p->input = slice_of(text.p, (size_t)(p->signature.p - text.p) - 1);
	return p->header.n <= JWT_HEADER_MAX && memchr(rest.p, '.', rest.n) == NULL;
}

static struct slice decode(struct slice text, struct arena *scratch)
{
	uint8_t *out = arena_alloc(scratch, base64url_bytes(text.n) + 1);

	if (out == NULL || !base64url_decode(text, out))
		return slice_of(NULL, 0);
	return slice_of((const char *)out, base64url_bytes(text.n));
}

static size_t count(struct slice s, char c)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += s.p[i] == c;
	return n;
}

/* NULL: it is no JSON object in base64url, or one with a name twice (RFC 7515 section 4), or with
 * more commas than that. */
static const struct json *read_object(struct slice part, size_t commas, struct arena *scratch)
{
	struct slice text = decode(part, scratch);
	const struct json *v;
	const char *wrong;

	if (text.p == NULL || !utf8_is_valid(text.p, text.n) || count(text, ',') > commas)
		return NULL;
	v = json_read(text, scratch, &wrong);
	return v == NULL || v->kind != JSON_OBJECT ? NULL : v;
}

/*---------------------------------------------------------------- signature */

struct wanted {
	enum jws_alg alg;
	struct slice kid; /* p == NULL: none is named */
};

static bool find_alg(struct slice name, enum jws_alg *alg)
{
	if (slice_is(name, "Ed25519")) /* RFC 9864 section 2.2 */
		name = slice_str(jws_alg_names[JWS_EDDSA]);
	for (unsigned i = 0; i < JWS_ALGS; i++) {
		if (!slice_is(name, jws_alg_names[i]))
			continue;
		*alg = (enum jws_alg)i;
		return true;
	}
	return false;
}

static enum auth_outcome read_header(const struct json *header, struct wanted *w)
{
	const struct json *alg = json_get(header, "alg"), *kid = json_get(header, "kid"),
			  *b64 = json_get(header, "b64");

	if (alg == NULL || alg->kind != JSON_STRING || (kid != NULL && kid->kind != JSON_STRING))
		return AUTH_malformed;
	/* extensions that must be understood (RFC 7515 section 4.1.11): there are none here */
	if (json_get(header, "crit") != NULL ||
	    (b64 != NULL && !(b64->kind == JSON_WORD && slice_is(b64->text, "true"))) ||
	    !find_alg(alg->text, &w->alg))
		return AUTH_unsupported;
	w->kid = kid == NULL ? slice_of(NULL, 0) : kid->text;
	return AUTH_ok;
}

static bool fits(const struct jwk *key, const struct wanted *w)
{
	if (!(key->algs & 1u << w->alg))
		return false;
	return w->kid.p == NULL || (key->kid.p != NULL && slice_eq(key->kid, w->kid));
}

static enum auth_outcome verify(const struct jwt_rules *rules, const struct wanted *w,
				struct slice input, struct slice signature)
{
	enum auth_outcome out = AUTH_unknown_key;
	unsigned tries = 0;

	for (uint32_t i = 0; i < rules->keys.n && tries < JWT_TRIES_MAX; i++) {
		const struct jwk *key = &rules->keys.key[i];

		if (!fits(key, w))
			continue;
		tries++;
		if (jws_verify(key, w->alg, input, signature))
			return AUTH_ok;
		out = AUTH_bad_signature;
	}
	return out;
}

static enum auth_outcome check_signature(const struct jwt_rules *rules, const struct parts *p,
					 struct arena *scratch)
{
	const struct json *header = read_object(p->header, JWT_HEADER_COMMAS, scratch);
	struct slice signature;
	struct wanted wanted;
	enum auth_outcome out;

	if (header == NULL)
		return AUTH_malformed;
	out = read_header(header, &wanted);
	if (out != AUTH_ok)
		return out;
	if (!(rules->algs & 1u << wanted.alg))
		return AUTH_unsupported;
	if (base64url_bytes(p->signature.n) > JWS_SIGNATURE_MAX)
		return AUTH_malformed;
	signature = decode(p->signature, scratch);
	return signature.p == NULL ? AUTH_malformed : verify(rules, &wanted, p->input, signature);
}

/*---------------------------------------------------------------- time */

enum time_claim { TIME_ABSENT, TIME_GOOD, TIME_BAD };

/* A NumericDate (RFC 7519 section 2): any JSON number, but one that has been or will be. */
static enum time_claim read_time(const struct json *claims, const char *name, uint64_t *ns)
{
	const struct json *v = json_get(claims, name);
	char text[40];
	double s;

	if (v == NULL)
		return TIME_ABSENT;
	if (v->kind != JSON_WORD || v->text.n >= sizeof(text) ||
	    !(v->text.p[0] >= '0' && v->text.p[0] <= '9'))
		return TIME_BAD;
	memcpy(text, v->text.p, v->text.n);
	text[v->text.n] = '\0';
	s = strtod(text, NULL);
	if (!(s >= 0 && s <= TIME_MAX_S))
		return TIME_BAD;
	*ns = (uint64_t)s * CLOCK_S;
	return TIME_GOOD;
}

/* Claims that say from when on. */
static enum auth_outcome check_begin(const struct json *claims, const char *name, uint64_t now_ns,
				     uint64_t leeway_ns)
{
	uint64_t ns;

	switch (read_time(claims, name, &ns)) {
	case TIME_ABSENT:
		return AUTH_ok;
	case TIME_GOOD:
		return ns > now_ns + leeway_ns ? AUTH_not_yet_valid : AUTH_ok;
	default:
		return AUTH_bad_claims;
	}
}

static enum auth_outcome check_times(const struct jwt_conf *conf, const struct json *claims,
				     uint64_t now_ns, uint64_t *until_ns)
{
	enum auth_outcome out;
	uint64_t ns;

	switch (read_time(claims, "exp", &ns)) {
	case TIME_ABSENT:
		return AUTH_no_expiry;
	case TIME_BAD:
		return AUTH_bad_claims;
	default:
		break;
	}
	*until_ns = ns + conf->leeway_ns;
	if (now_ns >= *until_ns)
		return AUTH_expired;
	out = check_begin(claims, "nbf", now_ns, conf->leeway_ns);
	return out != AUTH_ok ? out : check_begin(claims, "iat", now_ns, conf->leeway_ns);
}

/*---------------------------------------------------------------- whom of and for */

static bool is_among(struct slice text, const struct conf_list *list)
{
	const char *const *item = list->item;

	for (uint32_t i = 0; i < list->n; i++)
		if (slice_is(text, item[i]))
			return true;
	return false;
}

static enum auth_outcome check_issuer(const struct jwt_conf *conf, const struct json *claims)
{
	const struct json *iss = json_get(claims, "iss");

	if (iss != NULL && iss->kind != JSON_STRING)
		return AUTH_bad_claims;
	if (conf->issuer.n == 0)
		return AUTH_ok;
	return iss != NULL && is_among(iss->text, &conf->issuer) ? AUTH_ok : AUTH_wrong_issuer;
}

/* A string or a list of them (RFC 7519 section 4.1.3). */
static enum auth_outcome check_audience(const struct jwt_conf *conf, const struct json *claims)
{
	const struct json *aud = json_get(claims, "aud"), *v = aud;
	bool found = conf->audience.n == 0;

	if (aud != NULL && aud->kind == JSON_LIST)
		v = aud->first;
	for (; v != NULL; v = aud->kind == JSON_LIST ? v->next : NULL) {
		if (v->kind != JSON_STRING)
			return AUTH_bad_claims;
		found = found || is_among(v->text, &conf->audience);
	}
	return found ? AUTH_ok : AUTH_wrong_audience;
}

/*---------------------------------------------------------------- claims, flat */

static bool is_scalar(const struct json *v)
{
	return v->kind == JSON_STRING || (v->kind == JSON_WORD && !slice_is(v->text, "null"));
}

/* A walk over the claims: first it counts, then it writes. */
struct flattening {
	struct token *token; /* NULL: counting */
	char *at;
	uint32_t n;
	size_t bytes;
	char path[JWT_CLAIMS_MAX / 16];
};

static struct slice put(struct flattening *f, struct slice s)
{
	char *at = f->at;

	f->bytes += s.n;
	if (f->token == NULL)
		return s;
	memcpy(at, s.p, s.n);
	f->at += s.n;
	return slice_of(at, s.n);
}

static void put_claim(struct flattening *f, struct slice path, struct slice value)
{
	struct claim c = { .path = put(f, path) };

	c.value = put(f, value);
	f->bytes += sizeof(c);
	if (f->token != NULL)
		f->token->claim[f->n] = c;
	f->n++;
}

/* The path so far is f->path[0..n).  A name with dots in it comes before what is nested: the
 * shallower one is meant.  False: it is more than is kept. */
static bool flatten(struct flattening *f, const struct json *object, size_t n)
{
	for (int nested = 0; nested < 2; nested++) {
		for (const struct json *v = object->first; v != NULL; v = v->next) {
			if (nested ? v->kind != JSON_OBJECT : !is_scalar(v))
				continue;
			if (n + v->key.n + 1 > sizeof(f->path))
				return false;
			memcpy(f->path + n, v->key.p, v->key.n);
			if (!nested)
				put_claim(f, slice_of(f->path, n + v->key.n), v->text);
			f->path[n + v->key.n] = '.';
			if ((nested && !flatten(f, v, n + v->key.n + 1)) ||
			    f->bytes > JWT_CLAIMS_MAX)
				return false;
		}
	}
	return true;
}

static enum auth_outcome make_token(const struct json *claims, struct arena *scratch,
				    struct token **out)
{
	struct flattening *f = arena_zalloc(scratch, sizeof(*f));
	struct token *t;

	if (f == NULL)
		return AUTH_failed;
	if (!flatten(f, claims, 0))
		return AUTH_bad_claims;
	t = malloc(sizeof(*t) + f->bytes);
	if (t == NULL)
		return AUTH_failed;
	*t = (struct token){ .refs = 1, .bytes = sizeof(*t) + f->bytes, .n = f->n };
	f->at = (char *)&t->claim[f->n];
	f->token = t;
	f->n = 0;
	(void)flatten(f, claims, 0);
	*out = t;
	return AUTH_ok;
}

void token_put(struct token *t)
{
	if (t != NULL && --t->refs == 0)
		free(t);
}

/*---------------------------------------------------------------- what is required */

/* By a path as keys have it: a name with dots in it, else the way down. */
static const struct json *find_path(const struct json *object, struct slice path)
{
	const struct json *v;

	for (v = object->first; v != NULL; v = v->next)
		if (slice_eq(v->key, path))
			return v;
	for (v = object->first; v != NULL; v = v->next) {
		size_t n = v->key.n;
		const struct json *found;

		if (v->kind != JSON_OBJECT || path.n <= n + 1 || !slice_starts(path, v->key) ||
		    path.p[n] != '.')
			continue;
		found = find_path(v, slice_of(path.p + n + 1, path.n - n - 1));
		if (found != NULL)
			return found;
	}
	return NULL;
}

/* `scope` is a list with spaces between (RFC 8693 section 4.2). */
static bool word_is_among(struct slice text, const struct conf_list *values)
{
	while (text.n > 0)
		if (is_among(slice_cut(&text, ' '), values))
			return true;
	return false;
}

static bool is_met(const struct require_conf *r, const struct json *claims)
{
	const struct json *v = find_path(claims, slice_str(r->name.name));

	if (v == NULL)
		return false;
	if (v->kind == JSON_LIST) {
		for (v = v->first; v != NULL; v = v->next)
			if (is_scalar(v) && is_among(v->text, &r->values))
				return true;
		return false;
	}
	if (!is_scalar(v))
		return false;
	return strcmp(r->name.name, "scope") == 0 ? word_is_among(v->text, &r->values)
						  : is_among(v->text, &r->values);
}

static bool is_granted(const struct jwt_conf *conf, const struct json *claims)
{
	const struct require_conf *r = conf->require.item;

	for (uint32_t i = 0; i < conf->require.n; i++)
		if (!is_met(&r[i], claims))
			return false;
	return true;
}

/*---------------------------------------------------------------- all of it */

static enum auth_outcome check_claims(const struct jwt_conf *conf, const struct json *claims,
				      uint64_t now_ns, uint64_t *until_ns)
{
	enum auth_outcome out = check_times(conf, claims, now_ns, until_ns);

	if (out == AUTH_ok)
		out = check_issuer(conf, claims);
	return out == AUTH_ok ? check_audience(conf, claims) : out;
}

enum auth_outcome jwt_check(const struct jwt_rules *rules, struct slice text, uint64_t wall_ns,
			    struct arena *scratch, struct token **token)
{
	const struct json *claims;
	enum auth_outcome out;
	uint64_t until_ns;
	struct parts parts;

	if (!cut_parts(text, &parts))
		return AUTH_malformed;
	out = check_signature(rules, &parts, scratch);
	if (out != AUTH_ok)
		return out;
	claims = read_object(parts.claims, SIZE_MAX, scratch);
	if (claims == NULL)
		return AUTH_bad_claims;
	out = check_claims(rules->conf, claims, wall_ns, &until_ns);
	if (out == AUTH_ok)
		out = make_token(claims, scratch, token);
	if (out != AUTH_ok)
		return out;
	(*token)->until_ns = until_ns;
	(*token)->granted = is_granted(rules->conf, claims);
	return (*token)->granted ? AUTH_ok : AUTH_denied;
}
