/* serve.c - a file's bytes on their way to the client; see serve.h.
 *
 * They pass through one buffer of the worker's: what a socket does not take of it is kept by its
 * connection, and nothing more is read before that has gone (STREAM_LOW_WATER).  So a slow client
 * holds a descriptor and no more memory than that of any other answer.
 *
 *  V1  What was promised (Content-Length) is sent, or the stream is reset: a file that became
 *      shorter meanwhile never looks complete.
 *  V2  A client that takes all at once leaves the others their turn. */
#include "core/serve.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/check.h"
#include "base/reason.h"
#include "core/action.h"
#include "core/exchange.h"
#include "core/file_answer.h"

enum {
	FILE_READ_BYTES = 64 * 1024,
	TURN_BYTES = 1024 * 1024, /* to one client in one turn of the loop */
};

struct serving {
	struct file_answer answer;
	uint32_t at;    /* piece */
	uint64_t done;  /* of its bytes of the file */
	bool text_sent; /* of this piece */
	bool ready;     /* the first bytes stand in the buffer */
	size_t n_ready;
	bool yields;       /* it goes on when the timer says so */
	uint64_t turn_ns;  /* which turn */
	size_t turn_bytes; /* sent in it */
};

static bool is_over(const struct serving *s)
{
	return s->at == s->answer.n;
}

static void close_file(struct serving *s)
{
	if (s->answer.fd >= 0)
		close(s->answer.fd);
	s->answer.fd = -1;
}

void serve_end(struct exchange *x)
{
	close_file(x->serving);
}

/*---------------------------------------------------------------- reading */

static char *buffer_of(struct worker *w)
{
	if (w->file_buffer == NULL)
		w->file_buffer = malloc(FILE_READ_BYTES);
	return w->file_buffer;
}

/* The next bytes of the present piece; false: they are not there any more. */
static bool read_more(struct exchange *x, size_t *n)
{
	struct serving *s = x->serving;
	const struct file_piece *p = &s->answer.piece[s->at];
	uint64_t left = p->n - s->done;
	size_t want = left < FILE_READ_BYTES ? (size_t)left : FILE_READ_BYTES;
	ssize_t got;

	conn_flush_all(&x->worker->loop); /* the buffer may be borrowed */
	got = pread(s->answer.fd, buffer_of(x->worker), want, (off_t)(p->at + s->done));
	*n = got > 0 ? (size_t)got : 0;
	return got > 0;
}

/* The buffer is there, and nobody else reads before serve_body. */
static bool read_first(struct exchange *x)
{
	struct serving *s = x->serving;

	if (is_over(s) || s->answer.piece[0].n == 0)
		return true;
	s->ready = true;
	return read_more(x, &s->n_ready);
}

bool serve_begin(struct exchange *x, const struct file_answer *answer)
{
	struct serving *s = arena_zalloc(&x->arena, sizeof(*s));

	if (s == NULL || buffer_of(x->worker) == NULL) {
		if (answer->fd >= 0)
			close(answer->fd);
		return false;
	}
	s->answer = *answer;
	x->serving = s;
	pump_init(&x->down, NULL, x->client, &x->worker->loop.now_ns);
	if (read_first(x))
		return true;
	close_file(s);
	x->serving = NULL;
	return false;
}

/*---------------------------------------------------------------- sending */

static void put(struct exchange *x, struct slice bytes)
{
	struct serving *s = x->serving;
	bool end = is_over(s);

	if (end)
		close_file(s);
	s->turn_bytes += bytes.n;
	pump_body(&x->down, bytes, end);
}

static void next_piece(struct serving *s)
{
	s->at++;
	s->done = 0;
	s->text_sent = false;
}

static void put_text(struct exchange *x)
{
	struct serving *s = x->serving;
	const struct file_piece *p = &s->answer.piece[s->at];

	s->text_sent = true;
	if (p->n == 0)
		next_piece(s);
	put(x, p->text);
}

/* False: the call is over. */
static bool put_bytes(struct exchange *x)
{
	struct serving *s = x->serving;
	const struct file_piece *p = &s->answer.piece[s->at];
	size_t n = s->n_ready;

	if (!s->ready && !read_more(x, &n)) {
		exchange_cut(x, reason_file_truncated);
		return false;
	}
	s->ready = false;
	s->done += n;
	if (s->done == p->n)
		next_piece(s);
	put(x, slice_of(x->worker->file_buffer, n));
	return true;
}

/* Others have waited long enough. */
static bool gives_way(struct exchange *x)
{
	struct serving *s = x->serving;
	uint64_t now_ns = x->worker->loop.now_ns;

	if (s->turn_ns != now_ns) {
		s->turn_ns = now_ns;
		s->turn_bytes = 0;
	}
	s->yields = s->turn_bytes >= TURN_BYTES;
	if (s->yields)
		exchange_set_deadline(x, 1);
	return s->yields;
}

static void go_on(struct exchange *x)
{
	struct serving *s = x->serving;

	while (!is_over(s) && x->client->queued <= STREAM_HIGH_WATER) {
		const struct file_piece *p = &s->answer.piece[s->at];

		if (gives_way(x))
			return;
		if (!s->text_sent && (p->text.n > 0 || p->n == 0))
			put_text(x);
		else if (!put_bytes(x))
			return;
	}
	exchange_set_deadline(x, x->worker->times.write_ns);
}

void serve_body(struct exchange *x)
{
	struct serving *s = x->serving;

	go_on(x);
	s->ready = false; /* what waits for room has the buffer no more */
}

void serve_on_room(struct exchange *x)
{
	if (x->serving != NULL && !x->serving->yields && !is_over(x->serving))
		go_on(x);
}

bool serve_on_timer(struct exchange *x)
{
	if (x->serving == NULL || !x->serving->yields)
		return false;
	x->serving->yields = false;
	go_on(x);
	return true;
}

/*---------------------------------------------------------------- the route's own */

static const struct reason *make(struct exchange *x, const struct respond *r, struct head *h,
				 struct file_answer *answer, uint16_t *status)
{
	struct template_values values;

	if (h == NULL)
		return reason_out_of_memory;
	head_init(h, &x->arena);
	h->keep_alive = true;
	if (!head_add(h, F_DATE, worker_date(x->worker)))
		return reason_out_of_memory;
	if (x->handed_status != 200) /* the file is a page for an error */
		h->status = x->handed_status;
	exchange_values(x, &values);
	return file_answer_make(r, x->route, &values, h, answer, status);
}

void serve(struct exchange *x, const struct respond *r)
{
	struct head *h = arena_alloc(&x->arena, sizeof(*h));
	struct file_answer answer;
	uint16_t status = 0;
	const struct reason *why = make(x, r, h, &answer, &status);

	if (why == NULL && answer.fd >= 0 && !serve_begin(x, &answer))
		why = reason_file_failed;
	if (why != NULL) {
		x->call.out.status = status;
		exchange_reply(x, why, why->flags & R_SHED ? 1000 : 0);
		return;
	}
	exchange_begin_own(x);
	reply_file(x, h);
}
