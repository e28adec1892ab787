/* cli.h - the command line. */
#ifndef CORE_CLI_H
#define CORE_CLI_H

#include "core/control.h"

/* What the program at the top knows and this room cannot. */
struct cli_command;

struct cli_host {
	const struct cli_command *commands; /* all that there are: cli_main says it */
	const struct cli_command *ctl;      /* the commands behind `weir ctl`; NULL: none */
	struct control_services services;
	int (*import_nginx)(int argc, char **argv, const struct cli_host *); /* NULL: there is none */
	/* A link to the program that is named so: its options are nginx's then. */
	int (*nginx)(int argc, char **argv, const struct cli_host *);      /* NULL: the same */
	int (*run_nginx)(const char *path, const struct cli_host *);       /* the same */
	const char *event_version,
	    *event_built; /* of the event library: that runs, that it was built with */
};

/* The exit status: 0 fine; 1 configuration wrong or start failed; 2 bad usage; 3 only warnings,
 * under --strict. */
int cli_main(int argc, char **argv, const struct cli_host *);

#endif
