/* check.c - the end of a process whose invariant broke. */
#include "base/check.h"

#include <stdio.h>
#include <stdlib.h>

_Noreturn void check_failed(const char *file, int line, const char *what)
{
	fprintf(stderr, "weir: panic: %s:%d: %s\n", file, line, what);
	abort();
}
