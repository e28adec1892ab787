/* template.h - texts of the configuration that say something of the call: "https://{host}{uri}".
 *
 *	{client.ip} {header.NAME} {query.NAME} {cookie.NAME} {host} {path} {method} {route} {upstream}
 *	{tls.san} {value.NAME}	what keys of limits are made of (filters/key.h), here as text
 *	{forwarded_for}	X-Forwarded-For as the request has it, and {client.ip} behind it
 *	{uri} {query} {authority} {scheme} {request_id}
 *	{server.port} {server.address}	of the listener
 *	{client.port} {peer.ip} {peer.port} {local.ip}	who is connected, to which address of ours
 *	{connection} {connection.calls} {connection.pipelined}	its number; calls so far; `p` or `.`
 *	{tls.protocol} {tls.cipher} {tls.server_name} {tls.resumed}	`r` or `.`
 *	{time.local} {time.iso} {time.epoch} {process.host} {process.id}
 *	{request} {protocol} {path.decoded} {user}	its first line; who Basic credentials name
 *   and, once there is an answer:
 *	{status} {phrase} {duration} {limit.rate} {limit.concurrency}	seconds; PASSED, DELAYED, REJECTED
 *	{upstream.address} {upstream.status} {upstream.connect} {upstream.first_byte}
 *	{upstream.duration} {upstream.header.NAME}	of each try, joined by `, `
 *   and when the call is over:
 *	{request.bytes} {response.bytes} {response.body_bytes} {response.header.NAME}
 *	{client.bytes}	its address as bytes, which logs escape
 *	{upstream.received} {upstream.sent} {upstream.body}	bytes of each try
 *   and where the route knows them:
 *	{match.N} {match.NAME}	a group of the regular expression that was met: of `rewrite.pattern`,
 *				of `replace`, else of `match.path`; 0: all of what it has found
 *	{match.rest}		of a match like /x/<star>: what stands where the star does
 *
 * Laws
 *  T1  `{` begins such a name only where a name and `}` follow; else it stands for itself, so that
 *      JSON and CSS need no escapes. `{{name}` is the text `{name}`.  A name that is not known is
 *      an error of the configuration.
 *  T2  What came from a ${file:...} is text, whatever is in it.
 *  T3  What the call lacks is empty.
 *  T4  A value can never end the place it is put into: by its form (enum template_form) what would
 *      is escaped.  In a URI, {uri} {path} {query} {authority} {host} {match...} stand as they are,
 *      of others all that could end a segment or a value of a query is escaped.
 *      A path of which a value makes `..` is refused, and a Location does not begin with `//` for a
 *      value's sake: that would name a host (action.c).
 *  T5  No text is longer than TEMPLATE_MAX; one that would be is empty, or, of a log, cut there. */
#ifndef CORE_TEMPLATE_H
#define CORE_TEMPLATE_H

#include "conf/diag.h"
#include "core/pattern.h"
#include "filters/filter.h"

struct exchange;
struct template_part;

struct template
{
	uint32_t n;    /* 0: the text is always the same */
	uint8_t known; /* enum template_time: from when on all of it is */
	struct slice fixed;
	struct template_part *part;
};

enum {
	TEMPLATE_MAX = 64 * 1024,
	TEMPLATE_PARTS_MAX = 64 /* of one text */
};

/* Where the text goes. */
enum template_form {
	TEMPLATE_TEXT,  /* as it is */
	TEMPLATE_FIELD, /* a header field: no control characters */
	TEMPLATE_URI,   /* the same, of a URI: nothing that it cannot hold (RFC 3986 appendix A) */
	TEMPLATE_PATH,  /* of its path: no `?` either */
	TEMPLATE_JSON,  /* within a string */
	TEMPLATE_HTML,
	TEMPLATE_LOG, /* of a log: `"`, `\` and all but plain ASCII as \xXX; `-` for what is not there */
	TEMPLATE_LOG_JSON, /* within a string of JSON, bytes above 0x7f as they are */
	TEMPLATE_LOG_PLAIN, /* as it is */
};

/* From when on a value is known. */
enum template_time { AT_REQUEST, AT_ANSWER, AT_END };

/* What a route knows that {match...} may ask for. */
struct template_match {
	const struct pattern *pattern; /* NULL: none */
	bool rest;                     /* it takes what is below a path: */
	size_t rest_at;                /* of the path in normal form */
	uint8_t time;                  /* enum template_time: when it is filled */
};

/* Of a call. */
struct template_values {
	const struct call *call;
	const struct template_match *match;
	struct slice subject; /* of the match; p NULL: the path */
	const struct head
	    *came; /* what the client asked for, if another route has sent the call on; else NULL */
	struct slice scheme, request_id;
	uint16_t status;     /* of the answer under way; 0: there is none */
	uint16_t port;       /* of the listener; 0: it has none */
	const char *address; /* the same, as `listen` has it; NULL: not known */
	const struct exchange *x; /* NULL: there is none, and nothing that only it knows */
};

/* Into the arena.  `literal`: T2.  `match`: what {match...} may ask for.  False after findings at
 * `at`: in `what` ("`location`"). */
bool template_parse(struct template *, const char *text, bool literal,
		    const struct template_match *, const char *what, struct place at,
		    struct arena *, struct diags *);
bool template_fill_values(const struct template *, const struct template_values *,
			  enum template_form, struct slice *out);

/* In the call's arena, or the configuration's.  False: memory is out. */
static inline bool template_fill(const struct template *t, const struct template_values *v,
				 enum template_form form, struct slice *out)
{
	if (t->n > 0)
		return template_fill_values(t, v, form, out);
	*out = t->fixed;
	return true;
}

#endif
