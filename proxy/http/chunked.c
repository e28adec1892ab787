/* chunked.c - the chunked coding (RFC 9112 section 7.1): strict sizes, extensions dropped,
 * everything bounded.
 *
 * A size line is walked by a table of states and character classes, data by length, the trailer
 * section is awaited whole:
 *
 *   SIZE line -> DATA -> CR -> LF -> SIZE line ... -> 0 -> TRAILERS -> OVER */
#include "base/reason.h"
#include "http/h1.h"
#include "http/scan.h"

enum {
	EXTENSION_BYTES = 16 * 1024, /* in one body */
	SIZE_DIGITS = 15,            /* so that no sum of sizes can overflow soon */
};

enum state {
	S_BAD,
	S_SIZE_FIRST, /* a digit must come */
	S_SIZE,
	S_SPACE, /* white space after the size or an extension: only ";" makes sense of it */
	S_NAME_FIRST,
	S_NAME,
	S_NAME_SPACE,
	S_VALUE_FIRST,
	S_VALUE,
	S_QUOTED,
	S_ESCAPED,
	S_QUOTED_END,
	S_LINE_END, /* LF of the size line */
	S_LINE_STATES,
	S_DATA = S_LINE_STATES,
	S_DATA_CR,
	S_DATA_LF,
	S_TRAILERS,
	S_OVER,
};

enum class {
	C_BAD, /* controls */
	C_HEX,
	C_TOKEN,
	C_SPACE,
	C_SEMICOLON,
	C_EQUALS,
	C_QUOTE,
	C_BACKSLASH,
	C_CR,
	C_LF,
	C_TEXT, /* only within quotes */
	C_COUNT
};

static const uint8_t next_state[S_LINE_STATES][C_COUNT] = {
	[S_SIZE_FIRST] = { [C_HEX] = S_SIZE },
	[S_SIZE] = { [C_HEX] = S_SIZE,
		     [C_SPACE] = S_SPACE,
		     [C_SEMICOLON] = S_NAME_FIRST,
		     [C_CR] = S_LINE_END },
	[S_SPACE] = { [C_SPACE] = S_SPACE, [C_SEMICOLON] = S_NAME_FIRST },
	[S_NAME_FIRST] = { [C_SPACE] = S_NAME_FIRST, [C_HEX] = S_NAME, [C_TOKEN] = S_NAME },
	[S_NAME] = { [C_HEX] = S_NAME,
		     [C_TOKEN] = S_NAME,
		     [C_SPACE] = S_NAME_SPACE,
		     [C_EQUALS] = S_VALUE_FIRST,
		     [C_SEMICOLON] = S_NAME_FIRST,
		     [C_CR] = S_LINE_END },
	[S_NAME_SPACE] = { [C_SPACE] = S_NAME_SPACE,
			   [C_EQUALS] = S_VALUE_FIRST,
			   [C_SEMICOLON] = S_NAME_FIRST },
	[S_VALUE_FIRST] = { [C_SPACE] = S_VALUE_FIRST,
			    [C_HEX] = S_VALUE,
			    [C_TOKEN] = S_VALUE,
			    [C_QUOTE] = S_QUOTED },
	[S_VALUE] = { [C_HEX] = S_VALUE,
		      [C_TOKEN] = S_VALUE,
		      [C_SPACE] = S_SPACE,
		      [C_SEMICOLON] = S_NAME_FIRST,
		      [C_CR] = S_LINE_END },
	[S_QUOTED] = { [C_HEX] = S_QUOTED,
		       [C_TOKEN] = S_QUOTED,
		       [C_SPACE] = S_QUOTED,
		       [C_SEMICOLON] = S_QUOTED,
		       [C_EQUALS] = S_QUOTED,
		       [C_TEXT] = S_QUOTED,
		       [C_BACKSLASH] = S_ESCAPED,
		       [C_QUOTE] = S_QUOTED_END },
	[S_ESCAPED] = { [C_HEX] = S_QUOTED,
			[C_TOKEN] = S_QUOTED,
			[C_SPACE] = S_QUOTED,
			[C_SEMICOLON] = S_QUOTED,
			[C_EQUALS] = S_QUOTED,
			[C_TEXT] = S_QUOTED,
			[C_BACKSLASH] = S_QUOTED,
			[C_QUOTE] = S_QUOTED },
	[S_QUOTED_END] = { [C_SPACE] = S_SPACE, [C_SEMICOLON] = S_NAME_FIRST, [C_CR] = S_LINE_END },
	[S_LINE_END] = { [C_LF] = S_DATA },
};

