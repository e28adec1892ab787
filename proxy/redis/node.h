/* node.h - one Redis server for as long as we speak to it: a link at a time.
 *
 *          start                  ready                    3 failures in a row
 *   IDLE ---------> CONNECTING ---------> UP (link READY) -------------------> DOWN
 *                      ^  |                |                                    |
 *                      |  +--- failure ----+--> back-off (0, 0.1 .. 1 s) -------+
 *                      +-------------------------------------------------------+
 *
 *  N1  A command is sent at once or not at all: nobody waits for a connect.
 *  N2  Up means that the server answered lately.  One line in the log for each change, SAID_MAX in SAID_TIME: what
 *      comes and goes more often is told of when that is over.
 *  N3  After an answer that it cannot now (LOADING, BUSY, OOM, ...) it is left alone for as long as after a failure.
 *  N4  Failures are in a row until a link is answered after STEADY: a server that answers once and hangs up is not
 *      connected to at once each time. */
#ifndef REDIS_NODE_H
#define REDIS_NODE_H

#include "redis/link.h"
#include "redis/url.h"
#include "store/refusal.h"

/* Names to addresses, without blocking; `turn` chooses among several.  False: not known (yet). */
struct redis_finder {
	bool (*find)(void *user, const struct redis_place *, uint32_t turn, struct addr *);
	void *user;
};

/* What all nodes of a client have in common. */
struct redis_manner {
	struct loop *loop;
	struct redis_finder finder; /* find NULL: addresses alone, no names */
	struct tls_client *tls;     /* NULL: none */
	struct redis_greeting greeting;
	uint64_t timeout_ns; /* of an answer, at least */
	uint64_t connect_timeout_ns;
};

enum node_state { NODE_IDLE, NODE_UNKNOWN, NODE_UP, NODE_DOWN };

struct redis_node;

struct redis_node_events {
	void (*changed)(void *owner, struct redis_node *); /* up, or no longer */
	void (*ready)(void *owner, struct redis_node *);   /* a new link */
	/* A link failed.  True: who owns it says when to go on (redis_node_start). */
	bool (*failed)(void *owner, struct redis_node *);
};

struct redis_node {
	const struct redis_manner *manner;
	const struct redis_node_events *on;
	void *owner;
	struct redis_place place;
	struct redis_link *link;
	enum node_state state;
	unsigned failures, refusals; /* in a row */
	uint64_t rest_until_ns;
	uint64_t ready_ns; /* since when the link is; 0: it is not */
	bool was_replica;  /* it has said so: it is asked before it is used again */
	uint64_t rtt_ns;   /* smoothed */
	uint64_t random;
	uint32_t turn;
	struct timer timer;
	/* what it refuses to do; lasts until it answers, and where it does both by turns, until it has not refused for
	 * a while */
	const struct refusal *complaint;
	uint64_t complained_ns, answered_again_ns;
	bool complains_again;
	/* what was logged last, and how many lines since when */
	const void *said;
	uint64_t said_from_ns;
	unsigned said_lines;
	bool listed; /* its owner's */
};

void redis_node_init(struct redis_node *, const struct redis_manner *,
		     const struct redis_node_events *, void *owner, const struct redis_place *,
		     uint64_t random);
/* Connects now, unless it is connected, or rests after a failure. */
void redis_node_start(struct redis_node *);
/* Hangs up and stays so; no event comes any more. */
void redis_node_stop(struct redis_node *);
/* False: not now. */
bool redis_node_put(struct redis_node *, struct redis_command *, struct slice bytes);
bool redis_node_is_up(const struct redis_node *);
bool redis_node_is_ready(const struct redis_node *);

/* What came of a command: an answer, in so much time, */
void redis_node_answered(struct redis_node *, uint64_t took_ns);
/* or a refusal, in its words, of which rows LATER, OPERATOR and CLOSE concern the node. */
void redis_node_refused(struct redis_node *, const struct refusal *, struct slice error);
/* Hangs up as after a failure. */
void redis_node_fail(struct redis_node *, const char *why);
/* It is not to be found: nobody tells where it is. */
void redis_node_missing(struct redis_node *, const char *why);
/* How long an answer may take. */
uint64_t redis_node_timeout_ns(const struct redis_node *);

#endif
