/* wait.h - waits that another thread settles.
 *
 * A call waits on its own worker; what it waits for may come free on any.  Who frees it puts the
 * wait, with its verdict, among the wakes of the call's worker and tells that worker; the worker
 * settles it from its loop, where no hook is running (F6).
 *
 * Laws
 *  W1  Putting and telling need no memory and cannot fail.
 *  W2  Between wakes_put and its settling a wait may still be left: its owner takes it back.
 *  W3  Locks: the owner's (a queue's) may be held around wakes_put; wakes_tell and wakes_run come
 *      without any. */
#ifndef FILTERS_WAIT_H
#define FILTERS_WAIT_H

#include <pthread.h>

#include "base/list.h"
#include "filters/filter.h"

/* A wait that others settle. */
struct woken {
	struct wait wait;
	/* On the call's thread, before it goes on; may be NULL. */
	void (*on_settle)(struct woken *);
	struct verdict verdict;
	struct list link; /* wakes.settled */
};

/* One for each worker; all of them stand in an array (env->wakes). */
struct wakes {
	pthread_mutex_t lock;
	struct list settled; /* of struct woken */
	bool told;           /* its wakes_run is to come */
	/* Makes the worker call wakes_run, from its loop; `own`: this is its thread.  Once, until
	 * it has. */
	void (*tell)(struct wakes *, bool own);
	void *owner;
};

void wakes_init(struct wakes *, void (*tell)(struct wakes *, bool own), void *owner);
void wakes_fini(struct wakes *);

/* Any thread.  The worker is yet to be told. */
void wakes_put(struct wakes *, struct woken *, struct verdict);
/* The call's own thread, between wakes_put and its settling. */
void wakes_take_back(struct wakes *, struct woken *);
/* `workers`: a bit for each that something was put for. */
void wakes_tell(const struct env *, uint64_t workers);
/* The worker itself. */
void wakes_run(struct wakes *);

#endif
