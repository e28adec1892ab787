/* Calls and what becomes of them, against servers that say what they are told to. */
#include "rig.h"

#include "redis/client.h"

struct asked {
	struct redis_call call;
	unsigned times;
	enum redis_outcome outcome;
	uint64_t granted;
};

static struct redis_client *client;
static struct redis_place place[3];
static unsigned ups, downs, nodes;
static struct asked asked[16];

static void on_up(void *owner)
{
	(void)owner;
	ups++;
}

static void on_node(void *owner)
{
	(void)owner;
	nodes++;
}

static void on_down(void *owner)
{
	(void)owner;
	downs++;
}

static const struct redis_events events = { .up = on_up, .node = on_node, .down = on_down };

static void open_with(struct redis_options o)
{
	rig_begin();
	ups = downs = nodes = 0;
	memset(asked, 0, sizeof(asked));
	for (unsigned i = 0; i < 3; i++) {
		place[i] = (struct redis_place){ .port = (uint16_t)(7000 + i) };
		snprintf(place[i].host, sizeof(place[i].host), "127.0.0.1");
	}
	o.place = place;
	o.n_places = o.n_places == 0 ? 1 : o.n_places;
	o.timeout_ns = 20 * CLOCK_MS;
	o.connect_timeout_ns = 250 * CLOCK_MS;
	o.random = 5;
	rig_enter();
	client = redis_client_new(&rig_loop, &o, &events, NULL);
	assert_non_null(client);
	redis_client_start(client);
	rig_leave();
}

static void close_all(void)
{
	rig_enter();
	redis_client_free(client);
	rig_leave();
	rig_end();
}

static void greet(unsigned i)
{
	rig_accept(i);
	assert_string_equal(rig_heard(i), "*1\r\n$4\r\nPING\r\n");
	rig_say(i, "+PONG\r\n");
}

/* One that is asked for its role. */
static void greet_role(unsigned i, const char *role)
{
	char both[128];

	rig_accept(i);
	assert_string_equal(rig_heard(i), "*1\r\n$4\r\nROLE\r\n*1\r\n$4\r\nPING\r\n");
	snprintf(both, sizeof(both), "%s+PONG\r\n", role);
	rig_say(i, both);
}

static void open_ready(void)
{
	open_with((struct redis_options){ .cluster = false });
	greet(0);
	assert_int_equal(ups, 1);
}

static void on_done(struct redis_call *k, enum redis_outcome o, const struct sync_reply *r)
{
	struct asked *a = (struct asked *)(void *)k;

	a->times++;
	a->outcome = o;
	a->granted = r == NULL ? 0 : r->granted;
}

static void call(unsigned i)
{
	struct bucket_share share = { .period_us = 1000, .count = 1, .burst = 10 };
	struct sync sync = { .least = 1, .want = 1 };
	struct key_name key = { .n = 8, .text = "rl:{foo}" }; /* slot 12182 */

	asked[i] = (struct asked){ .call.done = on_done };
	script_call_bucket(&asked[i].call.script, &key, &share, &sync);
	rig_enter();
	redis_client_call(client, &asked[i].call);
	rig_leave();
}

static void check(unsigned i, enum redis_outcome o)
{
	assert_int_equal(asked[i].times, 1);
	assert_int_equal(asked[i].outcome, o);
}

static bool heard(unsigned i, const char *word)
{
	return strstr(rig_heard(i), word) != NULL;
}

static uint64_t count(enum redis_result r)
{
	return stat_read(&redis_client_stats(client)->results[r]);
}

#define GRANT "*4\r\n:1\r\n:9\r\n:0\r\n:1000\r\n"

/*-------------------------------------------------------------------- alone */

static void test_nobody_waits_for_a_connect(void **state)
{
	(void)state;
	open_with((struct redis_options){ .cluster = false });
	call(0);
	check(0, REDIS_NOT_DONE);
	assert_int_equal(count(REDIS_NOT_SENT), 1);
	assert_int_equal(ups, 0);
	close_all();
}

static void test_an_unknown_script_is_sent_whole_once(void **state)
{
	(void)state;
	open_ready();
	call(0);
	assert_true(heard(0, "EVALSHA"));
	rig_say(0, "-NOSCRIPT No matching script. Please use EVAL.\r\n");
	assert_int_equal(asked[0].times, 0);
	assert_true(heard(0, script_bucket.body));
	rig_say(0, GRANT);
	check(0, REDIS_REPLY);
	assert_int_equal(asked[0].granted, 1);
	call(1);
	rig_say(0, "-NOSCRIPT x\r\n");
	rig_say(0, "-NOSCRIPT x\r\n");
	check(1, REDIS_NOT_DONE);
	assert_int_equal(count(REDIS_OK), 1);
	assert_int_equal(count(REDIS_REFUSED), 1);
	close_all();
}

