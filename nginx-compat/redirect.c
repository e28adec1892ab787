/* redirect.c - where answers send clients: absolute redirects, proxy_redirect, proxy_cookie_*.
 *
 * nginx compares what an upstream says with a text or a regular expression, and puts another text in its place; the first that
 * fits counts.  What it makes of a path (`return 301 /x`, a Location that was replaced) it tells with scheme, host and port. */
#include <string.h>
#include <strings.h>

#include "nginx-compat/internal.h"

/*-------------------------------------------------------------------- origin */

/* ":8080", ":{server.port}", "" where it is the usual one; NULL: it is now the one, now the other. */
static const char *port_of(struct import *im, const struct site *s)
{
	const char *all = NULL;
	bool usual = false, differ = false;

	for (uint32_t i = 0; i < s->n_listeners; i++) {
		const struct listener *l = &s->listener[i];
		const char *port = strncmp(l->addr, "unix:", 5) == 0 ? NULL : strrchr(l->addr, ':');

		if (!l->chosen)
			continue;
		if (port == NULL || strcmp(port, l->ssl ? ":443" : ":80") == 0) {
			usual = true;
			continue;
		}
		differ |= all != NULL && strcmp(all, port) != 0;
		all = port;
	}
	if (all == NULL)
		return "";
	return usual ? NULL : differ ? ":{server.port}" : text_printf(im, "%s", all);
}

const char *redirect_origin(struct import *im, const struct site *site,
			    const struct directive *block)
{
	static const char *const names[] = { "absolute_redirect", "port_in_redirect",
					     "server_name_in_redirect" };
	const char *port = "", *host = "{host}";

	for (size_t i = 0; i < 3; i++) {
		struct directive *d = block_find(block, names[i]);

		if (d != NULL)
			judge(im, d, EXACT, NULL);
	}
	if (!block_is_on(block, "absolute_redirect", true))
		return "";
	if (block_is_on(block, "port_in_redirect", true))
		port = port_of(im, site);
	if (block_is_on(block, "server_name_in_redirect", false) && *site->first_name != '\0')
		host = site->first_name;
	return port == NULL ? NULL : text_printf(im, "{scheme}://%s%s", host, port);
}

/* Whether a text is a path whatever the call is. */
static bool is_path(const char *text)
{
	return *text == '/' || strncmp(text, "{uri}", 5) == 0 || strncmp(text, "{path}", 6) == 0;
}

const char *redirect_absolute(struct import *im, const struct site *site,
			      const struct directive *block, const char *text, bool *same)
{
	const char *origin;

	*same = *text != '{' || is_path(text) || strncmp(text, "{scheme}", 8) == 0;
	if (!is_path(text))
		return text;
	origin = redirect_origin(im, site, block);
	*same = origin != NULL;
	return origin == NULL ? text : text_printf(im, "%s%s", origin, text);
}

/*-------------------------------------------------------------------- pieces */

/* One of the lines, cut into what it compares and what it says in its place. */
struct swap {
	const char *find; /* quoted, or a regular expression */
	bool regex, caseless;
	const char *with; /* as Weir has it; NULL: it cannot be said */
};

static bool has_variable(struct slice s)
{
	return memchr(s.p, '$', s.n) != NULL;
}

static bool read_swap(struct import *im, const struct site *site, const struct directive *block,
		      struct directive *d, struct swap *s)
{
	struct slice find = d->word[1];

	*s = (struct swap){ .regex = find.n > 0 && find.p[0] == '~' };
	if (s->regex) {
		s->caseless = find.n > 1 && find.p[1] == '*';
		s->find = find.p + (s->caseless ? 2 : 1);
	} else {
		s->find = text_quoted(im, find.p);
	}
	s->with = variable_phrase(im, site, block, d->word[2].p, s->regex);
	if (s->with != NULL && !s->regex && strstr(s->with, "{match.") != NULL)
		s->with = NULL; /* groups of the location: here they are others */
	if (s->with != NULL && (s->regex || !has_variable(find)))
		return true;
	judge(im, d, LOST, "`%s` is not known beforehand",
	      s->with == NULL ? d->word[2].p : d->word[1].p);
	return false;
}

