/* location.c - the locations of a server, flat and in order.
 *
 * nginx takes an exact location first; then it looks for the longest prefix, and if that says `^~` takes it; else the first
 * regular expression that is met; else the prefix.  A nested location is a longer prefix that inherits.  In a row that is:
 * exact ones, prefixes with `^~`, regular expressions, prefixes; each kind of prefix from the longest on.
 *
 * Where /x/ passes calls on and /x has no location, /x is answered with a redirect to /x/. */
#include <stdlib.h>
#include <string.h>

#include "nginx-compat/internal.h"

struct form {
	const char *sign;
	bool spot; /* else it is no path */
	enum spot_kind kind;
};

/* Longer signs first: they may stand before the path without a space. */
static const struct form forms[] = {
	{ "^~", true, SPOT_PREFIX }, { "~*", true, SPOT_REGEX }, { "=", true, SPOT_EXACT },
	{ "~", true, SPOT_REGEX },   { "@", false, 0 },          { "", true, SPOT_PREFIX },
};

static const struct form *form_of(const struct directive *d, struct slice *path)
{
	for (size_t i = 0;; i++) {
		struct slice sign = slice_str(forms[i].sign);

		if (d->n == 3 ? !slice_eq(d->word[1], sign) && sign.n > 0
			      : !slice_starts(d->word[1], sign))
			continue;
		*path =
		    d->n == 3 ? d->word[2] : slice_of(d->word[1].p + sign.n, d->word[1].n - sign.n);
		return &forms[i];
	}
}

struct directive *location_named(const struct site *s, const char *name)
{
	DIRECTIVE_EACH (d, s->at)
		if (directive_is(d, "location") && d->n == 2 && slice_is(d->word[1], name))
			return d;
	return NULL;
}

static uint32_t count(const struct directive *block)
{
	uint32_t n = 0;

	DIRECTIVE_EACH (d, block)
		if (directive_is(d, "location"))
			n += 1 + count(d);
	return n;
}

static bool is_regex(const struct directive *d)
{
	struct slice path;

	return directive_is(d, "location") && form_of(d, &path)->kind == SPOT_REGEX;
}

static void add(struct import *im, struct directive *block, struct spot *spots, uint32_t *n)
{
	DIRECTIVE_EACH (d, block) {
		const struct form *f;
		struct slice path;

		if (!directive_is(d, "location"))
			continue;
		f = form_of(d, &path);
		if (!f->spot)
			continue;
		if (is_regex(block) || (f->kind == SPOT_REGEX && directive_is(block, "location"))) {
			judge(im, d, LOST,
			      "a location inside, with a regular expression: its calls go to the "
			      "one around it");
		} else if (f->kind != SPOT_REGEX && (path.n == 0 || path.p[0] != '/')) {
			judge(im, d, LOST, "a path begins with /");
		} else {
			spots[(*n)++] =
			    (struct spot){ .kind = f->kind,
					   .path = path,
					   .at = d,
					   .caseless = f->sign[0] == '~' && f->sign[1] == '*',
					   .stop = f->sign[0] == '^' };
			add(im, d, spots, n);
		}
	}
}

/* A prefix below one with `^~` would come too late. */
static void lift(struct import *im, struct spot *spots, uint32_t n)
{
	bool regex = false;

	for (uint32_t i = 0; i < n; i++)
		regex |= spots[i].kind == SPOT_REGEX;
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < n; j++) {
			if (spots[i].kind != SPOT_PREFIX || spots[i].stop || !spots[j].stop ||
			    !slice_starts(spots[i].path, spots[j].path))
				continue;
			spots[i].stop = true;
			if (regex)
				judge(im, spots[i].at, ADAPTED,
				      "below a `^~`: regular expressions are not asked");
		}
}

static int rank(const struct spot *s)
{
	return s->kind == SPOT_EXACT ? 0 : s->kind == SPOT_REGEX ? 2 : s->stop ? 1 : 3;
}

static int in_order(const void *a, const void *b)
{
	const struct spot *x = a, *y = b;

	if (rank(x) != rank(y))
		return rank(x) < rank(y) ? -1 : 1;
	if (x->kind != SPOT_REGEX && x->path.n != y->path.n)
		return x->path.n > y->path.n ? -1 : 1;
	return x->order < y->order ? -1 : x->order > y->order;
}

/* Those of one length stand together. */
static void check_double(struct import *im, const struct spot *spots, uint32_t at)
{
	const struct spot *s = &spots[at];

	for (uint32_t i = at; i > 0 && s->kind != SPOT_REGEX && spots[i - 1].kind == s->kind &&
			      spots[i - 1].path.n == s->path.n;
	     i--)
		if (slice_eq(spots[i - 1].path, s->path))
			tree_wrong(im->tree, s->at->file, s->at->end_line,
				   "duplicate location \"%.*s\"", SLICE_FMT(s->path));
}

static bool is_there(const struct spot *spots, uint32_t n, struct slice path)
{
	for (uint32_t i = 0; i < n; i++)
		if (spots[i].kind != SPOT_REGEX && slice_eq(spots[i].path, path))
			return true;
	return false;
}

static void add_slashes(struct spot *spots, uint32_t *n)
{
	uint32_t given = *n;

	for (uint32_t i = 0; i < given; i++) {
		const struct spot *s = &spots[i];
		struct slice bare = slice_of(s->path.p, s->path.n - 1);

		if (s->kind != SPOT_PREFIX || s->path.n < 2 || s->path.p[s->path.n - 1] != '/' ||
		    block_own(s->at, "proxy_pass") == NULL || is_there(spots, given, bare))
			continue;
		spots[*n] = (struct spot){ .kind = SPOT_EXACT, .path = bare, .at = s->at };
		spots[(*n)++].slash = true;
	}
}

struct spot *locations_read(struct import *im, const struct site *s, uint32_t *n)
{
	static const struct slice root = SLICE("/");
	struct spot *spots = arena_zalloc(im->arena, (2 * count(s->at) + 1) * sizeof(*spots));
	bool whole = false;

	*n = 0;
	if (spots == NULL) {
		tree_no_memory(im->tree);
		return NULL;
	}
	add(im, s->at, spots, n);
	add_slashes(spots, n);
	for (uint32_t i = 0; i < *n; i++)
		whole |= spots[i].kind == SPOT_PREFIX && slice_eq(spots[i].path, root);
	if (!whole)
		spots[(*n)++] = (struct spot){ .kind = SPOT_PREFIX, .path = root, .at = s->at };
	lift(im, spots, *n);
	for (uint32_t i = 0; i < *n; i++)
		spots[i].order = i;
	qsort(spots, *n, sizeof(*spots), in_order);
	for (uint32_t i = 0; i < *n; i++)
		check_double(im, spots, i);
	return spots;
}

const char *location_path(struct import *im, struct slice path)
{
	struct buf b = { 0 };

	for (size_t i = 0; i < path.n; i++) {
		unsigned char c = (unsigned char)path.p[i];

		if (c <= ' ' || c >= 0x7F || strchr("%?#*\"<>\\^`{|}", c) != NULL)
			buf_printf(&b, "%%%02X", c);
		else
			buf_putc(&b, (char)c);
	}
	return text_buf(im, &b);
}
