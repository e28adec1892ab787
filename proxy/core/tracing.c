/* tracing.c - rings, batches, and the thread that sends them; laws in tracing.h.
 *
 *   IDLE --a span--> GATHERING --interval, or a full batch--> SENDING --taken, refused--> IDLE
 *                        ^                                      |  ^        (or GATHERING)
 *                        |                                 failed  | later each time
 *                        |                                      v  |
 *                        +------------- a minute old ---------- WAITING
 *
 * Told to stop, it sends one batch after the other until there is none, one fails or time is over.
 *
 * Workers read the state to know whether to wake the thread: once for each IDLE, and once more when
 * there is a batch. */
#include "core/tracing.h"

#include <event2/event.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/stat.h"
#include "base/thread.h"
#include "core/collector.h"
#include "core/ring.h"
#include "core/span_json.h"
#include "upstream/resolve.h"

enum {
	RING_MIN_BYTES = 64 * 1024,
	RING_MAX_BYTES = 256 * 1024 * 1024,
	BATCH_BYTES_MAX = 4 * 1024 * 1024, /* what collectors take by default */
	STACK_BYTES = 256 * 1024,
	REFRESH_S = 30,
};

_Static_assert((int)SPAN_JSON_MAX < (int)RING_MIN_BYTES, "a span has room");

#define BACKOFF_FIRST_NS CLOCK_S
#define BACKOFF_MAX_NS   (15 * CLOCK_S)
#define BATCH_AGE_NS     (60 * CLOCK_S)
#define FLUSH_NS         (2 * CLOCK_S)
#define SAY_EVERY_NS     (60 * CLOCK_S)

const char *const span_result_names[SPAN_RESULTS] = {
	[SPAN_SENT] = "sent",
	[SPAN_REJECTED] = "rejected",
	[SPAN_FAILED] = "failed",
	[SPAN_DROPPED] = "dropped",
};

enum state { IDLE, GATHERING, SENDING, WAITING };

/* What is configured: made by control, the thread's from the commit on. */
struct tracing_target {
	struct collector_place place;
	struct tls_client *tls;
	struct resolver *resolver; /* NULL: a numeric address */
	struct endpoint_addrs *addrs;
	struct arena arena;
	struct conf_list headers;
	struct buf head; /* of a body */
	uint64_t timeout_ns, interval_ns;
	uint32_t batch;
	size_t ring_bytes;
};

struct tracing_worker {
	struct ring *ring;           /* the worker's; NULL: there was never a target */
	struct ring *drain;          /* the thread's */
	struct ring *_Atomic offer;  /* control's: to go on with */
	uint64_t moves;              /* to another ring */
	struct stat_counter settled; /* the thread's: moves it has followed */
	struct stat_counter taken;   /* the same: spans, out of the rings */
	struct stat_counter put, dropped;
	uint64_t kicked;
	struct buf text;
} __attribute__((aligned(64)));

struct tracing {
	unsigned workers;
	struct tracing_worker *worker;
	_Atomic int state;      /* enum state */
	_Atomic uint32_t batch; /* spans that are one */

	/* control's */
	size_t ring_bytes; /* 0: no rings yet */
	bool started;
	pthread_t thread;
	int wake_fd;

	pthread_mutex_t lock;
	struct tracing_target *next; /* under it: to go on with */
	bool stop;                   /* under it */

	/* the thread's */
	struct loop loop;
	struct event *wake;
	struct timer
	    timer; /* GATHERING: the interval is over; WAITING: another try; stopping: the end */
	struct tracing_target *target;
	struct collector *collector;
	struct buf spans; /* the batch: joined by commas */
	uint32_t n_spans;
	uint64_t batch_ns; /* since when it is under way */
	unsigned tries;
	uint32_t turn; /* among the collector's addresses */
	uint64_t random;
	bool stopping, failing;
	uint64_t said_ns;
	uint64_t give_up_ns;
	uint64_t not_taken; /* spans, since it was told to stop */
	struct slice body[3];
	struct stat_counter count[SPAN_RESULTS];
};

/*---------------------------------------------------------------- the worker's side */

struct buf *tracing_text(struct tracing *t, unsigned w)
{
	struct buf *b = &t->worker[w].text;

	b->n = 0;
	b->oom = false;
	return b;
}

