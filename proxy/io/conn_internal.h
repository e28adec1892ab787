/* conn_internal.h - what loop.c and conn.c share: the settling of connections.  Inside io only. */
#ifndef IO_CONN_INTERNAL_H
#define IO_CONN_INTERNAL_H

struct conn;
struct loop;

void conn_settle(struct conn *);    /* from loop_settle, for each dirty connection */
void conn_flush_all(struct loop *); /* writes what every dirty connection has put; raises nothing */
/* At the end of a turn: writes what was held for it; what that leads to wants a settle. */
void conn_flush_held(struct loop *);
void conn_gathers_free(struct loop *);

#endif
