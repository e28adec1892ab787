/* link.c - the laws are in link.h. */
#include "redis/link.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/reason.h"

enum { READ_BYTES = 16 * 1024, WRITTEN_MAX = 64 * 1024, WHY_MAX = 160, LINK_MAGIC = 0x4c4e4b31 };

enum state { CONNECTING, GREETING, READY, OVER };

enum step { STEP_AUTH, STEP_SELECT, STEP_ROLE, STEP_PING, STEPS };

struct greeting_step {
	struct redis_command command;
	struct redis_link *link;
};

struct redis_link {
	uint32_t magic;
	enum state state;
	bool is_tls;
	struct loop *loop;
	struct transport *transport;
	const struct redis_link_events *on;
	void *owner;
	struct redis_greeting greeting;
	struct greeting_step step[STEPS];
	uint64_t deadline_ns; /* of connect and greeting */
	uint64_t greeted_ns, greeting_ns;
	struct timer timer;
	struct resp_reader *reader;
	struct buf out;
	size_t out_at;      /* what of it was written */
	uint64_t put, sent; /* bytes, since it was opened */
	struct list under_way;
	unsigned n_under_way;
	struct deferred work; /* at the end of the turn: to write, or to go */
	bool has_work;
	char why[WHY_MAX];
};

/*------------------------------------------------------------------ endings */

static void on_work(struct deferred *);

static void work_later(struct redis_link *k)
{
	if (k->has_work)
		return;
	k->has_work = true;
	loop_defer(k->loop, &k->work, on_work);
}

static void finish_command(struct redis_link *k, struct redis_command *c, enum redis_outcome o,
			   const struct resp *reply)
{
	list_remove(&c->link);
	k->n_under_way--;
	c->done(c, o, reply);
}

/* Nothing is called from here on but the ends of its commands. */
static void end(struct redis_link *k)
{
	struct list all;

	k->state = OVER;
	timer_clear(&k->timer);
	k->transport->ops->want(k->transport, 0);
	list_init(&all);
	while (!list_empty(&k->under_way))
		list_push_back(&all, list_pop_front(&k->under_way));
	while (!list_empty(&all)) {
		struct redis_command *c = LIST_ENTRY(all.next, struct redis_command, link);

		finish_command(k, c, c->start < k->sent ? REDIS_UNKNOWN : REDIS_NOT_DONE, NULL);
	}
	work_later(k);
}

static void fail(struct redis_link *k, const char *why)
{
	if (k->state == OVER)
		return;
	snprintf(k->why, sizeof(k->why), "%s", why);
	end(k);
	if (k->on != NULL)
		k->on->over(k->owner, k->why);
}

static void fail_of(struct redis_link *k, const char *what, struct slice text)
{
	char why[WHY_MAX];

	snprintf(why, sizeof(why), "%s: %.*s", what, (int)(text.n < 100 ? text.n : 100), text.p);
	for (char *p = why; *p != '\0'; p++)
		if (*p < ' ')
			*p = ' ';
	fail(k, why);
}

/* With what TLS has against it, if it has. */
static void fail_below(struct redis_link *k, const char *what)
{
	const char *certificate, *fault = tls_fault(k->transport, &certificate);
	char why[WHY_MAX];

	snprintf(why, sizeof(why), "%s%s%s%s%s", what, fault == NULL ? "" : ": ",
		 fault == NULL ? "" : fault, certificate == NULL ? "" : ": ",
		 certificate == NULL ? "" : certificate);
	fail(k, why);
}

void redis_link_close(struct redis_link *k)
{
	if (k == NULL)
		return;
	CHECK_MAGIC(k, LINK_MAGIC);
	k->on = NULL;
	if (k->state != OVER)
		end(k);
}

static void destroy(struct redis_link *k)
{
	timer_fini(&k->loop->timers, &k->timer);
	k->transport->ops->close(k->transport, false);
	resp_reader_free(k->reader);
	buf_fini(&k->out);
	k->magic = 0;
	free(k);
}

/*------------------------------------------------------------------- writing */

static void set_wants(struct redis_link *k)
{
	bool blocked = k->out_at < k->out.n;

	k->transport->ops->want(k->transport, WANT_READ | (blocked ? WANT_WRITE : 0u));
}

static void write_out(struct redis_link *k)
{
	while (k->out_at < k->out.n) {
		struct iovec v = { .iov_base = k->out.p + k->out_at,
				   .iov_len = k->out.n - k->out_at };
		ssize_t n = k->transport->ops->writev(k->transport, &v, 1);

		if (n == TRANSPORT_AGAIN)
			break;
		if (n < 0) {
			fail_below(k, "the connection broke");
			return;
		}
		k->out_at += (size_t)n;
		k->sent += (uint64_t)n;
	}
	if (k->out_at == k->out.n || k->out_at >= WRITTEN_MAX) {
		k->out.n -= k->out_at;
		memmove(k->out.p, k->out.p + k->out_at, k->out.n);
		k->out_at = 0;
	}
	set_wants(k);
}

