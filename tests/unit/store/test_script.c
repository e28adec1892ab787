/* The scripts on a real server: the vectors of the limiters with time given, and with the server's own all that a
 * deployment needs of them. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "store/refusal.h"
#include "store/script.h"

#include "../redis_server.h"

#define DAY_US (UINT64_C(86400) * 1000000)

static struct redis_server server;
static struct asker client;

/* The scripts with one line changed: the time is their last argument. */
enum { TIMED_MAX = 8192 };
static char timed_body[5][TIMED_MAX];
static struct script timed[5];

static void make_timed(struct script *out, char *body, const struct script *s)
{
	static const char line[] = "local now = redis.call('TIME')\n"
				   "now = tonumber(now[1]) * 1000000 + tonumber(now[2])\n";
	const char *at = strstr(s->body, line);

	assert_non_null(at);
	assert_true(snprintf(body, TIMED_MAX, "%.*slocal now = tonumber(ARGV[#ARGV])\n%s",
			     (int)(at - s->body), s->body, at + strlen(line)) < TIMED_MAX);
	*out = (struct script){ s->name, s->sha1, body };
}

static const struct script *timed_of(const struct script *s)
{
	static const struct script *const all[5] = { &script_bucket, &script_window, &script_budget,
						     &script_permits, &script_peers };
	unsigned i = 0;

	while (all[i] != s)
		i++;
	if (timed[i].body == NULL)
		make_timed(&timed[i], timed_body[i], s);
	return &timed[i];
}

static const struct resp *send_call(struct script_call *c, bool whole)
{
	struct buf b = { .p = NULL };
	const struct resp *r;

	script_call_put(c, whole, &b);
	r = asker_send(&client, &b);
	buf_fini(&b);
	return r;
}

static struct sync_reply read_reply(const struct script *s, const struct resp *r)
{
	struct sync_reply out;

	if (r->type == RESP_ERROR)
		fail_msg("%.*s", SLICE_FMT(r->text));
	assert_true(sync_reply_read(s, r, &out));
	return out;
}

/* At that time. */
static struct sync_reply call_at(struct script_call *c, uint64_t now)
{
	const struct script *s = c->script;
	char text[24];
	int n = snprintf(text, sizeof(text), "%" PRIu64, now);

	c->n = (uint16_t)(c->n + snprintf(c->text + c->n, sizeof(c->text) - c->n, "$%d\r\n%s\r\n",
					  n, text));
	c->args++;
	c->script = timed_of(s);
	return read_reply(s, send_call(c, true));
}

/* At the server's own. */
static struct sync_reply call_now(struct script_call *c)
{
	return read_reply(c->script, send_call(c, true));
}

static struct key_name key_of(const char *text)
{
	struct key_name k = { .n = (uint8_t)strlen(text) };

	memcpy(k.text, text, k.n);
	return k;
}

static const struct resp *ask(const char *line)
{
	return asker_ask(&client, line);
}

static long changes(void)
{
	const struct resp *r = ask("INFO persistence");
	const char *at = strstr(r->text.p, "rdb_changes_since_last_save:");

	assert_non_null(at);
	return strtol(strchr(at, ':') + 1, NULL, 10);
}

/*----------------------------------------------------------------- vectors */

/* A unit of time is what the rule makes it: here, a ns.  Times are moved so that doubles have room for them, by whole
 * windows. */
struct replay {
	struct key_name key;
	bool skip, window, sliding;
	struct bucket_share share;
	uint64_t period, limit;
	uint64_t now, base;
	bool based;
	unsigned decisions;
};

static struct sync_reply replay_call(struct replay *r, int64_t owed, uint64_t cost)
{
	struct sync sync = { .owed = owed, .least = cost, .want = cost };
	struct script_call c;

	if (r->window)
		script_call_window(&c, &r->key, r->period, r->sliding, r->limit, &sync);
	else
		script_call_bucket(&c, &r->key, &r->share, &sync);
	return call_at(&c, r->now - r->base);
}

static void replay_decision(struct replay *r, const char *line, unsigned number)
{
	uint64_t cost, remaining, expected;
	char verdict[8], wait[24];
	int n = sscanf(line, "%" SCNu64 " %" SCNu64 " -> %7s %23s %" SCNu64, &r->now, &cost,
		       verdict, wait, &remaining);
	struct sync_reply reply;

	if (n < 4)
		fail_msg("line %u is no vector: %s", number, line);
	if (!r->based && r->now > UINT64_C(1) << 50)
		r->base = r->window ? (r->now / r->period - 2) * r->period : r->now - 1000000;
	r->based = true;
	reply = replay_call(r, 0, cost);
	expected = strcmp(wait, "never") == 0 ? SYNC_NEVER : strtoull(wait, NULL, 10);
	if ((reply.granted == cost) != (strcmp(verdict, "deny") != 0) ||
	    reply.retry_us != expected || (n == 5 && reply.left != remaining))
		fail_msg("line %u: %" PRIu64 " granted, wait %" PRIu64 ", left %" PRIu64
			 ", expected %s",
			 number, reply.granted, reply.retry_us, reply.left, line);
	r->decisions++;
}

