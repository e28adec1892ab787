/* The client on real servers: alone (TCP, unix socket, TLS, users), a cluster of three, and sentinels. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "redis/client.h"
#include "redis/slots.h"

#include "../redis_server.h"

enum { PATIENCE_MS = 15000 };

struct asked {
	struct redis_call call;
	unsigned times;
	enum redis_outcome outcome;
	struct sync_reply reply;
};

static struct loop loop;
static struct redis_client *client;
static unsigned ups, downs;
static struct asked asked;
static bool over;

static void on_event(void *owner)
{
	(void)owner;
	loop.stop = true;
}

static void on_up(void *owner)
{
	ups++;
	on_event(owner);
}

static void on_down(void *owner)
{
	downs++;
	on_event(owner);
}

static const struct redis_events events = { .up = on_up, .node = on_event, .down = on_down };

static void after_turn(struct loop *l)
{
	(void)l;
}

static void on_guard(struct timer *t)
{
	(void)t;
	over = true;
	loop.stop = true;
}

/* Turns until something stops the loop; false: nothing did in that time. */
static bool turn_for(uint64_t ms)
{
	struct timer guard;

	over = false;
	loop.stop = false;
	timer_init(&guard, on_guard);
	loop_enter(&loop);
	assert_true(timer_set(&loop.timers, &guard, loop.now_ns + ms * CLOCK_MS));
	loop_settle(&loop);
	loop.in_turn = false;
	loop_run(&loop, after_turn);
	timer_fini(&loop.timers, &guard);
	return !over;
}

static void wait_for(const unsigned *count, unsigned n)
{
	while (*count < n)
		if (!turn_for(PATIENCE_MS))
			fail_msg("it did not happen");
}

static void open_client(struct redis_options o)
{
	ups = downs = 0;
	o.timeout_ns = o.timeout_ns == 0 ? CLOCK_S : o.timeout_ns;
	o.connect_timeout_ns = o.connect_timeout_ns == 0 ? 2 * CLOCK_S : o.connect_timeout_ns;
	o.random = 77;
	assert_true(loop_init(&loop, true));
	loop_enter(&loop);
	client = redis_client_new(&loop, &o, &events, NULL);
	assert_non_null(client);
	redis_client_start(client);
	loop_settle(&loop);
	loop.in_turn = false;
}

static void close_client(void)
{
	loop_enter(&loop);
	redis_client_free(client);
	loop_settle(&loop);
	loop.in_turn = false;
	loop_fini(&loop);
}

static void on_done(struct redis_call *k, enum redis_outcome o, const struct sync_reply *r)
{
	(void)k;
	asked.times++;
	asked.outcome = o;
	if (r != NULL)
		asked.reply = *r;
	loop.stop = true;
}

static enum redis_outcome call_of(const char *key_text)
{
	struct bucket_share share = { .period_us = 10000000, .count = 1, .burst = 1000 };
	struct sync sync = { .least = 1, .want = 1 };
	struct key_name key = { .n = (uint8_t)strlen(key_text) };

	memcpy(key.text, key_text, key.n);
	asked = (struct asked){ .call.done = on_done };
	script_call_bucket(&asked.call.script, &key, &share, &sync);
	loop_enter(&loop);
	redis_client_call(client, &asked.call);
	loop_settle(&loop);
	loop.in_turn = false;
	wait_for(&asked.times, 1);
	assert_int_equal(asked.times, 1);
	return asked.outcome;
}

/* As calls come again and again, until one is answered. */
static void call_until_answered(const char *key)
{
	for (unsigned ms = 0; call_of(key) != REDIS_REPLY; ms += 20) {
		if (ms > PATIENCE_MS)
			fail_msg("not answered");
		turn_for(20);
	}
}

static struct redis_place place_of(uint16_t port)
{
	struct redis_place p = { .port = port };

	snprintf(p.host, sizeof(p.host), "127.0.0.1");
	return p;
}

static struct redis_place path_of(const struct redis_server *s)
{
	struct redis_url u;
	char text[128];

	snprintf(text, sizeof(text), "unix:%s", s->path);
	assert_null(redis_url_parse(slice_str(text), &u));
	return u.place;
}

