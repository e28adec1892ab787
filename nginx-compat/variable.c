/* variable.c - what $x is in a text, or as a condition; what is known of it beforehand.
 *
 * What `set`, map, geo and split_clients make is made of such texts again: im->above knows it. */
#include <string.h>

#include "nginx-compat/internal.h"

/*--------------------------------------------------------------------- text */

struct slice variable_take(struct slice *s, struct slice *variable)
{
	static const char letters[] =
	    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";
	struct slice part = *s;
	size_t n = 0, skip = 1;

	*variable = slice_of(NULL, 0);
	if (s->p[0] != '$') {
		while (n < s->n && s->p[n] != '$')
			n++;
	} else if (s->n > 1 && s->p[1] == '{') {
		while (2 + n < s->n && s->p[2 + n] != '}')
			n++;
		*variable = slice_of(s->p + 2, n);
		n += 2 + n < s->n ? 3 : 2;
	} else {
		while (skip + n < s->n && s->p[skip + n] != '\0' &&
		       strchr(letters, s->p[skip + n]) != NULL)
			n++;
		*variable = slice_of(s->p + 1, n);
		n += skip;
	}
	*s = slice_of(s->p + n, s->n - n);
	part.n = n;
	return part;
}

struct slice variable_alone(const char *text)
{
	struct slice s = slice_str(text), variable;

	if (s.n < 2)
		return slice_of(NULL, 0);
	variable_take(&s, &variable);
	return s.n == 0 ? variable : slice_of(NULL, 0);
}

/*------------------------------------------------------------------ constants */

const char *variable_expand(struct import *im, const struct directive *block, const char *text)
{
	struct slice s = slice_str(text);
	struct buf b = { 0 };

	while (s.n > 0) {
		struct slice variable, part = variable_take(&s, &variable);
		const char *may[SET_CHOICES_MAX];

		if (variable.p == NULL) {
			buf_put(&b, part.p, part.n);
		} else if (im->above->choices(im, block, variable, may) == 1) {
			buf_puts(&b, may[0]);
		} else {
			buf_fini(&b);
			return NULL;
		}
	}
	return text_buf(im, &b);
}

struct slice variable_open(struct import *im, const struct directive *block, const char *text)
{
	struct slice s = slice_str(text), variable;
	const char *may[SET_CHOICES_MAX];

	while (s.n > 0) {
		variable_take(&s, &variable);
		if (variable.p != NULL && im->above->choices(im, block, variable, may) != 1)
			return variable;
	}
	return slice_of(NULL, 0);
}

const char *variable_put(struct import *im, const char *text, struct slice variable,
			 const char *with)
{
	struct slice s = slice_str(text), one, part;
	struct buf b = { 0 };

	while (s.n > 0) {
		part = variable_take(&s, &one);
		if (one.p != NULL && slice_eq(one, variable))
			buf_puts(&b, with);
		else
			buf_put(&b, part.p, part.n);
	}
	return text_buf(im, &b);
}

/*------------------------------------------------------------------- phrases */

struct value {
	const char *name; /* with a `_` at its end: an argument follows */
	const char *text;
	bool dashes;
	enum template_time known;
};

static const struct value values[] = {
	{ "host", "{host}" },
	{ "http_host", "{authority}" },
	{ "request_uri", "{uri}" },
	{ "uri", "{path}" },
	{ "document_uri", "{path}" },
	{ "args", "{query}" },
	{ "query_string", "{query}" },
	{ "scheme", "{scheme}" },
	{ "remote_addr", "{client.ip}" },
	{ "proxy_add_x_forwarded_for", "{forwarded_for}" },
	{ "server_port", "{server.port}" },
	{ "request_method", "{method}" },
	{ "request_id", "{request_id}" },
	{ "http_", "{header.", true },
	{ "content_type", "{header.content-type}" },
	{ "content_length", "{header.content-length}" },
	{ "arg_", "{query." },
	{ "cookie_", "{cookie." },
	{ "remote_port", "{client.port}" },
	{ "realip_remote_addr", "{peer.ip}" },
	{ "realip_remote_port", "{peer.port}" },
	{ "connection", "{connection}" },
	{ "connection_requests", "{connection.calls}" },
	{ "pipe", "{connection.pipelined}" },
	{ "server_addr", "{local.ip}" },
	{ "server_protocol", "{protocol}" },
	{ "request", "{request}" },
	{ "remote_user", "{user}" },
	{ "hostname", "{process.host}" },
	{ "pid", "{process.id}" },
	{ "time_local", "{time.local}" },
	{ "time_iso8601", "{time.iso}" },
	{ "msec", "{time.epoch}" },
	{ "ssl_protocol", "{tls.protocol}" },
	{ "ssl_cipher", "{tls.cipher}" },
	{ "ssl_server_name", "{tls.server_name}" },
	{ "ssl_session_reused", "{tls.resumed}" },
	{ "status", "{status}", .known = AT_ANSWER },
	{ "request_time", "{duration}", .known = AT_ANSWER },
	{ "limit_req_status", "{limit.rate}", .known = AT_ANSWER },
	{ "limit_conn_status", "{limit.concurrency}", .known = AT_ANSWER },
	{ "upstream_addr", "{upstream.address}", .known = AT_ANSWER },
	{ "upstream_status", "{upstream.status}", .known = AT_ANSWER },
	{ "upstream_connect_time", "{upstream.connect}", .known = AT_ANSWER },
	{ "upstream_header_time", "{upstream.first_byte}", .known = AT_ANSWER },
	{ "upstream_response_time", "{upstream.duration}", .known = AT_ANSWER },
	{ "upstream_http_", "{upstream.header.", true, AT_ANSWER },
	{ "upstream_bytes_received", "{upstream.received}", .known = AT_END },
	{ "upstream_bytes_sent", "{upstream.sent}", .known = AT_END },
	{ "upstream_response_length", "{upstream.body}", .known = AT_END },
	{ "request_length", "{request.bytes}", .known = AT_END },
	{ "bytes_sent", "{response.bytes}", .known = AT_END },
	{ "body_bytes_sent", "{response.body_bytes}", .known = AT_END },
	{ "sent_http_", "{response.header.", true, AT_END },
};

