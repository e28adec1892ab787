/* resp.h - RESP2: commands into bytes, bytes into replies.
 *
 * The parser is hiredis'; replies are values of ours.
 *
 * Laws
 *  P1  A reply has a bound in bytes, fed but not yet given out, and in values: who sends more is
 *      refused, whatever it announces.
 *  P2  A reply lives until the next one is asked for.
 *  P3  After RESP_BROKEN the reader gives nothing more: the connection is of no use. */
#ifndef STORE_RESP_H
#define STORE_RESP_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/slice.h"

enum resp_type { RESP_NIL, RESP_STRING, RESP_STATUS, RESP_ERROR, RESP_INTEGER, RESP_ARRAY };

struct resp {
	enum resp_type type;
	int64_t integer;   /* RESP_INTEGER */
	struct slice text; /* RESP_STRING, RESP_STATUS, RESP_ERROR */
	uint32_t n;        /* RESP_ARRAY */
	struct resp *item;
};

enum {
	RESP_BYTES_SMALL = 64 * 1024, /* what a reply may hold that is no table */
	RESP_BYTES_TABLE = 1 << 20,   /* CLUSTER SLOTS */
	RESP_VALUES_MAX = 64 * 1024,
};

enum resp_result { RESP_MORE, RESP_REPLY, RESP_BROKEN };

struct resp_reader;

struct resp_reader *resp_reader_new(void); /* NULL: out of memory */
void resp_reader_free(struct resp_reader *);
/* Bytes as they came.  False: broken, or out of memory. */
bool resp_reader_feed(struct resp_reader *, struct slice);
/* The next reply of at most max_bytes, or why there is none. */
enum resp_result resp_reader_next(struct resp_reader *, size_t max_bytes, const struct resp **);

/* A command in words. */
void resp_put(struct buf *, const struct slice *word, unsigned n);
/* The same of NUL-terminated words, NULL at the end. */
void resp_put_words(struct buf *, const char *word, ...) __attribute__((sentinel));

/* The version of hiredis that it was built with. */
const char *resp_library(void);

/* Whether it is this word, in any case. */
bool resp_is(const struct resp *, const char *text);

#endif
