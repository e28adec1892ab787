/* state.c - one counted object for each identity. */
#include "filters/state.h"

#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "filters/table_internal.h"

struct state {
	struct list link; /* registry->states */
	unsigned refs;
	const struct state_kind *kind;
	void *object;
	char id[]; /* policy, kind, key and store, each with its NUL */
};

static size_t id_bytes(const struct table_id *id)
{
	return strlen(id->policy) + strlen(id->kind) + strlen(id->key) + strlen(id->store) + 4;
}

static void id_write(char *out, const struct table_id *id)
{
	const char *part[] = { id->policy, id->kind, id->key, id->store };

	for (size_t i = 0; i < sizeof(part) / sizeof(part[0]); i++)
		out = stpcpy(out, part[i]) + 1;
}

static bool id_is(const char *text, const struct table_id *id)
{
	const char *part[] = { id->policy, id->kind, id->key, id->store };

	for (size_t i = 0; i < sizeof(part) / sizeof(part[0]); i++) {
		if (strcmp(text, part[i]) != 0)
			return false;
		text += strlen(text) + 1;
	}
	return true;
}

static struct state *state_new(const struct table_id *id, const struct state_kind *kind)
{
	struct state *s = malloc(sizeof(*s) + id_bytes(id));

	if (s == NULL)
		return NULL;
	*s = (struct state){ .kind = kind, .object = kind->make() };
	if (s->object == NULL) {
		free(s);
		return NULL;
	}
	id_write(s->id, id);
	return s;
}

void *state_get(struct table_registry *r, const struct table_id *id, const struct state_kind *kind)
{
	struct state *found = NULL;

	LIST_EACH (n, &r->states) {
		struct state *s = LIST_ENTRY(n, struct state, link);

		if (s->kind == kind && id_is(s->id, id))
			found = s;
	}
	if (found == NULL) {
		found = state_new(id, kind);
		if (found == NULL)
			return NULL;
		list_push_back(&r->states, &found->link);
	}
	found->refs++;
	return found->object;
}

void state_put(struct table_registry *r, void *object)
{
	LIST_EACH (n, &r->states) {
		struct state *s = LIST_ENTRY(n, struct state, link);

		if (s->object != object)
			continue;
		if (--s->refs > 0)
			return;
		list_remove(&s->link);
		s->kind->destroy(s->object);
		free(s);
		return;
	}
	CHECK(object == NULL);
}
