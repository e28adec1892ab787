/* Clusters: what the configuration refuses, and endpoints that are found again across reloads. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <stdio.h>

#include "base/arena.h"
#include "base/clock.h"
#include "base/log.h"
#include "upstream/resolve.h"
#include "upstream/upstream.h"

struct file {
	struct arena arena;
	struct diags diags;
	struct cluster_conf conf;
	bool ok;
};

/* One upstream called "app" from its YAML. */
static struct file *file_load(const char *yaml)
{
	struct file *f = calloc(1, sizeof(*f));
	struct conf_load load = { .path = "upstreams.app" };
	const struct node *node;

	assert_non_null(f);
	arena_init(&f->arena, NULL);
	diags_init(&f->diags, &f->arena);
	load.arena = &f->arena;
	load.diags = &f->diags;
	node = node_read_text("test.yaml", slice_str(yaml), &f->arena, &f->diags);
	assert_non_null(node);
	f->ok = schema_load(&load, &cluster_schema, node_get(node, "app"), &f->conf);
	f->conf.name.name = "app";
	return f;
}

static void file_free(struct file *f)
{
	arena_fini(&f->arena);
	free(f);
}

static void expect_refused(const char *yaml, const char *says)
{
	struct file *f = file_load(yaml);
	const struct diag *d = f->diags.first;

	if (f->ok || d == NULL || strstr(d->message, says) == NULL)
		fail_msg("%s: expected \"%s\", got \"%s\"", yaml, says,
			 d == NULL ? "nothing" : d->message);
	file_free(f);
}

static void test_refused(void **state)
{
	(void)state;
	expect_refused("app: https://unix:/a", "no https:// to a unix socket");
	expect_refused("app: 3000", "needs a port");
	expect_refused("app: { lb: round-robin }", "endpoints");
	expect_refused("app: { endpoints: [] }", "at least one is needed");
	expect_refused("app: { endpoints: [a:1, b:2, A:1] }", "listed twice");
	expect_refused("app: { endpoints: ['http://a', a:80] }", "listed twice");
	expect_refused("app: { endpoints: [{ weight: 2 }] }", "addr");
	expect_refused("app: { endpoints: [{ addr: 'a:1', weight: 0 }] }", "weight");
	expect_refused("app: { endpoints: [{ addr: 'a:1', weight: 1001 }] }", "weight");
	expect_refused("app: { endpoints: a:1, lb: fastest }", "lb");
	expect_refused("app: { endpoints: a:1, resolve: 10ms }", "resolve");
	expect_refused("app: { endpoints: a:1, connect_timeout: 0s }", "connect_timeout");
	expect_refused("app: { endpoint: a:1 }", "endpoint");
}

static void test_too_many(void **state)
{
	char yaml[16384];
	size_t at;

	(void)state;
	at = strlen(strcpy(yaml, "app: { endpoints: ["));
	for (int i = 1; i <= 257; i++)
		at += (size_t)sprintf(yaml + at, "a:%d, ", i);
	strcpy(yaml + at, "] }");
	expect_refused(yaml, "at most 256");
}

static void test_all_wrong_ones_are_named(void **state)
{
	struct file *f = file_load("app:\n  endpoints:\n    - ftp://a:1\n    - b\n    - c:1\n");
	const struct diag *d = f->diags.first;

	(void)state;
	assert_false(f->ok);
	assert_int_equal(f->diags.errors, 2);
	assert_int_equal(d->at.line, 3);
	assert_int_equal(d->next->at.line, 4);
	file_free(f);
}

static void test_defaults(void **state)
{
	struct file *f = file_load("app: 127.0.0.1:3000");
	const struct endpoint_conf *e = f->conf.endpoints.item;

	(void)state;
	assert_true(f->ok);
	assert_int_equal(f->conf.endpoints.n, 1);
	assert_string_equal(e->addr, "127.0.0.1:3000");
	assert_int_equal(e->weight, 1);
	assert_false(e->backup);
	assert_int_equal(e->at.line, 1);
	assert_int_equal(e->at.column, 6);
	assert_int_equal(f->conf.lb, LB_ROUND_ROBIN);
	assert_int_equal(f->conf.connect_timeout_ns, CLOCK_S);
	assert_int_equal(f->conf.keepalive, 64);
	assert_int_equal(f->conf.keepalive_timeout_ns, 60 * CLOCK_S);
	assert_int_equal(f->conf.max_connections, 0);
	assert_int_equal(f->conf.resolve_ns, 30 * CLOCK_S);
	file_free(f);
}

