/* h1_parse.c - heads of HTTP/1 messages (RFC 9112 sections 2 to 6), as pure functions.
 *
 * Strict: what two readers might read in two ways is refused, never repaired.  One pass for the end
 * of the head (every line end, bare CR and LF, NUL), one for all the rest; nothing is copied,
 * fields lie in one vector. */
#include "base/reason.h"
#include "http/h1.h"
#include "http/message.h"
#include "http/scan.h"

enum {
	LINE_SLACK = 64, /* of a start line beside its target: method, version, spaces, line end */
	LISTED_MAX = 64, /* elements of Connection: each costs a search */
	LENGTH_DIGITS = 19, /* always fits 64 bits */
};

/*---------------------------------------- where a head ends */

int64_t h1_section_end(struct slice in, size_t *seen, size_t max, const struct reason **why)
{
	size_t n = in.n < max ? in.n : max, i = *seen;

	while ((i += scan_line(in.p + i, n - i)) < n) {
		const char *p = in.p + i;

		if (*p != '\r' && *p != '\n' && *p != '\0') {
			i++;
			continue;
		}
		if (*p == '\r' && i + 1 == n)
			break;
		if (*p != '\r' || p[1] != '\n') {
			*seen = i;
			*why = reason_bad_request;
			return -1;
		}
		i += 2;
		if (i == 2 || p[-1] == '\n') {
			*seen = i;
			return (int64_t)i;
		}
	}
	*seen = i;
	if (in.n >= max) {
		*why = reason_head_too_large;
		return -1;
	}
	return 0;
}

int64_t h1_head_end(struct slice in, size_t *seen, const struct codec_limits *limits,
		    const struct reason **why)
{
	size_t line_max = (size_t)limits->target_bytes + LINE_SLACK, before = *seen;
	size_t window = limits->head_bytes < line_max ? limits->head_bytes : line_max;
	int64_t end;

	/* the start line's share first: then the verdict does not depend on how the bytes were cut
	 */
	if (before < window && in.n >= window) {
		end = h1_section_end(slice_of(in.p, window), seen, SIZE_MAX, why);
		if (end != 0)
			return end;
		if (memchr(in.p, '\n', window) == NULL) {
			*why = reason_target_too_long;
			return -1;
		}
	}
	return h1_section_end(in, seen, limits->head_bytes, why);
}

/*---------------------------------------- fields */

/* What the fields said that more than one of them decides. */
struct parse {
	struct head *head;
	uint64_t length;
	struct slice host;
	const struct reason *coding; /* has_coding: what is wrong with it, or NULL */
	uint16_t listed;
	bool is_request, has_host, has_length, has_coding, has_upgrade, expects;
	bool says_close, says_keep_alive, says_upgrade, foreign_upgrade;
};

static const struct reason *note_host(struct parse *p, struct slice value)
{
	if (p->has_host && p->is_request)
		return reason_bad_host;
	p->has_host = true;
	p->host = value;
	return NULL;
}

bool length_parse(struct slice value, uint64_t *length)
{
	uint64_t v = 0;

	if (value.n == 0 || value.n > LENGTH_DIGITS)
		return false;
	for (size_t i = 0; i < value.n; i++) {
		if (!char_is(value.p[i], CH_DIGIT))
			return false;
		v = v * 10 + (uint64_t)(value.p[i] - '0');
	}
	*length = v;
	return true;
}

static const struct reason *note_length(struct parse *p, struct slice value)
{
	if (p->has_length || !length_parse(value, &p->length))
		return reason_bad_framing;
	p->has_length = true;
	return NULL;
}

static bool is_token(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!char_is(s.p[i], CH_TOKEN))
			return false;
	return s.n > 0;
}

static bool is_chunked(struct slice s)
{
	static const struct slice chunked = SLICE("chunked");

	return slice_ieq(s, chunked);
}

