/* set.c - what a variable of `set` is.
 *
 *   set $a x;                              a text, put where it is asked for
 *   set $a x; if ($http_b = y) { set $a z; }   a value: { of: "{header.b}", map: [{ match: y, value: z }], default: x }
 *
 * The lines of the server come first, in order, then those of the location itself (not of one around it), up to the line
 * that asks, or to the first that ends them. */
#include <string.h>

#include "nginx-compat/internal.h"

enum { SETS_MAX = 8, BLOCKS_MAX = 8, TEXT_MAX = 4096, WALKS_MAX = 1024 };

static bool sets(const struct directive *d, struct slice variable)
{
	return directive_is(d, "set") && d->n == 3 && d->word[1].n == variable.n + 1 &&
	       memcmp(d->word[1].p + 1, variable.p, variable.n) == 0;
}

static struct directive *set_inside(const struct directive *d, struct slice variable)
{
	struct directive *found = NULL;

	if (directive_is(d, "if"))
		DIRECTIVE_EACH (line, d)
			if (sets(line, variable))
				found = line;
	return found;
}

bool set_alone(const struct directive *d)
{
	if (!directive_is(d, "if") || d->first == NULL)
		return false;
	DIRECTIVE_EACH (line, d)
		if (!directive_is(line, "set"))
			return false;
	return true;
}

/* From the server to the block. */
static uint32_t chain_of(const struct directive *block, const struct directive *out[BLOCKS_MAX])
{
	const struct directive *turned[BLOCKS_MAX];
	bool location = false;
	uint32_t n = 0;

	for (; block != NULL && n < BLOCKS_MAX; block = block->parent) {
		bool is_location = directive_is(block, "location");

		if (directive_is(block, "server") || directive_is(block, "if") ||
		    (is_location && !location))
			turned[n++] = block;
		location |= is_location;
		if (directive_is(block, "server"))
			break;
	}
	for (uint32_t i = 0; i < n; i++)
		out[i] = turned[n - 1 - i];
	return n;
}

/* What is known of it so far. */
struct walk {
	struct import *im;
	const struct site *site;
	struct slice variable;
	bool seen;
	const char *text; /* NULL: it cannot be said */
	uint32_t n;       /* texts that it may be; 0: one of them is not known beforehand */
	const char **may;
};

static bool has_rewrite(const struct directive *block)
{
	while (block->parent != NULL && !directive_is(block, "server"))
		block = block->parent;
	DIRECTIVE_EACH (d, block) {
		if (directive_is(d, "rewrite"))
			return true;
		DIRECTIVE_EACH (line, d)
			if (directive_is(line, "rewrite"))
				return true;
	}
	return false;
}

static bool has_group(struct slice text)
{
	for (size_t i = 0; i + 1 < text.n; i++)
		if (text.p[i] == '$' && text.p[i + 1] >= '0' && text.p[i + 1] <= '9')
			return true;
	return false;
}

/* The text of a line, as it is there.  `groups`: of the condition around it. */
static const char *text_of(struct walk *w, struct directive *line, bool groups)
{
	struct import *im = w->im;
	const struct directive *before = im->before;
	const char *text = NULL;

	if (has_group(line->word[2]) && !groups &&
	    (directive_is(line->parent, "if") || line != line->parent->first))
		return NULL; /* whose groups is not known */
	if (im->sets == SETS_MAX)
		return NULL;
	im->sets++;
	im->before = line;
	text = variable_phrase(im, w->site, line->parent, line->word[2].p, groups);
	im->before = before;
	im->sets--;
	if (text == NULL || strlen(text) > TEXT_MAX)
		return NULL;
	if ((strstr(text, "{path") != NULL || strstr(text, "{query") != NULL) && has_rewrite(line))
		return NULL;
	return text;
}

static void may_be(struct walk *w, struct directive *line, bool more)
{
	if (!more)
		w->n = 0;
	if (w->may == NULL || (more && w->n == 0))
		return;
	if (memchr(line->word[2].p, '$', line->word[2].n) != NULL || w->n == SET_CHOICES_MAX)
		w->n = 0;
	else
		w->may[w->n++] = line->word[2].p;
}

static void take_if(struct walk *w, struct directive *d, struct directive *line)
{
	struct import *im = w->im;
	const char *name, *match, *text = NULL, *body, *before = w->seen ? w->text : "";
	bool pattern, known = when_asks(im, d, &name, &match, &pattern);

	if (known && before != NULL)
		text = text_of(w, line, pattern);
	may_be(w, line, true);
	w->seen = true;
	w->text = NULL;
	if (text == NULL)
		return;
	body = text_printf(im, "{ of: %s, map: [{ match: %s, value: %s }], default: %s }",
			   text_yaml(im, text_printf(im, "{%s}", name)), match, text_yaml(im, text),
			   text_yaml(im, before));
	judge(im, d, EXACT, NULL);
	judge(im, line, EXACT, NULL);
	w->text =
	    text_printf(im, "{value.%s}",
			text_value(im, text_printf(im, "%.*s", SLICE_FMT(w->variable)), body, d));
}

static void walk_block(struct walk *w, const struct directive *block, const struct directive *until)
{
	DIRECTIVE_EACH (d, block) {
		struct directive *line = set_inside(d, w->variable);

		if (d == until || d == w->im->before || directive_is(d, "return") ||
		    directive_is(d, "break"))
			return;
		if (sets(d, w->variable)) {
			w->text = text_of(w, d, false);
			w->seen = true;
			may_be(w, d, false);
			if (w->text != NULL)
				judge(w->im, d, EXACT, NULL);
		} else if (line != NULL) {
			take_if(w, d, line);
		}
	}
}

static void walk(struct walk *w, const struct directive *block)
{
	const struct directive *chain[BLOCKS_MAX];
	uint32_t n = chain_of(block, chain);

	if (w->im->walking == 0)
		w->im->walks = 0;
	if (++w->im->walks > WALKS_MAX) { /* conditions on what conditions have set, on and on */
		*w = (struct walk){ .im = w->im, .variable = w->variable, .seen = true };
		return;
	}
	w->im->walking++;
	for (uint32_t i = 0; i < n; i++)
		walk_block(w, chain[i],
			   i + 1 < n && directive_is(chain[i + 1], "if") ? chain[i + 1] : NULL);
	w->im->walking--;
}

bool set_phrase(struct import *im, const struct site *site, const struct directive *block,
		struct slice variable, const char **text)
{
	struct walk w = { .im = im, .site = site, .variable = variable };

	walk(&w, block);
	*text = w.text;
	return w.seen;
}

uint32_t set_choices(struct import *im, const struct directive *block, struct slice variable,
		     const char *may[SET_CHOICES_MAX])
{
	struct walk w = { .im = im, .variable = variable, .may = may };

	walk(&w, block);
	return w.text == NULL ? 0 : w.n;
}

bool set_is_of_call(const struct directive *d)
{
	return slice_is(d->word[1], "$args") || slice_is(d->word[1], "$limit_rate");
}

/* Who asks and cannot be answered is lost himself. */
void sets_judge(struct import *im, const struct directive *block)
{
	DIRECTIVE_EACH (d, block) {
		bool idle = directive_is(d, "set") ? !set_is_of_call(d) : set_alone(d);

		if (idle && d->verdict == NO_VERDICT && !is_inside_lost(d))
			judge(im, d, NOT_NEEDED, "nothing that is known asks for it");
		sets_judge(im, d);
	}
}
