/* main.c - what callers and upstream do, and what must hold of it:
 *
 *     sim_auto [--seed N] [--trace] [SCENARIO]
 *
 * A scenario is a table of phases.  The first seconds of each are for the limit to find its place;
 * the rest is judged.  A phase that does not keep its bounds ends the program with status 1. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "auto.h"
#include "sim.h"

struct phase {
	const char *what;
	unsigned settle_s, judge_s;
	unsigned capacity;
	unsigned service_ms;
	double from_per_s, to_per_s; /* offered; the latter 0: the same throughout */
	/* What must hold.  Limits in parts of the capacity, which is the best limit by Little's
	 * law; 0: any. */
	double limit_least, limit_most;
	double latency_most; /* the mean, in parts of the service time */
	double good_least;   /* of what could have been served */
	bool all;            /* nothing is refused */
};

struct scenario {
	const char *name;
	enum noise noise;
	const struct phase *phase;
	unsigned n;
};

static const struct phase step[] = {
	{ "1.5 times what it can", 15, 45, 40, 100, 600, .limit_least = 1.2, .limit_most = 2,
	  .latency_most = 2.2, .good_least = 0.95 },
	{ "half the machines", 10, 50, 20, 100, 600, .limit_least = 1.2, .limit_most = 2,
	  .latency_most = 2.2, .good_least = 0.95 },
	{ "all of them again", 15, 45, 40, 100, 600, .limit_least = 1.2, .limit_most = 2,
	  .latency_most = 2.2, .good_least = 0.95 },
	{ "half the pace", 20, 40, 40, 200, 600, .limit_least = 1.2, .limit_most = 2,
	  .latency_most = 2.2, .good_least = 0.95 },
	{ "the old pace", 20, 40, 40, 100, 600, .limit_least = 1.2, .limit_most = 2,
	  .latency_most = 2.2, .good_least = 0.95 },
};

static const struct phase slower[] = {
	{ "a quarter of what it can", 15, 45, 40, 100, 100, .latency_most = 1.1, .all = true },
	{ "a third of the pace, room for all", 20, 100, 40, 300, 100, .latency_most = 1.3,
	  .all = true },
	{ "the old pace", 5, 55, 40, 100, 100, .latency_most = 1.1, .all = true },
};

static const struct phase ramp[] = {
	{ "a fifth", 5, 10, 40, 100, 80, .latency_most = 1.1, .all = true },
	{ "up to what it can", 0, 60, 40, 100, 80, 340, .latency_most = 1.3, .all = true },
	{ "beyond", 0, 100, 40, 100, 340, 1200, .latency_most = 2.2, .good_least = 0.95 },
	{ "three times", 0, 20, 40, 100, 1200, .limit_least = 1.2, .limit_most = 2,
	  .latency_most = 2.2, .good_least = 0.95 },
	{ "down to what it can", 0, 100, 40, 100, 1200, 340, .latency_most = 2.2,
	  .good_least = 0.95 },
	{ "down to a fifth", 5, 60, 40, 100, 340, 80, .latency_most = 1.3, .all = true },
};

static const struct phase noisy[] = {
	{ "a fifth", 5, 10, 40, 100, 80, .all = true },
	{ "three quarters", 15, 105, 40, 100, 300, .latency_most = 1.4, .all = true },
	{ "1.5 times what it can", 20, 100, 40, 100, 600, .limit_least = 1.3, .limit_most = 2.2,
	  .latency_most = 2.4, .good_least = 0.95 },
	{ "three quarters", 10, 50, 40, 100, 300, .latency_most = 1.4, .all = true },
};

static const struct phase overload[] = {
	{ "twice what it can", 60, 60, 20, 200, 200, .limit_least = 1.2, .limit_most = 2.1,
	  .latency_most = 2.2, .good_least = 0.95 },
	{ "still", 180, 60, 20, 200, 200, .limit_least = 1.2, .limit_most = 2.1,
	  .latency_most = 2.2, .good_least = 0.95 },
	{ "still", 900, 60, 20, 200, 200, .limit_least = 1.2, .limit_most = 2.1,
	  .latency_most = 2.2, .good_least = 0.95 },
};

/* Of an answer that takes two seconds to begin. */
static const struct phase slow[] = {
	{ "1.5 times what it can", 120, 240, 40, 2000, 30, .limit_least = 1, .limit_most = 2,
	  .latency_most = 2.2, .good_least = 0.9 },
	{ "half the machines", 60, 240, 20, 2000, 30, .limit_least = 1, .limit_most = 2,
	  .latency_most = 2.2, .good_least = 0.9 },
	{ "all of them, and less than they can", 60, 240, 40, 2000, 15, .latency_most = 1.3,
	  .all = true },
};

#define PHASES(table) table, sizeof(table) / sizeof((table)[0])
static const struct scenario scenarios[] = {
	{ "step", NOISE_NONE, PHASES(step) },          { "slower", NOISE_NONE, PHASES(slower) },
	{ "ramp", NOISE_NONE, PHASES(ramp) },          { "noisy", NOISE_LOG_NORMAL, PHASES(noisy) },
	{ "outliers", NOISE_OUTLIERS, PHASES(noisy) }, { "slow", NOISE_LOG_NORMAL, PHASES(slow) },
	{ "overload", NOISE_NONE, PHASES(overload) },
};

