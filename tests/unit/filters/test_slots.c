/* Slots and queues with workers that are threads: never more let in than there are slots, nobody
 * lost, nothing held at the end; while reloads change the limit. */
#include "policies.h"

#include <pthread.h>
#include <stdatomic.h>

#include "filters/wait.h"

enum { WORKERS = 3, GUESTS = 24, STEPS = 20000, RELOADS = 40, CAP_MOST = 5 };

#define S UINT64_C(1000000000)

struct guest {
	struct visit v; /* first */
	struct worker *worker;
	enum verdict_kind last;
	bool here;
};

struct worker {
	unsigned number;
	uint64_t seed, served, waited;
	struct guest guest[GUESTS];
	pthread_t thread;
};

static struct wakes wakes[WORKERS];
static atomic_bool told[WORKERS];
static atomic_uint under_way, most;
static struct policies *_Atomic in_force;
static struct worker workers[WORKERS];

static void tell(struct wakes *w, bool own)
{
	(void)own;
	atomic_store(&told[w - wakes], true);
}

static unsigned draw(struct worker *w, unsigned n)
{
	w->seed = w->seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)((w->seed >> 33) % n);
}

static void begins(struct guest *g)
{
	unsigned now = atomic_fetch_add(&under_way, 1) + 1, seen = atomic_load(&most);

	while (seen < now && !atomic_compare_exchange_weak(&most, &seen, now))
		;
	g->worker->served++;
}

static void on_resume(struct call *c, struct verdict v)
{
	struct guest *g = (struct guest *)(void *)((char *)c - offsetof(struct visit, call));

	g->last = v.kind;
	if (v.kind == V_PASS)
		begins(g);
}

static void arrive(struct worker *w, struct guest *g)
{
	static const char *const cookies[] = { "k=a", "k=b" };
	static const char *const priorities[] = { "u=1", "u=3", "u=6" };

	visit_init(&g->v, NULL, S + w->served);
	g->v.env.worker = w->number;
	g->v.env.wakes = wakes;
	g->v.call.resume = on_resume;
	g->worker = w;
	g->here = true;
	visit_header(&g->v, "cookie", cookies[draw(w, 2)]);
	visit_header(&g->v, "priority", priorities[draw(w, 3)]);
	g->last = visit_admit(&g->v, atomic_load(&in_force)).kind;
	w->waited += g->last == V_PENDING;
	if (g->last == V_PASS)
		begins(g);
}

static void leave(struct worker *w, struct guest *g)
{
	if (g->last == V_PASS)
		atomic_fetch_sub(&under_way, 1);
	if (g->v.call.wait != NULL && draw(w, 2) == 0)
		chain_late(&g->v.call);
	visit_done(&g->v);
	g->here = false;
}

static void look(struct worker *w)
{
	if (atomic_exchange(&told[w->number], false))
		wakes_run(&wakes[w->number]);
}

static void *worker_run(void *arg)
{
	struct worker *w = arg;

	for (int i = 0; i < STEPS; i++) {
		struct guest *g = &w->guest[draw(w, GUESTS)];

		if (draw(w, 4) == 0)
			look(w);
		if (!g->here)
			arrive(w, g);
		else if (draw(w, 3) == 0)
			leave(w, g);
	}
	for (int i = 0; i < GUESTS; i++)
		if (w->guest[i].here)
			leave(w, &w->guest[i]);
	look(w);
	return NULL;
}

static void on_show(void *ctx, const struct filter_sample *s)
{
	(void)ctx;
	if (s->metric == SHOW_CONCURRENCY || s->metric == SHOW_QUEUE_LENGTH ||
	    s->metric == SHOW_KEYS)
		assert_int_equal(s->value, 0);
}

static void begin_workers(void)
{
	atomic_store(&under_way, 0);
	atomic_store(&most, 0);
	memset(workers, 0, sizeof(workers));
	for (unsigned i = 0; i < WORKERS; i++) {
		wakes_init(&wakes[i], tell, NULL);
		workers[i].number = i;
		workers[i].seed = i;
	}
	for (unsigned i = 0; i < WORKERS; i++)
		assert_int_equal(pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]),
				 0);
}

static void end_workers(void)
{
	uint64_t served = 0, waited = 0;

	for (unsigned i = 0; i < WORKERS; i++)
		pthread_join(workers[i].thread, NULL);
	for (unsigned i = 0; i < WORKERS; i++) {
		wakes_fini(&wakes[i]);
		served += workers[i].served;
		waited += workers[i].waited;
	}
	assert_true(served > 0 && waited > 0);
	assert_int_equal(atomic_load(&under_way), 0);
}

static void run(const char *yaml, unsigned cap)
{
	struct table_registry *tables = table_registry_new();
	struct policies p;

	policies_open(&p, tables, yaml);
	atomic_store(&in_force, &p);
	begin_workers();
	end_workers();
	p.filter[0]->ops->show(p.filter[0], on_show, NULL);
	assert_in_range(atomic_load(&most), 1, cap);
	policies_close(&p);
	table_registry_free(tables);
}

static void test_one_gate(void **state)
{
	(void)state;
	run("policies: { p: { concurrency: 3, queue: { size: 20, priority: header.priority } } }",
	    3);
}

static void test_many_gates(void **state)
{
	(void)state;
	run("policies: { p: { concurrency: 2, key: cookie.k, queue: { size: 5, order: lifo } } }",
	    4);
}

static void test_reloads(void **state)
{
	static struct policies p[RELOADS];
	struct table_registry *tables = table_registry_new();
	char yaml[160];

	(void)state;
	for (unsigned i = 0; i < RELOADS; i++) {
		snprintf(yaml, sizeof(yaml),
			 "policies: { p: { concurrency: %u, key: cookie.k, max_keys: %u, queue: { "
			 "size: %u } } }",
			 1 + i % CAP_MOST, 2 + i * 1000, 1 + i % 7);
		policies_open(&p[i], tables, yaml);
		atomic_store(&in_force, &p[i]);
		if (i == 0)
			begin_workers();
	}
	end_workers();
	for (unsigned i = 0; i < RELOADS; i++) {
		p[i].filter[0]->ops->show(p[i].filter[0], on_show, NULL);
		policies_close(&p[i]);
	}
	assert_in_range(atomic_load(&most), 1, 2 * CAP_MOST);
	table_registry_free(tables);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_one_gate),
		cmocka_unit_test(test_many_gates),
		cmocka_unit_test(test_reloads),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
