/* config_value.c - the field table of values: texts that are made of a call, by name. */
#include <string.h>

#include "core/config.h"
#include "http/scan.h"

enum { KIB = 1024 };

static bool is_secret(const struct node *n, const char *key)
{
	const struct node *value = n->kind == NODE_MAP ? node_get(n, key) : n;

	return value != NULL && value->secret;
}

static bool check_choice(struct conf_load *l, const struct node *n, void *conf)
{
	struct value_choice_conf *c = conf;

	(void)l;
	c->value.literal = is_secret(n, "value");
	return true;
}

#define VALUE_FIELD                                                                               \
	{                                                                                         \
		.key = "value", .type = C_STRING, .flags = C_REQUIRED,                            \
		.offset = offsetof(struct value_choice_conf, value.text),                         \
		.at = offsetof(struct value_choice_conf, value.at), .max = 4 * KIB,               \
		.doc = "What the value is then: a text, in which `{client.ip}` and the like are " \
		       "replaced, and "                                                           \
		       "`{match.1}` is a group of the one regular expression that was met."       \
	}

static const struct field map_fields[] = {
	{ .key = "match",
	  .type = C_LIST,
	  .flags = C_REQUIRED | C_ONE,
	  .offset = offsetof(struct value_choice_conf, match),
	  .at = offsetof(struct value_choice_conf, match_at),
	  .item = C_STRING,
	  .max = 4 * KIB,
	  .doc = "A text that `of` is exactly, `~ REGEX`, or with `by: address` an address or "
		 "network; or "
		 "several." },
	VALUE_FIELD,
	{ .key = NULL },
};

static const struct schema map_schema = {
	.name = "entry of a map",
	.size = sizeof(struct value_choice_conf),
	.fields = map_fields,
	.check = check_choice,
};

static const struct field split_fields[] = {
	{ .key = "share",
	  .type = C_SHARE,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct value_choice_conf, share),
	  .min = 1,
	  .max = 1000000,
	  .doc = "Of all texts that `of` may be; a text is always on the same side." },
	VALUE_FIELD,
	{ .key = NULL },
};

static const struct schema split_schema = {
	.name = "share",
	.size = sizeof(struct value_choice_conf),
	.fields = split_fields,
	.check = check_choice,
};

static const char *const by_names[] = {
	[VALUE_BY_TEXT] = "text", [VALUE_BY_ADDRESS] = "address", NULL
};

static const struct field value_fields[] = {
	{ .key = "of",
	  .type = C_STRING,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct value_conf, of.text),
	  .at = offsetof(struct value_conf, of.at),
	  .max = 4 * KIB,
	  .doc = "A text, in which `{client.ip}` and the like are replaced, as in `set` of a "
		 "route. It is the "
		 "value, unless there is a `map` or a `split`." },
	{ .key = "map",
	  .type = C_LIST,
	  .offset = offsetof(struct value_conf, map),
	  .sub = &map_schema,
	  .doc = "What the value is for which texts: the first entry that matches counts." },
	{ .key = "split",
	  .type = C_LIST,
	  .offset = offsetof(struct value_conf, split),
	  .sub = &split_schema,
	  .doc = "What the value is for which share of the texts that no entry of `map` matches." },
	{ .key = "default",
	  .type = C_STRING,
	  .offset = offsetof(struct value_conf, dflt.text),
	  .at = offsetof(struct value_conf, dflt.at),
	  .max = 4 * KIB,
	  .doc = "What it is else; empty when it is not given. An empty value is a key that is "
		 "missing." },
	{ .key = "by",
	  .type = C_ENUM,
	  .offset = offsetof(struct value_conf, by),
	  .dflt = "text",
	  .names = by_names,
	  .doc = "What `match` compares: text, or the address that `of` is." },
	{ .key = "forwarded",
	  .type = C_MAP,
	  .offset = offsetof(struct value_conf, forwarded),
	  .sub = &client_ip_schema,
	  .doc = "By address: where `of` is trusted, the address that it tells takes its place." },
	{ .key = "caseless",
	  .type = C_BOOL,
	  .offset = offsetof(struct value_conf, caseless),
	  .dflt = "false",
	  .doc = "Whether upper and lower case of texts are the same to `match`; a regular "
		 "expression says `~*`." },
	{ .key = NULL },
};

/* Whom a map of keys is of is said by its values. */
static void hide_credentials(struct conf_load *l, const struct value_conf *v)
{
	const struct value_choice_conf *choice = v->map.item;

	if (v->of.text == NULL || !conf_names_credentials(slice_str(v->of.text)))
		return;
	for (uint32_t i = 0; i < v->map.n; i++)
		conf_hide_texts(l, &choice[i].match);
}

static bool check_value(struct conf_load *l, const struct node *n, void *conf)
{
	struct value_conf *v = conf;
	bool ok = v->name.name[0] != '\0' && strlen(v->name.name) <= 64;

	for (const char *c = v->name.name; *c != '\0'; c++)
		ok = ok && char_is(*c, CH_UNRESERVED);
	hide_credentials(l, v);
	v->of.literal = is_secret(n, "of");
	v->dflt.literal = is_secret(n, "default");
	if (!ok)
		diag_error(
		    l->diags, n->key_at, "E015",
		    "the name of a value holds letters, digits, `-`, `_`, `.` and `~`, at most 64");
	return ok;
}

const struct schema value_schema = {
	.name = "value",
	.size = sizeof(struct value_conf),
	.fields = value_fields,
	.at = offsetof(struct value_conf, at),
	.scalar = "of",
	.check = check_value,
};
