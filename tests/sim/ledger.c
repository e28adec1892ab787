/* ledger.c - who asked what, and the laws of it. */
#include "ledger.h"

#include <stdlib.h>
#include <string.h>

#include "base/reason.h"
#include "sim.h"

enum {
	NOISE = 65521, /* a prime: no two streams ever look alike for long */
	TRIES_MAX = 8, /* of one call */
};

static char noise[2 * NOISE];

static void make_noise(void)
{
	struct dice d = { .s = 1 };

	if (noise[0] != 0 || noise[1] != 0)
		return;
	for (size_t i = 0; i < NOISE; i++)
		noise[i] = noise[NOISE + i] = (char)dice_next(&d);
}

void ledger_body(char *out, unsigned stream, uint64_t at, size_t n)
{
	while (n > 0) {
		size_t from = (size_t)((stream * UINT64_C(7919) + at) % NOISE);
		size_t some = n < NOISE ? n : NOISE;

		memcpy(out, noise + from, some);
		out += some;
		at += some;
		n -= some;
	}
}

bool ledger_body_is(const char *p, unsigned stream, uint64_t at, size_t n)
{
	while (n > 0) {
		size_t from = (size_t)((stream * UINT64_C(7919) + at) % NOISE);
		size_t some = n < NOISE ? n : NOISE;

		if (memcmp(p, noise + from, some) != 0)
			return false;
		p += some;
		at += some;
		n -= some;
	}
	return true;
}

uint64_t ledger_size(struct dice *d, uint64_t usual)
{
	unsigned draw = (unsigned)dice_below(d, 100);

	return dice_spread(d, draw < 3 ? 2000000 : draw < 15 ? 300000 : usual);
}

void ledger_init(struct ledger *l)
{
	make_noise();
	*l = (struct ledger){ 0 };
	l->request = sim_alloc(LEDGER_MAX * sizeof(*l->request));
	l->answer = sim_alloc(LEDGER_MAX * sizeof(*l->answer));
}

void ledger_fini(struct ledger *l)
{
	free(l->request);
	free(l->answer);
}

struct request *ledger_request(struct ledger *l)
{
	struct request *r = &l->request[l->requests];

	if (l->requests == LEDGER_MAX)
		sim_fail("the ledger is full of requests");
	r->id = ++l->requests;
	return r;
}

struct answer *ledger_answer(struct ledger *l, struct request *r)
{
	struct answer *a = &l->answer[l->answers];

	if (l->answers == LEDGER_MAX)
		sim_fail("the ledger is full of answers");
	a->id = ++l->answers;
	a->request = r->id;
	return a;
}

struct request *ledger_find_request(struct ledger *l, uint64_t id)
{
	if (id == 0 || id > l->requests)
		sim_fail("a request arrived that nobody sent");
	return &l->request[id - 1];
}

struct answer *ledger_find_answer(struct ledger *l, uint64_t id)
{
	if (id == 0 || id > l->answers)
		sim_fail("an answer arrived that nobody sent");
	return &l->answer[id - 1];
}

/* Time passes under the present bound. */
static void accrue(struct sim *sim)
{
	struct ledger *l = &sim->ledger;
	uint64_t per_s = l->former_per_s > l->rate_per_s ? l->former_per_s : l->rate_per_s;

	l->allowed += (double)per_s * (double)(sim->now_ns - l->allowed_at_ns) / 1e9;
	l->allowed_at_ns = sim->now_ns;
}

void ledger_limits(struct sim *sim, uint64_t rate_per_s, uint64_t burst)
{
	struct ledger *l = &sim->ledger;

	accrue(sim);
	if (burst > l->burst)
		l->allowed += (double)(burst - l->burst);
	l->burst = burst;
	l->former_per_s = l->rate_per_s;
	l->rate_per_s = rate_per_s;
}

void ledger_limits_in_force(struct sim *sim)
{
	struct ledger *l = &sim->ledger;

	accrue(sim);
	l->allowed += (double)l->former_per_s / 1e3; /* a table sees the change to the ms */
	l->former_per_s = 0;
}

static void check_limit(struct sim *sim, struct request *r)
{
	struct ledger *l = &sim->ledger;

	accrue(sim);
	if (++l->limit[r->key].passed > (uint64_t)(l->allowed + 1e-6))
		sim_fail("%llu calls with key %u have passed, %.1f could",
			 (unsigned long long)l->limit[r->key].passed, r->key, l->allowed);
}

static bool is_repeatable(const struct request *r)
{
	return strcmp(r->method, "POST") != 0;
}

void ledger_arrival(struct sim *sim, struct request *r)
{
	if (r->malformed)
		sim_fail("request %u is malformed and reached an upstream", r->id);
	if (r->unreachable)
		sim_fail("request %u stands behind a broken body and reached an upstream", r->id);
	if (r->place == PLACE_NOWHERE)
		sim_fail("request %u has no route and reached an upstream", r->id);
	if (r->place == PLACE_SMALL && !r->chunked && r->body_n > 1024)
		sim_fail("request %u is too large and reached an upstream", r->id);
	if (r->refused)
		sim_fail("request %u was refused and reached an upstream", r->id);
	r->arrivals++;
	if (r->arrivals > (is_repeatable(r) ? TRIES_MAX : 1))
		sim_fail("request %u (%s) reached upstreams %u times", r->id, r->method,
			 r->arrivals);
	if (r->arrivals == 1 && r->place == PLACE_LIMITED)
		check_limit(sim, r);
}

bool ledger_is_own_status(unsigned status)
{
	for (unsigned i = 0; i < REASON_COUNT; i++)
		if ((reason_table[i].flags & R_LOCAL) && reason_table[i].status == status)
			return true;
	return false;
}
