/* Tokens and key sets of strangers.  An input is
 *
 *   t TOKEN \n KEYS    a token, and the set of keys to judge it by (none: one secret)
 *   c CLAIMS           claims, signed well: what is behind the signature is looked at, too
 *
 * What is believed holds together, and nothing that is not signed is believed. */
#include <openssl/hmac.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "auth/auth.h"
#include "auth/base64url.h"
#include "base/buf.h"
#include "base/check.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define NOW_NS (UINT64_C(1800000000) * 1000000000)

/* 32 letters `s`, and what is signed with them. */
#define SECRET "ssssssssssssssssssssssssssssssss"

static const char one_secret[] =
    "{\"keys\":[{\"kty\":\"oct\",\"k\":\"c3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3M\"}]}";

static const char *scopes[] = { "read" };
static struct require_conf require[] = {
	{ .name = { .name = "a.b" }, .values = { .n = 1, .item = scopes } },
};
static const struct jwt_conf conf = { .require = { .n = 1, .item = require }, .leeway_ns = 1 };

static void put_base64url(struct buf *b, const uint8_t *p, size_t n)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
	uint32_t bits = 0;
	unsigned have = 0;

	for (size_t i = 0; i < n; i++) {
		bits = bits << 8 | p[i];
		for (have += 8; have >= 6; have -= 6)
			buf_putc(b, digits[bits >> (have - 6) & 63]);
	}
	if (have > 0)
		buf_putc(b, digits[bits << (6 - have) & 63]);
}

static void check_token(const struct token *t)
{
	struct identity who = { .n = t->n, .claim = t->claim };
	const char *begin = (const char *)t, *end = begin + t->bytes;
	struct slice value;

	CHECK(t->refs == 1 && t->until_ns > NOW_NS);
	for (uint32_t i = 0; i < t->n; i++) {
		const struct claim *c = &t->claim[i];

		CHECK(c->path.p >= begin && c->path.p + c->path.n <= end);
		CHECK(c->value.p >= begin && c->value.p + c->value.n <= end);
		(void)identity_claim(&who, c->path, &value);
	}
}

static enum auth_outcome judge(struct slice token, struct slice keys, struct arena *arena)
{
	struct jwt_rules rules = { .conf = &conf, .algs = (1u << JWS_ALGS) - 1 };
	enum auth_outcome out = AUTH_failed;
	struct token *t = NULL;
	struct diags diags;

	diags_init(&diags, arena);
	if (jwks_read(&rules.keys, keys, "keys", (struct place){ 0 }, arena, &diags)) {
		CHECK(rules.keys.n > 0 && diags.errors == 0);
		out = jwt_check(&rules, token, NOW_NS, arena, &t);
		CHECK((t != NULL) == (out == AUTH_ok || out == AUTH_denied));
		if (t != NULL)
			check_token(t);
		token_put(t);
	} else {
		CHECK(diags.errors > 0 && rules.keys.n == 0);
	}
	jwks_fini(&rules.keys);
	return out;
}

static void judge_claims(struct slice claims, struct arena *arena)
{
	struct buf b = { .arena = arena };
	uint8_t mac[64];
	unsigned n = 0;
	enum auth_outcome out;

	buf_puts(&b, "eyJhbGciOiJIUzI1NiJ9.");
	put_base64url(&b, (const uint8_t *)claims.p, claims.n);
	HMAC(EVP_sha256(), SECRET, (int)strlen(SECRET), (const uint8_t *)b.p, b.n, mac, &n);
	buf_putc(&b, '.');
	put_base64url(&b, mac, n);
	out = judge(slice_of(b.p, b.n), slice_str(one_secret), arena);
	CHECK(out != AUTH_bad_signature && out != AUTH_unknown_key);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char *copy = malloc(size + 1); /* of its size: a byte too many is seen */
	struct slice rest, token;
	struct arena arena;

	if (size == 0) {
		free(copy);
		return 0;
	}
	memcpy(copy, data, size);
	arena_init(&arena, NULL);
	rest = slice_of(copy + 1, size - 1);
	if (data[0] == 'c') {
		judge_claims(rest, &arena);
	} else {
		token = slice_cut(&rest, '\n');
		(void)judge(token, rest.n > 0 ? rest : slice_str(one_secret), &arena);
	}
	arena_fini(&arena);
	free(copy);
	return 0;
}
