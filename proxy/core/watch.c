/* watch.c - inotify and a slow look. */
#include "core/watch.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

static struct watch_sign sign_of(const char *path)
{
	struct stat st;

	if (stat(path, &st) != 0)
		return (struct watch_sign){ 0 };
	return (struct watch_sign){ .dev = st.st_dev,
				    .ino = st.st_ino,
				    .size = st.st_size,
				    .mtime_s = st.st_mtim.tv_sec,
				    .mtime_ns = st.st_mtim.tv_nsec };
}

static bool same(const struct watch_sign *a, const struct watch_sign *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->mtime_s == b->mtime_s && a->mtime_ns == b->mtime_ns;
}

/* Watching a directory twice is watching it once. */
static bool hear_of(const struct watch *w, const char *path)
{
	char copy[PATH_MAX];

	snprintf(copy, sizeof(copy), "%s", path);
	return w->fd >= 0 && inotify_add_watch(w->fd, dirname(copy),
					       IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE |
						   IN_DELETE | IN_ATTRIB) >= 0;
}

void watch_init(struct watch *w, const char *path, uint64_t now_ns)
{
	*w = (struct watch){ .fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC),
			     .n = 1,
			     .file[0] = { .path = path, .seen = sign_of(path) },
			     .look_ns = now_ns + WATCH_SLOW_MS * CLOCK_MS };
	if (hear_of(w, path))
		return;
	log_warn("watch: no inotify on the directory of %s: looking every %d ms", path,
		 WATCH_SLOW_MS);
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
}

static void forget(struct watch *w)
{
	for (unsigned i = 1; i < w->n; i++)
		free((char *)(uintptr_t)w->file[i].path);
	w->n = 1;
}

void watch_fini(struct watch *w)
{
	forget(w);
	if (w->fd >= 0)
		close(w->fd);
}

static struct watch_sign seen_of(const struct watch *w, const char *path)
{
	for (unsigned i = 0; i < w->n; i++)
		if (strcmp(w->file[i].path, path) == 0)
			return w->file[i].seen;
	return sign_of(path);
}

/* Directories that matter no more go on being heard of: a look too many, no more. */
void watch_follow(struct watch *w, const char *const *path, unsigned n)
{
	struct watch_file file[WATCH_FILES];
	unsigned kept = 0;

	for (unsigned i = 0; i < n && i < WATCH_FILES; i++) {
		file[kept].seen = seen_of(w, path[i]);
		file[kept].path = strdup(path[i]);
		if (file[kept].path == NULL)
			break;
		hear_of(w, path[i]);
		kept++;
	}
	forget(w);
	memcpy(w->file + 1, file, kept * sizeof(file[0]));
	w->n = 1 + kept;
}

void watch_on_event(struct watch *w, uint64_t now_ns)
{
	char events[4096];
	bool some = false;

	while (read(w->fd, events, sizeof(events)) > 0)
		some = true;
	if (!some)
		return;
	if (!w->stirred)
		w->latest_ns = now_ns + WATCH_LATEST_MS * CLOCK_MS;
	w->stirred = true;
	w->look_ns = now_ns + WATCH_SETTLE_MS * CLOCK_MS;
	if (w->look_ns > w->latest_ns)
		w->look_ns = w->latest_ns;
}

/* A file that is away for a moment is no change. */
static bool file_changed(struct watch_file *f)
{
	struct watch_sign sign = sign_of(f->path);
	bool changed = sign.ino != 0 && !same(&sign, &f->seen);

	if (sign.ino != 0)
		f->seen = sign;
	return changed;
}

bool watch_look(struct watch *w, uint64_t now_ns)
{
	bool changed = false;

	w->stirred = false;
	w->look_ns = now_ns + WATCH_SLOW_MS * CLOCK_MS;
	for (unsigned i = 0; i < w->n; i++)
		changed = file_changed(&w->file[i]) || changed;
	return changed;
}
