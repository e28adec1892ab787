/* main.c - our request parser beside llhttp's: the corpora of the fuzz targets, the rows of the
 * unit tests, and mutations of all these.  Every difference must be of a kind that kinds.c lists
 * and justifies.
 *
 *   conformance_llhttp CORPUS-FOLDER [MUTATIONS [SEED]] */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "../../unit/http/chunked_rows.h"
#include "../../unit/http/request_rows.h"
#include "compare.h"

enum { SEEDS_MAX = 1024, TEXT_MAX = 8192, MUTATIONS = 2000000, SHOWN_MAX = 20 };

static char *seeds[SEEDS_MAX];
static size_t seed_n[SEEDS_MAX], n_seeds;
static unsigned differences, compared, agreed;

/*---------------------------------------- comparing */

static bool buf_eq(const struct buf *a, const struct buf *b)
{
	return a->n == b->n && (a->n == 0 || memcmp(a->p, b->p, a->n) == 0);
}

static bool is_same(const struct outcome *a, const struct outcome *b)
{
	if (a->level != b->level)
		return false;
	if (a->level == REFUSED || a->level == IN_HEAD)
		return true;
	return buf_eq(&a->start, &b->start) && buf_eq(&a->fields, &b->fields) &&
	       buf_eq(&a->body, &b->body) && (a->minor != 0) == (b->minor != 0) &&
	       a->keep_alive == b->keep_alive && a->upgrade == b->upgrade;
}

static void show_outcome(const char *who, const struct outcome *o)
{
	static const char *const levels[] = { "refused", "in head", "in body", "whole" };

	printf("%s: %s%s %s, 1.%u%s%s\n", who, levels[o->level], o->in_body ? " in body" : "",
	       o->why == NULL ? "" : o->why, o->minor, o->keep_alive ? " keep" : "",
	       o->upgrade ? " upgrade" : "");
	printf("  start  %.*s\n  fields %.*s\n  body   %.*s\n", (int)o->start.n, o->start.p,
	       (int)o->fields.n, o->fields.p, (int)o->body.n, o->body.p);
}

static void show(struct slice text, const struct outcome *ours, const struct outcome *theirs)
{
	printf("---- an unlisted difference:\n\"");
	for (size_t i = 0; i < text.n; i++) {
		unsigned char c = (unsigned char)text.p[i];

		if (c == '\n')
			printf("\\n\n");
		else if (c == '\r')
			printf("\\r");
		else if (c < 0x20 || c >= 0x7f)
			printf("\\x%02x", c);
		else
			putchar(c);
	}
	printf("\"\n");
	show_outcome("ours", ours);
	show_outcome("theirs", theirs);
}

/* Parses with both; whether they agree. */
static bool parse_both(struct slice text, struct outcome *ours, struct outcome *theirs)
{
	ours_parse(text, ours);
	theirs_parse(text, theirs);
	return is_same(ours, theirs);
}

/* Ours judges heads and trailers at their end: a difference before it is looked at again with an
 * end. */
static void compare(struct slice text)
{
	struct outcome ours, theirs;
	char ended[TEXT_MAX];
	bool same = parse_both(text, &ours, &theirs);

	if (!same && (ours.level == IN_HEAD || ours.level == IN_BODY) && text.n + 4 <= TEXT_MAX) {
		memcpy(ended, text.p, text.n);
		memcpy(ended + text.n, "\r\n\r\n", 4);
		text = slice_of(ended, text.n + 4);
		outcome_fini(&ours);
		outcome_fini(&theirs);
		same = parse_both(text, &ours, &theirs);
	}
	compared++;
	agreed += same;
	if (!same && !kinds_find(text, &ours, &theirs) && differences++ < SHOWN_MAX)
		show(text, &ours, &theirs);
	outcome_fini(&ours);
	outcome_fini(&theirs);
}

/*---------------------------------------- where requests come from */

static void add_seed(const char *p, size_t n)
{
	if (n_seeds == SEEDS_MAX || n == 0 || n > TEXT_MAX / 2)
		return;
	seeds[n_seeds] = malloc(n);
	if (seeds[n_seeds] == NULL)
		abort();
	memcpy(seeds[n_seeds], p, n);
	seed_n[n_seeds++] = n;
}

static void add_file(const char *path, size_t skip)
{
	FILE *f = fopen(path, "rb");
	static char text[TEXT_MAX];
	size_t n;

	if (f == NULL)
		abort();
	n = fread(text, 1, sizeof(text), f);
	fclose(f);
	if (n > skip)
		add_seed(text + skip, n - skip);
}

/* `skip`: bytes before the request in each file. */
static bool add_folder(const char *corpus, const char *name, size_t skip)
{
	char path[4096];
	DIR *d;

	snprintf(path, sizeof(path), "%s/%s", corpus, name);
	d = opendir(path);
	if (d == NULL) {
		perror(path);
		return false;
	}
	for (struct dirent *e; (e = readdir(d)) != NULL;) {
		char file[8192];

		if (e->d_name[0] == '.')
			continue;
		snprintf(file, sizeof(file), "%s/%s", path, e->d_name);
		add_file(file, skip);
	}
	closedir(d);
	return true;
}

