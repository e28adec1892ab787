/* site.c - servers: what they listen on, what they are called, which can be had together.
 *
 * nginx chooses a server by the address a call came in at, then by its host.  Weir's routes go by the host alone.  So of all
 * listeners only those are taken that serve the same servers, with the same default; those are most of what is proxied.
 *
 * Of the names, nginx takes an exact one first, then the longest wildcard, then the default server.  Routes are asked in
 * turn, so they are written in that order. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "nginx-compat/internal.h"

/*------------------------------------------------------------------- listen */

static bool is_port(struct slice s)
{
	uint64_t n;

	return value_number(s, 65535, &n) && n > 0;
}

/* "80" "*:80" "127.0.0.1" "[::1]:80" "localhost:80" "unix:/x" in Weir's form; false: a name. */
static bool listen_address(const char *word, char out[LISTEN_TEXT_MAX])
{
	struct slice s = slice_str(word);
	const char *colon = strrchr(word, ':');
	struct addr addr;

	if (is_port(s))
		snprintf(out, LISTEN_TEXT_MAX, "0.0.0.0:%s", word);
	else if (strncmp(word, "*:", 2) == 0)
		snprintf(out, LISTEN_TEXT_MAX, "0.0.0.0:%s", word + 2);
	else if (strncmp(word, "localhost", 9) == 0 && (word[9] == ':' || word[9] == '\0'))
		snprintf(out, LISTEN_TEXT_MAX, "127.0.0.1:%s", word[9] == ':' ? word + 10 : "80");
	else if (s.n > 0 && strncmp(word, "unix:", 5) != 0 &&
		 (word[s.n - 1] == ']' || colon == NULL))
		snprintf(out, LISTEN_TEXT_MAX, "%s:80", strcmp(word, "*") == 0 ? "0.0.0.0" : word);
	else
		snprintf(out, LISTEN_TEXT_MAX, "%s", word);
	return addr_parse(slice_str(out), &addr);
}

struct listen_word {
	const char *name; /* with an `=` at its end: a value follows */
	size_t flag;      /* offset of a bool; 0: it only tunes */
};

static const struct listen_word listen_words[] = {
	{ "default_server", offsetof(struct listener, is_default) },
	{ "default", offsetof(struct listener, is_default) },
	{ "ssl", offsetof(struct listener, ssl) },
	{ "http2", offsetof(struct listener, http2) },
	{ "proxy_protocol", offsetof(struct listener, proxy_protocol) },
	{ "bind", 0 },
	{ "reuseport", 0 },
	{ "deferred", 0 },
	{ "setfib=", 0 },
	{ "fastopen=", 0 },
	{ "rcvbuf=", 0 },
	{ "sndbuf=", 0 },
	{ "accept_filter=", 0 },
	{ "so_keepalive=", 0 },
	{ "ipv6only=", 0 },
	{ "multipath", 0 },
};

static bool take_listen_word(struct listener *l, struct slice word)
{
	static const struct slice backlog = SLICE("backlog=");

	if (slice_starts(word, backlog))
		return value_number(slice_of(word.p + backlog.n, word.n - backlog.n), 65535,
				    &l->backlog);
	for (size_t i = 0; i < sizeof(listen_words) / sizeof(listen_words[0]); i++) {
		const struct listen_word *w = &listen_words[i];
		struct slice name = slice_str(w->name);

		if (name.p[name.n - 1] == '=' ? !slice_starts(word, name) : !slice_eq(word, name))
			continue;
		if (w->flag > 0)
			*(bool *)((char *)l + w->flag) = true;
		return true;
	}
	return false;
}

