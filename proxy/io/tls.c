/* tls.c - TLS over another transport.
 *
 *   CONNECTING --the one below is--> SHAKING --handshake done--> OPEN --the peer said its end--> (ended)
 *        |                              |                         |
 *        +----------- failed -----------+---- cut, malformed -----+--> BROKEN
 *
 * OpenSSL reads and writes through a BIO of ours, straight from and to the transport below: no
 * bytes stand between the two but records that have come in part (its read buffer) or not gone out
 * yet (its write buffer), and both are given back when they are empty.
 *
 * Reading may have to wait until something is written and the other way about (key updates);
 * `crossed` remembers who waits for what, and becomes what is wanted of the transport below. */
#include "io/tls.h"

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/reason.h"
#include "io/loop.h"
#include "io/tls_internal.h"

enum {
	RECORD_BYTES = 16 * 1024, /* of text in one record (RFC 8446 section 5.1) */
	READS = 6,                /* of the transport below in one entry: others want their turn */
	CHATTER = 64,             /* messages in a row that carry no text (T6) */
};

enum tls_state { CONNECTING, SHAKING, OPEN, BROKEN };

enum crossed { READ_WAITS_TO_WRITE = 1 << 0, WRITE_WAITS_TO_READ = 1 << 1 };

struct tls {
	struct transport transport; /* first */
	struct transport *below;
	struct loop *loop;
	SSL *ssl;
	struct tls_server *server; /* until the handshake has ended */
	struct tls_resume *resume;
	uint64_t trust;
	struct deferred nudge; /* to announce what OpenSSL holds (T2) */
	const char *to;        /* whom it was made to, for the log; NULL: it is not logged */
	const char *fault, *certificate_fault;
	char *peer_name; /* of a verified client; NULL: none */
	char *early;
	uint32_t early_at, early_n;
	unsigned wants;
	uint8_t state, crossed;
	uint8_t reads, chatter; /* so far */
	bool nudged;
	bool more; /* there may be something to read that no event of the socket will tell */
	bool dry;  /* the transport below has nothing left, in this entry */
	bool below_eof, below_broken;
	bool ended;  /* the peer's close_notify has come */
	bool ending; /* ours is to be written */
	bool shut;   /* ours was */
	bool deaf;   /* the transport below takes nothing more; what it has brought is still read */
};

static struct tls *tls_of(struct transport *t)
{
	return (struct tls *)(void *)t;
}

static struct tls *tls_of_ssl(const SSL *ssl)
{
	return BIO_get_data(SSL_get_rbio(ssl));
}

/*---------------------------------------------------------------- the BIO */

static int take_early(struct tls *tls, char *p, int n)
{
	uint32_t left = tls->early_n - tls->early_at;
	uint32_t some = (uint32_t)n < left ? (uint32_t)n : left;

	memcpy(p, tls->early + tls->early_at, some);
	tls->early_at += some;
	if (some < left)
		return (int)some;
	free(tls->early);
	tls->early = NULL;
	tls->early_at = tls->early_n = 0;
	return (int)some;
}

/* A recv that brought less than was asked for has emptied the socket: a second one is not worth the
 * call.  What is left to later turns, the socket announces again. */
static int bio_read(BIO *bio, char *p, int n)
{
	struct tls *tls = BIO_get_data(bio);
	ssize_t got;

	BIO_clear_retry_flags(bio);
	if (tls->chatter > CHATTER)
		return -1;
	if (tls->early != NULL)
		return take_early(tls, p, n);
	tls->dry = tls->dry || ++tls->reads > READS;
	got = tls->dry ? TRANSPORT_AGAIN : tls->below->ops->recv(tls->below, p, (size_t)n);
	tls->dry = tls->dry || got < n;
	tls->below_eof = tls->below_eof || got == 0;
	tls->below_broken = tls->below_broken || got == TRANSPORT_BROKEN;
	if (got == TRANSPORT_AGAIN)
		BIO_set_retry_read(bio);
	return got < 0 ? -1 : (int)got;
}

