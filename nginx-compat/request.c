/* request.c - what of a request goes upstream besides its path: its method, its fields, its body.
 *
 *   proxy_method PUT                   rewrite: { method: PUT }
 *   proxy_pass_request_headers off     client_fields: false
 *   proxy_pass_request_body off        body: ""
 *   proxy_set_body "x=$arg_x"          body: "x={query.x}" */
#include <string.h>
#include <strings.h>

#include "nginx-compat/internal.h"

static const char *read_method(struct import *im, const struct directive *block, struct target *t)
{
	static const char capitals[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ-_";
	struct directive *d = block_find(block, "proxy_method");
	const char *method = d == NULL ? NULL : directive_word(d, 1);

	if (method == NULL)
		return NULL;
	if (method[strspn(method, capitals)] != '\0' || strcmp(method, "CONNECT") == 0) {
		judge(im, d, LOST, "`%s` is no method that is known beforehand", method);
		return "its `proxy_method` is not known beforehand";
	}
	t->method = method;
	if (strcmp(method, "HEAD") == 0)
		judge(im, d, ADAPTED, "clients that sent no HEAD are told a length of 0");
	else
		judge(im, d, EXACT, NULL);
	return NULL;
}

static void read_fields(struct import *im, const struct directive *block, struct buf *out)
{
	struct directive *d = block_find(block, "proxy_pass_request_headers");

	if (d == NULL)
		return;
	judge(im, d, EXACT, NULL);
	if (block_is_on(block, "proxy_pass_request_headers", true))
		return;
	buf_puts(out, "    client_fields: false");
	text_end(im, out, d);
}

/* Whether the upstream is told of no length. */
static bool tells_no_length(const struct directive *block)
{
	for (const struct directive *d = block_find(block, "proxy_set_header"); d != NULL;
	     d = block_next(d))
		if (strcasecmp(directive_word(d, 1), "content-length") == 0 && d->word[2].n == 0)
			return true;
	return false;
}

bool request_has_body(const struct directive *block)
{
	return block_find(block, "proxy_set_body") != NULL ||
	       block_is_on(block, "proxy_pass_request_body", true);
}

static const char *read_body(struct import *im, const struct site *site,
			     const struct directive *block, struct buf *out)
{
	struct directive *set = block_find(block, "proxy_set_body"),
			 *pass = block_find(block, "proxy_pass_request_body");
	const char *text =
	    set == NULL ? "" : variable_phrase(im, site, block, directive_word(set, 1), false);

	if (text == NULL) {
		judge(im, set, LOST, "`%s` is not known to Weir", directive_word(set, 1));
		return "its `proxy_set_body` is not known to Weir";
	}
	if (pass != NULL)
		judge(im, pass, request_has_body(block) || tells_no_length(block) ? EXACT : ADAPTED,
		      request_has_body(block) || tells_no_length(block)
			  ? NULL
			  : "nor is its Content-Length passed on");
	if (set != NULL)
		judge(im, set, EXACT, NULL);
	if (set == NULL && request_has_body(block))
		return NULL;
	buf_printf(out, "    body: %s", text_yaml(im, text));
	text_end(im, out, set != NULL ? set : pass);
	return NULL;
}

const char *request_read(struct import *im, const struct site *site, const struct directive *block,
			 struct target *t)
{
	struct buf b = { 0 };
	const char *why = read_method(im, block, t);

	read_fields(im, block, &b);
	if (why == NULL)
		why = read_body(im, site, block, &b);
	t->sent = text_buf(im, &b);
	return why;
}
