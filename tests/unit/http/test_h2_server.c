/* test_h2_server.c - the HTTP/2 server codec: what it takes, what it says, what it refuses (RFC
 * 9113, by section).
 *
 * Every dialogue is fed whole, cut in two at every byte, and byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "h2_rig.h"
#include "http/h2_internal.h"

#define GREETED  "settings 3=100 4=65536 6=4096\nwindow 983041\nsettings ack\n"
#define GREETED2 "settings 3=100 8=1 4=65536 6=4096\nwindow 983041\nsettings ack\n"

struct row {
	const char *what; /* the section, and what it is about */
	const char *in;   /* behind the preface */
	const char *log, *out;
	bool bytewise; /* what is told depends on what is written by then */
};

#include "h2_rows.h"

/*---------------------------------------- dialogues */

static void feed_cut(struct h2_rig *r, struct slice in, size_t cut, size_t step)
{
	size_t used = 0, have = cut;

	for (;;) {
		used += rig2_feed(r, slice_of(in.p + used, have - used));
		if (have == in.n)
			return;
		have = have + step < in.n ? have + step : in.n;
	}
}

static void check_row(const struct row *row, bool tunnels, struct slice in, size_t cut, size_t step)
{
	struct h2_limits limits = h2_default_limits;

	struct buf want = { .p = NULL };
	struct h2_rig r;
	const char *log, *out;

	limits.tunnels = tunnels;
	rig2_init(&r, false);
	r.h2.s->limits = &limits;
	feed_cut(&r, in, cut, step);
	log = rig2_log(&r);
	out = rig2_out(&r);
	buf_printf(&want, "%s%s%c", tunnels ? GREETED2 : GREETED, row->out, 0);
	if (strcmp(log, row->log) != 0 || strcmp(out, want.p) != 0)
		printf("%s, cut at %zu, in steps of %zu\n", row->what, cut, step);
	assert_string_equal(log, row->log);
	assert_string_equal(out, want.p);
	buf_fini(&want);
	rig2_fini(&r);
}

static void check_rows(const struct row *some, size_t n, bool tunnels)
{
	for (size_t i = 0; i < n; i++) {
		struct buf in = { .p = NULL };
		size_t first;

		script(&in, "preface");
		first = in.n;
		script(&in, some[i].in);
		check_row(&some[i], tunnels, slice_of(in.p, in.n), 1, 1);
		if (some[i].bytewise)
			first = in.n;
		else
			check_row(&some[i], tunnels, slice_of(in.p, in.n), in.n, 1);
		for (size_t cut = in.n < 2000 ? first : in.n; cut < in.n; cut++)
			check_row(&some[i], tunnels, slice_of(in.p, in.n), cut, in.n);
		buf_fini(&in);
	}
}

static void dialogues(void **state)
{
	(void)state;
	check_rows(rows, sizeof(rows) / sizeof(rows[0]), false);
}

static void dialogues_where_tunnels_are_offered(void **state)
{
	(void)state;
	check_rows(tunnel_rows, sizeof(tunnel_rows) / sizeof(tunnel_rows[0]), true);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(dialogues),
		cmocka_unit_test(dialogues_where_tunnels_are_offered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
