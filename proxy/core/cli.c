/* cli.c - which command, and help. */
#include <string.h>

#include "conf/suggest.h"
#include "core/cli_internal.h"

static int help(int argc, char **argv, const struct cli_host *);
static int ctl(int argc, char **argv, const struct cli_host *);
static int import_nginx(int argc, char **argv, const struct cli_host *);

static const struct cli_command commands[] = {
	{ "run",
	  "weir run [-c FILE] [--watch]\n"
	  "       weir run --nginx-conf FILE\n"
	  "       weir run --to ADDRESS [--listen ADDRESS] [--rate RATE [--burst N]]",
	  "Serves, in the foreground.\n\n"
	  "  -c, --config FILE   the configuration (" CLI_DEFAULT_PREFIX "/" CLI_DEFAULT_FILE ")\n"
	  "      --watch         reload when FILE changes, or the link it is behind; files that\n"
	  "                      it includes are read again then, but not watched\n"
	  "      --nginx-conf FILE   a configuration of nginx, with nginx's manners: what cannot be\n"
	  "                      said faithfully is not started; QUIT drains, TERM stops at once\n"
	  "      --to ADDRESS    without a file: where calls go\n"
	  "      --listen ADDR   without a file: where they come in (127.0.0.1:8080)\n"
	  "      --rate RATE     without a file: what each client address may do, such as 100/s\n"
	  "      --burst N       without a file: how many calls at once\n\n"
	  "HUP reloads, USR1 opens the logs again, USR2 writes the state to the log, TERM, INT and "
	  "QUIT\n"
	  "drain, a second one stops at once.",
	  cli_run },
	{ "check",
	  "weir check [-c FILE] [--strict] [--production [--grace TIME]]\n"
	  "       [--format human|gcc|json|github]",
	  "Says all that is wrong with a configuration.\n\n"
	  "  -c, --config FILE   the configuration\n"
	  "      --strict        exit with 3 when there are warnings\n"
	  "      --production    say also what should not be where strangers call: W201 and up\n"
	  "      --grace TIME    with --production: how long a shutdown may take before it is cut\n"
	  "                      short (terminationGracePeriodSeconds, less what the app takes)\n"
	  "      --format FORM   human and gcc go to stderr, json and github to stdout",
	  cli_check },
	{ "dump", "weir dump [-c FILE] [--format yaml|json]",
	  "Prints a configuration with its includes merged, defaults filled in and secrets hidden.",
	  cli_dump },
	{ "diff", "weir diff OLD NEW",
	  "Says what a reload from one file to the other would change, and which buckets it keeps.",
	  cli_diff },
	{ "explain",
	  "weir explain [-c FILE] [--method M] [--host H] [-H 'NAME: VALUE']... [--client IP]\n"
	  "       [--repeat N@INTERVAL] [--answer STATUS[@DURATION]] [--format text|json] PATH",
	  "Says what becomes of a request: which route takes it, what each policy decides, where it "
	  "goes.\n\n"
	  "  PATH                /path?query, or 'POST http://host/path'\n"
	  "  -c, --config FILE   the configuration\n"
	  "      --method M      GET when not given\n"
	  "      --host H        localhost when not given\n"
	  "  -H, --header FIELD  a header field, 'x-api-key: k'; several times\n"
	  "      --client IP     whom it comes from, 127.0.0.1 when not given (also: --from)\n"
	  "      --repeat N@T    N such calls, one every T, on virtual time through the real chain\n"
	  "      --answer S@T    with --repeat: what the upstream answers, and after how long "
	  "(200@0s)\n"
	  "      --format FORM   text or json\n\n"
	  "All limits begin as they are after a start, at midnight UTC.  Names of upstreams are not "
	  "looked up.\n"
	  "What a running weir would say now: POST /explain on its admin listener.",
	  cli_explain },
	{ "schema", "weir schema",
	  "Prints the JSON Schema (draft-07) of the configuration, for editors.", cli_schema },
	{ "reference", "weir reference", "Prints the reference of the configuration, in Markdown.",
	  cli_reference },
	{ "import-nginx",
	  "weir import-nginx [FILE | -] [-o OUT] [--report text|json] [--strict] [--nginx-version V]",
	  "Makes a configuration of one of nginx, and says what becomes of every line.\n\n"
	  "  FILE                the main file, with its includes; what `nginx -T` prints; the JSON of\n"
	  "                      crossplane; or a part: a server, an upstream, a location\n"
	  "                      (/etc/nginx/nginx.conf)\n"
	  "  -o, --output OUT    where the YAML goes; stdout when not given\n"
	  "      --report FORM   text: a line for each that is adapted, lost or unknown; json: all\n"
	  "      --strict        exit with 1, and write nothing, when something is lost\n"
	  "      --nginx-version V   of which nginx it is: what is younger is unknown\n\n"
	  "Exit status: 0 nothing is lost, 3 something is, 1 it cannot be read or nothing is left.",
	  import_nginx },
	{ "ctl", "weir ctl COMMAND [ARGUMENT]...",
	  "Asks a running weir how it is, and gives it orders, over its admin listener.", ctl },
	{ "healthcheck", "weir healthcheck [--live] [-c FILE | --url URL]",
	  "Asks a running weir whether it is ready: exit 0 if so, else 1.\n\n"
	  "      --live          ask /live, not /ready\n"
	  "  -c, --config FILE   whose `probes` listener to ask\n"
	  "      --url URL       what to ask instead, such as http://127.0.0.1:9902/ready",
	  cli_healthcheck },
	{ "version", "weir version [--json]",
	  "Prints the version, and what it was built with and runs on.", cli_version },
	{ "completion", "weir completion bash|zsh",
	  "Prints what completes this command line in a shell.\n\n"
	  "  bash                . <(weir completion bash)\n"
	  "  zsh                 weir completion zsh > ~/.zfunc/_weir", cli_completion },
	{ "man", "weir man weir.1|weir.yaml.5", "Prints a manual page.", cli_man },
	{ "help", "weir help [COMMAND [COMMAND]]", "Prints help.", help },
	{ NULL, NULL, NULL, NULL },
};

