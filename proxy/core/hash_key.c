/* hash_key.c - from `hash:` to a key specification, and from a call to a hash. */
#include "core/hash_key.h"

#include "core/template.h"
#include "filters/key.h"

/* As the parser of keys wants it: nodes, where they stood in the file. */
static bool parse(const struct cluster_conf *conf, struct arena *arena, struct diags *diags,
		  struct key_spec *spec)
{
	const struct hash_conf *part = conf->hash.item;
	struct conf_load load = { .arena = arena, .diags = diags };
	struct node list = { .kind = NODE_LIST, .at = conf->hash_at };
	struct node *n = arena_zalloc(arena, conf->hash.n * sizeof(*n));

	if (n == NULL) {
		diags_out_of_memory(diags);
		return false;
	}
	list.first = n;
	for (uint32_t i = 0; i < conf->hash.n; i++) {
		n[i].kind = NODE_SCALAR;
		n[i].text = slice_str(part[i].key);
		n[i].at = part[i].at;
		n[i].next = i + 1 < conf->hash.n ? &n[i + 1] : NULL;
	}
	return key_custom.parse(&load, &list, spec);
}

static bool is_text(const struct cluster_conf *conf)
{
	return conf->lb == LB_CRC32_HASH || conf->lb == LB_KETAMA_HASH;
}

static bool parse_text(const struct cluster_conf *conf, struct arena *arena, struct diags *diags,
		       struct template *t)
{
	static const struct template_match no_match;
	const struct hash_conf *part = conf->hash.item;

	return template_parse(t, part->key, false, &no_match, "`hash`", part->at, arena, diags);
}

bool hash_key_check(const struct cluster_conf *conf, struct arena *arena, struct diags *diags)
{
	struct key_spec spec;
	struct template text;

	if (is_text(conf) && conf->hash.n > 0)
		return parse_text(conf, arena, diags, &text);
	return conf->hash.n == 0 || parse(conf, arena, diags, &spec);
}

bool hash_key_open(struct cluster *c, struct arena *arena, struct diags *diags)
{
	struct key_spec *spec;

	if (c->conf->hash.n == 0)
		return true;
	if (is_text(c->conf)) {
		struct template *t = arena_zalloc(arena, sizeof(*t));

		c->hash_text = t;
		if (t == NULL)
			diags_out_of_memory(diags);
		return t != NULL && parse_text(c->conf, arena, diags, t);
	}
	spec = arena_zalloc(arena, sizeof(*spec));
	if (spec == NULL) {
		diags_out_of_memory(diags);
		return false;
	}
	c->hash = spec;
	return parse(c->conf, arena, diags, spec);
}

bool hash_key_of(const struct cluster *c, const struct call *call, uint64_t *hash)
{
	return c->hash != NULL && key_fingerprint_everywhere(c->hash, call, hash);
}
