/* tunnel.h - the handshake of WebSocket from one version of HTTP to another (RFC 6455 section 4,
 * RFC 8441 section 5).
 *
 *   client   upstream
 *   HTTP/1   HTTP/1    passes as it is: the client checks the answer to its key
 *   HTTP/2   HTTP/1    Weir makes the key and checks the answer
 *   HTTP/1   HTTP/2    Weir checks the key and answers it
 *   HTTP/2   HTTP/2    there is none */
#ifndef CORE_TUNNEL_H
#define CORE_TUNNEL_H

#include "core/exchange.h"

/* Before the request is sent, over HTTP/2 or not.  NULL, or why it cannot be. */
const struct reason *tunnel_ask(struct exchange *, bool http2);
/* A 101 has come, over HTTP/2 or not: as the client is to see it.  False: it is none. */
bool tunnel_switch(struct exchange *, struct head *, bool http2);

#endif
