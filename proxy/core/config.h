/* config.h - everything configured, as typed structs: what the field tables fill in. */
#ifndef CORE_CONFIG_H
#define CORE_CONFIG_H

#include "auth/auth_conf.h"
#include "base/addr.h"
#include "base/log.h"
#include "conf/schema.h"
#include "core/memory.h"
#include "http/h2.h"
#include "io/tls_context.h"
#include "redis/conf.h"
#include "upstream/upstream.h"

/* What fields of requests may be called; those with other names are dropped. */
enum field_names { NAMES_ANY, NAMES_PLAIN, NAMES_UNDERSCORED };

struct listen_conf {
	struct addr addr;
	struct place at;
	bool proxy_protocol;
	bool http2;
	int field_names; /* enum field_names */
	uint32_t backlog;
	struct conf_list tls; /* of struct tls_server_conf; none: plain */
};

struct client_ip_conf {
	struct conf_list trust; /* of struct cidr */
	struct place trust_at;
	const char
	    *header;  /* "x-forwarded-for" (default), "forwarded", or another with such a list */
	bool nearest; /* the last address counts, whoever it is */
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
	bool bare_lf, half_close, loose_host;
	uint64_t awaited_bytes; /* of each worker */
	int escaped_slashes; /* enum slash_rule */
	struct http2_conf http2;
	struct place at;
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

enum log_escape { LOG_ESCAPE_TEXT, LOG_ESCAPE_JSON, LOG_ESCAPE_NONE };

struct log_conf {
	int level; /* enum log_level */
	int access;              /* enum access_target */
	const char *access_file; /* ACCESS_FILE */
	struct conf_list redact; /* of const char *, lower case field names */
	struct conf_list fields; /* of const char *: request header fields to log */
	uint64_t buffer_bytes;   /* per worker */
	uint32_t refusals_per_second;
	struct conf_list text; /* of struct text_log_conf */
	struct conf_list events; /* of struct event_log_conf */
	struct conf_list use;  /* of const char *: names; none: all of them */
	struct place use_at, level_at, fields_at;
};

/* A name and a text: a field of requests to the collector, an attribute of the resource. */
struct pair_conf {
	struct conf_name name;
	const char *value; /* may be secret */
	struct place at;
};

/* Where spans go (core/tracing.h). */
struct tracing_conf {
	const char *endpoint; /* NULL: nowhere, calls are not traced */
	struct place at, endpoint_at;
	uint32_t ratio; /* parts per million, of calls that begin a trace */
	const char *service;
	struct conf_list headers, attributes; /* of struct pair_conf */
	struct tls_client_conf tls;
	uint64_t timeout_ns, interval_ns;
	uint64_t queue_bytes; /* per worker */
	uint32_t batch;       /* spans */
};

struct shutdown_conf {
	uint64_t delay_ns, drain_ns;
	struct place at;
};

/* Who may send a call there: anyone, the client alone, another route, another route that names it. */
enum match_from { FROM_ANY, FROM_CLIENT, FROM_ROUTE, FROM_NAME };

struct match_conf {
	struct conf_list hosts; /* of const char *; as route.h says; no port */
	const char *path;       /* "/x" exact, "/x/(star)" prefix, "~ ..." pattern; NULL: any */
	struct place hosts_at, path_at;
	struct conf_list methods; /* of const char * */
	struct conf_list when;    /* of struct when_conf */
	int from;                 /* enum match_from */
};

/* condition.h */
struct when_conf {
	struct conf_name name;
	struct conf_list values; /* of const char * */
	struct place at;
};

struct timeout_conf {
	uint64_t total_ns, idle_ns, first_byte_ns; /* 0: none */
};

/* A header field to set, or to add. */
struct set_conf {
	struct conf_name name; /* field name */
	const char *value;     /* may be secret */
	struct place at;
	bool literal; /* the value came from a file: no template */
};

enum edit_when { EDIT_ALL, EDIT_SUCCESS };

/* A text that may be a template. */
struct text_conf {
	const char *text; /* NULL: none */
	struct place at;
	bool literal;
};

/* values.h: an entry of a map, or a share of a split. */
struct value_choice_conf {
	struct conf_list match; /* of const char * */
	struct place match_at;
	uint32_t share; /* parts per million */
	struct text_conf value;
};

enum value_by { VALUE_BY_TEXT, VALUE_BY_ADDRESS };

struct value_conf {
	struct conf_name name;
	struct place at;
	struct text_conf of, dflt;
	struct conf_list map, split; /* of struct value_choice_conf */
	struct client_ip_conf forwarded; /* by address: who may tell another than `of` is */
	int by;                      /* enum value_by */
	bool caseless;
};

/* A part of a header field's value, and what takes its place. */
struct replace_conf {
	struct conf_name name; /* field name */
	const char *pattern;
	struct place pattern_at;
	struct text_conf with;
};

/* What becomes of the header fields of answers. */
struct edit_conf {
	struct conf_list set, add; /* of struct set_conf */
	struct conf_list replace;  /* of struct replace_conf */
	struct conf_list remove;   /* of const char * */
	struct place remove_at;
	int when; /* enum edit_when */
};

enum links { LINKS_BELOW, LINKS_ANYWHERE };

/* The media type of an extension. */
struct type_conf {
	struct conf_name name;
	const char *type;
};

/* The route's own answer. */
struct respond_conf {
	bool present;
	struct place at;
	uint32_t status; /* 0: close */
	struct text_conf body, location;
	const char *content_type;
	struct conf_list headers; /* of struct set_conf */
	const char *tell;         /* of events; NULL: nothing */
	bool close;
	const char *file, *files; /* NULL: none */
	struct place files_at;    /* of either */
	struct conf_list index, try; /* of const char * */
	struct place try_at;
	const char *otherwise; /* NULL: 404 */
	struct conf_list types; /* of struct type_conf; none: the configuration's */
	int links;              /* enum links */
	int since;              /* enum since_rule */
};

/* An access log of lines of text. */
struct text_log_conf {
	struct conf_name name;
	const char *path; /* or "stdout", "stderr" */
	struct place path_at;
	struct text_conf format;
	int escape;            /* enum log_escape */
	struct conf_list when; /* of struct when_conf */
};

/* A log of what befell calls. */
struct event_log_conf {
	struct conf_name name;
	const char *path; /* or "stdout", "stderr" */
	struct place path_at;
	int level;         /* enum event_level */
	const char *label; /* NULL: the route's name */
};

/* At what level limits tell of refusals: enum event_level. */
struct log_level_conf {
	int rate, concurrency;
};

enum page_of { PAGE_ALL, PAGE_UPSTREAM, PAGE_WEIR };

/* What errors are answered in place of what they would be. */
struct page_conf {
	struct conf_list when;       /* of const char *: "404", "5xx" */
	int from;                    /* enum page_of */
	struct respond_conf respond; /* status 0: the error's own */
	/* or what another route answers: */
	const char *route; /* NULL: the one that takes the path */
	struct place route_at;
	struct text_conf path;
};

/* The path that goes upstream. */
struct rewrite_conf {
	bool present;
	struct place at;
	const char *prefix, *pattern, *method;
	struct place prefix_at, pattern_at;
	struct text_conf path, query;
};

/* What is asked for instead. */
struct reroute_conf {
	bool present;
	struct place at;
	struct text_conf path, query;
};

enum dialect { DIALECT_AUTO, DIALECT_OPENAI, DIALECT_ANTHROPIC, DIALECT_GEMINI, DIALECT_PROBLEM };

struct route_conf {
	const char *name; /* made from the path when not given: unique */
	struct place at;
	struct match_conf match;
	const char *to; /* NULL: respond */
	struct place to_at;
	struct respond_conf respond;
	struct reroute_conf reroute;
	const char *fallback; /* NULL: none */
	struct place fallback_at;
	struct conf_list use; /* of struct use_conf */
	struct conf_list auth; /* of const char *, auth_names; none: as the policies' keys want it */
	struct place auth_at;
	struct timeout_conf timeout;
	uint64_t max_body;
	uint64_t await_body; /* bytes; 0: it is passed on as it comes */
	struct conf_list set; /* of struct set_conf */
	struct rewrite_conf rewrite;
	struct text_conf host;     /* "client", "upstream", or the text itself */
	struct text_conf body;     /* in place of the request's; NULL: its own, "": none */
	struct conf_list response; /* of struct edit_conf; none: the configuration's */
	struct conf_list errors;   /* of struct page_conf; the same */
	struct conf_list log;      /* of const char *: names of logs; the same */
	struct place log_at;
	struct log_level_conf log_level;
	int dialect;
	bool upgrade; /* Upgrade (WebSocket) is tunnelled */
	bool forwarded; /* the upstream is told who calls, and both sides of us (Via) */
	bool client_fields; /* of the head; false: none but those that are set */
};

struct use_conf {
	const char *name;
	struct place at;
};

struct config {
	uint32_t version;
	struct conf_list include; /* always empty: the reader has put the files together */
	struct conf_list accept;  /* of const char *: codes of warnings that are meant */
	const char *pid_file; /* NULL: none */
	uint32_t workers; /* 0: auto */
	struct place pid_file_at, workers_at;
	struct conf_list listen;    /* of struct listen_conf */
	struct client_ip_conf client_ip;
	struct limits_conf limits;
	struct memory_conf memory;
	struct admin_conf admin;
	struct probes_conf probes;
	struct log_conf log;
	struct shutdown_conf shutdown;
	struct tracing_conf tracing;
	struct auth_conf auth;
	struct redis_conf redis; /* n_places 0: none */
	struct conf_list values; /* of struct value_conf */
	struct conf_list upstreams; /* of struct cluster_conf */
	struct conf_list policies;  /* of struct conf_variant: filters/registry.h */
	struct conf_list routes;    /* of struct route_conf */
	struct conf_list response;  /* of struct edit_conf: of routes that have none */
	struct conf_list errors;    /* of struct page_conf: the same */
	struct conf_list types;     /* of struct type_conf: the same; none: the built-in ones */
	const struct conf_secrets *secrets;
};

extern const struct schema config_schema;
extern const struct schema client_ip_schema;
/* config_value.c */
extern const struct schema value_schema;
/* config_route.c */
extern const struct schema route_schema, when_schema;
/* config_answer.c */
extern const struct schema edit_schema, page_schema, type_schema;
/* config_log.c */
extern const struct schema text_log_schema, event_log_schema, log_level_schema;
/* config_tracing.c */
extern const struct schema tracing_schema;
#define PAGE_DOC                                                                              \
	"What errors are answered in place of what the upstream, or Weir, says of them: one " \
	"page, "                                                                              \
	"or a list of them, of which the first that names the status counts. "
#define EDIT_DOC                                                                                \
	"Header fields of answers that go to the client, the last thing that becomes of them: " \
	"one "                                                                                  \
	"edit, or a list of them, in order. "

/* Reads, fills and checks a file as far as one can without opening anything.  NULL after errors; findings go to diags
 * either way.  All memory is the arena's. */
struct config *config_load(const char *path, struct arena *, struct diags *);
/* The same for text without includes; `name` stands for the file. */
struct config *config_load_text(const char *name, struct slice text, struct arena *, struct diags *);
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
