/* key_name.c - names by HMAC.  The digest is conf's: libcrypto is for who speaks TLS. */
#include "store/key_name.h"

#include <stdio.h>

#include "base/check.h"
#include "conf/sha256.h"

enum { MESSAGE_MAX = 512 };

_Static_assert(KEY_NAME_PARTS_MAX *SHA256_BYTES <= MESSAGE_MAX, "a digest of each part");

void hmac_block(struct slice key, uint8_t block[KEY_SALT_BYTES])
{
	memset(block, 0, KEY_SALT_BYTES);
	if (key.n > KEY_SALT_BYTES)
		sha256(key, block);
	else if (key.n > 0)
		memcpy(block, key.p, key.n);
}

void hmac_sha256(const uint8_t block[KEY_SALT_BYTES], const void *p, size_t n, uint8_t out[32])
{
	uint8_t text[KEY_SALT_BYTES + MESSAGE_MAX];

	CHECK(n <= MESSAGE_MAX);
	for (unsigned i = 0; i < KEY_SALT_BYTES; i++)
		text[i] = block[i] ^ 0x36;
	memcpy(text + KEY_SALT_BYTES, p, n);
	sha256(slice_of((const char *)text, KEY_SALT_BYTES + n), out);
	for (unsigned i = 0; i < KEY_SALT_BYTES; i++)
		text[i] = block[i] ^ 0x5c;
	memcpy(text + KEY_SALT_BYTES, out, SHA256_BYTES);
	sha256(slice_of((const char *)text, KEY_SALT_BYTES + SHA256_BYTES), out);
}

/* RFC 4648 section 5, no padding: the first `n` characters. */
static void put_base64url(char *at, unsigned n, const uint8_t *p)
{
	static const char letters[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

	for (unsigned i = 0; i < n; i++) {
		unsigned bit = 6 * i, byte = bit / 8;
		unsigned two = (unsigned)p[byte] << 8 | p[byte + 1];

		at[i] = letters[two >> (10 - bit % 8) & 63];
	}
}

/* A digest of each: parts of any length, and none can reach into another. */
static size_t put_parts(uint8_t *at, const struct slice *part, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		sha256(part[i], at + i * SHA256_BYTES);
	return (size_t)n * SHA256_BYTES;
}

void key_maker_init(struct key_maker *k, const char *space, struct slice salt, struct slice policy,
		    struct slice how, char kind)
{
	uint8_t message[2 * SHA256_BYTES], digest[SHA256_BYTES];
	struct slice part[2] = { policy, how };

	CHECK(strlen(space) <= KEY_NAMESPACE_MAX);
	*k = (struct key_maker){ .space = space, .kind = kind };
	hmac_block(salt, k->salt);
	hmac_sha256(k->salt, message, put_parts(message, part, 2), digest);
	put_base64url(k->policy, KEY_POLICY_BYTES, digest);
}

void key_name_make(const struct key_maker *k, const struct slice *part, unsigned n,
		   struct key_name *out)
{
	uint8_t message[KEY_NAME_PARTS_MAX * SHA256_BYTES], digest[SHA256_BYTES];
	char id[KEY_ID_BYTES];

	CHECK(n >= 1 && n <= KEY_NAME_PARTS_MAX);
	hmac_sha256(k->salt, message, put_parts(message, part, n), digest);
	put_base64url(id, KEY_ID_BYTES, digest);
	out->n = (uint8_t)snprintf(out->text, sizeof(out->text), "rl:{%s:%.*s:%.*s}:%c", k->space,
				   KEY_POLICY_BYTES, k->policy, KEY_ID_BYTES, id, k->kind);
}

void key_name_peers(const char *space, struct key_name *out)
{
	CHECK(strlen(space) <= KEY_NAMESPACE_MAX);
	out->n = (uint8_t)snprintf(out->text, sizeof(out->text), "rl:{%s}:peers", space);
}
