/* node.c - one YAML document, event by event.
 *
 * Laws: every node has been counted and every level of nesting checked before anything is built
 * from it, so neither a deep file nor a bomb of aliases costs more than the bounds; an alias is a
 * copy, so the tree has one parent a node; the first error of syntax ends the document, errors of
 * meaning do not. */
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "conf/node_internal.h"
#include "conf/utf8.h"

enum { ANCHORS_MAX = 1000 };

struct anchor {
	struct anchor *next;
	const char *name;
	const struct node *node;
	bool open; /* still being read */
};

struct document {
	struct reader *reader;
	yaml_parser_t parser;
	const char *name;
	struct slice text;
	struct anchor *anchors;
	unsigned n_anchors;
	/* the mark that was asked for last, and where its line and itself begin */
	size_t line, column;
	size_t line_at, at;
};

const struct node *node_get(const struct node *map, const char *key)
{
	const struct node *child = map != NULL && map->kind == NODE_MAP ? map->first : NULL;

	while (child != NULL && !slice_is(child->key, key))
		child = child->next;
	return child;
}

const struct node *node_item(const struct node *list, uint32_t i)
{
	const struct node *item;

	if (list == NULL || list->kind != NODE_LIST)
		return i == 0 ? list : NULL;
	for (item = list->first; item != NULL && i > 0; i--)
		item = item->next;
	return item;
}

const char *node_kind_name(enum node_kind kind)
{
	static const char *const names[] = { [NODE_NULL] = "nothing",
					     [NODE_SCALAR] = "a single value",
					     [NODE_LIST] = "a list",
					     [NODE_MAP] = "a mapping" };

	return names[kind];
}

struct place node_place(const struct node *n)
{
	return n->key.p != NULL ? n->key_at : n->at;
}

const char *node_yaml_version(void)
{
	return yaml_get_version_string();
}

/*------------------------------------------------------------------ places */

/* Byte offset of a mark: libyaml counts characters.  Marks come mostly in order, so it goes on from
 * the last. */
static size_t mark_offset(struct document *d, yaml_mark_t mark)
{
	if (mark.line < d->line)
		d->line = d->line_at = d->at = d->column = 0;
	if (mark.line != d->line || mark.column < d->column) {
		d->column = 0;
		d->at = d->line_at;
	}
	for (; d->line < mark.line; d->line++)
		d->at = d->line_at = source_next_line(d->text, d->line_at);
	for (; d->column < mark.column && d->at < d->text.n; d->column++)
		for (d->at++;
		     d->at < d->text.n && ((unsigned char)d->text.p[d->at] & 0xC0) == 0x80;)
			d->at++;
	return d->at;
}

static struct place place_of(struct document *d, yaml_mark_t start, yaml_mark_t end)
{
	size_t begin = mark_offset(d, start), line_at = d->line_at, stop;
	struct place p = { .file = d->name,
			   .line = (uint32_t)start.line + 1,
			   .column = (uint32_t)(begin - line_at) + 1 };

	if (end.line == start.line && end.column > start.column)
		stop = mark_offset(d, end);
	else
		stop = begin + 1;
	p.end_column = (uint32_t)(stop - line_at) + 1;
	return p;
}

/* The line and column of a byte. */
static struct place place_of_offset(const struct document *d, size_t offset)
{
	size_t at = 0, next;
	uint32_t line = 1;

	while ((next = source_next_line(d->text, at)) <= offset && next < d->text.n) {
		at = next;
		line++;
	}
	return (struct place){ .file = d->name,
			       .line = line,
			       .column = (uint32_t)(offset - at) + 1,
			       .end_column = (uint32_t)(offset - at) + 2 };
}

/*------------------------------------------------------------------ errors */

static const char second_document[] = "a second document begins here: a file holds one";

struct hint {
	const char *problem, *help;
};

/* What libyaml says, and what it mostly means. */
static const struct hint hints[] = {
	{ "mapping values are not allowed in this context",
	  "a value that holds `: ` needs quotes; or the line above has another indentation, or no "
	  "space behind its `:`" },
	{ "did not find expected '-' indicator",
	  "the indentation differs from the lines above, or a `- ` is missing" },
	{ "did not find expected key",
	  "the indentation differs from the lines above, or a value needs quotes" },
	{ "could not find expected ':'", "a `:` is missing behind a key" },
	{ "did not find expected ',' or '}'",
	  "a `}` or `,` is missing; in { } a value with ${...} needs quotes" },
	{ "did not find expected ',' or ']'",
	  "a `]` or `,` is missing; in [ ] a value with ${...} needs quotes" },
	{ "found character that cannot start any token",
	  "a value that begins with @ ` or % needs quotes" },
};