static void command(const struct redis_server *s, const char *line, char *out, size_t n)
{
	struct asker c;
	const struct resp *r;

	asker_open(&c, s);
	r = asker_ask(&c, line);
	if (r->type == RESP_ERROR)
		fail_msg("%s: %.*s", line, SLICE_FMT(r->text));
	if (out != NULL)
		snprintf(out, n, "%.*s", SLICE_FMT(r->text));
	asker_close(&c);
}

/*-------------------------------------------------------------------- alone */

static void test_tcp_unix_and_databases(void **state)
{
	struct redis_server s;
	struct redis_place place;
	struct redis_options o = { .place = &place, .n_places = 1 };

	(void)state;
	assert_true(redis_server_start(&s, true, NULL));
	place = place_of(s.port);
	open_client(o);
	wait_for(&ups, 1);
	assert_int_equal(call_of("rl:a"), REDIS_REPLY);
	assert_int_equal(call_of("rl:a"), REDIS_REPLY);
	assert_int_equal(asked.reply.left, 998);
	assert_int_equal(stat_read(&redis_client_stats(client)->whole_scripts), 1);
	close_client();

	place = path_of(&s);
	o.greeting.database = 5;
	open_client(o);
	wait_for(&ups, 1);
	assert_int_equal(call_of("rl:a"), REDIS_REPLY);
	assert_int_equal(asked.reply.left, 999); /* another database */
	close_client();
	redis_server_stop(&s);
}

static void test_users_and_their_rights(void **state)
{
	struct redis_server s;
	struct redis_place place;
	struct redis_options o = { .place = &place, .n_places = 1 };

	(void)state;
	assert_true(redis_server_start(&s, false, NULL));
	command(&s,
		"ACL SETUSER side on >s3cret resetchannels -@all +evalsha +eval +time +get +set "
		"+del +hmget +hset +hdel +hgetall +pexpire +ping +role ~rl:*",
		NULL, 0);
	command(&s, "ACL SETUSER side +cluster|slots +asking", NULL, 0); /* for a cluster */
	command(&s, "ACL SETUSER default off", NULL, 0);
	place = path_of(&s);
	o.greeting = (struct redis_greeting){ .user = "side", .password = "wrong" };
	open_client(o);
	assert_false(turn_for(300));
	assert_int_equal(ups, 0);
	close_client();
	o.greeting = (struct redis_greeting){ .user = "side", .password = "s3cret" };
	open_client(o);
	wait_for(&ups, 1);
	assert_int_equal(call_of("rl:a"), REDIS_REPLY);
	assert_int_equal(call_of("other"), REDIS_NOT_DONE);
	close_client();
	redis_server_stop(&s);
}

static void test_restart_empty_and_script_flush(void **state)
{
	struct redis_server s;
	struct redis_place place;
	struct redis_options o = { .place = &place, .n_places = 1 };
	static const char *const options[] = { "--save", "", NULL };

	(void)state;
	assert_true(redis_server_start(&s, true, NULL));
	place = place_of(s.port);
	open_client(o);
	wait_for(&ups, 1);
	assert_int_equal(call_of("rl:a"), REDIS_REPLY);
	redis_server_kill(&s);
	wait_for(&downs, 1);
	assert_int_equal(call_of("rl:a"), REDIS_NOT_DONE);
	assert_true(redis_server_run(&s, "redis-server", options));
	wait_for(&ups, 2);
	assert_int_equal(call_of("rl:a"), REDIS_REPLY);
	assert_int_equal(asked.reply.left, 999); /* it has forgotten */
	assert_int_equal(stat_read(&redis_client_stats(client)->whole_scripts), 2);
	close_client();
	redis_server_stop(&s);
}

/* Its kernel goes on accepting. */
static void test_a_stopped_process(void **state)
{
	struct redis_server s;
	struct redis_place place;
	struct redis_options o = { .place = &place,
				   .n_places = 1,
				   .timeout_ns = 20 * CLOCK_MS,
				   .connect_timeout_ns = 100 * CLOCK_MS };

	(void)state;
	assert_true(redis_server_start(&s, true, NULL));
	place = place_of(s.port);
	open_client(o);
	wait_for(&ups, 1);
	call_until_answered("rl:a");
	kill(s.pid, SIGSTOP);
	assert_int_equal(call_of("rl:a"), REDIS_UNKNOWN);
	assert_int_equal(call_of("rl:a"), REDIS_NOT_DONE);
	wait_for(&downs, 1);
	kill(s.pid, SIGCONT);
	wait_for(&ups, 2);
	call_until_answered("rl:a");
	assert_in_range(asked.reply.left, 990, 998);
	close_client();
	redis_server_stop(&s);
}