/* Other codings than chunked are not implemented (501), unless the list makes no sense (400): not
 * tokens, or chunked anywhere but at its end (RFC 9112 section 6.1). */
static const struct reason *coding_fault(struct slice list)
{
	struct slice item;
	bool ended = false, any = false;

	while ((item = list_next(&list)).n > 0) {
		if (ended || !is_token(item))
			return reason_bad_framing;
		ended = is_chunked(item);
		any = true;
	}
	return any ? reason_bad_coding : reason_bad_framing;
}

static const struct reason *note_coding(struct parse *p, struct slice value)
{
	if (p->has_coding)
		return reason_bad_framing;
	p->has_coding = true;
	p->coding = is_chunked(value) ? NULL : coding_fault(value);
	return NULL;
}

static const struct reason *note_connection(struct parse *p, struct slice value)
{
	static const struct slice close = SLICE("close"), keep = SLICE("keep-alive"),
				  upgrade = SLICE("upgrade");
	struct slice item;

	while ((item = list_next(&value)).n > 0) {
		if (++p->listed > LISTED_MAX)
			return reason_bad_field;
		p->says_close |= slice_ieq(item, close);
		p->says_keep_alive |= slice_ieq(item, keep);
		p->says_upgrade |= slice_ieq(item, upgrade);
	}
	return NULL;
}

/* An upgrade to another HTTP, or to TLS, would carry requests past everything that is decided here.
 */
static bool is_foreign(struct slice protocol)
{
	static const struct slice foreign[] = { SLICE("h2"), SLICE("h3"), SLICE("http"),
						SLICE("tls") };

	for (size_t i = 0; i < sizeof(foreign) / sizeof(foreign[0]); i++)
		if (protocol.n >= foreign[i].n &&
		    slice_ieq(slice_of(protocol.p, foreign[i].n), foreign[i]))
			return true;
	return false;
}

static const struct reason *note_upgrade(struct parse *p, struct slice value)
{
	struct slice item;

	while ((item = list_next(&value)).n > 0) {
		p->has_upgrade = true;
		p->foreign_upgrade |= is_foreign(item);
	}
	return NULL;
}

static const struct reason *note_expect(struct parse *p, struct slice value)
{
	static const struct slice expected = SLICE("100-continue");

	p->expects |= slice_ieq(value, expected);
	return NULL;
}

static const struct reason *(*const notes[FIELD_COUNT])(struct parse *, struct slice) = {
	[F_HOST] = note_host,
	[F_CONTENT_LENGTH] = note_length,
	[F_TRANSFER_ENCODING] = note_coding,
	[F_CONNECTION] = note_connection,
	[F_UPGRADE] = note_upgrade,
	[F_EXPECT] = note_expect,
};

/* The line end behind a field value that starts at p; NULL: a control character stands in it. There
 * is always one more line end before `end`. */
static const char *value_end(const char *p, const char *end)
{
	for (;;) {
		p += scan_control(p, (size_t)(end - p));
		if (*p != '\t')
			break;
		p++;
	}
	return p[0] == '\r' && p[1] == '\n' ? p : NULL;
}

bool value_is_valid(struct slice value)
{
	for (size_t i = 0; i < value.n; i++) {
		i += scan_control(value.p + i, value.n - i);
		if (i < value.n && value.p[i] != '\t')
			return false;
	}
	return true;
}

static struct slice trim_value(const char *p, const char *end)
{
	while (p < end && (*p == ' ' || *p == '\t'))
		p++;
	while (end > p && (end[-1] == ' ' || end[-1] == '\t'))
		end--;
	return slice_of(p, (size_t)(end - p));
}

/* One field line (RFC 9112 section 5) at *at, which moves behind it. */
static const struct reason *parse_field(const char **at, const char *end, struct head *h)
{
	const char *p = *at, *name = p, *eol;
	struct slice value;

	while (char_is(*p, CH_TOKEN))
		p++;
	if (*p != ':' || p == name)
		return reason_bad_field;
	eol = value_end(p + 1, end);
	if (eol == NULL)
		return reason_bad_field;
	value = trim_value(p + 1, eol);
	*at = eol + 2;
	return head_add_name(h, slice_of(name, (size_t)(p - name)), value) ? NULL
									   : reason_out_of_memory;
}

