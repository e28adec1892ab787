/* read_dump.c - what `nginx -T` prints: every file once, each behind a line "# configuration file NAME:". */
#include <string.h>

#include "nginx-compat/read_internal.h"

static const struct slice mark = SLICE("# configuration file ");

static struct slice take_line(struct slice *rest)
{
	struct slice line = slice_cut(rest, '\n');

	if (line.n > 0 && line.p[line.n - 1] == '\r')
		line.n--;
	return line;
}

/* p NULL: the line is no mark. */
static struct slice marked(struct slice line)
{
	if (!slice_starts(line, mark) || line.n < mark.n + 2 || line.p[line.n - 1] != ':')
		return slice_of(NULL, 0);
	return slice_of(line.p + mark.n, line.n - mark.n - 1);
}

/* What nginx says on stderr may stand before it. */
static bool begins(struct slice text)
{
	static const struct slice said = SLICE("nginx: ");

	while (text.n > 0) {
		struct slice line = take_line(&text);

		if (marked(line).p != NULL)
			return true;
		if (line.n > 0 && !slice_starts(line, said))
			return false;
	}
	return false;
}

/* A file reaches to the end until the next one begins. */
static bool add_file(struct dump *d, struct slice name, struct slice text)
{
	struct slice copy = d->n < TREE_FILES_MAX ? arena_copy(d->arena, name) : slice_of(NULL, 0);

	if (copy.p == NULL)
		return false;
	if (text.p == NULL)
		text = slice_of("", 0);
	d->file[d->n++] = (struct dump_file){ .name = copy.p, .text = text };
	return true;
}

bool dump_split(struct dump *d, struct slice text)
{
	if (!begins(text))
		return false;
	while (text.n > 0) {
		const char *line = text.p;
		struct slice name = marked(take_line(&text));

		if (name.p == NULL)
			continue;
		if (d->n > 0)
			d->file[d->n - 1].text.n = (size_t)(line - d->file[d->n - 1].text.p);
		if (!add_file(d, name, text))
			return false;
	}
	return d->n > 0;
}

const struct dump_file *dump_find(const struct dump *d, const char *name)
{
	for (uint32_t i = 0; i < d->n; i++)
		if (strcmp(d->file[i].name, name) == 0)
			return &d->file[i];
	return NULL;
}
