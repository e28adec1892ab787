/* proxy_protocol.h - the PROXY protocol, versions 1 and 2: who a load balancer says it speaks for.
 *
 * A pure function of the first bytes of a connection (specification: HAProxy's proxy-protocol.txt,
 * revision 2020/03/05).  Checksums and other TLVs of version 2 are skipped. */
#ifndef IO_PROXY_PROTOCOL_H
#define IO_PROXY_PROTOCOL_H

#include <stdbool.h>

#include "base/addr.h"
#include "base/slice.h"

enum {
	PROXY_V1_MAX_BYTES = 107, /* line end included */
	/* Of a version 2 header with its TLVs; a longer one is malformed. */
	PROXY_PROTOCOL_MAX_BYTES = 4096
};

struct proxy_info {
	/* False: the header names nobody (LOCAL, UNKNOWN, UNSPEC, or datagrams): the socket's
	 * addresses hold. */
	bool has_source;
	struct addr source, destination; /* the client, and where it connected to */
};

/* Bytes consumed (the header is whole), 0: need more, -1: malformed. */
int proxy_protocol_parse(struct slice in, struct proxy_info *);

#endif
