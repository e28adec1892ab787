/* SipHash-2-4 against its published values. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/hash.h"

/* Key 00 01 .. 0f, message 00 01 .. of each length: the paper's appendix A (length 15) and its
 * authors' reference values. */
static const struct hash_key key = { .k0 = UINT64_C(0x0706050403020100),
				     .k1 = UINT64_C(0x0f0e0d0c0b0a0908) };
static const struct {
	size_t n;
	uint64_t hash;
} rows[] = {
	{ 0, UINT64_C(0x726fdb47dd0e0e31) },  { 1, UINT64_C(0x74f839c593dc67fd) },
	{ 2, UINT64_C(0x0d6c8009d9a94f5a) },  { 3, UINT64_C(0x85676696d7fb7e2d) },
	{ 4, UINT64_C(0xcf2794e0277187b7) },  { 5, UINT64_C(0x18765564cd99a68d) },
	{ 6, UINT64_C(0xcbc9466e58fee3ce) },  { 7, UINT64_C(0xab0200f58b01d137) },
	{ 8, UINT64_C(0x93f5f5799a932462) },  { 9, UINT64_C(0x9e0082df0ba9e4b0) },
	{ 14, UINT64_C(0xf723ca908e7af2ee) }, { 15, UINT64_C(0xa129ca6149be45e5) },
	{ 16, UINT64_C(0x3f2acc7f57c29bdb) }, { 31, UINT64_C(0x32d892fad841c342) },
	{ 32, UINT64_C(0x7127512f72f27cce) }, { 63, UINT64_C(0x958a324ceb064572) },
};

static void test_published_values(void **state)
{
	unsigned char message[64];

	(void)state;
	for (size_t i = 0; i < sizeof(message); i++)
		message[i] = (unsigned char)i;
	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
		assert_int_equal(hash_siphash(&key, message, rows[i].n), rows[i].hash);
}

static void test_any_alignment(void **state)
{
	unsigned char message[80];

	(void)state;
	for (size_t shift = 0; shift < 8; shift++) {
		for (size_t i = 0; i < 63; i++)
			message[shift + i] = (unsigned char)i;
		assert_int_equal(hash_siphash(&key, message + shift, 63),
				 UINT64_C(0x958a324ceb064572));
	}
}

static void test_every_byte_and_length_counts(void **state)
{
	unsigned char message[40] = { 0 };
	uint64_t seen[41 + 40];
	size_t n = 0;

	(void)state;
	for (size_t len = 0; len <= sizeof(message); len++)
		seen[n++] = hash_siphash(&key, message, len);
	for (size_t i = 0; i < sizeof(message); i++) {
		message[i] = 1;
		seen[n++] = hash_siphash(&key, message, sizeof(message));
		message[i] = 0;
	}
	for (size_t i = 0; i < n; i++)
		for (size_t k = 0; k < i; k++)
			assert_true(seen[i] != seen[k]);
}

static void test_the_boot_key_is_drawn_once(void **state)
{
	const struct hash_key *boot = hash_boot_key();

	(void)state;
	assert_ptr_equal(boot, hash_boot_key());
	assert_true(boot->k0 != 0 || boot->k1 != 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_published_values),
		cmocka_unit_test(test_any_alignment),
		cmocka_unit_test(test_every_byte_and_length_counts),
		cmocka_unit_test(test_the_boot_key_is_drawn_once),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