static int bio_write(BIO *bio, const char *p, int n)
{
	struct tls *tls = BIO_get_data(bio);
	struct iovec v = { .iov_base = (void *)(uintptr_t)p, .iov_len = (size_t)n };
	ssize_t sent;

	BIO_clear_retry_flags(bio);
	if (tls->below_eof) /* an alert about the end, to who has hung up */
		return n;
	sent = tls->below->ops->writev(tls->below, &v, 1);
	if (sent == TRANSPORT_AGAIN)
		BIO_set_retry_write(bio);
	tls->below_broken = tls->below_broken || sent == TRANSPORT_BROKEN;
	return sent < 0 ? -1 : (int)sent;
}

static long bio_ctrl(BIO *bio, int what, long n, void *p)
{
	const struct tls *tls = BIO_get_data(bio);

	(void)n, (void)p;
	if (what == BIO_CTRL_EOF)
		return tls->below_eof;
	return what == BIO_CTRL_FLUSH;
}

static BIO_METHOD *bio_method;

static void make_bio_method(void)
{
	bio_method = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "transport");
	CHECK(bio_method != NULL && BIO_meth_set_read(bio_method, bio_read) == 1 &&
	      BIO_meth_set_write(bio_method, bio_write) == 1 &&
	      BIO_meth_set_ctrl(bio_method, bio_ctrl) == 1);
}

static bool set_bio(struct tls *tls)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	BIO *bio;

	pthread_once(&once, make_bio_method);
	bio = BIO_new(bio_method);
	if (bio == NULL)
		return false;
	BIO_set_data(bio, tls);
	BIO_set_init(bio, 1);
	SSL_set_bio(tls->ssl, bio, bio);
	return true;
}

/*---------------------------------------------------------------- what went wrong */

enum outcome { WAIT_READ, WAIT_WRITE, ENDED, FAILED };

/* Before each call of OpenSSL's. */
static void enter(struct tls *tls)
{
	ERR_clear_error();
	tls->dry = false;
	tls->reads = 0;
}

static enum outcome outcome_of(struct tls *tls, int result)
{
	switch (SSL_get_error(tls->ssl, result)) {
	case SSL_ERROR_WANT_READ:
		return WAIT_READ;
	case SSL_ERROR_WANT_WRITE:
		return WAIT_WRITE;
	case SSL_ERROR_ZERO_RETURN:
		return ENDED;
	default:
		return FAILED;
	}
}

/* Leaves nothing in the queue. */
static void fail(struct tls *tls)
{
	unsigned long error = ERR_peek_error();

	tls->state = BROKEN;
	if (tls->fault == NULL && error != 0)
		tls->fault = ERR_reason_error_string(error);
	ERR_clear_error();
}

/*---------------------------------------------------------------- what is wanted below */

static unsigned wanted_open(const struct tls *tls)
{
	unsigned wants = tls->ending ? WANT_WRITE : 0;

	if (tls->wants & WANT_READ)
		wants |= tls->crossed & READ_WAITS_TO_WRITE ? WANT_WRITE : WANT_READ;
	if (tls->wants & WANT_WRITE)
		wants |= tls->crossed & WRITE_WAITS_TO_READ ? WANT_READ : WANT_WRITE;
	if (!(wants & WANT_READ))
		wants |= tls->wants & WANT_HANGUP;
	return wants;
}

static void want_below(struct tls *tls)
{
	tls->below->ops->want(tls->below, wanted_open(tls));
}

static void on_nudge(struct deferred *);

static void nudge(struct tls *tls)
{
	if (tls->nudged)
		return;
	tls->nudged = true;
	loop_defer(tls->loop, &tls->nudge, on_nudge);
}

static void nudge_reader(struct tls *tls)
{
	if (tls->more && (tls->wants & WANT_READ))
		nudge(tls);
}

/*---------------------------------------------------------------- handshake */

/* Not more than one line a second, of all threads. */
static bool may_log(const struct tls *tls)
{
	static _Atomic uint64_t next_ns;
	uint64_t now = tls->loop->now_ns, next = atomic_load(&next_ns);

	return now >= next && atomic_compare_exchange_strong(&next_ns, &next, now + CLOCK_S);
}

