/* schema_dump.c - structs back into YAML, by the same table; JSON is made by reading that YAML. */
#include <stdlib.h>
#include <string.h>

#include "conf/schema_internal.h"
#include "conf/yaml_text.h"

static const char redacted[] = "\"<redacted>\"";

static bool is_zero(const void *p, size_t n)
{
	const char *at = p;

	while (n > 0 && *at == 0)
		at++, n--;
	return n == 0;
}

static bool map_is_absent(const struct schema *s, const void *src)
{
	bool any = false;

	if (s->optional)
		return ((const struct place *)(const void *)((const char *)src + s->at))->line == 0;
	for (const struct field *f = s->fields; f->key != NULL; f++) {
		bool absent = field_is_absent(f, field_at(f, src));

		if (absent && (f->flags & C_REQUIRED))
			return true;
		any = any || !absent;
	}
	return !any;
}

static bool custom_is_absent(const struct field *f, const void *at)
{
	struct buf b = { 0 };
	bool absent;

	f->custom->dump(at, &b);
	absent = b.n == 0 && !b.oom;
	buf_fini(&b);
	return absent;
}

bool field_is_absent(const struct field *f, const void *at)
{
	if (f->type == C_MAP)
		return map_is_absent(f->sub, at);
	if (f->type == C_CUSTOM)
		return custom_is_absent(f, at);
	if (f->type == C_LIST || f->type == C_NAMED)
		return f->dflt == NULL && ((const struct conf_list *)at)->n == 0;
	if (f->type == C_STRING)
		return *(const char *const *)at == NULL;
	return f->dflt == NULL && is_zero(at, scalar_types[f->type].size);
}

const struct conf_secrets *schema_secrets(const struct schema *s, const void *src)
{
	if (s->secrets_at == 0)
		return NULL;
	return *(const struct conf_secrets *const *)(const void *)((const char *)src +
								   s->secrets_at);
}

static bool is_listed(const struct conf_secrets *secrets, const void *at)
{
	uint32_t low = 0, high = secrets == NULL ? 0 : secrets->n;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (secrets->at[middle] == at)
			return true;
		if ((uintptr_t)secrets->at[middle] < (uintptr_t)at)
			low = middle + 1;
		else
			high = middle;
	}
	return false;
}

bool dump_is_secret(const struct dump *d, const struct field *f, const void *at)
{
	return (f->flags & C_SECRET) || is_listed(d->secrets, at);
}

static void dump_scalar(const struct dump *d, const struct field *f, enum conf_type type,
			const void *at)
{
	struct buf text = { 0 };

	if (!d->reveal && dump_is_secret(d, f, at)) {
		buf_puts(d->out, redacted);
		return;
	}
	scalar_types[type].print(f, at, &text);
	if (type == C_STRING || type == C_ADDR || type == C_ENUM || type == C_CIDR)
		yaml_put_string(d->out, slice_of(text.p, text.n));
	else
		buf_put(d->out, text.p, text.n);
	d->out->oom = d->out->oom || text.oom;
	buf_fini(&text);
}

/* Of scalars, or of mappings that are shown short. */
static void dump_flow_list(const struct dump *d, const struct field *f,
			   const struct conf_list *list)
{
	const struct field *only = f->sub == NULL ? NULL : schema_short(f->sub);
	size_t size = field_item_size(f);
	bool bare = (f->flags & C_ONE) && list->n == 1;

	buf_puts(d->out, bare ? "" : "[");
	for (uint32_t i = 0; i < list->n; i++) {
		const void *item = list_at(list, size, i);

		buf_puts(d->out, i == 0 ? "" : ", ");
		if (only != NULL)
			dump_value(d, only, field_at(only, item));
		else
			dump_scalar(d, f, f->item, item);
	}
	buf_puts(d->out, bare ? "" : "]");
}

void dump_value(const struct dump *d, const struct field *f, const void *at)
{
	if (f->type == C_LIST)
		dump_flow_list(d, f, at);
	else if (f->type == C_CUSTOM && !d->reveal && dump_is_secret(d, f, at))
		buf_puts(d->out, redacted);
	else if (f->type == C_CUSTOM)
		f->custom->dump(at, d->out);
	else
		dump_scalar(d, f, f->type, at);
}

const struct schema *schema_variant_of(const struct schema *s, const void *item, const void **conf)
{
	const struct conf_variant *v = item;

	*conf = s->variant == NULL ? item : v->conf;
	return s->variant == NULL ? s : v->schema;
}