/* Unless the thread has not yet followed the last move: rings must not pile up. */
static void adopt_ring(struct tracing_worker *tw)
{
	struct ring *r;

	if (tw->moves != stat_read(&tw->settled))
		return;
	r = atomic_exchange(&tw->offer, NULL);
	if (r == NULL)
		return;
	atomic_store_explicit(&tw->ring->next, r, memory_order_release);
	tw->ring = r;
	tw->moves++;
}

/* A line each: a span holds no newline. */
void tracing_put(struct tracing *t, unsigned w)
{
	struct tracing_worker *tw = &t->worker[w];
	struct buf *b = &tw->text;

	buf_putc(b, '\n');
	if (atomic_load_explicit(&tw->offer, memory_order_relaxed) != NULL)
		adopt_ring(tw);
	if (!b->oom && b->n <= SPAN_JSON_MAX && tw->ring != NULL &&
	    ring_append(tw->ring, b->p, b->n))
		stat_add(&tw->put, 1);
	else
		stat_add(&tw->dropped, 1);
	b->n = 0;
	b->oom = false;
}

static void wake_thread(const struct tracing *t)
{
	static const uint64_t one = 1;

	(void)!write(t->wake_fd, &one, sizeof(one));
}

void tracing_kick(struct tracing *t, unsigned w)
{
	struct tracing_worker *tw = &t->worker[w];
	uint64_t put = stat_read(&tw->put);
	int state;

	if (put == tw->kicked)
		return;
	atomic_thread_fence(
	    memory_order_seq_cst); /* pairs with rest(): it sees the span, or we its state */
	state = atomic_load_explicit(&t->state, memory_order_relaxed);
	if (state == SENDING || state == WAITING ||
	    (state == GATHERING && ring_used(tw->ring) <= tw->ring->size / 2 &&
	     put - stat_read(&tw->taken) < atomic_load_explicit(&t->batch, memory_order_relaxed)))
		return;
	tw->kicked = put;
	wake_thread(t);
}

uint64_t tracing_count(const struct tracing *t, enum span_result result)
{
	uint64_t n = stat_read(&t->count[result]);

	for (unsigned w = 0; result == SPAN_DROPPED && w < t->workers; w++)
		n += stat_read(&t->worker[w].dropped);
	return n;
}

/*---------------------------------------------------------------- targets */

static void target_free(struct tracing_target *g)
{
	if (g == NULL)
		return;
	resolver_free(g->resolver);
	endpoint_addrs_free(g->addrs);
	tls_client_put(g->tls);
	buf_fini(&g->head);
	arena_fini(&g->arena);
	free(g);
}

/* Policies go, targets stay. */
static bool copy_headers(struct tracing_target *g, const struct conf_list *from)
{
	const struct pair_conf *p = from->item;
	struct pair_conf *copy = arena_zalloc(&g->arena, (from->n + 1) * sizeof(*copy));

	if (copy == NULL)
		return false;
	for (uint32_t i = 0; i < from->n; i++) {
		copy[i].name.name = arena_strdup(&g->arena, p[i].name.name);
		copy[i].value = arena_strdup(&g->arena, p[i].value);
		if (copy[i].name.name == NULL || copy[i].value == NULL)
			return false;
	}
	g->headers = (struct conf_list){ .n = from->n, .item = copy };
	return true;
}

static bool find_addresses(struct tracing_target *g)
{
	const struct endpoint_address *a = &g->place.address;

	if (!a->named)
		return true;
	g->addrs = endpoint_addrs_new(a->port);
	g->resolver = resolver_new(NULL);
	return g->addrs != NULL && g->resolver != NULL &&
	       resolver_add(g->resolver, g->addrs, a->host, "tracing", REFRESH_S * CLOCK_S) &&
	       resolver_start(g->resolver);
}

static bool target_init(struct tracing_target *g, const struct tracing_conf *conf)
{
	g->timeout_ns = conf->timeout_ns;
	g->interval_ns = conf->interval_ns;
	g->batch = conf->batch;
	g->ring_bytes = ring_size(conf->queue_bytes, RING_MIN_BYTES, RING_MAX_BYTES);
	span_json_head(&g->head, conf);
	return !g->head.oom && copy_headers(g, &conf->headers) && find_addresses(g);
}

