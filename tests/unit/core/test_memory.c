/* test_memory.c - which cgroup is the own, what counts as used, when calls are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/arena.h"
#include "base/clock.h"
#include "core/memory.h"

#define START  CLOCK_S
#define MOUNT1 "36 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n"
#define MOUNT2 "41 31 0:38 / /sys/fs/cgroup rw shared:4 master:1 - cgroup2 cgroup2 rw\n"
#define OTHERS                                                        \
	"22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"                       \
	"32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n" \
	"not a mount\n"

static const struct find_row {
	const char *cgroups, *mounts, *want;
	size_t top;
} find_rows[] = {
	/* version 2: a service of systemd; a container that sees itself as the root */
	{ "0::/system.slice/weir.service\n", OTHERS MOUNT2,
	  "/sys/fs/cgroup/system.slice/weir.service", 14 },
	{ "0::/\n", MOUNT2, "/sys/fs/cgroup", 14 },
	/* both, of which the first counts memory */
	{ "4:memory:/a/b\n1:cpu:/\n0::/\n", OTHERS MOUNT2 MOUNT1, "/sys/fs/cgroup/memory/a/b", 21 },
	{ "0::/x\n4:cpu,memory:/a\n", MOUNT1 MOUNT2, "/sys/fs/cgroup/memory/a", 21 },
	/* a container of version 1: its own is mounted, the path is the host's */
	{ "4:memory:/docker/abc\n", "36 31 0:32 /docker/abc /m rw - cgroup cgroup rw,memory\n",
	  "/m", 2 },
	{ "4:memory:/docker/abc/d\n", "36 31 0:32 /docker/abc /m rw - cgroup cgroup rw,memory\n",
	  "/m/d", 2 },
	{ "4:memory:/docker/abcd\n", "36 31 0:32 /docker/abc /m rw - cgroup cgroup rw,memory\n",
	  "/m", 2 },
	/* version 2 beside controllers of version 1 that are not about memory */
	{ "1:cpu:/\n0::/y\n", OTHERS MOUNT2, "/sys/fs/cgroup/y", 14 },
	/* none */
	{ "", MOUNT2, NULL, 0 },
	{ "0::/\n", OTHERS, NULL, 0 },
	{ "0::\n", MOUNT2, NULL, 0 },
	{ "4:memory:/a\n", MOUNT2, NULL, 0 },
	{ "nonsense", "nonsense", NULL, 0 },
};

static void test_find(void **state)
{
	char out[64];
	size_t top;

	(void)state;
	for (size_t i = 0; i < sizeof(find_rows) / sizeof(find_rows[0]); i++) {
		const struct find_row *r = &find_rows[i];
		bool found = memory_find(slice_str(r->cgroups), slice_str(r->mounts), out,
					 sizeof(out), &top);

		assert_int_equal(found, r->want != NULL);
		if (!found)
			continue;
		assert_string_equal(out, r->want);
		assert_int_equal(top, r->top);
	}
	assert_false(memory_find(slice_str("0::/long\n"), slice_str(MOUNT2), out, 10, &top));
}

/*---------------------------------------------------------------- a folder that looks like one */

struct fixture {
	char folder[64];
	struct arena arena;
	struct diags diags;
	struct memory_conf conf;
	struct memory_watch watch;
	struct memory_state seen;
};

static void put(const struct fixture *f, const char *name, const char *text)
{
	char path[128];
	FILE *file;

	snprintf(path, sizeof(path), "%s/%s", f->folder, name);
	file = fopen(path, "w");
	assert_non_null(file);
	fputs(text, file);
	assert_int_equal(fclose(file), 0);
}

static int setup(void **state)
{
	struct fixture *f = calloc(1, sizeof(*f));

	snprintf(f->folder, sizeof(f->folder), "memory_XXXXXX");
	assert_non_null(mkdtemp(f->folder));
	arena_init(&f->arena, NULL);
	diags_init(&f->diags, &f->arena);
	f->conf = (struct memory_conf){ .refuse_above = 900000,
					.resume_below = 800000,
					.cgroup = f->folder };
	put(f, "memory.max", "1000\n");
	put(f, "memory.current", "0\n");
	put(f, "memory.stat", "anon 1\ninactive_file 0\n");
	*state = f;
	return 0;
}

static int teardown(void **state)
{
	static const char *const names[] = {
		"memory.max",  "memory.current",  "memory.stat",
		"memory.high", "memory.swap.max", "memory.swap.current"
	};
	struct fixture *f = *state;
	char path[128];

	memory_close(&f->watch);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(path, sizeof(path), "%s/%s", f->folder, names[i]);
		unlink(path);
	}
	rmdir(f->folder);
	arena_fini(&f->arena);
	free(f);
	return 0;
}

static bool refuses_with(struct fixture *f, const char *usage)
{
	put(f, "memory.current", usage);
	memory_look(&f->watch, &f->seen, START);
	return memory_refuses(&f->seen);
}

