/* node.c - connecting, again and again; laws in node.h. */
#include "redis/node.h"

#include "base/clock.h"
#include "base/log.h"

enum { FAILURES_UNTIL_DOWN = 3, RTT_TIMES = 5, TIMEOUT_TIMES = 5 };

#define BACKOFF_FIRST_NS (100 * CLOCK_MS)
#define BACKOFF_MAX_NS   (5 * CLOCK_S)

static uint64_t random_below(struct redis_node *n, uint64_t below)
{
	n->random ^= n->random << 13;
	n->random ^= n->random >> 7;
	n->random ^= n->random << 17;
	return n->random % below;
}

/* The first time nearly at once, then 0.1 s and twice as long each time; half to one and a half of it, so that a
 * crowd does not come back together. */
static uint64_t backoff_ns(struct redis_node *n, unsigned times)
{
	uint64_t wait = BACKOFF_FIRST_NS;

	if (times <= 1)
		return random_below(n, 10 * CLOCK_MS);
	for (unsigned i = 2; i < times && wait < BACKOFF_MAX_NS; i++)
		wait *= 2;
	wait = wait < BACKOFF_MAX_NS ? wait : BACKOFF_MAX_NS;
	return wait / 2 + random_below(n, wait);
}

static void log_change(const struct redis_node *n, enum log_level level, const char *what)
{
	char text[REDIS_PLACE_TEXT_MAX];

	redis_place_format(&n->place, text);
	log_at(level, "redis %s: %s", text, what);
}

static void set_state(struct redis_node *n, enum node_state state, const char *why)
{
	bool was_up = n->state == NODE_UP;

	if (n->state == state)
		return;
	n->state = state;
	if (why == NULL)
		log_change(n, LOG_INFO, "reached");
	else
		log_change(n, LOG_WARN, why);
	if (was_up != (state == NODE_UP))
		n->on->changed(n->owner, n);
}

/* Out of memory: a later failure elsewhere comes to the same. */
static void try_later(struct redis_node *n)
{
	struct loop *loop = n->manner->loop;

	if (!timer_set(&loop->timers, &n->timer, loop->now_ns + backoff_ns(n, n->failures)))
		log_error("out of memory: a redis server is not tried again");
}

static void count_failure(struct redis_node *n, const char *why)
{
	n->link = NULL;
	n->failures++;
	if (n->state == NODE_UNKNOWN || n->failures >= FAILURES_UNTIL_DOWN)
		set_state(n, NODE_DOWN, why);
	if (n->state != NODE_IDLE && !n->on->failed(n->owner, n))
		try_later(n);
}

static void on_link_ready(void *owner)
{
	struct redis_node *n = owner;
	uint64_t took = redis_link_greeting_ns(n->link);

	/* a server that has become slow is given time, before its first answer comes too late */
	n->rtt_ns = took > n->rtt_ns ? took : n->rtt_ns;
	set_state(n, NODE_UP, NULL);
	n->on->ready(n->owner, n);
}

static void on_link_over(void *owner, const char *why)
{
	count_failure(owner, why);
}

static const struct redis_link_events link_events = { .ready = on_link_ready,
						      .over = on_link_over };

static bool find(struct redis_node *n, struct addr *out)
{
	const struct redis_finder *f = &n->manner->finder;
	struct ip ip;

	if (n->place.is_unix) {
		*out = n->place.path;
		return true;
	}
	if (ip_parse(slice_str(n->place.host), &ip)) {
		addr_make(out, &ip, n->place.port);
		return true;
	}
	return f->find != NULL && f->find(f->user, &n->place, n->turn++, out);
}

static void connect_now(struct redis_node *n)
{
	const struct redis_manner *m = n->manner;
	struct tls_target tls = { .client = m->tls, .name = n->place.host };
	struct addr addr;

	timer_clear(&n->timer);
	if (!find(n, &addr)) {
		count_failure(n, "its name has no address");
		return;
	}
	n->link = redis_link_open(m->loop, &addr, &tls, &m->greeting,
				  m->loop->now_ns + m->connect_timeout_ns, &link_events, n);
	if (n->link == NULL)
		count_failure(n, "it cannot be connected to");
}

static void on_timer(struct timer *t)
{
	struct redis_node *n = LIST_ENTRY(t, struct redis_node, timer);

	if (n->state != NODE_IDLE && n->link == NULL)
		connect_now(n);
}

void redis_node_init(struct redis_node *n, const struct redis_manner *m,
		     const struct redis_node_events *on, void *owner,
		     const struct redis_place *place, uint64_t random)
{
	*n = (struct redis_node){
		.manner = m, .on = on, .owner = owner, .place = *place, .random = random | 1
	};
	timer_init(&n->timer, on_timer);
}

void redis_node_start(struct redis_node *n)
{
	if (n->state == NODE_IDLE)
		n->state = NODE_UNKNOWN;
	if (n->link == NULL)
		connect_now(n);
}

void redis_node_stop(struct redis_node *n)
{
	struct redis_link *link = n->link;
	bool was_up = n->state == NODE_UP;

	n->state = NODE_IDLE;
	n->link = NULL;
	timer_fini(&n->manner->loop->timers, &n->timer);
	redis_link_close(link);
	n->failures = n->refusals = 0;
	n->rest_until_ns = n->rtt_ns = 0;
	n->complaint = NULL;
	if (was_up)
		n->on->changed(n->owner, n);
}

void redis_node_fail(struct redis_node *n, const char *why)
{
	struct redis_link *link = n->link;

	if (link == NULL)
		return;
	count_failure(n, why);
	redis_link_close(link);
}

void redis_node_missing(struct redis_node *n, const char *why)
{
	if (n->state != NODE_IDLE && n->link == NULL)
		set_state(n, NODE_DOWN, why);
}

bool redis_node_is_up(const struct redis_node *n)
{
	return n->state == NODE_UP;
}

bool redis_node_is_ready(const struct redis_node *n)
{
	return redis_link_is_ready(n->link) && n->manner->loop->now_ns >= n->rest_until_ns;
}

bool redis_node_put(struct redis_node *n, struct redis_command *c, struct slice bytes)
{
	return redis_node_is_ready(n) && redis_link_put(n->link, c, bytes);
}

static uint64_t clamp(uint64_t v, uint64_t least, uint64_t most)
{
	return v < least ? least : v > most ? most : v;
}

uint64_t redis_node_timeout_ns(const struct redis_node *n)
{
	uint64_t least = n->manner->timeout_ns;

	return clamp(RTT_TIMES * n->rtt_ns, least, TIMEOUT_TIMES * least);
}

void redis_node_answered(struct redis_node *n, uint64_t took_ns)
{
	n->failures = n->refusals = 0;
	n->rtt_ns = n->rtt_ns == 0 ? took_ns : (n->rtt_ns * 7 + took_ns) / 8;
	if (n->complaint == NULL)
		return;
	n->complaint = NULL;
	log_change(n, LOG_INFO, "it answers again");
}

void redis_node_refused(struct redis_node *n, const struct refusal *r)
{
	if (r->loud && n->complaint != r) {
		n->complaint = r;
		log_change(n, LOG_WARN, r->text);
	}
	if (r->answer == REFUSAL_CLOSE)
		redis_node_fail(n, r->text);
	else if (r->answer == REFUSAL_LATER || r->answer == REFUSAL_OPERATOR)
		n->rest_until_ns =
		    n->manner->loop->now_ns + backoff_ns(n, ++n->refusals < 2 ? 2 : n->refusals);
}