static void on_work(struct deferred *d)
{
	struct redis_link *k = LIST_ENTRY(d, struct redis_link, work);

	k->has_work = false;
	if (k->state != OVER)
		write_out(k);
	if (k->state == OVER && !k->has_work) /* else it was put in line once more */
		destroy(k);
}

/*-------------------------------------------------------------------- timing */

static struct redis_command *first(struct redis_link *k)
{
	if (list_empty(&k->under_way))
		return NULL;
	return LIST_ENTRY(k->under_way.next, struct redis_command, link);
}

/* Later ones have later deadlines, or nearly. */
static bool set_timer(struct redis_link *k)
{
	struct redis_command *c = first(k);

	if (k->state != READY)
		return timer_set(&k->loop->timers, &k->timer, k->deadline_ns);
	if (c == NULL) {
		timer_clear(&k->timer);
		return true;
	}
	return timer_set(&k->loop->timers, &k->timer, c->deadline_ns);
}

static void on_timer(struct timer *t)
{
	struct redis_link *k = LIST_ENTRY(t, struct redis_link, timer);
	struct redis_command *c = first(k);

	if (k->state == OVER)
		return;
	if (k->state != READY)
		fail(k, k->state == GREETING ? "it did not answer in time"
			: k->is_tls          ? "connecting and the TLS handshake took too long"
					     : "connecting took too long");
	else if (c != NULL && c->deadline_ns <= k->loop->now_ns)
		fail(k, "it did not answer in time");
	else
		set_timer(k);
}

/*------------------------------------------------------------------ commands */

static bool put(struct redis_link *k, struct redis_command *c, struct slice bytes)
{
	if (k->n_under_way >= REDIS_COMMANDS_MAX ||
	    k->out.n - k->out_at + bytes.n > REDIS_UNSENT_MAX || !buf_reserve(&k->out, bytes.n))
		return false;
	buf_put(&k->out, bytes.p, bytes.n);
	c->start = k->put;
	k->put += bytes.n;
	list_push_back(&k->under_way, &c->link);
	k->n_under_way++;
	if (k->n_under_way == 1 && !set_timer(k))
		fail(k, "out of memory");
	work_later(k);
	return true;
}

bool redis_link_put(struct redis_link *k, struct redis_command *c, struct slice bytes)
{
	return redis_link_is_ready(k) && put(k, c, bytes);
}

bool redis_link_is_ready(const struct redis_link *k)
{
	return k != NULL && k->state == READY;
}

unsigned redis_link_under_way(const struct redis_link *k)
{
	return k == NULL ? 0 : k->n_under_way;
}

uint64_t redis_link_greeting_ns(const struct redis_link *k)
{
	return k == NULL ? 0 : k->greeting_ns;
}

/*------------------------------------------------------------------- greeting */

static const char *const step_failures[STEPS] = {
	[STEP_AUTH] = "it does not let us in",
	[STEP_SELECT] = "it does not have the database",
	[STEP_ROLE] = "it does not say whether it is a master",
	[STEP_PING] = "it is not ready",
};

static bool is_master(const struct resp *r)
{
	return r->type == RESP_ARRAY && r->n > 0 && resp_is(&r->item[0], "master");
}

static void on_step(struct redis_command *c, enum redis_outcome o, const struct resp *r)
{
	struct greeting_step *s = (struct greeting_step *)(void *)c;
	struct redis_link *k = s->link;
	enum step step = (enum step)(s - k->step);

	if (o != REDIS_REPLY || k->state != GREETING)
		return;
	if (step == STEP_ROLE && r->type == RESP_ERROR && k->greeting.role == ROLE_ASKED)
		return; /* it may not be asked: then by trying */
	if (r->type == RESP_ERROR) {
		fail_of(k, step_failures[step], r->text);
	} else if (step == STEP_ROLE && !is_master(r)) {
		fail(k, "it is not a master");
	} else if (step == STEP_PING) {
		k->state = READY;
		k->greeting_ns = k->loop->now_ns - k->greeted_ns;
		set_timer(k);
		if (k->on != NULL)
			k->on->ready(k->owner);
	}
}

static void put_step(struct redis_link *k, enum step step, struct buf *bytes)
{
	struct redis_command *c = &k->step[step].command;

	*c = (struct redis_command){ .deadline_ns = k->deadline_ns, .done = on_step };
	k->step[step].link = k;
	if (bytes->oom || !put(k, c, slice_of(bytes->p, bytes->n)))
		fail(k, "out of memory");
	bytes->n = 0;
}

static bool is_given(const char *s)
{
	return s != NULL && s[0] != '\0';
}

static void put_auth(struct redis_link *k, struct buf *b)
{
	const struct redis_greeting *g = &k->greeting;

	if (!is_given(g->password))
		return;
	if (is_given(g->user))
		resp_put_words(b, "AUTH", g->user, g->password, NULL);
	else
		resp_put_words(b, "AUTH", g->password, NULL);
	put_step(k, STEP_AUTH, b);
}

