/* answer.c - what clients are told: return, add_header, proxy_hide_header. */
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "nginx-compat/internal.h"

/*------------------------------------------------------------------- respond */

static bool is_redirect(uint64_t status)
{
	return (status >= 301 && status <= 303) || status == 307 || status == 308;
}

static void put_location(struct import *im, const struct site *site, struct directive *d,
			 uint64_t status, const char *text, struct buf *out)
{
	bool same;

	text = redirect_absolute(im, site, d->parent, text, &same);
	if (!same)
		judge(im, d, ADAPTED, "a Location that is a path stays one");
	buf_printf(out, "    respond: { status: %" PRIu64 ", location: %s }", status,
		   text_yaml(im, text));
}

/* What nginx calls $uri has no escapes where it is no part of a URI. */
static const char *decoded(struct import *im, const char *text)
{
	static const char path[] = "{path}";
	struct buf b = { 0 };

	for (const char *c = text; *c != '\0'; c++) {
		bool is_path =
		    strncmp(c, path, sizeof(path) - 1) == 0 && (c == text || c[-1] != '{');

		buf_puts(&b, is_path ? "{path.decoded}" : (char[]){ *c, '\0' });
		c += is_path ? sizeof(path) - 2 : 0;
	}
	return b.n == 0 ? "" : text_buf(im, &b);
}

static void put_body(struct import *im, const struct directive *block, uint64_t status,
		     const char *text, struct buf *out)
{
	buf_printf(out, "    respond: { status: %" PRIu64 ", body: %s, content_type: %s }", status,
		   text_yaml(im, decoded(im, text)),
		   text_yaml(im, block_word(block, "default_type", "text/plain")));
}

bool answer_known(struct import *im, const struct directive *block, const struct directive *d)
{
	static const struct site nobody = { .first_name = "" };
	uint64_t status = 302;
	bool has_code = value_number(d->word[1], 999, &status);

	return status >= 200 && status <= 599 &&
	       variable_phrase_then(im, &nobody, block,
				    has_code ? directive_word(d, 2) : d->word[1].p, false,
				    AT_ANSWER) != NULL;
}

bool answer_write(struct import *im, const struct site *site, const struct directive *block,
		  struct directive *d, struct buf *out)
{
	bool has_code = value_number(d->word[1], 999, &(uint64_t){ 0 });
	const char *word = has_code ? directive_word(d, 2) : d->word[1].p, *text;
	uint64_t status = 302;

	if (has_code)
		value_number(d->word[1], 999, &status);
	text = variable_phrase_then(im, site, block, word, false, AT_ANSWER);
	if (text == NULL || status < 200 || status > 599)
		return false;
	judge(im, d, EXACT, NULL);
	if (status == 444)
		buf_puts(out, "    respond: { close: true }");
	else if (is_redirect(status) && *text != '\0')
		put_location(im, site, d, status, text, out);
	else if (*text != '\0' && status != 204 && status != 304)
		put_body(im, block, status, text, out);
	else
		buf_printf(out, "    respond: %" PRIu64, status);
	text_end(im, out, d);
	return true;
}

/*-------------------------------------------------------------------- fields */

static const char *const not_ours[] = { "connection",     "keep-alive", "transfer-encoding",
					"content-length", "upgrade",    "te",
					"trailer",        "date" };

static bool is_ours(const char *name)
{
	for (size_t i = 0; i < sizeof(not_ours) / sizeof(not_ours[0]); i++)
		if (strcasecmp(name, not_ours[i]) == 0)
			return false;
	return true;
}

/* What nginx never passes on, unless proxy_pass_header says so; it says its own Date. */
static const char *const hidden[] = { "server",
				      "x-pad",
				      "x-accel-expires",
				      "x-accel-redirect",
				      "x-accel-limit-rate",
				      "x-accel-buffering",
				      "x-accel-charset" };

static bool is_passed(struct import *im, const struct directive *block, const char *name)
{
	struct directive *d = block_find(block, "proxy_pass_header");

	for (; d != NULL; d = block_next(d)) {
		judge(im, d, EXACT, NULL);
		if (strcasecmp(d->word[1].p, name) == 0)
			return true;
	}
	return false;
}

static void put_hidden(struct import *im, const struct directive *block, struct buf *b)
{
	for (size_t i = 0, n = 0; i < sizeof(hidden) / sizeof(hidden[0]); i++)
		if (!is_passed(im, block, hidden[i]))
			buf_printf(b, "%s%s", n++ == 0 ? "      - { remove: [" : ", ", hidden[i]);
	buf_puts(b, b->n > 0 ? "] } # as nginx does\n" : "");
	for (struct directive *d = block_find(block, "proxy_hide_header"); d != NULL;
	     d = block_next(d)) {
		if (!is_ours(d->word[1].p)) {
			judge(im, d, LOST, "it belongs to the connection");
			continue;
		}
		judge(im, d, EXACT, NULL);
		buf_printf(b, "      - { remove: %s }", text_yaml(im, d->word[1].p));
		text_end(im, b, d);
	}
}

