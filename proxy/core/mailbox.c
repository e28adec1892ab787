/* mailbox.c - a locked list and an eventfd. */
#include "core/mailbox.h"

#include <stdint.h>
#include <sys/eventfd.h>
#include <unistd.h>

bool mailbox_init(struct mailbox *m)
{
	list_init(&m->queue);
	m->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (m->fd < 0)
		return false;
	pthread_mutex_init(&m->lock, NULL);
	return true;
}

void mailbox_fini(struct mailbox *m)
{
	close(m->fd);
	pthread_mutex_destroy(&m->lock);
}

void mailbox_post(struct mailbox *m, struct message *msg)
{
	static const uint64_t one = 1;

	pthread_mutex_lock(&m->lock);
	list_push_back(&m->queue, &msg->link);
	pthread_mutex_unlock(&m->lock);
	/* fails only when the counter is full, and then it is readable anyway */
	(void)!write(m->fd, &one, sizeof(one));
}

static struct message *take(struct mailbox *m)
{
	struct list *n;

	pthread_mutex_lock(&m->lock);
	n = list_pop_front(&m->queue);
	pthread_mutex_unlock(&m->lock);
	return n == NULL ? NULL : LIST_ENTRY(n, struct message, link);
}

void mailbox_drain(struct mailbox *m, void *reader)
{
	struct message *msg;
	uint64_t count;

	(void)!read(m->fd, &count, sizeof(count));
	while ((msg = take(m)) != NULL)
		msg->run(reader, msg);
}
