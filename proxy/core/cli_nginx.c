/* cli_nginx.c - the options of nginx, for hands and scripts that know them. */
#include <errno.h>
#include <signal.h>
#include <string.h>

#include "core/cli_internal.h"
#include "core/pid_file.h"

/* Two different signals for `stop`: two of one kind may become one on their way. */
static const struct pid_order orders[] = {
	{ "reload", SIGHUP, 0 },  { "quit", SIGQUIT, 0 }, { "stop", SIGTERM, SIGQUIT },
	{ "reopen", SIGUSR1, 0 }, { NULL, 0, 0 },
};

static int send_order(const struct cli_load *l, const struct pid_order *order)
{
	const char *path = l->config->pid_file;
	struct pid_told told;

	if (path == NULL) {
		fprintf(stderr, "weir: %s has no `pid_file`, so it is not known whom to tell\n",
			l->path);
		return STATUS_FAILED;
	}
	switch (pid_file_tell(path, order, &told)) {
	case PID_NO_FILE:
		fprintf(stderr, "weir: %s: %s\n", path, strerror(errno));
		return STATUS_FAILED;
	case PID_NO_NUMBER:
		fprintf(stderr, "weir: %s holds no process number\n", path);
		return STATUS_FAILED;
	case PID_NOT_TOLD:
		fprintf(stderr, "weir: process %d: %s\n", (int)told.pid, strerror(errno));
		return STATUS_FAILED;
	case PID_TOLD:
		break;
	}
	return STATUS_OK;
}

struct wishes {
	const char *path, *prefix, *signal;
	bool test, test_and_dump, quiet, version, whole_version;
};

static int with_config(const struct wishes *w, const struct pid_order *order, const char *path)
{
	bool test = w->test || w->test_and_dump;
	struct buf text = { 0 };
	struct cli_load l;
	int status;

	cli_load_begin(&l, path);
	status = cli_print_findings(&l, DIAG_HUMAN, test && !w->quiet,
				    l.config == NULL ? "it would not be loaded"
				    : test           ? "fine"
						     : NULL);
	if (status == STATUS_OK && w->test_and_dump) {
		schema_dump_yaml(&config_schema, l.config, &text);
		status = cli_put(stdout, &text, status);
	}
	if (status == STATUS_OK && order != NULL)
		status = send_order(&l, order);
	cli_load_end(&l);
	return status;
}

static int run_file(const char *path, const struct cli_host *host)
{
	static struct control_options options; /* control keeps it */

	options.config_path = path;
	return control_run(&options, &host->services);
}

/* What only nginx has, or a file that is named as its files are. */
static bool is_meant_for_nginx(int argc, char **argv)
{
	static const char tail[] = ".conf";
	enum { TAIL = sizeof(tail) - 1 };

	for (int i = 1; i < argc; i++) {
		size_t n = strlen(argv[i]);

		if (strcmp(argv[i], "-g") == 0 || strcmp(argv[i], "-e") == 0)
			return true;
		if (n > TAIL && strcmp(argv[i] + n - TAIL, tail) == 0)
			return true;
	}
	return false;
}

int cli_nginx(int argc, char **argv, const struct cli_host *host)
{
	static char path[4096]; /* control keeps it */
	struct wishes w = { 0 };
	struct cli_words none = { 0 };
	const struct cli_option options[] = { { 'c', NULL, &w.path, NULL },
					      { 'p', NULL, &w.prefix, NULL },
					      { 's', NULL, &w.signal, NULL },
					      { 't', NULL, NULL, &w.test },
					      { 'T', NULL, NULL, &w.test_and_dump },
					      { 'q', NULL, NULL, &w.quiet },
					      { 'v', NULL, NULL, &w.version },
					      { 'V', NULL, NULL, &w.whole_version },
					      { 0 } };
	const struct pid_order *order = NULL;
	const char *file, *prefix;

	if (host->nginx != NULL && is_meant_for_nginx(argc, argv))
		return host->nginx(argc, argv, host);
	if (!cli_parse(argc, argv, options, &none))
		return STATUS_USAGE;
	if (w.version || w.whole_version)
		return cli_print_version(host, w.whole_version, false);
	if (w.signal != NULL && (order = pid_order_find(orders, w.signal)) == NULL)
		return cli_usage_error("-s takes reload, stop, quit or reopen, not `%s`", w.signal);
	file = w.path != NULL ? w.path : CLI_DEFAULT_FILE;
	prefix = w.prefix != NULL ? w.prefix : w.path == NULL ? CLI_DEFAULT_PREFIX : NULL;
	if (file[0] == '/' || prefix == NULL)
		snprintf(path, sizeof(path), "%s", file);
	else
		snprintf(path, sizeof(path), "%s/%s", prefix, file);
	if (w.test || w.test_and_dump || order != NULL)
		return with_config(&w, order, path);
	return run_file(path, host);
}
