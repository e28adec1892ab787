/* h2_unread.c - requests that were answered before they had come whole.
 *
 *   answered -> unread: what comes is thrown away, windows open again -> END_STREAM or a reset
 *                                                                   \-> a bound -> RST_STREAM
 *
 * RFC 9113 section 8.1 lets a server stop such a request at once, with NO_ERROR; but there are
 * clients that take this for a failure of the call, answer and all (curl 7.88).  So they may end it
 * in their own time, and are stopped only when they make much of that: too many bytes, too long, or
 * too many such requests.  They count among a client's streams, and give way to new ones.
 *
 * After a success that is so only where a length says that the window will do.  Others are stopped
 * at once: the same clients read nothing more then, and would wait for a window without end; and for
 * gRPC it is the sign that no more messages are wanted. */
#include <stdlib.h>

#include "base/clock.h"
#include "http/h2_internal.h"

static struct h2_unread *find(const struct h2_session *s, uint32_t id)
{
	for (uint32_t i = 0; i < s->n_unread; i++)
		if (s->unread[i].id == id)
			return &s->unread[i];
	return NULL;
}

static void forget(struct h2_session *s, struct h2_unread *u)
{
	size_t after = (size_t)(s->unread + s->n_unread - (u + 1));

	memmove(u, u + 1, after * sizeof(*u));
	s->n_unread--;
}

static void stop(struct h2 *h, struct h2_unread *u, enum h2_code code)
{
	struct h2_session *s = h->s;

	h2_put_rst(h, u->id, code);
	if (u->id > s->cut_id)
		s->cut_id = u->id;
	forget(s, u);
}

static void stop_first(struct h2 *h)
{
	stop(h, &h->s->unread[0], H2_NO_ERROR);
}

static uint32_t most(const struct h2_session *s)
{
	return s->streams < H2_UNREAD ? s->streams : H2_UNREAD;
}

/* What the peer may send goes up to a whole window again, once half of that is used. */
static void widen(struct h2 *h, struct h2_unread *u)
{
	int64_t more = (int64_t)h->s->stream_window - u->window;

	if (more <= 0 || more < h->s->stream_window / 2)
		return;
	h2_put_window(h, u->id, (uint32_t)more);
	u->window += more;
}

static bool may_go_on(const struct h2_stream *st)
{
	const struct h2_session *s = st->h2->s;

	if (h2_is_over(st->h2) || s->eof || most(s) == 0)
		return false;
	return st->refused || (st->in_sized && (int64_t)st->in_left <= st->in_window);
}

bool h2_unread_keep(struct h2_stream *st)
{
	struct h2_session *s = st->h2->s;

	if (!may_go_on(st))
		return false;
	if (s->unread == NULL && (s->unread = calloc(most(s), sizeof(*s->unread))) == NULL)
		return false;
	if (s->n_unread == most(s))
		stop_first(st->h2);
	s->unread[s->n_unread] = (struct h2_unread){
		.id = st->id,
		.left = H2_UNREAD_BYTES,
		.window = st->in_window,
		.until_ns =
		    st->h2->codec.io->now_ns(st->h2->codec.conn) + H2_UNREAD_SECONDS * CLOCK_S,
	};
	widen(st->h2, &s->unread[s->n_unread++]);
	return true;
}

bool h2_unread_end(struct h2 *h, uint32_t id)
{
	struct h2_unread *u = find(h->s, id);
	struct h2_stream *st;

	if (u == NULL)
		return false;
	forget(h->s, u);
	st = h2_stream_find(h, id);
	if (st != NULL) /* its answer is not all written */
		st->in_ended = true;
	return true;
}

bool h2_unread_data(struct h2 *h, const struct h2_frame *f)
{
	struct h2_unread *u = find(h->s, f->id);

	if (u == NULL)
		return false;
	u->window -= f->length;
	if (u->window < 0)
		stop(h, u, H2_FLOW_CONTROL_ERROR);
	else if (f->flags & H2_END_STREAM)
		h2_unread_end(h, f->id);
	else if (f->length > u->left)
		stop(h, u, H2_NO_ERROR);
	else {
		u->left -= f->length;
		widen(h, u);
	}
	return true;
}

void h2_unread_expire(struct h2 *h)
{
	const struct h2_session *s = h->s;

	if (s->n_unread == 0)
		return;
	for (uint64_t now_ns = h->codec.io->now_ns(h->codec.conn);
	     s->n_unread > 0 && s->unread[0].until_ns <= now_ns;)
		stop_first(h);
}

void h2_unread_make_room(struct h2 *h)
{
	const struct h2_session *s = h->s;

	while (s->n_unread > 0 && s->n_streams + s->n_unread >= s->streams)
		stop_first(h);
}

bool h2_unread_stop(struct h2 *h)
{
	bool any = h->s->n_unread > 0;

	while (h->s->n_unread > 0)
		stop_first(h);
	return any;
}
