/* listener.c - accepting. */
#include "io/listener.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/tcp.h>
#include <event2/event.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "io/transport.h"

enum { ACCEPTS_PER_TURN = 64 };

#define PAUSE_NS (100 * CLOCK_MS)
#define TELL_NS  (10 * CLOCK_S)

/* Whether somebody answers on a unix socket: if not, its file is left over from a process that
 * died. */
static bool unix_is_served(const struct addr *a)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	/* nobody else is refused: one that may not be connected to is somebody's, too */
	bool served = fd < 0 || connect(fd, &a->u.sa, a->len) == 0 || errno != ECONNREFUSED;

	if (fd >= 0)
		close(fd);
	return served;
}

static void remove_stale_socket(const struct addr *a)
{
	struct stat st;

	if (lstat(a->u.un.sun_path, &st) == 0 && S_ISSOCK(st.st_mode) && !unix_is_served(a))
		unlink(a->u.un.sun_path);
}

/* SO_REUSEADDR: connections of a process that ended, in TIME_WAIT, are no hindrance.  TCP_NODELAY:
 * what is accepted takes it over. */
static bool set_options(int fd, const struct addr *a, mode_t mode)
{
	static const int on = 1, off = 0;

	if (a->u.sa.sa_family == AF_UNIX)
		return fchmod(fd, mode) == 0; /* bind makes the file with it: never open to more */
	if (a->u.sa.sa_family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0;
}

static bool allow_sharing(int fd, const struct addr *a)
{
	static const int on = 1;

	return a->u.sa.sa_family == AF_UNIX ||
	       setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == 0;
}

/* With SO_REUSEPORT from the start, two processes would share an address and neither be told.  So
 * the first socket of ours takes it alone, and only then lets others of ours in. */
static bool take_address(int fd, const struct addr *a, int backlog, bool beside_own)
{
	return (!beside_own || allow_sharing(fd, a)) && bind(fd, &a->u.sa, a->len) == 0 &&
	       listen(fd, backlog) == 0 && (beside_own || allow_sharing(fd, a));
}

int listener_bind(const struct addr *a, int backlog, bool beside_own, mode_t mode,
		  const char **error)
{
	int fd = socket(a->u.sa.sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (a->u.sa.sa_family == AF_UNIX)
		remove_stale_socket(a);
	if (fd >= 0 && set_options(fd, a, mode) && take_address(fd, a, backlog, beside_own))
		return fd;
	*error = strerror(errno);
	if (fd >= 0)
		close(fd);
	return -1;
}

/* Connections wait in the kernel's queue meanwhile; a listener that stays readable would spin. */
static void pause_accepting(struct listener *l, int error)
{
	uint64_t now = l->loop->now_ns;

	if (l->told_ns == 0 || now - l->told_ns >= TELL_NS) {
		l->told_ns = now;
		log_warn("accept: %s: connections wait until others have ended", strerror(error));
	}
	l->paused = l->scarce = true;
	if (l->on_pause != NULL)
		l->on_pause(l);
	event_del(l->event);
	timer_set(&l->loop->timers, &l->pause, now + PAUSE_NS);
}

int listener_lowest(const struct listener *l)
{
	int fd = fcntl(l->fd, F_DUPFD_CLOEXEC, 0);

	if (fd >= 0)
		close(fd);
	return fd >= 0 ? fd : INT_MAX;
}

static bool has_descriptors(const struct listener *l)
{
	int fd = listener_lowest(l);

	return fd < INT_MAX && (l->bound == 0 || fd < l->bound);
}

static void on_pause_over(struct timer *t)
{
	struct listener *l = LIST_ENTRY(t, struct listener, pause);

	if (has_descriptors(l)) {
		l->paused = false;
		event_add(l->event, NULL);
	} else {
		timer_set(&l->loop->timers, &l->pause, l->loop->now_ns + PAUSE_NS);
	}
}

/* One too many is one that was let in before it was known: it is served, and no other is.  It may
 * stay, while others that were below the bound go: each pause would leave one more. */
static bool is_too_many(const struct listener *l, int fd)
{
	return l->bound != 0 && fd >= l->bound && !l->paused;
}

static void accept_some(struct listener *l, int most)
{
	for (int i = 0; i < most; i++) {
		struct addr peer = { .len = sizeof(peer.u) };
		int fd;

		if (l->scarce && l->bound != 0 && !has_descriptors(l)) {
			pause_accepting(l, EMFILE);
			return;
		}
		fd = accept4(l->fd, &peer.u.sa, &peer.len, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (fd < 0) {
			if (tcp_is_want(errno))
				pause_accepting(l, errno);
			else if (errno == ECONNABORTED || errno == EINTR)
				continue;
			return;
		}
		l->on_accept(l, fd, &peer);
		if (is_too_many(l, fd)) {
			pause_accepting(l, EMFILE);
			return;
		}
	}
}

static void on_readable(evutil_socket_t fd, short what, void *arg)
{
	struct listener *l = arg;

	(void)fd, (void)what;
	loop_enter(l->loop);
	accept_some(l, ACCEPTS_PER_TURN);
	loop_settle(l->loop);
}

bool listener_open(struct listener *l, struct loop *loop, int fd,
		   void (*on_accept)(struct listener *, int, const struct addr *), void *owner)
{
	*l = (struct listener){ .loop = loop, .fd = fd, .on_accept = on_accept, .owner = owner };
	timer_init(&l->pause, on_pause_over);
	l->event = event_new(loop->base, fd, EV_READ | EV_PERSIST, on_readable, l);
	if (l->event != NULL && event_add(l->event, NULL) == 0)
		return true;
	if (l->event != NULL)
		event_free(l->event);
	l->event = NULL; /* who holds it looks here whether there is something to close */
	close(fd);
	l->fd = -1;
	return false;
}

void listener_close(struct listener *l)
{
	l->bound = 0;
	accept_some(l, 65536);
	timer_fini(&l->loop->timers, &l->pause);
	event_free(l->event);
	close(l->fd);
	l->fd = -1;
}
