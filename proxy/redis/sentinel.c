/* sentinel.c - who is the master: one sentinel after the other is asked, on a link for that one question (R4). */
#include <stdio.h>

#include "base/clock.h"
#include "base/log.h"
#include "redis/client_internal.h"

enum { WHY_MAX = 300 };

#define ROUND_NS     (500 * CLOCK_MS) /* between rounds in which nobody knew one */
#define ROUND_MAX_NS (5 * CLOCK_S)

static void ask_next(struct redis_client *);

static bool is_asking(const struct sentinel *s)
{
	return s->link != NULL || s->timer.deadline_ns != 0;
}

static void go_on_at(struct redis_client *c, uint64_t at_ns)
{
	if (!timer_set(&c->manner.loop->timers, &c->sentinel.timer, at_ns))
		log_error("out of memory: the redis sentinels are not asked");
}

/* Not more than a line until one tells. */
static void complain(struct redis_client *c, const char *why)
{
	const struct redis_place *place = &c->o.place[c->sentinel.turn % c->o.n_places];
	char text[REDIS_PLACE_TEXT_MAX];

	if (c->sentinel.complained)
		return;
	c->sentinel.complained = true;
	redis_place_format(place, text);
	log_warn("redis: no sentinel tells where %s is; %s: %s", c->o.master, text, why);
}

/* The next one at once; when all were asked, after a while that grows. */
static void on_no_answer(struct redis_client *c, const char *why)
{
	struct sentinel *s = &c->sentinel;
	uint64_t now = c->manner.loop->now_ns, wait = 1;

	if ((s->turn + 1) % c->o.n_places == 0) {
		complain(c, why);
		s->failures += s->failures < 8;
		if (c->n_nodes > 0)
			redis_node_missing(c->node[0], "no sentinel tells where the master is");
		wait = ROUND_NS * s->failures;
		wait = wait < ROUND_MAX_NS ? wait : ROUND_MAX_NS;
		wait = wait / 2 + client_random(c) % wait;
	}
	s->turn++;
	go_on_at(c, now + wait);
}

static void hang_up(struct redis_client *c)
{
	struct redis_link *link = c->sentinel.link;

	c->sentinel.link = NULL;
	redis_link_close(link);
}

/* The one node there is becomes another when the master is. */
static void set_master(struct redis_client *c, const struct redis_place *place)
{
	struct redis_node *n = c->n_nodes > 0 ? c->node[0] : NULL;

	if (n == NULL) {
		client_node(c, place);
		return;
	}
	if (!redis_place_eq(&n->place, place)) {
		redis_node_stop(n);
		n->place = *place;
	}
	redis_node_start(n);
}

/* [ip, port], or NIL: it does not know the name. */
static bool read_master(const struct resp *r, struct redis_place *out)
{
	char text[REDIS_HOST_MAX + 16];
	struct slice host;

	if (r->type != RESP_ARRAY || r->n != 2 || r->item[0].type != RESP_STRING ||
	    r->item[1].type != RESP_STRING || r->item[0].text.n > REDIS_HOST_MAX)
		return false;
	host = r->item[0].text;
	snprintf(text, sizeof(text),
		 host.n > 0 && memchr(host.p, ':', host.n) != NULL ? "[%.*s]:%.*s" : "%.*s:%.*s",
		 SLICE_FMT(host), (int)(r->item[1].text.n < 6 ? r->item[1].text.n : 6),
		 r->item[1].text.p);
	return redis_place_parse(slice_str(text), REDIS_PORT, out) == NULL;
}

static void say_why(const struct redis_client *c, const struct resp *r, char out[WHY_MAX])
{
	if (r->type == RESP_ERROR)
		snprintf(out, WHY_MAX, "%.*s", (int)(r->text.n < 120 ? r->text.n : 120), r->text.p);
	else
		snprintf(out, WHY_MAX, "it does not know %s", c->o.master);
	for (char *p = out; *p != '\0'; p++)
		if (*p < ' ' || *p == 0x7f)
			*p = ' ';
}