static void read_listen(struct import *im, struct site *s, struct directive *d)
{
	struct listener *l = &s->listener[s->n_listeners];

	*l = (struct listener){ .at = d, .http2 = block_is_on(s->at, "http2", false) };
	if (l->http2)
		judge(im, block_find(s->at, "http2"), EXACT, NULL);
	if (s->n_listeners == SITE_LISTENERS_MAX) {
		judge(im, d, LOST, "more than %d listeners", SITE_LISTENERS_MAX);
		return;
	}
	if (!listen_address(d->word[1].p, l->addr)) {
		judge(im, d, LOST, "a listener has an address, not a name");
		return;
	}
	for (uint32_t i = 2; i < d->n; i++) {
		if (slice_is(d->word[i], "quic")) {
			judge(im, d, LOST, "Weir speaks HTTP/1.1 and HTTP/2");
			return;
		}
		if (!take_listen_word(l, d->word[i])) {
			tree_wrong(im->tree, d->file, d->end_line, "invalid parameter \"%s\"",
				   d->word[i].p);
			return;
		}
	}
	s->n_listeners++;
}

/* Without `listen`, as root. */
static void default_listener(struct site *s)
{
	struct listener *l = &s->listener[s->n_listeners++];

	*l = (struct listener){ .at = s->at, .http2 = block_is_on(s->at, "http2", false) };
	memcpy(l->addr, "0.0.0.0:80", sizeof("0.0.0.0:80"));
}

/*-------------------------------------------------------------- server_name */

static const char *lower_case(struct import *im, const char *text, size_t n)
{
	char *copy = arena_printf(im->arena, "%.*s", (int)n, text);

	for (char *c = copy; c != NULL && *c != '\0'; c++)
		*c = (char)tolower((unsigned char)*c);
	if (copy == NULL)
		tree_no_memory(im->tree);
	return copy == NULL ? "" : copy;
}

static void add_name(struct import *im, struct site *s, struct directive *d, const char *name)
{
	if (s->n_names == SITE_NAMES_MAX) {
		judge(im, d, LOST, "a server has more than %d names", SITE_NAMES_MAX);
		return;
	}
	s->name[s->n_names++] = lower_case(im, name, strlen(name));
}

/* A name that no host can be: what people write for "none". */
static bool is_no_name(const char *name)
{
	return *name == '\0' || strcmp(name, "_") == 0 || strchr(name, '.') == name + strlen(name);
}

static void read_name(struct import *im, struct site *s, struct directive *d, const char *name)
{
	size_t n = strlen(name);

	if (*name == '~') {
		judge(im, d, LOST,
		      "hosts have no regular expressions: calls for them go to the default server");
	} else if (n > 2 && strcmp(name + n - 2, ".*") == 0) {
		judge(im, d, LOST,
		      "a host has its star at the front: calls for `%s` go to the default server",
		      name);
	} else if (*name == '$') {
		judge(im, d, LOST, "`%s` is not known beforehand", name);
	} else if (*name == '.') {
		add_name(im, s, d, name + 1);
		add_name(im, s, d, text_printf(im, "*%s", name));
	} else if (!is_no_name(name)) {
		add_name(im, s, d, name);
	}
	if (*s->first_name == '\0' && *name != '~' && *name != '$')
		s->first_name = *name == '.' ? name + 1 : name;
}

static void read_names(struct import *im, struct site *s)
{
	s->first_name = "";
	DIRECTIVE_EACH (d, s->at) {
		if (!directive_is(d, "server_name"))
			continue;
		judge(im, d, EXACT, NULL);
		for (uint32_t i = 1; i < d->n; i++)
			read_name(im, s, d, d->word[i].p);
	}
}

void sites_read(struct import *im)
{
	uint32_t n = 0;

	DIRECTIVE_EACH (d, im->http)
		n += directive_is(d, "server");
	im->site = arena_zalloc(im->arena, (n + 1) * sizeof(*im->site));
	if (im->site == NULL) {
		tree_no_memory(im->tree);
		return;
	}
	DIRECTIVE_EACH (d, im->http) {
		struct site *s = &im->site[im->n_sites];

		if (!directive_is(d, "server"))
			continue;
		s->at = d;
		im->n_sites++;
		DIRECTIVE_EACH (l, d)
			if (directive_is(l, "listen"))
				read_listen(im, s, l);
		if (s->n_listeners == 0 && block_own(d, "listen") == NULL)
			default_listener(s);
		read_names(im, s);
	}
}

