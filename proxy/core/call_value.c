/* call_value.c - values of templates that an exchange knows: of the connection, of the tries, of
 * the answer.  Each row says from when on.
 *
 * Where there were several tries, values of them are joined by ", " in order; "-" stands for what a
 * try has not. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "core/exchange.h"
#include "core/template_internal.h"

void exchange_values(struct exchange *x, struct template_values *v)
{
	static const struct template_match no_match;
	static const struct head no_head;
	const struct worker_listener *wl = x->conn->owner;

	if (x->call.req == NULL) { /* it was refused before it began */
		x->call.req = x->req != NULL ? x->req : &no_head;
		x->call.arena = &x->arena;
	}
	*v = (struct template_values){
		.call = &x->call,
		.match = x->route != NULL ? &x->route->match : &no_match,
		.came = x->came,
		.scheme = slice_str(x->conn->secure ? "https" : "http"),
		.request_id = x->record.request_id,
		.port = addr_port(&wl->slot->addr),
		.address = wl->slot->text,
		.x = x,
	};
}

static bool put(struct reader *r, struct slice *out, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

static bool put(struct reader *r, struct slice *out, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(r->scratch, sizeof(r->scratch), fmt, ap);
	va_end(ap);
	*out = slice_of(r->scratch, n < 0 ? 0 : (size_t)n);
	return n >= 0 && (size_t)n < sizeof(r->scratch);
}

static bool put_text(struct slice *out, const char *text)
{
	if (text != NULL)
		*out = slice_str(text);
	return text != NULL;
}

static bool put_seconds(struct reader *r, struct slice *out, uint64_t ns)
{
	return put(r, out, "%" PRIu64 ".%03" PRIu64, ns / CLOCK_S, ns % CLOCK_S / CLOCK_MS);
}

/*---------------------------------------------------------------- time */

/* Of one second, for all calls of a thread that end in it. */
struct second {
	uint64_t s;
	char local[40], iso[40];
};

static const struct second *second_of(const struct reader *r)
{
	static _Thread_local struct second now;
	uint64_t s = r->v->x->worker->loop.wall_ns / CLOCK_S;
	time_t t = (time_t)s;
	struct tm tm;
	long east;

	if (now.s == s && now.local[0] != '\0')
		return &now;
	localtime_r(&t, &tm);
	east = tm.tm_gmtoff / 60;
	now.s = s;
	strftime(now.iso, sizeof(now.iso), "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(now.iso + 19, sizeof(now.iso) - 19, "%c%02ld:%02ld", east < 0 ? '-' : '+',
		 labs(east) / 60 % 100, labs(east) % 60);
	strftime(now.local, sizeof(now.local), "%d/%b/%Y:%H:%M:%S %z", &tm);
	return &now;
}

static bool read_time_local(struct reader *r, struct slice *out)
{
	return put_text(out, second_of(r)->local);
}

static bool read_time_iso(struct reader *r, struct slice *out)
{
	return put_text(out, second_of(r)->iso);
}

static bool read_time_epoch(struct reader *r, struct slice *out)
{
	return put_seconds(r, out, r->v->x->worker->loop.wall_ns);
}

/*---------------------------------------------------------------- the connection */

static bool ip_is_zero(const struct ip *ip)
{
	static const struct ip zero;

	return memcmp(ip, &zero, sizeof(zero)) == 0;
}

static bool read_peer_ip(struct reader *r, struct slice *out)
{
	struct ip ip = addr_ip(&r->v->x->conn->peer);

	if (ip_is_zero(&ip))
		return put_text(out, "unix:");
	ip_format(&ip, r->scratch);
	return put_text(out, r->scratch);
}

/* Four of them, or sixteen. */
static bool read_client_bytes(struct reader *r, struct slice *out)
{
	const struct ip *ip = &r->v->call->client;
	size_t from = ip_is_v4(ip) ? 12 : 0;

	*out = slice_of((const char *)ip->b + from, sizeof(ip->b) - from);
	return true;
}

static bool read_peer_port(struct reader *r, struct slice *out)
{
	return put(r, out, "%u", addr_port(&r->v->x->conn->peer));
}

/* Who speaks for another does not say from what port. */
static bool read_client_port(struct reader *r, struct slice *out)
{
	struct ip ip = addr_ip(&r->v->x->conn->peer);

	*out = slice_of("", 0);
	return memcmp(&ip, &r->v->call->client, sizeof(ip)) != 0 || read_peer_port(r, out);
}

static bool read_connection(struct reader *r, struct slice *out)
{
	return put(r, out, "%" PRIu64, r->v->x->conn->serial);
}

static bool read_connection_calls(struct reader *r, struct slice *out)
{
	return put(r, out, "%u", r->v->x->conn->calls);
}

static bool read_pipelined(struct reader *r, struct slice *out)
{
	return put_text(out, r->v->x->pipelined ? "p" : ".");
}

static bool read_local_ip(struct reader *r, struct slice *out)
{
	const struct transport *t = r->v->x->conn->transport;
	struct addr addr;
	struct ip ip;

	if (t == NULL || t->ops->local == NULL || !t->ops->local(t, &addr))
		return false;
	ip = addr_ip(&addr);
	if (ip_is_zero(&ip) && addr.u.sa.sa_family == AF_UNIX)
		addr_format(&addr, r->scratch);
	else
		ip_format(&ip, r->scratch);
	return put_text(out, r->scratch);
}

static bool tls_facts(const struct reader *r, struct tls_facts *f)
{
	const struct conn *c = r->v->x->conn;

	return c->secure && c->transport != NULL && tls_facts_of(c->transport, f);
}

static bool read_tls_protocol(struct reader *r, struct slice *out)
{
	struct tls_facts f;

	return tls_facts(r, &f) && put_text(out, f.protocol);
}

static bool read_tls_cipher(struct reader *r, struct slice *out)
{
	struct tls_facts f;

	return tls_facts(r, &f) && put_text(out, f.cipher);
}

static bool read_tls_server_name(struct reader *r, struct slice *out)
{
	struct tls_facts f;

	return tls_facts(r, &f) && put_text(out, f.server_name);
}

static bool read_tls_resumed(struct reader *r, struct slice *out)
{
	struct tls_facts f;

	return tls_facts(r, &f) && put_text(out, f.resumed ? "r" : ".");
}

/*---------------------------------------------------------------- the process */

static bool read_hostname(struct reader *r, struct slice *out)
{
	if (gethostname(r->scratch, 256) != 0)
		return false;
	for (char *c = r->scratch; *c != '\0'; c++)
		if (*c >= 'A' && *c <= 'Z')
			*c = (char)(*c | 0x20);
	return put_text(out, r->scratch);
}

static bool read_pid(struct reader *r, struct slice *out)
{
	return put(r, out, "%d", (int)getpid());
}

/*---------------------------------------------------------------- the request */

static bool read_protocol(struct reader *r, struct slice *out)
{
	const struct head *req = r->v->call->req;

	if (req->method.n == 0)
		return false;
	return put_text(out, req->h2 ? "HTTP/2.0" : req->minor == 0 ? "HTTP/1.0" : "HTTP/1.1");
}

static bool read_request(struct reader *r, struct slice *out)
{
	const struct head *req = r->v->call->req;
	struct buf b = { .arena = r->v->call->arena };
	struct slice protocol;

	if (!read_protocol(r, &protocol) || req->target.n == 0)
		return false;
	buf_put(&b, req->method.p, req->method.n);
	buf_putc(&b, ' ');
	buf_put(&b, req->target.p, req->target.n);
	buf_putc(&b, ' ');
	buf_put(&b, protocol.p, protocol.n);
	*out = slice_of(b.p, b.n);
	return !b.oom;
}

static int hex_of(char c)
{
	return c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10;
}

/* Of a path in normal form, whose escapes are whole. */
static bool read_path_decoded(struct reader *r, struct slice *out)
{
	struct slice path = r->v->call->path;
	struct buf b = { .arena = r->v->call->arena };

	for (size_t i = 0; i < path.n; i++) {
		bool escape = path.p[i] == '%' && i + 2 < path.n;

		buf_putc(&b, (char)(escape ? hex_of(path.p[i + 1]) << 4 | hex_of(path.p[i + 2])
					   : path.p[i]));
		i += escape ? 2 : 0;
	}
	*out = slice_of(b.p, b.n);
	return !b.oom && b.n > 0;
}

static int sextet_of(char c)
{
	static const char letters[] =
	    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
	const char *at = c == '\0' ? NULL : strchr(letters, c);

	return at == NULL ? -1 : (int)(at - letters);
}

/* The user of Basic credentials (RFC 7617), whoever may have checked them. */
static bool read_user(struct reader *r, struct slice *out)
{
	static const struct slice basic = SLICE("basic ");
	const struct header *h = head_find(r->v->call->req, F_AUTHORIZATION);
	uint32_t bits = 0;
	unsigned n_bits = 0;
	size_t n = 0;

	if (h == NULL || h->value.n <= basic.n || !slice_ieq(slice_of(h->value.p, basic.n), basic))
		return false;
	for (size_t i = basic.n; i < h->value.n && n < sizeof(r->scratch); i++) {
		int six = sextet_of(h->value.p[i]);

		if (six < 0)
			break;
		bits = bits << 6 | (uint32_t)six;
		n_bits += 6;
		if (n_bits < 8)
			continue;
		n_bits -= 8;
		r->scratch[n++] = (char)(bits >> n_bits & 0xff);
		if (r->scratch[n - 1] != ':')
			continue;
		*out = slice_of(r->scratch, n - 1);
		return n > 1;
	}
	return false;
}

static bool read_request_bytes(struct reader *r, struct slice *out)
{
	uint64_t n = r->v->x->in_bytes;

	return n > 0 && put(r, out, "%" PRIu64, n);
}

/*---------------------------------------------------------------- the answer */

/* Of the page that is being made, or of the answer that was.  As logs have it where nothing was answered: 499, the client went
 * away; 444, the route wants it so. */
static uint16_t answer_status(const struct reader *r)
{
	const struct call_record *record = &r->v->x->record;

	if (r->v->status != 0)
		return r->v->status;
	if (record->status != 0 || record->why == NULL)
		return record->status;
	return record->why == reason_dropped ? 444 : record->why == reason_client_abort ? 499 : 0;
}

static bool read_status(struct reader *r, struct slice *out)
{
	return put(r, out, "%03u", answer_status(r));
}

static bool read_phrase(struct reader *r, struct slice *out)
{
	*out = status_phrase(answer_status(r));
	return out->n > 0;
}

static bool read_bytes(struct reader *r, struct slice *out)
{
	return put(r, out, "%" PRIu64, r->v->x->out_bytes);
}

static bool read_body_bytes(struct reader *r, struct slice *out)
{
	const struct exchange *x = r->v->x;

	return put(r, out, "%" PRIu64,
		   x->out_bytes > x->head_bytes ? x->out_bytes - x->head_bytes : 0);
}

static bool read_duration(struct reader *r, struct slice *out)
{
	const struct exchange *x = r->v->x;
	uint64_t now_ns = x->record.end_ns != 0 ? x->record.end_ns : x->worker->loop.now_ns;

	return put_seconds(r, out, now_ns > x->record.start_ns ? now_ns - x->record.start_ns : 0);
}

/* What framing says is none of the fields. */
static bool read_field(struct reader *r, const struct head *h, struct slice *out)
{
	static const struct slice length = SLICE("content-length"), chunked = SLICE("chunked");
	const struct header *f;

	if (h == NULL)
		return false;
	f = head_find_name(h, r->part->text);
	if (f != NULL) {
		*out = f->value;
		return true;
	}
	if (slice_ieq(r->part->text, length))
		return h->body == BODY_LENGTH && put(r, out, "%" PRIu64, h->length);
	if (!slice_ieq(r->part->text, field_names[F_TRANSFER_ENCODING]) || h->body != BODY_CHUNKED)
		return false;
	*out = chunked;
	return true;
}

static bool read_response_field(struct reader *r, struct slice *out)
{
	return read_field(r, r->v->x->resp, out);
}

static const char *const limit_words[] = {
	[LIMIT_PASSED] = "PASSED",     [LIMIT_DELAYED_TRIAL] = "DELAYED_DRY_RUN",
	[LIMIT_DELAYED] = "DELAYED",   [LIMIT_REJECTED_TRIAL] = "REJECTED_DRY_RUN",
	[LIMIT_REJECTED] = "REJECTED",
};

static bool read_limit(struct reader *r, enum limit_family family, struct slice *out)
{
	enum limit_word word = (enum limit_word)r->v->call->out.limited[family];

	return word != LIMIT_UNASKED && put_text(out, limit_words[word]);
}

static bool read_rate_limit(struct reader *r, struct slice *out)
{
	return read_limit(r, FAMILY_RATE, out);
}

static bool read_concurrency_limit(struct reader *r, struct slice *out)
{
	return read_limit(r, FAMILY_CONCURRENCY, out);
}

/*---------------------------------------------------------------- tries */

static bool join(struct reader *r, struct slice *out,
		 bool (*read)(struct reader *, const struct try_note *, struct slice *))
{
	struct buf b = { .arena = r->v->call->arena };

	for (const struct try_note *n = r->v->x->tries; n != NULL; n = n->next) {
		struct slice one = SLICE("-");

		if (!read(r, n, &one))
			one = slice_of("-", 1);
		buf_put(&b, one.p, one.n);
		if (n->next != NULL)
			buf_puts(&b, ", ");
	}
	*out = slice_of(b.p, b.n);
	return b.n > 0 && !b.oom;
}

static bool of_address(struct reader *r, const struct try_note *n, struct slice *out)
{
	(void)r;
	return put_text(out, n->address);
}

static bool of_status(struct reader *r, const struct try_note *n, struct slice *out)
{
	return n->status != 0 && put(r, out, "%u", n->status);
}

static bool of_ns(struct reader *r, uint64_t ns, struct slice *out)
{
	return ns != UINT64_MAX && put_seconds(r, out, ns);
}

static bool of_connect(struct reader *r, const struct try_note *n, struct slice *out)
{
	return of_ns(r, n->connect_ns, out);
}

static bool of_head(struct reader *r, const struct try_note *n, struct slice *out)
{
	return of_ns(r, n->head_ns, out);
}

static bool of_whole(struct reader *r, const struct try_note *n, struct slice *out)
{
	uint64_t ns = n->whole_ns;

	if (ns == UINT64_MAX)
		ns = r->v->x->worker->loop.now_ns - n->start_ns;
	return of_ns(r, ns, out);
}

static bool of_received(struct reader *r, const struct try_note *n, struct slice *out)
{
	return put(r, out, "%" PRIu64, n->in_bytes);
}

static bool of_sent(struct reader *r, const struct try_note *n, struct slice *out)
{
	return put(r, out, "%" PRIu64, n->out_bytes);
}

static bool of_body(struct reader *r, const struct try_note *n, struct slice *out)
{
	return put(r, out, "%" PRIu64, n->body_bytes);
}

#define TRY_READER(name)                                                 \
	static bool read_try_##name(struct reader *r, struct slice *out) \
	{                                                                \
		return join(r, out, of_##name);                          \
	}

TRY_READER(address)
TRY_READER(status)
TRY_READER(connect)
TRY_READER(head)
TRY_READER(whole)
TRY_READER(received)
TRY_READER(sent)
TRY_READER(body)

/* Of the last one. */
static bool read_try_field(struct reader *r, struct slice *out)
{
	const struct try_note *n = r->v->x->last_try;

	return n != NULL && read_field(r, n->head, out);
}

/*---------------------------------------------------------------- the table */

static const struct value_source sources[] = {
	{ "client.bytes", read_client_bytes, false, AT_END },
	{ "client.port", read_client_port, false, AT_REQUEST },
	{ "peer.ip", read_peer_ip, false, AT_REQUEST },
	{ "peer.port", read_peer_port, false, AT_REQUEST },
	{ "connection", read_connection, false, AT_REQUEST },
	{ "connection.calls", read_connection_calls, false, AT_REQUEST },
	{ "connection.pipelined", read_pipelined, false, AT_REQUEST },
	{ "local.ip", read_local_ip, false, AT_REQUEST },
	{ "tls.protocol", read_tls_protocol, false, AT_REQUEST },
	{ "tls.cipher", read_tls_cipher, false, AT_REQUEST },
	{ "tls.server_name", read_tls_server_name, false, AT_REQUEST },
	{ "tls.resumed", read_tls_resumed, false, AT_REQUEST },
	{ "time.local", read_time_local, false, AT_REQUEST },
	{ "time.iso", read_time_iso, false, AT_REQUEST },
	{ "time.epoch", read_time_epoch, false, AT_REQUEST },
	{ "process.host", read_hostname, false, AT_REQUEST },
	{ "process.id", read_pid, false, AT_REQUEST },
	{ "protocol", read_protocol, false, AT_REQUEST },
	{ "request", read_request, false, AT_REQUEST },
	{ "path.decoded", read_path_decoded, false, AT_REQUEST },
	{ "user", read_user, false, AT_REQUEST },
	{ "limit.rate", read_rate_limit, false, AT_ANSWER },
	{ "limit.concurrency", read_concurrency_limit, false, AT_ANSWER },
	{ "upstream.address", read_try_address, false, AT_ANSWER },
	{ "upstream.status", read_try_status, false, AT_ANSWER },
	{ "upstream.connect", read_try_connect, false, AT_ANSWER },
	{ "upstream.first_byte", read_try_head, false, AT_ANSWER },
	{ "upstream.duration", read_try_whole, false, AT_ANSWER },
	{ "upstream.header.", read_try_field, false, AT_ANSWER },
	{ "status", read_status, false, AT_ANSWER },
	{ "phrase", read_phrase, false, AT_ANSWER },
	{ "duration", read_duration, false, AT_ANSWER },
	{ "upstream.received", read_try_received, false, AT_END },
	{ "upstream.sent", read_try_sent, false, AT_END },
	{ "upstream.body", read_try_body, false, AT_END },
	{ "request.bytes", read_request_bytes, false, AT_END },
	{ "response.header.", read_response_field, false, AT_END },
	{ "response.bytes", read_bytes, false, AT_END },
	{ "response.body_bytes", read_body_bytes, false, AT_END },
};

enum { SOURCES = sizeof(sources) / sizeof(sources[0]) };

const struct value_source *call_value_find(struct slice name, struct slice *rest)
{
	for (unsigned i = 0; i < SOURCES; i++) {
		struct slice row = slice_str(sources[i].name);
		bool more = row.p[row.n - 1] == '.';

		if (more ? name.n <= row.n || !slice_starts(name, row) : !slice_eq(name, row))
			continue;
		*rest = slice_of(name.p + row.n, name.n - row.n);
		return &sources[i];
	}
	return NULL;
}

const char *call_value_name(unsigned i)
{
	return i < SOURCES ? sources[i].name : NULL;
}
