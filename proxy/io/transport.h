/* transport.h - bytes to and from one peer: a TCP or unix socket, a pair in memory, or TLS over either (tls.h).
 *
 * A transport tells its owner when it may be read or written (on_ready), never
 * more often than `want` asked for.  No errno leaves it, but as a number for logs. */
#ifndef IO_TRANSPORT_H
#define IO_TRANSPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base/addr.h"

struct loop;
struct reason;
struct transport;

enum transport_result {
	TRANSPORT_AGAIN = -1,  /* nothing now: wait for on_ready      */
	TRANSPORT_BROKEN = -2, /* reset, refused, unreachable, ...    */
};

enum transport_want {
	WANT_READ = 1 << 0,
	WANT_WRITE = 1 << 1,
	/* In place of WANT_READ, while nothing is to be read or after the peer's end of stream: to
	 * hear of a reset.  It may come up for other reasons: ask `intact`. */
	WANT_HANGUP = 1 << 2,
};

struct transport_ops {
	/* Bytes read, 0 at the end of the stream, or a transport_result. */
	ssize_t (*recv)(struct transport *, void *, size_t);
	/* Bytes written, or a transport_result. */
	ssize_t (*writev)(struct transport *, const struct iovec *, int);
	void (*want)(struct transport *,
		     unsigned wants);           /* the whole set, of enum transport_want */
	void (*half_close)(struct transport *); /* sends the end of the stream */
	/* Whether nothing has broken it: asked once when a connect under way becomes writable
	 * (false: it failed), and at each hangup. */
	bool (*intact)(struct transport *);
	/* Whether nothing waits to be read: no byte, no end, no reset. */
	bool (*quiet)(struct transport *);
	/* The address of this end; false: it has none.  NULL where none ever has. */
	bool (*local)(const struct transport *, struct addr *);
	/* The process at the other end of a unix socket, as it was when it connected; false: that is not
	 * known.  NULL where it never is. */
	bool (*process)(const struct transport *, uid_t *, pid_t *);
	/* Closes and frees.  `reset`: the peer is to see that it was cut. */
	void (*close)(struct transport *, bool reset);
};

/* What both ends agreed to speak (ALPN); 0 where nobody was asked. */
enum transport_protocol { PROTOCOL_HTTP1, PROTOCOL_HTTP2, PROTOCOLS };

struct transport {
	const struct transport_ops *ops;
	void (*on_ready)(void *owner, unsigned wants);
	void *owner;
	const struct reason *why; /* why it is not intact, where that is known */
	uint8_t protocol;         /* enum transport_protocol, once it is connected */
	int error; /* what the system called it when it broke, for logs alone; 0: not known */
};

/* A connected, non-blocking socket; takes the descriptor over.  NULL when memory is out (it is
 * closed). */
struct transport *tcp_open(struct loop *, int fd);
/* Starts to connect; writable when it is decided.  NULL: refused at once, or no descriptor or
 * memory left: see loop->connect_error. */
struct transport *tcp_connect(struct loop *, const struct addr *);
/* Whether an error is for want of what this machine has only so many of: descriptors, memory, ports.
 * It says nothing of the peer. */
bool tcp_is_want(int error);

#endif
