/* test_config.c - whole configurations: what is refused and how it is said, what is filled in, what
 * comes out again. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/yaml_text.h"
#include "core/config.h"
#include "filters/registry.h"

#define ERRORS_DIR   TESTS_DIR "/unit/conf/errors"
#define EXAMPLES_DIR TESTS_DIR "/../conf/examples"

static const char base[] = "listen: 127.0.0.1:8080\n"
			   "upstreams: { app: 127.0.0.1:3000 }\n"
			   "policies: { per-client: { rate: 100/s, key: client.ip } }\n";

struct loaded {
	struct arena arena, diag_arena;
	struct diags diags;
	struct config *config;
	char path[64];
};

static void load_file(struct loaded *l, const char *path)
{
	arena_init(&l->arena, NULL);
	arena_init(&l->diag_arena, NULL);
	diags_init(&l->diags, &l->diag_arena);
	l->config = config_load(path, &l->arena, &l->diags);
}

static void unload(struct loaded *l)
{
	arena_fini(&l->arena);
	arena_fini(&l->diag_arena);
}

static void write_file(const char *path, const char *text, size_t n)
{
	FILE *f = fopen(path, "w");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, n, f), n);
	fclose(f);
}

/* Loads text through a file of its own. */
static void load_text(struct loaded *l, const char *head, const char *tail)
{
	char template[] = "/tmp/weir-test-XXXXXX";
	int fd = mkstemp(template);
	struct buf b = { 0 };

	assert_true(fd >= 0);
	close(fd);
	buf_puts(&b, head);
	buf_puts(&b, tail);
	write_file(template, b.p, b.n);
	buf_fini(&b);
	load_file(l, template);
	unlink(template);
}

static const char *read_file(const char *path, struct buf *b)
{
	FILE *f = fopen(path, "r");
	size_t n;

	if (f == NULL)
		return NULL;
	do {
		assert_true(buf_reserve(b, 65536));
		n = fread(b->p + b->n, 1, 65536, f);
		b->n += n;
	} while (n > 0);
	b->p[b->n] = '\0';
	fclose(f);
	return b->p;
}

/*------------------------------------------------------------------ errors */

static void expect_output(const char *name)
{
	char expected_path[300];
	struct buf said = { 0 }, expected = { 0 };
	struct loaded l;

	load_file(&l, name);
	diags_print(&l.diags, DIAG_HUMAN, name, l.config == NULL ? "not loaded" : "loaded", false,
		    &said);
	snprintf(expected_path, sizeof(expected_path), "%.*s.out", (int)strlen(name) - 5, name);
	if (getenv("UPDATE_EXPECTED") != NULL)
		write_file(expected_path, said.p, said.n);
	if (read_file(expected_path, &expected) == NULL)
		fail_msg("%s: no %s; set UPDATE_EXPECTED=1 and look at what is made", name,
			 expected_path);
	if (!slice_eq(slice_of(said.p, said.n), slice_of(expected.p, expected.n)))
		fail_msg("%s: expected\n%s\nbut it says\n%s", name, expected.p, said.p);
	/* a file of this folder is wrong, or worth a warning */
	assert_true(l.diags.errors + l.diags.warnings > 0);
	assert_int_equal(l.config == NULL, l.diags.errors > 0);
	buf_fini(&said);
	buf_fini(&expected);
	unload(&l);
}

static void test_errors_as_expected(void **state)
{
	DIR *dir = opendir(ERRORS_DIR);
	unsigned files = 0;

	(void)state;
	assert_non_null(dir);
	assert_int_equal(chdir(ERRORS_DIR), 0);
	unsetenv("WEIR_TEST_UNSET");
	for (struct dirent *e; (e = readdir(dir)) != NULL;) {
		size_t n = strlen(e->d_name);

		if (n < 6 || strcmp(e->d_name + n - 5, ".yaml") != 0)
			continue;
		expect_output(e->d_name);
		files++;
	}
	closedir(dir);
	assert_true(files > 50);
}

static void test_missing_file(void **state)
{
	struct loaded l;

	(void)state;
	load_file(&l, "/nonexistent/weir.yaml");
	assert_null(l.config);
	assert_int_equal(l.diags.errors, 1);
	assert_string_equal(l.diags.first->code, "E001");
	unload(&l);
	load_file(&l, "/tmp");
	assert_null(l.config);
	assert_string_equal(l.diags.first->code, "E001");
	unload(&l);
}

