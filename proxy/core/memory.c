/* memory.c - reading cgroups (cgroups(7); Documentation/admin-guide/cgroup-v2.rst and
 * cgroup-v1/memory.rst of Linux).
 *
 * What counts as used is what the kernel could not take back: neither pages of files nor caches of
 * names, nor what there is swap for.  Where there is `memory.high`, beyond which every allocation is
 * made to wait, that is the limit.
 *
 *  M1  Refusing begins above one share of the limit and ends below a smaller one, or where use has
 *      stayed below the first for a while: what goes on at 85 % went on before the peak.
 *  M2  While it refuses, freed memory goes back to the kernel: or use would never fall.
 *  M3  What cannot be read is no limit.
 *  M4  Where others in the cgroup use so much that nothing would be won, nobody is refused. */
#include "core/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "conf/file.h"

enum {
	RECLAIMABLE = 3,
	PROCESSES = 2,
	STAT_BYTES = 16384,
	PROC_BYTES = 4 << 20,
	PATH_BYTES = 4096
};

#define NONE       UINT64_MAX
#define TRIM_MIN   CLOCK_S
#define TRIM_MAX   (32 * CLOCK_S)
#define STAT_EVERY CLOCK_S
#define CALM_NS    (15 * CLOCK_S)
#define MILLION    UINT64_C(1000000)
#define MIB        (UINT64_C(1) << 20)

/* Above it version 1 says "none", as the largest multiple of a page. */
#define V1_NONE (UINT64_C(1) << 62)

struct memory_kind {
	const char *limit, *high, *usage, *swap_limit, *swap_usage;
	/* lines of memory.stat; those behind the last are empty */
	struct slice reclaimable[RECLAIMABLE], processes[PROCESSES];
};

static const struct memory_kind kinds[] = {
	{ .limit = "memory.max",
	  .high = "memory.high",
	  .usage = "memory.current",
	  .swap_limit = "memory.swap.max",
	  .swap_usage = "memory.swap.current",
	  .reclaimable = { SLICE("inactive_file"), SLICE("active_file"),
			   SLICE("slab_reclaimable") },
	  .processes = { SLICE("anon"), SLICE("shmem") } },
	{ .limit = "memory.limit_in_bytes",
	  .usage = "memory.usage_in_bytes",
	  .swap_limit = "memory.memsw.limit_in_bytes",
	  .swap_usage = "memory.memsw.usage_in_bytes",
	  .reclaimable = { SLICE("total_inactive_file"), SLICE("total_active_file") },
	  .processes = { SLICE("total_rss"), SLICE("total_shmem") } },
};

/*---------------------------------------------------------------- which one */

/* One line of mountinfo: 36 35 98:0 ROOT POINT OPTIONS [more ...] - TYPE SOURCE SUPER. */
struct mount {
	struct slice root, point, type, super;
};

static bool parse_mount(struct slice line, struct mount *m)
{
	for (int i = 0; i < 3; i++)
		slice_cut(&line, ' ');
	m->root = slice_cut(&line, ' ');
	m->point = slice_cut(&line, ' ');
	while (line.n > 0 && !slice_is(slice_cut(&line, ' '), "-"))
		;
	m->type = slice_cut(&line, ' ');
	slice_cut(&line, ' ');
	m->super = line;
	return m->point.n > 0 && m->type.n > 0;
}

static bool lists(struct slice list, const char *name)
{
	while (list.n > 0)
		if (slice_is(slice_cut(&list, ','), name))
			return true;
	return false;
}

/* Where the hierarchies are mixed, memory is counted by version 1 if that has it. */
static bool find_path(struct slice cgroups, struct slice *path, bool *v1)
{
	*path = slice_of(NULL, 0);
	*v1 = false;
	while (cgroups.n > 0) {
		struct slice line = slice_cut(&cgroups, '\n');
		struct slice id = slice_cut(&line, ':'), controllers = slice_cut(&line, ':');
		bool memory = lists(controllers, "memory");

		if (!memory && !(slice_is(id, "0") && controllers.n == 0 && !*v1))
			continue;
		*path = line;
		*v1 = memory;
	}
	return path->n > 0;
}

