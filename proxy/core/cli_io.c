/* cli_io.c - what the commands print, and send. */
#include <stdarg.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "core/cli_internal.h"

int cli_usage_error(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("weir: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputs("\n`weir help` says what there is\n", stderr);
	va_end(ap);
	return STATUS_USAGE;
}

int cli_put(FILE *out, struct buf *b, int status)
{
	bool ok = !b->oom && fwrite(b->p == NULL ? "" : b->p, 1, b->n, out) == b->n;

	if (b->oom)
		fputs("weir: out of memory\n", stderr);
	else if (fflush(out) != 0 || !ok)
		fprintf(stderr, "weir: cannot write the output\n");
	else
		ok = true;
	ok = ok && !ferror(out);
	buf_fini(b);
	return ok ? status : STATUS_FAILED;
}

bool cli_colour(FILE *out)
{
	const char *no = getenv("NO_COLOR"), *term = getenv("TERM");

	return isatty(fileno(out)) && (no == NULL || *no == '\0') &&
	       (term == NULL || strcmp(term, "dumb") != 0);
}

bool cli_send_all(int fd, const char *p, size_t n)
{
	while (n > 0) {
		ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);

		if (sent <= 0)
			return false;
		p += sent;
		n -= (size_t)sent;
	}
	return true;
}
