/* load.c - the load generator: one thread, epoll, one line of JSON.
 *
 *   bench_load --port P [--mode calls|sse|idle] [--path /small] [--connections 64]
 *              [--seconds 3] [--warmup 0.3]
 *              [--calls N]              calls: stop after so many, however long it takes
 *              [--rate R]               calls: open loop, R calls a second at fixed times
 *                                       (else closed loop)
 *              [--post BYTES]           calls: POST with a body of so many bytes
 *              [--fresh]                calls: a new connection for each
 *              [--tls] [--resume]       over TLS; each new connection takes up an earlier session
 *              [--keys N] [--in-order]  calls: header x-api-key drawn from N keys, or each in turn
 *              [--events R]             sse: events a second in each stream
 *              [--watch PID]...         CPU time of these processes in the measured window, all
 *                                       threads of each
 *
 *   calls  closed loop: each connection sends its next call when its answer has come.  Open loop:
 *          a call is due at a fixed time whether or not an answer came, and its latency counts
 *          from then, so that a stalled proxy cannot hide the calls it would have kept waiting.
 *   sse    one stream a connection; the delay of an event is the time from the nanosecond it
 *          carries to its arrival.
 *   idle   one call on each connection, then all are held: prints "held" and waits until its
 *          standard input closes.
 *
 * The measured window starts when the warm-up is over (sse: when it is over after every stream had
 * its first event). CPU time is the scheduler's own, in ns (/proc/PID/task/TID/schedstat), read at
 * both ends of the window by the process that counts the calls, so both counts are of the same
 * stretch of time.
 *
 * A connection: CONNECTING (at most 128 at once) -> SENDING -> HEAD -> BODY -> SENDING or, in open
 * loop, READY. */
#include "secure.h"
#include "wire.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	CONNECTING_MAX = 128,
	WATCHED_MAX = 16,
	LINE_BYTES = 64,
	KEY_DIGITS = 8,
	STATUSES = 600,
	CALLS_GRACE_S = 120,
	ERRORS_MAX = 10000
};

enum state { CLOSED, CONNECTING, SENDING, HEAD, BODY, READY };

struct connection {
	int fd;
	struct secure *secure;
	enum state state;
	uint64_t started_ns;
	uint64_t key;
	size_t sent;
	uint64_t body_left;
	bool chunked, closes, watching_out;
	int status;
	struct wire_chunks chunks;
	char *kept; /* the beginning of a head */
	size_t kept_size;
	char line[LINE_BYTES]; /* of an event stream */
	size_t line_size;
	bool had_event;
	struct connection *next_ready;
};

static struct {
	uint16_t port;
	const char *mode, *path;
	uint64_t connections, calls, post_bytes, keys, events_per_s;
	double seconds, warmup, rate;
	bool fresh, in_order, sse, idle, tls, resume;
	int watched[WATCHED_MAX];
	size_t watched_count;
} options = { .mode = "calls",
	      .path = "/small",
	      .connections = 64,
	      .seconds = 3,
	      .warmup = 0.3,
	      .events_per_s = 20 };

static struct {
	uint64_t calls, errors, connects, bytes, events, statuses[STATUSES];
	struct histogram latency, delay;
} counted;

static int epoll_fd;
static struct connection *connections, *ready;
static uint64_t connecting, opened, keys_used, answered_ever, streams_ready, idle_answers;
static bool measuring, finished;
static char *request;
static size_t request_size, request_key_at;
static char scratch[WIRE_READ_BYTES * 2];
static uint64_t window_start_ns, window_end_ns, next_due_ns, cpu_start_ns, cpu_end_ns;
static uint64_t random_state = 0x9e3779b97f4a7c15u;

static uint64_t random_next(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state;
}

static uint64_t thread_cpu_ns(int pid, const char *thread)
{
	char path[300];
	unsigned long long spent = 0;
	snprintf(path, sizeof(path), "/proc/%d/task/%s/schedstat", pid, thread);
	FILE *file = fopen(path, "r");
	if (!file)
		return 0;
	if (fscanf(file, "%llu", &spent) != 1)
		spent = 0;
	fclose(file);
	return spent;
}

static uint64_t process_cpu_ns(int pid)
{
	char path[64];
	uint64_t spent = 0;
	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	DIR *threads = opendir(path);
	if (!threads)
		die("process %d is gone", pid);
	for (struct dirent *thread; (thread = readdir(threads));)
		spent += thread->d_name[0] == '.' ? 0 : thread_cpu_ns(pid, thread->d_name);
	closedir(threads);
	return spent;
}

