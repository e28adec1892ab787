/* config.c - the field tables of everything that is neither an upstream nor a policy.
 *
 * A key stands in one table, with its bounds, its default and its sentence for the reference;
 * config_check.c says what tables cannot. */
#include "core/config.h"

#include <string.h>

#include "base/clock.h"
#include "conf/suggest.h"
#include "conf/value.h"
#include "conf/yaml_text.h"
#include "filters/registry.h"
#include "http/scan.h"

#define KIB  UINT64_C(1024)
#define MIB  (1024 * KIB)
#define HOUR (3600 * CLOCK_S)
#define MS   CLOCK_MS

/*---------------------------------------------------------------- listeners */

static const char *const field_names_names[] = { "any", "plain", "underscored", NULL };

static const struct field listen_fields[] = {
	{ .key = "addr",
	  .type = C_ADDR,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct listen_conf, addr),
	  .at = offsetof(struct listen_conf, at),
	  .doc = "Where to accept calls. `:8080` is every IPv4 and IPv6 address of the machine." },
	{ .key = "proxy_protocol",
	  .type = C_BOOL,
	  .offset = offsetof(struct listen_conf, proxy_protocol),
	  .dflt = "false",
	  .doc = "Whether every connection begins with a PROXY protocol header, version 1 or 2." },
	{ .key = "http2",
	  .type = C_BOOL,
	  .offset = offsetof(struct listen_conf, http2),
	  .dflt = "true",
	  .doc = "Whether a connection that begins with HTTP/2's preface is spoken to in HTTP/2." },
	{ .key = "field_names",
	  .type = C_ENUM,
	  .offset = offsetof(struct listen_conf, field_names),
	  .dflt = "any",
	  .names = field_names_names,
	  .doc = "What header fields of requests may be called: `any` name that HTTP allows, `plain` "
		 "(letters, digits and hyphens) or `underscored` (these and underscores). Fields "
		 "with other names are dropped: to applications that read fields as CGI does, "
		 "`X_A` and `X.A` are `X-A`." },
	{ .key = "backlog",
	  .type = C_U32,
	  .offset = offsetof(struct listen_conf, backlog),
	  .dflt = "1024",
	  .min = 1,
	  .max = 65535,
	  .doc = "Connections that the kernel may keep waiting to be accepted." },
	{ .key = "tls",
	  .type = C_LIST,
	  .offset = offsetof(struct listen_conf, tls),
	  .sub = &tls_server_schema,
	  .doc = "Calls come over TLS: one certificate, or a list of them. The first one whose "
		 "names hold the name "
		 "that the client asks for is shown, or the first of all; of two for the same names "
		 "(RSA, ECDSA) the one that it can verify. Not given: plain." },
	{ .key = NULL },
};

static bool check_listen(struct conf_load *l, const struct node *n, void *conf)
{
	const struct listen_conf *listen = conf;

	(void)n;
	return tls_server_check(&listen->tls, l->diags);
}

static const struct schema listen_schema = {
	.name = "listener",
	.size = sizeof(struct listen_conf),
	.fields = listen_fields,
	.scalar = "addr",
	.check = check_listen,
};

static bool check_admin(struct conf_load *l, const struct node *n, void *conf)
{
	struct admin_conf *admin = conf;

	(void)l;
	(void)n;
	admin->present = true;
	return true;
}

static const char *const anonymous_names[] = { "nothing", "read", NULL };

