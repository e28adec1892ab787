/* lookup.c - map, geo and split_clients as values of the configuration, and keys that are more than one of Weir's.
 *
 * nginx asks a map for the text itself, whatever its case, then for host names by their stars, the longest first, then for
 * regular expressions in their order; Weir for its entries in theirs: so they are written in that order.  geo takes the most
 * specific network; of ranges the last that was given. */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/addr.h"
#include "conf/value.h"
#include "nginx-compat/internal.h"

enum { DEPTH_MAX = 16, RANGE_PARTS_MAX = 64 };

struct directive *lookup_block(const struct import *im, const char *kind, struct slice variable)
{
	DIRECTIVE_EACH (d, im->http) {
		struct slice made;

		if (!directive_is(d, kind) || d->n < 2)
			continue;
		made = d->word[d->n - 1];
		if (made.n == variable.n + 1 && memcmp(made.p + 1, variable.p, variable.n) == 0)
			return d;
	}
	return NULL;
}

/* One under way. */
struct lookup {
	struct import *im;
	const struct site *site;
	struct directive *at;
	const char *of, *dflt; /* texts as Weir has them */
	struct buf entries;
	struct buf proxies;
	bool letters;    /* case would matter */
	const char *why; /* it cannot be said */
};

static bool lost(struct lookup *l, const char *why)
{
	if (l->why == NULL)
		l->why = why;
	return false;
}

static const char *literal(struct import *im, struct slice s)
{
	struct buf b = { 0 };

	variable_literal(s, &b);
	return text_buf(im, &b);
}

/* Nothing of a block around has a say in what a value is: `set` has not been done then. */
static const char *phrase(struct lookup *l, struct slice s, bool groups)
{
	const char *text = variable_phrase(l->im, l->site, l->im->http, s.p, groups);

	if (text == NULL)
		lost(l,
		     text_printf(l->im, "there is nothing like `%.*s` to look up, or to make of it",
				 SLICE_FMT(s)));
	return text;
}

static void put_entry(struct lookup *l, const char *match, const char *value)
{
	buf_printf(&l->entries, "%s{ match: %s, value: %s }", l->entries.n > 0 ? ", " : "", match,
		   text_yaml(l->im, value));
}

/*--------------------------------------------------------------------- map */

/* In the order in which nginx asks. */
enum map_turn { TURN_TEXT, TURN_BEHIND, TURN_BEFORE, TURN_REGEX, TURNS, TURN_NONE };

static bool has_word(const struct directive *block, const char *word)
{
	DIRECTIVE_EACH (line, block)
		if (line->n == 1 && directive_is(line, word))
			return true;
	return false;
}

/* "\default" is the text "default". */
static struct slice bare(struct slice s)
{
	return s.n > 0 && s.p[0] == '\\' ? slice_of(s.p + 1, s.n - 1) : s;
}

static enum map_turn turn_of(const struct directive *line, bool hosts)
{
	struct slice s = line->word[0];

	if (line->n != 2 || slice_is(s, "default") || slice_is(s, "include"))
		return TURN_NONE;
	if (s.n > 0 && s.p[0] == '~')
		return TURN_REGEX;
	if (hosts && s.n > 1 && (s.p[0] == '.' || (s.p[0] == '*' && s.p[1] == '.')))
		return TURN_BEHIND;
	if (hosts && s.n > 2 && s.p[s.n - 1] == '*' && s.p[s.n - 2] == '.')
		return TURN_BEFORE;
	return TURN_TEXT;
}

/* ".x" is "x" and "*.x"; the dot at the end of a name that is complete is none of it. */
static const char *host_match(struct import *im, struct slice s, enum map_turn turn)
{
	const char *text;

	if (turn == TURN_BEFORE)
		text = text_printf(im, "~* ^\\Q%.*s\\E.+$", (int)s.n - 1, s.p);
	else if (s.p[0] == '.')
		text = text_printf(im, "~* ^(?:.+\\.)?\\Q%.*s\\E\\.?$", (int)s.n - 1, s.p + 1);
	else
		text = text_printf(im, "~* ^.+\\.\\Q%.*s\\E\\.?$", (int)s.n - 2, s.p + 2);
	return text_yaml(im, text);
}

