/* schema.c - nodes into structs, by a table.
 *
 * Laws: every key of the file is either in the table or a finding; a finding never stops the
 * others; the `check` of a mapping sees only what was read without a finding. */
#include "conf/schema.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "conf/schema_internal.h"
#include "conf/suggest.h"
#include "conf/value.h"

struct conf_secret {
	struct conf_secret *next;
	const void *at;
};

static void load_map(struct conf_load *, const struct schema *, const struct node *, void *dst);
static void load_value(struct conf_load *, const struct field *, const struct node *, void *dst);

/*----------------------------------------------------------------- helpers */

void *conf_zalloc(struct conf_load *l, size_t n)
{
	void *p = arena_zalloc(l->arena, n == 0 ? 1 : n);

	if (p == NULL)
		diags_out_of_memory(l->diags);
	return p;
}

char *conf_strdup(struct conf_load *l, struct slice s)
{
	char *p = conf_zalloc(l, s.n + 1);

	if (p != NULL && s.n > 0)
		memcpy(p, s.p, s.n);
	return p;
}

const struct field *schema_field(const struct schema *s, const char *key)
{
	for (const struct field *f = s->fields; f->key != NULL; f++)
		if (strcmp(f->key, key) == 0)
			return f;
	return NULL;
}

const struct field *schema_short(const struct schema *s)
{
	const struct field *only = s->fields;

	if (s->variant != NULL || s->scalar == NULL || only[1].key != NULL)
		return NULL;
	return only->sub == NULL ? only : NULL;
}

const char *schema_article(const struct schema *s)
{
	static _Thread_local char text[96];
	const char *article = strchr("aeiou", s->name[0]) == NULL ? "a " : "an ";

	if (strncmp(s->name, "the ", 4) == 0)
		article = "";
	snprintf(text, sizeof(text), "%s%s", article, s->name);
	return text;
}

size_t field_item_size(const struct field *f)
{
	if (f->sub == NULL)
		return scalar_types[f->item].size;
	return f->sub->variant != NULL ? sizeof(struct conf_variant) : f->sub->size;
}

/* "policies" + "per-client"; findings made until leave() carry the path. */
static const char *enter(struct conf_load *l, struct slice step)
{
	const char *outer = l->path, *dot = outer == NULL || step.p[0] == '[' ? "" : ".";

	l->path = arena_printf(l->diags->arena, "%s%s%.*s", outer == NULL ? "" : outer, dot,
			       SLICE_FMT(step));
	l->diags->path = l->path;
	return outer;
}

static void leave(struct conf_load *l, const char *outer)
{
	l->path = l->diags->path = outer;
}

static void remember_secret(struct conf_load *l, const void *at)
{
	struct conf_secret *s = arena_alloc(l->arena, sizeof(*s));

	if (s == NULL) {
		diags_out_of_memory(l->diags);
		return;
	}
	*s = (struct conf_secret){ .next = l->secrets, .at = at };
	l->secrets = s;
}

void conf_hide(struct conf_load *l, const void *at)
{
	remember_secret(l, at);
}

void conf_hide_texts(struct conf_load *l, const struct conf_list *texts)
{
	for (uint32_t i = 0; i < texts->n; i++)
		remember_secret(l, (const char *const *)texts->item + i);
}

bool conf_names_credentials(struct slice name)
{
	static const char *const marks[] = { "authorization", "cookie",     "token",   "secret",
					     "password",      "credential", "session", "api-key",
					     "api_key",       "apikey" };

	for (size_t m = 0; m < sizeof(marks) / sizeof(marks[0]); m++) {
		struct slice mark = slice_str(marks[m]);

		for (size_t i = 0; i + mark.n <= name.n; i++)
			if (slice_ieq(slice_of(name.p + i, mark.n), mark))
				return true;
	}
	return false;
}

static bool holds_secret(const struct node *n)
{
	if (n->secret)
		return true;
	for (const struct node *child = n->first; child != NULL; child = child->next)
		if (holds_secret(child))
			return true;
	return false;
}

/* What is wrong with the node was said when it was read; it counts against the mapping it stands in
 * all the same. */
static bool is_broken(struct conf_load *l, const struct node *n)
{
	l->diags->made += n->broken;
	return n->broken;
}

