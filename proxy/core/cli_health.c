/* cli_health.c - healthcheck: one request to the probes listener, for images that have no shell. */
#include <errno.h>
#include <netdb.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include "core/cli_internal.h"

enum { TIMEOUT_S = 3 };

struct target {
	struct addr addr;
	char host[256]; /* for the Host field */
	char path[512];
};

/*-------------------------------------------------------------------- where */

/* A listener on all addresses is asked on this machine's own. */
static void target_of_listener(struct target *t, const struct addr *a)
{
	char text[ADDR_TEXT_MAX];
	struct ip ip = addr_ip(a);
	static const struct ip none;

	t->addr = *a;
	snprintf(t->host, sizeof(t->host), "localhost");
	if (a->u.sa.sa_family == AF_INET && a->u.in.sin_addr.s_addr == 0)
		snprintf(text, sizeof(text), "127.0.0.1:%u", addr_port(a));
	else if (a->u.sa.sa_family == AF_INET6 && memcmp(&ip, &none, sizeof(ip)) == 0)
		snprintf(text, sizeof(text), "[::1]:%u", addr_port(a));
	else
		return;
	addr_parse(slice_str(text), &t->addr);
}

static int target_of_config(struct target *t, const char *path)
{
	struct cli_load l;
	int status;

	cli_load_begin(&l, path != NULL ? path : CLI_DEFAULT_PREFIX "/" CLI_DEFAULT_FILE);
	status = l.config != NULL ? STATUS_OK
				  : cli_print_findings(&l, DIAG_HUMAN, false, "nothing was asked");
	if (l.config != NULL && !l.config->probes.present) {
		fprintf(stderr, "weir: %s has no `probes` to ask\n", l.path);
		status = STATUS_FAILED;
	}
	if (status == STATUS_OK)
		target_of_listener(t, &l.config->probes.addr);
	cli_load_end(&l);
	return status;
}

static bool resolve(struct target *t, const char *host, const char *port)
{
	struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found = NULL;
	int rc = getaddrinfo(host, port, &hints, &found);

	if (rc != 0) {
		fprintf(stderr, "weir: %s: %s\n", host, gai_strerror(rc));
		return false;
	}
	t->addr = (struct addr){ .len = found->ai_addrlen };
	memcpy(&t->addr.u, found->ai_addr, found->ai_addrlen);
	freeaddrinfo(found);
	return true;
}

/* http://host[:port][/path]; the path stays as it is when there is none. */
static int target_of_url(struct target *t, const char *url)
{
	static const struct slice scheme = SLICE("http://");
	struct slice rest = slice_str(url), authority, host, port = SLICE("80");
	const char *colon;
	char host_text[256], port_text[16];

	if (!slice_starts(rest, scheme))
		return cli_usage_error("the address to ask begins with http://, not `%s`", url);
	rest = slice_of(rest.p + scheme.n, rest.n - scheme.n);
	authority = host = slice_of(rest.p, strcspn(rest.p, "/?#"));
	if (authority.n == 0 || authority.n >= sizeof(t->host) ||
	    rest.n - authority.n >= sizeof(t->path))
		return cli_usage_error("`%s` is no address to ask", url);
	colon = memrchr(authority.p, ':', authority.n);
	if (colon != NULL &&
	    memchr(colon, ']', authority.n - (size_t)(colon - authority.p)) == NULL) {
		host.n = (size_t)(colon - authority.p);
		port = slice_of(colon + 1, authority.n - host.n - 1);
	}
	if (host.n > 2 && host.p[0] == '[')
		host = slice_of(host.p + 1, host.n - 2);
	snprintf(host_text, sizeof(host_text), "%.*s", SLICE_FMT(host));
	snprintf(port_text, sizeof(port_text), "%.*s", SLICE_FMT(port));
	snprintf(t->host, sizeof(t->host), "%.*s", SLICE_FMT(authority));
	if (rest.n > authority.n && rest.p[authority.n] == '/')
		snprintf(t->path, sizeof(t->path), "%s", rest.p + authority.n);
	return resolve(t, host_text, port_text) ? STATUS_OK : STATUS_FAILED;
}

/*---------------------------------------------------------------------- ask */

/* The status of the answer; 0: none came, errno says why. */
static unsigned read_status(int fd)
{
	char line[64];
	size_t n = 0;
	unsigned status = 0;

	while (n < sizeof(line) - 1 && memchr(line, '\n', n) == NULL) {
		ssize_t got = recv(fd, line + n, sizeof(line) - 1 - n, 0);

		if (got <= 0) {
			errno = got == 0 ? ECONNRESET : errno;
			return 0;
		}
		n += (size_t)got;
	}
	line[n] = '\0';
	errno = EPROTO;
	return sscanf(line, "HTTP/1.%*1[01] %3u", &status) == 1 ? status : 0;
}

static unsigned ask(int fd, const struct target *t)
{
	struct timeval limit = { .tv_sec = TIMEOUT_S };
	char request[1024];
	int n =
	    snprintf(request, sizeof(request),
		     "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n", t->path, t->host);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
	if (connect(fd, &t->addr.u.sa, t->addr.len) < 0 || !cli_send_all(fd, request, (size_t)n))
		return 0;
	return read_status(fd);
}

int cli_healthcheck(int argc, char **argv, const struct cli_host *host)
{
	const char *path = NULL, *url = NULL;
	struct cli_words none = { 0 };
	bool live = false;
	const struct cli_option options[] = { { 'c', "--config", &path, .values = CLI_FILE },
					      { 0, "--url", &url, NULL },
					      { 0, "--live", NULL, &live },
					      { 0 } };
	struct target t = { 0 };
	unsigned answer;
	int fd, status;

	(void)host;
	if (!cli_parse(argc, argv, options, &none))
		return STATUS_USAGE;
	if (path != NULL && url != NULL)
		return cli_usage_error("either --config or --url");
	snprintf(t.path, sizeof(t.path), live ? "/live" : "/ready");
	status = url != NULL ? target_of_url(&t, url) : target_of_config(&t, path);
	if (status != STATUS_OK)
		return status;
	fd = socket(t.addr.u.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	answer = fd < 0 ? 0 : ask(fd, &t);
	if (answer == 0)
		fprintf(stderr, "weir: no answer: %s\n",
			errno == EAGAIN || errno == EINPROGRESS ? "timed out" : strerror(errno));
	else
		printf("%s %u\n", t.path, answer);
	if (fd >= 0)
		close(fd);
	return answer == 200 ? STATUS_OK : STATUS_FAILED;
}
