/* secure.h - TLS for the load generator: what recv and send are without it.
 *
 * Nobody is verified: both ends are ours. */
#ifndef BENCH_SECURE_H
#define BENCH_SECURE_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct secure; /* one connection's */

/* Once, before all else.  `resume`: each new connection takes the latest session up again. */
void secure_start(bool resume);
struct secure *secure_open(int fd);
void secure_close(struct secure *); /* NULL is fine */

/* One step of the handshake: 1 done, 0 more to read, 2 more to write, -1 failed. */
int secure_shake(struct secure *);
/* As recv and send: -1 with errno EAGAIN when there is nothing to be had.  What `recv` leaves is
 * never kept back: it is to be called until that. */
ssize_t secure_recv(struct secure *, void *, size_t);
ssize_t secure_send(struct secure *, const void *, size_t);

#endif