static struct tracing_target *target_new(const struct tracing_conf *conf, struct diags *diags)
{
	struct tracing_target *g = calloc(1, sizeof(*g));

	if (g == NULL) {
		diags_out_of_memory(diags);
		return NULL;
	}
	arena_init(&g->arena, NULL);
	CHECK(collector_place_parse(slice_str(conf->endpoint), &g->place) == NULL);
	if (g->place.address.tls)
		g->tls = tls_client_new(&conf->tls, 0, conf->endpoint_at,
					(int64_t)(clock_wall_ns() / CLOCK_S), diags);
	if (g->place.address.tls && g->tls == NULL) {
		target_free(g);
		return NULL;
	}
	if (target_init(g, conf))
		return g;
	diags_out_of_memory(diags);
	target_free(g);
	return NULL;
}

/*---------------------------------------------------------------- a batch */

static uint64_t random_below(struct tracing *t, uint64_t below)
{
	t->random ^= t->random << 13;
	t->random ^= t->random >> 7;
	t->random ^= t->random << 17;
	return below == 0 ? 0 : t->random % below;
}

static uint64_t waiting(const struct tracing *t)
{
	uint64_t n = 0;

	for (unsigned w = 0; w < t->workers; w++) {
		uint64_t taken = stat_read(&t->worker[w].taken), put = stat_read(&t->worker[w].put);

		n += put > taken ? put - taken : 0; /* one may be taken before it is counted */
	}
	return n;
}

/* The length of the first span, its end included. */
static size_t span_length(const struct ring *r, size_t tail, size_t head)
{
	size_t mask = r->size - 1, at = tail & mask;
	size_t first = r->size - at < head - tail ? r->size - at : head - tail;
	const char *end = memchr(r->bytes + at, '\n', first);

	if (end != NULL)
		return (size_t)(end - (r->bytes + at)) + 1;
	end = memchr(r->bytes, '\n', head - tail - first);
	CHECK(end != NULL);
	return first + (size_t)(end - r->bytes) + 1;
}

/* False: the ring is empty, the batch is full, or memory is out. */
static bool take_span(struct tracing *t, struct tracing_worker *tw, struct ring *r)
{
	size_t tail = atomic_load_explicit(&r->tail, memory_order_relaxed);
	size_t head = atomic_load_explicit(&r->head, memory_order_acquire);
	size_t at = tail & (r->size - 1), n, first;

	if (tail == head || t->n_spans >= t->target->batch || t->spans.n > BATCH_BYTES_MAX ||
	    !buf_reserve(&t->spans, SPAN_JSON_MAX + 1))
		return false;
	n = span_length(r, tail, head);
	first = r->size - at < n ? r->size - at : n;
	if (t->n_spans > 0)
		buf_putc(&t->spans, ',');
	buf_put(&t->spans, r->bytes + at, first);
	buf_put(&t->spans, r->bytes, n - first);
	t->spans.n--; /* the newline */
	t->n_spans++;
	stat_add(&tw->taken, 1);
	atomic_store_explicit(&r->tail, tail + n, memory_order_release);
	return true;
}

static void take_from(struct tracing *t, struct tracing_worker *tw)
{
	for (;;) {
		struct ring *r = tw->drain;
		struct ring *next = atomic_load_explicit(&r->next, memory_order_acquire);

		while (take_span(t, tw, r))
			;
		if (next == NULL || ring_used(r) > 0)
			return;
		tw->drain = next;
		ring_free(r);
		stat_add(&tw->settled, 1);
	}
}

static bool take_batch(struct tracing *t)
{
	unsigned begin = t->turn;

	t->spans.n = 0;
	t->spans.oom = false;
	t->n_spans = 0;
	t->tries = 0;
	t->batch_ns = t->loop.now_ns;
	for (unsigned i = 0; i < t->workers; i++)
		take_from(t, &t->worker[(begin + i) % t->workers]);
	return t->n_spans > 0;
}

/* As large as it has ever been is larger than it need be. */
static void drop_batch(struct tracing *t)
{
	t->n_spans = 0;
	if (t->spans.cap > 1024 * 1024)
		buf_fini(&t->spans);
	t->spans.n = 0;
}

/*---------------------------------------------------------------- sending */

