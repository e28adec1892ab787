/* client.c - a client connection: asks, reads the answers, misbehaves.
 *
 * Faults are one a connection; a client without one must be served within GIVE_UP_NS, whatever the
 * upstreams do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "handshake.h"
#include "hear.h"
#include "sim.h"
#include "wire.h"

enum { REQUESTS_MAX = 6 };

#define GIVE_UP_NS (2000 * CLOCK_S)

enum client_fault {
	WELL_BEHAVED,
	RESETS_WHEN_SENT, /* so many bytes */
	CLOSES_WHEN_SENT,
	RESETS_WHEN_GOT,
	CLOSES_WHEN_GOT,
	STOPS_READING, /* when it got so many */
	STOPS_SENDING, /* when it has sent so many */
	CLIENT_FAULTS
};

struct asked {
	struct request *r;
	size_t head_end, end; /* in `out` */
	bool go;              /* the body may be sent */
};

struct client {
	struct actor actor; /* first */
	struct asked asked[REQUESTS_MAX];
	unsigned n, answered;
	bool pipelines, half_closes, half_closed, deaf, mute;
	struct buf out;
	size_t sent, got;
	size_t send_max, recv_max;
	uint64_t send_gap_ns, recv_gap_ns;
	enum client_fault fault;
	size_t fault_at;
	uint64_t go_ns, close_ns, give_up_ns;
	/* the answer that comes in */
	struct wire in;
	struct heard_answer heard;
	bool last, tunnel;
	bool over; /* the other side of the tunnel has ended */
};

static struct client *client_of(struct actor *a)
{
	return (struct client *)(void *)a;
}

static struct asked *present(struct client *c)
{
	return &c->asked[c->answered];
}

static void client_end(struct client *c, bool reset, const char *why)
{
	struct sim *sim = c->actor.sim;
	bool asks_for_tunnel =
	    !c->tunnel && c->answered < c->n && present(c)->r->place == PLACE_TUNNEL;

	sim_trace(sim, "client %u: %s (%u of %u answered)", c->actor.number, why, c->answered,
		  c->n);
	if (sim->weather.calm && c->answered < c->n)
		sim_fail("client %u: %s with %u of %u answers", c->actor.number, why, c->answered,
			 c->n);
	sim->ledger.unanswered += c->n - c->answered;
	sim->clients--;
	/* half a tunnel must not look whole, be it one that was only asked for */
	actor_close(&c->actor, reset || asks_for_tunnel || (c->tunnel && c->sent < c->out.n));
	wire_fini(&c->in);
	buf_fini(&c->out);
	free(c);
}

/*---------------------------------------------------------------- answers */

static enum wire_state on_interim(struct client *c, struct request *r, const struct wire_head *h)
{
	c->heard.request = r;
	hear_interim(&c->heard, h);
	if (h->status == 100)
		present(c)->go = true;
	return WIRE_HEAD;
}

static void check_handshake(const struct client *c, const struct wire_head *h)
{
	char key[HANDSHAKE_MAX], want[HANDSHAKE_MAX], got[64];

	if (c->actor.sim->upstream_speech == SPEAKS_1)
		return;
	handshake_key(c->heard.request->id, key);
	handshake_accept(key, want);
	if (!wire_field(h, "Sec-WebSocket-Accept", got, sizeof(got)) || strcmp(got, want) != 0)
		sim_fail("request %u: the handshake is not accepted: %s", c->heard.request->id,
			 h->text);
}

/* What a client says in a tunnel. */
static void begin_tunnel(struct client *c)
{
	struct request *r = present(c)->r;

	c->tunnel = true;
	c->actor.sim->ledger.tunnels++;
	if (!buf_reserve(&c->out, r->body_n))
		sim_fail("the simulation itself is out of memory");
	ledger_body(c->out.p + c->out.n, REQUEST_STREAM + r->id, 0, r->body_n);
	c->out.n += r->body_n;
	present(c)->end = c->out.n;
	present(c)->go = true;
	c->half_closes = true;
}

static void check_persistence(struct client *c, const struct wire_head *h)
{
	struct asked *q = present(c);

	if (h->keep_alive && q->r->expects && !q->go && !c->tunnel)
		sim_fail("request %u: kept alive, with a body that was never asked for", q->r->id);
	if (h->is_1_0 && h->chunked)
		sim_fail("request %u: chunks in HTTP/1.0", q->r->id);
	if (q->r->is_1_0 && h->chunked)
		sim_fail("request %u: chunks for HTTP/1.0", q->r->id);
	c->last = !h->keep_alive;
}

