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
	return would_block() ? TRANSPORT_AGAIN : TRANSPORT_BROKEN;
}

static ssize_t tcp_writev(struct transport *t, const struct iovec *iov, int n)
{
	struct msghdr m = { .msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n };
	ssize_t sent = sendmsg(tcp_of(t)->fd, &m, MSG_NOSIGNAL);

	if (sent >= 0)
		return sent;
	return would_block() ? TRANSPORT_AGAIN : TRANSPORT_BROKEN;
}

static void on_event(evutil_socket_t fd, short what, void *arg)
{
	struct tcp *tcp = arg;
	unsigned wants = 0;

	(void)fd;
	if (what & EV_READ)
		wants |= tcp->wants & (WANT_READ | WANT_HANGUP);
	if (what & EV_WRITE)
		wants |= WANT_WRITE;
	loop_enter(tcp->loop);
	tcp->transport.on_ready(tcp->transport.owner, wants);
	loop_settle(tcp->loop);
}

/* A registration for reading lasts: only a pause or the peer's end takes it back. */
static void want_read(struct tcp *tcp, unsigned wants)
{
	struct event_base *base = tcp->loop->base;
	short edge = wants & WANT_HANGUP ? EV_ET : 0;

	if (tcp->wants & (WANT_READ | WANT_HANGUP))
		event_del(&tcp->read);
	if (wants & (WANT_READ | WANT_HANGUP)) {
		event_assign(&tcp->read, base, tcp->fd, (short)(EV_READ | EV_PERSIST | edge),
			     on_event, tcp);
		event_add(&tcp->read, NULL);
	}
}

static void want_write(struct tcp *tcp, unsigned wants)
{
	short edge = wants & WANT_HANGUP ? EV_ET : 0;

	if (tcp->wants & WANT_WRITE)
		event_del(&tcp->write);
	if (wants & WANT_WRITE) {
		event_assign(&tcp->write, tcp->loop->base, tcp->fd,
			     (short)(EV_WRITE | EV_PERSIST | edge), on_event, tcp);
		event_add(&tcp->write, NULL);
	}
}

static void tcp_want(struct transport *t, unsigned wants)
{
	struct tcp *tcp = tcp_of(t);
	unsigned changed = wants ^ tcp->wants;

	/* libevent wants one trigger mode for both events of a descriptor: take both down before
	 * either changes */
	if ((changed & WANT_HANGUP) && (tcp->wants & WANT_WRITE)) {
		want_write(tcp, 0);
		tcp->wants &= ~(unsigned)WANT_WRITE;
		changed |= wants & WANT_WRITE;
	}
	if (changed & (WANT_READ | WANT_HANGUP))
		want_read(tcp, wants);
	if (changed & WANT_WRITE)
		want_write(tcp, wants);
	tcp->wants = wants;
}

static void tcp_half_close(struct transport *t)
{
	shutdown(tcp_of(t)->fd, SHUT_WR);
}

static bool tcp_connected(struct transport *t)
{
	int error = 0;
	socklen_t len = sizeof(error);

	return getsockopt(tcp_of(t)->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 && error == 0;
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
	.connected = tcp_connected,
	.close = tcp_close,
};

struct transport *tcp_open(struct loop *loop, int fd, bool no_delay)
{
	static const int on = 1;
	struct tcp *tcp = calloc(1, sizeof(*tcp));

	if (tcp == NULL) {
		close(fd);
		return NULL;
	}
	if (no_delay)
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	*tcp = (struct tcp){ .transport.ops = &tcp_ops, .loop = loop, .fd = fd };
	return &tcp->transport;
}

struct transport *tcp_connect(struct loop *loop, const struct addr *addr)
{
	int family = addr->u.sa.sa_family;
	int fd = socket(family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return NULL;
	/* a unix socket whose backlog is full says EAGAIN, and will not say more: a failure */
	if (connect(fd, &addr->u.sa, addr->len) < 0 && errno != EINPROGRESS) {
		close(fd);
		return NULL;
	}
	return tcp_open(loop, fd, family != AF_UNIX);
}
