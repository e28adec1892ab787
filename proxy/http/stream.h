/* stream.h - one half of an HTTP exchange.
 *
 * The client side (made by a server codec) and the upstream side (made by a
 * client codec) are the same type.  A proxy is two of these tied by an exchange.
 *
 *  S1  gone is called exactly once and is the last event: NULL when both
 *      directions have ended and every byte this side had to send is written,
 *      else why it broke.
 *  S2  After reset the owner is forgotten: no event follows, gone neither.
 *  S3  body borrows bytes: they must stay where they are until the connection
 *      has flushed, which it does before the code that read them returns to the
 *      loop.  Heads and trailers are serialised before the call returns, but for a request
 *      for a tunnel over HTTP/2, which may have to wait for the peer's settings: its head
 *      outlives the stream.
 *  S4  One producer, one consumer per direction, so pause is a boolean.
 *  S5  Events come from feed, eof, drained and fail of the codec only, never
 *      from inside an op: an op may be called inside any event. */
#ifndef HTTP_STREAM_H
#define HTTP_STREAM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/slice.h"

struct head;
struct reason;
struct stream;

struct stream_ops { /* what one may ask of a stream */
	/* A request head (client codec), a response head (server codec; 1xx
	 * heads may come first, `end` false).  The codec writes framing and Connection from
	 * head->body, head->length, head->upgrade and what it knows of its peer; the other fields
	 * go out as they are. False when memory is out. */
	bool (*head)(struct stream *, const struct head *, bool end);
	void (*body)(struct stream *, struct slice, bool end);
	/* Ends a chunked body with these fields; where the peer cannot take them, ends it without.
	 */
	void (*trailers)(struct stream *, const struct head *);
	/* true: no more body events until false.  A request's body is paused from birth. */
	void (*pause)(struct stream *, bool);
	/* Gives up: the connection closes unless this stream never used it. */
	void (*reset)(struct stream *, const struct reason *);
};

struct stream_events { /* what a stream tells its owner */
	/* client side of the proxy: never called (codec_events.request is). */
	void (*head)(void *owner, struct head *, bool end);
	void (*body)(void *owner, struct slice, bool end);
	void (*trailers)(void *owner, struct head *); /* the end of a body that has some */
	void (*room)(void *owner);                    /* queued fell below low water */
	/* Server codecs, before the response head is sent: the request's body broke (why:
	 * bad_chunk, bad_field, ...).  No more of it comes; an answer may still be given, and gone
	 * follows that.  Without this event, or after the response head, a broken body is
	 * gone(why). */
	void (*bad)(void *owner, const struct reason *why);
	void (*gone)(void *owner, const struct reason *);
};

struct stream {
	const struct stream_ops *ops;
	const struct stream_events *on;
	void *owner;   /* NULL: nobody listens */
	size_t queued; /* bytes accepted, not yet written to the socket */
	bool paused;
	bool pipelined; /* HTTP/1: it was there before the answer to the one before was written */
	/* Of the messages, heads and framing included.  in_bytes 0: not known (HTTP/2). */
	uint64_t in_bytes, out_bytes;
};

enum { STREAM_HIGH_WATER = 64 * 1024, STREAM_LOW_WATER = 16 * 1024 };

#endif
