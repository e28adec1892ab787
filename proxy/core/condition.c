/* condition.c - what else of a call a route wants; see condition.h. */
#include "core/condition.h"

#include <string.h>

enum wanted_kind { WANTED_TEXT, WANTED_THERE, WANTED_LACKING, WANTED_PATTERN, WANTED_NETWORK };

struct wanted {
	enum wanted_kind kind;
	struct slice text;
	const struct pattern *pattern;
	struct cidr network;
};

struct condition {
	struct template value;
	uint32_t n;
	struct wanted *wanted;
};

/*---------------------------------------------------------------- making ready */

static bool is_known_later(const char *name)
{
	static const char *const later[] = { "route", "upstream", "request_id", "status", "phrase" };

	for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++)
		if (strcmp(name, later[i]) == 0)
			return true;
	return strncmp(name, "match.", 6) == 0;
}

static const char *prepare_pattern(struct wanted *w, const char *text, struct arena *arena)
{
	const char *wrong;

	w->kind = WANTED_PATTERN;
	w->pattern = pattern_compile(text, false, arena, &wrong);
	if (w->pattern != NULL)
		return NULL;
	return wrong != NULL ? wrong : "out of memory";
}

/* NULL, or what is wrong with it. */
static const char *prepare_wanted(struct wanted *w, const char *text, bool network,
				  struct arena *arena)
{
	w->text = slice_str(text);
	if (w->text.n == 0)
		w->kind = WANTED_LACKING;
	else if (slice_is(w->text, "*"))
		w->kind = WANTED_THERE;
	else if (network)
		w->kind = WANTED_NETWORK;
	else if (pattern_is(text))
		return prepare_pattern(w, text, arena);
	if (w->kind == WANTED_NETWORK && !cidr_parse(w->text, &w->network))
		return "it is an address, or a network such as 10.0.0.0/8";
	return NULL;
}

static bool prepare_name(struct condition *c, const struct when_conf *conf, enum template_time time,
			 struct arena *arena, struct diags *diags)
{
	const struct template_match match = { .time = (uint8_t)time };
	bool is_text = time != AT_REQUEST && strchr(conf->name.name, '{') != NULL;
	const char *text = is_text ? conf->name.name : arena_printf(arena, "{%s}", conf->name.name);
	unsigned errors = diags->errors;
	bool ok;

	if (text == NULL) {
		diags_out_of_memory(diags);
		return false;
	}
	if (time == AT_REQUEST && is_known_later(conf->name.name)) {
		diag_error(diags, conf->name.at, "E015",
			   "`when`: `%s` is not known before there is a route", conf->name.name);
		return false;
	}
	ok = template_parse(&c->value, text, false, &match, "`when`", conf->name.at, arena, diags);
	if (ok && !is_text && c->value.n != 1) /* no name at all */
		diag_error(diags, conf->name.at, "E015", "`when`: `%s` is no value of a call",
			   conf->name.name);
	return ok && diags->errors == errors;
}

static bool prepare(struct condition *c, const struct when_conf *conf, enum template_time time,
		    struct arena *arena, struct diags *diags)
{
	const char *const *text = conf->values.item;
	bool network = strcmp(conf->name.name, "client.ip") == 0;
	bool ok = prepare_name(c, conf, time, arena, diags);

	c->n = conf->values.n;
	c->wanted = arena_zalloc(arena, (c->n + 1) * sizeof(*c->wanted));
	if (c->wanted == NULL) {
		diags_out_of_memory(diags);
		return false;
	}
	for (uint32_t i = 0; i < c->n; i++) {
		const char *wrong = prepare_wanted(&c->wanted[i], text[i], network, arena);

		if (wrong == NULL)
			continue;
		diag_error(diags, conf->at, "E015", "`when`: `%s`: %s", conf->name.name, wrong);
		ok = false;
	}
	return ok;
}

bool conditions_prepare(const struct conf_list *when, const struct condition **out,
			struct arena *arena, struct diags *diags)
{
	return conditions_prepare_then(when, out, AT_REQUEST, arena, diags);
}

bool conditions_prepare_then(const struct conf_list *when, const struct condition **out,
			     enum template_time time, struct arena *arena, struct diags *diags)
{
	const struct when_conf *conf = when->item;
	struct condition *c = arena_zalloc(arena, (when->n + 1) * sizeof(*c));
	bool ok = true;

	*out = c;
	if (c == NULL) {
		diags_out_of_memory(diags);
		return false;
	}
	for (uint32_t i = 0; i < when->n; i++)
		ok = prepare(&c[i], &conf[i], time, arena, diags) && ok;
	return ok;
}

/*---------------------------------------------------------------- asking */

static enum pattern_answer meets(const struct wanted *w, struct slice value,
				 const struct template_values *v)
{
	bool yes = false;

	switch (w->kind) {
	case WANTED_PATTERN:
		return value.n == 0 ? PATTERN_NO : pattern_match(w->pattern, value, NULL);
	case WANTED_TEXT:
		yes = slice_eq(value, w->text);
		break;
	case WANTED_THERE:
		yes = value.n > 0;
		break;
	case WANTED_LACKING:
		yes = value.n == 0;
		break;
	case WANTED_NETWORK:
		yes = value.n > 0 && cidr_match(&w->network, &v->call->client);
		break;
	}
	return yes ? PATTERN_YES : PATTERN_NO;
}

static enum pattern_answer holds(const struct condition *c, const struct template_values *v)
{
	enum pattern_answer answer = PATTERN_NO;
	struct slice value;

	if (!template_fill(&c->value, v, TEMPLATE_TEXT, &value))
		return PATTERN_TOO_HARD;
	for (uint32_t i = 0; i < c->n && answer == PATTERN_NO; i++)
		answer = meets(&c->wanted[i], value, v);
	return answer;
}

enum pattern_answer conditions_hold(const struct condition *c, uint32_t n,
				    const struct template_values *v)
{
	enum pattern_answer answer = PATTERN_YES;

	for (uint32_t i = 0; i < n && answer == PATTERN_YES; i++)
		answer = holds(&c[i], v);
	return answer;
}

static bool same(const struct when_conf *a, const struct when_conf *b)
{
	const char *const *x = a->values.item, *const *y = b->values.item;

	if (strcmp(a->name.name, b->name.name) != 0 || a->values.n != b->values.n)
		return false;
	for (uint32_t i = 0; i < a->values.n; i++)
		if (strcmp(x[i], y[i]) != 0)
			return false;
	return true;
}

bool conditions_same(const struct conf_list *a, const struct conf_list *b)
{
	const struct when_conf *x = a->item, *y = b->item;

	for (uint32_t i = 0; i < a->n && i < b->n; i++)
		if (!same(&x[i], &y[i]))
			return false;
	return a->n == b->n;
}
