/* error.c - what errors are answered: error_page, and the pages that nginx has of its own.
 *
 *   error_page 502 /x         the answer of GET /x, with the error's status; `=`: with its own, `=200`: with that one
 *   error_page 502 @x         the call goes on to that location, as it came
 *   error_page 502 http://x   a redirect
 *
 * Without proxy_intercept_errors only nginx's own errors are meant, and those of `return`. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "nginx-compat/internal.h"

/* nginx has pages for these, and calls some of them by other names than RFC 9110. */
static const char usual[] =
    "301, 302, 303, 307, 308, 400, 401, 402, 403, 404, 406, 409, 410, 411, 412, 415, 421, "
    "429, 500, 501, 502, 505, 507";

static const struct {
	unsigned status;
	const char *phrase;
} special[] = {
	{ 405, "Not Allowed" },
	{ 408, "Request Time-out" },
	{ 413, "Request Entity Too Large" },
	{ 414, "Request-URI Too Large" },
	{ 416, "Requested Range Not Satisfiable" },
	{ 503, "Service Temporarily Unavailable" },
	{ 504, "Gateway Time-out" },
};

static void put_html(struct buf *b, const char *title)
{
	buf_printf(
	    b,
	    "content_type: text/html, body: \"<html>\\r\\n<head><title>%s</title></head>\\r\\n"
	    "<body>\\r\\n<center><h1>%s</h1></center>\\r\\n<hr><center>weir</center>\\r\\n"
	    "</body>\\r\\n</html>\\r\\n\" }",
	    title, title);
}

static void put_page(struct buf *b, const char *when, const char *title)
{
	buf_printf(b, "  - { when: [%s], from: weir, ", when);
	put_html(b, title);
	buf_putc(b, '\n');
}

void errors_write_default(struct buf *out)
{
	buf_puts(out, "\nerrors: # the pages that nginx has\n");
	for (size_t i = 0; i < sizeof(special) / sizeof(special[0]); i++) {
		char when[8], title[64];

		snprintf(when, sizeof(when), "%u", special[i].status);
		snprintf(title, sizeof(title), "%u %s", special[i].status, special[i].phrase);
		put_page(out, when, title);
	}
	put_page(out, usual, "{status} {phrase}");
}

/*---------------------------------------------------------------- error_page */

/* One line, cut apart. */
struct line {
	struct directive *d;
	uint32_t n_codes;   /* words 1 to n_codes */
	bool own;           /* the status of what answers */
	uint64_t overwrite; /* 0: the error's */
	const char *to;
	const char *from; /* whose errors */
};

static bool read_line(struct import *im, struct directive *d, struct line *l)
{
	struct slice last = d->word[d->n - 2];
	uint64_t code;

	*l = (struct line){ .d = d, .n_codes = d->n - 2, .to = d->word[d->n - 1].p };
	if (last.n > 0 && last.p[0] == '=') {
		l->n_codes--;
		l->own = last.n == 1;
		if (!l->own && !value_number(slice_of(last.p + 1, last.n - 1), 999, &l->overwrite))
			return tree_wrong(im->tree, d->file, d->end_line, "invalid value \"%s\"",
					  last.p);
	}
	for (uint32_t i = 1; i <= l->n_codes; i++) {
		if (!value_number(d->word[i], 999, &code) || code < 300 || code > 599 ||
		    code == 499)
			return tree_wrong(im->tree, d->file, d->end_line,
					  code == 499 ? "value \"%s\" must be between 300 and 599"
						      : "invalid value \"%s\"",
					  d->word[i].p);
	}
	return l->n_codes > 0;
}

static void put_codes(const struct line *l, struct buf *b)
{
	for (uint32_t i = 1; i <= l->n_codes; i++)
		buf_printf(b, "%s%s", i > 1 ? ", " : "", l->d->word[i].p);
}

