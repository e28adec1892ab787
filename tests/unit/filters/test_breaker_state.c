/* The breaker's arithmetic: vectors for reading, and a million random traces against a model that
 * keeps all that ever happened and looks everything up in it. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "filters/breaker_state.h"

enum { MS = 1000000, EVEN = 0x80000000u };

static const char *const mode_names[] = { "closed", "open", "half_open", "forced_open",
					  "forced_closed" };

/*---------------------------------------------------------------- vectors */

struct script {
	struct breaker_state b;
	struct breaker_rule r;
	uint32_t chance;
	uint64_t now_ns;
	struct breaker_ticket ticket[128]; /* by the first letter of a name */
	unsigned line;
};

static void set_key(struct script *s, const char *key, uint64_t v)
{
	static const struct {
		const char *key;
		size_t at;
		uint32_t times;
		bool wide;
	} rows[] = {
#define AT(member) offsetof(struct breaker_rule, member)
		{ "row", AT(consecutive), 1, false },   { "share", AT(share_ppm), 10000, false },
		{ "slow", AT(slow_ppm), 10000, false }, { "min", AT(min_requests), 1, false },
		{ "probes", AT(probes), 1, false },     { "window", AT(window_ns), MS, true },
		{ "open", AT(open_for_ns), MS, true },  { "max", AT(max_open_ns), MS, true },
#undef AT
	};

	for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
		char *at = (char *)&s->r + rows[i].at;

		if (strcmp(rows[i].key, key) != 0)
			continue;
		if (rows[i].wide)
			*(uint64_t *)(void *)at = v * rows[i].times;
		else
			*(uint32_t *)(void *)at = (uint32_t)v * rows[i].times;
		return;
	}
	assert_string_equal(key, "jitter");
	s->chance = v == 0 ? 0 : v == 50 ? EVEN : UINT32_MAX;
}

static void read_rule(struct script *s, char *text)
{
	struct breaker_change change;

	for (char *word = strtok(text, " "); word != NULL; word = strtok(NULL, " ")) {
		char *value = strchr(word, '=');

		assert_non_null(value);
		*value++ = '\0';
		set_key(s, word, strtoull(value, NULL, 10));
	}
	breaker_adopt(&s->b, &s->r, s->now_ns, &change);
}

static void read_new(struct script *s, char *text)
{
	breaker_state_init(&s->b);
	s->r = (struct breaker_rule){ .min_requests = 1, .window_ns = 10 };
	s->chance = EVEN;
	s->now_ns = 0;
	read_rule(s, text);
}

static void read_call(struct script *s, char name, const char *want)
{
	struct breaker_ticket *t = &s->ticket[(unsigned char)name];
	uint64_t shut = breaker_shut(&s->b, &s->r, s->now_ns);
	uint64_t wait = breaker_take(&s->b, &s->r, s->now_ns, t);
	char got[32];

	assert_int_equal(shut, wait);
	if (wait == 0)
		snprintf(got, sizeof(got), "%s", t->kind == BREAKER_PROBE ? "probe" : "go");
	else
		snprintf(got, sizeof(got), "%llu", (unsigned long long)(wait + MS - 1) / MS);
	if (strcmp(got, want) != 0)
		fail_msg("line %u: %s, not %s", s->line, got, want);
}

static void read_end(struct script *s, char name, const char *what, const char *more)
{
	struct breaker_ticket *t = &s->ticket[(unsigned char)name];
	const char *retry = strstr(more, "retry ");
	struct breaker_change change;
	struct breaker_report r = {
		.result = strcmp(what, "ok") == 0      ? BREAKER_SUCCESS
			  : strcmp(what, "fails") == 0 ? BREAKER_FAILURE
						       : BREAKER_NEITHER,
		.slow = strstr(more, "slow") != NULL,
		.retry_after_ns = retry == NULL ? 0 : strtoull(retry + 6, NULL, 10) * MS,
		.chance = s->chance,
	};

	if (strcmp(what, "answered") == 0)
		breaker_answered(&s->b, &s->r, s->now_ns, t, &change);
	else
		breaker_report(&s->b, &s->r, s->now_ns, *t, &r, &change);
}

static void read_order(struct script *s, const char *what, const char *more)
{
	enum breaker_mode mode = strcmp(what, "open") == 0     ? BREAKER_FORCED_OPEN
				 : strcmp(what, "closed") == 0 ? BREAKER_FORCED_CLOSED
							       : BREAKER_CLOSED;
	uint64_t for_ns = strtoull(more, NULL, 10) * MS;
	struct breaker_change change;

	breaker_force(&s->b, s->now_ns, mode, for_ns == 0 ? 0 : s->now_ns + for_ns, &change);
}

