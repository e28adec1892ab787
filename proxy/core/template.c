/* template.c - texts with values of a call in them; see template.h.
 *
 * A text is cut into parts when it is read: literal ones, and those that a row of the table below
 * or a key (filters/key.h) reads. */
#include "core/template_internal.h"

#include <stdio.h>

#include "conf/suggest.h"
#include "conf/value.h"
#include "http/scan.h"

/*---------------------------------------------------------------- values */

static bool read_ip(struct reader *r, struct slice *out)
{
	static const struct ip none;
	const struct ip *ip = &r->v->call->client;

	if (memcmp(ip, &none, sizeof(none)) == 0)
		return false;
	ip_format(ip, r->scratch);
	*out = slice_str(r->scratch);
	return true;
}

/* What the request says, and who has sent it behind that. */
static bool read_forwarded_for(struct reader *r, struct slice *out)
{
	const struct head *req = r->v->call->req;
	struct buf b = { .arena = r->v->call->arena };

	for (uint16_t i = 0; i < req->n; i++) {
		if (req->fields[i].id != F_X_FORWARDED_FOR)
			continue;
		buf_put(&b, req->fields[i].value.p, req->fields[i].value.n);
		buf_puts(&b, ", ");
	}
	if (read_ip(r, out))
		buf_put(&b, out->p, out->n);
	*out = slice_of(b.p, b.n);
	return b.n > 0 && !b.oom;
}

static bool read_uri(struct reader *r, struct slice *out)
{
	const struct head *req = r->v->came != NULL ? r->v->came : r->v->call->req;
	struct buf b = { .arena = r->v->call->arena };

	*out = req->path;
	if (req->query.p == NULL)
		return true;
	buf_put(&b, req->path.p, req->path.n);
	buf_putc(&b, '?');
	buf_put(&b, req->query.p, req->query.n);
	*out = slice_of(b.p, b.n);
	return !b.oom;
}

static bool read_query(struct reader *r, struct slice *out)
{
	*out = r->v->call->req->query;
	return out->n > 0;
}

static bool read_path(struct reader *r, struct slice *out)
{
	*out = r->v->call->path;
	return true;
}

static bool read_authority(struct reader *r, struct slice *out)
{
	*out = r->v->call->req->authority;
	return true;
}

static bool read_scheme(struct reader *r, struct slice *out)
{
	*out = r->v->scheme;
	return true;
}

static bool read_request_id(struct reader *r, struct slice *out)
{
	*out = r->v->request_id;
	return true;
}

static bool read_port(struct reader *r, struct slice *out)
{
	int n = snprintf(r->scratch, sizeof(r->scratch), "%u", r->v->port);

	*out = slice_of(r->scratch, (size_t)n);
	return r->v->port != 0;
}

static bool read_address(struct reader *r, struct slice *out)
{
	*out = slice_str(r->v->address);
	return out->n > 0;
}

/* It is sought again where it is asked for: calls that ask for nothing pay nothing. */
static bool read_group(struct reader *r, struct slice *out)
{
	struct slice subject = r->v->subject.p != NULL ? r->v->subject : r->v->call->path;
	struct pattern_found found;

	if (pattern_match(r->v->match->pattern, subject, &found) != PATTERN_YES ||
	    r->part->group >= found.n)
		return false;
	*out = found.group[r->part->group];
	return out->n > 0;
}

static bool read_rest(struct reader *r, struct slice *out)
{
	struct slice path = r->v->call->path;
	size_t at = r->v->match->rest_at;

	if (path.n > at)
		*out = slice_of(path.p + at, path.n - at);
	return path.n > at;
}

static const struct value_source sources[] = {
	{ "client.ip", read_ip, false },    { "forwarded_for", read_forwarded_for, false },
	{ "uri", read_uri, true },          { "query", read_query, true },
	{ "path", read_path, true },        { "authority", read_authority, true },
	{ "scheme", read_scheme, true },    { "request_id", read_request_id, false },
	{ "server.port", read_port, true }, { "server.address", read_address, false },
	{ "match.rest", read_rest, true },
};

static const struct value_source match_source = { "match.", read_group, true };

static const char known[] =
    "known are: {client.ip} {forwarded_for} {header.NAME} {query.NAME} {cookie.NAME} {host} "
    "{authority} {path} {query} {uri} {method} {scheme} {server.port} {server.address} {route} "
    "{upstream} {tls.san} {value.NAME} {request_id} {match.N} {match.NAME} {match.rest}; "
    "`{{` in front is a brace";

