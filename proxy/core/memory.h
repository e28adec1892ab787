/* memory.h - how close the process is to the limit of its cgroup, beyond which the kernel kills.
 *
 * The control thread looks, a few times a second; workers read one flag and refuse new calls and
 * connections while it is set.  Without a limit nothing is looked at but whether there is one. */
#ifndef CORE_MEMORY_H
#define CORE_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/slice.h"
#include "conf/diag.h"

struct memory_conf {
	uint32_t refuse_above, resume_below; /* of the limit, parts per million */
	const char *cgroup;                  /* its folder; NULL: the process's own */
	struct place cgroup_at;
};

/* What was last seen; written by the control thread, read by any. */
struct memory_state {
	_Atomic bool refusing;
	_Atomic uint64_t since_ns;    /* monotonic: since when it refuses */
	_Atomic uint64_t limit_bytes; /* 0: there is none */
	_Atomic uint64_t used_bytes;  /* that the kernel could not take back without killing */
	_Atomic uint64_t times;       /* how often it has begun to refuse */
	_Atomic uint64_t room_bytes; /* that may be taken before it refuses; UINT64_MAX: no limit */
	_Atomic uint64_t looks;      /* so far */
};

/* What one worker has taken since the last look: memory goes faster than anybody looks. */
struct memory_taken {
	uint64_t looks;
	size_t held; /* then */
};

struct memory_watch {
	/* descriptors, -1: no such file; kept, lest none be left */
	int limit, high, usage, stat, swap_limit, swap_usage, own;
	const struct memory_kind *kind; /* NULL: there is no cgroup to look at */
	bool starved;                   /* no descriptor was left to find one */
	uint32_t refuse_above, resume_below;
	uint64_t look_ns;                /* when to look next, monotonic; 0: never */
	uint64_t trim_ns, trim_pause;    /* not before this again; then, not for so long */
	uint64_t stat_ns;                /* memory.stat is not read before, where much is free */
	uint64_t reclaimable, processes; /* what it said, bytes */
	uint64_t last_limit;             /* 0: not looked yet */
	uint64_t calm_ns; /* while it refuses: since when less than refuse_above is used; 0: not */
	bool told_others; /* that others use too much for refusing to help */
	uint64_t (*free_swap)(void); /* of the machine, bytes */
};

enum {
	MEMORY_LOOK_MS = 100,
	MEMORY_NEAR_MS = 20,    /* where more than half is used */
	MEMORY_IDLE_MS = 10000, /* where there is no limit: pods may be given one as they run */
	MEMORY_WAIT_MIN_MS = 1000,
	MEMORY_WAIT_MAX_MS = 30000,
};

/* Errors are a folder that was named and cannot be read, and no descriptors to look for the own: what
 * was watched before is not to be lost by that. */
bool memory_open(struct memory_watch *, const struct memory_conf *, struct diags *);
void memory_close(struct memory_watch *);
/* With `by`, which was opened beside it; that is not to be closed then. */
void memory_replace(struct memory_watch *, const struct memory_watch *by);
/* Due at look_ns, and at any other time. */
void memory_look(struct memory_watch *, struct memory_state *, uint64_t now_ns);

static inline bool memory_refuses(const struct memory_state *s)
{
	return atomic_load_explicit(&s->refusing, memory_order_relaxed);
}

/* Whether a worker, one of so many, that holds that many bytes should take no more. */
static inline bool memory_is_short(const struct memory_state *s, struct memory_taken *t,
				   size_t held, unsigned workers)
{
	uint64_t looks = atomic_load_explicit(&s->looks, memory_order_relaxed);

	if (looks != t->looks)
		*t = (struct memory_taken){ .looks = looks, .held = held };
	if (memory_refuses(s))
		return true;
	return looks > 0 && held > t->held &&
	       held - t->held >
		   atomic_load_explicit(&s->room_bytes, memory_order_relaxed) / workers;
}

/* When to come back: nobody knows when calls end that hold memory, but what has lasted for long
 * tends to last as long again. */
uint64_t memory_wait_ms(const struct memory_state *, uint64_t now_ns);

/* The folder of the process's own memory cgroup, from the texts of /proc/self/cgroup and
 * /proc/self/mountinfo (cgroups(7), proc_pid_mountinfo(5)), into out[n]; *top: how much of it is
 * the mount, above which nothing is to be seen.  False: it is in none. */
bool memory_find(struct slice cgroups, struct slice mounts, char *out, size_t n, size_t *top);

#endif
