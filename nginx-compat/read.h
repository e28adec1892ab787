/* read.h - nginx configurations in their four forms, as a tree. */
#ifndef NGINX_COMPAT_READ_H
#define NGINX_COMPAT_READ_H

#include "nginx-compat/tree.h"

/* A file with its includes; what `nginx -T` prints; the JSON of crossplane; or a fragment of any of them.  `path` "-" is the
 * standard input.  False: tree->wrong says why. */
bool read_file(struct tree *, const char *path);
/* The same for text.  `name` stands for the file; includes are seen from `prefix`, a folder with its slash behind it,
 * NULL: there are none to be read (for fuzzing). */
bool read_text(struct tree *, const char *name, const char *prefix, struct slice text);

/* What nginx itself reads: `directives` from its command line, NULL: none, and behind them a file, which is no dump and
 * no JSON.  `path` is kept. */
bool read_main(struct tree *, const char *path, const char *directives);

#endif
