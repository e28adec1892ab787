/* checks.c - active health checks on virtual time: what they meet, and what must come of them.
 *
 * The checker has a loop of its own, turned like a worker's.  Sites are well for a while and ill
 * for a while; what a check meets while a site is ill is drawn: another status, silence, a reset,
 * nonsense or no connection.  Laws:
 *
 *   an endpoint is down exactly when the results of its checks say so, read backwards from the last
 * (the definition: health.c counts forwards); it is checked no more often than `every` allows, but
 * once at each reload; in the end nothing is under way. */
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "sim.h"
#include "wire2.h"

enum { FALL = 2, RISE = 2, HISTORY_MAX = 8192, PATIENTS_MAX = 64 };

#define EVERY_NS   (500 * CLOCK_MS)
#define TIMEOUT_NS (200 * CLOCK_MS)

/* What is known of one endpoint's checks, by its id. */
struct patient {
	uint64_t results[CHECK_RESULTS];
	uint64_t step; /* of the last look at it */
	uint32_t n;    /* HISTORY_MAX: not known from the beginning */
	bool passed[HISTORY_MAX];
};

/* The site's side of one check. */
struct nurse {
	struct actor actor; /* first */
	struct site *site;
	bool connected, refuses, silent, answered;
	struct buf in, out;
	size_t sent;
	struct wire2 wire; /* no session: it is asked by HTTP/1, or not yet */
	struct wire2_stream stream;
};

static struct patient *patients;

/*---------------------------------------------------------------- the other end */

static struct nurse *nurse_of(struct actor *a)
{
	return (struct nurse *)(void *)a;
}

static void nurse_end(struct nurse *n, bool reset, const char *why)
{
	sim_trace(n->actor.sim, "check %u: %s", n->actor.number, why);
	if (n->actor.transport != NULL)
		actor_close(&n->actor, reset);
	if (n->wire.session != NULL) {
		wire2_fini(&n->wire);
		wire2_stream_fini(&n->stream);
	}
	buf_fini(&n->in);
	buf_fini(&n->out);
	free(n);
}

static bool is_ill(const struct sim *sim, const struct site *site)
{
	return site->ill_ns != 0 && sim->now_ns / site->ill_ns % 2 == 1;
}

static void put_answer(struct sim *sim, struct nurse *n)
{
	static const char *const well[] = {
		"HTTP/1.1 204 No Content\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\n\r\nok",
		"HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
	};
	static const char *const ill[] = {
		"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 3\r\n\r\nill",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",
		"nonsense\r\n\r\n",
		"",
	};
	struct dice *d = &sim->dice;

	n->answered = true;
	n->silent = is_ill(sim, n->site) && dice_chance(d, 300);
	if (!n->silent)
		buf_puts(&n->out,
			 is_ill(sim, n->site) ? ill[dice_below(d, 5)] : well[dice_below(d, 5)]);
}

static void check_request(struct nurse *n)
{
	static const char line[] = "GET /health HTTP/1.1\r\n",
			  close[] = "\r\nConnection: close\r\n";

	if (strncmp(n->in.p, line, sizeof(line) - 1) != 0 || strstr(n->in.p, close) == NULL)
		sim_fail("a check asks: %s", n->in.p);
}

/*---------------------------------------------------------------- by HTTP/2 */

static struct wire2_stream *on_open(struct wire2 *w)
{
	struct nurse *n = w->owner;

	if (n->stream.wire != NULL)
		sim_fail("a check asks twice");
	wire2_stream_init(w, &n->stream);
	return &n->stream;
}

static void answer2(struct nurse *n, const char *status, bool body)
{
	static struct fields f;

	fields_init(&f);
	fields_add(&f, ":status", status);
	n->stream.number = 1;
	n->stream.body_n = 100;
	wire2_answer(&n->stream, &f, !body);
}

static void put_answer2(struct sim *sim, struct nurse *n)
{
	static const char *const well[] = { "204", "200", "200", "302" };
	struct dice *d = &sim->dice;
	uint64_t draw = dice_below(d, 4);

	n->answered = true;
	if (!is_ill(sim, n->site))
		answer2(n, well[draw], draw > 0);
	else if (draw == 0)
		n->silent = true;
	else if (draw == 1)
		answer2(n, "503", true);
	else if (draw == 2)
		wire2_reset(&n->stream, NGHTTP2_REFUSED_STREAM);
	else
		wire2_spoil(&n->wire, "nonsense and more nonsense", 26);
}

static void on_head(struct wire2_stream *s, const struct wire_head *h, bool end)
{
	struct nurse *n = s->wire->owner;

	if (strcmp(h->method, "GET") != 0 || strcmp(h->target, "/health") != 0 || !end)
		sim_fail("a check asks: %s %s", h->method, h->target);
	put_answer2(n->actor.sim, n);
}

