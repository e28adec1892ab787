/* tls_context.c - from files to what OpenSSL serves with.
 *
 * Every file is read here, by the one thread that may wait; what is wrong with it is a finding at
 * the place in the configuration that names it.  Nothing is looked up later: the stores hold what
 * they need in memory. */
#include "io/tls_context.h"

#include <openssl/crypto.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "conf/file.h"
#include "conf/sha256.h"
#include "io/tls_internal.h"
#include "io/transport.h"

enum { FILE_BYTES_MAX = 4 * 1024 * 1024, DAY_S = 86400 };

/* Forward secrecy and authenticated encryption, nothing else (RFC 9325 section 4.2); of those, what
 * is least work first: 128 bits are enough. */
static const char ciphers_1_2[] = "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:"
				  "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
				  "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305";
static const char ciphers_1_3[] =
    "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256";
static const char groups[] = "X25519:P-256:P-384";

const struct tls_protocol tls_protocols[] = {
	{ "h2", PROTOCOL_HTTP2 },
	{ "http/1.1", PROTOCOL_HTTP1 },
};
const unsigned tls_protocol_count = sizeof(tls_protocols) / sizeof(tls_protocols[0]);

/* What a context is made from. */
struct making {
	struct diags *diags;
	unsigned protocols; /* to be spoken */
	int64_t now_s;
	struct buf seen; /* what decides whom a peer is taken for: the rules and their files */
	bool lenient;    /* what is broken in a list of authorities is passed over */
	bool ok;
};

static void wrong(struct making *m, struct place at, const char *what, const char *path,
		  const char *why)
{
	m->ok = false;
	diag_error(m->diags, at, "E042", "%s `%s`: %s", what, path, why);
}

/* OpenSSL's own word for it; clears its queue. */
static const char *openssl_text(const char *otherwise)
{
	unsigned long error = ERR_peek_last_error();
	const char *text = error == 0 ? NULL : ERR_reason_error_string(error);

	ERR_clear_error();
	return text != NULL ? text : otherwise;
}

/*---------------------------------------------------------------- files */

static void forget(struct buf *b)
{
	if (b->p != NULL)
		OPENSSL_cleanse(b->p, b->n);
	buf_fini(b);
}

/* The file's text as OpenSSL reads; NULL after a finding.  `text` lives as long as the BIO. */
static BIO *open_pem(struct making *m, struct place at, const char *what, const char *path,
		     struct buf *text)
{
	const char *why;
	BIO *bio = NULL;

	if (!file_load(path, FILE_REGULAR, FILE_BYTES_MAX, text, NULL, &why))
		why = why == NULL ? "out of memory" : why;
	else if (text->n == 0)
		why = "it is empty";
	if (why == NULL) {
		bio = BIO_new_mem_buf(text->p, (int)text->n);
		why = bio == NULL ? "out of memory" : NULL;
	}
	if (why != NULL)
		wrong(m, at, what, path, why);
	return bio;
}

/*---------------------------------------------------------------- time */