static void test_nothing_there_is_an_error(void **state)
{
	struct fixture *f = *state;

	f->watch = (struct memory_watch){ .limit = -1, .high = -1, .usage = -1, .stat = -1 };
	f->conf.cgroup = "not_there";
	assert_false(memory_open(&f->watch, &f->conf, &f->diags));
	assert_int_equal(f->diags.errors, 1);
	assert_true(f->watch.look_ns == 0);
}

static void test_shares(void **state)
{
	struct fixture *f = *state;

	assert_true(memory_open(&f->watch, &f->conf, &f->diags));
	assert_false(refuses_with(f, "900\n"));
	assert_true(refuses_with(f, "901\n"));
	assert_true(refuses_with(f, "800\n"));
	assert_false(refuses_with(f, "799\n"));
	assert_false(refuses_with(f, "900\n"));
	assert_true(refuses_with(f, "1001\n"));
	assert_int_equal(f->seen.times, 2);
}

static bool refuses_at(struct fixture *f, const char *usage, uint64_t ns)
{
	put(f, "memory.current", usage);
	memory_look(&f->watch, &f->seen, START + ns);
	return memory_refuses(&f->seen);
}

/* Or a peak over what is always used would be the end of all calls. */
static void test_what_stays_between_the_shares_was_let_in_before(void **state)
{
	struct fixture *f = *state;

	assert_true(memory_open(&f->watch, &f->conf, &f->diags));
	assert_false(refuses_at(f, "850\n", 0));
	assert_true(refuses_at(f, "950\n", CLOCK_S));
	assert_true(refuses_at(f, "850\n", 2 * CLOCK_S));
	assert_true(refuses_at(f, "850\n", 16 * CLOCK_S));
	assert_true(refuses_at(f, "901\n", 17 * CLOCK_S)); /* not calm: from the start */
	assert_true(refuses_at(f, "900\n", 18 * CLOCK_S));
	assert_true(refuses_at(f, "890\n", 33 * CLOCK_S - 1));
	assert_false(refuses_at(f, "890\n", 33 * CLOCK_S));
}

static void test_a_new_limit_or_new_shares_end_it(void **state)
{
	struct fixture *f = *state;

	assert_true(memory_open(&f->watch, &f->conf, &f->diags));
	assert_true(refuses_with(f, "950\n"));
	put(f, "memory.max", "1100\n");
	assert_false(refuses_with(f, "950\n")); /* 86 % */
	assert_true(refuses_with(f, "1000\n"));
	memory_close(&f->watch);
	f->conf.refuse_above = 950000; /* a reload */
	assert_true(memory_open(&f->watch, &f->conf, &f->diags));
	assert_false(refuses_with(f, "1000\n"));
	assert_true(refuses_with(f, "1050\n"));
	memory_close(&f->watch);
	f->conf.refuse_above = 1000000;
	assert_true(memory_open(&f->watch, &f->conf, &f->diags));
	assert_false(refuses_with(f, "1050\n"));
	put(f, "memory.high", "500\n"); /* which may be passed */
	assert_false(refuses_with(f, "1050\n"));
}

static void test_memory_of_others(void **state)
{
	struct fixture *f = *state;

	put(f, "memory.max", "1000000000000\n");
	put(f, "memory.stat", "anon 850000000000\nshmem 20000000000\n");
	assert_true(memory_open(&f->watch, &f->conf, &f->diags));
	assert_false(refuses_with(f, "950000000000\n"));
	assert_true(f->seen.room_bytes == UINT64_MAX);
	put(f, "memory.stat", "anon 700000000000\nshmem 20000000000\n");
	assert_true(refuses_with(f, "950000000000\n"));
	put(f, "memory.stat", "anon 850000000000\nshmem 20000000000\n");
	assert_false(refuses_with(f, "950000000000\n"));
}

static uint64_t swap_of_300(void)
{
	return 300;
}

static void test_swap(void **state)
{
	struct fixture *f = *state;

	put(f, "memory.stat", "anon 800\n");
	put(f, "memory.swap.max", "200\n");
	put(f, "memory.swap.current", "150\n");
	assert_true(memory_open(&f->watch, &f->conf, &f->diags));
	f->watch.free_swap = swap_of_300;
	assert_false(refuses_with(f, "950\n"));
	assert_int_equal(f->seen.used_bytes, 900);
	put(f, "memory.swap.max", "max\n");
	assert_false(refuses_with(f, "1000\n"));
	assert_int_equal(f->seen.used_bytes, 700);
	put(f, "memory.swap.max", "0\n");
	assert_true(refuses_with(f, "950\n"));
}

static void test_where_much_is_free_files_are_counted_now_and_then(void **state)
{
	struct fixture *f = *state;

	put(f, "memory.stat", "inactive_file 100\n");
	assert_true(memory_open(&f->watch, &f->conf, &f->diags));
	assert_false(refuses_at(f, "500\n", 0));
	put(f, "memory.stat", "inactive_file 200\n");
	assert_false(refuses_at(f, "500\n", CLOCK_S - 1));
	assert_int_equal(f->seen.used_bytes, 400);
	assert_false(refuses_at(f, "500\n", CLOCK_S));
	assert_int_equal(f->seen.used_bytes, 300);
	put(f, "memory.stat", "inactive_file 0\n");
	assert_true(refuses_at(f, "901\n", CLOCK_S + 1));
}

