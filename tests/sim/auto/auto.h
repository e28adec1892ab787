/* auto.h - `concurrency: auto` between callers and an upstream with a capacity, under virtual time.
 *
 * Whole workers: real loops, codecs, exchanges, pools and the real filter.  Callers come at random
 * (Poisson), as many a second as the scenario says, and do not wait for each other; the upstream
 * serves so many calls at once, and lets the others wait in line, without end.
 *
 * Files: main.c (scenarios, what must hold), traffic.c (callers and the upstream), house.c (the
 * workers, the clock, the turning). */
#ifndef SIM_AUTO_H
#define SIM_AUTO_H

#include "base/clock.h"
#include "base/list.h"
#include "base/stat.h"
#include "core/worker.h"
#include "dice.h"

enum { AUTO_WORKERS = 2 };

enum noise {
	NOISE_NONE,
	NOISE_LOG_NORMAL, /* sigma 0.5: one in a hundred takes three times as long */
	NOISE_OUTLIERS,   /* one in twenty takes ten times as long */
};

/* What has been seen since the last time it was zeroed. */
struct seen {
	uint64_t good, refused;
	double possible; /* of what was offered, what the upstream could have served */
	struct stat_hist latency;
	uint64_t limit_sum, limit_n;
	unsigned limit_least, limit_most;
};

struct house {
	uint64_t now_ns;
	struct dice dice;
	/* the proxy */
	struct worker *worker[AUTO_WORKERS];
	struct shared shared;
	struct registries registries;
	struct mailbox control;
	struct log_conf log_conf;
	struct listen_slot slot;
	struct worker_listener *wl[AUTO_WORKERS];
	struct policy *policy;
	struct list pairs;
	/* the callers */
	double offered_per_s;
	uint64_t next_call_ns;
	struct list idle; /* connections */
	unsigned connections;
	/* the upstream */
	unsigned capacity, busy;
	double service_ns; /* the mean */
	enum noise noise;
	struct list serving, waiting;
	struct seen seen;
};

/* house.c */
void house_open(struct house *, uint64_t seed, unsigned max_limit);
void house_close(struct house *);
/* Until this time. */
void house_run(struct house *, uint64_t until_ns);
unsigned house_limit(const struct house *);

/* traffic.c */
struct transport *upstream_connect(struct loop *, const struct addr *);
struct house *house_of(const struct loop *);
/* When the next thing happens outside; what is due by now. */
uint64_t traffic_next(const struct house *);
void traffic_run(struct house *);
void traffic_close(struct house *); /* the callers hang up */

#endif
