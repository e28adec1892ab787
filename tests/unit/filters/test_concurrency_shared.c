/* Caps on calls under way that replicas share, from YAML to verdict; the server is played here.  Whatever becomes of a
 * call, its permit is given back, once. */
#include "policies.h"

#include "base/clock.h"
#include "filters/concurrency.h"
#include "filters/sharing.h"
#include "filters/wait.h"

#define MS CLOCK_MS
#define S  CLOCK_S

enum { GUESTS = 12 };

static struct table_registry *tables;
static struct shared_limits *shared;
static struct wakes wakes[1];
static struct policies policies;
static uint64_t now;
static unsigned settlings;

/* What the server has: a cap, and what the others hold. */
static uint64_t cap, others, held;

static void tell(struct wakes *w, bool own)
{
	(void)w, (void)own;
}

static void on_wake(void *owner)
{
	(void)owner;
}

static void on_settled(void *owner)
{
	(void)owner;
	settlings++;
}

static int setup(void **state)
{
	struct shared_options o = { .space = "test",
				    .sidecar = "one",
				    .peers = 2,
				    .now_ns = 1000 * S,
				    .random = 7,
				    .wake = on_wake,
				    .settled = on_settled };
	struct sharing s = { .timeout_ns = 20 * MS };

	(void)state;
	now = 1000 * S;
	cap = 2;
	others = held = 0;
	tables = policies_tables();
	wakes_init(&wakes[0], tell, NULL);
	shared = s.limits = shared_new(&o);
	assert_non_null(shared);
	table_registry_share(tables, &s);
	shared_up(shared, now);
	return 0;
}

static int teardown(void **state)
{
	struct script_call c;
	struct shared_key *k;

	(void)state;
	while ((k = shared_next(shared, now, &c)) != NULL)
		shared_lost(shared, now, k);
	policies_close(&policies);
	wakes_fini(&wakes[0]);
	shared_free(shared);
	table_registry_free(tables);
	return 0;
}

/* In force, as a worker has it. */
static void load(struct policies *p, const char *yaml)
{
	struct env env = { .now_ns = now };

	policies_open(p, tables, yaml);
	for (uint8_t i = 0; i < p->chain.n; i++)
		p->filter[i]->ops->in_force(p->filter[i], &env);
}

static void follow(const char *yaml)
{
	load(&policies, yaml);
}

/*-------------------------------------------------------------------- server */

/* The nth word that a script is told, as a number. */
static uint64_t word(const struct script_call *c, unsigned n)
{
	const char *at = c->text;

	for (;;) {
		unsigned long bytes = strtoul(at + 1, NULL, 10);

		at = strchr(at, '\n') + 1;
		if (n-- == 0)
			return strtoull(at, NULL, 10);
		at += bytes + 2;
	}
}

/* permits.lua, for this one and others who only hold. */
static struct sync_reply execute(const struct script_call *c)
{
	enum { CAP = 1, NEED = 3, WANT = 4 }; /* behind the key */
	uint64_t room, need = word(c, NEED), want = word(c, WANT);

	cap = word(c, CAP);
	room = cap > others ? cap - others : 0;
	held = want < room ? want : room;
	held = held > need ? held : need;
	return (struct sync_reply){ .granted = held,
				    .left = cap > others + held ? cap - others - held : 0 };
}

static void answer_all(void)
{
	struct script_call c;
	struct shared_key *k;

	while ((k = shared_next(shared, now, &c)) != NULL) {
		struct sync_reply r = execute(&c);

		shared_reply(shared, now, k, &r);
	}
	wakes_run(&wakes[0]);
}

static void lose_all(void)
{
	struct script_call c;
	struct shared_key *k;

	while ((k = shared_next(shared, now, &c)) != NULL)
		shared_lost(shared, now, k);
	wakes_run(&wakes[0]);
}

static void pass(uint64_t ns)
{
	now += ns;
	(void)shared_pace(shared, now);
	wakes_run(&wakes[0]);
}

/*--------------------------------------------------------------------- calls */

struct guest {
	struct visit v; /* first */
	struct verdict last;
	unsigned resumed;
	bool here;
};

static void on_resume(struct call *c, struct verdict v)
{
	struct guest *g = (struct guest *)(void *)((char *)c - offsetof(struct visit, call));

	g->last = v.kind == V_PASS ? chain_admit(c) : v;
	g->resumed++;
}

static struct verdict come_to(struct guest *g, const struct policies *p, const char *user)
{
	visit_init(&g->v, "10.0.0.1", now);
	g->v.env.wakes = wakes;
	g->v.call.resume = on_resume;
	if (user != NULL)
		visit_header(&g->v, "x-user", user);
	g->resumed = 0;
	g->here = true;
	return g->last = visit_admit(&g->v, p);
}

