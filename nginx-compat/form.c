/* form.c - how a location says which paths it takes: its sign, its path or regular expression, and the groups in that. */
#include <string.h>

#include "nginx-compat/internal.h"

/* Longer signs first: they may stand before the path without a space. */
static const struct form forms[] = {
	{ "^~", true, SPOT_PREFIX }, { "~*", true, SPOT_REGEX }, { "=", true, SPOT_EXACT },
	{ "~", true, SPOT_REGEX },   { "@", false, 0 },          { "", true, SPOT_PREFIX },
};

const struct form *form_of(const struct directive *d, struct slice *path)
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

/* Those that capture. */
static unsigned group_count(struct slice regex)
{
	unsigned n = 0;

	for (const char *c = regex.p; *c != '\0'; c++) {
		if (*c == '\\' && c[1] != '\0')
			c++;
		else if (*c == '[')
			c = strchr(c, ']') != NULL ? strchr(c, ']') : c;
		else if (*c == '(' && (c[1] != '?' || (c[2] == '<' && c[3] != '=' && c[3] != '!')))
			n++;
	}
	return n;
}

bool form_is_regex(const struct directive *d)
{
	struct slice path;

	return directive_is(d, "location") && form_of(d, &path)->kind == SPOT_REGEX;
}

bool form_has_group(const struct directive *block, struct slice name)
{
	struct slice path;
	const char *at;

	if (!form_is_regex(block))
		return false;
	form_of(block, &path);
	if (name.n == 1 && name.p[0] >= '1' && name.p[0] <= '9')
		return group_count(path) >= (unsigned)(name.p[0] - '0');
	for (at = strstr(path.p, "(?<"); at != NULL; at = strstr(at + 1, "(?<"))
		if (strncmp(at + 3, name.p, name.n) == 0 && at[3 + name.n] == '>')
			return true;
	return false;
}