static void replay_begin(struct replay *r, unsigned number)
{
	char name[32];

	snprintf(name, sizeof(name), "rl:v%u", number);
	*r = (struct replay){ .key = key_of(name), .decisions = r->decisions, .window = r->window };
}

/* Shares kept by a reload and calls that wait are matters of one process. */
static bool replay_rule(struct replay *r, const char *line, unsigned number)
{
	uint64_t count, period, burst;
	char kind[16], keep[8] = "";

	if (strncmp(line, "shape ", 6) == 0)
		return r->skip = true;
	if (strncmp(line, "rule ", 5) != 0)
		return false;
	replay_begin(r, number);
	if (sscanf(line, "rule %15[a-z] %" SCNu64 " %" SCNu64, kind, &r->limit, &r->period) == 3) {
		r->sliding = strcmp(kind, "sliding") == 0;
		return true;
	}
	assert_in_range(sscanf(line, "rule %" SCNu64 " %" SCNu64 " %" SCNu64 " %7s", &count,
			       &period, &burst, keep),
			3, 4);
	r->skip = keep[0] != '\0' || bucket_share_init(&r->share, count, period, burst) != NULL;
	return true;
}

static unsigned replay_file(const char *path, bool window)
{
	FILE *f = fopen(path, "r");
	struct replay r = { .window = window };
	char line[256];
	uint64_t cost;

	assert_non_null(f);
	for (unsigned number = 1; fgets(line, sizeof(line), f) != NULL; number++) {
		if (line[0] == '#' || line[0] == '\n' || replay_rule(&r, line, number) || r.skip)
			continue;
		if (sscanf(line, "give %" SCNu64, &cost) == 1)
			replay_call(&r, -(int64_t)cost, 0);
		else
			replay_decision(&r, line, number);
	}
	fclose(f);
	return r.decisions;
}

static void test_vectors_of_buckets(void **state)
{
	(void)state;
	assert_in_range(replay_file(TESTS_DIR "/vectors/gcra.txt", false), 60, 1000);
}

static void test_vectors_of_windows(void **state)
{
	(void)state;
	assert_in_range(replay_file(TESTS_DIR "/vectors/window.txt", true), 60, 1000);
}

/*------------------------------------------------------------------ buckets */

static struct bucket_share share_of(uint64_t count, uint64_t period_us, uint64_t burst)
{
	struct bucket_share b;

	assert_null(bucket_share_init(&b, count, period_us, burst));
	return b;
}

static struct sync_reply bucket_at(const char *key, const struct bucket_share *b, uint64_t now,
				   struct sync s)
{
	struct key_name k = key_of(key);
	struct script_call c;

	script_call_bucket(&c, &k, b, &s);
	return call_at(&c, now);
}

static void test_rates_beyond_numbers_are_refused(void **state)
{
	struct bucket_share b;

	(void)state;
	assert_non_null(bucket_share_init(&b, 1, 365 * DAY_US, 1000000));
	assert_null(bucket_share_init(&b, 1, DAY_US, 10000));
	/* coarser, but not by much */
	assert_null(bucket_share_init(&b, UINT64_C(1000000007) * 1000000, DAY_US, 100000));
	assert_true(b.period_us * b.burst < (uint64_t)SCRIPT_NUMBER_MAX);
}

#define REAL_NOW UINT64_C(1790000000123457)

/* What 14 digits would have made of it, 100 us at a time. */
static void test_no_digit_is_lost(void **state)
{
	struct bucket_share b = share_of(3, 1000000, 1);
	struct sync one = { .least = 1, .want = 1 };
	const struct resp *r;

	(void)state;
	assert_int_equal(bucket_at("rl:digits", &b, REAL_NOW, one).granted, 1);
	r = ask("GET rl:digits");
	assert_true(slice_is(r->text, "1790000000456790 1 333334"));
	assert_int_equal(bucket_at("rl:digits", &b, REAL_NOW + 333333, one).retry_us, 1);
	assert_int_equal(bucket_at("rl:digits", &b, REAL_NOW + 333334, one).granted, 1);
	r = ask("PTTL rl:digits");
	assert_in_range(r->integer, 1200, 1335);
}

static void test_partial_grants_debt_and_returns(void **state)
{
	struct bucket_share b = share_of(10, 1000000, 20);
	struct sync_reply r;

	(void)state;
	r = bucket_at("rl:debt", &b, REAL_NOW, (struct sync){ .least = 1, .want = 15 });
	assert_int_equal(r.granted, 15);
	assert_int_equal(r.left, 5);
	r = bucket_at("rl:debt", &b, REAL_NOW, (struct sync){ .least = 1, .want = 15 });
	assert_int_equal(r.granted, 5);
	assert_int_equal(r.retry_us, 100000);
	r = bucket_at("rl:debt", &b, REAL_NOW, (struct sync){ .owed = 30, .least = 1, .want = 1 });
	assert_int_equal(r.granted, 0);
	assert_int_equal(r.left, 0);
	assert_int_equal(r.retry_us, 3100000);
	assert_int_equal(r.reset_us, 5000000);
	r = bucket_at("rl:debt", &b, REAL_NOW, (struct sync){ .owed = -31 });
	assert_int_equal(r.left, 1);
	assert_int_equal(r.retry_us, 0);
	r = bucket_at("rl:debt", &b, REAL_NOW, (struct sync){ .owed = -1000 });
	assert_int_equal(r.left, 20);
	assert_int_equal(r.reset_us, 0);
	assert_int_equal(ask("EXISTS rl:debt")->integer, 0);
}

