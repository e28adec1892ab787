/* read_internal.h - what the files behind read.h share.
 *
 *   read.c        files, includes, blocks
 *   read_dump.c   what `nginx -T` prints: files in a file
 *   crossplane.c  JSON */
#ifndef NGINX_COMPAT_READ_INTERNAL_H
#define NGINX_COMPAT_READ_INTERNAL_H

#include "nginx-compat/read.h"

/* A file of a dump. */
struct dump_file {
	const char *name;
	struct slice text;
};

struct dump {
	struct arena *arena;
	uint32_t n;
	struct dump_file file[TREE_FILES_MAX];
};

/* False: the text is no dump, or memory is out. */
bool dump_split(struct dump *, struct slice text);
/* NULL: it has no such file. */
const struct dump_file *dump_find(const struct dump *, const char *name);

struct reader {
	struct tree *tree;
	const char *prefix;       /* "" or a folder with its slash; NULL: nothing is included */
	struct dump *dump;        /* NULL: files are read */
	unsigned includes, depth; /* how deep */
};

/* The text of a file as directives of `parent`. */
bool read_into(struct reader *, const char *name, struct slice text, struct directive *parent);

bool crossplane_is(struct slice text);
bool crossplane_read(struct tree *, struct slice text);

#endif
