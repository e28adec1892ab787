/* forward.c - what Weir tells the upstream of the client.
 *
 * Every call comes by here, so the head is walked once (survey), values are written by hand into
 * the arena, and a field that is there already is changed in its place. */
#include "core/forward.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>

#include "base/check.h"
#include "base/log.h"
#include "base/put.h"
#include "core/client_ip.h"
#include "core/trace.h"
#include "http/scan.h"

/*---------------------------------------------------------------- random numbers */

static uint64_t rotl(uint64_t x, int k)
{
	return (x << k) | (x >> (64 - k));
}

static uint64_t next_random(struct forward_worker *w)
{
	uint64_t *s = w->s, result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = rotl(s[3], 45);
	return result;
}

void forward_worker_init(struct forward_worker *w)
{
	CHECK(getrandom(w->s, sizeof(w->s), 0) == (ssize_t)sizeof(w->s));
}

/* splitmix64, as the authors of xoshiro advise. */
void forward_worker_seed(struct forward_worker *w, uint64_t seed)
{
	for (int i = 0; i < 4; i++) {
		uint64_t z = seed += UINT64_C(0x9e3779b97f4a7c15);

		z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
		w->s[i] = z ^ (z >> 31);
	}
}

void forward_random(struct forward_worker *w, uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i += sizeof(uint64_t)) {
		uint64_t v = next_random(w);

		memcpy(p + i, &v, n - i < sizeof(v) ? n - i : sizeof(v));
	}
}

/*---------------------------------------------------------------- text */

static const char hex_digits[] = "0123456789abcdef";

static char *put_byte(char *at, unsigned v)
{
	if (v >= 100)
		*at++ = (char)('0' + v / 100);
	if (v >= 10)
		*at++ = (char)('0' + v / 10 % 10);
	*at++ = (char)('0' + v % 10);
	return at;
}

static char *put_v4(char *at, const uint8_t b[4])
{
	for (int i = 0; i < 4; i++) {
		if (i > 0)
			*at++ = '.';
		at = put_byte(at, b[i]);
	}
	return at;
}

static unsigned group(const struct ip *ip, int i)
{
	return (unsigned)ip->b[2 * i] << 8 | ip->b[2 * i + 1];
}

/* The longest run of two or more zero groups, the first of several (RFC 5952 section 4.2). */
static int longest_zeros(const struct ip *ip, int *length)
{
	int best = -1, best_n = 1;

	for (int i = 0; i < 8; i++) {
		int n = 0;

		while (i + n < 8 && group(ip, i + n) == 0)
			n++;
		if (n > best_n) {
			best = i;
			best_n = n;
		}
		i += n;
	}
	*length = best < 0 ? 0 : best_n;
	return best;
}

static char *put_group(char *at, unsigned v)
{
	int shift = 12;

	while (shift > 0 && v >> shift == 0)
		shift -= 4;
	for (; shift >= 0; shift -= 4)
		*at++ = hex_digits[v >> shift & 15];
	return at;
}

static char *put_v6(char *at, const struct ip *ip)
{
	int skip_n, skip = longest_zeros(ip, &skip_n);

	for (int i = 0; i < 8; i++) {
		if (i == skip) {
			at = PUT_LIT(at, "::");
			i += skip_n - 1;
			continue;
		}
		if (i > 0 && i != skip + skip_n)
			*at++ = ':';
		at = put_group(at, group(ip, i));
	}
	return at;
}

/* At most IP_TEXT_MAX bytes. */
static char *put_ip(char *at, const struct ip *ip)
{
	return ip_is_v4(ip) ? put_v4(at, ip->b + 12) : put_v6(at, ip);
}

/*---------------------------------------------------------------- the head */

/* The fields this file is about, by small numbers. */
enum slot { NO_SLOT, XFF, PROTO, FOR_HOST, FORWARDED, REAL_IP, REQUEST_ID, TRACE, SLOTS };

static const uint8_t slot_of[FIELD_COUNT] = {
	[F_X_FORWARDED_FOR] = XFF, [F_X_FORWARDED_PROTO] = PROTO, [F_X_FORWARDED_HOST] = FOR_HOST,
	[F_FORWARDED] = FORWARDED, [F_X_REAL_IP] = REAL_IP,       [F_X_REQUEST_ID] = REQUEST_ID,
	[F_TRACEPARENT] = TRACE,
};

