/* quantile.c - up when a time is above, down when not. */
#include "filters/quantile.h"

#include "base/check.h"

#define WHOLE      1e6
#define STEP       0.05
#define FIRST_STEP 1.0
#define STEP_DECAY 0.2 /* a time's share in how fast the first steps become small */

static double step_of(const struct quantile *q)
{
	double step = FIRST_STEP / (1 + STEP_DECAY * q->seen);

	return step > STEP ? step : STEP;
}

void quantile_add(struct quantile *q, uint32_t share_ppm, uint64_t ns)
{
	double p = share_ppm / WHOLE, step = step_of(q);

	CHECK(share_ppm > 0 && share_ppm < WHOLE);
	if (q->seen == 0)
		q->ns = ns > 0 ? (double)ns : 1;
	else if ((double)ns > q->ns)
		q->ns *= 1 + step * p;
	else if (q->ns > 1)
		q->ns *= 1 - step * (1 - p);
	if (q->seen < QUANTILE_ENOUGH)
		q->seen++;
}

uint64_t quantile_ns(const struct quantile *q)
{
	return q->seen < QUANTILE_ENOUGH ? 0 : (uint64_t)q->ns;
}
