/* table.c - columns as wide as their widest cell. */
#include "ctl/table.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* How many bytes of a control character stand here; of U+0080 to U+009F two (RFC 3629). */
static unsigned control_bytes(struct slice s, size_t i)
{
	unsigned char c = (unsigned char)s.p[i];

	if (c < 0x20 || c == 0x7f)
		return 1;
	return c == 0xc2 && i + 1 < s.n && ((unsigned char)s.p[i + 1] & 0xe0) == 0x80 ? 2 : 0;
}

void put_plain(struct buf *b, struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		unsigned n = control_bytes(s, i);

		buf_putc(b, n > 0 ? '?' : s.p[i]);
		i += n > 1;
	}
}

unsigned width_of(struct slice s)
{
	unsigned n = 0;

	for (size_t i = 0; i < s.n; i++)
		n += ((unsigned char)s.p[i] & 0xc0) != 0x80;
	return n;
}

static void copy_head(struct table *t, const char *head)
{
	struct slice rest = slice_str(head);

	while (rest.n > 0 && t->columns < TABLE_COLUMNS) {
		struct slice name = slice_cut(&rest, ' ');

		t->head[t->columns++] = name.p;
	}
}

void table_begin(struct table *t, const char *head, bool bold)
{
	*t = (struct table){ .bold = bold };
	copy_head(t, head);
}

void table_cell(struct table *t, struct slice s)
{
	put_plain(&t->text, s.n > 0 ? s : slice_str("-"));
	buf_putc(&t->text, '\0');
	t->cells++;
}

void table_printf(struct table *t, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	table_cell(t, slice_str(text));
}

static struct slice head_of(const struct table *t, unsigned column)
{
	const char *p = t->head[column];

	p += *p == '>';
	return slice_of(p, strcspn(p, " "));
}

static void put_cell(const struct table *t, unsigned column, unsigned width, struct slice s,
		     struct buf *out)
{
	unsigned pad = width - width_of(s);
	bool right = t->head[column][0] == '>', last = column + 1 == t->columns;

	if (column > 0)
		buf_puts(out, "  ");
	buf_printf(out, "%*s", right ? (int)pad : 0, "");
	buf_put(out, s.p, s.n);
	if (!right && !last)
		buf_printf(out, "%*s", (int)pad, "");
}

static void find_widths(const struct table *t, unsigned *width)
{
	const char *cell = t->text.p;

	for (unsigned i = 0; i < t->columns; i++)
		width[i] = width_of(head_of(t, i));
	for (unsigned i = 0; i < t->cells; i++, cell += strlen(cell) + 1) {
		unsigned w = width_of(slice_str(cell)), *of = &width[i % t->columns];

		*of = w > *of ? w : *of;
	}
}

void table_end(struct table *t, struct buf *out)
{
	unsigned width[TABLE_COLUMNS];
	const char *cell = t->text.p;

	if (t->cells > 0 && !t->text.oom) {
		find_widths(t, width);
		buf_printf(out, "%*s%s", (int)t->indent, "", t->bold ? "\033[1m" : "");
		for (unsigned i = 0; i < t->columns; i++)
			put_cell(t, i, width[i], head_of(t, i), out);
		buf_puts(out, t->bold ? "\033[0m\n" : "\n");
	}
	for (unsigned i = 0; i < t->cells && !t->text.oom; i++, cell += strlen(cell) + 1) {
		if (i % t->columns == 0)
			buf_printf(out, "%*s", (int)t->indent, "");
		put_cell(t, i % t->columns, width[i % t->columns], slice_str(cell), out);
		if (i % t->columns == t->columns - 1)
			buf_putc(out, '\n');
	}
	out->oom |= t->text.oom;
	buf_fini(&t->text);
}