/* Who sent a PROXY header is not known any more once that is believed. */
static bool is_forgotten(const struct import *im, struct slice variable)
{
	static const struct slice peers = SLICE("realip_remote_");

	for (uint32_t i = 0; slice_starts(variable, peers) && i < im->n_sites; i++)
		for (uint32_t k = 0; k < im->site[i].n_listeners; k++)
			if (im->site[i].listener[k].proxy_protocol)
				return true;
	return false;
}

static bool put_value(const struct import *im, struct slice variable, enum template_time when,
		      struct buf *b)
{
	if (is_forgotten(im, variable))
		return false;
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		struct slice name = slice_str(values[i].name);

		if (values[i].known > when)
			continue;
		if (slice_eq(variable, name)) {
			buf_puts(b, values[i].text);
			return true;
		}
		if (name.p[name.n - 1] != '_' || variable.n <= name.n ||
		    !slice_starts(variable, name))
			continue;
		buf_puts(b, values[i].text);
		for (size_t c = name.n; c < variable.n; c++)
			buf_putc(b, values[i].dashes && variable.p[c] == '_' ? '-' : variable.p[c]);
		buf_putc(b, '}');
		return true;
	}
	return false;
}

/* A brace that Weir would take for the beginning of a value is doubled. */
void variable_literal(struct slice s, struct buf *b)
{
	for (size_t i = 0; i < s.n; i++) {
		size_t n = i + 1;

		while (s.p[i] == '{' && n < s.n && strchr(" {\"'\n", s.p[n]) == NULL &&
		       s.p[n] != '}')
			n++;
		if (s.p[i] == '{' && n > i + 1 && n < s.n && s.p[n] == '}')
			buf_putc(b, '{');
		buf_putc(b, s.p[i]);
	}
}

/* Of a variable of `set`. */
static const char *set_name(struct import *im, const char *text, struct slice variable)
{
	const char *end = text == NULL ? NULL : strchr(text, '}');

	if (text == NULL)
		return NULL;
	if (text[0] == '{' && text[1] != '{' && end != NULL && end[1] == '\0')
		return text_printf(im, "%.*s", (int)strlen(text) - 2, text + 1);
	return text_printf(im, "value.%s",
			   text_value(im, text_printf(im, "%.*s", SLICE_FMT(variable)),
				      text_yaml(im, text), NULL));
}

const char *variable_name(struct import *im, const struct directive *block, struct slice variable)
{
	struct buf b = { 0 };
	const char *made;
	const char *text = NULL, *name;

	if (im->above->made_by_set(im, NULL, block, variable, &made))
		return set_name(im, made, variable);
	text = put_value(im, variable, AT_REQUEST, &b) ? text_buf(im, &b) : NULL;
	buf_fini(&b);
	if (text == NULL && (name = im->above->made_by_lookup(im, NULL, variable)) != NULL)
		return text_printf(im, "value.%s", name);
	if (text == NULL || strcmp(text, "{request_id}") == 0)
		return NULL;
	return text_printf(im, "%.*s", (int)strlen(text) - 2, text + 1);
}

/* Fields of answers that are made when they are sent. */
static bool is_framing(struct slice variable)
{
	static const char *const names[] = { "sent_http_connection", "sent_http_keep_alive",
					     "sent_http_date", "sent_http_server" };

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (slice_is(variable, names[i]))
			return true;
	return false;
}