/* What a real one says when it cannot, and that it is used again when it can. */
static void test_a_server_that_cannot(void **state)
{
	static const struct {
		const char *cannot, *can;
	} row[] = {
		{ "CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0" },
		{ "CONFIG SET min-replicas-to-write 1", "CONFIG SET min-replicas-to-write 0" },
		{ "REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE" },
	};
	struct redis_server s;
	struct redis_place place;
	struct redis_options o = { .place = &place, .n_places = 1 };

	(void)state;
	assert_true(redis_server_start(&s, true, NULL));
	place = place_of(s.port);
	open_client(o);
	wait_for(&ups, 1);
	for (unsigned i = 0; i < sizeof(row) / sizeof(row[0]); i++) {
		call_until_answered("rl:a");
		command(&s, row[i].cannot, NULL, 0);
		assert_int_equal(call_of("rl:a"), REDIS_NOT_DONE);
		command(&s, row[i].can, NULL, 0);
	}
	call_until_answered("rl:a");
	command(&s, "SCRIPT FLUSH", NULL, 0);
	assert_int_equal(call_of("rl:a"), REDIS_REPLY);
	close_client();
	redis_server_stop(&s);
}

static struct tls_client *trust_of(const char *ca, struct arena *arena)
{
	struct tls_client_conf conf = { .ca = ca, .verify = true };
	struct tls_client *c;
	struct diags diags;

	diags_init(&diags, arena);
	c = tls_client_new(&conf, 0, (struct place){ .line = 1 }, (int64_t)time(NULL), &diags);
	assert_int_equal(diags.errors, 0);
	assert_non_null(c);
	return c;
}

/* Signed by itself. */
static void make_certificate(const char *dir, const char *name)
{
	char line[512];

	snprintf(line, sizeof(line),
		 "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
		 "-subj /CN=test -addext subjectAltName=IP:127.0.0.1 -keyout %s/%s.key "
		 "-out %s/%s.pem 2>/dev/null",
		 dir, name, dir, name);
	assert_int_equal(system(line), 0);
}

static void test_tls(void **state)
{
	static const char *const made[] = { "a.key", "a.pem", "b.key", "b.pem" };
	char dir[] = "/tmp/redis-tls-XXXXXX", port[8], path[4][64];
	struct redis_server s;
	struct redis_place place = place_of(free_port());
	struct redis_options o = { .place = &place, .n_places = 1 };
	const char *options[] = { "--tls-port",
				  port,
				  "--tls-cert-file",
				  path[1],
				  "--tls-key-file",
				  path[0],
				  "--tls-auth-clients",
				  "no",
				  NULL };
	struct arena arena;

	(void)state;
	arena_init(&arena, NULL);
	assert_non_null(mkdtemp(dir));
	make_certificate(dir, "a");
	make_certificate(dir, "b");
	for (unsigned i = 0; i < 4; i++)
		snprintf(path[i], sizeof(path[i]), "%s/%s", dir, made[i]);
	snprintf(port, sizeof(port), "%u", place.port);
	assert_true(redis_server_start(&s, false, options));
	o.tls = trust_of(path[3], &arena);
	open_client(o);
	assert_false(turn_for(300));
	assert_int_equal(ups, 0);
	close_client();
	tls_client_put(o.tls);
	o.tls = trust_of(path[1], &arena);
	open_client(o);
	wait_for(&ups, 1);
	for (unsigned i = 0; i < 100; i++)
		assert_int_equal(call_of("rl:a"), REDIS_REPLY);
	assert_int_equal(asked.reply.left, 900);
	close_client();
	tls_client_put(o.tls);
	redis_server_stop(&s);
	for (unsigned i = 0; i < 4; i++)
		unlink(path[i]);
	rmdir(dir);
	arena_fini(&arena);
}

/*------------------------------------------------------------------ clusters */

enum { NODES = 3 };

static struct redis_server node[NODES];

