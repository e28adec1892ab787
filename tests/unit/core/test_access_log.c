/* The writer: targets that are slow, gone or swapped never hold a worker up, and no line is lost
 * unseen. */
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "core/access_log.h"

static struct arena arena;
static struct diags diags;
static char dir[] = "access_log_XXXXXX";
static char path[64], moved[64];

static int setup(void **state)
{
	(void)state;
	snprintf(dir, sizeof(dir), "access_log_XXXXXX");
	assert_non_null(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/access.json", dir);
	snprintf(moved, sizeof(moved), "%s/access.json.1", dir);
	arena_init(&arena, NULL);
	diags_init(&diags, &arena);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	unlink(path);
	unlink(moved);
	rmdir(dir);
	arena_fini(&arena);
	return 0;
}

static struct log_conf conf_file(void)
{
	return (struct log_conf){ .access = ACCESS_FILE,
				  .access_file = path,
				  .buffer_bytes = 256 * 1024,
				  .refusals_per_second = 100 };
}

static struct call_record record_of(uint64_t number)
{
	return (struct call_record){ .why = reason_ok,
				     .status = 200,
				     .start_wall_ns = number * CLOCK_S,
				     .start_ns = 1,
				     .end_ns = 1,
				     .bytes_in = number };
}

static void write_lines(struct access_log *log, unsigned w, unsigned from, unsigned to)
{
	for (; from < to; from++) {
		struct call_record r = record_of(from);

		access_log_write(log, w, &r);
		access_log_kick(log, w);
	}
}

/* Whole lines of a file or descriptor to its end; checks that each is one. */
static unsigned count_lines(FILE *f, unsigned *summaries)
{
	char line[16384];
	unsigned n = 0;

	assert_non_null(f);
	while (fgets(line, sizeof(line), f) != NULL) {
		size_t len = strlen(line);

		assert_int_equal(line[0], '{');
		assert_string_equal(line + len - 2, "}\n");
		if (strstr(line, "access.suppressed") != NULL)
			++*summaries;
		else
			n++;
	}
	fclose(f);
	return n;
}

static unsigned lines_of(const char *name)
{
	unsigned summaries = 0;

	return count_lines(fopen(name, "r"), &summaries);
}

/* Of a file that may end amid one. */
static unsigned whole_lines_of(const char *name)
{
	FILE *f = fopen(name, "r");
	unsigned n = 0;
	int c;

	assert_non_null(f);
	while ((c = fgetc(f)) != EOF)
		n += c == '\n';
	fclose(f);
	return n;
}

static void test_a_target_that_cannot_be_opened(void **state)
{
	struct log_conf conf = conf_file();

	(void)state;
	conf.access_file = "no-such-directory/access.json";
	assert_null(access_log_open(&conf, 1, &diags));
	assert_int_equal(diags.errors, 1);
	assert_string_equal(diags.first->code, "E018");
	assert_non_null(strstr(diags.first->message, "no-such-directory/access.json"));
}

static void test_none_takes_everything(void **state)
{
	struct log_conf conf = { .access = ACCESS_NONE };
	struct access_log *log = access_log_open(&conf, 2, &diags);

	(void)state;
	write_lines(log, 1, 0, 100000);
	access_log_reopen(log);
	assert_int_equal(access_log_dropped(log), 0);
	access_log_close(log);
}

static void test_every_line_of_every_worker(void **state)
{
	struct log_conf conf = conf_file();
	struct access_log *log = access_log_open(&conf, 3, &diags);

	(void)state;
	for (unsigned w = 0; w < 3; w++)
		write_lines(log, w, 0, 100);
	access_log_close(log);
	assert_int_equal(lines_of(path), 300);
}

static void test_the_ring_wraps(void **state)
{
	struct log_conf conf = conf_file();
	struct access_log *log;
	uint64_t dropped;

	(void)state;
	conf.buffer_bytes = 1; /* the least there is */
	log = access_log_open(&conf, 1, &diags);
	for (unsigned i = 0; i < 1000; i++) {
		write_lines(log, 0, i, i + 1);
		if (i % 50 == 0)
			usleep(1000);
	}
	dropped = access_log_dropped(log);
	access_log_close(log);
	assert_int_equal(lines_of(path) + dropped, 1000);
}

/* A pipe in the place of stdout.  Returns its reading end; *saved is for stdout_restore. */
static int stdout_to_pipe(int *saved)
{
	int p[2];

	assert_int_equal(pipe(p), 0);
	fflush(stdout);
	*saved = dup(STDOUT_FILENO);
	dup2(p[1], STDOUT_FILENO);
	close(p[1]);
	return p[0];
}

static void stdout_restore(int saved)
{
	dup2(saved, STDOUT_FILENO);
	close(saved);
}

/* Reads to the end; returns how many lines are whole.  Where the log gave up, the last one may be
 * cut. */
static uint64_t drain_pipe(int fd)
{
	static char got[65536];
	uint64_t lines = 0;
	ssize_t n;

	while ((n = read(fd, got, sizeof(got))) > 0)
		for (ssize_t i = 0; i < n; i++)
			lines += got[i] == '\n';
	close(fd);
	return lines;
}

static void test_nobody_reads_stdout(void **state)
{
	struct log_conf conf = { .access = ACCESS_STDOUT, .buffer_bytes = 256 * 1024 };
	struct access_log *log;
	uint64_t dropped;
	int saved, out;

	(void)state;
	out = stdout_to_pipe(&saved);
	log = access_log_open(&conf, 1, &diags);
	stdout_restore(saved);
	write_lines(log, 0, 0,
		    20000); /* many times what ring and pipe hold: comes back all the same */
	dropped = access_log_dropped(log);
	assert_true(dropped > 10000);
	access_log_close(log); /* nobody reads now either: gives up */
	assert_true(drain_pipe(out) > 0);
}

/* A socket cannot be opened anew: its writes may block, and are kept small. */
static void test_nobody_reads_a_socket(void **state)
{
	struct log_conf conf = { .access = ACCESS_STDERR, .buffer_bytes = 256 * 1024 };
	struct access_log *log;
	uint64_t dropped;
	int s[2], saved = dup(STDERR_FILENO);

	(void)state;
	assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	dup2(s[1], STDERR_FILENO);
	close(s[1]);
	log = access_log_open(&conf, 1, &diags);
	dup2(saved, STDERR_FILENO);
	close(saved);
	write_lines(log, 0, 0, 20000);
	dropped = access_log_dropped(log);
	assert_true(dropped > 10000);
	access_log_close(log);
	assert_true(drain_pipe(s[0]) > 0);
}

static void test_the_reader_went_away(void **state)
{
	struct log_conf conf = { .access = ACCESS_STDOUT, .buffer_bytes = 64 * 1024 };
	struct access_log *log;
	int saved, out;

	(void)state;
	out = stdout_to_pipe(&saved);
	log = access_log_open(&conf, 1, &diags);
	close(out);
	write_lines(log, 0, 0, 100);
	stdout_restore(saved);
	access_log_close(log); /* EPIPE, and no SIGPIPE */
}

static void test_a_slow_reader_gets_whole_lines(void **state)
{
	struct log_conf conf = { .access = ACCESS_STDOUT, .buffer_bytes = 64 * 1024 };
	char got[65536], last = '\n';
	struct access_log *log;
	uint64_t lines = 0;
	int saved, out;

	(void)state;
	out = stdout_to_pipe(&saved);
	/* as small as there is: lines are cut in their middle, and the writer never comes to rest */
	assert_true(fcntl(out, F_SETPIPE_SZ, 4096) >= 4096);
	log = access_log_open(&conf, 1, &diags);
	stdout_restore(saved);
	for (unsigned i = 0; i < 50; i++) {
		ssize_t n;

		write_lines(log, 0, 100 * i, 100 * i + 100);
		n = read(out, got, sizeof(got));
		assert_true(n > 0);
		for (ssize_t k = 0; k < n; k++) {
			assert_true(last != '\n' || got[k] == '{');
			last = got[k];
			lines += last == '\n';
		}
	}
	assert_true(lines > 100);
	close(out);
	access_log_close(log);
}

static void test_refusals_are_limited_and_summed_up(void **state)
{
	struct log_conf conf = conf_file();
	struct access_log *log = access_log_open(&conf, 2, &diags);
	unsigned summaries = 0, n;

	(void)state;
	for (unsigned i = 0; i < 5000; i++) {
		struct call_record r = record_of(i);

		r.denied = true;
		r.why = reason_rate_limited;
		r.end_ns = 1 + i * CLOCK_MS; /* 5 s of it */
		access_log_write(log, 1, &r);
	}
	write_lines(log, 1, 0, 10); /* others pass */
	access_log_close(log);
	n = count_lines(fopen(path, "r"), &summaries);
	assert_int_equal(n, 5 * 50 + 10); /* half of the 100 a second is this worker's */
	assert_true(summaries >= 1);
}

static void test_no_refusals_at_all(void **state)
{
	struct log_conf conf = conf_file();
	struct access_log *log;
	struct call_record r = record_of(1);
	unsigned summaries = 0;

	(void)state;
	conf.refusals_per_second = 0;
	log = access_log_open(&conf, 1, &diags);
	r.why = reason_no_route;
	access_log_write(log, 0, &r);
	access_log_kick(log, 0);
	access_log_close(log);
	assert_int_equal(count_lines(fopen(path, "r"), &summaries), 0);
	assert_int_equal(summaries, 1);
}

/* Waits for what another thread does; the bound only ends a test that has failed. */
static bool eventually(bool (*is)(void))
{
	for (int i = 0; i < 10000; i++) {
		if (is())
			return true;
		usleep(1000);
	}
	return false;
}

static bool path_has_lines(void)
{
	struct stat st;

	return stat(path, &st) == 0 && st.st_size > 0;
}

static void test_reopen_after_rotation(void **state)
{
	struct log_conf conf = conf_file();
	struct access_log *log = access_log_open(&conf, 1, &diags);

	(void)state;
	write_lines(log, 0, 0, 10);
	assert_true(eventually(path_has_lines));
	assert_int_equal(rename(path, moved), 0);
	access_log_reopen(log);
	write_lines(log, 0, 10, 20);
	assert_true(eventually(path_has_lines));
	access_log_close(log);
	assert_int_equal(lines_of(moved) + lines_of(path), 20);
	assert_true(lines_of(moved) >= 10);
}

static void test_reopen_that_fails_keeps_the_old_one(void **state)
{
	struct log_conf conf = conf_file();
	struct access_log *log = access_log_open(&conf, 1, &diags);
	char elsewhere[sizeof(dir) + 8];

	(void)state;
	write_lines(log, 0, 0, 10);
	snprintf(elsewhere, sizeof(elsewhere), "%s.away", dir);
	assert_int_equal(rename(dir, elsewhere), 0);
	access_log_reopen(log);
	write_lines(log, 0, 10, 20);
	access_log_close(log);
	assert_int_equal(rename(elsewhere, dir), 0);
	assert_int_equal(lines_of(path), 20);
}

/* What a full disk looks like from here: the write that reaches the end is cut short, the next one
 * fails. */
static void set_room(rlim_t bytes)
{
	struct rlimit limit;

	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &limit), 0);
	limit.rlim_cur = bytes;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static bool path_is_full(void)
{
	struct stat st;

	return stat(path, &st) == 0 && st.st_size == 1000;
}