static bool is_secure(struct slice url)
{
	return slice_starts(url, slice_str("https://"));
}

/* What the location's proxy_pass names; elsewhere there is none. */
static bool put_passed(const struct directive *block, struct slice variable, bool log,
		       struct buf *b)
{
	const struct directive *pass = block_own(block, "proxy_pass");
	struct slice url = pass == NULL ? slice_of("", 0) : pass->word[1], host, port;
	bool secure = is_secure(url);

	if (pass == NULL) {
		buf_puts(b, log ? "-" : "");
		return true;
	}
	if (memchr(url.p, '$', url.n) != NULL || url.n < 8 || strstr(url.p, "unix:") != NULL)
		return false;
	url = slice_of(url.p + (secure ? 8 : 7), url.n - (secure ? 8 : 7));
	host = port = slice_cut(&url, '/');
	slice_cut(&port, ':');
	if (slice_is(variable, "proxy_host"))
		variable_literal(host, b);
	else if (port.n > 0 && memchr(host.p, ':', host.n) != NULL)
		variable_literal(port, b);
	else
		buf_puts(b, secure ? "443" : "80");
	return true;
}

/* What goes upstream is another then; {path} is not. */
static bool is_rewritten(const struct directive *block, struct slice variable)
{
	if (!slice_is(variable, "uri") && !slice_is(variable, "document_uri"))
		return false;
	for (bool inner = true; block != NULL; block = block->parent) {
		DIRECTIVE_EACH (d, block)
			if ((inner || directive_is(block, "server")) &&
			    directive_is(d, "rewrite") &&
			    strcmp(directive_word(d, 3), "break") == 0)
				return true;
		inner = inner && directive_is(block, "if");
	}
	return false;
}

static bool put_variable(struct import *im, const struct site *site, const struct directive *block,
			 struct slice variable, bool groups, enum template_time when, struct buf *b)
{
	size_t before = b->n;
	const char *made;

	if (im->above->made_by_set(im, site, block, variable, &made)) {
		buf_puts(b, made == NULL ? "" : made);
		return made != NULL;
	}
	if (!groups && when != AT_END && form_has_group(block, variable)) {
		buf_printf(b, "{match.%.*s}", SLICE_FMT(variable));
		return true;
	}
	if (groups && variable.n == 1 && variable.p[0] >= '0' && variable.p[0] <= '9') {
		buf_printf(b, "{match.%c}", variable.p[0]);
	} else if (slice_is(variable, "binary_remote_addr") && when == AT_END) {
		buf_puts(b, "{client.bytes}");
	} else if (!groups && is_rewritten(block, variable)) {
		return false;
	} else if (slice_is(variable, "binary_remote_addr") && im->lookups > 0) {
		buf_puts(b, "{client.ip}"); /* for keys, one is as good as the other */
	} else if (slice_is(variable, "server_name")) {
		if (site == NULL)
			return false;
		variable_literal(slice_str(site->first_name), b);
	} else if (when == AT_END &&
		   (slice_is(variable, "uri") || slice_is(variable, "document_uri"))) {
		buf_puts(b, "{path.decoded}");
	} else if (when >= AT_ANSWER &&
		   (slice_is(variable, "proxy_host") || slice_is(variable, "proxy_port"))) {
		return put_passed(block, variable, when == AT_END, b);
	} else if (when == AT_END && is_framing(variable)) {
		return false;
	} else {
		const char *name = put_value(im, variable, when, b)
				       ? NULL
				       : im->above->made_by_lookup(im, site, variable);

		if (name != NULL)
			buf_printf(b, "{value.%s}", name);
		return name != NULL || b->n > before;
	}
	return true;
}

/* "$uri$is_args$args" is all of the URI; elsewhere $is_args is not known. */
static const char *join_uri(struct import *im, const char *text)
{
	static const char whole[] = "$uri$is_args$args";
	const char *at = strstr(text, whole);

	return at == NULL ? text
			  : text_printf(im, "%.*s$request_uri%s", (int)(at - text), text,
					at + sizeof(whole) - 1);
}

const char *variable_phrase(struct import *im, const struct site *site,
			    const struct directive *block, const char *text, bool groups)
{
	return variable_phrase_then(im, site, block, text, groups, AT_REQUEST);
}

const char *variable_phrase_then(struct import *im, const struct site *site,
				 const struct directive *block, const char *text, bool groups,
				 enum template_time when)
{
	struct slice s = slice_str(when == AT_END ? text : join_uri(im, text));
	struct buf b = { 0 };

	while (s.n > 0) {
		struct slice variable, part = variable_take(&s, &variable);

		if (variable.p == NULL) {
			variable_literal(part, &b);
		} else if (!put_variable(im, site, block, variable, groups, when, &b)) {
			buf_fini(&b);
			return NULL;
		}
	}
	return text_buf(im, &b);
}
