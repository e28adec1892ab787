/* tls_internal.h - what tls.c, tls_context.c and tls_ticket.c share.  Inside io only. */
#ifndef IO_TLS_INTERNAL_H
#define IO_TLS_INTERNAL_H

#include <openssl/ssl.h>
#include <stdatomic.h>

#include "io/tls.h"
#include "io/tls_ticket.h"

struct tls_server_cert {
	SSL_CTX *ctx;
	X509 *leaf; /* the context's: that of `path`, beside those of other kinds of keys */
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
	bool verify, resume, common_name;
	char *server_name; /* NULL: the endpoint's */
	char *cert_path;   /* NULL: none */
	int64_t not_after_s;
};

/* The tickets of the thread that this connection is on; NULL: it has none. */
struct tls_tickets *tls_tickets_of(SSL *, uint64_t *now_ns);
/* A session that can be taken up later; takes a reference of it over when it returns 1
 * (SSL_CTX_sess_set_new_cb). */
int tls_keep_session(SSL *, SSL_SESSION *);
/* A message that is no text has come or gone (SSL_CTX_set_info_callback). */
void tls_on_message(const SSL *, int where, int what);
/* The wall clock, as the thread of this connection has it. */
int64_t tls_wall_s(const SSL *);
/* Until when a session that was verified now holds without another look at the peer's certificate,
 * however often it is taken up and renewed: it may expire, or be revoked. */
int64_t tls_good_until(const SSL_SESSION *, int64_t now_s);
/* SSL_CTX_set_session_ticket_cb: tickets of clients that showed a certificate hold so long. */
int tls_ticket_made(SSL *, void *);
SSL_TICKET_RETURN tls_ticket_opened(SSL *, SSL_SESSION *, const unsigned char *name, size_t name_n,
				    SSL_TICKET_STATUS, void *);
/* The time in a certificate; 0: none. */
int64_t tls_seconds_of(const ASN1_TIME *);
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
