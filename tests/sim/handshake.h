/* handshake.h - the keys of WebSocket's handshake (RFC 6455 section 4), not by Weir's own code. */
#ifndef SIM_HANDSHAKE_H
#define SIM_HANDSHAKE_H

enum { HANDSHAKE_MAX = 32 };

/* The key that the request of this number offers. */
void handshake_key(unsigned id, char out[HANDSHAKE_MAX]);
/* What accepts that key. */
void handshake_accept(const char *key, char out[HANDSHAKE_MAX]);

#endif
