/* fault.c - what the program's linker puts in place of clocks, random keys, the error log and
 * malloc (see CMakeLists.txt): all of it from the seed. */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "base/log.h"
#include "sim.h"

static struct sim *bound, *armed;

void fault_bind(struct sim *sim)
{
	bound = sim;
	armed = NULL;
}

void fault_arm(struct sim *sim)
{
	armed = sim->weather.no_memory > 0 ? sim : NULL;
}

void fault_disarm(void)
{
	armed = NULL;
}

/*---------------------------------------------------------------- memory */

void *__real_malloc(size_t);
void *__real_calloc(size_t, size_t);
void *__real_realloc(void *, size_t);
void *__wrap_malloc(size_t);
void *__wrap_calloc(size_t, size_t);
void *__wrap_realloc(void *, size_t);

static bool is_out(void)
{
	if (armed == NULL || !dice_chance(&armed->dice, armed->weather.no_memory))
		return false;
	sim_trace(armed, "out of memory");
	return true;
}

void *__wrap_malloc(size_t n)
{
	return is_out() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t size)
{
	return is_out() ? NULL : __real_calloc(n, size);
}

void *__wrap_realloc(void *p, size_t n)
{
	return is_out() ? NULL : __real_realloc(p, n);
}

void *fault_calloc(size_t n)
{
	return __real_calloc(1, n);
}

/*---------------------------------------------------------------- clocks, keys, log */

uint64_t __wrap_clock_mono_ns(void);
uint64_t __wrap_clock_wall_ns(void);
const struct hash_key *__wrap_hash_boot_key(void);
void __wrap_log_at(enum log_level, const char *fmt, ...);

uint64_t __wrap_clock_mono_ns(void)
{
	return bound != NULL ? bound->now_ns : 1;
}

uint64_t __wrap_clock_wall_ns(void)
{
	static const uint64_t start_ns = UINT64_C(1767225600) * CLOCK_S;

	return bound == NULL ? start_ns : start_ns + bound->now_ns + (uint64_t)bound->wall_jump_ns;
}

const struct hash_key *__wrap_hash_boot_key(void)
{
	static const struct hash_key key = { .k0 = 1, .k1 = 2 };

	return &key;
}

void __wrap_log_at(enum log_level level, const char *fmt, ...)
{
	char text[512];
	va_list ap;

	if (bound == NULL || !bound->trace)
		return;
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	sim_trace(bound, "log %s: %s", log_level_name(level), text);
}
