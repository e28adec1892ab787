/* json.h - reads the JSON of strangers (RFC 8259): strict, bounded, in an arena.
 *
 * Numbers, true, false and null keep their text; strings are decoded to UTF-8 and may not hold NUL.
 */
#ifndef BASE_JSON_H
#define BASE_JSON_H

#include "base/arena.h"
#include "base/slice.h"

enum { JSON_DEPTH_MAX = 8, JSON_VALUES_MAX = 4096, JSON_VALUES_LONG_MAX = 1 << 20 };

enum json_kind { JSON_WORD, JSON_STRING, JSON_LIST, JSON_OBJECT };

struct json {
	enum json_kind kind;
	struct slice text;  /* JSON_WORD, JSON_STRING */
	struct slice key;   /* of a member of an object */
	struct json *first; /* of a list or object */
	struct json *next;
};

/* NULL: *wrong says why, a sentence.  A name that comes twice in one object is an error. */
const struct json *json_read(struct slice text, struct arena *, const char **wrong);
/* The same for what may be long: JSON_VALUES_LONG_MAX values. */
const struct json *json_read_long(struct slice text, struct arena *, const char **wrong);
/* As json_read; *stop is how far it came: where what is wrong stands, or ends. */
const struct json *json_read_to(struct slice text, struct arena *, const char **wrong,
				size_t *stop);
/* json_read with bounds of the caller's own. */
const struct json *json_read_within(struct slice text, unsigned depth_max, unsigned values_max,
				    struct arena *, const char **wrong);
/* The value of a member; NULL: there is none. */
const struct json *json_get(const struct json *object, const char *key);

#endif