static void test_mapping(void **state)
{
	struct file *f = file_load("app:\n"
				   "  endpoints:\n"
				   "    - llm-a:8443\n"
				   "    - { addr: 'http://llm-b', weight: 2, backup: true }\n"
				   "  lb: least-requests\n"
				   "  keepalive: 0\n");
	const struct endpoint_conf *e = f->conf.endpoints.item;

	(void)state;
	assert_true(f->ok);
	assert_int_equal(f->conf.endpoints.n, 2);
	assert_int_equal(e[0].weight, 1);
	assert_int_equal(e[1].weight, 2);
	assert_true(e[1].backup);
	assert_int_equal(e[1].at.line, 4);
	assert_int_equal(f->conf.lb, LB_LEAST_REQUESTS);
	assert_int_equal(f->conf.keepalive, 0);
	file_free(f);
}

/*---------------------------------------------------------------- endpoints */

struct names { /* what the name server says: "good*" has an address, others have none */
	_Atomic unsigned asked;
};

static int lookup(void *user, const char *host, struct ip *out, unsigned max, const char **why)
{
	struct names *names = user;

	(void)max;
	names->asked++;
	*why = "no such name";
	if (strncmp(host, "good", 4) != 0)
		return -1;
	*out = (struct ip){ { [15] = 1 } };
	return 1;
}

static struct names names;

static struct upstream_registry *registry_new(void)
{
	const struct resolver_lookup scripted = { .run = lookup, .user = &names };
	struct upstream_registry *r = upstream_registry_new_with(&scripted);

	assert_non_null(r);
	return r;
}

static struct cluster *open_cluster(struct upstream_registry *r, struct file *f)
{
	struct cluster *c = cluster_open(r, &f->conf, &f->arena, 5 * CLOCK_S, &f->diags);

	assert_non_null(c);
	return c;
}

static void test_bad_name_is_a_warning(void **state)
{
	struct upstream_registry *r = registry_new();
	struct file *f = file_load("app: { endpoints: ['bad:80', 'good:80'] }");
	struct cluster *c = open_cluster(r, f);
	uint32_t turn = 0;
	struct addr addr;

	(void)state;
	assert_int_equal(f->diags.errors, 0);
	assert_int_equal(f->diags.warnings, 1);
	assert_non_null(strstr(f->diags.first->message, "`bad` has no address"));
	assert_false(endpoint_addr(c->member[0].endpoint, &turn, &addr));
	assert_int_equal(endpoint_addr_count(c->member[0].endpoint), 0);
	assert_true(endpoint_addr(c->member[1].endpoint, &turn, &addr));
	assert_ptr_equal(cluster_pick(c, 0, &(struct pick){ .now_ns = 0 }), &c->member[1]);
	assert_null(cluster_pick(c, 0, &(struct pick){ .tried.bits[0] = 2 }));
	cluster_close(r, c);
	upstream_registry_free(r);
	file_free(f);
}

static void test_bad_address_is_an_error(void **state)
{
	struct upstream_registry *r = registry_new();
	struct file *f = file_load("app: { endpoints: ['127.0.0.1:80', '127.0.0.1:81'] }");
	struct endpoint_conf *e = f->conf.endpoints.item;

	(void)state;
	e[1].addr = "ftp://a:1"; /* as if nobody had checked */
	assert_null(cluster_open(r, &f->conf, &f->arena, 0, &f->diags));
	assert_int_equal(f->diags.errors, 1);
	upstream_registry_free(r);
	file_free(f);
}

static void test_reload_keeps_endpoints(void **state)
{
	struct upstream_registry *r = registry_new();
	struct file *f1 = file_load("app: { endpoints: ['127.0.0.1:80', 'good:80'] }");
	struct file *f2 = file_load(
	    "app: { endpoints: [{ addr: 'http://GOOD:80', weight: 9 }, '127.0.0.1:81'] }");
	struct cluster *c1 = open_cluster(r, f1), *c2;
	struct endpoint *good = c1->member[1].endpoint;
	unsigned asked = names.asked;
	uint32_t id = good->id;

	(void)state;
	endpoint_begin(good, 3);
	endpoint_end(good, 3, ENDPOINT_FAILED);
	c2 = open_cluster(r, f2);
	assert_ptr_equal(c2->member[0].endpoint, good);
	assert_int_equal(c2->member[0].weight, 9);
	assert_int_equal(c1->member[1].weight, 1);
	assert_int_equal(names.asked, asked); /* known already: nobody waits */
	cluster_close(r, c1);
	assert_int_equal(good->id, id);
	assert_string_equal(good->text, "good:80");
	assert_string_equal(good->cluster, "app");
	assert_int_equal(endpoint_attempts(good, ENDPOINT_FAILED), 1);
	assert_true(c2->member[1].endpoint->id > id);
	cluster_close(r, c2);
	upstream_registry_free(r);
	file_free(f1);
	file_free(f2);
}

