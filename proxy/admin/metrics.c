/* metrics.c - all metric families, in the Prometheus text format.
 *
 * Laws: M1 a series that can be known is there from the start, as 0.  M2 no label holds anything
 * that a client chose: methods and codes come from bounded tables, names from the configuration. M3
 * a family's samples stand together, behind its HELP and TYPE. */
#include "admin/metrics_internal.h"

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
	metrics_gather(&r);
	render_families(&r, metrics_process);
	render_families(&r, metrics_route);
	render_families(&r, metrics_policy);
	render_families(&r, metrics_upstream);
	out->oom |= r.labels.oom || r.shown.oom;
	buf_fini(&r.labels);
	buf_fini(&r.shown);
}