static void put_indent(const struct dump *d, unsigned depth)
{
	for (unsigned i = 0; i < depth; i++)
		buf_puts(d->out, "  ");
}

static void dump_map(const struct dump *, const struct schema *, const void *src, unsigned depth,
		     bool in_item);

static void put_short(const struct dump *d, const struct field *only, const void *src)
{
	buf_putc(d->out, ' ');
	dump_value(d, only, field_at(only, src));
	buf_putc(d->out, '\n');
}

/* What stands behind "key:" for a mapping: its short form, "{}", or its lines. */
static void dump_sub(const struct dump *d, const struct schema *s, const void *src, unsigned depth)
{
	const struct field *only = schema_short(s);
	size_t before = d->out->n;

	if (only != NULL) {
		put_short(d, only, src);
		return;
	}
	buf_putc(d->out, '\n');
	dump_map(d, s, src, depth, false);
	if (d->out->n == before + 1) {
		d->out->n = before;
		buf_puts(d->out, " {}\n");
	}
}

static void dump_list(const struct dump *d, const struct field *f, const struct conf_list *list,
		      unsigned depth)
{
	size_t size = field_item_size(f);

	if (list->n == 0) {
		buf_puts(d->out, " []\n");
		return;
	}
	buf_putc(d->out, '\n');
	for (uint32_t i = 0; i < list->n; i++) {
		size_t before;

		put_indent(d, depth);
		buf_puts(d->out, "- ");
		before = d->out->n;
		dump_map(d, f->sub, list_at(list, size, i), depth + 1, true);
		if (d->out->n == before)
			buf_puts(d->out, "{}\n");
	}
}

static void dump_named(const struct dump *d, const struct field *f, const struct conf_list *list,
		       unsigned depth)
{
	size_t size = field_item_size(f);

	if (list->n == 0) {
		buf_puts(d->out, " {}\n");
		return;
	}
	buf_putc(d->out, '\n');
	for (uint32_t i = 0; i < list->n; i++) {
		const void *item = list_at(list, size, i), *conf;
		const struct schema *s = schema_variant_of(f->sub, item, &conf);

		put_indent(d, depth);
		yaml_put_key(d->out, slice_str(((const struct conf_name *)item)->name));
		buf_putc(d->out, ':');
		dump_sub(d, s, conf, depth + 1);
	}
}

static void dump_field(const struct dump *d, const struct field *f, const void *at, unsigned depth)
{
	buf_printf(d->out, "%s:", f->key);
	if (f->type == C_MAP) {
		dump_sub(d, f->sub, at, depth + 1);
	} else if (f->type == C_NAMED) {
		dump_named(d, f, at, depth + 1);
	} else if (f->type == C_LIST && f->sub != NULL && schema_short(f->sub) == NULL) {
		dump_list(d, f, at, depth + 1);
	} else {
		buf_putc(d->out, ' ');
		dump_value(d, f, at);
		buf_putc(d->out, '\n');
	}
}

/* in_item: the first line stands behind a "- ". */
static void dump_map(const struct dump *d, const struct schema *s, const void *src, unsigned depth,
		     bool in_item)
{
	for (const struct field *f = s->fields; f->key != NULL; f++) {
		const void *at = field_at(f, src);

		if (field_is_absent(f, at))
			continue;
		put_indent(d, in_item ? 0 : depth);
		in_item = false;
		dump_field(d, f, at, depth);
	}
}

void schema_dump_yaml(const struct schema *s, const void *src, struct buf *out)
{
	struct dump d = { .out = out, .secrets = schema_secrets(s, src) };

	dump_map(&d, s, src, 0, false);
}

void schema_dump_json(const struct schema *s, const void *src, struct buf *out)
{
	struct buf yaml = { 0 };
	struct arena arena;
	struct diags diags;
	const struct node *root = NULL;

	arena_init(&arena, NULL);
	diags_init(&diags, &arena);
	schema_dump_yaml(s, src, &yaml);
	if (!yaml.oom)
		root = node_read_own(slice_of(yaml.p, yaml.n), &arena, &diags);
	if (root != NULL) {
		yaml_put_json(out, root);
		buf_putc(out, '\n');
	}
	out->oom = out->oom || root == NULL;
	arena_fini(&arena);
	buf_fini(&yaml);
}

void schema_field_text(const struct schema *s, const char *key, const void *src, struct buf *out)
{
	struct dump d = { .out = out };
	const struct field *f = schema_field(s, key);

	if (f != NULL && !field_is_absent(f, field_at(f, src)))
		dump_value(&d, f, field_at(f, src));
}