static void test_same_address_of_another_cluster(void **state)
{
	struct upstream_registry *r = registry_new();
	struct file *f1 = file_load("app: 127.0.0.1:80"), *f2 = file_load("app: 127.0.0.1:80");
	struct cluster *c1 = open_cluster(r, f1), *c2;

	(void)state;
	f2->conf.name.name = "llm";
	c2 = open_cluster(r, f2);
	assert_ptr_not_equal(c1->member[0].endpoint, c2->member[0].endpoint);
	cluster_close(r, c1);
	cluster_close(r, c2);
	upstream_registry_free(r);
	file_free(f1);
	file_free(f2);
}

/* An endpoint that no policy names any more stays until its last connection is closed, and may come
 * back before. */
static void test_left_endpoint_outlives_its_cluster(void **state)
{
	struct upstream_registry *r = registry_new();
	struct file *f1 = file_load("app: good:80"), *f2 = file_load("app: good:80");
	struct file *other = file_load("app: 127.0.0.1:81");
	struct cluster *c = open_cluster(r, f1);
	struct endpoint *e = c->member[0].endpoint;

	(void)state;
	e->worker[1].connections = 1;
	cluster_close(r, c);
	c = open_cluster(r, other); /* sweeps */
	assert_string_equal(e->text, "good:80");
	cluster_close(r, c);
	c = open_cluster(r, f2);
	assert_ptr_equal(c->member[0].endpoint, e);
	e->worker[1].connections = 0;
	cluster_close(r, c); /* frees it: a sanitizer sees to the rest */
	upstream_registry_free(r);
	file_free(f1);
	file_free(f2);
	file_free(other);
}

static void test_counters(void **state)
{
	struct upstream_registry *r = registry_new();
	struct file *f = file_load("app: 127.0.0.1:80");
	struct cluster *c = open_cluster(r, f);
	struct endpoint *e = c->member[0].endpoint;

	(void)state;
	endpoint_begin(e, 0);
	endpoint_begin(e, 5);
	endpoint_begin(e, WORKERS_MAX - 1);
	e->worker[2].connections = 3;
	e->worker[4].connections = 4;
	e->worker[4].idle_count = 2;
	assert_int_equal(endpoint_active(e), 3);
	assert_int_equal(endpoint_connections(e), 7);
	assert_int_equal(endpoint_idle(e), 2);
	endpoint_end(e, 0, ENDPOINT_OK);
	endpoint_end(e, 5, ENDPOINT_OK);
	endpoint_end(e, WORKERS_MAX - 1, ENDPOINT_ABORTED);
	assert_int_equal(endpoint_active(e), 0);
	assert_int_equal(endpoint_attempts(e, ENDPOINT_OK), 2);
	assert_int_equal(endpoint_attempts(e, ENDPOINT_FAILED), 0);
	assert_int_equal(endpoint_attempts(e, ENDPOINT_ABORTED), 1);
	assert_int_equal(endpoint_active_most(e), 3);
	cluster_close(r, c);
	upstream_registry_free(r);
	file_free(f);
}

static void test_what_is_added_up(void **state)
{
	struct upstream_registry *r = registry_new();
	struct file *f = file_load("app: 127.0.0.1:80");
	struct cluster *c = open_cluster(r, f);
	struct endpoint *e = c->member[0].endpoint;

	(void)state;
	for (int i = 0; i < 3; i++) {
		endpoint_begin(e, 1);
		endpoint_wait(e, 1, 1);
		assert_int_equal(endpoint_waiting(e), 1);
		endpoint_add(e, 1, ENDPOINT_BYTES_IN, UINT32_MAX);
		endpoint_wait(e, 1, -1);
		endpoint_end(e, 1, ENDPOINT_OK);
	}
	endpoint_add(e, WORKERS_MAX - 1, ENDPOINT_BYTES_IN, 1);
	endpoint_add(e, 0, ENDPOINT_RETRIES, 2);
	assert_int_equal(endpoint_waiting(e), 0);
	assert_int_equal(endpoint_active_most(e), 1);
	assert_true(endpoint_counted(e, ENDPOINT_BYTES_IN) == UINT64_C(3) * UINT32_MAX + 1);
	assert_int_equal(endpoint_counted(e, ENDPOINT_RETRIES), 2);
	assert_int_equal(endpoint_counted(e, ENDPOINT_BYTES_OUT), 0);
	cluster_close(r, c);
	upstream_registry_free(r);
	file_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_too_many),
		cmocka_unit_test(test_all_wrong_ones_are_named),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_mapping),
		cmocka_unit_test(test_bad_name_is_a_warning),
		cmocka_unit_test(test_bad_address_is_an_error),
		cmocka_unit_test(test_reload_keeps_endpoints),
		cmocka_unit_test(test_same_address_of_another_cluster),
		cmocka_unit_test(test_left_endpoint_outlives_its_cluster),
		cmocka_unit_test(test_counters),
		cmocka_unit_test(test_what_is_added_up),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
