/* reroute.h - calls that a route sends on to another, as if they had asked for something else.
 *
 *  reroute  of a route, in place of an upstream: the routes are asked again, from the first, with another path.  Nothing is
 *           counted twice: policies are those of the route where it ends.
 *  errors   with a `path` or a `route`: what is answered in place of an error is what that route answers.  The policies of the
 *           first route have seen how the call ended; those of the second are not asked.
 *
 *  R1  What the client sent stays as it is, for logs and for {uri}; filters, matching and the upstream see the copy.
 *  R2  A call is sent on at most REROUTES_MAX times, and once for an error. */
#ifndef CORE_REROUTE_H
#define CORE_REROUTE_H

#include "core/action.h"

enum { REROUTES_MAX = 10 };

struct reroute {
	bool has_query;
	struct template path, query;
};

/* In its arena, or `arena`.  NULL: memory is out. */
struct head *reroute_copy(const struct head *, struct arena *);
/* What is asked for then; NULL: it is no path, or memory is out. */
struct head *reroute_head(const struct reroute *, const struct template_values *);
/* The same of an error: GET, or HEAD, of its path, without a body; or the call as it came. */
struct head *reroute_error(const struct error_page *, const struct head *came,
			   const struct template_values *);

#endif