/* Where the call goes then, as keys of a page. */
static void put_handed(struct import *im, const struct line *l, const char *where, struct buf *b)
{
	for (uint32_t i = 1; i <= l->n_codes; i++) {
		buf_puts(b, "      - { when: [");
		if (l->own || l->overwrite != 0)
			put_codes(l, b);
		else
			buf_puts(b, l->d->word[i].p);
		buf_printf(b, "], from: %s, %s", l->from, where);
		if (l->overwrite != 0)
			buf_printf(b, ", status: %" PRIu64, l->overwrite);
		else if (!l->own)
			buf_printf(b, ", status: %s", l->d->word[i].p);
		buf_puts(b, " }");
		text_end(im, b, l->d);
		if (l->own || l->overwrite != 0)
			return;
	}
}

static void put_redirect(struct import *im, const struct site *site, const struct directive *block,
			 const struct line *l, struct buf *b)
{
	const char *to = variable_phrase(im, site, block, l->to, false);
	uint64_t status = l->overwrite;

	if (to == NULL) {
		judge(im, l->d, LOST, "`%s` is not known to Weir", l->to);
		return;
	}
	if (!((status >= 301 && status <= 303) || status == 307 || status == 308))
		status = 302;
	judge(im, l->d, EXACT, NULL);
	buf_puts(b, "      - { when: [");
	put_codes(l, b);
	buf_printf(b, "], from: %s, status: %" PRIu64 ", location: %s, ", l->from, status,
		   text_yaml(im, to));
	put_html(b, "{status} {phrase}");
	text_end(im, b, l->d);
}

static void put_path(struct import *im, const struct site *site, const struct directive *block,
		     const struct line *l, struct buf *b)
{
	const char *to = variable_phrase(im, site, block, l->to, false);

	if (to == NULL || strpbrk(to, "?# ") != NULL || l->overwrite == 204 ||
	    l->overwrite == 304 ||
	    (l->overwrite != 0 && (l->overwrite < 200 || l->overwrite > 599))) {
		judge(im, l->d, LOST, "a path without a query is known, and a status with a body");
		return;
	}
	judge(im, l->d, EXACT, NULL);
	put_handed(im, l, text_printf(im, "path: %s", text_yaml(im, to)), b);
}

static void put_named(struct import *im, const struct site *site, const struct line *l,
		      struct buf *b)
{
	const char *name = im->above->named_route(im, site, l->to);

	if (name == NULL) {
		judge(im, l->d, LOST, "calls cannot go on to %s", l->to);
		return;
	}
	judge(im, l->d, EXACT, NULL);
	put_handed(im, l, text_printf(im, "route: %s", text_yaml(im, name)), b);
}

static bool is_url(const char *to)
{
	return strncmp(to, "http://", 7) == 0 || strncmp(to, "https://", 8) == 0 ||
	       strncmp(to, "$scheme", 7) == 0;
}

const char *errors_text(struct import *im, const struct site *site, const struct directive *block,
			bool proxied)
{
	struct directive *intercept = block_find(block, "proxy_intercept_errors");
	struct directive *recursive = block_find(block, "recursive_error_pages");
	struct buf b = { 0 };
	struct line l;

	if (proxied && intercept != NULL)
		judge(im, intercept, EXACT, NULL);
	for (struct directive *d = block_find(block, "error_page"); d != NULL; d = block_next(d)) {
		if (recursive != NULL && block_is_on(block, "recursive_error_pages", false))
			judge(im, recursive, LOST, "an error on the way to a page has none");
		if (!read_line(im, d, &l))
			continue;
		l.from =
		    proxied && block_is_on(block, "proxy_intercept_errors", false) ? "all" : "weir";
		if (l.to[0] == '@')
			put_named(im, site, &l, &b);
		else if (is_url(l.to))
			put_redirect(im, site, block, &l, &b);
		else if (l.to[0] == '/')
			put_path(im, site, block, &l, &b);
		else
			judge(im, d, LOST, "a path begins with /");
	}
	return b.n == 0 ? "" : text_printf(im, "    errors:\n%s", text_buf(im, &b));
}