/* As a reload does to a bucket that is counted here (tests/vectors/reload.txt). */
static void test_another_rate_finds_the_same_share(void **state)
{
	struct bucket_share slow = share_of(1, 3600000000, 1), fast = share_of(100, 1000000, 100);
	struct sync one = { .least = 1, .want = 1 };
	struct sync_reply r;

	(void)state;
	bucket_at("rl:raise", &slow, REAL_NOW, one);
	r = bucket_at("rl:raise", &fast, REAL_NOW + 1000000, one);
	assert_int_equal(r.granted, 0);
	assert_in_range(r.retry_us, 9722, 9723); /* 1/3600 was there */
	assert_int_equal(bucket_at("rl:raise", &fast, REAL_NOW + 1009722, one).granted, 0);
	assert_int_equal(bucket_at("rl:raise", &fast, REAL_NOW + 1009724, one).granted, 1);
	assert_int_equal(bucket_at("rl:raise", &fast, REAL_NOW + 2000000, one).left, 98);

	bucket_at("rl:cut", &fast, REAL_NOW, (struct sync){ .least = 1, .want = 100 });
	r = bucket_at("rl:cut", &slow, REAL_NOW + 500000,
		      (struct sync){ .owed = 0, .least = 1, .want = 1 });
	assert_int_equal(r.granted, 0);
	assert_in_range(r.retry_us, 1800000000, 1800000001);
}

/* A grant smaller than of use would be lost to the others. */
static void test_a_cost_is_granted_whole_or_not(void **state)
{
	struct bucket_share b = share_of(10, 1000000, 20);
	struct sync_reply r;

	(void)state;
	bucket_at("rl:whole", &b, REAL_NOW, (struct sync){ .least = 1, .want = 16 });
	r = bucket_at("rl:whole", &b, REAL_NOW, (struct sync){ .least = 5, .want = 10 });
	assert_int_equal(r.granted, 0);
	assert_int_equal(r.left, 4);
	assert_int_equal(r.retry_us, 100000);
	r = bucket_at("rl:whole", &b, REAL_NOW, (struct sync){ .least = 21, .want = 21 });
	assert_true(r.retry_us == SYNC_NEVER);
}

static void test_a_denial_writes_nothing(void **state)
{
	struct bucket_share b = share_of(1, 1000000, 1);
	struct sync one = { .least = 1, .want = 1 };
	struct key_name k = key_of("rl:dry");
	struct budget_settle s = { .length_us = DAY_US, .sidecar = "a", .seq = 1, .sync = one };
	struct script_call c;
	long before;

	(void)state;
	bucket_at("rl:dry", &b, REAL_NOW, one);
	script_call_window(&c, &k, 1000000, true, 0, &one);
	before = changes();
	assert_int_equal(bucket_at("rl:dry", &b, REAL_NOW + 1, one).granted, 0);
	k = key_of("rl:dry:window");
	script_call_window(&c, &k, 1000000, true, 0, &one);
	assert_int_equal(call_at(&c, REAL_NOW).granted, 0);
	k = key_of("rl:dry:budget");
	script_call_budget(&c, &k, &s);
	assert_int_equal(call_at(&c, REAL_NOW).granted, 0);
	assert_int_equal(changes(), before);
}

static uint64_t dice_state = 88172645463325252;

static uint64_t dice(uint64_t n)
{
	dice_state ^= dice_state << 13;
	dice_state ^= dice_state >> 7;
	dice_state ^= dice_state << 17;
	return dice_state % n;
}

/* Beside each key one that is deleted as soon as it may expire. */
static void test_expiry_loses_nothing(void **state)
{
	struct bucket_share b = share_of(7, 1000, 5);
	uint64_t now = REAL_NOW, expires = 0;

	(void)state;
	for (unsigned i = 0; i < 1000; i++) {
		struct sync s = { .owed = (int64_t)dice(4) - 1, .least = 1, .want = dice(4) };
		struct sync_reply kept, expired;

		now += dice(1500);
		if (now >= expires)
			ask("DEL rl:short");
		kept = bucket_at("rl:long", &b, now, s);
		expired = bucket_at("rl:short", &b, now, s);
		assert_memory_equal(&kept, &expired, sizeof(kept));
		expires = now + kept.reset_us;
	}
}

/*------------------------------------------------------------------ windows */

static struct sync_reply window_at(const char *key, bool sliding, uint64_t now, struct sync s)
{
	struct key_name k = key_of(key);
	struct script_call c;

	script_call_window(&c, &k, 1000000, sliding, 10, &s);
	return call_at(&c, now);
}

