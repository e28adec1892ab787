/* yaml_text.c - quoting, and nodes as JSON. */
#include "conf/yaml_text.h"

#include <string.h>

#include "conf/node.h"
#include "conf/utf8.h"

static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static size_t skip_digits(struct slice s, size_t at)
{
	while (at < s.n && s.p[at] >= '0' && s.p[at] <= '9')
		at++;
	return at;
}

/* RFC 8259 section 6. */
static bool is_json_number(struct slice s)
{
	size_t at = s.n > 0 && s.p[0] == '-', end = skip_digits(s, at);

	if (end == at || (s.p[at] == '0' && end > at + 1))
		return false;
	if (end < s.n && s.p[end] == '.') {
		at = end + 1;
		end = skip_digits(s, at);
		if (end == at)
			return false;
	}
	if (end < s.n && (s.p[end] == 'e' || s.p[end] == 'E')) {
		at = end + 1;
		if (at < s.n && (s.p[at] == '+' || s.p[at] == '-'))
			at++;
		end = skip_digits(s, at);
		if (end == at)
			return false;
	}
	return end == s.n;
}

/* "10", "1_000", "0x1f", "12:30" and the like: numbers to some readers of YAML. */
static bool looks_like_number(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!(s.p[i] >= '0' && s.p[i] <= '9') &&
		    strchr("_:xXoabcdefABCDEF", s.p[i]) == NULL)
			return is_json_number(s);
	return s.n > 0 && s.p[0] >= '0' && s.p[0] <= '9';
}

static bool looks_like_word(struct slice s)
{
	static const char *const words[] = { "null", "true", "false", "yes", "no",
					     "on",   "off",  "y",     "n" };

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (slice_ieq(s, slice_str(words[i])))
			return true;
	return false;
}

static bool is_plain(struct slice s)
{
	if (s.n == 0 || !(is_alnum(s.p[0]) || s.p[0] == '/' || s.p[0] == '_'))
		return false;
	for (size_t i = 1; i < s.n; i++) {
		char c = s.p[i];

		if (c == ':' && (i + 1 == s.n || !(is_alnum(s.p[i + 1]) || s.p[i + 1] == '/')))
			return false;
		if (!is_alnum(c) && (c == '\0' || strchr("_./+%@=-*:", c) == NULL))
			return false;
	}
	return !looks_like_number(s) && !looks_like_word(s);
}

static void put_escaped(struct buf *out, uint32_t c)
{
	if (c < 0x100)
		buf_printf(out, "\\x%02X", (unsigned)c);
	else
		buf_printf(out, c < 0x10000 ? "\\u%04X" : "\\U%08X", (unsigned)c);
}

static void put_quoted(struct buf *out, struct slice s, const char *dollar)
{
	uint32_t c;

	buf_putc(out, '"');
	for (size_t n; s.n > 0; s.p += n, s.n -= n) {
		n = utf8_decode(s.p, s.n, &c);
		if (n == 0) {
			n = 1;
			c = 0xFFFD;
		}
		if (c == '"' || c == '\\')
			buf_printf(out, "\\%c", (char)c);
		else if (c == '$')
			buf_puts(out, dollar);
		else if (c < 0x20 || !utf8_is_printable(c) || c == 0x85 || c == 0x2028 ||
			 c == 0x2029 || c == 0xFFFD)
			put_escaped(out, c);
		else
			buf_put(out, s.p, n);
	}
	buf_putc(out, '"');
}

void yaml_put_string(struct buf *out, struct slice s)
{
	if (is_plain(s))
		buf_put(out, s.p, s.n);
	else
		put_quoted(out, s, "$$");
}

void yaml_put_key(struct buf *out, struct slice s)
{
	if (is_plain(s))
		buf_put(out, s.p, s.n);
	else
		put_quoted(out, s, "$");
}

/*-------------------------------------------------------------------- JSON */

static void put_indent(struct buf *out, unsigned depth)
{
	buf_putc(out, '\n');
	for (unsigned i = 0; i < depth; i++)
		buf_puts(out, "  ");
}

static void put_json_scalar(struct buf *out, const struct node *n)
{
	bool word = slice_is(n->text, "true") || slice_is(n->text, "false");

	if (!n->quoted && (word || is_json_number(n->text)))
		buf_put(out, n->text.p, n->text.n);
	else
		buf_json_string(out, n->text);
}

static void put_json(struct buf *out, const struct node *n, unsigned depth)
{
	bool map = n->kind == NODE_MAP;

	if (n->kind == NODE_NULL) {
		buf_puts(out, "null");
		return;
	}
	if (n->kind == NODE_SCALAR) {
		put_json_scalar(out, n);
		return;
	}
	buf_putc(out, map ? '{' : '[');
	for (const struct node *child = n->first; child != NULL; child = child->next) {
		put_indent(out, depth + 1);
		if (map) {
			buf_json_string(out, child->key);
			buf_puts(out, ": ");
		}
		put_json(out, child, depth + 1);
		if (child->next != NULL)
			buf_putc(out, ',');
	}
	if (n->first != NULL)
		put_indent(out, depth);
	buf_putc(out, map ? '}' : ']');
}

void yaml_put_json(struct buf *out, const struct node *n)
{
	put_json(out, n, 0);
}
