/* trace.h - what a call that is traced keeps of itself: ids, and what became of its tries.
 *
 * Laws: T1 a call that is not sampled has none of this: NULL is all that it pays.  T2 the call is one
 * span (SERVER), each try another (CLIENT), its child; upstreams are told the try's.  T3 spans are
 * made when all is over, of this and of the call's record. */
#ifndef CORE_TRACE_H
#define CORE_TRACE_H

#include "core/config.h"
#include "core/stats.h"
#include "core/traceparent.h"

struct exchange;
struct leg;

/* How it came to a try. */
enum trace_kind { TRACE_FIRST, TRACE_RETRY, TRACE_REPEAT, TRACE_HEDGE, TRACE_FALLBACK };

struct trace_try {
	struct trace_try *next;
	uint64_t span_id;
	uint64_t start_ns, end_ns;
	const char *upstream;
	const char *authority; /* of the endpoint; "unix:/path" */
	struct slice path, method;
	bool tls, local; /* local: a unix socket */
	bool reused;     /* over a kept-alive connection */
	uint8_t number;  /* 1: the first */
	enum trace_kind kind;
	uint16_t status;          /* 0: no head came */
	const struct reason *why; /* NULL: it is under way */
};

/* In the call's arena. */
struct call_trace {
	char text[TRACEPARENT_BYTES]; /* what upstreams are told, the newest try as the parent */
	uint64_t span_id;
	struct slice parent_id; /* n 0: the trace begins here */
	struct slice state;     /* tracestate, several joined; n 0: none */
	uint8_t flags;
	struct slice scheme;
	struct trace_try *tries, *last;
};

/* Each does nothing where the call is not traced. */
void trace_try_begin(struct leg *);
void trace_try_tell(struct leg *);
void trace_try_head(struct leg *, uint16_t status);
void trace_try_end(struct leg *, const struct reason *);
/* A call whose trace nobody asked for, since its head is malformed: one begins, or not. */
void trace_late(struct exchange *);
/* The call's record is filled: hands its spans over. */
void trace_end(struct exchange *);

#endif
