/* cluster.c - where calls go: proxy_pass and upstream, and what is done when a try fails.
 *
 * An upstream of Weir holds what nginx says in two places: the servers of `upstream`, and the time and the TLS of who passes
 * calls to it.  Two locations that say different things make two upstreams of it. */
#include <ctype.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "nginx-compat/internal.h"

#define FAIL_TIMEOUT_DEFAULT (10 * CLOCK_S)

enum { WEIGHT_MAX = 1000, RETRIES_MAX = 10, ENDPOINTS_MAX = 128 };

struct endpoint {
	struct directive *at;
	const char *addr;
	uint64_t weight, max_fails, fail_ns, max_conns;
	bool backup, down;
};

struct cluster {
	struct import *im;
	const struct directive *block;     /* that passes calls to it */
	struct directive *pass, *upstream; /* NULL: an address */
	const char *name;
	bool tls, ketama;
	uint32_t n;
	struct endpoint endpoint[ENDPOINTS_MAX];
};

/*------------------------------------------------------------------ servers */

struct server_word {
	const char *name;
	size_t number; /* offset of a uint64_t, or */
	size_t flag;   /* of a bool; neither: `why` */
	bool is_time;
	const char *why;
};

static const struct server_word server_words[] = {
	{ "weight=", .number = offsetof(struct endpoint, weight) },
	{ "max_fails=", .number = offsetof(struct endpoint, max_fails) },
	{ "max_conns=", .number = offsetof(struct endpoint, max_conns) },
	{ "fail_timeout=", .number = offsetof(struct endpoint, fail_ns), .is_time = true },
	{ "backup", .flag = offsetof(struct endpoint, backup) },
	{ "down", .flag = offsetof(struct endpoint, down) },
	{ "resolve", .why = "names are looked up again every `resolve`" },
	{ "slow_start=", .why = "see `slow_start` of the upstream" },
	{ "service=", .why = "SRV records are not looked up" },
	{ "route=", .why = "see `lb: ring-hash`" },
	{ "drain", .why = "see the admin interface" },
};

static bool take_server_word(struct import *im, struct endpoint *e, struct slice word)
{
	for (size_t i = 0; i < sizeof(server_words) / sizeof(server_words[0]); i++) {
		const struct server_word *w = &server_words[i];
		struct slice name = slice_str(w->name), value;

		if (name.p[name.n - 1] == '=' ? !slice_starts(word, name) : !slice_eq(word, name))
			continue;
		value = slice_of(word.p + name.n, word.n - name.n);
		if (w->flag > 0)
			*(bool *)((char *)e + w->flag) = true;
		else if (w->number == 0)
			judge(im, e->at, ADAPTED, "`%s`: %s", w->name, w->why);
		else
			return (w->is_time ? value_time(value, (uint64_t *)((char *)e + w->number))
					   : value_number(value, UINT32_MAX,
							  (uint64_t *)((char *)e + w->number)));
		return true;
	}
	return false;
}

/* With the port that nginx would take. */
static const char *with_port(struct import *im, const char *addr, const char *port)
{
	size_t n = strlen(addr);

	if (strncmp(addr, "unix:", 5) == 0)
		return addr;
	if (n > 0 && addr[n - 1] != ']' && strrchr(addr, ':') != NULL &&
	    (addr[0] == '[' || strchr(addr, ':') == strrchr(addr, ':')))
		return addr;
	return text_printf(im, "%s:%s", addr, port);
}

static struct endpoint *same_address(struct cluster *c, const char *addr)
{
	for (uint32_t i = 0; i < c->n; i++)
		if (strcmp(c->endpoint[i].addr, addr) == 0)
			return &c->endpoint[i];
	return NULL;
}

static bool backup_is_known(const struct cluster *c)
{
	return block_own(c->upstream, "hash") == NULL &&
	       block_own(c->upstream, "ip_hash") == NULL &&
	       block_own(c->upstream, "random") == NULL;
}

/* Two of one address are one: all that it may carry is that of both. */
static void join_twin(struct endpoint *twin, const struct endpoint *e)
{
	if (e->down)
		return;
	if (twin->down) {
		*twin = *e;
		return;
	}
	twin->weight += e->weight;
	twin->max_conns =
	    e->max_conns == 0 || twin->max_conns == 0 ? 0 : twin->max_conns + e->max_conns;
}