static const struct field admin_fields[] = {
	{ .key = "listen",
	  .type = C_ADDR,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct admin_conf, addr),
	  .at = offsetof(struct admin_conf, at),
	  .doc = "Where the admin interface answers; a loopback address or a unix socket." },
	{ .key = "token",
	  .type = C_STRING,
	  .flags = C_SECRET,
	  .offset = offsetof(struct admin_conf, token),
	  .min = 1,
	  .max = 4096,
	  .doc = "What callers have to show as `Authorization: Bearer ...`." },
	{ .key = "anonymous",
	  .type = C_ENUM,
	  .offset = offsetof(struct admin_conf, anonymous),
	  .names = anonymous_names,
	  .dflt = "nothing",
	  .doc = "What callers may do who do not show the token: `nothing`, or `read` what is there." },
	{ .key = "connections",
	  .type = C_U32,
	  .offset = offsetof(struct admin_conf, connections),
	  .dflt = "64",
	  .min = 1,
	  .max = 10000,
	  .doc = "Connections at once, apart from those of `limits`; beyond it 503." },
	{ .key = "requests",
	  .type = C_U32,
	  .offset = offsetof(struct admin_conf, requests),
	  .dflt = "1000",
	  .min = 1,
	  .max = 1000000,
	  .doc = "Requests in a second; beyond it 429, as calls come first." },
	{ .key = "streams",
	  .type = C_U32,
	  .offset = offsetof(struct admin_conf, streams),
	  .dflt = "8",
	  .min = 0,
	  .max = 1000,
	  .doc = "Callers that may follow `/events` at once, at most all but one of "
		 "`connections`; beyond it 503." },
	{ .key = "events",
	  .type = C_U32,
	  .offset = offsetof(struct admin_conf, events),
	  .dflt = "500",
	  .min = 1,
	  .max = 100000,
	  .doc = "How many events are kept; 256 bytes each." },
	{ .key = "top_keys",
	  .type = C_U32,
	  .offset = offsetof(struct admin_conf, top_keys),
	  .dflt = "32",
	  .min = 0,
	  .max = 1024,
	  .doc = "How many of the keys that are refused most each policy and worker remembers; 0: none." },
	{ .key = NULL },
};

static const struct schema admin_schema = {
	.name = "admin section",
	.size = sizeof(struct admin_conf),
	.fields = admin_fields,
	.scalar = "listen",
	.check = check_admin,
};

static bool check_probes(struct conf_load *l, const struct node *n, void *conf)
{
	struct probes_conf *probes = conf;

	(void)l;
	(void)n;
	probes->present = true;
	return true;
}

static const struct field probes_fields[] = {
	{ .key = "listen",
	  .type = C_ADDR,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct probes_conf, addr),
	  .at = offsetof(struct probes_conf, at),
	  .doc = "Where `/live`, `/ready` and `/metrics` are answered, and nothing else." },
	{ .key = "connections",
	  .type = C_U32,
	  .offset = offsetof(struct probes_conf, connections),
	  .dflt = "64",
	  .min = 1,
	  .max = 10000,
	  .doc = "Connections at once, apart from those of `limits`; beyond it 503." },
	{ .key = "scrapes",
	  .type = C_U32,
	  .offset = offsetof(struct probes_conf, scrapes),
	  .dflt = "1000",
	  .min = 1,
	  .max = 1000000,
	  .doc = "How often `/metrics` is answered in a second; beyond it 429, as calls come first." },
	{ .key = NULL },
};

static const struct schema probes_schema = {
	.name = "probes section",
	.size = sizeof(struct probes_conf),
	.fields = probes_fields,
	.scalar = "listen",
	.check = check_probes,
};

/*------------------------------------------------------------------- limits */

static bool check_limits(struct conf_load *l, const struct node *n, void *conf)
{
	struct limits_conf *limits = conf;
	const struct node *target = node_get(n, "target_bytes");

	if (limits->target_bytes <= limits->header_bytes)
		return true;
	if (target == NULL) {
		limits->target_bytes = limits->header_bytes;
		return true;
	}
	diag_error(l->diags, target->at, "E019",
		   "`target_bytes` is above `header_bytes`, which counts the target too");
	return false;
}

