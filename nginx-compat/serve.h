/* serve.h - serving an nginx configuration with nginx's manners. */
#ifndef NGINX_COMPAT_SERVE_H
#define NGINX_COMPAT_SERVE_H

#include <stdbool.h>

#include "core/cli.h"
#include "nginx-compat/import.h"

struct serving {
	const char *conf; /* the main file */
	struct import_start start;
	const char *pid_file; /* where none is configured; NULL: none is written then */
	bool foreground;      /* whatever `daemon` says */
};

/* NULL, or why nginx, or Weir in its place, would not start with it: in nginx's words, in the arena.  `hint`: what Weir has to
 * say of it, or NULL. */
const char *serve_wrong(struct arena *, const struct import_result *, const char **hint);
/* The pid file and the error log that hold; in the arena, NULL: none. */
const char *serve_pid_file(struct arena *, const struct serving *, const struct tree *);
const char *serve_error_log(struct arena *, const struct serving *, const struct tree *);
/* The exit status. */
int serve_run(const struct serving *, const struct cli_host *);

#endif
