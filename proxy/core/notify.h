/* notify.h - what the service manager is told, if one started this process and wants to know:
 * sd_notify(3), the protocol alone, without its library. */
#ifndef CORE_NOTIFY_H
#define CORE_NOTIFY_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/un.h>

struct notify {
	int fd; /* -1: nobody listens */
	struct sockaddr_un to;
	socklen_t to_len;
	uint64_t watchdog_ns; /* it restarts us when it has not heard for so long; 0: it does not */
};

/* From NOTIFY_SOCKET (a path, or @NAME in the abstract space), WATCHDOG_USEC and WATCHDOG_PID. */
void notify_init(struct notify *);
/* Lines of NAME=VALUE, at most 1 KiB together.  Nothing waits for them longer than a second. */
void notify_send(const struct notify *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
