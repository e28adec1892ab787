/* log.c - access_log and log_format as logs of text, error_log, and what a location logs.
 *
 * A format is the same text for all who name it, but where it holds what a server or a location is called: then it is
 * another log of the same file.  What the first server logs is the default (`log.use`); routes that log otherwise say so. */
#include <string.h>

#include "nginx-compat/internal.h"

/* One access_log in the light of a site and a block. */
struct entry {
	struct import *im;
	const struct site *site;
	const struct directive *block;
	struct directive *at;
	const char *format; /* its name */
	const char *condition;
};

/*------------------------------------------------------------------ formats */

static bool is_within(const struct directive *d, const struct directive *outer)
{
	while (d != NULL && d != outer)
		d = d->parent;
	return d != NULL;
}

/* nginx knows those that stand before it. */
static struct directive *find_format(const struct import *im, const char *name,
				     const struct directive *at)
{
	struct directive *found = NULL;

	DIRECTIVE_EACH (d, im->http)
		if (is_within(at, d))
			break;
		else if (directive_is(d, "log_format") && d->n > 2 && strcmp(d->word[1].p, name) == 0)
			found = d;
	return found;
}

struct escape {
	const char *nginx, *weir;
};

static const struct escape escapes[] = {
	{ "escape=default", "text" },
	{ "escape=json", "json" },
	{ "escape=none", "none" },
};

/* The index of what a first word says of escapes; -1: it is part of the text. */
static int escape_of(const struct directive *d)
{
	for (int i = 0; i < 3; i++)
		if (slice_is(d->word[2], escapes[i].nginx))
			return i;
	return -1;
}

static const char *joined(struct import *im, const struct directive *d, uint32_t from)
{
	struct buf b = { 0 };

	for (uint32_t i = from; i < d->n; i++)
		buf_put(&b, d->word[i].p, d->word[i].n);
	return b.n == 0 ? "" : text_buf(im, &b);
}

/* The first variable of the text that is not known. */
static const char *culprit(struct entry *e, const char *text)
{
	static const char letters[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";

	for (const char *at = strchr(text, '$'); at != NULL; at = strchr(at + 1, '$')) {
		size_t brace = at[1] == '{', n = strspn(at + 1 + brace, letters);
		const char *one = text_printf(e->im, "${%.*s}", (int)n, at + 1 + brace);

		if (n > 0 &&
		    variable_phrase_then(e->im, e->site, e->block, one, false, AT_END) == NULL)
			return text_printf(e->im, "$%.*s", (int)n, at + 1 + brace);
	}
	return text;
}

/* ", format: ..., escape: ..."; NULL: it cannot be said, which was told. */
static const char *format_text(struct entry *e)
{
	struct import *im = e->im;
	struct directive *d = find_format(im, e->format, e->at);
	int escape = d == NULL ? -1 : escape_of(d);
	const char *text, *phrase;

	if (d == NULL && strcmp(e->format, "combined") == 0)
		return "";
	if (d == NULL) {
		if (im->fragment)
			judge(im, e->at, LOST, "the format `%s` is not in this fragment",
			      e->format);
		else
			tree_wrong(im->tree, e->at->file, e->at->end_line,
				   "unknown log format \"%s\"", e->format);
		return NULL;
	}
	text = joined(im, d, escape < 0 ? 2 : 3);
	phrase = variable_phrase_then(im, e->site, e->block, text, false, AT_END);
	if (phrase == NULL || *phrase == '\0' || strpbrk(phrase, "\r\n") != NULL) {
		const char *why =
		    phrase == NULL ? text_printf(im, "`%s` is not known to Weir", culprit(e, text))
				   : "a format is one line";

		judge(im, d, LOST, "%s", why);
		judge(im, e->at, LOST, "%s", why);
		return NULL;
	}
	judge(im, d, EXACT, NULL);
	return text_printf(im, ", format: %s%s%s", text_yaml(im, phrase),
			   escape > 0 ? ", escape: " : "", escape > 0 ? escapes[escape].weir : "");
}

/*--------------------------------------------------------------- conditions */

#define TRUE_VALUE "~ ^(?!0$)"

static bool is_true(struct slice s)
{
	return s.n > 0 && !slice_is(s, "0");
}

static struct directive *find_map(const struct import *im, struct slice variable)
{
	DIRECTIVE_EACH (d, im->http)
		if (directive_is(d, "map") && d->n == 3 && d->word[2].n == variable.n + 1 &&
		    memcmp(d->word[2].p + 1, variable.p, variable.n) == 0)
			return d;
	return NULL;
}

/* "{x}" is the value x, other texts are themselves. */
static const char *condition_name(struct import *im, const char *phrase)
{
	size_t n = strlen(phrase);

	if (n > 2 && phrase[0] == '{' && strchr(phrase + 1, '{') == NULL && phrase[n - 1] == '}')
		return text_yaml(im, text_printf(im, "%.*s", (int)n - 2, phrase + 1));
	return text_yaml(im, phrase);
}

static void put_quoted(struct buf *b, struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (strchr("\\^$.[]|()?*+{}", s.p[i]) != NULL)
			buf_putc(b, '\\');
		buf_putc(b, s.p[i]);
	}
}