static void read_line(struct script *s, char *text)
{
	char verb[16] = "", what[16] = "", more[64] = "", name = 0, want[16] = "";
	struct breaker_change change;
	unsigned long long ms;

	if (strncmp(text, "new ", 4) == 0) {
		read_new(s, text + 4);
		return;
	}
	if (strncmp(text, "rule ", 5) == 0) {
		read_rule(s, text + 5);
		return;
	}
	assert_true(sscanf(text, "%llu %15s %15s %63[^\n]", &ms, verb, what, more) >= 3);
	s->now_ns = ms * MS;
	breaker_pass_time(&s->b, s->now_ns, &change);
	if (sscanf(text, "%*u call %c -> %15s", &name, want) == 2)
		read_call(s, name, want);
	else if (strcmp(verb, "order") == 0)
		read_order(s, what, more);
	else if (strcmp(verb, "is") != 0)
		read_end(s, verb[0], what, more);
	else if (strcmp(mode_names[s->b.mode], what) != 0)
		fail_msg("line %u: it is %s", s->line, mode_names[s->b.mode]);
}

static void test_vectors(void **state)
{
	FILE *f = fopen(TESTS_DIR "/vectors/breaker.txt", "r");
	struct script s = { .line = 0 };
	char text[256];
	unsigned lines = 0;

	(void)state;
	assert_non_null(f);
	while (fgets(text, sizeof(text), f) != NULL) {
		s.line++;
		text[strcspn(text, "\n")] = '\0';
		if (text[0] == '\0' || text[0] == '#')
			continue;
		read_line(&s, text);
		lines++;
	}
	fclose(f);
	assert_true(lines > 150);
}

/*------------------------------------------------------------------ model */

enum { EVENTS = 48, CALLS = EVENTS, TRACES = 1000000 };

/* A call, and how it ended. */
struct past {
	uint32_t epoch; /* in which it was let go; epochs end with each change of mode */
	bool probe, answered, over;
	enum breaker_result result;
	bool slow;
	uint64_t end_ns;
	unsigned counts_from; /* epoch in which its end counts, as answered made it; 0: its own */
	unsigned order;       /* in which calls ended */
	struct breaker_ticket ticket;
};

struct model {
	struct breaker_rule r;
	uint64_t now_ns;
	enum breaker_mode mode;
	uint32_t epoch;
	unsigned window_order; /* of the first end that counts */
	uint64_t until_ns;     /* 0: no end */
	uint64_t closed_at_ns, last_open_ns;
	unsigned openings; /* in a row */
	struct past call[CALLS];
	unsigned calls, ends;
};

static bool in_this_epoch(const struct model *m, const struct past *p)
{
	return (p->counts_from != 0 ? p->counts_from : p->epoch) == m->epoch;
}

static void go_to(struct model *m, enum breaker_mode mode, uint64_t until_ns)
{
	m->mode = mode;
	m->until_ns = until_ns;
	m->epoch++;
	m->window_order = m->ends;
	if (mode == BREAKER_CLOSED)
		m->closed_at_ns = m->now_ns;
}

/* open_for x 2^n, not above max_open; then 80 % of it plus that part of 40 % which chance says. */
static uint64_t open_time(const struct model *m, uint32_t chance)
{
	__extension__ typedef unsigned __int128 huge;
	huge ns = (huge)m->r.open_for_ns << m->openings;

	if (ns > m->r.max_open_ns)
		ns = m->r.max_open_ns;
	return (uint64_t)(ns - ns / 5 + ns / 5 * 2 * chance / ((huge)1 << 32));
}

static uint64_t believed(const struct model *m, uint64_t retry_after_ns)
{
	return retry_after_ns > m->r.max_open_ns ? m->r.max_open_ns : retry_after_ns;
}

static void model_open(struct model *m, const struct breaker_report *r)
{
	bool in_a_row = m->last_open_ns != 0 && (m->mode == BREAKER_HALF_OPEN ||
						 m->now_ns < m->closed_at_ns + m->last_open_ns);
	uint64_t ns;

	m->openings = in_a_row ? m->openings + 1 : 0;
	ns = m->last_open_ns = open_time(m, r->chance);
	if (believed(m, r->retry_after_ns) > ns)
		ns = believed(m, r->retry_after_ns);
	go_to(m, BREAKER_OPEN, m->now_ns + ns);
}