static void test_no_room_for_a_while(void **state)
{
	struct log_conf conf = conf_file();
	struct access_log *log = access_log_open(&conf, 2, &diags);

	(void)state;
	set_room(1000);
	for (unsigned i = 0; i < 100; i++)
		write_lines(log, i % 2, i, i + 1);
	assert_true(eventually(path_is_full));
	set_room(RLIM_INFINITY);
	write_lines(log, 0, 100, 110);
	assert_int_equal(access_log_dropped(log), 0);
	access_log_close(log); /* a last try */
	assert_int_equal(lines_of(path), 110);
}

static void test_no_room_for_longer_than_there_is_memory(void **state)
{
	struct log_conf conf = conf_file();
	struct access_log *log = access_log_open(&conf, 1, &diags);
	uint64_t dropped;

	(void)state;
	set_room(1000);
	write_lines(log, 0, 0, 20000);
	assert_true(eventually(path_is_full));
	dropped = access_log_dropped(log);
	assert_true(dropped > 10000);
	set_room(RLIM_INFINITY);
	access_log_close(log);
	assert_int_equal(lines_of(path) + dropped, 20000);
}

static void test_another_target_amid_a_line(void **state)
{
	struct log_conf conf = conf_file();
	struct access_log *log = access_log_open(&conf, 1, &diags);
	char last[2] = "";
	FILE *f;

	(void)state;
	set_room(1000);
	write_lines(log, 0, 0, 50);
	assert_true(eventually(path_is_full));
	assert_int_equal(rename(path, moved), 0);
	access_log_reopen(log);
	assert_true(eventually(path_is_full));
	set_room(RLIM_INFINITY);
	access_log_close(log);
	f = fopen(moved, "r"); /* its last line has no end, and is whole in the other one */
	assert_int_equal(fseek(f, -1, SEEK_END), 0);
	assert_int_equal(fread(last, 1, 1, f), 1);
	assert_int_not_equal(last[0], '\n');
	fclose(f);
	assert_int_equal(whole_lines_of(moved) + lines_of(path), 50);
}