static void set_state(struct tracing *t, enum state s)
{
	atomic_store(&t->state, (int)s);
}

static void set_timer(struct tracing *t, uint64_t ns)
{
	uint64_t at = t->loop.now_ns + (ns > 0 ? ns : 1);

	if (t->stopping && at > t->give_up_ns)
		at = t->give_up_ns;
	CHECK(timer_set(&t->loop.timers, &t->timer, at)); /* the heap has had room since the start */
}

static bool find_address(struct tracing *t, struct addr *out)
{
	const struct tracing_target *g = t->target;

	*out = g->place.address.fixed;
	return !g->place.address.named || endpoint_addrs_get(g->addrs, t->turn, out);
}

static void on_answer(void *owner, const struct collector_answer *);

static void send_batch(struct tracing *t)
{
	struct addr addr;
	struct collector_request r = {
		.place = &t->target->place,
		.addr = &addr,
		.tls = t->target->tls,
		.headers = &t->target->headers,
		.body = t->body,
		.parts = 3,
		.timeout_ns = t->target->timeout_ns,
	};

	set_state(t, SENDING);
	t->tries++;
	t->body[0] = slice_of(t->target->head.p, t->target->head.n);
	t->body[1] = slice_of(t->spans.p, t->spans.n);
	t->body[2] = span_json_tail;
	if (find_address(t, &addr)) {
		collector_post(t->collector, &r);
	} else {
		const struct collector_answer none = { .verdict = COLLECTOR_LATER,
						       .why = "its name has no address" };

		on_answer(t, &none);
	}
	t->turn++;
}

/* What is new of it; while it fails no more than once a minute. */
static void tell(struct tracing *t, const struct collector_answer *a)
{
	bool bad = a->verdict != COLLECTOR_TOOK;
	const char *to = t->target->place.address.text;

	if (!bad && t->failing)
		log_info("tracing: the collector %s takes spans again", to);
	if ((bad && !t->failing) ||
	    (a->why[0] != '\0' &&
	     (t->said_ns == 0 || t->loop.now_ns - t->said_ns >= SAY_EVERY_NS))) {
		log_warn("tracing: the collector %s: %s%s", to, a->why,
			 !bad                            ? ""
			 : a->verdict == COLLECTOR_LATER ? "; tried again, spans wait as far as "
							   "there is room"
							 : "; spans are dropped");
		t->said_ns = t->loop.now_ns;
	}
	t->failing = bad;
}

/* Nothing under way: what next? */
static void rest(struct tracing *t)
{
	set_state(t, IDLE);
	atomic_thread_fence(memory_order_seq_cst);
	if (waiting(t) == 0) {
		t->loop.stop = t->stopping;
		timer_clear(&t->timer);
	} else if ((t->stopping || waiting(t) >= t->target->batch) && take_batch(t)) {
		if (t->stopping)
			set_timer(t, FLUSH_NS);
		else
			timer_clear(&t->timer);
		send_batch(t);
	} else {
		set_state(t, GATHERING);
		set_timer(t, t->target->interval_ns);
	}
}

static void end_batch(struct tracing *t, enum span_result result, uint64_t rejected)
{
	if (rejected > t->n_spans)
		rejected = t->n_spans;
	stat_add(&t->count[result], t->n_spans - rejected);
	stat_add(&t->count[SPAN_REJECTED], rejected);
	drop_batch(t);
}

/* Half to one and a half of the time, so that a crowd does not come back together. */
static uint64_t backoff_ns(struct tracing *t, uint64_t asked_ms)
{
	uint64_t ns = BACKOFF_FIRST_NS;

	for (unsigned i = 1; i < t->tries && ns < BACKOFF_MAX_NS; i++)
		ns *= 2;
	ns = ns < BACKOFF_MAX_NS ? ns : BACKOFF_MAX_NS;
	ns = ns / 2 + random_below(t, ns);
	if (asked_ms > BATCH_AGE_NS / CLOCK_MS)
		asked_ms = BATCH_AGE_NS / CLOCK_MS;
	return asked_ms * CLOCK_MS > ns ? asked_ms * CLOCK_MS : ns;
}