static enum wire_state on_head(struct wire *w, const struct wire_head *h)
{
	struct client *c = w->owner;
	struct request *r;

	if (c->answered == c->n)
		sim_fail("client %u: an answer to nothing", c->actor.number);
	r = present(c)->r;
	sim_trace(c->actor.sim, "client %u: request %u: %u", c->actor.number, r->id, h->status);
	if (c->sent <= (c->answered == 0 ? 0 : c->asked[c->answered - 1].end))
		sim_fail("client %u: an answer to request %u before its first byte",
			 c->actor.number, r->id);
	if (h->status < 200 && h->status != 101)
		return on_interim(c, r, h);
	c->heard.request = r;
	hear_answer_head(c->actor.sim, &c->heard, h);
	/* Weir cannot know yet, or had no memory to find out, that it is HEAD */
	if (c->heard.answer == NULL && (c->sent < present(c)->head_end || h->status == 408 ||
					(c->actor.sim->weather.no_memory > 0 && !h->keep_alive)))
		c->heard.no_body = false;
	if (h->status == 101) {
		check_handshake(c, h);
		begin_tunnel(c);
		return WIRE_RAW;
	}
	check_persistence(c, h);
	return wire_body_state(w, h, c->heard.no_body);
}

static void on_body(struct wire *w, const char *p, size_t n)
{
	hear_answer_body(&((struct client *)w->owner)->heard, p, n);
}

static void on_end(struct wire *w, const struct wire_head *trailers)
{
	struct client *c = w->owner;
	struct request *r = present(c)->r;

	hear_answer_end(&c->heard, trailers);
	sim_trace(c->actor.sim, "client %u: request %u is answered", c->actor.number, r->id);
	c->answered++;
	c->go_ns = 0;
	if (c->last || c->tunnel)
		w->state = WIRE_OVER;
}

static const struct wire_events answer_events = { .head = on_head, .body = on_body, .end = on_end };

/*---------------------------------------------------------------- reading and writing */

/* The stream has ended, or broke: whatever is not whole now never will be.  True: the client is
 * gone. */
static bool on_eof(struct client *c, bool reset)
{
	bool whole = !reset && wire_eof(&c->in);

	c->over = whole && c->tunnel;
	if (c->over && c->sent < c->out.n && !c->mute)
		return false; /* our half goes on */
	if (!whole && c->answered < c->n && c->in.state != WIRE_HEAD)
		c->actor.sim->ledger.cut_answers++;
	client_end(c, false, reset ? "reset by Weir" : whole ? "closed by Weir" : "cut by Weir");
	return true;
}

/* True: the client is gone. */
static bool read_some(struct client *c)
{
	static char buffer[64 * 1024];
	ssize_t n = c->deaf ? TRANSPORT_AGAIN
			    : actor_recv(&c->actor, buffer,
					 c->recv_max != 0 ? c->recv_max : sizeof(buffer));

	if (n == TRANSPORT_AGAIN)
		return false;
	if (n <= 0)
		return on_eof(c, n < 0);
	c->got += (size_t)n;
	wire_feed(&c->in, buffer, (size_t)n);
	return false;
}

/* How far it may send now. */
static size_t send_limit(struct client *c)
{
	size_t limit = c->sent;

	if (c->tunnel && !c->mute)
		return c->fault == STOPS_SENDING && c->fault_at > c->sent && c->fault_at < c->out.n
			   ? c->fault_at
			   : c->out.n;
	if (c->last || c->mute)
		return limit;
	for (unsigned i = c->answered; i < c->n; i++) {
		struct asked *q = &c->asked[i];

		if (i > c->answered && !c->pipelines)
			break;
		limit = q->end;
		if (q->r->expects && !q->go) {
			limit = q->head_end;
			if (c->sent >= limit && i == c->answered && c->go_ns == 0)
				c->go_ns = c->actor.sim->now_ns +
					   dice_between(&c->actor.sim->dice, CLOCK_MS, 2 * CLOCK_S);
			break;
		}
	}
	if (c->fault == RESETS_WHEN_SENT || c->fault == CLOSES_WHEN_SENT ||
	    c->fault == STOPS_SENDING)
		limit = limit > c->fault_at ? c->fault_at : limit;
	return limit > c->sent ? limit : c->sent;
}

