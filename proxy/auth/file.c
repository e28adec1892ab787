/* file.c - reads a file that the configuration names. */
#include "auth/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

static bool cannot(struct diags *diags, struct place at, const char *path, const char *why)
{
	diag_error(diags, at, "E018", "%s cannot be read: %s", path, why);
	return false;
}

/* Until it ends, or there is more of it than its size was. */
static ssize_t read_up_to(int fd, char *to, size_t max)
{
	size_t n = 0;

	while (n < max) {
		ssize_t got = read(fd, to + n, max - n);

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

/* NULL, or why it cannot be read. */
static const char *read_all(int fd, size_t size, char *to, struct slice *out)
{
	ssize_t n = read_up_to(fd, to, size + 1);

	if (n < 0)
		return strerror(errno);
	*out = slice_of(to, (size_t)n);
	return (size_t)n > size ? "it changes" : NULL;
}

static bool read_open(int fd, const char *path, size_t max, struct place at, struct arena *arena,
		      struct diags *diags, struct slice *out)
{
	const char *wrong;
	struct stat st;
	char *text;

	if (fstat(fd, &st) != 0)
		return cannot(diags, at, path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return cannot(diags, at, path, "it is no file");
	if ((uintmax_t)st.st_size > max) {
		diag_error(diags, at, "E016", "%s: it has at most %zu bytes", path, max);
		return false;
	}
	text = arena_alloc(arena, (size_t)st.st_size + 1);
	if (text == NULL) {
		diags_out_of_memory(diags);
		return false;
	}
	wrong = read_all(fd, (size_t)st.st_size, text, out);
	return wrong == NULL || cannot(diags, at, path, wrong);
}

bool auth_file_read(const char *path, size_t max, struct place at, struct arena *arena,
		    struct diags *diags, struct slice *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	bool ok;

	if (fd < 0)
		return cannot(diags, at, path, strerror(errno));
	ok = read_open(fd, path, max, at, arena, diags, out);
	close(fd);
	return ok;
}
