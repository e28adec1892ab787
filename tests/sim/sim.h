/* sim.h - whole workers under virtual time, with everything around them made up from one seed.
 *
 * Laws of a run
 *  Z1  Everything comes from the seed: the same seed, the same run.
 *  Z2  Time moves when nothing is left to do now, and a little at each reading of the clock.
 *  Z3  What happens next is drawn from all that could happen now.
 *  Z4  Workers are entered as the loop enters them: ready transports, timers, messages.
 *
 * Files: sim.c (the turning), wire.c and wire2.c (independent readers of HTTP/1 and HTTP/2), ledger.c
 * and hear.c (who asked and answered what, and what must hold), client.c, request.c, server.c and
 * client2.c, server2.c (the actors), control.c (policies, reloads, drain), fault.c (clocks and
 * memory), main.c. */
#ifndef SIM_H
#define SIM_H

#include "base/buf.h"
#include "base/clock.h"
#include "base/list.h"
#include "core/worker.h"
#include "crowd.h"
#include "dice.h"
#include "io/pair.h"
#include "ledger.h"
#include "limits.h"

enum { SIM_WORKERS = 2, SIM_SLOTS = 2, SIM_SITES = 5 };

/* Which HTTP somebody speaks in a run. */
enum speech { SPEAKS_1, SPEAKS_2, SPEAKS_BOTH, SPEECHES };

/* What the command line settles; SPEECHES: the seed does. */
struct sim_wish {
	enum speech client, upstream;
	bool trace;
};

/* How bad it is out there: chances per mille, all zero in calm runs. */
struct weather {
	bool calm;
	unsigned client_fault, malformed;    /* per connection, per request */
	unsigned connect_fault, serve_fault; /* per connection, per answer */
	unsigned slow;                       /* per actor */
	unsigned flaps;                      /* per upstream: goes up and down */
	unsigned no_memory;                  /* per allocation */
	bool flood;                          /* many calls to what is limited */
	bool jumps, drain_early, stops;      /* the last: with calls under way */
};

/* Something outside a worker that holds one end of a pair. */
struct actor {
	struct list link;
	struct sim *sim;
	struct pair *pair;
	struct transport *transport; /* NULL: given up */
	unsigned number;
	uint64_t wake_ns; /* rests until then, whatever comes */
	uint64_t at_ns;   /* on_time is due; 0: never */
	void (*on_time)(struct actor *);
	/* Calls with it that hold a slot, and that Weir waits for; NULL: has none ever. */
	unsigned (*held)(const struct actor *);
};

/* An upstream address and what listens there. */
struct site {
	struct addr addr;
	char text[32];
	unsigned connections;
	uint64_t ill_ns;     /* checks find it well for as long, then ill; 0: always well */
	uint64_t checked_ns; /* the last check began; 0: the next may come at once */
	uint64_t flap_ns;    /* it is up for as long, then down; 0: always up */
};

struct sim {
	uint64_t seed;
	bool trace;
	struct dice dice, speech_dice; /* the second: so that runs of HTTP/1 are what they were */
	enum speech client_speech, upstream_speech;
	struct weather weather;
	uint64_t now_ns;
	int64_t wall_jump_ns;
	uint64_t steps, same_time_steps;

	struct worker *worker[SIM_WORKERS];
	unsigned workers;
	struct shared shared;
	struct registries registries;
	struct mailbox control;
	struct log_conf log_conf;
	struct listen_slot slot[SIM_SLOTS];
	struct worker_listener *wl[SIM_SLOTS][SIM_WORKERS];
	struct policy *policy;
	bool holds;          /* turns are of several entries, and have an end */
	struct loop checks;  /* of the checker */
	bool checks_ordered; /* it has orders that it has not yet obeyed */
	uint64_t generations, opened_until_drain;
	unsigned reloads, reloads_failed;
	unsigned commits_open; /* orders that a worker has not yet followed */
	bool drained;

