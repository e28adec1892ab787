/* carrier.c - the laws are in carrier.h. */
#include "redis/carrier.h"

#include <event2/event.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/check.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/thread.h"

enum { CARRIED_MAX = 4096, THREAD_STACK_BYTES = 256 * 1024 };

#define PEERS_EVERY_NS CLOCK_S
#define PEERS_HOLD_US  UINT64_C(5000000)

/* One sync on its way. */
struct carried {
	struct redis_call call; /* first */
	struct carrier *carrier;
	struct shared_key *key;
	struct list link; /* carrier.spare */
};

struct carrier {
	struct carrier_options o;
	struct shared_limits *shared;
	struct redis_client *client;
	struct loop *loop; /* own, or given */
	struct loop own;
	bool is_given, started;
	pthread_mutex_t lock;
	bool stop; /* under the lock */
	int wake_fd;
	struct event *wake;
	pthread_t thread;

	/* the loop's own */
	struct list spare;
	unsigned carried; /* made so far */
	struct deferred work;
	bool has_work;
	struct redis_call peers, leave;
	bool peers_asked, peers_known, gone_known, leaving, closing;
	uint64_t gone;      /* who have left, as the server counts */
	struct timer timer; /* when to tell that we are there; leaving: how long to wait */
	struct timer pace;  /* when to look for calls that wait for permits */
};

/*------------------------------------------------------------------ carrying */

static void on_work(struct deferred *);

static void work_later(struct carrier *c)
{
	if (c->has_work || c->closing)
		return;
	c->has_work = true;
	loop_defer(c->loop, &c->work, on_work);
}

static void on_carried(struct redis_call *call, enum redis_outcome o, const struct sync_reply *r)
{
	struct carried *d = (struct carried *)(void *)call;
	struct carrier *c = d->carrier;
	uint64_t now = c->loop->now_ns;

	if (o == REDIS_REPLY) {
		shared_set_rtt(c->shared, redis_client_rtt_ns(c->client));
		shared_reply(c->shared, now, d->key, r);
	} else if (o == REDIS_NOT_DONE) {
		shared_refused(c->shared, now, d->key);
	} else {
		shared_lost(c->shared, now, d->key);
	}
	list_push_back(&c->spare, &d->link);
	work_later(c);
}

static struct carried *spare(struct carrier *c)
{
	struct list *n = list_pop_front(&c->spare);
	struct carried *d;

	if (n != NULL)
		return LIST_ENTRY(n, struct carried, link);
	if (c->carried == CARRIED_MAX)
		return NULL;
	d = calloc(1, sizeof(*d));
	if (d == NULL)
		return NULL;
	c->carried++;
	d->carrier = c;
	d->call.done = on_carried;
	list_init(&d->link);
	return d;
}

/* Calls that wait for permits may have something to ask by now. */
static void pace(struct carrier *c)
{
	uint64_t now = c->loop->now_ns;

	if (shared_pace(c->shared, now) &&
	    !timer_set(&c->loop->timers, &c->pace, now + SHARED_PACE_NS))
		log_error("out of memory: calls that wait for a permit are not asked for again");
}

/* Those that find no room go when one comes back. */
static void carry_all(struct carrier *c)
{
	struct carried *d;
	bool paced = false;

	while (!c->closing && (d = spare(c)) != NULL) {
		d->key = shared_next(c->shared, c->loop->now_ns, &d->call.script);
		if (d->key != NULL) {
			redis_client_call(c->client, &d->call);
			continue;
		}
		list_push_front(&c->spare, &d->link);
		if (paced)
			return;
		paced = true;
		pace(c);
	}
}

static void on_work(struct deferred *d)
{
	struct carrier *c = LIST_ENTRY(d, struct carrier, work);

	c->has_work = false;
	carry_all(c);
}

void carrier_turn(struct carrier *c)
{
	loop_enter(c->loop);
	carry_all(c);
	loop_settle(c->loop);
}

/*--------------------------------------------------------------------- peers */

static void tell_later(struct carrier *c)
{
	if (!c->leaving &&
	    !timer_set(&c->loop->timers, &c->timer, c->loop->now_ns + PEERS_EVERY_NS))
		log_error("out of memory: redis is not told any more that this replica is there");
}