/* The same mapping twice: said once, but no check may run on what was not read. */
static void test_a_wrong_alias(void **state)
{
	struct loaded l;

	(void)state;
	load_text(&l, "listen: ':1'\nupstreams: { app: 127.0.0.1:1 }\n",
		  "policies: { a: &p { rate: 5 }, b: *p, c: *p }\nroutes: [ { to: app, use: [a, b, "
		  "c] } ]\n");
	assert_null(l.config);
	assert_int_equal(l.diags.errors, 1);
	unload(&l);
}

/*------------------------------------------------------------------- values */

static void test_defaults(void **state)
{
	struct loaded l;
	const struct config *c;
	const struct route_conf *r;

	(void)state;
	load_text(&l, base, "routes: [ { to: app, use: per-client } ]\n");
	c = l.config;
	assert_non_null(c);
	assert_int_equal(l.diags.warnings, 0);
	assert_int_equal(c->version, 1);
	assert_int_equal(c->workers, 1);
	assert_int_equal(c->limits.header_bytes, 32 * 1024);
	assert_int_equal(c->limits.target_bytes, 8 * 1024);
	assert_int_equal(c->limits.headers, 100);
	assert_int_equal(c->limits.connections, 10000);
	assert_true(c->limits.header_timeout_ns == UINT64_C(10000000000));
	assert_true(c->limits.idle_timeout_ns == UINT64_C(60000000000));
	assert_true(c->shutdown.delay_ns == UINT64_C(5000000000));
	assert_true(c->shutdown.drain_ns == UINT64_C(25000000000));
	assert_int_equal(c->log.access, ACCESS_STDOUT);
	assert_int_equal(c->log.redact.n, 5);
	assert_string_equal(c->client_ip.header, "x-forwarded-for");
	assert_false(c->admin.present);
	assert_false(c->probes.present);
	r = c->routes.item;
	assert_string_equal(r->name, "/*");
	assert_true(r->timeout.idle_ns == UINT64_C(60000000000));
	assert_true(r->timeout.total_ns == 0);
	assert_true(r->timeout.first_byte_ns == 0);
	assert_int_equal(r->max_body, 32 << 20);
	assert_false(r->upgrade);
	unload(&l);
}

static void test_short_forms(void **state)
{
	struct loaded l;
	const struct config *c;
	const struct listen_conf *listen;
	const struct route_conf *r;

	(void)state;
	load_text(&l,
		  "listen: [ ':8080', { addr: 'unix:/run/w', proxy_protocol: true } ]\n"
		  "upstreams: { app: 127.0.0.1:3000, two: [ 127.0.0.1:1, { addr: 127.0.0.1:2, "
		  "weight: 3 } ] }\n"
		  "workers: auto\nprobes: 0.0.0.0:9902\nadmin: 127.0.0.1:9901\n"
		  "log: { access: ./a.log, redact: X-Secret }\n",
		  "routes: [ { to: app, timeout: 30s, match: { path: /a }, set: { x-a: b } }, { "
		  "to: two } ]\n");
	c = l.config;
	assert_non_null(c);
	assert_int_equal(c->workers, 0);
	listen = c->listen.item;
	assert_int_equal(c->listen.n, 2);
	assert_int_equal(addr_port(&listen[0].addr), 8080);
	assert_true(listen[1].proxy_protocol);
	assert_int_equal(listen[1].at.line, 1);
	assert_true(c->probes.present && c->admin.present);
	assert_int_equal(c->log.access, ACCESS_FILE);
	assert_string_equal(c->log.access_file, "./a.log");
	assert_string_equal(*(const char *const *)c->log.redact.item, "x-secret");
	assert_int_equal(((const struct cluster_conf *)c->upstreams.item)[1].endpoints.n, 2);
	r = c->routes.item;
	assert_true(r->timeout.total_ns == UINT64_C(30000000000));
	assert_string_equal(((const struct set_conf *)r->set.item)->value, "b");
	assert_string_equal(r[0].name, "/a");
	unload(&l);
}

static void test_route_names_are_unique(void **state)
{
	struct loaded l;
	const struct route_conf *r;

	(void)state;
	load_text(&l, base,
		  "routes:\n"
		  "  - { to: app, use: per-client, match: { path: /x, methods: GET } }\n"
		  "  - { to: app, match: { path: /x, methods: POST } }\n"
		  "  - { to: app, match: { path: /x, hosts: [a.example] } }\n"
		  "  - { to: app, name: /x-3, match: { path: /y } }\n"
		  "  - { to: app, match: { path: /x } }\n");
	assert_non_null(l.config);
	r = l.config->routes.item;
	assert_string_equal(r[0].name, "/x");
	assert_string_equal(r[1].name, "/x-2");
	assert_string_equal(r[2].name, "a.example/x");
	assert_string_equal(r[4].name, "/x-4");
	unload(&l);
}