static void model_time(struct model *m, uint64_t now_ns)
{
	if (now_ns > m->now_ns)
		m->now_ns = now_ns;
	if (m->until_ns == 0 || m->until_ns > m->now_ns)
		return;
	if (m->mode == BREAKER_FORCED_CLOSED)
		go_to(m, BREAKER_CLOSED, 0);
	else
		go_to(m, BREAKER_HALF_OPEN, 0);
}

static unsigned probes(const struct model *m, bool well)
{
	unsigned n = 0;

	for (unsigned i = 0; i < m->calls; i++) {
		const struct past *p = &m->call[i];
		bool is_well = p->answered || (p->over && p->result == BREAKER_SUCCESS);

		if (p->probe && p->epoch == m->epoch)
			n += well ? is_well : !is_well && !p->over;
	}
	return n;
}

static uint64_t model_shut(const struct model *m)
{
	if (m->mode == BREAKER_OPEN || (m->mode == BREAKER_FORCED_OPEN && m->until_ns != 0))
		return m->until_ns - m->now_ns;
	if (m->mode == BREAKER_FORCED_OPEN)
		return m->r.open_for_ns;
	if (m->mode == BREAKER_HALF_OPEN && probes(m, true) + probes(m, false) >= m->r.probes)
		return BREAKER_PROBE_WAIT_NS;
	return 0;
}

static unsigned in_a_row(const struct model *m)
{
	unsigned last = 0, n = 0;

	for (unsigned i = 0; i < m->calls; i++) { /* the last success */
		const struct past *p = &m->call[i];

		if (p->over && in_this_epoch(m, p) && p->result == BREAKER_SUCCESS &&
		    p->order + 1 > last)
			last = p->order + 1;
	}
	for (unsigned i = 0; i < m->calls; i++) {
		const struct past *p = &m->call[i];

		n += p->over && in_this_epoch(m, p) && p->result == BREAKER_FAILURE &&
		     p->order >= last;
	}
	return n;
}

static bool window_is_reached(const struct model *m)
{
	uint64_t slot = m->r.window_ns / BREAKER_SLOTS, all = 0, failed = 0, slow = 0;

	for (unsigned i = 0; i < m->calls; i++) {
		const struct past *p = &m->call[i];

		if (!p->over || !in_this_epoch(m, p) || p->result == BREAKER_NEITHER ||
		    p->order < m->window_order ||
		    p->end_ns / slot + BREAKER_SLOTS <= m->now_ns / slot)
			continue;
		all++;
		failed += p->result == BREAKER_FAILURE;
		slow += p->slow;
	}
	return all >= m->r.min_requests &&
	       ((m->r.share_ppm != 0 && failed * 1000000 >= all * m->r.share_ppm) ||
		(m->r.slow_ppm != 0 && slow * 1000000 >= all * m->r.slow_ppm));
}

static void model_end(struct model *m, struct past *p, const struct breaker_report *r)
{
	p->over = true;
	p->result = r->result;
	p->slow = r->slow;
	p->end_ns = m->now_ns;
	p->order = m->ends++;
	if (m->mode == BREAKER_OPEN && r->result == BREAKER_FAILURE &&
	    m->now_ns + believed(m, r->retry_after_ns) > m->until_ns)
		m->until_ns = m->now_ns + believed(m, r->retry_after_ns);
	if (!in_this_epoch(m, p) || r->result == BREAKER_NEITHER)
		return;
	if (m->mode == BREAKER_HALF_OPEN) {
		if (r->result == BREAKER_FAILURE || r->slow)
			model_open(m, r);
		else if (probes(m, true) >= m->r.probes)
			go_to(m, BREAKER_CLOSED, 0);
	} else if (m->mode == BREAKER_CLOSED) {
		if ((m->r.consecutive != 0 && r->result == BREAKER_FAILURE &&
		     in_a_row(m) >= m->r.consecutive) ||
		    window_is_reached(m))
			model_open(m, r);
	}
}

/*----------------------------------------------------------------- traces */

static uint64_t seed;

static uint64_t below(uint64_t n)
{
	seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (seed >> 33) % n;
}

static struct breaker_rule draw_rule(uint64_t window_ns)
{
	struct breaker_rule r = { .min_requests = (uint32_t)(1 + below(6)),
				  .probes = (uint32_t)(1 + below(3)),
				  .window_ns = window_ns };

