/* backend.c - the app behind the proxies: a single-threaded HTTP/1.1 responder that is never the
 * slow part.
 *
 *   bench_backend [--listen PORT]     port 0 (the default): the kernel chooses.  Prints "listening
 * PORT".
 *
 *   GET /small               200, 200 bytes
 *   GET /1m                  200, 1 MB (1,000,000 bytes) with Content-Length
 *   POST anything            reads the body (by length or chunked), 200, 200 bytes
 *   GET /sse?n=N&rate=R      N server-sent events, R a second, chunked; each is one chunk and
 * carries the CLOCK_MONOTONIC nanosecond at which it was written:  data:
 * {"t":TTTTTTTTTTTTTTTTTTT,...}
 *
 * A connection is reading a head, swallowing a body, or writing: a long answer or a stream.  Only
 * what could not be parsed yet is kept.  Streams start at a random phase, so that their events
 * spread over the interval as those of unrelated clients do; all streams that are due lie in one
 * heap.  An event that finds the socket full is skipped. */
#include "wire.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	SMALL_BYTES = 200,
	LARGE_BYTES = 1000000,
	STREAMS_MAX = 65536,
	PENDING_BYTES = 256,
	HEAD_BYTES_MAX = 16384
};

struct stream {
	uint64_t due_ns, interval_ns, left;
	size_t heap_at; /* 0: not in the heap */
	char pending[PENDING_BYTES];
	size_t pending_at, pending_size;
};

struct connection {
	int fd;
	bool in_body, dead;
	uint64_t body_left;
	struct wire_chunks chunks;
	bool chunked;
	char *kept; /* the beginning of a head */
	size_t kept_size;
	const char *answer; /* what is still to be written */
	size_t answer_left;
	struct stream *stream;
	struct connection *next_dead;
};

static int epoll_fd;
static struct connection *dead_connections;
static struct connection *heap[STREAMS_MAX + 1]; /* from 1; the earliest first */
static size_t heap_size;
static char scratch[HEAD_BYTES_MAX + WIRE_READ_BYTES];
static char small_answer[SMALL_BYTES + 128], large_answer[LARGE_BYTES + 128];
static size_t small_size, large_size;

static void heap_put(size_t at, struct connection *c)
{
	heap[at] = c;
	c->stream->heap_at = at;
}

static void heap_sift(size_t at)
{
	struct connection *c = heap[at];
	while (at > 1 && heap[at / 2]->stream->due_ns > c->stream->due_ns) {
		heap_put(at, heap[at / 2]);
		at /= 2;
	}
	for (size_t child; (child = at * 2) <= heap_size; at = child) {
		if (child < heap_size &&
		    heap[child + 1]->stream->due_ns < heap[child]->stream->due_ns)
			child++;
		if (heap[child]->stream->due_ns >= c->stream->due_ns)
			break;
		heap_put(at, heap[child]);
	}
	heap_put(at, c);
}

static void heap_add(struct connection *c)
{
	if (heap_size == STREAMS_MAX)
		die("more than %d streams", STREAMS_MAX);
	heap[++heap_size] = c;
	heap_sift(heap_size);
}

static void heap_remove(struct connection *c)
{
	size_t at = c->stream->heap_at;
	struct connection *last = heap[heap_size--];
	c->stream->heap_at = 0;
	if (last == c)
		return;
	heap_put(at, last);
	heap_sift(at);
}

static void connection_watch(struct connection *c, int operation, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = c };
	if (epoll_ctl(epoll_fd, operation, c->fd, &event) < 0)
		die("epoll_ctl: %s", strerror(errno));
}

static void stream_end(struct connection *c)
{
	if (c->stream && c->stream->heap_at)
		heap_remove(c);
	free(c->stream);
	c->stream = NULL;
}

static void connection_close(struct connection *c)
{
	if (c->dead)
		return;
	stream_end(c);
	close(c->fd);
	c->dead = true;
	c->next_dead = dead_connections;
	dead_connections = c;
}

static void connections_free_dead(void)
{
	while (dead_connections) {
		struct connection *c = dead_connections;
		dead_connections = c->next_dead;
		free(c->kept);
		free(c);
	}
}

/* How much of it the socket took; -1 when the connection is gone. */
static ssize_t connection_send(struct connection *c, const char *bytes, size_t size)
{
	ssize_t sent = send(c->fd, bytes, size, MSG_NOSIGNAL);
	if (sent >= 0)
		return sent;
	if (errno == EAGAIN)
		return 0;
	connection_close(c);
	return -1;
}

