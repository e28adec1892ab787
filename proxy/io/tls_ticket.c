/* tls_ticket.c - one secret an hour, each made of the one before. */
#include "io/tls_ticket.h"

#include <openssl/core_names.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>
#include <pthread.h>
#include <string.h>
#include <sys/random.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/list.h"
#include "io/tls_internal.h"

#define TURN_NS (TLS_TICKET_TURN_S * CLOCK_S)

static void derive(const uint8_t secret[TLS_TICKET_KEY_BYTES], const char *what, uint8_t *out,
		   size_t n)
{
	uint8_t digest[EVP_MAX_MD_SIZE];
	unsigned len = 0;

	CHECK(HMAC(EVP_sha256(), secret, TLS_TICKET_KEY_BYTES, (const uint8_t *)what, strlen(what),
		   digest, &len) != NULL);
	CHECK(n <= len);
	memcpy(out, digest, n);
	OPENSSL_cleanse(digest, sizeof(digest));
}

static void turn(struct tls_tickets *t)
{
	uint8_t next[TLS_TICKET_KEY_BYTES];

	t->before = t->now;
	derive(t->secret, "ticket name", t->now.name, sizeof(t->now.name));
	derive(t->secret, "ticket cipher", t->now.cipher, sizeof(t->now.cipher));
	derive(t->secret, "ticket mac", t->now.mac, sizeof(t->now.mac));
	derive(t->secret, "next secret", next, sizeof(next));
	memcpy(t->secret, next, sizeof(next));
	OPENSSL_cleanse(next, sizeof(next));
	t->turn_ns += TURN_NS;
}

static void catch_up(struct tls_tickets *t, uint64_t now_ns)
{
	while (now_ns >= t->turn_ns)
		turn(t);
}

void tls_tickets_secret(uint8_t secret[TLS_TICKET_KEY_BYTES])
{
	CHECK(getrandom(secret, TLS_TICKET_KEY_BYTES, 0) == TLS_TICKET_KEY_BYTES);
}

void tls_tickets_init(struct tls_tickets *t, const uint8_t secret[TLS_TICKET_KEY_BYTES],
		      uint64_t start_ns)
{
	*t = (struct tls_tickets){ .turn_ns = start_ns };
	memcpy(t->secret, secret, sizeof(t->secret));
	turn(t);
	t->before = t->now;
}

static void set_timer(struct tls_tickets *t)
{
	t->timer_ns = t->turn_ns;
	timer_set(t->timers, &t->timer, t->timer_ns); /* if not: the next ticket makes up for it */
}

static void on_turn(struct timer *timer)
{
	struct tls_tickets *t = LIST_ENTRY(timer, struct tls_tickets, timer);

	catch_up(t, t->timer_ns);
	set_timer(t);
}

void tls_tickets_run(struct tls_tickets *t, struct timers *timers)
{
	t->timers = timers;
	timer_init(&t->timer, on_turn);
	set_timer(t);
}

void tls_tickets_fini(struct tls_tickets *t)
{
	if (t->timers != NULL)
		timer_fini(t->timers, &t->timer);
	OPENSSL_cleanse(t, sizeof(*t));
}

const struct tls_ticket_key *tls_tickets_seal(struct tls_tickets *t, uint64_t now_ns)
{
	catch_up(t, now_ns);
	return &t->now;
}

const struct tls_ticket_key *tls_tickets_open(struct tls_tickets *t, uint64_t now_ns,
					      const uint8_t name[TLS_TICKET_NAME_BYTES], bool *old)
{
	catch_up(t, now_ns);
	*old = false;
	if (memcmp(name, t->now.name, sizeof(t->now.name)) == 0)
		return &t->now;
	*old = true;
	return memcmp(name, t->before.name, sizeof(t->before.name)) == 0 ? &t->before : NULL;
}

/*---------------------------------------------------------------- what OpenSSL asks */

