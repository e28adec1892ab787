/* scope.c - whom a limit counts together. */
#include "filters/scope.h"

const char *const missing_names[] = {
	[MISSING_SHARE] = "share",
	[MISSING_SKIP] = "skip",
	[MISSING_DENY] = "deny",
	NULL,
};

static struct place place_of(const struct node *map, const char *key)
{
	const struct node *n = node_get(map, key);

	return n == NULL ? map->at : n->at;
}

static const char *path_of(struct conf_load *load, const char *key)
{
	return arena_printf(load->arena, "%s.%s", load->path, key);
}

void scope_warn(struct conf_load *load, const struct node *map, const struct key_spec *key,
		int missing)
{
	char buf[128];
	struct slice part = key_free_choice(key, buf);
	const struct node *given = node_get(map, "missing");

	if (part.p != NULL)
		diag_warning(load->diags, place_of(map, "key"), "W104",
			     "any client can set `%.*s` as it likes: a new value is a new bucket",
			     SLICE_FMT(part))
		    ->path = path_of(load, "key");
	if (given != NULL && missing != MISSING_SHARE && key->n == 0)
		diag_warning(load->diags, given->at, "W107",
			     "`missing` means nothing without a `key`")
		    ->path = path_of(load, "missing");
}

/* NULL, or what is wrong with an override's match under this key. */
static const char *check_match(const struct key_spec *key, const char *match)
{
	struct cidr network;

	if (key->n == 0)
		return "without a `key` there is nothing to match";
	if (cidr_parse(slice_str(match), &network) && key_has_client_ip(key))
		return NULL;
	if (key->n > 1)
		return key_has_client_ip(key) ? "with a compound key, only a network can be matched"
					      : "a compound key cannot be matched";
	return key_has_client_ip(key) ? "is not an address or network" : NULL;
}

bool scope_check_overrides(struct conf_load *load, const struct node *map,
			   const struct key_spec *key, const struct conf_list *overrides,
			   size_t item_size)
{
	const struct node *list = node_get(map, "overrides");
	const struct node *n = list != NULL && list->kind == NODE_LIST ? list->first : list;
	const char *item = overrides->item;
	bool ok = true;

	for (uint32_t i = 0; i < overrides->n && n != NULL; i++, n = n->next, item += item_size) {
		const char *match = *(const char *const *)(const void *)item;
		const char *wrong = check_match(key, match);

		if (wrong == NULL)
			continue;
		diag_error(load->diags, place_of(n, "match"), "E019", "override `%s`: %s", match,
			   wrong)
		    ->path = path_of(load, "overrides");
		ok = false;
	}
	return ok;
}

void scope_match_init(struct scope_match *m, const struct key_spec *key, const char *match)
{
	struct slice text = slice_str(match);

	*m = (struct scope_match){ .by_network = false };
	m->by_network = key_has_client_ip(key) && cidr_parse(text, &m->network);
	if (!m->by_network)
		m->fingerprint = key_fingerprint_value(key, text);
}

struct verdict scope_find(const struct key_spec *key, int missing, const struct call *call,
			  uint64_t *out)
{
	if (key_fingerprint(key, call, out))
		return verdict_pass();
	if (missing == MISSING_SKIP)
		return verdict_skip();
	if (missing == MISSING_DENY)
		return verdict_deny(reason_missing_key, 0);
	*out = key_fingerprint_missing();
	return verdict_pass();
}
