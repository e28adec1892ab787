/* collector.h - one POST to a collector of OpenTelemetry: OTLP/HTTP in JSON
 * (opentelemetry.io/docs/specs/otlp, "OTLP/HTTP"), over a connection of its own. */
#ifndef CORE_COLLECTOR_H
#define CORE_COLLECTOR_H

#include "base/arena.h"
#include "base/buf.h"
#include "core/config.h"
#include "io/loop.h"
#include "upstream/address.h"

enum { COLLECTOR_PATH_MAX = 512 };

struct collector_place {
	struct endpoint_address address;
	char path[COLLECTOR_PATH_MAX + 1]; /* with the query */
};

/* "http://host:4318/v1/traces"; the port is the scheme's where none is given, the path /v1/traces.
 * NULL and *out is filled, or what is wrong: a sentence. */
const char *collector_place_parse(struct slice text, struct collector_place *out);

enum collector_verdict {
	COLLECTOR_TOOK,
	COLLECTOR_LATER, /* it is not there, or says so: worth another try */
	COLLECTOR_NEVER, /* it does not want this */
};

struct collector_answer {
	enum collector_verdict verdict;
	uint16_t status;         /* 0: none came */
	uint64_t rejected;       /* spans, of those that it took */
	uint64_t retry_after_ms; /* 0: it does not say */
	char why[160];           /* for the log, of what is not well; else "" */
};

struct collector_request {
	const struct collector_place *place;
	const struct addr *addr;
	const struct tls_client *tls;    /* NULL: plain */
	const struct conf_list *headers; /* of struct pair_conf */
	const struct slice *body;        /* parts; they stay until the answer */
	unsigned parts;
	uint64_t timeout_ns;
};

struct collector;

/* NULL: memory is out. */
struct collector *collector_new(struct loop *,
				void (*done)(void *owner, const struct collector_answer *),
				void *owner);
void collector_free(struct collector *);
/* One at a time; `done` is called once, from the loop, behind this call. */
void collector_post(struct collector *, const struct collector_request *);
/* Gives it up; `done` is not called. */
void collector_cancel(struct collector *);
/* What a body of an answer with a 2xx says (ExportTraceServiceResponse). */
void collector_read(struct slice body, struct collector_answer *);

#endif