static void read_server(struct cluster *c, struct directive *d)
{
	struct endpoint e = {
		.at = d, .weight = 1, .max_fails = 1, .fail_ns = FAIL_TIMEOUT_DEFAULT
	};
	struct endpoint *twin;

	for (uint32_t i = 2; i < d->n; i++)
		if (!take_server_word(c->im, &e, d->word[i])) {
			tree_wrong(c->im->tree, d->file, d->end_line, "invalid parameter \"%s\"",
				   d->word[i].p);
			return;
		}
	if (e.backup && !backup_is_known(c)) {
		tree_wrong(c->im->tree, d->file, d->end_line,
			   "balancing method does not support parameter \"backup\"");
		return;
	}
	judge(c->im, d, EXACT, NULL);
	e.addr = with_port(c->im, d->word[1].p, "80");
	twin = same_address(c, e.addr);
	if (c->n == ENDPOINTS_MAX) {
		judge(c->im, d, LOST, "an upstream has at most %d servers", ENDPOINTS_MAX);
		return;
	}
	if (e.weight > WEIGHT_MAX) {
		judge(c->im, d, ADAPTED, "a weight is at most %d", WEIGHT_MAX);
		e.weight = WEIGHT_MAX;
	}
	if (twin != NULL)
		join_twin(twin, &e);
	else
		c->endpoint[c->n++] = e;
}

static void read_servers(struct cluster *c)
{
	DIRECTIVE_EACH (d, c->upstream)
		if (directive_is(d, "server"))
			read_server(c, d);
}

/*-------------------------------------------------------------------- lines */

static const char *eject_time(struct cluster *c, const struct endpoint *e)
{
	if (e->fail_ns == 0)
		return "0s";
	return time_text(c->im, time_within(c->im, e->at, e->fail_ns, 86400 * CLOCK_S));
}

static void put_endpoint(struct cluster *c, const struct endpoint *e, struct buf *b)
{
	const char *addr =
	    text_yaml(c->im, c->tls ? text_printf(c->im, "https://%s", e->addr) : e->addr);

	if (c->upstream == NULL) {
		buf_printf(b, "      - %s", addr);
	} else {
		buf_printf(b, "      - { addr: %s", addr);
		if (e->weight != 1)
			buf_printf(b, ", weight: %" PRIu64, e->weight);
		if (e->max_conns != 0)
			buf_printf(b, ", max_calls: %" PRIu64, e->max_conns);
		if (e->max_fails != 0 && c->n > 1)
			buf_printf(b, ", eject_after: %" PRIu64 ", eject_for: %s", e->max_fails,
				   eject_time(c, e));
		if (c->ketama && strcmp(e->addr, e->at->word[1].p) != 0)
			buf_printf(b, ", hash_as: %s", text_yaml(c->im, e->at->word[1].p));
		buf_printf(b, "%s%s }", e->backup ? ", backup: true" : "",
			   e->down ? ", down: true" : "");
	}
	text_end(c->im, b, c->upstream == NULL ? NULL : e->at);
}

struct method {
	const char *name, *lb, *why;
};

static const struct method methods[] = {
	{ "least_conn", "least-requests", NULL },
	{ "ip_hash", "address-hash", NULL },
	{ "random", "random", NULL },
	{ "least_time", "p2c-ewma", "of two at random, the better one" },
};

static void put_hash(struct cluster *c, struct directive *d, struct buf *b)
{
	static const struct site nobody = { .first_name = "" };
	const char *text = variable_phrase(c->im, &nobody, c->upstream, d->word[1].p, false);

	if (text == NULL) {
		judge(c->im, d, LOST, "there is no value like `%s`", d->word[1].p);
		return;
	}
	judge(c->im, d, EXACT, NULL);
	buf_printf(b, "    lb: %s", c->ketama ? "ketama-hash" : "crc32-hash");
	text_end(c->im, b, d);
	buf_printf(b, "    hash: %s\n", text_yaml(c->im, text));
}

static bool takes_two(const struct directive *d)
{
	return directive_is(d, "random") && d->n > 1;
}

