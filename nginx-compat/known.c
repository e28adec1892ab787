/* known.c - variables that neither nginx nor the configuration makes, which nginx refuses once all is read.
 *
 * A module that is not known here may make any: where there is a directive of such a one, or one that is loaded, nothing is
 * said.  Nor is it of words that may hold regular expressions. */
#include <string.h>

#include "nginx-compat/internal.h"
#include "nginx-compat/table.h"

/* A star: the names that begin so. */
static const char *const stock[] = {
	"ancient_browser",
	"arg_*",
	"args",
	"binary_remote_addr",
	"body_bytes_sent",
	"bytes_sent",
	"connection",
	"connection_*",
	"connections_*",
	"content_length",
	"content_type",
	"cookie_*",
	"date_gmt",
	"date_local",
	"document_root",
	"document_uri",
	"fastcgi_*",
	"geoip_*",
	"gzip_ratio",
	"host",
	"hostname",
	"http2",
	"http3",
	"http_*",
	"https",
	"invalid_referer",
	"is_args",
	"jwt_*",
	"limit_conn_status",
	"limit_rate",
	"limit_req_status",
	"memcached_key",
	"modern_browser",
	"msec",
	"msie",
	"nginx_version",
	"otel_*",
	"pid",
	"pipe",
	"proxy_*",
	"query_string",
	"quic",
	"realip_remote_addr",
	"realip_remote_port",
	"realpath_root",
	"remote_addr",
	"remote_port",
	"remote_user",
	"request",
	"request_*",
	"scheme",
	"secure_link",
	"secure_link_expires",
	"sent_http_*",
	"sent_trailer_*",
	"server_addr",
	"server_name",
	"server_port",
	"server_protocol",
	"session_*",
	"slice_range",
	"spdy*",
	"ssl_*",
	"status",
	"tcpinfo_*",
	"time_iso8601",
	"time_local",
	"uid_*",
	"upstream_*",
	"uri",
};

struct reader {
	const char *directive;
	uint32_t from, to; /* of its words; to 0: all */
};

/* Whose words are texts, from the first to the last of them. */
static const struct reader readers[] = {
	{ "add_header", 2, 2 },
	{ "add_trailer", 2, 2 },
	{ "proxy_set_header", 2, 2 },
	{ "proxy_pass", 1, 1 },
	{ "return", 1, 2 },
	{ "set", 2, 2 },
	{ "log_format", 2, 0 },
	{ "limit_req_zone", 1, 1 },
	{ "limit_conn_zone", 1, 1 },
	{ "map", 1, 1 },
	{ "split_clients", 1, 1 },
	{ "root", 1, 1 },
	{ "alias", 1, 1 },
	{ "try_files", 1, 0 },
	{ "rewrite", 2, 2 },
	{ "proxy_cookie_domain", 2, 2 },
	{ "proxy_cookie_path", 2, 2 },
	{ "proxy_redirect", 2, 2 },
	{ "hash", 1, 1 },
	{ "proxy_set_body", 1, 1 },
	{ "proxy_ssl_name", 1, 1 },
	{ "proxy_method", 1, 1 },
	{ "if", 1, 1 },
	{ "auth_basic", 1, 1 },
	{ "auth_basic_user_file", 1, 1 },
};

/* Where the name of one that is made stands; 0: in the last word. */
struct maker {
	const char *directive;
	uint32_t at;
};

static const struct maker makers[] = {
	{ "set", 1 }, { "auth_request_set", 1 }, { "map", 2 }, { "split_clients", 2 }, { "geo", 0 },
};

enum { LOOKS_MAX = 1000 }; /* through the whole tree, for one name each */

struct looking {
	struct tree *tree;
	uint32_t looks;
};

static bool begins(struct slice name, const char *with, size_t n)
{
	return name.n >= n && slice_ieq(slice_of(name.p, n), slice_of(with, n));
}

static bool is_stock(struct slice name)
{
	for (size_t i = 0; i < sizeof(stock) / sizeof(stock[0]); i++) {
		size_t n = strlen(stock[i]);

		if (stock[i][n - 1] == '*' ? begins(name, stock[i], n - 1)
					   : slice_ieq(name, slice_of(stock[i], n)))
			return true;
	}
	return name.p[0] >= '0' && name.p[0] <= '9';
}

/* "(?<name>...)", "(?P<name>...)" or "(?'name'...)". */
static bool captures(struct slice word, struct slice name)
{
	for (size_t i = 0; i + name.n + 4 <= word.n; i++) {
		size_t at = i + 2 + (word.p[i + 2] == 'P');

		if (word.p[i] == '(' && word.p[i + 1] == '?' && at + name.n + 2 <= word.n &&
		    (word.p[at] == '<' || word.p[at] == '\'') &&
		    slice_ieq(slice_of(word.p + at + 1, name.n), name) &&
		    (word.p[at + 1 + name.n] == '>' || word.p[at + 1 + name.n] == '\''))
			return true;
	}
	return false;
}

static bool makes(const struct directive *d, struct slice name)
{
	for (size_t i = 0; i < sizeof(makers) / sizeof(makers[0]); i++) {
		uint32_t at = makers[i].at == 0 ? d->n - 1 : makers[i].at;

		if (directive_is(d, makers[i].directive) && at < d->n &&
		    d->word[at].n == name.n + 1 &&
		    slice_ieq(slice_of(d->word[at].p + 1, name.n), name))
			return true;
	}
	for (uint32_t i = 0; i < d->n; i++)
		if (captures(d->word[i], name))
			return true;
	return false;
}

static bool is_made(const struct directive *block, struct slice name)
{
	DIRECTIVE_EACH (d, block)
		if (makes(d, name) || is_made(d, name))
			return true;
	return false;
}

/* The name behind a `$`; n 0: there is none. */
static struct slice name_at(const char *p)
{
	static const char letters[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";

	p += *p == '{';
	return slice_of(p, strspn(p, letters));
}

static bool check_word(struct looking *l, const char *word)
{
	for (const char *at = strchr(word, '$'); at != NULL; at = strchr(at + 1, '$')) {
		struct slice name = name_at(at + 1);

		if (name.n == 0 || is_stock(name))
			continue;
		if (l->looks++ == LOOKS_MAX)
			return true;
		if (!is_made(&l->tree->root, name))
			return tree_wrong(l->tree, NULL, 0, "unknown \"%.*s\" variable",
					  SLICE_FMT(name));
	}
	return true;
}

static bool check_words(struct looking *l, const struct directive *d)
{
	for (size_t i = 0; i < sizeof(readers) / sizeof(readers[0]); i++) {
		const struct reader *r = &readers[i];
		uint32_t to = r->to == 0 ? d->n - 1 : r->to;

		for (uint32_t k = r->from; directive_is(d, r->directive) && k <= to && k < d->n;
		     k++)
			if (!check_word(l, d->word[k].p))
				return false;
	}
	return true;
}

static bool check_block(struct looking *l, const struct directive *block)
{
	DIRECTIVE_EACH (d, block)
		if (!check_words(l, d) || (d->context != '=' && !check_block(l, d)))
			return false;
	return true;
}

static bool has_strangers(const struct directive *block)
{
	DIRECTIVE_EACH (d, block)
		if (d->rule == NULL || directive_is(d, "load_module") ||
		    (d->context != '=' && has_strangers(d)))
			return true;
	return false;
}

bool known_check(struct tree *t)
{
	struct looking l = { .tree = t };

	return has_strangers(&t->root) || check_block(&l, &t->root);
}
