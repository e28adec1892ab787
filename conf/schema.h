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
	C_STRING,   /* const char *, in the arena; NULL when absent; min..max bytes; one of names, if given */
	C_ENUM,     /* int: index into names                                     */
	C_ADDR,     /* struct addr: numeric, ":8080" or unix:/path               */
	C_CIDR,     /* struct cidr                                               */
	C_MAP,      /* struct of sub, embedded                                   */
	C_LIST,     /* struct conf_list of sub, or of scalars when item is set; a single item will do for a list */
	C_NAMED,    /* struct conf_list of sub: a mapping of names to sub; sub's struct begins with struct conf_name */
	C_CUSTOM,   /* ops                                                       */
	C_TYPE_COUNT,
};

enum conf_flag {
	C_REQUIRED = 1 << 0,
	C_RESTART = 1 << 1, /* a reload that changes it is refused, and says so        */
	C_SECRET = 1 << 2,  /* dumped as <redacted>                                    */
	C_ONE = 1 << 3,     /* a list of one scalar is shown as that scalar            */
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
	/* As a YAML flow value on one line (yaml_text.h); nothing at all: absent, left out of the dump. */
	void (*dump)(const void *src, struct buf *yaml_flow);
	const char *json_schema; /* a JSON Schema object, as text                    */
	const char *what;        /* for the reference: "a key such as client.ip"; may be NULL */
};

struct field {
	const char *key;
	enum conf_type type;
	unsigned flags;
	size_t offset;
	size_t at; /* offset of a struct place, for where the value stands; 0: none */
	const char *dflt; /* parsed like user text; NULL: zero, and left out of the dump */
	uint64_t min, max; /* max 0: no bound */
	const char *const *names; /* C_ENUM, NULL-terminated */
	const struct schema *sub; /* C_MAP, C_LIST, C_NAMED */
	enum conf_type item;      /* C_LIST of scalars: their type; sub is NULL then */
	const struct custom_ops *custom;
	const char *doc; /* one sentence, for the reference page and the JSON Schema */
};

struct schema {
	const char *name;  /* for messages: "a rate policy takes: ..." uses "rate policy"; "the ..." stays as it is */
	size_t size;       /* of the struct the offsets index */
	const struct field *fields; /* ends with key == NULL */
	size_t at;         /* offset of a struct place, for where the mapping begins; 0: none */
	/* With `at`: one that is absent is left out of the dump, for it is none, not one of defaults. */
	bool optional;
	/* A scalar in place of the mapping sets this field (`app: 127.0.0.1:3000`); NULL: a mapping it must be. */
	const char *scalar;
	/* After all fields are in, and none of them had a finding; says what is wrong with them together.  Not called
	 * for an embedded mapping that is absent.  The node is a scalar when `scalar` was used. */
	bool (*check)(struct conf_load *, const struct node *, void *);
	/* Mappings whose kind is told by which key is in them (policies): returns the schema to use; NULL after
	 * a finding.  `fields` is unused then and `size` is 0: the item is a struct conf_variant. */
	const struct schema *(*variant)(struct conf_load *, const struct node *);
	/* Every schema `variant` may return, NULL-terminated, for dump, JSON Schema and reference. */
	const struct schema *const *variants;
	/* Offset of a `const struct conf_secrets *`, for the schema that a whole file is loaded by; 0: none.  Without
	 * it, what came from a ${file:...} is not known to the dump. */
	size_t secrets_at;
};

/* Addresses of all that was read from a ${file:...}, sorted; dumped as <redacted> like C_SECRET fields. */
struct conf_secrets {
	uint32_t n;
	const void **at;
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
	const char *path; /* of the mapping at hand: "policies.per-client"; NULL at the top */

	/* private to conf */
	struct conf_secret *secrets;
};

/* An absent mapping (no default, no required key given) is filled with the defaults of its fields; the dump leaves it out
 * when it has a required field. */

/* Fills dst (schema->size bytes, zeroed here) with defaults and with what the node says.
 * False: there were findings; all of them are in load->diags. */
bool schema_load(struct conf_load *, const struct schema *, const struct node *, void *dst);
/* Everything merged, defaults filled in, secrets as "<redacted>".  The YAML can be loaded again, to the same; the JSON
 * has the values themselves: a `$` in it is not doubled. */
void schema_dump_yaml(const struct schema *, const void *src, struct buf *);
void schema_dump_json(const struct schema *, const void *src, struct buf *);
void schema_json_schema(const struct schema *, struct buf *); /* draft-07 */
void schema_reference(const struct schema *, struct buf *);   /* Markdown: key, type, default, bounds, doc */
/* One line per difference: "~ policies.per-client.rate: 100/s -> 200/s", "+ routes.x", "- upstreams.y".
 * Returns how many; *restart counts those on C_RESTART fields. */
unsigned schema_diff(const struct schema *, const void *old, const void *new_, struct buf *, unsigned *restart);
/* The same for one field of the schema. */
unsigned schema_diff_field(const struct schema *, const struct field *, const void *old, const void *new_, struct buf *,
			   unsigned *restart);

/* For checks of schemas: what stands there (an address that a dump will come to, be it an item of a list) is dumped as
 * <redacted> from here on, wherever it was read from. */
void conf_hide(struct conf_load *, const void *at);
/* Each of a list of const char *. */
void conf_hide_texts(struct conf_load *, const struct conf_list *);
/* Whether what has such a name (of a header field, say) is likely to be somebody's credentials. */
bool conf_names_credentials(struct slice name);

/* The field of this key, or NULL. */
const struct field *schema_field(const struct schema *, const char *key);
/* The value of a field as the dump shows it, on one line; nothing when it is absent.  Lists and scalars only. */
void schema_field_text(const struct schema *, const char *key, const void *src, struct buf *);
/* A copy in the arena, NULL (and a finding) when memory is out: for what `check` and `parse` make. */
char *conf_strdup(struct conf_load *, struct slice);
void *conf_zalloc(struct conf_load *, size_t);

#endif
