/* One connection, against a server that says what it is told to. */
#include "rig.h"

#include "redis/link.h"

struct asked {
	struct redis_command command;
	unsigned times;
	enum redis_outcome outcome;
	int64_t answer;
	bool refused;
};

static struct redis_link *the_link;
static unsigned ready, over;
static char why[200];
static struct asked asked[REDIS_COMMANDS_MAX + 1];

static void on_ready(void *owner)
{
	(void)owner;
	ready++;
}

static void on_over(void *owner, const char *text)
{
	(void)owner;
	over++;
	the_link = NULL;
	snprintf(why, sizeof(why), "%s", text);
}

static const struct redis_link_events events = { .ready = on_ready, .over = on_over };

static void on_done(struct redis_command *c, enum redis_outcome o, const struct resp *r)
{
	struct asked *a = (struct asked *)(void *)c;

	a->times++;
	a->outcome = o;
	a->answer = r != NULL && r->type == RESP_INTEGER ? r->integer : -1;
	a->refused = r != NULL && r->type == RESP_ERROR;
}

static void open_with(struct redis_greeting g)
{
	struct addr addr;

	assert_true(addr_parse(slice_str("127.0.0.1:6379"), &addr));
	ready = over = 0;
	memset(asked, 0, sizeof(asked));
	rig_begin();
	rig_enter();
	the_link =
	    redis_link_open(&rig_loop, &addr, NULL, &g, rig_now + 250 * CLOCK_MS, &events, NULL);
	rig_leave();
	assert_non_null(the_link);
}

static void open_ready(void)
{
	open_with((struct redis_greeting){ .user = NULL });
	rig_accept(0);
	assert_string_equal(rig_heard(0), "*1\r\n$4\r\nPING\r\n");
	assert_int_equal(ready, 0);
	rig_say(0, "+PONG\r\n");
	assert_int_equal(ready, 1);
}

static bool put(unsigned i, const char *text)
{
	asked[i].command =
	    (struct redis_command){ .deadline_ns = rig_now + 20 * CLOCK_MS, .done = on_done };
	return redis_link_put(the_link, &asked[i].command, slice_str(text));
}

static void close_all(void)
{
	rig_enter();
	redis_link_close(the_link);
	rig_leave();
	the_link = NULL;
	rig_end();
}

static void test_nobody_answers(void **state)
{
	(void)state;
	open_with((struct redis_greeting){ .user = NULL });
	assert_false(put(0, "x"));
	rig_pass(249 * CLOCK_MS);
	assert_int_equal(over, 0);
	rig_pass(2 * CLOCK_MS);
	assert_int_equal(over, 1);
	assert_string_equal(why, "connecting took too long");
	close_all();
}

/* A stopped process: its kernel accepts. */
static void test_an_accepted_connection_means_nothing(void **state)
{
	(void)state;
	open_with((struct redis_greeting){ .user = NULL });
	rig_accept(0);
	assert_false(redis_link_is_ready(the_link));
	assert_false(put(0, "x"));
	rig_pass(251 * CLOCK_MS);
	assert_string_equal(why, "it did not answer in time");
	close_all();
}

static void test_refused(void **state)
{
	(void)state;
	open_with((struct redis_greeting){ .user = NULL });
	rig_server[0].open = false;
	pair_refuse(rig_server[0].pair);
	rig_turn(0);
	assert_int_equal(over, 1);
	assert_string_equal(why, "it cannot be connected to");
	close_all();
}

static void test_greeting(void **state)
{
	(void)state;
	open_with((struct redis_greeting){
	    .user = "side", .password = "se cret", .database = 3, .role = ROLE_REQUIRED });
	rig_accept(0);
	assert_string_equal(
	    rig_heard(0),
	    "*3\r\n$4\r\nAUTH\r\n$4\r\nside\r\n$7\r\nse cret\r\n"
	    "*2\r\n$6\r\nSELECT\r\n$1\r\n3\r\n*1\r\n$4\r\nROLE\r\n*1\r\n$4\r\nPING\r\n");
	rig_say(0, "+OK\r\n+OK\r\n*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n");
	assert_int_equal(ready, 0);
	rig_pass(3 * CLOCK_MS);
	rig_say(0, "+PONG\r\n");
	assert_int_equal(ready, 1);
	assert_int_equal(redis_link_greeting_ns(the_link), 3 * CLOCK_MS);
	close_all();
}

static void check_greeting(struct redis_greeting g, const char *said, const char *expected)
{
	open_with(g);
	rig_accept(0);
	rig_say(0, said);
	assert_int_equal(ready, 0);
	assert_int_equal(over, 1);
	assert_string_equal(why, expected);
	close_all();
}

static void test_bad_greetings(void **state)
{
	struct redis_greeting password = { .password = "p" }, database = { .database = 99 },
			      master = { .role = ROLE_REQUIRED }, none = { .user = NULL };

	(void)state;
	check_greeting(password, "-WRONGPASS invalid username-password pair\r\n",
		       "it does not let us in: WRONGPASS invalid username-password pair");
	check_greeting(database, "-ERR DB index is out of range\r\n",
		       "it does not have the database: ERR DB index is out of range");
	check_greeting(master, "*5\r\n$5\r\nslave\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n:0\r\n",
		       "it is not a master");
	check_greeting(master, "-NOPERM no\r\n",
		       "it does not say whether it is a master: NOPERM no");
	check_greeting(none, "-LOADING Redis is loading\r\n",
		       "it is not ready: LOADING Redis is loading");
	check_greeting(none, "-NOAUTH Authentication required.\r\n",
		       "it is not ready: NOAUTH Authentication required.");
	check_greeting(none, "HTTP/1.1 400 Bad Request\r\n",
		       "its answer is malformed, or too long");
}

