/* log.h - the error log: one line on stderr per thing an operator should know.
 *
 * "2026-01-31T23:59:59.123Z warn reload: weir.yaml:7: ..."  A line is one
 * write(2) of at most 2 KiB; control characters are escaped.  When stderr would
 * block, the line is dropped and counted (log_dropped), never waited for; a line
 * of which only a part could be written is ended before the next. */
#ifndef BASE_LOG_H
#define BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR };

void log_set_level(enum log_level);
enum log_level log_get_level(void);
/* "debug" "info" "warn" "error"; false if it is none of them. */
bool log_level_parse(const char *, enum log_level *);
const char *log_level_name(enum log_level);
void log_at(enum log_level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
uint64_t log_dropped(void); /* lines */
void log_count_dropped(void); /* for whom lines are diverted to */
/* Lines go there, from any thread, in place of stderr; set before there are others.  NULL: to stderr. */
void log_divert(void (*to)(enum log_level, const char *text));

#define log_debug(...) (log_get_level() <= LOG_DEBUG ? log_at(LOG_DEBUG, __VA_ARGS__) : (void)0)
#define log_info(...)  log_at(LOG_INFO, __VA_ARGS__)
#define log_warn(...)  log_at(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_at(LOG_ERROR, __VA_ARGS__)

#endif
