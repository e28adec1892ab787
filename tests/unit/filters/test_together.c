/* Limits of arrivals: rates in steps (leaky-bucket), in pools, decided together; against the arithmetic that nginx documents.
 *
 * A model of it, from its description: a zone keeps of each key an excess in thousandths of a request and the millisecond in
 * which it was last counted.  What comes adds 1000, each millisecond takes off `rate` thousandths of a thousandth (rounded
 * down), and it never falls below 0.  More than `burst` is refused; what is above `delay` waits until it would not be.  Of
 * several limits one that refuses keeps all of them from counting, and the longest wait counts. */
#include <inttypes.h>

#include "policies.h"

#define S  UINT64_C(1000000000)
#define MS UINT64_C(1000000)

static struct table_registry *tables;

static int setup(void **state)
{
	(void)state;
	tables = policies_tables();
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	table_registry_free(tables);
	return 0;
}

/*------------------------------------------------------------------- model */

enum { ZONES = 3, KEYS = 2, PLACES = 4, LIMITS = 3 };

struct key_model {
	uint64_t last_ms;
	int64_t excess;
	bool known;
};

struct zone_model {
	int64_t rate; /* thousandths of a request a second */
	struct key_model key[KEYS];
};

struct limit_model {
	int zone;
	int64_t burst, delay; /* thousandths */
};

struct place_model {
	int n;
	bool dry_run;
	struct limit_model limit[LIMITS];
};

struct model {
	struct zone_model zone[ZONES];
	struct place_model place[PLACES];
};

static int64_t excess_now(const struct zone_model *z, const struct key_model *k, uint64_t now_ms)
{
	int64_t excess = k->excess - z->rate * (int64_t)(now_ms - k->last_ms) / 1000 + 1000;

	return !k->known || excess < 0 ? 0 : excess;
}

/* -1: refused; else the delay in ms, and all of them have counted. */
static int64_t model_arrive(struct model *m, const struct place_model *p, int key, uint64_t now_ms)
{
	int64_t longest = 0;

	for (int i = 0; i < p->n; i++) {
		const struct zone_model *z = &m->zone[p->limit[i].zone];

		if (excess_now(z, &z->key[key], now_ms) > p->limit[i].burst)
			return p->dry_run ? 0 : -1;
	}
	for (int i = 0; i < p->n; i++) {
		struct zone_model *z = &m->zone[p->limit[i].zone];
		int64_t excess = excess_now(z, &z->key[key], now_ms);
		int64_t delay = (excess - p->limit[i].delay) * 1000 / z->rate;

		z->key[key] =
		    (struct key_model){ .last_ms = now_ms, .excess = excess, .known = true };
		if (excess > p->limit[i].delay && delay > longest)
			longest = delay;
	}
	return p->dry_run ? 0 : longest;
}

/*----------------------------------------------------------- configurations */

static uint64_t random_state = 88172645463325252;

static uint64_t random_below(uint64_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state % n;
}

static void random_zone(struct zone_model *z)
{
	static const int64_t rates[] = { 1,   2,    3,    7,  10,  33,   100,   512,
					 999, 1000, 5000, -1, -10, -100, -1000, -7 };
	int64_t n = rates[random_below(sizeof(rates) / sizeof(rates[0]))];

	*z = (struct zone_model){ .rate = n > 0 ? n * 1000 : -n * 1000 / 60 };
}

static void random_place(struct place_model *p)
{
	static const int64_t bursts[] = { 0, 0, 1, 2, 5, 20 };

	*p = (struct place_model){ .n = 1 + (int)random_below(LIMITS),
				   .dry_run = random_below(6) == 0 };
	for (int i = 0; i < p->n; i++) {
		struct limit_model *l = &p->limit[i];

		l->zone = (i + (int)random_below(ZONES)) % ZONES;
		for (int j = 0; j < i; j++)
			if (p->limit[j].zone == l->zone)
				p->n = i; /* nginx has each zone once in a place */
		l->burst = bursts[random_below(6)] * 1000;
		l->delay = random_below(2) == 0   ? 1000000000
			   : random_below(2) == 0 ? 0
						  : bursts[random_below(6)] * 1000;
	}
}

