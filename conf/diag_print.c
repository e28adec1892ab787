/* diag_print.c - findings as people, editors and robots read them. */
#include <stdio.h>
#include <string.h>

#include "conf/diag.h"
#include "conf/utf8.h"

enum { EXCERPT_BYTES = 160 }; /* of a source line, round the marker */

static const char *const severity_names[] = { [DIAG_ERROR] = "error", [DIAG_WARNING] = "warning" };

struct printer {
	const struct diags *diags;
	struct buf *out;
	bool colour;
	unsigned printed;
};

static const struct source *find_source(const struct diags *d, const char *file)
{
	for (const struct source *s = d->sources; s != NULL; s = s->next)
		if (file != NULL && strcmp(s->name, file) == 0)
			return s;
	return NULL;
}

/* Text that may quote a file must not move the cursor or change colours. */
static void put_plain(struct buf *out, struct slice s)
{
	uint32_t c;

	for (size_t n; s.n > 0; s.p += n, s.n -= n) {
		n = utf8_decode(s.p, s.n, &c);
		if (n == 0) {
			n = 1;
			buf_putc(out, '?');
		} else if (c == '\t') {
			buf_putc(out, ' ');
		} else if (!utf8_is_printable(c) || c < 0x20 || c == 0x85) {
			buf_printf(out, "\\u%04x", (unsigned)c);
		} else {
			buf_put(out, s.p, n);
		}
	}
}

static void put_plain_string(struct buf *out, const char *s)
{
	put_plain(out, slice_str(s));
}

/*------------------------------------------------------------------- human */

static void paint(const struct printer *p, const char *escape)
{
	if (p->colour)
		buf_puts(p->out, escape);
}

#define BOLD   "\033[1m"
#define RED    "\033[1;31m"
#define YELLOW "\033[1;33m"
#define BLUE   "\033[1;34m"
#define PLAIN  "\033[0m"

static struct slice line_of(struct slice text, uint32_t line)
{
	size_t at = 0, end;

	for (uint32_t i = 1; i < line; i++)
		at = source_next_line(text, at);
	end = source_next_line(text, at);
	while (end > at && (text.p[end - 1] == '\n' || text.p[end - 1] == '\r'))
		end--;
	return slice_of(text.p + at, end - at);
}

static size_t count_characters(struct slice s)
{
	size_t count = 0;

	for (size_t i = 0; i < s.n; i++)
		if (((unsigned char)s.p[i] & 0xC0) != 0x80)
			count++;
	return count;
}

/* Where the character begins that byte `at` is part of; bytes that are no UTF-8 stand for
 * themselves. */
static size_t character_start(struct slice s, size_t at)
{
	for (size_t back = 0; back < 4 && back <= at && at - back < s.n; back++)
		if (((unsigned char)s.p[at - back] & 0xC0) != 0x80)
			return at - back;
	return at;
}

/* The part of a long line that holds the marker; *column is moved along. */
static struct slice excerpt(struct slice line, uint32_t *column)
{
	size_t skip = 0;

	if (*column > EXCERPT_BYTES / 2)
		skip = character_start(line, *column - EXCERPT_BYTES / 2);
	*column -= (uint32_t)skip;
	line = slice_of(line.p + skip, line.n - skip);
	if (line.n > EXCERPT_BYTES)
		line.n = character_start(line, EXCERPT_BYTES);
	return line;
}

static void put_marker(const struct printer *p, const struct diag *d, struct slice line,
		       uint32_t column)
{
	uint32_t width = d->at.end_column > d->at.column ? d->at.end_column - d->at.column : 1;
	size_t before = count_characters(slice_of(line.p, column - 1)), marks;

	if (column - 1 + width > line.n)
		width = (uint32_t)line.n - (column - 1);
	marks = count_characters(slice_of(line.p + column - 1, width));
	buf_printf(p->out, "%*s", (int)before + 1, "");
	paint(p, d->severity == DIAG_ERROR ? RED : YELLOW);
	for (size_t i = 0; i < (marks == 0 ? 1 : marks); i++)
		buf_putc(p->out, '^');
	if (d->suggestion != NULL) {
		buf_puts(p->out, " did you mean `");
		put_plain_string(p->out, d->suggestion);
		buf_puts(p->out, "`?");
	}
	paint(p, PLAIN);
	buf_putc(p->out, '\n');
}

static void put_gutter(const struct printer *p, int width, const char *text, const char *sign)
{
	paint(p, BLUE);
	buf_printf(p->out, "%*s %s", width, text, sign);
	paint(p, PLAIN);
}