/* What the other sources have none of. */
static const char *const more[] = {
	E E E E E E L H E,
	"GET / RTSP/1.0" E H E,
	"SOURCE / ICE/1.0" E H E,
	L H "Connection: close\t, x" E E,
	L H "Connection: upgrade\t" E "Upgrade: websocket" E E,
	P CL "5\t" E E "hello",
	P TE "chunked\t" E E "0" E E,
	P TE "chunked" E E "0" E CL "x" E E,
	P TE "chunked" E E "5;a;" E "hello" E "0" E E,
};

static void add_rows(void)
{
	const size_t bad = sizeof(bad_requests) / sizeof(bad_requests[0]);
	const size_t good = sizeof(good_requests) / sizeof(good_requests[0]);
	const size_t chunked = sizeof(chunked_rows) / sizeof(chunked_rows[0]);

	for (size_t i = 0; i < sizeof(more) / sizeof(more[0]); i++)
		add_seed(more[i], strlen(more[i]));
	for (size_t i = 0; i < bad + good; i++) {
		const struct row *r = i < bad ? &bad_requests[i] : &good_requests[i - bad];

		add_seed(r->text, r->n > 0 ? r->n : strlen(r->text));
	}
	for (size_t i = 0; i < chunked; i++) {
		char text[TEXT_MAX];
		int n =
		    snprintf(text, sizeof(text), "%s%s", P TE "chunked" E E, chunked_rows[i].text);

		add_seed(text, (size_t)n);
	}
}

/*---------------------------------------- mutations */

static uint64_t state;

/* xorshift64*: the same sequence everywhere. */
static size_t draw(size_t below)
{
	state ^= state >> 12;
	state ^= state << 25;
	state ^= state >> 27;
	return (size_t)((state * UINT64_C(2685821657736338717)) >> 33) % below;
}

static const struct slice tokens[] = {
	SLICE("\r\n"),
	SLICE("\n"),
	SLICE("\r"),
	SLICE(" "),
	SLICE("\t"),
	SLICE(":"),
	SLICE(","),
	SLICE("\0"),
	SLICE("\x0b"),
	SLICE("\x7f"),
	SLICE("\xff"),
	SLICE("0"),
	SLICE("chunked"),
	SLICE("Content-Length: 5\r\n"),
	SLICE("Transfer-Encoding: chunked\r\n"),
	SLICE(";"),
	SLICE("0\r\n\r\n"),
	SLICE("Host: a\r\n"),
	SLICE("#"),
	SLICE("?"),
	SLICE("/"),
	SLICE("*"),
	SLICE("HTTP/1.1"),
	SLICE("HTTP/1.0"),
	SLICE("close"),
	SLICE("keep-alive"),
	SLICE("Connection: upgrade\r\n"),
	SLICE("\""),
	SLICE("Upgrade: websocket\r\n"),
	SLICE("\r\n "),
	SLICE("="),
	SLICE("GET / HTTP/1.1\r\n"),
};

struct text {
	char p[TEXT_MAX];
	size_t n;
};

static void splice_in(struct text *t, size_t at, size_t cut, struct slice s)
{
	if (t->n - cut + s.n > TEXT_MAX / 2)
		return;
	memmove(t->p + at + s.n, t->p + at + cut, t->n - at - cut);
	memcpy(t->p + at, s.p, s.n);
	t->n = t->n - cut + s.n;
}

static void mutate(struct text *t)
{
	size_t at = draw(t->n), most = t->n - at;
	char byte = (char)draw(256), piece[64];
	size_t n = draw(most < sizeof(piece) ? most : sizeof(piece)) + 1, from = draw(t->n);

	switch (draw(6)) {
	case 0:
		splice_in(t, at, draw(most < 8 ? most : 8) + (most > 0), slice_of("", 0));
		break;
	case 1:
		t->p[at] = byte;
		break;
	case 2:
		splice_in(t, at, 0, slice_of(&byte, 1));
		break;
	case 3:
		memcpy(piece, t->p + at, n < most ? n : most);
		splice_in(t, from, 0, slice_of(piece, n < most ? n : most));
		break;
	default:
		splice_in(t, at, draw(3) == 0, tokens[draw(sizeof(tokens) / sizeof(tokens[0]))]);
		break;
	}
}

static void compare_mutation(void)
{
	static struct text t;
	size_t i = draw(n_seeds), times = 1 + draw(4);

	memcpy(t.p, seeds[i], seed_n[i]);
	t.n = seed_n[i];
	for (size_t k = 0; k < times && t.n > 0; k++)
		mutate(&t);
	if (t.n > 0)
		compare(slice_of(t.p, t.n));
}

int main(int argc, char **argv)
{
	unsigned unmet;
	long mutations = argc > 2 ? atol(argv[2]) : MUTATIONS;

	state = argc > 3 ? strtoull(argv[3], NULL, 10) | 1 : 1;
	if (argc < 2 || !add_folder(argv[1], "request", 0) || !add_folder(argv[1], "codec", 4))
		return 2;
	add_rows();
	for (size_t i = 0; i < n_seeds; i++)
		compare(slice_of(seeds[i], seed_n[i]));
	for (long i = 0; i < mutations; i++)
		compare_mutation();
	printf("%u requests, %u understood alike\n", compared, agreed);
	unmet = kinds_print();
	printf("%u unlisted differences; %u kinds never met\n", differences, unmet);
	for (size_t i = 0; i < n_seeds; i++)
		free(seeds[i]);
	return differences > 0 || unmet > 0;
}
