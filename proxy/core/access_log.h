/* access_log.h - one JSON object a line for each call, named as OpenTelemetry does, never blocking a
 * worker.
 *
 * Each worker appends to a ring of its own (one producer, one consumer); one thread writes the
 * rings out.  A line that finds its ring full is dropped and counted.  Where the target takes
 * nothing for a while, lines wait in the rings, as far as there is room. */
#ifndef CORE_ACCESS_LOG_H
#define CORE_ACCESS_LOG_H

#include "core/config.h"
#include "core/stats.h"

struct access_log;

/* Control thread.  Opens the target and starts the thread; NULL with a finding when it cannot.
 * ACCESS_NONE: a log that drops everything without a thread. */
struct access_log *access_log_open(const struct log_conf *, unsigned workers, struct diags *);
/* The same for lines that others have made: of a file, or "stdout", "stderr".  Each is written as
 * soon as the writer can.  *total counts what is dropped. */
struct access_log *access_log_open_text(const char *target, uint64_t buffer_bytes, unsigned workers,
					_Atomic uint64_t *total, struct diags *);
/* No line comes any more: the thread writes what is in the rings, for at most a second, and ends.
 * Not waited for, so that several logs take no longer than one. */
void access_log_finish(struct access_log *);
/* The same, waits for it, and closes. */
void access_log_close(struct access_log *);
/* A reload changed the log section: takes effect for the lines that follow.  False with a finding:
 * the old one goes on. */
bool access_log_reconfigure(struct access_log *, const struct log_conf *, struct diags *);
/* USR1: closes the file and opens it again.  Where it cannot be opened the old one goes on, and it
 * is told. */
void access_log_reopen(struct access_log *);

/* Worker w: formats and appends. */
void access_log_write(struct access_log *, unsigned w, const struct call_record *);
/* Worker w: appends a line, without its end, and wakes the writer. */
void access_log_put(struct access_log *, unsigned w, struct slice line);
/* Worker w, end of a loop turn: wakes the writer when there is something new. */
void access_log_kick(struct access_log *, unsigned w);
uint64_t access_log_dropped(const struct access_log *);

#endif
