/* wire2.h - HTTP/2 as a peer speaks it: a session of libnghttp2 over memory, which shares nothing
 * with Weir's own frames, states and windows (only HPACK is the same library's).
 *
 * Whatever a correct sender may not send is a failure of the run.  Heads are told as text, like
 * those of wire.h, so that what must hold of a message is asked in one way of both versions. */
#ifndef SIM_WIRE2_H
#define SIM_WIRE2_H

#include <nghttp2/nghttp2.h>

#include "base/buf.h"
#include "base/list.h"
#include "wire.h"

struct sim;
struct wire2;

/* One message each way.  The owner's, and there until the connection has ended. */
struct wire2_stream {
	struct list link;
	struct wire2 *wire;
	int32_t id;      /* 0: not asked yet */
	struct buf text; /* of the head that comes in */
	struct wire_head head;
	bool headed;     /* a final head has come */
	bool in_over;    /* END_STREAM has come */
	bool closed;     /* nothing comes or goes any more */
	bool we_reset;   /* and that is why */
	uint64_t unread; /* came, and its window is withheld */
	/* what goes out */
	unsigned number; /* of the body, as ledger_body knows it */
	uint64_t body_at, body_n;
	uint64_t stop_at; /* it goes no further; UINT64_MAX: to its end */
	unsigned trailer; /* X-Sim-Trailer behind the body; 0: none */
	bool bad_trailer; /* and what must not trail */
	uint64_t end_at;  /* where in all that goes out END_STREAM ends; 0: not made yet */
	bool said;        /* ... and the transport has it */
};

struct wire2_events {
	/* Servers: whose stream it is. */
	struct wire2_stream *(*open)(struct wire2 *);
	/* Interim heads, too. */
	void (*head)(struct wire2_stream *, const struct wire_head *, bool end);
	void (*body)(struct wire2_stream *, const char *, size_t);
	void (*end)(struct wire2_stream *, const struct wire_head *trailers);
	void (*said)(struct wire2_stream *);
	void (*closed)(struct wire2_stream *, uint32_t code);
};

struct wire2 {
	const struct wire2_events *on;
	void *owner;
	const char *who; /* for messages */
	struct sim *sim;
	nghttp2_session *session;
	bool is_client, greeted;
	bool spoilt; /* what we sent was none of HTTP/2's */
	bool going;  /* GOAWAY has come */
	struct list streams;
	struct buf out; /* frames, from `sent` on not yet with the transport */
	size_t sent;
	uint64_t made;     /* bytes, ever */
	size_t frame_most; /* of DATA */
	unsigned pads;     /* per mille */
	char fault[128];   /* what the library found wrong */
};

enum { FIELDS_MAX = 640, FIELDS_TEXT = 48 * 1024 };

/* A head on its way out. */
struct fields {
	size_t n, used;
	nghttp2_nv nv[FIELDS_MAX];
	char text[FIELDS_TEXT];
};

void wire2_init(struct wire2 *, struct sim *, bool is_client, const char *who,
		const struct wire2_events *, void *owner);
void wire2_fini(struct wire2 *);
void wire2_stream_init(struct wire2 *, struct wire2_stream *);
void wire2_stream_fini(struct wire2_stream *);

void wire2_feed(struct wire2 *, const char *, size_t);
/* Makes frames of what there is to say, once all that was made is with the transport. */
void wire2_fill(struct wire2 *);
/* And of all of it, at once. */
void wire2_fill_all(struct wire2 *);
/* More of `out` is with the transport. */
void wire2_told(struct wire2 *);
uint64_t wire2_sent(const struct wire2 *);
/* Opens the windows by what has come: of one stream, or of all. */
void wire2_credit(struct wire2_stream *);
void wire2_settings(struct wire2 *, const nghttp2_settings_entry *, size_t n);
void wire2_reset(struct wire2_stream *, uint32_t code);
/* The body goes on. */
void wire2_go_on(struct wire2_stream *, uint64_t stop_at);
/* Bytes before the first frame. */
void wire2_begin(struct wire2 *, const char *);
/* Bytes that are no frames. */
void wire2_spoil(struct wire2 *, const void *, size_t);

/* Heads; the body is drawn from ledger_body, `end`: there is none, and no trailer. */
void wire2_ask(struct wire2 *, struct wire2_stream *, const struct fields *, bool end);
void wire2_answer(struct wire2_stream *, const struct fields *, bool end);
void wire2_interim(struct wire2_stream *, unsigned status);

void fields_init(struct fields *);
void fields_add(struct fields *, const char *name, const char *value);
void fields_add_n(struct fields *, const char *name, const void *value, size_t n);
void fields_add_number(struct fields *, const char *name, uint64_t);

#endif