static const char *hint_for(const char *problem)
{
	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++)
		if (strcmp(hints[i].problem, problem) == 0)
			return hints[i].help;
	return NULL;
}

/* The tab that stands in the white space at the start of the line, up to `offset`; or text.n. */
static size_t find_indenting_tab(const struct document *d, size_t line_at, size_t offset)
{
	for (size_t i = line_at; i <= offset && i < d->text.n; i++) {
		if (d->text.p[i] == '\t')
			return i;
		if (d->text.p[i] != ' ')
			break;
	}
	return d->text.n;
}

/* Whether only structure stands between the start of the line and this byte: an indentation, or a
 * key or dash that just ended. */
static bool is_structural(const struct document *d, size_t line_at, size_t at)
{
	size_t i = line_at;

	while (i < at && d->text.p[i] == ' ')
		i++;
	return i == at || d->text.p[at - 1] == ':' || d->text.p[at - 1] == '-';
}

/* U+00A0 in the place of a space, in this line or the one before; it comes with text from web
 * pages.  text.n: there is none. */
static size_t find_no_break_space(const struct document *d, size_t line_at)
{
	size_t end = source_next_line(d->text, line_at), from = line_at == 0 ? 0 : line_at - 1;

	while (from > 0 && d->text.p[from - 1] != '\n')
		from--;
	for (size_t at = from; at + 1 < end; at++) {
		if (at == line_at)
			from = at;
		if (memcmp(d->text.p + at, "\xC2\xA0", 2) == 0 && is_structural(d, from, at))
			return at;
	}
	return d->text.n;
}

/* What looks like a space and is none.  False: that is not what is wrong. */
static bool report_lookalike(struct document *d)
{
	size_t offset = mark_offset(d, d->parser.problem_mark);
	size_t tab = find_indenting_tab(d, d->line_at, offset);
	size_t no_break = find_no_break_space(d, d->line_at);
	struct diags *diags = d->reader->diags;

	if (tab < d->text.n)
		diag_error(diags, place_of_offset(d, tab), "E004", "a tab in the indentation")
		    ->help = "YAML is indented by spaces only";
	else if (no_break < d->text.n)
		diag_error(diags, place_of_offset(d, no_break), "E003",
			   "not YAML: a no-break space (U+00A0), which only looks like a space");
	return tab < d->text.n || no_break < d->text.n;
}

/* Where libyaml notices is not where one has to mend. */
static bool blame_beginning(const yaml_parser_t *p)
{
	return p->problem != NULL && p->context != NULL &&
	       (strcmp(p->context, "while scanning a quoted scalar") == 0 ||
		strcmp(p->problem, "could not find expected ':'") == 0);
}

static const char *help_for(struct document *d)
{
	const yaml_parser_t *p = &d->parser;
	const char *help = hint_for(p->problem);

	if (p->context == NULL || p->context_mark.line == p->problem_mark.line)
		return help;
	if (strcmp(p->context, "while scanning a quoted scalar") == 0)
		return "the quote that begins here has no end";
	if (strncmp(p->context, "while parsing a flow", 20) != 0 || help == NULL)
		return help;
	return arena_printf(d->reader->diags->arena, "what began on line %zu has no end: %s",
			    p->context_mark.line + 1, help);
}

static void report_syntax(struct document *d)
{
	yaml_parser_t *p = &d->parser;
	yaml_mark_t mark = blame_beginning(p) ? p->context_mark : p->problem_mark;
	struct place at = place_of(d, mark, mark);
	struct diag *f;

	if (p->error == YAML_MEMORY_ERROR) {
		diags_out_of_memory(d->reader->diags);
		return;
	}
	if (report_lookalike(d))
		return;
	if (p->problem != NULL &&
	    strcmp(p->problem, "did not find expected <document start>") == 0) {
		diag_error(d->reader->diags, at, "E005", "%s", second_document);
		return;
	}
	f = diag_error(d->reader->diags, at, "E003", "not YAML: %s",
		       p->problem == NULL ? "unreadable" : p->problem);
	f->help = p->problem == NULL ? NULL : help_for(d);
}

