/* tcp.c - a transport over a stream socket and libevent. */
#include <errno.h>
#include <event2/event.h>
#include <event2/event_struct.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <unistd.h>

#include "io/loop.h"
#include "io/transport.h"

struct tcp {
	struct transport transport; /* first */
	struct loop *loop;
	int fd;
	unsigned wants;
	struct event read, write;
};

static struct tcp *tcp_of(struct transport *t)
{
	return (struct tcp *)(void *)t;
}

static bool would_block(void)
{
	return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
}

static ssize_t tcp_recv(struct transport *t, void *p, size_t n)
{
	ssize_t got = recv(tcp_of(t)->fd, p, n, 0);

	if (got >= 0)
		return got;
	t->error = would_block() ? t->error : errno;
	return would_block() ? TRANSPORT_AGAIN : TRANSPORT_BROKEN;
}

static ssize_t tcp_writev(struct transport *t, const struct iovec *iov, int n)
{
	struct msghdr m = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n };
	int fd = tcp_of(t)->fd;
	/* most is one piece, and send takes that for less */
	ssize_t sent = n == 1 ? send(fd, iov->iov_base, iov->iov_len, MSG_NOSIGNAL)
			      : sendmsg(fd, &m, MSG_NOSIGNAL);

	if (sent >= 0)
		return sent;
	t->error = would_block() ? t->error : errno;
	return would_block() ? TRANSPORT_AGAIN : TRANSPORT_BROKEN;
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct tcp *tcp = arg;
	struct loop *loop = tcp->loop; /* what follows may free the transport */
	unsigned ready = 0;

	(void)fd;
	if (what & EV_READ)
		ready |= WANT_READ;
	if (what & EV_WRITE)
		ready |= tcp->wants & (WANT_WRITE | WANT_HANGUP);
	loop_enter(loop);
	tcp->transport.on_ready(tcp->transport.owner, ready);
	loop_settle(loop);
}

static void arm(struct tcp *tcp, struct event *ev, short what)
{
	if (what == 0) {
		event_del(ev);
		return;
	}
	event_assign(ev, tcp->loop->base, tcp->fd, (short)(what | EV_PERSIST), on_event, tcp);
	event_add(ev, NULL);
}

/* Changes are the edges of the writing side: an error is one, data that comes is none, so a peer
 * that sends into a pause wakes nobody. */
static short write_event(unsigned wants)
{
	if (wants & WANT_HANGUP)
		return EV_WRITE | EV_ET;
	return wants & WANT_WRITE ? EV_WRITE : 0;
}

/* A registration for reading lasts: only a pause or the peer's end takes it back.  libevent wants
 * one trigger mode for both events of a descriptor: what ends is taken down before the other is
 * put up. */
static void tcp_want(struct transport *t, unsigned wants)
{
	struct tcp *tcp = tcp_of(t);
	unsigned changed = wants ^ tcp->wants;
	short write_now = write_event(tcp->wants), write = write_event(wants);

	tcp->wants = wants;
	if ((changed & WANT_READ) && !(wants & WANT_READ))
		arm(tcp, &tcp->read, 0);
	if (write != write_now && write_now != 0)
		arm(tcp, &tcp->write, 0);
	if (write != write_now && write != 0)
		arm(tcp, &tcp->write, write);
	if ((changed & WANT_READ) && (wants & WANT_READ))
		arm(tcp, &tcp->read, EV_READ);
}

static void tcp_half_close(struct transport *t)
{
	shutdown(tcp_of(t)->fd, SHUT_WR);
}

