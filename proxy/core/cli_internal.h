/* cli_internal.h - what the commands share.
 *
 *   cli.c         the table of commands, help, dispatch
 *   cli_option.c  options
 *   cli_io.c      what they print, and send
 *   cli_config.c  check dump diff schema reference
 *   cli_run.c     run version
 *   cli_health.c  healthcheck
 *   cli_explain.c explain
 *   cli_completion.c, cli_man.c   completion and man, made of the tables
 *   cli_nginx.c   -t -T -q -v -V -s -p, for files of Weir's own */
#ifndef CORE_CLI_INTERNAL_H
#define CORE_CLI_INTERNAL_H

#include <stdio.h>

#include "core/cli.h"
#include "core/config.h"

enum { STATUS_OK, STATUS_FAILED, STATUS_USAGE, STATUS_WARNINGS };

#define CLI_DEFAULT_PREFIX "/etc/weir"
#define CLI_DEFAULT_FILE   "weir.yaml"

/* Values of an option that may come several times. */
struct cli_list {
	unsigned n, max;
	const char **item; /* max of them */
};

/* One option of a command; `text` or `list` for those that take a value, else `flag`. */
struct cli_option {
	char letter;      /* 0: none; "-c" */
	const char *name; /* "--config"; NULL: none */
	const char **text;
	bool *flag;
	struct cli_list *list;
	const char *values; /* words it may be, with spaces between, or CLI_FILE; NULL: anything */
};

#define CLI_FILE "FILE" /* the value is a file's name */

enum { CLI_WORDS_MAX = 10 };

/* Arguments that are no options, in order. */
struct cli_words {
	unsigned n, max;
	const char *word[CLI_WORDS_MAX];
	const char *values; /* as in an option, of all of them */
};

struct cli_command {
	const char *name, *usage, *about;
	int (*run)(int argc, char **argv, const struct cli_host *);
};

/* The options end with an empty row; argv[0] is the name of the command.  False: what is wrong was
 * printed. */
bool cli_parse(int argc, char **argv, const struct cli_option *, struct cli_words *);
/* Calls the command only to learn its options: what it would hand to cli_parse is seen by `see`, and nothing else
 * happens.  So every command hands its options over first of all.  The last that is seen has neither
 * letter nor name, and the values of what is no option. */
void cli_options_of(const struct cli_command *, const struct cli_host *,
		    void (*see)(void *arg, const struct cli_option *), void *arg);
/* One of a list that ends with one without a name; NULL: there is none, and *meant may be what was meant. */
const struct cli_command *cli_find(const struct cli_command *, const char *name,
				   const char **meant);
/* Says what is wrong with the command line; STATUS_USAGE. */
int cli_usage_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Writes and frees the buffer; STATUS_FAILED (and why, on stderr) when it cannot, else `status`. */
int cli_put(FILE *, struct buf *, int status);
bool cli_colour(FILE *);
/* All of it, however long that takes; false: errno says why. */
bool cli_send_all(int fd, const char *, size_t n);

/* A configuration with all the memory behind it. */
struct cli_load {
	struct arena arena, diag_arena;
	struct diags diags;
	struct config *config; /* NULL: it is wrong */
	const char *path;
};

void cli_load_begin(struct cli_load *, const char *path);
void cli_load_end(struct cli_load *);
/* Prints the findings; where there are none, prints nothing unless `always`. */
int cli_print_findings(const struct cli_load *, enum diag_format, bool always,
		       const char *consequence);

int cli_run(int argc, char **argv, const struct cli_host *);
int cli_check(int argc, char **argv, const struct cli_host *);
int cli_dump(int argc, char **argv, const struct cli_host *);
int cli_diff(int argc, char **argv, const struct cli_host *);
int cli_schema(int argc, char **argv, const struct cli_host *);
int cli_reference(int argc, char **argv, const struct cli_host *);
int cli_version(int argc, char **argv, const struct cli_host *);
int cli_explain(int argc, char **argv, const struct cli_host *);
int cli_healthcheck(int argc, char **argv, const struct cli_host *);
int cli_completion(int argc, char **argv, const struct cli_host *);
int cli_man(int argc, char **argv, const struct cli_host *);
int cli_nginx(int argc, char **argv, const struct cli_host *);
/* The version with all that it was built with, or the number alone. */
int cli_print_version(const struct cli_host *, bool whole, bool json);

#endif