static bool is_utf16(struct slice s)
{
	return s.n >= 2 && (memcmp(s.p, "\xFF\xFE", 2) == 0 || memcmp(s.p, "\xFE\xFF", 2) == 0);
}

/* libyaml would stop at these too, but without a line. */
static bool check_characters(struct document *d)
{
	size_t at = 0, n;
	uint32_t c;

	for (; at < d->text.n; at += n) {
		struct diags *diags = d->reader->diags;

		n = utf8_decode(d->text.p + at, d->text.n - at, &c);
		if (n == 0) {
			diag_error(diags, place_of_offset(d, at), "E002",
				   "invalid UTF-8: byte 0x%02X", (unsigned char)d->text.p[at])
			    ->help = is_utf16(d->text) ? "this is UTF-16: save it as UTF-8" : NULL;
			return false;
		}
		if (!utf8_is_printable(c)) {
			diag_error(diags, place_of_offset(d, at), "E002",
				   c == 0 ? "a NUL byte" : "a control character, U+%04X",
				   (unsigned)c);
			return false;
		}
	}
	return true;
}

/*------------------------------------------------------------------- nodes */

struct node *node_new(struct reader *r, enum node_kind kind, struct place at, unsigned depth)
{
	struct place blame = r->alias != NULL ? *r->alias : at;
	struct node *n;

	if (depth > NODE_DEPTH_MAX) {
		diag_error(r->diags, blame, "E006", "nested more than %d deep", NODE_DEPTH_MAX);
		return NULL;
	}
	if (r->count >= NODE_MAX && !r->unbounded) {
		diag_error(r->diags, blame, "E006", "more than %d values, aliases counted in full",
			   NODE_MAX);
		return NULL;
	}
	n = arena_alloc(r->nodes, sizeof(*n));
	if (n == NULL) {
		diags_out_of_memory(r->diags);
		return NULL;
	}
	r->count++;
	*n = (struct node){ .kind = kind, .at = at };
	return n;
}

static struct node *copy_tree(struct reader *r, const struct node *src, unsigned depth)
{
	struct node *copy = node_new(r, src->kind, src->at, depth), **tail;

	if (copy == NULL)
		return NULL;
	*copy = *src;
	copy->next = NULL;
	copy->first = NULL;
	tail = &copy->first;
	for (const struct node *child = src->first; child != NULL; child = child->next) {
		*tail = copy_tree(r, child, depth + 1);
		if (*tail == NULL)
			return NULL;
		tail = &(*tail)->next;
	}
	return copy;
}

static bool next_event(struct document *d, yaml_event_t *event)
{
	if (yaml_parser_parse(&d->parser, event))
		return true;
	report_syntax(d);
	return false;
}

static struct place event_place(struct document *d, const yaml_event_t *e)
{
	return place_of(d, e->start_mark, e->end_mark);
}

static struct anchor *anchor_find(const struct document *d, const char *name)
{
	struct anchor *a = d->anchors;

	while (a != NULL && strcmp(a->name, name) != 0)
		a = a->next;
	return a;
}

/* *out is NULL when the node has no anchor.  False after a finding. */
static bool anchor_add(struct document *d, const yaml_char_t *name, const struct node *n,
		       struct anchor **out)
{
	struct reader *r = d->reader;
	struct anchor *a;

	*out = NULL;
	if (name == NULL)
		return true;
	if (++d->n_anchors > ANCHORS_MAX) {
		diag_error(r->diags, n->at, "E007", "more than %d anchors", ANCHORS_MAX);
		return false;
	}
	a = arena_alloc(r->nodes, sizeof(*a));
	if (a != NULL)
		*a = (struct anchor){ .next = d->anchors,
				      .name = arena_strdup(r->nodes, (const char *)name),
				      .node = n,
				      .open = true };
	if (a == NULL || a->name == NULL) {
		diags_out_of_memory(r->diags);
		return false;
	}
	d->anchors = a;
	*out = a;
	return true;
}

static struct node *read_alias(struct document *d, const yaml_event_t *e, unsigned depth)
{
	const char *name = (const char *)e->data.alias.anchor;
	const struct anchor *a = anchor_find(d, name);
	struct place at = event_place(d, e);
	struct node *copy;

	if (a == NULL) {
		diag_error(d->reader->diags, at, "E007", "no anchor `&%s` above this", name);
		return NULL;
	}
	if (a->open) {
		diag_error(d->reader->diags, at, "E007",
			   "`*%s` stands inside the value it is the name of", name);
		return NULL;
	}
	d->reader->alias = &at;
	copy = copy_tree(d->reader, a->node, depth);
	d->reader->alias = NULL;
	return copy;
}

