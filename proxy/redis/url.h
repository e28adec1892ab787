/* url.h - where a Redis server is, and who asks it, as people write it.
 *
 *   redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]     rediss:// for TLS
 *   unix:[[USER]:PASSWORD@]/PATH[?db=DATABASE]
 *
 * The schemes are those of IANA's registrations `redis` and `rediss`; %XX stands for a byte (RFC 3986 section 2.1)
 * in user and password. */
#ifndef REDIS_URL_H
#define REDIS_URL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/addr.h"
#include "base/slice.h"

enum {
	REDIS_PORT = 6379,
	REDIS_HOST_MAX = 253,
	REDIS_SECRET_MAX = 512,
	REDIS_DATABASES_MAX = 65536
};

/* A server, by a name or an address. */
struct redis_place {
	bool is_unix;
	struct addr path;              /* is_unix */
	char host[REDIS_HOST_MAX + 1]; /* without brackets */
	uint16_t port;
};

struct redis_url {
	bool tls;
	struct redis_place place;
	char user[REDIS_SECRET_MAX + 1], password[REDIS_SECRET_MAX + 1]; /* "": none */
	uint32_t database;
};

/* NULL and *out is filled, or what is wrong: a sentence that repeats nothing of the text. */
const char *redis_url_parse(struct slice text, struct redis_url *out);
/* "host:port" alone, "[::1]:26379"; default_port where it says none. */
const char *redis_place_parse(struct slice text, uint16_t default_port, struct redis_place *out);

enum { REDIS_PLACE_TEXT_MAX = REDIS_HOST_MAX + 16 };

bool redis_place_eq(const struct redis_place *, const struct redis_place *);
/* As logs have it. */
void redis_place_format(const struct redis_place *, char out[REDIS_PLACE_TEXT_MAX]);

#endif
