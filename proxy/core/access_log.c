/* access_log.c - rings, the rules of the day, and the thread that writes.
 *
 * Laws: L1 a worker never waits: its ring has room or the line is dropped and counted; the one
 * lock is only ever tried.  L2 only whole lines enter a ring.  L3 only the writer touches the
 * target; another target reaches it through next_fd.  L4 what was taken from a ring is written, or
 * counted as dropped, or told of at the end.  L5 a line that was begun is ended before another
 * begins, however long that takes; where another target comes amid a line it begins anew there.
 *
 * The writer is IDLE (nothing to write, sleeps without end), BATCH (lines wait, it lets more of
 * them gather, for 50 ms or until a ring is half full) or BUSY.  A worker wakes it once per IDLE,
 * not once per loop turn.  Where the target takes nothing (a full disk, a reader that is gone) it
 * stays BUSY, tries again each second, and the rings keep what they have room for. */
#include "core/access_log.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"
#include "core/access_line.h"
#include "core/ring.h"

enum {
	RING_MIN_BYTES = 4 * ACCESS_LINE_MAX,
	RING_MAX_BYTES = 64 * 1024 * 1024,
	BATCH_MS = 50,
	CLOSE_MS = 1000,
	RETRY_MS = 1000,
	TARGET_TEXT_MAX = 256,
	STACK_BYTES = 256 * 1024,
	/* What a pipe or terminal takes for sure once poll says it is writable (PIPE_BUF, pipe(7)).
	 */
	CAREFUL_BYTES = 4096,
};

#define LOG_MAGIC    0x57414c31u
#define SAY_EVERY_NS (60 * CLOCK_S)

enum writer_state { WRITER_BUSY, WRITER_IDLE, WRITER_BATCH };

/* What a reload may change; shared by the workers that have not yet seen a newer one. */
struct log_rules {
	unsigned refs; /* under the lock */
	uint64_t generation;
	bool enabled;
	size_t ring_bytes;
	uint32_t refusals; /* per worker and second */
	struct arena arena;
	struct access_line_rules line;
	struct ring **ring; /* for each worker that has not yet moved to it; NULL: stay */
};

struct log_worker {
	struct log_rules *rules;
	struct ring *ring;           /* the worker's */
	struct ring *drain;          /* the writer's */
	uint64_t moves;              /* to another ring */
	struct stat_counter settled; /* the writer's: moves it has followed */
	size_t kicked;
	uint64_t kicked_suppressed;
	uint64_t window_ns;
	uint32_t refusals_left;
	struct access_line_clock clock;
	struct stat_counter dropped, suppressed;
	char line[ACCESS_LINE_MAX];
} __attribute__((aligned(64)));

struct access_log {
	uint32_t magic;
	unsigned workers;
	struct log_worker *worker;

	pthread_mutex_t lock; /* rules; control holds it for moments, workers only try */
	struct log_rules *rules;
	_Atomic uint64_t generation;

	/* control thread's own */
	int access;
	char *file;
	const char *what; /* for findings */
	bool prompt;      /* lines are not gathered */
	bool running;
	pthread_t thread;
	struct timespec wait_until; /* for its end, since it was told */

	_Atomic int next_fd; /* for the writer to go on with; -1: none */
	_Atomic int state;   /* enum writer_state */
	_Atomic bool stop;
	int wake; /* eventfd */

	/* the writer's own */
	int fd;
	bool careful; /* writes may block even when poll says they will not, if they are large */
	struct buf begun; /* a line of which the first begun_n bytes are written */
	size_t begun_n;
	uint64_t retry_ns; /* 0: the target takes lines, as far as is known */
	bool failing, told;
	uint64_t said_ns, dropped_before; /* when a failure was told; what was dropped until then */
	uint64_t give_up_ns;              /* 0: not closing */
	bool given_up;
	uint64_t abandoned; /* lines, since then */
	uint64_t summary_ns, summed;
	struct stat_counter lost;
	_Atomic uint64_t *total; /* of several logs: what any of them drops; NULL: none is kept */
};

