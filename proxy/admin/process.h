/* process.h - what the kernel knows of this process. */
#ifndef ADMIN_PROCESS_H
#define ADMIN_PROCESS_H

#include <stdint.h>

struct process_usage {
	uint64_t cpu_ns; /* user and system, all threads */
	uint64_t resident_bytes, virtual_bytes;
	uint64_t open_fds, max_fds;
};

/* What cannot be read is 0. */
void process_read(struct process_usage *);

#endif
