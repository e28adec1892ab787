/* log.c - the error log.  poll(2) before the write: stderr may be shared with
 * other processes, so it is not ours to make non-blocking.  One thread at a time:
 * what poll found room for is not taken by another of ours. */
#include "base/log.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/event.h"

enum { LINE_BYTES = 2048, LOCK_YIELDS = 100, LOCK_TRIES = 200 };

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static _Atomic int level = LOG_INFO;
static _Atomic uint64_t dropped;
static void (*divert)(enum log_level, const char *text);

static const char *const names[] = {
	[LOG_DEBUG] = "debug", [LOG_INFO] = "info", [LOG_WARN] = "warn", [LOG_ERROR] = "error"
};

void log_set_level(enum log_level l)
{
	atomic_store_explicit(&level, (int)l, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
	return (enum log_level)atomic_load_explicit(&level, memory_order_relaxed);
}

bool log_level_parse(const char *s, enum log_level *out)
{
	for (int i = LOG_DEBUG; i <= LOG_ERROR; i++) {
		if (strcmp(s, names[i]) == 0) {
			*out = (enum log_level)i;
			return true;
		}
	}
	return false;
}

const char *log_level_name(enum log_level l)
{
	return names[l];
}

uint64_t log_dropped(void)
{
	return atomic_load_explicit(&dropped, memory_order_relaxed);
}

void log_count_dropped(void)
{
	atomic_fetch_add_explicit(&dropped, 1, memory_order_relaxed);
}

static bool put(const char *p, size_t n)
{
	static bool torn; /* under the lock */
	struct pollfd poll_for = { .fd = STDERR_FILENO, .events = POLLOUT };
	ssize_t wrote;

	if (poll(&poll_for, 1, 0) != 1 || !(poll_for.revents & POLLOUT))
		return false;
	if (torn && write(STDERR_FILENO, "\n", 1) != 1)
		return false;
	wrote = write(STDERR_FILENO, p, n);
	torn = wrote > 0 && (size_t)wrote < n;
	return wrote == (ssize_t)n;
}

/* Nobody waits here for long, even if who has the lock does; but that may have been put aside in the
 * middle of a line, where the machine is busy. */
static bool lock_soon(void)
{
	static const struct timespec nap = { .tv_nsec = 100 * 1000 };

	for (int i = 0; i < LOCK_TRIES; i++) {
		if (pthread_mutex_trylock(&lock) == 0)
			return true;
		if (i < LOCK_YIELDS)
			sched_yield();
		else
			nanosleep(&nap, NULL);
	}
	return false;
}

static void write_line(const char *line, size_t n)
{
	bool wrote;

	if (!lock_soon()) {
		log_count_dropped();
		return;
	}
	wrote = put(line, n);
	pthread_mutex_unlock(&lock);
	if (!wrote)
		log_count_dropped();
}

void log_divert(void (*to)(enum log_level, const char *text))
{
	divert = to;
}

static void clean(char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned char)text[i] < 0x20 || text[i] == 0x7F)
			text[i] = text[i] == '\t' ? '\t' : '?';
}

void log_at(enum log_level l, const char *fmt, ...)
{
	bool printed = l >= log_get_level();
	uint64_t wall_ns = clock_wall_ns();
	char line[LINE_BYTES], when[25];
	size_t n, start;
	va_list ap;
	int more;

	if (!printed && l < LOG_INFO)
		return;
	clock_format(wall_ns, when);
	start = n =
	    divert != NULL ? 0 : (size_t)snprintf(line, sizeof(line), "%s %s ", when, names[l]);
	va_start(ap, fmt);
	more = vsnprintf(line + n, sizeof(line) - n - 1, fmt, ap);
	va_end(ap);
	if (more < 0)
		return;
	n = n + (size_t)more < sizeof(line) - 2 ? n + (size_t)more : sizeof(line) - 2;
	line[n] = '\0';
	clean(line, n);
	if (l >= LOG_INFO)
		events_add(l, wall_ns, line + start);
	if (divert != NULL) {
		if (printed)
			divert(l, line);
		return;
	}
	line[n++] = '\n';
	if (printed)
		write_line(line, n);
}