	if (below(2) == 0)
		r.consecutive = (uint32_t)(1 + below(4));
	else
		r.share_ppm = (uint32_t)(1 + below(10)) * 100000;
	if (below(3) == 0)
		r.slow_ppm = (uint32_t)(1 + below(10)) * 100000;
	r.open_for_ns = 1 + below(60);
	r.max_open_ns = r.open_for_ns + below(200);
	return r;
}

/* One of the calls that are under way; NULL: none. */
static struct past *draw_call(struct model *m)
{
	unsigned from = m->calls == 0 ? 0 : (unsigned)below(m->calls);

	for (unsigned i = 0; i < m->calls; i++) {
		struct past *p = &m->call[(from + i) % m->calls];

		if (!p->over)
			return p;
	}
	return NULL;
}

static void step_call(struct breaker_state *b, struct model *m)
{
	struct past *p = &m->call[m->calls];
	uint64_t want = model_shut(m);

	assert_int_equal(breaker_shut(b, &m->r, m->now_ns), want);
	assert_int_equal(breaker_take(b, &m->r, m->now_ns, &p->ticket), want);
	if (want != 0)
		return;
	p->epoch = m->epoch;
	p->probe = m->mode == BREAKER_HALF_OPEN;
	assert_int_equal(p->ticket.kind == BREAKER_PROBE, p->probe);
	m->calls++;
}

static bool step_end(struct breaker_state *b, struct model *m, struct breaker_change *change)
{
	struct past *p = draw_call(m);
	struct breaker_report r = { .result = (enum breaker_result)below(3) };

	if (p == NULL)
		return false;
	r.slow = r.result != BREAKER_NEITHER && below(3) == 0;
	r.retry_after_ns = r.result == BREAKER_FAILURE && below(4) == 0 ? below(300) : 0;
	r.chance = (uint32_t)(seed >> 20);
	model_end(m, p, &r);
	return breaker_report(b, &m->r, m->now_ns, p->ticket, &r, change);
}

static bool step_answered(struct breaker_state *b, struct model *m, struct breaker_change *change)
{
	struct past *p = draw_call(m);

	if (p == NULL || p->answered)
		return false;
	if (p->probe && p->epoch == m->epoch) {
		p->answered = true;
		if (probes(m, true) >= m->r.probes) {
			go_to(m, BREAKER_CLOSED, 0);
			p->counts_from = m->epoch;
		}
	}
	return breaker_answered(b, &m->r, m->now_ns, &p->ticket, change);
}

static bool step_order(struct breaker_state *b, struct model *m, struct breaker_change *change)
{
	static const enum breaker_mode modes[] = { BREAKER_FORCED_OPEN, BREAKER_FORCED_CLOSED,
						   BREAKER_CLOSED };
	enum breaker_mode mode = modes[below(3)];
	uint64_t until_ns = below(2) == 0 ? 0 : m->now_ns + 1 + below(50);

	if (mode != BREAKER_CLOSED) {
		go_to(m, mode, until_ns);
		m->last_open_ns = 0;
	} else if (m->mode == BREAKER_FORCED_OPEN || m->mode == BREAKER_FORCED_CLOSED) {
		go_to(m, m->mode == BREAKER_FORCED_OPEN ? BREAKER_HALF_OPEN : BREAKER_CLOSED, 0);
	}
	return breaker_force(b, m->now_ns, mode, until_ns, change);
}

static bool step_reload(struct breaker_state *b, struct model *m, struct breaker_change *change)
{
	uint64_t window_ns = below(2) == 0 ? m->r.window_ns : 10 + below(100);
	bool counted = m->r.share_ppm != 0 || m->r.slow_ppm != 0;

	if (window_ns != m->r.window_ns)
		m->window_order = m->ends;
	m->r = draw_rule(window_ns);
	/* where no share is looked at, nothing is counted for one */
	if (!counted)
		m->window_order = m->ends;
	if (m->mode == BREAKER_HALF_OPEN && probes(m, true) >= m->r.probes)
		go_to(m, BREAKER_CLOSED, 0);
	return breaker_adopt(b, &m->r, m->now_ns, change);
}

static bool step(struct breaker_state *b, struct model *m, struct breaker_change *change)
{
	unsigned draw = (unsigned)below(100);

	if (draw < 45)
		step_call(b, m);
	else if (draw < 85)
		return step_end(b, m, change);
	else if (draw < 90)
		return step_answered(b, m, change);
	else if (draw < 95)
		return step_order(b, m, change);
	else if (draw < 97)
		return step_reload(b, m, change);
	return false;
}

