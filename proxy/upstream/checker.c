/* checker.c - the checks of all endpoints; laws in checker.h.
 *
 *   OFF --order--> RESTING --time--> (LINED UP -->) RUNNING --answer, failure, time-out--> RESTING
 *                     |                                |
 *                     +------------ order: none -------+--> OFF
 *
 * A check's one timer means: when to begin (RESTING), when to give up (RUNNING). */
#include "upstream/checker.h"

#include <event2/event.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/reason.h"
#include "base/thread.h"
#include "io/conn.h"
#include "upstream/check_rule.h"

enum {
	BODY_BYTES_MAX = 64 * 1024, /* of an answer: no more is read */
	ADDRESSES_MAX = 8,          /* of a name, tried by one check */
	THREAD_STACK_BYTES = 256 * 1024,
};

#define SPREAD_NS UINT64_C(1000000) /* between first checks, on average */

static const struct codec_limits limits = { .head_bytes = 32 * 1024,
					    .target_bytes = 4096,
					    .headers = 200,
					    .h2 = &h2_default_limits };

enum state { OFF, RESTING, LINED_UP, RUNNING };

struct check {
	struct checker *checker;
	struct endpoint *endpoint;

	/* under the checker's lock */
	struct list order_link;
	struct check_rule *ordered, *wanted; /* not yet obeyed; what was last ordered */
	bool has_order;
	bool at_work; /* the checker has a rule */

	/* the checker's own */
	enum state state;
	struct check_rule *rule;
	struct health_state health;
	struct timer timer;
	struct list line_link;
	struct arena arena;
	struct deferred grave; /* of what the arena holds: the codec may be on the stack */
	struct conn *conn;
	struct stream *stream;
	uint64_t start_ns;
	uint32_t turn, addresses_left;
	uint16_t status;
	bool tls_failed; /* the last address was reached, and its handshake failed */
	bool answered;   /* the head is as expected: only the end of the answer is waited for */
	size_t body_n, tail_n;
	char tail[2 *
		  HEALTH_BODY_MAX]; /* the end of the body so far, where the text may have begun */
};

struct checker {
	pthread_mutex_t lock;
	struct list orders; /* of struct check */
	bool stop;
	struct loop *loop; /* own, or given */
	struct loop own;
	bool is_given, started;
	int wake_fd;
	struct event *wake;
	pthread_t thread;

	/* the loop's own */
	struct list line;  /* checks that wait for a place */
	struct list fresh; /* that have just been ordered */
	unsigned running, on;
	uint64_t random;
};

/* splitmix64: who checks when is no secret. */
static uint64_t random_below(struct checker *k, uint64_t n)
{
	uint64_t x = k->random += UINT64_C(0x9e3779b97f4a7c15);

	x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
	return n == 0 ? 0 : (x ^ (x >> 31)) % n;
}

/*---------------------------------------------------------------- what is left for readers */

static void publish(struct check *ck, bool checked)
{
	struct endpoint_health *h = &ck->endpoint->health;

	atomic_store_explicit(&h->down, ck->health.down, memory_order_relaxed);
	atomic_store_explicit(&h->checked, checked, memory_order_relaxed);
	atomic_store_explicit(&h->passed, ck->health.passed, memory_order_relaxed);
	atomic_store_explicit(&h->failed, ck->health.failed, memory_order_relaxed);
}

static void publish_last(struct check *ck, enum check_result result, uint64_t now_ns)
{
	struct endpoint_health *h = &ck->endpoint->health;
	_Atomic uint64_t *count = &h->results[result];

	atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + 1,
			      memory_order_relaxed);
	atomic_store_explicit(&h->last, (uint8_t)result, memory_order_relaxed);
	atomic_store_explicit(&h->status, ck->status, memory_order_relaxed);
	atomic_store_explicit(&h->took_ns, now_ns - ck->start_ns, memory_order_relaxed);
}

/* It is down, or no longer: that was the other way round before. */
static void publish_change(struct check *ck, bool down, uint64_t now_ns)
{
	struct endpoint_health *h = &ck->endpoint->health;
	uint64_t since_ns = atomic_load_explicit(&h->changed_ns, memory_order_relaxed);

	if (down)
		atomic_fetch_add_explicit(&h->downs, 1, memory_order_relaxed);
	else
		atomic_fetch_add_explicit(&h->down_ns, now_ns - since_ns, memory_order_relaxed);
	atomic_store_explicit(&h->changed_ns, now_ns, memory_order_relaxed);
}

