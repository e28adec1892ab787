/* test_config_memory.c - memory that runs out at the first, second, third ... allocation of a load:
 * always a clean error, never a crash, a leak or a configuration that is not whole.
 *
 * malloc is replaced in this program; a sanitizer brings its own, so there the tests only run
 * without failures. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "core/config.h"

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif

static long left = -1; /* allocations that still succeed; -1: all */
static bool failed;
static long live;

#ifndef SANITIZED
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void __libc_free(void *);

static bool refuse(void)
{
	if (left < 0)
		return false;
	if (left > 0) {
		left--;
		return false;
	}
	failed = true;
	errno = ENOMEM;
	return true;
}

void *malloc(size_t n)
{
	void *p = refuse() ? NULL : __libc_malloc(n);

	live += p != NULL;
	return p;
}

void *calloc(size_t n, size_t size)
{
	void *p = refuse() ? NULL : __libc_calloc(n, size);

	live += p != NULL;
	return p;
}

void *realloc(void *old, size_t n)
{
	void *p = refuse() ? NULL : __libc_realloc(old, n);

	live += old == NULL && p != NULL;
	return p;
}

void free(void *p)
{
	live -= p != NULL;
	__libc_free(p);
}
#endif

static char dir[] = "/tmp/weir-memory-XXXXXX";
static char main_path[64];

static void put(const char *name, const char *text)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	f = fopen(path, "w");
	assert_non_null(f);
	fputs(text, f);
	fclose(f);
}

static int make_files(void **state)
{
	(void)state;
	if (mkdtemp(dir) == NULL)
		return 1;
	snprintf(main_path, sizeof(main_path), "%s/main.yaml", dir);
	put("secret", "hunter2\n");
	put("more.yaml", "policies: { other: { rate: 5/m, burst: 3, key: [client.ip, route] } }\n");
	put("main.yaml",
	    "include: m*.yaml.none\nlisten: [ 127.0.0.1:8080, { addr: ':81', proxy_protocol: true "
	    "} ]\n"
	    "admin: { listen: 127.0.0.1:9901, token: '${file:secret}' }\nprobes: ':9902'\n"
	    "client_ip: { trust: [10.0.0.0/8, '::1'] }\nlog: { access: ./x.log, redact: [a, b], "
	    "fields: [X-C] }\n"
	    "upstreams: { app: &a [ 127.0.0.1:3000, { addr: 'localhost:1', weight: 2 } ], two: *a "
	    "}\n"
	    "policies: { per-client: { rate: 100/s, key: client.ip, overrides: [ { match: "
	    "10.0.0.1, rate: 5/s } ] } }\n"
	    "routes:\n  - { to: app, use: [per-client], match: { path: /a, hosts: [x.example] } }\n"
	    "  - { to: two, set: { x-a: '${HOME:-b}' }, timeout: 3s }\n");
	put("bad.yaml",
	    "include: [more.yaml, none.d/*.yaml]\nlisten: [ 127.0.0.1:80801 ]\nupstreams: { app: "
	    "127.0.0.1:1 }\nlimts: { a: 1 }\n"
	    "policies: { p: { rate: 5 per min, brust: 3 }, p: { rate: 1/s } }\nroutes: [ { to: "
	    "ap, use: q }, ~ ]\n"
	    "log: { level: inf, access: '${NOT_SET_ANYWHERE} $TOKEN' }\n");
	return 0;
}

static int remove_files(void **state)
{
	char command[64];

	(void)state;
	snprintf(command, sizeof(command), "rm -r %s", dir);
	return system(command);
}

