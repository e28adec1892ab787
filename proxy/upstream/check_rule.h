/* check_rule.h - what a check asks and expects. */
#ifndef UPSTREAM_CHECK_RULE_H
#define UPSTREAM_CHECK_RULE_H

#include <stdatomic.h>

#include "upstream/checker.h"

struct check_rule {
	_Atomic unsigned refs;
	struct health_conf conf; /* its texts are the three below */
	char *path, *body, *host;
	enum http_choice http; /* what the endpoint speaks */
	struct tls_client *tls; /* NULL: none */
};

struct check_rule *check_rule_get(struct check_rule *);
bool check_rule_same(const struct check_rule *, const struct check_rule *); /* either may be NULL */

#endif