static void put_replace(struct import *im, struct buf *b, const char *field, const char *pattern,
			const char *with, const struct directive *d)
{
	buf_printf(b, "      - { replace: { %s: { pattern: %s, with: %s } } }", field,
		   text_yaml(im, pattern), text_yaml(im, with));
	text_end(im, b, d);
}

/* The groups that stand before those of a regular expression are counted, too. */
static const char *shifted(struct import *im, const char *with, unsigned by)
{
	struct buf b = { 0 };

	for (const char *c = with; *c != '\0'; c++) {
		buf_putc(&b, *c);
		if (strncmp(c, "{match.", 7) != 0 || c[7] < '1' || c[7] > '9' || c[8] != '}')
			continue;
		buf_printf(&b, "match.%u", (unsigned)(c[7] - '0') + by);
		c += 7;
	}
	return b.n == 0 ? "" : text_buf(im, &b);
}

/*-------------------------------------------------------------- proxy_redirect */

static void put_both(struct import *im, struct buf *b, const struct directive *d,
		     const char *location, const char *with, const char *refresh, const char *then)
{
	buf_printf(b, "      - { replace: { location: { pattern: %s, with: %s }, ",
		   text_yaml(im, location), text_yaml(im, with));
	buf_printf(b, "refresh: { pattern: %s, with: %s } } }", text_yaml(im, refresh),
		   text_yaml(im, then));
	text_end(im, b, d);
}

/* Location and Refresh: "5; url=http://...". */
static void put_redirect(struct import *im, const struct site *site, const struct directive *block,
			 const struct swap *s, const struct directive *d, struct buf *b)
{
	const char *sign = s->caseless ? "~*" : "~", *find = s->find, *lead = ".*?";
	bool same;
	const char *whole = redirect_absolute(im, site, block, s->with, &same);

	if (*find == '^' && strchr(find, '|') == NULL) { /* of Refresh the URL begins elsewhere */
		find++;
		lead = "";
	}
	put_both(im, b, d,
		 s->regex ? text_printf(im, "%s (?s)^.*?(?:%s).*$", sign, s->find)
			  : text_printf(im, "~ ^%s", s->find),
		 whole,
		 s->regex ? text_printf(im, "%s (?s)^(.*?(?i:url=))%s(?:%s).*$", sign, lead, find)
			  : text_printf(im, "~ ^(.*?(?i:url=))%s", s->find),
		 text_printf(im, "{match.1}%s", s->regex ? shifted(im, s->with, 1) : s->with));
}

/* What `default` means: the address that proxy_pass names is the place where the location is. */
static void put_default(struct import *im, const struct site *site, const struct spot *spot,
			const struct target *t, const struct directive *pass,
			const struct directive *block, struct directive *d, struct buf *b)
{
	struct slice url = pass->word[1];
	struct swap s = { .with = "/" };

	if (has_variable(url))
		return;
	s.find = text_printf(im, "%s%s", text_quoted(im, url.p), *t->uri == '\0' ? "/" : "");
	if (*t->uri != '\0')
		s.with = variable_phrase(im, site, block,
					 text_printf(im, "%.*s", SLICE_FMT(spot->path)), false);
	if (s.with != NULL && strstr(s.with, "{match.") == NULL)
		put_redirect(im, site, block, &s, d != NULL ? d : pass, b);
}

/* A path that was put there would be found by one that looks for paths. */
static bool is_ambiguous(const struct directive *first, const struct directive *d)
{
	bool paths = false;

	for (; first != d; first = block_next(first))
		paths |= first->n < 3 || first->word[2].p[0] == '/';
	return paths && d->n == 3 && (d->word[1].p[0] == '/' || d->word[1].p[0] == '~');
}

void redirects_write(struct import *im, const struct site *site, const struct directive *block,
		     const struct directive *pass, const struct spot *spot, const struct target *t,
		     struct buf *b)
{
	struct directive *first = block_find(block, "proxy_redirect");
	struct swap s;

