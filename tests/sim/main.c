/* main.c - sim --seeds FROM..TO | --seed N [--client h1|h2|both] [--upstream h1|h2|both] [--trace] */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim.h"

enum { HANG_S = 120 }; /* of one seed, in real time: a loop without end inside Weir */

static uint64_t seed_now;
static struct sim_wish wish = { .client = SPEECHES, .upstream = SPEECHES };
static const char *const speeches[SPEECHES] = { "h1", "h2", "both" };
static char again[64]; /* what the wishes are on the command line */

/* A crash, or an assertion of Weir's: which seed it was.  Async-signal-safe. */
void sim_tell(void)
{
	char line[192];
	int n = snprintf(line, sizeof(line),
			 "sim: seed %llu; run it again: sim --seed %llu%s --trace\n",
			 (unsigned long long)seed_now, (unsigned long long)seed_now, again);

	(void)!write(STDERR_FILENO, line, (size_t)n);
}

static void on_crash(int signal_number)
{
	sim_tell();
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

/* Of the sanitizers, when there are any. */
void __sanitizer_set_death_callback(void (*)(void)) __attribute__((weak));

static void catch_crashes(void)
{
	static const int plain[] = { SIGABRT, SIGALRM }, sanitized[] = { SIGSEGV, SIGBUS, SIGFPE };

	for (size_t i = 0; i < sizeof(plain) / sizeof(plain[0]); i++)
		signal(plain[i], on_crash);
	if (__sanitizer_set_death_callback != NULL) {
		__sanitizer_set_death_callback(sim_tell);
		return;
	}
	for (size_t i = 0; i < sizeof(sanitized) / sizeof(sanitized[0]); i++)
		signal(sanitized[i], on_crash);
}

static bool parse_range(const char *text, uint64_t *from, uint64_t *to)
{
	char *end;

	*from = *to = strtoull(text, &end, 10);
	if (end == text)
		return false;
	if (strncmp(end, "..", 2) == 0)
		*to = strtoull(end + 2, &end, 10);
	return *end == '\0' && *to >= *from;
}

static bool parse_speech(const char *side, const char *text, enum speech *out)
{
	size_t n = strlen(again);

	for (unsigned i = 0; i < SPEECHES; i++) {
		if (strcmp(text, speeches[i]) != 0)
			continue;
		*out = (enum speech)i;
		snprintf(again + n, sizeof(again) - n, " %s %s", side, text);
		return true;
	}
	return false;
}

static bool parse_option(const char *name, const char *value, uint64_t *from, uint64_t *to)
{
	if (value == NULL)
		return false;
	if (strcmp(name, "--seed") == 0 || strcmp(name, "--seeds") == 0)
		return parse_range(value, from, to);
	if (strcmp(name, "--client") == 0)
		return parse_speech(name, value, &wish.client);
	return strcmp(name, "--upstream") == 0 && parse_speech(name, value, &wish.upstream);
}

static bool parse(char **argv, uint64_t *from, uint64_t *to)
{
	while (*argv != NULL) {
		if (strcmp(*argv, "--trace") == 0)
			wish.trace = true;
		else if (!parse_option(*argv, argv[1], from, to))
			return false;
		else
			argv++;
		argv++;
	}
	return *to > 0;
}

int main(int argc, char **argv)
{
	uint64_t from = 0, to = 0;
	static struct sim sim;

	(void)argc;
	if (!parse(argv + 1, &from, &to)) {
		fprintf(stderr, "usage: sim --seeds FROM..TO | --seed N [--client h1|h2|both] "
				"[--upstream h1|h2|both] [--trace]\n");
		return 2;
	}
	catch_crashes();
	for (uint64_t seed = from; seed <= to; seed++) {
		seed_now = seed;
		alarm(HANG_S);
		sim_run(&sim, seed, &wish);
	}
	printf("sim: %llu seeds\n", (unsigned long long)(to - from + 1));
	return 0;
}
