/* tls.h - a transport over another one: TLS 1.2 and 1.3, by OpenSSL.
 *
 * It makes its handshake by itself.  Until that has ended it behaves as a connect under way does:
 * nothing is read or written, then on_ready(WANT_WRITE) comes once, and `intact` says how it went
 * (transport.why: why not).
 *
 *  T1  An end of stream without close_notify is TRANSPORT_BROKEN, not an end: it may have been cut
 *      (RFC 8446 section 6.1).
 *  T2  Bytes that OpenSSL holds, which no socket event will announce, are announced here.
 *  T3  What `writev` did not take must be offered again, unchanged and with no less behind it (at
 *      any address).
 *  T4  One `writev` is as few records as there can be; none waits for more.
 *  T5  No error of OpenSSL's is left in the thread's queue.
 *  T6  What the peer sends that is no text (key updates, attempts to renegotiate) is bounded in a
 *      row, and one entry reads a bounded part of what there is. */
#ifndef IO_TLS_H
#define IO_TLS_H

#include "base/slice.h"
#include "io/tls_context.h"
#include "io/transport.h"

/* A session to take up again, kept by who connects: one thread's.  Zeroed: none. */
struct tls_resume {
	struct ssl_session_st *session;
	uint64_t trust;  /* tls_client_trust of who made it */
	int64_t until_s; /* wall clock: when the peer must prove again who it is */
};

void tls_resume_fini(struct tls_resume *);

/* Whom a connection is made to. */
struct tls_target {
	const struct tls_client *client; /* NULL: no TLS */
	const char
	    *name; /* of the peer: a DNS name, or an IP address (which is verified, not sent) */
	struct tls_resume *resume; /* NULL: none; else it outlives the transport */
	bool http1_only;           /* of what the client speaks, nothing else is offered */
	bool quiet;                /* a handshake that fails is not logged: tls_fault says why */
};

/* The side that was called.  `early`: bytes of the peer that were read already.  Takes `inner`
 * over, unless it returns NULL: memory is out. */
struct transport *tls_accept(struct loop *, struct transport *inner, struct tls_server *,
			     struct slice early);
/* The side that calls; `inner` may still be connecting.  As above. */
struct transport *tls_connect(struct loop *, struct transport *inner, const struct tls_target *);

/* Of a transport made here that is connected: whether an earlier session was taken up again. */
bool tls_is_resumed(const struct transport *);
/* Of one that was accepted: by what name the client's certificate knows it, see tls_internal.h;
 * empty: it has none, or this is no TLS.  Lives as long as the transport. */
struct slice tls_peer_name(const struct transport *);
/* What was agreed upon, as OpenSSL names it ("TLSv1.3"). */
struct tls_facts {
	const char *protocol, *cipher;
	const char *server_name; /* that the client asked for (SNI); NULL: none */
	bool resumed;
};

/* Of one that is connected; false: this is no TLS.  Texts live as long as the transport. */
bool tls_facts_of(const struct transport *, struct tls_facts *);
/* The tls_client_trust it was made under; 0 for a transport that is no TLS, or that was accepted.
 */
uint64_t tls_trust_of(const struct transport *);
/* Of one that broke: OpenSSL's words for it, and what is wrong with the certificate, or NULL.  NULL: not by TLS. */
const char *tls_fault(const struct transport *, const char **certificate);

#endif
