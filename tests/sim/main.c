/* main.c - sim --seeds FROM..TO | --seed N [--trace] */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "sim.h"

enum { HANG_S = 120 }; /* of one seed, in real time: a loop without end inside Weir */

static uint64_t seed_now;

/* A crash, or an assertion of Weir's: which seed it was.  Async-signal-safe. */
static void tell_seed(void)
{
	char line[128];
	int n =
	    snprintf(line, sizeof(line), "sim: seed %llu; run it again: sim --seed %llu --trace\n",
		     (unsigned long long)seed_now, (unsigned long long)seed_now);

	(void)!write(STDERR_FILENO, line, (size_t)n);
}

static void on_crash(int signal_number)
{
	tell_seed();
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
		__sanitizer_set_death_callback(tell_seed);
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

int main(int argc, char **argv)
{
	uint64_t from = 0, to = 0;
	bool trace = false, ok = false;
	static struct sim sim;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--trace") == 0)
			trace = true;
		else if (i + 1 < argc && strncmp(argv[i], "--seed", 6) == 0)
			ok = parse_range(argv[++i], &from, &to);
	}
	if (!ok) {
		fprintf(stderr, "usage: sim --seeds FROM..TO | --seed N [--trace]\n");
		return 2;
	}
	catch_crashes();
	for (uint64_t seed = from; seed <= to; seed++) {
		seed_now = seed;
		alarm(HANG_S);
		sim_run(&sim, seed, trace);
	}
	printf("sim: %llu seeds\n", (unsigned long long)(to - from + 1));
	return 0;
}
