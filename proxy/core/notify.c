/* notify.c - datagrams to the service manager. */
#include "core/notify.h"

#include <errno.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"

/* 0: not a number, or none. */
static uint64_t number_of(const char *name)
{
	const char *text = getenv(name);
	char *end = NULL;
	unsigned long long n;

	if (text == NULL || *text < '0' || *text > '9')
		return 0;
	errno = 0;
	n = strtoull(text, &end, 10);
	return errno == 0 && *end == '\0' ? n : 0;
}

static bool address_of(const char *text, struct notify *n)
{
	size_t len = strlen(text);

	if ((text[0] != '/' && text[0] != '@') || len < 2 || len >= sizeof(n->to.sun_path))
		return false;
	n->to.sun_family = AF_UNIX;
	memcpy(n->to.sun_path, text, len);
	if (text[0] == '@')
		n->to.sun_path[0] = '\0';
	n->to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
	return true;
}

void notify_init(struct notify *n)
{
	static const struct timeval limit = { .tv_sec = 1 };
	const char *where = getenv("NOTIFY_SOCKET");
	uint64_t pid = number_of("WATCHDOG_PID"), usec = number_of("WATCHDOG_USEC");

	*n = (struct notify){ .fd = -1 };
	if (where == NULL || *where == '\0')
		return;
	if (!address_of(where, n)) {
		log_warn("NOTIFY_SOCKET: `%s` is neither a path nor @NAME", where);
		return;
	}
	n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (n->fd < 0)
		return;
	setsockopt(n->fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if ((pid == 0 || pid == (uint64_t)getpid()) && usec < UINT64_MAX / 1000)
		n->watchdog_ns = usec * 1000;
}

void notify_send(const struct notify *n, const char *fmt, ...)
{
	char text[1024];
	va_list ap;
	int n_text;
	size_t len;

	if (n->fd < 0)
		return;
	va_start(ap, fmt);
	n_text = vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	len = n_text < 0 ? 0 : (size_t)n_text;
	if (len >= sizeof(text))
		len = sizeof(text) - 1;
	if (sendto(n->fd, text, len, MSG_NOSIGNAL, (const struct sockaddr *)&n->to, n->to_len) < 0)
		log_warn("the service manager cannot be told: %s", strerror(errno));
}