static void put_method(struct cluster *c, struct buf *b)
{
	struct directive *hash = block_own(c->upstream, "hash");

	if (hash != NULL)
		put_hash(c, hash, b);
	for (size_t i = 0; hash == NULL && i < sizeof(methods) / sizeof(methods[0]); i++) {
		struct directive *d = block_own(c->upstream, methods[i].name);
		const char *why = methods[i].why;

		if (d == NULL)
			continue;
		if (takes_two(d))
			why = "of two at random, the one that is faster and has less under way";
		judge(c->im, d, why == NULL ? EXACT : ADAPTED, why == NULL ? NULL : "%s", why);
		buf_printf(b, "    lb: %s", takes_two(d) ? "p2c-ewma" : methods[i].lb);
		text_end(c->im, b, d);
		return;
	}
}

/* nginx keeps a connection only when the request does not say that it is the last. */
static bool says_close(const struct directive *block)
{
	struct directive *d = block_find(block, "proxy_set_header");

	if (strcmp(block_word(block, "proxy_http_version", "1.0"), "1.0") == 0)
		return true;
	for (; d != NULL; d = block_next(d))
		if (strcasecmp(d->word[1].p, "connection") == 0)
			return strcasecmp(d->word[2].p, "close") == 0;
	return true;
}

static void put_keepalive(struct cluster *c, struct buf *b)
{
	struct directive *d = block_own(c->upstream, "keepalive");
	struct directive *idle = block_own(c->upstream, "keepalive_timeout");
	uint64_t n, ns;

	if (d == NULL || !value_number(d->word[1], 65536, &n) || says_close(c->block)) {
		buf_puts(b, "    keepalive: 0\n");
		if (d != NULL)
			judge(c->im, d, EXACT, NULL);
	} else {
		judge(c->im, d, ADAPTED, "so many for each server, not for all");
		buf_printf(b, "    keepalive: %" PRIu64, n);
		text_end(c->im, b, d);
	}
	if (idle != NULL && value_time(idle->word[1], &ns) && ns > 0) {
		judge(c->im, idle, EXACT, NULL);
		buf_printf(b, "    keepalive_timeout: %s",
			   time_text(c->im, time_within(c->im, idle, ns, 86400 * CLOCK_S)));
		text_end(c->im, b, idle);
	}
}

static void put_version(struct cluster *c, struct buf *b)
{
	struct directive *d = block_find(c->block, "proxy_http_version");

	if (d != NULL)
		judge(c->im, d, EXACT, NULL);
	if (strcmp(block_word(c->block, "proxy_http_version", "1.0"), "1.0") != 0)
		return;
	buf_puts(b, "    http_1_0: true");
	text_end(c->im, b, d);
}

/*---------------------------------------------------------------------- TLS */

struct tls_line {
	const char *name, *key;
};

static const struct tls_line tls_lines[] = {
	{ "proxy_ssl_trusted_certificate", "ca" },
	{ "proxy_ssl_certificate", "cert" },
	{ "proxy_ssl_certificate_key", "key" },
	{ "proxy_ssl_ciphers", "ciphers" },
};

static bool is_only_13(const struct directive *d)
{
	return d != NULL && d->n == 2 && slice_is(d->word[1], "TLSv1.3");
}

/* As it is said: 1.3 alone, or 1.2 as well. */
static bool is_spoken(const struct directive *d)
{
	return is_only_13(d) ||
	       (d->n == 3 &&
		((slice_is(d->word[1], "TLSv1.2") && slice_is(d->word[2], "TLSv1.3")) ||
		 (slice_is(d->word[1], "TLSv1.3") && slice_is(d->word[2], "TLSv1.2"))));
}

static bool is_file(const char *key)
{
	return strcmp(key, "ca") == 0 || strcmp(key, "cert") == 0 || strcmp(key, "key") == 0;
}