static void test_flags(void **state)
{
	struct loaded l;
	struct arena arena;

	(void)state;
	arena_init(&l.arena, NULL);
	arena_init(&l.diag_arena, NULL);
	diags_init(&l.diags, &l.diag_arena);
	l.config = config_from_flags(":8080", "127.0.0.1:3000", "100/s", "200", &l.arena, &l.diags);
	assert_non_null(l.config);
	assert_int_equal(l.config->policies.n, 1);
	unload(&l);

	diags_init(&l.diags, &l.diag_arena);
	l.config = config_from_flags(NULL, "127.0.0.1:3000", NULL, NULL, &l.arena, &l.diags);
	assert_non_null(l.config);
	assert_int_equal(l.config->policies.n, 0);
	unload(&l);

	arena_init(&arena, NULL);
	diags_init(&l.diags, &l.diag_arena);
	assert_null(config_from_flags(NULL, "127.0.0.1:3000", NULL, "5", &l.arena, &l.diags));
	assert_null(config_from_flags("$x\"\n: [", "\"}", "1", "x", &l.arena, &l.diags));
	assert_true(l.diags.errors >= 4);
	unload(&l);
	arena_fini(&arena);
}

/*------------------------------------------------------------------ secrets */

static void test_secrets_are_never_shown(void **state)
{
	char text[1024], path[] = "/tmp/weir-secret-XXXXXX";
	struct buf yaml = { 0 }, json = { 0 }, changes = { 0 };
	struct loaded a, b;
	char hash_a[65], hash_b[65];
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	snprintf(
	    text, sizeof(text),
	    "admin: { listen: 127.0.0.1:9901, token: '${file:%s}' }\npid_file: /run/${file:%s}\n"
	    "routes: [ { to: app, use: per-client, set: { authorization: 'Bearer ${file:%s}', x: y "
	    "} } ]\n",
	    path, path, path);
	write_file(path, "hunter2\n", 8);
	load_text(&a, base, text);
	write_file(path, "hunter3", 7);
	load_text(&b, base, text);
	unlink(path);
	assert_non_null(a.config);
	assert_non_null(b.config);
	assert_string_equal(a.config->admin.token, "hunter2");
	assert_string_equal(a.config->pid_file, "/run/hunter2");
	schema_dump_yaml(&config_schema, a.config, &yaml);
	schema_dump_json(&config_schema, a.config, &json);
	assert_null(strstr(yaml.p, "hunter"));
	assert_null(strstr(json.p, "hunter"));
	assert_non_null(strstr(yaml.p, "authorization: \"<redacted>\""));
	assert_non_null(strstr(yaml.p, "x: \"y\""));
	assert_int_equal(schema_diff(&config_schema, a.config, b.config, &changes, NULL), 3);
	assert_null(strstr(changes.p, "hunter"));
	config_hash(a.config, hash_a);
	config_hash(b.config, hash_b);
	assert_string_equal(hash_a, hash_b);
	buf_fini(&yaml);
	buf_fini(&json);
	buf_fini(&changes);
	unload(&a);
	unload(&b);
}

/* What names an item is shown, but no item that came from a file, and none of what names credentials. */
static void test_secrets_in_lists_are_never_shown(void **state)
{
	static const char form[] =
	    "routes:\n"
	    "  - { to: app, match: { path: /, hosts: [ a.example, '${file:%s}.example' ],\n"
	    "        when: { header.x-api-key: [ %s, other-hunter ], header.x: [ %s ] } } }\n"
	    "  - { to: app, name: 'r-${file:%s}' }\n"
	    "values:\n"
	    "  who: { of: '{header.authorization}', map: [ { match: [ %s, b ], value: c } ] }\n";
	char text[1024], path[] = "/tmp/weir-secret-XXXXXX";
	struct buf yaml = { 0 }, changes = { 0 };
	struct loaded a, b;
	int fd = mkstemp(path);

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	write_file(path, "hunter2\n", 8);
	snprintf(text, sizeof(text), form, path, "hunter2", "one", path, "hunter2");
	load_text(&a, base, text);
	write_file(path, "hunter3", 7);
	snprintf(text, sizeof(text), form, path, "hunter3", "two", path, "hunter3");
	load_text(&b, base, text);
	unlink(path);
	assert_non_null(a.config);
	assert_non_null(b.config);
	schema_dump_yaml(&config_schema, a.config, &yaml);
	assert_null(strstr(yaml.p, "hunter"));
	assert_int_equal(schema_diff(&config_schema, a.config, b.config, &changes, NULL), 5);
	if (strstr(changes.p, "hunter") != NULL)
		fail_msg("shown: %s", changes.p);
	assert_non_null(strstr(changes.p, "hosts: [a.example, \"<redacted>\"] -> ["));
	assert_non_null(strstr(changes.p, ": one -> two"));
	buf_fini(&yaml);
	buf_fini(&changes);
	unload(&a);
	unload(&b);
}

