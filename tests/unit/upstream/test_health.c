/* The state of an endpoint from its checks: against vectors, and against what the last checks were.
 */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/arena.h"
#include "base/clock.h"
#include "upstream/health.h"

static void expect_states(struct health_state *h, uint32_t fall, uint32_t rise, const char *checks,
			  const char *states, unsigned line)
{
	assert_int_equal(strlen(checks), strlen(states));
	for (size_t i = 0; checks[i] != '\0'; i++) {
		bool was = h->down, changed = health_count(h, fall, rise, checks[i] == '+');

		if (h->down != (states[i] == 'D') || changed != (h->down != was))
			fail_msg("line %u, check %zu: it is %s", line, i + 1,
				 h->down ? "down" : "up");
	}
}

static void test_vectors(void **state)
{
	FILE *f = fopen(TESTS_DIR "/vectors/health.txt", "r");
	char text[256], checks[100], states[100];
	struct health_state h = { .down = false };
	uint32_t fall = 0, rise = 0;
	unsigned line = 0, rows = 0;

	(void)state;
	assert_non_null(f);
	while (fgets(text, sizeof(text), f) != NULL) {
		line++;
		if (text[0] == '#' || text[0] == '\n')
			continue;
		if (sscanf(text, "rule %u %u", &fall, &rise) == 2) {
			h = (struct health_state){ .down = false };
			continue;
		}
		if (sscanf(text, "%99[+-] -> %99[UD]", checks, states) != 2)
			fail_msg("line %u is no vector: %s", line, text);
		expect_states(&h, fall, rise, checks, states, line);
		rows++;
	}
	fclose(f);
	assert_true(rows > 10);
}

/* How many of the last checks ended alike. */
static uint32_t run_of(const char *checks, size_t n)
{
	uint32_t run = 1;

	while (run < n && checks[n - 1 - run] == checks[n - 1])
		run++;
	return run;
}

/* The definition, from all that was: down since the last time that a run of failures was long
 * enough (or was all there was), unless a run of successes came later. */
static bool is_down(const char *checks, size_t n, uint32_t fall, uint32_t rise)
{
	for (size_t i = n; i > 0; i--) {
		uint32_t run = run_of(checks, i);

		if (checks[i - 1] == '-' && (run >= fall || i == 1))
			return true;
		if (checks[i - 1] == '+' && run >= rise)
			return false;
	}
	return false;
}

static void test_random_histories(void **state)
{
	char checks[60];

	(void)state;
	srand(7);
	for (int round = 0; round < 20000; round++) {
		uint32_t fall = 1 + (uint32_t)rand() % 4, rise = 1 + (uint32_t)rand() % 4;
		struct health_state h = { .down = false };

		for (size_t n = 0; n < sizeof(checks); n++) {
			checks[n] = rand() % 2 != 0 ? '+' : '-';
			health_count(&h, fall, rise, checks[n] == '+');
			if (h.down != is_down(checks, n + 1, fall, rise))
				fail_msg("fall %u rise %u: %.*s", fall, rise, (int)n + 1, checks);
			assert_int_equal(checks[n] == '+' ? h.passed : h.failed,
					 run_of(checks, n + 1));
			assert_int_equal(checks[n] == '+' ? h.failed : h.passed, 0);
		}
	}
}

static void test_counts_do_not_wrap(void **state)
{
	struct health_state h = { .known = true, .failed = UINT32_MAX };

	(void)state;
	health_count(&h, 1, 1, false);
	assert_true(h.failed == UINT32_MAX && h.down);
}

/*---------------------------------------------------------------- configuration */

struct file {
	struct arena arena;
	struct diags diags;
	struct health_conf conf;
	bool ok;
};

static struct file *file_load(const char *yaml)
{
	struct file *f = calloc(1, sizeof(*f));
	struct conf_load load = { .path = "upstreams.app.health" };
	const struct node *node;

	assert_non_null(f);
	arena_init(&f->arena, NULL);
	diags_init(&f->diags, &f->arena);
	load.arena = &f->arena;
	load.diags = &f->diags;
	node = node_read_text("test.yaml", slice_str(yaml), &f->arena, &f->diags);
	assert_non_null(node);
	f->ok = schema_load(&load, &health_schema, node_get(node, "health"), &f->conf);
	return f;
}

