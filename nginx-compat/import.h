/* import.h - an nginx configuration as one of Weir, and the truth about every line. */
#ifndef NGINX_COMPAT_IMPORT_H
#define NGINX_COMPAT_IMPORT_H

#include "base/buf.h"
#include "core/cli.h"
#include "nginx-compat/tree.h"

enum { IMPORT_CLASSES = 5 }; /* EXACT to UNKNOWN */

struct import_result {
	const struct tree *tree;
	struct slice yaml;                  /* p NULL: there is none */
	const char *wrong;                  /* NULL: it could be read */
	unsigned routes;                    /* that lead somewhere */
	unsigned count[IMPORT_CLASSES + 1]; /* by verdict, EXACT to UNKNOWN */
};

/* All memory is the arena's.  `path` "-" is the standard input; `version` of nginx, NULL: any. */
void import_file(struct arena *, const char *path, const char *version, struct import_result *);
void import_text(struct arena *, const char *name, struct slice text, const char *version,
		 struct import_result *);

/* How nginx was started. */
struct import_start {
	const char *prefix;     /* a folder with its slash: logs and files are seen from there */
	const char *directives; /* before those of the file; NULL: none */
	const char *access_log, *error_log; /* where the file names none; NULL: as Weir has it */
};

/* A main file that is to be served.  Whatever nginx would refuse is wrong, and so is a directive that is not known. */
void import_serve(struct arena *, const char *path, const struct import_start *,
		  struct import_result *);

/* "exact" "adapted" "not needed" "lost" "unknown" */
const char *import_class(enum fate);
/* One line for each adapted, lost and unknown directive, and a summary. */
void import_report_text(const struct import_result *, struct buf *);
/* All directives. */
void import_report_json(const struct import_result *, struct buf *);

/* `weir import-nginx`. */
int import_command(int argc, char **argv, const struct cli_host *);

#endif