static void test_what_the_kernel_can_take_back(void **state)
{
	struct fixture *f = *state;

	put(f, "memory.stat",
	    "inactive_file 100\nactive_file 10\nslab_reclaimable 1\n"
	    "slab_unreclaimable 500\ninactive_file_x 900\n");
	assert_true(memory_open(&f->watch, &f->conf, &f->diags));
	assert_false(refuses_with(f, "1011\n"));
	assert_int_equal(f->seen.used_bytes, 900);
	assert_false(refuses_with(f, "50\n")); /* read a moment later than the other */
	assert_int_equal(f->seen.used_bytes, 0);
}

static void test_what_is_no_limit(void **state)
{
	static const char *const texts[] = {
		"max\n", "", "-1\n", "9223372036854771712\n", "99999999999999999999999\n", "12x\n"
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		put(f, "memory.max", texts[i]);
		assert_true(memory_open(&f->watch, &f->conf, &f->diags));
		assert_false(refuses_with(f, "5000000000\n"));
		assert_int_equal(f->seen.limit_bytes, 0);
		assert_true(f->watch.look_ns == START + MEMORY_IDLE_MS * CLOCK_MS);
		memory_close(&f->watch);
	}
}

static void test_a_limit_that_goes_ends_it(void **state)
{
	struct fixture *f = *state;

	assert_true(memory_open(&f->watch, &f->conf, &f->diags));
	assert_true(refuses_with(f, "950\n"));
	put(f, "memory.max", "max\n");
	assert_false(refuses_with(f, "950\n"));
	put(f, "memory.max", "100\n");
	assert_true(refuses_with(f, "95\n"));
	assert_false(refuses_with(f, "")); /* nothing is known */
}

static void test_pace(void **state)
{
	struct fixture *f = *state;

	assert_true(memory_open(&f->watch, &f->conf, &f->diags));
	assert_true(f->watch.look_ns <= START);
	refuses_with(f, "500\n");
	assert_true(f->watch.look_ns == START + MEMORY_LOOK_MS * CLOCK_MS);
	refuses_with(f, "501\n");
	assert_true(f->watch.look_ns == START + MEMORY_NEAR_MS * CLOCK_MS);
}

static void test_terabytes(void **state)
{
	struct fixture *f = *state;

	put(f, "memory.max", "4611686018427387903\n");
	assert_true(memory_open(&f->watch, &f->conf, &f->diags));
	assert_false(refuses_with(f, "4150517416584649000\n"));
	assert_true(refuses_with(f, "4150517416584650000\n"));
}

static void test_wait(void **state)
{
	struct memory_state s = { .refusing = true, .since_ns = START };

	(void)state;
	assert_int_equal(memory_wait_ms(&s, START), 1000);
	assert_int_equal(memory_wait_ms(&s, 0),
			 1000); /* of a thread whose clock is a turn behind */
	assert_int_equal(memory_wait_ms(&s, START + 7 * CLOCK_S), 7000);
	assert_int_equal(memory_wait_ms(&s, START + 3600 * CLOCK_S), 30000);
}

/* Whatever this machine has: it is found or not, and read. */
static void test_own(void **state)
{
	struct fixture *f = *state;

	f->conf.cgroup = NULL;
	assert_true(memory_open(&f->watch, &f->conf, &f->diags));
	memory_look(&f->watch, &f->seen, START);
	assert_int_equal(f->diags.errors, 0);
}

/* Or a reload with no descriptors left would be the end of looking. */
static void test_no_descriptors(void **state)
{
	struct fixture *f = *state;
	struct rlimit was, none;

	f->conf.cgroup = NULL;
	assert_int_equal(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = (struct rlimit){ .rlim_cur = 3, .rlim_max = was.rlim_max };
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &none), 0);
	assert_false(memory_open(&f->watch, &f->conf, &f->diags));
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &was), 0);
	assert_int_equal(f->diags.errors, 1);
	assert_null(f->watch.kind);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_find),
		cmocka_unit_test_setup_teardown(test_nothing_there_is_an_error, setup, teardown),
		cmocka_unit_test_setup_teardown(test_shares, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    test_what_stays_between_the_shares_was_let_in_before, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_new_limit_or_new_shares_end_it, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_memory_of_others, setup, teardown),
		cmocka_unit_test_setup_teardown(test_swap, setup, teardown),
		cmocka_unit_test_setup_teardown(
		    test_where_much_is_free_files_are_counted_now_and_then, setup, teardown),
		cmocka_unit_test_setup_teardown(test_what_the_kernel_can_take_back, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_what_is_no_limit, setup, teardown),
		cmocka_unit_test_setup_teardown(test_a_limit_that_goes_ends_it, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pace, setup, teardown),
		cmocka_unit_test_setup_teardown(test_terabytes, setup, teardown),
		cmocka_unit_test(test_wait),
		cmocka_unit_test_setup_teardown(test_own, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_descriptors, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
