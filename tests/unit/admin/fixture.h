/* fixture.h - a process as the services see it, made from YAML text, without threads or sockets. */
#ifndef UNIT_ADMIN_FIXTURE_H
#define UNIT_ADMIN_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "admin/admin.h"
#include "base/clock.h"
#include "core/config.h"
#include "core/policy.h"
#include "core/stats.h"
#include "filters/table.h"

struct fixture {
	struct registries registries;
	struct policy *policy;
	struct listener_stats *listener;
	struct reload_status reload;
	struct hand_orders orders;
	struct service_budgets budgets;
	struct service_denials denials;
	struct memory_state memory;
	struct process_view view;
	struct arena arena; /* of requests */
	struct service_reply reply;
	struct slice body; /* of the next requests */
};

static const char fixture_yaml[] =
    "version: 1\n"
    "listen: 127.0.0.1:18080\n"
    "admin: { listen: 127.0.0.1:19901, token: sesame }\n"
    "upstreams:\n"
    "  app: 127.0.0.1:13000\n"
    "  pair:\n"
    "    endpoints: [ \"127.0.0.1:13001\", \"127.0.0.1:13002\" ]\n"
    "policies:\n"
    "  per-client: { rate: 100/s, burst: 200, key: client.ip }\n"
    "  guard: { breaker: 2 }\n"
    "routes:\n"
    "  - { name: chat, match: { path: /chat, methods: [POST] }, to: pair, use: [per-client, guard] }\n"
    "  - { name: rest, match: { path: /* }, to: app, use: [per-client] }\n";

static struct policy *fixture_policy(struct fixture *f, const char *yaml)
{
	char path[] = "admin_XXXXXX.yaml";
	int fd = mkstemps(path, 5);
	struct arena arena;
	struct diags diags;
	struct config *config;
	struct policy *policy;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, yaml, strlen(yaml)), strlen(yaml));
	close(fd);
	arena_init(&arena, NULL);
	diags_init(&diags, &arena);
	config = config_load(path, &arena, &diags);
	for (const struct diag *d = diags.first; d != NULL; d = d->next)
		if (d->severity == DIAG_ERROR)
			fprintf(stderr, "%u: %s\n", d->at.line, d->message);
	assert_non_null(config);
	policy = policy_open(path, config, arena, &f->registries, &diags);
	unlink(path);
	assert_non_null(policy);
	return policy;
}

static int fixture_setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	f->registries = (struct registries){ .tables = table_registry_new(),
					     .upstreams = upstream_registry_new(),
					     .stats = stats_new(2) };
	f->policy = fixture_policy(f, fixture_yaml);
	f->listener = stats_listener_get(f->registries.stats, "127.0.0.1:18080");
	f->reload.last_ok = true;
	f->view = (struct process_view){ .policy = f->policy,
					 .stats = f->registries.stats,
					 .workers = 2,
					 .reload = &f->reload,
					 .orders = &f->orders,
					 .budgets = &f->budgets,
					 .denials = &f->denials,
					 .memory = &f->memory,
					 .ready = true,
					 .policies = 1,
					 .start_wall_ns = UINT64_C(1700000000) * CLOCK_S,
					 .now_wall_ns = UINT64_C(1700000100) * CLOCK_S };
	arena_init(&f->arena, NULL);
	*state = f;
	return 0;
}

static int fixture_teardown(void **state)
{
	struct fixture *f = *state;

	buf_fini(&f->reply.body);
	arena_fini(&f->arena);
	policy_close(f->policy, &f->registries);
	stats_listener_put(f->registries.stats, f->listener);
	table_registry_free(f->registries.tables);
	upstream_registry_free(f->registries.upstreams);
	stats_free(f->registries.stats);
	free(f);
	return 0;
}

/* A request for `path` of 127.0.0.1 with the token, to be changed before it is asked. */
static struct head *fixture_head(struct fixture *f, const char *path)
{
	struct head *h = arena_zalloc(&f->arena, sizeof(*h));

	head_init(h, &f->arena);
	h->method_id = METHOD_GET;
	h->method = slice_str("GET");
	h->path = slice_str(path);
	h->authority = slice_str("127.0.0.1:19901");
	head_add(h, F_AUTHORIZATION, slice_str("Bearer sesame"));
	return h;
}

/* The reply's body as text. */
static const char *fixture_ask(struct fixture *f, const struct service *service, struct head *h)
{
	struct service_request req = { .who = "127.0.0.1:4711",
				       .head = h,
				       .path = h->path,
				       .body = f->body,
				       .loopback = true };

	buf_fini(&f->reply.body);
	f->reply = (struct service_reply){ 0 };
	service->handle(&f->view, &req, &f->reply);
	assert_false(f->reply.body.oom);
	return f->reply.body.p == NULL ? "" : f->reply.body.p;
}

static inline void fixture_call(struct fixture *f, unsigned route, unsigned w, unsigned status,
				const struct reason *why)
{
	static struct head head = { .method_id = METHOD_GET };
	struct route_stats *stats = f->policy->route[route].stats;
	struct call_record r = { .req = &head,
				 .status = (uint16_t)status,
				 .why = why,
				 .start_ns = 1,
				 .end_ns = 3 * CLOCK_MS,
				 .head_sent_ns = 2 * CLOCK_MS,
				 .overhead_ns = 40000,
				 .bytes_in = 5,
				 .bytes_out = 7,
				 .denied = why == reason_rate_limited,
				 .limit = { .policy = "per-client" } };

	stats_call_begin(stats, w);
	stats_call_end(stats, w, &r);
}

#endif
