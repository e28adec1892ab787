/* pool.h - the connections that one worker keeps to one endpoint.
 *
 * Most recently used first, so that those beyond need grow old and close.  Every connection made
 * here is counted until pool_closed. */
#ifndef UPSTREAM_POOL_H
#define UPSTREAM_POOL_H

#include "io/conn.h"
#include "upstream/upstream.h"

struct shared;

/* A call that waits for a connection of HTTP/2 to be made, with others: one of the three is called,
 * once, unless pool_unwait was before. */
struct pool_waiter {
	struct list link;
	struct shared *of; /* pool.c */
	/* Which has room; or is HTTP/1 after all, then its events are the caller's from here. */
	void (*ready)(struct pool_waiter *, struct conn *);
	void (*again)(struct pool_waiter *); /* it is HTTP/1, and another's */
	void (*failed)(struct pool_waiter *, const struct reason *);
};

/* Whether its connections are HTTP/2, or may be: to be shared or awaited, before others are taken. */
bool pool_shares(const struct endpoint *, const struct cluster *);
/* A connection of HTTP/2 with room for a call, or NULL.  `quiet`: as below, where nothing is under way on
 * it.  pool_release follows, when the call's stream is gone or was reset. */
struct conn *pool_share(struct endpoint *, unsigned w, const struct cluster *, bool quiet);
/* Waits for one that is being made, or makes one.  False: it failed at once, or the endpoint has
 * max_connections. */
bool pool_await(struct loop *, struct endpoint *, unsigned w, const struct cluster *,
		const struct codec_limits *, struct pool_waiter *);
/* A connection that nobody waits for any more is not made to its end. */
void pool_unwait(struct pool_waiter *);
void pool_release(struct conn *, struct endpoint *, const struct cluster_conf *);

/* An idle connection, or NULL.  `quiet`: one whose end, as far as this machine knows, has not come.
 * Those that were made under other rules of TLS than the cluster's are closed.  Its events are the
 * caller's from here. */
struct conn *pool_take(struct endpoint *, unsigned w, const struct cluster *, bool quiet,
		       const struct conn_events *, void *owner);
/* Whether max_connections are open. */
bool pool_is_full(const struct endpoint *, unsigned w, const struct cluster_conf *);
/* A new connection; connected or closed follows.  NULL: it failed at once, or the endpoint has
 * max_connections. */
struct conn *pool_connect(struct loop *, struct endpoint *, unsigned w, const struct cluster *,
			  enum conn_protocol, const struct conn_events *, void *owner, const struct codec_limits *);
/* Gives back a connection that may carry another call; over the bounds it is closed, soon. */
void pool_put(struct conn *, struct endpoint *, unsigned w, const struct cluster_conf *);
/* Lets a connection finish writing and close; the caller hears no more of it. */
void pool_discard(struct conn *);
/* To be called from `closed` of a connection that came from here. */
void pool_closed(struct conn *);
/* Closes all idle ones; those that are used are for no more calls. */
void pool_clear(struct endpoint *, unsigned w);
/* Closes idle ones alone, for their descriptors.  False: there was none. */
bool pool_close_idle(struct endpoint *, unsigned w);

#endif
