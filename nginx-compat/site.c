/* site.c - servers: what they listen on, what they are called, in which order they are asked.
 *
 * nginx chooses a server by the address a call came in at, then by its host.  Listeners that serve the same servers, with the
 * same default, are a group; where there are several groups, the routes of each say its ports (`when: { server.port }`).
 *
 * Of the names, nginx takes an exact one first, then the longest wildcard at the front, then at the end, then the first
 * regular expression, then the default server.  Routes are asked in turn, so they are written in that order. */
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
	return *name == '\0' || strcmp(name, "_") == 0 ||
	       strchr(name, '.') == name + strlen(name) ||
	       name[strlen(name) - 1] == '.'; /* hosts have no dot at their end here */
}

static void read_name(struct import *im, struct site *s, struct directive *d, const char *name)
{
	if (*name == '$') {
		judge(im, d, LOST, "`%s` is not known beforehand", name);
	} else if (*name == '~') {
		if (s->n_names < SITE_NAMES_MAX)
			s->name[s->n_names++] = text_printf(im, "~ %s", name + 1);
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

bool site_listens(const struct site *s, const char *addr)
{
	return listener_of(s, addr) != NULL;
}

/*-------------------------------------------------------------------- groups */

enum { GROUPS_MAX = 64, GROUP_PORTS_MAX = 32 };

/* Listeners that serve the same. */
struct group {
	const char *addr; /* one of them */
	unsigned worth;
	bool taken;
	uint32_t n_ports;
	const char *port[GROUP_PORTS_MAX];
};

struct groups {
	uint32_t n;
	struct group group[GROUPS_MAX];
};

static const char *port_of(const char *addr)
{
	return strncmp(addr, "unix:", 5) == 0 ? NULL : strrchr(addr, ':') + 1;
}

static struct group *group_of(const struct import *im, struct groups *all, const char *addr)
{
	for (uint32_t i = 0; i < all->n; i++)
		if (is_same(im, all->group[i].addr, addr))
			return &all->group[i];
	if (all->n == GROUPS_MAX)
		return NULL;
	all->group[all->n] = (struct group){ .addr = addr, .worth = worth(im, addr) };
	return &all->group[all->n++];
}

static bool has_port(const struct group *g, const char *port)
{
	for (uint32_t i = 0; i < g->n_ports; i++)
		if (strcmp(g->port[i], port) == 0)
			return true;
	return false;
}

static void find_groups(struct import *im, struct groups *all)
{
	for (uint32_t i = 0; i < im->n_sites; i++)
		for (uint32_t j = 0; j < im->site[i].n_listeners; j++) {
			const char *addr = im->site[i].listener[j].addr, *port = port_of(addr);
			struct group *g = group_of(im, all, addr);

			if (g != NULL && port != NULL && !has_port(g, port) &&
			    g->n_ports < GROUP_PORTS_MAX)
				g->port[g->n_ports++] = port;
		}
}

/* A group can be told from those that are taken by its ports. */
static bool is_apart(const struct groups *all, const struct group *g)
{
	for (uint32_t i = 0; i < all->n; i++)
		for (uint32_t j = 0; all->group[i].taken && j < g->n_ports; j++)
			if (has_port(&all->group[i], g->port[j]))
				return false;
	return g->n_ports > 0;
}

/* Those that proxy most first. */
static struct group *next_group(struct groups *all, const bool *asked)
{
	struct group *best = NULL;

	for (uint32_t i = 0; i < all->n; i++)
		if (!asked[i] && (best == NULL || all->group[i].worth > best->worth))
			best = &all->group[i];
	return best;
}

static void take_groups(struct groups *all)
{
	bool asked[GROUPS_MAX] = { false };

	for (uint32_t i = 0; i < all->n; i++) {
		struct group *g = next_group(all, asked);

		asked[g - all->group] = true;
		g->taken = all->n == 1 || is_apart(all, g);
	}
}

/* Which of its listeners are written. */
static void judge_listeners(struct import *im, struct groups *all, struct site *s)
{
	for (uint32_t i = 0; i < s->n_listeners; i++) {
		struct listener *l = &s->listener[i];
		const struct group *g = group_of(im, all, l->addr);

		l->chosen = g != NULL && g->taken && (all->n == 1 || port_of(l->addr) != NULL);
		s->chosen |= l->chosen;
		if (l->chosen)
			judge(im, l->at, EXACT, NULL);
		else
			judge(
			    im, l->at, LOST,
			    "only its port tells a listener from others that serve other servers");
	}
	if (s->chosen)
		judge(im, s->at, EXACT, NULL);
	else
		judge(im, s->at, LOST, "none of its listeners can be had");
}

static const char *when_of(struct import *im, const struct groups *all, const struct group *g)
{
	struct buf b = { 0 };

	if (all->n == 1)
		return NULL;
	buf_puts(&b, g->n_ports > 1 ? "server.port: [" : "server.port: ");
	for (uint32_t i = 0; i < g->n_ports; i++)
		buf_printf(&b, "%s\"%s\"", i > 0 ? ", " : "", g->port[i]);
	buf_puts(&b, g->n_ports > 1 ? "]" : "");
	return text_buf(im, &b);
}

/*-------------------------------------------------------------------- order */

/* One turn of a site: its exact names, one pattern, or any host. */
struct turn {
	const struct site *site;
	uint32_t rank; /* the greater comes first; 0: any host */
	const char *hosts;
	uint32_t order;
};

enum {
	RANK_EXACT = 1 << 30,
	RANK_FRONT = 1 << 20,
	RANK_END = 1 << 10,
	RANK_REGEX = 1,
	RANK_ANY = 0
};

static bool ends_in_star(const char *name)
{
	size_t n = strlen(name);

	return n > 2 && strcmp(name + n - 2, ".*") == 0;
}

static uint32_t rank_of(const char *name)
{
	uint32_t n = (uint32_t)strnlen(name, RANK_END - 2);

	return name[0] == '~'       ? RANK_REGEX
	       : name[0] == '*'     ? RANK_FRONT + n
	       : ends_in_star(name) ? RANK_END + n
				    : RANK_EXACT;
}

/* Whether a pattern would take a name; of a regular expression it may. */
static bool is_taken(const char *name, const char *pattern)
{
	size_t n = strlen(name), p = strlen(pattern);

	if (pattern[0] == '~')
		return true;
	if (pattern[0] == '*')
		return n >= p && strcmp(name + n - (p - 1), pattern + 1) == 0;
	return ends_in_star(pattern) && strncmp(name, pattern, p - 1) == 0;
}

/* Whether another site of the group takes hosts that a wildcard would take. */
static bool is_contested(const struct import *im, const struct site *s, const char *wild)
{
	for (uint32_t i = 0; i < im->n_sites; i++) {
		const struct site *other = &im->site[i];

		for (uint32_t j = 0; other != s && other->in_group && j < other->n_names; j++)
			if (rank_of(other->name[j]) > rank_of(wild) &&
			    is_taken(other->name[j], wild))
				return true;
	}
	return rank_of(wild) < RANK_FRONT;
}

/* Whether a pattern of another site would take hosts that are of this one. */
static bool is_captured(const struct import *im, const struct site *s)
{
	for (uint32_t i = 0; i < im->n_sites; i++) {
		const struct site *other = &im->site[i];

		for (uint32_t j = 0; other != s && other->in_group && j < other->n_names; j++)
			for (uint32_t n = 0; n < s->n_names; n++)
				if (rank_of(other->name[j]) != RANK_EXACT &&
				    is_taken(s->name[n], other->name[j]))
					return true;
	}
	return false;
}

/* Of two servers with a name, nginx gives all calls to the first. */
static bool is_given(struct import *im, const struct site *s, const char *name)
{
	for (const struct site *before = im->site; before < s; before++)
		for (uint32_t i = 0; before->in_group && i < before->n_names; i++)
			if (strcmp(before->name[i], name) == 0) {
				judge(im, block_own(s->at, "server_name"), ADAPTED,
				      "conflicting server name \"%s\", ignored by nginx, too",
				      name);
				return true;
			}
	return false;
}

/* Exact names, and wildcards that nobody contests; the others have turns of their own. */
static uint32_t named_turns(struct import *im, const struct site *s, struct turn *t)
{
	struct buf plain = { 0 };
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->n_names; i++) {
		const char *name = s->name[i], *text = text_yaml(im, name);
		uint32_t rank = rank_of(name);

		if (is_given(im, s, name))
			continue;
		if (rank == RANK_EXACT || !is_contested(im, s, name))
			buf_printf(&plain, "%s%s", plain.n > 0 ? ", " : "", text);
		else
			t[n++] = (struct turn){ .site = s, .rank = rank, .hosts = text };
	}
	if (plain.n > 0)
		t[n++] =
		    (struct turn){ .site = s, .rank = RANK_EXACT, .hosts = text_buf(im, &plain) };
	buf_fini(&plain);
	return n;
}

/* A route's hosts are names: no call lacks one but those of HTTP/1.0. */
static void judge_nameless(struct import *im, const struct site *s)
{
	DIRECTIVE_EACH (d, s->at)
		for (uint32_t i = 1; directive_is(d, "server_name") && i < d->n; i++)
			if (d->word[i].n == 0)
				judge(im, d, ADAPTED,
				      "calls without a Host go to the default server");
}

static uint32_t turns_of(struct import *im, const struct site *s, bool is_default, struct turn *t)
{
	uint32_t n = 0;

	if (!s->in_group)
		return 0;
	if (!is_default)
		judge_nameless(im, s);
	if (!is_default || is_captured(im, s))
		n = named_turns(im, s, t);
	if (is_default)
		t[n++] = (struct turn){ .site = s };
	return n;
}

static int by_rank(const void *a, const void *b)
{
	const struct turn *x = a, *y = b;

	if (x->rank != y->rank)
		return x->rank > y->rank ? -1 : 1;
	return x->order < y->order ? -1 : 1;
}

static void each_of_group(struct import *im, const struct group *g, struct turn *turns,
			  void (*each)(struct import *, const struct site *, const char *hosts))
{
	const struct site *dflt = default_of(im, g->addr);
	uint32_t n = 0;

	for (uint32_t i = 0; i < im->n_sites; i++)
		im->site[i].in_group = site_listens(&im->site[i], g->addr);
	for (uint32_t i = 0; i < im->n_sites; i++)
		n += turns_of(im, &im->site[i], &im->site[i] == dflt, turns + n);
	for (uint32_t i = 0; i < n; i++)
		turns[i].order = i;
	qsort(turns, n, sizeof(*turns), by_rank);
	for (uint32_t i = 0; i < n; i++)
		each(im, turns[i].site, turns[i].hosts);
}

void sites_each(struct import *im,
		void (*each)(struct import *, const struct site *, const char *hosts))
{
	struct groups *all = arena_zalloc(im->arena, sizeof(*all));
	bool asked[GROUPS_MAX] = { false };
	struct turn *turns;
	uint32_t room = 0;

	for (uint32_t i = 0; i < im->n_sites; i++)
		room += im->site[i].n_names + 2;
	turns = arena_zalloc(im->arena, (room + 1) * sizeof(*turns));
	if (turns == NULL || all == NULL) {
		tree_no_memory(im->tree);
		return;
	}
	find_groups(im, all);
	take_groups(all);
	for (uint32_t i = 0; i < im->n_sites; i++)
		judge_listeners(im, all, &im->site[i]);
	for (uint32_t i = 0; i < all->n; i++) {
		struct group *g = next_group(all, asked);

		asked[g - all->group] = true;
		if (!g->taken)
			continue;
		if (im->first == NULL)
			im->first = default_of(im, g->addr);
		im->when = when_of(im, all, g);
		each_of_group(im, g, turns, each);
	}
}