static const uint8_t marks[256] = {
	['\t'] = C_SPACE, ['\n'] = C_LF,       ['\r'] = C_CR,    [' '] = C_SPACE,
	['"'] = C_QUOTE,  [';'] = C_SEMICOLON, ['='] = C_EQUALS, ['\\'] = C_BACKSLASH,
};

static enum class class_of(char c) {
	uint8_t u = (uint8_t)c;

	if (char_is(c, CH_HEX)) return C_HEX;
	if (char_is(c, CH_TOKEN)) return C_TOKEN;
	if (marks[u] != C_BAD) return (enum class)marks[u];
	return u > 0x20 && u != 0x7f ? C_TEXT : C_BAD;
}

void chunked_init(struct chunked *c)
{
	*c = (struct chunked){ .state = S_SIZE_FIRST };
}

static bool size_digit(struct chunked *c, char digit)
{
	c->left = c->left << 4 | char_hex(digit);
	return ++c->digits <= SIZE_DIGITS;
}

/* One byte of the size line. */
static void line_byte(struct chunked *c, char byte)
{
	c->state = next_state[c->state][class_of(byte)];
	if (c->state == S_SIZE) {
		if (!size_digit(c, byte))
			c->state = S_BAD;
	} else if (c->state == S_DATA) {
		c->state = c->left == 0 ? S_TRAILERS : S_DATA;
	} else if (c->state != S_LINE_END && ++c->ext > EXTENSION_BYTES) {
		c->state = S_BAD;
	}
}

static void advance(struct slice *in, size_t n)
{
	in->p += n;
	in->n -= n;
}

static enum chunked_event take_data(struct chunked *c, struct slice *in, struct slice *data)
{
	size_t n = in->n < c->left ? in->n : (size_t)c->left;

	*data = slice_of(in->p, n);
	advance(in, n);
	c->left -= n;
	if (c->left == 0)
		c->state = S_DATA_CR;
	return CHUNKED_DATA;
}

static void take_data_end(struct chunked *c, char byte)
{
	if (c->state == S_DATA_CR) {
		c->state = byte == '\r' ? S_DATA_LF : S_BAD;
		return;
	}
	c->state = byte == '\n' ? S_SIZE_FIRST : S_BAD;
	c->digits = 0;
}

static enum chunked_event take_trailers(struct chunked *c, struct slice *in, struct slice *data,
					const struct codec_limits *limits)
{
	const struct reason *why;
	int64_t n = h1_section_end(*in, &c->seen, limits->head_bytes, &why);

	if (n == 0)
		return CHUNKED_MORE;
	c->state = n < 0 ? S_BAD : S_OVER;
	if (n < 0)
		return CHUNKED_BAD;
	*data = slice_of(in->p, (size_t)n);
	advance(in, (size_t)n);
	return n == 2 ? CHUNKED_END : CHUNKED_TRAILERS;
}

enum chunked_event chunked_step(struct chunked *c, struct slice *in, struct slice *data,
				const struct codec_limits *limits)
{
	while (in->n > 0) {
		if (c->state == S_BAD)
			return CHUNKED_BAD;
		if (c->state == S_DATA)
			return take_data(c, in, data);
		if (c->state == S_TRAILERS)
			return take_trailers(c, in, data, limits);
		if (c->state == S_OVER)
			return CHUNKED_END;
		if (c->state < S_LINE_STATES)
			line_byte(c, *in->p);
		else
			take_data_end(c, *in->p);
		advance(in, 1);
	}
	return c->state == S_BAD ? CHUNKED_BAD : CHUNKED_MORE;
}
