/* template_internal.h - what template.c and call_value.c share. */
#ifndef CORE_TEMPLATE_INTERNAL_H
#define CORE_TEMPLATE_INTERNAL_H

#include "core/template.h"
#include "filters/key.h"

struct value_source;

struct template_part {
	struct slice text;                 /* of a literal; or what a source's name ends with */
	const struct value_source *source; /* NULL: a literal, or a key */
	struct key_spec *key;              /* NULL: none */
	bool escaped;                      /* its values stand in URIs as they are */
	bool of_exchange;                  /* its source wants one */
	uint32_t group;                    /* of match.N */
};

/* One value under way, and where those that have to be made are put. */
struct reader {
	const struct template_values *v;
	const struct template_part *part;
	char scratch[KEY_SCRATCH_BYTES];
};

struct value_source {
	const char *name; /* with a dot at its end: a name follows */
	bool (*read)(struct reader *, struct slice *);
	bool escaped;  /* it is part of a URI, with the escapes of one */
	uint8_t known; /* enum template_time */
};

/* call_value.c: what an exchange knows of its call, its connection, its tries and its answer. */
const struct value_source *call_value_find(struct slice name, struct slice *rest);
/* For suggestions; NULL behind the last. */
const char *call_value_name(unsigned i);

#endif
