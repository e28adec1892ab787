/* address.h - where an endpoint is, as people write it. */
#ifndef UPSTREAM_ADDRESS_H
#define UPSTREAM_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

enum { HOST_NAME_MAX_BYTES = 253 }; /* as text; 255 on the wire (RFC 1035 section 2.3.4) */

struct endpoint_address {
	bool tls;   /* behind https:// */
	bool named; /* a DNS name: host and port hold it; else fixed does */
	uint16_t port;
	struct addr fixed;
	char host[HOST_NAME_MAX_BYTES + 1]; /* lower case */
	char name[HOST_NAME_MAX_BYTES +
		  1]; /* the host alone, as certificates have it; "": a unix socket */
	char text[HOST_NAME_MAX_BYTES + 16]; /* canonical: the identity of the endpoint; with
						https:// before it, if it is behind that */
	uint8_t authority;                   /* where in `text` the scheme is over */
};

/* "host:port" "127.0.0.1:80" "[::1]:80" "unix:/path", each also behind "http://" (where the port
 * may be left out: 80), and all but the last behind "https://" (443).  NULL and *out is filled, or
 * what is wrong: a sentence that does not repeat the value. */
const char *endpoint_address_parse(struct slice text, struct endpoint_address *out);

#endif
