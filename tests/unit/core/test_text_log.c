/* Lines of text: escapes of values, what is known when, which logs a route chooses, and what one says of an excess. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include "core/config.h"
#include "core/template.h"
#include "core/text_log.h"
#include "filters/quota.h"

struct fixture {
	struct arena arena;
	struct diags diags;
	struct head req;
	struct call call;
	struct template_values values;
};

static void set_up(struct fixture *f)
{
	static const struct template_match no_match;

	*f = (struct fixture){ .call = { .route = "r" } };
	arena_init(&f->arena, NULL);
	diags_init(&f->diags, &f->arena);
	head_init(&f->req, &f->arena);
	f->req.path = slice_str("/");
	f->call.req = &f->req;
	f->call.arena = &f->arena;
	f->values = (struct template_values){ .call = &f->call, .match = &no_match };
}

static void expect_escaped(enum template_form form, const char *value, const char *want)
{
	static const struct template_match at_end = { .time = AT_END };
	static const struct slice name = SLICE("x-a");
	struct fixture f;
	struct template t;
	struct slice got;

	set_up(&f);
	if (value != NULL)
		assert_true(head_add_name(&f.req, name, slice_str(value)));
	assert_true(template_parse(&t, "<{header.x-a}>", false, &at_end, "`format`",
				   (struct place){ 0 }, &f.arena, &f.diags));
	assert_true(template_fill(&t, &f.values, form, &got));
	if (!slice_is(got, want))
		fail_msg("\"%.*s\" is not \"%s\"", SLICE_FMT(got), want);
	arena_fini(&f.arena);
}

static void test_escapes(void **state)
{
	(void)state;
	expect_escaped(TEMPLATE_LOG, NULL, "<->");
	expect_escaped(TEMPLATE_LOG_JSON, NULL, "<>");
	expect_escaped(TEMPLATE_TEXT, NULL, "<>");
	expect_escaped(TEMPLATE_LOG, "a\"b\\c\n\x7f\xc3\xa9",
		       "<a\\x22b\\x5Cc\\x0A\\x7F\\xC3\\xA9>");
	expect_escaped(TEMPLATE_LOG_JSON, "a\"b\\c\n\t\x01\xc3\xa9",
		       "<a\\\"b\\\\c\\n\\t\\u0001\xc3\xa9>");
	expect_escaped(TEMPLATE_TEXT, "a\"b\\", "<a\"b\\>");
}

static bool is_known(const char *text, enum template_time time)
{
	const struct template_match match = { .time = (uint8_t)time };
	struct fixture f;
	struct template t;
	bool ok;

	set_up(&f);
	ok =
	    template_parse(&t, text, false, &match, "`x`", (struct place){ 0 }, &f.arena, &f.diags);
	arena_fini(&f.arena);
	return ok;
}

static void test_what_is_known_when(void **state)
{
	(void)state;
	assert_false(is_known("{status}", AT_REQUEST));
	assert_false(is_known("{response.bytes}", AT_ANSWER));
	assert_false(is_known("{upstream.header.}", AT_END));
	assert_false(is_known("{upstream.adress}", AT_END));
	assert_true(is_known("{connection} {time.local} {request}", AT_REQUEST));
	assert_true(is_known("{status} {upstream.address} {upstream.header.x}", AT_ANSWER));
	assert_true(is_known("{response.bytes} {response.header.x} {limit.rate}", AT_END));
}

static const char *const both[] = { "access", "a" }, *const none[] = { "none" },
			 *const odd[] = { "b" };

/* "errors", or how many logs were chosen, and one more for the access log. */
static int chosen(const char *const *names, uint32_t n)
{
	const struct text_log_conf conf = { .name = { .name = "a" },
					    .path = "/nowhere/a.log",
					    .format = { .text = "{status}" } };
	const struct config config = { .log.text = { 1, (void *)(uintptr_t)&conf } };
	const struct conf_list list = { n, (void *)(uintptr_t)names };
	struct fixture f;
	struct text_logs logs;
	struct log_choice c = { .access = false };
	bool ok;

	set_up(&f);
	ok = text_logs_open(&logs, &config, NULL, &f.arena, &f.diags) &&
	     log_choice_make(&c, &logs, &list, (struct place){ 0 }, &f.arena, &f.diags);
	text_logs_close(&logs, NULL);
	arena_fini(&f.arena);
	return ok ? (int)c.n + 10 * c.access : -1;
}

static void test_choices(void **state)
{
	(void)state;
	assert_int_equal(chosen(odd, 1), -1);
	assert_int_equal(chosen(none, 1), 0);
	assert_int_equal(chosen(both, 2), 11);
	assert_int_equal(chosen(both + 1, 1), 1);
	assert_int_equal(chosen(both, 0), 11);
}

static void test_file_that_cannot_be_opened(void **state)
{
	const struct text_log_conf conf = { .name = { .name = "a" },
					    .path = "/nowhere/at/all/a.log",
					    .format = { .text = "x" } };
	const struct config config = { .log.text = { 1, (void *)(uintptr_t)&conf } };
	struct log_files *files = log_files_new(1, 65536);
	struct text_logs logs;
	struct fixture f;

	(void)state;
	set_up(&f);
	assert_false(text_logs_open(&logs, &config, files, &f.arena, &f.diags));
	assert_string_equal(f.diags.first->code, "E018");
	text_logs_close(&logs, files);
	log_files_free(files);
	arena_fini(&f.arena);
}

/* 2/s, two at once: what comes beyond waits, or is refused. */
static void test_excess(void **state)
{
	struct quota_rule r = { .algorithm = TOKEN_BUCKET };
	struct quota_view view;
	quota_state s = 0;
	uint64_t now = UINT64_C(1000000000000);

	(void)state;
	assert_null(gcra_rule_init(&r.bucket, 2, 1000000000, 2));
	assert_true(quota_take(&s, &r, NULL, now, 1, &view));
	assert_true(quota_take(&s, &r, NULL, now, 1, &view));
	assert_false(quota_take(&s, &r, NULL, now, 1, &view));
	assert_int_equal(quota_excess(&r, &view, true), 2000);
	assert_false(quota_take(&s, &r, NULL, now + 250000000, 1, &view));
	assert_int_equal(quota_excess(&r, &view, true), 1500);
	assert_null(gcra_rule_shape(&r.bucket, 1000000000, 1));
	assert_true(quota_take(&s, &r, NULL, now + 250000000, 1, &view));
	assert_int_equal(quota_excess(&r, &view, false), 1500);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_file_that_cannot_be_opened),
		cmocka_unit_test(test_what_is_known_when),
		cmocka_unit_test(test_choices),
		cmocka_unit_test(test_escapes),
		cmocka_unit_test(test_excess),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