/*---------------------------------------------------------------- rules */

static void rules_free(struct access_log *log, struct log_rules *rules)
{
	for (unsigned w = 0; rules->ring != NULL && w < log->workers; w++)
		ring_free(rules->ring[w]);
	free(rules->ring);
	arena_fini(&rules->arena);
	free(rules);
}

/* Under the lock, or where no other thread is. */
static void rules_put(struct access_log *log, struct log_rules *rules)
{
	if (--rules->refs == 0)
		rules_free(log, rules);
}

static bool rules_make_rings(struct access_log *log, struct log_rules *rules)
{
	for (unsigned w = 0; w < log->workers; w++) {
		rules->ring[w] = ring_new(rules->ring_bytes);
		if (rules->ring[w] == NULL)
			return false;
	}
	return true;
}

static struct log_rules *rules_new(struct access_log *log, const struct log_conf *conf)
{
	const struct log_rules *old = log->rules;
	struct log_rules *rules = calloc(1, sizeof(*rules));
	bool fits;

	if (rules == NULL)
		return NULL;
	arena_init(&rules->arena, NULL);
	rules->refs = 1;
	rules->generation = old == NULL ? 1 : old->generation + 1;
	rules->enabled = conf->access != ACCESS_NONE;
	rules->ring_bytes = rules->enabled || old == NULL
				? ring_size(conf->buffer_bytes, RING_MIN_BYTES, RING_MAX_BYTES)
				: old->ring_bytes;
	rules->refusals = (conf->refusals_per_second + log->workers - 1) / log->workers;
	rules->ring = calloc(log->workers, sizeof(*rules->ring));
	fits = rules->ring != NULL && access_line_rules_init(&rules->line, conf, &rules->arena);
	if (fits && (old == NULL || old->ring_bytes != rules->ring_bytes))
		fits = rules_make_rings(log, rules);
	if (fits)
		return rules;
	rules_free(log, rules);
	return NULL;
}

/* From here on `rules` are in force. */
static void rules_publish(struct access_log *log, struct log_rules *rules)
{
	struct log_rules *old;

	pthread_mutex_lock(&log->lock);
	old = log->rules;
	for (unsigned w = 0; w < log->workers && old->ring_bytes == rules->ring_bytes; w++) {
		rules->ring[w] = old->ring[w]; /* the worker has not yet moved there */
		old->ring[w] = NULL;
	}
	log->rules = rules;
	rules_put(log, old);
	pthread_mutex_unlock(&log->lock);
	atomic_store_explicit(&log->generation, rules->generation, memory_order_release);
}

/* Worker: takes the newest rules, unless control is at them right now, or the writer has not yet
 * followed the last move (rings must not pile up behind a blocked target): then a call later. */
static void rules_adopt(struct access_log *log, unsigned w)
{
	struct log_worker *lw = &log->worker[w];
	struct ring *ring;

	if (atomic_load_explicit(&log->generation, memory_order_relaxed) == lw->rules->generation)
		return;
	if (lw->moves != stat_read(&lw->settled) || pthread_mutex_trylock(&log->lock) != 0)
		return;
	rules_put(log, lw->rules);
	lw->rules = log->rules;
	lw->rules->refs++;
	ring = lw->rules->ring[w];
	lw->rules->ring[w] = NULL;
	pthread_mutex_unlock(&log->lock);
	if (ring == NULL)
		return;
	atomic_store_explicit(&lw->ring->next, ring, memory_order_release);
	lw->ring = ring;
	lw->moves++;
	lw->kicked = 0;
}

/*---------------------------------------------------------------- the worker's side */

/* Refusals come in floods: so many lines a second, then only their number. */
static bool refusal_passes(struct log_worker *lw, const struct call_record *r)
{
	if (lw->window_ns == 0 || r->end_ns - lw->window_ns >= CLOCK_S) {
		lw->window_ns = r->end_ns;
		lw->refusals_left = lw->rules->refusals;
	}
	if (lw->refusals_left == 0) {
		stat_add(&lw->suppressed, 1);
		return false;
	}
	lw->refusals_left--;
	return true;
}