	struct list pairs, actors;
	unsigned actor_numbers;
	unsigned clients, clients_left; /* under way; still to come */
	uint64_t next_client_ns, next_reload_ns, next_jump_ns, drain_ns, cut_ns, stop_ns;
	struct site site[SIM_SITES];
	struct ledger ledger;
	struct limits limits;
	struct crowd crowd;
};

/* Ends the program: the seed, why, and how to run it again. */
_Noreturn void sim_fail(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* main.c: which seed it was; async-signal-safe. */
void sim_tell(void);
void sim_trace(struct sim *, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* A worker has put off what it writes, to the end of its turn. */
bool sim_is_holding(const struct sim *);
/* Zeroed; never fails. */
void *sim_alloc(size_t);

/* sim.c */
void sim_run(struct sim *, uint64_t seed, const struct sim_wish *);
/* Whether the next one speaks HTTP/2. */
bool sim_draw_2(struct sim *, enum speech);
void actor_init(struct actor *, struct sim *, struct pair *, void (*step)(void *, unsigned),
		void (*on_time)(struct actor *));
/* Another actor takes the end over. */
void actor_replace(struct actor *, struct actor *former, void (*step)(void *, unsigned),
		   void (*on_time)(struct actor *));
/* Gives the end up; the memory stays the actor's. */
void actor_close(struct actor *, bool reset);
void actor_want(struct actor *, bool read, bool write);
/* What a read brought: bytes, 0, or a transport_result. */
ssize_t actor_recv(struct actor *, char *p, size_t n);
/* Sends from *at to `to` at most, and by chance no more than `most` (0: no bound); moves *at.
 * False: the other side is gone. */
bool actor_send(struct actor *, const struct buf *, size_t *at, size_t to, size_t most);

/* client.c */
void client_start(struct sim *);
void client_set_knobs(struct sim *, struct pair *);
void client_accept(struct sim *, struct worker_listener *, struct pair *);
/* client2.c */
void client2_start(struct sim *, struct worker_listener *, struct pair *);
/* request.c: one request's text into *out; returns where its head ends in it.  A request that says
 * `last` is the last of its connection. */
struct request *request_make(struct sim *, unsigned client, bool last, struct buf *out,
			     size_t *head_end);
/* One request of HTTP/2: its head into the fields; `end`: no body follows. */
struct fields;
struct request *request_make2(struct sim *, unsigned client, struct fields *, bool *end);
/* server.c */
struct transport *server_connect(struct loop *, const struct addr *);
bool site_is_down(const struct sim *, const struct site *);
/* server2.c: goes on from where the former has met the preface, in bytes it has read. */
struct server_pace {
	size_t send_max, recv_max;
	uint64_t gap_ns;
};
void server2_start(struct actor *former, struct site *, const struct server_pace *, const char *,
		   size_t);
void sites_init(struct sim *);
/* checks.c */
void checks_put(struct sim *, struct buf *); /* the checks of one upstream */
void checks_start(struct sim *);
void checks_follow(struct sim *, struct cluster *const *, uint32_t n);
void checks_turn(struct sim *, bool ordered);
void checks_compare(struct sim *);
void checks_check_rest(struct sim *);
void checks_stop(struct sim *);
/* breakers.c: the shutdown begins; and all is at rest. */
void breakers_drained(struct sim *);
void breakers_check_rest(struct sim *);

enum { SIM_RETRY_PERCENT = 50 }; /* no budget is larger */
/* control.c */
void control_start(struct sim *);
void control_reload(struct sim *);
void control_order(struct sim *, enum order_kind);
void control_stop(struct sim *);
/* fault.c */
void fault_bind(struct sim *); /* whose clocks and memory these are; NULL: nobody's */
/* Allocations fail at random between the two, if this run has it so. */
void fault_arm(struct sim *);
void fault_disarm(void);
void *fault_calloc(size_t); /* never made to fail */

#endif