static void on_stream_body(struct wire2_stream *s, const char *p, size_t n)
{
	(void)s, (void)p, (void)n;
	sim_fail("a check has a body");
}

static void on_stream_end(struct wire2_stream *s, const struct wire_head *trailers)
{
	(void)s, (void)trailers;
}

static void on_said(struct wire2_stream *s)
{
	(void)s;
}

static void on_stream_closed(struct wire2_stream *s, uint32_t code)
{
	(void)s, (void)code;
}

static const struct wire2_events check_events = {
	.open = on_open,
	.head = on_head,
	.body = on_stream_body,
	.end = on_stream_end,
	.said = on_said,
	.closed = on_stream_closed,
};

static void feed2(struct nurse *n, const char *p, size_t size)
{
	if (n->wire.session == NULL) {
		wire2_init(&n->wire, n->actor.sim, false, "a check's other end", &check_events, n);
		wire2_settings(&n->wire, NULL, 0);
	}
	wire2_feed(&n->wire, p, size);
}

/*---------------------------------------------------------------- bytes */

static void feed1(struct nurse *n, const char *p, size_t size)
{
	buf_put(&n->in, p, size);
	if (!n->answered && strstr(n->in.p, "\r\n\r\n") != NULL) {
		check_request(n);
		put_answer(n->actor.sim, n);
	}
}

/* True: it is gone. */
static bool read_some(struct nurse *n)
{
	char bytes[512];
	ssize_t got = actor_recv(&n->actor, bytes, sizeof(bytes));

	if (got == TRANSPORT_AGAIN)
		return false;
	if (got <= 0) {
		nurse_end(n, false, "hung up by Weir");
		return true;
	}
	if (n->wire.session != NULL || (n->in.n == 0 && got >= 3 && memcmp(bytes, "PRI", 3) == 0))
		feed2(n, bytes, (size_t)got);
	else
		feed1(n, bytes, (size_t)got);
	return false;
}

/* Of HTTP/2, to be made into frames. */
static bool has_more(const struct nurse *n)
{
	return n->wire.session != NULL && nghttp2_session_want_write(n->wire.session);
}

static void on_step(void *owner, unsigned ready)
{
	struct nurse *n = owner;
	struct buf *out = &n->out;
	size_t *sent = &n->sent;

	if ((ready & WANT_READ) && read_some(n))
		return;
	if (n->wire.session != NULL) {
		out = &n->wire.out;
		sent = &n->wire.sent;
		wire2_fill(&n->wire);
	}
	if (!actor_send(&n->actor, out, sent, out->n, 20)) {
		nurse_end(n, false, "writes to nobody");
		return;
	}
	if (n->answered && !n->silent && *sent == out->n && !has_more(n)) {
		nurse_end(n, dice_chance(&n->actor.sim->dice, 100), "is done");
		return;
	}
	actor_want(&n->actor, true, *sent < out->n || has_more(n));
}

static void on_time(struct actor *a)
{
	struct nurse *n = nurse_of(a);

	if (n->refuses || !pair_is_open(a->pair, 0)) {
		list_remove(&a->link);
		a->transport = NULL;
		pair_refuse(a->pair);
		nurse_end(n, false, "refuses");
		return;
	}
	n->connected = true;
	pair_accept(a->pair);
	actor_want(a, true, false);
}

static void check_pace(struct sim *sim, struct site *site)
{
	if (site->checked_ns != 0 && sim->now_ns - site->checked_ns < EVERY_NS * 13 / 16)
		sim_fail("%s is checked %llu us after it was", site->text,
			 (unsigned long long)(sim->now_ns - site->checked_ns) / 1000);
	site->checked_ns = sim->now_ns;
}

static struct transport *check_connect(struct loop *loop, const struct addr *addr)
{
	struct sim *sim = LIST_ENTRY(loop, struct sim, checks);
	struct site *site = sim->site;
	struct nurse *n;
	struct pair *pair;

	while (!addr_eq(&site->addr, addr))
		CHECK(++site < sim->site + SIM_SITES);
	check_pace(sim, site);
	if (is_ill(sim, site) && dice_chance(&sim->dice, 100))
		return NULL;
	pair = pair_new_connecting(loop, NULL);
	if (pair == NULL)
		return NULL;
	list_push_back(&sim->pairs, pair_link(pair));
	n = sim_alloc(sizeof(*n));
	n->site = site;
	n->refuses = is_ill(sim, site) && dice_chance(&sim->dice, 200);
	actor_init(&n->actor, sim, pair, on_step, on_time);
	n->actor.at_ns = sim->now_ns + 1 + dice_spread(&sim->dice, 20 * CLOCK_MS);
	sim_trace(sim, "check %u of %s", n->actor.number, site->text);
	return pair_end(pair, 0);
}

