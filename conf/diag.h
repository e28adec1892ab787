/* diag.h - what is wrong with a configuration, and where.
 *
 * All findings of a load are collected (at most DIAG_MAX are printed), then printed in line order. */
#ifndef CONF_DIAG_H
#define CONF_DIAG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/buf.h"

enum { DIAG_MAX = 20 };

enum diag_severity { DIAG_ERROR, DIAG_WARNING };

/* Where a node stands; NULL file: nowhere (a command line flag, say). */
struct place {
	const char *file;
	uint32_t line, column, end_column; /* 1-based; columns in bytes */
};

struct diag {
	enum diag_severity severity;
	const char *code; /* "E012", see diag.def */
	struct place at;
	const char *message;
	const char *suggestion; /* a word to put in its place ("burst"), or NULL */
	const char *help;       /* the "= ..." line, or NULL */
	const char *path;       /* "policies.per-client.burst", or NULL */
	struct diag *next;
};

struct diags {
	struct arena *arena;
	struct diag *first, **tail;
	unsigned errors, warnings;
	bool oom;
};

enum diag_format { DIAG_HUMAN, DIAG_GCC, DIAG_JSON, DIAG_GITHUB };

void diags_init(struct diags *, struct arena *);
/* Never fails: out of memory is itself remembered as an error.  Returns the finding, so that the caller may
 * set suggestion, help and path; never NULL. */
struct diag *diag_error(struct diags *, struct place, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
struct diag *diag_warning(struct diags *, struct place, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Sorted by place; human format shows the source line with a marker; ends with the summary line
 * "weir.yaml: 1 error, 0 warnings; <consequence>". */
void diags_print(const struct diags *, enum diag_format, const char *file, const char *consequence,
		 bool colour, struct buf *out);

#endif
