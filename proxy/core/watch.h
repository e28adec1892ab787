/* watch.h - hears of changes to the configuration file, and to files that it names.
 *
 * inotify on their directories (an editor renames, a Kubernetes ConfigMap or Secret swaps the
 * symlink `..data`), and a slow look at the files themselves as a net, since inotify is deaf on
 * some file systems. */
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

enum { WATCH_FILES = 64 }; /* that are named; further ones only a reload reads again */

struct watch_file {
	const char *path;
	struct watch_sign seen;
};

struct watch {
	int fd;             /* inotify; -1: only the slow look */
	bool stirred;       /* something happened: look once it has settled */
	uint64_t look_ns;   /* when to look next */
	uint64_t latest_ns; /* when stirred: it is put off no further than this */
	unsigned n;
	struct watch_file file[1 + WATCH_FILES]; /* the first is the configuration itself */
};

/* A look comes once the folder has been quiet for the first, and at the latest after the second. */
enum { WATCH_SETTLE_MS = 100, WATCH_LATEST_MS = 1000, WATCH_SLOW_MS = 5000 };

void watch_init(struct watch *, const char *path, uint64_t now_ns);
void watch_fini(struct watch *);
/* The other files that matter from here, as the configuration names them; at most WATCH_FILES.  Of
 * those that mattered before, a change since the last look is one still. */
void watch_follow(struct watch *, const char *const *path, unsigned n);
/* The descriptor is readable. */
void watch_on_event(struct watch *, uint64_t now_ns);
/* Due: whether a file is another than at the last look. */
bool watch_look(struct watch *, uint64_t now_ns);

#endif
