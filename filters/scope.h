/* scope.h - whom a limit counts together: what `key`, `missing` and `overrides` mean, for every
 * kind of policy that has them. */
#ifndef FILTERS_SCOPE_H
#define FILTERS_SCOPE_H

#include "base/addr.h"
#include "conf/schema.h"
#include "filters/filter.h"
#include "filters/key.h"

/* What becomes of calls that lack the key. */
enum missing {
	MISSING_SHARE,
	MISSING_SKIP,
	MISSING_DENY,
	MISSING_CHALLENGE, /* of a key that has to be verified: what proves it is demanded (401)
			      before the policy is asked, which denies what lacks the key all the
			      same */
};

extern const char *const missing_names[]; /* for C_ENUM */

/* Whom one override is for. */
struct scope_match {
	bool by_network;
	struct cidr network;
	uint64_t fingerprint; /* of the value, else */
};

/* Warnings: a key that any client can choose, and `missing` that means nothing. */
void scope_warn(struct conf_load *, const struct node *map, const struct key_spec *, int missing);
/* The default of `missing` goes by the key.  False, after a finding: the two do not go together. */
bool scope_check_missing(struct conf_load *, const struct node *map, const struct key_spec *,
			 int *missing);
/* What policies want verified: sets of enum identity_kind. */
struct scope_wants {
	unsigned reads;   /* some key is made of these */
	unsigned binds;   /* ... of a policy that is not only tried out */
	unsigned demands; /* calls without these are not to come to it */
};
void scope_wants(const struct schema *, const void *conf, struct scope_wants *add_to);
/* Whether the key of a policy is made of the client's certificate. */
bool scope_reads_certificate(const struct schema *, const void *conf);
/* The names of values (value.NAME) that its keys are made of, one after the other: `known` is asked for each.  The first that is
 * not; p NULL: all are. */
struct slice scope_unknown_value(const struct schema *, const void *conf,
				 bool (*known)(const void *of, struct slice name), const void *of);
/* Whether every override can match under this key; findings stand at its `match`.  Items are of
 * item_size bytes and begin with that, a const char *. */
bool scope_check_overrides(struct conf_load *, const struct node *map, const struct key_spec *,
			   const struct conf_list *overrides, size_t item_size);

void scope_match_init(struct scope_match *, const struct key_spec *, const char *match);
static inline bool scope_matches(const struct scope_match *m, const struct ip *client, uint64_t key)
{
	return m->by_network ? cidr_match(&m->network, client) : m->fingerprint == key;
}

/* PASS: *key is the call's; else what becomes of it. */
struct verdict scope_find(const struct key_spec *, int missing, const struct call *, uint64_t *key);

#endif
