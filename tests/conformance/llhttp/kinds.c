/* kinds.c - every way in which our request parser and llhttp's differ, each with its reason.
 *
 * A kind is as narrow as its evidence in the text allows: a new difference should not hide behind
 * an old one. */
#include <stdio.h>
#include <string.h>

#include "compare.h"

/* A request and what became of it, taken apart for the kinds to look at. */
struct look {
	struct slice text, line, target, version;
	struct slice fields; /* the lines behind the request line, to the end of the text */
	size_t leading;      /* bytes of empty lines before the request line */
	unsigned spaces;     /* in the request line */
	const struct outcome *ours, *theirs;
};

static void look_init(struct look *l, struct slice text)
{
	struct slice rest;
	const char *last;

	while (l->leading < text.n && (text.p[l->leading] == '\r' || text.p[l->leading] == '\n'))
		l->leading++;
	l->text = text;
	rest = slice_of(text.p + l->leading, text.n - l->leading);
	l->line = slice_cut(&rest, '\n');
	l->fields = rest;
	if (l->line.n > 0 && l->line.p[l->line.n - 1] == '\r')
		l->line.n--;
	for (size_t i = 0; i < l->line.n; i++)
		l->spaces += l->line.p[i] == ' ';
	l->target = l->line;
	slice_cut(&l->target, ' ');
	last = l->target.n > 0 ? memrchr(l->target.p, ' ', l->target.n) : NULL;
	if (last != NULL) {
		l->version = slice_of(last + 1, l->target.n - (size_t)(last - l->target.p) - 1);
		l->target.n = (size_t)(last - l->target.p);
	}
}

static bool has(struct slice s, const char *what)
{
	return s.n > 0 && memmem(s.p, s.n, what, strlen(what)) != NULL;
}

static bool begins(struct slice s, const char *with)
{
	size_t n = strlen(with);

	return s.n >= n && strncasecmp(s.p, with, n) == 0;
}

static bool ours_says(const struct look *l, const char *why)
{
	return l->ours->level == REFUSED && strcmp(l->ours->why, why) == 0 &&
	       l->theirs->level != REFUSED;
}

static bool theirs_says(const struct look *l, const char *why)
{
	return l->theirs->level == REFUSED && l->theirs->why != NULL && l->ours->level != REFUSED &&
	       strncmp(l->theirs->why, why, strlen(why)) == 0;
}

/* The lines of the head (and of trailers, and of whatever follows), tried one after another. */
static bool any_line(const struct look *l, bool (*is)(struct slice line))
{
	struct slice rest = l->fields;

	while (rest.p != NULL)
		if (is(slice_cut(&rest, '\n')))
			return true;
	return false;
}

/*---------------------------------------- we refuse, llhttp does not */

static bool bare_line_end(const struct look *l)
{
	struct slice s = l->text;
	bool bare = false;

	for (size_t i = 0; i < s.n; i++) {
		bare |= s.p[i] == '\n' && (i == 0 || s.p[i - 1] != '\r');
		bare |= s.p[i] == '\r' && i + 1 < s.n && s.p[i + 1] != '\n';
	}
	return bare && (ours_says(l, "bad_request") || ours_says(l, "bad_chunk"));
}

static bool no_version(const struct look *l)
{
	return ours_says(l, "bad_request") && l->spaces == 1 && l->version.p == NULL;
}

static bool spaces(const struct look *l)
{
	return ours_says(l, "bad_request") && (l->spaces > 2 || has(l->line, "  "));
}

static bool fragment(const struct look *l)
{
	return ours_says(l, "bad_request") && l->spaces == 2 && has(l->target, "#");
}

static bool target_form(const struct look *l)
{
	struct slice t = l->target;

	if (!ours_says(l, "bad_request") || l->spaces != 2 || t.n == 0 || t.p[0] == '/')
		return false;
	return !begins(t, "http://") && !begins(t, "https://");
}

static bool no_authority(const struct look *l)
{
	struct slice t = l->target;

	return ours_says(l, "bad_request") &&
	       ((t.n == 7 && begins(t, "http://")) || (t.n == 8 && begins(t, "https://")));
}