/* What of the path lies below the mount.  Who is outside of what was mounted sees that. */
static struct slice below(struct slice path, struct slice root)
{
	if (slice_is(root, "/"))
		return slice_is(path, "/") ? slice_of(NULL, 0) : path;
	if (slice_starts(path, root) && (path.n == root.n || path.p[root.n] == '/'))
		return slice_of(path.p + root.n, path.n - root.n);
	return slice_of(NULL, 0);
}

bool memory_find(struct slice cgroups, struct slice mounts, char *out, size_t n, size_t *top)
{
	struct slice path, rest;
	struct mount m;
	bool v1;

	if (!find_path(cgroups, &path, &v1))
		return false;
	while (mounts.n > 0) {
		if (!parse_mount(slice_cut(&mounts, '\n'), &m))
			continue;
		if (v1 ? !(slice_is(m.type, "cgroup") && lists(m.super, "memory"))
		       : !slice_is(m.type, "cgroup2"))
			continue;
		rest = below(path, m.root);
		*top = m.point.n;
		return (size_t)snprintf(out, n, "%.*s%.*s", SLICE_FMT(m.point), SLICE_FMT(rest)) <
		       n;
	}
	return false;
}

/*---------------------------------------------------------------- reading */

/* False: it cannot be read, or has nothing. */
static bool read_again(int fd, char *text, size_t room, struct slice *out)
{
	ssize_t n = fd < 0 ? -1 : pread(fd, text, room, 0);

	if (n <= 0)
		return false;
	*out = slice_of(text, (size_t)n);
	return true;
}

/* NONE: "max", or no number. */
static uint64_t to_number(struct slice s)
{
	uint64_t v = 0;

	s = slice_trim(s);
	if (s.n == 0 || s.n > 19)
		return NONE;
	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] < '0' || s.p[i] > '9')
			return NONE;
		v = v * 10 + (uint64_t)(s.p[i] - '0');
	}
	return v;
}

static uint64_t read_number(int fd)
{
	char text[32];
	struct slice s;

	if (!read_again(fd, text, sizeof(text), &s))
		return NONE;
	return to_number(slice_cut(&s, '\n'));
}

static uint64_t read_limit(const struct memory_watch *w)
{
	uint64_t limit = read_number(w->limit), high = read_number(w->high);

	if (high < limit)
		limit = high;
	return limit >= V1_NONE ? NONE : limit;
}

static bool is_one_of(struct slice name, const struct slice *names, int n)
{
	for (int i = 0; i < n && name.n > 0; i++)
		if (slice_eq(name, names[i]))
			return true;
	return false;
}

/* Into w->reclaimable and w->processes. */
static void read_stat(struct memory_watch *w)
{
	char text[STAT_BYTES];
	struct slice rest;

	w->reclaimable = w->processes = 0;
	if (!read_again(w->stat, text, sizeof(text), &rest))
		return;
	while (rest.n > 0) {
		struct slice line = slice_cut(&rest, '\n'), name = slice_cut(&line, ' ');
		uint64_t v = to_number(line);

		if (v != NONE && is_one_of(name, w->kind->reclaimable, RECLAIMABLE))
			w->reclaimable += v;
		if (v != NONE && is_one_of(name, w->kind->processes, PROCESSES))
			w->processes += v;
	}
}

/* Of version 1 these count memory and swap, so it is more than what is left for swap alone. */
static uint64_t read_swap_left(const struct memory_watch *w)
{
	uint64_t limit = read_number(w->swap_limit), usage = read_number(w->swap_usage), left;

	if (w->swap_limit < 0 || usage == NONE || limit <= usage)
		return 0;
	left = w->free_swap();
	return left < limit - usage ? left : limit - usage;
}