/*---------------------------------------------------------------- parsing */

/* Where a text is read. */
struct parser {
	struct template *t;
	const struct template_match *match;
	const char *what;
	struct place at;
	struct arena *arena;
	struct diags *diags;
	uint32_t cap;
};

static bool is_name_char(char c)
{
	return char_is(c, CH_UNRESERVED) || c == '/';
}

/* Of "{name}..." the name; p NULL: it is none (T1). */
static struct slice name_at(struct slice s)
{
	size_t n = 1;

	while (n < s.n && is_name_char(s.p[n]))
		n++;
	if (s.n < 3 || s.p[0] != '{' || n == 1 || n == s.n || s.p[n] != '}' ||
	    !char_is(s.p[1], CH_TOKEN))
		return slice_of(NULL, 0);
	return slice_of(s.p + 1, n - 1);
}

static struct template_part *add_part(struct parser *p)
{
	if (p->t->n < p->cap)
		return &p->t->part[p->t->n++];
	diag_error(p->diags, p->at, "E016", "%s holds more than %d values", p->what,
		   TEMPLATE_PARTS_MAX / 2);
	return NULL;
}

static bool add_text(struct parser *p, struct slice text)
{
	struct template_part *part = text.n == 0 ? NULL : add_part(p);

	if (part != NULL)
		part->text = text;
	return text.n == 0 || part != NULL;
}

static void unknown(struct parser *p, struct slice name, const char *why)
{
	diag_error(p->diags, p->at, "E015", "%s: `{%.*s}` %s", p->what, SLICE_FMT(name), why)
	    ->help = known;
}

/* `near`: what a key would have been called; NULL: nothing like it. */
static void not_known(struct parser *p, struct slice name, const char *near)
{
	const char *why = "is not known";
	struct suggest s;

	suggest_begin(&s, name);
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
		suggest_offer(&s, sources[i].name);
	for (unsigned i = 0; call_value_name(i) != NULL; i++)
		suggest_offer(&s, call_value_name(i));
	if (s.best == NULL)
		s.best = near;
	if (s.best != NULL)
		why = arena_printf(p->diags->arena, "is not known: did you mean `{%s}`?", s.best);
	unknown(p, name, why != NULL ? why : "is not known");
}

static bool parse_group(struct parser *p, struct slice name, struct template_part *part)
{
	struct slice group = slice_of(name.p + 6, name.n - 6);
	const struct pattern *pattern = p->match->pattern;

	part->source = &match_source;
	part->escaped = true;
	if (pattern == NULL) {
		unknown(p, name, "asks for a regular expression, and the route has none");
		return false;
	}
	if (value_u32(group, &part->group) != NULL)
		part->group = pattern_group(pattern, group);
	else if (part->group == 0)
		return true;
	if (part->group > 0 && part->group <= pattern_groups(pattern) &&
	    part->group < PATTERN_GROUPS)
		return true;
	unknown(p, name, "is no group of the regular expression");
	return false;
}

/* What limits can count by can be told, too. */
static bool parse_key(struct parser *p, struct slice name, struct template_part *part)
{
	static const struct slice value = SLICE("value.");
	struct node node = { .kind = NODE_SCALAR, .text = name, .at = p->at };
	struct diags findings;
	struct conf_load load = { .arena = p->arena, .diags = &findings };

	diags_init(&findings, p->diags->arena);
	part->key = arena_zalloc(p->arena, sizeof(*part->key));
	if (part->key == NULL || (!key_custom.parse(&load, &node, part->key) && findings.oom)) {
		diags_out_of_memory(p->diags);
		return false;
	}
	if (findings.errors > 0) {
		not_known(p, name, findings.first == NULL ? NULL : findings.first->suggestion);
		return false;
	}
	if (key_identity(part->key) != 0) {
		unknown(p, name, "is told by `auth.headers`");
		return false;
	}
	part->escaped = slice_is(name, "host"); /* its brackets are a URI's */
	if (!slice_starts(name, value) || p->diags->values.known == NULL ||
	    p->diags->values.known(p->diags->values.of,
				   slice_of(name.p + value.n, name.n - value.n)))
		return true;
	unknown(p, name, "is none of `values` that stand before it");
	return false;
}

