/* handshake.c - the keys of WebSocket's handshake. */
#include "handshake.h"

#include <openssl/evp.h>
#include <stdio.h>

void handshake_key(unsigned id, char out[HANDSHAKE_MAX])
{
	unsigned char nonce[32];
	int n = snprintf((char *)nonce, sizeof(nonce), "simulated %06u", id);

	EVP_EncodeBlock((unsigned char *)out, nonce, n);
}

void handshake_accept(const char *key, char out[HANDSHAKE_MAX])
{
	unsigned char digest[EVP_MAX_MD_SIZE];
	char text[128];
	unsigned size = 0;
	int n = snprintf(text, sizeof(text), "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);

	EVP_Digest(text, (size_t)n, digest, &size, EVP_sha1(), NULL);
	EVP_EncodeBlock((unsigned char *)out, digest, (int)size);
}