static uint64_t free_swap(void)
{
	struct sysinfo s;

	return sysinfo(&s) == 0 ? (uint64_t)s.freeswap * s.mem_unit : 0;
}

/* Of this process, but what others share (proc(5): statm). */
static uint64_t read_own(const struct memory_watch *w)
{
	char text[128];
	struct slice s, resident, shared;

	if (!read_again(w->own, text, sizeof(text), &s))
		return 0;
	slice_cut(&s, ' ');
	resident = slice_cut(&s, ' ');
	shared = slice_cut(&s, ' ');
	return (to_number(resident) - to_number(shared)) * (uint64_t)sysconf(_SC_PAGESIZE);
}

/*---------------------------------------------------------------- opening */

static int open_in(struct memory_watch *w, const char *folder, const char *name)
{
	char path[PATH_BYTES + 32];
	int fd;

	if (name == NULL)
		return -1;
	snprintf(path, sizeof(path), "%s/%s", folder, name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	w->starved = w->starved || (fd < 0 && (errno == EMFILE || errno == ENFILE));
	return fd;
}

static void close_file(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static void close_files(struct memory_watch *w)
{
	close_file(&w->limit);
	close_file(&w->high);
	close_file(&w->usage);
	close_file(&w->stat);
	close_file(&w->swap_limit);
	close_file(&w->swap_usage);
	w->kind = NULL;
}

static bool open_files(struct memory_watch *w, const char *folder)
{
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		w->kind = &kinds[i];
		w->limit = open_in(w, folder, kinds[i].limit);
		w->high = open_in(w, folder, kinds[i].high);
		w->usage = open_in(w, folder, kinds[i].usage);
		w->stat = open_in(w, folder, "memory.stat");
		w->swap_limit = open_in(w, folder, kinds[i].swap_limit);
		w->swap_usage = open_in(w, folder, kinds[i].swap_usage);
		if (w->limit >= 0 && w->usage >= 0)
			return true;
		close_files(w);
	}
	return false;
}

/* The nearest with a limit: its own, or one around it; else its own, as that may get one. */
static void open_nearest(struct memory_watch *w, char *folder, size_t top)
{
	char own[PATH_BYTES];

	snprintf(own, sizeof(own), "%s", folder);
	for (size_t n = strlen(folder); n >= top && n > 0;) {
		folder[n] = '\0';
		if (open_files(w, folder) && read_limit(w) != NONE)
			return;
		close_files(w);
		while (n > 0 && folder[--n] != '/')
			;
	}
	(void)open_files(w, own);
}

static void open_own(struct memory_watch *w)
{
	struct buf cgroups = { 0 }, mounts = { 0 };
	char folder[PATH_BYTES];
	const char *why;
	size_t top;
	int probe;

	if (file_load("/proc/self/cgroup", FILE_ANY, PROC_BYTES, &cgroups, NULL, &why) &&
	    file_load("/proc/self/mountinfo", FILE_ANY, PROC_BYTES, &mounts, NULL, &why) &&
	    memory_find(slice_of(cgroups.p, cgroups.n), slice_of(mounts.p, mounts.n), folder,
			sizeof(folder), &top))
		open_nearest(w, folder, top);
	probe = open_in(w, "/proc/self", "cgroup"); /* whether there was a descriptor to read it */
	close_file(&probe);
	buf_fini(&cgroups);
	buf_fini(&mounts);
}

bool memory_open(struct memory_watch *w, const struct memory_conf *conf, struct diags *diags)
{
	*w = (struct memory_watch){ .limit = -1,
				    .high = -1,
				    .usage = -1,
				    .stat = -1,
				    .swap_limit = -1,
				    .swap_usage = -1,
				    .own = -1,
				    .free_swap = free_swap,
				    .trim_pause = TRIM_MIN,
				    .refuse_above = conf->refuse_above,
				    .resume_below = conf->resume_below };
	if (conf->cgroup == NULL)
		open_own(w);
	else if (!open_files(w, conf->cgroup))
		diag_error(diags, conf->cgroup_at, "E018",
			   "%s is no memory cgroup that can be read: there is neither memory.max "
			   "nor memory.limit_in_bytes",
			   conf->cgroup);
	w->own = open_in(w, "/proc/self", "statm");
	if (conf->cgroup == NULL && w->starved)
		diag_error(diags, conf->cgroup_at, "E018",
			   "no file descriptors are left to read the memory cgroup");
	if (w->starved || (conf->cgroup != NULL && w->kind == NULL)) {
		memory_close(w);
		return false;
	}
	w->look_ns = w->kind == NULL ? 0 : 1;
	return true;
}

void memory_close(struct memory_watch *w)
{
	close_files(w);
	close_file(&w->own);
	w->look_ns = 0;
}

/* It was opened among the last descriptors, which are for what comes and goes (worker.c). */
static void move_down(int *fd)
{
	int lower = *fd < 0 ? -1 : fcntl(*fd, F_DUPFD_CLOEXEC, 0);

	if (lower < 0)
		return;
	if (lower < *fd) {
		close(*fd);
		*fd = lower;
	} else {
		close(lower);
	}
}

void memory_replace(struct memory_watch *w, const struct memory_watch *by)
{
	memory_close(w);
	*w = *by;
	move_down(&w->limit);
	move_down(&w->high);
	move_down(&w->usage);
	move_down(&w->stat);
	move_down(&w->swap_limit);
	move_down(&w->swap_usage);
	move_down(&w->own);
}

/*---------------------------------------------------------------- looking */

/* Without the overflow of a limit of terabytes. */
static uint64_t share_of(uint64_t bytes, uint32_t ppm)
{
	return bytes / MILLION * ppm + bytes % MILLION * ppm / MILLION;
}

static void begin(struct memory_state *s, uint64_t used, uint64_t limit, uint64_t now_ns)
{
	atomic_store(&s->since_ns, now_ns);
	atomic_fetch_add(&s->times, 1);
	atomic_store(&s->refusing, true);
	log_warn("memory: %llu of %llu MiB are used: new calls are refused",
		 (unsigned long long)(used / MIB), (unsigned long long)(limit / MIB));
}

static void end(struct memory_state *s, uint64_t used, uint64_t now_ns)
{
	atomic_store(&s->refusing, false);
	log_info("memory: %llu MiB are used: calls are let in again, after %.1f s",
		 (unsigned long long)(used / MIB),
		 (double)(now_ns - atomic_load(&s->since_ns)) / 1e9);
}

static bool is_never(const struct memory_watch *w)
{
	return w->refuse_above >= MILLION;
}

/* What others in the cgroup use alone would keep calls out. */
static bool is_others(const struct memory_watch *w, uint64_t limit)
{
	uint64_t own = read_own(w);

	return w->processes > own && w->processes - own >= share_of(limit, w->resume_below);
}

static bool should_begin(struct memory_watch *w, uint64_t used, uint64_t limit)
{
	bool others;

	if (limit == NONE || is_never(w) || used < share_of(limit, w->resume_below))
		w->told_others = false;
	if (limit == NONE || is_never(w) || used <= share_of(limit, w->refuse_above))
		return false;
	others = is_others(w, limit);
	if (others && !w->told_others)
		log_warn("memory: %llu of %llu MiB are used, too much of it by other processes "
			 "for refusing calls to help",
			 (unsigned long long)(used / MIB), (unsigned long long)(limit / MIB));
	w->told_others = others;
	return !others;
}

/* Of a limit, or of shares, that are new nothing is known of how it came so far. */
static bool should_end(struct memory_watch *w, uint64_t used, uint64_t limit, bool is_new,
		       uint64_t now_ns)
{
	if (limit == NONE || is_never(w) || used < share_of(limit, w->resume_below))
		return true;
	if (used > share_of(limit, w->refuse_above)) {
		w->calm_ns = 0;
		return is_others(w, limit);
	}
	if (w->calm_ns == 0)
		w->calm_ns = now_ns;
	return is_new || now_ns - w->calm_ns >= CALM_NS;
}

static void decide(struct memory_watch *w, struct memory_state *s, uint64_t used, uint64_t limit,
		   uint64_t now_ns)
{
	bool is_new = limit != w->last_limit;

	w->last_limit = limit;
	if (!atomic_load(&s->refusing) && should_begin(w, used, limit)) {
		w->calm_ns = 0;
		w->trim_pause = TRIM_MIN;
		begin(s, used, limit, now_ns);
	} else if (atomic_load(&s->refusing) && should_end(w, used, limit, is_new, now_ns)) {
		end(s, used, now_ns);
	}
}

static uint64_t pace_ms(const struct memory_watch *w, uint64_t used, uint64_t limit)
{
	if (limit == NONE || is_never(w))
		return limit == NONE ? MEMORY_IDLE_MS : CLOCK_S / CLOCK_MS;
	return used > limit / 2 ? MEMORY_NEAR_MS : MEMORY_LOOK_MS;
}

static uint64_t room_in(const struct memory_watch *w, uint64_t used, uint64_t limit)
{
	uint64_t most = limit == NONE ? NONE : share_of(limit, w->refuse_above);

	if (most == NONE || is_never(w) || w->told_others)
		return NONE;
	return used < most ? most - used : 0;
}

/* memory.stat is dear to read (the kernel adds up what all processors counted): where much is free,
 * what it said a moment ago does. */
static uint64_t look_at_use(struct memory_watch *w, uint64_t usage, uint64_t limit, uint64_t now_ns)
{
	uint64_t back;

	if (now_ns >= w->stat_ns || usage > share_of(limit, w->resume_below)) {
		w->stat_ns = now_ns + STAT_EVERY;
		read_stat(w);
	}
	back = read_swap_left(w);
	back = w->reclaimable + (back < w->processes ? back : w->processes);
	return back > usage ? 0 : usage - back;
}

static void trim(struct memory_watch *w, uint64_t now_ns)
{
	w->trim_ns = now_ns + w->trim_pause;
	w->trim_pause = 2 * w->trim_pause > TRIM_MAX ? TRIM_MAX : 2 * w->trim_pause;
	malloc_trim(0);
}

void memory_look(struct memory_watch *w, struct memory_state *s, uint64_t now_ns)
{
	uint64_t limit = w->kind == NULL ? NONE : read_limit(w);
	uint64_t usage = limit == NONE ? NONE : read_number(w->usage), used;

	limit = usage == NONE ? NONE : limit;
	used = usage == NONE ? 0 : look_at_use(w, usage, limit, now_ns);
	atomic_store(&s->limit_bytes, limit == NONE ? 0 : limit);
	atomic_store(&s->used_bytes, used);
	decide(w, s, used, limit, now_ns);
	atomic_store(&s->room_bytes, room_in(w, used, limit));
	atomic_fetch_add(&s->looks, 1);
	if (w->kind != NULL)
		w->look_ns = now_ns + pace_ms(w, used, limit) * CLOCK_MS;
	if (memory_refuses(s) && now_ns >= w->trim_ns)
		trim(w, now_ns);
}

uint64_t memory_wait_ms(const struct memory_state *s, uint64_t now_ns)
{
	uint64_t since_ns = atomic_load_explicit(&s->since_ns, memory_order_relaxed);
	uint64_t ms = memory_refuses(s) && now_ns > since_ns ? (now_ns - since_ns) / CLOCK_MS : 0;

	if (ms < MEMORY_WAIT_MIN_MS)
		return MEMORY_WAIT_MIN_MS;
	return ms < MEMORY_WAIT_MAX_MS ? ms : MEMORY_WAIT_MAX_MS;
}
