/* conn_internal.h - what loop.c, conn.c and conn_out.c share: the settling of connections.  Inside io only. */
#ifndef IO_CONN_INTERNAL_H
#define IO_CONN_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>

struct codec_io;
struct conn;
struct loop;

void conn_settle(struct conn *);    /* from loop_settle, for each dirty connection */
/* At the end of a turn: writes what was held for it; what that leads to wants a settle. */
void conn_flush_held(struct loop *);
void conn_gathers_free(struct loop *);
void conn_mark_dirty(struct conn *); /* its settle comes */

/*------------------------------------------------------------- conn_out.c */

extern const struct codec_io conn_io;     /* what codecs put into; their `io` is the connection */
size_t conn_backlog(const struct conn *); /* bytes that the socket did not take yet */
size_t conn_unsent(const struct conn *);  /* those, and what was put since */
/* Writes what was put.  Raises nothing: a failure is a mark. */
void conn_out_write(struct conn *);
void conn_out_write_backlog(struct conn *); /* the socket takes more */
void conn_out_settle(struct conn *);        /* writes, or holds, what was put */
bool conn_out_is_held(const struct conn *); /* something waits for the end of the turn */
void conn_out_free(struct conn *);

#endif
