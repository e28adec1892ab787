/* tls_ticket.h - the keys that session tickets are sealed with (RFC 5077, RFC 8446 section 4.6.1).
 *
 *  K1  All threads of a process have the same keys at the same time, and share nothing: each makes
 * them, hour for hour, of the secret of the hour before. K2  What a ticket was sealed with is
 * forgotten an hour after it is out of use: nothing that is stolen later opens what was recorded
 * before. */
#ifndef IO_TLS_TICKET_H
#define IO_TLS_TICKET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/timer.h"

enum {
	TLS_TICKET_NAME_BYTES = 16,
	TLS_TICKET_KEY_BYTES = 32,
	TLS_TICKET_TURN_S = 3600, /* keys are new after so long ...        */
	TLS_TICKET_LIFE_S = 3600, /* ... and sessions are no good any more */
};

struct tls_ticket_key {
	uint8_t name[TLS_TICKET_NAME_BYTES];
	uint8_t cipher[TLS_TICKET_KEY_BYTES], mac[TLS_TICKET_KEY_BYTES];
};

struct tls_tickets {
	uint8_t secret[TLS_TICKET_KEY_BYTES]; /* of the next turn */
	uint64_t turn_ns;                     /* when that comes */
	struct tls_ticket_key now, before;
	struct timer timer; /* for who has nothing to seal or open (K2) */
	struct timers *timers;
	uint64_t timer_ns; /* when it comes */
};

/* A secret of this process, from the kernel. */
void tls_tickets_secret(uint8_t secret[TLS_TICKET_KEY_BYTES]);
/* `start_ns`: when the first turn began, the same for all threads. */
void tls_tickets_init(struct tls_tickets *, const uint8_t secret[TLS_TICKET_KEY_BYTES],
		      uint64_t start_ns);
/* From here they turn in time by themselves, too. */
void tls_tickets_run(struct tls_tickets *, struct timers *);
void tls_tickets_fini(struct tls_tickets *); /* before the timers */
/* What to seal with at this time. */
const struct tls_ticket_key *tls_tickets_seal(struct tls_tickets *, uint64_t now_ns);
/* What a ticket of this name was sealed with; NULL: not known, or no more.  *old: it is time for a
 * new ticket. */
const struct tls_ticket_key *tls_tickets_open(struct tls_tickets *, uint64_t now_ns,
					      const uint8_t name[TLS_TICKET_NAME_BYTES], bool *old);

#endif
