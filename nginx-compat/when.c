/* when.c - `if` as a condition of a route: what it answers stands in a route before the location's own.
 *
 * Known is an `if` that asks one value of the call and does nothing but return.  nginx takes what is empty, or "0", for
 * false; what is compared is compared to the letter. */
#include <string.h>

#include "base/addr.h"
#include "nginx-compat/internal.h"

enum { WORDS_MAX = 3 };

struct asked {
	const char *name;       /* as `when` has it */
	struct slice op, value; /* op.n 0: whether it is there at all */
};

/* Without the parentheses around all of them; 0: there are too many. */
static uint32_t inner_words(const struct directive *d, struct slice out[WORDS_MAX])
{
	uint32_t n = 0;

	for (uint32_t i = 1; i < d->n; i++) {
		struct slice w = d->word[i];

		if (i == 1 && w.n > 0 && w.p[0] == '(')
			w = slice_of(w.p + 1, w.n - 1);
		if (i == d->n - 1 && w.n > 0 && w.p[w.n - 1] == ')')
			w = slice_of(w.p, w.n - 1);
		if (w.n == 0 && (i == 1 || (i == d->n - 1 && d->word[i].n == 1 && n != 2)))
			continue;
		if (w.n == 0 && i == d->n - 1 && n == WORDS_MAX)
			continue;
		if (n == WORDS_MAX)
			return 0;
		out[n++] = w;
	}
	return n;
}

static bool read_condition(struct import *im, const struct directive *d, struct asked *a)
{
	struct slice word[WORDS_MAX] = { { 0 } };
	uint32_t n = inner_words(d, word);
	const struct directive *before = im->before;
	const char *name;

	if ((n != 1 && n != 3) || word[0].n < 2 || word[0].p[0] != '$')
		return false;
	im->before = d;
	name = variable_name(im, d->parent, slice_of(word[0].p + 1, word[0].n - 1));
	im->before = before;
	*a = (struct asked){ .name = name, .op = word[1], .value = word[2] };
	return a->name != NULL && (im->when == NULL || strncmp(a->name, "server.", 7) != 0);
}

/*--------------------------------------------------------------------- texts */

/* To the letter, whatever it looks like. */
static const char *exactly(struct import *im, struct slice v)
{
	if (v.n > 0 && (v.p[0] == '~' || slice_is(v, "*")))
		return text_yaml(im, text_printf(im, "~ ^\\Q%.*s\\E$", SLICE_FMT(v)));
	return text_yaml(im, text_printf(im, "%.*s", SLICE_FMT(v)));
}

static const char *pattern(struct import *im, const char *sign, const char *before, struct slice v,
			   const char *behind)
{
	return text_yaml(im, text_printf(im, "%s %s%.*s%s", sign, before, SLICE_FMT(v), behind));
}

/* Of a client's address only this: an address, or a network. */
static const char *of_client(struct import *im, const struct asked *a)
{
	struct ip ip;

	return slice_is(a->op, "=") && ip_parse(a->value, &ip) ? exactly(im, a->value) : NULL;
}

/* What stands behind the name; NULL: it cannot be said. */
static const char *wanted(struct import *im, const struct asked *a)
{
	bool variable = a->value.n > 0 && memchr(a->value.p, '$', a->value.n) != NULL;

	if (strcmp(a->name, "client.ip") == 0)
		return of_client(im, a);
	if (a->op.n == 0)
		return text_yaml(im, "~ ^(?!0$)");
	if (slice_is(a->op, "~"))
		return pattern(im, "~", "", a->value, "");
	if (slice_is(a->op, "~*"))
		return pattern(im, "~*", "", a->value, "");
	if (slice_is(a->op, "!~"))
		return text_printf(im, "[\"\", %s]", pattern(im, "~", "^(?!.*(?:", a->value, "))"));
	if (slice_is(a->op, "!~*"))
		return text_printf(im, "[\"\", %s]",
				   pattern(im, "~*", "^(?!.*(?:", a->value, "))"));
	if (variable || memmem(a->value.p, a->value.n, "\\E", 2) != NULL)
		return NULL;
	if (slice_is(a->op, "="))
		return exactly(im, a->value);
	if (slice_is(a->op, "!=") && a->value.n == 0)
		return "\"*\"";
	if (slice_is(a->op, "!="))
		return text_printf(im, "[\"\", %s]",
				   pattern(im, "~", "^(?!\\Q", a->value, "\\E$)"));
	return NULL;
}

/*----------------------------------------------------------------------- body */

static struct directive *only_return(const struct directive *d)
{
	struct directive *found = NULL;

	DIRECTIVE_EACH (line, d) {
		if ((directive_is(line, "return") || directive_is(line, "rewrite")) &&
		    found == NULL)
			found = line;
		else if (!directive_is(line, "add_header") && !directive_is(line, "include"))
			return NULL; /* what an include holds stands behind it */
	}
	return found;
}

/* Behind a rewrite it may not be asked, or about another path. */
static bool is_asked(struct import *im, const struct directive *d)
{
	for (struct directive *b = d->parent->first; b != d; b = b->next)
		if ((directive_is(b, "rewrite") && !rewrite_known(im, b)) ||
		    directive_is(b, "break"))
			return false;
	return true;
}

struct directive *when_return(struct import *im, const struct directive *d)
{
	struct directive *answer = directive_is(d, "if") ? only_return(d) : NULL;
	struct asked a;

	if (answer == NULL || !is_asked(im, d) || !read_condition(im, d, &a) ||
	    wanted(im, &a) == NULL ||
	    !(directive_is(answer, "rewrite") ? rewrite_known(im, answer)
					      : answer_known(im, d, answer)))
		return NULL;
	return answer;
}

const char *when_text(struct import *im, const struct directive *d)
{
	struct asked a;

	if (!read_condition(im, d, &a))
		return "";
	return text_printf(im, "%s: %s", a.name, wanted(im, &a));
}

bool when_asks(struct import *im, const struct directive *d, const char **name, const char **match,
	       bool *pattern)
{
	struct asked a;

	if (!read_condition(im, d, &a) || strcmp(a.name, "client.ip") == 0)
		return false;
	*name = a.name;
	*match = wanted(im, &a);
	*pattern = a.op.n > 0 && a.op.p[0] == '~';
	if (a.op.n == 0) /* a value may be empty, where a condition wants something */
		*match = text_yaml(im, "~ ^(?!0?$)");
	else if (*match != NULL && strcmp(*match, "\"*\"") == 0)
		*match = text_yaml(im, "~ (?s).");
	return *match != NULL;
}
