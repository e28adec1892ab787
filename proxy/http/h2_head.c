/* h2_head.c - heads as header blocks: what came becomes a head that says what one of HTTP/1 would,
 * and what goes out is encoded from one (RFC 9113 section 8).
 *
 * Strict, as h1_parse.c is: what HTTP/1 could not say, or two readers could read in two ways, is
 * refused.  Fields are counted while they are decoded, and dropped from the first fault on; only
 * the decoder's table hears of the rest. */
#include "base/check.h"
#include "base/reason.h"
#include "http/h2_internal.h"
#include "http/message.h"
#include "http/scan.h"
#include "http/websocket.h"

/*---------------------------------------- fields in */

enum pseudo {
	PSEUDO_METHOD = 1 << 0,
	PSEUDO_SCHEME = 1 << 1,
	PSEUDO_AUTHORITY = 1 << 2,
	PSEUDO_PATH = 1 << 3,
	PSEUDO_STATUS = 1 << 4,
	PSEUDO_PROTOCOL = 1 << 5,
};

static const struct reason *note_method(struct h2_reading *r, struct slice value)
{
	struct head *h = r->head;

	if (value.n == 0 || value.n > METHOD_BYTES)
		return reason_bad_request;
	for (size_t i = 0; i < value.n; i++)
		if (!char_is(value.p[i], CH_TOKEN))
			return reason_bad_request;
	h->method = value;
	h->method_id = (uint8_t)method_lookup(value);
	return NULL;
}

static const struct reason *note_scheme(struct h2_reading *r, struct slice value)
{
	r->scheme = scheme_find(value);
	return r->scheme == NULL ? reason_bad_request : NULL;
}

static const struct reason *note_authority(struct h2_reading *r, struct slice value)
{
	r->head->authority = value;
	return authority_is_valid(value) ? NULL : reason_bad_host;
}

static const struct reason *note_path(struct h2_reading *r, struct slice value)
{
	r->head->target = value;
	if (value.n > r->limits->target_bytes)
		return reason_target_too_long;
	for (size_t i = 0; i < value.n; i++)
		if (!char_is(value.p[i], CH_TARGET))
			return reason_bad_request;
	return value.n > 0 ? NULL : reason_bad_request;
}

static const struct reason *note_status(struct h2_reading *r, struct slice value)
{
	unsigned status = 0;

	if (value.n != 3)
		return reason_upstream_malformed;
	for (size_t i = 0; i < value.n; i++) {
		if (!char_is(value.p[i], CH_DIGIT))
			return reason_upstream_malformed;
		status = status * 10 + (unsigned)(value.p[i] - '0');
	}
	if (status < 100 || status > 599 || status == 101) /* section 8.6 */
		return reason_upstream_malformed;
	r->head->status = (uint16_t)status;
	return NULL;
}

/* RFC 8441 section 4: to be used by whom it was offered to. */
static const struct reason *note_protocol(struct h2_reading *r, struct slice value)
{
	r->protocol = value;
	return r->tunnels && value.n > 0 ? NULL : reason_bad_request;
}

struct pseudo_rule {
	struct slice name;
	uint8_t bit, kind; /* enum h2_head_kind: where it may stand */
	const struct reason *(*note)(struct h2_reading *, struct slice);
};

static const struct pseudo_rule pseudo_rules[] = {
	{ SLICE(":method"), PSEUDO_METHOD, H2_REQUEST, note_method },
	{ SLICE(":scheme"), PSEUDO_SCHEME, H2_REQUEST, note_scheme },
	{ SLICE(":authority"), PSEUDO_AUTHORITY, H2_REQUEST, note_authority },
	{ SLICE(":path"), PSEUDO_PATH, H2_REQUEST, note_path },
	{ SLICE(":status"), PSEUDO_STATUS, H2_RESPONSE, note_status },
	{ SLICE(":protocol"), PSEUDO_PROTOCOL, H2_REQUEST, note_protocol },
};

