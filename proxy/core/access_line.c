/* access_line.c - formatting by hand: printf would take several times as long as the call's own
 * share of Weir.
 *
 * Nothing here checks for room: each value has its own bound, and the bounds together leave some
 * (see the assertion below). */
#include "core/access_line.h"

#include <string.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/put.h"
#include "conf/utf8.h"

enum {
	PATH_MAX_OUT = 2048,
	NAME_MAX_OUT = 192, /* names from the configuration, ids, the authority */
	AGENT_MAX_OUT = 512,
	HEADERS_MAX_OUT = 2048, /* all logged fields together, keys included */
	HEADER_MAX_OUT = 512,
	NAMES = 11,
	FIXED = 1300, /* keys and numbers, each at its longest */
};

_Static_assert(PATH_MAX_OUT + NAMES * NAME_MAX_OUT + AGENT_MAX_OUT + HEADERS_MAX_OUT + FIXED <=
		   ACCESS_LINE_MAX,
	       "a line fits");

/* In microseconds: nobody's clock is better than that. */
static char *put_seconds(char *at, uint64_t ns)
{
	at = put_u64(at, ns / CLOCK_S);
	*at++ = '.';
	return put_decimals(at, ns % CLOCK_S / 1000, 6);
}

/*---------------------------------------------------------------- strings */

static bool is_plain(unsigned char c)
{
	return c >= 0x20 && c < 0x7F && c != '"' && c != '\\';
}

/* One character that is not plain; *n says how many bytes it took.  At most 6 bytes of output. */
static char *put_odd(char *at, const char *p, size_t left, size_t *n)
{
	static const char short_form[128] = {
		['"'] = '"', ['\\'] = '\\', ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't',
	};
	unsigned char c = (unsigned char)*p;
	uint32_t character;

	*n = 1;
	if (c >= 0x80) {
		size_t len = utf8_decode(p, left, &character);

		if (len == 0)
			return PUT_LIT(at, "\xEF\xBF\xBD"); /* U+FFFD */
		*n = len;
		return put_text(at, p, len);
	}
	*at++ = '\\';
	if (short_form[c] != '\0') {
		*at++ = short_form[c];
		return at;
	}
	at = PUT_LIT(at, "u00");
	*at++ = (char)('0' + (c >> 4));
	*at++ = "0123456789abcdef"[c & 15];
	return at;
}

/* The inside of a JSON string, at most `max` bytes of it. */
static char *put_json(char *at, struct slice s, size_t max)
{
	char *end = at + max - 3; /* room for the dots */

	for (size_t i = 0, n = 1; i < s.n; i += n) {
		if (is_plain((unsigned char)s.p[i])) {
			if (at >= end)
				return PUT_LIT(at, "...");
			*at++ = s.p[i];
			n = 1;
		} else {
			if (at + 6 > end)
				return PUT_LIT(at, "...");
			at = put_odd(at, s.p + i, s.n - i, &n);
		}
	}
	return at;
}

#define STRING(at, key, s, max)                      \
	do {                                         \
		at = PUT_LIT(at, ",\"" key "\":\""); \
		at = put_json(at, s, max);           \
		*at++ = '"';                         \
	} while (0)

#define NUMBER(at, key, v)                         \
	do {                                       \
		at = PUT_LIT(at, ",\"" key "\":"); \
		at = put_u64(at, v);               \
	} while (0)

#define SECONDS(at, key, ns)                       \
	do {                                       \
		at = PUT_LIT(at, ",\"" key "\":"); \
		at = put_seconds(at, ns);          \
	} while (0)

/*---------------------------------------------------------------- groups of fields */

static char *put_time(char *at, struct access_line_clock *clock, uint64_t wall_ns)
{
	uint64_t second = wall_ns / CLOCK_S;

	if (second != clock->second || clock->text[0] == '\0') {
		clock_format(wall_ns, clock->text);
		clock->second = second;
	}
	at = PUT_LIT(at, "{\"timestamp\":\"");
	at = put_text(at, clock->text, 20); /* "2026-01-31T23:59:59." */
	at = put_decimals(at, wall_ns % CLOCK_S / 1000, 6);
	return PUT_LIT(at, "Z\"");
}

static char *put_ip(char *at, const struct ip *ip)
{
	char text[IP_TEXT_MAX];

	if (!ip_is_v4(ip)) {
		ip_format(ip, text);
		return put_text(at, text, strlen(text));
	}
	for (int i = 12; i < 16; i++) {
		at = put_u64(at, ip->b[i]);
		*at++ = '.';
	}
	return at - 1;
}

static bool ip_is_zero(const struct ip *ip)
{
	static const struct ip zero;

	return memcmp(ip, &zero, sizeof(zero)) == 0;
}