static const char nginx_usage[] =
    "weir [-t | -T] [-q] [-v | -V] [-s reload|stop|quit|reopen] [-c FILE] [-p PREFIX]";

const struct cli_command *cli_find(const struct cli_command *in, const char *name,
				   const char **meant)
{
	struct suggest s;

	suggest_begin(&s, slice_str(name));
	for (; in != NULL && in->name != NULL; in++) {
		if (strcmp(in->name, name) == 0)
			return in;
		suggest_offer(&s, in->name);
	}
	*meant = s.best;
	return NULL;
}

static int unknown_command(const char *name, const char *meant)
{
	if (meant != NULL)
		return cli_usage_error("there is no command `%s`; did you mean `%s`?", name, meant);
	return cli_usage_error("there is no command `%s`", name);
}

static void list_commands(FILE *out, const struct cli_command *c)
{
	for (; c != NULL && c->name != NULL; c++)
		fprintf(out, "  %-12s %.*s\n", c->name, (int)strcspn(c->about, "\n"), c->about);
}

static void print_commands(FILE *out)
{
	fputs("Weir, a reverse proxy that limits.\n\n", out);
	list_commands(out, commands);
	fprintf(out, "\nFor hands that know nginx: %s\n", nginx_usage);
	fputs("A link named `nginx`, `-g`, `-e` or a file that ends in .conf: nginx's own options and "
	      "configuration.\n\n",
	      out);
	fputs("`weir help COMMAND` says more.  Exit status: 0 fine, 1 the configuration is wrong "
	      "or the start\n"
	      "failed, 2 bad usage, 3 only warnings under --strict.\n",
	      out);
}

static void print_command(const struct cli_command *c)
{
	printf("usage: %s\n\n%s\n", c->usage, c->about);
}

static int help(int argc, char **argv, const struct cli_host *host)
{
	struct cli_words words = { .max = 2 };
	const struct cli_option none[] = { { 0 } };
	const struct cli_command *c;
	const char *meant = NULL;

	if (!cli_parse(argc, argv, none, &words))
		return STATUS_USAGE;
	if (words.n == 0) {
		print_commands(stdout);
		return STATUS_OK;
	}
	c = cli_find(commands, words.word[0], &meant);
	if (c == NULL)
		return unknown_command(words.word[0], meant);
	if (words.n == 2)
		c = c->run == ctl ? cli_find(host->ctl, words.word[1], &meant) : NULL;
	if (c == NULL)
		return unknown_command(words.word[1], meant);
	print_command(c);
	if (c->run == ctl) {
		putchar('\n');
		list_commands(stdout, host->ctl);
		puts("\n`weir help ctl COMMAND` says more.");
	}
	return STATUS_OK;
}

static int import_nginx(int argc, char **argv, const struct cli_host *host)
{
	if (host->import_nginx == NULL)
		return cli_usage_error("this program was built without import-nginx");
	return host->import_nginx(argc, argv, host);
}

static bool wants_help(int argc, char **argv)
{
	for (int i = 1; i < argc; i++)
		if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)
			return true;
	return false;
}

static int ctl(int argc, char **argv, const struct cli_host *host)
{
	const struct cli_command *c;
	const char *meant = NULL;
	char *help_argv[] = { argv[0], argv[0], argc > 1 ? argv[1] : NULL, NULL };

	if (host->ctl == NULL)
		return cli_usage_error("this program was built without `ctl`");
	if (argc < 2) {
		help(2, help_argv, host);
		return STATUS_USAGE;
	}
	c = cli_find(host->ctl, argv[1], &meant);
	if (c == NULL)
		return unknown_command(argv[1], meant);
	if (wants_help(argc - 1, argv + 1))
		return help(3, help_argv, host);
	return c->run(argc - 1, argv + 1, host);
}

static bool is_named_nginx(const char *program)
{
	const char *slash = strrchr(program, '/');

	return strcmp(slash == NULL ? program : slash + 1, "nginx") == 0;
}

static int dispatch(int argc, char **argv, const struct cli_host *host)
{
	const struct cli_command *c;
	const char *meant = NULL;
	char *help_argv[] = { argv[0], argc > 1 ? argv[1] : NULL, NULL };

	if (host->nginx != NULL && argc > 0 && is_named_nginx(argv[0]))
		return host->nginx(argc, argv, host);
	if (argc < 2) {
		print_commands(stderr);
		return STATUS_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "-?") == 0)
		return help(1, help_argv, host);
	if (strcmp(argv[1], "--version") == 0)
		return cli_print_version(host, false, false);
	if (argv[1][0] == '-')
		return cli_nginx(argc, argv, host);
	c = cli_find(commands, argv[1], &meant);
	if (c == NULL)
		return unknown_command(argv[1], meant);
	if (c->run != ctl && wants_help(argc - 1, argv + 1))
		return help(2, help_argv, host);
	return c->run(argc - 1, argv + 1, host);
}

/* Commands that tell of all of them are in the table themselves. */
int cli_main(int argc, char **argv, const struct cli_host *host)
{
	struct cli_host whole = *host;

	whole.commands = commands;
	return dispatch(argc, argv, &whole);
}