static void test_a_server_that_cannot_is_left_alone(void **state)
{
	(void)state;
	open_ready();
	call(0);
	call(1);
	rig_heard(0);
	rig_say(0, "-BUSY Redis is busy running a script.\r\n");
	check(0, REDIS_NOT_DONE);
	call(2);
	check(2, REDIS_NOT_DONE);
	assert_string_equal(rig_heard(0), "");
	rig_say(0, GRANT); /* of the one that was under way */
	check(1, REDIS_REPLY);
	rig_pass(150 * CLOCK_MS);
	call(3);
	assert_true(heard(0, "EVALSHA"));
	rig_say(0, "-OOM command not allowed\r\n");
	check(3, REDIS_NOT_DONE);
	rig_pass(40 * CLOCK_MS);
	call(4);
	check(4, REDIS_NOT_DONE);
	assert_int_equal(downs, 0);
	close_all();
}

/* A key that is something else concerns that key. */
static void test_a_refused_command_concerns_nobody_else(void **state)
{
	(void)state;
	open_ready();
	call(0);
	rig_say(0, "-WRONGTYPE Operation against a key\r\n");
	check(0, REDIS_NOT_DONE);
	call(1);
	rig_say(0, "+what\r\n");
	check(1, REDIS_UNKNOWN);
	call(2);
	rig_say(0, "-MOVED 12182 127.0.0.1:7001\r\n"); /* it is not said to be a cluster */
	check(2, REDIS_NOT_DONE);
	call(3);
	rig_say(0, GRANT);
	check(3, REDIS_REPLY);
	assert_int_equal(rig_pairs, 1);
	close_all();
}

static void test_a_replica_is_hung_up_on(void **state)
{
	(void)state;
	open_ready();
	call(0);
	call(1);
	rig_say(0, "-READONLY You can't write against a read only replica.\r\n");
	check(0, REDIS_NOT_DONE);
	check(1, REDIS_UNKNOWN);
	assert_false(rig_is_open(0));
	rig_pass(11 * CLOCK_MS);
	assert_int_equal(rig_pairs, 2);
	greet_role(1, "*1\r\n$6\r\nmaster\r\n");
	call(2);
	rig_say(1, GRANT);
	check(2, REDIS_REPLY);
	assert_int_equal(nodes, 2);
	assert_int_equal(downs, 0); /* it answered, all the time */
	close_all();
}

/* Once it has said so it is asked; until it is a master it is down, and its log is one line. */
static void test_a_replica_stays_down(void **state)
{
	(void)state;
	open_ready();
	call(0);
	rig_say(0, "-READONLY You can't write against a read only replica.\r\n");
	for (unsigned i = 1; i < 4; i++) {
		while (rig_pairs == i)
			rig_pass(10 * CLOCK_MS);
		greet_role(i, "*1\r\n$5\r\nslave\r\n");
		assert_int_equal(ups, 1);
	}
	assert_int_equal(downs, 1);
	while (rig_pairs == 4)
		rig_pass(10 * CLOCK_MS);
	greet_role(4, "-NOPERM this user has no permissions to run the 'role' command\r\n");
	assert_int_equal(ups, 2);
	call(1);
	rig_say(4, GRANT);
	check(1, REDIS_REPLY);
	close_all();
}

/* It answers a call, and hangs up: not tried at once each time. */
static void test_a_server_that_answers_once_each_time(void **state)
{
	uint64_t began;

	(void)state;
	open_ready();
	began = rig_now;
	for (unsigned i = 0; i < 9; i++) {
		if (i > 0)
			greet(i);
		call(0);
		rig_say(i, GRANT);
		check(0, REDIS_REPLY);
		rig_cut(i);
		while (rig_pairs == i + 1)
			rig_pass(10 * CLOCK_MS);
	}
	assert_in_range(rig_now - began, 3 * CLOCK_S, 30 * CLOCK_S);
	close_all();
}

