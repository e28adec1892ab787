/* closed.c - what keeps a location from being let in.
 *
 * A line that is lost and would have refused calls, answered them or changed them on their way, must not leave behind a route
 * that lets them through: such a location is answered with an error until somebody has seen to it. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/addr.h"
#include "nginx-compat/internal.h"
#include "nginx-compat/table.h"

/* Of a location itself; blocks inside do not inherit it. */
static const char *const own_only[] = {
	"return",    "limit_except",   "if",  "fastcgi_pass", "uwsgi_pass", "scgi_pass",
	"grpc_pass", "memcached_pass", "flv", "mp4",          "perl",       "js_content",
	"echo",      "rewrite",        "set", NULL,
};
/* Of a server, for all its locations. */
static const char *const of_server[] = { "return", "if", "set", NULL };
/* They decide nothing by themselves. */
static const char *const harmless[] = { "satisfy", "valid_referers", "secure_link",
					"secure_link_secret", NULL };

static bool is_among(const struct directive *d, const char *const *names)
{
	for (; *names != NULL; names++)
		if (directive_is(d, *names))
			return true;
	return false;
}

static bool is_redirect(const struct directive *d)
{
	const char *code = directive_word(d, 1);

	return d->n == 2 ? code[0] < '0' || code[0] > '9' : true;
}

/* Answers with an error. */
static bool refuses(const struct directive *d)
{
	long code = strtol(directive_word(d, 1), NULL, 10);

	return directive_is(d, "return") && !(is_redirect(d) && d->n == 2) && code >= 400;
}

/* Conditions that redirect or answer some calls only are told, not closed; those that refuse or send elsewhere are. */
static bool if_closes(const struct directive *d)
{
	DIRECTIVE_EACH (line, d) {
		if (refuses(line) || directive_is(line, "deny"))
			return true;
		if (line->n > 0 && line->word[0].n > 5 &&
		    strcmp(line->word[0].p + line->word[0].n - 5, "_pass") == 0)
			return true;
	}
	return false;
}

/* A rewrite that sends the client elsewhere changes no path on the way. */
static bool rewrite_closes(const struct directive *d)
{
	const char *flag = directive_word(d, 3), *to = directive_word(d, 2);

	return strcmp(flag, "redirect") != 0 && strcmp(flag, "permanent") != 0 &&
	       strncmp(to, "http://", 7) != 0 && strncmp(to, "https://", 8) != 0 &&
	       strncmp(to, "$scheme", 7) != 0;
}

static bool is_network(const struct directive *d)
{
	struct cidr cidr;

	return slice_is(d->word[1], "all") || cidr_parse(d->word[1], &cidr);
}

/* Of modules that are not known: what may have kept calls out. */
static bool is_guard(const struct directive *d)
{
	static const char *const begins[] = { "auth_",  "modsecurity", "naxsi",  "secrules",
					      "jwt_",   "oidc_",       "vouch_", "security",
					      "limit_", "waf_" };

	for (size_t i = 0; i < sizeof(begins) / sizeof(begins[0]); i++)
		if (strncasecmp(directive_word(d, 0), begins[i], strlen(begins[i])) == 0)
			return strcasecmp(directive_word(d, 1), "off") != 0;
	return false;
}

/* Of limit_except: networks, and nothing else. */
static bool is_plain_list(const struct directive *d)
{
	DIRECTIVE_EACH (line, d)
		if (!directive_is(line, "include") &&
		    (!(directive_is(line, "allow") || directive_is(line, "deny")) ||
		     !is_network(line)))
			return false;
	return true;
}

static bool closes(struct import *im, struct directive *d)
{
	const char *off =
	    strncmp(directive_word(d, 0), "proxy_pass_request_", 19) == 0 ? "on" : "off";

	if (d->rule == NULL)
		return d->verdict == CLOSES || is_guard(d);
	if (directive_is(d, "set"))
		return set_is_of_call(d);
	if (directive_is(d, "allow") || directive_is(d, "deny"))
		return !is_network(d);
	if (directive_is(d, "limit_except"))
		return !is_plain_list(d);
	if (directive_is(d, "rewrite"))
		return !rewrite_known(im, d) && !rewrite_breaks(d) &&
		       (rewrite_closes(d) || rewrite_takes_all(d));
	if (d->rule->verdict != CLOSES || is_among(d, harmless))
		return false;
	if (directive_is(d, "if"))
		return if_closes(d) && when_return(im, d) == NULL;
	return !(d->n == 2 && strcasecmp(d->word[1].p, off) == 0);
}

/* Rules of allow and deny are one list. */
static const struct directive *nearest(const struct directive *block, const struct directive *d)
{
	const struct directive *found = block_find(block, d->word[0].p), *other = NULL;

	if (directive_is(d, "allow"))
		other = block_find(block, "deny");
	if (directive_is(d, "deny"))
		other = block_find(block, "allow");
	for (; block != NULL; block = block->parent)
		if ((found != NULL && found->parent == block) ||
		    (other != NULL && other->parent == block))
			return block;
	return NULL;
}

static bool holds(const struct directive *block, const struct directive *d)
{
	bool server = directive_is(d->parent, "server");

	if (directive_is(d, "rewrite") && server)
		return rewrite_takes_all(d);
	if (is_among(d, own_only))
		return d->parent == block || (server && is_among(d, of_server));
	return d->rule == NULL || nearest(block, d) == d->parent;
}

struct directive *closed_by(struct import *im, const struct directive *block)
{
	for (const struct directive *b = block; b != NULL; b = b->parent)
		DIRECTIVE_EACH (d, b) {
			if (closes(im, d) && holds(block, d))
				return d;
		}
	return NULL;
}

/* What comes before it may have gone another way. */
static bool is_first(struct import *im, const struct directive *d)
{
	for (struct directive *b = d->parent->first; b != d; b = b->next)
		if ((directive_is(b, "rewrite") && !rewrite_known(im, b)) ||
		    (directive_is(b, "if") && !set_alone(b) && when_return(im, b) == NULL))
			return false;
	return true;
}

static bool has_unknown(struct import *im, const struct directive *server)
{
	DIRECTIVE_EACH (d, server)
		if ((directive_is(d, "rewrite") && !rewrite_known(im, d)) ||
		    (directive_is(d, "if") && !set_alone(d) && when_return(im, d) == NULL))
			return true;
	return false;
}

/* What a server does comes first, for all its locations. */
struct directive *closed_return(struct import *im, const struct directive *block)
{
	const struct directive *server = block;
	struct directive *of_all, *own = block_own(block, "return");

	while (server != NULL && !directive_is(server, "server"))
		server = server->parent;
	of_all = server == NULL ? NULL : block_own(server, "return");
	if (of_all != NULL)
		return is_first(im, of_all) ? of_all : NULL;
	if (own == NULL || !is_first(im, own))
		return NULL;
	return server == NULL || !has_unknown(im, server) || closed_by(im, block) == own ? own
											 : NULL;
}

struct directive *closed_step(const struct directive *block)
{
	DIRECTIVE_EACH (d, block)
		if (directive_is(d, "if") || directive_is(d, "limit_except") ||
		    (directive_is(d, "rewrite") && strcmp(directive_word(d, 3), "break") != 0))
			return d;
	return NULL;
}

struct directive *closed_access(const struct directive *block)
{
	for (; block != NULL; block = block->parent)
		DIRECTIVE_EACH (d, block)
			if (d->rule != NULL &&
			    (directive_is(d, "allow") || directive_is(d, "deny")))
				return d;
	return NULL;
}
