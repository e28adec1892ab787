/* address.h - where an endpoint is, as people write it. */
#ifndef UPSTREAM_ADDRESS_H
#define UPSTREAM_ADDRESS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"

enum { HOST_NAME_MAX_BYTES = 253 }; /* as text; 255 on the wire (RFC 1035 section 2.3.4) */

struct endpoint_address {
	bool named; /* a DNS name: host and port hold it; else fixed does */
	uint16_t port;
	struct addr fixed;
	char host[HOST_NAME_MAX_BYTES + 1]; /* lower case */
	char text[HOST_NAME_MAX_BYTES + 8]; /* canonical: the identity of the endpoint */
};

/* "host:port" "127.0.0.1:80" "[::1]:80" "unix:/path", each also behind "http://" (where the port
 * may be left out: 80).  NULL and *out is filled, or what is wrong: a sentence that does not
 * repeat the value. */
const char *endpoint_address_parse(struct slice text, struct endpoint_address *out);

#endif