/* It says PONG and does nothing else. */
static void test_a_server_that_answers_no_call(void **state)
{
	(void)state;
	open_ready();
	for (unsigned i = 0; i < 3; i++) {
		rig_pass(2 * CLOCK_S);
		call(0);
		rig_pass(101 * CLOCK_MS);
		check(0, REDIS_UNKNOWN);
		while (rig_pairs == i + 1)
			rig_pass(10 * CLOCK_MS);
		greet(i + 1);
	}
	assert_int_equal(downs, 1);
	close_all();
}

/* After a long time with it the first try is at once again. */
static void test_a_link_that_was_steady(void **state)
{
	(void)state;
	open_ready();
	for (unsigned i = 0; i < 4; i++) {
		rig_pass(2 * CLOCK_S);
		call(0);
		rig_say(i, GRANT);
		check(0, REDIS_REPLY);
		rig_cut(i);
		rig_pass(11 * CLOCK_MS);
		assert_int_equal(rig_pairs, i + 2);
		greet(i + 1);
	}
	assert_int_equal(downs, 0);
	close_all();
}

/* Three in a row; then it is asked less and less often. */
static void test_down_and_up(void **state)
{
	uint64_t began;

	(void)state;
	open_ready();
	call(0);
	rig_pass(21 * CLOCK_MS);
	check(0, REDIS_UNKNOWN);
	assert_int_equal(downs, 0);
	rig_pass(11 * CLOCK_MS);
	rig_cut(1);
	assert_int_equal(downs, 0);
	rig_pass(160 * CLOCK_MS);
	assert_int_equal(rig_pairs, 3);
	rig_cut(2);
	assert_int_equal(downs, 1);
	assert_false(redis_client_is_up(client));
	began = rig_now;
	for (unsigned i = 3; i < 12; i++) {
		while (rig_pairs == i)
			rig_pass(10 * CLOCK_MS);
		rig_cut(i);
	}
	assert_in_range(rig_now - began, 5 * CLOCK_S, 15 * CLOCK_S);
	while (rig_pairs == 12)
		rig_pass(10 * CLOCK_MS);
	greet(12);
	assert_int_equal(ups, 2);
	assert_int_equal(downs, 1);
	close_all();
}

static void test_a_slow_server_is_given_time(void **state)
{
	(void)state;
	open_with((struct redis_options){ .cluster = false });
	rig_accept(0);
	rig_heard(0);
	rig_pass(15 * CLOCK_MS);
	rig_say(0, "+PONG\r\n");
	call(0);
	rig_pass(70 * CLOCK_MS);
	assert_int_equal(asked[0].times, 0);
	rig_say(0, GRANT);
	check(0, REDIS_REPLY);
	assert_in_range(redis_client_rtt_ns(client), 15 * CLOCK_MS, 30 * CLOCK_MS);
	call(1);
	rig_pass(101 * CLOCK_MS);
	check(1, REDIS_UNKNOWN);
	close_all();
}

static void test_names_without_addresses(void **state)
{
	(void)state;
	open_with((struct redis_options){ .cluster = false });
	snprintf(place[0].host, sizeof(place[0].host), "redis");
	close_all();
	rig_begin();
	rig_enter();
	client = redis_client_new(
	    &rig_loop,
	    &(struct redis_options){
		.place = place, .n_places = 1, .timeout_ns = 1, .connect_timeout_ns = 1 },
	    &events, NULL);
	redis_client_start(client);
	rig_leave();
	rig_pass(CLOCK_S);
	assert_int_equal(rig_pairs, 0);
	close_all();
}

/*------------------------------------------------------------------ clusters */

/* Slots up to 9999 at 7000, the others at 7001. */
#define TABLE                                                           \
	"*2\r\n*3\r\n:0\r\n:9999\r\n*2\r\n$9\r\n127.0.0.1\r\n:7000\r\n" \
	"*3\r\n:10000\r\n:16383\r\n*2\r\n$0\r\n\r\n:7001\r\n"

static void open_cluster(void)
{
	open_with((struct redis_options){ .cluster = true, .n_places = 1 });
	greet(0);
	rig_pass(CLOCK_MS);
	assert_true(heard(0, "SLOTS"));
	rig_say(0, TABLE);
	assert_int_equal(rig_pairs, 2); /* the other one is connected to at once */
	assert_int_equal(rig_server[1].port, 7001);
	greet(1);
}

static void test_calls_go_where_the_slot_is(void **state)
{
	(void)state;
	open_cluster();
	call(0);
	assert_string_equal(rig_heard(0), "");
	assert_true(heard(1, "EVALSHA"));
	rig_say(1, GRANT);
	check(0, REDIS_REPLY);
	close_all();
}

