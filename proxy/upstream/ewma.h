/* ewma.h - how an endpoint has been answering: arithmetic only.
 *
 * Peak-EWMA, after Finagle's PeakEwma load metric (com.twitter.finagle.loadbalancer.PeakEwma),
 * which linkerd took over: a sample above the average takes its place at once, one below lets it
 * sink with the time passed since.  Its weakness is an endpoint that fails fast, which looks like a
 * fast one; so here
 *
 *  E1  a failure counts as no faster than a usual answer (`usual_ns`), nor than the endpoint's own;
 *
 *  E2  beside the average stands the share of answers that were failures, and who fails is dear:
 *      the cost is divided by the square of the share that succeeds (a hundredth at least);
 *
 *  E3  without a sample both lose their meaning with time (EWMA_TAU_NS): the cost goes to the usual
 *      one, where Finagle's goes to nothing (so that weights mean something where calls are few),
 *      and failures are forgotten, until the next one brings all of them back.  So who was slow or
 *      failing is tried again, and not for long. */
#ifndef UPSTREAM_EWMA_H
#define UPSTREAM_EWMA_H

#include <stdbool.h>
#include <stdint.h>

#define EWMA_TAU_NS   UINT64_C(10000000000) /* 10 s, as in Finagle and linkerd */
#define EWMA_GUESS_NS UINT64_C(100000000)   /* before there is any answer to go by */

struct ewma { /* zeroed: nothing is known */
	double cost_ns;
	double failing; /* 0..1 */
	uint64_t at_ns; /* of the last sample; 0: none */
};

/* e^(-ns / EWMA_TAU_NS), to within half a per cent. */
double ewma_decay(uint64_t ns);
/* An answer (or its failure) after took_ns. */
void ewma_add(struct ewma *, uint64_t now_ns, uint64_t took_ns, bool failed, double usual_ns);
/* No answer came within took_ns, and none is waited for any more: it takes at least that long. */
void ewma_at_least(struct ewma *, uint64_t now_ns, uint64_t took_ns);
/* What a call costs there, with nothing else under way. */
double ewma_cost(const struct ewma *, uint64_t now_ns, double usual_ns);

#endif
