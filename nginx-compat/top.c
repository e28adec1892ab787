/* top.c - what Weir has once and nginx for each server: listeners, TLS, limits on clients, the log. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/addr.h"
#include "base/clock.h"
#include "nginx-compat/internal.h"

/*----------------------------------------------------------------- listeners */

/* A listener of several sites, with what any of them says of it. */
static void gather(const struct import *im, const char *addr, struct listener *out)
{
	out->at = NULL;
	for (uint32_t i = 0; i < im->n_sites; i++)
		for (uint32_t j = 0; j < im->site[i].n_listeners; j++) {
			const struct listener *l = &im->site[i].listener[j];

			if (!l->chosen || strcmp(l->addr, addr) != 0)
				continue;
			if (out->at == NULL)
				*out = *l;
			out->ssl |= l->ssl;
			out->http2 |= l->http2;
			out->proxy_protocol |= l->proxy_protocol;
			out->backlog = l->backlog > 0 ? l->backlog : out->backlog;
		}
}

struct tls_line {
	const char *name, *key;
};

static const struct tls_line tls_lines[] = {
	{ "ssl_certificate_key", "key" },
	{ "ssl_client_certificate", "client_ca" },
	{ "ssl_crl", "crl" },
	{ "ssl_ciphers", "ciphers" },
};

static bool asks_clients(const struct directive *server)
{
	const char *verify = block_word(server, "ssl_verify_client", "off");

	return strcmp(verify, "on") == 0 || strcmp(verify, "optional") == 0;
}

static void put_verify(struct import *im, const struct directive *server, struct buf *b)
{
	struct directive *d = block_find(server, "ssl_verify_client");

	if (d == NULL)
		return;
	if (slice_is(d->word[1], "optional_no_ca"))
		judge(im, d, LOST, "a certificate that does not verify is refused");
	else if (asks_clients(server))
		judge(im, d, ADAPTED, "who has none, or a bad one, is refused by the handshake");
	if (slice_is(d->word[1], "optional"))
		buf_puts(b, ", client_auth: optional");
}

static void put_protocols(struct import *im, const struct directive *server, struct buf *b)
{
	struct directive *d = block_find(server, "ssl_protocols");
	bool old = false, has_12 = false, has_13 = false;

	for (uint32_t i = 1; d != NULL && i < d->n; i++) {
		has_12 |= slice_is(d->word[i], "TLSv1.2");
		has_13 |= slice_is(d->word[i], "TLSv1.3");
		old |= !slice_is(d->word[i], "TLSv1.2") && !slice_is(d->word[i], "TLSv1.3");
	}
	if (d == NULL)
		return;
	judge(im, d, old || !has_13 ? ADAPTED : EXACT,
	      old || !has_13 ? "TLS 1.2 and 1.3 are spoken" : NULL);
	if (has_13 && !has_12 && !old)
		buf_puts(b, ", min_version: 1.3");
}

/* One certificate with what belongs to it. */
static void put_certificate(struct import *im, const struct directive *server,
			    struct directive *cert, struct directive *key, struct buf *b)
{
	buf_printf(b, "        - { cert: %s", text_path(im, cert->word[1].p));
	judge(im, cert, EXACT, NULL);
	for (size_t i = 0; i < sizeof(tls_lines) / sizeof(tls_lines[0]); i++) {
		struct directive *d = i == 0 ? key : block_find(server, tls_lines[i].name);

		if (d == NULL || ((i == 1 || i == 2) && !asks_clients(server)))
			continue;
		judge(im, d, EXACT, NULL);
		buf_printf(b, ", %s: %s", tls_lines[i].key,
			   i < 3 ? text_path(im, d->word[1].p) : text_yaml(im, d->word[1].p));
	}
	put_verify(im, server, b);
	put_protocols(im, server, b);
	buf_puts(b, " }");
	text_end(im, b, cert);
}

static void put_certificates(struct import *im, const struct site *s, struct buf *b)
{
	struct directive *cert = block_find(s->at, "ssl_certificate");
	struct directive *key = block_find(s->at, "ssl_certificate_key");

	for (; cert != NULL; cert = block_next(cert)) {
		if (strchr(cert->word[1].p, '$') != NULL ||
		    strncmp(cert->word[1].p, "data:", 5) == 0)
			judge(im, cert, LOST,
			      "a certificate is a file whose name is known beforehand");
		else
			put_certificate(im, s->at, cert, key, b);
		key = key == NULL ? NULL : block_next(key);
	}
}

/* "[::]:80" of "0.0.0.0:80", and the other way round; "" of any other address. */
static void twin_of(const char *addr, char out[LISTEN_TEXT_MAX])
{
	static const char *const any[] = { "0.0.0.0:", "[::]:" };

	*out = '\0';
	for (int i = 0; i < 2; i++)
		if (strncmp(addr, any[i], strlen(any[i])) == 0)
			snprintf(out, LISTEN_TEXT_MAX, "%s%.100s", any[1 - i],
				 addr + strlen(any[i]));
}

