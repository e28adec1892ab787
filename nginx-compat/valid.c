/* valid.c - what nginx would refuse of the values of directives, in its words, whether or not they come to anything here.
 *
 * The table knows where a directive may stand and how many words it takes; here is what the words may be, and what may stand
 * only once. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "core/pattern.h"
#include "nginx-compat/internal.h"
#include "nginx-compat/table.h"

enum { ZONE_LEAST = 32768 };

struct validity {
	const char *name;
	bool (*check)(struct tree *, struct directive *);
};

static bool wrong(struct tree *t, const struct directive *d, const char *fmt, struct slice word)
{
	char text[512];

	snprintf(text, sizeof(text), "%.*s", SLICE_FMT(word));
	return tree_wrong(t, d->file, d->end_line, fmt, text);
}

/*----------------------------------------------------------------- once */

static const char *const once[] = {
	"client_body_timeout",
	"client_header_timeout",
	"client_max_body_size",
	"default_type",
	"expires",
	"ignore_invalid_headers",
	"internal",
	"keepalive",
	"keepalive_requests",
	"keepalive_timeout",
	"limit_conn_dry_run",
	"limit_conn_log_level",
	"limit_conn_status",
	"limit_req_dry_run",
	"limit_req_log_level",
	"limit_req_status",
	"merge_slashes",
	"proxy_buffering",
	"proxy_connect_timeout",
	"proxy_http_version",
	"proxy_intercept_errors",
	"proxy_method",
	"proxy_next_upstream_timeout",
	"proxy_next_upstream_tries",
	"proxy_pass",
	"proxy_pass_request_body",
	"proxy_pass_request_headers",
	"proxy_read_timeout",
	"proxy_request_buffering",
	"proxy_send_timeout",
	"proxy_ssl_name",
	"proxy_ssl_server_name",
	"proxy_ssl_verify",
	"real_ip_header",
	"real_ip_recursive",
	"root",
	"satisfy",
	"send_timeout",
	"server_tokens",
	"ssl_ciphers",
	"ssl_verify_client",
	"underscores_in_headers",
	"worker_connections",
	"worker_processes",
};

static bool is_once(const struct directive *d)
{
	for (size_t i = 0; i < sizeof(once) / sizeof(once[0]); i++)
		if (directive_is(d, once[i]))
			return true;
	return false;
}

static bool check_once(struct tree *t, const struct directive *block, const struct directive *d)
{
	if (!is_once(d))
		return true;
	DIRECTIVE_EACH (before, block) {
		if (before == d)
			break;
		if (slice_eq(before->word[0], d->word[0]))
			return wrong(t, d, "\"%s\" directive is duplicate", d->word[0]);
	}
	return true;
}

/*------------------------------------------------------------- variables */

static bool is_name(char c)
{
	return isalnum((unsigned char)c) || c == '_';
}

static bool check_text(struct tree *t, const struct directive *d, struct slice word)
{
	for (size_t i = 0; i < word.n; i++) {
		bool braced = i + 1 < word.n && word.p[i + 1] == '{';
		size_t from = i + 1 + braced, to = from;

		if (word.p[i] != '$')
			continue;
		while (to < word.n && is_name(word.p[to]))
			to++;
		if (braced && (to == word.n || word.p[to] != '}'))
			return wrong(t, d, "the closing bracket in \"%s\" variable is missing",
				     slice_of(word.p + from, to - from));
		if (to == from)
			return tree_wrong(t, d->file, d->end_line, "invalid variable name");
		i = to - 1;
	}
	return true;
}

static bool check_texts(struct tree *t, struct directive *d)
{
	for (uint32_t i = 1; i < d->n; i++)
		if (!check_text(t, d, d->word[i]))
			return false;
	return true;
}

/*--------------------------------------------------------------- values */

static bool check_added(struct tree *t, struct directive *d)
{
	if (d->n == 4 && !slice_is(d->word[3], "always"))
		return wrong(t, d, "invalid parameter \"%s\"", d->word[3]);
	return check_texts(t, d);
}

static bool check_status(struct tree *t, struct directive *d)
{
	uint64_t n;

	if (value_number(d->word[1], 599, &n) && n >= 400)
		return true;
	return tree_wrong(t, d->file, d->end_line, "value must be between 400 and 599");
}

static bool check_version(struct tree *t, struct directive *d)
{
	if (slice_is(d->word[1], "1.0") || slice_is(d->word[1], "1.1"))
		return true;
	return wrong(t, d, "invalid value \"%s\"", d->word[1]);
}

