/* node.h - a YAML document as a tree of nodes that know where they stand. */
#ifndef CONF_NODE_H
#define CONF_NODE_H

#include "base/arena.h"
#include "base/slice.h"
#include "conf/diag.h"

enum node_kind { NODE_NULL, NODE_SCALAR, NODE_LIST, NODE_MAP };

struct node {
	enum node_kind kind;
	struct place at;
	bool quoted;         /* a scalar in quotes: never null, never a boolean */
	bool secret;         /* holds the text of a ${file:...} */
	struct slice text;   /* NODE_SCALAR, NUL behind it, after ${...} was replaced */
	struct node *first;  /* children of a list, values of a map */
	struct node *next;   /* sibling */
	struct slice key;    /* in a map */
	struct place key_at;
};

/* The value of a key, or NULL. */
const struct node *node_get(const struct node *map, const char *key);

/* Reads a file with its includes, replaces ${...}, checks everything that is of YAML and not of Weir.
 * NULL after an error; findings go to diags either way. */
struct node *node_read_file(const char *path, struct arena *, struct diags *);
/* The same for text (no includes), `name` stands for the file. */
struct node *node_read_text(const char *name, struct slice text, struct arena *, struct diags *);

#endif