static void test_windows_in_debt(void **state)
{
	struct sync_reply r;

	(void)state;
	r = window_at("rl:w", true, 5000000, (struct sync){ .owed = 14, .least = 1, .want = 1 });
	assert_int_equal(r.granted, 0);
	assert_int_equal(r.retry_us, 1000000 + 357143); /* until 9 of the 14 count */
	r = window_at("rl:w", true, 5000000, (struct sync){ .owed = -4 });
	assert_int_equal(r.left, 0);
	r = window_at("rl:w", true, 6500000, (struct sync){ .least = 1, .want = 9 });
	assert_int_equal(r.granted, 5);
	assert_int_equal(r.retry_us, 100000);
	/* what is given back of a window that is over is gone: it may not count there any more */
	r = window_at("rl:w", false, 7500000, (struct sync){ .owed = -5 });
	assert_int_equal(r.left, 10);
	r = window_at("rl:w", false, 7500000, (struct sync){ .least = 1, .want = 20 });
	assert_int_equal(r.granted, 10);
	assert_int_equal(r.retry_us, 500000);
	assert_int_equal(r.reset_us, 500000);
}

/*------------------------------------------------------------------ budgets */

static struct budget_settle settle_of(const char *sidecar, uint64_t seq, int64_t delta,
				      uint64_t want)
{
	return (struct budget_settle){ .length_us = DAY_US,
				       .limit = 10000,
				       .sidecar = sidecar,
				       .seq = seq,
				       .sync = { .owed = delta, .least = 1, .want = want } };
}

static struct sync_reply settle_at(const char *key, const struct budget_settle *s, uint64_t now)
{
	struct key_name k = key_of(key);
	struct script_call c;

	script_call_budget(&c, &k, s);
	return call_at(&c, now);
}

static void test_a_settlement_counts_once(void **state)
{
	struct budget_settle s = settle_of("a1", 1, 500, 100);
	struct sync_reply first, again;

	(void)state;
	first = settle_at("rl:b", &s, REAL_NOW);
	assert_int_equal(first.granted, 100);
	assert_int_equal(first.used, 600);
	assert_string_equal(first.count.name, "a1:1");
	again = settle_at("rl:b", &s, REAL_NOW + 5);
	assert_int_equal(again.granted, 100);
	assert_int_equal(again.used, 600);
	s = settle_of("b2", 1, 1, 0);
	assert_int_equal(settle_at("rl:b", &s, REAL_NOW).used, 601);
	s = settle_of("a1", 2, -100, 0);
	assert_int_equal(settle_at("rl:b", &s, REAL_NOW).used, 501);
	assert_string_equal(first.count.name, "a1:1");
}

static void test_what_belongs_to_an_earlier_window_is_forgotten(void **state)
{
	struct budget_settle s = settle_of("a1", 1, 10, 0);
	struct sync_reply r = settle_at("rl:days", &s, REAL_NOW);

	(void)state;
	s = settle_of("a1", 2, 77, 5);
	s.count = r.count;
	s.own = 10;
	r = settle_at("rl:days", &s, REAL_NOW + DAY_US);
	assert_int_equal(r.used, 5);
	assert_int_equal(r.granted, 5);
	assert_int_equal(r.count.window, s.count.window + 1);
	/* sent again, after its answer was lost */
	r = settle_at("rl:days", &s, REAL_NOW + DAY_US);
	assert_int_equal(r.used, 5);
	assert_int_equal(r.granted, 5);
}

static void test_windows_of_a_time_zone(void **state)
{
	struct budget_settle s = settle_of("a1", 1, 1, 0);
	uint64_t midnight = REAL_NOW / DAY_US * DAY_US;

	(void)state;
	s.offset_us = 2 * INT64_C(3600000000);
	assert_int_equal(
	    settle_at("rl:zone", &s, midnight + 22 * UINT64_C(3600000000) - 1).reset_us, 1);
	s.seq = 2;
	assert_int_equal(settle_at("rl:zone", &s, midnight + 22 * UINT64_C(3600000000)).used, 1);
	s.offset_us = -5 * INT64_C(3600000000);
	assert_int_equal(settle_at("rl:west", &s, midnight + 5 * UINT64_C(3600000000) - 1).reset_us,
			 1);
}

/* Sidecars of which every third answer is lost, and the server's data in the middle of it. */
struct ledger {
	char name[8];
	uint64_t seq, charged; /* confirmed, of this window */
	struct budget_count count;
};

static void ledger_settle(struct ledger *l)
{
	struct budget_settle s = settle_of(l->name, ++l->seq, (int64_t)dice(20) - 5, dice(10));
	struct sync_reply r;

	if (s.sync.owed < 0 && (uint64_t)-s.sync.owed > l->charged)
		s.sync.owed = 0;
	s.count = l->count;
	s.own = l->charged;
	do
		r = settle_at("rl:ledger", &s, REAL_NOW);
	while (dice(3) == 0);
	l->charged = (uint64_t)((int64_t)l->charged + s.sync.owed) + r.granted;
	l->count = r.count;
}

static uint64_t used_of(const char *key)
{
	char line[64];
	const struct resp *r;

	snprintf(line, sizeof(line), "HGET %s u", key);
	r = ask(line);
	return r->type == RESP_STRING ? strtoull(r->text.p, NULL, 10) : 0;
}

