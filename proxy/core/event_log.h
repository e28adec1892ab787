/* event_log.h - what befell calls, a line of text each: refusals and delays by limits, tries that failed, requests that were
 * not understood.
 *
 *	2026/11/21 19:00:00 [error] PID#TID: *CONN TEXT, client: A, server: LABEL, request: "LINE", upstream: "URL", host: "H"
 *
 * TEXT is of a table of words (event_words_use), in which {excess} {policy} {error} {phase} {address} {bytes} {reason} stand for what is
 * known.  Lines go to the event logs that the call's route, or the configuration, names (text_log.h), by their level. */
#ifndef CORE_EVENT_LOG_H
#define CORE_EVENT_LOG_H

#include "base/reason.h"
#include "core/config.h"

struct exchange;
struct filter;
struct leg;
struct verdict;

enum event_level {
	EVENT_DEBUG,
	EVENT_INFO,
	EVENT_NOTICE,
	EVENT_WARN,
	EVENT_ERROR,
	EVENT_CRIT,
	EVENT_ALERT,
	EVENT_EMERG
};

extern const char *const event_level_names[];

/* Of what happens in more than one way: whether it happened or was only counted. */
struct event_words {
	const char *rate_refused[2], *rate_delayed[2], *concurrency_refused[2];
	const char *nowhere;         /* no endpoint could be tried */
	const char *disabled;        /* an endpoint is passed over from here */
	const char *connect_at_once; /* a connect that failed before it began */
	const char *broken;          /* a connection that was reset, and not closed */
	const char *body_announced;  /* too large by its Content-Length */
	const char *reason[REASON_COUNT];
};

/* Before there are workers; NULL rows are Weir's own words. */
void event_words_use(const struct event_words *);

/* Worker; all of them do nothing where no event log is asked for. */
void event_limit(struct exchange *, const struct filter *, struct verdict, uint64_t excess);
/* A try has failed. */
void event_try(struct leg *, const struct reason *);
void event_disabled(struct leg *, const struct reason *);
void event_nowhere(struct exchange *);
/* What its route says of all calls that it answers. */
void event_told(struct exchange *, const char *text);
/* The call is refused for what it is. */
void event_refused(struct exchange *, const struct reason *);

#endif
