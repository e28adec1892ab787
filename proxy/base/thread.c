/* thread.c */
#include "base/thread.h"

#include <signal.h>

bool thread_start(pthread_t *thread, const char *name, size_t stack_bytes, void *(*run)(void *),
		  void *arg)
{
	sigset_t all, before;
	pthread_attr_t attr;
	bool ok;

	pthread_attr_init(&attr);
	if (stack_bytes > 0)
		pthread_attr_setstacksize(&attr, stack_bytes);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	ok = pthread_create(thread, &attr, run, arg) == 0;
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attr);
	if (ok)
		pthread_setname_np(*thread, name);
	return ok;
}
