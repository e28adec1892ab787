/* config.h - everything configured, as typed structs: what the field tables fill in. */
#ifndef CORE_CONFIG_H
#define CORE_CONFIG_H

#include "auth/auth_conf.h"
#include "base/addr.h"
#include "base/log.h"
#include "conf/schema.h"
#include "http/h2.h"
#include "io/tls_context.h"
#include "redis/conf.h"
#include "upstream/upstream.h"

struct listen_conf {
	struct addr addr;
	struct place at;
	bool proxy_protocol;
	bool http2;
	uint32_t backlog;
	struct conf_list tls; /* of struct tls_server_conf; none: plain */
};

struct client_ip_conf {
	struct conf_list trust; /* of struct cidr */
	const char *header;     /* "x-forwarded-for" (default) or "forwarded" */
};

/* Of each HTTP/2 connection. */
struct http2_conf {
	struct h2_limits limits; /* without the windows: */
	uint64_t stream_window, conn_window;
};

struct limits_conf {
	uint64_t header_bytes;
	uint64_t target_bytes;
	uint32_t headers;
	uint32_t connections; /* of all listeners and workers together */
	uint32_t handshakes;  /* of TLS under way, of all listeners and workers together */
	uint64_t handshake_timeout_ns;
	uint64_t header_timeout_ns;
	uint64_t idle_timeout_ns;  /* keep-alive connections between calls */
	uint64_t write_timeout_ns; /* a client that reads nothing */
	struct http2_conf http2;
};

/* What callers without the token may do. */
enum admin_anonymous { ANONYMOUS_NOTHING, ANONYMOUS_READ };

struct admin_conf {
	struct addr addr;
	bool present;
	const char *token; /* secret */
	int anonymous;     /* enum admin_anonymous */
	uint32_t connections, requests, streams, events, top_keys;
	struct place at;
};

struct probes_conf {
	struct addr addr;
	bool present;
	uint32_t connections, scrapes;
	struct place at;
};

enum access_target { ACCESS_STDOUT, ACCESS_STDERR, ACCESS_NONE, ACCESS_FILE };

struct log_conf {
	int level; /* enum log_level */
	int access;              /* enum access_target */
	const char *access_file; /* ACCESS_FILE */
	struct conf_list redact; /* of const char *, lower case field names */
	struct conf_list fields; /* of const char *: request header fields to log */
	uint64_t buffer_bytes;   /* per worker */
	uint32_t refusals_per_second;
};

struct shutdown_conf {
	uint64_t delay_ns, drain_ns;
};

struct match_conf {
	struct conf_list hosts;   /* of const char *; "*.example.com" takes one or more labels; no port */
	const char *path;         /* "/x" exact, "/x/(star)" prefix; NULL: any */
	struct place hosts_at, path_at;
	struct conf_list methods; /* of const char * */
};

struct timeout_conf {
	uint64_t total_ns, idle_ns, first_byte_ns; /* 0: none */
};

/* A field to set on the request that goes upstream. */
struct set_conf {
	struct conf_name name; /* field name */
	const char *value;     /* may be secret */
};

enum dialect { DIALECT_AUTO, DIALECT_OPENAI, DIALECT_ANTHROPIC, DIALECT_GEMINI, DIALECT_PROBLEM };

struct route_conf {
	const char *name; /* made from the path when not given: unique */
	struct place at;
	struct match_conf match;
	const char *to;
	struct place to_at;
	const char *fallback; /* NULL: none */
	struct place fallback_at;
	struct conf_list use; /* of struct use_conf */
	struct conf_list auth; /* of const char *, auth_names; none: as the policies' keys want it */
	struct place auth_at;
	struct timeout_conf timeout;
	uint64_t max_body;
	struct conf_list set; /* of struct set_conf */
	int dialect;
	bool upgrade; /* Upgrade (WebSocket) is tunnelled */
};

struct use_conf {
	const char *name;
	struct place at;
};

struct config {
	uint32_t version;
	struct conf_list include; /* always empty: the reader has put the files together */
	const char *pid_file; /* NULL: none */
	uint32_t workers; /* 0: auto */
	struct place pid_file_at, workers_at;
	struct conf_list listen;    /* of struct listen_conf */
	struct client_ip_conf client_ip;
	struct limits_conf limits;
	struct admin_conf admin;
	struct probes_conf probes;
	struct log_conf log;
	struct shutdown_conf shutdown;
	struct auth_conf auth;
	struct redis_conf redis; /* n_places 0: none */
	struct conf_list upstreams; /* of struct cluster_conf */
	struct conf_list policies;  /* of struct conf_variant: filters/registry.h */
	struct conf_list routes;    /* of struct route_conf */
	const struct conf_secrets *secrets;
};

extern const struct schema config_schema;

/* Reads, fills and checks a file as far as one can without opening anything.  NULL after errors; findings go to diags
 * either way.  All memory is the arena's. */
struct config *config_load(const char *path, struct arena *, struct diags *);
/* What `weir run --listen A --to B --rate R --burst N` means, through the same tables. */
struct config *config_from_flags(const char *listen, const char *to, const char *rate, const char *burst,
				 struct arena *, struct diags *);
/* SHA-256 of the canonical dump, secrets as "<redacted>", as 64 hex digits; zeros when memory is out. */
void config_hash(const struct config *, char out[65]);

/* Whether one socket on each would get in each other's way: the same port of the same address, or of all addresses. */
bool config_addr_clash(const struct addr *, const struct addr *);

/* config_check.c, for config_load: what no table can say.  `whole`: the tables made no findings. */
void config_check(struct config *, bool whole, struct arena *, struct diags *);

#endif
