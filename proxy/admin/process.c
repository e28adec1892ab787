/* process.c - reading /proc/self (proc(5)). */
#include "admin/process.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"

static void read_memory(struct process_usage *u)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	unsigned long long size, resident;
	FILE *f = fopen("/proc/self/statm", "re");

	if (f == NULL)
		return;
	if (fscanf(f, "%llu %llu", &size, &resident) == 2) {
		u->virtual_bytes = size * page;
		u->resident_bytes = resident * page;
	}
	fclose(f);
}

/* Newer kernels tell the number as the directory's size (6.2); older ones make us count. */
static uint64_t count_fds(void)
{
	struct stat st;
	uint64_t n = 0;
	DIR *d;

	if (stat("/proc/self/fd", &st) == 0 && st.st_size > 0)
		return (uint64_t)st.st_size;
	d = opendir("/proc/self/fd");
	if (d == NULL)
		return 0;
	for (const struct dirent *e; (e = readdir(d)) != NULL;)
		n += e->d_name[0] != '.';
	closedir(d);
	return n == 0 ? 0 : n - 1; /* without the directory itself */
}

void process_read(struct process_usage *u)
{
	struct timespec cpu;
	struct rlimit fds;

	*u = (struct process_usage){ .open_fds = count_fds() };
	if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu) == 0)
		u->cpu_ns = (uint64_t)cpu.tv_sec * CLOCK_S + (uint64_t)cpu.tv_nsec;
	if (getrlimit(RLIMIT_NOFILE, &fds) == 0)
		u->max_fds = fds.rlim_cur;
	read_memory(u);
}
