/* conf.h - the `redis:` section: where Redis is, who asks it, and what is done without it. */
#ifndef REDIS_CONF_H
#define REDIS_CONF_H

#include "conf/schema.h"
#include "io/tls_context.h"
#include "redis/client.h"
#include "store/lease.h"

/* One url, as it was written. */
struct redis_url_conf {
	const char *url;
	struct place at;
};

struct redis_sentinel_conf {
	const char *master;
	struct conf_list address; /* of const char * */
	const char *user, *password;
	bool tls;
	struct place at, address_at;
};

struct redis_conf {
	struct conf_list url; /* of struct redis_url_conf */
	bool cluster;
	struct redis_sentinel_conf sentinel; /* master NULL: none */
	const char *user, *password;
	uint32_t database;
	struct tls_client_conf tls;
	uint64_t timeout_ns, connect_timeout_ns;
	int on_error; /* enum lease_on_error; policies may say otherwise */
	uint32_t overshoot_ppm;
	uint32_t peers; /* at least so many; 0: as many as there are */
	const char *space, *salt;
	struct place at, url_at, cluster_at, tls_at, on_error_at;

	/* made by the check */
	bool use_tls;
	unsigned n_places;
	const struct redis_place *place; /* of servers, or of sentinels */
};

extern const struct schema redis_schema;
/* local, allow, deny: enum lease_on_error, NULL-terminated. */
extern const char *const redis_on_error_names[];

/* What a client is made of.  `tls`: NULL unless conf->use_tls; the rest of what options need is the caller's. */
void redis_conf_options(const struct redis_conf *, struct tls_client *tls, struct redis_options *);
/* What names of keys are hashed with. */
struct slice redis_conf_salt(const struct redis_conf *);

#endif