static const uint8_t id_of[SLOTS] = {
	[XFF] = F_X_FORWARDED_FOR, [PROTO] = F_X_FORWARDED_PROTO, [FOR_HOST] = F_X_FORWARDED_HOST,
	[FORWARDED] = F_FORWARDED, [REAL_IP] = F_X_REAL_IP,       [REQUEST_ID] = F_X_REQUEST_ID,
	[TRACE] = F_TRACEPARENT,
};

static const struct slice x_forwarded = SLICE("x-forwarded-"), tracestate = SLICE("tracestate");

/* What the head holds before anything is changed. */
struct survey {
	struct head *head;
	struct forward_context *fc;
	bool trusted;
	bool x_forwarded; /* there are X-Forwarded-* fields that have no slot, or Client-Cert */
	bool tracestate;
	uint16_t first[SLOTS], count[SLOTS]; /* the first one's place, and how many there are */
	struct ip peer;                      /* all zero: a unix socket */
	struct slice peer_text;              /* p == NULL: it has none */
};

static bool is_x_forwarded(struct slice name)
{
	return name.n > x_forwarded.n && slice_ieq(slice_of(name.p, x_forwarded.n), x_forwarded);
}

/* A certificate that a peer says its client has shown (RFC 9440). */
static bool is_client_cert(struct slice name)
{
	static const struct slice cert = SLICE("client-cert"), chain = SLICE("client-cert-chain");

	return slice_ieq(name, cert) || slice_ieq(name, chain);
}

/* CGI and what descends from it take X_Forwarded_For for X-Forwarded-For, and so on for every field
 * that only Weir may speak in. */
static bool is_alias(struct slice name)
{
	char text[32];
	enum field_id id;

	if (name.n > sizeof(text) || memchr(name.p, '_', name.n) == NULL)
		return false;
	for (size_t i = 0; i < name.n; i++)
		text[i] = name.p[i] == '_' ? '-' : name.p[i];
	id = field_lookup(slice_of(text, name.n));
	return slot_of[id] != NO_SLOT || (field_flags[id] & FIELD_HOP) || id == F_HOST ||
	       id == F_CONTENT_LENGTH || id == F_TRANSFER_ENCODING ||
	       is_x_forwarded(slice_of(text, name.n)) || is_client_cert(slice_of(text, name.n));
}

static void survey_other(struct survey *s, struct header *f)
{
	if (is_x_forwarded(f->name) || is_client_cert(f->name))
		s->x_forwarded = true;
	else if (slice_ieq(f->name, tracestate))
		s->tracestate = true;
	else if (is_alias(f->name))
		f->id = F_REMOVED;
}

static void survey_head(struct survey *s)
{
	struct head *h = s->head;

	for (uint16_t i = 0; i < h->n; i++) {
		struct header *f = &h->fields[i];
		uint8_t slot = slot_of[f->id];

		if (f->id == F_OTHER)
			survey_other(s, f);
		else if (slot != NO_SLOT && s->count[slot]++ == 0)
			s->first[slot] = i;
	}
}

/* p == NULL: memory is out. */
static struct slice ip_text(struct arena *arena, const struct ip *ip)
{
	char *text = arena_alloc(arena, IP_TEXT_MAX);

	return slice_of(text, text == NULL ? 0 : (size_t)(put_ip(text, ip) - text));
}

/* Three fields say it; it is written once. */
static bool survey_peer(struct survey *s)
{
	if (s->fc->peer->u.sa.sa_family == AF_UNIX)
		return true;
	s->peer = addr_ip(s->fc->peer);
	s->peer_text = ip_text(s->fc->arena, &s->peer);
	return s->peer_text.p != NULL;
}

static struct slice slot_value(const struct survey *s, enum slot slot)
{
	return s->head->fields[s->first[slot]].value;
}

/* Leaves one field with this value; value.p == NULL leaves none. */
static bool set_slot(struct survey *s, enum slot slot, struct slice value)
{
	struct head *h = s->head;

	if (value.p == NULL || s->count[slot] > 1)
		head_remove(h, id_of[slot]);
	if (value.p == NULL)
		return true;
	if (s->count[slot] != 1)
		return head_add(h, id_of[slot], value);
	h->fields[s->first[slot]].value = value;
	return true;
}

