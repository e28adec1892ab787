/* wire.c - loopback sockets, heads, chunks and histograms for the benchmark's own programs. */
#include "wire.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>

void die(const char *format, ...)
{
	va_list args;
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fputc('\n', stderr);
	exit(1);
}

uint64_t now_ns(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

int timeout_ms_until(uint64_t due_ns, uint64_t now)
{
	if (due_ns <= now)
		return 0;
	uint64_t ms = (due_ns - now + 999999) / 1000000;
	return ms > 60000 ? 60000 : (int)ms;
}

void raise_file_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		die("getrlimit: %s", strerror(errno));
	limit.rlim_cur = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
		die("setrlimit: %s", strerror(errno));
}

static struct sockaddr_in loopback(uint16_t port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET,
				     .sin_port = htons(port),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static int socket_open(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket: %s", strerror(errno));
	return fd;
}

static void socket_set_nodelay(int fd)
{
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
}

int listen_on(uint16_t port)
{
	struct sockaddr_in address = loopback(port);
	int fd = socket_open();
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 }, sizeof(int));
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 4096) < 0)
		die("listen on 127.0.0.1:%u: %s", (unsigned)port, strerror(errno));
	return fd;
}

uint16_t port_of(int fd)
{
	struct sockaddr_in address;
	socklen_t size = sizeof(address);
	if (getsockname(fd, (struct sockaddr *)&address, &size) < 0)
		die("getsockname: %s", strerror(errno));
	return ntohs(address.sin_port);
}

int connect_to(uint16_t port)
{
	struct sockaddr_in address = loopback(port);
	int fd = socket_open();
	socket_set_nodelay(fd);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0 && errno != EINPROGRESS)
		die("connect to 127.0.0.1:%u: %s", (unsigned)port, strerror(errno));
	return fd;
}

int accept_from(int listener)
{
	int fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0)
		socket_set_nodelay(fd);
	else if (errno != EAGAIN && errno != ECONNABORTED)
		die("accept: %s", strerror(errno));
	return fd;
}

uint64_t number_parse(const char *text)
{
	char *end;
	errno = 0;
	unsigned long long number = strtoull(text, &end, 10);
	if (errno || end == text || *end || *text == '-')
		die("not a number: %s", text);
	return number;
}

uint16_t port_parse(const char *text)
{
	uint64_t port = number_parse(text);
	if (port > UINT16_MAX)
		die("not a port: %s", text);
	return (uint16_t)port;
}

static bool line_is(const char *line, size_t size, const char *prefix)
{
	size_t length = strlen(prefix);
	return size >= length && strncasecmp(line, prefix, length) == 0;
}

static void head_read_field(struct wire_head *head, const char *line, size_t size)
{
	char first = (char)(*line | 0x20);
	if (first == 'c' && line_is(line, size, "content-length:")) {
		head->has_length = true;
		head->length = strtoull(line + 15, NULL, 10);
	} else if (first == 'c' && line_is(line, size, "connection: close")) {
		head->closes = true;
	} else if (first == 't' && line_is(line, size, "transfer-encoding:")) {
		head->chunked = true;
	}
}

bool wire_head_read(const char *bytes, size_t size, struct wire_head *head)
{
	const char *end = memmem(bytes, size, "\r\n\r\n", 4);
	if (!end)
		return false;
	*head = (struct wire_head){ .bytes = (size_t)(end - bytes) + 4 };
	const char *line_end = memchr(bytes, '\r', head->bytes);
	const char *blank = memchr(bytes, ' ', (size_t)(line_end - bytes));
	if (line_is(bytes, size, "HTTP/"))
		head->status = blank ? (int)strtol(blank + 1, NULL, 10) : 0;
	else
		head->target = blank ? blank + 1 : bytes;
	while (line_end < end) {
		const char *line = line_end + 2;
		line_end = memchr(line, '\r', (size_t)(end - line) + 1);
		head_read_field(head, line, (size_t)(line_end - line));
	}
	return true;
}

enum { CHUNK_SIZE, CHUNK_EXTENSION, CHUNK_DATA, CHUNK_DATA_END, CHUNK_TRAILER, CHUNK_DONE };

static int digit_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static void chunks_on_byte(struct wire_chunks *chunks, char c)
{
	int digit = digit_value(c);
	if (chunks->state == CHUNK_SIZE && digit >= 0) {
		chunks->left = chunks->left * 16 + (unsigned)digit;
	} else if (chunks->state == CHUNK_SIZE || chunks->state == CHUNK_EXTENSION) {
		chunks->state =
		    c == '\n' ? (chunks->left ? CHUNK_DATA : CHUNK_TRAILER) : CHUNK_EXTENSION;
		chunks->line_empty = true;
	} else if (chunks->state == CHUNK_DATA_END) {
		chunks->state = c == '\n' ? CHUNK_SIZE : CHUNK_DATA_END;
	} else if (c == '\n') {
		chunks->state = chunks->line_empty ? CHUNK_DONE : CHUNK_TRAILER;
		chunks->line_empty = true;
	} else if (c != '\r') {
		chunks->line_empty = false;
	}
}

size_t wire_chunks_step(struct wire_chunks *chunks, const char *bytes, size_t size,
			const char **data, size_t *data_size)
{
	size_t at = 0;
	*data_size = 0;
	while (at < size && chunks->state != CHUNK_DATA && chunks->state != CHUNK_DONE)
		chunks_on_byte(chunks, bytes[at++]);
	if (chunks->state != CHUNK_DATA || at == size)
		return at;
	*data = bytes + at;
	*data_size = size - at < chunks->left ? size - at : (size_t)chunks->left;
	chunks->left -= *data_size;
	if (!chunks->left)
		chunks->state = CHUNK_DATA_END;
	return at + *data_size;
}

bool wire_chunks_done(const struct wire_chunks *chunks)
{
	return chunks->state == CHUNK_DONE;
}

enum { HISTOGRAM_STEPS = 128, HISTOGRAM_SHIFT = 7 };

static size_t histogram_cell(uint64_t value)
{
	if (value < HISTOGRAM_STEPS)
		return (size_t)value;
	unsigned doublings = 63u - (unsigned)__builtin_clzll(value) - HISTOGRAM_SHIFT;
	size_t cell =
	    (doublings + 1) * HISTOGRAM_STEPS + (size_t)((value >> doublings) - HISTOGRAM_STEPS);
	size_t cells = sizeof(((struct histogram *)0)->cells) / sizeof(uint32_t);
	return cell < cells ? cell : cells - 1;
}

static uint64_t histogram_value(size_t cell)
{
	if (cell < HISTOGRAM_STEPS)
		return cell;
	size_t doublings = cell / HISTOGRAM_STEPS - 1;
	return ((uint64_t)(cell % HISTOGRAM_STEPS) + HISTOGRAM_STEPS) << doublings;
}

void histogram_add(struct histogram *histogram, uint64_t value_ns)
{
	histogram->count++;
	histogram->cells[histogram_cell(value_ns)]++;
}

double histogram_percentile_us(const struct histogram *histogram, double percentile)
{
	uint64_t seen = 0;
	double wanted = (double)histogram->count * percentile / 100;
	for (size_t i = 0; histogram->count && i < sizeof(histogram->cells) / sizeof(uint32_t);
	     i++) {
		seen += histogram->cells[i];
		if ((double)seen >= wanted)
			return (double)histogram_value(i) / 1000;
	}
	return 0;
}
