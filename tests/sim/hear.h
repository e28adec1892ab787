/* hear.h - one request as an upstream hears it, one answer as a client does: what must hold of them,
 * whichever version of HTTP brings them (the laws of ledger.h). */
#ifndef SIM_HEAR_H
#define SIM_HEAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct answer;
struct request;
struct sim;
struct wire_head;

struct heard_request {
	struct request *request; /* NULL: none */
	uint64_t got;
	bool ends_by_itself; /* and not with the last byte of its length */
};

struct heard_answer {
	struct request *request;
	struct answer *answer; /* NULL: Weir's own */
	uint64_t got;
	bool no_body;
};

/* The request of that head; its arrival is told to the ledger apart. */
struct request *hear_find(struct sim *, const struct wire_head *);
void hear_request_head(struct heard_request *, struct request *, const struct wire_head *);
void hear_request_body(struct heard_request *, const char *, size_t);
void hear_request_end(const struct heard_request *, const struct wire_head *trailers);

/* A final head; an interim one. */
void hear_answer_head(struct sim *, struct heard_answer *, const struct wire_head *);
void hear_interim(struct heard_answer *, const struct wire_head *);
void hear_answer_body(struct heard_answer *, const char *, size_t);
void hear_answer_end(const struct heard_answer *, const struct wire_head *trailers);

#endif