static bool refuse_tag(struct document *d, const yaml_event_t *e, const yaml_char_t *tag)
{
	if (tag == NULL)
		return true;
	diag_error(d->reader->diags, event_place(d, e), "E007", "a tag, `%s`: Weir knows none",
		   (const char *)tag);
	return false;
}

static bool is_null_text(struct slice s)
{
	static const char *const nulls[] = { "", "~", "null", "Null", "NULL" };

	for (size_t i = 0; i < sizeof(nulls) / sizeof(nulls[0]); i++)
		if (slice_is(s, nulls[i]))
			return true;
	return false;
}

static struct slice raw_text(struct document *d, const yaml_event_t *e)
{
	size_t begin = mark_offset(d, e->start_mark), end = mark_offset(d, e->end_mark);

	return slice_of(d->text.p + begin, end - begin);
}

static bool scalar_text(struct document *d, const yaml_event_t *e, struct node *n)
{
	struct slice value = { .p = (const char *)e->data.scalar.value,
			       .n = e->data.scalar.length };

	if (value.n > 0 && memchr(value.p, '\0', value.n) != NULL) {
		diag_error(d->reader->diags, n->at, "E002", "a NUL byte in a value");
		return false;
	}
	n->text = arena_copy(d->reader->nodes, value);
	if (n->text.p == NULL)
		diags_out_of_memory(d->reader->diags);
	return n->text.p != NULL;
}

static struct node *read_scalar(struct document *d, const yaml_event_t *e, unsigned depth)
{
	struct node *n = node_new(d->reader, NODE_SCALAR, event_place(d, e), depth);
	struct origin origin = { .reader = d->reader, .file = d->name };
	struct anchor *anchor;

	if (n == NULL || !refuse_tag(d, e, e->data.scalar.tag) ||
	    !anchor_add(d, e->data.scalar.anchor, n, &anchor) || !scalar_text(d, e, n))
		return NULL;
	if (anchor != NULL)
		anchor->open = false;
	n->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	if (!n->quoted && is_null_text(n->text)) {
		n->kind = NODE_NULL;
		return n;
	}
	/* a value that cannot be replaced is a finding, but no reason to stop reading */
	if (memchr(n->text.p, '$', n->text.n) != NULL) {
		origin.raw = raw_text(d, e);
		n->broken = !node_expand(&origin, n);
	}
	return n;
}

static struct node *read_value(struct document *d, const yaml_event_t *e, unsigned depth);

/* The key's text and place go to *key, which is only borrowed space. */
static bool read_key(struct document *d, const yaml_event_t *e, struct node *key)
{
	struct diags *diags = d->reader->diags;

	*key = (struct node){ .at = event_place(d, e) };
	if (e->type != YAML_SCALAR_EVENT) {
		diag_error(diags, key->at, "E014", "a key must be a plain word")->help =
		    "a value with { or [ in front needs quotes";
		return false;
	}
	if (e->data.scalar.anchor != NULL) {
		diag_error(diags, key->at, "E007", "an anchor on a key");
		return false;
	}
	if (!refuse_tag(d, e, e->data.scalar.tag) || !scalar_text(d, e, key))
		return false;
	if (key->text.n == 0) {
		diag_error(diags, key->at, "E014", "a key is missing before the `:`");
		return false;
	}
	key->quoted = e->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
	if (!d->reader->unbounded && strstr(key->text.p, "${") != NULL)
		diag_warning(diags, key->at, "W108", "`%s` stays as it is: a key is never replaced",
			     key->text.p);
	return true;
}

/* The value behind a key, NULL after a finding. */
static struct node *read_entry(struct document *d, const yaml_event_t *key_event, unsigned depth)
{
	struct node key, *value;
	yaml_event_t e;

	if (!read_key(d, key_event, &key) || !next_event(d, &e))
		return NULL;
	value = read_value(d, &e, depth);
	yaml_event_delete(&e);
	if (value == NULL)
		return NULL;
	value->key = key.text;
	value->key_at = key.at;
	return value;
}

