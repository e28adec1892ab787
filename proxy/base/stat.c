/* stat.c - where values fall, and how sums are shown. */
#include "base/stat.h"

#include "base/check.h"

#define US UINT64_C(1000)
#define MS UINT64_C(1000000)
#define S  UINT64_C(1000000000)

const uint64_t stat_bounds_call[] = {
	1 * MS, 2500 * US, 5 * MS, 10 * MS, 25 * MS, 50 * MS, 100 * MS, 250 * MS, 500 * MS,
	1 * S,  2500 * MS, 5 * S,  10 * S,  30 * S,  60 * S,  120 * S,  300 * S,  0,
};

const uint64_t stat_bounds_inner[] = {
	5 * US,    10 * US, 25 * US, 50 * US, 100 * US, 250 * US, 500 * US, 1 * MS,
	2500 * US, 5 * MS,  10 * MS, 25 * MS, 100 * MS, 1 * S,    0,
};

/* A run of cells of one width.  `inverse` is 2^64 / step, rounded up: the product overshoots by
 * less than one cell, which one comparison takes back; a division would cost ten times that. */
struct run {
	uint64_t from, step, inverse;
	unsigned first;
};

#define RUN(from_, step_, first_)                                                      \
	{                                                                              \
		.from = (from_), .step = (step_), .inverse = UINT64_MAX / (step_) + 1, \
		.first = (first_)                                                      \
	}
#define DECADE(i, p)                                            \
	RUN(p, (p) / 5, 1 + STAT_DECADE_CELLS * (i)),           \
	    RUN(2 * (p), (p) / 4, 6 + STAT_DECADE_CELLS * (i)), \
	    RUN(5 * (p), (p), 18 + STAT_DECADE_CELLS * (i))

static const struct run runs[3 * STAT_DECADES] = {
	DECADE(0, US), DECADE(1, 10 * US), DECADE(2, 100 * US),
	DECADE(3, MS), DECADE(4, 10 * MS), DECADE(5, 100 * MS),
	DECADE(6, S),  DECADE(7, 10 * S),  DECADE(8, 100 * S),
};

static const uint64_t top = 1000 * S;

/* floor(log10(v)) - 3 for v >= 1000: 1233 / 4096 is log10(2) closely enough for 64 bits. */
static unsigned decade_of(uint64_t v)
{
	static const uint64_t power[] = { US,       10 * US, 100 * US, MS,      10 * MS,
					  100 * MS, S,       10 * S,   100 * S, top };
	unsigned bits = 64 - (unsigned)__builtin_clzll(v);
	unsigned d = ((bits * 1233) >> 12) - 3;

	return d - (v < power[d]);
}

unsigned stat_cell(uint64_t ns)
{
	uint64_t v = ns - 1; /* upper borders belong to the cell below */
	const struct run *r;
	unsigned k;

	if (ns <= US)
		return 0;
	if (v >= top)
		return STAT_CELLS - 1;
	r = &runs[3 * decade_of(v)];
	r += (v >= r[1].from) + (v >= r[2].from);
	v -= r->from;
	k = (unsigned)(((unsigned __int128)v * r->inverse) >> 64);
	k -= k * r->step > v;
	return r->first + k;
}

uint64_t stat_cell_limit(unsigned cell)
{
	const struct run *r = runs + 3 * STAT_DECADES - 1;

	CHECK(cell < STAT_CELLS);
	if (cell == 0)
		return US;
	if (cell == STAT_CELLS - 1)
		return UINT64_MAX;
	while (r->first > cell)
		r--;
	return r->from + (cell - r->first + 1) * r->step;
}

void stat_hist_add(struct stat_hist *h, uint64_t ns)
{
	stat_add(&h->sum_ns, ns);
	stat_add(&h->cell[stat_cell(ns)], 1);
}

void stat_sum_add(struct stat_sum *sum, const struct stat_hist *h)
{
	sum->sum_ns += stat_read(&h->sum_ns);
	for (unsigned i = 0; i < STAT_CELLS; i++) {
		uint64_t n = stat_read(&h->cell[i]);

		sum->cell[i] += n;
		sum->n += n;
	}
}

uint64_t stat_sum_at_most(const struct stat_sum *sum, uint64_t ns)
{
	unsigned last = stat_cell(ns);
	uint64_t n = 0;

	CHECK(stat_cell_limit(last) == ns);
	for (unsigned i = 0; i <= last; i++)
		n += sum->cell[i];
	return n;
}

static uint64_t cell_middle(unsigned cell)
{
	uint64_t low = cell == 0 ? 0 : stat_cell_limit(cell - 1);

	return cell == STAT_CELLS - 1 ? low : low + (stat_cell_limit(cell) - low) / 2;
}

uint64_t stat_sum_quantile(const struct stat_sum *sum, uint32_t ppm)
{
	unsigned __int128 rank = (unsigned __int128)sum->n * ppm;
	uint64_t n = 0;

	if (sum->n == 0)
		return 0;
	for (unsigned i = 0; i < STAT_CELLS; i++) {
		n += sum->cell[i];
		if (n > 0 && (unsigned __int128)n * 1000000 >= rank)
			return cell_middle(i);
	}
	return cell_middle(STAT_CELLS - 1);
}

void stat_print_seconds(struct buf *b, uint64_t ns)
{
	char d[9];
	size_t n = sizeof(d);
	uint64_t rest = ns % S;

	buf_u64(b, ns / S);
	if (rest == 0)
		return;
	for (size_t i = sizeof(d); i-- > 0; rest /= 10)
		d[i] = (char)('0' + rest % 10);
	while (d[n - 1] == '0')
		n--;
	buf_putc(b, '.');
	buf_put(b, d, n);
}

/* name_suffix{labels} and a space. */
static void print_series(struct buf *b, const char *name, const char *suffix, const char *labels)
{
	buf_puts(b, name);
	buf_puts(b, suffix);
	if (labels[0] != '\0') {
		buf_putc(b, '{');
		buf_puts(b, labels);
		buf_putc(b, '}');
	}
	buf_putc(b, ' ');
}

static void print_bucket(struct buf *b, const char *name, const char *labels, uint64_t bound_ns,
			 uint64_t n)
{
	buf_puts(b, name);
	buf_puts(b, "_bucket{");
	buf_puts(b, labels);
	buf_puts(b, labels[0] != '\0' ? ",le=\"" : "le=\"");
	if (bound_ns == 0)
		buf_puts(b, "+Inf");
	else
		stat_print_seconds(b, bound_ns);
	buf_puts(b, "\"} ");
	buf_u64(b, n);
	buf_putc(b, '\n');
}

void stat_print_hist(struct buf *b, const char *name, const char *labels, const uint64_t *bounds,
		     const struct stat_sum *sum)
{
	for (; *bounds != 0; bounds++)
		print_bucket(b, name, labels, *bounds, stat_sum_at_most(sum, *bounds));
	print_bucket(b, name, labels, 0, sum->n);
	print_series(b, name, "_sum", labels);
	stat_print_seconds(b, sum->sum_ns);
	buf_putc(b, '\n');
	print_series(b, name, "_count", labels);
	buf_u64(b, sum->n);
	buf_putc(b, '\n');
}