static struct verdict come(struct guest *g)
{
	return come_to(g, &policies, NULL);
}

/* Let in, after the answer. */
static void enter(struct guest *g)
{
	come(g);
	answer_all();
	assert_int_equal(g->last.kind, V_PASS);
}

static struct verdict late(struct guest *g)
{
	g->v.env.now_ns = now;
	return g->last = chain_late(&g->v.call);
}

static void leave(struct guest *g)
{
	g->v.env.now_ns = now;
	g->here = false;
	visit_done(&g->v);
}

struct shown {
	uint64_t v[FILTER_METRICS];
};

static void on_show(void *ctx, const struct filter_sample *s)
{
	((struct shown *)ctx)->v[s->metric] = s->value;
}

static uint64_t shown(enum filter_metric m)
{
	struct shown s = { { 0 } };

	policies.filter[0]->ops->show(policies.filter[0], on_show, &s);
	return s.v[m];
}

static uint64_t waits_counted(void)
{
	struct stat_sum sum = { 0 };

	assert_true(filter_stats_waits(policies.filter[0]->stats, &sum));
	return sum.n;
}

static void assert_at_rest(void)
{
	answer_all();
	assert_int_equal(shown(SHOW_CONCURRENCY), 0);
	assert_int_equal(shown(SHOW_QUEUE_LENGTH), 0);
	assert_int_equal(held, 0);
}

/*------------------------------------------------------------- configuration */

static void assert_refused(const char *yaml, const char *code, const char *words)
{
	struct policies p;
	const struct diag *d;

	policies_load(&p, tables, yaml);
	assert_false(p.ok);
	d = policies_finding(&p, code, words);
	assert_non_null(d);
	assert_true(d->at.line > 0 && d->at.column > 1);
	policies_close(&p);
}

static void test_what_cannot_be_shared(void **state)
{
	(void)state;
	assert_refused("policies: { a: { concurrency: auto, store: redis } }", "E019",
		       "learns the limit of one replica");
	assert_refused("policies: { a: { concurrency: 5, peers: 3 } }", "E019", "store: redis");
	assert_refused("policies: { a: { concurrency: 5, store_wait: 5ms } }", "E019",
		       "store: redis");
	assert_refused("policies: { a: { concurrency: 5, on_error: deny } }", "E019",
		       "store: redis");
	assert_refused("policies: { a: { concurrency: 5, store: redis, share: lease } }", "E012",
		       "unknown key `share`");
	assert_refused("policies: { a: { concurrency: 5, store: redis, overshoot: 5% } }", "E012",
		       "unknown key `overshoot`");
	assert_refused("policies: { a: { concurrency: 5, store: redis, on_error: maybe } }", "E015",
		       "local, allow or deny");
	follow("policies: { a: { concurrency: 5, store: redis, peers: 3, store_wait: 5ms } }");
}

/*-------------------------------------------------------------------- permits */

static void test_a_call_waits_for_its_permit(void **state)
{
	struct guest g;
	struct verdict v;

	(void)state;
	follow("policies: { a: { concurrency: 2, store: redis, store_wait: 5ms } }");
	v = come(&g);
	assert_int_equal(v.kind, V_PENDING);
	assert_int_equal(v.ms, 5);
	answer_all();
	assert_int_equal(settlings, 1);
	assert_int_equal(g.resumed, 1);
	assert_int_equal(g.last.kind, V_PASS);
	assert_int_equal(held, 1);
	assert_int_equal(shown(SHOW_CONCURRENCY), 1);
	assert_int_equal(shown(SHOW_CONCURRENCY_LIMIT), 2);
	leave(&g);
	assert_at_rest();
}

static void test_all_are_taken(void **state)
{
	struct guest g[2];

	(void)state;
	follow("policies: { a: { concurrency: 2, store: redis } }");
	others = 1;
	enter(&g[0]);
	come(&g[1]);
	answer_all();
	assert_int_equal(g[1].last.kind, V_DENY);
	assert_ptr_equal(g[1].last.why, reason_concurrency_full);
	assert_int_equal(g[1].last.ms, 1000);
	assert_int_equal(g[1].v.call.out.limit.limit, 2);
	assert_int_equal(g[1].v.call.out.limit.remaining, 0);
	assert_string_equal(g[1].v.call.out.limit.policy, "a");
	leave(&g[1]);
	assert_int_equal(come(&g[1]).kind, V_DENY); /* it is known */
	leave(&g[1]);
	leave(&g[0]);
	assert_at_rest();
	assert_int_equal(shown(SHOW_FALLBACKS), 0);
}