/*------------------------------------------------------------------ choosing */

static const struct listener *listener_of(const struct site *s, const char *addr)
{
	for (uint32_t i = 0; i < s->n_listeners; i++)
		if (strcmp(s->listener[i].addr, addr) == 0)
			return &s->listener[i];
	return NULL;
}

/* The one that says so, or the first. */
static const struct site *default_of(const struct import *im, const char *addr)
{
	const struct site *first = NULL;

	for (uint32_t i = 0; i < im->n_sites; i++) {
		const struct listener *l = listener_of(&im->site[i], addr);

		if (l != NULL && l->is_default)
			return &im->site[i];
		if (l != NULL && first == NULL)
			first = &im->site[i];
	}
	return first;
}

static bool is_same(const struct import *im, const char *a, const char *b)
{
	for (uint32_t i = 0; i < im->n_sites; i++)
		if ((listener_of(&im->site[i], a) == NULL) !=
		    (listener_of(&im->site[i], b) == NULL))
			return false;
	return default_of(im, a) == default_of(im, b);
}

static unsigned count_passes(const struct directive *block)
{
	unsigned n = 0;

	DIRECTIVE_EACH (d, block)
		n += directive_is(d, "proxy_pass") ? 1 : count_passes(d);
	return n;
}

static unsigned worth(const struct import *im, const char *addr)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < im->n_sites; i++)
		if (listener_of(&im->site[i], addr) != NULL)
			n += count_passes(im->site[i].at);
	return n;
}

static const char *best_address(const struct import *im)
{
	const char *best = NULL;
	unsigned most = 0;

	for (uint32_t i = 0; i < im->n_sites; i++)
		for (uint32_t j = 0; j < im->site[i].n_listeners; j++) {
			const char *addr = im->site[i].listener[j].addr;
			unsigned n = worth(im, addr);

			if (best == NULL || n > most) {
				best = addr;
				most = n;
			}
		}
	return best;
}

static void judge_listeners(struct import *im, struct site *s, const char *best)
{
	for (uint32_t i = 0; i < s->n_listeners; i++) {
		struct listener *l = &s->listener[i];

		l->chosen = is_same(im, l->addr, best);
		s->chosen |= l->chosen;
		if (l->chosen)
			judge(im, l->at, EXACT, NULL);
		else
			judge(im, l->at, LOST,
			      "routes do not tell listeners apart, and %s serves other servers "
			      "than %s: "
			      "give it a Weir of its own",
			      l->addr, best);
	}
	if (s->chosen)
		judge(im, s->at, EXACT, NULL);
	else
		judge(im, s->at, LOST, "none of its listeners is among those that are taken");
}

/* Of two servers with a name, nginx gives all calls to the first. */
static bool is_given(const struct import *im, const struct site *s, const char *name)
{
	for (const struct site *before = im->site; before < s; before++)
		for (uint32_t i = 0; before->chosen && i < before->n_names; i++)
			if (strcmp(before->name[i], name) == 0)
				return true;
	return false;
}

static void drop_doubles(struct import *im, struct site *s)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; s->chosen && i < s->n_names; i++) {
		if (is_given(im, s, s->name[i]))
			judge(im, block_own(s->at, "server_name"), ADAPTED,
			      "conflicting server name \"%s\", ignored by nginx, too", s->name[i]);
		else
			s->name[kept++] = s->name[i];
	}
	s->n_names = kept;
}

void sites_choose(struct import *im)
{
	const char *best = best_address(im);

	for (uint32_t i = 0; best != NULL && i < im->n_sites; i++) {
		judge_listeners(im, &im->site[i], best);
		im->site[i].is_default = default_of(im, best) == &im->site[i];
		drop_doubles(im, &im->site[i]);
	}
}

/*-------------------------------------------------------------------- order */

