/* h1.h - HTTP/1.0 and 1.1 (RFC 9112), both roles: strict in, canonical out.
 *
 * One stream at a time per connection; pipelined requests wait, unparsed, until
 * the stream before them is gone. */
#ifndef HTTP_H1_H
#define HTTP_H1_H

#include "http/codec.h"

struct reason;

/* ---- pure parsers */

/* Where the head ends: the number of bytes up to and including the empty line; 0: not yet; -1: *why says
 * what is wrong (bare CR or LF, NUL, or too long).  *seen is kept by the caller between calls with
 * more bytes and starts at 0: no byte is looked at twice. */
int64_t h1_head_end(struct slice in, size_t *seen, const struct codec_limits *, const struct reason **why);

/* A whole head, start line to empty line, which must lie in head's arena already (slices point into it).
 * NULL, or what is wrong with it. */
const struct reason *h1_parse_request(struct slice text, const struct codec_limits *, struct head *);
/* `request_method` decides the body of the answer (RFC 9112 section 6.3). */
const struct reason *h1_parse_response(struct slice text, const struct codec_limits *,
				       enum method_id request_method, struct head *);

/* ---- chunked bodies (RFC 9112 section 7.1) */

struct chunked {
	uint64_t left;   /* of the present chunk */
	uint32_t ext;    /* bytes of chunk extensions so far, bounded for the whole body */
	uint32_t trailer_bytes;
	uint8_t state;
};

enum chunked_event { CHUNKED_MORE, CHUNKED_DATA, CHUNKED_TRAILERS, CHUNKED_END, CHUNKED_BAD };

void chunked_init(struct chunked *);
/* Takes one step through *in (which it advances).  DATA: *data is body.  TRAILERS: *data is the whole
 * trailer section with its empty line and the body is over.  END: the body is over, no trailers. MORE: all
 * of *in is used, or what is left of it must come again with more behind it. */
enum chunked_event chunked_step(struct chunked *, struct slice *in, struct slice *data,
				const struct codec_limits *);

/* ---- the codec */

struct h1 {
	struct codec codec; /* first */
	struct stream stream;
	struct chunked chunked;
	uint64_t left;   /* body bytes still to come (BODY_LENGTH) */
	uint64_t owed;   /* body bytes still to send (BODY_LENGTH) */
	size_t seen;     /* h1_head_end */
	struct arena *arena; /* server: of the head that is coming in; client: of the answer's */
	uint8_t in_state, in_body;
	uint8_t out_state, out_body;
	uint8_t method_id; /* of the request under way */
	uint8_t minor;     /* of the peer's last message */
	bool is_client, keep_alive, last, broken, discard;
};

void h1_server_init(struct h1 *, const struct codec_io *, void *conn, const struct codec_events *,
		    void *user, const struct codec_limits *);
void h1_client_init(struct h1 *, const struct codec_io *, void *conn, const struct codec_limits *);
/* The one stream of a client codec, free for a request (phase CODEC_IDLE); heads of answers are parsed into
 * `arena`, which is the caller's and outlives the stream. */
struct stream *h1_client_open(struct h1 *, struct arena *arena);
/* After gone(NULL): whether another request may be sent on this connection. */
bool h1_reusable(const struct h1 *);

#endif
