/* range.h - parts of a representation, and when they, or any of it, are wanted (RFC 9110 sections
 * 13 and 14); pure.
 *
 * Where the RFC leaves a choice it is made as most servers of files make it: If-Modified-Since and
 * If-Unmodified-Since of a client that sends dates it was given.  A date that is not the one it
 * was given is no reason for 304, be it later; with If-None-Match beside it both must hold. */
#ifndef HTTP_RANGE_H
#define HTTP_RANGE_H

#include "http/head.h"

enum {
	RANGES_MAX = 32, /* parts of one answer; to who asks for more goes all of it */
};

struct range {
	uint64_t at, n; /* n > 0 */
};

struct ranges {
	uint32_t n;
	struct range item[RANGES_MAX];
};

enum range_answer {
	RANGE_ALL,  /* none is asked for, or it is not understood, or all of it is less */
	RANGE_PART, /* 206 */
	RANGE_NONE, /* 416 */
};

/* Which dates of If-Modified-Since find it unchanged. */
enum since_rule { SINCE_EXACT, SINCE_BEFORE, SINCE_OFF };

/* What a representation of `size` bytes is known by. */
struct validator {
	struct slice etag; /* strong, with its quotes */
	int64_t modified_s;
	uint64_t size;
	enum since_rule since;
};

/* The value of Range. */
enum range_answer range_parse(struct slice value, uint64_t size, struct ranges *);
/* The same of a request, if its If-Range lets it. */
enum range_answer range_of(const struct head *req, const struct validator *, struct ranges *);
/* 0: it goes out; 304 or 412. */
uint16_t precondition_status(const struct head *req, const struct validator *);

#endif
