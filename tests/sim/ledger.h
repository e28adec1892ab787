/* ledger.h - who asked what, who answered what, and the laws of it.
 *
 *  Q1  What reaches an upstream was sent by a client, byte for byte; what a client did not send to
 * its end never looks complete.
 *  Q2  A client gets one final answer for each request, in order, and a complete-looking answer is
 * what one upstream sent to its end, or Weir's own.
 *  Q3  Nothing of a request that was refused, or that cannot be understood, reaches an upstream.
 *  Q4  A request that must not be repeated reaches an upstream once.
 *  Q5  No interim answer comes that no upstream sent.
 *  Q6  No more calls pass a bucket than it had. */
#ifndef SIM_LEDGER_H
#define SIM_LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "dice.h"

enum { LEDGER_MAX = 4096, KEYS = 3 };

enum destination {
	PLACE_APP,
	PLACE_LIMITED,
	PLACE_SMALL,
	PLACE_NOWHERE,
	PLACE_TUNNEL,
	PLACE_FRESH,
	PLACE_HELD /* under a limit of calls at once: crowd.h */
};

struct request {
	unsigned id;
	unsigned client; /* actor number */
	const char *method;
	char target[64]; /* in origin form */
	enum destination place;
	unsigned key; /* of the limit; 0: says none */
	uint64_t body_n;
	bool chunked, trailers, is_1_0, expects;
	bool malformed;   /* its head: never arrives */
	bool unreachable; /* behind one whose body goes wrong: never arrives */
	bool incomplete;  /* its body will break off or go wrong: never arrives whole */
	bool is_2, said;  /* asked by HTTP/2; and its end is on its way */

	/* what was seen */
	unsigned arrivals, whole_arrivals, interims_sent, interims_got;
	bool answered, refused;
};

struct answer {
	unsigned id;
	unsigned request;
	unsigned status;
	uint64_t body_n; /* bytes that a complete answer to GET has */
	bool no_body;
	bool trailers;
	bool spoiled; /* garbage, or to be cut: can never be complete */
	bool complete;
	bool sized; /* by HTTP/2, with a length: whole with its last byte, to a reader of HTTP/1 */
};

struct limit_account {
	uint64_t passed;
};

struct ledger {
	struct request *request; /* index is id - 1, as below */
	struct answer *answer;
	unsigned requests, answers;
	struct limit_account limit[KEYS];
	double allowed; /* calls that each bucket could have let pass so far, at most */
	uint64_t allowed_at_ns;
	uint64_t rate_per_s, burst; /* the present ones */
	uint64_t former_per_s;      /* while some worker still has the old policy, else 0 */
	unsigned own_answers, upstream_answers, refusals, cut_answers, unanswered, tunnels;
	uint64_t retries, hedges;
};

struct sim;

void ledger_init(struct ledger *);
void ledger_fini(struct ledger *);
struct request *ledger_request(struct ledger *);
struct answer *ledger_answer(struct ledger *, struct request *);
/* The request or answer of that number; a failure when there is none. */
struct request *ledger_find_request(struct ledger *, uint64_t id);
struct answer *ledger_find_answer(struct ledger *, uint64_t id);

/* Of a body: mostly up to `usual`, now and then more than any buffer takes. */
uint64_t ledger_size(struct dice *, uint64_t usual);
/* Bodies: byte `at` on of the stream of this number. */
void ledger_body(char *out, unsigned stream, uint64_t at, size_t n);
bool ledger_body_is(const char *, unsigned stream, uint64_t at, size_t n);

/* The limits change from now on: a bucket keeps its share, so it gets what a full one would.  Until
 * every worker has followed, it fills by the faster of both rules; after that by the new one,
 * whether anybody asks it or not. */
void ledger_limits(struct sim *, uint64_t rate_per_s, uint64_t burst);
void ledger_limits_in_force(struct sim *);
/* A request's head has come to an upstream. */
void ledger_arrival(struct sim *, struct request *);
/* A status that Weir gives of its own. */
bool ledger_is_own_status(unsigned status);

enum { REQUEST_STREAM = 0, ANSWER_STREAM = 1 << 20 }; /* numbers of body streams: + id */

#endif