/* All field lines from `p` to the empty one, whose end is `end`. */
static const struct reason *parse_fields(const char *p, const char *end,
					 const struct codec_limits *limits, struct parse *parse)
{
	struct head *h = parse->head;
	const char *last = end - 2;

	while (p < last) {
		const struct reason *why;
		const struct header *f;

		if (h->n == limits->headers)
			return reason_head_too_large;
		why = parse_field(&p, end, h);
		if (why != NULL)
			return why;
		f = &h->fields[h->n - 1];
		why = notes[f->id] == NULL ? NULL : notes[f->id](parse, f->value);
		if (why != NULL)
			return why;
	}
	return p == last ? NULL : reason_bad_field;
}

/* Ends with an empty line, and has one before it. */
static bool is_whole(struct slice text, size_t least)
{
	return text.n >= least && memcmp(text.p + text.n - 2, "\r\n", 2) == 0 &&
	       (text.n == 2 || (text.n >= 4 && memcmp(text.p + text.n - 4, "\r\n", 2) == 0));
}

/*---------------------------------------- request targets */

static bool port_is_valid(struct slice port)
{
	unsigned v = 0;

	if (port.n > 5)
		return false;
	for (size_t i = 0; i < port.n; i++) {
		if (!char_is(port.p[i], CH_DIGIT))
			return false;
		v = v * 10 + (unsigned)(port.p[i] - '0');
	}
	return v <= UINT16_MAX;
}

static bool reg_name_is_valid(struct slice s)
{
	for (size_t i = 0; i < s.n; i++) {
		if (char_is(s.p[i], CH_HOST))
			continue;
		if (s.p[i] != '%' || s.n - i < 3 || !char_is(s.p[i + 1], CH_HEX) ||
		    !char_is(s.p[i + 2], CH_HEX))
			return false;
		i += 2;
	}
	return s.n > 0;
}

/* RFC 3986 section 3.2.2; IPv6 in its characters only, later versions (vX.) not at all. */
static bool ip_literal_is_valid(struct slice s)
{
	unsigned colons = 0;

	if (s.n < 4 || s.p[0] != '[' || s.p[s.n - 1] != ']')
		return false;
	for (size_t i = 1; i + 1 < s.n; i++) {
		if (!char_is(s.p[i], CH_HEX) && s.p[i] != ':' && s.p[i] != '.')
			return false;
		colons += s.p[i] == ':';
	}
	return colons >= 2;
}

/* Splits uri-host [":" port]; port.p == NULL: none. */
static struct slice split_port(struct slice authority, struct slice *port)
{
	const char *colon = memrchr(authority.p, ':', authority.n);
	const char *end = authority.p + authority.n;

	*port = slice_of(NULL, 0);
	if (colon == NULL || end[-1] == ']')
		return authority;
	*port = slice_of(colon + 1, (size_t)(end - colon - 1));
	return slice_of(authority.p, (size_t)(colon - authority.p));
}

bool authority_is_valid(struct slice authority)
{
	struct slice port, host;

	if (authority.n == 0)
		return false;
	host = split_port(authority, &port);
	if (!port_is_valid(port))
		return false;
	return host.n > 0 && host.p[0] == '[' ? ip_literal_is_valid(host) : reg_name_is_valid(host);
}

bool authority_eq(struct slice a, struct slice b, struct slice scheme_port)
{
	struct slice port_a, port_b;
	struct slice host_a = split_port(a, &port_a), host_b = split_port(b, &port_b);

	if (port_a.n == 0)
		port_a = scheme_port;
	if (port_b.n == 0)
		port_b = scheme_port;
	return slice_ieq(host_a, host_b) && slice_eq(port_a, port_b);
}

