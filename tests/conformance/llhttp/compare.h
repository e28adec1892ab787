/* compare.h - one request, as two parsers understand it. */
#ifndef TESTS_LLHTTP_COMPARE_H
#define TESTS_LLHTTP_COMPARE_H

#include "base/buf.h"
#include "base/slice.h"

enum level {
	REFUSED,
	IN_HEAD, /* more must come */
	IN_BODY,
	WHOLE,
};

struct outcome {
	enum level level;
	const char *why; /* REFUSED: in the parser's own words */
	bool in_body;    /* REFUSED: the head was taken */
	bool keep_alive, upgrade;
	unsigned minor;
	struct buf start;  /* "METHOD target" */
	struct buf fields; /* "name: value\n" */
	struct buf body;
	size_t value_at; /* in fields: of the value under way */
};

void outcome_fini(struct outcome *);

/* Both look at the first request in `text` and no further.  The outcome is the caller's. */
void ours_parse(struct slice text, struct outcome *);
void theirs_parse(struct slice text, struct outcome *);

/* Whether a kind is listed for how the two differ here; it is counted. */
bool kinds_find(struct slice text, const struct outcome *ours, const struct outcome *theirs);
/* Prints what is listed, and how often it was met; how many kinds were never met. */
unsigned kinds_print(void);

#endif
