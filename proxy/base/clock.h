/* clock.h - the two clocks.  Everything but the log counts on the monotonic one. */
#ifndef BASE_CLOCK_H
#define BASE_CLOCK_H

#include <stdint.h>

#define CLOCK_MS UINT64_C(1000000)
#define CLOCK_S  UINT64_C(1000000000)

uint64_t clock_mono_ns(void); /* CLOCK_MONOTONIC */
uint64_t clock_wall_ns(void); /* since the Unix epoch, for people and logs only */

/* "2026-01-31T23:59:59.123Z" into out[25] (RFC 3339, UTC). */
void clock_format(uint64_t wall_ns, char out[25]);

#endif