static void put_added(struct import *im, const struct site *site, const struct directive *block,
		      struct buf *b)
{
	for (struct directive *d = block_find(block, "add_header"); d != NULL; d = block_next(d)) {
		const char *value =
		    variable_phrase_then(im, site, block, d->word[2].p, false, AT_ANSWER);

		if (value != NULL && strpbrk(value, "\r\n") != NULL) {
			judge(im, d, LOST, "no field holds the end of a line");
			continue;
		}
		if (value == NULL || !is_ours(d->word[1].p)) {
			judge(im, d, LOST,
			      value == NULL ? "`%s` is not known to Weir"
					    : "it belongs to the connection%.0s",
			      d->word[2].p);
			continue;
		}
		judge(im, d, EXACT, NULL);
		if (*value == '\0')
			continue;
		buf_printf(b, "      - { %sadd: { %s: %s } }",
			   slice_is(d->word[d->n - 1], "always") && d->n == 4 ? ""
									      : "when: success, ",
			   text_yaml(im, d->word[1].p), text_yaml(im, value));
		text_end(im, b, d);
	}
}

/* Seconds in `text`; false: it is none. */
static bool expires_after(struct slice text, bool *past, uint64_t *s)
{
	*past = text.n > 0 && text.p[0] == '-';
	if (text.n > 0 && (text.p[0] == '-' || text.p[0] == '+'))
		text = slice_of(text.p + 1, text.n - 1);
	if (!value_time(text, s))
		return false;
	*s /= CLOCK_S;
	return true;
}

/* Clients that know Cache-Control do not look at Expires (RFC 9111 section 5.3). */
static void put_expires(struct import *im, const struct directive *block, struct buf *b)
{
	struct directive *d = block_find(block, "expires");
	const char *date = "", *cache = "no-cache";
	uint64_t s = 0;
	bool past = false;

	if (d == NULL || slice_is(d->word[1], "off"))
		return;
	if (slice_is(d->word[1], "epoch")) {
		date = "Thu, 01 Jan 1970 00:00:01 GMT";
	} else if (slice_is(d->word[1], "max")) {
		date = "Thu, 31 Dec 2037 23:55:55 GMT";
		cache = "max-age=315360000";
	} else if (d->n > 2 || !expires_after(d->word[1], &past, &s)) {
		judge(im, d, LOST, "a time, `epoch`, `max` and `off` are known");
		return;
	} else if (!past) {
		cache = text_printf(im, "max-age=%" PRIu64, s);
	}
	judge(im, d, *date == '\0' ? ADAPTED : EXACT,
	      *date == '\0' ? "Cache-Control says it, without a date beside it" : NULL);
	buf_printf(b, "      - { when: success, set: { expires: %s, cache-control: %s } }",
		   text_yaml(im, date), text_yaml(im, cache));
	text_end(im, b, d);
}

/* The types that `charset` is for, as a regular expression. */
static const char *charset_types(struct import *im, const struct directive *block)
{
	static const char usual[] = "text/html|text/xml|text/plain|text/vnd\\.wap\\.wml|"
				    "application/javascript|application/rss\\+xml";
	struct directive *d = block_find(block, "charset_types");
	struct buf b = { 0 };

	if (d == NULL)
		return usual;
	buf_puts(&b, "text/html");
	for (; d != NULL; d = block_next(d)) {
		judge(im, d, EXACT, NULL);
		for (uint32_t i = 1; i < d->n; i++)
			if (slice_is(d->word[i], "*"))
				buf_puts(&b, "|[^;]+");
			else if (memmem(d->word[i].p, d->word[i].n, "\\E", 2) == NULL)
				buf_printf(&b, "|\\Q%s\\E", d->word[i].p);
	}
	return text_buf(im, &b);
}

/* Of types that come without any parameter. */
static void put_charset(struct import *im, const struct directive *block, struct buf *b)
{
	struct directive *d = block_find(block, "charset");
	const char *name = d == NULL ? "off" : d->word[1].p;

	if (strcmp(name, "off") == 0)
		return;
	for (const char *c = name; *c != '\0'; c++)
		if ((unsigned char)*c <= ' ' || (unsigned char)*c >= 0x7F ||
		    strchr("$;{}\"\\", *c) != NULL) {
			judge(im, d, LOST, "`%s` is not known beforehand", name);
			return;
		}
	judge(im, d, EXACT, NULL);
	buf_printf(b, "      - { replace: { content-type: { pattern: %s, with: %s } } }",
		   text_yaml(im, text_printf(im, "~* ^(%s)$", charset_types(im, block))),
		   text_yaml(im, text_printf(im, "{match.1}; charset=%s", name)));
	text_end(im, b, d);
}

void answer_fields(struct import *im, const struct site *site, const struct directive *block,
		   const struct proxied *p, struct buf *out)
{
	struct buf b = { 0 };

	if (p != NULL) {
		put_hidden(im, block, &b);
		redirects_write(im, site, block, p->pass, p->spot, p->target, &b);
		cookies_write(im, site, block, &b);
	}
	put_charset(im, block, &b);
	put_expires(im, block, &b);
	put_added(im, site, block, &b);
	if (b.n > 0)
		buf_printf(out, "    response:\n%s", text_buf(im, &b));
	buf_fini(&b);
}
