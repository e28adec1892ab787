/* jwk.c - from JSON to keys that OpenSSL verifies with.
 *
 * A key of a kind that is not known here is passed over with a warning, as RFC 7517 section 5 has
 * it: issuers publish sets for everybody.  A key that would be weak is an error: somebody counts on
 * it. */
#include "auth/jwk.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/param_build.h>
#include <stdlib.h>

#include "auth/base64url.h"
#include "base/json.h"
#include "conf/utf8.h"

const char *const jws_alg_names[JWS_ALGS + 1] = {
	[JWS_RS256] = "RS256", [JWS_PS256] = "PS256", [JWS_ES256] = "ES256",
	[JWS_EDDSA] = "EdDSA", [JWS_HS256] = "HS256", NULL,
};

enum { POINT_BYTES = 32, ED25519_BYTES = 32, EXPONENT_BYTES_MAX = 8, KID_BYTES_MAX = 256 };

struct reader {
	struct jwks *set;
	const char *name;
	struct place at;
	struct arena *arena, *scratch;
	struct diags *diags;
	const struct json *json; /* the key at hand */
	unsigned number;         /* of it, from 1 */
	struct slice kid;
};

/*---------------------------------------------------------------- findings */

static const char *whose(const struct reader *r)
{
	const char *text = r->kid.p == NULL ? arena_printf(r->diags->arena, "key %u", r->number)
					    : arena_printf(r->diags->arena, "key %u (kid `%.*s`)",
							   r->number, SLICE_FMT(r->kid));

	return text == NULL ? "a key" : text;
}

static bool bad(const struct reader *r, const char *wrong)
{
	diag_error(r->diags, r->at, "E043", "%s: %s %s", r->name, whose(r), wrong);
	return false;
}

/* It is of no use here, which is no fault of the set. */
static bool pass_over(const struct reader *r, const char *why)
{
	diag_warning(r->diags, r->at, "W112", "%s: %s is passed over: %s", r->name, whose(r), why);
	return true;
}

static bool no_memory(const struct reader *r)
{
	diags_out_of_memory(r->diags);
	return false;
}

/*---------------------------------------------------------------- members */

/* n == 0: there is none, or it is no string. */
static struct slice text_of(const struct reader *r, const char *member)
{
	const struct json *v = json_get(r->json, member);

	return v == NULL || v->kind != JSON_STRING ? slice_of(NULL, 0) : v->text;
}

/* A member in base64url; p == NULL: it is missing or malformed. */
static struct slice bytes_of(const struct reader *r, const char *member)
{
	struct slice text = text_of(r, member);
	uint8_t *out = arena_alloc(r->scratch, base64url_bytes(text.n) + 1);

	if (text.n == 0 || out == NULL || !base64url_decode(text, out))
		return slice_of(NULL, 0);
	return slice_of((const char *)out, base64url_bytes(text.n));
}

static const unsigned char *octets(struct slice s)
{
	return (const unsigned char *)s.p;
}

/*---------------------------------------------------------------- kinds */

static EVP_PKEY *from_params(const char *type, OSSL_PARAM_BLD *build)
{
	OSSL_PARAM *params = OSSL_PARAM_BLD_to_param(build);
	EVP_PKEY_CTX *ctx = EVP_PKEY_CTX_new_from_name(NULL, type, NULL), *check;
	EVP_PKEY *key = NULL;
	bool ok = params != NULL && ctx != NULL && EVP_PKEY_fromdata_init(ctx) > 0 &&
		  EVP_PKEY_fromdata(ctx, &key, EVP_PKEY_PUBLIC_KEY, params) > 0;

	check = ok ? EVP_PKEY_CTX_new_from_pkey(NULL, key, NULL) : NULL;
	if (check == NULL || EVP_PKEY_public_check(check) <= 0) {
		EVP_PKEY_free(key);
		key = NULL;
	}
	EVP_PKEY_CTX_free(check);
	EVP_PKEY_CTX_free(ctx);
	OSSL_PARAM_free(params);
	return key;
}