/* True: the client is gone. */
static bool commit_fault(struct client *c)
{
	bool sent = c->sent >= c->fault_at, got = c->got >= c->fault_at;

	if ((c->fault == RESETS_WHEN_SENT || c->fault == CLOSES_WHEN_SENT) && sent) {
		client_end(c, c->fault == RESETS_WHEN_SENT, "goes away while sending");
		return true;
	}
	if ((c->fault == RESETS_WHEN_GOT || c->fault == CLOSES_WHEN_GOT) && got) {
		client_end(c, c->fault == RESETS_WHEN_GOT, "goes away while reading");
		return true;
	}
	c->deaf = c->deaf || (c->fault == STOPS_READING && got);
	c->mute = c->mute || (c->fault == STOPS_SENDING && sent);
	if (c->deaf && c->close_ns == 0)
		c->close_ns = c->actor.sim->now_ns + 100 * CLOCK_S;
	return false;
}

static void half_close(struct client *c)
{
	/* who asks for a tunnel has more to say */
	bool all =
	    c->sent == c->out.n && (c->tunnel || c->asked[c->n - 1].r->place != PLACE_TUNNEL);

	if (!c->half_closes || c->half_closed || !all || c->last)
		return;
	c->half_closed = true;
	sim_trace(c->actor.sim, "client %u: half-closes", c->actor.number);
	c->actor.transport->ops->half_close(c->actor.transport);
}

static void set_times(struct client *c)
{
	struct sim *sim = c->actor.sim;
	uint64_t at = c->give_up_ns;

	if (c->answered == c->n && c->close_ns == 0 && !c->last && !c->half_closed)
		c->close_ns = sim->now_ns + 1 + dice_spread(&sim->dice, 100 * CLOCK_S);
	if (c->go_ns != 0 && c->go_ns < at)
		at = c->go_ns;
	if (c->close_ns != 0 && c->close_ns < at)
		at = c->close_ns;
	c->actor.at_ns = at;
}

static void settle(struct client *c)
{
	if (commit_fault(c))
		return;
	half_close(c);
	if (c->over && (c->sent == c->out.n || c->mute)) {
		client_end(c, false, "the tunnel is over");
		return;
	}
	set_times(c);
	actor_want(&c->actor, !c->deaf && !c->over, !c->half_closed && send_limit(c) > c->sent);
}

static void on_step(void *owner, unsigned ready)
{
	struct client *c = owner;
	struct sim *sim = c->actor.sim;
	size_t before = c->sent + c->got;
	bool slow;

	if ((ready & WANT_READ) && read_some(c))
		return;
	if ((ready & WANT_WRITE) && !c->half_closed &&
	    !actor_send(&c->actor, &c->out, &c->sent, send_limit(c), c->send_max))
		c->mute = true; /* what has come may still be read */
	slow = c->sent + c->got > before;
	c->actor.wake_ns = slow ? sim->now_ns + dice_between(&sim->dice, 0, c->send_gap_ns) : 0;
	settle(c);
}

static void on_time(struct actor *a)
{
	struct client *c = client_of(a);
	uint64_t now = a->sim->now_ns;

	if (now >= c->give_up_ns) {
		if (c->fault == WELL_BEHAVED && a->sim->weather.no_memory == 0)
			sim_fail("client %u waits in vain: %u of %u answered, %zu of %zu sent",
				 a->number, c->answered, c->n, c->sent, c->out.n);
		client_end(c, true, "gives up");
		return;
	}
	if (c->close_ns != 0 && now >= c->close_ns) {
		client_end(c, c->deaf, "closes");
		return;
	}
	if (c->go_ns != 0 && now >= c->go_ns) {
		present(c)->go = true;
		c->go_ns = 0;
	}
	settle(c);
}

/*---------------------------------------------------------------- birth */

static void draw_requests(struct client *c, struct sim *sim)
{
	c->n = 1 + (unsigned)dice_spread(&sim->dice, REQUESTS_MAX - 1);
	for (unsigned i = 0; i < c->n; i++) {
		struct asked *q = &c->asked[i];
		bool last = i + 1 == c->n;

		q->r = request_make(sim, c->actor.number, last, &c->out, &q->head_end);
		q->end = c->out.n;
		q->go = !q->r->expects;
		sim_trace(sim, "client %u: request %u: %s %s, %llu bytes%s%s%s%s", c->actor.number,
			  q->r->id, q->r->method, q->r->target, (unsigned long long)q->r->body_n,
			  q->r->chunked ? ", chunked" : "", q->r->expects ? ", expects" : "",
			  q->r->malformed ? ", malformed" : "",
			  q->r->incomplete ? ", broken body" : "");
	}
}