static const char *fault_text(const struct tls *tls, unsigned long error)
{
	const char *text = error == 0 ? NULL : ERR_reason_error_string(error);

	if (text != NULL)
		return text;
	return tls->below_eof      ? "the peer hung up"
	       : tls->below_broken ? "the connection broke"
				   : "no reason is known";
}

/* What is wrong with the certificate says more than that it is wrong. */
static void log_failure(struct tls *tls, unsigned long error)
{
	long verdict = SSL_get_verify_result(tls->ssl);
	const char *more = verdict == X509_V_OK ? "" : X509_verify_cert_error_string(verdict);

	tls->fault = fault_text(tls, error);
	tls->certificate_fault = *more ? more : NULL;
	if ((tls->to == NULL && !SSL_is_server(tls->ssl)) || !may_log(tls))
		return;
	if (SSL_is_server(tls->ssl))
		log_info("TLS handshake of a client failed: %s%s%s", fault_text(tls, error),
			 *more ? ": " : "", more);
	else
		log_warn("TLS handshake with %s failed: %s%s%s", tls->to, fault_text(tls, error),
			 *more ? ": " : "", more);
}

/* Somebody speaks HTTP to us without TLS: told so in HTTP (as nginx does). */
static void answer_plain(struct tls *tls)
{
	static const char answer[] =
	    "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\n"
	    "Connection: close\r\nContent-Length: 31\r\n\r\n"
	    "this port speaks HTTP over TLS\n";
	struct iovec v = { .iov_base = (void *)(uintptr_t)answer, .iov_len = sizeof(answer) - 1 };

	tls->below->ops->writev(tls->below, &v, 1);
	tls->below->ops->half_close(tls->below);
	tls->shut = true;
}

static void fail_handshake(struct tls *tls)
{
	bool server = SSL_is_server(tls->ssl);
	unsigned long error = ERR_peek_error();

	log_failure(tls, error);
	if (server && ERR_GET_LIB(error) == ERR_LIB_SSL &&
	    ERR_GET_REASON(error) == SSL_R_HTTP_REQUEST)
		answer_plain(tls);
	tls->transport.why = server ? reason_handshake_failed : reason_tls_failed;
	fail(tls);
}

static uint8_t protocol_of(const SSL *ssl)
{
	const unsigned char *name;
	unsigned n;

	SSL_get0_alpn_selected(ssl, &name, &n);
	for (unsigned i = 0; i < tls_protocol_count; i++)
		if (strlen(tls_protocols[i].name) == n &&
		    memcmp(tls_protocols[i].name, name, n) == 0)
			return tls_protocols[i].protocol;
	return PROTOCOL_HTTP1;
}

/* What came along with the end of the handshake was read with it. */
static void open_up(struct tls *tls)
{
	tls->state = OPEN;
	tls->transport.protocol = protocol_of(tls->ssl);
	tls->more = SSL_has_pending(tls->ssl) || tls->early != NULL;
	if (tls->server != NULL)
		tls->peer_name = tls_name_of_peer(tls->ssl);
	tls_server_put(tls->server);
	tls->server = NULL;
}

/* One step; then, if it was the last, the owner is told.  The transport may be gone afterwards. */
static void shake(struct tls *tls)
{
	enum outcome outcome;
	int result;

	enter(tls);
	result = SSL_do_handshake(tls->ssl);
	outcome = result == 1 ? ENDED : outcome_of(tls, result);
	if (outcome == WAIT_READ || outcome == WAIT_WRITE) {
		tls->below->ops->want(tls->below, outcome == WAIT_READ ? WANT_READ : WANT_WRITE);
		return;
	}
	if (result == 1)
		open_up(tls);
	else
		fail_handshake(tls);
	/* what was wanted below stays until the owner says what it wants now, in the same entry */
	tls->wants = 0;
	tls->transport.on_ready(tls->transport.owner, WANT_WRITE);
}

static void on_below_connected(struct tls *tls)
{
	if (tls->below->ops->intact(tls->below)) {
		tls->state = SHAKING;
		shake(tls);
		return;
	}
	tls->transport.why = reason_connect_failed;
	fail(tls);
	tls->below->ops->want(tls->below, 0);
	tls->transport.on_ready(tls->transport.owner, WANT_WRITE);
}

