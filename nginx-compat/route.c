/* route.c - a location becomes routes.
 *
 *   location = /x      path: /x
 *   location /x        path: /x(star)
 *   location ~ \\.x$    path: "~ \\.x$"
 *
 * What cannot be had keeps its place in the order, with a route that answers 501: otherwise its calls would go to a location
 * that nginx would not have chosen.  Rules of allow and deny make a route for each run of them. */
#include <inttypes.h>
#include <string.h>
#include <strings.h>

#include "base/clock.h"
#include "nginx-compat/internal.h"

enum { AWAIT_MAX = 16 << 20 };

struct routing {
	struct import *im;
	const struct site *site;
	const char *hosts; /* NULL: any */
	struct spot *spot;
	uint32_t n;
	const char *from;    /* who sends calls there; NULL: anyone */
	const char *methods; /* NULL: any */
	const char *find;    /* paths, in place of the location's; NULL: its own */
	const char *choice;  /* which of several upstreams; NULL: there is one */
	bool named;          /* errors lead there, and from there nowhere else */
};

/*------------------------------------------------------------------ switches */

struct on_off {
	const char *name, *value; /* NULL: any but `off` and `default` */
	enum fate verdict;
	const char *why;
};

static const struct on_off switches[] = {
	{ "proxy_buffering", "on", ADAPTED, "answers are passed on as they come" },
	{ "proxy_ignore_client_abort", "on", LOST, "a call ends when its client goes" },
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

/* `passes`: its calls go to an upstream. */
static void judge_switches(struct import *im, const struct directive *block, bool passes)
{
	for (size_t i = 0; i < sizeof(switches) / sizeof(switches[0]); i++) {
		struct directive *d = block_find(block, switches[i].name);

		if (!passes && strncmp(switches[i].name, "proxy_", 6) == 0)
			continue;
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

/* nginx has all of a body before it asks an upstream, on disk if need be. */
static void put_await(struct import *im, const struct directive *block, struct buf *b)
{
	struct directive *d = block_find(block, "proxy_request_buffering");
	uint64_t most = 1 << 20;

	if (d != NULL)
		judge(im, d, EXACT, NULL);
	if (!block_is_on(block, "proxy_request_buffering", true))
		return;
	(void)block_size(im, block, "client_max_body_size", &most);
	if (most == 0 || most > AWAIT_MAX) {
		most = AWAIT_MAX;
		if (d != NULL)
			judge(im, d, ADAPTED, "bodies of more than 16MiB are passed on as they come");
	}
	buf_printf(b, "    await_body: %s\n", size_text(im, most));
}

static const char *path_of(struct import *im, const struct spot *s)
{
	if (s->kind == SPOT_REGEX)
		return text_printf(im, "%s %.*s", s->caseless ? "~*" : "~", SLICE_FMT(s->path));
	return text_printf(im, "%s%s", location_path(im, s->path),
			   s->kind == SPOT_PREFIX ? "*" : "");
}

static void put_part(struct buf *b, const char *key, const char *text, const char *end)
{
	buf_printf(b, "%s%s: %s%s", b->n > 0 ? ", " : "", key, text, end);
}

/* The location as a condition, where the path is said by something else. */
static const char *path_when(struct import *im, const struct spot *s)
{
	const char *path =
	    s->kind == SPOT_REGEX ? path_of(im, s) : text_quoted(im, location_path(im, s->path));

	if (s->kind == SPOT_PREFIX && s->path.n == 1)
		return NULL;
	if (s->kind != SPOT_REGEX)
		path = text_printf(im, "~ ^%s%s", path, s->kind == SPOT_EXACT ? "$" : "");
	return text_printf(im, "path: %s", text_yaml(im, path));
}

/* `more`: another condition, NULL: none.  `rest`: the lines below. */
static void put_route(struct routing *r, const struct spot *s, const char *more, const char *rest)
{
	struct import *im = r->im;
	const char *path = r->find != NULL ? r->find : path_of(im, s);
	struct buf match = { 0 }, when = { 0 };
	const char *const all[] = { im->when, r->find != NULL ? path_when(im, s) : s->also,
				    r->choice, more };

	for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
		if (all[i] != NULL)
			buf_printf(&when, "%s%s", when.n > 0 ? ", " : "", all[i]);
	if (r->hosts != NULL)
		put_part(&match, "hosts", text_printf(im, "[%s]", r->hosts), "");
	if (strcmp(path, "/*") != 0 || (r->hosts == NULL && when.n == 0))
		put_part(&match, "path", text_yaml(im, path), "");
	if (r->methods != NULL)
		put_part(&match, "methods", text_printf(im, "[%s]", r->methods), "");
	if (r->from != NULL)
		put_part(&match, "from", r->from, "");
	if (when.n > 0)
		put_part(&match, "when", text_printf(im, "{ %s }", text_buf(im, &when)), "");
	buf_printf(&im->routes, "  - match: { %s }", text_buf(im, &match));
	text_end(im, &im->routes, s->at);
	buf_puts(&im->routes, rest);
	log_line(im, r->site, s->at, &im->routes);
}

/*--------------------------------------------------------------------- access */

static void put_run(struct routing *r, const struct spot *s, bool allow, struct buf *nets,
		    const char *rest, const char *denied)
{
	if (nets->n > 0)
		put_route(r, s, text_printf(r->im, "client.ip: [%s]", text_buf(r->im, nets)),
			  allow ? rest : denied);
	buf_fini(nets);
}

/* One route for each run of allow and of deny; what comes after the last rule is let in. */
static void put_list(struct routing *r, const struct spot *s, const struct directive *block,
		     const char *rest, const char *denied)
{
	struct directive *d = closed_access(block);
	struct buf nets = { 0 };
	bool allow = true;

	for (; d != NULL; d = d->next) {
		bool is_allow = directive_is(d, "allow");

		if (!is_allow && !directive_is(d, "deny"))
			continue;
		judge(r->im, d, EXACT, NULL);
		if (is_allow != allow)
			put_run(r, s, allow, &nets, rest, denied);
		allow = is_allow;
		if (slice_is(d->word[1], "all")) {
			put_run(r, s, allow, &nets, rest, denied);
			put_route(r, s, NULL, allow ? rest : denied);
			return;
		}
		buf_printf(&nets, "%s%s", nets.n > 0 ? ", " : "", text_yaml(r->im, d->word[1].p));
	}
	put_run(r, s, allow, &nets, rest, denied);
	put_route(r, s, NULL, rest);
}

static void put_routes(struct routing *r, const struct spot *s, const char *rest,
		       const char *denied)
{
	put_list(r, s, s->at, rest, denied);
}

/*-------------------------------------------------------------------- targets */

/* What passes the calls of a location on, and the block whose settings hold for that. */
struct passing {
	struct directive *pass; /* NULL: nothing does */
	const struct directive *block;
	struct directive *closer; /* NULL: it may */
};

static void pass_named(struct routing *r, struct directive *named, struct passing *p)
{
	p->block = named;
	p->pass = block_own(named, "proxy_pass");
	if (p->pass != NULL)
		judge(r->im, named, EXACT, NULL);
	if (p->closer == NULL)
		p->closer = closed_by(r->im, named);
	if (p->closer == NULL)
		p->closer = closed_step(named);
}

/* try_files ... @name, and nobody says where the files are: all goes there. */
static void find_named(struct routing *r, const struct spot *s, struct passing *p)
{
	struct directive *files = block_own(s->at, "try_files"), *named;

	if (files == NULL || files->word[files->n - 1].p[0] != '@' || static_serves(r->im, s->at))
		return;
	named = location_named(r->site, files->word[files->n - 1].p);
	if (named == NULL)
		return;
	judge(r->im, files, LOST, "where the files are is not known: all calls go to %s",
	      files->word[files->n - 1].p);
	pass_named(r, named, p);
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

/* Nobody is let in, so nobody sees what is lost. */
static bool denies_all(const struct directive *block)
{
	const struct directive *d = closed_access(block);

	return d != NULL && directive_is(d, "deny") && slice_is(d->word[1], "all");
}

static void put_closed(struct routing *r, const struct spot *s, unsigned status)
{
	put_route(r, s, NULL,
		  text_printf(r->im, "    respond: %u\n%s", status,
			      errors_text(r->im, r->site, s->at, false)));
}

/* There is nothing, with the fields of the location. */
static void put_missing(struct routing *r, const struct spot *s, const char *use)
{
	struct buf b = { 0 };

	buf_printf(&b, "    respond: 404\n%s", use);
	answer_fields(r->im, r->site, s->at, NULL, &b);
	buf_puts(&b, errors_text(r->im, r->site, s->at, false));
	put_route(r, s, NULL, text_buf(r->im, &b));
}

static void judge_closed(struct import *im, struct directive *at, const struct directive *closer)
{
	if (closer->parent == at)
		judge(im, at, LOST, "it is answered with 501 until `%s` is seen to",
		      closer->word[0].p);
	else
		judge(im, at, LOST, "it is answered with 501 until `%s` on line %u is seen to",
		      closer->word[0].p, closer->line);
}

/* What the rules of a location keep out. */
static const char *denied(struct routing *r, const struct directive *block, const char *use)
{
	struct buf b = { 0 };

	if (closed_access(block) == NULL)
		return "";
	buf_printf(&b, "    respond: { status: 403, tell: access forbidden by rule }\n%s", use);
	answer_fields(r->im, r->site, block, NULL, &b);
	buf_puts(&b, errors_text(r->im, r->site, block, false));
	return text_buf(r->im, &b);
}

static const char *use_of(struct routing *r, const struct spot *s, const struct passing *p);
static const char *use_line(struct import *im, const char *limits, const char *more);

/* What no location takes: nginx looks for files in a folder that only it knows. */
static void write_nothing(struct routing *r, const struct spot *s, const struct passing *p)
{
	const char *use = use_line(r->im, use_of(r, s, p), "");
	struct buf b = { 0 };

	buf_puts(&b, use);
	put_max_body(r->im, s->at, &b);
	put_missing(r, s, text_buf(r->im, &b));
	buf_fini(&b);
}

static void write_closed(struct routing *r, const struct spot *s, const struct passing *p)
{
	bool is_location = directive_is(s->at, "location");

	if (p->closer != NULL) {
		if (directive_is(p->closer, "allow") || directive_is(p->closer, "deny"))
			judge(r->im, p->closer, LOST, "only networks are known");
		if (is_location)
			judge_closed(r->im, s->at, p->closer);
		put_closed(r, s, 501);
		return;
	}
	if (is_location && denies_all(s->at))
		judge(r->im, s->at, EXACT, NULL);
	else if (is_location)
		judge(r->im, s->at, LOST, "nothing is proxied here: it is answered with 501");
	if (is_location)
		put_routes(r, s, "    respond: 501\n", denied(r, s->at, ""));
	else if (block_find(s->at, "root") != NULL)
		put_closed(r, s, 501);
	else
		write_nothing(r, s, p);
}

/* Limits of the location itself, or of the one that its calls go on to. */
static const char *use_of(struct routing *r, const struct spot *s, const struct passing *p)
{
	const struct directive *limits = s->at;
	struct buf use = { 0 };

	if (block_find(limits, "limit_req") == NULL && block_find(limits, "limit_conn") == NULL)
		limits = p->block;
	limits_write(r->im, r->site, limits, &use);
	return use.n == 0 ? "" : text_buf(r->im, &use);
}

static const char *use_line(struct import *im, const char *limits, const char *more)
{
	if (*limits == '\0')
		more += *more != '\0' ? 2 : 0;
	return *limits == '\0' && *more == '\0'
		   ? ""
		   : text_printf(im, "    use: [%s%s]\n", limits, more);
}

static void put_rewrite(const struct target *t, struct buf *b)
{
	if (t->method != NULL)
		buf_printf(b, "    rewrite: { %s%smethod: %s }\n", t->rewrite,
			   *t->rewrite == '\0' ? "" : ", ", t->method);
	else if (*t->rewrite != '\0')
		buf_printf(b, "    rewrite: { %s }\n", t->rewrite);
	buf_puts(b, t->sent);
}

/* What a route to an upstream says. */
static const char *open_text(struct routing *r, const struct spot *s, const struct passing *p,
			     const struct target *t, const char *limits)
{
	struct import *im = r->im;
	struct buf b = { 0 };

	buf_printf(&b, "    to: %s", t->name);
	text_end(im, &b, p->pass);
	buf_puts(&b, use_line(im, limits, t->use));
	put_rewrite(t, &b);
	put_timeout(im, p->block, &b);
	put_max_body(im, p->block, &b);
	put_await(im, p->block, &b);
	fields_write(im, r->site, p->block, t, &b);
	answer_fields(im, r->site, p->block, &(struct proxied){ p->pass, s, t }, &b);
	if (!r->named)
		buf_puts(&b, errors_text(im, r->site, p->block, true));
	judge_switches(im, p->block, true);
	judge(im, p->pass, EXACT, NULL);
	judge(im, s->at, EXACT, NULL);
	return text_buf(im, &b);
}

/* limit_except: its methods are let in as the location says, all others as it says itself. */
static void put_excepted(struct routing *r, const struct spot *s, const char *rest, const char *use)
{
	struct directive *d = block_own(s->at, "limit_except");
	struct buf methods = { 0 };

	judge(r->im, d, EXACT, NULL);
	for (uint32_t i = 1; i < d->n; i++)
		buf_printf(&methods, "%s%s", i > 1 ? ", " : "",
			   slice_is(d->word[i], "GET") ? "GET, HEAD" : d->word[i].p);
	r->methods = text_buf(r->im, &methods);
	put_routes(r, s, rest, denied(r, s->at, use));
	r->methods = NULL;
	put_list(r, s, d, rest, denied(r, d, use));
}

static void write_open(struct routing *r, const struct spot *s, const struct passing *p,
		       const struct target *t)
{
	struct import *im = r->im;
	const char *limits = use_of(r, s, p), *rest = open_text(r, s, p, t, limits);

	if (block_own(s->at, "limit_except") != NULL)
		put_excepted(r, s, rest, use_line(im, limits, ""));
	else
		put_routes(r, s, rest, denied(r, p->block, use_line(im, limits, "")));
	im->n_routes++;
}

/* return: before limits and access. */
static bool write_answer(struct routing *r, const struct spot *s, struct directive *d)
{
	struct buf b = { 0 };

	if (d == NULL)
		return false;
	if (!answer_write(r->im, r->site, d->parent, d, &b)) {
		buf_fini(&b);
		return false;
	}
	if (directive_is(s->at, "location")) /* the server's own comes before bodies are looked at */
		put_max_body(r->im, s->at, &b);
	answer_fields(r->im, r->site, s->at, NULL, &b);
	buf_puts(&b, errors_text(r->im, r->site, d->parent, false));
	judge(r->im, s->at, EXACT, NULL);
	put_route(r, s, NULL, text_buf(r->im, &b));
	r->im->n_routes++;
	return true;
}

/* A rewrite under way. */
struct stepping {
	struct routing *r;
	const struct spot *spot;
	const char *more; /* of the `if` around it; NULL: none */
};

static void put_step(void *user, const char *find, const char *more, const char *rest)
{
	struct stepping *st = user;
	const char *all = st->more == NULL || more == NULL
			      ? (more == NULL ? st->more : more)
			      : text_printf(st->r->im, "%s, %s", st->more, more);

	st->r->find = find;
	put_route(st->r, st->spot, all, rest);
	st->r->find = NULL;
}

static void write_rewrite(struct routing *r, const struct spot *s, struct directive *d,
			  const char *more)
{
	struct stepping st = { .r = r, .spot = s, .more = more };
	const char *from = r->from;

	if (s->also != NULL) { /* three patterns at once */
		judge(r->im, d, LOST, "not inside of a location that is inside of another");
		put_closed(r, s, 501);
		return;
	}
	if (directive_is(s->at, "server") && from == NULL)
		r->from = "client"; /* once, before a location is chosen */
	rewrite_write(r->im, r->site, d, put_step, &st);
	r->from = from;
}

/* Conditions and rewrites that decide, each before what comes behind it.  True: nothing is left to the location. */
static bool write_conditions(struct routing *r, const struct spot *s, const struct directive *block)
{
	DIRECTIVE_EACH (d, block) {
		struct directive *answer = when_return(r->im, d);
		struct buf b = { 0 };

		if (directive_is(d, "return") || directive_is(d, "break"))
			return false;
		if (directive_is(d, "rewrite") && rewrite_known(r->im, d)) {
			write_rewrite(r, s, d, NULL);
			if (rewrite_takes_all(d) && directive_is(block, "location"))
				return true;
		}
		if (answer == NULL)
			continue;
		if (directive_is(answer, "rewrite")) {
			judge(r->im, d, EXACT, NULL);
			write_rewrite(r, s, answer, when_text(r->im, d));
			continue;
		}
		answer_write(r->im, r->site, d, answer, &b);
		answer_fields(r->im, r->site, d, NULL, &b);
		buf_puts(&b, errors_text(r->im, r->site, d, false));
		judge(r->im, d, EXACT, NULL);
		put_route(r, s, when_text(r->im, d), text_buf(r->im, &b));
	}
	return false;
}

/* Before any condition, limit or rule of the location. */
static void write_slash(struct routing *r, const struct spot *s)
{
	struct import *im = r->im;
	const char *path = text_printf(im, "%s/", location_path(im, s->path)), *to;
	bool same;

	if (block_own(s->at, "internal") != NULL) {
		put_closed(r, s, 404);
		return;
	}
	to = redirect_absolute(im, r->site, s->at, path, &same);
	if (!same)
		judge(im, s->at, ADAPTED,
		      "the redirect of its path without the slash at its end stays a path");
	for (int query = 1; query >= 0; query--) {
		struct buf b = { 0 };

		buf_printf(&b, "    respond: { status: 301, location: %s }",
			   text_yaml(im, text_printf(im, "%s%s", to, query ? "?{query}" : "")));
		text_end(im, &b, s->at);
		answer_fields(im, r->site, s->at, NULL, &b);
		put_route(r, s, query ? "query: \"*\"" : NULL, text_buf(im, &b));
	}
}

/* Of a location that no client sees: what it answers inside comes first. */
static bool is_internal(struct import *im, const struct spot *s)
{
	struct directive *d = directive_is(s->at, "location") ? block_own(s->at, "internal") : NULL;

	if (d != NULL)
		judge(im, d, EXACT, NULL);
	return d != NULL;
}

static void write_inside(struct routing *r, const struct spot *s);
static void write_target(struct routing *r, const struct spot *s, const struct passing *p,
			 const char *url)
{
	struct target t;
	const char *why = cluster_write(r->im, r->site, p->block, p->pass, url, s, &t);

	if (why == NULL) {
		write_open(r, s, p, &t);
		return;
	}
	judge(r->im, p->pass, LOST, "%s", why);
	judge(r->im, s->at, LOST, "it is answered with 501 until its proxy_pass is seen to");
	put_closed(r, s, 501);
}

/* A route for each; nginx answers 500 where the variable names no upstream at all. */
static void write_choices(struct routing *r, const struct spot *s, const struct passing *p,
			  const struct choices *c)
{
	for (uint32_t i = 0; i < c->n; i++) {
		r->choice = c->when[i];
		write_target(r, s, p, c->url[i]);
	}
	r->choice = NULL;
	put_closed(r, s, 500);
}

static void write_passed(struct routing *r, const struct spot *s, const struct passing *p)
{
	const char *text = p->pass->word[1].p;
	struct choices choices;

	if (choices_read(r->im, p->block, text, &choices))
		write_choices(r, s, p, &choices);
	else
		write_target(r, s, p, variable_expand(r->im, p->block, text));
}

/* Calls for which there is no file. */
static void write_named(struct routing *r, const struct spot *s, struct directive *named)
{
	struct passing p = { .closer = NULL };

	pass_named(r, named, &p);
	if (p.pass != NULL && p.closer == NULL) {
		write_passed(r, s, &p);
		return;
	}
	if (closed_step(named) == NULL && write_answer(r, s, closed_return(r->im, named))) {
		judge(r->im, named, EXACT, NULL);
		return;
	}
	judge(r->im, named, LOST, "nothing is proxied here: it is answered with 501");
	put_closed(r, s, 501);
}

/* Policies are those of where a call ends; nginx would ask those of where it begins. */
static bool has_other_limits(const struct directive *a, const struct directive *b)
{
	static const char *const names[] = { "limit_req", "limit_conn" };

	for (size_t i = 0; i < 2; i++) {
		const struct directive *d = block_find(a, names[i]);

		if (d != NULL && d != block_find(b, names[i]))
			return true;
	}
	return false;
}

/* try_files ... /x: to where /x goes. */
static void write_elsewhere(struct routing *r, const struct spot *s, const struct elsewhere *e)
{
	struct import *im = r->im;
	struct directive *files = block_own(s->at, "try_files");
	struct buf b = { 0 };

	if (has_other_limits(s->at, e->spot->at)) {
		judge(im, files, LOST, "what goes to %s is answered with 501: it has other limits",
		      e->path);
		put_closed(r, s, 501);
		return;
	}
	buf_printf(&b, "    reroute: { path: %s%s }", text_yaml(im, e->path),
		   e->query ? "" : ", query: \"\"");
	text_end(im, &b, files);
	put_route(r, s, NULL, text_buf(im, &b));
}

static void write_static(struct routing *r, const struct spot *s)
{
	struct import *im = r->im;
	struct passing p = { .block = s->at };
	const char *limits, *why;
	struct elsewhere elsewhere;
	struct buf b = { 0 };

	why = static_write(im, r->site, r->spot, r->n, s, &elsewhere, &b);
	if (why == NULL && elsewhere.named != NULL && closed_access(s->at) != NULL)
		why = "try_files beside rules of access";
	if (why != NULL) {
		buf_fini(&b);
		judge(im, s->at, LOST, "it is answered with 501 until its files are seen to: %s",
		      why);
		put_closed(r, s, 501);
		return;
	}
	judge_switches(im, s->at, false);
	limits = use_of(r, s, &p);
	buf_puts(&b, use_line(im, limits, ""));
	put_max_body(im, s->at, &b);
	answer_fields(im, r->site, s->at, NULL, &b);
	buf_puts(&b, errors_text(im, r->site, s->at, false));
	if (directive_is(s->at, "location"))
		judge(im, s->at, EXACT, NULL);
	if (block_own(s->at, "limit_except") != NULL && elsewhere.named == NULL &&
	    elsewhere.spot == NULL)
		put_excepted(r, s, text_buf(im, &b), use_line(im, limits, ""));
	else
		put_routes(r, s, text_buf(im, &b), denied(r, s->at, use_line(im, limits, "")));
	im->n_routes++;
	if (elsewhere.named != NULL)
		write_named(r, s, elsewhere.named);
	else if (elsewhere.spot != NULL)
		write_elsewhere(r, s, &elsewhere);
}

static void write_spot(struct routing *r, const struct spot *s)
{
	if (s->slash) {
		write_slash(r, s);
		return;
	}
	if (!is_internal(r->im, s)) {
		write_inside(r, s);
		return;
	}
	r->from = "route";
	write_inside(r, s);
	r->from = NULL;
	put_missing(r, s, "");
}

static void write_inside(struct routing *r, const struct spot *s)
{
	struct passing p;

	if (directive_is(s->at, "location") && write_conditions(r, s, s->at)) {
		judge(r->im, s->at, EXACT, NULL);
		r->im->n_routes++;
		return;
	}
	if (write_answer(r, s, closed_return(r->im, s->at)))
		return;
	find_pass(r, s, &p);
	if (p.pass == NULL && p.closer == NULL && static_serves(r->im, s->at)) {
		write_static(r, s);
		return;
	}
	if (p.pass == NULL || p.closer != NULL) {
		write_closed(r, s, &p);
		return;
	}
	write_passed(r, s, &p);
}

/* What a named location says; NULL: it cannot be said. */
static const char *named_text(struct routing *r, const struct spot *s)
{
	struct directive *answer = block_own(s->at, "return");
	struct passing p = { .block = s->at, .pass = block_own(s->at, "proxy_pass") };
	struct buf b = { 0 };
	struct target t;

	if (answer != NULL && closed_step(s->at) == NULL && closed_return(r->im, s->at) == answer) {
		if (!answer_write(r->im, r->site, s->at, answer, &b))
			return NULL;
		answer_fields(r->im, r->site, s->at, NULL, &b);
		judge(r->im, s->at, EXACT, NULL);
		return text_buf(r->im, &b);
	}
	p.closer = closed_by(r->im, s->at);
	if (p.closer == NULL)
		p.closer = closed_step(s->at);
	if (p.closer != NULL || p.pass == NULL || closed_access(s->at) != NULL ||
	    cluster_write(r->im, r->site, s->at, p.pass,
			  variable_expand(r->im, s->at, p.pass->word[1].p), s, &t) != NULL)
		return NULL;
	return open_text(r, s, &p, &t, "");
}

const char *route_named(struct import *im, const struct site *site, const char *name)
{
	struct spot s = { .kind = SPOT_REGEX, .path = SLICE("") };
	struct routing r = { .im = im, .site = site, .named = true };
	const char *body, *made;
	bool is_new;

	s.at = location_named(site, name);
	body = s.at == NULL ? NULL : named_text(&r, &s);
	if (body == NULL)
		return NULL;
	made = text_made(im, &im->named, name, body, &is_new);
	if (is_new) {
		buf_printf(&im->routes, "  - name: %s", text_yaml(im, made));
		text_end(im, &im->routes, s.at);
		buf_printf(&im->routes, "    match: { from: name }\n%s", body);
	}
	return made;
}

/* All that a server says is said by its `return`. */
static bool is_answered_whole(struct import *im, const struct directive *server)
{
	struct directive *d = closed_return(im, server);

	return d != NULL && d->parent == server;
}

void routes_write(struct import *im, const struct site *site, const char *hosts)
{
	struct routing r = { .im = im, .site = site, .hosts = hosts };

	static const struct spot whole = { .kind = SPOT_PREFIX, .path = SLICE("/") };
	struct spot all = whole;

	all.at = site->at;
	(void)write_conditions(&r, &all, site->at);
	if (is_answered_whole(im, site->at) && write_answer(&r, &all, closed_return(im, site->at)))
		return;
	r.spot = locations_read(im, site, &r.n);
	for (uint32_t i = 0; r.spot != NULL && i < r.n; i++)
		write_spot(&r, &r.spot[i]);
}
