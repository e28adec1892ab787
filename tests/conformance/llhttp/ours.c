/* ours.c - a request as our server codec understands it. */
#include "../../unit/http/rig.h"
#include "compare.h"

static const struct codec_limits roomy = { .head_bytes = 65536,
					   .target_bytes = 32768,
					   .headers = 1000 };

void outcome_fini(struct outcome *o)
{
	buf_fini(&o->start);
	buf_fini(&o->fields);
	buf_fini(&o->body);
}

static struct outcome *outcome_of(struct rig *r)
{
	return r->user;
}

static void on_request(struct rig *r, struct head *h, bool end)
{
	struct outcome *o = outcome_of(r);

	o->level = end ? WHOLE : IN_BODY;
	o->keep_alive = h->keep_alive;
	o->upgrade = h->upgrade;
	o->minor = h->minor;
	buf_put(&o->start, h->method.p, h->method.n);
	buf_putc(&o->start, ' ');
	buf_put(&o->start, h->target.p, h->target.n);
	for (unsigned i = 0; i < h->n; i++) {
		buf_put(&o->fields, h->fields[i].name.p, h->fields[i].name.n);
		buf_puts(&o->fields, ": ");
		buf_put(&o->fields, h->fields[i].value.p, h->fields[i].value.n);
		buf_putc(&o->fields, '\n');
	}
	if (!end)
		r->stream->ops->pause(r->stream, false);
}

static void on_bad_request(struct rig *r, struct head *h, const struct reason *why)
{
	(void)h;
	outcome_of(r)->level = REFUSED;
	outcome_of(r)->why = why->token;
}

static void on_bad(struct rig *r, const struct reason *why)
{
	outcome_of(r)->level = REFUSED;
	outcome_of(r)->in_body = true;
	outcome_of(r)->why = why->token;
}

static void on_body(struct rig *r, struct slice s, bool end)
{
	buf_put(&outcome_of(r)->body, s.p, s.n);
	if (end)
		outcome_of(r)->level = WHOLE;
}

static void on_trailers(struct rig *r, struct head *h)
{
	(void)h;
	outcome_of(r)->level = WHOLE;
}

void ours_parse(struct slice text, struct outcome *o)
{
	struct rig r;

	*o = (struct outcome){ .level = IN_HEAD };
	rig_init_server(&r);
	r.h1.codec.limits = &roomy;
	r.user = o;
	r.on_request = on_request;
	r.on_bad_request = on_bad_request;
	r.on_bad = on_bad;
	r.on_body = on_body;
	r.on_trailers = on_trailers;
	rig_feed(&r, text);
	rig_fini(&r);
}