/* Whatever stands behind a body that goes wrong is no request. */
static void mark_unreachable(struct client *c)
{
	bool broken = false;

	for (unsigned i = 0; i < c->n; i++) {
		c->asked[i].r->unreachable = broken;
		broken = broken || c->asked[i].r->incomplete;
	}
}

static void mark_incomplete(struct client *c)
{
	for (unsigned i = 0; i < c->n; i++)
		if (c->fault_at < c->asked[i].end)
			c->asked[i].r->incomplete = true;
}

static void draw_manners(struct client *c, struct sim *sim)
{
	struct dice *d = &sim->dice;

	c->pipelines = dice_chance(d, 300);
	c->half_closes = dice_chance(d, 150);
	if (dice_chance(d, sim->weather.slow)) {
		c->send_max = dice_between(d, 100, 2000);
		c->recv_max = dice_between(d, 100, 2000);
		c->send_gap_ns = dice_spread(d, 20 * CLOCK_MS);
	} else if (dice_chance(d, 300)) {
		c->send_max = dice_between(d, 100, 60000);
	}
	if (!dice_chance(d, sim->weather.client_fault))
		return;
	c->fault = (enum client_fault)dice_between(d, 1, CLIENT_FAULTS - 1);
	c->fault_at = dice_chance(d, 500) ? dice_spread(d, c->out.n) : dice_below(d, c->out.n + 1);
	if (c->fault == RESETS_WHEN_SENT || c->fault == CLOSES_WHEN_SENT ||
	    c->fault == STOPS_SENDING)
		mark_incomplete(c);
	sim_trace(sim, "client %u: fault %d at byte %zu", c->actor.number, c->fault, c->fault_at);
}

void client_set_knobs(struct sim *sim, struct pair *pair)
{
	for (unsigned side = 0; side < 2; side++) {
		struct pair_knobs *k = pair_knobs(pair, side);

		k->reset_drops = dice_chance(&sim->dice, 500);
		if (dice_chance(&sim->dice, 300))
			k->capacity = dice_between(&sim->dice, 256, PAIR_CAPACITY_MAX);
		if (dice_chance(&sim->dice, 200))
			k->recv_max = 100 + dice_spread(&sim->dice, 2000);
		if (dice_chance(&sim->dice, 200))
			k->send_max = 100 + dice_spread(&sim->dice, 2000);
	}
}

void client_accept(struct sim *sim, struct worker_listener *wl, struct pair *pair)
{
	struct worker *w = wl->worker;
	struct addr peer;

	CHECK(addr_parse((struct slice)SLICE("10.1.1.1:999"), &peer));
	fault_arm(sim);
	loop_enter(&w->loop);
	atomic_fetch_add(&sim->shared.connections, 1);
	if (!worker_accept(wl, pair_end(pair, 0), &peer))
		atomic_fetch_sub(&sim->shared.connections, 1);
	loop_settle(&w->loop);
	fault_disarm();
}

void client_start(struct sim *sim)
{
	unsigned s = (unsigned)dice_below(&sim->dice, SIM_SLOTS);
	unsigned w = (unsigned)dice_below(&sim->dice, sim->workers);
	struct worker_listener *wl = sim->wl[s][w];
	struct client *c;
	struct pair *pair;

	if (wl == NULL)
		return; /* nobody listens any more */
	pair = pair_new(&sim->worker[w]->loop, NULL);
	list_push_back(&sim->pairs, pair_link(pair));
	client_set_knobs(sim, pair);
	if (sim_draw_2(sim, sim->client_speech)) {
		client2_start(sim, wl, pair);
		return;
	}
	c = sim_alloc(sizeof(*c));
	actor_init(&c->actor, sim, pair, on_step, on_time);
	sim->clients++;
	wire_init(&c->in, true, "a client", &answer_events, c);
	if (wl->slot->proxy_protocol)
		buf_puts(&c->out, "PROXY TCP4 192.0.2.1 198.51.100.1 1000 80\r\n");
	draw_requests(c, sim);
	mark_unreachable(c);
	draw_manners(c, sim);
	c->give_up_ns = sim->now_ns + GIVE_UP_NS;
	client_accept(sim, wl, pair);
	settle(c);
}