static const char *field(struct head *h, const char *name)
{
	const struct header *f = head_find_name(h, slice_str(name));

	return f == NULL ? NULL : f->value.p;
}

static void test_of_each_key(void **state)
{
	struct guest g[3];
	struct head h;

	(void)state;
	follow("policies: { a: { concurrency: 1, key: header.x-user, store: redis, overrides: "
	       "[{ match: vip, concurrency: 2 }, { match: all, concurrency: unlimited }] } }");
	come_to(&g[0], &policies, "ann");
	answer_all();
	assert_int_equal(g[0].last.kind, V_PASS);
	come_to(&g[1], &policies, "ann");
	answer_all();
	assert_ptr_equal(g[1].last.why, reason_concurrency_limited);
	head_init(&h, &g[1].v.arena);
	g[1].v.call.out.why = reason_concurrency_limited;
	chain_respond(&g[1].v.call, &h);
	assert_non_null(field(&h, "ratelimit-policy"));
	leave(&g[1]);
	for (unsigned i = 1; i < 3; i++) {
		come_to(&g[i], &policies, "vip");
		answer_all();
		assert_int_equal(g[i].last.kind, V_PASS);
	}
	assert_int_equal(shown(SHOW_CONCURRENCY), 3);
	for (unsigned i = 0; i < 3; i++)
		leave(&g[i]);
	assert_int_equal(come_to(&g[0], &policies, "all").kind, V_PASS);
	leave(&g[0]);
	assert_at_rest();
}

static void test_a_later_policy_refuses(void **state)
{
	struct guest g;

	(void)state;
	follow("policies: { a: { concurrency: 2, store: redis }, b: { concurrency: 1, store: redis "
	       "} }");
	come(&g);
	others = 1; /* as it is for b: a was asked */
	answer_all();
	answer_all();
	assert_int_equal(g.last.kind, V_DENY);
	leave(&g);
	assert_at_rest();
}

static void test_who_goes_while_it_waits(void **state)
{
	struct guest g[2];
	struct script_call c;
	struct shared_key *k;
	struct sync_reply r;

	(void)state;
	follow("policies: { a: { concurrency: 2, store: redis } }");
	come(&g[0]);
	leave(&g[0]); /* before it is answered */
	assert_at_rest();
	come(&g[1]);
	k = shared_next(shared, now, &c);
	r = execute(&c);
	shared_reply(shared, now, k, &r);
	leave(&g[1]); /* after, and before it is told */
	assert_int_equal(g[1].resumed, 0);
	assert_at_rest();
}

static void test_a_trial_waits_for_nothing(void **state)
{
	struct guest g[3];

	(void)state;
	follow("policies: { a: { concurrency: 2, store: redis, shadow: true, queue: 5 } }");
	for (unsigned i = 0; i < 3; i++)
		assert_int_equal(come(&g[i]).kind, V_PASS);
	assert_int_equal(shown(SHOW_CONCURRENCY), 2);
	assert_int_equal(filter_stats_read(policies.filter[0]->stats, DECISION_SHADOW_DENY), 1);
	for (unsigned i = 0; i < 3; i++)
		leave(&g[i]);
	assert_at_rest();
}

/*---------------------------------------------------------------------- queue */

static void test_the_queue(void **state)
{
	struct guest g[4];

	(void)state;
	follow("policies: { a: { concurrency: 1, store: redis, queue: { size: 2, wait: 3s } } }");
	enter(&g[0]);
	assert_int_equal(come(&g[1]).ms, 3000);
	answer_all();
	assert_int_equal(g[1].resumed, 0);
	assert_int_equal(come(&g[2]).kind, V_PENDING);
	assert_int_equal(come(&g[3]).kind, V_DENY); /* no place */
	leave(&g[3]);
	assert_int_equal(shown(SHOW_QUEUE_LENGTH), 2);
	leave(&g[0]);
	wakes_run(&wakes[0]);
	assert_int_equal(g[1].last.kind, V_PASS);
	assert_int_equal(g[2].resumed, 0);
	pass(3 * S);
	assert_int_equal(late(&g[2]).kind, V_DENY);
	assert_ptr_equal(g[2].last.why, reason_concurrency_full);
	leave(&g[2]);
	assert_int_equal(waits_counted(), 2);
	leave(&g[1]);
	assert_at_rest();
}

