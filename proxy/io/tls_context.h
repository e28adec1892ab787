/* tls_context.h - certificates, keys and rules of TLS, as configured and as OpenSSL wants them.
 *
 * Made by the control thread, which reads the files; immutable and counted from there.  A reload
 * makes new ones; open connections keep theirs. */
#ifndef IO_TLS_CONTEXT_H
#define IO_TLS_CONTEXT_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/schema.h"

/*---------------------------------------------------------------- configuration */

enum tls_version { TLS_1_2, TLS_1_3 };
enum tls_client_auth { TLS_CLIENT_AUTH_REQUIRED, TLS_CLIENT_AUTH_OPTIONAL };

/* One certificate of a listener.  All but cert and key hold for the whole listener and stand in its
 * first. */
struct tls_server_conf {
	const char *cert, *key;
	const char *client_ca; /* NULL: clients are not asked for certificates */
	const char *crl;
	int client_auth;     /* enum tls_client_auth; with client_ca */
	int min_version;     /* enum tls_version */
	const char *ciphers; /* of TLS 1.2, as OpenSSL lists them; NULL: ours */
	struct place at, cert_at, key_at, client_ca_at, crl_at, client_auth_at, min_version_at,
	    ciphers_at;
};

/* How an upstream's endpoints behind https:// are spoken to. */
struct tls_client_conf {
	const char *ca; /* NULL: those of the system */
	const char *cert, *key;
	const char *server_name; /* NULL: the endpoint's */
	bool verify, resume, common_name;
	int min_version;
	const char *ciphers;
	struct place at, ca_at, cert_at, key_at, verify_at, ciphers_at;
};

extern const struct schema tls_server_schema, tls_client_schema;

/* What a list of a listener's certificates may not say; a finding each.  For the check of who has
 * the list. */
bool tls_server_check(const struct conf_list *certs, struct diags *);

/* Writes the name of the first of these (as OpenSSL lists them) with which calls that were recorded can be read once
 * the certificate's key is known: its key exchange has no forward secrecy.  False: none, or the list means nothing. */
bool tls_weak_cipher(const char *ciphers, char name[static 64]);

/* Visits the files that are named, for who watches them. */
void tls_server_files(const struct tls_server_conf *, void (*visit)(void *arg, const char *path),
		      void *arg);
void tls_client_files(const struct tls_client_conf *, void (*visit)(void *arg, const char *path),
		      void *arg);

/*---------------------------------------------------------------- contexts */

/* A certificate that is in use, for metrics. */
struct tls_certificate {
	const char *path;
	int64_t not_after_s; /* wall clock */
};

enum { TLS_EXPIRY_WARNING_DAYS = 14 };

struct tls_server;
struct tls_client;

/* Reads the files of a list of struct tls_server_conf.  `protocols`: what may be agreed upon, a bit
 * 1 << enum transport_protocol for each.  `now_s`: the wall clock, seconds.  NULL
 * after error findings (E042: a certificate, key or list that cannot be used); what soon expires is
 * a warning (W110). */
struct tls_server *tls_server_new(const struct conf_list *certs, unsigned protocols, int64_t now_s,
				  struct diags *);
struct tls_server *tls_server_get(struct tls_server *); /* any thread */
void tls_server_put(struct tls_server *);               /* NULL is fine; the last one frees */
uint32_t tls_server_certificates(const struct tls_server *);
struct tls_certificate tls_server_certificate(const struct tls_server *, uint32_t i);

/* The same for an upstream.  `at`: where it is configured. */
struct tls_client *tls_client_new(const struct tls_client_conf *, unsigned protocols,
				  struct place at, int64_t now_s, struct diags *);
struct tls_client *tls_client_get(struct tls_client *);
void tls_client_put(struct tls_client *);
/* The same number for the same rules and files: what was agreed under one holds under the other.
 * Never 0. */
uint64_t tls_client_trust(const struct tls_client *);
/* False: it has none. */
bool tls_client_certificate(const struct tls_client *, struct tls_certificate *);

/* "OpenSSL 3.0.15 3 Sep 2024": what is linked. */
const char *tls_library(void);

#endif
