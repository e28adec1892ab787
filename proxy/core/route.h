/* route.h - which route a request takes: the first whose `match` holds, in the order of the file.
 * Nothing but that order decides, be the matches exact, of a prefix or by regular expression.
 *
 *  hosts    any of them.  Case, the port and a dot at the end are of no meaning.
 *           "*.example.com" takes one or more labels in front ("a.example.com",
 *           "a.b.example.com"), never "example.com" itself; "example.*" one or more behind.
 *           "~ REGEX" is a regular expression, in whatever case.
 *  path     in normal form, without the query.  "/x" is exact; "/x/<star>" takes "/x/" and all
 *           below it, but not "/x" (as a location "/x/" of nginx does); "/x<star>" takes all that
 *           begin with "/x"; "/<star>" takes any; "~ REGEX" those in which it is found (pattern.h).
 *  methods  any of them, case-sensitive.
 *  when     what else of the call must be so (condition.h).
 *  from     who sends the call: the client, or another route (reroute.h).
 *
 * A call of which a regular expression cannot tell within its bounds takes no route: one behind it
 * might let in what this one keeps out.  Made ready by route_prepare (control thread); matching
 * allocates nothing but the values of conditions, in the call's arena. */
#ifndef CORE_ROUTE_H
#define CORE_ROUTE_H

#include "core/policy.h"

struct route_matcher;

/* Sets route->matcher and route->match from route->conf.  False after findings: a host or path that
 * cannot match anything. */
bool route_prepare(struct route *, struct arena *, struct diags *);
/* The path by which a request is matched, in normal form; that of `OPTIONS *` is "/".  p == NULL: it
 * has none (head_normal_path), or hides dots that would take another reader out of the route: behind
 * %2F, %5C or a backslash, or with a parameter ("..;a"). */
struct slice route_path(const struct head *req, enum slash_rule, struct arena *);
/* The same of a path that was made here. */
struct slice route_normal(struct slice path, struct arena *);
/* NULL: none, or the path is not in normal form (p == NULL), or *too_hard.  `values` may be NULL if
 * the policy has no conditions. */
const struct route *route_match(const struct policy *, const struct head *req,
				struct slice normal_path, const struct template_values *values,
				bool *too_hard);
/* Why a route does not take a request; they are looked at in this order. */
enum route_part { ROUTE_TAKES, ROUTE_PATH, ROUTE_METHOD, ROUTE_HOST, ROUTE_WHEN, ROUTE_FILE, ROUTE_TOO_HARD };
enum route_part route_differs(const struct route *, const struct head *req,
			      struct slice normal_path, const struct template_values *);
/* Why a call that takes this route is answered before any policy is asked; NULL: it is not.  An
 * OPTIONS has one hop less afterwards. */
const struct reason *route_refuses(const struct route *, struct head *req);
/* Whether every request that `later` would take is taken by `earlier`: then `later` is never
 * reached. */
bool route_hides(const struct route *earlier, const struct route *later);

#endif