static bool begins(struct slice s, const char *with)
{
	return slice_starts(s, slice_str(with));
}

static bool check_return(struct tree *t, struct directive *d)
{
	uint64_t status;
	bool elsewhere =
	    d->n == 2 && (begins(d->word[1], "http://") || begins(d->word[1], "https://") ||
			  begins(d->word[1], "$scheme"));

	if (!elsewhere && !value_number(d->word[1], 999, &status))
		return wrong(t, d, "invalid return code \"%s\"", d->word[1]);
	return check_texts(t, d);
}

static bool check_rewrite(struct tree *t, struct directive *d)
{
	static const char *const flags[] = { "last", "break", "redirect", "permanent" };

	for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
		if (d->n < 4 || slice_is(d->word[3], flags[i]))
			return check_text(t, d, d->word[2]);
	return wrong(t, d, "invalid parameter \"%s\"", d->word[3]);
}

static bool check_page(struct tree *t, struct directive *d)
{
	for (uint32_t i = 1; i + 1 < d->n; i++) {
		uint64_t status;

		if (d->word[i].n > 0 && d->word[i].p[0] == '=' && i + 2 == d->n)
			continue;
		if (!value_number(d->word[i], UINT32_MAX, &status))
			return wrong(t, d, "invalid value \"%s\"", d->word[i]);
		if (status < 300 || status > 599)
			return wrong(t, d, "value \"%s\" must be between 300 and 599", d->word[i]);
	}
	return true;
}

static bool check_condition(struct tree *t, struct directive *d)
{
	struct slice last = d->word[d->n - 1];

	if (d->n < 2 || d->word[1].n == 0 || d->word[1].p[0] != '(')
		return wrong(t, d, "invalid condition \"%s\"", d->n < 2 ? d->word[0] : d->word[1]);
	if (last.n == 0 || last.p[last.n - 1] != ')')
		return wrong(t, d, "invalid condition \"%s\"", last);
	return true;
}

static bool check_names(struct tree *t, struct directive *d)
{
	for (uint32_t i = 1; i < d->n; i++) {
		const char *why = NULL;

		if (d->word[i].n < 2 || d->word[i].p[0] != '~')
			continue;
		if (pattern_compile(d->word[i].p, true, t->arena, &why) == NULL && why != NULL)
			return tree_wrong(t, d->file, d->end_line,
					  "pcre2_compile() failed: %s in \"%.200s\"", why,
					  d->word[i].p + 1);
	}
	return true;
}

/* A zone has one key. */
static bool check_bound(struct tree *t, const struct directive *d, struct slice zone)
{
	DIRECTIVE_EACH (before, d->parent) {
		if (before == d)
			break;
		for (uint32_t i = 2; slice_eq(before->word[0], d->word[0]) && i < before->n; i++)
			if (slice_starts(before->word[i], zone))
				return tree_wrong(t, d->file, d->end_line,
						  "%s \"%.*s\" is already bound to key \"%s\"",
						  d->word[0].p, (int)zone.n - 6, zone.p + 5,
						  before->word[1].p);
	}
	return true;
}

/* "zone=name:size" of limit_req_zone and limit_conn_zone; the smallest is of eight pages. */
static bool check_zone(struct tree *t, struct directive *d)
{
	for (uint32_t i = 2; i < d->n; i++) {
		struct slice word = d->word[i], rest = word;
		uint64_t bytes;

		if (!begins(word, "zone="))
			continue;
		(void)slice_cut(&rest, ':');
		if (rest.n == 0 || !value_size(rest, &bytes))
			return wrong(t, d, "invalid zone size \"%s\"", word);
		if (bytes < ZONE_LEAST)
			return wrong(t, d, "zone \"%s\" is too small", word);
		if (!check_bound(t, d, slice_of(word.p, word.n - rest.n)))
			return false;
	}
	return true;
}

static bool check_rate(struct tree *t, struct directive *d)
{
	for (uint32_t i = 2; i < d->n; i++) {
		struct slice rest = d->word[i];
		uint64_t n;

		if (!begins(rest, "rate="))
			continue;
		rest = slice_of(rest.p + 5, rest.n - 5);
		if (rest.n > 3 && (begins(slice_of(rest.p + rest.n - 3, 3), "r/s") ||
				   begins(slice_of(rest.p + rest.n - 3, 3), "r/m")))
			rest.n -= 3;
		if (!value_number(rest, UINT32_MAX, &n) || n == 0)
			return wrong(t, d, "invalid rate \"%s\"", d->word[i]);
	}
	return check_zone(t, d);
}

