/* client.h - calls of scripts to a Redis server, a cluster, or whoever a sentinel says is the master.
 *
 * Laws
 *  R1  Everything happens on one loop.  A call is sent at once or not at all, and answered once; `done` may come from
 *      inside redis_client_call.
 *  R2  What may have been done is never sent again.  What was certainly refused is: with the script's text where a
 *      server does not know it, and to the node that it names, REDIRECTS_MAX times.
 *  R3  A cluster's table of slots is asked for anew when it was wrong, when a node is lost, and once a minute; not more
 *      than once a second.
 *  R4  With sentinels, the master is asked for whenever the link to it ends, and must say itself that it is one. */
#ifndef REDIS_CLIENT_H
#define REDIS_CLIENT_H

#include "base/stat.h"
#include "redis/link.h"
#include "redis/node.h"
#include "store/script.h"

enum { REDIS_PLACES_MAX = 32, REDIS_NODES_MAX = 128, REDIRECTS_MAX = 5, MASTER_NAME_MAX = 128 };

struct redis_options {
	const struct redis_place *place; /* one server, or some of a cluster, or sentinels */
	unsigned n_places;
	bool cluster;
	const char *master; /* its name, for sentinels; NULL: none */
	struct redis_greeting greeting, sentinel_greeting;
	struct tls_client *tls, *sentinel_tls; /* counted by the client */
	struct redis_finder finder;
	uint64_t timeout_ns, connect_timeout_ns;
	uint64_t random;
};

struct redis_events {
	void (*up)(void *owner); /* the first node answers */
	void (*node)(
	    void *owner); /* a node answers (again): what was decided without it can be told */
	void (*down)(void *owner); /* none does */
};

/* What became of calls; labels of weir_redis_operations_total. */
enum redis_result {
	REDIS_OK,
	REDIS_REFUSED,  /* an error in place of an answer */
	REDIS_TIMEOUT,  /* or cut: nobody knows */
	REDIS_NOT_SENT, /* nobody was there to send it to */
	REDIS_RESULTS
};

extern const char *const redis_result_names[REDIS_RESULTS];

/* One writer: the client's loop. */
struct redis_stats {
	struct stat_counter results[REDIS_RESULTS];
	struct stat_counter redirects, whole_scripts, failures; /* of links */
	struct stat_hist took;                                  /* of answered calls */
	struct stat_counter nodes_up;                           /* a gauge */
};

struct redis_client;

struct redis_call {
	struct script_call script;
	/* REDIS_REPLY: with what was answered; else NULL. */
	void (*done)(struct redis_call *, enum redis_outcome, const struct sync_reply *);

	/* private */
	struct redis_command command;
	struct redis_client *client;
	struct redis_node *node;
	uint64_t sent_ns;
	uint16_t slot;
	uint8_t redirects;
	bool whole, asking;
};

/* NULL: out of memory.  Options' strings and places outlive it. */
struct redis_client *redis_client_new(struct loop *, const struct redis_options *,
				      const struct redis_events *, void *owner);
void redis_client_start(struct redis_client *);
/* Calls under way are done; no event comes any more.  Before the loop's last loop_settle. */
void redis_client_free(struct redis_client *);

void redis_client_call(struct redis_client *, struct redis_call *);
bool redis_client_is_up(const struct redis_client *);
/* Of the slowest node that is up. */
uint64_t redis_client_rtt_ns(const struct redis_client *);
const struct redis_stats *redis_client_stats(const struct redis_client *); /* any thread */

#endif
