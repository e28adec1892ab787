/* node.c - connecting, again and again; laws in node.h. */
#include "redis/node.h"

#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"

enum { FAILURES_UNTIL_DOWN = 3, RTT_TIMES = 5, TIMEOUT_TIMES = 5, SAID_MAX = 4, WHY_MAX = 200 };

#define BACKOFF_FIRST_NS (100 * CLOCK_MS)
/* While some replicas are back and others are not, these use a share of a limit that those already use whole. */
#define BACKOFF_MAX_NS   CLOCK_S
#define STEADY_NS        CLOCK_S
#define SAID_TIME_NS     (60 * CLOCK_S)
#define RELAPSE_NS       (60 * CLOCK_S) /* refused again so soon after it answered: it does both */
#define QUIET_NS         (10 * CLOCK_S) /* then it is over when it has not refused for so long */

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

/* What is known of it: an address that stands for it. */
static const void *condition(const struct redis_node *n)
{
	static const char up = 'u', down = 'd';

	return n->state == NODE_DOWN ? &down
	       : n->state != NODE_UP ? n->said
	       : n->complaint        ? (const void *)n->complaint
				     : &up;
}

/* After whatever may have changed that (N2). */
static void tell(struct redis_node *n, const char *what)
{
	const void *now = condition(n);
	uint64_t now_ns = n->manner->loop->now_ns;
	char text[REDIS_PLACE_TEXT_MAX];

	if (now == n->said)
		return;
	if (n->said_lines == 0 || now_ns - n->said_from_ns >= SAID_TIME_NS) {
		n->said_from_ns = now_ns;
		n->said_lines = 0;
	}
	if (n->said_lines == SAID_MAX)
		return;
	n->said = now;
	n->said_lines++;
	redis_place_format(&n->place, text);
	log_at(n->state == NODE_UP && n->complaint == NULL ? LOG_INFO : LOG_WARN, "redis %s: %s",
	       text, what);
}

static void set_state(struct redis_node *n, enum node_state state, const char *why)
{
	bool was_up = n->state == NODE_UP;

	n->state = state;
	tell(n, why);
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
	n->ready_ns = 0;
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
	n->ready_ns = n->manner->loop->now_ns;
	set_state(n, NODE_UP, n->complaint == NULL ? "reached" : n->complaint->text);
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
	struct redis_greeting greeting = m->greeting;
	struct addr addr;

	if (n->was_replica && greeting.role == ROLE_UNASKED)
		greeting.role = ROLE_ASKED;
	timer_clear(&n->timer);
	if (!find(n, &addr)) {
		count_failure(n, "its name has no address");
		return;
	}
	n->link = redis_link_open(m->loop, &addr, &tls, &greeting,
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
	if (n->link == NULL && n->timer.deadline_ns == 0)
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
	n->rest_until_ns = n->rtt_ns = n->ready_ns = 0;
	n->complaint = NULL;
	n->was_replica = n->complains_again = false;
	n->said = NULL;
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
	uint64_t now = n->manner->loop->now_ns;

	n->rtt_ns = n->rtt_ns == 0 ? took_ns : (n->rtt_ns * 7 + took_ns) / 8;
	if (n->ready_ns != 0 && now - n->ready_ns >= STEADY_NS)
		n->failures = 0;
	if (n->complains_again && now - n->complained_ns < QUIET_NS)
		return;
	n->refusals = 0;
	n->was_replica = n->complains_again = false;
	if (n->complaint != NULL)
		n->answered_again_ns = now;
	n->complaint = NULL;
	tell(n, "it answers again");
}

/* Its words go into the log, and are anybody's. */
static void complain(struct redis_node *n, const struct refusal *r, const char *why)
{
	uint64_t now = n->manner->loop->now_ns;

	if (n->complaint == NULL && n->answered_again_ns != 0)
		n->complains_again = now - n->answered_again_ns < RELAPSE_NS;
	n->complained_ns = now;
	if (!n->complains_again || n->complaint == NULL)
		n->complaint = r;
	tell(n, why);
}

static void say_why(const struct refusal *r, struct slice error, char out[WHY_MAX])
{
	snprintf(out, WHY_MAX, "%s: %.*s", r->text, (int)(error.n < 120 ? error.n : 120), error.p);
	for (char *p = out; *p != '\0'; p++)
		if (*p < ' ' || *p == 0x7f)
			*p = ' ';
}

void redis_node_refused(struct redis_node *n, const struct refusal *r, struct slice error)
{
	char why[WHY_MAX];

	say_why(r, error, why);
	n->was_replica = n->was_replica || r->answer == REFUSAL_CLOSE;
	if (r->loud && r->answer != REFUSAL_CLOSE)
		complain(n, r, why);
	if (r->answer == REFUSAL_CLOSE)
		redis_node_fail(n, why);
	else if (r->answer == REFUSAL_LATER || r->answer == REFUSAL_OPERATOR)
		n->rest_until_ns =
		    n->manner->loop->now_ns + backoff_ns(n, ++n->refusals < 2 ? 2 : n->refusals);
}