/* Or at the other family's, which is one listener with it. */
static bool is_at(const struct site *s, const char *addr)
{
	char twin[LISTEN_TEXT_MAX];

	twin_of(addr, twin);
	return site_listens(s, addr) || site_listens(s, twin);
}

static const struct site *default_of(const struct import *im, const char *addr)
{
	const struct site *first = NULL;

	for (const struct site *s = im->site; s < im->site + im->n_sites; s++) {
		first = first == NULL && is_at(s, addr) ? s : first;
		for (uint32_t i = 0; i < s->n_listeners; i++)
			if (s->listener[i].is_default && strcmp(s->listener[i].addr, addr) == 0)
				return s;
	}
	return first;
}

/* Whether the default server, or one before it, has the same certificate. */
static bool says_the_same(const struct import *im, const struct site *s, const struct site *dflt,
			  const char *addr)
{
	const struct directive *cert = block_find(s->at, "ssl_certificate");

	if (block_find(dflt->at, "ssl_certificate") == cert)
		return true;
	for (const struct site *before = im->site; before < s; before++)
		if (is_at(before, addr) && block_find(before->at, "ssl_certificate") == cert)
			return true;
	return false;
}

/* False: the listener cannot be had, which was said. */
static bool put_tls(struct import *im, const struct listener *l, struct buf *b)
{
	const struct site *dflt = default_of(im, l->addr);
	struct buf list = { 0 };
	bool ok;

	if (!l->ssl)
		return true;
	if (dflt != NULL)
		put_certificates(im, dflt, &list);
	for (const struct site *s = im->site; s < im->site + im->n_sites; s++)
		if (s != dflt && s->chosen && is_at(s, l->addr) &&
		    !says_the_same(im, s, dflt, l->addr))
			put_certificates(im, s, &list);
	ok = list.n > 0;
	if (ok)
		buf_printf(b, "    tls:\n%s", text_buf(im, &list));
	else
		judge(im, l->at, LOST, "there is no certificate for it");
	buf_fini(&list);
	return ok;
}

/* Both together are ":80"; NULL: there is only one of them. */
static const char *both_families(const struct import *im, const char *addr)
{
	struct listener other;
	char twin[LISTEN_TEXT_MAX];

	twin_of(addr, twin);
	gather(im, twin, &other);
	return other.at == NULL ? NULL : strrchr(addr, ':');
}

static void judge_listener(struct import *im, const struct listener *l, const char *addr)
{
	const struct site *first = im->first;
	bool believed =
	    strcasecmp(block_word(first->at, "real_ip_header", ""), "proxy_protocol") == 0;

	if (strncmp(addr, "[::]:", 5) == 0)
		judge(im, l->at, ADAPTED, "it takes IPv4, too");
	if (l->proxy_protocol && !believed)
		judge(im, l->at, ADAPTED, "the client is who the PROXY header says");
}

/* As the default server has it: which one is meant is known only behind the fields. */
static void put_field_names(struct import *im, const struct listener *l)
{
	static const char *const names[] = { "ignore_invalid_headers", "underscores_in_headers" };
	const struct site *dflt = default_of(im, l->addr);

	for (const struct site *s = im->site; s < im->site + im->n_sites; s++)
		for (size_t i = 0; i < 2; i++) {
			struct directive *d = block_find(s->at, names[i]);
			bool on = block_is_on(s->at, names[i], i == 0);

			if (d != NULL && s->chosen && is_at(s, l->addr) &&
			    on != block_is_on(dflt->at, names[i], i == 0))
				judge(im, d, ADAPTED,
				      "as the default server of the address has it");
		}
	if (block_is_on(dflt->at, names[0], true))
		buf_printf(&im->top, "    field_names: %s\n",
			   block_is_on(dflt->at, names[1], false) ? "underscored" : "plain");
}

static void put_listener(struct import *im, const struct listener *l, const char *addr)
{
	struct buf *b = &im->top, tls = { 0 };

	if (!put_tls(im, l, &tls))
		return;
	judge_listener(im, l, addr);
	buf_printf(b, "  - addr: %s", text_yaml(im, addr));
	text_end(im, b, l->at);
	if (!l->http2)
		buf_puts(b, "    http2: false\n");
	put_field_names(im, l);
	if (l->proxy_protocol)
		buf_puts(b, "    proxy_protocol: true\n");
	if (l->backlog > 0)
		buf_printf(b, "    backlog: %" PRIu64 "\n", l->backlog);
	if (tls.n > 0)
		buf_puts(b, text_buf(im, &tls));
	buf_fini(&tls);
}