/*----------------------------------------------------------------- scalars */

static void wrong_kind(struct conf_load *l, const struct field *f, const struct node *n,
		       const char *what)
{
	if (!is_broken(l, n))
		diag_error(l->diags, n->at, "E014", "`%s` is %s, not %s", f->key, what,
			   node_kind_name(n->kind));
}

static bool in_bounds(const struct scalar_type *t, const struct field *f, const void *dst)
{
	uint64_t v = t->number == NULL ? 0 : t->number(dst);

	return t->number == NULL || (v >= f->min && (f->max == 0 || v <= f->max));
}

static void out_of_bounds(struct conf_load *l, const struct scalar_type *t, const struct field *f,
			  const struct node *n)
{
	char least[32], most[32];

	t->print_number(f->min, least);
	t->print_number(f->max, most);
	if (f->max == 0)
		diag_error(l->diags, n->at, "E016", "`%s` is at least %s", f->key, least);
	else if (f->min == 0)
		diag_error(l->diags, n->at, "E016", "`%s` is at most %s", f->key, most);
	else if (f->min == f->max)
		diag_error(l->diags, n->at, "E016", "`%s` must be %s", f->key, least);
	else
		diag_error(l->diags, n->at, "E016", "`%s` is between %s and %s", f->key, least,
			   most);
}

static void load_scalar(struct conf_load *l, const struct field *f, enum conf_type type,
			const struct node *n, void *dst)
{
	const struct scalar_type *t = &scalar_types[type];
	uint64_t most = f->max != 0 ? f->max : t->most;
	struct field bounded = *f;
	const char *wrong;
	struct diag *d;

	if (n->kind != NODE_SCALAR || n->broken) {
		wrong_kind(l, f, n, t->what);
		return;
	}
	if (n->quoted && type == C_BOOL)
		wrong = "in quotes it is text; true and false stand without";
	else
		wrong = t->parse(l, f, n->text, dst);
	if (wrong == value_too_large && t->print_number != NULL && most != 0) {
		bounded.max = most;
		out_of_bounds(l, t, &bounded, n);
		return;
	}
	if (wrong != NULL) {
		d = diag_error(l->diags, n->at, "E015", "`%s`: %s", f->key, wrong);
		if (t->suggest != NULL && !n->secret)
			d->suggestion = t->suggest(l, f, n->text);
		return;
	}
	if (!in_bounds(t, f, dst))
		out_of_bounds(l, t, f, n);
	if (n->secret)
		remember_secret(l, dst);
}

/*------------------------------------------------------------------- lists */

static void load_item(struct conf_load *l, const struct field *f, const struct node *n,
		      uint32_t index, void *dst)
{
	char step[24];
	const char *outer;

	if (n->kind == NODE_NULL) {
		diag_error(l->diags, n->at, "E011", "an item of `%s` has nothing in it", f->key)
		    ->help = "are the lines below indented?";
		return;
	}
	if (f->sub == NULL) {
		load_scalar(l, f, f->item, n, dst);
		return;
	}
	snprintf(step, sizeof(step), "[%u]", index);
	outer = enter(l, slice_str(step));
	load_map(l, f->sub, n, dst);
	leave(l, outer);
}

static uint32_t count(const struct node *n)
{
	uint32_t items = 0;

	for (; n != NULL; n = n->next)
		items++;
	return items;
}

static void check_not_empty(struct conf_load *l, const struct field *f, const struct node *n)
{
	if ((f->flags & C_REQUIRED) && n->first == NULL)
		diag_error(l->diags, node_place(n), "E013", "`%s` is empty: at least one is needed",
			   f->key);
}

/* A mapping that is no item, since it knows none of its keys, but whose values may be items. */
static bool is_named_by_mistake(const struct field *f, const struct node *n)
{
	if (n->kind != NODE_MAP || f->sub == NULL || f->sub->variant != NULL || n->first == NULL)
		return false;
	for (const struct node *child = n->first; child != NULL; child = child->next)
		if (child->kind != NODE_MAP || schema_field(f->sub, child->key.p) != NULL)
			return false;
	return true;
}

