/* test_diag.c - findings: order, bounds, the four formats. */
#include <glob.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf/diag.h"
#include "conf/sha256.h"
#include "conf/suggest.h"
#include "conf/utf8.h"

static const char text[] =
    "version: 1\npolicies:\n  per-client: { rate: 100/s, brust: 200, key: client.ip }\n";

struct fixture {
	struct arena arena;
	struct diags diags;
	struct buf out;
};

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	arena_init(&f->arena, NULL);
	diags_init(&f->diags, &f->arena);
	diags_add_source(&f->diags, "weir.yaml", slice_str(text), (struct place){ 0 });
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	struct fixture *f = *state;

	arena_fini(&f->arena);
	buf_fini(&f->out);
	free(f);
	return 0;
}

static struct place at(uint32_t line, uint32_t column, uint32_t end)
{
	return (
	    struct place){ .file = "weir.yaml", .line = line, .column = column, .end_column = end };
}

static void brust(struct fixture *f)
{
	struct diag *d = diag_error(&f->diags, at(3, 30, 35), "E012", "unknown key `%s` in %s",
				    "brust", "a rate policy");

	d->suggestion = "burst";
	d->help = "a rate policy takes: rate burst algorithm";
	d->path = "policies.per-client";
}

static const char *print(struct fixture *f, enum diag_format format, bool colour)
{
	f->out.n = 0;
	if (f->out.p != NULL)
		f->out.p[0] = '\0';
	diags_print(&f->diags, format, "weir.yaml", "not loaded, the running configuration stays",
		    colour, &f->out);
	return f->out.p;
}

static void test_human(void **state)
{
	struct fixture *f = *state;

	brust(f);
	assert_string_equal(
	    print(f, DIAG_HUMAN, false),
	    "error[E012]: unknown key `brust` in a rate policy\n"
	    "  --> weir.yaml:3:30\n"
	    "   |\n"
	    " 3 |   per-client: { rate: 100/s, brust: 200, key: client.ip }\n"
	    "   |                              ^^^^^ did you mean `burst`?\n"
	    "   = a rate policy takes: rate burst algorithm\n"
	    "weir.yaml: 1 error, 0 warnings; not loaded, the running configuration stays\n");
	assert_non_null(strstr(print(f, DIAG_HUMAN, true), "\033[1;31merror[E012]\033[0m"));
}

static void test_machine_formats(void **state)
{
	struct fixture *f = *state;

	brust(f);
	diag_warning(&f->diags, (struct place){ 0 }, "W101", "100%% \"odd\"\nline");
	assert_string_equal(
	    print(f, DIAG_GCC, false),
	    "weir: warning: 100% \"odd\"\\u000aline [W101]\n"
	    "weir.yaml:3:30: error: unknown key `brust` in a rate policy; did you mean `burst`? "
	    "[E012]\n"
	    "weir.yaml:3:30: note: a rate policy takes: rate burst algorithm\n");
	assert_string_equal(
	    print(f, DIAG_JSON, false),
	    "[\n"
	    "  "
	    "{\"file\":null,\"line\":null,\"column\":null,\"end_column\":null,"
	    "\"severity\":\"warning\","
	    "\"code\":\"W101\",\"message\":\"100% "
	    "\\\"odd\\\"\\nline\",\"suggestion\":null,\"help\":null,\"path\":null},\n"
	    "  "
	    "{\"file\":\"weir.yaml\",\"line\":3,\"column\":30,\"end_column\":35,"
	    "\"severity\":\"error\","
	    "\"code\":\"E012\",\"message\":\"unknown key `brust` in a rate "
	    "policy\",\"suggestion\":\"burst\","
	    "\"help\":\"a rate policy takes: rate burst algorithm\","
	    "\"path\":\"policies.per-client\"}\n]\n");
	assert_string_equal(
	    print(f, DIAG_GITHUB, false),
	    "::warning title=W101::100%25 \"odd\"%0Aline\n"
	    "::error file=weir.yaml,line=3,col=30,endColumn=35,title=E012::unknown "
	    "key `brust` in a "
	    "rate policy; did you mean `burst`?%0Aa rate policy takes: rate burst algorithm\n");
}

