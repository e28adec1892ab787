/* ewma.c - peak-EWMA of latencies, and of failures. */
#include "upstream/ewma.h"

#define LOG2_E           1.4426950408889634
#define FAILING_STEP     0.125 /* of one answer, whatever the time between them */
#define SUCCEEDING_LEAST 0.01

/* 2^-x: the whole part halves, the rest by a parabola through 1, 0.7071 and 1/2. */
double ewma_decay(uint64_t ns)
{
	double x = (double)ns / (double)EWMA_TAU_NS * LOG2_E, part;

	if (x >= 60)
		return 0;
	part = x - (double)(unsigned)x;
	return (1 - 0.6715729 * part + 0.1715729 * part * part) /
	       (double)(UINT64_C(1) << (unsigned)x);
}

static double since(const struct ewma *e, uint64_t now_ns)
{
	return ewma_decay(now_ns > e->at_ns ? now_ns - e->at_ns : 0);
}

static void add_time(struct ewma *e, uint64_t now_ns, double took_ns)
{
	double kept = since(e, now_ns);

	if (e->at_ns == 0 || took_ns > e->cost_ns)
		e->cost_ns = took_ns;
	else
		e->cost_ns = e->cost_ns * kept + took_ns * (1 - kept);
	e->at_ns = now_ns == 0 ? 1 : now_ns;
}

void ewma_add(struct ewma *e, uint64_t now_ns, uint64_t took_ns, bool failed, double usual_ns)
{
	double took = (double)took_ns;

	if (failed && took < usual_ns)
		took = usual_ns;
	if (failed && took < e->cost_ns)
		took = e->cost_ns;
	add_time(e, now_ns, took);
	e->failing += ((failed ? 1 : 0) - e->failing) * FAILING_STEP;
}

void ewma_at_least(struct ewma *e, uint64_t now_ns, uint64_t took_ns)
{
	if (e->at_ns == 0 || (double)took_ns > e->cost_ns)
		add_time(e, now_ns, (double)took_ns);
}

double ewma_cost(const struct ewma *e, uint64_t now_ns, double usual_ns)
{
	double kept, good;

	if (e->at_ns == 0)
		return usual_ns;
	kept = since(e, now_ns);
	good = 1 - e->failing * kept;
	if (good < SUCCEEDING_LEAST)
		good = SUCCEEDING_LEAST;
	return (usual_ns + (e->cost_ns - usual_ns) * kept) / (good * good);
}
