/* block.c - inheritance: what a block has not, it has from the nearest one around it.
 *
 * Of a directive that may come several times (limit_req, proxy_set_header, allow) a block has all of its own or all of
 * another's, never some of each. */
#include <string.h>
#include <strings.h>

#include "nginx-compat/internal.h"

struct directive *block_own(const struct directive *block, const char *name)
{
	DIRECTIVE_EACH (d, block)
		if (directive_is(d, name) && d->rule != NULL)
			return d;
	return NULL;
}

struct directive *block_find(const struct directive *block, const char *name)
{
	for (; block != NULL; block = block->parent) {
		struct directive *d = block_own(block, name);

		if (d != NULL)
			return d;
	}
	return NULL;
}

struct directive *block_next(const struct directive *d)
{
	for (struct directive *n = d->next; n != NULL; n = n->next)
		if (slice_eq(n->word[0], d->word[0]))
			return n;
	return NULL;
}

const char *block_word(const struct directive *block, const char *name, const char *dflt)
{
	const struct directive *d = block_find(block, name);

	return d == NULL || d->n < 2 ? dflt : d->word[1].p;
}

bool block_is_on(const struct directive *block, const char *name, bool dflt)
{
	return strcasecmp(block_word(block, name, dflt ? "on" : "off"), "on") == 0;
}