/* Section 8.3: known, once, before all others, and none in trailers. */
static const struct reason *take_pseudo(struct h2_reading *r, struct slice name, struct slice value)
{
	for (size_t i = 0; i < sizeof(pseudo_rules) / sizeof(pseudo_rules[0]); i++) {
		const struct pseudo_rule *rule = &pseudo_rules[i];
		struct slice copy;

		if (!slice_eq(rule->name, name))
			continue;
		if (rule->kind != r->kind || r->regular || (r->pseudo & rule->bit))
			return reason_bad_request;
		r->pseudo |= rule->bit;
		copy = arena_copy(r->head->arena, value);
		return copy.p == NULL ? reason_out_of_memory : rule->note(r, copy);
	}
	return reason_bad_request;
}

static const struct reason *note_length(struct h2_reading *r, struct slice value)
{
	if (r->has_length || !length_parse(value, &r->length))
		return reason_bad_framing;
	r->has_length = true;
	return NULL;
}

static const struct reason *note_host(struct h2_reading *r, struct slice value)
{
	if (r->kind == H2_REQUEST && (r->has_host || !authority_is_valid(value)))
		return reason_bad_host;
	r->has_host = true;
	r->host = value;
	return NULL;
}

static const struct reason *note_te(struct h2_reading *r, struct slice value)
{
	static const struct slice trailers = SLICE("trailers");

	(void)r;
	return slice_ieq(value, trailers) ? NULL : reason_bad_field;
}

static const struct reason *note_expect(struct h2_reading *r, struct slice value)
{
	static const struct slice expected = SLICE("100-continue");

	r->expects |= slice_ieq(value, expected);
	return NULL;
}

static const struct reason *note_cookie(struct h2_reading *r, struct slice value)
{
	r->cookies++;
	r->cookie_bytes += value.n + 2;
	return NULL;
}

/* Section 8.2.2. */
static const struct reason *note_forbidden(struct h2_reading *r, struct slice value)
{
	(void)r, (void)value;
	return reason_bad_field;
}

static const struct reason *(*const notes[FIELD_COUNT])(struct h2_reading *, struct slice) = {
	[F_CONNECTION] = note_forbidden,  [F_PROXY_CONNECTION] = note_forbidden,
	[F_KEEP_ALIVE] = note_forbidden,  [F_TRANSFER_ENCODING] = note_forbidden,
	[F_UPGRADE] = note_forbidden,     [F_TE] = note_te,
	[F_CONTENT_LENGTH] = note_length, [F_HOST] = note_host,
	[F_EXPECT] = note_expect,         [F_COOKIE] = note_cookie,
};

/* Section 8.2.1, and what HTTP/1 would not take. */
static bool name_is_valid(struct slice name)
{
	for (size_t i = 0; i < name.n; i++)
		if (!char_is(name.p[i], CH_TOKEN) || (uint8_t)(name.p[i] - 'A') < 26)
			return false;
	return name.n > 0;
}

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static bool is_bare(struct slice value)
{
	return value.n == 0 || (!is_blank(value.p[0]) && !is_blank(value.p[value.n - 1]));
}

static const struct reason *take_regular(struct h2_reading *r, struct slice name,
					 struct slice value)
{
	struct head *h = r->head;
	enum field_id id;
	struct slice copy;
	const struct reason *why = NULL;

	if (h->n == r->limits->headers)
		return reason_head_too_large;
	if (!name_is_valid(name))
		return reason_bad_field;
	id = field_lookup(name);
	copy = arena_copy(h->arena, value);
	name = id != F_OTHER ? field_names[id] : arena_copy(h->arena, name);
	if (copy.p == NULL || name.p == NULL || !head_add_name(h, name, copy))
		return reason_out_of_memory;
	r->regular = true;
	if (r->kind != H2_TRAILERS || notes[id] == note_forbidden)
		why = notes[id] == NULL ? NULL : notes[id](r, copy);
	if (r->kind == H2_TRAILERS && !field_may_trail(&h->fields[h->n - 1]))
		h->fields[h->n - 1].id = F_REMOVED;
	return why;
}