static char *put_client(char *at, const struct call_record *r)
{
	at = PUT_LIT(at, ",\"client.address\":\"");
	if (r->client_is_unix && ip_is_zero(&r->client))
		return PUT_LIT(at, "unix\"");
	at = put_ip(at, &r->client);
	*at++ = '"';
	if (r->client_port != 0)
		NUMBER(at, "client.port", r->client_port);
	return at;
}

static char *put_authority(char *at, struct slice authority)
{
	const char *colon = memrchr(authority.p, ':', authority.n);
	struct slice port = { 0 };

	if (colon != NULL &&
	    memchr(colon, ']', authority.n - (size_t)(colon - authority.p)) == NULL) {
		port = slice_of(colon + 1, authority.n - (size_t)(colon - authority.p) - 1);
		authority.n -= port.n + 1;
	}
	if (authority.n >= 2 && authority.p[0] == '[' && authority.p[authority.n - 1] == ']')
		authority = slice_of(authority.p + 1, authority.n - 2);
	STRING(at, "server.address", authority, NAME_MAX_OUT);
	if (port.n == 0 || port.n > 5)
		return at;
	for (size_t i = 0; i < port.n; i++)
		if (port.p[i] < '0' || port.p[i] > '9')
			return at;
	if (port.p[0] == '0') /* no JSON number */
		return at;
	at = PUT_LIT(at, ",\"server.port\":");
	return put_text(at, port.p, port.n);
}

static char *put_method(char *at, const struct head *req)
{
	const struct slice *name = &method_names[req->method_id];

	at = PUT_LIT(at, ",\"http.request.method\":\"");
	at = put_text(at, name->p, name->n);
	*at++ = '"';
	if (req->method_id == METHOD_OTHER && req->method.n > 0)
		STRING(at, "http.request.method_original", req->method, NAME_MAX_OUT);
	return at;
}

/* A malformed head may hold none of these. */
static char *put_request(char *at, const struct access_line_rules *rules, const struct head *req)
{
	const struct header *agent;

	if (req == NULL || req->method.n == 0)
		return at;
	at = put_method(at, req);
	if (req->path.n > 0) {
		STRING(at, "url.path", req->path, PATH_MAX_OUT);
		at = PUT_LIT(at, ",\"network.protocol.version\":\"");
		*at++ = req->h2 ? '2' : '1';
		if (!req->h2) {
			*at++ = '.';
			*at++ = (char)('0' + req->minor % 10);
		}
		*at++ = '"';
	}
	if (req->authority.n > 0)
		at = put_authority(at, req->authority);
	agent = rules->hide_user_agent || req->n == 0 ? NULL : head_find(req, F_USER_AGENT);
	if (agent != NULL)
		STRING(at, "user_agent.original", agent->value, AGENT_MAX_OUT);
	return at;
}

static bool is_named(const struct header *h, const struct access_line_field *f)
{
	return h->id == f->id && (f->id != F_OTHER || slice_ieq(h->name, f->name));
}

/* One of the request fields that the configuration asks for: each of its values, as far as there is
 * room for them. */
static char *put_field(char *at, const char *end, const struct access_line_field *f,
		       const struct head *req)
{
	bool first = true;

	for (unsigned i = 0; i < req->n; i++) {
		size_t before = first ? f->key.n : 3; /* "," between them */

		if (!is_named(&req->fields[i], f))
			continue;
		if ((size_t)(end - at) < before + HEADER_MAX_OUT + 2)
			break;
		at = first ? put_text(at, f->key.p, f->key.n) : PUT_LIT(at, "\",\"");
		first = false;
		if (f->redacted)
			at = PUT_LIT(at, "<redacted>");
		else
			at = put_json(at, req->fields[i].value, HEADER_MAX_OUT);
	}
	return first ? at : PUT_LIT(at, "\"]");
}

static char *put_fields(char *at, const struct access_line_rules *rules, const struct head *req)
{
	const char *end = at + HEADERS_MAX_OUT;

	for (unsigned i = 0; req != NULL && i < rules->n; i++)
		at = put_field(at, end, &rules->field[i], req);
	return at;
}

/* What became of the call, in one word; `reason` says why. */
static struct slice outcome_of(const struct call_record *r)
{
	static const struct slice ok = SLICE("ok"), denied = SLICE("denied"),
				  refused = SLICE("refused"), failed = SLICE("failed"),
				  aborted = SLICE("aborted");

	if (r->denied)
		return denied;
	if (r->why == reason_ok || r->why == reason_responded)
		return ok;
	if (call_record_is_refusal(r))
		return refused;
	return r->why->flags & (R_LOCAL | R_FAILURE) ? failed : aborted;
}

