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

/* Until it ends, or there is more than `max` of it. */
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

bool auth_file_read(const char *path, size_t max, struct place at, struct arena *arena,
		    struct diags *diags, struct slice *out)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	struct stat st;
	char *text = NULL;
	ssize_t n = -1;
	bool fine = fd >= 0 && fstat(fd, &st) == 0;

	if (fine && S_ISREG(st.st_mode) && (uintmax_t)st.st_size <= max) {
		text = arena_alloc(arena, max + 1);
		n = text == NULL ? -1 : read_up_to(fd, text, max + 1);
	}
	if (!fine || (text != NULL && n < 0))
		cannot(diags, at, path, strerror(errno));
	else if (!S_ISREG(st.st_mode))
		cannot(diags, at, path, "it is no file");
	else if ((uintmax_t)st.st_size > max || (size_t)n > max)
		diag_error(diags, at, "E016", "%s: it has at most %zu bytes", path, max);
	else if (text == NULL)
		diags_out_of_memory(diags);
	else
		*out = slice_of(text, (size_t)n);
	if (fd >= 0)
		close(fd);
	return text != NULL && n >= 0 && (size_t)n <= max;
}
