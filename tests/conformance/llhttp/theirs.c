/* theirs.c - a request as llhttp, in its strict mode, understands it. */
#include <llhttp.h>

#include "compare.h"

static struct outcome *outcome_of(llhttp_t *p)
{
	return p->data;
}

static int on_url(llhttp_t *p, const char *at, size_t n)
{
	struct outcome *o = outcome_of(p);

	if (o->start.n == 0) {
		buf_puts(&o->start, llhttp_method_name((llhttp_method_t)p->method));
		buf_putc(&o->start, ' ');
	}
	buf_put(&o->start, at, n);
	return 0;
}

/* Trailers come by the same callbacks as fields: after the head they are not noted. */
static int on_field(llhttp_t *p, const char *at, size_t n)
{
	if (outcome_of(p)->level == IN_HEAD)
		buf_put(&outcome_of(p)->fields, at, n);
	return 0;
}

static int on_field_complete(llhttp_t *p)
{
	struct outcome *o = outcome_of(p);

	if (o->level == IN_HEAD)
		buf_puts(&o->fields, ": ");
	o->value_at = o->fields.n;
	return 0;
}

/* llhttp leaves the white space behind a value to its user. */
static int on_value_complete(llhttp_t *p)
{
	struct outcome *o = outcome_of(p);
	struct buf *b = &o->fields;

	if (o->level != IN_HEAD)
		return 0;
	while (b->n > o->value_at && (b->p[b->n - 1] == '\t' || b->p[b->n - 1] == ' '))
		b->n--;
	buf_putc(b, '\n');
	return 0;
}

static int on_headers_complete(llhttp_t *p)
{
	struct outcome *o = outcome_of(p);

	o->level = IN_BODY;
	o->minor = p->http_minor;
	o->keep_alive = llhttp_should_keep_alive(p) != 0;
	o->upgrade = p->upgrade != 0;
	return 0;
}

static int on_body(llhttp_t *p, const char *at, size_t n)
{
	buf_put(&outcome_of(p)->body, at, n);
	return 0;
}

static int on_message_complete(llhttp_t *p)
{
	outcome_of(p)->level = WHOLE;
	return HPE_PAUSED;
}

void theirs_parse(struct slice text, struct outcome *o)
{
	llhttp_settings_t settings;
	llhttp_errno_t e;
	llhttp_t parser;

	*o = (struct outcome){ .level = IN_HEAD };
	llhttp_settings_init(&settings);
	settings.on_url = on_url;
	settings.on_header_field = on_field;
	settings.on_header_field_complete = on_field_complete;
	settings.on_header_value = on_field;
	settings.on_header_value_complete = on_value_complete;
	settings.on_headers_complete = on_headers_complete;
	settings.on_body = on_body;
	settings.on_message_complete = on_message_complete;
	llhttp_init(&parser, HTTP_REQUEST, &settings);
	parser.data = o;
	e = llhttp_execute(&parser, text.p, text.n);
	if (e != HPE_OK && o->level != WHOLE) {
		o->in_body = o->level == IN_BODY;
		o->level = REFUSED;
		o->why = llhttp_get_error_reason(&parser);
	}
}