static void log_change(const struct check *ck, enum check_result result)
{
	const struct endpoint *e = ck->endpoint;
	unsigned n = ck->health.down ? ck->health.failed : ck->health.passed;
	const char *checks = n == 1 ? "check" : "checks";

	if (!ck->health.down)
		log_info("upstream %s: %s is healthy again: %u %s passed", e->cluster, e->text, n,
			 checks);
	else if (result == CHECK_STATUS)
		log_warn("upstream %s: %s is unhealthy: %u %s failed, the last with status %u",
			 e->cluster, e->text, n, checks, ck->status);
	else
		log_warn("upstream %s: %s is unhealthy: %u %s failed, the last: %s", e->cluster,
			 e->text, n, checks, check_result_texts[result]);
}

/*---------------------------------------------------------------- one check */

static void begin(struct check *);

/* `well`: the answer came whole, nothing is cut short. */
static void hang_up(struct check *ck, bool well)
{
	struct stream *s = ck->stream;
	struct conn *c = ck->conn;

	ck->stream = NULL;
	ck->conn = NULL;
	if (s != NULL)
		s->ops->reset(s, reason_client_abort);
	if (c == NULL)
		return;
	if (!well) {
		conn_drop(c);
		return;
	}
	c->on = NULL;
	conn_finish(c);
}

static void next_in_line(struct checker *k)
{
	struct list *n = k->running < CHECKS_AT_ONCE ? list_pop_front(&k->line) : NULL;

	if (n != NULL)
		begin(LIST_ENTRY(n, struct check, line_link));
}

/* Out of the line, off the wire. */
static void leave(struct check *ck, bool well)
{
	bool was_running = ck->state == RUNNING;

	ck->state = RESTING;
	timer_clear(&ck->timer);
	list_remove(&ck->line_link);
	hang_up(ck, well);
	ck->checker->running -= was_running;
}

/* From the loop, with no codec on the stack: at once. */
static void give_up(struct check *ck)
{
	leave(ck, false);
	arena_fini(&ck->arena);
}

static void on_left(struct deferred *d)
{
	struct check *ck = LIST_ENTRY(d, struct check, grave);

	arena_fini(&ck->arena);
	next_in_line(ck->checker);
}

/* `every` after the last began, give or take a sixteenth: many Weirs do not march in step. */
static void rest(struct check *ck)
{
	struct checker *k = ck->checker;
	uint64_t every = ck->rule->conf.every_ns, now = k->loop->now_ns;
	uint64_t at = ck->start_ns + every - every / 16 + random_below(k, every / 8);

	if (at <= now)
		at = now + 1 + random_below(k, every / 16);
	if (!timer_set(&k->loop->timers, &ck->timer, at))
		log_error("out of memory: %s is checked no more", ck->endpoint->text);
}

static void finish(struct check *ck, enum check_result result)
{
	struct checker *k = ck->checker;
	const struct health_conf *conf = &ck->rule->conf;

	publish_last(ck, result, k->loop->now_ns);
	if (health_count(&ck->health, conf->fall, conf->rise, result == CHECK_OK)) {
		if (!ck->health.down)
			atomic_store_explicit(&ck->endpoint->health.warm_from_ns, k->loop->now_ns,
					      memory_order_relaxed);
		publish_change(ck, ck->health.down, k->loop->now_ns);
		log_change(ck, result);
	}
	publish(ck, true);
	leave(ck, result == CHECK_OK);
	loop_defer(k->loop, &ck->grave, on_left);
	rest(ck);
}

/*---------------------------------------------------------------- the answer */

static void on_head(void *owner, struct head *h, bool end)
{
	struct check *ck = owner;

	(void)end;
	if (h->status < 200)
		return;
	ck->status = h->status;
	if (!status_set_has(&ck->rule->conf.status, h->status))
		finish(ck, CHECK_STATUS);
	else
		ck->answered = ck->rule->conf.body == NULL;
}

/* Whether the text ends in this piece.  It may have begun in the one before: so much of the end is
 * kept. */
