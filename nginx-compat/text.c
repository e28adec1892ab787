/* text.c - names, places and lines of YAML.
 *
 * Memory that is out shows as NULL inside the arena's printf; it is remembered in the tree, and what was written until then is
 * thrown away. */
#include <stdarg.h>
#include <string.h>

#include "conf/yaml_text.h"
#include "nginx-compat/internal.h"

enum { NAME_MAX_BYTES = 56 }; /* and a number behind it */

const char *text_printf(struct import *im, const char *fmt, ...)
{
	va_list ap;
	char *text;

	va_start(ap, fmt);
	text = arena_vprintf(im->arena, fmt, ap);
	va_end(ap);
	if (text == NULL)
		tree_no_memory(im->tree);
	return text == NULL ? "" : text;
}

const char *text_buf(struct import *im, struct buf *b)
{
	const char *text;

	buf_putc(b, '\0');
	text = b->oom ? "" : text_printf(im, "%s", b->p);
	if (b->oom)
		tree_no_memory(im->tree);
	buf_fini(b);
	return text;
}

const char *text_file(const struct import *im, const char *file)
{
	size_t n = strlen(im->folder);

	return strncmp(file, im->folder, n) == 0 ? file + n : file;
}

void text_end(struct import *im, struct buf *out, const struct directive *d)
{
	if (d != NULL && d->line > 0)
		buf_printf(out, " # %s:%u", text_file(im, d->file), d->line);
	buf_putc(out, '\n');
}

const char *text_yaml(struct import *im, const char *text)
{
	struct buf b = { 0 };

	yaml_put_string(&b, slice_str(text));
	return text_buf(im, &b);
}

const char *text_quoted(struct import *im, const char *text)
{
	struct buf b = { 0 };

	for (; *text != '\0'; text++) {
		if (strchr("\\^$.[]|()?*+{}#-", *text) != NULL)
			buf_putc(&b, '\\');
		buf_putc(&b, *text);
	}
	return b.n == 0 ? "" : text_buf(im, &b);
}

const char *text_path(struct import *im, const char *path)
{
	return text_yaml(im, *path == '/' ? path : text_printf(im, "%s%s", im->folder, path));
}

const char *text_prefixed(struct import *im, const char *path)
{
	return *path == '/' || im->prefix == NULL ? path
						  : text_printf(im, "%s%s", im->prefix, path);
}

/* Letters, digits and a few signs: a name goes into metrics and logs. */
static char *plain_name(struct import *im, const char *wanted)
{
	char *name =
	    arena_printf(im->arena, "%.*s", NAME_MAX_BYTES, *wanted == '\0' ? "x" : wanted);

	for (char *c = name; c != NULL && *c != '\0'; c++)
		if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') ||
		      (*c >= '0' && *c <= '9') || strchr("-_.", *c) != NULL))
			*c = '-';
	if (name == NULL)
		tree_no_memory(im->tree);
	return name;
}

static bool is_taken(const struct made *list, const char *name)
{
	for (; list != NULL; list = list->next)
		if (strcmp(list->name, name) == 0)
			return true;
	return false;
}

const char *text_made(struct import *im, struct made **list, const char *wanted, const char *body,
		      bool *is_new)
{
	struct made *m;

	*is_new = false;
	for (m = *list; m != NULL; m = m->next)
		if (strcmp(m->wanted, wanted) == 0 && strcmp(m->body, body) == 0)
			return m->name;
	m = arena_zalloc(im->arena, sizeof(*m));
	if (m == NULL || (m->name = plain_name(im, wanted)) == NULL) {
		tree_no_memory(im->tree);
		return "";
	}
	m->wanted = text_printf(im, "%s", wanted);
	m->body = text_printf(im, "%s", body);
	for (unsigned i = 2; is_taken(*list, m->name); i++)
		m->name = text_printf(im, "%s-%u", plain_name(im, wanted), i);
	m->next = *list;
	*list = m;
	*is_new = true;
	return m->name;
}

const char *text_value(struct import *im, const char *wanted, const char *body,
		       const struct directive *at)
{
	bool is_new;
	const char *name = text_made(im, &im->value, wanted, body, &is_new);

	if (is_new) {
		buf_printf(&im->values, "  %s: %s", name, body);
		text_end(im, &im->values, at);
	}
	return name;
}
