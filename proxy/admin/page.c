/* page.c - from a path to a page. */
#include "admin/page.h"

void page_text(struct service_reply *reply, unsigned status, const char *text)
{
	reply->status = (uint16_t)status;
	reply->content_type = "text/plain; charset=utf-8";
	buf_puts(&reply->body, text);
	buf_putc(&reply->body, '\n');
}

void page_show(const struct page *pages, const struct process_view *view,
	       const struct service_request *req, struct service_reply *reply)
{
	while (pages->path != NULL && !slice_is(req->path, pages->path))
		pages++;
	if (pages->path == NULL) {
		page_text(reply, 404, "no such page");
	} else if (req->head->method_id != METHOD_GET && req->head->method_id != METHOD_HEAD) {
		reply->allow = "GET, HEAD";
		page_text(reply, 405, "this page can only be read");
	} else {
		pages->show(view, req, reply);
	}
}
