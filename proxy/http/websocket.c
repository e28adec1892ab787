/* websocket.c - see websocket.h.  SHA-1 (FIPS 180-4) is of no cryptographic use here: it shows that
 * the other side has read the request. */
#include "http/websocket.h"

#include <string.h>

const struct slice websocket_name = SLICE("websocket"),
		   websocket_key_name = SLICE("Sec-WebSocket-Key"),
		   websocket_accept_name = SLICE("Sec-WebSocket-Accept");

enum { SHA1_BYTES = 20, SHA1_BLOCK = 64, SHA1_WORDS = 5, GUID_BYTES = 36 };

static uint32_t rotl(uint32_t x, unsigned n)
{
	return x << n | x >> (32 - n);
}

static void sha1_expand(const uint8_t block[SHA1_BLOCK], uint32_t w[80])
{
	for (unsigned t = 0; t < 16; t++)
		w[t] = (uint32_t)block[4 * t] << 24 | (uint32_t)block[4 * t + 1] << 16 |
		       (uint32_t)block[4 * t + 2] << 8 | block[4 * t + 3];
	for (unsigned t = 16; t < 80; t++)
		w[t] = rotl(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
}

static uint32_t sha1_mix(unsigned t, uint32_t b, uint32_t c, uint32_t d)
{
	static const uint32_t k[] = { 0x5a827999, 0x6ed9eba1, 0x8f1bbcdc, 0xca62c1d6 };
	uint32_t f = t < 20              ? (b & c) | (~b & d)
		     : t < 40 || t >= 60 ? b ^ c ^ d
					 : (b & c) | (b & d) | (c & d);

	return f + k[t / 20];
}

static void sha1_block(uint32_t h[SHA1_WORDS], const uint8_t block[SHA1_BLOCK])
{
	uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];

	sha1_expand(block, w);
	for (unsigned t = 0; t < 80; t++) {
		uint32_t next = rotl(a, 5) + sha1_mix(t, b, c, d) + e + w[t];

		e = d, d = c, c = rotl(b, 30), b = a, a = next;
	}
	h[0] += a, h[1] += b, h[2] += c, h[3] += d, h[4] += e;
}

/* Of the 60 bytes of a key and the GUID, which with their padding are two blocks. */
static void sha1_of_60(const char text[WEBSOCKET_KEY_BYTES + GUID_BYTES], uint8_t out[SHA1_BYTES])
{
	enum { N = WEBSOCKET_KEY_BYTES + GUID_BYTES };
	uint32_t h[SHA1_WORDS] = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0 };
	uint8_t blocks[2 * SHA1_BLOCK] = { 0 };

	memcpy(blocks, text, N);
	blocks[N] = 0x80;
	blocks[2 * SHA1_BLOCK - 2] = N * 8 >> 8;
	blocks[2 * SHA1_BLOCK - 1] = N * 8 & 0xff;
	sha1_block(h, blocks);
	sha1_block(h, blocks + SHA1_BLOCK);
	for (unsigned i = 0; i < SHA1_BYTES; i++)
		out[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}

/* RFC 4648 section 4. */
static void base64(const uint8_t *in, size_t n, char *out)
{
	static const char digits[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < n; i += 3) {
		uint32_t v = (uint32_t)in[i] << 16 | (uint32_t)(i + 1 < n ? in[i + 1] : 0) << 8 |
			     (i + 2 < n ? in[i + 2] : 0);

		*out++ = digits[v >> 18];
		*out++ = digits[v >> 12 & 63];
		*out++ = '=';
		*out++ = '=';
		if (i + 1 < n)
			out[-2] = digits[v >> 6 & 63];
		if (i + 2 < n)
			out[-1] = digits[v & 63];
	}
}

void websocket_key(const uint8_t nonce[WEBSOCKET_NONCE_BYTES], char out[WEBSOCKET_KEY_BYTES])
{
	base64(nonce, WEBSOCKET_NONCE_BYTES, out);
}

static bool is_digit_of_base64(char c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') ||
	       c == '+' || c == '/';
}

bool websocket_key_is_valid(struct slice key)
{
	if (key.n != WEBSOCKET_KEY_BYTES)
		return false;
	for (size_t i = 0; i < key.n - 2; i++)
		if (!is_digit_of_base64(key.p[i]))
			return false;
	return key.p[key.n - 2] == '=' && key.p[key.n - 1] == '=';
}

void websocket_accept(struct slice key, char out[WEBSOCKET_ACCEPT_BYTES])
{
	static const char guid[GUID_BYTES + 1] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	char text[WEBSOCKET_KEY_BYTES + GUID_BYTES];
	uint8_t hash[SHA1_BYTES];

	memcpy(text, key.p, WEBSOCKET_KEY_BYTES);
	memcpy(text + WEBSOCKET_KEY_BYTES, guid, GUID_BYTES);
	sha1_of_60(text, hash);
	base64(hash, sizeof(hash), out);
}
