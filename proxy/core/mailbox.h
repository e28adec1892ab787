/* mailbox.h - messages between threads: many senders, one reader, who is woken through a
 * descriptor.
 *
 * A message is memory of its sender's, made ready before anything is committed, so that posting
 * cannot fail. */
#ifndef CORE_MAILBOX_H
#define CORE_MAILBOX_H

#include <pthread.h>
#include <stdbool.h>

#include "base/list.h"

struct message {
	struct list link;
	void (*run)(void *reader, struct message *); /* frees the message, or gives it back */
};

struct mailbox {
	pthread_mutex_t lock;
	struct list queue;
	int fd; /* an eventfd: readable while there is something */
};

bool mailbox_init(struct mailbox *);
void mailbox_fini(struct mailbox *);
void mailbox_post(struct mailbox *, struct message *);
/* Runs all messages that are there. */
void mailbox_drain(struct mailbox *, void *reader);

#endif
