/* h1_internal.h - what the two roles of the HTTP/1 codec share: h1.c, h1_server.c, h1_client.c and
 * nobody else. */
#ifndef HTTP_H1_INTERNAL_H
#define HTTP_H1_INTERNAL_H

#include "http/h1.h"

enum in_state {
	IN_IDLE,
	IN_HEAD,
	IN_LENGTH,
	IN_CHUNKED,
	IN_CLOSE,
	IN_TUNNEL,
	IN_DONE,
	IN_DISCARD,
	IN_DEAF,
	IN_STATES
};

enum out_state { OUT_HEAD, OUT_BODY, OUT_DONE };

enum {
	LEADING_LINES = 4,         /* empty lines before a request line */
	INTERIM_HEADS = 100,       /* 1xx heads before an answer: each stays in the call's arena */
	DISCARD_BYTES = 64 * 1024, /* of an unwanted body, rather than a new connection */
};

static inline struct h1 *h1_of_stream(struct stream *s)
{
	return (struct h1 *)((char *)s - offsetof(struct h1, stream));
}

/*---------------------------------------- h1.c */

void h1_init(struct h1 *, const struct codec_io *, void *conn, const struct codec_limits *);
void h1_open_stream(struct h1 *, const struct stream_ops *);
/* The stream's end; `phase` is set first, for the owner may use the codec again at once. */
void h1_raise_gone(struct h1 *, uint8_t phase, const struct reason *why);
/* No more of this connection. */
void h1_stop(struct h1 *);
/* Both. */
void h1_break_stream(struct h1 *, const struct reason *why);
/* A place for the head and its text, `*copy`.  NULL when memory is out. */
struct head *h1_head_new(struct arena *, struct slice text, struct slice *copy);
void h1_expect_body(struct h1 *, const struct head *, bool end);
void h1_kick(struct h1 *);
/* False when memory is out. */
bool h1_out_head(struct h1 *, const struct head *, const struct h1_framing *);
void h1_out_begin(struct h1 *, uint8_t body, uint64_t length, bool end);
void h1_stream_body(struct stream *, struct slice, bool end);
void h1_stream_trailers(struct stream *, const struct head *);
void h1_stream_pause(struct stream *, bool paused);
void h1_stream_reset(struct stream *, const struct reason *why);

/*---------------------------------------- h1_loose.c */

/* As h1_head_end; where the limits allow it, lines may end with LF alone: then *seen stays at the first of them. */
int64_t h1_loose_head_end(struct slice in, size_t *seen, const struct codec_limits *,
			  const struct reason **why);
/* With CRLF for each line end, in memory that is to be freed; false: there is none. */
bool h1_loose_text(struct slice *head);

/*---------------------------------------- h1_server.c */

size_t h1_server_take_head(struct h1 *, struct slice in);
/* `text` is no whole head, but its request line may tell who asked for what. */
void h1_server_refuse_part(struct h1 *, struct slice text, const struct reason *why);
void h1_server_out_done(struct h1 *);
void h1_server_finish(struct h1 *);
void h1_server_eof(struct h1 *);

/*---------------------------------------- h1_client.c */

size_t h1_client_take_head(struct h1 *, struct slice in);
/* `extra`: more bytes have come than the answer has. */
void h1_client_finish(struct h1 *, bool extra);
void h1_client_eof(struct h1 *);

#endif