	if (first == NULL)
		put_default(im, site, spot, t, pass, block, NULL, b);
	for (struct directive *d = first; d != NULL; d = block_next(d)) {
		if (slice_is(d->word[1], "off") && d->n == 2)
			return;
		if (d != first && is_ambiguous(first, d)) {
			judge(im, d, LOST, "what the lines before it make would be changed again");
		} else if (d->n == 2) {
			judge(im, d, EXACT, NULL);
			put_default(im, site, spot, t, pass, block, d, b);
		} else if (read_swap(im, site, block, d, &s)) {
			judge(im, d, EXACT, NULL);
			put_redirect(im, site, block, &s, d, b);
		}
	}
}

/*--------------------------------------------------------------------- cookies */

/* Up to the value of an attribute; its case is of no meaning, nor is space around it. */
static const char attribute[] = "^([^;]*;(?:.*;)?[ \\t]*(?i:%s)[ \\t]*=[ \\t]*%s)";

/* A regular expression that finds the same and stays within the value, which ends with a `;`; NULL: it cannot be told. */
static const char *within(struct import *im, const char *find)
{
	struct buf b = { 0 };
	bool ok = true;

	for (const char *c = find; *c != '\0'; c++) {
		if (*c == '\\' && c[1] != '\0') {
			ok = ok && strchr("SDWbBAzZKEQRXC123456789", c[1]) == NULL;
			buf_printf(&b, "\\%c", *++c);
		} else if (*c == '[') {
			buf_puts(&b, c[1] == '^' ? "[^;" : "[");
			c += c[1] == '^' ? 1 : 0;
			ok = ok && c[1] != ']';
			while (c[1] != ']' && c[1] != '\0')
				buf_putc(&b, *++c);
		} else {
			buf_puts(&b, *c == '.'   ? "[^;]"
				     : *c == '$' ? "(?=;|$)"
				     : *c == '^' ? "(?<==)"
						 : (char[]){ *c, '\0' });
		}
	}
	if (ok)
		return text_buf(im, &b);
	buf_fini(&b);
	return NULL;
}

static void put_cookie(struct import *im, const struct swap *s, const char *key,
		       struct directive *d, struct buf *b)
{
	bool path = strcmp(key, "path") == 0;
	const char *before = text_printf(im, attribute, key, path || s->regex ? "" : "\\.?");
	const char *find = s->regex ? within(im, s->find) : s->find;

	if (find == NULL) {
		judge(im, d, LOST, "its regular expression may find more than the value");
		return;
	}
	judge(im, d, EXACT, NULL);
	if (s->regex)
		put_replace(im, b, "set-cookie",
			    text_printf(im, "~ %s%s[^;]*?(?:%s)[^;]*", before,
					s->caseless || !path ? "(?i)" : "", find),
			    text_printf(im, "{match.1}%s", shifted(im, s->with, 1)), d);
	else
		put_replace(im, b, "set-cookie",
			    path ? text_printf(im, "~ %s%s", before, find)
				 : text_printf(im, "~ %s(?i:%s)[ \\t]*(?=;|$)", before,
					       find + (strncmp(find, "\\.", 2) == 0 ? 2 : 0)),
			    text_printf(im, "{match.1}%s", s->with), d);
}

static const char *without_dot(const char *find)
{
	return strncmp(find, "\\.", 2) == 0 ? find + 2 : find;
}

/* What a line before it makes is nothing that this one would find: nginx goes by the first that finds something. */
static bool is_found_first(struct import *im, const struct site *site,
			   const struct directive *block, struct directive *first,
			   const struct directive *d, const struct swap *s, bool path)
{
	for (; first != d; first = block_next(first)) {
		struct swap p;
		const char *made;
		size_t n;

		if (first->n != 3 || !read_swap(im, site, block, first, &p) || p.regex ||
		    s->regex || strchr(p.with, '{') != NULL)
			return false;
		made = text_quoted(im, p.with);
		n = strlen(made) < strlen(s->find) ? strlen(made) : strlen(s->find);
		if (path ? strncmp(made, s->find, n) == 0
			 : strcasecmp(without_dot(made), without_dot(s->find)) == 0)
			return false;
	}
	return true;
}

