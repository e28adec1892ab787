/* words.c - one character at a time, as nginx does it.
 *
 *   BETWEEN --quote--> QUOTED --same quote--> BEHIND --space--> BETWEEN
 *   BETWEEN --other--> PLAIN  --space--> BETWEEN
 *
 * `;` and `{` end a run in every state but QUOTED; `}` only BETWEEN words, elsewhere it is part of one. */
#include "nginx-compat/words.h"

#include <string.h>

void words_init(struct words *w, struct tree *tree, const char *file, struct slice text)
{
	w->tree = tree;
	w->file = file;
	w->text = text;
	w->at = 0;
	w->line = 1;
	w->n = 0;
}

static bool is_space(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static enum words_end unexpected(struct words *w, char c)
{
	tree_wrong(w->tree, w->file, w->line, "unexpected \"%c\"", c);
	return WORDS_WRONG;
}

/* What `\` and the character behind it stand for; 0: for themselves. */
static char escaped(char c)
{
	switch (c) {
	case 't':
		return '\t';
	case 'r':
		return '\r';
	case 'n':
		return '\n';
	case '"':
	case '\'':
	case '\\':
		return c;
	default:
		return '\0';
	}
}

static bool keep_word(struct words *w, struct slice raw)
{
	char *text = arena_alloc(w->tree->arena, raw.n + 1);
	size_t n = 0;

	if (text == NULL)
		return tree_no_memory(w->tree);
	if (w->n == TREE_ARGS_MAX)
		return tree_wrong(w->tree, w->file, w->line, "a directive has more than %d words",
				  TREE_ARGS_MAX);
	for (size_t i = 0; i < raw.n; i++) {
		char c = raw.p[i] == '\\' && i + 1 < raw.n ? escaped(raw.p[i + 1]) : '\0';

		i += c != '\0';
		text[n++] = c != '\0' ? c : raw.p[i];
	}
	text[n] = '\0';
	w->word[w->n++] = slice_of(text, n);
	return true;
}

static enum words_end at_end(struct words *w, bool in_word)
{
	if (w->n == 0 && !in_word)
		return WORDS_FILE_END;
	if (w->file == tree_command_line)
		tree_wrong(w->tree, w->file, w->line,
			   "unexpected end of parameter, expecting \";\"");
	else
		tree_wrong(w->tree, w->file, w->line,
			   "unexpected end of file, expecting \";\" or \"}\"");
	return WORDS_WRONG;
}

static bool too_long(struct words *w, struct slice raw, char quote, uint32_t line)
{
	if (raw.n <= TREE_WORD_MAX)
		return false;
	if (quote != '\0')
		tree_wrong(w->tree, w->file, line,
			   "too long parameter, probably missing terminating \"%c\" character",
			   quote);
	else
		tree_wrong(w->tree, w->file, line, "too long parameter \"%.10s...\" started",
			   raw.p);
	return true;
}

/* A word from its first character on; *end is the character that ended it. */
static bool take_word(struct words *w, char *end)
{
	char first = w->text.p[w->at];
	char quote = first == '"' || first == '\'' ? first : '\0';
	size_t start = w->at += quote != '\0';
	uint32_t line = w->line;
	bool dollar = false;

	for (; w->at < w->text.n; w->at++) {
		char c = w->text.p[w->at];

		if (too_long(w, slice_of(w->text.p + start, w->at - start), quote, line))
			return false;
		w->line += c == '\n';
		if (c == '\\') {
			dollar = false;
			if (++w->at < w->text.n)
				w->line += w->text.p[w->at] == '\n';
			continue;
		}
		if (c == '{' && dollar)
			continue;
		dollar = c == '$';
		if (quote != '\0' ? c == quote : is_space(c) || c == ';' || c == '{') {
			*end = c;
			return keep_word(w, slice_of(w->text.p + start, w->at++ - start));
		}
	}
	at_end(w, true);
	return false;
}

static void skip_comment(struct words *w)
{
	const char *end = memchr(w->text.p + w->at, '\n', w->text.n - w->at);

	w->at = end == NULL ? w->text.n : (size_t)(end - w->text.p);
}

/* What may stand behind a closing quote.  False: something else does. */
static bool behind_quote(struct words *w, char *end)
{
	char c;

	*end = ' ';
	if (w->at == w->text.n)
		return at_end(w, true) == WORDS_FILE_END;
	c = w->text.p[w->at];
	if (c == ')')
		return true;
	if (!is_space(c) && c != ';' && c != '{') {
		unexpected(w, c);
		return false;
	}
	w->line += c == '\n';
	w->at++;
	*end = c;
	return true;
}

enum words_end words_next(struct words *w)
{
	w->n = 0;
	w->first_line = w->line;
	while (w->at < w->text.n) {
		char c = w->text.p[w->at], end = c;

		if (is_space(c)) {
			w->line += c == '\n';
			w->at++;
			continue;
		}
		if (c == '#') {
			skip_comment(w);
			continue;
		}
		if (w->n == 0)
			w->first_line = w->line;
		if (c == '}') {
			w->at++;
			return w->n > 0 ? unexpected(w, c) : WORDS_CLOSE;
		}
		if (c != ';' && c != '{') {
			if (!take_word(w, &end) ||
			    ((end == '"' || end == '\'') && !behind_quote(w, &end)))
				return WORDS_WRONG;
		} else {
			w->at++;
			if (w->n == 0)
				return unexpected(w, c);
		}
		if (end == ';' || end == '{')
			return end == ';' ? WORDS_LINE : WORDS_OPEN;
	}
	return at_end(w, false);
}

/*--------------------------------------------------------------------- Lua */

/* Behind a "[[" or "[=[": up to its end.  The text begins with "[" or "--[". */
static size_t long_bracket(const char *p, const char *end)
{
	const char *at = p + 1;
	size_t level = 0;

	while (at < end && *at == '=')
		at++, level++;
	if (at == end || *at != '[')
		return 0;
	for (at++; at < end; at++) {
		const char *close = at + 1;

		if (*at != ']')
			continue;
		while (close < end && *close == '=')
			close++;
		if (close < end && *close == ']' && (size_t)(close - at - 1) == level)
			return (size_t)(close + 1 - p);
	}
	return (size_t)(end - p);
}

static size_t short_string(const char *p, const char *end)
{
	const char *at = p + 1;

	while (at < end && *at != *p && *at != '\n')
		at += *at == '\\' && at + 1 < end ? 2 : 1;
	return (size_t)(at - p) + (at < end);
}

static size_t lua_comment(const char *p, const char *end)
{
	const char *stop;
	size_t n = p + 2 < end && p[2] == '[' ? long_bracket(p + 2, end) : 0;

	if (n > 0)
		return n + 2;
	stop = memchr(p, '\n', (size_t)(end - p));
	return (size_t)((stop == NULL ? end : stop) - p);
}

/* The length of what stands here and can hold braces that do not count; 1: a character. */
static size_t lua_token(const char *p, const char *end)
{
	size_t n = 0;

	if (*p == '"' || *p == '\'')
		n = short_string(p, end);
	else if (*p == '[')
		n = long_bracket(p, end);
	else if (*p == '-' && p + 1 < end && p[1] == '-')
		n = lua_comment(p, end);
	return n > 1 ? n : 1;
}

bool words_skip_lua(struct words *w, struct slice *program)
{
	const char *start = w->text.p + w->at, *end = w->text.p + w->text.n, *p = start;
	unsigned depth = 1;

	while (p < end) {
		size_t n = lua_token(p, end);

		if (n == 1 && *p == '{')
			depth++;
		if (n == 1 && *p == '}' && --depth == 0)
			break;
		for (size_t i = 0; i < n; i++)
			w->line += p[i] == '\n';
		p += n;
	}
	*program = slice_of(start, (size_t)(p - start));
	w->at = (size_t)(p - w->text.p) + (p < end);
	return p < end || at_end(w, true) == WORDS_FILE_END;
}
