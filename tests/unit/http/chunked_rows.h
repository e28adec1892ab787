/* chunked_rows.h - chunked bodies: the data that is taken, and how it ends. */
#ifndef TESTS_HTTP_CHUNKED_ROWS_H
#define TESTS_HTTP_CHUNKED_ROWS_H

static const struct {
	const char *text, *want;
} chunked_rows[] = {
	/* sizes */
	{ "x", "|bad" },
	{ "\r\n", "|bad" },
	{ " 5\r\nhello\r\n", "|bad" },
	{ "-5\r\nhello", "|bad" },
	{ "+5\r\nhello", "|bad" },
	{ "0x5\r\nhello", "|bad" },
	{ "5h\r\nhello", "|bad" },
	{ "5 \r\nhello", "|bad" },
	{ "5\t\r\nhello", "|bad" },
	{ "5\nhello", "|bad" },
	{ "5\rhello", "|bad" },
	{ "5\r\rhello", "|bad" },
	{ "5\v\r\nhello", "|bad" },
	{ "5_0\r\nhello", "|bad" },
	{ "5,5\r\nhello", "|bad" },
	{ "5.\r\nhello", "|bad" },
	{ "ffffffffffffffff\r\n", "|bad" },
	{ "10000000000000000\r\n", "|bad" },
	{ "fffffffffffffffff\r\n", "|bad" },
	{ "0000000000000000\r\n", "|bad" },
	{ "\xb5\r\nhello", "|bad" },
	/* data */
	{ "5\r\nhelloX\r\n", "hello|bad" },
	{ "5\r\nhello\n0\r\n\r\n", "hello|bad" },
	{ "5\r\nhello\rx", "hello|bad" },
	{ "5\r\nhello\r\r\n", "hello|bad" },
	{ "4\r\nhello\r\n0\r\n\r\n", "hell|bad" },
	{ "6\r\nhello\r\n0\r\n\r\n", "hello\r|bad" },
	/* extensions */
	{ "5;\r\nhello", "|bad" },
	{ "5;a=\r\nhello", "|bad" },
	{ "5;=b\r\nhello", "|bad" },
	{ "5;a b\r\nhello", "|bad" },
	{ "5;a=b c\r\nhello", "|bad" },
	{ "5;a;\r\nhello", "|bad" },
	{ "5;a=\"b\r\nhello", "|bad" },
	{ "5;a=\"b\n\"\r\nhello", "|bad" },
	{ "5;a=\"b\"c\r\nhello", "|bad" },
	{ "5;a=\"\\\r\"\r\nhello", "|bad" },
	{ "5;a\nhello", "|bad" },
	{ "5;a\rhello", "|bad" },
	{ "5;\x01\r\nhello", "|bad" },
	{ "5;a=\x7f\r\nhello", "|bad" },
	{ "5 ;a \r\nhello", "|bad" },
	/* trailers */
	{ "0\r\n\n", "|bad" },
	{ "0\r\n\rx", "|bad" },
	{ "0\r\na: b\n\r\n", "|bad" },
	{ "0\r\na: b\r\r\n", "|bad" },
	/* unfinished */
	{ "", "|more" },
	{ "5", "|more" },
	{ "5\r", "|more" },
	{ "5\r\n", "|more" },
	{ "5\r\nhel", "hel|more" },
	{ "5\r\nhello", "hello|more" },
	{ "5\r\nhello\r\n", "hello|more" },
	{ "0\r\n", "|more" },
	{ "0\r\n\r", "|more" },
	{ "0\r\na: b\r\n", "|more" },
	/* whole */
	{ "0\r\n\r\n", "|end+0" },
	{ "000\r\n\r\nGET", "|end+3" },
	{ "5\r\nhello\r\n0\r\n\r\n", "hello|end+0" },
	{ "00005\r\nhello\r\n0\r\n\r\n", "hello|end+0" },
	{ "A\r\n0123456789\r\na\r\n0123456789\r\n0\r\n\r\n", "01234567890123456789|end+0" },
	{ "5;a\r\nhello\r\n0;b=c\r\n\r\n", "hello|end+0" },
	{ "5 ; a = b ;c\t=\t\"d;e\\\"\\\\\xff\"\r\nhello\r\n0\r\n\r\n", "hello|end+0" },
	{ "5;f=0a;0=f\r\nhello\r\n0\r\n\r\n", "hello|end+0" },
	{ "2\r\n\r\n\r\n0\r\n\r\n", "\r\n|end+0" },
	{ "0\r\na: b\r\n\r\n", "|trailers:a: b\r\n\r\n|end+0" },
	{ "1\r\nx\r\n0\r\na: b\r\nc:d\r\n\r\nmore", "x|trailers:a: b\r\nc:d\r\n\r\n|end+4" },
};

#endif
