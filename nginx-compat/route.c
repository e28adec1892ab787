/* route.c - a location becomes routes.
 *
 *   location = /x    path: /x
 *   location /x/     path: /x/(star)
 *   location /x      path: /x, and path: /x/(star)
 *   location /       path: /(star)
 *
 * What cannot be had keeps its place in the order, with a route that leads nowhere: otherwise its calls would go to a location
 * that nginx would not have chosen. */
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "nginx-compat/internal.h"

struct routing {
	struct import *im;
	const struct site *site;
	const char *hosts; /* NULL: any */
	struct spot *spot;
	uint32_t n;
};

/*------------------------------------------------------------------ switches */

struct on_off {
	const char *name, *value; /* NULL: any but `off` and `default` */
	enum fate verdict;
	const char *why;
};

static const struct on_off switches[] = {
	{ "proxy_buffering", "on", ADAPTED, "answers are passed on as they come" },
	{ "proxy_request_buffering", "on", ADAPTED, "bodies are passed on as they come" },
	{ "proxy_ignore_client_abort", "on", LOST, "a call ends when its client goes" },
	{ "proxy_http_version", "1.0", ADAPTED, "HTTP/1.1 is spoken" },
	{ "proxy_redirect", NULL, LOST, "Location fields are passed on as they are" },
	{ "gzip", "on", LOST, "Weir compresses nothing: let the app do it" },
	{ "merge_slashes", "off", ADAPTED, "Weir matches paths in a normal form of its own" },
	{ "server_tokens", "on", ADAPTED, "Weir says no name of its own" },
};

static bool applies(const struct on_off *s, const struct directive *d)
{
	const char *value = directive_word(d, 1);

	if (s->value != NULL)
		return strcasecmp(value, s->value) == 0;
	return strcasecmp(value, "off") != 0 && strcasecmp(value, "default") != 0;
}

static void judge_switches(struct import *im, const struct directive *block)
{
	for (size_t i = 0; i < sizeof(switches) / sizeof(switches[0]); i++) {
		struct directive *d = block_find(block, switches[i].name);

		if (d != NULL && applies(&switches[i], d))
			judge(im, d, switches[i].verdict, "%s", switches[i].why);
	}
}

/*--------------------------------------------------------------------- lines */

static void put_timeout(struct import *im, const struct directive *block, struct buf *b)
{
	struct directive *read = block_find(block, "proxy_read_timeout");
	struct directive *send = block_find(block, "proxy_send_timeout");
	uint64_t ns = 60 * CLOCK_S, send_ns;

	if (read != NULL && block_time(im, block, "proxy_read_timeout", &ns))
		judge(im, read, EXACT, NULL);
	if (send != NULL && block_time(im, block, "proxy_send_timeout", &send_ns))
		judge(im, send, send_ns == ns ? EXACT : ADAPTED,
		      send_ns == ns ? NULL : "one time for both ways: %s", time_text(im, ns));
	if (ns == 60 * CLOCK_S)
		return;
	buf_printf(b, "    timeout: { idle: %s }",
		   time_text(im, time_within(im, read, ns, 7 * 86400 * CLOCK_S)));
	text_end(im, b, read);
}

static void put_max_body(struct import *im, const struct directive *block, struct buf *b)
{
	struct directive *d = block_find(block, "client_max_body_size");
	uint64_t bytes = 1 << 20, most = UINT64_C(1) << 40;

	if (d != NULL && block_size(im, block, "client_max_body_size", &bytes))
		judge(im, d, EXACT, NULL);
	if (bytes == 0 || bytes > most)
		bytes = most;
	buf_printf(b, "    max_body: %s", size_text(im, bytes));
	text_end(im, b, d);
}

/* `text` is what stands behind the dash. */
static void put_route(struct routing *r, const char *path, const struct directive *at,
		      const char *rest)
{
	struct buf *b = &r->im->routes;
	bool any_path = strcmp(path, "/*") == 0;

	if (r->hosts != NULL && any_path)
		buf_printf(b, "  - match: { hosts: [%s] }", r->hosts);
	else if (r->hosts != NULL)
		buf_printf(b, "  - match: { hosts: [%s], path: %s }", r->hosts,
			   text_yaml(r->im, path));
	else
		buf_printf(b, "  - match: { path: %s }", text_yaml(r->im, path));
	text_end(r->im, b, at);
	buf_puts(b, rest);
}

static bool has_spot(const struct routing *r, enum spot_kind kind, const char *path)
{
	for (uint32_t i = 0; i < r->n; i++)
		if (r->spot[i].kind == kind && slice_is(r->spot[i].path, path))
			return true;
	return false;
}

