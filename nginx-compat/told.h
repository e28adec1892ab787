/* told.h - what nginx would say, where it would: "nginx: [emerg] TEXT" on stderr while somebody waits there, and
 * "2026/11/21 19:00:00 [emerg] PID#PID: TEXT" in the error log. */
#ifndef NGINX_COMPAT_TOLD_H
#define NGINX_COMPAT_TOLD_H

/* The error log, from here on; "stderr": none but stderr.  Where it cannot be opened, the one before stays.  NULL, or why not:
 * `open() "FILE" failed (2: No such file or directory)`. */
const char *told_to(const char *path);
/* What Weir logs goes to the error log, in nginx's form, and so does whatever is written to stderr; told() still reaches the
 * first stderr. */
void told_redirect(void);
/* Nobody waits on stderr any more. */
void told_alone(void);
/* The log was moved away. */
void told_reopen(void);

/* `level` "emerg", "warn"... */
void told(const char *level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* To the log alone. */
void told_log(const char *level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