static uint64_t watched_cpu_ns(void)
{
	uint64_t spent = 0;
	for (size_t i = 0; i < options.watched_count; i++)
		spent += process_cpu_ns(options.watched[i]);
	return spent;
}

/* The head is made once; only the key's digits change. */
static void request_make(void)
{
	size_t capacity = options.post_bytes + strlen(options.path) + 512;
	request = malloc(capacity);
	if (!request)
		die("out of memory");
	int size =
	    snprintf(request, capacity, "%s %s", options.post_bytes ? "POST" : "GET", options.path);
	if (options.sse)
		size += snprintf(request + size, capacity - (size_t)size, "?n=1000000000&rate=%llu",
				 (unsigned long long)options.events_per_s);
	size += snprintf(
	    request + size, capacity - (size_t)size,
	    " HTTP/1.1\r\nHost: bench.example\r\nUser-Agent: bench\r\nAccept: */*\r\nx-api-key: k");
	request_key_at = (size_t)size;
	size += snprintf(request + size, capacity - (size_t)size, "%0*d\r\n", KEY_DIGITS, 0);
	if (options.post_bytes)
		size += snprintf(request + size, capacity - (size_t)size,
				 "Content-Type: application/json\r\nContent-Length: %llu\r\n",
				 (unsigned long long)options.post_bytes);
	size += snprintf(request + size, capacity - (size_t)size, "\r\n");
	memset(request + size, 'b', options.post_bytes);
	request_size = (size_t)size + options.post_bytes;
}

static void request_set_key(uint64_t key)
{
	for (size_t i = KEY_DIGITS; i > 0; i--, key /= 10)
		request[request_key_at + i - 1] = (char)('0' + key % 10);
}

static void connection_watch(struct connection *c, int operation, bool out)
{
	struct epoll_event event = { .events = EPOLLIN | (out ? (uint32_t)EPOLLOUT : 0),
				     .data.ptr = c };
	if (epoll_ctl(epoll_fd, operation, c->fd, &event) < 0)
		die("epoll_ctl: %s", strerror(errno));
	c->watching_out = out;
}

static void connection_open(struct connection *c)
{
	c->fd = connect_to(options.port);
	c->secure = options.tls ? secure_open(c->fd) : NULL;
	c->state = CONNECTING;
	c->kept_size = 0;
	connecting++;
	counted.connects += measuring;
	connection_watch(c, EPOLL_CTL_ADD, true);
}

static void connection_close(struct connection *c)
{
	connecting -= c->state == CONNECTING;
	secure_close(c->secure);
	close(c->fd);
	c->secure = NULL;
	c->state = CLOSED;
	free(c->kept);
	c->kept = NULL;
	c->kept_size = 0;
}

/* A call that failed: counted, and the connection made anew. */
static void connection_fail(struct connection *c)
{
	counted.errors += c->state != READY;
	if (counted.errors > ERRORS_MAX)
		die("more than %d calls failed", ERRORS_MAX);
	connection_close(c);
	connection_open(c);
}

static void connection_send(struct connection *c)
{
	if (options.keys)
		request_set_key(c->key);
	ssize_t sent = c->secure
			   ? secure_send(c->secure, request + c->sent, request_size - c->sent)
			   : send(c->fd, request + c->sent, request_size - c->sent, MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN) {
		connection_fail(c);
		return;
	}
	c->sent += sent > 0 ? (size_t)sent : 0;
	bool whole = c->sent == request_size;
	c->state = whole ? HEAD : SENDING;
	if (c->watching_out == whole)
		connection_watch(c, EPOLL_CTL_MOD, !whole);
}

static void connection_call(struct connection *c, uint64_t at_ns)
{
	c->started_ns = at_ns;
	c->sent = 0;
	if (options.keys)
		c->key =
		    options.in_order ? keys_used++ % options.keys : random_next() % options.keys;
	connection_send(c);
}

static void connection_rest(struct connection *c)
{
	if (c->watching_out)
		connection_watch(c, EPOLL_CTL_MOD, false);
	c->state = READY;
	c->next_ready = ready;
	ready = c;
}

/* A connected or answered connection: what it does next. */
static void connection_go_on(struct connection *c)
{
	if (options.rate > 0 || (options.idle && c->status))
		connection_rest(c);
	else
		connection_call(c, now_ns());
}

static void call_count(struct connection *c, uint64_t now)
{
	answered_ever++;
	if (!measuring)
		return;
	counted.calls++;
	counted.statuses[c->status < STATUSES ? c->status : 0]++;
	histogram_add(&counted.latency, now > c->started_ns ? now - c->started_ns : 0);
	if (options.calls && counted.calls >= options.calls)
		finished = true;
}

