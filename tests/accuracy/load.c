/* load.c - calls to several replicas at random times, and the upstream behind all of them: one thread, one clock.
 *
 *   accuracy_load --upstream PORT --replicas PORT,PORT,... --rate R [--seconds 4] [--settle 0.5]
 *                 [--arrivals poisson|onoff] [--skew even|zipf] [--keys N] [--seed N]
 *                 [--kind bucket|sliding|fixed] [--limit N] [--period-ms 1000] [--burst N]
 *                 [--apart N]
 *
 * Open loop: a call is due when it is due, and its latency counts from then.  onoff: for a while twice as many come,
 * then none.  zipf: replica i gets a share of 1/(i+1).  Keys: header x-key, drawn by Zipf's law, each a limit of its
 * own.  The call's number is its path, by which the upstream knows it.  The first N replicas stand apart: their calls
 * count in no limit, and their latencies are told beside those of the others.
 *
 * Prints "started NS" (CLOCK_MONOTONIC) when it begins, and one line of JSON when all calls were answered: what was
 * let in, held against one exact limit (replay.h); latencies of calls that were due after `settle`; the same for each
 * quarter of a second.
 *
 * A connection of ours: CONNECTING -> RESTING <-> CALLING.  One of a replica's: bytes in, a call noted, an answer
 * out. */
#include "replay.h"
#include "wire.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
	REPLICAS_MAX = 64,
	WARM_CONNECTIONS = 4,
	CONNECTIONS_MAX = 512, /* to each replica */
	KEYS_MAX = 100000,
	HEAD_BYTES_MAX = 4096,
	SLICES_MAX = 400,
	STATUSES = 600,
};

#define S_NS        UINT64_C(1000000000)
#define SLICE_NS    (S_NS / 4)
#define PATIENCE_NS (20 * S_NS)
#define WAKE_NS     UINT64_C(20000) /* timers are that late */

static const char answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

struct call {
	uint64_t due_ns, sent_ns, seen_ns, ended_ns; /* 0: not yet */
	uint32_t key;
	uint16_t status;
	bool apart;
};

enum state { LISTENING, CONNECTING, RESTING, CALLING, UPSTREAM };

struct connection {
	int fd;
	enum state state;
	struct replica *replica;
	struct call *call;
	struct connection *next; /* resting ones of a replica */
	char *kept;              /* the beginning of a head */
	size_t kept_size;
};

struct replica {
	uint16_t port;
	unsigned connections;
	struct connection *resting;
	struct call **waiting; /* due, and no connection is free: a ring */
	size_t first_waiting, n_waiting;
};

static struct {
	uint16_t upstream;
	const char *replicas, *arrivals, *skew, *kind;
	uint64_t keys, seed, limit, period_ms, burst, apart;
	double rate, seconds, settle;
} options = { .arrivals = "poisson",
	      .skew = "even",
	      .kind = "bucket",
	      .seed = 1,
	      .limit = 1000,
	      .period_ms = 1000,
	      .burst = 1000,
	      .seconds = 4,
	      .settle = 0.5 };

static struct replica replica[REPLICAS_MAX];
static double replica_share[REPLICAS_MAX], key_share[KEYS_MAX];
static unsigned n_replicas, connecting;
static struct call *calls;
static size_t n_calls, calls_max, n_ended, n_failed, n_twice;
static int epoll_fd;
static char scratch[WIRE_READ_BYTES + HEAD_BYTES_MAX];
static uint64_t start_ns, end_ns;

/*-------------------------------------------------------------------- chance */

static double chance(void)
{
	options.seed ^= options.seed << 13;
	options.seed ^= options.seed >> 7;
	options.seed ^= options.seed << 17;
	return (double)(options.seed >> 11) / 9007199254740992.0;
}

/* shares[i]: of 0..i. */
static void zipf_fill(double *shares, size_t n)
{
	double sum = 0;

	for (size_t i = 0; i < n; i++)
		shares[i] = sum += 1.0 / (double)(i + 1);
	for (size_t i = 0; i < n; i++)
		shares[i] /= sum;
}

