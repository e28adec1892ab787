/* conn_out.c - what a connection's codec puts: gathered, written, kept.
 *
 * Slices are borrowed until the settle, which writes all of them with one writev; what the socket did not take is
 * copied.  Where streams share a connection, what is short is held (copied) until the turn is over, for one writev of
 * all their answers.  Nothing here raises anything: a failure is a mark, which conn_settle looks at. */
#include <stdlib.h>
#include <string.h>

#include "io/conn.h"
#include "io/conn_internal.h"

enum {
	JOIN_BYTES = 2048,  /* what is shorter is copied rather than gathered */
	SPARE_GATHERS = 64, /* kept for reuse */
	GATHER_MAX = 64,    /* slices in one writev */
	HOLD_BYTES = 16384, /* of one connection, that wait for the end of the turn */
};

struct gather {
	struct list link; /* loop->gathers, or loop->held */
	struct gather *next_free;
	struct conn *conn;
	char *hold; /* HOLD_BYTES; NULL: nothing is held */
	size_t bytes;
	size_t held; /* of them, the first ones, and v[0] alone */
	int n;
	struct iovec v[GATHER_MAX];
};

static struct gather *gather_get(struct conn *c)
{
	struct loop *loop = c->loop;
	struct gather *g = loop->free_gathers;

	if (c->gather != NULL)
		return c->gather;
	if (g != NULL) {
		loop->free_gathers = g->next_free;
		loop->n_free_gathers--;
	} else {
		g = malloc(sizeof(*g));
	}
	if (g == NULL)
		return NULL;
	g->conn = c;
	g->hold = NULL;
	g->bytes = g->held = 0;
	g->n = 0;
	list_push_back(&loop->gathers, &g->link);
	c->gather = g;
	conn_mark_dirty(c);
	return g;
}

/* The one to put into, which has borrowed slices from here. */
static struct gather *gather_use(struct conn *c)
{
	struct gather *g = gather_get(c);

	if (g != NULL && g->bytes > 0 && g->bytes == g->held) {
		list_remove(&g->link);
		list_push_back(&c->loop->gathers, &g->link);
		conn_mark_dirty(c);
	}
	return g;
}

void conn_out_free(struct conn *c)
{
	struct loop *loop = c->loop;
	struct gather *g = c->gather;

	if (g == NULL)
		return;
	list_remove(&g->link);
	free(g->hold);
	c->gather = NULL;
	if (loop->n_free_gathers == SPARE_GATHERS) {
		free(g);
		return;
	}
	g->next_free = loop->free_gathers;
	loop->free_gathers = g;
	loop->n_free_gathers++;
}

size_t conn_backlog(const struct conn *c)
{
	return c->out_n - c->out_at;
}

size_t conn_unsent(const struct conn *c)
{
	return conn_backlog(c) + (c->gather != NULL ? c->gather->bytes : 0);
}

bool conn_out_is_held(const struct conn *c)
{
	return c->gather != NULL && c->gather->held > 0;
}

void conn_gathers_free(struct loop *loop)
{
	while (loop->free_gathers != NULL) {
		struct gather *g = loop->free_gathers;

		loop->free_gathers = g->next_free;
		free(g);
	}
}

static bool backlog_append(struct conn *c, const void *p, size_t n)
{
	if (c->out_at > 0 && c->out_at == c->out_n)
		c->out_at = 0, c->out_n = 0;
	if (c->out_cap - c->out_n < n) {
		size_t cap = c->out_cap < 1024 ? 1024 : c->out_cap;
		char *out;

		if (c->out_at > 0)
			memmove(c->out, c->out + c->out_at, conn_backlog(c));
		c->out_n -= c->out_at;
		c->out_at = 0;
		while (cap - c->out_n < n)
			cap *= 2;
		out = realloc(c->out, cap);
		if (out == NULL)
			return false;
		c->out = out;
		c->out_cap = cap;
	}
	memcpy(c->out + c->out_n, p, n);
	c->out_n += n;
	return true;
}

/* Keeps what the socket did not take: everything behind the first `sent` bytes. */
static void gather_keep(struct conn *c, size_t sent)
{
	struct gather *g = c->gather;

	for (int i = 0; i < g->n && !c->broken; i++) {
		size_t n = g->v[i].iov_len, skip = sent < n ? sent : n;

		sent -= skip;
		if (skip < n && !backlog_append(c, (char *)g->v[i].iov_base + skip, n - skip))
			c->broken = true;
	}
}

static void backlog_free(struct conn *c)
{
	free(c->out);
	c->out = NULL;
	c->out_at = 0;
	c->out_n = c->out_cap = 0;
}

/* The other side takes no more.  A client is gone; but an upstream may have answered before it hung
 * up on the rest of the upload (413 and the like), so what it has said is read to its end. */
static void on_write_broken(struct conn *c)
{
	c->broken = c->times != NULL;
	c->mute = !c->broken;
	if (!c->mute)
		return;
	backlog_free(c);
	c->codec.ops->last(&c->codec);
}