static bool is_whole(const struct redis_server *s)
{
	char info[2048];

	command(s, "CLUSTER INFO", info, sizeof(info));
	return strstr(info, "cluster_state:ok") != NULL &&
	       strstr(info, "cluster_known_nodes:3") != NULL;
}

static void start_cluster(void)
{
	static const char *const ranges[NODES] = { "CLUSTER ADDSLOTSRANGE 0 5460",
						   "CLUSTER ADDSLOTSRANGE 5461 10922",
						   "CLUSTER ADDSLOTSRANGE 10923 16383" };
	char bus[8], line[64];
	const char *const options[] = {
		"--cluster-enabled", "yes", "--cluster-port", bus, "--cluster-config-file",
		"nodes.conf",        NULL
	};

	for (unsigned i = 0; i < NODES; i++) {
		snprintf(bus, sizeof(bus), "%u", free_port());
		assert_true(redis_server_start(&node[i], true, options));
		command(&node[i], ranges[i], NULL, 0);
		snprintf(line, sizeof(line), "CLUSTER SET-CONFIG-EPOCH %u", i + 1);
		command(&node[i], line, NULL, 0);
		if (i == 0)
			continue;
		snprintf(line, sizeof(line), "CLUSTER MEET 127.0.0.1 %u %s", node[i].port, bus);
		command(&node[0], line, NULL, 0);
	}
	for (unsigned ms = 0; !(is_whole(&node[0]) && is_whole(&node[1]) && is_whole(&node[2]));
	     ms += 50) {
		assert_true(ms < PATIENCE_MS);
		pause_ms(50);
	}
}

static void stop_cluster(void)
{
	for (unsigned i = 0; i < NODES; i++)
		redis_server_stop(&node[i]);
}

static unsigned owner_of(const char *key)
{
	uint16_t slot = slot_of(slice_str(key));

	return slot < 5461 ? 0 : slot < 10923 ? 1 : 2;
}

static char keys[NODES][16];

/* A key of each node. */
static void choose_keys(void)
{
	for (unsigned i = 0; i < NODES; i++)
		for (unsigned n = 0; keys[i][0] == '\0' || owner_of(keys[i]) != i; n++)
			snprintf(keys[i], sizeof(keys[i]), "rl:{%u}", n);
}

static uint64_t redirects(void)
{
	return stat_read(&redis_client_stats(client)->redirects);
}

static void set_slot(unsigned i, uint16_t slot, const char *what, const char *id)
{
	char line[128];

	snprintf(line, sizeof(line), "CLUSTER SETSLOT %u %s %s", slot, what, id);
	command(&node[i], line, NULL, 0);
}

/* The slot of the last key goes from the last node to the first: asked both ways, then moved. */
static void migrate(const char *key)
{
	uint16_t slot = slot_of(slice_str(key));
	char id[2][64], line[256];
	uint64_t before;

	command(&node[0], "CLUSTER MYID", id[0], sizeof(id[0]));
	command(&node[2], "CLUSTER MYID", id[1], sizeof(id[1]));
	set_slot(0, slot, "IMPORTING", id[1]);
	set_slot(2, slot, "MIGRATING", id[0]);
	before = redirects();
	assert_int_equal(call_of(key), REDIS_REPLY); /* the key is still there */
	assert_int_equal(redirects(), before);
	snprintf(line, sizeof(line), "MIGRATE 127.0.0.1 %u %s 0 5000", node[0].port, key);
	command(&node[2], line, NULL, 0);
	assert_int_equal(call_of(key), REDIS_REPLY); /* ASK */
	assert_int_equal(redirects(), before + 1);
	assert_int_equal(asked.reply.left, 1000 - 5);
	set_slot(0, slot, "NODE", id[0]);
	set_slot(2, slot, "NODE", id[0]);
	set_slot(1, slot, "NODE", id[0]);
	assert_int_equal(call_of(key), REDIS_REPLY); /* MOVED */
	assert_int_equal(asked.reply.left, 1000 - 6);
	before = redirects();
	assert_int_equal(call_of(key), REDIS_REPLY);
	assert_int_equal(redirects(), before);
}