/* K1. */
static void test_one_write_and_answers_in_order(void **state)
{
	(void)state;
	open_ready();
	rig_enter();
	for (unsigned i = 0; i < 3; i++)
		assert_true(put(i, i == 0 ? "a" : i == 1 ? "b" : "c"));
	assert_string_equal(rig_heard(0), "");
	rig_leave();
	assert_string_equal(rig_heard(0), "abc");
	rig_say(0, ":1\r\n-ERR x\r\n:");
	assert_int_equal(asked[0].answer, 1);
	assert_true(asked[1].refused);
	assert_int_equal(asked[2].times, 0);
	rig_say(0, "3\r\n");
	assert_int_equal(asked[2].answer, 3);
	assert_int_equal(redis_link_under_way(the_link), 0);
	rig_pass(CLOCK_S); /* nothing is awaited: nothing is late */
	assert_int_equal(over, 0);
	close_all();
}

/* K3, K2. */
static void test_a_late_answer_ends_it(void **state)
{
	(void)state;
	open_ready();
	rig_enter();
	put(0, "a");
	rig_leave();
	rig_pass(19 * CLOCK_MS);
	rig_enter();
	put(1, "b");
	rig_leave();
	assert_int_equal(over, 0);
	rig_pass(2 * CLOCK_MS);
	assert_int_equal(over, 1);
	assert_string_equal(why, "it did not answer in time");
	assert_int_equal(asked[0].outcome, REDIS_UNKNOWN);
	assert_int_equal(asked[1].outcome, REDIS_UNKNOWN);
	assert_int_equal(asked[0].times + asked[1].times, 2);
	assert_false(rig_is_open(0));
	close_all();
}

static void test_what_was_not_written_was_not_done(void **state)
{
	(void)state;
	open_ready();
	pair_knobs(rig_server[0].pair, 1)->capacity = 3;
	rig_enter();
	put(0, "aa");
	put(1, "bb");
	put(2, "cc");
	rig_leave();
	rig_cut(0);
	assert_int_equal(asked[0].outcome, REDIS_UNKNOWN);
	assert_int_equal(asked[1].outcome, REDIS_UNKNOWN); /* half of it was */
	assert_int_equal(asked[2].outcome, REDIS_NOT_DONE);
	assert_int_equal(over, 1);
	close_all();
}

static void test_closed_by_us(void **state)
{
	(void)state;
	open_ready();
	rig_enter();
	put(0, "a");
	redis_link_close(the_link);
	the_link = NULL;
	assert_int_equal(asked[0].outcome, REDIS_NOT_DONE);
	rig_leave();
	assert_int_equal(over, 0);
	assert_false(rig_is_open(0));
	close_all();
}

static void test_end_and_noise(void **state)
{
	(void)state;
	open_ready();
	rig_say(0, "+surprise\r\n");
	assert_string_equal(why, "it said something that was not asked");
	close_all();
	open_ready();
	pair_end(rig_server[0].pair, 1)->ops->half_close(pair_end(rig_server[0].pair, 1));
	rig_turn(0);
	assert_string_equal(why, "it closed the connection");
	close_all();
}

/* K5. */
static void test_bounds(void **state)
{
	static char big[REDIS_UNSENT_MAX + 2], line[4097];
	unsigned n = 0;

	(void)state;
	open_ready();
	rig_enter();
	while (n <= REDIS_COMMANDS_MAX && put(n, "x"))
		n++;
	assert_int_equal(n, REDIS_COMMANDS_MAX);
	rig_leave();
	close_all();
	open_ready();
	memset(big, 'x', sizeof(big) - 1);
	rig_enter();
	assert_false(put(0, big));
	put(0, "x");
	rig_leave();
	memset(line, 'y', sizeof(line) - 1);
	rig_say(0, "$100000000\r\n");
	for (unsigned i = 0; i < 17 && over == 0; i++)
		rig_say(0, line);
	assert_int_equal(over, 1);
	assert_string_equal(why, "its answer is malformed, or too long");
	assert_int_equal(asked[0].outcome, REDIS_UNKNOWN);
	close_all();
}

/* Of ASKING. */
static void test_skipped_answers(void **state)
{
	(void)state;
	open_ready();
	rig_enter();
	put(0, "asking a");
	asked[0].command.skip = 1;
	put(1, "b");
	rig_leave();
	rig_say(0, "+OK\r\n:7\r\n:8\r\n");
	assert_int_equal(asked[0].answer, 7);
	assert_int_equal(asked[1].answer, 8);
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody_answers),
		cmocka_unit_test(test_an_accepted_connection_means_nothing),
		cmocka_unit_test(test_refused),
		cmocka_unit_test(test_bad_greetings),
		cmocka_unit_test(test_greeting),
		cmocka_unit_test(test_one_write_and_answers_in_order),
		cmocka_unit_test(test_a_late_answer_ends_it),
		cmocka_unit_test(test_what_was_not_written_was_not_done),
		cmocka_unit_test(test_closed_by_us),
		cmocka_unit_test(test_end_and_noise),
		cmocka_unit_test(test_bounds),
		cmocka_unit_test(test_skipped_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