static void greet(struct redis_link *k)
{
	struct buf b = { .p = NULL };
	char database[12];

	k->state = GREETING;
	k->greeted_ns = k->loop->now_ns;
	put_auth(k, &b);
	if (k->state == GREETING && k->greeting.database != 0) {
		snprintf(database, sizeof(database), "%u", k->greeting.database);
		resp_put_words(&b, "SELECT", database, NULL);
		put_step(k, STEP_SELECT, &b);
	}
	if (k->state == GREETING && k->greeting.role != ROLE_UNASKED) {
		resp_put_words(&b, "ROLE", NULL);
		put_step(k, STEP_ROLE, &b);
	}
	if (k->state == GREETING) {
		resp_put_words(&b, "PING", NULL);
		put_step(k, STEP_PING, &b);
	}
	buf_fini(&b);
}

/*------------------------------------------------------------------- replies */

static void on_reply(struct redis_link *k, const struct resp *r)
{
	struct redis_command *c = first(k);

	if (c == NULL) {
		fail(k, "it said something that was not asked");
		return;
	}
	if (c->skip > 0) {
		c->skip--;
		return;
	}
	finish_command(k, c, REDIS_REPLY, r);
	if (k->state != OVER && !set_timer(k))
		fail(k, "out of memory");
}

static size_t reply_max(struct redis_link *k)
{
	struct redis_command *c = first(k);

	return c == NULL || c->reply_max == 0 ? RESP_BYTES_SMALL : c->reply_max;
}

static void take_replies(struct redis_link *k)
{
	enum resp_result got = RESP_REPLY;
	const struct resp *r;

	while (k->state != OVER &&
	       (got = resp_reader_next(k->reader, reply_max(k), &r)) == RESP_REPLY)
		on_reply(k, r);
	if (got == RESP_BROKEN)
		fail(k, "its answer is malformed, or too long");
}

/* As long as a read fills the room: more of the same turn. */
static void read_in(struct redis_link *k)
{
	char in[READ_BYTES];
	ssize_t n;

	do {
		n = k->transport->ops->recv(k->transport, in, sizeof(in));
		if (n == TRANSPORT_AGAIN)
			return;
		if (n <= 0) {
			if (n == 0)
				fail(k, "it closed the connection");
			else
				fail_below(k, "the connection broke");
			return;
		}
		if (!resp_reader_feed(k->reader, slice_of(in, (size_t)n)))
			fail(k, "its answer is malformed");
		take_replies(k);
	} while (k->state != OVER && n == (ssize_t)sizeof(in));
}

/*---------------------------------------------------------------- connection */

static void on_connected(struct redis_link *k)
{
	if (k->transport->ops->intact(k->transport)) {
		greet(k);
		return;
	}
	fail_below(k, k->transport->why == reason_tls_failed ? "the TLS handshake failed"
							     : "it cannot be connected to");
}

static void on_ready(void *owner, unsigned wants)
{
	struct redis_link *k = owner;

	CHECK_MAGIC(k, LINK_MAGIC);
	if (k->state == CONNECTING && (wants & WANT_WRITE))
		on_connected(k);
	else if (k->state != OVER && k->state != CONNECTING && (wants & WANT_READ))
		read_in(k);
	if (k->state != OVER && k->state != CONNECTING && (wants & WANT_WRITE))
		work_later(k);
}

static struct transport *connect_to(struct loop *loop, const struct addr *addr,
				    const struct tls_target *tls)
{
	struct transport *plain = loop->connect(loop, addr), *t;
	struct tls_target quiet;

	if (plain == NULL || tls == NULL || tls->client == NULL)
		return plain;
	quiet = *tls;
	quiet.quiet = true;
	t = tls_connect(loop, plain, &quiet);
	if (t == NULL)
		plain->ops->close(plain, true);
	return t;
}

struct redis_link *redis_link_open(struct loop *loop, const struct addr *addr,
				   const struct tls_target *tls, const struct redis_greeting *g,
				   uint64_t deadline_ns, const struct redis_link_events *on,
				   void *owner)
{
	struct redis_link *k = calloc(1, sizeof(*k));

	if (k == NULL)
		return NULL;
	*k = (struct redis_link){ .magic = LINK_MAGIC,
				  .is_tls = tls != NULL && tls->client != NULL,
				  .loop = loop,
				  .on = on,
				  .owner = owner,
				  .greeting = *g,
				  .deadline_ns = deadline_ns };
	list_init(&k->under_way);
	timer_init(&k->timer, on_timer);
	k->reader = resp_reader_new();
	if (k->reader != NULL && set_timer(k))
		k->transport = connect_to(loop, addr, tls);
	if (k->transport == NULL) {
		timer_fini(&loop->timers, &k->timer);
		resp_reader_free(k->reader);
		free(k);
		return NULL;
	}
	k->transport->owner = k;
	k->transport->on_ready = on_ready;
	k->transport->ops->want(k->transport, WANT_WRITE);
	return k;
}