/* All values of a slot as one list, with room for `more` bytes behind it.  *at is where they go. */
static char *begin_list(struct survey *s, enum slot slot, size_t more, char **at)
{
	const struct head *h = s->head;
	size_t bytes = more;
	char *list;

	if (s->trusted && s->count[slot] > 0)
		for (uint16_t i = 0; i < h->n; i++)
			bytes += h->fields[i].id == id_of[slot] ? h->fields[i].value.n + 2 : 0;
	list = *at = arena_alloc(s->fc->arena, bytes);
	if (list == NULL || bytes == more)
		return list;
	for (uint16_t i = 0; i < h->n; i++) {
		const struct header *f = &h->fields[i];

		if (f->id != id_of[slot] || f->value.n == 0)
			continue;
		*at = PUT_LIT(put_slice(*at, f->value), ", ");
	}
	return list;
}

static struct slice end_list(const char *list, const char *at)
{
	return slice_of(list, (size_t)(at - list));
}

/*---------------------------------------------------------------- the fields */

static bool set_forwarded_for(struct survey *s)
{
	char *at, *list;

	if (s->peer_text.p == NULL)
		return s->trusted || set_slot(s, XFF, slice_of(NULL, 0));
	list = begin_list(s, XFF, IP_TEXT_MAX, &at);
	if (list == NULL)
		return false;
	at = put_slice(at, s->peer_text);
	return set_slot(s, XFF, end_list(list, at));
}

/* A trusted peer's word, else ours. */
static bool set_claim(struct survey *s, enum slot slot, struct slice ours)
{
	if (s->trusted && s->count[slot] == 1 && slot_value(s, slot).n > 0)
		return true;
	return set_slot(s, slot, ours.n > 0 ? ours : slice_of(NULL, 0));
}

static bool is_token(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!char_is(s.p[i], CH_TOKEN))
			return false;
	return s.n > 0;
}

/* A token, or a quoted-string (RFC 9110 section 5.6.4); at most 2 n + 2 bytes. */
static char *put_value(char *at, struct slice s)
{
	if (is_token(s))
		return put_slice(at, s);
	*at++ = '"';
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '"' || s.p[i] == '\\')
			*at++ = '\\';
		*at++ = s.p[i];
	}
	*at++ = '"';
	return at;
}

static char *put_node(char *at, const struct survey *s)
{
	if (s->peer_text.p == NULL)
		return PUT_LIT(at, "unknown");
	if (ip_is_v4(&s->peer))
		return put_slice(at, s->peer_text);
	return PUT_LIT(put_slice(PUT_LIT(at, "\"["), s->peer_text), "]\"");
}

static bool set_forwarded(struct survey *s)
{
	struct slice host = s->head->authority, scheme = s->fc->scheme;
	size_t more = sizeof("for=\"[]\";host=;proto=") + IP_TEXT_MAX + 2 * host.n + 2 + scheme.n;
	char *at, *list = begin_list(s, FORWARDED, more, &at);

	if (list == NULL)
		return false;
	at = put_node(PUT_LIT(at, "for="), s);
	if (host.n > 0)
		at = put_value(PUT_LIT(at, ";host="), host);
	at = put_slice(PUT_LIT(at, ";proto="), scheme);
	return set_slot(s, FORWARDED, end_list(list, at));
}

static bool set_real_ip(struct survey *s)
{
	static const struct ip none;
	struct slice text = s->peer_text;
	struct ip ip;

	if (!s->trusted)
		return set_slot(s, REAL_IP, text);
	ip = client_ip_find(s->fc->conf, s->fc->peer, s->head);
	if (memcmp(&ip, &none, sizeof(ip)) == 0)
		return set_slot(s, REAL_IP, slice_of(NULL, 0));
	text = ip_text(s->fc->arena, &ip);
	return text.p != NULL && set_slot(s, REAL_IP, text);
}

static bool add_via(struct survey *s)
{
	return head_add(s->head, F_VIA, head_via(s->head));
}

static bool is_request_id(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (s.p[i] <= ' ' || s.p[i] >= 0x7F) /* negative ones, too, are not ASCII */
			return false;
	return s.n >= 1 && s.n <= 128;
}

