/* pick.h - values of an answer by name; what is not there is empty, 0 or false. */
#ifndef CTL_PICK_H
#define CTL_PICK_H

#include <stdlib.h>

#include "base/json.h"

static inline struct slice pick_text(const struct json *o, const char *key)
{
	const struct json *v = o == NULL || o->kind != JSON_OBJECT ? NULL : json_get(o, key);

	return v == NULL || v->kind == JSON_LIST || v->kind == JSON_OBJECT ? slice_of("", 0)
									   : v->text;
}

static inline double pick_number(const struct json *o, const char *key)
{
	struct slice s = pick_text(o, key);
	char text[40];

	if (s.n == 0 || s.n >= sizeof(text))
		return 0;
	for (size_t i = 0; i < s.n; i++)
		text[i] = s.p[i];
	text[s.n] = '\0';
	return strtod(text, NULL);
}

static inline bool pick_true(const struct json *o, const char *key)
{
	return slice_is(pick_text(o, key), "true");
}

/* The first of a list, or what is in an object; NULL: nothing. */
static inline const struct json *pick_first(const struct json *o, const char *key)
{
	const struct json *v = o == NULL || o->kind != JSON_OBJECT ? NULL : json_get(o, key);

	return v == NULL || v->kind == JSON_WORD || v->kind == JSON_STRING ? NULL : v->first;
}

static inline const struct json *pick_object(const struct json *o, const char *key)
{
	const struct json *v = o == NULL || o->kind != JSON_OBJECT ? NULL : json_get(o, key);

	return v != NULL && v->kind == JSON_OBJECT ? v : NULL;
}

#endif
