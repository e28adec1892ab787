/* members.h - a cluster of endpoints that never were configured, for tests of the choice among
 * them. */
#ifndef UNIT_UPSTREAM_MEMBERS_H
#define UNIT_UPSTREAM_MEMBERS_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#include "base/arena.h"
#include "upstream/balance.h"
#include "upstream/rendezvous.h"

enum { MEMBERS = 70 };

struct fixture {
	struct arena arena;
	struct cluster_conf conf;
	struct cluster cluster;
	struct cluster_member member[MEMBERS];
	struct endpoint *endpoint;
};

/* As of an address that ends in this number. */
static uint64_t member_seed(uint32_t i)
{
	char text[32];

	snprintf(text, sizeof(text), "10.0.0.%u:80", i + 1);
	return rendezvous_seed(slice_str(text));
}

static struct fixture *fixture_new(int lb, uint32_t n, const uint32_t *weight)
{
	struct fixture *f = calloc(1, sizeof(*f));

	assert_non_null(f);
	arena_init(&f->arena, NULL);
	f->endpoint = aligned_alloc(64, n * sizeof(struct endpoint));
	assert_non_null(f->endpoint);
	memset(f->endpoint, 0, n * sizeof(struct endpoint));
	f->conf.lb = lb;
	f->cluster = (struct cluster){ .conf = &f->conf, .n = n, .member = f->member };
	for (uint32_t i = 0; i < n; i++)
		f->member[i] = (struct cluster_member){ .endpoint = &f->endpoint[i],
							.weight = weight != NULL ? weight[i] : 1,
							.seed = member_seed(i) };
	assert_true(balance_open(&f->cluster, &f->arena));
	return f;
}

static void fixture_free(struct fixture *f)
{
	arena_fini(&f->arena);
	free(f->endpoint);
	free(f);
}

#endif
