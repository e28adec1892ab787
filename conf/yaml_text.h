/* yaml_text.h - scalars written so that YAML reads back the same. */
#ifndef CONF_YAML_TEXT_H
#define CONF_YAML_TEXT_H

#include "base/buf.h"
#include "base/slice.h"

struct node;

/* A string: plain where that is safe anywhere (flow mappings too) and cannot be taken for a number,
 * a boolean or null; else in double quotes.  A `$` is doubled. */
void yaml_put_string(struct buf *, struct slice);
/* The same for a key, in which nothing is replaced: a `$` stays single. */
void yaml_put_key(struct buf *, struct slice);
/* A tree as JSON, indented by two; plain numbers and booleans stay what they are. */
void yaml_put_json(struct buf *, const struct node *);

#endif
