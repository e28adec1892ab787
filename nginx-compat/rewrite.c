/* rewrite.c - rewrites that send a call elsewhere, each a route of its own before that of its location.
 *
 *   rewrite RE http://x/$1;     a redirect, as are those with `redirect` and `permanent`
 *   rewrite RE /x/$1 last;      the routes are asked again (reroute); without a flag, where nothing comes behind it
 *
 * The query stays unless the replacement ends with `?`, and comes behind what it has of its own.  A change of the path with
 * `break` is the upstream's alone: cluster.c. */
#include <string.h>

#include "nginx-compat/internal.h"

static bool is_url(const char *to)
{
	return strncmp(to, "http://", 7) == 0 || strncmp(to, "https://", 8) == 0 ||
	       strncmp(to, "$scheme", 7) == 0;
}

static bool is_step(const struct directive *d)
{
	static const char *const steps[] = { "rewrite", "if", "return", "set", "break" };

	for (size_t i = 0; i < sizeof(steps) / sizeof(steps[0]); i++)
		if (directive_is(d, steps[i]))
			return true;
	return false;
}

static bool is_last(const struct directive *d)
{
	for (d = d->next; d != NULL; d = d->next)
		if (is_step(d))
			return false;
	return true;
}

/* In a location, with the flag or with the directive right behind it. */
bool rewrite_breaks(const struct directive *d)
{
	const struct directive *next = d->next;

	if (!directive_is(d->parent, "location"))
		return false;
	while (next != NULL && !is_step(next))
		next = next->next;
	return strcmp(directive_word(d, 3), "break") == 0 ||
	       (d->n == 3 && !is_url(directive_word(d, 2)) && next != NULL &&
		directive_is(next, "break"));
}

static void take_break(struct import *im, const struct directive *d)
{
	for (struct directive *next = d->next; next != NULL; next = next->next)
		if (directive_is(next, "break"))
			judge(im, next, EXACT, NULL);
}

/* 301, 302; 0: the routes are asked again; 1: it is another kind. */
static unsigned kind_of(const struct directive *d)
{
	const char *flag = directive_word(d, 3);
	bool server = directive_is(d->parent, "server");

	if (rewrite_breaks(d))
		return 1;
	if (strcmp(flag, "permanent") == 0)
		return 301;
	if (strcmp(flag, "redirect") == 0 || is_url(directive_word(d, 2)))
		return 302;
	if (strcmp(flag, "last") == 0 || (server && strcmp(flag, "break") == 0))
		return 0;
	/* behind a block around it, other steps may come */
	return *flag == '\0' && is_last(d) && !directive_is(d->parent, "if") ? 0 : 1;
}

/* What stands for the path, and for the query; *query NULL: as it came.  False: it cannot be said. */
static bool split(struct import *im, const struct site *site, struct directive *d, bool redirect,
		  const char **path, const char **query)
{
	const char *all = variable_phrase(im, site, d->parent, d->word[2].p, true), *mark;
	size_t n;

	if (all == NULL)
		return false;
	mark = strchr(all, '?');
	n = strlen(all);
	*query = NULL;
	*path = mark == NULL ? all : text_printf(im, "%.*s", (int)(mark - all), all);
	if (mark != NULL && all[n - 1] == '?')
		*query = mark == &all[n - 1]
			     ? ""
			     : text_printf(im, "%.*s", (int)(&all[n - 1] - mark) - 1, mark + 1);
	else if (mark != NULL)
		*query = text_printf(im, "%s&{query}", mark + 1);
	return strpbrk(all, "# ") == NULL && (redirect || (*path)[0] == '/');
}

bool rewrite_known(struct import *im, struct directive *d)
{
	static const struct site nobody = { .first_name = "" };
	unsigned kind = kind_of(d);
	const char *path, *query;

	return kind != 1 && d->n >= 3 && split(im, &nobody, d, kind != 0, &path, &query);
}

