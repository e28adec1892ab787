/* schema_doc.c - the tables as a JSON Schema (draft-07) for editors, and as a page for people. */
#include <string.h>

#include "conf/schema_internal.h"

/*------------------------------------------------------------- JSON Schema */

static void json_map(const struct schema *, struct buf *);
static void json_field(const struct field *, struct buf *);

static void json_bounds(const struct field *f, enum conf_type type, struct buf *out)
{
	if (type != C_U32)
		return;
	if (f->min != 0)
		buf_printf(out, ",\"minimum\":%llu", (unsigned long long)f->min);
	if (f->max != 0)
		buf_printf(out, ",\"maximum\":%llu", (unsigned long long)f->max);
}

/* Words, or text with a ${...} in it. */
static void json_names(const struct field *f, struct buf *out)
{
	buf_puts(out, "\"anyOf\":[{\"enum\":[");
	for (size_t i = 0; f->names[i] != NULL; i++) {
		buf_puts(out, i == 0 ? "" : ",");
		buf_json_string(out, slice_str(f->names[i]));
	}
	buf_puts(out, "]},{\"type\":\"string\",\"pattern\":\"[$][{]\"}]");
}

static void json_scalar(const struct field *f, enum conf_type type, struct buf *out)
{
	const struct scalar_type *t = &scalar_types[type];

	if (f->names != NULL) {
		json_names(f, out);
		return;
	}
	buf_printf(out, "\"type\":[%s]", t->json_type);
	if (t->pattern != NULL)
		buf_printf(out, ",\"pattern\":\"%s\"", t->pattern);
	json_bounds(f, type, out);
}

static void json_item(const struct field *f, struct buf *out)
{
	if (f->sub != NULL) {
		json_map(f->sub, out);
		return;
	}
	buf_putc(out, '{');
	json_scalar(f, f->item, out);
	buf_putc(out, '}');
}

static void json_list(const struct field *f, struct buf *out)
{
	buf_puts(out, "\"anyOf\":[");
	json_item(f, out);
	buf_puts(out, ",{\"type\":\"array\",\"items\":");
	json_item(f, out);
	buf_puts(out, f->flags & C_REQUIRED ? ",\"minItems\":1}]" : "}]");
}

static void json_named(const struct field *f, struct buf *out)
{
	buf_puts(out, "\"type\":\"object\",\"additionalProperties\":");
	json_map(f->sub, out);
	if (f->flags & C_REQUIRED)
		buf_puts(out, ",\"minProperties\":1");
}

static void json_value(const struct field *f, struct buf *out)
{
	if (f->type == C_MAP) {
		buf_puts(out, "\"allOf\":[");
		json_map(f->sub, out);
		buf_putc(out, ']');
	} else if (f->type == C_LIST) {
		json_list(f, out);
	} else if (f->type == C_NAMED) {
		json_named(f, out);
	} else if (f->type == C_CUSTOM) {
		buf_printf(out, "\"allOf\":[%s]", f->custom->json_schema);
	} else {
		json_scalar(f, f->type, out);
	}
}

static void json_field(const struct field *f, struct buf *out)
{
	buf_json_string(out, slice_str(f->key));
	buf_puts(out, ":{");
	json_value(f, out);
	if (f->doc != NULL) {
		buf_puts(out, ",\"description\":");
		buf_json_string(out, slice_str(f->doc));
	}
	if (f->dflt != NULL && f->dflt[0] != '[' && f->dflt[0] != '{') {
		buf_puts(out, ",\"default\":");
		if (f->type == C_BOOL || f->type == C_U32)
			buf_puts(out, f->dflt);
		else
			buf_json_string(out, slice_str(f->dflt));
	}
	buf_putc(out, '}');
}

static void json_required(const struct schema *s, struct buf *out)
{
	bool any = false;

	for (const struct field *f = s->fields; f->key != NULL; f++) {
		if (!(f->flags & C_REQUIRED))
			continue;
		buf_puts(out, any ? "," : ",\"required\":[");
		buf_json_string(out, slice_str(f->key));
		any = true;
	}
	if (any)
		buf_putc(out, ']');
}

static void json_object(const struct schema *s, struct buf *out)
{
	buf_puts(out, "{\"type\":\"object\",\"additionalProperties\":false,\"properties\":{");
	for (const struct field *f = s->fields; f->key != NULL; f++) {
		buf_puts(out, f == s->fields ? "" : ",");
		json_field(f, out);
	}
	buf_putc(out, '}');
	json_required(s, out);
	buf_putc(out, '}');
}

static void json_variants(const struct schema *s, struct buf *out)
{
	buf_puts(out, "{\"anyOf\":[");
	for (size_t i = 0; s->variants[i] != NULL; i++) {
		buf_puts(out, i == 0 ? "" : ",");
		json_object(s->variants[i], out);
	}
	buf_puts(out, "]}");
}

/* A mapping, or its short form. */
static void json_map(const struct schema *s, struct buf *out)
{
	const struct field *shortly = s->scalar == NULL ? NULL : schema_field(s, s->scalar);

	if (s->variant != NULL) {
		json_variants(s, out);
		return;
	}
	if (shortly == NULL) {
		json_object(s, out);
		return;
	}
	buf_puts(out, "{\"anyOf\":[{");
	json_value(shortly, out);
	buf_puts(out, "},");
	json_object(s, out);
	buf_puts(out, "]}");
}

