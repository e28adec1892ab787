/* forward.h - what Weir tells the upstream of the client, in the fields that are there for it.
 *
 *  X-Forwarded-For    the peer's address, behind what a trusted peer says
 *  X-Forwarded-Proto  a trusted peer's, else the scheme of the listener
 *  X-Forwarded-Host   a trusted peer's, else the authority of the request
 *  Forwarded          for, host and proto of this hop, behind what a trusted peer says (RFC 7239)
 *  X-Real-IP          the client (client_ip_find)
 *  Via                "1.1 weir" behind what is there, by the version that was received
 *                     (RFC 9110 section 7.6.3)
 *  X-Request-Id       the caller's if it is 1 to 128 visible ASCII characters, else 32 random
 *                     hex digits
 *  traceparent        the caller's if it is valid, else a new one that is not sampled
 *                     (W3C Trace Context, section 3.2); of a call that is recorded, the
 *                     try's (core/trace.h)
 *
 * What a peer that is not trusted claims is replaced, and its other X-Forwarded-* fields are taken
 * out, as are Client-Cert and Client-Cert-Chain (RFC 9440).  Names that differ from these, or from
 * those of framing, in `_` for `-` only are taken out whoever says them: to many applications they
 * are the same.  A peer on a unix socket has no address: nothing is added to X-Forwarded-For, and
 * Forwarded says for=unknown. */
#ifndef CORE_FORWARD_H
#define CORE_FORWARD_H

#include <stdbool.h>
#include <stdint.h>

#include "core/config.h"
#include "http/head.h"

/* Random numbers of one worker (xoshiro256**): good enough for identifiers, not for secrets. */
struct forward_worker {
	uint64_t s[4];
};

/* From the kernel. */
void forward_worker_init(struct forward_worker *);
/* For simulations: the same seed, the same numbers. */
void forward_worker_seed(struct forward_worker *, uint64_t seed);

struct call_trace;

struct forward_context {
	const struct client_ip_conf *conf;
	const struct addr *peer; /* after PROXY protocol */
	struct slice scheme;     /* "http" "https" */
	struct forward_worker *worker;
	struct arena *arena; /* the head's: values are made there */
	const struct tracing_conf *tracing; /* NULL: no call is recorded */

	struct call_trace *trace; /* NULL; or it was recorded before, or is from now on */

	/* set by forward_prepare and forward_identify; in the arena or in the head */
	struct slice request_id;
	struct slice trace_id; /* 32 hex digits */
};

/* Fills the bytes. */
void forward_random(struct forward_worker *, uint8_t *, size_t n);

/* Max-Forwards of OPTIONS (RFC 9110 section 7.6.2) is one less; false: it was 0, the request is to
 * be answered here. */
bool forward_count_hop(struct head *);
/* Takes these fields, and what passes for them, out of a trailer section. */
void forward_sift_trailers(struct head *);
/* X-Request-Id and traceparent only: of a call that goes nowhere. */
bool forward_identify(struct head *, struct forward_context *);
/* The same, and the head stays as it is. */
bool forward_take_note(struct head *, struct forward_context *);
/* Writes these fields into a request head, in place of what is there.  False: memory is out. */
bool forward_prepare(struct head *, struct forward_context *);

/* What Via says of a message that came like this (RFC 9110 section 7.6.3). */
static inline struct slice head_via(const struct head *h)
{
	static const struct slice v10 = SLICE("1.0 weir"), v11 = SLICE("1.1 weir"), v2 = SLICE("2.0 weir");

	return h->h2 ? v2 : h->minor == 0 ? v10 : v11;
}

#endif