void access_log_write(struct access_log *log, unsigned w, const struct call_record *r)
{
	struct log_worker *lw = &log->worker[w];
	size_t n;

	rules_adopt(log, w);
	if (!lw->rules->enabled || (call_record_is_refusal(r) && !refusal_passes(lw, r)))
		return;
	n = access_line_format(&lw->rules->line, &lw->clock, r, lw->line);
	if (!ring_append(lw->ring, lw->line, n))
		stat_add(&lw->dropped, 1);
}

static void wake_writer(struct access_log *log)
{
	uint64_t one = 1;
	ssize_t n = write(log->wake, &one, sizeof(one));

	(void)n; /* full means that it is awake */
}

void access_log_kick(struct access_log *log, unsigned w)
{
	struct log_worker *lw = &log->worker[w];
	size_t head = atomic_load_explicit(&lw->ring->head, memory_order_relaxed);
	uint64_t suppressed = stat_read(&lw->suppressed);
	int state;

	if (head == lw->kicked && suppressed == lw->kicked_suppressed)
		return;
	lw->kicked = head;
	lw->kicked_suppressed = suppressed;
	atomic_thread_fence(
	    memory_order_seq_cst); /* pairs with writer_sleep: it sees the line, or we its state */
	state = atomic_load_explicit(&log->state, memory_order_relaxed);
	if (state == WRITER_BUSY)
		return;
	if (state == WRITER_BATCH && ring_used(lw->ring) <= lw->ring->size / 2)
		return;
	if (atomic_compare_exchange_strong(&log->state, &state, WRITER_BUSY))
		wake_writer(log);
}

static void add_total(struct access_log *log, uint64_t lines)
{
	if (log->total != NULL)
		atomic_fetch_add_explicit(log->total, lines, memory_order_relaxed);
}

static const char line_end[] = "\n";

void access_log_put(struct access_log *log, unsigned w, struct slice line)
{
	struct log_worker *lw = &log->worker[w];
	struct slice parts[] = { line, slice_str(line_end) };

	rules_adopt(log, w);
	if (!ring_append_parts(lw->ring, parts, 2)) {
		stat_add(&lw->dropped, 1);
		add_total(log, 1);
	}
	access_log_kick(log, w);
}

uint64_t access_log_dropped(const struct access_log *log)
{
	uint64_t n = stat_read(&log->lost);

	for (unsigned w = 0; w < log->workers; w++)
		n += stat_read(&log->worker[w].dropped);
	return n;
}

/*---------------------------------------------------------------- targets */

/* A pipe is opened anew where that is allowed: O_NONBLOCK then is ours alone, and writes may be
 * large. */
static int standard_open(int fd)
{
	char path[32];
	struct stat st;
	int own = -1;

	if (fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode)) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		own = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	}
	return own >= 0 ? own : fcntl(fd, F_DUPFD_CLOEXEC, 3);
}

/* -1 and errno when it cannot be opened.  O_NONBLOCK: a named pipe that nobody reads must not hold
 * us up. */
static int target_open(int access, const char *file)
{
	int flags = O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK;

	if (access == ACCESS_FILE)
		return open(file, flags, 0640);
	return standard_open(access == ACCESS_STDOUT ? STDOUT_FILENO : STDERR_FILENO);
}

static const char *target_name(int access, const char *file)
{
	if (access == ACCESS_FILE)
		return file;
	return access == ACCESS_STDOUT ? "stdout" : "stderr";
}

static bool writes_need_care(int fd)
{
	struct stat st;
	int flags = fcntl(fd, F_GETFL);

	if (flags >= 0 && (flags & O_NONBLOCK))
		return false;
	return fstat(fd, &st) == 0 && !S_ISREG(st.st_mode);
}

