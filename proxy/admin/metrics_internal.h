/* metrics_internal.h - what metrics.c and all metrics_*.c share: the families, and how samples are printed
 * (metrics_text.c). */
#ifndef ADMIN_METRICS_INTERNAL_H
#define ADMIN_METRICS_INTERNAL_H

#include "admin/metrics.h"
#include "admin/process.h"

#define COUNT_OF(a) (sizeof(a) / sizeof((a)[0]))

/* What is being printed. */
struct render {
	struct buf *out;
	const struct process_view *view;
	const struct family *family;
	struct buf labels; /* of the next sample: a="b",c="d" */
	struct buf shown;  /* what policies say of themselves, see metrics_policy.c */
	struct process_usage process;
};

struct family {
	const char *name, *type, *help;
	void (*samples)(struct render *);
};

#define COUNTER(name_, samples_, help_)                                                    \
	{                                                                                  \
		.name = (name_), .type = "counter", .samples = (samples_), .help = (help_) \
	}
#define GAUGE(name_, samples_, help_)                                                    \
	{                                                                                \
		.name = (name_), .type = "gauge", .samples = (samples_), .help = (help_) \
	}
#define HISTOGRAM(name_, samples_, help_)                                                    \
	{                                                                                    \
		.name = (name_), .type = "histogram", .samples = (samples_), .help = (help_) \
	}

/* Each ends with one without a name. */
extern const struct family metrics_process[], metrics_route[], metrics_policy[], metrics_upstream[];

/* Before any family is printed. */
void metrics_gather(struct render *);

/* One more label of the next sample. */
void metric_label(struct render *, const char *key, const char *value);
/* A line of the family, with the labels gathered so far, which are gone after it. */
void metric_sample(struct render *, uint64_t);
void metric_seconds(struct render *, uint64_t ns);
void metric_hist(struct render *, const uint64_t *bounds, const struct stat_sum *);

#endif
