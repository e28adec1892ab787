/* table.h - text in columns, for terminals; and what is safe to print on one. */
#ifndef CTL_TABLE_H
#define CTL_TABLE_H

#include "base/buf.h"

enum { TABLE_COLUMNS = 16 };

/* Zeroed, then a head; cells come row by row. */
struct table {
	const char *head[TABLE_COLUMNS]; /* ">NAME": to the right */
	unsigned columns, cells;
	struct buf text; /* of the cells, each ended by NUL */
	bool bold;       /* the head, on a terminal */
	unsigned indent;
};

/* Column names with spaces between them; an empty cell is shown as a dash. */
void table_begin(struct table *, const char *head, bool bold);
void table_cell(struct table *, struct slice);
void table_printf(struct table *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Prints it, the head only if there are rows, and frees it. */
void table_end(struct table *, struct buf *out);

/* Without what would move a terminal's cursor or colours, or have text read otherwise than it is: controls, those of
 * bidirectional text, and what is not UTF-8 are shown as `?`. */
void put_plain(struct buf *, struct slice);
/* How many columns it takes. */
unsigned width_of(struct slice);
/* Of the character that it begins with, which takes *bytes; what is no UTF-8 is one. */
unsigned columns_of(struct slice, size_t *bytes);

#endif
