/* h1.h - HTTP/1.0 and 1.1 (RFC 9112), both roles: strict in, canonical out.
 *
 * One stream at a time per connection; pipelined requests wait, unparsed, until
 * the stream before them is gone. */
#ifndef HTTP_H1_H
#define HTTP_H1_H

#include "http/codec.h"

struct reason;

/* ---- pure parsers */

/* Where the head ends: the number of bytes up to and including the empty line; 0: not yet; -1: *why
 * says what is wrong (bare CR or LF, NUL: bad_request; head_too_large; target_too_long).  *seen is
 * kept by the caller between calls with more bytes and starts at 0: no byte is looked at twice.
 * Empty lines before a request line (RFC 9112 section 2.2) are the caller's to skip. */
int64_t h1_head_end(struct slice in, size_t *seen, const struct codec_limits *,
		    const struct reason **why);
/* The same for any lines that end with an empty one, of at most `max` bytes. */
int64_t h1_section_end(struct slice in, size_t *seen, size_t max, const struct reason **why);

/* A whole head, start line to empty line, which must lie in head's arena already (slices point into
 * it). NULL, or what is wrong with it; then head holds what was understood so far. */
const struct reason *h1_parse_request(struct slice text, const struct codec_limits *,
				      struct head *);
/* `request_method` decides the body of the answer (RFC 9112 section 6.3).  Faults are
 * upstream_malformed, upstream_head_too_large or out_of_memory. */
const struct reason *h1_parse_response(struct slice text, const struct codec_limits *,
				       enum method_id request_method, struct head *);
/* What a fault of a message is called when an upstream made it. */
const struct reason *h1_response_fault(const struct reason *);
/* A trailer section with its empty line.  Fields that must not trail (RFC 9110 section 6.5.1:
 * framing, routing, authentication, whatever field.def names) are F_REMOVED. */
const struct reason *h1_parse_trailers(struct slice text, const struct codec_limits *,
				       struct head *);

/* ---- chunked bodies (RFC 9112 section 7.1) */

struct chunked {
	uint64_t left; /* of the present chunk */
	size_t seen;   /* of the trailer section */
	uint32_t ext;  /* bytes of chunk extensions so far, bounded for the whole body */
	uint8_t digits;
	uint8_t state;
};

enum chunked_event { CHUNKED_MORE, CHUNKED_DATA, CHUNKED_TRAILERS, CHUNKED_END, CHUNKED_BAD };

void chunked_init(struct chunked *);
/* Takes one step through *in (which it advances).  DATA: *data is body.  TRAILERS: *data is the
 * whole trailer section with its empty line and the body is over.  END: the body is over, no
 * trailers. MORE: all of *in is used, or what is left of it must come again with more behind it. */
enum chunked_event chunked_step(struct chunked *, struct slice *in, struct slice *data,
				const struct codec_limits *);

/* ---- serialisation: canonical, nothing but what the arguments say */

enum h1_connection { H1_SAYS_NOTHING, H1_CLOSE, H1_KEEP_ALIVE, H1_UPGRADE, H1_UPGRADE_CLOSE };

/* What the codec itself says in a head. */
struct h1_framing {
	uint8_t body; /* BODY_LENGTH, BODY_CHUNKED; others say nothing */
	uint64_t length;
	uint8_t connection; /* enum h1_connection */
};

/* Bytes that the writers below use at most. */
size_t h1_head_bound(const struct head *);
/* Both return what they wrote.  Connection, Keep-Alive, Content-Length and Transfer-Encoding come
 * from the framing, never from the fields; Upgrade goes out only beside an H1_UPGRADE.  Requests:
 * origin-form, Host first. */
size_t h1_write_request(char *out, const struct head *, const struct h1_framing *);
size_t h1_write_response(char *out, const struct head *, const struct h1_framing *);
/* Field lines and the empty line. */
size_t h1_write_trailers(char *out, const struct head *);
enum { H1_CHUNK_HEAD_BOUND = 18 };
/* The size line of a chunk. */
size_t h1_write_chunk_head(char *out, uint64_t n);

/* ---- the codec */

struct h1 {
	struct codec codec; /* first */
	struct stream stream;
	struct chunked chunked;
	uint64_t left;             /* body bytes still to come (BODY_LENGTH) */
	uint64_t owed;             /* body bytes still to send (BODY_LENGTH) */
	size_t seen;               /* h1_head_end */
	struct arena *arena;       /* of the call under way: for heads of answers, and trailers */
	const struct reason *doom; /* an op could not do its work: gone(doom) at the next entry */
	uint8_t in_state, out_state, out_body;
	uint8_t method_id; /* of the request under way */
	uint8_t minor;     /* of the peer's last message */
	uint8_t leading;   /* empty lines before a request line; interim heads before an answer */
	bool is_client;
	bool open;       /* the stream is under way */
	bool keep_alive; /* as far as the messages so far allow */
	bool last;       /* codec_ops.last */
	bool broken;     /* nothing more of the input can be understood */
	bool upgrade;    /* the request asked for a tunnel */
	bool expecting;  /* 100-continue, and neither was it sent nor has a body byte come */
	bool full;       /* queued was above high water */
	bool held;       /* bytes were left at the last feed that only the owner's doing can free */
	bool behind;     /* of a server: the next request had come before the last was answered */
	bool eof;
};

void h1_server_init(struct h1 *, const struct codec_io *, void *conn, const struct codec_events *,
		    void *user, const struct codec_limits *);
void h1_client_init(struct h1 *, const struct codec_io *, void *conn, const struct codec_limits *);
/* The one stream of a client codec, free for a request (phase CODEC_IDLE); heads of answers are
 * parsed into `arena`, which is the caller's and outlives the stream. */
struct stream *h1_client_open(struct h1 *, struct arena *arena);
/* After gone(NULL): whether another request may be sent on this connection. */
bool h1_reusable(const struct h1 *);

#endif
