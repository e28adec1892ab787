/* gradient.c - the rule is at the top of gradient.h. */
#include "filters/gradient.h"

#define START_LIMIT    20.0
#define TOLERANCE      1.5
#define SMOOTHING      0.2
#define LEAST_GRADIENT 0.5
#define WINDOW_NS      UINT64_C(200000000)
#define SECOND_NS      1e9
#define LONG_WEIGHT    (2.0 / 601) /* in the usual latency, of a window of a second or more */
#define RECOVERY       0.95

enum {
	WINDOW_SAMPLES = 10,
	LEAST_HEADROOM = 4,
	WARM_UP = 10, /* windows whose plain mean is the first usual latency */
};

static double clamp(double v, double low, double high)
{
	return v < low ? low : v > high ? high : v;
}

static void learn(struct gradient *g, double latency_ns, double window_ns)
{
	double weight = clamp(window_ns / SECOND_NS, 0, 1) * LONG_WEIGHT;

	if (g->windows < WARM_UP)
		weight = 1.0 / ++g->windows;
	g->usual_ns += (latency_ns - g->usual_ns) * weight;
	/* after long trouble the usual latency is not to be waited for */
	if (g->usual_ns > 2 * latency_ns)
		g->usual_ns *= RECOVERY;
}

/* The square root, in whole steps. */
static double headroom(double limit)
{
	double n = LEAST_HEADROOM;

	while ((n + 1) * (n + 1) <= limit)
		n++;
	return n;
}

static void move(struct gradient *g, const struct gradient_rule *r, double latency_ns)
{
	double slope = latency_ns > 0 ? TOLERANCE * g->usual_ns / latency_ns : 1;

	slope = clamp(slope, LEAST_GRADIENT, 1);
	g->limit += (g->limit * slope + headroom(g->limit) - g->limit) * SMOOTHING;
	g->limit = clamp(g->limit, r->min, r->max);
}

uint32_t gradient_limit(struct gradient *g, const struct gradient_rule *r)
{
	g->limit = clamp(g->limit == 0 ? START_LIMIT : g->limit, r->min, r->max);
	return (uint32_t)g->limit;
}

bool gradient_sample(struct gradient *g, const struct gradient_rule *r, uint64_t now_ns,
		     uint64_t latency_ns, uint32_t in_use)
{
	double latency, window_ns;

	(void)gradient_limit(g, r);
	if (g->samples == 0)
		g->since_ns = now_ns;
	g->samples++;
	g->sum_ns += latency_ns;
	g->most_in_use = in_use > g->most_in_use ? in_use : g->most_in_use;
	/* workers' clocks may differ by a turn */
	if (g->samples < WINDOW_SAMPLES || now_ns < g->since_ns + WINDOW_NS)
		return false;
	latency = (double)g->sum_ns / g->samples;
	window_ns = (double)(now_ns - g->since_ns);
	learn(g, latency, window_ns);
	if (g->most_in_use * 2.0 >= g->limit)
		move(g, r, latency);
	g->samples = g->most_in_use = 0;
	g->sum_ns = 0;
	return true;
}