/*---------------------------------------------------------------- the ends of both directions */

static void say_end(struct tls *tls)
{
	int result;

	enter(tls);
	result = SSL_shutdown(tls->ssl);
	tls->ending = result < 0 && outcome_of(tls, result) == WAIT_WRITE;
	ERR_clear_error();
	if (tls->ending)
		return;
	tls->shut = true;
	tls->below->ops->half_close(tls->below);
}

static void tls_half_close(struct transport *t)
{
	struct tls *tls = tls_of(t);

	if (tls->state == OPEN && !tls->shut && !tls->ending && !tls->deaf) {
		say_end(tls);
		want_below(tls);
	}
}

static bool tls_intact(struct transport *t)
{
	struct tls *tls = tls_of(t);

	return tls->state != BROKEN && tls->below->ops->intact(tls->below);
}

/* Records that are no data (tickets, key updates) are no noise. */
static bool tls_quiet(struct transport *t)
{
	struct tls *tls = tls_of(t);
	char byte;
	int result;

	if (tls->state != OPEN || tls->ended)
		return false;
	if (!SSL_has_pending(tls->ssl) && tls->below->ops->quiet(tls->below))
		return true;
	enter(tls);
	result = SSL_peek(tls->ssl, &byte, sizeof(byte));
	if (result <= 0 && outcome_of(tls, result) == WAIT_READ)
		return true;
	ERR_clear_error();
	tls->more = true;
	nudge_reader(tls);
	return false;
}

static void tls_free(struct tls *tls)
{
	if (tls->ssl != NULL) {
		/* else OpenSSL takes a session whose end was not in order for one that must not be
		 * used again */
		SSL_set_shutdown(tls->ssl, SSL_SENT_SHUTDOWN | SSL_RECEIVED_SHUTDOWN);
		SSL_free(tls->ssl);
	}
	ERR_clear_error();
	tls_server_put(tls->server);
	free(tls->peer_name);
	free(tls->early);
	free(tls);
}

static void tls_close(struct transport *t, bool reset)
{
	struct tls *tls = tls_of(t);

	if (!reset && tls->state == OPEN && !tls->shut && !tls->deaf) {
		enter(tls);
		SSL_shutdown(tls->ssl);
	}
	if (tls->nudged)
		list_remove(&tls->nudge.link);
	tls->below->ops->close(tls->below, reset && !tls->below_eof);
	tls_free(tls);
}

/*---------------------------------------------------------------- bytes */

/* The end, or what broke it: told now, or at the next recv when there are bytes to be told first.
 */
static ssize_t recv_end(struct tls *tls, int result, size_t got)
{
	enum outcome outcome = outcome_of(tls, result);

	if (outcome == WAIT_READ || outcome == WAIT_WRITE) {
		if (outcome == WAIT_WRITE)
			tls->crossed |= READ_WAITS_TO_WRITE;
		return got > 0 ? (ssize_t)got : TRANSPORT_AGAIN;
	}
	if (outcome == ENDED)
		tls->ended = true;
	else
		fail(tls);
	if (got > 0) {
		tls->more = true;
		return (ssize_t)got;
	}
	return outcome == ENDED ? 0 : TRANSPORT_BROKEN;
}

static ssize_t recv_open(struct tls *tls, char *p, size_t n)
{
	size_t got = 0;

	enter(tls);
	do {
		int most = n - got > RECORD_BYTES ? RECORD_BYTES : (int)(n - got);
		int result = SSL_read(tls->ssl, p + got, most);

		if (result <= 0)
			return recv_end(tls, result, got);
		tls->chatter = 0;
		got += (size_t)result;
	} while (got < n && SSL_has_pending(tls->ssl));
	tls->more = got == n && SSL_has_pending(tls->ssl);
	return (ssize_t)got;
}

static ssize_t tls_recv(struct transport *t, void *p, size_t n)
{
	struct tls *tls = tls_of(t);
	unsigned crossed = tls->crossed;
	ssize_t got;

	tls->more = false;
	if (tls->state == BROKEN)
		return TRANSPORT_BROKEN;
	if (tls->state != OPEN)
		return TRANSPORT_AGAIN;
	if (tls->ended)
		return 0;
	tls->crossed &= WRITE_WAITS_TO_READ;
	got = recv_open(tls, p, n);
	if (tls->crossed != crossed)
		want_below(tls);
	nudge_reader(tls);
	return got;
}

