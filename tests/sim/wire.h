/* wire.h - a plain reader of HTTP/1 messages, independent of Weir's own: what a peer would make of
 * what Weir sends.
 *
 * Whatever a correct sender may not send is a failure of the run. */
#ifndef SIM_WIRE_H
#define SIM_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { WIRE_HEAD_MAX = 64 * 1024, WIRE_LINE_MAX = 1024 };

enum wire_state {
	WIRE_HEAD,
	WIRE_LENGTH,
	WIRE_CHUNK_SIZE,
	WIRE_CHUNK_DATA,
	WIRE_CHUNK_END,
	WIRE_TRAILERS,
	WIRE_UNTIL_CLOSE,
	WIRE_RAW, /* a tunnel */
	WIRE_OVER /* nothing may come any more */
};

struct wire_head {
	const char *text; /* NUL-terminated, lines end with CRLF */
	char method[16];
	char target[512];
	unsigned status;
	bool is_1_0, is_2, has_length, chunked; /* is_2: chunked is without a length */
	bool keep_alive;
	uint64_t length;
};

struct wire;

struct wire_events {
	/* What comes behind this head; the reader's own view of it is in *head.  Returns the state
	 * to go on in: usually wire_body_state. */
	enum wire_state (*head)(struct wire *, const struct wire_head *);
	void (*body)(struct wire *, const char *, size_t);
	/* `trailers` has what stood behind a chunked body, or NULL. */
	void (*end)(struct wire *, const struct wire_head *trailers);
};

struct wire {
	const struct wire_events *on;
	void *owner;
	const char *who; /* for messages */
	bool is_response;
	enum wire_state state;
	uint64_t left;
	char *text; /* of the head or line that comes in */
	size_t n;
};

void wire_init(struct wire *, bool is_response, const char *who, const struct wire_events *,
	       void *owner);
void wire_fini(struct wire *);
void wire_feed(struct wire *, const char *, size_t);
/* Whether the end of the stream is a proper one here; ends a body that lasts until it. */
bool wire_eof(struct wire *);

/* By RFC 9112 section 6.3; `no_body`: an answer to HEAD, or one whose status has none. */
enum wire_state wire_body_state(const struct wire *, const struct wire_head *, bool no_body);
/* The value of a field into out; false: it is not there. */
bool wire_field(const struct wire_head *, const char *name, char *out, size_t size);
/* UINT64_MAX: not there, or no number. */
uint64_t wire_field_number(const struct wire_head *, const char *name);

#endif
