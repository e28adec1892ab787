/* text_log.h - access logs of lines of text: a template each, filled when a call ends.
 *
 * A file is opened once, however many logs go there, and stays open across reloads; it has a ring
 * and a writer of its own (access_log.h). */
#ifndef CORE_TEXT_LOG_H
#define CORE_TEXT_LOG_H

#include "core/config.h"
#include "core/template.h"

struct access_log;
struct condition;
struct exchange;
struct log_file;
struct log_files; /* by path; control thread only */

struct text_log {
	const struct text_log_conf *conf;
	struct log_file *file; /* NULL: it is only looked at */
	struct template format;
	enum template_form form;
	const struct condition *when; /* conf->when.n of them */
};

struct event_log {
	const struct event_log_conf *conf;
	struct log_file *file; /* the same */
};

/* Which logs a call goes to. */
struct log_choice {
	bool access; /* the one of `log.access`, too */
	uint32_t n, n_events;
	const struct text_log **text;
	const struct event_log **event;
};

struct text_logs {
	uint32_t n, n_events;
	struct text_log *item;
	struct event_log *event;
	struct log_choice dflt;
};

struct log_files *log_files_new(unsigned workers, uint64_t buffer_bytes);
/* All that is in force must have been closed. */
void log_files_free(struct log_files *);
/* USR1. */
void log_files_reopen(struct log_files *);
/* No line comes any more; see access_log_finish. */
void log_files_finish(struct log_files *);
uint64_t log_files_dropped(const struct log_files *);

/* Of a policy.  `files` NULL: nothing is opened.  False after findings; to be closed either way. */
bool text_logs_open(struct text_logs *, const struct config *, struct log_files *, struct arena *,
		    struct diags *);
void text_logs_close(struct text_logs *, struct log_files *);
/* `names`: none given: the default.  False after findings. */
bool log_choice_make(struct log_choice *, const struct text_logs *, const struct conf_list *names,
		     struct place at, struct arena *, struct diags *);

/* Worker w: a line, without its end. */
void log_file_put(struct log_file *, unsigned w, struct slice line);
/* Worker: the lines of a call that has ended. */
void text_log_write(struct exchange *, const struct log_choice *);

#endif