/* Control: from here the writer goes on with fd. */
static void target_hand_over(struct access_log *log, int fd)
{
	int unused = atomic_exchange(&log->next_fd, fd);

	if (unused >= 0)
		close(unused);
	wake_writer(log);
}

static bool is_same_file(int a, int b)
{
	struct stat x, y;

	return a >= 0 && fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_dev == y.st_dev &&
	       x.st_ino == y.st_ino;
}

/* A file that is put aside may have room again, and keeps no half line then. */
static void end_line_at_once(struct access_log *log)
{
	size_t left = log->begun.n - log->begun_n;

	if (log->begun_n > 0 && !log->careful &&
	    write(log->fd, log->begun.p + log->begun_n, left) == (ssize_t)left)
		log->begun.n = log->begun_n = 0;
}

/* Writer: true when there is another target now, in which nothing of any line is. */
static bool target_adopt(struct access_log *log)
{
	int fd = atomic_exchange(&log->next_fd, -1);
	bool same;

	if (fd < 0)
		return false;
	same = is_same_file(log->fd, fd);
	if (!same)
		end_line_at_once(log);
	if (log->fd >= 0)
		close(log->fd);
	log->fd = fd;
	log->careful = writes_need_care(fd);
	log->retry_ns = 0;
	if (same)
		return false;
	log->begun_n = 0;
	return true;
}

/*---------------------------------------------------------------- the writer */

static void drain_wake(struct access_log *log)
{
	uint64_t n;
	ssize_t got = read(log->wake, &n, sizeof(n));

	(void)got;
}

static bool giving_up(struct access_log *log)
{
	if (!atomic_load_explicit(&log->stop, memory_order_acquire))
		return false;
	if (log->give_up_ns == 0)
		log->give_up_ns = clock_mono_ns() + CLOSE_MS * CLOCK_MS;
	return clock_mono_ns() >= log->give_up_ns;
}

/* Until the target takes bytes (true), or there is a reason to look up from it. */
static bool wait_writable(struct access_log *log)
{
	struct pollfd p[2] = { { .fd = log->fd, .events = POLLOUT },
			       { .fd = log->wake, .events = POLLIN } };
	bool stopping = atomic_load_explicit(&log->stop, memory_order_acquire);

	if (poll(p, 2, stopping ? 20 : -1) < 0)
		return false;
	if (p[1].revents != 0)
		drain_wake(log);
	return p[0].revents != 0;
}

/* Bytes written; 0: look again; -1: the target is broken (errno). */
static ssize_t write_some(struct access_log *log, const char *p, size_t n)
{
	ssize_t put;

	if (log->careful) {
		if (!wait_writable(log))
			return 0;
		n = n < CAREFUL_BYTES ? n : CAREFUL_BYTES;
	}
	put = write(log->fd, p, n);
	if (put >= 0)
		return put;
	if (errno == EAGAIN)
		wait_writable(log);
	return errno == EAGAIN || errno == EINTR ? 0 : -1;
}

static void lose(struct access_log *log, uint64_t lines)
{
	stat_add(&log->lost, lines);
	add_total(log, lines);
}

static uint64_t lines_between(const struct ring *r, size_t from, size_t to)
{
	uint64_t lines = 0;

	for (; from != to; from++)
		lines += r->bytes[from & (r->size - 1)] == '\n';
	return lines;
}

/* As the system calls it: control may be about to change the name. */
static const char *target_text(const struct access_log *log, char out[TARGET_TEXT_MAX])
{
	char link[32];
	ssize_t n;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", log->fd);
	n = readlink(link, out, TARGET_TEXT_MAX - 1);
	out[n > 0 ? n : 0] = '\0';
	return out;
}

/* The target takes nothing (errno).  One line a failure, however many lines and tries it costs;
 * and one a minute where failures come and go. */