static EVP_PKEY *make_rsa(struct slice n, struct slice e)
{
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	BIGNUM *modulus = BN_bin2bn(octets(n), (int)n.n, NULL);
	BIGNUM *exponent = BN_bin2bn(octets(e), (int)e.n, NULL);
	EVP_PKEY *key = NULL;

	if (build != NULL && modulus != NULL && exponent != NULL &&
	    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_N, modulus) &&
	    OSSL_PARAM_BLD_push_BN(build, OSSL_PKEY_PARAM_RSA_E, exponent))
		key = from_params("RSA", build);
	BN_free(modulus);
	BN_free(exponent);
	OSSL_PARAM_BLD_free(build);
	return key;
}

static bool read_rsa(struct reader *r, struct jwk *key)
{
	struct slice n = bytes_of(r, "n"), e = bytes_of(r, "e");
	int bits;

	if (n.p == NULL || e.p == NULL || n.n > JWK_RSA_BITS_MAX / 8 + 1 ||
	    e.n > EXPONENT_BYTES_MAX)
		return bad(r, "has no `n` and `e` in base64url, or longer ones than are taken");
	key->pkey = make_rsa(n, e);
	if (key->pkey == NULL)
		return bad(r, "is no RSA key");
	bits = EVP_PKEY_get_bits(key->pkey);
	if (bits < JWK_RSA_BITS_MIN || bits > JWK_RSA_BITS_MAX)
		return bad(r, bits < JWK_RSA_BITS_MIN ? "is an RSA key of less than 2048 bits"
						      : "is an RSA key of more than 8192 bits");
	return true;
}

static EVP_PKEY *make_p256(struct slice x, struct slice y)
{
	OSSL_PARAM_BLD *build = OSSL_PARAM_BLD_new();
	unsigned char point[1 + 2 * POINT_BYTES] = { 4 }; /* SEC 1 section 2.3.3: not compressed */
	EVP_PKEY *key = NULL;

	memcpy(point + 1, x.p, POINT_BYTES);
	memcpy(point + 1 + POINT_BYTES, y.p, POINT_BYTES);
	if (build != NULL &&
	    OSSL_PARAM_BLD_push_utf8_string(build, OSSL_PKEY_PARAM_GROUP_NAME, "P-256", 0) &&
	    OSSL_PARAM_BLD_push_octet_string(build, OSSL_PKEY_PARAM_PUB_KEY, point, sizeof(point)))
		key = from_params("EC", build);
	OSSL_PARAM_BLD_free(build);
	return key;
}

static bool read_ec(struct reader *r, struct jwk *key)
{
	struct slice x = bytes_of(r, "x"), y = bytes_of(r, "y");

	if (!slice_is(text_of(r, "crv"), "P-256"))
		return pass_over(r, "of elliptic curves, P-256 is known here");
	if (x.n != POINT_BYTES || y.n != POINT_BYTES)
		return bad(r, "has no `x` and `y` of 32 bytes in base64url");
	key->pkey = make_p256(x, y);
	return key->pkey != NULL || bad(r, "is no point of P-256");
}

static bool read_okp(struct reader *r, struct jwk *key)
{
	struct slice x = bytes_of(r, "x");

	if (!slice_is(text_of(r, "crv"), "Ed25519"))
		return pass_over(r, "of keys of kind OKP, Ed25519 is known here");
	if (x.n != ED25519_BYTES)
		return bad(r, "has no `x` of 32 bytes in base64url");
	key->pkey = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, octets(x), x.n);
	return key->pkey != NULL || bad(r, "is no Ed25519 key");
}