#define FLOOD(id, token, bound)                                                                \
	{ .key = #token,                                                                       \
	  .type = C_U32,                                                                       \
	  .offset = offsetof(struct http2_conf, limits.flood[H2_FLOOD_##id]),                  \
	  .dflt = #bound,                                                                      \
	  .min = 1,                                                                            \
	  .max = 1000000,                                                                      \
	  .doc = FLOOD_DOC_##id },

#define FLOOD_DOC_RESETS                                                                       \
	"Streams that a client resets before their answer, or makes Weir reset, in ten seconds; beyond " \
	"it the connection ends, as with all of the following."
#define FLOOD_DOC_HEAD_FRAMES "CONTINUATION frames of one head, beyond one for each 16 KiB."
#define FLOOD_DOC_SETTINGS    "SETTINGS frames in ten seconds."
#define FLOOD_DOC_PINGS       "PING frames in ten seconds, beyond ten for each DATA frame sent."
#define FLOOD_DOC_EMPTY       "DATA frames without data in ten seconds."
#define FLOOD_DOC_UPDATES     "WINDOW_UPDATE frames in ten seconds, beyond ten for each DATA frame sent."
#define FLOOD_DOC_OTHERS      "Frames in ten seconds that are of no use: PRIORITY, unknown ones, refused ones."

static const struct field http2_fields[] = {
	{ .key = "streams",
	  .type = C_U32,
	  .offset = offsetof(struct http2_conf, limits.streams),
	  .dflt = "100",
	  .min = 1,
	  .max = 10000,
	  .doc = "Streams of one connection at once; those beyond it are refused." },
	{ .key = "stream_window",
	  .type = C_BYTES,
	  .offset = offsetof(struct http2_conf, stream_window),
	  .dflt = "64KiB",
	  .min = KIB,
	  .max = 16 * MIB,
	  .doc = "How much of one body may come before it is wanted." },
	{ .key = "connection_window",
	  .type = C_BYTES,
	  .offset = offsetof(struct http2_conf, conn_window),
	  .dflt = "1MiB",
	  .min = 64 * KIB,
	  .max = 256 * MIB,
	  .doc =
	      "The same of all bodies of a client's connection; at most twice that is kept. An "
	      "upstream's carries the calls of many clients: of each, `stream_window` is kept." },
#include "http/h2_flood.def"
	{ .key = NULL },
};

#undef FLOOD

static const struct schema http2_schema = {
	.name = "http2 section",
	.size = sizeof(struct http2_conf),
	.fields = http2_fields,
};

static const char *const slash_rules[] = {
	[SLASHES_KEEP] = "keep", [SLASHES_REJECT] = "reject", [SLASHES_DECODE] = "decode", NULL
};

static const struct field limits_fields[] = {
	{ .key = "header_bytes",
	  .type = C_BYTES,
	  .offset = offsetof(struct limits_conf, header_bytes),
	  .dflt = "32KiB",
	  .min = KIB,
	  .max = MIB,
	  .doc = "A request or response head, from its first byte to the empty line; beyond it "
		 "431, or "
		 "502 for a response." },
	{ .key = "target_bytes",
	  .type = C_BYTES,
	  .offset = offsetof(struct limits_conf, target_bytes),
	  .dflt = "8KiB",
	  .min = 64,
	  .max = MIB,
	  .doc = "The request target, query and all; beyond it 414. Never above `header_bytes`." },
	{ .key = "headers",
	  .type = C_U32,
	  .offset = offsetof(struct limits_conf, headers),
	  .dflt = "100",
	  .min = 1,
	  .max = 10000,
	  .doc = "Fields in a head; beyond it 431, or 502 for a response." },
	{ .key = "connections",
	  .type = C_U32,
	  .offset = offsetof(struct limits_conf, connections),
	  .dflt = "10000",
	  .min = 1,
	  .max = 1000000,
	  .doc = "Client connections of all listeners together; beyond it 503." },
	{ .key = "handshakes",
	  .type = C_U32,
	  .offset = offsetof(struct limits_conf, handshakes),
	  .dflt = "1000",
	  .min = 1,
	  .max = 1000000,
	  .doc = "TLS handshakes of clients under way, of all listeners together; beyond it "
		 "connections are reset." },
	{ .key = "handshake_timeout",
	  .type = C_DURATION,
	  .offset = offsetof(struct limits_conf, handshake_timeout_ns),
	  .dflt = "10s",
	  .min = MS,
	  .max = 24 * HOUR,
	  .doc = "How long a client's TLS handshake may take; then the connection is reset." },
	{ .key = "header_timeout",
	  .type = C_DURATION,
	  .offset = offsetof(struct limits_conf, header_timeout_ns),
	  .dflt = "10s",
	  .min = MS,
	  .max = 24 * HOUR,
	  .doc = "From the first byte of a request head to its last; beyond it 408." },
	{ .key = "idle_timeout",
	  .type = C_DURATION,
	  .offset = offsetof(struct limits_conf, idle_timeout_ns),
	  .dflt = "60s",
	  .min = MS,
	  .max = 24 * HOUR,
	  .doc = "How long a client connection may wait between calls before it is closed." },
	{ .key = "write_timeout",
	  .type = C_DURATION,
	  .offset = offsetof(struct limits_conf, write_timeout_ns),
	  .dflt = "60s",
	  .min = MS,
	  .max = 24 * HOUR,
	  .doc = "How long a client may take nothing of an answer before it is cut off." },
	{ .key = "awaited",
	  .type = C_BYTES,
	  .offset = offsetof(struct limits_conf, awaited_bytes),
	  .dflt = "256MiB",
	  .min = 64 * KIB,
	  .max = UINT64_C(1) << 40,
	  .doc = "What is held of request bodies that are awaited (`await_body`), all calls of a worker "
		 "together; with so much, with a quarter of the limit of memory in all workers, or where "
		 "that is nearly used up (`memory`), no more is awaited: bodies are passed on as they come." },
	{ .key = "bare_lf",
	  .type = C_BOOL,
	  .offset = offsetof(struct limits_conf, bare_lf),
	  .dflt = "false",
	  .doc = "Heads of HTTP/1, of clients and of upstreams, may have lines that end without CR; they go "
		 "on with it. Else 400, or 502." },
	{ .key = "loose_host",
	  .type = C_BOOL,
	  .offset = offsetof(struct limits_conf, loose_host),
	  .dflt = "false",
	  .doc = "A request of HTTP/1 for an absolute URL may have another Host, which is ignored "
		 "(RFC 9112 section 3.2.2). Else 400." },
	{ .key = "half_close",
	  .type = C_BOOL,
	  .offset = offsetof(struct limits_conf, half_close),
	  .dflt = "true",
	  .doc = "Whether a client of HTTP/1 that has ended its side of the connection may still "
		 "read the answer. False: its call ends as one whose client went away, unless the "
		 "answer has begun or needs no upstream." },
	{ .key = "escaped_slashes",
	  .type = C_ENUM,
	  .offset = offsetof(struct limits_conf, escaped_slashes),
	  .dflt = "keep",
	  .names = slash_rules,
	  .doc = "What `%2F` in a request's path is to routes: no slash, and no file's; 400, as is `%5C`; or "
		 "a slash. Upstreams get it as it came, unless the path is rewritten." },
	{ .key = "http2",
	  .type = C_MAP,
	  .offset = offsetof(struct limits_conf, http2),
	  .sub = &http2_schema,
	  .doc = "Bounds of each HTTP/2 connection." },
	{ .key = NULL },
};

static const struct schema limits_schema = {
	.name = "limits section",
	.size = sizeof(struct limits_conf),
	.fields = limits_fields,
	.check = check_limits,
};

/*------------------------------------------------------------------- memory */

static bool check_memory(struct conf_load *l, const struct node *n, void *conf)
{
	struct memory_conf *m = conf;
	const struct node *resume = node_get(n, "resume_below");

	if (m->resume_below <= m->refuse_above)
		return true;
	if (resume == NULL) {
		m->resume_below = m->refuse_above;
		return true;
	}
	diag_error(l->diags, resume->at, "E019",
		   "`resume_below` is above `refuse_above`: calls would be let in and refused at once");
	return false;
}

static const struct field memory_fields[] = {
	{ .key = "refuse_above",
	  .type = C_SHARE,
	  .offset = offsetof(struct memory_conf, refuse_above),
	  .dflt = "90%",
	  .min = 10000,
	  .max = 1000000,
	  .doc = "Of the cgroup's limit (`memory.high`, else `memory.max`): when more is used, new calls "
		 "and connections are refused with 503 before the kernel kills. Pages of files do not "
		 "count. 100%: never." },
	{ .key = "resume_below",
	  .type = C_SHARE,
	  .offset = offsetof(struct memory_conf, resume_below),
	  .dflt = "80%",
	  .min = 10000,
	  .max = 1000000,
	  .doc = "When less is used again, or for 15 s no more than `refuse_above`, calls are let "
		 "in. Never above `refuse_above`. Where other processes of the cgroup use that much, "
		 "nobody is refused." },
	{ .key = "cgroup",
	  .type = C_STRING,
	  .offset = offsetof(struct memory_conf, cgroup),
	  .at = offsetof(struct memory_conf, cgroup_at),
	  .min = 1,
	  .max = 4000,
	  .doc = "The folder of the cgroup to look at. Not given: the one that the process is in, or "
		 "the nearest around it that has a limit." },
	{ .key = NULL },
};

static const struct schema memory_schema = {
	.name = "memory section",
	.size = sizeof(struct memory_conf),
	.fields = memory_fields,
	.check = check_memory,
};

/*---------------------------------------------------------------------- log */

static const char *const access_names[] = {
	[ACCESS_STDOUT] = "stdout", [ACCESS_STDERR] = "stderr", [ACCESS_NONE] = "none", NULL
};

static const char *const level_names[] = {
	[LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARN] = "warn", [LOG_ERROR] = "error", NULL
};

static const char *suggest_access(struct conf_load *l, const struct node *n)
{
	static const char *const off[] = { "off", "no", "false", NULL };
	const char *name = suggest_among(n->text, access_names);

	for (int i = 0; off[i] != NULL; i++)
		if (slice_ieq(n->text, slice_str(off[i])))
			return access_names[ACCESS_NONE];
	if (name == NULL && !n->secret && memchr(n->text.p, '.', n->text.n) != NULL)
		return arena_printf(l->diags->arena, "./%.*s", SLICE_FMT(n->text));
	return name;
}

/* dst is the member `access`; `access_file` is set along with it. */
static bool parse_access(struct conf_load *l, const struct node *n, void *dst)
{
	struct log_conf *log =
	    (struct log_conf *)(void *)((char *)dst - offsetof(struct log_conf, access));

	if (n->kind != NODE_SCALAR) {
		diag_error(l->diags, n->at, "E014",
			   "`access` is a word or the path of a file, not %s",
			   node_kind_name(n->kind));
		return false;
	}
	for (int i = 0; access_names[i] != NULL; i++) {
		if (slice_is(n->text, access_names[i])) {
			log->access = i;
			return true;
		}
	}
	if (n->text.n == 0 || memchr(n->text.p, '/', n->text.n) == NULL) {
		diag_error(
		    l->diags, n->at, "E015",
		    "`access`: it is stdout, stderr, none or the path of a file, with a `/` in it")
		    ->suggestion = suggest_access(l, n);
		return false;
	}
	log->access = ACCESS_FILE;
	log->access_file = conf_strdup(l, n->text);
	return log->access_file != NULL;
}

static void dump_access(const void *src, struct buf *out)
{
	const struct log_conf *log =
	    (const struct log_conf *)(const void *)((const char *)src -
						    offsetof(struct log_conf, access));

	if (log->access == ACCESS_FILE)
		yaml_put_string(out, slice_str(log->access_file));
	else
		buf_puts(out, access_names[log->access]);
}

static const struct custom_ops access_ops = {
	.parse = parse_access,
	.dump = dump_access,
	.json_schema = "{\"type\":\"string\",\"pattern\":\"^(stdout|stderr|none)$|/|[$][{]\"}",
	.what = "`stdout`, `stderr`, `none` or the path of a file",
};

static bool check_names(struct conf_load *l, const struct node *n, const char *key,
			const struct conf_list *names)
{
	const struct node *list = node_get(n, key);
	const char **name = names->item;
	unsigned before = l->diags->errors;

	for (uint32_t i = 0; i < names->n; i++) {
		char *c = (char *)(uintptr_t)name[i];

		for (; *c != '\0'; c++) {
			if (*c >= 'A' && *c <= 'Z')
				*c = (char)(*c | 0x20);
			if (!((*c >= 'a' && *c <= 'z') || (*c >= '0' && *c <= '9')) &&
			    strchr("!#$%&'*+-.^_`|~", *c) == NULL) {
				diag_error(l->diags, list == NULL ? n->at : node_item(list, i)->at,
					   "E015", "`%s`: `%s` is no name of a header field", key,
					   name[i]);
				break;
			}
		}
	}
	return l->diags->errors == before;
}

static bool check_log(struct conf_load *l, const struct node *n, void *conf)
{
	const struct log_conf *log = conf;
	bool ok = check_names(l, n, "redact", &log->redact);

	return check_names(l, n, "fields", &log->fields) && ok;
}

static const struct field log_fields[] = {
	{ .key = "level",
	  .type = C_ENUM,
	  .offset = offsetof(struct log_conf, level),
	  .at = offsetof(struct log_conf, level_at),
	  .dflt = "info",
	  .names = level_names,
	  .doc = "The least that goes to the error log, which is stderr." },
	{ .key = "access",
	  .type = C_CUSTOM,
	  .offset = offsetof(struct log_conf, access),
	  .dflt = "stdout",
	  .custom = &access_ops,
	  .doc = "Where the access log goes, one JSON object a line; for lines of plain text see "
		 "`text`." },
	{ .key = "redact",
	  .type = C_LIST,
	  .offset = offsetof(struct log_conf, redact),
	  .dflt = "[authorization, proxy-authorization, cookie, set-cookie, x-api-key]",
	  .item = C_STRING,
	  .min = 1,
	  .max = 256,
	  .doc = "Fields whose values the access log never shows." },
	{ .key = "fields",
	  .type = C_LIST,
	  .offset = offsetof(struct log_conf, fields),
	  .at = offsetof(struct log_conf, fields_at),
	  .item = C_STRING,
	  .min = 1,
	  .max = 256,
	  .doc = "Request fields to log with each call." },
	{ .key = "buffer",
	  .type = C_BYTES,
	  .offset = offsetof(struct log_conf, buffer_bytes),
	  .dflt = "256KiB",
	  .min = 4 * KIB,
	  .max = 64 * MIB,
	  .doc = "Lines that may wait to be written, per worker; what finds no room is dropped and "
		 "counted." },
	{ .key = "refusals",
	  .type = C_U32,
	  .offset = offsetof(struct log_conf, refusals_per_second),
	  .dflt = "100",
	  .min = 1,
	  .max = 1000000,
	  .doc = "Lines a second about refused calls; the rest is summed up in one line." },
	{ .key = "text",
	  .type = C_NAMED,
	  .offset = offsetof(struct log_conf, text),
	  .sub = &text_log_schema,
	  .doc = "More access logs, of lines of text, by name. They tell of every call, refusals "
		 "among them." },
	{ .key = "events",
	  .type = C_NAMED,
	  .offset = offsetof(struct log_conf, events),
	  .sub = &event_log_schema,
	  .doc = "Logs of what befell calls, a line of text each, by name: refusals and delays by "
		 "limits, tries that failed, requests that were not understood." },
	{ .key = "use",
	  .type = C_LIST,
	  .flags = C_ONE,
	  .offset = offsetof(struct log_conf, use),
	  .at = offsetof(struct log_conf, use_at),
	  .item = C_STRING,
	  .min = 1,
	  .max = 256,
	  .doc = "The logs of calls whose route says nothing of its own, by name, as in "
		 "`routes.log`. Not given: all of them." },
	{ .key = NULL },
};

static const struct schema log_schema = {
	.name = "log section",
	.size = sizeof(struct log_conf),
	.fields = log_fields,
	.check = check_log,
};

/*----------------------------------------------------------------- shutdown */

static const struct field shutdown_fields[] = {
	{ .key = "delay",
	  .type = C_DURATION,
	  .offset = offsetof(struct shutdown_conf, delay_ns),
	  .dflt = "5s",
	  .max = HOUR,
	  .doc = "How long calls are still accepted after TERM, while `/ready` says 503." },
	{ .key = "drain",
	  .type = C_DURATION,
	  .offset = offsetof(struct shutdown_conf, drain_ns),
	  .dflt = "25s",
	  .max = 24 * HOUR,
	  .doc = "How long calls may take to end after that, before they are cut." },
	{ .key = NULL },
};

static const struct schema shutdown_schema = {
	.name = "shutdown section",
	.size = sizeof(struct shutdown_conf),
	.fields = shutdown_fields,
};

/*--------------------------------------------------------------------- root */

static bool parse_workers(struct conf_load *l, const struct node *n, void *dst)
{
	const char *wrong = n->kind == NODE_SCALAR ? NULL : "it is a number or auto";
	uint32_t *workers = dst;

	*workers = 0;
	if (wrong == NULL && slice_is(n->text, "auto"))
		return true;
	if (wrong == NULL && value_u32(n->text, workers) != NULL)
		wrong = "it is a number or auto";
	if (wrong != NULL) {
		diag_error(l->diags, n->at, "E015", "`workers`: %s", wrong);
		return false;
	}
	if (*workers == 0 || *workers > WORKERS_MAX) {
		diag_error(l->diags, n->at, "E016", "`workers` is between 1 and %d, or auto",
			   WORKERS_MAX);
		return false;
	}
	return true;
}

static void dump_workers(const void *src, struct buf *out)
{
	if (*(const uint32_t *)src == 0)
		buf_puts(out, "auto");
	else
		buf_u64(out, *(const uint32_t *)src);
}

static const struct custom_ops workers_ops = {
	.parse = parse_workers,
	.dump = dump_workers,
	.json_schema = "{\"anyOf\":[{\"type\":\"integer\",\"minimum\":1,\"maximum\":64},"
		       "{\"type\":\"string\",\"pattern\":\"^auto$|^[0-9]+$|[$][{]\"}]}",
	.what = "a number from 1 to 64, or `auto`: one for each processor",
};

/* The warnings of diag.def. */
static const char *const warning_names[] = {
	"W101", "W102", "W103", "W104", "W105", "W106", "W107", "W108", "W109", "W110", "W111", "W112",
	"W113", "W114", "W115", "W201", "W202", "W203", "W204", "W205", "W206", "W207", "W208", "W209",
	"W210", "W211", "W212", "W213", "W214", "W215", "W216", "W217", "W218", "W219", "W220", NULL
};

static const struct field config_fields[] = {
	{ .key = "version",
	  .type = C_U32,
	  .offset = offsetof(struct config, version),
	  .dflt = "1",
	  .min = 1,
	  .max = 1,
	  .doc = "Of this format." },
	{ .key = "include",
	  .type = C_LIST,
	  .offset = offsetof(struct config, include),
	  .item = C_STRING,
	  .doc = "Other files, by path or pattern, seen from this one. Mappings are joined, lists "
		 "appended, in sorted order." },
	{ .key = "workers",
	  .type = C_CUSTOM,
	  .flags = C_RESTART,
	  .offset = offsetof(struct config, workers),
	  .at = offsetof(struct config, workers_at),
	  .dflt = "1",
	  .custom = &workers_ops,
	  .doc = "Threads that serve; limits hold across them." },
	{ .key = "accept",
	  .type = C_LIST,
	  .item = C_STRING,
	  .names = warning_names,
	  .offset = offsetof(struct config, accept),
	  .doc = "Warnings that are meant so, by their codes: none of them is made." },
	{ .key = "pid_file",
	  .type = C_STRING,
	  .flags = C_RESTART,
	  .offset = offsetof(struct config, pid_file),
	  .at = offsetof(struct config, pid_file_at),
	  .min = 1,
	  .max = 4095,
	  .doc = "Where the process number is written, for `weir -s`." },
	{ .key = "listen",
	  .type = C_LIST,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct config, listen),
	  .sub = &listen_schema,
	  .doc = "Where calls are accepted: one address, or a list of addresses or mappings." },
	{ .key = "client_ip",
	  .type = C_MAP,
	  .offset = offsetof(struct config, client_ip),
	  .sub = &client_ip_schema,
	  .doc = "Who may tell the address of the client." },
	{ .key = "limits",
	  .type = C_MAP,
	  .offset = offsetof(struct config, limits),
	  .at = offsetof(struct config, limits.at),
	  .sub = &limits_schema,
	  .doc = "Bounds on what a client may send and hold." },
	{ .key = "memory",
	  .type = C_MAP,
	  .offset = offsetof(struct config, memory),
	  .sub = &memory_schema,
	  .doc = "What happens when the memory that the container or service may use is nearly used up." },
	{ .key = "admin",
	  .type = C_MAP,
	  .offset = offsetof(struct config, admin),
	  .sub = &admin_schema,
	  .doc = "The admin interface; none when it is not given." },
	{ .key = "probes",
	  .type = C_MAP,
	  .offset = offsetof(struct config, probes),
	  .sub = &probes_schema,
	  .doc = "The listener for probes and metrics; none when it is not given." },
	{ .key = "log",
	  .type = C_MAP,
	  .offset = offsetof(struct config, log),
	  .sub = &log_schema,
	  .doc = "The error log and the access log." },
	{ .key = "tracing",
	  .type = C_MAP,
	  .offset = offsetof(struct config, tracing),
	  .at = offsetof(struct config, tracing.at),
	  .sub = &tracing_schema,
	  .doc = "Where spans of calls go: a collector of OpenTelemetry; none when it is not given." },
	{ .key = "shutdown",
	  .type = C_MAP,
	  .offset = offsetof(struct config, shutdown),
	  .at = offsetof(struct config, shutdown.at),
	  .sub = &shutdown_schema,
	  .doc = "What happens between TERM and the end." },
	{ .key = "auth",
	  .type = C_MAP,
	  .offset = offsetof(struct config, auth),
	  .sub = &auth_schema,
	  .doc = "What is believed of who calls: the keys jwt.CLAIM and api_key exist once it was "
		 "verified. A call whose credentials are missing or bad is answered with 401." },
	{ .key = "redis",
	  .type = C_MAP,
	  .flags = C_RESTART,
	  .offset = offsetof(struct config, redis),
	  .at = offsetof(struct config, redis.at),
	  .sub = &redis_schema,
	  .doc = "Where limits with `store: redis` are counted, by all replicas together." },
	{ .key = "values",
	  .type = C_NAMED,
	  .offset = offsetof(struct config, values),
	  .sub = &value_schema,
	  .doc = "Texts that are made of a call, by name: `{value.NAME}` in texts, `value.NAME` as "
		 "a key "
		 "and in `when`. Each may be made of those before it." },
	{ .key = "upstreams",
	  .type = C_NAMED,
	  .offset = offsetof(struct config, upstreams),
	  .sub = &cluster_schema,
	  .doc = "Where calls go, by name." },
	{ .key = "policies",
	  .type = C_NAMED,
	  .offset = offsetof(struct config, policies),
	  .sub = &policy_schema,
	  .doc = "What decides whether a call may pass, by name. The first key of each says what "
		 "it is." },
	{ .key = "routes",
	  .type = C_LIST,
	  .flags = C_REQUIRED,
	  .offset = offsetof(struct config, routes),
	  .sub = &route_schema,
	  .doc = "Which calls go where, under which policies. The first that matches wins." },
	{ .key = "response",
	  .type = C_LIST,
	  .offset = offsetof(struct config, response),
	  .sub = &edit_schema,
	  .doc = EDIT_DOC
	  "Of routes that have no `response` of their own, and of answers to calls that "
	  "no route takes." },
	{ .key = "errors",
	  .type = C_LIST,
	  .offset = offsetof(struct config, errors),
	  .sub = &page_schema,
	  .doc = PAGE_DOC
	  "Behind those of the route; and for calls that no route takes." },
	{ .key = "types",
	  .type = C_NAMED,
	  .offset = offsetof(struct config, types),
	  .sub = &type_schema,
	  .doc =
	      "Media types of files by the ending of their names, in place of the built-in ones, which "
	      "are those of what is usual on the web." },
	{ .key = NULL },
};

const struct schema config_schema = {
	.name = "the configuration",
	.size = sizeof(struct config),
	.fields = config_fields,
	.secrets_at = offsetof(struct config, secrets),
};
