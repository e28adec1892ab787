/* metrics_text.c - one sample of a family, as text; the way of all metrics_*.c. */
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