static void put_policy(struct buf *b, const struct model *m, int place, int i)
{
	const struct place_model *p = &m->place[place];
	const struct limit_model *l = &p->limit[i];
	int64_t rate = m->zone[l->zone].rate, waiting = (l->burst - l->delay) / 1000;

	buf_printf(b,
		   "  p%d-%d: { rate: %" PRId64 "/1000s, algorithm: leaky-bucket, charge: arrival, "
		   "pool: z%d, key: client.ip/32/128, shadow: %s, burst: %" PRId64,
		   place, i, rate, l->zone, p->dry_run ? "true" : "false",
		   (l->delay < l->burst ? l->delay : l->burst) / 1000 + 1);
	if (waiting > 0)
		buf_printf(b, ", wait: 1h, queue: %" PRId64, waiting);
	buf_puts(b, " }\n");
}

static void random_model(struct model *m, struct buf *yaml)
{
	*m = (struct model){ .zone = { { .rate = 0 } } };
	for (int z = 0; z < ZONES; z++)
		random_zone(&m->zone[z]);
	buf_puts(yaml, "policies:\n");
	for (int place = 0; place < PLACES; place++) {
		random_place(&m->place[place]);
		for (int i = 0; i < m->place[place].n; i++)
			put_policy(yaml, m, place, i);
	}
}

/* The policies of one place as a chain. */
static struct policies chain_of(const struct policies *all, const struct model *m, int place)
{
	struct policies one = *all;
	int first = 0;

	for (int i = 0; i < place; i++)
		first += m->place[i].n;
	one.chain.n = (uint8_t)m->place[place].n;
	for (int i = 0; i < m->place[place].n; i++)
		one.chain.filter[i] = all->filter[first + i];
	chain_layout(&one.chain);
	return one;
}

/*-------------------------------------------------------------- properties */

/* Steps to the boundary of a rate and to either side of it, and none. */
static uint64_t random_step(const struct model *m)
{
	uint64_t gap_ms = 1000000 / (uint64_t)m->zone[random_below(ZONES)].rate;

	switch (random_below(6)) {
	case 0:
	case 1:
		return 0;
	case 2:
		return random_below(3 * MS);
	case 3:
		return gap_ms * MS + random_below(3 * MS) - (gap_ms > 0 ? MS : 0);
	case 4:
		return random_below(gap_ms * MS + MS);
	default:
		return random_below(5) == 0 ? random_below(30 * gap_ms * MS + 1) : gap_ms * MS;
	}
}

static void compare(const struct model *m, const struct policies *p, unsigned arrivals)
{
	static const char *const clients[KEYS] = { "10.0.0.1", "10.0.0.2" };
	uint64_t now_ns = 100000 * S + random_below(MS);
	struct model model = *m;

	for (unsigned n = 0; n < arrivals; n++) {
		int place = (int)random_below(PLACES), key = (int)random_below(KEYS);
		struct policies chain = chain_of(p, m, place);
		struct verdict v;
		int64_t expected, got;

		now_ns += random_step(m);
		expected = model_arrive(&model, &m->place[place], key, now_ns / MS);
		v = visit(&chain, clients[key], now_ns);
		got = v.kind == V_DENY ? -1 : v.kind == V_DELAY ? (int64_t)(v.ns / MS) : 0;
		if (got != expected || (v.kind == V_DELAY && v.ns % MS != 0))
			fail_msg("arrival %u at place %d: %" PRId64 " ms, the model has %" PRId64,
				 n, place, got, expected);
	}
}

static void test_random_scripts_equal_the_model(void **state)
{
	(void)state;
	for (int i = 0; i < 400; i++) {
		struct buf yaml = { .p = NULL };
		struct policies p;
		struct model m;

		random_model(&m, &yaml);
		policies_open(&p, tables, yaml.p);
		compare(&m, &p, 500);
		policies_close(&p);
		buf_fini(&yaml);
	}
}

/*------------------------------------------------------------------- pools */

static unsigned passed_by(const struct policies *p, uint8_t i, const char *client, uint64_t now_ns)
{
	struct policies one = *p;

	one.chain.n = 1;
	one.chain.filter[0] = p->filter[i];
	chain_layout(&one.chain);
	return visits_passed(&one, client, now_ns);
}

static const char two_in_a_pool[] =
    "policies: { a: { rate: 1/s, burst: 3, key: client.ip, pool: z }, b: { rate: 1/s, burst: 10, "
    "key: client.ip, pool: z } }";