static void call_end(struct connection *c)
{
	call_count(c, now_ns());
	if (c->closes || options.fresh) {
		connection_close(c);
		connection_open(c);
	} else {
		connection_go_on(c);
	}
}

static void event_on_line(struct connection *c)
{
	static const char prefix[] = "data: {\"t\":";
	if (c->line_size < sizeof(prefix) || memcmp(c->line, prefix, sizeof(prefix) - 1) != 0)
		return;
	uint64_t sent = strtoull(c->line + sizeof(prefix) - 1, NULL, 10), now = now_ns();
	streams_ready += !c->had_event;
	c->had_event = true;
	if (!measuring || sent < window_start_ns)
		return;
	counted.events++;
	histogram_add(&counted.delay, now > sent ? now - sent : 0);
}

/* Lines are cut at LINE_BYTES - 1: the time stands in front. */
static void events_feed(struct connection *c, const char *data, size_t size)
{
	while (size) {
		const char *end = memchr(data, '\n', size);
		size_t part = end ? (size_t)(end - data) : size;
		size_t room = LINE_BYTES - 1 - c->line_size, kept = part < room ? part : room;
		memcpy(c->line + c->line_size, data, kept);
		c->line_size += kept;
		if (!end)
			return;
		c->line[c->line_size] = 0;
		event_on_line(c);
		c->line_size = 0;
		data += part + 1;
		size -= part + 1;
	}
}

static bool body_feed(struct connection *c, const char *bytes, size_t size)
{
	if (!c->chunked) {
		c->body_left -= size < c->body_left ? size : c->body_left;
		return c->body_left == 0;
	}
	while (size && !wire_chunks_done(&c->chunks)) {
		size_t data_size;
		const char *data;
		size_t taken = wire_chunks_step(&c->chunks, bytes, size, &data, &data_size);
		if (data_size && options.sse)
			events_feed(c, data, data_size);
		bytes += taken;
		size -= taken;
	}
	return wire_chunks_done(&c->chunks);
}

static void head_keep(struct connection *c, size_t size)
{
	free(c->kept);
	c->kept = malloc(size);
	if (!c->kept)
		die("out of memory");
	memcpy(c->kept, scratch, size);
	c->kept_size = size;
}

static void head_on_bytes(struct connection *c, size_t size)
{
	struct wire_head head;
	if (!wire_head_read(scratch, size, &head)) {
		if (size > WIRE_READ_BYTES)
			connection_fail(c);
		else
			head_keep(c, size);
		return;
	}
	free(c->kept);
	c->kept = NULL;
	c->kept_size = 0;
	c->status = head.status;
	c->chunked = head.chunked;
	c->closes = head.closes;
	c->body_left = head.length;
	c->chunks = (struct wire_chunks){ 0 };
	c->state = BODY;
	if (body_feed(c, scratch + head.bytes, size - head.bytes))
		call_end(c);
}

/* The handshake is part of connecting; true: done. */
static bool connection_shake(struct connection *c)
{
	int result = c->secure ? secure_shake(c->secure) : 1;
	if (result < 0)
		connection_fail(c);
	else if (result != 1 && c->watching_out != (result == 2))
		connection_watch(c, EPOLL_CTL_MOD, result == 2);
	return result == 1;
}

static void connection_on_bytes(struct connection *c, ssize_t got);

/* What OpenSSL holds no event announces. */
static void connection_on_secure(struct connection *c)
{
	while (c->state == HEAD || c->state == BODY || c->state == READY) {
		struct secure *secure = c->secure;
		size_t kept = c->state == HEAD ? c->kept_size : 0;
		ssize_t got = secure_recv(secure, scratch + kept, WIRE_READ_BYTES);
		if (got < 0 && errno == EAGAIN)
			return;
		connection_on_bytes(c, got);
		if (c->secure != secure)
			return;
	}
}

static void connection_on_readable(struct connection *c)
{
	if (c->secure) {
		connection_on_secure(c);
		return;
	}
	/* A long body is not looked at: with MSG_TRUNC the kernel drops it instead of copying it,
	 * which leaves the core to the backend. */
	bool drop = c->state == BODY && !c->chunked;
	size_t room = drop && c->body_left < (1u << 20) ? (size_t)c->body_left : (1u << 20);
	ssize_t got = drop ? recv(c->fd, NULL, room, MSG_TRUNC)
			   : recv(c->fd, scratch + c->kept_size, WIRE_READ_BYTES, 0);
	if (got < 0 && errno == EAGAIN)
		return;
	connection_on_bytes(c, got);
}