/* Where a writev stands. */
struct cursor {
	const struct iovec *v;
	int n;
	size_t at;
};

static void cursor_skip(struct cursor *c, size_t bytes)
{
	while (c->n > 0 && bytes >= c->v->iov_len - c->at) {
		bytes -= c->v->iov_len - c->at;
		c->v++;
		c->n--;
		c->at = 0;
	}
	c->at += bytes;
}

/* The next record's text: where it stands, if it is in one piece or fills the record; else put
 * together in `room`. */
static struct slice cursor_record(struct cursor c, char room[RECORD_BYTES])
{
	const char *first = (const char *)c.v->iov_base + c.at;
	size_t left = c.v->iov_len - c.at, n = 0;

	if (c.n == 1 || left >= RECORD_BYTES)
		return slice_of(first, left < RECORD_BYTES ? left : RECORD_BYTES);
	while (c.n > 0 && n < RECORD_BYTES) {
		size_t some = c.v->iov_len - c.at;

		some = some < RECORD_BYTES - n ? some : RECORD_BYTES - n;
		memcpy(room + n, (const char *)c.v->iov_base + c.at, some);
		n += some;
		cursor_skip(&c, some);
	}
	return slice_of(room, n);
}

static ssize_t write_end(struct tls *tls, int result, size_t sent)
{
	enum outcome outcome = outcome_of(tls, result);

	if (outcome == WAIT_READ)
		tls->crossed |= WRITE_WAITS_TO_READ;
	if (outcome == FAILED && tls->below_broken && ERR_peek_error() == 0)
		tls->deaf = true; /* it may have said why, before */
	else if (outcome != WAIT_READ && outcome != WAIT_WRITE)
		fail(tls);
	if (sent > 0)
		return (ssize_t)sent;
	return tls->state == BROKEN || tls->deaf ? TRANSPORT_BROKEN : TRANSPORT_AGAIN;
}

static ssize_t write_open(struct tls *tls, struct cursor c)
{
	char room[RECORD_BYTES];
	size_t sent = 0;

	for (cursor_skip(&c, 0); c.n > 0;) {
		struct slice s = cursor_record(c, room);
		int result;

		enter(tls);
		result = SSL_write(tls->ssl, s.p, (int)s.n);
		if (result <= 0)
			return write_end(tls, result, sent);
		sent += (size_t)result;
		cursor_skip(&c, (size_t)result);
	}
	return (ssize_t)sent;
}

static ssize_t tls_writev(struct transport *t, const struct iovec *v, int n)
{
	struct tls *tls = tls_of(t);
	unsigned crossed = tls->crossed;
	ssize_t sent;

	if (tls->state == BROKEN || tls->deaf)
		return TRANSPORT_BROKEN;
	if (tls->state != OPEN)
		return TRANSPORT_AGAIN;
	tls->crossed &= READ_WAITS_TO_WRITE;
	sent = write_open(tls, (struct cursor){ .v = v, .n = n });
	if (tls->crossed != crossed)
		want_below(tls);
	return sent;
}

/*---------------------------------------------------------------- events */

static void tls_want(struct transport *t, unsigned wants)
{
	struct tls *tls = tls_of(t);

	tls->wants = wants;
	if (tls->state == CONNECTING || tls->state == SHAKING)
		return; /* what is wanted below is the handshake's */
	want_below(tls);
	nudge_reader(tls);
}

/* What of the owner's wants can be tried, now that this is ready below. */
static unsigned ready_for(const struct tls *tls, unsigned below)
{
	unsigned ready = below & tls->wants & WANT_HANGUP;

	if (below & (tls->crossed & READ_WAITS_TO_WRITE ? WANT_WRITE : WANT_READ))
		ready |= tls->wants & WANT_READ;
	if (below & (tls->crossed & WRITE_WAITS_TO_READ ? WANT_READ : WANT_WRITE))
		ready |= tls->wants & WANT_WRITE;
	return ready;
}

