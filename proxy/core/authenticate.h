/* authenticate.h - who makes a call: what its route wants, asked once, before the first policy.
 *
 * What a route wants follows from the keys of its policies, unless it says it itself (`auth:`). */
#ifndef CORE_AUTHENTICATE_H
#define CORE_AUTHENTICATE_H

#include "auth/auth.h"
#include "core/config.h"

struct exchange;
struct stats;

/* The names in it exist (config_check). */
struct auth_rule auth_rule_of(const struct config *, const struct route_conf *);
/* Findings about what routes want. */
void auth_rules_check(const struct config *, struct diags *);
/* Findings about the files that `auth` names. */
void auth_check_files(const struct config *, struct diags *);

/* From within the chain (call.prove), of a route that looks at something.  NULL: the call goes on. */
const struct reason *authenticate(struct exchange *);
/* The call is over. */
void authenticate_end(struct exchange *);
/* Tells the upstream, in the fields that are there for it.  False: memory is out. */
bool authenticate_tell(struct exchange *, struct head *);
/* What a refusal says of it: WWW-Authenticate; empty: nothing. */
struct slice authenticate_challenge(struct exchange *);
/* "", or why credentials were not believed. */
const char *authenticate_text(const struct exchange *);

#endif
