/* resolve.h - names to addresses, on a thread of its own.
 *
 *  R1  Only the resolver's thread looks names up: workers never wait for DNS, and the control
 *      thread waits no longer than it says.  One thread looks up one name after the other: a name
 *      server that does not answer delays the refresh of the others, which keep the addresses
 *      they have.
 *  R2  A set of addresses is two banks and a generation: the writer fills the bank that is not in
 *      force and then moves the generation on.  Readers copy one address and look at the
 *      generation again.  Nothing is allocated or freed, a reader never waits for a writer, and
 *      it reads again only if two refreshes end while it copies.
 *  R3  A failed look-up changes nothing.  One line is logged when a name begins to fail, when it
 *      works again, and when its addresses change. */
#ifndef UPSTREAM_RESOLVE_H
#define UPSTREAM_RESOLVE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

/* Addresses kept of one name; a longer answer is cut. */
enum { RESOLVE_ADDRS_MAX = 64 };

struct endpoint_addrs;
struct resolver;

struct endpoint_addrs *endpoint_addrs_new(uint16_t port); /* NULL: out of memory */
void endpoint_addrs_free(struct endpoint_addrs *);
/* The turn-th (modulo their number) address.  False: none yet.  Any thread. */
bool endpoint_addrs_get(const struct endpoint_addrs *, uint32_t turn, struct addr *out);
unsigned endpoint_addrs_count(const struct endpoint_addrs *);
/* Puts n (1..RESOLVE_ADDRS_MAX) addresses in force.  One writer at a time. */
void endpoint_addrs_publish(struct endpoint_addrs *, const struct ip *, unsigned n);

/* How a name is looked up; may block.  Returns how many addresses were written to out (at most
 * max), or -1 and *why (static text).  `why` holds NULL before. */
struct resolver_lookup {
	int (*run)(void *user, const char *host, struct ip *out, unsigned max, const char **why);
	void *user;
};

/* NULL: getaddrinfo.  No thread yet.  NULL when memory is out. */
struct resolver *resolver_new(const struct resolver_lookup *);
/* Ends the thread, without waiting for a look-up that is under way: then it ends by itself. */
void resolver_free(struct resolver *);
/* Looks `host` up at once and then every interval_ns (0: not again, once it has
 * an address), into `addrs`.  `label` is for the log: the upstream's name.  Again with
 * the same addrs: changes the interval.  False: out of memory. */
bool resolver_add(struct resolver *, struct endpoint_addrs *, const char *host, const char *label,
		  uint64_t interval_ns);
/* `addrs` is not touched after this. */
void resolver_remove(struct resolver *, const struct endpoint_addrs *);
/* Starts the thread unless it runs.  False: it could not be started. */
bool resolver_start(struct resolver *);
/* Until the first look-up for `addrs` has ended, well or not, or the monotonic clock shows
 * deadline_ns. */
void resolver_wait(struct resolver *, const struct endpoint_addrs *, uint64_t deadline_ns);
/* What the thread does in one turn, for tests without a thread: looks up all that is due.  Returns
 * when to come back; UINT64_MAX: when something is added. */
uint64_t resolver_step(struct resolver *, uint64_t now_ns);

#endif