static bool find_text(struct check *ck, struct slice s)
{
	struct slice text = slice_str(ck->rule->conf.body);
	size_t head = s.n < text.n ? s.n : text.n, keep;

	if (memmem(s.p, s.n, text.p, text.n) != NULL)
		return true;
	memcpy(ck->tail + ck->tail_n, s.p, head);
	if (memmem(ck->tail, ck->tail_n + head, text.p, text.n) != NULL)
		return true;
	keep = s.n >= text.n               ? text.n - 1
	       : ck->tail_n + s.n < text.n ? ck->tail_n + s.n
					   : text.n - 1;
	if (s.n >= text.n)
		memcpy(ck->tail, s.p + s.n - keep, keep);
	else
		memmove(ck->tail, ck->tail + ck->tail_n + s.n - keep, keep);
	ck->tail_n = keep;
	return false;
}

static void on_body(void *owner, struct slice s, bool end)
{
	struct check *ck = owner;

	(void)end;
	if (!ck->answered && s.n > 0)
		ck->answered = find_text(ck, s);
	ck->body_n += s.n;
	if (ck->body_n > BODY_BYTES_MAX)
		finish(ck, ck->answered ? CHECK_OK : CHECK_BODY);
}

static void on_gone(void *owner, const struct reason *why)
{
	struct check *ck = owner;

	ck->stream = NULL;
	if (why != NULL)
		finish(ck, CHECK_BROKEN);
	else
		finish(ck, ck->answered ? CHECK_OK : CHECK_BODY);
}

static const struct stream_events answer_events = { .head = on_head,
						    .body = on_body,
						    .gone = on_gone };

/*---------------------------------------------------------------- the request */

static struct slice host_of(const struct check *ck)
{
	static const struct slice local = SLICE("localhost");
	const struct endpoint *e = ck->endpoint;

	if (ck->rule->conf.host != NULL)
		return slice_str(ck->rule->conf.host);
	return e->host == NULL && e->fixed.u.sa.sa_family == AF_UNIX ? local
								     : slice_str(e->authority);
}

static bool make_request(struct check *ck, struct head *h)
{
	static const struct slice agent = SLICE("weir/" WEIR_VERSION " (health check)");
	static const struct slice any = SLICE("*/*");
	struct slice path = slice_str(ck->rule->conf.path), query = path;
	struct slice name = SLICE("user-agent"), accept = SLICE("accept");

	head_init(h, &ck->arena);
	h->method = slice_str(health_methods[ck->rule->conf.method]);
	h->method_id = (uint8_t)method_lookup(h->method);
	h->target = path;
	h->path = slice_cut(&query, '?');
	h->query = query;
	h->authority = host_of(ck);
	h->minor = 1;
	return head_add_name(h, name, agent) && head_add_name(h, accept, any);
}

static void send_request(struct check *ck)
{
	struct head h;

	ck->stream = conn_open(ck->conn, &ck->arena);
	if (ck->stream == NULL) {
		finish(ck, CHECK_BROKEN);
		return;
	}
	conn_last(ck->conn); /* Connection: close, or no more streams */
	ck->stream->on = &answer_events;
	ck->stream->owner = ck;
	if (!make_request(ck, &h) || !ck->stream->ops->head(ck->stream, &h, true))
		finish(ck, CHECK_BROKEN);
}

static void on_connected(struct conn *c)
{
	send_request(c->owner);
}

static void connect_next(struct check *);

/* The stream, if there was one, has told already: this is a connect that failed. */
static void on_closed(struct conn *c, const struct reason *why)
{
	struct check *ck = c->owner;

	ck->tls_failed = why == reason_tls_failed;
	ck->conn = NULL;
	connect_next(ck);
}

static void on_conn_timeout(struct conn *c)
{
	(void)c; /* the check keeps the time */
}

static const struct conn_events check_conn_events = { .connected = on_connected,
						      .timeout = on_conn_timeout,
						      .closed = on_closed };

/* As a call does: a name is tried at each of its addresses, another one first each time. */
static void connect_next(struct check *ck)
{
	const struct tls_target tls = { .client = ck->endpoint->peer == NULL ? NULL : ck->rule->tls,
					.name = ck->endpoint->peer };
	struct loop *loop = ck->checker->loop;
	struct addr addr;

	while (ck->addresses_left > 0) {
		ck->addresses_left--;
		if (!endpoint_addr(ck->endpoint, &ck->turn, &addr))
			break;
		ck->conn =
		    conn_connect(loop, &addr, &tls,
				 endpoint_protocol(ck->endpoint, ck->rule->http),
				 &check_conn_events, ck, &limits);
		if (ck->conn != NULL)
			return;
	}
	finish(ck, ck->tls_failed ? CHECK_TLS : CHECK_CONNECT);
}