static void test_moved(void **state)
{
	(void)state;
	open_cluster();
	call(0);
	rig_heard(1);
	rig_say(1, "-MOVED 12182 :7000\r\n");
	assert_true(heard(0, "EVALSHA"));
	rig_say(0, GRANT);
	check(0, REDIS_REPLY);
	call(1); /* from now on */
	assert_true(heard(0, "EVALSHA"));
	rig_say(0, GRANT);
	/* and the table is asked for, but not at once again */
	rig_pass(CLOCK_S);
	assert_true(heard(0, "SLOTS") != heard(1, "SLOTS"));
	close_all();
}

static void test_moved_to_one_that_is_not_known_yet(void **state)
{
	(void)state;
	open_cluster();
	call(0);
	rig_say(1, "-MOVED 12182 127.0.0.1:7002\r\n");
	check(0, REDIS_NOT_DONE);
	assert_int_equal(rig_pairs, 3);
	greet(2);
	call(1);
	assert_true(heard(2, "EVALSHA"));
	rig_say(2, GRANT);
	check(1, REDIS_REPLY);
	close_all();
}

static void test_moved_in_a_circle(void **state)
{
	(void)state;
	open_cluster();
	call(0);
	for (unsigned i = 0; i < 5; i++)
		rig_say(i % 2 == 0 ? 1 : 0, i % 2 == 0 ? "-MOVED 12182 127.0.0.1:7000\r\n"
						       : "-MOVED 12182 127.0.0.1:7001\r\n");
	assert_int_equal(asked[0].times, 0);
	rig_say(0, "-MOVED 12182 127.0.0.1:7001\r\n");
	check(0, REDIS_NOT_DONE);
	call(1);
	rig_say(0, "-MOVED nonsense\r\n");
	check(1, REDIS_NOT_DONE);
	close_all();
}

/* The table stays; the other's memory of scripts is its own. */
static void test_ask(void **state)
{
	(void)state;
	open_cluster();
	call(0);
	rig_say(1, "-ASK 12182 127.0.0.1:7000\r\n");
	assert_int_equal(strncmp(rig_heard(0), "*1\r\n$6\r\nASKING\r\n*", 17), 0);
	rig_say(0, "+OK\r\n-NOSCRIPT x\r\n");
	assert_int_equal(strncmp(rig_heard(0), "*1\r\n$6\r\nASKING\r\n*", 17), 0);
	rig_say(0, "+OK\r\n" GRANT);
	check(0, REDIS_REPLY);
	rig_heard(1);
	call(1);
	assert_true(heard(1, "EVALSHA"));
	rig_say(1, "-TRYAGAIN Multiple keys request during rehashing of slot\r\n");
	check(1, REDIS_NOT_DONE);
	close_all();
}

/* A node that failed is not connected to by each call that is sent there. */
static void test_redirects_to_a_node_that_failed(void **state)
{
	(void)state;
	open_cluster();
	call(0);
	rig_say(1, "-MOVED 12182 :7000\r\n");
	rig_say(0, GRANT);
	rig_cut(1);
	rig_pass(11 * CLOCK_MS);
	assert_int_equal(rig_pairs, 3);
	rig_cut(2);
	for (unsigned i = 0; i < 3; i++) {
		call(i);
		assert_true(heard(0, "EVALSHA"));
		rig_say(0, "-ASK 12182 :7001\r\n");
		check(i, REDIS_NOT_DONE);
	}
	assert_int_equal(rig_pairs, 3);
	rig_pass(160 * CLOCK_MS);
	assert_int_equal(rig_pairs, 4);
	close_all();
}

static void test_nodes_without_slots_go(void **state)
{
	(void)state;
	open_cluster();
	rig_heard(0);
	rig_pass(61 * CLOCK_S);
	if (heard(0, "SLOTS"))
		rig_say(0, "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:7000\r\n");
	else
		rig_say(1, "*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:7000\r\n");
	assert_true(rig_is_open(0));
	/* the one that was asked itself is dropped when it was the other */
	call(0);
	assert_true(heard(0, "EVALSHA"));
	assert_false(rig_is_open(1));
	close_all();
}

static void test_one_of_two_is_down(void **state)
{
	(void)state;
	open_cluster();
	rig_cut(1);
	rig_pass(11 * CLOCK_MS);
	rig_cut(2);
	rig_pass(151 * CLOCK_MS);
	rig_cut(3);
	assert_int_equal(downs, 0); /* others answer */
	call(0);
	check(0, REDIS_NOT_DONE);
	close_all();
}