static void test_reconfigure(void **state)
{
	static const char *const names[] = { "x-a" };
	struct log_conf conf = conf_file(), none = { .access = ACCESS_NONE };
	struct access_log *log = access_log_open(&none, 2, &diags);

	(void)state;
	write_lines(log, 0, 0, 10); /* to nowhere */
	assert_true(access_log_reconfigure(log, &conf, &diags));
	write_lines(log, 0, 10, 20);
	conf.buffer_bytes = 1024 * 1024; /* another ring: the lines in the old one are not lost */
	assert_true(access_log_reconfigure(log, &conf, &diags));
	conf.fields = (struct conf_list){ .n = 1, .item = (void *)(uintptr_t)names };
	assert_true(access_log_reconfigure(log, &conf, &diags));
	write_lines(log, 0, 20, 30);
	write_lines(log, 1, 30, 40);
	conf.access_file = "no-such-directory/x";
	assert_false(access_log_reconfigure(log, &conf, &diags));
	assert_int_equal(diags.errors, 1);
	write_lines(log, 1, 40, 50); /* the old one goes on */
	access_log_close(log);
	assert_int_equal(lines_of(path), 40);
}

static void test_many_reconfigurations(void **state)
{
	struct log_conf conf = conf_file();
	struct access_log *log = access_log_open(&conf, 2, &diags);

	(void)state;
	for (unsigned i = 0; i < 500; i++) {
		conf.buffer_bytes = (UINT64_C(64) << (i % 3)) * 1024;
		conf.access = i % 7 == 3 ? ACCESS_NONE : ACCESS_FILE;
		assert_true(access_log_reconfigure(log, &conf, &diags));
		if (conf.access == ACCESS_FILE)
			write_lines(log, i % 2, i, i + 1);
	}
	access_log_close(log);
	assert_int_equal(lines_of(path), 500 - 71);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_a_target_that_cannot_be_opened),
		TEST(test_none_takes_everything),
		TEST(test_nobody_reads_stdout),
		TEST(test_nobody_reads_a_socket),
		TEST(test_the_reader_went_away),
		TEST(test_a_slow_reader_gets_whole_lines),
		TEST(test_every_line_of_every_worker),
		TEST(test_the_ring_wraps),
		TEST(test_refusals_are_limited_and_summed_up),
		TEST(test_no_refusals_at_all),
		TEST(test_reopen_after_rotation),
		TEST(test_reopen_that_fails_keeps_the_old_one),
		TEST(test_no_room_for_a_while),
		TEST(test_no_room_for_longer_than_there_is_memory),
		TEST(test_another_target_amid_a_line),
		TEST(test_reconfigure),
		TEST(test_many_reconfigurations),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