void conn_out_write(struct conn *c)
{
	struct gather *g = c->gather;
	ssize_t sent = 0;

	if (g == NULL)
		return;
	if (!c->broken && !c->mute && conn_backlog(c) == 0 && !c->connecting) {
		sent = c->transport->ops->writev(c->transport, g->v, g->n);
		if (sent == TRANSPORT_BROKEN)
			on_write_broken(c);
		if (sent < 0)
			sent = 0;
	}
	if ((size_t)sent < g->bytes && !c->mute)
		gather_keep(c, (size_t)sent);
	c->wrote = true;
	conn_out_free(c);
}

static void flush_list(struct list *gathers)
{
	LIST_EACH (n, gathers) {
		struct conn *c = LIST_ENTRY(n, struct gather, link)->conn;

		conn_out_write(c);
		conn_mark_dirty(c);
	}
}

void conn_flush_all(struct loop *loop)
{
	flush_list(&loop->gathers);
}

void conn_flush_held(struct loop *loop)
{
	flush_list(&loop->held);
}

/* Other streams of the connection may have something to say in this turn, too, and one call of the
 * kernel's is dearer than a copy of what is short. */
static bool may_hold(const struct conn *c)
{
	const struct codec *k = &c->codec;

	return c->loop->holds && k->multiplexed && k->phase < CODEC_CLOSED && !k->shut &&
	       !c->broken && !c->mute && !c->connecting && conn_backlog(c) == 0 &&
	       c->gather->bytes <= HOLD_BYTES;
}

/* Copies what is borrowed behind what is held already.  False: memory is out. */
static bool hold(struct gather *g)
{
	if (g->hold == NULL)
		g->hold = malloc(HOLD_BYTES);
	if (g->hold == NULL)
		return false;
	for (int i = g->held > 0; i < g->n; i++) {
		memcpy(g->hold + g->held, g->v[i].iov_base, g->v[i].iov_len);
		g->held += g->v[i].iov_len;
	}
	g->v[0] = (struct iovec){ .iov_base = g->hold, .iov_len = g->held };
	g->n = 1;
	return true;
}

void conn_out_settle(struct conn *c)
{
	struct gather *g = c->gather;

	if (g == NULL)
		return;
	if (!may_hold(c) || !hold(g)) {
		conn_out_write(c);
		return;
	}
	list_remove(&g->link);
	list_push_back(&c->loop->held, &g->link);
}

static char *io_reserve(void *conn, size_t n)
{
	return loop_reserve(((struct conn *)conn)->loop, n);
}

/* A short piece behind one that stands at the end of loop->out is copied there: the kernel takes
 * one piece for less than two. */
static bool join(struct loop *loop, struct iovec *last, struct slice s)
{
	char *end = (char *)last->iov_base + last->iov_len;

	if (s.n > JOIN_BYTES || !loop_is_last(loop, end) ||
	    s.n > (size_t)(loop->out + LOOP_OUT_BYTES - end))
		return false;
	memcpy(end, s.p, s.n);
	loop_use(loop, end + s.n);
	last->iov_len += s.n;
	return true;
}

static void gather_add(struct conn *c, struct gather *g, struct slice s)
{
	struct iovec *last = g->n > 0 ? &g->v[g->n - 1] : NULL;

	g->bytes += s.n;
	if (last != NULL && (char *)last->iov_base + last->iov_len == s.p)
		last->iov_len += s.n;
	else if (last == NULL || !join(c->loop, last, s))
		g->v[g->n++] = (struct iovec){ .iov_base = (void *)(uintptr_t)s.p, .iov_len = s.n };
}

static void io_put(void *conn, struct slice s)
{
	struct conn *c = conn;
	struct gather *g;

	if (s.n == 0 || c->broken || c->closing)
		return;
	g = gather_use(c);
	if (g != NULL && g->n == GATHER_MAX) {
		conn_out_write(c);
		g = gather_use(c);
	}
	if (g == NULL) {
		c->broken = true;
		conn_mark_dirty(c);
		return;
	}
	gather_add(c, g, s);
}

static void io_kick(void *conn)
{
	struct conn *c = conn;

	c->kicked = true;
	if (!c->feeding)
		conn_mark_dirty(c);
}

static void io_free_later(void *conn, void *memory)
{
	loop_free_later(((struct conn *)conn)->loop, memory);
}

static uint64_t io_now_ns(void *conn)
{
	return ((struct conn *)conn)->loop->now_ns;
}

const struct codec_io conn_io = { .reserve = io_reserve,
				  .put = io_put,
				  .kick = io_kick,
				  .free_later = io_free_later,
				  .now_ns = io_now_ns };

void conn_out_write_backlog(struct conn *c)
{
	struct iovec v = { .iov_base = c->out + c->out_at, .iov_len = conn_backlog(c) };
	ssize_t sent;

	if (v.iov_len == 0)
		return;
	sent = c->transport->ops->writev(c->transport, &v, 1);
	if (sent == TRANSPORT_BROKEN)
		on_write_broken(c);
	c->wrote = c->wrote || sent > 0 || c->mute;
	if (sent <= 0)
		return;
	c->out_at += (uint32_t)sent;
	if (conn_backlog(c) == 0)
		backlog_free(c);
}