static void test_what_comes_free_elsewhere(void **state)
{
	struct guest g;

	(void)state;
	follow("policies: { a: { concurrency: 1, store: redis, queue: 2 } }");
	others = 1;
	come(&g);
	answer_all();
	others = 0;
	pass(30 * MS);
	answer_all();
	assert_int_equal(g.resumed, 0); /* not asked yet */
	pass(40 * MS);
	answer_all();
	assert_int_equal(g.last.kind, V_PASS);
	leave(&g);
	assert_at_rest();
}

static void test_peek_and_look(void **state)
{
	struct guest g[2];
	const struct filter *f;
	struct limit_info limit;

	(void)state;
	follow("policies: { a: { concurrency: 2, store: redis } }");
	f = policies.filter[0];
	others = 1;
	visit_init(&g[1].v, "10.0.0.1", now);
	assert_int_equal(f->ops->peek(f, &g[1].v.call).kind, V_PASS);
	assert_true(f->ops->look(f, &g[1].v.call, &limit));
	assert_int_equal(limit.remaining, 2); /* nothing is known of it yet */
	arena_fini(&g[1].v.arena);
	enter(&g[0]);
	come(&g[1]);
	answer_all();
	assert_int_equal(f->ops->peek(f, &g[1].v.call).kind, V_DENY);
	assert_true(f->ops->look(f, &g[1].v.call, &limit));
	assert_int_equal(limit.remaining, 0);
	leave(&g[1]);
	leave(&g[0]);
	assert_at_rest();
}

/*-------------------------------------------------------------- without Redis */

static void test_deny(void **state)
{
	struct guest g[2];

	(void)state;
	follow("policies: { a: { concurrency: 2, store: redis, on_error: deny, queue: 4 } }");
	come(&g[0]);
	shared_down(shared, now);
	wakes_run(&wakes[0]);
	assert_ptr_equal(g[0].last.why, reason_store_unavailable);
	assert_int_equal(g[0].last.ms, 1000);
	assert_int_equal(come(&g[1]).kind, V_DENY);
	assert_ptr_equal(g[1].last.why, reason_store_unavailable);
	assert_int_equal(shown(SHOW_FALLBACKS), 2);
	leave(&g[0]);
	leave(&g[1]);
	shared_up(shared, now);
	assert_at_rest();
}

static void test_allow(void **state)
{
	struct guest g[4];

	(void)state;
	follow("policies: { a: { concurrency: 2, store: redis, on_error: allow } }");
	come(&g[0]);
	lose_all();
	assert_int_equal(g[0].last.kind, V_PASS);
	shared_down(shared, now);
	for (unsigned i = 1; i < 4; i++)
		assert_int_equal(come(&g[i]).kind, V_PASS);
	assert_int_equal(shown(SHOW_FALLBACKS), 4);
	shared_up(shared, now);
	answer_all();
	assert_int_equal(held, 4); /* said as it is */
	for (unsigned i = 0; i < 4; i++)
		leave(&g[i]);
	assert_at_rest();
}

static void test_local(void **state)
{
	struct guest g[2];

	(void)state;
	follow("policies: { a: { concurrency: 2, store: redis } }");
	shared_down(shared, now);
	assert_int_equal(come(&g[0]).kind, V_DENY);
	assert_ptr_equal(g[0].last.why, reason_concurrency_full);
	leave(&g[0]);
	pass(5 * S);
	assert_int_equal(come(&g[0]).kind, V_PASS);
	assert_int_equal(come(&g[1]).kind, V_DENY);
	leave(&g[1]);
	shared_up(shared, now);
	answer_all();
	assert_int_equal(held, 1);
	leave(&g[0]);
	assert_at_rest();
}

static void test_a_time_that_is_over(void **state)
{
	struct guest g;

	(void)state;
	follow("policies: { a: { concurrency: 2, store: redis, on_error: allow } }");
	come(&g);
	assert_int_equal(late(&g).kind, V_PASS);
	assert_int_equal(shown(SHOW_FALLBACKS), 1);
	answer_all();
	leave(&g);
	assert_at_rest();
}

static void test_answered_as_its_time_is_over(void **state)
{
	struct guest g;
	struct script_call c;
	struct shared_key *k;
	struct sync_reply r;

	(void)state;
	follow("policies: { a: { concurrency: 2, store: redis, on_error: deny } }");
	come(&g);
	k = shared_next(shared, now, &c);
	r = execute(&c);
	shared_reply(shared, now, k, &r);
	assert_int_equal(late(&g).kind, V_PASS); /* the answer was on its way */
	leave(&g);
	assert_at_rest();
}

/*-------------------------------------------------------------------- reloads */

