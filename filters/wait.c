/* wait.c - a locked list for each worker. */
#include "filters/wait.h"

#include "base/check.h"

void wakes_init(struct wakes *w, void (*tell)(struct wakes *, bool own), void *owner)
{
	*w = (struct wakes){ .tell = tell, .owner = owner };
	pthread_mutex_init(&w->lock, NULL);
	list_init(&w->settled);
}

void wakes_fini(struct wakes *w)
{
	CHECK(list_empty(&w->settled));
	pthread_mutex_destroy(&w->lock);
}

void wakes_put(struct wakes *w, struct woken *k, struct verdict v)
{
	pthread_mutex_lock(&w->lock);
	k->verdict = v;
	list_push_back(&w->settled, &k->link);
	pthread_mutex_unlock(&w->lock);
}

void wakes_take_back(struct wakes *w, struct woken *k)
{
	pthread_mutex_lock(&w->lock);
	list_remove(&k->link);
	pthread_mutex_unlock(&w->lock);
}

/* Whoever is first has to: the others' news goes along. */
static bool is_first(struct wakes *w)
{
	bool first;

	pthread_mutex_lock(&w->lock);
	first = !w->told && !list_empty(&w->settled);
	w->told = w->told || first;
	pthread_mutex_unlock(&w->lock);
	return first;
}

void wakes_tell(const struct env *env, uint64_t workers)
{
	for (unsigned i = 0; workers != 0; i++, workers >>= 1)
		if ((workers & 1) != 0 && is_first(&env->wakes[i]))
			env->wakes[i].tell(&env->wakes[i], i == env->worker);
}

static struct woken *take(struct wakes *w)
{
	struct list *n;

	pthread_mutex_lock(&w->lock);
	n = list_pop_front(&w->settled);
	if (n == NULL)
		w->told = false;
	pthread_mutex_unlock(&w->lock);
	return n == NULL ? NULL : LIST_ENTRY(n, struct woken, link);
}

void wakes_run(struct wakes *w)
{
	struct woken *k;

	while ((k = take(w)) != NULL) {
		if (k->on_settle != NULL)
			k->on_settle(k);
		wait_settle(&k->wait, k->verdict);
	}
}