static void test_ledgers_agree_through_losses(void **state)
{
	struct ledger l[3] = { { .name = "x1" }, { .name = "x2" }, { .name = "x3" } };

	(void)state;
	for (unsigned i = 0; i < 600; i++) {
		ledger_settle(&l[dice(3)]);
		if (i % 200 == 199) {
			ask("DEL rl:ledger");
			for (unsigned k = 0; k < 3; k++)
				ledger_settle(&l[k]);
		}
		assert_true(i < 10 || i % 50 != 0 ||
			    used_of("rl:ledger") == l[0].charged + l[1].charged + l[2].charged);
	}
	assert_int_equal(used_of("rl:ledger"), l[0].charged + l[1].charged + l[2].charged);
}

/*-------------------------------------------------------------- odd times and keys */

static void test_a_clock_that_was_set_back(void **state)
{
	struct bucket_share b = share_of(100, 1000000, 200);
	struct sync one = { .least = 1, .want = 1 };
	struct budget_settle s = settle_of("a1", 1, 500, 0);
	struct sync_reply r;

	(void)state;
	bucket_at("rl:back", &b, REAL_NOW, one);
	r = bucket_at("rl:back", &b, REAL_NOW - 3600000000, one);
	assert_int_equal(r.granted, 0);
	assert_in_range(r.retry_us, 1, 5010000); /* not the hour */
	assert_int_equal(bucket_at("rl:back", &b, REAL_NOW - 3600000000 + r.retry_us, one).granted,
			 1);
	window_at("rl:back:w", false, 3600000000, (struct sync){ .least = 1, .want = 8 });
	r = window_at("rl:back:w", false, 3600000000 - 1, (struct sync){ .least = 1, .want = 8 });
	assert_int_equal(r.granted, 2); /* of the same */
	assert_int_equal(r.reset_us, 1000001);
	r = window_at("rl:back:w", false, 1800000000, one);
	assert_int_equal(r.granted, 0);
	assert_int_equal(r.retry_us, 1000000);
	assert_int_equal(window_at("rl:back:w", false, 1801000000, one).granted, 1);
	settle_at("rl:back:b", &s, 20 * DAY_US);
	s.seq = 2;
	r = settle_at("rl:back:b", &s, 20 * DAY_US - 1);
	assert_int_equal(r.count.window, 20);
	assert_int_equal(r.used, 1000);
	s.seq = 3;
	r = settle_at("rl:back:b", &s, 10 * DAY_US);
	assert_int_equal(r.count.window, 10);
	assert_int_equal(r.used, 1500);
	s = settle_of("b2", 1, 0, 1);
	settle_at("rl:back:b", &s, 20 * DAY_US);
	s = settle_of("b2", 2, 0, 10000);
	s.sync.least = 10000;
	assert_int_equal(settle_at("rl:back:b", &s, 10 * DAY_US).granted, 0);
	s.seq = 3;
	assert_int_equal(settle_at("rl:back:b", &s, 11 * DAY_US).granted, 10000);
}

static void set_value(const char *key, const char *value)
{
	struct buf b = { .p = NULL };

	resp_put_words(&b, "SET", key, value, NULL);
	asker_send(&client, &b);
	buf_fini(&b);
}

/* Whatever somebody wrote there: an answer that is one, and an end. */
static void test_keys_that_somebody_else_wrote(void **state)
{
	static const char *const values[] = { "x",
					      "''",
					      "12",
					      "-5 0 9",
					      "nan",
					      "1e300 1 1",
					      "99999999999999999999999999 99999999999999999999 1",
					      "1790000000123458 0 0",
					      "1790000000123458 99999999999999999999 2000000" };
	static const char *const fields[] = {
		"w nan c inf p -inf",
		"w inf c 1e300 p 1e300",
		"w 99999999999999999999999 c 99999999999999999999",
		"w 0x10 c 1.5 p -3",
		"c 5",
		"w 1790000000 u nan g x",
		"w 20717 u 5",
		"u 5 g 0123456789012345678901234567890123456789xxxxxx"
	};
	struct bucket_share b = share_of(100, 1000000, 200);
	struct sync one = { .least = 1, .want = 1 };
	char line[160];

	(void)state;
	for (unsigned i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		set_value("rl:odd", values[i]);
		bucket_at("rl:odd", &b, REAL_NOW, one);
		assert_int_equal(bucket_at("rl:odd", &b, REAL_NOW + 6000000, one).granted, 1);
	}
	for (unsigned i = 0; i < sizeof(fields) / sizeof(fields[0]); i++) {
		struct budget_settle s = settle_of("a1", 1, 1, 1);
		struct sync_reply r;

		snprintf(line, sizeof(line), "HSET rl:odd:h %s", fields[i]);
		ask("DEL rl:odd:h");
		ask(line);
		window_at("rl:odd:h", true, REAL_NOW, one);
		assert_int_equal(window_at("rl:odd:h", true, REAL_NOW + 3000000, one).granted, 1);
		ask("DEL rl:odd:h");
		ask(line);
		r = settle_at("rl:odd:h", &s, REAL_NOW);
		assert_in_range(r.count.window, REAL_NOW / DAY_US, REAL_NOW / DAY_US + 1);
		s.seq = 2;
		assert_int_equal(settle_at("rl:odd:h", &s, REAL_NOW + 2 * DAY_US).granted, 1);
	}
}

