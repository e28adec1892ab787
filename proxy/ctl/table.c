/* table.c - columns as wide as their widest cell. */
#include "ctl/table.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "conf/utf8.h"

struct range {
	uint32_t first, last;
};

static bool is_in(const struct range *r, uint32_t c)
{
	for (; r->last != 0; r++)
		if (c >= r->first && c <= r->last)
			return true;
	return false;
}

/* Controls, and what has lines break or text read from the other end (Unicode's Bidi_Control). */
static const struct range drives[] = { { 0, 0x1f },        { 0x7f, 0x9f },     { 0x61c, 0x61c },
				       { 0x200e, 0x200f }, { 0x2028, 0x202e }, { 0x2066, 0x2069 },
				       { 0xfeff, 0xfeff }, { 0xfff9, 0xfffb }, { 0, 0 } };

/* Unicode's East_Asian_Width W and F, in whole blocks; and what stands over the character before. */
static const struct range wide[] = {
	{ 0x1100, 0x115f },   { 0x2e80, 0x303e },   { 0x3041, 0x33ff },
	{ 0x3400, 0x4dbf },   { 0x4e00, 0xa4cf },   { 0xac00, 0xd7a3 },
	{ 0xf900, 0xfaff },   { 0xfe30, 0xfe6f },   { 0xff00, 0xff60 },
	{ 0xffe0, 0xffe6 },   { 0x1f300, 0x1f64f }, { 0x1f680, 0x1f6ff },
	{ 0x1f900, 0x1f9ff }, { 0x20000, 0x3fffd }, { 0, 0 }
};
static const struct range none[] = { { 0x300, 0x36f },   { 0x200b, 0x200d }, { 0x20d0, 0x20ff },
				     { 0xfe00, 0xfe0f }, { 0xfe20, 0xfe2f }, { 0, 0 } };

void put_plain(struct buf *b, struct slice s)
{
	for (size_t i = 0, n; i < s.n; i += n) {
		uint32_t c;

		n = utf8_decode(s.p + i, s.n - i, &c);
		if (n == 0 || is_in(drives, c))
			buf_putc(b, '?');
		else
			buf_put(b, s.p + i, n);
		n += n == 0; /* a byte that is no character; some terminals would obey it */
	}
}

unsigned columns_of(struct slice s, size_t *bytes)
{
	uint32_t c;

	*bytes = utf8_decode(s.p, s.n, &c);
	if (*bytes == 0) {
		*bytes = 1;
		return 1;
	}
	return is_in(none, c) ? 0 : is_in(wide, c) ? 2 : 1;
}

unsigned width_of(struct slice s)
{
	unsigned width = 0;

	for (size_t i = 0, n; i < s.n; i += n)
		width += columns_of(slice_of(s.p + i, s.n - i), &n);
	return width;
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
