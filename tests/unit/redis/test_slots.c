/* Slots of keys, and tables of slots. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "redis/slots.h"

static uint16_t slot(const char *key)
{
	return slot_of(slice_str(key));
}

/* The specification's check value is CRC16("123456789") = 0x31C3; the others are CLUSTER KEYSLOT's. */
static void test_slots_of_keys(void **state)
{
	(void)state;
	assert_int_equal(slot("123456789"), 0x31c3);
	assert_int_equal(slot(""), 0);
	assert_int_equal(slot("foo"), 12182);
	assert_int_equal(slot("{foo}bar"), 12182);
	assert_int_equal(slot("a{foo}{bar}"), 12182);
	assert_int_equal(slot("foo{}{bar}"), 8363);
	assert_int_equal(slot("foo{{bar}}zap"), slot("{bar"));
	assert_int_equal(slot("foo{bar"), slot("foo{bar"));
	assert_int_not_equal(slot("foo{bar"), slot("bar"));
}

struct seen {
	unsigned n;
	struct slot_range range[8];
};

static void visit(void *arg, const struct slot_range *r)
{
	struct seen *s = arg;

	s->range[s->n++] = *r;
}

static bool read_text(const char *text, struct seen *seen, struct resp_reader **reader)
{
	const struct resp *r;

	*seen = (struct seen){ .n = 0 };
	*reader = resp_reader_new();
	assert_true(resp_reader_feed(*reader, slice_str(text)));
	assert_int_equal(resp_reader_next(*reader, RESP_BYTES_TABLE, &r), RESP_REPLY);
	return slots_read(r, visit, seen);
}

static void test_bad_tables(void **state)
{
	static const char *const bad[] = {
		":1\r\n",
		"*1\r\n:1\r\n",
		"*1\r\n*2\r\n:0\r\n:1\r\n",
		"*1\r\n*3\r\n:0\r\n:16384\r\n*2\r\n$1\r\na\r\n:1\r\n",
		"*1\r\n*3\r\n:5\r\n:4\r\n*2\r\n$1\r\na\r\n:1\r\n",
		"*1\r\n*3\r\n:-1\r\n:4\r\n*2\r\n$1\r\na\r\n:1\r\n",
		"*1\r\n*3\r\n:0\r\n:4\r\n*2\r\n$1\r\na\r\n:0\r\n",
		"*1\r\n*3\r\n:0\r\n:4\r\n*1\r\n$1\r\na\r\n",
		"*1\r\n*3\r\n:0\r\n:4\r\n*2\r\n:1\r\n:1\r\n",
	};
	struct resp_reader *reader;
	struct seen seen;

	(void)state;
	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (read_text(bad[i], &seen, &reader))
			fail_msg("taken: %s", bad[i]);
		resp_reader_free(reader);
	}
}

static void test_tables(void **state)
{
	struct resp_reader *reader;
	struct seen seen;

	(void)state;
	assert_true(read_text("*2\r\n*3\r\n:0\r\n:5460\r\n*4\r\n$9\r\n127.0.0.1\r\n:30001\r\n"
			      "$2\r\nid\r\n*0\r\n*4\r\n:5461\r\n:16383\r\n*2\r\n$-1\r\n:30002\r\n"
			      "*2\r\n$1\r\nr\r\n:30004\r\n",
			      &seen, &reader));
	assert_int_equal(seen.n, 2);
	assert_int_equal(seen.range[0].last, 5460);
	assert_true(slice_is(seen.range[0].host, "127.0.0.1"));
	assert_int_equal(seen.range[1].first, 5461);
	assert_int_equal(seen.range[1].host.n, 0);
	assert_int_equal(seen.range[1].port, 30002);
	resp_reader_free(reader);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slots_of_keys),
		cmocka_unit_test(test_bad_tables),
		cmocka_unit_test(test_tables),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