static bool read_secret(struct reader *r, struct jwk *key)
{
	struct slice k = bytes_of(r, "k");

	if (k.n < JWK_SECRET_MIN || k.n > JWK_SECRET_MAX)
		return bad(r, "has no `k` of 32 to 1024 bytes in base64url");
	key->secret = malloc(k.n);
	if (key->secret == NULL)
		return no_memory(r);
	memcpy(key->secret, k.p, k.n);
	key->secret_n = k.n;
	return true;
}

/* RFC 7518 section 6.1. */
static const struct kind {
	const char *kty;
	unsigned algs;
	bool is_secret;
	bool (*read)(struct reader *, struct jwk *);
} kinds[] = {
	{ "RSA", 1u << JWS_RS256 | 1u << JWS_PS256, false, read_rsa },
	{ "EC", 1u << JWS_ES256, false, read_ec },
	{ "OKP", 1u << JWS_EDDSA, false, read_okp },
	{ "oct", 1u << JWS_HS256, true, read_secret },
};

static const struct kind *kind_of(struct slice kty)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (slice_is(kty, kinds[i].kty))
			return &kinds[i];
	return NULL;
}

/*---------------------------------------------------------------- one key */

static bool lists(const struct json *list, const char *word)
{
	for (const struct json *v = list->first; v != NULL; v = v->next)
		if (v->kind == JSON_STRING && slice_is(v->text, word))
			return true;
	return false;
}

/* RFC 7517 sections 4.2 and 4.3. */
static bool is_for_verifying(const struct reader *r)
{
	const struct json *use = json_get(r->json, "use"), *ops = json_get(r->json, "key_ops");

	if (use != NULL && (use->kind != JSON_STRING || !slice_is(use->text, "sig")))
		return false;
	return ops == NULL || (ops->kind == JSON_LIST && lists(ops, "verify"));
}

/* What its `alg` leaves of what its kind allows; "Ed25519" is another name of EdDSA with that curve
 * (RFC 9864 section 2.2). */
static unsigned algs_of(const struct reader *r, const struct kind *kind)
{
	const struct json *alg = json_get(r->json, "alg");
	unsigned algs = 0;

	if (alg == NULL)
		return kind->algs;
	for (unsigned i = 0; alg->kind == JSON_STRING && i < JWS_ALGS; i++)
		if (slice_is(alg->text, jws_alg_names[i]) ||
		    (i == JWS_EDDSA && slice_is(alg->text, "Ed25519")))
			algs |= 1u << i;
	return algs & kind->algs;
}

static bool has_twin(const struct reader *r, unsigned algs)
{
	for (uint32_t i = 0; r->kid.p != NULL && i < r->set->n; i++)
		if (slice_eq(r->set->key[i].kid, r->kid) && (r->set->key[i].algs & algs))
			return true;
	return false;
}

static bool add_key(struct reader *r, const struct kind *kind, unsigned algs)
{
	struct jwk *key = &r->set->key[r->set->n];
	bool ok;

	if (has_twin(r, algs))
		return bad(r, "has the `kid` of one before it");
	if (r->set->n == JWKS_KEYS_MAX)
		return bad(r, "is one too many: there may be 64");
	if (!kind->is_secret && json_get(r->json, "d") != NULL)
		diag_warning(r->diags, r->at, "W113",
			     "%s: %s holds its private half, with which anybody who reads the file "
			     "can sign",
			     r->name, whose(r));
	ok = kind->read(r, key);
	key->algs = algs;
	if (r->kid.p != NULL) {
		key->kid = arena_copy(r->arena, r->kid);
		ok = ok && (key->kid.p != NULL || no_memory(r));
	}
	r->set->n += key->pkey != NULL || key->secret != NULL;
	return ok;
}