static void on_ready_open(struct tls *tls, unsigned below)
{
	unsigned ready;

	if (tls->ending && (below & WANT_WRITE)) {
		say_end(tls);
		want_below(tls);
	}
	ready = ready_for(tls, below);
	if (ready != 0)
		tls->transport.on_ready(tls->transport.owner, ready);
}

static void on_ready_below(void *owner, unsigned below)
{
	struct tls *tls = owner;

	if (tls->state == CONNECTING)
		on_below_connected(tls);
	else if (tls->state == SHAKING)
		shake(tls);
	else
		on_ready_open(tls, below);
}

static void on_nudge(struct deferred *d)
{
	struct tls *tls = LIST_ENTRY(d, struct tls, nudge);

	tls->nudged = false;
	if (tls->state == SHAKING)
		shake(tls);
	else if (tls->wants & WANT_READ)
		tls->transport.on_ready(tls->transport.owner, WANT_READ);
}

/*---------------------------------------------------------------- what contexts ask */

struct tls_tickets *tls_tickets_of(SSL *ssl, uint64_t *now_ns)
{
	struct loop *loop = tls_of_ssl(ssl)->loop;

	*now_ns = loop->now_ns;
	return loop->tickets;
}

void tls_on_message(const SSL *ssl, int where, int what)
{
	struct tls *tls = tls_of_ssl(ssl);

	(void)what;
	if (tls->state == OPEN && (where & (SSL_CB_LOOP | SSL_CB_ALERT)) && tls->chatter <= CHATTER)
		tls->chatter++;
}

int64_t tls_wall_s(const SSL *ssl)
{
	return (int64_t)(tls_of_ssl(ssl)->loop->wall_ns / CLOCK_S);
}

int tls_keep_session(SSL *ssl, SSL_SESSION *session)
{
	struct tls *tls = tls_of_ssl(ssl);
	struct tls_resume *resume = tls->resume;

	if (resume == NULL)
		return 0;
	if (!SSL_session_reused(ssl))
		resume->until_s = tls_good_until(session, tls_wall_s(ssl));
	SSL_SESSION_free(resume->session);
	resume->session = session;
	resume->trust = tls->trust;
	return 1;
}

void tls_resume_fini(struct tls_resume *r)
{
	SSL_SESSION_free(r->session);
	*r = (struct tls_resume){ .session = NULL };
}

bool tls_is_resumed(const struct transport *t)
{
	return SSL_session_reused(((const struct tls *)(const void *)t)->ssl) == 1;
}

/*---------------------------------------------------------------- making one */

static bool tls_local(const struct transport *t, struct addr *out)
{
	const struct transport *below = ((const struct tls *)(const void *)t)->below;

	return below->ops->local != NULL && below->ops->local(below, out);
}

static const struct transport_ops tls_ops = {
	.recv = tls_recv,
	.writev = tls_writev,
	.want = tls_want,
	.half_close = tls_half_close,
	.intact = tls_intact,
	.quiet = tls_quiet,
	.local = tls_local,
	.close = tls_close,
};

struct slice tls_peer_name(const struct transport *t)
{
	const struct tls *tls = t->ops == &tls_ops ? (const struct tls *)(const void *)t : NULL;

	return tls == NULL || tls->peer_name == NULL ? slice_of(NULL, 0)
						     : slice_str(tls->peer_name);
}

bool tls_facts_of(const struct transport *t, struct tls_facts *out)
{
	const struct tls *tls = t->ops == &tls_ops ? (const struct tls *)(const void *)t : NULL;

	if (tls == NULL)
		return false;
	*out = (struct tls_facts){
		.protocol = SSL_get_version(tls->ssl),
		.cipher = SSL_get_cipher_name(tls->ssl),
		.server_name = SSL_get_servername(tls->ssl, TLSEXT_NAMETYPE_host_name),
		.resumed = SSL_session_reused(tls->ssl) == 1,
	};
	return true;
}

