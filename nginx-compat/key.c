/* key.c - what a key of limits is: one of Weir's, several, a value, or none with exceptions. */
#include <string.h>

#include "nginx-compat/internal.h"

struct key_source {
	const char *name; /* with a `_` at its end: an argument follows */
	const char *yaml; /* with a dot at its end: the argument stands there */
	bool may_miss, dashes, per_site;
};

static const struct key_source sources[] = {
	{ "binary_remote_addr", "client.ip/32/128" },
	{ "remote_addr", "client.ip/32/128" },
	{ "host", "host" },
	{ "uri", "path" },
	{ "document_uri", "path" },
	{ "request_method", "method" },
	{ "server_name", NULL, .per_site = true },
	{ "http_host", NULL },
	{ "http_", "header.", .may_miss = true, .dashes = true },
	{ "arg_", "query.", .may_miss = true },
	{ "cookie_", "cookie.", .may_miss = true },
};

static const struct key_source *find_source(struct slice variable)
{
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++) {
		struct slice name = slice_str(sources[i].name);

		if (name.p[name.n - 1] == '_' ? variable.n > name.n && slice_starts(variable, name)
					      : slice_eq(variable, name))
			return &sources[i];
	}
	return NULL;
}

static const char *source_text(struct import *im, const struct key_source *s, struct slice variable)
{
	size_t n = strlen(s->name);
	char *text;

	if (s->name[n - 1] != '_')
		return s->yaml;
	text = arena_printf(im->arena, "%s%.*s", s->yaml, (int)(variable.n - n), variable.p + n);
	for (char *c = text; c != NULL && s->dashes && *c != '\0'; c++)
		*c = *c == '_' ? '-' : *c;
	if (text == NULL)
		tree_no_memory(im->tree);
	return text == NULL ? "" : text;
}

struct parts {
	struct buf text;
	unsigned n;
	bool missing;
};

static void add_part(struct import *im, const struct site *site, struct slice variable,
		     struct key *key, struct parts *parts)
{
	const struct key_source *s = find_source(variable);

	if (s == NULL || (s->yaml == NULL && !s->per_site)) {
		key->why = text_printf(im, "there is no key like `$%.*s`", SLICE_FMT(variable));
	} else if (s->per_site) {
		key->per_site = true;
		key->nothing |= site->first_name[0] == '\0' && parts->n == 0;
	} else {
		buf_puts(&parts->text, parts->n++ > 0 ? ", " : "");
		buf_puts(&parts->text, source_text(im, s, variable));
		parts->missing |= s->may_miss;
	}
}

/* A key made by map of a geo: the address, but for some networks. */
static bool read_exempt(struct import *im, const struct site *site, struct slice variable,
			struct key *key)
{
	struct exempt e;

	if (!exempt_read(im, variable, &e))
		return false;
	key_read(im, site, e.key, key);
	if (key->overrides != NULL || key->yaml == NULL || strncmp(key->yaml, "client.ip", 9) != 0)
		return false;
	key->overrides = e.overrides;
	exempt_judge(im, &e);
	return true;
}

/* By map, geo or split_clients. */
static bool read_made(struct import *im, const struct site *site, struct slice variable,
		      struct key *key)
{
	const char *name = lookup_name(im, site, variable);

	if (name == NULL)
		return false;
	*key = (struct key){ .may_miss = true, .yaml = text_printf(im, "value.%s", name) };
	return true;
}

/* As one text, which is missing where all of it is empty. */
static void read_text(struct import *im, const struct site *site, const char *text, struct key *key)
{
	struct slice alone = variable_alone(text);
	const char *why = key->why;
	const char *name = lookup_text(im, site, "key", text, NULL);

	*key = (struct key){ .may_miss = true };
	if (name != NULL)
		key->yaml = text_printf(im, "value.%s", name);
	else if (alone.p != NULL && why != NULL)
		key->why = why;
	else
		key->why = text_printf(im, "there is no key like `%s`", text);
}

void key_read(struct import *im, const struct site *site, const char *text, struct key *key)
{
	struct slice s = slice_str(text), alone = variable_alone(text);
	struct parts parts = { 0 };

	*key = (struct key){ .nothing = s.n == 0 };
	if (alone.p != NULL &&
	    (read_exempt(im, site, alone, key) || read_made(im, site, alone, key)))
		return;
	while (s.n > 0) {
		struct slice variable;

		variable_take(&s, &variable);
		if (variable.p != NULL)
			add_part(im, site, variable, key, &parts);
	}
	if (key->why != NULL || (parts.n > 1 && parts.missing)) {
		buf_fini(&parts.text);
		read_text(im, site, text, key);
		return;
	}
	if (alone.p == NULL)
		key->nothing = *text == '\0';
	key->may_miss = parts.missing;
	if (parts.n == 1)
		key->yaml = text_buf(im, &parts.text);
	else if (parts.n > 1)
		key->yaml = text_printf(im, "[%s]", text_buf(im, &parts.text));
	buf_fini(&parts.text);
}