/*------------------------------------------------------------------ permits */

static struct sync_reply waits_at(uint64_t cap, const char *sidecar, uint64_t need, uint64_t want,
				  uint64_t waits)
{
	struct key_name k = key_of("rl:c");
	struct script_call c;

	script_call_permits(&c, &k, cap, sidecar, need, want, 1000000, waits);
	return call_at(&c, REAL_NOW);
}

static struct sync_reply permits_at(const char *sidecar, uint64_t need, uint64_t want, uint64_t now)
{
	struct key_name k = key_of("rl:c");
	struct script_call c;

	script_call_permits(&c, &k, 10, sidecar, need, want, 1000000, 0);
	return call_at(&c, now);
}

static void test_permits(void **state)
{
	struct sync_reply r;

	(void)state;
	assert_int_equal(permits_at("a", 0, 6, REAL_NOW).granted, 6);
	r = permits_at("b", 0, 6, REAL_NOW + 500000);
	assert_int_equal(r.granted, 4);
	assert_int_equal(r.retry_us, 500000);
	/* twice is as good as once */
	r = permits_at("b", 4, 6, REAL_NOW + 500000);
	assert_int_equal(r.granted, 4);
	assert_int_equal(r.left, 0);
	/* given back */
	assert_int_equal(permits_at("b", 1, 1, REAL_NOW + 500001).granted, 1);
	/* a crashed: its permits come free by themselves */
	r = permits_at("b", 1, 10, REAL_NOW + 999999);
	assert_int_equal(r.granted, 4);
	assert_int_equal(r.retry_us, 1);
	assert_int_equal(permits_at("b", 4, 10, REAL_NOW + 1000000).granted, 10);
	/* a was only slow: what is under way is held, and nobody gets more meanwhile */
	assert_int_equal(permits_at("a", 3, 6, REAL_NOW + 1000001).granted, 3);
	assert_int_equal(permits_at("b", 8, 10, REAL_NOW + 1000002).granted, 8);
	assert_int_equal(permits_at("a", 0, 0, REAL_NOW + 1000003).granted, 0);
	assert_int_equal(permits_at("b", 0, 0, REAL_NOW + 1000004).granted, 0);
	assert_int_equal(ask("EXISTS rl:c")->integer, 0);
}

/* Who waits with less than an even share gets what comes free, until it has as much. */
static void test_permits_for_those_who_wait(void **state)
{
	struct sync_reply r;

	(void)state;
	assert_int_equal(waits_at(4, "a", 0, 9, 5).granted, 4);
	assert_int_equal(waits_at(4, "b", 0, 3, 3).granted, 0);
	r = waits_at(4, "a", 4, 9, 5);
	assert_int_equal(r.granted, 4);
	assert_int_equal(r.yields, 2);
	r = waits_at(4, "a", 3, 9, 5); /* one call has ended: it is not for a */
	assert_int_equal(r.granted, 3);
	assert_int_equal(r.left, 1);
	assert_int_equal(r.yields, 1);
	assert_int_equal(waits_at(4, "b", 0, 3, 3).granted, 1);
	assert_int_equal(waits_at(4, "a", 2, 9, 5).granted, 2);
	r = waits_at(4, "b", 1, 4, 3);
	assert_int_equal(r.granted, 2);
	assert_int_equal(r.yields, 0);
	assert_int_equal(waits_at(4, "a", 2, 9, 5).yields, 0);
	/* nobody waits at b any more */
	assert_int_equal(waits_at(4, "b", 0, 0, 0).left, 2);
	assert_int_equal(waits_at(4, "a", 2, 9, 5).granted, 4);
	assert_int_equal(waits_at(4, "a", 0, 0, 0).granted, 0);
	assert_int_equal(ask("EXISTS rl:c")->integer, 0);
}

/* There is not one for each. */
static void test_permits_in_turns(void **state)
{
	(void)state;
	assert_int_equal(waits_at(1, "a", 0, 5, 4).granted, 1);
	assert_int_equal(waits_at(1, "b", 0, 5, 5).granted, 0);
	assert_int_equal(waits_at(1, "a", 1, 5, 4).yields, 1);
	assert_int_equal(waits_at(1, "a", 0, 4, 4).granted, 0); /* it has just had it */
	assert_int_equal(waits_at(1, "b", 0, 5, 5).granted, 1);
	assert_int_equal(waits_at(1, "a", 0, 4, 4).granted, 0);
	assert_int_equal(waits_at(1, "b", 0, 4, 4).granted, 0);
	assert_int_equal(waits_at(1, "b", 0, 4, 4).granted, 1); /* a does not come for it */
	assert_int_equal(waits_at(1, "b", 0, 0, 0).left, 1);
	assert_int_equal(waits_at(1, "a", 0, 0, 0).left, 1);
	assert_int_equal(ask("EXISTS rl:c")->integer, 0);
}

static uint64_t peers_left;

