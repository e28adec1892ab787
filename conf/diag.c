/* diag.c - findings, kept in line order as they are made. */
#include "conf/diag.h"

#include <stdarg.h>
#include <string.h>

#include "base/slice.h"

const struct diag_code diag_codes[] = {
#define D(code, title) { #code, title },
#include "conf/diag.def"
#undef D
	{ NULL, NULL }
};

void diags_init(struct diags *d, struct arena *arena)
{
	*d = (struct diags){ .arena = arena };
	d->tail = &d->first;
	d->sources_tail = &d->sources;
}

void diags_out_of_memory(struct diags *d)
{
	if (!d->oom)
		d->errors++;
	d->oom = true;
	d->made++;
}

static bool same_file(const char *a, const char *b)
{
	return a == b || (a != NULL && b != NULL && strcmp(a, b) == 0);
}

/* The file's name as the diags know it, which lives as long as they do. */
static const char *own_name(const struct diags *d, const char *file)
{
	for (const struct source *s = d->sources; s != NULL; s = s->next)
		if (same_file(s->name, file))
			return s->name;
	return file;
}

void diags_add_source(struct diags *d, const char *name, struct slice text, struct place from)
{
	static const struct slice byte_order_mark = SLICE("\xEF\xBB\xBF");
	struct source *s = arena_alloc(d->arena, sizeof(*s));
	char *copy = arena_strdup(d->arena, name);

	if (s == NULL || copy == NULL) {
		diags_out_of_memory(d);
		return;
	}
	if (slice_starts(text, byte_order_mark)) /* it takes no column */
		text = slice_of(text.p + byte_order_mark.n, text.n - byte_order_mark.n);
	from.file = own_name(d, from.file);
	*s = (struct source){ .name = copy, .text = text, .from = from };
	*d->sources_tail = s;
	d->sources_tail = &s->next;
}

/* Findings without a file come first, then files in the order in which they were read. */
static unsigned file_rank(const struct diags *d, const char *file)
{
	unsigned rank = 1;

	if (file == NULL)
		return 0;
	for (const struct source *s = d->sources; s != NULL && !same_file(s->name, file);
	     s = s->next)
		rank++;
	return rank;
}

/* Negative, zero or positive, as a stands before, at or after b. */
static int place_compare(const struct diags *d, struct place a, struct place b)
{
	if (!same_file(a.file, b.file)) {
		unsigned x = file_rank(d, a.file), y = file_rank(d, b.file);

		if (x != y)
			return x < y ? -1 : 1;
	}
	if (a.line != b.line)
		return a.line < b.line ? -1 : 1;
	return a.column == b.column ? 0 : a.column < b.column ? -1 : 1;
}

/* NULL: there already is one like it. */
static struct diag **find_slot(struct diags *d, const struct diag *new)
{
	struct diag **at = &d->first;
	int order;

	for (; *at != NULL; at = &(*at)->next) {
		order = place_compare(d, (*at)->at, new->at);
		if (order > 0)
			return at;
		if (order == 0 && strcmp((*at)->code, new->code) == 0 &&
		    strcmp((*at)->message, new->message) == 0)
			return NULL;
	}
	return at;
}

static struct diag *spare(struct diags *d)
{
	d->spare = (struct diag){ .code = "", .message = "" };
	return &d->spare;
}

static struct diag *insert(struct diags *d, struct diag new)
{
	struct diag *copy, **slot;

	new.at.file = own_name(d, new.at.file);
	slot = find_slot(d, &new);
	if (slot == NULL)
		return spare(d);
	if (new.severity == DIAG_ERROR)
		d->errors++;
	else
		d->warnings++;
	copy = d->kept[new.severity] < DIAG_KEEP ? arena_alloc(d->arena, sizeof(*copy)) : NULL;
	if (copy == NULL)
		return spare(d);
	*copy = new;
	copy->next = *slot;
	*slot = copy;
	if (copy->next == NULL)
		d->tail = &copy->next;
	d->kept[new.severity]++;
	return copy;
}

static struct diag *add(struct diags *d, enum diag_severity severity, struct place at,
			const char *code, const char *fmt, va_list ap)
    __attribute__((format(printf, 5, 0)));

static struct diag *add(struct diags *d, enum diag_severity severity, struct place at,
			const char *code, const char *fmt, va_list ap)
{
	/* beyond what is kept, only the count matters: the text is not made */
	const char *message =
	    d->kept[severity] < DIAG_KEEP ? arena_vprintf(d->arena, fmt, ap) : "one more";

	d->made += severity == DIAG_ERROR;
	if (message == NULL) {
		diags_out_of_memory(d);
		return spare(d);
	}
	return insert(d, (struct diag){ .severity = severity,
					.code = code,
					.at = at,
					.message = message,
					.path = d->path });
}

void diags_accept(struct diags *d, struct slice code)
{
	for (const struct diag_code *c = diag_codes; c->code != NULL; c++)
		if (c->code[0] == 'W' && slice_is(code, c->code) && d->n_accepted < DIAG_ACCEPT_MAX)
			d->accepted[d->n_accepted++] = c->code;
}

static bool is_accepted(const struct diags *d, const char *code)
{
	for (unsigned i = 0; i < d->n_accepted; i++)
		if (strcmp(d->accepted[i], code) == 0)
			return true;
	return false;
}

struct diag *diag_error(struct diags *d, struct place at, const char *code, const char *fmt, ...)
{
	struct diag *out;
	va_list ap;

	va_start(ap, fmt);
	out = add(d, DIAG_ERROR, at, code, fmt, ap);
	va_end(ap);
	return out;
}

struct diag *diag_warning(struct diags *d, struct place at, const char *code, const char *fmt, ...)
{
	struct diag *out;
	va_list ap;

	if (is_accepted(d, code))
		return spare(d);
	va_start(ap, fmt);
	out = add(d, DIAG_WARNING, at, code, fmt, ap);
	va_end(ap);
	return out;
}

/* YAML 1.1 breaks lines at CR, LF, CR LF, NEL, LS and PS. */
static size_t break_length(struct slice t, size_t at)
{
	const unsigned char *p = (const unsigned char *)t.p + at;
	size_t left = t.n - at;

	if (p[0] == '\n')
		return 1;
	if (p[0] == '\r')
		return left > 1 && p[1] == '\n' ? 2 : 1;
	if (p[0] == 0xC2)
		return left > 1 && p[1] == 0x85 ? 2 : 0;
	if (p[0] == 0xE2)
		return left > 2 && p[1] == 0x80 && (p[2] == 0xA8 || p[2] == 0xA9) ? 3 : 0;
	return 0;
}

size_t source_next_line(struct slice text, size_t at)
{
	for (; at < text.n; at++) {
		size_t n = break_length(text, at);

		if (n != 0)
			return at + n;
	}
	return text.n;
}
