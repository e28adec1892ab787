/* gradient.c - the rule is at the top of gradient.h. */
#include "filters/gradient.h"

#define START_LIMIT        20.0
#define TOLERANCE          1.5
#define SMOOTHING          0.2
#define LEAST_GRADIENT     0.5
#define LEAST_CLIP_NS      1e6
#define WINDOW_NS          UINT64_C(200000000)
#define SECOND_NS          1e9
#define LONG_WEIGHT        (2.0 / 601) /* of a quiet window of a second or more */
#define RECOVERY           0.95
#define LOOK_SHARE         0.75
#define LOOK_AFTER         2.0  /* unloaded latencies: by then most calls from before it are gone */
#define LOOK_WEIGHT        10.0 /* calls: a look at so many counts for half */
#define LOOK_MOST          10.0 /* unloaded latencies, and LOOK_MOST_NS: then it is given up */
#define LOOK_MOST_NS       5e8
#define LOOK_EVERY         50.0 /* unloaded latencies, between these two */
#define LOOK_EVERY_NS      5e9
#define LOOK_EVERY_MOST_NS 600e9

enum {
	WINDOW_SAMPLES = 10,
	LEAST_HEADROOM = 4,
	WARM_UP = 10,     /* windows whose plain mean is the first unloaded latency */
	LOOK_WINDOWS = 5, /* in a row that hold calls back: then a look */
	IN_VAIN_MOST = 16,
};

static double clamp(double v, double low, double high)
{
	return v < low ? low : v > high ? high : v;
}

/* The square root, in whole steps. */
static double headroom(double limit)
{
	double n = LEAST_HEADROOM;

	while ((n + 1) * (n + 1) <= limit)
		n++;
	return n;
}

static void learn(struct gradient *g, double latency_ns, double weight)
{
	g->unloaded_ns += (latency_ns - g->unloaded_ns) * weight;
}

/* What is served at once, by Little's law: calls under way that do not wait. */
static void look_begin(struct gradient *g, const struct gradient_rule *r, uint64_t now_ns,
		       double latency_ns)
{
	double served = g->limit * g->unloaded_ns / latency_ns;

	g->look_limit = clamp(served * LOOK_SHARE, r->min, r->max);
	g->look_ns = now_ns + (uint64_t)(LOOK_AFTER * g->unloaded_ns);
}

static uint64_t look_pause_ns(const struct gradient *g)
{
	double pause_ns = clamp(LOOK_EVERY * g->unloaded_ns, LOOK_EVERY_NS, LOOK_EVERY_MOST_NS);

	for (uint32_t i = 0; i < g->in_vain; i++)
		pause_ns = clamp(2 * pause_ns, 0, LOOK_EVERY_MOST_NS);
	return (uint64_t)pause_ns;
}

/* Where answers are long streams, calls from before it keep the places for as long as they last. */
void gradient_pass_time(struct gradient *g, uint64_t now_ns)
{
	double most_ns = LOOK_MOST * g->unloaded_ns + LOOK_MOST_NS;

	if (g->look_limit == 0 || now_ns < g->look_ns + (uint64_t)most_ns)
		return;
	g->look_limit = 0;
	g->held_back = 0;
	g->look_ns = now_ns + look_pause_ns(g);
	g->in_vain += g->in_vain < IN_VAIN_MOST;
	g->samples = g->most_in_use = 0;
	g->sum_ns = 0;
}

/* Confirmed: the next one can wait. */
static void look_end(struct gradient *g, uint64_t now_ns, double latency_ns)
{
	bool confirmed = latency_ns <= TOLERANCE * g->unloaded_ns;

	learn(g, latency_ns, g->samples / (g->samples + LOOK_WEIGHT));
	g->look_limit = 0;
	g->held_back = 0;
	g->in_vain = 0;
	g->look_ns = confirmed ? now_ns + look_pause_ns(g) : now_ns;
}

static void learn_usual(struct gradient *g, double latency_ns, double window_ns, bool quiet)
{
	if (g->windows < WARM_UP)
		learn(g, latency_ns, 1.0 / ++g->windows);
	else if (quiet)
		learn(g, latency_ns, clamp(window_ns / SECOND_NS, 0, 1) * LONG_WEIGHT);
	/* after long trouble the better times are not to be waited for */
	if (g->unloaded_ns > 2 * latency_ns)
		g->unloaded_ns *= RECOVERY;
}

static void move(struct gradient *g, const struct gradient_rule *r, double latency_ns)
{
	double slope = latency_ns > 0 ? TOLERANCE * g->unloaded_ns / latency_ns : 1;

	bool held_back = slope < 1 && g->most_in_use >= (uint32_t)g->limit;

	g->held_back = held_back ? g->held_back + 1 : 0;
	slope = clamp(slope, LEAST_GRADIENT, 1);
	g->limit += (g->limit * slope + headroom(g->limit) - g->limit) * SMOOTHING;
	g->limit = clamp(g->limit, r->min, r->max);
}

static void judge(struct gradient *g, const struct gradient_rule *r, uint64_t now_ns)
{
	double latency_ns = (double)g->sum_ns / g->samples;
	bool quiet = g->most_in_use * 2.0 < g->limit;

	if (g->look_limit > 0) {
		look_end(g, now_ns, latency_ns);
		return;
	}
	learn_usual(g, latency_ns, (double)(now_ns - g->since_ns), quiet);
	if (quiet)
		g->held_back = 0;
	else
		move(g, r, latency_ns);
	if (g->held_back >= LOOK_WINDOWS && now_ns >= g->look_ns)
		look_begin(g, r, now_ns, latency_ns);
}

/* What is longer than that lowers the limit no further, and need not be waited for in a look. */
static uint64_t clip(const struct gradient *g, uint64_t latency_ns)
{
	double most_ns = g->unloaded_ns * TOLERANCE / LEAST_GRADIENT;

	most_ns = most_ns > LEAST_CLIP_NS ? most_ns : LEAST_CLIP_NS;
	return g->windows < WARM_UP || (double)latency_ns < most_ns ? latency_ns
								    : (uint64_t)most_ns;
}

uint32_t gradient_limit(struct gradient *g, const struct gradient_rule *r)
{
	g->limit = clamp(g->limit == 0 ? START_LIMIT : g->limit, r->min, r->max);
	return (uint32_t)(g->look_limit > 0 ? clamp(g->look_limit, r->min, r->max) : g->limit);
}

bool gradient_sample(struct gradient *g, const struct gradient_rule *r, uint64_t now_ns,
		     uint64_t latency_ns, uint32_t in_use)
{
	uint32_t limit;

	gradient_pass_time(g, now_ns);
	limit = gradient_limit(g, r);
	if (g->look_limit > 0 && (now_ns < g->look_ns || in_use > limit))
		return false;
	if (g->samples == 0)
		g->since_ns = now_ns;
	g->samples++;
	g->sum_ns += clip(g, latency_ns);
	g->most_in_use = in_use > g->most_in_use ? in_use : g->most_in_use;
	/* workers' clocks may differ by a turn */
	if (g->samples < WINDOW_SAMPLES || now_ns < g->since_ns + WINDOW_NS)
		return false;
	judge(g, r, now_ns);
	g->samples = g->most_in_use = 0;
	g->sum_ns = 0;
	return true;
}