static uint64_t peers_at(const char *sidecar, uint64_t hold_us, uint64_t now)
{
	struct script_call c;
	struct key_name k;
	struct sync_reply r;

	key_name_peers("shop", &k);
	script_call_peers(&c, &k, sidecar, hold_us);
	r = call_at(&c, now);
	peers_left = r.left;
	return r.granted;
}

static void test_peers(void **state)
{
	(void)state;
	assert_int_equal(peers_at("a", 5000000, REAL_NOW), 1);
	assert_int_equal(peers_at("a", 5000000, REAL_NOW + 1000000), 1);
	assert_int_equal(peers_at("b", 5000000, REAL_NOW + 1000000), 2);
	assert_int_equal(peers_at("b", 5000000, REAL_NOW + 5999999), 2);
	assert_int_equal(peers_at("b", 5000000, REAL_NOW + 6000000), 1); /* a was silent */
	assert_int_equal(peers_at("b", 0, REAL_NOW + 6000000), 0);
	assert_int_equal(ask("EXISTS rl:{shop}:peers")->integer, 0);
	assert_int_equal(peers_at("b", 0, REAL_NOW + 6000000), 0); /* it was none of them */
	assert_int_equal(ask("EXISTS rl:{shop}:peers")->integer, 0);
	for (uint64_t i = 0; i < 3; i++) {
		assert_int_equal(peers_at("a", 5000000, REAL_NOW + 7000000), 1);
		assert_int_equal(peers_at("b", 5000000, REAL_NOW + 7000000), 2);
		assert_int_equal(peers_left, i);
		assert_int_equal(peers_at("b", 0, REAL_NOW + 7000000), 1);
		assert_int_equal(peers_left, i + 1);
	}
}

/*--------------------------------------------------------------- deployment */

/* One call of each, by the server's clock. */
static void make_all(struct script_call c[4])
{
	struct bucket_share b = share_of(100, 1000000, 200);
	struct sync s = { .owed = 1, .least = 1, .want = 10 };
	struct budget_settle settle = settle_of("0123456789abcdef", 1, 5, 10);
	static const char *const names[4] = { "rl:{n:12345678:1234567890123456789012}:t",
					      "rl:{n:12345678:1234567890123456789012}:w",
					      "rl:{n:12345678:1234567890123456789012}:b",
					      "rl:{n:12345678:1234567890123456789012}:c" };
	struct key_name k[4];

	for (unsigned i = 0; i < 4; i++)
		k[i] = key_of(names[i]);
	script_call_bucket(&c[0], &k[0], &b, &s);
	script_call_window(&c[1], &k[1], 60000000, true, 100, &s);
	script_call_budget(&c[2], &k[2], &settle);
	script_call_permits(&c[3], &k[3], 100, "0123456789abcdef", 1, 10, 1000000, 3);
}

static void test_server_time(void **state)
{
	struct script_call c[4];
	struct sync_reply r;

	(void)state;
	make_all(c);
	ask("FLUSHALL");
	for (unsigned i = 0; i < 4; i++) {
		r = call_now(&c[i]);
		assert_int_equal(r.granted, 10);
	}
	r = call_now(&c[0]); /* its tokens have come back by now, or some have */
	assert_in_range(r.left, 178, 189);
	assert_in_range(r.reset_us, 1, 220000);
}

/* A key without an end would count for ever. */
static void test_every_key_ends(void **state)
{
	static const struct {
		char kind;
		int64_t ms; /* at most */
	} row[] = { { 't', 1120 }, { 'w', 121000 }, { 'b', 2 * 86400000 + 1000 }, { 'c', 2000 } };
	struct script_call c[4];
	char line[80];

	(void)state;
	make_all(c);
	ask("FLUSHALL");
	for (unsigned i = 0; i < 4; i++) {
		send_call(&c[i], true);
		snprintf(line, sizeof(line), "PTTL rl:{n:12345678:1234567890123456789012}:%c",
			 row[i].kind);
		assert_in_range(ask(line)->integer, 1, row[i].ms);
	}
}

static void test_known_by_name_once_sent_whole(void **state)
{
	const struct resp *r;
	struct script_call c[4];

	(void)state;
	make_all(c);
	ask("SCRIPT FLUSH");
	for (unsigned i = 0; i < 4; i++) {
		r = send_call(&c[i], false);
		assert_int_equal(r->type, RESP_ERROR);
		assert_int_equal(refusal_of(r->text)->answer, REFUSAL_WHOLE);
		assert_int_equal(send_call(&c[i], true)->type, RESP_ARRAY);
		assert_int_equal(send_call(&c[i], false)->type, RESP_ARRAY);
	}
}

static void test_memory_of_a_key(void **state)
{
	static const struct {
		const char *line;
		int64_t most;
	} row[] = { { "MEMORY USAGE rl:{n:12345678:1234567890123456789012}:t", 128 },
		    { "MEMORY USAGE rl:{n:12345678:1234567890123456789012}:w", 160 },
		    { "MEMORY USAGE rl:{n:12345678:1234567890123456789012}:b", 208 },
		    { "MEMORY USAGE rl:{n:12345678:1234567890123456789012}:c", 168 } };
	struct script_call c[4];

	(void)state;
	make_all(c);
	for (unsigned i = 0; i < 4; i++) {
		const struct resp *r;

		send_call(&c[i], true);
		r = ask(row[i].line);
		print_message("%s: %lld bytes\n", c[i].script->name, (long long)r->integer);
		assert_in_range(r->integer, 64, row[i].most);
	}
}