static bool key_mac(EVP_MAC_CTX *mac, const struct tls_ticket_key *key)
{
	OSSL_PARAM params[] = {
		OSSL_PARAM_construct_octet_string(OSSL_MAC_PARAM_KEY, (void *)(uintptr_t)key->mac,
						  sizeof(key->mac)),
		OSSL_PARAM_construct_utf8_string(OSSL_MAC_PARAM_DIGEST,
						 (char *)(uintptr_t) "SHA256", 0),
		OSSL_PARAM_construct_end(),
	};

	return EVP_MAC_CTX_set_params(mac, params) == 1;
}

static EVP_CIPHER *seal_cipher; /* looked up once */

static void find_cipher(void)
{
	seal_cipher = EVP_CIPHER_fetch(NULL, "AES-256-CBC", NULL);
	CHECK(seal_cipher != NULL);
}

/* 1: done; 2: done, and a new ticket should follow; 0: no such key, the handshake is a full one;
 * -1: failed. */
int tls_ticket_key(SSL *ssl, unsigned char *name, unsigned char *iv, EVP_CIPHER_CTX *cipher,
		   EVP_MAC_CTX *mac, int enc)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	uint64_t now_ns = 0;
	struct tls_tickets *tickets = tls_tickets_of(ssl, &now_ns);
	const struct tls_ticket_key *key;
	bool old = false;

	if (tickets == NULL)
		return 0;
	pthread_once(&once, find_cipher);
	key =
	    enc ? tls_tickets_seal(tickets, now_ns) : tls_tickets_open(tickets, now_ns, name, &old);
	if (key == NULL)
		return 0;
	if (enc) {
		memcpy(name, key->name, sizeof(key->name));
		if (RAND_bytes(iv, EVP_MAX_IV_LENGTH) != 1)
			return -1;
	}
	if (EVP_CipherInit_ex(cipher, seal_cipher, NULL, key->cipher, iv, enc) != 1 ||
	    !key_mac(mac, key))
		return -1;
	/* a ticket of TLS 1.3 is good for one connection (RFC 8446 appendix C.4): the next needs
	 * another */
	return old || SSL_version(ssl) == TLS1_3_VERSION ? 2 : 1;
}

/*---------------------------------------------------------------- who was verified, and when */

int64_t tls_good_until(const SSL_SESSION *session, int64_t now_s)
{
	X509 *peer = SSL_SESSION_get0_peer((SSL_SESSION *)(uintptr_t)session);
	int64_t until = now_s + TLS_TICKET_LIFE_S,
		expiry = peer == NULL ? until : tls_seconds_of(X509_get0_notAfter(peer));

	return expiry < until ? expiry : until;
}

/* It goes along with the session when that is taken up and renewed. */
int tls_ticket_made(SSL *ssl, void *arg)
{
	SSL_SESSION *session = SSL_get_session(ssl);
	int64_t until;

	(void)arg;
	if (SSL_session_reused(ssl) || SSL_SESSION_get0_peer(session) == NULL)
		return 1;
	until = tls_good_until(session, tls_wall_s(ssl));
	return SSL_SESSION_set1_ticket_appdata(session, &until, sizeof(until));
}

static bool is_good(SSL *ssl, SSL_SESSION *session)
{
	void *data = NULL;
	size_t n = 0;
	int64_t until;

	if (SSL_SESSION_get0_peer(session) == NULL)
		return true;
	if (SSL_SESSION_get0_ticket_appdata(session, &data, &n) != 1 || n != sizeof(until))
		return false;
	memcpy(&until, data, sizeof(until));
	return tls_wall_s(ssl) < until;
}

SSL_TICKET_RETURN tls_ticket_opened(SSL *ssl, SSL_SESSION *session, const unsigned char *name,
				    size_t name_n, SSL_TICKET_STATUS status, void *arg)
{
	(void)name, (void)name_n, (void)arg;
	if (status != SSL_TICKET_SUCCESS && status != SSL_TICKET_SUCCESS_RENEW)
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	if (!is_good(ssl, session))
		return SSL_TICKET_RETURN_IGNORE_RENEW;
	return status == SSL_TICKET_SUCCESS ? SSL_TICKET_RETURN_USE : SSL_TICKET_RETURN_USE_RENEW;
}
