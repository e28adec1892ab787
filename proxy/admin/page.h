/* page.h - tables of pages: a path, and the function that shows or changes what is there. */
#ifndef ADMIN_PAGE_H
#define ADMIN_PAGE_H

#include "core/service.h"

struct page {
	const char *path; /* a slash at its end, and not that alone: all paths that begin with it */
	const char *tail; /* of these only such as end with it; NULL: all */
	enum method_id method; /* METHOD_OTHER: to read, GET and HEAD; else it changes something */
	service_page *show;
};

/* Shows the page of that path and method; 404 when there is no such path, 405 when it has no such
 * method.  Nothing is changed for a web page of another origin (403) or with a body that is not
 * said to be JSON (415): no form can send that.  `pages` ends with path NULL. */
void page_show(const struct page *pages, const struct process_view *,
	       const struct service_request *, struct service_reply *);
/* False: there were more than `per_second` lately (a second's worth may come at once); the reply is a 429. */
bool page_afford(struct service_budget *, uint64_t now_ns, uint32_t per_second,
		 struct service_reply *);
/* Browsers say so where a request comes from (RFC 6454 section 7), others need not.  False: from a page that this listener
 * did not send. */
bool page_origin_is_ours(const struct head *);
/* A short answer: the text and a newline. */
void page_text(struct service_reply *, unsigned status, const char *text);
/* The value of a parameter of the query, as it came; p NULL: there is none. */
struct slice page_query(const struct service_request *, const char *name);
/* A part of a path, each %XX replaced (RFC 3986 section 2.1).  p NULL: it is malformed, or memory
 * is out. */
struct slice page_decode(struct slice, struct arena *);

#endif