static void check_same(const struct breaker_state *b, const struct model *m, unsigned event)
{
	if (b->mode != m->mode || b->until_ns != m->until_ns)
		fail_msg("event %u: %s until %llu, not %s until %llu", event, mode_names[b->mode],
			 (unsigned long long)b->until_ns, mode_names[m->mode],
			 (unsigned long long)m->until_ns);
	assert_int_equal(b->generation - 1, m->epoch);
}

/* Which changes there were: a trace that never leaves closed proves nothing. */
static unsigned seen[BREAKER_MODES][BREAKER_MODES], causes[BREAKER_CAUSES];

static void check_change(const struct breaker_change *c, enum breaker_mode before,
			 const struct model *m)
{
	assert_int_equal(c->from, before);
	assert_int_equal(c->to, m->mode);
	assert_int_equal(c->for_ns, m->until_ns == 0 ? 0 : m->until_ns - m->now_ns);
	seen[c->from][c->to]++;
	causes[c->cause]++;
}

static void run_trace(void)
{
	static struct model m;
	struct breaker_state b;
	struct breaker_change change;
	uint64_t now_ns = below(1000);

	memset(&m, 0, sizeof(m));
	breaker_state_init(&b);
	m.r = draw_rule(10 + below(100));
	breaker_adopt(&b, &m.r, 0, &change);
	for (unsigned i = 0; i < EVENTS; i++) {
		enum breaker_mode before = m.mode;
		uint32_t epoch = m.epoch;

		now_ns += below(3) == 0 ? below(40) : 0;
		model_time(&m, now_ns);
		if (breaker_pass_time(&b, now_ns, &change))
			check_change(&change, before, &m);
		else
			assert_int_equal(epoch, m.epoch);
		check_same(&b, &m, i);
		before = m.mode;
		epoch = m.epoch;
		if (step(&b, &m, &change))
			check_change(&change, before, &m);
		else
			assert_int_equal(epoch, m.epoch);
		check_same(&b, &m, i);
		if (below(20) == 0 && now_ns > 5) /* another worker's clock is behind */
			now_ns -= 5;
	}
}

static void test_a_million_traces(void **state)
{
	(void)state;
	for (seed = 1; seed <= TRACES; seed++) {
		uint64_t first = seed;

		run_trace();
		seed = first;
	}
	for (unsigned i = 0; i < BREAKER_CAUSES; i++)
		assert_true(causes[i] > 1000);
	assert_true(seen[BREAKER_CLOSED][BREAKER_OPEN] > 1000);
	assert_true(seen[BREAKER_HALF_OPEN][BREAKER_OPEN] > 1000);
	assert_true(seen[BREAKER_HALF_OPEN][BREAKER_CLOSED] > 1000);
	/* and what must never be */
	assert_int_equal(seen[BREAKER_OPEN][BREAKER_CLOSED], 0);
	assert_int_equal(seen[BREAKER_CLOSED][BREAKER_HALF_OPEN], 0);
	assert_int_equal(seen[BREAKER_FORCED_CLOSED][BREAKER_OPEN], 0);
	assert_int_equal(seen[BREAKER_FORCED_OPEN][BREAKER_CLOSED], 0);
}

/* Times and counts at the end of their range. */
static void test_at_the_edges(void **state)
{
	struct breaker_rule r = { .consecutive = 1,
				  .min_requests = 1,
				  .probes = 1,
				  .window_ns = 10,
				  .open_for_ns = UINT64_C(86400) * 1000 * MS,
				  .max_open_ns = UINT64_C(86400) * 1000 * MS };
	struct breaker_report report = { .result = BREAKER_FAILURE, .chance = UINT32_MAX };
	struct breaker_change change;
	struct breaker_ticket t;
	struct breaker_state b;
	uint64_t now_ns = 1;

	(void)state;
	breaker_state_init(&b);
	breaker_adopt(&b, &r, now_ns, &change);
	for (unsigned i = 0; i < 200; i++) {
		breaker_pass_time(&b, now_ns, &change);
		assert_int_equal(breaker_take(&b, &r, now_ns, &t), 0);
		assert_true(breaker_report(&b, &r, now_ns, t, &report, &change));
		assert_int_equal(change.to, BREAKER_OPEN);
		assert_true(change.for_ns <= r.max_open_ns / 10 * 12);
		assert_true(change.for_ns >= r.max_open_ns / 10 * 8);
		now_ns += change.for_ns;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_vectors),
		cmocka_unit_test(test_a_million_traces),
		cmocka_unit_test(test_at_the_edges),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