static void file_free(struct file *f)
{
	arena_fini(&f->arena);
	free(f);
}

static void expect_refused(const char *yaml, const char *says, const char *suggests)
{
	struct file *f = file_load(yaml);
	const struct diag *d = f->diags.first;

	if (f->ok || d == NULL || strstr(d->message, says) == NULL)
		fail_msg("%s: expected \"%s\", got \"%s\"", yaml, says,
			 d == NULL ? "nothing" : d->message);
	if (suggests != NULL && (d->suggestion == NULL || strcmp(d->suggestion, suggests) != 0))
		fail_msg("%s: suggests %s", yaml, d->suggestion);
	file_free(f);
}

static void test_refused(void **state)
{
	(void)state;
	expect_refused("health: { every: 5s }", "path", NULL);
	expect_refused("health: health", "begins with `/`", "/health");
	expect_refused("health: 'http://a/b'", "begins with `/`", NULL);
	expect_refused("health: '/a b'", "no spaces", NULL);
	expect_refused("health: { path: /a, every: 1ms }", "every", NULL);
	expect_refused("health: { path: /a, timeout: 0s }", "timeout", NULL);
	expect_refused("health: { path: /a, fall: 0 }", "fall", NULL);
	expect_refused("health: { path: /a, rise: 0 }", "rise", NULL);
	expect_refused("health: { path: /a, status: 2xx }", "no status", "200-299");
	expect_refused("health: { path: /a, status: 399-200 }", "no status", NULL);
	expect_refused("health: { path: /a, status: [200, 99] }", "no status", NULL);
	expect_refused("health: { path: /a, status: 600 }", "no status", NULL);
	expect_refused("health: { path: /a, status: [] }", "at least one", NULL);
	expect_refused("health: { path: /a, status: [1-2] }", "no status", NULL);
	expect_refused(
	    "health: { path: /a, status: [200, 201, 202, 203, 204, 205, 206, 207, 208] }",
	    "at most 8", NULL);
	expect_refused("health: { path: /a, method: POST }", "method", NULL);
	expect_refused("health: { path: /a, method: HEAD, body: ok }", "HEAD has no body", NULL);
	expect_refused("health: { path: /a, host: 'a b' }", "not a host", NULL);
	expect_refused("health: { path: /a, body: '' }", "body", NULL);
	expect_refused("health: { pth: /a }", "pth", NULL);
}

static void test_defaults(void **state)
{
	struct file *f = file_load("health: /health");

	(void)state;
	assert_true(f->ok);
	assert_string_equal(f->conf.path, "/health");
	assert_int_equal(f->conf.every_ns, 5 * CLOCK_S);
	assert_int_equal(f->conf.timeout_ns, CLOCK_S);
	assert_int_equal(f->conf.fall, 3);
	assert_int_equal(f->conf.rise, 2);
	assert_int_equal(f->conf.method, HEALTH_GET);
	assert_null(f->conf.body);
	assert_null(f->conf.host);
	assert_false(status_set_has(&f->conf.status, 199));
	assert_true(status_set_has(&f->conf.status, 200));
	assert_true(status_set_has(&f->conf.status, 399));
	assert_false(status_set_has(&f->conf.status, 400));
	file_free(f);
}

static void test_statuses(void **state)
{
	struct file *f = file_load("health: { path: /, status: [204, 301 - 302, '418'] }");
	struct buf out = { 0 };

	(void)state;
	assert_true(f->ok);
	assert_true(status_set_has(&f->conf.status, 204));
	assert_true(status_set_has(&f->conf.status, 302));
	assert_true(status_set_has(&f->conf.status, 418));
	assert_false(status_set_has(&f->conf.status, 200));
	schema_dump_yaml(&health_schema, &f->conf, &out);
	assert_non_null(strstr(out.p, "status: [204, 301-302, 418]"));
	buf_fini(&out);
	file_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_refused),          cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_statuses),         cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_random_histories), cmocka_unit_test(test_counts_do_not_wrap),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