/* Between batches: one is not sent twice because somebody reloads.  True: there is another one. */
static bool adopt_target(struct tracing *t)
{
	struct tracing_target *next;

	pthread_mutex_lock(&t->lock);
	next = t->next;
	t->next = NULL;
	pthread_mutex_unlock(&t->lock);
	if (next == NULL)
		return false;
	target_free(t->target);
	t->target = next;
	t->tries = 0;
	atomic_store(&t->batch, next->batch);
	return true;
}

static void on_answer(void *owner, const struct collector_answer *a)
{
	struct tracing *t = owner;
	uint64_t age_ns = t->loop.now_ns - t->batch_ns;
	bool later = a->verdict == COLLECTOR_LATER && !t->stopping && age_ns < BATCH_AGE_NS, moved;

	tell(t, a);
	moved = adopt_target(t);
	if (later) {
		set_state(t, WAITING);
		set_timer(t, moved ? 1 : backoff_ns(t, a->retry_after_ms));
		return;
	}
	if (t->stopping && a->verdict != COLLECTOR_TOOK)
		t->not_taken += t->n_spans;
	end_batch(t, a->verdict == COLLECTOR_TOOK ? SPAN_SENT : SPAN_FAILED, a->rejected);
	if (t->stopping && a->verdict != COLLECTOR_TOOK)
		t->loop.stop = true;
	else
		rest(t);
}

static void on_timer(struct timer *timer)
{
	struct tracing *t = LIST_ENTRY(timer, struct tracing, timer);
	int state = atomic_load(&t->state);

	if (t->stopping && t->loop.now_ns >= t->give_up_ns)
		t->loop.stop = true;
	else if (state == WAITING)
		send_batch(t);
	else if (state == GATHERING && take_batch(t))
		send_batch(t);
	else if (state == GATHERING)
		rest(t);
}

/*---------------------------------------------------------------- the thread */

static void begin_stop(struct tracing *t)
{
	t->stopping = true;
	t->give_up_ns = t->loop.now_ns + FLUSH_NS;
	if (atomic_load(&t->state) == WAITING)
		send_batch(t);
	else if (atomic_load(&t->state) != SENDING)
		rest(t);
	if (!t->loop.stop)
		set_timer(t, FLUSH_NS);
}

static bool is_due(const struct tracing *t)
{
	for (unsigned w = 0; w < t->workers; w++)
		if (ring_used(t->worker[w].drain) > t->worker[w].drain->size / 2)
			return true;
	return waiting(t) >= t->target->batch;
}

static bool is_stopped(struct tracing *t)
{
	bool stop;

	pthread_mutex_lock(&t->lock);
	stop = t->stop;
	pthread_mutex_unlock(&t->lock);
	return stop;
}

static void look_up(struct tracing *t)
{
	int state = atomic_load(&t->state);

	if (state != SENDING && adopt_target(t) && state == WAITING)
		set_timer(t, 1); /* what is asked now may be better */
	if (is_stopped(t) && t->target == NULL)
		t->loop.stop = true;
	else if (is_stopped(t) && !t->stopping)
		begin_stop(t);
	else if (t->target != NULL && state == IDLE)
		rest(t);
	else if (state == GATHERING && is_due(t) && take_batch(t))
		send_batch(t);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct tracing *t = arg;
	uint64_t count;

	(void)what;
	(void)!read(fd, &count, sizeof(count));
	loop_enter(&t->loop);
	look_up(t);
	loop_settle(&t->loop);
}

static void after_turn(struct loop *loop)
{
	(void)loop;
}

static void *thread_main(void *arg)
{
	struct tracing *t = arg;

	loop_run(&t->loop, after_turn);
	return NULL;
}

/*---------------------------------------------------------------- control */

/* Where the thread has never run the workers have none, and no worker reads them yet. */
static bool make_rings(struct tracing *t, size_t bytes)
{
	for (unsigned w = 0; w < t->workers; w++) {
		struct tracing_worker *tw = &t->worker[w];

		if (tw->ring == NULL)
			tw->ring = tw->drain = ring_new(bytes);
		if (tw->ring == NULL)
			return false;
	}
	t->ring_bytes = bytes;
	return true;
}