static void test_nothing_wrong(void **state)
{
	struct fixture *f = *state;

	assert_string_equal(print(f, DIAG_JSON, false), "[]\n");
	assert_int_equal(strlen(print(f, DIAG_GITHUB, false)), 0);
	assert_string_equal(
	    print(f, DIAG_HUMAN, false),
	    "weir.yaml: 0 errors, 0 warnings; not loaded, the running configuration stays\n");
}

static void test_order_and_doubles(void **state)
{
	struct fixture *f = *state;
	const struct diag *d;

	diags_add_source(&f->diags, "b.yaml", slice_str("x\n"), at(1, 1, 2));
	diag_error(&f->diags, (struct place){ .file = "b.yaml", .line = 1, .column = 1 }, "E015",
		   "last");
	diag_error(&f->diags, at(3, 5, 6), "E015", "third");
	diag_error(&f->diags, at(3, 1, 2), "E015", "second");
	diag_warning(&f->diags, at(1, 9, 9), "W101", "first");
	diag_error(&f->diags, at(3, 5, 6), "E015", "third");
	d = f->diags.first;
	assert_string_equal(d->message, "first");
	assert_string_equal(d->next->message, "second");
	assert_string_equal(d->next->next->message, "third");
	assert_string_equal(d->next->next->next->message, "last");
	assert_null(d->next->next->next->next);
	assert_int_equal(f->diags.errors, 3);
	assert_int_equal(f->diags.warnings, 1);
	assert_non_null(strstr(print(f, DIAG_HUMAN, false), "included from weir.yaml:1:1"));
	assert_non_null(strstr(print(f, DIAG_GCC, false),
			       "In file included from weir.yaml:1:1:\nb.yaml:1:1: "));
}

static unsigned count(const char *haystack, const char *needle)
{
	unsigned n = 0;

	for (; (haystack = strstr(haystack, needle)) != NULL; haystack++)
		n++;
	return n;
}

static void test_accepted(void **state)
{
	struct fixture *f = *state;

	diags_accept(&f->diags, slice_str("W103"));
	diags_accept(&f->diags, slice_str("E012"));
	diags_accept(&f->diags, slice_str("nonsense"));
	diag_warning(&f->diags, (struct place){ 0 }, "W103", "meant")->help = "not kept";
	diag_warning(&f->diags, (struct place){ 0 }, "W104", "not meant");
	diag_error(&f->diags, (struct place){ 0 }, "E012", "errors are none of it");
	assert_int_equal(f->diags.warnings, 1);
	assert_int_equal(f->diags.errors, 1);
}

static void test_bounds(void **state)
{
	struct fixture *f = *state;

	for (uint32_t i = 0; i < 2000; i++)
		diag_warning(&f->diags, at(1, i + 1, i + 2), "W101", "number %u", i);
	for (uint32_t i = 0; i < 5; i++)
		diag_error(&f->diags, at(2, i + 1, i + 2), "E015", "wrong %u", i)->help = "h";
	assert_int_equal(f->diags.warnings, 2000);
	assert_int_equal(f->diags.errors, 5);
	print(f, DIAG_HUMAN, false);
	/* what is beyond the kept ones is only counted, but errors have a room of their own */
	assert_int_equal(count(f->out.p, "[E015]"), 5);
	assert_int_equal(count(f->out.p, "[W101]"), DIAG_MAX - 5);
	assert_non_null(strstr(f->out.p, "more not shown)\n"));
}

static void test_errors_before_warnings(void **state)
{
	struct fixture *f = *state;

	for (uint32_t i = 0; i < 30; i++)
		diag_warning(&f->diags, at(1, i + 1, i + 2), "W101", "number %u", i);
	for (uint32_t i = 0; i < 15; i++)
		diag_error(&f->diags, at(2, i + 1, i + 2), "E015", "wrong %u", i);
	print(f, DIAG_HUMAN, false);
	assert_int_equal(count(f->out.p, "[E015]"), 15);
	assert_int_equal(count(f->out.p, "[W101]"), 5);
	assert_non_null(strstr(f->out.p, "(25 more not shown)\n"));
	print(f, DIAG_JSON, false);
	assert_int_equal(count(f->out.p, "\"file\""), DIAG_MAX);
}

