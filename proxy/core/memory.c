/* memory.c - reading cgroups (cgroups(7); Documentation/admin-guide/cgroup-v2.rst and
 * cgroup-v1/memory.rst of Linux).
 *
 * What counts as used is what the kernel could not take back: neither pages of files nor caches of
 * names.  Where there is `memory.high`, beyond which every allocation is made to wait, that is the
 * limit.
 *
 *  M1  Refusing begins above one share of the limit and ends below a smaller one.
 *  M2  While it refuses, freed memory goes back to the kernel: or use would never fall.
 *  M3  What cannot be read is no limit. */
#include "core/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "conf/file.h"

enum { RECLAIMABLE = 3, STAT_BYTES = 16384, PROC_BYTES = 4 << 20, PATH_BYTES = 4096 };

#define NONE       UINT64_MAX
#define TRIM_EVERY CLOCK_S
#define MILLION    UINT64_C(1000000)
#define MIB        (UINT64_C(1) << 20)

/* Above it version 1 says "none", as the largest multiple of a page. */
#define V1_NONE (UINT64_C(1) << 62)

struct memory_kind {
	const char *limit, *high, *usage;
	struct slice
	    reclaimable[RECLAIMABLE]; /* lines of memory.stat; those behind the last are empty */
};

static const struct memory_kind kinds[] = {
	{ .limit = "memory.max",
	  .high = "memory.high",
	  .usage = "memory.current",
	  .reclaimable = { SLICE("inactive_file"), SLICE("active_file"),
			   SLICE("slab_reclaimable") } },
	{ .limit = "memory.limit_in_bytes",
	  .usage = "memory.usage_in_bytes",
	  .reclaimable = { SLICE("total_inactive_file"), SLICE("total_active_file") } },
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

static uint64_t read_reclaimable(const struct memory_watch *w)
{
	char text[STAT_BYTES];
	struct slice rest;
	uint64_t sum = 0;

	if (!read_again(w->stat, text, sizeof(text), &rest))
		return 0;
	while (rest.n > 0) {
		struct slice line = slice_cut(&rest, '\n'), name = slice_cut(&line, ' ');
		uint64_t v = to_number(line);

		for (int i = 0; v != NONE && i < RECLAIMABLE; i++)
			if (name.n > 0 && slice_eq(name, w->kind->reclaimable[i]))
				sum += v;
	}
	return sum;
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
	int probe = open_in(w, "/proc/self", "cgroup");
	const char *why;
	size_t top;

	close_file(&probe);
	if (file_load("/proc/self/cgroup", FILE_ANY, PROC_BYTES, &cgroups, NULL, &why) &&
	    file_load("/proc/self/mountinfo", FILE_ANY, PROC_BYTES, &mounts, NULL, &why) &&
	    memory_find(slice_of(cgroups.p, cgroups.n), slice_of(mounts.p, mounts.n), folder,
			sizeof(folder), &top))
		open_nearest(w, folder, top);
	buf_fini(&cgroups);
	buf_fini(&mounts);
}

bool memory_open(struct memory_watch *w, const struct memory_conf *conf, struct diags *diags)
{
	*w = (struct memory_watch){ .limit = -1,
				    .high = -1,
				    .usage = -1,
				    .stat = -1,
				    .refuse_above = conf->refuse_above,
				    .resume_below = conf->resume_below };
	if (conf->cgroup == NULL)
		open_own(w);
	else if (!open_files(w, conf->cgroup))
		diag_error(diags, conf->cgroup_at, "E018",
			   "%s is no memory cgroup that can be read: there is neither memory.max "
			   "nor memory.limit_in_bytes",
			   conf->cgroup);
	if (conf->cgroup == NULL && w->starved)
		diag_error(diags, conf->cgroup_at, "E018",
			   "no file descriptors are left to read the memory cgroup");
	if (w->starved || (conf->cgroup != NULL && w->kind == NULL)) {
		close_files(w);
		return false;
	}
	w->look_ns = w->kind == NULL ? 0 : 1;
	return true;
}

void memory_close(struct memory_watch *w)
{
	close_files(w);
	w->look_ns = 0;
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

static void decide(const struct memory_watch *w, struct memory_state *s, uint64_t used,
		   uint64_t limit, uint64_t now_ns)
{
	bool refusing = atomic_load(&s->refusing);

	if (!refusing && limit != NONE && used > share_of(limit, w->refuse_above))
		begin(s, used, limit, now_ns);
	else if (refusing && (limit == NONE || used < share_of(limit, w->resume_below)))
		end(s, used, now_ns);
}

static uint64_t pace_ms(uint64_t used, uint64_t limit)
{
	if (limit == NONE)
		return MEMORY_IDLE_MS;
	return used > limit / 2 ? MEMORY_NEAR_MS : MEMORY_LOOK_MS;
}

static uint64_t room_in(const struct memory_watch *w, uint64_t used, uint64_t limit)
{
	uint64_t most = limit == NONE ? NONE : share_of(limit, w->refuse_above);

	if (most == NONE || w->refuse_above >= MILLION)
		return NONE;
	return used < most ? most - used : 0;
}

void memory_look(struct memory_watch *w, struct memory_state *s, uint64_t now_ns)
{
	uint64_t limit = w->kind == NULL ? NONE : read_limit(w);
	uint64_t usage = limit == NONE ? NONE : read_number(w->usage);
	uint64_t back = usage == NONE ? 0 : read_reclaimable(w), used;

	limit = usage == NONE ? NONE : limit;
	used = usage == NONE || back > usage ? 0 : usage - back;
	atomic_store(&s->limit_bytes, limit == NONE ? 0 : limit);
	atomic_store(&s->used_bytes, used);
	decide(w, s, used, limit, now_ns);
	atomic_store(&s->room_bytes, room_in(w, used, limit));
	atomic_fetch_add(&s->looks, 1);
	if (w->kind != NULL)
		w->look_ns = now_ns + pace_ms(used, limit) * CLOCK_MS;
	if (memory_refuses(s) && now_ns >= w->trim_ns) {
		w->trim_ns = now_ns + TRIM_EVERY;
		malloc_trim(0);
	}
}

uint64_t memory_wait_ms(const struct memory_state *s, uint64_t now_ns)
{
	uint64_t since_ns = atomic_load_explicit(&s->since_ns, memory_order_relaxed);
	uint64_t ms = memory_refuses(s) && now_ns > since_ns ? (now_ns - since_ns) / CLOCK_MS : 0;

	if (ms < MEMORY_WAIT_MIN_MS)
		return MEMORY_WAIT_MIN_MS;
	return ms < MEMORY_WAIT_MAX_MS ? ms : MEMORY_WAIT_MAX_MS;
}