static void connection_answer(struct connection *c, const char *bytes, size_t size)
{
	ssize_t sent = connection_send(c, bytes, size);
	if (sent < 0 || (size_t)sent == size)
		return;
	c->answer = bytes + sent;
	c->answer_left = size - (size_t)sent;
	connection_watch(c, EPOLL_CTL_MOD, EPOLLOUT);
}

static uint64_t query_number(const char *target, const char *name, uint64_t otherwise)
{
	for (const char *at = target; *at != ' '; at++) {
		if ((*at == '?' || *at == '&') && !strncmp(at + 1, name, strlen(name)))
			return strtoull(at + 1 + strlen(name), NULL, 10);
	}
	return otherwise;
}

static void stream_start(struct connection *c, const char *target)
{
	static const char head[] = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
				   "Cache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n\r\n";
	uint64_t rate = query_number(target, "rate=", 20);
	c->stream = calloc(1, sizeof(*c->stream));
	if (!c->stream || !rate)
		die("a stream without memory or rate");
	c->stream->interval_ns = 1000000000u / rate;
	c->stream->left = query_number(target, "n=", 100);
	c->stream->due_ns = now_ns() + (uint64_t)random() % c->stream->interval_ns;
	heap_add(c);
	connection_answer(c, head, sizeof(head) - 1);
}

static void stream_send(struct connection *c, const char *bytes, size_t size)
{
	ssize_t sent = connection_send(c, bytes, size);
	if (sent <= 0 || (size_t)sent == size)
		return;
	c->stream->pending_at = 0;
	c->stream->pending_size = size - (size_t)sent;
	memcpy(c->stream->pending, bytes + sent, c->stream->pending_size);
	connection_watch(c, EPOLL_CTL_MOD, EPOLLIN | EPOLLOUT);
}

static void stream_on_writable(struct connection *c)
{
	struct stream *stream = c->stream;
	ssize_t sent =
	    connection_send(c, stream->pending + stream->pending_at, stream->pending_size);
	if (sent < 0)
		return;
	stream->pending_at += (size_t)sent;
	stream->pending_size -= (size_t)sent;
	if (!stream->pending_size)
		connection_watch(c, EPOLL_CTL_MOD, EPOLLIN);
}

static void stream_on_due(struct connection *c)
{
	char event[PENDING_BYTES], chunk[PENDING_BYTES];
	struct stream *stream = c->stream;
	if (!stream->left) {
		stream_end(c);
		connection_answer(c, "0\r\n\r\n", 5);
		return;
	}
	stream->left--;
	stream->due_ns += stream->interval_ns;
	heap_sift(stream->heap_at);
	if (stream->pending_size || c->answer_left)
		return;
	int size =
	    snprintf(event, sizeof(event),
		     "data: {\"t\":%019llu,\"choices\":[{\"index\":0,\"delta\":{\"content\":\" "
		     "token\"}}]}\n\n",
		     (unsigned long long)now_ns());
	int whole = snprintf(chunk, sizeof(chunk), "%x\r\n%s\r\n", (unsigned)size, event);
	stream_send(c, chunk, (size_t)whole);
}

static void connection_on_request(struct connection *c, const struct wire_head *head)
{
	if (!strncmp(head->target, "/sse", 4))
		stream_start(c, head->target);
	else if (!strncmp(head->target, "/1m", 3))
		connection_answer(c, large_answer, large_size);
	else
		connection_answer(c, small_answer, small_size);
}

static size_t connection_swallow(struct connection *c, const char *bytes, size_t size)
{
	if (!c->chunked) {
		size_t taken = size < c->body_left ? size : (size_t)c->body_left;
		c->body_left -= taken;
		c->in_body = c->body_left > 0;
		return taken;
	}
	size_t at = 0, data_size;
	const char *data;
	while (at < size && !wire_chunks_done(&c->chunks))
		at += wire_chunks_step(&c->chunks, bytes + at, size - at, &data, &data_size);
	c->in_body = !wire_chunks_done(&c->chunks);
	return at;
}

/* One request's worth of bytes, or what there is of it; 0 when more is needed. */
static size_t connection_take(struct connection *c, const char *bytes, size_t size)
{
	if (c->in_body) {
		size_t taken = connection_swallow(c, bytes, size);
		if (!c->in_body)
			connection_answer(c, small_answer, small_size);
		return taken;
	}
	struct wire_head head;
	if (!wire_head_read(bytes, size, &head))
		return 0;
	c->chunked = head.chunked;
	c->chunks = (struct wire_chunks){ 0 };
	c->body_left = head.length;
	c->in_body = head.chunked || head.length > 0;
	if (!c->in_body)
		connection_on_request(c, &head);
	return head.bytes;
}

