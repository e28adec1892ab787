/* file.c - a whole file: the one place where what the configuration names is read. */
#include "conf/file.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Reads up to `size` bytes; -1 with errno. */
static ssize_t read_all(int fd, char *out, size_t size)
{
	size_t n = 0;

	while (n < size) {
		ssize_t got = read(fd, out + n, size - n);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -1;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	return (ssize_t)n;
}

static const char *check_kind(const struct stat *st, enum file_want want, size_t max)
{
	if (S_ISDIR(st->st_mode))
		return "it is a folder";
	if (want == FILE_REGULAR && !S_ISREG(st->st_mode))
		return "it is no regular file";
	if (S_ISREG(st->st_mode) && (uint64_t)st->st_size > max)
		return "it is too large";
	return NULL;
}

/* Pipes have no size to ask for, and files in /proc claim to be empty: those are read into a buffer
 * that grows. */
static bool read_growing(int fd, size_t max, struct buf *b, const char **why)
{
	for (;;) {
		ssize_t got;

		if (!buf_reserve(b, 16384))
			return false;
		got = read_all(fd, b->p + b->n, 16384);
		if (got < 0) {
			*why = strerror(errno);
			return false;
		}
		if (got == 0)
			return true;
		b->n += (size_t)got;
		if (b->n > max) {
			*why = "it is too large";
			return false;
		}
	}
}

static bool load_open(int fd, enum file_want want, size_t max, struct buf *b, struct file_id *id,
		      const char **why)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0) {
		*why = strerror(errno);
		return false;
	}
	*why = check_kind(&st, want, max);
	*id = (struct file_id){ .dev = st.st_dev, .ino = st.st_ino };
	return *why == NULL && read_growing(fd, max, b, why);
}

bool file_load(const char *path, enum file_want want, size_t max, struct buf *b, struct file_id *id,
	       const char **why)
{
	int fd =
	    open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | (want == FILE_REGULAR ? O_NONBLOCK : 0));
	struct file_id unasked;
	bool ok;

	*why = NULL;
	ok = load_open(fd, want, max, b, id != NULL ? id : &unasked, why);
	if (fd >= 0)
		close(fd);
	return ok;
}

bool file_read(const char *path, enum file_want want, size_t max, struct arena *arena,
	       struct slice *text, struct file_id *id, const char **why)
{
	struct buf b = { 0 };
	bool ok = file_load(path, want, max, &b, id, why);

	if (ok)
		*text = arena_copy(arena, slice_of(b.p, b.n));
	buf_fini(&b);
	return ok && text->p != NULL;
}
