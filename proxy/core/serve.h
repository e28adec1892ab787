/* serve.h - answers that come from files, sent in pieces as the client takes them. */
#ifndef CORE_SERVE_H
#define CORE_SERVE_H

#include <stdbool.h>

struct exchange;
struct file_answer;
struct respond;

/* Answers a call that has been let in; state: ADMITTING. */
void serve(struct exchange *, const struct respond *);
/* What is to be sent behind a head that is not sent yet; its first bytes are read, and the file is
 * this call's to close.  False: they cannot be read, or memory is out, and it is closed. */
bool serve_begin(struct exchange *, const struct file_answer *);
/* Behind the head: the first bytes, and what the client takes of the others. */
void serve_body(struct exchange *);
/* There is room again. */
void serve_on_room(struct exchange *);
/* Whether the timer meant that it goes on now. */
bool serve_on_timer(struct exchange *);
/* The call is over, and there is a file. */
void serve_end(struct exchange *);

#endif
