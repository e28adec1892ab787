/* grpc.h - what of a call is gRPC's own (PROTOCOL-HTTP2.md of grpc/grpc): its deadline, how an
 * answer went, and how one is told to come back.  Pure.
 *
 * A gRPC answer is 200 whatever comes of it; the status is in a field, of the trailers or of a head
 * that is all there is ("trailers-only").  What counts failures in HTTP statuses goes by the one
 * that means the same:
 *
 *   UNAVAILABLE 503 · RESOURCE_EXHAUSTED 429 · DEADLINE_EXCEEDED 504 · UNKNOWN INTERNAL DATA_LOSS
 * 500
 *
 * All others are answers: a server that says NOT_FOUND, or UNIMPLEMENTED, is well. */
#ifndef CORE_GRPC_H
#define CORE_GRPC_H

#include <stdbool.h>
#include <stdint.h>

#include "http/head.h"

enum grpc_code {
	GRPC_OK,
	GRPC_CANCELLED,
	GRPC_UNKNOWN,
	GRPC_INVALID_ARGUMENT,
	GRPC_DEADLINE_EXCEEDED,
	GRPC_NOT_FOUND,
	GRPC_ALREADY_EXISTS,
	GRPC_PERMISSION_DENIED,
	GRPC_RESOURCE_EXHAUSTED,
	GRPC_FAILED_PRECONDITION,
	GRPC_ABORTED,
	GRPC_OUT_OF_RANGE,
	GRPC_UNIMPLEMENTED,
	GRPC_INTERNAL,
	GRPC_UNAVAILABLE,
	GRPC_DATA_LOSS,
	GRPC_UNAUTHENTICATED,
	GRPC_CODES,
	GRPC_NONE = 255 /* a head or trailers that say nothing of it */
};

/* A call of gRPC: over HTTP/2, with its content type. */
bool grpc_is_call(const struct head *);

/* The time that is left to the call, from grpc-timeout.  False: malformed.  UINT64_MAX: not given,
 * or longer than anyone waits. */
bool grpc_timeout(const struct head *, uint64_t *ns);
/* Says it; `ns` of 0 is said as the least there is.  False: memory is out. */
bool grpc_set_timeout(struct head *, uint64_t ns);

/* enum grpc_code: what the fields say; what is none of them is GRPC_UNKNOWN. */
uint8_t grpc_code(const struct head *);
/* The status that an answer of `status` with this code is judged by. */
uint16_t grpc_judge(uint16_t status, uint8_t code);

/* When to try again, as the server would have it (proposal A6). */
enum grpc_pushback { PUSHBACK_NONE, PUSHBACK_MS, PUSHBACK_NEVER };
enum grpc_pushback grpc_pushback(const struct head *, uint64_t *ms);

/* What a refusal is to a client of gRPC that would have been `status` to another.  `limited`: by a
 * policy that counts. */
enum grpc_code grpc_refusal(uint16_t status, bool limited);

/* The value of grpc-message: percent-encoded. */
struct buf;
void grpc_put_message(struct buf *, struct slice);

#endif
