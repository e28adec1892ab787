/* page.h - tables of pages: a path, and the function that shows it. */
#ifndef ADMIN_PAGE_H
#define ADMIN_PAGE_H

#include "core/service.h"

struct page {
	const char *path;
	void (*show)(const struct process_view *, const struct service_request *,
		     struct service_reply *);
};

/* Shows the page of that path; 404 when there is none, 405 unless the method is GET or HEAD.
 * `pages` ends with path NULL. */
void page_show(const struct page *pages, const struct process_view *,
	       const struct service_request *, struct service_reply *);
/* A short answer: the text and a newline. */
void page_text(struct service_reply *, unsigned status, const char *text);

#endif
