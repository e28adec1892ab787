/* auth.h - who makes a call: credentials are found in its head, verified, and made known to those
 * behind.
 *
 *   struct auth         what is believed: keys and rules; of a policy, immutable
 *   struct auth_worker  one worker's: the tokens it has verified lately
 *   struct auth_rule    what a route wants
 *   struct auth_result  what became of one call
 *
 *  A1  A credential that was sent and is bad refuses the call, be it that none is demanded: who
 *      shows one means it.  But what only a policy in trial reads refuses nothing.
 *  A2  What a route does not look at is not read: it may be meant for the upstream.
 *  A3  Nothing here blocks, and nothing is told of keys and tokens but why they are not believed.
 */
#ifndef AUTH_AUTH_H
#define AUTH_AUTH_H

#include "auth/auth_conf.h"
#include "auth/jwt.h"
#include "base/reason.h"
#include "filters/identity.h"
#include "http/head.h"

struct auth;
struct auth_worker;

/* Sets of enum identity_kind. */
struct auth_rule {
	uint8_t looks; /* these are verified if they are sent; 0: nothing is looked at */
	uint8_t binds; /* a bad one of these refuses the call; others are as good as not sent */
	uint8_t all;   /* each of these must be sent */
	uint8_t any;   /* one of these must be; 0: none */
};

enum auth_method { AUTH_JWT, AUTH_API_KEY, AUTH_METHODS };

/* "jwt" "api_key": metric labels. */
extern const char *const auth_method_names[AUTH_METHODS];

struct auth_outcome_row {
	const char *name;
	unsigned of; /* bit i: enum auth_method i may end so */
	const char *text;
};

extern const struct auth_outcome_row auth_outcomes[AUTH_OUTCOMES];
const struct reason *auth_reason(enum auth_outcome);

enum auth_cached { AUTH_NOT_CACHED, AUTH_HIT, AUTH_MISS };

struct auth_result {
	const struct reason *why; /* NULL: the call may go on */
	uint8_t looked;           /* bit i: outcome[i] is filled in */
	uint8_t blamed;           /* bit i: it is what refuses the call */
	uint8_t outcome[AUTH_METHODS];
	uint8_t cached; /* enum auth_cached: of the token */
	struct identity who;
	struct token *token; /* held until auth_release */
	char hash[64];
};

/* Both kinds come in the same place: the form tells which it is. */
bool auth_is_shared(const struct auth_conf *);
/* Reads the files that are named.  NULL after findings, and for a configuration without any of it:
 * *ok tells. */
struct auth *auth_open(const struct auth_conf *, struct arena *, struct diags *, bool *ok);
void auth_close(struct auth *);
/* Visits the files that are named, for who watches them. */
void auth_files(const struct auth_conf *, void (*visit)(void *arg, const char *path), void *arg);

/* NULL when memory is out.  It goes before its struct auth. */
struct auth_worker *auth_worker_new(const struct auth *);
void auth_worker_free(struct auth_worker *);

/* Fills a zeroed result; scratch holds nothing that is needed behind it. */
void auth_check(struct auth_worker *, const struct auth_rule *, const struct head *,
		uint64_t wall_ns, struct arena *scratch, struct auth_result *);
void auth_release(struct auth_result *);
/* Copies what is known into the arena, and releases.  False: memory is out. */
bool auth_detach(struct auth_result *, struct arena *);

/* Why, for the client; "": there is no more to say than the reason does. */
const char *auth_text(const struct auth_result *);
/* WWW-Authenticate (RFC 9110 section 11.6.1, RFC 6750 section 3); empty: memory is out. */
struct slice auth_challenge(const struct auth *, const struct auth_rule *,
			    const struct auth_result *, struct arena *);

/* Takes the fields that only Weir may set out of a head or a trailer section, be it that they are
 * spelled with `_`. */
void auth_strip(const struct auth_conf *, struct head *);
/* Sets them.  A value that is not printable ASCII, or is longer than 1024 bytes, is not set. False:
 * memory is out. */
bool auth_set(const struct auth_conf *, const struct identity *, struct slice tls_san,
	      struct head *);

#endif
