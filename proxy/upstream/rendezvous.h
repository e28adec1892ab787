/* rendezvous.h - which endpoint a key belongs to: arithmetic only.
 *
 * Rendezvous hashing (Thaler and Ravishankar, "Using name-based mappings to increase hit rates",
 * 1998), with weights by the logarithmic method (Schindelhauer and Schomaker, 2005): every endpoint
 * draws an exponential time for the key, at the rate of its weight, and the first has it.  It does
 * what a hash ring does (`lb: ring-hash`), and better:
 *
 *  R1  Shares are those of the weights, exactly on average: a ring's depend on where its points
 *      fall.
 *
 *  R2  When an endpoint goes, its keys go to the others by their weights and no other key moves;
 *      when one comes or its weight grows, keys move to it only.
 *
 *  R3  The next of a key, when its endpoint is down or was tried, is the second in time, and so on.
 *
 *  R4  The same keys, texts and weights give the same choice in every process.
 *
 * What it costs is a few multiplications an endpoint, 256 of them at most, and no memory. */
#ifndef UPSTREAM_RENDEZVOUS_H
#define UPSTREAM_RENDEZVOUS_H

#include <stdint.h>

#include "base/slice.h"

/* What an endpoint enters with: of its address as text. */
uint64_t rendezvous_seed(struct slice text);
/* The time it draws for a key: positive, smaller is better. */
double rendezvous_time(uint64_t seed, uint64_t key, double weight);

#endif
