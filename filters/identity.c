/* identity.c - claims, by name. */
#include "filters/identity.h"

bool identity_claim(const struct identity *who, struct slice path, struct slice *value)
{
	for (uint32_t i = 0; who != NULL && i < who->n; i++) {
		if (!slice_eq(who->claim[i].path, path))
			continue;
		*value = who->claim[i].value;
		return value->n > 0;
	}
	return false;
}