const char *tls_fault(const struct transport *t, const char **certificate)
{
	const struct tls *tls = t->ops == &tls_ops ? (const struct tls *)(const void *)t : NULL;

	*certificate = tls == NULL ? NULL : tls->certificate_fault;
	return tls == NULL ? NULL : tls->fault;
}

uint64_t tls_trust_of(const struct transport *t)
{
	return t->ops == &tls_ops ? ((const struct tls *)(const void *)t)->trust : 0;
}

static struct tls *tls_new(struct loop *loop, struct transport *below, SSL_CTX *ctx)
{
	struct tls *tls = calloc(1, sizeof(*tls));

	if (tls == NULL)
		return NULL;
	tls->transport.ops = &tls_ops;
	tls->loop = loop;
	tls->below = below;
	list_init(&tls->nudge.link);
	ERR_clear_error();
	tls->ssl = SSL_new(ctx);
	if (tls->ssl != NULL && set_bio(tls))
		return tls;
	tls_free(tls);
	return NULL;
}

static void take_over(struct tls *tls)
{
	tls->below->owner = tls;
	tls->below->on_ready = on_ready_below;
}

static bool keep_early(struct tls *tls, struct slice early)
{
	if (early.n == 0)
		return true;
	tls->early = malloc(early.n);
	if (tls->early == NULL)
		return false;
	memcpy(tls->early, early.p, early.n);
	tls->early_n = (uint32_t)early.n;
	return true;
}

struct transport *tls_accept(struct loop *loop, struct transport *below, struct tls_server *server,
			     struct slice early)
{
	struct tls *tls = tls_new(loop, below, server->cert[0].ctx);

	if (tls == NULL || !keep_early(tls, early)) {
		if (tls != NULL)
			tls_free(tls);
		return NULL;
	}
	SSL_set_accept_state(tls->ssl);
	tls->server = tls_server_get(server);
	tls->state = SHAKING;
	take_over(tls);
	below->ops->want(below, WANT_READ);
	if (early.n > 0)
		nudge(tls);
	return &tls->transport;
}

/* RFC 6066 section 3: a literal address is no name to send. */
static bool set_peer(SSL *ssl, const struct tls_client *client, const char *name)
{
	X509_VERIFY_PARAM *param = SSL_get0_param(ssl);
	struct ip ip;

	if (ip_parse(slice_str(name), &ip))
		return !client->verify || X509_VERIFY_PARAM_set1_ip_asc(param, name) == 1;
	/* the subject is no place for names (RFC 9525 section 2) */
	X509_VERIFY_PARAM_set_hostflags(
	    param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS |
		       (client->common_name ? 0U : X509_CHECK_FLAG_NEVER_CHECK_SUBJECT));
	return SSL_set_tlsext_host_name(ssl, name) == 1 &&
	       (!client->verify || SSL_set1_host(ssl, name) == 1);
}

/* A session of other rules, or of long ago, would carry their verdict over. */
static void resume(struct tls *tls, struct tls_resume *r)
{
	tls->resume = r;
	if (r != NULL && r->session != NULL && r->trust == tls->trust &&
	    tls_wall_s(tls->ssl) < r->until_s)
		SSL_set_session(tls->ssl, r->session);
}

static bool offer_http1(SSL *ssl)
{
	static const unsigned char name[] = "\x08http/1.1";

	return SSL_set_alpn_protos(ssl, name, sizeof(name) - 1) == 0; /* 0 is its success */
}

struct transport *tls_connect(struct loop *loop, struct transport *below,
			      const struct tls_target *target)
{
	const struct tls_client *client = target->client;
	struct tls *tls = tls_new(loop, below, client->ctx);

	if (tls == NULL)
		return NULL;
	if (!set_peer(tls->ssl, client,
		      client->server_name != NULL ? client->server_name : target->name) ||
	    (target->http1_only && !offer_http1(tls->ssl))) {
		tls_free(tls);
		return NULL;
	}
	tls->trust = client->trust;
	tls->to = target->quiet ? NULL : target->name;
	if (client->resume)
		resume(tls, target->resume);
	SSL_set_connect_state(tls->ssl);
	tls->state = CONNECTING;
	take_over(tls);
	below->ops->want(below, WANT_WRITE);
	return &tls->transport;
}