bool rewrite_break(struct import *im, const struct directive *block, struct directive **out,
		   const char **path, const char **query, const char **why)
{
	static const struct site nobody = { .first_name = "" };
	struct directive *d = block_own(block, "rewrite");

	*out = NULL;
	for (; d != NULL; d = block_next(d)) {
		bool breaks = rewrite_breaks(d);

		if (breaks && *out == NULL && (is_last(d) || d->n == 3) &&
		    split(im, &nobody, d, false, path, query))
			*out = d;
		else if (breaks || !rewrite_known(im, d))
			*why = "of `rewrite`, one with `break` is known, as the last step";
	}
	if (*out != NULL && (*out)->n == 3)
		take_break(im, *out);
	return *out != NULL && *why == NULL;
}

bool rewrite_takes_all(const struct directive *d)
{
	static const char *const all[] = { "^",  "^(.*)$", "^(.*)", "^.*$", "^.*",     "(.*)", ".*",
					   "^/", "^/(.*)", "/",     "^/.*", "^/(.*)$", "^/.*$" };
	static const char *const rest[] = { "", "(.*)", "(.*)$", ".*", ".*$" };
	const char *find = directive_word(d, 1);
	const struct directive *block = d->parent;
	struct slice path = block->word[block->n - 1];

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (strcmp(find, all[i]) == 0)
			return true;
	if (!directive_is(block, "location") || block->n > 3 || path.p[0] != '/' || *find != '^' ||
	    strncmp(find + 1, path.p, path.n) != 0)
		return false;
	for (size_t i = 0; i < sizeof(rest) / sizeof(rest[0]); i++)
		if (strcmp(find + 1 + path.n, rest[i]) == 0)
			return true;
	return false;
}

/* The query of the Location; `asked`: the call has one. */
static const char *query_of(struct import *im, const char *own, bool asked)
{
	static const char end[] = "&{query}";
	size_t n = own == NULL ? 0 : strlen(own), tail = sizeof(end) - 1;

	if (own == NULL)
		return asked ? "{query}" : "";
	if (asked || n < tail || strcmp(own + n - tail, end) != 0)
		return own;
	return text_printf(im, "%.*s", (int)(n - tail), own);
}

static const char *redirect_text(struct import *im, const struct site *site, struct directive *d,
				 unsigned status, bool asked)
{
	const char *to, *own;
	struct buf b = { 0 };
	bool same;

	(void)split(im, site, d, true, &to, &own);
	own = query_of(im, own, asked);
	if (strncmp(to, "{match.1}", 9) == 0 && strncmp(d->word[1].p, "^(", 2) == 0 &&
	    d->word[1].p[2] != '?' && redirect_origin(im, site, d->parent) != NULL) {
		same = true; /* what is found begins where the path does */
		to = text_printf(im, "%s%s", redirect_origin(im, site, d->parent), to);
	} else {
		to = redirect_absolute(im, site, d->parent, to, &same);
	}
	if (!same)
		judge(im, d, ADAPTED, "a Location that is a path stays one");
	buf_printf(&b, "    respond: { status: %u, location: %s }", status,
		   text_yaml(im, text_printf(im, "%s%s%s", to, *own == '\0' ? "" : "?", own)));
	text_end(im, &b, d);
	answer_fields(im, site, d->parent, NULL, &b);
	return text_buf(im, &b);
}

void rewrite_write(struct import *im, const struct site *site, struct directive *d,
		   void (*put)(void *, const char *find, const char *more, const char *rest),
		   void *user)
{
	const char *find = text_printf(im, "~ %s", d->word[1].p), *path, *query;
	unsigned kind = kind_of(d);
	struct buf b = { 0 };

	judge(im, d, EXACT, NULL);
	(void)split(im, site, d, kind != 0, &path, &query);
	if (kind == 0) {
		buf_printf(&b, "    reroute: { path: %s", text_yaml(im, path));
		if (query != NULL)
			buf_printf(&b, ", query: %s", text_yaml(im, query));
		buf_puts(&b, " }");
		text_end(im, &b, d);
		put(user, find, NULL, text_buf(im, &b));
		return;
	}
	if (query == NULL || query_of(im, query, false) != query)
		put(user, find, "query: \"*\"", redirect_text(im, site, d, kind, true));
	put(user, find, NULL, redirect_text(im, site, d, kind, false));
}