static void count_peers(struct carrier *c, uint64_t now_ns, const struct sync_reply *r)
{
	if (c->gone_known && r->left > c->gone)
		shared_peers_left(c->shared, now_ns, r->left - c->gone);
	c->gone = r->left;
	c->gone_known = true;
	shared_set_peers(c->shared, now_ns, (uint32_t)(r->granted < 65535 ? r->granted : 65535));
}

/* Also where it was refused: then as many share the limits as the file says. */
static void on_peers(struct redis_call *call, enum redis_outcome o, const struct sync_reply *r)
{
	struct carrier *c = LIST_ENTRY(call, struct carrier, peers);
	uint64_t now = c->loop->now_ns;

	c->peers_asked = false;
	if (c->closing)
		return;
	if (o == REDIS_REPLY)
		count_peers(c, now, r);
	if (redis_client_is_up(c->client) && !c->peers_known) {
		c->peers_known = true;
		shared_up(c->shared, now);
		work_later(c);
	}
	tell_later(c);
}

static void tell(struct carrier *c)
{
	if (c->peers_asked || c->leaving)
		return;
	c->peers_asked = true;
	c->peers.done = on_peers;
	shared_peers_call(c->shared, PEERS_HOLD_US, &c->peers.script);
	redis_client_call(c->client, &c->peers);
}

static void on_timer(struct timer *t)
{
	struct carrier *c = LIST_ENTRY(t, struct carrier, timer);

	if (c->leaving)
		c->loop->stop = true;
	if (c->closing || c->leaving || !redis_client_is_up(c->client))
		return;
	shared_tick(c->shared, c->loop->now_ns);
	tell(c);
	work_later(c);
}

static void on_left(struct redis_call *call, enum redis_outcome o, const struct sync_reply *r)
{
	struct carrier *c = LIST_ENTRY(call, struct carrier, leave);

	(void)o, (void)r;
	c->loop->stop = true;
}

/* The thread's end: when it was told, or cannot be. */
static void leave(struct carrier *c)
{
	c->leaving = true;
	if (!redis_client_is_up(c->client) || !c->peers_known ||
	    !timer_set(&c->loop->timers, &c->timer, c->loop->now_ns + c->o.redis.timeout_ns)) {
		c->loop->stop = true;
		return;
	}
	c->leave.done = on_left;
	shared_peers_call(c->shared, 0, &c->leave.script);
	redis_client_call(c->client, &c->leave);
}

/*-------------------------------------------------------------------- client */

static void on_up(void *owner)
{
	struct carrier *c = owner;

	shared_set_rtt(c->shared, redis_client_rtt_ns(c->client));
	tell(c);
}

/* A node of several, or the one, after it was gone for a moment. */
static void on_node(void *owner)
{
	struct carrier *c = owner;

	if (!c->peers_known) {
		tell(c);
		return;
	}
	shared_up(c->shared, c->loop->now_ns);
	work_later(c);
}

static void on_down(void *owner)
{
	struct carrier *c = owner;

	c->peers_known = false;
	shared_down(c->shared, c->loop->now_ns);
}

static const struct redis_events client_events = { .up = on_up, .node = on_node, .down = on_down };

static void on_pace(struct timer *t)
{
	work_later(LIST_ENTRY(t, struct carrier, pace));
}

static bool open_client(struct carrier *c)
{
	c->o.redis.random = c->o.random;
	timer_init(&c->timer, on_timer);
	timer_init(&c->pace, on_pace);
	c->client = redis_client_new(c->loop, &c->o.redis, &client_events, c);
	if (c->client == NULL)
		return false;
	loop_enter(c->loop);
	redis_client_start(c->client);
	loop_settle(c->loop);
	return true;
}

static void close_client(struct carrier *c)
{
	struct list *n;

	if (c->client == NULL)
		return;
	c->closing = true;
	loop_enter(c->loop);
	timer_fini(&c->loop->timers, &c->timer);
	timer_fini(&c->loop->timers, &c->pace);
	redis_client_free(c->client);
	c->client = NULL;
	loop_settle(c->loop);
	while ((n = list_pop_front(&c->spare)) != NULL)
		free(LIST_ENTRY(n, struct carried, link));
	c->closing = false;
	c->carried = 0;
}

