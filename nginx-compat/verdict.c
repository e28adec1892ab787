/* verdict.c - what becomes of each directive. */
#include <stdarg.h>
#include <string.h>

#include "nginx-compat/internal.h"
#include "nginx-compat/table.h"

/* The greater stays. */
static const int weight[] = {
	[NO_VERDICT] = 0, [NOT_NEEDED] = 1, [EXACT] = 2,   [ADAPTED] = 3,
	[LOST] = 4,       [CLOSES] = 4,     [UNKNOWN] = 5,
};

void judge(struct import *im, struct directive *d, enum fate v, const char *fmt, ...)
{
	va_list ap;

	if (weight[v] <= weight[d->verdict])
		return;
	d->verdict = v;
	d->why = NULL;
	if (fmt == NULL)
		return;
	va_start(ap, fmt);
	d->why = arena_vprintf(im->arena, fmt, ap);
	va_end(ap);
}

bool is_inside_lost(const struct directive *d)
{
	for (d = d->parent; d != NULL; d = d->parent)
		if (d->verdict == LOST || d->verdict == UNKNOWN || d->verdict == CLOSES)
			return true;
	return false;
}

static const char *const not_by_default[] = { "proxy_pass_request_headers",
					      "proxy_pass_request_body" };

/* What is switched off, or as nginx and Weir have it anyway. */
static bool is_off(const struct directive *d)
{
	const char *off = "off";

	for (size_t i = 0; i < sizeof(not_by_default) / sizeof(not_by_default[0]); i++)
		if (directive_is(d, not_by_default[i]))
			off = "on";
	return d->n == 2 && slice_is(d->word[1], off);
}

static void judge_one(struct import *im, struct directive *d)
{
	const struct directive_rule *r = d->rule;

	if (d->verdict != NO_VERDICT || d->line == 0)
		return;
	if (r == NULL)
		judge(im, d, is_inside_lost(d) ? LOST : NOT_NEEDED, NULL);
	else if (is_off(d))
		judge(im, d, NOT_NEEDED, NULL);
	else if (r->verdict != CODE)
		judge(im, d, r->verdict, r->why == NULL ? NULL : "%s", r->why);
	else if (is_inside_lost(d))
		judge(im, d, LOST, NULL);
	else
		judge(im, d, NOT_NEEDED, NULL);
}

static void judge_list(struct import *im, struct directive *parent)
{
	DIRECTIVE_EACH (d, parent) {
		judge_one(im, d);
		judge_list(im, d);
	}
}

void judge_rest(struct import *im)
{
	judge_list(im, &im->tree->root);
}