static void connection_on_bytes(struct connection *c, ssize_t got)
{
	if (got <= 0 || c->state == READY || c->state == CONNECTING) {
		connection_fail(c);
		return;
	}
	counted.bytes += measuring ? (uint64_t)got : 0;
	if (c->state == BODY) {
		if (body_feed(c, scratch, (size_t)got))
			call_end(c);
		return;
	}
	if (c->kept_size)
		memcpy(scratch, c->kept, c->kept_size);
	head_on_bytes(c, c->kept_size + (size_t)got);
}

static void connection_on_event(struct connection *c, uint32_t events)
{
	if (c->state == CLOSED)
		return;
	if (c->state == CONNECTING) {
		if (events & (EPOLLERR | EPOLLHUP)) {
			connection_fail(c);
			return;
		}
		if (!connection_shake(c))
			return;
		connecting--;
		c->state = SENDING;
		c->status = 0;
		connection_go_on(c);
	} else if (events & EPOLLOUT && c->state == SENDING) {
		connection_send(c);
	} else {
		connection_on_readable(c);
	}
}

static struct connection *ready_pop(void)
{
	while (ready) {
		struct connection *c = ready;
		ready = c->next_ready;
		if (c->state == READY)
			return c;
	}
	return NULL;
}

static void calls_start_due(uint64_t now)
{
	while (next_due_ns <= now) {
		struct connection *c = ready_pop();
		if (!c)
			return;
		connection_call(c, next_due_ns);
		next_due_ns += (uint64_t)(1e9 / options.rate);
	}
}

static void connections_open_more(void)
{
	while (opened < options.connections && connecting < CONNECTING_MAX)
		connection_open(&connections[opened++]);
}

static void window_open(uint64_t now)
{
	measuring = true;
	window_start_ns = now;
	window_end_ns = now + (uint64_t)(options.seconds * 1e9);
	if (options.calls || options.idle)
		window_end_ns = now + CALLS_GRACE_S * 1000000000ull;
	cpu_start_ns = watched_cpu_ns();
}

static bool everything_is_up(void)
{
	if (options.sse)
		return streams_ready == options.connections;
	/* with a handshake each, somebody is always connecting */
	return opened == options.connections && (!connecting || (options.tls && options.fresh));
}

/* When the loop has to look at the clock again. */
static uint64_t window_step(uint64_t now)
{
	static uint64_t warm_ns;
	if (!warm_ns && everything_is_up())
		warm_ns = now + (uint64_t)(options.warmup * 1e9);
	if (!measuring && warm_ns && now >= warm_ns)
		window_open(now);
	if (measuring && now >= window_end_ns)
		finished = true;
	if (measuring)
		return window_end_ns;
	return warm_ns ? warm_ns : now + 100000000;
}

/* True: somebody wants one more call on each connection, all at once. */
static bool idle_hold(void)
{
	char byte;
	puts("held");
	fflush(stdout);
	if (read(STDIN_FILENO, &byte, 1) != 1)
		return false;
	uint64_t now = now_ns();
	window_end_ns = now + CALLS_GRACE_S * 1000000000ull;
	idle_answers += options.connections;
	finished = false;
	for (struct connection *c; (c = ready_pop());)
		connection_call(c, now);
	return true;
}

static int events_wait(struct epoll_event *events, uint64_t until)
{
	uint64_t now = now_ns();
	if (options.rate > 0 && ready && next_due_ns < until)
		until = next_due_ns;
	uint64_t wait = until > now ? until - now : 0;
	struct timespec timeout = { (time_t)(wait / 1000000000u), (long)(wait % 1000000000u) };
	return epoll_pwait2(epoll_fd, events, WIRE_EVENTS, &timeout, NULL);
}

static void run_until_finished(uint64_t give_up_ns)
{
	struct epoll_event events[WIRE_EVENTS];
	while (!finished) {
		connections_open_more();
		uint64_t now = now_ns(), until = window_step(now);
		if (!measuring && now > give_up_ns)
			die("the load never got going: %llu of %llu connections, %llu calls "
			    "answered, %llu errors",
			    (unsigned long long)opened, (unsigned long long)options.connections,
			    (unsigned long long)answered_ever, (unsigned long long)counted.errors);
		if (options.rate > 0)
			calls_start_due(now);
		int n = events_wait(events, until);
		for (int i = 0; i < n; i++)
			connection_on_event(events[i].data.ptr, events[i].events);
		if (options.idle && answered_ever >= idle_answers)
			finished = true;
	}
}

static void run(void)
{
	next_due_ns = now_ns();
	idle_answers = options.connections;
	if (options.idle)
		window_open(next_due_ns);
	do {
		run_until_finished(next_due_ns + 60 * 1000000000ull);
	} while (options.idle && idle_hold());
	cpu_end_ns = watched_cpu_ns();
	window_end_ns = now_ns();
}