static bool parse_call_value(struct parser *p, struct slice name, const struct template_part *part)
{
	static const char *const when[] = { "", "is known only once there is an answer",
					    "is known only when the call is over" };
	uint8_t from = part->source->known;

	p->t->known = from > p->t->known ? from : p->t->known;
	if (from <= p->match->time)
		return true;
	unknown(p, name, when[from]);
	return false;
}

static bool parse_name(struct parser *p, struct slice name)
{
	static const struct slice match = SLICE("match.");
	struct template_part *part = add_part(p);

	if (part == NULL)
		return false;
	for (size_t i = 0; i < sizeof(sources) / sizeof(sources[0]); i++)
		if (slice_is(name, sources[i].name))
			part->source = &sources[i];
	if (part->source != NULL) {
		part->escaped = part->source->escaped;
		if (part->source->read != read_rest || p->match->rest)
			return true;
		unknown(p, name, "asks for a `match.path` that ends with a star");
		return false;
	}
	part->source = call_value_find(name, &part->text);
	part->of_exchange = part->source != NULL;
	if (part->source != NULL)
		return parse_call_value(p, name, part);
	return slice_starts(name, match) ? parse_group(p, name, part) : parse_key(p, name, part);
}

static bool parse_text(struct parser *p, struct slice rest)
{
	struct slice before = slice_of(rest.p, 0);

	while (rest.n > 0) {
		struct slice name = name_at(rest);
		bool doubled = rest.n > 1 && rest.p[0] == '{' && rest.p[1] == '{' &&
			       name_at(slice_of(rest.p + 1, rest.n - 1)).p != NULL;
		size_t skip = name.p != NULL ? name.n + 2 : 1;

		if (doubled) {
			before.n++; /* the first of both */
			if (!add_text(p, before))
				return false;
			skip = 2;
		} else if (name.p == NULL) {
			before.n++;
		} else if (!add_text(p, before) || !parse_name(p, name)) {
			return false;
		}
		rest = slice_of(rest.p + skip, rest.n - skip);
		if (doubled || name.p != NULL)
			before = slice_of(rest.p, 0);
	}
	return add_text(p, before);
}

/* Texts without values are one. */
static bool settle(struct template *t, struct arena *arena)
{
	struct buf b = { .arena = arena };

	for (uint32_t i = 0; i < t->n; i++) {
		if (t->part[i].source != NULL || t->part[i].key != NULL)
			return true;
		buf_put(&b, t->part[i].text.p, t->part[i].text.n);
	}
	t->n = 0;
	t->fixed = b.n == 0 ? slice_of("", 0) : slice_of(b.p, b.n);
	return !b.oom;
}

bool template_parse(struct template *t, const char *text, bool literal,
		    const struct template_match *match, const char *what, struct place at,
		    struct arena *arena, struct diags *diags)
{
	struct parser p = { .t = t,
			    .match = match,
			    .what = what,
			    .at = at,
			    .arena = arena,
			    .diags = diags,
			    .cap = TEMPLATE_PARTS_MAX };

	*t = (struct template){ .fixed = arena_copy(arena, slice_str(text)) };
	if (t->fixed.p != NULL && (literal || strchr(text, '{') == NULL))
		return true;
	t->part = arena_zalloc(arena, TEMPLATE_PARTS_MAX * sizeof(*t->part));
	if (t->fixed.p == NULL || t->part == NULL) {
		diags_out_of_memory(diags);
		return false;
	}
	if (!parse_text(&p, t->fixed))
		return false;
	if (settle(t, arena))
		return true;
	diags_out_of_memory(diags);
	return false;
}

/*---------------------------------------------------------------- forms */

static void put_percent(struct buf *b, char c)
{
	static const char hex[] = "0123456789ABCDEF";
	char text[3] = { '%', hex[(unsigned char)c >> 4], hex[c & 15] };

	buf_put(b, text, sizeof(text));
}

static bool is_control(char c)
{
	return ((unsigned char)c < ' ' && c != '\t') || c == 0x7f;
}

/* What is no part of a URI yet must not become one that ends the part it stands in, be it a segment
 * or one of the values of a query. */
static bool stands_in_part(char c)
{
	return char_is(c, CH_UNRESERVED) || (c != '\0' && strchr("/:@,!*'()", c) != NULL);
}

static bool stands_in_uri(char c, bool path)
{
	if (path && c == '?')
		return false;
	return (unsigned char)c > ' ' && (unsigned char)c < 0x7f &&
	       strchr("\"#<>\\^`{|}", c) == NULL;
}