/*----------------------------------------------------------------- sentinels */

static void test_the_master_is_who_sentinels_say(void **state)
{
	(void)state;
	open_with((struct redis_options){ .master = "main", .n_places = 3 });
	assert_int_equal(rig_server[0].port, 7000);
	rig_cut(0);
	rig_pass(CLOCK_MS);
	assert_int_equal(rig_server[1].port, 7001);
	greet(1);
	assert_true(heard(1, "get-master-addr-by-name\r\n$4\r\nmain"));
	rig_say(1, "*-1\r\n"); /* it does not know it */
	rig_pass(CLOCK_MS);
	assert_int_equal(rig_server[2].port, 7002);
	greet(2);
	rig_say(2, "*2\r\n$9\r\n127.0.0.1\r\n$4\r\n6379\r\n");
	assert_false(rig_is_open(2));
	assert_int_equal(rig_server[3].port, 6379);
	rig_accept(3);
	assert_true(heard(3, "ROLE"));
	rig_say(3, "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n+PONG\r\n");
	assert_int_equal(ups, 1);
	call(0);
	rig_say(3, "-READONLY You can't write against a read only replica.\r\n");
	check(0, REDIS_NOT_DONE);
	assert_int_equal(rig_server[4].port, 7002);
	greet(4);
	rig_say(4, "*2\r\n$9\r\n127.0.0.1\r\n$4\r\n6380\r\n");
	assert_int_equal(rig_server[5].port, 6380);
	rig_accept(5);
	rig_say(5, "*3\r\n$6\r\nmaster\r\n:0\r\n*0\r\n+PONG\r\n");
	call(1);
	rig_say(5, GRANT);
	check(1, REDIS_REPLY);
	close_all();
}

/* Sentinels may name the old one for a while. */
static void test_who_is_no_master_is_not_used(void **state)
{
	(void)state;
	open_with((struct redis_options){ .master = "main", .n_places = 1 });
	greet(0);
	rig_say(0, "*2\r\n$9\r\n127.0.0.1\r\n$4\r\n6379\r\n");
	rig_accept(1);
	rig_say(1, "*5\r\n$5\r\nslave\r\n$1\r\na\r\n:1\r\n$1\r\nb\r\n:0\r\n");
	assert_false(rig_is_open(1));
	assert_int_equal(ups, 0);
	rig_pass(CLOCK_S);
	assert_int_equal(rig_server[2].port, 7000);
	close_all();
}

static void test_no_sentinel_answers(void **state)
{
	(void)state;
	open_with((struct redis_options){ .master = "main", .n_places = 2 });
	for (unsigned i = 0; i < 20; i++) {
		rig_cut(i);
		while (rig_pairs == i + 1)
			rig_pass(10 * CLOCK_MS);
	}
	assert_in_range(rig_now - 1000 * CLOCK_S, 5 * CLOCK_S, 60 * CLOCK_S);
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody_waits_for_a_connect),
		cmocka_unit_test(test_an_unknown_script_is_sent_whole_once),
		cmocka_unit_test(test_a_server_that_cannot_is_left_alone),
		cmocka_unit_test(test_a_refused_command_concerns_nobody_else),
		cmocka_unit_test(test_a_replica_is_hung_up_on),
		cmocka_unit_test(test_a_replica_stays_down),
		cmocka_unit_test(test_a_server_that_answers_once_each_time),
		cmocka_unit_test(test_a_server_that_answers_no_call),
		cmocka_unit_test(test_a_link_that_was_steady),
		cmocka_unit_test(test_down_and_up),
		cmocka_unit_test(test_a_slow_server_is_given_time),
		cmocka_unit_test(test_names_without_addresses),
		cmocka_unit_test(test_calls_go_where_the_slot_is),
		cmocka_unit_test(test_moved),
		cmocka_unit_test(test_moved_to_one_that_is_not_known_yet),
		cmocka_unit_test(test_moved_in_a_circle),
		cmocka_unit_test(test_ask),
		cmocka_unit_test(test_redirects_to_a_node_that_failed),
		cmocka_unit_test(test_nodes_without_slots_go),
		cmocka_unit_test(test_one_of_two_is_down),
		cmocka_unit_test(test_the_master_is_who_sentinels_say),
		cmocka_unit_test(test_who_is_no_master_is_not_used),
		cmocka_unit_test(test_no_sentinel_answers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