static void on_answer(struct redis_command *m, enum redis_outcome o, const struct resp *r)
{
	struct redis_client *c = LIST_ENTRY(m, struct redis_client, sentinel.query);
	struct redis_place place;

	if (o != REDIS_REPLY || c->sentinel.link == NULL)
		return; /* the link tells */
	if (!read_master(r, &place)) {
		char why[WHY_MAX];

		say_why(c, r, why);
		hang_up(c);
		on_no_answer(c, why);
		return;
	}
	hang_up(c);
	if (c->sentinel.complained)
		log_info("redis: the sentinels tell where %s is", c->o.master);
	c->sentinel.complained = false;
	set_master(c, &place);
}

static void on_ready(void *owner)
{
	struct redis_client *c = owner;
	struct buf b = { .p = NULL };

	c->sentinel.query = (struct redis_command){ .deadline_ns = c->manner.loop->now_ns +
								   c->manner.connect_timeout_ns,
						    .done = on_answer };
	resp_put_words(&b, "SENTINEL", "get-master-addr-by-name", c->o.master, NULL);
	if (b.oom || !redis_link_put(c->sentinel.link, &c->sentinel.query, slice_of(b.p, b.n))) {
		hang_up(c);
		on_no_answer(c, "out of memory");
	}
	buf_fini(&b);
}

static void on_over(void *owner, const char *why)
{
	struct redis_client *c = owner;

	c->sentinel.link = NULL;
	if (!c->closing)
		on_no_answer(c, why);
}

static const struct redis_link_events events = { .ready = on_ready, .over = on_over };

static bool find(struct redis_client *c, const struct redis_place *place, struct addr *out)
{
	const struct redis_finder *f = &c->o.finder;
	struct ip ip;

	if (place->is_unix)
		*out = place->path;
	else if (ip_parse(slice_str(place->host), &ip))
		addr_make(out, &ip, place->port);
	else
		return f->find != NULL && f->find(f->user, place, c->sentinel.turn, out);
	return true;
}

static void ask_next(struct redis_client *c)
{
	struct sentinel *s = &c->sentinel;
	const struct redis_place *place = &c->o.place[s->turn % c->o.n_places];
	struct tls_target tls = { .client = c->o.sentinel_tls, .name = place->host };
	struct addr addr;

	timer_clear(&s->timer);
	if (!find(c, place, &addr)) {
		on_no_answer(c, "its name has no address");
		return;
	}
	s->link =
	    redis_link_open(c->manner.loop, &addr, &tls, &c->o.sentinel_greeting,
			    c->manner.loop->now_ns + c->manner.connect_timeout_ns, &events, c);
	if (s->link == NULL)
		on_no_answer(c, "it cannot be connected to");
}

static void on_timer(struct timer *t)
{
	struct redis_client *c = LIST_ENTRY(t, struct redis_client, sentinel.timer);

	if (!c->closing && c->sentinel.link == NULL)
		ask_next(c);
}

/* After a master was lost the sentinels may still name it for a while: not more often than nodes are tried. */
void sentinel_ask(struct redis_client *c)
{
	struct sentinel *s = &c->sentinel;
	unsigned failures = c->n_nodes > 0 ? c->node[0]->failures : 0;
	uint64_t wait = 100 * CLOCK_MS;

	if (is_asking(s))
		return;
	if (failures <= 1) {
		s->failures = 0;
		ask_next(c);
		return;
	}
	for (unsigned i = 2; i < failures && wait < ROUND_MAX_NS; i++)
		wait *= 2;
	wait = wait < ROUND_MAX_NS ? wait : ROUND_MAX_NS;
	go_on_at(c, c->manner.loop->now_ns + wait / 2 + client_random(c) % wait);
}

void sentinel_init(struct redis_client *c)
{
	timer_init(&c->sentinel.timer, on_timer);
}

void sentinel_fini(struct redis_client *c)
{
	hang_up(c);
	timer_fini(&c->manner.loop->timers, &c->sentinel.timer);
}
