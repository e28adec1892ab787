/* tree.c - building the tree, within its bounds. */
#include "nginx-compat/tree.h"

#include <stdarg.h>

const char tree_command_line[] = "command line";

void tree_init(struct tree *t, struct arena *arena)
{
	*t = (struct tree){ .arena = arena, .name = "nginx.conf" };
	t->root.tail = &t->root.first;
	t->last_file = &t->first_file;
	t->root.block = true;
}

bool tree_no_memory(struct tree *t)
{
	if (t->wrong == NULL)
		t->wrong = "out of memory";
	return false;
}

bool tree_wrong(struct tree *t, const char *file, uint32_t line, const char *fmt, ...)
{
	char *text;
	va_list ap;

	if (t->wrong != NULL)
		return false;
	va_start(ap, fmt);
	text = arena_vprintf(t->arena, fmt, ap);
	va_end(ap);
	if (text != NULL && file == tree_command_line)
		text = arena_printf(t->arena, "%s in %s", text, file);
	else if (text != NULL && file != NULL)
		text = arena_printf(t->arena, "%s in %s:%u", text, file, line);
	if (text == NULL)
		return tree_no_memory(t);
	t->wrong = text;
	return false;
}

struct directive *tree_add(struct tree *t, struct directive *parent, uint32_t n_words)
{
	struct directive *d = arena_zalloc(t->arena, sizeof(*d));

	if (d != NULL)
		d->word = arena_zalloc(t->arena, (n_words + 1) * sizeof(*d->word));
	if (d == NULL || d->word == NULL) {
		tree_no_memory(t);
		return NULL;
	}
	if (++t->directives > TREE_DIRECTIVES_MAX) {
		tree_wrong(t, NULL, 0, "there are more than %d directives", TREE_DIRECTIVES_MAX);
		return NULL;
	}
	d->n = n_words;
	d->tail = &d->first;
	d->parent = parent;
	*parent->tail = d;
	parent->tail = &d->next;
	return d;
}