/* Section 10.5.1: counted as HTTP/1 would write it, before anything is kept. */
static void take_field(struct h2_reading *r, struct slice name, struct slice value)
{
	if (r->head == NULL || r->why != NULL)
		return;
	r->bytes += name.n + value.n + 4;
	if (r->bytes > r->limits->head_bytes)
		r->why = reason_head_too_large;
	else if (!value_is_valid(value) || !is_bare(value))
		r->why = reason_bad_field;
	else if (name.n > 0 && name.p[0] == ':')
		r->why = take_pseudo(r, name, value);
	else
		r->why = take_regular(r, name, value);
}

/*---------------------------------------- blocks in */

static bool read_fragment(struct h2_session *s, struct slice in, bool last, struct h2_reading *r)
{
	for (;;) {
		nghttp2_nv nv;
		int flags = 0;
		ssize_t used = nghttp2_hd_inflate_hd2(s->inflater, &nv, &flags,
						      (const uint8_t *)in.p, in.n, last);

		if (used < 0)
			return false;
		in = slice_of(in.p + used, in.n - (size_t)used);
		if (flags & NGHTTP2_HD_INFLATE_EMIT)
			take_field(r, slice_of((char *)nv.name, nv.namelen),
				   slice_of((char *)nv.value, nv.valuelen));
		if (flags & NGHTTP2_HD_INFLATE_FINAL)
			return nghttp2_hd_inflate_end_headers(s->inflater) == 0;
		if (in.n == 0 && !(flags & NGHTTP2_HD_INFLATE_EMIT))
			return !last;
	}
}

bool h2_block_read(struct h2 *h, const struct h2_block *block, struct h2_reading *r)
{
	struct slice rest = block->rest;

	r->limits = h->codec.limits;
	r->tunnels = h->s->tunnels && !h->s->is_client;
	if (!read_fragment(h->s, block->first, rest.n == 0, r))
		return false;
	while (rest.n > 0) {
		struct h2_frame f = h2_frame_read(rest.p);
		size_t whole = H2_FRAME_HEAD + f.length;
		struct slice in = slice_of(rest.p + H2_FRAME_HEAD, f.length);

		rest = slice_of(rest.p + whole, rest.n - whole);
		if (!read_fragment(h->s, in, rest.n == 0, r))
			return false;
	}
	return true;
}

/*---------------------------------------- what the fields say together */

/* Section 8.2.3: crumbs of a cookie are one field to whoever does not speak HTTP/2. */
static bool join_cookies(struct h2_reading *r)
{
	struct head *h = r->head;
	struct header *first = NULL;
	char *text, *at;

	if (r->cookies < 2)
		return true;
	text = at = arena_alloc(h->arena, r->cookie_bytes);
	if (text == NULL)
		return false;
	for (unsigned i = 0; i < h->n; i++) {
		struct header *f = &h->fields[i];

		if (f->id != F_COOKIE)
			continue;
		if (first != NULL) {
			*at++ = ';';
			*at++ = ' ';
			f->id = F_REMOVED;
		} else {
			first = f;
		}
		memcpy(at, f->value.p, f->value.n);
		at += f->value.n;
	}
	first->value = slice_of(text, (size_t)(at - text));
	return true;
}

/* Section 8.3.1: one authority, and Host, which HTTP/1 asks for, says the same. */
static const struct reason *finish_authority(struct h2_reading *r)
{
	struct head *h = r->head;

	if (!(r->pseudo & PSEUDO_AUTHORITY)) {
		h->authority = r->host;
		return r->has_host ? NULL : reason_bad_host;
	}
	if (!r->has_host)
		return head_add(h, F_HOST, h->authority) ? NULL : reason_out_of_memory;
	return authority_eq(h->authority, r->host, r->scheme->port) ? NULL : reason_bad_host;
}

static const struct reason *finish_target(struct head *h)
{
	if (h->target.p[0] == '/') {
		target_split(h->target, h);
		return NULL;
	}
	h->path = h->target;
	return slice_is(h->target, "*") && h->method_id == METHOD_OPTIONS ? NULL
									  : reason_bad_request;
}

