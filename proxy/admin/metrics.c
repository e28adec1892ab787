/* metrics.c - all metric families, in the Prometheus text format.
 *
 * Laws: M1 a series that can be known is there from the start, as 0.  M2 no label holds anything
 * that a client chose: methods and codes come from bounded tables, names from the configuration. M3
 * a family's samples stand together, behind its HELP and TYPE. */
#include "admin/metrics_internal.h"

void metric_label(struct render *r, const char *key, const char *value)
{
	struct buf *b = &r->labels;

	if (b->n > 0)
		buf_putc(b, ',');
	buf_puts(b, key);
	buf_puts(b, "=\"");
	for (; *value != '\0'; value++) {
		if (*value == '\\' || *value == '"')
			buf_putc(b, '\\');
		if (*value == '\n')
			buf_puts(b, "\\n");
		else
			buf_putc(b, *value);
	}
	buf_putc(b, '"');
}

/* The name and the labels gathered so far. */
static void sample_name(struct render *r)
{
	buf_puts(r->out, r->family->name);
	if (r->labels.n > 0) {
		buf_putc(r->out, '{');
		buf_put(r->out, r->labels.p, r->labels.n);
		buf_putc(r->out, '}');
	}
	buf_putc(r->out, ' ');
	r->labels.n = 0;
}

void metric_sample(struct render *r, uint64_t v)
{
	sample_name(r);
	buf_u64(r->out, v);
	buf_putc(r->out, '\n');
}

void metric_seconds(struct render *r, uint64_t ns)
{
	sample_name(r);
	stat_print_seconds(r->out, ns);
	buf_putc(r->out, '\n');
}

void metric_hist(struct render *r, const uint64_t *bounds, const struct stat_sum *sum)
{
	stat_print_hist(r->out, r->family->name, r->labels.n > 0 ? r->labels.p : "", bounds, sum);
	r->labels.n = 0;
}

static void render_families(struct render *r, const struct family *f)
{
	for (; f->name != NULL; f++) {
		r->family = f;
		buf_printf(r->out, "# HELP %s %s\n# TYPE %s %s\n", f->name, f->help, f->name,
			   f->type);
		f->samples(r);
	}
}

void metrics_render(const struct process_view *view, struct buf *out)
{
	struct render r = { .out = out, .view = view };

	process_read(&r.process);
	render_families(&r, metrics_process);
	render_families(&r, metrics_route);
	render_families(&r, metrics_policy);
	render_families(&r, metrics_upstream);
	out->oom |= r.labels.oom;
	buf_fini(&r.labels);
}