static bool tcp_intact(struct transport *t)
{
	int error = 0;
	socklen_t len = sizeof(error);

	if (getsockopt(tcp_of(t)->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0)
		return true;
	t->error = error;
	return false;
}

static bool tcp_quiet(struct transport *t)
{
	char byte;

	return recv(tcp_of(t)->fd, &byte, sizeof(byte), MSG_PEEK) < 0 && would_block();
}

static bool tcp_local(const struct transport *t, struct addr *out)
{
	const struct tcp *tcp = (const struct tcp *)(const void *)t;

	*out = (struct addr){ .len = sizeof(out->u) };
	return getsockname(tcp->fd, &out->u.sa, &out->len) == 0;
}

static bool tcp_process(const struct transport *t, uid_t *uid, pid_t *pid)
{
	const struct tcp *tcp = (const struct tcp *)(const void *)t;
	struct ucred who;
	socklen_t n = sizeof(who);

	if (getsockopt(tcp->fd, SOL_SOCKET, SO_PEERCRED, &who, &n) != 0 || who.uid == (uid_t)-1)
		return false;
	*uid = who.uid;
	*pid = who.pid;
	return true;
}

static void tcp_close(struct transport *t, bool reset)
{
	static const struct linger at_once = { .l_onoff = 1, .l_linger = 0 };
	struct tcp *tcp = tcp_of(t);

	tcp_want(t, 0);
	if (reset)
		setsockopt(tcp->fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof(at_once));
	close(tcp->fd);
	free(tcp);
}

static const struct transport_ops tcp_ops = {
	.recv = tcp_recv,
	.writev = tcp_writev,
	.want = tcp_want,
	.half_close = tcp_half_close,
	.intact = tcp_intact,
	.quiet = tcp_quiet,
	.local = tcp_local,
	.process = tcp_process,
	.close = tcp_close,
};

struct transport *tcp_open(struct loop *loop, int fd)
{
	struct tcp *tcp = calloc(1, sizeof(*tcp));

	if (tcp == NULL) {
		close(fd);
		return NULL;
	}
	*tcp = (struct tcp){ .transport.ops = &tcp_ops, .loop = loop, .fd = fd };
	return &tcp->transport;
}

/* The port is chosen with the address that is called: the same one serves for many of those. */
static bool come_from(int fd, const struct addr *source)
{
	static const int on = 1;

	if (source == NULL)
		return true;
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &on, sizeof(on));
	return bind(fd, &source->u.sa, source->len) == 0;
}

bool tcp_is_want(int error)
{
	return error == EMFILE || error == ENFILE || error == ENOBUFS || error == ENOMEM ||
	       error == EADDRNOTAVAIL;
}

/* Whether this machine has an address to go there from: datagrams need one as well, and their ports are not those that
 * can be used up here. */
static bool has_source_for(const struct addr *addr)
{
	int fd = socket(addr->u.sa.sa_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	bool has = fd < 0 || connect(fd, &addr->u.sa, addr->len) == 0 || errno != EADDRNOTAVAIL;

	if (fd >= 0)
		close(fd);
	return has;
}

static struct transport *failed_at_once(struct loop *loop, int fd, int error, bool want)
{
	if (fd >= 0)
		close(fd);
	loop->connect_error = error;
	loop->connect_want = want && tcp_is_want(error);
	return NULL;
}

struct transport *tcp_connect(struct loop *loop, const struct addr *addr)
{
	static const int on = 1;
	int family = addr->u.sa.sa_family;
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return failed_at_once(loop, fd, errno, true);
	if (loop->connect_bound != 0 && fd >= loop->connect_bound)
		return failed_at_once(loop, fd, EMFILE, true);
	if (family != AF_UNIX)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (!come_from(fd, loop->source)) /* a source that this machine does not have */
		return failed_at_once(loop, fd, errno, errno != EADDRNOTAVAIL);
	/* a unix socket whose backlog is full says EAGAIN, and will not say more: a failure */
	if (connect(fd, &addr->u.sa, addr->len) < 0 && errno != EINPROGRESS) {
		int error = errno;

		return failed_at_once(loop, fd, error,
				      error != EADDRNOTAVAIL || has_source_for(addr));
	}
	loop->connect_error = 0;
	loop->connect_want = false;
	return tcp_open(loop, fd);
}
