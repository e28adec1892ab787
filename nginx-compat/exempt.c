/* exempt.c - keys that map or geo make empty for some: their calls are not counted.
 *
 * Understood are the two forms that people use:
 *
 *   geo $limited { default 1; 10.0.0.0/8 0; }  map $limited $key { 0 ""; 1 $binary_remote_addr; }
 *   map $http_x_key $key { default $http_x_key; "secret" ""; }
 *
 * The first becomes overrides for networks, the most specific first, as geo finds them; the second overrides for values. */
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "nginx-compat/internal.h"

static struct directive *find_block(const struct import *im, const char *kind,
				    struct slice variable)
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

/* What a map makes of a value: the word of its line, or of its default, or "". */
static const char *look_up(const struct directive *map, const char *value)
{
	const char *dflt = "";

	DIRECTIVE_EACH (line, map) {
		if (line->n != 2)
			continue;
		if (slice_is(line->word[0], "default"))
			dflt = line->word[1].p;
		else if (strcasecmp(line->word[0].p + (line->word[0].p[0] == '\\'), value) == 0)
			return line->word[1].p;
	}
	return dflt;
}

/* Lines that only a full evaluation would understand. */
static bool is_simple(const struct directive *block)
{
	static const char *const words[] = { "ranges",    "proxy",    "proxy_recursive", "delete",
					     "hostnames", "volatile", "include" };

	DIRECTIVE_EACH (line, block) {
		if (line->n > 0 && line->word[0].p[0] == '~')
			return false;
		for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
			if (directive_is(line, words[i]))
				return false;
	}
	return true;
}

/*---------------------------------------------------------------- networks */

struct network {
	const char *text;
	uint8_t bits;
	bool exempt;
};

static int most_specific(const void *a, const void *b)
{
	return ((const struct network *)b)->bits - ((const struct network *)a)->bits;
}

static uint32_t count_lines(const struct directive *block)
{
	uint32_t n = 0;

	DIRECTIVE_EACH (line, block)
		n++;
	return n;
}

/* The key that all who are not exempt have; NULL: they have different ones. */
struct finding {
	const char *key;
	bool mixed;
};

static bool is_exempt(struct finding *f, const char *value)
{
	if (*value == '\0')
		return true;
	f->mixed |= f->key != NULL && strcmp(f->key, value) != 0;
	f->key = value;
	return false;
}

/* What it is limited to is put in its place by who knows. */
static void put_override(struct buf *b, const char *match, bool exempt, bool *any)
{
	buf_printf(b, "%s{ match: %s, %c }", *any ? ", " : "", match,
		   exempt ? KEY_UNLIMITED : KEY_LIMITED);
	*any = true;
}

static const char *network_overrides(struct import *im, struct network *list, uint32_t n, bool dflt)
{
	struct buf b = { 0 };
	bool any = false;

	qsort(list, n, sizeof(*list), most_specific);
	for (uint32_t i = 0; i < n; i++)
		put_override(&b, text_yaml(im, list[i].text), list[i].exempt, &any);
	if (dflt) {
		put_override(&b, "0.0.0.0/0", true, &any);
		put_override(&b, "\"::/0\"", true, &any);
	}
	return b.n == 0 ? NULL : text_buf(im, &b);
}

static bool read_geo(struct import *im, const struct directive *geo, const struct directive *map,
		     struct finding *f, const char **overrides)
{
	struct network *list = arena_zalloc(im->arena, (count_lines(geo) + 1) * sizeof(*list));
	const char *dflt = look_up(geo, "");
	uint32_t n = 0;

	if (list == NULL)
		return tree_no_memory(im->tree);
	DIRECTIVE_EACH (line, geo) {
		struct cidr cidr;

		if (line->n != 2 || slice_is(line->word[0], "default"))
			continue;
		if (!cidr_parse(line->word[0], &cidr))
			return false;
		list[n].text = line->word[0].p;
		list[n].bits = cidr.bits;
		list[n++].exempt =
		    is_exempt(f, map == NULL ? line->word[1].p : look_up(map, line->word[1].p));
	}
	*overrides =
	    network_overrides(im, list, n, is_exempt(f, map == NULL ? dflt : look_up(map, dflt)));
	return true;
}

/*------------------------------------------------------------------- values */

/* map $x $key { default $x; "value" ""; }: but for the exempt ones, the key is what is looked at. */
static bool read_values(struct import *im, const struct directive *map, struct finding *f,
			const char **overrides)
{
	struct buf b = { 0 };
	bool any = false;

	if (is_exempt(f, look_up(map, "default")))
		return false;
	DIRECTIVE_EACH (line, map) {
		if (line->n != 2 || slice_is(line->word[0], "default"))
			continue;
		if (line->word[0].n == 0 && line->word[1].n == 0)
			continue; /* a call without it is not counted anyway */
		put_override(&b, text_yaml(im, line->word[0].p), is_exempt(f, line->word[1].p),
			     &any);
	}
	*overrides = any ? text_buf(im, &b) : NULL;
	buf_fini(&b);
	return strcmp(f->key, map->word[1].p) == 0;
}

static void judge_block(struct import *im, struct directive *block)
{
	judge(im, block, EXACT, NULL);
	DIRECTIVE_EACH (line, block)
		judge(im, line, EXACT, NULL);
}

/* The key that stands behind f, with the exemptions. */
static bool finish(struct import *im, const struct site *site, const struct finding *f,
		   const char *overrides, struct key *key)
{
	struct slice variable = f->key == NULL ? slice_of(NULL, 0) : variable_alone(f->key);

	if (f->mixed || variable.p == NULL || find_block(im, "map", variable) != NULL)
		return false; /* a map of a map would have no end if they named each other */
	key_read(im, site, f->key, key);
	if (key->overrides != NULL || key->yaml == NULL || key->yaml[0] == '[')
		return false;
	key->overrides = overrides;
	return true;
}

static bool read_map(struct import *im, const struct site *site, struct directive *map,
		     struct key *key)
{
	struct slice source = variable_alone(map->word[1].p);
	struct directive *geo = source.p == NULL ? NULL : find_block(im, "geo", source);
	struct finding f = { 0 };
	const char *overrides = NULL;
	bool ok;

	if (!is_simple(map) || source.p == NULL)
		return false;
	if (geo != NULL)
		ok = geo->n == 2 && is_simple(geo) && read_geo(im, geo, map, &f, &overrides);
	else
		ok = read_values(im, map, &f, &overrides);
	if (!ok || !finish(im, site, &f, overrides, key) ||
	    (geo != NULL && strncmp(key->yaml, "client.ip", 9) != 0))
		return false;
	judge_block(im, map);
	if (geo != NULL)
		judge_block(im, geo);
	return true;
}

bool exempt_read(struct import *im, const struct site *site, struct slice variable, struct key *key)
{
	static const char *const kinds[] = { "geo", "split_clients" };
	struct directive *map = find_block(im, "map", variable);

	if (map != NULL && read_map(im, site, map, key))
		return true;
	for (size_t i = 0; map == NULL && i < 2; i++)
		map = find_block(im, kinds[i], variable);
	if (map == NULL)
		return false;
	*key = (struct key){ .why = text_printf(
				 im,
				 "the key is made by the %s of %s:%u, which has no such "
				 "form in Weir",
				 map->word[0].p, text_file(im, map->file), map->line) };
	judge(im, map, LOST, "only exemptions from one key can be said (`overrides`)");
	return true;
}