/* One turn of a site: its exact names, one wildcard, or any host. */
struct turn {
	const struct site *site;
	size_t length; /* of the wildcard; SIZE_MAX: exact names; 0: any host */
	const char *hosts;
	uint32_t order;
};

static bool is_wild(const char *name)
{
	return name[0] == '*';
}

/* Whether `name` (exact, or a wildcard of its own) is below the wildcard. */
static bool is_below(const char *name, const char *wild)
{
	size_t n = strlen(name), w = strlen(wild + 1);

	return n > w && strcmp(name + n - w, wild + 1) == 0;
}

/* Whether another site takes hosts that a wildcard would take. */
static bool is_contested(const struct import *im, const struct site *s, const char *wild)
{
	for (uint32_t i = 0; i < im->n_sites; i++) {
		const struct site *other = &im->site[i];

		for (uint32_t j = 0; other != s && other->chosen && j < other->n_names; j++)
			if (is_below(other->name[j], wild))
				return true;
	}
	return false;
}

/* Whether another site's wildcard would take hosts that are of this one. */
static bool is_captured(const struct import *im, const struct site *s)
{
	for (uint32_t i = 0; i < im->n_sites; i++) {
		const struct site *other = &im->site[i];

		for (uint32_t j = 0; other != s && other->chosen && j < other->n_names; j++)
			for (uint32_t n = 0; is_wild(other->name[j]) && n < s->n_names; n++)
				if (is_below(s->name[n], other->name[j]))
					return true;
	}
	return false;
}

static void put_host(struct import *im, struct buf *b, const char *name)
{
	buf_puts(b, b->n > 0 ? ", " : "");
	buf_puts(b, text_yaml(im, name));
}

/* Exact names, and wildcards that nobody contests. */
static const char *plain_hosts(struct import *im, const struct site *s)
{
	struct buf b = { 0 };

	for (uint32_t i = 0; i < s->n_names; i++)
		if (!is_wild(s->name[i]) || !is_contested(im, s, s->name[i]))
			put_host(im, &b, s->name[i]);
	return b.n == 0 ? NULL : text_buf(im, &b);
}

static uint32_t turns_of(struct import *im, const struct site *s, struct turn *t)
{
	const char *hosts;
	uint32_t n = 0;

	if (!s->chosen)
		return 0;
	if (!s->is_default || is_captured(im, s)) {
		hosts = plain_hosts(im, s);
		if (hosts != NULL)
			t[n++] = (struct turn){ .site = s, .length = SIZE_MAX, .hosts = hosts };
		for (uint32_t i = 0; i < s->n_names; i++)
			if (is_wild(s->name[i]) && is_contested(im, s, s->name[i]))
				t[n++] = (struct turn){ .site = s,
							.length = strlen(s->name[i]),
							.hosts = text_yaml(im, s->name[i]) };
	}
	if (s->is_default)
		t[n++] = (struct turn){ .site = s };
	return n;
}

static int by_length(const void *a, const void *b)
{
	const struct turn *x = a, *y = b;

	if (x->length != y->length)
		return x->length > y->length ? -1 : 1;
	return x->order < y->order ? -1 : 1;
}

void sites_each(struct import *im,
		void (*each)(struct import *, const struct site *, const char *hosts))
{
	struct turn *turns;
	uint32_t n = 0, room = 0;

	for (uint32_t i = 0; i < im->n_sites; i++)
		room += im->site[i].n_names + 2;
	turns = arena_zalloc(im->arena, (room + 1) * sizeof(*turns));
	if (turns == NULL) {
		tree_no_memory(im->tree);
		return;
	}
	for (uint32_t i = 0; i < im->n_sites; i++)
		n += turns_of(im, &im->site[i], turns + n);
	for (uint32_t i = 0; i < n; i++)
		turns[i].order = i;
	qsort(turns, n, sizeof(*turns), by_length);
	for (uint32_t i = 0; i < n; i++)
		each(im, turns[i].site, turns[i].hosts);
}
