/* h2_internal.h - what the parts of the HTTP/2 codec share: h2*.c and nobody else. */
#ifndef HTTP_H2_INTERNAL_H
#define HTTP_H2_INTERNAL_H

#include <nghttp2/nghttp2.h>

#include "base/buf.h"
#include "base/list.h"
#include "http/h2.h"

/*---------------------------------------- the wire: RFC 9113 sections 4.1, 6 and 7 */

enum h2_type {
	H2_DATA,
	H2_HEADERS,
	H2_PRIORITY,
	H2_RST_STREAM,
	H2_SETTINGS,
	H2_PUSH_PROMISE,
	H2_PING,
	H2_GOAWAY,
	H2_WINDOW_UPDATE,
	H2_CONTINUATION,
	H2_TYPES
};

enum h2_flag {
	H2_END_STREAM = 0x1,
	H2_ACK = 0x1,
	H2_END_HEADERS = 0x4,
	H2_PADDED = 0x8,
	H2_HAS_PRIORITY = 0x20,
};

enum h2_code {
	H2_NO_ERROR,
	H2_PROTOCOL_ERROR,
	H2_INTERNAL_ERROR,
	H2_FLOW_CONTROL_ERROR,
	H2_SETTINGS_TIMEOUT,
	H2_STREAM_CLOSED,
	H2_FRAME_SIZE_ERROR,
	H2_REFUSED_STREAM,
	H2_CANCEL,
	H2_COMPRESSION_ERROR,
	H2_CONNECT_ERROR,
	H2_ENHANCE_YOUR_CALM,
	H2_INADEQUATE_SECURITY,
	H2_HTTP_1_1_REQUIRED,
};

enum h2_setting {
	H2_HEADER_TABLE_SIZE = 1,
	H2_ENABLE_PUSH,
	H2_MAX_CONCURRENT_STREAMS,
	H2_INITIAL_WINDOW_SIZE,
	H2_MAX_FRAME_SIZE,
	H2_MAX_HEADER_LIST_SIZE,
	H2_ENABLE_CONNECT_PROTOCOL = 8, /* RFC 8441 section 3 */
};

enum {
	H2_FRAME_HEAD = 9,
	H2_FRAME_BYTES = 16384, /* of a payload: what we take, and the least that anyone does */
	H2_WINDOW = 65535,      /* of a connection, and of streams until settings say otherwise */
	H2_HPACK_TABLE = 4096,
	H2_BUCKETS = 32,
	H2_EXPLAINED =
	    10, /* by one DATA frame: windows, and estimates of the bandwidth as gRPC makes them */
	H2_BACKLOG = 1024 * 1024, /* bytes, beyond which nothing is read that may call for more */
	H2_INTERIM_HEADS = 8,     /* 1xx heads before an answer: each stays in the call's arena */
	H2_PEER_STREAMS = 1024,   /* of ours, whatever more the peer allows */
	/* of requests that were answered and come on: as HTTP/1's connections linger */
	H2_UNREAD = 256,
	H2_UNREAD_BYTES = 4 * 1024 * 1024,
	H2_UNREAD_SECONDS = 2,
};

#define H2_WINDOW_MAX INT32_MAX
#define H2_LAST_ID    UINT32_C(0x7fffffff)

struct h2_frame {
	uint32_t length, id;
	uint8_t type, flags;
};

static inline uint32_t h2_get32(const char *p)
{
	const uint8_t *u = (const uint8_t *)p;

	return (uint32_t)u[0] << 24 | (uint32_t)u[1] << 16 | (uint32_t)u[2] << 8 | u[3];
}

static inline void h2_set32(char *p, uint32_t v)
{
	p[0] = (char)(v >> 24);
	p[1] = (char)(v >> 16);
	p[2] = (char)(v >> 8);
	p[3] = (char)v;
}

static inline struct h2_frame h2_frame_read(const char *p)
{
	return (struct h2_frame){ .length = h2_get32(p) >> 8,
				  .type = (uint8_t)p[3],
				  .flags = (uint8_t)p[4],
				  .id = h2_get32(p + 5) & H2_LAST_ID };
}

