/* values.c - a table of texts, each with what it is looked up in; see values.h. */
#include "core/values.h"

#include <string.h>
#include <strings.h>

#include "core/client_ip.h"

struct choice {
	uint32_t n;
	struct choice_match *match; /* of a map: any of them */
	uint64_t below; /* of a split: hashes, at most 2^32 - 1; the last share's reach the end */
	struct template_match found;
	struct template value;
};

struct choice_match {
	struct slice text;
	const struct pattern *pattern;
	struct cidr network;
};

struct value {
	struct slice name;
	bool by_address, caseless;
	const struct client_ip_conf *forwarded; /* NULL: `of` is the address */
	uint32_t n_map, n_split;
	uint32_t cost; /* how many are read for it, itself included */
	struct choice *map, *split;
	struct template of, dflt;
};

struct values {
	uint32_t n;
	struct value value[];
};

enum {
	WHOLE = 1000000,
	COST_MAX = 256, /* each may be TEMPLATE_MAX long, in the call's arena */
};

/*------------------------------------------------------------- making ready */

/* Where one is made ready. */
struct preparing {
	const struct value_conf *conf;
	const struct values *before; /* those that are made ready */
	uint32_t *asked;             /* how many are read for the text that is read now */
	struct arena *arena;
	struct diags *diags;
};

/* *most: of several texts, of which one is filled, how many values are read at most. */
static bool parse_text(const struct preparing *p, const struct text_conf *text,
		       const struct template_match *match, struct template *out, uint32_t *most)
{
	static const struct template_match no_match;
	bool ok;

	*p->asked = 0;
	ok = template_parse(out, text->text == NULL ? "" : text->text, text->literal,
			    match == NULL ? &no_match : match, "`values`", text->at, p->arena,
			    p->diags);
	*most = *p->asked > *most ? *p->asked : *most;
	return ok;
}

/* NULL, or what is wrong with it. */
static const char *prepare_match(const struct preparing *p, const char *text,
				 struct choice_match *m)
{
	const char *wrong;

	m->text = slice_str(text);
	if (p->conf->by == VALUE_BY_ADDRESS)
		return cidr_parse(m->text, &m->network)
			   ? NULL
			   : "it is an address, or a network such as 10.0.0.0/8";
	if (!pattern_is(text))
		return NULL;
	m->pattern = pattern_compile(text, false, p->arena, &wrong);
	if (m->pattern != NULL)
		return NULL;
	return wrong != NULL ? wrong : "out of memory";
}

static bool prepare_choice(const struct preparing *p, const struct value_choice_conf *conf,
			   struct choice *c, uint32_t *most)
{
	const char *const *text = conf->match.item;
	bool ok = true;

	c->n = conf->match.n;
	c->match = arena_zalloc(p->arena, (c->n + 1) * sizeof(*c->match));
	if (c->match == NULL) {
		diags_out_of_memory(p->diags);
		return false;
	}
	for (uint32_t i = 0; i < c->n; i++) {
		const char *wrong = prepare_match(p, text[i], &c->match[i]);

		if (wrong == NULL)
			continue;
		diag_error(p->diags, conf->match_at, "E015", "`match`: `%s`: %s", text[i], wrong);
		ok = false;
	}
	if (c->n == 1) /* of several, which has met is not told */
		c->found.pattern = c->match[0].pattern;
	return parse_text(p, &conf->value, &c->found, &c->value, most) && ok;
}

static bool prepare_choices(const struct preparing *p, const struct conf_list *list, uint32_t *n,
			    struct choice **out, uint32_t *most)
{
	const struct value_choice_conf *conf = list->item;
	uint64_t share = 0;
	bool ok = true;

	*n = list->n;
	*out = arena_zalloc(p->arena, (list->n + 1) * sizeof(**out));
	if (*out == NULL) {
		diags_out_of_memory(p->diags);
		return false;
	}
	for (uint32_t i = 0; i < list->n; i++) {
		ok = prepare_choice(p, &conf[i], &(*out)[i], most) && ok;
		share += conf[i].share;
		/* each for itself is rounded down, as nginx does it */
		(*out)[i].below = (i == 0 ? 0 : (*out)[i - 1].below) +
				  (uint64_t)conf[i].share * UINT32_MAX / WHOLE;
		if (share >= WHOLE)
			(*out)[i].below = UINT64_MAX;
	}
	if (share <= WHOLE)
		return ok;
	diag_error(p->diags, p->conf->at, "E019", "the shares of `%s` are more than the whole",
		   p->conf->name.name);
	return false;
}

static bool prepare(const struct preparing *p, struct value *v)
{
	const struct value_conf *c = p->conf;
	uint32_t of = 0, most = 0;

	v->name = slice_str(c->name.name);
	v->by_address = c->by == VALUE_BY_ADDRESS;
	v->caseless = c->caseless;
	v->forwarded = c->forwarded.trust.n > 0 ? &c->forwarded : NULL;
	if (!parse_text(p, &c->of, NULL, &v->of, &of) ||
	    !parse_text(p, &c->dflt, NULL, &v->dflt, &most) ||
	    !prepare_choices(p, &c->map, &v->n_map, &v->map, &most) ||
	    !prepare_choices(p, &c->split, &v->n_split, &v->split, &most))
		return false;
	v->cost = 1 + of + most;
	if (v->cost <= COST_MAX)
		return true;
	diag_error(
	    p->diags, c->at, "E016",
	    "more than %d values would have to be read for one `%s`, those that they are made "
	    "of included",
	    COST_MAX, c->name.name);
	return false;
}

