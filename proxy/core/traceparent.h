/* traceparent.h - the field of that name, as W3C Trace Context (section 3.2) has it. */
#ifndef CORE_TRACEPARENT_H
#define CORE_TRACEPARENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"

enum {
	TRACEPARENT_BYTES = 55,
	TRACE_ID_AT = 3,
	TRACE_ID_BYTES = 32,
	PARENT_ID_AT = 36,
	SPAN_ID_BYTES = 16,
	TRACE_FLAGS_AT = 53,
	TRACESTATE_BYTES = 512, /* as much as all are to pass on (section 3.3.1.5) */
};

enum trace_flag { TRACE_SAMPLED = 1 << 0, TRACE_RANDOM = 1 << 1 };

struct traceparent {
	struct slice trace_id, parent_id; /* 32 and 16 hex digits, in the text */
	uint8_t flags;
};

/* False: it is none, and a trace begins here.  Of a later version than 00 the beginning counts. */
bool traceparent_parse(struct slice text, struct traceparent *);
/* Writes TRACEPARENT_BYTES, of version 00. */
void traceparent_write(char out[TRACEPARENT_BYTES], const char trace_id[TRACE_ID_BYTES],
		       uint64_t span_id, uint8_t flags);
/* Whether a trace with an id that ends so is recorded, by the last 56 bits of it, as others decide
 * (OpenTelemetry, "TraceState: Probability Sampling"). */
bool traceparent_is_chosen(uint32_t ratio_ppm, uint64_t id_end);

#endif