static void stall(struct access_log *log)
{
	uint64_t now = clock_mono_ns();
	char text[TARGET_TEXT_MAX];
	int error = errno;

	log->retry_ns = now + RETRY_MS * CLOCK_MS;
	if (log->failing)
		return;
	log->failing = true;
	log->told = log->said_ns == 0 || now - log->said_ns >= SAY_EVERY_NS;
	if (!log->told)
		return;
	log->said_ns = now;
	log->dropped_before = access_log_dropped(log);
	log_warn("%s: cannot write to `%s`: %s; lines wait for it, and are dropped where there is "
		 "no more room",
		 log->what, target_text(log, text), strerror(error));
}

/* All that waited is written. */
static void recover(struct access_log *log)
{
	char text[TARGET_TEXT_MAX];

	log->failing = false;
	if (log->told)
		log_info("%s: `%s` takes lines again; %llu were dropped", log->what,
			 target_text(log, text),
			 (unsigned long long)(access_log_dropped(log) - log->dropped_before));
}

static bool is_stalled(const struct access_log *log)
{
	return log->retry_ns != 0;
}

/* The line that was begun: true when nothing of it is left. */
static bool end_line(struct access_log *log)
{
	while (log->begun_n < log->begun.n) {
		ssize_t put =
		    write_some(log, log->begun.p + log->begun_n, log->begun.n - log->begun_n);

		if (put < 0)
			stall(log);
		if (put <= 0)
			return false;
		log->begun_n += (size_t)put;
	}
	log->begun.n = log->begun_n = 0;
	return true;
}

/* Keeps a line of which the first `done` bytes are written; from + done is not behind its end.
 * Returns where the next one begins.  Without memory it is closed off. */
static size_t keep_line(struct access_log *log, const struct ring *r, size_t from, size_t done)
{
	size_t end = from;

	while (r->bytes[end & (r->size - 1)] != '\n')
		end++;
	end++;
	log->begun.oom = false;
	for (size_t i = from; i != end; i++)
		buf_putc(&log->begun, r->bytes[i & (r->size - 1)]);
	log->begun_n = done;
	if (log->begun.oom) {
		log->begun.n = log->begun_n = 0;
		lose(log, 1);
		buf_puts(&log->begun, line_end);
	}
	return end;
}

/* Behind the last line end of the n bytes that were written from `at`; `from`: there is none. */
static size_t last_end(const struct ring *r, size_t from, size_t at, size_t n)
{
	const char *p = r->bytes + (at & (r->size - 1));
	const char *end = memrchr(p, '\n', n);

	return end == NULL ? from : at + (size_t)(end - p) + 1;
}

/* Whole lines, from `from` to `to`; returns how far it came: less when there is a reason to look
 * up.  What was begun then is in log->begun. */
static size_t ring_write(struct access_log *log, struct ring *r, size_t from, size_t to)
{
	size_t at = from;

	while (at != to) {
		size_t start = at & (r->size - 1), n = to - at;
		ssize_t put;

		if (n > r->size - start)
			n = r->size - start;
		put = write_some(log, r->bytes + start, n);
		if (put < 0)
			stall(log);
		if (put <= 0)
			break;
		from = last_end(r, from, at, (size_t)put);
		at += (size_t)put;
		atomic_store_explicit(&r->tail, from, memory_order_release);
	}
	return at == from ? from : keep_line(log, r, from, at - from);
}

static void give_up(struct access_log *log)
{
	log->given_up = true;
	log->abandoned += log->begun.n > 0;
	log->begun.n = log->begun_n = 0;
}

/* False: the target takes no more for now. */
static bool ring_drain(struct access_log *log, struct ring *r)
{
	size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
	size_t head = atomic_load_explicit(&r->head, memory_order_acquire);

	while (tail != head || log->begun.n > 0) {
		if (log->given_up) {
			log->abandoned += lines_between(r, tail, head);
			tail = head;
		} else if (end_line(log)) {
			tail = ring_write(log, r, tail, head);
		}
		atomic_store_explicit(&r->tail, tail, memory_order_release);
		if (target_adopt(log))
			continue;
		if (!log->given_up && (tail != head || log->begun.n > 0) && giving_up(log))
			give_up(log);
		else if (is_stalled(log))
			return false;
	}
	return true;
}

