/* tracing.h - spans on their way to a collector, never blocking a worker.
 *
 * As with the access log: each worker appends to a ring of its own, one thread takes spans out of
 * them, a batch at a time, and sends them over OTLP/HTTP (core/collector.h).
 *
 * Laws: P1 a span that finds no room is dropped and counted, as is one that no collector took: every
 * span is counted once, under what became of it.  P2 one batch is under way; it is tried again, later
 * each time, until it is taken, refused for good, or a minute old.  P3 what is configured last is
 * asked, also for spans of before; without a collector the last one. */
#ifndef CORE_TRACING_H
#define CORE_TRACING_H

#include "base/buf.h"
#include "core/config.h"

struct tracing;
struct tracing_target;

enum span_result {
	SPAN_SENT,
	SPAN_REJECTED, /* by a collector that took the others of the batch */
	SPAN_FAILED,   /* the collector is away, or takes none of the batch */
	SPAN_DROPPED,  /* no room in the queue */
	SPAN_RESULTS
};

extern const char *const span_result_names[SPAN_RESULTS]; /* labels */

/* Control thread.  No thread, and next to no memory, before there is a target. NULL: memory is out. */
struct tracing *tracing_open(unsigned workers);
/* All that can fail, for a configuration that is to be in force.  False after a finding.  *target NULL:
 * it has no collector. */
bool tracing_prepare(struct tracing *, const struct tracing_conf *, struct diags *,
		     struct tracing_target **target);
void tracing_commit(struct tracing *, struct tracing_target *); /* NULL: as it is */
void tracing_abandon(struct tracing_target *);                  /* NULL is fine */
/* Workers are gone: sends what there is, for at most two seconds. */
void tracing_close(struct tracing *);

/* Worker w: where to write a span, and hand it over. */
struct buf *tracing_text(struct tracing *, unsigned w);
void tracing_put(struct tracing *, unsigned w);
/* Worker w, end of a loop turn: wakes the thread when it is time. */
void tracing_kick(struct tracing *, unsigned w);

/* Any thread. */
uint64_t tracing_count(const struct tracing *, enum span_result);

#endif
