/* listener.h - accepts connections on one listening descriptor, in one loop. */
#ifndef IO_LISTENER_H
#define IO_LISTENER_H

#include <sys/types.h>
#include <stdbool.h>

#include "base/addr.h"
#include "base/timer.h"
#include "io/loop.h"

struct event;

struct listener {
	struct loop *loop;
	int fd;
	struct event *event;
	struct timer pause; /* no descriptors left: looks for some when it comes up */
	bool paused;
	uint64_t told_ns; /* when the log last was, lest it is ten times a second */
	/* Descriptors from this number on are not for connections that are accepted here; 0: all are. */
	int bound;
	bool scarce; /* they were all in use once: it is looked first from then on */
	void (*on_pause)(struct listener *); /* connections wait from here on; or NULL */
	/* A new connection; the callee owns fd.  */
	void (*on_accept)(struct listener *, int fd, const struct addr *peer);
	void *owner;
};

/* Binds and listens, non-blocking.  A TCP address that another process listens on is an error;
 * sockets of this process may share one: those after the first with beside_own.  A stale unix
 * socket file is replaced; one that somebody serves is not; `mode`, less the umask, are its
 * permissions.  The descriptor, or -1 and *error says why. */
int listener_bind(const struct addr *, int backlog, bool beside_own, mode_t mode,
		  const char **error);
/* Takes fd over.  False when memory is out: it is closed, and `event` is NULL. */
bool listener_open(struct listener *, struct loop *, int fd,
		   void (*on_accept)(struct listener *, int, const struct addr *), void *owner);
/* The lowest free descriptor, which says how many are in use below it; INT_MAX: none is free. */
int listener_lowest(const struct listener *);
/* Accepts what already stands in the queue, then closes: nobody who got through is turned away. */
void listener_close(struct listener *);

#endif