static void test_calls_of_an_older_policy(void **state)
{
	struct policies old;
	struct guest g[3];

	(void)state;
	load(&old, "policies: { a: { concurrency: 1, store: redis, queue: 4 } }");
	come_to(&g[0], &old, NULL);
	answer_all();
	come_to(&g[1], &old, NULL);
	answer_all();
	assert_int_equal(g[1].resumed, 0);
	follow("policies: { a: { concurrency: 2, store: redis, queue: 4 } }");
	answer_all(); /* there is one more */
	assert_int_equal(g[1].last.kind, V_PASS);
	assert_int_equal(come(&g[2]).kind, V_PENDING);
	answer_all();
	assert_int_equal(g[2].resumed, 0);
	leave(&g[0]);
	leave(&g[1]);
	wakes_run(&wakes[0]);
	assert_int_equal(g[2].last.kind, V_PASS);
	policies_close(&old);
	leave(&g[2]);
	assert_at_rest();
}

static void test_from_local_to_shared_and_back(void **state)
{
	struct policies local, again;
	struct guest g[3];

	(void)state;
	load(&local, "policies: { a: { concurrency: 1 } }");
	assert_int_equal(come_to(&g[0], &local, NULL).kind, V_PASS);
	follow("policies: { a: { concurrency: 1, store: redis } }");
	enter(&g[1]); /* another count */
	load(&again, "policies: { a: { concurrency: 1 } }");
	assert_int_equal(come_to(&g[2], &again, NULL).kind, V_DENY);
	for (unsigned i = 0; i < 3; i++)
		leave(&g[i]);
	policies_close(&local);
	policies_close(&again);
	assert_at_rest();
}

/*--------------------------------------------------------------------- traces */

static uint64_t random_state = 11;

static unsigned dice(unsigned n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (unsigned)(random_state % n);
}

static void move_one(struct guest *g)
{
	bool waits = g->here && g->last.kind == V_PENDING;

	if (!g->here)
		come(g);
	else if (waits && dice(4) == 0)
		late(g);
	else if (!waits || dice(4) == 0)
		leave(g);
}

static void move_server(void)
{
	struct shared_gauge g;

	shared_gauge(shared, &g);
	switch (dice(12)) {
	case 0:
		others = dice(4);
		break;
	case 1:
		lose_all();
		break;
	case 2:
		if (g.down)
			shared_up(shared, now);
		else
			shared_down(shared, now);
		break;
	case 3:
		shared_tick(shared, now);
		break;
	default:
		answer_all();
	}
	pass(dice(100) * MS);
}

/* At all times as many are under way as are counted; at the end none, and nothing is held. */
static void trace(const char *yaml)
{
	struct guest g[GUESTS] = { { .here = false } };

	follow(yaml);
	for (unsigned step = 0; step < 20000; step++) {
		uint64_t in = 0;

		move_one(&g[dice(GUESTS)]);
		move_server();
		for (unsigned i = 0; i < GUESTS; i++)
			in += g[i].here && g[i].last.kind == V_PASS;
		assert_int_equal(shown(SHOW_CONCURRENCY), in);
	}
	for (unsigned i = 0; i < GUESTS; i++)
		if (g[i].here)
			leave(&g[i]);
	wakes_run(&wakes[0]);
	others = 0;
	shared_down(shared, now);
	shared_up(shared, now);
	pass(S);
	assert_at_rest();
}

static void test_traces(void **state)
{
	(void)state;
	trace("policies: { a: { concurrency: 4, store: redis } }");
}

static void test_traces_with_a_queue(void **state)
{
	(void)state;
	trace("policies: { a: { concurrency: 4, store: redis, queue: { size: 3, wait: 1s } } }");
}

static void test_traces_with_deny(void **state)
{
	(void)state;
	trace("policies: { a: { concurrency: 4, store: redis, on_error: deny, queue: { size: 3, "
	      "order: lifo } } }");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(test_##name, setup, teardown)
		TEST(what_cannot_be_shared),
		TEST(a_call_waits_for_its_permit),
		TEST(all_are_taken),
		TEST(of_each_key),
		TEST(a_later_policy_refuses),
		TEST(who_goes_while_it_waits),
		TEST(a_trial_waits_for_nothing),
		TEST(the_queue),
		TEST(what_comes_free_elsewhere),
		TEST(peek_and_look),
		TEST(deny),
		TEST(allow),
		TEST(local),
		TEST(a_time_that_is_over),
		TEST(answered_as_its_time_is_over),
		TEST(calls_of_an_older_policy),
		TEST(from_local_to_shared_and_back),
		TEST(traces),
		TEST(traces_with_a_queue),
		TEST(traces_with_deny),
#undef TEST
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