static void test_out_of_memory(void **state)
{
	struct fixture *f = *state;

	diags_out_of_memory(&f->diags);
	diags_out_of_memory(&f->diags);
	assert_int_equal(f->diags.errors, 1);
	assert_non_null(strstr(print(f, DIAG_HUMAN, false), "error[E099]: out of memory"));
	assert_int_equal(count(print(f, DIAG_JSON, false), "E099"), 1);
}

static void test_nothing_moves_the_cursor(void **state)
{
	struct fixture *f = *state;

	diags_add_source(&f->diags, "evil", slice_str("a\033[2J\x9b\xff\tb\n"),
			 (struct place){ 0 });
	diag_error(&f->diags,
		   (struct place){ .file = "evil", .line = 1, .column = 99, .end_column = 200 },
		   "E015", "it says \033[31m \xff");
	print(f, DIAG_HUMAN, false);
	for (size_t i = 0; i < f->out.n; i++)
		assert_true(f->out.p[i] == '\n' || (f->out.p[i] >= ' ' && f->out.p[i] < 0x7F));
}

/* Long lines, of text and of rubbish, whatever the column. */
static void test_excerpts(void **state)
{
	struct fixture *f = *state;
	static const char fill[][4] = { "x", "\xC3\xA9", "\x80", "\xFF", "\xF0\x9F\x98" };

	for (size_t i = 0; i < sizeof(fill) / sizeof(fill[0]); i++) {
		struct buf line = { 0 };

		for (int n = 0; n < 400; n++)
			buf_puts(&line, fill[i]);
		for (uint32_t column = 0; column < line.n + 3; column += 7) {
			struct diags d;

			diags_init(&d, &f->arena);
			diags_add_source(&d, "long", slice_of(line.p, line.n), (struct place){ 0 });
			diag_error(&d,
				   (struct place){ .file = "long",
						   .line = 1,
						   .column = column,
						   .end_column = column + 400 },
				   "E015", "x");
			f->out.n = 0;
			diags_print(&d, DIAG_HUMAN, "long", NULL, false, &f->out);
			assert_true(f->out.n < 2000);
		}
		buf_fini(&line);
	}
}

static void test_formats_by_name(void **state)
{
	enum diag_format format;

	(void)state;
	assert_true(diag_format_parse("github", &format));
	assert_int_equal(format, DIAG_GITHUB);
	assert_false(diag_format_parse("xml", &format));
}

static void test_lines(void **state)
{
	struct slice s = slice_str("a\nb\r\nc\rd\xC2\x85"
				   "e\xE2\x80\xA8"
				   "f");
	size_t expected[] = { 2, 5, 7, 10, 14, 15 }, at_byte = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++) {
		at_byte = source_next_line(s, at_byte);
		assert_int_equal(at_byte, expected[i]);
	}
}

static void test_suggestions(void **state)
{
	static const char *const words[] = { "burst", "rate", "algorithm", NULL };

	(void)state;
	assert_int_equal(suggest_distance(slice_str("brust"), slice_str("burst")), 1);
	assert_int_equal(suggest_distance(slice_str(""), slice_str("abc")), 3);
	assert_int_equal(suggest_distance(slice_str("kitten"), slice_str("sitting")), 3);
	assert_string_equal(suggest_among(slice_str("brust"), words), "burst");
	assert_string_equal(suggest_among(slice_str("RATE"), words), "rate");
	assert_string_equal(suggest_among(slice_str("algoritm"), words), "algorithm");
	assert_null(suggest_among(slice_str("x"), words));
	assert_null(suggest_among(slice_str("key"), words));
	assert_null(suggest_among(slice_str(""), words));
	assert_null(
	    suggest_among(slice_str("an extraordinarily long word that is nowhere near anything "
				    "that this table could hold at all, ever"),
			  words));
}

