/* Requests to the admin listener: any method, path, query, header fields and body.
 *
 * Input: lines "METHOD path?query", then "name: value" fields, an empty line, the body.  What is checked: it answers with a
 * status of HTTP, JSON where it says so, and no order is obeyed that is not JSON of the same origin. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "admin/admin.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/event.h"
#include "base/json.h"
#include "base/log.h"
#include "core/policy.h"

static const char yaml[] =
    "version: 1\n"
    "listen: 127.0.0.1:18080\n"
    "admin: 127.0.0.1:19901\n"
    "upstreams: { app: { endpoints: [ \"127.0.0.1:13001\", \"127.0.0.1:13002\" ] } }\n"
    "policies:\n"
    "  per-client: { rate: [10/s, 100/m], key: [client.ip, header.x-user], overrides: [] }\n"
    "  one: { concurrency: 3 }\n"
    "  guard: { breaker: 50% }\n"
    "routes:\n"
    "  - { to: app, use: [per-client, one, guard] }\n";

static struct registries registries;
static struct policy *policy;

static void open_policy(void)
{
	char path[] = "fuzz_admin_XXXXXX";
	int fd = mkstemp(path);
	struct config *config;
	struct arena arena;
	struct diags diags;

	CHECK(fd >= 0 && write(fd, yaml, sizeof(yaml) - 1) == (ssize_t)sizeof(yaml) - 1);
	close(fd);
	arena_init(&arena, NULL);
	diags_init(&diags, &arena);
	registries = (struct registries){ .tables = table_registry_new(),
					  .upstreams = upstream_registry_new(),
					  .stats = stats_new(1) };
	config = config_load(path, &arena, &diags);
	unlink(path);
	CHECK(config != NULL);
	policy = policy_open(path, config, arena, &registries, &diags);
	CHECK(policy != NULL && events_open(16));
	log_set_level(LOG_ERROR);
}

static enum method_id method_of(struct slice name)
{
	for (unsigned m = 1; m < METHOD_COUNT; m++)
		if (slice_eq(name, method_names[m]))
			return (enum method_id)m;
	return METHOD_OTHER;
}

static void read_head(struct head *h, struct slice *rest)
{
	struct slice line = slice_cut(rest, '\n');
	struct slice method = slice_cut(&line, ' ');

	h->method = method;
	h->method_id = (uint8_t)method_of(method);
	h->path = slice_cut(&line, '?');
	h->query = line;
	h->authority = slice_str("127.0.0.1:19901");
	while (rest->n > 0) {
		struct slice value = slice_cut(rest, '\n'), name;

		if (value.n == 0)
			break;
		name = slice_cut(&value, ':');
		if (name.n > 0 && value.p != NULL)
			(void)head_add_name(h, name, slice_trim(value));
	}
}

static void check_reply(const struct service_reply *r)
{
	struct arena arena;
	const char *wrong;

	CHECK(r->has_task || (r->status >= 200 && r->status < 600));
	CHECK(!r->body.oom);
	if (r->content_type == NULL || strcmp(r->content_type, "application/json") != 0)
		return;
	arena_init(&arena, NULL);
	CHECK(json_read_long(slice_of(r->body.p, r->body.n), &arena, &wrong) != NULL);
	arena_fini(&arena);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice rest = slice_of((const char *)data, size);
	struct reload_status reload = { .last_ok = true };
	struct hand_orders orders = { .drained = false };
	struct service_budgets budgets = { .admin.refused = 0 };
	struct memory_state memory = { .refusing = false };
	struct service_reply reply = { 0 };
	struct arena arena;
	struct head head;

	if (policy == NULL)
		open_policy();
	arena_init(&arena, NULL);
	head_init(&head, &arena);
	read_head(&head, &rest);
	if (head.path.n > 0) {
		const struct process_view view = { .policy = policy,
						   .stats = registries.stats,
						   .workers = 1,
						   .reload = &reload,
						   .orders = &orders,
						   .budgets = &budgets,
						   .memory = &memory,
						   .ready = true,
						   .now_ns = CLOCK_S,
						   .now_wall_ns = UINT64_C(1700000000) * CLOCK_S };
		const struct service_request req = { .head = &head,
						     .who = "127.0.0.1:1",
						     .path = head.path,
						     .query = head.query,
						     .body = rest,
						     .loopback = true };

		admin_service.handle(&view, &req, &reply);
		check_reply(&reply);
		CHECK(!reply.has_task || !(method_flags[head.method_id] & METHOD_SAFE));
	}
	buf_fini(&reply.body);
	arena_fini(&arena);
	return 0;
}