static bool drain_worker(struct access_log *log, struct log_worker *lw)
{
	for (;;) {
		struct ring *r = lw->drain;
		struct ring *next = atomic_load_explicit(&r->next, memory_order_acquire);

		if (!ring_drain(log, r))
			return false;
		if (next == NULL)
			return true;
		lw->drain = next;
		ring_free(r);
		stat_add(&lw->settled, 1);
	}
}

static void drain_all(struct access_log *log)
{
	log->retry_ns = 0;
	for (unsigned w = 0; w < log->workers; w++)
		if (!drain_worker(log, &log->worker[w]))
			return;
	if (log->failing)
		recover(log);
}

static uint64_t suppressed_lines(const struct access_log *log)
{
	uint64_t n = 0;

	for (unsigned w = 0; w < log->workers; w++)
		n += stat_read(&log->worker[w].suppressed);
	return n;
}

/* At most one a second.  Returns in how many ms one is due; -1: none. */
static int summarise(struct access_log *log)
{
	uint64_t n = suppressed_lines(log), now = clock_mono_ns();
	char when[25];

	if (n == log->summed || log->fd < 0 || log->begun.n > 0 || log->given_up)
		return -1;
	if (now < log->summary_ns + CLOCK_S && !atomic_load(&log->stop))
		return (int)((log->summary_ns + CLOCK_S - now) / CLOCK_MS) + 1;
	clock_format(clock_wall_ns(), when);
	log->begun.oom = false;
	buf_printf(&log->begun,
		   "{\"timestamp\":\"%s\",\"event.name\":\"access.suppressed\","
		   "\"refusals\":%llu}\n",
		   when, (unsigned long long)(n - log->summed));
	if (log->begun.oom) {
		log->begun.n = 0;
		return 1000; /* its turn comes again */
	}
	log->summed = n;
	log->summary_ns = now;
	end_line(log);
	return log->begun.n > 0 ? 0 : -1;
}

static bool lines_waiting(const struct access_log *log, bool many)
{
	for (unsigned w = 0; w < log->workers; w++) {
		const struct ring *r = log->worker[w].drain;

		if (ring_used(r) > (many ? r->size / 2 : 0) ||
		    (!many && atomic_load_explicit(&r->next, memory_order_acquire) != NULL))
			return true;
	}
	return false;
}

static bool must_look_up(const struct access_log *log)
{
	return atomic_load(&log->stop) || atomic_load(&log->next_fd) >= 0;
}

/* In a state in which workers know when to wake us. */
static void writer_sleep(struct access_log *log, enum writer_state state, int timeout_ms)
{
	struct pollfd p = { .fd = log->wake, .events = POLLIN };

	atomic_store(&log->state, (int)state);
	atomic_thread_fence(memory_order_seq_cst);
	if (!must_look_up(log) && !lines_waiting(log, state == WRITER_BATCH))
		poll(&p, 1, timeout_ms);
	atomic_store(&log->state, (int)WRITER_BUSY);
	drain_wake(log);
}

/* Workers need not wake us: nothing can be written. */
static void writer_wait(struct access_log *log)
{
	struct pollfd p = { .fd = log->wake, .events = POLLIN };

	if (!must_look_up(log))
		poll(&p, 1, RETRY_MS);
	drain_wake(log);
}

/* At the end. */
static void tell_lost(struct access_log *log)
{
	uint64_t lines = log->abandoned + (log->begun.n > 0);
	char text[TARGET_TEXT_MAX];

	for (unsigned w = 0; w < log->workers; w++)
		for (struct ring *r = log->worker[w].drain; r != NULL; r = atomic_load(&r->next))
			lines += lines_between(r, atomic_load(&r->tail), atomic_load(&r->head));
	if (lines > 0)
		log_warn("%s: %llu lines are lost: `%s` did not take them", log->what,
			 (unsigned long long)lines, target_text(log, text));
}