/*---------------------------------------------------------------- what came of it */

struct figures {
	double limit, latency, p99, good; /* in the terms of struct phase */
};

static struct figures figures_of(const struct house *h, const struct phase *p)
{
	const struct seen *s = &h->seen;
	struct stat_sum sum = { 0 };
	double service_ns = p->service_ms * 1e6;

	stat_sum_add(&sum, &s->latency);
	return (struct figures){
		.limit = (double)s->limit_sum / (double)s->limit_n / p->capacity,
		.latency = (double)sum.sum_ns / (double)sum.n / service_ns,
		.p99 = (double)stat_sum_quantile(&sum, 990000) / service_ns,
		.good = (double)s->good / s->possible,
	};
}

static void print_head(void)
{
	printf("%-9s %-36s %8s %6s | %8s | %8s %11s %8s %8s %9s %9s\n", "", "", "", "", "settling",
	       "", "", "", "", "mean", "p99");
	printf("%-9s %-36s %8s %6s | %8s | %8s %11s %8s %8s %9s %9s\n", "scenario", "phase",
	       "capacity", "load", "refused", "limit", "from-to", "goodput", "refused", "latency",
	       "latency");
}

static void print_phase(const struct house *h, const struct scenario *sc, const struct phase *p,
			uint64_t settling)
{
	const struct seen *s = &h->seen;
	struct figures f = figures_of(h, p);
	double most_per_s = p->capacity * 1e3 / p->service_ms;

	printf("%-9s %-36s %8u %5.2fx | %8llu | %8.1f %5u-%-5u %7.1f%% %8llu %8.2fx %8.2fx\n",
	       sc->name, p->what, p->capacity, h->offered_per_s / most_per_s,
	       (unsigned long long)settling, f.limit * p->capacity, s->limit_least, s->limit_most,
	       f.good * 100, (unsigned long long)s->refused, f.latency, f.p99);
}

static void judge(const struct house *h, const struct phase *p)
{
	struct figures f = figures_of(h, p);

	if (p->limit_most > 0 && (f.limit < p->limit_least || f.limit > p->limit_most))
		sim_fail("%s: a limit of %.2f times the capacity", p->what, f.limit);
	if (f.latency > p->latency_most && p->latency_most > 0)
		sim_fail("%s: calls take %.2f times as long as alone", p->what, f.latency);
	if (f.good < p->good_least)
		sim_fail("%s: %.3f of what could be served", p->what, f.good);
	if (p->all && h->seen.refused > 0)
		sim_fail("%s: %llu calls are refused", p->what,
			 (unsigned long long)h->seen.refused);
}

/*---------------------------------------------------------------- a run */

/* The load goes evenly from the one to the other. */
static void run_load(struct house *h, const struct phase *p, unsigned seconds)
{
	double to = p->to_per_s > 0 ? p->to_per_s : p->from_per_s;

	for (unsigned i = 0; i < seconds; i++) {
		h->offered_per_s = p->from_per_s + (to - p->from_per_s) * (i + 1) / seconds;
		house_run(h, h->now_ns + CLOCK_S);
	}
}

static void run_phase(struct house *h, const struct scenario *sc, const struct phase *p, bool trace)
{
	uint64_t settling;

	h->capacity = p->capacity;
	h->service_ns = p->service_ms * 1e6;
	h->offered_per_s = p->from_per_s;
	h->seen = (struct seen){ 0 };
	house_run(h, h->now_ns + p->settle_s * CLOCK_S);
	settling = h->seen.refused;
	h->seen = (struct seen){ 0 };
	run_load(h, p, p->judge_s);
	if (trace)
		print_phase(h, sc, p, settling);
	judge(h, p);
}

static void run_scenario(const struct scenario *sc, uint64_t seed, bool trace)
{
	static struct house h;

	house_open(&h, seed, 1000);
	h.noise = sc->noise;
	for (unsigned i = 0; i < sc->n; i++)
		run_phase(&h, sc, &sc->phase[i], trace);
	house_close(&h);
}

static bool run_scenarios(const char *name, uint64_t seed, bool trace)
{
	bool any = false;

	for (unsigned i = 0; i < sizeof(scenarios) / sizeof(scenarios[0]); i++) {
		if (name != NULL && strcmp(name, scenarios[i].name) != 0)
			continue;
		run_scenario(&scenarios[i], seed, trace);
		any = true;
	}
	return any;
}

int main(int argc, char **argv)
{
	const char *name = NULL;
	uint64_t seed = 1;
	bool trace = false;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--trace") == 0)
			trace = true;
		else if (strcmp(argv[i], "--seed") == 0 && i + 1 < argc)
			seed = strtoull(argv[++i], NULL, 10);
		else
			name = argv[i];
	}
	if (trace)
		print_head();
	if (run_scenarios(name, seed, trace))
		return 0;
	fprintf(stderr, "usage: sim_auto [--seed N] [--trace] [SCENARIO]\n");
	return 2;
}