static bool set_request_id(struct survey *s)
{
	struct forward_context *fc = s->fc;
	char *text;

	if (s->count[REQUEST_ID] == 1 && is_request_id(slot_value(s, REQUEST_ID))) {
		fc->request_id = slot_value(s, REQUEST_ID);
		return true;
	}
	text = arena_alloc(fc->arena, 32);
	if (text == NULL)
		return false;
	put_hex64(put_hex64(text, next_random(fc->worker)), next_random(fc->worker));
	fc->request_id = slice_of(text, 32);
	return set_slot(s, REQUEST_ID, fc->request_id);
}

/*---------------------------------------------------------------- traceparent */

static uint64_t random_id(struct forward_worker *w)
{
	uint64_t id = next_random(w);

	return id != 0 ? id : 1;
}

/* The head says what the trace does. */
static bool set_traced(struct survey *s, struct call_trace *t)
{
	s->fc->trace = t;
	s->fc->trace_id = slice_of(t->text + TRACE_ID_AT, TRACE_ID_BYTES);
	return set_slot(s, TRACE, slice_of(t->text, TRACEPARENT_BYTES));
}

/* Its fields joined as if they were one (section 3.3.1); n 0: empty, or too much of it. */
static struct slice whole_tracestate(const struct survey *s)
{
	char *text = arena_alloc(s->fc->arena, TRACESTATE_BYTES), *at = text;

	for (uint16_t i = 0; text != NULL && i < s->head->n; i++) {
		const struct header *f = &s->head->fields[i];

		if (f->id != F_OTHER || !slice_ieq(f->name, tracestate) || f->value.n == 0)
			continue;
		if ((size_t)(at - text) + (at != text) + f->value.n > TRACESTATE_BYTES)
			return slice_of(NULL, 0);
		if (at != text)
			*at++ = ',';
		at = put_text(at, f->value.p, f->value.n);
	}
	return slice_of(text, text == NULL ? 0 : (size_t)(at - text));
}

/* `parent` NULL: it begins here. */
static struct call_trace *trace_new(struct survey *s, const char *id,
				    const struct traceparent *parent)
{
	struct forward_context *fc = s->fc;
	struct call_trace *t = arena_zalloc(fc->arena, sizeof(*t));

	if (t == NULL)
		return NULL;
	t->span_id = random_id(fc->worker);
	t->scheme = fc->scheme;
	t->flags = TRACE_SAMPLED;
	if (parent != NULL) {
		t->flags |= parent->flags & TRACE_RANDOM;
		t->parent_id = parent->parent_id;
		t->state = s->tracestate ? whole_tracestate(s) : t->state;
	}
	traceparent_write(t->text, id, t->span_id, t->flags);
	return t;
}

static bool trace_on(struct survey *s, const char *id, const struct traceparent *parent)
{
	struct call_trace *t = trace_new(s, id, parent);

	return t != NULL && set_traced(s, t);
}

/* A tracestate without its traceparent means nothing. */
static bool begin_trace(struct survey *s)
{
	struct forward_context *fc = s->fc;
	uint64_t last;
	char *text, *at;

	if (s->tracestate)
		head_remove_name(s->head, tracestate);
	text = arena_alloc(fc->arena, TRACEPARENT_BYTES);
	if (text == NULL)
		return false;
	at = put_hex64(PUT_LIT(text, "00-"), random_id(fc->worker));
	last = next_random(fc->worker);
	at = PUT_LIT(put_hex64(at, last), "-");
	(void)PUT_LIT(put_hex64(at, random_id(fc->worker)), "-00");
	if (fc->tracing != NULL && traceparent_is_chosen(fc->tracing->ratio, last))
		return trace_on(s, text + TRACE_ID_AT, NULL);
	fc->trace_id = slice_of(text + TRACE_ID_AT, TRACE_ID_BYTES);
	return set_slot(s, TRACE, slice_of(text, TRACEPARENT_BYTES));
}

