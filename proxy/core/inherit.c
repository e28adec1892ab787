/* inherit.c - sockets from before the start. */
#include "core/inherit.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"

enum { FIRST_FD = 3 }; /* SD_LISTEN_FDS_START */

static int option_of(int fd, int option)
{
	int value = 0;
	socklen_t len = sizeof(value);

	return getsockopt(fd, SOL_SOCKET, option, &value, &len) == 0 ? value : -1;
}

static bool address_of(int fd, struct addr *a)
{
	*a = (struct addr){ .len = sizeof(a->u) };
	if (getsockname(fd, &a->u.sa, &a->len) < 0)
		return false;
	return a->u.sa.sa_family == AF_INET || a->u.sa.sa_family == AF_INET6 ||
	       (a->u.sa.sa_family == AF_UNIX && a->u.un.sun_path[0] == '/');
}

static bool is_listener(int fd, struct addr *a)
{
	return option_of(fd, SO_TYPE) == SOCK_STREAM && option_of(fd, SO_ACCEPTCONN) == 1 &&
	       address_of(fd, a);
}

/* As listener_bind leaves its own. */
static void make_ready(int fd, const struct addr *a)
{
	static const int on = 1;

	fcntl(fd, F_SETFD, FD_CLOEXEC);
	fcntl(fd, F_SETFL, O_NONBLOCK);
	if (a->u.sa.sa_family != AF_UNIX)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

static void add(struct inherited *in, int fd)
{
	struct inherited_socket s = { .fd = fd };

	if (!is_listener(fd, &s.addr)) {
		log_warn("descriptor %d was handed over, but it is no listening stream socket: not "
			 "used",
			 fd);
		return;
	}
	make_ready(fd, &s.addr);
	in->socket[in->n++] = s;
}

void inherited_init(struct inherited *in)
{
	const char *pid = getenv("LISTEN_PID"), *count = getenv("LISTEN_FDS");
	int n = count != NULL ? atoi(count) : 0;

	in->n = 0;
	if (pid == NULL || atol(pid) != (long)getpid())
		return;
	if (n > INHERITED_MAX)
		log_warn("%d sockets were handed over: those after the first %d are not used", n,
			 INHERITED_MAX);
	for (int fd = FIRST_FD; fd < FIRST_FD + n && fd < FIRST_FD + INHERITED_MAX; fd++)
		add(in, fd);
}

int inherited_take(struct inherited *in, const struct addr *a)
{
	for (unsigned i = 0; i < in->n; i++) {
		struct inherited_socket *s = &in->socket[i];

		if (!addr_eq(&s->addr, a))
			continue;
		s->used = true;
		return fcntl(s->fd, F_DUPFD_CLOEXEC, 0);
	}
	return -1;
}

void inherited_warn_unused(const struct inherited *in)
{
	char text[ADDR_TEXT_MAX];

	for (unsigned i = 0; i < in->n; i++) {
		if (in->socket[i].used)
			continue;
		addr_format(&in->socket[i].addr, text);
		log_warn("socket %s was handed over, but nothing in the configuration listens "
			 "there",
			 text);
	}
}
