/* exempt.c - keys that map and geo make empty for some: their calls are not counted.
 *
 * The form that most people use becomes overrides for networks, the most specific first, as geo finds them:
 *
 *   geo $limited { default 1; 10.0.0.0/8 0; }  map $limited $key { 0 ""; 1 $binary_remote_addr; }
 *
 * All others are values (lookup.c). */
#include <stdlib.h>
#include <string.h>

#include "base/addr.h"
#include "nginx-compat/internal.h"

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

static void judge_block(struct import *im, struct directive *block)
{
	judge(im, block, EXACT, NULL);
	DIRECTIVE_EACH (line, block)
		judge(im, line, EXACT, NULL);
}

bool exempt_read(struct import *im, struct slice variable, struct exempt *e)
{
	struct directive *map = lookup_block(im, "map", variable);
	struct slice source = map == NULL ? slice_of(NULL, 0) : variable_alone(map->word[1].p);
	struct directive *geo = source.p == NULL ? NULL : lookup_block(im, "geo", source);
	struct finding f = { 0 };

	if (geo == NULL || !is_simple(map) || geo->n != 2 || !is_simple(geo))
		return false;
	*e = (struct exempt){ .map = map, .geo = geo };
	if (!read_geo(im, geo, map, &f, &e->overrides) || f.mixed || f.key == NULL)
		return false;
	e->key = f.key;
	source = variable_alone(f.key);
	/* a map of a map would have no end if they named each other */
	return source.p != NULL && lookup_block(im, "map", source) == NULL;
}

void exempt_judge(struct import *im, const struct exempt *e)
{
	judge_block(im, e->map);
	judge_block(im, e->geo);
}