static void test_a_cluster_of_three(void **state)
{
	struct redis_place place;
	struct redis_options o = { .place = &place, .n_places = 1, .cluster = true };

	(void)state;
	start_cluster();
	place = place_of(node[1].port);
	open_client(o);
	wait_for(&ups, 1);
	choose_keys();
	for (unsigned i = 0; i < NODES; i++)
		call_until_answered(keys[i]);
	for (unsigned i = 0; i < NODES; i++)
		assert_int_equal(call_of(keys[i]), REDIS_REPLY);
	call_until_answered(keys[2]);
	migrate(keys[2]);

	/* a node that is gone takes its slots along, and nobody else's */
	redis_server_kill(&node[1]);
	for (unsigned ms = 0; call_of(keys[1]) == REDIS_REPLY; ms += 20)
		assert_true(ms < PATIENCE_MS && (turn_for(20), true));
	assert_int_equal(call_of(keys[1]), REDIS_NOT_DONE);
	assert_int_equal(call_of(keys[0]), REDIS_REPLY);
	assert_int_equal(downs, 0);
	close_client();
	stop_cluster();
}

/*----------------------------------------------------------------- sentinels */

enum { SENTINELS = 3 };

static void write_sentinel(const struct redis_server *s, uint16_t master)
{
	char path[128];
	FILE *f;

	snprintf(path, sizeof(path), "%s/sentinel.conf", s->dir);
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f,
		"sentinel monitor main 127.0.0.1 %u 2\n"
		"sentinel down-after-milliseconds main 400\n"
		"sentinel failover-timeout main 3000\n",
		master);
	fclose(f);
}

static void start_sentinel(struct redis_server *s, uint16_t master)
{
	static const char *const options[] = { "sentinel.conf", "--sentinel", NULL };

	*s = (struct redis_server){ .port = free_port() };
	snprintf(s->dir, sizeof(s->dir), "/tmp/redis-test-XXXXXX");
	assert_non_null(mkdtemp(s->dir));
	snprintf(s->path, sizeof(s->path), "%s/socket", s->dir);
	write_sentinel(s, master);
	assert_true(redis_server_run(s, "redis-server", options));
}

static bool knows_the_others(const struct redis_server *s)
{
	char info[2048];

	command(s, "INFO sentinel", info, sizeof(info));
	return strstr(info, "slaves=1,sentinels=3") != NULL;
}

static void test_a_failover_by_sentinels(void **state)
{
	struct redis_server master, replica, sentinel[SENTINELS];
	struct redis_place place[SENTINELS];
	struct redis_options o = { .place = place, .n_places = SENTINELS, .master = "main" };
	char line[64];

	(void)state;
	assert_true(redis_server_start(&master, true, NULL));
	assert_true(redis_server_start(&replica, true, NULL));
	snprintf(line, sizeof(line), "REPLICAOF 127.0.0.1 %u", master.port);
	command(&replica, line, NULL, 0);
	for (unsigned i = 0; i < SENTINELS; i++) {
		start_sentinel(&sentinel[i], master.port);
		place[i] = place_of(sentinel[i].port);
	}
	for (unsigned ms = 0; !(knows_the_others(&sentinel[0]) && knows_the_others(&sentinel[1]) &&
				knows_the_others(&sentinel[2]));
	     ms += 50) {
		assert_true(ms < PATIENCE_MS);
		pause_ms(50);
	}
	open_client(o);
	wait_for(&ups, 1);
	assert_int_equal(call_of("rl:a"), REDIS_REPLY);
	command(&master, "WAIT 1 1000", NULL, 0);
	redis_server_kill(&master);
	wait_for(&downs, 1);
	wait_for(&ups, 2);
	call_until_answered("rl:a");
	assert_in_range(asked.reply.left, 998, 999); /* replicated, or lost by a hair */
	close_client();
	for (unsigned i = 0; i < SENTINELS; i++)
		redis_server_stop(&sentinel[i]);
	redis_server_stop(&replica);
	redis_server_stop(&master);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tcp_unix_and_databases),
		cmocka_unit_test(test_users_and_their_rights),
		cmocka_unit_test(test_restart_empty_and_script_flush),
		cmocka_unit_test(test_a_stopped_process),
		cmocka_unit_test(test_a_server_that_cannot),
		cmocka_unit_test(test_tls),
		cmocka_unit_test(test_a_cluster_of_three),
		cmocka_unit_test(test_a_failover_by_sentinels),
	};

	if (!redis_is_installed()) {
		print_message("not run: there is no redis-server\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, NULL, NULL);
}
