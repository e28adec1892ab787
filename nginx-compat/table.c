/* table.c - finding rows, and holding directives against them. */
#include "nginx-compat/table.h"

#include <stdlib.h>
#include <string.h>

#include "conf/suggest.h"

#define D(name_, contexts_, takes_, verdict_, why_, since_) \
	{ .name = name_,                                    \
	  .contexts = contexts_,                            \
	  .takes = takes_,                                  \
	  .verdict = verdict_,                              \
	  .why = why_,                                      \
	  .since = since_ },
static const struct directive_rule rules[] = {
#include "nginx-compat/directives_core.def"
#include "nginx-compat/directives_http.def"
#include "nginx-compat/directives_other.def"
#include "nginx-compat/directives_proxy.def"
};
#undef D

enum { RULES = sizeof(rules) / sizeof(rules[0]) };

struct checking {
	struct tree *tree;
	const char *version;
	bool whole; /* as nginx: what is not known is wrong */
};

/*----------------------------------------------------------------- versions */

/* "1.25.1" as 1025001. */
static unsigned version_number(const char *text)
{
	unsigned n = 0;

	for (int i = 0; i < 3; i++) {
		char *end;

		n = n * 1000 + (unsigned)strtoul(text, &end, 10) % 1000;
		text = *end == '.' ? end + 1 : end;
	}
	return n;
}

static bool is_there(const struct checking *k, const struct directive_rule *r)
{
	return r->since == NULL || k->version == NULL ||
	       version_number(r->since) <= version_number(k->version);
}

/*--------------------------------------------------------------------- rows */

/* Of several rows of a name, the one that may stand in this context; else any; NULL: there is none. */
static const struct directive_rule *find(const struct checking *k, struct slice name, char context)
{
	const struct directive_rule *any = NULL;

	for (int i = 0; i < RULES; i++) {
		if (!slice_is(name, rules[i].name) || !is_there(k, &rules[i]))
			continue;
		any = &rules[i];
		if (strchr(any->contexts, context) != NULL)
			break;
	}
	return any;
}

static bool fits(const struct directive_rule *r, char context)
{
	return strchr(r->contexts, context) != NULL;
}

static const char *nearest(const struct checking *k, struct slice name)
{
	struct suggest s;

	suggest_begin(&s, name);
	for (int i = 0; i < RULES; i++)
		if (is_there(k, &rules[i]))
			suggest_offer(&s, rules[i].name);
	return s.best;
}

/*----------------------------------------------------------------- contexts */

struct opening {
	const char *name;
	char in, inside;
};

static const struct opening openings[] = {
	{ "events", 'm', 'e' },   { "http", 'm', 'h' },     { "server", 'h', 's' },
	{ "upstream", 'h', 'u' }, { "location", 's', 'l' }, { "location", 'l', 'l' },
	{ "if", 's', 'i' },       { "if", 'l', 'j' },       { "limit_except", 'l', 'x' },
};

static char inside(const struct directive *d, char context)
{
	for (size_t i = 0; i < sizeof(openings) / sizeof(openings[0]); i++)
		if (openings[i].in == context && directive_is(d, openings[i].name))
			return openings[i].inside;
	return '=';
}

/*---------------------------------------------------------------- arguments */

/* "2", "1-3", "1,3", "1+", "*"; what follows a space is not of it. */
static bool takes(const char *t, uint32_t n)
{
	while (*t != '\0' && *t != ' ') {
		char *end;
		unsigned long from = strtoul(t, &end, 10), to = from;

		if (*t == '*')
			return true;
		if (*end == '+')
			return n >= from;
		if (*end == '-')
			to = strtoul(end + 1, &end, 10);
		if (n >= from && n <= to)
			return true;
		t = *end == ',' ? end + 1 : end;
	}
	return false;
}

static bool check_flag(struct checking *k, const struct directive *d)
{
	const char *value = directive_word(d, 1);

	if (strcasecmp(value, "on") == 0 || strcasecmp(value, "off") == 0)
		return true;
	return tree_wrong(k->tree, d->file, d->end_line,
			  "invalid value \"%s\" in \"%s\" directive, it must be \"on\" or \"off\"",
			  value, d->word[0].p);
}