bool values_known(const struct config *c, struct slice name)
{
	const struct value_conf *v = c->values.item;

	for (uint32_t i = 0; i < c->values.n; i++)
		if (v[i].name.name != NULL && slice_is(name, v[i].name.name))
			return true;
	return false;
}

/* V1 */
static bool known_before(const void *of, struct slice name)
{
	const struct preparing *p = of;

	for (uint32_t i = 0; i < p->before->n; i++) {
		if (!slice_eq(p->before->value[i].name, name))
			continue;
		*p->asked += p->before->value[i].cost;
		return true;
	}
	return false;
}

const struct values *values_prepare(const struct config *config, struct arena *arena,
				    struct diags *diags)
{
	const struct value_conf *conf = config->values.item;
	struct values *values =
	    arena_zalloc(arena, sizeof(*values) + config->values.n * sizeof(values->value[0]));
	struct diag_names outer = diags->values;
	uint32_t asked = 0;
	bool ok = true;

	if (values == NULL) {
		diags_out_of_memory(diags);
		return NULL;
	}
	for (; values->n < config->values.n; values->n++) {
		struct preparing p = { .conf = &conf[values->n],
				       .before = values,
				       .asked = &asked,
				       .arena = arena,
				       .diags = diags };

		diags->values = (struct diag_names){ .known = known_before, .of = &p };
		ok = prepare(&p, &values->value[values->n]) && ok;
	}
	diags->values = outer;
	return ok ? values : NULL;
}

/*------------------------------------------------------------------ reading */

uint32_t values_hash(struct slice s)
{
	const uint32_t m = 0x5bd1e995;
	uint32_t h = (uint32_t)s.n;

	for (; s.n >= 4; s = slice_of(s.p + 4, s.n - 4)) {
		uint32_t k =
		    (uint32_t)(unsigned char)s.p[0] | (uint32_t)(unsigned char)s.p[1] << 8 |
		    (uint32_t)(unsigned char)s.p[2] << 16 | (uint32_t)(unsigned char)s.p[3] << 24;

		k *= m;
		k ^= k >> 24;
		h = h * m ^ k * m;
	}
	for (size_t i = s.n; i-- > 0;)
		h ^= (uint32_t)(unsigned char)s.p[i] << 8 * i;
	if (s.n > 0)
		h *= m;
	h ^= h >> 13;
	h *= m;
	return h ^ h >> 15;
}

/* What a text is compared by. */
struct looked_up {
	const struct value *value;
	struct slice text;
	struct ip ip; /* by_address */
};

static bool meets(const struct choice_match *m, const struct looked_up *l)
{
	if (l->value->by_address)
		return cidr_match(&m->network, &l->ip);
	if (m->pattern != NULL)
		return pattern_match(m->pattern, l->text, NULL) == PATTERN_YES;
	return m->text.n == l->text.n &&
	       (l->value->caseless ? strncasecmp(m->text.p, l->text.p, l->text.n) == 0
				   : memcmp(m->text.p, l->text.p, l->text.n) == 0);
}

static const struct choice *choose(const struct looked_up *l)
{
	const struct value *v = l->value;
	uint32_t hash;

	for (uint32_t i = 0; i < v->n_map; i++)
		for (uint32_t k = 0; k < v->map[i].n; k++)
			if (meets(&v->map[i].match[k], l))
				return &v->map[i];
	if (v->n_split == 0)
		return NULL;
	hash = values_hash(l->text);
	for (uint32_t i = 0; i < v->n_split; i++)
		if (hash < v->split[i].below)
			return &v->split[i];
	return NULL;
}

static bool evaluate(const struct value *v, const struct template_values *t, struct slice *out)
{
	struct template_values own = *t;
	struct looked_up l = { .value = v };
	const struct choice *c;

	if (!template_fill(&v->of, t, TEMPLATE_TEXT, &l.text))
		return false;
	if (v->n_map + v->n_split == 0) {
		*out = l.text;
		return true;
	}
	/* what is no address is in no network but 0.0.0.0/0, as with nginx */
	if (v->by_address && !ip_parse(l.text, &l.ip))
		(void)ip_parse(slice_str("255.255.255.255"), &l.ip);
	if (v->forwarded != NULL)
		l.ip = client_ip_told(v->forwarded, &l.ip, t->call->req);
	c = choose(&l);
	if (c == NULL)
		return template_fill(&v->dflt, t, TEMPLATE_TEXT, out);
	own.match = &c->found;
	own.subject = l.text;
	return template_fill(&c->value, &own, TEMPLATE_TEXT, out);
}

bool values_read(const struct values *values, const struct template_values *t, struct slice name,
		 struct slice *out)
{
	for (uint32_t i = 0; i < values->n; i++)
		if (slice_eq(values->value[i].name, name))
			return evaluate(&values->value[i], t, out) && out->n > 0;
	return false;
}