void target_split(struct slice s, struct head *h)
{
	h->path = slice_cut(&s, '?');
	h->query = s;
	if (s.p == NULL)
		h->query.n = 0;
}

static const struct scheme schemes[] = {
	{ SLICE("http://"), SLICE("http"), SLICE("80") },
	{ SLICE("https://"), SLICE("https"), SLICE("443") },
};

const struct scheme *scheme_find(struct slice name)
{
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
		if (slice_ieq(name, schemes[i].name))
			return &schemes[i];
	return NULL;
}

static const struct scheme *find_scheme(struct slice target)
{
	for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++) {
		struct slice prefix = schemes[i].prefix;

		if (target.n > prefix.n && slice_ieq(slice_of(target.p, prefix.n), prefix))
			return &schemes[i];
	}
	return NULL;
}

/* RFC 9112 section 3.2.2. */
static const struct reason *parse_absolute(struct head *h, const struct scheme **scheme)
{
	static const struct slice root = SLICE("/"), star = SLICE("*");
	struct slice rest;
	size_t n = 0;

	*scheme = find_scheme(h->target);
	if (*scheme == NULL)
		return reason_bad_request;
	rest = slice_of(h->target.p + (*scheme)->prefix.n, h->target.n - (*scheme)->prefix.n);
	while (n < rest.n && rest.p[n] != '/' && rest.p[n] != '?')
		n++;
	h->authority = slice_of(rest.p, n);
	if (!authority_is_valid(h->authority))
		return reason_bad_host;
	target_split(slice_of(rest.p + n, rest.n - n), h);
	if (h->path.n == 0)
		h->path = h->method_id == METHOD_OPTIONS && h->query.p == NULL ? star : root;
	return NULL;
}

static const struct reason *parse_target(struct head *h, const struct scheme **scheme)
{
	if (h->method_id == METHOD_CONNECT)
		return reason_connect_refused;
	if (h->target.p[0] == '/') {
		target_split(h->target, h);
		return NULL;
	}
	if (slice_is(h->target, "*")) {
		h->path = h->target;
		return h->method_id == METHOD_OPTIONS ? NULL : reason_bad_request;
	}
	return parse_absolute(h, scheme);
}

/*---------------------------------------- requests */

/* HTTP/1.x at p, which is at least ten bytes before the end of the text. */
static const struct reason *parse_version(const char *p, struct head *h)
{
	if (memcmp(p, "HTTP/", 5) != 0 || !char_is(p[5], CH_DIGIT) || p[6] != '.' ||
	    !char_is(p[7], CH_DIGIT))
		return reason_bad_request;
	h->minor = p[7] != '0';
	return p[5] == '1' ? NULL : reason_bad_version;
}

/* RFC 9112 section 3; *at moves from the start of the text behind the line. */
static const struct reason *parse_request_line(const char **at, const char *end,
					       const struct codec_limits *limits, struct head *h,
					       const struct scheme **scheme)
{
	const char *p = *at, *start = p;
	const struct reason *why;

	while (char_is(*p, CH_TOKEN))
		p++;
	if (*p != ' ' || p == start || p - start > METHOD_BYTES)
		return reason_bad_request;
	h->method = slice_of(start, (size_t)(p - start));
	h->method_id = (uint8_t)method_lookup(h->method);
	start = ++p;
	while (char_is(*p, CH_TARGET))
		p++;
	if (*p != ' ' || p == start)
		return reason_bad_request;
	h->target = slice_of(start, (size_t)(p - start));
	if (h->target.n > limits->target_bytes)
		return reason_target_too_long;
	p++;
	if (end - p < 12 || p[8] != '\r' || p[9] != '\n')
		return reason_bad_request;
	why = parse_version(p, h);
	*at = p + 10;
	return why != NULL ? why : parse_target(h, scheme);
}