static void *writer_main(void *arg)
{
	struct access_log *log = arg;

	while (!atomic_load_explicit(&log->stop, memory_order_acquire)) {
		int due;

		target_adopt(log);
		drain_all(log);
		due = is_stalled(log) ? 0 : summarise(log);
		if (is_stalled(log)) {
			writer_wait(log);
			continue;
		}
		writer_sleep(log, WRITER_IDLE, due);
		if (!log->prompt && !must_look_up(log))
			writer_sleep(log, WRITER_BATCH, BATCH_MS);
	}
	target_adopt(log);
	drain_all(log);
	summarise(log);
	tell_lost(log);
	return NULL;
}

void access_log_finish(struct access_log *log)
{
	CHECK_MAGIC(log, LOG_MAGIC);
	if (!atomic_load(&log->stop)) {
		clock_gettime(CLOCK_REALTIME, &log->wait_until);
		log->wait_until.tv_sec += 1 + 2 * CLOSE_MS / 1000;
	}
	atomic_store_explicit(&log->stop, true, memory_order_release);
	wake_writer(log);
}

/* A write that blocks although poll said it would not (a descriptor shared with others) is a
 * cancellation point. */
static void writer_stop(struct access_log *log)
{
	access_log_finish(log);
	if (pthread_timedjoin_np(log->thread, NULL, &log->wait_until) != 0) {
		pthread_cancel(log->thread);
		pthread_join(log->thread, NULL);
	}
	log->running = false;
}

/*---------------------------------------------------------------- control */

static void worker_fini(struct access_log *log, struct log_worker *lw)
{
	struct ring *r = lw->drain, *next;

	for (; r != NULL; r = next) {
		next = atomic_load_explicit(&r->next, memory_order_relaxed);
		ring_free(r);
	}
	if (lw->rules != NULL)
		rules_put(log, lw->rules);
}

static void log_free(struct access_log *log)
{
	int unused = atomic_load(&log->next_fd);

	for (unsigned w = 0; log->worker != NULL && w < log->workers; w++)
		worker_fini(log, &log->worker[w]);
	if (log->rules != NULL)
		rules_put(log, log->rules);
	if (log->fd >= 0)
		close(log->fd);
	if (unused >= 0)
		close(unused);
	if (log->wake >= 0)
		close(log->wake);
	pthread_mutex_destroy(&log->lock);
	buf_fini(&log->begun);
	free(log->file);
	free(log->worker);
	log->magic = 0;
	free(log);
}

/* All that can be out of memory.  A worker starts with the first rules and their ring. */
static bool log_init(struct access_log *log, const struct log_conf *conf)
{
	log->worker = aligned_alloc(64, log->workers * sizeof(*log->worker));
	if (log->worker == NULL)
		return false;
	for (unsigned w = 0; w < log->workers; w++)
		memset(&log->worker[w], 0, offsetof(struct log_worker, line));
	log->wake = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	log->rules = rules_new(log, conf);
	if (log->wake < 0 || log->rules == NULL)
		return false;
	log->generation = log->rules->generation;
	for (unsigned w = 0; w < log->workers; w++) {
		log->worker[w].rules = log->rules;
		log->worker[w].ring = log->worker[w].drain = log->rules->ring[w];
		log->rules->ring[w] = NULL;
		log->rules->refs++;
	}
	return true;
}

/* -1 with a finding. */
static int open_or_say_why(int access, const char *file, struct diags *diags)
{
	int fd = target_open(access, file);

	if (fd < 0)
		diag_error(diags, (struct place){ 0 }, "E018",
			   "the access log `%s` cannot be opened: %s", target_name(access, file),
			   strerror(errno));
	return fd;
}

static bool out_of_memory(struct diags *diags)
{
	diag_error(diags, (struct place){ 0 }, "E099", "out of memory for the access log");
	return false;
}