static void put_html(struct buf *b, char c)
{
	static const char *const as[] = {
		['"'] = "&quot;", ['&'] = "&amp;", ['\''] = "&#39;", ['<'] = "&lt;", ['>'] = "&gt;"
	};
	size_t i = (unsigned char)c;

	if (i < sizeof(as) / sizeof(as[0]) && as[i] != NULL)
		buf_puts(b, as[i]);
	else
		buf_putc(b, c);
}

/* As in logs that others have written for long: \xXX of what is no plain ASCII. */
static void put_log(struct buf *b, char c)
{
	unsigned char u = (unsigned char)c;

	if (u < ' ' || u >= 0x7f || c == '"' || c == '\\') {
		buf_puts(b, "\\x");
		buf_putc(b, "0123456789ABCDEF"[u >> 4]);
		buf_putc(b, "0123456789ABCDEF"[u & 15]);
	} else {
		buf_putc(b, c);
	}
}

static void put_log_json(struct buf *b, char c)
{
	static const char short_form[] = { ['\n'] = 'n', ['\r'] = 'r', ['\t'] = 't', ['\b'] = 'b',
					   ['\f'] = 'f', ['"'] = '"',  ['\\'] = '\\' };
	unsigned char u = (unsigned char)c;

	if (u < sizeof(short_form) && short_form[u] != '\0') {
		buf_putc(b, '\\');
		buf_putc(b, short_form[u]);
	} else if (u < ' ') {
		buf_puts(b, "\\u00");
		buf_putc(b, (char)('0' + (u >> 4)));
		buf_putc(b, "0123456789ABCDEF"[u & 15]);
	} else {
		buf_putc(b, c);
	}
}

static void put_char(struct buf *b, char c, enum template_form form, bool escaped)
{
	bool stays = true;

	if (form == TEMPLATE_HTML) {
		put_html(b, c);
		return;
	}
	if (form == TEMPLATE_FIELD)
		stays = !is_control(c);
	else if (form != TEMPLATE_TEXT && form != TEMPLATE_LOG_PLAIN)
		stays = escaped ? stands_in_uri(c, form == TEMPLATE_PATH) : stands_in_part(c);
	if (stays)
		buf_putc(b, c);
	else
		put_percent(b, c);
}

static void put_value(struct buf *b, struct slice s, enum template_form form, bool escaped)
{
	void (*put)(struct buf *, char) = form == TEMPLATE_LOG        ? put_log
					  : form == TEMPLATE_LOG_JSON ? put_log_json
								      : NULL;

	if (form == TEMPLATE_JSON) {
		buf_json(b, s);
		return;
	}
	for (size_t i = 0; put != NULL && i < s.n && b->n <= TEMPLATE_MAX; i++)
		put(b, s.p[i]);
	if (put != NULL)
		return;
	for (size_t i = 0; i < s.n && b->n <= TEMPLATE_MAX; i++)
		put_char(b, s.p[i], form, escaped);
}

/*---------------------------------------------------------------- filling */

static bool read_part(struct reader *r, struct slice *out)
{
	*out = slice_of("", 0);
	if (r->part->key != NULL)
		return key_value(r->part->key, r->v->call, r->scratch, out);
	if (r->part->of_exchange && r->v->x == NULL)
		return false;
	return r->part->source->read(r, out);
}

/* What is too long is none, for half of a path or a page would be another one; of lines for people
 * half is better: no client shall choose that nothing is told of it. */
static size_t length_of(const struct buf *b, enum template_form form)
{
	if (b->n <= TEMPLATE_MAX)
		return b->n;
	return form >= TEMPLATE_LOG ? TEMPLATE_MAX : 0;
}

bool template_fill_values(const struct template *t, const struct template_values *v,
			  enum template_form form, struct slice *out)
{
	struct buf b = { .arena = v->call->arena };
	struct reader r; /* its scratch stays as it is */
	struct slice value;
	size_t n;

	r.v = v;
	for (uint32_t i = 0; i < t->n && b.n <= TEMPLATE_MAX; i++) {
		r.part = &t->part[i];
		if (r.part->source == NULL && r.part->key == NULL)
			buf_put(&b, r.part->text.p, r.part->text.n);
		else if (read_part(&r, &value))
			put_value(&b, value, form, r.part->escaped);
		else if (form == TEMPLATE_LOG)
			buf_putc(&b, '-');
	}
	n = length_of(&b, form);
	*out = n == 0 ? slice_of("", 0) : slice_of(b.p, n);
	return !b.oom;
}