static void load_list(struct conf_load *l, const struct field *f, const struct node *n, void *dst)
{
	struct conf_list *list = dst;
	size_t size = field_item_size(f);
	uint32_t items = n->kind == NODE_LIST ? count(n->first) : 1;
	char *array = conf_zalloc(l, items * size);
	const struct node *item = n->kind == NODE_LIST ? n->first : n;

	if (array == NULL || is_broken(l, n))
		return;
	if (is_named_by_mistake(f, n)) {
		diag_error(l->diags, n->at, "E014", "`%s` is a list, not a mapping of names",
			   f->key)
		    ->help = "each item begins with `- `; a name, if it has one, is a key of it";
		return;
	}
	*list = (struct conf_list){ .n = items, .item = array };
	if (n->kind == NODE_LIST)
		check_not_empty(l, f, n);
	for (uint32_t i = 0; i < items; i++, item = item->next)
		load_item(l, f, item, i, array + i * size);
}

static void load_variant(struct conf_load *l, const struct schema *s, const struct node *n,
			 struct conf_variant *dst)
{
	if (n->kind != NODE_MAP) {
		if (!is_broken(l, n))
			diag_error(l->diags, n->at, "E014", "%s is a mapping, not %s",
				   schema_article(s), node_kind_name(n->kind));
		return;
	}
	dst->schema = s->variant(l, n);
	dst->conf = dst->schema == NULL ? NULL : conf_zalloc(l, dst->schema->size);
	if (dst->conf != NULL)
		load_map(l, dst->schema, n, dst->conf);
}

static void load_named_item(struct conf_load *l, const struct field *f, const struct node *n,
			    void *dst)
{
	struct conf_name *name = dst;
	const char *outer = enter(l, n->key);

	name->name = conf_strdup(l, n->key);
	name->at = n->key_at;
	if (n->kind == NODE_NULL)
		diag_error(l->diags, n->key_at, "E011", "`%.*s` has nothing in it",
			   SLICE_FMT(n->key))
		    ->help = "are the lines below indented?";
	else if (f->sub->variant != NULL)
		load_variant(l, f->sub, n, dst);
	else
		load_map(l, f->sub, n, dst);
	leave(l, outer);
}

static void load_named(struct conf_load *l, const struct field *f, const struct node *n, void *dst)
{
	struct conf_list *list = dst;
	size_t size = field_item_size(f);
	const struct node *item;
	char *array;

	if (n->kind != NODE_MAP) {
		if (n->kind == NODE_LIST)
			diag_error(l->diags, n->at, "E014",
				   "`%s` is a mapping of names, not a list", f->key)
			    ->help = "the names are the keys, `NAME: ...`, without a `- ` before";
		else
			wrong_kind(l, f, n, "a mapping of names");
		return;
	}
	array = conf_zalloc(l, count(n->first) * size);
	if (array == NULL)
		return;
	*list = (struct conf_list){ .n = count(n->first), .item = array };
	check_not_empty(l, f, n);
	for (item = n->first; item != NULL; item = item->next, array += size)
		load_named_item(l, f, item, array);
}

/*---------------------------------------------------------------- mappings */

static void load_custom(struct conf_load *l, const struct field *f, const struct node *n, void *dst)
{
	unsigned before = l->diags->made;

	if (is_broken(l, n))
		return;
	if (!f->custom->parse(l, n, dst) && l->diags->made == before)
		diag_error(l->diags, n->at, "E015", "`%s` cannot be used", f->key);
	if (holds_secret(n))
		remember_secret(l, dst);
}

static void load_by_type(struct conf_load *l, const struct field *f, const struct node *n,
			 void *dst)
{
	if (f->type == C_MAP)
		load_map(l, f->sub, n, dst);
	else if (f->type == C_LIST)
		load_list(l, f, n, dst);
	else if (f->type == C_NAMED)
		load_named(l, f, n, dst);
	else if (f->type == C_CUSTOM)
		load_custom(l, f, n, dst);
	else
		load_scalar(l, f, f->type, n, dst);
}

static void load_value(struct conf_load *l, const struct field *f, const struct node *n, void *dst)
{
	const char *outer = enter(l, slice_str(f->key));

	load_by_type(l, f, n, dst);
	leave(l, outer);
}

/* Also when the value is wrong: others may want to point there. */
static void note_place(void *map, size_t offset, struct place at)
{
	if (offset != 0)
		*(struct place *)(void *)((char *)map + offset) = at;
}