/* One entry of a map as a regular expression that is searched from the beginning of the value. */
static void put_entry(struct buf *b, struct slice key)
{
	bool caseless = slice_starts(key, slice_str("~*"));

	if (key.p[0] != '~') {
		if (key.p[0] == '\\' && key.n > 1)
			key = slice_of(key.p + 1, key.n - 1);
		buf_puts(b, "(?i:");
		put_quoted(b, key);
		buf_puts(b, ")$");
		return;
	}
	key = slice_of(key.p + 1 + caseless, key.n - 1 - caseless);
	buf_puts(b, caseless ? "(?i:" : "(?:");
	if (key.n == 0 || key.p[0] != '^')
		buf_puts(b, "(?s:.*)");
	buf_put(b, key.p, key.n);
	buf_putc(b, ')');
}

struct mapped {
	struct buf yes, no;
	bool dflt, empty; /* what no entry names; what an empty value becomes */
	bool odd;         /* it holds what is not known here */
};

/* Entries of text come before those that are expressions; a map in which both kinds of answers are given by expressions
 * goes by their order, which is not kept here. */
static void read_map(const struct directive *map, struct mapped *m)
{
	unsigned expressions[2] = { 0 };
	bool empty_said = false;

	DIRECTIVE_EACH (d, map) {
		struct slice key = d->word[0], value = d->n == 2 ? d->word[1] : slice_of("$", 1);
		bool yes = is_true(value);

		m->odd |= memchr(value.p, '$', value.n) != NULL;
		if (slice_is(key, "default")) {
			m->dflt = yes;
		} else if (key.n == 0) {
			m->empty = yes;
			empty_said = true;
		} else if (slice_is(key, "include") || slice_is(key, "hostnames") ||
			   slice_is(key, "volatile")) {
			m->odd = true;
		} else {
			struct buf *b = yes ? &m->yes : &m->no;

			expressions[yes] += key.p[0] == '~';
			buf_puts(b, b->n > 0 ? "|" : "");
			put_entry(b, key);
		}
	}
	m->odd |= expressions[0] > 0 && expressions[1] > 0;
	m->odd |= (expressions[0] > 0 && m->yes.n > 0) || (expressions[1] > 0 && m->no.n > 0);
	if (!empty_said)
		m->empty = m->dflt;
}

/* The values of the source for which the map is true; NULL: they cannot be told. */
static const char *map_values(struct import *im, const struct directive *map)
{
	struct mapped m = { .odd = false };
	const char *values = NULL, *expression;

	read_map(map, &m);
	expression =
	    m.dflt ? text_printf(im, "~ ^(?!%s)", m.no.n > 0 ? text_buf(im, &m.no) : "(?!)")
		   : text_printf(im, "~ ^(?:%s)", m.yes.n > 0 ? text_buf(im, &m.yes) : "(?!)");
	if (!m.odd)
		values = m.empty ? text_printf(im, "[%s, \"\"]", text_yaml(im, expression))
				 : text_yaml(im, expression);
	buf_fini(&m.yes);
	buf_fini(&m.no);
	return values;
}

