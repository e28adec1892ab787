/* event.c - a ring behind a lock: there are few events, and each was a system call already. */
#include "base/event.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
	struct event *ring; /* n of them; NULL: closed */
	uint32_t n;
	uint64_t next; /* sequence number */
	uint64_t count[LOG_ERROR + 1];
	void (*tell)(void *);
	void *arg;
} events = { .next = 1 };

static void take_over(struct event *ring, uint32_t n)
{
	uint64_t oldest = events.next > events.n ? events.next - events.n : 1;

	for (uint64_t seq = oldest; events.ring != NULL && seq < events.next; seq++)
		ring[seq % n] = events.ring[seq % events.n];
}

bool events_open(uint32_t n)
{
	struct event *ring = calloc(n, sizeof(*ring));

	if (ring == NULL)
		return false;
	pthread_mutex_lock(&lock);
	take_over(ring, n);
	free(events.ring);
	events.ring = ring;
	events.n = n;
	pthread_mutex_unlock(&lock);
	return true;
}

uint32_t events_room(void)
{
	uint32_t n;

	pthread_mutex_lock(&lock);
	n = events.ring == NULL ? 0 : events.n;
	pthread_mutex_unlock(&lock);
	return n;
}

void events_close(void)
{
	pthread_mutex_lock(&lock);
	free(events.ring);
	events.ring = NULL;
	events.tell = NULL;
	pthread_mutex_unlock(&lock);
}

void events_add(enum log_level level, uint64_t wall_ns, const char *text)
{
	pthread_mutex_lock(&lock);
	events.count[level]++;
	if (events.ring != NULL) {
		struct event *e = &events.ring[events.next % events.n];

		e->seq = events.next++;
		e->wall_ns = wall_ns;
		e->level = level;
		snprintf(e->text, sizeof(e->text), "%s", text);
	}
	if (events.tell != NULL) /* under the lock: who listens may be about to go */
		events.tell(events.arg);
	pthread_mutex_unlock(&lock);
}

bool events_next(uint64_t *seq, struct event *out)
{
	bool found = false;

	pthread_mutex_lock(&lock);
	if (events.ring != NULL) {
		uint64_t oldest = events.next > events.n ? events.next - events.n : 1;

		*seq = *seq < oldest ? oldest : *seq;
		while (*seq < events.next && events.ring[*seq % events.n].seq != *seq)
			++*seq; /* from before the ring was made, or larger */
		found = *seq < events.next;
		if (found)
			*out = events.ring[(*seq)++ % events.n];
	}
	pthread_mutex_unlock(&lock);
	return found;
}

uint64_t events_end(void)
{
	uint64_t end;

	pthread_mutex_lock(&lock);
	end = events.next;
	pthread_mutex_unlock(&lock);
	return end;
}

uint64_t events_count(enum log_level level)
{
	uint64_t n;

	pthread_mutex_lock(&lock);
	n = events.count[level];
	pthread_mutex_unlock(&lock);
	return n;
}

void events_on_add(void (*tell)(void *arg), void *arg)
{
	pthread_mutex_lock(&lock);
	events.tell = tell;
	events.arg = arg;
	pthread_mutex_unlock(&lock);
}

void event_json(struct buf *b, const struct event *e)
{
	char when[25];

	clock_format(e->wall_ns, when);
	buf_printf(b, "{\"seq\":%llu,\"time\":\"%s\",\"level\":\"%s\",\"kind\":",
		   (unsigned long long)e->seq, when, log_level_name(e->level));
	buf_json_string(b, slice_of(e->text, strcspn(e->text, " :")));
	buf_puts(b, ",\"text\":");
	buf_json_string(b, slice_str(e->text));
	buf_putc(b, '}');
}