int64_t tls_seconds_of(const ASN1_TIME *t)
{
	struct tm tm;

	return t != NULL && ASN1_TIME_to_tm(t, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static const char *day_text(int64_t s, char out[16])
{
	time_t t = (time_t)s;
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(out, 16, "%Y-%m-%d", &tm);
	return out;
}

static void check_time(struct making *m, struct place at, const char *path, const X509 *cert,
		       int64_t *not_after_s)
{
	int64_t from = tls_seconds_of(X509_get0_notBefore(cert)),
		to = tls_seconds_of(X509_get0_notAfter(cert));
	char day[16];

	if (*not_after_s == 0 || to < *not_after_s)
		*not_after_s = to;
	if (to <= m->now_s) {
		m->ok = false;
		diag_error(m->diags, at, "E042", "certificate `%s`: it expired on %s", path,
			   day_text(to, day));
	} else if (from > m->now_s) {
		m->ok = false;
		diag_error(m->diags, at, "E042", "certificate `%s`: it is not valid before %s",
			   path, day_text(from, day));
	} else if (to - m->now_s < TLS_EXPIRY_WARNING_DAYS * DAY_S) {
		diag_warning(m->diags, at, "W110", "certificate `%s`: it expires on %s, in %d days",
			     path, day_text(to, day), (int)((to - m->now_s) / DAY_S));
	}
}

/*---------------------------------------------------------------- certificates and keys */

/* OpenSSL would ask at the terminal. */
static int no_passphrase(char *buf, int size, int writing, void *arg)
{
	(void)buf, (void)size, (void)writing;
	*(bool *)arg = true;
	return -1;
}

static X509 *read_certificate(BIO *bio)
{
	bool encrypted;

	return PEM_read_bio_X509_AUX(bio, NULL, no_passphrase, &encrypted);
}

/* After the last of `n` was read: whether that was the end of the file, and not something broken
 * (a file that is being written, say).  Clears OpenSSL's queue. */
static void check_end(struct making *m, struct place at, const char *what, const char *path,
		      unsigned n)
{
	unsigned long error = ERR_peek_last_error();
	bool end =
	    ERR_GET_LIB(error) == ERR_LIB_PEM && ERR_GET_REASON(error) == PEM_R_NO_START_LINE;

	if (n > 0 && !end)
		wrong(m, at, what, path, "a part of it is broken, or cut short");
	ERR_clear_error();
}

static bool use_one(SSL_CTX *ctx, X509 *cert, bool leaf)
{
	return leaf ? SSL_CTX_use_certificate(ctx, cert) == 1
		    : SSL_CTX_add1_chain_cert(ctx, cert) == 1;
}

/* The first is ours, those behind it lead to its root. */
static void use_chain(struct making *m, SSL_CTX *ctx, struct place at, const char *path,
		      int64_t *not_after_s)
{
	struct buf text = { 0 };
	BIO *bio = open_pem(m, at, "certificate", path, &text);
	unsigned n = 0;
	X509 *cert;

	while (bio != NULL && (cert = read_certificate(bio)) != NULL) {
		if (!use_one(ctx, cert, n++ == 0))
			wrong(m, at, "certificate", path, openssl_text("it cannot be used"));
		check_time(m, at, path, cert, not_after_s);
		X509_free(cert);
	}
	if (bio != NULL && n == 0)
		wrong(m, at, "certificate", path, "there is none in it, in PEM");
	check_end(m, at, "certificate", path, n);
	BIO_free(bio);
	buf_put(&m->seen, text.p, text.n);
	forget(&text);
}

static void use_key(struct making *m, SSL_CTX *ctx, struct place at, const char *path)
{
	struct buf text = { 0 };
	BIO *bio = open_pem(m, at, "private key", path, &text);
	bool encrypted = false;
	EVP_PKEY *key;

	if (bio == NULL) {
		forget(&text);
		return;
	}
	ERR_clear_error();
	key = PEM_read_bio_PrivateKey(bio, NULL, no_passphrase, &encrypted);
	if (key == NULL)
		wrong(m, at, "private key", path,
		      encrypted ? "it is encrypted: who would tell the passphrase?"
				: "there is none in it, in PEM");
	else if (m->ok && X509_check_private_key(SSL_CTX_get0_certificate(ctx), key) != 1)
		wrong(m, at, "private key", path, "it is not that of the certificate");
	else if (m->ok && SSL_CTX_use_PrivateKey(ctx, key) != 1)
		wrong(m, at, "private key", path, openssl_text("it cannot be used"));
	ERR_clear_error();
	EVP_PKEY_free(key);
	BIO_free(bio);
	forget(&text);
}

/*---------------------------------------------------------------- whom to trust */

static void remember(struct making *m, const char *key, const char *value)
{
	buf_puts(&m->seen, key);
	buf_puts(&m->seen, value == NULL ? "-" : value);
	buf_putc(&m->seen, '\n');
}

/* The same certificate twice is none too many.  What it says of itself is worked out here, once:
 * OpenSSL does it at first sight otherwise, in whichever thread that comes. */
static unsigned add_authorities(X509_STORE *store, STACK_OF(X509_NAME) * names, BIO *bio)
{
	unsigned n = 0;
	X509 *cert;

	while ((cert = read_certificate(bio)) != NULL) {
		X509_NAME *name = names == NULL ? NULL : X509_NAME_dup(X509_get_subject_name(cert));

		(void)X509_check_purpose(cert, -1, 0);
		n += X509_STORE_add_cert(store, cert) == 1;
		if (name != NULL && sk_X509_NAME_push(names, name) == 0)
			X509_NAME_free(name);
		X509_free(cert);
	}
	return n;
}

static void load_authorities(struct making *m, X509_STORE *store, STACK_OF(X509_NAME) * names,
			     struct place at, const char *path)
{
	struct buf text = { 0 };
	BIO *bio = open_pem(m, at, "authorities", path, &text);
	unsigned n = bio == NULL ? 0 : add_authorities(store, names, bio);

	if (bio != NULL && n == 0)
		wrong(m, at, "authorities", path, "there is no certificate in it, in PEM");
	check_end(m, at, "authorities", path, m->lenient ? 0 : n);
	buf_put(&m->seen, text.p, text.n);
	BIO_free(bio);
	buf_fini(&text);
}

/* Whoever is named is trusted, and need not lead to a root: an intermediate authority will do.  Not
 * with revocation lists, which are wanted for each step up to a root. */
static void load_own_authorities(struct making *m, X509_STORE *store, STACK_OF(X509_NAME) * names,
				 struct place at, const char *path)
{
	load_authorities(m, store, names, at, path);
	X509_STORE_set_flags(store, X509_V_FLAG_PARTIAL_CHAIN);
}

static void check_list(struct making *m, struct place at, const char *path, const X509_CRL *list)
{
	int64_t next = tls_seconds_of(X509_CRL_get0_nextUpdate(list));
	char day[16];

	if (next == 0 || next > m->now_s)
		return;
	m->ok = false;
	diag_error(m->diags, at, "E042",
		   "revocation list `%s`: it expired on %s: every client would be refused", path,
		   day_text(next, day));
}

static void load_revoked(struct making *m, X509_STORE *store, struct place at, const char *path)
{
	struct buf text = { 0 };
	BIO *bio = open_pem(m, at, "revocation list", path, &text);
	unsigned n = 0;
	bool encrypted;
	X509_CRL *list;

	while (bio != NULL &&
	       (list = PEM_read_bio_X509_CRL(bio, NULL, no_passphrase, &encrypted)) != NULL) {
		n++;
		check_list(m, at, path, list);
		if (X509_STORE_add_crl(store, list) != 1)
			wrong(m, at, "revocation list", path, openssl_text("it cannot be used"));
		X509_CRL_free(list);
	}
	if (bio != NULL && n == 0)
		wrong(m, at, "revocation list", path, "there is none in it, in PEM");
	check_end(m, at, "revocation list", path, n);
	X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_CRL_CHECK_ALL);
	buf_put(&m->seen, text.p, text.n);
	BIO_free(bio);
	buf_fini(&text);
}

/* Debian and Alpine, Red Hat, the BSDs. */
static const char *system_authorities(void)
{
	static const char *const paths[] = { "/etc/ssl/certs/ca-certificates.crt",
					     "/etc/pki/tls/certs/ca-bundle.crt",
					     "/etc/ssl/cert.pem" };
	const char *named = getenv("SSL_CERT_FILE");

	if (named != NULL && *named != '\0')
		return named;
	for (unsigned i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		if (access(paths[i], R_OK) == 0)
			return paths[i];
	return paths[0];
}

/*---------------------------------------------------------------- what all contexts have */

static SSL_CTX *new_context(const SSL_METHOD *method, int min_version)
{
	static const int versions[] = { [TLS_1_2] = TLS1_2_VERSION, [TLS_1_3] = TLS1_3_VERSION };
	SSL_CTX *ctx;

	ERR_clear_error();
	ctx = SSL_CTX_new(method);
	if (ctx == NULL)
		return NULL;
	SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE |
				  SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_NO_AUTO_CHAIN);
	SSL_CTX_set_options(ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
				     SSL_OP_CIPHER_SERVER_PREFERENCE | SSL_OP_PRIORITIZE_CHACHA);
	SSL_CTX_clear_options(ctx, SSL_OP_IGNORE_UNEXPECTED_EOF);
	SSL_CTX_set_read_ahead(ctx, 1);
	SSL_CTX_set_timeout(ctx, TLS_TICKET_LIFE_S);
	SSL_CTX_set_info_callback(ctx, tls_on_message);
	if (SSL_CTX_set_min_proto_version(ctx, versions[min_version]) == 1 &&
	    SSL_CTX_set_max_proto_version(ctx, 0) == 1 &&
	    SSL_CTX_set_cipher_list(ctx, ciphers_1_2) == 1 &&
	    SSL_CTX_set_ciphersuites(ctx, ciphers_1_3) == 1 &&
	    SSL_CTX_set1_groups_list(ctx, groups) == 1)
		return ctx;
	SSL_CTX_free(ctx);
	return NULL;
}

static void use_ciphers(struct making *m, SSL_CTX *ctx, struct place at, const char *list)
{
	if (list == NULL || SSL_CTX_set_cipher_list(ctx, list) == 1)
		return;
	m->ok = false;
	diag_error(m->diags, at, "E042", "`%s`: %s", list, openssl_text("no such ciphers"));
}

static bool keeps_secrets(const SSL_CIPHER *c)
{
	int kx = SSL_CIPHER_get_kx_nid(c);

	return kx == NID_kx_ecdhe || kx == NID_kx_dhe || kx == NID_kx_any; /* any: TLS 1.3 */
}

bool tls_weak_cipher(const char *ciphers, char name[static 64])
{
	SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
	const STACK_OF(SSL_CIPHER) *list = NULL;
	bool found = false;

	if (ctx != NULL && SSL_CTX_set_cipher_list(ctx, ciphers) == 1)
		list = SSL_CTX_get_ciphers(ctx);
	for (int i = 0; !found && i < sk_SSL_CIPHER_num(list); i++) {
		const SSL_CIPHER *c = sk_SSL_CIPHER_value(list, i);

		found = !keeps_secrets(c);
		if (found)
			snprintf(name, 64, "%s", SSL_CIPHER_get_name(c));
	}
	SSL_CTX_free(ctx);
	ERR_clear_error();
	return found;
}

static void seen_digest(const struct making *m, uint8_t out[SHA256_BYTES])
{
	sha256(slice_of(m->seen.p, m->seen.n), out);
}

static void no_context(struct making *m, struct place at)
{
	m->ok = false;
	diag_error(m->diags, at, "E042", "OpenSSL: %s", openssl_text("out of memory"));
}

/*---------------------------------------------------------------- servers */

static int on_server_name(SSL *ssl, int *alert, void *arg)
{
	const struct tls_server *s = arg;
	const char *name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
	size_t n = name == NULL ? 0 : strlen(name);

	(void)alert;
	n -= n > 1 && name[n - 1] == '.'; /* some say that it is the whole of it */
	for (uint32_t i = 0; n > 0 && i < s->n; i++) {
		if (X509_check_host(s->cert[i].leaf, name, n, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS,
				    NULL) != 1)
			continue;
		if (i > 0)
			SSL_set_SSL_CTX(ssl, s->cert[i].ctx);
		break;
	}
	return SSL_TLSEXT_ERR_OK;
}

static bool is_named(const unsigned char *item, unsigned room, const char *name)
{
	size_t n = strlen(name);

	return item[0] == n && n < room && memcmp(item + 1, name, n) == 0;
}

/* RFC 7301 section 3.2: without a protocol in common there is no connection.  `arg`: what we speak.
 */
static int on_alpn(SSL *ssl, const unsigned char **out, unsigned char *out_n,
		   const unsigned char *in, unsigned in_n, void *arg)
{
	(void)ssl;
	for (unsigned i = 0; i < tls_protocol_count; i++) {
		if (!((uintptr_t)arg & 1u << tls_protocols[i].protocol))
			continue;
		for (unsigned at = 0; at < in_n; at += in[at] + 1u) {
			if (!is_named(in + at, in_n - at, tls_protocols[i].name))
				continue;
			*out = in + at + 1;
			*out_n = in[at];
			return SSL_TLSEXT_ERR_OK;
		}
	}
	return SSL_TLSEXT_ERR_ALERT_FATAL;
}

/* How clients are verified: the same for all certificates of a listener. */
struct client_rule {
	X509_STORE *store;
	STACK_OF(X509_NAME) *
	    names; /* told to clients, so that they choose the right certificate */
	int mode;
	uint8_t id[SHA256_BYTES]; /* tickets made under another rule are not taken */
};

static void make_client_rule(struct making *m, const struct tls_server_conf *c,
			     struct client_rule *r)
{
	*r = (struct client_rule){ .mode = SSL_VERIFY_NONE };
	remember(m, "client auth ",
		 c->client_ca == NULL                         ? NULL
		 : c->client_auth == TLS_CLIENT_AUTH_OPTIONAL ? "?"
							      : "!");
	if (c->client_ca != NULL) {
		r->store = X509_STORE_new();
		r->names = sk_X509_NAME_new_null();
		r->mode =
		    SSL_VERIFY_PEER | SSL_VERIFY_CLIENT_ONCE |
		    (c->client_auth == TLS_CLIENT_AUTH_REQUIRED ? SSL_VERIFY_FAIL_IF_NO_PEER_CERT
								: 0);
		if (r->store == NULL || r->names == NULL) {
			no_context(m, c->client_ca_at);
			return;
		}
		if (c->crl == NULL) {
			load_own_authorities(m, r->store, r->names, c->client_ca_at, c->client_ca);
		} else {
			load_authorities(m, r->store, r->names, c->client_ca_at, c->client_ca);
			load_revoked(m, r->store, c->crl_at, c->crl);
		}
	}
	seen_digest(m, r->id);
}

static void client_rule_fini(struct client_rule *r)
{
	X509_STORE_free(r->store);
	sk_X509_NAME_pop_free(r->names, X509_NAME_free);
}

static bool apply_client_rule(SSL_CTX *ctx, const struct client_rule *r)
{
	SSL_CTX_set_verify(ctx, r->mode, NULL);
	if (r->store != NULL)
		SSL_CTX_set1_cert_store(ctx, r->store);
	if (r->names != NULL)
		SSL_CTX_set_client_CA_list(ctx, SSL_dup_CA_list(r->names));
	return SSL_CTX_set_session_id_context(ctx, r->id, SSL_MAX_SID_CTX_LENGTH) == 1;
}

/* The next certificate of a server. */
static void add_certificate(struct making *m, struct tls_server *s, const struct tls_server_conf *c,
			    const struct tls_server_conf *first, const struct client_rule *r)
{
	struct tls_server_cert *cert = &s->cert[s->n];

	cert->ctx = new_context(TLS_server_method(), first->min_version);
	cert->path = strdup(c->cert);
	s->n++;
	if (cert->ctx == NULL || cert->path == NULL || !apply_client_rule(cert->ctx, r)) {
		no_context(m, c->at);
		return;
	}
	use_chain(m, cert->ctx, c->cert_at, c->cert, &cert->not_after_s);
	cert->leaf = SSL_CTX_get0_certificate(cert->ctx);
	if (cert->leaf != NULL)
		use_key(m, cert->ctx, c->key != NULL ? c->key_at : c->cert_at,
			c->key != NULL ? c->key : c->cert);
	if (s->n == 1) /* what is wrong is said once */
		use_ciphers(m, cert->ctx, first->ciphers_at, first->ciphers);
	else if (first->ciphers != NULL)
		SSL_CTX_set_cipher_list(cert->ctx, first->ciphers);
	SSL_CTX_set_session_cache_mode(cert->ctx, SSL_SESS_CACHE_OFF);
	SSL_CTX_set_num_tickets(cert->ctx, 1); /* each costs a seal, a record and a system call */
	SSL_CTX_set_tlsext_ticket_key_evp_cb(cert->ctx, tls_ticket_key);
	SSL_CTX_set_session_ticket_cb(cert->ctx, tls_ticket_made, tls_ticket_opened, NULL);
	SSL_CTX_set_alpn_select_cb(cert->ctx, on_alpn, (void *)(uintptr_t)m->protocols);
}

static bool same_host(const GENERAL_NAME *a, const GENERAL_NAME *b)
{
	size_t n = (size_t)ASN1_STRING_length(a->d.ia5);

	return b->type == GEN_DNS && n == (size_t)ASN1_STRING_length(b->d.ia5) &&
	       strncasecmp((const char *)ASN1_STRING_get0_data(a->d.ia5),
			   (const char *)ASN1_STRING_get0_data(b->d.ia5), n) == 0;
}

static bool has_host(const GENERAL_NAMES *names, const GENERAL_NAME *host)
{
	for (int i = 0; i < sk_GENERAL_NAME_num(names); i++)
		if (same_host(host, sk_GENERAL_NAME_value(names, i)))
			return true;
	return false;
}

/* Whether `b` holds every name of host that `a` does. */
static bool names_within(X509 *a, X509 *b)
{
	GENERAL_NAMES *of_a = X509_get_ext_d2i(a, NID_subject_alt_name, NULL, NULL),
		      *of_b = X509_get_ext_d2i(b, NID_subject_alt_name, NULL, NULL);
	unsigned hosts = 0;
	bool all = true;

	for (int i = 0; i < sk_GENERAL_NAME_num(of_a); i++) {
		const GENERAL_NAME *name = sk_GENERAL_NAME_value(of_a, i);

		if (name->type != GEN_DNS)
			continue;
		hosts++;
		all = all && has_host(of_b, name);
	}
	GENERAL_NAMES_free(of_a);
	GENERAL_NAMES_free(of_b);
	return hosts > 0 && all;
}

/* Two for the same names with keys of different kinds (RSA, ECDSA) stand beside each other, and
 * what the client can verify decides: OpenSSL knows.  It refuses a second one of the same kind. */
static void pair_up(const struct tls_server_cert *cert, const struct tls_server_cert *other)
{
	STACK_OF(X509) *chain = NULL;

	if (cert == other || !names_within(cert->leaf, other->leaf) ||
	    SSL_CTX_select_current_cert(other->ctx, other->leaf) != 1)
		return;
	SSL_CTX_get0_chain_certs(other->ctx, &chain);
	SSL_CTX_use_cert_and_key(cert->ctx, other->leaf, SSL_CTX_get0_privatekey(other->ctx), chain,
				 0);
	ERR_clear_error();
}

static void server_free(struct tls_server *s)
{
	for (uint32_t i = 0; i < s->n; i++) {
		SSL_CTX_free(s->cert[i].ctx);
		free(s->cert[i].path);
	}
	free(s);
}

static void fill_server(struct making *m, struct tls_server *s, const struct conf_list *certs)
{
	const struct tls_server_conf *c = certs->item;
	struct client_rule rule;

	make_client_rule(m, c, &rule);
	for (uint32_t i = 0; i < certs->n; i++)
		add_certificate(m, s, &c[i], c, &rule);
	client_rule_fini(&rule);
	if (!m->ok || s->n < 2)
		return;
	for (uint32_t i = 0; i < s->n; i++)
		for (uint32_t k = 0; k < s->n; k++)
			pair_up(&s->cert[i], &s->cert[k]);
	SSL_CTX_set_tlsext_servername_callback(s->cert[0].ctx, on_server_name);
	SSL_CTX_set_tlsext_servername_arg(s->cert[0].ctx, s);
}

struct tls_server *tls_server_new(const struct conf_list *certs, unsigned protocols, int64_t now_s,
				  struct diags *diags)
{
	struct making m = { .diags = diags, .protocols = protocols, .now_s = now_s, .ok = true };
	struct tls_server *s = calloc(1, sizeof(*s) + certs->n * sizeof(s->cert[0]));

	if (s == NULL) {
		diags_out_of_memory(diags);
		return NULL;
	}
	s->refs = 1;
	fill_server(&m, s, certs);
	buf_fini(&m.seen);
	if (m.ok)
		return s;
	server_free(s);
	return NULL;
}

struct tls_server *tls_server_get(struct tls_server *s)
{
	atomic_fetch_add(&s->refs, 1);
	return s;
}

void tls_server_put(struct tls_server *s)
{
	if (s != NULL && atomic_fetch_sub(&s->refs, 1) == 1)
		server_free(s);
}

uint32_t tls_server_certificates(const struct tls_server *s)
{
	return s->n;
}

struct tls_certificate tls_server_certificate(const struct tls_server *s, uint32_t i)
{
	return (struct tls_certificate){ s->cert[i].path, s->cert[i].not_after_s };
}

/*---------------------------------------------------------------- clients */

static bool set_alpn(SSL_CTX *ctx, unsigned protocols)
{
	unsigned char list[64];
	unsigned n = 0;

	for (unsigned i = 0; i < tls_protocol_count; i++) {
		size_t len = strlen(tls_protocols[i].name);

		if (!(protocols & 1u << tls_protocols[i].protocol))
			continue;
		list[n++] = (unsigned char)len;
		memcpy(list + n, tls_protocols[i].name, len);
		n += (unsigned)len;
	}
	return SSL_CTX_set_alpn_protos(ctx, list, n) == 0; /* 0 is its success */
}

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* What the system trusts is a megabyte: made once for all upstreams, and again when its file has
 * changed. */
static struct {
	X509_STORE *store;
	uint8_t digest[SHA256_BYTES];
	struct stat file;
} system_trust;

static bool read_system_trust(struct making *m, struct place at, const char *path)
{
	struct making own = { .diags = m->diags, .now_s = m->now_s, .lenient = true, .ok = true };
	X509_STORE *store = X509_STORE_new();

	if (store == NULL)
		no_context(m, at);
	else
		load_authorities(&own, store, NULL, at, path);
	seen_digest(&own, system_trust.digest);
	buf_fini(&own.seen);
	m->ok = m->ok && own.ok;
	if (!m->ok) {
		X509_STORE_free(store);
		return false;
	}
	X509_STORE_free(system_trust.store);
	system_trust.store = store;
	return true;
}

static void trust_system(struct making *m, SSL_CTX *ctx, struct place at)
{
	const char *path = system_authorities();
	struct stat file = { 0 };
	bool known = stat(path, &file) == 0 && system_trust.store != NULL &&
		     same_file(&file, &system_trust.file);

	if (!known && !read_system_trust(m, at, path))
		return;
	system_trust.file = file;
	buf_put(&m->seen, (const char *)system_trust.digest, sizeof(system_trust.digest));
	SSL_CTX_set1_cert_store(ctx, system_trust.store);
}

static void trust_authorities(struct making *m, SSL_CTX *ctx, const struct tls_client_conf *c,
			      struct place at)
{
	SSL_CTX_set_verify(ctx, c->verify ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, NULL);
	if (!c->verify)
		diag_warning(m->diags, c->verify_at, "W111",
			     "whoever stands between reads and changes what goes to this upstream")
		    ->help = "name its authority in `ca`, or its name in `server_name`";
	else if (c->ca != NULL)
		load_own_authorities(m, SSL_CTX_get_cert_store(ctx), NULL, c->ca_at, c->ca);
	else
		trust_system(m, ctx, at);
}

static void fill_client(struct making *m, struct tls_client *t, const struct tls_client_conf *c,
			struct place at)
{
	t->ctx = new_context(TLS_client_method(), c->min_version);
	t->verify = c->verify;
	t->resume = c->resume;
	t->common_name = c->common_name;
	t->server_name = c->server_name == NULL ? NULL : strdup(c->server_name);
	t->cert_path = c->cert == NULL ? NULL : strdup(c->cert);
	if (t->ctx == NULL || !set_alpn(t->ctx, m->protocols) ||
	    (c->server_name != NULL && t->server_name == NULL) ||
	    (c->cert != NULL && t->cert_path == NULL)) {
		no_context(m, at);
		return;
	}
	remember(m, "verify ", c->verify ? "yes" : "no");
	remember(m, "name ", c->server_name);
	remember(m, "common name ", c->common_name ? "yes" : "no");
	remember(m, "version ", c->min_version == TLS_1_3 ? "1.3" : "1.2");
	remember(m, "ciphers ", c->ciphers);
	remember(m, "certificate ", c->cert);
	use_ciphers(m, t->ctx, c->ciphers_at, c->ciphers);
	trust_authorities(m, t->ctx, c, at);
	if (c->cert != NULL)
		use_chain(m, t->ctx, c->cert_at, c->cert, &t->not_after_s);
	if (c->cert != NULL && SSL_CTX_get0_certificate(t->ctx) != NULL)
		use_key(m, t->ctx, c->key != NULL ? c->key_at : c->cert_at,
			c->key != NULL ? c->key : c->cert);
	SSL_CTX_set_session_cache_mode(t->ctx, SSL_SESS_CACHE_CLIENT | SSL_SESS_CACHE_NO_INTERNAL);
	SSL_CTX_sess_set_new_cb(t->ctx, tls_keep_session);
}

static void client_free(struct tls_client *t)
{
	SSL_CTX_free(t->ctx);
	free(t->server_name);
	free(t->cert_path);
	free(t);
}

struct tls_client *tls_client_new(const struct tls_client_conf *c, unsigned protocols,
				  struct place at, int64_t now_s, struct diags *diags)
{
	struct making m = { .diags = diags, .protocols = protocols, .now_s = now_s, .ok = true };
	struct tls_client *t = calloc(1, sizeof(*t));
	uint8_t digest[SHA256_BYTES];

	if (t == NULL) {
		diags_out_of_memory(diags);
		return NULL;
	}
	t->refs = 1;
	fill_client(&m, t, c, at);
	seen_digest(&m, digest);
	memcpy(&t->trust, digest, sizeof(t->trust));
	t->trust |= 1;
	buf_fini(&m.seen);
	if (m.ok)
		return t;
	client_free(t);
	return NULL;
}

struct tls_client *tls_client_get(struct tls_client *t)
{
	atomic_fetch_add(&t->refs, 1);
	return t;
}

void tls_client_put(struct tls_client *t)
{
	if (t != NULL && atomic_fetch_sub(&t->refs, 1) == 1)
		client_free(t);
}

uint64_t tls_client_trust(const struct tls_client *t)
{
	return t->trust;
}

bool tls_client_certificate(const struct tls_client *t, struct tls_certificate *out)
{
	*out = (struct tls_certificate){ t->cert_path, t->not_after_s };
	return t->cert_path != NULL;
}

const char *tls_library(void)
{
	return OpenSSL_version(OPENSSL_VERSION);
}
