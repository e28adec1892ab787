/* conn.h - a connection: a transport and a codec, either side of the proxy.
 *
 * It owns memory only for bytes that could not be parsed or sent yet; an idle one owns none.
 *
 *  C1  closed is called exactly once, and is the last event.
 *  C2  Streams of its codec have heard gone before closed is called.
 *  C3  Reading stops while the codec is paused or what was left over fills its bound. */
#ifndef IO_CONN_H
#define IO_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/list.h"
#include "base/timer.h"
#include "http/h1.h"
#include "http/h2.h"
#include "io/loop.h"
#include "io/tls.h"
#include "io/transport.h"

struct conn;
struct gather;

struct conn_events {
	/* An upstream connection: the connect (and the TLS handshake) came through.  A server
	 * connection that expects TLS: its handshake did; NULL for those that never do. */
	void (*connected)(struct conn *);
	/* Its timer came up (conn_set_timer); NULL for server connections, which keep times of
	 * their own. */
	void (*timeout)(struct conn *);
	void (*closed)(struct conn *, const struct reason *why); /* NULL: in good order */
};

/* Times of server connections. */
struct conn_times {
	uint64_t handshake_ns; /* of TLS */
	uint64_t header_ns;    /* from the first byte (or the accept) to the end of the head */
	uint64_t idle_ns;      /* between calls */
	uint64_t write_ns;     /* to write out what is left before closing */
	uint64_t linger_ns;    /* to read on after the last answer */
};

/* Which HTTP a connection speaks. */
enum conn_protocol {
	CONN_HTTP1,
	CONN_HTTP2,
	CONN_EITHER, /* as TLS agrees; a client without TLS: HTTP/2 if it begins with the preface */
};

struct conn {
	uint32_t magic;
	uint32_t out_at;
	struct loop *loop;
	struct transport *transport;
	const struct conn_events *on;
	void *owner;
	void *data;                     /* the owner's */
	const struct conn_times *times; /* NULL: upstream */
	struct timer timer;
	struct list link, dirty_link;
	struct list pool_link; /* the owner's; a connection that closes leaves what it is in */
	struct deferred grave;
	struct gather *gather; /* what was put since the last flush */
	char *in;              /* bytes left over by the codec */
	uint32_t in_n, in_cap;
	char *out; /* bytes that the socket did not take */
	size_t out_n, out_cap;
	struct tls_server
	    *tls; /* what the client is to be met with, once the PROXY header has come */
	struct addr peer;
	uint8_t wants; /* of enum transport_want */
	uint8_t timed_phase;
	bool connecting, eof, eof_told, broken, kicked, closing, half_closed, feeding, wrote, dirty;
	uint8_t prelude; /* what is to be decided before the codec's bytes; 0: nothing */
	bool mute;       /* an upstream that takes nothing more: what is put is dropped */
	bool unsecured;  /* a client that is to speak TLS, and does not yet */
	bool secure;     /* what comes and goes is TLS */
	bool used;       /* has carried a call */
	int error;       /* of its transport, once it has closed */
	uint32_t calls;  /* so far: the owner's to count, as is */
	uint64_t serial; /* its number among all connections of clients */
	union {
		struct codec codec; /* the first member of each */
		struct h1 h1;
		struct h2 h2;
	};
};

enum { CONN_MAGIC = 0x434f4e4e };

/* A server connection over a transport (taken over).  NULL when memory is out.  Any protocol but
 * CONN_HTTP1 wants limits->h2. */
struct conn *conn_accept(struct loop *, struct transport *, const struct addr *peer,
			 bool proxy_header, enum conn_protocol, const struct conn_events *,
			 void *owner, const struct codec_events *, const struct codec_limits *,
			 const struct conn_times *);
/* The client is to speak TLS, behind the PROXY header if there is one; right after conn_accept.
 * `connected` or `closed` follows.  CONN_EITHER then goes by what both agree on (ALPN). */
void conn_expect_tls(struct conn *, struct tls_server *);
/* A client connection; connected or closed follows, from the loop: then codec.multiplexed says what
 * CONN_EITHER has become.  Over TLS it goes by what both agree on, as CONN_HTTP2 does, which fails
 * without; else it is HTTP/1.  `tls` NULL, or without a client: plain.  NULL: it failed at once. */
struct conn *conn_connect(struct loop *, const struct addr *, const struct tls_target *tls,
			  enum conn_protocol, const struct conn_events *, void *owner,
			  const struct codec_limits *);
/* A client connection's stream for one more request: of HTTP/1 the only one, when the connection is
 * idle; of HTTP/2 one more, when conn_room says so.  NULL when memory is out. */
struct stream *conn_open(struct conn *, struct arena *);
/* How many more streams a client connection of HTTP/2, or one that may become one, may open. */
uint32_t conn_room(const struct conn *);

/* The protocol was agreed upon (ALPN) before any byte of it came.  False: out of memory, and the
 * connection is about to break. */
bool conn_speak(struct conn *, enum conn_protocol);
/* Ends it: streams hear gone(why), `closed` follows before the present entry ends. */
void conn_close(struct conn *, const struct reason *why);
/* Ends it without any event to the owner (streams still hear gone). */
void conn_drop(struct conn *);
/* Closes once all that was put is written; it must have no stream under way. */
void conn_finish(struct conn *);
/* Whether an idle one has heard nothing that the loop has not told yet: an end, most likely. */
bool conn_is_quiet(const struct conn *);
/* Writes what every connection has put, so that nothing is borrowed any more; raises nothing. */
void conn_flush_all(struct loop *);
/* No request after the present one; an idle one closes. */
void conn_last(struct conn *);
/* Upstream side: 0 clears. */
bool conn_set_timer(struct conn *, uint64_t deadline_ns);

#endif