/* What stands in a list or a map, up to `end`.  Until then an alias to its own anchor has no end. */
static bool read_items(struct document *d, struct node *in, const yaml_char_t *name,
		       yaml_event_type_t end, unsigned depth)
{
	struct node **tail;
	struct anchor *anchor;

	if (!anchor_add(d, name, in, &anchor))
		return false;
	for (tail = &in->first;; tail = &(*tail)->next) {
		yaml_event_t e;

		if (!next_event(d, &e))
			return false;
		if (e.type == end) {
			yaml_event_delete(&e);
			break;
		}
		*tail = end == YAML_MAPPING_END_EVENT ? read_entry(d, &e, depth + 1)
						      : read_value(d, &e, depth + 1);
		yaml_event_delete(&e);
		if (*tail == NULL)
			return false;
	}
	if (anchor != NULL)
		anchor->open = false;
	return true;
}

static struct node *read_list(struct document *d, const yaml_event_t *start, unsigned depth)
{
	struct node *list = node_new(d->reader, NODE_LIST, event_place(d, start), depth);

	return list != NULL && refuse_tag(d, start, start->data.sequence_start.tag) &&
		       read_items(d, list, start->data.sequence_start.anchor,
				  YAML_SEQUENCE_END_EVENT, depth)
		   ? list
		   : NULL;
}

static struct node *read_map(struct document *d, const yaml_event_t *start, unsigned depth)
{
	struct node *map = node_new(d->reader, NODE_MAP, event_place(d, start), depth);

	if (map == NULL || !refuse_tag(d, start, start->data.mapping_start.tag) ||
	    !read_items(d, map, start->data.mapping_start.anchor, YAML_MAPPING_END_EVENT, depth))
		return NULL;
	map_check_unique(d->reader, map);
	return map_merge(d->reader, map) ? map : NULL;
}

static struct node *read_value(struct document *d, const yaml_event_t *e, unsigned depth)
{
	switch (e->type) {
	case YAML_ALIAS_EVENT:
		return read_alias(d, e, depth);
	case YAML_SCALAR_EVENT:
		return read_scalar(d, e, depth);
	case YAML_SEQUENCE_START_EVENT:
		return read_list(d, e, depth);
	case YAML_MAPPING_START_EVENT:
		return read_map(d, e, depth);
	default:
		diag_error(d->reader->diags, event_place(d, e), "E003", "not YAML: unexpected end");
		return NULL;
	}
}

/*---------------------------------------------------------------- document */

static void report_empty(struct document *d)
{
	diag_error(d->reader->diags, (struct place){ .file = d->name }, "E011",
		   "the file is empty");
}

/* Takes the next event, which must be of this type. */
static bool expect(struct document *d, yaml_event_type_t type)
{
	yaml_event_t e;
	bool ok;

	if (!next_event(d, &e))
		return false;
	ok = e.type == type;
	if (!ok && e.type == YAML_STREAM_END_EVENT)
		report_empty(d);
	else if (!ok)
		diag_error(d->reader->diags, event_place(d, &e), "E005", "%s", second_document);
	yaml_event_delete(&e);
	return ok;
}

static struct node *read_stream(struct document *d)
{
	yaml_event_t e;
	struct node *root;

	if (!expect(d, YAML_STREAM_START_EVENT) || !expect(d, YAML_DOCUMENT_START_EVENT) ||
	    !next_event(d, &e))
		return NULL;
	root = read_value(d, &e, 1);
	yaml_event_delete(&e);
	if (root == NULL || !expect(d, YAML_DOCUMENT_END_EVENT) ||
	    !expect(d, YAML_STREAM_END_EVENT))
		return NULL;
	if (root->kind == NODE_NULL && root->text.n == 0) {
		report_empty(d);
		return NULL;
	}
	return root;
}

static struct slice without_byte_order_mark(struct slice s)
{
	static const struct slice mark = SLICE("\xEF\xBB\xBF");

	return slice_starts(s, mark) ? slice_of(s.p + mark.n, s.n - mark.n) : s;
}

struct node *document_read(struct reader *r, const char *name, struct slice text)
{
	struct document d = { .reader = r, .name = name, .text = without_byte_order_mark(text) };
	struct node *root;

	if (!check_characters(&d))
		return NULL;
	if (!yaml_parser_initialize(&d.parser)) {
		diags_out_of_memory(r->diags);
		return NULL;
	}
	yaml_parser_set_encoding(&d.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&d.parser, (const unsigned char *)d.text.p, d.text.n);
	root = read_stream(&d);
	yaml_parser_delete(&d.parser);
	return root;
}
