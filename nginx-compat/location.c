/* location.c - the locations of a server, flat and in order.
 *
 * nginx takes an exact location first, else the longest prefix; a nested location is a longer prefix that inherits.  Regular
 * expressions come in between, unless the prefix says `^~`: Weir's paths have none, so they are lost, and their calls go to
 * the prefix they begin with. */
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
	{ "^~", true, SPOT_PREFIX }, { "~*", false, 0 }, { "=", true, SPOT_EXACT },
	{ "~", false, 0 },           { "@", false, 0 },  { "", true, SPOT_PREFIX },
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

static void add(struct import *im, struct directive *block, struct spot *spots, uint32_t *n)
{
	DIRECTIVE_EACH (d, block) {
		const struct form *f;
		struct slice path;

		if (!directive_is(d, "location"))
			continue;
		f = form_of(d, &path);
		if (f->spot && path.n > 0 && path.p[0] == '/') {
			spots[(*n)++] = (struct spot){ .kind = f->kind, .path = path, .at = d };
			add(im, d, spots, n);
		} else if (f->spot) {
			judge(im, d, LOST, "a path begins with /");
		} else if (*f->sign == '~') {
			judge(im, d, LOST,
			      "paths have no regular expressions yet: its calls go to the location "
			      "whose path they begin with");
		}
	}
}

static int in_order(const void *a, const void *b)
{
	const struct spot *x = a, *y = b;

	if (x->kind != y->kind)
		return x->kind == SPOT_EXACT ? -1 : 1;
	if (x->path.n != y->path.n)
		return x->path.n > y->path.n ? -1 : 1;
	return x->at->line < y->at->line ? -1 : x->at->line > y->at->line;
}

/* Those of one length stand together. */
static void check_double(struct import *im, const struct spot *spots, uint32_t at)
{
	const struct spot *s = &spots[at];

	for (uint32_t i = at;
	     i > 0 && spots[i - 1].kind == s->kind && spots[i - 1].path.n == s->path.n; i--)
		if (slice_eq(spots[i - 1].path, s->path))
			tree_wrong(im->tree, s->at->file, s->at->end_line,
				   "duplicate location \"%.*s\"", SLICE_FMT(s->path));
}

struct spot *locations_read(struct import *im, const struct site *s, uint32_t *n)
{
	static const struct slice root = SLICE("/");
	struct spot *spots = arena_zalloc(im->arena, (count(s->at) + 1) * sizeof(*spots));
	bool whole = false;

	*n = 0;
	if (spots == NULL) {
		tree_no_memory(im->tree);
		return NULL;
	}
	add(im, s->at, spots, n);
	for (uint32_t i = 0; i < *n; i++)
		whole |= spots[i].kind == SPOT_PREFIX && slice_eq(spots[i].path, root);
	if (!whole)
		spots[(*n)++] = (struct spot){ .kind = SPOT_PREFIX, .path = root, .at = s->at };
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
