/* control.h - the process: starts workers, reloads, drains, stops. */
#ifndef CORE_CONTROL_H
#define CORE_CONTROL_H

#include <stdbool.h>

#include "core/mailbox.h"
#include "core/service.h"

struct arena;
struct config;
struct diags;

/* A configuration that is no file of Weir's own, and whoever brings it. */
struct control_source {
	void *arg;
	/* As config_load; asked again by each reload. */
	struct config *(*load)(void *arg, struct arena *, struct diags *);
	/* What was found, also when it is nothing. */
	void (*report)(void *arg, const struct diags *);
	/* All is bound and the pid file written, if it could be; false: then it is not started. */
	bool (*ready)(void *arg);
	void (*reopen)(void *arg); /* USR1; before the logs of Weir's own */
};

struct control_options {
	const char *config_path; /* NULL: from the flags below; with a source, its name */
	bool watch;              /* reload when the file or its directory changes */
	const char *listen, *to, *rate, *burst;
	const struct control_source *source; /* NULL: the path, or the flags */
	/* TERM and INT stop at once, QUIT alone drains, and neither is an error. */
	bool term_at_once;
};

/* The services of the probes and admin listeners; set before control_run by who knows them. */
struct control_services {
	const struct service *probes, *admin;
};

/* What a service asks of the control thread.  Posted to its mailbox; comes back to `back`, run by
 * `done`, with the answer in `task`. */
struct task_message {
	struct message message; /* first */
	struct control_task task;
	struct mailbox *back;
	void (*done)(void *worker, struct message *); /* frees it */
};

void control_task_run(void *control, struct message *);

/* Serves until told to stop.  The exit status: 0 after a drain, 1 when it could not start or was
 * told twice. */
int control_run(const struct control_options *, const struct control_services *);

#endif
