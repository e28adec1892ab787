/* health.h - what checks of an endpoint add up to: a state machine without clock or I/O.
 *
 *   UP   --fall failures in a row, or a failure of its very first check--> DOWN
 *   DOWN --rise successes in a row--> UP
 *
 * An endpoint is taken to be up until its first check has ended, and that one decides alone, as
 * HAProxy and Envoy have it: a dead endpoint that a reload brings is not given `fall` rounds of
 * calls. */
#ifndef UPSTREAM_HEALTH_H
#define UPSTREAM_HEALTH_H

#include <stdbool.h>
#include <stdint.h>

#include "conf/schema.h"

struct health_state { /* zeroed: up, nothing known */
	bool down;
	bool known;              /* a check has ended */
	uint32_t passed, failed; /* in a row: one of them is 0 */
};

/* One more check has ended.  True: `down` has changed. */
bool health_count(struct health_state *, uint32_t fall, uint32_t rise, bool ok);

/*---------------------------------------------------------------- configuration */

enum { STATUS_RANGES_MAX = 8, HEALTH_BODY_MAX = 256 };

struct status_set {
	uint32_t n;
	struct {
		uint16_t low, high;
	} range[STATUS_RANGES_MAX];
};

bool status_set_has(const struct status_set *, uint16_t status);

enum health_method { HEALTH_GET, HEALTH_HEAD, HEALTH_OPTIONS };

extern const char *const health_methods[];

struct health_conf { /* path NULL: no checks */
	const char *path;
	uint64_t every_ns, timeout_ns;
	uint32_t fall, rise;
	struct status_set status;
	const char *body; /* a text that stands in the answer; NULL: whatever it is */
	const char *host; /* NULL: the endpoint's address */
	int method;       /* enum health_method */
};

extern const struct schema health_schema; /* scalar form: the path */

/*---------------------------------------------------------------- results */

/* How one check ended. */
enum check_result {
	CHECK_OK,
	CHECK_STATUS,  /* another status than expected */
	CHECK_BODY,    /* the text is not in the answer */
	CHECK_TIMEOUT, /* no answer, or no end of it, in time */
	CHECK_CONNECT, /* refused, or unreachable */
	CHECK_TLS,     /* the handshake failed */
	CHECK_BROKEN,  /* reset, cut short or malformed */
	CHECK_ADDRESS, /* the name has no address */
	CHECK_RESULTS
};

extern const char *const check_result_names[CHECK_RESULTS]; /* labels */
extern const char *const check_result_texts[CHECK_RESULTS]; /* for people */

#endif
