/* location.c - the locations of a server, flat and in order.
 *
 * nginx takes an exact location first; then it looks for the longest prefix, and if that says `^~` takes it; else the first
 * regular expression that is met; else the prefix.  A nested location is a longer prefix that inherits.  In a row that is:
 * exact ones, prefixes with `^~`, regular expressions, prefixes; each kind of prefix from the longest on.
 *
 * Regular expressions inside a location are asked before others, where that location is the one: behind the exact ones, with
 * a condition on the path.
 *
 * Where /x/ passes calls on and /x has no location, /x is answered with a redirect to /x/. */
#include <stdlib.h>
#include <string.h>

#include "core/pattern.h"
#include "nginx-compat/internal.h"

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

/* Conditions on the path that are of the location's own would be one too many. */
static bool asks_path(struct import *im, const struct directive *block)
{
	DIRECTIVE_EACH (d, block)
		if (when_return(im, d) != NULL && strncmp(when_text(im, d), "path:", 5) == 0)
			return true;
	return false;
}

/* Whether a location with a regular expression inside this one can be had: as both at once. */
static bool is_nested(struct import *im, const struct directive *block, const struct directive *d)
{
	struct slice path;

	if (!directive_is(block, "location"))
		return false;
	for (const struct directive *b = block->parent; form_is_regex(block) && b != NULL;
	     b = b->parent)
		if (directive_is(b, "location"))
			return false;
	return form_of(block, &path)->spot && form_of(block, &path)->kind != SPOT_EXACT &&
	       !asks_path(im, d);
}

static void add_one(struct directive *d, const struct form *f, struct slice path,
		    struct spot *spots, uint32_t *n)
{
	struct spot *s = &spots[(*n)++];
	struct slice around;

	*s = (struct spot){ .kind = f->kind,
			    .path = path,
			    .at = d,
			    .caseless = f->sign[0] == '~' && f->sign[1] == '*',
			    .stop = f->sign[0] == '^' };
	if (f->kind != SPOT_REGEX || !directive_is(d->parent, "location"))
		return;
	s->outer = d->parent;
	if (form_of(d->parent, &around)->kind == SPOT_PREFIX)
		s->around = around;
}

/* As nginx has it: what is inside stands below what is around it. */
static bool check_inside(struct import *im, const struct directive *d, const struct form *f,
			 struct slice path)
{
	struct slice around;
	const struct form *outer;

	if (!directive_is(d->parent, "location"))
		return true;
	outer = form_of(d->parent, &around);
	if (outer->kind == SPOT_EXACT && outer->spot)
		return tree_wrong(im->tree, d->file, d->end_line,
				  "location \"%.*s\" cannot be inside the exact location \"%.*s\"",
				  SLICE_FMT(path), SLICE_FMT(around));
	if (f->kind == SPOT_REGEX || slice_starts(path, around) || !outer->spot)
		return true;
	return tree_wrong(im->tree, d->file, d->end_line,
			  "location \"%.*s\" is outside location \"%.*s\"", SLICE_FMT(path),
			  SLICE_FMT(around));
}

/* What is inside a regular expression is asked before it. */
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
		if (!check_inside(im, d, f, path))
			return;
		if (f->kind == SPOT_REGEX
			? directive_is(block, "location") && !is_nested(im, block, d)
			: form_is_regex(block)) {
			judge(im, d, LOST,
			      "a location inside, with a regular expression: its calls go to the "
			      "one around it");
		} else if (f->kind != SPOT_REGEX && (path.n == 0 || path.p[0] != '/')) {
			judge(im, d, LOST, "a path begins with /");
		} else {
			if (f->kind == SPOT_REGEX)
				add(im, d, spots, n);
			add_one(d, f, path, spots, n);
			if (f->kind != SPOT_REGEX)
				add(im, d, spots, n);
		}
	}
}

static int rank(const struct spot *s)
{
	return s->kind == SPOT_EXACT   ? 0
	       : s->around.n > 0       ? 1
	       : s->before             ? 2
	       : s->kind == SPOT_REGEX ? 3
				       : 4;
}

