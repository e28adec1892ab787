/* thread.h - threads that hear no signal: signals are for the control thread (SIGPIPE among them, so that a reader that
 * went away is an errno). */
#ifndef BASE_THREAD_H
#define BASE_THREAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>

/* `name`: at most 15 bytes, for ps and top.  stack_bytes 0: as large as the system's.  False: none was started. */
bool thread_start(pthread_t *, const char *name, size_t stack_bytes, void *(*run)(void *),
		  void *arg);

#endif