/* Without one of its own, that of the upstream; endpoints that are none have their hosts'. */
static void put_peer_name(struct cluster *c, bool verified, struct buf *b)
{
	struct directive *own = block_find(c->block, "proxy_ssl_name");
	struct directive *asked = block_find(c->block, "proxy_ssl_server_name");
	bool asks = block_is_on(c->block, "proxy_ssl_server_name", false);
	const char *name = own != NULL ? own->word[1].p : c->upstream != NULL ? c->name : "";

	if (asks)
		judge(c->im, asked, EXACT, NULL);
	if (strchr(name, '$') != NULL) {
		judge(c->im, own, LOST, "it is not known beforehand");
		return;
	}
	if (own != NULL)
		judge(c->im, own, EXACT, NULL);
	if (*name == '\0' && verified)
		judge(c->im, block_find(c->block, "proxy_ssl_verify"), ADAPTED,
		      "a certificate may name an address, too");
	if (*name != '\0' && verified && !asks)
		judge(c->im, block_find(c->block, "proxy_ssl_verify"), ADAPTED,
		      "the name that is verified is sent as well (SNI)");
	if (*name != '\0' && (asks || verified))
		buf_printf(b, ", server_name: %s",
			   text_yaml(c->im, text_printf(c->im, "%.*s",
							*name == '[' ? (int)strlen(name)
								     : (int)strcspn(name, ":"),
							name)));
}

static void put_tls(struct cluster *c, struct buf *b)
{
	struct directive *verify = block_find(c->block, "proxy_ssl_verify");
	struct directive *protocols = block_find(c->block, "proxy_ssl_protocols");
	struct directive *resumed = block_find(c->block, "proxy_ssl_session_reuse");
	bool verified = block_is_on(c->block, "proxy_ssl_verify", false);

	if (!c->tls)
		return;
	buf_printf(b, "    tls: { verify: %s", verified ? "true, common_name: true" : "false");
	c->im->unverified |= !verified;
	if (verify != NULL)
		judge(c->im, verify, EXACT, NULL);
	put_peer_name(c, verified, b);
	for (size_t i = 0; i < sizeof(tls_lines) / sizeof(tls_lines[0]); i++) {
		struct directive *d = block_find(c->block, tls_lines[i].name);

		if (d == NULL || (strcmp(tls_lines[i].key, "ca") == 0 && !verified))
			continue;
		if (strchr(d->word[1].p, '$') != NULL) {
			judge(c->im, d, LOST, "it is not known beforehand");
			continue;
		}
		judge(c->im, d, EXACT, NULL);
		buf_printf(b, ", %s: %s", tls_lines[i].key,
			   is_file(tls_lines[i].key) ? text_path(c->im, d->word[1].p)
						     : text_yaml(c->im, d->word[1].p));
	}
	if (protocols != NULL)
		judge(c->im, protocols, is_spoken(protocols) ? EXACT : ADAPTED,
		      is_spoken(protocols) ? NULL : "TLS 1.2 and 1.3 are spoken");
	if (resumed != NULL)
		judge(c->im, resumed, EXACT, NULL);
	buf_printf(b, "%s%s }\n", is_only_13(protocols) ? ", min_version: 1.3" : "",
		   block_is_on(c->block, "proxy_ssl_session_reuse", true) ? "" : ", resume: false");
}

/*------------------------------------------------------------------ failures */

struct failure {
	const char *name,
	    *when; /* as `retry` has it; "": nothing is to be said of it; NULL: lost */
};

static const struct failure failures[] = {
	{ "error", "refused, cut" }, { "timeout", "timeout" }, { "invalid_header", "malformed" },
	{ "http_500", "500" },       { "http_502", "502" },    { "http_503", "503" },
	{ "http_504", "504" },       { "http_429", "429" },    { "http_403", "403" },
	{ "http_404", "404" },       { "updating", "" },       { "no_live", NULL },
};

struct failing {
	struct buf when;
	bool off, all_methods;
};

static void take_failure(struct cluster *c, struct directive *d, struct slice word,
			 struct failing *f)
{
	for (size_t i = 0; i < sizeof(failures) / sizeof(failures[0]); i++) {
		const struct failure *one = &failures[i];

		if (!slice_is(word, one->name))
			continue;
		if (one->when == NULL)
			judge(c->im, d, LOST, "a server is not asked again by the same call");
		else if (*one->when != '\0')
			buf_printf(&f->when, "%s%s", f->when.n > 0 ? ", " : "", one->when);
		return;
	}
	tree_wrong(c->im->tree, d->file, d->end_line, "invalid value \"%.*s\"", SLICE_FMT(word));
}

static void read_failures(struct cluster *c, struct failing *f)
{
	struct directive *d = block_find(c->block, "proxy_next_upstream");

	if (d == NULL) {
		buf_puts(&f->when, "connect, cut, timeout");
		return;
	}
	judge(c->im, d, EXACT, NULL);
	for (uint32_t i = 1; i < d->n; i++) {
		if (slice_is(d->word[i], "off"))
			f->off = true;
		else if (slice_is(d->word[i], "non_idempotent"))
			f->all_methods = true;
		else
			take_failure(c, d, d->word[i], f);
	}
}

