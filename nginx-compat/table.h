/* table.h - every directive of nginx's stock modules: where it may stand, what it takes, what becomes of it.
 *
 * One row each in directives_*.def:
 *
 *   D(NAME, CONTEXTS, TAKES, VERDICT, WHY, SINCE)
 *
 * CONTEXTS  m main, e events, h http, s server, l location, u upstream, i if in a server, j if in a location, x limit_except
 * TAKES     "flag" (on or off), "2", "1-3", "1,3", "1+", "*"; " {" behind it: a block, " {}": a block of data
 * VERDICT   CODE: a translator says; CLOSES: it is lost, and its location is not let in without it
 * SINCE     of which nginx; NULL: 1.22 has it */
#ifndef NGINX_COMPAT_TABLE_H
#define NGINX_COMPAT_TABLE_H

#include "nginx-compat/tree.h"

struct directive_rule {
	const char *name, *contexts, *takes;
	enum fate verdict;
	const char *why, *since;
};

/* Gives every directive its rule and its context, as far as they are known, and wraps a fragment into the blocks it was
 * taken from.  Comes behind the reading, whether that went well or not.  `version` "1.22.1"; NULL: any.  False: nginx would refuse it, tree->wrong says why.  Directives that are not
 * known are UNKNOWN, and nginx would refuse them as well. */
bool table_check(struct tree *, const char *version);
/* Behind that: whether nginx would take the values of what stands in a block, and below. */
bool valid_check(struct tree *, struct directive *block);
/* Whether every variable that is read is one that nginx has or the file makes.  False: tree->wrong. */
bool known_check(struct tree *);

/* The same for what nginx is started with: no fragment, no name that is not known, and an `events`. */
bool table_check_whole(struct tree *, const char *version);

/* Whose grammar it is: no row is younger. */
#define NGINX_VERSION "1.29.6"

/* The row of a name, whichever comes first; NULL: there is none. */
const struct directive_rule *table_find(const char *name);

#endif