static bool other_protocol(const struct look *l)
{
	return ours_says(l, "bad_request") && l->spaces == 2 && !begins(l->version, "HTTP/");
}

static bool empty_lines(const struct look *l)
{
	return ours_says(l, "bad_request") && l->leading > 8;
}

static bool version(const struct look *l)
{
	return ours_says(l, "bad_version") &&
	       (slice_is(l->version, "HTTP/0.9") || slice_is(l->version, "HTTP/2.0"));
}

static bool host(const struct look *l)
{
	return ours_says(l, "bad_host");
}

static bool connect_method(const struct look *l)
{
	return ours_says(l, "connect_refused") && begins(l->line, "CONNECT ");
}

static bool is_folded(struct slice line)
{
	return line.n > 0 && (line.p[0] == ' ' || line.p[0] == '\t');
}

static bool folding(const struct look *l)
{
	return ours_says(l, "bad_field") && any_line(l, is_folded);
}

static bool is_nameless(struct slice line)
{
	return line.n > 0 && line.p[0] == ':';
}

static bool empty_name(const struct look *l)
{
	return ours_says(l, "bad_field") && any_line(l, is_nameless);
}

static bool coding(const struct look *l)
{
	return ours_says(l, "bad_coding") && has(l->fields, ":");
}

static bool is_coding(struct slice line)
{
	return begins(line, "Transfer-Encoding:");
}

static bool is_length(struct slice line)
{
	return begins(line, "Content-Length:");
}

static bool framing(const struct look *l)
{
	return ours_says(l, "bad_framing") && any_line(l, is_coding);
}

static bool length(const struct look *l)
{
	return ours_says(l, "bad_framing") && any_line(l, is_length);
}

/* A size line of more digits than we take. */
static bool is_long_size(struct slice line)
{
	size_t n = 0;

	while (n < line.n && memchr("0123456789abcdefABCDEF", line.p[n], 22) != NULL)
		n++;
	return n > 15;
}

static bool long_size(const struct look *l)
{
	return ours_says(l, "bad_chunk") && any_line(l, is_long_size);
}

/* An extension that wants a name or a value, or has more than these. */
static bool is_bad_extension(struct slice line)
{
	return memchr(line.p, ';', line.n) != NULL;
}

static bool bad_extension(const struct look *l)
{
	return ours_says(l, "bad_chunk") && any_line(l, is_bad_extension);
}

/*---------------------------------------- llhttp refuses, we do not */

static bool unknown_method(const struct look *l)
{
	return theirs_says(l, "Invalid method encountered") ||
	       theirs_says(l, "Expected space after method");
}

static bool later_version(const struct look *l)
{
	return theirs_says(l, "Invalid HTTP version") && begins(l->version, "HTTP/1.");
}

static bool extension(const struct look *l)
{
	return theirs_says(l, "Invalid character in chunk") && has(l->fields, ";");
}

static bool tab_behind_value(const struct look *l)
{
	return has(l->fields, "\t") && (theirs_says(l, "Invalid character in Content-Length") ||
					theirs_says(l, "Invalid `Transfer-Encoding`") ||
					theirs_says(l, "Request has invalid `Transfer-Encoding`"));
}

static bool unread_trailer(const struct look *l)
{
	return l->theirs->in_body && l->theirs->level == REFUSED && l->ours->level == WHOLE &&
	       has(l->fields, "\r\n0") && (any_line(l, is_coding) || any_line(l, is_length));
}

/*---------------------------------------- both take it, but not as the same */

static bool both_take(const struct look *l)
{
	return l->ours->level == l->theirs->level && l->ours->level >= IN_BODY;
}

static bool upgrade(const struct look *l)
{
	return both_take(l) && l->theirs->upgrade && !l->ours->upgrade;
}

static bool is_connection(struct slice line)
{
	return begins(line, "Connection:") && has(line, "\t");
}

static bool is_proxy_connection(struct slice line)
{
	return begins(line, "Proxy-Connection:");
}

static bool tab_in_connection(const struct look *l)
{
	return both_take(l) && any_line(l, is_connection) &&
	       (l->ours->keep_alive != l->theirs->keep_alive ||
		l->ours->upgrade != l->theirs->upgrade);
}

