/* listen_set.h - the listening addresses, kept across reloads: control's side.
 *
 * prepare binds what is new (and may fail, with nothing changed); then either commit or abandon. */
#ifndef CORE_LISTEN_SET_H
#define CORE_LISTEN_SET_H

#include "core/control.h"
#include "core/inherit.h"
#include "core/worker.h"

struct listen_set {
	struct list slots; /* never freed while the process runs: connections name them */
	unsigned workers;
	struct stats *stats;
	const struct control_services *services;
	struct inherited inherited;
};

void listen_set_init(struct listen_set *, unsigned workers, struct stats *,
		     const struct control_services *);
void listen_set_fini(struct listen_set *);
bool listen_set_prepare(struct listen_set *, const struct config *, struct diags *);
void listen_set_abandon(struct listen_set *);
/* Fills the lists of worker w's order: what to open and what to close.  False when memory is out.
 */
bool listen_set_orders(struct listen_set *, unsigned w, struct worker_order *);
/* After all orders are made: what was prepared is now what is. */
void listen_set_commit(struct listen_set *);
/* Removes the files of unix sockets. */
void listen_set_unlink(struct listen_set *);

#endif