static void print_percentiles(const char *name, const struct histogram *histogram)
{
	printf(", \"%s\": {\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"p99.9\": %.1f}", name,
	       histogram_percentile_us(histogram, 50), histogram_percentile_us(histogram, 90),
	       histogram_percentile_us(histogram, 99), histogram_percentile_us(histogram, 99.9));
}

static void print_statuses(void)
{
	const char *comma = "";
	printf(", \"statuses\": {");
	for (int i = 0; i < STATUSES; i++) {
		if (!counted.statuses[i])
			continue;
		printf("%s\"%d\": %llu", comma, i, (unsigned long long)counted.statuses[i]);
		comma = ", ";
	}
	printf("}");
}

static void print_counted(void)
{
	double seconds = measuring ? (double)(window_end_ns - window_start_ns) / 1e9 : 0;
	printf("{\"seconds\": %.4f, \"calls\": %llu, \"refused\": %llu, \"errors\": %llu, "
	       "\"connects\": %llu",
	       seconds, (unsigned long long)counted.calls,
	       (unsigned long long)counted.statuses[429], (unsigned long long)counted.errors,
	       (unsigned long long)counted.connects);
	print_statuses();
	printf(", \"rps\": %.1f, \"bytes\": %llu, \"events\": %llu, \"cpu_ns\": %llu",
	       seconds > 0 ? (double)counted.calls / seconds : 0, (unsigned long long)counted.bytes,
	       (unsigned long long)counted.events, (unsigned long long)(cpu_end_ns - cpu_start_ns));
	print_percentiles("latency_us", &counted.latency);
	print_percentiles("delay_us", &counted.delay);
	printf("}\n");
}

struct option {
	const char *name;
	enum { TEXT, NUMBER, REAL, PORT, FLAG, PID } kind;
	void *value;
};

static const struct option known_options[] = {
	{ "--port", PORT, &options.port },
	{ "--mode", TEXT, &options.mode },
	{ "--path", TEXT, &options.path },
	{ "--connections", NUMBER, &options.connections },
	{ "--calls", NUMBER, &options.calls },
	{ "--post", NUMBER, &options.post_bytes },
	{ "--keys", NUMBER, &options.keys },
	{ "--events", NUMBER, &options.events_per_s },
	{ "--seconds", REAL, &options.seconds },
	{ "--warmup", REAL, &options.warmup },
	{ "--rate", REAL, &options.rate },
	{ "--fresh", FLAG, &options.fresh },
	{ "--in-order", FLAG, &options.in_order },
	{ "--tls", FLAG, &options.tls },
	{ "--resume", FLAG, &options.resume },
	{ "--watch", PID, NULL },
};

static void option_set(const struct option *option, const char *value)
{
	switch (option->kind) {
	case TEXT:
		*(const char **)option->value = value;
		return;
	case NUMBER:
		*(uint64_t *)option->value = number_parse(value);
		return;
	case REAL:
		*(double *)option->value = strtod(value, NULL);
		return;
	case PORT:
		*(uint16_t *)option->value = port_parse(value);
		return;
	case FLAG:
		*(bool *)option->value = true;
		return;
	case PID:
		if (options.watched_count == WATCHED_MAX)
			die("--watch takes at most %d processes", WATCHED_MAX);
		options.watched[options.watched_count++] = (int)number_parse(value);
		return;
	}
}

static void options_read(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		const struct option *option = known_options,
				    *end = option + sizeof(known_options) / sizeof(*option);
		while (option < end && strcmp(option->name, argv[i]))
			option++;
		if (option == end || (option->kind != FLAG && i + 1 == argc))
			die("bench_load: do not understand %s (see the top of load.c)", argv[i]);
		option_set(option, option->kind == FLAG ? NULL : argv[++i]);
	}
	options.sse = !strcmp(options.mode, "sse");
	options.idle = !strcmp(options.mode, "idle");
	if (!options.port || !options.connections || !options.events_per_s)
		die("bench_load: --port, and at least one connection and event, are needed");
	if (!options.sse && !options.idle && strcmp(options.mode, "calls"))
		die("bench_load: no such mode: %s", options.mode);
	if (options.sse)
		options.path = "/sse";
}

int main(int argc, char **argv)
{
	options_read(argc, argv);
	raise_file_limit();
	if (options.tls)
		secure_start(options.resume);
	request_make();
	connections = calloc(options.connections, sizeof(*connections));
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (!connections || epoll_fd < 0)
		die("no memory, or no epoll");
	run();
	print_counted();
	return 0;
}
