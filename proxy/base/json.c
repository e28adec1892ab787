/* json.c - recursive descent; the depth is bounded, so is the recursion. */
#include "base/json.h"

#include <stdint.h>
#include <string.h>

struct reader {
	const char *at, *end;
	struct arena *arena;
	const char *wrong;
	unsigned depth, values;
	unsigned depth_max, values_max;
};

static struct json *fail(struct reader *r, const char *wrong)
{
	if (r->wrong == NULL)
		r->wrong = wrong;
	return NULL;
}

static void skip_space(struct reader *r)
{
	while (r->at < r->end &&
	       (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
		r->at++;
}

static bool take(struct reader *r, char c)
{
	skip_space(r);
	if (r->at == r->end || *r->at != c)
		return false;
	r->at++;
	return true;
}

/*---------------------------------------------------------------- strings */

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* The four digits behind \u; -1: they are none. */
static int32_t read_hex4(struct reader *r)
{
	int32_t v = 0;

	if (r->end - r->at < 4)
		return -1;
	for (int i = 0; i < 4; i++) {
		int digit = hex_digit(*r->at++);

		if (digit < 0)
			return -1;
		v = v << 4 | digit;
	}
	return v;
}

static char *put_utf8(char *out, uint32_t c)
{
	if (c < 0x80) {
		*out++ = (char)c;
	} else if (c < 0x800) {
		*out++ = (char)(0xc0 | c >> 6);
		*out++ = (char)(0x80 | (c & 0x3f));
	} else if (c < 0x10000) {
		*out++ = (char)(0xe0 | c >> 12);
		*out++ = (char)(0x80 | (c >> 6 & 0x3f));
		*out++ = (char)(0x80 | (c & 0x3f));
	} else {
		*out++ = (char)(0xf0 | c >> 18);
		*out++ = (char)(0x80 | (c >> 12 & 0x3f));
		*out++ = (char)(0x80 | (c >> 6 & 0x3f));
		*out++ = (char)(0x80 | (c & 0x3f));
	}
	return out;
}

/* Behind \u; surrogates come in pairs (RFC 8259 section 7). */
static char *read_unicode(struct reader *r, char *out)
{
	int32_t c = read_hex4(r), low;

	if (c <= 0 || (c >= 0xdc00 && c <= 0xdfff))
		return NULL;
	if (c < 0xd800 || c > 0xdbff)
		return put_utf8(out, (uint32_t)c);
	if (r->end - r->at < 2 || r->at[0] != '\\' || r->at[1] != 'u')
		return NULL;
	r->at += 2;
	low = read_hex4(r);
	if (low < 0xdc00 || low > 0xdfff)
		return NULL;
	return put_utf8(out, 0x10000 + ((uint32_t)(c - 0xd800) << 10) + (uint32_t)(low - 0xdc00));
}

static char *read_escape(struct reader *r, char *out)
{
	static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
	const char *found;
	char c;

	if (r->at == r->end)
		return NULL;
	c = *r->at++;
	if (c == 'u')
		return read_unicode(r, out);
	found = c == '\0' ? NULL : strchr(from, c);
	if (found == NULL)
		return NULL;
	*out++ = to[found - from];
	return out;
}

/* What a string becomes is never longer than it is written. */
static size_t written_length(const struct reader *r)
{
	const char *p = r->at;

	while (p < r->end && *p != '"')
		p += *p == '\\' ? 2 : 1;
	return (size_t)((p < r->end ? p : r->end) - r->at);
}

/* Behind the opening quote. */
static struct slice read_string(struct reader *r)
{
	char *text = arena_alloc(r->arena, written_length(r) + 1), *out = text;

	while (text != NULL && r->at < r->end && *r->at != '"') {
		unsigned char c = (unsigned char)*r->at;

		if (c < 0x20)
			break;
		r->at++;
		if (c != '\\')
			*out++ = (char)c;
		else if ((out = read_escape(r, out)) == NULL)
			break;
	}
	if (text == NULL || out == NULL || r->at == r->end || *r->at != '"') {
		fail(r, text == NULL ? "out of memory" : "a string is malformed");
		return slice_of(NULL, 0);
	}
	r->at++;
	*out = '\0';
	return slice_of(text, (size_t)(out - text));
}

/*---------------------------------------------------------------- values */

static struct json *read_value(struct reader *);

static struct json *value_new(struct reader *r, enum json_kind kind)
{
	struct json *v;

	if (++r->values > r->values_max)
		return fail(r, "there are too many values");
	v = arena_zalloc(r->arena, sizeof(*v));
	if (v == NULL)
		return fail(r, "out of memory");
	v->kind = kind;
	return v;
}

static bool is_digits(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] < '0' || s.p[i] > '9')
			return false;
	return s.n > 0;
}