/* Each address once, in the order of the file, and its twin with it. */
static bool was_written(const struct import *im, const struct listener *one)
{
	char twin[LISTEN_TEXT_MAX];

	twin_of(one->addr, twin);
	for (uint32_t i = 0; i < im->n_sites; i++)
		for (uint32_t j = 0; j < im->site[i].n_listeners; j++) {
			const struct listener *l = &im->site[i].listener[j];

			if (l == one)
				return false;
			if (l->chosen &&
			    (strcmp(l->addr, one->addr) == 0 || strcmp(l->addr, twin) == 0))
				return true;
		}
	return false;
}

static void put_listeners(struct import *im)
{
	buf_puts(&im->top, "listen:\n");
	for (uint32_t i = 0; i < im->n_sites; i++)
		for (uint32_t j = 0; j < im->site[i].n_listeners; j++) {
			const struct listener *l = &im->site[i].listener[j];
			struct listener whole;
			const char *both;

			if (!l->chosen || was_written(im, l))
				continue;
			both = both_families(im, l->addr);
			gather(im, l->addr, &whole);
			put_listener(im, &whole, both != NULL ? both : l->addr);
		}
}

/*---------------------------------------------------------------- client_ip */

static void put_networks(struct import *im, struct directive *first, struct buf *b)
{
	for (struct directive *d = first; d != NULL; d = block_next(d)) {
		struct cidr cidr;

		if (!cidr_parse(d->word[1], &cidr)) {
			judge(im, d, LOST, "only networks are trusted");
			continue;
		}
		judge(im, d, EXACT, NULL);
		buf_printf(b, "%s%s", b->n > 0 ? ", " : "", text_yaml(im, d->word[1].p));
	}
}

static const char *lower_case(struct import *im, const char *text)
{
	char *copy = arena_printf(im->arena, "%s", text);

	if (copy == NULL)
		tree_no_memory(im->tree);
	for (char *c = copy; c != NULL && *c != '\0'; c++)
		*c = *c >= 'A' && *c <= 'Z' ? (char)(*c | 0x20) : *c;
	return copy == NULL ? "" : copy;
}

static void put_client_ip(struct import *im, const struct directive *server)
{
	struct directive *from = block_find(server, "set_real_ip_from");
	struct directive *header = block_find(server, "real_ip_header");
	const char *name = header == NULL ? "X-Real-IP" : header->word[1].p;
	struct buf b = { 0 };

	if (from == NULL)
		return;
	if (strcasecmp(name, "proxy_protocol") == 0) {
		judge(im, header, ADAPTED,
		      "whoever connects is believed: `proxy_protocol` of the listener");
		return;
	}
	if (strcasecmp(name, "forwarded") == 0) {
		judge(im, header, LOST,
		      "nginx takes Forwarded for a list of addresses, which it is not");
		return;
	}
	put_networks(im, from, &b);
	if (header != NULL)
		judge(im, header, EXACT, NULL);
	if (b.n > 0) {
		buf_printf(&im->top, "client_ip: { trust: [%s], header: %s%s }", text_buf(im, &b),
			   text_yaml(im, lower_case(im, name)),
			   block_is_on(server, "real_ip_recursive", false) ? ""
									   : ", nearest: true");
		text_end(im, &im->top, from);
	}
	buf_fini(&b);
}

/*-------------------------------------------------------------------- limits */

struct limit_line {
	const char *name, *key;
	uint64_t dflt_ns; /* nginx's own */
};

static const struct limit_line limit_lines[] = {
	{ "client_header_timeout", "header_timeout", 60 * CLOCK_S },
	{ "keepalive_timeout", "idle_timeout", 75 * CLOCK_S },
	{ "send_timeout", "write_timeout", 60 * CLOCK_S },
};

/* Where another server says something else. */
static void judge_others(struct import *im, const char *name, const struct directive *taken)
{
	for (uint32_t i = 0; i < im->n_sites; i++) {
		struct directive *d = block_find(im->site[i].at, name);

		if (!im->site[i].chosen ||
		    (taken != NULL && d != NULL && d->parent == taken->parent))
			continue;
		for (; d != NULL; d = block_next(d)) {
			bool same =
			    taken != NULL && d->n > 1 && slice_eq(d->word[1], taken->word[1]);

			judge(im, d, same ? EXACT : ADAPTED,
			      same ? NULL : "one for all servers: as the first one has it");
		}
	}
}

