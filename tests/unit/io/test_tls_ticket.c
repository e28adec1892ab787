/* test_tls_ticket.c - keys that all threads make alike, and that pass. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "io/tls_ticket.h"

static const uint8_t secret[TLS_TICKET_KEY_BYTES] = "this is the secret of the proces";

#define TURN  (TLS_TICKET_TURN_S * CLOCK_S)
#define START (UINT64_C(1000) * CLOCK_S)

static void assert_same(const struct tls_ticket_key *a, const struct tls_ticket_key *b)
{
	assert_memory_equal(a, b, sizeof(*a));
}

/* Whatever each of them had to do meanwhile. */
static void test_threads_agree(void **state)
{
	struct tls_tickets busy, lazy;

	(void)state;
	tls_tickets_init(&busy, secret, START);
	for (uint64_t now = START; now < START + 5 * TURN; now += TURN / 7)
		tls_tickets_seal(&busy, now);
	tls_tickets_init(&lazy, secret, START);
	assert_same(tls_tickets_seal(&busy, START + 5 * TURN),
		    tls_tickets_seal(&lazy, START + 5 * TURN));
}

static void test_a_key_opens_for_two_turns(void **state)
{
	struct tls_tickets t;
	struct tls_ticket_key key;
	bool old;

	(void)state;
	tls_tickets_init(&t, secret, START);
	key = *tls_tickets_seal(&t, START);
	assert_same(tls_tickets_open(&t, START + TURN - 1, key.name, &old), &key);
	assert_false(old);
	assert_same(tls_tickets_open(&t, START + TURN, key.name, &old), &key);
	assert_true(old);
	assert_memory_not_equal(tls_tickets_seal(&t, START + TURN)->name, key.name,
				sizeof(key.name));
	assert_memory_not_equal(tls_tickets_seal(&t, START + TURN)->cipher, key.cipher,
				sizeof(key.cipher));
	assert_null(tls_tickets_open(&t, START + 2 * TURN, key.name, &old));
}

/* K2: what made it is not there any more. */
static void test_the_past_is_gone(void **state)
{
	struct tls_tickets t;
	struct tls_ticket_key key;

	(void)state;
	tls_tickets_init(&t, secret, START);
	key = *tls_tickets_seal(&t, START);
	tls_tickets_seal(&t, START + 2 * TURN);
	assert_null(memmem(&t, sizeof(t), key.cipher, 8));
	assert_null(memmem(&t, sizeof(t), secret, 8));
	tls_tickets_fini(&t);
	assert_int_equal(t.turn_ns, 0);
}

/* Of who has nothing to do, too. */
static void test_the_past_goes_by_itself(void **state)
{
	struct tls_tickets t, busy;
	struct tls_ticket_key key;
	struct timers timers;

	(void)state;
	timers_init(&timers);
	tls_tickets_init(&t, secret, START);
	tls_tickets_init(&busy, secret, START);
	tls_tickets_run(&t, &timers);
	key = *tls_tickets_seal(&t, START);
	assert_true(timers_next(&timers) == START + TURN);
	for (unsigned i = 1; i <= 5; i++) {
		if (i % 2 == 0) /* a ticket may come first */
			tls_tickets_seal(&t, START + i * TURN);
		timers_run(&timers, START + i * TURN);
		assert_true(timers_next(&timers) == START + (i + 1) * TURN);
	}
	assert_null(memmem(&t, sizeof(t), key.cipher, 8));
	assert_null(memmem(&t, sizeof(t), secret, 8));
	assert_same(&t.now, tls_tickets_seal(&busy, START + 5 * TURN));
	timers_run(&timers, START + 9 * TURN); /* it slept */
	timers_run(&timers, START + 9 * TURN);
	assert_same(tls_tickets_seal(&t, START + 9 * TURN),
		    tls_tickets_seal(&busy, START + 9 * TURN));
	tls_tickets_fini(&t);
	timers_fini(&timers);
}

static void test_other_secrets(void **state)
{
	uint8_t a[TLS_TICKET_KEY_BYTES], b[TLS_TICKET_KEY_BYTES];

	(void)state;
	tls_tickets_secret(a);
	tls_tickets_secret(b);
	assert_memory_not_equal(a, b, sizeof(a));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_threads_agree),
		cmocka_unit_test(test_a_key_opens_for_two_turns),
		cmocka_unit_test(test_the_past_is_gone),
		cmocka_unit_test(test_the_past_goes_by_itself),
		cmocka_unit_test(test_other_secrets),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
