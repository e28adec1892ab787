/* message.h - what HTTP/1 and HTTP/2 say in the same words; pure.  In h1_parse.c, where it is used
 * most: HTTP/2 looks at what is left of a message when its framing is off. */
#ifndef HTTP_MESSAGE_H
#define HTTP_MESSAGE_H

#include "http/head.h"

struct scheme {
	struct slice prefix, name, port;
};

/* NULL: neither http nor https. */
const struct scheme *scheme_find(struct slice name);

/* uri-host [":" port] without user information (RFC 3986 section 3.2, RFC 9110 section 4.2.4). */
bool authority_is_valid(struct slice);
/* The same host and port, those of the scheme being as good as none. */
bool authority_eq(struct slice a, struct slice b, struct slice scheme_port);
/* Path and query of an origin-form target. */
void target_split(struct slice, struct head *);
/* The value of Content-Length: digits that fit 63 bits (RFC 9110 section 8.6). */
bool length_parse(struct slice, uint64_t *length);
/* A field value without control characters but tab (RFC 9110 section 5.5). */
bool value_is_valid(struct slice);
/* Whether a field may stand in a trailer section (RFC 9110 section 6.5.1). */
bool field_may_trail(const struct header *);

enum {
	METHOD_BYTES = 48, /* no method is nearly that long */
};

#endif
