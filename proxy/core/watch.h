/* watch.h - hears of changes to the configuration file.
 *
 * inotify on its directory (an editor renames, a Kubernetes ConfigMap swaps the symlink `..data`),
 * and a slow look at the file itself as a net, since inotify is deaf on some file systems. */
#ifndef CORE_WATCH_H
#define CORE_WATCH_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct watch_sign { /* what tells one version of the file from another */
	dev_t dev;
	ino_t ino;
	off_t size;
	int64_t mtime_s, mtime_ns;
};

struct watch {
	const char *path;
	int fd;             /* inotify; -1: only the slow look */
	bool stirred;       /* something happened: look once it has settled */
	uint64_t look_ns;   /* when to look next */
	uint64_t latest_ns; /* when stirred: it is put off no further than this */
	struct watch_sign seen;
};

/* A look comes once the folder has been quiet for the first, and at the latest after the second. */
enum { WATCH_SETTLE_MS = 100, WATCH_LATEST_MS = 1000, WATCH_SLOW_MS = 5000 };

void watch_init(struct watch *, const char *path, uint64_t now_ns);
void watch_fini(struct watch *);
/* The descriptor is readable. */
void watch_on_event(struct watch *, uint64_t now_ns);
/* Due: whether the file is another than at the last look. */
bool watch_look(struct watch *, uint64_t now_ns);

#endif