/* False: there is no line to show. */
static bool put_source_line(const struct printer *p, const struct diag *d, int width)
{
	const struct source *source = find_source(p->diags, d->at.file);
	uint32_t column = d->at.column;
	struct slice line;
	char number[16];

	if (source == NULL || d->at.line == 0)
		return false;
	line = line_of(source->text, d->at.line);
	if (column == 0 || column > line.n + 1)
		column = (uint32_t)line.n + 1;
	line = excerpt(line, &column);
	snprintf(number, sizeof(number), "%u", d->at.line);
	put_gutter(p, width, "", "|\n");
	put_gutter(p, width, number, "|");
	buf_putc(p->out, ' ');
	put_plain(p->out, line);
	buf_putc(p->out, '\n');
	put_gutter(p, width, "", "|");
	put_marker(p, d, line, column);
	return true;
}

static void put_place(struct buf *out, struct place at)
{
	put_plain_string(out, at.file);
	if (at.line != 0)
		buf_printf(out, ":%u:%u", at.line, at.column);
}

static void put_include_chain(const struct printer *p, const char *file, int width)
{
	const struct source *s = find_source(p->diags, file);

	/* bounded: a file that includes itself is refused, but not before it is listed here */
	for (int i = 0; i < 16 && s != NULL && s->from.file != NULL; i++) {
		put_gutter(p, width, "", "=");
		buf_puts(p->out, " included from ");
		put_place(p->out, s->from);
		buf_putc(p->out, '\n');
		s = find_source(p->diags, s->from.file);
	}
}

static void put_note(const struct printer *p, int width, const char *before, const char *text,
		     const char *after)
{
	put_gutter(p, width, "", "=");
	buf_puts(p->out, before);
	put_plain_string(p->out, text);
	buf_puts(p->out, after);
}

static void put_human(struct printer *p, const struct diag *d)
{
	int width = snprintf(NULL, 0, "%u", d->at.line) + 1;
	bool shown = false;

	paint(p, d->severity == DIAG_ERROR ? RED : YELLOW);
	buf_printf(p->out, "%s[%s]", severity_names[d->severity], d->code);
	paint(p, PLAIN);
	paint(p, BOLD);
	buf_puts(p->out, ": ");
	put_plain_string(p->out, d->message);
	paint(p, PLAIN);
	buf_putc(p->out, '\n');
	if (d->at.file != NULL) {
		paint(p, BLUE);
		buf_printf(p->out, "%*s--> ", width, "");
		paint(p, PLAIN);
		put_place(p->out, d->at);
		buf_putc(p->out, '\n');
		shown = put_source_line(p, d, width);
	}
	if (!shown && d->suggestion != NULL)
		put_note(p, width, " did you mean `", d->suggestion, "`?\n");
	if (d->help != NULL)
		put_note(p, width, " ", d->help, "\n");
	put_include_chain(p, d->at.file, width);
}

/*---------------------------------------------------------- gcc, json, github */

static void put_gcc(struct printer *p, const struct diag *d)
{
	const struct source *s = find_source(p->diags, d->at.file);

	if (s != NULL && s->from.file != NULL) {
		buf_puts(p->out, "In file included from ");
		put_place(p->out, s->from);
		buf_puts(p->out, ":\n");
	}
	if (d->at.file != NULL)
		put_place(p->out, d->at);
	else
		buf_puts(p->out, "weir");
	buf_printf(p->out, ": %s: ", severity_names[d->severity]);
	put_plain_string(p->out, d->message);
	if (d->suggestion != NULL) {
		buf_puts(p->out, "; did you mean `");
		put_plain_string(p->out, d->suggestion);
		buf_puts(p->out, "`?");
	}
	buf_printf(p->out, " [%s]\n", d->code);
	if (d->help == NULL || d->at.file == NULL)
		return;
	put_place(p->out, d->at);
	buf_puts(p->out, ": note: ");
	put_plain_string(p->out, d->help);
	buf_putc(p->out, '\n');
}

static void put_json_text(struct buf *out, const char *key, const char *text)
{
	buf_printf(out, ",\"%s\":", key);
	if (text == NULL)
		buf_puts(out, "null");
	else
		buf_json_string(out, slice_str(text));
}

static void put_json_number(struct buf *out, const char *key, uint32_t n)
{
	if (n == 0)
		buf_printf(out, ",\"%s\":null", key);
	else
		buf_printf(out, ",\"%s\":%u", key, n);
}

static void put_json(struct printer *p, const struct diag *d)
{
	buf_puts(p->out, p->printed == 0 ? "\n  {\"file\":" : ",\n  {\"file\":");
	if (d->at.file == NULL)
		buf_puts(p->out, "null");
	else
		buf_json_string(p->out, slice_str(d->at.file));
	put_json_number(p->out, "line", d->at.line);
	put_json_number(p->out, "column", d->at.column);
	put_json_number(p->out, "end_column", d->at.end_column);
	put_json_text(p->out, "severity", severity_names[d->severity]);
	put_json_text(p->out, "code", d->code);
	put_json_text(p->out, "message", d->message);
	put_json_text(p->out, "suggestion", d->suggestion);
	put_json_text(p->out, "help", d->help);
	put_json_text(p->out, "path", d->path);
	buf_putc(p->out, '}');
}

