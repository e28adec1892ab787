/* Names: failures that change nothing, changes that do, waiting that ends, readers that never see
 * half a set. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>
#include <cmocka.h>

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "base/log.h"
#include "upstream/resolve.h"

/* A name server that answers as told: addresses 10.0.<set>.1 to 10.0.<set>.<n>; n < 0 fails. */
struct script {
	_Atomic int n, set;
	_Atomic unsigned asked;
	char host[64];
	pthread_mutex_t *gate; /* held: the answer waits */
};

static struct ip ip_of(int set, int i)
{
	return (struct ip){
		{ [10] = 0xff, [11] = 0xff, [12] = 10, [14] = (uint8_t)set, [15] = (uint8_t)i }
	};
}

static int scripted(void *user, const char *host, struct ip *out, unsigned max, const char **why)
{
	struct script *s = user;
	int n = s->n;

	if (s->gate != NULL) {
		pthread_mutex_lock(s->gate);
		pthread_mutex_unlock(s->gate);
	}
	s->asked++;
	snprintf(s->host, sizeof(s->host), "%s", host);
	if (n < 0)
		*why = "no such name";
	for (int i = 0; i < n && i < (int)max; i++)
		out[i] = ip_of(s->set, i + 1);
	return n > (int)max ? (int)max : n;
}

static struct resolver *open_script(struct script *s)
{
	const struct resolver_lookup lookup = { .run = scripted, .user = s };
	struct resolver *r = resolver_new(&lookup);

	assert_non_null(r);
	return r;
}

static void expect_addr(const struct endpoint_addrs *addrs, uint32_t turn, const char *text)
{
	char shown[ADDR_TEXT_MAX];
	struct addr addr;

	assert_true(endpoint_addrs_get(addrs, turn, &addr));
	addr_format(&addr, shown);
	assert_string_equal(shown, text);
}

static void test_never_resolved(void **state)
{
	struct script s = { .n = -1 };
	struct resolver *r = open_script(&s);
	struct endpoint_addrs *addrs = endpoint_addrs_new(80);
	struct addr addr;

	(void)state;
	assert_true(resolver_add(r, addrs, "app.internal", "app", 30 * CLOCK_S));
	assert_int_equal(resolver_step(r, 5 * CLOCK_S), 6 * CLOCK_S); /* soon, not in 30 s */
	assert_string_equal(s.host, "app.internal");
	assert_int_equal(endpoint_addrs_count(addrs), 0);
	assert_false(endpoint_addrs_get(addrs, 0, &addr));
	s.n = 0; /* an answer without addresses is no answer */
	assert_int_equal(resolver_step(r, 6 * CLOCK_S), 7 * CLOCK_S);
	assert_int_equal(endpoint_addrs_count(addrs), 0);
	s.n = 1;
	assert_int_equal(resolver_step(r, 7 * CLOCK_S), 37 * CLOCK_S);
	expect_addr(addrs, 0, "10.0.0.1:80");
	resolver_free(r);
	endpoint_addrs_free(addrs);
}

static void test_failure_keeps_the_old(void **state)
{
	struct script s = { .n = 2 };
	struct resolver *r = open_script(&s);
	struct endpoint_addrs *addrs = endpoint_addrs_new(80);

	(void)state;
	assert_true(resolver_add(r, addrs, "app", "app", 30 * CLOCK_S));
	resolver_step(r, 0);
	s.n = -1;
	assert_int_equal(resolver_step(r, 30 * CLOCK_S), 60 * CLOCK_S);
	assert_int_equal(s.asked, 2);
	assert_int_equal(endpoint_addrs_count(addrs), 2);
	expect_addr(addrs, 0, "10.0.0.1:80");
	expect_addr(addrs, 1, "10.0.0.2:80");
	expect_addr(addrs, 2, "10.0.0.1:80");
	resolver_free(r);
	endpoint_addrs_free(addrs);
}

static void test_changes(void **state)
{
	struct script s = { .n = 2 };
	struct resolver *r = open_script(&s);
	struct endpoint_addrs *addrs = endpoint_addrs_new(8080);

	(void)state;
	assert_true(resolver_add(r, addrs, "app", "app", 10 * CLOCK_S));
	resolver_step(r, 0);
	assert_int_equal(resolver_step(r, 9 * CLOCK_S), 10 * CLOCK_S);
	assert_int_equal(s.asked, 1); /* not due */
	s.set = 1;
	resolver_step(r, 10 * CLOCK_S);
	expect_addr(addrs, 0, "10.0.1.1:8080");
	s.n = 1;
	resolver_step(r, 20 * CLOCK_S);
	assert_int_equal(endpoint_addrs_count(addrs), 1);
	s.n = 1000; /* more than are kept */
	resolver_step(r, 30 * CLOCK_S);
	assert_int_equal(endpoint_addrs_count(addrs), RESOLVE_ADDRS_MAX);
	resolver_free(r);
	endpoint_addrs_free(addrs);
}