static uint64_t count_retries(struct cluster *c)
{
	struct directive *d = block_find(c->block, "proxy_next_upstream_tries");
	uint64_t tries = 0, n;

	for (uint32_t i = 0; i < c->n; i++)
		tries += !c->endpoint[i].down;
	if (d != NULL && value_number(d->word[1], UINT32_MAX, &n)) {
		judge(c->im, d, EXACT, NULL);
		tries = n > 0 && n < tries ? n : tries;
	}
	if (tries > RETRIES_MAX)
		tries = RETRIES_MAX + 1;
	return tries == 0 ? 0 : tries - 1;
}

/* The name of a policy, as ", name". */
static const char *make_policy(struct cluster *c, const char *kind, const char *body)
{
	struct import *im = c->im;
	bool is_new;
	const char *name =
	    text_made(im, &im->policy, text_printf(im, "%s-%s", kind, c->name), body, &is_new);

	if (is_new) {
		buf_printf(&im->policies, "  %s: { %s }", name, body);
		text_end(im, &im->policies, c->upstream != NULL ? c->upstream : c->pass);
	}
	return text_printf(im, ", %s", name);
}

static const char *within_text(struct cluster *c)
{
	struct directive *d = block_find(c->block, "proxy_next_upstream_timeout");
	uint64_t ns;

	if (d == NULL || !block_time(c->im, c->block, "proxy_next_upstream_timeout", &ns))
		return "";
	judge(c->im, d, EXACT, NULL);
	return ns == 0 ? ""
		       : text_printf(c->im, ", within: %s",
				     time_text(c->im, time_within(c->im, d, ns, 86400 * CLOCK_S)));
}

static const char *make_retry(struct cluster *c, const struct failing *f, const char *when)
{
	struct import *im = c->im;
	uint64_t retries = count_retries(c), body = 1 << 20;
	const char *within = within_text(c);

	if (retries == 0 || f->off || *when == '\0')
		return make_policy(c, "retry", "retry: 0");
	block_size(im, c->block, "client_max_body_size", &body);
	if (body == 0 || body > 16 << 20)
		body = 16 << 20;
	return make_policy(
	    c, "retry",
	    text_printf(
		im,
		"retry: %" PRIu64
		", when: [%s], elsewhere: true, heed_retry_after: false, backoff: { base: 0s, max: "
		"0s }, budget: 100%%%s%s, body: %s",
		retries, when,
		f->all_methods ? ", methods: [GET, HEAD, POST, PUT, DELETE, OPTIONS, TRACE, PATCH]"
			       : "",
		within, size_text(im, body)));
}

static const char *policies_of(struct cluster *c)
{
	struct failing f = { 0 };

	read_failures(c, &f);
	if (c->n < 2) {
		(void)count_retries(c);
		(void)within_text(c);
		buf_fini(&f.when);
		return "";
	}
	return make_retry(c, &f, text_buf(c->im, &f.when));
}

/* nginx answers 500 where the address is none of this machine's; an error of the configuration. */
static void put_source(struct cluster *c, struct buf *b)
{
	struct directive *d = block_find(c->block, "proxy_bind");
	struct ip ip;

	if (d == NULL)
		return;
	if (d->n == 2 && slice_is(d->word[1], "off")) {
		judge(c->im, d, EXACT, NULL);
		return;
	}
	if (d->n > 2 || !ip_parse(d->word[1], &ip)) {
		judge(c->im, d, LOST,
		      d->n > 2 ? "Weir cannot come from addresses that are not its own"
			       : "an address without a port is known: the system chooses");
		return;
	}
	judge(c->im, d, EXACT, NULL);
	buf_printf(b, "    source: %s", text_yaml(c->im, d->word[1].p));
	text_end(c->im, b, d);
}

/*---------------------------------------------------------------------- whole */

