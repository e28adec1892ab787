/* codec.h - the protocol of one connection: bytes <-> streams, without I/O.
 *
 * The connection feeds bytes in and hands out room to write; the codec never
 * sees a socket, a clock or an event loop, so it is tested and fuzzed as a function. */
#ifndef HTTP_CODEC_H
#define HTTP_CODEC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "http/head.h"
#include "http/stream.h"

struct codec;
struct h2_limits;
struct reason;

/* What a codec may ask of the connection it serves (`conn` is that connection). */
struct codec_io {
	/* n bytes to write into, of which the codec sends what it used with one put, before
	 * anything else; they live until the flush. NULL when memory is out. */
	char *(*reserve)(void *conn, size_t n);
	/* Appends to the output, borrowed until the flush.  Never fails, never calls back. */
	void (*put)(void *conn, struct slice);
	/* There may be something to do: feed again (with what was left, or with nothing), or close.
	 * Comes back later, never at once. */
	void (*kick)(void *conn);
	/* Memory of malloc's that was told of: to be freed after the flush.  Its first sizeof(void
	 * *) bytes are the connection's from here. */
	void (*free_later)(void *conn, void *);
	/* The time of this turn, for what is counted by time. */
	uint64_t (*now_ns)(void *conn);
};

/* What a server codec tells the one who accepts requests, and a client codec who uses it. */
struct codec_events {
	/* Server codecs: where to put the head that begins (one arena for each call). NULL: out of
	 * memory. */
	struct arena *(*arena)(void *user, struct stream *);
	/* A whole request head; the callee sets s->on and s->owner.  The arena given is the
	 * callee's from here. `head` itself lies in that arena. */
	void (*request)(void *user, struct stream *, struct head *, bool end);
	/* What came cannot be a request: the callee sets s->on and s->owner, answers with `why`
	 * (ops->head, ops->body) and the connection then closes.  `head` holds what was understood
	 * (method, target), or nothing, and lies in the arena given; it is NULL when that had no
	 * memory left. */
	void (*bad_request)(void *user, struct stream *, struct head *, const struct reason *why);
	/* HTTP/2: the peer sends too much of what costs it nothing (enum h2_flood), and the
	 * connection ends.  May be NULL. */
	void (*flood)(void *user, unsigned kind);
};

/* Bounds on one message head. */
struct codec_limits {
	uint32_t head_bytes;        /* start line and fields and their line ends */
	uint32_t target_bytes;      /* the request target alone: 414 */
	uint16_t headers;           /* fields */
	bool bare_lf;               /* lines of HTTP/1 heads may end with it */
	bool loose_host; /* HTTP/1: an absolute target may name another host, which counts */
	bool no_half_close;         /* a client that has ended its side reads no answer */
	const struct h2_limits *h2; /* what HTTP/2 has beside; NULL: it is not spoken */
};

enum codec_phase {
	CODEC_IDLE,   /* between messages: nothing of the next one has come */
	CODEC_HEAD,   /* part of a head has come (server), or is awaited (client) */
	CODEC_BUSY,   /* a stream is open */
	CODEC_CLOSED, /* write out what is queued, then close */
	CODEC_LINGER, /* as CLOSED, but the peer may still be sending: half-close, drain, close */
};

struct codec_ops {
	/* Takes bytes and raises events; returns how many it is done with.  What it leaves must be
	 * offered again, with more behind it or after kick.  Heads are copied out of `in`; body
	 * slices point into it. */
	size_t (*feed)(struct codec *, struct slice in);
	/* The peer will send no more. */
	void (*eof)(struct codec *);
	/* Something was written to the socket: `left` bytes of what was put are still to go. */
	void (*drained)(struct codec *, size_t left);
	/* The connection broke, timed out or is being cut: ends what streams there are with
	 * gone(why).  Where a server codec is in CODEC_HEAD, reason_head_timeout is answered
	 * instead (bad_request). */
	void (*fail)(struct codec *, const struct reason *why);
	/* No request after the present one (drain, reload of a listener): Connection: close. */
	void (*last)(struct codec *);
	/* Whether reading on makes sense: false while paused. */
	bool (*wants_read)(const struct codec *);
	void (*fini)(struct codec *);
};

struct codec {
	const struct codec_ops *ops;
	const struct codec_io *io;
	void *conn;
	const struct codec_events *events;
	void *user;
	const struct codec_limits *limits;
	uint8_t phase; /* enum codec_phase */
	bool turned;   /* a call has begun since the connection last looked: it may be over, and the
			  phase what it was, but times start anew */
	bool cut; /* CODEC_CLOSED in the middle of a message: reset the connection, do not close it
		     in order */
	bool multiplexed; /* its streams are many, and the end of one is not that of the connection
			   */
	bool shut; /* a tunnel's end: once all is written, shut down the sending side; reading goes
		      on */
};

#endif
