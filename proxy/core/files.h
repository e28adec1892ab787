/* files.h - what a route answers from files: which one a call is for, and what is known of it.
 *
 *  respond: { file: PATH }     one, whatever the path
 *  respond: { files: FOLDER }  what stands below a folder, by the call's path (as `rewrite` makes it)
 *
 *  F1  Nothing above the folder is ever opened: the path has no dots when it gets here, a %2F is no
 *      part of a name, and links lead no further than the folder, unless `links: anywhere`.
 *  F2  Only regular files are opened for reading; what else there is (FIFOs, devices, sockets) is
 *      looked at and left alone.
 *  F3  Disks are read where the call is served: one that is slow (a network's) stalls the worker. */
#ifndef CORE_FILES_H
#define CORE_FILES_H

#include "http/range.h"
#include "core/policy.h"
#include "core/template.h"

struct media_type {
	struct slice extension; /* lower case */
	struct slice type;
};

struct media_types {
	uint32_t n;
	const struct media_type *item; /* by extension */
};

enum { MEDIA_EXTENSION_MAX = 32 };

/* NULL after findings, or what to be used: `conf` empty is the built-in list. */
const struct media_types *media_types_prepare(const struct conf_list *conf, struct arena *,
					      struct diags *);
/* What the name's ending says; p NULL: nothing. */
struct slice media_type_of(const struct media_types *, struct slice name);

/* A path below the folder. */
struct file_try {
	struct template path;
	bool folder; /* it was written with a slash at its end */
};

struct files {
	const char *file;   /* NULL: */
	const char *folder; /* what is below */
	bool anywhere;      /* links may lead out of it */
	enum since_rule since;
	uint32_t n_index, n_try;
	const struct slice *index;
	const struct file_try *tried; /* none: the call's own path */
	bool next;                    /* where there is none, the routes behind are asked */
	uint16_t status;              /* else it is this, 0: */
	struct slice path;            /* or this file of the folder; p NULL: 404 */
	const struct media_types *types;
	struct slice type; /* of what they do not tell */
};

/* Of one call. */
struct file_found {
	int fd;            /* -1: */
	bool is_folder;    /* whose path lacks the slash at its end */
	bool is_other;     /* not of the path that was asked for */
	struct slice path; /* decoded, as it was looked for */
	struct slice type; /* n 0: none */
	uint64_t size;
	int64_t modified_s;
};

/* False after findings; the route's `match` is what {match...} means. */
bool files_prepare(struct files *, const struct respond_conf *, const struct template_match *,
		   const struct media_types *, struct arena *, struct diags *);
/* NULL: it is open for reading, or a folder; else why not.  *status: what is answered then, 0: as
 * the reason says. */
const struct reason *files_find(const struct files *, const struct route *,
				const struct template_values *, struct file_found *,
				uint16_t *status);
/* Whether there is one for the call. */
bool files_have(const struct files *, const struct route *, const struct template_values *);

#endif
