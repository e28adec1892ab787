/* pid_file.c - see pid_file.h. */
#include "core/pid_file.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

const struct pid_order *pid_order_find(const struct pid_order *order, const char *name)
{
	for (; order->name != NULL; order++)
		if (strcmp(order->name, name) == 0)
			return order;
	return NULL;
}

/* 0 and less are whole groups of processes to kill(2). */
static bool read_number(struct pid_told *t)
{
	long pid;

	t->text[strcspn(t->text, "\r\n")] = '\0';
	pid = strspn(t->text, "0123456789") == strlen(t->text) ? strtol(t->text, NULL, 10) : 0;
	if (pid <= 0 || pid > INT32_MAX)
		return false;
	t->pid = (pid_t)pid;
	return true;
}

static bool send_signal(struct pid_told *t, int signal)
{
	t->signal = signal;
	return kill(t->pid, signal) == 0;
}

enum pid_answer pid_file_tell(const char *path, const struct pid_order *order, struct pid_told *t)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	*t = (struct pid_told){ .pid = 0 };
	if (fd < 0)
		return PID_NO_FILE;
	n = read(fd, t->text, sizeof(t->text) - 1);
	close(fd);
	t->text[n < 0 ? 0 : n] = '\0';
	if (!read_number(t))
		return PID_NO_NUMBER;
	if (!send_signal(t, order->first) || (order->second != 0 && !send_signal(t, order->second)))
		return PID_NOT_TOLD;
	return PID_TOLD;
}
