/* choice.c - a proxy_pass with a variable whose texts are all written down: of a map, geo or split_clients, or of `set`.
 *
 *   map $http_x $pool { default a; y b; }      match: { when: { value.pool: a } }, to: a
 *   proxy_pass http://$pool;                   match: { when: { value.pool: b } }, to: b */
#include <string.h>

#include "nginx-compat/internal.h"

/* Whether it may be a text, and that is none yet. */
static bool add(const char *may[CHOICES_MAX], uint32_t *n, struct slice text)
{
	for (uint32_t i = 0; i < *n; i++)
		if (slice_is(text, may[i]))
			return true;
	if (*n == CHOICES_MAX || memchr(text.p, '$', text.n) != NULL ||
	    (text.n > 0 && text.p[0] == '~'))
		return false;
	may[(*n)++] = text.p;
	return true;
}

/* 0: there are none, or some that are not known. */
static uint32_t looked_up(const struct import *im, struct slice variable,
			  const char *may[CHOICES_MAX])
{
	static const char *const kinds[] = { "map", "geo", "split_clients" };
	const struct directive *block = NULL;
	uint32_t n = 0;

	for (size_t i = 0; block == NULL && i < sizeof(kinds) / sizeof(kinds[0]); i++)
		block = lookup_block(im, kinds[i], variable);
	if (block == NULL)
		return 0;
	DIRECTIVE_EACH (line, block) {
		bool text = line->n == 2 && !slice_is(line->word[0], "include") &&
			    !slice_is(line->word[0], "delete") && !slice_is(line->word[0], "proxy");

		if (text && !add(may, &n, line->word[1]))
			return 0;
	}
	return n;
}

static uint32_t made(struct import *im, const struct directive *block, struct slice variable,
		     const char *may[CHOICES_MAX])
{
	const char *text[SET_CHOICES_MAX];
	uint32_t n = 0, all = set_choices(im, block, variable, text);

	for (uint32_t i = 0; i < all; i++)
		if (!add(may, &n, slice_str(text[i])))
			return 0;
	return n;
}

/* "http://", and nothing behind it. */
static bool is_nowhere(const char *url)
{
	const char *host = strstr(url, "://");

	return host == NULL || host[3] == '\0' || strchr("/:?", host[3]) != NULL;
}

bool choices_read(struct import *im, const struct directive *block, const char *text,
		  struct choices *c)
{
	struct slice variable = variable_open(im, block, text);
	const char *may[CHOICES_MAX], *name;
	uint32_t n;

	c->n = 0;
	if (variable.p == NULL)
		return false;
	n = looked_up(im, variable, may);
	if (n == 0)
		n = made(im, block, variable, may);
	name = n == 0 ? NULL : variable_name(im, block, variable);
	for (uint32_t i = 0; name != NULL && i < n; i++) {
		const char *url = variable_put(im, text, variable, may[i]);

		if (variable_open(im, block, url).p != NULL)
			return false; /* there is another */
		url = variable_expand(im, block, url);
		if (url == NULL || is_nowhere(url))
			continue;
		c->url[c->n] = url;
		c->when[c->n++] = text_printf(im, "%s: %s", name, text_yaml(im, may[i]));
	}
	return c->n > 0;
}
