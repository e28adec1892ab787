/* hear.c - what must hold of each message that comes out of Weir. */
#include "hear.h"

#include <string.h>

#include "sim.h"
#include "wire.h"

/*---------------------------------------------------------------- requests */

struct request *hear_find(struct sim *sim, const struct wire_head *h)
{
	return ledger_find_request(&sim->ledger, wire_field_number(h, "X-Sim-Request"));
}

static bool has_framing(const struct request *r, const struct wire_head *h)
{
	if (h->is_2 && r->chunked)
		return !h->has_length;
	if (h->is_2)
		return h->length == r->body_n && !h->chunked;
	return h->chunked == r->chunked && h->length == (r->chunked ? 0 : r->body_n);
}

void hear_request_head(struct heard_request *heard, struct request *r, const struct wire_head *h)
{
	char value[64];

	bool tunnel = r->place == PLACE_TUNNEL;
	const char *method = tunnel && h->is_2 ? "CONNECT" : r->method;

	*heard = (struct heard_request){ .request = r };
	heard->ends_by_itself = h->is_2 || h->chunked || tunnel;
	if (strcmp(h->method, method) != 0 || strcmp(h->target, r->target) != 0)
		sim_fail("request %u: %s %s became %s %s", r->id, method, r->target, h->method,
			 h->target);
	if (wire_field(h, "X-Hop", value, sizeof(value)) ||
	    wire_field(h, "Keep-Alive", value, sizeof(value)))
		sim_fail("request %u: a hop-by-hop field came through", r->id);
	if (!wire_field(h, "Via", value, sizeof(value)) ||
	    !wire_field(h, "Host", value, sizeof(value)) || strcmp(value, "sim") != 0)
		sim_fail("request %u: no Via or another Host", r->id);
	if (!tunnel && !has_framing(r, h))
		sim_fail("request %u: another framing: %s", r->id, h->text);
}

void hear_request_body(struct heard_request *heard, const char *p, size_t n)
{
	struct request *r = heard->request;

	if (heard->got + n > r->body_n || !ledger_body_is(p, REQUEST_STREAM + r->id, heard->got, n))
		sim_fail("request %u: other bytes at %llu", r->id, (unsigned long long)heard->got);
	heard->got += n;
}

void hear_request_end(const struct heard_request *heard, const struct wire_head *trailers)
{
	struct request *r = heard->request;

	if (r->incomplete || (r->is_2 && !r->said && heard->ends_by_itself))
		sim_fail("request %u looks whole, and is not", r->id);
	if (heard->got != r->body_n)
		sim_fail("request %u ends with %llu of %llu bytes", r->id,
			 (unsigned long long)heard->got, (unsigned long long)r->body_n);
	if (trailers != NULL && wire_field_number(trailers, "X-Sim-Trailer") != r->id)
		sim_fail("request %u: other trailers", r->id);
	if (trailers == NULL && r->trailers)
		sim_fail("request %u: no trailers", r->id);
	r->whole_arrivals++;
}

/*---------------------------------------------------------------- answers */

static void check_own(struct sim *sim, struct request *r, const struct wire_head *h)
{
	/* an upstream spoke just as the call came to it: nobody can tell that from an answer */
	if (wire_field_number(h, "X-Sim-Unasked") == 1)
		return;
	if (!ledger_is_own_status(h->status))
		sim_fail("client %u: status %u for request %u is of nobody", r->client, h->status,
			 r->id);
	if (sim->weather.calm)
		sim_fail("client %u: Weir answers %u to request %u", r->client, h->status, r->id);
	if (h->status == 429 && r->place != PLACE_LIMITED && r->place != PLACE_HELD)
		sim_fail("request %u is under no limit, and limited", r->id);
	if (h->status == 429 && wire_field_number(h, "Retry-After") == UINT64_MAX)
		sim_fail("request %u: 429 without Retry-After", r->id);
	r->refused = h->status == 429 || h->status == 404;
	if (r->refused && r->arrivals > 0)
		sim_fail("request %u: %u although it reached an upstream", r->id, h->status);
	if (r->malformed && (h->status < 400 || h->keep_alive))
		sim_fail("request %u is malformed: %u, %s", r->id, h->status,
			 h->keep_alive ? "kept alive" : "closed");
	sim->ledger.own_answers++;
	sim->ledger.refusals += h->status == 429;
}

static struct answer *check_upstream(struct sim *sim, struct request *r, const struct wire_head *h,
				     uint64_t number)
{
	struct answer *a = ledger_find_answer(&sim->ledger, number);
	char value[16];

	if (a->request != r->id)
		sim_fail("client %u: the answer to request %u comes to request %u", r->client,
			 a->request, r->id);
	if (a->status != h->status && !(a->status == 101 && h->is_2 && h->status == 200))
		sim_fail("answer %u: status %u became %u", a->id, a->status, h->status);
	if (wire_field(h, "X-Hop", value, sizeof(value)))
		sim_fail("answer %u: a nominated field came through", a->id);
	sim->ledger.upstream_answers++;
	return a;
}

void hear_answer_head(struct sim *sim, struct heard_answer *heard, const struct wire_head *h)
{
	uint64_t number = wire_field_number(h, "X-Sim-Answer");
	struct request *r = heard->request;

	heard->answer = NULL;
	heard->got = 0;
	heard->no_body = strcmp(r->method, "HEAD") == 0 || h->status == 204 || h->status == 304;
	if (number != UINT64_MAX)
		heard->answer = check_upstream(sim, r, h, number);
	else
		check_own(sim, r, h);
}

void hear_interim(struct heard_answer *heard, const struct wire_head *h)
{
	struct request *r = heard->request;

	if (++r->interims_got > r->interims_sent)
		sim_fail("request %u: an interim %u that no upstream sent", r->id, h->status);
	if (r->is_1_0)
		sim_fail("request %u: an interim answer to HTTP/1.0", r->id);
}

void hear_answer_body(struct heard_answer *heard, const char *p, size_t n)
{
	struct answer *a = heard->answer;

	if (a == NULL)
		return;
	if (heard->got + n > a->body_n || !ledger_body_is(p, ANSWER_STREAM + a->id, heard->got, n))
		sim_fail("answer %u: other bytes at %llu", a->id, (unsigned long long)heard->got);
	heard->got += n;
}

static void check_trailers(const struct heard_answer *heard, const struct wire_head *trailers)
{
	const struct answer *a = heard->answer;

	if (trailers != NULL && wire_field_number(trailers, "X-Sim-Trailer") != a->id)
		sim_fail("answer %u: other trailers", a->id);
	if (trailers == NULL && a->trailers && !heard->request->is_1_0)
		sim_fail("answer %u: no trailers", a->id);
}

void hear_answer_end(const struct heard_answer *heard, const struct wire_head *trailers)
{
	struct answer *a = heard->answer;

	if (heard->request->answered)
		sim_fail("request %u is answered twice", heard->request->id);
	heard->request->answered = true;
	if (a == NULL || heard->no_body)
		return;
	if (!(a->complete || (a->sized && !a->spoiled)) || heard->got != a->body_n)
		sim_fail("answer %u looks complete with %llu of %llu bytes, and is%s", a->id,
			 (unsigned long long)heard->got, (unsigned long long)a->body_n,
			 a->complete ? "" : " not");
	check_trailers(heard, trailers);
}