static void load_field(struct conf_load *l, const struct field *f, const struct node *n, void *map)
{
	note_place(map, f->at, n->at);
	load_value(l, f, n, (char *)map + f->offset);
}

/* Defaults are written as a user would write them, and read the same way. */
static void load_default(struct conf_load *l, const struct field *f, void *dst)
{
	struct node scalar = { .kind = NODE_SCALAR, .text = slice_str(f->dflt) };
	const struct node *n = &scalar;
	struct arena scratch;
	struct diags findings;
	const char *outer = l->diags->path;

	arena_init(&scratch, NULL);
	diags_init(&findings, &scratch);
	if (f->dflt[0] == '[' || f->dflt[0] == '{')
		n = node_read_own(slice_str(f->dflt), &scratch, &findings);
	if (n != NULL) {
		struct conf_load own = *l;

		own.diags = &findings;
		load_value(&own, f, n, dst);
	}
	if (findings.oom)
		diags_out_of_memory(l->diags);
	else
		CHECK(findings.errors == 0);
	arena_fini(&scratch);
	l->diags->path = outer;
}

static void fill_in(struct conf_load *l, const struct field *f, void *dst)
{
	if (f->dflt != NULL)
		load_default(l, f, dst);
	else if (f->type == C_MAP)
		load_map(l, f->sub, NULL, dst);
}

static void missing_key(struct conf_load *l, const struct schema *s, const struct field *f,
			const struct node *n)
{
	struct diag *d =
	    diag_error(l->diags, node_place(n), "E013", "%s needs `%s`", schema_article(s), f->key);

	if (f->doc != NULL)
		d->help = arena_printf(l->diags->arena, "%s: %s", f->key, f->doc);
}

static const char *list_keys(struct conf_load *l, const struct schema *s)
{
	struct buf b = { 0 };
	const char *text;

	buf_printf(&b, "%s takes:", schema_article(s));
	for (const struct field *f = s->fields; f->key != NULL; f++)
		buf_printf(&b, " %s", f->key);
	text = b.oom ? NULL : arena_strdup(l->diags->arena, b.p);
	if (text == NULL)
		diags_out_of_memory(l->diags);
	buf_fini(&b);
	return text;
}

/* Returns the key that was meant, or NULL. */
static const char *unknown_key(struct conf_load *l, const struct schema *s, const struct node *n)
{
	struct suggest suggest;
	struct diag *d = diag_error(l->diags, n->key_at, "E012", "unknown key `%.*s` in %s",
				    SLICE_FMT(n->key), schema_article(s));

	suggest_begin(&suggest, n->key);
	for (const struct field *f = s->fields; f->key != NULL; f++)
		suggest_offer(&suggest, f->key);
	d->suggestion = suggest.best;
	d->help = list_keys(l, s);
	return suggest.best;
}

enum { MEANT_MAX = 16 };

/* Keys that are misspelt in a mapping; they are not missing as well. */
struct meant {
	const char *key[MEANT_MAX];
	unsigned n;
};

static bool is_meant(const struct meant *m, const char *key)
{
	for (unsigned i = 0; i < m->n; i++)
		if (m->key[i] == key)
			return true;
	return false;
}

static void load_keys(struct conf_load *l, const struct schema *s, const struct node *map,
		      void *dst)
{
	struct meant meant = { .n = 0 };

	for (const struct node *n = map->first; n != NULL; n = n->next) {
		const char *best = NULL;
		bool known = false;

		for (const struct field *f = s->fields; f->key != NULL && !known; f++)
			known = slice_is(n->key, f->key);
		if (!known)
			best = unknown_key(l, s, n);
		if (best != NULL && meant.n < MEANT_MAX)
			meant.key[meant.n++] = best;
	}
	for (const struct field *f = s->fields; f->key != NULL; f++) {
		const struct node *n = node_get(map, f->key);
		void *at = (char *)dst + f->offset;

		if (n == NULL && !(f->flags & C_REQUIRED))
			fill_in(l, f, at);
		else if (n == NULL && !is_meant(&meant, f->key))
			missing_key(l, s, f, map);
		else if (n == NULL)
			continue;
		else if (n->kind == NODE_NULL)
			diag_error(l->diags, n->key_at, "E011", "`%s` has nothing in it", f->key)
			    ->help = "are the lines below indented?";
		else
			load_field(l, f, n, dst);
	}
}