/* if=$x; NULL: it cannot be said. */
static const char *condition_text(struct entry *e)
{
	struct import *im = e->im;
	struct slice alone = variable_alone(e->condition);
	struct directive *map = alone.p == NULL ? NULL : find_map(im, alone);
	const char *phrase, *values = TRUE_VALUE;

	phrase = variable_phrase_then(im, e->site, e->block,
				      map == NULL ? e->condition : map->word[1].p, false, AT_END);
	values = map == NULL ? text_yaml(im, TRUE_VALUE) : map_values(im, map);
	if (phrase == NULL || values == NULL || strchr(phrase, '{') == NULL)
		return NULL;
	if (map != NULL)
		judge(im, map, EXACT, NULL);
	return text_printf(im, ", when: { %s: %s }", condition_name(im, phrase), values);
}

/*--------------------------------------------------------------- access_log */

static const char *target_text(struct import *im, struct directive *at)
{
	const char *to = at->word[1].p;

	if (strcmp(to, "/dev/stdout") == 0 || strcmp(to, "/dev/stderr") == 0)
		return to + 5;
	if (strcmp(to, "stderr") == 0)
		return to;
	if (*to == '/')
		return text_yaml(im, to);
	if (im->prefix != NULL)
		return text_yaml(im, text_prefixed(im, to));
	judge(im, at, ADAPTED, "it is looked for beside the configuration");
	return text_yaml(im, *im->folder == '\0' ? text_printf(im, "./%s", to)
						 : text_printf(im, "%s%s", im->folder, to));
}

/* False: it cannot be had, which was told. */
static bool read_words(struct entry *e)
{
	static const char *const tuning[] = { "buffer=", "flush=" };
	struct directive *d = e->at;

	e->format = "combined";
	for (uint32_t i = 2; i < d->n; i++) {
		const char *word = d->word[i].p;

		if (strncmp(word, "if=", 3) == 0)
			e->condition = word + 3;
		else if (strcmp(word, "gzip") == 0 || strncmp(word, "gzip=", 5) == 0)
			return judge(e->im, d, LOST, "logs are not compressed"), false;
		else if (strncmp(word, tuning[0], 7) != 0 && strncmp(word, tuning[1], 6) != 0)
			e->format = word;
	}
	if (strncmp(d->word[1].p, "syslog:", 7) != 0 && strchr(d->word[1].p, '$') == NULL)
		return true;
	judge(e->im, d, LOST, "a log goes to a file whose name is known beforehand");
	return false;
}

/* The name of the log that does what this line says; NULL: none can. */
static const char *entry_name(struct entry *e)
{
	struct import *im = e->im;
	const char *format, *when = "", *body, *name;
	bool is_new;

	if (!read_words(e) || (format = format_text(e)) == NULL)
		return NULL;
	if (e->condition != NULL && (when = condition_text(e)) == NULL) {
		judge(im, e->at, LOST, "`%s` is not known to Weir", e->condition);
		return NULL;
	}
	judge(im, e->at, EXACT, NULL);
	body = text_printf(im, "path: %s%s%s", target_text(im, e->at), format, when);
	name = text_made(im, &im->log,
			 strcmp(e->format, "access") == 0 || strcmp(e->format, "none") == 0
			     ? text_printf(im, "%s-log", e->format)
			     : e->format,
			 body, &is_new);
	if (is_new) {
		buf_printf(&im->logs, "    %s: { %s }", name, body);
		text_end(im, &im->logs, e->at);
	}
	return name;
}

static bool is_json(const struct directive *block)
{
	return block_find(block, "access_log") == NULL;
}

static void add_name(struct buf *b, const char *name)
{
	buf_printf(b, "%s%s", b->n > 0 ? ", " : "", name);
}

static void add_access_logs(struct import *im, const struct site *site,
			    const struct directive *block, struct buf *b)
{
	struct directive *d = block_find(block, "access_log");

	if (d == NULL)
		add_name(b, "access");
	for (; d != NULL; d = block_next(d)) {
		struct entry e = { .im = im, .site = site, .block = block, .at = d };
		const char *name;

		if (d->n == 2 && slice_is(d->word[1], "off")) {
			judge(im, d, EXACT, NULL);
			continue;
		}
		name = entry_name(&e);
		if (name != NULL)
			add_name(b, name);
	}
}

/*---------------------------------------------------------------- error_log */

static bool is_level(const char *word)
{
	static const char *const levels[] = { "debug", "info", "notice", "warn",
					      "error", "crit", "alert",  "emerg" };

	for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
		if (strcmp(word, levels[i]) == 0)
			return true;
	return false;
}

