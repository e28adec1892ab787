/* conf.c - the field table of `redis:`, and what its keys may not say together. */
#include "redis/conf.h"

#include "base/clock.h"
#include "store/key_name.h"

const char *const redis_on_error_names[] = {
	[LEASE_LOCAL] = "local", [LEASE_ALLOW] = "allow", [LEASE_REFUSE] = "deny", NULL
};

static const struct field url_fields[] = {
	{ .key = "url",
	  .type = C_STRING,
	  .flags = C_REQUIRED | C_SECRET,
	  .offset = offsetof(struct redis_url_conf, url),
	  .at = offsetof(struct redis_url_conf, at),
	  .min = 1,
	  .max = 2048,
	  .doc = "`redis://[[USER]:PASSWORD@]HOST[:PORT][/DATABASE]`, `rediss://` for TLS, or "
		 "`unix:/PATH`." },
	{ .key = NULL },
};

static const struct schema url_schema = {
	.name = "redis server",
	.size = sizeof(struct redis_url_conf),
	.fields = url_fields,
	.scalar = "url",
};

static const struct field sentinel_fields[] = {
	{ .key = "master",
	  .type = C_STRING,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct redis_sentinel_conf, master),
	  .min = 1,
	  .max = MASTER_NAME_MAX,
	  .doc = "The name under which the sentinels watch the master." },
	{ .key = "addresses",
	  .type = C_LIST,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct redis_sentinel_conf, address),
	  .at = offsetof(struct redis_sentinel_conf, address_at),
	  .item = C_STRING,
	  .min = 1,
	  .max = 512,
	  .doc = "`HOST[:PORT]` of each sentinel; the port is 26379 where none is given." },
	{ .key = "user",
	  .type = C_STRING,
	  .offset = offsetof(struct redis_sentinel_conf, user),
	  .min = 1,
	  .max = REDIS_SECRET_MAX,
	  .doc = "Who asks the sentinels; they know other users than the servers do." },
	{ .key = "password",
	  .type = C_STRING,
	  .flags = C_SECRET,
	  .offset = offsetof(struct redis_sentinel_conf, password),
	  .min = 1,
	  .max = REDIS_SECRET_MAX,
	  .doc = "The password for the sentinels." },
	{ .key = "tls",
	  .type = C_BOOL,
	  .offset = offsetof(struct redis_sentinel_conf, tls),
	  .dflt = "false",
	  .doc = "Whether the sentinels and the servers they name are spoken to over TLS." },
	{ .key = NULL },
};

static const struct schema sentinel_schema = {
	.name = "sentinel section",
	.size = sizeof(struct redis_sentinel_conf),
	.fields = sentinel_fields,
	.at = offsetof(struct redis_sentinel_conf, at),
};

