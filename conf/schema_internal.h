/* schema_internal.h - what the files behind schema.h share.
 *
 *   schema_type.c  the scalar types: one row each
 *   schema.c       loading
 *   schema_dump.c  YAML and JSON
 *   schema_diff.c  what changed
 *   schema_doc.c   JSON Schema and the reference page */
#ifndef CONF_SCHEMA_INTERNAL_H
#define CONF_SCHEMA_INTERNAL_H

#include "base/buf.h"
#include "conf/schema.h"

/* A type that is one scalar; `parse` is NULL for the others. */
struct scalar_type {
	const char *what; /* "a duration such as 250ms" */
	size_t size;
	/* Returns NULL, or what is wrong: a sentence without the value. */
	const char *(*parse)(struct conf_load *, const struct field *, struct slice, void *dst);
	/* What may have been meant, or NULL. */
	const char *(*suggest)(struct conf_load *, const struct field *, struct slice);
	/* The text; strings are quoted by the caller. */
	void (*print)(const struct field *, const void *src, struct buf *);
	/* For bounds; NULL: the type has none. */
	uint64_t (*number)(const void *src);
	void (*print_number)(uint64_t, char out[32]);
	uint64_t most; /* that can be stored; 0: no more than what can be read */
	const char *json_type; /* members of a JSON Schema object */
	const char *pattern;   /* of the string form; NULL: any */
};

extern const struct scalar_type scalar_types[C_TYPE_COUNT];

/* "a rate policy" "an endpoint" "the configuration"; in a static buffer of the thread. */
const char *schema_article(const struct schema *);
const struct schema *schema_variant_of(const struct schema *, const void *item, const void **conf);
static inline const void *field_at(const struct field *f, const void *src)
{
	return (const char *)src + f->offset;
}
static inline const void *list_at(const struct conf_list *l, size_t size, uint32_t i)
{
	return (const char *)l->item + i * size;
}
/* Bytes of one item of a list field. */
size_t field_item_size(const struct field *);

/* The only field of a mapping that has a short form: such a mapping is always shown short.  Else NULL. */
const struct field *schema_short(const struct schema *);
/* Left out of the dump: zero without a default, an absent mapping, an empty list. */
bool field_is_absent(const struct field *, const void *at);

/* How a dump treats secrets. */
struct dump {
	struct buf *out;
	const struct conf_secrets *secrets;
	bool reveal;
};
const struct conf_secrets *schema_secrets(const struct schema *, const void *src);
/* One scalar or custom value, or a list of scalars, on one line.  `at` is where it is stored. */
void dump_value(const struct dump *, const struct field *, const void *at);
bool dump_is_secret(const struct dump *, const struct field *, const void *at);

#endif