/* RFC 9112 section 3.2: Host is there, once, valid, and the same as in an absolute target, unless that is to be ignored. */
static const struct reason *finish_host(struct parse *p, const struct scheme *scheme,
					const struct codec_limits *limits)
{
	struct head *h = p->head;

	if (p->host.n == 0)
		return h->minor > 0 ? reason_bad_host : NULL;
	if (!authority_is_valid(p->host))
		return reason_bad_host;
	if (scheme == NULL)
		h->authority = p->host;
	else if (!limits->loose_host && !authority_eq(h->authority, p->host, scheme->port))
		return reason_bad_host;
	return NULL;
}

/* RFC 9112 section 6.3, but stricter: 1.0 knows no codings, and nothing overrides a Content-Length.
 */
static const struct reason *finish_framing(struct parse *p)
{
	struct head *h = p->head;

	if (p->has_coding) {
		if (p->has_length || h->minor == 0)
			return reason_bad_framing;
		if (p->coding != NULL)
			return p->coding;
		h->body = BODY_CHUNKED;
	} else if (p->has_length) {
		h->body = BODY_LENGTH;
		h->length = p->length;
	}
	return NULL;
}

/* RFC 9112 section 9.3. */
static void finish_connection(const struct parse *p)
{
	struct head *h = p->head;

	h->keep_alive = !p->says_close && (h->minor > 0 || p->says_keep_alive);
	h->upgrade = p->has_upgrade && p->says_upgrade && h->minor > 0 && !p->foreign_upgrade;
}

static const struct reason *finish_request(struct parse *p, const struct scheme *scheme,
					   const struct codec_limits *limits)
{
	struct head *h = p->head;
	const struct reason *why = finish_host(p, scheme, limits);

	if (why == NULL)
		why = finish_framing(p);
	if (why != NULL)
		return why;
	finish_connection(p);
	h->upgrade = h->upgrade && h->method_id == METHOD_GET && h->body == BODY_NONE;
	h->expect_continue = p->expects && h->minor > 0 && h->body != BODY_NONE;
	return NULL;
}

const struct reason *h1_parse_request(struct slice text, const struct codec_limits *limits,
				      struct head *h)
{
	struct parse p = { .head = h, .is_request = true };
	const struct scheme *scheme = NULL;
	const char *at = text.p, *end = text.p + text.n;
	const struct reason *why;

	if (!is_whole(text, 4))
		return reason_bad_request;
	if (text.n > limits->head_bytes)
		return reason_head_too_large;
	why = parse_request_line(&at, end, limits, h, &scheme);
	if (why == NULL)
		why = parse_fields(at, end, limits, &p);
	return why != NULL ? why : finish_request(&p, scheme, limits);
}

/*---------------------------------------- responses */

/* RFC 9112 section 4.  The phrase may be empty and the space before it missing, which says nothing
 * else and which other proxies take; a status is three digits, 100 to 599 (RFC 9110 section 15:
 * others are invalid). */
static const struct reason *parse_status_line(const char **at, const char *end, struct head *h)
{
	const char *p = *at, *eol;
	unsigned status;

	if (end - p < 16 || parse_version(p, h) != NULL || p[8] != ' ')
		return reason_upstream_malformed;
	p += 9;
	for (unsigned i = 0; i < 3; i++)
		if (!char_is(p[i], CH_DIGIT))
			return reason_upstream_malformed;
	status =
	    (unsigned)(p[0] - '0') * 100 + (unsigned)(p[1] - '0') * 10 + (unsigned)(p[2] - '0');
	p += 3;
	if (status < 100 || status > 599 || (*p != ' ' && *p != '\r'))
		return reason_upstream_malformed;
	h->status = (uint16_t)status;
	p += *p == ' ';
	eol = value_end(p, end);
	if (eol == NULL)
		return reason_upstream_malformed;
	h->phrase = slice_of(p, (size_t)(eol - p));
	*at = eol + 2;
	return NULL;
}