static const char *write_cluster(struct cluster *c)
{
	struct import *im = c->im;
	struct buf b = { 0 };
	uint64_t ns = 60 * CLOCK_S;
	struct directive *timeout = block_find(c->block, "proxy_connect_timeout");
	const char *body, *name;
	bool is_new;

	buf_puts(&b, "    endpoints:\n");
	for (uint32_t i = 0; i < c->n; i++)
		put_endpoint(c, &c->endpoint[i], &b);
	if (timeout != NULL && block_time(im, c->block, "proxy_connect_timeout", &ns))
		judge(im, timeout, EXACT, NULL);
	buf_printf(&b, "    connect_timeout: %s",
		   time_text(im, time_within(im, timeout, ns, 3600 * CLOCK_S)));
	text_end(im, &b, timeout);
	if (c->upstream != NULL) {
		put_method(c, &b);
		put_keepalive(c, &b);
		judge(im, c->upstream, EXACT, NULL);
	} else {
		buf_puts(&b, "    keepalive: 0\n");
	}
	put_source(c, &b);
	put_version(c, &b);
	buf_puts(&b, "    unavailable: 502\n");
	put_tls(c, &b);
	body = text_buf(im, &b);
	name = text_made(im, &im->upstream, c->name, body, &is_new);
	if (is_new) {
		buf_printf(&im->upstreams, "  %s:", name);
		text_end(im, &im->upstreams, c->upstream != NULL ? c->upstream : c->pass);
		buf_puts(&im->upstreams, body);
	}
	return name;
}

static struct directive *find_upstream(const struct import *im, const char *name)
{
	DIRECTIVE_EACH (d, im->http)
		if (directive_is(d, "upstream") && d->n == 2 && strcasecmp(d->word[1].p, name) == 0)
			return d;
	return NULL;
}

/* $proxy_host: without the port that is meant anyway. */
static const char *proxy_host(struct cluster *c, const char *host)
{
	const char *port = c->tls ? ":443" : ":80";
	size_t n = strlen(host), m = strlen(port);

	if (strncmp(host, "unix:", 5) == 0)
		return "localhost";
	if (n > m && strcmp(host + n - m, port) == 0)
		return text_printf(c->im, "%.*s", (int)(n - m), host);
	return host;
}

/* "http://host:80/uri" apart; NULL, or what is wrong. */
static const char *split(struct cluster *c, const char *url, struct target *t)
{
	const char *host, *end;

	c->tls = strncasecmp(url, "https://", 8) == 0;
	if (!c->tls && strncasecmp(url, "http://", 7) != 0) {
		tree_wrong(c->im->tree, c->pass->file, c->pass->end_line, "invalid URL prefix");
		return "";
	}
	host = url + (c->tls ? 8 : 7);
	if (strncmp(host, "unix:", 5) == 0) {
		end = strchr(host + 5, ':');
		t->uri = end == NULL ? "" : end + 1;
		end = end == NULL ? host + strlen(host) : end;
	} else {
		end = host + strcspn(host, "/?#");
		t->uri = end;
	}
	t->host = text_printf(c->im, "%.*s", (int)(end - host), host);
	t->proxy_host = proxy_host(c, t->host);
	return *t->host == '\0' ? "it has no host" : NULL;
}

static bool ends_with_slash(struct slice path)
{
	return path.n > 0 && path.p[path.n - 1] == '/';
}

/* As nginx sends it: with the escapes that it has. */
static const char *escaped_uri(struct import *im, const char *uri)
{
	struct buf b = { 0 };

	for (const char *c = uri; *c != '\0'; c++)
		buf_puts(&b, *c == '%' ? "%" : location_path(im, slice_of(c, 1)));
	return text_buf(im, &b);
}

/* With variables it is all that the upstream is asked for. */
static const char *read_whole(struct import *im, struct target *t)
{
	const char *query = strchr(t->uri, '?');
	size_t n = query == NULL ? strlen(t->uri) : (size_t)(query - t->uri);

	if (t->uri[0] != '/' || strchr(t->uri, '#') != NULL)
		return "a path behind the address begins with a slash";
	t->rewrite =
	    text_printf(im, "path: %s, query: %s",
			text_yaml(im, escaped_uri(im, text_printf(im, "%.*s", (int)n, t->uri))),
			text_yaml(im, query == NULL ? "" : query + 1));
	return NULL;
}

/* What stands behind the address takes the place of the location's path, character by character: a
 * `prefix` of Weir ends with a slash where the location's path does. */