static bool check_words(struct checking *k, const struct directive *d)
{
	bool flag = strcmp(d->rule->takes, "flag") == 0;

	if (flag ? d->n != 2 : !takes(d->rule->takes, d->n - 1))
		return tree_wrong(k->tree, d->file, d->end_line,
				  "invalid number of arguments in \"%s\" directive", d->word[0].p);
	return !flag || check_flag(k, d);
}

static bool check_form(struct checking *k, const struct directive *d)
{
	bool block = strchr(d->rule->takes, '{') != NULL;

	if (block == d->block)
		return check_words(k, d);
	return tree_wrong(k->tree, d->file, d->end_line,
			  block ? "directive \"%s\" has no opening \"{\""
				: "directive \"%s\" is not terminated by \";\"",
			  d->word[0].p);
}

/*--------------------------------------------------------------- directives */

static bool is_lua(struct slice name)
{
	static const struct slice by = SLICE("_by_lua"), lua = SLICE("lua_");

	return slice_starts(name, lua) || memmem(name.p, name.n, by.p, by.n) != NULL;
}

static void judge_unknown(struct checking *k, struct directive *d)
{
	const char *near;

	d->verdict = UNKNOWN;
	if (is_lua(d->word[0])) {
		d->verdict = CLOSES;
		d->why = "Weir runs no scripts";
		return;
	}
	near = nearest(k, d->word[0]);
	if (near != NULL && strcmp(near, d->word[0].p) != 0)
		d->why = arena_printf(k->tree->arena, "did you mean `%s`?", near);
}

/* Beside flags: what may stand once in a block. */
static const char *const once[] = {
	"pid",
	"lock_file",
	"worker_processes",
	"timer_resolution",
	"user",
	"worker_priority",
	"worker_rlimit_nofile",
	"worker_rlimit_core",
	"worker_shutdown_timeout",
	"working_directory",
	"worker_cpu_affinity",
	"events",
	"http",
	"worker_connections",
	"use",
	"accept_mutex_delay",
	"client_header_timeout",
	"client_header_buffer_size",
	"client_max_body_size",
	"client_body_timeout",
	"client_body_buffer_size",
	"large_client_header_buffers",
	"keepalive_timeout",
	"keepalive_requests",
	"send_timeout",
	"default_type",
	"server_tokens",
	"root",
	"alias",
	"satisfy",
	"resolver",
	"resolver_timeout",
	"proxy_pass",
	"proxy_connect_timeout",
	"proxy_send_timeout",
	"proxy_read_timeout",
	"proxy_http_version",
	"proxy_next_upstream_tries",
	"proxy_next_upstream_timeout",
	"proxy_buffers",
	"proxy_buffer_size",
	"limit_req_status",
	"limit_conn_status",
	"limit_req_log_level",
	"limit_conn_log_level",
	"real_ip_header",
	"ssl_ciphers",
	"keepalive",
};

static bool is_once(const struct directive *d)
{
	if (strcmp(d->rule->takes, "flag") == 0)
		return true;
	for (size_t i = 0; i < sizeof(once) / sizeof(once[0]); i++)
		if (directive_is(d, once[i]))
			return true;
	return false;
}

static bool check_once(const struct checking *k, const struct directive *d)
{
	if (!is_once(d))
		return true;
	for (const struct directive *before = d->parent->first; before != d; before = before->next)
		if (slice_eq(before->word[0], d->word[0]))
			return tree_wrong(k->tree, d->file, d->end_line,
					  "\"%s\" directive is duplicate", d->word[0].p);
	return true;
}

static bool check_list(struct checking *, struct directive *parent);

static bool check_one(struct checking *k, struct directive *d, char context)
{
	d->rule = find(k, d->word[0], context);
	if (d->rule == NULL && k->whole)
		return tree_wrong(k->tree, d->file, d->end_line, "unknown directive \"%s\"",
				  d->word[0].p);
	if (d->rule == NULL) {
		judge_unknown(k, d);
		return true;
	}
	if (!fits(d->rule, context))
		return tree_wrong(k->tree, d->file, d->end_line,
				  "\"%s\" directive is not allowed here", d->word[0].p);
	if (!check_form(k, d) || !check_once(k, d))
		return false;
	if (d->block)
		d->context = inside(d, context);
	return d->context == '\0' || d->context == '=' || check_list(k, d);
}

