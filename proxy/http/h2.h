/* h2.h - HTTP/2 (RFC 9113), both roles: many streams over one connection.
 *
 * The framing, the states and the windows are ours, so that body bytes go out from where they were
 * read (S3), a paused body costs its window and no more, and nothing is told from inside an op
 * (S5).  The coding of heads (HPACK, RFC 7541) is nghttp2's. */
#ifndef HTTP_H2_H
#define HTTP_H2_H

#include "http/codec.h"

struct h2_session;
struct reason;

/* What a peer may send at almost no cost to itself: each kind has a bound. */
enum h2_flood {
#define FLOOD(id, token, bound) H2_FLOOD_##id,
#include "http/h2_flood.def"
#undef FLOOD
	H2_FLOODS
};

extern const char *const h2_flood_tokens[H2_FLOODS];

enum {
	H2_FLOOD_SECONDS = 10,
	/* What a connection must be able to keep of a head beyond codec_limits.head_bytes: one that
	 * is too large is one call's fault, and decoded for the others' sake. */
	H2_HEAD_MORE = 64 * 1024,
};

/* Bounds on one connection. */
struct h2_limits {
	uint32_t streams;          /* open at once */
	uint32_t stream_window;    /* bytes of one body that may wait for its reader */
	uint32_t conn_window;      /* of all bodies of a client's; twice that at most are kept */
	bool tunnels;              /* clients are told that extended CONNECT is taken (RFC 8441) */
	uint32_t flood[H2_FLOODS]; /* in any H2_FLOOD_SECONDS; HEAD_FRAMES: of one head */
};

/* What h2_flood.def and nginx's users would expect. */
extern const struct h2_limits h2_default_limits;

struct h2 {
	struct codec codec; /* first */
	struct h2_session *s;
};

/* The preface of RFC 9113 section 3.4, with which a client that has prior knowledge begins. */
extern const struct slice h2_preface;

/* False when memory is out.  The limits, codec_limits.h2 among them, outlive the codec and may change
 * meanwhile; what the peer is told at the start (streams, windows) stays in force. */
bool h2_server_init(struct h2 *, const struct codec_io *, void *conn, const struct codec_events *,
		    void *user, const struct codec_limits *);
bool h2_client_init(struct h2 *, const struct codec_io *, void *conn, const struct codec_limits *,
		    bool secure);
/* A stream for one request; heads of answers lie in `arena`, which is the caller's and outlives the
 * stream.  NULL when memory is out.  To be asked of one that has room only. */
struct stream *h2_client_open(struct h2 *, struct arena *);
/* How many more streams the peer lets us open now; 0 once the connection is to end. */
uint32_t h2_client_room(const struct h2 *);
/* How many the peer takes at once; 0: its settings have not come. */
uint32_t h2_client_bound(const struct h2 *);
/* What they said on another connection is what they will say. */
void h2_client_presume(struct h2 *, uint32_t streams);
/* Whose HPACK it is, with its version. */
const char *h2_library(void);
/* Streams under way. */
uint32_t h2_streams(const struct h2 *);

#endif