static void put_cookies(struct import *im, const struct site *site, const struct directive *block,
			const char *name, const char *key, struct buf *b)
{
	struct directive *first = block_find(block, name);
	struct swap s;

	for (struct directive *d = first; d != NULL; d = block_next(d)) {
		if (d->n != 3 || !read_swap(im, site, block, d, &s))
			continue;
		if (!is_found_first(im, site, block, first, d, &s, strcmp(key, "path") == 0))
			judge(im, d, LOST, "what the lines before it make might be changed again");
		else
			put_cookie(im, &s, key, d, b);
	}
}

/* "secure" sets one, "nosecure" takes it away. */
struct cookie_flag {
	const char *word, *name, *text;
};

static const struct cookie_flag cookie_flags[] = {
	{ "secure", "secure", "; Secure" },
	{ "httponly", "httponly", "; HttpOnly" },
	{ "samesite=strict", "samesite", "; SameSite=Strict" },
	{ "samesite=lax", "samesite", "; SameSite=Lax" },
	{ "samesite=none", "samesite", "; SameSite=None" },
	{ "nosecure", "secure", NULL },
	{ "nohttponly", "httponly", NULL },
	{ "nosamesite", "samesite", NULL },
};

static const struct cookie_flag *find_flag(struct slice word)
{
	for (size_t i = 0; i < sizeof(cookie_flags) / sizeof(cookie_flags[0]); i++)
		if (strcasecmp(word.p, cookie_flags[i].word) == 0)
			return &cookie_flags[i];
	return NULL;
}

/* nginx has one of each: what is there already stays in its place. */
static void put_flag(struct import *im, const struct cookie_flag *f, const char *cookie,
		     const struct directive *d, struct buf *b)
{
	const char *there = text_printf(im, ";[ \\t]*(?i:%s)[ \\t]*(?:=[^;]*)?(?=;|$)", f->name);

	if (f->text == NULL || strcmp(f->name, "samesite") == 0)
		put_replace(im, b, "set-cookie", text_printf(im, "~ ^(%s=.*?)%s", cookie, there),
			    text_printf(im, "{match.1}%s", f->text == NULL ? "" : f->text), d);
	if (f->text != NULL)
		put_replace(im, b, "set-cookie",
			    text_printf(im, "~ ^(?!.*%s)(%s=.*)$", there, cookie),
			    text_printf(im, "{match.1}%s", f->text), d);
}

static void put_flags(struct import *im, const struct directive *block, struct buf *b)
{
	struct directive *first = block_find(block, "proxy_cookie_flags");
	const char *others = ""; /* the first line that fits counts */

	for (struct directive *d = first; d != NULL; d = block_next(d)) {
		struct slice name = d->word[1];
		bool any = slice_is(name, "~"), ok = any || (name.n > 0 && name.p[0] != '~');
		const char *cookie = any ? "[^=;]*" : text_quoted(im, name.p);

		if (d->n == 2)
			continue;
		for (uint32_t i = 2; i < d->n; i++)
			ok = ok && find_flag(d->word[i]) != NULL;
		if (!ok || has_variable(name)) {
			judge(im, d, LOST, "a cookie has a name, and flags that are known");
			continue;
		}
		judge(im, d, EXACT, NULL);
		for (uint32_t i = 2; i < d->n; i++)
			put_flag(im, find_flag(d->word[i]),
				 text_printf(im, "%s(?i:%s)", others, cookie), d, b);
		others = text_printf(im, "%s(?!(?i:%s)=)", others, cookie);
	}
}

void cookies_write(struct import *im, const struct site *site, const struct directive *block,
		   struct buf *b)
{
	put_cookies(im, site, block, "proxy_cookie_domain", "domain", b);
	put_cookies(im, site, block, "proxy_cookie_path", "path", b);
	put_flags(im, block, b);
}
