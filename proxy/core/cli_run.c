/* cli_run.c - run and version. */
#include <string.h>
#include <sys/utsname.h>

#include "core/cli_internal.h"
#include "core/pattern.h"
#include "http/h2.h"
#include "store/resp.h"

static int run_nginx(const char *path, const struct control_options *o, const struct cli_host *host)
{
	if (host->run_nginx == NULL)
		return cli_usage_error("this program was built without import-nginx");
	if (o->config_path != NULL || o->watch || o->listen != NULL || o->to != NULL ||
	    o->rate != NULL || o->burst != NULL)
		return cli_usage_error("`--nginx-conf` says all: no other option goes with it");
	return host->run_nginx(path, host);
}

int cli_run(int argc, char **argv, const struct cli_host *host)
{
	static struct control_options o; /* control keeps it */
	const char *nginx_conf = NULL;
	struct cli_words none = { 0 };
	const struct cli_option options[] = { { 'c', "--config", &o.config_path,
						.values = CLI_FILE },
					      { 0, "--listen", &o.listen, NULL },
					      { 0, "--to", &o.to, NULL },
					      { 0, "--rate", &o.rate, NULL },
					      { 0, "--burst", &o.burst, NULL },
					      { 0, "--watch", NULL, &o.watch },
					      { 0, "--nginx-conf", &nginx_conf, NULL },
					      { 0 } };
	bool flags;

	if (!cli_parse(argc, argv, options, &none))
		return STATUS_USAGE;
	if (nginx_conf != NULL)
		return run_nginx(nginx_conf, &o, host);
	flags = o.listen != NULL || o.to != NULL || o.rate != NULL || o.burst != NULL;
	if (flags && o.config_path != NULL)
		return cli_usage_error("either a file, or --to with --listen, --rate and --burst");
	if (flags && o.to == NULL)
		return cli_usage_error("`--to` is missing: where calls go");
	if (flags && o.burst != NULL && o.rate == NULL)
		return cli_usage_error("`--burst` needs `--rate` beside it");
	if (flags && o.watch)
		return cli_usage_error("`--watch` needs a file to watch: -c FILE");
	if (!flags && o.config_path == NULL)
		o.config_path = CLI_DEFAULT_PREFIX "/" CLI_DEFAULT_FILE;
	return control_run(&o, &host->services);
}

/*----------------------------------------------------------------- version */

#ifdef __clang__
#define COMPILER "clang " __clang_version__
#else
#define COMPILER "gcc " __VERSION__
#endif

#ifndef WEIR_REVISION
#define WEIR_REVISION "unknown"
#endif

struct fact {
	const char *name, *value;
};

static void put_facts(struct buf *out, const struct fact *facts, size_t n, bool json)
{
	for (size_t i = 0; i < n; i++) {
		if (json) {
			buf_puts(out, i == 0 ? "{\n  " : ",\n  ");
			buf_json_string(out, slice_str(facts[i].name));
			buf_puts(out, ": ");
			buf_json_string(out, slice_str(facts[i].value));
		} else {
			buf_printf(out, "  %-20s %s\n", facts[i].name, facts[i].value);
		}
	}
	if (json)
		buf_puts(out, "\n}\n");
}

int cli_print_version(const struct cli_host *host, bool whole, bool json)
{
	struct utsname kernel = { 0 };
	struct buf out = { 0 };
	const struct fact facts[] = {
		{ "version", WEIR_VERSION },
		{ "revision", WEIR_REVISION },
		{ "compiler", COMPILER },
		{ "libevent", host->event_version },
		{ "libevent_built_with", host->event_built },
		{ "openssl", tls_library() },
		{ "nghttp2", h2_library() },
		{ "libyaml", node_yaml_version() },
		{ "hiredis", resp_library() },
		{ "pcre2", pattern_library() },
		{ "kernel", uname(&kernel) == 0 ? kernel.release : "unknown" },
	};
	size_t n = sizeof(facts) / sizeof(facts[0]);

	if (!json)
		buf_printf(&out, "weir %s\n", WEIR_VERSION);
	if (json)
		put_facts(&out, facts, n, true);
	else if (whole)
		put_facts(&out, facts + 1, n - 1, false);
	return cli_put(stdout, &out, STATUS_OK);
}

int cli_version(int argc, char **argv, const struct cli_host *host)
{
	struct cli_words none = { 0 };
	bool json = false;
	const struct cli_option options[] = { { 0, "--json", NULL, &json }, { 0 } };

	if (!cli_parse(argc, argv, options, &none))
		return STATUS_USAGE;
	return cli_print_version(host, true, json);
}