/* The line that the README gives. */
#define ACL                                                                                    \
	"ACL SETUSER side on >secret resetchannels -@all +evalsha +eval +time +get +set +del " \
	"+hmget +hset +hdel +hgetall +pexpire +zadd +zrem "                                    \
	"+zcard +zremrangebyscore +ping +role ~rl:*"

static void test_rights_suffice(void **state)
{
	struct script_call c[4];

	(void)state;
	assert_true(resp_is(ask(ACL), "OK"));
	ask("FLUSHALL");
	assert_true(resp_is(ask("AUTH side secret"), "OK"));
	make_all(c);
	for (unsigned i = 0; i < 4; i++) {
		assert_int_equal(send_call(&c[i], true)->type, RESP_ARRAY);
		assert_int_equal(send_call(&c[i], false)->type, RESP_ARRAY);
	}
	assert_true(resp_is(ask("PING"), "PONG"));
	assert_true(slice_is(ask("ROLE")->item[0].text, "master"));
	assert_int_equal(refusal_of(ask("GET other")->text)->answer, REFUSAL_OPERATOR);
	assert_int_equal(refusal_of(ask("FLUSHALL")->text)->answer, REFUSAL_OPERATOR);
	assert_int_equal(refusal_of(ask("KEYS *")->text)->answer, REFUSAL_OPERATOR);
	assert_string_equal(refusal_of(ask("SCRIPT FLUSH")->text)->word, "NOPERM");
	asker_close(&client);
	asker_open(&client, &server);
}

/* A key of that name that is something else, and answers that are none. */
static void test_answers_of_another_kind(void **state)
{
	struct resp number = { .type = RESP_INTEGER, .integer = 1 };
	struct resp item[7] = { number, number, number, number, number, number, number };
	struct resp r = { .type = RESP_ARRAY, .n = 4, .item = item };
	struct script_call c[4];
	struct sync_reply out;

	(void)state;
	make_all(c);
	ask("FLUSHALL");
	ask("HSET rl:{n:12345678:1234567890123456789012}:t a b");
	assert_int_equal(refusal_of(send_call(&c[0], true)->text)->answer, REFUSAL_COMMAND);
	assert_true(sync_reply_read(&script_bucket, &r, &out));
	assert_false(sync_reply_read(&script_budget, &r, &out));
	item[0].integer = -1;
	assert_false(sync_reply_read(&script_bucket, &r, &out));
	item[0] = (struct resp){ .type = RESP_STRING };
	assert_false(sync_reply_read(&script_bucket, &r, &out));
	item[0] = number;
	r.n = 7;
	assert_false(sync_reply_read(&script_budget, &r, &out));
	assert_false(sync_reply_read(&script_bucket, &r, &out));
	assert_false(sync_reply_read(&script_bucket, &number, &out));
	ask("FLUSHALL");
}

static int start(void **state)
{
	(void)state;
	if (!redis_server_start(&server, false, NULL))
		return -1;
	asker_open(&client, &server);
	return 0;
}

static int stop(void **state)
{
	(void)state;
	asker_close(&client);
	redis_server_stop(&server);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rates_beyond_numbers_are_refused),
		cmocka_unit_test(test_answers_of_another_kind),
		cmocka_unit_test(test_vectors_of_buckets),
		cmocka_unit_test(test_vectors_of_windows),
		cmocka_unit_test(test_no_digit_is_lost),
		cmocka_unit_test(test_partial_grants_debt_and_returns),
		cmocka_unit_test(test_another_rate_finds_the_same_share),
		cmocka_unit_test(test_a_clock_that_was_set_back),
		cmocka_unit_test(test_keys_that_somebody_else_wrote),
		cmocka_unit_test(test_a_cost_is_granted_whole_or_not),
		cmocka_unit_test(test_a_denial_writes_nothing),
		cmocka_unit_test(test_expiry_loses_nothing),
		cmocka_unit_test(test_windows_in_debt),
		cmocka_unit_test(test_a_settlement_counts_once),
		cmocka_unit_test(test_what_belongs_to_an_earlier_window_is_forgotten),
		cmocka_unit_test(test_windows_of_a_time_zone),
		cmocka_unit_test(test_ledgers_agree_through_losses),
		cmocka_unit_test(test_permits),
		cmocka_unit_test(test_permits_for_those_who_wait),
		cmocka_unit_test(test_permits_in_turns),
		cmocka_unit_test(test_peers),
		cmocka_unit_test(test_every_key_ends),
		cmocka_unit_test(test_known_by_name_once_sent_whole),
		cmocka_unit_test(test_memory_of_a_key),
		cmocka_unit_test(test_rights_suffice),
		cmocka_unit_test(test_server_time),
	};

	if (!redis_is_installed()) {
		print_message("not run: there is no redis-server\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, start, stop);
}