static int doubled(void *user, const char *host, struct ip *out, unsigned max, const char **why)
{
	(void)user, (void)host, (void)max, (void)why;
	out[0] = out[2] = ip_of(0, 1);
	out[1] = ip_of(0, 2);
	return 3;
}

static void test_doubles_count_once(void **state)
{
	const struct resolver_lookup lookup = { .run = doubled };
	struct resolver *r = resolver_new(&lookup);
	struct endpoint_addrs *addrs = endpoint_addrs_new(80);

	(void)state;
	assert_true(resolver_add(r, addrs, "app", "app", 10 * CLOCK_S));
	resolver_step(r, 0);
	assert_int_equal(endpoint_addrs_count(addrs), 2);
	resolver_free(r);
	endpoint_addrs_free(addrs);
}

static void test_removed_is_not_asked(void **state)
{
	struct script s = { .n = 1 };
	struct resolver *r = open_script(&s);
	struct endpoint_addrs *a = endpoint_addrs_new(80), *b = endpoint_addrs_new(80);

	(void)state;
	assert_true(resolver_add(r, a, "a", "app", 10 * CLOCK_S));
	assert_true(resolver_add(r, b, "b", "app", 10 * CLOCK_S));
	resolver_remove(r, a);
	endpoint_addrs_free(a);
	resolver_step(r, 0);
	assert_int_equal(s.asked, 1);
	assert_string_equal(s.host, "b");
	resolver_remove(r, b);
	resolver_remove(r, b);
	assert_int_equal(resolver_step(r, 100 * CLOCK_S), UINT64_MAX);
	resolver_free(r);
	endpoint_addrs_free(b);
}

static void test_added_again_changes_the_interval(void **state)
{
	struct script s = { .n = 1 };
	struct resolver *r = open_script(&s);
	struct endpoint_addrs *addrs = endpoint_addrs_new(80);

	(void)state;
	assert_true(resolver_add(r, addrs, "a", "app", 60 * CLOCK_S));
	assert_int_equal(resolver_step(r, 0), 60 * CLOCK_S);
	assert_true(resolver_add(r, addrs, "a", "app", 10 * CLOCK_S));
	assert_int_equal(resolver_step(r, 0), 10 * CLOCK_S);
	assert_int_equal(resolver_step(r, 10 * CLOCK_S), 20 * CLOCK_S);
	assert_int_equal(s.asked, 2);
	assert_true(resolver_add(r, addrs, "a", "app", 0)); /* no more */
	assert_int_equal(resolver_step(r, 20 * CLOCK_S), UINT64_MAX);
	resolver_free(r);
	endpoint_addrs_free(addrs);
}

/*---------------------------------------------------------------- with its thread */

static void test_wait_is_bounded(void **state)
{
	pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
	static struct script s; /* the thread outlives this test */
	struct resolver *r;
	struct endpoint_addrs *addrs = endpoint_addrs_new(80);

	(void)state;
	s.n = 1;
	s.gate = &gate;
	r = open_script(&s);
	pthread_mutex_lock(&gate);
	assert_true(resolver_add(r, addrs, "slow", "app", 30 * CLOCK_S));
	assert_true(resolver_start(r));
	resolver_wait(r, addrs, clock_mono_ns() + 20 * CLOCK_MS);
	assert_int_equal(endpoint_addrs_count(addrs), 0);
	pthread_mutex_unlock(&gate);
	resolver_wait(r, addrs, UINT64_MAX);
	assert_int_equal(endpoint_addrs_count(addrs), 1);
	resolver_free(r);
	endpoint_addrs_free(addrs);
}

static void wait_asked(struct script *s, unsigned n)
{
	while (s->asked < n) {
		struct timespec ms = { .tv_nsec = 1000000 };

		nanosleep(&ms, NULL);
	}
}