static bool proxy_connection(const struct look *l)
{
	return both_take(l) && l->ours->keep_alive != l->theirs->keep_alive &&
	       any_line(l, is_proxy_connection);
}

struct kind {
	bool (*is)(const struct look *);
	const char *what, *why;
	unsigned met;
};

static struct kind kinds[] = {
	{ bare_line_end, "we refuse bare CR and LF",
	  "RFC 9112 2.2: a recipient MAY take LF alone; two readers that differ here split "
	  "requests" },
	{ no_version, "we refuse requests without a version",
	  "HTTP/0.9 has no fields, hence no Host and no framing" },
	{ spaces, "we refuse any but two single spaces in a request line",
	  "RFC 9112 3: single SP; leniency is a MAY, and a way to smuggle" },
	{ fragment, "we refuse fragments", "RFC 9112 3.2: a request target has none" },
	{ target_form, "we refuse targets that fit no form",
	  "RFC 9112 3.2: origin, absolute (http, https), and * for OPTIONS only" },
	{ no_authority, "we refuse an absolute target without a host", "RFC 9110 4.2.1" },
	{ other_protocol, "we refuse RTSP and ICE", "they are not HTTP" },
	{ empty_lines, "we take four empty lines before a request",
	  "RFC 9112 2.2: at least one; everything has a bound" },
	{ version, "we refuse HTTP/0.9 and HTTP/2.0 (505)", "their messages are not these" },
	{ host, "we check Host",
	  "RFC 9112 3.2: one, valid, the same as the target's; llhttp leaves it to its user" },
	{ connect_method, "we refuse CONNECT", "a reverse proxy has no use for it" },
	{ folding, "we refuse folded lines", "RFC 9112 5.2: refuse or replace; we refuse" },
	{ empty_name, "we refuse fields without a name",
	  "RFC 9112 5: field-name is a token, of one character at least" },
	{ coding, "we refuse codings but chunked (501)",
	  "RFC 9112 6.1; what cannot be read cannot be passed on" },
	{ framing, "we refuse every doubtful Transfer-Encoding",
	  "RFC 9112 6.1, 6.3: given twice, in HTTP/1.0, chunked twice or not last" },
	{ length, "we refuse every doubtful Content-Length",
	  "RFC 9112 6.3: given twice, empty, over 19 digits" },
	{ long_size, "we refuse chunk sizes of over 15 digits",
	  "RFC 9112 7.1: anticipate large numbers, prevent overflow" },
	{ bad_extension, "we refuse chunk extensions out of grammar",
	  "RFC 9112 7.1.1: a name, and = only before a value" },
	{ unknown_method, "we take any token as a method",
	  "RFC 9110 9.1: methods are open; which are allowed is for the app to say" },
	{ later_version, "we take HTTP/1.2 and later as 1.1", "RFC 9110 2.5" },
	{ extension, "we take all of the grammar of chunk extensions",
	  "RFC 9112 7.1.1: white space, quoted pairs, obs-text; they are dropped" },
	{ tab_behind_value, "we take a tab around values", "RFC 9110 5.6.3: OWS is SP or HTAB" },
	{ unread_trailer, "we drop Content-Length and Transfer-Encoding from trailers unread",
	  "RFC 9110 6.5.1" },
	{ upgrade, "we heed fewer upgrades",
	  "only of GET without a body in HTTP/1.1, and not to another HTTP or TLS" },
	{ tab_in_connection, "we take a tab in the list of Connection", "RFC 9110 5.6.1: OWS" },
	{ proxy_connection, "we do not heed Proxy-Connection",
	  "RFC 9112 C.2.2: it never was standard" },
};

bool kinds_find(struct slice text, const struct outcome *ours, const struct outcome *theirs)
{
	struct look l = { .ours = ours, .theirs = theirs };

	look_init(&l, text);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		if (!kinds[i].is(&l))
			continue;
		kinds[i].met++;
		return true;
	}
	return false;
}

unsigned kinds_print(void)
{
	unsigned unmet = 0;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		printf("%7u  %s (%s)\n", kinds[i].met, kinds[i].what, kinds[i].why);
		unmet += kinds[i].met == 0;
	}
	return unmet;
}
