/* `weir check --production`: production/W201.yaml and so on have one finding each, of that code, on the line that
 * says HERE; what is fine has none. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "core/production.h"

#define FILES_DIR TESTS_DIR "/unit/core/production"

enum { GRACE_S = 31 };

struct reviewed {
	struct arena arena, diag_arena;
	struct diags diags;
};

static void review(struct reviewed *r, const char *path)
{
	struct config *c;

	arena_init(&r->arena, NULL);
	arena_init(&r->diag_arena, NULL);
	diags_init(&r->diags, &r->diag_arena);
	c = config_load(path, &r->arena, &r->diags);
	if (c == NULL)
		fail_msg("%s: %s", path, r->diags.first->message);
	production_check(c, GRACE_S * CLOCK_S, &r->diags);
}

static void forget(struct reviewed *r)
{
	arena_fini(&r->arena);
	arena_fini(&r->diag_arena);
}

/* The line with HERE in it; 0: none. */
static uint32_t marked_line(const char *path)
{
	char line[400];
	uint32_t n = 0, found = 0;
	FILE *f = fopen(path, "r");

	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL && found == 0) {
		n++;
		found = strstr(line, "HERE") != NULL ? n : 0;
	}
	fclose(f);
	return found;
}

static void expect_one(const char *path, const char *code)
{
	const struct diag *d;
	struct reviewed r;

	review(&r, path);
	d = r.diags.first;
	if (d == NULL || d->next != NULL || strcmp(d->code, code) != 0)
		fail_msg("%s: one %s, but %u: %s %s", path, code, r.diags.warnings,
			 d == NULL ? "" : d->code, d == NULL ? "" : d->message);
	if (d->at.line != marked_line(path))
		fail_msg("%s: at line %u: %s", path, d->at.line, d->message);
	assert_non_null(d->help); /* what to do */
	assert_int_equal(r.diags.errors, 0);
	forget(&r);
}

static bool has_file(const char *code)
{
	char path[300];

	snprintf(path, sizeof(path), FILES_DIR "/%s.yaml", code);
	return access(path, R_OK) == 0;
}

/*------------------------------------------------------------ certificates */

static void make_certificate(const char *path, long days)
{
	EVP_PKEY *key = EVP_EC_gen("P-256");
	X509 *cert = X509_new();
	FILE *f = fopen(path, "w");

	assert_true(key != NULL && cert != NULL && f != NULL);
	X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
	X509_gmtime_adj(X509_getm_notAfter(cert), days * 86400 + 3600);
	X509_set_pubkey(cert, key);
	assert_true(X509_sign(cert, key, EVP_sha256()) > 0);
	PEM_write_X509(f, cert);
	PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL);
	fclose(f);
	X509_free(cert);
	EVP_PKEY_free(key);
}

static int make_files(void **state)
{
	static char folder[] = "/tmp/weir-test-XXXXXX";
	char path[64];

	assert_non_null(mkdtemp(folder));
	*state = folder;
	setenv("CERTS", folder, 1);
	snprintf(path, sizeof(path), "%s/month.pem", folder);
	make_certificate(path, PRODUCTION_EXPIRY_DAYS - 1);
	snprintf(path, sizeof(path), "%s/year.pem", folder);
	make_certificate(path, 365);
	return 0;
}

static int remove_files(void **state)
{
	char path[64];

	snprintf(path, sizeof(path), "%s/month.pem", (char *)*state);
	unlink(path);
	snprintf(path, sizeof(path), "%s/year.pem", (char *)*state);
	unlink(path);
	return rmdir(*state);
}

/*------------------------------------------------------------------- tests */

static void test_each_check_finds_its_own(void **state)
{
	DIR *dir = opendir(FILES_DIR);
	unsigned files = 0;

	(void)state;
	assert_non_null(dir);
	assert_int_equal(chdir(FILES_DIR), 0);
	for (struct dirent *e; (e = readdir(dir)) != NULL;) {
		char code[5] = "";

		if (e->d_name[0] != 'W')
			continue;
		memcpy(code, e->d_name, 4); /* W202.yaml, W202_unix.yaml */
		expect_one(e->d_name, code);
		files++;
	}
	closedir(dir);
	assert_true(files >= 20);
}

static void test_every_code_has_a_file(void **state)
{
	(void)state;
	for (const struct diag_code *c = diag_codes; c->code != NULL; c++)
		if (c->code[0] == 'W' && c->code[1] == '2' && !has_file(c->code))
			fail_msg("no %s.yaml: %s", c->code, c->title);
}

static void expect_none(const char *path)
{
	struct reviewed r;

	review(&r, path);
	if (r.diags.first != NULL)
		fail_msg("%s:%u: %s", path, r.diags.first->at.line, r.diags.first->message);
	forget(&r);
}

static void test_what_is_fine_is_let_be(void **state)
{
	(void)state;
	expect_none(FILES_DIR "/fine.yaml");
	expect_none(FILES_DIR "/fine_sidecar.yaml");
	expect_none(FILES_DIR "/fine_job.yaml");
}

static void test_what_is_meant_is_let_be(void **state)
{
	(void)state;
	expect_none(FILES_DIR "/accepted.yaml");
}

/* Without --grace nobody knows. */
static void test_an_unknown_grace_is_none_of_ours(void **state)
{
	struct reviewed r;
	struct config *c;

	(void)state;
	arena_init(&r.arena, NULL);
	arena_init(&r.diag_arena, NULL);
	diags_init(&r.diags, &r.diag_arena);
	c = config_load(FILES_DIR "/W220.yaml", &r.arena, &r.diags);
	assert_non_null(c);
	production_check(c, 0, &r.diags);
	assert_int_equal(r.diags.warnings, 0);
	forget(&r);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_each_check_finds_its_own),
		cmocka_unit_test(test_every_code_has_a_file),
		cmocka_unit_test(test_what_is_fine_is_let_be),
		cmocka_unit_test(test_what_is_meant_is_let_be),
		cmocka_unit_test(test_an_unknown_grace_is_none_of_ours),
	};

	return cmocka_run_group_tests(tests, make_files, remove_files);
}
