/* node.h - a YAML document as a tree of nodes that know where they stand. */
#ifndef CONF_NODE_H
#define CONF_NODE_H

#include "base/arena.h"
#include "base/slice.h"
#include "conf/diag.h"

enum {
	NODE_MAX = 100000,        /* nodes of a load, aliases expanded */
	NODE_DEPTH_MAX = 32,
	NODE_FILE_BYTES = 16 << 20,
	NODE_FILES_MAX = 1000,    /* of a load */
	NODE_SECRET_BYTES = 64 << 10, /* behind a ${file:...} */
	NODE_SCALAR_BYTES = 1 << 20,  /* after ${...} was replaced */
};

enum node_kind { NODE_NULL, NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
	enum node_kind kind;
	struct place at;
	bool quoted;         /* a scalar in quotes, nothing of it replaced: never null, never a boolean */
	bool secret;         /* holds the text of a ${file:...} */
	bool broken;         /* what is wrong with it was said already */
	struct slice text;   /* NODE_SCALAR, NUL behind it, after ${...} was replaced */
	struct node *first;  /* children of a list, values of a map */
	struct node *next;   /* sibling */
	struct slice key;    /* in a map; else p == NULL */
	struct place key_at;
};

/* The value of a key, or NULL. */
const struct node *node_get(const struct node *map, const char *key);
/* Item i of a list; of a single value that stands for a list, that value.  NULL: there is none. */
const struct node *node_item(const struct node *list, uint32_t i);
/* "a mapping" "a list" ...; for messages. */
const char *node_kind_name(enum node_kind);
/* Where to point for the node as a whole: at its key, when it has one. */
struct place node_place(const struct node *);

/* Reads a file with its includes, replaces ${...}, checks everything that is of YAML and not of Weir.
 * NULL: there is no tree, or not the whole of it.  Findings that leave a tree (a key given twice, a variable that is
 * not set) do not lead to NULL, so that a schema may add its own: diags->errors tells. */
struct node *node_read_file(const char *path, struct arena *, struct diags *);
/* The same for text (no includes), `name` stands for the file. */
struct node *node_read_text(const char *name, struct slice text, struct arena *, struct diags *);

/* node_read_file with two arenas: the tree may be thrown away early while the file names, which places refer to,
 * live on. */
struct node *node_read_file_into(const char *path, struct arena *nodes, struct arena *names,
				 struct diags *);
/* node_read_text for text that conf wrote itself: no bound on the number of nodes. */
struct node *node_read_own(struct slice text, struct arena *, struct diags *);

/* Of the YAML library that runs. */
const char *node_yaml_version(void);

#endif