/* RFC 8259 section 6. */
static bool is_number(struct slice s)
{
	struct slice exponent = s, fraction, whole;

	if (s.n > 0 && s.p[0] == '-')
		exponent = slice_of(s.p + 1, s.n - 1);
	fraction = exponent;
	for (size_t i = 0; i < exponent.n; i++)
		if ((exponent.p[i] | 0x20) == 'e') {
			fraction = slice_of(exponent.p, i);
			exponent = slice_of(exponent.p + i + 1, exponent.n - i - 1);
			if (exponent.n > 0 && (exponent.p[0] == '-' || exponent.p[0] == '+'))
				exponent = slice_of(exponent.p + 1, exponent.n - 1);
			if (!is_digits(exponent))
				return false;
			break;
		}
	whole = slice_cut(&fraction, '.');
	if (!is_digits(whole) || (whole.n > 1 && whole.p[0] == '0'))
		return false;
	return fraction.p == NULL || is_digits(fraction);
}

static struct json *read_word(struct reader *r)
{
	const char *begin = r->at;
	struct slice word;
	struct json *v;

	while (r->at < r->end && strchr("+-.0123456789", *r->at) != NULL && *r->at != '\0')
		r->at++;
	while (r->at < r->end &&
	       ((*r->at >= 'a' && *r->at <= 'z') || *r->at == 'E' || *r->at == '+' ||
		*r->at == '-' || (*r->at >= '0' && *r->at <= '9')))
		r->at++;
	word = slice_of(begin, (size_t)(r->at - begin));
	if (!slice_is(word, "true") && !slice_is(word, "false") && !slice_is(word, "null") &&
	    !is_number(word)) {
		r->at = begin;
		return fail(r, "there is something that is no value");
	}
	v = value_new(r, JSON_WORD);
	if (v != NULL)
		v->text = word;
	return v;
}

static struct json *read_members(struct reader *r, enum json_kind kind, char close)
{
	struct json *v = value_new(r, kind), **tail = v == NULL ? NULL : &v->first;

	if (v == NULL || take(r, close))
		return v;
	do {
		struct slice key = slice_of(NULL, 0);
		struct json *member;

		if (kind == JSON_OBJECT) {
			if (!take(r, '"'))
				return fail(r, "a name in quotes is missing");
			key = read_string(r);
			if (key.p == NULL || !take(r, ':'))
				return fail(r, "a colon is missing behind a name");
			if (json_get(v, key.p) != NULL)
				return fail(r, "a name comes twice");
		}
		member = read_value(r);
		if (member == NULL)
			return NULL;
		member->key = key;
		*tail = member;
		tail = &member->next;
	} while (take(r, ','));
	return take(r, close) ? v : fail(r, "a comma or a closing bracket is missing");
}

static struct json *read_value(struct reader *r)
{
	struct json *v;

	if (++r->depth > r->depth_max)
		return fail(r, "it is nested too deeply");
	if (take(r, '"')) {
		v = value_new(r, JSON_STRING);
		if (v != NULL)
			v->text = read_string(r);
	} else if (take(r, '{')) {
		v = read_members(r, JSON_OBJECT, '}');
	} else if (take(r, '[')) {
		v = read_members(r, JSON_LIST, ']');
	} else {
		v = read_word(r);
	}
	r->depth--;
	return r->wrong == NULL ? v : NULL;
}

static const struct json *read_whole(struct reader *r, struct slice text, size_t *stop)
{
	const struct json *v;

	r->at = r->end = text.p;
	if (text.n > 0)
		r->end = text.p + text.n;
	v = read_value(r);
	*stop = text.n > 0 ? (size_t)(r->at - text.p) : 0;
	skip_space(r);
	if (v != NULL && r->at != r->end) {
		*stop = (size_t)(r->at - text.p);
		v = fail(r, "something follows the value");
	}
	return v;
}

const struct json *json_read_to(struct slice text, struct arena *arena, const char **wrong,
				size_t *stop)
{
	struct reader r = { .arena = arena,
			    .depth_max = JSON_DEPTH_MAX,
			    .values_max = JSON_VALUES_MAX };
	const struct json *v = read_whole(&r, text, stop);

	*wrong = r.wrong;
	return v;
}

const struct json *json_read_within(struct slice text, unsigned depth_max, unsigned values_max,
				    struct arena *arena, const char **wrong)
{
	struct reader r = { .arena = arena, .depth_max = depth_max, .values_max = values_max };
	size_t stop;
	const struct json *v = read_whole(&r, text, &stop);

	*wrong = r.wrong;
	return v;
}

const struct json *json_read_long(struct slice text, struct arena *arena, const char **wrong)
{
	return json_read_within(text, JSON_DEPTH_MAX, JSON_VALUES_LONG_MAX, arena, wrong);
}

const struct json *json_read(struct slice text, struct arena *arena, const char **wrong)
{
	size_t stop;

	return json_read_to(text, arena, wrong, &stop);
}

const struct json *json_get(const struct json *object, const char *key)
{
	for (const struct json *v = object->first; v != NULL; v = v->next)
		if (slice_is(v->key, key))
			return v;
	return NULL;
}
