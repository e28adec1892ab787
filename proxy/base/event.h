/* event.h - the last things that an operator should know, kept for who asks later.
 *
 * Every line of the error log of level info and above is one, be it printed or not.  They stand in
 * a ring of fixed size: the oldest gives way.  Any thread. */
#ifndef BASE_EVENT_H
#define BASE_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/log.h"

enum { EVENT_TEXT_BYTES = 232 };

struct event {
	uint64_t seq; /* 1, 2, ... */
	uint64_t wall_ns;
	enum log_level level;
	char text[EVENT_TEXT_BYTES]; /* cut where it is too long */
};

/* Room for that many, those that were kept among them; before it, and after events_close, nothing
 * is.  False: memory is out, and all is as it was. */
bool events_open(uint32_t n);
uint32_t events_room(void);
void events_close(void);

void events_add(enum log_level, uint64_t wall_ns, const char *text);
/* The first with a number of *seq or more that is still there; *seq becomes the one behind it.
 * False: there is none yet. */
bool events_next(uint64_t *seq, struct event *out);
/* {"seq":7,"time":"2026-01-31T23:59:59.123Z","level":"warn","kind":"breaker","text":"..."}; the
 * kind is what the text begins with. */
void event_json(struct buf *, const struct event *);
/* The number that the next one will have. */
uint64_t events_end(void);
uint64_t events_count(enum log_level);
/* Called, from the thread that it happens on, after one was added; NULL: nobody. */
void events_on_add(void (*tell)(void *arg), void *arg);

#endif