static void test_policies_of_a_pool_count_together(void **state)
{
	struct policies p;

	(void)state;
	policies_open(&p, tables, two_in_a_pool);
	assert_int_equal(passed_by(&p, 0, "10.0.0.1", 5 * S), 3);
	assert_int_equal(passed_by(&p, 1, "10.0.0.1", 5 * S), 7);
	assert_int_equal(passed_by(&p, 0, "10.0.0.1", 12 * S), 0);
	assert_int_equal(passed_by(&p, 0, "10.0.0.1", 13 * S), 1);
	assert_int_equal(passed_by(&p, 1, "10.0.0.2", 13 * S), 10);
	policies_close(&p);
}

static void test_a_pool_outlives_reloads(void **state)
{
	struct policies p, next;

	(void)state;
	policies_open(&p, tables, two_in_a_pool);
	assert_int_equal(passed_by(&p, 0, "10.0.0.1", 5 * S), 3);
	for (int i = 0; i < 3000; i++) {
		char yaml[160];

		snprintf(yaml, sizeof(yaml),
			 "policies: { a%d: { rate: 1/s, burst: 3, key: client.ip, pool: z }, "
			 "b: { rate: 1/s, burst: %d, key: client.ip, pool: z } }",
			 i, 5 + i % 2);
		policies_open(&next, tables, yaml);
		policies_close(&p);
		p = next;
		assert_int_equal(passed_by(&p, 0, "10.0.0.1", 5 * S), 0);
	}
	assert_int_equal(passed_by(&p, 1, "10.0.0.1", 5 * S), 3);
	policies_close(&p);
}

static void test_calls_of_a_pool_are_counted_together(void **state)
{
	struct visit first, second, third;
	struct policies p, few, many;

	(void)state;
	policies_open(&p, tables,
		      "policies: { few: { concurrency: 1, key: client.ip, pool: z }, many: { "
		      "concurrency: 2, key: client.ip, pool: z } }");
	few = many = p;
	few.chain.n = many.chain.n = 1;
	many.chain.filter[0] = p.filter[1];
	visit_init(&first, "10.0.0.1", 5 * S);
	visit_init(&second, "10.0.0.1", 5 * S);
	visit_init(&third, "10.0.0.1", 5 * S);
	assert_int_equal(visit_admit(&first, &many).kind, V_PASS);
	assert_int_equal(visit_admit(&second, &few).kind, V_DENY);
	assert_int_equal(visit_admit(&third, &many).kind, V_PASS);
	visit_done(&first);
	visit_done(&second);
	assert_int_equal(visit(&few, "10.0.0.1", 5 * S).kind, V_DENY);
	visit_done(&third);
	assert_int_equal(visit(&few, "10.0.0.1", 5 * S).kind, V_PASS);
	policies_close(&p);
}

/*------------------------------------------------------------------ arrivals */

static void test_what_comes_later_gives_nothing_back(void **state)
{
	struct visit holder;
	struct policies p, rate;

	(void)state;
	policies_open(
	    &p, tables,
	    "policies: { a: { rate: 1/s, burst: 3, charge: arrival }, c: { concurrency: 1 } }");
	rate = p;
	rate.chain.n = 1;
	visit_init(&holder, NULL, 5 * S);
	assert_int_equal(visit_admit(&holder, &p).kind, V_PASS);
	assert_int_equal(visit(&p, NULL, 5 * S).kind, V_DENY); /* by the second */
	assert_int_equal(visits_passed(&rate, NULL, 5 * S), 1);
	visit_done(&holder);
	policies_close(&p);
}

static void test_what_cannot_be(void **state)
{
	static const char *const rows[][2] = {
		{ "a: { rate: 1/s, pool: z, store: redis }", "without `store: redis`" },
		{ "a: { rate: 1/s, charge: arrival, store: redis }", "without `store: redis`" },
		{ "a: { rate: [1/s, 5/m], pool: z }", "one rate" },
		{ "a: { rate: 1/s, algorithm: fixed-window, pool: z }", "no window" },
		{ "a: { concurrency: 1, queue: 5, pool: z }", "no `queue`" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		struct policies p;
		char yaml[200];

		snprintf(yaml, sizeof(yaml), "policies: { %s }", rows[i][0]);
		policies_load(&p, tables, yaml);
		assert_false(p.ok);
		assert_non_null(policies_finding(&p, "E019", rows[i][1]));
		policies_close(&p);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_what_cannot_be),
		cmocka_unit_test(test_policies_of_a_pool_count_together),
		cmocka_unit_test(test_a_pool_outlives_reloads),
		cmocka_unit_test(test_calls_of_a_pool_are_counted_together),
		cmocka_unit_test(test_what_comes_later_gives_nothing_back),
		cmocka_unit_test(test_random_scripts_equal_the_model),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
