/* span_json.h - spans as OTLP has them in JSON (the protobuf JSON mapping, but ids in hex), with the
 * names of OpenTelemetry's HTTP conventions.
 *
 * 64-bit integers are strings, enums numbers.  Whatever callers send, it is valid JSON in UTF-8 without a
 * newline, and at most SPAN_JSON_MAX bytes: what is too long is cut. */
#ifndef CORE_SPAN_JSON_H
#define CORE_SPAN_JSON_H

#include "base/buf.h"
#include "core/trace.h"

enum { SPAN_JSON_MAX = 48 * 1024 };

/* The call itself. */
void span_json_call(struct buf *, const struct call_trace *, const struct call_record *);
void span_json_try(struct buf *, const struct call_trace *, const struct trace_try *,
		   const struct call_record *);

/* Behind it stand spans, joined by commas, and then span_json_tail. */
void span_json_head(struct buf *, const struct tracing_conf *);
extern const struct slice span_json_tail;

#endif
