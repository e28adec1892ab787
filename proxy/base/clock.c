/* clock.c - reading and printing time. */
#include "base/clock.h"

#include <stdio.h>
#include <time.h>

static uint64_t read_clock(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * CLOCK_S + (uint64_t)ts.tv_nsec;
}

uint64_t clock_mono_ns(void)
{
	return read_clock(CLOCK_MONOTONIC);
}

uint64_t clock_wall_ns(void)
{
	return read_clock(CLOCK_REALTIME);
}

void clock_format(uint64_t wall_ns, char out[25])
{
	time_t s = (time_t)(wall_ns / CLOCK_S);
	struct tm tm;

	gmtime_r(&s, &tm);
	strftime(out, 25, "%Y-%m-%dT%H:%M:%S", &tm);
	snprintf(out + 19, 6, ".%03uZ", (unsigned)(wall_ns % CLOCK_S / CLOCK_MS));
}
