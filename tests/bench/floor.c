/* floor.c - the floor: the least that a relay can cost.
 *
 *   bench_floor --listen PORT --to PORT
 *
 * One thread, raw epoll.  Each client connection gets one upstream connection of its own, kept as
 * long as it; what one side sends is read (up to 64 KiB) and written to the other, and nothing is
 * parsed, limited or counted.  A proxy that costs 1.25 x the floor spends a fifth of its time on
 * everything that makes it a proxy.
 *
 * Laws: each socket is registered once for EPOLLIN; only while a write is blocked is its peer's
 * reading paused and its own EPOLLOUT asked for.  When either side ends, both are closed once what
 * was read has been written. */
#include "wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

struct end {
	int fd;
	struct end *peer;
	char *blocked; /* read from the peer, not yet taken by this socket */
	size_t blocked_at, blocked_size;
};

/* Both ends of a relay die together; an event of the same batch may still name one of them. */
struct pair {
	struct end client, upstream;
	bool closing, dead;
	struct pair *next_dead;
};

static int epoll_fd;
static uint16_t upstream_port;
static struct pair *dead_pairs;
static char scratch[WIRE_READ_BYTES];

static struct pair *pair_of(struct end *end)
{
	size_t client = offsetof(struct pair, client), upstream = offsetof(struct pair, upstream);
	return (struct pair *)((char *)end - (end->peer > end ? client : upstream));
}

static void end_watch(struct end *end, int operation, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = end };
	if (epoll_ctl(epoll_fd, operation, end->fd, &event) < 0)
		die("epoll_ctl: %s", strerror(errno));
}

static void pair_close(struct pair *pair)
{
	if (pair->dead)
		return;
	pair->dead = true;
	close(pair->client.fd);
	close(pair->upstream.fd);
	pair->next_dead = dead_pairs;
	dead_pairs = pair;
}

static void pairs_free_dead(void)
{
	while (dead_pairs) {
		struct pair *pair = dead_pairs;
		dead_pairs = pair->next_dead;
		free(pair->client.blocked);
		free(pair->upstream.blocked);
		free(pair);
	}
}

static void end_block(struct end *end, const char *bytes, size_t size)
{
	end->blocked = malloc(size);
	if (!end->blocked)
		die("out of memory");
	memcpy(end->blocked, bytes, size);
	end->blocked_at = 0;
	end->blocked_size = size;
	end_watch(end->peer, EPOLL_CTL_MOD, 0);
	end_watch(end, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
}

static void end_on_writable(struct end *end)
{
	ssize_t sent = send(end->fd, end->blocked + end->blocked_at,
			    end->blocked_size - end->blocked_at, MSG_NOSIGNAL);
	if (sent < 0) {
		if (errno != EAGAIN)
			pair_close(pair_of(end));
		return;
	}
	end->blocked_at += (size_t)sent;
	if (end->blocked_at < end->blocked_size)
		return;
	free(end->blocked);
	end->blocked = NULL;
	if (pair_of(end)->closing) {
		pair_close(pair_of(end));
		return;
	}
	end_watch(end, EPOLL_CTL_MOD, EPOLLIN);
	end_watch(end->peer, EPOLL_CTL_MOD, EPOLLIN);
}

static void end_on_ended(struct end *end)
{
	struct pair *pair = pair_of(end);
	if (!end->peer->blocked) {
		pair_close(pair);
		return;
	}
	pair->closing = true;
	end_watch(end, EPOLL_CTL_DEL, 0);
}

static void end_on_readable(struct end *end)
{
	ssize_t got = recv(end->fd, scratch, sizeof(scratch), 0);
	if (got < 0 && errno == EAGAIN)
		return;
	if (got <= 0) {
		end_on_ended(end);
		return;
	}
	ssize_t sent = send(end->peer->fd, scratch, (size_t)got, MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN) {
		pair_close(pair_of(end));
		return;
	}
	if (sent < got)
		end_block(end->peer, scratch + (sent > 0 ? sent : 0),
			  (size_t)(got - (sent > 0 ? sent : 0)));
}

static void on_connection(int client)
{
	struct pair *pair = calloc(1, sizeof(*pair));
	if (!pair)
		die("out of memory");
	pair->client = (struct end){ .fd = client, .peer = &pair->upstream };
	pair->upstream = (struct end){ .fd = connect_to(upstream_port), .peer = &pair->client };
	end_watch(&pair->client, EPOLL_CTL_ADD, EPOLLIN);
	end_watch(&pair->upstream, EPOLL_CTL_ADD, EPOLLIN);
}

static void on_event(const struct epoll_event *event, int listener)
{
	struct end *end = event->data.ptr;
	if (!end) {
		for (int fd; (fd = accept_from(listener)) >= 0;)
			on_connection(fd);
		return;
	}
	if (!pair_of(end)->dead && event->events & EPOLLOUT && end->blocked)
		end_on_writable(end);
	if (!pair_of(end)->dead && event->events & (EPOLLIN | EPOLLHUP | EPOLLERR) &&
	    !end->peer->blocked)
		end_on_readable(end);
	else if (!pair_of(end)->dead && event->events & (EPOLLHUP | EPOLLERR))
		pair_close(pair_of(end));
}

int main(int argc, char **argv)
{
	uint16_t port = 0;
	for (int i = 1; i + 1 < argc; i += 2) {
		if (!strcmp(argv[i], "--listen"))
			port = port_parse(argv[i + 1]);
		else if (!strcmp(argv[i], "--to"))
			upstream_port = port_parse(argv[i + 1]);
		else
			die("usage: bench_floor --listen PORT --to PORT");
	}
	if (!upstream_port)
		die("usage: bench_floor --listen PORT --to PORT");
	raise_file_limit();
	int listener = listen_on(port);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event events[WIRE_EVENTS] = { { .events = EPOLLIN } };
	if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, events) < 0)
		die("epoll: %s", strerror(errno));
	for (;;) {
		int n = epoll_wait(epoll_fd, events, WIRE_EVENTS, -1);
		for (int i = 0; i < n; i++)
			on_event(&events[i], listener);
		pairs_free_dead();
	}
}