static void begin(struct check *ck)
{
	struct checker *k = ck->checker;
	unsigned n = endpoint_addr_count(ck->endpoint);

	ck->state = RUNNING;
	k->running++;
	ck->start_ns = k->loop->now_ns;
	ck->status = 0;
	ck->answered = ck->tls_failed = false;
	ck->body_n = ck->tail_n = 0;
	ck->addresses_left = n < ADDRESSES_MAX ? n : ADDRESSES_MAX;
	arena_init(&ck->arena, &k->loop->pool);
	if (n == 0)
		finish(ck, CHECK_ADDRESS);
	else if (!timer_set(&k->loop->timers, &ck->timer, ck->start_ns + ck->rule->conf.timeout_ns))
		finish(ck, CHECK_BROKEN);
	else
		connect_next(ck);
}

static bool is_taken_out(const struct endpoint *e)
{
	return atomic_load_explicit(&e->health.order, memory_order_relaxed) == ENDPOINT_DOWN;
}

static void on_timer(struct timer *t)
{
	struct check *ck = LIST_ENTRY(t, struct check, timer);
	struct checker *k = ck->checker;

	if (ck->state == RUNNING) {
		/* an answer that has no end is one all the same */
		finish(ck, ck->answered ? CHECK_OK : CHECK_TIMEOUT);
	} else if (is_taken_out(ck->endpoint)) {
		ck->start_ns = k->loop->now_ns;
		rest(ck);
	} else if (k->running < CHECKS_AT_ONCE) {
		begin(ck);
	} else {
		ck->state = LINED_UP;
		list_push_back(&k->line, &ck->line_link);
	}
}

/*---------------------------------------------------------------- orders: to the checker */

static struct check_rule *take_order(struct checker *k, struct check *ck)
{
	struct check_rule *rule;

	pthread_mutex_lock(&k->lock);
	rule = ck->ordered;
	ck->ordered = NULL;
	ck->has_order = false;
	ck->at_work = true; /* until it is seen to be otherwise */
	pthread_mutex_unlock(&k->lock);
	return rule;
}

static void let_go(struct check *ck)
{
	struct checker *k = ck->checker;

	pthread_mutex_lock(&k->lock);
	ck->at_work = false; /* the last touch, unless there is an order again */
	pthread_mutex_unlock(&k->lock);
}

static void turn_off(struct check *ck)
{
	struct checker *k = ck->checker;

	if (ck->state != OFF) {
		give_up(ck);
		timer_fini(&k->loop->timers, &ck->timer);
		k->on--;
	}
	ck->state = OFF;
	check_rule_put(ck->rule);
	ck->rule = NULL;
	if (ck->health.down)
		publish_change(ck, false, k->loop->now_ns);
	ck->health = (struct health_state){ .down = false };
	publish(ck, false);
	let_go(ck);
}

/* What is under way is given up: it was asked by the old rule. */
static void turn_on(struct check *ck, struct check_rule *rule)
{
	struct checker *k = ck->checker;

	k->on += ck->state == OFF;
	if (ck->state != OFF)
		give_up(ck);
	ck->state = RESTING;
	check_rule_put(ck->rule);
	ck->rule = rule;
	publish(ck, true);
	list_push_back(&k->fresh, &ck->line_link);
}

static void obey(struct checker *k, struct check *ck)
{
	struct check_rule *rule = take_order(k, ck);

	if (rule == NULL)
		turn_off(ck);
	else
		turn_on(ck, rule);
}

/* Now that it is known how many there are: a thousand do not begin at once. */
static void begin_soon(struct check *ck)
{
	struct checker *k = ck->checker;
	uint64_t every = ck->rule->conf.every_ns, spread = k->on * SPREAD_NS;

	if (!timer_set(&k->loop->timers, &ck->timer,
		       k->loop->now_ns + 1 + random_below(k, spread < every ? spread : every)))
		log_error("out of memory: %s is not checked", ck->endpoint->text);
}

static struct check *next_order(struct checker *k)
{
	struct list *n;

	pthread_mutex_lock(&k->lock);
	n = list_pop_front(&k->orders);
	pthread_mutex_unlock(&k->lock);
	return n == NULL ? NULL : LIST_ENTRY(n, struct check, order_link);
}

static void obey_all(struct checker *k)
{
	struct check *ck;
	struct list *n;

	while ((ck = next_order(k)) != NULL)
		obey(k, ck);
	while ((n = list_pop_front(&k->fresh)) != NULL)
		begin_soon(LIST_ENTRY(n, struct check, line_link));
	while (k->running < CHECKS_AT_ONCE && !list_empty(&k->line))
		next_in_line(k);
}