static inline void h2_frame_write(char *p, const struct h2_frame *f)
{
	h2_set32(p, f->length << 8 | f->type);
	p[4] = (char)f->flags;
	h2_set32(p + 5, f->id);
}

/*---------------------------------------- what is kept */

enum h2_out { H2_OUT_HEAD, H2_OUT_BODY, H2_OUT_ENDING, H2_OUT_DONE };

struct h2_stream {
	struct stream stream; /* first */
	struct h2 *h2;
	struct h2_stream *next;    /* of the same bucket */
	struct list todo;          /* something is to be told at the next entry */
	struct list blocked;       /* a window is in the way of what waits */
	struct list unflushed;     /* of what was put, some is not written */
	struct arena *arena;       /* the call's: for trailers, and heads of answers */
	const struct reason *doom; /* an op could not do its work: gone(doom) at the next entry */
	uint32_t id;               /* 0: its head is not out (client) */
	uint32_t code;             /* of the RST_STREAM that ends a request nobody wants */
	int64_t in_window;         /* what the peer may send */
	int64_t out_window;        /* what we may */
	uint32_t in_credit;        /* taken, not yet given back to the peer's window */
	uint64_t in_left, owed;    /* of bodies with a length */
	struct buf held;           /* of the body that came while paused */
	struct head *held_trailers;
	struct buf waiting; /* of the body that no window lets out, from waiting_at */
	size_t waiting_at;
	struct head *waiting_trailers;
	size_t unwritten; /* of what was put, at most */
	uint64_t mark;    /* session.put when the last of it was */
	uint8_t method_id;
	uint8_t out;     /* enum h2_out */
	uint8_t leading; /* 1xx heads that have come */
	bool in_ended;   /* no more comes: END_STREAM, or nobody listens */
	bool in_told;    /* ... and the owner knows */
	bool in_broken;  /* what comes is dropped: the owner was told `bad` */
	bool in_sized;   /* in_left counts */
	bool refused;    /* server: the answer is no success */
	bool out_sized;  /* owed counts */
	bool tunnel;     /* DATA is what another protocol says, both ways, until either end (RFC 8441) */
	const struct head *asked; /* client: to be sent once the peer's settings allow it */
	bool bodiless;   /* the head went out with the end, whatever body follows */
	bool heard;      /* client: the answer's head has come */
	bool full;       /* queued was above high water */
};

/* A request that was answered before it had come whole. */
struct h2_unread {
	uint32_t id;
	uint32_t left;     /* bytes that it may still bring */
	int64_t window;    /* that it may send now */
	uint64_t until_ns;
};

struct h2_session {
	const struct h2_limits *limits; /* a reload changes them under way, */
	uint32_t stream_window, conn_window, streams; /* but not what the peer was told */
	nghttp2_hd_deflater *deflater;
	nghttp2_hd_inflater *inflater;
	struct h2_stream *bucket[H2_BUCKETS];
	struct list todo, blocked, unflushed;
	uint32_t n_streams;
	struct h2_unread *unread; /* the oldest first; NULL: there was none yet */
	uint32_t n_unread;
	uint32_t in_id;   /* the newest that the peer has opened */
	uint32_t next_id; /* client */
	uint32_t cut_id;  /* the newest that we ended while more of it could come */
	uint64_t opened;  /* bit i: in_id - 2 i was opened */
	/* windows */
	int64_t out_window, in_window;
	uint32_t in_credit;
	size_t held; /* by all streams */
	uint32_t peer_window, peer_frame_bytes, peer_streams;
	/* a DATA frame under way */
	struct h2_frame data;
	uint32_t data_left, data_pad;
	uint64_t put;    /* bytes, ever */
	uint8_t preface; /* how much of it has come */
	bool is_client;
	bool greeted;      /* our settings are out */
	bool peer_greeted; /* theirs have come */
	bool in_part;      /* some of a frame has come */
	bool acknowledged; /* and ours are in force there */
	bool secure;       /* client: over TLS */
	bool eof;
	bool last;                 /* the peer was told, or is about to be, to open no more */
	bool final;                /* and which was the last one */
	bool refused;              /* the peer takes no more (GOAWAY) */
	bool tunnels;              /* whoever serves has said that it takes extended CONNECT */
	const struct reason *doom; /* the connection cannot go on */
	/* floods */
	uint64_t flood_ns;
	uint32_t flood[H2_FLOODS];
	uint32_t explained; /* WINDOW_UPDATEs and PINGs, by the DATA we sent */
	size_t backlog;     /* of what was put, not written */
};