static const char *read_uri(struct import *im, const struct spot *s, struct directive *pass,
			    struct target *t)
{
	const char *key = s->kind == SPOT_EXACT ? "path" : "prefix", *uri;
	bool from = ends_with_slash(s->path), to = ends_with_slash(slice_str(t->uri));

	if (*t->uri == '\0')
		return NULL;
	if (strchr(pass->word[1].p, '$') != NULL)
		return read_whole(im, t);
	if (s->kind == SPOT_REGEX || strchr(t->uri, '?') != NULL || strchr(t->uri, '#') != NULL)
		return "a path behind the address is known only without a query";
	uri = escaped_uri(im, t->uri);
	if (s->kind == SPOT_PREFIX && from && !to) {
		key = "path";
		uri = text_printf(im, "%s{match.rest}", uri);
	} else if (s->kind == SPOT_PREFIX && to && !from) {
		judge(im, pass, ADAPTED, "where nginx doubles a slash there is one");
	}
	t->rewrite = text_printf(im, "%s: %s", key, text_yaml(im, uri));
	return NULL;
}

/* Whether a regular expression begins with what all paths here begin with, and wants no more. */
static bool always_matches(const struct spot *s, const char *regex)
{
	static const char *const rests[] = { "", "(.*)", "(.*)$", ".*", ".*$" };

	if (*regex == '^')
		regex++;
	if (s->kind != SPOT_PREFIX || strncmp(regex, s->path.p, s->path.n) != 0)
		return false;
	for (size_t i = 0; i < s->path.n; i++)
		if (!isalnum((unsigned char)s->path.p[i]) && strchr("/-_", s->path.p[i]) == NULL)
			return false;
	for (size_t i = 0; i < sizeof(rests) / sizeof(rests[0]); i++)
		if (strcmp(regex + s->path.n, rests[i]) == 0)
			return true;
	return false;
}

/* rewrite REGEX /$1 break: the path changes and the location stays. */
static const char *read_rewrite(struct import *im, const struct directive *block,
				const struct spot *s, struct target *t)
{
	const char *path, *query, *why = NULL;
	struct directive *d;

	if (!rewrite_break(im, block, &d, &path, &query, &why))
		return why;
	if (*t->rewrite != '\0' && !always_matches(s, d->word[1].p))
		return "a path behind the address, where `rewrite` may find nothing, is not known";
	judge(im, d, EXACT, NULL);
	t->rewrite =
	    text_printf(im, "pattern: %s, path: %s%s",
			text_yaml(im, text_printf(im, "~ %s", d->word[1].p)), text_yaml(im, path),
			query == NULL ? "" : text_printf(im, ", query: %s", text_yaml(im, query)));
	return NULL;
}

const char *cluster_write(struct import *im, const struct site *site, const struct directive *block,
			  struct directive *pass, const char *url, const struct spot *spot,
			  struct target *t)
{
	struct cluster *c = arena_zalloc(im->arena, sizeof(*c));
	const char *why;

	*t = (struct target){
		.use = "", .uri = "", .host = "", .proxy_host = "", .rewrite = "", .sent = ""
	};
	if (c == NULL || url == NULL)
		return c == NULL ? "out of memory" : "where it goes is not known beforehand";
	c->im = im;
	c->block = block;
	c->pass = pass;
	why = split(c, url, t);
	if (why == NULL)
		why = read_uri(im, spot, pass, t);
	if (why == NULL)
		why = read_rewrite(im, block, spot, t);
	if (why == NULL)
		why = request_read(im, site, block, t);
	if (why != NULL)
		return why;
	c->upstream = find_upstream(im, t->host);
	c->name =
	    strncmp(t->host, "unix:", 5) == 0 ? text_printf(im, "unix%s", t->host + 5) : t->host;
	if (c->upstream != NULL) {
		struct directive *hash = block_own(c->upstream, "hash");

		c->ketama = hash != NULL && hash->n > 2 && slice_is(hash->word[2], "consistent");
		read_servers(c);
	} else {
		c->n = 1;
		c->endpoint[0] =
		    (struct endpoint){ .at = pass,
				       .weight = 1,
				       .addr = with_port(im, t->host, c->tls ? "443" : "80") };
	}
	if (c->n == 0)
		return "its upstream has no server";
	t->tls = c->tls;
	t->name = write_cluster(c);
	t->use = policies_of(c);
	return NULL;
}