void checker_obey(struct checker *k)
{
	loop_enter(k->loop);
	obey_all(k);
	loop_settle(k->loop);
}

/*---------------------------------------------------------------- orders: from control */

struct check *check_new(struct checker *k, struct endpoint *e)
{
	struct check *ck = calloc(1, sizeof(*ck));

	if (ck == NULL)
		return NULL;
	ck->checker = k;
	ck->endpoint = e;
	list_init(&ck->order_link);
	list_init(&ck->line_link);
	timer_init(&ck->timer, on_timer);
	return ck;
}

bool check_is_idle(struct check *ck)
{
	bool idle;

	if (ck == NULL)
		return true;
	pthread_mutex_lock(&ck->checker->lock);
	idle = !ck->has_order && !ck->at_work;
	pthread_mutex_unlock(&ck->checker->lock);
	return idle;
}

void check_free(struct check *ck)
{
	if (ck == NULL)
		return;
	check_rule_put(ck->ordered);
	check_rule_put(ck->wanted);
	free(ck);
}

void check_order(struct check *ck, struct check_rule *rule)
{
	struct checker *k = ck->checker;

	if (check_rule_same(ck->wanted, rule))
		return;
	check_rule_put(ck->wanted);
	ck->wanted = rule != NULL ? check_rule_get(rule) : NULL;
	pthread_mutex_lock(&k->lock);
	check_rule_put(ck->ordered);
	ck->ordered = rule != NULL ? check_rule_get(rule) : NULL;
	if (!ck->has_order)
		list_push_back(&k->orders, &ck->order_link);
	ck->has_order = true;
	pthread_mutex_unlock(&k->lock);
}

/*---------------------------------------------------------------- the thread */

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct checker *k = arg;
	uint64_t count;

	(void)what;
	(void)!read(fd, &count, sizeof(count));
	checker_obey(k);
	pthread_mutex_lock(&k->lock);
	k->loop->stop = k->stop;
	pthread_mutex_unlock(&k->lock);
}

void checker_wake(struct checker *k)
{
	static const uint64_t one = 1;

	if (k->started)
		(void)!write(k->wake_fd, &one, sizeof(one));
}

static void after_turn(struct loop *loop)
{
	(void)loop;
}

static void *checker_main(void *arg)
{
	struct checker *k = arg;

	loop_run(k->loop, after_turn);
	return NULL;
}

struct checker *checker_new(void)
{
	struct checker *k = calloc(1, sizeof(*k));

	if (k == NULL)
		return NULL;
	pthread_mutex_init(&k->lock, NULL);
	list_init(&k->orders);
	list_init(&k->line);
	list_init(&k->fresh);
	k->wake_fd = -1;
	return k;
}

void checker_use(struct checker *k, struct loop *loop, uint64_t seed)
{
	k->is_given = true;
	k->loop = loop;
	k->random = seed;
}

static void close_loop(struct checker *k)
{
	if (k->wake != NULL)
		event_free(k->wake);
	if (k->wake_fd >= 0)
		close(k->wake_fd);
	loop_fini(&k->own);
	k->wake = NULL;
	k->wake_fd = -1;
	k->loop = NULL;
}

bool checker_start(struct checker *k)
{
	if (k->is_given || k->started)
		return true;
	if (!loop_init(&k->own, true))
		return false;
	k->loop = &k->own;
	k->random = hash_boot_key()->k0;
	k->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (k->wake_fd >= 0)
		k->wake = event_new(k->own.base, k->wake_fd, EV_READ | EV_PERSIST, on_wake, k);
	k->started = k->wake != NULL && event_add(k->wake, NULL) == 0 && thread_start(&k->thread, "weir/checks", THREAD_STACK_BYTES, checker_main, k);
	if (!k->started)
		close_loop(k);
	return k->started;
}

void checker_stop(struct checker *k)
{
	if (k->is_given)
		checker_obey(k);
	if (!k->started)
		return;
	pthread_mutex_lock(&k->lock);
	k->stop = true;
	pthread_mutex_unlock(&k->lock);
	checker_wake(k);
	pthread_join(k->thread, NULL);
	k->started = false;
}

void checker_free(struct checker *k)
{
	if (k == NULL)
		return;
	if (k->loop == &k->own)
		close_loop(k);
	pthread_mutex_destroy(&k->lock);
	free(k);
}