static const char *text_match(struct lookup *l, struct slice s)
{
	s = bare(s);
	for (size_t i = 0; i < s.n; i++)
		l->letters |=
		    ((unsigned char)s.p[i] | 0x20) >= 'a' && ((unsigned char)s.p[i] | 0x20) <= 'z';
	if (s.n > 0 && s.p[0] == '~')
		return text_yaml(l->im, text_printf(l->im, "~* ^\\Q%.*s\\E$", SLICE_FMT(s)));
	return text_yaml(l->im, text_printf(l->im, "%.*s", SLICE_FMT(s)));
}

static const char *regex_match(struct import *im, struct slice s)
{
	bool caseless = s.n > 1 && s.p[1] == '*';
	size_t skip = caseless ? 2 : 1;

	return text_yaml(
	    im, text_printf(im, "~%s %.*s", caseless ? "*" : "", (int)(s.n - skip), s.p + skip));
}

static bool put_map_line(struct lookup *l, const struct directive *line, enum map_turn turn,
			 bool hosts)
{
	struct slice s = line->word[0];
	const char *value = phrase(l, line->word[1], turn == TURN_REGEX), *match;

	if (value == NULL)
		return false;
	if (turn == TURN_REGEX)
		match = regex_match(l->im, s);
	else if (turn == TURN_TEXT && hosts &&
		 s.n > 0) /* a name that is complete ends with a dot */
		match = text_printf(
		    l->im, "[%s, %s]", text_match(l, s),
		    text_match(l, slice_str(text_printf(l->im, "%.*s.", SLICE_FMT(s)))));
	else
		match = turn == TURN_TEXT ? text_match(l, s) : host_match(l->im, s, turn);
	put_entry(l, match, value);
	return true;
}

/* Of those of a turn the next that is no longer than `most`, and not as long at or before `from`. */
static const struct directive *next_longest(const struct directive *map, enum map_turn turn,
					    const struct directive *from)
{
	const struct directive *best = NULL;
	bool behind = from == NULL;

	DIRECTIVE_EACH (line, map) {
		size_t n = line->n > 0 ? line->word[0].n : 0;
		bool later =
		    from == NULL || n < from->word[0].n || (behind && n == from->word[0].n);

		if (turn_of(line, true) == turn && later && (best == NULL || n > best->word[0].n))
			best = line;
		behind |= line == from;
	}
	return best;
}

static bool put_turn(struct lookup *l, enum map_turn turn, bool hosts)
{
	bool ok = true;

	if (turn == TURN_BEHIND || turn == TURN_BEFORE) {
		for (const struct directive *line = NULL;
		     ok && hosts && (line = next_longest(l->at, turn, line)) != NULL;)
			ok = put_map_line(l, line, turn, hosts);
		return ok;
	}
	DIRECTIVE_EACH (line, l->at)
		if (ok && turn_of(line, hosts) == turn)
			ok = put_map_line(l, line, turn, hosts);
	return ok;
}

static bool read_map(struct lookup *l)
{
	bool hosts = has_word(l->at, "hostnames");

	l->of = phrase(l, l->at->word[1], false);
	for (int turn = 0; turn < TURNS && l->of != NULL; turn++)
		if (!put_turn(l, (enum map_turn)turn, hosts))
			return false;
	DIRECTIVE_EACH (line, l->at) {
		if (line->n != 2 || !slice_is(line->word[0], "default"))
			continue;
		l->dflt = phrase(l, line->word[1], false);
		if (l->dflt == NULL)
			return false;
	}
	return l->of != NULL;
}

/*--------------------------------------------------------------------- geo */

struct network {
	struct cidr cidr;
	const struct directive *line;
	uint32_t order;
};

struct networks {
	uint32_t n, cap;
	struct network *item;
};

static int most_specific(const void *a, const void *b)
{
	const struct network *x = a, *y = b;

	if (x->cidr.bits != y->cidr.bits)
		return x->cidr.bits > y->cidr.bits ? -1 : 1;
	return x->order > y->order ? -1 : 1; /* the last of the same counts */
}

static int last_first(const void *a, const void *b)
{
	return ((const struct network *)a)->order > ((const struct network *)b)->order ? -1 : 1;
}

static bool add_network(struct lookup *l, struct networks *all, struct cidr cidr,
			const struct directive *line)
{
	if (all->n == all->cap) {
		uint32_t cap = all->cap == 0 ? 64 : all->cap * 2;
		struct network *item = arena_zalloc(l->im->arena, cap * sizeof(*item));

		if (item == NULL)
			return tree_no_memory(l->im->tree);
		if (all->n > 0)
			memcpy(item, all->item, all->n * sizeof(*item));
		all->item = item;
		all->cap = cap;
	}
	all->item[all->n] = (struct network){ .cidr = cidr, .line = line, .order = all->n };
	all->n++;
	return true;
}