/*---------------------------------------------------------------- what must come of it */

static bool should_be_down(const struct patient *p)
{
	uint32_t run = 0;

	for (uint32_t i = p->n; i > 0; i--) {
		run = i < p->n && p->passed[i - 1] == p->passed[i] ? run + 1 : 1;
		if (p->passed[i - 1] ? run >= RISE : run >= FALL || i == 1)
			return !p->passed[i - 1];
	}
	return false;
}

/* It was no member for a while: what came of its last checks then was not seen. */
static void look_anew(struct patient *p, const struct endpoint_health *h)
{
	for (unsigned i = 0; i < CHECK_RESULTS; i++)
		p->results[i] = h->results[i];
	p->n = HISTORY_MAX;
}

static void compare(struct sim *sim, struct endpoint *e)
{
	struct patient *p = &patients[e->id % PATIENTS_MAX];
	const struct endpoint_health *h = &e->health;
	unsigned news = 0;

	if (p->step + 1 < sim->steps)
		look_anew(p, h);
	p->step = sim->steps;
	for (unsigned i = 0; i < CHECK_RESULTS; i++) {
		if (h->results[i] != p->results[i]) {
			news++;
			if (p->n < HISTORY_MAX)
				p->passed[p->n++] = i == CHECK_OK;
		}
		if (h->results[i] > p->results[i] + 1)
			sim_fail("two checks of %s at once", e->text);
		p->results[i] = h->results[i];
	}
	if (!h->checked)
		p->n = 0;
	if (news > 1)
		sim_fail("a check of %s has two results", e->text);
	if (h->took_ns > TIMEOUT_NS + 500 * CLOCK_S)
		sim_fail("a check of %s took %llu ns", e->text, (unsigned long long)h->took_ns);
	if (p->n < HISTORY_MAX && h->down != should_be_down(p))
		sim_fail("%s is %s after %u checks", e->text, h->down ? "down" : "up", p->n);
}

void checks_compare(struct sim *sim)
{
	for (uint32_t i = 0; sim->policy != NULL && i < sim->policy->n_clusters; i++)
		for (uint32_t k = 0; k < sim->policy->cluster[i]->n; k++)
			compare(sim, sim->policy->cluster[i]->member[k].endpoint);
}

/*---------------------------------------------------------------- turning */

static uint64_t read_clock(struct loop *loop)
{
	struct sim *sim = LIST_ENTRY(loop, struct sim, checks);

	sim->now_ns += dice_spread(&sim->dice, 20000);
	return sim->now_ns;
}

void checks_put(struct sim *sim, struct buf *b)
{
	static const char *const expects[] = { "", ", status: [200-204, 302]" };
	bool some = dice_chance(&sim->dice, 600);
	uint64_t which = dice_below(&sim->dice, 2);

	if (some)
		buf_printf(b,
			   "    health: { path: /health, every: 500ms, timeout: 200ms, fall: 2, "
			   "rise: 2%s }\n",
			   expects[which]);
	if (dice_chance(&sim->dice, 300))
		buf_puts(b, "    slow_start: 2s\n");
}

void checks_start(struct sim *sim)
{
	patients = sim_alloc(PATIENTS_MAX * sizeof(*patients));
	CHECK(loop_init(&sim->checks, false));
	sim->checks.read_clock = read_clock;
	sim->checks.connect = check_connect;
	upstreams_check_on(sim->registries.upstreams, &sim->checks, sim->seed);
	for (unsigned i = 0; i < SIM_SITES; i++)
		if (dice_chance(&sim->dice, 400))
			sim->site[i].ill_ns =
			    dice_between(&sim->dice, 200 * CLOCK_MS, 10 * CLOCK_S);
}

void checks_follow(struct sim *sim, struct cluster *const *clusters, uint32_t n)
{
	upstreams_follow(sim->registries.upstreams, clusters, n);
	sim->checks_ordered = true;
	for (unsigned i = 0; i < SIM_SITES; i++)
		sim->site[i].checked_ns = 0;
}

void checks_turn(struct sim *sim, bool ordered)
{
	fault_arm(sim);
	if (ordered) {
		sim->checks_ordered = false;
		upstreams_check(sim->registries.upstreams);
		for (unsigned i = 0; i < SIM_SITES; i++)
			sim->site[i].checked_ns = 0;
	} else {
		loop_enter(&sim->checks);
		loop_run_timers(&sim->checks);
		loop_settle(&sim->checks);
	}
	fault_disarm();
}

void checks_check_rest(struct sim *sim)
{
	if (!list_empty(&sim->checks.conns))
		sim_fail("a check is still under way");
}

/* The checker is gone. */
void checks_stop(struct sim *sim)
{
	sim->checks_ordered = false;
	loop_fini(&sim->checks);
	free(patients);
	patients = NULL;
}
