/* carrier.h - who carries a process's syncs to Redis: one thread with one loop and one client.
 *
 *  C1  Workers never wait for it: they leave what is to be told in `shared`, and are told by `settled`.
 *  C2  All that was left there by the end of a turn goes out in one write.
 *  C3  Once a second it tells that this process is there; until that was first answered, limits are decided without
 *      Redis, for nobody knows yet how many share them.
 *  C4  It tells when it goes, and waits for the answer as long as for any other: those who stay have its share with
 *      their next count.  Who is missed without having said so counts for a minute more (shared_set_peers). */
#ifndef REDIS_CARRIER_H
#define REDIS_CARRIER_H

#include "redis/client.h"
#include "store/shared.h"

struct carrier;

struct carrier_options {
	struct redis_options redis;
	const char *space; /* lives as long */
	struct slice salt;
	uint32_t peers;
	uint64_t random;              /* unlike any other process's */
	void (*settled)(void *owner); /* its thread: calls that waited were answered */
	void *owner;
};

/* NULL: out of memory or descriptors. */
struct carrier *carrier_new(const struct carrier_options *);
struct shared_limits *carrier_shared(struct carrier *);
/* On this loop, in place of a thread; carrier_turn after each wake. */
bool carrier_use(struct carrier *, struct loop *);
/* Its thread, unless it runs.  False: it could not be started. */
bool carrier_start(struct carrier *);
/* Ends the thread (C4); what was under way is lost. */
void carrier_stop(struct carrier *);
void carrier_free(struct carrier *); /* stopped, after every shared_policy_put; may be NULL */
/* An entry into the loop: carries what there is. */
void carrier_turn(struct carrier *);
/* Any thread; NULL: it was not started. */
const struct redis_stats *carrier_stats(const struct carrier *);

#endif
