/* pool.h - the connections that one worker keeps to one endpoint.
 *
 * Most recently used first, so that those beyond need grow old and close.  Every connection made
 * here is counted until pool_closed. */
#ifndef UPSTREAM_POOL_H
#define UPSTREAM_POOL_H

#include "io/conn.h"
#include "upstream/upstream.h"

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
			  const struct conn_events *, void *owner, const struct codec_limits *);
/* Gives back a connection that may carry another call; over the bounds it is closed. */
void pool_put(struct conn *, struct endpoint *, unsigned w, const struct cluster_conf *);
/* Lets a connection finish writing and close; the caller hears no more of it. */
void pool_discard(struct conn *);
/* To be called from `closed` of a connection that came from here. */
void pool_closed(struct conn *);
/* Closes all idle ones. */
void pool_clear(struct endpoint *, unsigned w);

#endif