/* RFC 9112 section 6.3. */
static void finish_response_body(const struct parse *p, enum method_id method)
{
	struct head *h = p->head;

	/* 204 has no content (RFC 9110 section 8.6); one that announces some may send it, too,
	 * where the next answer belongs */
	if (h->status == 204 && (h->body == BODY_CHUNKED || h->length > 0))
		h->keep_alive = false;
	if (h->status == 101)
		h->body = BODY_TUNNEL;
	else if (h->status < 200 || h->status == 204)
		h->body = BODY_NONE;
	else if ((method == METHOD_HEAD || h->status == 304) && h->body != BODY_LENGTH)
		h->body = BODY_NONE;
	else if (h->body == BODY_NONE)
		h->body = BODY_CLOSE;
	if (h->body != BODY_LENGTH)
		h->length = 0;
}

static const struct reason *parse_response(struct slice text, const struct codec_limits *limits,
					   enum method_id method, struct head *h)
{
	struct parse p = { .head = h };
	const char *at = text.p, *end = text.p + text.n;
	const struct reason *why;

	if (!is_whole(text, 4))
		return reason_upstream_malformed;
	if (text.n > limits->head_bytes)
		return reason_head_too_large;
	why = parse_status_line(&at, end, h);
	if (why == NULL)
		why = parse_fields(at, end, limits, &p);
	if (why == NULL)
		why = finish_framing(&p);
	if (why != NULL)
		return why;
	finish_connection(&p);
	finish_response_body(&p, method);
	if (h->body == BODY_CLOSE)
		h->keep_alive = false;
	return NULL;
}

const struct reason *h1_response_fault(const struct reason *why)
{
	if (why == NULL || why == reason_out_of_memory)
		return why;
	if (why == reason_head_too_large || why == reason_target_too_long)
		return reason_upstream_head_too_large;
	return reason_upstream_malformed;
}

const struct reason *h1_parse_response(struct slice text, const struct codec_limits *limits,
				       enum method_id request_method, struct head *h)
{
	return h1_response_fault(parse_response(text, limits, request_method, h));
}

/*---------------------------------------- trailers */

/* Names beside those of field.def that a trailer must not carry (RFC 9110 section 6.5.1): they
 * would be obeyed by one who merges trailers into the head. */
static const struct slice untrailed[] = {
	SLICE("accept"),
	SLICE("accept-encoding"),
	SLICE("age"),
	SLICE("content-range"),
	SLICE("content-location"),
	SLICE("expires"),
	SLICE("if-match"),
	SLICE("if-modified-since"),
	SLICE("if-none-match"),
	SLICE("if-range"),
	SLICE("if-unmodified-since"),
	SLICE("max-forwards"),
	SLICE("pragma"),
	SLICE("range"),
	SLICE("vary"),
	SLICE("warning"),
	SLICE("www-authenticate"),
	SLICE("http2-settings"),
	SLICE("sec-websocket-accept"),
};

bool field_may_trail(const struct header *f)
{
	if (f->id != F_OTHER)
		return false;
	for (size_t i = 0; i < sizeof(untrailed) / sizeof(untrailed[0]); i++)
		if (slice_ieq(f->name, untrailed[i]))
			return false;
	return true;
}

const struct reason *h1_parse_trailers(struct slice text, const struct codec_limits *limits,
				       struct head *h)
{
	const char *at = text.p, *end = text.p + text.n;

	if (!is_whole(text, 2))
		return reason_bad_field;
	while (at < end - 2) {
		const struct reason *why;

		if (h->n == limits->headers)
			return reason_head_too_large;
		why = parse_field(&at, end, h);
		if (why != NULL)
			return why;
		if (!field_may_trail(&h->fields[h->n - 1]))
			h->fields[h->n - 1].id = F_REMOVED;
	}
	return at == end - 2 ? NULL : reason_bad_field;
}