/* RFC 8441 sections 4 and 5: it becomes the upgrade that HTTP/1 has in its place, all but for the key.
 * Of protocols the one is known that says how. */
static const struct reason *finish_tunnel(struct h2_reading *r)
{
	static const struct slice get = SLICE("GET");
	struct head *h = r->head;

	if (h->method_id != METHOD_CONNECT)
		return reason_bad_request;
	if (r->has_length)
		return reason_bad_framing;
	if (!slice_ieq(r->protocol, websocket_name))
		return reason_upgrade_refused;
	h->method = get;
	h->method_id = METHOD_GET;
	h->upgrade = true;
	h->body = BODY_NONE;
	head_remove_name(h, websocket_key_name);
	return head_add(h, F_UPGRADE, websocket_name) ? NULL : reason_out_of_memory;
}

const struct reason *h2_finish_request(struct h2_reading *r, bool end)
{
	static const uint8_t needed = PSEUDO_METHOD | PSEUDO_SCHEME | PSEUDO_PATH;
	struct head *h = r->head;
	const struct reason *why = r->why;

	h->minor = 1;
	h->h2 = true;
	h->keep_alive = true;
	if (h->method_id == METHOD_CONNECT && !(r->pseudo & PSEUDO_PROTOCOL) &&
	    (why == NULL || why == reason_bad_request))
		return reason_connect_refused;
	if (why == NULL && (r->pseudo & needed) != needed)
		why = reason_bad_request;
	if (why == NULL)
		why = finish_target(h);
	if (why == NULL)
		why = finish_authority(r);
	if (why == NULL && !join_cookies(r))
		why = reason_out_of_memory;
	if (why == NULL && end && r->has_length && r->length > 0)
		why = reason_bad_framing;
	if (why == NULL && r->protocol.n > 0)
		return finish_tunnel(r);
	if (why != NULL)
		return why;
	h->body = r->has_length ? BODY_LENGTH : end ? BODY_NONE : BODY_CHUNKED;
	h->length = r->length;
	h->expect_continue = r->expects && !end;
	return NULL;
}

static const struct reason *response_fault(const struct reason *why)
{
	if (why == NULL || why == reason_out_of_memory)
		return why;
	return why == reason_head_too_large ? reason_upstream_head_too_large
					    : reason_upstream_malformed;
}

/* As h1_parse.c has it of HTTP/1: BODY_LENGTH of an answer without a body is what GET would have
 * had. */
const struct reason *h2_finish_response(struct h2_reading *r, enum method_id method, bool end)
{
	struct head *h = r->head;
	bool silent;

	h->minor = 1;
	h->h2 = true;
	h->keep_alive = true;
	if (r->why != NULL || !(r->pseudo & PSEUDO_STATUS))
		return r->why != NULL ? response_fault(r->why) : reason_upstream_malformed;
	silent = method == METHOD_HEAD || h->status == 304;
	if (h->status < 200)
		return end ? reason_upstream_malformed : NULL;
	if (r->has_length && r->length > 0 && end && !silent)
		return reason_upstream_malformed;
	if (h->status == 204)
		r->has_length = false;
	h->body = r->has_length                       ? BODY_LENGTH
		  : end || silent || h->status == 204 ? BODY_NONE
						      : BODY_CHUNKED;
	h->length = r->has_length ? r->length : 0;
	return NULL;
}

/*---------------------------------------- heads out */

struct head *h2_head_copy(const struct head *head, struct arena *a)
{
	struct head *copy = arena_alloc(a, sizeof(*copy));

	if (copy == NULL)
		return NULL;
	head_init(copy, a);
	for (unsigned i = 0; i < head->n; i++) {
		struct slice name, value;

		if (head->fields[i].id == F_REMOVED)
			continue;
		name = arena_copy(a, head->fields[i].name);
		value = arena_copy(a, head->fields[i].value);
		if (name.p == NULL || value.p == NULL || !head_add_name(copy, name, value))
			return NULL;
	}
	return copy;
}