static void test_utf8(void **state)
{
	static const char *const bad[] = { "\x80",
					   "\xC0\x80",
					   "\xC1\xBF",
					   "\xE0\x80\x80",
					   "\xED\xA0\x80",
					   "\xF4\x90\x80\x80",
					   "\xF8\x88\x80\x80\x80",
					   "\xC3",
					   "\xE2\x82",
					   "\xF0\x9F\x98",
					   "\xFF" };
	uint32_t c;

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(utf8_decode(bad[i], strlen(bad[i]), &c), 0);
	assert_int_equal(utf8_decode("", 0, &c), 0);
	assert_int_equal(utf8_decode("\xF0\x9F\x98\x80", 4, &c), 4);
	assert_int_equal(c, 0x1F600);
	assert_int_equal(utf8_decode("\xE2\x82\xAC", 3, &c), 3);
	assert_int_equal(c, 0x20AC);
	assert_true(utf8_is_printable('\n') && utf8_is_printable(0xE9));
	assert_false(utf8_is_printable(0x1B) || utf8_is_printable(0x7F) ||
		     utf8_is_printable(0xFEFF));
}

/* FIPS 180-4's examples, and the lengths round a block. */
static void test_sha256(void **state)
{
	static const struct {
		const char *message, *digest;
	} vectors[] = {
		{ "", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
		{ "abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
		{ "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
		  "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		  "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318" },
		{ "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
		  "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(vectors) / sizeof(vectors[0]); i++) {
		uint8_t digest[SHA256_BYTES];
		char hex[65];

		sha256(slice_str(vectors[i].message), digest);
		for (unsigned k = 0; k < SHA256_BYTES; k++)
			snprintf(hex + 2 * k, 3, "%02x", digest[k]);
		assert_string_equal(hex, vectors[i].digest);
	}
}

#define WITH(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

static bool is_registered(const char *code)
{
	for (const struct diag_code *c = diag_codes; c->code != NULL; c++)
		if (strncmp(c->code, code, 4) == 0)
			return true;
	return false;
}

static void expect_registered(const char *path)
{
	FILE *file = fopen(path, "r");
	char line[4096];

	assert_non_null(file);
	while (fgets(line, sizeof(line), file) != NULL) {
		for (const char *at = line; (at = strchr(at, '"')) != NULL; at++) {
			if ((at[1] != 'E' && at[1] != 'W') || strspn(at + 2, "0123456789") != 3 ||
			    at[5] != '"')
				continue;
			if (!is_registered(at + 1))
				fail_msg("%s: %.4s is not in diag.def", path, at + 1);
		}
	}
	fclose(file);
}

static void test_every_code_used_is_registered(void **state)
{
	static const char *const folders[] = { "conf", "filters", "proxy/*" };
	unsigned files = 0;

	(void)state;
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		char pattern[512];
		glob_t found;

		snprintf(pattern, sizeof(pattern), "%s/../%s/*.c", TESTS_DIR, folders[i]);
		assert_int_equal(glob(pattern, 0, NULL, &found), 0);
		for (size_t k = 0; k < found.gl_pathc; k++, files++)
			expect_registered(found.gl_pathv[k]);
		globfree(&found);
	}
	assert_true(files > 50);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH(test_human),
		WITH(test_machine_formats),
		WITH(test_nothing_wrong),
		WITH(test_order_and_doubles),
		WITH(test_accepted),
		WITH(test_bounds),
		WITH(test_errors_before_warnings),
		WITH(test_out_of_memory),
		WITH(test_nothing_moves_the_cursor),
		WITH(test_excerpts),
		cmocka_unit_test(test_formats_by_name),
		cmocka_unit_test(test_lines),
		cmocka_unit_test(test_suggestions),
		cmocka_unit_test(test_utf8),
		cmocka_unit_test(test_sha256),
		cmocka_unit_test(test_every_code_used_is_registered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
