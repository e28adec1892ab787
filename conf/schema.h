/* schema.h - one table per mapping; the table is the parser, the checker, the
 * defaults, the dumper, the reload differ, the JSON Schema and the manual page.
 *
 * A room declares a `static const struct field[]` and a `struct schema` for each mapping that it owns; conf knows no
 * key by name.  A key that is in no table is an unknown key. */
#ifndef CONF_SCHEMA_H
#define CONF_SCHEMA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/diag.h"
#include "conf/node.h"

struct schema;
struct conf_load;

enum conf_type {
	C_BOOL,     /* bool                                                      */
	C_U32,      /* uint32_t, min..max                                        */
	C_DURATION, /* uint64_t ns: "250ms" "2s" "1h30m"; min..max in ns         */
	C_RATE,     /* struct rate: "50/s" "5/10s" "unlimited"                   */
	C_BYTES,    /* uint64_t: "64KiB"; min..max                               */
	C_SHARE,    /* uint32_t parts per million: "50%"                         */
	C_STRING,   /* const char *, in the arena; NULL when absent              */
	C_ENUM,     /* int: index into names                                     */
	C_ADDR,     /* struct addr: numeric, ":8080" or unix:/path               */
	C_CIDR,     /* struct cidr                                               */
	C_MAP,      /* struct of sub, embedded                                   */
	C_LIST,     /* struct conf_list of sub, or of scalars when item is set; a single item will do for a list */
	C_NAMED,    /* struct conf_list of sub: a mapping of names to sub; sub's struct begins with struct conf_name */
	C_CUSTOM,   /* ops                                                       */
};

enum conf_flag {
	C_REQUIRED = 1 << 0,
	C_RESTART = 1 << 1, /* a reload that changes it is refused, and says so        */
	C_SECRET = 1 << 2,  /* dumped as <redacted>                                    */
};

struct rate {
	uint64_t count;     /* per period; 0 with unlimited false cannot be            */
	uint64_t period_ns;
	bool unlimited;
};

struct conf_list {
	uint32_t n;
	void *item; /* array of n structs (or scalars), in the arena */
};

/* First member of what C_NAMED lists hold. */
struct conf_name {
	const char *name;
	struct place at;
};

/* For what a table cannot say: a key specification, a value that is a scalar or a mapping, ... */
struct custom_ops {
	bool (*parse)(struct conf_load *, const struct node *, void *dst); /* false: a finding was made */
	void (*dump)(const void *src, struct buf *yaml_flow); /* as a YAML flow value on one line */
	const char *json_schema;                              /* a JSON Schema object, as text    */
};

struct field {
	const char *key;
	enum conf_type type;
	unsigned flags;
	size_t offset;
	const char *dflt; /* parsed like user text; NULL: zero, and left out of the dump */
	uint64_t min, max; /* max 0: no bound */
	const char *const *names; /* C_ENUM, NULL-terminated */
	const struct schema *sub; /* C_MAP, C_LIST, C_NAMED */
	enum conf_type item;      /* C_LIST of scalars: their type; sub is NULL then */
	const struct custom_ops *custom;
	const char *doc; /* one sentence, for the reference page and the JSON Schema */
};

struct schema {
	const char *name;  /* for messages: "a rate policy takes: ..." uses "rate policy" */
	size_t size;       /* of the struct the offsets index */
	const struct field *fields; /* ends with key == NULL */
	/* A scalar in place of the mapping sets this field (`app: 127.0.0.1:3000`); NULL: a mapping it must be. */
	const char *scalar;
	/* After all fields are in; says what is wrong with them together. */
	bool (*check)(struct conf_load *, const struct node *, void *);
	/* Mappings whose kind is told by which key is in them (policies): returns the schema to use; NULL after
	 * a finding.  `fields` is unused then and `size` is 0: the item is a struct conf_variant. */
	const struct schema *(*variant)(struct conf_load *, const struct node *);
	/* Every schema `variant` may return, NULL-terminated, for dump, JSON Schema and reference. */
	const struct schema *const *variants;
};

/* What C_NAMED of a schema with `variant` holds. */
struct conf_variant {
	struct conf_name name;
	const struct schema *schema;
	void *conf; /* schema->size bytes */
};

/* What a load carries along. */
struct conf_load {
	struct arena *arena;
	struct diags *diags;
	const char *path; /* of the mapping at hand: "policies.per-client" */
};

/* Fills dst (schema->size bytes, zeroed here) with defaults and with what the node says.
 * False: there were findings; all of them are in load->diags. */
bool schema_load(struct conf_load *, const struct schema *, const struct node *, void *dst);
void schema_dump_yaml(const struct schema *, const void *src, struct buf *);
void schema_dump_json(const struct schema *, const void *src, struct buf *);
void schema_json_schema(const struct schema *, struct buf *); /* draft-07 */
void schema_reference(const struct schema *, struct buf *);   /* Markdown: key, type, default, bounds, doc */
/* One line per difference: "~ policies.per-client.rate: 100/s -> 200/s", "+ routes.x", "- upstreams.y".
 * Returns how many; *restart counts those on C_RESTART fields. */
unsigned schema_diff(const struct schema *, const void *old, const void *new_, struct buf *, unsigned *restart);

#endif
