/* tls_internal.h - what tls.c, tls_context.c and tls_ticket.c share.  Inside io only. */
#ifndef IO_TLS_INTERNAL_H
#define IO_TLS_INTERNAL_H

#include <openssl/ssl.h>
#include <stdatomic.h>

#include "io/tls.h"
#include "io/tls_ticket.h"

struct tls_server_cert {
	SSL_CTX *ctx;
	char *path;
	int64_t not_after_s;
};

struct tls_server {
	_Atomic unsigned refs;
	uint32_t n;
	struct tls_server_cert
	    cert[]; /* the first is for clients that name no host, or one that none is for */
};

struct tls_client {
	_Atomic unsigned refs;
	SSL_CTX *ctx;
	uint64_t trust;
	bool verify;
	char *server_name; /* NULL: the endpoint's */
	char *cert_path;   /* NULL: none */
	int64_t not_after_s;
};

/* The tickets of the thread that this connection is on; NULL: it has none. */
struct tls_tickets *tls_tickets_of(SSL *, uint64_t *now_ns);
/* A session that can be taken up later; takes a reference of it over when it returns 1
 * (SSL_CTX_sess_set_new_cb). */
int tls_keep_session(SSL *, SSL_SESSION *);
/* Of a client that showed a certificate, and was verified: the first URI among its alternative
 * names, else the first DNS name, else the first address of mail.  NULL: none; else the caller's.
 */
char *tls_name_of_peer(SSL *);
/* SSL_CTX_set_tlsext_ticket_key_evp_cb. */
int tls_ticket_key(SSL *, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *, EVP_MAC_CTX *,
		   int enc);

/* What is spoken, in order of preference, and how ALPN calls it (RFC 7301): the one list of it. */
struct tls_protocol {
	const char *name;
	uint8_t protocol; /* enum transport_protocol */
};

extern const struct tls_protocol tls_protocols[];
extern const unsigned tls_protocol_count;

#endif