static bool start(struct tracing *t)
{
	if (!loop_init(&t->loop, true))
		return false;
	timer_init(&t->timer, on_timer);
	t->random = hash_boot_key()->k0 | 1;
	t->collector = collector_new(&t->loop, on_answer, t);
	t->wake = event_new(t->loop.base, t->wake_fd, EV_READ | EV_PERSIST, on_wake, t);
	if (t->collector != NULL && t->wake != NULL && event_add(t->wake, NULL) == 0 &&
	    timer_set(&t->loop.timers, &t->timer, clock_mono_ns() + CLOCK_S)) {
		timer_clear(&t->timer);
		t->started = thread_start(&t->thread, "weir/traces", STACK_BYTES, thread_main, t);
	}
	return t->started;
}

static void fini_loop(struct tracing *t)
{
	if (t->loop.in == NULL)
		return;
	loop_enter(&t->loop);
	collector_free(t->collector);
	loop_settle(&t->loop);
	if (t->wake != NULL)
		event_free(t->wake);
	timer_fini(&t->loop.timers, &t->timer);
	loop_fini(&t->loop);
	t->collector = NULL;
	t->wake = NULL;
}

bool tracing_prepare(struct tracing *t, const struct tracing_conf *conf, struct diags *diags,
		     struct tracing_target **target)
{
	*target = NULL;
	if (conf->endpoint == NULL)
		return true;
	*target = target_new(conf, diags);
	if (*target == NULL)
		return false;
	if (t->started)
		return true;
	if (make_rings(t, (*target)->ring_bytes) && start(t))
		return true;
	fini_loop(t);
	target_free(*target);
	*target = NULL;
	diags_out_of_memory(diags);
	return false;
}

/* Without memory the old ones stay. */
static void offer_rings(struct tracing *t, size_t bytes)
{
	if (bytes == t->ring_bytes)
		return;
	for (unsigned w = 0; w < t->workers; w++) {
		struct ring *r = ring_new(bytes);

		if (r == NULL)
			log_warn("out of memory: the queue of spans stays as it is");
		else
			ring_free(atomic_exchange(&t->worker[w].offer, r));
	}
	t->ring_bytes = bytes;
}

void tracing_commit(struct tracing *t, struct tracing_target *target)
{
	struct tracing_target *unused;

	if (target == NULL)
		return;
	offer_rings(t, target->ring_bytes);
	pthread_mutex_lock(&t->lock);
	unused = t->next;
	t->next = target;
	pthread_mutex_unlock(&t->lock);
	target_free(unused);
	wake_thread(t);
}

void tracing_abandon(struct tracing_target *target)
{
	target_free(target);
}

struct tracing *tracing_open(unsigned workers)
{
	struct tracing *t = calloc(1, sizeof(*t));

	if (t == NULL)
		return NULL;
	t->workers = workers;
	t->worker = aligned_alloc(64, workers * sizeof(*t->worker));
	t->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	pthread_mutex_init(&t->lock, NULL);
	if (t->worker != NULL)
		memset(t->worker, 0, workers * sizeof(*t->worker));
	if (t->worker != NULL && t->wake_fd >= 0)
		return t;
	tracing_close(t);
	return NULL;
}

static void stop(struct tracing *t)
{
	uint64_t lost;

	pthread_mutex_lock(&t->lock);
	t->stop = true;
	pthread_mutex_unlock(&t->lock);
	wake_thread(t);
	pthread_join(t->thread, NULL);
	t->started = false;
	lost = waiting(t) + t->n_spans + t->not_taken;
	if (lost > 0)
		log_warn("tracing: %llu spans are lost: the collector did not take them",
			 (unsigned long long)lost);
}

static void worker_fini(struct tracing_worker *tw)
{
	struct ring *r = tw->drain, *next;

	for (; r != NULL; r = next) {
		next = atomic_load_explicit(&r->next, memory_order_relaxed);
		ring_free(r);
	}
	ring_free(atomic_load(&tw->offer));
	buf_fini(&tw->text);
}

void tracing_close(struct tracing *t)
{
	if (t == NULL)
		return;
	if (t->started)
		stop(t);
	fini_loop(t);
	for (unsigned w = 0; t->worker != NULL && w < t->workers; w++)
		worker_fini(&t->worker[w]);
	target_free(t->target);
	target_free(t->next);
	buf_fini(&t->spans);
	if (t->wake_fd >= 0)
		close(t->wake_fd);
	pthread_mutex_destroy(&t->lock);
	free(t->worker);
	free(t);
}
