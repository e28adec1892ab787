/* link.h - one connection to one Redis server.
 *
 *   CONNECTING --> GREETING (AUTH, SELECT, ROLE, PING) --> READY --> over
 *
 * Laws
 *  K1  Commands leave in the order they were put, all those of one turn of the loop in one write; replies come in the
 *      same order.
 *  K2  Every command that was put is answered once: with a reply, or with what is known of its fate.  What was not
 *      written was not done; what was written and not answered may have been.
 *  K3  A command that is not answered in time ends the connection: a late reply can never be taken for another's.
 *  K4  READY means that the server answered.  An accepted connection alone means nothing: a stopped process accepts.
 *  K5  Commands under way and bytes unsent are bounded; beyond that a command is not taken. */
#ifndef REDIS_LINK_H
#define REDIS_LINK_H

#include "base/buf.h"
#include "base/list.h"
#include "io/loop.h"
#include "io/tls.h"
#include "store/resp.h"

struct redis_link;

enum redis_outcome {
	REDIS_REPLY,    /* which may be an error */
	REDIS_NOT_DONE, /* certainly */
	REDIS_UNKNOWN,
};

enum {
	REDIS_COMMANDS_MAX = 4096,  /* under way, of a link */
	REDIS_UNSENT_MAX = 1 << 20, /* bytes */
};

/* Its memory is the caller's until `done`, which may put others. */
struct redis_command {
	uint64_t deadline_ns;
	size_t reply_max; /* bytes; 0: RESP_BYTES_SMALL */
	uint8_t skip;     /* replies before its own: of ASKING */
	void (*done)(struct redis_command *, enum redis_outcome, const struct resp *);

	/* private */
	struct list link;
	uint64_t start;
};

enum redis_role {
	ROLE_UNASKED,
	ROLE_ASKED,    /* it must not say that it is a replica */
	ROLE_REQUIRED, /* it must say that it is a master */
};

struct redis_greeting {
	const char *user, *password; /* NULL or "": none */
	uint32_t database;
	uint8_t role; /* enum redis_role */
};

struct redis_link_events {
	void (*ready)(void *owner);
	/* Once, unless it is closed before: it is over, with all of its commands.  `why`: for the log. */
	void (*over)(void *owner, const char *why);
};

/* Memory of the greeting's strings outlives it.  NULL: no memory or descriptors. */
struct redis_link *redis_link_open(struct loop *, const struct addr *, const struct tls_target *,
				   const struct redis_greeting *, uint64_t deadline_ns,
				   const struct redis_link_events *, void *owner);
/* Commands under way are done (K2); no event comes any more.  NULL is fine. */
void redis_link_close(struct redis_link *);
/* False: it is not ready, or full, or memory is out; nothing is done. */
bool redis_link_put(struct redis_link *, struct redis_command *, struct slice bytes);
bool redis_link_is_ready(const struct redis_link *);
unsigned redis_link_under_way(const struct redis_link *);
/* How long it took to answer the greeting, in ns; 0: it has not. */
uint64_t redis_link_greeting_ns(const struct redis_link *);

#endif
