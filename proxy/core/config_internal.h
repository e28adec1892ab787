/* config_internal.h - what the field tables of routes and of answers share. */
#ifndef CORE_CONFIG_INTERNAL_H
#define CORE_CONFIG_INTERNAL_H

#include "conf/schema.h"

/* Whether the text came from a ${file:...}: of a mapping, the value of this key, or else of its
 * short form. */
bool text_is_secret(const struct node *, const char *key);
/* Whether a text may become a path (`path`) or a query; false after a finding at `at`.  NULL: it is
 * not given. */
bool text_check_target(struct conf_load *, const char *key, const char *text, struct place at,
		       bool path);

extern const struct schema set_schema, respond_schema;

#endif