/*--------------------------------------------------------------- round trip */

static void expect_round_trip(const char *path)
{
	struct loaded first, again;
	struct buf once = { 0 }, twice = { 0 }, changes = { 0 };
	unsigned restart;
	char copy[] = "/tmp/weir-dump-XXXXXX";
	int fd = mkstemp(copy);

	assert_true(fd >= 0);
	close(fd);
	load_file(&first, path);
	if (first.config == NULL)
		fail_msg("%s does not load: %s", path, first.diags.first->message);
	schema_dump_yaml(&config_schema, first.config, &once);
	write_file(copy, once.p, once.n);
	load_file(&again, copy);
	unlink(copy);
	if (again.config == NULL)
		fail_msg("the dump of %s does not load: %s\n%s", path, again.diags.first->message,
			 once.p);
	schema_dump_yaml(&config_schema, again.config, &twice);
	assert_string_equal(once.p, twice.p);
	schema_diff(&config_schema, first.config, again.config, &changes, &restart);
	/* only what is not shown may differ */
	for (struct slice rest = slice_of(changes.p, changes.n); rest.n > 0;) {
		struct slice line = slice_cut(&rest, '\n');

		assert_non_null(memmem(line.p, line.n, "<redacted>", 10));
	}
	assert_int_equal(first.diags.warnings, again.diags.warnings);
	buf_fini(&once);
	buf_fini(&twice);
	buf_fini(&changes);
	unload(&first);
	unload(&again);
}

static void test_examples_load_and_come_back(void **state)
{
	static const char *const names[] = { "minimal.yaml", "quickstart.yaml", "full.yaml",
					     "tls.yaml",     "tenants.yaml",	"grpc.yaml" };

	(void)state;
	setenv("WEIR_TEST_TOKEN", "x", 1);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		char path[512];
		struct loaded l;

		snprintf(path, sizeof(path), "%s/%s", EXAMPLES_DIR, names[i]);
		expect_round_trip(path);
		load_file(&l, path);
		assert_int_equal(l.diags.warnings, 0);
		unload(&l);
	}
}

static void test_odd_text_comes_back(void **state)
{
	char path[] = "/tmp/weir-odd-XXXXXX";
	int fd = mkstemp(path);
	static const char text[] =
	    "listen: '[::1]:8080'\nupstreams: { \"true\": 127.0.0.1:3000 }\n"
	    "pid_file: \"a$$b\\\"c\\\\d: \\u00e9\\u2028\\x7f #x\"\n"
	    "client_ip: { trust: [10.0.0.0/8, '2001:db8::/32', 10.1.2.3], header: forwarded }\n"
	    "policies: { \"007\": { rate: 5/1h30m, burst: 77, shadow: true }, \"null\": { rate: "
	    "unlimited }, p$r: { rate: 1/s }, '$${x}': { rate: 1/s } }\n"
	    "routes: [ { to: \"true\", use: ['007', 'null', p$r, '$$$${x}'], match: { hosts: ['*.example.com'], "
	    "path: \"/a b/*\","
	    " methods: [GET, X-ODD] }, timeout: { total: 1.5s, first_byte: 90ms },"
	    " set: { x-1: '', x-2: 'yes', x-3: '1e3', x-4: ' a ', x-5: '${A:-$$}' } } ]\n";

	(void)state;
	assert_true(fd >= 0);
	close(fd);
	write_file(path, text, sizeof(text) - 1);
	expect_round_trip(path);
	unlink(path);
}

/*--------------------------------------------------------------- diff, docs */

static void expect_changes(const char *old_routes, const char *new_routes, const char *expected,
			   unsigned restarts)
{
	struct loaded old, new;
	struct buf changes = { 0 };
	unsigned restart;

	load_text(&old, base, old_routes);
	load_text(&new, base, new_routes);
	assert_non_null(old.config);
	assert_non_null(new.config);
	schema_diff(&config_schema, old.config, new.config, &changes, &restart);
	assert_string_equal(changes.p == NULL ? "" : changes.p, expected);
	assert_int_equal(restart, restarts);
	buf_fini(&changes);
	unload(&old);
	unload(&new);
}

