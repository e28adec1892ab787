/* refusal.h - what a server says in place of an answer, and what that means for who asked.
 *
 * One row of one table decides what is done; nobody else looks at the text.  The command was not
 * carried out, whatever the row. */
#ifndef STORE_REFUSAL_H
#define STORE_REFUSAL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

/* What to do about it. */
enum refusal_answer {
	REFUSAL_WHOLE,    /* send it once more, with the script's text */
	REFUSAL_MOVED,    /* to another server, now and from now on */
	REFUSAL_ASK,      /* to another server, this time */
	REFUSAL_COMMAND,  /* it concerns this command alone: go on without its answer */
	REFUSAL_LATER,    /* the server cannot now: go on without it for a while */
	REFUSAL_CLOSE,    /* this server no more: hang up and find out who it is */
	REFUSAL_OPERATOR, /* somebody has to do something about it; else as LATER */
};

struct refusal {
	const char *word; /* the first of the error's text; NULL: all others */
	enum refusal_answer answer;
	bool loud; /* a line in the log */
	const char *text;
};

/* Never NULL. */
const struct refusal *refusal_of(struct slice error);
/* By index, for counters: 0 .. refusal_count() - 1. */
unsigned refusal_count(void);
unsigned refusal_index(const struct refusal *);
const struct refusal *refusal_at(unsigned index);

enum { REDIRECT_HOST_MAX = 253, CLUSTER_SLOTS = 16384 };

/* "MOVED 3999 127.0.0.1:6381", "ASK ..."; a host of "" is that of who said it.  IPv6 addresses stand
 * without brackets, the port behind the last colon. */
struct redirect {
	uint16_t slot, port;
	char host[REDIRECT_HOST_MAX + 1];
};

/* False: malformed. */
bool redirect_parse(struct slice error, struct redirect *);

#endif