static uint32_t v4_of(const struct ip *ip)
{
	return (uint32_t)ip->b[12] << 24 | (uint32_t)ip->b[13] << 16 | (uint32_t)ip->b[14] << 8 |
	       ip->b[15];
}

/* "10.0.0.1-10.0.0.9", or one address, as networks. */
static bool add_range(struct lookup *l, struct networks *all, const struct directive *line)
{
	struct slice rest = line->word[directive_is(line, "delete") ? 1 : 0],
		     from = slice_cut(&rest, '-');
	struct ip a, b;
	uint64_t at, end;

	if (!ip_parse(from, &a) || !ip_parse(rest.n > 0 ? rest : from, &b) || !ip_is_v4(&a) ||
	    !ip_is_v4(&b))
		return lost(
		    l, text_printf(l->im, "`%.*s` is no range of IPv4", SLICE_FMT(line->word[0])));
	end = (uint64_t)v4_of(&b) + 1;
	for (at = v4_of(&a); at < end;) {
		unsigned bits = 0;
		struct cidr cidr = { .ip = a };

		while (bits < 32 && (at & (UINT64_C(1) << bits)) == 0 &&
		       at + (UINT64_C(2) << bits) <= end)
			bits++;
		for (int i = 0; i < 4; i++)
			cidr.ip.b[12 + i] = (unsigned char)(at >> (24 - 8 * i));
		cidr.bits = (uint8_t)(128 - bits);
		if (!add_network(l, all, cidr, line))
			return false;
		at += UINT64_C(1) << bits;
	}
	return true;
}

/* `delete` takes back what was given before. */
static void delete_network(struct networks *all, const struct cidr *cidr)
{
	for (uint32_t i = 0; i < all->n; i++)
		if (all->item[i].cidr.bits == cidr->bits &&
		    memcmp(&all->item[i].cidr.ip, &cidr->ip, sizeof(cidr->ip)) == 0)
			all->item[i].line = NULL;
}

static bool read_geo_line(struct lookup *l, struct networks *all, const struct directive *line,
			  bool ranges)
{
	struct cidr cidr;
	struct slice text = line->word[0];
	bool deletes = slice_is(text, "delete");

	if (slice_is(text, "default")) {
		l->dflt = literal(l->im, line->word[1]);
		return true;
	}
	if (slice_is(text, "include"))
		return true;
	if (slice_is(text, "proxy")) {
		if (!cidr_parse(line->word[1], &cidr))
			return lost(l, text_printf(l->im, "`%.*s` is no network",
						   SLICE_FMT(line->word[1])));
		buf_printf(&l->proxies, "%s%s", l->proxies.n > 0 ? ", " : "",
			   text_yaml(l->im, line->word[1].p));
		return true;
	}
	if (ranges)
		return add_range(l, all, line);
	if (!cidr_parse(deletes ? line->word[1] : text, &cidr))
		return lost(l, text_printf(l->im, "`%.*s` is no network", SLICE_FMT(text)));
	if (deletes)
		delete_network(all, &cidr);
	return deletes || add_network(l, all, cidr, line);
}

static void put_network(struct lookup *l, const struct network *n)
{
	char text[IP_TEXT_MAX];
	unsigned bits = n->cidr.bits;
	bool v4 = ip_is_v4(&n->cidr.ip) && bits >= 96;

	ip_format(&n->cidr.ip, text);
	put_entry(l, text_yaml(l->im, text_printf(l->im, "%s/%u", text, v4 ? bits - 96 : bits)),
		  directive_is(n->line, "delete") ? (l->dflt != NULL ? l->dflt : "")
						  : literal(l->im, n->line->word[1]));
}

static bool read_geo(struct lookup *l)
{
	struct networks all = { 0 };
	bool ranges = has_word(l->at, "ranges");

	l->of = l->at->n == 2 ? "{client.ip}" : phrase(l, l->at->word[1], false);
	if (l->of == NULL)
		return false;
	DIRECTIVE_EACH (line, l->at)
		if (line->n == 2 && !read_geo_line(l, &all, line, ranges))
			return false;
	if (all.n > 0)
		qsort(all.item, all.n, sizeof(*all.item), ranges ? last_first : most_specific);
	for (uint32_t i = 0; i < all.n; i++)
		if (all.item[i].line != NULL)
			put_network(l, &all.item[i]);
	return true;
}

