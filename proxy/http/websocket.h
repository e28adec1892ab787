/* websocket.h - the keys of WebSocket's handshake over HTTP/1 (RFC 6455 section 4), for where Weir
 * has to make or to answer one: over HTTP/2 there is none (RFC 8441 section 5). */
#ifndef HTTP_WEBSOCKET_H
#define HTTP_WEBSOCKET_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

enum { WEBSOCKET_NONCE_BYTES = 16, WEBSOCKET_KEY_BYTES = 24, WEBSOCKET_ACCEPT_BYTES = 28 };

extern const struct slice websocket_name, websocket_key_name, websocket_accept_name;

/* The value of Sec-WebSocket-Key. */
void websocket_key(const uint8_t nonce[WEBSOCKET_NONCE_BYTES], char out[WEBSOCKET_KEY_BYTES]);
/* Whether it can be one. */
bool websocket_key_is_valid(struct slice);
/* The value of Sec-WebSocket-Accept that answers it. */
void websocket_accept(struct slice key, char out[WEBSOCKET_ACCEPT_BYTES]);

#endif
