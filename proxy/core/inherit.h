/* inherit.h - listening sockets that whoever started this process has opened for it: socket
 * activation, sd_listen_fds(3).
 *
 * They are taken by address: a listener of the configuration that names the address of one gets a
 * copy of it.  The sockets themselves stay open as long as the process, so that an address that a
 * reload takes out and another puts back is the same socket, and nobody is refused meanwhile. */
#ifndef CORE_INHERIT_H
#define CORE_INHERIT_H

#include <stdbool.h>

#include "base/addr.h"

enum { INHERITED_MAX = 64 };

struct inherited {
	unsigned n;
	struct inherited_socket {
		int fd;
		struct addr addr;
		bool used;
	} socket[INHERITED_MAX];
};

/* From LISTEN_PID and LISTEN_FDS.  What is no listening stream socket is left alone, with a
 * warning. */
void inherited_init(struct inherited *);
/* A copy of the socket that listens on this address: its own descriptor; -1: there is none. */
int inherited_take(struct inherited *, const struct addr *);
/* Says which of them nothing listens on. */
void inherited_warn_unused(const struct inherited *);

#endif