/*----------------------------------------------------------------- shares */

static bool read_shares(struct lookup *l)
{
	uint32_t ppm;

	if (strstr(l->at->word[1].p, "binary_remote_addr") != NULL)
		return lost(
		    l,
		    "shares of addresses in binary form are others than those of their text: use "
		    "$remote_addr");
	l->of = phrase(l, l->at->word[1], false);
	if (l->of == NULL)
		return false;
	DIRECTIVE_EACH (line, l->at) {
		if (line->n != 2 || slice_is(line->word[0], "include"))
			continue;
		if (slice_is(line->word[0], "*")) {
			l->dflt = literal(l->im, line->word[1]);
			continue;
		}
		if (value_share(line->word[0], &ppm) != NULL)
			return lost(
			    l, text_printf(l->im, "`%.*s` is no share", SLICE_FMT(line->word[0])));
		buf_printf(&l->entries, "%s{ share: %.*s, value: %s }",
			   l->entries.n > 0 ? ", " : "", SLICE_FMT(line->word[0]),
			   text_yaml(l->im, literal(l->im, line->word[1])));
	}
	return true;
}

/*-------------------------------------------------------------------- names */

static const struct {
	const char *kind, *list;
	bool (*read)(struct lookup *);
} kinds[] = {
	{ "map", "map", read_map },
	{ "geo", "map", read_geo },
	{ "split_clients", "split", read_shares },
};

static const char *write_lookup(struct lookup *l, struct slice variable, const char *list,
				bool by_address)
{
	struct buf b = { 0 };
	const char *body;

	buf_printf(&b, "{ of: %s", text_yaml(l->im, l->of));
	if (by_address)
		buf_puts(&b, ", by: address");
	if (l->proxies.n > 0)
		buf_printf(&b, ", forwarded: { trust: [%s]%s }", text_buf(l->im, &l->proxies),
			   has_word(l->at, "proxy_recursive") ? "" : ", nearest: true");
	if (l->letters)
		buf_puts(&b, ", caseless: true");
	if (l->entries.n > 0)
		buf_printf(&b, ", %s: [%s]", list, text_buf(l->im, &l->entries));
	else
		buf_puts(&b,
			 ", map: [{ match: \"~ ^(?!)\", value: \"\" }]"); /* or `of` would be it */
	if (l->dflt != NULL)
		buf_printf(&b, ", default: %s", text_yaml(l->im, l->dflt));
	buf_puts(&b, " }");
	body = text_buf(l->im, &b);
	return text_value(l->im, text_printf(l->im, "%.*s", SLICE_FMT(variable)), body, l->at);
}

const char *lookup_name(struct import *im, const struct site *site, struct slice variable)
{
	struct lookup l = { .im = im, .site = site };
	const char *name = NULL;
	size_t i;

	for (i = 0; i < sizeof(kinds) / sizeof(kinds[0]) && l.at == NULL; i++)
		l.at = lookup_block(im, kinds[i].kind, variable);
	if (l.at == NULL || !l.at->block)
		return NULL;
	i--;
	if (++im->lookups > DEPTH_MAX)
		lost(&l, "it is made of too many others, or of itself");
	else if (kinds[i].read(&l))
		name = write_lookup(&l, variable, kinds[i].list, kinds[i].read == read_geo);
	im->lookups--;
	buf_fini(&l.entries);
	buf_fini(&l.proxies);
	judge(im, l.at, name != NULL ? EXACT : LOST, name != NULL ? NULL : "%s", l.why);
	DIRECTIVE_EACH (line, l.at)
		judge(im, line, name != NULL ? EXACT : LOST,
		      name != NULL ? NULL : "so is what it stands in");
	return name;
}

const char *lookup_text(struct import *im, const struct site *site, const char *wanted,
			const char *text, const struct directive *at)
{
	const char *phrase_of;

	im->lookups++;
	phrase_of = variable_phrase(im, site, im->http, text, false);
	im->lookups--;
	if (phrase_of == NULL)
		return NULL;
	return text_value(im, wanted, text_yaml(im, phrase_of), at);
}
