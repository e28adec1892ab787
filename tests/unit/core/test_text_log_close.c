/* Files that no log writes to any more: all of them are told before one is waited for.  The logs below them only write
 * down what is asked of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "core/access_log.h"
#include "core/text_log.h"

struct access_log {
	char name;
};

static char asked[64];

static void note(const struct access_log *log, char what)
{
	size_t n = strlen(asked);

	assert_true(n + 3 < sizeof(asked));
	asked[n] = what;
	asked[n + 1] = log->name;
}

struct access_log *access_log_open_text(const char *target, uint64_t buffer_bytes, unsigned workers,
					_Atomic uint64_t *total, struct diags *diags)
{
	struct access_log *log = malloc(sizeof(*log));

	(void)buffer_bytes, (void)workers, (void)total, (void)diags;
	assert_non_null(log);
	log->name = target[strlen(target) - 1];
	return log;
}

void access_log_finish(struct access_log *log)
{
	note(log, '!');
}

void access_log_close(struct access_log *log)
{
	note(log, '-');
	free(log);
}

struct access_log *access_log_open(const struct log_conf *conf, unsigned workers,
				   struct diags *diags)
{
	(void)conf, (void)workers, (void)diags;
	return NULL;
}

bool access_log_reconfigure(struct access_log *log, const struct log_conf *conf,
			    struct diags *diags)
{
	(void)log, (void)conf, (void)diags;
	return true;
}

void access_log_reopen(struct access_log *log)
{
	(void)log;
}

void access_log_write(struct access_log *log, unsigned w, const struct call_record *r)
{
	(void)log, (void)w, (void)r;
}

void access_log_put(struct access_log *log, unsigned w, struct slice line)
{
	(void)log, (void)w, (void)line;
}

void access_log_kick(struct access_log *log, unsigned w)
{
	(void)log, (void)w;
}

uint64_t access_log_dropped(const struct access_log *log)
{
	(void)log;
	return 0;
}

static const struct text_log_conf text[] = {
	{ .name = { .name = "a" }, .path = "/a", .format = { .text = "x" } },
	{ .name = { .name = "b" }, .path = "/b", .format = { .text = "x" } },
	{ .name = { .name = "c" }, .path = "/b", .format = { .text = "x" } },
};
static const struct event_log_conf event[] = {
	{ .name = { .name = "e" }, .path = "/a" },
	{ .name = { .name = "f" }, .path = "/d" },
};

static void test_all_are_told_before_one_is_waited_for(void **state)
{
	const struct config more = { .log = { .text = { 3, (void *)(uintptr_t)text },
					      .events = { 2, (void *)(uintptr_t)event } } };
	const struct config less = { .log.text = { 1, (void *)(uintptr_t)text } };
	struct log_files *files = log_files_new(1, 65536);
	struct text_logs old, new;
	struct arena arena;
	struct diags diags;

	(void)state;
	arena_init(&arena, NULL);
	diags_init(&diags, &arena);
	assert_true(text_logs_open(&old, &more, files, &arena, &diags));
	assert_true(text_logs_open(&new, &less, files, &arena, &diags));
	text_logs_close(&old, files);
	assert_string_equal(asked, "!b!d-b-d");
	text_logs_close(&new, files);
	assert_string_equal(asked, "!b!d-b-d!a-a");
	log_files_free(files);
	arena_fini(&arena);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_are_told_before_one_is_waited_for),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