static bool read_key(struct reader *r)
{
	const struct json *kid;
	const struct kind *kind;
	unsigned algs;

	r->kid = slice_of(NULL, 0);
	if (r->json->kind != JSON_OBJECT)
		return bad(r, "is no object");
	kid = json_get(r->json, "kid");
	if (kid != NULL && (kid->kind != JSON_STRING || kid->text.n > KID_BYTES_MAX))
		return bad(r, "has a `kid` that is no string, or a long one");
	if (kid != NULL)
		r->kid = kid->text;
	if (!is_for_verifying(r))
		return pass_over(r, "it is not for verifying signatures");
	kind = kind_of(text_of(r, "kty"));
	if (kind == NULL)
		return pass_over(r, "its `kty` is not known here");
	algs = algs_of(r, kind);
	if (algs == 0)
		return pass_over(r, "its `alg` is not known here, or not one of its kind");
	return add_key(r, kind, algs);
}

/*---------------------------------------------------------------- the set */

static bool bad_set(const struct reader *r, const char *wrong)
{
	diag_error(r->diags, r->at, "E043", "%s: %s", r->name, wrong);
	return false;
}

static bool read_keys(struct reader *r, const struct json *keys)
{
	bool ok = true;

	for (const struct json *v = keys->first; v != NULL; v = v->next) {
		r->json = v;
		r->number++;
		ok = read_key(r) && ok;
	}
	if (ok && r->set->n == 0)
		return bad_set(r, "there is no key in it to verify with");
	return ok;
}

/* What people have instead of a key set. */
static const char *help_with(struct slice text, const struct json *root)
{
	static const struct slice pem = SLICE("-----BEGIN");

	if (slice_starts(text, pem))
		return "this is PEM: a key set is JSON, and tools turn one into the other";
	if (root != NULL && root->kind == JSON_OBJECT && json_get(root, "kty") != NULL)
		return "this is one key: put it into {\"keys\": [ ... ]}";
	return NULL;
}

/* With its place in the file, as an editor has it: the configuration's is another one. */
static bool bad_json(const struct reader *r, struct slice text, size_t stop, const char *wrong)
{
	unsigned line = 1, column = 1;

	for (size_t i = 0; i < stop; i++) {
		column = text.p[i] == '\n' ? 1 : column + 1;
		line += text.p[i] == '\n';
	}
	diag_error(r->diags, r->at, "E043", "%s:%u:%u: it is not JSON: %s", r->name, line, column,
		   wrong)
	    ->help = help_with(text, NULL);
	return false;
}

static bool read_set(struct reader *r, struct slice text)
{
	const struct json *root, *keys = NULL;
	const char *wrong;
	size_t stop;

	if (text.n > JWKS_BYTES_MAX)
		return bad_set(r, "a key set has at most 256 KiB");
	if (!utf8_is_valid(text.p, text.n))
		return bad_set(r, "it is not JSON: it is not UTF-8");
	root = json_read_to(text, r->scratch, &wrong, &stop);
	if (root == NULL)
		return bad_json(r, text, stop, wrong);
	if (root->kind == JSON_OBJECT)
		keys = json_get(root, "keys");
	if (keys == NULL || keys->kind != JSON_LIST) {
		diag_error(r->diags, r->at, "E043",
			   "%s: it is no key set: an object with a list of `keys`", r->name)
		    ->help = help_with(text, root);
		return false;
	}
	return read_keys(r, keys);
}

bool jwks_read(struct jwks *set, struct slice text, const char *name, struct place at,
	       struct arena *arena, struct diags *diags)
{
	struct reader r = { .set = set, .name = name, .at = at, .arena = arena, .diags = diags };
	struct arena scratch;
	bool ok;

	arena_init(&scratch, NULL);
	r.scratch = &scratch;
	ok = read_set(&r, text);
	if (!ok)
		jwks_fini(set);
	arena_fini(&scratch);
	return ok;
}

void jwks_fini(struct jwks *set)
{
	for (uint32_t i = 0; i < set->n; i++) {
		struct jwk *key = &set->key[i];

		EVP_PKEY_free(key->pkey);
		if (key->secret != NULL)
			OPENSSL_cleanse(key->secret, key->secret_n);
		free(key->secret);
	}
	set->n = 0;
}