/* The key as the file has it: `timeout: 30` is not about a `total` that nobody wrote. */
static struct field as_written(struct conf_load *l, const struct field *f, const struct node *n)
{
	struct field out = *f;
	const char *dot = l->path == NULL ? NULL : strrchr(l->path, '.');

	if (n->key.p != NULL)
		out.key = n->key.p;
	else if (l->path != NULL)
		out.key = dot == NULL ? l->path : dot + 1;
	return out;
}

static void load_taken(struct conf_load *l, const struct field *taken, const struct node *n,
		       void *map)
{
	struct field f = as_written(l, taken, n);
	const char *outer = enter(l, slice_str(taken->key));

	note_place(map, f.at, n->at);
	load_by_type(l, &f, n, (char *)map + f.offset);
	leave(l, outer);
}

static void load_short_form(struct conf_load *l, const struct schema *s, const struct node *n,
			    void *dst)
{
	const struct field *taken = s->scalar == NULL ? NULL : schema_field(s, s->scalar);

	if (is_broken(l, n))
		return;
	if (taken == NULL || (n->kind == NODE_LIST && taken->type != C_LIST)) {
		diag_error(l->diags, n->at, "E014", "%s is a mapping, not %s", schema_article(s),
			   node_kind_name(n->kind))
		    ->help = list_keys(l, s);
		return;
	}
	for (const struct field *f = s->fields; f->key != NULL; f++) {
		void *at = (char *)dst + f->offset;

		if (f == taken)
			load_taken(l, f, n, dst);
		else if (f->flags & C_REQUIRED)
			missing_key(l, s, f, n);
		else
			fill_in(l, f, at);
	}
}

/* n NULL: the mapping is absent.  dst is zeroed already. */
static void load_map(struct conf_load *l, const struct schema *s, const struct node *n, void *dst)
{
	unsigned before = l->diags->made;

	if (n == NULL) {
		for (const struct field *f = s->fields; f->key != NULL; f++)
			fill_in(l, f, (char *)dst + f->offset);
		return;
	}
	note_place(dst, s->at, n->at);
	if (n->kind == NODE_MAP)
		load_keys(l, s, n, dst);
	else
		load_short_form(l, s, n, dst);
	if (s->check != NULL && l->diags->made == before && !s->check(l, n, dst) &&
	    l->diags->made == before)
		diag_error(l->diags, node_place(n), "E019", "%s like this cannot work",
			   schema_article(s));
}

/*------------------------------------------------------------------- doors */

static int compare_addresses(const void *a, const void *b)
{
	uintptr_t x = (uintptr_t) * (const void *const *)a,
		  y = (uintptr_t) * (const void *const *)b;

	return x < y ? -1 : x > y;
}

static void keep_secrets(struct conf_load *l, const struct schema *s, void *dst)
{
	struct conf_secrets *secrets = conf_zalloc(l, sizeof(*secrets));
	uint32_t n = 0;

	for (const struct conf_secret *at = l->secrets; at != NULL; at = at->next)
		n++;
	if (secrets == NULL || (secrets->at = conf_zalloc(l, n * sizeof(void *))) == NULL)
		return;
	for (const struct conf_secret *at = l->secrets; at != NULL; at = at->next)
		secrets->at[secrets->n++] = at->at;
	qsort(secrets->at, secrets->n, sizeof(void *), compare_addresses);
	*(const struct conf_secrets **)(void *)((char *)dst + s->secrets_at) = secrets;
}

bool schema_load(struct conf_load *l, const struct schema *s, const struct node *n, void *dst)
{
	unsigned before = l->diags->made;
	const char *outer = l->diags->path;

	memset(dst, 0, s->size);
	l->diags->path = l->path;
	if (n != NULL && n->kind == NODE_NULL)
		diag_error(l->diags, node_place(n), "E011", "%s is empty", schema_article(s));
	else
		load_map(l, s, n, dst);
	if (s->secrets_at != 0)
		keep_secrets(l, s, dst);
	l->diags->path = outer;
	return l->diags->made == before;
}