/* Several are as bad as none (section 4.2).  What is not recorded is passed on as it came. */
static bool set_traceparent(struct survey *s)
{
	struct forward_context *fc = s->fc;
	struct traceparent parent;

	if (fc->trace != NULL) /* a page for an error takes its place */
		return set_traced(s, fc->trace);
	if (s->count[TRACE] != 1 || !traceparent_parse(slot_value(s, TRACE), &parent))
		return begin_trace(s);
	if (fc->tracing != NULL && (parent.flags & TRACE_SAMPLED))
		return trace_on(s, parent.trace_id.p, &parent);
	fc->trace_id = parent.trace_id;
	return true;
}

/*---------------------------------------------------------------- how far */

enum { HOPS_DIGITS = 9 };

bool forward_count_hop(struct head *h)
{
	static const struct slice name = SLICE("Max-Forwards");
	const struct header *f = head_find_name(h, name);
	unsigned long left = 0;
	char *text;

	if (f == NULL || f->value.n == 0 || f->value.n > HOPS_DIGITS)
		return true;
	for (size_t i = 0; i < f->value.n; i++) {
		if (!char_is(f->value.p[i], CH_DIGIT))
			return true;
		left = left * 10 + (unsigned long)(f->value.p[i] - '0');
	}
	if (left == 0)
		return false;
	text = arena_printf(h->arena, "%lu", left - 1);
	if (text != NULL)
		(void)head_set_name(h, name, slice_str(text));
	return true;
}

/*---------------------------------------------------------------- all of it */

/* X-Forwarded-Port, -Prefix, -Ssl, ..., Client-Cert: Weir has nothing to put in their place. */
static void remove_x_forwarded(struct survey *s)
{
	struct head *h = s->head;

	for (uint16_t i = 0; i < h->n; i++) {
		struct header *f = &h->fields[i];

		if (f->id == F_OTHER && (is_x_forwarded(f->name) || is_client_cert(f->name)))
			f->id = F_REMOVED;
	}
}

void forward_sift_trailers(struct head *h)
{
	for (uint16_t i = 0; i < h->n; i++) {
		struct header *f = &h->fields[i];

		if (f->id == F_OTHER &&
		    (is_x_forwarded(f->name) || is_client_cert(f->name) || is_alias(f->name)))
			f->id = F_REMOVED;
	}
}

/* Most likely there is a load balancer in front and all of its clients share one limit. */
static void warn_of_no_trust(const struct survey *s)
{
	static _Atomic bool warned;
	char text[ADDR_TEXT_MAX];

	if (s->fc->conf->trust.n > 0 || s->count[XFF] + s->count[FORWARDED] == 0 ||
	    atomic_load_explicit(&warned, memory_order_relaxed) || atomic_exchange(&warned, true))
		return;
	addr_format(s->fc->peer, text);
	log_warn("client_ip: forwarded-for seen (from %s) but nobody trusted: limits count its "
		 "sender as the client; if that is a load balancer, put its network in "
		 "client_ip.trust",
		 text);
}

bool forward_identify(struct head *head, struct forward_context *fc)
{
	struct survey s = { .head = head, .fc = fc };

	survey_head(&s);
	return set_request_id(&s) && set_traceparent(&s);
}

/* Ids that the head does not carry are made for the log alone. */
bool forward_take_note(struct head *head, struct forward_context *fc)
{
	struct head copy = *head;

	copy.fields = arena_alloc(fc->arena, (head->n + 2u) * sizeof(*copy.fields));
	if (copy.fields == NULL)
		return false;
	memcpy(copy.fields, head->fields, head->n * sizeof(*copy.fields));
	copy.cap = (uint16_t)(head->n + 2);
	return forward_identify(&copy, fc);
}

bool forward_prepare(struct head *head, struct forward_context *fc)
{
	struct survey s = { .head = head,
			    .fc = fc,
			    .trusted = client_ip_trusted(fc->conf, fc->peer) };

	if (!survey_peer(&s))
		return false;
	survey_head(&s);
	if (!s.trusted)
		warn_of_no_trust(&s);
	if (!s.trusted && s.x_forwarded)
		remove_x_forwarded(&s);
	/* X-Real-IP first: it reads what the others change */
	return set_real_ip(&s) && set_forwarded_for(&s) && set_claim(&s, PROTO, fc->scheme) &&
	       set_claim(&s, FOR_HOST, head->authority) && set_forwarded(&s) &&
	       set_request_id(&s) && set_traceparent(&s) && add_via(&s);
}