/* Opens and hands over; starts the thread when there is none. */
static bool target_set(struct access_log *log, const struct log_conf *conf, struct diags *diags)
{
	char *file = conf->access == ACCESS_FILE ? strdup(conf->access_file) : NULL;
	int fd;

	if (conf->access == ACCESS_FILE && file == NULL)
		return out_of_memory(diags);
	fd = open_or_say_why(conf->access, file, diags);
	if (fd < 0) {
		free(file);
		return false;
	}
	target_hand_over(log, fd); /* before there are lines for it */
	free(log->file);
	log->file = file;
	log->access = conf->access;
	if (!log->running)
		log->running =
		    thread_start(&log->thread, "weir/log", STACK_BYTES, writer_main, log);
	return log->running || out_of_memory(diags);
}

static struct access_log *open_log(const struct log_conf *conf, bool prompt, unsigned workers,
				   struct diags *diags)
{
	struct access_log *log = calloc(1, sizeof(*log));

	CHECK(workers >= 1);
	if (log == NULL) {
		out_of_memory(diags);
		return NULL;
	}
	log->magic = LOG_MAGIC;
	log->workers = workers;
	log->prompt = prompt;
	log->what = prompt ? "log" : "access log";
	log->access = ACCESS_NONE;
	log->fd = log->wake = -1;
	log->next_fd = -1;
	pthread_mutex_init(&log->lock, NULL);
	if (!log_init(log, conf)) {
		out_of_memory(diags);
		log_free(log);
		return NULL;
	}
	if (conf->access != ACCESS_NONE && !target_set(log, conf, diags)) {
		log_free(log);
		return NULL;
	}
	return log;
}

struct access_log *access_log_open(const struct log_conf *conf, unsigned workers,
				   struct diags *diags)
{
	return open_log(conf, false, workers, diags);
}

struct access_log *access_log_open_text(const char *target, uint64_t buffer_bytes, unsigned workers,
					_Atomic uint64_t *total, struct diags *diags)
{
	struct access_log *log;
	const struct log_conf conf = {
		.access = strcmp(target, "stdout") == 0   ? ACCESS_STDOUT
			  : strcmp(target, "stderr") == 0 ? ACCESS_STDERR
							  : ACCESS_FILE,
		.access_file = target,
		.buffer_bytes = buffer_bytes,
		.refusals_per_second = 1,
	};

	log = open_log(&conf, true, workers, diags);
	if (log != NULL)
		log->total = total;
	return log;
}

void access_log_close(struct access_log *log)
{
	if (log == NULL)
		return;
	CHECK_MAGIC(log, LOG_MAGIC);
	if (log->running)
		writer_stop(log);
	log_free(log);
}

static bool same_target(const struct access_log *log, const struct log_conf *conf)
{
	if (log->access != conf->access)
		return false;
	return conf->access != ACCESS_FILE || strcmp(log->file, conf->access_file) == 0;
}

bool access_log_reconfigure(struct access_log *log, const struct log_conf *conf,
			    struct diags *diags)
{
	struct log_rules *rules;

	CHECK_MAGIC(log, LOG_MAGIC);
	rules = rules_new(log, conf);
	if (rules == NULL)
		return out_of_memory(diags);
	if (conf->access != ACCESS_NONE && !same_target(log, conf) &&
	    !target_set(log, conf, diags)) {
		rules_free(log, rules);
		return false;
	}
	if (conf->access == ACCESS_NONE)
		log->access = ACCESS_NONE;
	rules_publish(log, rules);
	return true;
}

void access_log_reopen(struct access_log *log)
{
	int fd;

	CHECK_MAGIC(log, LOG_MAGIC);
	if (log->access == ACCESS_NONE)
		return;
	fd = target_open(log->access, log->file);
	if (fd < 0) {
		log_error("%s: cannot reopen `%s`: %s; the old one goes on", log->what,
			  target_name(log->access, log->file), strerror(errno));
		return;
	}
	target_hand_over(log, fd);
}
