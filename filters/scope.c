/* scope.c - whom a limit counts together. */
#include "filters/scope.h"

const char *const missing_names[] = {
	[MISSING_SHARE] = "share",
	[MISSING_SKIP] = "skip",
	[MISSING_DENY] = "deny",
	[MISSING_CHALLENGE] = "challenge",
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

bool scope_check_missing(struct conf_load *load, const struct node *map, const struct key_spec *key,
			 int *missing)
{
	const struct node *given = node_get(map, "missing");

	if (given == NULL && key_identity(key) != 0)
		*missing = MISSING_CHALLENGE;
	if (*missing != MISSING_CHALLENGE || key_identity(key) != 0)
		return true;
	diag_error(
	    load->diags, place_of(map, "missing"), "E019",
	    "`missing: challenge` is for keys that have to be verified, jwt.CLAIM and api_key")
	    ->path = path_of(load, "missing");
	return false;
}

static const void *value_of(const struct field *f, const void *conf)
{
	return (const char *)conf + f->offset;
}

/* What all keys in it are made of. */
static unsigned reads_of(const struct schema *schema, const void *conf)
{
	unsigned reads = 0;

	for (const struct field *f = schema->fields; f->key != NULL; f++) {
		if (f->type == C_CUSTOM && f->custom == &key_custom)
			reads |= key_identity(value_of(f, conf));
		else if (f->type == C_MAP)
			reads |= reads_of(f->sub, value_of(f, conf));
	}
	return reads;
}

void scope_wants(const struct schema *schema, const void *conf, struct scope_wants *add_to)
{
	const struct field *key = schema_field(schema, "key"),
			   *missing = schema_field(schema, "missing"),
			   *shadow = schema_field(schema, "shadow");
	unsigned reads = reads_of(schema, conf);

	add_to->reads |= reads;
	if (shadow != NULL && *(const bool *)value_of(shadow, conf))
		return; /* it refuses nothing, nor on its account does anybody else */
	add_to->binds |= reads;
	if (key != NULL && missing != NULL && missing->names == missing_names &&
	    *(const int *)value_of(missing, conf) == MISSING_CHALLENGE)
		add_to->demands |= key_identity(value_of(key, conf));
}

static struct slice unknown_value(const struct key_spec *key,
				  bool (*known)(const void *, struct slice), const void *of)
{
	for (uint32_t i = 0; i < key->n; i++) {
		struct slice name = key_value_name(key, i);

		if (name.p != NULL && !known(of, name))
			return name;
	}
	return slice_of(NULL, 0);
}

struct slice scope_unknown_value(const struct schema *schema, const void *conf,
				 bool (*known)(const void *of, struct slice name), const void *of)
{
	struct slice name = { .p = NULL };

	for (const struct field *f = schema->fields; f->key != NULL && name.p == NULL; f++) {
		if (f->type == C_CUSTOM && f->custom == &key_custom)
			name = unknown_value(value_of(f, conf), known, of);
		else if (f->type == C_MAP)
			name = scope_unknown_value(f->sub, value_of(f, conf), known, of);
	}
	return name;
}

bool scope_reads_certificate(const struct schema *schema, const void *conf)
{
	const struct field *key = schema_field(schema, "key");

	return key != NULL && key->custom == &key_custom && key_has_tls_san(value_of(key, conf));
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

/* Values of what callers prove themselves by; what they are known as (`api_key`, `jwt.sub`) is none. */
static bool key_is_credentials(const struct key_spec *key)
{
	struct slice text = slice_str(key->text == NULL ? "" : key->text);
	struct slice header = SLICE("header."), query = SLICE("query."), cookie = SLICE("cookie.");

	return slice_starts(text, cookie) ||
	       ((slice_starts(text, header) || slice_starts(text, query)) &&
		conf_names_credentials(text));
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

		if (key_is_credentials(key))
			conf_hide(load, item);
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
	if (missing == MISSING_DENY || missing == MISSING_CHALLENGE)
		return verdict_deny(reason_missing_key, 0);
	*out = key_fingerprint_missing();
	return verdict_pass();
}
