/* checker.h - who asks endpoints how they are: active health checks.
 *
 *  A1  One checker a process, on a thread and a loop of its own (or on a simulation's loop).
 *      Workers and the control thread never wait for it; they read what it leaves in
 *      endpoint->health.
 *
 *  A2  The control thread orders (check_order: this rule, or none from here on); the checker obeys
 *      when it comes to it.  All that an order needs is made before: it cannot fail.
 *
 *  A3  An endpoint has one check under way at most, and all together CHECKS_AT_ONCE; others wait in
 *      line.
 *
 *  A4  An endpoint's state goes on across reloads; a changed rule is obeyed by a check at once.
 *
 *  A5  Each check is a connection of its own: who answers only those it knows is not well. */
#ifndef UPSTREAM_CHECKER_H
#define UPSTREAM_CHECKER_H

#include <stdbool.h>
#include <stdint.h>

#include "io/loop.h"
#include "upstream/upstream.h"

enum { CHECKS_AT_ONCE = 256 };

struct check; /* of one endpoint, for as long as that lives */
struct checker;
struct check_rule; /* what to ask and what to expect; counted */

struct checker *checker_new(void); /* NULL: out of memory */
/* On this loop, in place of a thread. */
void checker_use(struct checker *, struct loop *, uint64_t seed);
/* Its thread, unless it runs.  False: it could not be started. */
bool checker_start(struct checker *);
/* Ends the thread, after the orders that are there: none is to leave a check on. */
void checker_stop(struct checker *);
void checker_free(struct checker *); /* stopped; may be NULL */
/* There are orders. */
void checker_wake(struct checker *);
/* Begins and ends checks as ordered: an entry into the loop given. */
void checker_obey(struct checker *);

/* A copy, which holds `tls` (NULL: none) as well; NULL: out of memory.  `http`: what endpoints are
 * asked in. */
struct check_rule *check_rule_new(const struct health_conf *, enum http_choice http,
				  struct tls_client *tls);
void check_rule_put(struct check_rule *); /* may be NULL */

/* Control thread. */
struct check *check_new(struct checker *, struct endpoint *);
void check_free(struct check *); /* idle, or the checker is stopped; may be NULL */
/* The checker has nothing to do with the endpoint. */
bool check_is_idle(struct check *);
/* NULL: no more checks.  The rule is counted. */
void check_order(struct check *, struct check_rule *);

#endif
