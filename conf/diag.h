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

enum {
	DIAG_MAX = 20,   /* printed */
	DIAG_KEEP = 250, /* remembered of each severity; the rest is only counted */
	DIAG_ACCEPT_MAX = 64,
};

enum diag_severity { DIAG_ERROR, DIAG_WARNING };

/* Where a node stands; NULL file: nowhere (a command line flag, say). */
struct place {
	const char *file;
	/* 1-based, columns in bytes, end_column one past the last; line 0: the file as a whole */
	uint32_t line, column, end_column;
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

/* A file that was read: its text, for showing the line, and where it was included. */
struct source {
	const char *name;
	struct slice text;
	struct place from; /* file NULL: the main file */
	struct source *next;
};

/* Names that texts may ask for; known NULL: any. */
struct diag_names {
	bool (*known)(const void *of, struct slice name);
	const void *of;
};

struct diags {
	struct arena *arena;
	struct diag_names values;   /* what {value.NAME} may be, while texts are checked */
	struct diag *first, **tail; /* in the order of sources, lines and columns */
	unsigned errors, warnings;
	bool oom;

	/* private to conf */
	unsigned made;    /* errors, with those that were not worth remembering: repeated, or out of memory */
	unsigned kept[2]; /* by severity */
	struct source *sources, **sources_tail;
	const char *path; /* given to every finding made meanwhile */
	unsigned n_accepted;
	const char *accepted[DIAG_ACCEPT_MAX];
	struct diag spare; /* what callers fill in when there is no room */
};

enum diag_format { DIAG_HUMAN, DIAG_GCC, DIAG_JSON, DIAG_GITHUB };

void diags_init(struct diags *, struct arena *);
/* Never fails: out of memory is itself remembered as an error.  Returns the finding, so that the caller may
 * set suggestion, help and path; never NULL.  The same finding at the same place is remembered once. */
struct diag *diag_error(struct diags *, struct place, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
struct diag *diag_warning(struct diags *, struct place, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));
/* Warnings of this code are meant so: from now on none is made.  Other words are passed over. */
void diags_accept(struct diags *, struct slice code);
/* Memory is out: an error, remembered once. */
void diags_out_of_memory(struct diags *);
/* The text must live as long as the diags; so does the name that findings of this file get. */
void diags_add_source(struct diags *, const char *name, struct slice text, struct place from);
/* Sorted by place; human format shows the source line with a marker; ends with the summary line
 * "weir.yaml: 1 error, 0 warnings; <consequence>". */
void diags_print(const struct diags *, enum diag_format, const char *file, const char *consequence,
		 bool colour, struct buf *out);
/* "human" "gcc" "json" "github"; false if it is none of them. */
bool diag_format_parse(const char *, enum diag_format *);

/* The codes and their titles, NULL-terminated; for the reference page. */
struct diag_code {
	const char *code, *title;
};
extern const struct diag_code diag_codes[];

/* Where the next line of a text begins, counted as YAML counts lines; text.n when `at` is on the last. */
size_t source_next_line(struct slice text, size_t at);

#endif