/* Workflow commands escape % CR LF, and : and , inside properties. */
static void put_github_text(struct buf *out, const char *s, bool property)
{
	for (; *s != '\0'; s++) {
		if (*s == '%' || *s == '\r' || *s == '\n' || (property && (*s == ':' || *s == ',')))
			buf_printf(out, "%%%02X", (unsigned char)*s);
		else
			buf_putc(out, *s);
	}
}

static void put_github(struct printer *p, const struct diag *d)
{
	buf_printf(p->out, "::%s ", severity_names[d->severity]);
	if (d->at.file != NULL) {
		buf_puts(p->out, "file=");
		put_github_text(p->out, d->at.file, true);
		if (d->at.line != 0)
			buf_printf(p->out, ",line=%u,col=%u,endColumn=%u", d->at.line, d->at.column,
				   d->at.end_column);
		buf_putc(p->out, ',');
	}
	buf_printf(p->out, "title=%s::", d->code);
	put_github_text(p->out, d->message, false);
	if (d->suggestion != NULL) {
		buf_puts(p->out, "; did you mean `");
		put_github_text(p->out, d->suggestion, false);
		buf_puts(p->out, "`?");
	}
	if (d->help != NULL) {
		buf_puts(p->out, "%0A");
		put_github_text(p->out, d->help, false);
	}
	buf_putc(p->out, '\n');
}

/*-------------------------------------------------------------------- all */

struct style {
	const char *name;
	void (*put)(struct printer *, const struct diag *);
	const char *begin, *end;
};

static const struct style styles[] = {
	[DIAG_HUMAN] = { "human", put_human, "", "" },
	[DIAG_GCC] = { "gcc", put_gcc, "", "" },
	[DIAG_JSON] = { "json", put_json, "[", "\n]\n" },
	[DIAG_GITHUB] = { "github", put_github, "", "" },
};

bool diag_format_parse(const char *name, enum diag_format *out)
{
	for (size_t i = 0; i < sizeof(styles) / sizeof(styles[0]); i++) {
		if (strcmp(styles[i].name, name) == 0) {
			*out = (enum diag_format)i;
			return true;
		}
	}
	return false;
}

static void put_count(struct buf *out, unsigned n, const char *what)
{
	buf_printf(out, "%u %s%s", n, what, n == 1 ? "" : "s");
}

static void put_summary(const struct printer *p, const char *file, const char *consequence)
{
	unsigned all = p->diags->errors + p->diags->warnings;

	if (all > p->printed)
		buf_printf(p->out, "(%u more not shown)\n", all - p->printed);
	put_plain_string(p->out, file);
	buf_puts(p->out, ": ");
	put_count(p->out, p->diags->errors, "error");
	buf_puts(p->out, ", ");
	put_count(p->out, p->diags->warnings, "warning");
	if (consequence != NULL)
		buf_printf(p->out, "; %s", consequence);
	buf_putc(p->out, '\n');
}

/* With more findings than are printed, errors go before warnings. */
static unsigned warnings_to_print(const struct diags *d)
{
	unsigned errors = 0;

	for (const struct diag *at = d->first; at != NULL; at = at->next)
		errors += at->severity == DIAG_ERROR;
	errors += d->oom;
	return errors >= DIAG_MAX ? 0 : DIAG_MAX - errors;
}

void diags_print(const struct diags *d, enum diag_format format, const char *file,
		 const char *consequence, bool colour, struct buf *out)
{
	static const struct diag out_of_memory = {
		.severity = DIAG_ERROR,
		.code = "E099",
		.message = "out of memory while the configuration was read",
	};
	struct printer p = { .diags = d, .out = out, .colour = colour };
	const struct style *style = &styles[format];
	unsigned warnings = warnings_to_print(d);

	buf_puts(out, style->begin);
	if (d->oom) {
		style->put(&p, &out_of_memory);
		p.printed++;
	}
	for (const struct diag *at = d->first; at != NULL && p.printed < DIAG_MAX; at = at->next) {
		if (at->severity == DIAG_WARNING && warnings-- == 0) {
			warnings = 0;
			continue;
		}
		style->put(&p, at);
		p.printed++;
	}
	if (format == DIAG_JSON && p.printed == 0)
		buf_puts(out, "]\n");
	else
		buf_puts(out, style->end);
	if (format == DIAG_HUMAN)
		put_summary(&p, file, consequence);
}
