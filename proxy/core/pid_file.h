/* pid_file.h - the file that holds the number of the process that serves, and orders to it (`-s`).
 *
 * Who asks has a table of orders, and words of its own for what is wrong. */
#ifndef CORE_PID_FILE_H
#define CORE_PID_FILE_H

#include <sys/types.h>

/* A table of them ends with one without a name. */
struct pid_order {
	const char *name;
	int first, second; /* signals; 0: no second one */
};

enum pid_answer {
	PID_TOLD,
	PID_NO_FILE,   /* errno says why */
	PID_NO_NUMBER, /* of a process: `text` is what the file begins with */
	PID_NOT_TOLD,  /* errno says why `signal` did not reach `pid` */
};

struct pid_told {
	char text[32];
	pid_t pid;
	int signal;
};

/* NULL: there is none of this name. */
const struct pid_order *pid_order_find(const struct pid_order *, const char *name);
enum pid_answer pid_file_tell(const char *path, const struct pid_order *, struct pid_told *);

#endif
