/* breaker_state.h - a circuit breaker as arithmetic: events in, verdicts out.
 *
 * Pure: no clock, no memory, no I/O; time and chance stand in the arguments, and all of it is
 * whole ns.  Not shared: who shares one locks it (breaker.c).
 *
 *                      a limit of the rule is reached
 *        +--------+ ------------------------------------------> +------+
 *        | CLOSED |                                             | OPEN | <-- Retry-After: longer
 *        +--------+ <------------- `probes` are well            +------+
 *            ^                      |                             |  ^
 *            |                 +-----------+ <-- its time is over +  |
 *            |                 | HALF_OPEN |                         |
 *            |                 +-----------+ -- one of them is not --+
 *   over     |                       ^  over
 *   +---------------+          +-------------+
 *   | FORCED_CLOSED |          | FORCED_OPEN |          both: from any state, by order
 *   +---------------+          +-------------+
 *
 * Laws
 *
 *  K1  Every call that is let go has a ticket, and reports once; between two changes of state all
 * tickets are of one generation.  A report of an older generation changes nothing, but for K5.
 *
 *  K2  CLOSED counts reports in ten slots that make up the window: what is older than the window
 * never counts, what is younger than nine tenths of it always does.  Limits are looked at with each
 * report; a share is reached at its value.
 *
 *  K3  HALF_OPEN lets `probes` calls go and refuses the rest.  A probe that reports neither way
 * gives its place back.  A probe may be well as soon as its answer begins; when it breaks after
 * that, it still is one that is not.
 *
 *  K4  The open time is open_for, doubled for each opening in a row up to max_open, and only then
 * made longer or shorter by chance, at most a fifth.  Openings are in a row when a probe failed, or
 * when it was closed for less than it had been open: so an upstream that goes up and down is asked
 * less and less.
 *
 *  K5  While OPEN, and at its opening, a failure that says Retry-After moves the end to then, if
 * that is later; but no farther than max_open from now.
 *
 *  K6  Force ends the state it meets and all that was counted.  It ends by order or by time, and
 * after that the next calls are probes if it was open, counted if it was closed.
 *
 *  K7  Time never goes back: an event that comes with an earlier time than one before it happens at
 * the time of that. */
#ifndef FILTERS_BREAKER_STATE_H
#define FILTERS_BREAKER_STATE_H

#include <stdbool.h>
#include <stdint.h>

enum {
	BREAKER_SLOTS = 10,
	BREAKER_PPM = 1000000, /* a share of all */
};

/* Told of who is refused while probes are out: nobody knows how long they take. */
#define BREAKER_PROBE_WAIT_NS UINT64_C(1000000000)

enum breaker_mode {
	BREAKER_CLOSED,
	BREAKER_OPEN,
	BREAKER_HALF_OPEN,
	BREAKER_FORCED_OPEN,
	BREAKER_FORCED_CLOSED,
	BREAKER_MODES
};

struct breaker_rule {
	uint32_t consecutive;  /* failures in a row; 0: does not open by that */
	uint32_t share_ppm;    /* failures of the window's calls; 0: does not open by that */
	uint32_t slow_ppm;     /* the same of slow calls */
	uint32_t min_requests; /* in the window, for shares */
	uint32_t probes;       /* 1 or more */
	uint64_t window_ns;    /* BREAKER_SLOTS or more */
	uint64_t open_for_ns, max_open_ns; /* 1 or more, the second not less than the first */
};

/* Why it changed. */
enum breaker_cause {
	BREAKER_BY_ROW,        /* of failures */
	BREAKER_BY_SHARE,      /* of failures */
	BREAKER_BY_SLOW,       /* share of slow calls */
	BREAKER_BY_PROBE,      /* one failed, or was slow */
	BREAKER_BY_PROBES,     /* all of them were well */
	BREAKER_BY_TIME,       /* the open time is over */
	BREAKER_BY_ORDER,      /* of force, or the end of it */
	BREAKER_BY_ORDERS_END, /* its time is over */
	BREAKER_CAUSES
};

