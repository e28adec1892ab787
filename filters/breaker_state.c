/* breaker_state.c - the state machine of breaker_state.h. */
#include "filters/breaker_state.h"

#include <string.h>

#include "base/check.h"

__extension__ typedef unsigned __int128 wide;

enum { ROW_MAX = 63 };

static uint64_t min_of(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t max_of(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

static uint64_t see(struct breaker_state *b, uint64_t now_ns)
{
	b->seen_ns = max_of(b->seen_ns, now_ns);
	return b->seen_ns;
}

/*------------------------------------------------------------------ window */

static bool looks_at_shares(const struct breaker_rule *r)
{
	return r->share_ppm != 0 || r->slow_ppm != 0;
}

static void window_clear(struct breaker_state *b)
{
	memset(b->slot, 0, sizeof(b->slot));
	b->sum = (struct breaker_slot){ 0 };
	b->slot_end_ns = 0;
	b->slot_now = 0;
}

static void window_drop(struct breaker_state *b, uint32_t i)
{
	struct breaker_slot *s = &b->slot[i];

	b->sum.calls -= s->calls;
	b->sum.failures -= s->failures;
	b->sum.slow -= s->slow;
	*s = (struct breaker_slot){ 0 };
}

/* Slots begin at whole multiples of their length. */
static void window_turn(struct breaker_state *b, uint64_t now_ns)
{
	uint64_t length, slots;

	if (now_ns < b->slot_end_ns)
		return;
	length = b->window_ns / BREAKER_SLOTS;
	slots = (now_ns - b->slot_end_ns) / length + 1;
	for (uint64_t i = min_of(slots, BREAKER_SLOTS); i > 0; i--) {
		b->slot_now = (b->slot_now + 1) % BREAKER_SLOTS;
		window_drop(b, b->slot_now);
	}
	b->slot_end_ns = now_ns - now_ns % length + length;
}

static void add(uint32_t *n, bool yes)
{
	*n += yes;
}

static void window_count(struct breaker_state *b, uint64_t now_ns, bool failed, bool slow)
{
	struct breaker_slot *s;

	window_turn(b, now_ns);
	if (b->sum.calls == UINT32_MAX)
		return;
	s = &b->slot[b->slot_now];
	add(&s->calls, true);
	add(&s->failures, failed);
	add(&s->slow, slow);
	add(&b->sum.calls, true);
	add(&b->sum.failures, failed);
	add(&b->sum.slow, slow);
}

struct breaker_slot breaker_window(const struct breaker_state *b, uint64_t now_ns)
{
	struct breaker_state then = *b;

	if (then.window_ns >= BREAKER_SLOTS)
		window_turn(&then, max_of(then.seen_ns, now_ns));
	return then.sum;
}

/*------------------------------------------------------------------ states */

void breaker_state_init(struct breaker_state *b)
{
	memset(b, 0, sizeof(*b));
	b->generation = 1;
}

static bool change_to(struct breaker_state *b, enum breaker_mode to, enum breaker_cause cause,
		      uint64_t until_ns, struct breaker_change *change)
{
	*change = (struct breaker_change){
		.from = b->mode,
		.to = to,
		.cause = cause,
		.for_ns = until_ns > b->seen_ns ? until_ns - b->seen_ns : 0,
		.calls = b->sum.calls,
		.failures = cause == BREAKER_BY_ROW ? b->consecutive : b->sum.failures,
		.slow = b->sum.slow,
	};
	b->mode = to;
	b->changed_ns = b->seen_ns;
	b->generation++;
	b->until_ns = until_ns;
	b->consecutive = b->probes_out = b->probes_well = 0;
	window_clear(b);
	if (to == BREAKER_CLOSED)
		b->closed_ns = b->seen_ns;
	return true;
}

/* A fifth shorter to a fifth longer. */
static uint64_t jittered(uint64_t ns, uint32_t chance)
{
	return ns - ns / 5 + (uint64_t)((wide)(ns / 5 * 2) * chance >> 32);
}

static bool open_now(struct breaker_state *b, const struct breaker_rule *r,
		     enum breaker_cause cause, const struct breaker_report *report,
		     struct breaker_change *change)
{
	bool again = b->mode == BREAKER_HALF_OPEN || b->seen_ns - b->closed_ns < b->opened_for_ns;
	uint64_t length = r->open_for_ns;

	b->row = again && b->opened_for_ns != 0 ? b->row + (b->row < ROW_MAX) : 0;
	for (uint32_t i = 0; i < b->row && length < r->max_open_ns; i++)
		length *= 2;
	length = jittered(min_of(length, r->max_open_ns), report->chance);
	b->opened_for_ns = length;
	length = max_of(length, min_of(report->retry_after_ns, r->max_open_ns));
	return change_to(b, BREAKER_OPEN, cause, b->seen_ns + length, change);
}

bool breaker_pass_time(struct breaker_state *b, uint64_t now_ns, struct breaker_change *change)
{
	now_ns = see(b, now_ns);
	if (b->until_ns == 0 || now_ns < b->until_ns)
		return false;
	if (b->mode == BREAKER_OPEN)
		return change_to(b, BREAKER_HALF_OPEN, BREAKER_BY_TIME, 0, change);
	return change_to(b, b->mode == BREAKER_FORCED_OPEN ? BREAKER_HALF_OPEN : BREAKER_CLOSED,
			 BREAKER_BY_ORDERS_END, 0, change);
}

static bool close_if_well(struct breaker_state *b, const struct breaker_rule *r,
			  struct breaker_change *change)
{
	return b->mode == BREAKER_HALF_OPEN && b->probes_well >= r->probes &&
	       change_to(b, BREAKER_CLOSED, BREAKER_BY_PROBES, 0, change);
}

bool breaker_adopt(struct breaker_state *b, const struct breaker_rule *r, uint64_t now_ns,
		   struct breaker_change *change)
{
	see(b, now_ns);
	if (b->window_ns != r->window_ns || !looks_at_shares(r))
		window_clear(b);
	b->window_ns = r->window_ns;
	return close_if_well(b, r, change);
}

bool breaker_force(struct breaker_state *b, uint64_t now_ns, enum breaker_mode mode,
		   uint64_t until_ns, struct breaker_change *change)
{
	see(b, now_ns);
	if (mode == BREAKER_CLOSED) {
		if (!breaker_is_forced(b))
			return false;
		mode = b->mode == BREAKER_FORCED_OPEN ? BREAKER_HALF_OPEN : BREAKER_CLOSED;
		until_ns = 0;
	}
	b->opened_for_ns = 0;
	b->row = 0;
	return change_to(b, mode, BREAKER_BY_ORDER, until_ns, change);
}

/*------------------------------------------------------------------- calls */

static bool has_place(const struct breaker_state *b, const struct breaker_rule *r)
{
	return b->probes_out + b->probes_well < r->probes;
}

uint64_t breaker_shut(const struct breaker_state *b, const struct breaker_rule *r, uint64_t now_ns)
{
	now_ns = max_of(b->seen_ns, now_ns);
	switch (b->mode) {
	case BREAKER_OPEN:
		return b->until_ns > now_ns ? b->until_ns - now_ns : 0;
	case BREAKER_FORCED_OPEN:
		if (b->until_ns == 0) /* until somebody says so: look again now and then */
			return r->open_for_ns;
		return b->until_ns > now_ns ? b->until_ns - now_ns : 0;
	case BREAKER_HALF_OPEN:
		return has_place(b, r) ? 0 : BREAKER_PROBE_WAIT_NS;
	default:
		return 0;
	}
}

uint64_t breaker_take(struct breaker_state *b, const struct breaker_rule *r, uint64_t now_ns,
		      struct breaker_ticket *ticket)
{
	uint64_t wait_ns = breaker_shut(b, r, see(b, now_ns));
	bool probe = b->mode == BREAKER_HALF_OPEN;

	if (wait_ns > 0)
		return wait_ns;
	b->probes_out += probe;
	*ticket = (struct breaker_ticket){ .generation = b->generation,
					   .kind = probe ? BREAKER_PROBE : BREAKER_CALL };
	return 0;
}

static bool reaches(uint32_t n, uint32_t of, uint32_t ppm)
{
	return ppm != 0 && (uint64_t)n * BREAKER_PPM >= (uint64_t)of * ppm;
}

static bool report_closed(struct breaker_state *b, const struct breaker_rule *r,
			  const struct breaker_report *report, struct breaker_change *change)
{
	bool failed = report->result == BREAKER_FAILURE;

	if (report->result == BREAKER_NEITHER)
		return false;
	b->consecutive = failed ? b->consecutive + (b->consecutive < UINT32_MAX) : 0;
	if (looks_at_shares(r))
		window_count(b, b->seen_ns, failed, report->slow);
	if (failed && r->consecutive != 0 && b->consecutive >= r->consecutive)
		return open_now(b, r, BREAKER_BY_ROW, report, change);
	if (b->sum.calls < r->min_requests)
		return false;
	if (reaches(b->sum.failures, b->sum.calls, r->share_ppm))
		return open_now(b, r, BREAKER_BY_SHARE, report, change);
	if (reaches(b->sum.slow, b->sum.calls, r->slow_ppm))
		return open_now(b, r, BREAKER_BY_SLOW, report, change);
	return false;
}

static bool report_probe(struct breaker_state *b, const struct breaker_rule *r,
			 enum breaker_kind kind, const struct breaker_report *report,
			 struct breaker_change *change)
{
	bool out = kind == BREAKER_PROBE;

	CHECK(!out || b->probes_out > 0);
	b->probes_out -= out;
	if (report->result == BREAKER_NEITHER)
		return false;
	if (report->result == BREAKER_FAILURE || report->slow)
		return open_now(b, r, BREAKER_BY_PROBE, report, change);
	b->probes_well += out;
	return close_if_well(b, r, change);
}

static void lengthen(struct breaker_state *b, const struct breaker_rule *r,
		     const struct breaker_report *report)
{
	uint64_t asked_ns = min_of(report->retry_after_ns, r->max_open_ns);

	if (report->result == BREAKER_FAILURE)
		b->until_ns = max_of(b->until_ns, b->seen_ns + asked_ns);
}

bool breaker_report(struct breaker_state *b, const struct breaker_rule *r, uint64_t now_ns,
		    struct breaker_ticket t, const struct breaker_report *report,
		    struct breaker_change *change)
{
	see(b, now_ns);
	if (b->mode == BREAKER_OPEN)
		lengthen(b, r, report);
	if (t.generation != b->generation)
		return false;
	if (b->mode == BREAKER_CLOSED)
		return report_closed(b, r, report, change);
	if (b->mode == BREAKER_HALF_OPEN)
		return report_probe(b, r, t.kind, report, change);
	return false;
}

bool breaker_answered(struct breaker_state *b, const struct breaker_rule *r, uint64_t now_ns,
		      struct breaker_ticket *t, struct breaker_change *change)
{
	see(b, now_ns);
	if (t->generation != b->generation || t->kind != BREAKER_PROBE)
		return false;
	CHECK(b->mode == BREAKER_HALF_OPEN && b->probes_out > 0);
	b->probes_out--;
	b->probes_well++;
	t->kind = BREAKER_PROBE_ANSWERED;
	if (!close_if_well(b, r, change))
		return false;
	/* its end is the first that counts */
	*t = (struct breaker_ticket){ .generation = b->generation, .kind = BREAKER_CALL };
	return true;
}