static void connection_keep(struct connection *c, const char *bytes, size_t size)
{
	if (size > HEAD_BYTES_MAX) {
		connection_close(c);
		return;
	}
	char *kept = size ? malloc(size) : NULL;
	if (size && !kept)
		die("out of memory");
	if (size)
		memcpy(kept, bytes, size);
	free(c->kept);
	c->kept = kept;
	c->kept_size = size;
}

static void connection_on_bytes(struct connection *c, size_t size)
{
	size_t at = 0, taken = 1;
	while (at < size && taken && !c->dead && !c->answer_left) {
		taken = connection_take(c, scratch + at, size - at);
		at += taken;
	}
	if (!c->dead && (at < size || c->kept_size))
		connection_keep(c, scratch + at, size - at);
}

static void connection_on_readable(struct connection *c)
{
	if (c->kept_size)
		memcpy(scratch, c->kept, c->kept_size);
	ssize_t got = recv(c->fd, scratch + c->kept_size, WIRE_READ_BYTES, 0);
	if (got > 0)
		connection_on_bytes(c, c->kept_size + (size_t)got);
	else if (got == 0 || errno != EAGAIN)
		connection_close(c);
}

static void connection_on_writable(struct connection *c)
{
	ssize_t sent = connection_send(c, c->answer, c->answer_left);
	if (sent < 0)
		return;
	c->answer += sent;
	c->answer_left -= (size_t)sent;
	if (c->answer_left)
		return;
	connection_watch(c, EPOLL_CTL_MOD, EPOLLIN);
	if (c->kept_size) {
		memcpy(scratch, c->kept, c->kept_size);
		connection_on_bytes(c, c->kept_size);
	}
}

static void on_event(const struct epoll_event *event, int listener)
{
	struct connection *c = event->data.ptr;
	if (!c) {
		for (int fd; (fd = accept_from(listener)) >= 0;) {
			c = calloc(1, sizeof(*c));
			if (!c)
				die("out of memory");
			c->fd = fd;
			connection_watch(c, EPOLL_CTL_ADD, EPOLLIN);
		}
		return;
	}
	if (c->dead)
		return;
	if (event->events & EPOLLOUT && c->answer_left)
		connection_on_writable(c);
	else if (event->events & EPOLLOUT && c->stream && c->stream->pending_size)
		stream_on_writable(c);
	else
		connection_on_readable(c);
}

static void streams_run(void)
{
	uint64_t now = now_ns();
	while (heap_size && heap[1]->stream->due_ns <= now)
		stream_on_due(heap[1]);
}

static int events_wait(struct epoll_event *events)
{
	if (!heap_size)
		return epoll_wait(epoll_fd, events, WIRE_EVENTS, -1);
	uint64_t now = now_ns(), due = heap[1]->stream->due_ns, wait = due > now ? due - now : 0;
	struct timespec timeout = { (time_t)(wait / 1000000000u), (long)(wait % 1000000000u) };
	return epoll_pwait2(epoll_fd, events, WIRE_EVENTS, &timeout, NULL);
}

static size_t answer_make(char *answer, size_t capacity, size_t body)
{
	int head = snprintf(answer, capacity,
			    "HTTP/1.1 200 OK\r\nContent-Type: "
			    "application/octet-stream\r\nContent-Length: %zu\r\n\r\n",
			    body);
	memset(answer + head, 'w', body);
	return (size_t)head + body;
}

int main(int argc, char **argv)
{
	if (argc != 1 && (argc != 3 || strcmp(argv[1], "--listen")))
		die("usage: bench_backend [--listen PORT]");
	raise_file_limit();
	small_size = answer_make(small_answer, sizeof(small_answer), SMALL_BYTES);
	large_size = answer_make(large_answer, sizeof(large_answer), LARGE_BYTES);
	int listener = listen_on(argc == 3 ? port_parse(argv[2]) : 0);
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event events[WIRE_EVENTS] = { { .events = EPOLLIN } };
	if (epoll_fd < 0 || epoll_ctl(epoll_fd, EPOLL_CTL_ADD, listener, events) < 0)
		die("epoll: %s", strerror(errno));
	printf("listening %u\n", (unsigned)port_of(listener));
	fflush(stdout);
	for (;;) {
		int n = events_wait(events);
		for (int i = 0; i < n; i++)
			on_event(&events[i], listener);
		streams_run();
		connections_free_dead();
	}
}
