/* buf.h - a growable byte buffer, for text that is built (JSON, metrics, YAML).
 *
 * A failed allocation is remembered in `oom`; later appends do nothing, so that
 * a builder checks once at its end. */
#ifndef BASE_BUF_H
#define BASE_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/slice.h"

struct buf {
	char *p;
	size_t n, cap;
	bool oom;
	struct arena *arena; /* where it grows, and stays after buf_fini; NULL: on the heap */
};

void buf_fini(struct buf *);
bool buf_reserve(struct buf *, size_t more); /* room for `more` bytes and a NUL */
void buf_put(struct buf *, const void *p, size_t n);
void buf_puts(struct buf *, const char *s);
void buf_putc(struct buf *, char c);
void buf_printf(struct buf *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void buf_u64(struct buf *, uint64_t v);
/* `s` as the inside of a JSON string: quotes, backslashes and controls escaped
 * (RFC 8259 section 7); bytes that are not UTF-8 become U+FFFD. */
void buf_json(struct buf *, struct slice s);
/* buf_json between double quotes. */
void buf_json_string(struct buf *, struct slice s);

#endif