static int in_order(const void *a, const void *b)
{
	const struct spot *x = a, *y = b;

	if (rank(x) != rank(y))
		return rank(x) < rank(y) ? -1 : 1;
	if (x->around.n != y->around.n)
		return x->around.n > y->around.n ? -1 : 1;
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

static bool is_inside(const struct directive *d, const struct directive *outer)
{
	while (d != NULL && d != outer)
		d = d->parent;
	return d == outer;
}

/* Whether nginx would choose `s` before it looks into the location around a regular expression, or
 * inside of it before it asks that. */
static bool comes_before(const struct spot *s, const struct spot *nested)
{
	return s->kind == SPOT_PREFIX && s->path.n > nested->around.n &&
	       slice_starts(s->path, nested->around) &&
	       (is_inside(s->at, nested->outer) ? s->stop && s->at->parent == nested->outer : true);
}

static const char *letters(struct import *im, struct slice path)
{
	return text_printf(im, "\\Q%s\\E", location_path(im, path));
}

/* The location around it has the longest prefix. */
static void put_around(struct import *im, const struct spot *nested, const struct spot *spots,
		       uint32_t n, struct buf *b)
{
	buf_puts(b, "~ ^");
	for (uint32_t i = 0; i < n; i++)
		if (comes_before(&spots[i], nested))
			buf_printf(b, "(?!%s)", letters(im, spots[i].path));
	buf_puts(b, letters(im, nested->around));
}

static void find_around(struct import *im, struct spot *nested, const struct spot *spots,
			uint32_t n)
{
	struct buf b = { 0 };
	struct slice regex;

	if (nested->around.n > 0)
		put_around(im, nested, spots, n, &b);
	else
		buf_printf(&b, "%s ", form_of(nested->outer, &regex)->sign);
	if (nested->around.n == 0)
		buf_put(&b, regex.p, regex.n);
	if (b.n > PATTERN_MAX)
		tree_wrong(im->tree, nested->at->file, nested->at->end_line,
			   "too many locations beside the one around it");
	else
		nested->also = text_printf(im, "path: %s", text_yaml(im, text_buf(im, &b)));
	buf_fini(&b);
}

/* The one of the server that it stands in, or itself. */
static const struct directive *top_of(const struct directive *d)
{
	while (directive_is(d->parent, "location"))
		d = d->parent;
	return d;
}

/* A `^~` keeps the server's regular expressions from all that is inside of it, and from nothing else: inside of another
 * location it is about the ones there. */
static void find_stops(struct spot *spots, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct slice path;

		spots[i].before = spots[i].kind == SPOT_PREFIX &&
				  directive_is(spots[i].at, "location") &&
				  form_of(top_of(spots[i].at), &path)->sign[0] == '^';
	}
}

/* A longer prefix of the server than that of the outermost location with a `^~`. */
static bool is_longer(const struct spot *s, struct slice top)
{
	return s->kind == SPOT_PREFIX && !s->before && directive_is(s->at, "location") &&
	       directive_is(s->at->parent, "server") && s->path.n > top.n &&
	       slice_starts(s->path, top);
}

/* Two conditions on the path are one too many: then the longer one comes as early. */
static void come_early(struct import *im, struct spot *s)
{
	s->before = true;
	judge(im, s->at, ADAPTED, "below a `^~`: regular expressions are not asked");
}

/* Where a longer prefix of the server is chosen before a `^~`, regular expressions are asked. */
static void make_way(struct import *im, struct spot *spots, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct buf b = { 0 };
		struct slice top;
		bool asks = asks_path(im, spots[i].at);

		if (!spots[i].before || spots[i].also != NULL)
			continue;
		form_of(top_of(spots[i].at), &top);
		for (uint32_t k = 0; k < n; k++) {
			if (!is_longer(&spots[k], top))
				continue;
			if (asks)
				come_early(im, &spots[k]);
			else
				buf_printf(&b, "(?!%s)", letters(im, spots[k].path));
		}
		if (b.n > 0)
			spots[i].also =
			    text_printf(im, "path: %s",
					text_yaml(im, text_printf(im, "~ ^%s", text_buf(im, &b))));
		buf_fini(&b);
	}
}

static bool is_there(const struct spot *spots, uint32_t n, struct slice path)
{
	for (uint32_t i = 0; i < n; i++)
		if (spots[i].kind != SPOT_REGEX && slice_eq(spots[i].path, path))
			return true;
	return false;
}

/* Its exact location, which nginx would say it with; else the one itself. */
static const struct spot *exact_of(const struct spot *spots, uint32_t n, const struct spot *s)
{
	for (uint32_t i = 0; i < n; i++)
		if (spots[i].kind == SPOT_EXACT && slice_eq(spots[i].path, s->path))
			return &spots[i];
	return s;
}

static void add_slashes(struct spot *spots, uint32_t *n)
{
	uint32_t given = *n;

	for (uint32_t i = 0; i < given; i++) {
		const struct spot *s = &spots[i];
		struct slice bare = slice_of(s->path.p, s->path.n - 1);

		if (s->kind == SPOT_REGEX || s->path.n < 2 || s->path.p[s->path.n - 1] != '/' ||
		    block_own(s->at, "proxy_pass") == NULL || is_there(spots, *n, bare))
			continue;
		spots[*n] = (struct spot){ .kind = SPOT_EXACT,
					   .path = bare,
					   .at = exact_of(spots, given, s)->at };
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
	for (uint32_t i = 0; i < *n; i++)
		if (spots[i].outer != NULL)
			find_around(im, &spots[i], spots, *n);
	find_stops(spots, *n);
	make_way(im, spots, *n);
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