static void test_diff(void **state)
{
	(void)state;
	expect_changes("routes: [ { to: app, use: per-client } ]\n",
		       "routes: [ { to: app, use: [per-client] } ]\n", "", 0);
	expect_changes("routes: [ { name: a, to: app, use: per-client } ]\n",
		       "routes: [ { name: b, to: app, use: per-client } ]\nworkers: 2\n"
		       "limits: { headers: 7 }\nprobes: 127.0.0.1:9902\n",
		       "~ workers: 1 -> 2 (needs a restart)\n"
		       "~ limits.headers: 100 -> 7\n"
		       "+ probes.listen: 127.0.0.1:9902\n"
		       "+ routes[b]\n"
		       "- routes[a]\n",
		       1);
	expect_changes("routes: [ { name: a, to: app, match: { path: /a }, use: per-client }, { "
		       "name: b, to: app } ]\n",
		       "routes: [ { name: b, to: app, match: { path: /b } }, { name: a, to: app, "
		       "match: { path: /a },"
		       " timeout: 3s } ]\n",
		       "+ routes[b].match.path: /b\n"
		       "- routes[a].use[per-client]\n"
		       "+ routes[a].timeout.total: 3s\n"
		       "~ routes: the order changed\n",
		       0);
}

/* The variables of expect_changes have `per-client` unused in places: warnings only. */
static void test_hash_follows_the_content(void **state)
{
	struct loaded a, b, c;
	char x[65], y[65], z[65];

	(void)state;
	load_text(&a, base, "routes: [ { to: app, use: per-client } ]\n");
	load_text(&b, base, "routes:\n  - use: [per-client]\n    to: app\n    max_body: 32MiB\n");
	load_text(&c, base, "routes: [ { to: app, use: per-client, max_body: 1KiB } ]\n");
	config_hash(a.config, x);
	config_hash(b.config, y);
	config_hash(c.config, z);
	assert_string_equal(x, y);
	assert_string_not_equal(x, z);
	assert_int_equal(strlen(x), 64);
	unload(&a);
	unload(&b);
	unload(&c);
}

static void test_json_schema_is_json(void **state)
{
	struct buf text = { 0 };
	struct arena arena;
	struct diags diags;
	const struct node *root, *routes;

	(void)state;
	schema_json_schema(&config_schema, &text);
	arena_init(&arena, NULL);
	diags_init(&diags, &arena);
	/* JSON is YAML; dollars are no variables here */
	for (size_t i = 0; i < text.n; i++)
		if (text.p[i] == '$')
			text.p[i] = '_';
	root = node_read_own(slice_of(text.p, text.n), &arena, &diags);
	assert_non_null(root);
	assert_non_null(node_get(root, "_schema"));
	routes = node_get(node_get(root, "properties"), "routes");
	assert_non_null(node_get(routes, "description"));
	assert_int_equal(node_get(root, "required")->kind, NODE_LIST);
	buf_fini(&text);
	arena_fini(&arena);
}

static void test_reference_is_current(void **state)
{
	struct buf expected = { 0 }, made = { 0 };
	const char *path = TESTS_DIR "/../conf/REFERENCE.md", *at;

	(void)state;
	schema_reference(&config_schema, &made);
	assert_non_null(read_file(path, &expected));
	at = strstr(expected.p, "\n## ");
	if (at == NULL || strcmp(at, made.p) != 0)
		fail_msg("conf/REFERENCE.md is old: weir reference > conf/REFERENCE.md");
	buf_fini(&expected);
	buf_fini(&made);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_errors_as_expected),
		cmocka_unit_test(test_missing_file),
		cmocka_unit_test(test_a_wrong_alias),
		cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_short_forms),
		cmocka_unit_test(test_route_names_are_unique),
		cmocka_unit_test(test_flags),
		cmocka_unit_test(test_secrets_are_never_shown),
		cmocka_unit_test(test_secrets_in_lists_are_never_shown),
		cmocka_unit_test(test_examples_load_and_come_back),
		cmocka_unit_test(test_odd_text_comes_back),
		cmocka_unit_test(test_diff),
		cmocka_unit_test(test_hash_follows_the_content),
		cmocka_unit_test(test_json_schema_is_json),
		cmocka_unit_test(test_reference_is_current),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
