/* tree.h - an nginx configuration as a tree of directives that know where they stand.
 *
 * Includes are replaced by what they include; the `include` itself stays, without children. */
#ifndef NGINX_COMPAT_TREE_H
#define NGINX_COMPAT_TREE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arena.h"
#include "base/slice.h"

enum {
	TREE_FILE_BYTES = 16 << 20,
	TREE_FILES_MAX = 1000, /* read; one that is included twice counts twice */
	TREE_INCLUDE_DEPTH = 16,
	TREE_DEPTH_MAX = 32, /* of blocks */
	TREE_DIRECTIVES_MAX = 200000,
	TREE_ARGS_MAX = 1024, /* of one directive, its name included */
	TREE_WORD_MAX = 4095, /* bytes of a word as it stands in the file; nginx's own bound */
};

/* What becomes of a directive.  CODE stands in the table only: a translator decides. */
enum fate { NO_VERDICT, EXACT, ADAPTED, NOT_NEEDED, LOST, UNKNOWN, CLOSES, CODE };

struct directive_rule;

struct directive {
	const char *file;
	uint32_t line;      /* of its first word; 0: nobody wrote it */
	uint32_t end_line;  /* of its `;` or `{`: where nginx points */
	uint32_t n;         /* words */
	struct slice *word; /* word[0] is the name; a NUL stands behind each */
	bool block;
	struct directive *parent, *next, *first, **tail;

	/* table.h */
	const struct directive_rule *rule; /* NULL: none is known */
	char context; /* where its children stand; '=': they are data; 0: not known */

	/* verdict.h */
	enum fate verdict;
	const char *why; /* the difference, what to do, or the nearest name; may be NULL */
};

/* A file that was read, in that order. */
struct tree_file {
	const char *name;
	struct slice text;
	struct tree_file *next;
};

struct tree {
	struct arena *arena;
	struct directive root; /* without words */
	const char *name;      /* of the main file */
	const char *wrong;     /* the first error, in nginx's words; NULL: none */
	uint32_t directives, files;
	struct tree_file *first_file, **last_file;
};

/* The name of what stands on the command line: it has no lines. */
extern const char tree_command_line[];

void tree_init(struct tree *, struct arena *);
/* A block or line that nobody wrote, as the last child of `parent`; NULL when memory is out. */
struct directive *tree_add(struct tree *, struct directive *parent, uint32_t n_words);
/* Remembers the first error: "TEXT in FILE:LINE"; returns false. */
bool tree_wrong(struct tree *, const char *file, uint32_t line, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
bool tree_no_memory(struct tree *);

static inline struct slice directive_name(const struct directive *d)
{
	return d->n > 0 ? d->word[0] : slice_of("", 0);
}

static inline bool directive_is(const struct directive *d, const char *name)
{
	return d->n > 0 && slice_is(d->word[0], name);
}

/* The text of a word; "" when there is none. */
static inline const char *directive_word(const struct directive *d, uint32_t i)
{
	return i < d->n ? d->word[i].p : "";
}

#define DIRECTIVE_EACH(d, parent_) \
	for (struct directive *d = (parent_)->first; d != NULL; d = d->next)

#endif