/* Removal and the end do not wait for a look-up that hangs, and it touches nothing afterwards. */
static void test_freed_while_looking_up(void **state)
{
	static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
	static struct script s;
	struct resolver *r;
	struct endpoint_addrs *addrs = endpoint_addrs_new(80);

	(void)state;
	s.n = 1;
	s.gate = &gate;
	r = open_script(&s);
	pthread_mutex_lock(&gate);
	assert_true(resolver_add(r, addrs, "hung", "app", 30 * CLOCK_S));
	assert_true(resolver_start(r));
	resolver_wait(r, addrs, clock_mono_ns() + 20 * CLOCK_MS);
	resolver_remove(r, addrs);
	endpoint_addrs_free(addrs);
	resolver_free(r);
	pthread_mutex_unlock(&gate);
	wait_asked(&s, 1);
}

static void test_end_of_an_idle_thread(void **state)
{
	struct script s = { .n = 1 };
	struct resolver *r = open_script(&s);
	struct endpoint_addrs *addrs = endpoint_addrs_new(80);

	(void)state;
	assert_true(resolver_start(r));
	assert_true(resolver_start(r)); /* once is enough */
	assert_true(resolver_add(r, addrs, "a", "app", 3600 * CLOCK_S));
	resolver_wait(r, addrs, UINT64_MAX);
	assert_int_equal(endpoint_addrs_count(addrs), 1);
	resolver_free(r);
	endpoint_addrs_free(addrs);
}

/*---------------------------------------------------------------- readers and a writer */

enum { REFRESHES = 300000 };

struct race {
	struct endpoint_addrs *addrs;
	_Atomic bool over;
	_Atomic unsigned reads;
};

/* Refresh k says k in both halves of its addresses: one whose halves differ is torn. */
static void publish_refresh(struct endpoint_addrs *addrs, unsigned k)
{
	struct ip set[2] = { 0 };

	for (unsigned i = 0; i < 2; i++) {
		memcpy(set[i].b + 4, &k, sizeof(k));
		memcpy(set[i].b + 12, &k, sizeof(k));
		set[i].b[0] = 0x20;
		set[i].b[8] = (uint8_t)i;
	}
	endpoint_addrs_publish(addrs, set, 1 + k % 2);
}

static void *read_on(void *arg)
{
	struct race *race = arg;
	uint32_t turn = 0;

	while (!race->over) {
		struct addr addr;
		struct ip ip;

		if (!endpoint_addrs_get(race->addrs, turn++, &addr))
			return "nothing there";
		ip = addr_ip(&addr);
		if (memcmp(ip.b + 4, ip.b + 12, 4) != 0)
			return "torn";
		race->reads++;
	}
	return NULL;
}

static void test_readers_see_whole_sets(void **state)
{
	struct race race = { .addrs = endpoint_addrs_new(80) };
	pthread_t reader[2];
	void *wrong;

	(void)state;
	publish_refresh(race.addrs, 0);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&reader[i], NULL, read_on, &race), 0);
	while (race.reads < 1000)
		;
	for (unsigned i = 0; i < REFRESHES; i++)
		publish_refresh(race.addrs, i);
	race.over = true;
	for (int i = 0; i < 2; i++) {
		pthread_join(reader[i], &wrong);
		assert_null(wrong);
	}
	endpoint_addrs_free(race.addrs);
}

static void test_system_lookup(void **state)
{
	struct resolver *r = resolver_new(NULL);
	struct endpoint_addrs *addrs = endpoint_addrs_new(80);
	struct addr addr;

	(void)state;
	assert_true(resolver_add(r, addrs, "localhost", "app", 30 * CLOCK_S));
	resolver_step(r, 0);
	assert_true(endpoint_addrs_get(addrs, 0, &addr));
	assert_true(addr_is_loopback(&addr));
	assert_int_equal(addr_port(&addr), 80);
	resolver_free(r);
	endpoint_addrs_free(addrs);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_never_resolved),
		cmocka_unit_test(test_failure_keeps_the_old),
		cmocka_unit_test(test_changes),
		cmocka_unit_test(test_doubles_count_once),
		cmocka_unit_test(test_removed_is_not_asked),
		cmocka_unit_test(test_added_again_changes_the_interval),
		cmocka_unit_test(test_wait_is_bounded),
		cmocka_unit_test(test_freed_while_looking_up),
		cmocka_unit_test(test_end_of_an_idle_thread),
		cmocka_unit_test(test_readers_see_whole_sets),
		cmocka_unit_test(test_system_lookup),
	};

	log_set_level(LOG_ERROR);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
