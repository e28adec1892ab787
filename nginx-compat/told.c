/* told.c - stderr and the error log, in nginx's form. */
#include "nginx-compat/told.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"

enum { LINE_BYTES = 2048, PATH_BYTES = 4096 }; /* nginx's own bound on a line */

/* The process has one of each. */
static int terminal = STDERR_FILENO; /* -1: nobody waits there */
static _Atomic int file = -1; /* workers log, too */
static char file_path[PATH_BYTES];
static bool redirected;

static void follow(void)
{
	if (redirected && file >= 0)
		dup2(file, STDERR_FILENO);
}

const char *told_to(const char *path)
{
	static char why[PATH_BYTES + 128];
	int fd;

	if (strcmp(path, file_path) == 0 || strcmp(path, "stderr") == 0)
		return NULL;
	fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0) {
		snprintf(why, sizeof(why), "open() \"%s\" failed (%d: %s)", path, errno,
			 strerror(errno));
		return why;
	}
	if (file >= 0) { /* the number stays: others may be writing to it */
		dup3(fd, file, O_CLOEXEC);
		close(fd);
	} else {
		file = fd;
	}
	snprintf(file_path, sizeof(file_path), "%s", path);
	follow();
	return NULL;
}

/* A line is one write(2), and is dropped where that would wait: workers log, too. */
static void put(int fd, char *line, int n)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };

	if (n >= LINE_BYTES)
		n = LINE_BYTES - 1;
	line[n] = '\n';
	if (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT) || write(fd, line, (size_t)n + 1) < 0)
		log_count_dropped();
}

static void put_log(int fd, const char *level, const char *text)
{
	char line[LINE_BYTES + 1], when[32];
	time_t now = time(NULL);
	struct tm tm;
	int n;

	localtime_r(&now, &tm);
	strftime(when, sizeof(when), "%Y/%m/%d %H:%M:%S", &tm);
	n = snprintf(line, LINE_BYTES, "%s [%s] %d#%d: %s", when, level, (int)getpid(),
		     (int)getpid(), text);
	put(fd, line, n);
}

static void put_file(const char *level, const char *text)
{
	if (file >= 0)
		put_log(file, level, text);
}

static void on_log(enum log_level level, const char *text)
{
	static const char *const names[] = { [LOG_DEBUG] = "debug",
					     [LOG_INFO] = "notice",
					     [LOG_WARN] = "warn",
					     [LOG_ERROR] = "error" };

	put_log(file >= 0 ? file : STDERR_FILENO, names[level], text);
}

void told_redirect(void)
{
	log_divert(on_log);
	if (file < 0 || redirected)
		return;
	terminal = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	redirected = true;
	follow();
}

void told_alone(void)
{
	if (redirected && terminal >= 0)
		close(terminal);
	if (redirected)
		terminal = -1;
}

void told_reopen(void)
{
	char path[PATH_BYTES];
	const char *why;

	snprintf(path, sizeof(path), "%s", file_path);
	file_path[0] = '\0';
	why = path[0] == '\0' ? NULL : told_to(path);
	if (why == NULL)
		return;
	snprintf(file_path, sizeof(file_path), "%s", path);
	put_file("emerg", why); /* the old one goes on */
}

void told(const char *level, const char *fmt, ...)
{
	char text[LINE_BYTES], line[LINE_BYTES + 1];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (terminal >= 0)
		put(terminal, line, snprintf(line, LINE_BYTES, "nginx: [%s] %s", level, text));
	put_file(level, text);
}

void told_log(const char *level, const char *fmt, ...)
{
	char text[LINE_BYTES];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put_file(level, text);
}