static inline struct h2 *h2_of(struct codec *c)
{
	return (struct h2 *)c;
}

static inline struct h2_stream *h2_stream_of(struct stream *s)
{
	return (struct h2_stream *)s;
}

static inline bool h2_is_over(const struct h2 *h)
{
	return h->codec.phase >= CODEC_CLOSED;
}

/* Both directions have ended, and only the writing goes on. */
static inline bool h2_is_closed(const struct h2_stream *st)
{
	return st->in_ended && st->out == H2_OUT_DONE;
}

/*---------------------------------------- h2.c: the connection */

bool h2_init(struct h2 *, const struct codec_io *, void *conn, const struct codec_limits *);
/* Ends the connection: GOAWAY with `code`, every stream hears gone(why). */
void h2_break(struct h2 *, enum h2_code, const struct reason *why);
/* Counts one; over the bound the connection is broken and it says true. */
bool h2_floods(struct h2 *, enum h2_flood);
/* The peer does not keep to the protocol: the connection is broken. */
void h2_fault(struct h2 *, enum h2_code);
/* What its streams hear then. */
const struct reason *h2_fault_reason(const struct h2 *);
/* A stream that nobody has opened yet. */
bool h2_is_idle(const struct h2 *, uint32_t id);
/* What a connection is in between frames. */
void h2_set_phase(struct h2 *);
void h2_kick(struct h2 *);

/*---------------------------------------- h2_stream.c: streams, and bodies both ways */

struct h2_stream *h2_stream_new(struct h2 *, uint32_t id, const struct stream_ops *);
void h2_stream_number(struct h2_stream *, uint32_t id);
struct h2_stream *h2_stream_find(struct h2 *, uint32_t id);
/* Its end, without a word. */
void h2_stream_free(struct h2_stream *);
void h2_stream_gone(struct h2_stream *, const struct reason *why);
/* RST_STREAM, and gone(why). */
void h2_stream_break(struct h2_stream *, enum h2_code, const struct reason *why);
void h2_streams_break(struct h2 *, const struct reason *why);
/* The peer sends no more: those that cannot end well for it. */
void h2_streams_hang_up(struct h2 *, const struct reason *why);
void h2_streams_free(struct h2 *);
/* gone(NULL), if all is said and done. */
void h2_try_finish(struct h2_stream *);
/* A frame of a stream that is no more.  True: and there is no excuse, the connection is broken. */
bool h2_closed_fault(struct h2 *, uint32_t id);
/* The request cannot be understood: an answer may still be given, else it is over.  An answer that
 * cannot is over. */
void h2_stream_bad(struct h2_stream *, const struct reason *why);
/* Tells what was put off, and who is over. */
void h2_run_todo(struct h2 *);
void h2_todo(struct h2_stream *);

size_t h2_take_data_frame(struct h2 *, const struct h2_frame *, struct slice in);
size_t h2_take_data(struct h2 *, struct slice in);
void h2_in_end(struct h2_stream *, struct head *trailers);

void h2_flush_blocked(struct h2 *);
void h2_drained(struct codec *, size_t left);
/* Counts what was put as the stream's. */
void h2_stream_puts(struct h2_stream *, size_t n);
/* END_STREAM is out. */
void h2_out_done(struct h2_stream *);
void h2_op_body(struct stream *, struct slice, bool end);
void h2_op_trailers(struct stream *, const struct head *);
void h2_op_pause(struct stream *, bool);
void h2_op_reset(struct stream *, const struct reason *);

/*---------------------------------------- h2_unread.c: what nobody reads */

/* The stream's answer is out, and its request may go on for a while.  False: it may not. */
bool h2_unread_keep(struct h2_stream *);
/* The peer has ended it.  False: it is none of these; so with DATA. */
bool h2_unread_end(struct h2 *, uint32_t id);
bool h2_unread_data(struct h2 *, const struct h2_frame *);
/* Ends those that have had their time; as many as one more stream needs; all, and says whether there
 * were any. */