void schema_json_schema(const struct schema *s, struct buf *out)
{
	struct buf body = { 0 };

	json_object(s, &body);
	buf_puts(out,
		 "{\"$schema\":\"http://json-schema.org/draft-07/schema#\",\"title\":\"Weir\",");
	if (body.n > 1)
		buf_put(out, body.p + 1, body.n - 1);
	buf_putc(out, '\n');
	out->oom = out->oom || body.oom;
	buf_fini(&body);
}

/*------------------------------------------------------------ the page */

/* Mappings still to be described, each once, in the order in which they were met. */
enum { PAGE_MAX = 64 };

struct page {
	struct buf *out;
	const struct schema *schema[PAGE_MAX];
	unsigned n;
};

static void page_add(struct page *p, const struct schema *s)
{
	if (schema_short(s) != NULL)
		return;
	if (s->variant != NULL) {
		for (size_t i = 0; s->variants[i] != NULL; i++)
			page_add(p, s->variants[i]);
		return;
	}
	for (unsigned i = 0; i < p->n; i++)
		if (p->schema[i] == s)
			return;
	if (p->n < PAGE_MAX)
		p->schema[p->n++] = s;
}

static void put_cell(struct buf *out, const char *text)
{
	for (; *text != '\0'; text++) {
		if (*text == '|')
			buf_putc(out, '\\');
		buf_putc(out, *text);
	}
}

static void page_names(const struct field *f, struct buf *out)
{
	for (size_t i = 0; f->names[i] != NULL; i++)
		buf_printf(out, "%s`%s`", i == 0 ? "" : ", ", f->names[i]);
}

static void page_type(const struct field *, struct buf *);

static void page_sub_name(const struct schema *s, struct buf *out)
{
	if (schema_short(s) != NULL) {
		page_type(schema_short(s), out);
		return;
	}
	if (s->variant == NULL) {
		buf_printf(out, "[%s](#", s->name);
		/* the anchor a Markdown heading gets: lower case, spaces as dashes */
		for (const char *c = s->name; *c != '\0'; c++)
			buf_putc(out, *c == ' ' ? '-' : *c);
		buf_putc(out, ')');
		return;
	}
	for (size_t i = 0; s->variants[i] != NULL; i++) {
		buf_puts(out, i == 0 ? "" : " or ");
		page_sub_name(s->variants[i], out);
	}
}

static void page_type(const struct field *f, struct buf *out)
{
	if (f->type == C_MAP) {
		page_sub_name(f->sub, out);
	} else if (f->type == C_NAMED) {
		buf_puts(out, "names, each with ");
		page_sub_name(f->sub, out);
	} else if (f->type == C_LIST && f->sub != NULL) {
		buf_puts(out, "one or a list of ");
		page_sub_name(f->sub, out);
	} else if (f->names != NULL) {
		page_names(f, out);
	} else if (f->type == C_LIST) {
		buf_printf(out, "one or a list of: %s", scalar_types[f->item].what);
	} else if (f->type == C_CUSTOM) {
		put_cell(out, f->custom->what == NULL ? "see there" : f->custom->what);
	} else {
		buf_puts(out, scalar_types[f->type].what);
	}
}

static void page_bounds(const struct field *f, struct buf *out)
{
	enum conf_type type = f->type == C_LIST ? f->item : f->type;
	const struct scalar_type *t = &scalar_types[type];
	char least[32], most[32];

	if (f->sub != NULL || t->number == NULL || (f->min == 0 && f->max == 0))
		return;
	t->print_number(f->min, least);
	t->print_number(f->max, most);
	if (f->max == 0)
		buf_printf(out, ", at least %s", least);
	else if (f->min == 0)
		buf_printf(out, ", at most %s", most);
	else if (f->min == f->max)
		buf_printf(out, ", %s", least);
	else
		buf_printf(out, ", %s to %s", least, most);
}

static void page_field(struct page *p, const struct field *f)
{
	struct buf *out = p->out;

	buf_printf(out, "| `%s` | ", f->key);
	page_type(f, out);
	page_bounds(f, out);
	buf_puts(out, " | ");
	if (f->flags & C_REQUIRED)
		buf_puts(out, "required");
	else if (f->dflt != NULL) {
		buf_putc(out, '`');
		put_cell(out, f->dflt);
		buf_putc(out, '`');
	}
	buf_puts(out, " | ");
	if (f->doc != NULL)
		put_cell(out, f->doc);
	if (f->flags & C_RESTART)
		buf_puts(out, " A change needs a restart.");
	if (f->flags & C_SECRET)
		buf_puts(out, " Never printed.");
	buf_puts(out, " |\n");
	if (f->sub != NULL)
		page_add(p, f->sub);
}

static void page_schema(struct page *p, const struct schema *s)
{
	buf_printf(p->out, "\n## %s\n\n", s->name);
	if (s->scalar != NULL)
		buf_printf(p->out, "In short, a single value: `%s`.\n\n", s->scalar);
	buf_puts(p->out, "| key | takes | default | meaning |\n|---|---|---|---|\n");
	for (const struct field *f = s->fields; f->key != NULL; f++)
		page_field(p, f);
}

static void page_codes(struct buf *out)
{
	buf_puts(out, "\n## findings\n\n| code | means |\n|---|---|\n");
	for (const struct diag_code *c = diag_codes; c->code != NULL; c++)
		buf_printf(out, "| %s | %s |\n", c->code, c->title);
}

void schema_reference(const struct schema *s, struct buf *out)
{
	struct page p = { .out = out };

	page_add(&p, s);
	for (unsigned i = 0; i < p.n; i++)
		page_schema(&p, p.schema[i]);
	page_codes(out);
}