/* A mapping that is absent is none: master is NULL then. */
static const struct field fields[] = {
	{ .key = "url",
	  .type = C_LIST,
	  .offset = offsetof(struct redis_conf, url),
	  .at = offsetof(struct redis_conf, url_at),
	  .sub = &url_schema,
	  .doc = "The server; or some of a cluster, which name the others. All with the same user, "
		 "password and scheme." },
	{ .key = "cluster",
	  .type = C_BOOL,
	  .offset = offsetof(struct redis_conf, cluster),
	  .at = offsetof(struct redis_conf, cluster_at),
	  .dflt = "false",
	  .doc = "Whether the one url given is a node of a Redis Cluster; several always are." },
	{ .key = "sentinel",
	  .type = C_MAP,
	  .offset = offsetof(struct redis_conf, sentinel),
	  .sub = &sentinel_schema,
	  .doc = "In place of `url`: sentinels that tell which server is the master." },
	{ .key = "user",
	  .type = C_STRING,
	  .offset = offsetof(struct redis_conf, user),
	  .min = 1,
	  .max = REDIS_SECRET_MAX,
	  .doc = "The user, where the url names none." },
	{ .key = "password",
	  .type = C_STRING,
	  .flags = C_SECRET,
	  .offset = offsetof(struct redis_conf, password),
	  .min = 1,
	  .max = REDIS_SECRET_MAX,
	  .doc = "The password, where the url has none." },
	{ .key = "database",
	  .type = C_U32,
	  .offset = offsetof(struct redis_conf, database),
	  .max = REDIS_DATABASES_MAX - 1,
	  .dflt = "0",
	  .doc = "The database, where the url has none. A cluster has only 0." },
	{ .key = "tls",
	  .type = C_MAP,
	  .offset = offsetof(struct redis_conf, tls),
	  .at = offsetof(struct redis_conf, tls_at),
	  .sub = &tls_client_schema,
	  .doc = "How servers behind `rediss://` are spoken to." },
	{ .key = "timeout",
	  .type = C_DURATION,
	  .offset = offsetof(struct redis_conf, timeout_ns),
	  .dflt = "20ms",
	  .min = CLOCK_MS,
	  .max = CLOCK_S,
	  .doc = "How long an answer may take; from a server that is slow all the time, up to five "
		 "times as long. No call waits longer than this." },
	{ .key = "connect_timeout",
	  .type = C_DURATION,
	  .offset = offsetof(struct redis_conf, connect_timeout_ns),
	  .dflt = "250ms",
	  .min = CLOCK_MS,
	  .max = 10 * CLOCK_S,
	  .doc = "How long connecting may take, TLS and the password included. No call waits for "
		 "it." },
	{ .key = "on_error",
	  .type = C_ENUM,
	  .offset = offsetof(struct redis_conf, on_error),
	  .at = offsetof(struct redis_conf, on_error_at),
	  .dflt = "local",
	  .names = redis_on_error_names,
	  .doc = "What shared limits do without Redis: each replica its share by itself, or all "
		 "calls are let in, or none. Policies may say otherwise." },
	{ .key = "overshoot",
	  .type = C_SHARE,
	  .offset = offsetof(struct redis_conf, overshoot_ppm),
	  .dflt = "5%",
	  .max = 1000000,
	  .doc = "By how much all replicas together may pass a limit, so that calls need not wait "
		 "for Redis. A limit of which this is less than one call for each replica is "
		 "exact." },
	{ .key = "peers",
	  .type = C_U32,
	  .offset = offsetof(struct redis_conf, peers),
	  .max = 65535,
	  .dflt = "0",
	  .doc = "At least so many replicas share each limit (the most that may ever run makes "
		 "`overshoot` hold while replicas are added). 0: as many as are seen." },
	{ .key = "namespace",
	  .type = C_STRING,
	  .offset = offsetof(struct redis_conf, space),
	  .dflt = "weir",
	  .min = 1,
	  .max = KEY_NAMESPACE_MAX,
	  .doc = "Part of all names of keys: those who say the same share their limits." },
	{ .key = "salt",
	  .type = C_STRING,
	  .flags = C_SECRET,
	  .offset = offsetof(struct redis_conf, salt),
	  .min = 8,
	  .max = 1024,
	  .doc = "What names of keys are hashed with, the same in all replicas; 8 bytes or more. "
		 "Not given: the password." },
	{ .key = NULL },
};

/*-------------------------------------------------------------------- checks */

static bool wrong(struct conf_load *l, struct place at, const char *what)
{
	diag_error(l->diags, at, "E018", "%s", what)->path = l->path;
	return false;
}

static bool check_space(struct conf_load *l, const struct redis_conf *c)
{
	for (const char *p = c->space; *p != '\0'; p++) {
		char low = (char)(*p | 0x20);

		if ((*p < '0' || *p > '9') && (low < 'a' || low > 'z') && *p != '-' && *p != '_')
			return wrong(l, c->at, "a namespace is made of letters, digits, - and _");
	}
	return true;
}

static const char *or_given(struct conf_load *l, const char *text, const char *given)
{
	return text[0] != '\0' ? conf_strdup(l, slice_str(text)) : given;
}

/* What the first url says counts; the others must say the same. */
static bool take_url(struct conf_load *l, struct redis_conf *c, const struct redis_url *u,
		     bool first, struct place at)
{
	if (!first && (u->tls != c->use_tls || u->place.is_unix))
		return wrong(l, at, "all nodes of a cluster are behind the same scheme");
	if (u->password[0] != '\0' && !first &&
	    (c->password == NULL || strcmp(u->password, c->password) != 0))
		return wrong(l, at, "all nodes of a cluster have the same user and password");
	if (!first)
		return true;
	c->use_tls = u->tls;
	c->user = or_given(l, u->user, c->user);
	c->password = or_given(l, u->password, c->password);
	c->database = u->database != 0 ? u->database : c->database;
	return true;
}