struct breaker_change {
	enum breaker_mode from, to;
	enum breaker_cause cause;
	uint64_t for_ns; /* how long it lasts at least; 0: nobody knows */
	uint32_t calls, failures,
	    slow; /* BY_ROW: failures in a row; BY_SHARE, BY_SLOW: the window */
};

struct breaker_slot {
	uint32_t calls, failures, slow;
};

struct breaker_state {
	enum breaker_mode mode;
	uint32_t generation;    /* changes with the mode */
	uint64_t seen_ns;       /* latest time of all events (K7) */
	uint64_t until_ns;      /* of OPEN; of forced modes, 0: until an order */
	uint64_t changed_ns;    /* when it became what it is; 0: it was never anything else */
	uint64_t closed_ns;     /* when it became CLOSED */
	uint64_t opened_for_ns; /* the last time, as K4 has it; 0: never, or long ago */
	uint32_t row;           /* openings, less one */
	uint32_t consecutive;   /* failures */
	uint32_t probes_out, probes_well;
	uint64_t window_ns; /* that the slots are made for */
	uint64_t slot_end_ns;
	uint32_t slot_now; /* index */
	struct breaker_slot slot[BREAKER_SLOTS], sum;
};

enum breaker_kind { BREAKER_CALL, BREAKER_PROBE, BREAKER_PROBE_ANSWERED };

struct breaker_ticket {
	uint32_t generation;
	enum breaker_kind kind;
};

enum breaker_result {
	BREAKER_NEITHER, /* says nothing of the upstream */
	BREAKER_SUCCESS,
	BREAKER_FAILURE
};

struct breaker_report {
	enum breaker_result result;
	bool slow;               /* a result that is not NEITHER, and took too long */
	uint64_t retry_after_ns; /* of a FAILURE; 0: it says nothing */
	uint32_t chance;         /* any number, of which the open time's jitter is made */
};

/* CLOSED, nothing counted. */
void breaker_state_init(struct breaker_state *);

/* What only time has changed; comes first, before each of the functions below, with the same time.
 * These return whether *change was filled in: at most one a call. */
bool breaker_pass_time(struct breaker_state *, uint64_t now_ns, struct breaker_change *change);
/* The rule has changed: the state stays, counts of another window go. */
bool breaker_adopt(struct breaker_state *, const struct breaker_rule *, uint64_t now_ns,
		   struct breaker_change *change);
bool breaker_report(struct breaker_state *, const struct breaker_rule *, uint64_t now_ns,
		    struct breaker_ticket, const struct breaker_report *,
		    struct breaker_change *change);
/* The answer of this call has begun, and there is nothing wrong with it. */
bool breaker_answered(struct breaker_state *, const struct breaker_rule *, uint64_t now_ns,
		      struct breaker_ticket *, struct breaker_change *change);
/* FORCED_OPEN or FORCED_CLOSED until then (0: until the next order); CLOSED: the end of both. */
bool breaker_force(struct breaker_state *, uint64_t now_ns, enum breaker_mode, uint64_t until_ns,
		   struct breaker_change *change);

/* 0: let go, with *ticket; else refused, ask again in that many ns. */
uint64_t breaker_take(struct breaker_state *, const struct breaker_rule *, uint64_t now_ns,
		      struct breaker_ticket *ticket);
/* What breaker_take would say, after time has passed. */
uint64_t breaker_shut(const struct breaker_state *, const struct breaker_rule *, uint64_t now_ns);

/* What counts of the window at that time. */
struct breaker_slot breaker_window(const struct breaker_state *, uint64_t now_ns);

static inline bool breaker_is_forced(const struct breaker_state *b)
{
	return b->mode == BREAKER_FORCED_OPEN || b->mode == BREAKER_FORCED_CLOSED;
}

#endif