/* Names are lower case on the wire (section 8.2.1). */
static char lower_text[FIELD_COUNT][24];

__attribute__((constructor)) static void lower_text_fill(void)
{
	for (unsigned id = F_REMOVED + 1; id < FIELD_COUNT; id++) {
		CHECK(field_names[id].n <= sizeof(lower_text[0]));
		for (size_t i = 0; i < field_names[id].n; i++)
			lower_text[id][i] = (char)char_lower(field_names[id].p[i]);
	}
}

/* What no head of HTTP/2 says (section 8.2.2), or what is said in another place. */
static const bool is_unsaid[FIELD_COUNT] = {
	[F_REMOVED] = true,          [F_CONNECTION] = true, [F_KEEP_ALIVE] = true,
	[F_CONTENT_LENGTH] = true,   [F_UPGRADE] = true,    [F_TRANSFER_ENCODING] = true,
	[F_PROXY_CONNECTION] = true, [F_TE] = true,         [F_HOST] = true,
};

/* Never the same twice: they would push out of the table what is worth keeping there. */
static const bool is_unique[FIELD_COUNT] = {
	[F_X_REQUEST_ID] = true, [F_TRACEPARENT] = true, [F_AUTHORIZATION] = true,
	[F_COOKIE] = true,       [F_X_API_KEY] = true,
};

static bool has_upper(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if ((uint8_t)(s.p[i] - 'A') < 26)
			return true;
	return false;
}

static struct slice lower_name(const struct header *f, struct arena *a)
{
	char *p;

	if (f->id != F_OTHER)
		return slice_of(lower_text[f->id], f->name.n);
	if (!has_upper(f->name))
		return f->name;
	p = arena_alloc(a, f->name.n);
	for (size_t i = 0; p != NULL && i < f->name.n; i++)
		p[i] = (char)char_lower(f->name.p[i]);
	return slice_of(p, f->name.n);
}

static void add(struct h2_nva *v, struct slice name, struct slice value, uint8_t flags)
{
	v->nv[v->n++] = (nghttp2_nv){ .name = (uint8_t *)(uintptr_t)name.p,
				      .namelen = name.n,
				      .value = (uint8_t *)(uintptr_t)value.p,
				      .valuelen = value.n,
				      .flags = flags };
}

bool h2_nva_begin(struct h2_nva *v, const struct head *h)
{
	v->arena = h->arena;
	v->nv = v->few;
	v->n = 0;
	v->numbers = 0;
	if (h->n + H2_NV_OWN > H2_NV_FEW)
		v->nv = arena_alloc(h->arena, ((size_t)h->n + H2_NV_OWN) * sizeof(*v->nv));
	return v->nv != NULL;
}

void h2_nva_add(struct h2_nva *v, const char *name, struct slice value)
{
	add(v, slice_str(name), value, NGHTTP2_NV_FLAG_NONE);
}

void h2_nva_add_number(struct h2_nva *v, const char *name, uint64_t number)
{
	char *end = v->digits[v->numbers++] + H2_NUMBER_BYTES, *p = end;

	do {
		*--p = (char)('0' + number % 10);
		number /= 10;
	} while (number > 0);
	h2_nva_add(v, name, slice_of(p, (size_t)(end - p)));
}

bool h2_nva_add_fields(struct h2_nva *v, const struct head *h)
{
	for (unsigned i = 0; i < h->n; i++) {
		const struct header *f = &h->fields[i];
		struct slice name;

		if (is_unsaid[f->id])
			continue;
		name = lower_name(f, v->arena);
		if (name.p == NULL)
			return false;
		add(v, name, slice_trim(f->value),
		    is_unique[f->id] ? NGHTTP2_NV_FLAG_NO_INDEX : NGHTTP2_NV_FLAG_NONE);
	}
	return true;
}

const char *h2_library(void)
{
	return nghttp2_version(0)->version_str;
}