/* One route, or two: see above. */
static void put_routes(struct routing *r, const struct spot *s, const char *rest)
{
	const char *path = location_path(r->im, s->path);
	const char *raw = text_printf(r->im, "%.*s", SLICE_FMT(s->path));

	if (s->kind == SPOT_EXACT) {
		put_route(r, path, s->at, rest);
	} else if (path[strlen(path) - 1] == '/') {
		put_route(r, text_printf(r->im, "%s*", path), s->at, rest);
	} else {
		judge(r->im, s->at, ADAPTED, "paths such as %sx are not taken", path);
		if (!has_spot(r, SPOT_EXACT, raw))
			put_route(r, path, s->at, rest);
		if (!has_spot(r, SPOT_PREFIX, text_printf(r->im, "%s/", raw)))
			put_route(r, text_printf(r->im, "%s/*", path), s->at, rest);
	}
}

/*-------------------------------------------------------------------- targets */

/* What passes the calls of a location on, and the block whose settings hold for that. */
struct passing {
	struct directive *pass; /* NULL: nothing does */
	const struct directive *block;
	struct directive *closer; /* NULL: it may */
};

/* try_files ... @name: Weir has no files, so all goes there. */
static void find_named(struct routing *r, const struct spot *s, struct passing *p)
{
	struct directive *files = block_find(s->at, "try_files"), *named;

	if (files == NULL || files->word[files->n - 1].p[0] != '@')
		return;
	named = location_named(r->site, files->word[files->n - 1].p);
	if (named == NULL)
		return;
	judge(r->im, files, LOST, "Weir serves no files: all calls go to %s",
	      files->word[files->n - 1].p);
	p->block = named;
	p->pass = block_own(named, "proxy_pass");
	if (p->pass != NULL)
		judge(r->im, named, EXACT, NULL);
	if (p->closer == NULL)
		p->closer = closed_by(r->im, named);
}

static void find_pass(struct routing *r, const struct spot *s, struct passing *p)
{
	*p = (struct passing){ .block = s->at, .closer = closed_by(r->im, s->at) };
	if (!directive_is(s->at, "server"))
		p->pass = block_own(s->at, "proxy_pass");
	if (p->pass == NULL)
		find_named(r, s, p);
}

/*---------------------------------------------------------------------- routes */

static void put_nowhere(struct routing *r, const struct spot *s)
{
	put_routes(r, s, text_printf(r->im, "    to: %s\n", cluster_nowhere(r->im)));
}

static void write_closed(struct routing *r, const struct spot *s, const struct passing *p)
{
	struct import *im = r->im;

	if (directive_is(s->at, "location") && p->closer != NULL && p->closer->parent == s->at)
		judge(im, s->at, LOST, "it is answered with 502 until `%s` is seen to",
		      p->closer->word[0].p);
	else if (directive_is(s->at, "location") && p->closer != NULL)
		judge(im, s->at, LOST, "it is answered with 502 until `%s` on line %u is seen to",
		      p->closer->word[0].p, p->closer->line);
	else if (directive_is(s->at, "location"))
		judge(im, s->at, LOST, "nothing is proxied here: it is answered with 502");
	if (directive_is(s->at, "server") && r->hosts == NULL && p->closer == NULL)
		return; /* without a route calls are answered with 404, as nginx would */
	put_nowhere(r, s);
}

static void write_open(struct routing *r, const struct spot *s, const struct passing *p,
		       const struct target *t)
{
	struct import *im = r->im;
	struct buf use = { 0 }, b = { 0 };
	const struct directive *limits = s->at;

	if (block_find(limits, "limit_req") == NULL && block_find(limits, "limit_conn") == NULL)
		limits = p->block;
	limits_write(im, r->site, limits, &use);
	buf_puts(&use, use.n == 0 && *t->use != '\0' ? t->use + 2 : t->use);
	buf_printf(&b, "    to: %s", t->name);
	text_end(im, &b, p->pass);
	if (use.n > 0)
		buf_printf(&b, "    use: [%s]\n", text_buf(im, &use));
	buf_fini(&use);
	put_timeout(im, p->block, &b);
	put_max_body(im, p->block, &b);
	fields_write(im, p->block, t, p->pass, &b);
	judge_switches(im, p->block);
	judge(im, p->pass, EXACT, NULL);
	judge(im, s->at, EXACT, NULL);
	put_routes(r, s, text_buf(im, &b));
	im->n_routes++;
}

static void write_spot(struct routing *r, const struct spot *s)
{
	struct passing p;
	struct target t;
	const char *why;

	find_pass(r, s, &p);
	if (p.pass == NULL || p.closer != NULL) {
		write_closed(r, s, &p);
		return;
	}
	why = cluster_write(r->im, p.block, p.pass, s->path, &t);
	if (why == NULL) {
		write_open(r, s, &p, &t);
		return;
	}
	judge(r->im, p.pass, LOST, "%s", why);
	judge(r->im, s->at, LOST, "it is answered with 502 until its proxy_pass is seen to");
	put_nowhere(r, s);
}

void routes_write(struct import *im, const struct site *site, const char *hosts)
{
	struct routing r = { .im = im, .site = site, .hosts = hosts };

	r.spot = locations_read(im, site, &r.n);
	for (uint32_t i = 0; r.spot != NULL && i < r.n; i++)
		write_spot(&r, &r.spot[i]);
}