/* NULL: it cannot be had, which was told. */
static const char *events_name(struct import *im, const struct site *site, struct directive *d)
{
	const char *level = d->n > 2 ? d->word[2].p : "error", *body, *name;
	bool is_new;

	if (strncmp(d->word[1].p, "syslog:", 7) == 0 || strncmp(d->word[1].p, "memory:", 7) == 0) {
		judge(im, d, LOST, "a log goes to a file");
		return NULL;
	}
	if (!is_level(level)) {
		tree_wrong(im->tree, d->file, d->end_line, "invalid log level \"%s\"", level);
		return NULL;
	}
	judge(im, d, EXACT, NULL);
	body = text_printf(im, "path: %s, level: %s, label: %s", target_text(im, d), level,
			   text_yaml(im, site->first_name));
	name = text_made(im, &im->log, "events", body, &is_new);
	if (is_new) {
		buf_printf(&im->events, "    %s: { %s }", name, body);
		text_end(im, &im->events, d);
	}
	return name;
}

static void add_event_logs(struct import *im, const struct site *site,
			   const struct directive *block, struct buf *b)
{
	for (struct directive *d = block_find(block, "error_log"); d != NULL; d = block_next(d)) {
		const char *name = events_name(im, site, d);

		if (name != NULL)
			add_name(b, name);
	}
}

/* "[a, b]" or "none". */
static const char *names_of(struct import *im, const struct site *site,
			    const struct directive *block)
{
	struct buf b = { 0 };

	add_access_logs(im, site, block, &b);
	add_event_logs(im, site, block, &b);
	return b.n == 0 ? "none" : text_printf(im, "[%s]", text_buf(im, &b));
}

static const char *default_names(struct import *im)
{
	if (im->log_default == NULL)
		im->log_default =
		    im->first == NULL ? "access" : names_of(im, im->first, im->first->at);
	return im->log_default;
}

/*------------------------------------------------------------------ limits */

static const char *level_word(struct import *im, const struct directive *block, const char *name)
{
	struct directive *d = block_find(block, name);

	if (d == NULL)
		return "error";
	judge(im, d, EXACT, NULL);
	return d->word[1].p;
}

/* At what level refusals are told, where it is not the usual one. */
static void put_levels(struct import *im, const struct directive *block, struct buf *out)
{
	const char *rate = level_word(im, block, "limit_req_log_level");
	const char *concurrency = level_word(im, block, "limit_conn_log_level");

	bool limited =
	    block_find(block, "limit_req") != NULL || block_find(block, "limit_conn") != NULL;

	if (limited && (strcmp(rate, "error") != 0 || strcmp(concurrency, "error") != 0))
		buf_printf(out, "    log_level: { rate: %s, concurrency: %s }\n", rate,
			   concurrency);
}

void log_line(struct import *im, const struct site *site, const struct directive *block,
	      struct buf *out)
{
	const char *names = names_of(im, site, block);

	put_levels(im, block, out);
	if (strcmp(names, default_names(im)) == 0)
		return;
	im->logs_json |= strstr(names, "access") != NULL && is_json(block);
	buf_printf(out, "    log: %s\n", names);
}

/*----------------------------------------------------------------- section */

/* The log of the process itself goes to stderr, from this level on. */
static const char *own_level(const struct directive *d)
{
	const char *level = d == NULL || d->n < 3 ? "error" : d->word[2].p;

	if (strcmp(level, "notice") == 0)
		return "info";
	return strcmp(level, "debug") == 0 || strcmp(level, "info") == 0 ||
		       strcmp(level, "warn") == 0
		   ? level
		   : "error";
}

/* Behind all routes: they have said what logs there are. */
void log_write(struct import *im)
{
	struct directive *error = block_find(im->first->at, "error_log");
	const char *dflt = default_names(im);
	bool own = is_json(im->first->at), json = im->logs_json || own;
	bool say = im->logs.n > 0 || im->events.n > 0 || json != own;

	buf_printf(&im->top, "log:\n  level: %s", own_level(error));
	text_end(im, &im->top, error);
	if (!json)
		buf_puts(&im->top, "  access: none\n");
	if (im->logs.n > 0)
		buf_printf(&im->top, "  text:\n%s", text_buf(im, &im->logs));
	if (im->events.n > 0)
		buf_printf(&im->top, "  events:\n%s", text_buf(im, &im->events));
	if (say)
		buf_printf(&im->top, "  use: %s\n", dflt);
}