static bool check_list(struct checking *k, struct directive *parent)
{
	DIRECTIVE_EACH (d, parent)
		if (!check_one(k, d, parent->context))
			return false;
	return true;
}

/*---------------------------------------------------------------- fragments */

/* Whether everything that is known of the top may stand in a context. */
static bool all_fit(const struct checking *k, const struct directive *root, char context)
{
	DIRECTIVE_EACH (d, root) {
		const struct directive_rule *r = find(k, d->word[0], context);

		if (r != NULL && !fits(r, context))
			return false;
	}
	return true;
}

static char context_of(const struct checking *k)
{
	for (const char *c = "mhslu"; *c != '\0'; c++)
		if (all_fit(k, &k->tree->root, *c))
			return *c;
	return 'm';
}

static struct directive *wrap(struct tree *t, const char *name, const char *word)
{
	struct directive inner = t->root, *d;

	t->root.first = NULL;
	t->root.tail = &t->root.first;
	d = tree_add(t, &t->root, word == NULL ? 1 : 2);
	if (d == NULL)
		return NULL;
	d->file = t->name;
	d->block = true;
	d->word[0] = slice_str(name);
	if (word != NULL)
		d->word[1] = slice_str(word);
	d->first = inner.first;
	if (inner.first != NULL)
		d->tail = inner.tail;
	DIRECTIVE_EACH (child, d)
		child->parent = d;
	return d;
}

struct wrapping {
	char context;
	const char *name, *word;
};

/* From the inside out. */
static const struct wrapping wrappings[] = {
	{ 'u', "upstream", "fragment" },
	{ 'l', "location", "/" },
	{ 's', "server", NULL },
	{ 'h', "http", NULL },
};

static bool wrap_fragment(struct tree *t, char context)
{
	for (size_t i = 0; i < sizeof(wrappings) / sizeof(wrappings[0]); i++) {
		const struct wrapping *w = &wrappings[i];

		if (w->context != context)
			continue;
		if (wrap(t, w->name, w->word) == NULL)
			return false;
		context = w->context == 'l' ? 's' : w->context == 'h' ? 'm' : 'h';
	}
	return true;
}

/* The first name that no module would have: what is left of a word that `{` has cut in two, say. */
static const struct directive *odd_name(const struct directive *parent)
{
	static const char letters[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";

	DIRECTIVE_EACH (d, parent) {
		const struct directive *odd;

		if (d->verdict == UNKNOWN && d->word[0].p[strspn(d->word[0].p, letters)] != '\0')
			return d;
		odd = odd_name(d);
		if (odd != NULL)
			return odd;
	}
	return NULL;
}

static bool has_events(const struct tree *t)
{
	DIRECTIVE_EACH (d, &t->root)
		if (directive_is(d, "events"))
			return true;
	return false;
}

bool table_check_whole(struct tree *t, const char *version)
{
	struct checking k = { .tree = t, .version = version, .whole = true };
	const char *syntax = t->wrong;

	t->wrong = NULL; /* as below */
	t->root.context = 'm';
	if (!check_list(&k, &t->root))
		return false;
	t->wrong = syntax;
	if (syntax == NULL && !has_events(t))
		tree_wrong(t, NULL, 0, "no \"events\" section in configuration");
	return t->wrong == NULL;
}

const struct directive_rule *table_find(const char *name)
{
	for (int i = 0; i < RULES; i++)
		if (strcmp(rules[i].name, name) == 0)
			return &rules[i];
	return NULL;
}

bool table_check(struct tree *t, const char *version)
{
	struct checking k = { .tree = t, .version = version };
	const char *syntax = t->wrong;
	const struct directive *odd;

	t->wrong = NULL; /* nginx would have met what is wrong before it first */
	if (!wrap_fragment(t, context_of(&k)))
		return false;
	t->root.context = 'm';
	if (!check_list(&k, &t->root))
		return false;
	odd = odd_name(&t->root);
	if (odd != NULL)
		return tree_wrong(t, odd->file, odd->end_line, "unknown directive \"%s\"",
				  odd->word[0].p);
	t->wrong = syntax;
	return syntax == NULL;
}
