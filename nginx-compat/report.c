/* report.c - the truth about every line, for people and for programs. */
#include <string.h>

#include "nginx-compat/import.h"
#include "nginx-compat/internal.h"

static bool is_told(const struct directive *d)
{
	return d->line > 0 && (d->verdict == ADAPTED || d->verdict == LOST ||
			       d->verdict == CLOSES || d->verdict == UNKNOWN);
}

static unsigned count_inside(const struct directive *parent)
{
	unsigned n = 0;

	DIRECTIVE_EACH (d, parent)
		n += 1 + count_inside(d);
	return n;
}

static void put_directive(const struct directive *d, struct buf *out)
{
	for (uint32_t i = 0; i < d->n; i++) {
		buf_puts(out, i > 0 ? " " : "");
		for (size_t c = 0; c < d->word[i].n; c++)
			buf_putc(out, (unsigned char)d->word[i].p[c] < ' ' ? ' ' : d->word[i].p[c]);
	}
}

static void put_inside(unsigned n, struct buf *out)
{
	if (n == 1)
		buf_puts(out, " and the line in it");
	else
		buf_printf(out, " and the %u lines in it", n);
}

static void put_line(const struct directive *d, struct buf *out)
{
	bool folded = d->verdict != ADAPTED && d->first != NULL;

	buf_printf(out, "%s:%u: %s: ", d->file, d->line, import_class(d->verdict));
	put_directive(d, out);
	if (d->why != NULL)
		buf_printf(out, " (%s)", d->why);
	if (folded)
		put_inside(count_inside(d), out);
	buf_putc(out, '\n');
}

/* Of what is lost, the lines inside have nothing to add. */
static void put_lines(const struct directive *parent, struct buf *out)
{
	DIRECTIVE_EACH (d, parent) {
		if (is_told(d) && (d->why != NULL || d->verdict == UNKNOWN || !is_inside_lost(d)))
			put_line(d, out);
		put_lines(d, out);
	}
}

static unsigned total(const struct import_result *r)
{
	unsigned n = 0;

	for (int i = EXACT; i <= UNKNOWN; i++)
		n += r->count[i];
	return n;
}

void import_report_text(const struct import_result *r, struct buf *out)
{
	if (r->wrong != NULL) {
		buf_printf(out, "weir: %s\n", r->wrong);
		return;
	}
	put_lines(&r->tree->root, out);
	buf_printf(out, "%s: %u directives:", r->tree->name, total(r));
	for (int i = EXACT; i <= UNKNOWN; i++)
		buf_printf(out, "%s %u %s", i > EXACT ? "," : "", r->count[i],
			   import_class((enum fate)i));
	buf_puts(out, r->routes == 0 ? "; nothing is left to serve\n" : "\n");
}

/*--------------------------------------------------------------------- JSON */

static void put_args(const struct directive *d, struct buf *out)
{
	buf_puts(out, ", \"args\": [");
	for (uint32_t i = 1; i < d->n; i++) {
		buf_puts(out, i > 1 ? ", " : "");
		buf_json_string(out, d->word[i]);
	}
	buf_putc(out, ']');
}

static void put_member(const struct directive *d, struct buf *out, bool *any)
{
	buf_puts(out, *any ? ",\n    " : "\n    ");
	*any = true;
	buf_puts(out, "{\"file\": ");
	buf_json_string(out, slice_str(d->file));
	buf_printf(out, ", \"line\": %u, \"directive\": ", d->line);
	buf_json_string(out, directive_name(d));
	put_args(d, out);
	buf_puts(out, ", \"class\": ");
	buf_json_string(out, slice_str(import_class(d->verdict)));
	if (d->why != NULL) {
		buf_puts(out, ", \"why\": ");
		buf_json_string(out, slice_str(d->why));
	}
	buf_putc(out, '}');
}

static void put_members(const struct directive *parent, struct buf *out, bool *any)
{
	DIRECTIVE_EACH (d, parent) {
		if (d->line > 0)
			put_member(d, out, any);
		put_members(d, out, any);
	}
}

void import_report_json(const struct import_result *r, struct buf *out)
{
	bool any = false;

	buf_puts(out, "{\n  \"error\": ");
	if (r->wrong != NULL)
		buf_json_string(out, slice_str(r->wrong));
	else
		buf_puts(out, "null");
	buf_puts(out, ",\n  \"file\": ");
	buf_json_string(out, slice_str(r->tree == NULL ? "" : r->tree->name));
	buf_puts(out, ",\n  \"summary\": {");
	for (int i = EXACT; i <= UNKNOWN; i++)
		buf_printf(out, "%s\"%s\": %u", i > EXACT ? ", " : "", import_class((enum fate)i),
			   r->count[i]);
	buf_printf(out, ", \"routes\": %u},\n  \"directives\": [", r->routes);
	if (r->wrong == NULL)
		put_members(&r->tree->root, out, &any);
	buf_puts(out, any ? "\n  ]\n}\n" : "]\n}\n");
}
