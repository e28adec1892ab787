/* client_internal.h - what a client's files share. */
#ifndef REDIS_CLIENT_INTERNAL_H
#define REDIS_CLIENT_INTERNAL_H

#include "redis/client.h"
#include "redis/slots.h"

enum { NO_NODE = 0xff };

/* Of a cluster's table. */
struct cluster {
	uint8_t slot[CLUSTER_SLOTS]; /* index of a node, or NO_NODE */
	struct redis_command refresh;
	struct redis_node *asked;
	bool under_way;
	bool complained; /* logged: it does not tell */
	uint64_t asked_ns;
	struct timer timer;
};

struct sentinel {
	struct redis_link *link;
	struct redis_command query;
	unsigned turn;     /* which is asked next */
	unsigned failures; /* in a row: rounds in which none knew a master */
	bool complained;   /* logged: nobody tells */
	struct timer timer;
};

struct redis_client {
	struct redis_options o;
	struct redis_manner manner;
	const struct redis_events *on;
	void *owner;
	struct redis_node *node[REDIS_NODES_MAX];
	unsigned n_nodes, n_up;
	bool closing;
	struct buf scratch;
	uint64_t random;
	struct cluster cluster;
	struct sentinel sentinel;
	struct redis_stats stats;
};

uint64_t client_random(struct redis_client *);
/* Finds or makes; started.  NULL: too many, or out of memory. */
struct redis_node *client_node(struct redis_client *, const struct redis_place *);
unsigned client_node_index(const struct redis_client *, const struct redis_node *);

/* cluster.c */
void cluster_init(struct redis_client *);
void cluster_fini(struct redis_client *);
struct redis_node *cluster_route(struct redis_client *, uint16_t slot);
/* The node that an error names, said by `from`; NULL: none can be made.  `moved`: the table follows. */
struct redis_node *cluster_redirect(struct redis_client *, struct slice error,
				    const struct redis_node *from, bool moved);
/* The table may be wrong. */
void cluster_refresh_soon(struct redis_client *);

/* sentinel.c */
void sentinel_init(struct redis_client *);
void sentinel_fini(struct redis_client *);
/* Asks one after the other, until one knows the master; it is started then. */
void sentinel_ask(struct redis_client *);

#endif