static size_t zipf_draw(const double *shares, size_t n)
{
	double x = chance();
	size_t low = 0, high = n - 1;

	while (low < high) {
		size_t middle = (low + high) / 2;

		if (shares[middle] < x)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static double gap_s(double rate)
{
	return -log(1 - chance()) / rate;
}

/* On and off for 0.1 to 0.3 s each. */
static double next_gap_s(void)
{
	static double on_left;
	double gap, passed = 0;

	if (strcmp(options.arrivals, "onoff") != 0)
		return gap_s(options.rate);
	for (gap = gap_s(2 * options.rate); gap > on_left; on_left = 0.1 + 0.2 * chance()) {
		passed += on_left + 0.1 + 0.2 * chance();
		gap -= on_left;
	}
	on_left -= gap;
	return passed + gap;
}

/*-------------------------------------------------------------- our own calls */

static void watch(struct connection *c, int operation, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = c };

	if (epoll_ctl(epoll_fd, operation, c->fd, &event) < 0)
		die("epoll_ctl: %s", strerror(errno));
}

static struct connection *connection_new(int fd, enum state state, uint32_t events)
{
	struct connection *c = calloc(1, sizeof(*c));

	if (c == NULL)
		die("out of memory");
	c->fd = fd;
	c->state = state;
	watch(c, EPOLL_CTL_ADD, events);
	return c;
}

static void connection_open(struct replica *r)
{
	struct connection *c = connection_new(connect_to(r->port), CONNECTING, EPOLLIN | EPOLLOUT);

	c->replica = r;
	r->connections++;
	connecting++;
}

static void connection_free(struct connection *c)
{
	close(c->fd);
	free(c->kept);
	free(c);
}

static void call_end(struct call *call, int status, uint64_t now)
{
	call->status = (uint16_t)(status < STATUSES ? status : 0);
	call->ended_ns = now;
	n_ended++;
	n_failed += status == 0;
}

/* Heads are far smaller than a socket's buffer. */
static void call_send(struct connection *c, struct call *call)
{
	char head[256];
	int n = snprintf(head, sizeof(head),
			 "GET /%zu HTTP/1.1\r\nHost: accuracy.example\r\nx-key: k%06u\r\n\r\n",
			 (size_t)(call - calls), call->key);

	c->state = CALLING;
	c->call = call;
	call->sent_ns = now_ns();
	if (send(c->fd, head, (size_t)n, MSG_NOSIGNAL) != n)
		die("a call could not be sent: %s", strerror(errno));
}

static struct call *waiting_pop(struct replica *r)
{
	struct call *call;

	if (r->n_waiting == 0)
		return NULL;
	call = r->waiting[r->first_waiting];
	r->first_waiting = (r->first_waiting + 1) % calls_max;
	r->n_waiting--;
	return call;
}

static void connection_rest(struct connection *c)
{
	struct call *call = waiting_pop(c->replica);

	if (call != NULL) {
		call_send(c, call);
		return;
	}
	c->state = RESTING;
	c->call = NULL;
	c->next = c->replica->resting;
	c->replica->resting = c;
}

static void call_begin(struct replica *r, struct call *call)
{
	struct connection *c = r->resting;

	if (c != NULL) {
		r->resting = c->next;
		call_send(c, call);
		return;
	}
	if (r->connections < CONNECTIONS_MAX)
		connection_open(r);
	r->waiting[(r->first_waiting + r->n_waiting++) % calls_max] = call;
}

static void forget_resting(struct connection *c)
{
	struct connection **at = &c->replica->resting;

	while (*at != NULL && *at != c)
		at = &(*at)->next;
	if (*at == c)
		*at = c->next;
}

static void connection_lost(struct connection *c)
{
	struct replica *r = c->replica;

	if (c->state == CONNECTING)
		connecting--;
	else if (c->state == RESTING)
		forget_resting(c);
	else
		call_end(c->call, 0, now_ns());
	connection_free(c);
	r->connections--;
	if (r->n_waiting > 0)
		connection_open(r);
}

static void on_answer(struct connection *c, uint64_t now)
{
	size_t room = HEAD_BYTES_MAX - c->kept_size;
	struct wire_head head;
	ssize_t got = recv(c->fd, scratch, room, 0);

	if (got < 0 && errno == EAGAIN)
		return;
	if (got <= 0 || c->state != CALLING) {
		connection_lost(c);
		return;
	}
	if (c->kept == NULL && (c->kept = malloc(HEAD_BYTES_MAX)) == NULL)
		die("out of memory");
	memcpy(c->kept + c->kept_size, scratch, (size_t)got);
	c->kept_size += (size_t)got;
	if (!wire_head_read(c->kept, c->kept_size, &head) ||
	    c->kept_size < head.bytes + head.length)
		return;
	c->kept_size = 0;
	call_end(c->call, head.status, now);
	if (head.closes) {
		c->state = RESTING;
		connection_lost(c);
	} else {
		connection_rest(c);
	}
}

static void on_ours(struct connection *c, uint32_t events, uint64_t now)
{
	if (c->state != CONNECTING) {
		on_answer(c, now);
		return;
	}
	if (events & (EPOLLERR | EPOLLHUP))
		die("a replica does not listen");
	connecting--;
	watch(c, EPOLL_CTL_MOD, EPOLLIN);
	connection_rest(c);
}

/*------------------------------------------------------------------ upstream */

static void note(const struct wire_head *head, uint64_t now)
{
	size_t i = strtoull(head->target + 1, NULL, 10);

	if (i >= n_calls)
		die("the upstream was sent a call that is none of ours");
	n_twice += calls[i].seen_ns != 0;
	if (calls[i].seen_ns == 0)
		calls[i].seen_ns = now;
}

static void upstream_keep(struct connection *c, const char *rest, size_t size)
{
	if (size > HEAD_BYTES_MAX)
		die("a head of more than %d bytes", HEAD_BYTES_MAX);
	if (size > 0 && c->kept == NULL && (c->kept = malloc(HEAD_BYTES_MAX)) == NULL)
		die("out of memory");
	if (size > 0)
		memcpy(c->kept, rest, size);
	c->kept_size = size;
}

static void on_upstream(struct connection *c)
{
	ssize_t got = recv(c->fd, scratch + c->kept_size, WIRE_READ_BYTES, 0);
	uint64_t now = now_ns();
	struct wire_head head;
	size_t size, at = 0;

	if (got < 0 && errno == EAGAIN)
		return;
	if (got <= 0) {
		connection_free(c);
		return;
	}
	if (c->kept_size > 0)
		memcpy(scratch, c->kept, c->kept_size);
	size = c->kept_size + (size_t)got;
	while (at < size && wire_head_read(scratch + at, size - at, &head)) {
		note(&head, now);
		at += head.bytes;
		(void)!send(c->fd, answer, sizeof(answer) - 1, MSG_NOSIGNAL);
	}
	upstream_keep(c, scratch + at, size - at);
}

static void on_listener(int listener)
{
	int fd;

	while ((fd = accept_from(listener)) >= 0)
		connection_new(fd, UPSTREAM, EPOLLIN);
}

/*----------------------------------------------------------------------- run */

static void on_event(struct connection *c, uint32_t events, uint64_t now)
{
	if (c->state == LISTENING)
		on_listener(c->fd);
	else if (c->state == UPSTREAM)
		on_upstream(c);
	else
		on_ours(c, events, now);
}

/* Events of one look; each is of another connection, and none is freed by another's. */
static void look(uint64_t wait_ns)
{
	struct epoll_event events[WIRE_EVENTS];
	struct timespec wait = { (time_t)(wait_ns / S_NS), (long)(wait_ns % S_NS) };
	int n = epoll_pwait2(epoll_fd, events, WIRE_EVENTS, &wait, NULL);

	for (int i = 0; i < n; i++)
		on_event(events[i].data.ptr, events[i].events, now_ns());
}

static void call_due(uint64_t due_ns)
{
	size_t to = zipf_draw(replica_share, n_replicas);
	struct call *call = &calls[n_calls++];

	*call = (struct call){ .due_ns = due_ns, .apart = to < options.apart };
	if (options.keys > 0)
		call->key = (uint32_t)zipf_draw(key_share, options.keys);
	call_begin(&replica[to], call);
}

static void warm_up(void)
{
	uint64_t give_up = now_ns() + PATIENCE_NS;

	for (unsigned i = 0; i < n_replicas; i++)
		for (unsigned j = 0; j < WARM_CONNECTIONS; j++)
			connection_open(&replica[i]);
	while (connecting > 0 && now_ns() < give_up)
		look(S_NS / 100);
	if (connecting > 0)
		die("replicas did not accept connections");
}

static void run(void)
{
	uint64_t due, now, last;

	warm_up();
	start_ns = due = now_ns();
	end_ns = start_ns + (uint64_t)(options.seconds * 1e9);
	printf("started %llu\n", (unsigned long long)start_ns);
	fflush(stdout);
	last = end_ns + PATIENCE_NS;
	due += (uint64_t)(next_gap_s() * 1e9);
	while ((now = now_ns()) < end_ns || (n_ended < n_calls && now < last)) {
		while (due <= now && due < end_ns && n_calls < calls_max) {
			call_due(due);
			due += (uint64_t)(next_gap_s() * 1e9);
		}
		now = now_ns();
		look(due >= end_ns ? S_NS / 1000 : due > now + WAKE_NS ? due - now - WAKE_NS : 0);
	}
}

/*------------------------------------------------------------------- figures */

static struct limit limit(void)
{
	struct timespec wall;

	clock_gettime(CLOCK_REALTIME, &wall);
	return (struct limit){
		.kind = strcmp(options.kind, "bucket") == 0    ? BUCKET
			: strcmp(options.kind, "sliding") == 0 ? SLIDING
							       : FIXED,
		.count = options.limit,
		.period_ns = options.period_ms * 1000000,
		.burst = options.burst,
		.ahead_ns = (uint64_t)wall.tv_sec * S_NS + (uint64_t)wall.tv_nsec - now_ns(),
	};
}

struct sums {
	double certain, seen; /* the most that a key's limit was passed */
	size_t exact;         /* what one exact limit for each key would have let in */
};

static void sum_up_key(const struct limit *l, uint32_t key, struct sums *sums)
{
	struct stretch *s = calloc(n_calls + 1, sizeof(*s));
	uint64_t *due = calloc(n_calls + 1, sizeof(*due));
	size_t n = 0, n_due = 0;
	double over;

	if (s == NULL || due == NULL)
		die("out of memory");
	for (size_t i = 0; i < n_calls; i++) {
		if (calls[i].key != key || calls[i].apart)
			continue;
		due[n_due++] = calls[i].due_ns;
		if (calls[i].seen_ns != 0)
			s[n++] = (struct stretch){ calls[i].sent_ns, calls[i].seen_ns };
	}
	over = replay_excess(l, s, n);
	sums->certain = over > sums->certain ? over : sums->certain;
	for (size_t i = 0; i < n; i++)
		s[i].from_ns = s[i].to_ns;
	over = replay_excess(l, s, n);
	sums->seen = over > sums->seen ? over : sums->seen;
	sums->exact += replay_exact(l, due, n_due);
	free(s);
	free(due);
}

static struct sums sum_up(void)
{
	struct limit l = limit();
	struct sums sums = { .certain = -1e9, .seen = -1e9 };
	uint32_t keys = options.keys > 0 ? (uint32_t)options.keys : 1;

	for (uint32_t key = 0; key < keys; key++)
		sum_up_key(&l, key, &sums);
	return sums;
}

static void print_statuses(void)
{
	static unsigned count[STATUSES];
	const char *comma = "";

	for (size_t i = 0; i < n_calls; i++)
		count[calls[i].status]++;
	printf("\"statuses\": {");
	for (int i = 0; i < STATUSES; i++) {
		if (count[i] == 0)
			continue;
		printf("%s\"%d\": %u", comma, i, count[i]);
		comma = ", ";
	}
	printf("}");
}

struct part {
	struct histogram latency;
	unsigned calls, admitted;
	uint64_t most;
};

static void part_add(struct part *p, const struct call *call)
{
	uint64_t took = call->ended_ns > 0 ? call->ended_ns - call->due_ns : 0;

	p->calls++;
	p->admitted += call->seen_ns != 0;
	p->most = took > p->most ? took : p->most;
	histogram_add(&p->latency, took);
}

/* One for each quarter of a second in which calls were due: calls, let in, p99 and most of their latencies, and p99 of
 * those apart. */
static void print_slices(void)
{
	static struct part slice[SLICES_MAX][2];
	const char *comma = "";

	for (size_t i = 0; i < n_calls; i++) {
		uint64_t at = (calls[i].due_ns - start_ns) / SLICE_NS;

		if (at < SLICES_MAX)
			part_add(&slice[at][calls[i].apart], &calls[i]);
	}
	printf("\"slices\": [");
	for (unsigned i = 0; i < SLICES_MAX && (double)i * 0.25 < options.seconds; i++) {
		printf("%s[%u, %u, %.0f, %.0f, %.0f]", comma, slice[i][0].calls,
		       slice[i][0].admitted, histogram_percentile_us(&slice[i][0].latency, 99),
		       (double)slice[i][0].most / 1000,
		       histogram_percentile_us(&slice[i][1].latency, 99));
		comma = ", ";
	}
	printf("]");
}

static void print_latency(size_t settled)
{
	static struct part all;

	for (size_t i = settled; i < n_calls; i++)
		if (!calls[i].apart)
			part_add(&all, &calls[i]);
	printf("\"p50_us\": %.1f, \"p99_us\": %.1f, \"p99.9_us\": %.1f",
	       histogram_percentile_us(&all.latency, 50), histogram_percentile_us(&all.latency, 99),
	       histogram_percentile_us(&all.latency, 99.9));
}

static void print_all(void)
{
	struct sums sums = sum_up();
	size_t offered = 0, admitted = 0, settled = 0;

	for (size_t i = 0; i < n_calls; i++) {
		offered += !calls[i].apart;
		admitted += !calls[i].apart && calls[i].seen_ns != 0;
		settled += (double)(calls[i].due_ns - start_ns) < options.settle * 1e9;
	}
	printf("{\"seconds\": %.3f, \"offered\": %zu, \"admitted\": %zu, \"exact\": %zu, "
	       "\"excess\": %.2f, \"certain_excess\": %.2f, \"failed\": %zu, \"twice\": %zu, "
	       "\"unanswered\": %zu, \"settled\": %zu, ",
	       options.seconds, offered, admitted, sums.exact, sums.seen, sums.certain, n_failed,
	       n_twice, n_calls - n_ended, settled);
	print_latency(settled);
	printf(", ");
	print_statuses();
	printf(", ");
	print_slices();
	printf("}\n");
}

/*------------------------------------------------------------------- options */

static const struct option {
	const char *name;
	enum { TEXT, NUMBER, REAL, PORT } kind;
	void *value;
} known_options[] = {
	{ "--upstream", PORT, &options.upstream }, { "--replicas", TEXT, &options.replicas },
	{ "--rate", REAL, &options.rate },         { "--seconds", REAL, &options.seconds },
	{ "--settle", REAL, &options.settle },     { "--arrivals", TEXT, &options.arrivals },
	{ "--skew", TEXT, &options.skew },         { "--keys", NUMBER, &options.keys },
	{ "--seed", NUMBER, &options.seed },       { "--kind", TEXT, &options.kind },
	{ "--limit", NUMBER, &options.limit },     { "--period-ms", NUMBER, &options.period_ms },
	{ "--burst", NUMBER, &options.burst },     { "--apart", NUMBER, &options.apart },
};

static void option_set(const struct option *o, const char *value)
{
	if (o->kind == TEXT)
		*(const char **)o->value = value;
	else if (o->kind == NUMBER)
		*(uint64_t *)o->value = number_parse(value);
	else if (o->kind == REAL)
		*(double *)o->value = strtod(value, NULL);
	else
		*(uint16_t *)o->value = port_parse(value);
}

static void replicas_read(const char *text)
{
	char *copy = strdup(text), *rest = copy;

	for (char *word; (word = strsep(&rest, ",")) != NULL;) {
		if (n_replicas == REPLICAS_MAX)
			die("at most %d replicas", REPLICAS_MAX);
		replica[n_replicas++].port = port_parse(word);
	}
	free(copy);
}

static void options_read(int argc, char **argv)
{
	size_t n = sizeof(known_options) / sizeof(*known_options);

	for (int i = 1; i + 1 < argc; i += 2) {
		size_t o = 0;

		while (o < n && strcmp(known_options[o].name, argv[i]) != 0)
			o++;
		if (o == n)
			die("accuracy_load: do not understand %s (see the top of load.c)", argv[i]);
		option_set(&known_options[o], argv[i + 1]);
	}
	if (options.upstream == 0 || options.replicas == NULL || options.rate <= 0 ||
	    options.seed == 0 || options.keys > KEYS_MAX || options.limit == 0)
		die("accuracy_load: --upstream, --replicas and --rate are needed");
	replicas_read(options.replicas);
}

static void prepare(void)
{
	calls_max = (size_t)(options.rate * options.seconds * 2) + 10000;
	calls = calloc(calls_max, sizeof(*calls));
	epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (calls == NULL || epoll_fd < 0)
		die("out of memory");
	for (unsigned i = 0; i < n_replicas; i++) {
		replica[i].waiting = calloc(calls_max, sizeof(struct call *));
		if (replica[i].waiting == NULL)
			die("out of memory");
		replica_share[i] = (double)(i + 1) / n_replicas;
	}
	if (strcmp(options.skew, "zipf") == 0)
		zipf_fill(replica_share, n_replicas);
	if (options.keys > 0)
		zipf_fill(key_share, options.keys);
	connection_new(listen_on(options.upstream), LISTENING, EPOLLIN);
}

int main(int argc, char **argv)
{
	options_read(argc, argv);
	raise_file_limit();
	prepare();
	run();
	print_all();
	return 0;
}
