/* node_internal.h - what the files that make up the reader of node.h share.
 *
 *   node.c         events of libyaml -> nodes: one document
 *   node_map.c     duplicate keys and merges
 *   node_expand.c  ${...}
 *   node_file.c    files and includes */
#ifndef CONF_NODE_INTERNAL_H
#define CONF_NODE_INTERNAL_H

#include "conf/file.h"
#include "conf/node.h"

/* One load: all files together. */
struct reader {
	struct arena *nodes, *names;
	struct diags *diags;
	unsigned count; /* nodes so far */
	bool unbounded; /* the text is our own */
	bool text_only; /* no includes */
	bool incomplete; /* a file is missing from the tree */
	const struct place *alias; /* being expanded: findings about bounds point there */
	struct included *included;
	unsigned files;
};

/* Where a scalar's text comes from, for ${...}. */
struct origin {
	struct reader *reader;
	const char *file;
	struct slice raw; /* as it stands in the file */
};

/* Reads one document; NULL after an error. */
struct node *document_read(struct reader *, const char *name, struct slice text);

/* A new node, counted; NULL beyond the bounds, with a finding at the place. */
struct node *node_new(struct reader *, enum node_kind, struct place, unsigned depth);

/* A finding for each key that is given twice.  False: there were some, or memory is out. */
bool map_check_unique(struct reader *, const struct node *map);
/* Takes the `<<` keys out and adds what they stand for, behind the map's own keys. */
bool map_merge(struct reader *, struct node *map);

/* Replaces ${...} and $$ in node->text.  False after a finding. */
bool node_expand(const struct origin *, struct node *);

/* `path` as seen from the folder of `file`. */
const char *path_beside(const char *file, struct slice path, struct arena *);

#endif
