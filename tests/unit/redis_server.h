/* redis_server.h - a real redis-server for one test program, and a client that waits.
 *
 * It listens on a unix socket or on a loopback port that was free, keeps nothing on disk, and is killed by its pid;
 * should the test die, the kernel kills it. */
#ifndef REDIS_SERVER_H
#define REDIS_SERVER_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <netinet/in.h>
#include <time.h>
#include <unistd.h>

#include "base/buf.h"
#include "store/resp.h"

enum { SERVER_ARGS_MAX = 48, SERVER_PATIENCE_MS = 10000 };

struct redis_server {
	pid_t pid;
	char dir[64];
	char path[96]; /* of its unix socket */
	uint16_t port; /* 0: none */
};

struct asker {
	int fd;
	struct resp_reader *reader;
};

__attribute__((unused)) static bool redis_is_installed(void)
{
	return access("/usr/bin/redis-server", X_OK) == 0 ||
	       access("/usr/local/bin/redis-server", X_OK) == 0;
}

__attribute__((unused)) static void pause_ms(long ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

	nanosleep(&t, NULL);
}

/* One that nobody listens on. */
__attribute__((unused)) static uint16_t free_port(void)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t len = sizeof(in);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || bind(fd, (struct sockaddr *)&in, len) < 0 ||
	    getsockname(fd, (struct sockaddr *)&in, &len) < 0)
		abort();
	close(fd);
	return ntohs(in.sin_port);
}

static int connect_unix(const char *path)
{
	struct sockaddr_un un = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(un.sun_path, sizeof(un.sun_path), "%s", path);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&un, sizeof(un)) == 0)
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

static void run_server(char *const *argv, const char *dir)
{
	int null = open("/dev/null", O_RDWR);

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (chdir(dir) != 0)
		_exit(126);
	dup2(null, 0);
	dup2(null, 1);
	dup2(null, 2);
	execvp(argv[0], argv);
	_exit(127);
}

/* `extra`: more of its options, in words, NULL at the end.  False: it did not come up. */
__attribute__((unused)) static bool redis_server_run(struct redis_server *s, const char *program,
						     const char *const *extra)
{
	char port[8];
	const char *argv[SERVER_ARGS_MAX];
	unsigned n = 0;

	snprintf(port, sizeof(port), "%u", s->port);
	argv[n++] = program;
	for (unsigned i = 0; extra != NULL && extra[i] != NULL; i++)
		argv[n++] = extra[i];
	{
		const char *const usual[] = { "--port",       port,    "--bind",      "127.0.0.1",
					      "--unixsocket", s->path, "--daemonize", "no",
					      "--logfile",    "log",   NULL };

		for (unsigned i = 0; usual[i] != NULL; i++)
			argv[n++] = usual[i];
	}
	argv[n] = NULL;
	s->pid = fork();
	if (s->pid == 0)
		run_server((char *const *)(uintptr_t)argv, s->dir);
	for (unsigned waited = 0; waited < SERVER_PATIENCE_MS; waited += 10) {
		int fd = connect_unix(s->path);

		if (fd >= 0) {
			close(fd);
			return true;
		}
		if (waitpid(s->pid, NULL, WNOHANG) == s->pid)
			break;
		pause_ms(10);
	}
	return false;
}

/* `tcp`: on a port as well. */
__attribute__((unused)) static bool redis_server_start(struct redis_server *s, bool tcp,
						       const char *const *extra)
{
	const char *options[SERVER_ARGS_MAX];
	unsigned n = 0;

	*s = (struct redis_server){ .port = tcp ? free_port() : 0 };
	snprintf(s->dir, sizeof(s->dir), "/tmp/redis-test-XXXXXX");
	if (mkdtemp(s->dir) == NULL)
		return false;
	snprintf(s->path, sizeof(s->path), "%s/socket", s->dir);
	for (unsigned i = 0; extra != NULL && extra[i] != NULL; i++)
		options[n++] = extra[i];
	options[n++] = "--save";
	options[n++] = "";
	options[n++] = "--appendonly";
	options[n++] = "no";
	options[n] = NULL;
	return redis_server_run(s, "redis-server", options);
}

__attribute__((unused)) static void redis_server_kill(struct redis_server *s)
{
	if (s->pid <= 0)
		return;
	kill(s->pid, SIGKILL);
	waitpid(s->pid, NULL, 0);
	s->pid = 0;
	unlink(s->path);
}

__attribute__((unused)) static void redis_server_stop(struct redis_server *s)
{
	char line[128];

	redis_server_kill(s);
	snprintf(line, sizeof(line), "rm -rf '%s'", s->dir);
	if (system(line) != 0)
		abort();
}

/*------------------------------------------------------------------- a client */

__attribute__((unused)) static void asker_open(struct asker *c, const struct redis_server *s)
{
	c->fd = connect_unix(s->path);
	c->reader = resp_reader_new();
	if (c->fd < 0 || c->reader == NULL)
		abort();
}

__attribute__((unused)) static void asker_close(struct asker *c)
{
	close(c->fd);
	resp_reader_free(c->reader);
}

/* Sends and waits for one reply, which lives until the next. */
__attribute__((unused)) static const struct resp *asker_send(struct asker *c, struct buf *b)
{
	const struct resp *reply = NULL;
	char in[16384];
	enum resp_result got;

	if (write(c->fd, b->p, b->n) != (ssize_t)b->n)
		abort();
	b->n = 0;
	while ((got = resp_reader_next(c->reader, RESP_BYTES_TABLE, &reply)) == RESP_MORE) {
		ssize_t n = read(c->fd, in, sizeof(in));

		if (n <= 0 || !resp_reader_feed(c->reader, slice_of(in, (size_t)n)))
			abort();
	}
	if (got != RESP_REPLY)
		abort();
	return reply;
}

/* A command, words parted by blanks. */
__attribute__((unused)) static const struct resp *asker_ask(struct asker *c, const char *line)
{
	struct slice word[32], rest = slice_str(line);
	struct buf b = { .p = NULL };
	const struct resp *reply;
	unsigned n = 0;

	while (rest.n > 0)
		word[n++] = slice_cut(&rest, ' ');
	resp_put(&b, word, n);
	reply = asker_send(c, &b);
	buf_fini(&b);
	return reply;
}

#endif