const struct redis_stats *carrier_stats(const struct carrier *c)
{
	return c->client == NULL ? NULL : redis_client_stats(c->client);
}

/*-------------------------------------------------------------------- thread */

static void wake(void *owner)
{
	struct carrier *c = owner;
	static const uint64_t one = 1;

	if (c->wake_fd >= 0)
		(void)!write(c->wake_fd, &one, sizeof(one));
}

static void settled(void *owner)
{
	struct carrier *c = owner;

	c->o.settled(c->o.owner);
}

static void on_wake(evutil_socket_t fd, short what, void *arg)
{
	struct carrier *c = arg;
	uint64_t count;
	bool stop;

	(void)what;
	(void)!read(fd, &count, sizeof(count));
	pthread_mutex_lock(&c->lock);
	stop = c->stop;
	pthread_mutex_unlock(&c->lock);
	loop_enter(c->loop);
	carry_all(c);
	if (stop && !c->leaving)
		leave(c);
	loop_settle(c->loop);
}

static void after_turn(struct loop *loop)
{
	(void)loop;
}

static void *carrier_main(void *arg)
{
	struct carrier *c = arg;

	loop_run(c->loop, after_turn);
	return NULL;
}

static void close_loop(struct carrier *c)
{
	close_client(c);
	if (c->wake != NULL)
		event_free(c->wake);
	c->wake = NULL;
	loop_fini(&c->own);
	c->loop = NULL;
}

bool carrier_use(struct carrier *c, struct loop *loop)
{
	c->is_given = true;
	c->loop = loop;
	return open_client(c);
}

bool carrier_start(struct carrier *c)
{
	if (c->is_given || c->started)
		return true;
	if (!loop_init(&c->own, true))
		return false;
	c->loop = &c->own;
	c->wake = event_new(c->own.base, c->wake_fd, EV_READ | EV_PERSIST, on_wake, c);
	c->started =
	    c->wake != NULL && event_add(c->wake, NULL) == 0 && open_client(c) && thread_start(&c->thread, "weir/redis", THREAD_STACK_BYTES, carrier_main, c);
	if (!c->started)
		close_loop(c);
	return c->started;
}

void carrier_stop(struct carrier *c)
{
	if (c->is_given) {
		close_client(c);
		return;
	}
	if (!c->started)
		return;
	pthread_mutex_lock(&c->lock);
	c->stop = true;
	pthread_mutex_unlock(&c->lock);
	wake(c);
	pthread_join(c->thread, NULL);
	c->started = false;
	c->own.in_turn = false;
	close_loop(c);
}

/*-------------------------------------------------------------------- making */

/* 13 letters and digits. */
static void make_name(uint64_t random, char out[SIDECAR_NAME_MAX + 1])
{
	static const char letters[] = "0123456789abcdefghjkmnpqrstvwxyz";

	for (unsigned i = 0; i < 13; i++, random >>= 5)
		out[i] = letters[random & 31];
	out[13] = '\0';
}

struct carrier *carrier_new(const struct carrier_options *o)
{
	struct carrier *c = calloc(1, sizeof(*c));
	struct shared_options s = { .space = o->space,
				    .salt = o->salt,
				    .peers = o->peers,
				    .now_ns = clock_mono_ns(),
				    .random = o->random,
				    .wake = wake,
				    .settled = settled,
				    .owner = c };

	if (c == NULL)
		return NULL;
	c->o = *o;
	list_init(&c->spare);
	pthread_mutex_init(&c->lock, NULL);
	make_name(o->random, s.sidecar);
	c->shared = shared_new(&s);
	c->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (c->shared == NULL || c->wake_fd < 0) {
		carrier_free(c);
		return NULL;
	}
	return c;
}

struct shared_limits *carrier_shared(struct carrier *c)
{
	return c->shared;
}

void carrier_free(struct carrier *c)
{
	if (c == NULL)
		return;
	CHECK(!c->started && c->client == NULL);
	shared_free(c->shared);
	if (c->wake_fd >= 0)
		close(c->wake_fd);
	pthread_mutex_destroy(&c->lock);
	free(c);
}