static char *put_outcome(char *at, const struct call_record *r)
{
	SECONDS(at, "duration", r->end_ns > r->start_ns ? r->end_ns - r->start_ns : 0);
	if (r->queued_ns > 0)
		SECONDS(at, "duration.queue", r->queued_ns);
	if (r->upstream_ns > 0)
		SECONDS(at, "duration.upstream", r->upstream_ns);
	STRING(at, "outcome", outcome_of(r), NAME_MAX_OUT);
	STRING(at, "reason", slice_str(r->why->token), NAME_MAX_OUT);
	return at;
}

static char *put_limit(char *at, const struct call_record *r)
{
	if (r->limit.policy != NULL) {
		STRING(at, "policy", slice_str(r->limit.policy), NAME_MAX_OUT);
		at = PUT_LIT(at, ",\"key.hash\":\"");
		at = put_hex64(at, r->limit.key_hash);
		*at++ = '"';
		NUMBER(at, "limit", r->limit.limit);
		NUMBER(at, "remaining", r->limit.remaining);
	}
	if (r->shadow.policy != NULL) {
		STRING(at, "shadow.policy", slice_str(r->shadow.policy), NAME_MAX_OUT);
		at = PUT_LIT(at, ",\"shadow.key.hash\":\"");
		at = put_hex64(at, r->shadow.key_hash);
		*at++ = '"';
	}
	if (r->retry_after_ms == 0)
		return at;
	at = PUT_LIT(at, ",\"retry_after\":");
	at = put_u64(at, r->retry_after_ms / 1000);
	*at++ = '.';
	return put_decimals(at, r->retry_after_ms % 1000, 3);
}

static char *put_upstream(char *at, const struct call_record *r)
{
	if (r->upstream != NULL)
		STRING(at, "upstream", slice_str(r->upstream), NAME_MAX_OUT);
	if (r->endpoint != NULL)
		STRING(at, "upstream.endpoint", slice_str(r->endpoint), NAME_MAX_OUT);
	NUMBER(at, "attempts", r->attempts);
	return at;
}

static char *put_ids(char *at, const struct call_record *r)
{
	if (r->request_id.n > 0)
		STRING(at, "request_id", r->request_id, NAME_MAX_OUT);
	if (r->trace_id.n > 0)
		STRING(at, "trace_id", r->trace_id, NAME_MAX_OUT);
	return at;
}

size_t access_line_format(const struct access_line_rules *rules, struct access_line_clock *clock,
			  const struct call_record *r, char out[ACCESS_LINE_MAX])
{
	char *at = put_time(out, clock, r->start_wall_ns);

	at = put_request(at, rules, r->req);
	if (r->route_name != NULL)
		STRING(at, "http.route", slice_str(r->route_name), NAME_MAX_OUT);
	if (r->status != 0)
		NUMBER(at, "http.response.status_code", r->status);
	if (r->grpc_said)
		NUMBER(at, "rpc.grpc.status_code", r->grpc_code);
	at = put_client(at, r);
	NUMBER(at, "http.request.body.size", r->bytes_in);
	NUMBER(at, "http.response.body.size", r->bytes_out);
	at = put_outcome(at, r);
	at = put_limit(at, r);
	at = put_upstream(at, r);
	at = put_ids(at, r);
	at = put_fields(at, rules, r->req);
	at = PUT_LIT(at, "}\n");
	CHECK(at <= out + ACCESS_LINE_MAX);
	return (size_t)(at - out);
}

/*---------------------------------------------------------------- rules */

static bool list_has(const struct conf_list *list, struct slice name)
{
	const char *const *item = list->item;

	for (uint32_t i = 0; i < list->n; i++)
		if (slice_ieq(slice_str(item[i]), name))
			return true;
	return false;
}

bool access_line_rules_init(struct access_line_rules *rules, const struct log_conf *conf,
			    struct arena *arena)
{
	struct slice agent = SLICE("user-agent");
	const char *const *name = conf->fields.item;

	*rules = (struct access_line_rules){ .hide_user_agent = list_has(&conf->redact, agent) };
	rules->field = arena_zalloc(arena, conf->fields.n * sizeof(*rules->field));
	if (rules->field == NULL)
		return false;
	for (; rules->n < conf->fields.n; rules->n++) {
		struct access_line_field *f = &rules->field[rules->n];
		struct buf key = { 0 };

		f->name = arena_copy(arena, slice_str(name[rules->n]));
		buf_puts(&key, ",\"http.request.header.");
		buf_json(&key, f->name);
		buf_puts(&key, "\":[\"");
		f->key = arena_copy(arena, slice_of(key.p, key.n));
		f->id = (uint8_t)field_lookup(f->name);
		f->redacted = list_has(&conf->redact, f->name);
		if (key.oom)
			f->key.p = NULL;
		buf_fini(&key);
		if (f->name.p == NULL || f->key.p == NULL)
			return false;
	}
	return true;
}
