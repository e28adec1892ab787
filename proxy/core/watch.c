/* watch.c - inotify and a slow look. */
#include "core/watch.h"

#include <libgen.h>
#include <limits.h>
#include <stdio.h>
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

void watch_init(struct watch *w, const char *path, uint64_t now_ns)
{
	char copy[PATH_MAX];

	snprintf(copy, sizeof(copy), "%s", path);
	*w = (struct watch){ .path = path,
			     .fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC),
			     .seen = sign_of(path),
			     .look_ns = now_ns + WATCH_SLOW_MS * CLOCK_MS };
	if (w->fd >= 0 && inotify_add_watch(w->fd, dirname(copy),
					    IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE | IN_DELETE |
						IN_ATTRIB) >= 0)
		return;
	log_warn("watch: no inotify on the directory of %s: looking every %d ms", path,
		 WATCH_SLOW_MS);
	if (w->fd >= 0)
		close(w->fd);
	w->fd = -1;
}

void watch_fini(struct watch *w)
{
	if (w->fd >= 0)
		close(w->fd);
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

bool watch_look(struct watch *w, uint64_t now_ns)
{
	struct watch_sign sign = sign_of(w->path);
	bool changed = sign.ino != 0 && !same(&sign, &w->seen);

	w->stirred = false;
	w->look_ns = now_ns + WATCH_SLOW_MS * CLOCK_MS;
	if (sign.ino != 0) /* a file that is away for a moment is not a change */
		w->seen = sign;
	return changed;
}