static void put_times(struct import *im, const struct directive *server)
{
	for (size_t i = 0; i < sizeof(limit_lines) / sizeof(limit_lines[0]); i++) {
		const struct limit_line *line = &limit_lines[i];
		struct directive *d = block_find(server, line->name);
		uint64_t ns = line->dflt_ns;

		if (d != NULL && block_time(im, server, line->name, &ns))
			judge(im, d, EXACT, NULL);
		judge_others(im, line->name, d);
		buf_printf(&im->top, "  %s: %s", line->key,
			   time_text(im, time_within(im, d, ns, 86400 * CLOCK_S)));
		text_end(im, &im->top, d);
	}
}

/* large_client_header_buffers N SIZE: a line fits into one, the head into all. */
static void put_heads(struct import *im, const struct directive *server)
{
	struct directive *d = block_find(server, "large_client_header_buffers");
	uint64_t n = 4, size = 8192, most = 1 << 20, whole;

	if (d != NULL && value_number(d->word[1], 65536, &n) && value_size(d->word[2], &size) &&
	    size >= 1024) {
		whole = n * size > most ? most : n * size;
		judge(im, d, whole == n * size ? EXACT : ADAPTED,
		      whole == n * size ? NULL : "a head has at most 1MiB");
		buf_printf(&im->top, "  header_bytes: %s", size_text(im, whole));
		text_end(im, &im->top, d);
		buf_printf(&im->top, "  target_bytes: %s\n",
			   size_text(im, size > whole ? whole : size));
	}
	judge_others(im, "large_client_header_buffers", d);
}

static void put_streams(struct import *im, const struct directive *server)
{
	struct directive *d = block_find(server, "http2_max_concurrent_streams");
	uint64_t n;

	if (d == NULL || !value_number(d->word[1], 10000, &n) || n == 0)
		return;
	judge(im, d, EXACT, NULL);
	buf_printf(&im->top, "  http2: { streams: %" PRIu64 " }", n);
	text_end(im, &im->top, d);
}

static void put_limits(struct import *im, const struct directive *server)
{
	struct directive *body = block_find(server, "client_body_timeout");

	buf_puts(&im->top, "limits:\n");
	put_times(im, server);
	put_heads(im, server);
	put_streams(im, server);
	buf_puts(&im->top, "  escaped_slashes: decode\n");
	if (im->serve)
		buf_puts(&im->top, "  bare_lf: true\n  loose_host: true\n");
	buf_puts(&im->top, "  half_close: false\n");
	if (body != NULL)
		judge(im, body, ADAPTED, "see `timeout.idle` of the routes");
}

/*--------------------------------------------------------------------- whole */

static void put_process(struct import *im)
{
	struct directive *workers = block_own(&im->tree->root, "worker_processes");
	struct directive *pid = block_own(&im->tree->root, "pid");
	uint64_t n;

	if (workers != NULL &&
	    (slice_is(workers->word[1], "auto") || value_number(workers->word[1], 64, &n))) {
		judge(im, workers, EXACT, NULL);
		buf_printf(&im->top, "workers: %s", workers->word[1].p);
		text_end(im, &im->top, workers);
	} else if (workers != NULL) {
		judge(im, workers, LOST, "there are at most 64 workers");
	}
	if (pid == NULL)
		return;
	if (pid->word[1].p[0] != '/' && im->prefix == NULL) {
		judge(im, pid, ADAPTED, "see `pid_file`: which folder this is in only nginx knows");
		return;
	}
	judge(im, pid, EXACT, NULL);
	buf_printf(&im->top, "pid_file: %s", text_yaml(im, text_prefixed(im, pid->word[1].p)));
	text_end(im, &im->top, pid);
}

/* Who calls is known before a location is chosen. */
static void judge_inner(struct import *im, struct directive *block)
{
	static const char *const names[] = { "set_real_ip_from", "real_ip_header",
					     "real_ip_recursive" };

	for (struct directive *d = block->first; d != NULL; d = d->next) {
		for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
			if (directive_is(d, names[i]) && directive_is(block, "location"))
				judge(im, d, LOST, "one for all locations: see `client_ip`");
		if (directive_is(d, "location"))
			judge_inner(im, d);
	}
}

/* Of these, what the first server says holds for all. */
static const char *const once[] = { "set_real_ip_from",
				    "real_ip_header",
				    "real_ip_recursive",
				    "http2_max_concurrent_streams",
				    "client_body_timeout" };

void top_write(struct import *im)
{
	const struct site *first = im->first;

	if (first == NULL)
		return;
	buf_puts(&im->top, "version: 1\n");
	put_process(im);
	put_listeners(im);
	put_client_ip(im, first->at);
	for (size_t i = 0; i < sizeof(once) / sizeof(once[0]); i++)
		judge_others(im, once[i], block_find(first->at, once[i]));
	for (uint32_t i = 0; i < im->n_sites; i++)
		if (im->site[i].chosen)
			judge_inner(im, im->site[i].at);
	put_limits(im, first->at);
	log_write(im);
}