/* A dump hides the whole of it, and can be loaded again. */
static const char *url_of(const struct redis_url_conf *c)
{
	return strcmp(c->url, "<redacted>") == 0 ? "redis://redacted" : c->url;
}

static bool take_urls(struct conf_load *l, struct redis_conf *c, struct redis_place *place)
{
	const struct redis_url_conf *conf = c->url.item;
	bool ok = true;

	for (uint32_t i = 0; i < c->url.n; i++) {
		struct redis_url u;
		const char *why = redis_url_parse(slice_str(url_of(&conf[i])), &u);

		ok = (why == NULL ? take_url(l, c, &u, i == 0, conf[i].at)
				  : wrong(l, conf[i].at, why)) &&
		     ok;
		place[i] = u.place;
	}
	c->cluster = c->cluster || c->url.n > 1;
	if (ok && c->cluster && c->database != 0)
		return wrong(l, c->url_at, "a cluster has no databases but 0");
	return ok;
}

static bool take_sentinels(struct conf_load *l, struct redis_conf *c, struct redis_place *place)
{
	const char *const *address = c->sentinel.address.item;
	bool ok = true;

	for (uint32_t i = 0; i < c->sentinel.address.n; i++) {
		const char *why = redis_place_parse(slice_str(address[i]), 26379, &place[i]);

		ok = (why == NULL || wrong(l, c->sentinel.address_at, why)) && ok;
	}
	c->use_tls = c->sentinel.tls;
	if (c->cluster)
		return wrong(l, c->cluster_at, "sentinels watch a server, not a cluster");
	return ok;
}

static bool check_one_way(struct conf_load *l, const struct redis_conf *c, uint32_t n)
{
	if (c->sentinel.master != NULL && c->url.n > 0)
		return wrong(l, c->url_at, "`url` and `sentinel` exclude each other");
	if (n == 0)
		return wrong(l, c->at, "the servers are missing: `url`, or `sentinel`");
	if (n > REDIS_PLACES_MAX)
		return wrong(l, c->at, "at most 32 servers are named; they name the others");
	return true;
}

static bool check_redis(struct conf_load *l, const struct node *node, void *conf)
{
	struct redis_conf *c = conf;
	uint32_t n = c->sentinel.master != NULL ? c->sentinel.address.n : c->url.n;
	struct redis_place *place;
	bool ok;

	(void)node;
	if (!check_one_way(l, c, n) || !check_space(l, c))
		return false;
	place = conf_zalloc(l, n * sizeof(*place));
	if (place == NULL)
		return false;
	ok = c->sentinel.master != NULL ? take_sentinels(l, c, place) : take_urls(l, c, place);
	c->place = place;
	c->n_places = n;
	return ok;
}

const struct schema redis_schema = {
	.name = "redis section",
	.size = sizeof(struct redis_conf),
	.fields = fields,
	.at = offsetof(struct redis_conf, at),
	.optional = true,
	.scalar = "url",
	.check = check_redis,
};

/*------------------------------------------------------------------- its use */

void redis_conf_options(const struct redis_conf *c, struct tls_client *tls, struct redis_options *o)
{
	o->place = c->place;
	o->n_places = c->n_places;
	o->cluster = c->cluster;
	o->master = c->sentinel.master;
	o->greeting = (struct redis_greeting){ .user = c->user,
					       .password = c->password,
					       .database = c->database };
	o->sentinel_greeting =
	    (struct redis_greeting){ .user = c->sentinel.user, .password = c->sentinel.password };
	o->tls = tls;
	o->sentinel_tls = c->sentinel.master != NULL ? tls : NULL;
	o->timeout_ns = c->timeout_ns;
	o->connect_timeout_ns = c->connect_timeout_ns;
}

struct slice redis_conf_salt(const struct redis_conf *c)
{
	return slice_str(c->salt != NULL ? c->salt : c->password != NULL ? c->password : c->space);
}