static bool check_upstream(struct tree *t, struct directive *d)
{
	DIRECTIVE_EACH (before, d->parent) {
		if (before == d)
			break;
		if (directive_is(before, "upstream") && slice_ieq(before->word[1], d->word[1]))
			return wrong(t, d, "duplicate upstream \"%s\"", d->word[1]);
	}
	return true;
}

static bool is_default(const struct directive *d)
{
	for (uint32_t i = 2; i < d->n; i++)
		if (slice_is(d->word[i], "default_server") || slice_is(d->word[i], "default"))
			return true;
	return false;
}

/* Another server before this one, that would be the default of the same address. */
static bool check_default(struct tree *t, struct directive *d)
{
	DIRECTIVE_EACH (server, d->parent->parent) {
		if (server == d->parent)
			break;
		for (struct directive *l = server->first;
		     directive_is(server, "server") && l != NULL; l = l->next)
			if (directive_is(l, "listen") && l->n > 1 &&
			    slice_eq(l->word[1], d->word[1]) && is_default(l))
				return wrong(t, d, "a duplicate default server for %s", d->word[1]);
	}
	return true;
}

static bool check_listen(struct tree *t, struct directive *d)
{
	DIRECTIVE_EACH (before, d->parent) {
		if (before == d)
			break;
		if (directive_is(before, "listen") && slice_eq(before->word[1], d->word[1]))
			return wrong(t, d, "a duplicate listen %s", d->word[1]);
	}
	return !is_default(d) || check_default(t, d);
}

/*---------------------------------------------------------------- maps */

static int by_word(const void *a, const void *b)
{
	const struct directive *const *x = a, *const *y = b;
	int order = strcasecmp((*x)->word[0].p, (*y)->word[0].p);

	return order != 0 ? order : (*x)->line < (*y)->line ? -1 : (*x)->line > (*y)->line;
}

static bool is_key(const struct directive *d)
{
	return d->n == 2 && d->word[0].p[0] != '~' && !directive_is(d, "include");
}

static bool check_map(struct tree *t, struct directive *d)
{
	struct directive **all;
	uint32_t n = 0;

	DIRECTIVE_EACH (entry, d)
		n += is_key(entry);
	all = arena_alloc(t->arena, (n + 1) * sizeof(struct directive *));
	if (all == NULL)
		return tree_no_memory(t);
	n = 0;
	DIRECTIVE_EACH (entry, d)
		if (is_key(entry))
			all[n++] = entry;
	qsort(all, n, sizeof(struct directive *), by_word);
	for (uint32_t i = 1; i < n; i++) {
		if (strcasecmp(all[i]->word[0].p, all[i - 1]->word[0].p) != 0)
			continue;
		return directive_is(all[i], "default")
			   ? tree_wrong(t, all[i]->file, all[i]->end_line,
					"duplicate default map parameter")
			   : wrong(t, all[i], "conflicting parameter \"%s\"", all[i]->word[0]);
	}
	return true;
}

/*---------------------------------------------------------------- whole */

static const struct validity validities[] = {
	{ "add_header", check_added },
	{ "proxy_set_header", check_texts },
	{ "proxy_pass", check_texts },
	{ "set", check_texts },
	{ "return", check_return },
	{ "rewrite", check_rewrite },
	{ "error_page", check_page },
	{ "if", check_condition },
	{ "limit_req_status", check_status },
	{ "limit_conn_status", check_status },
	{ "limit_req_zone", check_rate },
	{ "limit_conn_zone", check_zone },
	{ "proxy_http_version", check_version },
	{ "server_name", check_names },
	{ "upstream", check_upstream },
	{ "listen", check_listen },
	{ "map", check_map },
};

static bool check_one(struct tree *t, struct directive *d)
{
	for (size_t i = 0; i < sizeof(validities) / sizeof(validities[0]); i++)
		if (directive_is(d, validities[i].name) && !validities[i].check(t, d))
			return false;
	return true;
}

bool valid_check(struct tree *t, struct directive *block)
{
	DIRECTIVE_EACH (d, block) {
		if (d->rule == NULL)
			continue;
		if (!check_once(t, block, d) || !check_one(t, d))
			return false;
		if (d->block && d->context != '\0' && d->context != '=' && !valid_check(t, d))
			return false;
	}
	return true;
}