/* The dump when it loads; "" when it does not.  `shift` moves the borders of the arenas' blocks. */
static void load(const char *path, size_t shift, long allocations, struct buf *dump)
{
	struct arena arena, diag_arena;
	struct diags diags;
	struct config *c;
	struct buf said = { 0 };

	dump->n = 0;
	arena_init(&arena, NULL);
	arena_init(&diag_arena, NULL);
	arena_alloc(&arena, shift);
	arena_alloc(&diag_arena, shift);
	diags_init(&diags, &diag_arena);
	failed = false;
	left = allocations;
	c = config_load(path, &arena, &diags);
	left = -1;
	assert_true(c != NULL || diags.errors > 0);
	assert_true(c == NULL || diags.errors == 0);
	diags_print(&diags, DIAG_HUMAN, path, "x", false, &said);
	assert_true(said.n > 0);
	if (c != NULL)
		schema_dump_yaml(&config_schema, c, dump);
	else if (failed)
		assert_non_null(strstr(said.p, "memory"));
	buf_fini(&said);
	arena_fini(&arena);
	arena_fini(&diag_arena);
}

static void run_out(const char *path)
{
	struct buf whole = { 0 }, dump = { 0 };

	for (size_t shift = 0; shift < 4000; shift += 499) {
		long before, n = 0;

		load(path, shift, -1, &whole);
		do {
			assert_true(buf_reserve(&dump, 8192));
			before = live;
			load(path, shift, n++, &dump);
			assert_int_equal(live, before);
			/* it may do without some memory, but not half */
			if (dump.n != 0)
				assert_true(
				    slice_eq(slice_of(dump.p, dump.n), slice_of(whole.p, whole.n)));
		} while (failed);
	}
	buf_fini(&whole);
	buf_fini(&dump);
}

static void test_load(void **state)
{
	struct buf dump = { 0 };

	(void)state;
	load(main_path, 0, -1, &dump);
	assert_true(dump.n > 0);
	buf_fini(&dump);
	run_out(main_path);
}

static void test_findings(void **state)
{
	char path[128];

	(void)state;
	snprintf(path, sizeof(path), "%s/bad.yaml", dir);
	run_out(path);
}

/* Text is whole, or says that it is not. */
static void test_documents(void **state)
{
	struct arena arena;
	struct diags diags;
	struct config *c;
	struct buf whole[4] = { { 0 } };

	(void)state;
	arena_init(&arena, NULL);
	diags_init(&diags, &arena);
	c = config_load(main_path, &arena, &diags);
	assert_non_null(c);
	for (long n = -1; n == -1 || failed; n++) {
		struct buf b[4] = { { 0 } };
		long before = live;
		char hash[65];

		failed = false;
		left = n;
		schema_dump_yaml(&config_schema, c, &b[0]);
		schema_dump_json(&config_schema, c, &b[1]);
		schema_json_schema(&config_schema, &b[2]);
		schema_reference(&config_schema, &b[3]);
		config_hash(c, hash);
		left = -1;
		for (int i = 0; i < 4; i++) {
			if (n == -1)
				whole[i] = b[i];
			else if (!b[i].oom)
				assert_true(slice_eq(slice_of(b[i].p, b[i].n),
						     slice_of(whole[i].p, whole[i].n)));
			if (n != -1)
				buf_fini(&b[i]);
		}
		if (n == -1)
			failed = true; /* now with failures */
		else
			assert_int_equal(live, before);
#ifdef SANITIZED
		failed = false;
#endif
	}
	for (int i = 0; i < 4; i++)
		buf_fini(&whole[i]);
	arena_fini(&arena);
}

static void test_flags(void **state)
{
	(void)state;
	for (long n = 0; n == 0 || failed; n++) {
		struct arena arena;
		struct diags diags;
		long before = live;

		arena_init(&arena, NULL);
		diags_init(&diags, &arena);
		failed = false;
		left = n;
		if (config_from_flags(":8080", "127.0.0.1:1", "1/s", "2", &arena, &diags) == NULL)
			assert_true(diags.oom && diags.errors > 0);
		left = -1;
		arena_fini(&arena);
		assert_int_equal(live, before);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_load),
		cmocka_unit_test(test_findings),
		cmocka_unit_test(test_documents),
		cmocka_unit_test(test_flags),
	};

	return cmocka_run_group_tests(tests, make_files, remove_files);
}