void h2_unread_expire(struct h2 *);
void h2_unread_make_room(struct h2 *);
bool h2_unread_stop(struct h2 *);

/*---------------------------------------- h2_out.c: frames out */

/* Our preface and settings, before anything else. */
void h2_hello(struct h2 *);
void h2_put(struct h2 *, struct slice);
void h2_put_frame(struct h2 *, enum h2_type, uint8_t flags, uint32_t id, struct slice payload);
void h2_put_rst(struct h2 *, uint32_t id, enum h2_code);
void h2_put_goaway(struct h2 *, uint32_t last_id, enum h2_code);
void h2_put_window(struct h2 *, uint32_t id, uint32_t more);
/* The frame's head and its payload, where that stands. */
void h2_put_data(struct h2_stream *, struct slice, bool end);
/* The frame's head alone; the windows count n bytes. */
void h2_write_data_head(char *, struct h2_stream *, size_t n, bool end);
/* HEADERS and what CONTINUATION it takes.  False: memory is out, and the connection with it (what
 * was encoded and not sent is missing in the peer's table). */
struct h2_nva;
bool h2_put_head(struct h2_stream *, const struct h2_nva *, bool end);

/*---------------------------------------- h2_head.c: heads */

/* The frames of one head, where they stand in the input. */
struct h2_block {
	struct h2_frame frame; /* HEADERS */
	struct slice first;    /* its fragment, without padding and priority */
	struct slice rest;     /* CONTINUATION frames, whole ones, heads and all */
	bool own_parent;       /* it says that its stream depends on itself */
};

enum h2_head_kind { H2_REQUEST, H2_RESPONSE, H2_TRAILERS };

struct scheme;

struct h2_reading {
	enum h2_head_kind kind;
	struct head *head;        /* NULL: the fields are dropped, but for the decoder's state */
	const struct reason *why; /* the first thing that is wrong, as HTTP/1 calls it */
	const struct codec_limits *limits;
	const struct scheme *scheme;
	struct slice host, protocol;
	uint64_t length;
	size_t bytes, cookie_bytes;
	unsigned cookies;
	uint8_t pseudo;
	bool regular, has_host, has_length, expects;
	bool tunnels; /* extended CONNECT may come */
};

/* Decodes all of a block.  False: the coding is broken, and the connection with it. */
bool h2_block_read(struct h2 *, const struct h2_block *, struct h2_reading *);
/* NULL, or what is wrong with the head as a whole. */
const struct reason *h2_finish_request(struct h2_reading *, bool end);
const struct reason *h2_finish_response(struct h2_reading *, enum method_id, bool end);

enum {
	H2_NV_FEW = 48, /* fields of heads that take no memory but the stack's */
	H2_NV_OWN = 8,  /* pseudo fields, and what the codec says itself */
	H2_NUMBER_BYTES = 20,
};

/* A head on its way out. */
struct h2_nva {
	struct arena *arena;
	nghttp2_nv *nv;
	size_t n;
	unsigned numbers;
	char digits[2][H2_NUMBER_BYTES];
	nghttp2_nv few[H2_NV_FEW];
};

bool h2_nva_begin(struct h2_nva *, const struct head *);
void h2_nva_add(struct h2_nva *, const char *name, struct slice value);
void h2_nva_add_number(struct h2_nva *, const char *name, uint64_t);
/* What HTTP/2 may say of the head's fields, in lower case. */
bool h2_nva_add_fields(struct h2_nva *, const struct head *);
/* Its fields alone.  NULL when memory is out. */
struct head *h2_head_copy(const struct head *, struct arena *);

/*---------------------------------------- the roles */

struct h2_stream *h2_server_stream_new(struct h2 *, uint32_t id);
/* A whole block of the input. */
void h2_server_take_head(struct h2 *, const struct h2_block *);
void h2_client_take_head(struct h2 *, const struct h2_block *);
void h2_client_goaway(struct h2 *, uint32_t last_id);
/* The peer's settings have come. */
void h2_client_settled(struct h2 *);
const struct reason *h2_client_reason(const struct h2_stream *, uint32_t code);

#endif
